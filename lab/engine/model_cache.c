// SPDX-License-Identifier: Apache-2.0
#include "model_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int cache_init(struct block_cache *c, uint32_t blocks)
{
	uint32_t buckets = 16;

	while (buckets < blocks)
		buckets *= 2;
	/* calloc() maps untouched pages to nothing; a lab has 1,000 engines. */
	*c = (struct block_cache){
		.entries = calloc(blocks, sizeof(*c->entries)),
		.buckets = calloc(buckets, sizeof(*c->buckets)),
		.mask = buckets - 1,
		.total = blocks,
		.empty = blocks,
	};
	if (!c->entries || !c->buckets) {
		cache_fini(c);
		return -ENOMEM;
	}
	return 0;
}

void cache_fini(struct block_cache *c)
{
	free(c->entries);
	free(c->buckets);
	*c = (struct block_cache){};
}

uint32_t cache_find(const struct block_cache *c, uint64_t hash)
{
	for (uint32_t at = c->buckets[hash & c->mask]; at; at = c->entries[at - 1].chain)
		if (c->entries[at - 1].hash == hash)
			return at - 1;
	return CACHE_NONE;
}

static void lru_append(struct block_cache *c, uint32_t entry)
{
	struct cache_entry *e = &c->entries[entry];

	e->prev = c->newest;
	e->next = 0;
	if (c->newest)
		c->entries[c->newest - 1].next = entry + 1;
	else
		c->oldest = entry + 1;
	c->newest = entry + 1;
	c->idle++;
}

static void lru_remove(struct block_cache *c, uint32_t entry)
{
	struct cache_entry *e = &c->entries[entry];

	if (e->prev)
		c->entries[e->prev - 1].next = e->next;
	else
		c->oldest = e->next;
	if (e->next)
		c->entries[e->next - 1].prev = e->prev;
	else
		c->newest = e->prev;
	c->idle--;
}

void cache_ref(struct block_cache *c, uint32_t entry)
{
	if (!c->entries[entry].refs++) {
		lru_remove(c, entry);
		c->referenced++;
	}
}

void cache_unref(struct block_cache *c, uint32_t entry)
{
	assert(c->entries[entry].refs);
	if (!--c->entries[entry].refs) {
		c->referenced--;
		lru_append(c, entry);
	}
}

static void evict_oldest(struct block_cache *c)
{
	uint32_t entry = c->oldest - 1;
	struct cache_entry *e = &c->entries[entry];
	uint32_t *link = &c->buckets[e->hash & c->mask];

	lru_remove(c, entry);
	while (*link != entry + 1)
		link = &c->entries[*link - 1].chain;
	*link = e->chain;
	e->next = c->spare;
	c->spare = entry + 1;
	c->evictions++;
}

void cache_take(struct block_cache *c, uint32_t n)
{
	uint32_t from_empty = n < c->empty ? n : c->empty;

	assert(n <= cache_available(c));
	c->empty -= from_empty;
	c->taken += n;
	for (n -= from_empty; n; n--)
		evict_oldest(c);
}

void cache_give(struct block_cache *c, uint32_t n)
{
	assert(n <= c->taken);
	c->taken -= n;
	c->empty += n;
}

uint32_t cache_name(struct block_cache *c, uint64_t hash)
{
	uint32_t entry, *bucket = &c->buckets[hash & c->mask];

	assert(c->taken);
	if (cache_find(c, hash) != CACHE_NONE)
		return CACHE_NONE;
	if (c->spare) {
		entry = c->spare - 1;
		c->spare = c->entries[entry].next;
	} else {
		entry = c->fresh++;
	}
	c->entries[entry] = (struct cache_entry){.hash = hash, .chain = *bucket, .refs = 1};
	*bucket = entry + 1;
	c->taken--;
	c->referenced++;
	return entry;
}

bool cache_sound(const struct block_cache *c)
{
	uint32_t idle = 0, prev = 0, named = 0;

	for (uint32_t at = c->oldest; at; at = c->entries[at - 1].next) {
		if (c->entries[at - 1].refs || c->entries[at - 1].prev != prev || idle > c->total)
			return false;
		prev = at;
		idle++;
	}
	for (uint32_t b = 0; b <= c->mask; b++)
		for (uint32_t at = c->buckets[b]; at; at = c->entries[at - 1].chain)
			named++;
	return idle == c->idle && prev == c->newest && named == c->referenced + c->idle &&
	       c->total == c->empty + c->taken + c->referenced + c->idle;
}
