/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops.bpf.c - follows listeners and connections, each side by a program of its own: the
 * servers' is attached while there are pools of the lookup hook, the clients' while there are pools
 * of the connect hook. The kernel calls every program of a cgroup for every op of every socket in
 * it, so a program that no pool needs costs each connection of the machine.
 */
#include "sockops_client.bpf.h"
#include "sockops_server.bpf.h"

/* The kernel also asks for the length of options when it works out the size of segments. */
static __always_inline bool sends_packet(struct bpf_sock_ops *ctx)
{
	return ctx->args[0] != BPF_WRITE_HDR_TCP_CURRENT_MSS;
}

static __always_inline void server_op(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		server_listening(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		server_established(ctx);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (sends_packet(ctx))
			server_sends(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			server_closed(ctx);
		break;
	}
}

/* A function of its own, because of its stack beside that of the servers' side. */
static __noinline int client_op(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		client_connecting(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		client_established(ctx);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		client_acknowledged(ctx);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (sends_packet(ctx))
			client_sends(ctx);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		client_unanswered(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			client_closed(ctx);
		break;
	}
	return 0;
}

SEC("sockops")
int pintle_servers(struct bpf_sock_ops *ctx)
{
	server_op(ctx);
	return 1;
}

SEC("sockops")
int pintle_clients(struct bpf_sock_ops *ctx)
{
	client_op(ctx);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
