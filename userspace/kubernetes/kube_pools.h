/* SPDX-License-Identifier: Apache-2.0 */
/* kube_pools.h - the pools of a Service, as the configuration file would have them. */
#ifndef PINTLE_KUBE_POOLS_H
#define PINTLE_KUBE_POOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "../config/config.h"
#include "kube_making.h"
#include "kube_objects.h"

/** Whether the label says that the Service's connections are steered, now or by `pintle mode`. */
bool kube_is_steered(const struct kube_service *s);

/* This node. */
struct kube_here {
	const char *node; /* its name; NULL: unknown */
	const char *zone; /* "": it has none, or unknown */
};

/** Adds the pools of the Service, one for each target of its ports: "NAMESPACE/NAME", and where
 * there are several targets "NAMESPACE/NAME:PORT" with a port's name. Endpoints are those that are
 * ready, and, drained, those that serve while they terminate, in the order of their names. A pool
 * without any is left out, and so left to kube-proxy.
 *
 * Endpoints have the place that they have for clients on this node, where that is known.
 *
 * `extra`, unless NULL, holds for all of them. Returns 0, and in `why`, unless it is "", for what
 * reason the Service or a port is left to kube-proxy; or -ENOMEM. */
int kube_pools_add(struct config_founds *p, const struct kube_service *s,
		   struct kube_slice *const *slices, size_t slice_count,
		   const struct kube_here *here, const struct kube_extra *extra,
		   char why[KUBE_WHY_SIZE]);

/** Whether the Service as a whole is left to kube-proxy, whatever its endpoints are; then `why`. */
bool kube_pools_leave(const struct kube_service *s, char why[KUBE_WHY_SIZE]);
/** Adds the Service's ClusterIPs with each port of that target (NULL: of any), and the prefixes
 * with such a port. Returns 0 or -ENOMEM. */
int kube_pools_frontends(struct kube_making *m, const struct kube_service *s, const char *target,
			 const struct kube_extra *extra);

/** Whether the pool's name says that it is of that Service. */
bool kube_pool_is_of(const char *pool, const char *service_key);

#endif
