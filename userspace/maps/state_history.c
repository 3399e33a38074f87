/* SPDX-License-Identifier: Apache-2.0 */
#include "state_history.h"

#include <bpf/bpf.h>

#include "rows.h"
#include "state_internal.h"

void history_moment_free(struct history_moment *h)
{
	free(h->endpoints);
	free(h->waits);
	h->endpoints = NULL;
	h->waits = NULL;
}

void history_free(struct history *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->count; i++)
		history_moment_free(&h->all[i]);
	free(h->all);
	free(h);
}

uint32_t history_mode(const struct pintle_moment_pool *before, uint64_t before_ns,
		      const struct state_pool *now)
{
	bool set_since = now->overridden && now->overridden_since_ns > before_ns;

	if (before->next != now->mode || set_since || (now->trial_runs && now->daemonless))
		return PINTLE_MODE_COUNT;
	return now->mode;
}

/* ---- now ------------------------------------------------------------------------------ */

static int state_history_class_take(const struct maps *m, const struct state_pool *p, uint32_t id,
				    struct pintle_moment_class *to)
{
	struct pintle_firsts f;
	int err = maps_value(m, MAP_class_firsts, p->id * PINTLE_MAX_CLASSES + id, &f);

	if (err)
		return err;
	to->answers = f.answers;
	to->waited_ns = f.waited_ns;
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++)
		to->bucket[i] = (uint32_t)f.bucket[i];
	return 0;
}

static int endpoint_take(const struct maps *m, const struct state_endpoint *e,
			 struct history_moment *h, struct pintle_moment_endpoint *to)
{
	struct pintle_inflight counts;
	struct pintle_firsts f;
	int err = maps_value(m, MAP_firsts, e->id, &f);

	if (!err)
		err = maps_value(m, MAP_inflight, e->id, &counts);
	if (err)
		return err;
	*to = (struct pintle_moment_endpoint){
		.id = e->id,
		.generation = e->generation,
		.placed = (uint32_t)e->placed,
		.shadow_placed = (uint32_t)e->shadow_placed,
		.answers = (uint32_t)f.answers,
		.load = (uint32_t)MIN(e->load * 1000, (double)PINTLE_MAX_LOAD),
		.waited_ns = f.waited_ns,
	};
	for (uint32_t k = 0; k < h->class_count; k++) {
		int64_t n = (int64_t)eligible_in_flight(&counts.by_class[k]);

		h->classes[k].placed += counts.by_class[k].placed;
		h->classes[k].in_flight += (uint64_t)MAX(n, (int64_t)0);
	}
	return 0;
}

struct tenants_taken {
	const struct state_pool *pool;
	struct history_moment *to;
};

/* Keeps those with most connections: the smallest makes room. */
static int state_history_tenant_take(const void *at, const void *value, void *arg)
{
	const struct pintle_affinity_key *key = at;
	const struct pintle_tenant *n = value;
	struct tenants_taken *t = arg;
	struct pintle_moment_tenant *least = t->to->tenants;

	if (key->pool != t->pool->id || key->pool_generation != t->pool->generation)
		return 0;
	if (t->to->tenant_count < PINTLE_MOMENT_ROWS) {
		least = &t->to->tenants[t->to->tenant_count++];
	} else {
		for (size_t i = 1; i < PINTLE_MOMENT_ROWS; i++)
			if (t->to->tenants[i].opened < least->opened)
				least = &t->to->tenants[i];
		if ((uint32_t)n->opened <= least->opened)
			return 0;
	}
	*least = (struct pintle_moment_tenant){
		.tenant = key->session,
		.opened = (uint32_t)n->opened,
		.refused = (uint32_t)n->refused,
	};
	return 0;
}

static void wait_take(const struct maps *m, const struct pintle_affinity_key *key,
		      struct history_moment *h)
{
	struct pintle_moment_wait *to = &h->waits[h->wait_count];
	struct pintle_tenant_firsts f;

	if (bpf_map_lookup_elem(m->fd[MAP_tenant_firsts], key, &f) || !f.answers)
		return;
	h->wait_count++;
	to->tenant = key->session;
	to->answers = f.answers;
	to->waited_ns = f.waited_ns;
	for (uint32_t i = 0; i < PINTLE_TENANT_BUCKETS; i++)
		to->bucket[i] = (uint32_t)f.bucket[i];
}

/* Times of the tenants that were kept. */
static int waits_take(const struct maps *m, const struct state_pool *p, struct history_moment *h)
{
	struct pintle_affinity_key key = {.pool = p->id, .pool_generation = p->generation};

	h->waits = calloc(MAX(h->tenant_count, (size_t)1), sizeof(*h->waits));
	for (size_t i = 0; h->waits && i < h->tenant_count; i++) {
		key.session = h->tenants[i].tenant;
		wait_take(m, &key, h);
	}
	return h->waits ? 0 : -ENOMEM;
}

static int rest_take(const struct maps *m, const struct state *s, const struct state_pool *p,
		     struct history_moment *h)
{
	struct tenants_taken tenants = {p, h};
	int err = maps_value(m, MAP_forecasts, p->id, &h->pool.forecast);

	for (uint32_t k = 0; !err && k < h->class_count; k++)
		err = state_history_class_take(m, p, k, &h->classes[k]);
	for (size_t i = 0; !err && i < h->endpoint_count; i++)
		err = endpoint_take(m, &s->endpoints[p->first_endpoint + i], h, &h->endpoints[i]);
	if (!err && p->tenant_key)
		err = map_each(m, MAP_tenants, state_history_tenant_take, &tenants);
	return !err && h->tenant_count ? waits_take(m, p, h) : err;
}

int history_take(const struct maps *m, const struct state *s, const struct state_pool *p,
		 struct history_moment *out)
{
	struct history_moment h = {
		.time_ns = s->now_ns,
		.pool = {.mode = p->mode, .next = p->mode, .endpoints = (uint32_t)p->ready_count},
		.class_count = MAX(p->class_count, 1U),
		.endpoint_count = p->endpoint_count,
	};
	int err;

	h.class_count = MIN(h.class_count, (uint32_t)PINTLE_MAX_CLASSES);
	_Static_assert(PINTLE_OUTCOME_COUNT <= PINTLE_MAX_OUTCOMES, "outcomes");
	memcpy(h.pool.decisions, p->decisions, sizeof(p->decisions));
	memcpy(h.pool.shadows, p->shadows, sizeof(p->shadows));
	h.endpoints = calloc(MAX(h.endpoint_count, (size_t)1), sizeof(*h.endpoints));
	err = h.endpoints ? rest_take(m, s, p, &h) : -ENOMEM;
	if (err) {
		history_moment_free(&h);
		return err;
	}
	*out = h;
	return 0;
}

/* ---- then ----------------------------------------------------------------------------- */

struct part {
	struct pintle_moment_key key;
	struct pintle_moment value;
};

struct reading {
	const struct state_pool *pool;
	struct part *all;
	size_t count, room;
};

static int part_read(const void *at, const void *value, void *arg)
{
	const struct pintle_moment_key *key = at;
	struct reading *r = arg;

	if (key->pool != r->pool->id || key->pool_generation != r->pool->generation)
		return 0;
	if (!ROOM_FOR_ONE(r->all, r->count, r->room, 1024))
		return -ENOMEM;
	r->all[r->count].key = *key;
	r->all[r->count++].value = *(const struct pintle_moment *)value;
	return 0;
}

static int by_time_and_part(const void *left, const void *right)
{
	const struct pintle_moment_key *a = &((const struct part *)left)->key;
	const struct pintle_moment_key *b = &((const struct part *)right)->key;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	return a->part < b->part ? -1 : a->part > b->part;
}

static int state_history_endpoints_add(struct history_moment *h,
				       const struct pintle_moment_endpoint *rows)
{
	struct pintle_moment_endpoint *more =
		reallocarray(h->endpoints, h->endpoint_count + PINTLE_MOMENT_ROWS, sizeof(*more));

	if (!more)
		return -ENOMEM;
	h->endpoints = more;
	for (size_t i = 0; i < PINTLE_MOMENT_ROWS; i++)
		if (rows[i].generation && rows[i].id < PINTLE_MAX_ENDPOINTS)
			more[h->endpoint_count++] = rows[i];
	return 0;
}

static int state_history_waits_add(struct history_moment *h, const struct pintle_moment_wait *rows)
{
	struct pintle_moment_wait *more =
		reallocarray(h->waits, h->wait_count + PINTLE_MOMENT_WAITS, sizeof(*more));

	if (!more)
		return -ENOMEM;
	h->waits = more;
	for (size_t i = 0; i < PINTLE_MOMENT_WAITS; i++)
		if (rows[i].answers)
			more[h->wait_count++] = rows[i];
	return 0;
}

static int part_add(struct history_moment *h, const struct part *p)
{
	uint32_t part = p->key.part;

	if (part >= PINTLE_PART_ENDPOINTS)
		return state_history_endpoints_add(h, p->value.endpoints);
	if (part >= PINTLE_PART_WAITS)
		return state_history_waits_add(h, p->value.waits);
	if (part == PINTLE_PART_TENANTS) {
		h->tenant_count = PINTLE_MOMENT_ROWS;
		memcpy(h->tenants, p->value.tenants, sizeof(h->tenants));
	} else if (part != PINTLE_PART_POOL) {
		h->classes[part - PINTLE_PART_CLASS] = p->value.class_of;
		h->class_count = MAX(h->class_count, part - PINTLE_PART_CLASS + 1);
	} else {
		h->pool = p->value.pool;
	}
	return 0;
}

/* The parts of a moment follow each other, that of the pool first. Where it is missing, the others
 * are of a moment that was being written, or deleted. */
static int moments_make(struct history *h, const struct part *parts, size_t n, uint64_t since)
{
	size_t room = 0;

	for (size_t i = 0; i < n; i++) {
		struct history_moment *to = h->count ? &h->all[h->count - 1] : NULL;
		int err;

		if (parts[i].key.part == PINTLE_PART_POOL) {
			/* Only the newest of those before `since` is wanted. */
			if (to && parts[i].key.time_ns <= since) {
				history_moment_free(to);
				h->count--;
			}
			if (!ROOM_FOR_ONE(h->all, h->count, room, 64))
				return -ENOMEM;
			to = &h->all[h->count++];
			*to = (struct history_moment){.time_ns = parts[i].key.time_ns};
		} else if (!to || to->time_ns != parts[i].key.time_ns) {
			continue;
		}
		err = part_add(to, &parts[i]);
		if (err)
			return err;
	}
	return ROOM_FOR_ONE(h->all, h->count, room, 1) ? 0 : -ENOMEM; /* for now */
}

static int now_add(const struct maps *m, const struct state *s, const struct state_pool *p,
		   struct history *h)
{
	const struct history_moment *last = h->count ? &h->all[h->count - 1] : NULL;
	struct history_moment now;
	int err = history_take(m, s, p, &now);

	if (err)
		return err;
	if (last) {
		now.pool.mode = history_mode(&last->pool, last->time_ns, p);
		now.pool.flags = last->pool.flags;
		now.pool.output_tokens = last->pool.output_tokens;
		now.pool.prompt_tokens = last->pool.prompt_tokens;
		now.pool.prefix_hits = last->pool.prefix_hits;
		now.pool.prefix_queries = last->pool.prefix_queries;
		now.pool.gpu_ms = last->pool.gpu_ms;
		now.pool.gpu_busy_ms = last->pool.gpu_busy_ms;
	}
	h->all[h->count++] = now;
	return 0;
}

int history_read(const struct maps *m, const struct state *s, const struct state_pool *p,
		 uint64_t since_ns, struct history **out)
{
	_cleanup_(history_freep) struct history *h = calloc(1, sizeof(*h));
	struct reading r = {.pool = p};
	int err = h ? map_each(m, MAP_history, part_read, &r) : -ENOMEM;

	if (!err && r.count)
		qsort(r.all, r.count, sizeof(*r.all), by_time_and_part);
	if (!err)
		err = moments_make(h, r.all, r.count, since_ns);
	free(r.all);
	if (!err)
		err = now_add(m, s, p, h);
	if (err)
		return err;
	*out = TAKE_PTR(h);
	return 0;
}
