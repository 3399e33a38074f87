/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_key.h - tables of keys: what each key takes, its default, its member in memory. The reader
 * (yaml_read.h), the messages and the reference follow from one table.
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
	/* Writes what values the key takes, for messages and the reference: "a number from 0 to
	 * 1000". */
	void (*wants)(const struct yaml_key *k, char buf[YAML_WANTS_SIZE]);
	/* Stores one scalar at `field`, and returns 0; or leaves the field alone, and returns
	 * yaml_wrong(), or -ENOMEM. */
	int (*read)(struct yaml_value *v, void *field);
	/* Used instead of `read`, if given: stores a node of any kind in the struct at `base`,
	 * whose field lies at k->offset, and reports what is wrong itself. */
	void (*read_node)(struct yaml_report *r, const struct yaml_key *k,
			  const struct yaml_node *n, void *base);
	const char *example; /* lists: an element, as it is written */
	bool is_url;         /* messages leave out what may be a password */
};

/* How the elements of a list lie in memory. */
struct yaml_list {
	size_t size;  /* of an element */
	size_t count; /* offset of the size_t count, in the struct that holds the list */
	size_t line;  /* lists of mappings: offset of the int line, in an element */
};

struct yaml_key {
	const char *path; /* "pools[].scrape.interval": "[]" is an element of a list */
	const struct yaml_type *type;
	bool required;
	bool empty;  /* a list may have no element */
	bool secret; /* no message shows the value: it may be a secret, written there by mistake */
	int set;     /* in the configuration: enum config_set, how `pintle set` sets it; else 0 */
	int policy;  /* in the configuration: enum config_policy; else 0 */
	/* In the configuration: the least that a SteeringPolicy may say, if that is more than `min`
	 */
	double policy_min;
	/* The range of a number or a duration (nanoseconds); max alone: the most bytes of a text,
	 * or the most elements of a list in the whole file. */
	double min, max;
	double each;                /* the most elements of one such list; 0: max */
	const char *const *choices; /* ended by NULL */
	const char *preset;         /* the default, read as if it had been written */
	int unset;           /* stored for an integer that is not given, if it has no preset */
	const char *absent;  /* in words: the default that no preset can express */
	const char *missing; /* what the message says besides where a required key is missing */
	size_t offset;       /* in the struct of the innermost list element */
	const struct yaml_list *list;
	/* Lists of mappings: a word that may stand in place of the list, and the list that it
	 * means, as YAML, which its node becomes; NULL: there is none. */
	const char *word, *means;
	const char *help;
};

#define YAML_MAX_KEYS 256 /* in a table */

/* A mapping's keys, and those of the mappings in it. */
struct yaml_table {
	const struct yaml_key *keys;
	size_t count;
	const char *prefix; /* the beginning of all paths, up to a "."; NULL: none */
	const char *what;   /* the mapping, for messages: "a class"; NULL: the file */
};

/** Returns whether `k` is a key of the mapping whose keys' paths begin with `prefix`, not of one
 * within it. */
bool yaml_key_is_child(const struct yaml_key *k, const char *prefix);
/** Returns the last part of the key's path: "interval". */
const char *yaml_key_local(const struct yaml_key *k);
/** Returns the key's path from the innermost list element on: "scrape.interval". */
const char *yaml_key_label(const struct yaml_key *k);
#define YAML_PREFIX_SIZE 128
/** Writes the prefix of the keys in the mapping `k`: "pools[].scrape." for "pools[].scrape". */
void yaml_key_prefix(const struct yaml_key *k, char prefix[YAML_PREFIX_SIZE]);

/** Returns whether the node has the word that may stand in place of the key's list. */
bool yaml_key_is_word(const struct yaml_key *k, const struct yaml_node *n);

/** Returns what values the key takes, for messages and the reference: "a number from 0 to 1000".
 * `t` is the key's table, which may be NULL unless the key is a mapping or a list of mappings.
 * Returns buf. */
const char *yaml_key_wants(const struct yaml_table *t, const struct yaml_key *k,
			   char buf[YAML_WANTS_SIZE]);

#endif
