/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_arrival.h - when sessions begin, in an open loop: independent of how the servers fare.
 *
 * The gaps of a process with rate 1 are drawn, then stretched by the rate as it changes over
 * time; so a ramp or a burst keeps the process's character.
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
	double rate; /* per second; from point to point in a straight line, then as the last */
};

struct arrival {
	uint32_t process; /* enum arrival_process */
	double cv;        /* of the gaps of ARRIVAL_GAMMA */
	struct rate_point *points;
	size_t point_count; /* at least 1; ascending in time */
	/* From time 0 on, every so often, for so long the rate is multiplied. 0: no bursts. */
	uint64_t burst_every_ns, burst_length_ns;
	double burst_factor;
};

/** The arrival after `now_ns`, or ARRIVAL_NEVER. */
uint64_t arrival_next(const struct arrival *a, struct rng *r, uint64_t now_ns);
/** The highest rate of its points: what stands for it when rates are compared. */
double arrival_peak(const struct arrival *a);

#endif
