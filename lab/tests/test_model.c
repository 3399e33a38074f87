// SPDX-License-Identifier: Apache-2.0
/* The engine model in cases computed by hand, and its sums under random load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "../../userspace/base/util.h"
#include "../../lab/engine/model.h"
#include "../../lab/engine/profiles.h"

#define MS       1000000ULL
#define MAX_IDS  64
#define MS_PS(x) ((uint64_t)((x)*1e9))

/* The events of each request, and the steps. */
struct log {
	struct model_event first[MAX_IDS], end[MAX_IDS];
	int firsts[MAX_IDS], ends[MAX_IDS], preempted[MAX_IDS], tokens[MAX_IDS];
	uint64_t longest_gap_ns, decoded, gaps_ns;
	uint64_t last_ns;
	uint32_t most_prefill;   /* tokens in one step */
	uint64_t order[MAX_IDS]; /* of the requests' ends */
	int ended;
};

static void note(void *arg, const struct model_event *e)
{
	struct log *l = arg;

	assert_true(e->id < MAX_IDS);
	assert_true(e->at_ns >= l->last_ns);
	l->last_ns = e->at_ns;
	switch (e->type) {
	case MODEL_FIRST_TOKEN:
		l->first[e->id] = *e;
		l->firsts[e->id]++;
		break;
	case MODEL_TOKEN:
		l->tokens[e->id]++;
		break;
	case MODEL_PREEMPTED:
		l->preempted[e->id]++;
		break;
	case MODEL_FINISHED:
	case MODEL_ABORTED:
		l->end[e->id] = *e;
		l->ends[e->id]++;
		l->order[l->ended++ % MAX_IDS] = e->id;
	}
}

static void note_steps(void *arg, const struct model_steps *s)
{
	struct log *l = arg;

	l->most_prefill = MAX(l->most_prefill, s->prefill_tokens);
	if (!s->decodes)
		return;
	l->longest_gap_ns = MAX(l->longest_gap_ns, s->first_gap_ns);
	l->longest_gap_ns = MAX(l->longest_gap_ns, s->last_gap_ns);
	l->decoded += (uint64_t)s->decodes * s->steps;
	/* Gaps grow linearly within a run. */
	l->gaps_ns += (s->first_gap_ns + s->last_gap_ns) * s->decodes * s->steps / 2;
}

/* A step takes 1 ms + 2 ms for the weights (or 0.5 ms for each prompt token, if that is more)
 * + 0.1 ms for each decoding sequence + 0.01 ms for each token of context. Blocks have 4 tokens. */
static struct model_config by_hand(void)
{
	return (struct model_config){
		.costs = {.step_ps = MS_PS(1),
			  .weights_ps = MS_PS(2),
			  .token_ps = MS_PS(0.5),
			  .seq_ps = MS_PS(0.1),
			  .kv_ps = 10000},
		.block_tokens = 4,
		.blocks = 100,
		.max_seqs = 8,
		.max_batched_tokens = 64,
		.max_len = 1000,
	};
}

static struct model *start(const struct model_config *c, struct log *l)
{
	struct model *m = NULL;
	const char *what = NULL;

	memset(l, 0, sizeof(*l));
	if (model_new(c, note, note_steps, l, &m, &what))
		fail_msg("%s", what);
	return m;
}

static uint64_t submit(struct model *m, uint64_t at_ns, uint64_t id, uint32_t prompt,
		       uint32_t output)
{
	struct model_request r = {.id = id, .prompt_tokens = prompt, .output_tokens = output};
	uint64_t handle = 0;

	assert_int_equal(model_submit(m, at_ns, &r, &handle), 0);
	return handle;
}

static void run_out(struct model *m)
{
	uint64_t at;

	while ((at = model_next(m)) != MODEL_NEVER)
		model_advance(m, at);
	assert_int_equal(model_audit(m), 0);
}

static struct model_stats stats(struct model *m)
{
	struct model_stats s;

	model_stats(m, &s);
	return s;
}

/* -- one request ------------------------------------------------------------ */

static void test_one_request(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m = start(&c, &l);

	(void)state;
	submit(m, 10 * MS, 1, 10, 3);
	run_out(m);
	/* prompt: 1 + max(2, 10 x 0.5) = 6 ms */
	assert_int_equal(l.first[1].at_ns, 16 * MS);
	assert_int_equal(l.first[1].scheduled_ns, 10 * MS);
	/* two steps: 1 + 2 + 0.1, with 10 and 11 tokens of context: 3.2002 ms in all of kv */
	assert_int_equal(l.end[1].at_ns, 16 * MS + 2 * 3100000 + (10 + 11) * 10);
	assert_int_equal(l.end[1].generated, 3);
	assert_int_equal(l.firsts[1], 1);
	assert_int_equal(l.ends[1], 1);
	assert_int_equal(stats(m).generated_tokens, 3);
	assert_int_equal(stats(m).prefill_tokens, 10);
	model_free(m);
}

static void test_short_prompt_waits_for_the_weights(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m = start(&c, &l);

	(void)state;
	submit(m, 0, 1, 2, 1); /* 2 x 0.5 < 2 */
	run_out(m);
	assert_int_equal(l.first[1].at_ns, 3 * MS);
	assert_int_equal(l.end[1].at_ns, 3 * MS);
	model_free(m);
}

static void test_attention_is_quadratic(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.costs.attn_ps = 1000; /* 1 ns a pair */
	m = start(&c, &l);
	submit(m, 0, 1, 40, 1); /* 1 + 20 ms, and 40 x 41 / 2 pairs */
	run_out(m);
	assert_int_equal(l.first[1].at_ns, 21 * MS + 820);
	model_free(m);
}

/* -- batching --------------------------------------------------------------- */

static void test_queue(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.max_seqs = 1;
	m = start(&c, &l);
	submit(m, 0, 1, 10, 3);
	submit(m, 1 * MS, 2, 10, 1);
	submit(m, 2 * MS, 3, 10, 1);
	assert_int_equal(stats(m).running, 1);
	assert_int_equal(stats(m).waiting, 2);
	run_out(m);
	/* The second request begins when the first ends, and the third after the second. */
	assert_int_equal(l.first[2].scheduled_ns, l.end[1].at_ns);
	assert_int_equal(l.first[2].at_ns, l.end[1].at_ns + 6 * MS);
	assert_int_equal(l.first[3].scheduled_ns, l.end[2].at_ns);
	model_free(m);
}

static void test_arrival_joins_at_the_next_boundary(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.costs.kv_ps = 0;
	m = start(&c, &l);
	submit(m, 0, 1, 10, 100);
	/* first token at 6 ms, then a boundary each 3.1 ms: 9.1, 12.2, 15.3 */
	submit(m, 13 * MS, 2, 10, 2);
	run_out(m);
	assert_int_equal(l.first[2].scheduled_ns, 15300000);
	/* the mixed step: 1 + 10 x 0.5 + 0.1 */
	assert_int_equal(l.first[2].at_ns, 21400000);
	/* together: 1 + 2 + 2 x 0.1 */
	assert_int_equal(l.end[2].at_ns, 24600000);
	/* The first had 3 + 1 + 1 of its 99 tokens by then; it decodes the other 94 alone. */
	assert_int_equal(l.end[1].at_ns, 24600000 + 94 * 3100000ULL);
	assert_int_equal(l.longest_gap_ns, 6100000);
	model_free(m);
}

static void test_chunked_prefill(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.max_batched_tokens = 8;
	c.costs.kv_ps = 0;
	m = start(&c, &l);
	submit(m, 0, 1, 4, 50); /* first token after 1 + 2 */
	model_advance(m, 3 * MS);
	assert_int_equal(l.firsts[1], 1);
	submit(m, 3 * MS, 2, 20, 1);
	/* The step under way began at 3 ms and ends at 6.1. Then 7 + 7 + 6 tokens beside the one
	 * that decodes: 1 + 3.5 + 0.1 twice, 1 + 3 + 0.1 once. */
	run_out(m);
	assert_int_equal(l.first[2].scheduled_ns, 6100000);
	assert_int_equal(l.first[2].at_ns, 6100000 + 2 * 4600000 + 4100000);
	assert_int_equal(stats(m).prefill_tokens, 24);
	assert_int_equal(l.most_prefill, 7);
	model_free(m);
}

static void test_two_prompts_share_a_step(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.max_batched_tokens = 16;
	m = start(&c, &l);
	model_stall(m, 0, 1 * MS); /* so that both have arrived when the step begins */
	submit(m, 0, 1, 10, 1);
	submit(m, 0, 2, 10, 1);
	run_out(m);
	/* 10 + 6 tokens: 1 + 8 ms; then 4: 1 + 2 ms */
	assert_int_equal(l.first[1].at_ns, 10 * MS);
	assert_int_equal(l.first[2].at_ns, 13 * MS);
	assert_int_equal(l.first[2].scheduled_ns, 1 * MS);
	model_free(m);
}

static void test_equal_requests_end_in_order(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m = start(&c, &l);

	(void)state;
	model_stall(m, 0, 1 * MS);
	for (uint64_t id = 1; id <= 8; id++)
		submit(m, 0, id, 4, 10);
	run_out(m);
	assert_int_equal(l.end[1].at_ns, l.end[8].at_ns);
	for (int i = 0; i < 8; i++)
		assert_int_equal(l.order[i], i + 1);
	model_free(m);
}

static void test_rank_goes_first(void **state)
{
	struct model_config c = by_hand();
	struct model_request low = {.id = 1, .prompt_tokens = 4, .output_tokens = 2, .rank = 5};
	struct model_request high = {.id = 2, .prompt_tokens = 4, .output_tokens = 2};
	struct log l;

	(void)state;
	c.max_seqs = 1;
	for (int by_rank = 0; by_rank < 2; by_rank++) {
		struct model *m;

		c.by_rank = by_rank;
		m = start(&c, &l);
		submit(m, 0, 0, 4, 2);
		assert_int_equal(model_submit(m, 0, &low, NULL), 0);
		assert_int_equal(model_submit(m, 0, &high, NULL), 0);
		run_out(m);
		assert_int_equal(l.end[2].at_ns < l.end[1].at_ns, by_rank);
		model_free(m);
	}
}

static void test_front_end_delay(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.frontend_ns = 5 * MS;
	c.costs.kv_ps = 0;
	m = start(&c, &l);
	submit(m, 0, 1, 10, 100);
	/* boundaries: 5 + 6 = 11, 14.1, 17.2, 20.3 */
	submit(m, 12 * MS, 2, 2, 1); /* ready at 17, so it joins at 17.2 */
	run_out(m);
	assert_int_equal(l.first[1].at_ns, 11 * MS);
	assert_int_equal(l.first[2].scheduled_ns, 17200000);
	model_free(m);
}

/* -- the KV cache ----------------------------------------------------------- */

static void test_preemption(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.blocks = 6; /* 24 tokens */
	c.costs.kv_ps = 0;
	c.no_prefix_cache = true;
	m = start(&c, &l);
	model_stall(m, 0, 1 * MS);
	submit(m, 0, 1, 8, 10); /* grows to 17 tokens: 5 blocks */
	submit(m, 0, 2, 8, 10);
	/* Both prompts at once: 1 + 8 ms, so 10 ms; 2 blocks each. Their first step of decoding
	 * takes a third block each: 6, all. The fifth needs a fourth: the second request gives
	 * way with 5 tokens out, 4 steps of 1 + 2 + 0.2 after 10 ms. */
	model_advance(m, 10 * MS + 4 * 3200000 - 1);
	assert_int_equal(l.preempted[2], 0);
	model_advance(m, 10 * MS + 4 * 3200000);
	assert_int_equal(l.preempted[2], 1);
	assert_int_equal(l.preempted[1], 0);
	assert_int_equal(stats(m).running, 1);
	assert_int_equal(stats(m).waiting, 1);
	run_out(m);
	/* The first request goes on alone: 5 steps of 3.1 ms to its end. */
	assert_int_equal(l.end[1].at_ns, 10 * MS + 4 * 3200000 + 5 * 3100000);
	/* Then 8 + 5 tokens are computed again, which gives the sixth token: 1 + 6.5 ms;
	 * and 4 steps of 3.1. The second begins anew when there is room: at the first's end
	 * (13 tokens need 4 blocks; before, 6 - 4 = 2 were free, later 1). */
	assert_int_equal(l.end[2].at_ns, l.end[1].at_ns + 7500000 + 4 * 3100000);
	assert_int_equal(l.end[2].generated, 10);
	assert_int_equal(l.end[2].preemptions, 1);
	assert_int_equal(l.firsts[2], 1);
	assert_int_equal(stats(m).preemptions, 1);
	assert_int_equal(stats(m).prefill_tokens, 8 + 8 + 13);
	/* The second request's client saw one long gap. */
	assert_int_equal(l.longest_gap_ns, 5 * 3100000 + 7500000);
	model_free(m);
}

static void fill_hashes(uint64_t *hashes, uint32_t count, uint64_t what)
{
	for (uint32_t i = 0; i < count; i++)
		hashes[i] = model_chain(i ? hashes[i - 1] : 0, what + i);
}

static void ask(struct model *m, uint64_t at_ns, uint64_t id, const uint64_t *blocks,
		uint32_t count, uint32_t prompt, uint32_t output, uint16_t adapter)
{
	struct model_request r = {.id = id,
				  .blocks = blocks,
				  .block_count = count,
				  .prompt_tokens = prompt,
				  .output_tokens = output,
				  .adapter = adapter};

	assert_int_equal(model_submit(m, at_ns, &r, NULL), 0);
}

static void test_prefix_hit(void **state)
{
	struct model_config c = by_hand();
	uint64_t a[8], b[8];
	struct log l;
	struct model *m = start(&c, &l);

	(void)state;
	fill_hashes(a, 8, 100);
	memcpy(b, a, sizeof(b));
	for (int i = 3; i < 8; i++)
		b[i] = model_chain(b[i - 1], 999); /* differs from a after three blocks */
	ask(m, 0, 1, a, 5, 22, 1, 0);
	run_out(m);
	assert_int_equal(l.end[1].cached_tokens, 0);
	ask(m, 100 * MS, 2, a, 5, 22, 1, 0); /* all 5 full blocks; 2 tokens are left */
	run_out(m);
	assert_int_equal(l.end[2].cached_tokens, 20);
	assert_int_equal(l.first[2].at_ns, 103 * MS); /* 1 + 2 */
	ask(m, 200 * MS, 3, b, 5, 22, 1, 0);
	run_out(m);
	assert_int_equal(l.end[3].cached_tokens, 12);
	assert_int_equal(l.first[3].at_ns, 206 * MS); /* 10 left: 1 + 5 */
	ask(m, 300 * MS, 4, a, 5, 20, 1, 0); /* a full hit leaves one token: a whole block */
	run_out(m);
	assert_int_equal(l.end[4].cached_tokens, 16);
	assert_int_equal(stats(m).query_tokens, 22 * 3 + 20);
	assert_int_equal(stats(m).hit_tokens, 20 + 12 + 16);
	model_free(m);
}

static void test_answer_is_part_of_the_next_prompt(void **state)
{
	struct model_config c = by_hand();
	uint64_t a[8];
	struct log l;
	struct model *m = start(&c, &l);

	(void)state;
	fill_hashes(a, 8, 1);
	/* 6 tokens in, 11 out: keys and values of 6 + 10 tokens, 4 full blocks */
	ask(m, 0, 1, a, 4, 6, 11, 0);
	run_out(m);
	ask(m, 100 * MS, 2, a, 8, 30, 1, 0);
	run_out(m);
	assert_int_equal(l.end[2].cached_tokens, 16);
	model_free(m);
}

static void test_same_prefix_in_one_step(void **state)
{
	struct model_config c = by_hand();
	uint64_t a[8];
	struct log l;
	struct model *m = start(&c, &l);

	(void)state;
	fill_hashes(a, 8, 1);
	model_stall(m, 0, 1 * MS);
	ask(m, 0, 1, a, 4, 18, 1, 0);
	ask(m, 0, 2, a, 4, 18, 1, 0);
	model_advance(m, 2 * MS);
	assert_int_equal(stats(m).blocks_used, 4 + 1 + 1); /* four shared, a partial one each */
	run_out(m);
	assert_int_equal(l.end[2].cached_tokens, 16);
	model_free(m);
}

static void test_lru(void **state)
{
	struct model_config c = by_hand();
	uint64_t a[4], b[4], d[4];
	struct log l;
	struct model *m;

	(void)state;
	c.blocks = 12;
	m = start(&c, &l);
	fill_hashes(a, 4, 1);
	fill_hashes(b, 4, 1000);
	fill_hashes(d, 4, 2000);
	ask(m, 0, 1, a, 4, 16, 1, 0);
	run_out(m);
	ask(m, 100 * MS, 2, b, 4, 16, 1, 0);
	run_out(m);
	ask(m, 200 * MS, 3, a, 4, 17, 1, 0); /* a is used again; its fifth block is partial */
	run_out(m);
	assert_int_equal(l.end[3].cached_tokens, 16);
	assert_int_equal(stats(m).blocks_cached, 8);
	/* First the 4 empty blocks are taken, then those of b, unused for longest, from its end. */
	ask(m, 300 * MS, 4, d, 4, 24, 1, 0); /* 6 blocks: 4 empty, then two of b */
	run_out(m);
	assert_int_equal(stats(m).evictions, 2);
	ask(m, 400 * MS, 5, b, 4, 17, 1, 0);
	run_out(m);
	assert_int_equal(l.end[5].cached_tokens, 8); /* the beginning of b is still cached */
	ask(m, 500 * MS, 6, a, 4, 17, 1, 0);
	run_out(m);
	assert_int_equal(l.end[6].cached_tokens, 4); /* b's last three took the place of a's */
	model_free(m);
}

static void test_prefix_cache_off(void **state)
{
	struct model_config c = by_hand();
	uint64_t a[4];
	struct log l;
	struct model *m;

	(void)state;
	c.no_prefix_cache = true;
	m = start(&c, &l);
	fill_hashes(a, 4, 1);
	for (uint64_t id = 0; id < 2; id++) {
		ask(m, id * 100 * MS, id, a, 4, 17, 4, 0);
		run_out(m);
		assert_int_equal(l.end[id].cached_tokens, 0);
	}
	assert_int_equal(stats(m).blocks_cached, 0);
	model_free(m);
}

/* A sanity check that other simulators use: with more tokens cached, the first token comes
 * sooner. */
static void test_ttft_falls_with_hits(void **state)
{
	const struct profile *p = profile_find("llama-8b-h100");
	uint64_t a[256], last = MODEL_NEVER;
	struct log l;
	struct model *m = start(&p->config, &l);

	(void)state;
	fill_hashes(a, 256, 7);
	ask(m, 0, 0, a, 256, 4096, 1, 0);
	run_out(m);
	for (uint64_t id = 1; id < 8; id++) {
		uint64_t b[256], at = id * 10000 * MS;

		fill_hashes(b, 256, id << 32);
		memcpy(b, a, id * 32 * sizeof(*b));
		ask(m, at, id, b, 256, 4096, 1, 0);
		run_out(m);
		assert_int_equal(l.end[id].cached_tokens, id * 512);
		assert_true(l.first[id].at_ns - at < last);
		last = l.first[id].at_ns - at;
	}
	model_free(m);
}

/* -- adapters, faults ------------------------------------------------------- */

static void test_adapters(void **state)
{
	struct model_config c = by_hand();
	uint32_t running, waiting;
	struct log l;
	struct model *m;

	(void)state;
	c.adapters = 2;
	c.adapter_slots = 1;
	c.adapter_load_ns = 20 * MS;
	c.costs.kv_ps = 0;
	m = start(&c, &l);
	ask(m, 0, 1, NULL, 0, 10, 3, 1);      /* 20 + 6 ms */
	ask(m, 1 * MS, 2, NULL, 0, 10, 1, 2); /* its slot is taken until 1 is done */
	ask(m, 2 * MS, 3, NULL, 0, 10, 1, 0); /* needs no slot, and overtakes request 2 */
	model_advance(m, 3 * MS);
	model_adapter_load(m, 2, &running, &waiting);
	assert_int_equal(running, 0);
	assert_int_equal(waiting, 1);
	run_out(m);
	assert_int_equal(l.first[1].at_ns, 26 * MS);
	assert_int_equal(l.first[3].at_ns, 26 * MS + 6100000);
	assert_int_equal(l.first[2].scheduled_ns, l.end[1].at_ns);
	assert_int_equal(l.first[2].at_ns, l.end[1].at_ns + 26 * MS);
	ask(m, 200 * MS, 4, NULL, 0, 10, 1, 2); /* the adapter is still loaded */
	run_out(m);
	assert_int_equal(l.first[4].at_ns, 206 * MS);
	assert_int_equal(stats(m).adapter_loads, 2);
	model_free(m);
}

static void test_adapters_do_not_share_prefixes(void **state)
{
	struct model_config c = by_hand();
	uint64_t a[4];
	struct log l;
	struct model *m;

	(void)state;
	c.adapters = c.adapter_slots = 2;
	m = start(&c, &l);
	fill_hashes(a, 4, 1);
	for (uint64_t id = 0; id < 4; id++) {
		ask(m, id * 100 * MS, id, a, 4, 17, 1, (uint16_t)(id % 3));
		run_out(m);
		assert_int_equal(l.end[id].cached_tokens, id == 3 ? 16 : 0);
	}
	model_free(m);
}

static void test_startup_stall_slow(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	struct model *m;

	(void)state;
	c.startup_ns = 1000 * MS;
	c.costs.kv_ps = 0;
	m = start(&c, &l);
	submit(m, 0, 1, 10, 3); /* 1006 + 2 x 3.1 = 1012.2 */
	model_advance(m, 1007 * MS);
	model_stall(m, 1007 * MS, 2000 * MS); /* the step that ends at 1009.1 ms stays as it is */
	run_out(m);
	assert_int_equal(l.first[1].at_ns, 1006 * MS);
	assert_int_equal(l.end[1].at_ns, 2003100000);
	assert_int_equal(l.longest_gap_ns, 2003100000 - 1009100000);
	model_set_slow(m, 3000 * MS, 2.0);
	submit(m, 3000 * MS, 2, 10, 2);
	run_out(m);
	assert_int_equal(l.end[2].at_ns, 3000 * MS + 2 * 9100000);
	model_stall(m, 4000 * MS, MODEL_NEVER);
	submit(m, 4000 * MS, 3, 10, 2);
	assert_int_equal(model_next(m), MODEL_NEVER);
	model_advance(m, 5000 * MS);
	assert_int_equal(l.firsts[3], 0);
	model_stall(m, 6000 * MS, 0);
	run_out(m);
	assert_int_equal(l.first[3].at_ns, 6012 * MS);
	model_free(m);
}

static void test_abort(void **state)
{
	struct model_config c = by_hand();
	struct log l;
	uint64_t one, two, three;
	struct model *m;

	(void)state;
	c.max_seqs = 2;
	c.costs.kv_ps = 0;
	m = start(&c, &l);
	one = submit(m, 0, 1, 10, 100);
	two = submit(m, 0, 2, 10, 100);
	three = submit(m, 0, 3, 10, 5);
	model_advance(m, 50 * MS);
	assert_int_equal(model_abort(m, 50 * MS, one), 0);
	assert_int_equal(model_abort(m, 50 * MS, one), -ENOENT);
	assert_int_equal(l.end[1].type, MODEL_ABORTED);
	assert_int_equal(l.end[1].at_ns, 50 * MS);
	assert_true(l.end[1].generated > 0);
	assert_int_equal(model_audit(m), 0);
	submit(m, 51 * MS, 4, 10, 5); /* takes the slot: a stale handle must not hit it */
	assert_int_equal(model_abort(m, 51 * MS, one), -ENOENT);
	assert_int_equal(model_abort(m, 52 * MS, two), 0);
	run_out(m);
	assert_int_equal(l.end[3].type, MODEL_FINISHED);
	assert_int_equal(l.end[4].type, MODEL_FINISHED);
	assert_int_equal(model_abort(m, 9999 * MS, three), -ENOENT);
	assert_int_equal(stats(m).aborted, 2);
	assert_int_equal(stats(m).finished, 2);
	assert_int_equal(stats(m).blocks_used, 0);
	model_free(m);
}

/* The caller owns the hashes, and may free them in the event of the end. */
static void free_hashes(void *arg, const struct model_event *e)
{
	(void)arg;
	if (e->type == MODEL_FINISHED || e->type == MODEL_ABORTED)
		free((void *)(uintptr_t)e->id);
}

static void test_hashes_are_free_at_the_end(void **state)
{
	struct model_config c = by_hand();
	struct model *m = NULL;

	(void)state;
	c.max_seqs = 2;
	assert_int_equal(model_new(&c, free_hashes, NULL, NULL, &m, NULL), 0);
	for (int i = 0; i < 4; i++) {
		uint64_t *hashes = calloc(50, sizeof(*hashes)), handle;
		struct model_request r = {.id = (uintptr_t)hashes,
					  .blocks = hashes,
					  .block_count = 50,
					  .prompt_tokens = 10,
					  .output_tokens = 100};

		assert_non_null(hashes);
		fill_hashes(hashes, 50, (uint64_t)i << 32);
		assert_int_equal(model_submit(m, 0, &r, &handle), 0);
		if (i % 2)
			assert_int_equal(model_abort(m, 50 * MS, handle), 0); /* running, waiting */
	}
	run_out(m);
	assert_int_equal(stats(m).aborted, 2);
	model_free(m);
}

static void test_refusals(void **state)
{
	struct model_config c = by_hand();
	struct model_request r = {.id = 1, .prompt_tokens = 10, .output_tokens = 10};
	struct model_request bad[] = {
		{.prompt_tokens = 0, .output_tokens = 1},
		{.prompt_tokens = 1, .output_tokens = 0},
		{.prompt_tokens = 1, .output_tokens = 1, .adapter = 1},
		{.prompt_tokens = 1, .output_tokens = 1, .rank = MODEL_RANKS},
		{.prompt_tokens = 8, .output_tokens = 1, .block_count = 2},
	};
	struct model_request big[] = {
		{.prompt_tokens = 1000, .output_tokens = 1},
		{.prompt_tokens = UINT32_MAX, .output_tokens = UINT32_MAX},
		{.prompt_tokens = 1, .output_tokens = 400}, /* 401 tokens, 100 blocks */
	};
	struct log l;
	struct model *m;

	(void)state;
	c.max_seqs = 1;
	c.max_waiting = 2;
	m = start(&c, &l);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(model_submit(m, 0, &bad[i], NULL), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(big); i++)
		assert_int_equal(model_submit(m, 0, &big[i], NULL), -E2BIG);
	for (int i = 0; i < 3; i++)
		assert_int_equal(model_submit(m, 0, &r, NULL), 0);
	assert_int_equal(model_submit(m, 0, &r, NULL), -EBUSY);
	run_out(m);
	assert_int_equal(l.ends[1], 3);
	model_free(m);

	c.fail_rate = 1;
	m = start(&c, &l);
	assert_int_equal(model_submit(m, 0, &r, NULL), -EIO);
	model_free(m);
}

static void test_bad_configurations(void **state)
{
	struct model_config good = by_hand(), c;
	struct model *m = NULL;
	const char *what;

	(void)state;
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		c = good;                                                                          \
		change;                                                                            \
		what = NULL;                                                                       \
		assert_int_equal(model_new(&c, note, NULL, NULL, &m, &what), -EINVAL);             \
		assert_non_null(what);                                                             \
		assert_null(m);                                                                    \
	} while (0)
	REFUSED(c.block_tokens = 0);
	REFUSED(c.blocks = 0);
	REFUSED(c.max_seqs = 0);
	REFUSED(c.max_batched_tokens = c.max_seqs - 1);
	REFUSED(c.max_len = 0);
	REFUSED(c.jitter = 0.0 / 0.0);
	REFUSED(c.jitter = -1);
	REFUSED(c.fail_rate = 1.5);
	REFUSED(c.adapters = 300);
	REFUSED(c.adapters = 1);
	REFUSED(c.costs = (struct model_costs){});
	REFUSED(c.costs.token_ps = UINT64_MAX);
}

/* -- random load ------------------------------------------------------------ */

#define LOAD 3000

struct outcome {
	uint64_t first_ns, end_ns;
	uint32_t generated, cached, preemptions;
	uint8_t firsts, ends, aborted;
	uint32_t tokens;
};

static struct outcome *outcomes;

static void collect(void *arg, const struct model_event *e)
{
	struct outcome *o = (struct outcome *)arg + e->id;

	switch (e->type) {
	case MODEL_FIRST_TOKEN:
		o->first_ns = e->at_ns;
		o->firsts++;
		o->tokens++;
		break;
	case MODEL_TOKEN:
		o->tokens++;
		break;
	case MODEL_PREEMPTED:
		break;
	case MODEL_ABORTED:
		o->aborted = 1;
		/* fall through */
	case MODEL_FINISHED:
		o->end_ns = e->at_ns;
		o->generated = e->generated;
		o->cached = e->cached_tokens;
		o->preemptions = e->preemptions;
		o->ends++;
	}
}

static uint64_t dice(uint64_t *seed)
{
	*seed = model_chain(*seed, 1);
	return *seed >> 8;
}

/* Sessions that grow, with a cache that is too small: hits, evictions and preemptions. */
static void random_load(const struct model_config *c, uint64_t seed, bool audit,
			struct outcome *out, struct model_stats *end)
{
	static uint64_t hashes[40][64];
	uint64_t handles[LOAD], now = 0;
	struct model *m = NULL;

	for (int s = 0; s < 40; s++)
		fill_hashes(hashes[s], 64, (uint64_t)(s % 10) << 32 | 1);
	for (int s = 0; s < 40; s++)
		for (int i = 20; i < 64; i++)
			hashes[s][i] = model_chain(hashes[s][i - 1], (uint64_t)s << 16);
	memset(out, 0, LOAD * sizeof(*out));
	assert_int_equal(model_new(c, collect, NULL, out, &m, NULL), 0);
	for (uint64_t id = 0; id < LOAD; id++) {
		uint32_t session = dice(&seed) % 40, prompt = 1 + dice(&seed) % 900;
		struct model_request r = {
			.id = id,
			.blocks = hashes[session],
			.block_count = 64,
			.prompt_tokens = prompt,
			.output_tokens = 1 + dice(&seed) % 100,
			.adapter = (uint16_t)(c->adapters ? dice(&seed) % (c->adapters + 1) : 0),
			.rank = (uint8_t)(dice(&seed) % MODEL_RANKS),
		};

		now += dice(&seed) % (40 * MS);
		assert_int_equal(model_submit(m, now, &r, &handles[id]), 0);
		if (dice(&seed) % 10 == 0) {
			uint64_t victim = id - dice(&seed) % MIN(id + 1, 20UL);

			now += dice(&seed) % MS;
			model_abort(m, now, handles[victim]);
		}
		if (dice(&seed) % 200 == 0)
			model_stall(m, now, now + 300 * MS);
		if (dice(&seed) % 200 == 0)
			model_set_slow(m, now, 0.5 + (double)(dice(&seed) % 4));
		if (audit)
			assert_int_equal(model_audit(m), 0);
	}
	run_out(m);
	model_stats(m, end);
	model_free(m);
}

static struct model_config crowded(void)
{
	struct model_config c = profile_find("tiny")->config;

	c.costs.token_ps = 20 * 1000000;
	c.costs.kv_ps = 1000;
	c.blocks = 150;
	c.adapters = 3;
	c.adapter_slots = 2;
	c.adapter_load_ns = 3 * MS;
	c.seed = 7;
	return c;
}

static void check_books(const struct outcome *o, const struct model_stats *s)
{
	uint64_t generated = 0, aborted = 0;

	for (int i = 0; i < LOAD; i++) {
		assert_int_equal(o[i].ends, 1);
		assert_true(o[i].aborted || o[i].firsts == 1);
		assert_true(o[i].firsts <= 1);
		assert_true(o[i].end_ns >= o[i].first_ns);
		generated += o[i].generated;
		aborted += o[i].aborted;
	}
	assert_int_equal(s->finished + s->aborted, LOAD);
	assert_int_equal(s->aborted, aborted);
	assert_int_equal(s->generated_tokens, generated);
	assert_int_equal(s->running, 0);
	assert_int_equal(s->waiting, 0);
	assert_int_equal(s->blocks_used, 0);
	assert_true(s->preemptions > 20);
	assert_true(s->evictions > 1000);
	assert_true(s->hit_tokens > 10000);
	assert_true(aborted > 20);
}

static void test_conservation(void **state)
{
	struct model_config c = crowded();
	struct model_stats s;

	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		c.by_rank = seed % 2;
		random_load(&c, seed, true, outcomes, &s);
		check_books(outcomes, &s);
	}
}

/* Steps taken one by one and steps taken in runs must be the same steps. */
static void test_runs_change_nothing(void **state)
{
	struct outcome *fine = outcomes + LOAD;
	struct model_config c = crowded();
	struct model_stats coarse_stats, fine_stats;

	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		c.jitter = seed % 2 ? 0.1 : 0;
		c.frontend_ns = seed * MS;
		c.by_rank = seed > 2;
		c.token_events = false;
		random_load(&c, seed, false, outcomes, &coarse_stats);
		c.token_events = true;
		random_load(&c, seed, false, fine, &fine_stats);
		for (int i = 0; i < LOAD; i++) {
			if (!fine[i].aborted)
				assert_int_equal(fine[i].tokens, fine[i].generated);
			fine[i].tokens = outcomes[i].tokens;
			assert_memory_equal(&outcomes[i], &fine[i], sizeof(*fine));
		}
		assert_memory_equal(&coarse_stats, &fine_stats, sizeof(fine_stats));
	}
}

static void test_deterministic(void **state)
{
	struct outcome *again = outcomes + LOAD;
	struct model_config c = crowded();
	struct model_stats a, b;

	(void)state;
	c.jitter = 0.1;
	random_load(&c, 5, false, outcomes, &a);
	random_load(&c, 5, true, again, &b); /* reading the statistics must not change anything */
	assert_memory_equal(outcomes, again, LOAD * sizeof(*again));
	assert_memory_equal(&a, &b, sizeof(a));
	c.seed++;
	random_load(&c, 5, false, again, &b);
	assert_memory_not_equal(outcomes, again, LOAD * sizeof(*again));
}

static void test_jitter(void **state)
{
	const struct profile *p = profile_find("llama-8b-h100");
	struct model_config c = p->config;
	double mean;
	struct log l;
	struct model *m;

	(void)state;
	c.jitter = 0.1;
	m = start(&c, &l);
	submit(m, 0, 1, 10, 100000);
	run_out(m);
	mean = (double)l.gaps_ns / (double)l.decoded;
	model_free(m);
	c.jitter = 0;
	m = start(&c, &l);
	submit(m, 0, 1, 10, 100000);
	run_out(m);
	assert_true(mean != (double)l.gaps_ns / (double)l.decoded);
	assert_true(mean > 0.98 * (double)l.gaps_ns / (double)l.decoded);
	assert_true(mean < 1.02 * (double)l.gaps_ns / (double)l.decoded);
	model_free(m);
}

/* -- profiles --------------------------------------------------------------- */

static void check_figure(const char *profile, const char *what, double ours, double published)
{
	double off;

	if (published <= 0)
		return;
	off = ours / published - 1;
	print_message("%-20s %-5s %7.2f ms, published %7.2f ms (%+.1f %%)\n", profile, what, ours,
		      published, off * 100);
	if (off > PROFILE_TOLERANCE || off < -PROFILE_TOLERANCE)
		fail_msg("%s: %s is off by more than %.0f %%", profile, what,
			 PROFILE_TOLERANCE * 100);
}

/* No published measurement has a prompt above 1,024 tokens, so the expected time is what each pair
 * needs: FLOP a pair, and TFLOP/s that an attention kernel reaches, are written out here. Without
 * attention, the 8B model on an H100 would take 1,189 ms and 4,343 ms. */
static void test_long_prompts(void **state)
{
	static const struct {
		const char *profile;
		double flop, tflops;
		uint32_t prompt;
		double ttft_ms; /* with 655 TFLOP/s a pair takes 0.8 ns on an H100 */
	} cases[] = {
		{"llama-8b-h100", 524288, 655, 32768, 1619},
		{"llama-8b-h100", 524288, 655, 120000, 10103},
		{"llama-70b-h100-tp8", 2621440.0 / 8, 655, 32768, 2758},
		{"llama-8b-a100-40g", 524288, 195, 32768, 4083},
		{"llama-8b-l40s", 524288, 217, 32768, 27550},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct profile *p = profile_find(cases[i].profile);
		double pairs = (double)cases[i].prompt * (cases[i].prompt + 1) / 2;
		double attention_ms = pairs * cases[i].flop / cases[i].tflops / 1e9;
		double ours_ms, without_ms;
		struct model_config c = p->config;
		struct log l;
		struct model *m = start(&c, &l);

		submit(m, 0, 0, cases[i].prompt, 1);
		run_out(m);
		ours_ms = (double)l.first[0].at_ns / 1e6;
		model_free(m);
		c.costs.attn_ps = 0;
		m = start(&c, &l);
		submit(m, 0, 0, cases[i].prompt, 1);
		run_out(m);
		without_ms = (double)l.first[0].at_ns / 1e6;
		model_free(m);
		assert_float_equal((ours_ms - without_ms) / attention_ms, 1, 0.01);
		assert_float_equal(ours_ms / cases[i].ttft_ms, 1, 0.01);
	}
}

static void test_profiles_reproduce_what_was_published(void **state)
{
	size_t count, checked = 0;
	const struct profile *p = profile_list(&count);

	(void)state;
	for (size_t i = 0; i < count; i++, p++) {
		for (size_t k = 0; k < ARRAY_SIZE(p->checks); k++) {
			const struct profile_check *check = &p->checks[k];
			double ttft = 0;
			struct log l;
			struct model *m;

			if (!check->requests)
				continue;
			m = start(&p->config, &l);
			for (uint32_t r = 0; r < check->requests; r++)
				submit(m, 0, r, check->prompt[r], check->output[r]);
			run_out(m);
			for (uint32_t r = 0; r < check->requests; r++)
				ttft += (double)l.first[r].at_ns / 1e6 / check->requests;
			check_figure(p->name, "TTFT", ttft, check->ttft_ms);
			check_figure(p->name, "ITL", (double)l.gaps_ns / (double)l.decoded / 1e6,
				     check->itl_ms);
			model_free(m);
			checked++;
		}
	}
	assert_true(checked >= 5);
	assert_null(profile_find("llama"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_request),
		cmocka_unit_test(test_short_prompt_waits_for_the_weights),
		cmocka_unit_test(test_attention_is_quadratic),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_arrival_joins_at_the_next_boundary),
		cmocka_unit_test(test_chunked_prefill),
		cmocka_unit_test(test_two_prompts_share_a_step),
		cmocka_unit_test(test_equal_requests_end_in_order),
		cmocka_unit_test(test_rank_goes_first),
		cmocka_unit_test(test_front_end_delay),
		cmocka_unit_test(test_preemption),
		cmocka_unit_test(test_prefix_hit),
		cmocka_unit_test(test_answer_is_part_of_the_next_prompt),
		cmocka_unit_test(test_same_prefix_in_one_step),
		cmocka_unit_test(test_lru),
		cmocka_unit_test(test_prefix_cache_off),
		cmocka_unit_test(test_ttft_falls_with_hits),
		cmocka_unit_test(test_adapters),
		cmocka_unit_test(test_adapters_do_not_share_prefixes),
		cmocka_unit_test(test_startup_stall_slow),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_hashes_are_free_at_the_end),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bad_configurations),
		cmocka_unit_test(test_conservation),
		cmocka_unit_test(test_runs_change_nothing),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_profiles_reproduce_what_was_published),
		cmocka_unit_test(test_long_prompts),
	};
	int failed;

	outcomes = calloc(2 * LOAD, sizeof(*outcomes));
	if (!outcomes)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(outcomes);
	return failed;
}
