/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linking.h - attaches and pins one link, replaces its program, detaches it.
 */
#ifndef PINTLE_LINKING_H
#define PINTLE_LINKING_H

#include <stdbool.h>
#include <sys/types.h>

#include "../../maps/links.h"

struct link_place {
	int netns_fd, cgroup_fd;
	const char *netns, *cgroup; /* for messages */
	gid_t group;
};

/** Attaches the program and pins the link in `dir`. Returns 0; or -errno, logged, with nothing
 * attached. */
int link_attach(const struct link_kind *k, int prog_fd, const struct link_place *to,
		const char *dir);

/** Replaces the program of the pinned link in one step, so that no connection misses both. A link
 * that is no longer attached, or not pinned, is attached anew. Returns 0 or -errno, logged. */
int link_replace(const struct link_kind *k, int prog_fd, const struct link_place *to,
		 const char *dir);

/** Replaces, as link_replace() does, a link pinned in `from`, whose pin it then moves to `dir`.
 * Returns 0; or -errno, logged: the pin is in one of the two directories. */
int link_move(const struct link_kind *k, int prog_fd, const struct link_place *to, const char *from,
	      const char *dir);

bool link_pinned(const struct link_kind *k, const char *dir);

/** Detaches the link that is pinned in `dir`, if there is one, and removes the pin. Failures are
 * logged. */
void link_detach(const struct link_kind *k, const char *dir);

#endif
