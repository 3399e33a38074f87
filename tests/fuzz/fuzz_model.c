/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_model.c - any bytes as a body, and the model that it names and the place of its prompt by
 * request_model.bpf.h, compared with cJSON where that takes the body for an object. What is behind
 * the body changes nothing. Read from its end, the object has the keys that it has from its
 * beginning. The members that name a session, by request_body.bpf.h, are those of cJSON, too.
 *
 * sources:
 */
#include <cjson/cJSON.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "handoff/request_body.bpf.h"
#include "fuzz.h"

/* With all words, or without those that are skipped. */
static void scan(struct model_scan *s, const uint8_t *data, size_t size, bool all, int beyond)
{
	for (uint32_t at = 0; at < size; at += 8) {
		uint64_t word;

		memset(&word, beyond, sizeof(word));
		memcpy(&word, data + at, MIN(size - at, sizeof(word)));
		if ((all || !model_skips(s, word)) && model_word(s, at, word))
			break;
	}
}

static const char *name_in(struct model_scan *s, const uint8_t *data, size_t size, bool chunked,
			   bool all, int beyond)
{
	model_begin(s, (uint32_t)size, chunked);
	scan(s, data, size, all, beyond);
	return model_end(s) ? s->key.name : "";
}

static size_t prompt_in(struct model_scan *s, const uint8_t *data, size_t size, bool all,
			int beyond)
{
	model_begin_prompt(s, (uint32_t)size);
	scan(s, data, size, all, beyond);
	return s->state == MODEL_FOUND ? s->length : 0;
}

static bool can_be_known(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++)
		if (name[n] < ' ' || name[n] > '~')
			return false;
	return n && n < PINTLE_MODEL_SIZE;
}

/* The first key that is called so; cJSON keeps them all. */
static const cJSON *model_of(const cJSON *object)
{
	const cJSON *item;

	cJSON_ArrayForEach (item, object) {
		if (item->string && !strcmp(item->string, "model"))
			return item;
	}
	return NULL;
}

/* cJSON takes control characters, ends texts at an escaped NUL, and takes "\\u1" for one. */
static bool is_odd(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((uint8_t)text[i] < ' ' || (uint8_t)text[i] > '~')
			return true;
	for (const char *at = strstr(text, "\\u"); at; at = strstr(at + 2, "\\u"))
		if (strspn(at + 2, "0123456789abcdefABCDEF") < 4 || !strncmp(at + 2, "0000", 4))
			return true;
	return false;
}

#define MARK "\xef\xbb\xbf" /* cJSON skips it, too */

static bool is_prompt(const char *key)
{
	return !strcmp(key, "messages") || !strcmp(key, "prompt") || !strcmp(key, "input") ||
	       !strcmp(key, "inputs");
}

/* cJSON_Compare() looks keys up by name, so an object that has one twice differs from itself. */
static bool is_same(const cJSON *a, const cJSON *b)
{
	_cleanup_free_ char *x = cJSON_PrintUnformatted(a), *y = cJSON_PrintUnformatted(b);

	return x && y && !strcmp(x, y);
}

/* The first prompt is where it was found, and behind the model. */
static void compare_prompt(const cJSON *object, const char *text, size_t at, const char *before)
{
	const char *model = "";
	const cJSON *item;
	cJSON *found;

	cJSON_ArrayForEach (item, object) {
		if (!item->string || is_prompt(item->string))
			break;
		if (!strcmp(item->string, "model") && cJSON_IsString(item))
			model = item->valuestring;
	}
	PROMISE(!!item == !!at);
	if (!item)
		return;
	found = cJSON_ParseWithOpts(text + at, NULL, false);
	PROMISE(is_same(found, item));
	PROMISE(!can_be_known(model) || !strcmp(before, model));
	cJSON_Delete(found);
}

/* Returns the offset behind the first comma of the object itself among the last `seen` bytes, or 0.
 */
static size_t first_key(const uint8_t *data, size_t size, size_t seen)
{
	bool string = false, escaped = false;
	int depth = 0;

	for (size_t i = 0; i < size; i++) {
		uint8_t c = data[i];

		if (string) {
			string = escaped || c != '"';
			escaped = !escaped && c == '\\';
		} else if (c == '"') {
			string = true;
		} else if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ',' && depth == 1 && i >= size - seen) {
			return i + 1;
		}
	}
	return 0;
}

static void compare_last(const uint8_t *data, size_t size)
{
	/* Windows of any size, which the input itself draws. */
	size_t step = 1 + data[size / 2] % 61;

	for (size_t seen = 1; seen <= size; seen += step) {
		struct model_last last = {0};
		size_t key = first_key(data, size, seen);

		for (size_t at = seen; at-- > 0;)
			if (model_last_byte(&last, (uint32_t)at, data[size - seen + at]))
				break;
		PROMISE(last.key == (key ? key - (size - seen) : 0));
	}
}

static void compare(const char *name, const struct model_scan *prompt, const uint8_t *data,
		    size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	size_t mark = size > 3 && !memcmp(data, MARK, 3) ? 3 : 0;
	const char *end = NULL;
	cJSON *body;

	if (!text || is_odd(text + mark, size - mark))
		return;
	body = cJSON_ParseWithOpts(text, &end, false);
	if (cJSON_IsObject(body)) {
		const cJSON *model = model_of(body);
		bool known = cJSON_IsString(model) && can_be_known(model->valuestring);

		PROMISE(!strcmp(name, known ? model->valuestring : ""));
		compare_prompt(body, text, prompt->state == MODEL_FOUND ? prompt->length : 0,
			       (const char *)prompt->before);
		if (strspn(end, " \t\r\n") == strlen(end))
			compare_last(data, size);
	}
	cJSON_Delete(body);
}

/* ---- sessions -------------------------------------------------------------------- */

static const struct pintle_asked asked = {
	.headers = {{"BODY"}, {"BODY"}, {"BODY"}, {"BODY"}},
	.parts = {{"model"}, {"user"}, {"a.user"}, {"\x7f"}},
	.in_body = 1,
};

/* Puts the body behind headers of some length, and `beyond` behind it. */
static void body_scan(struct request_scan *s, const uint8_t *data, size_t size, int beyond)
{
	request_begin(s, 3, REQUEST_MAX);
	memset(s->bytes, beyond, sizeof(s->bytes));
	s->known = REQUEST_ENDED | REQUEST_LENGTH;
	s->line = 40 + data[0] % 8;
	s->length = (uint32_t)MIN(size, (size_t)(REQUEST_MAX - s->line));
	memcpy(s->bytes + s->line, data, s->length);
	s->size = s->line + s->length + (beyond ? 1 : 0);
	body_read(s, &asked);
}

/* The first member of the object that is a string and called so, behind `outer`. */
static const cJSON *member(const cJSON *object, const char *outer, const char *name)
{
	char whole[PINTLE_HEADER_SIZE + 1];
	const cJSON *item, *in;

	cJSON_ArrayForEach (item, object) {
		if (strlen(outer) + strlen(item->string ?: "") >= sizeof(whole) - 1)
			continue;
		snprintf(whole, sizeof(whole), "%s%s", outer, item->string ?: "");
		if (cJSON_IsString(item) && !strcmp(whole, name))
			return item;
		strcat(whole, ".");
		in = !*outer && cJSON_IsObject(item) ? member(item, whole, name) : NULL;
		if (in)
			return in;
	}
	return NULL;
}

static void compare_body(const struct request_scan *s, const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	size_t mark = size > 3 && !memcmp(data, MARK, 3) ? 3 : 0;
	cJSON *body;

	if (!text || is_odd(text + mark, size - mark) || size > BODY_VALUE_MAX)
		return;
	body = cJSON_ParseWithOpts(text, NULL, false);
	for (uint32_t i = 0; cJSON_IsObject(body) && asked.headers[i].name[0]; i++) {
		const cJSON *item = member(body, "", asked.parts[i].name);
		struct request_span at = s->named[i];
		const char *value = (const char *)s->bytes + at.from;

		PROMISE(!!item == !!at.to);
		if (item && !memchr(value, '\\', at.to - at.from))
			PROMISE(strlen(item->valuestring) == at.to - at.from &&
				!memcmp(item->valuestring, value, at.to - at.from));
		if (i + 1 == asked.in_body && item && *item->valuestring)
			break; /* the others are not looked for */
	}
	cJSON_Delete(body);
}

static void sessions(const uint8_t *data, size_t size)
{
	static struct request_scan one, other;

	body_scan(&one, data, size, 0);
	body_scan(&other, data, size, '"');
	PROMISE(!memcmp(one.named, other.named, sizeof(one.named)));
	for (uint32_t i = 0; i < PINTLE_MAX_ASKED_KEYS; i++) {
		struct request_span at = one.named[i];

		PROMISE(!at.to || (at.from > one.line && at.from <= at.to && at.to < one.size &&
				   one.bytes[at.from - 1] == '"' && one.bytes[at.to] == '"'));
	}
	compare_body(&one, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model_scan one, other;

	if (!size || size > REQUEST_MAX)
		return 0;
	for (int chunked = 0; chunked < 2; chunked++) {
		const char *a = name_in(&one, data, size, chunked, false, 0);
		const char *b = name_in(&other, data, size, chunked, true, '"');

		PROMISE(!strcmp(a, b) && (!*a || can_be_known(a)));
		PROMISE(!*a || !memcmp(a + strlen(a), (char[PINTLE_MODEL_SIZE]){0},
				       PINTLE_MODEL_SIZE - strlen(a)));
	}
	PROMISE(prompt_in(&one, data, size, true, '"') == prompt_in(&other, data, size, false, 0));
	PROMISE(!memcmp(one.before, other.before, sizeof(one.before)));
	compare(name_in(&one, data, size, false, false, 0), &other, data, size);
	sessions(data, size);
	return 0;
}
