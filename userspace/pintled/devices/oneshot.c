/* SPDX-License-Identifier: Apache-2.0 */
#include "oneshot.h"

#include <assert.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "devices.h"

struct oneshot {
	struct devices *devices;
	const struct maps *m;
	const struct config *config;
	const struct publication *publication;
	bool wanted[PINTLE_MAX_POOLS]; /* parallel to config->pools, as last seen */
};

static bool oneshot_wanted(const struct oneshot *o, size_t pool)
{
	const struct pintle_ref *ref = &o->publication->pools[pool].ref;
	uint32_t requests = o->config->pools[pool].requests;
	struct pintle_override v;

	if (!maps_value(o->m, MAP_overrides, ref->id, &v) && v.generation == ref->generation &&
	    v.flags & PINTLE_OVERRIDE_REQUESTS)
		requests = v.requests;
	return requests == PINTLE_REQUESTS_ONE_PER_CONNECTION;
}

/* Returns whether any pool's entry has changed. */
static bool oneshot_read_wanted(struct oneshot *o)
{
	bool changed = false;

	for (size_t i = 0; i < o->config->pool_count; i++) {
		bool now = oneshot_wanted(o, i);

		changed |= now != o->wanted[i];
		o->wanted[i] = now;
	}
	return changed;
}

void oneshot_configure(struct oneshot *o, const struct config *c, const struct publication *p)
{
	assert(p->pool_count == c->pool_count);
	o->config = c;
	o->publication = p;
	memset(o->wanted, 0, sizeof(o->wanted));
	oneshot_read_wanted(o);
	devices_see(o->devices, c, o->wanted);
}

void oneshot_look(struct oneshot *o)
{
	assert(o->config); /* oneshot_configure() was called */
	if (oneshot_read_wanted(o))
		devices_see(o->devices, o->config, o->wanted);
}

void oneshot_refresh(struct oneshot *o)
{
	devices_refresh(o->devices);
}

int oneshot_new(const struct ground *g, struct oneshot **out)
{
	struct devices_use use = {
		.name = "one-shot",
		.program = "pintle_oneshot",
		.program_layer3 = "pintle_oneshot3",
		.map = MAP_oneshot,
		.priority = 1,
	};
	struct oneshot *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return log_err_r(ENOMEM, "one-shot");
	o->m = g->maps;
	use.count = &o->m->node->devices;
	err = devices_new(g, &use, &o->devices);
	if (err) {
		free(o);
		return err;
	}
	*out = o;
	return 0;
}

void oneshot_free(struct oneshot *o)
{
	if (!o)
		return;
	devices_free(o->devices);
	free(o);
}
