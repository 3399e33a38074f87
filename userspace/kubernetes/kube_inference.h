/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_inference.h - InferencePools of the Gateway API Inference Extension, and their pods, found
 * by the pool's selector: each pod with each target port is an endpoint. Any content is safe input
 * (fuzzed).
 */
#ifndef PINTLE_KUBE_INFERENCE_H
#define PINTLE_KUBE_INFERENCE_H

#include "kube_parent.h"
#include "kube_pools.h"
#include "kube_store.h"

#define KUBE_MAX_POOL_PORTS 8 /* as the API has it */

struct kube_inference {
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];
	char *selector; /* "labelSelector=app%3Dvllm", for kube_store_new() */
	uint16_t ports[KUBE_MAX_POOL_PORTS];
	size_t port_count;
	bool fail_close; /* what happens when no endpoint is ready */
	struct kube_parents parents;
};

/** Returns 0 with *out (kube_inference_clear() it); -EBADMSG with the reason in `why`; or -ENOMEM,
 * too. */
int kube_inference_read(const cJSON *object, struct kube_inference *out, char why[KUBE_WHY_SIZE]);
void kube_inference_clear(struct kube_inference *p);

/** For a kube_store. */
extern const struct kube_kind kube_inferences;

/** Adds the pool "NAMESPACE/NAME", whose frontends are those of the Services, the oldest of which
 * says the mode and what is intercepted; `parts` has the pool's pods, and `extra` is as for
 * kube_pools_add(). Returns 0 with *whys, or -ENOMEM. */
int kube_inference_add(struct config_founds *to, const struct kube_inference *p,
		       const struct kube_service *const *services, size_t service_count,
		       const struct kube_parts *parts, const struct kube_extra *extra,
		       struct kube_whys *whys);

#endif
