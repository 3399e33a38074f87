/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet.bpf.h - a TCP segment in a TC program: between whom it is, where its data lies, and how to
 * overwrite some of that.
 */
#ifndef PINTLE_PACKET_BPF_H
#define PINTLE_PACKET_BPF_H

#include "common.bpf.h"

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

/* 1 to most, a power of two, as n is already: in words that the verifier of Linux 6.1 knows. */
static __always_inline __u32 at_least_1(__u32 n, __u32 most)
{
	hide(n);
	return ((n - 1) & (most - 1)) + 1;
}

struct segment {
	struct pintle_tuple tuple; /* local: where it goes */
	__u32 sequence;
	__u32 tcp;  /* where its header begins in the packet */
	__u32 data; /* where its data begins */
	__u32 size; /* of that; 0: none */
	__u16 syn;
	__u16 end; /* FIN or RST */
};

struct vlan {
	__be16 tci;
	__be16 protocol;
};

/* What cannot be one of ours is no segment: a fragment, an extension header. Returns 0. */
static __always_inline int segment_read_ip4(struct __sk_buff *skb, __u32 at, struct segment *s)
{
	struct iphdr ip;
	__u32 total;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 ||
	    ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(0x3fff))
		return -1;
	address_v4(s->tuple.local, ip.daddr);
	address_v4(s->tuple.remote, ip.saddr);
	total = bpf_ntohs(ip.tot_len);
	s->tcp = at + ip.ihl * 4;
	/* Short frames are padded; those of many segments do not fit the field. */
	s->size = total ? at + total : skb->len;
	return 0;
}

static __always_inline int segment_read_ip6(struct __sk_buff *skb, __u32 at, struct segment *s)
{
	struct ipv6hdr ip;
	__u32 total;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 6 ||
	    ip.nexthdr != IPPROTO_TCP)
		return -1;
	__builtin_memcpy(s->tuple.local, &ip.daddr, sizeof(s->tuple.local));
	__builtin_memcpy(s->tuple.remote, &ip.saddr, sizeof(s->tuple.remote));
	total = bpf_ntohs(ip.payload_len);
	s->tcp = at + sizeof(ip);
	s->size = total ? s->tcp + total : skb->len;
	return 0;
}

/* `at`: where the link layer's header ends, but for VLAN tags. Returns 0; -1: no segment of ours.
 */
static __always_inline int segment_read(struct __sk_buff *skb, __u32 at, struct segment *s)
{
	__u16 protocol = skb->protocol;
	struct tcphdr tcp;
	int err, i;

	/* The outer tag is in the packet's metadata as a rule, and not here. */
	for (i = 0; i < 2; i++) {
		struct vlan tag;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (bpf_skb_load_bytes(skb, at, &tag, sizeof(tag)))
			return -1;
		protocol = tag.protocol;
		at += sizeof(tag);
	}
	if (protocol == bpf_htons(ETH_P_IP))
		err = segment_read_ip4(skb, at, s);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		err = segment_read_ip6(skb, at, s);
	else
		return -1;
	if (err || bpf_skb_load_bytes(skb, s->tcp, &tcp, sizeof(tcp)) || tcp.doff < 5)
		return -1;
	s->tuple.scope = scope;
	s->tuple.local_port = bpf_ntohs(tcp.dest);
	s->tuple.remote_port = bpf_ntohs(tcp.source);
	s->sequence = bpf_ntohl(tcp.seq);
	s->data = s->tcp + tcp.doff * 4;
	s->size = s->size > s->data ? s->size - s->data : 0;
	s->syn = tcp.syn && !tcp.ack;
	s->end = tcp.fin || tcp.rst;
	return 0;
}

/* ---- overwriting ----------------------------------------------------------------- */

/* With what aligns it, the run must fit half of what bpf_csum_diff() takes on Linux 6.1. */
#define SEGMENT_OVERWRITE_MAX 248

/* How many bytes there are from the even offset at or before `at` to the end of the run, made a
 * multiple of four. */
static __always_inline __u32 segment_even(__u32 at, __u32 length)
{
	return ((at & 1) + length + 3) & ~3U;
}

/* Overwrites `length` bytes, 1 to SEGMENT_OVERWRITE_MAX, from offset `at` of the segment's data on,
 * and mends the checksum. That is a sum of 16 bits, so `was` and `is` hold the data as it is and as
 * it will be from the even offset at or before `at` on: segment_even(at, length) bytes, in memory
 * of 256 or more. Returns 0, or -1 with the packet untouched. */
static __always_inline int segment_overwrite(struct __sk_buff *skb, const struct segment *s,
					     __u32 at, __u32 length, __u8 *was, __u8 *is)
{
	__u32 odd = at & 1, whole = at_least_1(segment_even(at, length), 256);
	__s64 difference = bpf_csum_diff((__be32 *)was, whole, (__be32 *)is, whole, 0);

	length = at_least_1(length, 256);
	if (bpf_skb_store_bytes(skb, s->data + at, is + odd, length, 0))
		return -1;
	/* Cannot fail: the packet is writable up to here and beyond. */
	bpf_l4_csum_replace(skb, s->tcp + __builtin_offsetof(struct tcphdr, check), 0, difference,
			    0);
	return 0;
}

#endif
