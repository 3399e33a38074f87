/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * request_session.bpf.h - the session that a request names.
 *
 * Like request.bpf.h, the text is compiled into the TC program and into host programs.
 */
#ifndef PINTLE_REQUEST_SESSION_BPF_H
#define PINTLE_REQUEST_SESSION_BPF_H

#include "cookie.bpf.h"
#include "hash.bpf.h"
#include "request_body.bpf.h"

/* ---- where the session stands ------------------------------------------------------- */

#define HAND_LINE_MIN 3    /* "a:b" */
#define HAND_LINE_MAX 8192 /* a longer line says nothing */
_Static_assert(BODY_VALUE_MAX <= HAND_LINE_MAX, "all of a value is hashed");

static __always_inline const struct request_names *hand_names(const struct pintle_asked *asked)
{
	_Static_assert(sizeof(asked->headers) == sizeof(struct request_names), "the same");
	return (const struct request_names *)asked->headers;
}

/* The fields but `span` must not change during the loops; see struct request_list. */
struct hand_value {
	const struct request_scan *scan;
	const struct pintle_header *cookie;
	struct request_span *span;
	__u32 from, to;
};

static __always_inline __u8 hand_byte(const struct request_scan *s, __u32 at)
{
	return s->bytes[at & (REQUEST_MAX - 1)];
}

static long hand_skip_before(__u32 i, void *arg)
{
	const struct hand_value *v = arg;
	__u32 at = v->from + i;

	v->span->from = at;
	return at >= v->to || !request_is_blank(hand_byte(v->scan, at));
}

static long hand_skip_after(__u32 i, void *arg)
{
	const struct hand_value *v = arg;
	__u32 at = v->to - i;

	v->span->to = at;
	return at <= v->from || !request_is_blank(hand_byte(v->scan, at - 1));
}

/* Takes the blanks off both ends. */
REQUEST_STEP hand_trim(const struct request_scan *s, struct request_span *span)
{
	struct hand_value v = {.scan = s, .span = span};
	__u32 from;

	if (!s || !span)
		return 0;
	v.from = span->from;
	v.to = span->to;
	/* Most clients send one blank in front of a header's value, and none in front of a
	 * cookie's. */
	from = v.from + (hand_byte(s, v.from) == ' ');
	if (from < v.to && !request_is_blank(hand_byte(s, from)) &&
	    !request_is_blank(hand_byte(s, v.to - 1))) {
		span->from = from;
		return 0;
	}
	bpf_loop(HAND_LINE_MAX, hand_skip_before, &v, 0);
	v.from = span->from;
	bpf_loop(HAND_LINE_MAX, hand_skip_after, &v, 0);
	return 0;
}

static __always_inline int hand_is_text(const struct request_scan *s, __u32 at, __u64 text,
					__u64 small)
{
	return !(((request_load(s, at) | small) ^ (text | small)) & request_mask(text));
}

/* Whether the bytes at `at` are the cookie's name and `=`. `small` is 0, or REQUEST_SMALL: small
 * and capital letters are the same. */
static __always_inline int hand_is_cookie(const struct request_scan *s,
					  const struct pintle_header *cookie, __u32 at, __u64 small)
{
	const __u64 *name = (const __u64 *)cookie->name;

	_Static_assert(PINTLE_HEADER_SIZE == 32, "four words");
	return hand_is_text(s, at, name[0], small) && hand_is_text(s, at + 8, name[1], small) &&
	       hand_is_text(s, at + 16, name[2], small) && hand_is_text(s, at + 24, name[3], small);
}

/* Whether a cookie begins at `at` for every server: at the header's value or behind a semicolon,
 * with one blank between at most. For some it may also begin behind other blanks, or a comma. */
enum hand_place { HAND_WITHIN, HAND_BEGINS, HAND_MAY_BEGIN };

static __always_inline enum hand_place hand_place_of(const struct hand_value *v, __u32 at)
{
	__u8 before;

	if (at <= v->from)
		return HAND_BEGINS;
	before = hand_byte(v->scan, at - 1);
	if (before == ';')
		return HAND_BEGINS;
	if (before == ' ' && (at == v->from + 1 || hand_byte(v->scan, at - 2) == ';'))
		return HAND_BEGINS;
	return request_is_blank(before) || before == ',' ? HAND_MAY_BEGIN : HAND_WITHIN;
}

/* Whether some server takes what is at `at` for the cookie, and another does not, or takes another
 * one: "a=b; sid=1; sid=2", where some take the first and some the last; "a=b;  sid=1", "a,sid=1",
 * "SID=1", and "sid =1". */
static __always_inline int hand_is_unclear(const struct hand_value *v, __u32 at,
					   enum hand_place place, int found)
{
	if (hand_byte(v->scan, at) == '=')
		return at > v->from && request_is_blank(hand_byte(v->scan, at - 1));
	if (place == HAND_WITHIN || !hand_is_cookie(v->scan, v->cookie, at, REQUEST_SMALL))
		return 0;
	return found || place != HAND_BEGINS || !hand_is_cookie(v->scan, v->cookie, at, 0);
}

/* span->from 0: not found yet, or, where span->to is not, it is unclear. span->to 0: its end is not
 * found yet. */
static long hand_find_cookie(__u32 i, void *arg)
{
	const struct hand_value *v = arg;
	struct request_span *span = v->span;
	__u32 at = v->from + i;
	enum hand_place place;

	if (span->from && !span->to && (at >= v->to || hand_byte(v->scan, at) == ';'))
		span->to = at;
	if (at >= v->to)
		return 1;
	place = hand_place_of(v, at);
	if (hand_is_unclear(v, at, place, !!span->from)) {
		span->from = 0;
		span->to = at + 1;
		return 1;
	}
	if (place == HAND_BEGINS && hand_is_cookie(v->scan, v->cookie, at, 0))
		span->from = at;
	return 0;
}

/* Replaces *span, the value of a Cookie header, by the value of this cookie, which begins with its
 * name; to 0: it is not there; from 0 alone: it is unclear what servers read. */
REQUEST_STEP hand_cookie(const struct request_scan *s, const struct pintle_header *cookie,
			 struct request_span *span)
{
	struct hand_value v = {.scan = s, .cookie = cookie, .span = span};

	if (!s || !cookie || !span)
		return 0;
	v.from = span->from;
	v.to = span->to;
	span->from = span->to = 0;
	bpf_loop(HAND_LINE_MAX, hand_find_cookie, &v, 0);
	return 0;
}

static __always_inline __u32 hand_length(const struct pintle_header *h)
{
	__u32 i, n = 0;

	for (i = 0; i < PINTLE_HEADER_SIZE; i++)
		n += !!h->name[i];
	return n;
}

#define HAND_UNCLEAR 2

/* Sets *span to the value of the i-th key, without its name and the blanks around it. Returns 1 if
 * the request has it, and it is not empty; HAND_UNCLEAR if servers read it differently. */
REQUEST_STEP hand_find(const struct request_scan *s, const struct pintle_asked *asked, __u32 i,
		       struct request_span *span)
{
	if (!s || !asked || !span || i >= PINTLE_MAX_ASKED_KEYS || !s->named[i].to)
		return 0;
	span->from = s->named[i].from;
	span->to = s->named[i].to;
	if (hand_in_body(asked, i))
		return span->from < span->to;
	span->from += hand_length(&asked->headers[i]);
	if (asked->parts[i].name[0]) {
		hand_cookie(s, &asked->parts[i], span);
		if (!span->to)
			return 0;
		if (!span->from)
			return HAND_UNCLEAR;
		span->from += hand_length(&asked->parts[i]);
	}
	hand_trim(s, span);
	return span->from < span->to;
}

/* ---- the session's key ---------------------------------------------------------------- */

/* What makes the key of a session that a request names. It is too large for the stack. */
struct hand_named {
	struct hand_secret secret;
	/* The key of the client's address, as many bits of it as count in the pool; kind NONE: all
	 * clients share the session. */
	struct pintle_session_key source;
	struct request_span value;
	__u32 at; /* the index of the key whose value that is */
	__u32 zero;
	struct hash_input in;
	struct hash_output sum;
	/* The names that were hashed last: the next request's are the same, as a rule. */
	struct hash_input names;
	struct hash_output names_sum;
};

/* The first `n` bytes of a word, then zeros. */
static __always_inline __u64 hand_first(__u64 word, __u32 n)
{
	__u64 text = REQUEST_EACH(0xff);

	if (n >= 8)
		return word;
	if (!n)
		return 0;
	return word & (REQUEST_AT(0xff, 0) == 0xff ? text >> (64 - 8 * n) : text << (64 - 8 * n));
}

/* Hashes the next 64 bytes of the value, keyed by the hash of what was before them. */
REQUEST_STEP hand_hash_part(const struct request_scan *s, struct hand_named *n, __u32 at)
{
	__u32 i, size;

	if (!s || !n)
		return 0;
	size = n->value.to - at;
	if (size > PINTLE_HINT_MAX)
		size = PINTLE_HINT_MAX;
	n->in.key[0] = n->sum.word[0];
	n->in.key[1] = n->sum.word[1];
	n->in.size = size;
#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < HASH_WORDS; i++)
		n->in.word[i] =
			hand_first(request_load(s, at + 8 * i), size > 8 * i ? size - 8 * i : 0);
	hash_text(&n->in, &n->sum);
	return 0;
}

struct hand_hashing {
	const struct request_scan *scan;
	struct hand_named *named;
};

static long hand_hash_step(__u32 i, void *arg)
{
	const struct hand_hashing *h = arg;
	__u32 at = h->named->value.from + PINTLE_HINT_MAX * i;

	if (at >= h->named->value.to)
		return 1;
	hand_hash_part(h->scan, h->named, at);
	return 0;
}

static __always_inline void hand_hash_begin(struct hand_named *n, __u32 size)
{
	__builtin_memset(&n->in, 0, sizeof(n->in));
	n->in.key[0] = n->secret.key[0];
	n->in.key[1] = n->secret.key[1];
	n->in.size = size;
}

/* Whether what is to be hashed are the names that were hashed last, with the same key. */
static __always_inline int hand_names_again(const struct hand_named *n)
{
	__u64 differ = (n->in.key[0] ^ n->names.key[0]) | (n->in.key[1] ^ n->names.key[1]);
	__u32 i;

#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < HASH_WORDS; i++)
		differ |= n->in.word[i] ^ n->names.word[i];
	return !differ && n->in.size == n->names.size;
}

/* The names of the key, so that the same value in two headers makes two sessions. */
REQUEST_STEP hand_hash_names(const struct pintle_asked *asked, struct hand_named *n)
{
	if (!asked || !n || n->at >= PINTLE_MAX_ASKED_KEYS)
		return 0;
	_Static_assert(2 * PINTLE_HEADER_SIZE == PINTLE_HINT_MAX, "both names fit");
	hand_hash_begin(n, PINTLE_HINT_MAX);
	__builtin_memcpy(n->in.word, asked->headers[n->at].name, PINTLE_HEADER_SIZE);
	__builtin_memcpy(n->in.word + HASH_WORDS / 2, asked->parts[n->at].name, PINTLE_HEADER_SIZE);
	if (!hand_names_again(n)) {
		hash_text(&n->in, &n->names_sum);
		n->names = n->in;
	}
	n->sum = n->names_sum;
	return 0;
}

REQUEST_STEP hand_hash_end(struct hand_named *n)
{
	struct hash_output value;

	if (!n)
		return 0;
	value = n->sum;
	hand_hash_begin(n, 40);
	n->in.word[0] = value.word[0];
	n->in.word[1] = value.word[1];
	n->in.word[2] = (__u64)n->source.kind << 32 | n->source.prefix_bits;
	__builtin_memcpy(&n->in.word[3], n->source.id, sizeof(n->source.id));
	hash_text(&n->in, &n->sum);
	return 0;
}

/* Makes the key of the session: a hash of the key's names, its value and the client. */
static __always_inline void hand_key(const struct request_scan *s, const struct pintle_asked *asked,
				     struct hand_named *n, struct pintle_session_key *out)
{
	struct hand_hashing h = {.scan = s, .named = n};

	hand_hash_names(asked, n);
	bpf_loop(HAND_LINE_MAX / PINTLE_HINT_MAX, hand_hash_step, &h, 0);
	hand_hash_end(n);
	out->kind = PINTLE_KEY_REQUEST;
	out->prefix_bits = 128;
	__builtin_memcpy(out->id, &n->sum, sizeof(out->id));
}

/* Makes the key of the session that the request names, if it does. `n` has the secret and the
 * client. Returns how the connection is counted. */
REQUEST_STEP hand_session(const struct request_scan *scan, const struct pintle_asked *asked,
			  struct hand_named *n, struct pintle_session_key *out)
{
	__u32 i;
	int found;

	if (!scan || !asked || !n || !out)
		return PINTLE_HAND_NOT_HTTP;
	if (scan->known & (REQUEST_NOT_HTTP | REQUEST_VERSION))
		return PINTLE_HAND_NOT_HTTP;
	if (scan->known & REQUEST_MALFORMED)
		return PINTLE_HAND_MALFORMED;
	for (i = 0; i < PINTLE_MAX_ASKED_KEYS && asked->headers[i].name[0]; i++) {
		if (request_has_two(scan, i))
			return PINTLE_HAND_MALFORMED;
		found = hand_find(scan, asked, i, &n->value);
		if (found == HAND_UNCLEAR)
			return PINTLE_HAND_MALFORMED;
		if (found <= 0)
			continue;
		n->at = i;
		hand_key(scan, asked, n, out);
		return PINTLE_HAND_ASKED;
	}
	return scan->known & REQUEST_ENDED ? PINTLE_HAND_NOT_SAID : PINTLE_HAND_UNFINISHED;
}

/* Whether what is in the body may say where a request to the pool goes: of one whose headers have
 * none of the keys before those in the body. */
static __always_inline int hand_reads_body(const struct pintle_pool *pool,
					   const struct request_scan *scan)
{
	__u32 n = pool->asked.in_body;

	return !pool->no_models || (n && !(scan->lines & ((1U << ((n - 1) & 31)) - 1)));
}

/* Whether more of the request is waited for, of which `size` bytes are there, and whose headers are
 * complete. A body that says where it goes, or that servers may have cached, is waited for as far
 * as there is room: no server can begin before the last byte. */
static __always_inline int hand_awaits_body(const struct pintle_pool *pool,
					    const struct request_scan *scan, __u32 size, __u32 most,
					    __u32 next)
{
	int reads = hand_reads_body(pool, scan);

	return request_awaits_body(scan, size, reads) ||
	       ((reads || pool->prompt_weight) && request_is_cut(scan, size, most, next));
}

/* After hand_session(), which has returned `how`: whether a key in the body may come before what it
 * has found, so that body_read() is to be called, and hand_session() again. */
static __always_inline int hand_asks_body(const struct pintle_asked *asked,
					  const struct hand_named *n, int how)
{
	return asked->in_body && (how == PINTLE_HAND_NOT_SAID ||
				  (how == PINTLE_HAND_ASKED && n->at >= asked->in_body));
}

#endif
