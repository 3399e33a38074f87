/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants in the kernel: quotas that hold on all CPUs at once, and a map that is full. unit/quota
 * tests the numbers. */
#define PROGRAMS "pintle_lookup", "pintle_tenant"
#include "support_world.h"

#include <pthread.h>

#include "rule/quota.bpf.h"

static struct pintle_affinity_key tenant(uint64_t id)
{
	struct pintle_affinity_key key = {.pool = POOL, .pool_generation = POOL_GEN};

	if (!id)
		return key;
	key.session.kind = PINTLE_KEY_NAMESPACE;
	key.session.prefix_bits = 128;
	memcpy(key.session.id, &id, sizeof(id));
	return key;
}

static void quota_is(uint64_t id, struct pintle_quota quota)
{
	struct pintle_affinity_key key = tenant(id);

	put(quotas, key, &quota);
}

static void others_are(void)
{
	struct pintle_affinity_key key = tenant(0);
	struct pintle_tenant none = {0};

	put(tenants, key, &none);
}

static struct pintle_tenant read_tenant(uint64_t id)
{
	struct pintle_affinity_key key = tenant(id);
	struct pintle_tenant n = {0};

	bpf_map_lookup_elem(map_fd(tenants), &key, &n);
	return n;
}

static void run_case(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.pintle_tenant), &opts), 0);
}

/* How many of so many connections are let in. */
static uint64_t enter(uint64_t id, uint32_t count, uint64_t now, bool judge)
{
	w.skel->bss->tenant_case =
		(struct tenant_case){.key = tenant(id), .count = count, .now = now, .judge = judge};
	run_case();
	return w.skel->bss->tenant_case.in;
}

static void test_the_default_and_a_rule(void **state)
{
	(void)state;
	others_are();
	quota_is(0, (struct pintle_quota){.connections = 3, .burst = 1});
	quota_is(8, (struct pintle_quota){.connections = 5, .burst = 1});
	assert_int_equal(enter(7, 64, 1, true), 3);
	assert_int_equal(w.skel->bss->tenant_case.over, 1);
	assert_int_equal(enter(8, 64, 1, true), 5);
	assert_int_equal(enter(9, 1, 1, true), 1);
	assert_int_equal(w.skel->bss->tenant_case.over, 0);
	assert_int_equal(read_tenant(7).opened - read_tenant(7).closed, 3);
	assert_int_equal(read_tenant(7).refused, 61 + 1);
}

static void test_without_a_quota_nothing_counts(void **state)
{
	(void)state;
	assert_int_equal(enter(7, 64, 1, true), 64);
	assert_int_equal(read_tenant(7).opened, 0);
}

/* What is not judged is let in, and paid for later. */
static void test_established_connections(void **state)
{
	(void)state;
	others_are();
	quota_is(0, (struct pintle_quota){.burst = 2, .interval_ns = 100});
	assert_int_equal(enter(7, 10, 1000, false), 10);
	assert_int_equal(w.skel->bss->tenant_case.over, 1);
	assert_int_equal(enter(7, 1, 1299, true), 0);
	assert_int_equal(enter(7, 1, 1300, true), 1);
}

/* Whoever comes when there is no room for an entry is not held to a quota, but counted; those who
 * have one keep it. */
static void test_a_map_that_is_full(void **state)
{
	uint64_t id = 1;

	(void)state;
	others_are();
	quota_is(0, (struct pintle_quota){.connections = 1, .burst = 1});
	assert_int_equal(enter(1, 1, 1, true), 1);
	while (read_tenant(id).opened) {
		id++;
		enter(id, 1, 1, true);
	}
	assert_int_equal(id, PINTLE_MAX_TENANTS); /* one entry is the others' */
	assert_int_equal(read_tenant(0).opened, 1);
	assert_int_equal(enter(id, 10, 1, true), 10);
	assert_int_equal(read_tenant(0).opened, 11);
	assert_int_equal(enter(1, 1, 1, true), 0);
}

#define THREADS 4
#define ROUNDS  200

static void *hammer(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		run_case();
	return arg;
}

/* A burst on all CPUs never gets more than the quota. */
static void test_all_at_once(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	others_are();
	quota_is(7, (struct pintle_quota){.connections = 1000, .burst = 700, .interval_ns = 1000});
	quota_is(8, (struct pintle_quota){.connections = 900, .burst = 1});
	for (uint64_t id = 7; id <= 8; id++) {
		w.skel->bss->tenant_case =
			(struct tenant_case){.key = tenant(id), .count = 8, .now = 5, .judge = 1};
		for (size_t i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
		for (size_t i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(read_tenant(id).opened - read_tenant(id).closed,
				 id == 7 ? 700 : 900);
		assert_int_equal(w.skel->bss->tenant_case.in, id == 7 ? 700 : 900);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_the_default_and_a_rule),
		world_test(test_without_a_quota_nothing_counts),
		world_test(test_established_connections),
		world_test(test_a_map_that_is_full),
		world_test(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
