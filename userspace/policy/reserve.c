/* SPDX-License-Identifier: Apache-2.0 */
#include "reserve.h"

#include <errno.h>
#include <stdlib.h>

#include "../base/util.h"

static int by_hash(const void *left, const void *right)
{
	const struct reserve_member *a = *(struct reserve_member *const *)left;
	const struct reserve_member *b = *(struct reserve_member *const *)right;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a < b ? -1 : a > b;
}

/* The classes of lower priority. */
static uint32_t lower_than(const struct pintle_class *classes, uint32_t n, int32_t priority)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < n; i++)
		if (classes[i].priority < priority)
			mask |= 1U << i;
	return mask;
}

/* The class that comes after those of `done`: the first one of the highest priority; n: none. */
static uint32_t class_next(const struct pintle_class *classes, uint32_t n, uint32_t done)
{
	uint32_t next = n;

	for (uint32_t i = 0; i < n; i++)
		if (!(done >> i & 1) && (next == n || classes[i].priority > classes[next].priority))
			next = i;
	return next;
}

static size_t reserve_wanted(const struct pintle_class *class, size_t members)
{
	if (class->flags & PINTLE_CLASS_PERCENT)
		return (class->reserve * members + 99) / 100;
	return class->reserve;
}

int reserve_fold(const struct pintle_class *classes, uint32_t class_count,
		 struct reserve_member *members, size_t n)
{
	_cleanup_free_ struct reserve_member **ready = calloc(n + 1, sizeof(*ready));
	size_t left = 0, at = 0;

	if (!ready)
		return -ENOMEM;
	class_count = MIN(class_count, (uint32_t)PINTLE_MAX_CLASSES);
	for (size_t i = 0; i < n; i++) {
		members[i].closed = 0;
		if (members[i].ready)
			ready[left++] = &members[i];
	}
	if (left)
		qsort(ready, left--, sizeof(*ready), by_hash); /* one stays open */
	for (uint32_t done = 0, c; (c = class_next(classes, class_count, done)) < class_count;
	     done |= 1U << c) {
		uint32_t lower = lower_than(classes, class_count, classes[c].priority);
		size_t take = lower ? MIN(reserve_wanted(&classes[c], n), left) : 0;

		for (left -= take; take; take--)
			ready[at++]->closed = lower;
	}
	return 0;
}

uint32_t reserve_places(const struct pintle_class *class, uint64_t ready)
{
	uint64_t most = UINT32_MAX;

	if (class->admission == PINTLE_ADMISSION_PROCEED)
		return 0;
	if (class->limit)
		most = MIN(most, ready * class->limit / 1000);
	if (class->connections)
		most = MIN(most, ready * class->connections);
	if (class->pool_connections)
		most = MIN(most, (uint64_t) class->pool_connections);
	return most == UINT32_MAX ? 0 : (uint32_t)MAX(most, 1ULL);
}
