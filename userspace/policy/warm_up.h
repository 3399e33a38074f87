/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm_up.h - the slow start of an endpoint that is new or back: which part of its weight counts.
 */
#ifndef PINTLE_WARM_UP_H
#define PINTLE_WARM_UP_H

#include <pintle/abi.h>
#include <stdint.h>

/* The part with which an endpoint begins, in percent of its weight: Envoy's min_weight_percent. */
#define WARM_UP_LEAST 10

/** Returns pintle_score.rate of an endpoint with this weight that has served for `served_ns` and
 * warms up for `slow_start_ns` (0: not at all). The part grows in a straight line, and is never
 * less than WARM_UP_LEAST: Envoy's slow start with an aggression of 1. */
static inline uint32_t warm_up_rate(uint32_t weight, uint64_t served_ns, uint64_t slow_start_ns)
{
	uint64_t percent = 100;

	if (served_ns < slow_start_ns)
		percent = (uint64_t)(100 * ((double)served_ns / (double)slow_start_ns));
	if (percent < WARM_UP_LEAST)
		percent = WARM_UP_LEAST;
	return (uint32_t)(weight * percent);
}

#endif
