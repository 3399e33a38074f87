/* SPDX-License-Identifier: Apache-2.0 */
/* config_tenants.c - what makes a pool's tenants, and what each may have. */
#include "config_internal.h"
#include "traits.bpf.h"
#include "../base/util.h"
#include "../maps/names.h"
#include "../base/text.h"

/* A prefix without a length is one address. */
static bool source_key(const char *text, struct pintle_session_key *out)
{
	char with_port[ADDR_TEXT_SIZE];
	struct frontend_addr f;

	snprintf(with_port, sizeof(with_port), strchr(text, ':') ? "[%.48s]:1" : "%.48s:1", text);
	if (addr_parse_frontend(with_port, &f, NULL))
		return false;
	out->prefix_bits = f.prefix_bits;
	memcpy(out->id, f.prefix.bytes, sizeof(out->id));
	return true;
}

bool config_tenant_key(const struct config_pool *p, const char *tenant,
		       struct pintle_session_key *out)
{
	struct pintle_session_key key = {.kind = p->tenants.kind, .prefix_bits = 128};
	const uint64_t id[2] = {1, client_id(tenant)};

	if (key.kind == PINTLE_KEY_SOURCE) {
		if (!source_key(tenant, &key))
			return false;
	} else {
		memcpy(key.id, id, sizeof(key.id));
	}
	*out = key;
	return true;
}

/* The bits of an address of this family that make a tenant. */
static unsigned int bits_of(const struct config_tenants *t, const struct pintle_session_key *key)
{
	struct addr ip;

	memcpy(ip.bytes, key->id, sizeof(ip.bytes));
	return addr_is_v4(&ip) ? 96U + t->bits_v4 : t->bits_v6;
}

static void check_tenant(const struct config_pool *p, const char *tenant, const struct yaml_node *n,
			 struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "tenant", NULL);
	struct pintle_session_key key;

	if (p->tenants.kind == PINTLE_KEY_ACCOUNT && !strchr(tenant, '/'))
		yaml_report_error(r, place->line, place->column,
				  "tenant is \"%s\", which is no service account; write "
				  "NAMESPACE/NAME",
				  tenant);
	if (p->tenants.kind != PINTLE_KEY_SOURCE)
		return;
	if (!config_tenant_key(p, tenant, &key))
		yaml_report_error(r, place->line, place->column,
				  "tenant is \"%s\", which is no address, and no prefix of "
				  "addresses; write one, such as 10.9.0.7",
				  tenant);
	else if (key.prefix_bits != bits_of(&p->tenants, &key))
		yaml_report_error(r, place->line, place->column,
				  "tenant %s is longer or shorter than a tenant, which has /%u "
				  "(IPv4) or /%u (IPv6); write one of that length, or another `by`",
				  tenant, p->tenants.bits_v4, p->tenants.bits_v6);
}

/* A tenant has one quota. */
static void config_tenants_check_twice(const struct config_pool *p, size_t i,
				       const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "tenant", NULL);
	const struct config_tenant_rule *rules = p->tenants.rules;
	struct pintle_session_key key, other;

	if (!config_tenant_key(p, rules[i].tenant, &key))
		return;
	for (size_t j = 0; j < i; j++)
		if (rules[j].tenant && config_tenant_key(p, rules[j].tenant, &other) &&
		    !memcmp(&key, &other, sizeof(key))) {
			yaml_report_error(r, place->line, place->column,
					  "tenant %s has a rule already; write each tenant once",
					  rules[i].tenant);
			return;
		}
}

/* ---- by cgroup -------------------------------------------------------------------------- */

static bool is_path(const struct config_pool *p, const char *tenant)
{
	return p->tenants.kind == PINTLE_KEY_CGROUP && tenant && *tenant == '/';
}

static bool is_client(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->client_count; i++)
		if (c->clients[i].name && !strcmp(c->clients[i].name, name))
			return true;
	return false;
}

/* The path is the client's name, too. */
static int add_client(struct config *c, const char *path)
{
	struct config_client one = {.name = strdup(path), .cgroup = strdup(path), .steer = true};
	struct config_client *more =
		reallocarray(c->clients, c->client_count + 1, sizeof(*c->clients));

	if (more)
		c->clients = more;
	if (!more || !one.name || !one.cgroup) {
		free(one.name);
		free(one.cgroup);
		return -ENOMEM;
	}
	c->clients[c->client_count++] = one;
	return 0;
}

/* Policies are written by users of the cluster, who are not to name all that runs on a node. */
static bool may_have_path(const struct config_pool *p)
{
	return p->line > 0;
}

static int derive_clients(struct config *c, const struct config_pool *p)
{
	int err = 0;

	for (size_t i = 0; !err && i < p->tenants.rule_count; i++) {
		const char *tenant = p->tenants.rules[i].tenant;

		if (is_path(p, tenant) && may_have_path(p) && !is_client(c, tenant) &&
		    strlen(tenant) < PINTLE_CLIENT_NAME_SIZE && c->client_count < CONFIG_CLIENTS)
			err = add_client(c, tenant);
	}
	return err;
}

int config_tenants_derive(struct config *c)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = derive_clients(c, &c->pools[i]);
	return err;
}

/* Whether the pattern matches all that `path`, which may be a pattern, does. May miss that it does:
 * of patterns, those with * alone are compared. */
static bool config_tenants_covers(const char *pattern, const char *path)
{
	return !strcmp(pattern, path) || (text_matches(pattern, path) &&
					  (!strpbrk(path, "*?[") || !strpbrk(pattern, "?[\\")));
}

static void check_first(const struct config *c, const char *path, const struct yaml_node *place,
			struct yaml_report *r)
{
	const struct config_client *first = c->clients;

	while (!first->cgroup || !first->name || !config_tenants_covers(first->cgroup, path))
		first++;
	if (!strcmp(first->name, path))
		return;
	if (first->name[0] == '/')
		yaml_report_warning(
			r, place->line, place->column,
			"the rule is nobody's, because %s is a tenant by a rule before, "
			"%s; write that one after this",
			path, first->name);
	else
		yaml_report_warning(r, place->line, place->column,
				    "the rule is nobody's, because %s is %s by clients; write %s",
				    path, first->name, first->name);
}

static void check_path(const struct config *c, const struct config_pool *p, const char *path,
		       const struct yaml_node *place, struct yaml_report *r)
{
	if (!may_have_path(p))
		yaml_report_error(
			r, place->line, place->column,
			"tenant is \"%s\", a path, which is for a node's file; write a name "
			"in clients of that file",
			path);
	else if (strlen(path) >= PINTLE_CLIENT_NAME_SIZE)
		yaml_report_error(
			r, place->line, place->column,
			"tenant is \"%s\", a path of more than %d bytes; name that cgroup in "
			"clients, as in {name: batch, cgroup: %s}, and write the name",
			path, PINTLE_CLIENT_NAME_SIZE - 1, path);
	else if (!is_client(c, path))
		yaml_report_error(
			r, place->line, place->column,
			"tenant %s is one too many, because clients and paths of tenants are %d at "
			"most, together; write a pattern that means several",
			path, CONFIG_CLIENTS);
	else
		check_first(c, path, place, r);
}

/* Names of pods have a slash within: pintled gives them. */
static void check_client(const struct config *c, const struct config_pool *p, const char *tenant,
			 const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "tenant", NULL);

	if (is_path(p, tenant))
		check_path(c, p, tenant, place, r);
	else if (p->tenants.kind == PINTLE_KEY_CGROUP && !strchr(tenant, '/') &&
		 !is_client(c, tenant))
		yaml_report_warning(
			r, place->line, place->column,
			"the rule is nobody's, because clients has no %s; write the name of an "
			"entry of clients",
			tenant);
}

/* ---- the check -------------------------------------------------------------------------- */

/* What tells tenants apart must be something that clients cannot choose. */
static bool may_be_by(const struct config_pool *p)
{
	uint32_t kind = p->tenants.kind;

	return hook_sees(p->decided_by, kind) &&
	       (kind == PINTLE_KEY_SOURCE || kind == PINTLE_KEY_CGROUP ||
		kind == PINTLE_KEY_NAMESPACE || kind == PINTLE_KEY_ACCOUNT);
}

static void check_quota(const struct config_quota *q, const struct yaml_node *n,
			struct yaml_report *r)
{
	const struct yaml_node *burst = yaml_node_get(n, "burst");

	if (n && n->kind == YAML_MAP && burst && !q->interval_ns)
		yaml_report_warning(r, burst->line, burst->column,
				    "burst has no effect without rate; write rate, such as 10/s");
}

static void config_tenants_check_rule(const struct config *c, const struct config_pool *p, size_t i,
				      const struct yaml_node *n, struct yaml_report *r)
{
	const char *tenant = p->tenants.rules[i].tenant;

	check_quota(&p->tenants.rules[i].quota, n, r);
	if (!tenant)
		return;
	check_tenant(p, tenant, n, r);
	config_tenants_check_twice(p, i, n, r);
	check_client(c, p, tenant, n, r);
}

void config_tenants_check(const struct config *c, const struct config_pool *p,
			  const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *tenants = yaml_node_get(n, "tenants");
	const struct yaml_node *by = yaml_node_towards(n, "tenants", "by");
	const struct yaml_node *rule = yaml_node_at(yaml_node_get(tenants, "rules"), 0);

	if (!tenants || tenants->kind != YAML_MAP || !by || by->kind != YAML_SCALAR ||
	    (!p->tenants.kind && strcmp(by->text, key_name(PINTLE_KEY_NONE)) != 0))
		return; /* `by` was refused */
	if (!may_be_by(p)) {
		yaml_report_error(r, by->line, by->column,
				  "tenants.by is %s, which tells no tenants apart for endpoints "
				  "with %s; write %s",
				  key_name(p->tenants.kind), config_reached(p),
				  p->reach == PINTLE_REACH_LISTENER
					  ? "source, source/V4BITS or source/V4BITS/V6BITS"
					  : "one of source, cgroup, namespace, serviceAccount");
		return;
	}
	check_quota(&p->tenants.each, tenants, r);
	for (size_t i = 0; i < p->tenants.rule_count; i++, rule = rule->next)
		config_tenants_check_rule(c, p, i, rule, r);
}

void config_tenants_free(struct config_pool *p)
{
	for (size_t i = 0; i < p->tenants.rule_count; i++)
		free(p->tenants.rules[i].tenant);
	free(p->tenants.rules);
}
