// SPDX-License-Identifier: Apache-2.0
/*
 * lab_policy_prequal.c - Prequal: Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you
 * should balance", NSDI '24, sections 4 and 5: asynchronous probes, each used several times, and
 * the hot-cold lexicographic rule. Each node is a client.
 *
 * A probe is answered at once. Its latency is the median over recent requests that began when about
 * as many requests were in flight as now. By default a latency lasts until the first token, because
 * the time of a whole answer depends mostly on its length; whole=1 takes whole answers, as the
 * paper does. The paper's fleets are many times the pool of 16. A pool nearly as large as the fleet
 * would leave equation (1) no positive budget, and a probe would be used without end; so the pool
 * holds at most half as many probes as there are endpoints.
 */
#include <assert.h>
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "lab_policy.h"

#define POOL_MAX  64
#define SAMPLES   64 /* latencies that a server remembers */
#define NEAREST   9  /* latencies of which a probe gets the median */
#define RIF_TRAIL 128

enum { POOL, AGE, PROBES, REMOVE, QUANTILE, DELTA, WHOLE };

struct server {
	uint32_t rif;
	uint32_t count, next;
	struct {
		uint32_t rif;
		double latency_ns;
	} sample[SAMPLES];
};

struct client {
	struct prequal_probe pool[POOL_MAX];
	uint32_t count;
	uint32_t trail[RIF_TRAIL]; /* rif of recent probes, for the quantile */
	uint32_t trail_count, trail_next;
	double probes_due, removals_due;
	bool worst_is_next;
};

struct prequal {
	struct lab_fleet fleet;
	double v[LAB_MAX_KEYS];
	uint32_t pool, reuse;
	struct rng random;
	struct server *servers;
	struct client *clients;
};

static void prequal_destroy(void *self)
{
	struct prequal *p = self;

	free(p->servers);
	free(p->clients);
	free(p);
}

uint32_t prequal_reuse(uint32_t pool, uint32_t endpoints, double probes, double remove,
		       double delta)
{
	double gain = (1 - (double)pool / endpoints) * probes - remove;
	double b = gain > 0 ? (1 + delta) / gain : 1e9;

	return (uint32_t)ceil(fmax(1, fmin(b, 1e9)));
}

static int prequal_create(const struct lab_fleet *fleet, const double *v, void **out)
{
	struct prequal *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->fleet = *fleet;
	memcpy(p->v, v, sizeof(p->v));
	p->pool = MIN((uint32_t)v[POOL], fleet->endpoints / 2);
	p->pool = MAX(p->pool, 2U);
	p->reuse = prequal_reuse(p->pool, fleet->endpoints, v[PROBES], v[REMOVE], v[DELTA]);
	p->random.state = fleet->seed;
	p->servers = calloc(fleet->endpoints, sizeof(*p->servers));
	p->clients = calloc(fleet->nodes, sizeof(*p->clients));
	if (!p->servers || !p->clients) {
		prequal_destroy(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

/* -- the server's side ------------------------------------------------------------------ */

static uint32_t distance(uint32_t a, uint32_t b)
{
	return a > b ? a - b : b - a;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double latency_now(const struct server *s)
{
	double nearest[NEAREST];
	uint32_t n = 0;

	for (uint32_t d = 0; n < NEAREST && n < s->count && d <= 4096; d = d ? 2 * d : 1)
		for (uint32_t i = 0; i < s->count && n < NEAREST; i++) {
			uint32_t far = distance(s->sample[i].rif, s->rif);

			/* Each distance counts in one round only, and the nearest come first. */
			if (far <= d && (d == 0 || far > d / 2))
				nearest[n++] = s->sample[i].latency_ns;
		}
	if (!n)
		return 0;
	qsort(nearest, n, sizeof(*nearest), by_value);
	return nearest[n / 2];
}

/* -- the client's side ------------------------------------------------------------------- */

static int by_count(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

double prequal_quantile(const uint32_t *counts, uint32_t n, double q)
{
	uint32_t sorted[256];

	assert(n && n <= ARRAY_SIZE(sorted));
	memcpy(sorted, counts, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_count);
	return sorted[MIN((uint32_t)(q * n), n - 1)];
}

uint32_t prequal_choose(const struct prequal_probe *pool, uint32_t n, double theta)
{
	uint32_t cold = UINT32_MAX, hot = 0;

	assert(n);
	for (uint32_t i = 0; i < n; i++) {
		if (pool[i].rif <= theta &&
		    (cold == UINT32_MAX || pool[i].latency_ns < pool[cold].latency_ns))
			cold = i;
		if (pool[i].rif < pool[hot].rif)
			hot = i;
	}
	return cold != UINT32_MAX ? cold : hot;
}

static void probe_drop(struct client *c, uint32_t i)
{
	memmove(&c->pool[i], &c->pool[i + 1], (--c->count - i) * sizeof(c->pool[0]));
}

static double theta_of(const struct prequal *p, const struct client *c)
{
	return c->trail_count ? prequal_quantile(c->trail, c->trail_count, p->v[QUANTILE])
			      : INFINITY;
}

/* The reverse of the rule: the most loaded hot probe, or without a hot probe the slowest. */
static uint32_t worst_of(const struct client *c, double theta)
{
	uint32_t hot = UINT32_MAX, slow = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		if (c->pool[i].rif > theta &&
		    (hot == UINT32_MAX || c->pool[i].rif > c->pool[hot].rif))
			hot = i;
		if (c->pool[i].latency_ns > c->pool[slow].latency_ns)
			slow = i;
	}
	return hot != UINT32_MAX ? hot : slow;
}

/* Removes the oldest probe, which is the first in the pool, and the worst probe in turn. */
static void probes_remove(const struct prequal *p, struct client *c, double theta)
{
	for (c->removals_due += p->v[REMOVE]; c->removals_due >= 1; c->removals_due--) {
		if (c->count < 2)
			continue;
		probe_drop(c, c->worst_is_next ? worst_of(c, theta) : 0);
		c->worst_is_next = !c->worst_is_next;
	}
}

static void probe_send(struct prequal *p, struct client *c, uint64_t now_ns)
{
	uint32_t e = rng_below(&p->random, p->fleet.endpoints);
	const struct server *s = &p->servers[e];

	if (c->count >= p->pool)
		probe_drop(c, 0);
	c->pool[c->count++] = (struct prequal_probe){
		.endpoint = e,
		.rif = s->rif,
		.latency_ns = latency_now(s),
		.at_ns = now_ns,
	};
	c->trail[c->trail_next++ % RIF_TRAIL] = s->rif;
	c->trail_count = MIN(c->trail_count + 1, (uint32_t)RIF_TRAIL);
}

static uint32_t probe_choose(struct prequal *p, struct client *c, double theta)
{
	uint32_t i, endpoint;

	if (c->count < 2) /* too few probes to choose from */
		return rng_below(&p->random, p->fleet.endpoints);
	i = prequal_choose(c->pool, c->count, theta);
	endpoint = c->pool[i].endpoint;
	c->pool[i].rif++; /* the probe is older than this query, which adds a request */
	if (++c->pool[i].uses >= p->reuse)
		probe_drop(c, i);
	return endpoint;
}

static uint32_t prequal_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct prequal *p = self;
	struct client *c = &p->clients[r->node];
	double theta = theta_of(p, c);
	uint32_t endpoint;

	while (c->count && (double)(now_ns - c->pool[0].at_ns) > p->v[AGE] * 1e6)
		probe_drop(c, 0);
	endpoint = probe_choose(p, c, theta);
	probes_remove(p, c, theta);
	r->seen = p->servers[endpoint].rif++;
	/* Probes are asynchronous, so their answers serve later queries. */
	for (c->probes_due += p->v[PROBES]; c->probes_due >= 1; c->probes_due--)
		probe_send(p, c, now_ns);
	return endpoint;
}

static void sample_add(struct server *s, const struct lab_request *r, uint64_t now_ns)
{
	uint32_t at = s->next++ % SAMPLES;

	s->sample[at].rif = r->seen;
	s->sample[at].latency_ns = (double)(now_ns - r->arrived_ns);
	s->count = MIN(s->count + 1, (uint32_t)SAMPLES);
}

static void prequal_first_token(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct prequal *p = self;

	if (p->v[WHOLE] == 0)
		sample_add(&p->servers[r->endpoint], r, now_ns);
}

static void prequal_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct prequal *p = self;

	p->servers[r->endpoint].rif--;
	if (p->v[WHOLE] > 0)
		sample_add(&p->servers[r->endpoint], r, now_ns);
}

const struct lab_policy lab_policy_prequal = {
	.name = "prequal",
	.says = "Google's Prequal: probes, requests in flight first, then latency",
	.keys =
		{
			[POOL] = {"pool", 16, 2, POOL_MAX, "probes kept"},
			[AGE] = {"age", 1000, 1, 3600000, "of a probe at most, ms"},
			[PROBES] = {"probes", 3, 0, 64, "for each query"},
			[REMOVE] = {"remove", 1, 0, 64, "probes, for each query"},
			[QUANTILE] = {"quantile", 0.84, 0, 1, "of requests in flight: hot above"},
			[DELTA] = {"delta", 1, 0, 100, "of the paper's equation (1)"},
			[WHOLE] = {"whole", 0, 0, 1, "latency: 0 first token, 1 whole answer"},
		},
	.interval_key = -1,
	.create = prequal_create,
	.destroy = prequal_destroy,
	.pick = prequal_pick,
	.first_token = prequal_first_token,
	.ended = prequal_ended,
};
