/* SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <string.h>

#include "../base/log.h"
#include "../base/util.h"
#include "eligible.bpf.h"

struct orders {
	struct pintle_pool pool, former;
	/* copies of the maps */
	struct pintle_endpoint endpoints[PINTLE_MAX_ENDPOINTS];
	struct pintle_override overrides[PINTLE_OVERRIDE_COUNT];
	uint64_t now;
	bool copied; /* in this update */
};

int orders_new(struct orders **out)
{
	struct orders *o = calloc(1, sizeof(*o));

	if (!o)
		return log_err_r(ENOMEM, "orders");
	*out = o;
	return 0;
}

void orders_free(struct orders *o)
{
	free(o);
}

/* Two calls, instead of two for each endpoint. */
static int orders_copy(struct orders *o, const struct maps *m)
{
	int err = 0;

	if (!o->copied)
		err = maps_values(m, MAP_endpoints, o->endpoints)
			      ?: maps_values(m, MAP_overrides, o->overrides);
	if (err)
		log_err_r(err, "failed to read the endpoints");
	o->copied = !err;
	return err;
}

/* Whether the member may be chosen for connections of either address family. */
static bool orders_is_ready(const struct orders *o, const struct maps *m,
			    const struct pintle_ref *pool, const struct pintle_ref *ref)
{
	const struct pintle_endpoint *e = &o->endpoints[ref->id];
	const struct eligible_query q = {
		.pool = &o->pool,
		.endpoint = e,
		.health = &m->health[ref->id],
		.override = &o->overrides[PINTLE_ENDPOINT_SLOT(ref->id)],
		.now = o->now,
		.family = PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6,
	};
	struct eligible_score score = {
		.scraped_ns = eligible_scraped_ns(&m->scores[ref->id], ref->generation),
	};
	uint32_t why;

	why = ineligible(&q, &score, false);
	/* An endpoint that stands still must be drawn to be tried. */
	return eligible_member(e, ref->generation, pool->id, pool->generation) &&
	       (!why || stands_still(why));
}

static void orders_sort(struct orders *o, const struct maps *m, const struct pintle_ref *pool)
{
	uint32_t n = MIN(o->pool.member_count, (uint32_t)PINTLE_MAX_MEMBERS), rest = n;

	o->pool.ready = 0;
	for (uint32_t i = n; i-- > 0;)
		if (!orders_is_ready(o, m, pool, &o->pool.members[i]))
			o->pool.order[--rest] = (uint16_t)i;
	for (uint32_t i = 0, at = rest; i < n; i++) {
		/* What is left out above is ready; the others lie in the same order. */
		if (at < n && o->pool.order[at] == i)
			at++;
		else
			o->pool.order[o->pool.ready++] = (uint16_t)i;
	}
}

static void orders_update_pool(struct orders *o, const struct maps *m,
			       const struct pintle_ref *pool, uint32_t level)
{
	if (maps_value(m, MAP_pools, pool->id, &o->pool) || o->pool.generation != pool->generation)
		return;
	o->former = o->pool;
	o->pool.sample = others_sample(level);
	o->pool.tie = others_tie(level);
	o->pool.ready = 0;
	if (decide_sample_needed(o->pool.member_count,
				 decide_sample_size(o->pool.member_count, o->pool.sample)) &&
	    !orders_copy(o, m))
		orders_sort(o, m, pool);
	if (memcmp(&o->pool, &o->former, sizeof(o->pool)) != 0)
		maps_put(m, MAP_pools, &pool->id, &o->pool);
}

void orders_update(struct orders *o, const struct maps *m, const struct publication *p,
		   struct others *others)
{
	o->now = monotonic_ns();
	o->copied = false;
	for (size_t i = 0; i < p->pool_count; i++) {
		struct others *of = &others[p->pools[i].ref.id];

		others_judge(of);
		orders_update_pool(o, m, &p->pools[i].ref, of->level);
	}
}
