/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-shot, the TC program: packet in, packet out, verdict, counter. Every request is tried in
 * every framing, at odd and even offsets, and the checksum of the resulting packet is computed anew
 * here.
 *
 * To add a case, add a row to `requests`.
 */
#include "support_bpf.h"
#include "support_packet.h"
#include "handoff/oneshot_edit.bpf.h"

#include <arpa/inet.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <sched.h>

#define POOL     3
#define POOL_GEN 7
#define GO       ((__u32)TC_ACT_UNSPEC)

struct world {
	struct pintle_bpf *skel;
	struct pintle_pool pool;
	uint16_t port; /* of the next client */
};
static struct world w;

#define map_fd(name) bpf_map__fd(w.skel->maps.name)
#define put(name, key, value)                                                                      \
	do {                                                                                       \
		__typeof__(key) key_ = (key);                                                      \
		assert_int_equal(bpf_map_update_elem(map_fd(name), &key_, value, BPF_ANY), 0);     \
	} while (0)

/* ---- maps ---------------------------------------------------------------------- */

static void address_of(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	if (strchr(text, ':')) {
		assert_int_equal(inet_pton(AF_INET6, text, out), 1);
		return;
	}
	out[10] = out[11] = 0xff;
	assert_int_equal(inet_pton(AF_INET, text, out + 12), 1);
}

static void put_place(const char *address, uint32_t bits, uint16_t port, uint32_t pool,
		      uint32_t generation)
{
	struct pintle_frontend_key key = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + bits + (strchr(address, ':') ? 0 : 96),
		.port = port,
		.protocol = IPPROTO_TCP,
	};
	struct pintle_ref ref = {pool, generation};

	address_of(address, key.address);
	put(oneshot, key, &ref);
}

static void put_pool(void)
{
	put(pools, (uint32_t)POOL, &w.pool);
}

static void put_override(uint32_t generation, uint32_t flags, uint32_t requests)
{
	struct pintle_override o = {.generation = generation, .flags = flags, .requests = requests};

	put(overrides, (uint32_t)POOL, &o);
}

static uint64_t counter(uint32_t pool, uint32_t oneshot)
{
	uint32_t at = PINTLE_ONESHOT_STAT(pool, oneshot);
	static uint64_t by_cpu[1024];
	uint64_t sum = 0;

	assert_in_range(libbpf_num_possible_cpus(), 1, ARRAY_SIZE(by_cpu));
	assert_int_equal(bpf_map_lookup_elem(map_fd(oneshot_stats), &at, by_cpu), 0);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += by_cpu[i];
	return sum;
}

static uint64_t first_segments(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < PINTLE_MAX_ONESHOTS; i++)
		sum += counter(POOL, i);
	return sum;
}

/* ---- packets -------------------------------------------------------------------- */

/* Runs the program on a packet, and returns the resulting packet. */
static struct packet pass(const struct packet *in)
{
	static uint8_t out[sizeof(in->bytes)];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->bytes, .data_size_in = (__u32)in->size,
		    .data_out = out, .data_size_out = sizeof(out));
	const struct bpf_program *program =
		in->framing->bare ? w.skel->progs.pintle_oneshot3 : w.skel->progs.pintle_oneshot;
	struct packet p = *in;

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), 0);
	assert_int_equal(opts.retval, GO);
	assert_int_equal(opts.data_size_out, in->size);
	memcpy(p.bytes, out, in->size);
	return p;
}

/* The packet that must result if the data of `in` become `data`: all other bytes are the same,
 * except for the checksum, which must be right. */
static bool becomes(const struct packet *out, const struct packet *in, const void *data,
		    size_t size)
{
	struct packet want = *in;

	memcpy(want.bytes + want.data, data, size);
	memcpy(want.bytes + want.tcp + 16, out->bytes + out->tcp + 16, 2);
	return same(out, &want) && !tcp_checksum(out);
}

/* ---- clients --------------------------------------------------------------------- */

#define ISN 0xfffffffeU /* sequence numbers wrap */

struct client {
	const struct framing *framing;
	uint16_t port;
};

static const struct framing plain4 = {"IPv4", .family = AF_INET};
static const struct framing plain6 = {"IPv6", .family = AF_INET6};

static struct client client_of(const struct framing *f)
{
	if (!++w.port)
		w.port = 1;
	return (struct client){f, w.port};
}

/* A segment of the connection that begins at byte `at` of the stream. */
static struct packet segment(struct client c, uint32_t at, int flags, const char *data, size_t size)
{
	return make(c.framing, c.port, ISN + 1 + at, flags, data, size);
}

/* Whether the program left the packet as it was. */
static bool untouched(struct client c, uint32_t at, int flags, const char *data, size_t size)
{
	struct packet in = segment(c, at, flags, data, size), out = pass(&in);

	return same(&in, &out);
}

/* A client after its handshake. */
static struct client opened(const struct framing *f)
{
	struct client c = client_of(f);
	struct packet syn = make(f, c.port, ISN, SYN, NULL, 0), out = pass(&syn);

	assert_true(same(&syn, &out));
	assert_true(untouched(c, 0, ACK, NULL, 0));
	return c;
}

/* ---- requests -------------------------------------------------------------------- */

#define HTTP10 0x100

static const struct request {
	const char *says, *in;
	const char *out; /* NULL: unchanged */
	int result;      /* enum pintle_oneshot; with HTTP10, in a pool that allows it */
} requests[] = {
	/* (a) the Connection header */
	{"openai, requests, Node: keep-alive",
	 "POST /v1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nA: b\r\n\r\n{}",
	 "POST /v1 HTTP/1.1\r\nHost: a\r\nConnection:      close\r\nA: b\r\n\r\n{}",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"as the first header", "GET / HTTP/1.1\r\nConnection: keep-alive\r\nHost: a\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:      close\r\nHost: a\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"as the last", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nConnection:      close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"small letters, no blank", "GET / HTTP/1.1\r\nconnection:keep-alive\r\n\r\n",
	 "GET / HTTP/1.1\r\nconnection:     close\r\n\r\n", PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"capitals, blanks around", "GET / HTTP/1.1\r\nCONNECTION: \t KEEP-ALIVE \t\r\n\r\n",
	 "GET / HTTP/1.1\r\nCONNECTION: \t        close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"a list, the word first", "GET / HTTP/1.1\r\nConnection: Keep-Alive, TE\r\nTE: x\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:      close, TE\r\nTE: x\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"a list, the word last", "GET / HTTP/1.1\r\nConnection: TE ,keep-alive\r\nTE: x\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection: TE ,     close\r\nTE: x\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"twice: one close is enough",
	 "GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: keep-alive\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:      close\r\nConnection: keep-alive\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"before a header that could be spared",
	 "GET / HTTP/1.1\r\nAccept-Encoding: gzip, br\r\nConnection: keep-alive\r\n\r\n",
	 "GET / HTTP/1.1\r\nAccept-Encoding: gzip, br\r\nConnection:      close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"with a chunked body",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection:      close\r\n\r\n0\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"the body says so too",
	 "POST / HTTP/1.1\r\nConnection: keep-alive\r\n\r\nConnection: keep-alive\r\n\r\n",
	 "POST / HTTP/1.1\r\nConnection:      close\r\n\r\nConnection: keep-alive\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"only the body says so",
	 "POST / HTTP/1.1\r\nHost: a\r\n\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"another header ends like it", "GET / HTTP/1.1\r\nCache-Connection: keep-alive\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"another word begins like it", "GET / HTTP/1.1\r\nConnection: keep-alived\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"close already", "GET / HTTP/1.1\r\nConnection: close\r\nUser-Agent: 0123456789\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_CLOSE},
	{"close in a list", "GET / HTTP/1.1\r\nConnection: keep-alive, Close\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_CLOSE},
	{"close in a second header",
	 "GET / HTTP/1.1\r\nConnection: keep-alive\r\nconnection: close\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_CLOSE},

	/* an h2c offer */
	{"Java: h2c",
	 "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	 "HTTP2-Settings: AAEA\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:                   close\r\nUpgrade: h2c\r\n"
	 "HTTP2-Settings: AAEA\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"h2c with keep-alive, Upgrade before",
	 "GET / HTTP/1.1\r\nupgrade:H2C\r\nConnection: keep-alive, upgrade\r\n\r\n",
	 "GET / HTTP/1.1\r\nupgrade:H2C\r\nConnection:               close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"the shortest", "GET / HTTP/1.1\r\nConnection:upgrade\r\nUpgrade: h2c\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:  close\r\nUpgrade: h2c\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},

	/* an offer of TLS */
	{"Apache's HttpClient",
	 "POST / HTTP/1.1\r\nAccept-Encoding: gzip, x-gzip\r\nUpgrade: TLS/1.2\r\n"
	 "Connection: Upgrade\r\n\r\n",
	 "POST / HTTP/1.1\r\nAccept-Encoding: gzip, x-gzip\r\nUpgrade: TLS/1.2\r\n"
	 "Connection:   close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"TLS of any version, or h2c",
	 "GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: tls/1.3, h2c,TLS/1.0\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:               close\r\nUpgrade: tls/1.3, h2c,TLS/1.0\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"TLS, in two lines",
	 "GET / HTTP/1.1\r\nUpgrade: TLS/1.2\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
	 "GET / HTTP/1.1\r\nUpgrade: TLS/1.2\r\nUpgrade: h2c\r\nConnection:   close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},

	/* (b) a header that is not needed */
	{"Go, aiohttp", "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nA: b\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nConnection:     close\r\nA: b\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"curl", "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nConnection:       close\r\nAccept: */*\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"in the order of the list, not of the request",
	 "GET / HTTP/1.1\r\nUser-Agent: 0123456789\r\nACCEPT-ENCODING: gzip\r\n\r\n",
	 "GET / HTTP/1.1\r\nUser-Agent: 0123456789\r\nConnection:     close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"the first too short", "GET / HTTP/1.1\r\nAccept-Encoding:\r\nUser-Agent: 12345\r\n\r\n",
	 "GET / HTTP/1.1\r\nAccept-Encoding:\r\nConnection: close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"17 characters are enough", "GET / HTTP/1.1\r\nAccept-Encoding:a\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"16 are not", "GET / HTTP/1.1\r\nUser-Agent: 1234\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"a name that goes on", "GET / HTTP/1.1\r\nUser-Agents: 0123456789\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"a blank before the colon", "GET / HTTP/1.1\r\nUser-Agent : 0123456789\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"not in the list", "GET / HTTP/1.1\r\nX-Something: 0123456789\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"another Connection header stays",
	 "GET / HTTP/1.1\r\nConnection: TE\r\nTE: x\r\nUser-Agent: 0123456789\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection: TE\r\nTE: x\r\nConnection:      close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"with a chunked body",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUser-Agent: 012345\r\n\r\n0\r\n\r\n",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection:  close\r\n\r\n0\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"Expect stays",
	 "POST / HTTP/1.1\r\nExpect: 100-continue\r\nUser-Agent: curl/7.88.1\r\n\r\n",
	 "POST / HTTP/1.1\r\nExpect: 100-continue\r\nConnection:       close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},

	/* (c) the version */
	{"wrk", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_VERSION | HTTP10},
	{"no header at all", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_VERSION | HTTP10},
	{"not unless the pool says so", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NO_ROOM},
	{"a header that can be spared goes before", "GET / HTTP/1.1\r\nUser-Agent: 012345\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:  close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER | HTTP10},
	{"not with a chunked body", "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n0\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_TRANSFER_ENCODING | HTTP10},
	{"nor with any other coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_TRANSFER_ENCODING | HTTP10},

	/* left alone */
	{"a WebSocket",
	 "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUser-Agent: 012345\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_UPGRADE | HTTP10},
	{"Firefox's WebSocket",
	 "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UPGRADE},
	{"h2c or a WebSocket",
	 "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UPGRADE},
	{"TLS or a WebSocket",
	 "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: TLS/1.2, websocket\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UPGRADE},
	{"what begins like TLS", "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: TLS\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_UPGRADE},
	{"TLS, which the client insists on",
	 "OPTIONS * HTTP/1.1\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UPGRADE},
	{"h2c, offered in two lines",
	 "GET / HTTP/1.1\r\nConnection: upgrade\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_UPGRADE},
	{"an upgrade to what is not said",
	 "GET / HTTP/1.1\r\nConnection: Upgrade, keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UPGRADE},
	{"a tunnel", "CONNECT a:1 HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UPGRADE},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_VERSION | HTTP10},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NULL, PINTLE_ONESHOT_LEFT_VERSION},
	{"HTTP/1.11", "GET / HTTP/1.11\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"HTTP/0.9", "GET /\r\n\r\n", NULL, PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"no target", "GET HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"TLS", "\x16\x03\x01\x02", NULL, PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"text, but not HTTP", "HELO there\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"an empty line before it", "\r\nGET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"headers that do not end", "GET / HTTP/1.1\r\nConnection: keep-alive\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_UNFINISHED},
	{"by one byte", "GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r", NULL,
	 PINTLE_ONESHOT_LEFT_UNFINISHED | HTTP10},
	{"a request line that does not", "GET /0123456789", NULL, PINTLE_ONESHOT_LEFT_UNFINISHED},
	{"one byte", "G", NULL, PINTLE_ONESHOT_LEFT_UNFINISHED},
	{"a line that goes on", "GET / HTTP/1.1\r\nUser-Agent: 0123456789\r\n more\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"a bare LF", "GET / HTTP/1.1\r\nUser-Agent: 01234\nA: b\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"a bare CR", "GET / HTTP/1.1\r\nUser-Agent: 01234\rA: b\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"LF alone everywhere", "GET / HTTP/1.1\nConnection: keep-alive\n\n", NULL,
	 PINTLE_ONESHOT_LEFT_NOT_HTTP},
	{"a blank before the colon of Connection",
	 "GET / HTTP/1.1\r\nConnection : keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED | HTTP10},
	{"a TAB before that of Transfer-Encoding",
	 "POST / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED | HTTP10},
	{"another header that begins like Connection",
	 "GET / HTTP/1.1\r\nConnection-Id : 1\r\nUser-Agent: 012345\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection-Id : 1\r\nConnection:  close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"Proxy-Connection, which some servers obey",
	 "GET / HTTP/1.1\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"Proxy-Connection alone", "GET / HTTP/1.1\r\nproxy-connection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED | HTTP10},
	{"another header of proxies",
	 "GET / HTTP/1.1\r\nProxy-Authorization: a\r\nUser-Agent: 012345\r\n\r\n",
	 "GET / HTTP/1.1\r\nProxy-Authorization: a\r\nConnection:  close\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER},
	{"a control character", "GET / HTTP/1.1\r\nA: \x01\r\nConnection: keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"a long Connection header",
	 "GET / HTTP/1.1\r\nConnection: keep-alive, "
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "\r\n\r\n",
	 "GET / HTTP/1.1\r\nConnection:      close, "
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "\r\n\r\n",
	 PINTLE_ONESHOT_REWRITTEN_CONNECTION},
	{"an empty word in it", "GET / HTTP/1.1\r\nConnection: ,keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"a TAB in it", "GET / HTTP/1.1\r\nConnection: TE,\tkeep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"a word in it that begins like close",
	 "GET / HTTP/1.1\r\nConnection: clos,keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"that begins like keep-alive", "GET / HTTP/1.1\r\nConnection: K, Keep-Alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"that begins like upgrade", "GET / HTTP/1.1\r\nConnection: upgrad , keep-alive\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_MALFORMED},
	{"an odd character in it", "GET / HTTP/1.1\r\nConnection: a;b, keep-alive\r\n\r\n", NULL,
	 PINTLE_ONESHOT_LEFT_MALFORMED},
	{"one too long to be read",
	 "GET / HTTP/1.1\r\nConnection: keep-alive, "
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaa\r\n\r\n",
	 NULL, PINTLE_ONESHOT_LEFT_MALFORMED},
};

static const struct framing framings[] = {
	{"IPv4", .family = AF_INET},
	{"IPv4, options of IP and TCP", .family = AF_INET, .ip_options = 3, .tcp_options = 3},
	{"IPv4, all the options there can be", .family = AF_INET, .ip_options = 10,
	 .tcp_options = 10},
	{"IPv4, VLAN", .family = AF_INET, .tags = 1, .tcp_options = 3},
	{"IPv4, two tags", .family = AF_INET, .tags = 2},
	{"IPv4, padded", .family = AF_INET, .padding = 7},
	{"IPv6", .family = AF_INET6},
	{"IPv6, options of TCP", .family = AF_INET6, .tcp_options = 3},
	{"IPv6, VLAN", .family = AF_INET6, .tags = 1},
	{"IPv6, padded", .family = AF_INET6, .padding = 1},
	{"IPv4, bare", .family = AF_INET, .bare = true, .from = "8.0.2.7"},
	{"IPv6, bare", .family = AF_INET6, .bare = true, .from = "2001:db8:86dd::7"},
};

/* The request with `shift` more bytes in its target, which moves everything behind the target. */
static size_t shifted(char *to, const char *request, size_t shift)
{
	const char *slash = strchr(request, '/');
	size_t head = slash && slash < strstr(request, " HTTP") ? (size_t)(slash - request) + 1 : 0;

	if (!head)
		shift = 0;
	memcpy(to, request, head);
	memset(to + head, 'x', shift);
	strcpy(to + head + shift, request + head);
	return strlen(to);
}

static void check_request(const struct request *r, const struct framing *f, size_t shift)
{
	char in_text[2048], out_text[2048];
	size_t size = shifted(in_text, r->in, shift);
	struct packet in, out, again;
	uint32_t result = (uint32_t)r->result & ~HTTP10;
	uint64_t before = counter(POOL, result), all = first_segments();
	struct client c = opened(f);

	assert_int_equal(shifted(out_text, r->out ?: r->in, shift), size);
	in = segment(c, 0, ACK, in_text, size);
	out = pass(&in);
	if (r->out ? !becomes(&out, &in, out_text, size) : !same(&out, &in))
		fail_msg("%s (%s, shift %zu): came out as %.*s", r->says, f->says, shift, (int)size,
			 (const char *)out.bytes + out.data);
	if (counter(POOL, result) != before + 1 || first_segments() != all + 1)
		fail_msg("%s (%s): not counted once as %u", r->says, f->says, result);
	/* The resulting packet passes a second device, and the original packet is sent again. */
	again = pass(&out);
	assert_true(same(&again, &out));
	again = pass(&in);
	assert_true(same(&again, &out));
	assert_int_equal(first_segments(), all + 1);
}

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		w.pool.rewrite.http10 = !!(requests[i].result & HTTP10);
		put_pool();
		for (size_t j = 0; j < ARRAY_SIZE(framings); j++)
			for (size_t shift = 0; shift < 9; shift++)
				check_request(&requests[i], &framings[j], shift);
	}
}

/* ---- long ones ------------------------------------------------------------------- */

static const char keep[] = "GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
static const char closed[] = "GET / HTTP/1.1\r\nConnection:      close\r\n\r\n";
#define KEEP (sizeof(keep) - 1)

/* The header at every possible place in a first segment of this size. */
static void test_anywhere_in_the_first_segment(void **state)
{
	const char *line = "Connection: keep-alive\r\n", *tail = "\r\n\r\n";
	char in[3000], out[3000];

	(void)state;
	for (size_t before = 0; before < 2900; before += before < 1100 ? 1 : 37) {
		size_t size = (size_t)sprintf(in, "GET /%0*d HTTP/1.1\r\nA: %0*d\r\n%s%s",
					      (int)before / 2 + 1, 0, (int)(before / 2) + 1, 0,
					      line, tail + 2);
		struct client c = opened(before & 1 ? &plain4 : &plain6);
		struct packet p = segment(c, 0, ACK, in, size), q = pass(&p);

		memcpy(out, in, size);
		memcpy(strstr(memcpy(out, in, size + 1), "keep-alive"), "     close", 10);
		if (!becomes(&q, &p, out, size))
			fail_msg("not so with %zu bytes before it", before);
	}
	assert_int_equal(first_segments(), counter(POOL, PINTLE_ONESHOT_REWRITTEN_CONNECTION));
}

/* Headers of every length up to the longest that can be overwritten; longer ones are left alone. */
static void test_lines_of_every_length(void **state)
{
	const char *head = "GET /abc HTTP/1.1\r\n", *tail = "\r\nA: b\r\n\r\n";

	(void)state;
	for (int length = 12; length < 300; length++) {
		char in[600], out[600];
		bool fits = length >= ONESHOT_LINE_MIN && length <= ONESHOT_LINE_MAX;
		size_t size =
			(size_t)sprintf(in, "%sUser-Agent: %0*d%s", head, length - 12, 0, tail);
		struct client c = opened(length & 1 ? &plain4 : &plain6);
		struct packet p, q;

		if (length == 12)
			size = (size_t)sprintf(in, "%sUser-Agent: %s", head, tail);
		sprintf(out, "%sConnection:%*s%s", head, length - 11, "close", tail);
		p = segment(c, 0, ACK, in, size);
		q = pass(&p);
		if (fits ? !becomes(&q, &p, out, size) : !same(&q, &p))
			fail_msg("not so with a line of %d", length);
	}
	assert_int_equal(counter(POOL, PINTLE_ONESHOT_REWRITTEN_OTHER_HEADER),
			 ONESHOT_LINE_MAX - ONESHOT_LINE_MIN + 1);
}

/* ---- which segment ----------------------------------------------------------------- */

static bool rewritten(struct client c, uint32_t at, int flags)
{
	struct packet in = segment(c, at, flags, keep, KEEP), out = pass(&in);

	return becomes(&out, &in, closed, KEEP);
}

static void test_only_the_first_segment(void **state)
{
	struct client c = opened(&plain4);

	(void)state;
	assert_true(rewritten(c, 0, ACK));
	assert_true(untouched(c, 65536, ACK, keep, KEEP));
	/* The connection is forgotten: a segment that looks like its first one is left alone. */
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	assert_int_equal(first_segments(), 1);
}

/* What passed TC may be lost behind it, and what comes after it not. No window is so large that the
 * client could send 64 KiB more before the first segment is acknowledged. */
static void test_lost_behind_tc(void **state)
{
	struct client c = opened(&plain4);

	(void)state;
	for (uint32_t at = KEEP; at <= 65535; at += 4093) {
		assert_true(rewritten(c, 0, ACK));
		assert_true(untouched(c, at, ACK, keep, KEEP));
	}
	assert_true(rewritten(c, 0, ACK));
	assert_int_equal(first_segments(), 1);
}

/* The hand-off ends the former connection from the client's port behind the next one's SYN. */
static void test_the_end_of_the_former_connection(void **state)
{
	const uint32_t due[] = {(uint32_t)-1, (uint32_t)-70000, 5, 70000, 1U << 31};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(due); i++) {
		struct client c = opened(&plain4);

		assert_true(untouched(c, due[i], RST, NULL, 0));
		assert_true(rewritten(c, 0, ACK));
	}
}

static void test_sent_again_it_is_rewritten_alike(void **state)
{
	struct client c = opened(&plain4);

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(rewritten(c, 0, ACK));
	/* Pure acknowledgements are not the first segment with data. */
	assert_true(untouched(c, KEEP, ACK, NULL, 0));
	assert_true(rewritten(c, 0, ACK));
	assert_int_equal(first_segments(), 1);
}

/* A first segment with only a part of the request is left alone. Sent again with more data it must
 * stay so, because the server may have received the first copy. */
static void test_left_alone_it_stays_so_with_more_behind_it(void **state)
{
	(void)state;
	for (size_t size = 1; size < KEEP; size++) {
		struct client c = opened(&plain4);

		assert_true(untouched(c, 0, ACK, keep, size));
		assert_true(untouched(c, 0, ACK, keep, KEEP));
	}
	assert_int_equal(first_segments(), KEEP - 1);
	assert_int_equal(counter(POOL, PINTLE_ONESHOT_LEFT_UNFINISHED), KEEP - 1);
}

static void test_one_that_overtakes_the_first(void **state)
{
	struct client c = opened(&plain6);

	(void)state;
	assert_true(untouched(c, KEEP, ACK, keep, KEEP));
	assert_true(rewritten(c, 0, ACK));
	assert_true(untouched(c, KEEP, ACK, keep, KEEP));
}

static void test_ends_are_forgotten(void **state)
{
	const int ends[] = {FIN | ACK, RST, RST | ACK};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct client c = opened(&plain4);

		assert_true(untouched(c, 0, ends[i], NULL, 0));
		assert_true(untouched(c, 0, ACK, keep, KEEP));
		c = opened(&plain4);
		assert_true(rewritten(c, 0, ACK));
		assert_true(untouched(c, KEEP, ends[i], NULL, 0));
		assert_true(untouched(c, 0, ACK, keep, KEEP));
	}
	assert_int_equal(first_segments(), ARRAY_SIZE(ends));
}

static void test_the_only_segment_may_end_it(void **state)
{
	struct client c = opened(&plain4);

	(void)state;
	assert_true(rewritten(c, 0, FIN | ACK));
	assert_true(rewritten(c, 0, FIN | ACK));
}

static void test_without_a_syn_nothing(void **state)
{
	struct client c = client_of(&plain4);

	(void)state;
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	/* A SYN-ACK is no SYN. */
	assert_true(untouched(c, (uint32_t)-1, SYN | ACK, NULL, 0));
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	assert_int_equal(first_segments(), 0);
}

static void test_a_port_used_again(void **state)
{
	struct client c = opened(&plain4);
	struct packet syn = make(&plain4, c.port, 4000, SYN, NULL, 0), in, out;

	(void)state;
	assert_true(rewritten(c, 0, ACK));
	pass(&syn);
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	in = make(&plain4, c.port, 4001, ACK, keep, KEEP);
	out = pass(&in);
	assert_true(becomes(&out, &in, closed, KEEP));
	assert_int_equal(first_segments(), 2);
}

/* With TCP Fast Open, a SYN may carry the request. */
static void test_a_syn_with_data(void **state)
{
	struct client c = client_of(&plain4);
	struct packet syn = make(&plain4, c.port, ISN, SYN, keep, KEEP), out = pass(&syn);

	(void)state;
	assert_true(becomes(&out, &syn, closed, KEEP));
	/* The server did not accept the SYN's data, and the client sends them again. */
	assert_true(rewritten(c, 0, ACK));
	assert_int_equal(first_segments(), 1);
}

/* ---- which connections -------------------------------------------------------------- */

/* clang-format off */
static const struct { struct framing framing; bool ours; } places[] = {
	{{"ours", .family = AF_INET}, true},
	{{"ours, IPv6", .family = AF_INET6}, true},
	{{"another port", AF_INET, .to_port = 8001}, false},
	{{"the port with its bytes swapped", AF_INET, .to_port = 0x401f}, false},
	{{"another address", AF_INET, .to = "10.77.0.2"}, false},
	{{"another address, IPv6", AF_INET6, .to = "fd77::2"}, false},
	{{"in a prefix", AF_INET, .to = "10.77.1.9"}, true},
	{{"beside it", AF_INET, .to = "10.77.2.9"}, false},
	{{"in a prefix, IPv6", AF_INET6, .to = "fd77:1::9"}, true},
	{{"a pool that is gone", AF_INET, .to = "10.77.3.1"}, false},
	{{"a pool never made", AF_INET, .to = "10.77.3.2"}, false},
	{{"a pool beyond the last", AF_INET, .to = "10.77.3.3"}, false},
	{{"UDP", AF_INET, .protocol = IPPROTO_UDP}, false},
	{{"UDP, IPv6", AF_INET6, .protocol = IPPROTO_UDP}, false},
	{{"an extension header", AF_INET6, .protocol = IPPROTO_DSTOPTS}, false},
	{{"the first fragment", AF_INET, .fragment = 0x2000}, false},
	{{"the last", AF_INET, .fragment = 100}, false},
	{{"not to be fragmented", AF_INET, .fragment = 0x4000}, true},
	{{"three tags", AF_INET, .tags = 3}, false},
};
/* clang-format on */

static void test_whose(void **state)
{
	(void)state;
	put_place("10.77.1.0", 24, 8000, POOL, POOL_GEN);
	put_place("fd77:1::", 64, 8000, POOL, POOL_GEN);
	put_place("10.77.3.1", 32, 8000, POOL, POOL_GEN - 1);
	put_place("10.77.3.2", 32, 8000, POOL + 1, 0);
	put_place("10.77.3.3", 32, 8000, PINTLE_MAX_POOLS, POOL_GEN);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct client c = opened(&places[i].framing);

		if (places[i].ours ? !rewritten(c, 0, ACK) : !untouched(c, 0, ACK, keep, KEEP))
			fail_msg("not so: %s", places[i].framing.says);
	}
}

static void test_as_they_come(void **state)
{
	struct client c;

	(void)state;
	w.pool.requests = PINTLE_REQUESTS_AS_THEY_COME;
	put_pool();
	c = opened(&plain4);
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	assert_int_equal(first_segments(), 0);
	/* When one-shot is turned on, existing connections stay as they are. */
	w.pool.requests = PINTLE_REQUESTS_ONE_PER_CONNECTION;
	put_pool();
	assert_true(untouched(c, 0, ACK, keep, KEEP));
}

/* When it is turned off between the SYN and the first segment, the server has that as it came. */
static void test_turned_off_and_on(void **state)
{
	struct client c;

	(void)state;
	c = opened(&plain4);
	w.pool.requests = PINTLE_REQUESTS_AS_THEY_COME;
	put_pool();
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	w.pool.requests = PINTLE_REQUESTS_ONE_PER_CONNECTION;
	put_pool();
	assert_true(untouched(c, 0, ACK, keep, KEEP));
}

/* Handshakes of the hand-off are not one-shot's; where that rests, they are. */
static void test_decided_by_request(void **state)
{
	struct client c;

	(void)state;
	w.pool.decide = PINTLE_DECIDE_REQUEST;
	w.pool.decided_by = PINTLE_HOOK_LOOKUP;
	put_pool();
	c = opened(&plain4);
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	assert_int_equal(first_segments(), 0);
	w.pool.decide = PINTLE_DECIDE_RESTS;
	put_pool();
	c = opened(&plain4);
	assert_false(untouched(c, 0, ACK, keep, KEEP));
	assert_int_equal(first_segments(), 1);
}

static void test_what_the_operator_set_goes_before_the_file(void **state)
{
	struct client c;

	(void)state;
	put_override(POOL_GEN, PINTLE_OVERRIDE_REQUESTS, PINTLE_REQUESTS_AS_THEY_COME);
	c = opened(&plain4);
	assert_true(untouched(c, 0, ACK, keep, KEEP));
	/* Connections of another pool, and of another setting. */
	put_override(POOL_GEN - 1, PINTLE_OVERRIDE_REQUESTS, PINTLE_REQUESTS_AS_THEY_COME);
	assert_true(rewritten(opened(&plain4), 0, ACK));
	put_override(POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_REQUESTS_AS_THEY_COME);
	assert_true(rewritten(opened(&plain4), 0, ACK));
	w.pool.requests = PINTLE_REQUESTS_AS_THEY_COME;
	put_pool();
	assert_true(untouched(opened(&plain4), 0, ACK, keep, KEEP));
	put_override(POOL_GEN, PINTLE_OVERRIDE_REQUESTS, PINTLE_REQUESTS_ONE_PER_CONNECTION);
	assert_true(rewritten(opened(&plain4), 0, ACK));
	assert_int_equal(first_segments(), 3);
}

/* Frames that are cut off at every byte that the kernel shows to a program. */
static void test_cut_short(void **state)
{
	const struct framing *const all[] = {&plain4, &plain6, &framings[3]};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct client c = opened(all[i]);
		struct packet whole = segment(c, 0, ACK, keep, KEEP);

		for (size_t size = whole.tcp; size < whole.size; size++) {
			struct packet cut = whole, out;

			cut.size = size;
			out = pass(&cut);
			assert_true(same(&cut, &out));
		}
		assert_true(rewritten(opened(all[i]), 0, ACK));
	}
}

/* ---- each test ------------------------------------------------------------------------ */

static int make_world(void **state)
{
	(void)state;
	w = (struct world){.skel = load_programs("pintle_oneshot", "pintle_oneshot3"),
			   .pool = {
				   .generation = POOL_GEN,
				   .requests = PINTLE_REQUESTS_ONE_PER_CONNECTION,
				   .rewrite.headers = {{"accept-encoding:"}, {"user-agent:"}},
			   }};
	if (!w.skel)
		return -1;
	put_pool();
	put_place("10.77.0.1", 32, 8000, POOL, POOL_GEN);
	put_place("fd77::1", 128, 8000, POOL, POOL_GEN);
	return 0;
}

static int unmake_world(void **state)
{
	(void)state;
	pintle_bpf__destroy(w.skel);
	return 0;
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, make_world, unmake_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_requests),
		world_test(test_anywhere_in_the_first_segment),
		world_test(test_lines_of_every_length),
		world_test(test_only_the_first_segment),
		world_test(test_sent_again_it_is_rewritten_alike),
		world_test(test_left_alone_it_stays_so_with_more_behind_it),
		world_test(test_one_that_overtakes_the_first),
		world_test(test_lost_behind_tc),
		world_test(test_the_end_of_the_former_connection),
		world_test(test_ends_are_forgotten),
		world_test(test_the_only_segment_may_end_it),
		world_test(test_without_a_syn_nothing),
		world_test(test_a_port_used_again),
		world_test(test_a_syn_with_data),
		world_test(test_whose),
		world_test(test_as_they_come),
		world_test(test_turned_off_and_on),
		world_test(test_decided_by_request),
		world_test(test_what_the_operator_set_goes_before_the_file),
		world_test(test_cut_short),
	};

	return cmocka_run_group_tests_name("oneshot", tests, NULL, NULL);
}
