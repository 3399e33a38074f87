/* SPDX-License-Identifier: Apache-2.0 */
/* load_timers.h - what is to happen when, to the nanosecond as far as the kernel wakes us. Those
 * of one time fire in the order in which they were set. */
#ifndef PINTLE_LOAD_TIMERS_H
#define PINTLE_LOAD_TIMERS_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../base/heap.h"

/* Starts as all zeros but `fire`. */
struct load_timer {
	void (*fire)(struct load_timer *t); /* not set any more when it is called */
	uint64_t at_ns;
	uint64_t order;
	uint32_t place; /* in the heap, from 1; 0: not set */
};

struct load_timers {
	uv_poll_t poll;
	uv_prepare_t prepare;
	int fd; /* -1: none */
	struct heap heap;
	uint64_t order;
	uint64_t armed_ns;
};

/** Returns 0 or -errno. */
int load_timers_init(struct load_timers *t, uv_loop_t *loop);
/** Clears all timers and closes its handles; load_timers_free() once the loop has run on. */
void load_timers_close(struct load_timers *t);
void load_timers_free(struct load_timers *t);

/** Sets it, anew if it was set, to a time of monotonic_ns(). Returns 0 or -ENOMEM. */
int load_timer_set(struct load_timers *t, struct load_timer *timer, uint64_t at_ns);
void load_timer_clear(struct load_timers *t, struct load_timer *timer);
/** Fires all that are due. */
void load_timers_run(struct load_timers *t, uint64_t now_ns);

#endif
