/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.h - names clients by their cgroups: keeps the map `clients` up to date as cgroups come
 * and go.
 *
 * A client is either all cgroups that match a pattern of the configuration, or a Kubernetes pod,
 * known by the name that the kubelet gives its cgroup; each with the cgroups below. Other cgroups
 * are not in the map: the kernel takes each for a client of its own, by its id. The map is kept
 * only while a pool's key or group is `cgroup`, or one of a pod, or a client or some pod is left
 * alone. The same walks keep the map of server_cgroups.h while an endpoint names a cgroup.
 *
 * When inotify reports a change, the whole tree is walked. So a lost event costs no more than the
 * time until the next walk.
 */
#ifndef PINTLE_CLIENTS_H
#define PINTLE_CLIENTS_H

#include <limits.h>
#include <stdbool.h>
#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"

struct clients;

/** Makes *out, which does not watch anything yet. Returns 0 and *out (clients_free() it, then run
 * the loop until its handles are closed), or -errno, logged. */
int clients_new(const struct ground *g, struct clients **out);

/** Takes the patterns of `c` from now on, and walks the tree at once. `c` is kept by reference
 * until the next call. Empties the map where nothing needs it. */
void clients_configure(struct clients *x, const struct config *c);
/** Sets whether pods have to be known whatever the pools' keys are: client_pods_left_alone(). */
void clients_name_pods(struct clients *x, bool wanted);

/** Walks the tree again. To be called now and then, because inotify may have missed something. */
void clients_rescan(struct clients *x);

/** Returns whether the tree is searched for clients at all, and whether the newest walk found a
 * cgroup of the client with this name. */
bool clients_looked(const struct clients *x);
bool clients_found(const struct clients *x, const char *name);

/** Returns how many cgroups are in the map. */
size_t clients_count(const struct clients *x);

/** Leaves the map as it is; the next daemon removes cgroups that are gone by then. NULL is fine. */
void clients_free(struct clients *x);

/** Finds where clients and model servers run, as `m` has it: `root` is the directory of
 * node.cgroup, and `below` its path below the cgroup2 root, "" or "/...", from which on patterns
 * name cgroups. Returns false where no cgroup2 is mounted (logged). */
bool clients_root(const struct maps *m, char root[PATH_MAX], char below[PATH_MAX]);

#endif
