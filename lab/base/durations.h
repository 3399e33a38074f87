/* SPDX-License-Identifier: Apache-2.0 */
/*
 * durations.h - times, counted in log-linear buckets, as HdrHistogram does it.
 *
 * Times below 256 ns have buckets of their own; above, each power of two is cut into 128 of equal
 * width, so a bucket is at most 1/128 of its values wide. A quantile is told as the middle of its
 * bucket: at most 0.4 % from the value that was recorded. Mean, least and greatest are exact.
 */
#ifndef PINTLE_LAB_DURATIONS_H
#define PINTLE_LAB_DURATIONS_H

#include <stdint.h>

#define DURATIONS_HALF    128
#define DURATIONS_MAX     ((1ULL << 44) - 1) /* 4.9 hours; what is longer counts as this */
#define DURATIONS_BUCKETS ((44 - 7 + 1) * DURATIONS_HALF)

struct durations {
	uint64_t count;
	uint64_t min_ns, max_ns; /* of nothing: 0 */
	double sum_ns;
	uint64_t counts[DURATIONS_BUCKETS];
};

void durations_add(struct durations *h, uint64_t ns);
/** The same n times. */
void durations_add_many(struct durations *h, uint64_t ns, uint64_t n);
void durations_merge(struct durations *to, const struct durations *from);
double durations_mean(const struct durations *h); /* 0 of nothing */
/** The least time (as its bucket tells it) that at least this share (0..1) of all does not
 * exceed; 0 of nothing. */
uint64_t durations_quantile(const struct durations *h, double share);

#endif
