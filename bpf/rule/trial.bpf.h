/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * trial.bpf.h - a pool's A/B test: which mode holds in which block of it, and which answers count.
 *
 * The test is a switchback experiment (Bojinov, Simchi-Levi and Zhao, Management Science 69(7)):
 * blocks of equal length in pairs, of each of which one block, drawn at random, is in mode enforce
 * and the other in mode baseline. All follows from the time and the seed, so no program has to
 * switch anything, and two that look agree. A hook obeys the test only while pintled lives, so it
 * ends by itself.
 *
 * The first functions know no map: the same text is compiled into the hooks and into host programs.
 */
#ifndef PINTLE_TRIAL_BPF_H
#define PINTLE_TRIAL_BPF_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "mix.bpf.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define TRIAL_NO_BLOCK ((__u32)-1)

/* The number of the block at this time, from 0 on; TRIAL_NO_BLOCK before the first, after the last,
 * and of a test that says nothing of use. */
static __always_inline __u32 trial_block(const struct pintle_trial *t, __u64 when)
{
	__u64 number;

	if (!t->period_ns || when < t->since_ns || when >= t->until_ns)
		return TRIAL_NO_BLOCK;
	number = (when - t->since_ns) / t->period_ns;
	return number < PINTLE_MAX_BLOCKS ? (__u32)number : TRIAL_NO_BLOCK;
}

/* How many blocks the test has, an even number; 0: it says nothing of use. */
static __always_inline __u32 trial_block_count(const struct pintle_trial *t)
{
	__u64 n;

	if (!t->period_ns || t->until_ns <= t->since_ns || t->washout_ns >= t->period_ns)
		return 0;
	n = (t->until_ns - t->since_ns) / t->period_ns;
	return n >= 2 && n <= PINTLE_MAX_BLOCKS ? (__u32)n & ~1U : 0;
}

/* The mode in a block. The hash is splitmix64's with the pair's number. */
static __always_inline __u32 trial_mode_in(const struct pintle_trial *t, __u32 number)
{
	__u64 first = mix(t->seed + (number / 2 + 1) * 0x9e3779b97f4a7c15ULL) >> 63;

	return (first ^ number) & 1 ? PINTLE_MODE_ENFORCE : PINTLE_MODE_BASELINE;
}

/* The block in which the answer counts to a request of `asked`, on a connection of `opened`;
 * TRIAL_NO_BLOCK: in none. Requests on a connection of an earlier block went where the other mode,
 * or nobody, had decided; those of the washout found servers as the other mode left them. */
static __always_inline __u32 trial_counts_in(const struct pintle_trial *t, __u64 opened,
					     __u64 asked)
{
	__u32 number = trial_block(t, asked);

	if (number == TRIAL_NO_BLOCK || trial_block(t, opened) != number ||
	    asked - t->since_ns - number * t->period_ns < t->washout_ns)
		return TRIAL_NO_BLOCK;
	return number;
}

#if defined(__bpf__) || defined(world_find) /* the world (world.bpf.h) is there */
#include "world.bpf.h"

#include "eligible.bpf.h"

static __always_inline struct pintle_trial *trial_find(__u32 pool, __u32 generation)
{
	struct pintle_ref key = {pool, generation};

	return world_find(trials, &key);
}

/* The mode of a pool that may have a test; else `otherwise`. A function of its own, because of the
 * stack. */
DECIDE_STEP trial_mode(__u32 pool, __u32 generation, __u64 now, __u32 otherwise)
{
	struct pintle_trial *t = trial_find(pool, generation);
	struct pintle_pool *p;
	struct pintle_node *n;
	__u32 zero = 0, number;

	if (!t)
		return otherwise;
	number = trial_block(t, now);
	p = pool_find(pool, generation);
	n = world_find(node, &zero);
	if (number == TRIAL_NO_BLOCK || !p || !n || eligible_daemonless(p, n->heartbeat_ns, now))
		return otherwise;
	return trial_mode_in(t, number);
}
#endif

#endif
