// SPDX-License-Identifier: Apache-2.0
#include "kube_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"

#define ROOM_FIRST 4096
#define ROOM_KEPT  (256U << 10) /* a longer line's memory is given back at its end */

static bool lines_make_room(struct kube_lines *l, size_t need)
{
	size_t room = MAX(l->room, (size_t)ROOM_FIRST);
	char *text;

	while (room < need)
		room *= 2;
	if (room == l->room)
		return true;
	text = realloc(l->text, room);
	if (!text)
		return false;
	l->text = text;
	l->room = room;
	return true;
}

static int keep_part(struct kube_lines *l, const char *data, size_t size)
{
	if (l->skipping)
		return 0;
	if (size > KUBE_MAX_TEXT - l->size) {
		kube_lines_free(l);
		l->skipping = true;
		return -EFBIG;
	}
	if (!lines_make_room(l, l->size + size))
		return -ENOMEM;
	memcpy(l->text + l->size, data, size);
	l->size += size;
	return 0;
}

/* The whole line is in the piece, unless a part of it came before. */
static int end_line(struct kube_lines *l, const char *data, size_t size, kube_line_fn each,
		    void *arg)
{
	bool whole = !l->size && !l->skipping && size <= KUBE_MAX_TEXT;
	int err = whole ? 0 : keep_part(l, data, size);
	bool go_on = true;

	if (err == -ENOMEM)
		return err;
	if (whole && size)
		go_on = each(data, size, arg);
	else if (!whole && !l->skipping && l->size)
		go_on = each(l->text, l->size, arg);
	kube_lines_reset(l);
	return go_on ? err : -ECANCELED;
}

int kube_lines_feed(struct kube_lines *l, const char *data, size_t size, kube_line_fn each,
		    void *arg)
{
	int long_line = 0;

	while (size) {
		const char *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;
		int err = end ? end_line(l, data, n, each, arg) : keep_part(l, data, n);

		if (err && err != -EFBIG)
			return err;
		long_line = err ?: long_line;
		n += end ? 1 : 0;
		data += n;
		size -= n;
	}
	return long_line;
}

void kube_lines_reset(struct kube_lines *l)
{
	if (l->room > ROOM_KEPT)
		kube_lines_free(l);
	l->size = 0;
	l->skipping = false;
}

void kube_lines_free(struct kube_lines *l)
{
	free(l->text);
	*l = (struct kube_lines){0};
}
