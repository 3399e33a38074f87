/* SPDX-License-Identifier: Apache-2.0 */
/* state_endpoint.c - one endpoint: its score, its counts, and what follows from them. */
#include "state_internal.h"

#include "decide.bpf.h"
#include "health.bpf.h"
#include "traits.bpf.h"

#define MILLI       1000.0
#define MILLION     1000000.0
#define SCORE_TRIES 100 /* the daemon writes an entry in well under a microsecond */

/* ---- the score ----------------------------------------------------------------- */

/* From memory that the daemon writes at any time. */
static bool score_from_memory(const struct pintle_score *from, struct pintle_score *score)
{
	uint32_t before, after;

	before = __atomic_load_n(&from->sequence, __ATOMIC_ACQUIRE);
	memcpy(score, (const void *)from, sizeof(*score));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	after = __atomic_load_n(&from->sequence, __ATOMIC_RELAXED);
	return !(before & 1) && before == after;
}

/* By copies that the kernel makes in no order that we may rely on: what lies between two
 * copies with the same sequence number was not being written. */
static bool score_from_copies(const struct maps *m, uint32_t id, struct pintle_score *score)
{
	struct pintle_score before, after;

	if (maps_value(m, MAP_scores, id, &before) || maps_value(m, MAP_scores, id, score) ||
	    maps_value(m, MAP_scores, id, &after))
		return false;
	return !(before.sequence & 1) && before.sequence == after.sequence;
}

/* False: it has none, or cannot be read as a whole. */
static bool score_read(const struct maps *m, uint32_t id, uint32_t generation,
		       struct pintle_score *score)
{
	for (int i = 0; i < SCORE_TRIES; i++) {
		bool whole = m->scores ? score_from_memory(&m->scores[id], score)
				       : score_from_copies(m, id, score);

		if (whole)
			return score->generation == generation && score->scraped_ns;
	}
	return false;
}

/* ---- counts -------------------------------------------------------------------- */

static int64_t count_left(uint64_t more, uint64_t less)
{
	int64_t left = (int64_t)(more - less);

	return left < 0 ? 0 : (int64_t)MIN((uint64_t)left, STATE_MAX_COUNT);
}

static int64_t count_cut(int64_t n)
{
	int64_t most = (int64_t)STATE_MAX_COUNT, cut = MIN(n, most);

	return MAX(cut, -most);
}

/* Ends are read before what they are the ends of, so that no difference is below 0. */
static int counters_read(const struct maps *m, uint32_t id, struct state_endpoint *e)
{
	struct pintle_inflight copy = {0};
	const struct pintle_inflight *f = m->inflight ? &m->inflight[id] : &copy;
	int err = m->inflight ? 0 : maps_value(m, MAP_inflight, id, &copy);

	for (int i = 0; !err && i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *c = &f->by_class[i];

		e->closed += __atomic_load_n(&c->closed, __ATOMIC_ACQUIRE);
		e->failed += __atomic_load_n(&c->failed, __ATOMIC_ACQUIRE);
		e->opened += __atomic_load_n(&c->opened, __ATOMIC_ACQUIRE);
		e->placed += __atomic_load_n(&c->placed, __ATOMIC_ACQUIRE);
	}
	e->in_flight = count_left(e->opened, e->closed);
	e->pending = count_left(e->placed, e->opened + e->failed);
	return err;
}

static double seconds_left(uint64_t until, uint64_t now)
{
	return until > now ? (double)(until - now) / (double)NSEC_PER_SEC : 0;
}

/* What clients' sockets saw. */
static void failures_take(const struct pintle_health *h, uint64_t now, struct state_endpoint *e)
{
	uint64_t until = __atomic_load_n(&h->ejected_until_ns, __ATOMIC_RELAXED);
	uint64_t vouched = __atomic_load_n(&h->vouched_until_ns, __ATOMIC_RELAXED);
	uint64_t answered = __atomic_load_n(&h->answered_ns, __ATOMIC_RELAXED);
	uint64_t failed = __atomic_load_n(&h->failed_ns, __ATOMIC_RELAXED);

	e->ejected = health_ejected(until, answered, failed, now);
	e->ejected_seconds = e->ejected ? seconds_left(until, now) : 0;
	e->vouched_seconds = seconds_left(vouched, now);
	if (!health_answered(answered, failed))
		e->failures_in_row = __atomic_load_n(&h->unopened, __ATOMIC_RELAXED) +
				     __atomic_load_n(&h->resets, __ATOMIC_RELAXED);
	e->ejections = __atomic_load_n(&h->ejections, __ATOMIC_RELAXED);
	for (int i = 0; i < PINTLE_FAILURE_COUNT; i++)
		e->failures[i] = __atomic_load_n(&h->failures[i], __ATOMIC_RELAXED);
}

/* What listeners on this node showed. */
static void listener_take(const struct pintle_health *h, struct state_endpoint *e)
{
	uint64_t closed = __atomic_load_n(&h->direct_closed, __ATOMIC_ACQUIRE);
	int32_t error;

	e->direct_opened = __atomic_load_n(&h->direct_opened, __ATOMIC_ACQUIRE);
	e->direct = count_left(e->direct_opened, closed);
	e->listening_since_ns = __atomic_load_n(&h->listening_since_ns, __ATOMIC_RELAXED);
	e->listeners = __atomic_load_n(&h->listeners, __ATOMIC_RELAXED);
	e->families = __atomic_load_n(&h->families, __ATOMIC_RELAXED) &
		      (PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6);
	e->unsteerable = __atomic_load_n(&h->unsteerable, __ATOMIC_RELAXED);
	e->stranger = __atomic_load_n(&h->stranger, __ATOMIC_RELAXED);
	error = __atomic_load_n(&h->error, __ATOMIC_RELAXED);
	e->unsteerable_error = e->unsteerable && error < 0 && error >= -4095 ? -error : 0;
}

static int health_read(const struct maps *m, const struct state_pool *of, uint64_t now,
		       struct state_endpoint *e)
{
	struct pintle_health copy = {0};
	const struct pintle_health *h = m->health ? &m->health[e->id] : &copy;
	int err = m->health ? 0 : maps_value(m, MAP_health, e->id, &copy);

	if (err)
		return err;
	if (of->reach == PINTLE_REACH_LISTENER)
		listener_take(h, e);
	else
		e->families = addr_is_v4(&e->addr.ip) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
	if (hook_has(of->decided_by, PINTLE_TRAIT_FAILURES))
		failures_take(h, now, e);
	return 0;
}

static void drain_read(const struct maps *m, struct state_endpoint *e)
{
	struct pintle_override o;

	if (maps_value(m, MAP_overrides, PINTLE_ENDPOINT_SLOT(e->id), &o) ||
	    o.generation != e->generation || !(o.flags & PINTLE_OVERRIDE_DRAIN))
		return;
	e->drained = true;
	e->drained_since_ns = o.since_ns;
}

/* ---- what follows -------------------------------------------------------------- */

static void signals_take(struct state_endpoint *e, const struct pintle_score *score, uint64_t now)
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
	e->published = MIN(score->model[0].published, PINTLE_MAX_LOAD) / MILLI;
}

/* As the hooks gather them (bpf/choose.bpf.h). */
static struct decide_facts facts_of(const struct state_endpoint *e,
				    const struct pintle_score *score,
				    const struct pintle_pool *pool)
{
	struct decide_facts f = {
		.inflight = e->in_flight,
		.pending = e->pending,
		.running = pool->running_weight,
	};

	if (!score)
		return f;
	f.inflight_at_scrape = count_cut(score->inflight);
	f.pending_at_scrape = count_cut(score->pending);
	f.published = score->model[0].published;
	f.running = score->model[0].running;
	f.fresh = e->fresh;
	return f;
}

/* The first row that holds. */
static enum state_endpoint_state state_of(const struct state_endpoint *e,
					  const struct state_pool *of, uint64_t scraped_ns)
{
	bool unheard = of->reach == PINTLE_REACH_LISTENER && !e->listening_since_ns;

	const struct {
		bool holds;
		enum state_endpoint_state state;
	} rows[] = {
		{unheard && e->unsteerable, STATE_UNSTEERABLE},
		{unheard, STATE_DOWN},
		{e->drained, STATE_DRAINED},
		{e->ejected, STATE_EJECTED},
		{(!scraped_ns || scraped_ns < e->listening_since_ns) && !of->daemonless,
		 STATE_WAITING},
		{!e->fresh, STATE_STALE},
		{e->saturated, STATE_SATURATED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].holds)
			return rows[i].state;
	}
	return STATE_READY;
}

static bool is_ready(enum state_endpoint_state s)
{
	return s == STATE_READY || s == STATE_SATURATED || s == STATE_STALE;
}

static int endpoint_read(const struct maps *m, uint64_t now, const struct state_pool *of,
			 const struct pintle_pool *pool, struct state_endpoint *e,
			 struct decide_candidate *c)
{
	struct pintle_score score;
	struct decide_facts facts;
	bool scored;
	int err = counters_read(m, e->id, e);

	if (!err)
		err = health_read(m, of, now, e);
	if (err)
		return err;
	drain_read(m, e);
	scored = score_read(m, e->id, e->generation, &score);
	if (scored) {
		signals_take(e, &score, now);
		e->fresh = (int64_t)(now - score.scraped_ns) <= (int64_t)pool->staleness_ns;
	}
	e->state = state_of(e, of, scored ? score.scraped_ns : 0);
	facts = facts_of(e, scored ? &score : NULL, pool);
	c->endpoint = e->id;
	c->generation = e->generation;
	decide_weigh(c, &facts, pool->running_weight, false);
	return 0;
}

static bool endpoint_identify(const struct maps *m, const struct pintle_ref *ref,
			      const struct state_pool *pool, struct state_endpoint *e)
{
	struct pintle_endpoint is;

	if (maps_value(m, MAP_endpoints, ref->id, &is) || !ref->generation ||
	    is.generation != ref->generation || is.pool != pool->id ||
	    is.pool_generation != pool->generation)
		return false;
	*e = (struct state_endpoint){.id = ref->id, .generation = ref->generation};
	memcpy(e->addr.ip.bytes, is.address, sizeof(e->addr.ip.bytes));
	e->addr.port = is.port;
	e->addr.any_ip = is.flags & PINTLE_ENDPOINT_ANY_ADDRESS;
	addr_format_endpoint(&e->addr, e->address);
	state_read_name(m, PINTLE_ENDPOINT_SLOT(e->id), e->generation, "endpoint", e->id, e->name);
	return true;
}

/* Loads are comparable within a pool only: one that is too old counts as the highest fresh one.
 * Who cannot be chosen is no part of that comparison. */
static void loads_and_shares(struct state *s, const struct state_pool *pool,
			     const struct decide_candidate *c)
{
	struct state_endpoint *e = s->endpoints + pool->first_endpoint;
	struct decide_state rule;
	double placed = 0;

	decide_begin(&rule, 1, 0);
	for (size_t i = 0; i < pool->endpoint_count; i++) {
		if (is_ready(e[i].state))
			decide_consider(&rule, &c[i]);
		placed += (double)e[i].placed;
	}
	for (size_t i = 0; i < pool->endpoint_count; i++) {
		e[i].load = (is_ready(e[i].state) ? decide_load(&rule, &c[i]) : c[i].load) / MILLI;
		e[i].share = placed > 0 ? (double)e[i].placed / placed : 0;
	}
}

int state_read_endpoints(const struct maps *m, struct state *s, struct state_pool *to,
			 const struct pintle_pool *pool, bool seen[PINTLE_MAX_ENDPOINTS])
{
	uint32_t count = MIN(pool->member_count, (uint32_t)PINTLE_MAX_ENDPOINTS);
	_cleanup_free_ struct decide_candidate *candidates =
		calloc(MAX(count, 1U), sizeof(*candidates));
	int err;

	if (!candidates)
		return -ENOMEM;
	to->first_endpoint = s->endpoint_count;
	for (uint32_t i = 0; i < count; i++) {
		const struct pintle_ref *ref = &pool->members[i];
		struct state_endpoint *e = &s->endpoints[s->endpoint_count];

		if (ref->id >= PINTLE_MAX_ENDPOINTS || seen[ref->id] ||
		    !endpoint_identify(m, ref, to, e))
			continue;
		e->pool = (uint32_t)s->pool_count;
		err = endpoint_read(m, s->now_ns, to, pool, e, &candidates[to->endpoint_count]);
		if (err)
			return err;
		seen[ref->id] = true;
		to->ready_count += is_ready(e->state);
		to->ejected_count += e->ejected;
		to->endpoint_count++;
		s->endpoint_count++;
	}
	loads_and_shares(s, to, candidates);
	return 0;
}
