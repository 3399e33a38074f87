/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_key.h - tables of keys: what each key takes, its default, its place in memory. One table
 * drives the reader (yaml_read.h), the messages and the reference.
 */
#ifndef PINTLE_YAML_KEY_H
#define PINTLE_YAML_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "yaml_report.h"
#include "yaml_tree.h"

struct yaml_key;
struct yaml_table;
struct yaml_value;

#define YAML_WANTS_SIZE 512

/* What a key takes. yaml_value.h has the common types; a user of the reader adds its own. */
struct yaml_type {
	enum yaml_kind kind; /* of the node; with a `read`, YAML_LIST is a list of scalars */
	/* Writes what may stand there, for messages and the reference: "a number from 0 to 1000".
	 */
	void (*wants)(const struct yaml_key *k, char buf[YAML_WANTS_SIZE]);
	/* Stores one scalar at `field`, and returns 0; or leaves the field alone, and returns
	 * yaml_wrong(), or -ENOMEM. */
	int (*read)(struct yaml_value *v, void *field);
	/* Instead of `read`: takes a node of any kind into the struct at `base`, of which the field
	 * lies at k->offset, and reports by itself. */
	void (*read_node)(struct yaml_report *r, const struct yaml_key *k,
			  const struct yaml_node *n, void *base);
	const char *example; /* of a list: an element, as it is written */
	bool is_url;         /* messages leave out what may be a password */
};

/* How the elements of a list lie in memory. */
struct yaml_list {
	size_t size;  /* of an element */
	size_t count; /* offset of the size_t count, in what holds the list */
	size_t line;  /* of a list of mappings: offset of the int line, in an element */
};

struct yaml_key {
	const char *path; /* "pools[].scrape.interval": "[]" is an element of a list */
	const struct yaml_type *type;
	bool required;
	bool secret; /* what stands there by mistake may be a secret: no message shows it */
	int set;     /* of the configuration: enum config_set, how `pintle set` takes it; else 0 */
	/* Of a number or duration (nanoseconds) the range, of a text the most bytes, of a list
	 * the most elements in the whole file. */
	double min, max;
	const char *const *choices; /* up to a NULL */
	const char *preset;         /* the default, read as if it had been written */
	int unset;                  /* of an integer without a preset: what is stored */
	const char *absent;         /* what holds without it, where no preset can say that */
	size_t offset;              /* in the struct of the innermost list element */
	const struct yaml_list *list;
	const char *help;
};

#define YAML_MAX_KEYS 96 /* of a table */

/* A mapping's keys, and those of the mappings in it. */
struct yaml_table {
	const struct yaml_key *keys;
	size_t count;
	const char *prefix; /* what all paths begin with, up to a "."; NULL: nothing */
	const char *what;   /* the mapping, for messages: "a class"; NULL: the file */
};

/** Whether `k` stands directly in the mapping whose keys' paths begin with `prefix`. */
bool yaml_key_is_child(const struct yaml_key *k, const char *prefix);
/** The last part of its path: "interval". */
const char *yaml_key_local(const struct yaml_key *k);
/** Its path from the innermost list element on: "scrape.interval". */
const char *yaml_key_label(const struct yaml_key *k);
#define YAML_PREFIX_SIZE 128
/** The prefix of the keys in it: "pools[].scrape." for the mapping "pools[].scrape". */
void yaml_key_prefix(const struct yaml_key *k, char prefix[YAML_PREFIX_SIZE]);

/** What may stand there, for messages and the reference: "a number from 0 to 1000". `t` is the
 * key's table; it may be NULL for a type that is no mapping. Returns buf. */
const char *yaml_key_wants(const struct yaml_table *t, const struct yaml_key *k,
			   char buf[YAML_WANTS_SIZE]);

#endif
