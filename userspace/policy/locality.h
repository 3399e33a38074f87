/* SPDX-License-Identifier: Apache-2.0 */
/* locality.h - what the way to an endpoint adds to its load, a pure function. */
#ifndef PINTLE_LOCALITY_H
#define PINTLE_LOCALITY_H

#include "../config/config.h"

/** Returns the load, in milli-requests, that an endpoint at this place (enum config_place_of) has
 * for clients on this node beyond its own: maxExtraLoad for each preference of the pool that it
 * does not meet. Where the place is not known, 0: the endpoint counts as near. At most 2 *
 * PINTLE_MAX_LOAD. */
uint32_t locality_extra(const struct config_locality *l, uint32_t place);

/** Adds it to a load in milli-requests, clamped to PINTLE_MAX_LOAD. */
uint32_t locality_add(uint32_t load, uint32_t extra);

#endif
