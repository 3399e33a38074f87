// SPDX-License-Identifier: Apache-2.0
#include "lab_index.h"

#include <errno.h>

#include "../../userspace/base/util.h"

struct owner {
	uint32_t oldest, newest; /* +1 */
	uint32_t count;
};

struct lab_index {
	struct lab_entry *entries;
	uint32_t *buckets; /* entry + 1 */
	struct owner *owners;
	uint32_t capacity;
	uint32_t mask, used, room;
};

/* Keys are hashes, so their bits are random enough for a bucket's number. */
static uint32_t *bucket_of(const struct lab_index *x, uint64_t key)
{
	return &x->buckets[(key ^ (key >> 32)) & x->mask];
}

int lab_index_new(uint32_t owners, uint32_t capacity, struct lab_index **out)
{
	struct lab_index *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->capacity = capacity;
	x->mask = 1023;
	x->buckets = calloc(x->mask + 1, sizeof(*x->buckets));
	x->owners = calloc(owners, sizeof(*x->owners));
	if (!x->buckets || !x->owners) {
		lab_index_free(x);
		return -ENOMEM;
	}
	*out = x;
	return 0;
}

void lab_index_free(struct lab_index *x)
{
	if (!x)
		return;
	free(x->entries);
	free(x->buckets);
	free(x->owners);
	free(x);
}

static struct lab_entry *with_key(const struct lab_index *x, uint32_t at, uint64_t key)
{
	while (at && x->entries[at - 1].key != key)
		at = x->entries[at - 1].chain;
	return at ? &x->entries[at - 1] : NULL;
}

struct lab_entry *lab_index_first(const struct lab_index *x, uint64_t key)
{
	return with_key(x, *bucket_of(x, key), key);
}

struct lab_entry *lab_index_after(const struct lab_index *x, const struct lab_entry *e)
{
	return with_key(x, e->chain, e->key);
}

struct lab_entry *lab_index_get(const struct lab_index *x, uint64_t key, uint32_t owner)
{
	struct lab_entry *e = lab_index_first(x, key);

	while (e && e->owner != owner)
		e = lab_index_after(x, e);
	return e;
}

/* -- the owner's list --------------------------------------------------------------- */

static void list_append(struct lab_index *x, struct lab_entry *e)
{
	struct owner *o = &x->owners[e->owner];
	uint32_t at = (uint32_t)(e - x->entries) + 1;

	e->prev = o->newest;
	e->next = 0;
	if (o->newest)
		x->entries[o->newest - 1].next = at;
	else
		o->oldest = at;
	o->newest = at;
	o->count++;
}

static void list_remove(struct lab_index *x, const struct lab_entry *e)
{
	struct owner *o = &x->owners[e->owner];

	if (e->prev)
		x->entries[e->prev - 1].next = e->next;
	else
		o->oldest = e->next;
	if (e->next)
		x->entries[e->next - 1].prev = e->prev;
	else
		o->newest = e->prev;
	o->count--;
}

/* -- entries ------------------------------------------------------------------------ */

static void chain_in(struct lab_index *x, uint32_t at)
{
	uint32_t *bucket = bucket_of(x, x->entries[at].key);

	x->entries[at].chain = *bucket;
	*bucket = at + 1;
}

static void chain_out(struct lab_index *x, uint32_t at)
{
	uint32_t *link = bucket_of(x, x->entries[at].key);

	while (*link != at + 1)
		link = &x->entries[*link - 1].chain;
	*link = x->entries[at].chain;
}

static int index_grow(struct lab_index *x)
{
	uint32_t room = x->room ? 2 * x->room : 1024;
	struct lab_entry *entries = reallocarray(x->entries, room, sizeof(*entries));
	uint32_t *buckets;

	if (!entries)
		return -ENOMEM;
	x->entries = entries;
	buckets = calloc(2 * (size_t)room, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	free(x->buckets);
	x->buckets = buckets;
	x->mask = 2 * room - 1;
	x->room = room;
	for (uint32_t i = 0; i < x->used; i++)
		chain_in(x, i);
	return 0;
}

struct lab_entry *lab_index_oldest(const struct lab_index *x, uint32_t owner)
{
	const struct owner *o = &x->owners[owner];

	return o->count < x->capacity ? NULL : &x->entries[o->oldest - 1];
}

int lab_index_put(struct lab_index *x, uint64_t key, uint32_t owner, uint32_t value,
		  uint64_t now_ns)
{
	struct lab_entry *e = lab_index_get(x, key, owner);
	struct owner *o = &x->owners[owner];
	uint32_t at;

	if (e) {
		list_remove(x, e);
	} else {
		if (o->count >= x->capacity) {
			at = o->oldest - 1;
			list_remove(x, &x->entries[at]);
			chain_out(x, at);
		} else {
			if (x->used == x->room && index_grow(x))
				return -ENOMEM;
			at = x->used++;
		}
		e = &x->entries[at];
		e->key = key;
		e->owner = owner;
		chain_in(x, at);
	}
	e->value = value;
	e->used_ns = now_ns;
	list_append(x, e);
	return 0;
}

void lab_index_match(const struct lab_index *x, const uint64_t *keys, uint32_t n, uint32_t *matched,
		     uint32_t owners)
{
	bool any = true;

	memset(matched, 0, owners * sizeof(*matched));
	for (uint32_t i = 0; i < n && any; i++) {
		any = false;
		for (struct lab_entry *e = lab_index_first(x, keys[i]); e;
		     e = lab_index_after(x, e)) {
			if (matched[e->owner] != i)
				continue;
			matched[e->owner] = i + 1;
			any = true;
		}
	}
}
