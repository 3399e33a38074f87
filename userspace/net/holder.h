/* SPDX-License-Identifier: Apache-2.0 */
/* holder.h - the program of somebody else that keeps all others off a hook. */
#ifndef PINTLE_HOLDER_H
#define PINTLE_HOLDER_H

#include <limits.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#define PROGRAM_NAME_SIZE BPF_OBJ_NAME_LEN
#define MAX_PROGRAMS      64 /* the kernel's own limit on a cgroup's hook */

/** Writes the program's name into `name`; "?": it has none, or cannot be read. Returns `name`. */
const char *program_name(uint32_t id, char name[PROGRAM_NAME_SIZE]);

struct holder {
	uint32_t id;
	char name[PROGRAM_NAME_SIZE];
	char cgroup[PATH_MAX]; /* where it is attached */
};

/** Finds the program that keeps links from being attached to the cgroup for `type`: one that was
 * attached without BPF_F_ALLOW_MULTI, there or, without BPF_F_ALLOW_OVERRIDE either, to a cgroup
 * above. Returns false, with *out undefined, where there is none, or none that can be seen: listing
 * programs takes privileges, and cgroups above the mount are out of sight. */
bool holder_find(int cgroup_fd, enum bpf_attach_type type, struct holder *out);

#define HOLDER_CURE                                                                                \
	"detach it (bpftool cgroup detach), or have its owner attach it by links or "              \
	"with BPF_F_ALLOW_MULTI"

#endif
