/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_hand.c - any bytes as the first ones of a connection, and the session that they name by
 * request_session.bpf.h, compared with a plain reader of lines, and with http_parser: where both
 * take them for a request, its headers, its body's length and the body's place are the same. What
 * is behind the input changes nothing.
 *
 * sources:
 */
#include <string.h>
#include <strings.h>

#include "../../userspace/base/util.h"
#include "handoff/request_session.bpf.h"
#include "fuzz.h"
#include "support_http.h"

#define LINES 4 /* the keys that are headers */

static const struct pintle_asked asked = {
	.headers = {{"x:"}, {"cookie:"}, {"authorization:"}, {"cookie:"}, {"BODY"}},
	.parts = {{""}, {"sid="}, {""}, {"s="}, {"user"}},
	.in_body = LINES + 1,
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
	PROMISE(!s->named[LINES].to);
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

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Returns whether servers may read it differently; else *value is the cookie's, at NULL: there is
 * none. */
static bool cookie_in(struct text line, const char *name, struct text *value)
{
	size_t length = strlen(name), times = 0;
	bool clear = true;

	*value = (struct text){0};
	for (size_t i = 0; i < line.size; i++) {
		const char *at = line.at + i, *end = line.at + line.size, *stop;

		if (*at == '=' && i && is_blank(at[-1]))
			return true;
		if ((i && !is_blank(at[-1]) && at[-1] != ';' && at[-1] != ',') ||
		    line.size - i < length || strncasecmp(at, name, length))
			continue;
		times++;
		clear = clear && !memcmp(at, name, length) &&
			(!i || at[-1] == ';' || (at[-1] == ' ' && (i == 1 || at[-2] == ';')));
		stop = memchr(at, ';', (size_t)(end - at));
		*value = (struct text){at + length, (size_t)((stop ?: end) - at) - length};
	}
	return times > 1 || !clear;
}

/* As Node's `cookie` and Starlette read: names and values without the blanks around them. The first
 * counts, or the last. */
static struct text cookie_by_parts(struct text line, const char *name, bool last)
{
	struct text found = {0};

	for (size_t from = 0, to; from < line.size && (last || !found.at); from = to + 1) {
		const char *semicolon = memchr(line.at + from, ';', line.size - from), *equals;
		struct text key;

		to = semicolon ? (size_t)(semicolon - line.at) : line.size;
		equals = memchr(line.at + from, '=', to - from);
		if (!equals)
			continue;
		key = trimmed((struct text){line.at + from, (size_t)(equals - line.at) - from});
		if (key.size == strlen(name) - 1 && !memcmp(key.at, name, key.size))
			found = (struct text){equals + 1, (size_t)(line.at + to - equals) - 1};
	}
	return trimmed(found);
}

/* As nginx reads $cookie_NAME: commas separate, too, and small and capital letters are the same. */
static struct text cookie_by_nginx(struct text line, const char *name)
{
	const char *at = line.at, *end = at + line.size, *stop;
	size_t length = strlen(name) - 1;

	while (at < end && *at == ' ')
		at++;
	while (at < end) {
		if ((size_t)(end - at) >= length && !strncasecmp(at, name, length)) {
			for (stop = at + length; stop < end && *stop == ' '; stop++)
				;
			if (stop < end && *stop == '=') {
				at = stop + 1;
				stop = memchr(at, ';', (size_t)(end - at));
				return trimmed((struct text){at, (size_t)((stop ?: end) - at)});
			}
		}
		while (at < end && *at != ';' && *at != ',')
			at++;
		for (at += at < end; at < end && *at == ' '; at++)
			;
	}
	return (struct text){0};
}

static bool same(struct text a, struct text b)
{
	return a.size == b.size && (!a.size || !memcmp(a.at, b.at, a.size));
}

/* ---- both ------------------------------------------------------------------------ */

static void compare(const struct request_scan *s, const uint8_t *data, size_t size, uint32_t i)
{
	struct request_span value = {0};
	int found = hand_find(s, &asked, i, &value);
	struct text line = header_line(data, MIN(size, (size_t)REQUEST_MAX), asked.headers[i].name);
	const char *cookie = asked.parts[i].name;
	struct text want = line;
	bool unclear = false;

	if (cookie[0])
		unclear = cookie_in(line, cookie, &want);
	PROMISE(found >= 0 && (found != 1 || (value.from < value.to && value.to <= s->size)));
	if (s->known & (REQUEST_NOT_HTTP | REQUEST_VERSION | REQUEST_MALFORMED))
		return;
	PROMISE((found == HAND_UNCLEAR) == unclear);
	if (unclear)
		return;
	want = trimmed(want);
	PROMISE(found == (want.size > 0));
	if (found && cookie[0])
		PROMISE(same(want, cookie_by_parts(line, cookie, false)) &&
			same(want, cookie_by_parts(line, cookie, true)) &&
			same(want, cookie_by_nginx(line, cookie)));
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
	if (lines != 1 || asked.parts[i].name[0] || hand_find(s, &asked, i, &value) != 1)
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
	for (uint32_t i = 0; i < LINES; i++)
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
	for (uint32_t i = 0; i < LINES; i++)
		compare(&one, data, size, i);
	compare_parsers(&one, data, size);
	return 0;
}
