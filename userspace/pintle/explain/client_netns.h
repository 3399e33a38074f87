/* SPDX-License-Identifier: Apache-2.0 */
/* client_netns.h - the network namespace of a client, by the processes in its cgroups. */
#ifndef PINTLE_CLIENT_NETNS_H
#define PINTLE_CLIENT_NETNS_H

#include <stdint.h>

/** Finds the network namespace of a process in that cgroup, or in those of that pod, by its
 * client_id(); 0: in none. It takes a /proc with the node's processes, CAP_SYS_PTRACE and
 * CAP_SYS_ADMIN, or CAP_NET_ADMIN in the place of the last where the process has a socket. Returns
 * 0 with the namespace's SO_NETNS_COOKIE in *cookie; -ENOENT: there is no such process, or it is
 * not seen; or another -errno. Does not log, but for what keeps cgroup2_root() from its work. */
int client_netns(uint64_t cgroup, uint64_t pod, uint64_t *cookie);

#endif
