/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_cluster.h - the Services of a cluster that carry the label pintle.dev/mode, with their
 * EndpointSlices, as pools.
 *
 * One watch has all such Services, and one the slices that carry their label: a Service whose
 * slices do not has a watch of its own slices, by its name. Never are there all slices, nor all
 * pods, of the cluster. What is known stays until a list says otherwise. Until the first list,
 * known is what was restored: the pools that are pinned.
 */
#ifndef PINTLE_KUBE_CLUSTER_H
#define PINTLE_KUBE_CLUSTER_H

#include "kube_pools.h"
#include "kube_share.h"
#include "kube_store.h"
#include "kube_watch.h"

struct kube_cluster;

/** Begins to watch. `changed` is called on the loop, at most five times a second, when the pools
 * may have changed. `client` must outlive the cluster. Returns 0 with *out (kube_cluster_free()
 * it), or -ENOMEM, logged. */
int kube_cluster_new(uv_loop_t *loop, struct kube_client *client, void (*changed)(void *arg),
		     void *arg, struct kube_cluster **out);
/** Frees it; the loop must then run until it has no handles left. NULL is fine. */
void kube_cluster_free(struct kube_cluster *c);

/** Says which node of the cluster this one is. Returns 0 or -ENOMEM, logged. */
int kube_cluster_at(struct kube_cluster *c, const char *node);

/** Begins to watch the pods of the node that kube_cluster_at() named, and of no other. `changed` is
 * called on the loop when they, or what their namespaces say of them, may have changed. Pintle does
 * without them where it has no right to them. Returns 0 or -ENOMEM, logged. */
int kube_cluster_watch_pods(struct kube_cluster *c, void (*changed)(void *arg), void *arg);
/** Returns the node's pods, as struct kube_pod; NULL: they are not watched. */
const struct kube_store *kube_cluster_pods(const struct kube_cluster *c);
/** Returns whether these are known, and what their namespaces say of them. */
bool kube_cluster_pods_known(const struct kube_cluster *c);
/** Returns whether the pod's connections go on as they came, by its own word, its namespace's or a
 * mesh's. */
bool kube_cluster_left_alone(const struct kube_cluster *c, const struct kube_pod *pod);

/** Begins to watch the slices of the DCGM exporter's Service, for the figures of pods' GPUs.
 * Returns 0 or -ENOMEM, logged. */
int kube_cluster_watch_gpus(struct kube_cluster *c, const char *space, const char *service);

/** Takes the pools in *p, which stand for those of Services whose lists are not complete. */
void kube_cluster_restore(struct kube_cluster *c, struct config_founds *p);

/** Makes the pools of all Services, the oldest Service's first. Logs what is left to kube-proxy and
 * why, once. Returns 0 with *out, or -ENOMEM. */
int kube_cluster_pools(struct kube_cluster *c, struct config_founds *out);

/* What the node says of a pool that runs. */
struct kube_judge {
	void *arg;
	/* Whether a page of one of the pool's servers was read, or none is needed. */
	bool (*is_read)(void *arg, const char *pool);
	/* Returns why connections to the pool are decided as they come, though its policy asks for
	 * decide: request; NULL: requests decide. Keeps in *kept what it knows of the pool: 0 at
	 * first. */
	const char *(*by_connection)(void *arg, const char *pool, uint64_t *kept);
	/* One of the pool's models whose pool is not there; NULL: all are. */
	const struct config_model *(*lost_model)(void *arg, const char *pool);
};
/** Takes what the configuration made of those pools, of which `applied` says whether it runs: for
 * conditions and Events. */
void kube_cluster_judged(struct kube_cluster *c, const struct config_founds *pools, bool applied,
			 const struct kube_judge *judge);
/** Returns whether nothing changed since kube_cluster_judged(), so that what it said holds for
 * these pools. */
bool kube_cluster_is_judged(const struct kube_cluster *c);

/** Sets how much of the room for pools the configuration file's own take: found ones get what is
 * left. */
void kube_cluster_room(struct kube_cluster *c, struct kube_amount taken);
/** Sets where policies may name frontends; copied, up to KUBE_MAX_ALLOWED. */
#define KUBE_MAX_ALLOWED 64
void kube_cluster_allow(struct kube_cluster *c, const struct frontend_addr *prefixes, size_t count);

/** Says in an Event of this node why it does not steer. `why` must stay valid. */
void kube_cluster_tell_node(struct kube_cluster *c, const char *why);

/* What is left to kube-proxy. */
struct kube_left {
	size_t count;            /* of Services and InferencePools, but for those labelled off */
	size_t no_room;          /* of these: because there is no room */
	char one[KUBE_KEY_SIZE]; /* one of them; "": there is none */
	char why[PINTLE_WHY_SIZE];
	bool outside; /* a steered Service has node ports, a load balancer or external IPs */
};
void kube_cluster_left(const struct kube_cluster *c, struct kube_left *out);
/** Returns whether this daemon writes the cluster's conditions and Events. */
bool kube_cluster_leads(const struct kube_cluster *c);

/** Returns whether the list of Services, and those of their slices, were complete once. */
bool kube_cluster_listed(const struct kube_cluster *c);

#endif
