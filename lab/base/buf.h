/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growing run of bytes. The first failed allocation sets `failed`, and later calls add
 * nothing, so only the code that uses the finished text must look at `failed`.
 */
#ifndef PINTLE_LAB_BUF_H
#define PINTLE_LAB_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buf {
	char *data; /* not terminated */
	size_t size, room;
	bool failed;
};

/** Room for `more` bytes at the end, or NULL. The caller adds to `size` what it has written. */
char *buf_room(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t size);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Adds `text` as a JSON string with its quotes; cJSON replaces bytes that are not valid UTF-8. */
void buf_json(struct buf *b, const char *text);
/** Drops the first n bytes; n is at most `size`. */
void buf_consume(struct buf *b, size_t n);
void buf_free(struct buf *b);

static inline void buf_puts(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

#endif
