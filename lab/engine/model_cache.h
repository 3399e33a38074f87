/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_cache.h - the KV blocks of one engine, and which prefixes they hold.
 *
 * A block is in exactly one state, so that at any time
 *     total = empty + taken + referenced entries + idle entries
 *   empty   holds nothing;
 *   taken   in use, content without a name (a partial block, a copy): counted, not listed;
 *   entry   holds a full block whose hash is known. Running requests reference it, or it is
 *           idle: then it is in the LRU list, and evicted when blocks are needed.
 * Only entries need memory, and the kernel gives it when an entry is used for the first time.
 */
#ifndef PINTLE_SIM_MODEL_CACHE_H
#define PINTLE_SIM_MODEL_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#define CACHE_NONE UINT32_MAX

struct cache_entry {
	uint64_t hash;
	uint32_t chain;      /* next in its bucket, +1; 0 ends */
	uint32_t prev, next; /* LRU list, +1; a free entry is chained by `next` */
	uint32_t refs;
};

struct block_cache {
	struct cache_entry *entries;
	uint32_t *buckets; /* entry + 1 */
	uint32_t mask;
	uint32_t total;
	uint32_t empty;
	uint32_t taken;
	uint32_t referenced;
	uint32_t idle;
	uint32_t oldest, newest; /* LRU list, +1 */
	uint32_t spare;          /* free entries, +1 */
	uint32_t fresh;          /* the first entry that was never used */
	uint64_t evictions;
};

/** 0 or -ENOMEM. `blocks`: 1..2^26. */
int cache_init(struct block_cache *c, uint32_t blocks);
void cache_fini(struct block_cache *c);

/** Blocks that could be taken now. */
static inline uint32_t cache_available(const struct block_cache *c)
{
	return c->empty + c->idle;
}

/** The entry with this hash, or CACHE_NONE. */
uint32_t cache_find(const struct block_cache *c, uint64_t hash);
/** Brings the bucket of a hash that is soon looked up into the CPU's cache. */
static inline void cache_prefetch(const struct block_cache *c, uint64_t hash)
{
	__builtin_prefetch(&c->buckets[hash & c->mask]);
}
/** Adds a reference to an entry. */
void cache_ref(struct block_cache *c, uint32_t entry);
/** Drops a reference; an entry without any is idle, and evicted after all other idle entries. */
void cache_unref(struct block_cache *c, uint32_t entry);
/** Takes n blocks, at most cache_available(): first empty ones, then those that have been idle for
 * longest. */
void cache_take(struct block_cache *c, uint32_t n);
/** Gives n taken blocks back. */
void cache_give(struct block_cache *c, uint32_t n);
/** Turns a taken block into an entry with one reference, and returns the entry. If another entry
 * has this hash, the block stays taken and CACHE_NONE is returned. */
uint32_t cache_name(struct block_cache *c, uint64_t hash);
/** Whether lists and sums agree. */
bool cache_sound(const struct block_cache *c);

#endif
