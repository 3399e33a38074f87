/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_share.h - who gets the room that there is for pools and what they have: the file's own
 * pools, then those of the cluster by age, and no namespace more than half of all the room. So
 * nobody who may label Services in one namespace takes the room of the others.
 */
#ifndef PINTLE_KUBE_SHARE_H
#define PINTLE_KUBE_SHARE_H

#include <stdbool.h>
#include <stddef.h>

#include "kube_objects.h"

struct kube_amount {
	size_t pools, endpoints, frontends, spared, models;
	size_t largest; /* endpoints of the largest of these pools; in sums without a meaning */
};

/* All the room there is. */
extern const struct kube_amount kube_room;

/* Starts as {0}, with what the file's pools take in `taken`; kube_share_free() it. */
struct kube_share {
	struct kube_amount taken;
	struct kube_space {
		char name[KUBE_LABEL_SIZE];
		struct kube_amount taken;
	} * spaces;
	size_t count, room;
};

/** Takes the amount for a pool of that namespace. Returns 0, with the reason in `why` where there
 * is no room, and nothing is taken; "": it is. Or -ENOMEM. */
int kube_share_take(struct kube_share *s, const char *space, struct kube_amount amount,
		    char why[KUBE_WHY_SIZE]);
void kube_share_free(struct kube_share *s);

#endif
