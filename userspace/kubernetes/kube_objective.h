/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_objective.h - InferenceObjectives of the Gateway API Inference Extension: one for an
 * InferencePool gives the pool's class of the same name its priority. Any content is safe input
 * (fuzzed).
 */
#ifndef PINTLE_KUBE_OBJECTIVE_H
#define PINTLE_KUBE_OBJECTIVE_H

#include "kube_store.h"

struct kube_objective {
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];
	char pool[KUBE_NAME_SIZE]; /* an InferencePool of its namespace; "": another kind of pool */
	int priority;              /* as a class may have it: larger ones are cut */
};

/** Returns 0 with *out, all 0 before; or -EBADMSG with the reason in `why`. */
int kube_objective_read(const cJSON *object, struct kube_objective *out, char why[KUBE_WHY_SIZE]);

/** For a kube_store. */
/* The kind in the group llm-d.ai, and in the group that it had before. */
extern const struct kube_kind kube_objectives, kube_former_objectives;

/** Makes the keys of the pool "SPACE/POOL" (NULL: it has none) with the priorities that objectives
 * give its classes. Returns 0 with *out, which the caller frees, NULL without keys; or -ENOMEM. */
int kube_objectives_apply(const struct kube_objective *const *all, size_t count, const char *space,
			  const char *pool, const char *keys, char **out);

#endif
