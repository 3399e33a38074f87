/* SPDX-License-Identifier: Apache-2.0 */
/* state_model.c - the models of the pools, and the pools that serve them. */
#include "state_internal.h"

#include "../base/text.h"
#include "rule/loaded_adapters.bpf.h"
#include "rows.h"

static int model_take(const void *at, const void *value, void *arg)
{
	const struct pintle_model_key *key = at;
	const struct pintle_model *row = value;
	const struct state_pool *to;
	struct state_pool *p = NULL;
	struct state *s = arg;
	struct state_model *m;

	for (size_t i = 0; i < s->pool_count; i++)
		if (s->pools[i].id == key->pool.id &&
		    s->pools[i].generation == key->pool.generation)
			p = &s->pools[i];
	if (!p)
		return 0;
	if (!ROOM_FOR_ONE(p->models, p->model_count, p->model_room, 8))
		return -ENOMEM;
	m = &p->models[p->model_count++];
	*m = (struct state_model){.other = !key->name[0],
				  .requests = MIN(row->requests, STATE_MAX_COUNT),
				  .loaded = MIN(row->loaded, STATE_MAX_COUNT),
				  .adapter = row->adapter};
	memcpy(m->name, key->name, sizeof(m->name) - 1);
	text_make_printable(m->name, '?');
	if (m->other)
		snprintf(m->name, sizeof(m->name), "default");
	to = state_pool_find(s, &row->pool);
	m->pool = to ? (uint32_t)(to - s->pools) : STATE_NO_POOL;
	return 0;
}

/* What is left over comes last. */
static int model_by_name(const void *left, const void *right)
{
	const struct state_model *a = left, *b = right;

	if (a->other != b->other)
		return a->other ? 1 : -1;
	return strcmp(a->name, b->name);
}

bool state_adapter_is_at(const struct state_model *m, const struct state_endpoint *e)
{
	return m->adapter && m->pool == e->pool && e->has_adapters &&
	       adapters_state(&e->adapters, e->generation, m->adapter) == ADAPTERS_LOADED;
}

static int adapters_read(const struct maps *m, struct state_endpoint *e)
{
	int err = maps_value(m, MAP_adapters, e->id, &e->adapters);

	e->has_adapters = !err && e->adapters.generation == e->generation &&
			  (e->adapters.slots || e->adapters.flags & PINTLE_ADAPTERS_LISTED);
	return err;
}

/* Of pools that have adapters. */
static int adapters_read_all(const struct maps *m, struct state *s)
{
	bool has[PINTLE_MAX_POOLS] = {false};
	int err = 0;

	for (size_t i = 0; i < s->pool_count; i++)
		for (size_t k = 0; k < s->pools[i].model_count; k++)
			if (s->pools[i].models[k].adapter &&
			    s->pools[i].models[k].pool != STATE_NO_POOL)
				has[s->pools[i].models[k].pool] = true;
	for (size_t i = 0; !err && i < s->endpoint_count; i++)
		if (has[s->endpoints[i].pool])
			err = adapters_read(m, &s->endpoints[i]);
	return err;
}

static void holders_count(struct state *s, struct state_model *model)
{
	const struct state_pool *to =
		model->adapter && model->pool != STATE_NO_POOL ? &s->pools[model->pool] : NULL;

	for (size_t i = 0; to && i < to->endpoint_count; i++)
		model->holders += state_adapter_is_at(model, &s->endpoints[to->first_endpoint + i]);
}

int state_read_models(const struct maps *m, struct state *s)
{
	int err = map_each(m, MAP_models, model_take, s);

	err = err ?: adapters_read_all(m, s);
	for (size_t i = 0; !err && i < s->pool_count; i++)
		for (size_t k = 0; k < s->pools[i].model_count; k++)
			holders_count(s, &s->pools[i].models[k]);

	for (size_t i = 0; !err && i < s->pool_count; i++)
		if (s->pools[i].model_count)
			qsort(s->pools[i].models, s->pools[i].model_count,
			      sizeof(*s->pools[i].models), model_by_name);
	return err;
}

const struct state_model *state_model_find(const struct state_pool *p, const char *name)
{
	const struct state_model *other = NULL;

	for (size_t i = 0; i < p->model_count; i++) {
		if (p->models[i].other)
			other = &p->models[i];
		else if (!strcmp(p->models[i].name, name))
			return &p->models[i];
	}
	return other;
}

const char *state_adapter_name(const struct state *s, uint32_t adapter)
{
	for (size_t i = 0; adapter && i < s->pool_count; i++)
		for (size_t k = 0; k < s->pools[i].model_count; k++)
			if (s->pools[i].models[k].adapter == adapter)
				return s->pools[i].models[k].name;
	return NULL;
}
