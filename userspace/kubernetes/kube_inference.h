/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_inference.h - InferencePools of the Gateway API Inference Extension, and their pods, found
 * by the pool's selector: each pod with each target port is an endpoint. Any content is safe input
 * (fuzzed).
 */
#ifndef PINTLE_KUBE_INFERENCE_H
#define PINTLE_KUBE_INFERENCE_H

#include "kube_pools.h"
#include "kube_store.h"

#define KUBE_MAX_POOL_PORTS 8 /* as the API has it */
#define KUBE_MAX_LABELS     64

struct kube_inference {
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];
	char *selector; /* "labelSelector=app%3Dvllm", for kube_store_new() */
	uint16_t ports[KUBE_MAX_POOL_PORTS];
	size_t port_count;
	bool fail_close; /* what happens when no endpoint is ready */
};

/** Returns 0 with *out (kube_inference_free() it); -EBADMSG with the reason in `why`; or -ENOMEM,
 * too. */
int kube_inference_read(const cJSON *object, struct kube_inference **out, char why[KUBE_WHY_SIZE]);
void kube_inference_free(struct kube_inference *p);

/* A pod, as one of a pool. */
struct kube_pool_pod {
	char name[KUBE_NAME_SIZE];
	struct addr addresses[2]; /* one for each family */
	size_t address_count;     /* 0: it has none yet */
	bool ready;
	bool terminating; /* if it is ready, it serves until it ends */
};

int kube_pool_pod_read(const cJSON *object, struct kube_pool_pod *out, char why[KUBE_WHY_SIZE]);

/* For a kube_store. */
extern const struct kube_kind kube_inferences; /* struct kube_inference */
extern const struct kube_kind kube_pods;       /* struct kube_pool_pod */

/** Adds the pool "NAMESPACE/NAME", whose frontends are those of the Services, the oldest of which
 * says the mode; `extra` as for kube_pools_add(). Returns 0, and in `why`, unless it is "", for
 * what reason there is no such pool; or -ENOMEM. */
int kube_inference_add(struct config_founds *to, const struct kube_inference *p,
		       const struct kube_service *const *services, size_t service_count,
		       const struct kube_pool_pod *const *pods, size_t pod_count,
		       const struct kube_extra *extra, char why[KUBE_WHY_SIZE]);

#endif
