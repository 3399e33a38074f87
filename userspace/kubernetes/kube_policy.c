// SPDX-License-Identifier: Apache-2.0
#include "kube_policy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/text.h"
#include "../base/util.h"
#include "../config/config.h"
#include "kube_parts.h"

const char *const kube_condition_names[KUBE_CONDITIONS] = {
	[KUBE_ACCEPTED] = "Accepted",
	[KUBE_PROGRAMMED] = "Programmed",
};

static const struct {
	const char *kind, *group;
} target_kinds[] = {
	[KUBE_TARGET_SERVICE] = {"Service", ""},
	[KUBE_TARGET_POOL] = {"InferencePool", "inference.networking.k8s.io"},
};

/* ---- spec ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static int refuse(struct kube_policy *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int kube_policy_read_target(struct kube_policy *p, const cJSON *from)
{
	const char *kind = kube_text(from, "kind"), *group = kube_text(from, "group");
	struct kube_target *t = &p->targets[p->target_count];

	for (size_t i = 0; i < ARRAY_SIZE(target_kinds); i++) {
		if (!kind || strcmp(kind, target_kinds[i].kind) != 0)
			continue;
		if (group && strcmp(group, target_kinds[i].group) != 0)
			return refuse(p,
				      "one of spec.targetRefs has another group than %s has; write "
				      "\"%s\"",
				      kind, target_kinds[i].group);
		t->kind = (enum kube_target_kind)i;
		if (!kube_take_name(kube_text(from, "name"), t->name, sizeof(t->name)))
			return refuse(p, "one of spec.targetRefs has no name; write that of a %s",
				      kind);
		if (kube_policy_target(p, t->kind, t->name))
			return refuse(p, "spec.targetRefs has %s %s twice; remove one", kind,
				      t->name);
		p->target_count++;
		return 0;
	}
	return refuse(p, "one of spec.targetRefs has another kind; write Service or InferencePool");
}

static int read_targets(struct kube_policy *p, const cJSON *spec)
{
	const cJSON *all = kube_member(spec, "targetRefs"), *one;
	int err = 0;

	if (!cJSON_IsArray(all) || !cJSON_GetArraySize(all))
		return refuse(p, "spec.targetRefs names no target; write a list of Services or "
				 "InferencePools, each with kind and name");
	cJSON_ArrayForEach (one, all) {
		if (!err && p->target_count == KUBE_MAX_TARGETS)
			err = refuse(p,
				     "spec.targetRefs has more than %d targets; write another "
				     "policy",
				     KUBE_MAX_TARGETS);
		err = err ?: kube_policy_read_target(p, one);
	}
	return err;
}

static int read_prefixes(struct kube_policy *p, const cJSON *spec)
{
	const cJSON *all = kube_member(spec, "frontends"), *one;

	if (all && !cJSON_IsArray(all))
		return refuse(p, "spec.frontends is no list; write one of prefixes, each with a "
				 "port");
	cJSON_ArrayForEach (one, all) {
		const char *text = cJSON_GetStringValue(one), *cure = NULL;

		if (p->prefix_count == KUBE_MAX_PREFIXES)
			return refuse(p, "spec.frontends has more than %d; remove some",
				      KUBE_MAX_PREFIXES);
		if (!text || addr_parse_frontend(text, &p->prefixes[p->prefix_count], &cure))
			return refuse(p, "one of spec.frontends is no prefix and port; write one "
					 "as in 10.99.0.0/24:8000");
		p->prefix_count++;
	}
	return 0;
}

/* "llama", or "llama:http" where a Service has a pool for each of its targets. */
static bool kube_policy_is_pool(const char *text)
{
	const char *port = strchrnul(text, ':');
	char name[KUBE_NAME_SIZE], taken[KUBE_NAME_SIZE];

	return (size_t)snprintf(name, sizeof(name), "%.*s", (int)(port - text), text) <
		       sizeof(name) &&
	       kube_take_name(name, taken, sizeof(taken)) &&
	       (!*port || kube_take_name(port + 1, taken, KUBE_PORT_SIZE));
}

/* Writes the policy's namespace before the names of `models`, as pools of the cluster have it: no
 * name leads to another namespace. */
static int kube_policy_read_models(struct kube_policy *p, cJSON *keys)
{
	cJSON *models = cJSON_GetObjectItemCaseSensitive(keys, "models"), *one;

	if (!cJSON_IsObject(models))
		return 0;
	cJSON_ArrayForEach (one, models) {
		_cleanup_free_ char *pool = NULL;
		const char *to = cJSON_GetStringValue(one);

		if (!to || !kube_policy_is_pool(to))
			return refuse(p,
				      "models: %.127s goes to \"%.127s\"; write the name of a "
				      "Service or an InferencePool of this namespace",
				      one->string, to ?: "");
		if (asprintf(&pool, "%s/%s", p->space, to) < 0) {
			pool = NULL;
			return -ENOMEM;
		}
		if (!cJSON_SetValuestring(one, pool))
			return -ENOMEM;
		p->model_count++;
	}
	return 0;
}

/* What is neither a target nor a frontend. */
static int read_keys(struct kube_policy *p, const cJSON *spec)
{
	cJSON *keys = cJSON_Duplicate(spec, true);
	int err;

	cJSON_DeleteItemFromObjectCaseSensitive(keys, "targetRefs");
	cJSON_DeleteItemFromObjectCaseSensitive(keys, "frontends");
	p->fails_close = kube_text_is(keys, "failureMode", "FailClose");
	p->has_locality = kube_member(keys, "locality");
	p->by_request = kube_text_is(keys, "decide", "request");
	err = kube_policy_read_models(p, keys);
	p->keys = err || !keys ? NULL : cJSON_PrintUnformatted(keys);
	cJSON_Delete(keys);
	if (!err && !p->keys)
		err = -ENOMEM;
	if (!err && strlen(p->keys) > KUBE_MAX_KEYS_BYTES)
		err = refuse(p, "spec has more than %zu bytes of keys; remove some",
			     KUBE_MAX_KEYS_BYTES);
	if (!err)
		err = config_policy_check(p->keys, p->why);
	text_make_printable(p->why, '?');
	return err;
}

static int read_spec(struct kube_policy *p, const cJSON *spec)
{
	if (!cJSON_IsObject(spec))
		return refuse(p, "it has no spec; write one with targetRefs");
	return read_targets(p, spec) ?: read_prefixes(p, spec) ?: read_keys(p, spec);
}

/* ---- status ---------------------------------------------------------------------------- */

char *kube_policy_status(const struct kube_policy *p,
			 const struct kube_condition conditions[KUBE_CONDITIONS])
{
	cJSON *root = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
	cJSON *status = cJSON_AddObjectToObject(root, "status");
	bool whole = cJSON_AddStringToObject(root, "apiVersion", "pintle.dev/v1alpha1") &&
		     cJSON_AddStringToObject(root, "kind", "SteeringPolicy") &&
		     cJSON_AddStringToObject(metadata, "namespace", p->space) &&
		     cJSON_AddStringToObject(metadata, "name", p->name) &&
		     kube_conditions_add(status, kube_condition_names, KUBE_CONDITIONS, conditions);
	char *text = NULL;

	if (whole)
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}

/* ---- the whole ------------------------------------------------------------------------- */

const struct kube_target *kube_policy_target(const struct kube_policy *p,
					     enum kube_target_kind kind, const char *name)
{
	for (size_t i = 0; i < p->target_count; i++)
		if (p->targets[i].kind == kind && !strcmp(p->targets[i].name, name))
			return &p->targets[i];
	return NULL;
}

void kube_policy_clear(struct kube_policy *p)
{
	free(TAKE_PTR(p->keys));
}

int kube_policy_read(const cJSON *object, struct kube_policy *out, char why[KUBE_WHY_SIZE])
{
	int err = kube_take_id(kube_member(object, "metadata"), out->space, out->name,
			       sizeof(out->name), why);

	if (err)
		return err;
	err = read_spec(out, kube_member(object, "spec"));
	if (err)
		kube_policy_clear(out);
	if (err == -ENOMEM) {
		snprintf(why, KUBE_WHY_SIZE, "out of memory");
		return err;
	}
	kube_conditions_read(kube_member(object, "status"), kube_condition_names, KUBE_CONDITIONS,
			     out->told);
	return 0;
}

static int read_policy(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	return kube_policy_read(object, to, why);
}

static void clear_policy(void *now)
{
	kube_policy_clear(now);
}

const struct kube_kind kube_policies = {
	.what = "steeringpolicies",
	.one = "SteeringPolicy",
	.group = KUBE_GROUP_POLICY,
	.optional = true,
	.size = sizeof(struct kube_policy),
	.read = read_policy,
	.clear = clear_policy,
};
