/* SPDX-License-Identifier: Apache-2.0 */
/* When an endpoint's page is believed, and not the clients that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <health.bpf.h>

#include "../../userspace/base/util.h"
#include "../../userspace/pintled/vouch.h"

static const struct config_ejection ejection = {
	.failures = 3, .time_ns = 10 * NSEC_PER_SEC, .max_time_ns = 35 * NSEC_PER_SEC};

struct world {
	struct vouch v;
	struct pintle_health h;
};

static bool is_ejected(const struct world *w)
{
	return health_ejected(w->h.ejected_until_ns, w->h.answered_ns, w->h.failed_ns,
			      monotonic_ns());
}

/* Records a client's failure as the kernel does; with `eject`, ejects the endpoint. */
static void fail_client(struct world *w, bool eject)
{
	w->h.failures[PINTLE_FAILURE_REFUSED]++;
	w->h.failed_ns = monotonic_ns();
	if (eject)
		w->h.ejected_until_ns = w->h.failed_ns + ejection.time_ns;
}

static bool ask(struct world *w)
{
	return vouch_ask(&w->v, &w->h, &ejection);
}

static bool hear(struct world *w, bool good)
{
	return vouch_hear(&w->v, &w->h, &ejection, good);
}

static void expect_vouched(const struct world *w, unsigned int seconds)
{
	uint64_t left = w->h.vouched_until_ns - monotonic_ns();

	assert_in_range(left / NSEC_PER_MSEC, 1000UL * (seconds - 1), 1000UL * seconds);
}

static void test_nobody_failed(void **state)
{
	struct world w = {0};

	(void)state;
	assert_false(ask(&w));
	assert_false(hear(&w, true));
	assert_int_equal(w.h.answered_ns + w.h.vouched_until_ns, 0);
}

static void test_it_ends_an_ejection(void **state)
{
	struct world w = {0};

	(void)state;
	fail_client(&w, true);
	assert_true(is_ejected(&w));
	assert_true(ask(&w));
	assert_true(hear(&w, true));
	assert_false(is_ejected(&w));
	expect_vouched(&w, 10);
	assert_false(ask(&w)); /* no client has failed since */
	assert_false(hear(&w, true));
}

/* When an endpoint is ejected again and again though its page always comes, the page vouches for it
 * against its clients for longer and longer. */
static void test_it_grows(void **state)
{
	static const unsigned int lasts[] = {10, 20, 35, 35, 35};
	struct world w = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lasts); i++) {
		fail_client(&w, true);
		assert_true(ask(&w));
		assert_true(hear(&w, true));
		expect_vouched(&w, lasts[i]);
	}
	assert_false(hear(&w, false));
	fail_client(&w, true);
	assert_true(ask(&w));
	assert_true(hear(&w, true));
	expect_vouched(&w, 10);
}

/* Failures that do not eject the endpoint count, too: while clients fail, the page goes on
 * vouching. */
static void test_it_is_renewed(void **state)
{
	struct world w = {0};
	uint64_t until;

	(void)state;
	fail_client(&w, false);
	assert_true(ask(&w));
	assert_false(hear(&w, true));
	until = w.h.vouched_until_ns;
	w.h.failures[PINTLE_FAILURE_UNANSWERED]++;
	assert_true(ask(&w));
	assert_false(hear(&w, true));
	assert_true(w.h.vouched_until_ns > until);
}

static void test_a_page_that_fails_takes_it_back(void **state)
{
	struct world w = {0};

	(void)state;
	fail_client(&w, true);
	assert_true(ask(&w));
	assert_true(hear(&w, true));
	assert_false(ask(&w));
	assert_false(hear(&w, false));
	assert_int_equal(w.h.vouched_until_ns, 0);
	assert_true(is_ejected(&w)); /* for the rest of the time */
}

/* A server that comes back is chosen again, though no client comes to it meanwhile. */
static void test_it_is_asked_until_it_answers(void **state)
{
	struct world w = {0};

	(void)state;
	fail_client(&w, true);
	for (int i = 0; i < 3; i++) {
		assert_true(ask(&w));
		assert_false(hear(&w, false));
	}
	assert_true(ask(&w));
	assert_true(hear(&w, true));
	assert_false(ask(&w));
}

/* The server may have died while the page was under way. */
static void test_a_failure_meanwhile(void **state)
{
	struct world w = {0};

	(void)state;
	fail_client(&w, false);
	assert_true(ask(&w));
	fail_client(&w, true);
	assert_false(hear(&w, true));
	assert_true(is_ejected(&w));
	assert_true(ask(&w));
	assert_true(hear(&w, true));
	assert_false(is_ejected(&w));
}

static void test_nobody_is_ejected_here(void **state)
{
	const struct config_ejection never = {.failures = 0};
	struct world w = {0};

	(void)state;
	fail_client(&w, false);
	assert_false(vouch_ask(&w.v, &w.h, &never));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_failed),
		cmocka_unit_test(test_it_ends_an_ejection),
		cmocka_unit_test(test_it_grows),
		cmocka_unit_test(test_it_is_renewed),
		cmocka_unit_test(test_a_page_that_fails_takes_it_back),
		cmocka_unit_test(test_it_is_asked_until_it_answers),
		cmocka_unit_test(test_a_failure_meanwhile),
		cmocka_unit_test(test_nobody_is_ejected_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
