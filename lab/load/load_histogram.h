/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_histogram.h - times, counted in log-linear buckets, as HdrHistogram does it.
 *
 * Times below 256 ns have buckets of their own; above, each power of two is cut into 128 of equal
 * width, so a bucket is at most 1/128 of its values wide. A quantile is told as the middle of its
 * bucket: at most 0.4 % from the value that was recorded. Mean, least and greatest are exact.
 */
#ifndef PINTLE_LOAD_HISTOGRAM_H
#define PINTLE_LOAD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_HALF    128
#define HISTOGRAM_MAX     ((1ULL << 44) - 1) /* 4.9 hours; what is longer counts as this */
#define HISTOGRAM_BUCKETS ((44 - 7 + 1) * HISTOGRAM_HALF)

struct load_histogram {
	uint64_t count;
	uint64_t min_ns, max_ns; /* of nothing: 0 */
	double sum_ns;
	uint64_t counts[HISTOGRAM_BUCKETS];
};

void load_histogram_add(struct load_histogram *h, uint64_t ns);
/** The same n times. */
void load_histogram_add_many(struct load_histogram *h, uint64_t ns, uint64_t n);
void load_histogram_merge(struct load_histogram *to, const struct load_histogram *from);
double load_histogram_mean(const struct load_histogram *h); /* 0 of nothing */
/** The least time (as its bucket tells it) that at least this share (0..1) of all does not
 * exceed; 0 of nothing. */
uint64_t load_histogram_quantile(const struct load_histogram *h, double share);

#endif
