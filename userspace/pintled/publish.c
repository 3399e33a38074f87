/* SPDX-License-Identifier: Apache-2.0 */
#include "publish.h"

#include <bpf/bpf.h>
#include <math.h>
#include <netinet/in.h>

#include "../common/log.h"
#include "../common/util.h"
#include "maglev.h"
#include "routes.h"

#define SCOPE 0

/* What the maps hold as this begins; kept up to date as ids are given out. */
struct tables {
	const struct maps *m;
	struct pintle_pool *pools;         /* PINTLE_MAX_POOLS */
	struct pintle_endpoint *endpoints; /* PINTLE_MAX_ENDPOINTS */
	struct pintle_name *names;         /* PINTLE_SLOTS */
	bool pool_used[PINTLE_MAX_POOLS];
	bool endpoint_used[PINTLE_MAX_ENDPOINTS];
};

static int put(const struct maps *m, enum map_id map, const void *key, const void *value)
{
	if (bpf_map_update_elem(m->fd[map], key, value, BPF_ANY))
		return log_err_r(errno, "failed to write to map %s", map_names[map]);
	return 0;
}

static int load_array(const struct maps *m, enum map_id map, size_t n, size_t size, void **out)
{
	_cleanup_free_ char *p = calloc(n, size);

	if (!p)
		return log_err_r(ENOMEM, "publish");
	for (uint32_t i = 0; i < n; i++)
		if (bpf_map_lookup_elem(m->fd[map], &i, p + i * size))
			return log_err_r(errno, "failed to read map %s", map_names[map]);
	*out = TAKE_PTR(p);
	return 0;
}

static int tables_load(struct tables *t, const struct maps *m)
{
	int err;

	memset(t, 0, sizeof(*t));
	t->m = m;
	err = load_array(m, MAP_pools, PINTLE_MAX_POOLS, sizeof(*t->pools), (void **)&t->pools);
	if (!err)
		err = load_array(m, MAP_endpoints, PINTLE_MAX_ENDPOINTS, sizeof(*t->endpoints),
				 (void **)&t->endpoints);
	if (!err)
		err = load_array(m, MAP_names, PINTLE_SLOTS, sizeof(*t->names), (void **)&t->names);
	return err;
}

static void tables_free(struct tables *t)
{
	free(t->pools);
	free(t->endpoints);
	free(t->names);
}

/* ---- ids ------------------------------------------------------------------------- */

static bool has_name(const struct pintle_name *n, const char *name)
{
	return !strncmp(n->name, name, sizeof(n->name));
}

static int put_name(struct tables *t, uint32_t slot, uint32_t generation, const char *name)
{
	struct pintle_name *n = &t->names[slot];

	memset(n, 0, sizeof(*n));
	n->generation = generation;
	snprintf(n->name, sizeof(n->name), "%s", name);
	return put(t->m, MAP_names, &slot, n);
}

/* `names` keeps the generation of a pool that is gone, so that the next one there differs. */
static int pool_id(struct tables *t, const char *name, struct pintle_ref *ref)
{
	int unused = -1;

	for (uint32_t i = 0; i < PINTLE_MAX_POOLS; i++) {
		if (t->pools[i].generation && has_name(&t->names[i], name)) {
			t->pool_used[i] = true;
			*ref = (struct pintle_ref){i, t->pools[i].generation};
			return 0;
		}
		if (!t->pools[i].generation && !t->pool_used[i] && unused < 0)
			unused = (int)i;
	}
	if (unused < 0)
		return log_err_r(ENOSPC, "no room for pool %s: %d pools are in use", name,
				 PINTLE_MAX_POOLS);
	t->pool_used[unused] = true;
	*ref = (struct pintle_ref){(uint32_t)unused, t->names[unused].generation + 1 ?: 1};
	return put_name(t, ref->id, ref->generation, name);
}

/* Nothing of the endpoint that had this id is in flight any more. */
static bool endpoint_idle(const struct tables *t, uint32_t id)
{
	const struct pintle_inflight *f = &t->m->inflight[id];

	for (int c = 0; c < PINTLE_MAX_CLASSES; c++)
		if (__atomic_load_n(&f->by_class[c].opened, __ATOMIC_RELAXED) !=
		    __atomic_load_n(&f->by_class[c].closed, __ATOMIC_RELAXED))
			return false;
	return true;
}

static bool same_address(const struct pintle_endpoint *e, const struct endpoint_addr *a)
{
	return e->port == a->port && !!(e->flags & PINTLE_ENDPOINT_ANY_ADDRESS) == a->any_ip &&
	       !memcmp(e->address, a->ip.bytes, sizeof(e->address));
}

static void start_endpoint(const struct tables *t, const struct pintle_ref *ref)
{
	struct pintle_health *h = &t->m->health[ref->id];
	struct pintle_score *s = &t->m->scores[ref->id];

	memset(h, 0, sizeof(*h));
	memset(s, 0, sizeof(*s));
	s->generation = ref->generation;
}

static int new_endpoint(struct tables *t, const struct pintle_ref *pool,
			const struct config_endpoint *c, struct pintle_ref *ref)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_endpoint *e = &t->endpoints[i];

		if (t->endpoint_used[i] || e->pool_generation || !endpoint_idle(t, i))
			continue;
		t->endpoint_used[i] = true;
		e->generation = e->generation + 1 ?: 1;
		e->pool = pool->id;
		e->pool_generation = pool->generation;
		e->flags = c->listen.any_ip ? PINTLE_ENDPOINT_ANY_ADDRESS : 0;
		e->port = c->listen.port;
		memcpy(e->address, c->listen.ip.bytes, sizeof(e->address));
		*ref = (struct pintle_ref){i, e->generation};
		start_endpoint(t, ref);
		return put_name(t, PINTLE_ENDPOINT_SLOT(i), e->generation, c->name)
			       ?: put(t->m, MAP_endpoints, &i, e);
	}
	return log_err_r(ENOSPC, "no room for endpoint %s: %d are in use or still have connections",
			 c->name, PINTLE_MAX_ENDPOINTS);
}

static int endpoint_id(struct tables *t, const struct pintle_ref *pool,
		       const struct config_endpoint *c, struct pintle_ref *ref)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		const struct pintle_endpoint *e = &t->endpoints[i];

		if (!t->endpoint_used[i] && e->pool_generation == pool->generation &&
		    e->pool == pool->id && has_name(&t->names[PINTLE_ENDPOINT_SLOT(i)], c->name) &&
		    same_address(e, &c->listen)) {
			t->endpoint_used[i] = true;
			*ref = (struct pintle_ref){i, e->generation};
			return 0;
		}
	}
	return new_endpoint(t, pool, c, ref);
}

/* ---- what each map gets ---------------------------------------------------------- */

static __u32 milli(double load)
{
	return (__u32)fmin(load * 1000 + 0.5, (double)PINTLE_MAX_LOAD);
}

static int put_pool(const struct tables *t, const struct config_pool *c,
		    const struct published_pool *p)
{
	_cleanup_free_ struct pintle_pool *v = calloc(1, sizeof(*v));

	if (!v)
		return log_err_r(ENOMEM, "publish");
	v->generation = p->ref.generation;
	v->mode = c->mode;
	v->failure_mode = c->failure_mode;
	v->classes = 1;
	v->key_kind = c->stickiness.key_kind;
	v->key_bits_v4 = c->stickiness.key_bits_v4;
	v->key_bits_v6 = c->stickiness.key_bits_v6;
	v->group_kind = c->stickiness.group_kind;
	v->group_bits_v4 = c->stickiness.group_bits_v4;
	v->group_bits_v6 = c->stickiness.group_bits_v6;
	v->ttl_ns = c->stickiness.ttl_ns;
	v->max_extra_load = milli(c->stickiness.max_extra_load);
	v->staleness_ns = c->saturation.staleness_ns;
	v->running_weight = milli(c->weights.running);
	v->member_count = (__u32)c->endpoint_count;
	memcpy(v->members, p->endpoints, c->endpoint_count * sizeof(*v->members));
	return put(t->m, MAP_pools, &p->ref.id, v);
}

/* A pool's Maglev table is made aside and put in place by one write. */
static int put_homes(const struct tables *t, const struct config_pool *c,
		     const struct published_pool *p)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	_cleanup_free_ struct maglev_member *members = calloc(c->endpoint_count, sizeof(*members));
	_cleanup_free_ struct pintle_homes *v = calloc(1, sizeof(*v));
	_cleanup_close_ int fd = -1;
	uint32_t zero = 0;
	int err;

	if (c->stickiness.group_kind == PINTLE_KEY_NONE) {
		if (bpf_map_delete_elem(t->m->fd[MAP_homes], &p->ref.id) && errno != ENOENT)
			return log_err_r(errno, "failed to clear map homes");
		return 0;
	}
	if (!members || !v)
		return log_err_r(ENOMEM, "publish");
	for (size_t i = 0; i < c->endpoint_count; i++)
		members[i] = (struct maglev_member){p->endpoints[i].id, p->endpoints[i].generation,
						    c->endpoints[i].name};
	v->pool_generation = p->ref.generation;
	err = maglev_build(members, c->endpoint_count, v->home, PINTLE_HOME_ENTRIES);
	if (err)
		return log_err_r(err, "failed to build the homes of pool %s", c->name);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "homes_inner", sizeof(uint32_t), sizeof(*v), 1,
			    &opts);
	if (fd < 0 || bpf_map_update_elem(fd, &zero, v, BPF_ANY))
		return log_err_r(errno, "failed to make the homes of pool %s", c->name);
	return put(t->m, MAP_homes, &p->ref.id, &fd);
}

struct wanted_address {
	struct pintle_address_key key;
	struct pintle_address value;
};

static struct wanted_address address_of(const struct config_endpoint *c,
					const struct published_pool *p, size_t i)
{
	struct wanted_address a = {
		.key = {.scope = SCOPE, .port = c->listen.port},
		.value = {.endpoint = p->endpoints[i].id,
			  .generation = p->endpoints[i].generation,
			  .pool = p->ref.id,
			  .flags = c->listen.any_ip ? PINTLE_ADDRESS_ANY : 0},
	};

	memcpy(a.key.address, c->listen.ip.bytes, sizeof(a.key.address));
	return a;
}

/* Most servers listen on every address although one is configured: where an endpoint is the only
 * one at its port, a wildcard listener there is it. */
static bool only_one_at_port(const struct config *c, uint16_t port)
{
	unsigned int n = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t j = 0; j < c->pools[i].endpoint_count; j++)
			n += c->pools[i].endpoints[j].listen.port == port;
	return n == 1;
}

static int collect_addresses(const struct config *c, const struct publication *p,
			     struct wanted_address *out, size_t *n)
{
	for (size_t i = 0; i < c->pool_count; i++) {
		for (size_t j = 0; j < c->pools[i].endpoint_count; j++) {
			const struct config_endpoint *e = &c->pools[i].endpoints[j];
			struct wanted_address a = address_of(e, &p->pools[i], j);

			out[(*n)++] = a;
			if (e->listen.any_ip || !only_one_at_port(c, e->listen.port))
				continue;
			memset(a.key.address, 0, sizeof(a.key.address));
			a.value.flags =
				addr_is_v4(&e->listen.ip) ? PINTLE_ADDRESS_V4 : PINTLE_ADDRESS_V6;
			out[(*n)++] = a;
		}
	}
	return 0;
}

/* Deletes the keys of a hash that `keep` does not want. */
static int prune(const struct maps *m, enum map_id map, size_t key_size,
		 bool (*keep)(const void *key, void *arg), void *arg)
{
	_cleanup_free_ char *keys = NULL;
	size_t n = 0, room = 0;
	char key[64], *previous = NULL;

	while (!bpf_map_get_next_key(m->fd[map], previous, key)) {
		previous = key;
		if (keep(key, arg))
			continue;
		if (n == room) {
			char *more = realloc(keys, (room = room ? 2 * room : 64) * key_size);

			if (!more)
				return log_err_r(ENOMEM, "publish");
			keys = more;
		}
		memcpy(keys + n++ * key_size, key, key_size);
	}
	for (size_t i = 0; i < n; i++)
		if (bpf_map_delete_elem(m->fd[map], keys + i * key_size) && errno != ENOENT)
			return log_err_r(errno, "failed to delete from map %s", map_names[map]);
	return 0;
}

struct wanted_addresses {
	const struct wanted_address *a;
	size_t n;
};

static bool address_wanted(const void *key, void *arg)
{
	const struct wanted_addresses *w = arg;

	for (size_t i = 0; i < w->n; i++)
		if (!memcmp(key, &w->a[i].key, sizeof(w->a[i].key)))
			return true;
	return false;
}

static int put_addresses(const struct maps *m, const struct config *c, const struct publication *p,
			 size_t endpoints)
{
	_cleanup_free_ struct wanted_address *a = calloc(2 * endpoints + 1, sizeof(*a));
	struct wanted_addresses w = {.a = a};
	int err = 0;

	if (!a)
		return log_err_r(ENOMEM, "publish");
	collect_addresses(c, p, a, &w.n);
	for (size_t i = 0; !err && i < w.n; i++)
		err = put(m, MAP_addresses, &a[i].key, &a[i].value);
	return err ?: prune(m, MAP_addresses, sizeof(a->key), address_wanted, &w);
}

/* ---- frontends and their routes -------------------------------------------------- */

static struct pintle_frontend_key frontend_key(const struct frontend_addr *f)
{
	struct pintle_frontend_key k = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + f->prefix_bits,
		.scope = SCOPE,
		.port = f->port,
		.protocol = IPPROTO_TCP,
	};

	memcpy(k.address, f->prefix.bytes, sizeof(k.address));
	return k;
}

static bool frontend_wanted(const void *key, void *arg)
{
	const struct config *c = arg;

	for (size_t i = 0; i < c->pool_count; i++) {
		for (size_t j = 0; j < c->pools[i].frontend_count; j++) {
			struct pintle_frontend_key k = frontend_key(&c->pools[i].frontends[j]);

			if (!memcmp(key, &k, sizeof(k)))
				return true;
		}
	}
	return false;
}

static int put_frontends(const struct maps *m, int netns_fd, const struct config_pool *c,
			 const struct published_pool *p)
{
	for (size_t j = 0; j < c->frontend_count; j++) {
		struct pintle_frontend_key key = frontend_key(&c->frontends[j]);
		struct pintle_frontend old, value = {
						    .pool = p->ref.id,
						    .generation = p->ref.generation,
						    .hook = PINTLE_HOOK_LOOKUP,
					    };
		bool ours = false;
		int err;

		/* A frontend's route follows what it decides, and goes before it goes. */
		if (!bpf_map_lookup_elem(m->fd[MAP_frontends], &key, &old))
			value.flags = old.flags & PINTLE_FRONTEND_ANNOUNCED;
		if (c->announce)
			value.flags |= PINTLE_FRONTEND_ANNOUNCED;
		err = put(m, MAP_frontends, &key, &value);
		if (err)
			return err;
		if (!c->announce)
			continue;
		err = routes_add_local(netns_fd, &c->frontends[j], &ours);
		if (err)
			return err;
		if (!ours) {
			value.flags &= ~PINTLE_FRONTEND_ANNOUNCED;
			err = put(m, MAP_frontends, &key, &value);
			if (err)
				return err;
		}
	}
	return 0;
}

static bool route_wanted(const struct config *c, const struct frontend_addr *f)
{
	for (size_t i = 0; i < c->pool_count; i++) {
		if (!c->pools[i].announce)
			continue;
		for (size_t j = 0; j < c->pools[i].frontend_count; j++) {
			const struct frontend_addr *g = &c->pools[i].frontends[j];

			if (g->prefix_bits == f->prefix_bits &&
			    !memcmp(&g->prefix, &f->prefix, sizeof(g->prefix)))
				return true;
		}
	}
	return false;
}

/* Routes that we added, for frontends that are gone or no longer to be announced. */
static int drop_routes(const struct maps *m, int netns_fd, const struct config *c)
{
	struct pintle_frontend_key key, *previous = NULL;
	struct pintle_frontend value;
	int err = 0;

	while (!err && !bpf_map_get_next_key(m->fd[MAP_frontends], previous, &key)) {
		struct frontend_addr f = {.port = key.port};

		previous = &key;
		if (bpf_map_lookup_elem(m->fd[MAP_frontends], &key, &value) ||
		    !(value.flags & PINTLE_FRONTEND_ANNOUNCED))
			continue;
		memcpy(f.prefix.bytes, key.address, sizeof(f.prefix.bytes));
		f.prefix_bits = (uint8_t)(key.prefixlen - PINTLE_FRONTEND_FIXED_BITS);
		if (route_wanted(c, &f))
			continue;
		err = routes_remove_local(netns_fd, &f);
		value.flags &= ~PINTLE_FRONTEND_ANNOUNCED;
		if (!err)
			err = put(m, MAP_frontends, &key, &value);
	}
	return err;
}

/* ---- what is gone ---------------------------------------------------------------- */

static int retire_endpoints(struct tables *t)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_endpoint *e = &t->endpoints[i];
		int err;

		if (t->endpoint_used[i] || !e->pool_generation)
			continue;
		e->pool_generation = 0; /* the generation stays: whoever holds the id sees it end */
		err = put(t->m, MAP_endpoints, &i, e);
		if (err)
			return err;
		for (uint32_t j = 0; j < PINTLE_SOCKETS_PER_ENDPOINT; j++) {
			uint32_t slot = i * PINTLE_SOCKETS_PER_ENDPOINT + j;

			bpf_map_delete_elem(t->m->fd[MAP_sockets], &slot);
		}
	}
	return 0;
}

static int retire_pools(struct tables *t)
{
	for (uint32_t i = 0; i < PINTLE_MAX_POOLS; i++) {
		struct pintle_pool *p = &t->pools[i];
		int err;

		if (t->pool_used[i] || !p->generation)
			continue;
		memset(p, 0, sizeof(*p));
		err = put(t->m, MAP_pools, &i, p);
		if (err)
			return err;
		bpf_map_delete_elem(t->m->fd[MAP_homes], &i);
	}
	return 0;
}

/* ---- all together ---------------------------------------------------------------- */

void publication_free(struct publication *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->pool_count; i++)
		free(p->pools[i].endpoints);
	free(p->pools);
	free(p);
}

static void publication_freep(struct publication **p)
{
	publication_free(*p);
}

static struct publication *publication_new(const struct config *c)
{
	_cleanup_(publication_freep) struct publication *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->pools = calloc(c->pool_count, sizeof(*p->pools));
	if (!p->pools)
		return NULL;
	for (; p->pool_count < c->pool_count; p->pool_count++) {
		struct published_pool *pp = &p->pools[p->pool_count];

		pp->endpoints =
			calloc(c->pools[p->pool_count].endpoint_count, sizeof(*pp->endpoints));
		if (!pp->endpoints)
			return NULL;
	}
	return TAKE_PTR(p);
}

static int give_ids(struct tables *t, const struct config *c, struct publication *p,
		    size_t *endpoints)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = pool_id(t, c->pools[i].name, &p->pools[i].ref);
	for (size_t i = 0; !err && i < c->pool_count; i++) {
		*endpoints += c->pools[i].endpoint_count;
		for (size_t j = 0; !err && j < c->pools[i].endpoint_count; j++)
			err = endpoint_id(t, &p->pools[i].ref, &c->pools[i].endpoints[j],
					  &p->pools[i].endpoints[j]);
	}
	return err;
}

int publish(const struct maps *m, int netns_fd, const struct config *c, struct publication **out)
{
	_cleanup_(publication_freep) struct publication *p = publication_new(c);
	_cleanup_(tables_free) struct tables t = {};
	size_t endpoints = 0;
	int err = tables_load(&t, m);

	if (!p)
		return log_err_r(ENOMEM, "publish");
	if (!err)
		err = give_ids(&t, c, p, &endpoints);
	if (!err)
		err = put_addresses(m, c, p, endpoints);
	for (size_t i = 0; !err && i < c->pool_count; i++) {
		err = put_homes(&t, &c->pools[i], &p->pools[i]);
		if (!err)
			err = put_pool(&t, &c->pools[i], &p->pools[i]);
	}
	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = put_frontends(m, netns_fd, &c->pools[i], &p->pools[i]);
	if (!err)
		err = drop_routes(m, netns_fd, c);
	if (!err)
		err = prune(m, MAP_frontends, sizeof(struct pintle_frontend_key), frontend_wanted,
			    (void *)(uintptr_t)c);
	if (!err)
		err = retire_endpoints(&t) ?: retire_pools(&t);
	if (err)
		return err;
	*out = TAKE_PTR(p);
	return 0;
}
