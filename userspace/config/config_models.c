/* SPDX-License-Identifier: Apache-2.0 */
/* config_models.c - which pool serves which model, where one pool's frontends are for several. */
#include <ctype.h>

#include "config_internal.h"
#include "../base/util.h"

/* ---- the mapping ----------------------------------------------------------------- */

static bool is_printable(const struct yaml_node *n, size_t room)
{
	for (size_t i = 0; i < n->length; i++)
		if (!isgraph((unsigned char)n->text[i]))
			return false;
	return n->length && n->length < room;
}

/* Reads "NAME: POOL" into a further element. */
static void read_model(struct yaml_report *r, const struct yaml_node *n, struct config_pool *p)
{
	struct config_model *m = &p->models[p->model_count];
	char quoted[TEXT_QUOTED_SIZE];

	if (n->kind == YAML_BROKEN || n->key->kind == YAML_BROKEN)
		return;
	if (n->key->kind != YAML_SCALAR || !is_printable(n->key, sizeof(m->name))) {
		yaml_report_error(r, n->key->line, n->key->column,
				  "models has a key that is no name of a model; write 1 to %d "
				  "characters of ASCII without blanks",
				  PINTLE_MODEL_SIZE - 1);
		return;
	}
	if (n->kind != YAML_SCALAR || !is_printable(n, sizeof(m->pool))) {
		text_quote(n->key->text, n->key->length, quoted);
		yaml_report_error(r, n->line, n->column,
				  "models: %s goes to no pool; write a pool's name behind it",
				  quoted);
		return;
	}
	memcpy(m->name, n->key->text, n->key->length);
	memcpy(m->pool, n->text, n->length);
	m->line = n->key->line;
	m->column = n->key->column;
	p->model_count++;
}

static void read_models(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
			void *base)
{
	struct config_pool *p = base;
	char wants[YAML_WANTS_SIZE];

	if (n->kind != YAML_MAP) {
		yaml_report_kind(r, n, yaml_key_label(k), yaml_key_wants(NULL, k, wants));
		return;
	}
	if (!n->count || n->count > PINTLE_MAX_POOL_MODELS) {
		yaml_report_error(r, n->line, n->column,
				  "models has %zu names; write 1 to %d, and the others for another "
				  "pool's frontend",
				  n->count, PINTLE_MAX_POOL_MODELS);
		return;
	}
	p->models = calloc(n->count, sizeof(*p->models));
	r->out_of_memory |= !p->models;
	for (const struct yaml_node *one = n->first; p->models && one; one = one->next)
		read_model(r, one, p);
}

static void models_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE,
		 "models with their pools, such as {llama-8b: llama-8b, default: llama-8b}");
}

const struct yaml_type config_models = {
	.kind = YAML_MAP, .wants = models_wants, .read_node = read_models};

const struct config_model *config_model_named(const struct config_pool *p, const char *name)
{
	for (size_t i = 0; i < p->model_count; i++)
		if (!strcmp(p->models[i].name, name))
			return &p->models[i];
	return NULL;
}

/* ---- checks ---------------------------------------------------------------------- */

static void models_check_pool(const struct config *c, const struct config_pool *p,
			      const struct config_model *m, struct yaml_report *r)
{
	const struct config_pool *to = config_pool_named(c, m->pool);

	/* A Service comes and goes: kube_cluster_say.c tells of one that is not there. */
	if (p->line <= 0 && !to)
		return;
	if (!to || (to->line <= 0 && p->line > 0))
		yaml_report_error(r, m->line, m->column,
				  "models: %s goes to \"%s\", and this file has no pool of that "
				  "name; write the name of a pool of this file",
				  m->name, m->pool);
	else if (to->reach != p->reach || to->in_pods != p->in_pods)
		yaml_report_error(
			r, m->line, m->column,
			"models: %s goes to pool %s, whose endpoints have %s, and those of %s have "
			"%s; name a pool whose endpoints are reached in the same way",
			m->name, m->pool, config_reached(to), pool_label(p), config_reached(p));
	else if (p->allow_count && !to->allow_count)
		yaml_report_warning(r, m->line, m->column,
				    "models: %s goes to pool %s, which says of nobody that he may "
				    "not connect, as %s does; write access for %s, too",
				    m->name, m->pool, pool_label(p), m->pool);
	else if (to->mode == PINTLE_MODE_OFF && p->mode != PINTLE_MODE_OFF)
		yaml_report_warning(
			r, m->line, m->column,
			"models: %s goes to pool %s, which has mode off, so that its "
			"requests are reset where nothing else listens at the frontend; "
			"write mode: baseline for %s to serve them without the rule",
			m->name, m->pool, m->pool);
}

static void models_check_twice(const struct config_pool *p, size_t i, struct yaml_report *r)
{
	const struct config_model *m = &p->models[i], *first = config_model_named(p, m->name);

	if (first != m)
		yaml_report_error(r, m->line, m->column,
				  "models has %s in line %d already; write each name once", m->name,
				  first->line);
}

void config_models_check(const struct config *c, const struct config_pool *p,
			 const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *models = yaml_node_get(n, "models");

	if (!models || !p->model_count)
		return;
	if (p->decide != PINTLE_DECIDE_REQUEST) {
		yaml_report_error(r, models->line, models->column,
				  "models needs requests, but connections are decided before one "
				  "comes; write decide: request, or remove models");
		return;
	}
	for (size_t i = 0; i < p->model_count; i++) {
		models_check_twice(p, i, r);
		models_check_pool(c, p, &p->models[i], r);
	}
	if (!config_serves_models_of(p, p))
		yaml_report_warning(r, models->line, models->column,
				    "models sends every request to other pools, so that the "
				    "endpoints of %s get none; send some to %s, too",
				    pool_label(p), pool_label(p));
	if (!config_model_named(p, "default"))
		yaml_report_warning(
			r, models->line, models->column,
			"models has no default, so that a request whose model cannot be seen "
			"gets 404, as it does where a client writes the model behind a long "
			"prompt; write default: %s, too, unless that is meant",
			pool_label(p));
}

void config_models_check_all(const struct config *c, const struct yaml_node *pools,
			     struct yaml_report *r)
{
	const struct yaml_node *n = yaml_node_at(pools, 0);
	size_t count = 0;

	for (size_t i = 0; i < c->pool_count; i++, n = n->next) {
		const struct yaml_node *models = yaml_node_get(n, "models");

		if (count <= PINTLE_MAX_MODELS &&
		    count + c->pools[i].model_count > PINTLE_MAX_MODELS)
			yaml_report_error(r, models->line, models->column,
					  "models of all pools have more than %d names together; "
					  "remove some",
					  PINTLE_MAX_MODELS);
		count += c->pools[i].model_count;
	}
}
