/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - what comes first: a binary heap of entries by time, and of those of one time by `order`.
 *
 * Pairs of (at, order) must be unlike each other; the entries then come out in one order only,
 * however they went in.
 */
#ifndef PINTLE_LAB_HEAP_H
#define PINTLE_LAB_HEAP_H

#include <stdint.h>

struct heap_entry {
	uint64_t at, order;
	uint64_t what, more; /* the owner's */
};

/* Starts as {0}, or with `moved` and `arg`. */
struct heap {
	struct heap_entry *entries; /* the first is the earliest */
	uint32_t count, room;
	/* Told where an entry is, whenever that changes; NULL: nobody asks. */
	void (*moved)(void *arg, uint64_t what, uint32_t place);
	void *arg;
};

/** Makes room for so many, so that heap_put() does not fail up to there. 0 or -ENOMEM. */
int heap_reserve(struct heap *h, uint32_t room);
/** Adds an entry. 0 or -ENOMEM. */
int heap_put(struct heap *h, struct heap_entry e);
/** Takes an entry out by its place (0: the earliest), below `count`. */
struct heap_entry heap_take(struct heap *h, uint32_t place);
/** Gives the entry at this place another time. */
void heap_change(struct heap *h, uint32_t place, uint64_t at);
void heap_free(struct heap *h);

#endif
