// SPDX-License-Identifier: Apache-2.0
/* kube_cluster_request.c - what became of a policy's decide: request. */
#include "kube_cluster_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 4))) static void request_set(struct owner *o, const char *reason,
							      const char *fmt, ...)
{
	char why[KUBE_WHY_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (!o->request.reason || strcmp(o->request.reason, reason) != 0 ||
	    !kube_same_reason(o->request.why, why))
		o->request.since = time(NULL);
	o->request.reason = reason;
	snprintf(o->request.why, sizeof(o->request.why), "%s", why);
}

/* Why there is no pool of that name, in the policy's namespace. */
static void request_set_lost(struct owner *o, const struct config_model *m)
{
	const struct owner *s = owner_find(o->cluster, KUBE_TARGET_SERVICE, m->pool);
	const char *slash = strchr(m->pool, '/'), *name = slash ? slash + 1 : m->pool;

	if (s && s->head[0])
		request_set(o, "ModelNotFound",
			    "models: %s goes to Service %.120s, whose pods are those of Service "
			    "%.120s, which is older; name that one",
			    m->name, name, strchr(s->head, '/') + 1);
	else if (s && owner_left(s))
		request_set(
			o, "ModelNotFound",
			"models: %s goes to Service %.120s, which is left to kube-proxy: %.200s",
			m->name, name, owner_left(s));
	else
		request_set(o, "ModelNotFound",
			    "models: %s goes to %.253s, and no such Service carries the "
			    "label " KUBE_LABEL_MODE
			    ", nor is there such an InferencePool with one in front",
			    m->name, name);
}

void kube_judge_request(struct owner *o, const struct config_founds *pools,
			const struct kube_judge *judge)
{
	const struct kube_item *item = kube_policy_of(o->cluster, o->kind, o->key);
	const struct kube_policy *policy = item ? item->now : NULL;
	const struct config_model *lost = NULL;
	const char *why = NULL;

	if (!policy || !policy->by_request || !o->holding) {
		o->request.reason = NULL;
		o->request.kept = 0;
		return;
	}
	for (size_t i = o->first; i < o->first + o->count && i < pools->count; i++) {
		const char *pool = pools->all[i].name;

		if (!pools->all[i].holds)
			continue;
		why = why ?: judge->by_connection(judge->arg, pool, &o->request.kept);
		lost = lost ?: judge->lost_model(judge->arg, pool);
	}
	if (why)
		request_set(o, "DecidedByConnection",
			    "connections are decided as they come, by their addresses: %.400s",
			    why);
	else if (lost)
		request_set_lost(o, lost);
	else
		request_set(o, KUBE_BY_REQUEST,
			    "the first request of each connection of a pod says where it goes");
}

bool kube_request_lacks(const struct owner *o)
{
	return o->request.reason && strcmp(o->request.reason, KUBE_BY_REQUEST) != 0;
}
