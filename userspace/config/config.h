/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the configuration file. One table (config_keys.c) has its keys with types, ranges,
 * defaults and help; the reader (../yaml/), the messages and docs/configuration.md follow from it.
 */
#ifndef PINTLE_CONFIG_H
#define PINTLE_CONFIG_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>

#include "../net/addr.h"
#include "../yaml/yaml_report.h"

/* The config owns all strings but those marked. Numbers are within the table's ranges; durations
 * are in nanoseconds. */

/* Either `listen` or `address` is given, the same for all endpoints of a pool; the other one's port
 * is 0. */
struct config_endpoint {
	char *name;
	struct endpoint_addr address; /* never any_ip */
	char *host; /* whose address that is, as its `address` names it; NULL: it has an address */
	struct endpoint_addr listen;
	struct frontend_addr *allowed; /* prefixes in which its addresses may lie; port 0 */
	size_t allowed_count;
	char *metrics_url; /* derived from the address and scrape.path if not given; NULL: no page
			    */
	bool metrics_none; /* no page: the load is what the kernel sees of its connections */
	bool metrics_own;  /* the page is at the endpoint's own address and port */
	bool metrics_fallback_v6; /* bare port, derived URL: 127.0.0.1 first, then ::1 */
	char *user;          /* name or number; NULL: the first listener's. With `listen` only */
	char *cgroup;        /* pattern as in struct config_client; NULL: any. With `listen` only */
	int gpu_index;       /* DCGM's `gpu` label; -1: not joined by index */
	char *gpu_pod;       /* DCGM's `pod` label; NULL: not joined by pod */
	char *gpu_namespace; /* DCGM's `namespace` label beside it; NULL: any */
	char *gpu_exporter;  /* DCGM exporter's page for this endpoint; NULL: the pool's */
	bool drained;        /* takes no further connection */
	uint32_t place;      /* enum config_place_of */
	int weight;          /* 1..PINTLE_MAX_WEIGHT */
	int line;            /* where it begins in the file, from 1 */
};

/* X(symbol, what it says): why an address of a host is no endpoint. */
#define CONFIG_LEFTS(X)                                                                            \
	X(NOT, "")                                                                                 \
	X(SPECIAL, "is loopback, link-local or multicast")                                         \
	X(OWN, "is this node's own")                                                               \
	X(PRIVATE, "is no public address")                                                         \
	X(FRONTEND, "is a frontend")                                                               \
	X(TAKEN, "is another endpoint's")                                                          \
	X(ROOM, "finds no room")
#define X(symbol, text) CONFIG_LEFT_##symbol,
enum config_left { CONFIG_LEFTS(X) };
#undef X

/** Returns the text behind the address. Static. */
const char *config_left_text(enum config_left why);

#define CONFIG_MAX_HOST       253 /* characters of a host's name */
#define CONFIG_HOST_ADDRESSES 32  /* of one endpoint's name that become endpoints */

/* An endpoint whose address is a host's name. */
struct config_host {
	struct config_endpoint as; /* as it is written: its address has a port alone */
	size_t taken;              /* addresses that are endpoints of the pool */
	size_t left;               /* others, of which the first one is `one` */
	enum config_left why;
	struct addr one;
};

/** Returns the endpoint's address and port, from `listen` or `address`. */
static inline const struct endpoint_addr *config_endpoint_at(const struct config_endpoint *e)
{
	return e->address.port ? &e->address : &e->listen;
}

/* maxExtraLoad follows from the session's context; CONFIG_EXTRA_UNKNOWN while that is not known. */
#define CONFIG_EXTRA_AUTO    (-1.0)
#define CONFIG_EXTRA_UNKNOWN 16.0
#define CONFIG_EXTRA_POOL    (-2.0) /* of a class: the pool's */

struct config_stickiness {
	uint32_t key_kind;   /* PINTLE_KEY_* */
	uint8_t key_bits_v4; /* 0..32 */
	uint8_t key_bits_v6; /* 0..128 */
	uint32_t group_kind; /* PINTLE_KEY_* */
	uint8_t group_bits_v4;
	uint8_t group_bits_v6;
	uint64_t ttl_ns;
	double max_extra_load;     /* request equivalents, or CONFIG_EXTRA_AUTO */
	bool shared;               /* all clients that give the same hint share a session */
	bool prefix;               /* prompts are placed where a beginning of them is cached */
	struct pintle_asked asked; /* of requests, before the key above; [0] "": nothing */
	bool key_wrong;            /* while it is checked: the file has no good key */
};

struct config_scrape {
	uint64_t interval_ns;
	uint64_t idle_ns; /* the same while nobody uses the pool; less than interval_ns counts as
			   * that */
	uint64_t timeout_ns;
	char *path;
	const char *scheme;     /* http or https (not owned) */
	char *credentials_file; /* with a bearer token; NULL, here and below: not given */
	char *ca_file, *cert_file, *key_file, *server_name;
};

#define CONFIG_METRICS 7

struct config_weights {
	double queue, kv_cache, running, gpu, prefix, adapter;
};

struct config_saturation {
	double queue_depth; /* requests waiting */
	double kv_cache;    /* 0..1 */
	uint64_t staleness_ns;
};

/* The hook obeys it for failures of clients where it ejects (PINTLE_TRAIT_EJECTS), the daemon for
 * answers everywhere. */
struct config_ejection {
	int failures; /* in a row; 0: never */
	uint64_t time_ns, max_time_ns;
	double max_share; /* of the pool's endpoints that may be ejected at once, 0..1 */
};

/* Where an endpoint runs, seen from this node. */
#define CONFIG_PLACES(X)                                                                           \
	X(UNKNOWN, "unknown")                                                                      \
	X(NODE, "node")                                                                            \
	X(ZONE, "zone")                                                                            \
	X(AWAY, "away")
#define X(symbol, name) PLACE_##symbol,
enum config_place_of { CONFIG_PLACES(X) PLACE_COUNT };
#undef X

struct config_locality {
	bool prefer_node, prefer_zone;
	double max_extra_load; /* request equivalents */
};

/* A client as `pintle` names it: "pod/UID", or a name of `clients`. */
struct config_spared {
	char name[PINTLE_CLIENT_NAME_SIZE];
};

/* A pool to which connections of another one may go, by its name. */
struct config_other {
	char name[PINTLE_NAME_SIZE];
};

/* Which pool serves a model. */
struct config_model {
	char name[PINTLE_MODEL_SIZE]; /* CONFIG_MODEL_DEFAULT: any other, or none that can be seen
				       */
	char pool[PINTLE_NAME_SIZE];
	int line, column;
};
#define CONFIG_MODEL_DEFAULT "default"

/* What becomes of connections to endpoints' own addresses. */
enum config_intercept { INTERCEPT_NONE, INTERCEPT_ENDPOINTS };

/* Checks of the servers themselves. */
struct config_health {
	char *path; /* NULL: none */
	uint64_t interval_ns, timeout_ns;
	int expect;   /* HTTP status */
	int failures; /* in a row that make an endpoint unhealthy */
};

/* A request of one token that pintled sends to a server whose answers are in doubt. */
struct config_probe {
	char *path;  /* NULL: none */
	char *model; /* the name in the request; NULL: it has none */
	uint64_t interval_ns, timeout_ns;
};

/* One client: all cgroups whose path below the cgroup2 root matches the pattern `cgroup`
 * (fnmatch). */
/* With those that config_tenants_derive() adds: each cgroup of the node is compared with all. */
#define CONFIG_CLIENTS 256

struct config_client {
	char *name; /* of a cgroup that a rule of tenants names by its path: the path */
	char *cgroup;
	bool steer; /* false: its connections go on as they came */
	int line;
};

/* Which connections belong to a class: those that match all that is given. */
struct config_rule {
	struct frontend_addr source; /* prefix of the client's address */
	bool has_source;
	int port;           /* the frontend's; 0: any */
	int dscp;           /* 0..63; -1: any */
	char *space;        /* the client's namespace; NULL, here and below: any */
	char *account;      /* "NAMESPACE/NAME" of the client's service account */
	char *cgroup;       /* pattern as in struct config_client */
	bool hints_trusted; /* hints of these clients may raise their class */
	int line;
};

struct config_class {
	char *name;
	int priority;
	double limit;          /* request equivalents of an endpoint's load; 0: none */
	uint32_t admission;    /* enum pintle_admission */
	double max_extra_load; /* request equivalents, or CONFIG_EXTRA_POOL */
	int connections;       /* in flight at an endpoint; 0, here and below: any number */
	int pool_connections;  /* in flight in the pool */
	struct config_reserve {
		uint32_t number; /* of endpoints; 0: none */
		bool percent;    /* of the pool's */
	} reserve;
	struct config_rule *rules;
	size_t rule_count;
	int line;
};

/* What a tenant may have. */
struct config_quota {
	int connections;      /* in flight; 0: any number */
	uint64_t interval_ns; /* of new connections; 0: any number */
	int burst;
};

struct config_tenants {
	/* These three are a struct key_bits. */
	uint32_t kind; /* enum pintle_key; NONE: there are no quotas */
	uint8_t bits_v4, bits_v6;
	struct config_quota each;
	struct config_tenant_rule {
		char *tenant;
		struct config_quota quota;
		int line;
	} * rules;
	size_t rule_count;
};

/* The default of `daemonless` for a pool at ClusterIPs. */
#define CONFIG_DAEMONLESS_PROXIED (30 * NSEC_PER_SEC)

struct config_pool {
	char *name;
	uint32_t reach;      /* enum pintle_reach: its endpoints have `listen` or `address` */
	uint32_t decided_by; /* enum pintle_hook */
	bool in_pods;        /* its listeners are in pods of this node, each at its `address` */
	/* The metric's name of each signal before SIGNAL_STARTED (engines.h), in that order;
	 * NULL: the engine's own name. */
	char *metric_names[CONFIG_METRICS];
	const char *engine; /* name of an entry of the engine table (not owned) */
	struct frontend_addr *frontends;
	size_t frontend_count;
	bool announce;
	struct config_endpoint *endpoints;
	size_t endpoint_count;
	struct config_host *hosts; /* whose addresses are endpoints, too: config_hosts_expand() */
	size_t host_count;
	uint32_t mode; /* enum pintle_mode */
	uint32_t failure_mode;
	struct config_scrape scrape;
	struct config_stickiness stickiness;
	struct config_weights weights;
	struct config_saturation saturation;
	struct config_ejection ejection;
	struct config_health health;
	struct config_probe probe;
	uint64_t startup_ns; /* time that a new server is given to pass its health check */
	struct config_locality locality;
	uint64_t daemonless_ns;       /* as the node's; 0: that holds */
	bool proxied;                 /* others serve its frontends, and it refuses nobody */
	uint64_t slow_start_ns;       /* for which an endpoint that is new or back warms up */
	uint32_t intercept;           /* enum config_intercept */
	struct config_spared *spared; /* whose connections are not intercepted */
	size_t spared_count;
	struct config_class *classes; /* at most PINTLE_MAX_CLASSES; the first is the default */
	size_t class_count;
	struct config_tenants tenants;
	bool hints_trusted;          /* any client's hint may raise its class */
	bool classify;               /* sessions get classes by what they do */
	struct config_rule *allowed; /* who may connect; without any rule everybody */
	size_t allow_count;
	struct config_other *fallbacks; /* at most PINTLE_MAX_FALLBACKS */
	size_t fallback_count;
	struct config_model *models; /* of requests to its frontends */
	size_t model_count;
	char *canary; /* the name of the pool that gets a share of its sessions; NULL: none */
	double canary_percent;
	uint32_t requests; /* enum pintle_requests */
	uint32_t decide;   /* enum pintle_decide */
	bool splice; /* with `request`: its servers are anywhere, its clients pods of this node */
	bool follow; /* the requests on its connections */
	bool http10;
	struct pintle_header spare_headers[PINTLE_MAX_HEADERS];
	char *dcgm_url; /* DCGM exporter's page; NULL: none */
	uint64_t dcgm_interval_ns;
	int line;
};

/** Returns whether the endpoint's server speaks TLS, as far as the configuration says: its own page
 * is read by https, or would be probed by it. */
static inline bool config_endpoint_is_tls(const struct config_pool *p,
					  const struct config_endpoint *e)
{
	const char *url = e->metrics_own ? e->metrics_url : p->scrape.scheme;

	return !strncmp(url, "https", 5);
}

/** Returns whether a server of the pool may be a llama-server that routes to several models. */
static inline bool config_may_route(const struct config_pool *p)
{
	return p->engine && (!strcmp(p->engine, "llamacpp") || !strcmp(p->engine, "auto"));
}

/** Returns where the value of a parameter of the URL's query begins, in the URL; NULL: it has
 * none. */
const char *config_query(const char *url, const char *name);

/** Returns whether a server of the pool speaks TLS, likewise. */
static inline bool config_pool_is_tls(const struct config_pool *p)
{
	for (size_t i = 0; i < p->endpoint_count; i++)
		if (config_endpoint_is_tls(p, &p->endpoints[i]))
			return true;
	return false;
}

/* Which series /metrics has for each endpoint. */
enum config_xdp { CONFIG_XDP_NATIVE, CONFIG_XDP_OFF };
enum config_detail { DETAIL_POOLS, DETAIL_MAIN, DETAIL_ALL, DETAIL_HISTOGRAMS };

/* What is written down of connections; without a file and journald nothing. */
struct config_audit {
	char *file; /* path; NULL: none */
	bool journald;
	bool all; /* all connections that end, besides those that are refused */
};

struct config {
	char *path; /* of the file */
	char *bpffs;
	char *netns;
	char *key_file;  /* of 16 bytes, or NULL: the node draws a key of its own */
	int key_line;    /* where it stands */
	char *cgroup;    /* NULL: the cgroup2 root of the mount table */
	char *metrics;   /* "ADDRESS:PORT"; NULL: not served */
	uint32_t detail; /* enum config_detail */
	uint32_t xdp;    /* enum config_xdp */
	char *group;     /* the pins' group; NULL: root */
	struct endpoint_addr *nameservers;
	size_t nameserver_count;
	struct endpoint_addr overload;  /* the overload responder's; port 0: found at run time */
	struct frontend_addr *prefixes; /* in which a SteeringPolicy may name frontends; port 0 */
	size_t prefix_count;
	uint64_t daemonless_ns; /* pools pass once pintled is gone for so long; 0: never */
	struct config_client *clients;
	size_t client_count;
	struct config_audit audit;
	struct config_pool *pools;
	size_t pool_count;
	bool kubernetes;  /* the key is there */
	char *kubeconfig; /* path; NULL: the pod's service account */
	char *kube_node;  /* this node's name in the cluster; NULL: not given */
	struct config_service {
		char *space, *name;
	} gpu_exporter; /* the DCGM exporter's; NULL both: none */
};

/** Returns the page of the DCGM exporter that has the endpoint's GPUs: its own, or its pool's;
 * NULL: it names no GPU, or there is no page. */
const char *config_gpu_page(const struct config_pool *p, const struct config_endpoint *e);

/* What DNS says of a host. */
struct config_address {
	struct addr ip;
	bool own; /* it is this node's */
};
struct config_answer {
	const char *host;
	const struct config_address *all; /* sorted */
	size_t count;
};

/** Makes endpoints of the addresses of the hosts that the pools name, once for a configuration.
 * Returns 0 or -ENOMEM; then `c` is good for config_free() alone. */
int config_hosts_expand(struct config *c, const struct config_answer *answers, size_t n);
/** Returns whether clients of the pool connect to an address of that family. */
bool config_pool_takes(const struct config_pool *p, bool v4);

/** Returns whether an endpoint may be full for a class of the pool. */
bool config_class_bounded(const struct config_pool *p, const struct config_class *k);

/** Returns whether any rule of the pool's classes, or of its access, is judged by what is known of
 * pods: by a namespace, by a service account, or by a source, which for a pod is its address before
 * its socket has one. */
bool config_rules_of_pods(const struct config_pool *p);

/** Returns the name of the i-th of a pool's others, in the order of pintle_pool.others; NULL:
 * none. */
const char *config_other_name(const struct config_pool *p, size_t i);
/** Returns the pool's entry of `models` with this name, or NULL. */
const struct config_model *config_model_named(const struct config_pool *p, const char *name);
/** Returns whether requests to the frontends of `of` go to the pool by their model. */
bool config_serves_models_of(const struct config_pool *p, const struct config_pool *of);

/** Returns by how much a page may be older than the pool's staleness limit while nobody uses the
 * pool; 0: it is read as often as ever. */
uint64_t config_idle_more_ns(const struct config_scrape *s);

/** Returns whether prompts count in the pool, when it is decided by request. */
bool config_wants_prompts(const struct config_pool *p);

/** Returns whether the pool is decided by connection, and its keys name what a request says: the
 * hand-off stays attached for handshakes that it has begun. */
bool config_rests(const struct config_pool *p);

/** Returns the pool with this name, or NULL. */
const struct config_pool *config_pool_named(const struct config *c, const char *name);

/** Makes the key of the tenant that is called so, as the hooks make it. Returns false if it is no
 * tenant. */
bool config_tenant_key(const struct config_pool *p, const char *tenant,
		       struct pintle_session_key *out);

/** Returns whether `agent` is one of the pool's keys. */
bool config_asks_agent(const struct config_pool *p);

/** Returns whether a client's cgroup makes a session key of this kind (PINTLE_KEY_*). */
bool config_key_of_cgroup(uint32_t kind);

/** Reads and checks a file, which is a regular file of at most 1 MiB. Reports every error, not only
 * the first. Never waits for another process, as reading from a FIFO would. Returns 0 with *out,
 * which the caller frees (config_free()); or, with *out untouched, -EINVAL after reporting errors,
 * or another -errno after reporting that the file could not be read. */
int config_load(const char *path, const struct yaml_sink *sink, struct config **out);
/** Reads a text of `size` bytes as config_load() reads a file; `name` stands for the file in
 * messages. Any bytes are safe (fuzzed). */
int config_parse(const char *name, const char *text, size_t size, const struct yaml_sink *sink,
		 struct config **out);

/* A file's text. */
struct config_text {
	const char *name; /* the file's, for messages; not owned */
	char *text;
	size_t size;
};

/** Reads a file as config_load() does, without checking the text. Returns 0 with *out, whose text
 * the caller frees and whose name is `path`; or -errno after reporting. */
int config_read(const char *path, const struct yaml_sink *sink, struct config_text *out);

/* A pool's key that was set while the pool runs: its value replaces the file's. */
struct config_setting {
	const char *pool;  /* its name */
	const char *key;   /* "stickiness.ttl" */
	const char *value; /* as the file would have it: "100s" */
	bool holds;
	char file[PINTLE_VALUE_SIZE]; /* the value without it; "": there is no such key or pool */
	char why[PINTLE_WHY_SIZE]; /* if it does not hold: "what is wrong; what would be right" */
};

/* A pool that was found elsewhere than in the file: in a cluster. */
struct config_found {
	char *name; /* the pool's */
	char *text; /* its mapping, as an element of the file's `pools`, in YAML or JSON */
	char *keys; /* config_parts.keys; NULL: none */
	size_t frontend_count, endpoint_count, spared_count;
	bool holds;
	char why[PINTLE_WHY_SIZE]; /* if it does not hold, as for a setting */
};

/* Starts as {0}; config_founds_free() it. */
struct config_founds {
	struct config_found *all;
	size_t count, room;
};

/* A pool with `address`, in the words of the file. */
struct config_parts {
	const char *name, *mode;
	const char **frontends;
	size_t frontend_count;
	struct config_member {
		const char *name, *address;
		const char *gpu_exporter; /* the page with its GPUs; NULL: none */
		const char *gpu_pod, *gpu_namespace;
		bool drained;
		uint32_t place; /* enum config_place_of */
	} * endpoints;
	size_t endpoint_count;
	bool intercept;      /* of endpoints */
	const char **spared; /* clients whose connections are not intercepted */
	size_t spared_count;
	const char
		*keys; /* further keys, as a JSON object, which may replace `engine`; NULL: none */
};

/** Returns a place's name in the file: "zone". Static. */
const char *config_place_name(uint32_t place);

/** Adds a pool made of these parts, with `engine: auto`. Returns 0; -EINVAL: `keys` is no object;
 * or -ENOMEM. */
int config_founds_put(struct config_founds *f, const struct config_parts *parts);
/** Adds a copy. Returns 0 or -ENOMEM. */
int config_founds_copy(struct config_founds *f, const struct config_found *from);
/** Removes all but the first `count`. */
void config_founds_cut(struct config_founds *f, size_t count);
void config_founds_free(struct config_founds *f);

/** Checks whether a pool with `address` may have these keys, a JSON object's text, by a
 * SteeringPolicy's `spec`. Any text is safe (fuzzed). Returns 0; -EINVAL with the first thing that
 * is wrong in `why`: "what is wrong; what would be right"; or -ENOMEM. */
int config_policy_check(const char *keys, char why[PINTLE_WHY_SIZE]);
/** Returns the i-th key that a SteeringPolicy may have, by its path from `spec` on; NULL: there are
 * no more. */
const char *config_policy_key_at(size_t i);

/** Parses a text as config_parse() does, with pools that were found (NULL: none), and with
 * settings, whose strings may be anything. First the text alone is checked, and its errors and
 * warnings are reported. Then the found pools are added behind those of the file. One that the
 * check refuses, by itself or together with pools before it, does not hold; all others do. Then
 * each setting is judged as if the file had its value. A setting that the check refuses, by itself
 * or together with earlier settings, does not hold; all others do. Warnings about settings are
 * reported with "POOL KEY=VALUE" as the file and 0 as the line. Returns as config_parse() does;
 * with 0, `holds` and `why` of each found pool and setting, and `file` of each setting, are filled
 * in. */
int config_parse_set(const struct config_text *text, struct config_founds *found,
		     struct config_setting *settings, size_t n, const struct yaml_sink *sink,
		     struct config **out);

struct yaml_key;
/** Returns the pool's key that `pintle set` takes by this name, such as "stickiness.ttl"; or NULL
 * with the reason in `why`. */
const struct yaml_key *config_settable(const char *name, char why[PINTLE_WHY_SIZE]);
/** Returns the i-th key that can be set, in the table's order; NULL: there are no more. */
const struct yaml_key *config_settable_at(size_t i);
/** Returns the key's name, as config_settable() takes it. Static. */
const char *config_settable_name(const struct yaml_key *k);
/** Writes what the key takes, for people: "a number from 0 to 1000". Returns buf. */
#define CONFIG_WANTS_SIZE 512
const char *config_settable_wants(const struct yaml_key *k, char buf[CONFIG_WANTS_SIZE]);
/** Returns the i-th of the words that the key takes; NULL: there are no more, or it takes no
 * words. */
const char *config_settable_word(const struct yaml_key *k, size_t i);
/** Returns whether the kernel itself reads the key's value, from the map `overrides`. */
bool config_set_in_kernel(const struct yaml_key *k);
/** Returns whether the value is good by itself; if not, `why` (may be NULL) says what is wrong. For
 * a key that takes one of several words, *choice (may be NULL) is the word's number. */
bool config_value_read(const struct yaml_key *k, const char *value, uint32_t *choice,
		       char why[PINTLE_WHY_SIZE]);
/** Returns whether both values are good and mean the same, as "300s" and "5m" do. */
bool config_value_same(const struct yaml_key *k, const char *a, const char *b);
/** Frees the config and all that it owns; NULL is fine. */
void config_free(struct config *c);
/** For _cleanup_(config_freep). */
static inline void config_freep(struct config **c)
{
	config_free(*c);
}

#endif
