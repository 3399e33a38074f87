/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reconcile.bpf.c - counts what exists, so that the daemon can correct the counters. Iterators over
 * `conns`, `hand_flows` and `connects` count the live connections of each endpoint and class in
 * `recount`; an iterator over `pending` counts the lookup hook's decisions that may still become
 * connections; one over `seats` counts the live connections of each tenant. The iterators walk the
 * sockets of every network namespace, without a scan of the socket table.
 */
#include "hooks/client.bpf.h"
#include "iterator.bpf.h"
#include "handoff/rest.bpf.h"

static __always_inline void count_one(__u32 endpoint, __u32 class_id, __u64 one)
{
	__u32 at = endpoint * PINTLE_MAX_CLASSES + (class_id & (PINTLE_MAX_CLASSES - 1));
	__u64 *n = bpf_map_lookup_elem(&recount, &at);

	if (n)
		__sync_fetch_and_add(n, one);
}

static __always_inline bool is_of_node(const struct sock *sk)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return n && n->netns_cookie == sk->__sk_common.skc_net.net->net_cookie;
}

/* Moves a listener's record to the map in which it belongs. A listener is registered before its
 * pool is published, and a reload may change how the pool is decided. A connection that comes
 * meanwhile gets the whole record, or none. */
static __always_inline void listener_settle(const struct pintle_conn *conn, struct sock *sk)
{
	struct pintle_conn record = *conn, *to;
	struct pintle_health *h;
	bool hands;

	if (sk->__sk_common.skc_state != BPF_TCP_LISTEN ||
	    !endpoint_find(record.endpoint, record.generation))
		return;
	hands = is_of_node(sk) && listener_hands(record.pool);
	h = hands ? bpf_map_lookup_elem(&health, &record.endpoint) : NULL;
	if (h)
		h->handed = 1;
	if (hands)
		to = bpf_sk_storage_get(&listeners, sk, &record, BPF_SK_STORAGE_GET_F_CREATE);
	else
		to = bpf_sk_storage_get(&conns, sk, &record, BPF_SK_STORAGE_GET_F_CREATE);
	if (!to)
		return;
	*to = record; /* there may be one of a former endpoint */
	if (hands)
		bpf_sk_storage_delete(&conns, sk);
	else
		bpf_sk_storage_delete(&listeners, sk);
}

/* Walks over `conns`, and over `listeners`. */
SEC("iter/bpf_sk_storage_map")
int pintle_recount(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;

	if (sk && conn && conn->flags & PINTLE_CONN_LISTENER)
		listener_settle(conn, sk);
	if (!sk || !conn || !conn->counted || !(conn->flags & PINTLE_CONN_STEERED))
		return 0;
	if (sk->__sk_common.skc_state == BPF_TCP_CLOSE) {
		/* The end was missed, because another program turned our callback flag off. */
		conn->counted = 0;
		seat_leave(sk);
		return 0;
	}
	count_one(conn->endpoint, conn->class_id, PINTLE_RECOUNT_IN_FLIGHT);
	return 0;
}

/* Catches up on what happened while the links were away: an end, a further connect() of the socket,
 * or a SYN. */
SEC("iter/bpf_sk_storage_map")
int pintle_recount_connects(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_connect *c = ctx->value;
	struct sock *sk = ctx->sk;

	if (!sk || !c || (!c->counted && !c->placed) || !counters_of(c))
		return 0;
	if (c->counted && !is_there(c, sk)) {
		c->counted = 0;
		seat_leave(sk);
		return 0;
	}
	/* Past SYN_SENT the connection was opened. It may be in a later state than ESTABLISHED, and
	 * still be in use by the client. If another CPU has counted its SYN since the look at
	 * `placed`, it may have counted its end, too. */
	if (c->placed && sk->__sk_common.skc_state != BPF_TCP_SYN_SENT && is_there(c, sk) &&
	    __sync_lock_test_and_set(&c->placed, 0))
		c->counted = 1;
	count_one(c->endpoint, c->class_id,
		  c->counted ? PINTLE_RECOUNT_IN_FLIGHT : PINTLE_RECOUNT_PENDING);
	return 0;
}

/* Counts a request that was handed over, has no socket, and did not come again. */
static __noinline int count_no_socket(const struct pintle_decision *d, const struct pintle_tuple *t)
{
	struct pintle_ref pool = {};

	if (!d->handed || d->ended)
		return 0;
	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	if (pool.generation)
		rest_expired(&pool, t, d->decided_ns);
	return 0;
}

/* A decision for a SYN without an answer, or for a stray ACK or RST, stays in `pending` until
 * another one evicts it. Once it has expired, it no longer counts as placed. */
SEC("iter/bpf_map_elem")
int pintle_recount_pending(struct bpf_iter__bpf_map_elem *ctx)
{
	const struct pintle_tuple *key = ctx->key;
	struct pintle_decision *d = ctx->value;
	struct pintle_tuple t;

	if (!d || !key || d->ended || !counters_kept(d->endpoint, d->generation, d->class_id))
		return 0;
	if (!decision_expired(d, bpf_ktime_get_ns())) {
		count_one(d->endpoint, d->class_id, PINTLE_RECOUNT_PENDING);
		return 0;
	}
	t = *key; /* Linux 6.1 takes keys only from the stack */
	count_no_socket(d, &t);
	placement_failed(d);
	return 0;
}

/* What may pass from the look at a decision, which has not expired, until sockops has the
 * connection: both happen while the kernel handles one packet. */
#define HAND_FLOW_GRACE_NS 1000000000ULL

/* Counts the connections that the hand-off gave to listeners of this node, and forgets those that
 * never were established, or whose end was missed. */
SEC("iter/bpf_map_elem")
int pintle_recount_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	const struct pintle_tuple *key = ctx->key;
	struct pintle_hand_flow *f = ctx->value;
	struct pintle_tuple t;

	if (!f || !key)
		return 0;
	t = *key; /* Linux 6.1 takes keys only from the stack */
	if (!f->conn.opened_ns &&
	    !decision_expired(&f->decision, bpf_ktime_get_ns() - HAND_FLOW_GRACE_NS)) {
		if (!f->decision.ended &&
		    counters_kept(f->decision.endpoint, f->decision.generation,
				  f->decision.class_id))
			count_one(f->decision.endpoint, f->decision.class_id,
				  PINTLE_RECOUNT_PENDING);
		return 0;
	}
	if (f->conn.opened_ns && f->conn.counted && hand_flow_there(f, &t)) {
		count_one(f->conn.endpoint, f->conn.class_id, PINTLE_RECOUNT_IN_FLIGHT);
		return 0;
	}
	/* Its end is being counted. */
	if (f->conn.opened_ns && !f->conn.counted && f->busy != PINTLE_HAND_FLOW_ENDED)
		return 0;
	if (!f->conn.opened_ns)
		count_no_socket(&f->decision, &t);
	placement_failed(&f->decision);
	bpf_map_delete_elem(&hand_flows, &t);
	return 0;
}

/* Sums up in `tenants`, where the daemon reads before and after the walk. */
SEC("iter/bpf_sk_storage_map")
int pintle_recount_seats(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_seat *s = ctx->value;
	struct sock *sk = ctx->sk;
	struct pintle_affinity_key key;
	struct pintle_tenant *n;

	if (!sk || !s || !s->counted)
		return 0;
	if (sk->__sk_common.skc_state == BPF_TCP_CLOSE) {
		seat_leave(sk); /* the end was missed, and the socket still exists */
		return 0;
	}
	key = s->tenant; /* Linux 6.1 takes keys only from the stack */
	n = bpf_map_lookup_elem(&tenants, &key);
	if (n)
		__sync_fetch_and_add(&n->seen, 1);
	return 0;
}

/* User space cannot add to a value of a hash map without losing what the kernel adds meanwhile. */
SEC("syscall")
int pintle_tenant_correct(struct pintle_tenant_error *ctx)
{
	struct pintle_affinity_key key = ctx->tenant;
	struct pintle_tenant *n = bpf_map_lookup_elem(&tenants, &key);

	if (!n)
		return 0;
	__sync_fetch_and_add(&n->opened, ctx->opened);
	__sync_fetch_and_add(&n->closed, ctx->closed);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
