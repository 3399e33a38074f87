/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_engine.h - inside the model; only model*.c include it.
 *
 * Every decoding sequence gets one token in each step, so the model keeps no count for each
 * sequence: `decode_clock` counts the steps, and a sequence that began to decode at clock 100 has 7
 * tokens more at clock 107. A run of steps with an unchanged batch is then one addition, for any
 * number of steps and sequences. What must stay true:
 *   - `decoding` holds every decoding sequence, ordered by the decode clock of its last token;
 *   - kv_read is the sum of the decoding sequences' contexts at decode_clock;
 *   - fill[p] counts the decoding sequences that need a further block in each step that begins when
 *     decode_clock modulo block_tokens is p.
 */
#ifndef PINTLE_SIM_MODEL_ENGINE_H
#define PINTLE_SIM_MODEL_ENGINE_H

#include "../base/heap.h"
#include "model.h"
#include "model_cache.h"

#define NOBODY UINT32_MAX

enum seq_state { SEQ_FREE, SEQ_WAITING, SEQ_PREFILL, SEQ_DECODE };

struct seq {
	struct model_request r;
	enum seq_state state;
	uint32_t generation; /* of the slot; a handle with an older one is stale */
	uint64_t serial;     /* in order of submission */
	uint64_t salt;       /* for hashes of blocks that the caller did not name */
	uint64_t arrived_ps, ready_ps, scheduled_ps, first_ps, last_ps;
	uint64_t decode_from; /* decode clock */
	uint32_t generated;   /* output tokens, as of decode_from */
	uint32_t computed;    /* tokens with keys and values; while decoding as of decode_from */
	uint32_t target;      /* tokens that must be computed before the next output token */
	uint32_t cached;      /* tokens in the prefix cache at the first admission */
	uint32_t preemptions;
	uint32_t *held; /* entries of the first held_count blocks, or CACHE_NONE */
	uint32_t held_count, held_room;
	uint32_t place;                  /* in `decoding` */
	uint32_t prev, next;             /* in its `queue`, or in `running` */
	uint32_t chunk_prev, chunk_next; /* in `chunks` */
};

struct list {
	uint32_t head, tail, count;
};

/* Consecutive steps with an unchanged batch. */
struct run {
	uint32_t steps; /* 0: none */
	uint32_t decodes;
	uint32_t prefill_tokens;
	uint64_t start_ps;
	uint64_t fixed_ps;           /* if not 0, `steps` is 1 and this is its length */
	uint64_t base_ps, per_kv_ps; /* else a step takes base + per_kv * kv_read */
	uint64_t kv_read;            /* at the first step; each further step adds `decodes` */
};

struct adapter {
	bool resident;
	uint32_t running, waiting;
	uint64_t used; /* stats.steps when a request was last admitted for this adapter */
};

struct model {
	struct model_config c;
	model_event_fn on_event;
	model_steps_fn on_steps;
	void *arg;
	struct block_cache cache;

	uint64_t clock_ps;    /* everything up to this boundary between steps is in the books */
	uint64_t now_ps;      /* newest time given */
	uint64_t last_end_ps; /* end of the newest step */
	uint64_t hold_ps;     /* no step begins before */
	uint32_t slow_q16;
	struct run run;

	struct seq *seqs;
	uint32_t seq_count;
	uint32_t free_seq; /* chained by next */
	struct list queue[MODEL_RANKS];
	struct list running; /* in order of admission */
	struct list chunks;  /* running sequences whose prompt is not computed yet */
	uint32_t waiting;
	bool blocked; /* request `blocked_serial` found fewer than `blocked_need` blocks */
	uint32_t blocked_need;
	uint64_t blocked_serial;

	struct heap decoding;
	uint64_t decode_clock;
	uint64_t kv_read;
	uint32_t *fill;

	struct adapter *adapters; /* [adapters + 1] */
	uint32_t resident;
	uint64_t serial;
	struct model_stats stats;
	uint64_t busy_ps;
};

/* model.c */
void seq_event(struct model *m, const struct seq *s, enum model_event_type type);
/** When the first n steps of the run end; n is at most run.steps. */
uint64_t run_end(const struct model *m, uint32_t n);
void queue_push(struct model *m, struct seq *s, bool front);
uint64_t model_random(uint64_t seed, uint64_t n);

/* model_schedule.c */
/** Chooses the batch of the next step, which begins at clock_ps, and fills m->run. */
void schedule(struct model *m);
/** Blocks that decoding takes in the next n steps. */
uint64_t decode_blocks(const struct model *m, uint32_t n);
/** Moves a sequence whose prompt is computed to those that decode. */
void decode_begin(struct model *m, struct seq *s);
/** Takes a running sequence out of the batch and gives its blocks back. */
void seq_stop(struct model *m, struct seq *s);
/** Tokens of a sequence with keys and values. */
uint32_t seq_kv(const struct model *m, const struct seq *s);

static inline uint32_t seq_index(const struct model *m, const struct seq *s)
{
	return (uint32_t)(s - m->seqs);
}

static inline uint32_t blocks_for(const struct model *m, uint64_t tokens)
{
	return (uint32_t)((tokens + m->c.block_tokens - 1) / m->c.block_tokens);
}

static inline uint32_t seq_generated(const struct model *m, const struct seq *s)
{
	return s->generated +
	       (s->state == SEQ_DECODE ? (uint32_t)(m->decode_clock - s->decode_from) : 0);
}

void list_append(struct model *m, struct list *l, struct seq *s);
void list_prepend(struct model *m, struct list *l, struct seq *s);
void list_remove(struct model *m, struct list *l, struct seq *s);

#endif
