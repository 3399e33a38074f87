/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * frame.bpf.h - a packet, as a TC program has it; or an XDP program, which defines FRAME_XDP before
 * it includes this. One text reads, answers and passes both.
 */
#ifndef PINTLE_FRAME_BPF_H
#define PINTLE_FRAME_BPF_H

#include "common.bpf.h"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#ifdef FRAME_XDP

typedef struct xdp_md frame;

/* What both programs are made of, under one name: for the linker these are two functions. */
#define FRAME_STEP static __noinline int

#define FRAME_DROP XDP_DROP
#define FRAME_PASS XDP_PASS
/* A frame whose length cannot be changed is left to TC. */
#define FRAME_UNABLE XDP_PASS

#define frame_load(f, at, to, size)           bpf_xdp_load_bytes(f, at, to, size)
#define frame_store(f, at, from, size, flags) bpf_xdp_store_bytes(f, at, (void *)(from), size)

/* An Ethernet header with two tags. */
#define FRAME_LINK_MAX (ETH_HLEN + 8)

static __always_inline __u32 frame_device(const frame *f)
{
	return f->ingress_ifindex;
}

/* Whether a device, or the kernel, has taken the frame's VLAN tag off. */
static __always_inline bool frame_has_tag(const frame *f)
{
	(void)f;
	return false;
}

static __always_inline __u32 frame_size(frame *f)
{
	return bpf_xdp_get_buff_len(f);
}

/* The Ethernet header's. `at` is its end. */
static __always_inline __u16 frame_protocol(frame *f, __u32 at)
{
	__u16 protocol = 0;

	bpf_xdp_load_bytes(f, at - sizeof(protocol), &protocol, sizeof(protocol));
	return protocol;
}

/* Makes the packet `size` bytes long, of which those from `at` on are to be written anew: what is
 * before them stays. It grows at its front, where each driver leaves room. */
static __always_inline long frame_resize(frame *f, __u32 at, __u32 size)
{
	__u32 was = frame_size(f);
	__u8 link[FRAME_LINK_MAX];

	if (size <= was)
		return bpf_xdp_adjust_tail(f, (int)size - (int)was);
	if (at < ETH_HLEN || at > FRAME_LINK_MAX)
		return -1;
	__builtin_memset(link, 0, sizeof(link));
	if (bpf_xdp_load_bytes(f, 0, link, ETH_HLEN))
		return -1;
	if (at > ETH_HLEN && bpf_xdp_load_bytes(f, ETH_HLEN, link + ETH_HLEN, at - ETH_HLEN))
		return -1;
	if (bpf_xdp_adjust_head(f, (int)was - (int)size))
		return -1;
	return bpf_xdp_store_bytes(f, 0, link, at);
}

#else

typedef struct __sk_buff frame;

/* A global function: the verifier reads it once, not again for each call. */
#define FRAME_STEP __noinline int

#define FRAME_DROP   TC_ACT_SHOT
#define FRAME_PASS   TC_ACT_UNSPEC
#define FRAME_UNABLE TC_ACT_SHOT

#define frame_load(f, at, to, size)           bpf_skb_load_bytes(f, at, to, size)
#define frame_store(f, at, from, size, flags) bpf_skb_store_bytes(f, at, from, size, flags)

static __always_inline __u32 frame_device(const frame *f)
{
	return f->ifindex;
}

static __always_inline bool frame_has_tag(const frame *f)
{
	return f->vlan_present;
}

/* Includes the padding of short frames. */
static __always_inline __u32 frame_size(const frame *f)
{
	return f->len;
}

static __always_inline __u16 frame_protocol(const frame *f, __u32 at)
{
	(void)at;
	return f->protocol;
}

static __always_inline long frame_resize(frame *f, __u32 at, __u32 size)
{
	(void)at;
	return bpf_skb_change_tail(f, size, 0);
}

#endif

#endif
