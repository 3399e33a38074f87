/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - an LLM inference engine with continuous batching, as a discrete-event model.
 *
 * The engine has no clock, no socket and no thread: the caller says what time it is, hands in
 * requests and gets events. pintle-sim runs the engine against the wall clock, the policy lab in
 * virtual time; both see the same engine. lab/docs/simulator.md describes what is modelled and what
 * is not.
 *
 * Time is in nanoseconds from any start that the caller likes, up to 200 days later, because the
 * engine counts in picoseconds. Time never runs backwards: a time before the newest one counts as
 * the newest. All randomness follows from `seed`: the same calls give the same events.
 */
#ifndef PINTLE_SIM_MODEL_H
#define PINTLE_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_NEVER        UINT64_MAX
#define MODEL_MAX_ADAPTERS 256
#define MODEL_RANKS        8

/* How long a step takes; see lab/docs/simulator.md for the formula. */
struct model_costs {
	uint64_t step_ps;    /* fixed: scheduling, launches, collectives */
	uint64_t weights_ps; /* reading the weights once */
	uint64_t token_ps;   /* computing one prompt token */
	uint64_t seq_ps;     /* each sequence that decodes */
	uint64_t kv_ps;      /* reading one token's keys and values while decoding */
	uint64_t attn_ps;    /* one pair of prompt token and context token */
};

struct model_config {
	struct model_costs costs;
	uint32_t block_tokens;       /* tokens in a KV block: 1..1024 */
	uint32_t blocks;             /* KV blocks: 1..2^26 */
	uint32_t max_seqs;           /* sequences that may run at once: 1..65536 */
	uint32_t max_batched_tokens; /* tokens in one step; at least max_seqs */
	uint32_t max_len;            /* tokens of one request, prompt and output together */
	uint32_t max_waiting;        /* requests in the queue; more are refused; 0: no limit */
	uint32_t adapters;           /* LoRA adapters that exist, with the ids 1..adapters */
	uint32_t adapter_slots;      /* LoRA adapters that are loaded at once */
	uint64_t adapter_load_ns;    /* loading an adapter delays the step that needs it */
	uint64_t frontend_ns;        /* from arrival to the scheduler: HTTP, tokenizer, IPC */
	uint64_t startup_ns;         /* no step begins before this time */
	bool no_prefix_cache;
	bool by_rank;      /* lower ranks are admitted first; else requests in order of arrival */
	bool token_events; /* report MODEL_TOKEN for each token; the model then steps singly */
	double jitter;     /* relative standard deviation of step times, 0..0.5 */
	double fail_rate;  /* share of requests refused with -EIO, 0..1 */
	uint64_t seed;
};

struct model_request {
	uint64_t id; /* chosen by the caller, handed back in events */
	/* Chained hashes of the full blocks of the prompt and, if the caller knows them, of the
	 * output. Blocks beyond `block_count` match no other request's. Borrowed until the request
	 * has ended. */
	const uint64_t *blocks;
	uint32_t block_count;
	uint32_t prompt_tokens; /* at least 1 */
	uint32_t output_tokens; /* the number of tokens to generate; at least 1 */
	uint16_t adapter;       /* 0: the base model */
	uint8_t rank;           /* below MODEL_RANKS; has an effect only with `by_rank` */
};

enum model_event_type {
	MODEL_FIRST_TOKEN,
	MODEL_TOKEN,     /* a later token; only with `token_events` */
	MODEL_PREEMPTED, /* the request lost its KV blocks, and waits in the queue again */
	MODEL_FINISHED,  /* the request ended: all tokens are out */
	MODEL_ABORTED,   /* the request ended by model_abort() */
};

/* A time is 0 until its event has happened. */
struct model_event {
	enum model_event_type type;
	uint32_t generated; /* output tokens so far */
	uint32_t prompt_tokens;
	uint32_t cached_tokens; /* prompt tokens in the prefix cache when first scheduled */
	uint32_t preemptions;
	uint64_t id;
	uint64_t at_ns;
	uint64_t arrived_ns;
	uint64_t scheduled_ns; /* when the request left the queue for the first time */
	uint64_t first_ns;     /* when the first token came out */
};

/* Consecutive steps with an unchanged batch. */
struct model_steps {
	uint32_t steps;
	uint32_t decodes;        /* sequences that got one more token in each step */
	uint32_t prefill_tokens; /* if not 0, `steps` is 1 */
	/* The time between two tokens of those sequences: at the first step (with all that delayed
	 * it) and at the last; in between it grows linearly. */
	uint64_t first_gap_ns;
	uint64_t last_gap_ns;
};

/* Neither function may call the model. */
typedef void (*model_event_fn)(void *arg, const struct model_event *event);
typedef void (*model_steps_fn)(void *arg, const struct model_steps *steps);

struct model_stats {
	uint32_t running;
	uint32_t waiting;
	uint32_t blocks_used;   /* KV blocks of running requests */
	uint32_t blocks_cached; /* KV blocks of no request, kept as prefixes that may be hit */
	uint64_t accepted;
	uint64_t refused; /* with -EBUSY */
	uint64_t failed;  /* with -EIO */
	uint64_t finished;
	uint64_t aborted;
	uint64_t preemptions;
	uint64_t query_tokens;   /* prompt tokens looked up in the prefix cache */
	uint64_t hit_tokens;     /* prompt tokens found there */
	uint64_t prefill_tokens; /* computed, including those computed again */
	uint64_t generated_tokens;
	uint64_t evictions; /* cached blocks whose room was needed */
	uint64_t adapter_loads;
	uint64_t steps;
	uint64_t busy_ns; /* time spent in steps */
};

struct model;

/** Makes an empty engine at time 0. The calls below call `on_event` for each event, in order of
 * time; `on_steps` may be NULL. Returns 0; -EINVAL when a value is out of its range, with a static
 * sentence in *what if `what` is not NULL; or -ENOMEM. */
int model_new(const struct model_config *config, model_event_fn on_event, model_steps_fn on_steps,
	      void *arg, struct model **out, const char **what);
/** Frees the engine; its requests end without an event. NULL is allowed. */
void model_free(struct model *m);

/** Takes a request that arrives now. Returns 0, with *handle set if `handle` is not NULL. On an
 * error the engine keeps nothing and reports no event: -EINVAL (a field out of range), -E2BIG
 * (longer than max_len or than the whole KV cache), -EBUSY (queue full), -EIO (a failure that
 * fail_rate asks for), -ENOMEM. */
int model_submit(struct model *m, uint64_t now_ns, const struct model_request *r, uint64_t *handle);
/** The client has gone: the request ends now, with MODEL_ABORTED. Returns 0, or -ENOENT when the
 * request had ended before. */
int model_abort(struct model *m, uint64_t now_ns, uint64_t handle);
/** Moves the engine's time to `now_ns`, and reports every event until then. */
void model_advance(struct model *m, uint64_t now_ns);
/** The earliest time at which the engine's state can change by itself; MODEL_NEVER when idle. The
 * change need not be an event: it may be the end of one chunk of a prompt. */
uint64_t model_next(const struct model *m);

/** A sick GPU: steps that begin from now on take `factor` (0.01..1000) times as long. */
void model_set_slow(struct model *m, uint64_t now_ns, double factor);
/** A stall: no step begins before `until_ns` (MODEL_NEVER: before the next call). */
void model_stall(struct model *m, uint64_t now_ns, uint64_t until_ns);

/** Counters and gauges, as of the newest time given. */
void model_stats(struct model *m, struct model_stats *out);
/** How many requests of adapter `id` (1..adapters) run, and how many wait. */
void model_adapter_load(const struct model *m, uint32_t id, uint32_t *running, uint32_t *waiting);
/** Output tokens of a request so far; 0 after its end. */
uint32_t model_generated(const struct model *m, uint64_t handle);

/** For the lab's oracle: how many blocks of a prompt, from the first, are cached; and how many
 * tokens the engine has computed of prompts that are under way. */
void model_peek(const struct model *m, const uint64_t *blocks, uint32_t count, uint32_t *cached,
		uint64_t *computed);

/** The hash of a block, from the hash of the block before it (0 for the first) and its content. */
uint64_t model_chain(uint64_t previous, uint64_t content);

/** For tests: 0 when blocks, lists and sums agree with the sequences, else -EUCLEAN. */
int model_audit(struct model *m);

#endif
