/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_read.h - a file read along tables of keys: every error is reported, not the first only, each
 * with its line, its column and what would be right.
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

/** Reads a mapping into the struct at `base`: presets first, then each key by its type. What is
 * unknown, written twice or missing is reported. Elements that are refused stay zero, so that
 * element i of a list always comes from child i of its node. */
void yaml_read_map(struct yaml_report *r, const struct yaml_table *t, const struct yaml_node *map,
		   void *base);
/** Reports that a node is of another kind than it should be. */
void yaml_report_kind(struct yaml_report *r, const struct yaml_node *n, const char *label,
		      const char *wants);

#define YAML_MAX_BYTES (1024 * 1024)

/* What a kind of file is called, and how it is read. */
struct yaml_document {
	const char *file;  /* "configuration file that can": after "cannot be read: ...; name a " */
	const char *begin; /* "apiVersion: pintle.dev/v1alpha1": what an empty file needs first */
	/* Makes what the root says into `arg`'s, by reports of what is wrong. Returns 0, -EINVAL
	 * or -ENOMEM. */
	int (*read)(struct yaml_report *r, const char *name, const struct yaml_node *root,
		    void *arg);
};

/** Reads a text of at most YAML_MAX_BYTES and tells the sink what is wrong; `name` stands for the
 * file in messages. Any bytes are safe. Returns 0; -EINVAL when errors were told; -ENOMEM. */
int yaml_parse(const struct yaml_document *d, const char *name, const char *text, size_t size,
	       const struct yaml_sink *sink, void *arg);
/** Reads a regular file's text, as it is: of more than YAML_MAX_BYTES so much as shows that. Never
 * waits for another process. Returns 0 with *text (free() it) and *size; or -errno, told, where
 * `what` is as yaml_document's `file`. */
int yaml_read_file(const char *path, const char *what, const struct yaml_sink *sink, char **text,
		   size_t *size);
/** yaml_parse() for a regular file. Never waits for another process. -errno when it cannot be read,
 * which is told, too. */
int yaml_load(const struct yaml_document *d, const char *path, const struct yaml_sink *sink,
	      void *arg);

#endif
