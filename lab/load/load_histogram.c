// SPDX-License-Identifier: Apache-2.0
#include "load_histogram.h"

#include <math.h>
#include <stddef.h>

#include "../../userspace/base/util.h"

#define HALF_BITS 7
_Static_assert(HISTOGRAM_HALF == 1 << HALF_BITS, "a power of two");

/* Bucket b is (b % HALF) + HALF wide steps of 2^shift from 0; the first two halves are of
 * width 1. */
static size_t bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < 2 * HISTOGRAM_HALF)
		return (size_t)ns;
	shift = 63U - (unsigned int)__builtin_clzll(ns) - HALF_BITS;
	return (size_t)shift * HISTOGRAM_HALF + (size_t)(ns >> shift);
}

static uint64_t bucket_middle(size_t bucket)
{
	unsigned int shift;

	if (bucket < (size_t)2 * HISTOGRAM_HALF)
		return bucket;
	shift = (unsigned int)(bucket / HISTOGRAM_HALF) - 1;
	return ((bucket % HISTOGRAM_HALF + HISTOGRAM_HALF) << shift) + (1ULL << shift) / 2;
}

void load_histogram_add_many(struct load_histogram *h, uint64_t ns, uint64_t n)
{
	if (!n)
		return;
	ns = MIN(ns, (uint64_t)HISTOGRAM_MAX);
	h->min_ns = h->count ? MIN(h->min_ns, ns) : ns;
	h->max_ns = MAX(h->max_ns, ns);
	h->sum_ns += (double)ns * (double)n;
	h->count += n;
	h->counts[bucket_of(ns)] += n;
}

void load_histogram_add(struct load_histogram *h, uint64_t ns)
{
	load_histogram_add_many(h, ns, 1);
}

void load_histogram_merge(struct load_histogram *to, const struct load_histogram *from)
{
	if (!from->count)
		return;
	to->min_ns = to->count ? MIN(to->min_ns, from->min_ns) : from->min_ns;
	to->max_ns = MAX(to->max_ns, from->max_ns);
	to->sum_ns += from->sum_ns;
	to->count += from->count;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->counts[i] += from->counts[i];
}

double load_histogram_mean(const struct load_histogram *h)
{
	return h->count ? h->sum_ns / (double)h->count : 0;
}

uint64_t load_histogram_quantile(const struct load_histogram *h, double share)
{
	uint64_t wanted = (uint64_t)ceil(share * (double)h->count), seen = 0, middle;
	size_t i = 0;

	/* The first and the last are known exactly. */
	if (wanted >= h->count)
		return h->max_ns;
	if (wanted <= 1)
		return h->min_ns;
	while ((seen += h->counts[i]) < wanted)
		i++;
	middle = MAX(bucket_middle(i), h->min_ns);
	return MIN(middle, h->max_ns);
}
