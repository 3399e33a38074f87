/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * splice_decide.bpf.h - decides a spliced connection, whose first request is there, among all
 * endpoints of its pool. The connect hook has left it for this, and has found out already who the
 * client is: its class, its tenant, the session of a request that names none. All that is in the
 * record of the client's socket (`connects`), which gets the endpoint here; sockops follows the
 * socket then as any other that the connect hook has placed.
 */
#ifndef PINTLE_SPLICE_DECIDE_BPF_H
#define PINTLE_SPLICE_DECIDE_BPF_H

#include "hooks/client.bpf.h"
#include "rule/access.bpf.h"
#include "rule/classes.bpf.h"
#include "rule/daemon.bpf.h"
#include "rule/decided.bpf.h"
#include "splice_write.bpf.h"

struct placing {
	struct __sk_buff *skb;
	const struct pintle_tuple *tuple;
	struct pintle_connect *connect;
};

#include "rule/attempt.bpf.h"

/* The lookup hook defines the first two, the clients' side of sockops the third. */
int anyone(const struct terms *t, const struct pintle_tuple *tuple, struct decide_result *r);
int lookup_class(struct terms *t, const struct pintle_tuple *tuple);
int endpoint_failed(struct pintle_connect *c, __u32 failure);

/* The session is the one that the request names, or that of the client. The text of the connect
 * hook made that, as it makes those of connections that it decides itself. */
static __always_inline void splice_keys(struct placing *p, struct terms *t)
{
	struct pintle_pool *pool = pool_of(t);

	if (!pool)
		return;
	t->key.session = p->connect->session;
	asking_session(pool, &t->key.session);
	t->prompted = asking_prompt(pool, &t->key);
	t->adapted = asking_adapter(pool, &t->key);
	t->home = 0;
}

static __always_inline __u64 attempt_draw(const struct placing *p)
{
	(void)p;
	return bpf_get_prandom_u32();
}

static __always_inline __u64 attempt_client(const struct placing *p)
{
	return p->connect->cgroup;
}

static __always_inline void attempt_keys(struct placing *p, struct terms *t)
{
	splice_keys(p, t);
}

/* The overload responder is not spliced to. */
static __always_inline void attempt_otherwise(struct placing *p, struct terms *t,
					      struct decide_result *r)
{
	if (r->outcome == PINTLE_OUTCOME_DIVERTED)
		r->outcome = PINTLE_OUTCOME_REFUSED;
	if (r->outcome == PINTLE_OUTCOME_NO_ENDPOINT)
		anyone(t, p->tuple, r);
}

static __always_inline bool attempt_place(struct placing *p, struct terms *t,
					  const struct decide_result *r)
{
	p->connect->class_id = t->class_id;
	connect_place(p->connect, t, r, p->tuple, false);
	return p->connect->placed;
}

static __always_inline void attempt_undo(struct placing *p)
{
	disown(p->connect);
}

static __always_inline bool attempt_give(struct placing *p, struct terms *t,
					 const struct decide_result *r)
{
	(void)p;
	(void)t;
	(void)r;
	return true;
}

/* Tells of a traced decision, and keeps it with the client's socket. Not inlined, because of its
 * stack. */
static __noinline void splice_trace(const struct placing *p, struct terms *t,
				    const struct pintle_ref *asked, const struct decide_result *r)
{
	struct pintle_trace *n = note_find(t->note);
	struct __sk_buff *skb = p->skb;
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!n || !sk)
		return;
	n->cookie = bpf_get_socket_cookie(skb);
	n->cgroup = p->connect->cgroup;
	bpf_sk_storage_delete(&traces, sk);
	if (trace_decided(t, asked, r, p->tuple, PINTLE_HOOK_CONNECT) > 0 && !t->would &&
	    !bpf_sk_storage_get(&traces, sk, n, BPF_SK_STORAGE_GET_F_CREATE))
		note_lost(n->followers);
	note_free(t->note);
	t->note = 0;
}

static __always_inline void attempt_trace(struct placing *p, struct terms *t,
					  const struct pintle_ref *asked,
					  const struct decide_result *r)
{
	splice_trace(p, t, asked, r);
}

/* Whether the request's model leads to another pool, which knows the client by its address alone.
 * Sets *t to what the pool says of it. */
static __always_inline void splice_class(struct terms *t, const struct pintle_tuple *tuple,
					 const struct pintle_pool *pool)
{
	t->class_id = 0;
	if (pool->class_count > 1 || pool->allow_count)
		lookup_class(t, tuple);
}

/* The record of the socket that has sent the packet, if it has one for a spliced connection to this
 * destination. */
static __always_inline struct pintle_connect *splice_record(struct __sk_buff *skb,
							    const struct pintle_tuple *t)
{
	struct bpf_sock *sk = skb->sk;
	const __u32 *is, *asked;
	struct pintle_connect *c;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return NULL;
	c = bpf_sk_storage_get(&connects, sk, NULL, 0);
	if (!c || !(c->flags & PINTLE_CONNECT_SPLICED) || c->frontend_port != t->local_port)
		return NULL;
	is = (const __u32 *)c->frontend;
	asked = (const __u32 *)t->local;
	return (is[0] ^ asked[0]) | (is[1] ^ asked[1]) | (is[2] ^ asked[2]) | (is[3] ^ asked[3])
		       ? NULL
		       : c;
}

/* Decides the connection among the endpoints of w->asked, and enters that into its socket's record:
 * no endpoint there, if no server gets it. Called by the program itself, because of its stack. */
__noinline int splice_decide(struct __sk_buff *skb, const struct hand *h)
{
	struct decide_result r = {.outcome = PINTLE_OUTCOME_NO_ENDPOINT};
	struct splice_work *w = splice_work_find();
	struct pintle_asking *a = asking_find();
	struct terms t = {};
	struct placing p = {.skb = skb};
	struct pintle_ref ref;
	struct pintle_pool *pool;

	if (!w || !h || !a)
		return 0;
	ref = w->asked;
	pool = pool_find(ref.id, ref.generation);
	p.tuple = &h->s.tuple;
	p.connect = splice_record(skb, &h->s.tuple);
	if (!pool || !p.connect)
		return 0;
	a->state = PINTLE_ASKING_WHERE;
	t.family = h->v4 ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
	t.key.pool = ref.id;
	t.key.pool_generation = ref.generation;
	t.now = h->now;
	t.mode = pool_mode(ref.id, pool, t.now);
	/* The handshake was begun before. */
	if (t.mode == PINTLE_MODE_OFF)
		t.mode = PINTLE_MODE_ENFORCE;
	t.daemonless = daemon_silent(pool, t.now);
	t.handed = 1;
	t.again = w->again;
	t.class_id = p.connect->class_id;
	if (ref.id != p.connect->pool && !w->again)
		splice_class(&t, p.tuple, pool);
	splice_keys(&p, &t);
	decide_connection(&p, &t, &ref, p.tuple, &r, PINTLE_HOOK_CONNECT, true);
	a->state = PINTLE_ASKING_NOTHING;
	p.connect->flags |= PINTLE_CONNECT_SPLICED;
	if (!r.generation)
		p.connect->generation = 0;
	return !!r.generation;
}

/* As client_connecting(): the SYN goes to the server. */
static __always_inline void splice_opened(struct pintle_connect *c, __u64 now)
{
	struct pintle_counters *n = counters_of(c);

	c->opened_ns = now;
	if (n && __sync_lock_test_and_set(&c->placed, 0)) {
		__sync_fetch_and_add(&n->opened, 1);
		__sync_lock_test_and_set(&c->counted, 1);
	}
}

#endif
