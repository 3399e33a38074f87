/* SPDX-License-Identifier: Apache-2.0 */
#include "maglev.h"

#include <assert.h>

#include "../base/hash.h"
#include "../base/util.h"

/* A member's place in its permutation of the entries: offset, offset + skip, ... modulo size. */
struct turn {
	const struct maglev_member *member;
	uint32_t next, skip;
};

/* Spreads hashes by FNV-1a, which for "pod-1" and "pod-2" are close together. */
static uint64_t spread(uint64_t x)
{
	return hash_mix(x + HASH_STEP);
}

static bool is_prime(size_t n)
{
	for (size_t d = 2; d * d <= n; d++) {
		if (n % d == 0)
			return false;
	}
	return n >= 2;
}

/* Members take turns in the order of their names, because their order in the configuration must not
 * matter. */
static int maglev_by_name(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	return strcmp(x->member->name, y->member->name);
}

static uint32_t add_modulo(uint32_t a, uint32_t b, uint32_t size)
{
	return (uint32_t)(((uint64_t)a + b) % size);
}

/* As the size is a prime, every skip reaches every entry, so each member finds a free one. */
static void take_turns(struct turn *turns, size_t n, struct pintle_ref *table, uint32_t size)
{
	for (uint32_t filled = 0, at = 0, taken = 0; filled < size; filled++) {
		struct turn *t = &turns[at];

		assert(t->skip > 0 && t->skip < size);
		while (table[t->next].generation)
			t->next = add_modulo(t->next, t->skip, size);
		table[t->next].id = t->member->id;
		table[t->next].generation = t->member->generation;
		if (++taken < t->member->weight)
			continue;
		at = (at + 1) % (uint32_t)n;
		taken = 0;
	}
}

int maglev_build(const struct maglev_member *members, size_t n, struct pintle_ref *table,
		 size_t size)
{
	_cleanup_free_ struct turn *turns = NULL;

	if (size > UINT32_MAX || !is_prime(size) || n > size)
		return -EINVAL;
	turns = calloc(MAX(n, 1U), sizeof(*turns));
	if (!turns)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const uint64_t h = hash_text(members[i].name);

		if (!members[i].generation)
			return -EINVAL;
		turns[i].member = &members[i];
		turns[i].next = (uint32_t)(spread(h) % size);
		turns[i].skip = (uint32_t)(spread(~h) % (size - 1) + 1);
	}
	qsort(turns, n, sizeof(*turns), maglev_by_name);
	memset(table, 0, size * sizeof(*table));
	if (n)
		take_turns(turns, n, table, (uint32_t)size);
	return 0;
}
