/* SPDX-License-Identifier: Apache-2.0 */
#include "tenants.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/rows.h"

#define IDLE_NS (600 * NSEC_PER_SEC)

static struct pintle_quota quota_of(const struct config_quota *q)
{
	return (struct pintle_quota){
		.connections = (__u32)q->connections,
		.burst = (__u32)MAX(q->burst, 1),
		.interval_ns = q->interval_ns,
	};
}

static int add_quotas(struct map_rows *rows, const struct config_pool *c,
		      const struct pintle_ref *pool)
{
	struct pintle_affinity_key key = {.pool = pool->id, .pool_generation = pool->generation};
	struct pintle_quota quota = quota_of(&c->tenants.each);
	int err = map_rows_add(rows, &key, &quota);

	for (size_t i = 0; !err && i < c->tenants.rule_count; i++) {
		quota = quota_of(&c->tenants.rules[i].quota);
		if (config_tenant_key(c, c->tenants.rules[i].tenant, &key.session))
			err = map_rows_add(rows, &key, &quota);
	}
	return err;
}

static int make_others(const struct maps *m, const struct pintle_ref *pool)
{
	struct pintle_affinity_key key = {.pool = pool->id, .pool_generation = pool->generation};
	struct pintle_tenant none = {0};

	if (!bpf_map_update_elem(m->fd[MAP_tenants], &key, &none, BPF_NOEXIST) || errno == EEXIST)
		return 0;
	return log_err_r(errno, "failed to write map tenants");
}

int tenants_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_(map_rows_free) struct map_rows quotas = {.id = MAP_quotas};
	int err = 0;

	assert(p->pool_count == c->pool_count);
	tenants_settle(m);
	for (size_t i = 0; !err && i < c->pool_count; i++) {
		if (!c->pools[i].tenants.kind)
			continue;
		err = add_quotas(&quotas, &c->pools[i], &p->pools[i].ref);
		if (!err)
			err = make_others(m, &p->pools[i].ref);
	}
	return err ?: map_rows_put(m, &quotas);
}

/* ---- what is gone ---------------------------------------------------------------------- */

struct settling {
	const struct maps *m;
	uint64_t now;
	bool has_quotas[PINTLE_MAX_POOLS];
	uint32_t generations[PINTLE_MAX_POOLS];
	struct pintle_affinity_key gone[PINTLE_MAX_TENANTS];
	size_t count;
};

static bool tenants_is_gone(const struct settling *s, const struct pintle_affinity_key *key,
			    const struct pintle_tenant *n)
{
	if (key->pool >= PINTLE_MAX_POOLS || s->generations[key->pool] != key->pool_generation ||
	    !s->has_quotas[key->pool])
		return true;
	return key->session.kind != PINTLE_KEY_NONE && n->opened == n->closed &&
	       (int64_t)(s->now - n->used_ns) > (int64_t)IDLE_NS;
}

static int tenant_visit(const void *key, const void *value, void *arg)
{
	struct settling *s = arg;

	if (tenants_is_gone(s, key, value) && s->count < ARRAY_SIZE(s->gone))
		s->gone[s->count++] = *(const struct pintle_affinity_key *)key;
	return 0;
}

/* The kernel may be counting in the others' entry: what it adds between the two calls is lost,
 * which a count of connections in flight would not bear, but the sums of tenants without one do. */
static void add_to_others(const struct maps *m, const struct pintle_affinity_key *gone,
			  const struct pintle_tenant *n)
{
	struct pintle_affinity_key key = {.pool = gone->pool,
					  .pool_generation = gone->pool_generation};
	struct pintle_tenant all;

	if (bpf_map_lookup_elem(m->fd[MAP_tenants], &key, &all))
		return;
	all.opened += n->opened;
	all.closed += n->closed;
	all.refused += n->refused;
	bpf_map_update_elem(m->fd[MAP_tenants], &key, &all, BPF_EXIST);
}

static void settle_pools(struct settling *s)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));

	for (uint32_t i = 0; pool && i < PINTLE_MAX_POOLS; i++) {
		if (maps_value(s->m, MAP_pools, i, pool) || !pool->generation)
			continue;
		s->generations[i] = pool->generation;
		s->has_quotas[i] = pool->tenant_key;
	}
}

void tenants_settle(const struct maps *m)
{
	_cleanup_free_ struct settling *s = calloc(1, sizeof(*s));

	assert(m->writable);
	if (!s)
		return;
	s->m = m;
	s->now = monotonic_ns();
	settle_pools(s);
	if (map_each(m, MAP_tenants, tenant_visit, s))
		return;
	for (size_t i = 0; i < s->count; i++) {
		struct pintle_tenant n;

		if (bpf_map_lookup_elem(m->fd[MAP_tenants], &s->gone[i], &n) ||
		    bpf_map_delete_elem(m->fd[MAP_tenants], &s->gone[i]))
			continue;
		if (s->gone[i].session.kind != PINTLE_KEY_NONE)
			add_to_others(m, &s->gone[i], &n);
	}
}
