/* SPDX-License-Identifier: Apache-2.0 */
#include "heap.h"

#include <assert.h>

#include "../../userspace/base/util.h"

static bool earlier(const struct heap_entry *a, const struct heap_entry *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void heap_set(struct heap *h, uint32_t place, const struct heap_entry *e)
{
	h->entries[place] = *e;
	if (h->moved)
		h->moved(h->arg, e->what, place);
}

/* Moves the entry from an empty place to where it belongs. The entry at place i is never later than
 * its children at 2i + 1 and 2i + 2. */
static void heap_settle(struct heap *h, uint32_t place, struct heap_entry e)
{
	while (place && earlier(&e, &h->entries[(place - 1) / 2])) {
		heap_set(h, place, &h->entries[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	for (uint32_t child; (child = 2 * place + 1) < h->count; place = child) {
		if (child + 1 < h->count && earlier(&h->entries[child + 1], &h->entries[child]))
			child++;
		if (!earlier(&h->entries[child], &e))
			break;
		heap_set(h, place, &h->entries[child]);
	}
	heap_set(h, place, &e);
}

int heap_reserve(struct heap *h, uint32_t room)
{
	struct heap_entry *entries;

	if (room <= h->room)
		return 0;
	entries = reallocarray(h->entries, room, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	h->entries = entries;
	h->room = room;
	return 0;
}

int heap_put(struct heap *h, struct heap_entry e)
{
	int err = h->count == h->room ? heap_reserve(h, h->room ? 2 * h->room : 256) : 0;

	if (!err)
		heap_settle(h, h->count++, e);
	return err;
}

struct heap_entry heap_take(struct heap *h, uint32_t place)
{
	struct heap_entry e;

	assert(place < h->count);
	e = h->entries[place];
	h->count--;
	if (place < h->count)
		heap_settle(h, place, h->entries[h->count]);
	return e;
}

void heap_change(struct heap *h, uint32_t place, uint64_t at)
{
	struct heap_entry e;

	assert(place < h->count);
	e = h->entries[place];
	e.at = at;
	heap_settle(h, place, e);
}

void heap_free(struct heap *h)
{
	free(h->entries);
	*h = (struct heap){.moved = h->moved, .arg = h->arg};
}
