/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what the maps say, read once, as plain structs: for the CLI and for the daemon's
 * /metrics page. It works with no daemon, and for a reader without privileges.
 *
 * Values are judged here: names are terminated, printable ASCII; ids are in range; what belongs
 * to another generation is left out. The maps go on changing while they are read, so that sums
 * of different members may be off by what happened meanwhile.
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
	X(EJECTED, "ejected", "failed its clients several times in a row; left out for a while")   \
	X(DRAINED, "drained", "takes no further connection until undrained")                       \
	X(DOWN, "down", "nothing listens")                                                         \
	X(UNSTEERABLE, "unsteerable", "something listens that the kernel cannot steer to")

enum state_endpoint_state {
#define X(symbol, name, says) STATE_##symbol,
	STATE_ENDPOINT_STATES(X)
#undef X
		STATE_COUNT
};

/** Names and one-line explanations; static; never NULL. */
const char *state_name(enum state_endpoint_state s);
const char *state_help(enum state_endpoint_state s);

/* "unsteerable: mptcp" and what helps; NULL and NULL for 0. An unknown reason has a text too. */
const char *unsteerable_text(uint32_t reason);
const char *unsteerable_cure(uint32_t reason);
/* Whether the kernel could steer to it, but it is not believed to be the endpoint. */
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

	enum state_endpoint_state state;
	uint32_t unsteerable; /* PINTLE_UNSTEERABLE_*, also of an endpoint that is not in that state
			       */
	int unsteerable_error; /* errno of it, positive; 0: none */
	uint32_t stranger;     /* uid of a listener that is not believed to be the endpoint */
	bool drained;          /* whatever its state */
	uint64_t drained_since_ns;

	/* of the newest good page; each valid with its flag */
	bool has_waiting, has_running, has_kv_cache, has_gpu;
	bool saturated;          /* of that page, even if it is old now */
	bool scrape_failed;      /* the newest scrape failed; what stands here is from before */
	bool has_age;            /* false: never scraped */
	bool fresh;              /* young enough for the rule to believe it */
	double waiting, running; /* requests */
	double kv_cache, gpu;    /* 0..1 */
	double age_seconds;      /* since that scrape began */

	double load;       /* as the rule sees it now, in requests: published and corrections */
	double published;  /* the daemon's part of it, class 0 */
	int64_t in_flight; /* steered connections: opened - closed; never negative */
	int64_t pending;   /* placed - opened - failed; never negative */
	int64_t direct;    /* connections open that were not steered */
	uint64_t placed, opened, closed, failed, direct_opened; /* ever */
	double share; /* of its pool's placements, 0..1; 0 without any */

	uint32_t families;  /* PINTLE_FAMILY_* */
	uint32_t listeners; /* LISTEN sockets; 0 with an address */
	uint64_t listening_since_ns;

	/* with an address: as clients on this node saw it */
	bool ejected;             /* whatever its state */
	double ejected_seconds;   /* from now on */
	double vouched_seconds;   /* from now on its answer outweighs failures of clients */
	uint32_t failures_in_row; /* since the last success */
	uint64_t ejections;       /* ever */
	uint64_t failures[PINTLE_FAILURE_COUNT]; /* ever */
};

struct state_frontend {
	struct frontend_addr addr;
	char text[ADDR_TEXT_SIZE];
	bool announced; /* the daemon added its local route */
};

struct state_pool {
	uint32_t id, generation;
	char name[PINTLE_NAME_SIZE];
	uint32_t mode;            /* enum pintle_mode: what holds */
	uint32_t mode_configured; /* what the file says */
	bool overridden;          /* `pintle mode` set it */
	uint32_t requests;        /* enum pintle_requests: what holds */
	uint32_t requests_configured;
	bool requests_overridden;                /* `pintle set` set it */
	uint64_t overridden_since_ns;            /* the one that was set last */
	uint64_t oneshots[PINTLE_ONESHOT_COUNT]; /* first segments, ever, over all CPUs */
	uint64_t oneshots_total;
	uint32_t decided_by;               /* enum pintle_hook */
	uint32_t reach;                    /* enum pintle_reach */
	uint32_t failure_mode;             /* enum pintle_failure_mode */
	uint32_t key_kind, group_kind;     /* PINTLE_KEY_* */
	uint32_t key_bits_v4, key_bits_v6; /* 0..32, 0..128 */
	uint32_t eject_after, eject_most;  /* failures in a row, 0: never; endpoints at once */
	uint64_t eject_ns, eject_max_ns;
	size_t ejected_count;
	uint64_t ttl_ns, staleness_ns;
	double max_extra_load;                    /* requests */
	uint64_t decisions[PINTLE_OUTCOME_COUNT]; /* ever, over all CPUs */
	uint64_t decisions_total;
	/* The session that makes more than half of the newest connections (about 128 on each CPU),
	 * and of which share; 0: there is none, or too few connections came. */
	struct pintle_session_key largest;
	double largest_share;
	bool daemonless; /* no heartbeat within its staleness limit, as the kernel sees it */
	bool passes;     /* leaves connections as they came: no heartbeat for node.daemonless_ns */

	struct state_frontend *frontends;
	size_t frontend_count;
	size_t first_endpoint; /* its endpoints are state.endpoints[first_endpoint..] */
	size_t endpoint_count;
	size_t ready_count; /* states READY, SATURATED and STALE */
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

/* A key of a pool that was set. All texts are terminated and printable. */
struct state_setting {
	char pool[PINTLE_NAME_SIZE];
	char key[PINTLE_KEY_NAME_SIZE]; /* "stickiness.ttl" */
	char value[PINTLE_VALUE_SIZE];
	char runs[PINTLE_VALUE_SIZE]; /* the value that holds; "": not known */
	char file[PINTLE_VALUE_SIZE]; /* without it, when the file was read last; "": not known */
	char why[PINTLE_WHY_SIZE];    /* refused: "what is wrong; what would be right"; not set:
				       * why it could not be taken back; "": it waits */
	enum state_setting_state state;
	uint64_t since_ns; /* it was set; taken back: runs holds since */
	bool set;          /* false: it was taken back, which pintled has not seen yet */
	bool in_kernel;    /* mode or requests, in `overrides`; else in `settings`, as `at` */
	struct pintle_setting_key at;
};

/* The newest reload, or start. */
struct state_reload {
	uint64_t asked_ns;  /* newest request of `pintle reload` that it answers; 0: none */
	uint64_t judged_ns; /* 0: not known */
	uint64_t file_hash; /* of the text that runs: hash_bytes() */
	bool failed;
	char why[PINTLE_WHY_SIZE];
};

struct state {
	struct pintle_node node;  /* all its texts are terminated and printable */
	uint64_t now_ns;          /* when it was read */
	bool daemon_alive;        /* heartbeat within STATE_HEARTBEAT_NS, or just started */
	struct state_pool *pools; /* by id */
	size_t pool_count;
	struct state_endpoint *endpoints; /* pool by pool, in the order of the configuration */
	size_t endpoint_count;
	struct state_setting *settings; /* by pool, in the order of `pools`, and key */
	size_t setting_count;
	struct state_reload reload;
};

/* Connections of a session that are enough to speak of its share. */
#define STATE_MAJORITY_LEAST 50

#define STATE_HEARTBEAT_NS       2000000000ULL
#define STATE_FIRST_HEARTBEAT_NS 3000000000ULL /* from the daemon's start */

/** Reads everything but sessions. Returns 0 and *out (state_free() it), or -errno; *out is
 * untouched on failure. Does not log. */
int state_read(const struct maps *m, struct state **out);
void state_free(struct state *s);
static inline void state_freep(struct state **s)
{
	state_free(*s);
}

#define STATE_KEY_SIZE 256

struct state_session {
	uint32_t pool, endpoint; /* indexes into state.pools and state.endpoints */
	struct pintle_affinity_key key;
	char text[STATE_KEY_SIZE]; /* "10.0.0.7", "fd77::/64", "client:4711", "cgroup:pod/...",
				      "cgroup:/..." */
	double age_seconds;        /* bound since */
	double idle_seconds;       /* since it was used last */
};

/** The bindings that hold: neither too old nor to an endpoint that is gone. By pool, then
 * address. Returns 0 with *out (free() it; NULL if there are none) and *n; or -errno, both
 * untouched. */
int state_sessions(const struct maps *m, const struct state *s, struct state_session **out,
		   size_t *n);

/** Calls `each` for every binding, too old or not: of both maps, or of the one given. What is added
 * or deleted meanwhile may be missing or appear twice. A callback that returns other than 0 ends it
 * with that value. Returns 0 or -errno. */
typedef int (*state_binding_fn)(const struct pintle_affinity_key *key,
				const struct pintle_affinity *binding, void *arg);
int state_bindings(const struct maps *m, state_binding_fn each, void *arg);
int state_bindings_of(const struct maps *m, enum map_id map, state_binding_fn each, void *arg);

/** Forgets the session, whichever map it is in; `current`: its pool is of this generation, so that
 * the pool's count of bindings removed has it. `m` is writable. Returns 1; 0 if it was not bound;
 * or -errno. */
int state_unbind(const struct maps *m, const struct pintle_affinity_key *key, bool current);

/** The text of a session key, and back, as `pintle sessions` shows it and `pintle unbind`
 * takes it. `buf` has STATE_KEY_SIZE bytes. Parsing takes more: cgroup:NAME, cgroup:/PATH, and
 * hint=TEXT, which needs the node's hint_key (else NULL) and may mean a session of several clients.
 * It returns 0 or -EINVAL, *key untouched. */
const char *state_session_format(const struct pintle_session_key *key, char *buf);
int state_session_parse(const char *text, const __u64 hint_key[2], struct pintle_session_key *key);

/** The keys under which the pool may hold the session `asked`, for i from 0 on: `asked` itself; of
 * a client's address also its first bits that count in this pool; of a destination also its bits
 * beyond each frontend of the pool. Returns true with *out, perhaps one of those before; false,
 * *out untouched, where there is no further one. */
bool state_session_in_pool(const struct state_pool *p, const struct pintle_session_key *asked,
			   size_t i, struct pintle_session_key *out);

/** Whether a session that the pool holds under `key` is meant by `asked`, which was parsed from a
 * text: it is one of those, or of any client that said this hint. */
bool state_session_meant(const struct state_pool *p, const struct pintle_session_key *asked,
			 const struct pintle_session_key *key);

/** Makes the key of a cgroup that of its client, where the daemon knows it by a name: as the kernel
 * does. Other keys stay as they are. */
void state_session_resolve(const struct maps *m, struct pintle_session_key *key);

/** `from` (`size` bytes of a map, perhaps without a NUL) as printable ASCII, cut to fit. */
void state_text(char *to, size_t to_size, const char *from, size_t size);

#endif
