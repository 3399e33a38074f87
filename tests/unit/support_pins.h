/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support_pins.h - Pintle's own maps in the kernel, filled as a daemon would leave them, and pinned
 * in a private bpffs. Everything ends with the test's process.
 *
 *	llama-8b  enforce, 10.77.0.1:8000 (announced), [fd77::1]:8000
 *	  gpu0  ready        gpu1  saturated      gpu2  unsteerable: mptcp
 *	  gpu3  stale        gpu4  down           gpu5  waiting, takes IPv4 only
 *	qwen      baseline, FailClose, 10.78.0.0/24:9000
 *	  gpu0  ready
 */
#ifndef PINTLE_TESTS_SUPPORT_PINS_H
#define PINTLE_TESTS_SUPPORT_PINS_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "../../userspace/maps/maps.h"
#include "../../userspace/net/netns.h"
#include "../../userspace/pintled/attach/skeleton.h"
#include "../../userspace/maps/state.h"
#include "../../userspace/base/util.h"
#include "rule/eligible.bpf.h"
#include "pintle.skel.h"
#include "support_netns.h"

#define PINS_BPFFS "/mnt/pintle"
#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define PINS_DIR   PINS_BPFFS "/v" STRING(PINTLE_ABI_VERSION)

#define LLAMA     0 /* pool ids and generations */
#define LLAMA_GEN 5
#define QWEN      3
#define QWEN_GEN  7
#define GEN(e)    (100 + (e)) /* of endpoint ids */
#define QWEN_GPU0 9           /* its endpoint's id */

#define HOURS(n) ((uint64_t)((n)*3600 * 1e9))

struct pins {
	struct pintle_bpf *skel;
	struct maps *m; /* open for writing */
};

/* ---- the maps -------------------------------------------------------------------- */

static inline void pins_mount(void)
{
	assert_int_equal(unshare(CLONE_NEWNS | CLONE_NEWNET), 0);
	set_lo(true);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("bpf", "/mnt", "bpf", 0, "mode=0755"), 0);
}

/* Programs are loaded only for tests that run one. */
static inline void pins_load(struct pins *p, bool programs)
{
	struct bpf_program *program;
	struct bpf_map *map;

	p->skel = skeleton_open();
	assert_non_null(p->skel);
	bpf_object__for_each_program(program, p->skel->obj)
	{
		bpf_program__set_autoload(program, programs);
	}
	assert_int_equal(pintle_bpf__load(p->skel), 0);
	assert_int_equal(mkdir(PINS_BPFFS, 0750), 0);
	assert_int_equal(mkdir(PINS_DIR, 0750), 0);
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		char path[128];

		map = bpf_object__find_map_by_name(p->skel->obj, map_names[id]);
		assert_non_null(map);
		snprintf(path, sizeof(path), PINS_DIR "/%s", map_names[id]);
		assert_int_equal(bpf_map__pin(map, path), 0);
		assert_int_equal(chmod(path, 0640), 0);
	}
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_WRITE, &p->m), 0);
}

static inline void pins_remove(struct pins *p)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		char path[128];

		snprintf(path, sizeof(path), PINS_DIR "/%s", map_names[id]);
		unlink(path);
	}
	rmdir(PINS_DIR);
	rmdir(PINS_BPFFS);
	maps_close(p->m);
	pintle_bpf__destroy(p->skel);
	*p = (struct pins){0};
}

static inline void pins_set(const struct pins *p, enum map_id id, const void *key,
			    const void *value)
{
	assert_int_equal(bpf_map_update_elem(p->m->fd[id], key, value, BPF_ANY), 0);
}

static inline void pins_at(const struct pins *p, enum map_id id, uint32_t index, const void *value)
{
	pins_set(p, id, &index, value);
}

static inline void pins_zero(const struct pins *p)
{
	static const char zeros[16384];

	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		uint32_t type = map_layouts[id].type;
		char key[512];

		for (uint32_t n = 0; type == BPF_MAP_TYPE_ARRAY && n < map_layouts[id].entries; n++)
			pins_at(p, id, n, zeros);
		if (type != BPF_MAP_TYPE_HASH && type != BPF_MAP_TYPE_LRU_HASH &&
		    type != BPF_MAP_TYPE_LPM_TRIE)
			continue;
		while (!bpf_map_get_next_key(p->m->fd[id], NULL, key))
			assert_int_equal(bpf_map_delete_elem(p->m->fd[id], key), 0);
	}
}

/* ---- what a daemon would write --------------------------------------------------- */

static inline void pins_name(const struct pins *p, uint32_t slot, uint32_t generation,
			     const char *name)
{
	struct pintle_name n = {.generation = generation};

	snprintf(n.name, sizeof(n.name), "%s", name);
	pins_at(p, MAP_names, slot, &n);
}

static inline void pins_frontend(const struct pins *p, const char *text, uint32_t pool,
				 uint32_t generation, uint32_t flags)
{
	struct pintle_frontend_key key = {.protocol = IPPROTO_TCP};
	struct pintle_frontend value = {pool, generation, PINTLE_HOOK_LOOKUP, flags, 128};
	struct frontend_addr a;

	assert_int_equal(addr_parse_frontend(text, &a, NULL), 0);
	key.prefixlen = PINTLE_FRONTEND_FIXED_BITS + a.prefix_bits;
	key.port = a.port;
	memcpy(key.address, a.prefix.bytes, sizeof(key.address));
	pins_set(p, MAP_frontends, &key, &value);
}

/* A key that was set `ago` before now; ago 0: the setting was taken back. */
static inline void pins_setting(const struct pins *p, const char *pool, const char *name,
				const char *value, uint64_t ago,
				const struct pintle_verdict *verdict)
{
	struct pintle_setting_key key = {0};
	struct pintle_setting setting = {.set_ns = monotonic_ns() - ago};
	struct pintle_verdict v;

	snprintf(key.pool, sizeof(key.pool), "%s", pool);
	snprintf(key.key, sizeof(key.key), "%s", name);
	snprintf(setting.value, sizeof(setting.value), "%s", value);
	if (ago)
		pins_set(p, MAP_settings, &key, &setting);
	if (!verdict)
		return;
	v = *verdict;
	v.set_ns = v.set_ns ? v.set_ns : setting.set_ns;
	pins_set(p, MAP_verdicts, &key, &v);
}

struct pins_endpoint {
	uint32_t id, pool, pool_generation;
	const char *name, *listen;
	struct pintle_score score; /* generation is filled in; scraped_ns: how long ago, 0 never */
	struct pintle_health health; /* listening_since_ns: how long ago, 0 never */
	struct pintle_counters counters;
};

static inline void pins_endpoint(const struct pins *p, const struct pins_endpoint *from)
{
	struct pins_endpoint e = *from;
	uint64_t now = monotonic_ns();
	struct endpoint_addr a;
	struct pintle_endpoint value = {.generation = GEN(e.id),
					.pool_generation = e.pool_generation};
	struct pintle_inflight f = {.by_class[0] = e.counters};

	assert_int_equal(addr_parse_endpoint(e.listen, &a, NULL), 0);
	value.pool = e.pool;
	value.flags = a.any_ip ? PINTLE_ENDPOINT_ANY_ADDRESS : 0;
	value.port = a.port;
	memcpy(value.address, a.ip.bytes, sizeof(value.address));
	e.score.generation = GEN(e.id);
	/* "Ago" may be before the machine was booted: such times wrap, and their age still comes
	 * out right, but which of two was first does not. So what was first was so by 1 ns. */
	if (e.score.scraped_ns && e.health.listening_since_ns > e.score.scraped_ns)
		e.health.listening_since_ns = e.score.scraped_ns + 1;
	if (e.score.scraped_ns)
		e.score.scraped_ns = now - e.score.scraped_ns;
	if (e.health.listening_since_ns)
		e.health.listening_since_ns = now - e.health.listening_since_ns;
	pins_name(p, PINTLE_ENDPOINT_SLOT(e.id), GEN(e.id), e.name);
	pins_at(p, MAP_endpoints, e.id, &value);
	pins_at(p, MAP_scores, e.id, &e.score);
	pins_at(p, MAP_inflight, e.id, &f);
	pins_at(p, MAP_health, e.id, &e.health);
}

static inline void pins_decisions(const struct pins *p, uint32_t pool, enum pintle_outcome outcome,
				  uint64_t each)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values = calloc((size_t)cpus, sizeof(*values));

	for (int i = 0; i < cpus; i++)
		values[i] = i == 0 ? each - 1 : i == cpus - 1 ? 1 : 0;
	if (cpus == 1)
		values[0] = each;
	pins_at(p, MAP_stats, PINTLE_STAT(pool, outcome), values);
	free(values);
}

static inline void pins_oneshots(const struct pins *p, uint32_t pool, enum pintle_oneshot oneshot,
				 uint64_t n)
{
	uint64_t *values = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*values));

	values[0] = n;
	pins_at(p, MAP_oneshot_stats, PINTLE_ONESHOT_STAT(pool, oneshot), values);
	free(values);
}

static inline void pins_session(const struct pins *p, const char *text, uint32_t pool,
				uint32_t pool_generation, uint32_t endpoint, uint64_t bound_ago,
				uint64_t used_ago)
{
	struct pintle_affinity_key key = {.pool = pool, .pool_generation = pool_generation};
	struct pintle_affinity value = {
		.endpoint = endpoint,
		.generation = GEN(endpoint),
		.bound_ns = monotonic_ns() - bound_ago,
		.used_ns = monotonic_ns() - used_ago,
	};

	assert_int_equal(state_session_parse(text, NULL, &key.session), 0);
	pins_set(p, MAP_affinity, &key, &value);
}

#define SIGNALS (PINTLE_SIGNAL_WAITING | PINTLE_SIGNAL_RUNNING | PINTLE_SIGNAL_KV_CACHE)
#define BOTH    (PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6)

static inline void pins_fill_node(const struct pins *p)
{
	uint64_t now = monotonic_ns();
	struct pintle_node n = {
		.abi_version = PINTLE_ABI_VERSION,
		.pid = 4242,
		.heartbeat_ns =
			now + HOURS(1), /* in the future, so its age is 0 however slow a test is */
		.started_ns = now - HOURS(2.5),
		.attached_ns = now - HOURS(100.5),
		.netns_cookie = 0,
		.reconciled_ns = now + HOURS(1),
		.scrape_rounds = 77,
		.netns = "/proc/self/ns/net",
		.cgroup = "/sys/fs/cgroup",
		.version = PINTLE_VERSION,
		.config = "/etc/pintle/pintle.yaml",
		.metrics = "127.0.0.1:9464",
	};
	uint64_t inode = 0;

	assert_int_equal(netns_inode(-1, &inode), 0);
	n.netns_inode = inode;
	pins_at(p, MAP_node, 0, &n);
}

static inline void pins_fill_pools(const struct pins *p)
{
	struct pintle_pool llama = {
		.generation = LLAMA_GEN,
		.mode = PINTLE_MODE_ENFORCE,
		.failure_mode = PINTLE_FAIL_OPEN,
		.classes = 1,
		.decided_by = PINTLE_HOOK_LOOKUP,
		.key_kind = PINTLE_KEY_SOURCE,
		.key_bits_v4 = 24,
		.key_bits_v6 = 64,
		.ttl_ns = HOURS(10),
		.max_extra_load = 8000,
		.staleness_ns = HOURS(3),
		.departure = 1000,
		.member_count = 6,
		.members = {{0, GEN(0)},
			    {1, GEN(1)},
			    {2, GEN(2)},
			    {3, GEN(3)},
			    {4, GEN(4)},
			    {5, GEN(5)}},
	};
	struct pintle_pool qwen = {
		.generation = QWEN_GEN,
		.mode = PINTLE_MODE_BASELINE,
		.failure_mode = PINTLE_FAIL_CLOSE,
		.classes = 1,
		.decided_by = PINTLE_HOOK_LOOKUP,
		.staleness_ns = HOURS(3),
		.departure = 1000,
		.member_count = 1,
		.members = {{QWEN_GPU0, GEN(QWEN_GPU0)}},
	};

	pins_at(p, MAP_pools, LLAMA, &llama);
	pins_at(p, MAP_pools, QWEN, &qwen);
	pins_name(p, LLAMA, LLAMA_GEN, "llama-8b");
	pins_name(p, QWEN, QWEN_GEN, "qwen");
	pins_frontend(p, "10.77.0.1:8000", LLAMA, LLAMA_GEN, PINTLE_FRONTEND_ANNOUNCED);
	pins_frontend(p, "[fd77::1]:8000", LLAMA, LLAMA_GEN, PINTLE_FRONTEND_ANNOUNCED);
	pins_frontend(p, "10.78.0.0/24:9000", QWEN, QWEN_GEN, 0);
	pins_frontend(p, "10.79.0.1:9000", QWEN, QWEN_GEN - 1, 0); /* of an older generation */
	pins_decisions(p, LLAMA, PINTLE_OUTCOME_STICKY, 60);
	pins_decisions(p, LLAMA, PINTLE_OUTCOME_LEAST_LOADED, 30);
	pins_decisions(p, LLAMA, PINTLE_OUTCOME_ESCAPED, 10);
	pins_decisions(p, QWEN, PINTLE_OUTCOME_RANDOM, 3000000000);
}

static inline void pins_fill_endpoints(const struct pins *p)
{
	const struct pins_endpoint rows[] = {
		/* load: 2.5 published, one more in flight and one more pending since: 4.5 */
		{0,
		 LLAMA,
		 LLAMA_GEN,
		 "gpu0",
		 "127.0.0.1:8001",
		 {.scraped_ns = HOURS(2.5),
		  .inflight = 4,
		  .flags = SIGNALS,
		  .waiting = 1,
		  .running = 4,
		  .kv_cache = 123456,
		  .model = {{2500, 1000}}},
		 {.listening_since_ns = HOURS(90),
		  .listeners = 1,
		  .families = BOTH,
		  .direct_opened = 12,
		  .direct_closed = 11},
		 {.placed = 75, .opened = 74, .closed = 69}},
		/* two fewer in flight than at the scrape: 54 */
		{1,
		 LLAMA,
		 LLAMA_GEN,
		 "gpu1",
		 "127.0.0.1:8002",
		 {.scraped_ns = HOURS(2.5),
		  .inflight = 9,
		  .flags = SIGNALS | PINTLE_SIGNAL_GPU | PINTLE_SCORE_SATURATED,
		  .waiting = 12,
		  .running = 32,
		  .kv_cache = 985000,
		  .gpu = 1000000,
		  .model = {{56000, 1000}}},
		 {.listening_since_ns = HOURS(90), .listeners = 2, .families = BOTH},
		 {.placed = 25, .opened = 20, .closed = 13, .failed = 5}},
		{2,
		 LLAMA,
		 LLAMA_GEN,
		 "gpu2",
		 "127.0.0.1:8003",
		 {0},
		 {.unsteerable = PINTLE_UNSTEERABLE_MPTCP, .error = -EINVAL},
		 {0}},
		/* its load is that of the highest fresh score: 56 */
		{3,
		 LLAMA,
		 LLAMA_GEN,
		 "gpu3",
		 "8004",
		 {.scraped_ns = HOURS(5.5),
		  .flags = SIGNALS | PINTLE_SCORE_FAILED,
		  .model = {{1000, 1000}}},
		 {.listening_since_ns = HOURS(90), .listeners = 1, .families = BOTH},
		 {0}},
		{4, LLAMA, LLAMA_GEN, "gpu4", "[::1]:8005", {0}, {0}, {0}},
		{5,
		 LLAMA,
		 LLAMA_GEN,
		 "gpu5",
		 "127.0.0.1:8006",
		 {0},
		 {.listening_since_ns = HOURS(1), .listeners = 1, .families = PINTLE_FAMILY_V4},
		 {0}},
		{QWEN_GPU0,
		 QWEN,
		 QWEN_GEN,
		 "gpu0",
		 "127.0.0.1:9001",
		 {.scraped_ns = HOURS(2.5), .flags = PINTLE_SIGNAL_WAITING, .model = {{0, 1000}}},
		 {.listening_since_ns = HOURS(90), .listeners = 1, .families = BOTH},
		 {.placed = 3000000000, .opened = 3000000000, .closed = 3000000000}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		pins_endpoint(p, &rows[i]);
}

static inline void pins_fill_sessions(const struct pins *p)
{
	pins_session(p, "10.0.1.0/24", LLAMA, LLAMA_GEN, 0, HOURS(5.5), HOURS(2.5));
	pins_session(p, "10.0.0.0/24", LLAMA, LLAMA_GEN, 1, HOURS(5.5), HOURS(4.5));
	pins_session(p, "fd00:1::/64", LLAMA, LLAMA_GEN, 0, HOURS(5.5), HOURS(2.5));
	/* Bindings without use: too old, endpoint gone, pool of another generation. */
	pins_session(p, "10.0.2.0/24", LLAMA, LLAMA_GEN, 0, HOURS(50), HOURS(11));
	pins_session(p, "10.0.3.0/24", LLAMA, LLAMA_GEN, 77, HOURS(1), HOURS(1));
	pins_session(p, "10.0.4.0/24", LLAMA, LLAMA_GEN - 1, 0, HOURS(1), HOURS(1));
}

static inline void pins_fill(const struct pins *p)
{
	pins_zero(p);
	pins_fill_node(p);
	pins_fill_pools(p);
	pins_fill_endpoints(p);
	pins_fill_sessions(p);
}

static inline int pins_setup(void **state)
{
	static struct pins p;

	pins_mount();
	pins_load(&p, false);
	*state = &p;
	return 0;
}

static inline int pins_teardown(void **state)
{
	pins_remove(*state);
	return 0;
}

/* Makes the maps described above, before each test. */
static inline int pins_refill(void **state)
{
	pins_fill(*state);
	return 0;
}

#define pins_test(f) cmocka_unit_test_setup(f, pins_refill)

#endif
