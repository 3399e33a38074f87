/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts: how often the lookup hook tries to place a connection, and what becomes of one that no
 * pool takes. How fallbacks and canaries share connections is tests/e2e/test_rollout.py's. */
#define PROGRAMS "pintle_lookup"
#include "support_world.h"
#include "rule/tiers.bpf.h"

#define OTHER     9
#define OTHER_GEN 1

static void put_other(uint32_t at, const struct pintle_pool *p)
{
	put(pools, (uint32_t)OTHER, p);
	w.pool.others[at] = (struct pintle_other){.pool = {OTHER, OTHER_GEN}, .checked = 1};
	put_pool();
}

static struct pintle_pool other_pool(void)
{
	struct pintle_pool p = w.pool;

	p.generation = OTHER_GEN;
	p.member_count = 0;
	return p;
}

/* One connection is in flight at the only endpoint. */
static void put_busy(uint32_t e)
{
	const struct pintle_inflight one = {.by_class[0].placed = 1};

	put(inflight, e, &one);
}

/* The class has all its connections at the endpoint. Without PINTLE_CLASS_BOUNDED the rule does not
 * see that, and the hook finds out when the connection is placed, as where another CPU was faster.
 */
static void make_race(void)
{
	make_endpoints(1);
	put_busy(0);
	w.pool.class_of[0] =
		(struct pintle_class){.connections = 1, .admission = PINTLE_ADMISSION_REFUSE};
	put_pool();
}

static void assert_refused(void)
{
	struct seen seen = visit("192.0.2.1");

	assert_int_equal(seen.verdict, SK_DROP);
	assert_int_equal(seen.endpoint, NOBODY);
	assert_int_equal(seen.decision.outcome, PINTLE_OUTCOME_REFUSED);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_REFUSED), 1);
	assert_int_equal(decisions(), 1);
}

static void assert_refused_after_two(void)
{
	assert_refused();
	assert_int_equal(counters_of(0).placed, 3);
	assert_int_equal(counters_of(0).failed, 2);
}

static void test_a_lost_place_is_tried_again_once(void **state)
{
	(void)state;
	make_race();
	assert_refused_after_two();
}

/* A canary that has no endpoint loses no place. */
static void test_so_it_is_behind_a_canary(void **state)
{
	struct pintle_pool canary;

	(void)state;
	make_race();
	canary = other_pool();
	w.pool.canary_share = PINTLE_SHARE_WHOLE;
	put_other(PINTLE_OTHER_CANARY, &canary);
	assert_refused_after_two();
}

/* Endpoint e of the other pool, whose listener has just closed. */
static void put_gone(struct pintle_pool *p, uint32_t e)
{
	const struct pintle_endpoint is = {
		.generation = GEN(e), .pool = OTHER, .pool_generation = OTHER_GEN};
	const struct pintle_health h = {
		.listening_since_ns = 1,
		.listeners = 1,
		.families = PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6,
	};

	put(endpoints, e, &is);
	put(health, e, &h);
	put_load(e, 0);
	p->members[p->member_count++] = (struct pintle_ref){e, GEN(e)};
}

/* The pool is full, and its fallback has more endpoints that are gone than are tried. FailOpen is
 * for a pool without an endpoint, not for a full one. */
static void test_a_full_pool_refuses_when_all_attempts_are_used(void **state)
{
	struct pintle_pool fallback;

	(void)state;
	make_endpoints(1);
	put_busy(0);
	w.pool.failure_mode = PINTLE_FAIL_OPEN;
	fallback = other_pool();
	for (uint32_t e = 1; e <= 32; e++)
		put_gone(&fallback, e);
	w.pool.class_of[0] = (struct pintle_class){.connections = 1,
						   .flags = PINTLE_CLASS_BOUNDED,
						   .admission = PINTLE_ADMISSION_SPILL};
	put_other(PINTLE_OTHER_FALLBACK, &fallback);
	assert_refused();
}

/* The same where no endpoint was ready: the connection passes, as the failure mode of the pool that
 * is asked says. */
static void test_fail_open_passes_when_all_attempts_are_used(void **state)
{
	struct pintle_pool fallback;

	(void)state;
	make_endpoints(1);
	make_unready(0);
	w.pool.failure_mode = PINTLE_FAIL_OPEN;
	fallback = other_pool();
	fallback.failure_mode = PINTLE_FAIL_CLOSE;
	for (uint32_t e = 1; e <= 32; e++)
		put_gone(&fallback, e);
	put_other(PINTLE_OTHER_FALLBACK, &fallback);
	assert_int_equal(visit("192.0.2.1").verdict, SK_PASS);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 1);
	assert_int_equal(decisions(), 1);
}

/* The fallback, which has another key, does not take the connection either: the session that was
 * told no is that of the pool that is asked. */
static void test_who_is_told_no_is_a_session_of_the_pool_that_is_asked(void **state)
{
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};
	struct pintle_refusal told;
	struct pintle_pool fallback;

	(void)state;
	make_endpoints(1);
	put_busy(0);
	fallback = other_pool();
	fallback.key_bits_v4 = 16;
	w.pool.class_of[0] = (struct pintle_class){.connections = 1,
						   .places = 1,
						   .flags = PINTLE_CLASS_BOUNDED,
						   .admission = PINTLE_ADMISSION_SPILL};
	put_other(PINTLE_OTHER_FALLBACK, &fallback);
	assert_refused();
	address_of("192.0.2.1", key.session.id);
	get(refusals, key, &told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_a_lost_place_is_tried_again_once),
		world_test(test_so_it_is_behind_a_canary),
		world_test(test_a_full_pool_refuses_when_all_attempts_are_used),
		world_test(test_fail_open_passes_when_all_attempts_are_used),
		world_test(test_who_is_told_no_is_a_session_of_the_pool_that_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
