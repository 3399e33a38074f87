/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * traits.bpf.h - the traits of each hook (PINTLE_HOOKS) and of each outcome (PINTLE_OUTCOMES), by
 * its number; the same text for the kernel and for user space. The number may come from a map, so
 * what is unknown has no traits.
 */
#ifndef PINTLE_TRAITS_BPF_H
#define PINTLE_TRAITS_BPF_H

#include <pintle/abi.h>

struct hook_traits {
	__u32 reaches; /* PINTLE_REACH_*: the ways in which it can reach servers */
	__u32 sees;    /* PINTLE_SEES() of each key that it sees */
	__u32 key;     /* enum pintle_key: the session key if none is configured */
	__u32 traits;  /* PINTLE_TRAIT_* */
};

static inline struct hook_traits hook_traits(__u32 hook)
{
	switch (hook) {
#define X(symbol, name, says, ...)                                                                 \
	case PINTLE_HOOK_##symbol:                                                                 \
		return (struct hook_traits){__VA_ARGS__};
		PINTLE_HOOKS(X)
#undef X
	}
	return (struct hook_traits){0};
}

static inline int hook_has(__u32 hook, enum pintle_trait trait)
{
	return !!(hook_traits(hook).traits & trait);
}

/* Whether the hook sees this session key. */
static inline int hook_sees(__u32 hook, __u32 key)
{
	return key < PINTLE_KEY_COUNT && hook_traits(hook).sees & 1U << key;
}

/* How servers are reached, where `ways` are the ways of the hook. A hook with one way needs no
 * `reach`. */
static inline __u32 reach_among(__u32 ways, __u32 reach)
{
	return ways & (ways - 1) ? reach : ways;
}

/* How the pool's servers are reached; 0 for an unknown hook. In each case the ways are constant. So
 * the kernel compares `decided_by`, and reads `reach`, which is in another cache line than the
 * rest, only for a hook with several ways. */
static inline __u32 pool_reach(const struct pintle_pool *pool)
{
	switch (pool->decided_by) {
#define X(symbol, name, says, reaches, ...)                                                        \
	case PINTLE_HOOK_##symbol:                                                                 \
		return reach_among(reaches, pool->reach);
		PINTLE_HOOKS(X)
#undef X
	}
	return 0;
}

/* Whether the outcome has the trait. Where the trait is constant, as everywhere in the kernel, a
 * mask remains of the table. */
static inline int outcome_has(__u32 outcome, enum pintle_outcome_trait trait)
{
#define X(symbol, name, says, traits) | ((traits)&trait ? 1U << PINTLE_OUTCOME_##symbol : 0)
	__u32 all = 0 PINTLE_OUTCOMES(X);
#undef X

	return outcome < PINTLE_OUTCOME_COUNT && all >> outcome & 1;
}

#endif
