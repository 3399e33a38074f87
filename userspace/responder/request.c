/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <ctype.h>
#include <string.h>

#include "../base/util.h"

#define METHOD_MAX 31
#define VERSION    "HTTP/1."
#define LEFT_MAX   (1ULL << 40) /* bytes; a body that is said to be longer is never read whole */

enum step {
	STEP_METHOD,
	STEP_TARGET,
	STEP_VERSION,
	STEP_LINE,
	STEP_BODY,
	STEP_CHUNK_SIZE,
	STEP_CHUNK_MORE, /* what follows the size on its line */
	STEP_CHUNK,
	STEP_CHUNK_END,
	STEP_TRAILER,
	STEP_WHOLE,
	STEP_FOREIGN,
};

/* ---- headers ----------------------------------------------------------------------- */

/* The header's value, without white space around it, if the line has this name; else NULL. */
static const char *request_value_of(struct request *r, const char *name)
{
	size_t n = strlen(name);
	char *value;

	r->line[MIN((size_t)r->length, sizeof(r->line) - 1)] = '\0';
	if (strncmp(r->line, name, n) != 0 || r->line[n] != ':')
		return NULL;
	value = r->line + n + 1;
	value += strspn(value, " \t");
	for (n = strlen(value); n && strchr(" \t", value[n - 1]); n--)
		value[n - 1] = '\0';
	return value;
}

static void take_length(struct request *r, const char *value)
{
	size_t digits = strspn(value, "0123456789");
	uint64_t n = 0;

	for (size_t i = 0; i < digits; i++)
		n = MIN(10 * n + (uint64_t)(value[i] - '0'), (uint64_t)LEFT_MAX);
	if (!digits || value[digits] || (r->sized && n != r->left))
		r->unclear = true;
	r->sized = true;
	r->left = n;
}

static void take_encoding(struct request *r, const char *value)
{
	static const char last[] = "chunked";
	size_t n = strlen(value);

	if (n >= sizeof(last) - 1 && !strcmp(value + n - (sizeof(last) - 1), last))
		r->chunked = true;
	else
		r->unclear = true;
}

static void take_line(struct request *r)
{
	const char *value;

	if ((value = request_value_of(r, "content-length")))
		take_length(r, value);
	else if ((value = request_value_of(r, "transfer-encoding")))
		take_encoding(r, value);
	else if ((value = request_value_of(r, "expect")))
		r->expects |= !strcmp(value, "100-continue");
}

/* A client that expects to be told to go on has not sent the body yet, and need not. */
static enum step after_head(const struct request *r)
{
	if (r->unclear || r->expects)
		return STEP_WHOLE;
	if (r->chunked)
		return STEP_CHUNK_SIZE;
	return r->sized && r->left ? STEP_BODY : STEP_WHOLE;
}

/* ---- bytes ------------------------------------------------------------------------- */

static void line_add(struct request *r, uint8_t c)
{
	if (r->length < sizeof(r->line))
		r->line[r->length++] = (char)tolower(c);
}

static bool line_is_empty(const struct request *r)
{
	return !r->length || (r->length == 1 && r->line[0] == '\r');
}

/* RFC 9110, section 5.6.2 */
static bool request_is_token(uint8_t c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static enum step read_method(struct request *r, uint8_t c)
{
	if (c == ' ' && r->length) {
		r->is_head = r->length == 4 && !memcmp(r->line, "head", 4);
		r->length = 0;
		return STEP_TARGET;
	}
	if (!r->length && (c == '\r' || c == '\n'))
		return STEP_METHOD; /* empty lines before a request are none of it */
	if (!request_is_token(c) || r->length >= METHOD_MAX)
		return STEP_FOREIGN;
	line_add(r, c);
	return STEP_METHOD;
}

static enum step request_read_target(struct request *r, uint8_t c)
{
	if (c == ' ' && r->length)
		return r->length = 0, STEP_VERSION;
	r->length = 1;
	return c > ' ' && c != 0x7f ? STEP_TARGET : STEP_FOREIGN;
}

static enum step read_version(struct request *r, uint8_t c)
{
	size_t n = sizeof(VERSION) - 1;

	if (r->length < n)
		return (char)c == VERSION[r->length++] ? STEP_VERSION : STEP_FOREIGN;
	if (r->length == n)
		return r->length++, isdigit(c) ? STEP_VERSION : STEP_FOREIGN;
	if (c == '\r' && r->length == n + 1)
		return r->length++, STEP_VERSION;
	if (c != '\n')
		return STEP_FOREIGN;
	r->length = 0;
	r->begun = true;
	return STEP_LINE;
}

static enum step read_line(struct request *r, uint8_t c)
{
	if (c != '\n')
		return line_add(r, c), STEP_LINE;
	if (line_is_empty(r))
		return r->length = 0, after_head(r);
	if (r->length < sizeof(r->line) && r->line[r->length - 1] == '\r')
		r->length--;
	take_line(r);
	r->length = 0;
	return STEP_LINE;
}

static enum step chunk_begins(struct request *r)
{
	r->length = 0;
	return r->left ? STEP_CHUNK : STEP_TRAILER;
}

static enum step read_chunk_size(struct request *r, uint8_t c)
{
	if (!r->length)
		r->left = 0;
	if (isxdigit(c)) {
		r->length = 1;
		r->left =
			MIN(16 * r->left + (uint64_t)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10),
			    (uint64_t)LEFT_MAX);
		return STEP_CHUNK_SIZE;
	}
	if (!r->length)
		return STEP_WHOLE; /* no chunk: nobody knows where this ends */
	return c == '\n' ? chunk_begins(r) : STEP_CHUNK_MORE;
}

static enum step read_chunk_end(struct request *r, uint8_t c)
{
	if (c == '\r' && !r->length)
		return r->length = 1, STEP_CHUNK_END;
	r->length = 0;
	return c == '\n' ? STEP_CHUNK_SIZE : STEP_WHOLE;
}

static enum step read_trailer(struct request *r, uint8_t c)
{
	bool empty = line_is_empty(r);

	if (c != '\n')
		return line_add(r, c), STEP_TRAILER;
	r->length = 0;
	return empty ? STEP_WHOLE : STEP_TRAILER;
}

static enum step read_byte(struct request *r, uint8_t c)
{
	switch (r->step) {
	case STEP_METHOD:
		return read_method(r, c);
	case STEP_TARGET:
		return request_read_target(r, c);
	case STEP_VERSION:
		return read_version(r, c);
	case STEP_LINE:
		return read_line(r, c);
	case STEP_CHUNK_SIZE:
		return read_chunk_size(r, c);
	case STEP_CHUNK_MORE:
		return c == '\n' ? chunk_begins(r) : STEP_CHUNK_MORE;
	case STEP_CHUNK_END:
		return read_chunk_end(r, c);
	default:
		return read_trailer(r, c);
	}
}

/* Passes over `size` bytes or the rest of the body or chunk, whichever is less. */
static size_t read_body(struct request *r, size_t size)
{
	size_t n = (size_t)MIN((uint64_t)size, r->left);

	r->left -= n;
	if (!r->left)
		r->step = r->step == STEP_BODY ? STEP_WHOLE : STEP_CHUNK_END;
	return n;
}

enum request_state request_read(struct request *r, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size && r->step < STEP_WHOLE;) {
		if (r->step == STEP_BODY || r->step == STEP_CHUNK) {
			i += read_body(r, size - i);
			continue;
		}
		if (r->step <= STEP_LINE && ++r->head > REQUEST_HEAD_MAX)
			r->step = r->begun ? STEP_WHOLE : STEP_FOREIGN;
		else
			r->step = read_byte(r, data[i++]);
	}
	return r->step == STEP_WHOLE     ? REQUEST_WHOLE
	       : r->step == STEP_FOREIGN ? REQUEST_FOREIGN
					 : REQUEST_READING;
}
