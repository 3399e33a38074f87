// SPDX-License-Identifier: Apache-2.0
/* The buckets of times, and percentiles of the last minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/minute.h"
#include "buckets.bpf.h"
#include "support_random.h"

#define SEC   NSEC_PER_SEC
#define START (1000 * SEC)

/* The bucket by looking at one bound after the other. */
static uint32_t bucket_plainly(uint32_t us)
{
	uint32_t i = 0;

	while (i < PINTLE_BUCKETS - 1 && bucket_bound_us(i) < us)
		i++;
	return i;
}

static void test_each_time_has_its_bucket(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < PINTLE_BUCKETS - 1; i++) {
		assert_int_equal(bucket_of(bucket_bound_us(i)), i);
		assert_int_equal(bucket_of(bucket_bound_us(i) + 1), i + 1);
		assert_true(!i || bucket_bound_us(i) > bucket_bound_us(i - 1));
		assert_true(!i || bucket_bound_us(i) * 1.0 <= 1.075 * bucket_bound_us(i - 1));
	}
	assert_int_equal(bucket_of(0), 0);
	assert_int_equal(bucket_of(UINT32_MAX), PINTLE_BUCKETS - 1);
	for (uint64_t i = 0; i < 100000; i++) {
		uint32_t us = (uint32_t)(random_at(2 * i) >> (32 + random_at(2 * i + 1) % 32));

		assert_int_equal(bucket_of(us), bucket_plainly(us));
	}
}

/* Those of tenants are each fourth bound, up to 80 s. */
static void test_tenants_buckets(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++) {
		uint32_t n = tenant_bucket_of(i);

		assert_true(n < PINTLE_TENANT_BUCKETS);
		assert_true(n == PINTLE_TENANT_BUCKETS - 1 || i <= 4 * n);
		assert_true(!n || i > 4 * (n - 1));
	}
	assert_int_equal(bucket_bound_us(4 * (PINTLE_TENANT_BUCKETS - 2)), 80000000);
}

static void test_each_size_has_its_bucket(void **state)
{
	uint32_t bound = 256;

	(void)state;
	assert_int_equal(size_bucket(0), 0);
	for (uint32_t i = 0; i < PINTLE_SIZES - 1; i++, bound *= 4) {
		assert_int_equal(SIZE_BOUND(i), bound);
		assert_int_equal(size_bucket(bound), i);
		assert_int_equal(size_bucket(bound + 1), i + 1);
	}
	assert_int_equal(size_bucket(UINT32_MAX), PINTLE_SIZES - 1);
}

static void test_bounds(void **state)
{
	static const uint32_t usual[] = {1000,    10000,   40000,   100000,  250000,   500000,
					 1000000, 2500000, 5000000, 7500000, 10000000, 100000000};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		assert_int_equal(bucket_bound_us(bucket_of(usual[i])), usual[i]);
	assert_int_equal(bucket_bound_us(PINTLE_BUCKETS - 1), UINT32_MAX);
}

static void test_quantiles(void **state)
{
	__u64 b[PINTLE_BUCKETS] = {0};

	(void)state;
	assert_int_equal(bucket_quantile(b, 0.5), 0);
	for (uint32_t ms = 1; ms <= 1000; ms++)
		b[bucket_of(1000 * ms)]++;
	for (int percent = 5; percent < 100; percent++) {
		double found = bucket_quantile(b, percent / 100.0), right = 10000.0 * percent;

		assert_true(found > 0.97 * right && found < 1.03 * right);
	}
	memset(b, 0, sizeof(b));
	b[PINTLE_BUCKETS - 1] = 3;
	assert_int_equal(bucket_quantile(b, 0.95), 100000000);
	memset(b, 0, sizeof(b));
	b[0] = 1;
	assert_int_equal(bucket_quantile(b, 1), 1000);
}

static bool about(uint32_t us, uint32_t right)
{
	return us > right - right / 20 && us < right + right / 20;
}

static void test_the_last_minute(void **state)
{
	__u64 b[PINTLE_BUCKETS] = {[3] = 1000};
	uint64_t now = START;
	struct minute m = {0};

	(void)state;
	minute_look(&m, b, now); /* what was before does not count */
	assert_int_equal(m.count, 0);
	assert_int_equal(m.p95_us, 0);
	for (int second = 0; second < 60; second++) {
		b[bucket_of(20000)] += 9;
		b[bucket_of(900000)]++;
		minute_look(&m, b, now += SEC);
	}
	assert_int_equal(m.count, 600);
	assert_true(about(m.p50_us, 20000) && about(m.p95_us, 900000));
	for (int second = 0; second < 71; second++) {
		b[bucket_of(300000)]++;
		minute_look(&m, b, now += SEC);
	}
	assert_in_range(m.count, 60, 70);
	assert_true(about(m.p50_us, 300000) && about(m.p95_us, 300000));
	minute_look(&m, b, now + 1);
	assert_in_range(m.count, 60, 70);
}

static void test_after_a_pause(void **state)
{
	__u64 b[PINTLE_BUCKETS] = {0};
	uint64_t now = START;
	struct minute m = {0};

	(void)state;
	minute_look(&m, b, now);
	b[50] = 5;
	minute_look(&m, b, now += SEC);
	assert_int_equal(m.count, 5);
	minute_look(&m, b, now += 35 * SEC);
	assert_int_equal(m.count, 5);
	minute_look(&m, b, now += 600 * SEC);
	minute_look(&m, b, now += 600 * SEC);
	assert_int_equal(m.count, 0);
}

/* It is known that there was nothing before. */
static void test_begins_empty(void **state)
{
	__u64 b[PINTLE_BUCKETS] = {[9] = 4};
	struct minute m;

	(void)state;
	minute_begin(&m, START);
	minute_look(&m, b, START + 1);
	assert_int_equal(m.count, 0); /* within a second of the beginning */
	minute_look(&m, b, START + SEC);
	assert_int_equal(m.count, 4);
}

/* The endpoint's id was given to another one. */
static void test_another_histogram(void **state)
{
	__u64 b[PINTLE_BUCKETS] = {[7] = 50};
	uint64_t now = START;
	struct minute m = {0};

	(void)state;
	minute_look(&m, b, now);
	b[7] += 5;
	minute_look(&m, b, now += SEC);
	b[7] = 2;
	minute_look(&m, b, now += SEC);
	assert_int_equal(m.count, 0);
	b[7] = 3;
	minute_look(&m, b, now += SEC);
	assert_int_equal(m.count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_time_has_its_bucket),
		cmocka_unit_test(test_tenants_buckets),
		cmocka_unit_test(test_each_size_has_its_bucket),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_the_last_minute),
		cmocka_unit_test(test_after_a_pause),
		cmocka_unit_test(test_begins_empty),
		cmocka_unit_test(test_another_histogram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
