/* SPDX-License-Identifier: Apache-2.0 */
/* telemetry.h - what the log says of ejections and of full maps, and the page /metrics. */
#ifndef PINTLE_TELEMETRY_H
#define PINTLE_TELEMETRY_H

#include "../config/config.h"
#include "../maps/maps.h"
#include "../base/metrics_text.h"
#include "poll.h"

struct telemetry;

/** What `m`, opened for writing, holds now is not news. Returns 0 and *out, or -errno, logged. */
int telemetry_new(const struct maps *m, struct telemetry **out);
/** Logs which endpoints were ejected, or answer their clients again, since the last look. */
void telemetry_look(struct telemetry *t);
/** Estimates how full the LRU maps are and warns, once each, above 80 %. Walks the maps:
 * not for every turn of the loop. */
void telemetry_check_fill(struct telemetry *t);
/** Writes the whole page; `clients` is how many cgroups are known by name. */
void telemetry_render(const struct telemetry *t, const struct poller *poller,
		      const struct config *c, size_t clients, struct metrics_text *out);
void telemetry_free(struct telemetry *t);

#endif
