/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which endpoints are eligible, and what their loads are: the kernel and the host's compilation of
 * the same text agree on a million random states in the maps.
 */
#include "support_states.h"

#define PROGRAMS "pintle_weigh"
#include "support_loaded.h"

#include <stdlib.h>

#define FILLS 1000 /* of all endpoints each: a million states; fewer have no digest */
#define NOW   (1000 * 3600 * NSEC_PER_SEC)

static struct states states;

/* Gives each endpoint from `first` on a different connection. */
static void ask(uint32_t fill, uint32_t first, struct weigh_one *of)
{
	for (uint32_t i = 0; i < WEIGH_CASE_MAX; i++) {
		uint64_t r = random_at((uint64_t)fill << 20 | (first + i));

		of[i].family = r & 1 ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
		of[i].daemonless = !(r & 6);
		of[i].bound = !(r & 8);
	}
}

static uint64_t digest_of(uint64_t digest, const struct weigh_one *one)
{
	const struct decide_candidate *c = &one->candidate;

	digest = digest_add(digest, one->eligible);
	if (!one->eligible)
		return digest;
	digest = digest_add(digest, (uint64_t)c->published << 32 | c->load);
	return digest_add(digest, (uint64_t)c->blind << 32 | c->fresh);
}

static void assert_same_here(const struct weigh_one *one, uint64_t seen[INELIGIBLE_COUNT + 1])
{
	struct weigh_one here = *one;

	seen[states_weigh_here(&states, &here)]++;
	assert_int_equal(here.eligible, one->eligible);
	if (here.eligible)
		assert_memory_equal(&here.candidate, &one->candidate, sizeof(here.candidate));
}

static uint64_t agree(uint32_t fills, bool followed)
{
	uint64_t digest = 0, seen[INELIGIBLE_COUNT + 1] = {0};
	struct weigh_one of[WEIGH_CASE_MAX];

	states.followed = followed;
	for (uint32_t fill = 0; fill < fills; fill++) {
		states_make(&states, fill, NOW, false);
		states_put(&states, skel);
		for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e += WEIGH_CASE_MAX) {
			ask(fill, e, of);
			states_weigh(&states, skel, e, of);
			for (uint32_t i = 0; i < WEIGH_CASE_MAX; i++) {
				assert_same_here(&of[i], seen);
				digest = digest_of(digest, &of[i]);
			}
		}
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(seen); i++)
		if (followed || i < INELIGIBLE_STARTING || i > INELIGIBLE_STALLED)
			assert_true(seen[i] > fills);
	return digest;
}

/* The requests are not followed: the loads are those that they were before there were passes. */
static void test_a_million_states(void **state)
{
	uint32_t fills = rounds_wanted(FILLS);
	uint64_t digest = agree(fills, false);

	(void)state;
	if (fills == FILLS)
		assert_digest(digest, 0x2e7a32823f8f5d13);
}

static void test_states_with_passes(void **state)
{
	uint32_t fills = rounds_wanted(FILLS) / 4;
	uint64_t digest = agree(fills, true);

	(void)state;
	if (fills == FILLS / 4)
		assert_digest(digest, 0xd87dbb238f7ea506);
}

static void test_states_of_pools_decided_by_request(void **state)
{
	uint32_t fills = rounds_wanted(FILLS) / 4;
	uint64_t digest;

	(void)state;
	states.asked = true;
	digest = agree(fills, true);
	if (fills == FILLS / 4)
		assert_digest(digest, 0x2264546a1c01f4e1);
}

static void test_states_of_idle_pools(void **state)
{
	uint32_t fills = rounds_wanted(FILLS) / 4;
	uint64_t digest;

	(void)state;
	states.asked = false;
	states.idle = true;
	digest = agree(fills, true);
	states.idle = false;
	if (fills == FILLS / 4)
		assert_digest(digest, 0x4f1d04dd5e9d58ba);
}

/* A page that was not wanted for five seconds is as good as one of the last interval. */
static void test_how_old_a_score_may_be(void **state)
{
	static const struct {
		uint64_t age_ms;
		uint32_t flags;
		bool fresh, lost;
	} cases[] = {
		{2000, 0, true, false},
		{2001, 0, false, false},
		{10001, 0, false, true},
		{2001, PINTLE_SCORE_FAILED, false, false},
		{7600, PINTLE_SCORE_IDLE, true, false},
		{7600, PINTLE_SCORE_IDLE | PINTLE_SCORE_FAILED, true, false},
		{7601, PINTLE_SCORE_IDLE, false, false},
		{15600, PINTLE_SCORE_IDLE, false, false},
		{15601, PINTLE_SCORE_IDLE, false, true},
	};
	const struct pintle_pool pool = {.staleness_ns = 2000 * NSEC_PER_MSEC, .idle_ms = 5600};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pintle_score score = {
			.generation = 1,
			.scraped_ns = NOW - cases[i].age_ms * NSEC_PER_MSEC,
			.flags = cases[i].flags,
		};
		struct eligible_score s = {.whole = 1};
		struct decide_facts f = {0};

		eligible_score_take(&s, &score, 1, &pool, NOW);
		eligible_facts(&f, &pool, &s, NOW);
		assert_int_equal(f.fresh, cases[i].fresh);
		assert_int_equal(f.lost, cases[i].lost);
	}
}

/* Each byte that came since the pass counts, up to the most that loads may be. */
static void test_bytes_that_were_asked(void **state)
{
	static const struct {
		uint64_t asked, at_pass;
		uint32_t before, context, prompt;
	} cases[] = {
		{0, 0, 7000, 400, 7000},
		{4400, 400, 7000, 400, 17000},
		{399, 0, 0, 400, 997},
		{400, 4400, 7000, 400, 7000}, /* the id was another endpoint's */
		{1, UINT64_MAX, 0, 400, 5},
		{1ULL << 40, 0, 7000, 400, (uint32_t)PINTLE_MAX_LOAD},
		{4400, 400, 0, 0, 0}, /* prompts weigh nothing */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pintle_pool pool = {.context_bytes = cases[i].context};
		struct decide_facts f = {.prompt = cases[i].before, .newcomer = 5000};

		eligible_facts_asked(&f, eligible_asked(&pool, cases[i].asked, cases[i].at_pass));
		assert_int_equal(f.prompt, cases[i].prompt);
		assert_int_equal(f.newcomer, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_million_states),
		cmocka_unit_test(test_states_with_passes),
		cmocka_unit_test(test_bytes_that_were_asked),
		cmocka_unit_test(test_states_of_pools_decided_by_request),
		cmocka_unit_test(test_states_of_idle_pools),
		cmocka_unit_test(test_how_old_a_score_may_be),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
