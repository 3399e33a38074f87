/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand_flow.bpf.h - the record of a connection that the hand-off gave to a listener of this node;
 * see `hand_flows` in abi.h.
 *
 *   decided      by the lookup hook, which makes the record
 *   established  opened_ns is set, and the connection counts
 *   ended        the record is deleted; by the pass if that is at it
 *
 * The memory of a record that is deleted becomes another connection's at once. So whoever deletes
 * it must know that nobody else is at it: sockops runs for one socket on one CPU at a time, and the
 * pass says by `busy` that it is. If the end of a connection is missed, because another program
 * turned off our callback, the record stays until the next recount.
 */
#ifndef PINTLE_HAND_FLOW_BPF_H
#define PINTLE_HAND_FLOW_BPF_H

#include "common.bpf.h"

/* The record of a connection that is decided, and not established; NULL: there is none. */
static __always_inline struct pintle_hand_flow *hand_flow_decided(const struct pintle_tuple *t)
{
	struct pintle_hand_flow *f = bpf_map_lookup_elem(&hand_flows, t);

	return f && !f->conn.opened_ns ? f : NULL;
}

/* The decision for a connection that is not established, wherever it is; NULL: there is none. */
static __always_inline struct pintle_decision *decision_find(const struct pintle_tuple *t)
{
	struct pintle_hand_flow *f = hand_flow_decided(t);

	return f ? &f->decision : bpf_map_lookup_elem(&pending, t);
}

static __always_inline bool rests_at(__u32 id, const struct pintle_pool *pool)
{
	const struct pintle_rest *r = bpf_map_lookup_elem(&resting, &id);

	return r && r->until_ns && r->generation == pool->generation;
}

/* Whether the pool's hand-off rests for want of sockets (rest.bpf.h), of either family. */
static __always_inline bool pool_rests(__u32 pool_id, const struct pintle_pool *pool)
{
	return rests_at(pool_id, pool) || rests_at(PINTLE_REST(pool_id, 1), pool);
}

/* Whether all connections of a listener of this node, which serves the pool, come by the hand-off.
 * Where it cannot work, and for other pools, the lookup hook decides at the SYN, and its decision
 * may be evicted. */
static __always_inline bool listener_hands(__u32 pool_id)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);
	const struct pintle_pool *pool = bpf_map_lookup_elem(&pools, &pool_id);

	return n && n->handed && !n->hand_rests && pool && pool->decide == PINTLE_DECIDE_REQUEST &&
	       !pool->asked_at_syn && !pool_rests(pool_id, pool);
}

#endif
