/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_cgroups.h - which cgroups an endpoint's server may run in: keeps the map `server_cgroups`,
 * by which sockops and register.c tell an endpoint's listeners from others at its address.
 */
#ifndef PINTLE_SERVER_CGROUPS_H
#define PINTLE_SERVER_CGROUPS_H

#include <stdbool.h>

#include "../config/config.h"
#include "../maps/maps.h"

/** Whether an endpoint names a cgroup. */
bool server_cgroups_wanted(const struct config *c);

/** Makes the map say which cgroups match the endpoints' patterns now, by a walk over the tree at
 * `root`, which is `below` the cgroup2 root ("" or "/..."). Where no endpoint names a cgroup the
 * map is emptied, and nothing is walked. Returns 0 or -errno, logged. */
int server_cgroups_update(const struct maps *m, const struct config *c, const char *root,
			  const char *below);

#endif
