/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - an LLM inference engine with continuous batching, as a discrete-event model.
 *
 * It has no clock, no socket and no thread: the caller says what time it is, hands in
 * requests and gets events. pintle-sim runs it against the wall clock, the policy lab
 * in virtual time; both see the same engine. docs/simulator.md describes what is
 * modelled and what is not.
 *
 * Time is in nanoseconds from any start the caller likes (inside, in picoseconds, so at most
 * 200 days), and never runs backwards: an earlier time than the last counts as the last.
 * Nothing is random but what `seed` determines: the same calls give the same events.
 */
#ifndef PINTLE_SIM_MODEL_H
#define PINTLE_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_NEVER        UINT64_MAX
#define MODEL_MAX_ADAPTERS 256
#define MODEL_RANKS        8

/* How long a step takes; see docs/simulator.md for the formula. */
struct model_costs {
	uint64_t step_ps;    /* fixed: scheduling, launches, collectives */
	uint64_t weights_ps; /* reading the weights once */
	uint64_t token_ps;   /* computing one prompt token */
	uint64_t seq_ps;     /* one more sequence that decodes */
	uint64_t kv_ps;      /* reading one token's keys and values while decoding */
	uint64_t attn_fs;    /* one pair of prompt token and context token; femtoseconds */
};

struct model_config {
	struct model_costs costs;
	uint32_t block_tokens;       /* tokens in a KV block: 1..1024 */
	uint32_t blocks;             /* KV blocks: 1..2^26 */
	uint32_t max_seqs;           /* that may run at once: 1..65536 */
	uint32_t max_batched_tokens; /* in one step; at least max_seqs */
	uint32_t max_len;            /* prompt and output of one request together */
	uint32_t max_waiting;        /* beyond it requests are refused; 0: no limit */
	uint32_t adapters;           /* LoRA adapters that exist: ids 1..adapters */
	uint32_t adapter_slots;      /* of them loaded at once */
	uint64_t adapter_load_ns;    /* loading one delays the step that needs it */
	uint64_t frontend_ns;        /* from arrival to the scheduler: HTTP, tokenizer, IPC */
	uint64_t startup_ns;         /* no step begins before this time */
	bool no_prefix_cache;
	bool by_rank;      /* a lower rank is admitted first; else in order of arrival */
	bool token_events; /* MODEL_TOKEN for each token: costs time in proportion */
	double jitter;     /* relative standard deviation of step times, 0..0.5 */
	double fail_rate;  /* share of requests refused with -EIO, 0..1 */
	uint64_t seed;
};

struct model_request {
	uint64_t id; /* the caller's, handed back in events */
	/* Chained hashes of the full blocks of the prompt, then, if the caller knows them, of
	 * the output. Blocks beyond `block_count` are taken for unique. Borrowed
	 * until the request has ended. */
	const uint64_t *blocks;
	uint32_t block_count;
	uint32_t prompt_tokens; /* at least 1 */
	uint32_t output_tokens; /* exactly so many are generated; at least 1 */
	uint16_t adapter;       /* 0: the base model */
	uint8_t rank;           /* below MODEL_RANKS; counts with by_rank only */
};

enum model_event_type {
	MODEL_FIRST_TOKEN,
	MODEL_TOKEN,     /* a later one; only with token_events */
	MODEL_PREEMPTED, /* its KV blocks were taken away; it waits again, and is not over */
	MODEL_FINISHED,  /* the end: all tokens are out */
	MODEL_ABORTED,   /* the end: model_abort() */
};

/* Times are 0 while the thing has not happened. */
struct model_event {
	enum model_event_type type;
	uint32_t generated; /* output tokens so far */
	uint32_t prompt_tokens;
	uint32_t cached_tokens; /* of the prompt, found in the prefix cache when first scheduled */
	uint32_t preemptions;
	uint64_t id;
	uint64_t at_ns;
	uint64_t arrived_ns;
	uint64_t scheduled_ns; /* first left the queue */
	uint64_t first_ns;     /* first token */
};

/* A run of steps with one and the same batch. */
struct model_steps {
	uint32_t steps;
	uint32_t decodes;        /* sequences that got one more token in each step */
	uint32_t prefill_tokens; /* in each step; steps is 1 if any */
	/* What those sequences saw between two tokens: in the first step (with
	 * whatever held it up) and in the last; in between it grows linearly. */
	uint64_t first_gap_ns;
	uint64_t last_gap_ns;
};

/* Neither may call the model. */
typedef void (*model_event_fn)(void *arg, const struct model_event *event);
typedef void (*model_steps_fn)(void *arg, const struct model_steps *steps);

struct model_stats {
	uint32_t running;
	uint32_t waiting;
	uint32_t blocks_used;   /* in use by running requests */
	uint32_t blocks_cached; /* idle, but a prefix that may be hit */
	uint64_t accepted;
	uint64_t refused; /* by -EBUSY */
	uint64_t failed;  /* by -EIO */
	uint64_t finished;
	uint64_t aborted;
	uint64_t preemptions;
	uint64_t query_tokens;   /* prompt tokens looked up in the prefix cache */
	uint64_t hit_tokens;     /* of them found */
	uint64_t prefill_tokens; /* computed, those computed again too */
	uint64_t generated_tokens;
	uint64_t evictions; /* of cached blocks */
	uint64_t adapter_loads;
	uint64_t steps;
	uint64_t busy_ns; /* time spent in steps */
};

struct model;

/** Makes an engine, empty, at time 0. `on_event` is called for each event, in order of
 * time, from within the calls below; `on_steps` may be NULL. Returns 0, -EINVAL when a
 * value is out of its range (with *what a static sentence if `what` is not NULL), or -ENOMEM. */
int model_new(const struct model_config *config, model_event_fn on_event, model_steps_fn on_steps,
	      void *arg, struct model **out, const char **what);
/** Frees it; requests still in it end without an event. NULL is allowed. */
void model_free(struct model *m);

/** Takes a request that arrives now. Returns 0 and *handle (if not NULL); or, and then
 * nothing is kept and no event comes: -EINVAL (a field out of range), -E2BIG (longer than
 * max_len or than the whole KV cache), -EBUSY (queue full), -EIO (a failure that fail_rate asks
 * for), -ENOMEM. */
int model_submit(struct model *m, uint64_t now_ns, const struct model_request *r, uint64_t *handle);
/** The client has gone: the request ends now, with MODEL_ABORTED. -ENOENT: it had ended. */
int model_abort(struct model *m, uint64_t now_ns, uint64_t handle);
/** Lets the time go by: every event until now is reported. */
void model_advance(struct model *m, uint64_t now_ns);
/** Nothing happens before this time unless the caller calls; MODEL_NEVER when idle. The
 * thing that happens may be one without an event (a chunk of a prompt). */
uint64_t model_next(const struct model *m);

/** A sick GPU: steps that begin from now on take `factor` (0.01..1000) times as long. */
void model_set_slow(struct model *m, uint64_t now_ns, double factor);
/** A stall: no step begins before `until_ns` (MODEL_NEVER: until called again). */
void model_stall(struct model *m, uint64_t now_ns, uint64_t until_ns);

/** Counters and gauges, as of the newest time given. */
void model_stats(struct model *m, struct model_stats *out);
/** Requests of adapter `id` (1..adapters) that run and that wait. */
void model_adapter_load(const struct model *m, uint32_t id, uint32_t *running, uint32_t *waiting);
/** Tokens of a request so far; 0 when it has ended. */
uint32_t model_generated(const struct model *m, uint64_t handle);

/** Hash of a block: that of the block before it (0 for the first), and its content. */
uint64_t model_chain(uint64_t previous, uint64_t content);

/** For tests: 0 when all books balance (blocks in = blocks out, lists, sums), else -EUCLEAN. */
int model_audit(struct model *m);

#endif
