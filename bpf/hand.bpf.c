/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand.bpf.c - the hand-off (TC), for pools that are decided by request. It waits for a
 * connection's first request before the connection has a socket, and then hands it to the server
 * that the rule chooses. It decides nothing: see asking.bpf.h.
 *
 *   SYN               answered with a cookie (hand.bpf.h), without any memory
 *   the client's ACK  dropped: nothing is there yet that it could establish
 *   first segment     its headers are read, the lookup hook decides, and the listener takes the
 *                     connection together with the segment (bpf_sk_assign_tcp_reqsk(), Linux 6.9)
 *   all later ones    belong to a socket, and pass
 *
 * Packets to other destinations leave after one look-up. Where this program is not attached, or
 * another filter takes the packets before it, the kernel answers the SYN, and the lookup hook
 * decides by the connection's addresses.
 */
#include "asking.bpf.h"
#include "choose.bpf.h"
#include "hand.bpf.h"

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

/* ---- the kernel's ----------------------------------------------------------------- */

/* A type that is only declared would be refused by libbpf 1.1. */
struct sock {
	int sk_err;
} __attribute__((preserve_access_index));

struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct bpf_tcp_req_attrs *attrs, int attrs__sz) __ksym __weak;

/* ---- what is kept, not pinned ------------------------------------------------------- */

#define OPTIONS_AT   20 /* behind the TCP header */
#define HEADER_MAX   64 /* with options, and zeros behind them */
#define HANDED       256
#define STRAYS       1024
#define HANDED_NS    20000000ULL    /* 20 ms */
#define STRAY_MIN_NS 1000000000ULL  /* 1 s */
#define STRAY_MAX_NS 60000000000ULL /* 1 min */

/* A connection that was handed over on this CPU a moment ago. */
struct handed {
	__u64 when;
	__u32 hash;
	__u32 left;     /* segments that may be queued again */
	__u32 sequence; /* of the segment that was handed over with it */
	__u32 zero;
};

/* A segment of no connection that came before. */
struct stray {
	__u64 first;
	__u64 hash;
};

struct hand_scratch {
	struct request_scan scan;
	struct hand_named named;
	__u8 header[HEADER_MAX] __attribute__((aligned(8)));
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hand_scratch);
} MAP(hand_scratch);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HANDED);
	__type(key, __u32);
	__type(value, struct handed);
} MAP(hand_notes);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STRAYS);
	__type(key, __u32);
	__type(value, struct stray);
} MAP(hand_strays);

/* ---- a segment -------------------------------------------------------------------- */

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_PSH 0x08
#define FLAG_ACK 0x10

struct hand {
	struct segment s;
	struct pintle_ref pool;
	struct hand_secret secret;
	__u32 acknowledged; /* sequence number, in host byte order */
	__u32 ip;           /* offset of the IP header */
	__u8 flags;
	__u8 v4;
	__u8 partial; /* 1: the checksum is to be completed where the packet leaves */
	__u8 zero;
};

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

static __always_inline struct hand_scratch *scratch_find(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&hand_scratch, &zero);
}

/* Reads the TCP header with its options into the scratch. Returns 0, or -1 for a packet that cannot
 * be handled. */
__noinline int header_read(struct __sk_buff *skb, struct hand *h)
{
	struct hand_scratch *x = scratch_find();
	const struct tcphdr *tcp;
	__u32 options;
	__u8 first;

	if (!x || !h)
		return -1;
	__builtin_memset(x->header, 0, sizeof(x->header));
	if (bpf_skb_load_bytes(skb, h->s.tcp, x->header, OPTIONS_AT))
		return -1;
	options = h->s.data - h->s.tcp - OPTIONS_AT;
	if (options) {
		options = at_least_1(options, 64);
		if (options > HEADER_MAX - OPTIONS_AT ||
		    bpf_skb_load_bytes(skb, h->s.tcp + OPTIONS_AT, x->header + OPTIONS_AT, options))
			return -1;
	}
	tcp = (const struct tcphdr *)x->header;
	h->acknowledged = bpf_ntohl(tcp->ack_seq);
	h->flags = x->header[13];
	h->v4 = address_is_v4(h->s.tuple.local);
	h->ip = h->s.tcp - (h->v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	/* The reply's IP header takes the place of this one, which must not have options. */
	return bpf_skb_load_bytes(skb, h->ip, &first, 1) || first != (h->v4 ? 0x45 : first);
}

/* Finds out what the checksum is: of the whole segment; or, of one that has not left this machine
 * or was put together from several, of the pseudo-header alone. Returns -1 if it is neither, of a
 * segment without data. */
__noinline int checksum_read(struct hand *h)
{
	struct hand_scratch *x = scratch_find();
	const struct tcphdr *tcp;
	__u32 size;
	__s64 sum;

	if (!x || !h)
		return -1;
	tcp = (const struct tcphdr *)x->header;
	size = h->s.data - h->s.tcp;
	h->partial = tcp->check == fold(pseudo_sum(h, size + h->s.size));
	if (h->s.size)
		return 0;
	sum = bpf_csum_diff(0, 0, (__be32 *)x->header, HEADER_MAX, 0);
	if (fold((__u64)(__u32)sum + pseudo_sum(h, size)) == 0xffff)
		h->partial = 0;
	else if (!h->partial)
		return -1;
	return 0;
}

struct options_reading {
	const struct hand_scratch *scratch;
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
	p = r->scratch->header + at;
	if (p[0] == 1) { /* padding */
		r->at = at + 1;
		return 0;
	}
	size = p[1];
	if (!p[0] || size < 2)
		return 1;
	if (p[0] == 2 && size == 4)
		o->mss = p[2] << 8 | p[3];
	if (p[0] == 3 && size == 3) {
		o->has_scale = 1;
		o->scale = p[2] > 14 ? 14 : p[2];
	}
	if (p[0] == 4 && size == 2)
		o->has_sack = 1;
	if (p[0] == 8 && size == 10) {
		o->has_time = 1;
		o->value = be32_at(p + 2);
		o->echo = be32_at(p + 6);
	}
	r->at = at + size;
	return 0;
}

__noinline int options_read(const struct hand *h, struct hand_options *o)
{
	struct options_reading r = {.scratch = scratch_find(), .out = o, .at = OPTIONS_AT};

	if (!h || !o || !r.scratch)
		return 0;
	r.end = h->s.data - h->s.tcp;
	bpf_loop(40, option_read, &r, 0);
	return 0;
}

/* ---- counts --------------------------------------------------------------------------- */

static __always_inline int hand_count(const struct hand *h, __u32 hand)
{
	__u32 at = PINTLE_HAND_STAT(h->pool.id, hand);
	__u64 *n = bpf_map_lookup_elem(&hand_stats, &at);

	if (n)
		(*n)++;
	return 0;
}

/* ---- answers ---------------------------------------------------------------------------- */

#define ANSWER_SIZE 40 /* of a TCP header with 20 bytes of options */

struct answer {
	struct tcphdr tcp;
	__u32 options[5];
};

/* No options. */
#define NOTHING_4 bpf_htonl(0x01010101)

static __always_inline int answer_ip(struct __sk_buff *skb, const struct hand *h)
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
		return bpf_skb_store_bytes(skb, h->ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
	}
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(ANSWER_SIZE),
		.nexthdr = IPPROTO_TCP,
		.hop_limit = 64,
	};

	__builtin_memcpy(&ip.saddr, local, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, remote, sizeof(ip.daddr));
	return bpf_skb_store_bytes(skb, h->ip, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* The Ethernet header's addresses, where there is one: it begins the packet. */
static __always_inline int answer_link(struct __sk_buff *skb, const struct hand *h)
{
	__u8 was[2 * ETH_ALEN], is[2 * ETH_ALEN];

	if (h->ip < ETH_HLEN)
		return 0;
	if (bpf_skb_load_bytes(skb, 0, was, sizeof(was)))
		return -1;
	__builtin_memcpy(is, was + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(is + ETH_ALEN, was, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, is, sizeof(is), 0);
}

/* Turns the segment into an answer, and sends it back by the device by which it came. */
__noinline int answer(struct __sk_buff *skb, const struct hand *h, struct answer *a)
{
	__u64 sum;

	if (!h || !a)
		return TC_ACT_SHOT;
	a->tcp.source = bpf_htons(h->s.tuple.local_port);
	a->tcp.dest = bpf_htons(h->s.tuple.remote_port);
	a->tcp.doff = ANSWER_SIZE / 4;
	a->tcp.check = 0;
	sum = (__u32)bpf_csum_diff(0, 0, (__be32 *)a, ANSWER_SIZE, 0);
	a->tcp.check = h->partial ? fold(pseudo_sum(h, ANSWER_SIZE))
				  : ~fold(sum + pseudo_sum(h, ANSWER_SIZE));
	if (bpf_skb_change_tail(skb, h->s.tcp + ANSWER_SIZE, 0) || answer_ip(skb, h) ||
	    bpf_skb_store_bytes(skb, h->s.tcp, a, ANSWER_SIZE, BPF_F_RECOMPUTE_CSUM) ||
	    answer_link(skb, h))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
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

static __always_inline int answer_reset(struct __sk_buff *skb, const struct hand *h)
{
	struct answer a;

	answer_begin(&a, h);
	a.tcp.rst = 1;
	return answer(skb, h, &a);
}

/* Acknowledges all before `sequence`. The time is the one that the client saw last: the server's
 * clock, which begins there, must not be behind it. */
__noinline int answer_ack(struct __sk_buff *skb, const struct hand *h, __u32 sequence)
{
	struct hand_options o = {};
	struct answer a;

	if (!h)
		return TC_ACT_SHOT;
	options_read(h, &o);
	answer_begin(&a, h);
	a.tcp.ack = 1;
	a.tcp.ack_seq = bpf_htonl(sequence);
	a.tcp.window = bpf_htons(63);
	if (o.has_time) {
		a.options[0] = bpf_htonl(0x0101080a);
		a.options[1] = bpf_htonl(o.echo);
		a.options[2] = bpf_htonl(o.value);
	}
	return answer(skb, h, &a);
}

/* ---- the kernel's sockets ----------------------------------------------------------------- */

static __always_inline struct bpf_sock *socket_look(struct __sk_buff *skb, const struct hand *h)
{
	const struct pintle_tuple *t = &h->s.tuple;
	struct bpf_sock_tuple k = {};

	if (h->v4) {
		k.ipv4.saddr = ((const __u32 *)t->remote)[3];
		k.ipv4.daddr = ((const __u32 *)t->local)[3];
		k.ipv4.sport = bpf_htons(t->remote_port);
		k.ipv4.dport = bpf_htons(t->local_port);
		return bpf_skc_lookup_tcp(skb, &k, sizeof(k.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(k.ipv6.saddr, t->remote, sizeof(k.ipv6.saddr));
	__builtin_memcpy(k.ipv6.daddr, t->local, sizeof(k.ipv6.daddr));
	k.ipv6.sport = bpf_htons(t->remote_port);
	k.ipv6.dport = bpf_htons(t->local_port);
	return bpf_skc_lookup_tcp(skb, &k, sizeof(k.ipv6), BPF_F_CURRENT_NETNS, 0);
}

#define STATE_LISTEN 10

/* Whether the segment belongs to a connection that the kernel knows: one in its handshake, and one
 * in TIME-WAIT, are such, too. */
__noinline int socket_there(struct __sk_buff *skb, const struct hand *h)
{
	struct pintle_asking *a = asking_find();
	struct bpf_sock *sk;
	int there;

	if (!a || !h)
		return 0;
	a->state = PINTLE_ASKING_WHETHER;
	sk = socket_look(skb, h);
	a->state = PINTLE_ASKING_NOTHING;
	if (!sk)
		return 0;
	there = sk->state != STATE_LISTEN;
	bpf_sk_release(sk);
	return there;
}

/* Whether packets for the destination are this machine's own. */
__noinline int is_local(struct __sk_buff *skb, const struct hand *h)
{
	struct bpf_fib_lookup fib = {.ifindex = skb->ingress_ifindex};
	long result;

	if (!h)
		return 0;
	fib.ifindex = skb->ifindex;
	fib.l4_protocol = IPPROTO_TCP;
	if (h->v4) {
		fib.family = AF_INET;
		fib.ipv4_src = ((const __u32 *)h->s.tuple.remote)[3];
		fib.ipv4_dst = ((const __u32 *)h->s.tuple.local)[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, h->s.tuple.remote, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, h->s.tuple.local, sizeof(fib.ipv6_dst));
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* ---- SYN ------------------------------------------------------------------------------------ */

static __always_inline __u32 epoch_now(void)
{
	return bpf_ktime_get_boot_ns() >> HAND_EPOCH_SHIFT;
}

/* The largest segment that the client may send: what the device takes. */
static __always_inline __u32 mss_of_device(struct __sk_buff *skb, const struct hand *h)
{
	__u32 mtu = 0, headers = h->v4 ? 40 : 60;

	bpf_check_mtu(skb, 0, &mtu, 0, 0);
	if (mtu > 65535)
		mtu = 65535;
	return mtu < 576 ? 536 : mtu - headers;
}

__noinline int answer_syn(struct __sk_buff *skb, const struct hand *h)
{
	struct hand_options o = {};
	struct answer a;
	__u32 cookie, mixed;

	if (!h)
		return TC_ACT_SHOT;
	options_read(h, &o);
	if (!o.mss)
		o.mss = h->v4 ? 536 : 1220;
	cookie = hand_cookie_of(&h->s.tuple, h->s.sequence, epoch_now(), hand_pack(&o), &h->secret,
				&mixed);
	answer_begin(&a, h);
	a.tcp.seq = bpf_htonl(cookie);
	a.tcp.ack_seq = bpf_htonl(h->s.sequence + 1);
	a.tcp.syn = 1;
	a.tcp.ack = 1;
	a.tcp.window = bpf_htons(64240);
	a.options[0] = bpf_htonl(0x02040000 | mss_of_device(skb, h));
	if (o.has_sack)
		a.options[1] = bpf_htonl(0x01010402);
	if (o.has_time) {
		a.options[1] = bpf_htonl(o.has_sack ? 0x0402080a : 0x0101080a);
		/* Nobody learns how long the machine is up. */
		a.options[2] = bpf_htonl((__u32)(bpf_ktime_get_ns() / 1000000) + mixed);
		a.options[3] = bpf_htonl(o.value);
	}
	if (o.has_scale)
		a.options[4] = bpf_htonl(0x01030300 | HAND_SCALE);
	return answer(skb, h, &a);
}

/* The kernel goes on with a connection that has a socket. Suppose that a client takes the port of a
 * connection that its server has closed: the kernel ends the former connection's TIME-WAIT, and the
 * lookup hook decides by addresses. */
static __always_inline int on_syn(struct __sk_buff *skb, struct hand *h)
{
	if (checksum_read(h) < 0)
		return TC_ACT_UNSPEC;
	if (socket_there(skb, h) > 0) {
		hand_count(h, PINTLE_HAND_BY_CONNECTION);
		return TC_ACT_UNSPEC;
	}
	if (is_local(skb, h) <= 0) {
		hand_count(h, PINTLE_HAND_FORWARDED);
		return TC_ACT_UNSPEC;
	}
	return answer_syn(skb, h);
}

/* ---- handing over ------------------------------------------------------------------------------
 */

static __always_inline __u64 tuple_hash(const struct pintle_tuple *t)
{
	const __u64 *a = (const __u64 *)t->remote, *b = (const __u64 *)t->local;

	return mix(mix(mix(mix(a[0]) ^ a[1]) ^ b[0] ^ b[1]) ^
		   ((__u64)t->remote_port << 16 | t->local_port));
}

static __always_inline struct handed *handed_at(__u64 hash)
{
	__u32 at = hash % HANDED;

	return bpf_map_lookup_elem(&hand_notes, &at);
}

static __always_inline void handed_make(const struct hand *h)
{
	__u64 hash = tuple_hash(&h->s.tuple);
	struct handed *n = handed_at(hash);

	if (!n)
		return;
	n->when = bpf_ktime_get_ns();
	n->hash = hash >> 32;
	n->left = 64;
	n->sequence = h->s.sequence;
}

/* The connection's entry if it was handed over a moment ago. */
static __always_inline struct handed *handed_find(const struct hand *h)
{
	__u64 hash = tuple_hash(&h->s.tuple);
	struct handed *n = handed_at(hash);

	return n && n->hash == hash >> 32 && bpf_ktime_get_ns() - n->when < HANDED_NS ? n : NULL;
}

/* Whether this very segment was handed over a moment ago. A bridge takes the socket off what its
 * port has handed over, so it has to be handed over once more. */
static __always_inline bool handed_before(const struct hand *h)
{
	struct handed *n = handed_find(h);

	return n && n->sequence == h->s.sequence;
}

/* TC sees all packets of a batch before TCP sees the first. So segments right behind the one that
 * was handed over find no socket yet: they are queued again, behind it. */
static __always_inline bool queue_again(struct __sk_buff *skb, const struct hand *h)
{
	struct handed *n = handed_find(h);

	if (!n || !n->left || n->sequence == h->s.sequence)
		return false;
	n->left--;
	return !bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
}

/* Reads the request, and finds the session that it names, if it does, into `asking`. Returns how
 * the connection is counted. */
__noinline int request_ask(struct __sk_buff *skb, const struct hand *h)
{
	struct pintle_asking *a = asking_find();
	struct hand_scratch *x = scratch_find();
	struct pintle_pool *pool;
	struct hand_named *n;
	__u32 i;

	if (!a || !x || !h)
		return PINTLE_HAND_NOT_HTTP;
	n = &x->named;
	__builtin_memset(&a->session, 0, sizeof(a->session));
	__builtin_memset(&n->source, 0, sizeof(n->source));
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool)
		return PINTLE_HAND_NOT_HTTP;
	request_begin(&x->scan, HAND_LINE_MIN, HAND_LINE_MAX);
	request_read(skb, &h->s, &x->scan, hand_names(&pool->asked));
	if (x->scan.known & (REQUEST_NOT_HTTP | REQUEST_VERSION))
		return PINTLE_HAND_NOT_HTTP;
	if (x->scan.known & REQUEST_MALFORMED)
		return PINTLE_HAND_MALFORMED;
	if (!pool->hints_shared)
		key_of_tuple(&h->s.tuple, PINTLE_KEY_SOURCE,
			     KEY_BITS(pool->key_bits_v4, pool->key_bits_v6, 0), &n->source);
	n->secret = h->secret;
	for (i = 0; i < PINTLE_MAX_HEADERS; i++) {
		if (hand_find(&x->scan, &pool->asked, i, &n->value) <= 0)
			continue;
		n->at = i;
		hand_key(&x->scan, &pool->asked, n, &a->session);
		return PINTLE_HAND_ASKED;
	}
	return x->scan.known & REQUEST_ENDED ? PINTLE_HAND_NOT_SAID : PINTLE_HAND_UNFINISHED;
}

/* Hands the connection to the listener that the lookup hook chooses, with this segment. */
static __always_inline int hand_over(struct __sk_buff *skb, const struct hand *h,
				     const struct hand_options *o)
{
	struct bpf_tcp_req_attrs attrs = {
		.rcv_tsval = o->value,
		.rcv_tsecr = o->echo,
		.mss = o->mss,
		.rcv_wscale = o->has_scale ? HAND_SCALE : 0,
		.snd_wscale = o->scale,
		.wscale_ok = o->has_scale,
		.sack_ok = o->has_sack,
		.tstamp_ok = o->has_time,
	};
	struct tcp_sock *listener;
	struct bpf_sock *sk;
	int result = -1;

	sk = socket_look(skb, h);
	if (!sk)
		return PINTLE_HAND_NOBODY;
	if (sk->state == STATE_LISTEN) {
		listener = bpf_skc_to_tcp_sock(sk);
		if (listener)
			result = bpf_sk_assign_tcp_reqsk(skb, (struct sock *)listener, &attrs,
							 sizeof(attrs));
	}
	bpf_sk_release(sk);
	return result ? PINTLE_HAND_FAILED : PINTLE_HAND_COUNT;
}

/* The first request has come, and with it its connection. */
__noinline int place(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_asking *a = asking_find();
	struct hand_options o = {};
	int how, failed;

	if (!a || !h)
		return TC_ACT_SHOT;
	how = request_ask(skb, h);
	options_read(h, &o);
	hand_unpack(&o, h->acknowledged - 1);
	a->state = PINTLE_ASKING_WHERE;
	failed = hand_over(skb, h, &o);
	a->state = PINTLE_ASKING_NOTHING;
	if (failed != PINTLE_HAND_COUNT) {
		hand_count(h, failed);
		checksum_read(h);
		return answer_reset(skb, h);
	}
	if (!handed_before(h))
		hand_count(h, how);
	handed_make(h);
	return TC_ACT_UNSPEC;
}

/* ---- without a socket
 * ----------------------------------------------------------------------------- */

static __always_inline bool cookie_holds(const struct hand *h, __u32 sequence)
{
	return hand_cookie_holds(&h->s.tuple, sequence, h->acknowledged - 1, epoch_now(),
				 &h->secret) > 0;
}

/* Data without a socket and without a good cookie. They may have overtaken the first segment: then
 * that one is awaited. They may also be of a connection that is long over: those come again and
 * again, and are answered with a reset after a second. */
static __always_inline int on_stray(struct __sk_buff *skb, struct hand *h)
{
	__u64 hash = mix(tuple_hash(&h->s.tuple) ^ h->s.sequence), now = bpf_ktime_get_ns(), since;
	__u32 at = hash % STRAYS;
	struct stray *s = bpf_map_lookup_elem(&hand_strays, &at);

	if (!s)
		return TC_ACT_SHOT;
	since = now - s->first;
	if (s->hash == hash && since < STRAY_MAX_NS) {
		checksum_read(h);
		return since < STRAY_MIN_NS ? TC_ACT_SHOT : answer_reset(skb, h);
	}
	s->hash = hash;
	s->first = now;
	return TC_ACT_SHOT;
}

/* A segment without data: the end of the handshake, a probe of a client that keeps the connection
 * alive before its first request, or its end. */
static __always_inline int on_bare(struct __sk_buff *skb, struct hand *h)
{
	if (checksum_read(h) < 0)
		return TC_ACT_SHOT;
	if (h->flags & FLAG_FIN)
		return answer_reset(skb, h);
	if (cookie_holds(h, h->s.sequence - 1))
		return TC_ACT_SHOT;
	if (cookie_holds(h, h->s.sequence))
		return answer_ack(skb, h, h->s.sequence + 1);
	return answer_reset(skb, h);
}

/* Of segments without a socket none but the first request reaches the kernel: it would run the
 * lookup hook, which would decide. */
static __always_inline int on_other(struct __sk_buff *skb, struct hand *h)
{
	if (socket_there(skb, h) > 0)
		return TC_ACT_UNSPEC;
	if (queue_again(skb, h))
		return TC_ACT_SHOT;
	if (is_local(skb, h) <= 0)
		return TC_ACT_UNSPEC;
	if (h->flags & (FLAG_SYN | FLAG_RST) || !(h->flags & FLAG_ACK))
		return TC_ACT_SHOT;
	if (!h->s.size)
		return on_bare(skb, h);
	/* A probe may have a byte of what was acknowledged already. */
	if (h->s.size == 1 && cookie_holds(h, h->s.sequence)) {
		checksum_read(h);
		return answer_ack(skb, h, h->s.sequence + 1);
	}
	return cookie_holds(h, h->s.sequence - 1) ? place(skb, h) : on_stray(skb, h);
}

/* ---- all ----------------------------------------------------------------------------------------
 */

static __always_inline bool secret_read(struct hand *h)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	if (!n)
		return false;
	h->secret.key[0] = n->hint_key[0];
	h->secret.key[1] = n->hint_key[1];
	return true;
}

static __always_inline int hand_segment(struct __sk_buff *skb, __u32 below_ip)
{
	struct hand h = {};
	struct pintle_pool *pool;

	/* A bridge's port sees frames for other machines, too. */
	if (skb->pkt_type != PACKET_HOST || segment_read(skb, below_ip, &h.s))
		return TC_ACT_UNSPEC;
	frontend_of(&h.s.tuple, PINTLE_HOOK_LOOKUP, &h.pool);
	pool = pool_find(h.pool.id, h.pool.generation);
	if (!pool || pool->decide != PINTLE_DECIDE_REQUEST || !secret_read(&h) ||
	    header_read(skb, &h))
		return TC_ACT_UNSPEC;
	if (!h.s.syn)
		return on_other(skb, &h);
	/* Handshakes that have begun go on in mode off. */
	if (pool_mode(h.pool.id, pool, bpf_ktime_get_ns()) == PINTLE_MODE_OFF)
		return TC_ACT_UNSPEC;
	return on_syn(skb, &h);
}

/* Not loaded unless it is asked for by name ("?"): kernels before 6.9 would refuse it. */
SEC("?tc")
int pintle_hand(struct __sk_buff *skb)
{
	return hand_segment(skb, ETH_HLEN);
}

/* For devices without a link layer, such as tunnels and tun. */
SEC("?tc")
int pintle_hand3(struct __sk_buff *skb)
{
	return hand_segment(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
