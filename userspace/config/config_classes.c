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
				"%s is for endpoints with %s: clients of endpoints with %s may be "
				"on other nodes; write source or port",
				judged[i].name, config_reached_else(p), config_reached(p));
	}
}

static bool classes_has_port(const struct config_pool *p, int port)
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
	if (rule->port && p->intercept == INTERCEPT_NONE && !classes_has_port(p, rule->port))
		yaml_report_warning(r, port->line, port->column,
				    "the rule matches nobody, because no frontend of the pool has "
				    "port %d; write a frontend's port",
				    rule->port);
}

static bool has_family(const struct config_pool *p, bool v4)
{
	for (size_t i = 0; i < p->frontend_count; i++)
		if (addr_is_v4(&p->frontends[i].prefix) == v4)
			return true;
	return false;
}

/* The same by its addresses: a client of the one family connects to frontends of that family. */
static void classes_check_family(const struct config_pool *p, const struct config_rule *rule,
				 const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *source = yaml_node_towards(n, "source", NULL);
	bool v4 = addr_is_v4(&rule->source.prefix);

	/* A source that was refused has no bits. */
	if (!rule->has_source || !rule->source.prefix_bits || !p->frontend_count || p->line <= 0 ||
	    p->intercept != INTERCEPT_NONE || has_family(p, v4))
		return;
	yaml_report_warning(
		r, source->line, source->column,
		"the rule matches nobody, because the pool has no %s frontend; write one, "
		"or remove the rule",
		v4 ? "IPv4" : "IPv6");
}

static bool classes_names_clients(const struct config_rule *rule)
{
	return rule->has_source || rule->space || rule->account || rule->cgroup;
}

static void check_trust(const struct config_rule *rule, const struct yaml_node *n,
			struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "trustHints", NULL);

	if (rule->hints_trusted && rule->dscp >= 0 && !classes_names_clients(rule))
		yaml_report_warning(r, place->line, place->column,
				    "every client may set this DSCP, and is trusted then; say who "
				    "is: source, namespace, serviceAccount or cgroup");
}

void config_rule_check(const struct config_pool *p, const struct config_rule *rule,
		       const struct yaml_node *n, struct yaml_report *r)
{
	check_seen(p, n, r);
	check_matches(p, rule, n, r);
	classes_check_family(p, rule, n, r);
}

/* ---- rules that are tried in vain ------------------------------------------ */

static bool classes_is_same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

/* A source that was refused has no bits. */
static bool source_covers(const struct config_rule *a, const struct config_rule *b)
{
	const struct frontend_addr *x = &a->source, *y = &b->source;

	return !a->has_source ||
	       (b->has_source && x->prefix_bits && x->prefix_bits <= y->prefix_bits &&
		addr_is_v4(&x->prefix) == addr_is_v4(&y->prefix) &&
		addr_prefixes_overlap(&x->prefix, x->prefix_bits, &y->prefix, y->prefix_bits));
}

/* A service account is of a namespace. */
static bool space_covers(const struct config_rule *a, const struct config_rule *b)
{
	size_t length = a->space ? strlen(a->space) : 0;

	return !a->space || classes_is_same(a->space, b->space) ||
	       (b->account && !strncmp(a->space, b->account, length) && b->account[length] == '/');
}

/* A rule that says nothing is refused. */
static bool says_something(const struct config_rule *rule)
{
	return classes_names_clients(rule) || rule->port || rule->dscp >= 0;
}

static bool rule_covers(const struct config_rule *a, const struct config_rule *b)
{
	return says_something(a) && source_covers(a, b) && space_covers(a, b) &&
	       (!a->port || a->port == b->port) && (a->dscp < 0 || a->dscp == b->dscp) &&
	       (!a->account || classes_is_same(a->account, b->account)) &&
	       (!a->cgroup || classes_is_same(a->cgroup, b->cgroup));
}

/* The first of the rules that covers `rule`, which is among them or behind them; NULL: none does.
 */
static const struct config_rule *covering(const struct config_rule *rules, size_t count,
					  const struct config_rule *rule)
{
	for (size_t i = 0; i < count && &rules[i] != rule; i++)
		if (rule_covers(&rules[i], rule))
			return &rules[i];
	return NULL;
}

/* Whether the rule says what the pool's hook cannot judge: check_seen(). */
static bool is_refused(const struct config_pool *p, const struct config_rule *rule)
{
	return !hook_sees(p->decided_by, PINTLE_KEY_NAMESPACE) &&
	       (rule->space || rule->account || rule->cgroup || rule->dscp >= 0);
}

static bool classes_is_of(const struct config_class *k, const struct config_rule *rule)
{
	return k->rule_count && rule >= k->rules && rule < k->rules + k->rule_count;
}

/* The first rule that matches decides, whatever class it is of. A rule for a DSCP alone does not
 * end the search for those without one, and covers none of these. */
static void check_tried(const struct config_pool *p, const struct config_rule *rule,
			const struct yaml_node *n, struct yaml_report *r)
{
	const struct config_rule *first = NULL;

	if (is_refused(p, rule))
		return;
	for (size_t i = 0; i < p->class_count && !first; i++) {
		const struct config_class *k = &p->classes[i];

		first = covering(k->rules, k->rule_count, rule);
		if (classes_is_of(k, rule))
			break;
	}
	if (first)
		yaml_report_warning(r, n->line, n->column,
				    "this rule decides nothing, because the rule of line %d is "
				    "tried before and matches the same clients; remove this one, "
				    "or narrow that one",
				    first->line);
}

void config_access_check_covered(const struct config_pool *p, const struct config_rule *rule,
				 const struct yaml_node *n, struct yaml_report *r)
{
	const struct config_rule *first = covering(p->allowed, p->allow_count, rule);

	if (first && !is_refused(p, rule))
		yaml_report_warning(r, n->line, n->column,
				    "this rule lets nobody in whom the rule of line %d does not "
				    "let in; remove one of them",
				    first->line);
}

static void classes_check_rule(const struct config_pool *p, const struct config_rule *rule,
			       const struct yaml_node *n, struct yaml_report *r)
{
	if (n->kind != YAML_MAP)
		return;
	config_rule_check(p, rule, n, r);
	check_tried(p, rule, n, r);
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

/* Whether the classifier may find the class. */
static bool is_of_behaviour(const struct config_class *k)
{
#define X(symbol, name) name,
	static const char *const names[] = {CLASSIFY_NAMES(X)};
#undef X

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (k->name && !strcmp(k->name, names[i]))
			return true;
	return false;
}

static bool has_class_of_behaviour(const struct config_pool *p)
{
	for (size_t i = 0; i < p->class_count; i++)
		if (is_of_behaviour(&p->classes[i]))
			return true;
	return false;
}

static bool trusts_somebody(const struct config_pool *p)
{
	bool trusts = p->hints_trusted;

	for (size_t i = 0; i < p->class_count; i++)
		for (size_t j = 0; j < p->classes[i].rule_count; j++)
			trusts |= p->classes[i].rules[j].hints_trusted;
	return trusts;
}

/* Whether a hint may choose class i: it lowers a class, and a trusted one raises it, too. */
static bool is_hinted(const struct config_pool *p, size_t i)
{
	if (!hook_sees(p->decided_by, PINTLE_KEY_HINT))
		return false;
	for (size_t j = 0; j < p->class_count; j++)
		if (j != i && p->classes[i].priority <= p->classes[j].priority)
			return true;
	return trusts_somebody(p);
}

/* Connections of other pools come with a class of the same name, and an operator may classify a
 * session; but a class into which nothing else leads was hardly meant so. A pool that classes: auto
 * gave its classes has the classifier's. */
static void classes_check_reached(const struct config *c, const struct config_pool *p, size_t i,
				  const struct yaml_node *class, struct yaml_report *r)
{
	const struct config_class *k = &p->classes[i];

	if (!i || k->rule_count || (p->classify && is_of_behaviour(k)) || is_hinted(p, i) ||
	    !k->name || p->line <= 0 || config_is_other(c, p))
		return;
	yaml_report_warning(r, class->line, class->column,
			    "no rule and no hint leads to class %s, so that only `pintle classify` "
			    "puts a session there; write rules",
			    k->name);
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

void config_classes_check(const struct config *c, const struct config_pool *p,
			  const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *classes = yaml_node_get(n, "classes");
	const struct yaml_node *class = yaml_node_at(classes, 0);
	size_t rules = 0;

	for (size_t i = 0; i < p->class_count; i++, class = class->next) {
		const struct yaml_node *rule = yaml_node_at(yaml_node_get(class, "rules"), 0);

		check_name(p, i, class, r);
		check_limit(p, &p->classes[i], class, r);
		classes_check_reached(c, p, i, class, r);
		for (size_t j = 0; j < p->classes[i].rule_count; j++, rule = rule->next)
			classes_check_rule(p, &p->classes[i].rules[j], rule, r);
		rules += p->classes[i].rule_count;
	}
	check_reserve(p, classes, r);
	if (rules > PINTLE_MAX_RULES)
		yaml_report_error(r, classes->line, classes->column,
				  "the classes have %zu rules together; a pool has room for %d",
				  rules, PINTLE_MAX_RULES);
	check_classify(p, n, r);
	/* Only the pool's own key: classes_check_rule() has seen those of rules. */
	class = yaml_node_get(n, "trustHints");
	if (p->hints_trusted && class && !hook_sees(p->decided_by, PINTLE_KEY_HINT))
		yaml_report_error(r, class->line, class->column,
				  "trustHints is for endpoints with %s: clients of endpoints with "
				  "%s may be on other nodes; remove it",
				  config_reached_else(p), config_reached(p));
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
