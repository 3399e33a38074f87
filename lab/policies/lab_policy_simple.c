// SPDX-License-Identifier: Apache-2.0
/* lab_policy_simple.c - random, round robin, least connections and power of two choices, as plain
 * Services and common proxies use them. Each node decides by itself. */
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "lab_policy.h"

struct simple {
	struct lab_fleet fleet;
	struct rng random;
	uint32_t *next;     /* [node], for round robin */
	uint32_t *inflight; /* [node][endpoint] */
};

static void simple_destroy(void *self)
{
	struct simple *s = self;

	free(s->next);
	free(s->inflight);
	free(s);
}

static int simple_create(const struct lab_fleet *fleet, const double *values, void **out)
{
	struct simple *s = calloc(1, sizeof(*s));

	(void)values;
	if (!s)
		return -ENOMEM;
	s->fleet = *fleet;
	s->random.state = fleet->seed;
	s->next = calloc(fleet->nodes, sizeof(*s->next));
	s->inflight = calloc((size_t)fleet->nodes * fleet->endpoints, sizeof(*s->inflight));
	if (!s->next || !s->inflight) {
		simple_destroy(s);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < fleet->nodes; i++)
		s->next[i] = rng_below(&s->random, fleet->endpoints);
	*out = s;
	return 0;
}

static uint32_t *inflight_of(struct simple *s, const struct lab_request *r, uint32_t endpoint)
{
	return &s->inflight[(size_t)r->node * s->fleet.endpoints + endpoint];
}

static uint32_t random_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct simple *s = self;

	(void)r;
	(void)now_ns;
	return rng_below(&s->random, s->fleet.endpoints);
}

static uint32_t round_robin_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct simple *s = self;
	uint32_t endpoint = s->next[r->node];

	(void)now_ns;
	s->next[r->node] = (endpoint + 1) % s->fleet.endpoints;
	return endpoint;
}

/* Looks at all endpoints, as IPVS's lc does. */
static uint32_t least_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct simple *s = self;
	struct lab_least best = {0};

	(void)now_ns;
	for (uint32_t e = 0; e < s->fleet.endpoints; e++)
		lab_least_add(&best, &s->random, *inflight_of(s, r, e), e);
	++*inflight_of(s, r, best.endpoint);
	return best.endpoint;
}

/* Mitzenmacher, IEEE TPDS 12(10), 2001; the same as Envoy's LEAST_REQUEST with two choices. */
static uint32_t two_choices_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct simple *s = self;
	struct lab_least best = {0};

	(void)now_ns;
	for (int i = 0; i < 2; i++) {
		uint32_t e = rng_below(&s->random, s->fleet.endpoints);

		lab_least_add(&best, &s->random, *inflight_of(s, r, e), e);
	}
	++*inflight_of(s, r, best.endpoint);
	return best.endpoint;
}

static void counted_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	(void)now_ns;
	--*inflight_of(self, r, r->endpoint);
}

const struct lab_policy lab_policy_random = {
	.name = "random",
	.says = "any endpoint: kube-proxy with iptables, and Pintle's mode baseline",
	.per_connection = true,
	.interval_key = -1,
	.create = simple_create,
	.destroy = simple_destroy,
	.pick = random_pick,
};

const struct lab_policy lab_policy_round_robin = {
	.name = "round-robin",
	.says = "each node takes the endpoints in turn",
	.per_connection = true,
	.interval_key = -1,
	.create = simple_create,
	.destroy = simple_destroy,
	.pick = round_robin_pick,
};

const struct lab_policy lab_policy_least_connections = {
	.name = "least-connections",
	.says = "the fewest connections of this node's own",
	.per_connection = true,
	.interval_key = -1,
	.create = simple_create,
	.destroy = simple_destroy,
	.pick = least_pick,
	.ended = counted_ended,
};

const struct lab_policy lab_policy_two_choices = {
	.name = "two-choices",
	.says = "of two at random the one with fewer connections of this node's own",
	.per_connection = true,
	.interval_key = -1,
	.create = simple_create,
	.destroy = simple_destroy,
	.pick = two_choices_pick,
	.ended = counted_ended,
};
