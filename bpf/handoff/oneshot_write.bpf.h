/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot_write.bpf.h - one-shot in TC programs: which handshakes are noted, and how an edit gets
 * into a packet. For oneshot.bpf.c, and for the hand-off, which edits the request that it hands
 * over.
 */
#ifndef PINTLE_ONESHOT_WRITE_BPF_H
#define PINTLE_ONESHOT_WRITE_BPF_H

#include "oneshot_edit.bpf.h"
#include "oneshot_pool.bpf.h"
#include "packet.bpf.h"

_Static_assert(ONESHOT_LINE_MAX <= SEGMENT_OVERWRITE_MAX, "a line is overwritten at once");

struct oneshot_scratch {
	struct oneshot_edit edit;
	struct request_names names;
	__u8 line[264]; /* the new bytes, from an even offset on */
};

/* A part of the map of scratch that each object has. */
static __always_inline struct oneshot_scratch *oneshot_scratch_find(void);

/* Notes the connection whose handshake the kernel begins, and where its data begin. A SYN that is
 * sent again, or seen on a second device, changes nothing. */
static __always_inline void oneshot_note(const struct segment *syn)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, &syn->tuple);
	struct pintle_flow flow = {.sequence = syn->sequence + 1};

	if (!f || f->sequence != flow.sequence)
		bpf_map_update_elem(&oneshot_flows, &syn->tuple, &flow, BPF_ANY);
}

/* ---- writing ------------------------------------------------------------------- */

struct oneshot_drawing {
	const struct request_scan *scan;
	struct oneshot_scratch *scratch;
	__u32 from; /* an even offset */
};

static long oneshot_draw_byte(__u32 i, void *arg)
{
	const struct oneshot_drawing *d = arg;
	struct oneshot_scratch *x = d->scratch;
	__u32 at = d->from + i, of_edit = at - x->edit.offset;

	if (i >= sizeof(x->line))
		return 1;
	x->line[i] = of_edit < x->edit.length ? oneshot_byte(&x->edit, of_edit)
					      : d->scan->bytes[at & (REQUEST_MAX - 1)];
	return 0;
}

/* Writes x->edit into the segment with that request. Returns 0, or -1 with the packet untouched. */
static __always_inline int oneshot_overwrite(struct __sk_buff *skb, const struct segment *s,
					     struct request_scan *scan, struct oneshot_scratch *x)
{
	__u32 at = x->edit.offset, length = x->edit.length;
	struct oneshot_drawing d = {.scan = scan, .scratch = x, .from = at & ~1U};

	if (at >= REQUEST_MAX || length < 1 || length > ONESHOT_LINE_MAX)
		return -1;
	bpf_loop(segment_even(at, length), oneshot_draw_byte, &d, 0);
	at &= ~1U;
	hide(at);
	if (at >= REQUEST_MAX)
		return -1;
	return segment_overwrite(skb, s, x->edit.offset, length, scan->bytes + at, x->line);
}

/* Makes the server close after its answer to the request that was read into *scan. Returns enum
 * pintle_oneshot; x->edit.kind is ONESHOT_NOTHING if the request stays as it is. */
static __always_inline __u32 oneshot_apply(struct __sk_buff *skb, const struct segment *s,
					   struct request_scan *scan,
					   const struct pintle_rewrite *how,
					   struct oneshot_scratch *x)
{
	oneshot_decide(scan, how, &x->edit);
	if (x->edit.kind != ONESHOT_NOTHING && oneshot_overwrite(skb, s, scan, x))
		x->edit.result = PINTLE_ONESHOT_LEFT_FAILED;
	return x->edit.result;
}

#endif
