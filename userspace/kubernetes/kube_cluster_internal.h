/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_cluster_internal.h - what the parts of kube_cluster*.c share.
 *
 *   kube_cluster.c         what is watched
 *   kube_cluster_pools.c   the pools that it makes, and why others are not made
 *   kube_cluster_prefix.c  the prefixes that policies name
 *   kube_cluster_request.c what became of decide: request
 *   kube_cluster_say.c     what the cluster is told of it: conditions and Events
 */
#ifndef PINTLE_KUBE_CLUSTER_INTERNAL_H
#define PINTLE_KUBE_CLUSTER_INTERNAL_H

#include <sys/queue.h>
#include <time.h>

#include "kube_cluster.h"
#include "kube_inference.h"
#include "kube_lease.h"
#include "kube_objective.h"
#include "kube_policy.h"
#include "kube_share.h"
#include "kube_store.h"
#include "kube_teller.h"

/* Kinds that are watched in the whole cluster. */
enum {
	ALL_SERVICES, /* that carry the label */
	ALL_SLICES,   /* the same: the controller gives slices the labels of their Service */
	ALL_INFERENCES,
	ALL_POLICIES,
	ALL_OBJECTIVES,
	ALL_FORMER_OBJECTIVES,
	ALL_COUNT,
};

/* What is watched for an owner. */
struct owned {
	struct kube_store *store; /* NULL: nothing is */
	char *selector;
};

/* A Service or an InferencePool that makes pools, and what belongs to it. */
struct owner {
	LIST_ENTRY(owner) all;
	struct kube_cluster *cluster;
	enum kube_target_kind kind;
	char key[KUBE_KEY_SIZE];
	/* A pool's pods; of a Service, the slices that do not carry its label; none: it is not
	 * steered, or its slices are among ALL_SLICES. */
	struct owned members;
	struct owned own;  /* an intercepted Service's pods, which prove its slices */
	bool slices_known; /* a Service's, at least once */
	bool told_once;
	char told[KUBE_WHY_SIZE]; /* why it is left to kube-proxy, as logged last; "": it is not */
	time_t told_since;
	bool idle; /* for want of a ready pod alone */
	/* Its pools among those that kube_cluster_pools() made last, and what became of them. */
	size_t first, count, holding;
	/* The oldest Service of the same pods, with which it shares a pool; "": with none, or it is
	 * the oldest. */
	char head[KUBE_KEY_SIZE];
	char refused[PINTLE_WHY_SIZE]; /* why one does not hold; "": all do */
	bool no_room;                  /* that is why it is left to kube-proxy */
	/* Why one that holds is kube-proxy's all the same: pintled has read no page of its servers,
	 * as of a port of another server; "": none is. */
	char unread[KUBE_WHY_SIZE];
	time_t unread_since;
	bool steered; /* all pools hold, and are steered as their modes say */
	time_t steered_since;
	struct kube_whys whys;      /* the same while pools are made */
	char direct[KUBE_WHY_SIZE]; /* why connections to its pods are not intercepted, as told */
	time_t direct_since;
	char prefix[KUBE_WHY_SIZE]; /* why the policy's prefixes are left out; "": they are not */
	struct {
		const char *reason; /* of an Event; NULL: no policy asks for decide: request */
		char why[KUBE_WHY_SIZE];
		time_t since;
		uint64_t kept; /* of kube_judge.by_connection */
	} request;
};

struct kube_cluster {
	uv_loop_t *loop;
	struct kube_client *client;
	uv_timer_t settle;
	uint64_t settled_ns;
	void (*changed)(void *arg);
	void *arg;
	struct kube_store *all[ALL_COUNT];
	LIST_HEAD(, owner) owners;
	struct config_founds restored;
	bool judged; /* nothing changed since kube_cluster_judged() */
	struct frontend_addr allowed[KUBE_MAX_ALLOWED];
	size_t allowed_count;
	struct kube_amount taken; /* by the file's pools */
	struct kube_share share;  /* what the last pools took */
	char *node;               /* the name of this one; NULL: unknown */
	struct kube_node here;
	struct kube_watch *zone; /* gets the node, for its zone; NULL: its name is unknown */
	/* of that node, and all namespaces, whose words hold for their pods; NULL: not watched */
	struct kube_store *pods, *spaces;
	const char *node_why; /* why it does not steer; NULL: it does */
	time_t node_since;
	struct kube_store *gpus; /* the DCGM exporter's slices; NULL: not watched */
	bool clients_named;      /* a Service names clients by their labels */
	void (*pods_changed)(void *arg);
	void *pods_arg;
	struct kube_lease *lease;
	struct kube_teller *teller;
};

/* The kinds of objects that make pools, by the kind of a policy's target. */
struct owner_kind {
	unsigned int store; /* of its objects, in kube_cluster.all */
	const char *one, *api_version;
};
extern const struct owner_kind owner_kinds[KUBE_TARGET_KINDS];

/* ---- kube_cluster.c ---------------------------------------------------------------------- */

struct owner *owner_find(const struct kube_cluster *c, enum kube_target_kind kind, const char *key);
/* The owner's object. Never NULL, with something in `now`, after the cluster was tended. */
const struct kube_item *owner_item(const struct owner *o);
/* Whether its members are not known yet. */
bool owner_waits(const struct owner *o);
/* Whether the slice is of the Service with this key. */
bool kube_is_slice_of(const struct kube_slice *slice, const char *key);
/* Whether the Service is a frontend of that InferencePool. */
bool kube_is_frontend(const struct kube_service *s, const struct kube_inference *p);
/* Whether all kinds are known: what an unfinished list has not named yet is no less there. */
bool kube_cluster_known(const struct kube_cluster *c);

/* ---- kube_cluster_pools.c ---------------------------------------------------------------- */

/* For qsort() of struct kube_item *: the oldest first. */
int kube_by_age(const void *left, const void *right);
/* The policy that holds for this target: the oldest that is good; NULL: none is. */
const struct kube_item *kube_policy_of(const struct kube_cluster *c, enum kube_target_kind kind,
				       const char *key);

/* Whether both say the same but for words with digits in them: addresses, ports and pods change
 * while the reason stays. */
bool kube_same_reason(const char *a, const char *b);

/* KUBE_BY_* of a Service that is steered: connections to these are kube-proxy's; 0: to none. */
uint32_t owner_outside(const struct owner *o);

/* Why it is left to kube-proxy, though somebody wants it steered; NULL: it is not. */
const char *owner_left(const struct owner *o);

/* The Service's pool that a prefix is for has a port with its number; `why` where there is none, or
 * where it may not be a frontend: outside what is allowed, or where another policy, a Service or a
 * member of a pool is. */
bool kube_prefixes_good(const struct kube_cluster *c, const struct owner *o,
			const struct kube_item *policy, char why[KUBE_WHY_SIZE]);

/* ---- kube_cluster_request.c -------------------------------------------------------------- */

#define KUBE_BY_REQUEST "DecidedByRequest"
/* Sets what is to be said of the owner's decide: request, once it is known which pools hold. */
void kube_judge_request(struct owner *o, const struct config_founds *pools,
			const struct kube_judge *judge);
/* Whether it has not become what the policy asks for, or not in all. */
bool kube_request_lacks(const struct owner *o);

/* ---- kube_cluster_say.c ------------------------------------------------------------------ */

/* Whether it is so for a moment only: what changes again at once, as while pods and pintled start,
 * is not told. */
bool kube_is_young(time_t since);

/* Says what is to be known, if this daemon is to. */
void kube_cluster_say(struct kube_cluster *c);

#endif
