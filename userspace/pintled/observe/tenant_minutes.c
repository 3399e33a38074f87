/* SPDX-License-Identifier: Apache-2.0 */
#include "tenant_minutes.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/buckets.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/rows.h"
#include "../../policy/minute.h"

struct tenant_row {
	struct pintle_affinity_key key;
	struct minute *minute; /* owned, 6.4 kB; NULL: none is wanted, or there is no memory */
};

struct tenant_minutes {
	const struct maps *m;
	struct tenant_row *rows; /* sorted by key */
	size_t count;
	bool looked; /* before: what comes now has come since */
};

struct looking {
	struct tenant_minutes *t;
	uint64_t now;
	struct tenant_row *rows;
	size_t count, room;
	const bool *sealed; /* by the pool's id */
};

static int tenant_minutes_by_key(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct pintle_affinity_key));
}

static struct minute *minute_of(struct looking *l, const void *key)
{
	struct tenant_minutes *t = l->t;
	struct tenant_row *former =
		t->count ? bsearch(key, t->rows, t->count, sizeof(*t->rows), tenant_minutes_by_key)
			 : NULL;
	struct minute *m;

	if (former && former->minute)
		return TAKE_PTR(former->minute);
	m = calloc(1, sizeof(*m));
	if (m && t->looked && !former)
		minute_begin(m, l->now);
	return m;
}

/* Each answer counts four times: bucket_spread(). */
static void tenant_minutes_publish_one(const struct looking *l, const struct tenant_row *row)
{
	const struct pintle_tenant_minute v = {
		.looked_ns = l->now,
		.answers = row->minute->count / 4,
		.p50_us = row->minute->p50_us,
		.p95_us = row->minute->p95_us,
	};

	bpf_map_update_elem(l->t->m->fd[MAP_tenant_minutes], &row->key, &v, BPF_ANY);
}

static int row_take(const void *key, const void *value, void *arg)
{
	const struct pintle_affinity_key *tenant = key;
	const struct pintle_tenant_firsts *firsts = value;
	struct looking *l = arg;
	__u64 buckets[PINTLE_BUCKETS];
	struct tenant_row *row;

	if (!ROOM_FOR_ONE(l->rows, l->count, l->room, 64))
		return -ENOMEM;
	row = &l->rows[l->count++];
	*row = (struct tenant_row){.key = *tenant};
	/* What TLS sends first is no token. */
	if (tenant->pool < PINTLE_MAX_POOLS && !l->sealed[tenant->pool])
		row->minute = minute_of(l, key);
	if (!row->minute)
		return 0;
	bucket_spread(firsts->bucket, buckets);
	minute_look(row->minute, buckets, l->now);
	tenant_minutes_publish_one(l, row);
	return 0;
}

/* ---- tenants that are gone ------------------------------------------------------- */

/* Programs may make such an entry anew, for an answer that ends after the tenant was forgotten. */
static void gone_delete(const struct looking *l)
{
	const int *fd = l->t->m->fd;
	struct pintle_tenant n;

	for (size_t i = 0; i < l->count; i++)
		if (bpf_map_lookup_elem(fd[MAP_tenants], &l->rows[i].key, &n) && errno == ENOENT) {
			bpf_map_delete_elem(fd[MAP_tenant_firsts], &l->rows[i].key);
			bpf_map_delete_elem(fd[MAP_tenant_minutes], &l->rows[i].key);
		}
}

/* ---- life ------------------------------------------------------------------------ */

static void tenant_minutes_rows_free(struct tenant_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(rows[i].minute);
	free(rows);
}

static bool any_tenants(const struct config *c)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].tenants.kind)
			return true;
	return false;
}

void tenant_minutes_look(struct tenant_minutes *t, const struct config *c,
			 const struct publication *published)
{
	bool sealed[PINTLE_MAX_POOLS] = {0};
	struct looking l = {.t = t, .now = monotonic_ns(), .sealed = sealed};

	assert(published->pool_count == c->pool_count);
	if (!t->count && !any_tenants(c))
		return;
	for (size_t i = 0; i < c->pool_count; i++)
		sealed[published->pools[i].ref.id] = config_pool_is_tls(&c->pools[i]);
	map_each(t->m, MAP_tenant_firsts, row_take, &l);
	gone_delete(&l);
	tenant_minutes_rows_free(t->rows, t->count);
	if (l.count)
		qsort(l.rows, l.count, sizeof(*l.rows), tenant_minutes_by_key);
	t->rows = l.rows;
	t->count = l.count;
	t->looked = true;
}

int tenant_minutes_new(const struct ground *g, struct tenant_minutes **out)
{
	struct tenant_minutes *t = calloc(1, sizeof(*t));

	if (!t)
		return log_err_r(ENOMEM, "tenants");
	t->m = g->maps;
	*out = t;
	return 0;
}

void tenant_minutes_free(struct tenant_minutes *t)
{
	if (!t)
		return;
	tenant_minutes_rows_free(t->rows, t->count);
	free(t);
}
