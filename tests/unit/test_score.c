// SPDX-License-Identifier: Apache-2.0
/* The load formula, as arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <rule/decide.bpf.h>
#include <math.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/score.h"

/* the defaults of docs/configuration.md */
static const struct config_weights weights = {.queue = 2, .kv_cache = 2, .running = 1, .gpu = 0};
static const struct config_saturation saturation = {
	.queue_depth = 5,
	.kv_cache = 0.8,
	.staleness_ns = 2 * NSEC_PER_SEC,
};

#define ALL  (PINTLE_SIGNAL_WAITING | PINTLE_SIGNAL_RUNNING | PINTLE_SIGNAL_KV_CACHE)
#define FULL PINTLE_SCORE_SATURATED
#define NO   NAN /* the page lacks this signal */

static struct signals signals_of(double waiting, double running, double kv_cache)
{
	double values[] = {waiting, running, kv_cache};
	struct signals s = {};

	for (int i = 0; i < 3; i++) {
		s.present[i] = !isnan(values[i]);
		s.value[i] = s.present[i] ? values[i] : 0;
	}
	return s;
}

static const struct {
	double waiting, running, kv_cache, gpu, gpu_weight;
	uint32_t published, flags;
	double saturation;
} cases[] = {
	{0, 0, 0, -1, 0, 0, ALL, 0},
	{1, 0, 0, -1, 0, 2000, ALL, 0.2},
	{0, 1, 0, -1, 0, 1000, ALL, 0},
	{3, 4, 0, -1, 0, 10000, ALL, 0.6},
	/* At its threshold the KV cache weighs as much as the queue at the queue's threshold. */
	{5, 0, 0, -1, 0, 10000, ALL | FULL, 1},
	{0, 0, 0.8, -1, 0, 10000, ALL | FULL, 1},
	/* At half the threshold it weighs a sixteenth of that, and when full more than twice that.
	 */
	{0, 0, 0.4, -1, 0, 625, ALL, 0.5},
	{0, 0, 0.2, -1, 0, 39, ALL, 0.25},
	{0, 0, 1, -1, 0, 24414, ALL | FULL, 1.25},
	{4, 0, 0.79, -1, 0, 17509, ALL, 0.9875},
	/* Pages of tests/data/pages: vLLM's queue and kvfull. */
	{167, 16, 0.06274509803921569, -1, 0, 350000, ALL | FULL, 33.4},
	{12, 5, 0.9841269841269842, -1, 0, 51900, ALL | FULL, 2.4},
	/* A signal that the page lacks counts as 0, and the flags say so. */
	{7, NO, NO, -1, 0, 14000, PINTLE_SIGNAL_WAITING | FULL, 1.4},
	{2, 3, NO, -1, 0, 7000, PINTLE_SIGNAL_WAITING | PINTLE_SIGNAL_RUNNING, 0.4},
	{NO, NO, NO, -1, 0, 0, 0, 0},
	/* The GPU counts if it is known and has a weight. */
	{0, 0, 0, 0.5, 0, 0, ALL | PINTLE_SIGNAL_GPU, 0},
	{0, 0, 0, 0.5, 4, 2000, ALL | PINTLE_SIGNAL_GPU, 0},
	{0, 0, 0, 0, 4, 0, ALL | PINTLE_SIGNAL_GPU, 0},
	{1, 0, 0, -1, 4, 2000, ALL, 0.2},
	{1, 0, 0, NAN, 4, 2000, ALL, 0.2},
	/* Loads are rounded to the nearest. */
	{0, 0.0004, 0, -1, 0, 0, ALL, 0},
	{0, 0.0006, 0, -1, 0, 1, ALL, 0},
	/* Sums are limited to what the kernel takes. */
	{1e9, 1e9, 1, 1, 1e9, PINTLE_MAX_LOAD, ALL | PINTLE_SIGNAL_GPU | FULL, 2e8},
};

static void test_formula(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct signals s =
			signals_of(cases[i].waiting, cases[i].running, cases[i].kv_cache);
		struct config_weights w = weights;
		struct pintle_score score = {};
		double full;

		w.gpu = cases[i].gpu_weight;
		score_compute(&s, cases[i].gpu, &w, &saturation, &score);
		full = score_saturation(&score, &saturation);
		if (score.model[0].published != cases[i].published ||
		    score.flags != cases[i].flags || fabs(full - cases[i].saturation) > 1e-9)
			fail_msg("case %zu: published %u, flags %#x, saturation %.9g", i,
				 score.model[0].published, score.flags, full);
	}
}

/* The rule's load when `more` connections were opened since the scrape. */
static uint32_t load_after(const struct pintle_score *score, int64_t more)
{
	struct decide_facts f = {
		.inflight = 10 + more,
		.inflight_at_scrape = 10,
		.published = score->model[0].published,
		.arrival = score->model[0].arrival,
		.fresh = 1,
	};
	struct decide_candidate c;

	decide_weigh(&c, &f, (uint32_t)(weights.running * 1000), false);
	return c.load;
}

/* docs/load.md, "An example". */
static void test_worked_example(void **state)
{
	struct signals gpu0 = signals_of(3, 12, 0.6), gpu1 = signals_of(0, 9, 0.4);
	struct pintle_score a = {}, b = {};

	(void)state;
	score_compute(&gpu0, -1, &weights, &saturation, &a);
	score_compute(&gpu1, -1, &weights, &saturation, &b);
	assert_int_equal(a.model[0].published, 21164);
	assert_int_equal(b.model[0].published, 9625);
	assert_int_equal(a.model[0].arrival, 2000);
	assert_int_equal(b.model[0].arrival, 2000);
	assert_true(fabs(score_saturation(&a, &saturation) - 0.75) < 1e-9);
	assert_true(fabs(score_saturation(&b, &saturation) - 0.5) < 1e-9);
	assert_int_equal(load_after(&a, 0), 21164);
	assert_int_equal(load_after(&a, 3), 27164);
	assert_int_equal(load_after(&a, -2), 19164);
	assert_true(21164 <= 9625 + 16000 && 27164 > 9625 + 16000);
}

/* A connection that came since the scrape has the weight of a waiting request, or of a running one
 * if that is more. */
static void test_what_came(void **state)
{
	static const struct {
		double queue, running;
		uint32_t came;
	} rows[] = {{2, 1, 2000}, {0, 1, 1000}, {2, 0, 2000}, {1, 3, 3000}, {0, 0, 0}};
	struct signals s = signals_of(1, 1, 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct config_weights w = {.queue = rows[i].queue, .running = rows[i].running};
		struct pintle_score score = {};

		score_compute(&s, -1, &w, &saturation, &score);
		assert_int_equal(score.model[0].arrival, rows[i].came);
	}
}

static void test_every_field(void **state)
{
	struct signals s = signals_of(3.4, 2.6, 0.123456789);
	struct pintle_score score;

	(void)state;
	memset(&score, 0xff, sizeof(score));
	score.sequence = 7;
	score.generation = 8;
	score.scraped_ns = 9;
	score.inflight = 10;
	score.pending = 11;
	score.rate = 12;
	score_compute(&s, 0.9876543219, &weights, &saturation, &score);
	assert_int_equal(score.sequence, 7);
	assert_int_equal(score.generation, 8);
	assert_int_equal(score.scraped_ns, 9);
	assert_int_equal(score.inflight, 10);
	assert_int_equal(score.pending, 11);
	assert_int_equal(score.flags, ALL | PINTLE_SIGNAL_GPU);
	assert_int_equal(score.waiting, 3);
	assert_int_equal(score.running, 3);
	assert_int_equal(score.kv_cache, 123457);
	assert_int_equal(score.gpu, 987654);
	assert_int_equal(score.rate, 12);
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++) {
		/* 6.8 + 2.6 + 10 x (0.123456789 / 0.8)^4 */
		assert_int_equal(score.model[i].published, 9406);
		assert_int_equal(score.model[i].arrival, 2000);
	}
}

/* A higher signal never gives a lower load. */
static void test_monotonic(void **state)
{
	uint32_t last = 0;

	(void)state;
	for (int step = 0; step <= 1000; step++) {
		struct signals s = signals_of(step / 10.0, step / 20.0, step / 1000.0);
		struct pintle_score score = {};

		score_compute(&s, step / 1000.0, &weights, &saturation, &score);
		assert_true(score.model[0].published >= last);
		last = score.model[0].published;
	}
	assert_true(last > 250000);
}

/* For nonsense in the configuration or the signals the load is defined, and never negative. */
static void test_nonsense(void **state)
{
	static const double odd[] = {0, -1, NAN, INFINITY, -INFINITY, 1e308, 5e-324};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(odd); k++) {
			struct config_weights w = {odd[i], odd[k], odd[i], odd[k], 0, 0};
			struct config_saturation sat = {odd[k], odd[i], 1};
			struct signals s = {.present = {true, true, true},
					    .value = {odd[i], odd[k], odd[i]}};
			struct pintle_score score = {};

			score_compute(&s, odd[k], &w, &sat, &score);
			assert_true(score.model[0].published <= PINTLE_MAX_LOAD);
			assert_true(score.model[0].arrival <= PINTLE_MAX_LOAD);
			assert_true(score.kv_cache <= 1000000 && score.gpu <= 1000000);
			assert_false(isnan(score_saturation(&score, &sat)));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formula),   cmocka_unit_test(test_worked_example),
		cmocka_unit_test(test_what_came), cmocka_unit_test(test_every_field),
		cmocka_unit_test(test_monotonic), cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
