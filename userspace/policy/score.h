/* SPDX-License-Identifier: Apache-2.0 */
/* score.h - the load formula, a pure function, so that policy can be tested as arithmetic. */
#ifndef PINTLE_SCORE_H
#define PINTLE_SCORE_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "../config/config.h"
#include "engines.h"

/** Makes of signals what the kernel evaluates (docs/load.md):
 *
 *   published = w.queue x waiting + w.running x running + w.gpu x gpu
 *             + w.kvCache x queueDepth x (kv / saturation.kvCache)^4
 *
 * in milli-requests, clamped to PINTLE_MAX_LOAD; a signal that the page lacks counts as 0. A
 * connection that came since the scrape weighs max(w.queue, w.running). `gpu` is 0..1; negative or
 * NaN: not known. Fills every member of *out but sequence, generation, scraped_ns, inflight and
 * pending. Cannot fail. */
void score_compute(const struct signals *s, double gpu, const struct config_weights *w,
		   const struct config_saturation *sat, struct pintle_score *out);

/** Returns how full an endpoint is: max(waiting / queueDepth, kv / saturation.kvCache). 0 is empty;
 * from 1 on it is saturated. A threshold of 0 is not applied. */
double score_saturation(const struct pintle_score *score, const struct config_saturation *sat);

#endif
