/* SPDX-License-Identifier: Apache-2.0 */
/* support_http.h - a request as http_parser, an independent parser, reads its headers. */
#ifndef PINTLE_TESTS_SUPPORT_HTTP_H
#define PINTLE_TESTS_SUPPORT_HTTP_H

#include <http_parser.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define MAX_HEADERS 512

struct text {
	const char *at;
	size_t size;
};

struct request {
	bool complete;
	int major, minor, method, keep_alive, upgrade;
	uint64_t body; /* bytes still to come, or all ones */
	size_t head;   /* bytes before the body */
	struct text url, name[MAX_HEADERS], value[MAX_HEADERS];
	size_t names, values;
};

static void extend(struct text *t, const char *at, size_t size)
{
	if (!t->at)
		t->at = at;
	t->size = (size_t)(at + size - t->at);
}

static int on_url(http_parser *p, const char *at, size_t size)
{
	extend(&((struct request *)p->data)->url, at, size);
	return 0;
}

static int on_name(http_parser *p, const char *at, size_t size)
{
	struct request *r = p->data;

	if (r->names == MAX_HEADERS)
		return 1;
	extend(&r->name[r->names++], at, size);
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t size)
{
	struct request *r = p->data;

	if (r->values == r->names)
		extend(&r->value[r->values - 1], at,
		       size); /* the value continues on another line */
	else
		extend(&r->value[r->values++], at, size);
	return 0;
}

static int on_headers(http_parser *p)
{
	struct request *r = p->data;

	r->complete = true;
	r->major = p->http_major;
	r->minor = p->http_minor;
	r->method = (int)p->method;
	r->keep_alive = http_should_keep_alive(p);
	r->upgrade = p->upgrade;
	r->body = p->content_length;
	return -1; /* enough */
}

static void parse(const uint8_t *data, size_t size, struct request *r)
{
	static const http_parser_settings settings = {
		.on_url = on_url,
		.on_header_field = on_name,
		.on_header_value = on_value,
		.on_headers_complete = on_headers,
	};
	http_parser p;

	memset(r, 0, sizeof(*r));
	http_parser_init(&p, HTTP_REQUEST);
	p.data = r;
	/* It stops at the LF that ends the headers. */
	r->head = http_parser_execute(&p, &settings, (const char *)data, size) + 1;
	r->complete &= r->names == r->values;
}

static inline bool is(const struct text *t, const char *name)
{
	return t->size == strlen(name) && !strncasecmp(t->at, name, t->size);
}

#endif
