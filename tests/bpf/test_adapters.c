/* SPDX-License-Identifier: Apache-2.0 */
/* What the lookup hook makes of the LoRA adapter that a request names. */
#include "support_world.h"

#include "rule/loaded_adapters.bpf.h"

#define ADAPTER 70 /* in the second word of each set */
#define WEIGHT  8000

static void set_bit(__u64 set[PINTLE_ADAPTER_WORDS], uint32_t number)
{
	set[number / 64] |= 1ULL << number % 64;
}

/* On whichever CPU the program runs. */
static void ask(const struct pintle_asking *a)
{
	int cpus = libbpf_num_possible_cpus();
	struct pintle_asking *all = calloc((size_t)cpus, sizeof(*all));

	assert_non_null(all);
	for (int i = 0; i < cpus; i++)
		all[i] = *a;
	put(asking, 0U, all);
	free(all);
}

/* A request of this pool for the adapter. */
static struct pintle_asking asking_of(uint32_t adapter)
{
	return (struct pintle_asking){
		.state = PINTLE_ASKING_WHERE, .adapter = adapter, .pool = {POOL, POOL_GEN}};
}

static void put_adapters(uint32_t e, struct pintle_adapters a)
{
	a.generation = a.generation ?: GEN(e);
	put(adapters, e, &a);
}

static void put_loaded(uint32_t e, uint32_t number)
{
	struct pintle_adapters a = {.slots = 4};

	set_bit(a.loaded, number);
	put_adapters(e, a);
}

/* Endpoints that have slots and no adapter. */
static void make_pool(uint32_t n)
{
	struct pintle_asking a = asking_of(ADAPTER);

	if (n > 16)
		make_many_endpoints(n);
	else
		make_endpoints(n);
	for (uint32_t e = 0; e < n; e++)
		put_adapters(e, (struct pintle_adapters){.slots = 4});
	w.pool.decide = PINTLE_DECIDE_REQUEST;
	w.pool.adapter_weight = WEIGHT;
	put_pool();
	ask(&a);
}

static void assert_load_decides(double load_of_0, uint32_t to)
{
	put_load(0, load_of_0);
	for (uint32_t e = 0; e < 2; e++)
		put(inflight, e, (&(struct pintle_inflight){0}));
	assert_went(visit_nth(++w.next_port), to, LEAST_LOADED);
}

/* An endpoint that has the adapter may have more load than another: as much as the other's state
 * says, and not more. */
static void test_what_each_state_costs(void **state)
{
	static const struct {
		enum adapters_state state;
		double costs;
	} rows[] = {{ADAPTERS_ROOM, 8}, {ADAPTERS_BUSY, 16}, {ADAPTERS_LACKS, 64}};

	(void)state;
	make_pool(2);
	put_loaded(0, ADAPTER);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_adapters other = {.slots = 4};

		if (rows[i].state == ADAPTERS_BUSY)
			other.used = 4;
		if (rows[i].state == ADAPTERS_LACKS)
			other.flags = PINTLE_ADAPTERS_LISTED;
		put_adapters(1, other);
		assert_load_decides(rows[i].costs - 0.1, 0);
		assert_load_decides(rows[i].costs + 0.1, 1);
	}
}

/* Every way to have it, and not to. */
static void test_states(void **state)
{
	struct pintle_adapters has = {.generation = 5}, lists = {.generation = 5, .slots = 2};
	struct pintle_adapters full = {.generation = 5, .slots = 2, .used = 2};
	struct pintle_adapters silent = {.generation = 5, .flags = PINTLE_ADAPTERS_LISTED};

	(void)state;
	set_bit(has.placed, 1);
	set_bit(has.loaded, 255);
	lists.flags = PINTLE_ADAPTERS_LISTED;
	set_bit(lists.listed, 64);
	set_bit(silent.listed, 3);
	set_bit(full.listed, 3); /* without the flag it says nothing */
	assert_int_equal(adapters_state(&has, 5, 1), ADAPTERS_LOADED);
	assert_int_equal(adapters_state(&has, 5, 255), ADAPTERS_LOADED);
	assert_int_equal(adapters_state(&has, 5, 2), ADAPTERS_ROOM);
	assert_int_equal(adapters_state(&has, 6, 1), ADAPTERS_ROOM);
	assert_int_equal(adapters_state(&lists, 5, 64), ADAPTERS_ROOM);
	assert_int_equal(adapters_state(&lists, 5, 65), ADAPTERS_LACKS);
	assert_int_equal(adapters_state(&lists, 6, 65), ADAPTERS_ROOM);
	assert_int_equal(adapters_state(&full, 5, 3), ADAPTERS_BUSY);
	assert_int_equal(adapters_state(&silent, 5, 3), ADAPTERS_LOADED);
	assert_int_equal(adapters_state(&silent, 5, 4), ADAPTERS_LACKS);
	assert_int_equal(adapters_missing(ADAPTERS_LACKS, UINT32_MAX), DECIDE_MAX_MISSING);
}

/* An adapter counts in its pool alone, only while the hand-off asks, and where it has a weight. */
static void test_whose_request_it_is(void **state)
{
	static const struct {
		uint32_t state, adapter, pool, generation, weight, to;
	} rows[] = {
		{PINTLE_ASKING_WHERE, ADAPTER, POOL, POOL_GEN, WEIGHT, 0},
		{PINTLE_ASKING_NOTHING, ADAPTER, POOL, POOL_GEN, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, 0, POOL, POOL_GEN, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, ADAPTER + 1, POOL, POOL_GEN, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, UINT32_MAX, POOL, POOL_GEN, WEIGHT, 1},
		{PINTLE_ASKING_WHERE, ADAPTER, POOL, POOL_GEN, 0, 1},
	};

	(void)state;
	make_pool(2);
	put_loaded(0, ADAPTER);
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_asking a = asking_of(rows[i].adapter);

		a.state = rows[i].state;
		a.pool = (struct pintle_ref){rows[i].pool, rows[i].generation};
		ask(&a);
		w.pool.adapter_weight = rows[i].weight;
		put_pool();
		assert_load_decides(5, rows[i].to);
	}
}

/* The adapter of an endpoint that had this id before is not this one's. */
static void test_another_generation(void **state)
{
	struct pintle_adapters a = {.slots = 4, .generation = GEN(0) - 1};

	(void)state;
	make_pool(2);
	set_bit(a.loaded, ADAPTER);
	put_adapters(0, a);
	assert_load_decides(1, 1);
}

/* A holder is a candidate in a pool of which eight are drawn, if it has the adapter, and is
 * eligible. */
static void test_the_holder_need_not_be_drawn(void **state)
{
	struct pintle_holders h = {
		.of = {[5] = (uint64_t)GEN(777) << 32 | 777, [6] = (uint64_t)GEN(5) << 32 | 4}};

	(void)state;
	make_pool(1000);
	put_loaded(777, ADAPTER);
	put(adapter_holders, (uint32_t)ADAPTER, &h);
	assert_is_candidate(777);
}

/* A session leaves the endpoint that has evicted its adapter, when that is too much. */
static void test_a_session(void **state)
{
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};
	struct pintle_affinity b = {.endpoint = 1, .generation = GEN(1), .used_ns = w.now};

	(void)state;
	make_pool(2);
	put_loaded(0, ADAPTER);
	address_of("192.0.2.1", key.session.id);
	put(affinity, key, &b);
	w.pool.max_extra_load = 9000;
	put_pool();
	assert_went(visit("192.0.2.1"), 1, STICKY);
	w.pool.max_extra_load = 7000;
	put_pool();
	put(inflight, 1U, (&(struct pintle_inflight){0}));
	assert_went(visit("192.0.2.1"), 0, ESCAPED);
}

/* The load plus what the adapter costs there, written plainly, over random loads and states. */
static void test_random_states(void **state)
{
	enum { N = 8 };
	uint64_t at = 1;

	(void)state;
	make_pool(N);
	for (uint32_t i = 0; i < rounds_wanted(2000); i++) {
		double least = 1e9;
		uint32_t best = 0;

		for (uint32_t e = 0; e < N; e++) {
			static const double costs[] = {0, 8, 16, 64};
			uint32_t how = (uint32_t)(random_at(at++) % 4);
			double load = (double)(random_at(at++) % 50000) / 1000;
			struct pintle_adapters a = {.slots = 2};

			if (how == ADAPTERS_LOADED)
				set_bit(random_at(at) % 2 ? a.loaded : a.placed, ADAPTER);
			a.used = how == ADAPTERS_BUSY ? 2 : 1;
			a.flags = how == ADAPTERS_LACKS ? PINTLE_ADAPTERS_LISTED : 0;
			put_adapters(e, a);
			put_load(e, load);
			put(inflight, e, (&(struct pintle_inflight){0}));
			if (load + costs[how] < least) {
				least = load + costs[how];
				best = e;
			}
		}
		assert_int_equal(visit_nth(i).endpoint, best);
	}
}

/* Eight places, of which a free one is taken first, and each endpoint has one. */
static void test_notes(void **state)
{
	struct pintle_holders h = {0};

	(void)state;
	for (uint32_t i = 0; i < 3 * PINTLE_ADAPTER_HOLDERS; i++)
		adapters_note(&h, i / 3, 7, 0);
	for (uint32_t i = 0; i < PINTLE_ADAPTER_HOLDERS; i++)
		assert_true(h.of[i] >> 32 == 7);
	adapters_note(&h, 99, 7, PINTLE_ADAPTER_HOLDERS + 3);
	assert_true(h.of[3] == (7ULL << 32 | 99));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_notes),
		world_test(test_what_each_state_costs),
		world_test(test_whose_request_it_is),
		world_test(test_another_generation),
		world_test(test_the_holder_need_not_be_drawn),
		world_test(test_a_session),
		world_test(test_random_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
