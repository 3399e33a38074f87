/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_text.h - builds a page of the Prometheus text format (0.0.4). One family after
 * another, each wholly before the next: the samples after metrics_family() are that family's.
 *
 *	struct metrics_text t = {0};
 *
 *	metrics_family(&t, &load); whose labels are "pool" and "endpoint"
 *	metrics_sample(&t, 1.5, "llama-8b", "gpu0", NULL);
 *	if (!metrics_text_error(&t))
 *		send(t.text, t.size);
 *	metrics_text_free(&t);
 *
 * Nothing returns an error: the first one sticks, and later calls do nothing.
 */
#ifndef PINTLE_METRICS_TEXT_H
#define PINTLE_METRICS_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_UNTYPED };

#define METRICS_MAX_FAMILIES 128
#define METRICS_MAX_LABELS   3

/* The page and its documentation say the same of a family. */
struct metrics_family {
	const char *name; /* a valid metric name; a counter's ends in _total */
	enum metrics_type type;
	const char *labels[METRICS_MAX_LABELS + 1]; /* their names, up to a NULL */
	const char *help;                           /* one line */
	const char *more; /* what the documentation adds to that, in Markdown; NULL: nothing */
};

/* Starts as all zeros. */
struct metrics_text {
	char *text; /* not terminated; NULL while empty */
	size_t size, room;
	int error;
	const struct metrics_family *families[METRICS_MAX_FAMILIES]; /* each only once */
	unsigned int family_count;
};

/** What the page calls the type: "counter". */
const char *metrics_type_name(enum metrics_type type);

/** Opens a family: its HELP and TYPE lines. `f` must outlive `t`. A name used twice is the error
 * -EEXIST. */
void metrics_family(struct metrics_text *t, const struct metrics_family *f);

/** One sample of the open family, with a value for each of its labels, then NULL. A label's value
 * is any bytes, escaped here, what is not UTF-8 replaced by U+FFFD. `value` is printed with as many
 * digits as reading it back exactly takes; NaN and infinities are allowed. Without an open family,
 * or with another number of labels than it has: the error -EINVAL. */
void metrics_sample(struct metrics_text *t, double value, ...) __attribute__((sentinel));
/** The same with a whole number, exact beyond 2^53. */
void metrics_sample_u64(struct metrics_text *t, uint64_t value, ...) __attribute__((sentinel));

/** 0, or the first error: -ENOMEM, -EINVAL, -EEXIST, -E2BIG (too many families). */
int metrics_text_error(const struct metrics_text *t);
/** Frees the text and makes `t` ready for the next page. */
void metrics_text_free(struct metrics_text *t);

#endif
