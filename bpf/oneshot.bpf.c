/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot.bpf.c - a helper beside the hooks (TC): in a pool that asks for it, has the server close
 * each connection after its first answer, so that each request comes on a connection of its own
 * and is steered. It decides nothing.
 *
 *   SYN                  noted with the number of its first byte of data
 *   first segment        overwritten as oneshot.bpf.h says; sent again, it is so again, alike; left
 *                        alone, it stays so, even if it comes again with more behind it
 *   anything further     forgets the connection: a body may look like anything
 *
 * Packets to elsewhere leave after one look-up. A connection that is not noted, or forgotten too
 * early, merely stays kept alive. No packet's way ends here: who comes after sees them all.
 */
#include "common.bpf.h"
#include "oneshot.bpf.h"

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#define STRIDE 8   /* words in one turn of the loop, which costs more than they do */
#define CHUNK  512 /* bytes read at once: most headers are shorter */

struct scratch {
	struct oneshot_scan scan;
	struct oneshot_edit edit;
	__u8 line[264]; /* the edit, from an even offset on */
};

/* Too large for the stack; a CPU runs one of these programs at a time. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} MAP(oneshot_scratch);

struct segment {
	struct pintle_tuple tuple; /* local: where it goes */
	__u32 sequence;
	__u32 tcp;  /* where its header begins in the packet */
	__u32 data; /* where its data begins */
	__u32 size; /* of that; 0: none */
	__u16 syn;
	__u16 end; /* FIN or RST */
};

/* ---- packets ------------------------------------------------------------------- */

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

/* `at`: where what is below IP begins. */
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

/* ---- whose --------------------------------------------------------------------- */

/* The pool whose requests come there, if it wants each on a connection of its own. */
static __always_inline struct pintle_pool *pool_of(const struct pintle_tuple *t, __u32 *id)
{
	struct pintle_frontend_key key = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + 128,
		.scope = t->scope,
		.port = t->local_port,
		.protocol = IPPROTO_TCP,
	};
	struct pintle_override *o;
	struct pintle_pool *pool;
	struct pintle_ref *ref;
	__u32 requests;

	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	ref = bpf_map_lookup_elem(&oneshot, &key);
	if (!ref)
		return NULL;
	*id = ref->id;
	pool = pool_find(ref->id, ref->generation);
	if (!pool)
		return NULL;
	requests = pool->requests;
	o = bpf_map_lookup_elem(&overrides, id);
	if (o && o->generation == pool->generation && o->flags & PINTLE_OVERRIDE_REQUESTS)
		requests = o->requests;
	return requests == PINTLE_REQUESTS_ONE_PER_CONNECTION ? pool : NULL;
}

static __always_inline void note_syn(struct segment *s)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, &s->tuple);
	struct pintle_flow flow = {.sequence = s->sequence + 1};

	/* One that is sent again, or seen on a second device, is the same. */
	if (!f || f->sequence != flow.sequence)
		bpf_map_update_elem(&oneshot_flows, &s->tuple, &flow, BPF_ANY);
	s->sequence++; /* what data it may bring comes after it */
}

/* Its flow, if this is the first segment of data. */
static __always_inline struct pintle_flow *first_segment(const struct segment *s)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, &s->tuple);

	if (!f)
		return NULL;
	if (f->sequence == s->sequence && s->size)
		return f;
	/* A later one may overtake the first. */
	if (f->counted ? s->size || s->end : s->end)
		bpf_map_delete_elem(&oneshot_flows, &s->tuple);
	return NULL;
}

/* 1 to most, a power of two, as n is already: in words that the verifier of Linux 6.1 knows. */
static __always_inline __u32 at_least_1(__u32 n, __u32 most)
{
	hide(n);
	return ((n - 1) & (most - 1)) + 1;
}

/* ---- reading ------------------------------------------------------------------- */

struct reading {
	struct __sk_buff *skb;
	struct oneshot_scan *scan;
	const struct pintle_rewrite *how;
	__u32 data, size;
};

/* Into scan->bytes from `at` on, a multiple of CHUNK. */
static __always_inline int read_chunk(const struct reading *r, __u32 at)
{
	__u32 n;

	if (at >= r->size)
		return -1;
	n = r->size - at;
	if (n > CHUNK)
		n = CHUNK;
	at &= ONESHOT_MAX - CHUNK;
	hide(at);
	if (at > ONESHOT_MAX - CHUNK)
		return -1;
	n = at_least_1(n, CHUNK);
	if (bpf_skb_load_bytes(r->skb, r->data + at, r->scan->bytes + at, n))
		return -1;
	r->scan->size = at + n;
	return 0;
}

static long read_word(__u32 i, void *arg)
{
	const struct reading *r = arg;

	__u32 word;

	if (STRIDE * 8 * i >= r->scan->size && read_chunk(r, STRIDE * 8 * i))
		return 1;
#pragma unroll
	for (word = 0; word < STRIDE; word++)
		if (oneshot_word(r->scan, STRIDE * i + word, r->how))
			return 1;
	return 0;
}

/* ---- writing ------------------------------------------------------------------- */

struct drawing {
	struct scratch *scratch;
	__u32 from; /* an even offset */
};

static long draw_byte(__u32 i, void *arg)
{
	const struct drawing *d = arg;
	struct scratch *x = d->scratch;
	__u32 at = d->from + i, of_edit = at - x->edit.offset;

	if (i >= sizeof(x->line))
		return 1;
	x->line[i] = of_edit < x->edit.length ? oneshot_byte(&x->edit, of_edit)
					      : x->scan.bytes[at & (ONESHOT_MAX - 1)];
	return 0;
}

/* Checksums are sums of 16 bits, so both sides of the difference begin at an even offset. */
static __always_inline int overwrite(struct __sk_buff *skb, const struct segment *s,
				     struct scratch *x)
{
	__u32 at = x->edit.offset, length = x->edit.length, odd = at & 1, whole;
	struct drawing d = {.scratch = x, .from = at & ~1U};
	__s64 difference;

	if (at >= ONESHOT_MAX || length < 1 || length > ONESHOT_LINE_MAX)
		return -1;
	whole = (odd + length + 3) & ~3U;
	at &= ~1U;
	bpf_loop(whole, draw_byte, &d, 0);
	hide(at);
	if (at >= ONESHOT_MAX)
		return -1;
	whole = at_least_1(whole, 256);
	length = at_least_1(length, 256);
	difference =
		bpf_csum_diff((__be32 *)(x->scan.bytes + at), whole, (__be32 *)x->line, whole, 0);
	if (bpf_skb_store_bytes(skb, s->data + at + odd, x->line + odd, length, 0))
		return -1;
	/* Cannot fail: the packet is writable up to here and beyond. */
	bpf_l4_csum_replace(skb, s->tcp + __builtin_offsetof(struct tcphdr, check), 0, difference,
			    0);
	return 0;
}

static __always_inline void count(__u32 pool, __u32 result)
{
	__u32 at = PINTLE_ONESHOT_STAT(pool, result);
	__u64 *n = bpf_map_lookup_elem(&oneshot_stats, &at);

	if (n)
		(*n)++;
}

static __always_inline int first_request(struct __sk_buff *skb, __u32 below_ip)
{
	struct reading r = {.skb = skb};
	struct segment s = {};
	struct pintle_flow *flow;
	struct pintle_pool *pool;
	__u32 zero = 0, id = 0;
	struct scratch *x;

	if (segment_read(skb, below_ip, &s))
		return TC_ACT_UNSPEC;
	pool = pool_of(&s.tuple, &id);
	if (!pool)
		return TC_ACT_UNSPEC;
	if (s.syn)
		note_syn(&s);
	flow = first_segment(&s);
	x = bpf_map_lookup_elem(&oneshot_scratch, &zero);
	if (!flow || !x)
		return TC_ACT_UNSPEC;
	oneshot_begin(&x->scan);
	r.scan = &x->scan;
	r.how = &pool->rewrite;
	r.data = s.data;
	r.size = s.size;
	bpf_loop(ONESHOT_MAX / 8 / STRIDE, read_word, &r, 0);
	oneshot_decide(&x->scan, &pool->rewrite, &x->edit);
	if (x->edit.kind != ONESHOT_NOTHING && overwrite(skb, &s, x))
		x->edit.result = PINTLE_ONESHOT_LEFT_FAILED;
	/* Once, however often it is sent or on how many devices it is seen. */
	if (__sync_lock_test_and_set(&flow->counted, 1))
		return TC_ACT_UNSPEC;
	count(id, x->edit.result);
	/* The server may have this part as it was: half a line must not be overwritten. */
	if (x->edit.kind == ONESHOT_NOTHING)
		bpf_map_delete_elem(&oneshot_flows, &s.tuple);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int pintle_oneshot(struct __sk_buff *skb)
{
	return first_request(skb, ETH_HLEN);
}

/* On devices without a link layer: tunnels, tun. */
SEC("tc")
int pintle_oneshot3(struct __sk_buff *skb)
{
	return first_request(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
