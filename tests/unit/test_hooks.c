/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of hooks and of outcomes: each row is complete, its traits agree with each other, and
 * pins without `reach` are read as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../../userspace/maps/links.h"
#include "../../userspace/maps/names.h"
#include "../../userspace/base/util.h"
#include "traits.bpf.h"

#define FOR_EACH_HOOK(hook) for (uint32_t hook = 1; hook < PINTLE_HOOK_COUNT; hook++)

#define ALL_REACHES (PINTLE_REACH_LISTENER | PINTLE_REACH_ADDRESS)
#define ALL_TRAITS                                                                                 \
	(PINTLE_TRAIT_AT_SERVERS | PINTLE_TRAIT_FAILURES | PINTLE_TRAIT_EJECTS |                   \
	 PINTLE_TRAIT_DAEMONLESS | PINTLE_TRAIT_OPEN_PASSES | PINTLE_TRAIT_KEEPS_PLACED)

static void test_names(void **state)
{
#define X(symbol, name, says, ...) says,
	static const char *const says[] = {"", PINTLE_HOOKS(X)};
#undef X

	(void)state;
	assert_int_equal(ARRAY_SIZE(says), PINTLE_HOOK_COUNT);
	FOR_EACH_HOOK(hook)
	{
		assert_true(strlen(hook_name(hook)) && strlen(says[hook]));
		for (uint32_t other = 0; other < hook; other++)
			assert_string_not_equal(hook_name(hook), hook_name(other));
		assert_string_not_equal(hook_name(hook), hook_name(PINTLE_HOOK_COUNT));
	}
}

static void test_each_row_is_whole(void **state)
{
	(void)state;
	FOR_EACH_HOOK(hook)
	{
		struct hook_traits t = hook_traits(hook);

		assert_true(t.reaches && !(t.reaches & ~(uint32_t)ALL_REACHES));
		assert_false(t.traits & ~(uint32_t)ALL_TRAITS);
		assert_false(t.sees >> PINTLE_KEY_COUNT);
		assert_true(hook_sees(hook, PINTLE_KEY_NONE));
		assert_true(t.key != PINTLE_KEY_NONE && hook_sees(hook, t.key));
	}
}

static void test_traits_agree(void **state)
{
	(void)state;
	FOR_EACH_HOOK(hook)
	{
		if (hook_has(hook, PINTLE_TRAIT_EJECTS))
			assert_true(hook_has(hook, PINTLE_TRAIT_FAILURES));
		/* Clients' packets arrive at the node on which the listener is. */
		if (hook_traits(hook).reaches & PINTLE_REACH_LISTENER)
			assert_true(hook_has(hook, PINTLE_TRAIT_AT_SERVERS));
	}
}

/* There is a hook for each way in which an endpoint can be written. */
static void test_each_reach_has_a_hook(void **state)
{
	uint32_t reaches = 0;

	(void)state;
	FOR_EACH_HOOK(hook)
	reaches |= hook_traits(hook).reaches;
	assert_int_equal(reaches, ALL_REACHES);
}

/* A map may hold any value. */
static void test_unknown_hooks(void **state)
{
	static const uint32_t hooks[] = {PINTLE_HOOK_NONE, PINTLE_HOOK_COUNT, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		struct pintle_pool pool = {.decided_by = hooks[i], .reach = PINTLE_REACH_ADDRESS};

		assert_int_equal(pool_reach(&pool), 0);
		assert_false(hook_has(hooks[i], (enum pintle_trait)ALL_TRAITS));
		assert_false(hook_sees(hooks[i], PINTLE_KEY_NONE));
	}
	assert_false(hook_sees(PINTLE_HOOK_CONNECT, PINTLE_KEY_COUNT));
	assert_false(hook_sees(PINTLE_HOOK_CONNECT, UINT32_MAX));
}

/* A hook with one way takes that way, whatever the pool's `reach` says. */
static void test_one_way(void **state)
{
	struct pintle_pool pool = {.decided_by = PINTLE_HOOK_LOOKUP};

	(void)state;
	assert_int_equal(pool_reach(&pool), PINTLE_REACH_LISTENER);
	pool.decided_by = PINTLE_HOOK_CONNECT;
	assert_int_equal(pool_reach(&pool), PINTLE_REACH_ADDRESS);
	pool.reach = PINTLE_REACH_LISTENER; /* not possible at the connect hook */
	assert_int_equal(pool_reach(&pool), PINTLE_REACH_ADDRESS);
}

/* A hook that can reach servers in several ways takes the pool's `reach`. */
static void test_several_ways(void **state)
{
	(void)state;
	assert_int_equal(reach_among(ALL_REACHES, PINTLE_REACH_LISTENER), PINTLE_REACH_LISTENER);
	assert_int_equal(reach_among(ALL_REACHES, PINTLE_REACH_ADDRESS), PINTLE_REACH_ADDRESS);
	assert_int_equal(reach_among(ALL_REACHES, 0), 0);
}

#define IS_FOR(link, ...) link_is_for(&link_kinds[link], &(struct link_pool){__VA_ARGS__})

/* Every link belongs to pools of a hook, or is always there. */
static void test_links(void **state)
{
	(void)state;
	for (int i = 0; i < LINK_COUNT; i++) {
		const struct link_kind *k = &link_kinds[i];

		assert_false(IS_FOR(i, .key_kind = PINTLE_KEY_NONE));
		if (link_is_always(k))
			continue;
		assert_true(IS_FOR(i, .decided_by = k->decided_by, .key_kind = k->key));
		assert_true(IS_FOR(i, .decided_by = k->decided_by, .group_kind = k->key));
	}
	assert_true(link_is_always(&link_kinds[LINK_LOOKUP]));
	assert_true(IS_FOR(LINK_SERVERS, .decided_by = PINTLE_HOOK_LOOKUP,
			   .key_kind = PINTLE_KEY_SOURCE));
	assert_false(IS_FOR(LINK_CLIENTS, .decided_by = PINTLE_HOOK_LOOKUP,
			    .key_kind = PINTLE_KEY_SOURCE));
	assert_true(IS_FOR(LINK_CONNECT4, .decided_by = PINTLE_HOOK_CONNECT,
			   .key_kind = PINTLE_KEY_CLIENT));
	assert_false(IS_FOR(LINK_CONNECT4, .decided_by = PINTLE_HOOK_LOOKUP,
			    .key_kind = PINTLE_KEY_SOURCE));
	assert_true(IS_FOR(LINK_HINT, .decided_by = PINTLE_HOOK_CONNECT,
			   .key_kind = PINTLE_KEY_CLIENT, .group_kind = PINTLE_KEY_HINT));
	assert_false(IS_FOR(LINK_HINT, .decided_by = PINTLE_HOOK_CONNECT,
			    .key_kind = PINTLE_KEY_CLIENT));
	assert_true(IS_FOR(LINK_HINT, .decided_by = PINTLE_HOOK_CONNECT, .class_count = 2));
	assert_false(IS_FOR(LINK_HINT, .decided_by = PINTLE_HOOK_CONNECT, .class_count = 1));
	assert_false(IS_FOR(LINK_HINT, .decided_by = PINTLE_HOOK_LOOKUP, .class_count = 2));
}

/* What has trait `one` has trait `other`, too, or never has it. */
#define IMPLIES(o, one, other)  assert_true(!outcome_has(o, one) || outcome_has(o, other))
#define EXCLUDES(o, one, other) assert_false(outcome_has(o, one) && outcome_has(o, other))

static void test_outcomes(void **state)
{
	(void)state;
	for (uint32_t o = 0; o < PINTLE_OUTCOME_COUNT; o++) {
		IMPLIES(o, PINTLE_BINDS, PINTLE_PLACED);
		IMPLIES(o, PINTLE_KEPT, PINTLE_BINDS);
		IMPLIES(o, PINTLE_TURNED_AWAY, PINTLE_TOLD_NO);
		IMPLIES(o, PINTLE_AT_ONCE, PINTLE_TOLD_NO);
		IMPLIES(o, PINTLE_TOLD_NO, PINTLE_RARE);
		IMPLIES(o, PINTLE_SPILLS, PINTLE_RARE);
		EXCLUDES(o, PINTLE_PLACED, PINTLE_TOLD_NO);
		EXCLUDES(o, PINTLE_SPILLS, PINTLE_TOLD_NO);
		assert_true(strlen(outcome_name(o)) && strlen(outcome_help(o)));
	}
	for (uint32_t trait = 1; trait <= PINTLE_RARE; trait <<= 1) {
		bool any = false;

		for (uint32_t o = 0; o < PINTLE_OUTCOME_COUNT; o++)
			any |= outcome_has(o, trait);
		assert_true(any);
		assert_false(outcome_has(PINTLE_OUTCOME_COUNT, trait));
		assert_false(outcome_has(32, trait)); /* no shift by the width of the mask */
		assert_false(outcome_has(UINT32_MAX, trait));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),         cmocka_unit_test(test_each_row_is_whole),
		cmocka_unit_test(test_traits_agree),  cmocka_unit_test(test_each_reach_has_a_hook),
		cmocka_unit_test(test_unknown_hooks), cmocka_unit_test(test_one_way),
		cmocka_unit_test(test_several_ways),  cmocka_unit_test(test_links),
		cmocka_unit_test(test_outcomes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
