/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minute.h - percentiles of the last minute, of a histogram in a map that only grows: pure
 * functions. The histogram's buckets are those of bpf/buckets.bpf.h.
 */
#ifndef PINTLE_MINUTE_H
#define PINTLE_MINUTE_H

#include <pintle/abi.h>
#include <stdint.h>

#include "../base/buckets.h"

#define MINUTE_SLOTS   6
#define MINUTE_SLOT_NS 10000000000ULL

/* Must begin as zeros. */
struct minute {
	uint64_t slot_ns;             /* when the newest slot began; 0: nothing yet */
	uint64_t looked_ns;           /* when the percentiles were computed */
	__u64 before[PINTLE_BUCKETS]; /* the histogram as that slot began */
	uint32_t slots[MINUTE_SLOTS][PINTLE_BUCKETS]; /* what the slots before had, a ring */
	uint32_t next;                                /* where the newest slot will go */
	uint32_t count;          /* times in the last minute, at most UINT32_MAX */
	uint32_t p50_us, p95_us; /* 0: there are none */
};

/** Begins with an empty histogram at `now`: what is in it at the first look came since. */
void minute_begin(struct minute *m, uint64_t now);

/** Takes in the histogram as it is at `now` (monotonic, nanoseconds, not 0), and sets count, p50_us
 * and p95_us; more than once a second it does nothing. They are of the last 60 to 70 s. A histogram
 * that shrank is another one, and is taken in from here on. */
void minute_look(struct minute *m, const __u64 bucket[PINTLE_BUCKETS], uint64_t now);

#endif
