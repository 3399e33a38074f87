/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_cgroups.h - keeps the map `server_cgroups`: which cgroups match the patterns of endpoints
 * and of classes' rules. By this map sockops and register.c tell an endpoint's listeners from
 * others at its address, and the connect hook finds a client's class.
 */
#ifndef PINTLE_SERVER_CGROUPS_H
#define PINTLE_SERVER_CGROUPS_H

#include <stdbool.h>

#include "../../config/config.h"
#include "../../maps/maps.h"

/** Returns whether any endpoint or any class of `c` names a cgroup. */
bool server_cgroups_wanted(const struct config *c);

/** Fills the map with the cgroups that match the patterns now, by a walk over the tree at the
 * directory `root`, whose path below the cgroup2 root is `below` ("" or "/..."). Where there is no
 * pattern, it empties the map and walks nothing. Returns 0 or -errno, logged. */
int server_cgroups_update(const struct maps *m, const struct config *c, const char *root,
			  const char *below);

#endif
