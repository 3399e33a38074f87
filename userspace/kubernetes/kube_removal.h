/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_removal.h - takes Pintle off all nodes of a cluster, by a marker: the ConfigMap
 * pintle-removal in pintled's namespace.
 *
 *	apiVersion: v1
 *	kind: ConfigMap
 *	metadata: {name: pintle-removal, ownerReferences: [the DaemonSet pintle]}
 *	data: {daemonset: UID}		of that DaemonSet
 *
 * Every pintled watches it, detaches, stays detached while it stands, and says so by an Event of
 * it. A marker holds for the DaemonSet that it names, while that is there: what a later
 * installation makes has another uid. The cluster removes the marker with its DaemonSet, and that
 * takes nothing back.
 */
#ifndef PINTLE_KUBE_REMOVAL_H
#define PINTLE_KUBE_REMOVAL_H

#include "kube_store.h"

#define KUBE_REMOVAL          "pintle-removal"
#define KUBE_DAEMONSET        "pintle"
#define KUBE_DETACHED         "Detached"
#define KUBE_REMOVAL_SELECTOR "fieldSelector=metadata.name%3D" KUBE_REMOVAL

/** The marker, as it is in struct kube_item. */
struct kube_marker {
	char daemonset[KUBE_UID_SIZE];
};
extern const struct kube_kind kube_markers;

/** Writes the path of the DaemonSet, whose uid the marker names. */
#define KUBE_DAEMONSET_PATH_SIZE 160
const char *kube_daemonset_path(const struct kube_client *c, char buf[KUBE_DAEMONSET_PATH_SIZE]);

struct kube_removal;

/** Begins to watch the marker. `stands`: whether it stood when this node was last told. `changed`
 * is called on the loop when kube_removal_stands() has changed. Returns NULL without memory. */
struct kube_removal *kube_removal_new(struct kube_client *c, bool stands,
				      void (*changed)(void *arg), void *arg);
/** Frees it; must not be called from `changed`. NULL is fine. */
void kube_removal_free(struct kube_removal *r);
/** Returns whether the marker stands for the DaemonSet that there is, as far as is known. */
bool kube_removal_stands(const struct kube_removal *r);
/** Says, once the marker is known, that this node, which has that name, is detached. */
void kube_removal_detached(struct kube_removal *r, const char *node);

#endif
