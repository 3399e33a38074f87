/* SPDX-License-Identifier: Apache-2.0 */
/* config_facts.c - what checks, derived defaults and messages ask a configuration for. */
#include "config_internal.h"

const struct config_pool *config_pool_named(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].name && !strcmp(c->pools[i].name, name))
			return &c->pools[i];
	return NULL;
}

const char *config_reached(const struct config_pool *p)
{
	if (p->in_pods)
		return "address and decide: request";
	return p->reach == PINTLE_REACH_LISTENER ? "listen" : "address";
}

const char *config_reached_else(const struct config_pool *p)
{
	return p->in_pods ? "address and decide: connection" : "address";
}

bool config_serves_models_of(const struct config_pool *p, const struct config_pool *of)
{
	for (size_t i = 0; p->name && i < of->model_count; i++)
		if (!strcmp(of->models[i].pool, p->name))
			return true;
	return false;
}

const char *config_query(const char *url, const char *name)
{
	size_t length = strlen(name);

	for (const char *p = strchr(url, '?'); p; p = strchr(p, '&'))
		if (!strncmp(++p, name, length) && p[length] == '=')
			return p + length + 1;
	return NULL;
}

const char *pool_label(const struct config_pool *p)
{
	return p->name ? p->name : "?";
}

const char *endpoint_label(const struct config_endpoint *e)
{
	return e->name ? e->name : "?";
}

const char *config_place(int line, char buf[CONFIG_PLACE_SIZE])
{
	if (line > 0)
		snprintf(buf, CONFIG_PLACE_SIZE, "line %d", line);
	else
		snprintf(buf, CONFIG_PLACE_SIZE, "the cluster");
	return buf;
}
