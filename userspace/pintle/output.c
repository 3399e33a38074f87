/* SPDX-License-Identifier: Apache-2.0 */
/* output.c - rows as an aligned table or as JSON. */
#include "output.h"

#include <assert.h>
#include <sys/ioctl.h>

#include "../base/log.h"
#include "text_table.h"

/* ---- JSON ----------------------------------------------------------------------- */

int output_json(cJSON *json)
{
	char *text = json ? cJSON_Print(json) : NULL;

	cJSON_Delete(json);
	if (!text) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	puts(text);
	cJSON_free(text);
	return output_finish();
}

cJSON *output_array(const struct columns *c, const void *rows, size_t count, size_t size,
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
	return array;
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

/* Hides columns until the table fits the terminal. A file or a pipe gets all of them. */
static void narrow_to_terminal(struct text_table *t)
{
	struct winsize w;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col)
		text_table_narrow(t, w.ws_col);
}

static void text_cell_print(const struct cli *cli, const struct text_table *t, size_t j,
			    const char *text, enum tone tone, bool first, bool last)
{
	size_t pad = t->widths[j] - strlen(text);
	bool right = t->columns->column[j].right;

	assert(strlen(text) <= t->widths[j]);
	printf("%*s%*s%s%s%s", first ? 0 : (int)t->gap, "", right ? (int)pad : 0, "",
	       tone_begin(cli, tone), text, tone_end(cli, tone));
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
	_cleanup_(text_table_free) struct text_table t = {.columns = c, .count = count, .gap = 2};

	if (!text_table_make(&t, rows, size, arg)) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	narrow_to_terminal(&t);
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
		return output_json(output_array(c, rows, count, size, arg));
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
