/* SPDX-License-Identifier: Apache-2.0 */
/* config_access.c - the rules that say who may connect to a pool. */
#include "config_internal.h"

static const struct yaml_node *rules_of(const struct yaml_node *pool)
{
	return yaml_node_get(yaml_node_get(pool, "access"), "allow");
}

void config_access_derive(struct config *c, const struct yaml_node *root)
{
	const struct yaml_node *n = yaml_node_at(yaml_node_get(root, "pools"), 0);

	for (size_t i = 0; i < c->pool_count; i++, n = n->next) {
		const struct yaml_node *rule = yaml_node_at(rules_of(n), 0);

		for (size_t j = 0; j < c->pools[i].allow_count; j++, rule = rule->next) {
			c->pools[i].allowed[j].has_source = yaml_node_get(rule, "source");
			c->pools[i].allowed[j].dscp = -1; /* the client would choose it */
		}
	}
}

/* Users of systemd may make cgroups below a slice of their own: `*` would match these, too. */
static void check_pattern(const struct config_rule *rule, const struct yaml_node *n,
			  struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "cgroup", NULL);

	if (rule->cgroup && rule->cgroup[0] == '*')
		yaml_report_warning(r, place->line, place->column,
				    "a local user may make a cgroup that matches %s, and so may "
				    "connect; write the path from / on",
				    rule->cgroup);
}

void config_access_check(const struct config_pool *p, const struct yaml_node *n,
			 struct yaml_report *r)
{
	const struct yaml_node *rule = yaml_node_at(rules_of(n), 0);

	for (size_t i = 0; i < p->allow_count; i++, rule = rule->next) {
		if (rule->kind != YAML_MAP)
			continue;
		config_rule_check(p, &p->allowed[i], rule, r);
		check_pattern(&p->allowed[i], rule, r);
		config_access_check_covered(p, &p->allowed[i], rule, r);
		if (!rule->first)
			yaml_report_error(r, rule->line, rule->column,
					  "this rule lets everybody in; write who may connect: "
					  "source, port, namespace, serviceAccount or cgroup");
	}
}

void config_access_free(struct config_pool *p)
{
	config_rules_free(p->allowed, p->allow_count);
}
