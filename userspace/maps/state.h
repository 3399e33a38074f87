/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what the maps say, read once into plain structs, for the CLI and for the daemon's
 * /metrics page. Reading needs no daemon, and no privilege beyond read access to the pins.
 *
 * The maps' values are checked here: names come out as terminated, printable ASCII; ids are in
 * range; entries of another generation are left out. The maps go on changing while they are read,
 * so sums of different members may differ by what happened meanwhile.
 */
#ifndef PINTLE_STATE_H
#define PINTLE_STATE_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../net/addr.h"
#include "maps.h"

/* X(symbol, name, what it says). The lowest row that applies is shown. */
#define STATE_ENDPOINT_STATES(X)                                                                   \
	X(READY, "ready", "takes connections")                                                     \
	X(SATURATED, "saturated", "ready, but over a threshold of its pool")                       \
	X(STALE, "stale", "ready, but its score is too old to be believed")                        \
	X(UNHEARD, "unheard", "it listens, but no scrape has succeeded since")                     \
	X(STOPPED, "stopped", "reads and accepts nothing; left out until it does")                 \
	X(STALLED, "stalled", "answers nothing; left out, but for one try at a time")              \
	X(ASLEEP, "asleep", "sleeps, by its page; left out until it wakes")                        \
	X(STARTING, "starting", "has appeared, and not passed its health check yet; left out")     \
	X(UNHEALTHY, "unhealthy", "fails its health check; left out")                              \
	X(FAULTY, "faulty", "its GPU reported an error that only a restart ends; left out")        \
	X(EJECTED, "ejected", "failed its clients several times in a row; left out for a while")   \
	X(DRAINED, "drained",                                                                      \
	  "takes no further connection: `pintle drain`, the file, or a pod that terminates")       \
	X(DOWN, "down", "nothing listens")                                                         \
	X(UNSTEERABLE, "unsteerable", "something listens that the kernel cannot steer to")

enum state_endpoint_state {
#define X(symbol, name, says) STATE_##symbol,
	STATE_ENDPOINT_STATES(X)
#undef X
		STATE_COUNT
};

/** Return names and one-line explanations; static; never NULL. */
const char *state_name(enum state_endpoint_state s);
const char *state_help(enum state_endpoint_state s);

/** Return "unsteerable: mptcp", and its cure, for a PINTLE_UNSTEERABLE_*. Static; NULL for 0; an
 * unknown reason has a text too. */
const char *unsteerable_text(uint32_t reason);
const char *unsteerable_cure(uint32_t reason);
/** Returns whether the reason is that the listener is a stranger: the kernel could steer to it, but
 * it is not believed to be the endpoint's server. */
static inline bool unsteerable_stranger(uint32_t reason)
{
	return reason >= PINTLE_UNSTEERABLE_OWNER && reason <= PINTLE_UNSTEERABLE_ADDRESS;
}

struct state_endpoint {
	uint32_t id, generation;
	uint32_t pool; /* index into state.pools */
	char name[PINTLE_NAME_SIZE];
	char address[ADDR_TEXT_SIZE]; /* as configured: "127.0.0.1:8001", "8003" */
	struct endpoint_addr addr;
	const struct state_host *host; /* whose address that is; NULL: it was given as one */

	enum state_endpoint_state state;
	uint32_t unsteerable;  /* PINTLE_UNSTEERABLE_*, of the newest listener, in any state */
	int unsteerable_error; /* the errno that came with it, positive; 0: none */
	uint32_t stranger;     /* uid of the newest stranger that listens at its address */
	bool drained;          /* by `pintle drain`, in any state */
	uint64_t drained_since_ns;
	uint32_t place;          /* enum config_place_of: where it runs, seen from this node */
	bool drained_configured; /* by the file, or because its pod terminates; in any state */

	/* from the newest good page; each signal valid with its flag */
	bool has_waiting, has_running, has_kv_cache, has_gpu;
	bool saturated;          /* by that page, however old it is now */
	bool scrape_failed;      /* the newest scrape failed: the signals are older */
	bool unused;             /* nobody uses the pool: that page may be older than others */
	bool has_age;            /* false: never scraped */
	bool fresh;              /* young enough for the rule to believe it */
	double waiting, running; /* requests */
	double kv_cache, gpu;    /* 0..1 */
	double age_seconds;      /* since that scrape began */

	double weight;     /* as it counts now: a part of the configured one while it warms up */
	double load;       /* as the rule compares it now, in requests: published and corrections */
	double published;  /* the part of load that the daemon published, class 0 */
	int64_t in_flight; /* steered connections: opened - closed; never negative */
	int64_t pending;   /* placed - opened - failed; never negative */
	int64_t direct;    /* open connections that were not steered */
	uint64_t placed, opened, closed, failed; /* ever */
	uint64_t direct_opened; /* the same, of connections that were not steered; at the connect
				 * hook: calls of connect() by clients on this node */
	uint64_t shadow_placed; /* placements that the rule would have made in mode shadow, ever */
	double share;           /* of its pool's placements, 0..1; 0 if the pool has none */

	uint32_t families;  /* PINTLE_FAMILY_* */
	uint32_t listeners; /* LISTEN sockets; 0 for an endpoint that is reached at an address */
	uint64_t listening_since_ns;

	/* endpoints that are reached at an address: what clients on this node saw */
	bool ejected;             /* in any state */
	double ejected_seconds;   /* until it is chosen again; 0: not ejected */
	double vouched_seconds;   /* how much longer its answer outweighs failures of clients */
	uint32_t failures_in_row; /* since the last success */
	uint64_t ejections;       /* ever */
	uint64_t failures[PINTLE_FAILURE_COUNT]; /* ever */

	/* by pintled's own checks, in any state; nothing while no daemon runs */
	uint32_t unfit;        /* enum pintle_unfit */
	uint32_t unfit_detail; /* as in struct pintle_health */
	uint32_t failing;  /* enum pintle_failing: by whose word it is ejected for its answers */
	uint64_t failings; /* ejections for its answers, ever */

	bool has_adapters; /* of a pool in `models`: it says which LoRA adapters it has */
	struct pintle_adapters adapters;

	/* what the newest pass over its connections found, if their requests are followed */
	bool has_work; /* a pass that is young enough for the rule to believe it */
	struct pintle_work work;
	double oldest_seconds; /* for how long the oldest waiting request has waited */
};

struct state_frontend {
	struct frontend_addr addr;
	char text[ADDR_TEXT_SIZE];
	bool announced; /* the daemon added its local route */
};

/* A model that requests to a pool's frontends name. */
struct state_model {
	char name[PINTLE_MODEL_SIZE]; /* "default" of others */
	bool other;        /* of requests that name none of the models, or none that can be seen */
	uint32_t pool;     /* index into state.pools; STATE_NO_POOL: nobody serves it */
	uint64_t requests; /* ever, since it is configured */
	uint32_t adapter;  /* its number; 0: its pool calls it no LoRA adapter */
	uint64_t loaded;   /* requests that went to where the adapter was */
	uint32_t holders;  /* endpoints that have it now */
};
#define STATE_NO_POOL UINT32_MAX

struct state_pool {
	uint32_t id, generation;
	char name[PINTLE_NAME_SIZE];
	uint32_t mode;            /* enum pintle_mode that holds */
	uint32_t mode_configured; /* the file's */
	bool overridden;          /* `pintle mode` or `pintle set` set the mode */
	uint32_t mode_otherwise;  /* that holds when no A/B test runs */
	bool trial_runs;          /* `trial` says which mode holds, while a daemon runs */
	struct pintle_trial trial;
	uint32_t requests; /* enum pintle_requests that holds */
	uint32_t requests_configured;
	bool requests_overridden;                /* `pintle set` set it */
	uint64_t overridden_since_ns;            /* when either was set last */
	uint64_t oneshots[PINTLE_ONESHOT_COUNT]; /* first segments, ever, over all CPUs */
	uint64_t oneshots_total;
	uint32_t decide;                   /* enum pintle_decide */
	uint64_t hands[PINTLE_HAND_COUNT]; /* connections, by what the hand-off did, ever */
	uint64_t hands_total;
	struct pintle_rest rest;                 /* as state_rest(); generation 0: none failed */
	uint32_t rests;                          /* PINTLE_FAMILY_* for which the hand-off rests */
	uint64_t holds[PINTLE_HOLD_COUNT];       /* connections held, and their segments, ever */
	uint32_t prompt_weight, adapter_weight;  /* as in struct pintle_pool */
	uint64_t prompts[PINTLE_PROMPTED_COUNT]; /* what was found out about prompts, ever */
	uint32_t decided_by;                     /* enum pintle_hook */
	uint32_t reach;                          /* enum pintle_reach */
	bool spliced;                 /* its servers are anywhere, and decided by request */
	const char *by_connection;    /* why requests do not decide, though they are to; or NULL */
	bool in_pods;                 /* its servers listen in pods of this node */
	bool intercepts;              /* connections to members' own addresses, too */
	struct pintle_spared *spared; /* clients whose connections it does not intercept */
	size_t spared_count;
	char *keys; /* a cluster's pool's, by its SteeringPolicy: a JSON object; NULL: none */
	uint32_t failure_mode;         /* enum pintle_failure_mode */
	uint32_t key_kind, group_kind; /* PINTLE_KEY_* */
	struct pintle_asked
		asked; /* with decide REQUEST: what of a request comes before key_kind */
	bool shared;   /* clients that name the same session share it */
	uint32_t key_bits_v4, key_bits_v6; /* 0..32, 0..128 */
	uint32_t group_bits_v4, group_bits_v6;
	uint32_t eject_after, eject_most; /* failures in a row, 0: never; endpoints at once */
	uint64_t eject_ns, eject_max_ns;
	size_t ejected_count;
	uint64_t ttl_ns, staleness_ns;
	struct pintle_class classes[PINTLE_MAX_CLASSES]; /* their names are terminated, printable */
	uint64_t class_in_flight[PINTLE_MAX_CLASSES];    /* from the decision to the end */
	uint32_t class_count;
	bool classifies;      /* sessions get classes by what they do */
	uint32_t allow_count; /* rules that say who may connect; 0: anybody may */
	/* Where its connections may also go: the canary and its share, 0..1, and the fallbacks. */
	struct pintle_other others[PINTLE_MAX_OTHERS];
	double canary_share;
	struct state_model *models;               /* sorted by name, `other` last */
	size_t model_count, model_room;           /* 0: it has none, and serves each request */
	double max_extra_load;                    /* requests */
	uint64_t decisions[PINTLE_OUTCOME_COUNT]; /* ever, over all CPUs */
	uint64_t decisions_total;
	uint64_t shadows[PINTLE_OUTCOME_COUNT]; /* the rule's in mode shadow, ever */
	uint64_t shadows_total;
	/* The session that makes more than half of the newest connections (about 128 on each CPU),
	 * and its share of them, 0..1; 0: there is none, or too few connections came. */
	struct pintle_session_key largest;
	double largest_share;
	uint32_t tenant_key; /* as in struct pintle_pool */
	/* of tenants with quotas: those with an entry; and of all, connections now and ever */
	uint64_t tenants, tenants_in_flight, tenants_refused;
	bool daemonless; /* no heartbeat within staleness_ns: the kernel awaits no scrape */
	bool passes; /* no daemon, as eligible_left() has it: its hook leaves connections alone */

	struct state_frontend *frontends;
	size_t frontend_count;
	size_t first_endpoint; /* index of its first in state.endpoints; the others follow */
	size_t endpoint_count;
	size_t ready_count; /* endpoints in states READY, SATURATED and STALE */
};

/* An endpoint whose address is a host's name. The texts are terminated and printable. */
struct state_host {
	uint32_t pool;               /* index into state.pools */
	char name[PINTLE_NAME_SIZE]; /* its endpoints are "NAME@ADDRESS" */
	char host[PINTLE_HOST_SIZE];
	uint32_t port;
	uint32_t addresses, left; /* those that are endpoints, and those that are not */
	uint32_t ttl_s;
	uint64_t errors;
	bool has_answer, fails;
	double age_seconds;     /* since the newest good answer, if there is one */
	double failing_seconds; /* since answers fail, if they do */
	char why[PINTLE_WHY_SIZE];
};

/* X(symbol, name, what it says) */
#define STATE_SETTING_STATES(X)                                                                    \
	X(HOLDS, "holds", "it takes the place of what the file says")                              \
	X(WAITS, "waits", "pintled has not seen it yet")                                           \
	X(REFUSED, "refused", "it does not go with the file, which holds")

enum state_setting_state {
#define X(symbol, name, says) STATE_SETTING_##symbol,
	STATE_SETTING_STATES(X)
#undef X
		STATE_SETTING_COUNT
};

/** Static, never NULL. */
const char *setting_state_name(enum state_setting_state s);

/* A pool's key that was set. All texts are terminated and printable. */
struct state_setting {
	char pool[PINTLE_NAME_SIZE];
	char key[PINTLE_KEY_NAME_SIZE]; /* "stickiness.ttl" */
	char value[PINTLE_VALUE_SIZE];
	char runs[PINTLE_VALUE_SIZE]; /* the value that holds; "": not known */
	char file[PINTLE_VALUE_SIZE]; /* the file's value at its last reading; "": not known */
	char why[PINTLE_WHY_SIZE];    /* REFUSED: "what is wrong; what would be right"; taken back:
				       * why the value still holds, "" until pintled has tried */
	enum state_setting_state state;
	uint64_t since_ns; /* when it was set; taken back: since when `runs` holds */
	bool set;          /* false: it was taken back, and pintled has not applied that yet */
	bool in_kernel;    /* mode or requests, in `overrides`; else in `settings`, at key `at` */
	struct pintle_setting_key at;
};

/* The daemon's newest reload, or its start. */
struct state_reload {
	uint64_t asked_ns;  /* the newest request of `pintle reload` that it answers; 0: none */
	uint64_t judged_ns; /* when it was done; 0: not known */
	uint64_t file_hash; /* hash_bytes() of the file's text that runs */
	bool failed;
	char why[PINTLE_WHY_SIZE];
};

/* A device that the hand-off is attached to. */
struct state_device {
	char name[PINTLE_DEVICE_NAME_SIZE];
	uint32_t index;
	uint32_t xdp; /* enum pintle_xdp */
};

struct state {
	struct pintle_node node;  /* its texts are terminated and printable */
	uint64_t now_ns;          /* when the maps were read */
	bool daemon_alive;        /* a heartbeat within STATE_HEARTBEAT_NS, or a start just now */
	struct state_pool *pools; /* by id */
	size_t pool_count;
	struct state_endpoint *endpoints; /* pool by pool, in the order of the configuration */
	size_t endpoint_count;
	struct state_host *hosts;
	size_t host_count;
	struct state_device *devices; /* of the hand-off, by name */
	size_t device_count;
	struct state_setting *settings; /* by pool, in the order of `pools`, and key */
	size_t setting_count;
	struct state_reload reload;
};

/* A session with fewer connections than these has no share. */
#define STATE_MAJORITY_LEAST 50

#define STATE_HEARTBEAT_NS       2000000000ULL
#define STATE_FIRST_HEARTBEAT_NS 10000000000ULL /* how long a new daemon may have none */

/** Reads everything but sessions. Returns 0 with *out, which the caller frees (state_free()); or
 * -errno, *out untouched. Does not log. */
int state_read(const struct maps *m, struct state **out);
void state_free(struct state *s);
static inline void state_freep(struct state **s)
{
	state_free(*s);
}

/** Reads what the pool's newest A/B test measured, which may run or be over: *out, as it is in the
 * map. False if there is none. */
bool state_trial_result(const struct maps *m, const struct state_pool *p,
			struct pintle_trial_result *out);

/** Reads how hand-overs to the pool fail: of the family for which the hand-off rests or, of both,
 * the one that failed last. *families: PINTLE_FAMILY_* for which it rests. Returns 0 or -errno. */
int state_rest(const struct maps *m, uint32_t pool, uint32_t generation, struct pintle_rest *out,
	       uint32_t *families);

/** Returns " for IPv4" or " for IPv6", if it rests for that family alone. */
const char *state_rest_words(uint32_t families);

/** Adds the pool's decisions by outcome to `sums` (PINTLE_OUTCOME_COUNT of them), and all of them
 * to *total. Returns 0 or -errno. */
int state_decisions(const struct maps *m, uint32_t pool, uint64_t *sums, uint64_t *total);

/** Adds up what has come to the outcomes that have the trait; `by` are numbers by outcome
 * (PINTLE_OUTCOME_COUNT of them). */
uint64_t outcomes_with(const uint64_t *by, enum pintle_outcome_trait trait);

/* Why a pool's connections are decided as they come, in doctor's words, too. */
#define STATE_SPLICE_NOWHERE "the program that splices is attached to no pod's device of this node"
#define STATE_SPLICE_UNSEEN                                                                        \
	"no pod was seen yet whose segments pass in both directions: a program of others may "     \
	"take them first (tcx, tc), or answers take another way, as with eBPF host routing"

/** Returns why connections to a pool with `address`, which is to be decided by request, are decided
 * as they come on this node; NULL: they are not. `hands_over`: the kernel can. `used`: connections
 * came, which would have shown where pods are. */
const char *state_by_connection(bool hands_over, uint32_t mode, bool used,
				const struct pintle_node *n);

/** Returns the mode that holds, of a pool with this one by its configuration, while a daemon
 * runs. */
uint32_t state_mode_now(const struct maps *m, const struct pintle_ref *pool, uint32_t configured);

/** Returns the pool, or NULL if it is gone. */
const struct state_pool *state_pool_find(const struct state *s, const struct pintle_ref *ref);
/** Returns the endpoint, or NULL if it is gone. */
const struct state_endpoint *state_endpoint_find(const struct state *s,
						 const struct pintle_ref *ref);

#define STATE_POD_SIZE 320 /* "NAMESPACE/NAME" */

/* A pod of this node, with its texts terminated and printable. */
struct state_pod {
	uint64_t id, space, account; /* client_id() of the pod, its namespace, its account */
	char space_name[64], name[256], account_name[256];
	struct addr addresses[2]; /* `::`: it has no such of its own */
};

/** Reads the pods of this node that the daemon knows: *out, which the caller frees, NULL if there
 * are none, and *n. Returns 0 or -ENOMEM. */
int state_pods_read(const struct maps *m, struct state_pod **out, size_t *n);

#define STATE_KEY_SIZE 352 /* "serviceAccount:NAMESPACE/NAME" and more */

/* X(symbol, name, what it says): who gave a session, or a client's connections, their class. */
#define STATE_GIVERS(X)                                                                            \
	X(NOBODY, "default", "it is the pool's first class")                                       \
	X(OPERATOR, "operator", "`pintle classify` said so")                                       \
	X(RULE, "rule", "a rule of the pool matches the client")                                   \
	X(CLASSIFIER, "classifier", "the session behaves so")
enum state_giver {
#define X(symbol, name, says) STATE_GIVER_##symbol,
	STATE_GIVERS(X)
#undef X
		STATE_GIVER_COUNT
};

/** Static, never NULL. */
const char *state_giver_name(enum state_giver g);

/* A session's class by `pintle classify`, or by the classifier. The texts are terminated and
 * printable. */
struct state_classified {
	enum state_giver by; /* NOBODY: nothing is said of the session */
	char name[PINTLE_CLASS_NAME_SIZE];
	char why[PINTLE_REASON_SIZE]; /* in words; "": by an operator */
	uint64_t since_ns;
	bool known; /* the pool has a class of that name; else it counts for nothing */
	uint32_t class_id;
};

struct state_session {
	uint32_t pool, endpoint; /* indexes into state.pools and state.endpoints */
	bool bound;              /* else there is neither `endpoint` nor an age */
	struct pintle_affinity_key key;
	char text[STATE_KEY_SIZE]; /* "10.0.0.7", "fd77::/64", "client:4711", "cgroup:pod/...",
				      "cgroup:/...", "pod:NAMESPACE/NAME" */
	char pod[STATE_POD_SIZE];  /* "NAMESPACE/NAME"; "": it is no pod's, or not known */
	double age_seconds;        /* since it was bound to this endpoint */
	double idle_seconds;       /* since it was used last */
	struct state_classified class;
	double class_seconds; /* since it was given */
};

/** Reads the sessions whose bindings hold, that is, were used within the pool's ttl, and are to an
 * endpoint that exists; and those to which an operator gave a class. They are in the order of
 * pools, then of ids. Returns 0 with *out, which the caller frees (NULL if there are none), and *n;
 * or -errno, both untouched. */
int state_sessions(const struct maps *m, const struct state *s, struct state_session **out,
		   size_t *n);

struct state_tenant {
	uint32_t pool; /* index into state.pools */
	struct pintle_affinity_key key;
	char text[STATE_KEY_SIZE]; /* as of a session; "other" */
	bool other;                /* the sums of tenants without an entry */
	bool has_quota;
	struct pintle_quota quota;
	uint64_t in_flight, opened, refused;
	struct pintle_tenant_minute minute; /* looked_ns 0: pintled says nothing of it now */
};

/** Reads the tenants of all pools, in the order of pools, then of texts. Returns 0 with *out, which
 * the caller frees (NULL if there are none), and *n; or -errno, both untouched. */
int state_tenants(const struct maps *m, const struct state *s, struct state_tenant **out,
		  size_t *n);
/** Returns whether there is a quota for the tenant: *out. */
bool state_quota(const struct maps *m, const struct pintle_affinity_key *tenant,
		 struct pintle_quota *out);
/** Returns whether the tenant may have no further connection, as the hooks judge it. Fills in the
 * key, the quota and in_flight of *out. */
bool state_tenant_full(const struct maps *m, const struct pintle_affinity_key *key, uint64_t now,
		       struct state_tenant *out);

/** Returns whether the endpoint has loaded the adapter that the model is. */
bool state_adapter_is_at(const struct state_model *m, const struct state_endpoint *e);
/** Returns the pool's row for requests that name this model: its own, or that of all others. NULL:
 * the pool has no models. */
const struct state_model *state_model_find(const struct state_pool *p, const char *name);
/** Returns the name of the adapter with this number; NULL: there is none. */
const char *state_adapter_name(const struct state *s, uint32_t adapter);

/** Calls `each` for every binding, expired or not, in both maps or in the given one. Bindings that
 * are made or deleted meanwhile may be missing or come twice. A value other than 0 from `each` ends
 * the walk and is returned; else returns 0 or -errno. */
typedef int (*state_binding_fn)(const struct pintle_affinity_key *key,
				const struct pintle_affinity *binding, void *arg);
int state_bindings(const struct maps *m, state_binding_fn each, void *arg);
int state_bindings_of(const struct maps *m, enum map_id map, state_binding_fn each, void *arg);

/** Deletes the session's binding, whichever map it is in. `current`: the key's generation is the
 * pool's, so the deletion counts among the pool's removed bindings. `m` is writable. Returns 1; 0
 * if the session was not bound; or -errno. */
int state_unbind(const struct maps *m, const struct pintle_affinity_key *key, bool current);

/** Writes a session key as text, as `pintle sessions` shows it, and back, as `pintle unbind` takes
 * it. `buf` has STATE_KEY_SIZE bytes, and is returned. Parsing takes further forms: cgroup:NAME,
 * cgroup:/PATH, pod:NAMESPACE/NAME (for state_session_resolve()), and hint=TEXT, which needs the
 * node's hint_key (NULL refuses that form) and may mean sessions of several clients. It returns 0;
 * or -EINVAL, *key untouched. */
const char *state_session_format(const struct pintle_session_key *key, char *buf);
int state_session_parse(const char *text, const __u64 hint_key[2], struct pintle_session_key *key);

/** Finds the keys under which the pool may hold the session `asked`, one for each i from 0 on:
 *   - `asked` itself;
 *   - for a client's address, its prefix that counts in this pool: 10.0.0.0/24 for 10.0.0.7;
 *   - for a destination, its bits beyond each of the pool's frontends: ::42 for fd77::42 and the
 *     frontend fd77::/64.
 * A key may come twice. Returns true with *out; or false, *out untouched, when there are no more.
 */
bool state_session_in_pool(const struct state_pool *p, const struct pintle_session_key *asked,
			   size_t i, struct pintle_session_key *out);

/** Returns whether `asked`, parsed from a text, means the session that the pool holds under `key`:
 * `key` is one of the keys of state_session_in_pool(), or, for hint=TEXT, any client's key with
 * that hint. */
bool state_session_meant(const struct state_pool *p, const struct pintle_session_key *asked,
			 const struct pintle_session_key *key);

/** Replaces the key of a cgroup by its client's, as the kernel does, if the daemon has named that
 * client, and "pod:NAMESPACE/NAME" by that pod's. Leaves other keys as they are. */
void state_session_resolve(const struct maps *m, struct pintle_session_key *key);

/* A client, as far as it is known: the kernel makes the keys of its connections from this. */
struct state_client {
	struct pintle_session_key session; /* as it was given; kind NONE: it was not */
	bool has_ip;
	struct addr ip;
	uint64_t cgroup;               /* 0: not known, like the next four */
	uint64_t netns;                /* SO_NETNS_COOKIE */
	uint64_t id;                   /* client_id(): its pod's, say */
	uint64_t space_id, account_id; /* of its pod's namespace and service account */
	bool left_alone;               /* its connections go on as they came */
};

/** Adds what `key`, resolved by state_session_resolve(), says of the client. */
void state_client_learn(const struct maps *m, struct state_client *c,
			const struct pintle_session_key *key);
/** Adds what is known of the pod of this node that has the client's address. Returns whether there
 * is one, with "NAMESPACE/NAME" in `name`. */
bool state_client_is_pod(const struct maps *m, struct state_client *c, char name[STATE_POD_SIZE]);
/** Makes the key of the client's tenant in this pool; kind NONE: not known, or no quotas. */
void state_client_tenant(const struct state_pool *p, const struct state_client *c,
			 struct pintle_session_key *key);

#define STATE_ASKED_SIZE (PINTLE_HEADER_SIZE + 8)
#define STATE_KEYS_SIZE  (PINTLE_MAX_ASKED_KEYS * STATE_ASKED_SIZE + 32)
/** Writes the pool's stickiness.key, with commas and without the bits of addresses:
 * "header/x-session-id,source". Returns buf. */
const char *state_keys_format(const struct state_pool *p, char buf[STATE_KEYS_SIZE]);

/** What the hand-off finds in a request. */
struct state_request {
	uint32_t hand;             /* enum pintle_hand: how a connection with it is counted */
	char by[STATE_ASKED_SIZE]; /* the key that names its session, as in stickiness.key */
	struct pintle_session_key session;
};

/** Reads the beginning of a request to the pool, which is decided by request, as the hand-off does.
 * Returns 0 with *out; -EDESTADDRREQ if the client's address has to be known; -E2BIG; -ESTALE if
 * the pool is gone; or another -errno. */
int state_request_read(const struct maps *m, const struct state_pool *p, const __u64 hint_key[2],
		       const struct state_client *c, const char *text, size_t size,
		       struct state_request *out);

/** A prompt, and who has a beginning of it cached. */
struct state_prompt {
	struct pintle_prompt prompt;
	struct pintle_known known;
	struct pintle_ref home; /* generation 0: none */
};

/** Reads the body of a request to the pool, as the hand-off does where it sees all of it. Returns
 * 0; -EOPNOTSUPP: the pool looks at no prompts; -ENODATA: it is too short; -EPERM: only root may
 * read the table; -ESTALE: the pool is gone; or another -errno; *out in any state. */
int state_prompt_read(const struct maps *m, const struct pintle_ref *pool, const char *body,
		      size_t size, uint64_t now_ns, struct state_prompt *out);

/** Finds the keys of the client's session and group in the pool. Return false, *key untouched,
 * where they do not follow from what is known; true with kind NONE where the pool has none. A
 * session hint=TEXT comes out as it was given. */
bool state_client_session(const struct state_pool *p, const struct state_client *c,
			  struct pintle_session_key *key);
bool state_client_group(const struct state_pool *p, const struct state_client *c,
			struct pintle_session_key *key);

/** Calls `each` for the key of every session to which an operator gave a class. It may delete that
 * entry. A value other than 0 from `each` ends the walk and is returned; else returns 0. */
typedef int (*state_key_fn)(const struct pintle_affinity_key *key, void *arg);
int state_classified_walk(const struct maps *m, state_key_fn each, void *arg);

/** Reads what is said of the session: by an operator, else by the classifier. `p` is the pool of
 * the key. */
void state_session_class(const struct maps *m, const struct state_pool *p,
			 const struct pintle_affinity_key *key, struct state_classified *out);

/** What the hooks find of a connection before they decide it. */
struct state_judged {
	uint32_t class_id; /* of a hint and of DSCP nothing is known */
	enum state_giver by;
	bool forbidden; /* the pool's access keeps the client out */
};

/** Judges a connection of the client, and of this session, to the pool of the key. `port` is the
 * frontend's, 0: not known; `family` is PINTLE_FAMILY_*. Returns 0 or -errno with *out in any
 * state. */
int state_client_judge(const struct maps *m, const struct pintle_affinity_key *key,
		       const struct state_client *c, uint32_t family, uint16_t port,
		       struct state_judged *out);

/** Copies `from`, a text of at most `size` bytes from a map, perhaps without a NUL, into `to` as
 * printable ASCII: terminated, cut to `to_size` (at least 1), other bytes as '?'. */
void state_text(char *to, size_t to_size, const char *from, size_t size);

#endif
