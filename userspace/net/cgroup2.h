/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup2.h - finds and opens the cgroup that programs are attached to; walks over the cgroups
 * below. */
#ifndef PINTLE_CGROUP2_H
#define PINTLE_CGROUP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Finds where the root of the cgroup2 hierarchy is mounted, by /proc/self/mountinfo:
 * /sys/fs/cgroup on most hosts, /sys/fs/cgroup/unified on hybrid ones, anywhere in a container.
 *
 * Among several mounts it prefers the machine's true root, and then the usual places. If only a
 * part of the hierarchy is mounted (in a container with a cgroup namespace of its own), it returns
 * that part and warns: sockets of processes outside it will not be seen. Returns 0 and a
 * NUL-terminated path in `path`; -ENOENT when no cgroup2 is mounted, -ENAMETOOLONG when it does not
 * fit in `size` bytes, or another -errno: each logged, and `path` untouched.
 */
int cgroup2_root(char *path, size_t size);

/** Opens the directory of a cgroup. Returns a descriptor (close-on-exec, closed by the caller), or
 * -errno, logged: -EINVAL: a directory of another file system (cgroup v1, ...). */
int cgroup2_open(const char *path);

#define CGROUP2_MAX_DEPTH 64

struct cgroup2_visit {
	int fd; /* the directory's descriptor, owned by the walk */
	uint64_t id;
	const char *path; /* below the cgroup2 root; "/" is the root itself */
	int depth;        /* 0..CGROUP2_MAX_DEPTH; 0: where the walk began */
};

/** Calls `each` for the cgroup whose directory is `root`, and whose path below the cgroup2 root is
 * `below`, and for every cgroup below it. A parent is visited before its children are even listed.
 * Cgroups that are removed during the walk are skipped. Returns 0; -ECANCELED: `each` returned
 * false, which ends the walk; or -errno: `root` cannot be opened. */
int cgroup2_walk(const char *root, const char *below,
		 bool (*each)(void *arg, const struct cgroup2_visit *v), void *arg);

#endif
