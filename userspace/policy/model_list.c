// SPDX-License-Identifier: Apache-2.0
#include "model_list.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "../base/hash.h"

static bool list_has(const struct model_list *l, uint64_t id)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->id[i] == id)
			return true;
	return false;
}

static void list_put(struct model_list *l, uint64_t id, bool adapter)
{
	if (list_has(l, id))
		return;
	if (l->n == MODEL_LIST_MAX) {
		l->more = true;
		return;
	}
	l->adapter[l->n] = adapter;
	l->id[l->n++] = id;
}

const char *model_list_read(const char *page, size_t size, struct model_list *out)
{
	struct model_list found = {0};
	const cJSON *data, *model;
	cJSON *json;

	if (size > MODEL_LIST_PAGE)
		return "the list of models is longer than 256 KiB";
	json = cJSON_ParseWithLength(page, size);
	data = cJSON_GetObjectItemCaseSensitive(json, "data");
	if (!cJSON_IsArray(data)) {
		cJSON_Delete(json);
		return "the answer is no list of models";
	}
	cJSON_ArrayForEach (model, data) {
		const cJSON *id = cJSON_GetObjectItemCaseSensitive(model, "id");

		if (cJSON_IsString(id))
			list_put(&found, hash_text(id->valuestring),
				 cJSON_IsString(cJSON_GetObjectItemCaseSensitive(model, "parent")));
	}
	cJSON_Delete(json);
	*out = found;
	return NULL;
}

void model_list_add(struct model_list *to, const struct model_list *from)
{
	for (size_t i = 0; i < from->n; i++)
		list_put(to, from->id[i], from->adapter[i]);
	to->more = to->more || from->more;
}

bool model_list_differs(const struct model_list *a, const struct model_list *b)
{
	if (!a->n || !b->n || a->more || b->more)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (list_has(b, a->id[i]))
			return false;
	return true;
}
