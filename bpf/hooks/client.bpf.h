/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * client.bpf.h - the record of a client's socket: what it counts at its endpoint, and until when.
 *
 *	placed	from the decision in connect() until the SYN is sent, or cannot be sent any more
 *	opened	from the SYN (TCP_CONNECT_CB) until the socket's end
 *
 * A record that is `apart` (see connect.bpf.c) counts nowhere.
 *
 * Programs for one socket may run on two CPUs at once: close() does not wait for a segment that
 * another CPU is receiving. So each count has a flag in the record, and only the program that swaps
 * the flag changes the counter.
 */
#ifndef PINTLE_CLIENT_BPF_H
#define PINTLE_CLIENT_BPF_H

#include "common.bpf.h"
#include "rule/choose.bpf.h"
#include "seats.bpf.h"

/* The counters in which this record counts; NULL once its endpoint is gone. */
static __always_inline struct pintle_counters *counters_of(const struct pintle_connect *c)
{
	return counters_kept(c->endpoint, c->generation, c->class_id);
}

/* Ends all that the record still counts. */
static __always_inline void count_end(struct pintle_connect *c)
{
	struct pintle_counters *n = counters_of(c);
	bool placed = __sync_lock_test_and_set(&c->placed, 0);
	bool counted = __sync_lock_test_and_set(&c->counted, 0);

	if (n && placed)
		__sync_fetch_and_add(&n->failed, 1);
	if (n && counted)
		__sync_fetch_and_add(&n->closed, 1);
}

/* Ends the count of the tenant's connection. It is the socket's, not the placement's: a placement
 * may be taken back and made anew. The flag stays: an answer whose end shows its first token is
 * still the tenant's. */
static __always_inline void seat_end(void *sk, struct pintle_connect *c)
{
	if (c->flags & PINTLE_CONNECT_SEAT)
		seat_leave(sk);
}

/* Detaches the record from its connection, which is not ours or no longer ours. The hint stays. */
static __always_inline void disown(struct pintle_connect *c)
{
	count_end(c);
	c->generation = 0;
	__sync_fetch_and_and(&c->flags, ~PINTLE_CONNECT_DIVERTED);
}

/* The socket's record, if it has one. */
static __always_inline struct pintle_connect *connect_find(struct bpf_sock *sk)
{
	return bpf_sk_storage_get(&connects, sk, NULL, 0);
}

/* Begins the socket's record anew, for a connection of `t` to the frontend. */
static __always_inline void connect_begin(struct pintle_connect *c, const struct terms *t,
					  const struct pintle_tuple *tuple, __u32 flags)
{
	c->pool = t->key.pool;
	c->pool_generation = t->key.pool_generation;
	c->frontend_port = tuple->local_port;
	__builtin_memcpy(c->frontend, tuple->local, sizeof(c->frontend));
	c->session = t->key.session;
	c->opened_ns = 0;
	c->first_step = PINTLE_FIRST_NONE;
	c->first_in = 0;
	c->before_in = 0;
	c->before_out = 0;
	c->flags = (c->flags & PINTLE_CONNECT_SEAT) | flags;
}

/* Enters the decision into the socket's record, and counts it as placed. */
static __noinline __attribute__((unused)) void
connect_place(struct pintle_connect *c, const struct terms *t, const struct decide_result *r,
	      const struct pintle_tuple *tuple, bool apart)
{
	__u32 id = r->endpoint;
	struct pintle_endpoint *e = bpf_map_lookup_elem(&endpoints, &id);
	struct pintle_counters *n = counters_find(id, c->class_id);

	if (!e || !n)
		return;
	c->endpoint = r->endpoint;
	c->generation = r->generation;
	c->outcome = r->outcome;
	c->port = e->port;
	__builtin_memcpy(c->address, e->address, sizeof(c->address));
	connect_begin(c, t, tuple, apart ? PINTLE_CONNECT_APART : 0);
	if (apart)
		return;
	/* Counted before the next decision is made, so that a burst of connections spreads. */
	__sync_fetch_and_add(&n->placed, 1);
	c->placed = 1;
}

#endif
