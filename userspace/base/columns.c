/* SPDX-License-Identifier: Apache-2.0 */
#include "columns.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- values --------------------------------------------------------------------- */

struct value value_none(void)
{
	return (struct value){.kind = VALUE_NONE, .tone = TONE_FAINT};
}

struct value value_text(const char *text)
{
	struct value v = {.kind = VALUE_TEXT};

	snprintf(v.text, sizeof(v.text), "%s", text);
	return v;
}

struct value value_text_or_none(const char *text)
{
	return text && text[0] ? value_text(text) : value_none();
}

struct value value_count(uint64_t n)
{
	return (struct value){.kind = VALUE_COUNT, .count = n};
}

struct value value_number(enum value_kind kind, double n, bool there)
{
	assert(kind == VALUE_WHOLE || kind == VALUE_NUMBER || kind == VALUE_SHARE ||
	       kind == VALUE_SECONDS || kind == VALUE_WAIT || kind == VALUE_QUANTILE);
	if (!there || !isfinite(n))
		return value_none();
	return (struct value){.kind = kind, .number = n};
}

struct value value_bool(bool yes)
{
	return (struct value){.kind = VALUE_BOOL, .yes = yes};
}

struct value value_json(cJSON *json)
{
	if (!json)
		return value_none();
	return (struct value){.kind = VALUE_JSON, .json = json};
}

/* ---- JSON ----------------------------------------------------------------------- */

cJSON *json_count(uint64_t n)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	return cJSON_CreateRaw(text);
}

/* cJSON would print 17 digits. Six decimals are as many as the maps hold: millionths. */
cJSON *json_number(double n)
{
	char text[400];
	size_t length;

	if (!isfinite(n))
		return cJSON_CreateNull();
	length = (size_t)snprintf(text, sizeof(text), "%.6f", n);
	while (text[length - 1] == '0')
		text[--length] = '\0';
	if (text[length - 1] == '.')
		text[--length] = '\0';
	return cJSON_CreateRaw(strcmp(text, "-0") ? text : "0");
}

static cJSON *value_to_json(const struct value *v)
{
	switch (v->kind) {
	case VALUE_NONE:
		return cJSON_CreateNull();
	case VALUE_TEXT:
		return cJSON_CreateString(v->text);
	case VALUE_COUNT:
		return json_count(v->count);
	case VALUE_BOOL:
		return cJSON_CreateBool(v->yes);
	case VALUE_JSON:
		return v->json;
	default:
		return json_number(v->number);
	}
}

cJSON *columns_object(const struct columns *c, const void *row, const void *arg)
{
	cJSON *object = cJSON_CreateObject();

	for (size_t i = 0; object && i < c->count; i++) {
		struct value v;
		cJSON *item;

		if (!c->column[i].key)
			continue;
		v = c->column[i].get(row, arg);
		item = value_to_json(&v);
		if (item && cJSON_AddItemToObject(object, c->column[i].key, item))
			continue;
		cJSON_Delete(item);
		cJSON_Delete(object);
		return NULL;
	}
	return object;
}
