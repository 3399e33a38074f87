/* SPDX-License-Identifier: Apache-2.0 */
#include "ids.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "register.h"
#include "traits.bpf.h"

enum use {
	LEFT, /* not in the plan: free, or to be retired */
	KEPT,
	NEW,
};

struct ids {
	const struct maps *m;
	/* As the maps hold them, and NEW ones as ids_write() will write them. */
	uint32_t pools[PINTLE_MAX_POOLS]; /* generations; 0: no such pool */
	/* enum pintle_hook and pintle_reach */
	uint32_t decided_by[PINTLE_MAX_POOLS], reach[PINTLE_MAX_POOLS];
	struct pintle_endpoint endpoints[PINTLE_MAX_ENDPOINTS];
	struct pintle_name names[PINTLE_SLOTS];
	enum use pool_use[PINTLE_MAX_POOLS];
	enum use endpoint_use[PINTLE_MAX_ENDPOINTS];
	bool renamed[PINTLE_SLOTS];
	bool changed[PINTLE_MAX_ENDPOINTS]; /* KEPT, with other flags */
	/* The endpoints of each pool that can still keep their ids; -1: no more. */
	int first[PINTLE_MAX_POOLS], next[PINTLE_MAX_ENDPOINTS];
	/* Before it, ids_plan() found no id that is free, or no id of an endpoint that leaves. */
	uint32_t free_from, leaving_from;
	bool planned; /* by ids_plan() */
};

/* ---- reading --------------------------------------------------------------------- */

static int ids_read_pools(struct ids *ids)
{
	_cleanup_free_ struct pintle_pool *p = malloc(sizeof(*p));
	int err = p ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < PINTLE_MAX_POOLS; i++) {
		err = maps_value(ids->m, MAP_pools, i, p);
		ids->pools[i] = err ? 0 : p->generation;
		ids->decided_by[i] = err ? 0 : p->decided_by;
		ids->reach[i] = err ? 0 : pool_reach(p);
	}
	return err;
}

int ids_load(const struct maps *m, struct ids **out)
{
	_cleanup_(ids_freep) struct ids *ids = calloc(1, sizeof(*ids));
	int err;

	if (!ids)
		return log_err_r(ENOMEM, "ids");
	ids->m = m;
	err = ids_read_pools(ids);
	if (!err)
		err = maps_values(m, MAP_endpoints, ids->endpoints);
	if (!err)
		err = maps_values(m, MAP_names, ids->names);
	if (err)
		return log_err_r(err, "failed to read the ids in use");
	*out = TAKE_PTR(ids);
	return 0;
}

void ids_free(struct ids *ids)
{
	free(ids);
}

/* ---- planning -------------------------------------------------------------------- */

static uint32_t next_generation(uint32_t generation)
{
	return generation + 1 ?: 1; /* 0 is no generation */
}

static bool ids_has_name(const struct pintle_name *n, const char *name)
{
	return !strncmp(n->name, name, sizeof(n->name));
}

static void plan_name(struct ids *ids, uint32_t slot, uint32_t generation, const char *name)
{
	struct pintle_name *n = &ids->names[slot];

	assert(slot < PINTLE_SLOTS && generation);
	if (n->generation == generation && ids_has_name(n, name))
		return;
	memset(n, 0, sizeof(*n));
	n->generation = generation;
	snprintf(n->name, sizeof(n->name), "%s", name);
	ids->renamed[slot] = true;
}

static struct pintle_ref ids_keep_pool(struct ids *ids, const struct config_pool *c)
{
	for (uint32_t i = 0; i < PINTLE_MAX_POOLS; i++) {
		if (ids->pools[i] && ids->decided_by[i] == c->decided_by &&
		    ids->reach[i] == c->reach && ids_has_name(&ids->names[i], c->name)) {
			ids->pool_use[i] = KEPT;
			return (struct pintle_ref){i, ids->pools[i]};
		}
	}
	return (struct pintle_ref){0};
}

/* Returns an id that is free; else, for a pool of the cluster, the id of a pool that leaves in this
 * plan; else -1. The leaving pool's frontends decide nothing from the new pool's row on until they
 * are removed, some milliseconds later. In a cluster they were to be left to kube-proxy anyway; in
 * the file they may be the new pool's, so there the user is asked to reload twice. */
static int find_pool_id(const struct ids *ids, const char *name)
{
	int leaving = -1;

	for (int i = 0; i < PINTLE_MAX_POOLS; i++) {
		if (ids->pool_use[i] != LEFT)
			continue;
		if (!ids->pools[i])
			return i;
		if (strchr(name, '/'))
			leaving = i;
	}
	return leaving;
}

/* `names` keeps the generation of a pool that is gone, so that the next pool with this id gets
 * another. */
static int new_pool(struct ids *ids, const char *name, struct pintle_ref *ref)
{
	int id = find_pool_id(ids, name);
	uint32_t at = (uint32_t)id;

	if (id < 0) {
		log_error("no room for pool %s: %d pools are in use; to replace a pool, first "
			  "reload without the old pool",
			  name, PINTLE_MAX_POOLS);
		return -ENOSPC;
	}
	*ref = (struct pintle_ref){at, next_generation(ids->names[at].generation)};
	ids->pool_use[at] = NEW;
	ids->pools[at] = ref->generation;
	plan_name(ids, at, ref->generation, name);
	return 0;
}

static bool is_at(const struct pintle_endpoint *e, const struct endpoint_addr *a)
{
	return e->port == a->port && !!(e->flags & PINTLE_ENDPOINT_ANY_ADDRESS) == a->any_ip &&
	       !memcmp(e->address, a->ip.bytes, sizeof(e->address));
}

/* In the file a name may change while the server stays. In a cluster the name is the pod's, and an
 * address that has another name is another pod's: it must not inherit counts, failures or sessions.
 */
static bool ids_is_same(const struct ids *ids, uint32_t id, const struct config_pool *pool,
			const struct config_endpoint *c)
{
	return is_at(&ids->endpoints[id], config_endpoint_at(c)) &&
	       (!strchr(pool->name, '/') ||
		ids_has_name(&ids->names[PINTLE_ENDPOINT_SLOT(id)], c->name));
}

static uint32_t endpoint_flags(const struct config_endpoint *c)
{
	return (config_endpoint_at(c)->any_ip ? PINTLE_ENDPOINT_ANY_ADDRESS : 0) |
	       (c->drained ? PINTLE_ENDPOINT_DRAINED : 0) | (c->place << 2 & PINTLE_ENDPOINT_PLACE);
}

/* Lists each pool's endpoints, so that each is compared with those of its own pool alone. */
static void list_by_pool(struct ids *ids)
{
	memset(ids->first, -1, sizeof(ids->first));
	for (int i = PINTLE_MAX_ENDPOINTS; i-- > 0;) {
		const struct pintle_endpoint *e = &ids->endpoints[i];

		if (!e->pool_generation || e->pool >= PINTLE_MAX_POOLS)
			continue;
		ids->next[i] = ids->first[e->pool];
		ids->first[e->pool] = i;
	}
}

static struct pintle_ref keep_endpoint(struct ids *ids, struct pintle_ref pool,
				       const struct config_pool *p, const struct config_endpoint *c)
{
	for (int *at = &ids->first[pool.id]; *at >= 0; at = &ids->next[*at]) {
		uint32_t i = (uint32_t)*at;
		struct pintle_endpoint *e = &ids->endpoints[i];

		if (e->pool_generation != pool.generation || !ids_is_same(ids, i, p, c))
			continue;
		*at = ids->next[i];
		ids->endpoint_use[i] = KEPT;
		ids->changed[i] = e->flags != endpoint_flags(c);
		e->flags = endpoint_flags(c);
		plan_name(ids, PINTLE_ENDPOINT_SLOT(i), e->generation, c->name);
		return (struct pintle_ref){i, e->generation};
	}
	return (struct pintle_ref){0};
}

static bool ids_has_connections(const struct ids *ids, uint32_t endpoint)
{
	const struct pintle_inflight *f = &ids->m->inflight[endpoint];

	for (int c = 0; c < PINTLE_MAX_CLASSES; c++)
		if (__atomic_load_n(&f->by_class[c].opened, __ATOMIC_RELAXED) !=
		    __atomic_load_n(&f->by_class[c].closed, __ATOMIC_RELAXED))
			return true;
	return false;
}

/* Returns the first id from *from on that is not given in this plan, is `taken` or not by an
 * endpoint that leaves, and has no connections; -1: there is none. *from moves there. */
static int find_left(const struct ids *ids, uint32_t *from, bool taken)
{
	for (; *from < PINTLE_MAX_ENDPOINTS; ++*from)
		if (ids->endpoint_use[*from] == LEFT &&
		    !!ids->endpoints[*from].pool_generation == taken &&
		    !ids_has_connections(ids, *from))
			return (int)*from;
	return -1;
}

/* Returns an id that is free; else the id of an endpoint that leaves in this plan; else -1. */
static int find_id(struct ids *ids)
{
	int id = find_left(ids, &ids->free_from, false);

	return id >= 0 ? id : find_left(ids, &ids->leaving_from, true);
}

static int new_endpoint(struct ids *ids, struct pintle_ref pool, const struct config_endpoint *c,
			struct pintle_ref *ref)
{
	const struct endpoint_addr *at = config_endpoint_at(c);
	struct pintle_endpoint *e;
	int id = find_id(ids);

	if (id < 0) {
		log_error(
			"no room for endpoint %s: %d endpoints are in use or still have connections",
			c->name, PINTLE_MAX_ENDPOINTS);
		return -ENOSPC;
	}
	assert(ids->endpoint_use[id] == LEFT);
	e = &ids->endpoints[id];
	*e = (struct pintle_endpoint){
		.generation = next_generation(e->generation),
		.pool = pool.id,
		.pool_generation = pool.generation,
		.flags = endpoint_flags(c),
		.port = at->port,
	};
	memcpy(e->address, at->ip.bytes, sizeof(e->address));
	ids->endpoint_use[id] = NEW;
	*ref = (struct pintle_ref){(uint32_t)id, e->generation};
	plan_name(ids, PINTLE_ENDPOINT_SLOT(ref->id), ref->generation, c->name);
	return 0;
}

static int plan_pools(struct ids *ids, const struct config *c, struct publication *p)
{
	int err = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		p->pools[i].ref = ids_keep_pool(ids, &c->pools[i]);
	for (size_t i = 0; !err && i < c->pool_count; i++)
		if (!p->pools[i].ref.generation)
			err = new_pool(ids, c->pools[i].name, &p->pools[i].ref);
	return err;
}

/* Pools and endpoints that keep their ids come first; new ones get what is left. */
int ids_plan(struct ids *ids, const struct config *c, struct publication *p)
{
	int err;

	assert(!ids->planned && p->pool_count == c->pool_count);
	ids->planned = true;
	err = plan_pools(ids, c, p);
	list_by_pool(ids);
	for (size_t i = 0; !err && i < c->pool_count; i++)
		for (size_t j = 0; j < c->pools[i].endpoint_count; j++)
			p->pools[i].endpoints[j] = keep_endpoint(ids, p->pools[i].ref, &c->pools[i],
								 &c->pools[i].endpoints[j]);
	for (size_t i = 0; !err && i < c->pool_count; i++)
		for (size_t j = 0; !err && j < c->pools[i].endpoint_count; j++)
			if (!p->pools[i].endpoints[j].generation)
				err = new_endpoint(ids, p->pools[i].ref, &c->pools[i].endpoints[j],
						   &p->pools[i].endpoints[j]);
	return err;
}

/* ---- writing --------------------------------------------------------------------- */

/* Zeroes what the maps hold of an id that is given to another pool or endpoint. Each id has the
 * same number of entries in a map. */
static int clear_entries(const struct ids *ids, enum map_owner of, uint32_t id, uint32_t id_count)
{
	_cleanup_free_ void *zeros = NULL;
	int cpus = libbpf_num_possible_cpus(), err = 0;
	uint32_t largest = 0;

	for (enum map_id map = 0; map < MAP_COUNT; map++)
		if (map_layouts[map].cleared_of == of)
			largest = MAX(largest, map_layouts[map].value_size);
	zeros = cpus > 0 ? calloc((size_t)cpus, (largest + 7U) & ~7U) : NULL;
	if (!zeros)
		return log_err_r(cpus > 0 ? ENOMEM : -cpus, "failed to clear maps");
	for (enum map_id map = 0; map < MAP_COUNT; map++) {
		uint32_t each = map_layouts[map].entries / id_count;

		if (map_layouts[map].cleared_of != of)
			continue;
		assert(map_layouts[map].entries % id_count == 0);
		for (uint32_t at = id * each; !err && at < (id + 1) * each; at++)
			err = maps_put(ids->m, map, &at, zeros);
	}
	return err;
}

/* No connection of the endpoint that had this id is open, so the kernel writes nothing here. */
static int write_endpoint(const struct ids *ids, uint32_t id)
{
	const struct pintle_endpoint *e = &ids->endpoints[id];
	int err;

	if (e->generation > 1)
		register_forget(ids->m, id);
	err = clear_entries(ids, MAP_OF_ENDPOINTS, id, PINTLE_MAX_ENDPOINTS);
	if (err)
		return err;
	ids->m->scores[id].generation = e->generation;
	return maps_put(ids->m, MAP_endpoints, &id, e);
}

int ids_write(const struct ids *ids)
{
	int err = 0;

	assert(ids->planned);
	for (uint32_t i = 0; !err && i < PINTLE_MAX_POOLS; i++)
		if (ids->pool_use[i] == NEW)
			err = clear_entries(ids, MAP_OF_POOLS, i, PINTLE_MAX_POOLS);
	for (uint32_t i = 0; !err && i < PINTLE_SLOTS; i++)
		if (ids->renamed[i])
			err = maps_put(ids->m, MAP_names, &i, &ids->names[i]);
	for (uint32_t i = 0; !err && i < PINTLE_MAX_ENDPOINTS; i++)
		if (ids->endpoint_use[i] == NEW)
			err = write_endpoint(ids, i);
		else if (ids->changed[i])
			err = maps_put(ids->m, MAP_endpoints, &i, &ids->endpoints[i]);
	return err;
}

static int retire_pool(const struct ids *ids, uint32_t id)
{
	_cleanup_free_ struct pintle_pool *none = calloc(1, sizeof(*none));
	int err = none ? maps_put(ids->m, MAP_pools, &id, none) : log_err_r(ENOMEM, "ids");

	if (!err)
		bpf_map_delete_elem(ids->m->fd[MAP_homes], &id);
	return err;
}

int ids_retire(struct ids *ids)
{
	int err = 0;

	assert(ids->planned);
	for (uint32_t i = 0; !err && i < PINTLE_MAX_ENDPOINTS; i++) {
		if (ids->endpoint_use[i] != LEFT || !ids->endpoints[i].pool_generation)
			continue;
		ids->endpoints[i].pool_generation = 0;
		err = maps_put(ids->m, MAP_endpoints, &i, &ids->endpoints[i]);
		if (!err)
			register_forget(ids->m, i);
	}
	for (uint32_t i = 0; !err && i < PINTLE_MAX_POOLS; i++)
		if (ids->pool_use[i] == LEFT && ids->pools[i])
			err = retire_pool(ids, i);
	return err;
}
