/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift.h - by how much a count of open connections is wrong, told by a walk over the sockets that
 * exist: pure functions.
 */
#ifndef PINTLE_DRIFT_H
#define PINTLE_DRIFT_H

#include <stdint.h>

/* Two numbers that only grow; what is open is their difference. */
struct drift_count {
	uint64_t begun, ended;
};

/** Returns by how much the count is certainly wrong; above 0: more are counted than exist. `before`
 * was read before a walk and `after` after it; the walk has seen so many sockets. Connections come
 * and go meanwhile. */
int64_t drift_of(struct drift_count before, struct drift_count after, uint64_t seen);

/** Returns the error that two walks agree on. A single one may come between the moment when the
 * kernel marks a connection and the moment when it counts it. */
int64_t drift_agreed(int64_t first, int64_t second);

#endif
