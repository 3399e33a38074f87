/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-off's TC program: packet in, verdict, packet out, counter. Packets, cookies and
 * checksums are made here. No server listens, so the first request is always answered with a reset;
 * the end-to-end cases have servers.
 *
 * Skipped where the kernel cannot hand over (before Linux 6.9).
 */
#define PROGRAMS "pintle_hand", "pintle_lookup"
#include "support_world.h"

#include <linux/pkt_cls.h>
#include <sched.h>
#include <time.h>

#include "../../userspace/maps/kernel.h"
#define hash_text hash_keyed /* there is another one in userspace/base */
#include "handoff/cookie.bpf.h"
#undef hash_text
#include "mix.bpf.h"
#include "support_packet.h"

#define GO       TC_ACT_UNSPEC
#define DROPPED  TC_ACT_SHOT
#define ANSWERED TC_ACT_REDIRECT

#define SEQUENCE 0xfffffff0U /* of the SYN: sequence numbers wrap */

static const struct hand_secret secret = {{11, 22}};

static const struct framing plain4 = {"IPv4", .family = AF_INET};
static const struct framing plain6 = {"IPv6", .family = AF_INET6};

/* ---- in and out ------------------------------------------------------------------------ */

/* Gives the program a frame for this device, whose address is 0. Returns the verdict. */
static int pass_as_it_is(const struct packet *in, struct packet *out)
{
	static uint8_t bytes[sizeof(in->bytes)];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->bytes, .data_size_in = (__u32)in->size,
		    .data_out = bytes, .data_size_out = sizeof(bytes));

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.pintle_hand), &opts),
			 0);
	*out = *in;
	out->size = opts.data_size_out;
	memcpy(out->bytes, bytes, out->size);
	return (int)opts.retval;
}

static int pass(struct packet in, struct packet *out)
{
	memset(in.bytes, 0, 6);
	return pass_as_it_is(&in, out);
}

#define assert_verdict(in, verdict)                                                                \
	do {                                                                                       \
		struct packet out_;                                                                \
		assert_int_equal(pass(in, &out_), verdict);                                        \
	} while (0)

static uint32_t get32(const struct packet *p, size_t at)
{
	uint32_t be;

	memcpy(&be, p->bytes + at, sizeof(be));
	return ntohl(be);
}

static uint64_t handed(enum pintle_hand hand)
{
	static uint64_t n[1024];

	get(hand_stats, (uint32_t)PINTLE_HAND_STAT(POOL, hand), n);
	return over_cpus(n);
}

static uint64_t holds(enum pintle_hold hold)
{
	static uint64_t n[1024];

	get(hold_stats, (uint32_t)PINTLE_HOLD_STAT(POOL, hold), n);
	return over_cpus(n);
}

static uint32_t held(void)
{
	struct pintle_held_key key, *before = NULL;
	uint32_t n = 0;

	for (; !bpf_map_get_next_key(map_fd(held), before, &key); before = &key)
		n++;
	return n;
}

/* ---- what comes back --------------------------------------------------------------------- */

/* The answer goes the way back: each address and port is where the other was, tags stay, and the
 * checksums are right. */
static void check_answer(const struct packet *in, struct packet *out, int flags)
{
	bool v4 = in->framing->family == AF_INET;
	size_t size = v4 ? 4 : 16, source = in->ip + (v4 ? 12 : 8);
	struct framing plain = *in->framing;

	plain.padding = 0;
	out->framing = &plain;
	assert_int_equal(out->size, out->tcp + 40);
	assert_memory_equal(out->bytes + 6, in->bytes, 6);
	assert_memory_equal(out->bytes + 12, in->bytes + 12, in->ip - 12);
	assert_memory_equal(out->bytes + source, in->bytes + source + size, size);
	assert_memory_equal(out->bytes + source + size, in->bytes + source, size);
	assert_memory_equal(out->bytes + out->tcp, in->bytes + in->tcp + 2, 2);
	assert_memory_equal(out->bytes + out->tcp + 2, in->bytes + in->tcp, 2);
	assert_int_equal(out->bytes[out->tcp + 13], flags);
	assert_int_equal(out->bytes[out->tcp + 12] >> 4, 10);
	assert_int_equal(tcp_checksum(out), 0);
	if (v4)
		assert_int_equal(folded(sum_of(out->bytes + out->ip, 20, 0)), 0);
	out->framing = in->framing;
}

/* Puts options, padded with zeros, behind a TCP header that has room for them. */
static void put_options(struct packet *p, const void *options, size_t size)
{
	memset(p->bytes + p->tcp + 20, 0, p->data - p->tcp - 20);
	memcpy(p->bytes + p->tcp + 20, options, size);
	sum_again(p);
}

static struct pintle_tuple tuple_of_packet(const struct packet *p, uint16_t port)
{
	bool v4 = p->framing->family == AF_INET;
	struct pintle_tuple t = {.local_port = 8000, .remote_port = port};

	address_of(p->framing->from ?: v4 ? "192.0.2.7" : "2001:db8::7", t.remote);
	address_of(p->framing->to ?: v4 ? "10.77.0.1" : "fd77::1", t.local);
	return t;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- SYN ---------------------------------------------------------------------------------- */

static const struct framing framings[] = {
	{"IPv4", .family = AF_INET, .tcp_options = 5},
	{"IPv4, all the options there can be", .family = AF_INET, .tcp_options = 10},
	{"IPv4, a tag", .family = AF_INET, .tags = 1, .tcp_options = 5},
	{"IPv4, two tags", .family = AF_INET, .tags = 2, .tcp_options = 5},
	{"IPv4, padded", .family = AF_INET, .padding = 7, .tcp_options = 5},
	{"IPv6", .family = AF_INET6, .tcp_options = 5},
	{"IPv6, a tag", .family = AF_INET6, .tags = 1, .tcp_options = 5},
	{"IPv6, padded", .family = AF_INET6, .padding = 1, .tcp_options = 5},
};

static const struct offer {
	const char *says;
	size_t size;
	uint8_t options[20];
	struct hand_options want;
} offers[] = {
	{"nothing", 0, {0}, {0}},
	{"all",
	 20,
	 {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 9},
	 {.mss = 1460, .scale = 9, .has_scale = 1, .has_sack = 1, .has_time = 1, .value = 7}},
	{"all, and a scale that is too large",
	 20,
	 {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 200},
	 {.mss = 1460, .scale = 14, .has_scale = 1, .has_sack = 1, .has_time = 1, .value = 7}},
	{"all, and no scale",
	 18,
	 {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 1},
	 {.mss = 1460, .has_sack = 1, .has_time = 1, .value = 7}},
	{"all, and no SACK",
	 20,
	 {2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 0},
	 {.mss = 1460, .has_scale = 1, .has_time = 1, .value = 7}},
	{"in another order, with padding",
	 17,
	 {1, 1, 3, 3, 14, 1, 4, 2, 2, 4, 35, 0, 1, 1, 1, 1, 0},
	 {.mss = 1440, .scale = 7, .has_scale = 1, .has_sack = 1}},
	{"as Windows",
	 12,
	 {2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2},
	 {.mss = 1440, .scale = 7, .has_scale = 1, .has_sack = 1}},
	{"as Windows, by a tunnel",
	 12,
	 {2, 4, 5, 70, 1, 3, 3, 8, 1, 1, 4, 2},
	 {.mss = 1220, .scale = 7, .has_scale = 1, .has_sack = 1}},
	{"a small scale without timestamps",
	 12,
	 {2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 4, 2},
	 {.mss = 1220}},
	{"small segments without timestamps",
	 12,
	 {2, 4, 4, 195, 1, 3, 3, 8, 1, 1, 4, 2},
	 {.mss = 536}},
	{"a scale that is too large", 3, {3, 3, 200}, {0}},
	{"an option without a length", 2, {2, 0}, {0}},
	{"one with another length", 3, {2, 3, 5}, {0}},
	{"one that is longer than the header", 2, {8, 250}, {0}},
	{"one behind the end of options", 5, {0, 2, 4, 5, 180}, {0}},
	{"an unknown one, MPTCP's",
	 16,
	 {30, 12, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 4, 196},
	 {.mss = 1220}},
};

/* What a client's segment is that follows the answer, as the client's timestamp echoes it. */
static struct hand_fit fit_of(const struct packet *answer, const struct pintle_tuple *t,
			      const struct hand_options *o, uint32_t at)
{
	struct hand_fit f = {.sequence = SEQUENCE + 1 + at,
			     .cookie = get32(answer, answer->tcp + 4)};

	hand_cookie_read(t, o, now_ms(), &secret, &f);
	return f;
}

/* The reply's options are what the SYN offered and can be kept, and cookie and timestamp keep it.
 */
static void check_syn_ack(const struct packet *out, uint16_t port, const struct offer *o)
{
	const uint8_t *options = out->bytes + out->tcp + 20;
	struct pintle_tuple t = tuple_of_packet(out, port);
	uint32_t mss = (uint32_t)options[2] << 8 | options[3];
	uint32_t default_mss = out->framing->family == AF_INET ? 536 : 1220;
	struct hand_options kept = {.has_time = o->want.has_time};
	struct hand_fit f;

	if (kept.has_time)
		kept.echo = get32(out, out->tcp + 20 + 8);
	assert_int_equal(get32(out, out->tcp + 8), SEQUENCE + 1);
	f = fit_of(out, &t, &kept, 0);
	assert_int_equal(f.fits, HAND_FITS_FIRST);
	hand_unpack(&kept, f.kept);
	assert_int_equal(kept.mss, o->want.mss ?: default_mss);
	assert_int_equal(kept.has_scale, o->want.has_scale);
	assert_int_equal(kept.scale, o->want.scale);
	assert_int_equal(kept.has_sack, o->want.has_sack);
	assert_int_equal(options[0] << 8 | options[1], 0x204);
	assert_in_range(mss, 1460, 65535);
	assert_int_equal(!!memchr(options + 4, 8, 4), o->want.has_time);
	if (o->want.has_time)
		assert_int_equal(get32(out, out->tcp + 20 + 12), o->want.value);
	assert_int_equal(options[17] == 3 ? options[19] : 0, o->want.has_scale ? HAND_SCALE : 0);
	assert_int_equal(options[4] == 4 || options[6] == 4, o->want.has_sack);
}

static void test_syn(void **state)
{
	uint16_t port = 1000;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(framings); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(offers); j++) {
			const struct offer *o = &offers[j];
			struct packet in = make(&framings[i], ++port, SEQUENCE, SYN, NULL, 0), out;

			memset(in.bytes, 0, 6);
			put_options(&in, o->options, o->size);
			print_message("%s: %s\n", framings[i].says, o->says);
			/* The kernel gives no IPv6 socket segments as small as this one's. */
			if (framings[i].family == AF_INET6 && o->want.mss == 536) {
				assert_int_equal(pass(in, &out), GO);
				continue;
			}
			assert_int_equal(pass(in, &out), ANSWERED);
			check_answer(&in, &out, SYN | ACK);
			check_syn_ack(&out, port, o);
		}
	}
}

/* What stands behind the header is no part of it. */
static void test_an_option_that_is_cut_off(void **state)
{
	static const uint8_t cut[20] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
					1, 1, 1, 1, 1, 1, 1, 1, 8, 10};
	struct packet in = make(&framings[0], 5, SEQUENCE, SYN, NULL, 0), out;

	(void)state;
	put_options(&in, cut, sizeof(cut));
	assert_int_equal(pass(in, &out), ANSWERED);
	assert_null(memchr(out.bytes + out.tcp + 20 + 4, 8, 4));
}

/* A packet that has not left this machine has the sum of the pseudo-header alone; so has its
 * answer. */
static void test_a_checksum_to_be_completed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(framings); i++) {
		struct packet in = make(&framings[i], 77, SEQUENCE, SYN, NULL, 0), out;
		size_t tcp = in.size - in.tcp - (size_t)framings[i].padding;
		bool v4 = framings[i].family == AF_INET;
		size_t at = in.ip + (v4 ? 12 : 8), size = v4 ? 8 : 32;
		uint32_t addresses = sum_of(in.bytes + at, size, IPPROTO_TCP);

		put16(&in, in.tcp + 16, (uint16_t)~folded(addresses + (uint32_t)tcp));
		assert_int_equal(pass(in, &out), ANSWERED);
		assert_int_equal(out.size, out.tcp + 40);
		assert_int_equal(out.bytes[out.tcp + 16] << 8 | out.bytes[out.tcp + 17],
				 (uint16_t)~folded(addresses + 40));
	}
}

/* ---- what is left to the kernel, and what is dropped ---------------------------------------- */

static const struct framing others[] = {
	{"another port", AF_INET, .to_port = 8001},
	{"another address", AF_INET, .to = "10.77.0.2"},
	{"another address, IPv6", AF_INET6, .to = "fd77::2"},
	{"UDP", AF_INET, .protocol = IPPROTO_UDP},
	{"UDP, IPv6", AF_INET6, .protocol = IPPROTO_UDP},
	{"options of IP", AF_INET, .ip_options = 1},
	{"all options of IP", AF_INET, .ip_options = 10},
	{"an extension header", AF_INET6, .protocol = IPPROTO_DSTOPTS},
	{"a routing header", AF_INET6, .protocol = IPPROTO_ROUTING},
	{"a fragment, IPv6", AF_INET6, .protocol = IPPROTO_FRAGMENT},
	{"the first fragment", AF_INET, .fragment = 0x2000},
	{"a fragment in the middle", AF_INET, .fragment = 0x2064},
	{"the last", AF_INET, .fragment = 100},
	{"three tags", AF_INET, .tags = 3},
};

static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\n\r\n";
#define REQUEST_SIZE (sizeof(request) - 1)

static void test_left_to_the_kernel(void **state)
{
	static const int kinds[] = {SYN, ACK, RST, FIN | ACK};
	struct packet in, out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(kinds) + 1; j++) {
			bool data = j == ARRAY_SIZE(kinds);

			in = make(&others[i], 1, SEQUENCE, data ? ACK : kinds[j], request,
				  data ? REQUEST_SIZE : 0);
			memset(in.bytes, 0, 6);
			if (pass(in, &out) != GO || !same(&in, &out))
				fail_msg("not left alone: %s", others[i].says);
		}
	}
	/* for another machine; a bridge's port sees such frames */
	in = make(&plain4, 1, SEQUENCE, SYN, NULL, 0);
	assert_int_equal(pass_as_it_is(&in, &out), GO);
	assert_true(same(&in, &out));
	/* the kernel counts it */
	in.bytes[in.tcp + 16] ^= 1;
	assert_verdict(in, GO);
}

static void test_left_alone_in_mode_off(void **state)
{
	(void)state;
	w.pool.mode = PINTLE_MODE_OFF;
	put_pool();
	assert_verdict(make(&plain4, 1, SEQUENCE, SYN, NULL, 0), GO);
	w.pool.mode = PINTLE_MODE_ENFORCE;
	w.pool.decide = PINTLE_DECIDE_CONNECTION;
	put_pool();
	assert_verdict(make(&plain4, 1, SEQUENCE, SYN, NULL, 0), GO);
}

/* Segments that no client sends, such as scanners'. */
static void test_dropped(void **state)
{
	static const int kinds[] = {SYN | FIN, SYN | RST, SYN | FIN | RST, SYN | ACK,
				    0,         FIN,       FIN | PSH | URG, URG,
				    PSH,       RST,       RST | ACK};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		assert_verdict(make(&plain4, 1, SEQUENCE, kinds[i], NULL, 0), DROPPED);
		assert_verdict(make(&plain6, 1, SEQUENCE, kinds[i], NULL, 0), DROPPED);
	}
}

/* Frames that are cut off at every byte that the kernel shows to a program. */
static void test_cut_short(void **state)
{
	static const int kinds[] = {SYN, ACK, SYN | ACK, FIN | ACK};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(framings); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(kinds); j++) {
			struct packet whole =
				make(&framings[i], 1, SEQUENCE, kinds[j], request, REQUEST_SIZE);

			for (size_t size = whole.tcp; size < whole.data; size++) {
				struct packet cut = whole, out;

				cut.size = size;
				memset(cut.bytes, 0, 6);
				assert_int_equal(pass(cut, &out), GO);
				assert_true(same(&cut, &out));
			}
		}
	}
}

/* ---- cookies ---------------------------------------------------------------------------------
 */

/* A client that was answered so many milliseconds ago, with these options. */
struct opened {
	const struct framing *framing;
	uint16_t port;
	uint32_t acknowledged;
	uint32_t time; /* of the answer */
};

static struct opened opened_by(const struct framing *f, uint64_t ago_ms, struct hand_options o)
{
	static uint16_t port = 30000;
	struct opened c = {.framing = f, .port = ++port};
	struct packet p = {.framing = f};
	struct pintle_tuple t = tuple_of_packet(&p, port);
	struct hand_syn syn = {.sequence = SEQUENCE};

	hand_cookie_make(&t, &o, now_ms() - ago_ms, &secret, &syn);
	c.acknowledged = 1 + syn.cookie;
	c.time = syn.time;
	return c;
}

/* One without timestamps. */
static struct opened opened(const struct framing *f, uint64_t ago_ms)
{
	return opened_by(f, ago_ms, (struct hand_options){.mss = 1460, .has_sack = 1});
}

/* A segment of the connection that begins at byte `at` of what the client sends. */
static struct packet sent(struct opened c, uint32_t at, int flags, const void *data, size_t size)
{
	struct packet p = make(c.framing, c.port, SEQUENCE + 1 + at, flags, data, size);
	uint8_t options[12] = {1, 1, 8, 10};

	put32(&p, p.tcp + 8, c.acknowledged);
	sum_again(&p);
	if (!c.time)
		return p;
	for (int i = 0; i < 4; i++)
		options[8 + i] = (uint8_t)(c.time >> (24 - 8 * i));
	put_options(&p, options, sizeof(options));
	return p;
}

/* A reset, with the number that the client expects. */
static void check_reset(struct opened c, struct packet in)
{
	struct packet out;

	memset(in.bytes, 0, 6);
	assert_int_equal(pass(in, &out), ANSWERED);
	check_answer(&in, &out, RST);
	assert_int_equal(get32(&out, out.tcp + 4), c.acknowledged);
}

/* The client's end without a request is answered by the server's, and the client acknowledges that.
 */
static void check_ended(struct opened c)
{
	struct packet in = sent(c, 0, FIN | ACK, NULL, 0), out;

	memset(in.bytes, 0, 6);
	assert_int_equal(pass(in, &out), ANSWERED);
	check_answer(&in, &out, FIN | ACK);
	assert_int_equal(get32(&out, out.tcp + 4), c.acknowledged);
	assert_int_equal(get32(&out, out.tcp + 8), SEQUENCE + 2);
	c.acknowledged++;
	assert_verdict(sent(c, 1, ACK, NULL, 0), DROPPED);
}

static void check_acknowledged(struct opened c, struct packet in, uint32_t to)
{
	struct packet out;

	memset(in.bytes, 0, 6);
	assert_int_equal(pass(in, &out), ANSWERED);
	check_answer(&in, &out, ACK);
	assert_int_equal(get32(&out, out.tcp + 4), c.acknowledged);
	assert_int_equal(get32(&out, out.tcp + 8), SEQUENCE + 1 + to);
}

#define EPOCH_MS (1ULL << HAND_EPOCH_SHIFT)

static const struct framing timed4 = {"IPv4, timestamps", .family = AF_INET, .tcp_options = 5};
static const struct framing timed6 = {"IPv6, timestamps", .family = AF_INET6, .tcp_options = 5};

static struct opened opened_timed(const struct framing *f, uint64_t ago_ms)
{
	return opened_by(
		f, ago_ms,
		(struct hand_options){
			.mss = 1460, .scale = 7, .has_scale = 1, .has_sack = 1, .has_time = 1});
}

static struct opened any_opened(const struct framing *f, uint64_t ago_ms)
{
	return f == &timed4 || f == &timed6 ? opened_timed(f, ago_ms) : opened(f, ago_ms);
}

/* Cookies hold for 2 h 20 min at least, and for twice as long at most. */
static void test_epochs(void **state)
{
	const struct framing *all[] = {&plain4, &plain6, &framings[3], &timed4, &timed6};
	const uint64_t good[] = {0, 1, EPOCH_MS / 2, EPOCH_MS - 1000},
		       late[] = {2 * EPOCH_MS + 1000, 3 * EPOCH_MS};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(good); j++) {
			struct opened c = any_opened(all[i], good[j]);

			assert_verdict(sent(c, 0, ACK, NULL, 0), DROPPED); /* the handshake's */
			check_acknowledged(c, sent(c, (uint32_t)-1, ACK, NULL, 0), 0);
			check_acknowledged(c, sent(c, (uint32_t)-1, ACK, "x", 1), 0);
			check_ended(c);
			check_reset(c, sent(c, 0, ACK | PSH, request, REQUEST_SIZE));
		}
		for (size_t j = 0; j < ARRAY_SIZE(late); j++) {
			struct opened c = any_opened(all[i], late[j]);

			check_reset(c, sent(c, 0, ACK, NULL, 0));
			check_reset(c, sent(c, (uint32_t)-1, ACK, NULL, 0));
			check_reset(c, sent(c, 0, ACK, request, REQUEST_SIZE));
		}
	}
	assert_int_equal(handed(PINTLE_HAND_NOBODY), ARRAY_SIZE(all) * ARRAY_SIZE(good));
	assert_int_equal(handed(PINTLE_HAND_NO_REQUEST), ARRAY_SIZE(all) * ARRAY_SIZE(good));
	assert_int_equal(handed(PINTLE_HAND_STRAY), 3 * ARRAY_SIZE(all) * ARRAY_SIZE(late));
}

/* A cookie is for one client, one sequence number and its options. */
static void test_other_cookies(void **state)
{
	struct opened c = opened(&plain4, 0), other = c;
	uint32_t resets = 0;

	(void)state;
	for (uint32_t bit = 0; bit < 32 - 3; bit++) {
		other.acknowledged = c.acknowledged ^ 1U << bit;
		check_reset(other, sent(other, 0, ACK, NULL, 0));
		check_reset(other, sent(other, 0, ACK, request, REQUEST_SIZE));
		resets += 2;
	}
	other = c;
	other.port++;
	check_reset(other, sent(other, 0, ACK, NULL, 0));
	check_reset(c, sent(c, HAND_AHEAD, ACK, NULL, 0));
	check_reset(c, sent(c, HAND_AHEAD, ACK, request, REQUEST_SIZE));
	check_reset(c, sent(c, (uint32_t)-2, ACK, NULL, 0));
	check_reset(c, sent(c, (uint32_t)-2, ACK, request, REQUEST_SIZE));
	c = opened_timed(&timed4, 0);
	for (uint32_t bit = 0; bit < 6; bit++) {
		other = c;
		other.time ^= 1U << bit;
		check_reset(other, sent(other, 0, ACK, request, REQUEST_SIZE));
		resets++;
	}
	other = c;
	other.time += 1U << 30; /* of another time */
	check_reset(other, sent(other, 0, ACK, request, REQUEST_SIZE));
	other.time = 0; /* and none */
	check_reset(other, sent(other, 0, ACK, request, REQUEST_SIZE));
	assert_int_equal(handed(PINTLE_HAND_NOBODY), 0);
	assert_int_equal(handed(PINTLE_HAND_STRAY), resets + 7);
}

/* For one segment eight of all 2^32 cookies hold, as many as of the kernel's own: four sets of
 * options, of two times; or, with a timestamp, eight sizes of segments. */
static void test_how_many_hold(void **state)
{
	const struct framing *all[] = {&plain4, &timed4};
	uint64_t nobody = 0, strays = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		for (uint64_t ago = 0; ago < 2 * EPOCH_MS;
		     ago += all[i] == &plain4 ? EPOCH_MS : 4 * EPOCH_MS) {
			struct opened c = any_opened(all[i], ago);

			for (uint32_t kept = 0; kept < 8; kept++) {
				struct opened guess = c;
				uint32_t own = all[i] == &plain4 ? 0 : hand_mss_index(1460);

				guess.acknowledged += (kept - own) << HAND_MSS_SHIFT;
				check_reset(guess, sent(guess, 0, ACK, request, REQUEST_SIZE));
				if (kept < 4 || all[i] == &timed4)
					nobody++;
				else
					strays++;
			}
		}
	}
	assert_int_equal(nobody, 16);
	assert_int_equal(handed(PINTLE_HAND_NOBODY), nobody);
	assert_int_equal(handed(PINTLE_HAND_STRAY), strays);
}

/* ---- what comes ahead of the first segment ------------------------------------------------------
 */

/* The first segment is lost, or late: no other is answered with a reset, however often and late it
 * comes. A bare one acknowledges a SYN's answer that came twice. */
static void test_ahead(void **state)
{
	const struct framing *all[] = {&plain4, &plain6, &framings[3], &timed4, &timed6};
	const uint32_t places[] = {1, 63, 1448, 9000, 64239, HAND_AHEAD - 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct opened c = any_opened(all[i], 0), old = any_opened(all[i], EPOCH_MS / 2);

		for (size_t j = 0; j < 5 * ARRAY_SIZE(places); j++) {
			uint32_t at = places[j % ARRAY_SIZE(places)];

			assert_verdict(sent(c, at, ACK, NULL, 0), DROPPED);
			assert_verdict(sent(c, at, ACK | PSH, request, REQUEST_SIZE), DROPPED);
			assert_verdict(sent(c, at, FIN | ACK, NULL, 0), DROPPED);
			assert_verdict(sent(c, at, FIN | ACK, "x", 1), DROPPED);
			assert_verdict(sent(old, at, ACK, "x", 1), DROPPED);
		}
		check_reset(c, sent(c, 0, ACK | PSH, request, REQUEST_SIZE));
		check_reset(old, sent(old, 0, ACK | PSH, request, REQUEST_SIZE));
	}
	assert_int_equal(handed(PINTLE_HAND_NOBODY), 2 * ARRAY_SIZE(all));
	assert_int_equal(handed(PINTLE_HAND_STRAY), 0);
}

/* What the client has heard of its server shows that it is no such segment. */
static void test_not_ahead(void **state)
{
	struct opened c = opened(&plain4, 0);
	uint32_t resets = 0;

	(void)state;
	for (uint32_t heard = 1; heard < 2000; heard += 37) {
		struct opened later = c;

		later.acknowledged += heard;
		check_reset(later, sent(later, heard, ACK, "x", 1));
		check_reset(later, sent(later, heard + 500, ACK, NULL, 0));
		resets += 2;
	}
	assert_int_equal(handed(PINTLE_HAND_STRAY), resets);
}

/* ---- what follows a SYN on its CPU -------------------------------------------------------------
 */

#define BEGUN 256 /* as in handshake.bpf.h */

static void run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* The first two of the CPUs on which this process may run; the second is the first where there is
 * one alone. */
static void two_cpus(int cpus[2])
{
	cpu_set_t set;
	int n = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			cpus[n++] = i;
	cpus[1] = n < 2 ? cpus[0] : cpus[1];
}

/* A client whose SYN is answered now, with the options of opened(). */
static struct opened begun(const struct framing *f)
{
	static const uint8_t options[20] = {2, 4, 5, 180, 4, 2};
	struct opened c = opened(f, 0);
	struct packet in, out;

	in = make(f, c.port, SEQUENCE, SYN, NULL, 0);
	memset(in.bytes, 0, 6);
	put_options(&in, options, in.data - in.tcp - 20);
	assert_int_equal(pass(in, &out), ANSWERED);
	c.acknowledged = get32(&out, out.tcp + 4) + 1;
	return c;
}

static uint32_t place_of(const struct framing *f, uint16_t port)
{
	struct packet p = {.framing = f};
	struct pintle_tuple t = tuple_of_packet(&p, port);
	uint64_t hash = (uint64_t)t.remote_port << 16 | t.local_port;
	uint32_t a[4], b[4];

	memcpy(a, t.remote, sizeof(a));
	memcpy(b, t.local, sizeof(b));
	for (int i = 0; i < 4; i++)
		hash = mix(hash ^ ((uint64_t)a[i] << 32 | b[i]));
	return hash % BEGUN;
}

/* Another client in the same place of what is known of the newest SYNs. */
static struct opened neighbour(struct opened c)
{
	uint32_t place = place_of(c.framing, c.port);

	do
		c.port++;
	while (place_of(c.framing, c.port) != place);
	return c;
}

static void test_right_behind_a_syn(void **state)
{
	const struct framing *all[] = {&plain4, &plain6, &framings[3]};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct opened c = begun(all[i]), other = c;

		assert_verdict(sent(c, 0, ACK, NULL, 0), DROPPED); /* the handshake's */
		other.acknowledged ^= 0x100;
		check_reset(other, sent(other, 0, ACK, NULL, 0));
		check_reset(other, sent(other, 0, ACK, request, REQUEST_SIZE));
		other = neighbour(c);
		check_reset(other, sent(other, 0, ACK, NULL, 0));
		check_reset(other, sent(other, 0, ACK, request, REQUEST_SIZE));
		assert_int_equal(handed(PINTLE_HAND_NOBODY), i);
		check_reset(c, sent(c, 0, ACK | PSH, request, REQUEST_SIZE));
		assert_int_equal(handed(PINTLE_HAND_NOBODY), i + 1);
	}
}

/* What another CPU holds of the connection stays, where the first segment comes again here. */
static void test_held_by_another_cpu(void **state)
{
	cpu_set_t before;
	struct opened c;
	int cpus[2];

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	two_cpus(cpus);
	run_on_cpu(cpus[0]);
	c = begun(&plain4);
	run_on_cpu(cpus[1]);
	check_acknowledged(c, sent(c, 0, ACK, request, 20), 20);
	check_acknowledged(c, sent(c, 20, ACK, request + 20, 5), 25);
	run_on_cpu(cpus[0]);
	check_acknowledged(c, sent(c, 0, ACK, request, 20), 25);
	assert_int_equal(held(), 1);
	check_reset(c, sent(c, 25, ACK | PSH, request + 25, REQUEST_SIZE - 25));
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

/* ---- guesses --------------------------------------------------------------------------------- */

#define GUESSES 1001 /* one more than GUESS_MANY of guess.bpf.h */

/* Guesses from another port of the client's network. */
static void guess(const struct framing *f)
{
	struct opened c = opened(f, 0);

	c.acknowledged += 12345;
	for (int i = 0; i < GUESSES; i++)
		check_reset(c, sent(c, 0, ACK, request, REQUEST_SIZE));
}

/* Gives the segment again and again, until it is taken. Returns after how many nanoseconds. */
static uint64_t taken_after(struct packet p)
{
	uint64_t began = monotonic_ns();
	struct packet out;

	while (pass(p, &out) == DROPPED && monotonic_ns() - began < 20 * SECOND)
		usleep(20000);
	return monotonic_ns() - began;
}

/* While many guess from its network, a client's first segment is taken a second later, when it
 * comes again, unless it has more to show than a cookie. Nobody is shut out. */
static void test_a_brake_on_guesses(void **state)
{
	static const struct framing sources[] = {
		{"a neighbour", .family = AF_INET, .from = "192.0.2.99"},
		{"a neighbour, IPv6", .family = AF_INET6, .from = "2001:db8:0:5::1"},
		{"another network", .family = AF_INET, .from = "192.0.3.7"},
		{"another network, IPv6", .family = AF_INET6, .from = "2001:db8:1::7"},
	};
	struct opened c;
	struct packet p;

	(void)state;
	guess(&plain4);
	guess(&plain6);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		c = opened(&sources[i], 0);
		p = sent(c, 0, ACK, request, REQUEST_SIZE);
		print_message("%s\n", sources[i].says);
		if (i < 2)
			assert_verdict(p, DROPPED);
		else
			check_reset(c, p);
	}
	check_reset(c, sent(c, 0, ACK, request, REQUEST_SIZE));
	c = opened_timed(&timed4, 0);
	check_reset(c, sent(c, 0, ACK, request, REQUEST_SIZE));
	c = begun(&plain4);
	check_reset(c, sent(c, 0, ACK, request, REQUEST_SIZE));
	assert_int_equal(handed(PINTLE_HAND_NOBODY), 5);
	assert_int_equal(handed(PINTLE_HAND_BRAKED), 2);
	c = opened(&plain4, 0);
	p = sent(c, 0, ACK, request, REQUEST_SIZE);
	assert_in_range(taken_after(p), SECOND * 9 / 10, 20 * SECOND);
	assert_int_equal(handed(PINTLE_HAND_NOBODY), 6);
}

/* Guesses for the very connection let its first segment begin to wait anew. */
static void test_a_guess_in_between(void **state)
{
	struct opened c = opened(&plain6, 0), wrong = c;
	struct packet p = sent(c, 0, ACK, request, REQUEST_SIZE);
	uint64_t began;

	(void)state;
	guess(&plain6);
	wrong.acknowledged += 999;
	assert_verdict(p, DROPPED);
	began = monotonic_ns();
	while (monotonic_ns() - began < SECOND * 12 / 10)
		usleep(20000);
	check_reset(wrong, sent(wrong, 0, ACK, request, REQUEST_SIZE));
	assert_verdict(p, DROPPED);
	assert_in_range(taken_after(p), SECOND * 9 / 10, 20 * SECOND);
}

static void test_bad_checksums(void **state)
{
	struct opened c = opened(&plain4, 0);
	struct packet p = sent(c, (uint32_t)-1, ACK, NULL, 0);

	(void)state;
	p.bytes[p.tcp + 17] ^= 1;
	assert_verdict(p, DROPPED);
	p = sent(c, 0, FIN | ACK, NULL, 0);
	p.bytes[p.tcp + 17] ^= 1;
	assert_verdict(p, DROPPED);
}

/* ---- requests in pieces ----------------------------------------------------------------------
 */

/* What the client sends, cut at this byte; each piece also damaged, repeated and out of order. */
static void test_pieces(void **state)
{
	const struct framing *all[] = {&plain4, &plain6, &framings[1], &framings[3], &framings[7]};
	uint64_t joined = 0, damaged = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		for (uint32_t at = 1; at < REQUEST_SIZE; at += 5) {
			struct opened c = opened(all[i], 0);
			struct packet a = sent(c, 0, ACK, request, at),
				      b = sent(c, at, ACK | PSH, request + at, REQUEST_SIZE - at),
				      bad = a;

			bad.bytes[bad.data] ^= 1;
			assert_verdict(bad, DROPPED);
			assert_int_equal(holds(PINTLE_HOLD_DAMAGED), ++damaged);
			check_acknowledged(c, a, at);
			assert_int_equal(held(), 1);
			check_acknowledged(c, a, at);
			check_acknowledged(c, sent(c, at + 1, ACK, "x", 1), at);
			assert_verdict(sent(c, at, ACK, NULL, 0), DROPPED);
			bad = b;
			bad.bytes[bad.tcp + 16] ^= 1;
			assert_verdict(bad, DROPPED);
			damaged++;
			check_reset(c, b); /* nobody serves it */
			assert_int_equal(holds(PINTLE_HOLD_JOINED), ++joined);
			assert_int_equal(held(), 0);
		}
	}
	assert_int_equal(holds(PINTLE_HOLD_REPEATED), joined);
	assert_int_equal(holds(PINTLE_HOLD_OVERTOOK), joined);
	assert_int_equal(holds(PINTLE_HOLD_DAMAGED), damaged);
	assert_int_equal(handed(PINTLE_HAND_NOBODY), joined);
}

/* A client with many requests in pieces at once, such as a gateway. */
static void test_many_at_once(void **state)
{
	struct opened c[32];

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = opened(&plain4, 0);
		check_acknowledged(c[i], sent(c[i], 0, ACK, request, 20), 20);
		assert_int_equal(held(), i + 1);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(c); i++) {
		check_acknowledged(c[i], sent(c[i], 20, ACK, request + 20, 5), 25);
		check_reset(c[i], sent(c[i], 25, ACK | PSH, request + 25, REQUEST_SIZE - 25));
	}
	assert_int_equal(held(), 0);
	assert_int_equal(holds(PINTLE_HOLD_JOINED), ARRAY_SIZE(c));
}

/* Segments as large as such a test can make them, until no more is kept. */
static void test_large_segments(void **state)
{
	static char large[3400];
	struct opened c = opened(&plain6, 0);
	uint32_t at = 0;

	(void)state;
	memset(large, 'x', sizeof(large));
	memcpy(large, "GET / HTTP/1.1\r\nX: ", 19);
	for (; at + sizeof(large) <= 15872; at += sizeof(large)) {
		check_acknowledged(c, sent(c, at, ACK, large, sizeof(large)), at + sizeof(large));
		memset(large, 'x', sizeof(large));
	}
	assert_int_equal(held(), 1);
	check_reset(c, sent(c, at, ACK, large, sizeof(large)));
	assert_int_equal(holds(PINTLE_HOLD_FULL), 1);
	assert_int_equal(held(), 0);
}

/* A server does not get the urgent byte among the others, so what stands there is not read. */
static void test_urgent(void **state)
{
	struct opened c = opened(&plain4, 0);

	(void)state;
	check_reset(c, sent(c, 0, ACK | URG, request, REQUEST_SIZE / 2)); /* not held */
	assert_int_equal(held(), 0);
	/* The server gets all that is held. */
	c = opened(&plain4, 0);
	check_acknowledged(c, sent(c, 0, ACK, request, 20), 20);
	check_acknowledged(c, sent(c, 20, ACK | URG, request + 20, 5), 25);
	check_reset(c, sent(c, 25, ACK, request + 25, REQUEST_SIZE - 25));
	assert_int_equal(holds(PINTLE_HOLD_JOINED), 1);
}

static void test_ends_while_held(void **state)
{
	struct opened c = opened(&plain4, 0);

	(void)state;
	check_acknowledged(c, sent(c, 0, ACK, request, 20), 20);
	assert_verdict(sent(c, 0, RST | ACK, NULL, 0), DROPPED);    /* too old */
	check_acknowledged(c, sent(c, 21, RST | ACK, NULL, 0), 20); /* may be the client's */
	assert_int_equal(held(), 1);
	assert_verdict(sent(c, 20, RST | ACK, NULL, 0), DROPPED);
	assert_int_equal(held(), 0);
	assert_int_equal(holds(PINTLE_HOLD_RESET), 1);
	c = opened(&plain4, 0);
	check_acknowledged(c, sent(c, 0, ACK, request, 20), 20);
	check_reset(c, sent(c, 20, FIN | ACK, NULL, 0)); /* decided by what is there */
	assert_int_equal(holds(PINTLE_HOLD_CLOSED), 1);
	assert_int_equal(held(), 0);
}

/* ---- each test ------------------------------------------------------------------------------- */

static int make_hand(void **state)
{
	struct pintle_node n = {.abi_version = PINTLE_ABI_VERSION};

	if (make_world(state))
		return -1;
	n.heartbeat_ns = w.now;
	memcpy(n.hint_key, secret.key, sizeof(n.hint_key));
	put(node, 0U, &n);
	w.pool.decide = PINTLE_DECIDE_REQUEST;
	w.pool.asked = (struct pintle_asked){.headers = {{"x-session-id:"}}};
	put_pool();
	return 0;
}

#define hand_test(f) cmocka_unit_test_setup_teardown(f, make_hand, unmake_world)

static void test_on_a_newer_kernel(void **state)
{
	(void)state;
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		hand_test(test_syn),
		hand_test(test_an_option_that_is_cut_off),
		hand_test(test_a_checksum_to_be_completed),
		hand_test(test_left_to_the_kernel),
		hand_test(test_left_alone_in_mode_off),
		hand_test(test_dropped),
		hand_test(test_cut_short),
		hand_test(test_epochs),
		hand_test(test_other_cookies),
		hand_test(test_how_many_hold),
		hand_test(test_ahead),
		hand_test(test_not_ahead),
		hand_test(test_right_behind_a_syn),
		hand_test(test_held_by_another_cpu),
		hand_test(test_a_brake_on_guesses),
		hand_test(test_a_guess_in_between),
		hand_test(test_bad_checksums),
		hand_test(test_pieces),
		hand_test(test_many_at_once),
		hand_test(test_large_segments),
		hand_test(test_urgent),
		hand_test(test_ends_while_held),
	};
	const struct CMUnitTest none[] = {
		cmocka_unit_test(test_on_a_newer_kernel),
	};

	if (!kernel_hands_over())
		return cmocka_run_group_tests_name("handshake", none, NULL, NULL);
	return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
