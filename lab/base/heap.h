/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - a binary heap of entries by time; entries of the same time are ordered by `order`.
 *
 * No two entries may have the same (at, order). The entries then come out in the same order, no
 * matter in which order they were added.
 */
#ifndef PINTLE_LAB_HEAP_H
#define PINTLE_LAB_HEAP_H

#include <stdint.h>

struct heap_entry {
	uint64_t at, order;
	uint64_t what, more; /* for the heap's owner; the heap does not look at them */
};

/* An empty heap is all zeros, except for `moved` and `arg`. */
struct heap {
	struct heap_entry *entries; /* the first is the earliest */
	uint32_t count, room;
	/* Called with an entry's `what` and its new place whenever the entry moves; may be NULL. */
	void (*moved)(void *arg, uint64_t what, uint32_t place);
	void *arg;
};

/** Makes room for `room` entries in all; up to there heap_put() cannot fail. 0 or -ENOMEM. */
int heap_reserve(struct heap *h, uint32_t room);
/** Adds an entry. 0 or -ENOMEM. */
int heap_put(struct heap *h, struct heap_entry e);
/** Takes out the entry at `place`, which is below `count`; the earliest entry is at 0. */
struct heap_entry heap_take(struct heap *h, uint32_t place);
/** Gives the entry at `place`, which is below `count`, another time. */
void heap_change(struct heap *h, uint32_t place, uint64_t at);
void heap_free(struct heap *h);

#endif
