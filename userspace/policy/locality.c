/* SPDX-License-Identifier: Apache-2.0 */
#include "locality.h"

#include "../base/util.h"

uint32_t locality_extra(const struct config_locality *l, uint32_t place)
{
	unsigned int missed = (l->prefer_node && (place == PLACE_ZONE || place == PLACE_AWAY)) +
			      (l->prefer_zone && place == PLACE_AWAY);

	return (uint32_t)(missed * (l->max_extra_load * 1000 + 0.5));
}

uint32_t locality_add(uint32_t load, uint32_t extra)
{
	return (uint32_t)MIN((uint64_t)load + extra, (uint64_t)PINTLE_MAX_LOAD);
}
