/* SPDX-License-Identifier: Apache-2.0 */
/* text_table.h - the cells of a table, their widths, and which columns have room. */
#ifndef PINTLE_TEXT_TABLE_H
#define PINTLE_TEXT_TABLE_H

#include "../base/columns.h"

struct text_cell {
	char *text; /* owned */
	enum tone tone;
};

struct text_table {
	const struct columns *columns;
	struct text_cell *cells; /* count rows of columns->count */
	size_t *widths;
	bool *hidden;
	size_t count;
	size_t gap; /* between two columns */
};

/** Makes the cells of `count` rows of `size` bytes each. `columns`, `count` and `gap` of *t
 * are set.
 * Returns false without memory. text_table_free() frees *t in any case. */
bool text_table_make(struct text_table *t, const void *rows, size_t size, const void *arg);
void text_table_free(struct text_table *t);

/** Returns what all columns that are shown take. */
size_t text_table_width(const struct text_table *t);
/** Hides columns that may be spared, until the others fit into `width`. */
void text_table_narrow(struct text_table *t, size_t width);

/** Returns a value as text, which the caller frees; NULL without memory. */
char *value_to_text(const struct value *v);

#endif
