/* SPDX-License-Identifier: Apache-2.0 */
/* state_session.c - bindings, read in batches; the session that makes most of a pool's
 * connections. */
#include "state_internal.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "rule/decide.bpf.h"

/* ---- reading -------------------------------------------------------------------- */

#define BATCH     512
#define BATCH_MAX (1U << 20) /* no bucket of the hash has nearly as many entries */

struct batch {
	struct pintle_affinity_key *keys;
	struct pintle_affinity *values;
	uint32_t room;
};

static void session_batch_free(struct batch *b)
{
	free(b->keys);
	free(b->values);
}

static int batch_grow(struct batch *b, uint32_t room)
{
	if (room > BATCH_MAX)
		return -ENOSPC;
	session_batch_free(b);
	b->keys = calloc(room, sizeof(*b->keys));
	b->values = calloc(room, sizeof(*b->values));
	b->room = room;
	return b->keys && b->values ? 0 : -ENOMEM;
}

int state_bindings_of(const struct maps *m, enum map_id map, state_binding_fn each, void *arg)
{
	_cleanup_(session_batch_free) struct batch b = {0};
	uint32_t at = 0, count;
	bool first = true, last = false;
	int err = batch_grow(&b, BATCH);

	while (!err && !last) {
		uint32_t next = 0;

		count = b.room;
		if (bpf_map_lookup_batch(m->fd[map], first ? NULL : &at, &next, b.keys, b.values,
					 &count, NULL)) {
			if (errno == ENOSPC) {
				err = batch_grow(&b, 4 * b.room);
				continue;
			}
			if (errno != ENOENT)
				return -errno;
			last = true;
		}
		for (uint32_t i = 0; !err && i < MIN(count, b.room); i++)
			err = each(&b.keys[i], &b.values[i], arg);
		at = next;
		first = false;
	}
	return err;
}

int state_bindings(const struct maps *m, state_binding_fn each, void *arg)
{
	int err = state_bindings_of(m, MAP_affinity, each, arg);

	return err ?: state_bindings_of(m, MAP_affinity_beyond, each, arg);
}

int state_unbind(const struct maps *m, const struct pintle_affinity_key *key, bool current)
{
	static const enum map_id where[] = {MAP_affinity, MAP_affinity_beyond};
	int gone = 0;

	assert(m->writable);
	assert(!current || key->pool < PINTLE_MAX_POOLS);
	for (size_t i = 0; i < ARRAY_SIZE(where); i++) {
		if (!bpf_map_delete_elem(m->fd[where[i]], key))
			gone++;
		else if (errno != ENOENT)
			return -errno;
	}
	if (gone && current)
		__atomic_fetch_add(&m->bindings[key->pool].removed, (uint64_t)gone,
				   __ATOMIC_RELAXED);
	return gone > 0;
}

/* By id: the pool's or endpoint's index in struct state; -1: there is none. */
struct index {
	int pools[PINTLE_MAX_POOLS];
	int endpoints[PINTLE_MAX_ENDPOINTS];
};

struct collection {
	const struct maps *m;
	const struct state *state;
	uint64_t now;
	struct index index;
	struct state_known known;
	struct state_session *sessions;
	size_t count, room;
	size_t bound; /* so many of them, the first ones, are bound, and sorted */
};

static void index_make(struct index *x, const struct state *s)
{
	memset(x, -1, sizeof(*x));
	for (size_t i = 0; i < s->pool_count; i++)
		x->pools[s->pools[i].id] = (int)i;
	for (size_t i = 0; i < s->endpoint_count; i++)
		x->endpoints[s->endpoints[i].id] = (int)i;
}

static bool session_binding_holds(const struct collection *c, const struct pintle_affinity_key *key,
				  const struct pintle_affinity *a, struct state_session *out)
{
	const struct state *s = c->state;
	int pool = key->pool < PINTLE_MAX_POOLS ? c->index.pools[key->pool] : -1;
	int endpoint = a->endpoint < PINTLE_MAX_ENDPOINTS ? c->index.endpoints[a->endpoint] : -1;

	if (pool < 0 || endpoint < 0 || s->pools[pool].generation != key->pool_generation ||
	    s->endpoints[endpoint].generation != a->generation ||
	    !decide_binding_holds(a->used_ns, c->now, s->pools[pool].ttl_ns))
		return false;
	*out = (struct state_session){
		.pool = (uint32_t)pool, .endpoint = (uint32_t)endpoint, .bound = true, .key = *key};
	return true;
}

static double session_seconds_since(uint64_t now, uint64_t then)
{
	int64_t ns = (int64_t)(now - then);

	return (double)MAX(ns, 0) / (double)NSEC_PER_SEC;
}

/* Fills in what the key says, and the class. */
static void session_fill(const struct collection *c, struct state_session *one)
{
	const struct state_pool *p = &c->state->pools[one->pool];

	state_session_format(&one->key.session, one->text);
	state_session_name(&c->known, one);
	state_session_destination(p, &one->key.session, one->text);
	if (p->class_count < 2)
		return;
	state_session_class(c->m, p, &one->key, &one->class);
	one->class_seconds = session_seconds_since(c->now, one->class.since_ns);
}

static int session_collect(const struct pintle_affinity_key *key, const struct pintle_affinity *a,
			   void *arg)
{
	struct collection *c = arg;
	struct state_session *one;

	if (!ROOM_FOR_ONE(c->sessions, c->count, c->room, BATCH))
		return -ENOMEM;
	one = &c->sessions[c->count];
	if (!session_binding_holds(c, key, a, one))
		return 0;
	one->age_seconds = session_seconds_since(c->now, a->bound_ns);
	one->idle_seconds = session_seconds_since(c->now, a->used_ns);
	session_fill(c, one);
	c->count++;
	return 0;
}

static int session_compare(const void *left, const void *right)
{
	const struct state_session *a = left, *b = right;
	int order = (a->pool > b->pool) - (a->pool < b->pool);

	if (!order)
		order = memcmp(a->key.session.id, b->key.session.id, sizeof(a->key.session.id));
	if (!order)
		order = (a->key.session.prefix_bits > b->key.session.prefix_bits) -
			(a->key.session.prefix_bits < b->key.session.prefix_bits);
	return order;
}

static void sessions_sort(struct collection *c)
{
	if (c->count)
		qsort(c->sessions, c->count, sizeof(*c->sessions), session_compare);
}

/* Adds a session that is not bound. */
static int classified_collect(const struct pintle_affinity_key *key, void *arg)
{
	struct collection *c = arg;
	int pool = key->pool < PINTLE_MAX_POOLS ? c->index.pools[key->pool] : -1;
	struct state_session one = {.pool = (uint32_t)pool, .key = *key};

	if (pool < 0 || c->state->pools[pool].generation != key->pool_generation ||
	    (c->bound &&
	     bsearch(&one, c->sessions, c->bound, sizeof(*c->sessions), session_compare)))
		return 0;
	if (!ROOM_FOR_ONE(c->sessions, c->count, c->room, BATCH))
		return -ENOMEM;
	session_fill(c, &one);
	c->sessions[c->count++] = one;
	return 0;
}

int state_sessions(const struct maps *m, const struct state *s, struct state_session **out,
		   size_t *n)
{
	struct collection c = {.m = m, .state = s, .now = monotonic_ns()};
	int err;

	index_make(&c.index, s);
	err = state_clients_read(m, &c.known.clients, &c.known.client_count);
	if (!err)
		err = state_pods_read(m, &c.known.pods, &c.known.pod_count);
	if (!err)
		err = state_bindings(m, session_collect, &c);
	sessions_sort(&c);
	c.bound = c.count;
	if (!err)
		err = state_classified_walk(m, classified_collect, &c);
	free(c.known.clients);
	free(c.known.pods);
	if (err) {
		free(c.sessions);
		return err;
	}
	state_sessions_paths(c.sessions, c.count);
	sessions_sort(&c);
	*out = c.sessions;
	*n = c.count;
	return 0;
}

/* ---- the session that makes most of a pool's connections -------------------------- */

/* The session's share of the newest connections on all CPUs; `all` has the votes of the `n` CPUs. A
 * CPU whose vote is for another session counts as if this one made no connection there. 0: the
 * session made too few connections to tell. */
static double session_share_of(const struct pintle_majority *all, int n, const struct state_pool *p,
			       const struct pintle_session_key *session)
{
	double connections = 0, own = 0, seen = 0;

	for (int i = 0; i < n; i++) {
		const struct pintle_majority *v = &all[i];
		uint32_t weight = MIN(v->seen, (uint32_t)PINTLE_MAJORITY_WINDOW);

		if (v->pool_generation != p->generation)
			continue;
		connections += weight;
		if (memcmp(&v->session, session, sizeof(*session)) != 0)
			continue;
		seen += weight;
		own += weight * ((double)MIN(v->share, (uint32_t)PINTLE_MAJORITY_WHOLE) /
				 PINTLE_MAJORITY_WHOLE);
	}
	return seen >= STATE_MAJORITY_LEAST ? own / connections : 0;
}

int state_read_majority(const struct maps *m, struct state_pool *p)
{
	int cpus = libbpf_num_possible_cpus(), err;
	_cleanup_free_ struct pintle_majority *all =
		calloc(cpus > 0 ? (size_t)cpus : 1, sizeof(*all));

	if (!all || cpus <= 0)
		return all ? cpus : -ENOMEM;
	err = maps_value(m, MAP_majorities, p->id, all);
	for (int i = 0; !err && i < cpus; i++) {
		double share = session_share_of(all, cpus, p, &all[i].session);

		/* A vote of another kind is from before the pool's key was changed, and says
		 * nothing about today's sessions. */
		if (share <= 0.5 || all[i].session.kind != p->key_kind || !p->key_kind)
			continue;
		p->largest = all[i].session;
		p->largest_share = share;
		break;
	}
	return err;
}
