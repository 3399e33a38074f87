// SPDX-License-Identifier: Apache-2.0
/* model_schedule.c - which requests are in the next step, and how long it takes. */
#include "model_engine.h"

#include <assert.h>
#include <math.h>

#include "../../userspace/base/util.h"
#include "../base/random.h"

#define JITTER_WINDOW 64 /* steps that share one draw, so that runs stay long */

/* -- sequences -------------------------------------------------------------- */

uint32_t seq_kv(const struct model *m, const struct seq *s)
{
	return s->computed +
	       (s->state == SEQ_DECODE ? (uint32_t)(m->decode_clock - s->decode_from) : 0);
}

static uint64_t seq_hash(const struct seq *s, uint32_t block)
{
	if (block < s->r.block_count)
		return s->r.adapter ? model_random(s->r.blocks[block], s->r.adapter)
				    : s->r.blocks[block];
	return model_random(s->salt, block);
}

/* The counter in `fill` of the steps in which the sequence needs a further block. */
static uint32_t *seq_fill(struct model *m, const struct seq *s)
{
	uint32_t size = m->c.block_tokens, room = (size - s->computed % size) % size;

	return &m->fill[(s->decode_from + room) % size];
}

static void chunks_append(struct model *m, struct seq *s)
{
	s->chunk_prev = m->chunks.tail;
	s->chunk_next = NOBODY;
	if (m->chunks.tail != NOBODY)
		m->seqs[m->chunks.tail].chunk_next = seq_index(m, s);
	else
		m->chunks.head = seq_index(m, s);
	m->chunks.tail = seq_index(m, s);
	m->chunks.count++;
}

static void chunks_remove(struct model *m, struct seq *s)
{
	if (s->chunk_prev != NOBODY)
		m->seqs[s->chunk_prev].chunk_next = s->chunk_next;
	else
		m->chunks.head = s->chunk_next;
	if (s->chunk_next != NOBODY)
		m->seqs[s->chunk_next].chunk_prev = s->chunk_prev;
	else
		m->chunks.tail = s->chunk_prev;
	m->chunks.count--;
}

void decode_begin(struct model *m, struct seq *s)
{
	chunks_remove(m, s);
	s->state = SEQ_DECODE;
	s->decode_from = m->decode_clock;
	m->kv_read += s->computed;
	++*seq_fill(m, s);
	/* heap_put() cannot fail: model_new() made room for max_seqs entries. */
	assert(m->decoding.count < m->decoding.room);
	(void)heap_put(&m->decoding,
		       (struct heap_entry){
			       .at = m->decode_clock + (s->r.output_tokens - s->generated),
			       .order = s->serial,
			       .what = seq_index(m, s),
		       });
}

/* Releases the last block first, so that a prefix is evicted from its end. */
static void blocks_release(struct model *m, struct seq *s, uint32_t kv)
{
	uint32_t full = m->c.no_prefix_cache ? 0 : kv / m->c.block_tokens;

	for (uint32_t i = blocks_for(m, kv); i-- > 0;) {
		uint32_t entry = i < s->held_count ? s->held[i] : CACHE_NONE;

		if (entry == CACHE_NONE && i < full)
			entry = cache_name(&m->cache, seq_hash(s, i));
		if (entry == CACHE_NONE)
			cache_give(&m->cache, 1);
		else
			cache_unref(&m->cache, entry);
	}
	s->held_count = 0;
}

void seq_stop(struct model *m, struct seq *s)
{
	uint32_t kv = seq_kv(m, s);

	if (s->state == SEQ_DECODE) {
		--*seq_fill(m, s);
		heap_take(&m->decoding, s->place);
		m->kv_read -= kv;
		s->generated = seq_generated(m, s);
	} else {
		chunks_remove(m, s);
	}
	blocks_release(m, s, kv);
	s->computed = 0;
	s->state = SEQ_WAITING;
	list_remove(m, &m->running, s);
	m->adapters[s->r.adapter].running--;
	m->blocked = false;
}

/* Preempts the sequence that was admitted last; it must compute everything again. */
static struct seq *preempt_last(struct model *m)
{
	struct seq *s = &m->seqs[m->running.tail];

	s->last_ps = m->last_end_ps;
	seq_stop(m, s);
	s->target = s->r.prompt_tokens + s->generated;
	s->ready_ps = 0;
	s->preemptions++;
	m->stats.preemptions++;
	queue_push(m, s, true);
	seq_event(m, s, MODEL_PREEMPTED);
	return s;
}

/* -- blocks ----------------------------------------------------------------- */

uint64_t decode_blocks(const struct model *m, uint32_t n)
{
	uint32_t size = m->c.block_tokens;
	uint64_t sum = 0;

	if (!m->decoding.count)
		return 0;
	for (uint32_t i = 0; i < n % size; i++)
		sum += m->fill[(m->decode_clock + i) % size];
	return sum + (uint64_t)(n / size) * m->decoding.count;
}

/* For how many steps, at most n, there are blocks for decoding. */
static uint32_t steps_with_blocks(const struct model *m, uint32_t n)
{
	uint32_t size = m->c.block_tokens, whole;
	uint64_t left = cache_available(&m->cache);

	if (!m->decoding.count)
		return n;
	whole = (uint32_t)MIN(left / m->decoding.count, n / size);
	left -= (uint64_t)whole * m->decoding.count;
	for (whole *= size; whole < n; whole++) {
		uint32_t need = m->fill[(m->decode_clock + whole) % size];

		if (need > left)
			break;
		left -= need;
	}
	return whole;
}

/* Blocks that decoding takes in the next step. */
static uint32_t decode_reserve(const struct model *m)
{
	return m->decoding.count ? m->fill[m->decode_clock % m->c.block_tokens] : 0;
}

/* -- prompts ---------------------------------------------------------------- */

struct plan {
	uint32_t budget;
	uint32_t prefill_tokens;
	uint64_t pairs;   /* of prompt token and context token */
	uint64_t load_ps; /* adapters */
	bool preempted;
};

/* Puts the next n tokens of the prompt into the step. The caller has checked that there are blocks
 * for them. */
static void chunk_take(struct model *m, struct plan *p, struct seq *s, uint32_t n)
{
	uint32_t before = s->computed, full;

	assert(n <= p->budget && before + n <= s->target);
	cache_take(&m->cache, blocks_for(m, before + n) - blocks_for(m, before));
	s->computed += n;
	p->pairs += (uint64_t)n * before + (uint64_t)n * (n + 1) / 2;
	p->prefill_tokens += n;
	p->budget -= n;
	if (m->c.no_prefix_cache)
		return;
	full = s->computed / m->c.block_tokens;
	for (; s->held_count < full; s->held_count++)
		s->held[s->held_count] = cache_name(&m->cache, seq_hash(s, s->held_count));
}

/* Continues the prompts that an earlier step began. */
static void continue_prompts(struct model *m, struct plan *p)
{
	uint32_t at = m->chunks.head;

	while (at != NOBODY && p->budget) {
		struct seq *s = &m->seqs[at];
		uint32_t n = MIN(s->target - s->computed, p->budget);
		uint32_t need = blocks_for(m, s->computed + n) - blocks_for(m, s->computed);

		while (cache_available(&m->cache) < need + decode_reserve(m)) {
			p->preempted = true;
			if (preempt_last(m) == s)
				return; /* the sequence admitted last has none after it */
		}
		chunk_take(m, p, s, n);
		at = s->chunk_next;
	}
}

/* Whether adapter `id` is loaded or can be loaded; with `load`, loads it. */
static bool adapter_ready(struct model *m, struct plan *p, uint32_t id, bool load)
{
	struct adapter *a = &m->adapters[id], *oldest = NULL;

	if (!id || a->resident)
		return true;
	if (m->resident >= m->c.adapter_slots) {
		for (uint32_t i = 1; i <= m->c.adapters; i++) {
			struct adapter *b = &m->adapters[i];

			if (b->resident && !b->running && (!oldest || b->used < oldest->used))
				oldest = b;
		}
		if (!oldest)
			return false;
	}
	if (!load)
		return true;
	if (oldest) {
		oldest->resident = false;
		m->resident--;
	}
	a->resident = true;
	m->resident++;
	m->stats.adapter_loads++;
	p->load_ps += m->c.adapter_load_ns * 1000;
	return true;
}

/* Finds the longest cached prefix that leaves at least one token to compute. Returns how many of
 * its blocks are idle: using them makes so many fewer blocks available. */
static uint32_t find_prefix(struct model *m, struct seq *s)
{
	uint32_t most = m->c.no_prefix_cache ? 0 : (s->target - 1) / m->c.block_tokens, idle = 0;

	s->held_count = 0;
	for (uint32_t i = 0; i < most; i++) {
		uint32_t entry;

		if (i + 4 < MIN(most, s->r.block_count) && !s->r.adapter)
			cache_prefetch(&m->cache, s->r.blocks[i + 4]);
		entry = cache_find(&m->cache, seq_hash(s, i));
		if (entry == CACHE_NONE)
			break;
		s->held[s->held_count++] = entry;
		idle += !m->cache.entries[entry].refs;
	}
	return idle;
}

static bool seq_admit(struct model *m, struct plan *p, struct list *q, struct seq *s)
{
	uint32_t idle, hit, n, need;

	if (m->blocked && m->blocked_serial == s->serial &&
	    cache_available(&m->cache) < m->blocked_need)
		return false; /* too few blocks have become available since the last attempt */
	idle = find_prefix(m, s);
	hit = s->held_count * m->c.block_tokens;
	n = MIN(s->target - hit, p->budget);
	need = blocks_for(m, hit + n) - s->held_count + idle + decode_reserve(m);
	if (cache_available(&m->cache) < need) {
		s->held_count = 0;
		m->blocked = true;
		m->blocked_need = need;
		m->blocked_serial = s->serial;
		return false;
	}
	m->blocked = false;
	adapter_ready(m, p, s->r.adapter, true);
	list_remove(m, q, s);
	m->waiting--;
	m->adapters[s->r.adapter].waiting--;
	m->adapters[s->r.adapter].running++;
	m->adapters[s->r.adapter].used = m->stats.steps;
	list_append(m, &m->running, s);
	chunks_append(m, s);
	s->state = SEQ_PREFILL;
	for (uint32_t i = 0; i < s->held_count; i++)
		cache_ref(&m->cache, s->held[i]);
	s->computed = hit;
	if (!s->preemptions) {
		s->scheduled_ps = m->clock_ps;
		s->cached = hit;
		m->stats.query_tokens += s->r.prompt_tokens;
		m->stats.hit_tokens += hit;
	}
	chunk_take(m, p, s, n);
	return true;
}

/* Admits requests from the queue until one does not fit. A request that waits for a LoRA slot does
 * not hold up those behind it. */
static void admit_waiting(struct model *m, struct plan *p)
{
	for (uint32_t q = 0; q < MODEL_RANKS; q++) {
		uint32_t at = m->queue[q].head, next;

		for (; at != NOBODY; at = next) {
			struct seq *s = &m->seqs[at];

			next = s->next;
			if (m->running.count >= m->c.max_seqs || !p->budget)
				return;
			if (s->ready_ps > m->clock_ps)
				break;
			if (!adapter_ready(m, p, s->r.adapter, false))
				continue;
			if (!seq_admit(m, p, &m->queue[q], s))
				return;
		}
	}
}

/* -- the step --------------------------------------------------------------- */

static uint64_t speed_q16(const struct model *m)
{
	uint64_t window = m->stats.steps / JITTER_WINDOW;
	double u, v, gauss;

	if (m->c.jitter <= 0)
		return m->slow_q16;
	u = (double)(model_random(m->c.seed ^ 0x7177, 2 * window) >> 11) * 0x1p-53;
	v = (double)(model_random(m->c.seed ^ 0x7177, 2 * window + 1) >> 11) * 0x1p-53;
	gauss = 1 + m->c.jitter * normal_of(1 - u, v);
	gauss = MAX(gauss, 0.3);
	return (uint64_t)(m->slow_q16 * MIN(gauss, 1.7));
}

/* When the next waiting request leaves the front end; MODEL_NEVER when time alone admits no
 * request. Requests leave the front end in order of arrival, so those still in it are at the end of
 * their queue. */
static uint64_t admission_time(const struct model *m)
{
	uint64_t at = MODEL_NEVER;

	if (m->running.count >= m->c.max_seqs)
		return at;
	for (uint32_t q = 0; q < MODEL_RANKS; q++) {
		for (uint32_t s = m->queue[q].tail; s != NOBODY; s = m->seqs[s].prev) {
			if (m->seqs[s].ready_ps <= m->clock_ps)
				break;
			at = MIN(at, m->seqs[s].ready_ps);
		}
	}
	return at;
}

static void plan_mixed(struct model *m, const struct plan *p, uint64_t speed)
{
	const struct model_costs *c = &m->c.costs;
	uint64_t prompt_ps = p->prefill_tokens * c->token_ps;
	uint64_t ps = c->step_ps + MAX(c->weights_ps, prompt_ps) + m->decoding.count * c->seq_ps +
		      m->kv_read * c->kv_ps + p->pairs * c->attn_ps;

	m->stats.prefill_tokens += p->prefill_tokens;
	m->run.steps = 1;
	m->run.prefill_tokens = p->prefill_tokens;
	m->run.fixed_ps = MAX((ps * speed >> 16) + p->load_ps, (uint64_t)1);
}

static void plan_decode(struct model *m, bool once, uint64_t speed)
{
	const struct model_costs *c = &m->c.costs;
	uint32_t most = (uint32_t)(m->decoding.entries[0].at - m->decode_clock);
	uint64_t until = admission_time(m);
	struct run *r = &m->run;

	r->base_ps = MAX((c->step_ps + c->weights_ps + m->decoding.count * c->seq_ps) * speed >> 16,
			 (uint64_t)1);
	r->per_kv_ps = c->kv_ps * speed >> 16;
	if (m->c.token_events || once)
		most = 1;
	if (m->c.jitter > 0)
		most = MIN(most, JITTER_WINDOW - (uint32_t)(m->stats.steps % JITTER_WINDOW));
	r->steps = steps_with_blocks(m, most);
	/* End the run at the first boundary at which a waiting request is ready. */
	if (until != MODEL_NEVER) {
		uint32_t low = 1, high = r->steps;

		while (low < high) {
			uint32_t middle = low + (high - low) / 2;

			if (run_end(m, middle) >= until)
				high = middle;
			else
				low = middle + 1;
		}
		r->steps = low;
	}
}

void schedule(struct model *m)
{
	struct plan p = {};
	uint64_t speed;

	while (decode_reserve(m) > cache_available(&m->cache)) {
		preempt_last(m);
		p.preempted = true;
	}
	p.budget = m->c.max_batched_tokens - m->decoding.count;
	continue_prompts(m, &p);
	if (!p.preempted)
		admit_waiting(m, &p);
	speed = speed_q16(m);
	m->run = (struct run){
		.start_ps = m->clock_ps,
		.decodes = m->decoding.count,
		.kv_read = m->kv_read,
	};
	if (p.prefill_tokens)
		plan_mixed(m, &p, speed);
	else if (m->decoding.count)
		/* After a preemption the queue was not looked at: do so again after one step. */
		plan_decode(m, p.preempted, speed);
}

void model_peek(const struct model *m, const uint64_t *blocks, uint32_t count, uint32_t *cached,
		uint64_t *computed)
{
	for (*cached = 0; *cached < count; ++*cached)
		if (cache_find(&m->cache, blocks[*cached]) == CACHE_NONE)
			break;
	*computed = 0;
	for (uint32_t at = m->chunks.head; at != NOBODY; at = m->seqs[at].chunk_next) {
		const struct seq *s = &m->seqs[at];

		*computed += s->computed > s->cached ? s->computed - s->cached : 0;
	}
}
