// SPDX-License-Identifier: Apache-2.0
#include "buf.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

char *buf_room(struct buf *b, size_t more)
{
	size_t room = b->room ? b->room : 256;
	char *data;

	if (b->failed)
		return NULL;
	if (!b->data || more > b->room - b->size) {
		while (room - b->size < more) {
			if (room > SIZE_MAX / 4) {
				b->failed = true;
				return NULL;
			}
			room *= 2;
		}
		data = realloc(b->data, room);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->room = room;
	}
	return b->data + b->size;
}

void buf_add(struct buf *b, const void *data, size_t size)
{
	char *at = buf_room(b, size);

	if (at && size) {
		memcpy(at, data, size);
		b->size += size;
	}
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int size;
	char *at;

	va_start(ap, fmt);
	va_copy(again, ap);
	size = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	at = size < 0 ? NULL : buf_room(b, (size_t)size + 1);
	if (at)
		b->size += (size_t)vsnprintf(at, (size_t)size + 1, fmt, again);
	else
		b->failed = true;
	va_end(again);
}

void buf_json(struct buf *b, const char *text)
{
	cJSON *string = cJSON_CreateStringReference(text);
	char *quoted = string ? cJSON_PrintUnformatted(string) : NULL;

	if (quoted)
		buf_puts(b, quoted);
	else
		b->failed = true;
	cJSON_free(quoted);
	cJSON_Delete(string);
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->size);
	b->size -= n;
	if (b->size)
		memmove(b->data, b->data + n, b->size);
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){};
}
