/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops_client.bpf.h - follows steered connections at the client's side.
 *
 *   SYN sent      counts the connection as in flight, if it goes to the endpoint's address
 *   established   binds the session; a success, unless the endpoint has failed since the SYN
 *   requests      see sockops_first.bpf.h
 *   unanswered    a SYN had to be sent again: a failure after about a second, not after the
 *                 kernel's two minutes
 *   closed        counts the end; notes the endpoint's failure, if it is one; reports to
 *                 `pintle events`
 *
 * An endpoint that fails several times in a row is ejected: it is not chosen for a while. Clients
 * also fail for reasons of their own, some on purpose. So the failures of a single client count
 * only while no other client is served, and the endpoint's answer to the daemon outweighs all
 * clients: see struct pintle_health.
 */
#ifndef PINTLE_SOCKOPS_CLIENT_BPF_H
#define PINTLE_SOCKOPS_CLIENT_BPF_H

#include "client.bpf.h"
#include "handoff/splice_flow.bpf.h"
#include "rule/daemon.bpf.h"
#include "sockops_first.bpf.h"

static __always_inline void event_of(struct pintle_event *e, const struct pintle_connect *c)
{
	e->pool = c->pool;
	e->pool_generation = c->pool_generation;
	e->endpoint = c->endpoint;
	e->generation = c->generation;
	e->class_id = c->class_id;
	e->outcome = c->outcome;
	e->tuple.scope = scope;
	e->tuple.local_port = c->frontend_port;
	__builtin_memcpy(e->tuple.local, c->frontend, sizeof(e->tuple.local));
}

/* Reports an event about the endpoint, not about a connection. `ns` is the ejection's length. */
__noinline int report_endpoint(const struct pintle_connect *c, __u32 type, __u32 failure, __u64 ns)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 readers = events_readers(now, 0);
	struct pintle_event *e;

	if (!c)
		return 0;
	e = event_begin(&readers, type, PINTLE_HOOK_CONNECT, now);
	if (!e)
		return 0;
	event_of(e, c);
	e->failure = failure;
	e->duration_ns = ns;
	event_end(e, readers);
	return 0;
}

/* ---- ejection ------------------------------------------------------------------------ */

struct ejected_loop {
	struct pintle_ref pool;
	__u64 now;
	__u32 silent; /* 1: no daemon's word counts */
	__u32 ejected;
	__u32 others; /* neither ejected nor drained */
};

static long ejected_member(__u32 i, void *arg)
{
	struct ejected_loop *l = arg;
	struct pintle_pool *pool = pool_find(l->pool.id, l->pool.generation);
	struct pintle_endpoint *e;
	struct pintle_health *h;
	__u32 id;

	if (!pool || i >= pool->member_count || i >= PINTLE_MAX_MEMBERS)
		return 1;
	id = pool->members[i].id;
	h = bpf_map_lookup_elem(&health, &id);
	e = endpoint_find(id, pool->members[i].generation);
	if (!h || !e)
		return 0;
	if (ejected(h, l->now) || (!l->silent && h->unfit == PINTLE_UNFIT_FAILING))
		l->ejected++;
	else if (!(e->flags & PINTLE_ENDPOINT_DRAINED))
		l->others++;
	return 0;
}

/* Returns how many members are ejected, and in the upper half how many are neither that nor
 * drained. */
__noinline int ejected_members(const struct pintle_ref *pool, __u64 now, __u32 silent)
{
	struct ejected_loop l = {.now = now, .silent = silent};

	if (!pool)
		return 0;
	l.pool = *pool;
	bpf_loop(PINTLE_MAX_MEMBERS, ejected_member, &l, 0);
	return (int)(l.ejected | l.others << 16);
}

/* How many members may be ejected. Without a daemon nobody learns that servers were replaced, so
 * the share does not bound what several clients find: 10.0.1.5 alone never ejects more than that,
 * but after a roll-out all clients fail at the former pods. Where nobody else serves the pool's
 * frontends, one endpoint stays. Where somebody does, and gets what finds no endpoint, one client
 * is enough: a gateway may be the only one on its node. */
static __always_inline __u32 eject_most(const struct pintle_pool *pool,
					const struct pintle_health *h, bool silent)
{
	bool open = pool->proxied && pool->failure_mode == PINTLE_FAIL_OPEN;

	if (!silent || !(h->failed_several || open) || pool->eject_most >= pool->member_count)
		return pool->eject_most;
	if (pool->proxied)
		return pool->member_count;
	return pool->eject_most ? pool->member_count - 1 : 0;
}

/* Ejections in a row double in length, up to the pool's limit. */
static __always_inline __u64 ejection_ns(const struct pintle_pool *pool, __u32 times)
{
	__u64 ns = pool->eject_ns << (times & 31);

	if (times > 31 || ns >> (times & 31) != pool->eject_ns || ns > pool->eject_max_ns)
		return pool->eject_max_ns;
	return ns;
}

/* Ejects the endpoint, then counts: if more endpoints are ejected than the pool's share allows, the
 * ejection is taken back. When two CPUs do so at the same time, both ejections are taken back, and
 * the next failure ejects one of the endpoints. `before`: ejected_until_ns from before the endpoint
 * was seen not to be ejected: so of two failures at the same time one ejects it. */
static __always_inline void endpoint_eject(const struct pintle_connect *c, struct pintle_pool *pool,
					   struct pintle_health *h, __u64 before, __u32 failure,
					   __u64 now)
{
	struct pintle_ref ref = {c->pool, c->pool_generation};
	__u64 ns = ejection_ns(pool, h->ejected_in_a_row);
	bool silent = daemon_silent(pool, now);
	__u32 most = eject_most(pool, h, silent), members;

	if (!most || __sync_val_compare_and_swap(&h->ejected_until_ns, before, now + ns) != before)
		return;
	members = (__u32)ejected_members(&ref, now, silent);
	if ((members & 0xffff) > most) {
		__sync_val_compare_and_swap(&h->ejected_until_ns, now + ns, 0);
		return;
	}
	if (silent && pool->proxied && h->failed_several && !(members >> 16))
		pool->left_ns = now;
	__sync_fetch_and_add(&h->ejected_in_a_row, 1);
	__sync_fetch_and_add(&h->ejections, 1);
	report_endpoint(c, PINTLE_EVENT_EJECTED, failure, ns);
}

/* NULL if this connection's success or failure proves nothing about the endpoint. */
static __always_inline struct pintle_health *health_of(const struct pintle_connect *c)
{
	__u32 id = c->endpoint;

	if (c->flags & PINTLE_CONNECT_APART || !endpoint_find(id, c->generation))
		return NULL;
	return bpf_map_lookup_elem(&health, &id);
}

/* Whether a failure of this client extends the row. A pod that a firewall cuts off, 10.0.1.5 say,
 * fails again and again while other clients are served: its further failures do not count. */
static __always_inline bool of_the_row(const struct pintle_health *h,
				       const struct pintle_pool *pool, __u64 client, __u64 now)
{
	/* Nor do failures of connections that were made before the endpoint was ejected. */
	if (ejected(h, now) || (__s64)(now - h->vouched_until_ns) < 0)
		return false;
	return h->failed_by != client || !h->others_ns ||
	       (__s64)(now - h->others_ns) >= (__s64)pool->eject_ns;
}

static __always_inline void endpoint_blame(struct pintle_health *h, __u64 client, __u32 *in_a_row,
					   __u64 now)
{
	if (health_answered(h->answered_ns, h->failed_ns)) {
		h->unopened = 0;
		h->resets = 0;
		h->ejected_in_a_row = 0;
	}
	if (!(h->unopened | h->resets))
		h->failed_several = 0;
	if (h->failed_by != client) {
		if ((h->unopened | h->resets) && h->failed_by &&
		    h->failed_by != PINTLE_CLIENT_DAEMON)
			h->failed_several = 1;
		h->failed_by = client;
		h->others_ns = 0;
	}
	h->failed_ns = now;
	__sync_fetch_and_add(in_a_row, 1);
}

__noinline int endpoint_failed(struct pintle_connect *c, __u32 failure)
{
	__u64 now = bpf_ktime_get_ns(), before;
	struct pintle_health *h;
	struct pintle_pool *pool;

	if (!c)
		return 0;
	h = health_of(c);
	pool = pool_find(c->pool, c->pool_generation);
	hide(failure);
	if (!h || !pool || failure >= PINTLE_FAILURE_COUNT)
		return 0;
	before = *(volatile __u64 *)&h->ejected_until_ns;
	__sync_fetch_and_add(&h->failures[failure], 1);
	if (!of_the_row(h, pool, c->client, now))
		return 0;
	endpoint_blame(h, c->client, failure == PINTLE_FAILURE_RESET ? &h->resets : &h->unopened,
		       now);
	if (pool->eject_after && h->resets + h->unopened >= pool->eject_after)
		endpoint_eject(c, pool, h, before, failure, now);
	return 0;
}

/* Notes a success of the client that failed last, whose failure is then forgotten, or of another
 * client. */
static __always_inline void endpoint_acquit(struct pintle_health *h, const struct pintle_connect *c)
{
	struct pintle_pool *pool = pool_find(c->pool, c->pool_generation);
	__u64 now = bpf_ktime_get_ns();

	if (h->failed_by == c->client)
		h->failed_by = 0;
	else if (h->failed_by && pool && (!h->others_ns || now - h->others_ns > pool->eject_ns / 8))
		h->others_ns = now; /* written seldom, because all CPUs read this cache line */
}

/* An established connection proves that the server accepts. Only a byte of an answer proves that
 * the server does not drop every client after that. */
__noinline int endpoint_answered(struct pintle_connect *c, __u32 bytes)
{
	struct pintle_health *h;

	if (!c)
		return 0;
	h = health_of(c);
	/* Only read in the usual case: all CPUs share this cache line, and there is rarely a
	 * failure. */
	if (!h || !(h->failed_by | h->unopened | h->resets | h->ejected_in_a_row))
		return 0;
	/* A connection from before the newest failure proves nothing: a server that drains refuses
	 * new connections, and ends the old ones in order. */
	if ((__s64)(c->opened_ns - h->failed_ns) < 0)
		return 0;
	if (h->unopened)
		h->unopened = 0;
	if (bytes && h->resets)
		h->resets = 0;
	if (h->resets)
		return 0;
	endpoint_acquit(h, c);
	if (!h->ejected_in_a_row || !__sync_lock_test_and_set(&h->ejected_in_a_row, 0))
		return 0;
	h->ejected_until_ns = 0;
	report_endpoint(c, PINTLE_EVENT_RESTORED, PINTLE_FAILURE_COUNT, 0);
	return 0;
}

/* ---- the connection's life ------------------------------------------------------------ */

static __always_inline struct pintle_connect *client_find(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c = sk ? connect_find(sk) : NULL;

	return c && c->generation ? c : NULL;
}

/* Whether the socket goes to the record's address. Another program that ran after ours may have
 * changed the address, and then the connection is not ours. */
static __always_inline bool goes_there(const struct pintle_connect *c, const struct pintle_tuple *t)
{
	const __u64 *a = (const __u64 *)c->address, *b = (const __u64 *)t->remote;

	return c->port == t->remote_port && a[0] == b[0] && a[1] == b[1];
}

/* Tells the overload responder whose the connection is. Only here the socket has its port. */
__noinline int divert_note(const struct pintle_connect *c, const struct pintle_tuple *t)
{
	struct pintle_tuple key;
	struct pintle_decision d = {.outcome = PINTLE_OUTCOME_DIVERTED};

	if (!c || !t)
		return 0;
	key.scope = t->scope;
	key.local_port = t->remote_port;
	key.remote_port = t->local_port;
	__builtin_memcpy(key.local, t->remote, sizeof(key.local));
	__builtin_memcpy(key.remote, t->local, sizeof(key.remote));
	d.decided_ns = bpf_ktime_get_ns();
	d.pool = c->pool;
	d.pool_generation = c->pool_generation;
	d.class_id = c->class_id;
	bpf_map_update_elem(&pending, &key, &d, BPF_ANY);
	return 0;
}

static __always_inline void client_connecting(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c = sk ? connect_find(sk) : NULL;
	struct pintle_counters *n;
	struct pintle_tuple t;

	if (c && c->flags & PINTLE_CONNECT_DIVERTED) {
		addresses_read(ctx, &t);
		if (goes_there(c, &t))
			divert_note(c, &t);
		else
			disown(c);
		return;
	}
	if (c && c->flags & PINTLE_CONNECT_SPLICED) {
		watch_end(ctx);
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
						       BPF_SOCK_OPS_STATE_CB_FLAG |
						       BPF_SOCK_OPS_RTO_CB_FLAG);
		return;
	}
	if (!c || !c->generation)
		return;
	addresses_read(ctx, &t);
	n = counters_of(c);
	if (!n || !goes_there(c, &t) || !endpoint_find(c->endpoint, c->generation)) {
		disown(c);
		seat_end(sk, c);
		return;
	}
	c->opened_ns = bpf_ktime_get_ns();
	trace_address(ctx);
	if (__sync_lock_test_and_set(&c->placed, 0)) {
		__sync_fetch_and_add(&n->opened, 1);
		__sync_lock_test_and_set(&c->counted, 1);
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG |
					       BPF_SOCK_OPS_RTO_CB_FLAG);
}

/* The server has answered: a success, and the session is bound. */
static __always_inline void client_met(struct bpf_sock_ops *ctx, struct pintle_connect *c)
{
	struct pintle_affinity_key key = {};
	struct pintle_affinity *a;
	struct pintle_pool *pool;
	struct pintle_turn *t;
	__u64 client;

	endpoint_answered(c, 0);
	pool = pool_find(c->pool, c->pool_generation);
	if (!pool || !outcome_binds(pool, c->outcome))
		return;
	key.pool = c->pool;
	key.pool_generation = c->pool_generation;
	key.session = c->session;
	if (!(c->flags & PINTLE_CONNECT_APART))
		majority_vote(&key);
	if (key.session.kind == PINTLE_KEY_NONE)
		return;
	client = c->flags & PINTLE_CONNECT_APART ? PINTLE_CLIENT_APART : c->client;
	a = bind_session(&key, client, c->endpoint, c->generation, bpf_ktime_get_ns());
	if (!c->counted || c->flags & PINTLE_CONNECT_SESSION || !session_open(&key, a, c->class_id))
		return;
	__sync_fetch_and_or(&c->flags, PINTLE_CONNECT_SESSION);
	t = pool->classify ? turn_make(ctx, c->opened_ns) : NULL;
	if (t)
		evidence_begin(&key, a, t);
}

/* The connection is spliced: a program at the pod's device has answered the SYN. That its server
 * has answered is seen when the request is acknowledged. */
static __always_inline bool client_spliced(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c = sk ? connect_find(sk) : NULL;

	if (!c || !(c->flags & PINTLE_CONNECT_SPLICED))
		return false;
	if (!(ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_STATE_CB_FLAG))
		watch_end(ctx);
	callback_arm(ctx, BPF_SOCK_OPS_RTT_CB_FLAG);
	return true;
}

static __always_inline void client_established(struct bpf_sock_ops *ctx)
{
	struct pintle_connect *c = client_find(ctx);

	if (client_spliced(ctx) || !c)
		return;
	/* Another program may have replaced the flags since the SYN. */
	if (!(ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_STATE_CB_FLAG))
		watch_end(ctx);
	first_begin(ctx, c->pool, c->pool_generation, BPF_SOCK_OPS_RTT_CB_FLAG);
	client_met(ctx, c);
}

/* The server of a spliced connection has acknowledged the request. Not inlined, because of its
 * stack. */
static __noinline void client_met_late(struct bpf_sock_ops *ctx, struct pintle_connect *c)
{
	struct pintle_pool *pool = pool_find(c->pool, c->pool_generation);

	if (__sync_fetch_and_or(&c->flags, PINTLE_CONNECT_MET) & PINTLE_CONNECT_MET)
		return;
	if (!pool || !pool->follow)
		callback_disarm(ctx, BPF_SOCK_OPS_RTT_CB_FLAG);
	client_met(ctx, c);
}

static __always_inline void client_unbind(struct bpf_sock_ops *ctx, struct pintle_connect *c,
					  const struct end *end)
{
	struct pintle_affinity_key key = {
		.pool = c->pool,
		.pool_generation = c->pool_generation,
		.session = c->session,
	};

	struct pintle_turn *t = turn_find(ctx, c->opened_ns);

	if (!(__sync_fetch_and_and(&c->flags, ~PINTLE_CONNECT_SESSION) & PINTLE_CONNECT_SESSION))
		return;
	session_close(&key, t, end->received - 1, end->acknowledged);
	evidence_end(ctx, &key, t, end->received - 1, end->acknowledged, true);
}

static __always_inline void client_acknowledged(struct bpf_sock_ops *ctx)
{
	struct pintle_connect *c = client_find(ctx);
	struct pintle_pool *pool;

	if (!c)
		return;
	if (c->flags & PINTLE_CONNECT_SPLICED) {
		if (!(c->flags & PINTLE_CONNECT_MET))
			client_met_late(ctx, c);
		pool = pool_find(c->pool, c->pool_generation);
		if (!pool || !pool->follow)
			return;
	}
	client_asked(ctx, c);
}

static __always_inline void client_sends(struct bpf_sock_ops *ctx)
{
	struct pintle_connect *c = client_find(ctx);

	if (c && client_told(ctx, c))
		callback_disarm(ctx, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

/* Nobody has answered a SYN that was to be answered at the pod's device. */
static __always_inline void client_unspliced(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c = sk ? connect_find(sk) : NULL;

	if (!c || !(c->flags & PINTLE_CONNECT_SPLICED) || ctx->state != BPF_TCP_SYN_SENT)
		return;
	splice_space_forget(c);
}

static __always_inline void client_unanswered(struct bpf_sock_ops *ctx)
{
	struct pintle_connect *c = client_find(ctx);

	client_unspliced(ctx);
	if (!c || ctx->state != BPF_TCP_SYN_SENT)
		return;
	if (!(__sync_fetch_and_or(&c->flags, PINTLE_CONNECT_UNANSWERED) &
	      PINTLE_CONNECT_UNANSWERED))
		endpoint_failed(c, PINTLE_FAILURE_UNANSWERED);
}

/* How the endpoint failed this connection, or PINTLE_FAILURE_COUNT if it did not. It is no failure
 * of the endpoint if the client gave up first, and no failure is counted twice. */
static __always_inline __u32 failure_of(struct bpf_sock_ops *ctx, const struct pintle_connect *c,
					__u32 error)
{
	if (c->flags & (PINTLE_CONNECT_RELEASED | PINTLE_CONNECT_UNANSWERED))
		return PINTLE_FAILURE_COUNT;
	if (ctx->args[0] != BPF_TCP_SYN_SENT)
		return error == ECONNRESET && !ctx->bytes_received ? PINTLE_FAILURE_RESET
								   : PINTLE_FAILURE_COUNT;
	switch (error) {
	case ECONNREFUSED:
		return PINTLE_FAILURE_REFUSED;
	case ETIMEDOUT:
		return PINTLE_FAILURE_UNANSWERED;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return PINTLE_FAILURE_UNREACHABLE;
	}
	return PINTLE_FAILURE_COUNT;
}

static __always_inline void report_client(struct bpf_sock_ops *ctx, const struct pintle_connect *c,
					  const struct end *end, __u32 failure, __u32 readers)
{
	struct pintle_event *e = event_closed(ctx, PINTLE_HOOK_CONNECT, end, &readers);
	struct pintle_tuple t;

	if (!e)
		return;
	event_of(e, c);
	e->failure = failure;
	e->tuple.remote_port = ctx->local_port;
	addresses_read(ctx, &t);
	__builtin_memcpy(e->tuple.remote, t.local, sizeof(e->tuple.remote));
	e->cgroup = c->cgroup;
	event_end(e, readers);
}

/* The flow of a spliced connection ends with its socket. */
static __noinline void client_flow_closed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c = sk ? connect_find(sk) : NULL;
	struct pintle_tuple t;

	if (!c || !(c->flags & PINTLE_CONNECT_SPLICED))
		return;
	addresses_read(ctx, &t);
	splice_client_closed(c, &t);
	if (!c->generation)
		seat_end(sk, c);
}

static __always_inline void client_closed(struct bpf_sock_ops *ctx)
{
	struct pintle_connect *c = client_find(ctx);
	struct pintle_ref went;
	struct end end = {};
	__u32 failure, readers;

	client_flow_closed(ctx);
	if (!c)
		return;
	count_end(c);
	if (ctx->sk)
		seat_end(ctx->sk, c);
	if (!c->opened_ns ||
	    __sync_fetch_and_or(&c->flags, PINTLE_CONNECT_REPORTED) & PINTLE_CONNECT_REPORTED)
		return;
	/* `received` is what the client sent, as at the server's side. */
	end.now = bpf_ktime_get_ns();
	end.received = ctx->bytes_acked;
	end.acknowledged = ctx->bytes_received;
	end.error = error_of(ctx);
	client_ended(ctx, c, end.error);
	answer_ended(turn_find(ctx, c->opened_ns), c->endpoint, c->generation, &end,
		     ctx->data_segs_in);
	client_was_answered(ctx, c, &end);
	client_unbind(ctx, c, &end);
	failure = failure_of(ctx, c, end.error);
	if (failure != PINTLE_FAILURE_COUNT)
		endpoint_failed(c, failure);
	else if (end.acknowledged)
		endpoint_answered(c, 1);
	end.duration_ns = end.now - c->opened_ns;
	if (!(c->flags & PINTLE_CONNECT_APART))
		count_ended(c->endpoint, c->generation, &end);
	went.id = c->endpoint;
	went.generation = c->generation;
	trace_end(ctx, &end, &went, failure);
	readers = events_readers(end.now, PINTLE_AUDIT_ENDS);
	if (readers)
		report_client(ctx, c, &end, failure, readers);
}

#endif
