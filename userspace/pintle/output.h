/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h - rows, as an aligned table or as an array of JSON objects, from one table of
 * columns (../base/columns.h).
 */
#ifndef PINTLE_OUTPUT_H
#define PINTLE_OUTPUT_H

#include "../base/columns.h"
#include "cli.h"

/** Prints `count` rows of `size` bytes each as the command line asks for. `arg` is handed to each
 * get(). `empty` is what text says when there are none (NULL: the headings alone). Returns an
 * exit status: EXIT_FAILED when memory ran out or stdout is broken. */
int output_rows(const struct cli *cli, const struct columns *c, const void *rows, size_t count,
		size_t size, const void *arg, const char *empty);

/** Returns the rows as an array of objects, which the caller frees; or NULL without memory. */
cJSON *output_array(const struct columns *c, const void *rows, size_t count, size_t size,
		    const void *arg);
/** Prints and frees an array or object, NULL: memory ran out; returns an exit status. */
int output_json(cJSON *json);
/** Returns the escape codes before and after a text in that tone; "" without colours. */
const char *tone_begin(const struct cli *cli, enum tone tone);
const char *tone_end(const struct cli *cli, enum tone tone);

/** Flushes stdout. Returns EXIT_OK, or EXIT_FAILED after logging that stdout cannot be written. A
 * reader that went away, such as head(1), has what it wanted: that is no failure. */
int output_finish(void);

#endif
