// SPDX-License-Identifier: Apache-2.0
#include "kube_objective.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "kube_parts.h"

#define MAX_PRIORITY 1000 /* of a class, and the least is as far below 0 */

/* Groups and kinds have defaults in the API. */
static bool is_pool(const cJSON *ref)
{
	const char *group = kube_text(ref, "group"), *kind = kube_text(ref, "kind");

	return (!group || !strcmp(group, "inference.networking.k8s.io")) &&
	       (!kind || !strcmp(kind, "InferencePool"));
}

/* One without a priority has 0, as the API says. */
static int priority_of(const cJSON *spec)
{
	const cJSON *n = kube_member(spec, "priority");
	double value = cJSON_IsNumber(n) ? n->valuedouble : 0;

	value = MIN(value, (double)MAX_PRIORITY);
	return (int)MAX(value, (double)-MAX_PRIORITY);
}

int kube_objective_read(const cJSON *object, struct kube_objective *out, char why[KUBE_WHY_SIZE])
{
	const cJSON *spec = kube_member(object, "spec"), *ref = kube_member(spec, "poolRef");
	struct kube_objective o = {.priority = priority_of(spec)};
	int err =
		kube_take_id(kube_member(object, "metadata"), o.space, o.name, sizeof(o.name), why);

	if (err)
		return err;
	if (is_pool(ref) && !kube_take_name(kube_text(ref, "name"), o.pool, sizeof(o.pool)))
		return kube_refuse(why, "spec.poolRef names no pool");
	*out = o;
	return 0;
}

static int read_objective(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	return kube_objective_read(object, to, why);
}

#define OBJECTIVES(api)                                                                            \
	{                                                                                          \
		.what = "inferenceobjectives", .called = "inferenceobjectives." api,               \
		.one = "InferenceObjective", .group = "/apis/" api, .optional = true,              \
		.size = sizeof(struct kube_objective), .read = read_objective,                     \
	}

const struct kube_kind kube_objectives = OBJECTIVES("llm-d.ai/v1alpha2");
const struct kube_kind kube_former_objectives =
	OBJECTIVES("inference.networking.x-k8s.io/v1alpha2");

/* ---- priorities ------------------------------------------------------------------------- */

static const struct kube_objective *objective_of(const struct kube_objective *const *all,
						 size_t count, const char *space, const char *pool,
						 const char *class)
{
	for (size_t i = 0; class && i < count; i++)
		if (!strcmp(all[i]->name, class) && !strcmp(all[i]->pool, pool) &&
		    !strcmp(all[i]->space, space))
			return all[i];
	return NULL;
}

static bool set_priority(cJSON *class, int priority)
{
	cJSON *n = cJSON_CreateNumber(priority);
	bool done = n && (kube_member(class, "priority")
				  ? cJSON_ReplaceItemInObjectCaseSensitive(class, "priority", n)
				  : cJSON_AddItemToObject(class, "priority", n));

	if (!done)
		cJSON_Delete(n);
	return done;
}

int kube_objectives_apply(const struct kube_objective *const *all, size_t count, const char *space,
			  const char *pool, const char *keys, char **out)
{
	cJSON *root, *class;
	bool whole = true;

	*out = NULL;
	if (!keys)
		return 0;
	root = cJSON_Parse(keys);
	whole = root;
	cJSON_ArrayForEach (class, kube_member(root, "classes")) {
		const struct kube_objective *o =
			objective_of(all, count, space, pool, kube_text(class, "name"));

		if (o)
			whole &= set_priority(class, o->priority);
	}
	*out = whole ? cJSON_PrintUnformatted(root) : NULL;
	cJSON_Delete(root);
	return *out ? 0 : -ENOMEM;
}
