/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - what messages are made of: user text in quotes, lists, the word that was probably meant,
 * numbers. */
#ifndef PINTLE_TEXT_H
#define PINTLE_TEXT_H

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>

#define TEXT_QUOTED_SIZE 100

/** User text for a message: in quotes, cut, and without anything that a terminal would obey.
 * `text` may hold NULs. Returns buf. */
const char *text_quote(const char *text, size_t length, char buf[TEXT_QUOTED_SIZE]);

/** The same for text that was meant as a URL: what may be a password or a token is left out.
 * `text` ends with a NUL. */
const char *text_quote_url(const char *text, size_t length, char buf[TEXT_QUOTED_SIZE]);

/** Puts `instead` in the place of each character that is not printable ASCII. */
void text_make_printable(char *text, char instead);

/** Adds an item to a list such as "a, b, c", which begins as "". `size` is the list's, of at least
 * 8 bytes; what does not fit any more shows as "...". */
void text_list_add(char *list, size_t size, const char *item);

/* The known word that a wrong word was most likely meant to be; starts as {0}. */
struct text_nearest {
	const char *best; /* NULL: none is near. Not owned */
	size_t distance;
	bool begun; /* set at first: a word begun is near, however much of it is missing */
};

/** Takes the candidate for the best if it is nearer to `text` than those before. Case, "-" and "_"
 * do not count. */
void text_nearest_try(struct text_nearest *n, const char *text, const char *candidate);

/** Between the two, numbers are read and written with a decimal point, whatever the
 * program's locale. */
locale_t text_numbers_begin(void);
void text_numbers_end(locale_t outer);

#endif
