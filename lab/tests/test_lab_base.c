/* SPDX-License-Identifier: Apache-2.0 */
/* lab/base: the heap, and the random numbers of a seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "../../lab/base/heap.h"
#include "../../lab/base/random.h"
#include "../../userspace/base/util.h"

/* -- the heap --------------------------------------------------------------------- */

#define ITEMS 500

struct items {
	struct heap heap;
	uint32_t place[ITEMS]; /* as `moved` reported it */
	uint64_t at[ITEMS];
	bool in[ITEMS];
};

static void note_place(void *arg, uint64_t what, uint32_t place)
{
	struct items *x = arg;

	x->place[what] = place;
}

/* The earliest item in the heap; at the same time, the item with the lowest number. */
static uint32_t earliest(const struct items *x)
{
	uint32_t found = ITEMS;

	for (uint32_t i = 0; i < ITEMS; i++)
		if (x->in[i] && (found == ITEMS || x->at[i] < x->at[found]))
			found = i;
	return found;
}

static void check_places(const struct items *x)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		if (x->in[i]) {
			assert_true(x->place[i] < x->heap.count);
			assert_int_equal(x->heap.entries[x->place[i]].what, i);
			assert_int_equal(x->heap.entries[x->place[i]].at, x->at[i]);
			assert_int_equal(x->heap.entries[x->place[i]].more, ~(uint64_t)i);
		}
}

static void item_put(struct items *x, uint32_t i, uint64_t at)
{
	x->at[i] = at;
	x->in[i] = true;
	assert_int_equal(heap_put(&x->heap, (struct heap_entry){at, i, i, ~(uint64_t)i}), 0);
}

/* After any puts, moves and takes from the middle, the earliest item comes out first. */
static void test_heap(void **state)
{
	static struct items x;
	struct rng r;
	uint32_t count = 0;

	(void)state;
	x = (struct items){.heap = {.moved = note_place, .arg = &x}};
	rng_init(&r, 1, 2, 3);
	for (uint32_t round = 0; round < 20000; round++) {
		uint32_t i = rng_below(&r, ITEMS);
		uint64_t at = rng_below(&r, 300);

		if (!x.in[i]) {
			item_put(&x, i, at);
			count++;
		} else if (at % 2) {
			x.at[i] = at;
			heap_change(&x.heap, x.place[i], at);
		} else {
			x.in[i] = false;
			assert_int_equal(heap_take(&x.heap, x.place[i]).what, i);
			count--;
		}
		assert_int_equal(x.heap.count, count);
		if (round % 100 == 0)
			check_places(&x);
		if (count)
			assert_int_equal(x.heap.entries[0].what, earliest(&x));
	}
	while (count--) {
		uint32_t first = earliest(&x);

		assert_int_equal(heap_take(&x.heap, 0).what, first);
		x.in[first] = false;
		check_places(&x);
	}
	heap_free(&x.heap);
}

/* Without `moved`; and the heap has the room that was reserved. */
static void test_heap_alone(void **state)
{
	struct heap h = {0};
	const struct heap_entry *first;

	(void)state;
	assert_int_equal(heap_reserve(&h, 1000), 0);
	first = h.entries;
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(heap_put(&h, (struct heap_entry){.at = 1000 - i, .what = i}), 0);
	assert_ptr_equal(h.entries, first);
	for (uint64_t i = 1000; i--;)
		assert_int_equal(heap_take(&h, 0).what, i);
	heap_free(&h);
	assert_int_equal(h.room, 0);
}

/* -- random numbers ----------------------------------------------------------------- */

/* The first numbers of Vigna's splitmix64.c from the seed 1234567. */
static void test_splitmix64(void **state)
{
	static const uint64_t known[] = {6457827717110365317ULL, 3203168211198807973ULL,
					 9817491932198370423ULL, 4593380528125082431ULL,
					 16408922859458223821ULL};
	struct rng r = {1234567};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		assert_int_equal(rng_next(&r), known[i]);
		assert_int_equal(hash_mix(1234567 + (i + 1) * HASH_STEP), known[i]);
	}
}

/* The lab's recorded results depend on these numbers. */
static void test_numbers_of_a_seed(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 42, 1, 2);
	assert_int_equal(r.state, 17067043885969552613ULL);
	assert_int_equal(rng_below(&r, 1000000), 58991);
	assert_int_equal((uint64_t)(rng_unit(&r) * 1e15), 148153149757458);
	assert_true(fabs(rng_normal(&r) - 1.087282306021) < 1e-9);
	assert_true(fabs(rng_exponential(&r) - 3.809455951521) < 1e-9);
}

static void test_ranges(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 7, 0, 0);
	for (int i = 0; i < 100000; i++) {
		double unit = rng_unit(&r);

		assert_true(unit > 0 && unit <= 1);
		assert_true(rng_below(&r, 3) < 3);
		assert_int_equal(rng_below(&r, 1), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap),       cmocka_unit_test(test_heap_alone),
		cmocka_unit_test(test_splitmix64), cmocka_unit_test(test_numbers_of_a_seed),
		cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
