/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expfmt.h - a reader of the Prometheus text format (0.0.4 and 1.0.0, with names in quotation
 * marks, and OpenMetrics 1.0.0) in one pass, without copies or allocation. Lines whose name is not
 * wanted are skipped at memchr speed. Any bytes are safe input, and nothing outside the page is
 * ever read: it needs no terminator.
 */
#ifndef PINTLE_EXPFMT_H
#define PINTLE_EXPFMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct expfmt_sample {
	const char *name; /* within the page, not terminated */
	size_t name_len;
	const char *labels; /* the text between the braces; NULL: no braces */
	size_t labels_len;
	double value;     /* may be NaN or infinite: the caller must check */
	const char *what; /* a static text: why the value is NaN though the page says otherwise; or
			   * NULL */
	bool lost;        /* its labels cannot be read; see expfmt_reader.goes_on */
};

/* A quick test of a line: with which bytes the wanted names begin, and which bytes may follow. Most
 * lines of a page fail it, and then cost little more than finding their end. */
struct expfmt_filter {
	const char *first; /* a wanted name; NULL: none was added, and none passes */
	size_t shared;     /* how many of its first bytes all wanted names share */
	bool next[256];    /* the bytes that may follow these */
};

/** Adds a wanted name to a filter that starts as {}. `name` is not copied and must outlive the
 * filter. Names that were added always pass; others may, too. */
void expfmt_filter_add(struct expfmt_filter *f, const char *name);

struct expfmt_reader {
	const char *at, *end;
	const struct expfmt_filter *filter; /* may be set after expfmt_init(); NULL: all pass */
	/* May be set as well: a sample whose labels cannot be read comes without them, and is no
	 * bad line. */
	bool goes_on;
	/* A line is neither sample, comment nor blank, or the page ends inside a line. Of a sample
	 * that is not wanted, only the beginning is checked. */
	bool bad;
	size_t line; /* the line of the newest sample, or the bad line; from 1 */
	/* If `bad`: a static text that says what is wrong and what would be right; and the metric's
	 * name within the page, of characters that a name may have, or NULL. */
	const char *what, *name;
	size_t name_len;
};

/** Begins to read `page`, which must outlive the reader; NULL is fine with size 0. */
void expfmt_init(struct expfmt_reader *r, const char *page, size_t size);

/** Reads the next sample that passes the filter and for which want(name, len, arg) is true. Returns
 * false at the end, or at a bad line (see ->bad), with *out untouched.
 *
 * A page is whole if it ends with a line end or with the line "# EOF". Any other page was cut
 * inside a line, whose value must not be believed: "waiting 1" may have been "waiting 150". */
bool expfmt_next(struct expfmt_reader *r, bool (*want)(const char *name, size_t len, void *arg),
		 void *arg, struct expfmt_sample *out);

/** Returns a hash of name and labels that does not depend on the labels' order, and so is equal for
 * two samples of the same series. Other series have the same hash by a chance of 2^-64, or because
 * the page's writer looked for a collision. */
uint64_t expfmt_series(const struct expfmt_sample *s);

/** Returns whether the sample has all labels of `wanted`, with the same values. */
bool expfmt_has_labels(const struct expfmt_sample *s, const struct expfmt_sample *wanted);

/** Reads a metric as it stands before its value: NAME, or NAME{LABEL="VALUE"} with one label or
 * more. Returns whether it is one, with *out, whose texts are within `text`. */
bool expfmt_read_metric(const char *text, struct expfmt_sample *out);

/** Writes the value of a label into buf, unescaped, NUL-terminated and cut to `size`, which must
 * not be 0. Returns whether the sample has that label; if not, buf is untouched. */
bool expfmt_label(const struct expfmt_sample *s, const char *label, char *buf, size_t size);

#endif
