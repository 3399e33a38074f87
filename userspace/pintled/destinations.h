/* SPDX-License-Identifier: Apache-2.0 */
/* destinations.h - the map `oneshot`: the addresses and ports that each pool's requests go to, as
 * their packets have them. */
#ifndef PINTLE_DESTINATIONS_H
#define PINTLE_DESTINATIONS_H

#include "publish.h"

/** Writes the frontends of lookup pools and the endpoints of connect pools, whether the pool wants
 * its requests rewritten or not; then takes out what is no longer wanted. Returns 0 or -errno,
 * logged. */
int destinations_publish(const struct maps *m, const struct config *c, const struct publication *p);

#endif
