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
 * Among several mounts it prefers the machine's true root, then the one that lies highest above
 * this process's cgroup namespace, and then the usual places. On a node whose own cgroup2 is in a
 * cgroup namespace (kind, k3d), the highest is the node's root, below which all its pods are.
 * Returns 0 and a NUL-terminated path in `path`; -ENOENT when no cgroup2 is mounted, -ENAMETOOLONG
 * when it does not fit in `size` bytes, or another -errno: each logged, and `path` untouched.
 */
int cgroup2_root(char *path, size_t size);

/* What node.cgroup says in the place of a path. */
#define CGROUP2_KUBEPODS "kubepods"

/** Finds the cgroup below which this node's kubelet has all its pods, as each of its drivers names
 * it, below what cgroup2_root() finds: the one that processes are in, where an earlier driver left
 * another. Returns as cgroup2_root(); -ENOENT, too, where there is none. */
int cgroup2_kubepods(char *path, size_t size);

#define CGROUP2_WHY_SIZE  384
#define CGROUP2_PART_CURE "mount the node's /sys/fs/cgroup into this container, or name node.cgroup"
/** Returns whether processes are known to be outside the tree that cgroup2_root() finds, as in a
 * container that sees its own cgroup only: process 1 is outside, or the tree is nothing but the
 * cgroup of this process. Then `why` says so. False where cgroup2_root() fails (logged). */
bool cgroup2_part(char why[CGROUP2_WHY_SIZE]);

/** Opens the directory of a cgroup. Returns a descriptor (close-on-exec, closed by the caller), or
 * -errno, logged: -EINVAL: a directory of another file system (cgroup v1, ...). */
int cgroup2_open(const char *path);

/** Finds the path below the cgroup2 root, which is mounted at `root`, of the cgroup with this id.
 * Returns 0 with it in `path`; or, with `path` untouched, -ESTALE if it is gone, or another
 * -errno. Needs CAP_DAC_READ_SEARCH. Does not log. */
int cgroup2_path(const char *root, uint64_t id, char *path, size_t size);

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
