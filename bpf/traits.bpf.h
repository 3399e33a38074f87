/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * traits.bpf.h - what is true of each hook (PINTLE_HOOKS), asked by its number; the same text for
 * the kernel and for user space. The number may come from a map: an unknown hook has no trait.
 */
#ifndef PINTLE_TRAITS_BPF_H
#define PINTLE_TRAITS_BPF_H

#include <pintle/abi.h>

struct hook_traits {
	__u32 reaches; /* PINTLE_REACH_*: the ways that it knows */
	__u32 sees;    /* PINTLE_SEES() of each key that it sees */
	__u32 key;     /* enum pintle_key: what makes a session where none is configured */
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

/* Whether the hook sees what makes such a key. */
static inline int hook_sees(__u32 hook, __u32 key)
{
	return key < PINTLE_KEY_COUNT && hook_traits(hook).sees & 1U << key;
}

/* The one way in which servers are reached, of those that the hook knows. Where it knows one only,
 * that is it, whatever the pool's `reach` says: pins of an earlier build have 0 there. */
static inline __u32 reach_among(__u32 ways, __u32 reach)
{
	return ways & (ways - 1) ? reach : ways;
}

/* How the pool's servers are reached; 0: nobody knows, since the hook is unknown. In each case the
 * ways are constant, so that the kernel compares `decided_by` and reads `reach` (which is far from
 * all else of the pool) only for a hook that knows several. */
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

#endif
