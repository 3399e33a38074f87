/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_cgroups.h - keeps the map `server_cgroups`: in which cgroups an endpoint's server may run.
 * By this map sockops and register.c tell an endpoint's listeners from others at its address.
 */
#ifndef PINTLE_SERVER_CGROUPS_H
#define PINTLE_SERVER_CGROUPS_H

#include <stdbool.h>

#include "../config/config.h"
#include "../maps/maps.h"

/** Whether any endpoint of `c` names a cgroup. */
bool server_cgroups_wanted(const struct config *c);

/** Fills the map with the cgroups that match the endpoints' patterns now, by a walk over the tree
 * at the directory `root`, whose path below the cgroup2 root is `below` ("" or "/..."). Where no
 * endpoint names a cgroup, it empties the map and walks nothing. Returns 0 or -errno, logged. */
int server_cgroups_update(const struct maps *m, const struct config *c, const char *root,
			  const char *below);

#endif
