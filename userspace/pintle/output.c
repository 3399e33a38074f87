/* SPDX-License-Identifier: Apache-2.0 */
/* output.c - rows as an aligned table or as JSON. */
#include "output.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>

#include "../base/log.h"

/* ---- JSON ----------------------------------------------------------------------- */

int output_json(cJSON *array)
{
	char *text = cJSON_Print(array);

	cJSON_Delete(array);
	if (!text) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	puts(text);
	cJSON_free(text);
	return output_finish();
}

static int rows_json(const struct columns *c, const void *rows, size_t count, size_t size,
		     const void *arg)
{
	cJSON *array = cJSON_CreateArray();

	for (size_t i = 0; array && i < count; i++) {
		cJSON *object = columns_object(c, (const char *)rows + i * size, arg);

		if (object && cJSON_AddItemToArray(array, object))
			continue;
		cJSON_Delete(object);
		cJSON_Delete(array);
		array = NULL;
	}
	return output_json(array);
}

/* ---- text ----------------------------------------------------------------------- */

static const char *const tones[] = {
	[TONE_PLAIN] = "",       [TONE_GOOD] = "\033[32m", [TONE_WARN] = "\033[33m",
	[TONE_BAD] = "\033[31m", [TONE_FAINT] = "\033[2m", [TONE_HEADING] = "\033[1m",
};

const char *tone_begin(const struct cli *cli, enum tone tone)
{
	return cli->color ? tones[tone] : "";
}

const char *tone_end(const struct cli *cli, enum tone tone)
{
	return cli->color && tones[tone][0] ? "\033[0m" : "";
}

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
};

static void text_table_free(struct text_table *t)
{
	for (size_t i = 0; t->cells && i < t->count * t->columns->count; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t->widths);
	free(t->hidden);
}

static char *value_to_text(const struct value *v)
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

static bool text_table_make(struct text_table *t, const void *rows, size_t size, const void *arg)
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

#define GAP 2

static size_t text_table_width(const struct text_table *t)
{
	size_t width = 0;

	for (size_t j = 0; j < t->columns->count; j++)
		width += t->hidden[j] ? 0 : t->widths[j] + (width ? GAP : 0);
	return width;
}

/* Hides columns until the table fits the terminal. A file or a pipe gets all of them. */
static void text_table_narrow(struct text_table *t)
{
	struct winsize w;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_col)
		return;
	while (text_table_width(t) > w.ws_col) {
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

static void text_cell_print(const struct cli *cli, const struct text_table *t, size_t j,
			    const char *text, enum tone tone, bool first, bool last)
{
	size_t pad = t->widths[j] - strlen(text);
	bool right = t->columns->column[j].right;

	assert(strlen(text) <= t->widths[j]);
	printf("%*s%*s%s%s%s", first ? 0 : GAP, "", right ? (int)pad : 0, "", tone_begin(cli, tone),
	       text, tone_end(cli, tone));
	if (!right && !last)
		printf("%*s", (int)pad, "");
}

/* row == count: the headings. */
static void text_row_print(const struct cli *cli, const struct text_table *t, size_t row)
{
	const struct columns *c = t->columns;
	size_t first = c->count, last = 0;

	for (size_t j = 0; j < c->count; j++) {
		if (t->hidden[j])
			continue;
		first = MIN(first, j);
		last = j;
	}
	for (size_t j = first; j <= last; j++) {
		const struct text_cell *cell = &t->cells[row * c->count + j];
		bool heading = row == t->count;

		if (!t->hidden[j])
			text_cell_print(cli, t, j, heading ? c->column[j].heading : cell->text,
					heading ? TONE_HEADING : cell->tone, j == first, j == last);
	}
	putchar('\n');
}

static int rows_text(const struct cli *cli, const struct columns *c, const void *rows, size_t count,
		     size_t size, const void *arg)
{
	_cleanup_(text_table_free) struct text_table t = {.columns = c, .count = count};

	if (!text_table_make(&t, rows, size, arg)) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	text_table_narrow(&t);
	text_row_print(cli, &t, count);
	for (size_t i = 0; i < count; i++)
		text_row_print(cli, &t, i);
	return output_finish();
}

/* ---- both ----------------------------------------------------------------------- */

int output_rows(const struct cli *cli, const struct columns *c, const void *rows, size_t count,
		size_t size, const void *arg, const char *empty)
{
	if (cli->json)
		return rows_json(c, rows, count, size, arg);
	if (!count && empty) {
		puts(empty);
		return output_finish();
	}
	return rows_text(cli, c, rows, count, size, arg);
}

int output_finish(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return EXIT_OK;
	if (errno == EPIPE)
		return EXIT_OK;
	log_err_r(errno, "cannot write to stdout");
	return EXIT_FAILED;
}
