/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot_edit.bpf.h - which bytes of a request to overwrite so that the server closes after its
 * answer, or why none.
 *
 *   Connection: keep-alive        becomes   Connection:      close
 *   Accept-Encoding: gzip, br     becomes   Connection:      close    (without `keep-alive`)
 *   GET / HTTP/1.1                becomes   GET / HTTP/1.0            (only where the pool says so)
 *
 * The length does not change, and so sequence numbers do not. The blanks stand before the value,
 * because some servers do not skip blanks after it. Unusual requests are left alone.
 *
 * Like request.bpf.h, the text is compiled into the TC program and into host programs. Call
 * oneshot_begin(), read the request, then oneshot_decide(), and oneshot_byte() for each byte of the
 * edit.
 */
#ifndef PINTLE_ONESHOT_EDIT_BPF_H
#define PINTLE_ONESHOT_EDIT_BPF_H

#include "request.bpf.h"

#define ONESHOT_LINE_MIN 17  /* "Connection: close" */
#define ONESHOT_LINE_MAX 248 /* see SEGMENT_OVERWRITE_MAX */

enum oneshot_kind { ONESHOT_NOTHING, ONESHOT_WORD_CLOSE, ONESHOT_LINE_CLOSE, ONESHOT_DIGIT_0 };

struct oneshot_edit {
	__u32 kind;   /* enum oneshot_kind */
	__u32 offset; /* in the segment's data */
	__u32 length; /* at most ONESHOT_LINE_MAX */
	__u32 result; /* enum pintle_oneshot */
};

/* Begins a scan that keeps the named lines which can become "Connection: close". */
static __always_inline void oneshot_begin(struct request_scan *s)
{
	request_begin(s, ONESHOT_LINE_MIN, ONESHOT_LINE_MAX);
}

/* Returns the headers that the pool allows to be overwritten, in *names, which has nothing else. */
static __always_inline const struct request_names *oneshot_names(const struct pintle_rewrite *how,
								 struct request_names *names)
{
	__builtin_memcpy(names->header, how->headers, sizeof(how->headers));
	return names;
}

static __always_inline int oneshot_edit_is(struct oneshot_edit *e, __u32 kind, __u32 from, __u32 to,
					   __u32 result)
{
	e->kind = kind;
	e->offset = from;
	e->length = to - from;
	e->result = result;
	return 0;
}

static __always_inline int oneshot_leave(struct oneshot_edit *e, __u32 result)
{
	return oneshot_edit_is(e, ONESHOT_NOTHING, 0, 0, result);
}

/* Whether oneshot_decide() looks at the named lines: those are only for requests that say nothing
 * of their connection. */
static __always_inline int oneshot_asks_names(const struct request_scan *s)
{
	const __u32 others = (REQUEST_OVER & ~REQUEST_ENDED) | REQUEST_PROTOCOL | REQUEST_UPGRADE |
			     REQUEST_CLOSE;

	return s->known & REQUEST_ENDED && !(s->known & others) && !s->keep_alive.to;
}

REQUEST_STEP oneshot_decide(const struct request_scan *s, const struct pintle_rewrite *how,
			    struct oneshot_edit *e)
{
	__u32 known, i;

	if (!s || !how || !e)
		return 0;
	known = s->known;
	if (known & REQUEST_NOT_HTTP)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_NOT_HTTP);
	if (known & REQUEST_VERSION)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_VERSION);
	if (known & REQUEST_MALFORMED)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_MALFORMED);
	if (!(known & REQUEST_ENDED))
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_UNFINISHED);
	/* With two Connection headers that have `upgrade`, only one could be changed. */
	if (known & (REQUEST_PROTOCOL | REQUEST_UPGRADE_AGAIN) ||
	    (known & REQUEST_UPGRADE && !(known & REQUEST_OFFER)))
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_UPGRADE);
	if (known & REQUEST_CLOSE)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_CLOSE);
	if (known & REQUEST_UPGRADE)
		return oneshot_edit_is(e, ONESHOT_LINE_CLOSE, s->upgrade.from, s->upgrade.to,
				       PINTLE_ONESHOT_REWRITTEN_CONNECTION);
	if (s->keep_alive.to)
		return oneshot_edit_is(e, ONESHOT_WORD_CLOSE, s->keep_alive.from, s->keep_alive.to,
				       PINTLE_ONESHOT_REWRITTEN_CONNECTION);
	for (i = 0; i < PINTLE_MAX_HEADERS; i++)
		if (s->named[i].to)
			return oneshot_edit_is(e, ONESHOT_LINE_CLOSE, s->named[i].from,
					       s->named[i].to,
					       PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER);
	if (!how->http10)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_NO_ROOM);
	if (known & REQUEST_CHUNKED)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_TRANSFER_ENCODING);
	return oneshot_edit_is(e, ONESHOT_DIGIT_0, s->digit, s->digit + 1,
			       PINTLE_ONESHOT_REWRITTEN_VERSION);
}

/* Returns the i-th byte of the edit; i is below `length`. */
static __always_inline __u8 oneshot_byte(const struct oneshot_edit *e, __u32 i)
{
	const __u64 name = REQUEST_TEXT("Connecti"), more = REQUEST_TEXT("on:\0\0\0\0");
	const __u64 value = REQUEST_TEXT("close\0\0");
	__u32 to_end = e->length - i;

	if (e->kind == ONESHOT_DIGIT_0)
		return '0';
	if (to_end <= 5)
		return request_char(value, 5 - to_end);
	if (e->kind == ONESHOT_LINE_CLOSE && i < 11)
		return i < 8 ? request_char(name, i) : request_char(more, i - 8);
	return ' ';
}

#endif
