/* SPDX-License-Identifier: Apache-2.0 */
/* What the lookup hook makes of a request's prompt, which the hand-off has found out about.
 * test_prefix.c tests the table, test_rule.c the rule. */
#include "support_world.h"

#include "rule/prefix.bpf.h"

/* What 400 bytes of a prompt weigh at an endpoint that has none of it: one request. */
#define WEIGHT (1000 * PREFIX_CHUNK / PINTLE_REQUEST_BYTES)

/* The server began so long ago that all is believed. */
static uint16_t now_used(void)
{
	return prefix_time(w.now);
}

/* A request of this pool with so many bytes, of which `steps` steps are seen. */
static struct pintle_asking asking_of(uint32_t bytes, uint32_t steps)
{
	struct pintle_asking a = {
		.state = PINTLE_ASKING_WHERE,
		.prompt_of = {POOL, POOL_GEN},
		.prompt = {.steps = steps, .bytes = bytes},
	};

	return a;
}

/* Endpoint `e` holds so many steps. */
static void holds(struct pintle_asking *a, uint32_t at, uint32_t e, uint8_t steps)
{
	a->known.of[at] = (struct pintle_holder){
		.endpoint = (uint16_t)e, .generation = GEN(e), .used = now_used()};
	a->known.steps[at] = steps;
	a->known.longest = MAX(a->known.longest, steps);
}

/* On whichever CPU the program runs. */
static void ask(const struct pintle_asking *a)
{
	int cpus = libbpf_num_possible_cpus();
	struct pintle_asking *all = calloc((size_t)cpus, sizeof(*all));

	assert_non_null(all);
	for (int i = 0; i < cpus; i++)
		all[i] = *a;
	put(asking, 0U, all);
	free(all);
}

/* Makes n endpoints that have listened for an hour, in a pool that looks at prompts. */
static void make_pool(uint32_t n)
{
	if (n > 16)
		make_many_endpoints(n);
	else
		make_endpoints(n);
	for (uint32_t e = 0; e < n; e++) {
		struct pintle_health h = health_of(e);

		h.listening_since_ns = w.now - MIN(w.now - 1, 3600 * SECOND);
		put(health, e, &h);
	}
	w.pool.decide = PINTLE_DECIDE_REQUEST;
	w.pool.prompt_weight = WEIGHT;
	put_pool();
}

/* Sixteen steps are 4,096 bytes, which weigh 10.24. */
static void test_who_has_it_may_have_more_load(void **state)
{
	struct pintle_asking a;

	(void)state;
	make_pool(2);
	a = asking_of(8192, 20);
	holds(&a, 0, 0, 16);
	ask(&a);
	put_load(0, 10);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_load(0, 10 - 1 + 0.3); /* the first connection is pending */
	assert_went(visit("192.0.2.2"), 1, LEAST_LOADED);
}

/* A prompt counts in its pool alone, and only while the hand-off asks. */
static void test_whose_prompt_it_is(void **state)
{
	static const struct {
		uint32_t state, pool, generation, weight, to;
	} rows[] = {
		{PINTLE_ASKING_WHERE, POOL, POOL_GEN, WEIGHT, 0},
		{PINTLE_ASKING_NOTHING, POOL, POOL_GEN, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, POOL + 1, POOL_GEN, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, POOL, POOL_GEN - 1, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, POOL, 0, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, POOL, POOL_GEN, 0, 1},
	};

	(void)state;
	make_pool(2);
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_asking a = asking_of(8192, 20);

		holds(&a, 0, 0, 16);
		a.state = rows[i].state;
		a.prompt_of = (struct pintle_ref){rows[i].pool, rows[i].generation};
		ask(&a);
		w.pool.prompt_weight = rows[i].weight;
		put_pool();
		put_load(0, 5);
		put_load(1, 0);
		put(inflight, 0U, (&(struct pintle_inflight){0}));
		put(inflight, 1U, (&(struct pintle_inflight){0}));
		assert_went(visit("192.0.2.1"), rows[i].to, LEAST_LOADED);
	}
}

/* What the endpoint held before it began to listen is gone; another generation is another server.
 */
static void test_who_has_it_no_more(void **state)
{
	struct pintle_asking a;
	struct pintle_health h;

	(void)state;
	make_pool(2);
	a = asking_of(8192, 20);
	holds(&a, 0, 0, 16);
	ask(&a);
	h = health_of(0);
	h.listening_since_ns = w.now - 1;
	put(health, 0U, &h);
	put_load(0, 1);
	struct pintle_score s = score_of(0);
	s.scraped_ns = w.now;
	put(scores, 0U, &s);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	h.listening_since_ns = w.now - MIN(w.now - 1, 3600 * SECOND);
	put(health, 0U, &h);
	a.known.of[0].generation--;
	ask(&a);
	put(inflight, 1U, (&(struct pintle_inflight){0}));
	assert_went(visit("192.0.2.2"), 1, LEAST_LOADED);
}

/* Behind a listener that stayed, the daemon tells when the engine started anew. */
static void test_an_engine_that_started_anew(void **state)
{
	static const struct {
		uint64_t ago_ns; /* 0: never */
		uint32_t to;
	} rows[] = {
		{0, 0},
		{1, 1},             /* the prompt may have come before: see prefix_steps() */
		{4000 * SECOND, 0}, /* before it began to listen */
		{20 * SECOND, 0},   /* the prompt came since */
	};

	(void)state;
	make_pool(2);
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_asking a = asking_of(8192, 20);
		struct pintle_score s;

		holds(&a, 0, 0, 16);
		ask(&a);
		for (uint32_t e = 0; e < 2; e++) {
			put_load(e, e ? 0 : 5);
			put(inflight, e, (&(struct pintle_inflight){0}));
		}
		s = score_of(0);
		s.engine_ns = rows[i].ago_ns ? w.now - MIN(w.now - 1, rows[i].ago_ns) : 0;
		put(scores, 0U, &s);
		assert_went(visit_nth(i), rows[i].to, LEAST_LOADED);
	}
}

/* The home is believed to have 4,096 bytes, which weigh 10.24; in a large pool it need not be
 * drawn. */
static void test_the_home(void **state)
{
	static const struct {
		uint32_t endpoints, home, generation;
		double load; /* the home's */
		bool there;
	} rows[] = {
		{2, 1, 0, 10, true},     {2, 1, 0, 10.4, false},    {2, 1, 1, 0.1, false},
		{1000, 777, 0, 5, true}, {1000, 777, 0, 11, false},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_asking a = asking_of(8192, 20);
		uint32_t home = rows[i].home;

		make_pool(rows[i].endpoints);
		for (uint32_t e = 0; e < rows[i].endpoints; e++)
			put(inflight, e, (&(struct pintle_inflight){0}));
		put_load(home, rows[i].load);
		a.home = (struct pintle_ref){home, GEN(home) - rows[i].generation};
		ask(&a);
		assert_int_equal(visit_nth(i).endpoint == home, rows[i].there);
		/* An endpoint that has cached more than that counts as before. */
		a = asking_of(8192, 20);
		a.home = (struct pintle_ref){home, GEN(home)};
		holds(&a, 0, home - 1, 20);
		ask(&a);
		put(inflight, home, (&(struct pintle_inflight){0}));
		put(inflight, home - 1, (&(struct pintle_inflight){0}));
		put_load(home, 0);
		assert_int_equal(visit_nth(100 + i).endpoint, home - 1);
	}
}

/* The holder is a candidate in a pool of which eight are drawn, if it is eligible. */
static void test_the_holder_need_not_be_drawn(void **state)
{
	struct pintle_asking a;

	(void)state;
	make_pool(1000);
	a = asking_of(8192, 20);
	holds(&a, 5, 777, 16);
	ask(&a);
	assert_is_candidate(777);
}

/* A session keeps its endpoint while what it says continues what it said; else it has none. */
static void test_a_session_whose_prompt_is_another(void **state)
{
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};
	struct pintle_affinity b = {.endpoint = 1,
				    .generation = GEN(1),
				    .used_ns = w.now,
				    .context_bytes = 8000,
				    .prompt_steps = 20};
	struct pintle_asking a;

	(void)state;
	make_pool(2);
	w.pool.context_bytes = 400;
	put_pool();
	address_of("192.0.2.1", key.session.id);
	put(affinity, key, &b);
	a = asking_of(9000, 20);
	holds(&a, 0, 1, 16); /* more than half of what is seen */
	ask(&a);
	put_load(1, 3);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	put_load(1, 30);
	a = asking_of(9000, 20);
	holds(&a, 0, 1, 2);
	ask(&a);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

/* The load plus what the prompt lacks there, written plainly, over random loads and holders. */
static void test_random_prompts(void **state)
{
	enum { N = 8 };
	uint64_t at = 1;

	(void)state;
	make_pool(N);
	for (uint32_t i = 0; i < rounds_wanted(2000); i++) {
		uint32_t bytes = 20000 + (uint32_t)(random_at(at++) % 20000);
		struct pintle_asking a = asking_of(bytes, PINTLE_PREFIX_STEPS);
		double least = 1e9, cost;
		uint32_t best = 0;

		for (uint32_t e = 0; e < N; e++) {
			uint32_t steps = (uint32_t)(random_at(at++) % 40), have = 0;
			double load = (double)(random_at(at++) % 50000) / 1000;

			put_load(e, load);
			put(inflight, e, (&(struct pintle_inflight){0}));
			if (steps < 30)
				holds(&a, e, e, (uint8_t)steps);
			if (steps < 30)
				have = steps <= 16 ? 256 * steps : 4096 + 1024 * (steps - 16);
			cost = load + (bytes > have ? floor((bytes - have) * 2.5) / 1000 : 0);
			if (cost < least) {
				least = cost;
				best = e;
			}
		}
		ask(&a);
		struct seen s = visit_nth(i);
		assert_int_equal(s.endpoint, best);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_who_has_it_may_have_more_load),
		world_test(test_whose_prompt_it_is),
		world_test(test_who_has_it_no_more),
		world_test(test_an_engine_that_started_anew),
		world_test(test_the_home),
		world_test(test_the_holder_need_not_be_drawn),
		world_test(test_a_session_whose_prompt_is_another),
		world_test(test_random_prompts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
