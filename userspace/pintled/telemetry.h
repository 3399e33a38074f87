/* SPDX-License-Identifier: Apache-2.0 */
/* telemetry.h - what the log says of ejections and of full maps. */
#ifndef PINTLE_TELEMETRY_H
#define PINTLE_TELEMETRY_H

#include "../maps/maps.h"

struct telemetry;

/** What `m`, opened for writing, holds now is not news. Returns 0 and *out, or -errno, logged. */
int telemetry_new(const struct maps *m, struct telemetry **out);
/** Logs which endpoints were ejected, or answer their clients again, since the last look. */
void telemetry_look(struct telemetry *t);
/** Estimates how full the LRU maps are and warns, once each, above 80 %. Walks the maps:
 * not for every turn of the loop. */
void telemetry_check_fill(struct telemetry *t);
/** How full the i-th LRU map was then, 0..1. Returns false past the last one. */
bool telemetry_fill(const struct telemetry *t, size_t i, enum map_id *map, double *fill);
void telemetry_free(struct telemetry *t);

#endif
