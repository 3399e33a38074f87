/* SPDX-License-Identifier: Apache-2.0 */
/* Both hooks attached, and real connections over loopback: what listen(), connect() and close()
 * leave in the maps. No daemon runs; the test fills the maps as a daemon would. */
#define PROGRAMS "pintle_lookup", "pintle_servers", "pintle_recount", "pintle_recount_pending"
#define PACKETS_ARE_REAL
#include "support_attached.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define FRONTEND_V4 "127.77.0.1" /* every address of 127/8 is local, so no route is needed */
#define FRONTEND_V6 "::1"
#define PORT        8000

/* ---- sockets --------------------------------------------------------------------------------- */

/* Makes a listener at this address, or at any address with this port, the listener of endpoint e.
 */
static void put_address(uint32_t e, const char *address, uint16_t port)
{
	struct pintle_address_key key = {.port = port};
	struct pintle_address to = {.endpoint = e,
				    .generation = GEN(e),
				    .pool = POOL,
				    .flags = address ? 0 : PINTLE_ADDRESS_ANY};

	if (address)
		address_of(address, key.address);
	put(addresses, key, &to);
}

static void make_ready(uint32_t e)
{
	struct pintle_score s = {
		.generation = GEN(e), .scraped_ns = monotonic_ns(), .model = {{0, 1000}}};

	put(scores, e, &s);
}

/* Makes endpoint e ready, with a server that listens at any port of `address`. */
static void serve(uint32_t e, const char *address)
{
	struct pintle_endpoint is = {
		.generation = GEN(e), .pool = POOL, .pool_generation = POOL_GEN};
	int fd = bound(IPPROTO_TCP, address, 0);

	put(endpoints, e, &is);
	put_address(e, address, port_of(fd));
	w.listener[e] = fd;
	w.cookie[e] = cookie_of(fd);
	w.pool.members[e] = (struct pintle_ref){e, GEN(e)};
	w.pool.member_count = MAX(w.pool.member_count, e + 1);
	put_pool();
	assert_int_equal(listen(fd, 64), 0);
	make_ready(e);
}

/* Returns a client's socket connected to a frontend, or -errno. */
static int client(const char *address)
{
	int fd = make_client(), err = connect_to(fd, address, PORT);

	if (!err)
		return fd;
	close(fd);
	return err;
}

struct pair {
	int client, server;
};

static struct pair open_pair(const char *address, int listener)
{
	struct pair p = {.client = client(address)};

	struct pollfd ready = {listener, POLLIN, 0};

	if (p.client < 0)
		fail_msg("connect: %s", strerror(-p.client));
	assert_int_equal(poll(&ready, 1, 20000), 1);
	p.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.server >= 0);
	return p;
}

static void close_pair(struct pair p)
{
	close(p.client);
	close(p.server);
}

static uint32_t slots_used(uint32_t e)
{
	uint32_t used = 0;
	uint64_t cookie;

	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = e * PINTLE_SOCKETS_PER_ENDPOINT + i;

		used += !bpf_map_lookup_elem(map_fd(sockets), &slot, &cookie);
	}
	return used;
}

/* ---- what listen() does ------------------------------------------------------------------------
 */

static void test_listen_registers(void **state)
{
	uint64_t before = monotonic_ns(), cookie;
	struct pintle_health h;

	(void)state;
	serve(1, "127.0.0.1");
	h = health_of(1);
	assert_in_range(h.listening_since_ns, before, monotonic_ns());
	assert_int_equal(h.listeners, 1);
	assert_int_equal(h.families, PINTLE_FAMILY_V4);
	assert_int_equal(h.unsteerable, 0);
	get(sockets, 1U * PINTLE_SOCKETS_PER_ENDPOINT, &cookie);
	assert_int_equal(cookie, w.cookie[1]);
	close_listener(1);
	h = health_of(1);
	assert_int_equal(h.listening_since_ns, 0);
	assert_int_equal(h.listeners, 0);
	assert_int_equal(h.families, 0);
	assert_int_equal(slots_used(1), 0);
}

static void test_listeners_of_others_are_left_alone(void **state)
{
	int other;

	(void)state;
	serve(0, "127.0.0.1");
	other = bound(IPPROTO_TCP, "127.0.0.2", 0);
	put_address(0, "127.0.0.1", port_of(other)); /* the same port at another address */
	assert_int_equal(listen(other, 1), 0);
	assert_int_equal(health_of(0).listeners, 1);
	close(other);
}

/* Makes endpoint 0, with a bare port. */
static void serve_everywhere(void)
{
	serve(0, "::1");
	close_listener(0);
	w.listener[0] = bound(IPPROTO_TCP, "::", 0);
	put_address(0, NULL, port_of(w.listener[0]));
	assert_int_equal(listen(w.listener[0], 16), 0);
	make_ready(0);
}

static void test_a_wildcard_listener_serves_an_endpoint_by_port(void **state)
{
	struct pair p;

	(void)state;
	serve_everywhere();
	assert_int_equal(health_of(0).families, PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6 |
							PINTLE_FAMILY_ANY_V4 |
							PINTLE_FAMILY_ANY_V6);
	p = open_pair(FRONTEND_V4, w.listener[0]);
	close_pair(p);
	p = open_pair(FRONTEND_V6, w.listener[0]);
	close_pair(p);
}

static void close_in_order(bool first_first)
{
	struct pair p;
	int second;

	serve(0, "127.0.0.1");
	close_listener(0);
	w.listener[0] = bound(IPPROTO_TCP, "127.0.0.1", 18001);
	second = bound(IPPROTO_TCP, "127.0.0.1", 18001);
	put_address(0, "127.0.0.1", 18001);
	assert_int_equal(listen(w.listener[0], 16), 0);
	assert_int_equal(listen(second, 16), 0);
	make_ready(0);
	assert_int_equal(health_of(0).listeners, 2);
	assert_int_equal(slots_used(0), 2);
	if (first_first) {
		close(w.listener[0]);
		w.listener[0] = second;
	} else {
		close(second);
	}
	assert_int_equal(health_of(0).listeners, 1);
	assert_int_equal(slots_used(0), 1);
	for (int i = 0; i < 8; i++) {
		p = open_pair(FRONTEND_V4, w.listener[0]);
		close_pair(p);
	}
	close_listener(0);
	assert_int_equal(health_of(0).listening_since_ns, 0);
}

static void test_two_listeners_the_first_closes_first(void **state)
{
	(void)state;
	close_in_order(true);
}

static void test_two_listeners_the_second_closes_first(void **state)
{
	(void)state;
	close_in_order(false);
}

static void test_an_mptcp_listener_is_said_to_be_unsteerable(void **state)
{
	int fd = bound(IPPROTO_MPTCP, "127.0.0.1", 0);
	struct pintle_endpoint is = {
		.generation = GEN(0), .pool = POOL, .pool_generation = POOL_GEN};

	(void)state;
	if (fd < 0)
		skip(); /* this kernel has no MPTCP */
	put(endpoints, 0U, &is);
	put_address(0, "127.0.0.1", port_of(fd));
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(health_of(0).unsteerable, PINTLE_UNSTEERABLE_MPTCP);
	assert_true(health_of(0).error < 0);
	assert_int_equal(health_of(0).listening_since_ns, 0);
	assert_int_equal(slots_used(0), 0);
	close(fd);
}

/* ---- what a connection leaves -------------------------------------------------------------------
 */

static void test_a_connection_from_open_to_close(void **state)
{
	struct pintle_counters n;
	struct pintle_conn conn;
	struct pintle_tuple next;
	uint64_t began = monotonic_ns();
	struct pair p;

	(void)state;
	serve(0, "127.0.0.1");
	p = open_pair(FRONTEND_V4, w.listener[0]);
	n = counters_of(0);
	assert_int_equal(n.placed, 1);
	assert_int_equal(n.opened, 1);
	assert_int_equal(n.closed + n.failed, 0);
	assert_int_equal(bpf_map_get_next_key(map_fd(pending), NULL, &next), -ENOENT);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_LEAST_LOADED), 1);

	get(conns, p.server, &conn);
	assert_int_equal(conn.endpoint, 0);
	assert_int_equal(conn.generation, GEN(0));
	assert_int_equal(conn.pool, POOL);
	assert_int_equal(conn.pool_generation, POOL_GEN);
	assert_int_equal(conn.flags, PINTLE_CONN_STEERED);
	assert_int_equal(conn.counted, 1);
	assert_int_equal(conn.outcome, PINTLE_OUTCOME_LEAST_LOADED);
	assert_in_range(conn.opened_ns, began, monotonic_ns());

	assert_int_equal(write(p.client, "four", 4), 4);
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_int_equal(counters_of(0).closed, 1);
}

static void test_the_session_stays_where_it_was_opened(void **state)
{
	struct pair p;

	(void)state;
	serve(0, "127.0.0.1");
	serve(1, "127.0.0.1");
	make_unready(0);
	p = open_pair(FRONTEND_V4, w.listener[1]);
	close_pair(p);
	make_ready(0);
	wait_for(in_flight(1) == 0);
	for (int i = 0; i < 20; i++) {
		p = open_pair(FRONTEND_V4, w.listener[1]);
		close_pair(p);
		wait_for(in_flight(1) == 0);
	}
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_STICKY), 20);
	assert_int_equal(counters_of(0).placed, 0);
}

static void test_ipv6(void **state)
{
	struct pair p;

	(void)state;
	serve(0, "::1");
	serve(1, "127.0.0.1");
	for (int i = 0; i < 8; i++) {
		p = open_pair(FRONTEND_V6, w.listener[0]);
		close_pair(p);
		p = open_pair(FRONTEND_V4, w.listener[1]);
		close_pair(p);
	}
	wait_for(in_flight(0) == 0 && in_flight(1) == 0);
	assert_int_equal(counters_of(0).opened, 8);
	assert_int_equal(counters_of(1).opened, 8);
}

static void test_a_reset_ends_it_too(void **state)
{
	struct linger at_once = {.l_onoff = 1};
	struct pair p;

	(void)state;
	serve(0, "127.0.0.1");
	p = open_pair(FRONTEND_V4, w.listener[0]);
	assert_int_equal(setsockopt(p.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close_pair(p);
	wait_for(in_flight(0) == 0);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	serve(0, "127.0.0.1");
	close_listener(0);
	assert_int_equal(client(FRONTEND_V4), -ECONNREFUSED);
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	put_pool();
	assert_int_equal(client(FRONTEND_V4), -ECONNREFUSED);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 2);
}

static void test_a_server_that_comes_back(void **state)
{
	uint16_t port;
	struct pair p;

	(void)state;
	serve(0, "127.0.0.1");
	port = port_of(w.listener[0]);
	close_listener(0);
	w.listener[0] = bound(IPPROTO_TCP, "127.0.0.1", port);
	assert_int_equal(listen(w.listener[0], 16), 0);
	make_ready(0);
	p = open_pair(FRONTEND_V4, w.listener[0]);
	close_pair(p);
}

static void test_a_direct_connection_is_counted_apart(void **state)
{
	struct sockaddr_in6 to;
	int fd, zero = 0;

	(void)state;
	serve(0, "127.0.0.1");
	to = socket_address("127.0.0.1", port_of(w.listener[0]));
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	close_pair((struct pair){fd, accept4(w.listener[0], NULL, NULL, SOCK_CLOEXEC)});
	wait_for(health_of(0).direct_closed == 1);
	assert_int_equal(health_of(0).direct_opened, 1);
	assert_int_equal(counters_of(0).placed + counters_of(0).opened, 0);
	assert_int_equal(decisions(), 0);
}

static void test_with_syn_cookies(void **state)
{
	int fd = open("/proc/sys/net/ipv4/tcp_syncookies", O_WRONLY | O_CLOEXEC);
	struct pair p;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "2", 1), 1);
	close(fd);
	serve(0, "127.0.0.1");
	serve(1, "127.0.0.1");
	for (int i = 0; i < 20; i++) {
		struct pollfd ready[2] = {{w.listener[0], POLLIN, 0}, {w.listener[1], POLLIN, 0}};

		p.client = client(FRONTEND_V4);
		assert_true(p.client >= 0);
		assert_int_equal(poll(ready, 2, 20000), 1);
		p.server = accept4(w.listener[!ready[0].revents], NULL, NULL, SOCK_CLOEXEC);
		close_pair(p);
	}
	wait_for(in_flight(0) == 0 && in_flight(1) == 0);
	assert_int_equal(counters_of(0).opened + counters_of(1).opened, 20);
	assert_int_equal(decisions(), 20);
}

/* ---- ends, records and recounts -------------------------------------------------------------- */

static void test_ends_are_summed(void **state)
{
	struct linger hard = {.l_onoff = 1};
	struct pintle_endpoint next = {
		.generation = GEN(0) + 1, .pool = POOL, .pool_generation = POOL_GEN};
	uint64_t begun = monotonic_ns();
	struct pintle_ends n;
	struct pair p;
	char buf[8];

	(void)state;
	serve(0, "127.0.0.1");
	p = open_pair(FRONTEND_V4, w.listener[0]);
	assert_int_equal(write(p.client, "four", 4), 4);
	assert_int_equal(read(p.server, buf, sizeof(buf)), 4);
	assert_int_equal(write(p.server, "sixsix", 6), 6);
	assert_int_equal(read(p.client, buf, sizeof(buf)), 6);
	close_pair(p);
	wait_for(in_flight(0) == 0);
	n = ends_of(0);
	assert_int_equal(n.count[PINTLE_ENDING_CLOSED], 1);
	assert_in_range(n.bytes_received, 4, 5); /* the FIN counts */
	assert_in_range(n.bytes_acknowledged, 6, 7);
	assert_in_range(n.duration_ns, 1, monotonic_ns() - begun);

	p = open_pair(FRONTEND_V4, w.listener[0]);
	assert_int_equal(setsockopt(p.client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_CLOSED], 1);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_RESET], 1);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_TIMEOUT], 0);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_ERROR], 0);

	/* The id belongs to another endpoint when the connection ends. */
	p = open_pair(FRONTEND_V4, w.listener[0]);
	put(endpoints, 0U, &next);
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_CLOSED], 1);
}

static void test_a_closed_connection_is_reported(void **state)
{
	struct heard h = {0};
	struct ring_buffer *ring;
	char buf[8];
	struct pair p;

	(void)state;
	serve(0, "127.0.0.1");
	close_pair(open_pair(FRONTEND_V4, w.listener[0])); /* no program follows events yet */
	wait_for(in_flight(0) == 0);
	follow();
	p = open_pair(FRONTEND_V4, w.listener[0]);
	assert_int_equal(write(p.client, "four", 4), 4);
	assert_int_equal(read(p.server, buf, sizeof(buf)), 4);
	assert_int_equal(write(p.server, "sixsix", 6), 6);
	assert_int_equal(read(p.client, buf, sizeof(buf)), 6);
	close_pair(p);
	ring = ring_buffer__new(map_fd(tap), hear, &h, NULL);
	assert_non_null(ring);
	wait_for(ring_buffer__consume(ring) >= 0 && h.n > 0);
	ring_buffer__free(ring);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.closed.type, PINTLE_EVENT_CLOSED);
	assert_int_equal(h.closed.endpoint, 0);
	assert_int_equal(h.closed.outcome, PINTLE_OUTCOME_STICKY);
	assert_in_range(h.closed.bytes_received, 4, 5); /* the FIN counts */
	assert_in_range(h.closed.bytes_acknowledged, 6, 7);
	assert_int_equal(h.closed.tuple.local_port, PORT);
	assert_true(h.closed.duration_ns > 0);
	assert_int_equal(h.closed.lost, 0);
}

/* Connects from this address, and returns the client for whose share the binding counts. */
static uint64_t client_from(const char *address, const char *to)
{
	struct sockaddr_in6 a = socket_address(address, 0);
	struct pintle_affinity_key key;
	struct pintle_affinity binding;
	int fd = make_client(), one = 1;

	assert_int_equal(setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(connect_to(fd, to, PORT), 0);
	wait_for(!bpf_map_get_next_key(map_fd(affinity), NULL, &key));
	get(affinity, key, &binding);
	assert_int_equal(bpf_map_delete_elem(map_fd(affinity), &key), 0);
	close(fd);
	return binding.client;
}

static void make_local(const char *prefix)
{
	char command[128];

	snprintf(command, sizeof(command), "ip route add local %s dev lo", prefix);
	assert_int_equal(system(command), 0);
}

/* A binding counts for the client's network where sessions are addresses, else for its host. */
static void test_whose_share(void **state)
{
	(void)state;
	serve_everywhere();
	make_local("10.7.0.0/16");
	make_local("2001:db8:7::/48");
	w.pool.key_bits_v6 = 64;
	put_pool();
	assert_int_equal(client_from("127.1.2.3", FRONTEND_V4), PINTLE_CLIENT_V4 | 0x7f000000);
	assert_int_equal(client_from("10.7.8.9", FRONTEND_V4), PINTLE_CLIENT_V4 | 0x0a070000);
	assert_int_equal(client_from("2001:db8:7:8::9", FRONTEND_V6), 0x20010db800070000);
	w.pool.key_kind = PINTLE_KEY_DESTINATION;
	put_pool();
	put_frontend("127.77.0.0", 16, PORT,
		     (struct pintle_frontend){POOL, POOL_GEN, PINTLE_HOOK_LOOKUP, 0, 112});
	put_frontend("2001:db8:7:77::", 64, PORT,
		     (struct pintle_frontend){POOL, POOL_GEN, PINTLE_HOOK_LOOKUP, 0, 64});
	assert_int_equal(client_from("127.1.2.3", "127.77.9.9"), PINTLE_CLIENT_V4 | 0x7f000000);
	assert_int_equal(client_from("10.7.8.9", "127.77.9.9"), PINTLE_CLIENT_V4 | 0x0a070809);
	assert_int_equal(client_from("2001:db8:7:8::9", "2001:db8:7:77::9"), 0x20010db800070008);
}

static uint64_t recount(uint32_t e)
{
	return recount_by(w.skel->progs.pintle_recount, map_fd(conns), e);
}

static void test_a_recount_finds_those_in_flight(void **state)
{
	struct pair p[10];

	(void)state;
	serve(0, "127.0.0.1");
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = open_pair(FRONTEND_V4, w.listener[0]);
	assert_int_equal(in_flight(0), 10);
	assert_int_equal(recount(0), 10);
	for (size_t i = 0; i < 4; i++)
		close_pair(p[i]);
	wait_for(in_flight(0) == 6);
	assert_int_equal(recount(0), 6);
	for (size_t i = 4; i < ARRAY_SIZE(p); i++)
		close_pair(p[i]);
	wait_for(in_flight(0) == 0);
	assert_int_equal(recount(0), 0);
}

/* A server that wants data first leaves the handshake open until data come. */
static void test_a_handshake_longer_than_it_is_waited_for(void **state)
{
	struct pintle_tuple key;
	struct pintle_decision d;
	struct pintle_counters n;
	int wait_seconds = 60, fd;

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(setsockopt(w.listener[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, &wait_seconds,
				    sizeof(wait_seconds)),
			 0);
	fd = client(FRONTEND_V4);
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_get_next_key(map_fd(pending), NULL, &key), 0);
	get(pending, key, &d);
	d.decided_ns -= PINTLE_PENDING_NS + 1;
	put(pending, key, &d);
	recount_by(w.skel->progs.pintle_recount_pending, map_fd(pending), 0);
	assert_int_equal(counters_of(0).failed, 1);
	assert_int_equal(in_flight(0), 0);

	assert_int_equal(write(fd, "x", 1), 1);
	wait_for(in_flight(0) == 1);
	n = counters_of(0);
	assert_int_equal(n.placed, n.opened + n.failed);
	close(fd);
}

/* ---- questions
 * ------------------------------------------------------------------------------------------ */

/* Asks by sock_diag which socket a segment from this port of 127.0.0.1 would reach. Returns 0 or
 * -errno. */
static int ask(const char *address, uint16_t to_port, uint16_t from_port)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 asked;
	} question = {
		.header = {.nlmsg_len = sizeof(question),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST},
		.asked = {.sdiag_family = AF_INET,
			  .sdiag_protocol = IPPROTO_TCP,
			  .idiag_states = ~0U,
			  .id = {.idiag_sport = htons(to_port),
				 .idiag_dport = htons(from_port),
				 .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char more[1024];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, address, question.asked.id.idiag_src), 1);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.1", question.asked.id.idiag_dst), 1);
	assert_int_equal(send(fd, &question, sizeof(question), 0), sizeof(question));
	assert_true(recv(fd, &answer, sizeof(answer), 0) >= (ssize_t)sizeof(answer.header));
	close(fd);
	return answer.header.nlmsg_type == NLMSG_ERROR ? answer.error.error : 0;
}

static void test_a_question_decides_nothing(void **state)
{
	struct pair p;

	(void)state;
	serve(0, "127.0.0.1");
	if (ask("127.0.0.1", port_of(w.listener[0]), 2000)) {
		print_message("this kernel answers no question by sock_diag\n");
		skip();
	}
	for (int round = 1; round <= 2; round++) {
		for (uint16_t i = 0; i < 100; i++)
			assert_int_equal(ask(FRONTEND_V4, PORT, 2000 + i), -ENOENT);
		p = open_pair(FRONTEND_V4, w.listener[0]);
		close_pair(p);
		assert_int_equal(counters_of(0).placed, round);
	}
}

/* ---- each test
 * ------------------------------------------------------------------------------------------ */

static int attach(void **state)
{
	const struct pintle_frontend ours = {POOL, POOL_GEN, PINTLE_HOOK_LOOKUP, 0, 128};
	struct pintle_node n = {.abi_version = PINTLE_ABI_VERSION};
	socklen_t size = sizeof(n.netns_cookie);
	int netns, group, fd;

	if (make_world(state))
		return -1;
	set_lo(true);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &n.netns_cookie, &size), 0);
	close(fd);
	n.heartbeat_ns = monotonic_ns();
	put(node, 0U, &n);
	put_frontend(FRONTEND_V4, 32, PORT, ours);
	put_frontend(FRONTEND_V6, 128, PORT, ours);

	netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	group = cgroup2_open(cgroup);
	assert_true(netns >= 0 && group >= 0);
	w.skel->links.pintle_lookup = bpf_program__attach_netns(w.skel->progs.pintle_lookup, netns);
	w.skel->links.pintle_servers =
		bpf_program__attach_cgroup(w.skel->progs.pintle_servers, group);
	close(netns);
	close(group);
	if (!w.skel->links.pintle_lookup || !w.skel->links.pintle_servers)
		return -1;
	join(cgroup);
	return 0;
}

static int detach(void **state)
{
	join(home);
	return unmake_world(state);
}

#define attached_test(f) cmocka_unit_test_setup_teardown(f, attach, detach)

int main(void)
{
	const struct CMUnitTest tests[] = {
		attached_test(test_listen_registers),
		attached_test(test_listeners_of_others_are_left_alone),
		attached_test(test_a_wildcard_listener_serves_an_endpoint_by_port),
		attached_test(test_two_listeners_the_first_closes_first),
		attached_test(test_two_listeners_the_second_closes_first),
		attached_test(test_an_mptcp_listener_is_said_to_be_unsteerable),
		attached_test(test_a_connection_from_open_to_close),
		attached_test(test_the_session_stays_where_it_was_opened),
		attached_test(test_ipv6),
		attached_test(test_a_reset_ends_it_too),
		attached_test(test_nobody_listens),
		attached_test(test_a_server_that_comes_back),
		attached_test(test_a_direct_connection_is_counted_apart),
		attached_test(test_with_syn_cookies),
		attached_test(test_ends_are_summed),
		attached_test(test_a_closed_connection_is_reported),
		attached_test(test_whose_share),
		attached_test(test_a_recount_finds_those_in_flight),
		attached_test(test_a_question_decides_nothing),
		attached_test(test_a_handshake_longer_than_it_is_waited_for),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
