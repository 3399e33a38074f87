// SPDX-License-Identifier: Apache-2.0
/*
 * lab_policy_sglang.c - policy cache_aware of SGLang's model gateway (github.com/sgl-project/smg),
 * with the default thresholds of its command line. One gateway.
 *
 * An index over blocks stands for the gateway's radix tree over characters. An endpoint's load is
 * the gateway's own count of requests in flight.
 */
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "../fleet/lab_index.h"
#include "lab_policy.h"

enum { CACHE_THRESHOLD, ABSOLUTE, RELATIVE };

#define MAX_TREE_SIZE 67108864U /* characters, four of which make a token */

struct gateway {
	struct lab_fleet fleet;
	double v[LAB_MAX_KEYS];
	struct rng random;
	struct lab_index *tree;
	uint32_t *matched, *load;
};

static void gateway_destroy(void *self)
{
	struct gateway *g = self;

	lab_index_free(g->tree);
	free(g->matched);
	free(g->load);
	free(g);
}

static int gateway_create(const struct lab_fleet *fleet, const double *v, void **out)
{
	struct gateway *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->fleet = *fleet;
	memcpy(g->v, v, sizeof(g->v));
	g->random.state = fleet->seed;
	g->matched = calloc(fleet->endpoints, sizeof(*g->matched));
	g->load = calloc(fleet->endpoints, sizeof(*g->load));
	if (!g->matched || !g->load ||
	    lab_index_new(fleet->endpoints, MAX_TREE_SIZE / 4 / fleet->block_tokens, &g->tree)) {
		gateway_destroy(g);
		return -ENOMEM;
	}
	*out = g;
	return 0;
}

bool sglang_unbalanced(uint64_t most, uint64_t least, double absolute, double relative)
{
	return (double)(most - least) > absolute && (double)most > relative * (double)least;
}

static uint32_t gateway_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct gateway *g = self;
	struct lab_least idle = {0}, warm = {0};
	uint32_t most = 0, endpoint;
	double share;

	lab_index_match(g->tree, r->blocks, r->block_count, g->matched, g->fleet.endpoints);
	for (uint32_t e = 0; e < g->fleet.endpoints; e++) {
		most = MAX(most, g->load[e]);
		lab_least_add(&idle, &g->random, g->load[e], e);
		lab_least_add(&warm, &g->random, -(double)g->matched[e], e);
	}
	share = r->block_count ? -warm.load / r->block_count : 0;
	endpoint = idle.endpoint;
	if (!sglang_unbalanced(most, (uint64_t)idle.load, g->v[ABSOLUTE], g->v[RELATIVE]) &&
	    share > g->v[CACHE_THRESHOLD])
		endpoint = warm.endpoint;
	/* The tree learns of every placement, also of those made for balance. */
	for (uint32_t i = r->block_count; i-- > 0;)
		lab_index_put(g->tree, r->blocks[i], endpoint, 0, now_ns);
	g->load[endpoint]++;
	return endpoint;
}

static void gateway_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct gateway *g = self;

	(void)now_ns;
	g->load[r->endpoint]--;
}

const struct lab_policy lab_policy_sglang = {
	.name = "sglang",
	.says = "SGLang's gateway, cache_aware: the longest prefix, unless unbalanced",
	.central = true,
	.keys =
		{
			[CACHE_THRESHOLD] = {"cacheThreshold", 0.3, 0, 1, "share matched"},
			[ABSOLUTE] = {"abs", 64, 0, 1e6, "balance_abs_threshold, requests"},
			[RELATIVE] = {"rel", 1.5, 0, 1e6, "balance_rel_threshold"},
		},
	.interval_key = -1,
	.create = gateway_create,
	.destroy = gateway_destroy,
	.pick = gateway_pick,
	.ended = gateway_ended,
};
