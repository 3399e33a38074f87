/* SPDX-License-Identifier: Apache-2.0 */
/* How the lookup hook reads the maps: scores and counts become loads, bindings and homes become
 * preferences, and a large pool is sampled. test_rule.c tests the rule itself. */
#include "support_world.h"

/* ---- loads out of the maps ------------------------------------------------------------- */

static void put_score(uint32_t e, struct pintle_score s)
{
	put(scores, e, &s);
}

/* Makes two endpoints: endpoint 0 with this load, and endpoint 1 with a load of 5. */
static void two_endpoints(double load)
{
	make_endpoints(2);
	put_load(0, load);
	put_load(1, 5);
}

static void test_the_less_loaded(void **state)
{
	(void)state;
	two_endpoints(4.999);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_load(0, 5.001 + 1); /* the first connection is still pending there */
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
}

/* With a score that is not believed, endpoint 0 counts with the highest fresh load, that of
 * endpoint
 * 1. So neither is preferred, and connections go to the two in turn. */
static void assert_not_believed(void)
{
	for (uint32_t i = 0; i < 40; i++)
		visit_nth(i);
	assert_int_equal(counters_of(0).placed, 20);
	assert_int_equal(counters_of(1).placed, 20);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_LEAST_LOADED), 40);
}

static void test_an_old_score_is_not_believed(void **state)
{
	struct pintle_score s;

	(void)state;
	two_endpoints(0);
	s = score_of(0);
	w.pool.staleness_ns = 3600 * SECOND;
	put_pool();
	s.scraped_ns = w.now - 3601 * SECOND;
	put_score(0, s);
	/* The endpoint stays ready: it has listened since before the scrape. */
	struct pintle_health h = health_of(0);
	h.listening_since_ns = s.scraped_ns - 1;
	put(health, 0U, &h);
	assert_not_believed();
}

static void test_a_score_being_written_is_not_believed(void **state)
{
	struct pintle_score s;

	(void)state;
	two_endpoints(0);
	s = score_of(0);
	s.sequence = 7;
	put_score(0, s);
	assert_not_believed();
	s.sequence = 8;
	put_score(0, s);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

static void test_a_score_of_another_generation_makes_nobody_ready(void **state)
{
	struct pintle_score s;

	(void)state;
	two_endpoints(0);
	s = score_of(0);
	s.generation--;
	put_score(0, s);
	for (int i = 0; i < 20; i++)
		assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
}

static void test_with_the_daemon_gone_such_a_score_is_not_believed(void **state)
{
	struct pintle_score s;

	(void)state;
	two_endpoints(0);
	s = score_of(0);
	s.generation--;
	put_score(0, s);
	put_heartbeat(0);
	w.pool.staleness_ns = w.now / 2;
	put_pool();
	assert_not_believed();
}

static void test_nobody_fresh(void **state)
{
	struct pintle_inflight n = {.by_class[0] = {.placed = 9, .opened = 9, .closed = 4}};

	(void)state;
	two_endpoints(0);
	w.pool.staleness_ns = SECOND / 1000;
	put_pool();
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 1, STALE);
	n.by_class[0].closed = 9;
	put(inflight, 0U, &n);
	n = (struct pintle_inflight){.by_class[0] = {.placed = 1, .opened = 1}};
	put(inflight, 1U, &n);
	assert_went(visit("192.0.2.1"), 0, STALE);
}

static void test_connections_since_the_scrape_count(void **state)
{
	struct pintle_inflight n = {.by_class[0] = {.placed = 20, .opened = 18, .closed = 8}};
	struct pintle_score s;

	(void)state;
	two_endpoints(0);
	s = score_of(0);
	s.inflight = 10;
	s.pending = 2;
	put_score(0, s);
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 0,
		    LEAST_LOADED); /* the score knew of all these connections */
	n.by_class[0].placed += 6;
	n.by_class[0].opened += 6;
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	n.by_class[0].closed += 2;
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	n.by_class[0].placed += 8;
	n.by_class[0].failed += 2; /* six are pending */
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	n.by_class[0].failed += 6; /* and fail */
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

static void test_counts_of_all_classes_in_use(void **state)
{
	struct pintle_inflight n = {.by_class[5] = {.placed = 6, .opened = 6}};

	(void)state;
	two_endpoints(0);
	put(inflight, 0U, &n);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	w.pool.classes = 6;
	put_pool();
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
}

/* ---- bindings ------------------------------------------------------------------------------- */

/* Binds a client's address, cut to this many of 128 bits. */
static void bind_client(const char *address, uint32_t bits, struct pintle_affinity a,
			uint32_t pool_generation)
{
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = pool_generation,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = bits},
	};

	address_of(address, key.session.id);
	put(affinity, key, &a);
}

static struct pintle_affinity bound_to(uint32_t e)
{
	return (struct pintle_affinity){
		.endpoint = e,
		.generation = GEN(e),
		.bound_ns = w.now - SECOND,
		.used_ns = w.now - SECOND,
	};
}

static void test_bound(void **state)
{
	(void)state;
	two_endpoints(0);
	bind_client("192.0.2.1", 128, bound_to(1), POOL_GEN);
	bind_client("2001:db8::1", 128, bound_to(1), POOL_GEN);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	assert_went(visit("2001:db8::1"), 1, STICKY);
	assert_went(visit("192.0.2.2"), 0, LEAST_LOADED);
	put_load(1, 50);
	assert_went(visit("192.0.2.1"), 0, ESCAPED);
}

static void test_bound_beyond_its_clients_share(void **state)
{
	struct pintle_affinity_key key = {
		POOL, POOL_GEN, {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128}};
	struct pintle_affinity a = bound_to(1);

	(void)state;
	two_endpoints(0);
	address_of("192.0.2.1", key.session.id);
	put(affinity_beyond, key, &a);
	assert_went(visit("192.0.2.1"), 1, STICKY);
}

static void test_a_look_up_binds_nothing(void **state)
{
	struct pintle_affinity_key key;

	(void)state;
	make_endpoints(4);
	for (uint32_t i = 0; i < 1000; i++)
		visit_nth(i);
	assert_int_equal(bpf_map_get_next_key(map_fd(affinity), NULL, &key), -ENOENT);
}

static void test_a_look_up_does_not_renew(void **state)
{
	struct pintle_affinity a = bound_to(1), now;
	struct pintle_affinity_key key = {
		POOL, POOL_GEN, {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128}};

	(void)state;
	two_endpoints(0);
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	address_of("192.0.2.1", key.session.id);
	get(affinity, key, &now);
	assert_memory_equal(&a, &now, sizeof(a));
}

static void test_bound_by_a_prefix(void **state)
{
	(void)state;
	two_endpoints(0);
	w.pool.key_bits_v4 = 20;
	w.pool.key_bits_v6 = 60;
	put_pool();
	bind_client("192.0.0.0", 116, bound_to(1), POOL_GEN);
	bind_client("2001:db8:0:10::", 60, bound_to(1), POOL_GEN);
	assert_went(visit("192.0.15.255"), 1, STICKY);
	assert_went(visit("192.0.16.0"), 0, LEAST_LOADED);
	assert_went(visit("2001:db8:0:1f:ffff::1"), 1, STICKY);
	assert_went(visit("2001:db8:0:20::"), 0, LEAST_LOADED);
}

static void test_all_of_a_family_are_one_session(void **state)
{
	(void)state;
	two_endpoints(0);
	w.pool.key_bits_v4 = 0;
	w.pool.key_bits_v6 = 0;
	put_pool();
	bind_client("0.0.0.0", 96, bound_to(1), POOL_GEN);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	assert_went(visit("2001:db8::1"), 0, LEAST_LOADED);
	bind_client("::", 0, bound_to(1), POOL_GEN);
	assert_went(visit("2001:db8::1"), 1, STICKY);
}

/* None of these bindings to endpoint 1 holds, so the rule sends the client to endpoint 0. */
static void test_bindings_that_do_not_hold(void **state)
{
	struct pintle_affinity a;

	(void)state;
	two_endpoints(0);
	bind_client("192.0.2.1", 128, bound_to(1), POOL_GEN - 1);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	a = bound_to(1);
	a.generation--;
	bind_client("192.0.2.2", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.2"), 0, LEAST_LOADED);
	a = bound_to(PINTLE_MAX_ENDPOINTS);
	bind_client("192.0.2.3", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.3"), 0, LEAST_LOADED);
	a = bound_to(1);
	a.used_ns = w.now - w.pool.ttl_ns - 1;
	bind_client("192.0.2.4", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.4"), 0, LEAST_LOADED);
}

static void test_bindings_to_one_not_eligible(void **state)
{
	(void)state;
	two_endpoints(0);
	bind_client("192.0.2.1", 128, bound_to(1), POOL_GEN);
	make_unready(1);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	two_endpoints(0);
	put_override(PINTLE_ENDPOINT_SLOT(1), GEN(1), PINTLE_OVERRIDE_DRAIN, 0);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_override(PINTLE_ENDPOINT_SLOT(1), GEN(1), 0, 0);
	assert_went(visit("192.0.2.1"), 1, STICKY);
}

static void test_a_pool_without_sessions(void **state)
{
	(void)state;
	two_endpoints(0);
	bind_client("192.0.2.1", 128, bound_to(1), POOL_GEN);
	w.pool.key_kind = PINTLE_KEY_NONE;
	put_pool();
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	w.pool.key_kind = PINTLE_KEY_SOURCE;
	w.pool.ttl_ns = 0;
	put_pool();
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

static void test_nobody_fresh_but_bound(void **state)
{
	(void)state;
	two_endpoints(0);
	bind_client("192.0.2.1", 128, bound_to(1), POOL_GEN);
	w.pool.staleness_ns = SECOND / 1000;
	put_pool();
	assert_went(visit("192.0.2.1"), 1, STALE);
}

/* After five times staleness_ns beside a fresh score, and not before. */
static void test_a_lost_score_holds_no_session(void **state)
{
	struct pintle_health h;
	struct pintle_score s;

	(void)state;
	two_endpoints(0);
	h = health_of(0);
	h.listening_since_ns = 1;
	put(health, 0U, &h);
	w.pool.staleness_ns = w.now / 8;
	put_pool();
	s = score_of(0);
	s.scraped_ns = w.now / 2;
	put_score(0, s);
	bind_client("192.0.2.1", 128, bound_to(0), POOL_GEN);
	assert_went(visit("192.0.2.1"), 0, STICKY);
	s.scraped_ns = w.now / 4;
	put_score(0, s);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	/* Nobody else has a fresh one. */
	put_score(1, s);
	bind_client("192.0.2.1", 128, bound_to(0), POOL_GEN);
	assert_went(visit("192.0.2.1"), 0, STALE);
}

/* ---- homes --------------------------------------------------------------------------------------
 */

/* Gives the groups' homes to n endpoints in turn, from the first one on. */
static void put_homes(uint32_t pool_generation, uint32_t first, uint32_t n, uint32_t generation_off)
{
	static struct pintle_homes homes;
	uint32_t pool = POOL, zero = 0;
	int fd;

	homes.pool_generation = pool_generation;
	for (uint32_t i = 0; i < PINTLE_HOME_ENTRIES; i++) {
		uint32_t e = first + i % n;

		homes.home[i] = (struct pintle_ref){e, GEN(e) - generation_off};
	}
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "homes_inner", sizeof(uint32_t), sizeof(homes), 1,
			    NULL);
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_update_elem(fd, &zero, &homes, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(map_fd(homes), &pool, &fd, BPF_ANY), 0);
	close(fd);
	w.pool.group_kind = PINTLE_KEY_SOURCE;
	put_pool();
}

static void test_home(void **state)
{
	(void)state;
	two_endpoints(0);
	put_homes(POOL_GEN, 1, 1, 0);
	assert_went(visit("192.0.2.1"), 1, HOME);
	assert_went(visit("2001:db8::1"), 1, HOME);
	bind_client("192.0.2.1", 128, bound_to(0), POOL_GEN);
	assert_went(visit("192.0.2.1"), 0, STICKY);
	put_load(1, 50);
	assert_went(visit("192.0.2.2"), 0, ESCAPED);
	make_unready(1);
	assert_went(visit("192.0.2.2"), 0, LEAST_LOADED);
}

/* ---- what a pass says of the session ----------------------------------------------------------
 */

/* Endpoint 1, with this load, was passed over `age` ago. */
static void put_passed(double load, uint64_t age)
{
	struct pintle_score s;

	put_load(1, load);
	s = score_of(1);
	s.passed_ns = w.now - age;
	put_score(1, s);
}

static void test_a_crowd_is_not_held(void **state)
{
	struct pintle_affinity a = bound_to(1);

	(void)state;
	two_endpoints(0);
	a.open = DECIDE_MAX_BUSY;
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	a.open = DECIDE_MAX_BUSY + 1;
	bind_client("192.0.2.2", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.2"), 0, LEAST_LOADED);
	/* Kept-alive connections are no crowd, while a pass says that they are idle. */
	a.idle = 1;
	bind_client("192.0.2.3", 128, a, POOL_GEN);
	put_passed(5, SECOND);
	assert_went(visit("192.0.2.3"), 1, STICKY);
	put_passed(5, 3601 * SECOND);
	assert_went(visit("192.0.2.3"), 0, LEAST_LOADED);
}

static void test_a_crowd_has_a_home(void **state)
{
	struct pintle_affinity a = bound_to(0);

	(void)state;
	two_endpoints(0);
	put_homes(POOL_GEN, 1, 1, 0);
	a.open = DECIDE_MAX_BUSY + 1;
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.1"), 1, HOME);
}

/* By 200 bytes of context a request, 3,200 bytes are worth 17.6. */
static void test_a_long_context_is_held_longer(void **state)
{
	struct pintle_affinity a = bound_to(1);

	(void)state;
	two_endpoints(0);
	w.pool.context_bytes = 200;
	put_pool();
	a.context_bytes = 3200;
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	put_passed(17.5, SECOND);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	/* One is pending at endpoint 0 by now, at the most, and counts twice. */
	put_passed(19.6, SECOND);
	assert_went(visit("192.0.2.1"), 0, ESCAPED);
	/* A short one leaves sooner than maxExtraLoad would have it, which is 8 here. */
	a.context_bytes = 200;
	bind_client("192.0.2.2", 128, a, POOL_GEN);
	put_load(0, 0);
	put_passed(6, SECOND);
	assert_went(visit("192.0.2.2"), 0, ESCAPED);
}

/* The best endpoint has 10, so that twice 10 is allowed besides the context's 17.6. */
static void test_where_all_queue_a_session_is_held_longer(void **state)
{
	struct pintle_affinity a = bound_to(1);

	(void)state;
	two_endpoints(10);
	w.pool.context_bytes = 200;
	put_pool();
	a.context_bytes = 3200;
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	put_passed(37.5, SECOND);
	assert_went(visit("192.0.2.1"), 1, STICKY);
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	put_passed(39.6, SECOND);
	assert_went(visit("192.0.2.1"), 0, ESCAPED);
}

/* Its own binding is forgotten; what it said last is known still. */
static void test_a_home_is_held_by_the_sessions_context(void **state)
{
	struct pintle_affinity a = bound_to(1);

	(void)state;
	two_endpoints(0);
	put_homes(POOL_GEN, 1, 1, 0);
	w.pool.context_bytes = 200;
	put_pool();
	a.used_ns = w.now - w.pool.ttl_ns - SECOND;
	a.context_bytes = 3200;
	put_passed(17.5, SECOND);
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	assert_went(visit("192.0.2.1"), 1, HOME);
	assert_went(visit("192.0.2.2"), 0, ESCAPED); /* maxExtraLoad is 8 */
}

static void test_max_extra_load_holds_where_the_context_is_not_known(void **state)
{
	struct pintle_affinity a = bound_to(1);

	(void)state;
	two_endpoints(0);
	a.context_bytes = 200;
	bind_client("192.0.2.1", 128, a, POOL_GEN);
	put_passed(5, SECOND);
	assert_went(visit("192.0.2.1"), 1, STICKY); /* the pool sets maxExtraLoad */
	w.pool.context_bytes = 200;
	put_pool();
	put_passed(5, 3601 * SECOND);
	assert_went(visit("192.0.2.1"), 1, STICKY); /* the pass is too old */
	bind_client("192.0.2.2", 128, bound_to(1), POOL_GEN);
	put_passed(5, SECOND);
	assert_went(visit("192.0.2.2"), 1, STICKY); /* nothing is known of the session */
}

static void test_homes_that_do_not_hold(void **state)
{
	(void)state;
	two_endpoints(0);
	put_homes(POOL_GEN - 1, 1, 1, 0);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_homes(POOL_GEN, 1, 1, 1);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_homes(POOL_GEN, PINTLE_MAX_ENDPOINTS, 1, 0);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_homes(POOL_GEN, 1, 1, 0);
	w.pool.group_kind = PINTLE_KEY_NONE;
	put_pool();
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

static void test_a_group_has_one_home_and_groups_spread(void **state)
{
	uint32_t counts[8] = {0};
	char from[INET_ADDRSTRLEN];

	(void)state;
	make_endpoints(8);
	w.pool.max_extra_load = UINT32_MAX;
	put_homes(POOL_GEN, 0, 8, 0);
	for (uint32_t i = 0; i < 2000; i++) {
		struct seen first, neighbour;

		snprintf(from, sizeof(from), "10.%u.%u.1", i >> 8, i & 0xff);
		first = visit(from);
		snprintf(from, sizeof(from), "10.%u.%u.200", i >> 8, i & 0xff);
		neighbour = visit(from);
		assert_in_range(first.endpoint, 0, 7);
		assert_went(first, neighbour.endpoint, HOME);
		counts[first.endpoint]++;
	}
	assert_even(counts, 8, 2000);
}

/* ---- large pools
 * ------------------------------------------------------------------------------------ */

/* Only the `n` endpoints from `first` on listen. */
static void leave_listening(uint32_t first, uint32_t n)
{
	const struct pintle_health nobody = {0};

	for (uint32_t e = 0; e < w.pool.member_count; e++)
		if (e < first || e >= first + n)
			put(health, e, &nobody);
}

static void spread(uint32_t *counts, uint32_t first, uint32_t n, uint32_t visits)
{
	memset(counts, 0, n * sizeof(*counts));
	for (uint32_t i = 0; i < visits; i++) {
		struct seen seen = visit_nth(i);

		assert_in_range(seen.endpoint, first, first + n - 1);
		assert_int_equal(seen.cookie, w.cookie[0]);
		counts[seen.endpoint - first]++;
	}
}

static void baseline_is_even(uint32_t n, uint32_t visits)
{
	static uint32_t counts[MAX_WORLD];

	make_many_endpoints(n);
	w.pool.mode = PINTLE_MODE_BASELINE;
	put_pool();
	spread(counts, 0, n, visits);
	assert_even(counts, n, visits);
}

static void test_baseline_of_8(void **state)
{
	(void)state;
	baseline_is_even(8, 8000);
}

static void test_baseline_of_9(void **state)
{
	(void)state;
	baseline_is_even(9, 9000);
}

static void test_baseline_of_64(void **state)
{
	(void)state;
	baseline_is_even(64, 20000);
}

static void test_baseline_of_1000(void **state)
{
	(void)state;
	baseline_is_even(1000, 40000);
}

static void test_three_of_1000_are_found(void **state)
{
	uint32_t counts[3];

	(void)state;
	make_many_endpoints(1000);
	leave_listening(431, 3);
	w.pool.mode = PINTLE_MODE_BASELINE;
	put_pool();
	spread(counts, 431, 3, 3000);
	assert_even(counts, 3, 3000);
}

/* The daemon knew of two that are eligible; the kernel looks no further while it finds one. */
static void test_those_known_to_be_ready_come_first(void **state)
{
	uint32_t counts[2];

	(void)state;
	make_many_endpoints(1000);
	w.pool.ready = 2;
	for (uint32_t i = 0; i < 1000; i++)
		w.pool.order[i] = (uint16_t)((i + 431) % 1000);
	w.pool.mode = PINTLE_MODE_BASELINE;
	put_pool();
	spread(counts, 431, 2, 2000);
	assert_even(counts, 2, 2000);
	/* Both are gone since: another one is found. */
	leave_listening(700, 1);
	assert_int_equal(visit("192.0.2.77").endpoint, 700);
}

/* A pool whose order is that of another time, or never was one. */
static void test_an_order_out_of_range(void **state)
{
	(void)state;
	make_many_endpoints(20);
	w.pool.ready = 1000;
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	memset(w.pool.order, 0xff, sizeof(w.pool.order));
	put_pool();
	assert_int_equal(visit("192.0.2.1").endpoint, NOBODY);
}

static void test_a_smaller_sample(void **state)
{
	uint32_t counts[16] = {0};

	(void)state;
	make_many_endpoints(16);
	w.pool.sample = 2;
	w.pool.key_kind = PINTLE_KEY_NONE;
	put_pool();
	put_load(0, 0);
	for (uint32_t e = 1; e < 16; e++)
		put_load(e, 1000);
	for (uint32_t i = 0; i < 400; i++)
		counts[visit_nth(i).endpoint]++;
	/* The idle one is in an eighth of the samples. */
	assert_in_range(counts[0], 20, 100);
	/* A small pool is compared as a whole. */
	w.pool.member_count = 8;
	put_pool();
	for (uint32_t i = 1000; i < 1100; i++)
		assert_int_equal(visit_nth(i).endpoint, 0);
}

static void test_wide_ties(void **state)
{
	uint32_t counts[2] = {0};

	(void)state;
	two_endpoints(0);
	w.pool.tie = 10000;
	w.pool.key_kind = PINTLE_KEY_NONE;
	put_pool();
	for (uint32_t i = 0; i < 200; i++) {
		struct pintle_inflight none = {0};
		uint32_t e = visit_nth(i).endpoint;

		counts[e]++;
		put(inflight, e, &none);
	}
	/* The load of endpoint 1 is 5: it is chosen one time in eight. */
	assert_in_range(counts[1], 5, 60);
}

static void test_the_last_of_1000_is_found(void **state)
{
	uint32_t count;

	(void)state;
	make_many_endpoints(1000);
	leave_listening(999, 1);
	spread(&count, 999, 1, 100);
}

/* Only twenty neighbours listen: none of the twenty may be passed over. */
static void test_neighbours_in_a_large_pool_all_get_their_part(void **state)
{
	uint32_t counts[20];

	(void)state;
	make_many_endpoints(1000);
	leave_listening(300, 20);
	w.pool.mode = PINTLE_MODE_BASELINE;
	put_pool();
	spread(counts, 300, 20, 20000);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		assert_in_range(counts[i], 500, 2000);
}

/* Eight of sixteen are drawn, none twice: an idle endpoint is among them every other time. */
static void test_no_member_is_drawn_twice(void **state)
{
	uint32_t found = 0;

	(void)state;
	make_many_endpoints(16);
	for (uint32_t e = 1; e < 16; e++)
		put_load(e, 10000);
	for (uint32_t i = 0; i < 4000; i++) {
		struct pintle_inflight none = {0};

		found += visit_nth(i).endpoint == 0;
		put(inflight, 0U, &none);
	}
	assert_in_range(found, 1800, 2200);
}

static void test_the_preferred_one_need_not_be_drawn(void **state)
{
	(void)state;
	make_many_endpoints(1000);
	bind_client("192.0.2.1", 128, bound_to(777), POOL_GEN);
	for (int i = 0; i < 8; i++)
		assert_went(visit("192.0.2.1"), 777, STICKY);
	put_homes(POOL_GEN, 888, 1, 0);
	for (int i = 0; i < 8; i++)
		assert_went(visit("192.0.2.2"), 888, HOME);
}

/* A thousand placements in a pool of a thousand: no endpoint gets many. */
static void test_a_burst_over_a_large_pool_spreads(void **state)
{
	static uint32_t counts[MAX_WORLD];

	(void)state;
	make_many_endpoints(1000);
	spread(counts, 0, 1000, 1000);
	for (uint32_t e = 0; e < 1000; e++)
		assert_in_range(counts[e], 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_the_less_loaded),
		world_test(test_an_old_score_is_not_believed),
		world_test(test_a_score_being_written_is_not_believed),
		world_test(test_a_score_of_another_generation_makes_nobody_ready),
		world_test(test_with_the_daemon_gone_such_a_score_is_not_believed),
		world_test(test_nobody_fresh),
		world_test(test_connections_since_the_scrape_count),
		world_test(test_counts_of_all_classes_in_use),
		world_test(test_bound),
		world_test(test_bound_beyond_its_clients_share),
		world_test(test_a_look_up_binds_nothing),
		world_test(test_a_look_up_does_not_renew),
		world_test(test_bound_by_a_prefix),
		world_test(test_all_of_a_family_are_one_session),
		world_test(test_bindings_that_do_not_hold),
		world_test(test_bindings_to_one_not_eligible),
		world_test(test_a_pool_without_sessions),
		world_test(test_nobody_fresh_but_bound),
		world_test(test_a_lost_score_holds_no_session),
		world_test(test_home),
		world_test(test_a_crowd_is_not_held),
		world_test(test_a_crowd_has_a_home),
		world_test(test_a_long_context_is_held_longer),
		world_test(test_where_all_queue_a_session_is_held_longer),
		world_test(test_a_home_is_held_by_the_sessions_context),
		world_test(test_max_extra_load_holds_where_the_context_is_not_known),
		world_test(test_homes_that_do_not_hold),
		world_test(test_a_group_has_one_home_and_groups_spread),
		world_test(test_baseline_of_8),
		world_test(test_baseline_of_9),
		world_test(test_baseline_of_64),
		world_test(test_baseline_of_1000),
		world_test(test_three_of_1000_are_found),
		world_test(test_those_known_to_be_ready_come_first),
		world_test(test_an_order_out_of_range),
		world_test(test_a_smaller_sample),
		world_test(test_wide_ties),
		world_test(test_the_last_of_1000_is_found),
		world_test(test_neighbours_in_a_large_pool_all_get_their_part),
		world_test(test_no_member_is_drawn_twice),
		world_test(test_the_preferred_one_need_not_be_drawn),
		world_test(test_a_burst_over_a_large_pool_spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
