/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takeover.h - takes over the pins of another build while they steer: those of an earlier layout,
 * and those of a layout that has the same number and other members. The pins tell
 * how far a takeover got:
 *
 *   BPFFS/v3             the former build steers
 *   BPFFS/v3, BPFFS/new  maps of this build are being made; the next start begins again
 *   BPFFS/v3, BPFFS/v4   links are being moved from v3 to v4; the next start goes on
 *   BPFFS/v4             done
 *
 * Former pins whose number is ours are BPFFS/v4 at first, and BPFFS/former from when `new` becomes
 * v4.
 *
 * A map whose key and value have the same members in both builds (kinds.h) is kept, and pinned
 * twice meanwhile. The others are copied once, member by member, before the first link is moved: by
 * carry.h and, where they are records of sockets, by bpf/pass/carry.bpf.c. What users set, bindings
 * and records of connections are looked at again after the last link, and once more when the
 * programs of devices were replaced. Then nothing uses the former maps. Connections that came or
 * ended between the copy and the last link are counted by the recount that follows.
 */
#ifndef PINTLE_TAKEOVER_H
#define PINTLE_TAKEOVER_H

#include <stdbool.h>

#include "../../maps/maps.h"
#include "linking.h"

struct pintle_bpf;
struct takeover;

/** Looks for pins of another build under `bpffs`; `dir`: where those of this build are, or will be.
 * Former pins that are not whole are removed, if nothing steers by them or a takeover left them.
 * *hash becomes that of this build's layouts. Returns 0 and *out (takeover_free() it), NULL where
 * there is nothing to take over; or -errno, logged: -EPROTO: pins of a later layout, of several, or
 * such as are not whole and steer. */
int takeover_find(const char *bpffs, const char *dir, uint64_t *hash, struct takeover **out);
void takeover_free(struct takeover *t);

/** Returns the directory of the former pins. Owned by `t`. */
const char *takeover_dir(const struct takeover *t);

/** Returns whether the former pins are still where those of this build will be. */
bool takeover_in_place(const struct takeover *t);

/** Fills m->fd with the descriptors of the maps that are kept, owned by `t`; -1 for the others. */
void takeover_kept(const struct takeover *t, struct maps *m);

/** Returns whether the former pins have that link. */
bool takeover_has_link(const struct takeover *t, enum link_id id);

/** Loads what carries records over into the maps `m`; `copy`: and copies what the former maps hold,
 * into `m`, where the others are still empty. Changes nothing that steers. Returns 0 or -errno,
 * logged. */
int takeover_prepare(struct takeover *t, const struct maps *m, bool copy);

/** Makes room at `dir` for pins of this build. Returns 0 or -errno, logged. */
int takeover_step_aside(struct takeover *t, const char *bpffs);

/** Puts the programs of `skel` into the former links, and moves all links to `dir`; attaches those
 * that are wanted besides, and detaches those that this build does not know; carries over what was
 * written meanwhile. Returns 0; or -errno, logged: the next start goes on from there. */
int takeover_commit(struct takeover *t, const struct pintle_bpf *skel,
		    const bool wanted[LINK_COUNT], const char *dir, const struct link_place *to);

/** Carries over the rest, once no program uses the former maps, and removes the former pins and
 * filters. Returns as takeover_commit(). */
int takeover_end(struct takeover *t, int netns_fd);

#endif
