// SPDX-License-Identifier: Apache-2.0
#include "kube_parent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "kube_parts.h"

static const char *const types[KUBE_POOL_CONDITIONS] = {
	[KUBE_POOL_ACCEPTED] = "Accepted",
	[KUBE_POOL_RESOLVED] = "ResolvedRefs",
};

/* ---- reading --------------------------------------------------------------------------- */

/* What CRDs before the group's v1 put where no controller had written. */
static bool is_placeholder(const cJSON *ref)
{
	return kube_text_is(ref, "kind", "Status") && kube_text_is(ref, "name", "default");
}

/* Reads an entry of pintled's; false: it is none. */
static bool read_own(const cJSON *from, struct kube_parent *out)
{
	const cJSON *ref = kube_member(from, "parentRef");

	*out = (struct kube_parent){0};
	if (!kube_text_is(from, "controllerName", KUBE_CONTROLLER) ||
	    !kube_text_is(ref, "kind", "Service") ||
	    !kube_take_name(kube_text(ref, "name"), out->service, sizeof(out->service)))
		return false;
	kube_conditions_read(from, types, KUBE_POOL_CONDITIONS, out->conditions);
	return true;
}

void kube_parents_clear(struct kube_parents *p)
{
	free(TAKE_PTR(p->all));
}

int kube_parents_read(const cJSON *object, struct kube_parents *out)
{
	const cJSON *list = kube_member(kube_member(object, "status"), "parents"), *one;
	struct kube_parents p = {0};
	size_t room = 0;

	cJSON_ArrayForEach (one, list) {
		if (is_placeholder(kube_member(one, "parentRef")))
			continue;
		if (!ROOM_FOR_ONE(p.all, p.count, room, 1)) {
			kube_parents_clear(&p);
			return -ENOMEM;
		}
		if (p.count < KUBE_MAX_PARENTS && read_own(one, &p.all[p.count]))
			p.count++;
		else
			p.others = true;
	}
	*out = p;
	return 0;
}

const struct kube_parent *kube_parent_of(const struct kube_parents *p, const char *service)
{
	for (size_t i = 0; i < p->count; i++)
		if (!strcmp(p->all[i].service, service))
			return &p->all[i];
	return NULL;
}

/* ---- writing --------------------------------------------------------------------------- */

static bool add_parent(cJSON *list, const char *space, const struct kube_parent *p)
{
	cJSON *one = cJSON_CreateObject(), *ref = cJSON_AddObjectToObject(one, "parentRef");

	return cJSON_AddItemToArray(list, one) && cJSON_AddStringToObject(ref, "group", "") &&
	       cJSON_AddStringToObject(ref, "kind", "Service") &&
	       cJSON_AddStringToObject(ref, "namespace", space) &&
	       cJSON_AddStringToObject(ref, "name", p->service) &&
	       cJSON_AddStringToObject(one, "controllerName", KUBE_CONTROLLER) &&
	       kube_conditions_add(one, types, KUBE_POOL_CONDITIONS, p->conditions);
}

static bool add_parents(cJSON *root, const char *space, const struct kube_parents *p)
{
	cJSON *status = cJSON_AddObjectToObject(root, "status");
	cJSON *list = cJSON_AddArrayToObject(status, "parents");
	bool whole = list;

	for (size_t i = 0; whole && i < p->count; i++)
		whole = add_parent(list, space, &p->all[i]);
	return whole;
}

/* An applier that names a field no more removes it, and may be followed by another. */
char *kube_parents_status(const char *space, const char *pool, const struct kube_parents *p)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
	char *text = NULL;

	if (cJSON_AddStringToObject(root, "apiVersion", "inference.networking.k8s.io/v1") &&
	    cJSON_AddStringToObject(root, "kind", "InferencePool") &&
	    cJSON_AddStringToObject(metadata, "namespace", space) &&
	    cJSON_AddStringToObject(metadata, "name", pool) &&
	    (!p->count || add_parents(root, space, p)))
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}
