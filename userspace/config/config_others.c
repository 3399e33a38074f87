/* SPDX-License-Identifier: Apache-2.0 */
/* config_others.c - the other pools to which a pool's connections may go: its canary, and its
 * fallbacks. */
#include "config_internal.h"
#include "../base/util.h"
#include "../maps/names.h"
#include "rule/tiers.bpf.h"

const char *config_other_name(const struct config_pool *p, size_t i)
{
	if (i == PINTLE_OTHER_CANARY)
		return p->canary;
	return i - PINTLE_OTHER_FALLBACK < p->fallback_count
		       ? p->fallbacks[i - PINTLE_OTHER_FALLBACK].name
		       : NULL;
}

/* `key` is the one that names the other pool, and `place` its node. */
static void check_other(const struct config *c, const struct config_pool *p, const char *name,
			const char *key, const struct yaml_node *place, struct yaml_report *r)
{
	const struct config_pool *other = name[0] ? config_pool_named(c, name) : NULL;

	if (!name[0]) /* it was refused */
		return;
	if (other == p)
		yaml_report_error(r, place->line, place->column,
				  "%s is the pool itself; write the name of another pool", key);
	else if (!other || other->line <= 0)
		yaml_report_error(r, place->line, place->column,
				  "%s is \"%s\", and this file has no pool of that name; write the "
				  "name of another pool of this file",
				  key, name);
	else if (p->endpoint_count && other->endpoint_count &&
		 (other->decided_by != p->decided_by || other->in_pods != p->in_pods))
		yaml_report_error(
			r, place->line, place->column,
			"%s is pool %s, whose endpoints have %s, and those of %s have %s; name a "
			"pool whose endpoints are reached in the same way",
			key, name, config_reached(other), pool_label(p), config_reached(p));
	else if (p->mode != PINTLE_MODE_OFF &&
		 !tier_mode_takes(other->mode, p->mode == PINTLE_MODE_SHADOW))
		yaml_report_warning(
			r, place->line, place->column,
			"%s is pool %s, which takes nothing of others in mode %s; write "
			"mode: enforce there",
			key, name, mode_name(other->mode));
}

static void check_fallbacks(const struct config *c, const struct config_pool *p,
			    const struct yaml_node *list, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_at(list, 0);

	for (size_t i = 0; i < p->fallback_count; i++, place = place->next) {
		const char *name = p->fallbacks[i].name;

		check_other(c, p, name, "fallback", place, r);
		for (size_t j = 0; j < i && name[0]; j++)
			if (!strcmp(name, p->fallbacks[j].name)) {
				yaml_report_error(r, place->line, place->column,
						  "fallback names %s twice; write each pool once",
						  name);
				break;
			}
	}
}

/* A class can spill only where there is another pool. */
static void check_spills(const struct config_pool *p, const struct yaml_node *n,
			 struct yaml_report *r)
{
	const struct yaml_node *class = yaml_node_at(yaml_node_get(n, "classes"), 0);

	for (size_t i = 0; i < p->class_count && !p->fallback_count; i++, class = class->next) {
		const struct yaml_node *place = yaml_node_towards(class, "admission", NULL);

		if (p->classes[i].admission == PINTLE_ADMISSION_SPILL)
			yaml_report_error(r, place->line, place->column,
					  "admission is spill, and the pool has no fallback; write "
					  "fallback, or admission: refuse");
	}
}

bool config_is_other(const struct config *c, const struct config_pool *p)
{
	for (size_t i = 0; i < c->pool_count; i++) {
		if (&c->pools[i] != p && config_serves_models_of(p, &c->pools[i]))
			return true;
		for (size_t j = 0; j < PINTLE_MAX_OTHERS; j++) {
			const char *name = config_other_name(&c->pools[i], j);

			if (name && p->name && &c->pools[i] != p && !strcmp(name, p->name))
				return true;
		}
	}
	return false;
}

static void config_others_check_reached(const struct config *c, const struct config_pool *p,
					const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *list = yaml_node_get(n, "frontends");

	if (list && list->kind == YAML_LIST && !list->count && p->name && !config_is_other(c, p))
		yaml_report_error(r, list->line, list->column,
				  "frontends is empty, and the pool is no canary and no fallback "
				  "of another, and serves none of its models; write at least one");
}

void config_others_check(const struct config *c, const struct config_pool *p,
			 const struct yaml_node *n, struct yaml_report *r)
{
	check_fallbacks(c, p, yaml_node_get(n, "fallback"), r);
	if (p->canary)
		check_other(c, p, p->canary, "canary.pool", yaml_node_towards(n, "canary", "pool"),
			    r);
	check_spills(p, n, r);
	config_others_check_reached(c, p, n, r);
}

void config_others_free(struct config_pool *p)
{
	free(p->fallbacks);
	free(p->canary);
}
