/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_internal.h - what the parts of config*.c share. The only other file that includes it is
 * docs/reference/keys.c, of the program that writes docs/configuration.md.
 *
 *   config_keys.c       the table of keys
 *   config_types.c      the types of values that only Pintle has
 *   config.c            the configuration file, from its text to a struct config
 *   config_check.c      checks that take several values
 *   config_hosts.c      endpoints whose address is a host's name
 *   config_hooks.c      how servers are reached, which hook decides, and what it can do
 *   config_classes.c    the classes of a pool, and their rules
 *   config_tenants.c    a pool's tenants, and what each may have
 *   config_access.c     the rules that say who may connect to a pool
 *   config_others.c     the canary and the fallbacks of a pool
 *   config_models.c     the pools that serve a pool's models
 *   config_found.c      pools that were found elsewhere than in the file
 *   config_asked.c      stickiness.key: what of a request names its session
 *   config_policy.c     the keys of a SteeringPolicy
 *   config_settings.c   keys that were set while their pools run
 *   config_here.c       what the machine lacks on which it is to run
 */
#ifndef PINTLE_CONFIG_INTERNAL_H
#define PINTLE_CONFIG_INTERNAL_H

#include "../yaml/yaml_read.h"
#include "config.h"

#define CONFIG_API_VERSION "pintle.dev/v1alpha1"

/* ---- config.c -------------------------------------------------------------- */

/* The end of the message about a file that cannot be read (struct yaml_document). */
#define CONFIG_FILE "configuration file that can"

/* Makes the configuration from a document's tree. Returns 0 with *(struct config **)out, -EINVAL
 * after reporting errors, or -ENOMEM. */
int config_read_root(struct yaml_report *r, const char *name, const struct yaml_node *root,
		     void *out);

/* ---- config_keys.c --------------------------------------------------------- */

enum config_set {
	SET_NEVER,     /* only the file has the key */
	SET_BY_DAEMON, /* `pintle set` sets it, and the daemon applies it */
	SET_IN_KERNEL, /* `pintle set` sets it, and the kernel reads it, from the map `overrides` */
};

/* Whether a SteeringPolicy, which somebody with rights in one namespace writes, may have the key.
 * No key that names a file, or a URL of another host, may be there: pintled reads these as root,
 * from the node's own network. */
enum config_policy {
	POLICY_AS_SET, /* if `pintle set` takes the key */
	POLICY_TOO,    /* it may, though `pintle set` does not take the key */
	POLICY_NEVER,  /* it may not, though `pintle set` takes the key */
};

extern const struct yaml_table config_table;

/* ---- config_types.c -------------------------------------------------------- */

/* The file's session keys: all kinds (PINTLE_KEY_*) but PINTLE_KEY_REQUEST, whose sessions
 * requests name. */
#define CONFIG_SESSION_KEYS (PINTLE_KEY_COUNT - 1)

/** Returns the kind of the file's session key `i`, below CONFIG_SESSION_KEYS. */
static inline uint32_t config_session_kind(uint32_t i)
{
	return i < PINTLE_KEY_REQUEST ? i : i + 1;
}

extern const struct yaml_type config_frontends;   /* a list of struct frontend_addr */
extern const struct yaml_type config_prefixes;    /* the same, without ports */
extern const struct yaml_type config_group_name;  /* char * */
extern const struct yaml_type config_pool_name;   /* char * */
extern const struct yaml_type config_user;        /* char * */
extern const struct yaml_type config_url;         /* char * */
extern const struct yaml_type config_page;        /* char *: a URL, or CONFIG_NO_PAGE */
extern const struct yaml_type config_model_name;  /* char *: any text */
extern const struct yaml_type config_metric;      /* char *: as expfmt_read_metric() takes it */
extern const struct yaml_type config_url_path;    /* char * */
extern const struct yaml_type config_serve;       /* char *: "ADDRESS:PORT"; NULL for "off" */
extern const struct yaml_type config_listen;      /* struct endpoint_addr */
extern const struct yaml_type config_address;     /* the same, never any_ip */
extern const struct yaml_type config_server;      /* struct config_server_at */
extern const struct yaml_type config_nameserver;  /* struct endpoint_addr */
extern const struct yaml_type config_session;     /* struct key_bits: a session key, or a group */
extern const struct yaml_type config_tenant_by;   /* struct key_bits */
extern const struct yaml_type config_session_key; /* struct config_stickiness: its key */
extern const struct yaml_type config_extra;       /* double: a number, or "auto" */
extern const struct yaml_type config_rate;        /* uint64_t: the interval in nanoseconds */
extern const struct yaml_type config_tenant;      /* char * */
extern const struct yaml_type config_reserve;     /* struct config_reserve */
extern const struct yaml_type config_cgroup;      /* char *: a pattern */
extern const struct yaml_type config_source;      /* struct frontend_addr, without a port */
extern const struct yaml_type config_account;     /* char *: "NAMESPACE/NAME" */
extern const struct yaml_type config_others;      /* a list of struct config_other */
extern const struct yaml_type config_models;      /* the models of struct config_pool */
extern const struct yaml_type config_cgroup_node; /* a path, or CGROUP2_KUBEPODS */
extern const struct yaml_type config_spared;      /* a list of struct config_spared */
extern const struct yaml_type config_headers;     /* struct pintle_header[PINTLE_MAX_HEADERS] */

/* An endpoint's `metrics` where there is no page. */
#define CONFIG_NO_PAGE "none"

/* What `agent` stands for. */
void config_asked_agent(struct pintle_asked *asked);

/* The three members that struct config_stickiness has for a session key, and again for a group. */
struct key_bits {
	uint32_t kind;
	uint8_t v4, v6;
};

/* How many bits of a client's address count where a length is left out. */
#define CONFIG_KEY_BITS_V4 32
#define CONFIG_KEY_BITS_V6 64

/* The members of struct config_endpoint that an `address` fills: an address and port, or a host's
 * name and, in `at`, the port alone. */
struct config_server_at {
	struct endpoint_addr at;
	char *host;
};

/* ---- config_hosts.c -------------------------------------------------------- */

/* A host's endpoint is "NAME@ADDRESS". */
#define CONFIG_MAX_HOST_NAME (PINTLE_NAME_SIZE - 1 - 1 - 45)

/* Whether the text is a host's name, with its domain. */
bool config_is_host(const char *text, size_t length);
/* Whether an address of the pool is a host's name. */
bool config_has_hosts(const struct config_pool *p);
/* Reports keys that do not go with a name. Nodes as for config_check(). */
void config_hosts_check(const struct config *c, const struct yaml_node *root,
			struct yaml_report *r);
/* Moves the endpoints that have a name from each pool's endpoints to its hosts, after all checks.
 * Returns 0 or -ENOMEM. */
int config_hosts_split(struct config *c);

/* ---- config_hooks.c -------------------------------------------------------- */

/* Sets each pool's reach and hook, and the defaults that depend on them. */
void config_hooks_derive(struct config *c, const struct yaml_node *root);
/* Sets how long pools wait for pintled, and which of them others serve as well; once all else is
 * derived. */
void config_daemonless_derive(struct config *c, const struct yaml_node *root);
/* Reports endpoints of one pool that are reached in two ways, and keys that a hook cannot serve.
 * Nodes as for config_check(). */
void config_hooks_check(const struct config *c, const struct yaml_node *root,
			struct yaml_report *r);

/* ---- config_classes.c ------------------------------------------------------ */

/* Marks what was not given. */
void config_classes_derive(struct config *c, const struct yaml_node *root);
/* Reports names that are given twice, rules that say nothing, and rules that the pool's hook cannot
 * judge. `n` is the pool's node. */
void config_classes_check(const struct config *c, const struct config_pool *p,
			  const struct yaml_node *n, struct yaml_report *r);
void config_classes_free(struct config_pool *p);
/* Reports what the pool's hook cannot judge of a rule, and that it matches nobody. */
void config_rule_check(const struct config_pool *p, const struct config_rule *rule,
		       const struct yaml_node *n, struct yaml_report *r);
/** Warns of a rule of the pool's access if an earlier one matches all clients that it matches. */
void config_access_check_covered(const struct config_pool *p, const struct config_rule *rule,
				 const struct yaml_node *n, struct yaml_report *r);
void config_rules_free(struct config_rule *rules, size_t count);

/* ---- config_access.c ------------------------------------------------------- */

/* The same three for who may connect. */
void config_access_derive(struct config *c, const struct yaml_node *root);
void config_access_check(const struct config_pool *p, const struct yaml_node *n,
			 struct yaml_report *r);
void config_access_free(struct config_pool *p);

/* ---- config_others.c ------------------------------------------------------- */

/* Reports a canary, fallbacks and classes that spill which do not go together. `n` is the pool's
 * node. */
/* Whether the pool is another one's canary or fallback. */
bool config_is_other(const struct config *c, const struct config_pool *p);
void config_others_check(const struct config *c, const struct config_pool *p,
			 const struct yaml_node *n, struct yaml_report *r);
void config_others_free(struct config_pool *p);

/* ---- config_models.c ------------------------------------------------------- */

/* Reports models that go to no pool of this file, or to one that does not go together with the
 * pool. `n` is the pool's node. */
void config_models_check(const struct config *c, const struct config_pool *p,
			 const struct yaml_node *n, struct yaml_report *r);
/* Reports too many models in the whole file. */
void config_models_check_all(const struct config *c, const struct yaml_node *pools,
			     struct yaml_report *r);

/* ---- config_tenants.c ------------------------------------------------------ */

/* Adds a client for each cgroup that a rule names by its path, after those of the file. Returns 0
 * or -ENOMEM. */
int config_tenants_derive(struct config *c);
/* Reports what the pool's hook cannot tell apart, and tenants that are none. `n` is the pool's
 * node. */
void config_tenants_check(const struct config *c, const struct config_pool *p,
			  const struct yaml_node *n, struct yaml_report *r);
void config_tenants_free(struct config_pool *p);

/* ---- config_found.c -------------------------------------------------------- */

/* Nodes of the found pool i have the line CONFIG_FOUND_LINE - i. */
#define CONFIG_FOUND_LINE (-1000000)

/* Adds the found pools to the tree of a text that is good by itself, and replaces *c by the
 * configuration with those that hold. Returns 0 or -ENOMEM. */
int config_found_add(struct yaml_tree *tree, const char *name, struct config_found *found, size_t n,
		     struct config **c);

/* ---- config_policy.c ------------------------------------------------------- */

/* The rows of config_table that a SteeringPolicy may have. */
const struct yaml_table *config_policy_table(void);

/* ---- config_check.c -------------------------------------------------------- */

/* Reports what is wrong with values together. Element i of a list in `c` came from child i of the
 * list's node under `root`. Values that were refused are still 0 or NULL, and are passed over. */
void config_check(const struct config *c, const struct yaml_node *root, struct yaml_report *r);

/* ---- config_facts.c -------------------------------------------------------- */

/* The name for messages; "?" if it was refused. */
const char *pool_label(const struct config_pool *p);
const char *endpoint_label(const struct config_endpoint *e);
/* For messages about another place: "line 12", or where there are no lines "the cluster". */
#define CONFIG_PLACE_SIZE 32
const char *config_place(int line, char buf[CONFIG_PLACE_SIZE]);
/* How the pool's endpoints are reached, in the words of the file. */
const char *config_reached(const struct config_pool *p);
/* How they would be, for a key that only the connect hook serves. */
const char *config_reached_else(const struct config_pool *p);

#endif
