/* SPDX-License-Identifier: Apache-2.0 */
/* markup.c - tables as Markdown. */
#include "reference.h"

#include <stdarg.h>

/* A bar ends a cell even within backquotes. */
static void write_cell(FILE *f, const char *text)
{
	if (*text)
		fputc(' ', f);
	for (; *text; text++) {
		if (*text == '|')
			fputc('\\', f);
		fputc(*text, f);
	}
	fputs(" |", f);
}

void table_head(FILE *f, ...)
{
	const char *name;
	int columns = 0;
	va_list ap;

	fputc('|', f);
	va_start(ap, f);
	for (; (name = va_arg(ap, const char *)); columns++)
		write_cell(f, name);
	va_end(ap);
	fputs("\n|", f);
	while (columns--)
		fputs("---|", f);
	fputc('\n', f);
}

void table_row(FILE *f, ...)
{
	const char *text;
	va_list ap;

	fputc('|', f);
	va_start(ap, f);
	while ((text = va_arg(ap, const char *)))
		write_cell(f, text);
	va_end(ap);
	fputc('\n', f);
}

const char *code(const char *text, char buf[CODE_SIZE])
{
	snprintf(buf, CODE_SIZE, "`%s`", text);
	return buf;
}

void table_names(FILE *f, const char *name_column, const char *help_column, uint32_t count,
		 const char *(*name)(uint32_t), const char *(*help)(uint32_t))
{
	char quoted[CODE_SIZE];

	table_head(f, name_column, help_column, NULL);
	for (uint32_t i = 0; i < count; i++)
		table_row(f, code(name(i), quoted), help(i), NULL);
}
