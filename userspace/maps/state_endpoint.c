/* SPDX-License-Identifier: Apache-2.0 */
/* state_endpoint.c - an endpoint: its score, its counts, its state and load. */
#include "state_internal.h"

#include <assert.h>

#define MILLI       1000.0
#define MILLION     1000000.0
#define SCORE_TRIES 100 /* the daemon writes an entry in well under a microsecond */

/* ---- the score ----------------------------------------------------------------- */

/* Copies from mapped memory, which the daemon may be writing. */
static bool score_from_memory(const struct pintle_score *from, struct pintle_score *score)
{
	uint32_t before, after;

	before = __atomic_load_n(&from->sequence, __ATOMIC_ACQUIRE);
	memcpy(score, (const void *)from, sizeof(*score));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	after = __atomic_load_n(&from->sequence, __ATOMIC_RELAXED);
	return !(before & 1) && before == after;
}

/* The kernel copies an entry in no order to rely on. So the entry is copied three times: if the
 * first and the last copy have the same even sequence number, nothing was written while the one
 * between was made. */
static bool score_from_copies(const struct maps *m, uint32_t id, struct pintle_score *score)
{
	struct pintle_score before, after;

	if (maps_value(m, MAP_scores, id, &before) || maps_value(m, MAP_scores, id, score) ||
	    maps_value(m, MAP_scores, id, &after))
		return false;
	return !(before.sequence & 1) && before.sequence == after.sequence;
}

bool state_read_score(const struct maps *m, uint32_t id, struct pintle_score *score)
{
	*score = (struct pintle_score){0};
	for (int i = 0; i < SCORE_TRIES; i++) {
		bool whole = m->scores ? score_from_memory(&m->scores[id], score)
				       : score_from_copies(m, id, score);

		if (whole)
			return true;
	}
	return false;
}

/* ---- counts -------------------------------------------------------------------- */

static int64_t count_left(uint64_t more, uint64_t less)
{
	int64_t left = (int64_t)(more - less);

	return left < 0 ? 0 : (int64_t)MIN((uint64_t)left, STATE_MAX_COUNT);
}

/* Reads closed before opened, and opened before placed. A connection that opens and closes
 * during the reading is then missing in `closed`, but never in `opened` alone: no difference is
 * below 0. */
static int counters_read(const struct maps *m, uint32_t id, struct pintle_inflight *counts)
{
	if (!m->inflight)
		return maps_value(m, MAP_inflight, id, counts);
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *from = &m->inflight[id].by_class[i];
		struct pintle_counters *to = &counts->by_class[i];

		to->closed = __atomic_load_n(&from->closed, __ATOMIC_ACQUIRE);
		to->failed = __atomic_load_n(&from->failed, __ATOMIC_ACQUIRE);
		to->opened = __atomic_load_n(&from->opened, __ATOMIC_ACQUIRE);
		to->placed = __atomic_load_n(&from->placed, __ATOMIC_ACQUIRE);
	}
	return 0;
}

static void counters_take(struct state_endpoint *e, const struct pintle_inflight *counts)
{
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *c = &counts->by_class[i];

		e->closed += c->closed;
		e->failed += c->failed;
		e->opened += c->opened;
		e->placed += c->placed;
	}
	e->in_flight = count_left(e->opened, e->closed);
	e->pending = count_left(e->placed, e->opened + e->failed);
}

/* ---- health -------------------------------------------------------------------- */

/* Reads direct_closed before direct_opened, which the hooks may be counting up: their difference is
 * never below 0. */
static int health_read(const struct maps *m, uint32_t id, struct pintle_health *h)
{
	uint64_t closed;

	if (!m->health)
		return maps_value(m, MAP_health, id, h);
	closed = __atomic_load_n(&m->health[id].direct_closed, __ATOMIC_ACQUIRE);
	memcpy(h, (const void *)&m->health[id], sizeof(*h));
	h->direct_closed = closed;
	return 0;
}

static double seconds_left(uint64_t until, uint64_t now)
{
	return until > now ? (double)(until - now) / (double)NSEC_PER_SEC : 0;
}

/* Takes what was seen at clients' sockets. */
static void failures_take(struct state_endpoint *e, const struct pintle_health *h, uint64_t now)
{
	if (e->ejected && e->unfit != PINTLE_UNFIT_FAILING)
		e->ejected_seconds = seconds_left(h->ejected_until_ns, now);
	e->vouched_seconds = seconds_left(h->vouched_until_ns, now);
	if (!health_answered(h->answered_ns, h->failed_ns))
		e->failures_in_row = h->unopened + h->resets;
	e->ejections = h->ejections;
	memcpy(e->failures, h->failures, sizeof(e->failures));
}

/* Takes what was seen at listeners on this node. */
static void listener_take(struct state_endpoint *e, const struct pintle_health *h)
{
	e->direct = count_left(h->direct_opened, h->direct_closed);
	e->listening_since_ns = h->listening_since_ns;
	e->listeners = h->listeners;
	/* The lookup hook removes a family from a listener that the kernel would not assign for it:
	 * a listener without families was refused for all of them. */
	e->unsteerable = h->unsteerable                          ? h->unsteerable
			 : h->listening_since_ns && !e->families ? PINTLE_UNSTEERABLE_OTHER
								 : 0;
	e->stranger = h->stranger;
	e->unsteerable_error = e->unsteerable && h->error < 0 && h->error >= -4095 ? -h->error : 0;
}

static void health_take(struct state_endpoint *e, const struct eligible_query *q, bool daemonless)
{
	e->unfit = ineligible_unfit(q->health, daemonless) ? q->health->unfit : PINTLE_UNFIT_NOT;
	e->unfit_detail = e->unfit ? q->health->unfit_detail : 0;
	e->families = eligible_families(q->pool, q->endpoint, q->health);
	e->failing = e->unfit == PINTLE_UNFIT_FAILING ? e->unfit_detail : PINTLE_FAILING_NOT;
	e->ejected =
		e->unfit == PINTLE_UNFIT_FAILING || eligible_ejected(q->pool, q->health, q->now);
	e->direct_opened = q->health->direct_opened;
	if (eligible_listens(q->pool))
		listener_take(e, q->health);
	if (hook_has(q->pool->decided_by, PINTLE_TRAIT_FAILURES))
		failures_take(e, q->health, q->now);
}

static void endpoint_override_take(struct state_endpoint *e, const struct eligible_query *q)
{
	e->place = (q->endpoint->flags & PINTLE_ENDPOINT_PLACE) >> 2;
	e->drained_configured = q->endpoint->flags & PINTLE_ENDPOINT_DRAINED;
	e->drained = q->override->generation == e->generation &&
		     q->override->flags & PINTLE_OVERRIDE_DRAIN;
	e->drained_since_ns = e->drained ? q->override->since_ns : 0;
}

static void answers_take(const struct maps *m, struct state_endpoint *e, uint64_t now)
{
	struct pintle_answers n;

	if (maps_value(m, MAP_answers, e->id, &n))
		return;
	e->failings = n.failings;
	e->ejections += n.failings;
	if (e->failing)
		e->ejected_seconds = seconds_left(n.failing_until_ns, now);
}

/* ---- state and load ------------------------------------------------------------ */

static void endpoint_signals_take(struct state_endpoint *e, const struct pintle_score *score,
				  uint64_t now)
{
	int64_t age = (int64_t)(now - score->scraped_ns);

	e->has_age = true;
	e->age_seconds = (double)MAX(age, 0) / (double)NSEC_PER_SEC;
	e->has_waiting = score->flags & PINTLE_SIGNAL_WAITING;
	e->has_running = score->flags & PINTLE_SIGNAL_RUNNING;
	e->has_kv_cache = score->flags & PINTLE_SIGNAL_KV_CACHE;
	e->has_gpu = score->flags & PINTLE_SIGNAL_GPU;
	e->waiting = e->has_waiting ? score->waiting : 0;
	e->running = e->has_running ? score->running : 0;
	e->kv_cache = e->has_kv_cache ? MIN(score->kv_cache / MILLION, 1.0) : 0;
	e->gpu = e->has_gpu ? MIN(score->gpu / MILLION, 1.0) : 0;
	e->saturated = score->flags & PINTLE_SCORE_SATURATED;
	e->scrape_failed = score->flags & PINTLE_SCORE_FAILED;
	e->unused = score->flags & PINTLE_SCORE_IDLE;
	e->published = MIN(score->model[0].published, PINTLE_MAX_LOAD) / MILLI;
}

/* ---- work ---------------------------------------------------------------------- */

static void work_take(const struct maps *m, struct state_endpoint *e,
		      const struct pintle_pool *pool, uint64_t now)
{
	struct pintle_work w = {0};

	if (maps_value(m, MAP_works, e->id, &w) || w.generation != e->generation ||
	    !eligible_passed(pool, w.passed_ns, now))
		return;
	e->has_work = true;
	e->work = w;
	if (w.oldest_ns && now > w.oldest_ns)
		e->oldest_seconds = (double)(now - w.oldest_ns) / (double)NSEC_PER_SEC;
}

/* By INELIGIBLE_*: the state of an endpoint that this keeps from being chosen. */
static const enum state_endpoint_state states[INELIGIBLE_COUNT] = {
	[INELIGIBLE_NOT] = STATE_READY,          [INELIGIBLE_DOWN] = STATE_DOWN,
	[INELIGIBLE_FAMILY] = STATE_UNSTEERABLE, [INELIGIBLE_DRAINED] = STATE_DRAINED,
	[INELIGIBLE_EJECTED] = STATE_EJECTED,    [INELIGIBLE_UNHEARD] = STATE_UNHEARD,
	[INELIGIBLE_STARTING] = STATE_STARTING,  [INELIGIBLE_UNHEALTHY] = STATE_UNHEALTHY,
	[INELIGIBLE_FAULTY] = STATE_FAULTY,      [INELIGIBLE_STOPPED] = STATE_STOPPED,
	[INELIGIBLE_STALLED] = STATE_STALLED,    [INELIGIBLE_ASLEEP] = STATE_ASLEEP,
};

/* why: INELIGIBLE_* */
static enum state_endpoint_state state_of(const struct state_endpoint *e, uint32_t why)
{
	if (why == INELIGIBLE_DOWN && e->unsteerable)
		return STATE_UNSTEERABLE;
	if (why == INELIGIBLE_NOT && !e->fresh)
		return STATE_STALE;
	if (why == INELIGIBLE_NOT && e->saturated)
		return STATE_SATURATED;
	return states[why];
}

static bool endpoint_is_ready(enum state_endpoint_state s)
{
	return s == STATE_READY || s == STATE_SATURATED || s == STATE_STALE;
}

int state_read_raw(const struct maps *m, uint64_t now, const struct pintle_pool *pool, uint32_t id,
		   uint32_t generation, struct state_raw *raw)
{
	struct pintle_ends ends;
	int err;

	*raw = (struct state_raw){0};
	err = counters_read(m, id, &raw->counts);
	if (!err)
		err = health_read(m, id, &raw->health);
	if (err)
		return err;
	maps_value(m, MAP_overrides, PINTLE_ENDPOINT_SLOT(id), &raw->override);
	raw->seen.whole = state_read_score(m, id, &raw->score);
	eligible_score_take(&raw->seen, &raw->score, generation, pool, now);
	eligible_facts(&raw->facts, pool, &raw->seen, now);
	if (pool->decide == PINTLE_DECIDE_REQUEST && !maps_value(m, MAP_ends, id, &ends))
		eligible_facts_asked(&raw->facts, eligible_asked(pool, ends.asked_bytes,
								 raw->score.passed_asked));
	eligible_count(&raw->facts, pool, &raw->counts);
	return 0;
}

/* Fills in `e` and its candidate `c` for the endpoint `is`, as the rule sees it for a connection
 * that may be of either family. */
static int endpoint_read(const struct maps *m, uint64_t now, struct state_pool *of,
			 const struct pintle_pool *pool, const struct pintle_endpoint *is,
			 struct state_endpoint *e, struct decide_candidate *c)
{
	struct state_raw raw;
	const struct eligible_query q = {
		.pool = pool,
		.endpoint = is,
		.health = &raw.health,
		.override = &raw.override,
		.now = now,
		.family = PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6,
	};
	int err = state_read_raw(m, now, pool, e->id, e->generation, &raw);

	if (err)
		return err;
	maps_value(m, MAP_shadow_placed, e->id, &e->shadow_placed);
	counters_take(e, &raw.counts);
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++)
		of->class_in_flight[i] += eligible_in_flight(&raw.counts.by_class[i]);
	health_take(e, &q, of->daemonless);
	answers_take(m, e, now);
	endpoint_override_take(e, &q);
	if (raw.seen.whole && raw.seen.scraped_ns)
		endpoint_signals_take(e, &raw.score, now);
	work_take(m, e, pool, now);
	e->fresh = raw.facts.fresh;
	e->weight = (double)(raw.facts.rate ?: DECIDE_RATE) / DECIDE_RATE;
	e->state = state_of(e, ineligible(&q, &raw.seen, of->daemonless));
	c->endpoint = e->id;
	c->generation = e->generation;
	decide_weigh(c, &raw.facts, pool->departure, false);
	return 0;
}

static bool endpoint_identify(const struct maps *m, const struct pintle_ref *ref,
			      const struct state_pool *pool, struct pintle_endpoint *is,
			      struct state_endpoint *e)
{
	if (maps_value(m, MAP_endpoints, ref->id, is) ||
	    !eligible_member(is, ref->generation, pool->id, pool->generation))
		return false;
	*e = (struct state_endpoint){.id = ref->id, .generation = ref->generation};
	memcpy(e->addr.ip.bytes, is->address, sizeof(e->addr.ip.bytes));
	e->addr.port = is->port;
	e->addr.any_ip = is->flags & PINTLE_ENDPOINT_ANY_ADDRESS;
	addr_format_endpoint(&e->addr, e->address);
	state_read_name(m, PINTLE_ENDPOINT_SLOT(e->id), e->generation, "endpoint", e->id, e->name);
	return true;
}

/* Loads are compared within a pool: a load whose score is stale counts as the highest fresh load.
 * Endpoints that cannot be chosen take no part: they neither are that highest nor are raised to
 * it. */
static void loads_and_shares(struct state *s, const struct state_pool *pool,
			     const struct decide_candidate *c)
{
	struct state_endpoint *e = s->endpoints + pool->first_endpoint;
	struct decide_state rule;
	double placed = 0;

	decide_begin(&rule, 1, 0);
	for (size_t i = 0; i < pool->endpoint_count; i++) {
		if (endpoint_is_ready(e[i].state))
			decide_consider(&rule, &c[i]);
		placed += (double)e[i].placed;
	}
	for (size_t i = 0; i < pool->endpoint_count; i++) {
		e[i].load =
			(endpoint_is_ready(e[i].state) ? decide_load(&rule, &c[i]) : c[i].load) /
			MILLI;
		e[i].share = placed > 0 ? (double)e[i].placed / placed : 0;
	}
}

int state_read_endpoints(const struct maps *m, struct state *s, struct state_pool *to,
			 const struct pintle_pool *pool, bool seen[PINTLE_MAX_ENDPOINTS])
{
	uint32_t count = MIN(pool->member_count, (uint32_t)PINTLE_MAX_MEMBERS);
	_cleanup_free_ struct decide_candidate *candidates =
		calloc(MAX(count, 1U), sizeof(*candidates));
	int err;

	if (!candidates)
		return -ENOMEM;
	to->first_endpoint = s->endpoint_count;
	for (uint32_t i = 0; i < count; i++) {
		const struct pintle_ref *ref = &pool->members[i];
		struct state_endpoint *e = &s->endpoints[s->endpoint_count];
		struct pintle_endpoint is;

		if (ref->id >= PINTLE_MAX_ENDPOINTS || seen[ref->id] ||
		    !endpoint_identify(m, ref, to, &is, e))
			continue;
		assert(s->endpoint_count < PINTLE_MAX_ENDPOINTS);
		e->pool = (uint32_t)s->pool_count;
		err = endpoint_read(m, s->now_ns, to, pool, &is, e,
				    &candidates[to->endpoint_count]);
		if (err)
			return err;
		seen[ref->id] = true;
		to->ready_count += endpoint_is_ready(e->state);
		to->ejected_count += e->ejected;
		to->endpoint_count++;
		s->endpoint_count++;
	}
	/* The sums of all endpoints are right, where corrections leave one of them below 0. */
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++)
		to->class_in_flight[i] = (uint64_t)count_left(to->class_in_flight[i], 0);
	loads_and_shares(s, to, candidates);
	return 0;
}
