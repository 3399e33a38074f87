/* SPDX-License-Identifier: Apache-2.0 */
/* kinds.h - what this build's maps are, and what pinned maps of other builds are. */
#ifndef PINTLE_KINDS_H
#define PINTLE_KINDS_H

#include "../../maps/layout.h"
#include "../../maps/maps.h"

struct map_kind {
	uint32_t type, key_size, value_size, entries, flags;
	struct layout *key, *value; /* NULL: the kernel keeps no BTF of such maps */
};

void map_kind_free(struct map_kind *k);

/** Returns whether programs that know one of the maps can use the other. */
bool map_kind_same(const struct map_kind *a, const struct map_kind *b);

/** The maps of this build. */
struct map_kinds {
	struct map_kind of[MAP_COUNT];
	uint64_t hash; /* differs where anything does: struct pintle_node, `layout` */
};

/** Returns 0 and *out (map_kinds_free() it); or -errno, logged. */
int map_kinds_new(struct map_kinds **out);
void map_kinds_free(struct map_kinds *k);

/** Returns the hash that the pins in `dir` have; 0: none, or their `node` has another size. */
uint64_t map_kinds_pinned(const char *dir);
/** Returns whether the pins in `dir` say that another build made them. */
bool map_kinds_differ(const char *dir);

/** Reads what maps are that are there, their BTF included. */
struct kinds_reader;

/** Returns 0 and *out (kinds_reader_free() it); or -errno, logged. */
int kinds_reader_new(struct kinds_reader **out);
void kinds_reader_free(struct kinds_reader *r);

/** Returns 0 and *out (map_kind_free() it); or -errno, not logged. */
int kinds_read(struct kinds_reader *r, int map_fd, struct map_kind *out);

#endif
