/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * xdp.bpf.c - the handshakes of the hand-off in XDP, before the kernel allocates anything for a
 * frame. Loaded where a device can (docs/handoff.md says where), beside hand.bpf.c.
 *
 *   SYN                        answered with a cookie
 *   the client's ACK           dropped
 *   a probe before a request   answered
 *   all else                   TC's: data, whatever has a socket, whatever is not plain; of bare
 *                              segments that no cookie explains, some a second
 *
 * It answers as hand.bpf.c would, by the same text, and stores nothing that is needed. What it
 * passes, TC judges.
 */
#define FRAME_XDP
#include "handshake.bpf.h"
#include "in_pod.bpf.h"
#include "work.bpf.h"

/* ---- whose frame it is ------------------------------------------------------------- */

/* Whether the frame is for this device, as eth_type_trans() sees it, and not for another machine or
 * a macvlan; and whether the device is still in the namespace that is steered, since a device that
 * moves takes its program along. */
static __always_inline bool is_for_us(frame *f)
{
	const struct net_device *dev = frame_net_device(f);
	__u8 to[ETH_ALEN];
	__u32 zero = 0, i;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	if (!n || n->netns_cookie != dev->nd_net.net->net_cookie ||
	    frame_load(f, 0, to, sizeof(to)))
		return false;
#pragma unroll
	for (i = 0; i < ETH_ALEN; i++)
		if (to[i] != dev->dev_addr_shadow[i])
			return false;
	return true;
}

/* ---- what no cookie explains ------------------------------------------------------- */

/* Segments without a socket and without a good cookie are rare, but in a flood. Among them are a
 * FIN right behind the request, whose socket is about to be made, and a probe that comes too late:
 * TC knows these apart. A sender repeats what is dropped. */
#define STRAYS_A_SECOND 1000

struct xdp_strays {
	__u64 second;
	__u64 count;
};

struct xdp_work {
	struct segment_header header;
	struct way way;
	struct xdp_strays strays; /* counted from frame to frame */
};

WORK(xdp_work);

WORK_PART(xdp_work, header, header_find)
WORK_PART(xdp_work, way, way_now)
WORK_PART(xdp_work, strays, strays_find)

static __always_inline int on_stray(void)
{
	__u64 second = bpf_ktime_get_ns() / 1000000000;
	struct xdp_strays *s = strays_find();

	if (!s)
		return XDP_DROP;
	if (s->second != second) {
		s->second = second;
		s->count = 0;
	}
	return s->count++ < STRAYS_A_SECOND ? XDP_PASS : XDP_DROP;
}

/* ---- all ---------------------------------------------------------------------------- */

/* Where the hand-off rests, these are the kernel's. The end of a connection to a pod is TC's. */
static __always_inline int on_unknown(const struct hand *h, const struct pintle_pool *pool)
{
	if (hand_is_off(h, pool) || (h->in_pods && pod_flow_ended(&h->s.tuple)))
		return XDP_PASS;
	return on_stray();
}

/* A segment without data and without a socket. */
static __always_inline int on_bare(frame *f, struct hand *h, const struct pintle_pool *pool)
{
	__u8 what = h->flags & (FLAG_FIN | FLAG_SYN | FLAG_RST | FLAG_ACK);
	int result = XDP_DROP;

	if (!(what & FLAG_ACK) || what & FLAG_SYN)
		return on_unknown(h, pool);
	fits_read(h, 0);
	if (h->fits == HAND_FITS_FIRST) {
		if ((what & (FLAG_FIN | FLAG_RST)) == FLAG_FIN)
			result = answer_until(f, h, h->s.sequence, true);
		/* TC counts what it answers. */
		if (what & (FLAG_FIN | FLAG_RST) && result != XDP_PASS)
			hand_count(h, PINTLE_HAND_NO_REQUEST);
		return result;
	}
	if (!(what & (FLAG_FIN | FLAG_RST)) && h->fits == HAND_FITS_PROBE)
		return answer_ack(f, h, h->s.sequence + 1);
	return on_unknown(h, pool);
}

static __always_inline int xdp_segment(frame *f, bool veth)
{
	struct hand h = {.redirect = veth};
	struct pintle_pool *pool;

	if (segment_read(f, ETH_HLEN, &h.s) || (h.s.size && !h.s.syn))
		return XDP_PASS;
	pool = hand_pool(&h);
	if (!pool || !hand_begin(f, &h) || !seen_is(frame_device(f), h.now) || !is_for_us(f) ||
	    checksum_read(&h) < 0)
		return XDP_PASS;
	/* A driver sends a frame as it is: its checksum must be whole, also in answer to a segment
	 * of this machine's own, as on a veth, whose was not. */
	h.partial = 0;
	if (h.s.syn && (hand_is_off(&h, pool) || !kernel_takes(f, &h)))
		return XDP_PASS;
	if ((h.in_pods && pod_flow(&h.s.tuple)) || socket_there(f, &h) > 0 || is_local(f, &h) <= 0)
		return XDP_PASS;
	return h.s.syn ? answer_syn(f, &h) : on_bare(f, &h, pool);
}

/* Not loaded unless it is asked for by name ("?"). ".frags": frames may be in several pieces, of
 * which the headers are in the first. */
SEC("?xdp.frags")
int pintle_xdp(struct xdp_md *ctx)
{
	return xdp_segment(ctx, false);
}

/* The other end of a veth that has GRO, and no XDP program, is not told of what XDP_TX sends; of
 * what is redirected it is. */
SEC("?xdp.frags")
int pintle_xdp_veth(struct xdp_md *ctx)
{
	return xdp_segment(ctx, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
