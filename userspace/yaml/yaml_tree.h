/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_tree.h - YAML text as a tree that remembers lines and columns. */
#ifndef PINTLE_YAML_TREE_H
#define PINTLE_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "yaml_report.h"

enum yaml_kind {
	YAML_SCALAR,
	YAML_LIST,
	YAML_MAP,
	YAML_BROKEN, /* already reported: to be passed over in silence */
};

struct yaml_node {
	enum yaml_kind kind;
	bool plain; /* a scalar written without quotes */
	int line, column;
	char *text;            /* of a scalar; may hold NULs */
	size_t length;         /* of text */
	size_t count;          /* of children */
	struct yaml_node *key; /* of a mapping's child */
	struct yaml_node *first, *last, *next;
	struct yaml_node *allocated; /* the tree's nodes in one chain, to be freed by */
};

/* Starts as {0}. */
struct yaml_tree {
	struct yaml_node *root; /* NULL: no document */
	struct yaml_node *nodes;
};

#define YAML_MAX_DEPTH 16
#define YAML_MAX_NODES 65536
/** Reads the text as one YAML document without anchors, aliases and tags, at most
 * YAML_MAX_DEPTH deep. What it cannot take is reported; the tree then holds what was
 * understood. Returns whether that is the whole of (the first) document. */
bool yaml_tree_read(struct yaml_tree *t, const char *text, size_t size, struct yaml_report *r);
void yaml_tree_free(struct yaml_tree *t);

/** Gives a scalar another text, as if it had been written without quotes. Returns 0 or -ENOMEM. */
int yaml_node_set(struct yaml_node *n, const char *text);
/** Adds a key to a mapping that has none of that name, with an empty node as its value, both at
 * that line. NULL: out of memory. */
struct yaml_node *yaml_tree_add(struct yaml_tree *t, struct yaml_node *map, const char *key,
				enum yaml_kind kind, int line);

/** Takes out of a mapping or list what was added behind the child `last` (NULL: all). */
void yaml_node_cut(struct yaml_node *parent, struct yaml_node *last);

/** The mapping's (first) child of that key, or NULL (also when `map` is NULL or no mapping). */
const struct yaml_node *yaml_node_get(const struct yaml_node *map, const char *key);
/** The list's i-th child, or NULL. */
const struct yaml_node *yaml_node_at(const struct yaml_node *list, size_t i);
/** The child `second` (NULL: none) of the mapping's child `first`, or as far towards it as the
 * file goes: where to point a message about it. */
const struct yaml_node *yaml_node_towards(const struct yaml_node *map, const char *first,
					  const char *second);

#endif
