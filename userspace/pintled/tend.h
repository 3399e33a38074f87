/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tend.h - keeps pins and links in place. While the daemon runs, it holds a descriptor of each map
 * and link besides the pin. So nothing is lost when somebody removes a pin, and the daemon pins it
 * again; and it notices a link that is detached by force, or with its cgroup.
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

/** Begins with no link held. */
void tend_begin(struct tend *t);
/** Opens each link that is pinned in `dir` and not held yet. */
void tend_hold(struct tend *t, const char *dir);
/** Closes the descriptor of one link, or of all. What is pinned stays attached. */
void tend_release(struct tend *t, enum link_id id);
void tend_end(struct tend *t);

/** Whether that link is held, and what it is attached to still exists. */
bool tend_attached(const struct tend *t, enum link_id id);

/** Pins in `dir` every map, and every link that is held and attached, that is not pinned there.
 * Returns how many it pinned; or -errno, logged. */
int tend_pins(const struct tend *t, const struct maps *m, const char *dir, gid_t group);

#endif
