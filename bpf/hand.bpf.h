/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand.bpf.h - the session that a request names, and the cookie of a handshake without a socket.
 *
 * Like request.bpf.h, the text is compiled into the TC program and into host programs.
 */
#ifndef PINTLE_HAND_BPF_H
#define PINTLE_HAND_BPF_H

#include "hash.bpf.h"
#include "request.bpf.h"

/* ---- where the session stands ------------------------------------------------------- */

#define HAND_LINE_MIN 3    /* "a:b" */
#define HAND_LINE_MAX 8192 /* a longer line says nothing */
#define HAND_BLANKS_MAX                                                                            \
	64 /* before or after a value; what is left of more belongs to the value                   \
	    */

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

static long hand_skip_before(__u32 i, void *arg)
{
	const struct hand_value *v = arg;
	__u32 at = v->from + i;

	v->span->from = at;
	return at >= v->to || !request_is_blank(v->scan->bytes[at & (REQUEST_MAX - 1)]);
}

static long hand_skip_after(__u32 i, void *arg)
{
	const struct hand_value *v = arg;
	__u32 at = v->to - i;

	v->span->to = at;
	return at <= v->from || !request_is_blank(v->scan->bytes[(at - 1) & (REQUEST_MAX - 1)]);
}

/* Takes the blanks off both ends. */
REQUEST_STEP hand_trim(const struct request_scan *s, struct request_span *span)
{
	struct hand_value v = {.scan = s, .span = span};

	if (!s || !span)
		return 0;
	v.from = span->from;
	v.to = span->to;
	bpf_loop(HAND_BLANKS_MAX, hand_skip_before, &v, 0);
	v.from = span->from;
	bpf_loop(HAND_BLANKS_MAX, hand_skip_after, &v, 0);
	return 0;
}

/* Whether the bytes at `at` are the cookie's name and `=`; small and capital letters differ. */
static __always_inline int hand_is_cookie(const struct request_scan *s,
					  const struct pintle_header *cookie, __u32 at)
{
	const __u64 *name = (const __u64 *)cookie->name;

	_Static_assert(PINTLE_HEADER_SIZE == 32, "four words");
	return request_starts(request_load(s, at), name[0]) &&
	       request_starts(request_load(s, at + 8), name[1]) &&
	       request_starts(request_load(s, at + 16), name[2]) &&
	       request_starts(request_load(s, at + 24), name[3]);
}

static __always_inline __u8 hand_byte(const struct hand_value *v, __u32 at)
{
	return v->scan->bytes[at & (REQUEST_MAX - 1)];
}

/* Whether a cookie may begin at `at`: at the value's beginning, after a semicolon, or after a blank
 * behind either. */
static __always_inline int hand_may_begin(const struct hand_value *v, __u32 at)
{
	if (at > v->from && request_is_blank(hand_byte(v, at - 1)))
		at--;
	return at == v->from || hand_byte(v, at - 1) == ';';
}

/* span->from 0: not found yet. */
static long hand_find_cookie(__u32 i, void *arg)
{
	const struct hand_value *v = arg;
	struct request_span *span = v->span;
	__u32 at = v->from + i;
	__u8 c = ';';

	if (at < v->to)
		c = hand_byte(v, at);
	if (span->from) {
		span->to = at;
		return c == ';';
	}
	if (at >= v->to)
		return 1;
	if (hand_may_begin(v, at) && hand_is_cookie(v->scan, v->cookie, at))
		span->from = at;
	return 0;
}

/* Replaces *span, the value of a Cookie header, by the value of this cookie, which begins with its
 * name; to 0: it is not there. */
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

/* Sets *span to the value of the i-th key, without its name and the blanks around it. Returns 1 if
 * the request has it, and it is not empty. */
REQUEST_STEP hand_find(const struct request_scan *s, const struct pintle_asked *asked, __u32 i,
		       struct request_span *span)
{
	if (!s || !asked || !span || i >= PINTLE_MAX_HEADERS || !s->named[i].to)
		return 0;
	span->from = s->named[i].from + hand_length(&asked->headers[i]);
	span->to = s->named[i].to;
	if (asked->cookies[i].name[0]) {
		hand_cookie(s, &asked->cookies[i], span);
		if (!span->to)
			return 0;
		span->from += hand_length(&asked->cookies[i]);
	}
	hand_trim(s, span);
	return span->from < span->to;
}

/* The node's key, which is nobody else's. */
struct hand_secret {
	__u64 key[2];
};

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

/* The names of the key, so that the same value in two headers makes two sessions. */
REQUEST_STEP hand_hash_names(const struct pintle_asked *asked, struct hand_named *n)
{
	if (!asked || !n || n->at >= PINTLE_MAX_HEADERS)
		return 0;
	_Static_assert(2 * PINTLE_HEADER_SIZE == PINTLE_HINT_MAX, "both names fit");
	hand_hash_begin(n, PINTLE_HINT_MAX);
	__builtin_memcpy(n->in.word, asked->headers[n->at].name, PINTLE_HEADER_SIZE);
	__builtin_memcpy(n->in.word + HASH_WORDS / 2, asked->cookies[n->at].name,
			 PINTLE_HEADER_SIZE);
	hash_text(&n->in, &n->sum);
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

/* ---- handshakes ----------------------------------------------------------------------- */

/* What the SYN said, and is needed when the request comes, in the lowest byte of the sequence
 * number with which the SYN is answered. The other bytes are a keyed hash of it, of the addresses,
 * of the client's sequence number and of the time: so no memory is needed, and who did not get the
 * answer cannot go on. */
#define HAND_EPOCH_SHIFT 39 /* of 2^39 ns, 9 minutes, each */
#define HAND_EPOCHS      4  /* a cookie is good in its own and in the next three */

#define HAND_MSS_SHIFT 5
#define HAND_SACK      0x10
#define HAND_NO_SCALE  0xf /* in the place of the window's scale */

/* One for all listeners, since the listener is not known yet: a window of 64 MiB at most, told in
 * steps of 1 KiB. */
#define HAND_SCALE 10

/* The largest segments that are told apart. */
static __always_inline __u32 hand_mss_at(__u32 i)
{
	const __u64 low = 536ULL | 1220ULL << 16 | 1360ULL << 32 | 1400ULL << 48;
	const __u64 high = 1440ULL | 1460ULL << 16 | 8900ULL << 32 | 65440ULL << 48;

	return ((i & 4 ? high : low) >> (16 * (i & 3))) & 0xffff;
}

/* The index of the largest of them that is not above `mss`. */
static __always_inline __u32 hand_mss_index(__u32 mss)
{
	__u32 i, found = 0;

#ifdef __bpf__
#pragma unroll
#endif
	for (i = 1; i < 8; i++)
		if (mss >= hand_mss_at(i))
			found = i;
	return found;
}

/* The options of a client's segment. */
struct hand_options {
	__u32 value, echo; /* of the timestamp */
	__u16 mss;         /* 0: none */
	__u8 scale;
	__u8 has_scale, has_sack, has_time;
};

static __always_inline __u32 hand_pack(const struct hand_options *o)
{
	return hand_mss_index(o->mss) << HAND_MSS_SHIFT | (o->has_sack ? HAND_SACK : 0) |
	       (o->has_scale ? o->scale & 0xf : HAND_NO_SCALE);
}

static __always_inline void hand_unpack(struct hand_options *o, __u32 cookie)
{
	__u32 scale = cookie & 0xf;

	o->mss = hand_mss_at(cookie >> HAND_MSS_SHIFT & 7);
	o->has_sack = !!(cookie & HAND_SACK);
	o->has_scale = scale != HAND_NO_SCALE;
	o->scale = o->has_scale ? scale : 0;
}

/* Hashes what a cookie vouches for. */
REQUEST_STEP hand_hash(const struct pintle_tuple *t, __u32 sequence, __u32 time,
		       const struct hand_secret *secret, struct hash_output *out)
{
	struct hash_input in = {.size = 48};

	if (!t || !secret || !out)
		return 0;
	/* Another key than that of sessions. */
	in.key[0] = secret->key[0] ^ 0x70696e746c652d68ULL;
	in.key[1] = secret->key[1] ^ 0x616e642d6f666621ULL;
	__builtin_memcpy(in.word, t->remote, sizeof(t->remote));
	__builtin_memcpy(in.word + 2, t->local, sizeof(t->local));
	in.word[4] = (__u64)sequence << 32 | (__u32)t->remote_port << 16 | t->local_port;
	in.word[5] = time;
	hash_text(&in, out);
	return 0;
}

/* The cookie in whose lowest byte is `packed`. *out: a further hash of the same. */
static __always_inline __u32 hand_cookie_of(const struct pintle_tuple *t, __u32 sequence,
					    __u32 epoch, __u32 packed,
					    const struct hand_secret *secret, __u32 *out)
{
	struct hash_output sum;

	hand_hash(t, sequence, epoch << 8 | packed, secret, &sum);
	*out = (__u32)sum.word[1];
	return ((__u32)sum.word[0] & ~0xffU) | packed;
}

/* Whether the cookie was given to this client, whose SYN had this sequence number, not too long
 * ago. */
REQUEST_STEP hand_cookie_holds(const struct pintle_tuple *t, __u32 sequence, __u32 cookie,
			       __u32 epoch, const struct hand_secret *secret)
{
	__u32 i, other;

	for (i = 0; i < HAND_EPOCHS; i++)
		if (hand_cookie_of(t, sequence, epoch - i, cookie & 0xff, secret, &other) == cookie)
			return 1;
	return 0;
}

#endif
