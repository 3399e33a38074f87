/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * request_model.bpf.h - the model that a request names: the value of the key "model" in the JSON
 * object that is its body; and where in the body the prompt begins.
 *
 * The body is read as RFC 8259 has it, from its beginning on, so "model" within a string, or within
 * an object or array in the object, is not taken for the key. Of a name that stands there twice the
 * first counts. Not all that is wrong in a body is found: the server that gets it finds it.
 *
 * Like request.bpf.h, the text is compiled into the TC program and into host programs.
 *
 *   Call model_begin(), and model_word() for each eight bytes of the body in turn until it returns
 *   1 or there are no more. Then the name is in scan->key if scan->state is MODEL_FOUND.
 *
 *   After model_begin_prompt(), model_word() finds the prompt instead. Then scan->length is the
 *   offset at which it begins, and scan->before has the name that stands before it, if any.
 *
 *   A body may be too long to be read to its end. Then call model_last_byte() for its last bytes,
 *   backwards, until it returns 1 or there are no more. last->key is then the offset of the first
 *   key of the object itself that can be seen behind its comma: read on there, after
 *   model_begin_last().
 */
#ifndef PINTLE_REQUEST_MODEL_BPF_H
#define PINTLE_REQUEST_MODEL_BPF_H

#include <stdbool.h>

#include "request.bpf.h"

/* What comes next. */
enum model_state {
	MODEL_CHUNK_SIZE, /* a digit of the first chunk's size, in a chunked body */
	MODEL_CHUNK_LINE, /* the rest of that line, */
	MODEL_CHUNK_END,  /* its LF */
	MODEL_START,      /* the object, or a byte order mark before it: EF BB BF; */
	MODEL_MARK,       /* the mark's second byte, */
	MODEL_MARK_END,   /* its third */
	MODEL_KEY,        /* in the object: a key, */
	MODEL_IN_KEY,     /* one of its characters, */
	MODEL_COLON,      /* the colon behind it, */
	MODEL_VALUE,      /* the value, */
	MODEL_AFTER,      /* the comma behind that */
	MODEL_NESTED,     /* in an object or array in the object */
	MODEL_IN_STRING,  /* a character of a string in either */
	MODEL_IN_NAME,    /* a character of the model's name */
	MODEL_FOUND,      /* nothing more: from here on nothing is read */
	MODEL_OVER,       /* it names none, or none that can be read */
};

#define MODEL_UNREADABLE 0x10000U /* a length that no name has */

/* Most clients write the model, and a few numbers, before the prompt. Reading on for a prompt that
 * stands behind much else would cost more than it is worth: then it is taken as part of it. */
#define MODEL_PROMPT_WITHIN 1024

/* What a key stands for. */
enum model_key {
	MODEL_KEY_OTHER,
	MODEL_KEY_NAME,   /* "model" */
	MODEL_KEY_PROMPT, /* one of those in model_key_of() */
};

struct model_scan {
	__u32 state;  /* enum model_state */
	__u32 is;     /* enum model_key: the key that was read */
	__u32 depth;  /* of objects and arrays: 1 in the body's own */
	__u32 escape; /* characters of an escape so far; 0: none */
	__u32 code;   /* the number in an escape, or of bytes in the chunk */
	__u32 length; /* of the key, of the name or of the chunk's number; or where the prompt is */
	__u32 end;    /* offset in the body of what is not there, or not to be read */
	__u32 wants;  /* enum model_key: what is looked for */
	struct pintle_model_key key;
	__u64 before[PINTLE_MODEL_SIZE / 8]; /* the name before the prompt, then zeros */
};

/* ---- eight bytes at once --------------------------------------------------------- */

/* Whether a byte of the word is `byte`. */
static __always_inline int model_has(__u64 word, __u8 byte)
{
	__u64 x = word ^ REQUEST_EACH(byte);

	return !!((x - REQUEST_EACH(0x01)) & ~x & REQUEST_EACH(0x80));
}

/* Whether the word changes nothing: most words are in the middle of a string. */
static __always_inline int model_skips(const struct model_scan *s, __u64 word)
{
	__u64 bracket = word | REQUEST_SMALL; /* '[' becomes '{', and ']' becomes '}' */

	if (s->state == MODEL_IN_STRING)
		return !s->escape && !model_has(word, '"') && !model_has(word, '\\');
	return s->state == MODEL_NESTED && !model_has(word, '"') && !model_has(bracket, '{') &&
	       !model_has(bracket, '}');
}

/* ---- a byte ---------------------------------------------------------------------- */

static __always_inline int model_is_blank(__u8 c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* 16: it is no digit. */
static __always_inline __u32 model_digit(__u8 c)
{
	__u8 small = c | 0x20;

	if (c >= '0' && c <= '9')
		return c - '0';
	return small >= 'a' && small <= 'f' ? small - 'a' + 10 : 16;
}

static __always_inline void model_chunk_size(struct model_scan *s, __u8 c)
{
	__u32 digit = model_digit(c);

	if (digit < 16 && s->length < 7) {
		s->code = s->code << 4 | digit;
		s->length++;
	} else {
		s->state = MODEL_OVER;
		if (s->length && c == '\r')
			s->state = MODEL_CHUNK_END;
		else if (s->length && (c == ';' || request_is_blank(c)))
			s->state = MODEL_CHUNK_LINE;
	}
}

/* Some servers take a LF without CR for the line's end, others for a part of the line. */
static __always_inline void model_chunk_line(struct model_scan *s, __u8 c)
{
	if (c == '\r')
		s->state = MODEL_CHUNK_END;
	else if (c < ' ' && c != '\t')
		s->state = MODEL_OVER;
}

/* What is behind the first chunk is not read: most clients write the object in one. */
static __always_inline void model_chunk_end(struct model_scan *s, __u32 at, __u8 c)
{
	s->state = c == '\n' ? MODEL_START : MODEL_OVER;
	if (s->end - at - 1 > s->code)
		s->end = at + 1 + s->code;
}

static __always_inline void model_put(struct model_scan *s, __u32 c)
{
	__u32 at = s->length;

	if (at >= PINTLE_MODEL_SIZE - 1 || c < ' ' || c >= 0x7f) {
		s->length = MODEL_UNREADABLE;
		return;
	}
	s->key.name[at & (PINTLE_MODEL_SIZE - 1)] = (char)c;
	s->length = at + 1;
}

static __always_inline void model_text_begin(struct model_scan *s, __u32 state)
{
	__builtin_memset(s->key.name, 0, sizeof(s->key.name));
	s->length = 0;
	s->escape = 0;
	s->state = state;
}

static __always_inline __u32 model_key_of(const struct model_scan *s)
{
	__u64 text = *(const __u64 *)s->key.name;

	if (s->length == 5 && text == REQUEST_TEXT("model\0\0"))
		return MODEL_KEY_NAME;
	/* OpenAI's chats, completions and responses; and TGI's own. Longer keys may begin so, too.
	 */
	if ((s->length == 8 && text == REQUEST_TEXT("messages")) ||
	    (s->length == 6 && text == REQUEST_TEXT("prompt\0")) ||
	    (s->length == 5 && text == REQUEST_TEXT("input\0\0")) ||
	    (s->length == 6 && text == REQUEST_TEXT("inputs\0")))
		return MODEL_KEY_PROMPT;
	return MODEL_KEY_OTHER;
}

static __always_inline void model_name_end(struct model_scan *s)
{
	if (s->wants == MODEL_KEY_NAME) {
		s->state = s->length && s->length < PINTLE_MODEL_SIZE ? MODEL_FOUND : MODEL_OVER;
		return;
	}
	__builtin_memcpy(s->before, s->key.name, sizeof(s->before));
	s->state = MODEL_AFTER;
}

static __always_inline void model_text_end(struct model_scan *s)
{
	if (s->state == MODEL_IN_NAME) {
		model_name_end(s);
		return;
	}
	s->is = model_key_of(s);
	s->state = MODEL_COLON;
}

static __always_inline void model_escape(struct model_scan *s, __u8 c)
{
	__u32 digit = model_digit(c);

	if (s->escape == 1 && c == 'u') {
		s->escape = 2;
		s->code = 0;
		return;
	}
	if (s->escape == 1) {
		s->escape = 0;
		model_put(s, c == '"' || c == '\\' || c == '/' ? c : 0);
		return;
	}
	s->code = s->code << 4 | digit;
	s->escape++;
	if (digit >= 16)
		s->state = MODEL_OVER;
	if (s->escape < 6)
		return;
	s->escape = 0;
	model_put(s, s->code);
}

/* A character of a key, or of the name. */
static __always_inline void model_text(struct model_scan *s, __u8 c)
{
	if (s->escape)
		model_escape(s, c);
	else if (c == '\\')
		s->escape = 1;
	else if (c == '"')
		model_text_end(s);
	else
		model_put(s, c);
}

static __always_inline void model_string(struct model_scan *s, __u8 c)
{
	if (s->escape)
		s->escape = 0;
	else if (c == '\\')
		s->escape = 1;
	else if (c == '"')
		s->state = s->depth > 1 ? MODEL_NESTED : MODEL_AFTER;
}

static __always_inline void model_value(struct model_scan *s, __u32 at, __u8 c)
{
	if (model_is_blank(c))
		return;
	if (s->is == MODEL_KEY_NAME && c == '"') {
		model_text_begin(s, MODEL_IN_NAME);
		return;
	}
	if (s->is && s->is == s->wants) {
		s->length = at;
		s->state = s->is == MODEL_KEY_NAME ? MODEL_OVER : MODEL_FOUND;
		return;
	}
	s->state = MODEL_AFTER;
	if (c == '"') {
		s->state = MODEL_IN_STRING;
	} else if (c == '{' || c == '[') {
		s->depth = 2;
		s->state = MODEL_NESTED;
	}
}

static __always_inline void model_nested(struct model_scan *s, __u8 c)
{
	__u8 bracket = c | 0x20; /* as in model_skips() */

	if (c == '"')
		s->state = MODEL_IN_STRING;
	else if (bracket == '{')
		s->depth++;
	else if (bracket == '}' && --s->depth == 1)
		s->state = MODEL_AFTER;
}

/* .NET and Windows write a byte order mark before the object; most servers skip it (RFC 8259 8.1).
 */
static __always_inline void model_mark(struct model_scan *s, __u8 c)
{
	if (s->state == MODEL_MARK)
		s->state = c == 0xbb ? MODEL_MARK_END : MODEL_OVER;
	else
		s->state = c == 0xbf ? MODEL_START : MODEL_OVER;
}

/* Between the parts of the object itself. */
static __always_inline void model_between(struct model_scan *s, __u8 c)
{
	__u32 state = s->state;

	if (model_is_blank(c))
		return;
	s->state = MODEL_OVER;
	if (state == MODEL_START && c == '{')
		s->state = MODEL_KEY;
	else if (state == MODEL_START && c == 0xef)
		s->state = MODEL_MARK;
	else if (state == MODEL_KEY && c == '"')
		model_text_begin(s, MODEL_IN_KEY);
	else if (state == MODEL_COLON && c == ':')
		s->state = MODEL_VALUE;
	else if (state == MODEL_AFTER && c == ',')
		s->state = MODEL_KEY;
	else if (state == MODEL_AFTER && c != '}' && c != '"')
		s->state = MODEL_AFTER; /* the rest of a number, or of true, false or null */
}

static __always_inline void model_byte(struct model_scan *s, __u32 at, __u8 c)
{
	switch (s->state) {
	case MODEL_CHUNK_SIZE:
		model_chunk_size(s, c);
		break;
	case MODEL_CHUNK_LINE:
		model_chunk_line(s, c);
		break;
	case MODEL_CHUNK_END:
		model_chunk_end(s, at, c);
		break;
	case MODEL_MARK:
	case MODEL_MARK_END:
		model_mark(s, c);
		break;
	case MODEL_IN_KEY:
	case MODEL_IN_NAME:
		model_text(s, c);
		break;
	case MODEL_IN_STRING:
		model_string(s, c);
		break;
	case MODEL_VALUE:
		model_value(s, at, c);
		break;
	case MODEL_NESTED:
		model_nested(s, c);
		break;
	default:
		model_between(s, c);
	}
}

/* ---- the body -------------------------------------------------------------------- */

/* Begins to read a body of which `end` bytes can be seen. */
static __always_inline void model_begin(struct model_scan *s, __u32 end, bool chunked)
{
	s->state = chunked ? MODEL_CHUNK_SIZE : MODEL_START;
	s->is = s->escape = s->code = s->length = 0;
	s->wants = MODEL_KEY_NAME;
	s->depth = 1;
	s->end = end;
	__builtin_memset(s->key.name, 0, sizeof(s->key.name));
}

/* The same to find the prompt. */
static __always_inline void model_begin_prompt(struct model_scan *s, __u32 end)
{
	model_begin(s, end, false);
	s->wants = MODEL_KEY_PROMPT;
	__builtin_memset(s->before, 0, sizeof(s->before));
}

/* Reads the eight bytes at offset `at` of the body, up to its end. Returns 1 when nothing more need
 * be read. */
REQUEST_STEP model_word(struct model_scan *s, __u32 at, __u64 word)
{
	__u32 i;

	if (!s)
		return 1;
	for (i = 0; i < 8; i++) {
		if (at + i >= s->end || s->state >= MODEL_FOUND)
			return 1;
		model_byte(s, at + i, request_char(word, i));
	}
	return s->state >= MODEL_FOUND;
}

/* ---- the last bytes of the body ---------------------------------------------------- */

/* What the byte behind was part of. */
enum model_last_state {
	MODEL_LAST_OUTSIDE,      /* no string */
	MODEL_LAST_IN_STRING,    /* a string */
	MODEL_LAST_QUOTE,        /* the quote that begins the string, unless it is escaped: so far
				    it has an even number of backslashes before it, */
	MODEL_LAST_QUOTE_ESCAPED /* an odd number */
};

/* All zeros to begin with. */
struct model_last {
	__u32 state; /* enum model_last_state */
	__u32 depth; /* 0: behind the object */
	__u32 key;   /* the offset behind the first comma of the object itself; 0: none was seen */
	__u32 zero;
};

/* Reads the byte at offset `at` that stands before those that were read. RFC 8259 has no backslash
 * outside of strings and no quote in them that is not escaped, so the object that is read from its
 * end has the same parts as the one that is read from its beginning. Returns 1 when nothing more
 * need be read. */
REQUEST_STEP model_last_byte(struct model_last *l, __u32 at, __u8 c)
{
	__u8 bracket = c | 0x20; /* as in model_skips() */

	if (!l)
		return 1;
	if (l->state >= MODEL_LAST_QUOTE) {
		if (c == '\\') {
			l->state ^= MODEL_LAST_QUOTE ^ MODEL_LAST_QUOTE_ESCAPED;
			return 0;
		}
		l->state = l->state == MODEL_LAST_QUOTE ? MODEL_LAST_OUTSIDE : MODEL_LAST_IN_STRING;
	}
	if (l->state == MODEL_LAST_IN_STRING) {
		if (c == '"')
			l->state = MODEL_LAST_QUOTE;
		return 0;
	}
	if (!l->depth) {
		l->depth = c == '}';
		return !l->depth && !model_is_blank(c);
	}
	if (c == '"')
		l->state = MODEL_LAST_IN_STRING;
	else if (bracket == '}')
		l->depth++;
	else if (bracket == '{' && !--l->depth)
		return 1;
	else if (c == ',' && l->depth == 1)
		l->key = at + 1;
	return 0;
}

/* Begins to read an object from a key on, of which `end` bytes can be seen. */
static __always_inline void model_begin_last(struct model_scan *s, __u32 end)
{
	model_begin(s, end, false);
	s->state = MODEL_KEY;
}

/* The name is whole, and can be known. Else the key's name becomes "". */
static __always_inline bool model_end(struct model_scan *s)
{
	if (s->state == MODEL_FOUND)
		return true;
	__builtin_memset(s->key.name, 0, sizeof(s->key.name));
	return false;
}

#ifdef __bpf__
#include "asking.bpf.h"
#include "rule/choose.bpf.h"

/* ---- out of a segment -------------------------------------------------------------- */

#define MODEL_STRIDE 8   /* words in a turn of the loop */
#define MODEL_CHUNK  512 /* bytes loaded at once */

struct model_scratch {
	struct model_scan scan;
	__u8 bytes[MODEL_CHUNK] __attribute__((aligned(8)));
};

/* hand_work.bpf.h has one for the model, and one for the prompt: the model's name is wanted until
 * the request is counted. */
static __always_inline struct model_scratch *model_scratch_find(void);
static __always_inline struct model_scratch *prompt_scan_find(void);

struct model_reading {
	struct __sk_buff *skb;
	struct model_scratch *scratch;
	__u32 body, size; /* offset of the body in the packet; its bytes */
};

/* Loads the bytes at offset `at` of the body. */
static __always_inline int model_load(const struct model_reading *r, __u32 at)
{
	__u32 n;

	if (at >= r->size)
		return -1;
	n = r->size - at;
	if (n > MODEL_CHUNK)
		n = MODEL_CHUNK;
	n = at_least_1(n, MODEL_CHUNK);
	return bpf_skb_load_bytes(r->skb, r->body + at, r->scratch->bytes, n);
}

static long model_read_words(__u32 i, void *arg)
{
	const struct model_reading *r = arg;
	__u32 at = MODEL_STRIDE * 8 * i, word;

	if (!(at % MODEL_CHUNK) && model_load(r, at))
		return 1;
#pragma unroll
	for (word = 0; word < MODEL_STRIDE; word++, at += 8) {
		__u64 text = *(const __u64 *)(r->scratch->bytes + (at & (MODEL_CHUNK - 8)));

		if (!model_skips(&r->scratch->scan, text) &&
		    model_word(&r->scratch->scan, at, text))
			return 1;
	}
	return 0;
}

/* Reads the model's name, of a request whose headers were read, into the scratch's key. */
__noinline int model_read(struct __sk_buff *skb, const struct segment *s,
			  const struct request_scan *request)
{
	struct model_reading r = {.skb = skb, .scratch = model_scratch_find()};
	__u32 size;

	if (!r.scratch || !s || !request)
		return 0;
	size = s->size > REQUEST_MAX ? REQUEST_MAX : s->size;
	if (!(request->known & REQUEST_ENDED) || request->line >= size)
		return 0;
	r.body = s->data + request->line;
	r.size = size - request->line;
	/* What is behind the body is another request. */
	if (!(request->known & REQUEST_CHUNKED) && r.size > request->length)
		r.size = request->length;
	model_begin(&r.scratch->scan, r.size, request->known & REQUEST_CHUNKED);
	bpf_loop(REQUEST_MAX / 8 / MODEL_STRIDE, model_read_words, &r, 0);
	model_end(&r.scratch->scan);
	return 0;
}

struct model_backwards {
	struct model_last last;
	const __u8 *bytes;
};

static long model_read_backwards(__u32 i, void *arg)
{
	struct model_backwards *b = arg;
	__u32 at = (MODEL_CHUNK - 1 - i) & (MODEL_CHUNK - 1);
	int over = model_last_byte(&b->last, at, b->bytes[at]);

	/* The verifier must see that a callback returns 0 or 1. */
	hide(over);
	return !!over;
}

/* The same of a body that was read in vain as far as it is, in its last bytes, if they can be seen.
 * Clients that write the model behind a long prompt have it there. */
__noinline int model_read_last(struct __sk_buff *skb, const struct segment *s,
			       const struct request_scan *request)
{
	struct model_backwards b = {};
	struct model_reading r = {.skb = skb, .scratch = model_scratch_find()};

	if (!r.scratch || !s || !request || s->size <= REQUEST_MAX ||
	    !(request->known & REQUEST_ENDED) || request->known & REQUEST_CHUNKED ||
	    request->line + request->length <= REQUEST_MAX ||
	    request->line + request->length > s->size || r.scratch->scan.state >= MODEL_FOUND)
		return 0;
	r.body = s->data + request->line + request->length - MODEL_CHUNK;
	r.size = MODEL_CHUNK;
	if (model_load(&r, 0))
		return 0;
	b.bytes = r.scratch->bytes;
	bpf_loop(MODEL_CHUNK, model_read_backwards, &b, 0);
	if (!b.last.key)
		return 0;
	r.body += b.last.key;
	r.size -= b.last.key;
	model_begin_last(&r.scratch->scan, r.size);
	bpf_loop(MODEL_CHUNK / 8 / MODEL_STRIDE, model_read_words, &r, 0);
	model_end(&r.scratch->scan);
	return 0;
}

/* Finds where the prompt begins in a body of which `size` bytes can be seen, from offset `body` of
 * the packet on. Returns its offset in the body; 0: it does not begin in the first
 * MODEL_PROMPT_WITHIN bytes. The name of the model before it is in the scan. */
__noinline int model_seek_prompt(struct __sk_buff *skb, __u32 body, __u32 size)
{
	struct model_reading r = {.skb = skb, .scratch = prompt_scan_find(), .body = body};

	if (!r.scratch)
		return 0;
	r.size = size < MODEL_PROMPT_WITHIN ? size : MODEL_PROMPT_WITHIN;
	model_begin_prompt(&r.scratch->scan, r.size);
	bpf_loop(MODEL_PROMPT_WITHIN / 8 / MODEL_STRIDE, model_read_words, &r, 0);
	return r.scratch->scan.state == MODEL_FOUND ? r.scratch->scan.length : 0;
}

/* ---- the pool ---------------------------------------------------------------------- */

/* Whether the pool `pool`, whose row is `p`, has models. */
static __always_inline bool model_any(const struct pintle_ref *pool, const struct pintle_pool *p)
{
	struct model_scratch *x = p->no_models ? NULL : model_scratch_find();

	if (!x)
		return false;
	x->scan.key.pool = *pool;
	__builtin_memset(x->scan.key.name, 0, sizeof(x->scan.key.name));
	return bpf_map_lookup_elem(&models, &x->scan.key);
}

/* The row of the scratch's key. */
static __always_inline struct pintle_model *model_row(const struct model_scratch *x)
{
	return bpf_map_lookup_elem(&models, &x->scan.key);
}

static __always_inline bool model_serves(const struct pintle_model *m)
{
	return m && pool_find(m->pool.id, m->pool.generation);
}

/* Finds the pool that serves the request's model, into `asking`: of a pool that has models, and
 * that Pintle does not leave alone. `request`: the headers; a malformed request names no model. */
__noinline int model_choose(struct __sk_buff *skb, const struct segment *s,
			    const struct pintle_ref *asked, const struct request_scan *request)
{
	struct model_scratch *x = model_scratch_find();
	struct pintle_asking *a = asking_find();
	struct pintle_model *m;
	struct pintle_pool *pool;

	if (!x || !a || !s || !asked || !request)
		return 0;
	a->pool.id = a->pool.generation = a->no_model = a->adapter = 0;
	pool = pool_find(asked->id, asked->generation);
	if (!pool || !model_any(asked, pool) ||
	    pool_mode(asked->id, pool, bpf_ktime_get_ns()) == PINTLE_MODE_OFF)
		return 0;
	if (!(request->known & (REQUEST_NOT_HTTP | REQUEST_VERSION | REQUEST_MALFORMED))) {
		model_read(skb, s, request);
		if (!x->scan.key.name[0])
			model_read_last(skb, s, request);
	}
	m = model_row(x);
	if (!model_serves(m)) {
		__builtin_memset(x->scan.key.name, 0, sizeof(x->scan.key.name));
		m = model_row(x);
	}
	if (model_serves(m)) {
		a->pool = m->pool;
		a->adapter = m->adapter;
	} else {
		a->no_model = 1;
	}
	return 1;
}

/* Counts the request for the row that model_choose() has found. `loaded`: where it went, its
 * adapter was. */
static __always_inline void model_count(const struct pintle_asking *a, bool loaded)
{
	struct model_scratch *x = NULL;
	struct pintle_model *m = NULL;

	if (a->pool.generation || a->no_model)
		x = model_scratch_find();
	if (x)
		m = model_row(x);
	if (!m)
		return;
	__sync_fetch_and_add(&m->requests, 1);
	if (loaded)
		__sync_fetch_and_add(&m->loaded, 1);
}
#endif

#endif
