/* SPDX-License-Identifier: Apache-2.0 */
/* destinations.h - writes the map `oneshot`: each pool's destinations, as the packets of its
 * requests have them. */
#ifndef PINTLE_DESTINATIONS_H
#define PINTLE_DESTINATIONS_H

#include "publication.h"

/** Writes the frontends of pools that are decided on the servers' node (PINTLE_TRAIT_AT_SERVERS),
 * and the endpoints of the others, whether or not a pool has its requests rewritten. Then deletes
 * rows that are no longer wanted. Returns 0 or -errno, logged. */
int destinations_publish(const struct maps *m, const struct config *c, const struct publication *p);

#endif
