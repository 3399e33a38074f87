/* SPDX-License-Identifier: Apache-2.0 */
/* The map `history`: what the daemon writes, what readers make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support_pins.h"

#include "../../userspace/maps/state_history.h"
#include "../../userspace/pintled/history.h"

static struct config_pool pools[] = {{.name = "llama-8b", .mode = PINTLE_MODE_ENFORCE},
				     {.name = "qwen", .mode = PINTLE_MODE_BASELINE}};
static const struct config config = {.pools = pools, .pool_count = 2};
static struct published_pool published[] = {{.ref = {LLAMA, LLAMA_GEN}}, {.ref = {QWEN, QWEN_GEN}}};
static struct publication publication = {.pools = published, .pool_count = 2};

struct daemon {
	uv_loop_t loop;
	struct poller *poller;
	struct keeper *keeper;
};

static void daemon_begin(const struct pins *p, struct daemon *d)
{
	assert_int_equal(uv_loop_init(&d->loop), 0);
	assert_int_equal(poller_new(&d->loop, -1, p->m, &d->poller), 0);
	assert_int_equal(keeper_new(p->m, d->poller, &d->keeper), 0);
}

static void daemon_end(struct daemon *d)
{
	keeper_free(d->keeper);
	poller_free(d->poller);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&d->loop), 0);
}

static struct history *read_pool(const struct pins *p, const char *name)
{
	_cleanup_(state_freep) struct state *s = NULL;
	struct history *h = NULL;

	assert_int_equal(state_read(p->m, &s), 0);
	for (size_t i = 0; i < s->pool_count; i++)
		if (!strcmp(s->pools[i].name, name))
			assert_int_equal(history_read(p->m, s, &s->pools[i], 0, &h), 0);
	assert_non_null(h);
	return h;
}

static size_t entries(const struct pins *p)
{
	char key[sizeof(struct pintle_moment_key)], *at = NULL;
	size_t n = 0;

	for (; !bpf_map_get_next_key(p->m->fd[MAP_history], at, key); at = key)
		n++;
	return n;
}

static void mode_set(const struct pins *p, uint32_t mode)
{
	struct pintle_override o = {.generation = LLAMA_GEN,
				    .flags = PINTLE_OVERRIDE_MODE,
				    .mode = mode,
				    .since_ns = monotonic_ns()};

	pins_at(p, MAP_overrides, LLAMA, &o);
}

static void test_a_moment_when_the_mode_changes(void **state)
{
	const struct pins *p = *state;
	struct daemon d;
	struct history *h;

	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	/* each pool: its counts, its only class, its endpoints */
	assert_int_equal(entries(p), 2 * 3);
	keeper_tend(d.keeper, &config, &publication);
	assert_int_equal(entries(p), 2 * 3);

	pins_decisions(p, LLAMA, PINTLE_OUTCOME_STICKY, 65);
	mode_set(p, PINTLE_MODE_SHADOW);
	keeper_tend(d.keeper, &config, &publication);
	keeper_tend(d.keeper, &config, &publication);
	assert_int_equal(entries(p), 3 * 3);
	h = read_pool(p, "llama-8b");
	assert_int_equal(h->count, 3);
	assert_int_equal(h->all[1].pool.mode, PINTLE_MODE_ENFORCE);
	assert_int_equal(h->all[1].pool.next, PINTLE_MODE_SHADOW);
	assert_int_equal(h->all[2].pool.mode, PINTLE_MODE_SHADOW);
	assert_int_equal(h->all[0].pool.decisions[PINTLE_OUTCOME_STICKY], 60);
	assert_int_equal(h->all[1].pool.decisions[PINTLE_OUTCOME_STICKY], 65);
	assert_int_equal(h->all[1].endpoint_count, 6);
	assert_int_equal(h->all[1].endpoints[0].placed, 75);
	assert_int_equal(h->all[1].classes[0].placed, 100);
	history_free(h);
	daemon_end(&d);
}

/* Nobody knows when the mode changed: what came meanwhile belongs to neither. */
static void test_a_mode_that_changed_without_a_daemon(void **state)
{
	const struct pins *p = *state;
	struct daemon d;
	struct history *h;

	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	daemon_end(&d);
	mode_set(p, PINTLE_MODE_SHADOW);
	pins_decisions(p, LLAMA, PINTLE_OUTCOME_STICKY, 65);
	h = read_pool(p, "llama-8b");
	assert_int_equal(h->count, 2);
	assert_int_equal(h->all[1].pool.mode, PINTLE_MODE_COUNT);
	history_free(h);

	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	h = read_pool(p, "llama-8b");
	assert_int_equal(h->count, 3);
	assert_int_equal(h->all[1].pool.mode, PINTLE_MODE_COUNT);
	assert_int_equal(h->all[1].pool.next, PINTLE_MODE_SHADOW);
	history_free(h);
	daemon_end(&d);
}

/* A daemon that starts finds what the former one wrote, and goes on. */
static void test_a_restart(void **state)
{
	const struct pins *p = *state;
	struct daemon d;
	struct history *h;

	for (int i = 0; i < 3; i++) {
		daemon_begin(p, &d);
		keeper_tend(d.keeper, &config, &publication);
		assert_int_equal(entries(p), 2 * 3);
		daemon_end(&d);
	}
	h = read_pool(p, "qwen");
	assert_int_equal(h->count, 2);
	assert_int_equal(h->all[1].pool.mode, PINTLE_MODE_BASELINE);
	history_free(h);
}

/* The daemon was killed while it wrote a moment: the part of the pool is missing. */
static void test_half_a_moment(void **state)
{
	const struct pins *p = *state;
	struct pintle_moment_key key = {LLAMA, LLAMA_GEN, 1000, PINTLE_PART_CLASS, 0};
	struct pintle_moment v;
	struct history *h;
	struct daemon d;

	memset(&v, 0xa5, sizeof(v));
	pins_set(p, MAP_history, &key, &v);
	h = read_pool(p, "llama-8b");
	assert_int_equal(h->count, 1);
	history_free(h);
	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	daemon_end(&d);
	h = read_pool(p, "llama-8b");
	assert_int_equal(h->count, 2);
	history_free(h);
}

/* Whatever stands in the map, readers and daemons stay within their memory. */
static void test_garbage(void **state)
{
	const struct pins *p = *state;
	uint32_t random = 1;
	struct daemon d;

	for (int i = 0; i < 2000; i++) {
		struct pintle_moment_key key;
		struct pintle_moment v;

		for (size_t k = 0; k < sizeof(v); k++) {
			random = random * 1103515245 + 12345;
			((unsigned char *)&v)[k] = (unsigned char)(random >> 16);
		}
		key = (struct pintle_moment_key){random >> 8, random, random, random >> 20, 0};
		if (i % 2)
			key = (struct pintle_moment_key){LLAMA, LLAMA_GEN, random % 7, random % 16,
							 0};
		pins_set(p, MAP_history, &key, &v);
	}
	history_free(read_pool(p, "llama-8b"));
	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	daemon_end(&d);
	history_free(read_pool(p, "llama-8b"));
}

/* The map is full: the oldest entries make room. What is older than a day goes anyway. */
static void test_it_is_bounded(void **state)
{
	const struct pins *p = *state;
	uint64_t now = monotonic_ns();
	struct pintle_moment_key key = {.pool = LLAMA, .pool_generation = LLAMA_GEN, .part = 1};
	static const struct pintle_moment v;
	struct pintle_moment got;
	struct daemon d;

	for (uint32_t i = 0; i < PINTLE_MAX_MOMENTS; i++) {
		key.time_ns = now - PINTLE_MAX_MOMENTS + i;
		pins_set(p, MAP_history, &key, &v);
	}
	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	assert_int_equal(entries(p), PINTLE_MAX_MOMENTS);
	for (uint64_t i = 0; i < 7; i++) {
		key.time_ns = now - PINTLE_MAX_MOMENTS + i;
		assert_int_equal(bpf_map_lookup_elem(p->m->fd[MAP_history], &key, &got) != 0,
				 i < 6);
	}
	daemon_end(&d);

	pins_fill(p);
	key.time_ns = now - PINTLE_HISTORY_NS - 1;
	pins_set(p, MAP_history, &key, &v);
	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	assert_int_equal(entries(p), 2 * 3);
	daemon_end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pins_test(test_a_moment_when_the_mode_changes),
		pins_test(test_a_mode_that_changed_without_a_daemon),
		pins_test(test_a_restart),
		pins_test(test_half_a_moment),
		pins_test(test_garbage),
		pins_test(test_it_is_bounded),
	};

	return cmocka_run_group_tests(tests, pins_setup, pins_teardown);
}
