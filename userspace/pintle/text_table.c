/* SPDX-License-Identifier: Apache-2.0 */
#include "text_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "../base/words.h"

void text_table_free(struct text_table *t)
{
	for (size_t i = 0; t->cells && i < t->count * t->columns->count; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t->widths);
	free(t->hidden);
}

char *value_to_text(const struct value *v)
{
	char buf[WORDS_SIZE], *text = NULL;
	int n = 0;

	switch (v->kind) {
	case VALUE_NONE:
	case VALUE_JSON:
		return strdup("-");
	case VALUE_TEXT:
		return strdup(v->text[0] ? v->text : "-");
	case VALUE_COUNT:
		n = asprintf(&text, "%" PRIu64, v->count);
		break;
	case VALUE_WHOLE:
		n = asprintf(&text, "%.0f", v->number);
		break;
	case VALUE_NUMBER:
		n = asprintf(&text, "%.1f", v->number);
		break;
	case VALUE_SHARE:
		n = asprintf(&text, "%.0f%%", 100 * v->number);
		break;
	case VALUE_SECONDS:
		return strdup(age_text(v->number, buf));
	case VALUE_WAIT:
		return strdup(wait_text(v->number, buf));
	case VALUE_QUANTILE:
		return strdup(quantile_text(v->number, buf));
	case VALUE_BOOL:
		return strdup(v->yes ? "yes" : "no");
	}
	return n < 0 ? NULL : text;
}

static bool text_table_fill(struct text_table *t, const void *rows, size_t size, const void *arg)
{
	const struct columns *c = t->columns;

	for (size_t i = 0; i < t->count; i++) {
		for (size_t j = 0; j < c->count; j++) {
			struct text_cell *cell = &t->cells[i * c->count + j];
			struct value v;

			if (t->hidden[j])
				continue;
			v = c->column[j].get((const char *)rows + i * size, arg);
			*cell = (struct text_cell){value_to_text(&v), v.tone};
			if (!cell->text)
				return false;
			t->widths[j] = MAX(t->widths[j], strlen(cell->text));
		}
	}
	return true;
}

bool text_table_make(struct text_table *t, const void *rows, size_t size, const void *arg)
{
	const struct columns *c = t->columns;

	t->cells = calloc(t->count * c->count + 1, sizeof(*t->cells));
	t->widths = calloc(c->count, sizeof(*t->widths));
	t->hidden = calloc(c->count, sizeof(*t->hidden));
	if (!t->cells || !t->widths || !t->hidden)
		return false;
	for (size_t j = 0; j < c->count; j++) {
		t->hidden[j] = !c->column[j].heading;
		t->widths[j] = t->hidden[j] ? 0 : strlen(c->column[j].heading);
	}
	return text_table_fill(t, rows, size, arg);
}

size_t text_table_width(const struct text_table *t)
{
	size_t width = 0;

	for (size_t j = 0; j < t->columns->count; j++)
		width += t->hidden[j] ? 0 : t->widths[j] + (width ? t->gap : 0);
	return width;
}

void text_table_narrow(struct text_table *t, size_t width)
{
	while (text_table_width(t) > width) {
		size_t worst = t->columns->count;
		int spare = 0;

		for (size_t j = 0; j < t->columns->count; j++) {
			if (!t->hidden[j] && t->columns->column[j].spare > spare) {
				worst = j;
				spare = t->columns->column[j].spare;
			}
		}
		if (worst == t->columns->count)
			return;
		t->hidden[worst] = true;
	}
}
