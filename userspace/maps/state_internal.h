/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_internal.h - what the parts of state*.c share. No other file includes it.
 *
 *   state.c           node, pools, their decisions, frontends, and all of it together
 *   state_endpoint.c  an endpoint: its score, its counts, its state and load
 *   state_explain.c   a decision, and why it is made
 *   state_session.c   bindings; the session that makes most of a pool's connections
 *   state_key.c       session keys as text, and back
 *   state_host.c      endpoints whose address is a host's name
 *   state_tenant.c    what tenants have, and may have
 *   state_request.c   the session that a request names
 *   state_prompt.c    what of a prompt is cached where
 *   state_model.c     models, and the pools that serve them
 *   state_trial.c     A/B tests
 *   state_setting.c   keys of pools that were set, and the daemon's verdicts on them
 *   state_names.c     names of states and reasons; texts from maps
 */
#ifndef PINTLE_STATE_INTERNAL_H
#define PINTLE_STATE_INTERNAL_H

#include "state.h"
#include "../base/util.h"
#include "rule/eligible.bpf.h"

/* A map may hold any number: counts are cut to this, so that no sum of them overflows. */
#define STATE_MAX_COUNT 1000000000000000ULL /* 1e15 */

/** Reads the name in `names` at `slot`, if it is of that generation; else KIND#ID, such as
 * "pool#3". */
void state_read_name(const struct maps *m, uint32_t slot, uint32_t generation, const char *kind,
		     uint32_t id, char name[PINTLE_NAME_SIZE]);

/* What the maps say of an endpoint, and what the rule makes of it. */
struct state_raw {
	struct pintle_inflight counts;
	struct pintle_health health;
	struct pintle_override override; /* of its slot; zeros: none */
	struct pintle_score score;
	struct eligible_score seen;
	struct decide_facts facts;
};

/** Reads the endpoint with this id, below PINTLE_MAX_ENDPOINTS, and generation. Returns 0 with
 * *raw, or -errno with *raw in any state. */
int state_read_raw(const struct maps *m, uint64_t now, const struct pintle_pool *pool, uint32_t id,
		   uint32_t generation, struct state_raw *raw);

/** Appends the members of `pool` to s->endpoints, which has room for PINTLE_MAX_ENDPOINTS, and
 * fills in what `to` says of them. `seen` marks the ids that were read, in this pool or another,
 * and which are skipped. Returns 0 or -errno. */
int state_read_endpoints(const struct maps *m, struct state *s, struct state_pool *to,
			 const struct pintle_pool *pool, bool seen[PINTLE_MAX_ENDPOINTS]);

/** Reads the score of the endpoint with this id. Returns whether it was read as a whole; *score is
 * filled in any case. */
bool state_read_score(const struct maps *m, uint32_t id, struct pintle_score *score);

/** Returns the key that the kernel makes of a client's address, of which so many bits count. */
struct pintle_session_key state_source_key(const struct addr *ip, uint32_t bits_v4,
					   uint32_t bits_v6);

/** Reads the test of the pool with this override, if it has one that runs: *out. */
bool state_read_trial(const struct maps *m, uint32_t pool, const struct pintle_override *o,
		      uint64_t now, struct pintle_trial *out);
/** Returns the pool's mode by a test that runs, as the hooks see it; else `otherwise`. `daemonless`
 * as eligible_daemonless() has it. */
uint32_t state_trial_mode(const struct pintle_trial *t, bool daemonless, uint64_t now,
			  uint32_t otherwise);

/** Fills s->settings, in the order of s->pools, which are there already, and s->reload. Returns 0
 * or -errno. */
int state_read_settings(const struct maps *m, struct state *s);

/** Fills the pools' sums of tenants. Returns 0 or -errno. */
int state_read_tenants(const struct maps *m, struct state *s);

/** Fills the pools' models. Returns 0 or -errno. */
int state_read_models(const struct maps *m, struct state *s);

/** Fills s->hosts, and `host` of the endpoints that are theirs. Returns 0 or -errno. */
int state_read_hosts(const struct maps *m, struct state *s);
/** Reads `hand_devices`. Returns 0 or -errno, not logged. */
int state_read_devices(const struct maps *m, struct state *s);

/** Fills p->largest and p->largest_share, if a session makes most of the pool's connections.
 * Returns 0 or -errno. */
int state_read_majority(const struct maps *m, struct state_pool *p);

/** Replaces the ids of cgroups in the sessions' texts by their paths below the cgroup2 root, such
 * as "cgroup:4711" by "cgroup:/system.slice/a.service". An id whose path is not found, or does not
 * fit, stays. */
void state_sessions_paths(struct state_session *sessions, size_t n);

/* The clients that the daemon knows by name. */
struct state_known {
	struct pintle_client *clients;
	size_t client_count;
	struct state_pod *pods;
	size_t pod_count;
};

/** Reads the clients whose names the daemon knows: *out, which the caller frees, and *n. Returns 0
 * or -ENOMEM. */
int state_clients_read(const struct maps *m, struct pintle_client **out, size_t *n);

/** Writes "cgroup:NAME", "pod:NAMESPACE/NAME" and the like into s->text, and the pod's name into
 * s->pod, where the session's key belongs to one of those who are known. */
void state_session_name(const struct state_known *known, struct state_session *s);

/** Writes the whole address of a key of destinations into buf (STATE_KEY_SIZE bytes). The kernel
 * keeps only the bits beyond the frontend's prefix: ::42 for a client that connected to fd77::42 by
 * the frontend fd77::/64. If these bits fit several frontends of the pool, the longest prefix is
 * taken; if they fit none, or the key is no destination, buf stays as it is. */
void state_session_destination(const struct state_pool *p, const struct pintle_session_key *key,
			       char *buf);

#endif
