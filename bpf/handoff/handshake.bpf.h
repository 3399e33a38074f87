/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * handshake.bpf.h - handshakes without a socket, and without any memory: a SYN is answered with a
 * cookie (cookie.bpf.h), the client's ACK and its probes with that cookie in them. What is kept of
 * a SYN for a moment only spares work. One text for TC (hand.bpf.c) and XDP (xdp.bpf.c).
 */
#ifndef PINTLE_HANDSHAKE_BPF_H
#define PINTLE_HANDSHAKE_BPF_H

#include "asking.bpf.h"
#include "rule/choose.bpf.h"
#include "cookie.bpf.h"
#include "held_entry.bpf.h"
#include "pieces.bpf.h"
#include "netns.bpf.h"
#include "packet.bpf.h"
#include "rest.bpf.h"

#define OPTIONS_AT 20 /* behind the TCP header */
#define HEADER_MAX 64 /* with options, and zeros behind them */

struct segment_header {
	__u8 bytes[HEADER_MAX] __attribute__((aligned(8)));
};

/* ---- a segment -------------------------------------------------------------------- */

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_PSH 0x08
#define FLAG_ACK 0x10
#define FLAG_URG 0x20
#define FLAG_ECE 0x40
#define FLAG_CWR 0x80

/* Whether a listener has got the connection: now, or once more with a segment that came again. */
enum hand_placed { PLACED_NOT, PLACED_FIRST, PLACED_AGAIN };

struct hand {
	struct segment s;
	__u64 now; /* when hand_begin() was called */
	struct pintle_ref pool;
	struct hold_part part; /* of a connection that is held */
	__u32 acknowledged;    /* sequence number, in host byte order */
	__u32 hash;            /* of s.tuple */
	__u8 flags;
	__u8 v4;
	__u8 partial;     /* 1: the checksum is to be completed where the packet leaves */
	__u8 redirect;    /* how an answer leaves in XDP; see way_leave() */
	__u8 held;        /* 1: what was held is in the packet, too */
	__u8 in_pods;     /* 1: the pool's servers are in pods */
	__u8 marked : 1;  /* segments that are held met congestion */
	__u8 unsure : 1;  /* the reset that ends a connection before may be lost */
	__u8 spliced : 1; /* 1: the pool's servers are anywhere; with in_pods */
	__u8 read : 1;    /* hand_scratch has the headers, read for the names of this pool */
	__u8 placed;      /* enum hand_placed */
	__u8 fits;        /* enum hand_fits, after fits_read() */
	__u8 kept;        /* what the cookie keeps of the SYN's options */
	__u8 timed;       /* 1: it has a timestamp */
	__u32 first;      /* where `fits` is not HAND_FITS_NOTHING: the connection's first byte */
};

static __always_inline void hand_count(const struct hand *h, __u32 hand)
{
	__u32 at = PINTLE_HAND_STAT(h->pool.id, hand);
	__u64 *n = bpf_map_lookup_elem(&hand_stats, &at);

	if (n)
		(*n)++;
}

static __always_inline __u64 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The sum of the pseudo-header of a segment of `size` bytes with its header; it is the same in both
 * directions. */
static __always_inline __u64 pseudo_sum(const struct hand *h, __u32 size)
{
	const __u32 *a = (const __u32 *)h->s.tuple.local, *b = (const __u32 *)h->s.tuple.remote;
	__u64 sum = bpf_htonl(size) + (__u64)bpf_htonl(IPPROTO_TCP) + a[3] + b[3];

	if (!h->v4)
		sum += (__u64)a[0] + a[1] + a[2] + b[0] + b[1] + b[2];
	return sum;
}

/* Where header_read() puts it: a part of the map of scratch that each object has. */
static __always_inline struct segment_header *header_find(void);

/* Reads the TCP header with its options. Returns 0, or -1 for a packet that cannot
 * be handled. */
FRAME_STEP header_read(frame *f, struct hand *h)
{
	struct segment_header *x = header_find();
	const struct tcphdr *tcp;

	/* The reply's IP header takes the place of this one, which must not have options. */
	if (!x || !h ||
	    h->s.tcp - h->s.ip > (h->v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return -1;
	__builtin_memset(x->bytes, 0, sizeof(x->bytes));
	if (frame_load(f, h->s.tcp, x->bytes, at_least_1(h->s.data - h->s.tcp, HEADER_MAX)))
		return -1;
	tcp = (const struct tcphdr *)x->bytes;
	h->acknowledged = bpf_ntohl(tcp->ack_seq);
	h->flags = x->bytes[13];
	return 0;
}

/* Finds out what the checksum is: of the whole segment; or, of one that has not left this machine
 * or was put together from several, of the pseudo-header alone. Returns -1 if it is neither, of a
 * segment without data. */
FRAME_STEP checksum_read(struct hand *h)
{
	struct segment_header *x = header_find();
	const struct tcphdr *tcp;
	__u32 size;
	__s64 sum;

	if (!x || !h)
		return -1;
	tcp = (const struct tcphdr *)x->bytes;
	size = h->s.data - h->s.tcp;
	h->partial = tcp->check == fold(pseudo_sum(h, size + h->s.size));
	if (h->s.size)
		return 0;
	sum = bpf_csum_diff(0, 0, (__be32 *)x->bytes, HEADER_MAX, 0);
	if (fold((__u64)(__u32)sum + pseudo_sum(h, size)) == 0xffff)
		h->partial = 0;
	else if (!h->partial)
		return -1;
	return 0;
}

/* RFC 7323 2.3: a larger one is to be taken for 14. */
static __always_inline void option_scale(struct hand_options *o, __u8 scale)
{
	o->has_scale = 1;
	o->scale = scale > 14 ? 14 : scale;
}

/* Reads options that stand as Linux writes them into a SYN or into any other segment, as the loop
 * would: each turn of it is a call. Returns false if they stand otherwise. */
static __always_inline bool options_usual(const struct segment_header *header, __u32 end,
					  struct hand_options *o)
{
	const __be32 *word = (const __be32 *)(header->bytes + OPTIONS_AT);

	if (end == OPTIONS_AT + 12 && word[0] == bpf_htonl(0x0101080a)) {
		word++;
	} else if (end == OPTIONS_AT + 20 &&
		   (word[0] & bpf_htonl(0xffff0000)) == bpf_htonl(0x02040000) &&
		   word[1] == bpf_htonl(0x0402080a) &&
		   (word[4] & bpf_htonl(0xffffff00)) == bpf_htonl(0x01030300)) {
		o->mss = bpf_ntohl(word[0]);
		o->has_sack = 1;
		option_scale(o, bpf_ntohl(word[4]));
		word += 2;
	} else {
		return false;
	}
	o->has_time = 1;
	o->value = bpf_ntohl(word[0]);
	o->echo = bpf_ntohl(word[1]);
	return true;
}

struct options_reading {
	const struct segment_header *header;
	struct hand_options *out;
	__u32 at, end;
};

static __always_inline __u32 be32_at(const __u8 *p)
{
	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3];
}

static long option_read(__u32 i, void *arg)
{
	struct options_reading *r = arg;
	struct hand_options *o = r->out;
	__u32 at = r->at, size;
	const __u8 *p;

	(void)i;
	hide(at);
	if (at >= r->end || at > HEADER_MAX - 10)
		return 1;
	p = r->header->bytes + at;
	if (p[0] == 1) { /* padding */
		r->at = at + 1;
		return 0;
	}
	size = p[1];
	if (!p[0] || size < 2 || at + size > r->end)
		return 1;
	if (p[0] == 2 && size == 4)
		o->mss = p[2] << 8 | p[3];
	if (p[0] == 3 && size == 3)
		option_scale(o, p[2]);
	if (p[0] == 4 && size == 2)
		o->has_sack = 1;
	if (p[0] == 8 && size == 10) {
		o->has_time = 1;
		o->value = be32_at(p + 2);
		o->echo = be32_at(p + 6);
	}
	if (p[0] == 19 || p[0] == 29)
		o->is_signed = 1;
	r->at = at + size;
	return 0;
}

FRAME_STEP options_read(const struct hand *h, struct hand_options *o)
{
	struct options_reading r = {.header = header_find(), .out = o, .at = OPTIONS_AT};

	if (!h || !o || !r.header)
		return 0;
	r.end = h->s.data - h->s.tcp;
	if (!options_usual(r.header, r.end, o))
		bpf_loop(40, option_read, &r, 0);
	return 0;
}

#include "way.bpf.h"

/* ---- answers ---------------------------------------------------------------------------- */

#define ANSWER_SIZE 40 /* of a TCP header with 20 bytes of options */

struct answer {
	struct tcphdr tcp;
	__u32 options[5];
};

/* No options. */
#define NOTHING_4 bpf_htonl(0x01010101)

static __always_inline int answer_ip(frame *f, const struct hand *h)
{
	const __u32 *local = (const __u32 *)h->s.tuple.local;
	const __u32 *remote = (const __u32 *)h->s.tuple.remote;

	if (h->v4) {
		struct iphdr ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(ip) + ANSWER_SIZE),
			.frag_off = bpf_htons(0x4000), /* not to be fragmented */
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.saddr = local[3],
			.daddr = remote[3],
		};

		ip.check = ~fold((__u32)bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0));
		return frame_store(f, h->s.ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
	}
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(ANSWER_SIZE),
		.nexthdr = IPPROTO_TCP,
		.hop_limit = 64,
	};

	__builtin_memcpy(&ip.saddr, local, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, remote, sizeof(ip.daddr));
	return frame_store(f, h->s.ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* The Ethernet header's addresses, where there is one: it begins the packet. */
static __always_inline int answer_link(frame *f, const struct hand *h)
{
	__u8 was[2 * ETH_ALEN], is[2 * ETH_ALEN];

	if (h->s.ip < ETH_HLEN)
		return 0;
	if (frame_load(f, 0, was, sizeof(was)))
		return -1;
	__builtin_memcpy(is, was + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(is + ETH_ALEN, was, ETH_ALEN);
	return frame_store(f, 0, is, sizeof(is), 0);
}

static __always_inline void answer_sum(const struct hand *h, struct answer *a)
{
	__u64 sum = pseudo_sum(h, ANSWER_SIZE);

	a->tcp.doff = ANSWER_SIZE / 4;
	a->tcp.check = 0;
	if (!h->partial)
		sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)a, ANSWER_SIZE, 0);
	a->tcp.check = h->partial ? fold(sum) : ~fold(sum);
}

/* Turns the segment into an answer, and sends it by the way that way_find() has found: what has
 * none in XDP may have one in TC. */
FRAME_STEP answer(frame *f, const struct hand *h, struct answer *a)
{
	if (!h || !a)
		return FRAME_DROP;
	a->tcp.source = bpf_htons(h->s.tuple.local_port);
	a->tcp.dest = bpf_htons(h->s.tuple.remote_port);
	answer_sum(h, a);
	/* Linux's SYNs are as long as their answers. */
	if (frame_size(f) != h->s.tcp + ANSWER_SIZE &&
	    frame_resize(f, h->s.ip, h->s.tcp + ANSWER_SIZE))
		return FRAME_UNABLE;
	if (answer_ip(f, h) || frame_store(f, h->s.tcp, a, ANSWER_SIZE, BPF_F_RECOMPUTE_CSUM) ||
	    answer_link(f, h))
		return FRAME_DROP;
	return way_leave(f, h);
}

static __always_inline void answer_begin(struct answer *a, const struct hand *h)
{
	__u32 i;

	__builtin_memset(a, 0, sizeof(*a));
#pragma unroll
	for (i = 0; i < 5; i++)
		a->options[i] = NOTHING_4;
	a->tcp.seq = bpf_htonl(h->acknowledged);
}

static __always_inline int answer_reset(frame *f, const struct hand *h)
{
	struct answer a;

	if (way_find(f, h) < 0)
		return FRAME_UNABLE;
	answer_begin(&a, h);
	a.tcp.rst = 1;
	return answer(f, h, &a);
}

/* A spliced connection has a window as large as what can be held of it: all that the client sends
 * before the server answers is kept. Smaller steps than HAND_SCALE's, since the server's windows
 * are told in them. */
#define HAND_SPLICE_WINDOW 15360
#define HAND_SPLICE_SCALE  8
/* A request of so many bytes fits into the window, whatever of it is acknowledged: windows are told
 * in steps. */
#define HAND_SPLICE_MOST (HAND_SPLICE_WINDOW - (1 << HAND_SPLICE_SCALE))

/* The window of an answer that acknowledges all before `sequence`. */
static __always_inline __be16 hand_window(const struct hand *h, bool scaled, __u32 sequence)
{
	__u32 left;

	if (!h->spliced)
		return bpf_htons(scaled ? 64240 >> HAND_SCALE : 64240);
	left = sequence - h->first;
	left = left < HAND_SPLICE_WINDOW ? HAND_SPLICE_WINDOW - left : 0;
	return bpf_htons(scaled ? left >> HAND_SPLICE_SCALE : left);
}

/* Acknowledges all before `sequence`; with `end`, the client's end besides, by one of the server's.
 * The time is the one that the client saw last: the server's clock, which begins there, must not be
 * behind it. */
FRAME_STEP answer_until(frame *f, const struct hand *h, __u32 sequence, bool end)
{
	struct hand_options o = {};
	struct answer a;

	if (!h)
		return FRAME_DROP;
	if (way_find(f, h) < 0)
		return FRAME_UNABLE;
	options_read(h, &o);
	answer_begin(&a, h);
	a.tcp.ack = 1;
	a.tcp.fin = end;
	a.tcp.ack_seq = bpf_htonl(sequence + end);
	hand_unpack(&o, h->kept);
	a.tcp.ece = h->marked && o.has_ecn;
	a.tcp.window = hand_window(h, o.has_scale, sequence);
	if (o.has_time) {
		a.options[0] = bpf_htonl(0x0101080a);
		a.options[1] = bpf_htonl(o.echo);
		a.options[2] = bpf_htonl(o.value);
	}
	return answer(f, h, &a);
}

static __always_inline int answer_ack(frame *f, const struct hand *h, __u32 sequence)
{
	return answer_until(f, h, sequence, false);
}

/* ---- the kernel's sockets ----------------------------------------------------------------- */

static __always_inline struct bpf_sock *socket_look(frame *f, const struct hand *h)
{
	const struct pintle_tuple *t = &h->s.tuple;
	struct bpf_sock_tuple k = {};

	if (h->v4) {
		k.ipv4.saddr = ((const __u32 *)t->remote)[3];
		k.ipv4.daddr = ((const __u32 *)t->local)[3];
		k.ipv4.sport = bpf_htons(t->remote_port);
		k.ipv4.dport = bpf_htons(t->local_port);
		return bpf_skc_lookup_tcp(f, &k, sizeof(k.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(k.ipv6.saddr, t->remote, sizeof(k.ipv6.saddr));
	__builtin_memcpy(k.ipv6.daddr, t->local, sizeof(k.ipv6.daddr));
	k.ipv6.sport = bpf_htons(t->remote_port);
	k.ipv6.dport = bpf_htons(t->local_port);
	return bpf_skc_lookup_tcp(f, &k, sizeof(k.ipv6), BPF_F_CURRENT_NETNS, 0);
}

#define STATE_TIME_WAIT 6
#define STATE_LISTEN    10

/* Whether the segment belongs to a connection that the kernel knows: one in its handshake, and one
 * in TIME-WAIT, are such, too. Returns its state, or 0 if there is none. */
FRAME_STEP socket_there(frame *f, const struct hand *h)
{
	struct pintle_asking *a = asking_find();
	struct bpf_sock *sk;
	int state;

	if (!a || !h)
		return 0;
	a->state = PINTLE_ASKING_WHETHER;
	sk = socket_look(f, h);
	a->state = PINTLE_ASKING_NOTHING;
	if (!sk)
		return 0;
	state = sk->state == STATE_LISTEN ? 0 : (int)sk->state;
	bpf_sk_release(sk);
	return state;
}

/* Whether packets for the destination are this machine's own. */
FRAME_STEP is_local(frame *f, const struct hand *h)
{
	struct bpf_fib_lookup fib = {.l4_protocol = IPPROTO_TCP};
	long result;

	if (!h)
		return 0;
	fib.ifindex = frame_device(f);
	if (h->v4) {
		fib.family = AF_INET;
		fib.ipv4_src = ((const __u32 *)h->s.tuple.remote)[3];
		fib.ipv4_dst = ((const __u32 *)h->s.tuple.local)[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, h->s.tuple.remote, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, h->s.tuple.local, sizeof(fib.ipv6_dst));
	}
	result = bpf_fib_lookup(f, &fib, sizeof(fib), 0);
	return result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* ---- SYN ------------------------------------------------------------------------------------ */

static __always_inline const struct hand_secret *secret_find(void)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	_Static_assert(sizeof(n->hint_key) == sizeof(struct hand_secret), "the same");
	return n ? (const struct hand_secret *)n->hint_key : NULL;
}

static __always_inline __u64 hand_now_ms(void)
{
	return bpf_ktime_get_boot_ns() / 1000000;
}

/* The bits of ECN in the second byte of the IP header. */
static __always_inline __u8 ecn_mask(const struct hand *h)
{
	return h->v4 ? 0x03 : 0x30;
}

/* Whether the SYN asks for ECN, and this network namespace agrees, as in tcp_ecn_create_request().
 * In a pod another one may not. */
FRAME_STEP takes_ecn(frame *f, const struct hand *h)
{
	__u8 ip[2];

	if (!h || h->in_pods || ~h->flags & (FLAG_ECE | FLAG_CWR) ||
	    frame_load(f, h->s.ip, ip, sizeof(ip)))
		return 0;
	return !(ip[1] & ecn_mask(h)) && frame_net_device(f)->nd_net.net->ipv4.sysctl_tcp_ecn;
}

/* A SYN that was answered on this CPU a moment ago. The client's next segments come to the same
 * CPU, as a rule, and then neither a socket nor a held connection is looked for, and no cookie
 * computed: that there was no socket, and that packets for the destination are this machine's own,
 * was found out for the SYN. An entry is not needed: a flood of SYNs overwrites all of them, and
 * then the cookie says the same. Nobody else knows the cookie, so it is not guessed here either. */
#define BEGUN    256
#define BEGUN_NS 1000000000ULL /* 1 s */

struct begun {
	struct pintle_tuple tuple;
	__u32 sequence;     /* of the first byte of data */
	__u32 acknowledged; /* by the client: one more than the cookie */
	__u64 when;         /* 0: its first data came */
	__u32 kept;         /* what the cookie keeps */
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BEGUN);
	__type(key, __u32);
	__type(value, struct begun);
} MAP(hand_begun);

static __always_inline struct begun *begun_at(const struct hand *h)
{
	__u32 at = h->hash % BEGUN;

	return bpf_map_lookup_elem(&hand_begun, &at);
}

static __always_inline void begun_make(const struct hand *h, const struct hand_syn *syn)
{
	struct begun *b = begun_at(h);

	if (!b)
		return;
	b->tuple = h->s.tuple;
	b->sequence = h->s.sequence + 1;
	b->acknowledged = syn->cookie + 1;
	b->when = h->now;
	b->kept = syn->kept;
}

/* The entry of the connection whose first segment behind the SYN this may be: begun_is() says
 * whether it is, after hand_begin(). */
static __always_inline struct begun *begun_find(const struct hand *h)
{
	struct begun *b = begun_at(h);

	return b && b->sequence == h->s.sequence && tuple_is(&b->tuple, &h->s.tuple) ? b : NULL;
}

static __always_inline bool begun_is(const struct begun *b, const struct hand *h)
{
	return b->acknowledged == h->acknowledged && h->now - b->when < BEGUN_NS;
}

/* Takes off the options what this network namespace does not have, as tcp_parse_options() leaves it
 * out: it would make no socket with them. */
static __always_inline void options_keep(const struct net *net, struct hand_options *o)
{
	o->has_sack &= !!net->ipv4.sysctl_tcp_sack;
	o->has_time &= !!net->ipv4.sysctl_tcp_timestamps;
	o->has_scale &= !!net->ipv4.sysctl_tcp_window_scaling;
}

/* The smallest largest segment with which bpf_sk_assign_tcp_reqsk() takes a connection; it is also
 * what a client has that names none. */
static __always_inline __u32 mss_least(const struct hand *h)
{
	return h->v4 ? 536 : 1220;
}

/* Answers the SYN, or leaves it to the kernel: where it is signed, where there is no way, and where
 * the client takes no segments of that size; the kernel sends it smaller ones. "fd99::7", behind a
 * tunnel that writes 1200 into SYNs. Nobody but the hand-off brings a client to a pod. */
FRAME_STEP answer_syn(frame *f, const struct hand *h)
{
	const struct hand_secret *secret;
	struct hand_options o = {};
	struct hand_syn syn = {};
	struct answer a;

	/* No client begins so; the kernel's listeners drop it, too. */
	if (!h || h->flags & (FLAG_FIN | FLAG_RST))
		return FRAME_DROP;
	options_read(h, &o);
	/* Servers in pods have sysctls of their own. */
	if (!h->in_pods)
		options_keep(frame_net_device(f)->nd_net.net, &o);
	if (!o.mss)
		o.mss = mss_least(h);
	if (o.is_signed || (o.mss < mss_least(h) && !h->in_pods) || way_find(f, h) < 0)
		return FRAME_PASS;
	secret = secret_find();
	if (!secret)
		return FRAME_DROP;
	o.has_ecn = o.has_time && takes_ecn(f, h) > 0;
	syn.sequence = h->s.sequence;
	hand_cookie_make(&h->s.tuple, &o, hand_now_ms(), secret, &syn);
	if (!h->unsure)
		begun_make(h, &syn);
	answer_begin(&a, h);
	a.tcp.seq = bpf_htonl(syn.cookie);
	a.tcp.ack_seq = bpf_htonl(h->s.sequence + 1);
	a.tcp.syn = 1;
	a.tcp.ack = 1;
	a.tcp.ece = o.has_ecn;
	a.tcp.window = bpf_htons(h->spliced ? HAND_SPLICE_WINDOW : 64240);
	a.options[0] = bpf_htonl(0x02040000 | way_mss(h));
	if (o.has_sack)
		a.options[1] = bpf_htonl(0x01010402);
	if (o.has_time) {
		a.options[1] = bpf_htonl(o.has_sack ? 0x0402080a : 0x0101080a);
		a.options[2] = bpf_htonl(syn.time);
		a.options[3] = bpf_htonl(o.value);
	}
	if (o.has_scale)
		a.options[4] =
			bpf_htonl(0x01030300 | (h->spliced ? HAND_SPLICE_SCALE : HAND_SCALE));
	return answer(f, h, &a);
}

/* Finds what the segment is by its numbers, less `ends`, and what its cookie keeps. Returns enum
 * hand_fits. */
FRAME_STEP fits_read(struct hand *h, __u32 ends)
{
	const struct hand_secret *secret = secret_find();
	struct hand_options o = {};
	struct hand_fit fit = {};

	if (!h || !secret)
		return HAND_FITS_NOTHING;
	options_read(h, &o);
	fit.sequence = h->s.sequence - ends;
	fit.cookie = h->acknowledged - 1 - ends;
	hand_cookie_read(&h->s.tuple, &o, hand_now_ms(), secret, &fit);
	h->fits = fit.fits;
	h->timed = o.has_time;
	h->kept = fit.kept;
	h->first = fit.first;
	return h->fits;
}

/* Whether the hand-off rests, so that handshakes are the kernel's: in mode off, and where `decide`
 * was set to `connection`. Those that it has begun go on. */
static __always_inline bool hand_rests(const struct hand *h, const struct pintle_pool *pool)
{
	return pool->decide == PINTLE_DECIDE_RESTS ||
	       pool_mode(h->pool.id, pool, h->now) == PINTLE_MODE_OFF;
}

/* Whether it rests for want of sockets. A pod's server has no listener in this namespace, so the
 * kernel cannot take its connections. A function of its own, because of its stack. */
FRAME_STEP hand_lacks_sockets(const struct hand *h)
{
	if (!h || h->in_pods)
		return 0;
	if (h->s.syn)
		rest_look(&h->pool, &h->s.tuple);
	return rest_holds(&h->pool, &h->s.tuple, h->hash, h->s.syn);
}

static __always_inline bool hand_is_off(const struct hand *h, const struct pintle_pool *pool)
{
	return hand_rests(h, pool) || hand_lacks_sockets(h) > 0;
}

/* Whether the kernel makes sockets in the packet's namespace for handshakes that it has not seen:
 * it resets what is handed over to it while net.ipv4.tcp_syncookies is 0. */
static __always_inline bool netns_takes(frame *f)
{
	return frame_net_device(f)->nd_net.net->ipv4.sysctl_tcp_syncookies;
}

/* The same of where the connection's server is. Servers in pods are in namespaces of their own,
 * which say it for themselves. */
static __always_inline bool kernel_takes(frame *f, const struct hand *h)
{
	return h->in_pods || netns_takes(f);
}

/* ---- TC behind XDP ----------------------------------------------------------------------- */

/* A handshake that XDP begins, TC must end. So XDP answers only where TC has just seen segments to
 * such frontends: where nobody attached it, or where another's filter now takes the packets before
 * it, XDP is silent, and the kernel answers. */
#define SEEN_FRESH_NS 1000000000ULL /* 1 s */
#define SEEN_AGAIN_NS 250000000ULL

static __always_inline struct pintle_hand_seen *seen_at(__u32 device)
{
	__u32 at = device % PINTLE_HAND_SEEN_SLOTS;

	return bpf_map_lookup_elem(&hand_seen, &at);
}

static __always_inline void seen_make(__u32 device, __u64 now)
{
	struct pintle_hand_seen *s = seen_at(device);

	if (!s || (s->device == device && now - s->when < SEEN_AGAIN_NS))
		return;
	s->device = device;
	s->when = now;
}

static __always_inline bool seen_is(__u32 device, __u64 now)
{
	const struct pintle_hand_seen *s = seen_at(device);

	return s && s->device == device && now - s->when < SEEN_FRESH_NS;
}

/* ---- whose it is ----------------------------------------------------------------------- */

/* Finds the pool of the segment's destination. Returns NULL unless that is decided by request. */
static __always_inline struct pintle_pool *hand_pool(struct hand *h)
{
	struct pintle_pool *pool;

	frontend_of(&h->s.tuple, PINTLE_HOOK_LOOKUP, &h->pool);
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool || pool->decide == PINTLE_DECIDE_CONNECTION)
		return NULL;
	h->v4 = address_is_v4(h->s.tuple.local);
	h->in_pods = !!pool->in_pods;
	h->hash = tuple_hash(&h->s.tuple);
	return pool;
}

/* Reads what else is needed of a segment without a socket. Returns false if it cannot be handled.
 */
static __always_inline bool hand_begin(frame *f, struct hand *h)
{
	h->now = bpf_ktime_get_ns();
	return !header_read(f, h);
}

#endif
