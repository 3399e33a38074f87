/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * world.bpf.h - where a decision's text gets its facts: values of maps, and random numbers.
 *
 *   kernel  the maps themselves, by helpers
 *   host    whatever the program has defined before it includes this: userspace/maps/world.h reads
 *           copies of the pinned maps
 *
 *   world_find(map, key)       the value, or NULL; `map` is its name, without &
 *   world_random()             32 random bits
 *   world_seed()               64 bits, which a decision makes all its other random numbers of
 *   world_loop(n, step, arg)   step(i, arg) for i from 0 to n - 1, until it returns 1
 *   world_homes(pool)          the pool's table of homes, or NULL
 *   WORLD_DRY                  1: the decision places nothing, and must leave no trace in the maps
 */
#ifndef PINTLE_WORLD_BPF_H
#define PINTLE_WORLD_BPF_H

#ifdef __bpf__
#include "maps.bpf.h"
#include "mix.bpf.h"

#define world_find(map, key)     bpf_map_lookup_elem(&(map), key)
#define world_random()           bpf_get_prandom_u32()
#define world_loop(n, step, arg) bpf_loop(n, step, arg, 0)
#define world_seed()             mix(bpf_get_prandom_u32())
#define WORLD_DRY                0
#elif !defined(world_find)
#error "a host program includes world.h before"
#endif

#include <pintle/abi.h>
#include <stdbool.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define barrier() asm volatile("" ::: "memory")

/* Makes the compiler forget what it knows about `x`, such as that x % n < n, or that a function
 * returns 0 or 1. A compiler that knows that drops the check that the verifier needs to see. */
#define hide(x) asm volatile("" : "+r"(x))

static __always_inline struct pintle_pool *pool_find(__u32 id, __u32 generation)
{
	struct pintle_pool *pool = world_find(pools, &id);

	return pool && generation && pool->generation == generation ? pool : NULL;
}

static __always_inline struct pintle_counters *counters_find(__u32 endpoint, __u32 class_id)
{
	struct pintle_inflight *f = world_find(inflight, &endpoint);

	if (!f)
		return NULL;
	/* Without the barrier, clang 15 and later add the offset before the check, and the verifier
	 * refuses arithmetic on a pointer that may be NULL. */
	barrier();
	return &f->by_class[class_id & (PINTLE_MAX_CLASSES - 1)];
}

static __always_inline struct pintle_affinity *binding_find(const struct pintle_affinity_key *key)
{
	struct pintle_affinity *a = world_find(affinity, key);

	return a ? a : world_find(affinity_beyond, key);
}

/* How many sessions with open connections share the places of the class. */
static __always_inline __u64 *sharing_of(__u32 pool, __u32 class_id)
{
	struct pintle_bindings *n = world_find(bindings, &pool);

	if (!n)
		return NULL;
	barrier(); /* as in counters_find() */
	return &n->sharing[class_id & (PINTLE_MAX_CLASSES - 1)];
}

#ifdef __bpf__
static __always_inline struct pintle_homes *world_homes(__u32 pool)
{
	__u32 zero = 0;
	void *inner = world_find(homes, &pool);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}
#endif

#endif
