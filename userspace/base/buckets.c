/* SPDX-License-Identifier: Apache-2.0 */
#include "buckets.h"

#include "buckets.bpf.h"
#include "util.h"

uint32_t bucket_bound_us(uint32_t bucket)
{
	uint32_t bound = 10;

	if (bucket >= PINTLE_BUCKETS - 1)
		return UINT32_MAX;
	for (uint32_t i = 0; i < bucket / BUCKETS_OF_DECADE; i++)
		bound *= 10;
	return bound * bucket_steps[bucket % BUCKETS_OF_DECADE];
}

uint32_t bucket_quantile(const __u64 bucket[PINTLE_BUCKETS], double q)
{
	double all = 0, below = 0, from;
	uint32_t i;

	for (i = 0; i < PINTLE_BUCKETS; i++)
		all += (double)bucket[i];
	if (all <= 0)
		return 0;
	for (i = 0; i < PINTLE_BUCKETS - 1; i++) {
		if (bucket[i] && below + (double)bucket[i] >= q * all)
			break;
		below += (double)bucket[i];
	}
	from = i ? bucket_bound_us(i - 1) : 0;
	if (i == PINTLE_BUCKETS - 1)
		return (uint32_t)from;
	return (uint32_t)(from + (bucket_bound_us(i) - from) * MAX(q * all - below, 0.0) /
					 (double)bucket[i]);
}

void bucket_spread(const __u64 from[PINTLE_TENANT_BUCKETS], __u64 to[PINTLE_BUCKETS])
{
	for (uint32_t i = 0; i < PINTLE_BUCKETS - 1; i++)
		to[i] = from[tenant_bucket_of(i)];
	to[0] *= 4;
	to[PINTLE_BUCKETS - 1] = 0;
}
