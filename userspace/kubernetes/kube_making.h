/* SPDX-License-Identifier: Apache-2.0 */
/* kube_making.h - a pool while it is made of what the API server has: frontends and members come
 * one by one, in any order. */
#ifndef PINTLE_KUBE_MAKING_H
#define PINTLE_KUBE_MAKING_H

#include "../config/config.h"
#include "kube_objects.h"

#define KUBE_PAGE_SIZE (ADDR_TEXT_SIZE + 16) /* "http://10.0.0.1:9400/metrics" */

struct kube_member {
	char name[KUBE_NAME_SIZE + 16], address[ADDR_TEXT_SIZE];
	struct addr ip; /* of that address */
	char pod[KUBE_NAME_SIZE];
	char gpus[KUBE_PAGE_SIZE]; /* the page with the pod's GPUs; "": none */
	bool drained;
	uint32_t place; /* enum config_place_of */
};

/* What a SteeringPolicy adds to the pools of its target. */
struct kube_extra {
	const char *keys;  /* for config_parts.keys; NULL: none */
	bool fails_close;  /* they say failureMode: FailClose */
	bool has_locality; /* they have the key locality */
	const struct frontend_addr
		*prefixes; /* further frontends, each for the pool with its port */
	size_t prefix_count;
};

/* Starts as {0}; kube_making_free() it. */
struct kube_making {
	char (*frontends)[ADDR_TEXT_SIZE];
	size_t frontend_count, frontend_room;
	bool v4, v6;   /* which families the frontends have */
	bool v4_first; /* the family of the first of them */
	struct kube_member *members;
	size_t member_count, member_room;
	bool intercept; /* connections to members' own addresses are decided, too */
	/* Clients that are left alone then: what belongs together talks to each other by address.
	 */
	char (*spared)[PINTLE_CLIENT_NAME_SIZE];
	size_t spared_count, spared_room;
};

/** Adds an address and port, unless it is there. Returns 0 or -ENOMEM. */
int kube_making_frontend(struct kube_making *m, const struct addr *address, uint16_t port);
/** Adds the prefixes whose port is this one. Returns 0 or -ENOMEM. */
int kube_making_prefixes(struct kube_making *m, const struct kube_extra *extra, uint16_t port);
/** Adds a pod's port, once all frontends are there: nothing where these have not its family. `pod`
 * is its name, "": the address belongs to no pod, and names itself. A pod is one member for each
 * family; the name in the second has a suffix. `rank`, unless 0, is another one, for a pod's
 * several ports. `drained`: it takes no further connection. `place`: enum config_place_of. `gpus`:
 * the page with the pod's GPUs; "": none. Returns 0 or -ENOMEM. */
int kube_making_member(struct kube_making *m, const char *pod, const struct addr *address,
		       uint16_t port, uint16_t rank, bool drained, uint32_t place,
		       const char *gpus);
/** Leaves the connections of the pod with this uid alone; "": nobody's. Beyond PINTLE_MAX_SPARED
 * pods, those that come later are not. Returns 0 or -ENOMEM. */
int kube_making_spare(struct kube_making *m, const char *uid);
/** Adds the pool, with the members in the order of their names, and each address once: while a
 * controller rewrites slices, a pod may be in two of them. Returns 0 or -ENOMEM. */
int kube_making_put(struct kube_making *m, const char *name, const char *mode, const char *keys,
		    struct config_founds *to);
void kube_making_free(struct kube_making *m);

#endif
