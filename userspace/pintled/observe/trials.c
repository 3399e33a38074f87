/* SPDX-License-Identifier: Apache-2.0 */
#include "trials.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/state.h"
#include "../../policy/minute.h"
#include "../../policy/trial.h"
#include "rule/trial.bpf.h"

#define MAX_STEPS (4 * PINTLE_MAX_TRIALS)

struct running {
	struct pintle_ref pool;
	struct pintle_trial trial;
};

struct look {
	const struct maps *m;
	uint64_t now;
	uint64_t beat_ns; /* the newest heartbeat */
	struct running running[PINTLE_MAX_TRIALS];
	size_t count;
	struct pintle_pool pool; /* of the test that is looked at */
};

/* ---- sums --------------------------------------------------------------------------- */

static uint64_t failures_of(const struct maps *m, const struct pintle_pool *pool)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < MIN(pool->member_count, (uint32_t)PINTLE_MAX_MEMBERS); i++) {
		uint32_t id = pool->members[i].id % PINTLE_MAX_ENDPOINTS;

		for (int k = 0; k < PINTLE_MAX_CLASSES; k++)
			sum += __atomic_load_n(&m->inflight[id].by_class[k].failed,
					       __ATOMIC_RELAXED);
		for (int k = PINTLE_ENDING_CLOSED + 1; k < PINTLE_ENDING_COUNT; k++)
			sum += __atomic_load_n(&m->ends[id].count[k], __ATOMIC_RELAXED);
	}
	return sum;
}

static struct pintle_trial_sums sums_now(const struct look *l, const struct pintle_ref *pool)
{
	uint64_t by[PINTLE_OUTCOME_COUNT] = {0}, all = 0;

	state_decisions(l->m, pool->id, by, &all);
	return (struct pintle_trial_sums){
		.decisions = all,
		.kept = outcomes_with(by, PINTLE_KEPT),
		.told_no = outcomes_with(by, PINTLE_TURNED_AWAY),
		.failed = failures_of(l->m, &l->pool),
	};
}

/* Endpoints that left the pool take their failures along. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* ---- blocks ------------------------------------------------------------------------- */

static struct pintle_trial_block trials_key_of(const struct pintle_trial_result *r, uint32_t number)
{
	return (struct pintle_trial_block){r->pool, (__u32)r->trial.seed, number};
}

static uint64_t block_start(const struct pintle_trial_result *r, uint32_t number)
{
	return r->trial.since_ns + number * r->trial.period_ns;
}

/* From now on the kernel counts answers to requests of that block. Returns whether it does. */
static bool block_make(const struct look *l, const struct pintle_trial_result *r, uint32_t number)
{
	static const struct pintle_firsts none;
	struct pintle_trial_block key = trials_key_of(r, number);

	return !bpf_map_update_elem(l->m->fd[MAP_trial_blocks], &key, &none, BPF_NOEXIST) ||
	       errno == EEXIST;
}

/* Nothing that was measured in the block counts. */
static void block_drop(const struct look *l, struct pintle_trial_result *r, uint32_t number,
		       enum pintle_measured state)
{
	struct pintle_trial_block key = trials_key_of(r, number);

	bpf_map_delete_elem(l->m->fd[MAP_trial_blocks], &key);
	r->block[number] = (struct pintle_measure){.state = state};
}

static void block_lose(const struct look *l, struct pintle_trial_result *r, uint32_t number)
{
	block_drop(l, r, number, PINTLE_MEASURED_LOST);
}

/* The sums so far: those at the newest look before the block's end will stay, which miss what came
 * in half a second, and have nothing of the next block. */
static void block_sum(const struct look *l, struct pintle_trial_result *r, struct pintle_measure *b)
{
	struct pintle_trial_sums now = sums_now(l, &r->pool);

	b->sums = (struct pintle_trial_sums){
		.decisions = since(now.decisions, r->before.decisions),
		.kept = since(now.kept, r->before.kept),
		.told_no = since(now.told_no, r->before.told_no),
		.failed = since(now.failed, r->before.failed),
	};
}

/* Looks at the present block. The next one is made ahead, so that nothing of it is missed. */
static void block_follow(const struct look *l, struct pintle_trial_result *r, uint32_t number,
			 uint32_t blocks)
{
	struct pintle_measure *b = &r->block[number];
	uint64_t from = block_start(r, number) + r->trial.washout_ns;
	struct pintle_trial_block key = trials_key_of(r, number);
	struct pintle_firsts there;

	if (b->state == PINTLE_MEASURED_BEGUN) {
		block_sum(l, r, b);
	} else if (b->state == PINTLE_MEASURED_NOT && l->now < from) {
		block_make(l, r, number);
	} else if (b->state == PINTLE_MEASURED_NOT &&
		   bpf_map_lookup_elem(l->m->fd[MAP_trial_blocks], &key, &there)) {
		block_lose(l, r, number);
	} else if (b->state == PINTLE_MEASURED_NOT) {
		r->before = sums_now(l, &r->pool);
		b->state = PINTLE_MEASURED_BEGUN;
	}
	if (number + 1 < blocks)
		block_make(l, r, number + 1);
}

/* Takes the answers in; later ones do not count. */
static void block_close(const struct look *l, struct pintle_trial_result *r, uint32_t number)
{
	struct pintle_measure *b = &r->block[number];
	struct pintle_trial_block key = trials_key_of(r, number);
	struct pintle_firsts f;

	if (b->state != PINTLE_MEASURED_ENDED ||
	    bpf_map_lookup_elem(l->m->fd[MAP_trial_blocks], &key, &f)) {
		block_lose(l, r, number);
		return;
	}
	b->answers = (__u32)MIN(f.answers, (__u64)UINT32_MAX);
	b->mean_us = f.answers ? (__u32)MIN(f.waited_ns / f.answers / 1000, (__u64)UINT32_MAX) : 0;
	b->p50_us = bucket_quantile(f.bucket, 0.5);
	b->p95_us = bucket_quantile(f.bucket, 0.95);
	__atomic_store_n(&b->state, PINTLE_MEASURED_WHOLE, __ATOMIC_RELEASE);
	bpf_map_delete_elem(l->m->fd[MAP_trial_blocks], &key);
}

/* While the heartbeat was too old, the kernel left the pool in its former mode. */
static void blocks_lose(const struct look *l, struct pintle_trial_result *r, uint32_t blocks)
{
	if ((int64_t)(l->now - l->beat_ns) <= (int64_t)l->pool.staleness_ns)
		return;
	for (uint32_t k = r->next; k < blocks && block_start(r, k) <= l->now; k++)
		if (block_start(r, k + 1) > l->beat_ns && r->block[k].state < PINTLE_MEASURED_ENDED)
			block_lose(l, r, k);
}

/* ---- results ------------------------------------------------------------------------ */

static const char *trials_name_of(const struct look *l, const struct pintle_ref *pool,
				  char to[PINTLE_NAME_SIZE])
{
	struct pintle_name n = {0};

	maps_value(l->m, MAP_names, pool->id, &n);
	state_text(to, PINTLE_NAME_SIZE, n.name, sizeof(n.name));
	return to;
}

static bool same_pool(const struct pintle_ref *a, const struct pintle_ref *b)
{
	return a->id == b->id && a->generation == b->generation;
}

/* The place for a test of this pool: that of its former one, else a free one, else that of the test
 * that ended first. */
static struct pintle_trial_result *place_find(const struct maps *m, const struct pintle_ref *pool)
{
	struct pintle_trial_result *best = NULL;

	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++) {
		struct pintle_trial_result *r = &m->trial_results[i];

		if (r->pool.generation && same_pool(&r->pool, pool))
			return r;
		if (r->pool.generation && !r->ended_ns)
			continue;
		if (!best || !r->pool.generation ||
		    (best->pool.generation && r->ended_ns < best->ended_ns))
			best = r;
	}
	return best;
}

static struct pintle_trial_result *result_of(const struct look *l, const struct running *t)
{
	struct pintle_trial_result *r = place_find(l->m, &t->pool);
	char name[PINTLE_NAME_SIZE];

	if (!r || (same_pool(&r->pool, &t->pool) && !r->ended_ns &&
		   !memcmp(&r->trial, &t->trial, sizeof(t->trial))))
		return r;
	memset(r, 0, sizeof(*r));
	r->trial = t->trial;
	r->pool = t->pool;
	log_info("%s: an A/B test begins: %u blocks of %ju s", trials_name_of(l, &t->pool, name),
		 trial_block_count(&t->trial), (uintmax_t)(t->trial.period_ns / NSEC_PER_SEC));
	return r;
}

static bool is_of_running(const void *key, const void *arg)
{
	const struct pintle_trial_block *b = key;
	const struct look *l = arg;

	for (size_t i = 0; i < l->count; i++)
		if (same_pool(&l->running[i].pool, &b->pool) &&
		    (__u32)l->running[i].trial.seed == b->trial)
			return true;
	return false;
}

static void result_end(const struct look *l, struct pintle_trial_result *r,
		       enum pintle_trial_end why)
{
	char name[PINTLE_NAME_SIZE];

	for (uint32_t k = r->next; k < PINTLE_MAX_BLOCKS; k++)
		if (r->block[k].state == PINTLE_MEASURED_ENDED)
			block_close(l, r, k);
		else if (r->block[k].state == PINTLE_MEASURED_BEGUN)
			block_drop(l, r, k, PINTLE_MEASURED_NOT);
	r->ended = why;
	__atomic_store_n(&r->ended_ns, l->now, __ATOMIC_RELEASE);
	log_info("%s: the A/B test is over", trials_name_of(l, &r->pool, name));
}

/* ---- tests -------------------------------------------------------------------------- */

/* Whether the test may go on: its numbers make sense, its pool is there, and its override is. */
static bool may_run(struct look *l, const struct running *t)
{
	struct pintle_override o;

	return trial_block_count(&t->trial) && t->pool.id < PINTLE_MAX_POOLS &&
	       t->pool.generation && !maps_value(l->m, MAP_pools, t->pool.id, &l->pool) &&
	       l->pool.generation == t->pool.generation &&
	       !maps_value(l->m, MAP_overrides, t->pool.id, &o) &&
	       o.generation == t->pool.generation && o.flags & PINTLE_OVERRIDE_TRIAL;
}

/* Returns false once the test is over. */
static bool trial_step(struct look *l, const struct running *t)
{
	struct pintle_trial_result *r;
	uint32_t blocks, number;

	if (!may_run(l, t))
		return false;
	r = result_of(l, t);
	if (!r)
		return false;
	blocks = trial_block_count(&t->trial);
	blocks_lose(l, r, blocks);
	for (uint32_t k = r->next; k < blocks && l->now >= block_start(r, k + 1); k++)
		if (r->block[k].state == PINTLE_MEASURED_BEGUN)
			r->block[k].state = PINTLE_MEASURED_ENDED;
	while (r->next < blocks && l->now >= block_start(r, r->next + 1) + t->trial.washout_ns)
		block_close(l, r, r->next++);
	number = trial_block(&t->trial, l->now);
	if (number < blocks)
		block_follow(l, r, number, blocks);
	if (r->next < blocks)
		return true;
	result_end(l, r, PINTLE_TRIAL_END_DONE);
	return false;
}

/* A test that the CLI deletes meanwhile sends the walk back to its start. */
static void running_read(struct look *l)
{
	struct running r;
	struct pintle_ref previous, *at = NULL;
	int fd = l->m->fd[MAP_trials];

	for (int i = 0; i < MAX_STEPS && !bpf_map_get_next_key(fd, at, &r.pool); i++) {
		bool known = false;

		previous = r.pool;
		at = &previous;
		for (size_t k = 0; k < l->count; k++)
			known = known || same_pool(&l->running[k].pool, &r.pool);
		if (!known && l->count < PINTLE_MAX_TRIALS &&
		    !bpf_map_lookup_elem(fd, &r.pool, &r.trial))
			l->running[l->count++] = r;
	}
}

static bool runs(const struct look *l, const struct pintle_trial_result *r)
{
	for (size_t i = 0; i < l->count; i++)
		if (same_pool(&l->running[i].pool, &r->pool) &&
		    !memcmp(&l->running[i].trial, &r->trial, sizeof(r->trial)))
			return true;
	return false;
}

/* Ends the results of tests that are gone. Returns whether there were any. */
static bool end_others(const struct look *l)
{
	bool any = false;

	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++) {
		struct pintle_trial_result *r = &l->m->trial_results[i];

		if (!r->pool.generation || r->ended_ns || runs(l, r))
			continue;
		result_end(l, r, PINTLE_TRIAL_END_STOPPED);
		any = true;
	}
	return any;
}

void trials_look(const struct maps *m, uint64_t now)
{
	_cleanup_free_ struct look *l = calloc(1, sizeof(*l));
	bool over = false;

	assert(m->writable);
	if (!l)
		return;
	*l = (struct look){.m = m, .now = now, .beat_ns = m->node->heartbeat_ns};
	running_read(l);
	for (size_t i = 0; i < l->count;) {
		if (trial_step(l, &l->running[i])) {
			i++;
			continue;
		}
		bpf_map_delete_elem(m->fd[MAP_trials], &l->running[i].pool);
		l->running[i] = l->running[--l->count];
		over = true;
	}
	if (end_others(l) || over)
		maps_prune(m, MAP_trial_blocks, is_of_running, l);
}
