/* SPDX-License-Identifier: Apache-2.0 */
/* programs.h - who else is on our hooks, and in which order. Takes privileges to see. */
#ifndef PINTLE_CLI_PROGRAMS_H
#define PINTLE_CLI_PROGRAMS_H

#include <bpf/bpf.h>
#include <limits.h>

#include "../maps/links.h"
#include "cli.h"

#define MAX_PROGRAMS 64 /* the kernel's own limit on a cgroup's hook */

struct program {
	uint32_t id;
	char name[BPF_OBJ_NAME_LEN]; /* "?" where it cannot be seen */
	bool ours;                   /* by the pinned link */
};

struct programs {
	struct program all[MAX_PROGRAMS]; /* in the order in which they run */
	size_t count;
	size_t own; /* index of the first of ours; count: none is */
};

/** The programs that run at `fd`, a network namespace or a cgroup, for that link's hook: in a
 * cgroup also those of the ones above it. Returns 0 or -errno, *out untouched. */
int programs_query(const struct cli *cli, int fd, enum link_id link, struct programs *out);

/** Opens node.cgroup, or the cgroup2 root where there is no node; `path` (PATH_MAX) says which.
 * Returns a descriptor or -errno. */
int open_watched_cgroup(const struct state *s, char *path);

/** Whether the link is pinned, as far as whoever asks can see. */
bool link_is_pinned(const struct cli *cli, enum link_id link);

/** Whether a pool needs that hook. */
bool link_wanted(const struct state *s, enum link_id link);

#define LINK_TROUBLE_SIZE (PATH_MAX + 64)
/** Whether a hook that is needed is not attached, as far as whoever asks can see; and then `why`,
 * in words. */
bool link_trouble(const struct cli *cli, const struct state *s, enum link_id link,
		  char why[LINK_TROUBLE_SIZE]);
/** What helps against that. */
const char *link_cure(const struct state *s);

/** The pinned link: a descriptor (the caller's), or -errno. */
int link_open(const struct cli *cli, enum link_id link);

#endif
