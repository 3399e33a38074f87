/* SPDX-License-Identifier: Apache-2.0 */
/* telemetry.h - logs ejections and maps that are nearly full. */
#ifndef PINTLE_TELEMETRY_H
#define PINTLE_TELEMETRY_H

#include "../ground.h"

struct telemetry;

/** Ejections that the maps hold already are not logged. Returns 0 and *out (telemetry_free() it),
 * or -errno, logged. */
int telemetry_new(const struct ground *g, struct telemetry **out);
/** Logs which endpoints were ejected, or answer their clients again, since the last call. */
void telemetry_look(struct telemetry *t);
/** Measures how full the LRU maps are, and warns above 80 %, once for each map. Walks over the
 * maps, so it is not for every turn of the loop. */
void telemetry_check_fill(struct telemetry *t);
/** Sets *fill to how full the i-th LRU map was at the last telemetry_check_fill(), 0..1. Returns
 * false past the last map. */
bool telemetry_fill(const struct telemetry *t, size_t i, enum map_id *map, double *fill);
void telemetry_free(struct telemetry *t);

#endif
