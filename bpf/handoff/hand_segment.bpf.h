/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand_segment.bpf.h - what the hand-off's TC program keeps of a segment, and how a segment is
 * queued again.
 */
#ifndef PINTLE_HAND_SEGMENT_BPF_H
#define PINTLE_HAND_SEGMENT_BPF_H

#include "held_entry.bpf.h"
#include "request_session.bpf.h"
#include "handshake.bpf.h"

struct hand_scratch {
	__u64 began; /* when the request that is read was begun */
	struct request_scan scan;
	struct hand_named named;
	struct body_scan body;
	struct hold_reader reader;
	__u8 chunk[REQUEST_CHUNK] __attribute__((aligned(8)));
};

static __always_inline struct hand_scratch *scratch_find(void); /* hand_work.bpf.h */

/* A copy of the packet comes once more, behind those that came already. What leaves by the loopback
 * device comes by it; queued as if it had come, it would lose its route, and the kernel lets no
 * packet with an address of 127/8 in without one. */
static __always_inline long come_again(struct __sk_buff *skb)
{
	return bpf_clone_redirect(skb, skb->ifindex, skb->ifindex == LOOPBACK ? 0 : BPF_F_INGRESS);
}

/* Sets the IP header's length, for a TCP segment of `size` bytes. */
static __always_inline int ip_set_length(struct __sk_buff *skb, const struct hand *h, __u32 size)
{
	__be16 payload = bpf_htons(size);
	struct iphdr ip;

	if (!h->v4)
		return bpf_skb_store_bytes(
			skb, h->s.ip + __builtin_offsetof(struct ipv6hdr, payload_len), &payload,
			sizeof(payload), BPF_F_RECOMPUTE_CSUM);
	if (bpf_skb_load_bytes(skb, h->s.ip, &ip, sizeof(ip)))
		return -1;
	ip.tot_len = bpf_htons(sizeof(ip) + size);
	ip.check = 0;
	ip.check = ~fold((__u32)bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, h->s.ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

#endif
