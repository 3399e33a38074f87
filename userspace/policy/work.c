// SPDX-License-Identifier: Apache-2.0
#include "work.h"

#include <math.h>

#include "../base/util.h"

#define MILLI 1e3

static uint32_t work_milli(double load)
{
	return load > 0 ? (uint32_t)lround(fmin(load * MILLI, (double)PINTLE_MAX_LOAD)) : 0;
}

void work_mean_update(struct work_mean *m, uint64_t requests, uint64_t uncached_bytes)
{
	uint64_t n = requests - m->requests, bytes = uncached_bytes - m->sum;
	bool fell = requests < m->requests || uncached_bytes < m->sum;
	double share;

	m->requests = requests;
	m->sum = uncached_bytes;
	if (fell || !n)
		return;
	m->seen = fmin(m->seen + (double)n, WORK_MEAN_REQUESTS);
	/* The first requests count alike; later ones push those before out. */
	share = fmax((double)n / m->seen, 1 - exp(-(double)n / WORK_MEAN_REQUESTS));
	m->bytes += fmin(share, 1) * ((double)bytes / (double)n - m->bytes);
}

void work_fold(const struct pintle_work *work, const struct config_weights *w, double mean_bytes,
	       const struct work_counts *counts, struct pintle_score *out)
{
	double mean = mean_bytes > 0 ? mean_bytes : 0, unseen = work->unseen;
	double waiting = work->waiting + unseen;
	bool passed = work->passed_ns != 0;
	double floor = w->queue * waiting + w->running * work->answering;
	double prompt = ((double)work->prompt_bytes + unseen * mean) / WORK_BYTES_PER_REQUEST;

	out->passed_ns = work->passed_ns;
	out->passed_inflight = passed ? counts->inflight : 0;
	out->passed_opened = passed ? counts->opened : 0;
	out->passed_asked = passed ? counts->asked : 0;
	out->passed_idle = passed ? work->idle : 0;
	out->floor = passed ? work_milli(floor) : 0;
	out->prompt = passed ? work_milli(prompt) : 0;
	out->newcomer = passed ? work_milli(mean / WORK_BYTES_PER_REQUEST) : 0;
}
