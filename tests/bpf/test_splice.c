/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_splice.c - a fuzzer: the program that splices connections (bpf/handoff/splice.bpf.h), at a
 * real device, between two TCPs of support_tcp.h.
 *
 *   client -> [0] -> device, program, routes -> [1] -> server
 *   client <- [3] <- device, program, routes <- [2] <- server
 *
 * The kernel has real packets; [0] to [3] are the test's own queues, which lose, repeat and reorder
 * segments. The test knows all that both TCPs have sent and got, and compares each segment that
 * comes out of the kernel with that: see check(). At last nothing is lost any more, and each
 * connection must come to its end.
 *
 * A step is what a TCP does, or what becomes of a segment. Steps follow from a seed; the choice of
 * a server, cookies and the time are the kernel's. A failure names the connection's own seed:
 *
 *   PINTLE_SPLICE_SEED=4711 PINTLE_SPLICE_STEPS=1 PINTLE_SPLICE_TALK=1 build/tests/bpf/test_splice
 *   PINTLE_SPLICE_STEPS=10000000 build/tests/bpf/test_splice
 */
#define PROGRAMS "pintle_splice"
#include "support_attached.h"

#include <inttypes.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/uio.h>

#include "../../userspace/maps/kernel.h"
#include "../../userspace/net/tc.h"
#include "support_tcp.h"

#define STEPS   300000
#define PORTS   8 /* of the client: each is used again and again */
#define SERVERS 3 /* of each family; the number behind the last is the frontend's */
#define TRIES   3 /* servers that are asked for one connection: SPLICE_TIMES */
#define QUEUE   48

#define FRONTEND_PORT 8000
#define SERVER_PORT   8100

struct queue {
	struct seg seg[QUEUE];
	uint32_t n;
};

static struct {
	bool talk, v6;
	uint64_t steps;
	uint32_t connection;
	uint32_t loses, repeats, reorders; /* of 100 segments */
	struct tcp client, server[TRIES + 1];
	int servers; /* that were asked; the last one is the present one */
	struct queue queue[4];
	int from_client, from_server, out; /* packet sockets */
	int client_device;
} m;

static struct {
	uint64_t connections, opened, ended, reset, again, refused, untimed, bytes, made, sacks;
} did;

static void say(const char *what, const struct seg *s)
{
	if (!m.talk)
		return;
	print_message("%s %u, port %u: id %u %s%s%s%s %u+%u ack %u window %u", what, s->server,
		      s->port, s->id, s->flags & SYN ? "S" : "", s->flags & FIN ? "F" : "",
		      s->flags & RST ? "R" : "", s->flags & ACK ? "." : "", s->seq, s->size, s->ack,
		      s->window);
	if (s->timed)
		print_message(" time %u %u", s->value, s->echo);
	for (int i = 0; i < s->sacks; i++)
		print_message(" sack %u-%u", s->sack[2 * i], s->sack[2 * i + 1]);
	print_message("\n");
}

static void violated(const char *rule, const struct seg *s)
{
	m.talk = true;
	if (s)
		say("at", s);
	fail_msg("not so: %s\nconnection %u, after %" PRIu64
		 " steps; again: PINTLE_SPLICE_SEED=%" PRIu64
		 " PINTLE_SPLICE_STEPS=1 PINTLE_SPLICE_TALK=1",
		 rule, m.connection, m.steps, play.seed);
}

#define RULE(condition, s)                                                                         \
	do {                                                                                       \
		if (!(condition))                                                                  \
			violated(#condition, s);                                                   \
	} while (0)

static struct tcp *present(void)
{
	return m.servers ? &m.server[m.servers - 1] : NULL;
}

static struct tcp *server_of(const struct seg *s)
{
	for (int i = 0; i < m.servers; i++)
		if (m.server[i].server == s->server && m.server[i].port == s->port)
			return &m.server[i];
	return NULL;
}

static uint32_t least_mss(void)
{
	return m.v6 ? 1220 : 536;
}

/* ---- packets ------------------------------------------------------------------------------------
 */

static const char *const clients[] = {"10.1.0.2", "fd01::2"};
static const char *const far[2][SERVERS + 1] = {{"10.2.0.1", "10.2.0.2", "10.2.0.3", "10.77.0.1"},
						{"fd02::1", "fd02::2", "fd02::3", "fd77::1"}};

static size_t write_options(const struct seg *s, uint8_t o[40])
{
	size_t n = 0;

	memset(o, 1, 40);
	if (s->flags & SYN) {
		memcpy(o, (uint8_t[]){2, 4, (uint8_t)(s->mss >> 8), (uint8_t)s->mss}, 4);
		n = 4;
		if (s->sack_ok) {
			memcpy(o + n, (uint8_t[]){4, 2}, 2);
			n += s->timed ? 2 : 4;
		} else if (s->timed) {
			n += 2;
		}
	} else if (s->timed) {
		n = 2;
	}
	if (s->timed) {
		uint32_t be[2] = {htonl(s->value), htonl(s->echo)};

		memcpy(o + n, (uint8_t[]){8, 10}, 2);
		memcpy(o + n + 2, be, 8);
		n += 10;
	}
	if (s->flags & SYN && s->scale != NO_SCALE) {
		memcpy(o + n, (uint8_t[]){1, 3, 3, s->scale}, 4);
		n += 4;
	}
	if (s->sacks) {
		memcpy(o + n, (uint8_t[]){1, 1, 5, (uint8_t)(2 + 8 * s->sacks)}, 4);
		for (int i = 0; i < 2 * s->sacks; i++) {
			uint32_t be = htonl(s->sack[i]);

			memcpy(o + n + 4 + 4 * i, &be, 4);
		}
		n += 4 + 8 * (size_t)s->sacks;
	}
	return n;
}

/* The sum that a segment has as long as it has not left its machine. */
static uint16_t pseudo_of(const struct packet *p)
{
	bool v4 = p->framing->family == AF_INET;
	uint32_t size = (uint32_t)(p->size - p->tcp);

	return (uint16_t)~folded(
		sum_of(p->bytes + p->ip + (v4 ? 12 : 8), v4 ? 8 : 32, IPPROTO_TCP + size));
}

static void drain(void);

/* Gives the kernel a segment of this TCP, and takes what comes out. */
static void transmit(const struct tcp *t, const struct seg *s)
{
	const char *client = clients[m.v6], *other = far[m.v6][s->server];
	struct framing framing = {.family = m.v6 ? AF_INET6 : AF_INET,
				  .from = t->client ? client : other,
				  .to = t->client ? other : client,
				  .to_port = t->client ? FRONTEND_PORT : s->port};
	struct virtio_net_hdr virtual = {0};
	uint8_t data[4000], options[40];
	size_t n = write_options(s, options), most = t->mss - n;
	struct packet p;
	struct iovec io[] = {{&virtual, sizeof(virtual)}, {p.bytes, 0}};

	for (uint32_t i = 0; i < s->size; i++)
		data[i] = s->garbage ? 0xee : byte_at(t, s->seq - t->iss + i);
	framing.tcp_options = (int)(n / 4);
	p = make(&framing, t->client ? s->port : SERVER_PORT, s->seq, s->flags, data, s->size);
	put32(&p, p.tcp + 8, s->ack);
	put16(&p, p.tcp + 14, s->window);
	memcpy(p.bytes + p.tcp + 20, options, n);
	put16(&p, p.ip + (m.v6 ? 2 : 4), s->id);
	if (!m.v6) {
		put16(&p, p.ip + 10, 0);
		put16(&p, p.ip + 10, folded(sum_of(p.bytes + p.ip, 20, 0)));
	}
	sum_again(&p);
	if (s->size > most || one_in(2)) {
		virtual.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		virtual.csum_start = (uint16_t)p.tcp;
		virtual.csum_offset = 16;
		put16(&p, p.tcp + 16, pseudo_of(&p));
	}
	if (s->size > most) {
		virtual.gso_type = m.v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		virtual.gso_size = (uint16_t)most;
		virtual.hdr_len = (uint16_t)p.data;
	}
	say(t->client ? "client sends to" : "client is sent by", s);
	io[1].iov_len = p.size;
	assert_int_equal(writev(t->client ? m.from_client : m.from_server, io, 2),
			 sizeof(virtual) + p.size);
	drain();
}

static uint32_t get32(const struct packet *p, size_t at)
{
	return (uint32_t)p->bytes[at] << 24 | (uint32_t)p->bytes[at + 1] << 16 |
	       (uint32_t)p->bytes[at + 2] << 8 | p->bytes[at + 3];
}

static uint16_t get16(const struct packet *p, size_t at)
{
	return (uint16_t)(p->bytes[at] << 8 | p->bytes[at + 1]);
}

static void read_options(const struct packet *p, struct seg *s)
{
	for (size_t at = p->tcp + 20, size; at < p->data && p->bytes[at]; at += size) {
		const uint8_t *o = p->bytes + at;

		size = o[0] == 1 ? 1 : o[1];
		RULE(size && at + size <= p->data, s);
		if (o[0] == 2)
			s->mss = get16(p, at + 2);
		if (o[0] == 3)
			s->scale = o[2];
		if (o[0] == 4)
			s->sack_ok = true;
		if (o[0] == 5) {
			s->sacks = (uint8_t)((size - 2) / 8);
			for (int i = 0; i < 2 * s->sacks; i++)
				s->sack[i] = get32(p, at + 2 + 4 * (size_t)i);
		}
		if (o[0] == 8) {
			s->timed = true;
			s->value = get32(p, at + 2);
			s->echo = get32(p, at + 6);
		}
	}
}

static bool is_address(const struct packet *p, size_t at, const char *text)
{
	uint8_t is[16];

	address_of(text, is);
	return m.v6 ? !memcmp(p->bytes + at, is, 16) : !memcmp(p->bytes + at, is + 12, 4);
}

/* Reads what came out, to the client or to a server. Returns false if it is no segment, or a former
 * connection's. */
static bool parse(struct packet *p, bool to_client, bool partial, struct seg *s)
{
	static struct framing f;
	size_t size = m.v6 ? 16 : 4, source, destination;
	uint16_t check;

	*s = (struct seg){.scale = NO_SCALE};
	f = (struct framing){.family = m.v6 ? AF_INET6 : AF_INET};
	p->framing = &f;
	p->ip = 14;
	p->tcp = p->ip + (m.v6 ? 40 : 20);
	if (get16(p, 12) != (m.v6 ? ETH_P_IPV6 : ETH_P_IP) ||
	    p->bytes[p->ip + (m.v6 ? 6 : 9)] != IPPROTO_TCP)
		return false;
	p->data = p->tcp + 4 * (size_t)(p->bytes[p->tcp + 12] >> 4);
	source = p->tcp - 2 * size;
	destination = p->tcp - size;
	s->id = get16(p, p->ip + (m.v6 ? 2 : 4));
	s->port = get16(p, p->tcp + (to_client ? 2 : 0));
	s->seq = get32(p, p->tcp + 4);
	s->ack = get32(p, p->tcp + 8);
	s->flags = p->bytes[p->tcp + 13];
	s->window = get16(p, p->tcp + 14);
	s->size = (uint32_t)(p->size - p->data);
	read_options(p, s);
	while (s->server <= SERVERS &&
	       !is_address(p, to_client ? source : destination, far[m.v6][s->server]))
		s->server++;
	if (s->id && s->id != play.id)
		return false;
	RULE(s->server <= SERVERS, s);
	RULE(is_address(p, to_client ? destination : source, clients[m.v6]), s);
	RULE(get16(p, p->tcp + (to_client ? 0 : 2)) ==
		     (s->server == SERVERS ? FRONTEND_PORT : SERVER_PORT),
	     s);
	RULE(m.v6 || !folded(sum_of(p->bytes + p->ip, 20, 0)), s);
	RULE(p->size == p->ip + (m.v6 ? 40U + get16(p, p->ip + 4) : get16(p, p->ip + 2)), s);
	/* Where the program makes a segment out of another, it tells the two kinds of sums by that
	 * one's: one of 65,536 looks like the other kind. */
	check = get16(p, p->tcp + 16);
	RULE((check == pseudo_of(p) && (partial || !s->id)) ||
		     (!tcp_checksum(p) && (!partial || !s->id)),
	     s);
	return true;
}

/* ---- the rules ---------------------------------------------------------------------------------
 */

/* The time is one that the server has said. The client is told it by the same difference as that of
 * the answer to its SYN. */
static bool is_said_by_server(const struct tcp *server, uint32_t value)
{
	for (uint32_t i = 0; i < server->meetings; i++)
		if (is_said(server, value - (m.client.met[0] - server->met[i])))
			return true;
	return false;
}

static void check_data(const struct seg *s, const struct packet *p, const struct tcp *from,
		       const struct tcp *to, uint32_t pos)
{
	for (uint32_t i = 0; i < s->size; i++)
		/* A probe's byte is anything, where the other has that position already. */
		RULE(p->bytes[p->data + i] == byte_at(from, pos + i) || pos + i < to->got_to, s);
}

static void check_sacks(const struct seg *s, const struct tcp *from, const struct tcp *to)
{
	for (int i = 0; i < s->sacks; i++) {
		uint32_t at = s->sack[2 * i] - to->iss, end = s->sack[2 * i + 1] - to->iss;

		RULE(at >= 1 && at < end && end <= to->next, s);
		for (; at < end; at++)
			RULE(from->got[at], s);
	}
	did.sacks += s->sacks;
}

/* A segment that comes to one TCP from the other, as the program has made it. */
static void check(const struct seg *s, const struct packet *p, const struct tcp *from,
		  const struct tcp *to)
{
	uint32_t pos = s->seq - to->irs, ack = s->ack - to->iss, end = pos + s->size;
	bool fin = s->flags & FIN;

	RULE(end + fin <= from->next, s); /* sent by that one */
	RULE(!fin || (from->shut && end == from->length + 1), s);
	check_data(s, p, from, to, pos);
	RULE(s->flags & ACK, s);
	RULE(ack >= 1 && ack <= to->next && ack <= from->got_to, s);
	check_sacks(s, from, to);
	if (from->timed && to->timed) {
		RULE(s->timed, s);
		RULE(from->client ? is_said(from, s->value) : is_said_by_server(from, s->value), s);
		RULE(is_said(to, s->echo), s);
	}
	RULE(ack + ((uint32_t)s->window << to->its_scale) <= from->promised, s);
}

/* The program answers in the server's place, which has not been asked yet. */
static void check_hold(const struct seg *s)
{
	const struct tcp *c = &m.client;
	uint32_t ack = s->ack - c->iss;

	RULE(!s->id && s->flags == ACK && !s->size && !s->sacks, s);
	RULE(s->seq - c->irs == 1 && ack >= 1 && ack <= c->next, s);
	RULE(s->timed == c->timed && (!c->timed || (s->value == c->met[0] && is_said(c, s->echo))),
	     s);
	RULE(ack + ((uint32_t)s->window << c->its_scale) <= 1 + 15360, s);
}

static void check_answer(const struct seg *s)
{
	const struct tcp *c = &m.client;

	RULE(s->flags == (SYN | ACK) && !s->id && s->ack == c->iss + 1 && !s->size, s);
	RULE(!s->timed || (c->timed && is_said(c, s->echo)), s);
	RULE((!s->sack_ok || c->sacks) && (s->scale == NO_SCALE || c->scales), s);
	RULE(!c->open || s->seq == c->irs, s);
}

static void check_syn(const struct seg *s)
{
	const struct tcp *c = &m.client;

	RULE(s->flags == SYN && !s->id && s->seq == c->iss && !s->size, s);
	RULE(s->timed == c->timed && (!s->timed || (is_said(c, s->value) && !s->echo)), s);
	RULE((!s->sack_ok || c->sacks) && (s->scale == NO_SCALE || c->scales), s);
	RULE(s->scale == NO_SCALE || s->scale <= c->scale, s);
	RULE(s->mss <= MAX(c->mss, least_mss()), s);
	RULE(s->port >= PINTLE_SPLICE_PORT && s->port < PINTLE_SPLICE_PORT + PINTLE_SPLICE_PORTS,
	     s);
}

/* ---- what comes out -----------------------------------------------------------------------------
 */

static void enqueue(uint32_t q, const struct seg *s)
{
	struct queue *queue = &m.queue[q];

	if (queue->n < QUEUE) /* else it is lost */
		queue->seg[queue->n++] = *s;
}

static void came_to_client(const struct seg *s, const struct packet *p)
{
	struct tcp *server = present();

	/* What a server sends that was given up is not translated any more. */
	if (s->server < SERVERS) {
		RULE(server_of(s) != server || (m.servers == TRIES && !server->open), s);
		return;
	}
	if (s->port != m.client.port) /* made for a former connection */
		return;
	if (s->flags & SYN)
		check_answer(s);
	else if (s->flags & RST)
		RULE(m.client.open &&
			     (s->id ? server && server->dead : m.servers == TRIES || m.client.dead),
		     s);
	else if (server && server->open)
		check(s, p, server, &m.client);
	else
		check_hold(s);
	enqueue(3, s);
}

static void came_to_server(const struct seg *s, const struct packet *p)
{
	struct tcp *t = server_of(s);

	RULE(s->server < SERVERS, s);
	if (s->flags & SYN) {
		check_syn(s);
		if (!t) {
			RULE(m.servers < TRIES, s);
			server_begin(&m.server[m.servers++], least_mss(), s);
		}
	} else if (s->flags & RST) {
		RULE(t && m.client.dead && s->id, s);
	} else {
		RULE(t && t == present(), s);
		RULE(s->id || s->size + 20 <= MAX(t->mss, least_mss()), s);
		check(s, p, &m.client, t);
	}
	did.made += !s->id;
	enqueue(1, s);
}

/* Takes all that the kernel has let out. */
static void drain(void)
{
	static struct packet p;
	struct virtio_net_hdr virtual;
	struct iovec io[] = {{&virtual, sizeof(virtual)}, {p.bytes, sizeof(p.bytes)}};
	struct sockaddr_ll from;
	struct msghdr msg = {.msg_name = &from, .msg_iov = io, .msg_iovlen = 2};
	struct seg s;
	ssize_t n;

	for (int i = 0;; i++) {
		bool to_client, partial;

		msg.msg_namelen = sizeof(from);
		n = recvmsg(m.out, &msg, MSG_DONTWAIT);
		if (n < 0)
			break;
		RULE(i < 64, NULL);
		p.size = (size_t)n - sizeof(virtual);
		to_client = from.sll_ifindex == m.client_device;
		partial = virtual.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
		if (!parse(&p, to_client, partial, &s))
			continue;
		say(to_client ? "  client gets from" : "  client comes to", &s);
		if (to_client)
			came_to_client(&s, &p);
		else
			came_to_server(&s, &p);
	}
}

/* Only its own machine is between the client and the program: its SYN is lost there, or goes before
 * all else. */
static void segment_out(struct tcp *t, const struct seg *s)
{
	if (!t->client)
		enqueue(2, s);
	else if (!(s->flags & SYN))
		enqueue(0, s);
	else if (play.calm || draw(100) >= m.loses)
		transmit(t, s);
}

/* ---- steps --------------------------------------------------------------------------------------
 */

static void deliver(uint32_t q, uint32_t at, bool keep)
{
	struct queue *queue = &m.queue[q];
	struct seg s = queue->seg[at];
	static const struct tcp stale = {.mss = 1220}; /* of a former connection's server */
	struct tcp *t;

	if (!keep) {
		memmove(queue->seg + at, queue->seg + at + 1, (queue->n - at - 1) * sizeof(s));
		queue->n--;
	}
	if (q == 0) {
		transmit(&m.client, &s);
	} else if (q == 2) {
		t = server_of(&s);
		if (s.id != play.id && !t)
			transmit(&stale, &s);
		else if (s.id == play.id)
			transmit(t, &s);
	} else if (q == 3) {
		receive(&m.client, &s);
	} else {
		t = server_of(&s);
		if (t)
			receive(t, &s);
	}
}

/* Time goes by for the flow; the models' clocks are their own. */
static void pass_time(uint64_t ns)
{
	struct pintle_tuple t = {.local_port = FRONTEND_PORT, .remote_port = m.client.port};
	struct pintle_splice f;

	address_of(clients[m.v6], t.remote);
	address_of(far[m.v6][SERVERS], t.local);
	if (bpf_map_lookup_elem(map_fd(splices), &t, &f))
		return;
	f.began_ns -= ns;
	f.sent_ns -= ns;
	put(splices, t, &f);
}

static void step(void)
{
	uint32_t what = draw(100), q = draw(4), at;
	struct queue *queue = &m.queue[q];

	m.steps++;
	if (what < 25) {
		act(&m.client);
	} else if (what < 45) {
		if (present())
			act(present());
	} else if (what < 48) {
		pass_time(25000000);
		if (one_in(20))
			pass_time(1100000000);
	} else if (queue->n) {
		at = draw(100) < m.reorders ? draw(MIN(queue->n, 4U)) : 0;
		if (draw(100) < m.loses)
			memmove(queue->seg + at, queue->seg + at + 1,
				(--queue->n - at) * sizeof(queue->seg[0]));
		else
			deliver(q, at, draw(100) < m.repeats);
	}
}

/* ---- a connection -------------------------------------------------------------------------------
 */

static bool is_over(void)
{
	const struct tcp *s = present();

	return m.client.dead || (s && (s->dead || (has_ended(&m.client) && has_ended(s))));
}

static bool deliver_all(void)
{
	bool any = false;

	for (uint32_t q = 0; q < ARRAY_SIZE(m.queue); q++) {
		for (; m.queue[q].n; any = true) {
			m.steps++;
			deliver(q, 0, false);
		}
	}
	return any;
}

/* Takes what the kernel may have put off, too. */
static void settle(void)
{
	usleep(1);
	drain();
}

/* Nothing is lost any more: both come to the end of what they send. */
static void come_to_an_end(void)
{
	bool any = true;

	play.calm = true;
	for (int round = 0; !is_over(); round++) {
		RULE(round < 2000, NULL);
		if (!any) {
			settle();
			pass_time(1100000000);
			act_in_time(&m.client);
			if (present())
				act_in_time(present());
		}
		act_to_end(&m.client);
		if (present())
			act_to_end(present());
		any = deliver_all();
	}
	deliver_all();
	settle();
	play.calm = false;
}

/* What the connect hook leaves with a client's socket. */
static void put_record(void)
{
	struct pintle_connect c = {.pool = POOL,
				   .pool_generation = POOL_GEN,
				   .flags = PINTLE_CONNECT_SPLICED,
				   .frontend_port = FRONTEND_PORT,
				   .client = 77};
	int fd = m.from_client;

	address_of(far[m.v6][SERVERS], c.frontend);
	put(connects, fd, &c);
}

static void count_connection(void)
{
	const struct tcp *s = present();
	bool dead = m.client.dead || (s && s->dead);

	did.connections++;
	did.reset += dead;
	did.ended += !dead;
	for (int i = 0; i < m.servers; i++) {
		did.again += i > 0;
		did.refused += m.server[i].refuses;
		did.untimed += !m.server[i].timed;
		did.opened += m.server[i].open;
		did.bytes += m.server[i].got_to + (m.server[i].open ? m.client.got_to : 0);
	}
}

/* A segment on its way from a server may outlive its connection. */
static void forget_segments(bool v6)
{
	for (uint32_t q = 0; q < ARRAY_SIZE(m.queue); q++)
		if (q != 2 || v6 != m.v6 || one_in(2))
			m.queue[q].n = 0;
}

static void connection(void)
{
	uint32_t held = entries_of(map_fd(held)), steps;
	bool v6 = one_in(2);

	play.id = (uint16_t)(m.connection % 65535 + 1);
	play.head = 62 + (one_in(3) ? draw(4000) : draw(40));
	forget_segments(v6);
	m.v6 = v6;
	m.loses = one_in(3) ? 0 : draw(20);
	m.repeats = one_in(2) ? 0 : draw(15);
	m.reorders = one_in(2) ? 0 : draw(60);
	m.servers = 0;
	play.bad = one_in(6);
	client_begin(&m.client, least_mss(), SERVERS, (uint16_t)(40000 + draw(PORTS)));
	put_record();
	send_syn(&m.client);
	for (steps = draw(one_in(8) ? 2000 : 400); steps && !is_over(); steps--)
		step();
	come_to_an_end();
	count_connection();
	RULE(entries_of(map_fd(splices)) <= 2 * PORTS, NULL);
	RULE(entries_of(map_fd(splice_backs)) <= entries_of(map_fd(splices)), NULL);
	RULE(m.client.dead || present()->dead || entries_of(map_fd(held)) <= held, NULL);
}

/* ---- the rig ------------------------------------------------------------------------------------
 */

/* The client's pod is behind `cl`, the servers are behind `sv`. */
#define RIG                                                                                        \
	"set -e\n"                                                                                 \
	"echo 1 >/proc/sys/net/ipv4/ip_forward\n"                                                  \
	"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding\n"                                         \
	"for d in cl sv; do\n"                                                                     \
	"  ip link add $d address 02:00:00:00:00:01 type veth peer name $d-pod\n"                  \
	"  ip link set $d-pod netns /proc/%d/fd/%d\n"                                              \
	"  ip link set $d up\n"                                                                    \
	"done\n"                                                                                   \
	"near() { ip route add $1 dev $2\n"                                                        \
	"  ip neigh add $1 lladdr 02:00:00:00:00:09 dev $2 nud permanent; }\n"                     \
	"ip addr add 10.99.0.1/32 dev cl; ip -6 addr add fd99::1/128 dev cl nodad\n"               \
	"for a in 10.1.0.2 fd01::2; do near $a cl; done\n"                                         \
	"for i in 1 2 3; do near 10.2.0.$i sv; near fd02::$i sv; done\n"

static int packet_socket(const char *device, int protocol)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET};
	int fd, one = 1, large = 4 << 20;

	at.sll_protocol = htons((uint16_t)protocol);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, at.sll_protocol);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)), 0);
	if (!device)
		return fd;
	at.sll_ifindex = (int)if_nametoindex(device);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void attach(int netns)
{
	const struct tc_ours ours = {
		.name = "pintle_splice", .handle = tc_handle(map_fd(splices)), .priority = 1};
	struct tc_point in = {if_nametoindex("cl"), TC_IN}, out = {in.device, TC_OUT};
	int fd = bpf_program__fd(w.skel->progs.pintle_splice);

	assert_int_equal(tc_attach(netns, in, &ours, fd), 0);
	assert_int_equal(tc_attach(netns, out, &ours, fd), 0);
}

static void put_servers(void)
{
	for (uint32_t e = 0; e < 2 * SERVERS; e++) {
		struct pintle_endpoint is = {.generation = GEN(e),
					     .pool = POOL,
					     .pool_generation = POOL_GEN,
					     .port = SERVER_PORT};

		address_of(far[e / SERVERS][e % SERVERS], is.address);
		put(endpoints, e, &is);
		put_load(e, 0);
		w.pool.members[e] = (struct pintle_ref){e, GEN(e)};
	}
	w.pool.member_count = 2 * SERVERS;
	w.pool.decided_by = PINTLE_HOOK_CONNECT;
	w.pool.decide = PINTLE_DECIDE_REQUEST;
	w.pool.key_kind = PINTLE_KEY_NONE;
	put_pool();
	for (int i = 0; i < 2; i++)
		put_frontend(far[i][SERVERS], i ? 128 : 32, FRONTEND_PORT,
			     (struct pintle_frontend){POOL, POOL_GEN, PINTLE_HOOK_CONNECT, 0, 128});
}

/* On one CPU the kernel has all packets in the order in which they came. */
static void stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* A pair of devices drops packets until the kernel has noticed that both are up. */
static bool is_running(const char *device)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {0};

	strcpy(r.ifr_name, device);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &r), 0);
	close(fd);
	return r.ifr_flags & IFF_RUNNING;
}

static int make_rig(void **state)
{
	int pods = new_netns(), node;
	char script[sizeof(RIG) + 64];

	if (make_world(state))
		return -1;
	node = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	snprintf(script, sizeof(script), RIG, getpid(), pods);
	assert_int_equal(system(script), 0);
	put_servers();
	enter_netns(pods);
	assert_int_equal(system("ip link set cl-pod up && ip link set sv-pod up"), 0);
	m.client_device = (int)if_nametoindex("cl-pod");
	m.from_client = packet_socket("cl-pod", 0);
	m.from_server = packet_socket("sv-pod", 0);
	m.out = packet_socket(NULL, ETH_P_ALL);
	enter_netns(node);
	wait_for(is_running("cl") && is_running("sv"));
	attach(node);
	close(node);
	close(pods);
	stay_on_this_cpu();
	return 0;
}

static int unmake_rig(void **state)
{
	close(m.from_client);
	close(m.from_server);
	close(m.out);
	return unmake_world(state);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* As sockops does when the clients' sockets end; and a minute later. */
static void end_flows(void)
{
	struct pintle_tuple t, *before = NULL;
	struct pintle_splice f;

	for (; !bpf_map_get_next_key(map_fd(splices), before, &t); before = &t) {
		get(splices, t, &f);
		f.ended_ns = monotonic_ns() - 61 * SECOND;
		put(splices, t, &f);
	}
}

static void test_two_tcps(void **state)
{
	uint64_t most = number("PINTLE_SPLICE_STEPS", STEPS);
	uint64_t seed = number("PINTLE_SPLICE_SEED", 1);

	(void)state;
	m.talk = getenv("PINTLE_SPLICE_TALK");
	while (m.steps < most) {
		play.seed = seed + m.connection;
		play.drawn = 0;
		connection();
		m.connection++;
	}
	end_flows();
	wait_for(!entries_of(map_fd(splices)) && !entries_of(map_fd(splice_backs)));
	print_message("%" PRIu64 " steps, %" PRIu64 " connections: %" PRIu64 " opened, %" PRIu64
		      " ended, %" PRIu64 " reset; servers: %" PRIu64 " refused, %" PRIu64
		      " were asked after others, %" PRIu64 " without times; %" PRIu64
		      " bytes, %" PRIu64 " blocks of SACK, %" PRIu64
		      " segments made by the program\n",
		      m.steps, did.connections, did.opened, did.ended, did.reset, did.refused,
		      did.again, did.untimed, did.bytes, did.sacks, did.made);
}

static void test_on_a_newer_kernel(void **state)
{
	(void)state;
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_two_tcps, make_rig, unmake_rig),
	};

	const struct CMUnitTest none[] = {
		cmocka_unit_test(test_on_a_newer_kernel),
	};

	/* Another kernel's machine (tests/kernels) has no tool that makes pairs of devices. */
	if (!kernel_hands_over() || getenv("PINTLE_FILLS"))
		return cmocka_run_group_tests_name("splice", none, NULL, NULL);
	return cmocka_run_group_tests_name("splice", tests, NULL, NULL);
}
