/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * way.bpf.h - by which way an answer leaves: by the client's route, as the kernel's would, and not
 * by that of the client's segment. A balancer may pass on what comes and hear nothing of what goes
 * (direct server return), and a machine may have two uplinks. Included by handshake.bpf.h, behind
 * what it needs of that.
 */
#ifndef PINTLE_WAY_BPF_H
#define PINTLE_WAY_BPF_H

#define LOOPBACK 1 /* the index of that device, in each network namespace */

enum way_kind {
	WAY_BACK,   /* by the device by which the segment came, to where it came from */
	WAY_DEVICE, /* by that of fib.ifindex; the kernel finds the neighbour by its routes */
	WAY_NEXT,   /* by that of fib.ifindex, to the neighbour that fib says */
};

struct way {
	struct bpf_fib_lookup fib;
	struct pintle_way_key key;
	__u32 kind;
	__u32 mtu;
	__u32 mss; /* what the route says of it; 0: nothing */
};

/* The way that way_find() found. The object defines this function, as it does header_find(). */
static __always_inline struct way *way_now(void);

/* As a packet of this machine's own is routed; with tcp_l3mdev_accept by the table of the VRF in
 * which the device is. */
static __always_inline long way_ask(frame *f, const struct hand *h, struct bpf_fib_lookup *fib,
				    __u32 flags)
{
	const struct net *net = frame_net_device(f)->nd_net.net;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = LOOPBACK;
	if (bpf_core_field_exists(net->ipv4.sysctl_tcp_l3mdev_accept) &&
	    net->ipv4.sysctl_tcp_l3mdev_accept)
		fib->ifindex = frame_device(f);
	fib->l4_protocol = IPPROTO_TCP;
	fib->sport = bpf_htons(h->s.tuple.local_port);
	fib->dport = bpf_htons(h->s.tuple.remote_port);
	fib->tot_len = 1; /* asks for the route's MTU */
	if (h->v4) {
		fib->family = AF_INET;
		fib->ipv4_src = ((const __u32 *)h->s.tuple.local)[3];
		fib->ipv4_dst = ((const __u32 *)h->s.tuple.remote)[3];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, h->s.tuple.local, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, h->s.tuple.remote, sizeof(fib->ipv6_dst));
	}
	return bpf_fib_lookup(f, fib, sizeof(*fib), flags);
}

/* What this machine sends to itself comes by lo; and the route says nothing of the VLAN whose tag a
 * frame has. */
static __always_inline bool way_is_the_frames(const frame *f, const struct hand *h)
{
	return frame_device(f) == LOOPBACK || h->s.ip > ETH_HLEN || frame_has_tag(f);
}

/* fe80::/10, whose route is the device by which it comes. */
static __always_inline bool way_is_on_link(const struct hand *h)
{
	return !h->v4 && (((const __u32 *)h->s.tuple.remote)[0] & bpf_htonl(0xffc00000)) ==
				 bpf_htonl(0xfe800000);
}

/* What pintled read of the client's route. */
static __always_inline const struct pintle_way *way_read(const struct hand *h, struct way *w)
{
	const struct pintle_way *found;

	w->key.prefixlen = 8 * (sizeof(w->key.local) + sizeof(w->key.client));
	__builtin_memcpy(w->key.local, h->s.tuple.local, sizeof(w->key.local));
	__builtin_memcpy(w->key.client, h->s.tuple.remote, sizeof(w->key.client));
	found = bpf_map_lookup_elem(&hand_ways, &w->key);
	if (found)
		return found;
	__builtin_memset(w->key.local, 0, sizeof(w->key.local));
	return bpf_map_lookup_elem(&hand_ways, &w->key);
}

static __always_inline void way_metrics(struct way *w, const struct pintle_way *read)
{
	w->mss = read ? read->mss : 0;
	if (read && read->mtu)
		w->mtu = read->mtu;
}

static __always_inline int way_set(frame *f, struct way *w, enum way_kind kind, __u32 device)
{
	w->kind = kind;
	w->fib.ifindex = device;
	w->mtu = 0;
	w->mss = 0;
	bpf_check_mtu(f, device, &w->mtu, 0, 0);
	return 0;
}

/* The index of the bond or bridge of which the device is a port; 0: none. That is the first of the
 * devices above it. */
static __always_inline __u32 way_master(const struct net_device *dev)
{
	const struct list_head *first = dev->adj_list.upper.next;
	const struct netdev_adjacent *above;
	const struct net_device *master = NULL;
	__u32 index = 0;
	bool is = false;

	above = (const void *)((const char *)first -
			       bpf_core_field_offset(struct netdev_adjacent, list));
	if (first == &dev->adj_list.upper)
		return 0;
	BPF_CORE_READ_INTO(&is, above, master);
	BPF_CORE_READ_INTO(&master, above, dev);
	if (is)
		BPF_CORE_READ_INTO(&index, master, ifindex);
	return index;
}

#ifdef FRAME_XDP

/* Whether the route leads to where the frame came from: then that has the addresses of the answer,
 * swapped. */
static __always_inline bool way_is_back(frame *f, __u32 device, const __u8 to[ETH_ALEN])
{
	__u8 from[ETH_ALEN];
	__u32 i;

	if (frame_load(f, ETH_ALEN, from, sizeof(from)))
		return false;
#pragma unroll
	for (i = 0; i < ETH_ALEN; i++)
		if (from[i] != to[i])
			return false;
	return device == frame_device(f) || device == way_master(frame_net_device(f));
}

/* A global function, so that the verifier reads it once; for the linker it is another than TC's. */
#define way_find way_find_in_xdp

/* Finds the way. Returns -1 if it is another than that of the frame, or not known: TC sends such
 * answers. */
__noinline int way_find(frame *f, const struct hand *h)
{
	const struct pintle_way *read;
	struct way *w = way_now();
	long result;

	if (!w || !h)
		return -1;
	if (way_is_the_frames(f, h) || way_is_on_link(h))
		return way_set(f, w, WAY_BACK, 0);
	read = way_read(h, w);
	result = way_ask(f, h, &w->fib, 0);
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED) {
		if (read && !way_is_back(f, read->device, read->mac))
			return -1;
		way_set(f, w, WAY_BACK, 0);
	} else {
		if (result != BPF_FIB_LKUP_RET_SUCCESS ||
		    !way_is_back(f, w->fib.ifindex, w->fib.dmac))
			return -1;
		w->mtu = w->fib.mtu_result;
	}
	way_metrics(w, read);
	return 0;
}

/* Sends the packet back by the device by which it came. */
static __always_inline int way_leave(frame *f, const struct hand *h)
{
	return h->redirect ? bpf_redirect(f->ingress_ifindex, 0) : XDP_TX;
}

#else

#define WAY_SKIP_NEIGH (1U << 2) /* BPF_FIB_LOOKUP_SKIP_NEIGH, Linux 6.3 */

/* By that of pintled's gateway: of several IPv6 routes at once, the kernel would look for the one's
 * gateway at the other's device. */
static __always_inline void way_gateway(struct way *w, const struct pintle_way *read)
{
	const __u32 *gateway = (const __u32 *)read->gateway;

	if (!(gateway[0] | gateway[1] | gateway[2] | gateway[3]))
		return;
	w->kind = WAY_NEXT;
	w->fib.family = address_is_v4(read->gateway) ? AF_INET : AF_INET6;
	__builtin_memcpy(w->fib.ipv6_dst, read->gateway, sizeof(w->fib.ipv6_dst));
	if (w->fib.family == AF_INET)
		w->fib.ipv4_dst = gateway[3];
}

/* Finds the way. Returns -1 if there is none, or one that the kernel alone can take. */
FRAME_STEP way_find(frame *f, const struct hand *h)
{
	const struct pintle_way *read;
	struct way *w = way_now();
	long result;

	if (!w || !h)
		return -1;
	if (way_is_the_frames(f, h))
		return way_set(f, w, WAY_BACK, 0);
	if (way_is_on_link(h))
		return way_set(f, w, WAY_DEVICE, frame_device(f));
	read = way_read(h, w);
	result = way_ask(f, h, &w->fib, WAY_SKIP_NEIGH);
	/* The kernel says nothing of its routes where it does not forward. */
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED) {
		if (read && !read->device)
			return -1;
		way_set(f, w, WAY_DEVICE, read ? read->device : frame_device(f));
		if (read)
			way_gateway(w, read);
	} else if (result == BPF_FIB_LKUP_RET_SUCCESS) {
		w->kind = WAY_NEXT;
		w->mtu = w->fib.mtu_result;
	} else {
		return -1;
	}
	way_metrics(w, read);
	return 0;
}

static __always_inline int way_leave(frame *f, const struct hand *h)
{
	struct bpf_redir_neigh next = {};
	struct way *w = way_now();

	if (!w)
		return FRAME_DROP;
	/* Without a link layer there is no neighbour. */
	if (w->kind == WAY_BACK || (h->s.ip < ETH_HLEN && w->fib.ifindex == f->ifindex))
		return bpf_redirect(f->ifindex, 0);
	if (h->s.ip < ETH_HLEN && bpf_skb_change_head(f, ETH_HLEN, 0))
		return FRAME_DROP;
	if (w->kind == WAY_DEVICE)
		return bpf_redirect_neigh(w->fib.ifindex, NULL, 0, 0);
	next.nh_family = w->fib.family;
	__builtin_memcpy(next.ipv6_nh, w->fib.ipv6_dst, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(w->fib.ifindex, &next, sizeof(next), 0);
}

#endif

/* The largest segment that the client may send, as ipv4_default_advmss() and ip6_default_advmss()
 * have it. */
static __always_inline __u32 way_mss(const struct hand *h)
{
	const struct way *w = way_now();
	__u32 headers = h->v4 ? 40 : 60, least = h->v4 ? 256 : 1220;
	__u32 mtu = w ? w->mtu : 0;

	if (w && w->mss)
		return w->mss & 0xffff;
	if (h->v4 && mtu > 65535)
		mtu = 65535;
	if (mtu < least + headers)
		return least;
	mtu -= headers;
	return mtu > 65515 ? 65535 : mtu;
}

#endif
