/* SPDX-License-Identifier: Apache-2.0 */
/* programs.h - the programs on Pintle's hooks, Pintle's and others, in their order. Listing them
 * takes privileges. */
#ifndef PINTLE_CLI_PROGRAMS_H
#define PINTLE_CLI_PROGRAMS_H

#include <bpf/bpf.h>
#include <limits.h>

#include "../maps/links.h"
#include "../net/holder.h"
#include "cli.h"

struct program {
	uint32_t id;
	char name[PROGRAM_NAME_SIZE];
	bool ours; /* it is the pinned link's */
};

struct programs {
	struct program all[MAX_PROGRAMS]; /* in the order in which they run */
	size_t count;
	size_t own; /* index of Pintle's; count: it is not among them */
};

/** Lists the programs that run for the link's hook at `fd`, a network namespace or a cgroup; for a
 * cgroup also those that are attached to the cgroups above it. Returns 0; or -errno, *out
 * untouched. */
int programs_query(const struct cli *cli, int fd, enum link_id link, struct programs *out);

/** Opens node.cgroup, or the cgroup2 root if `s` is NULL or names none; writes its path into `path`
 * (PATH_MAX bytes). Returns a descriptor, which the caller closes; or -errno. */
int open_watched_cgroup(const struct state *s, char *path);

/** Returns whether the link is pinned, as far as this process may see. */
bool link_is_pinned(const struct cli *cli, enum link_id link);

/** Returns whether any pool needs the link. */
bool link_wanted(const struct state *s, enum link_id link);

#define LINK_TROUBLE_SIZE (PATH_MAX + 64)
/** Returns whether a link that is needed is missing or detached, as far as this process may see;
 * then `why` says it in words. */
bool link_trouble(const struct cli *cli, const struct state *s, enum link_id link,
		  char why[LINK_TROUBLE_SIZE]);
/** Returns what helps against link_trouble(). Static. */
const char *link_cure(const struct state *s);

/** Opens the pinned link. Returns a descriptor, which the caller closes; or -errno. */
int link_open(const struct cli *cli, enum link_id link);

#endif
