/* SPDX-License-Identifier: Apache-2.0 */
/* A tenant's quota, by numbers: connections in flight, and a token bucket. */
#include "rule/quota.bpf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/base/hash.h"
#include "../../userspace/base/util.h"

static void test_connections(void **state)
{
	static const struct {
		uint64_t opened, closed;
		uint32_t most;
		bool full;
	} cases[] = {
		{0, 0, 0, false}, {9, 0, 0, false},         {1, 0, 2, false},
		{2, 0, 2, true},  {102, 100, 2, true},      {101, 100, 2, false},
		{0, 5, 1, false}, {0, UINT64_MAX, 1, true}, {UINT64_MAX, UINT64_MAX - 1, 2, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(quota_full(cases[i].opened, cases[i].closed, cases[i].most),
				 cases[i].full);
}

/* One connection at `now`, if it may come. */
static bool comes(const struct pintle_quota *q, uint64_t *due, uint64_t now)
{
	if (quota_early(q, *due, now))
		return false;
	*due = quota_next(q, *due, now);
	return true;
}

static uint32_t at_once(const struct pintle_quota *q, uint64_t *due, uint64_t now)
{
	uint32_t n = 0;

	while (n < 1000 && comes(q, due, now))
		n++;
	return n;
}

static void test_a_burst_and_then_one_each_interval(void **state)
{
	static const uint64_t clocks[] = {0, 1, 1ULL << 40, (1ULL << 63) - 5, UINT64_MAX - 300};
	const struct pintle_quota q = {.burst = 3, .interval_ns = 100};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		uint64_t now = clocks[i], due = now;

		assert_int_equal(at_once(&q, &due, now), 3);
		assert_false(comes(&q, &due, now + 99));
		assert_true(comes(&q, &due, now + 100));
		assert_false(comes(&q, &due, now + 100));
		assert_int_equal(at_once(&q, &due, now + 300), 2);
		/* Full again, and no fuller however long nothing comes. */
		assert_int_equal(at_once(&q, &due, now + 10000), 3);
	}
}

static void test_never_used(void **state)
{
	const struct pintle_quota q = {.burst = 1, .interval_ns = 3600 * NSEC_PER_SEC};
	uint64_t due = 0;

	(void)state;
	assert_int_equal(at_once(&q, &due, 0), 1);
	due = 0;
	assert_int_equal(at_once(&q, &due, 1ULL << 50), 1);
}

static void test_no_rate(void **state)
{
	const struct pintle_quota q = {.burst = 1};
	uint64_t due = 0;

	(void)state;
	assert_int_equal(at_once(&q, &due, 5), 1000);
}

/* The largest that the configuration takes. */
static void test_no_overflow(void **state)
{
	const struct pintle_quota q = {.burst = 100000, .interval_ns = 3600 * NSEC_PER_SEC};
	uint64_t due = 0, now = 1ULL << 50;

	(void)state;
	for (int i = 0; i < 100000; i++)
		assert_true(comes(&q, &due, now));
	assert_false(comes(&q, &due, now));
	assert_true(comes(&q, &due, now + q.interval_ns));
}

/* Connections that are counted without being judged are paid for later, but not for ever. */
static void test_debt(void **state)
{
	const struct pintle_quota q = {.burst = 2, .interval_ns = 100};
	uint64_t due = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		due = quota_next(&q, due, 5000);
	assert_int_equal(due, 5000 + 400);
	assert_false(comes(&q, &due, 5000 + 299));
	assert_true(comes(&q, &due, 5000 + 300));
}

/* A bucket of tokens, in the plainest way. */
static void test_as_a_bucket_of_tokens(void **state)
{
	(void)state;
	for (uint64_t run = 1; run <= 200; run++) {
		const struct pintle_quota q = {.burst = 1 + hash_mix(run) % 8,
					       .interval_ns = 1 + hash_mix(run << 20) % 50};
		uint64_t due = 0, now = 0, last = 0, credit = q.burst * q.interval_ns;

		for (uint64_t i = 0; i < 1000; i++) {
			bool has;

			now += hash_mix(run << 32 | i) % 60;
			credit = MIN(credit + (now - last), q.burst * q.interval_ns);
			last = now;
			has = credit >= q.interval_ns;
			if (has)
				credit -= q.interval_ns;
			assert_int_equal(comes(&q, &due, now), has);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_a_burst_and_then_one_each_interval),
		cmocka_unit_test(test_never_used),
		cmocka_unit_test(test_no_rate),
		cmocka_unit_test(test_no_overflow),
		cmocka_unit_test(test_debt),
		cmocka_unit_test(test_as_a_bucket_of_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
