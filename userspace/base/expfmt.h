/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expfmt.h - a reader of the Prometheus text format (0.0.4 and OpenMetrics 1.0.0), one
 * pass, no copies, no allocation. Lines whose name is not wanted are skipped at memchr speed.
 * Any bytes are safe, and nothing outside the page is ever read: it needs no terminator.
 */
#ifndef PINTLE_EXPFMT_H
#define PINTLE_EXPFMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct expfmt_sample {
	const char *name; /* within the page, not terminated */
	size_t name_len;
	const char *labels; /* between the braces; NULL without */
	size_t labels_len;
	double value; /* may be NaN or infinite: the caller's to judge */
};

/* A quick look: what the wanted names begin with, and what may follow that. Most lines of a page
 * fail it, and then cost little more than finding their end. */
struct expfmt_filter {
	const char *first; /* a wanted name; NULL: none was added, and none passes */
	size_t shared;     /* bytes of it that all wanted names begin with */
	bool next[256];    /* bytes that stand behind them */
};

/** Starts from {}. `name` is kept, not copied. Names added pass; some others may, too. */
void expfmt_filter_add(struct expfmt_filter *f, const char *name);

struct expfmt_reader {
	const char *at, *end;
	const struct expfmt_filter *filter; /* may be set after expfmt_init(); NULL: all pass */
	/* A line was neither sample, comment nor blank, as far as it was looked at: a sample that
	 * is not wanted, only at its beginning. Or the page was cut inside a line. */
	bool bad;
	size_t line; /* of the newest sample or of what is bad, from 1 */
	/* Where it is bad: static words for what is wrong and what would be right; and the metric's
	 * name within the page, of characters that a name may have, or NULL. */
	const char *what, *name;
	size_t name_len;
};

/** `page` must outlive the reader; NULL is fine with size 0. */
void expfmt_init(struct expfmt_reader *r, const char *page, size_t size);

/** Next sample that passes the filter and for which want(name, len, arg) is true. Returns false at
 * the end (then see ->bad), with *out untouched.
 *
 * A page is whole when it ends with a line end or with the line "# EOF"; anything else was cut
 * inside a line, and what stands there ("waiting 1" of "waiting 150") must not be believed. */
bool expfmt_next(struct expfmt_reader *r, bool (*want)(const char *name, size_t len, void *arg),
		 void *arg, struct expfmt_sample *out);

/** A hash of name and labels, whatever the order of the labels: equal for two samples of one
 * series. For others it is equal by a chance of 2^-64, or because whoever wrote both sought it. */
uint64_t expfmt_series(const struct expfmt_sample *s);

/** Value of a label, unescaped into buf (NUL-terminated, cut to size, which must not be 0).
 * Returns whether the sample has it; buf is untouched if not. */
bool expfmt_label(const struct expfmt_sample *s, const char *label, char *buf, size_t size);

#endif
