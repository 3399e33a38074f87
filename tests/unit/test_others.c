// SPDX-License-Identifier: Apache-2.0
/* How much other nodes place, and what follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/others.h"

/* A pool of 8 endpoints, each with `all` requests, of which a share of 1/nodes is this node's. */
static struct others seen(double all, double nodes, int pages)
{
	struct others o = {0};

	for (int i = 0; i < pages; i++)
		for (int e = 0; e < 8; e++)
			others_page(&o, all, all / nodes, 8);
	return o;
}

static void test_by_nodes(void **state)
{
	static const struct {
		double nodes;
		uint32_t level, sample, tie;
	} rows[] = {
		{1, 0, 8, 0},      {2, 0, 8, 0},      {4, 3, 6, 6000},    {8, 5, 4, 10000},
		{16, 6, 3, 12000}, {64, 8, 2, 16000}, {1e9, 8, 2, 16000},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct others o = seen(20, rows[i].nodes, 1000);

		assert_int_equal(others_judge(&o), rows[i].level != 0);
		assert_int_equal(o.level, rows[i].level);
		assert_int_equal(others_sample(o.level), rows[i].sample);
		assert_int_equal(others_tie(o.level), rows[i].tie);
		assert_false(others_judge(&o));
	}
}

/* Between two levels the numbers do not go back and forth with each page. */
static void test_it_changes_seldom(void **state)
{
	struct others o = seen(20, 16, 1000);
	int changes = 0;

	(void)state;
	others_judge(&o);
	for (int i = 0; i < 10000; i++) {
		for (int e = 0; e < 8; e++)
			others_page(&o, 20, i / 100 % 2 ? 1 : 1.6, 8);
		changes += others_judge(&o);
	}
	assert_int_equal(changes, 0);
}

static void test_without_work_it_stays(void **state)
{
	struct others o = {.level = 5};

	(void)state;
	assert_false(others_judge(&o));
	others_page(&o, 0, 0, 8);
	assert_false(others_judge(&o));
	assert_int_equal(o.level, 5);
}

/* Pages count work from before the daemon began, too. */
static void test_it_takes_its_time(void **state)
{
	struct others o = seen(20, 64, OTHERS_PAGES - 1);

	(void)state;
	assert_false(others_judge(&o));
	for (int e = 0; e < 8; e++)
		others_page(&o, 20, 1, 8);
	assert_true(others_judge(&o));
}

static void test_odd_numbers(void **state)
{
	struct others o = {0};

	(void)state;
	others_page(&o, NAN, NAN, 0);
	others_page(&o, -3, 7, 1);
	assert_true(o.all == 0 && o.theirs == 0);
	/* A page that counts less than this node has: none is another's. */
	others_page(&o, 3, 7, 1);
	assert_true(o.all > 0 && o.theirs == 0);
	assert_int_equal(others_sample(UINT32_MAX), 2);
	assert_int_equal(others_tie(UINT32_MAX), 16000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_nodes),
		cmocka_unit_test(test_it_changes_seldom),
		cmocka_unit_test(test_without_work_it_stays),
		cmocka_unit_test(test_it_takes_its_time),
		cmocka_unit_test(test_odd_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
