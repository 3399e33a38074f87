/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * splice_back.bpf.h - what goes to a pod: segments of servers of spliced connections, and what
 * routers say about the client's.
 */
#ifndef PINTLE_SPLICE_BACK_BPF_H
#define PINTLE_SPLICE_BACK_BPF_H

/* The server has answered the SYN: what is held goes there. */
__noinline int splice_open(struct __sk_buff *skb, struct hand *h, struct pintle_splice *f,
			   const struct pintle_tuple *t)
{
	struct splice_work *w = splice_work_find();
	struct hand_options o = {};
	__u32 mtu = 0, least, headers;

	if (!w || !h || !f || !t || checksum_read(h) < 0)
		return TC_ACT_SHOT;
	options_read(h, &o);
	least = mss_least(h);
	headers = (h->v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + ANSWER_SIZE;
	bpf_check_mtu(skb, skb->ifindex, &mtu, 0, 0);
	if (f->state == PINTLE_SPLICE_OPEN && h->now - f->sent_ns < SPLICE_REMIND_NS)
		return TC_ACT_SHOT;
	f->sent_ns = h->now;
	if (o.mss < least)
		o.mss = least;
	if (f->state != PINTLE_SPLICE_OPEN) {
		f->mss = o.mss - (ANSWER_SIZE - sizeof(struct tcphdr));
		if (mtu > headers && f->mss > mtu - headers)
			f->mss = mtu - headers;
		if (f->mss > SPLICE_PIECE)
			f->mss = SPLICE_PIECE;
		f->sent_ns = 0; /* what is lost of this may be asked for at once */
		f->shift = f->acknowledged - 1 - h->s.sequence;
		f->time = o.has_time ? f->time - o.value : 0;
		f->scale_back = f->flags & PINTLE_SPLICE_OFFERED && o.has_scale ? o.scale : 0;
		if (f->flags & PINTLE_SPLICE_OFFERED && o.has_scale)
			__sync_fetch_and_or(&f->flags, PINTLE_SPLICE_SCALES);
		f->state = PINTLE_SPLICE_OPEN;
	}
	splice_head(w, f, h->s.sequence + 1, o.has_time, f->value, o.value);
	if (!answer_link(skb, h))
		splice_send(skb, h, f, t, 0);
	return TC_ACT_SHOT;
}

/* The server lacks held bytes: it gets the first segment of these. What it has sent by then may not
 * have come to the client, so its segment's number is not acknowledged. */
static __always_inline int splice_remind(struct __sk_buff *skb, struct hand *h,
					 struct pintle_splice *f, const struct pintle_tuple *t)
{
	struct splice_work *w = splice_work_find();
	struct hand_options o = {};

	if (!w || checksum_read(h) < 0)
		return TC_ACT_SHOT;
	f->sent_ns = h->now;
	__sync_fetch_and_or(&f->flags, PINTLE_SPLICE_LACKS);
	options_read(h, &o);
	splice_head(w, f, f->acknowledged - f->shift, o.has_time, f->value, o.value);
	if (!answer_link(skb, h))
		splice_send(skb, h, f, t, 1);
	return TC_ACT_SHOT;
}

/* Notes what the server has. Returns whether the segment tells nothing but that it waits for held
 * bytes; `lacks`: these were lost, since it says the same as before, or has got what it lacked, and
 * no more. */
static __always_inline bool splice_acknowledge(const struct hand *h, struct pintle_splice *f,
					       const struct pintle_tuple *t, bool *lacks)
{
	__u32 more = h->acknowledged - f->acked;

	if (more)
		*lacks = f->flags & PINTLE_SPLICE_LACKS && (__s32)more >= f->mss;
	else
		*lacks = h->now - f->sent_ns >= SPLICE_REMIND_NS;
	if (f->acked == f->end)
		return false;
	/* Behind that it may have some that went there after the held ones. */
	if ((__s32)more > 0)
		f->acked = more < f->end - f->acked ? h->acknowledged : f->end;
	if (f->acked == f->end) {
		held_forget(t);
		return false;
	}
	return !h->s.size && !(h->flags & (FLAG_FIN | FLAG_RST));
}

/* A segment of the server, before it has answered the SYN. */
static __always_inline int splice_answered(struct __sk_buff *skb, struct hand *h,
					   struct pintle_splice *f, const struct pintle_tuple *t)
{
	bool ours = h->acknowledged == f->first;

	if (f->state == PINTLE_SPLICE_GONE || !ours)
		return TC_ACT_SHOT;
	if ((h->flags & (FLAG_SYN | FLAG_ACK | FLAG_RST)) == (FLAG_SYN | FLAG_ACK))
		return splice_open(skb, h, f, t);
	if (h->flags & FLAG_RST)
		f->state = PINTLE_SPLICE_REFUSED;
	return TC_ACT_SHOT;
}

static __always_inline int splice_server(struct __sk_buff *skb, struct hand *h,
					 struct pintle_splice *f, const struct pintle_tuple *t)
{
	bool lacks;

	h->v4 = address_is_v4(h->s.tuple.local);
	h->pool = f->pool;
	if (!hand_begin(skb, h))
		return TC_ACT_SHOT;
	if (f->state != PINTLE_SPLICE_OPEN)
		return splice_answered(skb, h, f, t);
	/* What acknowledged it was lost. */
	if (h->flags & FLAG_SYN)
		return h->acknowledged == f->first ? splice_open(skb, h, f, t) : TC_ACT_SHOT;
	if (h->flags & FLAG_ACK && splice_acknowledge(h, f, t, &lacks))
		return lacks ? splice_remind(skb, h, f, t) : TC_ACT_SHOT;
	return splice_homeward(skb, h, f, t) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* The flow to whose client the server's segment goes, and its key. */
static __always_inline struct pintle_splice *splice_of(const struct pintle_tuple *back,
						       struct pintle_tuple *t)
{
	struct pintle_splice_back *b;
	struct pintle_splice *f;

	*t = *back;
	b = bpf_map_lookup_elem(&splice_backs, t);
	if (!b)
		return NULL;
	*t = b->tuple;
	f = bpf_map_lookup_elem(&splices, t);
	return f && f->acknowledged == b->acknowledged ? f : NULL;
}

__noinline int splice_out(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_splice *f;
	struct pintle_tuple t;

	if (!h)
		return TC_ACT_UNSPEC;
	f = splice_of(&h->s.tuple, &t);
	if (f && (!f->device || f->device == skb->ifindex))
		return splice_server(skb, h, f, &t);
	if (!f)
		splice_look_back(skb, &h->s.tuple);
	return TC_ACT_UNSPEC;
}

/* ---- what routers say ------------------------------------------------------------------------ */

/* The head of an ICMP error, behind which it quotes the packet that it is about. */
struct splice_error {
	__u8 type;
	__u8 code;
	__be16 check;
	__be16 of_mtu6; /* the upper half, for ICMPv6 */
	__be16 mtu;     /* of what was too large, 0 or not */
};

/* The ends of the quoted segment, which is the client's, as it was on its way to the server. */
struct splice_quote {
	__u32 ip; /* offset of the quoted IP header */
	__u32 tcp;
	__u32 address; /* of its destination address */
	__u32 check;   /* of the error's checksum */
	__u32 mtu;     /* 0: that is not what it says */
};

/* An error of ICMP says what became of a segment: too large, or not to be delivered. */
static __always_inline bool splice_quote4(struct __sk_buff *skb, struct hand *h,
					  struct splice_quote *q)
{
	struct splice_error e;
	struct iphdr ip;
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl != 5 ||
	    ip.protocol != IPPROTO_ICMP || ip.frag_off & bpf_htons(0x3fff))
		return false;
	q->check = ETH_HLEN + sizeof(ip);
	if (bpf_skb_load_bytes(skb, q->check, &e, sizeof(e)) || (e.type != 3 && e.type != 11))
		return false;
	q->mtu = e.type == 3 && e.code == 4 ? bpf_ntohs(e.mtu) : 0;
	q->ip = q->check + sizeof(e);
	if (bpf_skb_load_bytes(skb, q->ip, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl != 5 ||
	    ip.protocol != IPPROTO_TCP)
		return false;
	q->tcp = q->ip + sizeof(ip);
	if (bpf_skb_load_bytes(skb, q->tcp, ports, sizeof(ports)))
		return false;
	address_v4(h->s.tuple.local, ip.saddr);
	address_v4(h->s.tuple.remote, ip.daddr);
	h->s.tuple.local_port = bpf_ntohs(ports[0]);
	h->s.tuple.remote_port = bpf_ntohs(ports[1]);
	q->address = q->ip + __builtin_offsetof(struct iphdr, daddr);
	q->check += __builtin_offsetof(struct splice_error, check);
	return true;
}

static __always_inline bool splice_quote6(struct __sk_buff *skb, struct hand *h,
					  struct splice_quote *q)
{
	struct splice_error e;
	struct ipv6hdr ip;
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 6 ||
	    ip.nexthdr != IPPROTO_ICMPV6)
		return false;
	q->check = ETH_HLEN + sizeof(ip);
	if (bpf_skb_load_bytes(skb, q->check, &e, sizeof(e)) || !e.type || e.type > 3)
		return false;
	q->mtu = e.type == 2 && !e.of_mtu6 ? bpf_ntohs(e.mtu) : 0;
	q->ip = q->check + sizeof(e);
	if (bpf_skb_load_bytes(skb, q->ip, &ip, sizeof(ip)) || ip.version != 6 ||
	    ip.nexthdr != IPPROTO_TCP)
		return false;
	q->tcp = q->ip + sizeof(ip);
	if (bpf_skb_load_bytes(skb, q->tcp, ports, sizeof(ports)))
		return false;
	__builtin_memcpy(h->s.tuple.local, &ip.saddr, sizeof(h->s.tuple.local));
	__builtin_memcpy(h->s.tuple.remote, &ip.daddr, sizeof(h->s.tuple.remote));
	h->s.tuple.local_port = bpf_ntohs(ports[0]);
	h->s.tuple.remote_port = bpf_ntohs(ports[1]);
	q->address = q->ip + __builtin_offsetof(struct ipv6hdr, daddr);
	q->check += __builtin_offsetof(struct splice_error, check);
	return true;
}

/* Writes into the quote what the client has sent: the frontend's address, and the ports of its own
 * connection. The checksum of ICMP covers the quote. */
static __always_inline int splice_requote(struct __sk_buff *skb, const struct hand *h,
					  const struct splice_quote *q,
					  const struct pintle_tuple *t)
{
	__be16 was[2] = {bpf_htons(h->s.tuple.local_port), bpf_htons(h->s.tuple.remote_port)};
	__be16 is[2] = {bpf_htons(t->remote_port), bpf_htons(t->local_port)};
	__s64 differ = bpf_csum_diff((__be32 *)was, sizeof(was), (__be32 *)is, sizeof(is), 0);
	__u32 from = ((const __u32 *)h->s.tuple.remote)[3], to = ((const __u32 *)t->local)[3];
	long failed;

	if (h->v4) {
		differ = bpf_csum_diff(&from, sizeof(from), &to, sizeof(to), differ);
		failed = bpf_skb_store_bytes(skb, q->address, &to, sizeof(to), 0);
	} else {
		differ = bpf_csum_diff((__be32 *)h->s.tuple.remote, 16, (__be32 *)t->local, 16,
				       differ);
		failed = bpf_skb_store_bytes(skb, q->address, t->local, 16, 0);
	}
	if (failed || bpf_skb_store_bytes(skb, q->tcp, is, sizeof(is), 0))
		return -1;
	return bpf_l4_csum_replace(skb, q->check, 0, differ, 0);
}

/* What is held goes on in segments that fit, when the client sends its last again. Nobody can make
 * them smaller than each path takes. */
static __always_inline void splice_shrink(const struct hand *h, struct pintle_splice *f, __u32 mtu)
{
	__u32 least = mss_least(h) - (ANSWER_SIZE - sizeof(struct tcphdr));
	__u32 headers = (h->v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + ANSWER_SIZE;

	if (mtu < headers + least || mtu - headers >= f->mss)
		return;
	f->mss = mtu - headers;
}

/* What goes to a pod, and is no segment. The quoted segment went from the pod, as the answers come
 * to it: so it names the flow as they do. Of the numbers only the client's own is quoted. */
__noinline int splice_other(struct __sk_buff *skb, struct hand *h)
{
	struct splice_quote q = {};
	struct pintle_splice *f;
	struct pintle_tuple t;

	if (!h)
		return TC_ACT_UNSPEC;
	h->s.tuple.scope = scope;
	h->v4 = skb->protocol == bpf_htons(ETH_P_IP);
	if (h->v4 ? !splice_quote4(skb, h, &q)
		  : skb->protocol != bpf_htons(ETH_P_IPV6) || !splice_quote6(skb, h, &q))
		return TC_ACT_UNSPEC;
	f = splice_of(&h->s.tuple, &t);
	if (!f || f->device != skb->ifindex)
		return TC_ACT_UNSPEC;
	splice_shrink(h, f, q.mtu);
	return splice_requote(skb, h, &q, &t) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#endif
