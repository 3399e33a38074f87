/* SPDX-License-Identifier: Apache-2.0 */
/* cluster.h - the pools that pintled finds in a Kubernetes cluster. */
#ifndef PINTLE_CLUSTER_H
#define PINTLE_CLUSTER_H

#include <uv.h>

#include "../../config/config.h"
#include "../../kubernetes/kube_cluster.h"
#include "../../kubernetes/kube_store.h"

struct cluster;
struct state;

/** Finds out where the API server is, by the configuration and by what a kubelet gives to a pod.
 * Asks it nothing yet. Returns 0 with *out (cluster_free() it), which is NULL where there is no
 * Kubernetes; or -errno, logged. */
int cluster_new(const struct config *c, struct cluster **out);
/** Begins to watch. `changed` is called on the loop when cluster_pools() may have changed. Returns
 * 0, or -errno, logged. */
int cluster_start(struct cluster *c, uv_loop_t *loop, void (*changed)(void *arg), void *arg);
/** Begins to watch the pods of this node, once cluster_start() succeeded. `changed` is called on
 * the loop when cluster_pods() may have changed. Returns 0, or -errno, logged. */
int cluster_watch_pods(struct cluster *c, void (*changed)(void *arg), void *arg);
/** Begins to watch the marker that takes Pintle off all nodes (kube_removal.h), instead of
 * cluster_start(), or once that succeeded. `stands`: whether it stood for this node before.
 * `changed` is called on the loop when cluster_removed() has changed. Returns 0, or -errno, logged.
 */
int cluster_watch_removal(struct cluster *c, uv_loop_t *loop, bool stands,
			  void (*changed)(void *arg), void *arg);
bool cluster_removed(const struct cluster *c);
/** Lets the cluster know that this node is detached. */
void cluster_detached(struct cluster *c);
/** Frees it; the loop must then run until it has no handles left. NULL is fine. */
void cluster_free(struct cluster *c);

/** Takes up the pools that are pinned: they stand for those of the cluster until it was asked. `s`:
 * what is pinned; NULL: nothing. Returns 0 or -errno, logged. */
int cluster_restore(struct cluster *c, const struct state *s);

/** Says in an Event of this node why it does not steer. `why` must stay valid. */
void cluster_tell_node(struct cluster *c, const char *why);

/** Copies the pools, as they are known. Returns 0 with *out (config_founds_free() it), or -ENOMEM,
 * logged. */
int cluster_pools(struct cluster *c, struct config_founds *out);

/** Returns the pods of this node, as struct kube_pod; NULL: they are not watched. `c` may be
 * NULL. */
const struct kube_store *cluster_pods(const struct cluster *c);
/** Returns whether they are known, with what their namespaces say of them. `c` may be NULL. */
bool cluster_pods_known(const struct cluster *c);
/** Returns whether the pod's connections go on as they came. */
bool cluster_left_alone(const struct cluster *c, const struct kube_pod *pod);
/** Returns what this node is called in the cluster. */
const char *cluster_node(const struct cluster *c);

/** Takes note of how much room the pools of the configuration file need, since the cluster's get
 * the rest, and of where policies may name frontends. `c` may be NULL. */
void cluster_room(struct cluster *c, const struct config *config);
/** Takes what the configuration made of the pools, and whether it runs: for conditions and Events.
 * `c` may be NULL. */
void cluster_judged(struct cluster *c, const struct config_founds *pools, bool applied,
		    const struct kube_judge *judge);
/** Returns whether what was said then is as it was, and may be looked at again. `c` may be NULL. */
bool cluster_is_judged(const struct cluster *c);

/* For /metrics and `pintle status`. All 0 where there is no Kubernetes. */
struct cluster_figures {
	bool there;  /* there is a Kubernetes */
	bool well;   /* the newest request of each watch succeeded */
	bool listed; /* each list was complete once */
	bool leads;  /* this daemon writes conditions and Events */
	uint64_t requests, failures;
	struct kube_left left;
};
/** Returns the figures for `/metrics`; `c` may be NULL. */
struct cluster_figures cluster_figures(const struct cluster *c);
/** Writes the same, and what is missing, into `node`, for `pintle status`. `c` may be NULL. */
void cluster_show(const struct cluster *c, struct pintle_node *node);

#endif
