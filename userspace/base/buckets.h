/* SPDX-License-Identifier: Apache-2.0 */
/* buckets.h - the bounds and percentiles of a histogram of times (bpf/buckets.bpf.h). */
#ifndef PINTLE_BUCKETS_H
#define PINTLE_BUCKETS_H

#include <pintle/abi.h>
#include <stdint.h>

/** Returns the upper bound of a bucket in microseconds; UINT32_MAX for the last one. */
uint32_t bucket_bound_us(uint32_t bucket);

/** Returns the time in microseconds below which a share `q` (0 to 1) of the histogram's times lie,
 * with those of a bucket spread evenly over it; in the last bucket its lower bound. 0: it is
 * empty. */
uint32_t bucket_quantile(const __u64 bucket[PINTLE_BUCKETS], double q);

/** Spreads the buckets of a tenant over the finer ones, four for each, so that every answer counts
 * four times. */
void bucket_spread(const __u64 from[PINTLE_TENANT_BUCKETS], __u64 to[PINTLE_BUCKETS]);

#endif
