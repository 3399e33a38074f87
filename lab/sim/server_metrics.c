// SPDX-License-Identifier: Apache-2.0
/* server_metrics.c - counts what the /metrics page shows. */
#include "server_metrics.h"

#include <assert.h>
#include <time.h>

#include "../../userspace/base/util.h"

/* -- histograms ------------------------------------------------------------- */

static const double bounds_tokens[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 0};
static const double bounds_iteration[] = {1,   8,    16,   32,   64,   128,   256,
					  512, 1024, 2048, 4096, 8192, 16384, 0};
static const double bounds_few[] = {1, 2, 5, 10, 20, 0};
static const double bounds_preemptions[] = {1, 2, 3, 4, 5, 10, 20, 0};
static const double bounds_ttft[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
				     0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
				     20,    40,    80,   160,  640,  2560, 0};
static const double bounds_itl[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
				    0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80,  0};
static const double bounds_long[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,   20,
				     30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680, 0};
static const double bounds_highr[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1,  1.5, 2,
				      2.5,  3,     3.5,  4,     4.5, 5,    7.5, 10,   30, 60,  0};
static const double bounds_lowr[] = {0.1, 0.5, 1, 0};

void histogram_add(struct histogram *h, double value, uint64_t times)
{
	unsigned int at = 0;

	while (h->bounds[at] > 0 && value > h->bounds[at])
		at++;
	assert(at < METRICS_MAX_BOUNDS);
	h->counts[at] += times;
	h->count += times;
	h->sum += value * (double)times;
}

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

void metrics_init(struct sim_metrics *m)
{
	const struct {
		struct histogram *h;
		const double *bounds;
	} all[] = {
		{&m->prompt, bounds_tokens},
		{&m->generation, bounds_tokens},
		{&m->iteration, bounds_iteration},
		{&m->max_generation, bounds_tokens},
		{&m->params_n, bounds_few},
		{&m->params_max, bounds_tokens},
		{&m->ttft, bounds_ttft},
		{&m->itl, bounds_itl},
		{&m->per_token, bounds_itl},
		{&m->e2e, bounds_long},
		{&m->queue, bounds_long},
		{&m->inference, bounds_long},
		{&m->prefill, bounds_long},
		{&m->decode, bounds_long},
		{&m->preemptions, bounds_preemptions},
		{&m->computed, bounds_tokens},
		{&m->http_seconds, bounds_highr},
	};
	struct timespec now;

	*m = (struct sim_metrics){};
	clock_gettime(CLOCK_REALTIME, &now);
	m->created = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		all[i].h->bounds = all[i].bounds;
	for (unsigned int i = 0; i < HANDLERS; i++)
		m->http[i].seconds.bounds = bounds_lowr;
}

void metrics_request(struct sim_metrics *m, const struct model_event *e, enum metrics_finish how,
		     uint32_t max_tokens, bool has_max_tokens)
{
	double decode = seconds(e->first_ns, e->at_ns);

	m->finished[how]++;
	histogram_add(&m->prompt, e->prompt_tokens, 1);
	histogram_add(&m->generation, e->generated, 1);
	histogram_add(&m->max_generation, e->generated, 1);
	histogram_add(&m->params_n, 1, 1);
	if (has_max_tokens)
		histogram_add(&m->params_max, max_tokens, 1);
	histogram_add(&m->e2e, seconds(e->arrived_ns, e->at_ns), 1);
	histogram_add(&m->preemptions, e->preemptions, 1);
	if (!e->first_ns)
		return; /* aborted before its first token: it has no other times */
	histogram_add(&m->queue, seconds(e->arrived_ns, e->scheduled_ns), 1);
	histogram_add(&m->inference, seconds(e->scheduled_ns, e->at_ns), 1);
	histogram_add(&m->prefill, seconds(e->scheduled_ns, e->first_ns), 1);
	histogram_add(&m->decode, decode, 1);
	if (e->generated > 1)
		histogram_add(&m->per_token, decode / (e->generated - 1), 1);
	histogram_add(&m->computed, e->prompt_tokens - e->cached_tokens, 1);
}

void metrics_steps(struct sim_metrics *m, const struct model_steps *s)
{
	double first = (double)s->first_gap_ns * 1e-9, last = (double)s->last_gap_ns * 1e-9;
	double grow = s->steps > 1 ? (last - first) / (s->steps - 1) : 0;

	histogram_add(&m->iteration, s->decodes + s->prefill_tokens, s->steps);
	if (!s->decodes)
		return;
	for (uint32_t i = 0; i < s->steps; i++)
		histogram_add(&m->itl, first + i * grow, s->decodes);
}

void metrics_http(struct sim_metrics *m, enum metrics_handler handler, unsigned int status,
		  size_t request_bytes, size_t response_bytes, double took)
{
	struct http_counts *h = &m->http[handler];
	unsigned int kind = status < 400 ? 0 : status < 500 ? 1 : 2;
	struct timespec now;

	if (!h->requests[kind]++) {
		clock_gettime(CLOCK_REALTIME, &now);
		h->created[kind] = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
	}
	h->request_bytes += request_bytes;
	h->response_bytes += response_bytes;
	histogram_add(&h->seconds, took, 1);
	histogram_add(&m->http_seconds, took, 1);
}
