// SPDX-License-Identifier: Apache-2.0
/*
 * lab_policy_hash.c - policies that hash.
 *
 * session-hash: the client's address, looked up in a Maglev table that is the same on every node.
 * The `session` routing of vLLM's production-stack hashes a header in this way
 * (src/vllm_router/routers/routing_logic.py); a Service with sessionAffinity goes by the address.
 *
 * chwbl: KubeAI's PrefixHash (github.com/substratusai/kubeai, internal/loadbalancer/
 * balance_chwbl.go, and the CRD's defaults: mean load factor 125 %, 256 replicas on the ring,
 * 100 characters of prefix), after Mirrokni, Thorup and Zadimoghaddam, SODA '18. One proxy.
 */
#include <assert.h>
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/maglev.h"
#include "lab_policy.h"

/* -- session-hash ------------------------------------------------------------------- */

static int session_create(const struct lab_fleet *fleet, const double *values, void **out)
{
	uint32_t n = fleet->endpoints;
	_cleanup_free_ struct maglev_member *members = calloc(n, sizeof(*members));
	_cleanup_free_ char(*names)[16] = calloc(n, sizeof(*names));
	_cleanup_free_ struct pintle_ref *table = calloc(PINTLE_HOME_ENTRIES, sizeof(*table));
	int err;

	(void)values;
	if (!members || !names || !table)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "gpu%u", i);
		members[i] = (struct maglev_member){i, 1, names[i], 1};
	}
	err = maglev_build(members, n, table, PINTLE_HOME_ENTRIES);
	if (err)
		return err;
	*out = TAKE_PTR(table);
	return 0;
}

static uint32_t session_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	const struct pintle_ref *table = self;

	(void)now_ns;
	return table[hash_mix(r->client) % PINTLE_HOME_ENTRIES].id;
}

const struct lab_policy lab_policy_session_hash = {
	.name = "session-hash",
	.says = "by the client's address, whatever the load",
	.per_connection = true,
	.interval_key = -1,
	.create = session_create,
	.destroy = free,
	.pick = session_pick,
};

/* -- chwbl ---------------------------------------------------------------------------- */

enum { FACTOR, REPLICAS };

struct spot {
	uint64_t hash;
	uint32_t endpoint;
};

struct ring {
	double factor;
	uint32_t endpoints, spots;
	uint64_t total;
	uint32_t *load;
	struct spot *spot;
};

static void ring_destroy(void *self)
{
	struct ring *x = self;

	free(x->load);
	free(x->spot);
	free(x);
}

static int by_hash(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

static int ring_create(const struct lab_fleet *fleet, const double *values, void **out)
{
	uint32_t replicas = (uint32_t)values[REPLICAS];
	struct ring *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->factor = values[FACTOR];
	x->endpoints = fleet->endpoints;
	x->spots = fleet->endpoints * replicas;
	x->load = calloc(fleet->endpoints, sizeof(*x->load));
	x->spot = calloc(x->spots, sizeof(*x->spot));
	if (!x->load || !x->spot) {
		ring_destroy(x);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < x->spots; i++)
		x->spot[i] = (struct spot){lab_hash(i / replicas, i % replicas), i / replicas};
	qsort(x->spot, x->spots, sizeof(*x->spot), by_hash);
	*out = x;
	return 0;
}

bool chwbl_load_ok(uint32_t load, uint64_t total, uint32_t n, double factor)
{
	double mean = (double)(total + 1) / n;

	return !total || load + 1.0 <= mean * factor;
}

/* The first spot from `hash` on; after the last spot comes the first one again. */
static uint32_t ring_first(const struct ring *x, uint64_t hash)
{
	uint32_t low = 0, high = x->spots;

	assert(x->spots);
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (x->spot[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low < x->spots ? low : 0;
}

static uint32_t ring_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct ring *x = self;
	uint32_t first = ring_first(x, r->prefix), endpoint = x->spot[first].endpoint;

	(void)now_ns;
	for (uint32_t i = 0; i < x->spots; i++) {
		uint32_t e = x->spot[(first + i) % x->spots].endpoint;

		if (chwbl_load_ok(x->load[e], x->total, x->endpoints, x->factor)) {
			endpoint = e;
			break;
		}
	}
	x->load[endpoint]++;
	x->total++;
	return endpoint;
}

static void ring_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct ring *x = self;

	(void)now_ns;
	x->load[r->endpoint]--;
	x->total--;
}

const struct lab_policy lab_policy_chwbl = {
	.name = "chwbl",
	.says = "KubeAI: consistent hash of the prompt's beginning, with bounded loads",
	.central = true,
	.keys =
		{
			[FACTOR] = {"factor", 1.25, 1, 1000, "most load over the mean load"},
			[REPLICAS] = {"replicas", 256, 1, 4096, "of an endpoint on the ring"},
		},
	.interval_key = -1,
	.create = ring_create,
	.destroy = ring_destroy,
	.pick = ring_pick,
	.ended = ring_ended,
};
