/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takeover.h - takes over pins of the former layout (abi.h: PINTLE_FORMER_VERSION) while they
 * steer. At each moment a connection is decided, counted and ended by programs that know its
 * record. The pins tell how far a takeover got:
 *
 *   BPFFS/v2             the former layout steers
 *   BPFFS/v2, BPFFS/new  maps of this layout are being made; the next start begins again
 *   BPFFS/v2, BPFFS/v3   links are being moved from v2 to v3; the next start goes on
 *   BPFFS/v3             done
 *
 * Maps whose key and value have not changed are kept, and pinned twice meanwhile. The others are
 * copied before the first link is moved, and what the former programs wrote since is added after
 * the last link was moved. Until then the programs of this layout look for a socket's record in
 * both maps, and count connections in the former `inflight`.
 */
#ifndef PINTLE_TAKEOVER_H
#define PINTLE_TAKEOVER_H

#include <stdbool.h>

#include "../maps/maps.h"
#include "linking.h"

struct takeover;

/** Opens the pins of the former layout. `begun`: this layout is pinned as well. Pins that are not
 * whole are removed: alone, if `begun`, because they are what a takeover left; with pins_undo(), if
 * not `begun` and nothing steers by them. Returns 0 and *out (takeover_free() it), NULL where there
 * is nothing to take over; or -errno, logged: -EPROTO: maps that are not of that layout, or pins
 * that are not whole and steer. */
int takeover_find(const char *bpffs, bool begun, struct takeover **out);
void takeover_free(struct takeover *t);

/** The directory of the former pins. Owned by `t`. */
const char *takeover_dir(const struct takeover *t);

/** Fills m->fd with the descriptors of the maps that both layouts share, owned by `t`; -1 for the
 * others. */
void takeover_kept(const struct takeover *t, struct maps *m);

/** Loads the programs of this layout, with those that carry connections over, on the maps `m`,
 * which are pinned in `dir` if an earlier takeover was killed after that. Returns 0 or -errno,
 * logged. */
int takeover_load(struct takeover *t, const struct maps *m, const char *dir);

/** Copies what the former maps hold into `m`, where `m` is still empty. Changes nothing that
 * steers. To be called after takeover_load(). Returns 0 or -errno, logged. */
int takeover_copy(const struct takeover *t, const struct maps *m);

/** Moves the links to `dir`, where `m` is pinned; carries over what the former programs wrote since
 * takeover_copy(); removes the former pins. To be called once, after takeover_load(). Returns 0; or
 * -errno, logged: the next start goes on from there. */
int takeover_commit(struct takeover *t, const struct maps *m, const char *dir,
		    const struct link_place *to);

#endif
