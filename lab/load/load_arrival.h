/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_arrival.h - when sessions begin in an open loop, that is, no matter how fast the servers
 * answer.
 *
 * A gap is drawn from a process of rate 1, and ends when the integral of the rate over time has
 * grown by that much. At 2 sessions a second a gap of 1 lasts 0.5 s, and in a burst with factor 10
 * it lasts 0.05 s. So the gaps keep their distribution through ramps and bursts.
 */
#ifndef PINTLE_LOAD_ARRIVAL_H
#define PINTLE_LOAD_ARRIVAL_H

#include <stddef.h>
#include <stdint.h>

#include "../base/random.h"

#define ARRIVAL_NEVER UINT64_MAX

enum arrival_process { ARRIVAL_POISSON, ARRIVAL_GAMMA, ARRIVAL_EVEN };

struct rate_point {
	uint64_t at_ns;
	double rate; /* per second; linear between two points, constant after the last */
};

struct arrival {
	uint32_t process; /* enum arrival_process */
	double cv;        /* coefficient of variation of the gaps; ARRIVAL_GAMMA only */
	struct rate_point *points;
	size_t point_count; /* at least 1; ascending in time */
	/* Every burst_every_ns, first at time 0, the rate is multiplied by burst_factor for
	 * burst_length_ns. burst_every_ns 0: no bursts. */
	uint64_t burst_every_ns, burst_length_ns;
	double burst_factor;
};

/** The next arrival after an arrival at `now_ns`, or ARRIVAL_NEVER. */
uint64_t arrival_next(const struct arrival *a, struct rng *r, uint64_t now_ns);
/** The highest rate of all points, by which arrivals are compared and scaled. */
double arrival_peak(const struct arrival *a);

#endif
