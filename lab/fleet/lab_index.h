/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_index.h - pairs of (key, owner). An owner whose capacity is used up loses its least recently
 * used key.
 *
 * The index serves as a binding table (key: client, owner: node), and as the approximate prefix
 * index of an endpoint picker (key: block, owner: endpoint).
 */
#ifndef PINTLE_SIM_LAB_INDEX_H
#define PINTLE_SIM_LAB_INDEX_H

#include <stdint.h>

struct lab_entry {
	uint64_t key;
	uint64_t used_ns;
	uint32_t owner, value;
	uint32_t chain;      /* next in its bucket, +1 */
	uint32_t prev, next; /* the owner's list, oldest first, +1 */
};

struct lab_index;

/** An index for owners 0..owners-1 with at most `capacity` keys each (1..2^24). 0 or -ENOMEM. */
int lab_index_new(uint32_t owners, uint32_t capacity, struct lab_index **out);
void lab_index_free(struct lab_index *x);
/** The pair's entry, or NULL. Valid until the next lab_index_put(). */
struct lab_entry *lab_index_get(const struct lab_index *x, uint64_t key, uint32_t owner);
/** The first entry with that key, or NULL; and the next one with the same key. Their order means
 * nothing. */
struct lab_entry *lab_index_first(const struct lab_index *x, uint64_t key);
struct lab_entry *lab_index_after(const struct lab_index *x, const struct lab_entry *e);
/** The owner's least recently used pair, which the next new pair replaces; NULL while there is
 * room.
 */
struct lab_entry *lab_index_oldest(const struct lab_index *x, uint32_t owner);
/** Adds the pair, or changes its value, and makes it the newest of its owner. 0 or -ENOMEM. */
int lab_index_put(struct lab_index *x, uint64_t key, uint32_t owner, uint32_t value,
		  uint64_t now_ns);

/** Sets matched[o], for each owner o below `owners`, to how many of the n keys the owner has from
 * the first one on without a gap. */
void lab_index_match(const struct lab_index *x, const uint64_t *keys, uint32_t n, uint32_t *matched,
		     uint32_t owners);

#endif
