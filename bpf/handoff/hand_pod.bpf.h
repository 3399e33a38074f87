/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand_pod.bpf.h - the part of the hand-off in a pod's own network namespace, at the device by
 * which the pod's packets come. The kernel gives a segment only to a listener of its own namespace,
 * so this is where a connection is given to the one that the node's program has decided on.
 *
 *   a first request   whose cookie holds: to the listener of the endpoint in `pending`
 *   of a connection   passes
 *   all else          to a frontend's address is dropped, but for the last segments of one that
 *                     has just ended: nobody else may send here what the node did not let in
 */
#ifndef PINTLE_HAND_POD_BPF_H
#define PINTLE_HAND_POD_BPF_H

#include "pod_ways.bpf.h"

enum pod_socket { POD_SOCKET_NONE, POD_SOCKET_THERE, POD_SOCKET_TIME_WAIT };

/* Finds the connection's socket in the pod, and the sequence number that is due in a TIME-WAIT. */
__noinline int pod_socket(struct __sk_buff *skb, const struct hand *h, __u32 *due)
{
	const struct tcp_timewait_sock *tw;
	int found = POD_SOCKET_THERE;
	struct bpf_sock *sk;

	if (!h || !due)
		return POD_SOCKET_NONE;
	sk = socket_look(skb, h);
	if (!sk)
		return POD_SOCKET_NONE;
	if (sk->state == STATE_LISTEN)
		found = POD_SOCKET_NONE;
	if (sk->state == STATE_TIME_WAIT) {
		tw = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_timewait_sock));
		*due = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
		found = POD_SOCKET_TIME_WAIT;
	}
	bpf_sk_release(sk);
	return found;
}

/* As the kernel asks before it gives a packet of this family to the listener. */
static __always_inline bool pod_takes(const struct bpf_sock *sk, const struct sock *kernel_sock,
				      const struct hand *h)
{
	const struct sock_common *c = (const struct sock_common *)kernel_sock;

	if (sk->state != STATE_LISTEN)
		return false;
	if (!h->v4)
		return sk->family == AF_INET6;
	return sk->family == AF_INET || !BPF_CORE_READ_BITFIELD(c, skc_ipv6only);
}

/* The kernel itself refuses a listener of another namespace. */
__noinline int pod_give(struct __sk_buff *skb, const struct hand *h, __u32 endpoint)
{
	struct bpf_tcp_req_attrs attrs = {};
	struct hand_options o = {};
	struct tcp_sock *listener;
	int result = -1;
	__u32 i;

	if (!h)
		return -1;
	options_read(h, &o);
	hand_unpack(&o, h->kept);
	attrs_fill(&attrs, h, frame_net_device(skb)->nd_net.net, &o);
	for (i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT && result; i++) {
		__u32 slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &slot);

		if (!sk)
			continue;
		listener = bpf_skc_to_tcp_sock(sk);
		if (listener && pod_takes(sk, (struct sock *)listener, h))
			result = bpf_sk_assign_tcp_reqsk(skb, (struct sock *)listener, &attrs,
							 sizeof(attrs));
		bpf_sk_release(sk);
	}
	return result;
}

/* The server has closed a connection with this address and port, and the kernel would end its
 * TIME-WAIT for a SYN, but there was none here. The segment is queued once more, and what is left
 * of it becomes the reset that ends the TIME-WAIT before. */
__noinline int pod_time_wait_end(struct __sk_buff *skb, struct hand *h, __u32 due)
{
	struct answer a;

	if (!h || come_again(skb))
		return TC_ACT_SHOT;
	checksum_read(h);
	answer_begin(&a, h);
	a.tcp.source = bpf_htons(h->s.tuple.remote_port);
	a.tcp.dest = bpf_htons(h->s.tuple.local_port);
	a.tcp.seq = bpf_htonl(due);
	a.tcp.rst = 1;
	answer_sum(h, &a);
	if (bpf_skb_change_tail(skb, h->s.tcp + ANSWER_SIZE, 0) ||
	    bpf_skb_store_bytes(skb, h->s.tcp, &a, ANSWER_SIZE, BPF_F_RECOMPUTE_CSUM) ||
	    ip_set_length(skb, h, ANSWER_SIZE))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

/* While net.ipv4.tcp_syncookies is 0 in the pod, its kernel answers what it is given with a reset,
 * which the node lets through as a last segment. */
static __always_inline void pod_refuses(const struct hand *h, const struct pintle_endpoint *e)
{
	struct pintle_pod_flow f = {.scope = e->scope};

	bpf_map_update_elem(&pod_ended, &h->s.tuple, &f, BPF_ANY);
	hand_count(h, PINTLE_HAND_FAILED);
}

static __always_inline int pod_request(struct __sk_buff *skb, struct hand *h)
{
	const struct pintle_decision *d = bpf_map_lookup_elem(&pending, &h->s.tuple);
	const struct pintle_endpoint *e = d ? endpoint_find(d->endpoint, d->generation) : NULL;

	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	if (!e || pod_give(skb, h, d->endpoint))
		return TC_ACT_SHOT;
	if (!netns_takes(skb))
		pod_refuses(h, e);
	return TC_ACT_UNSPEC;
}

static __always_inline int pod_segment(struct __sk_buff *skb, struct hand *h)
{
	__u32 due = 0;
	int found = pod_socket(skb, h, &due);
	bool begins = h->s.size && !(h->flags & (FLAG_SYN | FLAG_RST)) &&
		      fits_read(h, 0) == HAND_FITS_FIRST;

	if (found == POD_SOCKET_THERE)
		return TC_ACT_UNSPEC;
	/* What was queued once more comes as a frame to the node's address. */
	if (found == POD_SOCKET_TIME_WAIT && begins)
		return skb->pkt_type == PACKET_HOST ? pod_time_wait_end(skb, h, due) : TC_ACT_SHOT;
	/* The kernel would give a SYN to whatever listens at the frontend's port. */
	if (found == POD_SOCKET_TIME_WAIT)
		return h->flags & FLAG_SYN ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (begins)
		return pod_request(skb, h);
	/* The client begins anew, and what was there is gone. */
	if (h->flags & FLAG_SYN)
		bpf_map_delete_elem(&pod_flows, &h->s.tuple);
	else if (pod_flow(&h->s.tuple) || pod_flow_ended(&h->s.tuple))
		return TC_ACT_UNSPEC;
	return TC_ACT_SHOT;
}

SEC("?tc")
int pintle_hand_pod(struct __sk_buff *skb)
{
	struct hand h = {};

	if ((skb->pkt_type != PACKET_HOST && skb->pkt_type != PACKET_OTHERHOST) ||
	    segment_read(skb, ETH_HLEN, &h.s) || !hand_pool(&h) || !h.in_pods ||
	    !hand_begin(skb, &h))
		return TC_ACT_UNSPEC;
	return pod_segment(skb, &h);
}

#endif
