/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* pod_ways.bpf.h - the ways between clients and pods, for the hand-off's TC program at the node. */
#ifndef PINTLE_POD_WAYS_BPF_H
#define PINTLE_POD_WAYS_BPF_H

#include "hand_segment.bpf.h"
#include "in_pod.bpf.h"

/* Whether pods can serve what comes by this device. Packets of this node itself come by lo, and
 * answers to its own address would not leave the pod. Without a link layer's header a packet fits
 * no pod's device. */
static __always_inline bool pod_may_serve(const struct __sk_buff *skb, __u32 below_ip)
{
	return skb->ifindex != LOOPBACK && below_ip;
}

/* The device of the pod in which the endpoint is that was decided on; 0: there is none. */
static __always_inline __u32 pod_chosen(const struct pintle_tuple *t)
{
	const struct pintle_decision *d = bpf_map_lookup_elem(&pending, t);
	const struct pintle_endpoint *e = d ? endpoint_find(d->endpoint, d->generation) : NULL;

	return e ? e->scope : 0;
}

/* A frame whose tags segment_read() can read: one that the kernel has taken off, two in the frame.
 */
#define POD_MAX_TAGS 3

/* The segment goes on as if it had come in on the pod's own end of that device. The pod knows none
 * of the node's VLANs, and would drop what has a tag. */
static __always_inline int pod_send(struct __sk_buff *skb, __u32 device)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < POD_MAX_TAGS; i++)
		if (skb->vlan_present)
			bpf_skb_vlan_pop(skb);
	return bpf_redirect_peer(device, 0);
}

/* A pod's segment to a client, of a connection that was handed to it: sends it there, because the
 * kernel refuses what comes with an address of its own. Returns TC_ACT_UNSPEC for any other. */
__noinline int pod_answer(struct __sk_buff *skb, const struct segment *s)
{
	struct bpf_fib_lookup fib = {.l4_protocol = IPPROTO_TCP};
	struct pintle_tuple t;
	__u32 device;
	long result;

	if (!s)
		return TC_ACT_UNSPEC;
	t.scope = scope;
	__builtin_memcpy(t.local, s->tuple.remote, sizeof(t.local));
	__builtin_memcpy(t.remote, s->tuple.local, sizeof(t.remote));
	t.local_port = s->tuple.remote_port;
	t.remote_port = s->tuple.local_port;
	device = pod_flow(&t);
	if (!device)
		device = pod_flow_ended(&t);
	if (device != skb->ifindex)
		return TC_ACT_UNSPEC;
	fib.ifindex = device;
	if (address_is_v4(t.local)) {
		fib.family = AF_INET;
		fib.ipv4_src = ((const __u32 *)t.local)[3];
		fib.ipv4_dst = ((const __u32 *)t.remote)[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, t.local, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, t.remote, sizeof(fib.ipv6_dst));
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return TC_ACT_UNSPEC;
	return bpf_redirect_neigh(fib.ifindex, NULL, 0, 0);
}

#endif
