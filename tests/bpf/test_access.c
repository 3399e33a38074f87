/* SPDX-License-Identifier: Apache-2.0 */
/* Access: who may connect, at the lookup hook. How a rule matches is test_classes.c's; the connect
 * hook is tests/e2e/test_access.py's. */
#include "support_world.h"

static void allow(uint32_t i, const char *prefix, unsigned int bits, uint16_t port)
{
	struct pintle_class_rule *r = &w.pool.allowed[i];

	*r = (struct pintle_class_rule){.port = port};
	if (prefix) {
		address_of(prefix, r->prefix);
		memset(r->mask, 0xff, bits / 8);
		r->flags = PINTLE_RULE_SOURCE;
	}
	w.pool.allow_count = i + 1;
	put_pool();
}

static void assert_forbidden(struct seen seen)
{
	assert_int_equal(seen.verdict, SK_DROP);
	assert_int_equal(seen.cookie, 0);
	assert_int_equal(seen.endpoint, NOBODY);
	assert_int_equal(seen.decision.outcome, PINTLE_OUTCOME_FORBIDDEN);
}

static void test_without_rules_anybody_may(void **state)
{
	(void)state;
	make_endpoints(1);
	assert_went_to(visit("192.0.2.1"), 0);
	assert_went_to(visit("2001:db8::1"), 0);
}

static void test_others_are_refused(void **state)
{
	(void)state;
	make_endpoints(1);
	allow(0, "10.9.0.0", 112, 0);
	allow(1, "2001:db8::", 32, 0);
	assert_went(visit("10.9.7.1"), 0, LEAST_LOADED);
	assert_went_to(visit("2001:db8::1"), 0);
	assert_forbidden(visit("10.8.255.255"));
	assert_forbidden(visit("2001:db9::1"));
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_FORBIDDEN), 2);
	assert_int_equal(counters_of(0).placed, 2);
}

static void test_the_last_of_thirty_two(void **state)
{
	(void)state;
	make_endpoints(1);
	for (uint32_t i = 0; i < PINTLE_MAX_RULES; i++)
		allow(i, i == PINTLE_MAX_RULES - 1 ? "10.9.0.1" : "10.8.0.1", 128, 0);
	assert_went_to(visit("10.9.0.1"), 0);
	assert_forbidden(visit("10.9.0.2"));
}

static void test_by_port(void **state)
{
	(void)state;
	make_endpoints(1);
	allow(0, NULL, 0, 8000);
	assert_went_to(visit("10.9.0.1"), 0);
	allow(0, NULL, 0, 8001);
	assert_forbidden(visit("10.9.0.1"));
}

/* Neither an open failure mode nor an endpoint that is due to be tried lets the client in. */
static void test_nothing_else_lets_it_in(void **state)
{
	(void)state;
	make_endpoints(1);
	w.pool.failure_mode = PINTLE_FAIL_OPEN;
	allow(0, "10.9.0.0", 112, 0);
	make_unready(0);
	assert_forbidden(visit("10.8.0.1"));
	assert_went(visit("10.9.0.1"), 0, NO_ENDPOINT);
	w.pool.member_count = 0;
	put_pool();
	assert_forbidden(visit("10.8.0.1"));
}

static void test_modes(void **state)
{
	(void)state;
	make_endpoints(1);
	w.pool.mode = PINTLE_MODE_BASELINE;
	allow(0, "10.9.0.0", 112, 0);
	assert_forbidden(visit("10.8.0.1"));
	assert_went(visit("10.9.0.1"), 0, RANDOM);
	w.pool.mode = PINTLE_MODE_SHADOW;
	put_pool();
	assert_went(visit("10.8.0.1"), 0, RANDOM);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_FORBIDDEN), 1);
	assert_int_equal(shadow_placed(0), 0);
	w.pool.mode = PINTLE_MODE_OFF;
	put_pool();
	assert_int_equal(visit("10.8.0.1").decision.outcome, PINTLE_OUTCOME_PASSED);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_FORBIDDEN), 1);
}

/* A client that is let in meanwhile is served when it sends its SYN again, and one that no longer
 * may is refused. */
static void test_a_segment_sent_again(void **state)
{
	const struct segment s = {.from = "10.9.0.1", .port = 5000};

	(void)state;
	make_endpoints(1);
	allow(0, "10.8.0.0", 112, 0);
	assert_forbidden(look_up(s));
	allow(0, "10.9.0.0", 112, 0);
	assert_went_to(look_up(s), 0);
	assert_int_equal(counters_of(0).failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_without_rules_anybody_may), world_test(test_others_are_refused),
		world_test(test_the_last_of_thirty_two),    world_test(test_by_port),
		world_test(test_nothing_else_lets_it_in),   world_test(test_modes),
		world_test(test_a_segment_sent_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
