/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * buckets.bpf.h - the buckets of a histogram of times. Their bounds are the series R40 of ISO
 * 3:1973, from 1 ms to 100 s: 40 in each decade, each about 6 % above the one before. So a
 * percentile is known to 3 %, and every usual bound of Prometheus (0.25 s, 0.5 s, 1 s, 2.5 s) is
 * one of them. There may be thousands of tenants: theirs are ten in each decade, from 1 ms to 80 s.
 *
 * Those of sizes begin at 256 bytes, a small request's, and are each four times the one before, up
 * to 256 MiB. The Gateway API Inference Extension has them among its own (powers of two), so that
 * boards can be shared.
 *
 * No map, no clock: the same text is compiled into sockops and into host programs.
 */
#ifndef PINTLE_BUCKETS_BPF_H
#define PINTLE_BUCKETS_BPF_H

#include <pintle/abi.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define BUCKETS_OF_DECADE 40
#define BUCKETS_DECADES   5
_Static_assert(PINTLE_BUCKETS == BUCKETS_DECADES * BUCKETS_OF_DECADE + 2,
	       "a bucket for each bound, and one for what is above the last");

/* The bounds of the first decade, in 10 us. A search looks at 64 of them: none is above the last.
 */
static const __u16 bucket_steps[64] = {
	100,   106,   112,   118,   125,   132,   140,   150,   160,   170,   180,   190,   200,
	212,   224,   236,   250,   265,   280,   300,   315,   335,   355,   375,   400,   425,
	450,   475,   500,   530,   560,   600,   630,   670,   710,   750,   800,   850,   900,
	950,   65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535,
	65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535,
};

/* Returns the bucket of a time in microseconds: how many bounds are below it, 0..PINTLE_BUCKETS
 * - 1. A time that is a bound is in the bucket below, as Prometheus has it. */
static __always_inline __u32 bucket_of(__u32 us)
{
	__u32 tens = us ? (us - 1) / 10 : 0, decade = 0, n = 0, step;

#ifdef __bpf__
#pragma unroll
#endif
	for (step = 0; step < BUCKETS_DECADES; step++)
		if (tens >= 1000) {
			tens /= 10;
			decade++;
		}
	if (decade == BUCKETS_DECADES)
		return PINTLE_BUCKETS - 1;
#ifdef __bpf__
#pragma unroll
#endif
	for (step = 32; step; step /= 2)
		if (bucket_steps[(n + step - 1) & 63] <= tens)
			n += step;
	return decade * BUCKETS_OF_DECADE + n;
}

/* The same bucket among those of tenants: each fourth bound is one of theirs. */
static __always_inline __u32 tenant_bucket_of(__u32 bucket)
{
	__u32 n = (bucket + 3) / 4;

	return n < PINTLE_TENANT_BUCKETS ? n : PINTLE_TENANT_BUCKETS - 1;
}

#define SIZE_BOUND(i) (256U << (2 * (i)))
_Static_assert(SIZE_BOUND(PINTLE_SIZES - 2) == 1U << 28, "the last bound");

/* The same of a size in bytes, 0..PINTLE_SIZES - 1. */
static __always_inline __u32 size_bucket(__u32 bytes)
{
	__u32 i, n = 0;

#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < PINTLE_SIZES - 1; i++)
		n += bytes > SIZE_BOUND(i);
	return n;
}

#endif
