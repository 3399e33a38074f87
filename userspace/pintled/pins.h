/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.h - the directory of pins: made, locked, owned, looked at, taken away.
 *
 *	BPFFS/vN	what steers: maps and links, N being PINTLE_ABI_VERSION
 *	BPFFS/new	the same while it is made; renamed when it is whole
 *
 * Whoever holds the lock on BPFFS may change what is in it: one daemon, or one detach, at a
 * time. The kernel drops the lock when the process ends, however it ends. So what is found
 * under `new` with the lock held was left by one that was killed.
 */
#ifndef PINTLE_PINS_H
#define PINTLE_PINS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../maps/maps.h"
#include "../maps/pin.h"

#define PINS_DIR_MODE  0750
#define PINS_FILE_MODE 0640
#define PINS_STAGING   "new" /* bpffs has no names with dots */

/** Makes BPFFS unless it is there, and says who has to mount what where it cannot. Returns 0 or
 * -errno, logged; *made: it was not there. */
int pins_make_dir(const char *bpffs, bool *made);

/** Returns a descriptor that holds the lock; -ENOENT (not logged): no such directory; -EBUSY:
 * another pintled holds it; or -errno; logged. */
int pins_lock(const char *bpffs);

/** Mode and group of one pin or directory; group 0: left as it is. Returns 0 or -errno, logged. */
int pins_own(const char *path, mode_t mode, gid_t group);

/** Whether every map is pinned in `dir`. */
bool pins_whole(const char *dir);

/** Pins maps that are missing in `dir` anew, found through the programs of the links that are
 * pinned there; a map that no program uses is made anew, empty, if it may be (struct map_layout).
 * Returns whether the maps are whole now; what was done, or could not be, is logged.
 * Takes CAP_SYS_ADMIN. */
bool pins_repair(const char *dir);
/** The same for one map, which is missing. Returns whether it is pinned now. */
bool pins_repair_map(const char *dir, enum map_id id);

/** Whether the lookup hook is attached by a link that is pinned in `dir`, to a network namespace
 * that still is. */
bool pins_steer(const char *dir);

/** Whether the lookup hook's link is pinned in `dir` and its network namespace is gone. */
bool pins_netns_gone(const char *dir);

/** The cgroup, by its id, whose sockets the pinned sockops program serves; 0: no link is pinned, or
 * its cgroup is gone. */
unsigned long long pins_cgroup(const char *dir);

/** Takes `dir` away with all that was added by it: links, then local routes, then pins. Returns 0,
 * also when there is no `dir`; or -errno, logged: what could not be removed is still pinned. */
int pins_undo(const char *dir);

/** Takes the pins in `dir` away, and `dir`, and nothing that was added by them. Returns 0, also
 * where there is none; or -errno, logged. The pin of `node` goes first: without it nobody takes the
 * rest for whole. */
int pins_remove(const char *dir);

/** Takes away everything that any daemon ever added under this directory, of whatever layout.
 * Works from the pins alone. Returns 0, also when there was nothing; -EBUSY while a daemon runs;
 * else -errno; all logged. */
int detach(const char *bpffs);

#endif
