/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * netns.bpf.h - the kernel's own structures behind a frame (frame.bpf.h): its device, and that
 * device's network namespace.
 */
#ifndef PINTLE_NETNS_BPF_H
#define PINTLE_NETNS_BPF_H

#include "frame.bpf.h"

#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct netns_ipv4 {
	__u8 sysctl_tcp_ecn;
	__u8 sysctl_tcp_l3mdev_accept;
	__u8 sysctl_tcp_rfc1337;
	__u8 sysctl_tcp_sack;
	__u8 sysctl_tcp_syncookies;
	__u8 sysctl_tcp_timestamps;
	__u8 sysctl_tcp_window_scaling;
};

struct net {
	__u64 net_cookie;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct list_head {
	struct list_head *next;
};

/* What a device has in common with one above it, such as a bond. */
struct netdev_adjacent {
	struct net_device *dev;
	bool master;
	struct list_head list;
};

struct net_device {
	int ifindex;
	possible_net_t nd_net;
	__u8 dev_addr_shadow[32]; /* a copy of its address, in the structure itself */
	struct {
		struct list_head upper;
	} adj_list;
};

struct xdp_rxq_info {
	struct net_device *dev;
};

struct xdp_buff {
	struct xdp_rxq_info *rxq;
};

struct sk_buff {
	struct net_device *dev;
	__u8 tc_at_ingress : 1;
};
#pragma clang attribute pop

/* libbpf's linker does not take the same function of the kernel from two objects. */
#ifdef FRAME_XDP
extern void *bpf_cast_to_kern_ctx(void *obj) __ksym __weak;

static __always_inline const struct net_device *frame_net_device(frame *f)
{
	return ((const struct xdp_buff *)bpf_cast_to_kern_ctx(f))->rxq->dev;
}
#else
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

static __always_inline const struct net_device *frame_net_device(frame *f)
{
	const struct sk_buff *skb = bpf_rdonly_cast(f, bpf_core_type_id_kernel(struct sk_buff));

	return skb->dev;
}
#endif

#endif
