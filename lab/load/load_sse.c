// SPDX-License-Identifier: Apache-2.0
#include "load_sse.h"

#include <errno.h>

#include "../../userspace/base/util.h"

static int end_event(struct sse *s)
{
	int err = 0;

	if (s->has_data) {
		buf_add(&s->data, "", 1);
		err = s->data.failed ? -ENOMEM : s->event(s->arg, s->data.data, s->data.size - 1);
	}
	s->has_data = false;
	s->data.size = 0;
	return err;
}

static int end_line(struct sse *s)
{
	static const char field[] = "data", bom[] = "\xef\xbb\xbf";
	const char *line = s->line.data;
	size_t size = s->line.size, name;

	s->line.size = 0;
	if (!s->begun && size >= strlen(bom) && !memcmp(line, bom, strlen(bom))) {
		line += strlen(bom);
		size -= strlen(bom);
	}
	s->begun = true;
	if (!size)
		return end_event(s);
	name = strlen(field);
	if (size < name || memcmp(line, field, name) != 0 || (size > name && line[name] != ':'))
		return 0; /* a comment, or a field other than `data` */
	name = MIN(name + 1, size);
	name += name < size && line[name] == ' ';
	if (size - name + 1 > SSE_MAX - MIN(s->data.size, (size_t)SSE_MAX))
		return -EMSGSIZE;
	if (s->has_data)
		buf_add(&s->data, "\n", 1);
	buf_add(&s->data, line + name, size - name);
	s->has_data = true;
	return s->data.failed ? -ENOMEM : 0;
}

int sse_feed(struct sse *s, const char *bytes, size_t size)
{
	const char *at = bytes, *end = bytes + size;
	int err;

	while (at < end) {
		const char *stop = at;

		if (s->after_cr && *at == '\n') {
			s->after_cr = false;
			at++;
			continue;
		}
		s->after_cr = false;
		while (stop < end && *stop != '\n' && *stop != '\r')
			stop++;
		if ((size_t)(stop - at) > SSE_MAX - s->line.size)
			return -EMSGSIZE;
		buf_add(&s->line, at, (size_t)(stop - at));
		if (s->line.failed)
			return -ENOMEM;
		if (stop == end)
			break;
		s->after_cr = *stop == '\r';
		at = stop + 1;
		err = end_line(s);
		if (err)
			return err;
	}
	return 0;
}

void sse_free(struct sse *s)
{
	buf_free(&s->line);
	buf_free(&s->data);
}
