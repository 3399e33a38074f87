/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* iterator.bpf.h - the kernel's types for programs that walk over sockets. */
#ifndef PINTLE_ITERATOR_BPF_H
#define PINTLE_ITERATOR_BPF_H

#include "client.bpf.h"

struct bpf_iter_meta {
	void *seq;
} __attribute__((preserve_access_index));
struct in6_address {
	unsigned int word[4];
};
struct sock_common {
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

/* Whether the socket is connected, or is being connected, to the record's address. */
static __always_inline bool is_there(const struct pintle_connect *c, struct sock *sk)
{
	const __u32 *address = (const __u32 *)c->address;
	const struct sock_common *s = &sk->__sk_common;

	if (s->skc_state == BPF_TCP_CLOSE || s->skc_dport != bpf_htons(c->port))
		return false;
	if (address_is_v4(c->address))
		return s->skc_daddr == address[3];
	return s->skc_v6_daddr.word[0] == address[0] && s->skc_v6_daddr.word[1] == address[1] &&
	       s->skc_v6_daddr.word[2] == address[2] && s->skc_v6_daddr.word[3] == address[3];
}

#endif
