// SPDX-License-Identifier: Apache-2.0
/* The table of sessions that are classified: who goes when there is no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/session_table.h"

#define MOST  64
#define SHARE 16

/* Those that went, in their order. */
static struct {
	uint32_t pools[4096];
	size_t count;
} gone;

static void on_gone(void *arg, const struct session *s)
{
	(void)arg;
	assert_true(gone.count < ARRAY_SIZE(gone.pools));
	gone.pools[gone.count++] = s->key.pool;
}

static struct pintle_affinity_key key_of(uint32_t n)
{
	return (struct pintle_affinity_key){.pool = n, .pool_generation = 1};
}

static struct session *use(struct session_table *t, uint32_t n, uint64_t client)
{
	struct pintle_affinity_key key = key_of(n);

	return session_table_use(t, &key, client);
}

static struct session_table *make(void)
{
	struct session_table *t = session_table_new(MOST, SHARE, 7, on_gone, NULL);

	assert_non_null(t);
	gone.count = 0;
	return t;
}

static void test_finds_again(void **state)
{
	struct session_table *t = make();
	struct session *s = use(t, 1, 9);

	(void)state;
	assert_int_equal(s->is, CLASSIFY_UNKNOWN);
	s->is = CLASSIFY_BATCH;
	assert_ptr_equal(use(t, 1, 9), s);
	assert_ptr_not_equal(use(t, 2, 9), s);
	assert_int_equal(use(t, 1, 10)->is, CLASSIFY_BATCH); /* whichever client comes with it */
	assert_int_equal(session_table_count(t), 2);
	assert_int_equal(gone.count, 0);
	session_table_free(t);
	assert_int_equal(gone.count, 0);
}

/* A client with more sessions than its share loses its own oldest ones. */
static void test_a_share(void **state)
{
	struct session_table *t = make();

	(void)state;
	use(t, 1000, 1);
	for (uint32_t n = 0; n < SHARE; n++)
		use(t, n, 2);
	assert_int_equal(gone.count, 0);
	use(t, 0, 2); /* now the newest */
	for (uint32_t n = 0; n < 3; n++)
		use(t, 100 + n, 2);
	assert_int_equal(gone.count, 3);
	for (uint32_t n = 0; n < 3; n++)
		assert_int_equal(gone.pools[n], 1 + n);
	assert_int_equal(session_table_count(t), 1 + SHARE);
	session_table_free(t);
}

/* A thousand sessions of one client take nothing from others. */
static void test_a_flood(void **state)
{
	struct session_table *t = make();

	(void)state;
	for (uint32_t n = 0; n < 3; n++)
		use(t, 5000 + n, 10 + n)->is = n;
	for (uint32_t n = 0; n < 1000; n++)
		use(t, n, 1);
	for (size_t i = 0; i < gone.count; i++)
		assert_true(gone.pools[i] < 5000);
	for (uint32_t n = 0; n < 3; n++)
		assert_int_equal(use(t, 5000 + n, 10 + n)->is, n);
	assert_int_equal(session_table_count(t), 3 + SHARE);
	session_table_free(t);
}

static void test_full(void **state)
{
	struct session_table *t = make();

	(void)state;
	for (uint32_t n = 0; n < MOST; n++)
		use(t, n, n);
	use(t, 0, 0);
	use(t, MOST, MOST);
	assert_int_equal(session_table_count(t), MOST);
	assert_int_equal(gone.count, 1);
	assert_int_equal(gone.pools[0], 1);
	/* Its only session goes for the same client's next one. */
	for (uint32_t n = 0; n < 2 * MOST; n++)
		use(t, 200 + n, n % 5);
	assert_int_equal(session_table_count(t), MOST);
	session_table_free(t);
}

static bool is_odd(void *arg, const struct session *s)
{
	(void)arg;
	return s->key.pool % 2;
}

static void test_drop(void **state)
{
	struct session_table *t = make();

	(void)state;
	for (uint32_t n = 0; n < 10; n++)
		use(t, n, n / 4);
	session_table_drop(t, is_odd, NULL);
	assert_int_equal(session_table_count(t), 5);
	assert_int_equal(gone.count, 5);
	session_table_free(t);
}

/* Never more than there may be, of all and of each client. */
static void test_at_random(void **state)
{
	struct session_table *t = make();
	static uint32_t owner[300];
	size_t of[8] = {0};

	(void)state;
	memset(owner, 0, sizeof(owner));
	for (int i = 0; i < 3000; i++) {
		uint32_t n = (uint32_t)(random() % (long)ARRAY_SIZE(owner));
		uint32_t client = (uint32_t)(random() % 8);
		size_t before = session_table_count(t), went = gone.count;

		if (gone.count > ARRAY_SIZE(gone.pools) - 2)
			gone.count = went = 0;
		use(t, n, client);
		if (!owner[n]) {
			owner[n] = 1 + client;
			of[client]++;
			before++;
		}
		for (; went < gone.count; went++) {
			of[owner[gone.pools[went]] - 1]--;
			owner[gone.pools[went]] = 0;
			before--;
		}
		assert_int_equal(session_table_count(t), before);
		assert_true(before <= MOST);
		assert_true(of[client] <= SHARE);
	}
	session_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_again), cmocka_unit_test(test_a_share),
		cmocka_unit_test(test_a_flood),     cmocka_unit_test(test_full),
		cmocka_unit_test(test_drop),        cmocka_unit_test(test_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
