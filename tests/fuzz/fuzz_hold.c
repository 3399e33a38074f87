/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_hold.c - headers that come in any pieces: cut anywhere, repeated, overlapping with other
 * bytes, out of order, with a FIN. The first four bytes of the input say how many pieces there are
 * and in which order; eight bytes for each follow, then what the client sends.
 *
 * Compared with a plain model of TCP reassembly, what was acknowledged first counts and never
 * changes; and what was read piece by piece is what a reader of the whole finds. What the first
 * piece says of the headers is not read again. A step of the fuzzer is a piece.
 *
 * sources:
 */
#include <string.h>

#include "../../userspace/base/util.h"
#include "fuzz.h"
#include "handoff/request_session.bpf.h"
#include "handoff/pieces.bpf.h"

#define PIECES     64
#define PIECE_SIZE 8

static const struct pintle_asked asked = {
	.headers = {{"x:"}, {"cookie:"}, {"authorization:"}, {"x-session-id:"}},
};

/* What the client sends: its text, or in a piece that differs, other bytes. */
struct client {
	const uint8_t *text;
	size_t size;
};

struct piece {
	uint32_t at, size;
	bool end;
	uint8_t differs; /* is added to each byte */
};

static uint8_t client_byte(const struct client *c, const struct piece *p, uint32_t at)
{
	return (uint8_t)((at < c->size ? c->text[at] : 'x') + p->differs);
}

static struct piece piece_read(const uint8_t *from)
{
	return (struct piece){
		.at = (uint32_t)from[0] | (uint32_t)(from[1] & 0x3f) << 8,
		.size = (uint32_t)from[2] | (uint32_t)(from[3] & 0x3f) << 8,
		.end = from[4] & 1,
		.differs = from[4] & 2 ? from[5] : 0,
	};
}

/* ---- the model ------------------------------------------------------------------- */

/* The bytes that were acknowledged; behind them, those of the segment that decides. */
struct model {
	uint8_t bytes[REQUEST_MAX];
	uint32_t kept;
};

static uint32_t reassemble(struct model *m, const struct client *c, const struct piece *p)
{
	uint32_t size = m->kept;

	for (uint32_t at = p->at; at < p->at + p->size && size < HOLD_MAX; at++)
		if (at == size)
			m->bytes[size++] = client_byte(c, p, at);
	return size;
}

static void whole_read(struct request_scan *s, const struct model *m, uint32_t size)
{
	request_begin(s, HAND_LINE_MIN, HAND_LINE_MAX);
	memcpy(s->bytes, m->bytes, size);
	memset(s->bytes + size, 0xa5, sizeof(s->bytes) - size);
	s->size = size;
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(s, i, hand_names(&asked)))
			break;
}

/* ---- both ------------------------------------------------------------------------- */

static void same(const struct request_scan *s, const struct model *m, uint32_t size)
{
	static struct request_scan whole;

	whole_read(&whole, m, size);
	PROMISE(!memcmp(s->bytes, m->bytes, size));
	PROMISE(s->known == whole.known && !memcmp(s->named, whole.named, sizeof(s->named)));
	PROMISE(!memcmp(&s->upgrade, &whole.upgrade, sizeof(s->upgrade)));
	PROMISE(s->lines == whole.lines && s->length == whole.length);
}

/* Returns true if the segment decides the connection. */
static bool segment_comes(struct request_scan *s, struct model *m, const struct client *c,
			  const struct piece *p)
{
	static struct request_scan first;
	static struct hold_reader reader;
	struct hold_part part = {0};
	uint32_t size = reassemble(m, c, p), before = m->kept;
	enum hold_segment what = hold_look(s->size, p->at, p->size, p->end, &part);
	bool over;

	fuzz_step();
	PROMISE(s->size == m->kept && before <= HOLD_MAX);
	if (what != HOLD_NEW) {
		PROMISE((what == HOLD_GAP) == (p->at > before));
		PROMISE(what == HOLD_GAP || p->at + p->size <= before);
		if (what != HOLD_GAP || !hold_look_behind(s, p->size, &part))
			return false;
		/* All of it comes again, behind what is handed over. */
		PROMISE(size == before && !part.take && !part.end && part.rest == p->size);
		hold_read(s, &reader, size, hand_names(&asked));
		same(s, m, size);
		PROMISE(hold_ends(&part, 0, 0) == PINTLE_HOLD_LOST);
		hold_leave(s, &reader);
		PROMISE(s->size == before);
		return true;
	}
	PROMISE(part.skip == before - p->at && s->size + part.take == size);
	PROMISE(part.skip + part.take + part.rest == p->size && (!part.end || !part.rest));
	if (!s->size) {
		whole_read(&first, m, size);
		hold_begin_scan(s, &first);
	}
	for (uint32_t i = 0; i < part.take; i++)
		s->bytes[s->size + i] = client_byte(c, p, p->at + part.skip + i);
	over = hold_read(s, &reader, size, hand_names(&asked)) &&
	       !request_awaits_body(s, size, p->at & 1) &&
	       !(p->at & 2 && request_is_cut(s, size, HOLD_MAX, 1));
	same(s, m, size);
	if (hold_ends(&part, over, 0) != PINTLE_HOLD_COUNT) {
		hold_leave(s, &reader);
		PROMISE(s->size == before);
		return true;
	}
	PROMISE(size <= HOLD_MAX);
	hold_keep(s, &reader);
	m->kept = size;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct request_scan scan;
	static struct model model;
	struct client client;
	uint32_t pieces, next = 0;

	if (size < 4 + PIECE_SIZE)
		return 0;
	pieces = MIN((uint32_t)data[0] % PIECES + 1, (uint32_t)(size - 4) / PIECE_SIZE);
	client.text = data + 4 + (size_t)pieces * PIECE_SIZE;
	client.size = size - 4 - (size_t)pieces * PIECE_SIZE;
	request_begin(&scan, HAND_LINE_MIN, HAND_LINE_MAX);
	model.kept = 0;
	/* A segment that decides may be lost behind the hand-off: the client goes on. */
	for (uint32_t i = 0; i < pieces; i++) {
		struct piece p = piece_read(data + 4 + (size_t)i * PIECE_SIZE);

		if (data[1] & 1) /* one behind the other */
			p.at = next;
		segment_comes(&scan, &model, &client, &p);
		next = p.at + p.size;
	}
	PROMISE(scan.size == model.kept && !memcmp(scan.bytes, model.bytes, model.kept));
	return 0;
}
