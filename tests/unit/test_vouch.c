/* SPDX-License-Identifier: Apache-2.0 */
/* When an endpoint's page is believed, and not the clients that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <health.bpf.h>

#include "../../userspace/base/util.h"
#include "../../userspace/pintled/observe/vouch.h"

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
	assert_false(vouch_wants(&w.v, &w.h, &ejection));
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
	assert_true(vouch_wants(&w.v, &w.h, &ejection));
	assert_true(ask(&w));
	assert_true(vouch_wants(&w.v, &w.h, &ejection));
	assert_true(hear(&w, true));
	assert_false(vouch_wants(&w.v, &w.h, &ejection));
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

/* ---- the daemon is turned away ----------------------------------------------------------- */

#define MEMBERS 4

struct ward {
	struct pintle_health health[MEMBERS];
	struct pintle_pool pool;
};

static struct ward *new_ward(uint32_t most)
{
	static struct ward w;

	w = (struct ward){.pool = {.eject_after = 3,
				   .eject_most = most,
				   .eject_ns = ejection.time_ns,
				   .eject_max_ns = ejection.max_time_ns,
				   .member_count = MEMBERS}};
	for (uint32_t i = 0; i < MEMBERS; i++)
		w.pool.members[i] = (struct pintle_ref){i, 1};
	return &w;
}

static void turn_away(struct ward *w, uint32_t id, int times)
{
	while (times--)
		vouch_turned_away(w->health, id, &w->pool, PINTLE_FAILURE_REFUSED);
}

static bool ward_ejected(const struct ward *w, uint32_t id)
{
	const struct pintle_health *h = &w->health[id];

	return health_ejected(h->ejected_until_ns, h->answered_ns, h->failed_ns, monotonic_ns());
}

static void assert_ejected_for(const struct ward *w, uint32_t id, unsigned int seconds)
{
	uint64_t left = w->health[id].ejected_until_ns - monotonic_ns();

	assert_in_range(left / NSEC_PER_MSEC, 1000UL * seconds - 500, 1000UL * seconds);
}

static void test_turned_away_three_times(void **state)
{
	struct ward *w = new_ward(2);
	struct pintle_health *h = &w->health[0];

	(void)state;
	turn_away(w, 0, 2);
	assert_false(ward_ejected(w, 0));
	assert_int_equal(h->unopened, 2);
	turn_away(w, 0, 1);
	assert_true(ward_ejected(w, 0));
	assert_ejected_for(w, 0, 10);
	assert_int_equal(h->ejections, 1);
	assert_int_equal(h->failures[PINTLE_FAILURE_REFUSED], 3);
	/* While it is ejected nothing more counts; then one is enough, for twice as long, and at
	 * most the limit. */
	turn_away(w, 0, 5);
	assert_int_equal(h->failures[PINTLE_FAILURE_REFUSED], 3);
	for (unsigned int i = 0; i < 3; i++) {
		h->ejected_until_ns = 1;
		turn_away(w, 0, 1);
		assert_ejected_for(w, 0, ((const unsigned int[]){20, 35, 35})[i]);
	}
}

/* Its own answer ends the ejection. Unless a client is served then, the row goes on. */
static void test_turned_away_and_back(void **state)
{
	struct ward *w = new_ward(2);
	struct vouch v = {0};

	(void)state;
	turn_away(w, 0, 3);
	assert_true(vouch_ask(&v, &w->health[0], &ejection));
	assert_true(vouch_hear(&v, &w->health[0], &ejection, true));
	assert_false(ward_ejected(w, 0));
	vouch_hear(&v, &w->health[0], &ejection, false);
	assert_true(ward_ejected(w, 0)); /* for the rest of the time */
	w->health[0].ejected_until_ns = 1;
	vouch_turned_away(w->health, 0, &w->pool, PINTLE_FAILURE_RESET);
	assert_ejected_for(w, 0, 20);
	assert_int_equal(w->health[0].resets, 1);
}

/* A client was served since: the daemon's failures do not count for as long as an ejection lasts.
 */
static void test_turned_away_alone(void **state)
{
	struct ward *w = new_ward(2);
	struct pintle_health *h = &w->health[0];

	(void)state;
	turn_away(w, 0, 2);
	h->unopened = 0;
	h->others_ns = monotonic_ns();
	turn_away(w, 0, 100);
	assert_int_equal(h->unopened, 0);
	h->others_ns -= ejection.time_ns;
	turn_away(w, 0, 3);
	assert_true(ward_ejected(w, 0));
	/* Beside a client that failed, it is another witness. */
	w->health[1] = (struct pintle_health){
		.failed_by = 7, .failed_ns = 1, .unopened = 2, .others_ns = monotonic_ns()};
	turn_away(w, 1, 1);
	assert_true(ward_ejected(w, 1));
}

static void test_turned_away_by_too_many(void **state)
{
	struct ward *w = new_ward(1);

	(void)state;
	turn_away(w, 0, 3);
	turn_away(w, 1, 3);
	assert_true(ward_ejected(w, 0));
	assert_false(ward_ejected(w, 1));
	w->pool.eject_after = 0;
	turn_away(w, 2, 3);
	assert_int_equal(w->health[2].unopened, 0);
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
		cmocka_unit_test(test_turned_away_three_times),
		cmocka_unit_test(test_turned_away_and_back),
		cmocka_unit_test(test_turned_away_alone),
		cmocka_unit_test(test_turned_away_by_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
