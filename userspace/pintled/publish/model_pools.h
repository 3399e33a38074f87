/* SPDX-License-Identifier: Apache-2.0 */
/* model_pools.h - which pool serves which model, for the hand-off. */
#ifndef PINTLE_MODEL_POOLS_H
#define PINTLE_MODEL_POOLS_H

#include "../../maps/maps.h"
#include "publication.h"

/** Makes the map `models` what the configuration says; the counts of what stays go on. The pools of
 * *p, and those that were there before, must be in the map `pools`, so that no request finds a pool
 * that is not there. Returns 0 or -errno, logged. */
int model_pools_publish(const struct maps *m, const struct config *c, const struct publication *p);

/** Returns the number of the adapter that the row says, 0: none; and sets it, where the row is
 * there. An error is logged. */
uint32_t model_pools_adapter(const struct maps *m, const struct pintle_model_key *key);
void model_pools_set_adapter(const struct maps *m, const struct pintle_model_key *key,
			     uint32_t number);

#endif
