/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.h - the directory of pins: makes, locks, checks and repairs it.
 *
 *	BPFFS/vN	what steers: maps and links, N being PINTLE_ABI_VERSION
 *	BPFFS/new	the same while it is made; renamed when it is whole
 *	BPFFS/former	pins of another build with the same N, while they are taken over
 *	BPFFS/removed	nothing: Pintle is taken off all nodes of its cluster (removal.h)
 *
 * Only the holder of the lock on BPFFS may change what is in it: one daemon, or one detach, at a
 * time. The kernel drops the lock when the process ends, however it ends. So a directory `new` that
 * is found with the lock held was left by a process that was killed.
 */
#ifndef PINTLE_PINS_H
#define PINTLE_PINS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../../maps/maps.h"
#include "../../maps/pin.h"

#define PINS_DIR_MODE  0750
#define PINS_FILE_MODE 0640
#define PINS_STAGING   "new" /* bpffs has no names with dots */
#define PINS_FORMER    "former"

/** Makes the directory BPFFS unless it exists. Returns 0, and in *made whether it was made; or
 * -errno, logged with what has to be mounted where. */
int pins_make_dir(const char *bpffs, bool *made);

/** Locks the directory. Returns a descriptor that holds the lock until the caller closes it;
 * -ENOENT (not logged): no such directory; -EPERM: it belongs to another user than root or this
 * one; -EBUSY: another pintled holds the lock; or -errno; logged. */
int pins_lock(const char *bpffs);

/** Returns the mode of a map's pin. */
mode_t pins_mode(enum map_id id);

/** Sets mode and group of one pin or directory; group 0: the group stays. Returns 0 or -errno,
 * logged. */
int pins_own(const char *path, mode_t mode, gid_t group);

/** Returns whether every map is pinned in `dir`. */
bool pins_whole(const char *dir);

/** Pins maps that are missing in `dir` again: it finds them through the programs of the links that
 * are pinned there. A map that no program uses is made anew, empty, where struct map_layout allows
 * (`remade`). Returns whether every map is pinned now. Each repair, and the first map that could
 * not be repaired, is logged. Needs CAP_SYS_ADMIN. */
bool pins_repair(const char *dir);

/** Pins a map again that is missing in `dir`, if programs that are attached there use it. Needs
 * CAP_SYS_ADMIN. */
void pins_find_map(const char *dir, enum map_id id);

/** Returns whether the lookup hook's link is pinned in `dir` and its network namespace still
 * exists. */
bool pins_steer(const char *dir);

/** Returns whether the lookup hook's link is pinned in `dir` and its network namespace is gone. */
bool pins_netns_gone(const char *dir);

/** Returns the id of the cgroup to which the pinned links are attached; 0: none is pinned, or their
 * cgroup is gone. */
unsigned long long pins_cgroup(const char *dir);

/** Removes the pins in `dir`, and `dir`; filters and routes stay. Returns 0, also when there is no
 * `dir`; or -errno, logged. Removes the pin of `node` first: without it the rest is never taken for
 * whole, however early this is interrupted. */
int pins_remove(const char *dir);

#endif
