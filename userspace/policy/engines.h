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
	SIGNAL_PREFIX_HITS,    /* tokens (trtllm: blocks), a counter */
	SIGNAL_PREFIX_QUERIES, /* the same unit, a counter; there only together with the hits */
	SIGNAL_PROMPT_TOKENS,  /* tokens, cached ones too, a counter */
	SIGNAL_OUTPUT_TOKENS,  /* tokens, a counter */
	SIGNAL_COUNT
};

/* What a page said. Only finite values in the signal's range are ever `present`. */
struct signals {
	bool present[SIGNAL_COUNT];
	double value[SIGNAL_COUNT]; /* 0 where not present */
};

/* What is wrong with a page and what would be right, one line for the log, printable whatever the
 * page holds: line and metric where there is one. */
#define FAULT_SIZE 256

struct engine; /* opaque: an entry of the table */

/** The entry of that name (engine_names.h), or NULL. */
const struct engine *engine_find(const char *name);
/** The i-th entry's name, or NULL past the end. */
const char *engine_name(size_t i);

/* One of the metrics that a signal comes from. Those of the lowest choice that a page has count,
 * and they add up. */
struct engine_metric {
	enum signal signal;
	unsigned int choice;
	const char *name;
	const char *label, *label_value; /* only series with this label; NULL: all */
};

/** The i-th metric that the engine's pages are read for, for docs/engines.md: those of a signal
 * follow each other, by choice. Returns false past the end. */
bool engine_metric(const struct engine *e, size_t i, struct engine_metric *out);

/** Reads a metrics page in one pass, for only the engine's families. Any bytes are
 * safe. Returns 0 and *out; -ENODATA when the page has none of the load signals (the first
 * three; a page from before the first request is zero load for engines whose table entry says
 * so); -EBADMSG when it is no metrics page, was cut short, has a series twice, lacks the waiting
 * requests beside other load signals, or a wanted value is NaN, negative, infinite or absurd: what
 * is sick must not look empty; -ENOMEM. A page that lost whole lines at its end is beyond this
 * function: the transfer must have been complete (Content-Length or the last chunk). *out is
 * untouched on failure, and `fault` (FAULT_SIZE bytes, or NULL) says what is wrong. */
int engine_read(const struct engine *e, const char *page, size_t size, struct signals *out,
		char *fault);

/* DCGM exporter: GPU utilisation and memory by GPU index and pod. */
struct dcgm_gpu {
	int index;     /* label `gpu`; -1 when absent */
	char pod[256]; /* label `exported_pod`, else `pod`; empty when absent */
	bool has_utilization, has_memory;
	double utilization; /* 0..1; the busiest, where MIG gives several */
	double memory;      /* share in use, 0..1; over all of them */
};

#define DCGM_MAX 128 /* entries looked at in one page: 16 GPUs of 7 MIG instances, and more */

/** Fills up to `max` entries (DCGM_MAX at most), one for each pair of index and pod; further
 * ones are left out. Returns how many; -EBADMSG and `fault` as engine_read(). *out is undefined
 * then. */
int dcgm_read(const char *page, size_t size, struct dcgm_gpu *out, size_t max, char *fault);

#endif
