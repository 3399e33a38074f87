/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* iterator.bpf.h - the kernel's types for programs that walk over sockets. */
#ifndef PINTLE_ITERATOR_BPF_H
#define PINTLE_ITERATOR_BPF_H

#include "hooks/client.bpf.h"
#include "handoff/hand_flow.bpf.h"

#include <bpf/bpf_core_read.h>

struct bpf_iter_meta {
	void *seq;
} __attribute__((preserve_access_index));
struct in6_address {
	unsigned int word[4];
};
struct net {
	__u64 net_cookie;
} __attribute__((preserve_access_index));
typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;
struct sock_common {
	possible_net_t skc_net;
	unsigned int skc_daddr;
	unsigned int skc_rcv_saddr;
	unsigned short skc_dport;
	unsigned short skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_address skc_v6_daddr;
	struct in6_address skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));
struct socket;
struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	unsigned int sk_ack_backlog;
} __attribute__((preserve_access_index));
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	void *map;
	struct sock *sk;
	void *value;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

/* Fills in addresses and ports of a socket; the caller fills in the scope. */
static __always_inline void tuple_of(struct pintle_tuple *t, const struct sock_common *c)
{
	__u32 i;

	t->local_port = c->skc_num;
	t->remote_port = bpf_ntohs(c->skc_dport);
	if (c->skc_family == AF_INET) {
		address_v4(t->local, c->skc_rcv_saddr);
		address_v4(t->remote, c->skc_daddr);
	} else {
#pragma unroll
		for (i = 0; i < 4; i++) {
			((__u32 *)t->local)[i] = c->skc_v6_rcv_saddr.word[i];
			((__u32 *)t->remote)[i] = c->skc_v6_daddr.word[i];
		}
	}
}

/* Whether the socket of a connection that was handed over is still there. The kernel gives the
 * memory of a socket only to other sockets of TCP while a program runs, and what cannot be read is
 * zeros: so what is read there may be another connection's if this one ends meanwhile, and no
 * worse. */
static __always_inline bool hand_flow_there(const struct pintle_hand_flow *f,
					    const struct pintle_tuple *t)
{
	const struct sock *sk = (const struct sock *)f->socket;
	const __u32 *local = (const __u32 *)t->local, *remote = (const __u32 *)t->remote;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct in6_address a, b;
	__u32 i, differ = 0;

	if (BPF_CORE_READ(sk, __sk_common.skc_state) == BPF_TCP_CLOSE ||
	    BPF_CORE_READ(sk, __sk_common.skc_num) != t->local_port ||
	    BPF_CORE_READ(sk, __sk_common.skc_dport) != bpf_htons(t->remote_port))
		return false;
	if (family == AF_INET)
		return BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr) == local[3] &&
		       BPF_CORE_READ(sk, __sk_common.skc_daddr) == remote[3];
	BPF_CORE_READ_INTO(&a, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&b, sk, __sk_common.skc_v6_daddr);
#pragma unroll
	for (i = 0; i < 4; i++)
		differ |= (a.word[i] ^ local[i]) | (b.word[i] ^ remote[i]);
	return !differ;
}

/* Whether the socket is connected, or is being connected, to the record's address. */
static __always_inline bool is_there(const struct pintle_connect *c, struct sock *sk)
{
	/* A spliced socket's peer is the frontend. */
	bool spliced = c->flags & PINTLE_CONNECT_SPLICED;
	const __u32 *address = (const __u32 *)(spliced ? c->frontend : c->address);
	const struct sock_common *s = &sk->__sk_common;

	if (s->skc_state == BPF_TCP_CLOSE ||
	    s->skc_dport != bpf_htons(spliced ? c->frontend_port : c->port))
		return false;
	if (address_is_v4((const __u8 *)address))
		return s->skc_daddr == address[3];
	return s->skc_v6_daddr.word[0] == address[0] && s->skc_v6_daddr.word[1] == address[1] &&
	       s->skc_v6_daddr.word[2] == address[2] && s->skc_v6_daddr.word[3] == address[3];
}

#endif
