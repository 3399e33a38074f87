/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops_server.bpf.h - follows listeners and connections at the server's side.
 *
 *   listen()      registers a model server's socket, so that a server that comes back gets clients
 *                 again, with or without a daemon
 *   established   moves the decision into the connection's record, counts the connection, and binds
 *                 the session. Not earlier: a spoofed packet never gets here
 *   first answer  see sockops_first.bpf.h
 *   closed        counts the end, in flight and in the endpoint's sums; reports to `pintle events`
 *
 * A listener has its endpoint in `conns`, and the kernel clones that entry into each child. So a
 * connection knows its endpoint even if its 4-tuple was evicted from `pending`. Where connections
 * come by the hand-off, the listener has it in `listeners`, and the connection its record in
 * `hand_flows`: nobody can make the hand-off decide who has not shown that he is at the client's
 * address. The few others of such a listener are told by decision or address.
 */
#ifndef PINTLE_SOCKOPS_SERVER_BPF_H
#define PINTLE_SOCKOPS_SERVER_BPF_H

#include "handoff/hand_flow.bpf.h"
#include "handoff/held_entry.bpf.h"
#include "handoff/in_pod.bpf.h"
#include "listener.bpf.h"
#include "handoff/oneshot_pool.bpf.h"
#include "seats.bpf.h"
#include "handoff/rest.bpf.h"
#include "handoff/served.bpf.h"
#include "sockops_first.bpf.h"

/* ---- listeners ------------------------------------------------------------------ */

/* Finds the scope of the listener's network namespace: the one that is steered, or a pod's in which
 * there is an endpoint. */
static __always_inline bool scope_of(struct bpf_sock_ops *ctx, __u32 *of)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct pintle_scope *s;

	*of = scope;
	if (!n || cookie == n->netns_cookie)
		return n;
	s = n->pods ? bpf_map_lookup_elem(&scopes, &cookie) : NULL;
	if (!s)
		return false;
	*of = s->scope;
	return true;
}

/* The families that a listener takes. An IPv6 socket takes IPv4 as well, unless it has IPV6_V6ONLY
 * or is bound to an IPv6 address. */
static __always_inline __u32 listener_families(struct bpf_sock_ops *ctx, const __u8 *local,
					       const void *kernel_sock)
{
	const struct sock_common *sk = kernel_sock;

	if (ctx->family == AF_INET || (address_is_v4(local)))
		return PINTLE_FAMILY_V4;
	if (!address_is_any(local) || BPF_CORE_READ_BITFIELD(sk, skc_ipv6only))
		return PINTLE_FAMILY_V6;
	return PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6;
}

/* Returns the entry of the endpoint that this listener serves: the one configured with the
 * listener's address, or with only its port, or, for a wildcard listener, the only one configured
 * at that port. Sets *elsewhere if the listener has the port of an endpoint that is configured with
 * only a port, and whose page comes from another address. */
static __always_inline struct pintle_address *
listener_endpoint(__u32 where, const __u8 *local, __u16 port, __u32 families, bool *elsewhere)
{
	struct pintle_address_key key = {.scope = where, .port = port};
	bool any = address_is_any(local);
	struct pintle_address *a;

	if (!any) {
		__builtin_memcpy(key.address, local, sizeof(key.address));
		a = bpf_map_lookup_elem(&addresses, &key);
		if (a)
			return a;
		__builtin_memset(key.address, 0, sizeof(key.address));
	}
	a = bpf_map_lookup_elem(&addresses, &key);
	if (!a || a->flags & PINTLE_ADDRESS_ANY)
		return a;
	if (any && ((a->flags & PINTLE_ADDRESS_V4 && families & PINTLE_FAMILY_V4) ||
		    (a->flags & PINTLE_ADDRESS_V6 && families & PINTLE_FAMILY_V6)))
		return a;
	*elsewhere = true;
	return a->flags & PINTLE_ADDRESS_PORT ? a : NULL;
}

static __always_inline void listener_refuse(struct pintle_health *h, __u32 why, __u32 uid)
{
	/* A listener at another address is reported only while the endpoint's server is missing. */
	if (why == PINTLE_UNSTEERABLE_ADDRESS && h->listening_since_ns)
		return;
	h->stranger = uid;
	h->error = 0;
	h->unsteerable = why;
}

/* The user who made the socket. */
static __always_inline __u32 owner_of(const void *kernel_sock)
{
	const struct sock *sk = kernel_sock;

	return sk->sk_uid.val;
}

static __always_inline __u64 cgroup_of(const void *kernel_sock)
{
	const struct sock *sk = kernel_sock;

	/* A kernel without CONFIG_SOCK_CGROUP_DATA has no such field. */
	return bpf_core_field_exists(sk->sk_cgrp_data) ? sk->sk_cgrp_data.cgroup->kn->id : 0;
}

static __always_inline bool in_cgroup(const struct pintle_address *a, const void *kernel_sock)
{
	struct pintle_server_cgroup key = {.pattern = a->pattern};

	if (!(a->flags & PINTLE_ADDRESS_CGROUP))
		return true;
	key.cgroup = cgroup_of(kernel_sock);
	return bpf_map_lookup_elem(&server_cgroups, &key);
}

/* When every slot is taken, the newest of n listeners takes a random slot, with a probability that
 * makes each of the n equally likely to hold one. So when 24 new workers join 24 old ones, which
 * then end, some of the new workers hold a slot. *ended counts a listener that loses its slot and
 * whose end will not be reported. */
static __always_inline void listener_push_in(struct bpf_sock_ops *ctx, __u32 endpoint,
					     struct pintle_health *h, __u32 *ended)
{
	__u32 i = bpf_get_prandom_u32() % (h->listeners + 1), slot;

	h->crowded = 1;
	if (i >= PINTLE_SOCKETS_PER_ENDPOINT)
		return;
	slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
	if (bpf_sock_map_update(ctx, &sockets, &slot, BPF_ANY) || !(h->unwatched & 1U << i))
		return;
	__sync_fetch_and_and(&h->unwatched, ~(1U << i));
	(*ended)++;
}

/* Takes the first free slot; the slot of a closed socket is free. The end of a listener that the
 * daemon found is not reported to sockops, but shows here, because its slot is free: those are
 * added to *ended. Global, so that the verifier goes through the loop once, and not for each way to
 * it. */
__noinline int listener_register(struct bpf_sock_ops *ctx, __u32 endpoint, struct pintle_health *h,
				 __u32 *ended)
{
	__u32 i, unwatched;
	int err = -EEXIST;

	if (!h || !ended)
		return -EINVAL;
	unwatched = h->unwatched;
	for (i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		__u32 slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		__u32 bit = unwatched & (1U << i);
		int taken;

		if (err != -EEXIST && !bit)
			continue;
		taken = bpf_sock_map_update(ctx, &sockets, &slot, BPF_NOEXIST);
		if (err == -EEXIST)
			err = taken;
		if (taken || !bit)
			continue;
		__sync_fetch_and_and(&h->unwatched, ~bit);
		(*ended)++;
	}
	if (err == -EEXIST)
		listener_push_in(ctx, endpoint, h, ended);
	return err;
}

static __always_inline void listeners_ended(struct pintle_health *h, __u32 n)
{
	if (n > h->listeners)
		n = h->listeners;
	if (n && __sync_fetch_and_add(&h->listeners, -n) == n) {
		h->listening_since_ns = 0;
		h->families = 0;
	}
}

/* Makes the record of a listener of the namespace `where`, in the map to which it belongs. A
 * connection may come at once, and what it gets of a record is whole. Returns false without memory.
 */
static __always_inline bool listener_make(struct bpf_sock *sk, __u32 where,
					  const struct pintle_address *a, struct pintle_health *h)
{
	struct pintle_conn record = {
		.endpoint = a->endpoint,
		.generation = a->generation,
		.pool = a->pool,
		.flags = PINTLE_CONN_LISTENER | PINTLE_CONN_WATCHED,
	};

	/* There may be one of when the socket listened before. */
	bpf_sk_storage_delete(&conns, sk);
	bpf_sk_storage_delete(&listeners, sk);
	if (where == scope && listener_hands(a->pool)) {
		h->handed = 1;
		return bpf_sk_storage_get(&listeners, sk, &record, BPF_SK_STORAGE_GET_F_CREATE);
	}
	return bpf_sk_storage_get(&conns, sk, &record, BPF_SK_STORAGE_GET_F_CREATE);
}

static __noinline int server_listening(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *kernel_sock;
	struct pintle_address *a;
	struct pintle_health *h;
	struct pintle_tuple t;
	__u32 families, endpoint, ended = 0, uid, strange, where;
	bool elsewhere = false;
	int err;

	if (!sk || !scope_of(ctx, &where))
		return 0;
	kernel_sock = bpf_skc_to_tcp_sock(sk);
	if (!kernel_sock)
		return 0;
	addresses_read(ctx, &t);
	families = listener_families(ctx, t.local, kernel_sock);
	a = listener_endpoint(where, t.local, t.local_port, families, &elsewhere);
	if (!a || !endpoint_find(a->endpoint, a->generation))
		return 0;
	endpoint = a->endpoint;
	h = bpf_map_lookup_elem(&health, &endpoint);
	if (!h)
		return 0;
	uid = owner_of(kernel_sock);
	strange = elsewhere ? PINTLE_UNSTEERABLE_ADDRESS
			    : listener_strange(a, h->owner, uid, in_cgroup(a, kernel_sock));
	if (strange) {
		listener_refuse(h, strange, uid);
		return 0;
	}
	if (!listener_make(sk, where, a, h))
		return 0;

	err = listener_register(ctx, endpoint, h, &ended);
	listeners_ended(h, ended);
	if (err && err != -EEXIST) {
		h->unsteerable = bpf_skc_to_mptcp_sock(sk) ? PINTLE_UNSTEERABLE_MPTCP
							   : PINTLE_UNSTEERABLE_OTHER;
		h->error = err;
		bpf_sk_storage_delete(&conns, sk);
		bpf_sk_storage_delete(&listeners, sk);
		return 0;
	}
	h->owner = listener_owner(a, h->owner, uid);
	h->deaf = 0;
	h->unsteerable = 0;
	h->error = 0;
	__sync_fetch_and_or(&h->families, listener_covers(families, address_is_any(t.local)));
	__sync_fetch_and_add(&h->listeners, 1);
	/* A listener that joins others does not change since when the endpoint listens. */
	if (!h->listening_since_ns)
		h->listening_since_ns = bpf_ktime_get_ns();
	watch_end(ctx);
	return 0;
}

/* One in a namespace where the endpoint is no more, such as the former pod with its address, was
 * taken off when the endpoint left that. */
static __always_inline void listener_closed(struct bpf_sock_ops *ctx,
					    const struct pintle_conn *conn)
{
	__u32 endpoint = conn->endpoint, where;
	struct pintle_health *h = bpf_map_lookup_elem(&health, &endpoint);
	const struct pintle_endpoint *e = endpoint_find(endpoint, conn->generation);

	if (h && e && scope_of(ctx, &where) && e->scope == where)
		listeners_ended(h, 1);
}

/* ---- connections ---------------------------------------------------------------- */

/* Makes the key of the session: the one that the connection's request has named, else the one that
 * follows from its addresses. Returns how many bytes of the request are believed to be cached, and
 * sets *steps to what was seen of its prompt. */
static __always_inline __u32 session_of(const struct pintle_tuple *t,
					const struct pintle_pool *pool,
					struct pintle_affinity_key *key, __u32 *steps)
{
	struct pintle_named *n;
	__u32 cached = 0;

	n = pool->decide == PINTLE_DECIDE_REQUEST ? bpf_map_lookup_elem(&named, t) : NULL;
	if (n && n->session.kind != PINTLE_KEY_NONE)
		key->session = n->session;
	else
		server_session(t, key);
	if (n) {
		cached = n->cached;
		*steps = n->prompt_steps;
		bpf_map_delete_elem(&named, t);
	}
	return cached;
}

/* The session is bound to where the connection went. `f`: its record; NULL: it is in the socket's
 * storage. A function of its own, because of its stack. */
static __noinline int bind_client(struct bpf_sock_ops *ctx, struct pintle_conn *conn,
				  struct pintle_hand_flow *f, const struct pintle_tuple *t)
{
	struct pintle_pool *pool = pool_find(conn->pool, conn->pool_generation);
	struct pintle_affinity_key key = {.pool = conn->pool,
					  .pool_generation = conn->pool_generation};
	struct pintle_turn *turn = NULL;
	struct pintle_affinity *a;
	__u32 cached = 0, steps = 0;

	if (!pool || !outcome_binds(pool, conn->outcome))
		return 0;
	if (f) {
		key.session = f->turn.session;
		steps = f->prompt_steps;
		turn = &f->turn;
	} else {
		cached = session_of(t, pool, &key, &steps);
		if (pool->follow && (cached || key.session.kind != PINTLE_KEY_NONE))
			turn = turn_make(ctx, conn->opened_ns);
		if (turn)
			turn->cached = cached;
	}
	majority_vote(&key);
	if (key.session.kind == PINTLE_KEY_NONE)
		return 0;
	a = bind_session(&key, client_of(t, key.session.kind), conn->endpoint, conn->generation,
			 conn->opened_ns);
	/* What was seen of the session's newest prompt: the next one may continue it. */
	if (a && steps)
		a->prompt_steps = steps;
	if (!turn || !session_open(&key, a, conn->class_id))
		return 0;
	/* Kept until the end: a reload may change what tells the pool's sessions apart. */
	turn->session = key.session;
	turn->flags |= PINTLE_TURN_BOUND;
	conn->flags |= PINTLE_CONN_SESSION;
	if (pool->classify)
		evidence_begin(&key, a, turn);
	return 0;
}

static __noinline int unbind_client(struct bpf_sock_ops *ctx, const struct pintle_conn *conn,
				    struct pintle_turn *turn, const struct end *end)
{
	struct pintle_affinity_key key = {.pool = conn->pool,
					  .pool_generation = conn->pool_generation};

	if (!(conn->flags & PINTLE_CONN_SESSION) || !turn)
		return 0;
	key.session = turn->session;
	session_close(&key, turn, end->received, end->acknowledged);
	evidence_end(ctx, &key, turn, end->received, end->acknowledged, false);
	return 0;
}

static __always_inline void count_placed(const struct pintle_conn *conn)
{
	struct pintle_counters *n = counters_find(conn->endpoint, conn->class_id);

	if (n)
		__sync_fetch_and_add(&n->placed, 1);
}

static __always_inline void conn_decided(struct pintle_conn *conn, struct pintle_decision *d)
{
	conn->flags = PINTLE_CONN_STEERED;
	conn->endpoint = d->endpoint;
	conn->generation = d->generation;
	conn->pool = d->pool;
	conn->pool_generation = d->pool_generation;
	conn->class_id = d->class_id;
	conn->outcome = d->outcome;
	/* The handshake took so long that the placement already counts as failed. */
	if (__sync_lock_test_and_set(&d->ended, 1))
		count_placed(conn);
}

/* Moves the decision from `pending` into the connection's record. If the decision was evicted
 * because `pending` was full, the connection was still steered if its destination is a frontend. */
static __always_inline void adopt_decision(struct pintle_conn *conn, const struct pintle_tuple *t)
{
	struct pintle_decision *d = bpf_map_lookup_elem(&pending, t);
	struct pintle_ref pool = {};

	if (d && d->endpoint == conn->endpoint && d->generation == conn->generation) {
		conn_decided(conn, d);
		bpf_map_delete_elem(&pending, t);
		return;
	}
	conn->flags = PINTLE_CONN_DIRECT;
	conn->class_id = 0;
	conn->outcome = PINTLE_OUTCOME_COUNT;
	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	if (pool.generation) {
		conn->flags = PINTLE_CONN_STEERED;
		conn->pool = pool.id;
		conn->pool_generation = pool.generation;
	}
}

/* Counts an established connection for its tenant. */
static __noinline int server_seat(struct bpf_sock *sk, const struct pintle_tuple *t,
				  const struct pintle_conn *conn)
{
	struct pintle_affinity_key key = {.pool = conn->pool,
					  .pool_generation = conn->pool_generation};
	struct pintle_pool *pool = pool_find(conn->pool, conn->pool_generation);

	if (!pool || !pool->tenant_key)
		return 0;
	key_of_tuple(t, TENANT_KIND(pool->tenant_key), TENANT_BITS(pool->tenant_key), &key.session);
	tenant_enter(&key, conn->opened_ns, 0);
	return seat_take(sk, &key);
}

/* Whatever the hand-off held of the connection, its server has it now. Also one that is no
 * endpoint's: in mode off the frontend's own. */
static __always_inline void held_arrived(const struct pintle_tuple *t)
{
	if (held_any())
		held_forget(t);
}

/* The node's hand-off finds the connection by this. Where there is no room the connection is cut:
 * its next segment finds nothing. */
static __always_inline void pod_flow_begin(struct bpf_sock_ops *ctx, struct pintle_conn *conn,
					   const struct pintle_tuple *t, __u32 where)
{
	struct pintle_pod_flow f = {.scope = where, .netns = (__u32)bpf_get_netns_cookie(ctx)};

	if (!bpf_map_update_elem(&pod_flows, t, &f, BPF_ANY))
		conn->flags |= PINTLE_CONN_POD;
}

/* Its last segments are still under way. What a pod without a device leaves ends a minute or two
 * later: by then another pod may have a connection of the same client's address and port. */
static __always_inline void pod_flow_end(struct bpf_sock_ops *ctx)
{
	struct pintle_pod_flow *f, ended;
	struct pintle_tuple t;

	addresses_read(ctx, &t);
	f = bpf_map_lookup_elem(&pod_flows, &t);
	if (!f || (f->netns && f->netns != (__u32)bpf_get_netns_cookie(ctx)))
		return;
	ended = *f;
	bpf_map_update_elem(&pod_ended, &t, &ended, BPF_ANY);
	bpf_map_delete_elem(&pod_flows, &t);
}

/* Whether the socket may have a record in `hand_flows`. One of another network namespace may have
 * the addresses of one that has. */
static __always_inline bool may_be_handed(struct bpf_sock_ops *ctx)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return n && n->handed && n->netns_cookie == bpf_get_netns_cookie(ctx);
}

/* Counts a steered connection that opens. Where its record is, see bind_client(). */
static __noinline int steered_opened(struct bpf_sock_ops *ctx, struct pintle_conn *conn,
				     struct pintle_hand_flow *f, const struct pintle_tuple *t)
{
	struct bpf_sock *sk = ctx->sk;

	served_note(t, ctx->snd_nxt, ctx->rcv_nxt);
	rest_over(t, !!f);
	if (f)
		rest_served(f->decision.pool, t, conn->opened_ns);
	trace_adopt(ctx, t);
	first_begin(ctx, conn->pool, conn->pool_generation, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
	bind_client(ctx, conn, f, t);
	if (sk && server_seat(sk, t, conn))
		conn->flags |= PINTLE_CONN_SEAT;
	return 0;
}

/* A connection that the hand-off gave to a listener of this node. Returns 0 if it is no such. The
 * caller has asked may_be_handed(). A function of its own, because of its stack. */
static __noinline int flow_established(struct bpf_sock_ops *ctx, const struct pintle_tuple *t)
{
	struct pintle_hand_flow *f = hand_flow_decided(t);
	struct bpf_sock *sk = ctx->sk;
	struct pintle_counters *n;
	struct pintle_conn *conn;

	if (!f || !sk)
		return 0;
	conn = &f->conn;
	conn_decided(conn, &f->decision);
	n = counters_kept(conn->endpoint, conn->generation, conn->class_id);
	if (!n) {
		/* The endpoint was taken out of the configuration. */
		bpf_map_delete_elem(&hand_flows, t);
		return 1;
	}
	f->socket = (__u64)bpf_skc_to_tcp_sock(sk);
	conn->counted = 1;
	conn->opened_ns = bpf_ktime_get_ns();
	f->turn.opened_ns = conn->opened_ns;
	__sync_fetch_and_add(&n->opened, 1);
	steered_opened(ctx, conn, f, t);
	watch_end(ctx);
	return 1;
}

/* The endpoint at whose address the connection arrived, of a listener that gives its children
 * nothing. */
static __always_inline struct pintle_address *address_of_child(const struct pintle_tuple *t,
							       const void *kernel_sock)
{
	__u32 family = address_is_v4(t->local) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
	struct pintle_address_key key = {.scope = scope, .port = t->local_port};
	struct pintle_ref pool = {};
	struct pintle_address *a;
	struct pintle_health *h;
	__u32 endpoint;

	/* Nobody was steered to who listens at a frontend itself: the frontend's own server in mode
	 * off, or the overload responder. */
	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	if (pool.generation)
		return NULL;
	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	a = bpf_map_lookup_elem(&addresses, &key);
	if (!a) {
		__builtin_memset(key.address, 0, sizeof(key.address));
		a = bpf_map_lookup_elem(&addresses, &key);
		/* Another server may listen at another address of that port. */
		if (a && !(a->flags & PINTLE_ADDRESS_ANY))
			family = listener_covers(family, true);
	}
	if (!a)
		return NULL;
	endpoint = a->endpoint;
	h = bpf_map_lookup_elem(&health, &endpoint);
	if (!h || !h->handed || (h->families & family) != family || !h->owner ||
	    listener_strange(a, h->owner, owner_of(kernel_sock), in_cgroup(a, kernel_sock)))
		return NULL;
	return a;
}

/* Makes the record of a connection of such a listener that the hand-off did not place: the lookup
 * hook did, or nobody. Returns NULL if it is none. A function of its own, because of its stack. */
static __noinline struct pintle_conn *child_make(struct bpf_sock_ops *ctx,
						 const struct pintle_tuple *t)
{
	struct pintle_decision *d = bpf_map_lookup_elem(&pending, t);
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *kernel_sock;
	struct pintle_address *a;
	struct pintle_conn *conn, of = {.flags = PINTLE_CONN_LISTENER};

	if (d && d->generation) {
		of.endpoint = d->endpoint;
		of.generation = d->generation;
	} else {
		kernel_sock = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
		a = kernel_sock ? address_of_child(t, kernel_sock) : NULL;
		if (!a)
			return NULL;
		of.endpoint = a->endpoint;
		of.generation = a->generation;
		of.pool = a->pool;
	}
	conn = sk ? bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;
	if (conn)
		*conn = of;
	return conn;
}

/* A connection whose record is in its socket's storage. A function of its own, because of its
 * stack. */
static __noinline int conn_established(struct bpf_sock_ops *ctx, struct pintle_conn *conn,
				       const struct pintle_tuple *t)
{
	struct pintle_counters *n;
	struct pintle_health *h;
	struct pintle_endpoint *e;
	__u32 endpoint = conn->endpoint, where;

	h = bpf_map_lookup_elem(&health, &endpoint);
	e = endpoint_find(endpoint, conn->generation);
	if (!h || !e) {
		conn->flags = 0; /* the endpoint was taken out of the configuration */
		return 0;
	}
	where = e->scope;
	conn->opened_ns = bpf_ktime_get_ns();
	adopt_decision(conn, t);
	n = counters_find(endpoint, conn->class_id);
	if (!n || __sync_lock_test_and_set(&conn->counted, 1))
		return 0;
	if (conn->flags & PINTLE_CONN_STEERED) {
		__sync_fetch_and_add(&n->opened, 1);
		oneshot_established(t);
		if (where != scope)
			pod_flow_begin(ctx, conn, t, where);
		steered_opened(ctx, conn, NULL, t);
	} else {
		__sync_fetch_and_add(&h->direct_opened, 1);
	}
	watch_end(ctx);
	return 0;
}

/* A function of its own, because of its stack. */
static __noinline int server_established(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	bool may = may_be_handed(ctx);
	struct pintle_conn *conn;
	struct pintle_tuple t;

	addresses_read(ctx, &t);
	held_arrived(&t);
	if (!sk || (may && flow_established(ctx, &t)))
		return 0;
	conn = bpf_sk_storage_get(&conns, sk, NULL, 0);
	if (!conn && may)
		conn = child_make(ctx, &t);
	/* Else a child of a listener that is no endpoint's. */
	if (conn && conn->flags & PINTLE_CONN_LISTENER)
		conn_established(ctx, conn, &t);
	return 0;
}

/* The record of an open connection that was handed over; NULL: it was not. */
static __always_inline struct pintle_hand_flow *flow_find(struct bpf_sock_ops *ctx,
							  struct pintle_tuple *t)
{
	struct pintle_hand_flow *f;

	if (!may_be_handed(ctx))
		return NULL;
	addresses_read(ctx, t);
	f = bpf_map_lookup_elem(&hand_flows, t);
	return f && f->conn.opened_ns ? f : NULL;
}

/* A function of its own, because of its stack. */
static __noinline int server_sends(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_conn *conn = sk ? bpf_sk_storage_get(&conns, sk, NULL, 0) : NULL;
	struct pintle_hand_flow *f;
	struct pintle_tuple t;

	if (!conn || !conn->counted) {
		f = flow_find(ctx, &t);
		conn = f ? &f->conn : NULL;
	}
	if (!conn || !conn->counted || conn->first_step == PINTLE_FIRST_SEEN ||
	    !server_told(ctx, conn))
		return 0;
	server_first(ctx, conn);
	callback_disarm(ctx, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
	return 0;
}

static __always_inline void report_closed(struct bpf_sock_ops *ctx, const struct pintle_conn *conn,
					  const struct end *end, __u32 readers)
{
	struct pintle_event *e = event_closed(ctx, PINTLE_HOOK_LOOKUP, end, &readers);

	if (!e)
		return;
	e->pool = conn->pool;
	e->pool_generation = conn->pool_generation;
	e->endpoint = conn->endpoint;
	e->generation = conn->generation;
	e->class_id = conn->class_id;
	e->outcome = conn->outcome;
	addresses_read(ctx, &e->tuple);
	event_end(e, readers);
}

/* `t`: what is known of the connection's requests; NULL: nothing. Global: the verifier goes through
 * it once, not for each of its callers. */
__weak __noinline int connection_closed(struct bpf_sock_ops *ctx, struct pintle_conn *conn,
					struct pintle_turn *t)
{
	struct end end = {
		.now = bpf_ktime_get_ns(),
		.error = error_of(ctx),
		.received = ctx->bytes_received,
		.acknowledged = ctx->bytes_acked,
	};
	struct pintle_counters *n;
	struct pintle_ref went;
	__u32 readers;

	if (!conn)
		return 0;
	n = counters_find(conn->endpoint, conn->class_id);
	end.duration_ns = end.now - conn->opened_ns;
	server_ended(ctx, conn, t, &end);
	answer_ended(t, conn->endpoint, conn->generation, &end, ctx->data_segs_out);
	server_answered(ctx, conn, t, &end);
	unbind_client(ctx, conn, t, &end);
	if (conn->flags & PINTLE_CONN_SEAT && ctx->sk)
		seat_leave(ctx->sk);
	count_ended(conn->endpoint, conn->generation, &end);
	went.id = conn->endpoint;
	went.generation = conn->generation;
	trace_end(ctx, &end, &went, PINTLE_FAILURE_COUNT);
	/* Last, because the endpoint's id is not given to another while a connection is in flight.
	 */
	if (n)
		__sync_fetch_and_add(&n->closed, 1);
	readers = events_readers(end.now, PINTLE_AUDIT_ENDS);
	if (readers)
		report_closed(ctx, conn, &end, readers);
	return 0;
}

/* A function of its own, because of its stack. */
static __noinline int flow_closed(struct bpf_sock_ops *ctx)
{
	struct pintle_tuple t;
	struct pintle_hand_flow *f = flow_find(ctx, &t);

	if (!f || !__sync_lock_test_and_set(&f->conn.counted, 0))
		return 0;
	connection_closed(ctx, &f->conn, &f->turn);
	if (__sync_lock_test_and_set(&f->busy, PINTLE_HAND_FLOW_ENDED) == PINTLE_HAND_FLOW_FREE)
		bpf_map_delete_elem(&hand_flows, &t);
	return 0;
}

static __always_inline void server_closed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_health *h;
	struct pintle_conn *conn;
	__u32 endpoint;

	if (!sk)
		return;
	conn = bpf_sk_storage_get(&conns, sk, NULL, 0);
	if (ctx->args[0] == BPF_TCP_LISTEN) {
		if (!conn)
			conn = bpf_sk_storage_get(&listeners, sk, NULL, 0);
		/* The end of one that the daemon registered shows as a free slot. */
		if (conn && conn->flags & PINTLE_CONN_WATCHED)
			listener_closed(ctx, conn);
		return;
	}
	if (!conn || !__sync_lock_test_and_set(&conn->counted, 0)) {
		flow_closed(ctx);
		return;
	}
	endpoint = conn->endpoint;
	if (conn->flags & PINTLE_CONN_POD)
		pod_flow_end(ctx);
	if (conn->flags & PINTLE_CONN_DIRECT) {
		/* Direct connections of an endpoint that was removed are no longer counted. */
		h = bpf_map_lookup_elem(&health, &endpoint);
		if (h && endpoint_find(endpoint, conn->generation))
			__sync_fetch_and_add(&h->direct_closed, 1);
		return;
	}
	connection_closed(ctx, conn, turn_find(ctx, conn->opened_ns));
}

#endif
