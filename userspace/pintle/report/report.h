/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what `pintle report` says, as numbers.
 *
 *   verb_report.c   the command: text and JSON
 *   report_sums.c   moments of the history to sums
 *   report_chance.c whether two modes differ by more than chance
 *   report_tables.c its tables: modes, classes, endpoints, tenants
 *   report_html.c   one page with plots
 */
#ifndef PINTLE_REPORT_H
#define PINTLE_REPORT_H

#include "../../base/columns.h"
#include "../../maps/state_history.h"
#include "../cli.h"

/* Answers by how long their clients waited for the first token. */
struct waits {
	uint64_t answers, waited_ns;
	uint64_t bucket[PINTLE_BUCKETS];
};

/* What happened between two moments. */
struct span {
	uint64_t from_ns, to_ns;
	uint32_t mode; /* enum pintle_mode; PINTLE_MODE_COUNT: several, or not known */
	uint64_t decisions;
	struct waits waits;
};

/* Sums over the spans of a mode. */
struct report_mode {
	uint32_t mode;
	double seconds;
	size_t spans;
	uint64_t decisions[PINTLE_OUTCOME_COUNT], decisions_total;
	uint64_t shadows[PINTLE_OUTCOME_COUNT], shadows_total;
	struct waits waits;
	struct pintle_forecast forecast;
	uint64_t output_tokens, prefix_hits, prefix_queries, gpu_ms, gpu_busy_ms;
	double looks, in_flight, load_mean, load_most, load_spread;
};

#define REPORT_MODES (PINTLE_MODE_COUNT + 1) /* the last: several, or not known */

struct report_class {
	uint32_t mode;
	const char *name;
	uint64_t placed;
	struct waits waits;
};

struct report_endpoint {
	char name[PINTLE_NAME_SIZE];
	uint32_t id, generation;
	uint64_t placed[REPORT_MODES], answers[REPORT_MODES], waited_ns[REPORT_MODES];
	uint64_t would; /* placements of the rule in mode shadow */
};

struct report_tenant {
	struct pintle_session_key key;
	uint32_t mode;
	char text[STATE_KEY_SIZE];
	uint64_t opened, refused;
	uint64_t opened_total; /* in all modes */
	struct waits waits;    /* in its buckets each answer counts four times: bucket_spread() */
};

/* Two numbers, and by how much the second is more (0.1: a tenth). */
struct difference {
	bool known;
	double before, after;
	double change;
	bool judged;      /* low and high hold */
	double low, high; /* the change is between these, with 95 % confidence */
};

struct report {
	const struct state *state;
	const struct state_pool *pool;
	double asked_seconds, seconds; /* asked for; covered */
	uint64_t from_ns, to_ns;
	struct span *spans;
	size_t span_count;
	struct report_mode modes[REPORT_MODES];
	struct report_class *classes;
	size_t class_count;
	struct report_endpoint *endpoints;
	size_t endpoint_count;
	struct report_tenant *tenants;
	size_t tenant_count;
	bool sealed; /* servers spoke TLS: no times are known of that */
	/* what the rule would change (shadow), and what it did: baseline and shadow against enforce
	 */
	struct difference would_load, would_first_token;
	struct difference did_mean, did_p95;
};

/** Fills *r from the history of r->pool, from `since_ns` on. Returns 0 or -errno, not logged. */
int report_make(struct report *r, const struct maps *m, uint64_t since_ns);
void report_free(struct report *r);

/** Returns whether the mode's connections are placed as without the rule. */
static inline bool mode_is_without(uint32_t mode)
{
	return mode == PINTLE_MODE_BASELINE || mode == PINTLE_MODE_SHADOW;
}

/** Fills did_mean and did_p95 from the spans. */
void report_judge(struct report *r);

/** Adds *from to *to. */
void report_waits_add(struct waits *to, const struct waits *from);
/** Returns by how much `after` is more than `before`: 0.1 is a tenth; 0 if `before` is 0. */
double report_change(double before, double after);
/** Sets *d, which is known if both are more than 0. */
void report_differ(struct difference *d, double before, double after);

/* The tables: what text, JSON and HTML have in common. */
struct report_table {
	const char *name; /* in JSON; a heading begins with a capital letter */
	const struct columns *columns;
	const void *rows;
	size_t count, size; /* size: bytes of a row */
};

#define REPORT_TABLES 4

struct report_tables {
	struct report_mode modes[REPORT_MODES]; /* those that have a span */
	struct report_table table[REPORT_TABLES];
};

extern const struct columns report_mode_columns; /* of the first table */
/** Fills *t, which is valid as long as r. */
void report_tables(const struct report *r, struct report_tables *t);
/** Returns a mode's name; PINTLE_MODE_COUNT has one, too. */
const char *report_mode_name(uint32_t mode);
/** Returns a time span in words: "23 h 10 min". */
const char *report_span_text(double seconds, char buf[48]);

/** Writes what is to be learned, one sentence a call: i from 0 on. Returns false past the end. */
#define REPORT_SENTENCE_SIZE 512
bool report_sentence(const struct report *r, size_t i, char *buf);

/** Writes the page. Returns 0 or -errno, logged. */
int report_html(const struct report *r, const char *path);

#endif
