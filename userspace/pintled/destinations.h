/* SPDX-License-Identifier: Apache-2.0 */
/* destinations.h - the map `oneshot`: the addresses and ports that each pool's requests go to, as
 * their packets have them. */
#ifndef PINTLE_DESTINATIONS_H
#define PINTLE_DESTINATIONS_H

#include "publish.h"

/** Writes the frontends of pools that are decided at the servers' node (PINTLE_TRAIT_AT_SERVERS)
 * and the endpoints of the others, whether the pool wants its requests rewritten or not; then takes
 * out what is no longer wanted. Returns 0 or -errno, logged. */
int destinations_publish(const struct maps *m, const struct config *c, const struct publication *p);

#endif
