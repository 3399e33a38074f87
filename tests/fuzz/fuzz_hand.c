/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_hand.c - any bytes as the first ones of a connection, and the session that they name by
 * hand.bpf.h, compared with a plain reader of lines, and with http_parser: where both take them for
 * a request, its headers, its body's length and the body's place are the same. What is behind the
 * input changes nothing.
 *
 * sources:
 */
#include <string.h>
#include <strings.h>

#include "../../userspace/base/util.h"
#include "hand.bpf.h"
#include "fuzz.h"
#include "support_http.h"

static const struct pintle_asked asked = {
	.headers = {{"x:"}, {"cookie:"}, {"authorization:"}, {"cookie:"}},
	.cookies = {{""}, {"sid="}, {""}, {"s="}},
};

static void scan_read(struct request_scan *s, const uint8_t *data, size_t size, int beyond)
{
	request_begin(s, HAND_LINE_MIN, HAND_LINE_MAX);
	memset(s->bytes, beyond, sizeof(s->bytes));
	s->size = (uint32_t)MIN(size, (size_t)REQUEST_MAX);
	memcpy(s->bytes, data, s->size);
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(s, i, hand_names(&asked)))
			break;
}

/* ---- plainly --------------------------------------------------------------------- */

static struct text trimmed(struct text t)
{
	while (t.size && (*t.at == ' ' || *t.at == '\t')) {
		t.at++;
		t.size--;
	}
	while (t.size && (t.at[t.size - 1] == ' ' || t.at[t.size - 1] == '\t'))
		t.size--;
	return t;
}

/* The first line of the header, behind its name; at NULL: there is none. */
static struct text header_line(const uint8_t *data, size_t size, const char *name)
{
	const char *at = (const char *)data, *end = at + size, *stop;

	for (bool first = true; (stop = memmem(at, (size_t)(end - at), "\r\n", 2)); first = false) {
		size_t length = (size_t)(stop - at);

		if (!first && !length)
			break;
		if (!first && length >= strlen(name) && !strncasecmp(at, name, strlen(name)) &&
		    length >= HAND_LINE_MIN && length <= HAND_LINE_MAX)
			return (struct text){at + strlen(name), length - strlen(name)};
		at = stop + 2;
	}
	return (struct text){0};
}

static struct text cookie_in(struct text line, const char *name)
{
	size_t from = 0;

	while (from < line.size) {
		const char *semicolon = memchr(line.at + from, ';', line.size - from);
		size_t to = semicolon ? (size_t)(semicolon - line.at) : line.size;
		struct text one = {line.at + from, to - from};

		/* one blank at most before the name */
		if (one.size && (*one.at == ' ' || *one.at == '\t')) {
			one.at++;
			one.size--;
		}
		if (one.size >= strlen(name) && !memcmp(one.at, name, strlen(name)))
			return (struct text){one.at + strlen(name), one.size - strlen(name)};
		from = to + 1;
	}
	return (struct text){0};
}

/* ---- both ------------------------------------------------------------------------ */

static void compare(const struct request_scan *s, const uint8_t *data, size_t size, uint32_t i)
{
	struct request_span value = {0};
	int found = hand_find(s, &asked, i, &value);
	struct text line = header_line(data, MIN(size, (size_t)REQUEST_MAX), asked.headers[i].name);
	struct text want = line;

	if (asked.cookies[i].name[0])
		want = cookie_in(line, asked.cookies[i].name);
	PROMISE(found >= 0 && (!found || (value.from < value.to && value.to <= s->size)));
	if (s->known & (REQUEST_NOT_HTTP | REQUEST_VERSION | REQUEST_MALFORMED))
		return;
	want = trimmed(want);
	PROMISE(found == (want.size > 0));
	if (found)
		PROMISE(value.to - value.from == want.size &&
			!memcmp(s->bytes + value.from, want.at, want.size));
}

/* A header that the request has once, or more often. */
static void compare_header(const struct request_scan *s, const struct request *r, uint32_t i)
{
	size_t length = strlen(asked.headers[i].name) - 1, lines = 0;
	struct request_span value = {0};
	struct text last = {0};

	for (size_t j = 0; j < r->names; j++) {
		if (r->name[j].size != length ||
		    strncasecmp(r->name[j].at, asked.headers[i].name, length))
			continue;
		last = r->value[j];
		lines++;
	}
	PROMISE(request_has_two(s, i) == (lines > 1));
	if (lines != 1 || asked.cookies[i].name[0] || hand_find(s, &asked, i, &value) <= 0)
		return;
	last = trimmed(last);
	PROMISE(value.to - value.from == last.size &&
		!memcmp(s->bytes + value.from, last.at, last.size));
}

/* What the hand-off decides by is what a server reads. */
static void compare_parsers(const struct request_scan *s, const uint8_t *data, size_t size)
{
	static struct request r;

	if (!(s->known & REQUEST_ENDED) ||
	    s->known & (REQUEST_NOT_HTTP | REQUEST_VERSION | REQUEST_MALFORMED))
		return;
	parse(data, size, &r);
	if (!r.complete)
		return; /* no server would answer it */
	PROMISE(r.head == s->line);
	if (s->known & REQUEST_LENGTH)
		PROMISE(s->length == MIN(r.body, (uint64_t)REQUEST_LENGTH_MAX));
	else
		PROMISE(r.body == UINT64_MAX || r.body == 0);
	for (uint32_t i = 0; i < PINTLE_MAX_HEADERS; i++)
		compare_header(s, &r, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct request_scan one, other;

	if (!size)
		return 0;
	scan_read(&one, data, size, 0);
	scan_read(&other, data, size, 0xff);
	PROMISE(one.known == other.known && one.length == other.length &&
		one.lines == other.lines && !memcmp(one.named, other.named, sizeof(one.named)));
	for (uint32_t i = 0; i < PINTLE_MAX_HEADERS; i++)
		compare(&one, data, size, i);
	compare_parsers(&one, data, size);
	return 0;
}
