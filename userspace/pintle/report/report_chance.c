/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_chance.c - whether two modes differ by more than chance.
 *
 * The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section
 * 13.3), over spans instead of answers: the answers of a minute are alike, because they met the
 * same queue, so a span is drawn as a whole. From the spans of each mode as many are drawn, with
 * replacement, 1,000 times; the change of the mean, and of the 95th percentile, is computed each
 * time; 95 % of these are between `low` and `high`.
 */
#include "report.h"

#include "../../base/buckets.h"

#define DRAWS 1000
#define LEAST 5 /* spans with answers, of each mode: with fewer there is nothing to draw from */

/* The spans of a side that have answers. */
struct side {
	const struct waits **spans;
	size_t count;
};

/* In seconds. */
static double mean_of(const struct waits *w)
{
	return w->answers ? (double)w->waited_ns / 1e9 / (double)w->answers : 0;
}

static double p95_of(const struct waits *w)
{
	return bucket_quantile((const __u64 *)w->bucket, 0.95) / 1e6;
}

/* xorshift64 (Marsaglia, 2003), with the same seed for each report: the same history makes the same
 * report. */
static uint64_t draw(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x >> 11;
}

static void side_add(const struct side *s, struct waits *to, uint64_t *random)
{
	*to = (struct waits){0};
	for (size_t n = 0; n < s->count; n++)
		report_waits_add(to, s->spans[random ? draw(random) % s->count : n]);
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

static void interval(struct difference *d, double *changes)
{
	qsort(changes, DRAWS, sizeof(*changes), by_size);
	d->low = changes[DRAWS * 25 / 1000];
	d->high = changes[DRAWS * 975 / 1000 - 1];
	d->judged = true;
}

double report_change(double before, double after)
{
	return before > 0 ? after / before - 1 : 0;
}

void report_differ(struct difference *d, double before, double after)
{
	*d = (struct difference){.known = before > 0 && after > 0,
				 .before = before,
				 .after = after,
				 .change = report_change(before, after)};
}

static void chance_judge(struct report *r, const struct side *without, const struct side *with)
{
	double means[DRAWS], p95s[DRAWS];
	uint64_t random = 0x9e3779b97f4a7c15;
	struct waits before, after;

	side_add(without, &before, NULL);
	side_add(with, &after, NULL);
	report_differ(&r->did_mean, mean_of(&before), mean_of(&after));
	report_differ(&r->did_p95, p95_of(&before), p95_of(&after));
	if (without->count < LEAST || with->count < LEAST)
		return;
	for (size_t i = 0; i < DRAWS; i++) {
		side_add(without, &before, &random);
		side_add(with, &after, &random);
		means[i] = report_change(mean_of(&before), mean_of(&after));
		p95s[i] = report_change(p95_of(&before), p95_of(&after));
	}
	interval(&r->did_mean, means);
	interval(&r->did_p95, p95s);
}

void report_judge(struct report *r)
{
	struct side without = {0}, with = {0};

	without.spans = calloc(r->span_count + 1, sizeof(*without.spans));
	with.spans = calloc(r->span_count + 1, sizeof(*with.spans));
	for (size_t i = 0; without.spans && with.spans && i < r->span_count; i++) {
		const struct span *s = &r->spans[i];

		if (!s->waits.answers)
			continue;
		if (mode_is_without(s->mode))
			without.spans[without.count++] = &s->waits;
		else if (s->mode == PINTLE_MODE_ENFORCE)
			with.spans[with.count++] = &s->waits;
	}
	if (without.count && with.count)
		chance_judge(r, &without, &with);
	free(without.spans);
	free(with.spans);
}
