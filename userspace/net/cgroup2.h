/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup2.h - find and open the cgroup that programs are attached to; walk what is below one. */
#ifndef PINTLE_CGROUP2_H
#define PINTLE_CGROUP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Finds where the root of the cgroup2 hierarchy is mounted, by /proc/self/mountinfo:
 * /sys/fs/cgroup on most hosts, /sys/fs/cgroup/unified on hybrid ones, anywhere in a container.
 *
 * Of several mounts the true root of the machine is preferred, then the usual places. If only a
 * part of the hierarchy is mounted (a container with a cgroup namespace of its own), that is
 * given with a warning: sockets of processes outside it will not be seen.
 * Returns 0 and a NUL-terminated path in `path`; -ENOENT when no cgroup2 is mounted,
 * -ENAMETOOLONG when it does not fit in `size` bytes, or another -errno: each logged, and `path`
 * untouched.
 */
int cgroup2_root(char *path, size_t size);

/** Opens a directory of cgroup2. Returns a descriptor (close-on-exec, the caller's to close), or
 * -errno, logged: -EINVAL when it is a directory of something else (cgroup v1, ...). */
int cgroup2_open(const char *path);

#define CGROUP2_MAX_DEPTH 64

struct cgroup2_visit {
	int fd; /* of the directory; the walk's */
	uint64_t id;
	const char *path; /* "/" is where `below` is "" */
	int depth;        /* 0..CGROUP2_MAX_DEPTH; 0 is where the walk began */
};

/** Calls `each` for the cgroup at `root`, which is called `below`, and for each one below it,
 * parents first, and before their children are listed. Cgroups that go meanwhile are passed over.
 * Returns 0; -ECANCELED when `each` returned false, which ends it; or -errno when there is no root.
 */
int cgroup2_walk(const char *root, const char *below,
		 bool (*each)(void *arg, const struct cgroup2_visit *v), void *arg);

#endif
