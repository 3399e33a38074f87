/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_fields.h - a file read along tables of keys. Its tree, its messages and single values are
 * the configuration's (config_internal.h).
 *
 *	load_fields.c            the walk
 *	load_workload_numbers.c  a number, or a distribution of them
 *	load_workload_arrival.c  when sessions begin
 *	load_workload.c          classes, the file
 */
#ifndef PINTLE_LOAD_FIELDS_H
#define PINTLE_LOAD_FIELDS_H

#include "../../userspace/config/config_internal.h"

#define LOAD_MAX_DURATION (24 * 3600 * (double)NSEC_PER_SEC)

struct load_field;

/** Reads what stands at f->key into the struct that begins at `base`; errors are reported. */
typedef void (*load_field_reader)(struct report *r, const struct load_field *f,
				  const struct node *n, void *base);

struct load_field {
	struct key key;         /* .path is the label, its last part the key */
	load_field_reader read; /* NULL: value_read() */
};

struct load_section {
	const char *what; /* for messages: "the file", "a class" */
	const struct load_field *fields;
	size_t count;
};

/** Presets first, then each key of the mapping by its field; what is unknown, twice there or
 * missing is reported. */
void load_section_read(struct report *r, const struct load_section *s, const struct node *map,
		       void *base);
/** Reports that a node is of another kind than it should be. */
void load_report_kind(struct report *r, const struct node *n, const char *label, const char *wants);

/** A number, or a mapping, into a struct dist. The key's type is the unit: KEY_INTEGER or
 * KEY_DURATION. */
void load_read_dist(struct report *r, const struct load_field *f, const struct node *n, void *base);
/** A class's `arrival`; base is the struct workload_class. */
void load_read_arrival(struct report *r, const struct load_field *f, const struct node *n,
		       void *base);

#endif
