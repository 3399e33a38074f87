/* SPDX-License-Identifier: Apache-2.0 */
/* Maps with wrong content, by mistake or on purpose: the lookup hook ends soon, gives a segment to
 * a listener of the pool or to none, and works again when the maps are right again. */
#include "support_world.h"

#define SERVERS 4

enum map_to_spoil { POOLS, ENDPOINTS, SCORES, INFLIGHT, HEALTH, OVERRIDES, NODE, KINDS_OF_MAP };

/* Writes `size` bytes at `offset` of one entry. */
static void spoil(enum map_to_spoil map, uint32_t key, size_t offset, const void *with, size_t size)
{
	static const size_t sizes[] = {
		[POOLS] = sizeof(struct pintle_pool),
		[ENDPOINTS] = sizeof(struct pintle_endpoint),
		[SCORES] = sizeof(struct pintle_score),
		[INFLIGHT] = sizeof(struct pintle_inflight),
		[HEALTH] = sizeof(struct pintle_health),
		[OVERRIDES] = sizeof(struct pintle_override),
		[NODE] = sizeof(struct pintle_node),
	};
	const int fds[] = {
		[POOLS] = map_fd(pools),   [ENDPOINTS] = map_fd(endpoints),
		[SCORES] = map_fd(scores), [INFLIGHT] = map_fd(inflight),
		[HEALTH] = map_fd(health), [OVERRIDES] = map_fd(overrides),
		[NODE] = map_fd(node),
	};
	static union {
		struct pintle_pool pool;
		struct pintle_node node;
		char bytes[sizeof(struct pintle_pool)];
	} value;

	assert_true(offset + size <= sizes[map]);
	assert_int_equal(bpf_map_lookup_elem(fds[map], &key, &value), 0);
	memcpy(value.bytes + offset, with, size);
	assert_int_equal(bpf_map_update_elem(fds[map], &key, &value, BPF_ANY), 0);
}

static void all_is_well(void)
{
	struct pintle_inflight none = {0};

	put_pool();
	put_heartbeat(w.now);
	put_override(POOL, 0, 0, 0);
	for (uint32_t e = 0; e < SERVERS; e++) {
		put_endpoint(e);
		put_load(e, 0);
		put(inflight, e, &none);
		put_override(PINTLE_ENDPOINT_SLOT(e), 0, 0, 0);
	}
}

/* Puts all maps right, and checks that every endpoint gets its share of clients as before. */
static void assert_goes_on(void)
{
	all_is_well();
	for (uint32_t i = 0; i < 40; i++)
		visit_nth(1 << 20 | i);
	for (uint32_t e = 0; e < SERVERS; e++)
		assert_int_equal(counters_of(e).placed, 10);
}

static void assert_sane(struct seen seen)
{
	bool ours = !seen.cookie;

	assert_true(seen.verdict == SK_PASS || seen.verdict == SK_DROP);
	for (uint32_t e = 0; e < SERVERS; e++)
		ours |= seen.cookie == w.cookie[e];
	assert_true(ours);
	if (seen.remembered)
		assert_in_range(seen.decision.outcome, 0, PINTLE_OUTCOME_COUNT - 1);
}

/* ---- one thing wrong -------------------------------------------------------------------- */

#define POOL_HAS(field, ...)                                                                       \
	.map = POOLS, .key = POOL, .offset = offsetof(struct pintle_pool, field),                  \
	.size = sizeof(((struct pintle_pool *)0)->field), .value = {__VA_ARGS__}
#define FIRST_HAS(MAP, type, field, ...)                                                           \
	.map = MAP, .key = 0, .offset = offsetof(struct type, field),                              \
	.size = sizeof(((struct type *)0)->field), .value = {__VA_ARGS__}

/* clang-format off */
static const struct {
	const char *says;
	enum map_to_spoil map;
	uint32_t key;
	size_t offset, size;
	uint64_t value[2];
	bool goes_on; /* every client is still served */
} wrongs[] = {
	{"four billion members", POOL_HAS(member_count, UINT32_MAX), false},
	{"one member too many", POOL_HAS(member_count, PINTLE_MAX_MEMBERS + 1), false},
	{"as many members as there can be, most of them nobody",
		POOL_HAS(member_count, PINTLE_MAX_MEMBERS), true},
	{"a member beyond the last endpoint", POOL_HAS(members[0], PINTLE_MAX_ENDPOINTS | 1ULL << 32),
		true},
	{"a member far beyond", POOL_HAS(members[0], UINT64_MAX), true},
	{"ninety-nine classes", POOL_HAS(classes, 99), true},
	{"no class", POOL_HAS(classes, 0), true},
	{"session keys of 200 bits", POOL_HAS(key_bits_v4, 200), true},
	{"session keys of four billion bits", POOL_HAS(key_bits_v4, UINT32_MAX), true},
	{"groups of 200 bits", POOL_HAS(group_bits_v4, 200), true},
	{"a kind of key that is none", POOL_HAS(key_kind, 77), true},
	{"a kind of group that is none", POOL_HAS(group_kind, 77), true},
	{"groups without a table of homes", POOL_HAS(group_kind, PINTLE_KEY_SOURCE), true},
	{"a mode that is none", POOL_HAS(mode, 77), true},
	{"a failure mode that is none", POOL_HAS(failure_mode, 77), true},
	{"any extra load", POOL_HAS(max_extra_load, UINT64_MAX), true},
	{"scores never grow old", POOL_HAS(staleness_ns, UINT64_MAX), true},
	{"a connection of the most weight", POOL_HAS(departure, UINT32_MAX), true},
	{"bindings for ever", POOL_HAS(ttl_ns, UINT64_MAX), true},
	{"an endpoint of a pool beyond the last",
		FIRST_HAS(ENDPOINTS, pintle_endpoint, pool, UINT32_MAX), true},
	{"a score from the future", FIRST_HAS(SCORES, pintle_score, scraped_ns, UINT64_MAX), true},
	{"a load beyond the most", FIRST_HAS(SCORES, pintle_score, model[0], UINT64_MAX), true},
	{"counts at the scrape at their ends",
		FIRST_HAS(SCORES, pintle_score, inflight, 1ULL << 63), true},
	{"more closed than opened", FIRST_HAS(INFLIGHT, pintle_inflight, by_class[0].closed, 1 << 20),
		true},
	{"counts that wrap", FIRST_HAS(INFLIGHT, pintle_inflight, by_class[0].opened, UINT64_MAX),
		true},
	{"listening since the future",
		FIRST_HAS(HEALTH, pintle_health, listening_since_ns, UINT64_MAX), true},
	{"families that are none", FIRST_HAS(HEALTH, pintle_health, families, 0xfffffffc), true},
	{"the operator's mode is none", .map = OVERRIDES, .key = POOL,
		.size = 16, .value = {POOL_GEN | (uint64_t)PINTLE_OVERRIDE_MODE << 32, 99}, true},
	{"a heartbeat in the future", .map = NODE, .offset = offsetof(struct pintle_node, heartbeat_ns),
		.size = 8, .value = {UINT64_MAX}, true},
};
/* clang-format on */

static void test_one_thing_wrong(void **state)
{
	(void)state;
	make_endpoints(SERVERS);
	for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
		all_is_well();
		spoil(wrongs[i].map, wrongs[i].key, wrongs[i].offset, wrongs[i].value,
		      wrongs[i].size);
		for (uint32_t n = 0; n < 32; n++) {
			struct seen seen = visit_nth((uint32_t)i << 8 | n);

			assert_sane(seen);
			if (wrongs[i].goes_on && !seen.cookie)
				fail_msg("nobody served: %s", wrongs[i].says);
		}
	}
	assert_goes_on();
}

/* ---- many things wrong ---------------------------------------------------------------------- */

static uint64_t nasty(uint64_t r)
{
	static const uint64_t values[] = {
		0,         1,          PINTLE_MAX_ENDPOINTS, INT32_MAX, 1ULL << 31, UINT32_MAX,
		INT64_MAX, 1ULL << 63, UINT64_MAX,           POOL_GEN,  GEN(0)};

	return r & 3 ? values[(r >> 8) % ARRAY_SIZE(values)] : random_at(r);
}

static void spoil_anything(uint64_t r)
{
	enum map_to_spoil map = r % KINDS_OF_MAP;
	uint32_t key = (uint32_t)(r >> 8) % SERVERS;
	uint64_t value = nasty(random_at(r));
	size_t size = r >> 16 & 1 ? 4 : 8;
	/* The first fields of a pool and of the node matter most. */
	static const size_t room[] = {
		[POOLS] = 72 + 8 * SERVERS,
		[ENDPOINTS] = sizeof(struct pintle_endpoint),
		[SCORES] = 64,
		[INFLIGHT] = sizeof(struct pintle_counters),
		[HEALTH] = 24,
		[OVERRIDES] = sizeof(struct pintle_override),
		[NODE] = 24,
	};

	if (map == POOLS || (map == OVERRIDES && key == 0))
		key = POOL;
	else if (map == OVERRIDES)
		key = PINTLE_ENDPOINT_SLOT(key);
	else if (map == NODE)
		key = 0;
	spoil(map, key, (r >> 20) % (room[map] / size) * size, &value, size);
}

static void test_many_things_wrong(void **state)
{
	(void)state;
	make_endpoints(SERVERS);
	for (uint64_t i = 0; i < 3000; i++) {
		struct segment s = {.from = i & 1 ? "2001:db8::1" : "192.0.2.1",
				    .port = (uint16_t)(1024 + i)};

		if (!(i % 8))
			all_is_well();
		spoil_anything(random_at(i));
		assert_sane(look_up(s));
		assert_sane(look_up(s));
	}
	assert_goes_on();
}

/* ---- what is remembered is wrong ---------------------------------------------------------------
 */

static void test_remembered_nonsense(void **state)
{
	(void)state;
	make_endpoints(SERVERS);
	for (uint64_t i = 0; i < 2000; i++) {
		struct segment s = {.from = "192.0.2.1", .port = (uint16_t)(1024 + i)};
		struct pintle_tuple t = tuple_of(&s);
		uint64_t words[sizeof(struct pintle_decision) / 8];

		for (size_t j = 0; j < ARRAY_SIZE(words); j++)
			words[j] = nasty(random_at(i * 8 + j));
		words[0] = i & 1 ? w.now : words[0];
		put(pending, t, words);
		struct seen seen = look_up(s);

		assert_true(seen.verdict == SK_PASS || seen.verdict == SK_DROP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_one_thing_wrong),
		world_test(test_many_things_wrong),
		world_test(test_remembered_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
