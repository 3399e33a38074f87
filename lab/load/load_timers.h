/* SPDX-License-Identifier: Apache-2.0 */
/* load_timers.h - timers in nanoseconds, as exact as the kernel's wake-ups. Timers of the same time
 * fire in the order in which they were set. */
#ifndef PINTLE_LOAD_TIMERS_H
#define PINTLE_LOAD_TIMERS_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../base/heap.h"

/* Starts as all zeros, except for `fire`. */
struct load_timer {
	void (*fire)(struct load_timer *t); /* called after the timer was cleared */
	uint64_t at_ns;
	uint64_t order;
	uint32_t place; /* in the heap, plus 1; 0: the timer is not set */
};

struct load_timers {
	uv_poll_t poll;
	uv_prepare_t prepare;
	int fd; /* of the timerfd; -1: none */
	struct heap heap;
	uint64_t order;
	uint64_t armed_ns;
};

/** Returns 0 or -errno. */
int load_timers_init(struct load_timers *t, uv_loop_t *loop);
/** Clears all timers and begins to close the handles. load_timers_free() may follow once the loop
 * has closed them. */
void load_timers_close(struct load_timers *t);
void load_timers_free(struct load_timers *t);

/** Sets a timer to a time of monotonic_ns(); a timer that was set gets the new time. Returns 0 or
 * -ENOMEM. */
int load_timer_set(struct load_timers *t, struct load_timer *timer, uint64_t at_ns);
void load_timer_clear(struct load_timers *t, struct load_timer *timer);
/** Fires all timers that are due at `now_ns`. */
void load_timers_run(struct load_timers *t, uint64_t now_ns);

#endif
