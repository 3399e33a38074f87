/* SPDX-License-Identifier: Apache-2.0 */
/* noun_status.c - where Pintle is attached, the daemon, the pools, what was set, warnings. */
#include <limits.h>

#include "../../base/log.h"
#include "../../base/text.h"
#include "../../maps/names.h"
#include "../../net/addr.h"
#include "../output.h"
#include "../programs.h"
#include "warnings.h"

struct status {
	const struct cli *cli;
	const struct state *s;
	cJSON *pools, *hosts, *handoff_on, *overrides, *warnings; /* owned */
};

static void status_free(struct status *t)
{
	cJSON_Delete(t->pools);
	cJSON_Delete(t->hosts);
	cJSON_Delete(t->handoff_on);
	cJSON_Delete(t->overrides);
	cJSON_Delete(t->warnings);
}

static double status_seconds_since(const struct state *s, uint64_t then)
{
	int64_t ns = (int64_t)(s->now_ns - then);

	return (double)MAX(ns, 0) / (double)NSEC_PER_SEC;
}

/* ---- what was set ---------------------------------------------------------------- */

static cJSON *status_text_or_null(const char *text)
{
	return text[0] ? cJSON_CreateString(text) : cJSON_CreateNull();
}

static cJSON *override_new(const struct state *s, const char *pool, const char *endpoint,
			   const char *what, const char *value, const char *configured,
			   uint64_t since)
{
	cJSON *o = cJSON_CreateObject();
	char when[WORDS_SIZE];

	cJSON_AddStringToObject(o, "pool", pool);
	if (endpoint)
		cJSON_AddStringToObject(o, "endpoint", endpoint);
	else
		cJSON_AddNullToObject(o, "endpoint");
	cJSON_AddStringToObject(o, "setting", what);
	cJSON_AddItemToObject(o, "value", status_text_or_null(value));
	cJSON_AddItemToObject(o, "configured", status_text_or_null(configured));
	cJSON_AddStringToObject(o, "since", wall_rfc3339(since, when));
	cJSON_AddItemToObject(o, "age_seconds", json_number(status_seconds_since(s, since)));
	return o;
}

static cJSON *overrides_new(const struct state *s)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < s->setting_count; i++) {
		const struct state_setting *t = &s->settings[i];
		cJSON *o = override_new(s, t->pool, NULL, t->key, t->value, t->file, t->since_ns);

		cJSON_AddStringToObject(o, "state", setting_state_name(t->state));
		cJSON_AddItemToArray(list, o);
	}
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		cJSON *o;

		if (!p->trial_runs)
			continue;
		o = override_new(s, p->name, NULL, "ab", mode_name(p->mode),
				 mode_name(p->mode_otherwise), p->trial.since_ns);
		cJSON_AddStringToObject(o, "state", setting_state_name(STATE_SETTING_HOLDS));
		cJSON_AddItemToArray(list, o);
	}
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[i];
		cJSON *o;

		if (!e->drained)
			continue;
		o = override_new(s, s->pools[e->pool].name, e->name, "drained", "true", "false",
				 e->drained_since_ns);
		cJSON_AddStringToObject(o, "state", setting_state_name(STATE_SETTING_HOLDS));
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static void print_setting(const struct state *s, const struct state_setting *t)
{
	static const char *const states[] = {
		[STATE_SETTING_HOLDS] = "",
		[STATE_SETTING_WAITS] = "; waits for pintled",
		[STATE_SETTING_REFUSED] = "; does not hold, see below",
	};
	char age[WORDS_SIZE];

	if (!t->set) {
		printf("  %s: %s %s still, taken back for %s%s\n", t->pool, t->key, t->runs,
		       age_text(status_seconds_since(s, t->since_ns), age),
		       t->why[0] ? "; see below" : "; waits for pintled");
		return;
	}
	printf("  %s: %s %s for %s", t->pool, t->key, t->value,
	       age_text(status_seconds_since(s, t->since_ns), age));
	if (t->file[0])
		printf(", configured %s", t->file);
	puts(states[t->state]);
}

static void print_overrides(const struct status *t)
{
	const struct state *s = t->s;
	char age[WORDS_SIZE], name[ENDPOINT_NAME_SIZE];

	if (!cJSON_GetArraySize(t->overrides))
		return;
	printf("\n%sSet%s (`pintle reset` takes it all back)\n", tone_begin(t->cli, TONE_HEADING),
	       tone_end(t->cli, TONE_HEADING));
	for (size_t i = 0; i < s->setting_count; i++)
		print_setting(s, &s->settings[i]);
	for (size_t i = 0; i < s->pool_count; i++)
		if (s->pools[i].trial_runs)
			printf("  %s: A/B test, now %s, until %s\n", s->pools[i].name,
			       mode_name(s->pools[i].mode),
			       wall_text(s->pools[i].trial.until_ns, age));
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[i];

		if (e->drained)
			printf("  %s: drained for %s\n", endpoint_name(s, e, name),
			       age_text(status_seconds_since(s, e->drained_since_ns), age));
	}
}

/* ---- pools ----------------------------------------------------------------------- */

static cJSON *decisions_new(const uint64_t *counts)
{
	cJSON *o = cJSON_CreateObject();

	for (uint32_t outcome = 0; outcome < PINTLE_OUTCOME_COUNT; outcome++)
		cJSON_AddItemToObject(o, outcome_name(outcome), json_count(counts[outcome]));
	return o;
}

static cJSON *pools_new(const struct state *s)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		cJSON *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "name", p->name);
		cJSON_AddStringToObject(o, "mode", mode_name(p->mode));
		cJSON_AddBoolToObject(o, "ab", p->trial_runs);
		cJSON_AddItemToObject(o, "endpoints", json_count(p->endpoint_count));
		cJSON_AddItemToObject(o, "ready", json_count(p->ready_count));
		cJSON_AddItemToObject(o, "ejected", json_count(p->ejected_count));
		cJSON_AddStringToObject(o, "hook", hook_name(p->decided_by));
		cJSON_AddItemToObject(o, "decisions", decisions_new(p->decisions));
		cJSON_AddItemToObject(o, "shadow_decisions", decisions_new(p->shadows));
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static cJSON *status_hosts_new(const struct state *s)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < s->host_count; i++) {
		const struct state_host *h = &s->hosts[i];
		cJSON *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "pool", s->pools[h->pool].name);
		cJSON_AddStringToObject(o, "endpoint", h->name);
		cJSON_AddStringToObject(o, "host", h->host);
		cJSON_AddItemToObject(o, "port", json_count(h->port));
		cJSON_AddItemToObject(o, "addresses", json_count(h->addresses));
		cJSON_AddItemToObject(o, "left_out", json_count(h->left));
		cJSON_AddItemToObject(o, "age_seconds",
				      h->has_answer ? json_number(h->age_seconds)
						    : cJSON_CreateNull());
		cJSON_AddItemToObject(o, "ttl_seconds", json_count(h->ttl_s));
		cJSON_AddItemToObject(o, "errors", json_count(h->errors));
		cJSON_AddBoolToObject(o, "fails", h->fails);
		cJSON_AddItemToObject(o, "why", status_text_or_null(h->why));
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static void print_host(const struct state_host *h)
{
	char age[WORDS_SIZE];

	printf("  host      %s:%u, %u address%s", h->host, h->port, h->addresses,
	       h->addresses == 1 ? "" : "es");
	if (h->left)
		printf(", %u left out", h->left);
	if (h->has_answer)
		printf(", answered %s ago, TTL %u s\n", age_text(h->age_seconds, age), h->ttl_s);
	else
		puts(", not answered yet");
}

static void print_decisions(const char *what, const uint64_t *counts, uint64_t total)
{
	const char *separator = ": ";

	printf("  %s %llu", what, (unsigned long long)total);
	for (uint32_t outcome = 0; outcome < PINTLE_OUTCOME_COUNT; outcome++) {
		if (!counts[outcome])
			continue;
		printf("%s%s %llu", separator, outcome_name(outcome),
		       (unsigned long long)counts[outcome]);
		separator = ", ";
	}
	putchar('\n');
}

/* "models    4, served by llama-8b, qwen-32b"; `pools -o json` has each of them. */
static void print_models(const struct state *s, const struct state_pool *p)
{
	const char *separator = ", served by ";
	size_t named = 0;

	for (size_t i = 0; i < p->model_count; i++)
		named += !p->models[i].other;
	if (!p->model_count)
		return;
	printf("  models    %zu", named);
	for (size_t i = 0; i < s->pool_count; i++) {
		if (!pool_names_in_models(s, p, &s->pools[i]))
			continue;
		printf("%s%s", separator, s->pools[i].name);
		separator = ", ";
	}
	putchar('\n');
}

static void print_pools(const struct status *t)
{
	const struct state *s = t->s;

	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		enum tone tone = p->mode == PINTLE_MODE_ENFORCE ? TONE_GOOD : TONE_WARN;

		printf("\n%sPool %s%s\n", tone_begin(t->cli, TONE_HEADING), p->name,
		       tone_end(t->cli, TONE_HEADING));
		printf("  mode      %s%s%s%s\n", tone_begin(t->cli, tone), mode_name(p->mode),
		       tone_end(t->cli, tone),
		       p->trial_runs   ? ", by an A/B test (`pintle ab`)"
		       : p->overridden ? ", set"
				       : "");
		if (p->by_connection)
			printf("  decide    request, spliced, but by connection here: %s\n",
			       p->by_connection);
		else if (p->decide != PINTLE_DECIDE_CONNECTION)
			printf("  decide    %s%s\n", decide_name(p->decide),
			       p->spliced ? ", spliced" : "");
		if (p->requests != PINTLE_REQUESTS_AS_THEY_COME)
			printf("  requests  %s%s\n", requests_name(p->requests),
			       p->requests_overridden ? ", set" : "");
		printf("  frontends");
		for (size_t j = 0; j < p->frontend_count; j++)
			printf(" %s", p->frontends[j].text);
		printf("%s\n", p->frontend_count ? "" : " none");
		print_models(s, p);
		printf("  endpoints %zu, ready %zu", p->endpoint_count, p->ready_count);
		if (p->ejected_count)
			printf(", ejected %zu", p->ejected_count);
		putchar('\n');
		for (size_t j = 0; j < s->host_count; j++)
			if (s->hosts[j].pool == i)
				print_host(&s->hosts[j]);
		print_decisions("decisions", p->decisions, p->decisions_total);
		if (p->shadows_total)
			print_decisions("in shadow", p->shadows, p->shadows_total);
	}
}

/* ---- the node -------------------------------------------------------------------- */

static void status_print_daemon(const struct status *t)
{
	const struct pintle_node *n = &t->s->node;
	char age[WORDS_SIZE], when[WORDS_SIZE];
	bool alive = t->s->daemon_alive;
	enum tone tone = alive ? TONE_GOOD : TONE_BAD;

	printf("daemon    %s%s%s", tone_begin(t->cli, tone), alive ? "runs" : "does not run",
	       tone_end(t->cli, tone));
	if (!n->heartbeat_ns) {
		printf("\n");
		return;
	}
	printf(": %spid %u, version %s\n", alive ? "" : "was ", n->pid,
	       n->version[0] ? n->version : "unknown");
	printf("          started %s, heartbeat %s ago\n", wall_text(n->started_ns, when),
	       age_text(status_seconds_since(t->s, n->heartbeat_ns), age));
}

/* Prints whose sockets sockops follows: those of servers, of clients, or of both. */
static void print_sockops(const struct status *t)
{
	static const struct {
		enum link_id link;
		const char *of;
	} sides[] = {{LINK_SERVERS, "servers"}, {LINK_CLIENTS, "clients"}};
	char of[32] = "";

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
		if (link_is_pinned(t->cli, sides[i].link))
			text_list_add(of, sizeof(of), sides[i].of);
	if (of[0])
		printf("          sockops of %s on cgroup %s\n", of, t->s->node.cgroup);
}

/* Prints the place of Pintle's program among those that run at connect(), if it may be seen. */
static void print_connect(const struct status *t)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	struct programs p;

	if (!link_is_pinned(t->cli, LINK_CONNECT4))
		return;
	printf("          connect on cgroup %s", t->s->node.cgroup);
	fd = open_watched_cgroup(t->s, path);
	if (fd >= 0 && !programs_query(t->cli, fd, LINK_CONNECT4, &p) && p.own < p.count)
		printf(", number %zu of %zu program%s", p.own + 1, p.count, plural(p.count));
	puts(link_is_pinned(t->cli, LINK_HINT) ? ", with hints" : "");
}

static cJSON *handoff_on_new(const struct state *s)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < s->device_count; i++) {
		cJSON *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "device", s->devices[i].name);
		cJSON_AddStringToObject(o, "xdp", xdp_name(s->devices[i].xdp));
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

#define MAX_DEVICES_SHOWN 8

/* Those with XDP first: "hand-off on 3 devices: eth0 (XDP), lo, veth0". */
static void print_handoff(const struct status *t)
{
	const struct state *s = t->s;
	const char *separator = ": ";
	size_t shown = 0;

	if (!s->device_count)
		return;
	printf("          hand-off on %zu device%s", s->device_count, plural(s->device_count));
	for (int xdp = 1; xdp >= 0; xdp--) {
		for (size_t i = 0; i < s->device_count && shown < MAX_DEVICES_SHOWN; i++) {
			const struct state_device *d = &s->devices[i];

			if ((d->xdp == PINTLE_XDP_NATIVE) != xdp)
				continue;
			printf("%s%s%s", separator, d->name, xdp ? " (XDP)" : "");
			separator = ", ";
			shown++;
		}
	}
	puts(shown < s->device_count ? ", ..." : "");
	if (s->daemon_alive && s->node.held)
		printf("          %u connection%s held, of %d\n", s->node.held,
		       plural(s->node.held), PINTLE_MAX_HELD);
	if (s->daemon_alive && s->node.prefix_entries)
		printf("          %u beginnings of prompts known, of %d\n", s->node.prefix_entries,
		       PINTLE_MAX_PREFIXES);
}

static void print_splice(const struct status *t)
{
	const struct pintle_node *n = &t->s->node;

	if (!n->splice_devices && !n->spliced)
		return;
	printf("          splice on %u direction%s of devices: %u pod%s, %u connection%s\n",
	       n->splice_devices, plural(n->splice_devices), n->splice_spaces,
	       plural(n->splice_spaces), n->spliced, plural(n->spliced));
}

/* Where the overload responder is. */
static cJSON *status_overload_new(const struct pintle_node *n)
{
	cJSON *list = cJSON_CreateArray();
	char text[ADDR_TEXT_SIZE];
	struct addr ip;

	for (int i = 0; i < PINTLE_RESPONDERS; i++) {
		const struct pintle_responder *r = &n->responders[i];

		memcpy(ip.bytes, r->address, sizeof(ip.bytes));
		if (r->port)
			cJSON_AddItemToArray(list,
					     cJSON_CreateString(addr_format(&ip, r->port, text)));
	}
	return list;
}

static void print_overload(const struct pintle_node *n)
{
	cJSON *list = status_overload_new(n), *at;
	const char *before = "overload  answered at";

	cJSON_ArrayForEach (at, list) {
		printf("%s %s", before, cJSON_GetStringValue(at));
		before = " and";
	}
	if (list->child)
		printf("\n");
	cJSON_Delete(list);
}

static void print_node(const struct status *t)
{
	const struct pintle_node *n = &t->s->node;
	char age[WORDS_SIZE], when[WORDS_SIZE];

	printf("maps      %s, layout %u\n", t->cli->bpffs, n->abi_version);
	if (n->attached_ns) {
		printf("attached  since %s (%s)\n", wall_text(n->attached_ns, when),
		       age_text(status_seconds_since(t->s, n->attached_ns), age));
		printf("          lookup in netns %s (inode %llu)\n", n->netns, n->netns_inode);
		print_sockops(t);
		print_connect(t);
		print_handoff(t);
		print_splice(t);
	} else {
		printf("attached  no\n");
	}
	status_print_daemon(t);
	if (n->config[0])
		printf("config    %s\n", n->config);
	if (n->metrics[0])
		printf("metrics   http://%s/metrics\n", n->metrics);
	print_overload(n);
	if (n->reconciled_ns)
		printf("counters  compared with the sockets %s ago, drift %llu\n",
		       age_text(status_seconds_since(t->s, n->reconciled_ns), age), n->drift);
}

/* ---- the cluster ----------------------------------------------------------------- */

static cJSON *missing_new(const struct pintle_node *n)
{
	char lines[PINTLE_LINES_SIZE], *rest = lines, *line;
	cJSON *list = cJSON_CreateArray();

	snprintf(lines, sizeof(lines), "%s", n->kube_missing);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			cJSON_AddItemToArray(list, cJSON_CreateString(line));
	return list;
}

static cJSON *kubernetes_new(const struct pintle_node *n)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddBoolToObject(o, "up", n->kube & PINTLE_KUBE_WELL);
	cJSON_AddBoolToObject(o, "synced", n->kube & PINTLE_KUBE_LISTED);
	cJSON_AddBoolToObject(o, "writes", n->kube & PINTLE_KUBE_LEADS);
	cJSON_AddNumberToObject(o, "left", n->kube_left);
	cJSON_AddNumberToObject(o, "no_room", n->kube_no_room);
	cJSON_AddItemToObject(o, "missing", missing_new(n));
	cJSON_AddBoolToObject(o, "only_cluster_ip", n->kube & PINTLE_KUBE_OUTSIDE);
	return o;
}

static void print_cluster(const struct pintle_node *n)
{
	cJSON *missing;
	const cJSON *one;

	if (!(n->kube & PINTLE_KUBE_THERE))
		return;
	missing = missing_new(n);
	printf("cluster   %s, %s%s\n",
	       n->kube & PINTLE_KUBE_WELL ? "the API server answers" : "the API server is away",
	       n->kube & PINTLE_KUBE_LISTED ? "all is listed" : "not all is listed yet",
	       n->kube & PINTLE_KUBE_LEADS ? "; this daemon writes conditions and Events" : "");
	cJSON_ArrayForEach (one, missing) {
		printf("          without %s\n", cJSON_GetStringValue(one));
	}
	cJSON_Delete(missing);
	if (n->kube & PINTLE_KUBE_OUTSIDE)
		puts("          connections to Services' node ports, load balancers and external IPs "
		     "are kube-proxy's");
	if (n->kube_left)
		printf("          %u left to kube-proxy, %u of them for want of room: %s\n",
		       n->kube_left, n->kube_no_room, n->kube_why);
}

static int status_print_text(const struct status *t)
{
	const cJSON *w;

	print_node(t);
	print_cluster(&t->s->node);
	print_pools(t);
	print_overrides(t);
	if (cJSON_GetArraySize(t->warnings))
		printf("\n%sWarnings%s\n", tone_begin(t->cli, TONE_WARN),
		       tone_end(t->cli, TONE_WARN));
	cJSON_ArrayForEach (w, t->warnings) {
		printf("  %s\n", cJSON_GetStringValue(w));
	}
	return output_finish();
}

/* ---- keys ------------------------------------------------------------------------ */

#define GET(name)    GETTER(name, const struct status *t, const void *arg)
#define COLUMN(name) .get = get_##name

#define GET_TEXT(name)                                                                             \
	GET(name)                                                                                  \
	{                                                                                          \
		return t->s->node.name[0] ? value_text(t->s->node.name) : value_none();            \
	}
#define GET_NODE_COUNT(key, member)                                                                \
	GET(key)                                                                                   \
	{                                                                                          \
		return value_count(t->s->node.member);                                             \
	}
#define GET_AGE(key, member)                                                                       \
	GET(key)                                                                                   \
	{                                                                                          \
		return value_number(VALUE_SECONDS, status_seconds_since(t->s, t->s->node.member),  \
				    t->s->node.member);                                            \
	}
#define GET_WALL(key, member)                                                                      \
	GET(key)                                                                                   \
	{                                                                                          \
		char when[WORDS_SIZE];                                                             \
                                                                                                   \
		return t->s->node.member ? value_text(wall_rfc3339(t->s->node.member, when))       \
					 : value_none();                                           \
	}
#define GET_LIST(name)                                                                             \
	GET(name)                                                                                  \
	{                                                                                          \
		return value_json(cJSON_Duplicate(t->name, true));                                 \
	}

GET(bpffs)
{
	return value_text(t->cli->bpffs);
}

GET(daemon_alive)
{
	return value_bool(t->s->daemon_alive);
}

GET(daemon_version)
{
	return t->s->node.version[0] ? value_text(t->s->node.version) : value_none();
}

/* Lists the hooks whose links are pinned, in users' words: the daemon has more links than hooks. */
GET(hooks)
{
	static const struct {
		enum link_id link;
		const char *name;
	} hooks[] = {{LINK_LOOKUP, "lookup"},
		     {LINK_SERVERS, "sockops_servers"},
		     {LINK_CLIENTS, "sockops_clients"},
		     {LINK_CONNECT4, "connect"},
		     {LINK_HINT, "hint"}};
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		if (link_is_pinned(t->cli, hooks[i].link))
			cJSON_AddItemToArray(list, cJSON_CreateString(hooks[i].name));
	return value_json(list);
}

GET_NODE_COUNT(layout_version, abi_version)
GET_WALL(attached_since, attached_ns)
GET_AGE(attached_seconds, attached_ns)
GET_TEXT(netns)
GET_NODE_COUNT(netns_inode, netns_inode)
GET_TEXT(cgroup)
GET_NODE_COUNT(daemon_pid, pid)
GET_WALL(daemon_started, started_ns)
GET_AGE(heartbeat_age_seconds, heartbeat_ns)
GET_NODE_COUNT(scrape_rounds, scrape_rounds)
GET_AGE(reconciled_age_seconds, reconciled_ns)
GET_NODE_COUNT(drift, drift)
GET_NODE_COUNT(group_id, group)
GET_NODE_COUNT(oneshot_devices, devices)
GET_NODE_COUNT(handoff_devices, hand_devices)
GET_NODE_COUNT(handoff_held, held)
GET_NODE_COUNT(prefix_entries, prefix_entries)
GET_NODE_COUNT(splice_devices, splice_devices)
GET_NODE_COUNT(splice_pods, splice_spaces)
GET_NODE_COUNT(spliced, spliced)
GET_TEXT(config)
GET_TEXT(metrics)
GET(overload)
{
	return value_json(status_overload_new(&t->s->node));
}
GET(kubernetes)
{
	const struct pintle_node *n = &t->s->node;

	return n->kube & PINTLE_KUBE_THERE ? value_json(kubernetes_new(n)) : value_none();
}
GET_LIST(pools)
GET_LIST(hosts)
GET_LIST(handoff_on)
GET_LIST(overrides)
GET_LIST(warnings)

static const struct column columns[] = {
	{.key = "bpffs", COLUMN(bpffs), .help = "text: directory that holds the pins"},
	{.key = "layout_version", COLUMN(layout_version), .help = "of the maps"},
	{.key = "attached_since",
	 COLUMN(attached_since),
	 .help = "text: RFC 3339 time; null: not attached"},
	{.key = "attached_seconds",
	 COLUMN(attached_seconds),
	 .help = "the same as an age, or null"},
	{.key = "netns",
	 COLUMN(netns),
	 .help = "text: path of the network namespace, as configured"},
	{.key = "netns_inode", COLUMN(netns_inode), .help = "of that namespace"},
	{.key = "cgroup",
	 COLUMN(cgroup),
	 .help = "text: path of the cgroup to which the programs are attached"},
	{.key = "hooks",
	 COLUMN(hooks),
	 .help = "list of text: what is attached: lookup, sockops_servers, sockops_clients, "
		 "connect, hint"},
	{.key = "daemon_alive",
	 COLUMN(daemon_alive),
	 .help = "bool: its heartbeat is younger than 2 seconds"},
	{.key = "daemon_pid", COLUMN(daemon_pid), .help = "of the daemon that runs or ran"},
	{.key = "daemon_version", COLUMN(daemon_version), .help = "text: of the same, or null"},
	{.key = "daemon_started", COLUMN(daemon_started), .help = "text: RFC 3339 time, or null"},
	{.key = "heartbeat_age_seconds", COLUMN(heartbeat_age_seconds), .help = "or null: never"},
	{.key = "scrape_rounds", COLUMN(scrape_rounds), .help = "done since daemon_started"},
	{.key = "reconciled_age_seconds",
	 COLUMN(reconciled_age_seconds),
	 .help = "since counters were compared with the socket table; null: never"},
	{.key = "drift", COLUMN(drift), .help = "connections by which counters were wrong, ever"},
	{.key = "group_id", COLUMN(group_id), .help = "gid that may read the pins"},
	{.key = "oneshot_devices",
	 COLUMN(oneshot_devices),
	 .help = "devices that one-shot is attached to; each direction of a device counts as one"},
	{.key = "handoff_devices",
	 COLUMN(handoff_devices),
	 .help = "devices that the hand-off is attached to, for pools with `decide: request`"},
	{.key = "handoff_on",
	 COLUMN(handoff_on),
	 .help = "list of {device, xdp (`native`: XDP answers handshakes there; else why not)}: those "
		 "devices, see docs/handoff.md"},
	{.key = "handoff_held",
	 COLUMN(handoff_held),
	 .help = "connections that were held when pintled looked last, half a second ago; of 1,024"},
	{.key = "prefix_entries",
	 COLUMN(prefix_entries),
	 .help = "beginnings of prompts that were known when pintled looked last, a minute ago; of "
		 "262,144"},
	{.key = "splice_devices",
	 COLUMN(splice_devices),
	 .help = "devices of pods that have the program which splices, for pools with `splice`; each "
		 "direction of a device counts as one"},
	{.key = "splice_pods",
	 COLUMN(splice_pods),
	 .help = "network namespaces of pods whose requests it can decide, since it sees both "
		 "directions of what they send"},
	{.key = "spliced",
	 COLUMN(spliced),
	 .help = "connections that are spliced, or ended less than a minute ago; of 65,536"},
	{.key = "config", COLUMN(config), .help = "text: path of the configuration, or null"},
	{.key = "metrics", COLUMN(metrics), .help = "text: address of /metrics; null: not served"},
	{.key = "overload",
	 COLUMN(overload),
	 .help = "list of text: where the overload responder is; empty: there is none"},
	{.key = "kubernetes",
	 COLUMN(kubernetes),
	 .help = "{up, synced, writes (bool: conditions and Events), left and no_room (how many "
		 "Services and InferencePools are left to kube-proxy, and for want of room), "
		 "missing (list of text), only_cluster_ip (bool: a steered Service has node ports, a "
		 "load balancer or external IPs, whose connections are kube-proxy's)}, or null: no "
		 "Kubernetes"},
	{.key = "pools",
	 COLUMN(pools),
	 .help = "list of {name, mode, ab (bool: an A/B test runs), endpoints, ready, ejected, hook, decisions: {OUTCOME: count}}"},
	{.key = "hosts",
	 COLUMN(hosts),
	 .help = "list of {pool, endpoint (as configured), host, port, addresses, left_out, "
		 "age_seconds (of the newest good answer; null: none), ttl_seconds, errors, fails "
		 "(bool), why (text or null)}: endpoints whose address is a name"},
	{.key = "overrides",
	 COLUMN(overrides),
	 .help = "list of {pool, endpoint or null, setting, value (null: taken back), configured, "
		 "since, age_seconds, state}, as `pintle diff` has them"},
	{.key = "warnings", COLUMN(warnings), .help = "list of text"},
};
static const struct columns status_columns = COLUMNS(columns);

static int run_status(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_(status_free) struct status t = {.cli = cli};
	int status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	t.s = s;
	t.pools = pools_new(s);
	t.hosts = status_hosts_new(s);
	t.handoff_on = handoff_on_new(s);
	t.overrides = overrides_new(s);
	t.warnings = warnings_collect(cli, s);
	if (!t.pools || !t.hosts || !t.handoff_on || !t.overrides || !t.warnings) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	if (cli->json)
		return output_rows(cli, &status_columns, &t, 1, sizeof(t), NULL, NULL);
	return status_print_text(&t);
}

const struct command command_status = {
	.name = "status",
	.kind = NOUN,
	.arguments = "",
	.summary = "where and since when Pintle is attached, the daemon, the pools, what was set",
	.help = "Exit status 1 if nothing is pinned under the directory. A daemon that does not run\n"
		"is reported, but is no failure: the kernel keeps steering.",
	.run = run_status,
	.columns = &status_columns,
	.options = OPTIONS_NOUN,
};
