/* SPDX-License-Identifier: Apache-2.0 */
/* config_classes.c - the classes of a pool, and the rules that say which connections are whose. */
#include "config_internal.h"
#include "../policy/classify_names.h"
#include "traits.bpf.h"
#include "../base/util.h"

static void derive_class(struct config_class *k, const struct yaml_node *n)
{
	const struct yaml_node *rule = yaml_node_at(yaml_node_get(n, "rules"), 0);

	if (!yaml_node_get(n, "maxExtraLoad"))
		k->max_extra_load = CONFIG_EXTRA_POOL;
	for (size_t i = 0; i < k->rule_count; i++, rule = rule->next)
		k->rules[i].has_source = yaml_node_get(rule, "source");
}

/* Whether the list stood there as the word `auto`. */
static bool is_auto(const struct yaml_node *classes)
{
	return classes && classes->kind == YAML_LIST && classes->text;
}

void config_classes_derive(struct config *c, const struct yaml_node *root)
{
	const struct yaml_node *n = yaml_node_at(yaml_node_get(root, "pools"), 0);

	for (size_t i = 0; i < c->pool_count; i++, n = n->next) {
		const struct yaml_node *classes = yaml_node_get(n, "classes");
		const struct yaml_node *class = yaml_node_at(classes, 0);

		for (size_t j = 0; j < c->pools[i].class_count; j++, class = class->next)
			derive_class(&c->pools[i].classes[j], class);
		if (is_auto(classes) && !yaml_node_get(n, "classify"))
			c->pools[i].classify = true;
	}
}

/* What a hook must see of a client to judge a rule's key. DSCP is, like a hint, an option of the
 * client's socket. */
static const struct {
	const char *name;
	uint32_t sees; /* enum pintle_key */
} judged[] = {
	{"source", PINTLE_KEY_SOURCE},
	{"namespace", PINTLE_KEY_NAMESPACE},
	{"serviceAccount", PINTLE_KEY_ACCOUNT},
	{"cgroup", PINTLE_KEY_CGROUP},
	{"dscp", PINTLE_KEY_HINT},
	{"trustHints", PINTLE_KEY_HINT},
};

static void check_seen(const struct config_pool *p, const struct yaml_node *n,
		       struct yaml_report *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(judged); i++) {
		const struct yaml_node *place = yaml_node_get(n, judged[i].name);

		if (place && !hook_sees(p->decided_by, judged[i].sees))
			yaml_report_error(
				r, place->line, place->column,
				"%s is for endpoints with address: clients of endpoints with "
				"listen may be on other nodes; write source or port",
				judged[i].name);
	}
}

static bool has_port(const struct config_pool *p, int port)
{
	for (size_t i = 0; i < p->frontend_count; i++)
		if (p->frontends[i].port == port)
			return true;
	return false;
}

/* Reports a rule that matches nobody. */
static void check_matches(const struct config_pool *p, const struct config_rule *rule,
			  const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *port = yaml_node_towards(n, "port", NULL);
	const struct yaml_node *account = yaml_node_towards(n, "serviceAccount", NULL);
	size_t length = rule->space ? strlen(rule->space) : 0;

	if (rule->space && rule->account &&
	    (strncmp(rule->account, rule->space, length) != 0 || rule->account[length] != '/'))
		yaml_report_error(r, account->line, account->column,
				  "no client is of service account %s and of namespace %s; remove "
				  "one of them",
				  rule->account, rule->space);
	if (rule->port && p->intercept == INTERCEPT_NONE && !has_port(p, rule->port))
		yaml_report_warning(r, port->line, port->column,
				    "the rule matches nobody, because no frontend of the pool has "
				    "port %d; write a frontend's port",
				    rule->port);
}

static bool names_clients(const struct config_rule *rule)
{
	return rule->has_source || rule->space || rule->account || rule->cgroup;
}

static void check_trust(const struct config_rule *rule, const struct yaml_node *n,
			struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "trustHints", NULL);

	if (rule->hints_trusted && rule->dscp >= 0 && !names_clients(rule))
		yaml_report_warning(r, place->line, place->column,
				    "every client may set this DSCP, and is trusted then; say who "
				    "is: source, namespace, serviceAccount or cgroup");
}

void config_rule_check(const struct config_pool *p, const struct config_rule *rule,
		       const struct yaml_node *n, struct yaml_report *r)
{
	check_seen(p, n, r);
	check_matches(p, rule, n, r);
}

static void check_rule(const struct config_pool *p, const struct config_rule *rule,
		       const struct yaml_node *n, struct yaml_report *r)
{
	if (n->kind != YAML_MAP)
		return;
	config_rule_check(p, rule, n, r);
	check_trust(rule, n, r);
	if (!rule->has_source && !yaml_node_get(n, "port") && !yaml_node_get(n, "namespace") &&
	    !yaml_node_get(n, "serviceAccount") && !yaml_node_get(n, "cgroup") &&
	    !yaml_node_get(n, "dscp"))
		yaml_report_error(r, n->line, n->column,
				  "this rule matches every connection; write which it is for: "
				  "source, port, namespace, serviceAccount, cgroup or dscp");
}

static void check_name(const struct config_pool *p, size_t i, const struct yaml_node *n,
		       struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "name", NULL);

	for (size_t j = 0; j < i && p->classes[i].name; j++)
		if (p->classes[j].name && !strcmp(p->classes[i].name, p->classes[j].name)) {
			yaml_report_error(
				r, place->line, place->column,
				"the class of line %d has the name \"%s\" already; choose another",
				p->classes[j].line, p->classes[i].name);
			return;
		}
}

bool config_class_bounded(const struct config_pool *p, const struct config_class *k)
{
	for (size_t i = 0; i < p->class_count; i++)
		if (p->classes[i].reserve.number && p->classes[i].priority > k->priority)
			return true;
	return k->limit > 0 || k->connections || k->pool_connections;
}

static void check_limit(const struct config_pool *p, const struct config_class *k,
			const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "admission", NULL);

	if (!config_class_bounded(p, k) && k->admission != PINTLE_ADMISSION_PROCEED)
		yaml_report_warning(r, place->line, place->column,
				    "admission has no effect, because no endpoint can be full for "
				    "the class; write limit, the load from which on one is, or "
				    "connections");
}

static bool has_lower(const struct config_pool *p, int priority)
{
	for (size_t i = 0; i < p->class_count; i++)
		if (p->classes[i].priority < priority)
			return true;
	return false;
}

/* In a cluster endpoints come and go, so the daemon reserves what there is. */
static void check_reserve(const struct config_pool *p, const struct yaml_node *classes,
			  struct yaml_report *r)
{
	const struct yaml_node *class = yaml_node_at(classes, 0), *place = NULL;
	size_t n = 0;

	for (size_t i = 0; i < p->class_count; i++, class = class->next) {
		const struct config_reserve *v = &p->classes[i].reserve;

		if (!v->number)
			continue;
		place = yaml_node_towards(class, "reserve", NULL);
		n += v->percent ? (v->number * p->endpoint_count + 99) / 100 : v->number;
		if (!has_lower(p, p->classes[i].priority))
			yaml_report_warning(r, place->line, place->column,
					    "reserve has no effect, because no class has a lower "
					    "priority; write priority: -1 of the other classes");
	}
	if (n && n >= p->endpoint_count && p->line > 0 && !config_has_hosts(p))
		yaml_report_error(r, place->line, place->column,
				  "%zu endpoint%s would be reserved, of %zu, so that none would "
				  "be left for classes of lower priority; reserve fewer",
				  n, plural(n), p->endpoint_count);
}

static bool has_class_of_behaviour(const struct config_pool *p)
{
#define X(symbol, name) name,
	static const char *const names[] = {CLASSIFY_NAMES(X)};
#undef X

	for (size_t i = 0; i < p->class_count; i++)
		for (size_t k = 0; k < ARRAY_SIZE(names); k++)
			if (p->classes[i].name && !strcmp(p->classes[i].name, names[k]))
				return true;
	return false;
}

static void check_classify(const struct config_pool *p, const struct yaml_node *n,
			   struct yaml_report *r)
{
	const struct yaml_node *classes = yaml_node_get(n, "classes");
	const struct yaml_node *place = yaml_node_get(n, "classify") ?: classes;

	if (!p->classify || !place)
		return;
	if (p->stickiness.key_kind == PINTLE_KEY_NONE || !p->stickiness.ttl_ns)
		yaml_report_error(r, place->line, place->column,
				  "the pool keeps no sessions that could be classified; write "
				  "stickiness.key and a ttl, or classify: false");
	if (!p->follow)
		yaml_report_error(r, place->line, place->column,
				  "sessions are classified by their requests, which are not "
				  "followed; remove follow: false, or write classify: false");
	if (!has_class_of_behaviour(p) && p->class_count == (classes ? classes->count : 0))
		yaml_report_warning(
			r, place->line, place->column,
			"classify has no effect, because the pool has none of the classes "
			"interactive, agent and batch; write classes: auto, or some of "
			"these");
}

void config_classes_check(const struct config_pool *p, const struct yaml_node *n,
			  struct yaml_report *r)
{
	const struct yaml_node *classes = yaml_node_get(n, "classes");
	const struct yaml_node *class = yaml_node_at(classes, 0);
	size_t rules = 0;

	for (size_t i = 0; i < p->class_count; i++, class = class->next) {
		const struct yaml_node *rule = yaml_node_at(yaml_node_get(class, "rules"), 0);

		check_name(p, i, class, r);
		check_limit(p, &p->classes[i], class, r);
		for (size_t j = 0; j < p->classes[i].rule_count; j++, rule = rule->next)
			check_rule(p, &p->classes[i].rules[j], rule, r);
		rules += p->classes[i].rule_count;
	}
	check_reserve(p, classes, r);
	if (rules > PINTLE_MAX_RULES)
		yaml_report_error(r, classes->line, classes->column,
				  "the classes have %zu rules together; a pool has room for %d",
				  rules, PINTLE_MAX_RULES);
	check_classify(p, n, r);
	/* Only the pool's own key: check_rule() has seen those of rules. */
	class = yaml_node_get(n, "trustHints");
	if (p->hints_trusted && class && !hook_sees(p->decided_by, PINTLE_KEY_HINT))
		yaml_report_error(r, class->line, class->column,
				  "trustHints is for endpoints with address: clients of endpoints "
				  "with listen may be on other nodes; remove it");
	else if (p->hints_trusted && class && p->class_count < 2)
		yaml_report_warning(r, class->line, class->column,
				    "trustHints has no effect, because there are no classes to be "
				    "raised to; write classes");
}

static bool any_of_pods(const struct config_rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rules[i].has_source || rules[i].space || rules[i].account)
			return true;
	return false;
}

bool config_rules_of_pods(const struct config_pool *p)
{
	if (!hook_sees(p->decided_by, PINTLE_KEY_NAMESPACE))
		return false;
	if (p->tenants.kind)
		return true;
	for (size_t i = 0; i < p->class_count; i++)
		if (any_of_pods(p->classes[i].rules, p->classes[i].rule_count))
			return true;
	return any_of_pods(p->allowed, p->allow_count);
}

void config_rules_free(struct config_rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(rules[i].space);
		free(rules[i].account);
		free(rules[i].cgroup);
	}
	free(rules);
}

void config_classes_free(struct config_pool *p)
{
	for (size_t i = 0; i < p->class_count; i++) {
		struct config_class *k = &p->classes[i];

		config_rules_free(k->rules, k->rule_count);
		free(k->name);
	}
	free(p->classes);
}
