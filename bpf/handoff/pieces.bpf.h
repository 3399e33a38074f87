/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pieces.bpf.h - headers that come in several segments: what of a segment is new, and reading on
 * where the former ended.
 *
 * Like request.bpf.h, the text is compiled into the TC program and into host programs.
 *
 * The bytes are in scan->bytes, from the connection's first on, and scan->size says how many are
 * kept: they are acknowledged, so they never change again. A further segment is put behind them,
 * and hold_read() reads on. Then the segment is kept, too (hold_keep()), and acknowledged; or the
 * connection is decided, and the segment is left alone (hold_leave()): the client sends it again if
 * it does not reach the server.
 */
#ifndef PINTLE_PIECES_BPF_H
#define PINTLE_PIECES_BPF_H

#include "request.bpf.h"

/* The kernel makes a packet no longer than 16,000 bytes or so: PINTLE_HOLDS says it, too. */
#define HOLD_MAX 15872

#define HOLD_LATE_NS 10000000000ULL  /* 10 s: decided with what is there when more comes */
#define HOLD_END_NS  120000000000ULL /* 2 min: forgotten */

enum hold_segment {
	HOLD_NEW,      /* has bytes that are not kept yet, or the end of all */
	HOLD_BARE,     /* has nothing: the client's acknowledgement */
	HOLD_REPEATED, /* has nothing that is not kept already */
	HOLD_GAP,      /* something is missing before it */
};

/* What of a segment goes behind the bytes that are kept. */
struct hold_part {
	__u32 skip; /* bytes that are kept already */
	__u32 take;
	__u32 rest; /* bytes for which there is no room */
	__u16 end;  /* 1: and then the client's FIN */
	__u16 gap;  /* 1: what is missing before it is not waited for */
};

/* The segment begins `at` bytes behind the connection's first. */
static __always_inline enum hold_segment hold_look(__u32 kept, __u32 at, __u32 size, __u32 end,
						   struct hold_part *p)
{
	__u32 skip = kept - at, room = HOLD_MAX - kept;

	if ((__s32)skip < 0)
		return HOLD_GAP;
	if (skip > size || (skip == size && !end))
		return size || skip ? HOLD_REPEATED : HOLD_BARE;
	p->skip = skip;
	p->take = size - skip;
	if (p->take > room)
		p->take = room;
	p->rest = size - skip - p->take;
	p->end = end && !p->rest;
	return HOLD_NEW;
}

/* A segment behind a gap. The servers' sockets know better what to do of that than who holds, so
 * what has a part of its body goes there now, and the segment behind it. Returns whether it does.
 */
static __always_inline int hold_look_behind(const struct request_scan *s, __u32 size,
					    struct hold_part *p)
{
	if (!size || !(s->known & REQUEST_ENDED) || s->line >= s->size)
		return 0;
	p->rest = size;
	p->gap = 1;
	return 1;
}

/* All of a scan but its bytes. */
struct hold_state {
	__u64 word[__builtin_offsetof(struct request_scan, bytes) / 8];
};

struct hold_reader {
	struct hold_state kept;  /* as it was before */
	struct hold_state whole; /* after the last whole eight bytes */
};

static __always_inline void hold_copy(void *to, const void *from)
{
	__builtin_memcpy(to, from, sizeof(struct hold_state));
}

struct hold_reading {
	struct request_scan *scan;
	const struct request_names *names;
};

static long hold_read_word(__u32 i, void *arg)
{
	const struct hold_reading *r = arg;

	return request_word(r->scan, r->scan->word + i, r->names);
}

/* Begins the scan of a connection whose first segment was read already, into `read`. Headers that
 * have ended need not be read again. */
static __always_inline void hold_begin_scan(struct request_scan *s, const struct request_scan *read)
{
	if ((read->known & REQUEST_OVER) == REQUEST_ENDED) {
		hold_copy(s, read);
		s->size = 0;
	} else {
		request_begin(s, read->line_min, read->line_max);
	}
}

/* Reads on, up to `size` bytes. Returns 1 if the headers need not be read any further. The parser
 * takes eight bytes at a time: those of a word that is not whole are read again when more are
 * there. */
REQUEST_STEP hold_read(struct request_scan *s, struct hold_reader *r, __u32 size,
		       const struct request_names *names)
{
	struct hold_reading reading = {.scan = s, .names = names};

	if (!s || !r || !names)
		return 1;
	hold_copy(&r->kept, s);
	if (!(s->known & REQUEST_OVER)) {
		s->word = s->size / 8;
		s->size = size & ~7U;
		bpf_loop(REQUEST_MAX / 8, hold_read_word, &reading, 0);
	}
	hold_copy(&r->whole, s);
	s->size = size;
	if (!(s->known & REQUEST_OVER))
		request_word(s, size / 8, names);
	return !!(s->known & REQUEST_OVER);
}

/* Why the connection is decided now; PINTLE_HOLD_COUNT: it is not yet. `over`: what hold_read() has
 * returned; `since_ns`: how long it is held. */
static __always_inline __u32 hold_ends(const struct hold_part *p, int over, __u64 since_ns)
{
	if (over)
		return PINTLE_HOLD_JOINED;
	if (p->gap)
		return PINTLE_HOLD_LOST;
	if (p->rest)
		return PINTLE_HOLD_FULL;
	if (p->end)
		return PINTLE_HOLD_CLOSED;
	return since_ns > HOLD_LATE_NS ? PINTLE_HOLD_LATE : PINTLE_HOLD_COUNT;
}

static __always_inline void hold_keep(struct request_scan *s, const struct hold_reader *r)
{
	__u32 size = s->size;

	hold_copy(s, &r->whole);
	s->size = size;
}

static __always_inline void hold_leave(struct request_scan *s, const struct hold_reader *r)
{
	hold_copy(s, &r->kept);
}

#endif
