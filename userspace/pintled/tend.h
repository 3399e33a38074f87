/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tend.h - what is pinned stays pinned, and what is attached is known to be: while the daemon runs
 * it holds each link and each map by a descriptor, too. So a pin that somebody removes loses
 * nothing, and is put back; what is detached by force, or with its cgroup, is noticed.
 */
#ifndef PINTLE_TEND_H
#define PINTLE_TEND_H

#include <stdbool.h>
#include <sys/types.h>

#include "../maps/links.h"
#include "../maps/maps.h"

struct tend {
	int fd[LINK_COUNT]; /* of the links that are held; -1 */
};

/** Holds nothing yet. */
void tend_begin(struct tend *t);
/** Holds each link that is pinned in `dir`, and is not held. */
void tend_hold(struct tend *t, const char *dir);
/** Lets go of one link, or of all. */
void tend_release(struct tend *t, enum link_id id);
void tend_end(struct tend *t);

/** Whether that link is held, and attached to something that still is. */
bool tend_attached(const struct tend *t, enum link_id id);

/** Pins in `dir` the maps, and the links that are held and attached, which are not pinned there.
 * Returns how many; or -errno, logged. */
int tend_pins(const struct tend *t, const struct maps *m, const char *dir, gid_t group);

#endif
