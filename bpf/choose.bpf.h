/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * choose.bpf.h - makes a decision for a hook: feeds the rule from the maps.
 *
 * The hook describes the connection in `struct terms`; choose() returns the endpoint.
 */
#ifndef PINTLE_CHOOSE_BPF_H
#define PINTLE_CHOOSE_BPF_H

#include "common.bpf.h"
#include "eligible.bpf.h"
#include "trace.bpf.h"
#include "trial.bpf.h"

/* The connection for which an endpoint is chosen. */
struct terms {
	__u64 now;
	struct pintle_affinity_key key; /* the pool and the session; kind NONE: no session */
	__u8 family : 2;                /* PINTLE_FAMILY_* that the endpoint must take */
	__u8 daemonless : 1;            /* no daemon scrapes, so readiness is not known */
	__u8 would : 1;                 /* mode shadow: nothing is placed, see shadow.bpf.h */
	__u8 forbidden : 1;             /* the client may not connect to the pool */
	__u8 full : 1;                  /* the pool has no room for it, as placed_over() found */
	__u8 over : 1;                  /* its session has more than its share of the class */
	__u8 over_quota : 1;            /* its tenant has all that it may have of the pool */
	__u8 mode : 2;                  /* enum pintle_mode */
	__u8 asked_mode : 2;            /* of the pool that is asked, like the next two */
	__u8 asked_class : 3;
	__u8 asked_full : 1; /* in a fallback: that pool is full for the class; 0: none is ready */
	__u8 diverts : 1;    /* a fallback would send it to the overload responder */
	__u8 tier : 4;       /* enum tier: whether `key.pool` is that pool */
	__u8 note;           /* while somebody follows: see trace.bpf.h; 0: none */
	__u16 home;          /* 1 + the index of its group in the table of homes; 0: no group */
	__u8 frontend_bits;  /* of the frontend's prefix */
	__u8 class_id;
};
_Static_assert(PINTLE_HOME_ENTRIES < 65536 && PINTLE_MODE_COUNT <= 4 && PINTLE_MAX_CLASSES <= 8,
	       "members of struct terms");

static __always_inline struct pintle_pool *pool_of(const struct terms *t)
{
	return pool_find(t->key.pool, t->key.pool_generation);
}

static __always_inline struct pintle_class *class_of(struct pintle_pool *pool,
						     const struct terms *t)
{
	return &pool->class_of[t->class_id & (PINTLE_MAX_CLASSES - 1)];
}

/* A fallback is asked in place of the pool whose quota is used up. */
static __always_inline bool is_over_quota(const struct terms *t)
{
	return t->over_quota && t->tier <= 1 + PINTLE_OTHER_CANARY;
}

static __always_inline struct pintle_override *endpoint_override(__u32 endpoint)
{
	__u32 slot = PINTLE_ENDPOINT_SLOT(endpoint);

	return bpf_map_lookup_elem(&overrides, &slot);
}

/* Keeps the reads of a score's fields between the two reads of `sequence`, also on weakly ordered
 * processors. BPF's only full barrier is an atomic that returns a value. */
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

/* Looks up everything about an endpoint except its score. Returns false if the id is no longer that
 * of one of the pool's endpoints. Look-ups in this order take the least stack. */
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

/* Whether the endpoint that c->endpoint and c->generation name is none of the pool's, or may not be
 * chosen for this connection. Apart from endpoint_load(), because of the stack. */
__weak __noinline int endpoint_barred(const struct terms *t, const struct decide_candidate *c)
{
	struct eligible_score s = {};
	struct pintle_score *score;
	struct eligible_query q;
	__u32 id;

	if (!t || !c)
		return 1;
	id = c->endpoint;
	score = bpf_map_lookup_elem(&scores, &id);
	if (!score || !endpoint_query(&q, t, id, c->generation))
		return 1;
	s.scraped_ns = eligible_scraped_ns(score, c->generation);
	return ineligible(&q, &s, t->daemonless);
}

/* Whether this connection is to try the endpoint, which stands still: one connection in
 * PINTLE_TRY_NS does. */
__weak __noinline int endpoint_try(__u32 id, __u64 now)
{
	struct pintle_health *h = bpf_map_lookup_elem(&health, &id);
	__u64 before;

	if (!h || !eligible_due(h, now))
		return 0;
	before = h->tried_ns;
	return (__s64)(now - before) >= (__s64)PINTLE_TRY_NS &&
	       __sync_val_compare_and_swap(&h->tried_ns, before, now) == before;
}

/* Sets the loads in *c; 0 if there is no such endpoint. What changed since the score is computed
 * before `sequence` is read again, because that takes less stack than the score's fields. */
__weak __noinline int endpoint_load(const struct terms *t, struct decide_candidate *c, __u32 bound)
{
	struct pintle_inflight *counts;
	struct pintle_score *score;
	struct pintle_pool *pool;
	struct eligible_score s = {.whole = 1};
	struct decide_changes changes;
	struct decide_facts f = {};
	__u32 id, sequence;

	if (!t || !c)
		return 0;
	id = c->endpoint;
	pool = pool_of(t);
	score = bpf_map_lookup_elem(&scores, &id);
	counts = inflight_find(&id);
	if (!pool || !score || !counts)
		return 0;
	eligible_count(&f, pool, counts);
	sequence = *(volatile __u32 *)&score->sequence;
	read_barrier();
	eligible_score_take(&s, score, c->generation, pool, t->now);
	eligible_facts(&f, pool, &s, t->now);
	decide_compare(&changes, &f);
	read_barrier();
	if (sequence & 1 || sequence != *(volatile __u32 *)&score->sequence)
		f.fresh = f.lost = f.passed = 0;
	decide_weigh_changed(c, &f, &changes, pool->departure, bound);
	return 1;
}

/* Sets c->full. Apart from endpoint_load(), because of the stack, and because most classes have
 * nothing that an endpoint could be full by. */
__weak __noinline int endpoint_full(const struct terms *t, struct decide_candidate *c)
{
	struct pintle_inflight *counts;
	struct pintle_health *h;
	struct pintle_pool *pool;
	__u32 id;

	if (!t || !c)
		return 0;
	id = c->endpoint;
	pool = pool_of(t);
	counts = inflight_find(&id);
	h = bpf_map_lookup_elem(&health, &id);
	if (pool && counts && h)
		c->full = eligible_full(class_of(pool, t), t->class_id, counts, h, t->over);
	return 0;
}

static __always_inline bool is_bounded(const struct terms *t)
{
	struct pintle_pool *pool = pool_of(t);

	return pool && class_of(pool, t)->flags & PINTLE_CLASS_BOUNDED;
}

/* Weighs the endpoint that c->endpoint and c->generation name; `bound` says that the session is
 * bound to it. Returns 1 and sets the loads in *c if the endpoint may be chosen for this
 * connection, else 0. */
static __always_inline int endpoint_weigh(const struct terms *t, struct decide_candidate *c,
					  __u32 bound)
{
	if (endpoint_barred(t, c) || !endpoint_load(t, c, bound))
		return 0;
	if (is_bounded(t))
		endpoint_full(t, c);
	return 1;
}

/* Remembers whether the endpoint is full by its load, by a score that is believed. Without a daemon
 * no score is. */
__weak __noinline int endpoint_mark(const struct terms *t, const struct decide_candidate *c,
				    __u32 limit, __u32 load)
{
	__u32 id, bit = 1U << (t ? t->class_id & (PINTLE_MAX_CLASSES - 1) : 0);
	struct pintle_health *h;
	bool full;

	if (!t || !c || t->would || t->over || (!c->fresh && !t->daemonless))
		return 0;
	full = decide_full_by_load(limit, load, c->full);
	if (full == !!(c->full & DECIDE_FULL_BEFORE))
		return 0;
	id = c->endpoint;
	h = bpf_map_lookup_elem(&health, &id);
	if (!h)
		return 0;
	if (full)
		__sync_fetch_and_or(&h->full_classes, bit);
	else
		__sync_fetch_and_and(&h->full_classes, ~bit);
	return 0;
}

/* ---- connections of the class in the whole pool ------------------------------------ */

struct class_sum {
	const struct terms *terms;
	__u64 in_flight;
};

static long class_sum_member(__u32 i, void *arg)
{
	struct class_sum *s = arg;
	struct pintle_pool *pool = pool_of(s->terms);
	struct pintle_counters *n;

	if (!pool || i >= pool->member_count || i >= PINTLE_MAX_MEMBERS)
		return 1;
	n = counters_find(pool->members[i].id, s->terms->class_id);
	if (n)
		s->in_flight += eligible_in_flight(n);
	return 0;
}

/* Whether the pool has more connections of the class, or as many and `more` besides, as it may
 * have. The sum of the endpoints' counts is never wrong when they are right; a count of its own
 * would have to be corrected apart from them. */
__weak __noinline int class_over(const struct terms *t, __u32 more)
{
	struct class_sum s = {.terms = t};
	struct pintle_pool *pool;

	if (!t)
		return 0;
	pool = pool_of(t);
	if (!pool || !class_of(pool, t)->pool_connections)
		return 0;
	bpf_loop(PINTLE_MAX_MEMBERS, class_sum_member, &s, 0);
	pool = pool_of(t);
	return pool && (__s64)(s.in_flight + more) >
			       (__s64)eligible_bound(class_of(pool, t)->pool_connections, t->over);
}

/* ---- shares ------------------------------------------------------------------------- */

/* Whether a session that keeps coming back gets no further connection. */
static __always_inline bool share_used(const struct pintle_affinity_key *from, __u32 places,
				       __u32 open, __u64 sessions, __u64 now)
{
	struct pintle_affinity_key key = *from; /* Linux 6.1 takes keys only from the stack */
	struct pintle_refusal *r = bpf_map_lookup_elem(&refusals, &key);

	return r && eligible_suspected(r, now) && eligible_over(places, open + 1, sessions + !open);
}

/* Finds whether the session has more of its class than its share: t->over, and t->full of one that
 * keeps coming back. */
__weak __noinline int share_judge(struct terms *t)
{
	struct pintle_affinity_key key;
	struct pintle_affinity *a;
	struct pintle_pool *pool;
	__u32 places, open = 0;
	__u64 *n, sessions;

	if (!t)
		return 0;
	t->over = 0;
	if (t->would || t->key.session.kind == PINTLE_KEY_NONE)
		return 0;
	pool = pool_of(t);
	places = pool ? class_of(pool, t)->places : 0;
	n = places ? sharing_of(t->key.pool, t->class_id) : NULL;
	if (!n)
		return 0;
	sessions = *n;
	key = t->key;
	a = binding_find(&key);
	if (a)
		open = a->open;
	t->over = eligible_over(places, open, sessions);
	if (share_used(&t->key, places, open, sessions, t->now))
		t->full = 1;
	return 0;
}

/* Notes that the connection is told no. */
__weak __noinline int share_refuse(const struct terms *t)
{
	struct pintle_refusal first = {}, *r;
	struct pintle_affinity_key key;
	struct pintle_bindings *n;
	struct pintle_pool *pool;
	__u32 id;

	if (!t || t->key.session.kind == PINTLE_KEY_NONE)
		return 0;
	pool = pool_of(t);
	if (!pool || !class_of(pool, t)->places)
		return 0;
	key = t->key;
	r = bpf_map_lookup_elem(&refusals, &key);
	if (!r) {
		first.told_ns = t->now;
		bpf_map_update_elem(&refusals, &key, &first, BPF_NOEXIST);
		return 0;
	}
	if ((__s64)(t->now - r->told_ns) >= (__s64)PINTLE_RETRY_NS)
		r->again = 0;
	else if (r->again < PINTLE_RETRIES)
		__sync_fetch_and_add(&r->again, 1);
	r->told_ns = t->now;
	id = t->key.pool;
	n = bpf_map_lookup_elem(&bindings, &id);
	if (n && r->again >= PINTLE_RETRIES)
		__sync_fetch_and_add(&n->retry_suspected, 1);
	return 0;
}

#define PLACE_ATTEMPTS 3

/* Whether, now that the connection is counted, the class has more connections at the endpoint or in
 * the pool than it may have: another CPU has placed one at the same time. The hook takes the
 * placement back, and decides again. So a class that is refused at its bounds never has more
 * connections than they say, though two that race for the last place may both not get it. */
__weak __noinline int placed_over(const struct terms *t, __u32 endpoint)
{
	struct pintle_counters *n;
	struct pintle_class *class;
	struct pintle_pool *pool;

	if (!t)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	class = class_of(pool, t);
	if (t->mode == PINTLE_MODE_BASELINE || class->admission == PINTLE_ADMISSION_PROCEED ||
	    !(class->connections | class->pool_connections))
		return 0;
	n = counters_find(endpoint, t->class_id);
	if (n && class->connections &&
	    (__s64)eligible_in_flight(n) > (__s64)eligible_bound(class->connections, t->over))
		return 1;
	return class_over(t, 0);
}

struct sample {
	const struct terms *terms;
	struct decide_state rule;
	struct decide_candidate candidate; /* here, because the callback's stack counts, too */
	struct decide_sample drawn;
};

/* Considers the i-th member of the sample. Returns 1 when no more are needed. */
static long sample_member(__u32 i, void *arg)
{
	struct sample *s = arg;
	const struct terms *t = s->terms;
	struct decide_candidate *c = &s->candidate;
	struct pintle_pool *pool;
	__u32 n, at, barred;

	pool = pool_of(t);
	if (!pool)
		return 1;
	n = pool->member_count;
	if (!n || i >= n)
		return 1;
	at = decide_sample_member(&s->drawn, n, i);
	hide(at);
	if (at >= PINTLE_MAX_MEMBERS)
		return 1;
	if (pool->ready)
		at = pool->order[at];
	if (at >= PINTLE_MAX_MEMBERS)
		return 1;
	c->endpoint = pool->members[at].id;
	c->generation = pool->members[at].generation;
	barred = endpoint_barred(t, c);
	hide(barred);
	if (!t->would && !is_over_quota(t) && stands_still(barred) &&
	    endpoint_try(c->endpoint, t->now)) {
		c->tried = 1;
		return 1;
	}
	if (!barred && endpoint_load(t, c, false)) {
		if (is_bounded(t))
			endpoint_full(t, c);
		if (t->note)
			note_candidate(t->note, c, 0);
		decide_consider(&s->rule, c);
		decide_sample_take(&s->drawn, &s->rule, c);
		if (s->rule.limit)
			endpoint_mark(t, c, s->rule.limit, decide_load(&s->rule, c));
	} else if (t->note) {
		note_candidate(t->note, c, barred);
	}
	return decide_sample_done(&s->drawn, n, decide_sample_size(n, pool->sample), i);
}

/* Finds the endpoint to which the session is bound, unless the binding is too old or the session is
 * a crowd; and sets rule->extra, also then. Returns 1 if there is one. A function of its own,
 * because of its stack. */
__weak __noinline int bound_find(struct decide_state *rule, const struct terms *t,
				 struct decide_candidate *c)
{
	struct pintle_affinity_key key;
	struct pintle_affinity *a;
	struct pintle_score *score;
	struct pintle_pool *pool;
	bool passed;
	__u32 id;

	if (!rule || !t || !c || t->key.session.kind == PINTLE_KEY_NONE)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	key = t->key; /* Linux 6.1 takes keys only from the stack */
	a = t->would ? bpf_map_lookup_elem(&shadow_bindings, &key) : binding_find(&key);
	if (!a)
		return 0;
	id = a->endpoint;
	score = bpf_map_lookup_elem(&scores, &id);
	passed = score && score->generation == a->generation &&
		 eligible_passed(pool, score->passed_ns, t->now);
	if (passed && !(class_of(pool, t)->flags & PINTLE_CLASS_EXTRA))
		rule->extra = decide_extra(a->context_bytes, pool->context_bytes);
	if (!decide_binding_holds(a->used_ns, t->now, pool->ttl_ns) || decide_crowded(a, passed))
		return 0;
	c->endpoint = id;
	c->generation = a->generation;
	return 1;
}

/* Returns terms.home for the key of a group. */
static __always_inline __u32 home_of(const struct pintle_session_key *group)
{
	const __u64 *id = (const __u64 *)group->id;

	return group->kind == PINTLE_KEY_NONE ? 0 : 1 + decide_home(id[0], id[1]);
}

/* Finds the home of the connection's group. Returns 1 if there is one. */
__weak __noinline int home_find(const struct terms *t, struct decide_candidate *c)
{
	__u32 zero = 0, at, pool_id;
	struct pintle_homes *table;
	void *inner;

	if (!t || !c)
		return 0;
	at = t->home - 1;
	pool_id = t->key.pool;
	hide(at);
	if (at >= PINTLE_HOME_ENTRIES)
		return 0;
	inner = bpf_map_lookup_elem(&homes, &pool_id);
	if (!inner)
		return 0;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table || table->pool_generation != t->key.pool_generation)
		return 0;
	c->endpoint = table->home[at].id;
	c->generation = table->home[at].generation;
	return 1;
}

/* The decide_find of decide_prefer_first(). */
static __always_inline int preferred_find(struct decide_state *rule, const void *arg, __u32 outcome,
					  struct decide_candidate *c)
{
	const struct terms *t = arg;
	bool bound = outcome == PINTLE_OUTCOME_STICKY;
	int found = bound ? bound_find(rule, t, c) : home_find(t, c);

	return found > 0 && endpoint_weigh(t, c, bound);
}

/* Sets the limit of the connection's class, and considers the endpoint that it prefers. */
__weak __noinline int rule_prefer(struct decide_state *rule, const struct terms *t,
				  struct decide_candidate *c)
{
	struct pintle_pool *pool;

	if (!rule || !t || !c)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	rule->limit = eligible_bound(class_of(pool, t)->limit, t->over);
	rule->full = t->full || is_over_quota(t) || class_over(t, 1);
	decide_prefer_first(rule, preferred_find, t, c);
	return 0;
}

/* Where the overload responder takes the connection; NULL: nowhere. Without a daemon nobody starts
 * it again, and it does not know the load. */
static __always_inline struct pintle_responder *responder_of(const struct terms *t)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);
	struct pintle_responder *r;

	if (!n || t->daemonless)
		return NULL;
	r = &n->responders[PINTLE_RESPONDER_AT(t->family)];
	return r->port ? r : NULL;
}

/* Apart from choose(), because of its stack. */
__weak __noinline int rule_end(struct decide_state *rule, const struct terms *t,
			       struct decide_result *r)
{
	struct pintle_class *class;
	struct pintle_pool *pool;
	__u32 admission;

	if (!rule || !t || !r)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	class = class_of(pool, t);
	admission = class->admission;
	if (is_over_quota(t) && admission == PINTLE_ADMISSION_PROCEED)
		admission = PINTLE_ADMISSION_REFUSE;
	if (admission == PINTLE_ADMISSION_DIVERT)
		admission = decide_admission(admission, responder_of(t));
	decide_end(rule,
		   class->flags & PINTLE_CLASS_EXTRA ? class->max_extra_load : pool->max_extra_load,
		   admission, r);
	return 0;
}

/* Reads a word of a cache line that the rule will need; volatile, because the word is not used. */
#define fetch(field) ((void)*(const volatile __u32 *)&(field))

_Static_assert(!(__builtin_offsetof(struct pintle_score, passed_ns) % 64) &&
		       !(sizeof(struct pintle_score) % 64) && !(sizeof(struct pintle_health) % 64),
	       "a decision would read more cache lines than endpoint_fetch()");

/* A word of each cache line that endpoint_barred() and endpoint_load() read of the endpoint. */
static __always_inline void endpoint_fetch(__u32 id)
{
	struct pintle_endpoint *e = bpf_map_lookup_elem(&endpoints, &id);
	struct pintle_inflight *counts = inflight_find(&id);
	struct pintle_health *h = bpf_map_lookup_elem(&health, &id);
	struct pintle_score *score = bpf_map_lookup_elem(&scores, &id);
	struct pintle_override *o = endpoint_override(id);

	if (!e || !counts || !h || !score || !o)
		return;
	fetch(e->generation);
	fetch(counts->by_class[0]);
	fetch(h->families);
	fetch(h->unfit);
	fetch(score->sequence);
	fetch(score->floor);
	fetch(o->generation);
}

/* Brings the rows of the sample's endpoints into the processor's cache. In a pool of 1,000
 * endpoints they are seldom there, and the rule, whose branches follow from what it reads, would
 * wait for one endpoint after the other. Here nothing follows from what is read, so the processor
 * waits for all of them at once: that takes off a fifth of a decision. The loops are unrolled,
 * because Linux 6.1 refuses a loop whose end is not a conditional jump. */
__weak __noinline int sample_fetch(const struct decide_sample *s, const struct terms *t)
{
	__u32 ids[PINTLE_SAMPLE] = {}, n, most, i, at;
	struct pintle_pool *pool;

	if (!s || !t)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	n = pool->member_count;
	most = decide_sample_size(n, pool->sample);
	if (most > s->first)
		most = s->first;
#pragma unroll
	for (i = 0; i < PINTLE_SAMPLE; i++) {
		at = decide_sample_member(s, n, i);
		hide(at);
		if (at < PINTLE_MAX_MEMBERS && pool->ready)
			at = pool->order[at];
		if (at < PINTLE_MAX_MEMBERS)
			ids[i] = pool->members[at].id;
	}
#pragma unroll
	for (i = 0; i < PINTLE_SAMPLE; i++)
		if (i < most)
			endpoint_fetch(ids[i]);
	return 0;
}

/* Returns 1 if the sample is a part of the pool. Apart from choose(), because of its stack. */
__weak __noinline int sample_begin(struct decide_sample *s, const struct terms *t)
{
	struct pintle_pool *pool;
	__u32 n, random;

	if (!s || !t)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	n = pool->member_count;
	if (!decide_sample_needed(n, decide_sample_size(n, pool->sample))) {
		decide_sample_all(s, n);
		return 0;
	}
	random = bpf_get_prandom_u32();
	/* Without a daemon nobody keeps the order, and any listener is eligible. */
	decide_sample_draw(s, n, t->daemonless ? 0 : pool->ready, random, random >> 16);
	return 1;
}

/* Begins the note of a decision anew, for the pool to which *t is a question now. */
__weak __noinline int choose_note(const struct terms *t)
{
	struct decide_candidate home = {};
	struct pintle_trace *n;

	if (!t)
		return 0;
	note_pool(t->note, &t->key, t->now, t->would);
	home_find(t, &home);
	n = note_find(t->note);
	if (!n)
		return 0;
	n->home.id = home.endpoint;
	n->home.generation = home.generation;
	n->class_id = t->class_id;
	n->mode = t->mode;
	n->tier = t->tier;
	n->flags = (t->would ? PINTLE_TRACE_WOULD : 0) |
		   (t->daemonless ? PINTLE_TRACE_DAEMONLESS : 0) |
		   (t->over ? PINTLE_TRACE_OVER : 0) | (t->full ? PINTLE_TRACE_FULL : 0) |
		   (is_over_quota(t) ? PINTLE_TRACE_OVER_QUOTA : 0);
	return 0;
}

/* Makes a decision; r->generation is 0 when no endpoint is eligible, or the connection is turned
 * away.
 */
__weak __noinline int choose(const struct terms *t, struct decide_result *r)
{
	struct sample s = {};
	struct pintle_pool *pool;

	if (!t || !r)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	if (t->note)
		choose_note(t);
	if (t->forbidden) {
		r->generation = 0;
		r->outcome = PINTLE_OUTCOME_FORBIDDEN;
		return 0;
	}
	s.terms = t;
	decide_begin(&s.rule, mix(bpf_get_prandom_u32()), t->mode == PINTLE_MODE_BASELINE);
	s.rule.tie = pool->tie;
	if (!s.rule.baseline)
		rule_prefer(&s.rule, t, &s.candidate);
	if (t->note && s.rule.preferred.generation)
		note_candidate(t->note, &s.candidate, 0);
	if (sample_begin(&s.drawn, t))
		sample_fetch(&s.drawn, t);
	bpf_loop(PINTLE_MAX_MEMBERS, sample_member, &s, 0);
	if (t->note)
		note_rule(t->note, &s.rule);
	if (s.candidate.tried) {
		r->endpoint = s.candidate.endpoint;
		r->generation = s.candidate.generation;
		r->outcome = PINTLE_OUTCOME_TRIED;
		return 0;
	}
	rule_end(&s.rule, t, r);
	return 0;
}

static __always_inline void count_outcome(__u32 pool, __u32 outcome)
{
	__u32 at = PINTLE_STAT(pool, outcome);
	__u64 *n = bpf_map_lookup_elem(&stats, &at);

	if (n)
		__sync_fetch_and_add(n, 1); /* connect() may be interrupted by a segment */
}

/* Whether the connection is refused whatever the failure mode says. */
static __always_inline bool is_told_no(__u32 outcome)
{
	return outcome == PINTLE_OUTCOME_REFUSED || outcome == PINTLE_OUTCOME_FORBIDDEN;
}

/* Whether the class of the connection had no room for it. */
static __always_inline bool is_turned_away(__u32 outcome)
{
	return outcome == PINTLE_OUTCOME_REFUSED || outcome == PINTLE_OUTCOME_DIVERTED;
}

/* Whether an operator who looks for trouble wants to see each decision with this outcome. */
static __always_inline bool rare(__u32 outcome)
{
	return outcome == PINTLE_OUTCOME_ESCAPED || outcome == PINTLE_OUTCOME_NO_ENDPOINT ||
	       outcome == PINTLE_OUTCOME_STALE || outcome == PINTLE_OUTCOME_TRIED ||
	       outcome == PINTLE_OUTCOME_SPILLED || outcome == PINTLE_OUTCOME_DIVERTED ||
	       is_told_no(outcome);
}

/* Reports a rare decision as an event; tuple->local is the frontend. `cgroup` is the client's, 0:
 * not known. */
__weak __noinline int report_decision(const struct pintle_tuple *tuple, const struct terms *t,
				      const struct decide_result *r, __u32 hook, __u64 cgroup)
{
	struct pintle_event *e;
	bool audit;
	__u32 readers;

	if (!tuple || !t || !r)
		return 0;
	audit = is_told_no(r->outcome) || r->outcome == PINTLE_OUTCOME_DIVERTED;
	readers = events_readers(t->now, audit ? PINTLE_AUDIT_TOLD_NO : 0);
	e = event_begin(&readers, PINTLE_EVENT_DECIDED, hook, t->now);
	if (!e)
		return 0;
	e->pool = t->key.pool;
	e->pool_generation = t->key.pool_generation;
	e->endpoint = r->endpoint;
	e->generation = r->generation;
	e->class_id = t->class_id;
	e->outcome = r->outcome;
	e->tuple = *tuple;
	e->cgroup = cgroup;
	event_end(e, readers);
	return 0;
}

/* Takes a note for a decision about a connection to the pool `asked`, if somebody follows. */
__weak __noinline int trace_start(struct terms *t, const struct pintle_ref *asked)
{
	if (t && asked && is_followed(t->now))
		t->note = trace_begin(asked, t->now);
	return 0;
}

/* Tells of the decision that was noted; tuple->local is the frontend. Returns 1 if somebody is to
 * be told how the connection ends. */
__weak __noinline int trace_decided(const struct terms *t, const struct pintle_ref *asked,
				    const struct decide_result *r, const struct pintle_tuple *tuple,
				    __u32 hook)
{
	struct pintle_trace *n;

	if (!t || !asked || !r || !tuple)
		return 0;
	n = note_find(t->note);
	if (!n)
		return 0;
	n->asked = *asked;
	n->tuple = *tuple;
	n->hook = hook;
	n->chosen.id = r->endpoint;
	n->chosen.generation = r->generation;
	n->outcome = r->outcome;
	n->error = 0;
	n->failure = PINTLE_FAILURE_COUNT;
	n->answers = 0;
	n->duration_ns = 0;
	return note_tell_all(n, t->now);
}

static __always_inline __u32 pool_mode(__u32 id, const struct pintle_pool *pool, __u64 now)
{
	struct pintle_override *o = bpf_map_lookup_elem(&overrides, &id);
	__u32 mode = pool->mode, generation = pool->generation;

	if (!o || o->generation != generation)
		return mode;
	if (o->flags & PINTLE_OVERRIDE_MODE)
		mode = o->mode;
	return o->flags & PINTLE_OVERRIDE_TRIAL ? (__u32)trial_mode(id, generation, now, mode)
						: mode;
}

/* Whether a connection without an endpoint is refused. */
static __always_inline bool is_refused(const struct pintle_pool *pool,
				       const struct decide_result *r)
{
	return is_told_no(r->outcome) || pool->failure_mode != PINTLE_FAIL_OPEN;
}

static __always_inline bool daemon_silent(const struct pintle_pool *pool, __u64 now)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return !n || eligible_daemonless(pool, n->heartbeat_ns, now);
}

#endif
