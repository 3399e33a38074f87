/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * request_body.bpf.h - what a request's body says of its session: the values of members of the JSON
 * object that is the body, or of an object in it ("session_params.session_id"). Only strings count.
 * They are not unescaped: a client writes the same name always in the same way.
 *
 * The object is read by request_model.bpf.h. This text looks at how its state changes, and puts the
 * places of the values into scan->named, beside those of headers.
 *
 * Like request.bpf.h, it is compiled into the TC program and into host programs.
 *
 *   Call body_read() after request_read(). On the host, scan->bytes must have the body already.
 */
#ifndef PINTLE_REQUEST_BODY_BPF_H
#define PINTLE_REQUEST_BODY_BPF_H

#include "request_model.bpf.h"

#define BODY_VALUE_MAX 8192 /* a longer value says nothing */
#define BODY_NAME_MAX  (PINTLE_HEADER_SIZE - 1)

struct body_scan {
	struct model_scan json;
	/* In an object in the body's own: its key and a dot, then zeros. Keys in it are read behind
	 * that. */
	__u64 outer[PINTLE_HEADER_SIZE / 8];
	__u32 outer_length; /* 0: in the body's own object */
	__u32 key;          /* 1 + the index of the key that was read; 0: it is none of them */
	__u32 from;         /* where its value begins, while that is read; else 0 */
	__u32 begin;        /* offset of the body */
};

static __always_inline int hand_in_body(const struct pintle_asked *asked, __u32 i)
{
	return asked->headers[i].name[0] == PINTLE_ASKED_BODY[0];
}

/* Begins to read the body of a request whose headers are complete, and of which `size` bytes can be
 * seen. */
static __always_inline void body_begin(struct body_scan *b, const struct request_scan *s,
				       __u32 size)
{
	int chunked = !!(s->known & REQUEST_CHUNKED);

	/* What is behind the body is another request. */
	if (!chunked && size - s->line > s->length)
		size = s->line + s->length;
	model_begin(&b->json, size, chunked);
	b->outer_length = b->key = b->from = 0;
	b->begin = s->line;
}

/* A key is whole. Finds which one it is. */
static __always_inline void body_key(struct body_scan *b, const struct pintle_asked *asked)
{
	const __u64 *text = (const __u64 *)b->json.key.name, *name;
	__u32 i;

	b->key = 0;
	b->json.is = MODEL_KEY_OTHER;
	if (b->json.length > BODY_NAME_MAX)
		return;
	for (i = 0; i < PINTLE_MAX_ASKED_KEYS && asked->headers[i].name[0]; i++) {
		name = (const __u64 *)asked->parts[i].name;
		if (hand_in_body(asked, i) && text[0] == name[0] && text[1] == name[1] &&
		    text[2] == name[2] && text[3] == name[3]) {
			b->key = i + 1;
			return;
		}
	}
}

/* The value of a key is an object: its keys are read like those around it. */
static __always_inline void body_enter(struct body_scan *b)
{
	__u32 n = b->json.length;

	__builtin_memcpy(b->outer, b->json.key.name, sizeof(b->outer));
	b->outer_length = MODEL_UNREADABLE;
	if (n < BODY_NAME_MAX) {
		((char *)b->outer)[n & BODY_NAME_MAX] = '.';
		b->outer_length = n + 1;
	}
	b->json.state = MODEL_KEY;
	b->json.depth = 1;
}

/* The value of a key begins. */
static __always_inline void body_value(struct body_scan *b, __u32 at, __u8 c)
{
	b->from = b->key && b->json.state == MODEL_IN_STRING ? at + 1 : 0;
	if (b->json.state == MODEL_NESTED && c == '{' && !b->outer_length)
		body_enter(b);
}

/* A string that is a value ends. The first one of a key counts. Behind the first of the keys
 * nothing need be read. */
static __always_inline void body_value_end(struct body_scan *b, struct request_scan *s,
					   const struct pintle_asked *asked, __u32 at)
{
	__u32 i = b->key - 1, from = b->from;

	b->from = 0;
	if (!from || i >= PINTLE_MAX_ASKED_KEYS || s->named[i].to || at - from > BODY_VALUE_MAX)
		return;
	s->named[i].from = from;
	s->named[i].to = at;
	if (at > from && b->key == asked->in_body)
		b->json.state = MODEL_OVER;
}

/* Not a part of body_word(), where the verifier would go through it eight times. */
REQUEST_STEP body_byte(struct body_scan *b, struct request_scan *s,
		       const struct pintle_asked *asked, __u32 at, __u8 c)
{
	__u32 before, after;

	if (!b || !s || !asked)
		return 0;
	before = b->json.state;
	model_byte(&b->json, at, c);
	after = b->json.state;
	if (after == before)
		return 0;
	if (after == MODEL_IN_KEY && b->outer_length) {
		__builtin_memcpy(b->json.key.name, b->outer, sizeof(b->outer));
		b->json.length = b->outer_length;
	} else if (before == MODEL_IN_KEY) {
		body_key(b, asked);
	} else if (before == MODEL_VALUE) {
		body_value(b, at, c);
	} else if (before == MODEL_IN_STRING && after == MODEL_AFTER) {
		body_value_end(b, s, asked, at);
	} else if (after == MODEL_OVER && c == '}' && b->outer_length) {
		b->outer_length = 0;
		b->json.state = MODEL_AFTER;
	}
	return 0;
}

/* Reads the eight bytes at offset `at` of the request. Returns 1 when nothing more need be read. */
REQUEST_STEP body_word(struct body_scan *b, struct request_scan *s,
		       const struct pintle_asked *asked, __u32 at, __u64 word)
{
	__u32 i;

	if (!b || !s || !asked)
		return 1;
	for (i = 0; i < 8; i++) {
		if (at + i < b->begin)
			continue;
		if (at + i >= b->json.end || b->json.state >= MODEL_FOUND)
			return 1;
		body_byte(b, s, asked, at + i, request_char(word, i));
	}
	return b->json.state >= MODEL_FOUND;
}

#ifdef __bpf__
struct body_reading {
	struct request_reading load;
	const struct pintle_asked *asked;
	struct body_scan *body;
	__u32 from, zero;
};

static long body_read_words(__u32 i, void *arg)
{
	const struct body_reading *r = arg;
	struct request_scan *s = r->load.scan;
	__u32 at = r->from + REQUEST_STRIDE * 8 * i, word;

	if (!(at % REQUEST_CHUNK) && request_read_chunk(&r->load, at))
		return 1;
	for (word = 0; word < REQUEST_STRIDE; word++, at += 8) {
		__u64 text = request_load(s, at);

		if (!model_skips(&r->body->json, text) && body_word(r->body, s, r->asked, at, text))
			return 1;
	}
	return 0;
}

/* Reads the body, as far as the segment has it, for the keys that are there, into scan->named. */
__noinline int body_read(struct __sk_buff *skb, const struct segment *segment,
			 struct request_scan *s, const struct pintle_asked *asked,
			 struct body_scan *b)
{
	struct body_reading r = {.asked = asked, .body = b};

	if (!segment || !s || !asked || !b)
		return 0;
	r.load.skb = skb;
	r.load.scan = s;
	r.load.data = segment->data;
	r.load.size = segment->size > REQUEST_MAX ? REQUEST_MAX : segment->size;
	if (!(s->known & REQUEST_ENDED) || s->line >= r.load.size)
		return 0;
	r.from = s->line & ~(REQUEST_CHUNK - 1);
	body_begin(b, s, r.load.size);
	bpf_loop(REQUEST_MAX / 8 / REQUEST_STRIDE, body_read_words, &r, 0);
	return 0;
}
#else
static inline void body_read(struct request_scan *s, const struct pintle_asked *asked)
{
	struct body_scan b;

	if (!(s->known & REQUEST_ENDED) || s->line >= s->size)
		return;
	body_begin(&b, s, s->size);
	for (__u32 at = s->line & ~7U; at < s->size; at += 8) {
		__u64 text = request_load(s, at);

		if (!model_skips(&b.json, text) && body_word(&b, s, asked, at, text))
			return;
	}
}
#endif

#endif
