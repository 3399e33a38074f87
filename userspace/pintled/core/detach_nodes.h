/* SPDX-License-Identifier: Apache-2.0 */
/* detach_nodes.h - pintled --detach-nodes: takes Pintle off all nodes of a cluster. */
#ifndef PINTLE_DETACH_NODES_H
#define PINTLE_DETACH_NODES_H

/** Sets the marker that every pintled of the cluster obeys (kube_removal.h), and waits until each
 * node that has a pod of the DaemonSet has said that it is detached, but no longer than `seconds`.
 * `kubeconfig` may be NULL: as the pod that this runs in. Returns 0, also where nodes did not
 * answer, which are named by the log and an Event, and where there is no DaemonSet; or -errno,
 * logged: the marker could not be set, and every node steers as before. */
int detach_nodes(const char *kubeconfig, unsigned int seconds);

#endif
