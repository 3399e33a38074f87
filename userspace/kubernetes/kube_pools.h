/* SPDX-License-Identifier: Apache-2.0 */
/* kube_pools.h - the pools of a Service, as the configuration file would have them. */
#ifndef PINTLE_KUBE_POOLS_H
#define PINTLE_KUBE_POOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "../config/config.h"
#include "kube_making.h"
#include "kube_objects.h"

/** Returns whether the label says that the Service's connections are steered, now or by `pintle
 * mode`. */
bool kube_is_steered(const struct kube_service *s);

/* This node. */
struct kube_here {
	const char *node; /* its name; NULL: unknown */
	const char *zone; /* "": it has none, or unknown */
	/* The pods that run on it; NULL: unknown. */
	const struct kube_pod *const *pods;
	size_t pod_count;
	/* The slices of the DCGM exporter's Service, of all nodes. */
	const struct kube_slice *const *gpus;
	size_t gpus_count;
};

/* What a Service's pools are made of; for an InferencePool, its pods alone. */
struct kube_parts {
	const struct kube_here *here;
	/* The Services of the same pods, the oldest first, with the Service itself; NULL: it alone.
	 * Of all of them are `slices`. */
	const struct kube_service *const *group;
	size_t group_count;
	const struct kube_slice *const *slices;
	size_t slice_count;
	/* The pods of its selector in its namespace, whoever wrote the slices; only for
	 * KUBE_INTERCEPT. */
	const struct kube_pod *const *pods;
	size_t pod_count;
	const char *pods_missing; /* why they are not known; NULL: they are */
};

/* What is not as the objects ask, and why; "": all is. */
struct kube_whys {
	char left[KUBE_WHY_SIZE];   /* the Service or a port is left to kube-proxy */
	bool idle;                  /* for want of a ready pod, with which nothing is wrong */
	char direct[KUBE_WHY_SIZE]; /* connections to pods' own addresses are left alone */
};

/** Adds the pools of the Service, one for each target of its ports: "NAMESPACE/NAME", and where
 * there are several targets "NAMESPACE/NAME:PORT" with a port's name. A target that an older
 * Service of the same pods has is that one's pool, and the ports are frontends of it. Endpoints are
 * those that are ready, and, drained, those that serve while they terminate, in the order of their
 * names. A pool without any is left out, and so left to kube-proxy, unless it fails close.
 *
 * Endpoints have the place that they have for clients on this node, where that is known.
 *
 * `extra`, unless NULL, holds for all of them. Returns 0 with *whys, or -ENOMEM. */
int kube_pools_add(struct config_founds *p, const struct kube_service *s,
		   const struct kube_parts *parts, const struct kube_extra *extra,
		   struct kube_whys *whys);

/** Has connections to the members' own addresses decided, if the Service asks for that and each
 * address is that of a pod of its own: else whoever writes slices could draw the connections to
 * others' pods. Its pods on this node, and those that it names, are spared. Returns 0, and in `why`
 * what is against it, "": nothing; or -ENOMEM. To be called once the members are there. */
int kube_pools_intercept(struct kube_making *m, const struct kube_service *s,
			 const struct kube_parts *parts, char why[KUBE_WHY_SIZE]);
/** Returns the page with the figures of that node's GPUs; "": there is none. Returns buf. */
const char *kube_gpus(const struct kube_here *here, const char *node, char buf[KUBE_PAGE_SIZE]);
/** Returns where that node is, seen from this one: enum config_place_of. */
uint32_t kube_place(const struct kube_here *here, const char *node, const char *zone);

/** Returns whether the Service as a whole is left to kube-proxy, whatever its endpoints are; then
 * `why`. */
bool kube_pools_leave(const struct kube_service *s, char why[KUBE_WHY_SIZE]);
/** Adds the Service's ClusterIPs with each of its ports, and the prefixes with such a port. Returns
 * 0 or -ENOMEM. */
int kube_pools_frontends(struct kube_making *m, const struct kube_service *s,
			 const struct kube_extra *extra);
/** Returns whether both Services have the same pods, and ask for the same: their frontends may be
 * of one pool. */
bool kube_pools_alike(const struct kube_service *a, const struct kube_service *b);

/** Returns whether the pool's name says that it is of that Service. */
bool kube_pool_is_of(const char *pool, const char *service_key);

#endif
