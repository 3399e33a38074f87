/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops_common.bpf.h - what the servers' and the clients' side of sockops share: addresses, how a
 * connection ended, and the event that reports it. Apart from this and the maps, neither side knows
 * of the other.
 */
#ifndef PINTLE_SOCKOPS_COMMON_BPF_H
#define PINTLE_SOCKOPS_COMMON_BPF_H

#include "common.bpf.h"

#include <bpf/bpf_core_read.h>

/* The few kernel fields that bpf_sock_ops lacks; BTF gives their offsets at load. */
struct sock_common {
	unsigned char skc_ipv6only : 1;
	unsigned long skc_flags;
} __attribute__((preserve_access_index));
struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));
struct cgroup {
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));
struct sock_cgroup_data {
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));
typedef struct {
	__u32 val;
} kuid_t;
struct sock {
	int sk_err;
	kuid_t sk_uid;
	struct sock_cgroup_data sk_cgrp_data;
} __attribute__((preserve_access_index));
struct tcp_rack {
	__u64 mstamp; /* when the newest segment that was acknowledged had left, microseconds */
} __attribute__((preserve_access_index));
struct inet_connection_sock {
	struct {
		__u32 lrcvtime; /* when data was received last, in ticks */
	} icsk_ack;
} __attribute__((preserve_access_index));
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 lsndtime; /* when data was sent last, in ticks */
	__u32 rcv_nxt;
	__u32 rcv_wup; /* rcv_nxt when an acknowledgement was sent last */
	__u32 write_seq;
	__u32 snd_una;
	struct tcp_rack rack;
} __attribute__((preserve_access_index));
struct mptcp_sock {
} __attribute__((preserve_access_index));

static __always_inline void addresses_read(struct bpf_sock_ops *ctx, struct pintle_tuple *t)
{
	t->scope = scope;
	t->local_port = ctx->local_port;
	t->remote_port = bpf_ntohl(ctx->remote_port);
	tuple_addresses(t, ctx);
}

/* Callback flags belong to every program on the socket: add, never replace. */
static __always_inline void watch_end(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* ---- ends ----------------------------------------------------------------------- */

/* How a connection ended. */
struct end {
	__u64 now;
	__u64 duration_ns;
	__u64 received;     /* bytes from the client */
	__u64 acknowledged; /* bytes by the client */
	__u32 error;        /* errno; 0: the connection was closed in order */
};

static __always_inline __u32 error_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sock *kernel_sock = sk ? (struct sock *)bpf_skc_to_tcp_sock(sk) : NULL;

	return kernel_sock ? kernel_sock->sk_err : 0;
}

static __always_inline enum pintle_ending ending_of(__u32 error)
{
	switch (error) {
	case 0:
		return PINTLE_ENDING_CLOSED;
	case ECONNRESET:
	case EPIPE:
		return PINTLE_ENDING_RESET;
	case ETIMEDOUT:
		return PINTLE_ENDING_TIMEOUT;
	default:
		return PINTLE_ENDING_ERROR;
	}
}

/* Adds the end to the endpoint's sums. */
static __always_inline void count_ended(__u32 endpoint, __u32 generation, const struct end *end)
{
	struct pintle_ends *sums = bpf_map_lookup_elem(&ends, &endpoint);
	__u32 how = ending_of(end->error);

	hide(how);
	if (!endpoint_kept(endpoint, generation) || !sums || how >= PINTLE_ENDING_COUNT)
		return;
	__sync_fetch_and_add(&sums->count[how], 1);
	__sync_fetch_and_add(&sums->bytes_received, end->received);
	__sync_fetch_and_add(&sums->bytes_acknowledged, end->acknowledged);
	__sync_fetch_and_add(&sums->duration_ns, end->duration_ns);
}

/* Begins an event with what both hooks report. The caller adds the rest, and calls event_end(). */
static __always_inline struct pintle_event *event_closed(struct bpf_sock_ops *ctx, __u32 hook,
							 const struct end *end, __u32 *readers)
{
	struct pintle_event *e = event_begin(readers, PINTLE_EVENT_CLOSED, hook, end->now);

	if (!e)
		return NULL;
	e->error = end->error;
	e->srtt_us = ctx->srtt_us >> 3; /* the kernel keeps eighths */
	e->duration_ns = end->duration_ns;
	e->bytes_received = end->received;
	e->bytes_acknowledged = end->acknowledged;
	return e;
}

#endif
