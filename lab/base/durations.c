// SPDX-License-Identifier: Apache-2.0
#include "durations.h"

#include <math.h>
#include <stddef.h>

#include "../../userspace/base/util.h"

#define HALF_BITS 7
_Static_assert(DURATIONS_HALF == 1 << HALF_BITS, "a power of two");

/*
 * The first 256 buckets are 1 ns wide; each later group of 128 is twice as wide as the group before
 * it. A time of 1000 ns has shift 2: its bucket is 2 * 128 + (1000 >> 2) = 506, which holds the
 * times from 1000 to 1003 ns.
 */
static size_t bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < 2 * DURATIONS_HALF)
		return (size_t)ns;
	shift = 63U - (unsigned int)__builtin_clzll(ns) - HALF_BITS;
	return (size_t)shift * DURATIONS_HALF + (size_t)(ns >> shift);
}

static uint64_t bucket_middle(size_t bucket)
{
	unsigned int shift;

	if (bucket < (size_t)2 * DURATIONS_HALF)
		return bucket;
	shift = (unsigned int)(bucket / DURATIONS_HALF) - 1;
	return ((bucket % DURATIONS_HALF + DURATIONS_HALF) << shift) + (1ULL << shift) / 2;
}

void durations_add_many(struct durations *h, uint64_t ns, uint64_t n)
{
	if (!n)
		return;
	ns = MIN(ns, (uint64_t)DURATIONS_MAX);
	h->min_ns = h->count ? MIN(h->min_ns, ns) : ns;
	h->max_ns = MAX(h->max_ns, ns);
	h->sum_ns += (double)ns * (double)n;
	h->count += n;
	h->counts[bucket_of(ns)] += n;
}

void durations_add(struct durations *h, uint64_t ns)
{
	durations_add_many(h, ns, 1);
}

void durations_merge(struct durations *to, const struct durations *from)
{
	if (!from->count)
		return;
	to->min_ns = to->count ? MIN(to->min_ns, from->min_ns) : from->min_ns;
	to->max_ns = MAX(to->max_ns, from->max_ns);
	to->sum_ns += from->sum_ns;
	to->count += from->count;
	for (size_t i = 0; i < DURATIONS_BUCKETS; i++)
		to->counts[i] += from->counts[i];
}

double durations_mean(const struct durations *h)
{
	return h->count ? h->sum_ns / (double)h->count : 0;
}

uint64_t durations_quantile(const struct durations *h, double share)
{
	uint64_t wanted = (uint64_t)ceil(share * (double)h->count), seen = 0, middle;
	size_t i = 0;

	/* The least and the greatest time are stored exactly. */
	if (wanted >= h->count)
		return h->max_ns;
	if (wanted <= 1)
		return h->min_ns;
	while ((seen += h->counts[i]) < wanted)
		i++;
	middle = MAX(bucket_middle(i), h->min_ns);
	return MIN(middle, h->max_ns);
}
