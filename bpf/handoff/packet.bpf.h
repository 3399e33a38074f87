/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet.bpf.h - reads a TCP segment: its addresses, and where its data begin. In a TC program,
 * overwrites a part of the data.
 */
#ifndef PINTLE_PACKET_BPF_H
#define PINTLE_PACKET_BPF_H

#include "frame.bpf.h"

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

/* Returns n, which is from 1 to `most`, a power of two, in a form from which the verifier of Linux
 * 6.1 learns that range. */
static __always_inline __u32 at_least_1(__u32 n, __u32 most)
{
	hide(n);
	return ((n - 1) & (most - 1)) + 1;
}

struct segment {
	struct pintle_tuple tuple; /* local: the destination */
	__u32 sequence;
	__u32 ip;   /* offset of the IP header in the packet */
	__u32 tcp;  /* of the TCP header */
	__u32 data; /* of the data */
	__u32 size; /* bytes of data */
	__u16 syn;
	__u16 end; /* FIN or RST */
};

struct vlan {
	__be16 tci;
	__be16 protocol;
};

/* Both headers are read at once, since each reading of a packet is a call. */
struct headers4 {
	struct iphdr ip;
	struct tcphdr tcp; /* where the IP header has no options */
};

struct headers6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

/* Reads the TCP header, too. Returns 0, or -1 for a packet that cannot be a segment of ours, such
 * as a fragment. */
static __always_inline int segment_read_ip4(frame *f, struct segment *s, struct tcphdr *tcp)
{
	struct headers4 h;
	__u32 total;

	if (frame_load(f, s->ip, &h, sizeof(h)) || h.ip.version != 4 || h.ip.ihl < 5 ||
	    h.ip.protocol != IPPROTO_TCP || h.ip.frag_off & bpf_htons(0x3fff))
		return -1;
	address_v4(s->tuple.local, h.ip.daddr);
	address_v4(s->tuple.remote, h.ip.saddr);
	total = bpf_ntohs(h.ip.tot_len);
	s->tcp = s->ip + h.ip.ihl * 4;
	/* The packet may have padding behind it. One of many segments may be too long for the
	 * field, which is then 0. */
	s->size = total ? s->ip + total : frame_size(f);
	*tcp = h.tcp;
	return h.ip.ihl > 5 ? frame_load(f, s->tcp, tcp, sizeof(*tcp)) : 0;
}

static __always_inline int segment_read_ip6(frame *f, struct segment *s, struct tcphdr *tcp)
{
	struct headers6 h;
	__u32 total;

	if (frame_load(f, s->ip, &h, sizeof(h)) || h.ip.version != 6 || h.ip.nexthdr != IPPROTO_TCP)
		return -1;
	__builtin_memcpy(s->tuple.local, &h.ip.daddr, sizeof(s->tuple.local));
	__builtin_memcpy(s->tuple.remote, &h.ip.saddr, sizeof(s->tuple.remote));
	total = bpf_ntohs(h.ip.payload_len);
	s->tcp = s->ip + sizeof(h.ip);
	s->size = total ? s->tcp + total : frame_size(f);
	*tcp = h.tcp;
	return 0;
}

/* Reads the segment; `at` is the end of the link layer's header without VLAN tags. Returns 0, or -1
 * for a packet that is no segment of ours. */
static __always_inline int segment_read(frame *f, __u32 at, struct segment *s)
{
	__u16 protocol = frame_protocol(f, at);
	struct tcphdr tcp;
	int err, i;

	/* Where a device or the kernel has taken the outer tag off, it is not here. */
	for (i = 0; i < 2; i++) {
		struct vlan tag;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (frame_load(f, at, &tag, sizeof(tag)))
			return -1;
		protocol = tag.protocol;
		at += sizeof(tag);
	}
	s->ip = at;
	if (protocol == bpf_htons(ETH_P_IP))
		err = segment_read_ip4(f, s, &tcp);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		err = segment_read_ip6(f, s, &tcp);
	else
		return -1;
	if (err || tcp.doff < 5)
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

#ifndef FRAME_XDP

/* ---- overwriting ----------------------------------------------------------------- */

/* The bytes, with those that align them, must fit into half of the buffer of bpf_csum_diff() on
 * Linux 6.1. */
#define SEGMENT_OVERWRITE_MAX 248

/* The number of bytes from the even offset at or before `at` to the end of the `length` bytes at
 * `at`, rounded up to a multiple of four. */
static __always_inline __u32 segment_even(__u32 at, __u32 length)
{
	return ((at & 1) + length + 3) & ~3U;
}

/* Overwrites `length` bytes, 1 to SEGMENT_OVERWRITE_MAX, from offset `at` of the segment's data on,
 * and corrects the checksum. The checksum is a sum of 16-bit words. So `was` and `is` hold the old
 * and the new data from the even offset at or before `at` on, segment_even(at, length) bytes each,
 * in memory of at least 256 bytes. Returns 0, or -1 with the packet untouched. */
static __always_inline int segment_overwrite(struct __sk_buff *skb, const struct segment *s,
					     __u32 at, __u32 length, __u8 *was, __u8 *is)
{
	__u32 odd = at & 1, whole = at_least_1(segment_even(at, length), 256);
	__s64 difference = bpf_csum_diff((__be32 *)was, whole, (__be32 *)is, whole, 0);

	length = at_least_1(length, 256);
	if (bpf_skb_store_bytes(skb, s->data + at, is + odd, length, 0))
		return -1;
	/* This cannot fail: bpf_skb_store_bytes() has made the packet writable beyond the checksum.
	 */
	bpf_l4_csum_replace(skb, s->tcp + __builtin_offsetof(struct tcphdr, check), 0, difference,
			    0);
	return 0;
}

#endif

#endif
