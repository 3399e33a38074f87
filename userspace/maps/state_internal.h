/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_internal.h - what the parts of state*.c share, and nobody else includes:
 *
 *   state.c           pools, frontends, decisions; the whole
 *   state_endpoint.c  one endpoint: its score, its counts, what follows from them
 *   state_session.c   bindings, the session that is most of a pool
 *   state_key.c       session keys as text, and back
 *   state_setting.c   keys of pools that were set, and what the daemon says to them
 *   state_names.c     what states and reasons are called; texts from maps
 */
#ifndef PINTLE_STATE_INTERNAL_H
#define PINTLE_STATE_INTERNAL_H

#include "state.h"
#include "../base/util.h"

/* What stands in a map may be anything: no sum of counts that are cut to this overflows. */
#define STATE_MAX_COUNT 1000000000000000ULL /* 1e15 */

/** The name in `names` at `slot` if it is of that generation, else `kind` and the slot's id. */
void state_read_name(const struct maps *m, uint32_t slot, uint32_t generation, const char *kind,
		     uint32_t id, char name[PINTLE_NAME_SIZE]);

/** Reads the pool's endpoints (members of `pool`, each id once: `seen`) behind those that `s`
 * has already. Room for them is there. Returns 0 or -errno. */
int state_read_endpoints(const struct maps *m, struct state *s, struct state_pool *to,
			 const struct pintle_pool *pool, bool seen[PINTLE_MAX_ENDPOINTS]);

/** Fills s->settings, by the pools that `s` has, and s->reload. Returns 0 or -errno. */
int state_read_settings(const struct maps *m, struct state *s);

/** Fills p->largest and p->largest_share. Returns 0 or -errno. */
int state_read_majority(const struct maps *m, struct state_pool *p);

/** Puts the paths of cgroups, below the cgroup2 root, in the place of their ids, where they are
 * found and fit. */
void state_sessions_paths(struct state_session *sessions, size_t n);

/** The names of clients that the daemon knows: *out (free() it) and *n. Returns 0 or -ENOMEM. */
int state_clients_read(const struct maps *m, struct pintle_client **out, size_t *n);

/** Puts a client's name in the place of its number, if the key is of one of these. */
void state_session_name(const struct pintle_client *clients, size_t n,
			const struct pintle_session_key *key, char *buf);

/** Puts an address in the place of the bits of it that the kernel keeps, if the key is a
 * destination's. Several frontends of the pool may have room for these bits: it is in that with the
 * longest prefix. `buf` (STATE_KEY_SIZE bytes) stays as it is where none has. */
void state_session_destination(const struct state_pool *p, const struct pintle_session_key *key,
			       char *buf);

#endif
