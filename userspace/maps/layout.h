/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - what the members of a map's key or value are, by its BTF: so two builds of Pintle can
 * tell whether they mean the same by the same bytes, and carry over what both know by its name.
 */
#ifndef PINTLE_LAYOUT_H
#define PINTLE_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct btf;

/* Numbers that stand one after the other, or bytes: `pid`, `members[3].weight`, `address[]`. */
struct layout_member {
	uint64_t name;                /* hash of the whole name */
	uint32_t offset, size, count; /* size: of one */
	uint32_t zero;                /* layouts are compared as bytes */
};

struct layout {
	uint32_t size;
	size_t n;
	struct layout_member of[]; /* in the order of the type */
};

/** Reads a type's layout. A union is one member: which of its own hold is not known here. Returns 0
 * and *out (free() it); NULL for the type 0, which is none; or -errno, not logged. */
int layout_read(const struct btf *btf, uint32_t type, struct layout **out);

/** Returns whether both have the same members at the same places. Two that are NULL are the
 * same. */
bool layout_same(const struct layout *a, const struct layout *b);

/** Returns a number that two different layouts do not share; 0 for NULL. */
uint64_t layout_hash(const struct layout *l);

/* `count` numbers go from one place to another. Where sizes differ, numbers are cut or extended. */
struct layout_move {
	uint32_t from, to, from_size, to_size, count;
};

struct layout_plan {
	uint32_t from_size, to_size; /* of the whole value */
	size_t n;
	struct layout_move of[];
};

/** Plans how a value of layout `from` becomes one of layout `to`: members of the same name move,
 * others are zero. Of two NULL layouts, or two that are the same, all bytes are one move. Returns 0
 * and *out (free() it), or -ENOMEM. */
int layout_plan(const struct layout *from, const struct layout *to, uint32_t from_size,
		uint32_t to_size, struct layout_plan **out);

/** Converts one value. */
void layout_convert(const struct layout_plan *p, const void *from, void *to);

#endif
