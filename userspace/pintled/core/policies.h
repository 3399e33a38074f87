/* SPDX-License-Identifier: Apache-2.0 */
/* policies.h - keeps the map `policies`: the keys of a cluster's pools, for a daemon that starts
 * while the API server is away. */
#ifndef PINTLE_POLICIES_H
#define PINTLE_POLICIES_H

#include "../../config/config.h"
#include "../../maps/maps.h"

/** Writes the keys of the found pools that hold, and removes all others. Logs what it cannot write:
 * steering does not need it. */
void policies_put(const struct maps *m, const struct config_founds *found);

#endif
