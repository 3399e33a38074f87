// SPDX-License-Identifier: Apache-2.0
#include "score.h"

#include <math.h>
#include <string.h>

#include "../base/util.h"

#define MILLI 1e3
#define MICRO 1e6

/* Rounds and clamps to 0..max; NaN becomes 0. */
static uint32_t to_u32(double value, double max)
{
	return value > 0 ? (uint32_t)lround(MIN(value, max)) : 0;
}

static double load_term(double weight, double amount)
{
	return weight > 0 && amount > 0 ? weight * amount : 0;
}

static double score_share_of(double value, double threshold)
{
	return value > 0 && threshold > 0 ? value / threshold : 0;
}

/* A curve that is next to nothing while the cache has room, as much as a full queue at the
 * threshold, and soon more than any queue above it, where the server begins to preempt. With the
 * default threshold, 80 %, and queueDepth 5, a cache that is in use by 50 % gives 0.8, by 80 % 5,
 * and by 100 % 12.2. */
static double kv_cache_load(double kv_cache, const struct config_saturation *sat)
{
	double share = score_share_of(kv_cache, sat->kv_cache);

	return load_term(sat->queue_depth, share * share * share * share);
}

double score_saturation(const struct pintle_score *score, const struct config_saturation *sat)
{
	double queue = score_share_of(score->waiting, sat->queue_depth);
	double kv_cache = score_share_of(score->kv_cache / MICRO, sat->kv_cache);

	return MAX(queue, kv_cache);
}

static uint32_t flags_of(const struct signals *s, double gpu)
{
	uint32_t flags = 0;

	if (s->present[SIGNAL_WAITING])
		flags |= PINTLE_SIGNAL_WAITING;
	if (s->present[SIGNAL_RUNNING])
		flags |= PINTLE_SIGNAL_RUNNING;
	if (s->present[SIGNAL_KV_CACHE])
		flags |= PINTLE_SIGNAL_KV_CACHE;
	if (gpu >= 0)
		flags |= PINTLE_SIGNAL_GPU;
	return flags;
}

static double signal_value(const struct signals *s, enum signal signal)
{
	return s->present[signal] ? s->value[signal] : 0;
}

void score_compute(const struct signals *s, double gpu, const struct config_weights *w,
		   const struct config_saturation *sat, struct pintle_score *out)
{
	double waiting = signal_value(s, SIGNAL_WAITING), running = signal_value(s, SIGNAL_RUNNING);
	double kv_cache = signal_value(s, SIGNAL_KV_CACHE);
	double load = load_term(w->queue, waiting) + load_term(w->running, running) +
		      load_term(w->gpu, gpu) + load_term(w->kv_cache, kv_cache_load(kv_cache, sat));
	struct pintle_load_model model = {
		.published = to_u32(load * MILLI, PINTLE_MAX_LOAD),
		/* A connection that came since the scrape has a prompt that is still to be
		 * computed, and that the page does not show. */
		.arrival = to_u32(MAX(w->queue, w->running) * MILLI, PINTLE_MAX_LOAD),
	};

	out->flags = flags_of(s, gpu);
	out->waiting = to_u32(waiting, UINT32_MAX);
	out->running = to_u32(running, UINT32_MAX);
	out->kv_cache = to_u32(kv_cache * MICRO, MICRO);
	out->gpu = to_u32(gpu * MICRO, MICRO);
	if (score_saturation(out, sat) >= 1)
		out->flags |= PINTLE_SCORE_SATURATED;
	for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++)
		out->model[i] = model;
}
