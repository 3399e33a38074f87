// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the first ones of a connection, read by request.bpf.h and edited as by one-shot, and
 * compared with an independent parser of HTTP. The first byte of the input says what the pool
 * allows.
 *
 * sources:
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <http_parser.h>

#include "../../userspace/base/util.h"
#include "oneshot.bpf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "not so: %s\n", #condition);                               \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* ---- ours ------------------------------------------------------------------------ */

/* `beyond` is the byte behind the input, which in the kernel may be any. */
static struct oneshot_edit read_first(const uint8_t *data, size_t size,
				      const struct pintle_rewrite *how, int beyond)
{
	static struct request_scan scan;
	struct oneshot_edit edit;

	oneshot_begin(&scan);
	memset(scan.bytes, beyond, sizeof(scan.bytes));
	scan.size = (uint32_t)MIN(size, (size_t)REQUEST_MAX);
	memcpy(scan.bytes, data, scan.size);
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(&scan, i, oneshot_names(how)))
			break;
	oneshot_decide(&scan, how, &edit);
	return edit;
}

/* The edit lies between the request line and the empty line, or is one byte of the request line. */
static void check_edit(const struct oneshot_edit *e, size_t size)
{
	REQUIRE(e->result < PINTLE_ONESHOT_COUNT);
	if (e->kind == ONESHOT_NOTHING) {
		REQUIRE(e->result > PINTLE_ONESHOT_REWRITTEN_VERSION);
		return;
	}
	REQUIRE(e->result <= PINTLE_ONESHOT_REWRITTEN_VERSION);
	REQUIRE(e->length >= 1 && e->length <= ONESHOT_LINE_MAX);
	REQUIRE((size_t)e->offset + e->length + 4 <= MIN(size, (size_t)REQUEST_MAX));
}

/* ---- the independent parser ------------------------------------------------------- */

#define MAX_HEADERS 512

struct text {
	const char *at;
	size_t size;
};

struct request {
	bool complete;
	int major, minor, method, keep_alive, upgrade;
	uint64_t body; /* bytes still to come, or all ones */
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
	http_parser_execute(&p, &settings, (const char *)data, size);
	r->complete &= r->names == r->values;
}

static bool same(const struct text *a, const struct text *b)
{
	return a->size == b->size && !memcmp(a->at ?: "", b->at ?: "", a->size);
}

static bool is(const struct text *t, const char *name)
{
	return t->size == strlen(name) && !strncasecmp(t->at, name, t->size);
}

/* The edited request differs in one header or in its version, and ends the connection with its
 * answer. */
static void check_request(const struct request *in, const struct request *out,
			  const struct oneshot_edit *e)
{
	size_t differ = 0;

	REQUIRE(out->complete);
	REQUIRE(in->method == out->method && same(&in->url, &out->url));
	REQUIRE(in->body == out->body && in->names == out->names);
	REQUIRE(in->major == 1 && in->minor == 1 && out->major == 1);
	REQUIRE(out->minor == (e->kind == ONESHOT_DIGIT_0 ? 0 : 1));
	for (size_t i = 0; i < in->names; i++) {
		if (same(&in->name[i], &out->name[i]) && same(&in->value[i], &out->value[i]))
			continue;
		differ++;
		REQUIRE(is(&out->name[i], "connection"));
		REQUIRE(e->kind == ONESHOT_WORD_CLOSE ? is(&in->name[i], "connection")
						      : is(&out->value[i], "close"));
	}
	REQUIRE(differ == (e->kind == ONESHOT_DIGIT_0 ? 0 : 1));
	REQUIRE(!out->keep_alive && !out->upgrade);
}

/* ---- one input ------------------------------------------------------------------------ */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct pintle_rewrite pools[] = {
		{.headers = {{"accept-encoding:"}, {"user-agent:"}}},
		{.http10 = 1, .headers = {{"accept-encoding:"}, {"user-agent:"}}},
		{.http10 = 1},
		{.headers = {{"a:"}, {"x-request-identifier-of-it-all:"}, {"accept:"}, {"b:"}}},
	};
	static struct request in, out;
	static uint8_t bytes[1 << 16];
	const struct pintle_rewrite *how;
	struct oneshot_edit e, other;

	if (!size || size > sizeof(bytes))
		return 0;
	how = &pools[*data++ % ARRAY_SIZE(pools)];
	size--;
	e = read_first(data, size, how, 0);
	other = read_first(data, size, how, '\n');
	REQUIRE(!memcmp(&e, &other, sizeof(e)));
	check_edit(&e, size);
	if (e.kind == ONESHOT_NOTHING)
		return 0;
	memcpy(bytes, data, size);
	for (uint32_t i = 0; i < e.length; i++)
		bytes[e.offset + i] = oneshot_byte(&e, i);
	other = read_first(bytes, size, how, 0);
	REQUIRE(other.kind == ONESHOT_NOTHING);
	parse(data, size, &in);
	if (!in.complete)
		return 0; /* no server would answer it */
	parse(bytes, size, &out);
	check_request(&in, &out, &e);
	return 0;
}
