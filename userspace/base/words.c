/* SPDX-License-Identifier: Apache-2.0 */
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "util.h"

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

const char *wait_text(double seconds, char *buf)
{
	/* A time that rounds to the next step is written as that step writes it: "10 ms". */
	static const struct {
		double below, unit;
		int decimals;
		const char *name;
	} steps[] = {
		{0.000995, 1e-3, 2, "ms"}, {0.00995, 1e-3, 1, "ms"}, {0.9995, 1e-3, 0, "ms"},
		{9.995, 1, 2, "s"},        {INFINITY, 1, 0, "s"},
	};
	size_t i = 0;

	seconds = fmin(fmax(seconds, 0), 1e9);
	while (seconds >= steps[i].below)
		i++;
	snprintf(buf, WORDS_SIZE, "%.*f %s", steps[i].decimals, seconds / steps[i].unit,
		 steps[i].name);
	return buf;
}

const char *quantile_text(double seconds, char *buf)
{
	if (seconds >= 1e-3)
		return wait_text(seconds, buf);
	snprintf(buf, WORDS_SIZE, "<1 ms");
	return buf;
}

static time_t wall_time(uint64_t monotonic)
{
	int64_t ago = (int64_t)(monotonic_ns() - monotonic);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec + (time_t)floor((double)(now.tv_nsec - ago) / (double)NSEC_PER_SEC);
}

unsigned int wall_msec(uint64_t monotonic)
{
	struct timespec now;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = (now.tv_nsec - (int64_t)(monotonic_ns() - monotonic)) % (int64_t)NSEC_PER_SEC;
	return (unsigned int)((ns < 0 ? ns + (int64_t)NSEC_PER_SEC : ns) / 1000000);
}

static const char *unknown_time(char *buf)
{
	snprintf(buf, WORDS_SIZE, "unknown");
	return buf;
}

const char *wall_text(uint64_t monotonic, char *buf)
{
	time_t t = wall_time(monotonic);
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, WORDS_SIZE, "%Y-%m-%d %H:%M:%S", &tm))
		return unknown_time(buf);
	return buf;
}

const char *wall_rfc3339(uint64_t monotonic, char *buf)
{
	time_t t = wall_time(monotonic);
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buf, WORDS_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return unknown_time(buf);
	return buf;
}
