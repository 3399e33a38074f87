// SPDX-License-Identifier: Apache-2.0
#include "same_model.h"

#include <assert.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../fetch/scrape.h"
#include "../../policy/model_list.h"
#include "poll.h"

struct server {
	struct same_model *models;
	struct scrape_target *target;
	uint32_t generation;
	size_t pool, endpoint; /* indices into the configuration */
	struct model_list list;
	bool keep;
};

struct same_model {
	const struct maps *m;
	struct loaded_adapters *adapters;
	struct scraper *scraper;
	const struct config *config;
	const struct publication *published;
	struct server *servers[PINTLE_MAX_ENDPOINTS]; /* by the endpoint's id */
	struct pintle_pool row;                       /* room for a copy */
};

/* ---- the verdict ------------------------------------------------------------------- */

static void pool_list(const struct same_model *x, size_t pool, struct model_list *out)
{
	*out = (struct model_list){0};
	for (size_t i = 0; i < x->config->pools[pool].endpoint_count; i++) {
		const struct server *s = x->servers[x->published->pools[pool].endpoints[i].id];

		if (s)
			model_list_add(out, &s->list);
	}
}

static void verdict_put(struct same_model *x, size_t pool, size_t other, bool fits)
{
	uint32_t id = x->published->pools[pool].ref.id;
	const char *name = x->config->pools[pool].name;
	const char *other_name = config_other_name(&x->config->pools[pool], other);
	int err = maps_value(x->m, MAP_pools, id, &x->row);

	if (!err && x->row.others[other].checked == fits)
		return;
	x->row.others[other].checked = fits;
	err = err ?: maps_put(x->m, MAP_pools, &id, &x->row);
	if (err)
		log_err_r(err, "failed to write map pools");
	else if (fits)
		log_info("%s: %s serves a model of it; connections may go there", name, other_name);
	else
		log_error(
			"%s: the servers of %s have none of its models (/v1/models); no connection "
			"goes there. Name a pool that serves the same model",
			name, other_name);
}

static bool has_others(const struct config_pool *c)
{
	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++)
		if (config_other_name(c, i))
			return true;
	return false;
}

static void pool_judge(struct same_model *x, size_t pool)
{
	const struct config_pool *c = &x->config->pools[pool];
	struct model_list own, theirs;

	if (!has_others(c))
		return;
	pool_list(x, pool, &own);
	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++) {
		const char *name = config_other_name(c, i);
		const struct config_pool *other = name ? config_pool_named(x->config, name) : NULL;

		if (!other)
			continue;
		pool_list(x, (size_t)(other - x->config->pools), &theirs);
		verdict_put(x, pool, i, !model_list_differs(&own, &theirs));
	}
}

static bool names(const struct config_pool *c, const struct config_pool *other)
{
	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++) {
		const char *name = config_other_name(c, i);

		if (name && !strcmp(name, other->name))
			return true;
	}
	return false;
}

static const char *on_list(void *arg, int error, const char *page, size_t size)
{
	struct server *s = arg;
	struct same_model *x = s->models;
	const char *wrong = error ? NULL : model_list_read(page, size, &s->list);

	if (error || wrong)
		return wrong;
	loaded_adapters_list(x->adapters, x->published->pools[s->pool].endpoints[s->endpoint],
			     s->pool, &s->list);
	for (size_t i = 0; i < x->config->pool_count; i++)
		if (i == s->pool || names(&x->config->pools[i], &x->config->pools[s->pool]))
			pool_judge(x, i);
	return NULL;
}

/* ---- who is asked ------------------------------------------------------------------- */

static void server_free(struct server *s)
{
	if (s)
		scraper_remove(s->target);
	free(s);
}

/* Whether connections may go from this pool to another one, or to it. */
static bool is_paired(const struct config *c, size_t pool)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (names(&c->pools[i], &c->pools[pool]))
			return true;
	return has_others(&c->pools[pool]);
}

static int server_configure(struct same_model *x, size_t pool, size_t endpoint)
{
	static const struct scrape_callbacks callbacks = {.done = on_list};
	const struct config_pool *c = &x->config->pools[pool];
	const struct config_endpoint *e = &c->endpoints[endpoint];
	struct pintle_ref ref = x->published->pools[pool].endpoints[endpoint];
	_cleanup_free_ char *url = NULL, *fallback = NULL;
	char label[2 * PINTLE_NAME_SIZE + 32];
	struct server *s = x->servers[ref.id];
	struct scrape_options options;
	int err = poller_server_options(c, e, "/v1/models", &options, &url, &fallback);

	if (err)
		return err;
	snprintf(label, sizeof(label), "the models of %s/%s", c->name, e->name);
	options.label = label;
	options.interval_ns = SAME_MODEL_INTERVAL_NS;
	if (s && s->generation != ref.generation) {
		server_free(s);
		s = x->servers[ref.id] = NULL;
	}
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return -ENOMEM;
		*s = (struct server){.models = x, .generation = ref.generation};
		err = scraper_add(x->scraper, &options, &callbacks, s, &s->target);
		if (err) {
			free(s);
			return err;
		}
		x->servers[ref.id] = s;
	} else {
		err = scraper_set_options(s->target, &options);
	}
	s->pool = pool;
	s->endpoint = endpoint;
	s->keep = true;
	return err;
}

void same_model_configure(struct same_model *x, const struct config *c,
			  const struct publication *pub)
{
	int err = 0;

	assert(pub->pool_count == c->pool_count);
	x->config = c;
	x->published = pub;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (x->servers[i])
			x->servers[i]->keep = false;
	for (size_t i = 0; i < c->pool_count; i++) {
		bool asked = is_paired(c, i) || loaded_adapters_concern(x->adapters, i);
		size_t n = asked ? c->pools[i].endpoint_count : 0;

		for (size_t k = 0; k < n; k++)
			err = server_configure(x, i, k) ?: err;
	}
	if (err)
		log_err_r(err, "cannot ask all servers for their models");
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (x->servers[i] && !x->servers[i]->keep)
			server_free(TAKE_PTR(x->servers[i]));
	for (size_t i = 0; i < c->pool_count; i++)
		pool_judge(x, i);
}

/* ---- life ---------------------------------------------------------------------------- */

int same_model_new(const struct ground *g, struct loaded_adapters *adapters,
		   struct same_model **out)
{
	struct same_model *x = calloc(1, sizeof(*x));
	int err;

	if (!x)
		return log_err_r(ENOMEM, "models");
	x->m = g->maps;
	x->adapters = adapters;
	err = scraper_new(g->loop, g->netns_fd, &x->scraper);
	if (err) {
		free(x);
		return err;
	}
	*out = x;
	return 0;
}

void same_model_free(struct same_model *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		server_free(x->servers[i]);
	scraper_free(x->scraper);
	free(x);
}
