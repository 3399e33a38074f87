// SPDX-License-Identifier: Apache-2.0
/* Numbers of pintle-load: distributions, arrivals, histograms, timers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../lab/load/load_arrival.h"
#include "../../lab/base/durations.h"
#include "../../lab/base/random.h"
#include "../../lab/load/load_timers.h"

#define DRAWS 200000

static void near(double got, double wanted, double share)
{
	if (!(fabs(got - wanted) <= share * fabs(wanted)))
		fail_msg("%g is not within %g %% of %g", got, 100 * share, wanted);
}

/* -- random numbers --------------------------------------------------------------- */

static void test_streams(void **state)
{
	struct rng a, b;

	(void)state;
	rng_init(&a, 1, 2, 3);
	rng_init(&b, 1, 2, 3);
	for (int i = 0; i < 100; i++)
		assert_true(rng_next(&a) == rng_next(&b));
	for (int i = 0; i < 3; i++) {
		rng_init(&b, 1 + (i == 0), 2 + (i == 1), 3 + (i == 2));
		assert_true(rng_next(&a) != rng_next(&b));
	}
}

struct moments {
	double mean, cv, least, most;
};

static struct moments moments(double (*draw)(struct rng *r, const void *arg), const void *arg)
{
	struct moments m = {.least = INFINITY, .most = -INFINITY};
	double sum = 0, squares = 0;
	struct rng r;

	rng_init(&r, 7, 0, 0);
	for (int i = 0; i < DRAWS; i++) {
		double x = draw(&r, arg);

		sum += x;
		squares += x * x;
		m.least = MIN(m.least, x);
		m.most = MAX(m.most, x);
	}
	m.mean = sum / DRAWS;
	m.cv = sqrt(squares / DRAWS - m.mean * m.mean) / m.mean;
	return m;
}

static double draw_gamma(struct rng *r, const void *arg)
{
	return rng_gamma(r, *(const double *)arg);
}

static void test_gamma(void **state)
{
	static const double cvs[] = {0.3, 1, 2, 4};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cvs); i++) {
		struct moments m = moments(draw_gamma, &cvs[i]);

		near(m.mean, 1, 0.04);
		near(m.cv, cvs[i], 0.06);
		assert_true(m.least >= 0);
	}
}

static double draw_real(struct rng *r, const void *arg)
{
	return dist_draw(arg, r);
}

static double draw_whole(struct rng *r, const void *arg)
{
	return dist_draw_whole(arg, r);
}

static void test_distributions(void **state)
{
	static const struct {
		struct dist d;
		bool whole;
		double mean, cv; /* NaN: not checked */
	} cases[] = {
		{{DIST_CONSTANT, 7, 0, 7, 7}, true, 7, NAN},
		{{DIST_EXPONENTIAL, 5e9, 0, 0, 1e18}, false, 5e9, 1},
		{{DIST_EXPONENTIAL, 4, 0, 1, 1000}, true, 4, NAN}, /* geometric */
		{{DIST_EXPONENTIAL, 1, 0, 1, 1000}, true, 1, NAN},
		{{DIST_LOGNORMAL, 100, 0.5, 0, 1e9}, false, 113.3, NAN},
		{{DIST_LOGNORMAL, 100, 0, 0, 1e9}, true, 100, NAN},
		{{DIST_UNIFORM, 2, 6, 0, 100}, true, 4, NAN},
		{{DIST_UNIFORM, 2, 6, 0, 100}, false, 4, NAN},
		{{DIST_UNIFORM, 0, 10, 3, 3}, true, 3, NAN}, /* drawn beyond min and max */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct moments m = moments(cases[i].whole ? draw_whole : draw_real, &cases[i].d);

		near(m.mean, cases[i].mean, 0.02);
		if (!isnan(cases[i].cv))
			near(m.cv, cases[i].cv, 0.02);
		assert_true(m.least >= cases[i].d.min && m.most <= cases[i].d.max);
	}
	/* A uniform distribution includes both ends. */
	struct moments ends = moments(draw_whole, &cases[6].d);

	assert_true(ends.least == 2 && ends.most == 6);
}

static void test_zipf(void **state)
{
	uint32_t counts[5] = {0};
	struct zipf z;
	struct rng r;

	(void)state;
	assert_int_equal(zipf_init(&z, 5, 1), 0);
	rng_init(&r, 3, 0, 0);
	for (int i = 0; i < DRAWS; i++)
		counts[zipf_draw(&z, &r)]++;
	zipf_free(&z);
	for (int i = 0; i < 5; i++)
		near(counts[i], DRAWS / (i + 1.0) / (1 + 1. / 2 + 1. / 3 + 1. / 4 + 1. / 5), 0.03);
	/* With a count of one there is no choice, and with exponent 0 all numbers are equally
	 * likely. */
	assert_int_equal(zipf_init(&z, 1, 2), 0);
	assert_int_equal(zipf_draw(&z, &r), 0);
	zipf_free(&z);
	assert_int_equal(zipf_init(&z, 4, 0), 0);
	assert_true(fabs(z.sums[0] - 0.25) < 1e-12 && fabs(z.sums[3] - 1) < 1e-12);
	zipf_free(&z);
}

/* -- arrivals --------------------------------------------------------------------- */

#define S(x) ((uint64_t)((x)*1e9))

/* Arrivals from `from` to `to`, in seconds. */
static unsigned int count_arrivals(const struct arrival *a, uint64_t seed, double from, double to)
{
	unsigned int count = 0;
	uint64_t now = 0, before = 0;
	struct rng r;

	rng_init(&r, seed, 0, 0);
	for (;;) {
		now = arrival_next(a, &r, now);
		if (now == ARRIVAL_NEVER || now >= S(to))
			return count;
		assert_true(now >= before);
		before = now;
		count += now >= S(from);
	}
}

static void test_arrival_means(void **state)
{
	struct rate_point flat[] = {{0, 50}};
	struct rate_point ramp[] = {{0, 0}, {S(100), 100}};
	struct rate_point step[] = {{0, 10}, {S(100), 10}, {S(100), 40}};
	struct rate_point late[] = {{S(50), 20}, {S(150), 0}};
	const struct {
		struct arrival a;
		double from, to, wanted;
	} cases[] = {
		{{.process = ARRIVAL_POISSON, .points = flat, .point_count = 1}, 0, 1000, 50000},
		{{.process = ARRIVAL_GAMMA, .cv = 3, .points = flat, .point_count = 1},
		 0,
		 2000,
		 100000},
		{{.process = ARRIVAL_POISSON, .points = ramp, .point_count = 2}, 0, 100, 5000},
		{{.process = ARRIVAL_POISSON, .points = ramp, .point_count = 2}, 0, 50, 1250},
		{{.process = ARRIVAL_POISSON, .points = ramp, .point_count = 2}, 100, 200, 10000},
		{{.process = ARRIVAL_POISSON, .points = step, .point_count = 3}, 0, 100, 1000},
		{{.process = ARRIVAL_POISSON, .points = step, .point_count = 3}, 100, 200, 4000},
		/* Before the first point the first rate holds; after the last point, with rate 0,
		 * there are no arrivals. */
		{{.process = ARRIVAL_POISSON, .points = late, .point_count = 2}, 0, 50, 1000},
		{{.process = ARRIVAL_POISSON, .points = late, .point_count = 2}, 50, 1e6, 1000},
		/* 3 s at three times the rate, 7 s at the rate itself */
		{{.process = ARRIVAL_POISSON,
		  .points = flat,
		  .point_count = 1,
		  .burst_every_ns = S(10),
		  .burst_length_ns = S(3),
		  .burst_factor = 3},
		 0,
		 1000,
		 80000},
		/* on a ramp */
		{{.process = ARRIVAL_POISSON,
		  .points = ramp,
		  .point_count = 2,
		  .burst_every_ns = S(100),
		  .burst_length_ns = S(50),
		  .burst_factor = 3},
		 0,
		 50,
		 3750},
		/* a burst's factor of 0: no arrivals in bursts */
		{{.process = ARRIVAL_GAMMA,
		  .cv = 2,
		  .points = flat,
		  .point_count = 1,
		  .burst_every_ns = S(10),
		  .burst_length_ns = S(5),
		  .burst_factor = 0},
		 0,
		 2000,
		 50000},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		double sum = 0;

		for (uint64_t seed = 0; seed < 10; seed++)
			sum += count_arrivals(&cases[i].a, seed, cases[i].from, cases[i].to);
		near(sum / 10, cases[i].wanted, 0.04);
	}
}

static void test_bursts(void **state)
{
	struct rate_point flat[] = {{0, 50}};
	struct arrival a = {.process = ARRIVAL_POISSON,
			    .points = flat,
			    .point_count = 1,
			    .burst_every_ns = S(10),
			    .burst_length_ns = S(2),
			    .burst_factor = 0};
	struct rng r;
	uint64_t now = 0;

	(void)state;
	rng_init(&r, 0, 0, 0);
	for (int i = 0; i < 10000; i++) {
		now = arrival_next(&a, &r, now);
		assert_true(now % S(10) >= S(2));
	}
}

static void test_even_arrivals(void **state)
{
	struct rate_point points[] = {{0, 4}, {S(10), 4}, {S(10), 1}};
	struct arrival a = {.process = ARRIVAL_EVEN, .points = points, .point_count = 3};
	struct rng r;
	uint64_t now = 0;

	(void)state;
	rng_init(&r, 0, 0, 0);
	for (int i = 1; i <= 40; i++) {
		now = arrival_next(&a, &r, now);
		near((double)now, (double)i * 0.25e9, 1e-6);
	}
	now = arrival_next(&a, &r, now);
	near((double)now, 11e9, 1e-6);
	/* The rate changes in the middle of a gap: the rest of the gap passes at the new rate. */
	points[1].at_ns = points[2].at_ns = S(10.1);
	now = arrival_next(&a, &r, S(10));
	near((double)now, 10.7e9, 1e-6);
	near(arrival_peak(&a), 4, 1e-9);
	/* A rate that grows by 2 each second: t^2 arrivals until t. */
	points[0] = (struct rate_point){0, 0};
	points[1] = (struct rate_point){S(100), 100};
	a.point_count = 2;
	a.burst_every_ns = S(100);
	a.burst_length_ns = S(50);
	a.burst_factor = 2;
	now = arrival_next(&a, &r, 0);
	near((double)now, 1e9, 1e-6);
	now = arrival_next(&a, &r, now);
	near((double)now, sqrt(2) * 1e9, 1e-6);
}

/* The gaps have the coefficient of variation that was asked for. */
static void test_arrival_cv(void **state)
{
	struct rate_point flat[] = {{0, 20}};
	struct arrival a = {.process = ARRIVAL_GAMMA, .cv = 2.5, .points = flat, .point_count = 1};
	double sum = 0, squares = 0;
	uint64_t now = 0, next;
	struct rng r;

	(void)state;
	rng_init(&r, 5, 0, 0);
	for (int i = 0; i < DRAWS; i++, now = next) {
		next = arrival_next(&a, &r, now);
		sum += (double)(next - now);
		squares += (double)(next - now) * (double)(next - now);
	}
	near(sum / DRAWS, 50e6, 0.03);
	near(sqrt(squares / DRAWS - sum / DRAWS * sum / DRAWS) / (sum / DRAWS), 2.5, 0.05);
}

/* -- histogram -------------------------------------------------------------------- */

static void test_histogram_resolution(void **state)
{
	struct durations *h = calloc(1, sizeof(*h));

	(void)state;
	assert_non_null(h);
	for (uint64_t v = 1; v < DURATIONS_MAX / 3; v += v / 5 + 1) {
		/* Two far values keep the quantile from being cut to the least or the greatest
		 * value. */
		memset(h, 0, sizeof(*h));
		durations_add(h, 0);
		durations_add(h, v);
		durations_add(h, DURATIONS_MAX);
		near((double)durations_quantile(h, 0.5), (double)v, 0.004);
		if (v < 256)
			assert_int_equal(durations_quantile(h, 0.5), v);
	}
	free(h);
}

static void test_histogram_quantiles(void **state)
{
	struct durations *h = calloc(1, sizeof(*h)), *other = calloc(1, sizeof(*other));

	(void)state;
	assert_true(h && other);
	assert_int_equal(durations_quantile(h, 0.5), 0);
	assert_true(durations_mean(h) == 0);
	for (uint64_t i = 1; i <= 1000; i++)
		durations_add(i % 2 ? h : other, i * 1000);
	durations_merge(h, other);
	assert_int_equal(h->count, 1000);
	durations_add_many(h, 7, 0);
	assert_int_equal(h->min_ns, 1000);
	near(durations_mean(h), 500.5e3, 1e-12);
	assert_int_equal(h->min_ns, 1000);
	assert_int_equal(h->max_ns, 1000000);
	near((double)durations_quantile(h, 0.5), 500e3, 0.004);
	near((double)durations_quantile(h, 0.95), 950e3, 0.004);
	near((double)durations_quantile(h, 0.999), 999e3, 0.004);
	assert_int_equal(durations_quantile(h, 0), 1000);
	assert_int_equal(durations_quantile(h, 1), 1000000);
	/* Merging an empty histogram changes nothing, and merging into an empty one copies. */
	memset(other, 0, sizeof(*other));
	durations_merge(h, other);
	assert_int_equal(h->min_ns, 1000);
	durations_merge(other, h);
	assert_memory_equal(other, h, sizeof(*h));
	/* Adding many at once is the same as adding them one by one. */
	for (int i = 0; i < 5; i++)
		durations_add(h, 3000);
	durations_add_many(other, 3000, 5);
	assert_memory_equal(other, h, sizeof(*h));
	free(h);
	free(other);
}

static void test_histogram_ends(void **state)
{
	struct durations *h = calloc(1, sizeof(*h));

	(void)state;
	assert_non_null(h);
	durations_add(h, 0);
	assert_int_equal(durations_quantile(h, 0.5), 0);
	durations_add(h, UINT64_MAX);
	assert_int_equal(h->max_ns, DURATIONS_MAX);
	assert_int_equal(durations_quantile(h, 1), DURATIONS_MAX);
	free(h);
}

/* -- timers ----------------------------------------------------------------------- */

struct noted {
	struct load_timer timer;
	int number;
};

static int fired[2000];
static size_t fired_count;

static void note(struct load_timer *t)
{
	fired[fired_count++] = ((struct noted *)t)->number;
}

static void test_timers_in_order(void **state)
{
	static struct noted list[1000];
	struct load_timers t = {.fd = -1};
	struct rng r;
	size_t left = 0;

	(void)state;
	rng_init(&r, 11, 0, 0);
	fired_count = 0;
	for (int i = 0; i < 1000; i++) {
		list[i] = (struct noted){{.fire = note}, i};
		assert_int_equal(load_timer_set(&t, &list[i].timer, rng_next(&r) % 100), 0);
	}
	for (int i = 0; i < 1000; i += 3) /* some get another time, some are cleared */
		if (i % 2)
			load_timer_clear(&t, &list[i].timer);
		else
			assert_int_equal(load_timer_set(&t, &list[i].timer, rng_next(&r) % 100), 0);
	for (int i = 0; i < 1000; i++)
		left += list[i].timer.place > 0;
	assert_int_equal(left, t.heap.count);
	load_timers_run(&t, 49);
	for (size_t i = 0; i < fired_count; i++)
		assert_true(list[fired[i]].timer.at_ns <= 49);
	load_timers_run(&t, 100);
	assert_int_equal(fired_count, left);
	assert_int_equal(t.heap.count, 0);
	for (size_t i = 1; i < fired_count; i++) {
		const struct load_timer *a = &list[fired[i - 1]].timer, *b = &list[fired[i]].timer;

		assert_true(a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order));
	}
	load_timers_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_gamma),
		cmocka_unit_test(test_distributions),
		cmocka_unit_test(test_zipf),
		cmocka_unit_test(test_arrival_means),
		cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_even_arrivals),
		cmocka_unit_test(test_arrival_cv),
		cmocka_unit_test(test_histogram_resolution),
		cmocka_unit_test(test_histogram_quantiles),
		cmocka_unit_test(test_histogram_ends),
		cmocka_unit_test(test_timers_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
