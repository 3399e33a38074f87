/* SPDX-License-Identifier: Apache-2.0 */
/*
 * durations.h - times, counted in log-linear buckets, as HdrHistogram does it.
 *
 * Each time below 256 ns has a bucket of its own. Above, each power of two is cut into 128 buckets
 * of equal width, so a bucket is at most 1/128 as wide as its values. A quantile is given as the
 * middle of its bucket: at most 0.4 % from the value that was recorded. The mean, the least and the
 * greatest value are exact.
 */
#ifndef PINTLE_LAB_DURATIONS_H
#define PINTLE_LAB_DURATIONS_H

#include <stdint.h>

#define DURATIONS_HALF    128
#define DURATIONS_MAX     ((1ULL << 44) - 1) /* 4.9 hours; a longer time counts as this */
#define DURATIONS_BUCKETS ((44 - 7 + 1) * DURATIONS_HALF)

struct durations {
	uint64_t count;
	uint64_t min_ns, max_ns; /* 0 while count is 0 */
	double sum_ns;
	uint64_t counts[DURATIONS_BUCKETS];
};

void durations_add(struct durations *h, uint64_t ns);
/** Counts the same time n times. */
void durations_add_many(struct durations *h, uint64_t ns, uint64_t n);
void durations_merge(struct durations *to, const struct durations *from);
/** In nanoseconds; 0 without any times. */
double durations_mean(const struct durations *h);
/** The least time in nanoseconds, as precise as its bucket, that at least `share` (0..1) of all
 * times do not exceed; 0 without any times. */
uint64_t durations_quantile(const struct durations *h, double share);

#endif
