/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_explain.c - a decision, and why it is made.
 *
 * The kernel's own text (bpf/rule/tiers.bpf.h) decides, here on copies of the maps (world.h), and
 * notes what it looked at in a struct pintle_trace, as the kernel does for `pintle trace`. The
 * explanation follows from that note, whoever made it; of a decision that would be made now, all
 * members are candidates, and it is made many times.
 */
#include "state_explain.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "world.h"

#include "rule/tiers.bpf.h"
#include "state_internal.h"

const char *explain_preference_name(enum explain_preference p)
{
	static const char *const names[] = {
#define X(symbol, name) [EXPLAIN_##symbol] = (name),
		EXPLAIN_PREFERENCES(X)
#undef X
	};

	return names[p];
}

const char *explain_full_name(enum explain_full full)
{
	static const char *const names[] = {
#define X(symbol, name) [EXPLAIN_FULL_##symbol] = (name),
		EXPLAIN_FULLS(X)
#undef X
	};

	return names[full];
}

/* A decision that was tried. */
struct tried {
	uint32_t generation; /* 0: no endpoint */
	uint16_t endpoint;
	uint8_t outcome, tier;
};

/* What is explained. */
struct question {
	const struct pintle_pool *pool;
	const struct pintle_class *class;
	const struct pintle_trace *note;
	bool has_session, has_group;
	struct decide_candidate *candidates; /* [i] is out->candidates[i], for any session */
	struct explain *out;
	/* of a decision that would be made: */
	const struct explain_asked *asked;
	struct world *world;
	struct terms terms;  /* in the pool that decides */
	struct tried *tried; /* x->tries of them */
};

static uint64_t max_extra(const struct question *q)
{
	return q->class->flags & PINTLE_CLASS_EXTRA ? q->class->max_extra_load
						    : q->pool->max_extra_load;
}

/* ---- candidates ---------------------------------------------------------------------- */

/* The parts of the load, by the text that adds them up: each with what makes the others left
 * out. */
static void parts_take(struct explain_candidate *to, const struct decide_facts *facts,
		       const struct decide_changes *changes, uint32_t departure)
{
	struct decide_changes still = *changes;
	struct decide_facts f = *facts;
	struct decide_candidate c = {0};

	to->rate = facts->rate ?: DECIDE_RATE;
	f.rate = 0;
	f.passed = 0;
	decide_weigh_changed(&c, &f, changes, departure, false);
	to->page = c.load;
	to->published = c.published;
	f.passed = facts->passed;
	f.published = 0;
	f.fresh = 0;
	still.came = still.placed = 0;
	decide_weigh_changed(&c, &f, &still, departure, false);
	to->prompts = c.load;
	f.fresh = 1;
	decide_weigh_changed(&c, &f, &still, departure, false);
	to->own = c.load - to->prompts;
	to->fresh = facts->fresh;
	to->passed = facts->passed;
	to->came = changes->came;
	to->ended = changes->ended;
	to->placed = changes->placed;
	to->newcomers = facts->passed ? changes->newcomers : 0;
	to->closed = facts->passed ? changes->closed : 0;
}

/* Adds a candidate. The rule makes no loads for an endpoint that may not be chosen. */
static struct explain_candidate *candidate_add(struct question *q,
					       const struct pintle_trace_candidate *from)
{
	struct explain *x = q->out;
	struct explain_candidate *to = &x->candidates[x->count];
	struct decide_candidate *c = &q->candidates[x->count++];
	struct decide_changes changes;
	struct decide_facts facts;

	memcpy(c, from->candidate, sizeof(*c));
	memcpy(&facts, from->facts, sizeof(facts));
	to->endpoint = (struct pintle_ref){c->endpoint, c->generation};
	to->ineligible = MIN(from->ineligible, (uint32_t)INELIGIBLE_COUNT);
	to->signals = (struct explain_signals){from->scraped_ns, from->flags,    from->waiting,
					       from->running,    from->kv_cache, from->gpu};
	to->adapter = MIN(from->adapter, (uint16_t)ADAPTERS_LACKS);
	to->missing = from->missing;
	to->have = from->have;
	decide_compare(&changes, &facts);
	parts_take(to, &facts, &changes, q->pool->departure);
	if (to->ineligible)
		decide_weigh_changed(c, &facts, &changes, q->pool->departure, false);
	return to;
}

static struct explain_candidate *candidate_find(struct explain *x, uint32_t id, uint32_t generation)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->candidates[i].endpoint.id == id &&
		    x->candidates[i].endpoint.generation == generation)
			return &x->candidates[i];
	return NULL;
}

static int candidates_alloc(struct question *q, uint32_t most)
{
	q->out->candidates = calloc(most + 1, sizeof(*q->out->candidates));
	q->candidates = calloc(most + 1, sizeof(*q->candidates));
	return q->out->candidates && q->candidates ? 0 : -ENOMEM;
}

/* ---- what is preferred ------------------------------------------------------------- */

/* Why the endpoint may not be chosen, in a decision that would be made. */
static uint32_t barred_of(const struct question *q, const struct pintle_ref *ref)
{
	struct decide_candidate c = {.endpoint = (__u16)ref->id, .generation = ref->generation};
	struct eligible_query query;

	return endpoint_query(&query, &q->terms, q->pool, ref->id, ref->generation)
		       ? (uint32_t)endpoint_barred(&q->terms, &c)
		       : INELIGIBLE_COUNT;
}

/* The record of a decision has only the facts that the rule looked at. */
static void preferred_bar(const struct question *q, struct explain_preferred *p)
{
	const struct explain_candidate *c =
		candidate_find(q->out, p->endpoint.id, p->endpoint.generation);

	p->why = EXPLAIN_INELIGIBLE;
	if (q->world)
		p->ineligible = barred_of(q, &p->endpoint);
	else
		p->ineligible = c && c->ineligible ? c->ineligible : INELIGIBLE_COUNT;
}

static void bound_take(struct question *q, const struct decide_state *rule)
{
	const struct pintle_affinity *a = &q->note->bound;
	const struct explain_candidate *there = candidate_find(q->out, a->endpoint, a->generation);
	struct explain_preferred *bound = &q->out->bound;
	bool passed = there && there->passed;

	*bound = (struct explain_preferred){
		.endpoint = {a->endpoint, a->generation},
		.used_ns = a->used_ns,
		.bound_ns = a->bound_ns,
		.open = a->open,
		.idle = passed ? a->idle : 0,
		.context_bytes = a->context_bytes,
	};
	if (rule->preferred.generation && rule->preferred.outcome == PINTLE_OUTCOME_STICKY)
		bound->why = EXPLAIN_HOLDS; /* so far: preference_judge() */
	else if (!decide_binding_holds(a->used_ns, q->note->decided_ns, q->pool->ttl_ns))
		bound->why = EXPLAIN_EXPIRED;
	else if (q->note->flags & PINTLE_TRACE_OTHER)
		bound->why = EXPLAIN_OTHER;
	else if (decide_crowded(a, passed))
		bound->why = EXPLAIN_CROWD;
	else
		preferred_bar(q, bound);
}

/* What bound_find(), home_find() and decide_prefer_first() left in `rule`. */
static void preferences_take(struct question *q, struct decide_state *rule)
{
	struct explain_preferred *bound = &q->out->bound, *home = &q->out->home;

	if (q->out->mode == PINTLE_MODE_BASELINE || q->out->passes) {
		bound->why = home->why = EXPLAIN_MODE;
		rule->preferred.generation = 0;
		rule->extra = 0;
		return;
	}
	bound->why = q->has_session ? EXPLAIN_NONE : EXPLAIN_NO_KEY;
	home->why = q->has_group ? EXPLAIN_NONE : EXPLAIN_NO_KEY;
	if (q->note->bound.generation)
		bound_take(q, rule);
	home->endpoint = q->note->home;
	if (home->endpoint.generation && rule->preferred.generation)
		home->why = rule->preferred.outcome == PINTLE_OUTCOME_STICKY ? EXPLAIN_SECOND
									     : EXPLAIN_HOLDS;
	else if (home->endpoint.generation)
		preferred_bar(q, home);
}

/* ---- loads, as they are compared ----------------------------------------------------- */

/* Whether the rule takes this one as the least loaded, if it is: beside fresh scores, a session
 * whose preferred endpoint is lost does not move to another old one. */
static bool is_rival(const struct decide_state *rule, const struct decide_candidate *c)
{
	return c->fresh || !rule->fresh.generation || !rule->preferred.generation ||
	       !rule->preferred.lost;
}

static enum explain_full full_of(const struct explain *x, const struct decide_state *rule,
				 const struct decide_candidate *c)
{
	if (c->full & DECIDE_FULL_CONNECTIONS)
		return EXPLAIN_FULL_CONNECTIONS;
	if (c->full & DECIDE_FULL_RESERVED)
		return EXPLAIN_FULL_RESERVED;
	if (rule->full)
		return x->over_quota  ? EXPLAIN_FULL_QUOTA
		       : x->suspected ? EXPLAIN_FULL_SHARE
				      : EXPLAIN_FULL_POOL;
	if (decide_full_by_load(rule->limit, decide_load(rule, c), 0))
		return EXPLAIN_FULL_LOAD;
	return decide_candidate_rank(rule, c) ? EXPLAIN_FULL_BEFORE : EXPLAIN_FULL_NOT;
}

/* What became of the preferred endpoint, as decide_end() has it, where all members are compared and
 * ties are broken by nothing; `rank` is that of the best one. */
static void preference_judge(struct question *q, const struct decide_state *rule, uint32_t rank)
{
	const struct decide_candidate preferred = decide_preferred(rule);
	bool bound = rule->preferred.outcome == PINTLE_OUTCOME_STICKY;
	struct explain_preferred *p = bound ? &q->out->bound : &q->out->home;

	if (!rule->preferred.generation)
		return;
	p->load = decide_load(rule, &preferred) + rule->preferred.missing;
	p->full = full_of(q->out, rule, &preferred);
	if (rule->preferred.lost && rule->fresh.generation)
		p->why = EXPLAIN_LOST;
	else if (!decide_within(rule, q->out->least, max_extra(q)))
		p->why = EXPLAIN_TOO_LOADED;
	else if (decide_candidate_rank(rule, &preferred) > rank)
		p->why = EXPLAIN_FULL;
	if (bound && q->out->home.why == EXPLAIN_HOLDS)
		q->out->home.why = EXPLAIN_SECOND;
}

/* How much the chosen one's load could grow. */
static void margin_take(struct explain *x, const struct explain_preferred *p,
			const uint32_t ranks[])
{
	const struct explain_candidate *chosen = x->likeliest;
	uint64_t most = UINT64_MAX, limit = x->limit, load;
	bool others = false;

	if (x->sample || x->mode == PINTLE_MODE_BASELINE || !chosen || chosen->chosen < x->tries ||
	    x->outcome == PINTLE_OUTCOME_TRIED)
		return;
	for (size_t i = 0; i < x->count; i++)
		if (&x->candidates[i] != chosen && !x->candidates[i].ineligible) {
			others = true;
			if (ranks[i] <= ranks[chosen - x->candidates])
				most = MIN(most, x->candidates[i].load);
		}
	load = chosen->load;
	if (p && p->why == EXPLAIN_HOLDS) {
		load = p->load;
		most += most == UINT64_MAX ? 0 : x->extra;
	}
	most -= MIN(load, most);
	load -= MIN(chosen->missing, load); /* which counts towards no limit */
	if (chosen->full == EXPLAIN_FULL_NOT && load < limit)
		most = MIN(most, limit - load - 1);
	if (!others || most >= UINT64_MAX / 2)
		return;
	x->has_margin = true;
	/* As the least load grows, the preferred endpoint comes within reach; a session's extra
	 * grows with it. */
	if (p && p->why == EXPLAIN_TOO_LOADED)
		most = MIN(most, (p->load - x->least - x->extra) / (x->by_context ? 2 : 1));
	x->margin = most;
}

/* The rule, where it has found what is preferred, and compared nothing yet. Nothing is left to
 * chance. */
static struct decide_state rule_begin(const struct decide_state *noted)
{
	struct decide_state rule;
	struct decide_candidate preferred = decide_preferred(noted);

	decide_begin(&rule, 1, 0);
	rule.preferred = noted->preferred;
	rule.extra = noted->extra;
	rule.limit = noted->limit;
	rule.full = noted->full;
	preferred.endpoint = noted->preferred.endpoint;
	preferred.generation = noted->preferred.generation;
	preferred.rate = DECIDE_RATE;
	if (preferred.generation)
		decide_consider_missing(&rule, &preferred, noted->preferred.missing);
	return rule;
}

static int loads_take(struct question *q, const struct decide_state *noted)
{
	struct explain *x = q->out;
	_cleanup_free_ uint32_t *ranks = calloc(x->count + 1, sizeof(*ranks));
	struct decide_state rule = rule_begin(noted);
	const struct explain_preferred *p = NULL;
	uint32_t best = DECIDE_CLOSED;

	if (!ranks)
		return -ENOMEM;
	x->limit = rule.limit;
	for (size_t i = 0; i < x->count; i++)
		if (!x->candidates[i].ineligible)
			decide_consider_missing(&rule, &q->candidates[i], x->candidates[i].missing);
	x->least = UINT32_MAX;
	for (size_t i = 0; i < x->count; i++) {
		struct explain_candidate *c = &x->candidates[i];

		c->load = c->ineligible ? q->candidates[i].load
					: decide_load(&rule, &q->candidates[i]) + c->missing;
		if (c->ineligible)
			continue;
		c->full = full_of(x, &rule, &q->candidates[i]);
		ranks[i] = decide_candidate_rank(&rule, &q->candidates[i]);
		if (is_rival(&rule, &q->candidates[i]))
			best = MIN(best, ranks[i]);
	}
	for (size_t i = 0; i < x->count; i++)
		if (!x->candidates[i].ineligible && ranks[i] == best &&
		    is_rival(&rule, &q->candidates[i]))
			x->least = MIN(x->least, x->candidates[i].load);
	if (x->least == UINT32_MAX)
		x->least = 0;
	x->by_context = rule.extra;
	x->extra = rule.extra ? (uint64_t)rule.extra + x->least : max_extra(q);
	preference_judge(q, &rule, best);
	if (rule.preferred.generation)
		p = rule.preferred.outcome == PINTLE_OUTCOME_STICKY ? &x->bound : &x->home;
	margin_take(x, p, ranks);
	return 0;
}

/* Explains what is noted; the candidates are there. */
static int note_explain(struct question *q)
{
	const struct pintle_trace *n = q->note;
	struct explain *x = q->out;
	struct decide_state rule;

	memcpy(&rule, n->rule, sizeof(rule));
	x->mode = n->mode;
	x->daemonless = n->flags & PINTLE_TRACE_DAEMONLESS;
	x->over = n->flags & PINTLE_TRACE_OVER && n->mode != PINTLE_MODE_BASELINE;
	x->over_quota = n->flags & PINTLE_TRACE_OVER_QUOTA;
	x->suspected = n->flags & PINTLE_TRACE_FULL && n->mode != PINTLE_MODE_BASELINE;
	x->connections = eligible_bound(q->class->connections, x->over);
	x->pool_connections = eligible_bound(q->class->pool_connections, x->over);
	preferences_take(q, &rule);
	return loads_take(q, &rule);
}

static void state_explain_pool_take(struct question *q, const struct pintle_pool *pool,
				    uint32_t class_id)
{
	uint32_t size = decide_sample_size(pool->member_count, pool->sample);

	q->pool = pool;
	q->class = &pool->class_of[class_id % PINTLE_MAX_CLASSES];
	q->out->sample = decide_sample_needed(pool->member_count, size) ? size : 0;
}

/* ---- a decision that would be made ------------------------------------------------------ */

/* Makes the keys for the pool to which *t is a question, and finds what counts there of the
 * request. */
static void keys_take(const struct question *q, struct terms *t)
{
	const struct explain_asked *asked = q->asked;
	const struct explain_keys *keys = &asked->keys[t->tier];
	const struct pintle_pool *pool = pool_of(t);
	struct pintle_affinity *a = NULL;

	t->key.session = keys->session;
	t->home = (__u16)home_of(&keys->group);
	t->prompted = t->tier == TIER_OWN && asked->prompt;
	t->adapted = t->tier == TIER_OWN && asked->adapter && pool && pool->adapter_weight;
	if (asked->has_context && keys->session.kind != PINTLE_KEY_NONE)
		a = t->would ? world_find(shadow_bindings, &t->key) : binding_find(&t->key);
	if (a)
		a->context_bytes = asked->context_bytes;
}

/* What a hook finds before it chooses. */
static void terms_make(const struct question *q, const struct pintle_pool *pool, struct terms *t)
{
	const struct explain_asked *asked = q->asked;

	*t = (struct terms){
		.now = asked->now_ns,
		.key = {.pool = asked->pool.id, .pool_generation = asked->pool.generation},
		.family = asked->family & 3,
		.daemonless = daemon_silent(pool, asked->now_ns),
		.mode = pool_mode(asked->pool.id, pool, asked->now_ns) & 3,
		.forbidden = asked->forbidden,
		.over_quota = asked->over_quota,
		.class_id = asked->class_id % PINTLE_MAX_CLASSES,
	};
	tier_begin(t);
	keys_take(q, t);
}

static void state_explain_request_take(struct question *q)
{
	struct pintle_asking *a = world_asking(q->world);

	a->adapter = q->asked->adapter;
	if (!q->asked->prompt)
		return;
	a->prompt = q->asked->prompt->prompt;
	a->known = q->asked->prompt->known;
	a->home = q->asked->prompt->home;
}

/* What the class's sessions share, and what is bounded in the whole pool. */
static void sums_take(struct question *q)
{
	struct class_sum sum = {.terms = &q->terms};
	const struct pintle_affinity *a;
	struct explain *x = q->out;
	const __u64 *sessions;

	if (q->class->pool_connections)
		world_loop(PINTLE_MAX_MEMBERS, class_sum_member, &sum);
	x->pool_in_flight = sum.in_flight;
	x->places = q->class->places;
	if (!x->places || q->terms.would || x->mode == PINTLE_MODE_BASELINE)
		return;
	sessions = sharing_of(q->terms.key.pool, q->terms.class_id);
	x->sessions = sessions ? *sessions : 0;
	a = q->has_session ? binding_find(&q->terms.key) : NULL;
	x->open = a ? a->open : 0;
}

/* Adds the endpoint as a candidate, as the rule sees it for any session. */
static struct explain_candidate *state_explain_endpoint_read(struct question *q,
							     const struct pintle_ref *ref)
{
	struct decide_candidate c = {.endpoint = (__u16)ref->id, .generation = ref->generation};
	struct pintle_trace_candidate noted = {0};
	const struct terms *t = &q->terms;
	struct eligible_query query;
	struct explain_candidate *to;
	uint32_t why = INELIGIBLE_COUNT;
	bool there = endpoint_query(&query, t, q->pool, ref->id, ref->generation);

	if (there) {
		why = sample_ask_more(t, &c);
		note_endpoint(&noted, q->pool, world_find(scores, &ref->id),
			      world_find(inflight, &ref->id), &c, why, t->now);
	} else {
		noted.ineligible = INELIGIBLE_COUNT;
		memcpy(noted.candidate, &c, sizeof(c));
	}
	to = candidate_add(q, &noted);
	if (!there)
		return to;
	to->missing = request_missing(t, q->pool, &q->candidates[to - q->out->candidates]);
	to->adapter = t->adapted ? (uint32_t)adapter_state(&c) : 0;
	to->have = t->prompted ? (uint32_t)prompt_cached(&c, t->now) : 0;
	to->due = !t->would && !is_over_quota(t) && stands_still(why) &&
		  endpoint_try(ref->id, t->now);
	return to;
}

/* What is preferred need be no member. */
static void preferred_read(struct question *q, uint32_t id, uint32_t generation)
{
	const struct pintle_ref ref = {id, generation};

	if (generation && !candidate_find(q->out, id, generation) && !barred_of(q, &ref))
		state_explain_endpoint_read(q, &ref);
}

static int members_read(struct question *q)
{
	uint32_t n = MIN(q->pool->member_count, (uint32_t)ARRAY_SIZE(q->pool->members));
	int err = candidates_alloc(q, n + 2);

	if (err)
		return err;
	for (uint32_t i = 0; i < n; i++)
		state_explain_endpoint_read(q, &q->pool->members[i]);
	preferred_read(q, q->note->bound.endpoint, q->note->bound.generation);
	preferred_read(q, q->note->home.id, q->note->home.generation);
	return 0;
}

/* Whether the canary is asked first. Without a session chance decides that: then a connection that
 * is not drawn is explained. */
static bool is_canarys(struct question *q, const struct pintle_pool *pool, struct terms *t)
{
	const struct pintle_ref *asked = &q->asked->pool;
	struct terms drawn = *t;

	if (t->key.session.kind != PINTLE_KEY_NONE || pool->canary_share >= PINTLE_SHARE_WHOLE)
		return tier_canary(t, asked, 0);
	q->out->canary_drawn = pool->canary_share && tier_enter(&drawn, asked, TIER_CANARY);
	return false;
}

/* Asks one pool after the other, from that of *first on. An endpoint that is chosen takes the
 * connection, so no attempt is made anew (bpf/rule/attempt.bpf.h). Leaves in q->terms the question
 * to the pool that decided. */
static struct decide_result pools_ask(struct question *q, const struct terms *first)
{
	struct decide_result r = {.outcome = PINTLE_OUTCOME_NO_ENDPOINT};

	q->terms = *first;
	while (tier_ask(&q->terms, &q->asked->pool, &r))
		keys_take(q, &q->terms);
	return r;
}

static void decide_often(struct question *q, const struct terms *first)
{
	struct explain *x = q->out;
	uint32_t tiers[TIER_COUNT] = {0};
	struct terms decided[TIER_COUNT];

	for (uint32_t i = 0; i < x->tries; i++) {
		struct decide_result r;

		world_set_seed(q->world, mix(mix(i) + 1));
		r = pools_ask(q, first);
		q->tried[i] = (struct tried){r.generation, (uint16_t)r.endpoint, (uint8_t)r.outcome,
					     q->terms.tier};
		x->outcomes[r.outcome]++;
		decided[q->terms.tier] = q->terms;
		tiers[q->terms.tier]++;
	}
	for (uint32_t i = 0; i < TIER_COUNT; i++)
		if (tiers[i] > tiers[x->tier])
			x->tier = i;
	q->terms = decided[x->tier];
	keys_take(q, &q->terms);
}

/* Counts how often each candidate was chosen, and finds the likeliest outcome. */
static void tried_count(struct question *q)
{
	struct explain *x = q->out;

	for (uint32_t i = 0; i < x->tries && !x->passes; i++) {
		const struct tried *did = &q->tried[i];
		struct explain_candidate *c = NULL;

		if (did->generation && did->tier == x->tier)
			c = candidate_find(x, did->endpoint, did->generation);
		if (c)
			c->chosen++;
	}
	x->outcome = PINTLE_OUTCOME_NO_ENDPOINT;
	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++)
		if (x->outcomes[i] > x->outcomes[x->outcome])
			x->outcome = i;
	for (size_t i = 0; i < x->count; i++)
		if (x->candidates[i].chosen > (x->likeliest ? x->likeliest->chosen : 0))
			x->likeliest = &x->candidates[i];
}

/* Lets the rule note what it looks at in the pool that decides. */
static void decide_noted(struct question *q)
{
	struct pintle_trace *n = world_note(q->world);
	struct decide_result r = {.outcome = PINTLE_OUTCOME_NO_ENDPOINT};

	q->terms.note = WORLD_NOTE;
	world_set_seed(q->world, q->asked->seed);
	tier_choose(&q->terms, &r);
	q->terms.note = 0;
	n->chosen = (struct pintle_ref){r.endpoint, r.generation};
	n->outcome = (__u8)r.outcome;
	q->note = n;
}

static bool is_left(const struct question *q, const struct pintle_pool *pool)
{
	return q->terms.mode == PINTLE_MODE_OFF ||
	       (hook_has(pool->decided_by, PINTLE_TRAIT_DAEMONLESS) &&
		daemon_left(pool, q->asked->now_ns));
}

/* Finds which pool decides: q->terms is the question to it then. */
static void pool_find_deciding(struct question *q, const struct pintle_pool *pool)
{
	struct explain *x = q->out;
	struct terms first;

	terms_make(q, pool, &q->terms);
	x->passes = is_left(q, pool);
	if (x->passes) {
		x->outcomes[PINTLE_OUTCOME_PASSED] = x->tries;
		return;
	}
	first = q->terms;
	if (is_canarys(q, pool, &first))
		keys_take(q, &first);
	decide_often(q, &first);
}

static int question_answer(struct question *q)
{
	const struct pintle_ref *asked = &q->asked->pool;
	const struct pintle_pool *pool = pool_find(asked->id, asked->generation);
	struct explain *x = q->out;
	int err;

	if (!pool)
		return world_error(q->world) ?: -ESTALE;
	state_explain_request_take(q);
	pool_find_deciding(q, pool);
	x->pool = (struct pintle_ref){q->terms.key.pool, q->terms.key.pool_generation};
	x->class_id = q->terms.class_id;
	x->session = q->terms.key.session;
	q->has_session = x->session.kind != PINTLE_KEY_NONE;
	q->has_group = q->terms.home;
	state_explain_pool_take(q, pool_of(&q->terms), x->class_id);
	decide_noted(q);
	err = members_read(q);
	if (err)
		return err;
	tried_count(q);
	sums_take(q);
	err = note_explain(q);
	return err ?: world_error(q->world);
}

int explain_read(const struct maps *m, const struct explain_asked *asked, struct explain **out)
{
	_cleanup_(explain_freep) struct explain *x = calloc(1, sizeof(*x));
	struct question q = {.asked = asked, .out = x};
	int err;

	assert(asked->tries && asked->pool.id < PINTLE_MAX_POOLS);
	q.tried = calloc(asked->tries, sizeof(*q.tried));
	if (!x || !q.tried || world_new(m, &q.world)) {
		free(q.tried);
		return -ENOMEM;
	}
	x->tries = asked->tries;
	world_enter(q.world);
	err = question_answer(&q);
	world_enter(NULL);
	if (!err && asked->note)
		*asked->note = *q.note;
	free(q.candidates);
	free(q.tried);
	world_free(q.world);
	if (err)
		return err;
	*out = TAKE_PTR(x);
	return 0;
}

/* ---- a decision that was made ---------------------------------------------------------- */

static int traced_explain(struct question *q)
{
	const struct pintle_trace *t = q->note;
	struct explain *x = q->out;
	struct explain_candidate *chosen;
	int err = candidates_alloc(q, PINTLE_TRACED);

	if (err)
		return err;
	if (x->sample)
		x->sample = t->compared;
	for (uint32_t i = 0; i < MIN(t->count, (uint32_t)PINTLE_TRACED); i++)
		candidate_add(q, &t->of[i]);
	x->outcome = MIN(t->outcome, (uint32_t)PINTLE_OUTCOME_COUNT - 1);
	x->outcomes[x->outcome] = x->tries;
	chosen =
		t->chosen.generation ? candidate_find(x, t->chosen.id, t->chosen.generation) : NULL;
	if (chosen) {
		chosen->chosen = x->tries;
		x->likeliest = chosen;
	}
	return note_explain(q);
}

int explain_traced(const struct maps *m, const struct pintle_trace *t, struct explain **out)
{
	_cleanup_(explain_freep) struct explain *x = calloc(1, sizeof(*x));
	_cleanup_free_ struct pintle_pool *pool = calloc(1, sizeof(*pool));
	struct question q = {.note = t, .out = x};
	int err;

	if (!x || !pool)
		return -ENOMEM;
	err = t->key.pool < PINTLE_MAX_POOLS ? maps_value(m, MAP_pools, t->key.pool, pool)
					     : -ESTALE;
	if (err)
		return err;
	if (!pool->generation || pool->generation != t->key.pool_generation)
		return -ESTALE;
	x->tries = 1;
	x->pool = (struct pintle_ref){t->key.pool, t->key.pool_generation};
	x->tier = t->tier;
	x->class_id = t->class_id;
	x->session = t->key.session;
	state_explain_pool_take(&q, pool, t->class_id);
	q.has_session = t->key.session.kind != PINTLE_KEY_NONE;
	q.has_group = pool->group_kind != PINTLE_KEY_NONE;
	err = traced_explain(&q);
	free(q.candidates);
	if (err)
		return err;
	*out = TAKE_PTR(x);
	return 0;
}

void explain_free(struct explain *x)
{
	if (!x)
		return;
	free(x->candidates);
	free(x);
}
