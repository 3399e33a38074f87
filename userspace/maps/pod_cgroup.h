/* SPDX-License-Identifier: Apache-2.0 */
/* pod_cgroup.h - which pod a cgroup is of, by its path, as kubelet's two drivers write it. */
#ifndef PINTLE_POD_CGROUP_H
#define PINTLE_POD_CGROUP_H

#include <stdbool.h>

#include <pintle/abi.h>

/** Returns whether the cgroup at `path`, below the cgroup2 root, is a pod's. If so, `name` becomes
 * "pod/UID". */
bool pod_cgroup(const char *path, char name[PINTLE_CLIENT_NAME_SIZE]);

/** Returns that of a cgroup that is a pod's or anywhere below it, such as a container's. The
 * uppermost counts: what a container makes below its own cgroup does not rename it. */
bool pod_cgroup_above(const char *path, char name[PINTLE_CLIENT_NAME_SIZE]);

#endif
