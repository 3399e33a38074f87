/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_policy.h - SteeringPolicies: keys of the configuration for the pools of a Service or of an
 * InferencePool of the same namespace. Whoever may write policies in that namespace writes them, so
 * any content is safe input (fuzzed).
 */
#ifndef PINTLE_KUBE_POLICY_H
#define PINTLE_KUBE_POLICY_H

#include <pintle/abi.h>

#include "kube_condition.h"
#include "kube_store.h"

#define KUBE_GROUP_POLICY "/apis/pintle.dev/v1alpha1"
#define KUBE_MAX_TARGETS  16
#define KUBE_MAX_PREFIXES 8
/* Of spec without targetRefs and frontends, as compact JSON: an InferencePool adds its failureMode,
 * objectives add priorities, and all of it is kept for the next daemon. */
#define KUBE_MAX_KEYS_BYTES (sizeof(struct pintle_policy) - 256)

enum kube_target_kind { KUBE_TARGET_SERVICE, KUBE_TARGET_POOL, KUBE_TARGET_KINDS };

struct kube_target {
	enum kube_target_kind kind;
	char name[KUBE_NAME_SIZE]; /* in the policy's namespace */
};

enum { KUBE_ACCEPTED, KUBE_PROGRAMMED, KUBE_CONDITIONS };
extern const char *const kube_condition_names[KUBE_CONDITIONS];

struct kube_policy {
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];
	struct kube_target targets[KUBE_MAX_TARGETS];
	size_t target_count;
	char *keys;                     /* for config_parts.keys; NULL: why[] */
	bool fails_close, has_locality; /* of the keys, as in struct kube_extra */
	bool by_request;                /* they say decide: request */
	size_t model_count;             /* of their models */
	struct frontend_addr prefixes[KUBE_MAX_PREFIXES];
	size_t prefix_count;
	char why[PINTLE_WHY_SIZE]; /* why the policy as a whole does not hold; "": it may */
	struct kube_condition told[KUBE_CONDITIONS]; /* in its status; no reason: not there */
};

/** Returns 0 with *out, all 0 before (kube_policy_clear() it), also for a policy that does not
 * hold; -EBADMSG with the reason in `why`: it has not even a name; or -ENOMEM, too. */
int kube_policy_read(const cJSON *object, struct kube_policy *out, char why[KUBE_WHY_SIZE]);
void kube_policy_clear(struct kube_policy *p);

/** For a kube_store. */
extern const struct kube_kind kube_policies;

/** Returns the policy's target by that name; NULL: it has none. */
const struct kube_target *kube_policy_target(const struct kube_policy *p,
					     enum kube_target_kind kind, const char *name);

/** Returns the object that writes these conditions into the policy's status, for server-side apply,
 * as text, which the caller frees; NULL: no memory. */
char *kube_policy_status(const struct kube_policy *p,
			 const struct kube_condition conditions[KUBE_CONDITIONS]);

#endif
