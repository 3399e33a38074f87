/* SPDX-License-Identifier: Apache-2.0 */
/* top_trend.c - the last minute of each endpoint, second by second, as `pintle top` saw it. */
#include "top.h"

#include <math.h>

#include "../../base/hash.h"

const char *const top_trend_names[TREND_COUNT] = {
	[TREND_LOAD] = "LOAD",
	[TREND_FIRST_TOKEN] = "TTFT50",
};

/* An id is given to another endpoint one day, and maps that are made anew begin with the same ids
 * and generations: the name tells. */
struct trend {
	uint64_t whose;
	uint64_t last;                                 /* the newest second; 0: none */
	float seconds[TREND_COUNT][TOP_TREND_SECONDS]; /* by second; NAN: not known */
};

struct top_trends {
	uint64_t now; /* the second of the newest reading */
	struct trend of[PINTLE_MAX_ENDPOINTS];
};

struct top_trends *top_trends_new(void)
{
	return calloc(1, sizeof(struct top_trends));
}

void top_trends_free(struct top_trends *t)
{
	free(t);
}

static uint64_t whose(const struct state *s, const struct state_endpoint *e)
{
	char name[ENDPOINT_NAME_SIZE];

	return hash_mix(hash_text(endpoint_name(s, e, name)) + e->generation) ?: 1;
}

static float value_now(const struct state_endpoint *e, enum top_trend trend)
{
	switch (trend) {
	case TREND_LOAD:
		return (float)e->load;
	default:
		return e->has_work && e->work.minute_p50_us ? (float)e->work.minute_p50_us / 1e6F
							    : NAN;
	}
}

/* What happened between two readings is not known; that the newer value held is the best guess for
 * the usual step, and no guess after a longer gap. */
static void trend_add(struct trend *t, const struct state_endpoint *e, uint64_t second,
		      uint64_t most)
{
	uint64_t from = second;

	if (t->last && second > t->last) {
		uint64_t gap = second - t->last;

		from = second - MIN(gap, (uint64_t)TOP_TREND_SECONDS) + 1;
		for (uint64_t at = from; gap > most && at < second; at++)
			for (enum top_trend i = 0; i < TREND_COUNT; i++)
				t->seconds[i][at % TOP_TREND_SECONDS] = NAN;
		if (gap > most)
			from = second;
	}
	for (uint64_t at = from; at <= second; at++)
		for (enum top_trend i = 0; i < TREND_COUNT; i++)
			t->seconds[i][at % TOP_TREND_SECONDS] = value_now(e, i);
	t->last = second;
}

void top_trends_add(struct top_trends *t, const struct top_data *d, uint64_t step_ns)
{
	uint64_t most = step_ns / NSEC_PER_SEC + 2;

	t->now = d->s->now_ns / NSEC_PER_SEC;
	for (size_t i = 0; i < d->s->endpoint_count; i++) {
		const struct state_endpoint *e = &d->s->endpoints[i];
		struct trend *of = &t->of[e->id];
		uint64_t its = whose(d->s, e);

		if (of->whose != its) {
			*of = (struct trend){.whose = its};
			for (enum top_trend k = 0; k < TREND_COUNT; k++)
				for (size_t at = 0; at < TOP_TREND_SECONDS; at++)
					of->seconds[k][at] = NAN;
		}
		trend_add(of, e, t->now, most);
	}
}

/* The highest value from `ago` to `until` seconds ago; NAN: none is known. */
static float highest(const struct top_trends *t, uint32_t id, enum top_trend trend, size_t ago,
		     size_t until)
{
	const struct trend *of = &t->of[id];
	float max = NAN;

	for (size_t i = until; i < ago; i++) {
		uint64_t second = t->now - i;

		/* A ring that was not written for a while holds older minutes. */
		if (!of->last || second > of->last || i > t->now)
			continue;
		max = fmaxf(max, of->seconds[trend][second % TOP_TREND_SECONDS]);
	}
	return max;
}

double top_trend_max(const struct top_trends *t, const struct state_endpoint *e,
		     enum top_trend trend)
{
	float max = highest(t, e->id, trend, TOP_TREND_SECONDS, 0);

	return isnan(max) ? 0 : max;
}

#define BARS 8

static const char *bar(float value, double max, bool utf8)
{
	static const char *const blocks[BARS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[BARS] = {"_", ".", "-", ":", "=", "+", "*", "#"};
	double share = max > 0 ? value / max : 0;
	size_t at;

	if (isnan(value))
		return " ";
	at = (size_t)(fmin(fmax(share, 0), 1) * (BARS - 1) + 0.5);
	return utf8 ? blocks[at] : ascii[at];
}

void top_trend_text(const struct top_trends *t, const struct state_endpoint *e,
		    enum top_trend trend, size_t width, double max, bool utf8, char *buf)
{
	size_t n = 0;

	width = MIN(width, (size_t)TOP_TREND_SECONDS);
	buf[0] = '\0';
	for (size_t i = 0; i < width; i++) {
		size_t ago = TOP_TREND_SECONDS * (width - i) / width;
		size_t until = TOP_TREND_SECONDS * (width - i - 1) / width;
		float value = highest(t, e->id, trend, ago, until);

		n += (size_t)snprintf(buf + n, TOP_TREND_SIZE - n, "%s", bar(value, max, utf8));
	}
}
