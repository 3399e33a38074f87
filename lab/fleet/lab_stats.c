// SPDX-License-Identifier: Apache-2.0
#include "lab_stats.h"

#include <assert.h>
#include <math.h>

#include "../../userspace/base/util.h"

/* -- herd ------------------------------------------------------------------------ */

int lab_herd_init(struct lab_herd *h, uint32_t endpoints)
{
	uint32_t *counts = calloc(endpoints, sizeof(*counts));

	if (!counts)
		return -ENOMEM;
	*h = (struct lab_herd){.counts = counts, .endpoints = endpoints};
	return 0;
}

void lab_herd_fini(struct lab_herd *h)
{
	free(h->counts);
}

static void window_end(struct lab_herd *h)
{
	/* The ratio, most / (total / endpoints), times its weight, total. */
	h->weighted += (double)h->most * h->endpoints;
	h->placements += h->total;
	if (h->total)
		memset(h->counts, 0, h->endpoints * sizeof(*h->counts));
	h->total = h->most = 0;
}

void lab_herd_add(struct lab_herd *h, uint64_t window, uint32_t endpoint)
{
	assert(window >= h->window && endpoint < h->endpoints);
	if (window != h->window)
		window_end(h);
	h->window = window;
	h->total++;
	h->counts[endpoint]++;
	h->most = MAX(h->most, h->counts[endpoint]);
}

double lab_herd_index(struct lab_herd *h)
{
	window_end(h);
	return h->placements > 0 ? h->weighted / h->placements : 0;
}

/* -- over endpoints, and over runs ------------------------------------------------ */

struct lab_moment lab_moment_of(const uint32_t *requests, uint32_t endpoints)
{
	struct lab_moment m = {0};
	double squares = 0;

	for (uint32_t e = 0; e < endpoints; e++) {
		m.mean += (double)requests[e] / endpoints;
		m.most = MAX(m.most, (double)requests[e]);
	}
	for (uint32_t e = 0; e < endpoints; e++)
		squares += (requests[e] - m.mean) * (requests[e] - m.mean);
	if (m.mean > 0)
		m.spread = sqrt(squares / endpoints) / m.mean;
	return m;
}

/* The 97.5 % quantile of Student's t for 1 to 30 degrees of freedom; above, 1.96 is close enough.
 */
static const double student[] = {
	12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
	2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
	2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
};

struct lab_interval lab_interval_of(const double *values, size_t n)
{
	struct lab_interval r = {0};
	double squares = 0, t;

	for (size_t i = 0; i < n; i++)
		r.mean += values[i] / (double)n;
	if (n < 2)
		return r;
	for (size_t i = 0; i < n; i++)
		squares += (values[i] - r.mean) * (values[i] - r.mean);
	t = n - 2 < ARRAY_SIZE(student) ? student[n - 2] : 1.96;
	r.half = t * sqrt(squares / (double)(n - 1) / (double)n);
	return r;
}
