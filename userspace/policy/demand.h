/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.h - whether a pool is in use on this node, so that its endpoints' pages are wanted often.
 *
 * With 1,000 servers and 1,000 nodes, of which most send a pool nothing, pages that each node reads
 * five times a second are most of the servers' requests. So a pool of which no connection is open,
 * and to which none came in DEMAND_NS, is idle.
 */
#ifndef PINTLE_DEMAND_H
#define PINTLE_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/util.h"

#define DEMAND_NS (10 * NSEC_PER_SEC)

/* Must begin as zeros. */
struct demand {
	uint32_t generation; /* the pool's */
	bool idle;
	uint64_t decisions; /* about its connections, as counted at the newest look */
	uint64_t used_ns;   /* when a look last found it in use; at first when it was new */
	uint64_t since_ns;  /* since when it is in use, or idle */
};

/** Takes in what a look at `now` found: how many decisions there ever were, and whether a
 * connection is open. A pool that is new, or has another generation, is in use. */
void demand_see(struct demand *d, uint32_t generation, uint64_t decisions, bool open, uint64_t now);
/** Notes that another pool, in use now, may send it connections. */
void demand_use(struct demand *d, uint64_t now);

#endif
