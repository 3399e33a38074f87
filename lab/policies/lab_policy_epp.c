// SPDX-License-Identifier: Apache-2.0
/*
 * lab_policy_epp.c - the endpoint picker of the Gateway API Inference Extension, as shipped by
 * github.com/llm-d/llm-d-router at ebab68792 (2026-08-22). One picker.
 *
 * epp: pkg/epp/config/loader/defaults.go. Queue scorer 2, KV cache scorer 2, prefix scorer 3; the
 * best score wins, ties at random. Metrics every 50 ms. An approximate prefix index: blocks of 64
 * tokens, for each server an LRU list of as many as its cache has blocks. An engine's block has 16
 * tokens, so that the list reaches four times as far back as the cache does
 * (requestcontrol/dataproducer/approximateprefix/plugin.go: autoTune sets the list's length to
 * CacheNumBlocks, minBlockSizeTokens raises the block to 64).
 *
 * epp-sticky: "sticky until saturated", llm-d's blog of 2026-08-04 and guides/optimized-baseline.
 * Only endpoints with 80 % of the prompt cached are candidates, while the least loaded of them is
 * at most peak prefill throughput x T_max ahead of the least loaded other endpoint, in uncached
 * tokens in flight. After that all endpoints are candidates. The candidate with the fewest uncached
 * tokens in flight wins (token-load scorer), or, for decode-bound work, the one with the fewest
 * requests.
 */
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "../fleet/lab_index.h"
#include "lab_policy.h"

#define PREFIX_BLOCK 64 /* tokens; the least that llm-d's source allows */
#define ENGINE_BLOCK 16 /* tokens of a block of vLLM's cache, whatever the lab computes with */

enum { W_QUEUE, W_KV_CACHE, W_PREFIX, INTERVAL };
enum { THRESHOLD, T_MAX, BY_REQUESTS };

struct epp {
	struct lab_fleet fleet;
	struct epp_weights weights;
	double threshold, tau, by_requests;
	struct rng random;
	struct lab_index *prefixes;
	uint32_t stride; /* how many of an engine's blocks make a block of the index */
	uint64_t *keys;
	uint32_t key_room;
	uint32_t *matched;
	struct lab_page *pages;
	double *scores;
	uint64_t *tokens;   /* uncached prompt tokens in flight */
	uint32_t *requests; /* in flight */
};

static void epp_destroy(void *self)
{
	struct epp *x = self;

	lab_index_free(x->prefixes);
	free(x->keys);
	free(x->matched);
	free(x->pages);
	free(x->scores);
	free(x->tokens);
	free(x->requests);
	free(x);
}

static struct epp *epp_new(const struct lab_fleet *fleet)
{
	struct epp *x = calloc(1, sizeof(*x));
	uint64_t capacity = (uint64_t)fleet->blocks * fleet->block_tokens / ENGINE_BLOCK;
	uint32_t n = fleet->endpoints;

	if (!x)
		return NULL;
	x->fleet = *fleet;
	x->random.state = fleet->seed;
	x->stride = MAX(1U, PREFIX_BLOCK / fleet->block_tokens);
	x->matched = calloc(n, sizeof(*x->matched));
	x->pages = calloc(n, sizeof(*x->pages));
	x->scores = calloc(n, sizeof(*x->scores));
	x->tokens = calloc(n, sizeof(*x->tokens));
	x->requests = calloc(n, sizeof(*x->requests));
	if (!x->matched || !x->pages || !x->scores || !x->tokens || !x->requests ||
	    lab_index_new(n, (uint32_t)MIN(capacity + 1, 1U << 24), &x->prefixes)) {
		epp_destroy(x);
		return NULL;
	}
	return x;
}

/* -- the approximate prefix index ------------------------------------------------------ */

/* Sets x->matched to the blocks of the prompt that each endpoint is assumed to have. Returns the
 * number of blocks in the prompt. */
static uint32_t prefix_match(struct epp *x, const struct lab_request *r)
{
	uint32_t n = r->block_count / x->stride;

	if (n > x->key_room) {
		uint64_t *keys = reallocarray(x->keys, n, sizeof(*keys));

		if (!keys)
			return 0; /* without memory, the prompt counts as new */
		x->keys = keys;
		x->key_room = n;
	}
	/* A chained hash stands for all blocks up to its own, so one in `stride` is enough. */
	for (uint32_t i = 0; i < n; i++)
		x->keys[i] = r->blocks[(i + 1) * x->stride - 1];
	lab_index_match(x->prefixes, x->keys, n, x->matched, x->fleet.endpoints);
	return n;
}

static void prefix_note(struct epp *x, uint32_t blocks, uint32_t endpoint, uint64_t now_ns)
{
	/* The first block is put last: it is then the newest, and forgotten last. */
	for (uint32_t i = blocks; i-- > 0;)
		lab_index_put(x->prefixes, x->keys[i], endpoint, 0, now_ns);
}

static double share_matched(const struct epp *x, uint32_t endpoint, uint32_t blocks)
{
	return blocks ? (double)x->matched[endpoint] / blocks : 0;
}

/* -- the default scorers -------------------------------------------------------------- */

void epp_score(const struct epp_weights *w, const struct lab_page *pages, const uint32_t *matched,
	       uint32_t blocks, uint32_t n, double *out)
{
	uint32_t most = 0, least = UINT32_MAX;

	for (uint32_t i = 0; i < n; i++) {
		most = MAX(most, pages[i].waiting);
		least = MIN(least, pages[i].waiting);
	}
	for (uint32_t i = 0; i < n; i++) {
		double queue = most == least
				       ? 1
				       : (double)(most - pages[i].waiting) / (double)(most - least);
		double prefix = blocks ? (double)matched[i] / blocks : 0;

		out[i] = w->queue * queue + w->kv_cache * (1 - MIN(pages[i].kv_cache, 1.0)) +
			 w->prefix * prefix;
	}
}

static int epp_create(const struct lab_fleet *fleet, const double *v, void **out)
{
	struct epp *x = epp_new(fleet);

	if (!x)
		return -ENOMEM;
	x->weights = (struct epp_weights){v[W_QUEUE], v[W_KV_CACHE], v[W_PREFIX]};
	*out = x;
	return 0;
}

static uint32_t epp_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct epp *x = self;
	uint32_t blocks = prefix_match(x, r);
	struct lab_least best = {0};

	epp_score(&x->weights, x->pages, x->matched, blocks, x->fleet.endpoints, x->scores);
	for (uint32_t e = 0; e < x->fleet.endpoints; e++)
		lab_least_add(&best, &x->random, -x->scores[e], e);
	prefix_note(x, blocks, best.endpoint, now_ns);
	return best.endpoint;
}

static void epp_page(void *self, uint32_t node, uint32_t endpoint, const struct lab_page *page,
		     uint64_t now_ns)
{
	struct epp *x = self;

	(void)node;
	(void)now_ns;
	x->pages[endpoint] = *page;
}

const struct lab_policy lab_policy_epp = {
	.name = "epp",
	.says = "llm-d's endpoint picker, default scorers: queue, KV cache, prefix",
	.central = true,
	.keys =
		{
			[W_QUEUE] = {"queue", 2, 0, 1000, "weight"},
			[W_KV_CACHE] = {"kvCache", 2, 0, 1000, "weight"},
			[W_PREFIX] = {"prefix", 3, 0, 1000, "weight"},
			[INTERVAL] = {"interval", 50, 10, 3600000, "between scrapes, ms"},
		},
	.interval_key = INTERVAL,
	.create = epp_create,
	.destroy = epp_destroy,
	.pick = epp_pick,
	.page = epp_page,
};

/* -- sticky until saturated ------------------------------------------------------------- */

static int sticky_create(const struct lab_fleet *fleet, const double *v, void **out)
{
	struct epp *x = epp_new(fleet);

	if (!x)
		return -ENOMEM;
	x->threshold = v[THRESHOLD];
	x->tau = v[T_MAX] * fleet->prefill_tokens_per_s;
	x->by_requests = v[BY_REQUESTS];
	*out = x;
	return 0;
}

/* Whether only the endpoints that have the prompt are candidates. */
static bool stays(const struct epp *x, uint32_t blocks)
{
	uint64_t sticky = UINT64_MAX, other = UINT64_MAX;

	for (uint32_t e = 0; e < x->fleet.endpoints; e++) {
		uint64_t *least = share_matched(x, e, blocks) >= x->threshold ? &sticky : &other;

		*least = MIN(*least, x->tokens[e]);
	}
	if (sticky == UINT64_MAX)
		return false;
	return other == UINT64_MAX || sticky <= other || (double)(sticky - other) <= x->tau;
}

static uint32_t sticky_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct epp *x = self;
	uint32_t blocks = prefix_match(x, r), uncached;
	bool stay = stays(x, blocks);
	struct lab_least best = {0};

	for (uint32_t e = 0; e < x->fleet.endpoints; e++) {
		double share = share_matched(x, e, blocks);

		if (stay && share < x->threshold)
			continue;
		lab_least_add(&best, &x->random,
			      x->by_requests > 0
				      ? (double)x->requests[e]
				      : (double)x->tokens[e] + r->prompt_tokens * (1 - share),
			      e);
	}
	uncached = r->prompt_tokens - MIN(r->prompt_tokens, x->matched[best.endpoint] * x->stride *
								    x->fleet.block_tokens);
	r->charge = uncached;
	x->tokens[best.endpoint] += uncached;
	x->requests[best.endpoint]++;
	prefix_note(x, blocks, best.endpoint, now_ns);
	return best.endpoint;
}

/* A prompt's tokens are in flight until the answer's first token. */
static void sticky_first_token(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct epp *x = self;

	(void)now_ns;
	x->tokens[r->endpoint] -= r->charge;
}

static void sticky_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct epp *x = self;

	(void)now_ns;
	x->requests[r->endpoint]--;
	if (!r->first_ns)
		x->tokens[r->endpoint] -= r->charge;
}

const struct lab_policy lab_policy_epp_sticky = {
	.name = "epp-sticky",
	.says = "llm-d's endpoint picker, sticky until saturated",
	.central = true,
	.keys =
		{
			[THRESHOLD] = {"threshold", 0.8, 0, 1, "share of the prompt cached"},
			[T_MAX] = {"tmax", 14, 0, 3600, "seconds of prefill that it may lead by"},
			[BY_REQUESTS] = {"byRequests", 0, 0, 1, "1: load is requests, not tokens"},
		},
	.interval_key = -1,
	.create = sticky_create,
	.destroy = epp_destroy,
	.pick = sticky_pick,
	.first_token = sticky_first_token,
	.ended = sticky_ended,
};
