/* SPDX-License-Identifier: Apache-2.0 */
/* The map `history`: what the daemon writes, what readers make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support_pins.h"

#include "../../userspace/maps/state_history.h"
#include "../../userspace/pintled/observe/history.h"

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
	const struct ground ground = {.loop = &d->loop, .netns_fd = -1, .maps = p->m};

	assert_int_equal(uv_loop_init(&d->loop), 0);
	assert_int_equal(poller_new(&ground, &d->poller), 0);
	assert_int_equal(keeper_new(&ground, d->poller, &d->keeper), 0);
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

/* Of tenants, those with most connections; of these, the times of those that were answered. */
static void test_tenants(void **state)
{
	const struct pins *p = *state;
	struct pintle_affinity_key key = {
		.pool = LLAMA, .pool_generation = LLAMA_GEN, .session.kind = PINTLE_KEY_SOURCE};
	struct pintle_tenant tenant = {0};
	struct pintle_tenant_firsts firsts = {0};
	struct pintle_pool pool;
	struct history *h;
	struct daemon d;

	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
	pool.tenant_key = PINTLE_KEY_SOURCE;
	pins_at(p, MAP_pools, LLAMA, &pool);
	for (uint8_t i = 0; i < 30; i++) {
		key.session.id[15] = i;
		tenant.opened = i;
		pins_set(p, MAP_tenants, &key, &tenant);
		firsts.answers = i % 3 ? i : 0;
		firsts.waited_ns = i * 1000ULL;
		firsts.bucket[7] = firsts.answers;
		pins_set(p, MAP_tenant_firsts, &key, &firsts);
	}
	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	/* the tenants, and 16 of the 24 that have most connections: three a part */
	assert_int_equal(entries(p), 2 * 3 + 1 + 6);
	h = read_pool(p, "llama-8b");
	assert_int_equal(h->count, 2);
	for (size_t k = 0; k < h->count; k++) {
		assert_int_equal(h->all[k].tenant_count, 24);
		assert_int_equal(h->all[k].wait_count, 16);
		for (size_t i = 0; i < h->all[k].wait_count; i++) {
			const struct pintle_moment_wait *w = &h->all[k].waits[i];

			assert_true(w->tenant.id[15] >= 6 && w->tenant.id[15] % 3);
			assert_int_equal(w->answers, w->tenant.id[15]);
			assert_int_equal(w->waited_ns, w->tenant.id[15] * 1000);
			assert_int_equal(w->bucket[7], w->tenant.id[15]);
		}
	}
	history_free(h);
	daemon_end(&d);
}

static void test_servers_that_speak_tls(void **state)
{
	const struct pins *p = *state;
	static struct config_endpoint server = {.metrics_own = true,
						.metrics_url = (char *)"https://10.1.0.1:8000/m"};
	struct history *h;
	struct daemon d;

	pools[0].endpoints = &server;
	pools[0].endpoint_count = 1;
	daemon_begin(p, &d);
	keeper_tend(d.keeper, &config, &publication);
	pools[0].endpoint_count = 0;
	for (int k = 0; k < 2; k++) {
		h = read_pool(p, k ? "qwen" : "llama-8b");
		assert_int_equal(h->count, 2);
		for (size_t i = 0; i < h->count; i++)
			assert_int_equal(h->all[i].pool.flags, k ? 0 : PINTLE_MOMENT_SEALED);
		history_free(h);
	}
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
			key = (struct pintle_moment_key){LLAMA, LLAMA_GEN, random % 7, random % 48,
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
		pins_test(test_tenants),
		pins_test(test_servers_that_speak_tls),
		pins_test(test_a_mode_that_changed_without_a_daemon),
		pins_test(test_a_restart),
		pins_test(test_half_a_moment),
		pins_test(test_garbage),
		pins_test(test_it_is_bounded),
	};

	return cmocka_run_group_tests(tests, pins_setup, pins_teardown);
}
