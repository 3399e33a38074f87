/* SPDX-License-Identifier: Apache-2.0 */
/* A/B tests: which block is in which mode, which answers count, and what the figures say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/minute.h"
#include "../../userspace/policy/trial.h"
#include "buckets.bpf.h"
#include "support_random.h"
#include "rule/trial.bpf.h"

#define SEC   NSEC_PER_SEC
#define START (1000 * SEC)

static struct pintle_trial trial_new(uint32_t blocks, uint64_t seed)
{
	return (struct pintle_trial){.since_ns = START,
				     .until_ns = START + blocks * 600 * SEC,
				     .period_ns = 600 * SEC,
				     .washout_ns = 30 * SEC,
				     .seed = seed};
}

/* ---- blocks ------------------------------------------------------------------------- */

static void test_blocks(void **state)
{
	struct pintle_trial t = trial_new(24, 1);

	(void)state;
	assert_int_equal(trial_block_count(&t), 24);
	assert_int_equal(trial_block(&t, START - 1), TRIAL_NO_BLOCK);
	assert_int_equal(trial_block(&t, START), 0);
	assert_int_equal(trial_block(&t, START + 600 * SEC - 1), 0);
	assert_int_equal(trial_block(&t, START + 600 * SEC), 1);
	assert_int_equal(trial_block(&t, t.until_ns - 1), 23);
	assert_int_equal(trial_block(&t, t.until_ns), TRIAL_NO_BLOCK);
	t.until_ns += 599 * SEC;
	assert_int_equal(trial_block_count(&t), 24);
}

/* Whatever the map says, a number of a block is one. */
static void test_hostile_numbers(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		struct pintle_trial t = {random_at(6 * i), random_at(6 * i + 1),
					 random_at(6 * i + 2) >> (i % 64), random_at(6 * i + 3),
					 random_at(6 * i + 4)};
		uint32_t n = trial_block(&t, random_at(6 * i + 5));

		assert_true(n == TRIAL_NO_BLOCK || n < PINTLE_MAX_BLOCKS);
		assert_true(trial_block_count(&t) <= PINTLE_MAX_BLOCKS);
		assert_false(trial_block_count(&t) % 2);
	}
	assert_int_equal(trial_block(&(struct pintle_trial){0}, START), TRIAL_NO_BLOCK);
	assert_int_equal(trial_block_count(&(struct pintle_trial){0}), 0);
}

/* Each pair has one block in each mode, and the order is a coin's. */
static void test_order(void **state)
{
	uint32_t first = 0, same = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 10000; seed++) {
		struct pintle_trial t = trial_new(4, random_at(seed));
		uint32_t mode[4];

		for (uint32_t k = 0; k < 4; k++) {
			mode[k] = trial_mode_in(&t, k);
			assert_true(mode[k] == PINTLE_MODE_ENFORCE ||
				    mode[k] == PINTLE_MODE_BASELINE);
		}
		assert_true(mode[0] != mode[1] && mode[2] != mode[3]);
		first += mode[0] == PINTLE_MODE_ENFORCE;
		same += mode[0] == mode[2];
	}
	assert_in_range(first, 4800, 5200); /* four standard deviations */
	assert_in_range(same, 4800, 5200);
}

static void test_what_counts(void **state)
{
	static const struct {
		uint64_t opened, asked; /* seconds after the beginning */
		uint32_t in;
	} cases[] = {
		{100, 100, 0},
		{31, 599, 0},
		{10, 29, TRIAL_NO_BLOCK}, /* in the washout */
		{10, 30, 0},
		{599, 600, TRIAL_NO_BLOCK},
		{599, 700, TRIAL_NO_BLOCK}, /* on a connection of the block before */
		{605, 700, 1},
		{100, 1300, TRIAL_NO_BLOCK},
		{1199, 1199, 1},
		{1200, 1200, TRIAL_NO_BLOCK}, /* of a test of two blocks */
	};
	struct pintle_trial t = trial_new(2, 1);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(trial_counts_in(&t, START + cases[i].opened * SEC,
						 START + cases[i].asked * SEC),
				 cases[i].in);
	assert_int_equal(trial_counts_in(&t, START - 1, START + 40 * SEC), TRIAL_NO_BLOCK);
}

/* ---- the interval ------------------------------------------------------------------- */

/* Student's density, integrated by Simpson's rule from 0 to t. */
static double student_up_to(double t, double degrees)
{
	double c = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(degrees * M_PI);
	double sum = 0, h = t / 20000;

	for (int i = 0; i <= 20000; i++) {
		double x = i * h;

		sum += (i == 0 || i == 20000 ? 1
			: i % 2              ? 4
					     : 2) *
		       c * pow(1 + x * x / degrees, -(degrees + 1) / 2);
	}
	return 0.5 + sum * h / 3;
}

static void test_student(void **state)
{
	(void)state;
	for (uint32_t n = 1; n < 200; n++) {
		double up_to = student_up_to(trial_student(n), n);

		assert_true(fabs(up_to - 0.975) < 5e-5);
	}
	assert_true(trial_student(1000000) - 1.959964 < 1e-5);
}

/* ---- figures ------------------------------------------------------------------------ */

static struct pintle_measure *block_in(struct pintle_trial_result *r, uint32_t pair, uint32_t mode)
{
	return &r->block[2 * pair + (trial_mode_in(&r->trial, 2 * pair) != mode)];
}

static void fill(struct pintle_trial_result *r, uint32_t pairs, uint32_t baseline_us,
		 uint32_t enforce_us)
{
	*r = (struct pintle_trial_result){.trial = trial_new(2 * pairs, 7)};
	for (uint32_t k = 0; k < pairs; k++) {
		/* The load of the day: it moves both blocks of a pair alike. */
		uint32_t day = 1 + k % 5;

		*block_in(r, k, PINTLE_MODE_BASELINE) = (struct pintle_measure){
			PINTLE_MEASURED_WHOLE, 100, baseline_us * day, baseline_us * day,
			2 * baseline_us * day, 0,   {200, 0, 0, 10}};
		*block_in(r, k, PINTLE_MODE_ENFORCE) = (struct pintle_measure){
			PINTLE_MEASURED_WHOLE, 100, enforce_us * day, enforce_us * day,
			2 * enforce_us * day,  0,   {200, 150, 4, 10}};
	}
}

static void test_figures(void **state)
{
	struct pintle_trial_result r;
	struct trial_figure f[TRIAL_FIGURE_COUNT];

	(void)state;
	fill(&r, 12, 400000, 200000);
	trial_judge(&r, f);
	assert_int_equal(f[TRIAL_P50].pairs, 12);
	assert_true(fabs(f[TRIAL_P50].change + 0.5) < 1e-9);
	assert_true(fabs(f[TRIAL_P95].enforce * 2 - f[TRIAL_P95].baseline) < 1e-9);
	assert_int_equal(f[TRIAL_MEAN].verdict, TRIAL_VERDICT_BETTER);
	assert_int_equal(f[TRIAL_FAILED].verdict, TRIAL_VERDICT_NO_DIFFERENCE);
	assert_true(fabs(f[TRIAL_FAILED].baseline - 0.05) < 1e-9);
	assert_int_equal(f[TRIAL_TOLD_NO].verdict, TRIAL_VERDICT_WORSE);
	assert_int_equal(f[TRIAL_KEPT].verdict, TRIAL_VERDICT_BETTER);
	assert_true(fabs(f[TRIAL_KEPT].change - 0.75) < 1e-9);
	fill(&r, 12, 200000, 400000);
	trial_judge(&r, f);
	assert_int_equal(f[TRIAL_P95].verdict, TRIAL_VERDICT_WORSE);
	fill(&r, 5, 400000, 200000);
	trial_judge(&r, f);
	assert_int_equal(f[TRIAL_MEAN].verdict, TRIAL_VERDICT_TOO_FEW);
}

/* A pair counts with both blocks, or not at all. */
static void test_pairs_that_count(void **state)
{
	struct pintle_trial_result r;
	struct trial_figure f[TRIAL_FIGURE_COUNT];

	(void)state;
	fill(&r, 8, 400000, 200000);
	r.block[3].state = PINTLE_MEASURED_LOST;
	r.block[6].answers = TRIAL_LEAST_ANSWERS - 1;
	r.block[8].state = PINTLE_MEASURED_ENDED;
	trial_judge(&r, f);
	assert_int_equal(f[TRIAL_P50].pairs, 5);
	assert_int_equal(f[TRIAL_FAILED].pairs, 6);
	memset(&r, 0xff, sizeof(r));
	trial_judge(&r, f);
	assert_int_equal(f[TRIAL_P50].pairs, 0);
	assert_int_equal(f[TRIAL_P50].verdict, TRIAL_VERDICT_TOO_FEW);
}

/* ---- with a known truth --------------------------------------------------------------- */

/* A number of the standard normal distribution, by Box and Muller. */
static double normal_at(uint64_t *n)
{
	double a = ((double)(random_at((*n)++) >> 11) + 0.5) / 9007199254740992.0;
	double b = ((double)(random_at((*n)++) >> 11) + 0.5) / 9007199254740992.0;

	return sqrt(-2 * log(a)) * cos(2 * M_PI * b);
}

/* Answers of a block: lognormal times, as those of servers are, through the kernel's buckets. */
static void measure(struct pintle_measure *b, double level, uint32_t answers, uint64_t *n)
{
	__u64 bucket[PINTLE_BUCKETS] = {0};
	double sum = 0;

	for (uint32_t i = 0; i < answers; i++) {
		double us = 2e5 * exp(level + 0.8 * normal_at(n));

		sum += us;
		bucket[bucket_of((uint32_t)us)]++;
	}
	*b = (struct pintle_measure){.state = PINTLE_MEASURED_WHOLE,
				     .answers = answers,
				     .mean_us = (uint32_t)(sum / answers),
				     .p50_us = bucket_quantile(bucket, 0.5),
				     .p95_us = bucket_quantile(bucket, 0.95)};
}

/* A day whose load rises and falls with a period near that of the pairs, which would fool a fixed
 * order; levels that stay for a while; and a trend. */
static double level_at(uint32_t block, double drift)
{
	return 0.5 * sin(block * 3.0) + 0.03 * block + drift;
}

/* Runs so many tests, each of 12 pairs, and returns in which share of them the interval has the
 * true change, and in which it says that there is a difference. */
static void simulate(uint32_t runs, double effect, double covers[3], double finds[3])
{
	uint64_t n = (uint64_t)(effect * 1000) << 40;

	memset(covers, 0, 3 * sizeof(*covers));
	memset(finds, 0, 3 * sizeof(*finds));
	for (uint32_t run = 0; run < runs; run++) {
		struct pintle_trial_result r = {.trial = trial_new(24, random_at(n++))};
		struct trial_figure f[TRIAL_FIGURE_COUNT];
		double drift = 0;

		for (uint32_t k = 0; k < 24; k++) {
			bool enforce = trial_mode_in(&r.trial, k) == PINTLE_MODE_ENFORCE;

			drift = 0.7 * drift + 0.1 * normal_at(&n);
			measure(&r.block[k], level_at(k, drift) + (enforce ? log(effect) : 0), 40,
				&n);
		}
		trial_judge(&r, f);
		for (int i = 0; i < 3; i++) {
			covers[i] +=
				(f[i].low <= effect - 1 && effect - 1 <= f[i].high) / (double)runs;
			finds[i] += (f[i].verdict != TRIAL_VERDICT_NO_DIFFERENCE) / (double)runs;
		}
	}
}

static void test_the_interval_has_the_truth(void **state)
{
	static const double effects[] = {1.0, 0.7, 1.3};
	double covers[3], finds[3];

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(effects); k++) {
		simulate(10000, effects[k], covers, finds);
		for (int i = 0; i < 3; i++) {
			print_message("effect %.1f, %s: covered %.3f, found %.3f\n", effects[k],
				      trial_figure_name((uint32_t)i), covers[i], finds[i]);
			assert_true(covers[i] > 0.94 && covers[i] < 0.965);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_hostile_numbers),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_what_counts),
		cmocka_unit_test(test_student),
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_pairs_that_count),
		cmocka_unit_test(test_the_interval_has_the_truth),
	};

	return cmocka_run_group_tests_name("trial", tests, NULL, NULL);
}
