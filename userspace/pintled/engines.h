/* SPDX-License-Identifier: Apache-2.0 */
/* engines.h - what each model server calls its signals: one data table, one loop over it. */
#ifndef PINTLE_ENGINES_H
#define PINTLE_ENGINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum signal {
	SIGNAL_WAITING,        /* requests */
	SIGNAL_RUNNING,        /* requests */
	SIGNAL_KV_CACHE,       /* share in use, 0..1 */
	SIGNAL_PREFIX_HITS,    /* tokens, a counter */
	SIGNAL_PREFIX_QUERIES, /* tokens, a counter */
	SIGNAL_PROMPT_TOKENS,  /* a counter */
	SIGNAL_OUTPUT_TOKENS,  /* a counter */
	SIGNAL_COUNT
};

/* What a page said. Only finite values in the signal's range are ever `present`. */
struct signals {
	bool present[SIGNAL_COUNT];
	double value[SIGNAL_COUNT];
};

struct engine; /* opaque: an entry of the table */

/** The entry of that name (vllm, sglang, trtllm, triton-trtllm, tgi, llamacpp), or NULL. */
const struct engine *engine_find(const char *name);
/** The i-th entry's name, or NULL past the end. */
const char *engine_name(size_t i);

/** Reads a metrics page in one pass, for only the engine's families. Any bytes are
 * safe. Returns 0 and *out; -ENODATA when the page has none of the load signals
 * (an empty page is zero load for engines whose table entry says so); -EBADMSG when
 * it is no metrics page, was cut short, or a wanted value is NaN, negative, infinite
 * or absurd. *out is untouched on failure. */
int engine_read(const struct engine *e, const char *page, size_t size, struct signals *out);

/* DCGM exporter: GPU utilisation and memory by GPU index or pod. */
struct dcgm_gpu {
	int index;     /* label `gpu`; -1 when absent */
	char pod[128]; /* label `pod`; empty when absent */
	bool has_utilization, has_memory;
	double utilization; /* 0..1 */
	double memory;      /* share in use, 0..1 */
};
/** Fills up to `max` entries; returns how many, or -EBADMSG. */
int dcgm_read(const char *page, size_t size, struct dcgm_gpu *out, size_t max);

#endif
