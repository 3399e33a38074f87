/* SPDX-License-Identifier: Apache-2.0 */
/* engines.h - signals from model servers' metrics pages: one table with each engine's names. */
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
	SIGNAL_PREFIX_QUERIES, /* the same unit, a counter; present only together with the hits */
	SIGNAL_PROMPT_TOKENS,  /* tokens, cached ones too, a counter */
	SIGNAL_OUTPUT_TOKENS,  /* tokens, a counter */
	SIGNAL_STARTED,        /* when the server's process began, in seconds since 1970 */
	SIGNAL_ASLEEP,         /* data-parallel ranks that sleep */
	SIGNAL_COUNT
};

/* The signals of a page. Only finite values in the signal's range are ever `present`. */
struct signals {
	bool present[SIGNAL_COUNT];
	double value[SIGNAL_COUNT]; /* 0 if not present */
	/* The page has it, but with a value that none can be; not present, then. */
	bool spoiled[SIGNAL_COUNT];
	bool cold; /* the page has no load signal yet: no request waits or runs */
};

/* Room for a line for the log that says what is wrong with a page, in which line and metric if
 * there is one, and what would be right. It is printable, whatever the page holds. */
#define FAULT_SIZE 256

struct engine; /* opaque: an entry of the table */

/** Returns the entry of that name (engine_names.h), or NULL. */
const struct engine *engine_find(const char *name);
/** Returns the i-th entry's name, or NULL past the end. */
const char *engine_name(size_t i);

/* The signals whose metrics can have other names: those before SIGNAL_STARTED. */
#define ENGINE_NAMES SIGNAL_STARTED

/** Makes an engine as `base`, but for the signals that names[] gives metrics for, each as
 * expfmt_read_metric() takes it (NULL: none); of `auto` with those alone. The texts are copied.
 * Returns 0 with *out, which engine_free() frees; -EINVAL: a text is no metric; or -ENOMEM. */
int engine_named(const struct engine *base, char *const names[ENGINE_NAMES], struct engine **out);
void engine_free(struct engine *e);

/** Says for which load signals a page of the same pool has had the metric that names[] gave. A
 * page that has not, and that would be refused for want of it, is from before the server's first
 * request then: the signal is 0. A name that no page had may be wrong, and stays wanted. */
void engine_prove(struct engine *own, const bool proven[ENGINE_NAMES]);

/* A metric that a signal comes from: the signal is the sum of its metrics with the lowest choice
 * that a page has. */
struct engine_metric {
	enum signal signal;
	unsigned int choice;
	const char *name;
	const char *label, *label_value; /* only series with this label; NULL: all */
	bool larger; /* counts with the metric before it: in each replica the larger of the two */
};

/** Finds the i-th metric of the engine, for docs/engines.md: the metrics of a signal follow each
 * other, by choice. Returns false past the end; at once for `auto`, which has none of its own. */
bool engine_metric(const struct engine *e, size_t i, struct engine_metric *out);

/** Reads the engine's metrics from a page; for `auto`, those of the engine whose load signal comes
 * first in it. Any bytes are safe. Returns 0 with *out, and in `fault` (FAULT_SIZE bytes, or NULL)
 * the first value that is NaN, negative, infinite, absurd or no number, which costs itself alone,
 * or nothing;
 * or, with *out untouched and the reason in `fault`, -ENODATA  the page has none of the load
 * signals, which are the first three. For an engine whose entry says so, a page from before the
 * first request is no load instead -EBADMSG  it is no metrics page, is cut short, has a series
 * twice, has other load signals without the waiting requests, or no load signal with a value that
 * can be: a broken server must not look idle -ENOMEM. This function cannot see that whole lines are
 * missing at the end: the caller makes sure that the transfer was complete (Content-Length, or the
 * last chunk). */
int engine_read(const struct engine *e, const char *page, size_t size, struct signals *out,
		char *fault);

/* DCGM exporter: GPU utilisation, memory and errors by GPU index and pod. */
struct dcgm_gpu {
	int index;      /* label `gpu`; -1: absent */
	char pod[256];  /* label `exported_pod`, else `pod`; "": absent */
	char space[64]; /* likewise of `namespace` */
	bool has_utilization, has_memory;
	double utilization;  /* 0..1; with several MIG instances, the busiest one's */
	double memory;       /* share in use, 0..1; with several MIG instances, of all together */
	bool has_errors;     /* the page has the next two, or one of them */
	bool errors_spoiled; /* it has one of them with a value that none can be */
	uint32_t xid;        /* the newest XID, if the GPU must be reset after it; else 0 */
	double dbe; /* errors of more than one bit in its memory, since the driver was loaded */
};

/** Returns whether the GPU does no further work after this XID, until it is reset. */
bool dcgm_xid_ends_work(double xid);

#define DCGM_MAX 128 /* entries of one page: 16 GPUs with 7 MIG instances each, and more */

/** Fills up to `max` entries (at most DCGM_MAX), one for each pair of index and pod; further pairs
 * are left out. Returns how many, and in `fault` the first value that none can be, as
 * engine_read(); or -EBADMSG with the reason in `fault`, and with `out` undefined. */
int dcgm_read(const char *page, size_t size, struct dcgm_gpu *out, size_t max, char *fault);

#endif
