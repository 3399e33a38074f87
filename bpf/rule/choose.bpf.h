/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * choose.bpf.h - makes a decision: feeds the rule from the maps.
 *
 * The hook describes the connection in `struct terms`; choose() returns the endpoint. The same text
 * is compiled into the hooks and the CLI, which reads copies of the maps (world.bpf.h).
 */
#ifndef PINTLE_CHOOSE_BPF_H
#define PINTLE_CHOOSE_BPF_H

#include "world.bpf.h"

#include "asked_adapter.bpf.h"
#include "daemon.bpf.h"
#include "eligible.bpf.h"
#include "note.bpf.h"
#include "prompt.bpf.h"
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
	__u8 prompted : 1;   /* the request's prompt is known: see prompt.bpf.h */
	__u8 adapted : 1;    /* the request names a LoRA adapter: see asked_adapter.bpf.h */
	__u8 handed : 1;     /* the hand-off asks: it has the connection's first request */
	__u8 again : 1;      /* endpoints have refused it: asking.tried has them */
	__u8 note;           /* while somebody follows: see trace.bpf.h; 0: none */
	__u16 home : 14;     /* 1 + the index of its group in the table of homes; 0: no group */
	__u16 lost : 1;      /* another CPU took its place at the same time */
	__u8 frontend_bits;  /* of the frontend's prefix */
	__u8 class_id;
};
_Static_assert(PINTLE_HOME_ENTRIES < 1 << 14 && PINTLE_MODE_COUNT <= 4 && PINTLE_MAX_CLASSES <= 8,
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

	return world_find(overrides, &slot);
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

/* Whether the endpoint has refused the connection of which *t says what it is. */
static __always_inline bool endpoint_tried(const struct terms *t, __u32 id, __u32 generation)
{
	const struct pintle_asking *a;
	__u32 zero = 0;

	if (!t->again)
		return false;
	a = world_find(asking, &zero);
	return a && ((a->tried[0].id == id && a->tried[0].generation == generation) ||
		     (a->tried[1].id == id && a->tried[1].generation == generation));
}

/* Looks up everything about an endpoint except its score. Returns false if the id is no longer that
 * of one of the pool's endpoints. Look-ups in this order take the least stack. */
static __always_inline bool endpoint_query(struct eligible_query *q, const struct terms *t,
					   const struct pintle_pool *pool, __u32 id,
					   __u32 generation)
{
	q->health = world_find(health, &id);
	if (!q->health)
		return false;
	q->endpoint = world_find(endpoints, &id);
	if (!q->endpoint ||
	    !eligible_member(q->endpoint, generation, t->key.pool, t->key.pool_generation) ||
	    endpoint_tried(t, id, generation))
		return false;
	q->pool = pool;
	q->override = endpoint_override(id);
	q->now = t->now;
	q->family = t->family;
	return true;
}

/* What each endpoint is asked is text that is inlined, with two users. The sample's members are
 * asked by sample_member() without any call, because on processors with a mitigation for returns
 * (Safe RET, say) each call costs some 10 ns, and there are eight members. Whoever asks one
 * endpoint calls the functions below, which need less stack. */

/* Returns 0 if the endpoint that c->endpoint and c->generation name is one of the pool's, and may
 * be chosen for this connection; else enum ineligible. */
static __always_inline __u32 endpoint_ask(const struct terms *t, const struct pintle_pool *pool,
					  const struct pintle_score *score,
					  const struct decide_candidate *c)
{
	struct eligible_score s = {};
	struct eligible_query q;

	if (!endpoint_query(&q, t, pool, c->endpoint, c->generation))
		return INELIGIBLE_DOWN;
	s.scraped_ns = eligible_scraped_ns(score, c->generation);
	return ineligible(&q, &s, t->daemonless);
}

/* Sets the loads in *c. `sums` are the endpoint's; NULL: `asked` is endpoint_asked(). What changed
 * since the score is computed before `sequence` is read again, because that takes less stack than
 * the score's fields. */
static __always_inline void endpoint_loads(const struct terms *t, const struct pintle_pool *pool,
					   const struct pintle_score *score,
					   const struct pintle_inflight *counts,
					   const struct pintle_ends *sums,
					   struct decide_candidate *c, bool bound, __u32 asked)
{
	struct eligible_score s = {.whole = 1};
	struct decide_changes changes;
	struct decide_facts f = {};
	__u32 sequence;

	eligible_count(&f, pool, counts);
	sequence = *(const volatile __u32 *)&score->sequence;
	read_barrier();
	eligible_score_take(&s, score, c->generation, pool, t->now);
	eligible_facts(&f, pool, &s, t->now);
	if (sums && pool->decide == PINTLE_DECIDE_REQUEST)
		eligible_facts_asked(&f,
				     eligible_asked(pool, sums->asked_bytes, score->passed_asked));
	else if (asked)
		eligible_facts_asked(&f, asked - 1);
	decide_compare(&changes, &f);
	read_barrier();
	if (sequence & 1 || sequence != *(const volatile __u32 *)&score->sequence)
		f.fresh = f.lost = f.passed = 0;
	decide_weigh_changed(c, &f, &changes, pool->departure, bound);
}

/* Whether an endpoint may be full for the connection's class by more than its load. */
static __always_inline bool is_bounded(struct pintle_pool *pool, const struct terms *t)
{
	return class_of(pool, t)->flags & PINTLE_CLASS_BOUNDED;
}

/* Sets c->full. */
static __always_inline void endpoint_fill(const struct terms *t, struct pintle_pool *pool,
					  struct decide_candidate *c)
{
	__u32 id = c->endpoint;
	struct pintle_inflight *counts = world_find(inflight, &id);
	struct pintle_health *h = world_find(health, &id);

	if (counts && h)
		c->full = eligible_full(class_of(pool, t), t->class_id, counts, h, t->over);
}

/* Whether this connection is to try the endpoint, which stands still. It takes the try, so that no
 * other does until the daemon has seen how it ended: without a daemon, none. */
static __always_inline bool endpoint_try(__u32 id, __u64 now)
{
	struct pintle_health *h = world_find(health, &id);
	__u64 before;

	if (!h || !eligible_due(h, now))
		return false;
	if (WORLD_DRY)
		return true;
	before = h->try_ns;
	return before && (__s64)(now - before) >= 0 &&
	       __sync_val_compare_and_swap(&h->try_ns, before, 0) == before;
}

/* Remembers whether the endpoint is full by its load, by a score that is believed. Without a daemon
 * no score is. */
static __always_inline void endpoint_mark(const struct terms *t, const struct decide_candidate *c,
					  __u32 limit, __u32 load)
{
	__u32 id = c->endpoint, bit = 1U << (t->class_id & (PINTLE_MAX_CLASSES - 1));
	struct pintle_health *h;
	bool full;

	if (WORLD_DRY || t->would || t->over || (!c->fresh && !t->daemonless))
		return;
	full = decide_full_by_load(limit, load, c->full);
	if (full == !!(c->full & DECIDE_FULL_BEFORE))
		return;
	h = world_find(health, &id);
	if (!h)
		return;
	if (full)
		__sync_fetch_and_or(&h->full_classes, bit);
	else
		__sync_fetch_and_and(&h->full_classes, ~bit);
}

/* endpoint_ask() for one endpoint. */
DECIDE_STEP endpoint_barred(const struct terms *t, const struct decide_candidate *c)
{
	struct pintle_score *score;
	struct pintle_pool *pool;
	__u32 id;

	if (!t || !c)
		return INELIGIBLE_DOWN;
	id = c->endpoint;
	pool = pool_of(t);
	score = world_find(scores, &id);
	return pool && score ? endpoint_ask(t, pool, score, c) : INELIGIBLE_DOWN;
}

/* Returns 1 + eligible_asked(). A function of its own, because of the stack. */
DECIDE_STEP newcomers_asked(const struct terms *t, __u32 id)
{
	struct pintle_score *score;
	struct pintle_pool *pool;
	struct pintle_ends *e;

	if (!t)
		return 0;
	pool = pool_of(t);
	score = world_find(scores, &id);
	e = world_find(ends, &id);
	if (!pool || !score || !e)
		return 0;
	return 1 + eligible_asked(pool, e->asked_bytes, score->passed_asked);
}

/* The same; 0 in a pool that is decided by connection. */
static __always_inline __u32 endpoint_asked(const struct terms *t, const struct decide_candidate *c)
{
	struct pintle_pool *pool = pool_of(t);

	return pool && pool->decide == PINTLE_DECIDE_REQUEST ? newcomers_asked(t, c->endpoint) : 0;
}

/* endpoint_loads() for one endpoint; 0 if there is no such endpoint. */
DECIDE_STEP endpoint_load(const struct terms *t, struct decide_candidate *c, __u32 bound,
			  __u32 asked)
{
	struct pintle_inflight *counts;
	struct pintle_score *score;
	struct pintle_pool *pool;
	__u32 id;

	if (!t || !c)
		return 0;
	id = c->endpoint;
	pool = pool_of(t);
	score = world_find(scores, &id);
	counts = world_find(inflight, &id);
	if (!pool || !score || !counts)
		return 0;
	endpoint_loads(t, pool, score, counts, NULL, c, bound, asked);
	return 1;
}

/* endpoint_fill() for one endpoint, of classes that have bounds. */
DECIDE_STEP endpoint_full(const struct terms *t, struct decide_candidate *c)
{
	struct pintle_pool *pool;

	if (!t || !c)
		return 0;
	pool = pool_of(t);
	if (pool && is_bounded(pool, t))
		endpoint_fill(t, pool, c);
	return 0;
}

/* Weighs the endpoint that c->endpoint and c->generation name; `bound` says that the session is
 * bound to it. Returns 1 and sets the loads in *c if the endpoint may be chosen for this
 * connection, else 0. */
static __always_inline int endpoint_weigh(const struct terms *t, struct decide_candidate *c,
					  __u32 bound)
{
	if (endpoint_barred(t, c) || !endpoint_load(t, c, bound, endpoint_asked(t, c)))
		return 0;
	endpoint_full(t, c);
	return 1;
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
 * have: asked only of a class with pool_connections. The sum of the endpoints' counts is never
 * wrong when they are right; a count of its own would have to be corrected apart from them. */
DECIDE_STEP class_over(const struct terms *t, __u32 more)
{
	struct class_sum s = {.terms = t};
	struct pintle_pool *pool;

	if (!t)
		return 0;
	world_loop(PINTLE_MAX_MEMBERS, class_sum_member, &s);
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
	struct pintle_refusal *r = world_find(refusals, &key);

	return r && eligible_suspected(r, now) && eligible_over(places, open + 1, sessions + !open);
}

/* Finds whether the session has more of its class than its share: t->over, and t->full of one that
 * keeps coming back. */
DECIDE_STEP share_judge_session(struct terms *t)
{
	struct pintle_affinity_key key;
	struct pintle_affinity *a;
	struct pintle_pool *pool;
	__u32 places, open = 0;
	__u64 *n, sessions;

	if (!t || t->would || t->key.session.kind == PINTLE_KEY_NONE)
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

/* The same; most classes share nothing, and need no call to find that out. */
static __always_inline void share_judge(struct terms *t)
{
	struct pintle_pool *pool = pool_of(t);

	t->over = 0;
	if (pool && class_of(pool, t)->places)
		share_judge_session(t);
}

struct sample {
	struct decide_state rule;
	struct decide_candidate candidate;
	struct decide_sample drawn;
};

/* What the request lacks at the candidate: of its prompt, and its adapter. */
static __always_inline __u32 request_missing(const struct terms *t, const struct pintle_pool *pool,
					     const struct decide_candidate *c)
{
	__u32 missing = t->prompted ? prompt_missing(c, pool->prompt_weight, t->now) : 0;

	if (t->adapted)
		missing = decide_cap((__u64)missing + adapter_missing(c, pool->adapter_weight),
				     DECIDE_MAX_MISSING);
	return missing;
}

/* Considers a candidate for a connection of which it is known what its request lacks there. */
DECIDE_STEP request_consider(struct decide_state *rule, const struct terms *t,
			     const struct decide_candidate *c)
{
	struct pintle_pool *pool;
	__u32 missing;

	if (!rule || !t || !c)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	missing = request_missing(t, pool, c);
	decide_consider_missing(rule, c, missing);
	if (t->note)
		note_missing(t->note, c, missing);
	return 0;
}

/* In a pool of which only a sample is compared, those that hold a beginning of the prompt, and its
 * home, and those that hold the adapter, are candidates, too. */
DECIDE_STEP holder_consider(struct sample *s, const struct terms *t, __u32 i, __u32 which)
{
	struct decide_candidate *c;
	int found;

	if (!s || !t)
		return 0;
	c = &s->candidate;
	found = which ? adapter_holder(i, c) : prompt_holder(i, c);
	if (found <= 0 || !endpoint_weigh(t, c, false))
		return 0;
	if (t->note)
		note_candidate(t->note, c, INELIGIBLE_NOT);
	request_consider(&s->rule, t, c);
	return 0;
}

/* Finds what the rule needs to know of the endpoint that *c names. Returns 0, or enum ineligible.
 */
static __always_inline __u32 sample_ask(const struct terms *t, struct pintle_pool *pool,
					struct decide_candidate *c)
{
	struct pintle_inflight *counts;
	struct pintle_score *score;
	struct pintle_ends *sums;
	__u32 id = c->endpoint, why;

	score = world_find(scores, &id);
	counts = world_find(inflight, &id);
	sums = world_find(ends, &id);
	if (!score || !counts || !sums)
		return INELIGIBLE_DOWN;
	why = endpoint_ask(t, pool, score, c);
	if (why)
		return why;
	endpoint_loads(t, pool, score, counts, sums, c, false, 0);
	if (is_bounded(pool, t))
		endpoint_fill(t, pool, c);
	return INELIGIBLE_NOT;
}

/* The same by functions, where more is done for a candidate: that needs the stack that sample_ask()
 * takes. */
static __always_inline __u32 sample_ask_more(const struct terms *t, struct decide_candidate *c)
{
	__u32 why = endpoint_barred(t, c);

	if (why)
		return why;
	endpoint_load(t, c, false, endpoint_asked(t, c));
	endpoint_full(t, c);
	return INELIGIBLE_NOT;
}

static __always_inline int sample_step(struct sample *s, const struct terms *t, __u32 i, bool more)
{
	struct decide_candidate *c;
	struct pintle_pool *pool;
	__u32 n, at, barred;

	if (!s || !t)
		return 1;
	c = &s->candidate;
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
	barred = more ? sample_ask_more(t, c) : sample_ask(t, pool, c);
	hide(barred);
	if (!t->would && !is_over_quota(t) && stands_still(barred) &&
	    endpoint_try(c->endpoint, t->now)) {
		c->tried = 1;
		return 1;
	}
	if (more && t->note)
		note_candidate(t->note, c, barred);
	if (!barred) {
		if (more && (t->prompted | t->adapted))
			request_consider(&s->rule, t, c);
		else if (more)
			decide_consider(&s->rule, c);
		else
			decide_consider_at(&s->rule, c, 0);
		decide_sample_take(&s->drawn, &s->rule, c);
		if (s->rule.limit)
			endpoint_mark(t, c, s->rule.limit, decide_load(&s->rule, c));
	}
	if (more) {
		pool = pool_of(t); /* anew, because of the stack */
		if (!pool)
			return 1;
		n = pool->member_count;
	}
	return decide_sample_done(&s->drawn, n, decide_sample_size(n, pool->sample), i);
}

/* Considers the i-th member of the sample. Returns 1 when no more are needed. */
DECIDE_STEP sample_member(struct sample *s, const struct terms *t, __u32 i)
{
	return sample_step(s, t, i, false);
}

/* The same of a decision that is noted, or of which it is known what the request lacks where. */
DECIDE_STEP sample_member_more(struct sample *s, const struct terms *t, __u32 i)
{
	return sample_step(s, t, i, true);
}

/* Finds the endpoint to which the session is bound, unless the binding is too old or the session is
 * a crowd; and sets rule->extra, also then. Returns 1 if there is one. A function of its own,
 * because of its stack. */
DECIDE_STEP bound_find(struct decide_state *rule, const struct terms *t, struct decide_candidate *c)
{
	struct pintle_affinity_key key;
	struct pintle_affinity *a;
	struct pintle_score *score;
	struct pintle_pool *pool;
	bool passed;
	__u32 id, context, other = 0;

	if (!rule || !t || !c || t->key.session.kind == PINTLE_KEY_NONE)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	key = t->key; /* Linux 6.1 takes keys only from the stack */
	a = t->would ? world_find(shadow_bindings, &key) : binding_find(&key);
	if (!a)
		return 0;
	id = a->endpoint;
	score = world_find(scores, &id);
	passed = score && score->generation == a->generation &&
		 eligible_passed(pool, score->passed_ns, t->now);
	context = a->context_bytes;
	if (t->prompted) {
		context = prompt_context(id, a->generation, t->now, context, a->prompt_steps);
		other = context & PROMPT_IS_OTHER;
		context &= ~PROMPT_IS_OTHER;
	}
	if (passed && !(class_of(pool, t)->flags & PINTLE_CLASS_EXTRA))
		rule->extra = decide_extra(context, pool->context_bytes);
	if (other || !decide_binding_holds(a->used_ns, t->now, pool->ttl_ns) ||
	    decide_crowded(a, passed))
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

/* An entry of the pool's table; NULL: it has none. */
static __always_inline const struct pintle_ref *home_at(__u32 pool, __u32 generation, __u32 at)
{
	struct pintle_homes *table;

	hide(at);
	if (at >= PINTLE_HOME_ENTRIES)
		return NULL;
	table = world_homes(pool);
	return table && table->pool_generation == generation ? &table->home[at] : NULL;
}

/* Finds the home of the connection's group. Returns 1 if there is one. */
DECIDE_STEP home_find(const struct terms *t, struct decide_candidate *c)
{
	const struct pintle_ref *home;

	if (!t || !c)
		return 0;
	home = home_at(t->key.pool, t->key.pool_generation, t->home - 1);
	if (!home)
		return 0;
	c->endpoint = home->id;
	c->generation = home->generation;
	return 1;
}

/* The decide_find of decide_prefer_first(). */
static __always_inline int preferred_find(struct decide_state *rule, const void *arg, __u32 outcome,
					  struct decide_candidate *c)
{
	const struct terms *t = arg;
	bool bound = outcome == PINTLE_OUTCOME_STICKY;
	int found;

	if (bound)
		found = t->key.session.kind == PINTLE_KEY_NONE ? 0 : bound_find(rule, t, c);
	else
		found = t->home ? home_find(t, c) : 0;
	return found > 0 && endpoint_weigh(t, c, bound);
}

/* The decide_missing of decide_prefer_missing(). */
static __always_inline __u32 preferred_missing(const void *arg, const struct decide_candidate *c,
					       __u32 outcome)
{
	const struct terms *t = arg;
	struct pintle_pool *pool = t->prompted | t->adapted ? pool_of(t) : NULL;

	(void)outcome;
	return pool ? request_missing(t, pool, c) : 0;
}

/* Sets the limit of the connection's class, and considers the endpoint that it prefers. */
DECIDE_STEP rule_prefer(struct decide_state *rule, const struct terms *t,
			struct decide_candidate *c)
{
	struct pintle_pool *pool;

	if (!rule || !t || !c)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	rule->limit = eligible_bound(class_of(pool, t)->limit, t->over);
	rule->full = t->full || is_over_quota(t) ||
		     (class_of(pool, t)->pool_connections && class_over(t, 1));
	decide_prefer_missing(rule, preferred_find, preferred_missing, t, c);
	return 0;
}

/* Where the overload responder takes the connection; NULL: nowhere. Without a daemon nobody starts
 * it again, and it does not know the load. */
static __always_inline struct pintle_responder *responder_of(const struct terms *t)
{
	__u32 zero = 0;
	struct pintle_node *n = world_find(node, &zero);
	struct pintle_responder *r;

	if (!n || t->daemonless)
		return NULL;
	r = &n->responders[PINTLE_RESPONDER_AT(t->family)];
	return r->port ? r : NULL;
}

/* Apart from choose(), because of its stack. */
DECIDE_STEP rule_end(struct decide_state *rule, const struct terms *t, struct decide_result *r)
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
	struct pintle_endpoint *e = world_find(endpoints, &id);
	struct pintle_inflight *counts = world_find(inflight, &id);
	struct pintle_health *h = world_find(health, &id);
	struct pintle_score *score = world_find(scores, &id);
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
DECIDE_STEP sample_fetch(const struct decide_sample *s, const struct terms *t)
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
DECIDE_STEP sample_begin(struct sample *s, const struct terms *t)
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
		decide_sample_all(&s->drawn, n);
		return 0;
	}
	random = decide_random(&s->rule);
	/* Without a daemon nobody keeps the order, and any listener is eligible. */
	decide_sample_draw(&s->drawn, n, t->daemonless ? 0 : pool->ready, random, random >> 16);
	return 1;
}

/* Notes what is known of the request, and what of the session's context the prompt leaves. */
DECIDE_STEP choose_note_request(const struct terms *t)
{
	struct pintle_trace *n;
	struct pintle_asking *a;
	__u32 context;

	if (!t)
		return 0;
	n = note_find(t->note);
	a = prompt_find();
	if (!n || !a)
		return 0;
	n->adapter = t->adapted ? a->adapter : 0;
	n->prompt_bytes = t->prompted ? a->prompt.bytes : 0;
	n->prompt_known = t->prompted ? a->known.longest : 0;
	if (!t->prompted || !n->bound.generation)
		return 0;
	context = prompt_context(n->bound.endpoint, n->bound.generation, t->now,
				 n->bound.context_bytes, n->bound.prompt_steps);
	if (context & PROMPT_IS_OTHER)
		n->flags |= PINTLE_TRACE_OTHER;
	n->bound.context_bytes = context & ~PROMPT_IS_OTHER;
	return 0;
}

/* Notes the preferred endpoint. */
DECIDE_STEP choose_note_preferred(const struct terms *t, const struct decide_state *rule,
				  const struct decide_candidate *c)
{
	if (!t || !rule || !c)
		return 0;
	note_candidate(t->note, c, INELIGIBLE_NOT);
	if (t->prompted | t->adapted)
		note_missing(t->note, c, rule->preferred.missing);
	return 0;
}

/* Begins the note of a decision anew, for the pool to which *t is a question now. `random` is what
 * the rule begins with. */
DECIDE_STEP choose_note(const struct terms *t, __u64 random)
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
	n->rule[0] = random;
	n->mode = t->mode;
	n->tier = t->tier;
	n->flags = (t->would ? PINTLE_TRACE_WOULD : 0) |
		   (t->daemonless ? PINTLE_TRACE_DAEMONLESS : 0) |
		   (t->over ? PINTLE_TRACE_OVER : 0) | (t->full ? PINTLE_TRACE_FULL : 0) |
		   (is_over_quota(t) ? PINTLE_TRACE_OVER_QUOTA : 0);
	choose_note_request(t);
	return 0;
}

/* Makes a decision; r->generation is 0 when no endpoint is eligible, or the connection is turned
 * away.
 */
DECIDE_STEP choose(const struct terms *t, struct decide_result *r)
{
	struct sample s = {};
	struct pintle_pool *pool;
	__u32 i, more;

	if (!t || !r)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	decide_begin(&s.rule, world_seed(), t->mode == PINTLE_MODE_BASELINE);
	if (t->note)
		choose_note(t, s.rule.random);
	if (t->forbidden) {
		r->generation = 0;
		r->outcome = PINTLE_OUTCOME_FORBIDDEN;
		return 0;
	}
	s.rule.tie = pool->tie;
	if (!s.rule.baseline)
		rule_prefer(&s.rule, t, &s.candidate);
	if (t->note && s.rule.preferred.generation)
		choose_note_preferred(t, &s.rule, &s.candidate);
	if (sample_begin(&s, t)) {
		sample_fetch(&s.drawn, t);
		for (i = 0; i < PROMPT_HOLDERS && t->prompted && !s.rule.baseline; i++)
			holder_consider(&s, t, i, 0);
		for (i = 0; i < PINTLE_ADAPTER_HOLDERS && t->adapted && !s.rule.baseline; i++)
			holder_consider(&s, t, i, 1);
	}
	more = t->note | t->prompted | t->adapted;
	for (i = 0; i < PINTLE_MAX_MEMBERS; i++)
		if (more ? sample_member_more(&s, t, i) : sample_member(&s, t, i))
			break;
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

static __always_inline __u32 pool_mode(__u32 id, const struct pintle_pool *pool, __u64 now)
{
	struct pintle_override *o = world_find(overrides, &id);
	__u32 mode = pool->mode, generation = pool->generation;

	if (!o || o->generation != generation)
		return mode;
	if (o->flags & PINTLE_OVERRIDE_MODE)
		mode = o->mode;
	return o->flags & PINTLE_OVERRIDE_TRIAL ? (__u32)trial_mode(id, generation, now, mode)
						: mode;
}

#endif
