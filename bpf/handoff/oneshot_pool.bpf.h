/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot_pool.bpf.h - one-shot outside of TC: which pools want it, what is counted, and which
 * connections it does not see.
 *
 * TC sees a packet as it comes. A client connects to 203.0.113.5:80, and this machine's nat leads
 * that to the frontend 10.77.0.1:8000: one-shot sees an address that is no frontend's, and the
 * lookup hook one that is. The same is so where one-shot is not on a device, or another program
 * ends the packet's way. Such connections are kept alive, and are counted.
 */
#ifndef PINTLE_ONESHOT_POOL_BPF_H
#define PINTLE_ONESHOT_POOL_BPF_H

#include "common.bpf.h"

/* Whether the pool wants one request per connection. */
static __always_inline bool oneshot_wanted(const struct pintle_pool *pool, __u32 id)
{
	const struct pintle_override *o = bpf_map_lookup_elem(&overrides, &id);
	__u32 requests = pool->requests;

	if (o && o->generation == pool->generation && o->flags & PINTLE_OVERRIDE_REQUESTS)
		requests = o->requests;
	return requests == PINTLE_REQUESTS_ONE_PER_CONNECTION;
}

static __always_inline void oneshot_count(__u32 pool, __u32 result)
{
	__u32 at = PINTLE_ONESHOT_STAT(pool, result);
	__u64 *n = bpf_map_lookup_elem(&oneshot_stats, &at);

	if (n)
		(*n)++;
}

/* The connection is established. Anybody can forge a segment, so it is counted now. */
static __always_inline void oneshot_established(const struct pintle_tuple *t)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, t);
	struct pintle_ref pool = {};

	if (!f || f->counted != PINTLE_FLOW_UNSEEN)
		return;
	bpf_map_delete_elem(&oneshot_flows, t);
	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	if (pool_find(pool.id, pool.generation))
		oneshot_count(pool.id, PINTLE_ONESHOT_LEFT_UNSEEN);
}

#endif
