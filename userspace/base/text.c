/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <assert.h>
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>

#include "util.h"

char *text_vformat(const char *fmt, va_list ap)
{
	char *text;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

const char *text_quote(const char *text, size_t length, char buf[TEXT_QUOTED_SIZE])
{
	static const size_t longest_escape = sizeof("\\xff") - 1, tail = sizeof("...\"") - 1;
	size_t n = 0;

	buf[n++] = '"';
	for (size_t i = 0; i < length; i++) {
		if (n + longest_escape + tail + 1 > TEXT_QUOTED_SIZE) {
			memcpy(buf + n, "...", 3);
			n += 3;
			break;
		}
		/* Some characters beyond ASCII reorder a terminal's line. */
		if (text[i] >= ' ' && text[i] <= '~')
			buf[n++] = text[i];
		else
			n += (size_t)sprintf(buf + n, "\\x%02x", (unsigned char)text[i]);
	}
	buf[n++] = '"';
	buf[n] = '\0';
	return buf;
}

/* Does not parse the text, which may be no URL at all. User and password end with the last "@", and
 * a query begins with the first "?". Where the "?" comes before the "@", either may be part of a
 * password: then everything after the scheme is left out. */
const char *text_quote_url(const char *text, size_t length, char buf[TEXT_QUOTED_SIZE])
{
	size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
			: strncmp(text, "https://", 8) == 0 ? 8
							    : 0;
	const char *at = memrchr(text, '@', length), *host = at ? at : text + scheme;
	const char *query = text + strcspn(text, "?#");
	_cleanup_free_ char *shown = NULL;
	int n;

	assert(!text[length]);
	if (at && query < at)
		n = asprintf(&shown, "%.*s...", (int)scheme, text);
	else
		n = asprintf(&shown, "%.*s%s%.*s%s", (int)scheme, text, at ? "..." : "",
			     (int)(query - host), host, *query ? "?..." : "");
	if (n < 0) {
		shown = NULL;
		return "a URL";
	}
	return text_quote(shown, (size_t)n, buf);
}

bool text_matches(const char *pattern, const char *path)
{
	return !strcmp(pattern, path) || !fnmatch(pattern, path, 0);
}

locale_t text_numbers_begin(void)
{
	locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);

	return c ? uselocale(c) : (locale_t)0;
}

void text_numbers_end(locale_t outer)
{
	if (outer)
		freelocale(uselocale(outer));
}

void text_make_printable(char *text, char instead)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = instead;
}

/* Always keeps room for the "...". */
void text_list_add(char *list, size_t size, const char *item)
{
	static const char end[] = "...";
	size_t n = strlen(list);
	const char *joint = n ? ", " : "";

	assert(size >= 8 && n < size);
	if (n >= strlen(end) && !strcmp(list + n - strlen(end), end))
		return;
	if (n + strlen(item) + 2 * strlen(", ") + sizeof(end) > size)
		item = end;
	snprintf(list + n, size - n, "%s%s", joint, item);
}

/* ---- the word that was meant -------------------------------------------------- */

#define NEAR_MAX 64 /* longer than every known word; a longer text is near none */

/* Drops case and joints, so that kv_cache and kvcache both equal kvCache. Returns the length. */
static size_t fold(const char *text, char out[NEAR_MAX + 1])
{
	size_t n = 0;

	for (; *text && n < NEAR_MAX; text++) {
		if (*text != '_' && *text != '-')
			out[n++] = (char)tolower((unsigned char)*text);
	}
	out[n] = '\0';
	return n;
}

/* Levenshtein's distance, in which two neighbours that are exchanged are one edit: "tpo" for "top",
 * but not "no" for "on". */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][NEAR_MAX + 1]; /* of i, i - 1 and i - 2, in turns */

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t changed = above[j - 1] + (a[i - 1] != b[j - 1]);
			size_t shorter = MIN(above[j], row[j - 1]) + 1;

			row[j] = MIN(shorter, changed);
			if (a_length > 2 && i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], before[j - 2] + 1);
		}
	}
	return rows[a_length % 3][b_length];
}

void text_nearest_try(struct text_nearest *n, const char *text, const char *candidate)
{
	char a[NEAR_MAX + 1], b[NEAR_MAX + 1];
	size_t a_length, b_length, distance;

	if (strlen(text) > NEAR_MAX || strlen(candidate) > NEAR_MAX)
		return;
	a_length = fold(text, a);
	b_length = fold(candidate, b);
	distance = edit_distance(a, a_length, b, b_length);
	if (n->begun && a_length && !strncmp(a, b, a_length))
		distance = MIN(distance, (size_t)1);
	else if (distance >= a_length)
		return;
	if (distance > MAX(b_length / 3, (size_t)1) || distance >= b_length)
		return;
	if (!n->best || distance < n->distance) {
		n->best = candidate;
		n->distance = distance;
	}
}
