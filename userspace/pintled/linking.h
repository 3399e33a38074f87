/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linking.h - one link: attached and pinned, its program replaced, detached.
 */
#ifndef PINTLE_LINKING_H
#define PINTLE_LINKING_H

#include <stdbool.h>
#include <sys/types.h>

#include "../maps/links.h"

struct link_place {
	int netns_fd, cgroup_fd;
	const char *netns, *cgroup; /* for messages */
	gid_t group;
};

/** Attaches the program and pins the link in `dir`. Returns 0; or -errno, logged, with nothing
 * attached. */
int link_attach(const struct link_kind *k, int prog_fd, const struct link_place *to,
		const char *dir);

/** Puts the program in the place of the pinned link's, in one step: no connection falls between.
 * What is no longer attached, or not pinned, is attached anew. Returns 0 or -errno, logged. */
int link_replace(const struct link_kind *k, int prog_fd, const struct link_place *to,
		 const char *dir);

/** The same for a link pinned in `from`, whose pin then moves to `dir`. Returns 0; or -errno,
 * logged: the pin is in one of the two. */
int link_move(const struct link_kind *k, int prog_fd, const struct link_place *to, const char *from,
	      const char *dir);

bool link_pinned(const struct link_kind *k, const char *dir);

/** Ends it, if it is pinned in `dir`, and takes the pin away. */
void link_detach(const struct link_kind *k, const char *dir);

#endif
