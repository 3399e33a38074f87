/* SPDX-License-Identifier: Apache-2.0 */
#include "members.h"

#include <assert.h>
#include <string.h>

#include "../../base/util.h"
#include "../../maps/names.h"
#include "../../maps/rows.h"
#include "traits.bpf.h"

static int add_members(struct map_rows *rows, const struct config_pool *c,
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
		err = map_rows_add(rows, &key, &value);
	}
	return err;
}

static int add_spared(struct map_rows *rows, const struct config_pool *c,
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
		err = map_rows_add(rows, &key, &value);
	}
	return err;
}

int members_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_(map_rows_free) struct map_rows members = {.id = MAP_members};
	_cleanup_(map_rows_free) struct map_rows spared = {.id = MAP_spared};
	int err = 0;

	assert(p->pool_count == c->pool_count);
	for (size_t i = 0; !err && i < c->pool_count; i++) {
		if (hook_has(c->pools[i].decided_by, PINTLE_TRAIT_AT_SERVERS))
			continue;
		err = add_spared(&spared, &c->pools[i], &p->pools[i].ref);
		if (!err)
			err = add_members(&members, &c->pools[i], &p->pools[i]);
	}
	if (!err)
		err = map_rows_put(m, &members);
	return err ? err : map_rows_put(m, &spared);
}
