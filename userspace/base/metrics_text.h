/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_text.h - builds a page of the Prometheus text format (0.0.4), one family after another:
 * the samples after metrics_family() belong to that family.
 *
 *	struct metrics_text t = {0};
 *
 *	metrics_family(&t, &load); whose labels are "pool" and "endpoint"
 *	metrics_sample(&t, 1.5, "llama-8b", "gpu0", NULL);
 *	if (!metrics_text_error(&t))
 *		send(t.text, t.size);
 *	metrics_text_free(&t);
 *
 * The functions return no errors: the first error is kept, and later calls do nothing.
 */
#ifndef PINTLE_METRICS_TEXT_H
#define PINTLE_METRICS_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_UNTYPED };

#define METRICS_MAX_FAMILIES 256
#define METRICS_MAX_LABELS   6

/* A family, for the page and for its documentation. */
struct metrics_family {
	const char *name; /* a valid metric name; a counter's ends in _total */
	enum metrics_type type;
	const char *labels[METRICS_MAX_LABELS + 1]; /* their names, ended by NULL */
	const char *help;                           /* one line */
	const char *more; /* what the documentation says besides, in Markdown; NULL: nothing */
};

/* Must start as all zeros. */
struct metrics_text {
	char *text; /* not NUL-terminated; NULL while empty */
	size_t size, room;
	int error;
	const struct metrics_family *families[METRICS_MAX_FAMILIES]; /* each only once */
	unsigned int family_count;
};

/** Returns the name of the type on the page: "counter". */
const char *metrics_type_name(enum metrics_type type);

/** Begins a family: writes its HELP and TYPE lines. `f` must outlive `t`. A name used twice is the
 * error -EEXIST. */
void metrics_family(struct metrics_text *t, const struct metrics_family *f);

/** Adds a sample of the newest family, with a value for each of its labels, then NULL. A label's
 * value may be any bytes: it is escaped here, and what is not UTF-8 replaced by U+FFFD. `value` is
 * printed with the fewest digits that read back as the same number; NaN and infinities are allowed.
 * Without a family, or with another number of labels than it has: the error -EINVAL. */
void metrics_sample(struct metrics_text *t, double value, ...) __attribute__((sentinel));
/** Writes a sample that is a whole number, exact beyond 2^53. */
void metrics_sample_u64(struct metrics_text *t, uint64_t value, ...) __attribute__((sentinel));

/* The buckets of a histogram's sample. */
struct metrics_histogram {
	const double *bounds;  /* ascending, finite */
	const uint64_t *up_to; /* for each bound: how many values are not above it */
	size_t n;
	uint64_t count; /* of all values */
	double sum;
};

/** Writes the samples of a histogram: NAME_bucket for each bound and for infinity, NAME_sum,
 * NAME_count. */
void metrics_sample_histogram(struct metrics_text *t, const struct metrics_histogram *h, ...)
	__attribute__((sentinel));

/** Returns 0, or the first error: -ENOMEM, -EINVAL, -EEXIST, -E2BIG (too many families). */
int metrics_text_error(const struct metrics_text *t);
/** Frees the text and makes `t` ready for the next page. */
void metrics_text_free(struct metrics_text *t);

#endif
