/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - parts of messages: user text in quotes, lists, the word that was probably meant,
 * numbers, patterns of paths. */
#ifndef PINTLE_TEXT_H
#define PINTLE_TEXT_H

#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define TEXT_QUOTED_SIZE 100

/** Writes user text into buf for a message: in quotes, cut, and without anything that a terminal
 * would obey. `text` may hold NULs. Returns buf. */
const char *text_quote(const char *text, size_t length, char buf[TEXT_QUOTED_SIZE]);

/** Quotes text that was meant as a URL, as text_quote() does, without what may be a password or a
 * token. `text` must end with a NUL. */
const char *text_quote_url(const char *text, size_t length, char buf[TEXT_QUOTED_SIZE]);

/** Replaces each character that is not printable ASCII by `instead`. */
void text_make_printable(char *text, char instead);

/** Returns the text of that format, for the caller to free; NULL for want of memory. */
__attribute__((format(printf, 1, 0))) char *text_vformat(const char *fmt, va_list ap);

/** Adds an item to a list such as "a, b, c", which begins as "". `size` is the room of the list, at
 * least 8 bytes; items that no longer fit are shown as "...". */
void text_list_add(char *list, size_t size, const char *item);

/* The known word that a wrong word was most likely meant to be; starts as {0}. */
struct text_nearest {
	const char *best; /* NULL: no candidate is near. Not owned */
	size_t distance;
	bool begun; /* set by the caller: a candidate that begins with the text is near, however
		     * much is missing */
};

/** Makes the candidate the best if it is nearer to `text` than those before. Ignores case, "-" and
 * "_". */
void text_nearest_try(struct text_nearest *n, const char *text, const char *candidate);

/** Returns whether the pattern, with `*`, `?`, `[...]` and `\` as in fnmatch(3), means the path of
 * a cgroup. What is equal is meant, too: systemd's names have a backslash, as in
 * /system-a\x2db.slice. */
bool text_matches(const char *pattern, const char *path);

/** Have numbers read and written, between these two calls, with a decimal point, whatever the
 * program's locale. text_numbers_end() takes what text_numbers_begin() returned. */
locale_t text_numbers_begin(void);
void text_numbers_end(locale_t outer);

#endif
