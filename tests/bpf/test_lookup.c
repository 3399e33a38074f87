/* SPDX-License-Identifier: Apache-2.0 */
/* The lookup hook: which segments it takes, in which mode, and to which socket; what it remembers
 * and counts. test_choice.c tests how loads decide. */
#define PROGRAMS "pintle_lookup", "pintle_recount_pending"
#include "support_world.h"
#include "rule/trial.bpf.h"

/* ---- which segments ------------------------------------------------------------------ */

#define OTHER_POOL 9

/* The frontends of the table below, beside 10.77.0.1:8000 and [fd77::1]:8000 of POOL. */
static void put_more_frontends(void)
{
	const struct pintle_frontend ours = {POOL, POOL_GEN, PINTLE_HOOK_LOOKUP, 0, 128};
	const struct pintle_frontend other = {OTHER_POOL, 1, PINTLE_HOOK_LOOKUP, 0, 128};
	struct pintle_pool other_pool = {.generation = 1, .mode = PINTLE_MODE_OFF};
	struct pintle_frontend old = ours, connect = ours, beyond = ours, never = ours;
	struct pintle_frontend_key scoped = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + 128,
		.scope = 1,
		.port = 8000,
		.protocol = IPPROTO_TCP,
	};

	put(pools, (uint32_t)OTHER_POOL, &other_pool);
	put_frontend("10.77.1.0", 24, 8000, ours);
	put_frontend("10.77.1.7", 32, 8000, other);
	put_frontend("fd77:1::", 64, 8000, ours);
	put_frontend("10.77.2.1", 32, 80, ours);
	old.generation--;
	put_frontend("10.77.3.1", 32, 8000, old);
	connect.decided_by = PINTLE_HOOK_LOOKUP + 1;
	put_frontend("10.77.3.2", 32, 8000, connect);
	beyond.pool = PINTLE_MAX_POOLS;
	put_frontend("10.77.3.3", 32, 8000, beyond);
	never.pool = OTHER_POOL + 1;
	never.generation = 0;
	put_frontend("10.77.3.4", 32, 8000, never);
	address_of("10.77.4.1", scoped.address);
	put(frontends, scoped, &ours);
}

/* clang-format off */
static const struct {
	const char *says;
	struct segment segment;
	int pool; /* -1: no pool's */
} segments[] = {
	{"IPv4", {.from = "192.0.2.1", .to = "10.77.0.1"}, POOL},
	{"IPv6", {.from = "2001:db8::1", .to = "fd77::1"}, POOL},
	{"another address", {.from = "192.0.2.1", .to = "10.77.0.2"}, -1},
	{"another IPv6 address", {.from = "2001:db8::1", .to = "fd77::2"}, -1},
	{"another port", {.from = "192.0.2.1", .to = "10.77.0.1", .to_port = 8001}, -1},
	{"the same port as bytes the other way round",
		{.from = "192.0.2.1", .to = "10.77.0.1", .to_port = 0x401f}, -1},
	{"UDP", {.from = "192.0.2.1", .to = "10.77.0.1", .protocol = IPPROTO_UDP}, -1},
	{"UDP over IPv6", {.from = "2001:db8::1", .to = "fd77::1", .protocol = IPPROTO_UDP}, -1},
	{"first of a prefix", {.from = "192.0.2.1", .to = "10.77.1.0"}, POOL},
	{"last of a prefix", {.from = "192.0.2.1", .to = "10.77.1.255"}, POOL},
	{"beside a prefix", {.from = "192.0.2.1", .to = "10.77.2.0"}, -1},
	{"a longer prefix of another pool inside", {.from = "192.0.2.1", .to = "10.77.1.7"},
		OTHER_POOL},
	{"an IPv6 prefix", {.from = "2001:db8::1", .to = "fd77:1::ffff:1:2"}, POOL},
	{"beside an IPv6 prefix", {.from = "2001:db8::1", .to = "fd77:1:0:1::"}, -1},
	{"v4-mapped addresses in an IPv6 segment",
		{.from = "::ffff:192.0.2.1", .to = "::ffff:10.77.0.1"}, POOL},
	{"a frontend at another port", {.from = "192.0.2.1", .to = "10.77.2.1", .to_port = 80}, POOL},
	{"and not at the usual one", {.from = "192.0.2.1", .to = "10.77.2.1"}, -1},
	{"a frontend of a pool that is gone", {.from = "192.0.2.1", .to = "10.77.3.1"}, -1},
	{"a frontend of another hook", {.from = "192.0.2.1", .to = "10.77.3.2"}, -1},
	{"a pool beyond the last", {.from = "192.0.2.1", .to = "10.77.3.3"}, -1},
	{"a pool never made", {.from = "192.0.2.1", .to = "10.77.3.4"}, -1},
	{"a frontend of another scope", {.from = "192.0.2.1", .to = "10.77.4.1"}, -1},
};
/* clang-format on */

static void test_whose_segments(void **state)
{
	(void)state;
	make_endpoints(1);
	put_more_frontends();
	for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
		struct segment s = segments[i].segment;
		int pool = segments[i].pool;
		struct seen seen;

		s.port = (uint16_t)(5000 + i);
		seen = look_up(s);
		if (seen.verdict != SK_PASS || seen.cookie != (pool == POOL ? w.cookie[0] : 0) ||
		    seen.remembered != (pool >= 0) ||
		    (seen.remembered && seen.decision.pool != (uint32_t)pool))
			fail_msg("not so: %s", segments[i].says);
	}
}

/* ---- modes ----------------------------------------------------------------------------- */

static void set_mode(enum pintle_mode mode)
{
	w.pool.mode = mode;
	put_pool();
}

static void test_off_passes_and_counts_once(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};
	struct seen seen;

	(void)state;
	make_endpoints(2);
	set_mode(PINTLE_MODE_OFF);
	for (int i = 0; i < 3; i++) {
		seen = look_up(s);
		assert_int_equal(seen.verdict, SK_PASS);
		assert_int_equal(seen.cookie, 0);
		assert_int_equal(seen.endpoint, NOBODY);
		assert_int_equal(seen.decision.outcome, PINTLE_OUTCOME_PASSED);
	}
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_PASSED), 1);
	assert_int_equal(decisions(), 1);
	assert_int_equal(counters_of(0).placed + counters_of(1).placed, 0);
}

static void test_mode_changes_under_a_client(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(1);
	set_mode(PINTLE_MODE_OFF);
	assert_int_equal(look_up(s).cookie, 0);
	set_mode(PINTLE_MODE_ENFORCE);
	assert_went(look_up(s), 0, LEAST_LOADED);
	set_mode(PINTLE_MODE_OFF);
	assert_int_equal(look_up(s).cookie, 0);
	assert_int_equal(decisions(), 3);
}

static void test_baseline_is_even_and_binds_to_nothing(void **state)
{
	struct pintle_affinity a = {.endpoint = 2, .generation = GEN(2), .used_ns = w.now};
	struct pintle_affinity_key key = {.pool = POOL,
					  .pool_generation = POOL_GEN,
					  .session = {PINTLE_KEY_SOURCE, 128, {0}}};
	uint32_t counts[4] = {0};

	(void)state;
	make_endpoints(4);
	put_load(1, 500);
	set_mode(PINTLE_MODE_BASELINE);
	address_of("192.0.2.1", key.session.id);
	put(affinity, key, &a);
	for (int i = 0; i < 4000; i++) {
		struct seen seen = visit("192.0.2.1");

		assert_in_range(seen.endpoint, 0, 3);
		assert_went(seen, seen.endpoint, RANDOM);
		counts[seen.endpoint]++;
	}
	assert_even(counts, 4, 4000);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_RANDOM), 4000);
}

/* Placements are baseline's, whatever the loads and bindings; the rule's decisions are counted
 * apart, and keep a session together as the rule would. */
static void test_shadow_places_as_baseline_and_counts_the_rule(void **state)
{
	struct pintle_affinity a = {.endpoint = 2, .generation = GEN(2), .used_ns = w.now};
	struct pintle_affinity_key key = {.pool = POOL,
					  .pool_generation = POOL_GEN,
					  .session = {PINTLE_KEY_SOURCE, 128, {0}}};
	uint32_t counts[4] = {0};

	(void)state;
	make_endpoints(4);
	put_load(0, 500);
	put_load(1, 500);
	put_load(2, 500); /* the session is bound there, which mode shadow does not look at */
	set_mode(PINTLE_MODE_SHADOW);
	address_of("192.0.2.1", key.session.id);
	put(affinity, key, &a);
	for (int i = 0; i < 4000; i++) {
		struct seen seen = visit("192.0.2.1");

		assert_in_range(seen.endpoint, 0, 3);
		assert_went(seen, seen.endpoint, RANDOM);
		counts[seen.endpoint]++;
	}
	assert_even(counts, 4, 4000);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_RANDOM), 4000);
	assert_int_equal(decisions(), 4000);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_LEAST_LOADED) +
				 shadow_outcomes(POOL, PINTLE_OUTCOME_STICKY) +
				 shadow_outcomes(POOL, PINTLE_OUTCOME_ESCAPED),
			 4000);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_LEAST_LOADED), 1);
	assert_int_not_equal(shadow_placed(3), 0);
	assert_int_equal(shadow_placed(0) + shadow_placed(1) + shadow_placed(2) + shadow_placed(3),
			 4000);
	get(affinity, key, &a);
	assert_int_equal(a.endpoint, 2);
	get(shadow_bindings, key, &a);
	assert_in_range(a.endpoint, 0, 3);
}

/* With one session and even loads, the rule would have stayed at one endpoint. */
static void test_shadow_would_keep_a_session(void **state)
{
	(void)state;
	make_endpoints(4);
	w.pool.max_extra_load = PINTLE_MAX_LOAD;
	set_mode(PINTLE_MODE_SHADOW);
	for (int i = 0; i < 100; i++)
		visit("192.0.2.1");
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_STICKY), 99);
	for (uint32_t e = 0; e < 4; e++)
		assert_true(!shadow_placed(e) || shadow_placed(e) == 100);
	/* From enforce on it begins anew: nothing was bound. */
	set_mode(PINTLE_MODE_ENFORCE);
	assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_LEAST_LOADED);
}

/* An endpoint that stands still is tried by a real connection only. */
static void test_shadow_tries_nobody(void **state)
{
	struct pintle_health h;

	(void)state;
	make_endpoints(2);
	h = health_of(0);
	h.standing = PINTLE_STANDING_STOPPED;
	h.stands_until_ns = w.now + 100 * SECOND;
	h.try_ns = 1;
	put(health, 0U, &h);
	set_mode(PINTLE_MODE_SHADOW);
	assert_went(visit("192.0.2.1"), 0, TRIED);
	assert_went(visit("192.0.2.1"), 1, RANDOM);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_TRIED), 0);
	assert_int_equal(shadow_placed(0), 0);
	assert_int_equal(shadow_placed(1), 2);
}

static uint64_t try_of(uint32_t endpoint)
{
	return health_of(endpoint).try_ns;
}

/* One connection takes the try of an endpoint that stands still, once it is due. No other does
 * until the daemon gives the next one: without a daemon, none. */
static void test_one_connection_takes_the_try(void **state)
{
	struct pintle_health h;
	int tried = 0;

	(void)state;
	make_endpoints(2);
	h = health_of(0);
	h.standing = PINTLE_STANDING_STALLED;
	h.stands_until_ns = w.now + 100 * SECOND;
	h.try_ns = w.now + 100 * SECOND;
	put(health, 0U, &h);
	for (int i = 0; i < 20; i++)
		assert_int_not_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_TRIED);
	assert_int_equal(try_of(0), h.try_ns);
	h.try_ns = w.now;
	put(health, 0U, &h);
	for (int i = 0; i < 20; i++)
		tried += visit("192.0.2.1").decision.outcome == PINTLE_OUTCOME_TRIED;
	assert_int_equal(tried, 1);
	assert_int_equal(try_of(0), 0);
	h.try_ns = 0;
	put(health, 0U, &h);
	for (int i = 0; i < 20; i++)
		assert_int_not_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_TRIED);
	/* The next one. */
	h.try_ns = 1;
	put(health, 0U, &h);
	assert_went(visit("192.0.2.2"), 0, TRIED);
	assert_int_equal(try_of(0), 0);
}

static void test_what_the_operator_set_goes_before_the_file(void **state)
{
	(void)state;
	make_endpoints(1);
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_OFF);
	assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_BASELINE);
	assert_went(visit("192.0.2.1"), 0, RANDOM);
	set_mode(PINTLE_MODE_OFF);
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_ENFORCE);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

static void test_what_was_set_for_another_is_ignored(void **state)
{
	(void)state;
	make_endpoints(1);
	put_override(POOL, POOL_GEN - 1, PINTLE_OVERRIDE_MODE, PINTLE_MODE_OFF);
	put_override(PINTLE_ENDPOINT_SLOT(0), GEN(0) - 1, PINTLE_OVERRIDE_DRAIN, 0);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_DRAIN, PINTLE_MODE_OFF);
	put_override(PINTLE_ENDPOINT_SLOT(0), GEN(0), PINTLE_OVERRIDE_MODE, 0);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

/* In each block of an A/B test the mode that the host's text says; before, after and without it,
 * and while no daemon lives, the pool's own. */
static void test_an_ab_test(void **state)
{
	const struct pintle_ref key = {POOL, POOL_GEN}, other = {POOL, POOL_GEN - 1};
	/* The machine may have been booted just now. */
	struct pintle_trial t = {.period_ns = w.now / 8};
	uint32_t arms[2] = {0};

	(void)state;
	make_endpoints(1);
	set_mode(PINTLE_MODE_OFF);
	for (uint64_t seed = 0; seed < 50; seed++) {
		uint32_t block = (uint32_t)seed % 4;
		bool enforce;

		t.seed = seed;
		t.since_ns = w.now - block * t.period_ns - t.period_ns / 2;
		t.until_ns = t.since_ns + 4 * t.period_ns;
		enforce = trial_mode_in(&t, block) == PINTLE_MODE_ENFORCE;
		arms[enforce]++;
		put(trials, key, &t);
		put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_TRIAL, 0);
		if (enforce)
			assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
		else
			assert_went(visit("192.0.2.1"), 0, RANDOM);
		put_heartbeat(w.now - w.pool.staleness_ns - SECOND);
		assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
		put_heartbeat(w.now);
		put_override(POOL, POOL_GEN, 0, 0);
		assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
	}
	assert_true(arms[0] > 10 && arms[1] > 10);
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_TRIAL | PINTLE_OVERRIDE_MODE, PINTLE_MODE_OFF);
	t.until_ns = w.now - 1;
	put(trials, key, &t);
	assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
	memset(&t, 0, sizeof(t));
	put(trials, key, &t);
	assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
	memset(&t, 0xff, sizeof(t));
	put(trials, key, &t);
	assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
	bpf_map_delete_elem(map_fd(trials), &key);
	t = (struct pintle_trial){.until_ns = UINT64_MAX, .period_ns = UINT64_MAX / 2};
	put(trials, other, &t);
	assert_int_equal(visit("192.0.2.1").decision.outcome, PINTLE_OUTCOME_PASSED);
}

/* ---- which endpoints are eligible ---------------------------------------------------------- */

static void test_drained_gets_no_more(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	assert_went(look_up(s), 0, LEAST_LOADED);
	put_override(PINTLE_ENDPOINT_SLOT(0), GEN(0), PINTLE_OVERRIDE_DRAIN, 0);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	/* A connection under way stays at its endpoint. */
	assert_went(look_up(s), 0, LEAST_LOADED);
	/* FailOpen does not choose a drained endpoint either. */
	put_override(PINTLE_ENDPOINT_SLOT(1), GEN(1), PINTLE_OVERRIDE_DRAIN, 0);
	assert_nobody(visit("192.0.2.1"), SK_PASS);
}

static void test_listening_is_not_ready(void **state)
{
	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	make_unready(0);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	/* A scrape that began after it listened. */
	struct pintle_score s = score_of(0);
	s.scraped_ns = health_of(0).listening_since_ns;
	put(scores, 0U, &s);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

static void test_with_the_daemon_gone_listening_is_ready(void **state)
{
	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	make_unready(0);
	put_heartbeat(0);
	w.pool.staleness_ns = w.now / 2;
	put_pool();
	assert_int_equal(visit("192.0.2.1").endpoint, 0);
}

static void test_who_does_not_listen_is_not_eligible(void **state)
{
	struct pintle_health h;

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	h = health_of(0);
	h.listening_since_ns = 0;
	put(health, 0U, &h);
	put_heartbeat(0);
	assert_went_to(visit("192.0.2.1"), 1);
}

static void test_of_another_pool_is_not_eligible(void **state)
{
	struct pintle_endpoint e = {
		.generation = GEN(0), .pool = POOL + 1, .pool_generation = POOL_GEN};

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	put(endpoints, 0U, &e);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	e.pool = POOL;
	e.pool_generation--;
	put(endpoints, 0U, &e);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	e.pool_generation = 0; /* the slot is empty */
	put(endpoints, 0U, &e);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
}

static void test_an_id_used_again_is_somebody_else(void **state)
{
	struct pintle_endpoint e = {
		.generation = GEN(0) + 1, .pool = POOL, .pool_generation = POOL_GEN};
	const struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	assert_went(look_up(s), 0, LEAST_LOADED);
	put(endpoints, 0U, &e);
	assert_went(look_up(s), 1, LEAST_LOADED);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
}

/* ---- families ----------------------------------------------------------------------------------
 */

static void replace_listener(uint32_t e, int kind)
{
	close_listener(e);
	w.listener[e] = make_listener(kind);
	w.cookie[e] = cookie_of(w.listener[e]);
	put_socket(e, 0, w.listener[e]);
}

/* `health` says both families, and only an attempt shows that one is refused. */
static void refuses_family(int kind, const char *client, uint32_t left)
{
	make_endpoints(2);
	put_load(1, 50);
	replace_listener(0, kind);
	assert_went(visit(client), 1, LEAST_LOADED);
	assert_int_equal(health_of(0).families, left);
	assert_int_equal(counters_of(0).placed, 1);
	assert_int_equal(counters_of(0).failed, 1);
	assert_int_equal(counters_of(1).placed, 1);
	assert_int_equal(counters_of(1).failed, 0);
	assert_int_equal(decisions(), 1);
	/* From now on the hook knows. */
	assert_went(visit(client), 1, LEAST_LOADED);
	assert_int_equal(counters_of(0).placed, 1);
	assert_went(visit(strchr(client, ':') ? "192.0.2.1" : "2001:db8::1"), 0, LEAST_LOADED);
	assert_true(health_of(0).listening_since_ns);
}

static void test_v6only_takes_no_v4(void **state)
{
	(void)state;
	refuses_family(V6ONLY, "192.0.2.1", PINTLE_FAMILY_V6);
}

static void test_v4_takes_no_v6(void **state)
{
	(void)state;
	refuses_family(V4, "2001:db8::1", PINTLE_FAMILY_V4);
}

static void test_a_dual_stack_listener_takes_both(void **state)
{
	(void)state;
	make_endpoints(1);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	assert_went(visit("2001:db8::1"), 0, LEAST_LOADED);
	assert_int_equal(counters_of(0).failed, 0);
}

static void test_nobody_for_that_family(void **state)
{
	(void)state;
	make_endpoints(1);
	replace_listener(0, V4);
	assert_nobody(visit("2001:db8::1"), SK_PASS);
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	put_pool();
	assert_nobody(visit("2001:db8::1"), SK_DROP);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
}

/* ---- listeners that go away, and several of them
 * -------------------------------------------------- */

static void test_a_closed_listener_is_left(void **state)
{
	struct pintle_health h;

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	close_listener(0);
	assert_went(visit("192.0.2.1"), 1, LEAST_LOADED);
	h = health_of(0);
	assert_int_equal(h.listening_since_ns, 0);
	assert_int_equal(h.listeners, 0);
	assert_int_equal(counters_of(0).placed, 1);
	assert_int_equal(counters_of(0).failed, 1);
	assert_int_equal(decisions(), 1);
}

static void test_all_listeners_closed(void **state)
{
	(void)state;
	make_endpoints(3);
	for (uint32_t e = 0; e < 3; e++)
		close_listener(e);
	assert_nobody(visit("192.0.2.1"), SK_PASS);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 1);
	assert_int_equal(decisions(), 1);
	for (uint32_t e = 0; e < 3; e++) {
		assert_int_equal(counters_of(e).placed, 1);
		assert_int_equal(counters_of(e).failed, 1);
	}
}

static void test_any_slot_will_do(void **state)
{
	(void)state;
	make_endpoints(1);
	close_listener(0);
	w.listener[0] = make_listener(V6);
	w.cookie[0] = cookie_of(w.listener[0]);
	put_socket(0, PINTLE_SOCKETS_PER_ENDPOINT - 1, w.listener[0]);
	assert_went(visit("192.0.2.1"), 0, LEAST_LOADED);
	assert_int_equal(counters_of(0).failed, 0);
}

static void test_several_listeners_close_in_either_order(void **state)
{
	int second = make_listener(V6), third = make_listener(V6);
	struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(1);
	put_socket(0, 4, second);
	put_socket(0, 9, third);
	assert_int_equal(look_up(s).cookie, w.cookie[0]);
	close_listener(0);
	assert_int_equal(look_up(s).cookie, cookie_of(second));
	close(third);
	assert_int_equal(look_up(s).cookie, cookie_of(second));
	close(second);
	assert_nobody(look_up(s), SK_PASS);
}

static void test_one_listener_for_each_family(void **state)
{
	int v6 = make_listener(V6ONLY);

	(void)state;
	make_endpoints(1);
	replace_listener(0, V4);
	put_socket(0, 1, v6);
	assert_int_equal(visit("192.0.2.1").cookie, w.cookie[0]);
	assert_int_equal(visit("2001:db8::1").cookie, cookie_of(v6));
	assert_int_equal(health_of(0).families, PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6);
	assert_int_equal(counters_of(0).failed, 0);
	close(v6);
}

static void test_the_next_endpoint_has_its_own_slots(void **state)
{
	(void)state;
	make_endpoints(3);
	close_listener(1);
	for (int i = 0; i < 32; i++)
		assert_int_not_equal(visit("192.0.2.1").endpoint, 1);
}

/* ---- decisions are remembered
 * ------------------------------------------------------------------------ */

static void test_a_second_segment_counts_nothing(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};
	struct seen first, again;

	(void)state;
	make_endpoints(4);
	first = look_up(s);
	assert_in_range(first.endpoint, 0, 3);
	for (uint32_t i = 0; i < 100; i++) {
		put_load(first.endpoint, i);
		again = look_up(s);
		assert_int_equal(again.cookie, first.cookie);
		assert_memory_equal(&again.decision, &first.decision, sizeof(first.decision));
	}
	assert_int_equal(counters_of(first.endpoint).placed, 1);
	assert_int_equal(counters_of(first.endpoint).failed, 0);
	assert_int_equal(decisions(), 1);
}

/* Makes the decision older by this much. */
static void age_decision(const struct segment *s, uint64_t ns)
{
	struct pintle_tuple t = tuple_of(s);
	struct pintle_decision d;

	get(pending, t, &d);
	d.decided_ns -= ns;
	put(pending, t, &d);
}

static void test_for_ten_seconds(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	assert_went(look_up(s), 0, LEAST_LOADED);
	put_load(0, 90);
	age_decision(&s, PINTLE_PENDING_NS + 1);
	assert_went(look_up(s), 1, LEAST_LOADED);
	assert_int_equal(decisions(), 2);
	assert_int_equal(counters_of(0).failed, 1);
	/* Another processor's clock may be a moment ahead. */
	age_decision(&s, -(uint64_t)SECOND);
	put_load(0, 0);
	assert_went(look_up(s), 1, LEAST_LOADED);
	assert_int_equal(decisions(), 2);
}

static uint64_t waiting(uint32_t e)
{
	struct pintle_counters n = counters_of(e);

	return n.placed - n.opened - n.failed;
}

/* The decision is replaced by the decision to leave the segment alone. */
static void test_switched_off_while_it_waits(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(1);
	look_up(s);
	assert_int_equal(waiting(0), 1);
	set_mode(PINTLE_MODE_OFF);
	look_up(s);
	look_up(s);
	assert_int_equal(waiting(0), 0);
	assert_int_equal(counters_of(0).failed, 1);
}

static uint64_t recount_pending(uint32_t e)
{
	return recount_by(w.skel->progs.pintle_recount_pending, map_fd(pending), e) /
	       PINTLE_RECOUNT_PENDING;
}

static void test_a_recount_ends_what_nobody_answered(void **state)
{
	const struct segment old = {.from = "192.0.2.1", .port = 5000};
	struct pintle_endpoint e = {
		.generation = GEN(0) + 1, .pool = POOL, .pool_generation = POOL_GEN};

	(void)state;
	make_endpoints(1);
	look_up(old);
	for (int i = 0; i < 9; i++)
		visit("192.0.2.1");
	assert_int_equal(recount_pending(0), 10);
	assert_int_equal(waiting(0), 10);
	age_decision(&old, PINTLE_PENDING_NS + 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(recount_pending(0), 9);
		assert_int_equal(waiting(0), 9);
	}
	/* The old decision's end is counted already. */
	look_up(old);
	assert_int_equal(recount_pending(0), 10);
	assert_int_equal(waiting(0), 10);
	assert_int_equal(counters_of(0).failed, 1);
	/* None of these decisions counts for the next endpoint with this id. */
	age_decision(&old, PINTLE_PENDING_NS + 1);
	put(endpoints, 0U, &e);
	assert_int_equal(recount_pending(0), 0);
	look_up(old);
	assert_int_equal(counters_of(0).failed, 1);
}

static void test_other_tuples_are_other_decisions(void **state)
{
	(void)state;
	make_endpoints(1);
	look_up((struct segment){.from = "192.0.2.1", .port = 5000});
	look_up((struct segment){.from = "192.0.2.1", .port = 5001});
	look_up((struct segment){.from = "192.0.2.2", .port = 5000});
	look_up((struct segment){.from = "2001:db8::1", .port = 5000});
	assert_int_equal(counters_of(0).placed, 4);
	assert_int_equal(decisions(), 4);
}

static void test_a_remembered_listener_is_gone(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};

	(void)state;
	make_endpoints(2);
	put_load(1, 50);
	assert_went(look_up(s), 0, LEAST_LOADED);
	close_listener(0);
	assert_went(look_up(s), 1, LEAST_LOADED);
	assert_int_equal(counters_of(0).placed, 1);
	assert_int_equal(counters_of(0).failed, 1);
	assert_int_equal(counters_of(1).placed, 1);
	assert_int_equal(health_of(0).listening_since_ns, 0);
	assert_int_equal(decisions(), 2);
	assert_went(look_up(s), 1, LEAST_LOADED);
	assert_int_equal(counters_of(0).failed, 1);
}

/* ---- nobody is ready
 * ------------------------------------------------------------------------------------- */

static void test_fail_open_hashes_over_all(void **state)
{
	uint32_t counts[4] = {0};

	(void)state;
	make_endpoints(4);
	for (uint32_t e = 0; e < 4; e++)
		make_unready(e);
	for (uint32_t i = 0; i < 4000; i++) {
		struct seen seen = visit_nth(i);

		assert_in_range(seen.endpoint, 0, 3);
		assert_went(seen, seen.endpoint, NO_ENDPOINT);
		counts[seen.endpoint]++;
	}
	assert_even(counts, 4, 4000);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 4000);
}

static void test_fail_open_is_repeatable(void **state)
{
	const struct segment s = {.from = "192.0.2.1", .port = 5000};
	struct pintle_tuple t = tuple_of(&s);
	struct seen first, again;

	(void)state;
	make_endpoints(8);
	for (uint32_t e = 0; e < 8; e++)
		make_unready(e);
	first = look_up(s);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(bpf_map_delete_elem(map_fd(pending), &t), 0);
		again = look_up(s);
		assert_int_equal(again.cookie, first.cookie);
	}
	/* The choice after a listener is gone is fixed, too. */
	close_listener(first.endpoint);
	first = look_up(s);
	assert_int_not_equal(first.cookie, again.cookie);
	assert_true(first.cookie);
}

static void test_fail_open_knows_who_is_gone(void **state)
{
	struct pintle_endpoint e = {
		.generation = GEN(0) + 1, .pool = POOL + 1, .pool_generation = POOL_GEN};

	(void)state;
	make_endpoints(2);
	make_unready(0);
	make_unready(1);
	put(endpoints, 0U, &e);
	for (uint32_t i = 0; i < 20; i++)
		assert_went(visit_nth(i), 1, NO_ENDPOINT);
}

static void test_fail_close_refuses(void **state)
{
	(void)state;
	make_endpoints(2);
	make_unready(0);
	make_unready(1);
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	put_pool();
	assert_nobody(visit("192.0.2.1"), SK_DROP);
	assert_nobody(visit("2001:db8::1"), SK_DROP);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 2);
}

static void test_an_empty_pool(void **state)
{
	(void)state;
	assert_nobody(visit("192.0.2.1"), SK_PASS);
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	put_pool();
	assert_nobody(visit("192.0.2.1"), SK_DROP);
}

/* ---- counts
 * ------------------------------------------------------------------------------------------------
 */

static void test_counted_before_the_next_decision(void **state)
{
	(void)state;
	make_endpoints(4);
	for (uint32_t i = 0; i < 40; i++)
		visit_nth(i);
	for (uint32_t e = 0; e < 4; e++)
		assert_int_equal(counters_of(e).placed, 10);
}

static void test_outcomes_add_up(void **state)
{
	uint64_t placed = 0;

	(void)state;
	make_endpoints(4);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t e = i % 4;

		put_load(e, i % 30);
		if (i == 500)
			close_listener(2);
		put_override(POOL, POOL_GEN, i % 5 ? 0 : PINTLE_OVERRIDE_MODE, (i / 5) % 3);
		visit_nth(i);
	}
	for (uint32_t e = 0; e < 4; e++) {
		struct pintle_counters n = counters_of(e);

		placed += n.placed - n.failed;
		assert_int_equal(n.opened + n.closed, 0);
	}
	assert_int_equal(decisions(), 1000);
	assert_int_equal(placed + outcomes(POOL, PINTLE_OUTCOME_PASSED), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_whose_segments),
		world_test(test_off_passes_and_counts_once),
		world_test(test_mode_changes_under_a_client),
		world_test(test_baseline_is_even_and_binds_to_nothing),
		world_test(test_shadow_places_as_baseline_and_counts_the_rule),
		world_test(test_shadow_would_keep_a_session),
		world_test(test_shadow_tries_nobody),
		world_test(test_one_connection_takes_the_try),
		world_test(test_what_the_operator_set_goes_before_the_file),
		world_test(test_what_was_set_for_another_is_ignored),
		world_test(test_an_ab_test),
		world_test(test_drained_gets_no_more),
		world_test(test_listening_is_not_ready),
		world_test(test_with_the_daemon_gone_listening_is_ready),
		world_test(test_who_does_not_listen_is_not_eligible),
		world_test(test_of_another_pool_is_not_eligible),
		world_test(test_an_id_used_again_is_somebody_else),
		world_test(test_v6only_takes_no_v4),
		world_test(test_v4_takes_no_v6),
		world_test(test_a_dual_stack_listener_takes_both),
		world_test(test_nobody_for_that_family),
		world_test(test_a_closed_listener_is_left),
		world_test(test_all_listeners_closed),
		world_test(test_any_slot_will_do),
		world_test(test_several_listeners_close_in_either_order),
		world_test(test_one_listener_for_each_family),
		world_test(test_the_next_endpoint_has_its_own_slots),
		world_test(test_a_second_segment_counts_nothing),
		world_test(test_for_ten_seconds),
		world_test(test_switched_off_while_it_waits),
		world_test(test_a_recount_ends_what_nobody_answered),
		world_test(test_other_tuples_are_other_decisions),
		world_test(test_a_remembered_listener_is_gone),
		world_test(test_fail_open_hashes_over_all),
		world_test(test_fail_open_is_repeatable),
		world_test(test_fail_open_knows_who_is_gone),
		world_test(test_fail_close_refuses),
		world_test(test_an_empty_pool),
		world_test(test_counted_before_the_next_decision),
		world_test(test_outcomes_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
