/* SPDX-License-Identifier: Apache-2.0 */
#include "destinations.h"

#include <assert.h>

#include "../../base/util.h"
#include "../../maps/keys.h"
#include "../../maps/rows.h"
#include "traits.bpf.h"

static int add_destination(struct map_rows *rows, const struct frontend_addr *f,
			   const struct pintle_ref *pool)
{
	const struct pintle_frontend_key key = key_of_frontend(f);

	return map_rows_add(rows, &key, pool);
}

static int add_destinations(struct map_rows *rows, const struct config_pool *c,
			    const struct pintle_ref *pool)
{
	int err = 0;

	if (hook_has(c->decided_by, PINTLE_TRAIT_AT_SERVERS)) {
		for (size_t i = 0; !err && i < c->frontend_count; i++)
			err = add_destination(rows, &c->frontends[i], pool);
		return err;
	}
	for (size_t i = 0; !err && i < c->endpoint_count; i++) {
		const struct endpoint_addr *e = &c->endpoints[i].address;
		const struct frontend_addr f = {
			.prefix = e->ip, .prefix_bits = 128, .port = e->port};

		err = add_destination(rows, &f, pool);
	}
	return err;
}

int destinations_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_(map_rows_free) struct map_rows rows = {.id = MAP_oneshot};
	int err = 0;

	assert(p->pool_count == c->pool_count);
	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = add_destinations(&rows, &c->pools[i], &p->pools[i].ref);
	return err ? err : map_rows_put(m, &rows);
}
