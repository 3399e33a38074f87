/* SPDX-License-Identifier: Apache-2.0 */
/*
 * in_pods.h - endpoints in pods of this node, of pools that are decided by request: finds the
 * network namespace that has an endpoint's address, and makes there what the hand-off needs.
 *
 *   in the pod    pintle_hand_pod, at the device by which its packets come; a local route for each
 *                 frontend, as its packets and answers have that address; arp_announce of 2
 *   in the maps   `scopes`, the endpoint's `scope`, and the addresses at which its listener is
 * found
 *
 * All of it goes when the pool goes, and with the pod; when only the endpoint goes, with the last
 * of its connections. No descriptor of a pod's namespace is kept: it would keep the namespace.
 */
#ifndef PINTLE_IN_PODS_H
#define PINTLE_IN_PODS_H

#include "../../config/config.h"
#include "../ground.h"
#include "hand.h"
#include "../publish/publication.h"

struct in_pods;

/** Makes *out; the ground and `hand` must outlive it. Returns 0 and *out (in_pods_free() it), or
 * -errno, logged. */
int in_pods_new(const struct ground *g, const struct hand *hand, struct in_pods **out);
/** Makes, and removes, what that configuration needs. `c` and `p` are kept by reference until the
 * next call. To be called after publish() and hand_configure(). What fails is logged, and
 * in_pods_look() tries again. */
void in_pods_configure(struct in_pods *x, const struct config *c, const struct publication *p);
/** Looks for pods that came or went. To be called now and then. */
void in_pods_look(struct in_pods *x);
/** Leaves everything in place. NULL is fine. */
void in_pods_free(struct in_pods *x);

/** Removes from all pods what the Pintle whose maps these are has made there. */
void in_pods_remove(int scopes_fd, int flows_fd);

/** Removes from all network namespaces the filters of the Pintle whose map `pod_flows` that is. */
void in_pods_sweep(int flows_fd);

#endif
