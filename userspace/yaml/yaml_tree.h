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
	YAML_BROKEN, /* reported already: passed over in silence */
};

struct yaml_node {
	enum yaml_kind kind;
	bool plain; /* a scalar written without quotes */
	int line, column;
	char *text;            /* a scalar's; may hold NULs, and is terminated */
	size_t length;         /* of text */
	size_t count;          /* number of children */
	struct yaml_node *key; /* a mapping's child: its key */
	struct yaml_node *first, *last, *next;
	struct yaml_node *allocated; /* chain of all nodes, by which they are freed */
};

/* Starts as {0}. */
struct yaml_tree {
	struct yaml_node *root; /* NULL: no document */
	struct yaml_node *nodes;
};

#define YAML_MAX_DEPTH 16
#define YAML_MAX_NODES 65536
/** Reads the text as one YAML document, at most YAML_MAX_DEPTH deep, without anchors, aliases and
 * tags. Everything else is reported; the tree then has what came before. Returns whether the tree
 * has the whole document, or the first one if there are several. */
bool yaml_tree_read(struct yaml_tree *t, const char *text, size_t size, struct yaml_report *r);
void yaml_tree_free(struct yaml_tree *t);

/** Gives a scalar another text, as if it had been written without quotes. Returns 0 or -ENOMEM. */
int yaml_node_set(struct yaml_node *n, const char *text);
/** Adds a key, which the mapping does not have, with an empty node as its value; both get that
 * line. Returns the value's node, which the tree owns; NULL: out of memory. */
struct yaml_node *yaml_tree_add(struct yaml_tree *t, struct yaml_node *map, const char *key,
				enum yaml_kind kind, int line);

/** Makes the root of `from` a child of none, and the tree `t` the owner of all its nodes, which get
 * that line and column 1. Returns the root; NULL: `from` is empty. Then `from` is empty. */
struct yaml_node *yaml_tree_adopt(struct yaml_tree *t, struct yaml_tree *from, int line);
/** Adds a node of the tree, which is no node's child now, to the end of a list. */
void yaml_list_add(struct yaml_node *list, struct yaml_node *n);

/** Makes a scalar the list that is the root of `from`. It keeps its text and its place, which all
 * the list's nodes get; they belong to its tree. Then `from` is empty. */
void yaml_node_become(struct yaml_node *n, struct yaml_tree *from);

/** Removes the children of a mapping or list that come after its child `last` (NULL: all). */
void yaml_node_cut(struct yaml_node *parent, struct yaml_node *last);

/** Returns the mapping's first child with that key; NULL: there is none, or `map` is NULL or no
 * mapping. */
const struct yaml_node *yaml_node_get(const struct yaml_node *map, const char *key);
/** Returns the list's child i, from 0 on; NULL: there is none, or `list` is NULL or no list. */
const struct yaml_node *yaml_node_at(const struct yaml_node *list, size_t i);
/** Returns the place for a message about `second` (NULL: about `first`): the child `second` of the
 * mapping's child `first`; without that the child `first`; without that the mapping. */
const struct yaml_node *yaml_node_towards(const struct yaml_node *map, const char *first,
					  const char *second);

#endif
