/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growing run of bytes. The first failure sticks (`failed`) and later calls
 * do nothing, so that only who sends it must look.
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

/** Room for `more` bytes at the end, or NULL; the caller adds to size what it used. */
char *buf_room(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t size);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** A JSON string with its quotes. What is not valid UTF-8 is replaced. */
void buf_json(struct buf *b, const char *text);
/** Drops the first n bytes. */
void buf_consume(struct buf *b, size_t n);
void buf_free(struct buf *b);

static inline void buf_puts(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

#endif
