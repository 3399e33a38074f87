/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support_states.h - random states of a pool and of all endpoints, the same in every run: states
 * that the daemon, the CLI and the hooks may leave in the maps, and states that they never leave.
 */
#ifndef PINTLE_TESTS_SUPPORT_STATES_H
#define PINTLE_TESTS_SUPPORT_STATES_H

#include "support_bpf.h"
#include "traits.bpf.h"

#define STATES_POOL     3
#define STATES_POOL_GEN 7
#define STATES_GEN(e)   (100 + (e))

/* The content of the maps after one fill. */
struct states {
	uint64_t at; /* number of the next random number */
	uint64_t now;
	bool tame;     /* only states that occur, and no two times closer than now / 128 */
	bool followed; /* the scores have what a pass found; else they have zeros there */
	bool asked;    /* the pool is decided by request */
	bool idle;     /* nobody uses the pool: some scores may be older */
	struct pintle_pool pool;
	struct pintle_endpoint endpoints[PINTLE_MAX_MEMBERS];
	struct pintle_score scores[PINTLE_MAX_MEMBERS];
	struct pintle_health health[PINTLE_MAX_MEMBERS];
	struct pintle_inflight inflight[PINTLE_MAX_MEMBERS];
	struct pintle_override overrides[PINTLE_MAX_MEMBERS];
	struct pintle_ends ends[PINTLE_MAX_MEMBERS];
};

static inline uint64_t states_random(struct states *s)
{
	return random_at(s->at++);
}

/* True one time in n. */
static inline bool states_one_in(struct states *s, uint32_t n)
{
	return states_random(s) % n == 0;
}

/* `odd`, a value that never occurs, one time in n, unless the states are tame; else `usual`. */
#define states_unless(s, n, usual, odd) ((s)->tame || !states_one_in(s, n) ? (usual) : (odd))

/* A time that is often equal to another one, or 1 ns off, so that each comparison goes either way.
 */
static inline uint64_t states_time(struct states *s, uint32_t from, uint32_t to)
{
	uint64_t t = s->now / 64 * (from + states_random(s) % (to - from + 1));

	if (s->tame)
		return t;
	switch (states_random(s) % 16) {
	case 0:
		return t - 1;
	case 1:
		return t + 1;
	case 2:
		return states_random(s);
	default:
		return t;
	}
}

static inline int64_t states_count(struct states *s)
{
	return states_unless(s, 8, (int64_t)(states_random(s) % 16), (int64_t)states_random(s));
}

static inline uint32_t states_load(struct states *s)
{
	return states_unless(s, 8, (uint32_t)(states_random(s) % 16) * 1000,
			     (uint32_t)states_random(s));
}

static inline void states_pool(struct states *s)
{
	static const uint64_t edges[] = {0, 1, INT64_MAX, UINT64_MAX};
	uint64_t classes = 1 + (states_one_in(s, 2) ? states_random(s) % PINTLE_MAX_CLASSES : 0);

	s->pool = (struct pintle_pool){
		.generation = STATES_POOL_GEN,
		.mode = PINTLE_MODE_ENFORCE,
		.classes = (uint32_t)states_unless(s, 16, classes, states_random(s)),
		.decided_by = states_one_in(s, 2) ? PINTLE_HOOK_CONNECT : PINTLE_HOOK_LOOKUP,
		.staleness_ns = states_unless(s, 8, states_time(s, 16, 16),
					      edges[states_random(s) % ARRAY_SIZE(edges)]),
		.departure = states_load(s),
		.member_count = PINTLE_MAX_MEMBERS,
	};
	for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e++)
		s->pool.members[e] = (struct pintle_ref){e, STATES_GEN(e)};
}

static inline void states_endpoint(struct states *s, uint32_t e)
{
	struct pintle_endpoint *to = &s->endpoints[e];
	bool v4 = states_one_in(s, 2);

	*to = (struct pintle_endpoint){
		.generation = STATES_GEN(e) - states_one_in(s, 32),
		.pool_generation = STATES_POOL_GEN - states_one_in(s, 32),
		.pool = STATES_POOL + states_one_in(s, 32),
		.flags = (uint32_t)states_random(s) & PINTLE_ENDPOINT_ANY_ADDRESS,
		.port = 8000,
	};
	if (states_one_in(s, 32))
		to->flags |= PINTLE_ENDPOINT_DRAINED;
	if (states_one_in(s, 64))
		to->pool_generation = 0;
	for (int i = 0; i < 16; i++)
		to->address[i] = v4 && i < 12 ? (i < 10 ? 0 : 0xff) : (uint8_t)states_random(s);
	if (v4 && !s->tame && states_one_in(s, 8))
		to->address[states_random(s) % 12] ^= 1;
}

static inline void states_score(struct states *s, uint32_t e)
{
	struct pintle_score *to = &s->scores[e];

	*to = (struct pintle_score){
		.sequence = (uint32_t)states_unless(s, 16, states_random(s) & ~1ULL,
						    states_random(s) | 1),
		.generation = STATES_GEN(e) - states_one_in(s, 32),
		.scraped_ns = states_one_in(s, 16) ? 0 : states_time(s, 40, 63),
		.inflight = states_count(s),
		.pending = states_count(s),
		.flags = (uint32_t)states_random(s) & 0x3f,
		.waiting = (uint32_t)states_random(s) % 100,
		.running = (uint32_t)states_random(s) % 100,
	};
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++)
		to->model[i] = (struct pintle_load_model){states_load(s), states_load(s)};
}

/* Takes its random numbers behind all others', so that the rest of the states is the same with and
 * without. */
static inline void states_pass(struct states *s, uint32_t e)
{
	struct pintle_score *to = &s->scores[e];

	to->passed_ns = states_one_in(s, 16) ? 0 : states_time(s, 40, 63);
	to->passed_inflight = states_count(s);
	to->passed_idle = (uint32_t)states_count(s);
	to->floor = states_load(s);
	to->prompt = states_load(s);
	to->newcomer = states_load(s);
	to->passed_opened = (uint64_t)states_count(s);
	if (states_one_in(s, 4)) {
		s->health[e].stands_until_ns = states_time(s, 48, 80) + s->tame * s->now / 128;
		s->health[e].standing = 1 + (uint32_t)states_random(s) % 2;
		s->health[e].try_ns = states_time(s, 30, 63);
	}
	if (states_one_in(s, 8))
		s->health[e].unfit = (uint16_t)states_random(s) % (PINTLE_UNFIT_COUNT + 1);
}

/* Random numbers of their own, for the same reason. */
static inline void states_share(struct states *s, uint32_t n)
{
	s->pool.class_of[0] =
		(struct pintle_class){.flags = PINTLE_CLASS_BOUNDED, .connections = 8};
	for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e++) {
		uint64_t r = random_at(~((uint64_t)n << 20 | e));

		s->health[e].full_classes = (uint32_t)(r & r >> 8);
		s->health[e].closed_classes = (uint32_t)(r >> 32 & r >> 40 & r >> 48);
	}
}

static inline void states_asked(struct states *s, uint32_t n)
{
	s->pool.decide = PINTLE_DECIDE_REQUEST;
	for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e++) {
		uint64_t r = random_at(~((uint64_t)n << 20 | e) ^ 1ULL << 62);

		s->scores[e].passed_asked = r % 64 ? r >> 32 : random_at(r);
		s->ends[e] = (struct pintle_ends){.asked_bytes = s->scores[e].passed_asked +
								 (r >> 8) % 4 * (r % 20000)};
		if (r % 32 == 1)
			s->ends[e].asked_bytes = random_at(r + 1);
	}
}

static inline void states_idle(struct states *s, uint32_t n)
{
	/* About as long as a tame staleness, or the most. */
	s->pool.idle_ms = n % 4 ? (uint32_t)(s->now / 8 / NSEC_PER_MSEC) : UINT32_MAX;
	for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e++)
		if (random_at(~((uint64_t)n << 20 | e) ^ 1ULL << 61) & 1)
			s->scores[e].flags |= PINTLE_SCORE_IDLE;
}

static inline void states_health(struct states *s, uint32_t e)
{
	struct pintle_health *to = &s->health[e];
	bool listens = !states_one_in(s, 8) && (pool_reach(&s->pool) == PINTLE_REACH_LISTENER ||
						(!s->tame && states_one_in(s, 8)));

	*to = (struct pintle_health){
		/* Tame times are half a step away from the scores' times. */
		.listening_since_ns = listens ? states_time(s, 30, 55) + s->tame * s->now / 128 : 0,
		.listeners = listens,
		.families = (uint32_t)states_unless(s, 8, 1 + states_random(s) % 3,
						    states_random(s) & ~3ULL),
		.unsteerable = states_one_in(s, 4) ? (uint32_t)states_random(s) % 8 : 0,
	};
	if (states_one_in(s, 2)) {
		to->ejected_until_ns = states_time(s, 48, 80) + s->tame * s->now / 128;
		to->failed_ns = states_time(s, 30, 63);
		to->answered_ns = states_one_in(s, 2) ? 0 : states_time(s, 30, 63);
	}
}

static inline void states_counters(struct states *s, uint32_t e)
{
	memset(&s->inflight[e], 0, sizeof(s->inflight[e]));
	for (uint32_t i = 0; i < PINTLE_MAX_CLASSES; i++) {
		struct pintle_counters *to = &s->inflight[e].by_class[i];

		if (i && (s->tame ? i >= s->pool.classes : states_one_in(s, 2)))
			continue;
		to->closed = (uint64_t)states_count(s);
		to->failed = (uint64_t)states_count(s);
		to->opened = to->closed + (uint64_t)states_count(s);
		to->placed = to->opened + to->failed + (uint64_t)states_count(s);
		if (!s->tame && states_one_in(s, 8))
			to->closed += to->opened;
	}
}

static inline void states_override(struct states *s, uint32_t e)
{
	s->overrides[e] = (struct pintle_override){0};
	if (!states_one_in(s, 4))
		return;
	s->overrides[e] = (struct pintle_override){
		.generation = STATES_GEN(e) - states_one_in(s, 4),
		.flags = (uint32_t)states_random(s) & 7,
		.since_ns = 1,
	};
}

/* Makes fill number n. */
static inline void states_make(struct states *s, uint32_t n, uint64_t now, bool tame)
{
	s->at = (uint64_t)n << 32 | (uint64_t)tame << 63;
	s->now = now;
	s->tame = tame;
	states_pool(s);
	for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e++) {
		states_endpoint(s, e);
		states_score(s, e);
		states_health(s, e);
		states_counters(s, e);
		states_override(s, e);
	}
	if (s->followed && !states_one_in(s, 4))
		s->pool.context_bytes = 200;
	for (uint32_t e = 0; s->followed && e < PINTLE_MAX_MEMBERS; e++)
		states_pass(s, e);
	if (s->followed)
		states_share(s, n);
	if (s->asked)
		states_asked(s, n);
	if (s->idle)
		states_idle(s, n);
}

/* Writes the entries of an array map from `first` on. */
static inline void states_put_array(int fd, uint32_t first, const void *values)
{
	uint32_t keys[PINTLE_MAX_MEMBERS], count = PINTLE_MAX_MEMBERS;

	for (uint32_t i = 0; i < count; i++)
		keys[i] = first + i;
	assert_int_equal(bpf_map_update_batch(fd, keys, values, &count, NULL), 0);
	assert_int_equal(count, PINTLE_MAX_MEMBERS);
}

static inline void states_put(const struct states *s, const struct pintle_bpf *skel)
{
	const uint32_t pool = STATES_POOL;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.pools), &pool, &s->pool, 0), 0);
	states_put_array(bpf_map__fd(skel->maps.endpoints), 0, s->endpoints);
	states_put_array(bpf_map__fd(skel->maps.scores), 0, s->scores);
	states_put_array(bpf_map__fd(skel->maps.health), 0, s->health);
	states_put_array(bpf_map__fd(skel->maps.inflight), 0, s->inflight);
	states_put_array(bpf_map__fd(skel->maps.overrides), PINTLE_ENDPOINT_SLOT(0), s->overrides);
	states_put_array(bpf_map__fd(skel->maps.ends), 0, s->ends);
}

/* ---- the kernel's results --------------------------------------------------------------- */

/* Weighs WEIGH_CASE_MAX endpoints from `first` on, each for the connection that `of` describes. */
static inline void states_weigh(const struct states *s, const struct pintle_bpf *skel,
				uint32_t first, struct weigh_one *of)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct weigh_case *k = &skel->bss->weigh_case;

	k->now = s->now;
	k->pool = STATES_POOL;
	k->pool_generation = STATES_POOL_GEN;
	for (uint32_t i = 0; i < WEIGH_CASE_MAX; i++) {
		of[i].endpoint = first + i;
		of[i].generation = STATES_GEN(first + i);
	}
	memcpy(k->of, of, sizeof(k->of));
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pintle_weigh), &opts),
			 0);
	assert_int_equal(opts.retval, 0);
	memcpy(of, k->of, sizeof(k->of));
}

/* ---- the results of the same text on the host ------------------------------------------------ */

/* Like states_weigh() for one endpoint: sets one->candidate and one->eligible, and returns the
 * reason why the endpoint is not eligible, or 0. */
static inline uint32_t states_weigh_here(const struct states *s, struct weigh_one *one)
{
	const uint32_t e = one->endpoint;
	const struct eligible_query q = {
		.pool = &s->pool,
		.endpoint = &s->endpoints[e],
		.health = &s->health[e],
		.override = &s->overrides[e],
		.now = s->now,
		.family = one->family,
	};
	struct eligible_score score = {.whole = !(s->scores[e].sequence & 1)};
	struct decide_facts f = {0};
	uint32_t why;

	one->eligible = 0;
	one->candidate = (struct decide_candidate){.endpoint = e, .generation = one->generation};
	if (!eligible_member(q.endpoint, one->generation, STATES_POOL, STATES_POOL_GEN))
		return INELIGIBLE_COUNT;
	eligible_score_take(&score, &s->scores[e], one->generation, &s->pool, s->now);
	eligible_facts(&f, &s->pool, &score, s->now);
	if (s->pool.decide == PINTLE_DECIDE_REQUEST)
		eligible_facts_asked(&f, eligible_asked(&s->pool, s->ends[e].asked_bytes,
							s->scores[e].passed_asked));
	eligible_count(&f, &s->pool, &s->inflight[e]);
	decide_weigh(&one->candidate, &f, s->pool.departure, one->bound);
	if (s->pool.class_of[0].flags & PINTLE_CLASS_BOUNDED)
		one->candidate.full = (__u8)eligible_full(&s->pool.class_of[0], 0, &s->inflight[e],
							  &s->health[e], false);
	why = ineligible(&q, &score, one->daemonless);
	one->eligible = !why;
	return why;
}

#endif
