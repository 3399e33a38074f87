/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints are reserved for classes of higher priority. */
#include "../../userspace/policy/reserve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../userspace/base/hash.h"
#include "../../userspace/base/util.h"

#define N 8

enum { CHAT, AGENT, BATCH, CLASSES };

static const struct pintle_class classes[CLASSES] = {
	[CHAT] = {.priority = 1, .reserve = 2},
	[AGENT] = {.priority = 0, .reserve = 25, .flags = PINTLE_CLASS_PERCENT},
	[BATCH] = {.priority = -1},
};

static void members_make(struct reserve_member *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		m[i] = (struct reserve_member){.hash = hash_mix(i + 1), .ready = true, .closed = 7};
}

static size_t closed_to(const struct reserve_member *m, size_t n, uint32_t mask)
{
	size_t closed = 0;

	for (size_t i = 0; i < n; i++)
		closed += m[i].closed == mask;
	return closed;
}

static void test_the_highest_priority_first(void **state)
{
	struct reserve_member m[N];

	(void)state;
	members_make(m, N);
	assert_int_equal(reserve_fold(classes, CLASSES, m, N), 0);
	assert_int_equal(closed_to(m, N, 1U << AGENT | 1U << BATCH), 2);
	assert_int_equal(closed_to(m, N, 1U << BATCH), 2);
	assert_int_equal(closed_to(m, N, 0), 4);
}

/* Only what is ready is reserved, and one of these stays open to all. */
static void test_down_to_the_last(void **state)
{
	static const struct {
		size_t ready, chat, agent;
	} cases[] = {{8, 2, 2}, {5, 2, 2}, {4, 2, 1}, {3, 2, 0}, {2, 1, 0}, {1, 0, 0}, {0, 0, 0}};
	struct reserve_member m[N];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		members_make(m, N);
		for (size_t j = cases[i].ready; j < N; j++)
			m[j].ready = false;
		assert_int_equal(reserve_fold(classes, CLASSES, m, N), 0);
		assert_int_equal(closed_to(m, N, 1U << AGENT | 1U << BATCH), cases[i].chat);
		assert_int_equal(closed_to(m, N, 1U << BATCH), cases[i].agent);
		for (size_t j = cases[i].ready; j < N; j++)
			assert_int_equal(m[j].closed, 0);
	}
}

/* When one endpoint goes, at most one more is closed, and none is opened; in any order. */
static void test_stable(void **state)
{
	struct reserve_member all[N], less[N];

	(void)state;
	for (size_t gone = 0; gone < N; gone++) {
		size_t opened = 0, closed = 0;

		members_make(all, N);
		members_make(less, N);
		less[gone].ready = false;
		assert_int_equal(reserve_fold(classes, 1 + BATCH, all, N), 0);
		assert_int_equal(reserve_fold(classes, 1 + BATCH, less, N), 0);
		for (size_t i = 0; i < N; i++) {
			opened += i != gone && all[i].closed && !less[i].closed;
			closed += i != gone && !all[i].closed && less[i].closed;
		}
		assert_int_equal(opened, 0);
		assert_int_equal(closed, all[gone].closed != 0);
	}
}

static void test_the_same_on_every_node(void **state)
{
	struct reserve_member here[N], there[N];

	(void)state;
	members_make(here, N);
	members_make(there, N);
	for (size_t i = 0; i < N; i++)
		there[i].hash = here[N - 1 - i].hash;
	assert_int_equal(reserve_fold(classes, CLASSES, here, N), 0);
	assert_int_equal(reserve_fold(classes, CLASSES, there, N), 0);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(here[i].closed, there[N - 1 - i].closed);
}

static void test_nobody_lower(void **state)
{
	const struct pintle_class one = {.reserve = 3};
	struct reserve_member m[N];

	(void)state;
	members_make(m, N);
	assert_int_equal(reserve_fold(&one, 1, m, N), 0);
	assert_int_equal(closed_to(m, N, 0), N);
	assert_int_equal(reserve_fold(&one, 1, m, 0), 0);
}

static void test_places(void **state)
{
	static const struct {
		struct pintle_class class;
		uint64_t ready;
		uint32_t places;
	} cases[] = {
		{{.limit = 10000}, 4, 40},
		{{.limit = 10000, .connections = 8}, 4, 32},
		{{.limit = 10000, .connections = 8, .pool_connections = 20}, 4, 20},
		{{.limit = 10000, .connections = 8, .pool_connections = 20}, 2, 16},
		{{.limit = 100}, 1, 1},
		{{.limit = UINT32_MAX, .connections = UINT32_MAX}, UINT32_MAX, 0},
		{{0}, 4, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pintle_class class = cases[i].class;

		class.admission = PINTLE_ADMISSION_REFUSE;
		assert_int_equal(reserve_places(&class, cases[i].ready), cases[i].places);
		class.admission = PINTLE_ADMISSION_PROCEED;
		assert_int_equal(reserve_places(&class, cases[i].ready), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_highest_priority_first),
		cmocka_unit_test(test_down_to_the_last),
		cmocka_unit_test(test_stable),
		cmocka_unit_test(test_the_same_on_every_node),
		cmocka_unit_test(test_nobody_lower),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
