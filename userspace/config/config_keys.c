/* SPDX-License-Identifier: Apache-2.0 */
/* config_keys.c - the table of keys: what each takes, its default, its member in memory. */
#include "config_internal.h"
#include "../policy/engine_names.h"
#include "../base/util.h"

static const char *const api_versions[] = {CONFIG_API_VERSION, NULL};
static const char *const kinds[] = {"PintleConfig", NULL};
#define X(symbol, name) name,
static const char *const places[] = {CONFIG_PLACES(X) NULL};
#undef X
static const char *const intercepts[] = {"none", "endpoints", NULL};
static const char *const failure_modes[] = {
	[PINTLE_FAIL_OPEN] = "FailOpen", [PINTLE_FAIL_CLOSE] = "FailClose", NULL};

#define X(symbol, name, ...) name,
static const char *const admissions[] = {PINTLE_ADMISSIONS(X) NULL};
static const char *const engines[] = {PINTLE_ENGINES(X) NULL};
static const char *const decides[] = {PINTLE_DECIDES(X) NULL};
static const char *const modes[] = {PINTLE_MODES(X) NULL};
static const char *const requests[] = {PINTLE_REQUESTS(X) NULL};
#undef X
static const char *const xdps[] = {[CONFIG_XDP_NATIVE] = "native", [CONFIG_XDP_OFF] = "off", NULL};
static const char *const details[] = {[DETAIL_POOLS] = "pools",
				      [DETAIL_MAIN] = "main",
				      [DETAIL_ALL] = "all",
				      [DETAIL_HISTOGRAMS] = "histograms",
				      NULL};
static const char *const schemes[] = {"http", "https", NULL};

static const struct yaml_list client_list = {
	.size = sizeof(struct config_client),
	.count = offsetof(struct config, client_count),
	.line = offsetof(struct config_client, line),
};
static const struct yaml_list pool_list = {
	.size = sizeof(struct config_pool),
	.count = offsetof(struct config, pool_count),
	.line = offsetof(struct config_pool, line),
};
static const struct yaml_list endpoint_list = {
	.size = sizeof(struct config_endpoint),
	.count = offsetof(struct config_pool, endpoint_count),
	.line = offsetof(struct config_endpoint, line),
};
static const struct yaml_list class_list = {
	.size = sizeof(struct config_class),
	.count = offsetof(struct config_pool, class_count),
	.line = offsetof(struct config_class, line),
};
static const struct yaml_list rule_list = {
	.size = sizeof(struct config_rule),
	.count = offsetof(struct config_class, rule_count),
	.line = offsetof(struct config_rule, line),
};
static const struct yaml_list allow_list = {
	.size = sizeof(struct config_rule),
	.count = offsetof(struct config_pool, allow_count),
	.line = offsetof(struct config_rule, line),
};
static const struct yaml_list prefix_list = {
	.size = sizeof(struct frontend_addr),
	.count = offsetof(struct config, prefix_count),
};
static const struct yaml_list allowed_list = {
	.size = sizeof(struct frontend_addr),
	.count = offsetof(struct config_endpoint, allowed_count),
};
static const struct yaml_list nameserver_list = {
	.size = sizeof(struct endpoint_addr),
	.count = offsetof(struct config, nameserver_count),
};
static const struct yaml_list frontend_list = {
	.size = sizeof(struct frontend_addr),
	.count = offsetof(struct config_pool, frontend_count),
};

static const struct yaml_list fallback_list = {
	.size = sizeof(struct config_other),
	.count = offsetof(struct config_pool, fallback_count),
};

static const struct yaml_list tenant_rule_list = {
	.size = sizeof(struct config_tenant_rule),
	.count = offsetof(struct config_pool, tenants.rule_count),
	.line = offsetof(struct config_tenant_rule, line),
};

static const struct yaml_list spared_list = {
	.size = sizeof(struct config_spared),
	.count = offsetof(struct config_pool, spared_count),
};

/* read_session() writes a session's key, and its group, through this one struct. */
_Static_assert(sizeof(struct key_bits) == offsetof(struct config_stickiness, group_kind) &&
		       offsetof(struct key_bits, v4) ==
			       offsetof(struct config_stickiness, key_bits_v4) &&
		       offsetof(struct key_bits, v6) ==
			       offsetof(struct config_stickiness, key_bits_v6),
	       "struct key_bits is not what struct config_stickiness holds");

/* read_server() writes an address and a name through this one struct. */
_Static_assert(offsetof(struct config_server_at, host) - offsetof(struct config_server_at, at) ==
		       offsetof(struct config_endpoint, host) -
			       offsetof(struct config_endpoint, address),
	       "struct config_server_at is not what struct config_endpoint holds");

#define NODE(member)     .offset = offsetof(struct config, member)
#define POOL(member)     .offset = offsetof(struct config_pool, member)
#define CLIENT(member)   .offset = offsetof(struct config_client, member)
#define ENDPOINT(member) .offset = offsetof(struct config_endpoint, member)
#define CLASS(member)    .offset = offsetof(struct config_class, member)
#define RULE(member)     .offset = offsetof(struct config_rule, member)

#define TENANT(member) .offset = offsetof(struct config_tenant_rule, member)

_Static_assert(offsetof(struct key_bits, v4) == offsetof(struct config_tenants, bits_v4) &&
		       offsetof(struct key_bits, v6) == offsetof(struct config_tenants, bits_v6),
	       "struct key_bits is not what struct config_tenants begins with");

#define MSEC       ((double)NSEC_PER_MSEC)
#define SEC        ((double)NSEC_PER_SEC)
#define HOUR       (3600 * SEC)
#define MAX_TEXT   (PINTLE_TEXT_SIZE - 1)
#define MAX_NAME   (PINTLE_NAME_SIZE - 1)
#define MAX_CLIENT (PINTLE_CLIENT_NAME_SIZE - 1)
#define MAX_FILE   1023
#define MAX_HOST   CONFIG_MAX_HOST
#define MAX_LABEL  63                               /* a namespace of Kubernetes, or a Service */
#define MAX_LOAD   ((double)PINTLE_MAX_LOAD / 1000) /* request equivalents */

/* Parents stand before their keys; docs/configuration.md keeps this order. */
static const struct yaml_key config_keys[] = {
	{"apiVersion", &yaml_constant, .required = true, .choices = api_versions,
	 .help = "The layout of this file."},
	{"kind", &yaml_constant, .required = true, .choices = kinds,
	 .help = "The kind of this file."},

	{"node", &yaml_map, .help = "Settings of the node as a whole."},
	{"node.bpffs", &yaml_path, .max = MAX_TEXT, .preset = "/sys/fs/bpf/pintle", NODE(bpffs),
	 .help = "The directory, on a bpffs, for the pinned maps and links."},
	{"node.netns", &yaml_path, .max = MAX_TEXT, .preset = "/proc/self/ns/net", NODE(netns),
	 .help = "The network namespace whose listeners are steered; the default is pintled's own."},
	{"node.cgroup", &config_cgroup_node, .max = MAX_TEXT, NODE(cgroup),
	 .absent = "the cgroup2 root, found in the mount table",
	 .help = "The cgroup whose sockets are watched and whose clients are steered: model servers "
		 "with `listen`, and clients of pools with `address`, must run in or below it. "
		 "`kubepods` is the one below which this node's kubelet has its pods, wherever that "
		 "is: for a node where another program takes away what is attached to the root."},
	{"node.metrics", &config_serve, .preset = "127.0.0.1:9464", NODE(metrics),
	 .help = "Where pintled serves /metrics, /healthz and /readyz."},
	{"node.metricsDetail", &yaml_choice, .choices = details, .preset = "main", NODE(detail),
	 .help = "Which series /metrics has for each endpoint: none, the main ones, all, or besides "
		 "a histogram of each endpoint's times to first token; see docs/metrics.md."},
	{"node.group", &config_group_name, .max = 31, .absent = "root", NODE(group),
	 .help = "The group that the pins belong to; its members can run the CLI's nouns."},

	{"node.keyFile", &yaml_path, .max = MAX_FILE, .secret = true, NODE(key_file),
	 .absent = "this node draws a key, and keeps it",
	 .help = "A file of 16 bytes, the key of this node's hashes of sessions and prompts. Nodes "
		 "with the same key name sessions alike, and agree on the homes of prompts. Keep it "
		 "secret, because a reader of it can name others' sessions, and keep it unchanged: "
		 "with another key, sessions that requests or hints name are new. Make it so that "
		 "only root reads it: `(umask 077; head -c 16 /dev/urandom > FILE)`. pintled warns of a "
		 "file that others may read."},

	{"node.xdp", &yaml_choice, .choices = xdps, .preset = "native", NODE(xdp),
	 .help = "Where handshakes of pools with `decide: request` are answered: `native`: in XDP on "
		 "devices whose drivers have it, else in TC; `off`: in TC. See docs/handoff.md."},

	{"node.overload", &yaml_map,
	 .help = "The overload responder, which answers connections of classes with `admission: "
		 "divert`; see docs/limits.md."},
	{"node.overload.listen", &config_address, NODE(overload),
	 .absent = "port 9465 at the address from which this node reaches the pool's endpoints; at "
		   "127.0.0.1 and ::1 where all such pools have `listen`",
	 .help = "The responder's own address, which clients of pools with `address` must reach: "
		 "their connections go there."},

	{"node.daemonless", &yaml_duration, .min = 0, .max = 720 * HOUR, .preset = "10m",
	 NODE(daemonless_ns),
	 .help = "When pintled has been gone for this long, pools with `address` are left to "
		 "whatever else serves their frontends, such as kube-proxy, because their pods "
		 "may have moved. 0s means never. Where this key is left out, pools of Services "
		 "in Kubernetes have 30s: those at ClusterIPs alone, without `access`, `tenants` "
		 "and bounds of `classes`."},

	{"node.nameservers", &config_nameserver, .max = 8, NODE(nameservers),
	 .list = &nameserver_list, .absent = "those of pintled's `/etc/resolv.conf`",
	 .help = "The DNS servers that pintled asks for names in `address`. Needed where those of "
		 "`/etc/resolv.conf` tell clients a frontend's address for the name."},

	{"node.frontendPrefixes", &config_prefixes, .max = 64, NODE(prefixes), .list = &prefix_list,
	 .absent = "none",
	 .help = "Where a SteeringPolicy may name further frontends for its Service: addresses that "
		 "no one else has. See docs/kubernetes.md."},

	{"clients", &yaml_maps, .max = CONFIG_CLIENTS, NODE(clients), .list = &client_list,
	 .absent =
		 "each Kubernetes pod is a client, `pod/UID`, and each other cgroup one by itself",
	 .help = "Names for clients by their cgroups, for pools whose key, group or tenants are by `cgroup`. "
		 "The first entry that matches a cgroup counts. Entries with the same name are "
		 "one client."},
	{"clients[].name", &yaml_name, .required = true, .max = MAX_CLIENT, CLIENT(name),
	 .help = "The client's name."},
	{"clients[].cgroup", &config_cgroup, .required = true, .max = 255, CLIENT(cgroup),
	 .help = "A path below the cgroup2 root, or a pattern of it, where `*` also stands for "
		 "`/`: `/system.slice/batch-*.service`. Everything below such a cgroup belongs "
		 "to it."},
	{"clients[].steer", &yaml_bool, .preset = "true", CLIENT(steer),
	 .help = "Whether the connect hook steers the client. `false`: its connections go on as "
		 "they came, to every pool: for a client whose own proxy has to see the frontend's "
		 "address. `access` holds all the same."},

	{"audit", &yaml_map, .absent = "nothing is written down",
	 .help = "A trail of connections, as JSON lines; see docs/limits.md."},
	{"audit.file", &yaml_path, .max = MAX_FILE, NODE(audit.file), .absent = "none",
	 .help = "The file that lines are appended to. pintled makes it with mode 0640, and opens it "
		 "anew at each reload."},
	{"audit.journald", &yaml_bool, .preset = "false", NODE(audit.journald),
	 .help = "Whether the lines go to journald, too, as messages of `pintle-audit`."},
	{"audit.all", &yaml_bool, .preset = "false", NODE(audit.all),
	 .help = "Whether there is a line for each steered connection that ends, besides those for "
		 "connections that are refused."},

	{"kubernetes", &yaml_map,
	 .absent = "in a pod with a service account's token as if it were `{}`; elsewhere no "
		   "Kubernetes",
	 .help = "Pools for the Services that carry the label `pintle.dev/mode`, beside those of "
		 "this file; see docs/kubernetes.md. Takes effect at the start of pintled."},
	{"kubernetes.kubeconfig", &yaml_path, .max = MAX_FILE, NODE(kubeconfig),
	 .absent = "the service account of the pod that pintled runs in",
	 .help = "A kubeconfig file; its current context says where the API server is."},
	{"kubernetes.node", &yaml_name, .max = MAX_HOST, NODE(kube_node),
	 .absent = "the environment's `NODE_NAME`, else this machine's host name",
	 .help = "This node's name in the cluster."},
	{"kubernetes.gpuExporter", &yaml_map, .absent = "no GPU figures of pods",
	 .help = "The Service of the DCGM exporter, which has a pod on each node with GPUs. Pods of "
		 "Services and InferencePools then have the figures that the exporter's pod on "
		 "their own node has of them, at `/metrics` of its first port."},
	{"kubernetes.gpuExporter.namespace", &yaml_name, .required = true, .max = MAX_LABEL,
	 NODE(gpu_exporter.space), .help = "The Service's namespace."},
	{"kubernetes.gpuExporter.service", &yaml_name, .required = true, .max = MAX_LABEL,
	 NODE(gpu_exporter.name), .help = "The Service's name."},

	{"pools", &yaml_maps, .max = PINTLE_MAX_POOLS, NODE(pools), .list = &pool_list,
	 .absent = "none; required unless `kubernetes` is there",
	 .help = "The pools. A pool has the endpoints of one model, and the "
		 "settings for them."},
	{"pools[].name", &config_pool_name, .required = true, .max = MAX_NAME, POOL(name),
	 .help = "The pool's name, once in the file."},
	{"pools[].engine", &yaml_word, .policy = POLICY_TOO, .choices = engines, .preset = "vllm",
	 POOL(engine),
	 .help = "The engine, whose metric names the endpoints' pages use; see Engines."},
	{"pools[].metrics", &yaml_map, .policy = POLICY_TOO, .absent = "the engine's names",
	 .help = "Metrics that have other names on the endpoints' pages than the engine's, as those "
		 "of NIM, LMDeploy and Ray Serve: a name, or NAME{LABEL=\"VALUE\"} for the series with "
		 "that label. With `engine: auto` these alone are read. See docs/engines.md."},
	{"pools[].metrics.waiting", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[0]), .absent = "the engine's name",
	 .help = "Requests that wait, a gauge."},
	{"pools[].metrics.running", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[1]), .absent = "the engine's name",
	 .help = "Requests that run, a gauge."},
	{"pools[].metrics.kv", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[2]), .absent = "the engine's name",
	 .help = "The share of the KV cache in use, 0 to 1, a gauge. Several series are averaged, and all others added up."},
	{"pools[].metrics.prefixHits", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[3]), .absent = "the engine's name",
	 .help = "Tokens of prompts found in the prefix cache, a counter."},
	{"pools[].metrics.prefixQueries", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[4]), .absent = "the engine's name",
	 .help = "Tokens of prompts looked up there, a counter."},
	{"pools[].metrics.promptTokens", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[5]), .absent = "the engine's name",
	 .help = "Tokens of prompts, a counter."},
	{"pools[].metrics.outputTokens", &config_metric, .policy = POLICY_TOO, .max = 255,
	 POOL(metric_names[6]), .absent = "the engine's name",
	 .help = "Tokens of answers, a counter."},
	{"pools[].frontends", &config_frontends, .required = true, .empty = true,
	 .max = PINTLE_MAX_FRONTENDS, POOL(frontends), .list = &frontend_list,
	 .missing = "; or [] for a pool that is only a canary or a fallback, or that only serves "
		    "models, of another",
	 .help = "Addresses or address prefixes, each with a port, that clients connect to. An "
		 "address and port belongs to one frontend only. `[::/0]:PORT` includes every "
		 "IPv4 address. None, `[]`, is for a canary or a fallback of another pool, and for one "
		 "that serves models of another."},
	{"pools[].announce", &yaml_bool, .preset = "false", POOL(announce),
	 .help = "Whether pintled adds local routes for the frontends, so that this node takes "
		 "their connections. Refused for prefixes shorter than /8 (IPv4) or /16 (IPv6), and for "
		 "endpoints with an `address`, unless `decide: request`."},

	{"pools[].endpoints", &yaml_maps, .required = true, .empty = true,
	 .max = PINTLE_MAX_ENDPOINTS, .each = PINTLE_MAX_MEMBERS, POOL(endpoints),
	 .list = &endpoint_list, .help = "The model servers of the pool."},
	{"pools[].endpoints[].name", &yaml_name, .required = true, .max = MAX_NAME, ENDPOINT(name),
	 .help = "The endpoint's name, once in the pool."},
	{"pools[].endpoints[].listen", &config_listen, .absent = "`address`", ENDPOINT(listen),
	 .help = "The address and port on which a model server on this node listens; the lookup "
		 "hook steers to it. A port alone means the listener at the address from which "
		 "the metrics page is read, or at every address. If the page is at another port, "
		 "or its URL names a host, a port alone means any listener on that port. Only "
		 "one endpoint can have that port."},
	{"pools[].endpoints[].address", &config_server, .absent = "`listen`", ENDPOINT(address),
	 .help = "The address and port of a model server anywhere, for example in a pod; the "
		 "connect hook steers clients on this node to it. In the place of the address a "
		 "name for which pintled asks DNS: see docs/limits.md. The endpoints of a pool all "
		 "have `listen`, or all have `address`."},
	{"pools[].endpoints[].allowPrefixes", &config_prefixes, .max = 256, ENDPOINT(allowed),
	 .list = &allowed_list, .absent = "none: public addresses alone",
	 .help = "With a name in `address`: further prefixes in which its addresses may lie, such as "
		 "those of a private network, or of this node."},
	{"pools[].endpoints[].user", &config_user, .max = 31, ENDPOINT(user),
	 .absent = "the user of the listener that was there first, and root",
	 .help = "With `listen`: the user whose listeners are the endpoint. Other listeners at "
		 "its address are left out and reported."},
	{"pools[].endpoints[].cgroup", &config_cgroup, .max = 255, ENDPOINT(cgroup),
	 .absent = "any",
	 .help = "With `listen`: the cgroup in or below which the endpoint's listeners are made, "
		 "as a path below the cgroup2 root or a pattern of it, as in `clients[].cgroup`. "
		 "It must be in or below `node.cgroup`. Without `user`, the listeners may belong "
		 "to any user."},
	{"pools[].endpoints[].metrics", &config_page, .max = 1023, ENDPOINT(metrics_url),
	 .absent = "`scrape.scheme`, the address and port, and `scrape.path`; for a port alone "
		   "127.0.0.1, then ::1",
	 .help = "The endpoint's metrics page; or `none` where there is none, as at a provider, or "
		 "of a server such as Ollama. The load is then what the kernel sees of this node's "
		 "connections to the endpoint."},
	{"pools[].endpoints[].drained", &yaml_bool, .preset = "false", ENDPOINT(drained),
	 .help = "Whether the endpoint takes no further connection, as after `pintle drain`. Its "
		 "open connections continue."},
	{"pools[].endpoints[].place", &yaml_choice, .choices = places, .preset = "unknown",
	 ENDPOINT(place),
	 .help = "Where the endpoint runs, seen from this node, for `locality`: on it, in its zone, "
		 "or elsewhere. In a cluster pintled finds out."},
	{"pools[].endpoints[].weight", &yaml_integer, .min = 1, .max = PINTLE_MAX_WEIGHT,
	 .preset = "1", ENDPOINT(weight),
	 .help = "How much the endpoint takes beside one with weight 1: its load is divided by this "
		 "before loads are compared, also with a class's `limit`."},
	{"pools[].endpoints[].gpu", &yaml_map, .absent = "no GPU figures",
	 .help = "Which GPU of the `dcgm` page belongs to the endpoint: `index` or `pod`."},
	{"pools[].endpoints[].gpu.index", &yaml_integer, .min = 0, .max = 1023, .unset = -1,
	 ENDPOINT(gpu_index), .absent = "not joined by index", .help = "The series' `gpu` label."},
	{"pools[].endpoints[].gpu.pod", &yaml_name, .max = MAX_TEXT, ENDPOINT(gpu_pod),
	 .absent = "not joined by pod",
	 .help = "The series' `pod` label. The busiest of several GPUs counts."},
	{"pools[].endpoints[].gpu.namespace", &yaml_name, .max = MAX_LABEL, ENDPOINT(gpu_namespace),
	 .absent = "any namespace",
	 .help = "The series' `namespace` label: pods of two namespaces may have the same name."},
	{"pools[].endpoints[].gpu.exporter", &config_url, .max = 1023, ENDPOINT(gpu_exporter),
	 .absent = "the pool's `dcgm.url`",
	 .help = "The page of the DCGM exporter that has this endpoint's GPUs: that of the node "
		 "on which the server runs."},

	{"pools[].mode", &yaml_choice, .policy = POLICY_NEVER, .set = SET_IN_KERNEL,
	 .choices = modes, .preset = "enforce", POOL(mode),
	 .help = "How the pool is steered until `pintle mode` says otherwise; see Modes."},
	{"pools[].failureMode", &yaml_choice, .set = SET_BY_DAEMON, .choices = failure_modes,
	 .preset = "FailOpen", POOL(failure_mode),
	 .help = "When no endpoint is ready, FailOpen hashes connections over all endpoints "
		 "(`listen`) or leaves them as they came (`address`); FailClose refuses them at "
		 "once."},

	{"pools[].daemonless", &yaml_duration, .min = SEC, .max = 720 * HOUR,
	 .absent = "`node.daemonless`", POOL(daemonless_ns),
	 .help = "With `address`: the same for this pool, whose frontends kube-proxy, or something "
		 "else, serves as well. Without `access`, `tenants` and bounds of `classes`, sooner "
		 "where all endpoints fail the connections of two clients; see docs/connect.md."},

	{"pools[].intercept", &yaml_choice, .policy = POLICY_NEVER, .set = SET_BY_DAEMON,
	 .choices = intercepts, .preset = "none", POOL(intercept),
	 .help = "With `address`: `endpoints` steers also those connections that clients make to an "
		 "endpoint's own address and port, as gateways do; see docs/connect.md. "
		 "Connections from the node's own network namespace, such as a kubelet's probes, "
		 "are left alone."},
	{"pools[].interceptExcept", &config_spared, .max = PINTLE_MAX_SPARED, POOL(spared),
	 .list = &spared_list, .absent = "none",
	 .help = "With `intercept: endpoints`: clients whose connections to endpoints' own addresses "
		 "are left alone. Each is a name of `clients`, or `pod/UID`."},

	{"pools[].requests", &yaml_choice, .set = SET_IN_KERNEL, .choices = requests,
	 .preset = "as-they-come", POOL(requests),
	 .help = "Whether all requests of a kept-alive connection go where it was steered to, or "
		 "each HTTP/1.1 request comes on its own connection, until `pintle set` says "
		 "otherwise; see docs/keep-alive.md."},
	{"pools[].decide", &yaml_choice, .set = SET_BY_DAEMON, .choices = decides,
	 .preset = "connection", POOL(decide),
	 .help = "When a connection is decided. `connection`: as it comes, by its "
		 "addresses; where it is written or set, what `stickiness` says of requests rests. "
		 "`request`: when its first request is there, by the session that it names; needs "
		 "Linux 6.9, see docs/handoff.md. With `address`, `request` is for pods of this "
		 "node, or, with `splice`, for servers anywhere. In a SteeringPolicy: for clients "
		 "in pods of each node, and servers anywhere."},
	{"pools[].splice", &yaml_bool, .policy = POLICY_NEVER, .preset = "false", POOL(splice),
	 .help = "With `decide: request` and `address`: the servers are anywhere, on other nodes, too, "
		 "and the clients are pods of this node; see docs/handoff.md, Splice."},
	{"pools[].follow", &yaml_bool, .set = SET_BY_DAEMON, .preset = "true", POOL(follow),
	 .help = "Whether pintled follows the requests on the pool's connections: which wait, which "
		 "are answered, and how large they are. Otherwise the rule counts connections."},
	{"pools[].spareHeaders", &config_headers, .set = SET_BY_DAEMON,
	 .preset = "Accept-Encoding, User-Agent", POOL(spare_headers),
	 .help = "With one request per connection: headers that may be overwritten with "
		 "`Connection: close` if a request has no Connection header. The first one that "
		 "is present in a line of 17 to 248 characters is taken."},
	{"pools[].http10", &yaml_bool, .set = SET_BY_DAEMON, .preset = "false", POOL(http10),
	 .help = "With one request per connection: whether a request in which no header can be "
		 "changed becomes an HTTP/1.0 request. An answer that is cut short may then look "
		 "complete to its client."},

	{"pools[].scrape", &yaml_map, .policy = POLICY_TOO,
	 .help = "How the endpoints' metrics pages are read."},
	{"pools[].scrape.interval", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .policy_min = 100 * MSEC, .max = HOUR, .preset = "200ms", POOL(scrape.interval_ns),
	 .help = "The time from one scrape of an endpoint to the next."},
	{"pools[].scrape.idle", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .policy_min = 100 * MSEC, .max = 60000 * MSEC, .preset = "5s", POOL(scrape.idle_ns),
	 .help = "The time between scrapes of ready endpoints while no connection of this node to "
		 "the pool is open, nor one came in 10 s. A page may then be older by this than "
		 "`saturation.staleness`. The first connection brings `interval` back, within "
		 "0.2 s. If it is no longer than `interval`, pages are always read at "
		 "`interval`."},
	{"pools[].scrape.timeout", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .max = HOUR, .preset = "1s", POOL(scrape.timeout_ns),
	 .help = "A page that takes longer counts as a failure."},
	{"pools[].scrape.path", &config_url_path, .policy = POLICY_TOO, .max = 255,
	 .preset = "/metrics", POOL(scrape.path),
	 .help = "The path of the page, for endpoints without a `metrics` "
		 "URL."},
	{"pools[].scrape.scheme", &yaml_word, .policy = POLICY_TOO, .choices = schemes,
	 .preset = "http", POOL(scrape.scheme),
	 .help = "http, or https for TLS; for endpoints without a `metrics` URL, and for probes "
		 "of those with a page elsewhere (see docs/connect.md)."},
	{"pools[].scrape.authorization", &yaml_map, .absent = "no credential is sent",
	 .help = "The credential that is sent with each request for a page of the pool's "
		 "endpoints, to the configured host alone: redirects are not followed. Requests "
		 "for the `dcgm` page carry none."},
	{"pools[].scrape.authorization.credentialsFile", &yaml_path, .required = true,
	 .secret = true, .max = MAX_FILE, POOL(scrape.credentials_file),
	 .help = "A file with a bearer token and nothing else. pintled reads it again within a "
		 "second of a change."},
	{"pools[].scrape.tlsConfig", &yaml_map,
	 .absent = "the system's authorities, no certificate",
	 .help = "How https pages are read. All files are PEM."},
	{"pools[].scrape.tlsConfig.caFile", &yaml_path, .max = MAX_FILE, POOL(scrape.ca_file),
	 .absent = "the system's",
	 .help = "The authorities. One of them must have signed a server's certificate."},
	{"pools[].scrape.tlsConfig.certFile", &yaml_path, .max = MAX_FILE, POOL(scrape.cert_file),
	 .absent = "none",
	 .help = "The certificate that pintled shows to servers; with "
		 "`keyFile`."},
	{"pools[].scrape.tlsConfig.keyFile", &yaml_path, .max = MAX_FILE, .secret = true,
	 POOL(scrape.key_file), .absent = "none", .help = "The private key of `certFile`."},
	{"pools[].scrape.tlsConfig.serverName", &yaml_name, .max = MAX_HOST,
	 POOL(scrape.server_name), .absent = "the URL's host",
	 .help = "The name that a server's certificate must have if its page is read by address; "
		 "also sent as the request's host."},

	{"pools[].stickiness", &yaml_map, .policy = POLICY_TOO,
	 .help = "How sessions are told apart, and kept on their endpoints."},
	{"pools[].stickiness.key", &config_session_key, .set = SET_BY_DAEMON,
	 POOL(stickiness.key_kind),
	 .absent =
		 "with `decide: request` `agent`, and behind it `source` with `listen`, `client` with "
		 "`address`",
	 .help = "The session key; see Session keys. `source/24/64` is the client's first "
		 "24 bits (IPv4) or 64 bits (IPv6); an omitted length is 32 or 64. If clients "
		 "share a /64, as the pods of a node do, or a gateway has many addresses in one "
		 "/64, write `source/32/128`. With `decide: request`, up to eight of `agent`, "
		 "`header/NAME`, `cookie/NAME`, `body/NAME` and `authorization` before it, with "
		 "commas between or as a list: the first that the request has makes the session. "
		 "`agent` is what agents and clients name their conversations by; see "
		 "docs/handoff.md, The session."},
	{"pools[].stickiness.group", &config_session, .set = SET_BY_DAEMON, .preset = "none",
	 POOL(stickiness.group_kind),
	 .help = "The key of groups, written like `key`. The sessions of a group share a home: "
		 "the endpoint that the first connection of each session prefers."},
	{"pools[].stickiness.shared", &yaml_bool, .set = SET_BY_DAEMON, .preset = "false",
	 POOL(stickiness.shared),
	 .help = "With `key: hint`, or a key that requests name: whether clients that give the same "
		 "hint, or name the same session, share one session, and so must trust each "
		 "other. If not, a hint names a session of one client only; a client is a network "
		 "namespace, such as a pod's, or, with `decide: request`, an address."},
	{"pools[].stickiness.prefix", &yaml_bool, .set = SET_BY_DAEMON, .preset = "false",
	 POOL(stickiness.prefix),
	 .help = "With `decide: request`: whether requests go where a beginning of their prompt is "
		 "cached, as far as the prompt is seen. Takes 29 MB on the node."},
	{"pools[].stickiness.ttl", &yaml_duration, .set = SET_BY_DAEMON, .min = 0,
	 .max = 720 * HOUR, .preset = "300s", POOL(stickiness.ttl_ns),
	 .help = "A binding that is unused for this long is forgotten."},
	{"pools[].stickiness.maxExtraLoad", &config_extra, .set = SET_BY_DAEMON, .min = 0,
	 .max = MAX_LOAD, .preset = "auto", POOL(stickiness.max_extra_load),
	 .help = "By how many request equivalents the preferred endpoint may be ahead of the "
		 "least loaded one before a session leaves it. `auto`: by what computing the "
		 "session's newest request and answer anew would cost, one for every 400 bytes and "
		 "more for long ones, besides the least loaded one's load; and by 16 while these "
		 "are not known. With a number, prompts weigh nothing: the load counts requests "
		 "alone."},

	{"pools[].classes", &yaml_maps, .policy = POLICY_TOO, .empty = true,
	 .max = PINTLE_MAX_POOLS * PINTLE_MAX_CLASSES, .each = PINTLE_MAX_CLASSES, POOL(classes),
	 .list = &class_list, .absent = "one class, without a limit", .word = "auto",
	 .means = "[{name: interactive}, {name: agent}, {name: batch, priority: -1}]",
	 .help = "The classes of the pool's work, with what each may take of an endpoint; see "
		 "docs/limits.md. A connection that nothing puts into another class belongs to the "
		 "first. `auto`, which a SteeringPolicy cannot have, means the classes interactive, "
		 "agent and batch, the last with the priority -1, and `classify: true`."},
	{"pools[].classes[].name", &yaml_name, .policy = POLICY_TOO, .required = true,
	 .max = PINTLE_CLASS_NAME_SIZE - 1, CLASS(name),
	 .help = "The class's name, once in the pool."},
	{"pools[].classes[].priority", &yaml_integer, .policy = POLICY_TOO, .min = -1000,
	 .max = 1000, .preset = "0", CLASS(priority),
	 .help = "The more, the more important. A hint moves a connection only to a class whose "
		 "priority is not higher, unless it is trusted."},
	{"pools[].classes[].limit", &yaml_number, .policy = POLICY_TOO, .min = 0.001,
	 .max = MAX_LOAD, CLASS(limit), .absent = "none",
	 .help = "The load, in request equivalents, from which on an endpoint is full for the class. "
		 "Connections of the class go to endpoints that are not; if all are, `admission` "
		 "says what happens."},
	{"pools[].classes[].connections", &yaml_integer, .policy = POLICY_TOO, .min = 1,
	 .max = 1000000, CLASS(connections), .absent = "any number",
	 .help = "The connections of the class, in flight at an endpoint, with which the endpoint is "
		 "full for the class."},
	{"pools[].classes[].poolConnections", &yaml_integer, .policy = POLICY_TOO, .min = 1,
	 .max = 100000000, CLASS(pool_connections), .absent = "any number",
	 .help = "The connections of the class, in flight in the pool, with which every endpoint is "
		 "full for the class."},
	{"pools[].classes[].reserve", &config_reserve, .policy = POLICY_TOO, CLASS(reserve),
	 .absent = "none",
	 .help = "How many of the ready endpoints, or what percentage of the pool's, are full for "
		 "classes of lower priority. At least one ready endpoint stays open to all."},
	{"pools[].classes[].admission", &yaml_choice, .policy = POLICY_TOO, .choices = admissions,
	 .preset = "proceed", CLASS(admission),
	 .help = "The fate of a connection of the class where every endpoint is full for it: "
		 "`proceed`, it goes where it would without the limit; `refuse`, it is refused at "
		 "once; `spill`, it goes to a pool of `fallback`; `divert`, the overload "
		 "responder answers it, by 429 with Retry-After."},
	{"pools[].classes[].maxExtraLoad", &yaml_number, .policy = POLICY_TOO, .min = 0,
	 .max = MAX_LOAD, CLASS(max_extra_load), .absent = "the pool's `stickiness.maxExtraLoad`",
	 .help = "By how many request equivalents the preferred endpoint may be ahead of the least "
		 "loaded one before a session of the class leaves it."},
	{"pools[].classes[].rules", &yaml_maps, .policy = POLICY_TOO, .empty = true,
	 .max = PINTLE_MAX_POOLS * PINTLE_MAX_RULES, .each = PINTLE_MAX_RULES, CLASS(rules),
	 .list = &rule_list, .absent = "none",
	 .help = "Which connections belong to the class: those that match all that one of the rules "
		 "says. The rules of all classes are tried in their order, and the first "
		 "that matches counts."},
	{"pools[].classes[].rules[].source", &config_source, .policy = POLICY_TOO, RULE(source),
	 .absent = "any",
	 .help = "An address of the client, or a prefix of it. With `address`, a client that is no "
		 "pod of this node has one only if its socket is bound."},
	{"pools[].classes[].rules[].port", &yaml_integer, .policy = POLICY_TOO, .min = 1,
	 .max = 65535, RULE(port), .absent = "any",
	 .help = "The port of the frontend that the client asks for."},
	{"pools[].classes[].rules[].namespace", &yaml_name, .policy = POLICY_TOO, .max = MAX_LABEL,
	 RULE(space), .absent = "any",
	 .help = "With `address`: the Kubernetes namespace of the client's pod."},
	{"pools[].classes[].rules[].serviceAccount", &config_account, .policy = POLICY_TOO,
	 .max = MAX_LABEL + 1 + MAX_HOST, RULE(account), .absent = "any",
	 .help = "With `address`: the service account of the client's pod, as NAMESPACE/NAME."},
	{"pools[].classes[].rules[].cgroup", &config_cgroup, .max = 255, RULE(cgroup),
	 .absent = "any",
	 .help = "With `address`: a path of the client's cgroup or a pattern of it, as in "
		 "`clients[].cgroup`."},
	{"pools[].classes[].rules[].dscp", &yaml_integer, .policy = POLICY_TOO, .min = 0, .max = 63,
	 .unset = -1, RULE(dscp), .absent = "any",
	 .help = "With `address`: the DSCP that the client's socket asks for (`IP_TOS`, "
		 "`IPV6_TCLASS`). Any client may set it, so it counts as a hint does."},
	{"pools[].classes[].rules[].trustHints", &yaml_bool, .policy = POLICY_TOO,
	 .preset = "false", RULE(hints_trusted),
	 .help = "Whether hints of the clients that match may also raise their class."},
	{"pools[].classify", &yaml_bool, .policy = POLICY_TOO,
	 .absent = "true with `classes: auto`, otherwise false", POOL(classify),
	 .help = "Whether each session is put into the class `interactive`, `agent` or `batch` by what "
		 "it does, where the pool has a class of that name and no rule matches."},
	{"pools[].trustHints", &yaml_bool, .policy = POLICY_TOO, .preset = "false",
	 POOL(hints_trusted),
	 .help = "Whether any client's hint may raise its class. Otherwise a hint moves a connection "
		 "only to a class whose priority is not higher."},

	{"pools[].access", &yaml_map, .policy = POLICY_TOO, .absent = "everyone",
	 .help = "Who may connect to the pool. Others are refused at once; see docs/limits.md."},
	{"pools[].access.allow", &yaml_maps, .policy = POLICY_TOO, .required = true,
	 .max = PINTLE_MAX_POOLS * PINTLE_MAX_RULES, .each = PINTLE_MAX_RULES, POOL(allowed),
	 .list = &allow_list,
	 .help = "The clients that may: those that match all that one of the rules says."},
	{"pools[].access.allow[].source", &config_source, .policy = POLICY_TOO, RULE(source),
	 .absent = "any", .help = "As in a class's rule."},
	{"pools[].access.allow[].port", &yaml_integer, .policy = POLICY_TOO, .min = 1, .max = 65535,
	 RULE(port), .absent = "any", .help = "The port of the frontend that the client asks for."},
	{"pools[].access.allow[].namespace", &yaml_name, .policy = POLICY_TOO, .max = MAX_LABEL,
	 RULE(space), .absent = "any",
	 .help = "With `address`: the Kubernetes namespace of the client's pod."},
	{"pools[].access.allow[].serviceAccount", &config_account, .policy = POLICY_TOO,
	 .max = MAX_LABEL + 1 + MAX_HOST, RULE(account), .absent = "any",
	 .help = "With `address`: the service account of the client's pod, as NAMESPACE/NAME."},
	{"pools[].access.allow[].cgroup", &config_cgroup, .max = 255, RULE(cgroup), .absent = "any",
	 .help = "With `address`: a path of the client's cgroup or a pattern of it, as in "
		 "`clients[].cgroup`."},
	{"pools[].fallback", &config_others, .max = PINTLE_MAX_POOLS * PINTLE_MAX_FALLBACKS,
	 .each = PINTLE_MAX_FALLBACKS, POOL(fallbacks), .list = &fallback_list, .absent = "none",
	 .help = "Other pools of this file, for the same model, which take the connections of "
		 "classes with `admission: spill` and, where no endpoint of the pool is ready, "
		 "all: the first that takes it gets the connection. See docs/rollout.md."},
	{"pools[].models", &config_models, .policy = POLICY_TOO, POOL(models),
	 .absent = "no models",
	 .help = "With `decide: request`: which pool of this file serves the requests that name a "
		 "model, by the model's name; the pool itself may be one of them. `default` is for all "
		 "other requests, which else are answered 404, or reset. See docs/handoff.md. In a "
		 "SteeringPolicy: which Service or InferencePool of its namespace; see "
		 "docs/kubernetes.md."},
	{"pools[].canary", &yaml_map, .absent = "none",
	 .help = "Another pool of this file, for the same model, that gets a part of this pool's "
		 "sessions; see docs/rollout.md."},
	{"pools[].canary.pool", &yaml_name, .required = true, .max = MAX_NAME, POOL(canary),
	 .help = "Its name."},
	{"pools[].canary.percent", &yaml_number, .set = SET_BY_DAEMON, .policy = POLICY_NEVER,
	 .min = 0, .max = 100, .required = true, POOL(canary_percent),
	 .help = "The part of the sessions that goes there, in steps of 0.01. A larger one takes "
		 "sessions from this pool, and moves no other."},

	{"pools[].tenants", &yaml_map, .policy = POLICY_TOO, .absent = "no quotas",
	 .help = "Quotas of each tenant in the pool, whichever its class; see docs/limits.md. Over "
		 "them, connections are told no as the class's `admission` says, but never `proceed`."},
	{"pools[].tenants.by", &config_tenant_by, .policy = POLICY_TOO, .required = true,
	 POOL(tenants.kind),
	 .help = "The key of tenants, as `stickiness.key` is that of sessions."},
	{"pools[].tenants.connections", &yaml_integer, .policy = POLICY_TOO, .min = 1,
	 .max = 1000000, POOL(tenants.each.connections), .absent = "any number",
	 .help = "The connections that a tenant may have in flight."},
	{"pools[].tenants.rate", &config_rate, .policy = POLICY_TOO, POOL(tenants.each.interval_ns),
	 .absent = "any number", .help = "The new connections that a tenant may make, on average."},
	{"pools[].tenants.burst", &yaml_integer, .policy = POLICY_TOO, .min = 1, .max = 100000,
	 .preset = "10", POOL(tenants.each.burst),
	 .help = "With `rate`: how many new connections a tenant may make at once."},
	{"pools[].tenants.rules", &yaml_maps, .policy = POLICY_TOO, .empty = true,
	 .max = PINTLE_MAX_POOLS * PINTLE_MAX_TENANT_RULES, .each = PINTLE_MAX_TENANT_RULES,
	 POOL(tenants.rules), .list = &tenant_rule_list, .absent = "none",
	 .help = "Tenants that may have more than the others, or less."},
	{"pools[].tenants.rules[].tenant", &config_tenant, .policy = POLICY_TOO, .required = true,
	 .max = MAX_LABEL + 1 + MAX_HOST, TENANT(tenant),
	 .help = "Which one: its namespace, its service account as NAMESPACE/NAME, its address or "
		 "prefix, or with `by: cgroup` its name in `clients` or, in a node's file, a path or "
		 "pattern as in `clients[].cgroup`, of at most 63 bytes. Such a path is an entry of "
		 "`clients`, behind those of the file, which has the path as its name."},
	{"pools[].tenants.rules[].connections", &yaml_integer, .policy = POLICY_TOO, .min = 1,
	 .max = 1000000, TENANT(quota.connections), .absent = "any number",
	 .help = "As `tenants.connections`, for this one."},
	{"pools[].tenants.rules[].rate", &config_rate, .policy = POLICY_TOO,
	 TENANT(quota.interval_ns), .absent = "any number",
	 .help = "As `tenants.rate`, for this one."},
	{"pools[].tenants.rules[].burst", &yaml_integer, .policy = POLICY_TOO, .min = 1,
	 .max = 100000, .preset = "10", TENANT(quota.burst),
	 .help = "As `tenants.burst`, for this one."},

	{"pools[].locality", &yaml_map, .policy = POLICY_TOO,
	 .help = "Whether clients prefer servers that are near; see docs/load.md."},
	{"pools[].locality.preferSameNode", &yaml_bool, .set = SET_BY_DAEMON, .preset = "false",
	 POOL(locality.prefer_node),
	 .help = "Whether an endpoint on another node than the client's counts as more loaded, by "
		 "`maxExtraLoad`."},
	{"pools[].locality.preferSameZone", &yaml_bool, .set = SET_BY_DAEMON, .preset = "false",
	 POOL(locality.prefer_zone),
	 .help = "Whether an endpoint in another zone than the client's counts as more loaded, by "
		 "`maxExtraLoad`; with both preferences by twice as much."},
	{"pools[].locality.maxExtraLoad", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1000,
	 .preset = "4", POOL(locality.max_extra_load),
	 .help = "By how many request equivalents a near endpoint may be ahead of a far one before "
		 "new sessions go to the far one."},

	{"pools[].weights", &yaml_map, .policy = POLICY_TOO,
	 .help = "The weight of each signal in an endpoint's load, in request equivalents."},
	{"pools[].weights.queue", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1000,
	 .preset = "2", POOL(weights.queue),
	 .help = "The weight of each waiting request, and of each connection that came since the "
		 "scrape."},
	{"pools[].weights.kvCache", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1000,
	 .preset = "2", POOL(weights.kv_cache),
	 .help = "The weight of a KV cache at its threshold, times `saturation.queueDepth`. The term "
		 "grows with the fourth power of the share in use."},
	{"pools[].weights.running", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1000,
	 .preset = "1", POOL(weights.running),
	 .help = "The weight of each running request, which each connection that ended since the "
		 "scrape takes off."},
	{"pools[].weights.gpu", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1000,
	 .preset = "0", POOL(weights.gpu), .help = "The weight of a GPU in full use."},
	{"pools[].weights.prefix", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 100,
	 .preset = "1.5", POOL(weights.prefix),
	 .help = "With `stickiness.prefix`: the weight of 400 bytes of the request's prompt at an "
		 "endpoint that has not cached them. It counts for this request's decision alone. "
		 "With 0, prompts are not looked at."},

	{"pools[].weights.adapter", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1000,
	 .preset = "8", POOL(weights.adapter),
	 .help = "In a pool of `models`: the weight of a request for a LoRA adapter at an endpoint that "
		 "has not loaded it. It counts for this request's decision alone. See "
		 "docs/handoff.md."},

	{"pools[].saturation", &yaml_map, .policy = POLICY_TOO,
	 .help = "When an endpoint is full, and when a score is "
		 "too old."},
	{"pools[].saturation.queueDepth", &yaml_number, .set = SET_BY_DAEMON, .min = 1,
	 .max = MAX_LOAD, .preset = "5", POOL(saturation.queue_depth),
	 .help = "The number of waiting requests from which on an endpoint is saturated."},
	{"pools[].saturation.kvCache", &yaml_number, .set = SET_BY_DAEMON, .min = 0.01, .max = 1,
	 .preset = "0.8", POOL(saturation.kv_cache),
	 .help = "The share of the KV cache in use from which on an endpoint is saturated."},
	{"pools[].saturation.staleness", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .max = HOUR, .preset = "2s", POOL(saturation.staleness_ns),
	 .help = "A score older than this is not believed."},

	{"pools[].ejection", &yaml_map, .policy = POLICY_TOO,
	 .help = "When an endpoint that fails its clients, or answers them with errors, is left out for a while."},
	{"pools[].ejection.failures", &yaml_integer, .set = SET_BY_DAEMON, .min = 0, .max = 1000000,
	 .preset = "3", POOL(ejection.failures),
	 .help = "The failures in a row that eject an endpoint: refused, unanswered, "
		 "unreachable, or reset before the first byte, for endpoints with an `address`. 0 means "
		 "never. The endpoint's answer to pintled outweighs them. At least 5 errors in answers "
		 "are needed: see docs/connect.md."},
	{"pools[].ejection.time", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .max = 24 * HOUR, .preset = "10s", POOL(ejection.time_ns),
	 .help = "How long the first ejection lasts. Each further ejection in a row lasts twice "
		 "as long. The first success of a connection that began after the newest failure "
		 "ends the row."},
	{"pools[].ejection.maxTime", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .max = 24 * HOUR, .preset = "5m", POOL(ejection.max_time_ns),
	 .help = "The longest time of one ejection."},
	{"pools[].ejection.maxShare", &yaml_number, .set = SET_BY_DAEMON, .min = 0, .max = 1,
	 .preset = "0.5", POOL(ejection.max_share),
	 .help = "The share of the pool's endpoints, rounded down, that may be ejected at the "
		 "same time."},

	{"pools[].health", &yaml_map, .policy = POLICY_TOO, .absent = "no health check",
	 .help = "A request that pintled sends to each endpoint's own address and port, over a new "
		 "connection each time. An endpoint that fails it gets no new connections. Many "
		 "servers answer it while their engine stands still: it does not replace `follow`."},
	{"pools[].health.path", &config_url_path, .policy = POLICY_TOO, .required = true,
	 .max = 255, POOL(health.path), .help = "The path that is asked for, such as `/health`."},
	{"pools[].health.interval", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .policy_min = 1000 * MSEC, .max = HOUR, .preset = "5s", POOL(health.interval_ns),
	 .help = "The time from one check of an endpoint to the next. It is longer where more "
		 "checks are due than pintled can make; pages go first."},
	{"pools[].health.timeout", &yaml_duration, .set = SET_BY_DAEMON, .min = 10 * MSEC,
	 .max = HOUR, .preset = "2s", POOL(health.timeout_ns),
	 .help = "A check that takes longer has failed."},
	{"pools[].health.expect", &yaml_integer, .set = SET_BY_DAEMON, .min = 200, .max = 599,
	 .preset = "200", POOL(health.expect),
	 .help = "The status that a good answer has. Redirects are not followed."},
	{"pools[].health.failures", &yaml_integer, .set = SET_BY_DAEMON, .min = 1, .max = 1000,
	 .preset = "2", POOL(health.failures),
	 .help = "The checks in a row that must fail; one that succeeds ends the row."},
	{"pools[].probe", &yaml_map, .absent = "no probe",
	 .help = "A request of one token that pintled sends to an endpoint's own address and port, when "
		 "clients had answers there that look like errors, or while it is ejected for its "
		 "answers, or stands still. Its status outweighs clients and page: docs/connect.md. An "
		 "endpoint that sleeps, or that no client was sent to, is not asked."},
	{"pools[].probe.path", &config_url_path, .required = true, .max = 255, POOL(probe.path),
	 .help = "Where: a path that ends with `/chat/completions` gets a message, any other a prompt, "
		 "as `/v1/completions` does."},
	{"pools[].probe.model", &config_model_name, .max = 255, POOL(probe.model),
	 .absent = "no model, which vLLM and llama.cpp take for their own",
	 .help = "The model in the request; no LoRA adapter, which would have to be loaded."},
	{"pools[].probe.interval", &yaml_duration, .min = 1000 * MSEC, .max = HOUR, .preset = "10s",
	 POOL(probe.interval_ns),
	 .help = "The least time from one probe of an endpoint to the next."},
	{"pools[].probe.timeout", &yaml_duration, .min = 10 * MSEC, .max = HOUR, .preset = "10s",
	 POOL(probe.timeout_ns), .help = "A probe without an answer by then says nothing."},
	{"pools[].startup", &yaml_duration, .set = SET_BY_DAEMON, .min = 0, .max = 24 * HOUR,
	 .preset = "10m", POOL(startup_ns),
	 .help = "The time that a new server is given to pass its first health check: until then it "
		 "is `starting`, and not `unhealthy`. It gets no connections in either state."},

	{"pools[].slowStart", &yaml_duration, .set = SET_BY_DAEMON, .min = 0, .max = HOUR,
	 .preset = "0s", POOL(slow_start_ns),
	 .help = "For how long an endpoint that is new or back warms up: its weight counts for 10 %, "
		 "and then for more until all of it counts. See docs/rollout.md."},

	{"pools[].dcgm", &yaml_map, .absent = "no GPU figures",
	 .help = "The DCGM exporter from whose figures `endpoints[].gpu` picks."},
	{"pools[].dcgm.url", &config_url, .required = true, .max = 1023, POOL(dcgm_url),
	 .help = "The exporter's page, such as `http://127.0.0.1:9400/metrics`."},
	{"pools[].dcgm.interval", &yaml_duration, .policy = POLICY_NEVER, .set = SET_BY_DAEMON,
	 .min = 10 * MSEC, .max = HOUR, .preset = "5s", POOL(dcgm_interval_ns),
	 .help = "The time from one scrape of the exporter to the next. The exporter itself "
		 "collects every 30 s unless configured otherwise."},
};
_Static_assert(ARRAY_SIZE(config_keys) <= YAML_MAX_KEYS, "raise YAML_MAX_KEYS");

const struct yaml_table config_table = {.keys = config_keys, .count = ARRAY_SIZE(config_keys)};

const char *config_place_name(uint32_t place)
{
	return places[place < PLACE_COUNT ? place : PLACE_UNKNOWN];
}
