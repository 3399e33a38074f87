/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_table.h - the sessions that are being classified: a bounded table, in which no client
 * takes the place of others.
 *
 * A client has at most `share` sessions; a further one takes the place of the client's own oldest.
 * When the table is full, the session that was unused for longest goes, whosever it is: as in the
 * map `affinity`, so many sessions take several clients that have used up their shares.
 */
#ifndef PINTLE_SESSION_TABLE_H
#define PINTLE_SESSION_TABLE_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "classify.h"

struct session_table;

struct session {
	struct pintle_affinity_key key;
	struct classify classify;
	unsigned int is; /* for the caller: the class that is written; CLASSIFY_UNKNOWN: none is */
};

/** Called for a session that goes, whose memory is freed afterwards. */
typedef void (*session_gone_fn)(void *arg, const struct session *s);

/** Returns NULL without memory; otherwise session_table_free() it, which calls `gone` for none.
 * `seed` should be random: whoever knows it can make sessions that are slow to find. */
struct session_table *session_table_new(size_t most, size_t share, uint64_t seed,
					session_gone_fn gone, void *arg);
void session_table_free(struct session_table *t);

/** Returns the session with this key, made for that client if there is none, and now the newest.
 * NULL: out of memory. */
struct session *session_table_use(struct session_table *t, const struct pintle_affinity_key *key,
				  uint64_t client);
/** Lets those sessions go of which `drop` returns true. */
void session_table_drop(struct session_table *t, bool (*drop)(void *arg, const struct session *s),
			void *arg);
size_t session_table_count(const struct session_table *t);

#endif
