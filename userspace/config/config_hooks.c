/* SPDX-License-Identifier: Apache-2.0 */
/* config_hooks.c - how each pool's servers are reached, which hook decides it, the defaults that
 * depend on the hook, and keys that the hook cannot serve. */
#include "config_internal.h"
#include "traits.bpf.h"
#include "../maps/names.h"
#include "../base/text.h"
#include "../base/util.h"

static const char *const reach_keys[] = {
	[PINTLE_REACH_LISTENER] = "listen",
	[PINTLE_REACH_ADDRESS] = "address",
};

/* How the endpoint is reached, by its keys; 0: it has neither key, or both. */
static uint32_t reach_of(const struct yaml_node *endpoint)
{
	bool listen = yaml_node_get(endpoint, "listen"),
	     address = yaml_node_get(endpoint, "address");

	if (listen == address)
		return 0;
	return listen ? PINTLE_REACH_LISTENER : PINTLE_REACH_ADDRESS;
}

/* How the pool's endpoints say where they are. */
static uint32_t pool_says(const struct config_pool *p)
{
	return p->in_pods ? PINTLE_REACH_ADDRESS : p->reach;
}

/* ---- the hook -------------------------------------------------------------- */

/* The first hook that reaches servers in this way. */
static uint32_t hook_for(uint32_t reach)
{
	for (uint32_t hook = 1; hook < PINTLE_HOOK_COUNT; hook++)
		if (hook_traits(hook).reaches & reach)
			return hook;
	return PINTLE_HOOK_NONE;
}

/* The word of `decide` that is the nearest to what is written; NULL: none is near. */
static const char *decide_nearest(const struct yaml_node *decide)
{
	struct text_nearest near = {.begun = true};

	for (uint32_t i = 0; decide->kind == YAML_SCALAR && i < PINTLE_DECIDE_COUNT; i++)
		text_nearest_try(&near, decide->text, decide_name(i));
	return near.best;
}

/* Whether `decide` has a word that it does not know, which is an error already. */
static bool decide_is_wrong(const struct yaml_node *n)
{
	const struct yaml_node *decide = yaml_node_get(n, "decide");
	const char *near = decide ? decide_nearest(decide) : NULL;

	return decide && (!near || strcmp(decide->text, near));
}

/* What was meant, so that the other keys of the pool are not refused for what it does not say:
 * REQUEST, because nobody needs to write the other word, unless that one is nearer. */
static uint32_t decide_meant(const struct yaml_node *decide)
{
	const char *near = decide_nearest(decide);

	return near && !strcmp(near, decide_name(PINTLE_DECIDE_CONNECTION))
		       ? PINTLE_DECIDE_CONNECTION
		       : PINTLE_DECIDE_REQUEST;
}

/* The cluster made the pool: its frontends are addresses of the cluster, its servers pods. */
static bool is_of_cluster(const struct config_pool *p)
{
	return p->line <= 0;
}

static void derive_pool(struct config_pool *p, const struct yaml_node *n)
{
	const struct yaml_node *child = yaml_node_at(yaml_node_get(n, "endpoints"), 0);

	if (decide_is_wrong(n))
		p->decide = decide_meant(yaml_node_get(n, "decide"));
	for (; child && !p->reach; child = child->next)
		p->reach = reach_of(child);
	/* A pool of a cluster may have no pod. Else it is an error, which check_endpoint() or
	 * check_empty() reports. */
	if (!p->reach)
		p->reach = is_of_cluster(p) ? PINTLE_REACH_ADDRESS : PINTLE_REACH_LISTENER;
	/* Only pods' connections come to a ClusterIP, to be steered. */
	p->splice |= is_of_cluster(p) && p->decide == PINTLE_DECIDE_REQUEST;
	/* Only the node that has the servers can hand a connection to one of them; a connection is
	 * spliced to any. */
	if (p->reach == PINTLE_REACH_ADDRESS && p->decide == PINTLE_DECIDE_REQUEST && !p->splice) {
		p->in_pods = true;
		p->reach = PINTLE_REACH_LISTENER;
	}
	p->decided_by = hook_for(p->reach);
	if (yaml_node_get(yaml_node_get(n, "stickiness"), "key"))
		return;
	if (p->decide == PINTLE_DECIDE_REQUEST)
		config_asked_agent(&p->stickiness.asked);
	p->stickiness.key_kind = hook_traits(p->decided_by).key;
	if (p->stickiness.key_kind == PINTLE_KEY_SOURCE) {
		p->stickiness.key_bits_v4 = CONFIG_KEY_BITS_V4;
		p->stickiness.key_bits_v6 = CONFIG_KEY_BITS_V6;
	}
}

/* kube-proxy serves nothing but ClusterIPs: the prefixes of SteeringPolicies are apart from those.
 */
static bool at_cluster_ips(const struct config *c, const struct config_pool *p)
{
	for (size_t i = 0; i < p->frontend_count; i++)
		for (size_t k = 0; k < c->prefix_count; k++)
			if (addr_prefixes_overlap(
				    &p->frontends[i].prefix, p->frontends[i].prefix_bits,
				    &c->prefixes[k].prefix, c->prefixes[k].prefix_bits))
				return false;
	return true;
}

/* Clients that stall pintled must not get past these rules. */
static bool refuses_somebody(const struct config_pool *p)
{
	for (size_t i = 0; i < p->class_count; i++)
		if (config_class_bounded(p, &p->classes[i]))
			return true;
	return p->allow_count || p->tenants.kind;
}

void config_daemonless_derive(struct config *c, const struct yaml_node *root)
{
	bool told = yaml_node_get(yaml_node_get(root, "node"), "daemonless");

	for (size_t i = 0; i < c->pool_count; i++) {
		struct config_pool *p = &c->pools[i];

		if (refuses_somebody(p) || !hook_has(p->decided_by, PINTLE_TRAIT_DAEMONLESS))
			continue;
		if (p->line <= 0 && !told && at_cluster_ips(c, p))
			p->daemonless_ns = CONFIG_DAEMONLESS_PROXIED;
		p->proxied = p->daemonless_ns && p->ejection.max_share > 0;
	}
}

void config_hooks_derive(struct config *c, const struct yaml_node *root)
{
	const struct yaml_node *n = yaml_node_at(yaml_node_get(root, "pools"), 0);

	for (size_t i = 0; i < c->pool_count; i++, n = n->next)
		derive_pool(&c->pools[i], n);
}

/* ---- endpoints ------------------------------------------------------------- */

/* The first endpoint that is reached as the pool is: it decided how. */
static const struct config_endpoint *config_hooks_first_of(const struct config_pool *p,
							   const struct yaml_node *n)
{
	const struct yaml_node *child = yaml_node_at(yaml_node_get(n, "endpoints"), 0);

	for (size_t i = 0; i < p->endpoint_count; i++, child = child->next)
		if (reach_of(child) == pool_says(p))
			return &p->endpoints[i];
	return NULL;
}

static void check_owner(const struct config_endpoint *e, const struct yaml_node *n, uint32_t reach,
			struct yaml_report *r)
{
	static const char *const keys[] = {"user", "cgroup"};

	for (size_t i = 0; i < ARRAY_SIZE(keys) && reach == PINTLE_REACH_ADDRESS; i++) {
		const struct yaml_node *place = yaml_node_towards(n, keys[i], NULL);

		if (place != n)
			yaml_report_error(
				r, place->line, place->column,
				"endpoint %s has %s, which is for listeners on this node, and "
				"address; remove one of them",
				endpoint_label(e), keys[i]);
	}
}

static void check_in_pod(const struct config_pool *p, const struct config_endpoint *e,
			 const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "address", NULL);

	if (p->in_pods && e->address.port && !e->host && addr_is_special(&e->address.ip))
		yaml_report_error(
			r, place->line, place->column,
			"endpoint %s has an address which no pod of this node has; with decide: "
			"request write listen for a server in this node's own network, or a pod's "
			"address",
			endpoint_label(e));
}

static void check_endpoint(const struct config_pool *p, const struct config_endpoint *e,
			   const struct yaml_node *n, const struct config_endpoint *first,
			   struct yaml_report *r)
{
	uint32_t reach = reach_of(n);
	const struct yaml_node *place;

	if (n->kind != YAML_MAP)
		return;
	check_owner(e, n, reach, r);
	check_in_pod(p, e, n, r);
	if (reach == pool_says(p))
		return;
	if (reach) {
		place = yaml_node_towards(n, reach_keys[reach], NULL);
		yaml_report_error(
			r, place->line, place->column,
			"endpoint %s has %s, but endpoint %s (line %d) of this pool has %s; "
			"one hook decides a pool: make two pools of them",
			endpoint_label(e), reach_keys[reach], endpoint_label(first), first->line,
			reach_keys[pool_says(p)]);
	} else if (yaml_node_get(n, "listen")) {
		place = yaml_node_towards(n, "address", NULL);
		yaml_report_error(
			r, place->line, place->column,
			"endpoint %s has both listen and address; write listen for a server "
			"on this node, address for one that runs anywhere",
			endpoint_label(e));
	} else {
		yaml_report_error(
			r, n->line, n->column,
			"endpoint %s has neither listen nor address; write listen: "
			"ADDRESS:PORT or a port alone for a server on this node, address: "
			"ADDRESS:PORT for one that runs anywhere",
			endpoint_label(e));
	}
}

/* ---- what the hook can do -------------------------------------------------- */

static void check_key(const struct config_pool *p, const struct yaml_node *n, const char *local,
		      uint32_t kind, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "stickiness", local);
	char possible[YAML_WANTS_SIZE] = "";

	if (hook_sees(p->decided_by, kind))
		return;
	for (uint32_t i = 0; i < PINTLE_KEY_COUNT; i++)
		if (hook_sees(p->decided_by, i))
			text_list_add(possible, sizeof(possible), key_name(i));
	yaml_report_error(
		r, place->line, place->column,
		"stickiness.%s is %s, which Pintle cannot see for endpoints with %s; write one of "
		"%s",
		local, key_name(kind), reach_keys[pool_says(p)], possible);
}

static bool has_prefix(const struct config_pool *p)
{
	for (size_t i = 0; i < p->frontend_count; i++)
		if (p->frontends[i].port && p->frontends[i].prefix_bits < 128)
			return true;
	return false;
}

static void check_destination(const struct config_pool *p, const struct yaml_node *n,
			      const char *local, uint32_t kind, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "stickiness", local);

	if (kind == PINTLE_KEY_DESTINATION && !has_prefix(p))
		yaml_report_warning(
			r, place->line, place->column,
			"stickiness.%s is destination, but no frontend is a prefix, so it tells no "
			"sessions apart; write one as in \"[fd77::/64]:8000\"",
			local);
}

static void check_shared(const struct config_pool *p, const struct yaml_node *n,
			 struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "stickiness", "shared");

	const char *right = hook_sees(p->decided_by, PINTLE_KEY_HINT) ? "key: hint"
			    : p->decide == PINTLE_DECIDE_REQUEST      ? "key: agent"
								 : "decide: request and key: agent";

	if (p->stickiness.shared && p->stickiness.key_kind != PINTLE_KEY_HINT &&
	    !p->stickiness.asked.headers[0].name[0] && !p->stickiness.key_wrong)
		yaml_report_error(
			r, place->line, place->column,
			"stickiness.shared is for sessions that clients name, but the key is %s; "
			"write %s, or remove shared",
			key_name(p->stickiness.key_kind), right);
}

bool config_wants_prompts(const struct config_pool *p)
{
	return p->stickiness.prefix && p->weights.prefix > 0;
}

bool config_rests(const struct config_pool *p)
{
	return p->decide != PINTLE_DECIDE_REQUEST &&
	       hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS) &&
	       (p->stickiness.asked.headers[0].name[0] || p->stickiness.prefix);
}

/* Where `decide: connection` is written, or set, what a request would say rests. Where it is not,
 * somebody forgot that it has to be said. */
static void check_rests(const struct config_pool *p, const struct yaml_node *n,
			struct yaml_report *r)
{
	const struct yaml_node *decide = yaml_node_get(n, "decide");

	if (decide && !decide_is_wrong(n) && config_rests(p))
		yaml_report_warning(
			r, decide->line, decide->column,
			"decide: connection, so that what stickiness says of requests rests; write "
			"decide: request to have it");
}

/* Whether that is an error: it is asked for, and nothing says when. */
static bool is_forgotten(const struct config_pool *p, const struct yaml_node *n)
{
	return p->decide != PINTLE_DECIDE_REQUEST &&
	       (!yaml_node_get(n, "decide") ||
		(!is_of_cluster(p) && !hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS)));
}

/* Whether only the requests to another pool's frontends reach it, which by then are read. */
static bool is_for_others(const struct config *c, const struct config_pool *p)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (&c->pools[i] != p && config_serves_models_of(p, &c->pools[i]))
			return !p->frontend_count;
	return false;
}

static void check_decide(const struct config *c, const struct config_pool *p,
			 const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *decide = yaml_node_towards(n, "decide", NULL);
	const struct yaml_node *key = yaml_node_towards(n, "stickiness", "key");
	const char *asked = p->stickiness.asked.headers[0].name;

	if (decide_is_wrong(n))
		return;
	if (p->decide == PINTLE_DECIDE_REQUEST && !asked[0] && !p->stickiness.key_wrong &&
	    !yaml_node_get(n, "models") && !p->stickiness.prefix && !is_for_others(c, p))
		yaml_report_error(
			r, decide->line, decide->column,
			"decide: request, but stickiness.key names nothing of a request; write it as "
			"in \"agent, source\", or models, or stickiness.prefix: true, "
			"or remove decide");
	if (is_forgotten(p, n) && asked[0])
		yaml_report_error(
			r, key->line, key->column,
			"stickiness.key has what only a request says, but connections are decided "
			"before it comes; write decide: request, or leave out what names it");
}

static void config_hooks_check_prefix(const struct config_pool *p, const struct yaml_node *n,
				      struct yaml_report *r)
{
	const struct yaml_node *prefix = yaml_node_towards(n, "stickiness", "prefix");
	const struct yaml_node *extra = yaml_node_towards(n, "stickiness", "maxExtraLoad");

	if (!p->stickiness.prefix)
		return;
	if (is_forgotten(p, n))
		yaml_report_error(
			r, prefix->line, prefix->column,
			"stickiness.prefix needs the prompt, but connections are decided before it "
			"comes; write decide: request, or remove prefix");
	else if (p->stickiness.max_extra_load != CONFIG_EXTRA_AUTO)
		yaml_report_error(
			r, extra->line, extra->column,
			"with stickiness.prefix prompts weigh, but with maxExtraLoad %g they do "
			"not; write maxExtraLoad: auto, or remove prefix",
			p->stickiness.max_extra_load);
}

static void check_ejection(const struct config_pool *p, const struct yaml_node *n,
			   struct yaml_report *r)
{
	const struct yaml_node *ejection = yaml_node_get(n, "ejection");
	const struct yaml_node *share = yaml_node_towards(n, "ejection", "maxShare");
	const struct yaml_node *longest = yaml_node_towards(n, "ejection", "maxTime");

	if (!ejection)
		return;
	if (p->ejection.failures && !config_has_hosts(p) &&
	    p->ejection.max_share * (double)p->endpoint_count < 1)
		yaml_report_warning(
			r, share->line, share->column,
			"ejection.maxShare %g of %zu endpoint%s is less than one: none is ever "
			"ejected; write failures: 0 if that is intended",
			p->ejection.max_share, p->endpoint_count, plural(p->endpoint_count));
	if (p->ejection.max_time_ns < p->ejection.time_ns)
		yaml_report_warning(
			r, longest->line, longest->column,
			"ejection.maxTime is shorter than ejection.time, and limits it; make it "
			"longer");
}

static void check_splice(const struct config_pool *p, const struct yaml_node *n,
			 struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "splice", NULL);

	if (!p->splice)
		return;
	if (p->decide != PINTLE_DECIDE_REQUEST)
		yaml_report_error(
			r, place->line, place->column,
			"splice is for connections that are decided by their first request; "
			"write decide: request, or remove splice");
	else if (p->reach != PINTLE_REACH_ADDRESS)
		yaml_report_error(
			r, place->line, place->column,
			"splice is for servers anywhere, with address; the listeners of this "
			"node get connections without it: remove splice");
}

static void check_intercept(const struct config_pool *p, const struct yaml_node *n,
			    struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "intercept", NULL);

	if (p->intercept != INTERCEPT_NONE && hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
		yaml_report_error(
			r, place->line, place->column,
			"intercept is for endpoints with %s: a connection to a listener's own address is the "
			"server's; remove intercept",
			config_reached_else(p));
}

static void check_daemonless_pool(const struct config_pool *p, const struct yaml_node *n,
				  struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "daemonless", NULL);

	if (p->daemonless_ns && !hook_has(p->decided_by, PINTLE_TRAIT_DAEMONLESS))
		yaml_report_error(r, place->line, place->column,
				  "daemonless is for endpoints with %s: listeners of this node are "
				  "known without pintled; remove daemonless",
				  config_reached_else(p));
}

static void config_hooks_check_pool(const struct config *c, const struct config_pool *p,
				    const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *child = yaml_node_at(yaml_node_get(n, "endpoints"), 0);
	const struct config_endpoint *first = config_hooks_first_of(p, n);
	const struct yaml_node *announce = yaml_node_towards(n, "announce", NULL);

	for (size_t i = 0; i < p->endpoint_count; i++, child = child->next)
		check_endpoint(p, &p->endpoints[i], child, first, r);
	if (p->announce && !hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
		yaml_report_error(
			r, announce->line, announce->column,
			"announce is for endpoints with listen: clients of endpoints with address "
			"are steered before a route matters; remove announce");
	check_key(p, n, "key", p->stickiness.key_kind, r);
	check_key(p, n, "group", p->stickiness.group_kind, r);
	check_shared(p, n, r);
	check_destination(p, n, "key", p->stickiness.key_kind, r);
	check_destination(p, n, "group", p->stickiness.group_kind, r);
	check_decide(c, p, n, r);
	check_rests(p, n, r);
	config_hooks_check_prefix(p, n, r);
	check_ejection(p, n, r);
	check_splice(p, n, r);
	check_intercept(p, n, r);
	check_daemonless_pool(p, n, r);
}

/* ---- all ------------------------------------------------------------------- */

bool config_key_of_cgroup(uint32_t kind)
{
	return kind == PINTLE_KEY_CGROUP || kind == PINTLE_KEY_POD ||
	       kind == PINTLE_KEY_NAMESPACE || kind == PINTLE_KEY_ACCOUNT;
}

static bool config_hooks_by_cgroup(const struct config_pool *p)
{
	return config_key_of_cgroup(p->stickiness.key_kind) ||
	       config_key_of_cgroup(p->stickiness.group_kind) ||
	       config_key_of_cgroup(p->tenants.kind);
}

/* pintled sends a heartbeat twice a second. */
static void check_daemonless(const struct config *c, const struct yaml_node *root,
			     struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(root, "node", "daemonless");

	if (c->daemonless_ns && c->daemonless_ns < NSEC_PER_SEC)
		yaml_report_warning(
			r, place->line, place->column,
			"node.daemonless is so short that pools with address pass while "
			"pintled runs; write 1s or longer, or 0s for never");
}

void config_hooks_check(const struct config *c, const struct yaml_node *root, struct yaml_report *r)
{
	const struct yaml_node *n = yaml_node_at(yaml_node_get(root, "pools"), 0);
	const struct yaml_node *clients = yaml_node_get(root, "clients");
	bool used = false;

	check_daemonless(c, root, r);
	for (size_t i = 0; i < c->pool_count; i++, n = n->next) {
		config_hooks_check_pool(c, &c->pools[i], n, r);
		used |= config_hooks_by_cgroup(&c->pools[i]);
	}
	if (clients && !used)
		yaml_report_warning(
			r, clients->line, clients->column,
			"clients has no effect, because no pool's key or group is cgroup; "
			"write stickiness: {key: cgroup}");
}
