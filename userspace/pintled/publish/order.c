/* SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <assert.h>
#include <string.h>

#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../policy/reserve.h"
#include "../../base/util.h"
#include "rule/eligible.bpf.h"

struct orders {
	const struct maps *m;
	struct pintle_pool pool, former;
	/* copies of the maps */
	struct pintle_endpoint endpoints[PINTLE_MAX_ENDPOINTS];
	struct pintle_override overrides[PINTLE_OVERRIDE_COUNT];
	struct reserve_member reserve[PINTLE_MAX_MEMBERS];
	/* by pool: its generation, if no member's closed_classes is known to be set */
	uint32_t open[PINTLE_MAX_POOLS];
	/* by endpoint: it may not be chosen; only of pools of which a class may be told no */
	bool barred[PINTLE_MAX_ENDPOINTS];
	uint64_t now;
	bool copied; /* in this update */
};

int orders_new(const struct ground *g, struct orders **out)
{
	struct orders *o = calloc(1, sizeof(*o));

	if (!o)
		return log_err_r(ENOMEM, "orders");
	o->m = g->maps;
	*out = o;
	return 0;
}

void orders_free(struct orders *o)
{
	free(o);
}

/* Two calls, instead of two for each endpoint. */
static int orders_copy(struct orders *o)
{
	int err = 0;

	if (!o->copied)
		err = maps_values(o->m, MAP_endpoints, o->endpoints)
			      ?: maps_values(o->m, MAP_overrides, o->overrides);
	if (err)
		log_err_r(err, "failed to read the endpoints");
	o->copied = !err;
	return err;
}

/* Returns 0 if the member may be chosen for connections of either address family, INELIGIBLE_COUNT
 * if it is gone, else enum ineligible. */
static uint32_t orders_judge(const struct orders *o, const struct pintle_ref *pool,
			     const struct pintle_ref *ref)
{
	const struct pintle_endpoint *e = &o->endpoints[ref->id];
	const struct eligible_query q = {
		.pool = &o->pool,
		.endpoint = e,
		.health = &o->m->health[ref->id],
		.override = &o->overrides[PINTLE_ENDPOINT_SLOT(ref->id)],
		.now = o->now,
		.family = PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6,
	};
	struct eligible_score score = {
		.scraped_ns = eligible_scraped_ns(&o->m->scores[ref->id], ref->generation),
	};

	if (!eligible_member(e, ref->generation, pool->id, pool->generation))
		return INELIGIBLE_COUNT;
	return ineligible(&q, &score, false);
}

/* An endpoint that stands still must be drawn to be tried. */
static bool orders_is_ready(const struct orders *o, const struct pintle_ref *pool,
			    const struct pintle_ref *ref)
{
	uint32_t why = orders_judge(o, pool, ref);

	return !why || stands_still(why);
}

static void orders_sort(struct orders *o, const struct pintle_ref *pool)
{
	uint32_t n = MIN(o->pool.member_count, (uint32_t)PINTLE_MAX_MEMBERS), rest = n;

	o->pool.ready = 0;
	for (uint32_t i = n; i-- > 0;)
		if (!orders_is_ready(o, pool, &o->pool.members[i]))
			o->pool.order[--rest] = (uint16_t)i;
	for (uint32_t i = 0, at = rest; i < n; i++) {
		/* What is left out above is ready; the others lie in the same order. */
		if (at < n && o->pool.order[at] == i)
			at++;
		else
			o->pool.order[o->pool.ready++] = (uint16_t)i;
	}
}

/* ---- reserves ------------------------------------------------------------------------ */

static bool orders_reserves(const struct orders *o)
{
	for (uint32_t i = 0; i < o->pool.class_count && i < PINTLE_MAX_CLASSES; i++)
		if (o->pool.class_of[i].reserve)
			return true;
	return false;
}

/* An endpoint's address and port are the same on every node. */
static uint64_t hash_of(const struct pintle_endpoint *e)
{
	return hash_mix(hash_bytes(hash_bytes(HASH_START, e->address, sizeof(e->address)), &e->port,
				   sizeof(e->port)));
}

/* Closes the members that are reserved, and opens the others. */
static void orders_reserve(struct orders *o, const struct pintle_ref *pool)
{
	uint32_t n = MIN(o->pool.member_count, (uint32_t)PINTLE_MAX_MEMBERS);
	bool reserves = orders_reserves(o);

	if (!reserves && o->open[pool->id] == pool->generation)
		return;
	if (reserves && orders_copy(o))
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct pintle_ref *ref = &o->pool.members[i];

		o->reserve[i] = (struct reserve_member){0};
		if (reserves)
			o->reserve[i] = (struct reserve_member){
				.hash = hash_of(&o->endpoints[ref->id]),
				.ready = !orders_judge(o, pool, ref),
			};
	}
	if (reserves && reserve_fold(o->pool.class_of, o->pool.class_count, o->reserve, n))
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct pintle_health *h = &o->m->health[o->pool.members[i].id];

		if (h->closed_classes != o->reserve[i].closed)
			__atomic_store_n(&h->closed_classes, o->reserve[i].closed,
					 __ATOMIC_RELAXED);
	}
	o->open[pool->id] = reserves ? 0 : pool->generation;
}

/* ---- shares -------------------------------------------------------------------------- */

static void orders_share(struct orders *o, const struct pintle_ref *pool)
{
	uint32_t n = MIN(o->pool.member_count, (uint32_t)PINTLE_MAX_MEMBERS), ready = 0;
	bool judged = false;

	for (uint32_t i = 0; i < o->pool.class_count && i < PINTLE_MAX_CLASSES; i++) {
		struct pintle_class *class = &o->pool.class_of[i];

		class->places = reserve_places(class, 1);
		if (!class->places)
			continue;
		if (!judged && orders_copy(o))
			return;
		for (uint32_t j = 0; !judged && j < n; j++)
			ready += !orders_judge(o, pool, &o->pool.members[j]);
		judged = true;
		class->places = reserve_places(class, MAX(ready, 1U));
	}
}

/* ---- who is told no ------------------------------------------------------------------ */

static bool orders_turn_away(const struct orders *o)
{
	for (uint32_t i = 0; i < o->pool.class_count && i < PINTLE_MAX_CLASSES; i++)
		if (o->pool.class_of[i].flags & PINTLE_CLASS_BOUNDED &&
		    o->pool.class_of[i].admission != PINTLE_ADMISSION_PROCEED)
			return true;
	return false;
}

static void orders_bar(struct orders *o, const struct pintle_ref *pool)
{
	uint32_t n = MIN(o->pool.member_count, (uint32_t)PINTLE_MAX_MEMBERS);

	if (!orders_turn_away(o) || orders_copy(o))
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct pintle_ref *ref = &o->pool.members[i];

		o->barred[ref->id] = orders_judge(o, pool, ref);
	}
}

bool orders_barred(const struct orders *o, uint32_t endpoint)
{
	assert(endpoint < PINTLE_MAX_ENDPOINTS);
	return o->barred[endpoint];
}

/* ---- failing close ------------------------------------------------------------------- */

static void orders_close(struct orders *o)
{
	for (uint32_t i = 0; i < o->pool.member_count && i < PINTLE_MAX_MEMBERS; i++) {
		const struct pintle_ref *ref = &o->pool.members[i];

		if (!eligible_scraped_ns(&o->m->scores[ref->id], ref->generation))
			continue;
		o->pool.failure_mode = PINTLE_FAIL_CLOSE;
		return;
	}
}

/* ---- all of it ------------------------------------------------------------------------- */

static void orders_update_pool(struct orders *o, const struct published_pool *p, uint32_t level)
{
	const struct pintle_ref *pool = &p->ref;

	if (maps_value(o->m, MAP_pools, pool->id, &o->pool) ||
	    o->pool.generation != pool->generation)
		return;
	o->former = o->pool;
	o->pool.sample = others_sample(level);
	o->pool.tie = others_tie(level);
	o->pool.ready = 0;
	if (decide_sample_needed(o->pool.member_count,
				 decide_sample_size(o->pool.member_count, o->pool.sample)) &&
	    !orders_copy(o))
		orders_sort(o, pool);
	orders_reserve(o, pool);
	orders_share(o, pool);
	orders_bar(o, pool);
	if (p->closes_once_read && o->pool.failure_mode == PINTLE_FAIL_OPEN)
		orders_close(o);
	if (memcmp(&o->pool, &o->former, sizeof(o->pool)) != 0)
		maps_put(o->m, MAP_pools, &pool->id, &o->pool);
}

void orders_update(struct orders *o, const struct publication *p, struct others *others)
{
	o->now = monotonic_ns();
	o->copied = false;
	for (size_t i = 0; i < p->pool_count; i++) {
		struct others *of = &others[p->pools[i].ref.id];

		others_judge(of);
		orders_update_pool(o, &p->pools[i], of->level);
	}
}
