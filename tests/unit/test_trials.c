/* SPDX-License-Identifier: Apache-2.0 */
/* What pintled measures of A/B tests: over blocks, its own absence, and tests that end early. The
 * maps are real, and the clock is the test's. */
#include "support_pins.h"

#include "../../userspace/pintled/observe/trials.h"
#include "rule/trial.bpf.h"

#define SEC     NSEC_PER_SEC
#define START   (1000 * SEC)
#define PERIOD  (100 * SEC)
#define WASHOUT (10 * SEC)
#define BEAT    (SEC / 2)

static const struct pintle_ref llama = {LLAMA, LLAMA_GEN};

struct clocked {
	struct pins p;
	uint64_t now;
	struct pintle_trial trial;
};
static struct clocked c;

static int setup(void **state)
{
	struct pintle_pool pool;

	c.p = *(struct pins *)*state;
	pins_zero(&c.p);
	pins_fill_node(&c.p);
	pins_fill_pools(&c.p);
	pins_fill_endpoints(&c.p);
	assert_int_equal(maps_value(c.p.m, MAP_pools, LLAMA, &pool), 0);
	pool.staleness_ns = 2 * SEC;
	pins_at(&c.p, MAP_pools, LLAMA, &pool);
	c.now = START - SEC;
	c.p.m->node->heartbeat_ns = c.now;
	return 0;
}

static void begin(uint32_t blocks)
{
	struct pintle_override o = {.generation = LLAMA_GEN, .flags = PINTLE_OVERRIDE_TRIAL};

	c.trial = (struct pintle_trial){c.now, c.now + blocks * PERIOD, PERIOD, WASHOUT, 77};
	pins_at(&c.p, MAP_overrides, LLAMA, &o);
	pins_set(&c.p, MAP_trials, &llama, &c.trial);
}

static void beat(void)
{
	trials_look(c.p.m, c.now);
	c.p.m->node->heartbeat_ns = c.now;
}

/* Beats until that time of the test. */
static void live_until(uint64_t after)
{
	for (; c.now < c.trial.since_ns + after; c.now += BEAT)
		beat();
}

/* So many answers that took this long, as the kernel would count them. Returns false if nothing
 * counts answers of that block. */
static bool answers(uint32_t number, uint64_t n, uint32_t bucket)
{
	struct pintle_trial_block key = {llama, 77, number};
	struct pintle_firsts f;

	if (bpf_map_lookup_elem(c.p.m->fd[MAP_trial_blocks], &key, &f))
		return false;
	f.answers += n;
	f.waited_ns += n * 20000000;
	f.bucket[bucket] += n;
	pins_set(&c.p, MAP_trial_blocks, &key, &f);
	return true;
}

static struct pintle_trial_result *result(void)
{
	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++)
		if (c.p.m->trial_results[i].pool.generation)
			return &c.p.m->trial_results[i];
	return NULL;
}

static size_t entries(enum map_id map)
{
	char key[64];
	void *previous = NULL;
	size_t n = 0;

	for (; !bpf_map_get_next_key(c.p.m->fd[map], previous, key); previous = key)
		n++;
	return n;
}

static void test_a_whole_one(void **state)
{
	struct pintle_trial_result *r;

	(void)state;
	begin(4);
	for (uint32_t k = 0; k < 4; k++) {
		live_until(k * PERIOD + 5 * SEC);
		assert_true(answers(k, 30, 60));
		live_until(k * PERIOD + 50 * SEC);
		pins_decisions(&c.p, LLAMA, PINTLE_OUTCOME_STICKY, 60 + 5 * (k + 1));
		__atomic_fetch_add(&c.p.m->inflight[0].by_class[0].failed, 2, __ATOMIC_RELAXED);
		/* Decisions in the washout, and answers that come after the block's end. */
		live_until((k + 1) * PERIOD + 5 * SEC);
		pins_decisions(&c.p, LLAMA, PINTLE_OUTCOME_LEAST_LOADED, 30 + k + 1);
		assert_true(answers(k, 10, 80));
	}
	live_until(4 * PERIOD + WASHOUT + SEC);
	r = result();
	assert_non_null(r);
	assert_int_equal(r->ended, PINTLE_TRIAL_END_DONE);
	for (uint32_t k = 0; k < 4; k++) {
		assert_int_equal(r->block[k].state, PINTLE_MEASURED_WHOLE);
		assert_int_equal(r->block[k].answers, 40);
		assert_int_equal(r->block[k].mean_us, 20000);
		assert_true(r->block[k].p50_us && r->block[k].p50_us < r->block[k].p95_us);
		assert_int_equal(r->block[k].sums.decisions, 5);
		assert_int_equal(r->block[k].sums.kept, 5);
		assert_int_equal(r->block[k].sums.failed, 2);
	}
	assert_int_equal(entries(MAP_trials) + entries(MAP_trial_blocks), 0);
}

/* The kernel left the pool alone meanwhile: those blocks are lost, and no others. */
static void test_away(void **state)
{
	static const uint32_t states[] = {PINTLE_MEASURED_WHOLE, PINTLE_MEASURED_LOST,
					  PINTLE_MEASURED_LOST,  PINTLE_MEASURED_WHOLE,
					  PINTLE_MEASURED_WHOLE, PINTLE_MEASURED_LOST};

	(void)state;
	begin(6);
	live_until(PERIOD + 50 * SEC);
	c.now += 100 * SEC; /* from block 1 into block 2 */
	live_until(4 * PERIOD + 50 * SEC);
	c.now += SEC; /* no longer than the staleness: nobody noticed */
	live_until(5 * PERIOD + 3 * SEC);
	c.now += 3 * SEC; /* in the washout, too, connections were placed by the wrong mode */
	live_until(6 * PERIOD + WASHOUT + SEC);
	for (uint32_t k = 0; k < 6; k++)
		assert_int_equal(result()->block[k].state, states[k]);
	assert_int_equal(result()->ended, PINTLE_TRIAL_END_DONE);
	assert_int_equal(entries(MAP_trial_blocks), 0);
}

/* Away beyond the end, and then back. */
static void test_away_for_the_rest(void **state)
{
	(void)state;
	begin(4);
	live_until(PERIOD + 50 * SEC);
	c.now += 1000 * PERIOD;
	beat();
	beat();
	assert_int_equal(result()->ended, PINTLE_TRIAL_END_DONE);
	assert_int_equal(result()->block[0].state, PINTLE_MEASURED_WHOLE);
	for (uint32_t k = 1; k < 4; k++)
		assert_int_equal(result()->block[k].state, PINTLE_MEASURED_LOST);
	assert_int_equal(entries(MAP_trials) + entries(MAP_trial_blocks), 0);
}

/* However it is stopped, what was whole stays, and another one begins with nothing. */
static void test_stopped(void **state)
{
	static const struct pintle_override none;

	(void)state;
	begin(4);
	live_until(PERIOD + 50 * SEC);
	pins_at(&c.p, MAP_overrides, LLAMA, &none);
	beat();
	assert_int_equal(result()->ended, PINTLE_TRIAL_END_STOPPED);
	assert_int_equal(result()->block[0].state, PINTLE_MEASURED_WHOLE);
	assert_int_equal(result()->block[1].state, PINTLE_MEASURED_NOT);
	assert_int_equal(entries(MAP_trials) + entries(MAP_trial_blocks), 0);
	begin(4);
	beat();
	assert_int_equal(result()->ended_ns, 0);
	assert_int_equal(result()->block[0].state, PINTLE_MEASURED_NOT);
	assert_int_equal(entries(MAP_trial_blocks), 2);
	assert_int_equal(bpf_map_delete_elem(c.p.m->fd[MAP_trials], &llama), 0);
	beat();
	assert_int_equal(result()->ended, PINTLE_TRIAL_END_STOPPED);
	assert_int_equal(entries(MAP_trial_blocks), 0);
}

static void test_the_pool_is_gone(void **state)
{
	static const struct pintle_pool none;

	(void)state;
	begin(4);
	live_until(50 * SEC);
	pins_at(&c.p, MAP_pools, LLAMA, &none);
	beat();
	assert_int_equal(result()->ended, PINTLE_TRIAL_END_STOPPED);
	assert_int_equal(entries(MAP_trials) + entries(MAP_trial_blocks), 0);
}

/* The place of the test that ended first is given away. */
static void test_many(void **state)
{
	struct pintle_trial_result *r = c.p.m->trial_results;

	(void)state;
	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++)
		r[i] = (struct pintle_trial_result){.pool = {100 + i, 1},
						    .ended_ns = i == 20 ? 5 : 10 + i};
	begin(4);
	beat();
	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++)
		assert_int_equal(r[i].pool.id, i == 20 ? LLAMA : 100 + i);
}

/* A result that makes no sense: it is over, and harms nothing. */
static void test_garbage(void **state)
{
	struct pintle_trial_result *r = c.p.m->trial_results;

	(void)state;
	memset(r, 0xff, PINTLE_MAX_TRIALS * sizeof(*r));
	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++)
		r[i].ended_ns = 0;
	beat();
	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++)
		assert_int_equal(r[i].ended, PINTLE_TRIAL_END_STOPPED);
	begin(2);
	beat();
	assert_int_equal(entries(MAP_trial_blocks), 2);
	memset(r, 0xee, PINTLE_MAX_TRIALS * sizeof(*r));
	live_until(2 * PERIOD + WASHOUT + SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_whole_one, setup),
		cmocka_unit_test_setup(test_away, setup),
		cmocka_unit_test_setup(test_away_for_the_rest, setup),
		cmocka_unit_test_setup(test_stopped, setup),
		cmocka_unit_test_setup(test_the_pool_is_gone, setup),
		cmocka_unit_test_setup(test_many, setup),
		cmocka_unit_test_setup(test_garbage, setup),
	};

	return cmocka_run_group_tests_name("trials", tests, pins_setup, pins_teardown);
}
