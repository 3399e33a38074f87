/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tend.h - keeps pins and links in place. While the daemon runs, it holds a descriptor of each map
 * and link besides the pin. So nothing is lost when somebody removes a pin, and the daemon pins it
 * again; and it notices a link that is detached by force, or with its cgroup. A link that others
 * detach again and again is let be for a while: two programs that fight help nobody.
 */
#ifndef PINTLE_TEND_H
#define PINTLE_TEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../maps/links.h"
#include "../../maps/maps.h"

#define TEND_TIMES     3
#define TEND_PERIOD_NS (600 * UINT64_C(1000000000))

/* When a link that was detached by force was attached again. */
struct tend_back {
	uint64_t at_ns[TEND_TIMES]; /* the newest; a ring */
	uint64_t count;
};

struct tend {
	int fd[LINK_COUNT]; /* of the links that are held; -1 */
	struct tend_back back[LINK_COUNT];
};

/** Begins with no link held. */
void tend_begin(struct tend *t);
/** Opens each link that is pinned in `dir` and not held yet. */
void tend_hold(struct tend *t, const char *dir);
/** Closes the descriptor of one link, or of all. What is pinned stays attached. */
void tend_release(struct tend *t, enum link_id id);
void tend_end(struct tend *t);

/** Returns whether that link is held, and what it is attached to still exists. */
bool tend_attached(const struct tend *t, enum link_id id);

/** Returns whether the link may be attached again: not if that was done TEND_TIMES in the last
 * TEND_PERIOD_NS. */
bool tend_may_put_back(const struct tend *t, enum link_id id, uint64_t now_ns);
/** Notes that it was. */
void tend_put_back(struct tend *t, enum link_id id, uint64_t now_ns);

/** Pins in `dir` every map, and every link that is held and attached, that is not pinned there.
 * Returns how many it pinned; or -errno, logged. */
int tend_pins(const struct tend *t, const struct maps *m, const char *dir, gid_t group);

#endif
