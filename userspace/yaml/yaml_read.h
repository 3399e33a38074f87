/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_read.h - reads a file by tables of keys. Every error is reported, not only the first, with
 *its line, its column and what would be right.
 *
 *	yaml_read.h    a file, a mapping
 *	yaml_key.h     tables of keys
 *	yaml_value.h   types of values
 *	yaml_tree.h    text to a tree, which remembers lines and columns
 *	yaml_report.h  messages
 *
 * The names begin like those of libyaml, which only yaml_tree.c includes.
 */
#ifndef PINTLE_YAML_READ_H
#define PINTLE_YAML_READ_H

#include "yaml_key.h"
#include "yaml_report.h"
#include "yaml_tree.h"
#include "yaml_value.h"

/** Reads a mapping into the struct at `base`, which is zeroed: presets first, then each key by its
 * type. Keys that are unknown, written twice or missing are reported. Elements that are refused
 * stay zero, so that element i of a list always comes from child i of its node. */
void yaml_read_map(struct yaml_report *r, const struct yaml_table *t, const struct yaml_node *map,
		   void *base);
/** Reports that the node of `label` is of the wrong kind, and should be what `wants` says. */
void yaml_report_kind(struct yaml_report *r, const struct yaml_node *n, const char *label,
		      const char *wants);

#define YAML_MAX_BYTES (1024 * 1024)

/* A kind of file, such as the configuration: how messages name it, and how it is read. */
struct yaml_document {
	const char *file;  /* ends "cannot be read: ...; name a ": "configuration file that can" */
	const char *begin; /* what an empty file lacks first: "apiVersion: pintle.dev/v1alpha1" */
	/* Reads the tree into what `arg` points to, and reports what is wrong. Returns 0, -EINVAL
	 * or -ENOMEM. */
	int (*read)(struct yaml_report *r, const char *name, const struct yaml_node *root,
		    void *arg);
};

/** Reads a text of at most YAML_MAX_BYTES, and tells the sink what is wrong; `name` stands for the
 * file in messages; `arg` is handed to d->read. Any bytes are safe. Returns 0; -EINVAL after
 * telling errors; or -ENOMEM, told too. */
int yaml_parse(const struct yaml_document *d, const char *name, const char *text, size_t size,
	       const struct yaml_sink *sink, void *arg);
/** Reads the text of a regular file: at most YAML_MAX_BYTES + 1 bytes, which yaml_parse() refuses
 * as too many. Never waits for another process, as reading from a FIFO would. Returns 0 with *text,
 * which the caller frees, and *size; or -errno after telling the sink, in words that `what` ends
 * (see `file` of struct yaml_document). */
int yaml_read_file(const char *path, const char *what, const struct yaml_sink *sink, char **text,
		   size_t *size);
/** Reads and parses, as yaml_read_file() and yaml_parse() do. Returns as either does. */
int yaml_load(const struct yaml_document *d, const char *path, const struct yaml_sink *sink,
	      void *arg);

#endif
