/* SPDX-License-Identifier: Apache-2.0 */
/* state_tenant.c - the tenants of the pools: their connections, and what they may have. */
#include "state_internal.h"

#include <bpf/bpf.h>

#include "rule/quota.bpf.h"
#include "rows.h"

struct tenants {
	const struct maps *m;
	const struct state *state;
	struct state_known known;
	struct state_tenant *all;
	size_t count, room;
};

bool state_quota(const struct maps *m, const struct pintle_affinity_key *tenant,
		 struct pintle_quota *out)
{
	struct pintle_affinity_key key = *tenant;

	if (!bpf_map_lookup_elem(m->fd[MAP_quotas], &key, out))
		return true;
	key.session = (struct pintle_session_key){0};
	return !bpf_map_lookup_elem(m->fd[MAP_quotas], &key, out);
}

static bool tenant_pool_index(const struct state *s, const struct pintle_affinity_key *key,
			      uint32_t *out)
{
	const struct pintle_ref ref = {key->pool, key->pool_generation};
	const struct state_pool *p = state_pool_find(s, &ref);

	if (p)
		*out = (uint32_t)(p - s->pools);
	return p;
}

static uint64_t count_of(uint64_t n)
{
	return MIN(n, STATE_MAX_COUNT);
}

/* pintled looks every 2 s. */
#define MINUTE_HOLDS_NS (10 * NSEC_PER_SEC)

static struct pintle_tenant_minute minute_read(const struct maps *m,
					       const struct pintle_affinity_key *key)
{
	struct pintle_tenant_minute v = {0};

	if (bpf_map_lookup_elem(m->fd[MAP_tenant_minutes], key, &v) ||
	    (int64_t)(monotonic_ns() - v.looked_ns) > (int64_t)MINUTE_HOLDS_NS)
		return (struct pintle_tenant_minute){0};
	return v;
}

static int tenant_take(const void *at, const void *value, void *arg)
{
	const struct pintle_affinity_key *key = at;
	const struct pintle_tenant *n = value;
	struct state_session named = {.key = *key};
	struct tenants *c = arg;
	struct state_tenant *to;
	int64_t in_flight = (int64_t)(n->opened - n->closed);
	uint32_t pool;

	if (!tenant_pool_index(c->state, key, &pool))
		return 0;
	if (!ROOM_FOR_ONE(c->all, c->count, c->room, 64))
		return -ENOMEM;
	to = &c->all[c->count++];
	*to = (struct state_tenant){
		.pool = pool,
		.key = *key,
		.other = key->session.kind == PINTLE_KEY_NONE,
		.in_flight = count_of((uint64_t)MAX(in_flight, 0)),
		.opened = count_of(n->opened),
		.refused = count_of(n->refused),
		.minute = minute_read(c->m, key),
	};
	to->has_quota = !to->other && state_quota(c->m, key, &to->quota);
	snprintf(to->text, sizeof(to->text), "other");
	if (to->other)
		return 0;
	state_session_format(&key->session, named.text);
	state_session_name(&c->known, &named);
	snprintf(to->text, sizeof(to->text), "%s", named.text);
	return 0;
}

static int tenant_sum(const void *at, const void *value, void *arg)
{
	const struct pintle_affinity_key *key = at;
	const struct pintle_tenant *n = value;
	struct state *s = arg;
	int64_t in_flight = (int64_t)(n->opened - n->closed);
	uint32_t pool;

	if (!tenant_pool_index(s, key, &pool))
		return 0;
	s->pools[pool].tenants += key->session.kind != PINTLE_KEY_NONE;
	s->pools[pool].tenants_in_flight += count_of((uint64_t)MAX(in_flight, 0));
	s->pools[pool].tenants_refused += count_of(n->refused);
	return 0;
}

int state_read_tenants(const struct maps *m, struct state *s)
{
	for (size_t i = 0; i < s->pool_count; i++)
		if (s->pools[i].tenant_key)
			return map_each(m, MAP_tenants, tenant_sum, s);
	return 0;
}

static int by_pool_and_name(const void *left, const void *right)
{
	const struct state_tenant *a = left, *b = right;

	if (a->pool != b->pool)
		return a->pool < b->pool ? -1 : 1;
	if (a->other != b->other)
		return a->other ? 1 : -1;
	return strcmp(a->text, b->text);
}

int state_tenants(const struct maps *m, const struct state *s, struct state_tenant **out, size_t *n)
{
	struct tenants c = {.m = m, .state = s};
	int err = state_clients_read(m, &c.known.clients, &c.known.client_count);

	if (!err)
		err = state_pods_read(m, &c.known.pods, &c.known.pod_count);
	if (!err)
		err = map_each(m, MAP_tenants, tenant_take, &c);
	free(c.known.clients);
	free(c.known.pods);
	if (err) {
		free(c.all);
		return err;
	}
	if (c.count)
		qsort(c.all, c.count, sizeof(*c.all), by_pool_and_name);
	*out = c.all;
	*n = c.count;
	return 0;
}

bool state_tenant_full(const struct maps *m, const struct pintle_affinity_key *key, uint64_t now,
		       struct state_tenant *out)
{
	struct pintle_tenant n = {0};

	*out = (struct state_tenant){.key = *key};
	out->has_quota = state_quota(m, key, &out->quota);
	if (!out->has_quota || key->session.kind == PINTLE_KEY_NONE ||
	    bpf_map_lookup_elem(m->fd[MAP_tenants], key, &n))
		return false;
	out->in_flight = n.opened - n.closed;
	return quota_full(n.opened, n.closed, out->quota.connections) ||
	       quota_early(&out->quota, n.due_ns, now);
}
