/* SPDX-License-Identifier: Apache-2.0 */
#include "bindings.h"

#include <assert.h>
#include <arpa/inet.h>
#include <bpf/bpf.h>

#include "rule/decide.bpf.h"
#include "../../net/addr.h"
#include "../../base/log.h"
#include "../../maps/state.h"
#include "../../base/util.h"

/* What a walk needs to know of a pool. */
struct pool {
	uint32_t generation, key_kind;
	uint64_t ttl_ns;
	uint64_t made, removed; /* as counted before the walk */
	uint64_t held;          /* found by it */
	uint64_t sharing[PINTLE_MAX_CLASSES];
};

struct bindings {
	const struct maps *m;
	bool begun; /* a walk has been completed */
	bool told[PINTLE_MAX_POOLS];
};

/* One walk. */
struct walk {
	const struct maps *m;
	uint64_t now;
	struct pool pools[PINTLE_MAX_POOLS];
	uint32_t endpoints[PINTLE_MAX_ENDPOINTS]; /* generations; 0: no such endpoint */
	uint64_t *clients; /* the client of each binding in the map that is walked */
	size_t count, room;
};

/* ---- what holds -------------------------------------------------------------------- */

static int bindings_read_pools(struct walk *w)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	int err = pool ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < PINTLE_MAX_POOLS; i++) {
		const struct pintle_bindings *n = &w->m->bindings[i];

		err = maps_value(w->m, MAP_pools, i, pool);
		if (err || !pool->generation)
			continue;
		w->pools[i] = (struct pool){
			.generation = pool->generation,
			.key_kind = pool->key_kind,
			.ttl_ns = pool->ttl_ns,
			.made = __atomic_load_n(&n->made, __ATOMIC_ACQUIRE),
			.removed = __atomic_load_n(&n->removed, __ATOMIC_ACQUIRE),
		};
	}
	return err;
}

static int bindings_read_endpoints(struct walk *w)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_endpoint e;

		err = maps_value(w->m, MAP_endpoints, i, &e);
		w->endpoints[i] = err || !e.pool_generation ? 0 : e.generation;
	}
	return err;
}

static struct pool *bindings_pool_of(struct walk *w, const struct pintle_affinity_key *key)
{
	struct pool *p = key->pool < PINTLE_MAX_POOLS ? &w->pools[key->pool] : NULL;

	return p && p->generation && p->generation == key->pool_generation ? p : NULL;
}

static bool bindings_binding_holds(const struct walk *w, const struct pool *p,
				   const struct pintle_affinity *a)
{
	return p && a->endpoint < PINTLE_MAX_ENDPOINTS && w->endpoints[a->endpoint] &&
	       w->endpoints[a->endpoint] == a->generation &&
	       decide_binding_holds(a->used_ns, w->now, p->ttl_ns);
}

/* ---- the walk ---------------------------------------------------------------------- */

static int note_client(struct walk *w, uint64_t client)
{
	if (!ROOM_FOR_ONE(w->clients, w->count, w->room, 1024))
		return -ENOMEM;
	w->clients[w->count++] = client;
	return 0;
}

/* Deleting an entry does not disturb the walk, which goes from bucket to bucket. */
static int bindings_visit(const struct pintle_affinity_key *key, const struct pintle_affinity *a,
			  void *arg)
{
	struct walk *w = arg;
	struct pool *p = bindings_pool_of(w, key);

	if (!bindings_binding_holds(w, p, a))
		return MIN(state_unbind(w->m, key, p), 0);
	p->held++;
	if (a->sharing && a->sharing <= PINTLE_MAX_CLASSES)
		p->sharing[a->sharing - 1]++;
	return note_client(w, a->client);
}

static int by_client(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

/* How many bindings the client at `from` has; w->clients must be sorted. */
static size_t run_at(const struct walk *w, size_t from)
{
	size_t to = from;

	assert(from < w->count && (!from || w->clients[from - 1] < w->clients[from]));
	while (to < w->count && w->clients[to] == w->clients[from])
		to++;
	return to - from;
}

/* A binding that the kernel made during the walk may be missing from these counts until the next
 * walk. */
static int set_shares(struct walk *w)
{
	int fd = w->m->fd[MAP_shares];
	uint64_t key, next, n, *previous = NULL;

	for (size_t at = 0; at < w->count; at += n) {
		n = run_at(w, at);
		if (bpf_map_update_elem(fd, &w->clients[at], &n, BPF_ANY))
			return -errno;
	}
	/* Deleting a key loses the place in the map: so the next key is read first. */
	for (bool more = !bpf_map_get_next_key(fd, NULL, &key); more; key = next) {
		previous = &key;
		more = !bpf_map_get_next_key(fd, previous, &next);
		if (!w->count || !bsearch(&key, w->clients, w->count, sizeof(key), by_client))
			bpf_map_delete_elem(fd, &key);
	}
	return 0;
}

/* Walks one map. Afterwards w->clients are sorted. */
static int bindings_walk_map(struct walk *w, enum map_id map)
{
	int err;

	w->count = 0;
	err = state_bindings_of(w->m, map, bindings_visit, w);
	if (!err && w->count)
		qsort(w->clients, w->count, sizeof(*w->clients), by_client);
	return err;
}

/* ---- what was evicted ---------------------------------------------------------------- */

/* Names for the log the client with most bindings in `affinity_beyond`, the map that was walked
 * last. */
static void name_largest(const struct walk *w, char *buf, size_t size)
{
	size_t n, most = 0;
	uint64_t client = 0;
	char text[ADDR_TEXT_SIZE];
	struct addr ip = {0};

	for (size_t at = 0; at < w->count; at += n) {
		n = run_at(w, at);
		if (n <= most)
			continue;
		most = n;
		client = w->clients[at];
	}
	*buf = '\0';
	if (!most)
		return;
	if (client == PINTLE_CLIENT_APART) {
		snprintf(buf, size,
			 "; clients in user namespaces have most sessions beyond their "
			 "share");
		return;
	}
	if (client >> 48 == PINTLE_CLIENT_V4 >> 48) {
		addr_from_v4(&ip, htonl((uint32_t)client));
	} else if (client >> 48) {
		for (int i = 0; i < 8; i++)
			ip.bytes[i] = (uint8_t)(client >> (56 - 8 * i));
	} else {
		snprintf(buf, size, "; client:%llu has most sessions beyond its share",
			 (unsigned long long)client);
		return;
	}
	snprintf(buf, size, "; the network of %s has most sessions beyond its share",
		 addr_format_ip(&ip, text));
}

static void bindings_tell(struct bindings *b, uint32_t pool, const struct walk *w)
{
	struct pintle_name name = {0};
	char who[128], text[PINTLE_NAME_SIZE];

	if (b->told[pool])
		return;
	b->told[pool] = true;
	maps_value(b->m, MAP_names, pool, &name);
	state_text(text, sizeof(text), name.name, sizeof(name.name));
	name_largest(w, who, sizeof(who));
	log_warn("pool %s: sessions lost their bindings, because more are bound than there is room "
		 "for%s; pintle_bindings_evicted_total counts them",
		 text, who);
}

/* Bindings that were made and are neither held nor removed were evicted. `made` is from before the
 * walk and `removed` from after it, so that bindings which come or go meanwhile never count as
 * evicted. */
static void bindings_settle(struct bindings *b, uint32_t pool, const struct walk *w)
{
	struct pintle_bindings *n = &b->m->bindings[pool];
	const struct pool *p = &w->pools[pool];
	uint64_t removed = __atomic_load_n(&n->removed, __ATOMIC_ACQUIRE);
	int64_t unknown = (int64_t)(p->held + p->removed + n->evicted -
				    __atomic_load_n(&n->made, __ATOMIC_ACQUIRE));
	int64_t gone = (int64_t)(p->made - removed - p->held);

	/* The bindings are older than the counts, which begin at 0 where their map is new. */
	if (!b->begun && unknown > 0)
		__atomic_fetch_add(&n->made, (uint64_t)unknown, __ATOMIC_RELAXED);
	n->held = p->held;
	/* Those that begin or end during the walk may be missing until the next one. */
	for (size_t i = 0; i < ARRAY_SIZE(p->sharing); i++)
		__atomic_store_n(&n->sharing[i], p->sharing[i], __ATOMIC_RELAXED);
	if (gone <= (int64_t)n->evicted)
		return;
	n->evicted = (uint64_t)gone;
	bindings_tell(b, pool, w);
}

int bindings_walk(struct bindings *b)
{
	struct walk w = {.m = b->m, .now = monotonic_ns()};
	int err = bindings_read_pools(&w);

	if (!err)
		err = bindings_read_endpoints(&w);
	if (!err)
		err = bindings_walk_map(&w, MAP_affinity);
	if (!err)
		err = set_shares(&w);
	if (!err)
		err = bindings_walk_map(&w, MAP_affinity_beyond);
	for (uint32_t i = 0; !err && i < PINTLE_MAX_POOLS; i++)
		if (w.pools[i].generation)
			bindings_settle(b, i, &w);
	free(w.clients);
	if (err)
		return log_err_r(err, "failed to look through the bindings");
	b->begun = true;
	return 0;
}

/* ---- what is open ------------------------------------------------------------------- */

static int binding_forget_open(const struct pintle_affinity_key *key,
			       const struct pintle_affinity *a, void *arg)
{
	const int *fd = arg;
	struct pintle_affinity none = *a;

	if (!a->open && !a->idle)
		return 0;
	none.open = none.idle = none.sharing = 0;
	if (bpf_map_update_elem(*fd, key, &none, BPF_EXIST) && errno != ENOENT)
		return -errno;
	return 0;
}

int bindings_forget_open(struct bindings *b)
{
	static const enum map_id maps[] = {MAP_affinity, MAP_affinity_beyond};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(maps); i++) {
		int fd = b->m->fd[maps[i]];

		err = state_bindings_of(b->m, maps[i], binding_forget_open, &fd);
	}
	return err ? log_err_r(err, "failed to correct what sessions have open") : 0;
}

/* ---- life ---------------------------------------------------------------------------- */

int bindings_new(const struct ground *g, struct bindings **out)
{
	struct bindings *b = calloc(1, sizeof(*b));

	if (!b)
		return log_err_r(ENOMEM, "bindings");
	b->m = g->maps;
	*out = b;
	return 0;
}

void bindings_free(struct bindings *b)
{
	free(b);
}
