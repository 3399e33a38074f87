/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops.bpf.c - follows listeners and connections: passes each op to the side that it concerns.
 *
 * Each op concerns only one side, except for the end of a socket: a socket with an entry in `conns`
 * is a server's, and any other may be a client's. So each side is a header of its own
 * (sockops_server.bpf.h, sockops_client.bpf.h), and could be a program of its own. The two are one
 * program because they are attached together, and the kernel calls every program of a cgroup for
 * every op.
 */
#include "sockops_client.bpf.h"
#include "sockops_server.bpf.h"

SEC("sockops")
int pintle_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		server_listening(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		server_established(ctx);
		break;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		client_connecting(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		client_established(ctx);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		client_unanswered(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE && !server_closed(ctx))
			client_closed(ctx);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
