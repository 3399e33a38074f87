// SPDX-License-Identifier: Apache-2.0
#include "kube_condition.h"

#include <stdio.h>
#include <string.h>

#include "kube_parts.h"

static void condition_read_one(const cJSON *from, struct kube_condition *c)
{
	c->status = kube_text_is(from, "status", "True");
	c->generation = kube_count(kube_member(from, "observedGeneration"));
	snprintf(c->reason, sizeof(c->reason), "%s", kube_text(from, "reason") ?: "");
	snprintf(c->message, sizeof(c->message), "%s", kube_text(from, "message") ?: "");
	kube_take_time(kube_text(from, "lastTransitionTime"), c->since);
}

void kube_conditions_read(const cJSON *from, const char *const *types, size_t count,
			  struct kube_condition *out)
{
	const cJSON *one;

	cJSON_ArrayForEach (one, kube_member(from, "conditions"))
		for (size_t i = 0; i < count; i++)
			if (kube_text_is(one, "type", types[i]))
				condition_read_one(one, &out[i]);
}

bool kube_conditions_add(cJSON *to, const char *const *types, size_t count,
			 const struct kube_condition *conditions)
{
	cJSON *list = cJSON_AddArrayToObject(to, "conditions");
	bool whole = list;

	for (size_t i = 0; whole && i < count; i++) {
		const struct kube_condition *c = &conditions[i];
		cJSON *one = cJSON_CreateObject();

		whole = cJSON_AddItemToArray(list, one) &&
			cJSON_AddStringToObject(one, "type", types[i]) &&
			cJSON_AddStringToObject(one, "status", c->status ? "True" : "False") &&
			cJSON_AddStringToObject(one, "reason", c->reason) &&
			cJSON_AddStringToObject(one, "message", c->message) &&
			cJSON_AddStringToObject(one, "lastTransitionTime", c->since) &&
			cJSON_AddNumberToObject(one, "observedGeneration", (double)c->generation);
	}
	return whole;
}

void kube_conditions_date(struct kube_condition *conditions, size_t count,
			  const struct kube_condition *told, int64_t generation, const char *now)
{
	for (size_t i = 0; i < count; i++) {
		struct kube_condition *c = &conditions[i];
		bool same = told && told[i].reason[0] && told[i].status == c->status &&
			    told[i].since[0];

		c->generation = generation;
		snprintf(c->since, sizeof(c->since), "%s", same ? told[i].since : now);
	}
}
