/* SPDX-License-Identifier: Apache-2.0 */
/* words.c - ages and times as people say them; the word that was meant. */
#include "cli.h"

#include <ctype.h>
#include <math.h>

const char *age_text(double seconds, char *buf)
{
	static const struct {
		double below, unit;
		int decimals;
		const char *name;
	} steps[] = {
		{10, 1, 1, "s"},
		{120, 1, 0, "s"},
		{7200, 60, 0, "m"},
		{172800, 3600, 0, "h"},
	};
	double days = 86400;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		double tenth = steps[i].decimals ? 10 : 1;

		if (seconds < steps[i].below) {
			snprintf(buf, WORDS_SIZE, "%.*f %s", steps[i].decimals,
				 floor(seconds / steps[i].unit * tenth) / tenth, steps[i].name);
			return buf;
		}
	}
	snprintf(buf, WORDS_SIZE, "%.0f d", floor(MIN(seconds / days, 1e9)));
	return buf;
}

static time_t wall(uint64_t monotonic)
{
	int64_t ago = (int64_t)(monotonic_ns() - monotonic);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec + (time_t)floor((double)(now.tv_nsec - ago) / (double)NSEC_PER_SEC);
}

static const char *unknown_time(char *buf)
{
	snprintf(buf, WORDS_SIZE, "unknown");
	return buf;
}

const char *wall_text(uint64_t monotonic, char *buf)
{
	time_t t = wall(monotonic);
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, WORDS_SIZE, "%Y-%m-%d %H:%M:%S", &tm))
		return unknown_time(buf);
	return buf;
}

const char *wall_rfc3339(uint64_t monotonic, char *buf)
{
	time_t t = wall(monotonic);
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buf, WORDS_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return unknown_time(buf);
	return buf;
}

#define NEAR_MAX 64

/* Levenshtein's distance; case does not count. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[NEAR_MAX + 1], length = strlen(b);

	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
				    tolower((unsigned char)b[j - 1]);
			size_t changed = diagonal + !same;
			size_t shorter = MIN(row[j], row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = MIN(shorter, changed);
		}
	}
	return row[length];
}

void nearest_word_try(struct nearest_word *n, const char *candidate)
{
	size_t length = strlen(candidate), distance;

	if (strlen(n->word) > NEAR_MAX || length > NEAR_MAX)
		return;
	distance = edit_distance(n->word, candidate);
	/* A word begun is meant, however much of it is missing. */
	if (*n->word && !strncmp(n->word, candidate, strlen(n->word)))
		distance = MIN(distance, (size_t)1);
	if (distance > MAX(length / 3, (size_t)1) || distance >= length ||
	    (n->best && distance >= n->distance))
		return;
	n->best = candidate;
	n->distance = distance;
}
