/* SPDX-License-Identifier: Apache-2.0 */
#include "model_pools.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/rows.h"

static struct pintle_ref ref_of(const struct config *c, const struct publication *p,
				const struct config_model *model)
{
	const struct config_pool *to = model ? config_pool_named(c, model->pool) : NULL;

	return to ? p->pools[to - c->pools].ref : (struct pintle_ref){0};
}

/* The kernel counts in the row: what it adds between the two calls, when a model goes to another
 * pool, is lost. */
static int put_model(const struct maps *m, const struct pintle_model_key *key,
		     struct pintle_ref pool)
{
	struct pintle_model now = {0};
	bool there = !bpf_map_lookup_elem(m->fd[MAP_models], key, &now);

	if (there && !memcmp(&now.pool, &pool, sizeof(pool)))
		return 0;
	now.pool = pool;
	now.adapter = 0; /* of another pool: nobody called it one there yet */
	return bpf_map_update_elem(m->fd[MAP_models], key, &now, BPF_ANY)
		       ? log_err_r(errno, "failed to write map models")
		       : 0;
}

/* The row without a name comes last, because the kernel looks for the others only where it is. */
static int put_models(const struct maps *m, const struct config *c, const struct publication *p,
		      size_t pool)
{
	const struct config_pool *of = &c->pools[pool];
	struct pintle_model_key key = {.pool = p->pools[pool].ref};
	int err = 0;

	for (size_t i = 0; !err && i < of->model_count; i++) {
		if (!strcmp(of->models[i].name, CONFIG_MODEL_DEFAULT))
			continue;
		memcpy(key.name, of->models[i].name, sizeof(key.name));
		err = put_model(m, &key, ref_of(c, p, &of->models[i]));
	}
	memset(key.name, 0, sizeof(key.name));
	return err
		       ?: put_model(m, &key,
				    ref_of(c, p, config_model_named(of, CONFIG_MODEL_DEFAULT)));
}

/* ---- adapters ------------------------------------------------------------------------- */

uint32_t model_pools_adapter(const struct maps *m, const struct pintle_model_key *key)
{
	struct pintle_model now;

	return bpf_map_lookup_elem(m->fd[MAP_models], key, &now) ? 0 : now.adapter;
}

/* What the kernel counts between the two calls is lost, once for each adapter. */
void model_pools_set_adapter(const struct maps *m, const struct pintle_model_key *key,
			     uint32_t number)
{
	struct pintle_model now;

	if (bpf_map_lookup_elem(m->fd[MAP_models], key, &now))
		return;
	now.adapter = number;
	if (bpf_map_update_elem(m->fd[MAP_models], key, &now, BPF_EXIST))
		log_err_r(errno, "failed to write map models");
}

/* ---- what is gone ---------------------------------------------------------------------- */

struct settling {
	const struct config *config;
	const struct publication *published;
	size_t count;
	struct pintle_model_key gone[2 * (PINTLE_MAX_MODELS + PINTLE_MAX_POOLS)];
};

static bool model_pools_is_wanted(const struct settling *s, const struct pintle_model_key *key)
{
	for (size_t i = 0; i < s->config->pool_count; i++)
		if (!memcmp(&s->published->pools[i].ref, &key->pool, sizeof(key->pool)))
			return s->config->pools[i].model_count &&
			       (!key->name[0] ||
				(strcmp(key->name, CONFIG_MODEL_DEFAULT) != 0 &&
				 config_model_named(&s->config->pools[i], key->name)));
	return false;
}

static int model_visit(const void *at, const void *value, void *arg)
{
	struct pintle_model_key key = *(const struct pintle_model_key *)at;
	struct settling *s = arg;

	(void)value;
	key.name[sizeof(key.name) - 1] = '\0';
	if (!model_pools_is_wanted(s, &key) && s->count < ARRAY_SIZE(s->gone))
		s->gone[s->count++] = key;
	return 0;
}

static void delete_models(const struct maps *m, const struct settling *s, bool named)
{
	for (size_t i = 0; i < s->count; i++)
		if (!s->gone[i].name[0] == !named)
			bpf_map_delete_elem(m->fd[MAP_models], &s->gone[i]);
}

/* A pool that has no models any more loses the row without a name first: else requests would find
 * no model meanwhile. */
static int settle(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_free_ struct settling *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return log_err_r(ENOMEM, "models");
	s->config = c;
	s->published = p;
	err = map_each(m, MAP_models, model_visit, s);
	if (err)
		return err;
	delete_models(m, s, false);
	delete_models(m, s, true);
	return 0;
}

int model_pools_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	int err = 0;

	assert(p->pool_count == c->pool_count);
	for (size_t i = 0; !err && i < c->pool_count; i++)
		if (c->pools[i].model_count)
			err = put_models(m, c, p, i);
	return err ?: settle(m, c, p);
}
