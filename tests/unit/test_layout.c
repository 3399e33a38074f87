/* SPDX-License-Identifier: Apache-2.0 */
/* What maps mean, by their BTF: that it is read whole, and that it changes only with the layout's
 * number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/btf.h>

#include "../../userspace/base/util.h"
#include "../../userspace/maps/layout.h"
#include "../../userspace/pintled/attach/kinds.h"

#define RECORD "tests/data/layouts"

/* ---- reading ---------------------------------------------------------------------------- */

static struct btf *btf;
static int u8_id, u32_id, u64_id;

static int setup(void **state)
{
	(void)state;
	btf = btf__new_empty();
	assert_non_null(btf);
	u8_id = btf__add_int(btf, "unsigned char", 1, 0);
	u32_id = btf__add_int(btf, "unsigned int", 4, 0);
	u64_id = btf__add_int(btf, "unsigned long long", 8, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	btf__free(btf);
	return 0;
}

struct field {
	const char *name;
	int type;
	uint32_t offset; /* bytes */
};

static uint32_t add_struct(uint32_t size, const struct field *fields, size_t n)
{
	int id = btf__add_struct(btf, "any", size);

	for (size_t i = 0; i < n; i++)
		assert_int_equal(btf__add_field(btf, fields[i].name, fields[i].type,
						fields[i].offset * 8, 0),
				 0);
	return (uint32_t)id;
}
#define STRUCT(size, ...)                                                                          \
	add_struct(size, (const struct field[]){__VA_ARGS__},                                      \
		   ARRAY_SIZE(((const struct field[]){__VA_ARGS__})))

static struct layout *layout_of(uint32_t type)
{
	struct layout *l = NULL;

	assert_int_equal(layout_read(btf, type, &l), 0);
	return l;
}

static bool same(uint32_t a, uint32_t b)
{
	_cleanup_free_ struct layout *x = layout_of(a), *y = layout_of(b);
	bool is = layout_same(x, y);

	assert_int_equal(is, layout_hash(x) == layout_hash(y));
	return is;
}

static void test_what_differs(void **state)
{
	uint32_t two = STRUCT(8, {"a", u32_id, 0}, {"b", u32_id, 4});

	(void)state;
	assert_true(same(two, STRUCT(8, {"a", u32_id, 0}, {"b", u32_id, 4})));
	assert_false(same(two, STRUCT(8, {"a", u32_id, 0}, {"c", u32_id, 4})));
	assert_false(same(two, STRUCT(8, {"b", u32_id, 0}, {"a", u32_id, 4})));
	assert_false(same(two, STRUCT(8, {"a", u32_id, 0}, {"b", u8_id, 4})));
	assert_false(same(two, STRUCT(12, {"a", u32_id, 0}, {"b", u32_id, 4})));
	assert_false(same(two, (uint32_t)u64_id));
	assert_true(same(0, 0));
}

/* { a u32, row[2] of { x u32, text[4] u8 }, n u64 } becomes { n u32, row[3] of { text[6], x },
 * hook, new }: members move by name, the rest is zero. */
static void test_values_are_converted(void **state)
{
	int text4 = btf__add_array(btf, u32_id, u8_id, 4);
	int text6 = btf__add_array(btf, u32_id, u8_id, 6);
	uint32_t row = STRUCT(8, {"x", u32_id, 0}, {"text", text4, 4});
	uint32_t row_now = STRUCT(12, {"text", text6, 0}, {"x", u32_id, 8});
	int rows = btf__add_array(btf, u32_id, (int)row, 2);
	int rows_now = btf__add_array(btf, u32_id, (int)row_now, 3);
	_cleanup_free_ struct layout *was =
		layout_of(STRUCT(32, {"hook", u32_id, 0}, {"row", rows, 4}, {"left", u32_id, 20},
				 {"n", u64_id, 24}));
	_cleanup_free_ struct layout *is =
		layout_of(STRUCT(48, {"n", u32_id, 0}, {"row", rows_now, 4}, {"hook", u32_id, 40},
				 {"new", u32_id, 44}));
	const struct {
		uint32_t hook;
		struct {
			uint32_t x;
			char text[4];
		} row[2];
		uint32_t left;
		uint64_t n;
	} from = {7, {{1, "abc"}, {2, "def"}}, 9, 5};
	struct {
		uint32_t n;
		struct {
			char text[6], zero[2];
			uint32_t x;
		} row[3];
		uint32_t hook, new;
	} to;
	_cleanup_free_ struct layout_plan *p = NULL;

	(void)state;
	assert_int_equal(layout_plan(was, is, sizeof(from), sizeof(to), &p), 0);
	memset(&to, 0xff, sizeof(to));
	layout_convert(p, &from, &to);
	assert_int_equal(to.n, 5);
	assert_int_equal(to.hook, 7);
	assert_int_equal(to.new, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(to.row[i].x, i + 1);
		assert_string_equal(to.row[i].text, i ? "def" : "abc");
	}
	assert_int_equal(to.row[2].x, 0);
}

/* Which member of a union holds is not known: another union is another member. */
static void test_a_union_is_one_member(void **state)
{
	uint32_t of[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		int id = btf__add_union(btf, "either", 8);

		btf__add_field(btf, "a", u64_id, 0, 0);
		btf__add_field(btf, i ? "c" : "b", u32_id, 0, 0);
		of[i] = STRUCT(8, {"u", id, 0});
	}
	assert_true(same(of[0], of[0]));
	assert_false(same(of[0], of[1]));
}

/* Debian 12's linux/bpf.h has two numbers without a name in it, Debian 13's an array. */
static void test_a_timer_is_one_member(void **state)
{
	int two = btf__add_array(btf, u32_id, (int)u64_id, 2);
	uint32_t of[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		int id = btf__add_struct(btf, "bpf_timer", 16);

		btf__add_field(btf, i ? "opaque" : "", i ? two : (int)u64_id, 0, 0);
		if (!i)
			btf__add_field(btf, "", (int)u64_id, 64, 0);
		of[i] = STRUCT(24, {"timer", id, 0}, {"n", u64_id, 16});
	}
	assert_true(same(of[0], of[1]));
}

/* ---- the number ----------------------------------------------------------------------------- */

/* The row of a number: "4 0123456789abcdef". */
static uint64_t recorded(void)
{
	unsigned int version;
	unsigned long long hash;
	uint64_t found = 0;
	FILE *f = fopen(RECORD, "re");

	assert_non_null(f);
	while (fscanf(f, "%u %llx", &version, &hash) == 2)
		if (version == PINTLE_ABI_VERSION)
			found = hash;
	fclose(f);
	return found;
}

static void test_a_layout_has_a_number(void **state)
{
	struct map_kinds *ours;

	(void)state;
	assert_int_equal(map_kinds_new(&ours), 0);
	if (ours->hash != recorded())
		fail_msg("the maps do not mean what " RECORD
			 " says of layout %d. If that layout was released, raise "
			 "PINTLE_ABI_VERSION (headers/pintle/abi.h). Then give " RECORD
			 " the row \"%d %016llx\"",
			 PINTLE_ABI_VERSION, PINTLE_ABI_VERSION, (unsigned long long)ours->hash);
	map_kinds_free(ours);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_differs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values_are_converted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_union_is_one_member, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_timer_is_one_member, setup, teardown),
		cmocka_unit_test(test_a_layout_has_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
