/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * choose.bpf.h - one decision, for whichever hook asks: the rule, fed from the maps.
 *
 * A hook says in `struct terms` what it knows of the connection; choose() says the endpoint.
 */
#ifndef PINTLE_CHOOSE_BPF_H
#define PINTLE_CHOOSE_BPF_H

#include "common.bpf.h"
#include "eligible.bpf.h"

/* What a connection asks of an endpoint. */
struct terms {
	__u64 now;
	struct pintle_affinity_key key; /* the pool, and its session; of kind NONE: nobody's */
	__u16 family;                   /* PINTLE_FAMILY_* that the endpoint must take */
	__u16 daemonless;               /* nobody scrapes, so nobody reports readiness */
	__u32 home; /* 1 + the index of its group in the table of homes; 0: no group */
};

static __always_inline struct pintle_pool *pool_of(const struct terms *t)
{
	return pool_find(t->key.pool, t->key.pool_generation);
}

static __always_inline struct pintle_override *endpoint_override(__u32 endpoint)
{
	__u32 slot = PINTLE_ENDPOINT_SLOT(endpoint);

	return bpf_map_lookup_elem(&overrides, &slot);
}

/* Weakly ordered processors need the fields read between the two reads of `sequence`;
 * BPF's one full barrier is an atomic that returns a value. */
static __always_inline void read_barrier(void)
{
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_s390)
	barrier();
#else
	__u64 dummy = 0;

	__sync_fetch_and_add(&dummy, 1);
	barrier();
#endif
}

static __always_inline void score_read(struct eligible_score *s, __u32 id, __u32 generation)
{
	struct pintle_score *score = bpf_map_lookup_elem(&scores, &id);
	__u32 sequence;

	if (!score)
		return;
	sequence = *(volatile __u32 *)&score->sequence;
	read_barrier();
	eligible_score_take(s, score, generation);
	read_barrier();
	s->whole = !(sequence & 1) && sequence == *(volatile __u32 *)&score->sequence;
}

/* What is known of an endpoint, its score aside. Returns false if the id does not mean one of the
 * pool's endpoints any more. The compilers need least stack for the look-ups in this order. */
static __always_inline bool endpoint_query(struct eligible_query *q, const struct terms *t,
					   __u32 id, __u32 generation)
{
	q->health = bpf_map_lookup_elem(&health, &id);
	if (!q->health)
		return false;
	q->endpoint = bpf_map_lookup_elem(&endpoints, &id);
	if (!q->endpoint ||
	    !eligible_member(q->endpoint, generation, t->key.pool, t->key.pool_generation))
		return false;
	q->pool = pool_of(t);
	if (!q->pool)
		return false;
	q->override = endpoint_override(id);
	q->now = t->now;
	q->family = t->family;
	return true;
}

/* Takes c->endpoint and c->generation; bound: the session is bound to that endpoint. Returns 1 if
 * the endpoint may be chosen for this connection, and then *c has its loads. */
__weak __noinline int endpoint_weigh(const struct terms *t, struct decide_candidate *c, __u32 bound)
{
	struct pintle_inflight *counts;
	struct eligible_score score = {};
	struct decide_facts f = {};
	struct eligible_query q;
	__u32 id;

	if (!t || !c)
		return 0;
	id = c->endpoint;
	if (!endpoint_query(&q, t, id, c->generation) || ineligible_barred(&q))
		return 0;
	counts = bpf_map_lookup_elem(&inflight, &id);
	if (!counts)
		return 0;
	score_read(&score, id, c->generation);
	if (ineligible_unheard(q.health, &score, t->daemonless))
		return 0;
	eligible_facts(&f, q.pool, &score, t->now);
	eligible_count(&f, q.pool, counts);
	decide_weigh(c, &f, q.pool->departure, bound);
	return 1;
}

struct sample {
	struct decide_state rule;
	struct decide_candidate candidate; /* here, since the callback's stack counts too */
	struct decide_sample drawn;
};

struct sample_loop {
	struct sample *sample;
	const struct terms *terms;
};

/* The i-th member of the sample. Returns 1 when there are enough. */
static long sample_member(__u32 i, void *arg)
{
	const struct sample_loop *l = arg;
	const struct terms *t = l->terms;
	struct sample *s = l->sample;
	struct decide_candidate *c = &s->candidate;
	struct pintle_pool *pool;
	__u32 n, at;

	pool = pool_of(t);
	if (!pool)
		return 1;
	n = pool->member_count;
	if (!n || i >= n)
		return 1;
	at = decide_sample_member(&s->drawn, n, i);
	hide(at);
	if (at >= PINTLE_MAX_ENDPOINTS)
		return 1;
	c->endpoint = pool->members[at].id;
	c->generation = pool->members[at].generation;
	if (endpoint_weigh(t, c, false)) {
		decide_consider(&s->rule, c);
		s->drawn.taken++;
	}
	return decide_sample_done(&s->drawn, n, PINTLE_SAMPLE, i);
}

__weak __noinline int sample_members(struct sample *s, const struct terms *t, __u32 n)
{
	struct sample_loop l = {.sample = s, .terms = t};

	if (!s || !t)
		return 0;
	if (decide_sample_needed(n, PINTLE_SAMPLE))
		decide_sample_draw(&s->drawn, n, bpf_get_prandom_u32(), bpf_get_prandom_u32());
	else
		decide_sample_all(&s->drawn);
	bpf_loop(PINTLE_MAX_ENDPOINTS, sample_member, &l, 0);
	return 0;
}

/* The session's bound endpoint, unless the binding is too old. */
static __always_inline bool bound_find(const struct terms *t, struct decide_candidate *c)
{
	struct pintle_affinity_key key = t->key; /* 6.1 takes keys from the stack only */
	struct pintle_pool *pool = pool_of(t);
	struct pintle_affinity *a;

	if (!pool || key.session.kind == PINTLE_KEY_NONE)
		return false;
	a = binding_find(&key);
	if (!a || !decide_binding_holds(a->used_ns, t->now, pool->ttl_ns))
		return false;
	c->endpoint = a->endpoint;
	c->generation = a->generation;
	return true;
}

/* For terms.home, of the group's key. */
static __always_inline __u32 home_of(const struct pintle_session_key *group)
{
	const __u64 *id = (const __u64 *)group->id;

	return group->kind == PINTLE_KEY_NONE ? 0 : 1 + decide_home(id[0], id[1]);
}

static __always_inline bool home_find(const struct terms *t, struct decide_candidate *c)
{
	__u32 zero = 0, at = t->home - 1, pool_id = t->key.pool;
	struct pintle_homes *table;
	void *inner;

	hide(at);
	if (at >= PINTLE_HOME_ENTRIES)
		return false;
	inner = bpf_map_lookup_elem(&homes, &pool_id);
	if (!inner)
		return false;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table || table->pool_generation != t->key.pool_generation)
		return false;
	c->endpoint = table->home[at].id;
	c->generation = table->home[at].generation;
	return true;
}

/* A decide_find. */
static __always_inline bool preferred_find(void *arg, __u32 outcome, struct decide_candidate *c)
{
	const struct terms *t = arg;
	bool bound = outcome == PINTLE_OUTCOME_STICKY;

	return (bound ? bound_find(t, c) : home_find(t, c)) && endpoint_weigh(t, c, bound);
}

__weak __noinline int rule_prefer(struct decide_state *rule, const struct terms *t)
{
	if (!rule || !t)
		return 0;
	decide_prefer_first(rule, preferred_find, (void *)t);
	return 0;
}

/* One decision. r->generation is 0 when nobody is ready. */
__weak __noinline int choose(const struct terms *t, __u32 mode, struct decide_result *r)
{
	struct sample s = {};
	struct pintle_pool *pool;

	if (!t || !r)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	decide_begin(&s.rule, (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32(),
		     mode == PINTLE_MODE_BASELINE);
	if (mode == PINTLE_MODE_ENFORCE)
		rule_prefer(&s.rule, t);
	sample_members(&s, t, pool->member_count);
	decide_end(&s.rule, pool->max_extra_load, r);
	return 0;
}

static __always_inline void count_outcome(__u32 pool, __u32 outcome)
{
	__u32 at = PINTLE_STAT(pool, outcome);
	__u64 *n = bpf_map_lookup_elem(&stats, &at);

	if (n)
		__sync_fetch_and_add(n, 1); /* connect() may be interrupted by a segment */
}

/* The outcomes that a person who looks for trouble wants to see one by one. */
static __always_inline bool rare(__u32 outcome)
{
	return outcome == PINTLE_OUTCOME_ESCAPED || outcome == PINTLE_OUTCOME_NO_ENDPOINT ||
	       outcome == PINTLE_OUTCOME_STALE;
}

/* tuple.local: the frontend. */
__weak __noinline int report_decision(const struct pintle_tuple *tuple, const struct terms *t,
				      const struct decide_result *r, __u32 hook)
{
	struct pintle_event *e;

	if (!tuple || !t || !r || !events_followed(t->now))
		return 0;
	e = event_begin(PINTLE_EVENT_DECIDED, hook, t->now);
	if (!e)
		return 0;
	e->pool = t->key.pool;
	e->pool_generation = t->key.pool_generation;
	e->endpoint = r->endpoint;
	e->generation = r->generation;
	e->outcome = r->outcome;
	e->tuple = *tuple;
	event_end(e);
	return 0;
}

static __always_inline __u32 pool_mode(__u32 id, const struct pintle_pool *pool)
{
	struct pintle_override *o = bpf_map_lookup_elem(&overrides, &id);

	return o && o->generation == pool->generation && (o->flags & PINTLE_OVERRIDE_MODE)
		       ? o->mode
		       : pool->mode;
}

static __always_inline bool daemon_silent(const struct pintle_pool *pool, __u64 now)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return !n || eligible_daemonless(pool, n->heartbeat_ns, now);
}

#endif
