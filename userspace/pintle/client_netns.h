/* SPDX-License-Identifier: Apache-2.0 */
/* client_netns.h - the network namespace of a client, by the processes in its cgroups. */
#ifndef PINTLE_CLIENT_NETNS_H
#define PINTLE_CLIENT_NETNS_H

#include <stdint.h>

/** Finds the network namespace of a process in that cgroup, or in those of that pod, by its
 * client_id(); 0: in none. It takes root, and a /proc with the node's processes. Returns 0 with the
 * namespace's SO_NETNS_COOKIE in *cookie; -ENOENT: there is no such process, or it cannot be seen;
 * or another -errno. Does not log, but for what keeps cgroup2_root() from its work. */
int client_netns(uint64_t cgroup, uint64_t pod, uint64_t *cookie);

#endif
