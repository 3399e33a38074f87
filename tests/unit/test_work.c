// SPDX-License-Identifier: Apache-2.0
/* What a pass adds to a score, as arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/work.h"

static const struct config_weights weights = {.queue = 2, .kv_cache = 2, .running = 1};

static const struct {
	const char *says;
	struct pintle_work work;
	double mean;
	int64_t inflight;
	uint32_t idle, floor, prompt, newcomer;
} cases[] = {
	{"nothing there", {.passed_ns = 1}, 0, 0, 0, 0, 0, 0},
	{"a waiting request weighs as on the page",
	 {.passed_ns = 1, .waiting = 3},
	 0,
	 3,
	 0,
	 6000,
	 0,
	 0},
	{"so does one that is answered", {.passed_ns = 1, .answering = 3}, 0, 3, 0, 3000, 0, 0},
	{"kept-alive connections weigh nothing",
	 {.passed_ns = 1, .connections = 9, .idle = 9},
	 800,
	 9,
	 9,
	 0,
	 0,
	 2000},
	{"400 bytes weigh as one request",
	 {.passed_ns = 1, .waiting = 1, .prompt_bytes = 30000},
	 0,
	 1,
	 0,
	 2000,
	 75000,
	 0},
	{"an unseen one is an average request",
	 {.passed_ns = 1, .unseen = 2, .waiting = 1, .prompt_bytes = 400},
	 1200,
	 3,
	 0,
	 6000,
	 7000,
	 3000},
	{"the most",
	 {.passed_ns = 1, .waiting = UINT32_MAX, .prompt_bytes = UINT64_MAX},
	 1e300,
	 1,
	 0,
	 PINTLE_MAX_LOAD,
	 PINTLE_MAX_LOAD,
	 PINTLE_MAX_LOAD},
	{"a mean that is no number is none", {.passed_ns = 1, .unseen = 1}, NAN, 1, 0, 2000, 0, 0},
	{"not followed", {.waiting = 3, .idle = 2, .prompt_bytes = 4000}, 400, 5, 0, 0, 0, 0},
};

static void test_folding(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct work_counts counts = {
			.inflight = cases[i].inflight, .opened = 77, .asked = 88};
		struct pintle_score s, before;

		memset(&s, 0xa5, sizeof(s));
		before = s;
		work_fold(&cases[i].work, &weights, cases[i].mean, &counts, &s);
		print_message("%s\n", cases[i].says);
		assert_int_equal(s.passed_ns, cases[i].work.passed_ns);
		assert_int_equal(s.passed_inflight, s.passed_ns ? cases[i].inflight : 0);
		assert_int_equal(s.passed_opened, s.passed_ns ? 77 : 0);
		assert_int_equal(s.passed_asked, s.passed_ns ? 88 : 0);
		assert_int_equal(s.passed_idle, cases[i].idle);
		assert_int_equal(s.floor, cases[i].floor);
		assert_int_equal(s.prompt, cases[i].prompt);
		assert_int_equal(s.newcomer, cases[i].newcomer);
		assert_memory_equal(&s, &before, offsetof(struct pintle_score, passed_ns));
	}
}

static void test_the_first_requests_make_a_plain_mean(void **state)
{
	struct work_mean m = {0};

	(void)state;
	work_mean_update(&m, 0, 0);
	assert_true(m.bytes == 0);
	work_mean_update(&m, 1, 1000);
	assert_true(fabs(m.bytes - 1000) < 1e-6);
	work_mean_update(&m, 4, 7000);
	assert_true(fabs(m.bytes - 1750) < 1e-6);
	work_mean_update(&m, 4, 7000);
	assert_true(fabs(m.bytes - 1750) < 1e-6);
}

static void test_the_mean_follows_within_some_hundred_requests(void **state)
{
	struct work_mean m = {0};

	(void)state;
	work_mean_update(&m, 100000, 100000 * 400);
	for (uint64_t i = 1; i <= 100; i++)
		work_mean_update(&m, 100000 + i, 100000 * 400 + i * 4000);
	assert_true(m.bytes > 2500 && m.bytes < 2900); /* 1 - 1/e of the way */
	work_mean_update(&m, 101100, 100000 * 400 + 1100 * 4000);
	assert_true(fabs(m.bytes - 4000) < 1);
}

/* An endpoint that left took a million requests of 1 byte with it. */
static void test_sums_that_fall_leave_the_mean_alone(void **state)
{
	struct work_mean m = {0};

	(void)state;
	work_mean_update(&m, 1000000, 1000000);
	work_mean_update(&m, 10, 4000);
	assert_true(fabs(m.bytes - 1) < 1e-6);
	work_mean_update(&m, 1010, 4000 + 1000 * 400);
	assert_true(fabs(m.bytes - 400) < 1);
	/* Bytes alone fell: the difference would be huge. */
	work_mean_update(&m, 1020, 0);
	assert_true(fabs(m.bytes - 400) < 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folding),
		cmocka_unit_test(test_the_first_requests_make_a_plain_mean),
		cmocka_unit_test(test_the_mean_follows_within_some_hundred_requests),
		cmocka_unit_test(test_sums_that_fall_leave_the_mean_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
