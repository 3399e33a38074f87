/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * request.bpf.h - reads the first bytes of a connection as a request of HTTP/1.1: whether the
 * headers are complete, what they ask of the connection, and where the lines are that the caller
 * names. A hook that looks into requests uses this record, and decides for itself.
 *
 * Unusual requests are called malformed, even where RFC 9112 allows them: servers read them in
 * different ways, and a hook must not rely on its own.
 *
 * No map, no clock: the same text is compiled into TC programs and into host programs.
 *
 *   Call request_begin(), put the bytes into scan->bytes and their number into scan->size, and call
 *   request_word() for each eight bytes in turn until it returns 1 or there are no more. In a TC
 *   program, call request_begin(), then request_read() with a segment. Then scan->known says what
 *   was found.
 */
#ifndef PINTLE_REQUEST_BPF_H
#define PINTLE_REQUEST_BPF_H

#include <pintle/abi.h>

/* As in decide.bpf.h: verified once, for any arguments. */
#ifdef __bpf__
#include "packet.bpf.h"

#define REQUEST_STEP __attribute__((weak, noinline)) int
#else
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define REQUEST_STEP static inline int

/* The only helper in use: a loop that the verifier checks once. */
static inline long bpf_loop(__u32 n, long (*step)(__u32 i, void *arg), void *arg, __u64 flags)
{
	(void)flags;
	for (__u32 i = 0; i < n; i++)
		if (step(i, arg))
			break;
	return 0;
}
#endif

#define REQUEST_MAX 16384 /* bytes that are read, the most headers that servers take; 2^n */
#define REQUEST_PAD 512   /* bytes after them that may be read, so that no read need be shorter */

#define REQUEST_LENGTH_MAX 100000000 /* a longer body counts as one of so many bytes */

/* bytes of Connection, Upgrade and Content-Length; a longer value is malformed */
#define REQUEST_VALUE_MAX 200

/* The headers whose lines the caller wants to find, up to an empty name. */
struct request_names {
	struct pintle_header header[PINTLE_MAX_ASKED_KEYS];
};

struct request_span {
	__u32 from, to; /* `to` 0: nothing was found */
};

/* What is known so far. */
#define REQUEST_ENDED         0x001 /* the empty line was seen: the headers are complete */
#define REQUEST_LINE          0x002 /* a request line of HTTP/1.1 was seen */
#define REQUEST_NOT_HTTP      0x004
#define REQUEST_VERSION       0x008 /* a request line of another version of HTTP was seen */
#define REQUEST_MALFORMED     0x010
#define REQUEST_OVER          0x01d  /* any of those except LINE: nothing more need be read */
#define REQUEST_CLOSE         0x020  /* Connection has `close` */
#define REQUEST_UPGRADE       0x040  /* Connection has `upgrade` */
#define REQUEST_OFFER         0x080  /* Upgrade has `h2c` or TLS, which the server may ignore */
#define REQUEST_PROTOCOL      0x100  /* Upgrade has another protocol, or the method is CONNECT */
#define REQUEST_CHUNKED       0x200  /* there is a Transfer-Encoding */
#define REQUEST_UPGRADE_AGAIN 0x400  /* a second Connection header has `upgrade`, too */
#define REQUEST_LENGTH        0x800  /* `length` is what Content-Length says */
#define REQUEST_EXPECT        0x1000 /* there is an Expect: the client may wait before the body */
#define REQUEST_NO_BODY       0x1110 /* any of EXPECT, PROTOCOL, MALFORMED: no body is waited for */

struct request_scan {
	__u32 size;                     /* bytes in `bytes`, at most REQUEST_MAX */
	__u32 known;                    /* REQUEST_* */
	__u32 line;                     /* offset of the line that is being read */
	__u32 cr;                       /* 1 + the offset of a CR in that line; 0: none */
	__u32 digit;                    /* offset of the version's last digit */
	__u32 commas;                   /* 1: the list that is being read has a comma */
	__u32 line_min, line_max;       /* bytes of a named line that is kept, without CR LF */
	__u32 length;                   /* of the body, at most REQUEST_LENGTH_MAX */
	__u32 lines;                    /* bit i: there is a line of the i-th name, */
	__u32 again;                    /* two of them */
	__u32 word;                     /* from which on hold_read() reads (pieces.bpf.h) */
	struct request_span item;       /* the list's word that is being read; from 0: none yet */
	struct request_span keep_alive; /* the word "keep-alive", with the blanks after it */
	struct request_span upgrade;    /* the first Connection header with `upgrade` */
	/* for each name, the first of its lines that is neither too short nor too long */
	struct request_span named[PINTLE_MAX_ASKED_KEYS];
	__u8 bytes[REQUEST_MAX + REQUEST_PAD] __attribute__((aligned(8)));
};

/* ---- eight bytes at once ------------------------------------------------------- */

#define REQUEST_EACH(byte) (0x0101010101010101ULL * (byte))

/* Eight characters as a word, in the order in which they are in memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define REQUEST_AT(c, i) ((__u64)(__u8)(c) << (8 * (i)))
#else
#define REQUEST_AT(c, i) ((__u64)(__u8)(c) << (56 - 8 * (i)))
#endif
static __always_inline __u8 request_char(__u64 text, __u32 i)
{
	return text >> (REQUEST_AT(0xff, 0) == 0xff ? 8 * i : 56 - 8 * i);
}

#define REQUEST_TEXT(s)                                                                            \
	(REQUEST_AT((s)[0], 0) | REQUEST_AT((s)[1], 1) | REQUEST_AT((s)[2], 2) |                   \
	 REQUEST_AT((s)[3], 3) | REQUEST_AT((s)[4], 4) | REQUEST_AT((s)[5], 5) |                   \
	 REQUEST_AT((s)[6], 6) | REQUEST_AT((s)[7], 7))

/* Turns capital letters into small ones. Apart from those, only control characters turn into a
 * letter, a digit, a colon or '-', and a well-formed request has no control characters except TAB
 * and the CR of a line's end. */
#define REQUEST_SMALL REQUEST_EACH(0x20)

static __always_inline __u64 request_load(const struct request_scan *s, __u32 at)
{
	__u64 x;

	__builtin_memcpy(&x, s->bytes + (at & (REQUEST_MAX - 1)), sizeof(x));
	return x;
}

/* Sets the high bit of each byte below a blank. In bytes after the first of those, the bit may be
 * set wrongly. */
static __always_inline __u64 request_controls(__u64 x)
{
	return (x - REQUEST_EACH(0x20)) & ~x & REQUEST_EACH(0x80);
}

/* The index of the first byte with its high bit set, of those that request_controls() has. */
static __always_inline __u32 request_first(__u64 controls)
{
	__u64 ones = REQUEST_EACH(1);

	if (REQUEST_AT(0xff, 0) != 0xff)
		controls = __builtin_bswap64(controls);
	/* The lowest bit that is set, and all below it: of these, each byte up to the first one has
	 * its own lowest bit. */
	return (((controls ^ (controls - 1)) & ones) * ones >> 56) - 1;
}

/* A mask of the bytes of an ASCII text that are not zero. */
static __always_inline __u64 request_mask(__u64 text)
{
	return ((text + REQUEST_EACH(0x7f)) & REQUEST_EACH(0x80)) / 0x80 * 0xff;
}

/* Whether the small letters `at` begin with `text` up to its zeros. */
static __always_inline int request_starts(__u64 at, __u64 text)
{
	return !((at ^ text) & request_mask(text));
}

/* ---- a line -------------------------------------------------------------------- */

static __always_inline int request_is_blank(__u8 c)
{
	return c == ' ' || c == '\t';
}

static __always_inline int request_is_plain(__u8 c)
{
	__u8 small = c | 0x20;

	return (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

enum request_list_kind { REQUEST_CONNECTION, REQUEST_PROTOCOLS };

/* The fields must not change during the loop: the verifier of Linux 6.1 goes through a loop once,
 * and assumes that the stack's content stays as it was then. */
struct request_list {
	struct request_scan *scan;
	__u32 header;   /* enum request_list_kind */
	__u32 from, to; /* the header's value */
	__u32 zero;
};

/* Whether a client that names this protocol in Upgrade goes on with HTTP/1.1 where the server does
 * not answer the offer: "h2c" (Java), or TLS of any version (RFC 2817; "TLS/1.2" of Apache's
 * HttpClient). A client that insists on TLS asks by OPTIONS. */
static __always_inline int request_is_offer(const struct request_scan *s, __u64 word, __u32 length)
{
	if (length == 3)
		return request_starts(word, REQUEST_TEXT("h2c\0\0\0\0"));
	return length >= 5 && request_starts(word, REQUEST_TEXT("tls/\0\0\0")) &&
	       request_load(s, 0) != REQUEST_TEXT("OPTIONS ");
}

/* Reads a word of a list; `end` is the offset of the comma after it, or of the value's end. */
static __always_inline void request_read_item(const struct request_list *l, __u32 end)
{
	struct request_scan *s = l->scan;
	__u64 word = request_load(s, s->item.from) | REQUEST_SMALL;
	__u64 more = request_load(s, s->item.from + 8) | REQUEST_SMALL;
	__u32 length = s->item.to - s->item.from;

	if (l->header == REQUEST_PROTOCOLS)
		s->known |= request_is_offer(s, word, length) ? REQUEST_OFFER : REQUEST_PROTOCOL;
	else if (length == 5 && request_starts(word, REQUEST_TEXT("close\0\0")))
		s->known |= REQUEST_CLOSE;
	else if (length == 7 && request_starts(word, REQUEST_TEXT("upgrade")))
		s->known |= REQUEST_UPGRADE;
	else if (length == 10 && word == REQUEST_TEXT("keep-ali") &&
		 request_starts(more, REQUEST_TEXT("ve\0\0\0\0\0"))) {
		if (!s->keep_alive.to) {
			s->keep_alive.from = s->item.from;
			s->keep_alive.to = end;
		}
	} else if (request_char(word, 0) == 'c' || request_char(word, 0) == 'k' ||
		   request_char(word, 0) == 'u') {
		/* http_parser overlooks the word after "clos," and "keep,". */
		s->known |= REQUEST_MALFORMED;
	}
}

static long request_read_item_byte(__u32 i, void *arg)
{
	const struct request_list *l = arg;
	struct request_scan *s = l->scan;
	__u32 at = l->from + i;
	__u8 c = ',';

	if (at < l->to)
		c = s->bytes[at & (REQUEST_MAX - 1)];
	if (c == ',') {
		if (s->item.from)
			request_read_item(l, at);
		else if (at < l->to)
			s->known |= REQUEST_MALFORMED;
		s->item.from = 0;
		s->commas = 1;
	} else if (c == '\t' && s->commas) {
		s->known |= REQUEST_MALFORMED;
	} else if (!request_is_blank(c)) {
		if (l->header == REQUEST_CONNECTION && !request_is_plain(c))
			s->known |= REQUEST_MALFORMED;
		if (!s->item.from)
			s->item.from = at;
		s->item.to = at + 1;
	}
	return at >= l->to;
}

/* Reads what most clients say of their connection, " keep-alive" or " close", as the loop would:
 * the loop takes longer than all else of the header. Returns 1 if it is one of these. */
static __always_inline int request_read_usual(struct request_scan *s, __u32 from, __u32 to)
{
	__u64 word = request_load(s, from + 1) | REQUEST_SMALL;
	__u64 more = request_load(s, from + 9) | REQUEST_SMALL;

	if (s->bytes[from & (REQUEST_MAX - 1)] != ' ')
		return 0;
	if (to - from == 6 && request_starts(word, REQUEST_TEXT("close\0\0"))) {
		s->known |= REQUEST_CLOSE;
		return 1;
	}
	if (to - from != 11 || word != REQUEST_TEXT("keep-ali") ||
	    !request_starts(more, REQUEST_TEXT("ve\0\0\0\0\0")))
		return 0;
	if (!s->keep_alive.to) {
		s->keep_alive.from = from + 1;
		s->keep_alive.to = to;
	}
	return 1;
}

/* Reads a list as in RFC 9110 5.6.1: words with commas between and blanks around. The RFC allows
 * empty words, TABs and other characters, but some servers stop reading at them. */
REQUEST_STEP request_read_list(struct request_scan *s, __u32 from, __u32 to, __u32 header)
{
	struct request_list l = {.scan = s, .header = header, .from = from, .to = to};

	if (!s)
		return 0;
	s->item.from = s->item.to = s->commas = 0;
	if (header == REQUEST_CONNECTION && request_read_usual(s, from, to))
		return 0;
	if (to - from > REQUEST_VALUE_MAX)
		s->known |= REQUEST_MALFORMED;
	else
		bpf_loop(REQUEST_VALUE_MAX + 1, request_read_item_byte, &l, 0);
	return 0;
}

/* METHOD SP TARGET SP HTTP/1.1 */
REQUEST_STEP request_read_first_line(struct request_scan *s, __u32 end)
{
	__u64 version;
	__u32 i;

	if (!s)
		return 0;
	version = request_load(s, end - 8);
	for (i = 0; i < 32; i++) {
		__u8 c = s->bytes[i];

		if (c == ' ')
			break;
		if ((c < 'A' || c > 'Z') && c != '-')
			i = 32;
	}
	/* at least a byte of target between the blanks */
	if (!i || i >= 32 || end < i + 2 + 9 || s->bytes[(end - 9) & (REQUEST_MAX - 1)] != ' ' ||
	    !request_starts(version, REQUEST_TEXT("HTTP/\0\0"))) {
		s->known |= REQUEST_NOT_HTTP;
	} else if (version != REQUEST_TEXT("HTTP/1.1")) {
		s->known |= REQUEST_VERSION;
	} else {
		s->known |= REQUEST_LINE;
		s->digit = end - 1;
	}
	if (request_load(s, 0) == REQUEST_TEXT("CONNECT "))
		s->known |= REQUEST_PROTOCOL;
	return 0;
}

/* Whether the small letters `at` begin with a name up to its zeros. A name may have an underscore,
 * which is none of the letters. */
static __always_inline int request_is_name(__u64 at, __u64 name)
{
	return !((at ^ (name | REQUEST_SMALL)) & request_mask(name));
}

/* Whether a line that begins with these eight characters may be of a name. */
REQUEST_STEP request_may_be_named(const struct request_names *names, __u64 start)
{
	__u32 i;

	if (!names)
		return 0;
	for (i = 0; i < PINTLE_MAX_ASKED_KEYS; i++) {
		__u64 name = *(const __u64 *)names->header[i].name;

		if (!name)
			return 0;
		if (request_is_name(start, name))
			return 1;
	}
	return 0;
}

/* Whether a line that begins with these eight characters may be of interest; most are not. */
static __always_inline int request_matters(__u64 start, const struct request_names *names)
{
	return start == REQUEST_TEXT("connecti") || start == REQUEST_TEXT("upgrade:") ||
	       start == REQUEST_TEXT("transfer") || start == REQUEST_TEXT("proxy-co") ||
	       start == REQUEST_TEXT("content-") ||
	       request_starts(start, REQUEST_TEXT("expect:\0")) ||
	       request_may_be_named(names, start) > 0;
}

/* Keeps the line if it is the first usable one of the i-th name. Notes whether there are two. */
static __always_inline void request_keep_named(struct request_scan *s, __u32 end,
					       const __u64 *start,
					       const struct request_names *names, __u32 i)
{
	const struct pintle_header *h = &names->header[i];
	const __u64 *name = (const __u64 *)h->name;

	if (h->name[0] == PINTLE_ASKED_BODY[0] || !request_is_name(start[0], name[0]) ||
	    !request_is_name(start[1], name[1]) || !request_is_name(start[2], name[2]) ||
	    !request_is_name(start[3], name[3]))
		return;
	s->again |= s->lines & 1U << i;
	s->lines |= 1U << i;
	if (s->named[i].to || end - s->line < s->line_min || end - s->line > s->line_max)
		return;
	s->named[i].from = s->line;
	s->named[i].to = end;
}

/* Keeps the line that ends at `end` for each name that it has. A function of its own, because of
 * its stack: request_read_named() is called behind many others, and calls more. */
REQUEST_STEP request_keep_line(struct request_scan *s, __u32 end, const struct request_names *names)
{
	__u64 start[4];
	__u32 i;

	if (!s || !names)
		return 0;
	for (i = 0; i < 4; i++)
		start[i] = request_load(s, s->line + 8 * i) | REQUEST_SMALL;
	for (i = 0; i < PINTLE_MAX_ASKED_KEYS && names->header[i].name[0]; i++)
		request_keep_named(s, end, start, names, i);
	return 0;
}

struct request_number {
	struct request_scan *scan;
	__u32 from, to;
};

/* Reads a digit of Content-Length; s->item.to is the end of those before it. */
static long request_read_digit(__u32 i, void *arg)
{
	const struct request_number *n = arg;
	struct request_scan *s = n->scan;
	__u32 at = n->from + i, length;
	__u8 c;

	if (at >= n->to)
		return 1;
	c = s->bytes[at & (REQUEST_MAX - 1)];
	if (request_is_blank(c))
		return 0;
	if (c < '0' || c > '9' || (s->known & REQUEST_LENGTH && s->item.to != at)) {
		s->known |= REQUEST_MALFORMED;
		return 1;
	}
	s->known |= REQUEST_LENGTH;
	s->item.to = at + 1;
	length = s->length >= REQUEST_LENGTH_MAX / 10 ? REQUEST_LENGTH_MAX
						      : s->length * 10 + (c - '0');
	s->length = length;
	return 0;
}

/* Content-Length must be one number: servers read two of them, signs and lists differently. */
REQUEST_STEP request_read_length(struct request_scan *s, __u32 from, __u32 to)
{
	struct request_number n = {.scan = s, .from = from, .to = to};

	if (!s)
		return 0;
	if (!(s->known & REQUEST_LENGTH) && to - from <= REQUEST_VALUE_MAX)
		bpf_loop(REQUEST_VALUE_MAX, request_read_digit, &n, 0);
	else
		s->known |= REQUEST_MALFORMED;
	if (!(s->known & REQUEST_LENGTH))
		s->known |= REQUEST_MALFORMED;
	return 0;
}

/* Finds lines that some servers take for the header that they resemble: "Connection : keep-alive",
 * "Content-Length : 5" and "Transfer-Encoding : chunked", where RFC 9112 5.1 tells servers to
 * refuse a blank before the colon, and Proxy-Connection, which is no header for a server. */
static __always_inline int request_resembles(const struct request_scan *s, const __u64 *start,
					     __u32 line)
{
	if (start[0] == REQUEST_TEXT("connecti") &&
	    request_starts(start[1], REQUEST_TEXT("on\0\0\0\0\0")))
		return request_is_blank(s->bytes[(line + 10) & (REQUEST_MAX - 1)]);
	if (start[0] == REQUEST_TEXT("content-") &&
	    request_starts(start[1], REQUEST_TEXT("length\0\0")))
		return request_is_blank(s->bytes[(line + 14) & (REQUEST_MAX - 1)]);
	if (start[0] == REQUEST_TEXT("transfer") && start[1] == REQUEST_TEXT("-encodin") &&
	    request_starts(start[2], REQUEST_TEXT("g\0\0\0\0\0\0")))
		return request_is_blank(s->bytes[(line + 17) & (REQUEST_MAX - 1)]);
	return start[0] == REQUEST_TEXT("proxy-co") && start[1] == REQUEST_TEXT("nnection");
}

REQUEST_STEP request_read_named(struct request_scan *s, __u32 end)
{
	__u32 line, known, i;
	__u64 start[4];

	if (!s)
		return 0;
	line = s->line;
	known = s->known;
	for (i = 0; i < 4; i++)
		start[i] = request_load(s, line + 8 * i) | REQUEST_SMALL;
	if (start[0] == REQUEST_TEXT("connecti") &&
	    request_starts(start[1], REQUEST_TEXT("on:\0\0\0\0"))) {
		s->known &= ~REQUEST_UPGRADE;
		request_read_list(s, line + 11, end, REQUEST_CONNECTION);
		if (s->known & REQUEST_UPGRADE && !s->upgrade.to) {
			s->upgrade.from = line;
			s->upgrade.to = end;
		} else if (s->known & REQUEST_UPGRADE) {
			s->known |= REQUEST_UPGRADE_AGAIN;
		}
		s->known |= known & REQUEST_UPGRADE;
	} else if (start[0] == REQUEST_TEXT("upgrade:")) {
		request_read_list(s, line + 8, end, REQUEST_PROTOCOLS);
	} else if (start[0] == REQUEST_TEXT("transfer") && start[1] == REQUEST_TEXT("-encodin") &&
		   request_starts(start[2], REQUEST_TEXT("g:\0\0\0\0\0"))) {
		s->known |= REQUEST_CHUNKED;
	} else if (start[0] == REQUEST_TEXT("content-") &&
		   request_starts(start[1], REQUEST_TEXT("length:\0"))) {
		request_read_length(s, line + 15, end);
	} else if (request_starts(start[0], REQUEST_TEXT("expect:\0"))) {
		s->known |= REQUEST_EXPECT;
	} else if (request_resembles(s, start, line)) {
		s->known |= REQUEST_MALFORMED;
	}
	return 0;
}

static __always_inline void request_read_header(struct request_scan *s, __u32 end,
						const struct request_names *names)
{
	/* A line that begins with a blank continues the line before, which may be one to overwrite.
	 */
	if (request_is_blank(s->bytes[s->line & (REQUEST_MAX - 1)])) {
		s->known |= REQUEST_MALFORMED;
	} else if (request_matters(request_load(s, s->line) | REQUEST_SMALL, names)) {
		request_read_named(s, end);
		request_keep_line(s, end, names);
	}
}

/* A server may take the body's end from either header, where both are there. */
static __always_inline void request_end(struct request_scan *s)
{
	const __u32 both = REQUEST_LENGTH | REQUEST_CHUNKED;

	s->known |= REQUEST_ENDED;
	if ((s->known & both) == both)
		s->known |= REQUEST_MALFORMED;
}

/* Reads a line whose CR is at offset `end`. */
static __always_inline void request_read_line(struct request_scan *s, __u32 end,
					      const struct request_names *names)
{
	if (!s->line)
		request_read_first_line(s, end);
	else if (end == s->line)
		request_end(s);
	else
		request_read_header(s, end, names);
	s->line = end + 2;
	s->cr = 0;
}

/* ---- bytes --------------------------------------------------------------------- */

/* Reads those of the eight bytes from `at` on that may be control characters, by their high bits in
 * `controls`. */
REQUEST_STEP request_read_controls(struct request_scan *s, __u32 at, __u64 controls,
				   const struct request_names *names)
{
	__u32 i, from = at;

	if (!s || !names)
		return 0;
	for (i = 0; i < 8 && controls; i++) {
		__u8 c;

		at = from + request_first(controls);
		controls ^= REQUEST_AT(0x80, at - from);
		if (at >= s->size || s->known & REQUEST_OVER)
			return 0;
		c = s->bytes[at & (REQUEST_MAX - 1)];
		if (c >= ' ' || c == '\t')
			continue;
		if (c == '\r' && !s->cr)
			s->cr = at + 1;
		else if (c == '\n' && s->cr && s->cr == at)
			request_read_line(s, at - 1, names);
		else
			s->known |= s->line ? REQUEST_MALFORMED : REQUEST_NOT_HTTP;
	}
	return 0;
}

/* Begins a scan that keeps named lines of line_min to line_max bytes. */
static __always_inline void request_begin(struct request_scan *s, __u32 line_min, __u32 line_max)
{
	__builtin_memset(s, 0, __builtin_offsetof(struct request_scan, bytes));
	s->line_min = line_min;
	s->line_max = line_max;
}

/* Reads the i-th eight bytes, up to `size`. Returns 1 when nothing more need be read. */
static __always_inline int request_word(struct request_scan *s, __u32 i,
					const struct request_names *names)
{
	__u32 at = 8 * i;
	__u64 controls;

	if (at >= s->size || at >= REQUEST_MAX)
		return 1;
	if (!at && (s->bytes[0] < 'A' || s->bytes[0] > 'Z')) {
		s->known |= REQUEST_NOT_HTTP;
		return 1;
	}
	/* clang would leave the mask out, which the verifier wants. */
	asm volatile("" : "+r"(at));
	controls = request_controls(*(const __u64 *)(s->bytes + (at & (REQUEST_MAX - 8))));
	if (!controls)
		return 0;
	request_read_controls(s, at, controls, names);
	return !!(s->known & REQUEST_OVER);
}

/* Whether there are two lines of the i-th name. Servers read the first, the last, or both as one.
 */
static __always_inline int request_has_two(const struct request_scan *s, __u32 i)
{
	return s->again >> i & 1;
}

/* Whether all that is there of the body is the beginning of a byte order mark, or all of it. */
static __always_inline int request_has_mark(const struct request_scan *s, __u32 size)
{
	__u32 n = size - s->line, line = s->line & (REQUEST_MAX - 1);

	return n <= 3 && n < s->length && size <= s->size && s->bytes[line] == 0xef &&
	       (n < 2 || s->bytes[line + 1] == 0xbb) && (n < 3 || s->bytes[line + 2] == 0xbf);
}

/* Whether the request has a body of which nothing is in the `size` bytes that are there, and which
 * comes without being asked for. `chunked`: whether a chunked body is one, too; its client may want
 * to hear of the answer first. Where a malformed request ends is not known. */
static __always_inline int request_awaits_body(const struct request_scan *s, __u32 size,
					       int chunked)
{
	if (!(s->known & REQUEST_ENDED) || s->known & REQUEST_NO_BODY)
		return 0;
	if (chunked && s->known & REQUEST_CHUNKED)
		return s->line >= size;
	return s->length && (s->line >= size || request_has_mark(s, size));
}

/* Whether some of the body is missing in the `size` bytes that are there, and there is room for
 * it, of `most` bytes in all; of a longer request, for the next segment, of `next` bytes. */
static __always_inline int request_is_cut(const struct request_scan *s, __u32 size, __u32 most,
					  __u32 next)
{
	__u32 all = s->line + s->length;

	if (!(s->known & REQUEST_ENDED) || s->known & REQUEST_NO_BODY || size >= all)
		return 0;
	return all <= most || size + next <= most;
}

#ifdef __bpf__
/* ---- out of a segment ------------------------------------------------------------ */

#define REQUEST_STRIDE 8   /* words in a turn of the loop, because a turn costs more than a word */
#define REQUEST_CHUNK  512 /* bytes loaded at once; most headers are shorter */

struct request_reading {
	struct __sk_buff *skb;
	struct request_scan *scan;
	const struct request_names *names;
	__u32 data, size;
};

/* Loads bytes into scan->bytes from `at` on, a multiple of REQUEST_CHUNK. */
static __always_inline int request_read_chunk(const struct request_reading *r, __u32 at)
{
	__u32 n;

	if (at >= r->size)
		return -1;
	n = r->size - at;
	if (n > REQUEST_CHUNK)
		n = REQUEST_CHUNK;
	at &= REQUEST_MAX - REQUEST_CHUNK;
	hide(at);
	if (at > REQUEST_MAX - REQUEST_CHUNK)
		return -1;
	n = at_least_1(n, REQUEST_CHUNK);
	if (bpf_skb_load_bytes(r->skb, r->data + at, r->scan->bytes + at, n))
		return -1;
	r->scan->size = at + n;
	return 0;
}

static long request_read_words(__u32 i, void *arg)
{
	const struct request_reading *r = arg;
	__u32 word;

	if (REQUEST_STRIDE * 8 * i >= r->scan->size &&
	    request_read_chunk(r, REQUEST_STRIDE * 8 * i))
		return 1;
#pragma unroll
	for (word = 0; word < REQUEST_STRIDE; word++)
		if (request_word(r->scan, REQUEST_STRIDE * i + word, r->names))
			return 1;
	return 0;
}

/* Reads the segment's data into scan->bytes, and *scan from them, until nothing more need be read.
 * Must follow request_begin(). */
static __always_inline void request_read(struct __sk_buff *skb, const struct segment *s,
					 struct request_scan *scan,
					 const struct request_names *names)
{
	struct request_reading r = {
		.skb = skb, .scan = scan, .names = names, .data = s->data, .size = s->size};

	bpf_loop(REQUEST_MAX / 8 / REQUEST_STRIDE, request_read_words, &r, 0);
}
#endif

#endif
