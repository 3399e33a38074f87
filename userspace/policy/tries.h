/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tries.h - when a connection may try an endpoint that stands still, to see whether it serves
 * again: pure functions.
 *
 *   - One try at a time: the next one is given when the one before was answered or has ended. A
 *     client that waits for longer than TRIES_HOLD_NS holds up no further one: it may have sent
 *     half a request.
 *   - The wait before a try doubles with each that a client made in vain, from PINTLE_TRY_NS to
 *     `most_ns`, as an ejection's time does.
 *   - Where something else will tell, a try is given only once in `most_ns`, in case that it does
 *     not.
 *
 * The kernel takes the try that pintle_health.try_ns offers by writing 0 there. Without a daemon
 * none is offered, and the verdict lapses.
 */
#ifndef PINTLE_TRIES_H
#define PINTLE_TRIES_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>

#include "../base/util.h"

/* A client that waits in vain holds up further tries for so long. */
#define TRIES_HOLD_NS (60 * NSEC_PER_SEC)
/* A try that was taken is seen by a pass within this time: its connection is open by then. */
#define TRIES_SEEN_NS NSEC_PER_SEC

/* An endpoint's tries while it stands still. Begins as zeros when it begins to. */
struct tries {
	uint64_t wait_ns;  /* before the next try; 0: none was given yet */
	uint64_t since_ns; /* since when the next one is waited for */
	uint64_t taken_ns; /* when the open try was seen to be taken; 0: none is open */
	bool seen;         /* its connection was seen: it is no spoofed segment that took it */
};

/** Takes in that at `now` so many connections that try the endpoint wait there, and that
 * health.try_ns is `offered`. `told`: something else will tell when the endpoint serves again.
 * Returns what health.try_ns is to be: when the next try may be taken; 0: not before this one has
 * ended. */
uint64_t tries_look(struct tries *t, uint64_t offered, uint32_t waiting, bool told,
		    uint64_t most_ns, uint64_t now);

#endif
