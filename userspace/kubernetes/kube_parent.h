/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_parent.h - the parents in an InferencePool's status: what stands in front of the pool, by
 * whose controllers, and what these say of the pool. The list belongs to one writer at a time. Any
 * JSON is safe input (fuzzed).
 */
#ifndef PINTLE_KUBE_PARENT_H
#define PINTLE_KUBE_PARENT_H

#include "kube_condition.h"

#define KUBE_CONTROLLER  "pintle.dev/pintled" /* by this name an entry is pintled's */
#define KUBE_MAX_PARENTS 32                   /* as the API has it */

enum { KUBE_POOL_ACCEPTED, KUBE_POOL_RESOLVED, KUBE_POOL_CONDITIONS };

/* A Service in front of the pool. */
struct kube_parent {
	char service[KUBE_LABEL_SIZE];
	struct kube_condition conditions[KUBE_POOL_CONDITIONS];
};

/* pintled's entries. */
struct kube_parents {
	struct kube_parent *all;
	size_t count;
	bool others; /* beside them there are other controllers' */
};

/** Reads an InferencePool's. Returns 0 with *out (kube_parents_clear() it), or -ENOMEM. */
int kube_parents_read(const cJSON *object, struct kube_parents *out);
void kube_parents_clear(struct kube_parents *p);

/** Returns the entry for that Service; NULL: there is none. */
const struct kube_parent *kube_parent_of(const struct kube_parents *p, const char *service);

/** Returns the object that makes these the pool's parents, for server-side apply, as text, which
 * the caller frees; NULL: no memory. Without one it gives the list up. */
char *kube_parents_status(const char *space, const char *pool, const struct kube_parents *p);

#endif
