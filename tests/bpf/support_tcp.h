/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support_tcp.h - a TCP as a model: what it sends at random, and what it makes of a segment. It has
 * no timers: a test lets it act. The bytes of a stream follow from their positions, so the model
 * keeps which came, not what they are.
 *
 * A position is a sequence number less that of the SYN: bytes begin at 1, the FIN is behind the
 * last. The test says where segments go: segment_out().
 */
#ifndef PINTLE_TESTS_SUPPORT_TCP_H
#define PINTLE_TESTS_SUPPORT_TCP_H

#include "support_packet.h"

#define STREAM 40000 /* positions of one direction */
#define TICK   16    /* each time is the first one plus a multiple of this */

struct seg {
	uint32_t seq, ack, value, echo, size;
	uint32_t sack[8];
	uint16_t window, mss;
	uint16_t port; /* the client's, as this end sees it */
	uint16_t id;   /* of the connection; 0: made by the program */
	uint8_t flags;
	uint8_t sacks;  /* blocks */
	uint8_t server; /* which it comes from, or goes to */
	uint8_t scale;  /* NO_SCALE: none */
	bool timed, sack_ok;
	bool garbage; /* the byte is not the stream's */
};
#define NO_SCALE 255

struct tcp {
	bool client, open, dead;
	bool shut; /* nothing is written any more: a FIN is due */
	bool timed, sacks, scales;
	bool silent, refuses; /* a server that does not answer, or by a reset */
	uint8_t server, scale, its_scale;
	uint16_t port, mss;
	uint32_t iss, irs;       /* numbers of its SYN, and of the other's */
	uint32_t length;         /* bytes that were written by now */
	uint32_t una, next;      /* acknowledged, and sent, up to here */
	uint32_t edge, edge_pos; /* it may send up to here, as a segment from there has said */
	uint32_t got_to, fin_at; /* all came up to here; the other's FIN, 0: not known */
	uint32_t read, buffer, promised;
	uint32_t clock, began;      /* its time, and its first */
	uint32_t recent, acked;     /* the other's time; what it has acknowledged last */
	uint32_t met[64], meetings; /* times in a server's answers to the SYN; a client's: in the
				     * answer to its own */
	bool got[STREAM + 2];
};

/* Where a segment goes that the TCP sends. */
static void segment_out(struct tcp *t, const struct seg *s);

/* ---- at random ------------------------------------------------------------------------------ */

static struct {
	uint64_t seed, drawn;
	bool calm;     /* what is sent arrives, and servers answer */
	bool bad;      /* hardly a server takes a connection */
	uint16_t id;   /* of the connection */
	uint32_t head; /* bytes of the request's head */
} play;

static inline uint32_t draw(uint32_t n)
{
	return (uint32_t)(random_at(play.seed * 0x9e3779b97f4a7c15 + play.drawn++) >> 32) % n;
}

static inline bool one_in(uint32_t n)
{
	return !draw(n);
}

/* Sequence numbers often wrap. */
static inline uint32_t draw_number(void)
{
	return one_in(3) ? UINT32_MAX - draw(STREAM) : draw(UINT32_MAX);
}

/* The byte at this position: in a client's stream a request's head, and then, as in a server's,
 * what says where it belongs. */
static inline uint8_t byte_at(const struct tcp *t, uint32_t at)
{
	static const char first[] = "POST / HTTP/1.1\r\nhost: a\r\nx-long: ",
			  last[] = "\r\ncontent-length: 100000\r\n\r\n";
	uint32_t i = at - 1, tail = play.head - (sizeof(last) - 1);

	if (t->client && i < play.head)
		return (uint8_t)(i < sizeof(first) - 1 ? first[i]
				 : i < tail            ? 'a'
						       : last[i - tail]);
	return (uint8_t)(at * 197 + (at >> 8) * 31 + play.id * 7 + t->client * 101);
}

/* ---- segments ---------------------------------------------------------------------------------
 */

static inline struct seg bare(struct tcp *t, uint32_t pos, uint8_t flags)
{
	t->clock += TICK * draw(3);
	return (struct seg){.seq = t->iss + pos,
			    .ack = flags & ACK ? t->irs + t->got_to : 0,
			    .flags = flags,
			    .id = play.id,
			    .port = t->port,
			    .server = t->server,
			    .scale = NO_SCALE,
			    .timed = t->timed,
			    .value = t->clock,
			    .echo = t->recent};
}

static inline void set_window(struct tcp *t, struct seg *s)
{
	uint32_t room = t->read + t->buffer - t->got_to, scale = s->flags & SYN ? 0 : t->scale;

	s->window = (uint16_t)MIN(room >> scale, 65535U);
	t->promised = MAX(t->promised, t->got_to + ((uint32_t)s->window << scale));
	t->acked = t->got_to;
}

static inline void set_sacks(const struct tcp *t, struct seg *s)
{
	uint32_t most = t->timed ? 3 : 4, at = t->got_to;

	while (t->sacks && s->sacks < most) {
		while (at <= STREAM && !t->got[at])
			at++;
		if (at > STREAM)
			return;
		s->sack[2 * s->sacks] = t->irs + at;
		while (t->got[at])
			at++;
		s->sack[2 * s->sacks++ + 1] = t->irs + at;
	}
}

/* The bytes from this position on, and the FIN behind them if that is due. */
static inline struct seg filled(struct tcp *t, uint32_t pos, uint32_t size)
{
	struct seg s = bare(t, pos, ACK);

	s.size = MIN(size, 3800U);
	if (t->shut && s.size == size && pos + size == t->length + 1 && t->una <= pos + size)
		s.flags |= FIN;
	s.flags |= s.size && one_in(2) ? PSH : 0;
	set_window(t, &s);
	set_sacks(t, &s);
	t->next = MAX(t->next, pos + s.size + !!(s.flags & FIN));
	return s;
}

static inline void emit(struct tcp *t, uint32_t pos, uint32_t size)
{
	struct seg s = filled(t, pos, size);

	segment_out(t, &s);
}

/* The SYN, or the answer to one. */
static inline void send_syn(struct tcp *t)
{
	struct seg s = bare(t, 0, t->client ? SYN : SYN | ACK);

	if (!t->client && t->meetings == ARRAY_SIZE(t->met))
		return;
	if (!t->client)
		t->met[t->meetings++] = s.value;
	s.mss = t->mss;
	s.scale = t->scales ? t->scale : NO_SCALE;
	s.sack_ok = t->sacks;
	set_window(t, &s);
	t->next = MAX(t->next, 1U);
	segment_out(t, &s);
}

/* ---- what it does at random -------------------------------------------------------------------
 */

static inline void act_send(struct tcp *t)
{
	uint32_t size = 1 + draw(one_in(4) ? 3 * t->mss : t->mss);
	uint32_t room = t->edge > t->next ? t->edge - t->next : 0;
	uint32_t left = t->length + 1 > t->next ? t->length + 1 - t->next : 0;

	size = MIN(size, room);
	size = MIN(size, left);
	if (size || (t->shut && t->next == t->length + 1 && room))
		emit(t, t->next, size);
}

/* In other pieces than before. */
static inline void act_send_again(struct tcp *t)
{
	uint32_t sent = MIN(t->next, t->length + 1), pos = t->una;

	if (t->una >= t->next)
		return;
	if (one_in(3))
		pos = MIN(t->una + draw(t->next - t->una), sent);
	emit(t, pos, pos < sent ? MIN(1 + draw(t->mss), sent - pos) : 0);
}

static inline void act_acknowledge(struct tcp *t)
{
	emit(t, t->next, 0);
	if (one_in(8))
		emit(t, t->next, 0);
}

/* With a byte of nothing, or without one. */
static inline void act_keep_alive(struct tcp *t)
{
	struct seg s = filled(t, t->una - 1, 0);

	s.garbage = t->una >= 2 && one_in(2);
	s.size = s.garbage;
	segment_out(t, &s);
}

static inline void act_probe_window(struct tcp *t)
{
	if (t->edge <= t->next && t->next <= t->length && t->una == t->next)
		emit(t, t->next, 1);
}

static inline void act_read(struct tcp *t)
{
	if (t->got_to > t->read)
		t->read += 1 + draw(t->got_to - t->read);
	if (one_in(2))
		emit(t, t->next, 0);
}

static inline void act_write(struct tcp *t)
{
	if (!t->shut)
		t->length = MIN(t->length + 1 + draw(3000), STREAM - 2U);
}

static inline void act_shut(struct tcp *t)
{
	t->shut = true;
}

static inline void act_reset(struct tcp *t)
{
	struct seg s = bare(t, t->next, one_in(2) ? RST | ACK : RST);

	t->dead = true;
	segment_out(t, &s);
}

static const struct {
	uint32_t weight; /* in 1000 */
	void (*act)(struct tcp *t);
} acts[] = {
	{450, act_send},      {110, act_send_again},  {130, act_acknowledge},
	{27, act_keep_alive}, {30, act_probe_window}, {180, act_read},
	{64, act_write},      {8, act_shut},          {1, act_reset},
};

static inline void act(struct tcp *t)
{
	uint32_t at = draw(1000);
	size_t i = 0;

	if (t->dead || t->silent || t->refuses)
		return;
	if (!t->open) {
		if (one_in(4))
			send_syn(t);
		return;
	}
	for (; at >= acts[i].weight; i++)
		at -= acts[i].weight;
	acts[i].act(t);
}

/* As if its timer had run out. */
static inline void act_in_time(struct tcp *t)
{
	uint32_t sent = MIN(t->next, t->length + 1);

	if (t->dead || t->silent || t->refuses)
		return;
	if (!t->open)
		send_syn(t);
	else if (t->una < t->next)
		emit(t, t->una, sent > t->una ? MIN(t->mss, sent - t->una) : 0);
	else
		emit(t, t->next, t->next <= t->length);
}

/* Reads and sends all that it can. */
static inline void act_to_end(struct tcp *t)
{
	if (!t->open || t->dead)
		return;
	t->shut = true;
	t->read = t->got_to;
	for (int i = 0; i < 8; i++)
		act_send(t);
}

/* ---- what it makes of a segment ----------------------------------------------------------------
 */

static inline void answer_syn(struct tcp *t, const struct seg *s)
{
	struct seg reset;

	if (t->open) {
		emit(t, t->next, 0);
	} else if (t->client) {
		t->irs = s->seq;
		t->una = t->got_to = t->read = 1;
		t->timed = s->timed;
		t->sacks = s->sack_ok;
		t->scales = s->scale != NO_SCALE;
		t->its_scale = t->scales ? s->scale : 0;
		t->scale = t->scales ? t->scale : 0;
		t->recent = t->met[0] = s->value;
		t->edge = 1 + s->window;
		t->open = true;
		emit(t, 1, 0);
	} else if (t->refuses) {
		reset = bare(t, 0, RST | ACK);
		reset.seq = 0;
		reset.timed = false;
		segment_out(t, &reset);
	} else if (!t->silent) {
		send_syn(t);
	}
}

static inline void take_acknowledgement(struct tcp *t, const struct seg *s, uint32_t pos)
{
	uint32_t ack = s->ack - t->iss, edge = ack + ((uint32_t)s->window << t->its_scale);

	if (ack < t->una)
		return;
	if (ack > t->una || pos > t->edge_pos || (pos == t->edge_pos && edge > t->edge)) {
		t->edge = edge;
		t->edge_pos = pos;
	}
	t->una = ack;
}

static inline void take_data(struct tcp *t, const struct seg *s, uint32_t pos)
{
	uint32_t end = pos + s->size, most = MIN(t->promised, (uint32_t)STREAM);

	for (uint32_t at = MAX(pos, t->got_to); at < MIN(end, most); at++)
		t->got[at] = true;
	if (s->flags & FIN && end <= most)
		t->fin_at = end;
	while (t->got[t->got_to])
		t->got_to++;
	if (t->fin_at && t->got_to == t->fin_at)
		t->got_to++;
}

static inline void receive(struct tcp *t, const struct seg *s)
{
	uint32_t pos = s->seq - t->irs, before = t->got_to;

	if (t->dead)
		return;
	if (s->flags & SYN) {
		answer_syn(t, s);
		return;
	}
	if (s->flags & RST) {
		if (pos == t->got_to || !t->open)
			t->dead = true;
		else if (pos < t->promised && !play.calm)
			emit(t, t->next, 0);
		return;
	}
	if (!t->client && !t->open) {
		if (t->silent || t->refuses || s->ack - t->iss != 1)
			return;
		t->open = true;
		t->una = 1;
	}
	if (t->timed && s->timed && (int32_t)(s->value - t->recent) < 0) { /* PAWS */
		emit(t, t->next, 0);
		return;
	}
	if (t->timed && s->timed && pos <= t->acked)
		t->recent = s->value;
	take_acknowledgement(t, s, pos);
	if (pos <= t->promised)
		take_data(t, s, pos);
	if (t->got_to == before ? s->size || s->flags & FIN || pos < before
				: play.calm || one_in(2))
		emit(t, t->next, 0);
}

/* Whether it has got all, the FIN as well, and so has the other. */
static inline bool has_ended(const struct tcp *t)
{
	return t->una == t->length + 2 && t->fin_at && t->got_to == t->fin_at + 1;
}

/* Whether that was a time of its clock. */
static inline bool is_said(const struct tcp *t, uint32_t value)
{
	uint32_t since = value - t->began;

	return since % TICK == 0 && since <= t->clock - t->began;
}

/* ---- both kinds --------------------------------------------------------------------------------
 */

static inline void client_begin(struct tcp *t, uint32_t least_mss, uint8_t server, uint16_t port)
{
	memset(t, 0, sizeof(*t));
	t->client = true;
	t->server = server;
	t->port = port;
	t->iss = draw_number();
	t->buffer = one_in(4) ? 8000 : 8000 + draw(50000);
	t->timed = !one_in(4);
	t->sacks = !one_in(4);
	t->scales = !one_in(4);
	t->scale = t->scales ? (uint8_t)draw(10) : 0;
	t->mss = (uint16_t)(least_mss + draw(1440 - least_mss));
	t->began = t->clock = draw(UINT32_MAX);
	t->length = one_in(4) ? 20 + draw(200) : play.head + draw(20000);
	t->shut = one_in(8);
}

static inline void server_begin(struct tcp *t, uint32_t least_mss, const struct seg *syn)
{
	memset(t, 0, sizeof(*t));
	t->server = syn->server;
	t->port = syn->port;
	t->iss = draw_number();
	t->irs = syn->seq;
	t->got_to = t->read = 1;
	t->buffer = one_in(4) ? 600 + draw(3000) : 4000 + draw(60000);
	t->timed = syn->timed && !one_in(6);
	t->sacks = syn->sack_ok && !one_in(6);
	t->scales = syn->scale != NO_SCALE && !one_in(6);
	t->scale = t->scales ? (uint8_t)draw(8) : 0;
	t->its_scale = t->scales ? syn->scale : 0;
	t->mss = (uint16_t)(least_mss + draw(1440 - least_mss));
	t->began = t->clock = draw(UINT32_MAX);
	t->recent = syn->value;
	t->length = draw(2000);
	t->edge = syn->window;
	t->refuses = !play.calm && one_in(play.bad ? 2 : 12);
	t->silent = !play.calm && one_in(play.bad ? 2 : 12);
}

#endif
