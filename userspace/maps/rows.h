/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.h - makes a hash or an LPM trie hold exactly the rows that are wanted. Rows that it holds
 * already are read, but not written: while pods churn, most are the same.
 */
#ifndef PINTLE_ROWS_H
#define PINTLE_ROWS_H

#include "maps.h"

struct map_rows {
	enum map_id id;
	char *all; /* of the map's key and value, one behind the other */
	size_t n, room;
};

/** Visits every entry of a hash or a trie that nothing else changes meanwhile. An error of `each`
 * ends the walk and is returned. Returns 0 or -errno, logged unless it is from `each`. */
int map_each(const struct maps *m, enum map_id id,
	     int (*each)(const void *key, const void *value, void *arg), void *arg);

/** Adds a row that the map r->id should hold. Returns 0, or -ENOMEM, logged. */
int map_rows_add(struct map_rows *r, const void *key, const void *value);
/** Deletes the entries that are not wanted, to make room, and then writes those that are missing or
 * have another value. Sorts *r. `m` is writable. Returns 0 or -errno, logged. */
int map_rows_put(const struct maps *m, struct map_rows *r);
void map_rows_free(struct map_rows *r);

#endif
