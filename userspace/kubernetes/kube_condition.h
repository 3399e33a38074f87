/* SPDX-License-Identifier: Apache-2.0 */
/* kube_condition.h - conditions in an object's status. Any JSON is safe input (fuzzed). */
#ifndef PINTLE_KUBE_CONDITION_H
#define PINTLE_KUBE_CONDITION_H

#include <pintle/abi.h>

#include "kube_objects.h"

/* What the API server has of a condition: as pintled wrote it, or somebody else. */
struct kube_condition {
	bool status;
	char reason[64];
	char message[PINTLE_WHY_SIZE];
	char since[KUBE_TIME_SIZE]; /* lastTransitionTime */
	int64_t generation;
};

/** Reads the conditions of these types from the list "conditions" of `from`, into `out`, which is
 * all 0 before; one that is not there has no reason then. */
void kube_conditions_read(const cJSON *from, const char *const *types, size_t count,
			  struct kube_condition *out);

/** Adds them to `to` as its list "conditions". Returns false without memory. */
bool kube_conditions_add(cJSON *to, const char *const *types, size_t count,
			 const struct kube_condition *conditions);

/** Sets the generation and lastTransitionTime of what is to be written: the time that `told`, what
 * the API server has, says for the same status; else `now`. */
void kube_conditions_date(struct kube_condition *conditions, size_t count,
			  const struct kube_condition *told, int64_t generation, const char *now);

#endif
