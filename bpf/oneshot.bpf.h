/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot.bpf.h - the first bytes of a connection in, and out which of them to overwrite so that
 * the server closes after its answer, or why none.
 *
 *   Connection: keep-alive        becomes   Connection:      close
 *   Accept-Encoding: gzip, br     becomes   Connection:      close    (nobody asks for anything)
 *   GET / HTTP/1.1                becomes   GET / HTTP/1.0            (only where the pool says so)
 *
 * The length stays, and so do sequence numbers. The blanks stand before the value, since there are
 * servers that do not skip those behind it. All that is out of the ordinary is left alone: what
 * servers read in different ways (RFC 9112) must not be changed by one who read it in his.
 *
 * No map, no clock: the same text is compiled into the TC program and into host
 * programs. oneshot_begin(); bytes into scan->bytes and their number into scan->size;
 * oneshot_word() for each eight bytes in turn until it returns 1 or there are no more;
 * oneshot_decide(); oneshot_byte() for each byte of the edit.
 */
#ifndef PINTLE_ONESHOT_BPF_H
#define PINTLE_ONESHOT_BPF_H

#include <pintle/abi.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* As in decide.bpf.h: verified once, for any arguments. */
#ifdef __bpf__
#define ONESHOT_STEP __attribute__((weak, noinline)) int
#else
#define ONESHOT_STEP static inline int

/* The one helper that is used: a loop that the verifier goes through once. */
static inline long bpf_loop(__u32 n, long (*step)(__u32 i, void *arg), void *arg, __u64 flags)
{
	(void)flags;
	for (__u32 i = 0; i < n; i++)
		if (step(i, arg))
			break;
	return 0;
}
#endif

#define ONESHOT_MAX 16384 /* bytes looked at: what servers take as headers at most; 2^n */
#define ONESHOT_PAD 512   /* may be read beyond, so that no access need be cut short */

#define ONESHOT_LINE_MIN 17 /* "Connection: close" */
/* With what aligns it, the line must fit half of what bpf_csum_diff() takes on Linux 6.1. */
#define ONESHOT_LINE_MAX  248
#define ONESHOT_VALUE_MAX 200 /* of Connection and Upgrade */

struct oneshot_span {
	__u32 from, to; /* to 0: none */
};

/* What is known so far. */
#define ONESHOT_ENDED     0x001 /* the empty line was seen */
#define ONESHOT_REQUEST   0x002 /* a request line of HTTP/1.1 was */
#define ONESHOT_NOT_HTTP  0x004
#define ONESHOT_VERSION   0x008 /* another one */
#define ONESHOT_MALFORMED 0x010
#define ONESHOT_OVER      0x01d /* any of those but REQUEST (see oneshot_word) */
#define ONESHOT_CLOSE     0x020 /* Connection has it */
#define ONESHOT_UPGRADE   0x040 /* Connection has it */
#define ONESHOT_H2C       0x080 /* Upgrade has it */
#define ONESHOT_PROTOCOL  0x100 /* Upgrade has another, or the method is CONNECT */
#define ONESHOT_CHUNKED   0x200 /* there is a Transfer-Encoding */

struct oneshot_scan {
	__u32 size;                     /* bytes that are there, at most ONESHOT_MAX */
	__u32 known;                    /* ONESHOT_* */
	__u32 line;                     /* where the line at hand begins */
	__u32 cr;                       /* in it, 1 + the place of a CR; 0: none */
	__u32 digit;                    /* the last one of the version */
	__u32 commas;                   /* in the list at hand, seen: 1 */
	struct oneshot_span item;       /* the word of it at hand; from 0: none yet */
	struct oneshot_span keep_alive; /* that word, with the blanks behind it */
	struct oneshot_span upgrade;    /* the Connection header with that word */
	struct oneshot_span spare[PINTLE_MAX_HEADERS];
	__u8 bytes[ONESHOT_MAX + ONESHOT_PAD] __attribute__((aligned(8)));
};

enum oneshot_kind { ONESHOT_NOTHING, ONESHOT_WORD_CLOSE, ONESHOT_LINE_CLOSE, ONESHOT_DIGIT_0 };

struct oneshot_edit {
	__u32 kind;   /* enum oneshot_kind */
	__u32 offset; /* in the segment's data */
	__u32 length; /* at most ONESHOT_LINE_MAX */
	__u32 result; /* enum pintle_oneshot */
};

/* ---- eight bytes at once ------------------------------------------------------- */

#define ONESHOT_EACH(byte) (0x0101010101010101ULL * (byte))

/* Eight characters, in the order in which they lie in memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ONESHOT_AT(c, i) ((__u64)(__u8)(c) << (8 * (i)))
#else
#define ONESHOT_AT(c, i) ((__u64)(__u8)(c) << (56 - 8 * (i)))
#endif
static __always_inline __u8 oneshot_char(__u64 text, __u32 i)
{
	return text >> (ONESHOT_AT(0xff, 0) == 0xff ? 8 * i : 56 - 8 * i);
}

#define ONESHOT_TEXT(s)                                                                            \
	(ONESHOT_AT((s)[0], 0) | ONESHOT_AT((s)[1], 1) | ONESHOT_AT((s)[2], 2) |                   \
	 ONESHOT_AT((s)[3], 3) | ONESHOT_AT((s)[4], 4) | ONESHOT_AT((s)[5], 5) |                   \
	 ONESHOT_AT((s)[6], 6) | ONESHOT_AT((s)[7], 7))

/* Turns capitals to small letters, and what else turns into a letter, digit, colon or '-' is a
 * control character, of which none but TAB and the CR of a line's end is in what is well formed. */
#define ONESHOT_SMALL ONESHOT_EACH(0x20)

static __always_inline __u64 oneshot_load(const struct oneshot_scan *s, __u32 at)
{
	__u64 x;

	__builtin_memcpy(&x, s->bytes + (at & (ONESHOT_MAX - 1)), sizeof(x));
	return x;
}

/* The high bit of each byte below a blank; above the first, perhaps of others too. */
static __always_inline __u64 oneshot_controls(__u64 x)
{
	return (x - ONESHOT_EACH(0x20)) & ~x & ONESHOT_EACH(0x80);
}

/* The bytes of an ASCII text that are not zero, as a mask. */
static __always_inline __u64 oneshot_mask(__u64 text)
{
	return ((text + ONESHOT_EACH(0x7f)) & ONESHOT_EACH(0x80)) / 0x80 * 0xff;
}

/* Whether small letters `at` begin with what `text` holds up to its zeros. */
static __always_inline int oneshot_begins(__u64 at, __u64 text)
{
	return !((at ^ text) & oneshot_mask(text));
}

/* ---- a line -------------------------------------------------------------------- */

static __always_inline int oneshot_is_blank(__u8 c)
{
	return c == ' ' || c == '\t';
}

static __always_inline int oneshot_is_plain(__u8 c)
{
	__u8 small = c | 0x20;

	return (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

enum oneshot_header { ONESHOT_CONNECTION, ONESHOT_PROTOCOLS };

/* Nothing in it may change: the verifier of Linux 6.1 goes through a loop once, and takes what it
 * knows of the stack then for what holds ever after. */
struct oneshot_list {
	struct oneshot_scan *scan;
	__u32 header;   /* enum oneshot_header */
	__u32 from, to; /* the header's value */
	__u32 zero;
};

/* `end`: the comma behind it, or the value's end. */
static __always_inline void oneshot_read_item(const struct oneshot_list *l, __u32 end)
{
	struct oneshot_scan *s = l->scan;
	__u64 word = oneshot_load(s, s->item.from) | ONESHOT_SMALL;
	__u64 more = oneshot_load(s, s->item.from + 8) | ONESHOT_SMALL;
	__u32 length = s->item.to - s->item.from;

	if (l->header == ONESHOT_PROTOCOLS)
		s->known |= length == 3 && oneshot_begins(word, ONESHOT_TEXT("h2c\0\0\0\0"))
				    ? ONESHOT_H2C
				    : ONESHOT_PROTOCOL;
	else if (length == 5 && oneshot_begins(word, ONESHOT_TEXT("close\0\0")))
		s->known |= ONESHOT_CLOSE;
	else if (length == 7 && oneshot_begins(word, ONESHOT_TEXT("upgrade")))
		s->known |= ONESHOT_UPGRADE;
	else if (length == 10 && word == ONESHOT_TEXT("keep-ali") &&
		 oneshot_begins(more, ONESHOT_TEXT("ve\0\0\0\0\0")) && !s->keep_alive.to) {
		s->keep_alive.from = s->item.from;
		s->keep_alive.to = end;
	}
}

static long oneshot_read_item_byte(__u32 i, void *arg)
{
	const struct oneshot_list *l = arg;
	struct oneshot_scan *s = l->scan;
	__u32 at = l->from + i;
	__u8 c = ',';

	if (at < l->to)
		c = s->bytes[at & (ONESHOT_MAX - 1)];
	if (c == ',') {
		if (s->item.from)
			oneshot_read_item(l, at);
		else if (at < l->to)
			s->known |= ONESHOT_MALFORMED;
		s->item.from = 0;
		s->commas = 1;
	} else if (c == '\t' && s->commas) {
		s->known |= ONESHOT_MALFORMED;
	} else if (!oneshot_is_blank(c)) {
		if (l->header == ONESHOT_CONNECTION && !oneshot_is_plain(c))
			s->known |= ONESHOT_MALFORMED;
		if (!s->item.from)
			s->item.from = at;
		s->item.to = at + 1;
	}
	return at >= l->to;
}

/* A list as RFC 9110 5.6.1 has it: words with commas between, blanks around. Empty words, TABs and
 * odd characters, which it allows, keep some servers from reading on. */
ONESHOT_STEP oneshot_read_list(struct oneshot_scan *s, __u32 from, __u32 to, __u32 header)
{
	struct oneshot_list l = {.scan = s, .header = header, .from = from, .to = to};

	if (!s)
		return 0;
	s->item.from = s->item.to = s->commas = 0;
	if (to - from > ONESHOT_VALUE_MAX)
		s->known |= ONESHOT_MALFORMED;
	else
		bpf_loop(ONESHOT_VALUE_MAX + 1, oneshot_read_item_byte, &l, 0);
	return 0;
}

/* METHOD SP TARGET SP HTTP/1.1 */
ONESHOT_STEP oneshot_read_request(struct oneshot_scan *s, __u32 end)
{
	__u64 version;
	__u32 i;

	if (!s)
		return 0;
	version = oneshot_load(s, end - 8);
	for (i = 0; i < 32; i++) {
		__u8 c = s->bytes[i];

		if (c == ' ')
			break;
		if ((c < 'A' || c > 'Z') && c != '-')
			i = 32;
	}
	/* at least a byte of target between the blanks */
	if (!i || i >= 32 || end < i + 2 + 9 || s->bytes[(end - 9) & (ONESHOT_MAX - 1)] != ' ' ||
	    !oneshot_begins(version, ONESHOT_TEXT("HTTP/\0\0"))) {
		s->known |= ONESHOT_NOT_HTTP;
	} else if (version != ONESHOT_TEXT("HTTP/1.1")) {
		s->known |= ONESHOT_VERSION;
	} else {
		s->known |= ONESHOT_REQUEST;
		s->digit = end - 1;
	}
	if (oneshot_load(s, 0) == ONESHOT_TEXT("CONNECT "))
		s->known |= ONESHOT_PROTOCOL;
	return 0;
}

/* The first eight characters of a name; an empty one is nothing's beginning. */
static __always_inline int oneshot_may_be(__u64 start, const struct pintle_header *h)
{
	__u64 name = *(const __u64 *)h->name;

	return name && oneshot_begins(start, name);
}

/* Whether a line that begins so may be one that matters: most are not. */
static __always_inline int oneshot_matters(__u64 start, const struct pintle_rewrite *how)
{
	_Static_assert(PINTLE_MAX_HEADERS == 4, "each is looked at");
	return start == ONESHOT_TEXT("connecti") || start == ONESHOT_TEXT("upgrade:") ||
	       start == ONESHOT_TEXT("transfer") || oneshot_may_be(start, &how->headers[0]) ||
	       oneshot_may_be(start, &how->headers[1]) || oneshot_may_be(start, &how->headers[2]) ||
	       oneshot_may_be(start, &how->headers[3]);
}

/* Keeps the line if it is the first of that name, and can become "Connection: close". */
static __always_inline void oneshot_spare(struct oneshot_scan *s, __u32 end, const __u64 *start,
					  const struct pintle_rewrite *how, __u32 i)
{
	const struct pintle_header *h = &how->headers[i];
	const __u64 *name = (const __u64 *)h->name;

	if (!h->name[0] || s->spare[i].to || !oneshot_begins(start[0], name[0]) ||
	    !oneshot_begins(start[1], name[1]) || !oneshot_begins(start[2], name[2]) ||
	    !oneshot_begins(start[3], name[3]) || end - s->line < ONESHOT_LINE_MIN ||
	    end - s->line > ONESHOT_LINE_MAX)
		return;
	s->spare[i].from = s->line;
	s->spare[i].to = end;
}

ONESHOT_STEP oneshot_read_named(struct oneshot_scan *s, __u32 end, const struct pintle_rewrite *how)
{
	__u32 line, known, i;
	__u64 start[4];

	if (!s || !how)
		return 0;
	line = s->line;
	known = s->known;
	for (i = 0; i < 4; i++)
		start[i] = oneshot_load(s, line + 8 * i) | ONESHOT_SMALL;
	if (start[0] == ONESHOT_TEXT("connecti") &&
	    oneshot_begins(start[1], ONESHOT_TEXT("on:\0\0\0\0"))) {
		s->known &= ~ONESHOT_UPGRADE;
		oneshot_read_list(s, line + 11, end, ONESHOT_CONNECTION);
		if (s->known & ONESHOT_UPGRADE && !s->upgrade.to) {
			s->upgrade.from = line;
			s->upgrade.to = end;
		} else if (s->known & ONESHOT_UPGRADE) {
			s->known |= ONESHOT_PROTOCOL; /* one line is all that can be changed */
		}
		s->known |= known & ONESHOT_UPGRADE;
	} else if (start[0] == ONESHOT_TEXT("upgrade:")) {
		oneshot_read_list(s, line + 8, end, ONESHOT_PROTOCOLS);
	} else if (start[0] == ONESHOT_TEXT("transfer") && start[1] == ONESHOT_TEXT("-encodin") &&
		   oneshot_begins(start[2], ONESHOT_TEXT("g:\0\0\0\0\0"))) {
		s->known |= ONESHOT_CHUNKED;
	}
#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < PINTLE_MAX_HEADERS; i++)
		oneshot_spare(s, end, start, how, i);
	return 0;
}

static __always_inline void oneshot_read_header(struct oneshot_scan *s, __u32 end,
						const struct pintle_rewrite *how)
{
	/* Goes on with the line before, which may be one that was to be overwritten. */
	if (oneshot_is_blank(s->bytes[s->line & (ONESHOT_MAX - 1)]))
		s->known |= ONESHOT_MALFORMED;
	else if (oneshot_matters(oneshot_load(s, s->line) | ONESHOT_SMALL, how))
		oneshot_read_named(s, end, how);
}

/* `end` is where the CR stands. */
static __always_inline void oneshot_read_line(struct oneshot_scan *s, __u32 end,
					      const struct pintle_rewrite *how)
{
	if (!s->line)
		oneshot_read_request(s, end);
	else if (end == s->line)
		s->known |= ONESHOT_ENDED;
	else
		oneshot_read_header(s, end, how);
	s->line = end + 2;
	s->cr = 0;
}

/* ---- bytes --------------------------------------------------------------------- */

/* Those of the eight bytes from `at` on that are there and may be control characters. */
ONESHOT_STEP oneshot_read_controls(struct oneshot_scan *s, __u32 at, __u64 controls,
				   const struct pintle_rewrite *how)
{
	__u32 i;

	if (!s || !how)
		return 0;
	for (i = 0; i < 8; i++, at++) {
		__u8 c;

		if (!(oneshot_char(controls, i) & 0x80))
			continue;
		if (at >= s->size || s->known & ONESHOT_OVER)
			return 0;
		c = s->bytes[at & (ONESHOT_MAX - 1)];
		if (c >= ' ' || c == '\t')
			continue;
		if (c == '\r' && !s->cr)
			s->cr = at + 1;
		else if (c == '\n' && s->cr && s->cr == at)
			oneshot_read_line(s, at - 1, how);
		else
			s->known |= s->line ? ONESHOT_MALFORMED : ONESHOT_NOT_HTTP;
	}
	return 0;
}

static __always_inline void oneshot_begin(struct oneshot_scan *s)
{
	__builtin_memset(s, 0, __builtin_offsetof(struct oneshot_scan, bytes));
}

/* The i-th eight bytes, as far as they are there. Returns 1 when nothing more need be read. */
static __always_inline int oneshot_word(struct oneshot_scan *s, __u32 i,
					const struct pintle_rewrite *how)
{
	__u32 at = 8 * i;
	__u64 controls;

	if (at >= s->size || at >= ONESHOT_MAX)
		return 1;
	if (!at && (s->bytes[0] < 'A' || s->bytes[0] > 'Z')) {
		s->known |= ONESHOT_NOT_HTTP;
		return 1;
	}
	controls = oneshot_controls(*(const __u64 *)(s->bytes + (at & (ONESHOT_MAX - 8))));
	if (!controls)
		return 0;
	oneshot_read_controls(s, at, controls, how);
	return !!(s->known & ONESHOT_OVER);
}

/* ---- what to do ----------------------------------------------------------------- */

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

ONESHOT_STEP oneshot_decide(const struct oneshot_scan *s, const struct pintle_rewrite *how,
			    struct oneshot_edit *e)
{
	__u32 known, i;

	if (!s || !how || !e)
		return 0;
	known = s->known;
	if (known & ONESHOT_NOT_HTTP)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_NOT_HTTP);
	if (known & ONESHOT_VERSION)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_VERSION);
	if (known & ONESHOT_MALFORMED)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_MALFORMED);
	if (!(known & ONESHOT_ENDED))
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_UNFINISHED);
	if (known & ONESHOT_PROTOCOL || (known & ONESHOT_UPGRADE && !(known & ONESHOT_H2C)))
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_UPGRADE);
	if (known & ONESHOT_CLOSE)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_CLOSE);
	if (known & ONESHOT_UPGRADE)
		return oneshot_edit_is(e, ONESHOT_LINE_CLOSE, s->upgrade.from, s->upgrade.to,
				       PINTLE_ONESHOT_REWRITTEN_CONNECTION);
	if (s->keep_alive.to)
		return oneshot_edit_is(e, ONESHOT_WORD_CLOSE, s->keep_alive.from, s->keep_alive.to,
				       PINTLE_ONESHOT_REWRITTEN_CONNECTION);
	for (i = 0; i < PINTLE_MAX_HEADERS; i++)
		if (s->spare[i].to)
			return oneshot_edit_is(e, ONESHOT_LINE_CLOSE, s->spare[i].from,
					       s->spare[i].to,
					       PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER);
	if (!how->http10)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_NO_ROOM);
	if (known & ONESHOT_CHUNKED)
		return oneshot_leave(e, PINTLE_ONESHOT_LEFT_TRANSFER_ENCODING);
	return oneshot_edit_is(e, ONESHOT_DIGIT_0, s->digit, s->digit + 1,
			       PINTLE_ONESHOT_REWRITTEN_VERSION);
}

/* The i-th byte of the edit, i < length. */
static __always_inline __u8 oneshot_byte(const struct oneshot_edit *e, __u32 i)
{
	const __u64 name = ONESHOT_TEXT("Connecti"), more = ONESHOT_TEXT("on:\0\0\0\0");
	const __u64 value = ONESHOT_TEXT("close\0\0");
	__u32 to_end = e->length - i;

	if (e->kind == ONESHOT_DIGIT_0)
		return '0';
	if (to_end <= 5)
		return oneshot_char(value, 5 - to_end);
	if (e->kind == ONESHOT_LINE_CLOSE && i < 11)
		return i < 8 ? oneshot_char(name, i) : oneshot_char(more, i - 8);
	return ' ';
}

#endif
