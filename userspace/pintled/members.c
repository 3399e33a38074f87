/* SPDX-License-Identifier: Apache-2.0 */
#include "members.h"

#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/names.h"
#include "traits.bpf.h"

/* The keys of one map, all of the same size. */
struct keys {
	char *all;
	size_t n, size;
};

static void keys_free(struct keys *k)
{
	free(k->all);
}

static int by_bytes(const void *left, const void *right, void *size)
{
	return memcmp(left, right, *(const size_t *)size);
}

static bool is_wanted(const void *key, const void *arg)
{
	const struct keys *k = arg;
	size_t low = 0, high = k->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(key, k->all + middle * k->size, k->size);

		if (!order)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

static int put(const struct maps *m, enum map_id map, struct keys *k, const void *key,
	       const void *value)
{
	memcpy(k->all + k->n++ * k->size, key, k->size);
	return maps_put(m, map, key, value);
}

static int prune(const struct maps *m, enum map_id map, struct keys *k)
{
	qsort_r(k->all, k->n, k->size, by_bytes, &k->size);
	return maps_prune(m, map, is_wanted, k);
}

static int put_members(const struct maps *m, struct keys *k, const struct config_pool *c,
		       const struct published_pool *p)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->endpoint_count; i++) {
		const struct endpoint_addr *at = &c->endpoints[i].address;
		struct pintle_address_key key = {.scope = PINTLE_SCOPE_NODE, .port = at->port};
		const struct pintle_member value = {
			.endpoint = p->endpoints[i].id,
			.generation = p->endpoints[i].generation,
			.pool = p->ref.id,
			.pool_generation = p->ref.generation,
		};

		memcpy(key.address, at->ip.bytes, sizeof(key.address));
		err = put(m, MAP_members, k, &key, &value);
	}
	return err;
}

static int put_spared(const struct maps *m, struct keys *k, const struct config_pool *c,
		      const struct pintle_ref *pool)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->spared_count; i++) {
		const struct pintle_spared_key key = {
			.client = client_id(c->spared[i].name),
			.pool = pool->id,
			.pool_generation = pool->generation,
		};
		struct pintle_spared value = {0};

		memcpy(value.name, c->spared[i].name, sizeof(value.name));
		err = put(m, MAP_spared, k, &key, &value);
	}
	return err;
}

int members_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_(keys_free) struct keys members = {.size = sizeof(struct pintle_address_key)};
	_cleanup_(keys_free) struct keys spared = {.size = sizeof(struct pintle_spared_key)};
	size_t endpoints = 1, clients = 1;
	int err = 0;

	for (size_t i = 0; i < c->pool_count; i++) {
		endpoints += c->pools[i].endpoint_count;
		clients += c->pools[i].spared_count;
	}
	members.all = calloc(endpoints, members.size);
	spared.all = calloc(clients, spared.size);
	if (!members.all || !spared.all)
		return log_err_r(ENOMEM, "members");
	for (size_t i = 0; !err && i < c->pool_count; i++) {
		if (hook_has(c->pools[i].decided_by, PINTLE_TRAIT_AT_SERVERS))
			continue;
		err = put_spared(m, &spared, &c->pools[i], &p->pools[i].ref);
		if (!err)
			err = put_members(m, &members, &c->pools[i], &p->pools[i]);
	}
	if (!err)
		err = prune(m, MAP_members, &members);
	return err ? err : prune(m, MAP_spared, &spared);
}
