/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * splice_write.bpf.h - the packets of a spliced connection: the SYN and the held bytes, which are
 * sent in the client's name, and the translation of all others.
 *
 *   to the server   source port, destination, acknowledged number, SACK's numbers, echoed time
 *   to the client   source, destination port, sequence number, time, window
 *
 * The client's sequence numbers are the server's, too. Both translations are at the client's
 * device, so whatever else this machine does with packets (connection tracking, nat, policies) sees
 * the client's address and the server's, in both directions.
 */
#ifndef PINTLE_SPLICE_WRITE_BPF_H
#define PINTLE_SPLICE_WRITE_BPF_H

#include "hand_hold.bpf.h"
#include "splice_flow.bpf.h"

#define SPLICE_PIECE 2048 /* the most bytes of a segment of held ones: a power of two */

struct splice_work {
	struct hand h;
	__u32 device;            /* of the packet */
	__u32 how;               /* how the connection is counted: enum pintle_hand */
	__u32 again;             /* 1: other servers have not taken it */
	struct pintle_ref asked; /* the pool that is to decide */
	struct pintle_splice fresh;
	struct segment_header was;
	struct answer answer;
	/* of the segment's options: where they are in the header; 0: there is none */
	__u32 time_at;
	__u32 sack_at;
	__u32 sacks; /* numbers, two for each block */
	__u32 piece_size;
	__u8 piece[SPLICE_PIECE + 8] __attribute__((aligned(8)));
};

static __always_inline struct splice_work *splice_work_find(void); /* hand_work.bpf.h */

/* ---- options --------------------------------------------------------------------------- */

struct splice_options {
	const struct segment_header *header;
	struct splice_work *out;
	__u32 at, end;
};

static long splice_option(__u32 i, void *arg)
{
	struct splice_options *o = arg;
	__u32 at = o->at, size;
	const __u8 *p;

	(void)i;
	hide(at);
	if (at >= o->end || at > HEADER_MAX - 10)
		return 1;
	p = o->header->bytes + at;
	if (p[0] == 1) {
		o->at = at + 1;
		return 0;
	}
	size = p[1];
	if (!p[0] || size < 2 || at + size > o->end)
		return 1;
	if (p[0] == 8 && size == 10)
		o->out->time_at = at + 2;
	if (p[0] == 5 && size >= 10 && size <= 34) {
		o->out->sack_at = at + 2;
		o->out->sacks = (size - 2) / 4;
	}
	o->at = at + size;
	return 0;
}

/* Finds the options that have numbers. */
static __always_inline void splice_options_find(const struct hand *h, struct splice_work *w)
{
	struct splice_options o = {.header = header_find(), .out = w, .at = OPTIONS_AT};

	w->time_at = 0;
	w->sack_at = 0;
	w->sacks = 0;
	if (!o.header)
		return;
	o.end = h->s.data - h->s.tcp;
	if (o.end == OPTIONS_AT + 12 &&
	    *(const __be32 *)(o.header->bytes + OPTIONS_AT) == bpf_htonl(0x0101080a))
		w->time_at = OPTIONS_AT + 4;
	else if (o.end > OPTIONS_AT)
		bpf_loop(40, splice_option, &o, 0);
}

static __always_inline void splice_add(struct segment_header *x, __u32 at, __u32 add)
{
	__u32 value;
	__u8 *p;

	hide(at);
	if (at > HEADER_MAX - 4)
		return;
	p = x->bytes + at;
	value = be32_at(p) + add;
	p[0] = value >> 24;
	p[1] = value >> 16;
	p[2] = value >> 8;
	p[3] = value;
}

static __always_inline void splice_add_sacks(struct segment_header *x, const struct splice_work *w,
					     __u32 add)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < 8; i++)
		if (i < w->sacks)
			splice_add(x, w->sack_at + 4 * i, add);
}

/* ---- translation ------------------------------------------------------------------------ */

/* Replaces the address at offset `at` of the packet. Checksums follow. */
static __always_inline int splice_address(struct __sk_buff *skb, const struct hand *h, __u32 at,
					  const __u8 *was, const __u8 *is)
{
	__u32 check = h->s.tcp + __builtin_offsetof(struct tcphdr, check);
	__s64 differ;

	if (h->v4) {
		__u32 from = ((const __u32 *)was)[3], to = ((const __u32 *)is)[3];

		if (bpf_l3_csum_replace(skb, h->s.ip + __builtin_offsetof(struct iphdr, check),
					from, to, 4) ||
		    bpf_l4_csum_replace(skb, check, from, to, BPF_F_PSEUDO_HDR | 4))
			return -1;
		return bpf_skb_store_bytes(skb, at, is + 12, 4, 0);
	}
	differ = bpf_csum_diff((__be32 *)was, 16, (__be32 *)is, 16, 0);
	if (bpf_l4_csum_replace(skb, check, 0, differ, BPF_F_PSEUDO_HDR))
		return -1;
	return bpf_skb_store_bytes(skb, at, is, 16, 0);
}

/* Writes the changed TCP header. */
static __always_inline int splice_header(struct __sk_buff *skb, const struct hand *h,
					 struct splice_work *w, struct segment_header *x)
{
	__s64 differ = bpf_csum_diff((__be32 *)w->was.bytes, HEADER_MAX, (__be32 *)x->bytes,
				     HEADER_MAX, 0);

	if (bpf_skb_store_bytes(skb, h->s.tcp, x->bytes,
				at_least_1(h->s.data - h->s.tcp, HEADER_MAX), 0))
		return -1;
	return bpf_l4_csum_replace(skb, h->s.tcp + __builtin_offsetof(struct tcphdr, check), 0,
				   differ, 0);
}

static __always_inline __u16 splice_window(__u32 window, __u32 from, __u32 to)
{
	window <<= from & 15;
	window >>= to & 15;
	return window > 65535 ? 65535 : window;
}

/* The client's segment becomes one to its server. header_read() was called. */
__noinline int splice_onward(struct __sk_buff *skb, const struct hand *h,
			     const struct pintle_splice *f)
{
	struct splice_work *w = splice_work_find();
	struct segment_header *x = header_find();
	struct tcphdr *tcp;

	if (!w || !x || !h || !f)
		return -1;
	splice_options_find(h, w);
	w->was = *x;
	tcp = (struct tcphdr *)x->bytes;
	tcp->source = bpf_htons(f->own_port);
	tcp->dest = bpf_htons(f->port);
	if (tcp->ack)
		tcp->ack_seq = bpf_htonl(h->acknowledged - f->shift);
	if (!(f->flags & PINTLE_SPLICE_SCALES))
		tcp->window = bpf_htons(splice_window(bpf_ntohs(tcp->window), f->scale, 0));
	if (w->time_at)
		splice_add(x, w->time_at + 4, -f->time);
	if (w->sack_at)
		splice_add_sacks(x, w, -f->shift);
	if (splice_header(skb, h, w, x))
		return -1;
	return splice_address(skb, h,
			      h->s.ip + (h->v4 ? __builtin_offsetof(struct iphdr, daddr)
					       : __builtin_offsetof(struct ipv6hdr, daddr)),
			      h->s.tuple.local, f->address);
}

/* The server's segment becomes one to the client, from the frontend of the key `t`. */
__noinline int splice_homeward(struct __sk_buff *skb, const struct hand *h,
			       const struct pintle_splice *f, const struct pintle_tuple *t)
{
	struct splice_work *w = splice_work_find();
	struct segment_header *x = header_find();
	struct tcphdr *tcp;

	if (!w || !x || !h || !f || !t)
		return -1;
	splice_options_find(h, w);
	w->was = *x;
	tcp = (struct tcphdr *)x->bytes;
	tcp->source = bpf_htons(t->local_port);
	tcp->dest = bpf_htons(t->remote_port);
	tcp->seq = bpf_htonl(h->s.sequence + f->shift);
	if (!tcp->rst)
		tcp->window = bpf_htons(
			splice_window(bpf_ntohs(tcp->window), f->scale_back,
				      f->flags & PINTLE_SPLICE_OFFERED ? HAND_SPLICE_SCALE : 0));
	if (w->time_at)
		splice_add(x, w->time_at, f->time);
	if (splice_header(skb, h, w, x))
		return -1;
	return splice_address(skb, h,
			      h->s.ip + (h->v4 ? __builtin_offsetof(struct iphdr, saddr)
					       : __builtin_offsetof(struct ipv6hdr, saddr)),
			      h->s.tuple.remote, t->local);
}

/* ---- packets of our own ------------------------------------------------------------------- */

/* An IP header from the client to the server, for a segment with a header of ANSWER_SIZE and `size`
 * bytes. */
static __always_inline int splice_ip(struct __sk_buff *skb, const struct hand *h,
				     const struct pintle_tuple *t, const struct pintle_splice *f,
				     __u32 size)
{
	if (h->v4) {
		struct iphdr ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(ip) + ANSWER_SIZE + size),
			.frag_off = bpf_htons(0x4000),
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.saddr = ((const __u32 *)t->remote)[3],
			.daddr = ((const __u32 *)f->address)[3],
		};

		ip.check = ~fold((__u32)bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0));
		return bpf_skb_store_bytes(skb, h->s.ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
	}
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(ANSWER_SIZE + size),
		.nexthdr = IPPROTO_TCP,
		.hop_limit = 64,
	};

	__builtin_memcpy(&ip.saddr, t->remote, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, f->address, sizeof(ip.daddr));
	return bpf_skb_store_bytes(skb, h->s.ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* Sums the addresses of client and server, the protocol and the size, as a checksum begins. */
static __always_inline __u64 splice_pseudo(const struct hand *h, const struct pintle_tuple *t,
					   const struct pintle_splice *f, __u32 size)
{
	const __u32 *a = (const __u32 *)t->remote, *b = (const __u32 *)f->address;
	__u64 sum = bpf_htonl(size) + (__u64)bpf_htonl(IPPROTO_TCP) + a[3] + b[3];

	if (!h->v4)
		sum += (__u64)a[0] + a[1] + a[2] + b[0] + b[1] + b[2];
	return sum;
}

struct splice_summing {
	struct splice_work *w;
	__u64 sum;
	__u32 size;
	__u32 zero;
};

#define SPLICE_CHUNK 256

static long splice_sum_chunk(__u32 i, void *arg)
{
	struct splice_summing *s = arg;
	__u32 at = SPLICE_CHUNK * i, n;

	if (at >= s->size)
		return 1;
	n = (s->size - at + 3) & ~3U;
	if (n > SPLICE_CHUNK)
		n = SPLICE_CHUNK;
	at &= SPLICE_PIECE - SPLICE_CHUNK;
	s->sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)(s->w->piece + at),
				       at_least_1(n, SPLICE_CHUNK), 0);
	return 0;
}

/* The sum of the piece, behind which it writes zeros. */
__noinline int splice_sum(struct splice_work *w)
{
	struct splice_summing s = {.w = w};
	__u32 i, at;

	if (!w)
		return 0;
	s.size = w->piece_size;
#pragma unroll
	for (i = 0; i < 3; i++) {
		at = s.size + i;
		hide(at);
		if (at < sizeof(w->piece))
			w->piece[at] = 0;
	}
	bpf_loop(SPLICE_PIECE / SPLICE_CHUNK, splice_sum_chunk, &s, 0);
	return (int)fold(s.sum);
}

/* Completes w->answer, and makes the packet one with it and the first `size` bytes of w->piece. The
 * packet stands at an Ethernet header; `t` is the flow's key. */
__noinline int splice_write(struct __sk_buff *skb, const struct hand *h,
			    const struct pintle_splice *f, const struct pintle_tuple *t)
{
	struct splice_work *w = splice_work_find();
	__u32 size;
	__u64 sum;

	if (!w || !h || !f || !t)
		return -1;
	size = w->piece_size;
	if (size > SPLICE_PIECE)
		return -1;
	w->answer.tcp.source = bpf_htons(f->own_port);
	w->answer.tcp.dest = bpf_htons(f->port);
	w->answer.tcp.doff = ANSWER_SIZE / 4;
	w->answer.tcp.check = 0;
	sum = splice_pseudo(h, t, f, ANSWER_SIZE + size);
	if (!h->partial)
		sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)&w->answer, ANSWER_SIZE, 0) +
		       (__u64)(__u32)splice_sum(w);
	w->answer.tcp.check = h->partial ? fold(sum) : ~fold(sum);
	if (bpf_skb_change_tail(skb, h->s.tcp + ANSWER_SIZE + size, 0) ||
	    splice_ip(skb, h, t, f, size) ||
	    bpf_skb_store_bytes(skb, h->s.tcp, &w->answer, ANSWER_SIZE, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (!size)
		return 0;
	return bpf_skb_store_bytes(skb, h->s.tcp + ANSWER_SIZE, w->piece,
				   at_least_1(size, SPLICE_PIECE), BPF_F_RECOMPUTE_CSUM);
}

#endif
