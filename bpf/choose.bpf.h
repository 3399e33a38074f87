/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * choose.bpf.h - one decision, for whichever hook asks: the rule, fed from the maps.
 *
 * A hook says in `struct terms` what it knows of the connection; choose() says the endpoint.
 */
#ifndef PINTLE_CHOOSE_BPF_H
#define PINTLE_CHOOSE_BPF_H

#include "common.bpf.h"
#include "decide.bpf.h"
#include "traits.bpf.h"

/* What a connection asks of an endpoint. */
struct terms {
	__u64 now;
	struct pintle_affinity_key key; /* the pool, and its session; of kind NONE: nobody's */
	__u16 family;                   /* PINTLE_FAMILY_* that the endpoint must take */
	__u16 daemonless;               /* nobody scrapes, so nobody reports readiness */
	__u32 home; /* 1 + the place of its group among the homes; 0: no group */
};

static __always_inline struct pintle_pool *pool_of(const struct terms *t)
{
	return pool_find(t->key.pool, t->key.pool_generation);
}

static __always_inline bool drained(__u32 endpoint, __u32 generation)
{
	__u32 slot = PINTLE_ENDPOINT_SLOT(endpoint);
	struct pintle_override *o = bpf_map_lookup_elem(&overrides, &slot);

	return o && o->generation == generation && (o->flags & PINTLE_OVERRIDE_DRAIN);
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

/* Facts out of the score, as far as it can be believed. Returns when it was scraped. */
static __always_inline __u64 score_read(const struct terms *t, const struct pintle_pool *pool,
					__u32 id, __u32 generation, struct decide_facts *f)
{
	struct pintle_score *score = bpf_map_lookup_elem(&scores, &id);
	__u64 scraped_ns;
	__u32 sequence;

	if (!score)
		return 0;
	sequence = *(volatile __u32 *)&score->sequence;
	read_barrier();
	scraped_ns = score->generation == generation ? score->scraped_ns : 0;
	f->published = score->model[0].published;
	f->running = score->model[0].running;
	f->inflight_at_scrape = score->inflight;
	f->pending_at_scrape = score->pending;
	read_barrier();
	f->fresh = !(sequence & 1) && sequence == *(volatile __u32 *)&score->sequence &&
		   scraped_ns && (__s64)(t->now - scraped_ns) <= (__s64)pool->staleness_ns;
	if (!scraped_ns) {
		/* Never scraped: all it has in flight came since. */
		f->inflight_at_scrape = 0;
		f->pending_at_scrape = 0;
		f->running = pool->running_weight;
	}
	return scraped_ns;
}

/* Whether there is somebody there for this connection, as far as is known. */
static __always_inline bool reachable(const struct terms *t, const struct pintle_pool *pool,
				      const struct pintle_endpoint *e,
				      const struct pintle_health *h)
{
	if (pool_reach(pool) == PINTLE_REACH_LISTENER)
		return h->listening_since_ns && h->families & t->family;
	return t->family == (address_is_v4(e->address) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6) &&
	       !ejected(h, t->now);
}

/* Takes c->endpoint and c->generation; bound: the session is bound to that endpoint. Returns 1 if
 * the endpoint may be chosen for this connection, and then *c has its loads. */
__weak __noinline int endpoint_weigh(const struct terms *t, struct decide_candidate *c, __u32 bound)
{
	struct decide_facts f = {};
	struct pintle_inflight *counts;
	struct pintle_endpoint *e;
	struct pintle_health *h;
	struct pintle_pool *pool;
	__u64 scraped_ns;
	__u32 id, class_id;

	if (!t || !c)
		return 0;
	id = c->endpoint;
	pool = pool_of(t);
	e = endpoint_find(id, c->generation);
	h = bpf_map_lookup_elem(&health, &id);
	counts = bpf_map_lookup_elem(&inflight, &id);
	if (!pool || !e || !h || !counts || e->pool != t->key.pool ||
	    e->pool_generation != t->key.pool_generation || !reachable(t, pool, e, h) ||
	    drained(id, c->generation))
		return 0;
	scraped_ns = score_read(t, pool, id, c->generation, &f);
	if ((!scraped_ns || scraped_ns < h->listening_since_ns) && !t->daemonless)
		return 0; /* not heard of since it listens, or ever */

	for (class_id = 0; class_id < PINTLE_MAX_CLASSES && class_id < pool->classes; class_id++) {
		struct pintle_counters *n = &counts->by_class[class_id];
		__u64 opened = n->opened;

		f.inflight += opened - n->closed;
		f.pending += n->placed - opened - n->failed;
	}
	decide_weigh(c, &f, pool->running_weight, bound);
	return 1;
}

struct sample {
	struct decide_state rule;
	struct decide_candidate candidate; /* here, since the callback's stack counts too */
	__u32 start, step, taken, zero;
};

/* Primes beyond PINTLE_MAX_ENDPOINTS have no factor in common with the size of a pool: with
 * one as the stride each member comes once before any comes again. */
static const __u32 strides[16] = {1031, 1153, 1289, 1433, 1571, 1721, 1873, 2017,
				  2179, 2341, 2503, 2671, 2837, 3001, 3169, 3329};

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
	at = (s->start + i * s->step) % n;
	hide(at);
	if (at >= PINTLE_MAX_ENDPOINTS)
		return 1;
	c->endpoint = pool->members[at].id;
	c->generation = pool->members[at].generation;
	if (endpoint_weigh(t, c, false)) {
		decide_consider(&s->rule, c);
		s->taken++;
	}
	if (n <= PINTLE_SAMPLE)
		return 0;
	return s->taken >= PINTLE_SAMPLE || (s->taken && i == 2 * PINTLE_SAMPLE - 1);
}

/* A small pool is looked at as a whole. In a large one members are drawn with a random stride
 * from a random place on, until enough are eligible; some will do if they are among the first
 * draws. */
__weak __noinline int sample_members(struct sample *s, const struct terms *t, __u32 n)
{
	struct sample_loop l = {.sample = s, .terms = t};

	if (!s || !t)
		return 0;
	s->step = 1;
	if (n > PINTLE_SAMPLE) {
		s->start = bpf_get_prandom_u32() % n;
		s->step = strides[bpf_get_prandom_u32() % (sizeof(strides) / sizeof(strides[0]))];
	}
	bpf_loop(PINTLE_MAX_ENDPOINTS, sample_member, &l, 0);
	return 0;
}

/* The session's bound endpoint, unless the binding is too old or its endpoint is not eligible. */
static __always_inline bool prefer_bound(struct decide_state *rule, const struct terms *t,
					 const struct pintle_pool *pool)
{
	struct pintle_affinity_key key = t->key; /* 6.1 takes keys from the stack only */
	struct decide_candidate c = {};
	struct pintle_affinity *a;

	if (key.session.kind == PINTLE_KEY_NONE)
		return false;
	a = binding_find(&key);
	if (!a || (__s64)(t->now - a->used_ns) >= (__s64)pool->ttl_ns)
		return false;
	c.endpoint = a->endpoint;
	c.generation = a->generation;
	if (!endpoint_weigh(t, &c, true))
		return false;
	decide_prefer(rule, &c, PINTLE_OUTCOME_STICKY);
	return true;
}

/* splitmix64's finalizer (Steele, Lea and Flood, OOPSLA '14). */
static __always_inline __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* For terms.home, of the group's key. */
static __always_inline __u32 home_of(const struct pintle_session_key *group)
{
	const __u64 *id = (const __u64 *)group->id;

	if (group->kind == PINTLE_KEY_NONE)
		return 0;
	return 1 + mix(mix(id[0]) ^ id[1]) % PINTLE_HOME_ENTRIES;
}

static __always_inline void prefer_home(struct decide_state *rule, const struct terms *t)
{
	__u32 zero = 0, at = t->home - 1, pool_id = t->key.pool;
	struct decide_candidate c = {};
	struct pintle_homes *table;
	void *inner;

	hide(at);
	if (at >= PINTLE_HOME_ENTRIES)
		return;
	inner = bpf_map_lookup_elem(&homes, &pool_id);
	if (!inner)
		return;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table || table->pool_generation != t->key.pool_generation)
		return;
	c.endpoint = table->home[at].id;
	c.generation = table->home[at].generation;
	if (endpoint_weigh(t, &c, false))
		decide_prefer(rule, &c, PINTLE_OUTCOME_HOME);
}

__weak __noinline int rule_prefer(struct decide_state *rule, const struct terms *t)
{
	struct pintle_pool *pool;

	if (!rule || !t)
		return 0;
	pool = pool_of(t);
	if (pool && !prefer_bound(rule, t, pool))
		prefer_home(rule, t);
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

	if (!tuple || !t || !r || !followed(t->now))
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

	return !n || (__s64)(now - n->heartbeat_ns) > (__s64)pool->staleness_ns;
}

#endif
