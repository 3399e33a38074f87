/* SPDX-License-Identifier: Apache-2.0 */
/* markup.c - writes tables as Markdown, and text as mdoc. */
#include "reference.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>

#include "../../userspace/base/util.h"

/* Escapes bars: in Markdown, "|" ends a cell even within backquotes. */
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

/* ---- mdoc ----------------------------------------------------------------------- */

/* Escapes what mdoc would take for its own. A hyphen that begins a word is an option's ("--pool"),
 * and must not become a typographic one. */
static void manual_put(FILE *f, const char *text, size_t length, char before)
{
	for (size_t i = 0; i < length; before = text[i++]) {
		bool line_begins = before == '\n';

		if (line_begins && strchr(".'", text[i]))
			fputs("\\&", f);
		if (text[i] == '\\')
			fputs("\\e", f);
		else if (text[i] == '-' && strchr(" \n-(", before))
			fputs("\\-", f);
		else if (!(line_begins && text[i] == ' '))
			fputc(text[i], f);
	}
}

/* Writes .Ql with the literal up to the closing backquote, and the punctuation that follows as
 * words of its own. Returns the text behind. */
static const char *manual_literal(FILE *f, const char *text)
{
	const char *end = strchr(text, '`');

	assert(end);
	fputs(".Ql \"", f);
	for (; text < end; text++) {
		if (*text == '"')
			fputs("\\(dq", f);
		else if (*text == '\\')
			fputs("\\e", f);
		else
			fprintf(f, *text == '-' ? "\\%c" : "%c", *text);
	}
	fputs("\"", f);
	for (end++; *end && strchr(".,;:)", *end); end++)
		fprintf(f, " %c", *end);
	fputc('\n', f);
	return end;
}

void manual_text(FILE *f, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "`"), shown = length;

		while (shown && isspace((unsigned char)text[shown - 1]))
			shown--;
		if (shown) {
			manual_put(f, text, shown, '\n');
			fputc('\n', f);
		}
		if (!text[length])
			return;
		text = manual_literal(f, text + length + 1);
		while (isspace((unsigned char)*text))
			text++;
	}
}

void manual_sentence(FILE *f, const char *text)
{
	char *sentence;

	if (asprintf(&sentence, "%c%s.", toupper(*text), text + 1) < 0)
		return;
	manual_text(f, sentence);
	free(sentence);
}

static bool is_variable(const char *word, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isupper((unsigned char)word[i]))
			return false;
	return length;
}

/* Writes a word without brackets: "--pool", "KEY=VALUE", "enforce|baseline|off". What a user puts
 * something else for is in capitals, as in --help. */
static void manual_word(FILE *f, const char *word, size_t length)
{
	while (length) {
		size_t n = strcspn(word, "=|[] ");

		n = n < length ? n : length;
		if (!strncmp(word, "--", 2))
			fprintf(f, " Fl %.*s", (int)n - 1, word + 1);
		else if (is_variable(word, n))
			fprintf(f, " Ar %.*s", (int)n, word);
		else
			fprintf(f, " Cm %.*s", (int)n, word);
		word += n;
		length -= n;
		if (!length)
			return;
		fprintf(f, " Ns %c Ns", *word);
		word++;
		length--;
	}
}

void manual_arguments(FILE *f, const char *arguments)
{
	while (*arguments) {
		size_t n = strcspn(arguments, " []");

		manual_word(f, arguments, n);
		arguments += n;
		if (*arguments == '[')
			fputs(" Oo", f);
		if (*arguments == ']')
			fputs(" Oc", f);
		arguments += *arguments != '\0';
	}
}
