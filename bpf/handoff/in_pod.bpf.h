/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * in_pod.bpf.h - connections that the hand-off gives to servers in pods with network namespaces of
 * their own.
 *
 *   node   the hand-off answers the SYN and reads the request as always. The listener that the
 *          lookup hook chooses is of another namespace: the segment goes to that pod's device
 *   pod    pintle_pod gives the connection to the listener, together with that segment
 *   node   sends the client's later segments to the pod's device, by `pod_flows`, and the pod's to
 *          the client
 *
 * The frontend's address is the node's. So the pod's segments come to the node with the node's own
 * address as their source: the kernel would drop them, and `pod_flows` says which may pass.
 */
#ifndef PINTLE_IN_POD_BPF_H
#define PINTLE_IN_POD_BPF_H

#include "common.bpf.h"

/* Whether any pool's servers are in pods. */
static __always_inline bool pods_any(void)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return n && n->pods;
}

/* The device of the pod that has this open connection; 0: none has. */
static __always_inline __u32 pod_flow(const struct pintle_tuple *t)
{
	const struct pintle_pod_flow *f = bpf_map_lookup_elem(&pod_flows, t);

	return f ? f->scope : 0;
}

/* The same for one that ended a moment ago, of which last segments are under way. */
static __always_inline __u32 pod_flow_ended(const struct pintle_tuple *t)
{
	const struct pintle_pod_flow *f = bpf_map_lookup_elem(&pod_ended, t);

	return f ? f->scope : 0;
}

#endif
