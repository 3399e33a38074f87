/* SPDX-License-Identifier: Apache-2.0 */
/* state_found.h - the pools of a cluster as the maps hold them: what the daemon goes on with while
 * it cannot ask the cluster, and what the CLI judges settings by. */
#ifndef PINTLE_STATE_FOUND_H
#define PINTLE_STATE_FOUND_H

#include "../config/config.h"
#include "state.h"

/** Returns whether the pool's name is that of a cluster's pool, "NAMESPACE/NAME". */
bool state_is_found(const struct state_pool *p);

/** Makes those pools, in the order of their ids. Returns 0 with *out (config_founds_free() it), or
 * -ENOMEM. */
int state_found(const struct state *s, struct config_founds *out);

#endif
