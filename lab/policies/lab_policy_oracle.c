// SPDX-License-Identifier: Apache-2.0
/*
 * lab_policy_oracle.c - a picker that sees what no picker can: of each engine the true cache,
 * queue, prompts under way and speed, at the moment of the decision, and of a request its whole
 * prompt.
 *
 * It shows about how much is to be gained. It is no bound: it is greedy, places each request where
 * that request and those beside it wait the least now, and knows nothing of what comes next. So
 * another policy may do better, above all one that keeps sessions where they will come back to.
 */
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "lab_policy.h"

enum { DELAY, MISS, REQUEST, KV_CACHE };

struct oracle {
	struct lab_fleet fleet;
	double v[LAB_MAX_KEYS];
	struct rng random;
	uint64_t *tokens; /* of each engine: to be computed, of requests without a first token */
};

static void oracle_destroy(void *self)
{
	struct oracle *x = self;

	free(x->tokens);
	free(x);
}

static int oracle_create(const struct lab_fleet *fleet, const double *v, void **out)
{
	struct oracle *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->fleet = *fleet;
	memcpy(x->v, v, sizeof(x->v));
	x->random.state = fleet->seed;
	x->tokens = calloc(fleet->endpoints, sizeof(*x->tokens));
	if (!x->tokens) {
		oracle_destroy(x);
		return -ENOMEM;
	}
	*out = x;
	return 0;
}

/* What is to be computed of a prompt; attention is counted as so many further tokens. */
static uint32_t tokens_missing(const struct oracle *x, const struct lab_request *r, uint32_t cached)
{
	double miss = r->prompt_tokens - MIN(cached, r->prompt_tokens - 1);
	double pairs = miss * cached + miss * (miss + 1) / 2;

	return (uint32_t)fmin(miss + pairs * x->fleet.pair_tokens, UINT32_MAX);
}

static uint32_t oracle_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct oracle *x = self;
	struct lab_least best = {0};
	struct lab_truth t;

	(void)now_ns;
	for (uint32_t e = 0; e < x->fleet.endpoints; e++) {
		double ahead, miss, cost;

		x->fleet.truth(x->fleet.arg, e, r, &t);
		miss = tokens_missing(x, r, t.cached_tokens);
		ahead = (double)x->tokens[e] - (double)MIN(t.computed, x->tokens[e]);
		cost = ahead + miss * (1 + x->v[MISS] + x->v[DELAY] * t.running) +
		       x->v[REQUEST] * (t.running + t.waiting);
		cost = t.slow * cost + x->v[KV_CACHE] * pow(t.kv_cache, 8);
		lab_least_add(&best, &x->random, cost, e);
	}
	x->fleet.truth(x->fleet.arg, best.endpoint, r, &t);
	r->charge = tokens_missing(x, r, t.cached_tokens);
	x->tokens[best.endpoint] += r->charge;
	return best.endpoint;
}

static void oracle_first_token(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct oracle *x = self;

	(void)now_ns;
	x->tokens[r->endpoint] -= r->charge;
}

static void oracle_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	if (!r->first_ns)
		oracle_first_token(self, r, now_ns);
}

const struct lab_policy lab_policy_oracle = {
	.name = "oracle",
	.says = "knows the engines' caches, queues and speeds; greedy, so no bound",
	.central = true,
	.keys =
		{
			[DELAY] = {"delay", 0.01, 0, 10,
				   "of each running request by a missing token"},
			[MISS] = {"miss", 0.5, 0, 100, "further cost of a missing token"},
			[REQUEST] = {"request", 30, 0, 1e5, "tokens that a request counts as"},
			[KV_CACHE] = {"kvCache", 3000, 0, 1e7,
				      "tokens that a full cache counts as"},
		},
	.interval_key = -1,
	.create = oracle_create,
	.destroy = oracle_destroy,
	.pick = oracle_pick,
	.first_token = oracle_first_token,
	.ended = oracle_ended,
};
