/* SPDX-License-Identifier: Apache-2.0 */
/* Maglev tables: even, repeatable, and little disturbed by a change. */
#include "../../userspace/policy/maglev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"

#define SIZE PINTLE_HOME_ENTRIES
#define MOST 1000

static struct maglev_member members[MOST];
static char names[MOST][32];
static struct pintle_ref table[SIZE], other[SIZE];

/* Members 0..n-1, named like pods or like servers on a line of ports. */
static void make_members(size_t n, const char *prefix)
{
	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%s%zu", prefix, i);
		members[i] = (struct maglev_member){(uint32_t)i, 7, names[i], 1};
	}
}

static void assert_even(size_t n, size_t size)
{
	size_t counts[MOST] = {0};

	for (size_t i = 0; i < size; i++) {
		assert_true(table[i].id < n);
		assert_int_equal(table[i].generation, 7);
		counts[table[i].id]++;
	}
	for (size_t i = 0; i < n; i++)
		assert_in_range(counts[i], size / n, size / n + !!(size % n));
}

static void test_even(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 8, 64, 100, 1000};
	static const char *const prefixes[] = {"gpu", "127.0.0.1:", "vllm-7d9f-x7k2p-"};

	(void)state;
	for (size_t f = 0; f < ARRAY_SIZE(prefixes); f++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			make_members(sizes[i], prefixes[f]);
			assert_int_equal(maglev_build(members, sizes[i], table, SIZE), 0);
			assert_even(sizes[i], SIZE);
		}
	}
}

static void test_by_weight(void **state)
{
	size_t counts[3] = {0};

	(void)state;
	make_members(3, "gpu");
	members[1].weight = 2;
	members[2].weight = 5;
	assert_int_equal(maglev_build(members, 3, table, SIZE), 0);
	for (size_t i = 0; i < SIZE; i++)
		counts[table[i].id]++;
	for (size_t i = 0; i < 3; i++)
		assert_in_range(counts[i], SIZE / 8 * members[i].weight,
				(SIZE / 8 + 1) * members[i].weight);
}

static void test_full(void **state)
{
	(void)state;
	make_members(101, "gpu");
	assert_int_equal(maglev_build(members, 101, table, 101), 0);
	assert_even(101, 101);
	make_members(2, "gpu");
	assert_int_equal(maglev_build(members, 2, table, 2), 0);
	assert_even(2, 2);
}

static void test_nobody(void **state)
{
	(void)state;
	memset(table, 0xff, sizeof(table));
	assert_int_equal(maglev_build(NULL, 0, table, SIZE), 0);
	for (size_t i = 0; i < SIZE; i++)
		assert_true(!table[i].id && !table[i].generation);
}

static void test_refused(void **state)
{
	(void)state;
	make_members(8, "gpu");
	memset(table, 0xff, sizeof(table));
	assert_int_equal(maglev_build(members, 8, table, 0), -EINVAL);
	assert_int_equal(maglev_build(members, 8, table, 1), -EINVAL);
	assert_int_equal(maglev_build(members, 8, table, 16384), -EINVAL);
	assert_int_equal(maglev_build(members, 8, table, 127 * 129), -EINVAL);
	assert_int_equal(maglev_build(members, 8, table, 7), -EINVAL);
	members[7].generation = 0;
	assert_int_equal(maglev_build(members, 8, table, SIZE), -EINVAL);
	for (size_t i = 0; i < SIZE; i++)
		assert_int_equal(table[i].generation, UINT32_MAX);
}

/* Homes must be the same after a restart, after an upgrade and on another machine. */
static void test_same_everywhere(void **state)
{
	static const uint32_t expected[] = {1, 4, 0, 7, 6, 7, 1, 4, 5, 2, 2, 2, 2, 4, 3, 7};

	(void)state;
	make_members(8, "gpu");
	assert_int_equal(maglev_build(members, 8, table, SIZE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(table[i].id, expected[i]);
}

static void test_order_and_ids_do_not_matter(void **state)
{
	(void)state;
	make_members(100, "gpu");
	assert_int_equal(maglev_build(members, 100, table, SIZE), 0);
	for (size_t i = 0; i < 50; i++) {
		struct maglev_member m = members[i];

		members[i] = members[99 - i];
		members[99 - i] = m;
	}
	for (size_t i = 0; i < 100; i++) {
		members[i].id += 500;
		members[i].generation += 3;
	}
	assert_int_equal(maglev_build(members, 100, other, SIZE), 0);
	for (size_t i = 0; i < SIZE; i++) {
		assert_int_equal(other[i].id, table[i].id + 500);
		assert_int_equal(other[i].generation, 10);
	}
}

/* When one of n members leaves: the share, in thousandths, of the other members' entries that move
 * without need. */
static size_t disturbance(size_t n, size_t leaves)
{
	size_t moved = 0;

	make_members(n, "gpu");
	assert_int_equal(maglev_build(members, n, table, SIZE), 0);
	memmove(&members[leaves], &members[leaves + 1], (n - leaves - 1) * sizeof(members[0]));
	assert_int_equal(maglev_build(members, n - 1, other, SIZE), 0);
	for (size_t i = 0; i < SIZE; i++)
		moved += table[i].id != leaves && table[i].id != other[i].id;
	return moved * 1000 / SIZE;
}

/* Moves without need are the price of evenness: a few in a thousand for pools of common sizes. */
static void test_little_moves(void **state)
{
	static const struct {
		size_t members, thousandths;
	} most[] = {{4, 5}, {8, 8}, {64, 15}, {160, 20}, {1000, 10}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(most); i++) {
		for (size_t leaves = 0; leaves < most[i].members; leaves += most[i].members / 4) {
			assert_in_range(disturbance(most[i].members, leaves), 0,
					most[i].thousandths);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_even),
		cmocka_unit_test(test_by_weight),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_same_everywhere),
		cmocka_unit_test(test_order_and_ids_do_not_matter),
		cmocka_unit_test(test_little_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
