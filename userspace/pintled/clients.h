/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.h - who a client is, by its cgroup: keeps the map `clients` as cgroups come and go.
 *
 * A client is what the configuration names by a pattern, or a Kubernetes pod, by the name that the
 * kubelet gives its cgroup; with all that is below. Other cgroups are not in the map: the
 * kernel takes each for a client by its id. The map is kept only while a pool's key or group is
 * `cgroup`. The same walks keep the map of server_cgroups.h while an endpoint names a cgroup.
 *
 * inotify says that the tree has changed, and then it is walked as a whole. So an event that is
 * lost costs no more than the time until the next walk.
 */
#ifndef PINTLE_CLIENTS_H
#define PINTLE_CLIENTS_H

#include <limits.h>
#include <stdbool.h>
#include <uv.h>

#include "../config/config.h"
#include "../maps/maps.h"

struct clients;

/** Watches nothing yet. Returns 0 and *out (clients_free() it before the loop is closed, and let
 * the loop turn after it), or -errno, logged. */
int clients_new(uv_loop_t *loop, const struct maps *m, struct clients **out);

/** Goes by the patterns of `c`, which stays the caller's and valid until the next call, and walks
 * the tree at once. Where no pool asks for clients the map is emptied. */
void clients_configure(struct clients *x, const struct config *c);

/** Walks the tree again; for every now and then. */
void clients_rescan(struct clients *x);

/** Cgroups in the map. */
size_t clients_count(const struct clients *x);

/** The map stays as it is: whoever has gone meanwhile is taken out by the next daemon. NULL is
 * fine.
 */
void clients_free(struct clients *x);

/** Where clients and model servers run, as the maps have it: the directory of node.cgroup, and its
 * path below the cgroup2 root, from which on patterns tell cgroups ("" or "/..."). Returns false
 * where no cgroup2 is mounted (logged). */
bool clients_root(const struct maps *m, char root[PATH_MAX], char below[PATH_MAX]);

/** The client that a cgroup of this path is, if it is a pod's: "pod/UID" into `name`; `path` is
 * below the cgroup2 root. Returns whether it is. */
bool clients_pod(const char *path, char name[PINTLE_NAME_SIZE]);

#endif
