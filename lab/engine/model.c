// SPDX-License-Identifier: Apache-2.0
/* model.c - requests in, events out, and the passing of time. */
#include "model_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "../../userspace/base/hash.h"
#include "../../userspace/base/util.h"

#define PS_PER_NS 1000

uint64_t model_random(uint64_t seed, uint64_t n)
{
	return hash_mix(seed + (n + 1) * HASH_STEP);
}

uint64_t model_chain(uint64_t previous, uint64_t content)
{
	return model_random(previous ^ 0x6b76626c6f636b73ULL, content);
}

static uint64_t to_ns(uint64_t ps)
{
	return (ps + PS_PER_NS - 1) / PS_PER_NS;
}

static uint64_t to_ps(uint64_t ns)
{
	return ns < MODEL_NEVER / PS_PER_NS ? ns * PS_PER_NS : MODEL_NEVER;
}

void list_append(struct model *m, struct list *l, struct seq *s)
{
	s->prev = l->tail;
	s->next = NOBODY;
	if (l->tail != NOBODY)
		m->seqs[l->tail].next = seq_index(m, s);
	else
		l->head = seq_index(m, s);
	l->tail = seq_index(m, s);
	l->count++;
}

void list_prepend(struct model *m, struct list *l, struct seq *s)
{
	s->prev = NOBODY;
	s->next = l->head;
	if (l->head != NOBODY)
		m->seqs[l->head].prev = seq_index(m, s);
	else
		l->tail = seq_index(m, s);
	l->head = seq_index(m, s);
	l->count++;
}

void list_remove(struct model *m, struct list *l, struct seq *s)
{
	assert(l->count);
	if (s->prev != NOBODY)
		m->seqs[s->prev].next = s->next;
	else
		l->head = s->next;
	if (s->next != NOBODY)
		m->seqs[s->next].prev = s->prev;
	else
		l->tail = s->prev;
	l->count--;
}

static struct list *queue_of(struct model *m, const struct seq *s)
{
	return &m->queue[m->c.by_rank ? s->r.rank : 0];
}

void queue_push(struct model *m, struct seq *s, bool front)
{
	if (front)
		list_prepend(m, queue_of(m, s), s);
	else
		list_append(m, queue_of(m, s), s);
	s->state = SEQ_WAITING;
	m->adapters[s->r.adapter].waiting++;
	m->waiting++;
}

void seq_event(struct model *m, const struct seq *s, enum model_event_type type)
{
	struct model_event e = {
		.type = type,
		.generated = seq_generated(m, s),
		.prompt_tokens = s->r.prompt_tokens,
		.cached_tokens = s->cached,
		.preemptions = s->preemptions,
		.id = s->r.id,
		.at_ns = to_ns(type == MODEL_ABORTED ? m->now_ps : m->clock_ps),
		.arrived_ns = to_ns(s->arrived_ps),
		.scheduled_ns = to_ns(s->scheduled_ps),
		.first_ns = to_ns(s->first_ps),
	};

	m->on_event(m->arg, &e);
}

static void seq_free(struct model *m, struct seq *s)
{
	s->state = SEQ_FREE;
	s->generation++;
	s->next = m->free_seq;
	m->free_seq = seq_index(m, s);
}

static void seq_finish(struct model *m, struct seq *s)
{
	seq_stop(m, s);
	m->stats.finished++;
	seq_event(m, s, MODEL_FINISHED);
	seq_free(m, s);
}

/* -- time ------------------------------------------------------------------- */

uint64_t run_end(const struct model *m, uint32_t n)
{
	const struct run *r = &m->run;
	uint64_t k = n;

	if (r->fixed_ps)
		return r->start_ps + r->fixed_ps * k;
	return r->start_ps + k * r->base_ps +
	       r->per_kv_ps * (k * r->kv_read + r->decodes * (k * (k - 1) / 2));
}

/* How many of the run's steps have ended by `at_ps`. */
static uint32_t run_ended(const struct model *m, uint64_t at_ps)
{
	uint32_t low = 0, high = m->run.steps;

	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;

		if (run_end(m, middle) <= at_ps)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* Ends the run at the first boundary between steps from `at_ps` on, so that the scheduler can
 * change the batch there. */
static void run_cut(struct model *m, uint64_t at_ps)
{
	uint32_t n;

	if (m->run.steps <= 1)
		return;
	n = at_ps ? run_ended(m, at_ps - 1) + 1 : 1;
	m->run.steps = MIN(m->run.steps, n);
}

static void report_steps(struct model *m, uint32_t n, uint32_t decodes, uint64_t first_ps,
			 uint64_t last_ps)
{
	struct model_steps steps = {
		.steps = n,
		.decodes = decodes,
		.prefill_tokens = m->run.prefill_tokens,
		.first_gap_ns = to_ns(first_ps),
		.last_gap_ns = to_ns(last_ps),
	};

	if (m->on_steps)
		m->on_steps(m->arg, &steps);
}

static void prompt_done(struct model *m, struct seq *s)
{
	uint32_t had = s->generated++;

	m->stats.generated_tokens++;
	if (had) {
		struct model_steps gap = {
			.decodes = 1,
			.steps = 1,
			.first_gap_ns = to_ns(m->clock_ps - s->last_ps),
			.last_gap_ns = to_ns(m->clock_ps - s->last_ps),
		};

		if (m->on_steps)
			m->on_steps(m->arg, &gap);
	} else {
		s->first_ps = m->clock_ps;
		seq_event(m, s, MODEL_FIRST_TOKEN);
	}
	if (had && m->c.token_events)
		seq_event(m, s, MODEL_TOKEN);
	if (s->generated == s->r.output_tokens)
		seq_finish(m, s);
	else
		decode_begin(m, s);
}

static void report_tokens(struct model *m)
{
	for (uint32_t at = m->running.head; at != NOBODY; at = m->seqs[at].next) {
		struct seq *s = &m->seqs[at];

		if (s->state == SEQ_DECODE)
			seq_event(m, s, MODEL_TOKEN);
	}
}

/* Enters the first n steps of the run, which have ended, into the books: tokens, blocks, events. */
static void run_commit(struct model *m, uint32_t n)
{
	struct run *r = &m->run;
	uint64_t end = run_end(m, n), first = run_end(m, 1) - m->last_end_ps;
	uint64_t last = n > 1 ? end - run_end(m, n - 1) : first;
	uint32_t next;

	assert(n && n <= r->steps);
	cache_take(&m->cache, (uint32_t)decode_blocks(m, n));
	m->decode_clock += n;
	m->kv_read += (uint64_t)m->decoding.count * n;
	m->stats.generated_tokens += (uint64_t)m->decoding.count * n;
	m->stats.steps += n;
	m->busy_ps += end - r->start_ps;
	r->kv_read += (uint64_t)r->decodes * n;
	r->start_ps = end;
	r->steps -= n;
	m->last_end_ps = m->clock_ps = end;
	report_steps(m, n, m->decoding.count, first, last);
	if (m->c.token_events)
		report_tokens(m);
	while (m->decoding.count && m->decoding.entries[0].at == m->decode_clock)
		seq_finish(m, &m->seqs[m->decoding.entries[0].what]);
	for (uint32_t at = m->chunks.head; at != NOBODY; at = next) {
		next = m->seqs[at].chunk_next;
		if (m->seqs[at].computed == m->seqs[at].target)
			prompt_done(m, &m->seqs[at]);
	}
}

/* When the next step can begin; the engine has work and is between two steps. */
static uint64_t next_start(const struct model *m)
{
	uint64_t ready = MODEL_NEVER;

	if (m->running.count)
		ready = 0;
	for (uint32_t q = 0; q < MODEL_RANKS && ready; q++)
		if (m->queue[q].count)
			ready = MIN(ready, m->seqs[m->queue[q].head].ready_ps);
	ready = MAX(ready, m->hold_ps);
	return MAX(ready, m->clock_ps);
}

void model_advance(struct model *m, uint64_t now_ns)
{
	m->now_ps = MAX(m->now_ps, to_ps(now_ns));
	for (;;) {
		if (m->run.steps) {
			if (run_end(m, m->run.steps) > m->now_ps)
				return;
			run_commit(m, m->run.steps);
			continue;
		}
		if (!m->running.count && !m->waiting)
			break;
		if (next_start(m) > m->now_ps)
			break;
		m->clock_ps = next_start(m);
		schedule(m);
		if (!m->run.steps)
			break;
	}
	m->clock_ps = m->now_ps;
}

uint64_t model_next(const struct model *m)
{
	uint64_t ps = MODEL_NEVER;

	if (m->run.steps)
		ps = run_end(m, m->run.steps);
	else if (m->running.count || m->waiting)
		ps = next_start(m);
	return ps == MODEL_NEVER ? MODEL_NEVER : to_ns(ps);
}

/* Brings all books up to now. With `last`, the run ends with the step under way, which keeps its
 * batch and its length. */
static void run_sync(struct model *m, bool last)
{
	uint32_t ended;

	if (!m->run.steps)
		return;
	ended = run_ended(m, m->now_ps);
	if (ended)
		run_commit(m, ended);
	if (last)
		m->run.steps = MIN(m->run.steps, 1U);
}

void model_set_slow(struct model *m, uint64_t now_ns, double factor)
{
	model_advance(m, now_ns);
	run_sync(m, true);
	if (factor >= 0.01 && factor <= 1000)
		m->slow_q16 = (uint32_t)(factor * 65536);
}

void model_stall(struct model *m, uint64_t now_ns, uint64_t until_ns)
{
	model_advance(m, now_ns);
	run_sync(m, true);
	m->hold_ps = to_ps(until_ns);
}

/* -- requests --------------------------------------------------------------- */

static struct seq *seq_new(struct model *m)
{
	if (m->free_seq == NOBODY) {
		uint32_t more = m->seq_count ? m->seq_count : 16;
		struct seq *seqs = reallocarray(m->seqs, m->seq_count + more, sizeof(*seqs));

		if (!seqs)
			return NULL;
		m->seqs = seqs;
		for (uint32_t i = m->seq_count + more; i-- > m->seq_count;) {
			m->seqs[i] = (struct seq){.generation = 1, .next = m->free_seq};
			m->free_seq = i;
		}
		m->seq_count += more;
	}
	return &m->seqs[m->free_seq];
}

static int request_check(const struct model *m, const struct model_request *r)
{
	uint64_t tokens = (uint64_t)r->prompt_tokens + r->output_tokens;

	if (!r->prompt_tokens || !r->output_tokens || r->adapter > m->c.adapters ||
	    r->rank >= MODEL_RANKS || (r->block_count && !r->blocks))
		return -EINVAL;
	if (tokens > m->c.max_len || blocks_for(m, tokens) > m->c.blocks)
		return -E2BIG;
	return 0;
}

int model_submit(struct model *m, uint64_t now_ns, const struct model_request *r, uint64_t *handle)
{
	struct seq *s;
	uint64_t serial;
	uint32_t *held, room;
	int err = request_check(m, r);

	model_advance(m, now_ns);
	if (err)
		return err;
	serial = m->serial++;
	if (m->c.fail_rate > 0 &&
	    (double)(model_random(m->c.seed ^ 0xfa11, serial) >> 11) * 0x1p-53 < m->c.fail_rate) {
		m->stats.failed++;
		return -EIO;
	}
	if (m->c.max_waiting && m->waiting >= m->c.max_waiting) {
		m->stats.refused++;
		return -EBUSY;
	}
	s = seq_new(m);
	if (!s)
		return -ENOMEM;
	room = blocks_for(m, (uint64_t)r->prompt_tokens + r->output_tokens);
	if (room > s->held_room) {
		held = reallocarray(s->held, room, sizeof(*held));
		if (!held)
			return -ENOMEM;
		s->held = held;
		s->held_room = room;
	}
	m->free_seq = s->next;
	*s = (struct seq){
		.r = *r,
		.generation = s->generation,
		.serial = serial,
		.salt = model_random(m->c.seed, serial),
		.arrived_ps = m->now_ps,
		.ready_ps = m->now_ps + m->c.frontend_ns * PS_PER_NS,
		.target = r->prompt_tokens,
		.held = s->held,
		.held_room = s->held_room,
	};
	queue_push(m, s, false);
	m->stats.accepted++;
	if (m->running.count < m->c.max_seqs && (!m->blocked || m->c.by_rank))
		run_cut(m, s->ready_ps);
	if (handle)
		*handle = (uint64_t)s->generation << 32 | seq_index(m, s);
	model_advance(m, now_ns); /* an idle engine begins at once */
	return 0;
}

static struct seq *seq_find(const struct model *m, uint64_t handle)
{
	uint32_t at = (uint32_t)handle;

	if (at >= m->seq_count || m->seqs[at].generation != handle >> 32 ||
	    m->seqs[at].state == SEQ_FREE)
		return NULL;
	return &m->seqs[at];
}

int model_abort(struct model *m, uint64_t now_ns, uint64_t handle)
{
	struct seq *s;

	model_advance(m, now_ns);
	run_sync(m, true);
	s = seq_find(m, handle);
	if (!s)
		return -ENOENT;
	if (s->state == SEQ_WAITING) {
		list_remove(m, queue_of(m, s), s);
		m->adapters[s->r.adapter].waiting--;
		m->waiting--;
	} else {
		seq_stop(m, s);
	}
	m->blocked = false;
	m->stats.aborted++;
	seq_event(m, s, MODEL_ABORTED); /* last: the caller may free the blocks' hashes now */
	seq_free(m, s);
	model_advance(m, now_ns);
	return 0;
}

uint32_t model_generated(const struct model *m, uint64_t handle)
{
	const struct seq *s = seq_find(m, handle);

	return s ? seq_generated(m, s) + (s->state == SEQ_DECODE ? run_ended(m, m->now_ps) : 0) : 0;
}

/* -- books ------------------------------------------------------------------ */

void model_stats(struct model *m, struct model_stats *out)
{
	run_sync(m, false);
	*out = m->stats;
	out->running = m->running.count;
	out->waiting = m->waiting;
	out->blocks_used = m->cache.taken + m->cache.referenced;
	out->blocks_cached = m->cache.idle;
	out->evictions = m->cache.evictions;
	out->busy_ns = to_ns(m->busy_ps);
}

void model_adapter_load(const struct model *m, uint32_t id, uint32_t *running, uint32_t *waiting)
{
	*running = id <= m->c.adapters ? m->adapters[id].running : 0;
	*waiting = id <= m->c.adapters ? m->adapters[id].waiting : 0;
}

int model_audit(struct model *m)
{
	uint64_t kv = 0, taken = 0;
	uint32_t decoding = 0, chunks = 0;

	run_sync(m, false);
	for (uint32_t at = m->running.head; at != NOBODY; at = m->seqs[at].next) {
		const struct seq *s = &m->seqs[at];

		taken += blocks_for(m, seq_kv(m, s));
		for (uint32_t i = 0; i < s->held_count; i++)
			taken -= s->held[i] != CACHE_NONE;
		if (s->state == SEQ_DECODE) {
			kv += seq_kv(m, s);
			decoding++;
		} else {
			chunks++;
		}
	}
	if (!cache_sound(&m->cache) || taken != m->cache.taken || kv != m->kv_read ||
	    decoding != m->decoding.count || chunks != m->chunks.count)
		return -EUCLEAN;
	if (!m->running.count && m->cache.referenced)
		return -EUCLEAN;
	return 0;
}

/* -- life ------------------------------------------------------------------- */

/* One rule in each row: what must hold, and the sentence for a config in which it does not. */
static const char *config_wrong(const struct model_config *c)
{
	const uint64_t ps_max = 1000000000000ULL; /* a second */
	const struct {
		bool good;
		const char *what;
	} rules[] = {
		{c->block_tokens >= 1 && c->block_tokens <= 1024, "block size: 1 to 1024 tokens"},
		{c->blocks >= 1 && c->blocks <= 1U << 26, "KV blocks: 1 to 67108864"},
		{c->max_seqs >= 1 && c->max_seqs <= 65536, "sequences at once: 1 to 65536"},
		{c->max_batched_tokens >= c->max_seqs && c->max_batched_tokens <= 1U << 24,
		 "tokens in a step: at least the sequences at once"},
		{c->max_len >= 2 && c->max_len <= 1U << 24, "model length: 2 to 16777216 tokens"},
		{c->adapters < MODEL_MAX_ADAPTERS, "LoRA adapters: at most 255"},
		{!c->adapters || c->adapter_slots,
		 "LoRA slots: at least 1 when there are adapters"},
		{c->jitter >= 0 && c->jitter <= 0.5, "jitter: 0 to 0.5"},
		{c->fail_rate >= 0 && c->fail_rate <= 1, "failure rate: 0 to 1"},
		{c->frontend_ns <= 60 * NSEC_PER_SEC, "time in the front end: at most 60 s"},
		{c->costs.step_ps + c->costs.weights_ps > 0, "a step must take time"},
		{c->costs.step_ps <= ps_max && c->costs.weights_ps <= ps_max &&
			 c->costs.token_ps <= ps_max / 1000 && c->costs.seq_ps <= ps_max / 1000 &&
			 c->costs.kv_ps <= 1000000 && c->costs.attn_ps <= 10000,
		 "costs of a step: out of range"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (!rules[i].good)
			return rules[i].what;
	return NULL;
}

static void seq_moved(void *arg, uint64_t seq, uint32_t place)
{
	struct model *m = arg;

	m->seqs[seq].place = place;
}

int model_new(const struct model_config *config, model_event_fn on_event, model_steps_fn on_steps,
	      void *arg, struct model **out, const char **what)
{
	const char *wrong = config_wrong(config);
	struct model *m;

	if (wrong) {
		if (what)
			*what = wrong;
		return -EINVAL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->c = *config;
	m->on_event = on_event;
	m->on_steps = on_steps;
	m->arg = arg;
	m->slow_q16 = 1 << 16;
	m->hold_ps = to_ps(config->startup_ns);
	m->free_seq = NOBODY;
	m->running = m->chunks = (struct list){NOBODY, NOBODY, 0};
	for (uint32_t q = 0; q < MODEL_RANKS; q++)
		m->queue[q] = m->running;
	m->decoding = (struct heap){.moved = seq_moved, .arg = m};
	m->fill = calloc(config->block_tokens, sizeof(*m->fill));
	m->adapters = calloc(config->adapters + 1, sizeof(*m->adapters));
	if (heap_reserve(&m->decoding, config->max_seqs) || !m->fill || !m->adapters ||
	    cache_init(&m->cache, config->blocks)) {
		model_free(m);
		return -ENOMEM;
	}
	*out = m;
	return 0;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->seq_count; i++)
		free(m->seqs[i].held);
	cache_fini(&m->cache);
	free(m->seqs);
	heap_free(&m->decoding);
	free(m->fill);
	free(m->adapters);
	free(m);
}
