/* SPDX-License-Identifier: Apache-2.0 */
/* The connect hook attached to a cgroup, and real connections over loopback: where connect()
 * leads, what each end of a socket leaves in the maps, which endpoint is ejected and what binds a
 * session. No daemon runs; the test fills the maps as a daemon would. */
#define PROGRAMS                                                                                   \
	"pintle_clients", "pintle_servers", "pintle_hint", "pintle_release",                       \
		"pintle_getpeername4", "pintle_getpeername6", "pintle_connect4",                   \
		"pintle_connect6", "pintle_recount_connects"
#include "support_attached.h"

#include <netinet/tcp.h>
#include <pintle/hint.h>

#define VIP_V4 "127.78.0.1" /* no server listens here, except in some tests */
#define VIP_V6 "fd78::1"
#define PORT   8000

static struct bpf_link *links[8];

/* ---- sockets --------------------------------------------------------------------------- */

/* Makes endpoint e, at an address of its own where no server listens yet. */
static void put_endpoint_at(uint32_t e, const char *address, uint16_t port)
{
	struct pintle_endpoint is = {
		.generation = GEN(e), .pool = POOL, .pool_generation = POOL_GEN, .port = port};
	struct pintle_score s = {
		.generation = GEN(e), .scraped_ns = monotonic_ns(), .model = {{0, 1000}}};

	address_of(address, is.address);
	put(endpoints, e, &is);
	put(scores, e, &s);
	w.pool.members[e] = (struct pintle_ref){e, GEN(e)};
	w.pool.member_count = MAX(w.pool.member_count, e + 1);
	put_pool();
}

/* Makes endpoint e, with a server. */
static void serve(uint32_t e, const char *address)
{
	int fd = bound(IPPROTO_TCP, address, 0);

	assert_int_equal(listen(fd, 64), 0);
	w.listener[e] = fd;
	put_endpoint_at(e, address, port_of(fd));
}

static void stop_serving(uint32_t e)
{
	close(w.listener[e]);
	w.listener[e] = -1;
}

static int go(int fd)
{
	return connect_to(fd, VIP_V4, PORT);
}

static int64_t pending_of(uint32_t e)
{
	struct pintle_counters n = counters_of(e);

	return (int64_t)(n.placed - n.opened - n.failed);
}

static void assert_peer(int fd, const char *address, uint16_t port)
{
	struct sockaddr_in6 want = socket_address(address, port), is;
	socklen_t size = sizeof(is);

	assert_int_equal(getpeername(fd, (struct sockaddr *)&is, &size), 0);
	assert_int_equal(ntohs(is.sin6_port), port);
	assert_memory_equal(&is.sin6_addr, &want.sin6_addr, 16);
}

/* Accepts the one connection that waits, into *server, and returns its endpoint. */
static uint32_t served_by(int *server)
{
	struct pollfd ready[8];
	uint32_t n = 0;

	for (; n < 8 && w.listener[n] >= 0; n++)
		ready[n] = (struct pollfd){w.listener[n], POLLIN, 0};
	assert_int_equal(poll(ready, n, 20000), 1);
	for (uint32_t e = 0; e < n; e++) {
		if (!ready[e].revents)
			continue;
		*server = accept4(w.listener[e], NULL, NULL, SOCK_CLOEXEC);
		assert_true(*server >= 0);
		return e;
	}
	return NOBODY;
}

/* Connects this socket to the frontend, and closes it. Returns the endpoint that it reached. */
static uint32_t visit_with(int fd)
{
	uint32_t e;
	int server;

	assert_int_equal(go(fd), 0);
	e = served_by(&server);
	close(fd);
	close(server);
	wait_for(in_flight(e) == 0);
	return e;
}

/* ---- where connect() leads ---------------------------------------------------------------- */

static void test_ipv4(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)}, is;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
	socklen_t size = sizeof(is);

	(void)state;
	serve(0, "127.0.0.1");
	inet_pton(AF_INET, VIP_V4, &to.sin_addr);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(served_by(&server), 0);
	assert_int_equal(getpeername(fd, (struct sockaddr *)&is, &size), 0);
	assert_int_equal(is.sin_addr.s_addr, to.sin_addr.s_addr);
	assert_int_equal(is.sin_port, to.sin_port);
	assert_int_equal(in_flight(0), 1);
	assert_int_equal(pending_of(0), 0);
	close(fd);
	wait_for(in_flight(0) == 0);
	assert_int_equal(counters_of(0).placed, 1);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_LEAST_LOADED), 1);
	close(server);
}

static void test_mapped(void **state)
{
	int fd = make_client(), server;

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(go(fd), 0);
	assert_int_equal(served_by(&server), 0);
	assert_peer(fd, VIP_V4, PORT);
	assert_int_equal(in_flight(0), 1);
	close(fd);
	close(server);
	wait_for(in_flight(0) == 0);
}

static void test_ipv6(void **state)
{
	int fd = make_client(), server;

	(void)state;
	serve(0, "127.0.0.1"); /* not eligible for the other family */
	serve(1, "::1");
	assert_int_equal(connect_to(fd, VIP_V6, PORT), 0);
	assert_int_equal(served_by(&server), 1);
	assert_peer(fd, VIP_V6, PORT);
	close(fd);
	close(server);
	wait_for(in_flight(1) == 0);
	assert_int_equal(counters_of(0).placed, 0);
}

/* A server at the frontend's own address, which connect() reaches when the hook does not rewrite
 * it. */
static int serve_vip(void)
{
	int fd = bound(IPPROTO_TCP, VIP_V4, PORT);

	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static void assert_passes(void)
{
	int vip = serve_vip(), fd = make_client();

	assert_int_equal(go(fd), 0);
	assert_peer(fd, VIP_V4, PORT);
	close(fd);
	fd = accept4(vip, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	close(vip);
}

static void test_off_passes(void **state)
{
	(void)state;
	serve(0, "127.0.0.1");
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_OFF);
	assert_passes();
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_PASSED), 1);
	assert_int_equal(counters_of(0).placed, 0);
}

/* The destination is left alone, also where the rule would refuse; the rule's decisions are counted
 * apart. */
static void test_shadow_passes_and_counts_the_rule(void **state)
{
	struct pintle_score never = {.generation = GEN(0)};

	(void)state;
	serve(0, "127.0.0.1");
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	w.pool.key_kind = PINTLE_KEY_CLIENT;
	put_pool();
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_SHADOW);
	assert_passes();
	assert_passes();
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_PASSED), 2);
	assert_int_equal(decisions(), 2);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_LEAST_LOADED), 1);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_STICKY), 1);
	assert_int_equal(shadow_placed(0), 2);
	assert_int_equal(counters_of(0).placed, 0);
	assert_int_equal(in_flight(0), 0);
	put(scores, 0U, &never); /* never scraped */
	assert_passes();
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 1);
	assert_int_equal(shadow_placed(0), 2);
}

/* Without the rule, access refuses nobody: where the connection would have gone is a part of the
 * forecast. */
static void test_shadow_forecasts_for_whom_access_refuses(void **state)
{
	struct pintle_forecast f;

	(void)state;
	serve(0, "127.0.0.1");
	w.pool.allowed[0] = (struct pintle_class_rule){.flags = PINTLE_RULE_SOURCE};
	address_of("10.9.0.1", w.pool.allowed[0].prefix);
	memset(w.pool.allowed[0].mask, 0xff, sizeof(w.pool.allowed[0].mask));
	w.pool.allow_count = 1;
	put_pool();
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_SHADOW);
	assert_passes();
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_FORBIDDEN), 1);
	get(forecasts, (uint32_t)POOL, &f);
	assert_int_equal(f.would, 0);
	assert_int_equal(f.went, 1);
}

/* An endpoint that stands still is tried by a connection that is placed. */
static void test_shadow_leaves_the_try(void **state)
{
	const struct pintle_health h = {.listening_since_ns = 1,
					.standing = PINTLE_STANDING_STOPPED,
					.stands_until_ns = monotonic_ns() + 100 * SECOND,
					.try_ns = 1};

	(void)state;
	serve(0, "127.0.0.1");
	put(health, 0U, &h);
	put_override(POOL, POOL_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_SHADOW);
	assert_passes();
	assert_int_equal(health_of(0).try_ns, 1);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 1);
}

static void test_long_without_a_daemon_passes(void **state)
{
	struct pintle_node n = {.abi_version = PINTLE_ABI_VERSION,
				.heartbeat_ns = monotonic_ns() - 600 * SECOND,
				.daemonless_ns = 601 * SECOND};
	int fd = make_client();

	(void)state;
	serve(0, "127.0.0.1");
	put(node, 0U, &n);
	assert_int_equal(visit_with(fd), 0);
	n.daemonless_ns = 599 * SECOND;
	put(node, 0U, &n);
	assert_passes();
	n.daemonless_ns = 0; /* never */
	put(node, 0U, &n);
	assert_int_equal(visit_with(make_client()), 0);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_PASSED), 1);
}

static void test_nobody_ready(void **state)
{
	struct pintle_score never = {.generation = GEN(0)};
	int fd = make_client();

	(void)state;
	serve(0, "127.0.0.1");
	put(scores, 0U, &never); /* never scraped */
	assert_passes();
	w.pool.failure_mode = PINTLE_FAIL_CLOSE;
	put_pool();
	assert_int_equal(go(fd), -ECONNREFUSED);
	close(fd);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_NO_ENDPOINT), 2);
	assert_int_equal(counters_of(0).placed, 0);
}

static void test_others_are_left_alone(void **state)
{
	int fd = make_client(), udp = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(connect_to(fd, VIP_V4, PORT + 1), -ECONNREFUSED);
	close(fd);
	fd = make_client();
	assert_int_equal(connect_to(fd, "127.0.0.1", port_of(w.listener[0])), 0);
	close(fd);
	assert_int_equal(connect_to(udp, VIP_V4, PORT), 0);
	assert_peer(udp, VIP_V4, PORT);
	close(udp);
	assert_int_equal(decisions(), 0);
	assert_int_equal(counters_of(0).placed, 0);
}

/* ---- counts -------------------------------------------------------------------------------- */

static void test_no_route(void **state)
{
	int fd = make_client();

	(void)state;
	put_endpoint_at(0, "203.0.113.1", 80);
	assert_int_equal(go(fd), -ENETUNREACH);
	assert_int_equal(pending_of(0), 1); /* until the next event of the socket */
	assert_int_equal(go(fd), -ENETUNREACH);
	assert_int_equal(pending_of(0), 1);
	close(fd);
	assert_int_equal(pending_of(0), 0);
	assert_int_equal(counters_of(0).failed, 2);
	assert_int_equal(counters_of(0).opened, 0);
}

static void test_connect_again(void **state)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	int fd = make_client(), server;

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(go(fd), 0);
	served_by(&server);
	assert_int_equal(connect(fd, &none, sizeof(none)), 0);
	assert_int_equal(in_flight(0), 0);
	close(server);
	/* The socket connects to another address: its record's old placement is not counted. */
	assert_int_equal(connect_to(fd, "127.0.0.1", port_of(w.listener[0])), 0);
	served_by(&server);
	assert_int_equal(in_flight(0), 0);
	close(server);
	assert_int_equal(connect(fd, &none, sizeof(none)), 0);
	assert_int_equal(go(fd), 0);
	served_by(&server);
	assert_int_equal(in_flight(0), 1);
	close(server);
	close(fd);
	wait_for(in_flight(0) == 0);
	assert_int_equal(counters_of(0).opened, 2);
}

/* A server's socket that is disconnected and connects as a client has a record of either side. Its
 * failure as a client counts. */
static void test_an_accepted_socket_that_connects(void **state)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct pintle_conn accepted = {.endpoint = 1, .generation = GEN(1)};
	int group = cgroup2_open(cgroup), client, fd;
	struct bpf_link *servers = bpf_program__attach_cgroup(w.skel->progs.pintle_servers, group);

	(void)state;
	assert_non_null(servers);
	serve(0, "127.0.0.1");
	client = make_client();
	assert_int_equal(connect_to(client, "127.0.0.1", port_of(w.listener[0])), 0);
	served_by(&fd);
	assert_int_equal(bpf_map_update_elem(map_fd(conns), &fd, &accepted, BPF_ANY), 0);
	assert_int_equal(connect(fd, &none, sizeof(none)), 0);
	stop_serving(0);
	assert_int_equal(go(fd), -ECONNREFUSED);
	close(fd);
	close(client);
	wait_for(in_flight(0) == 0);
	assert_int_equal(counters_of(0).placed, 1);
	assert_int_equal(health_of(0).failures[PINTLE_FAILURE_REFUSED], 1);
	bpf_link__destroy(servers);
	close(group);
}

static void test_a_shared_socket_ends_once(void **state)
{
	int fd = make_client(), copy, server;

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(go(fd), 0);
	served_by(&server);
	copy = dup(fd);
	close(fd);
	assert_int_equal(in_flight(0), 1);
	close(copy);
	assert_int_equal(in_flight(0), 0);
	close(server);
	assert_int_equal(counters_of(0).closed, 1);
}

static uint64_t recount_connects(uint32_t e)
{
	return recount_by(w.skel->progs.pintle_recount_connects, map_fd(connects), e);
}

static void test_an_endpoint_that_is_another_now(void **state)
{
	struct pintle_endpoint e;
	int fd = make_client(), server;

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(go(fd), 0);
	served_by(&server);
	get(endpoints, 0U, &e);
	e.generation++;
	assert_int_equal(recount_connects(0), 1);
	put(endpoints, 0U, &e);
	assert_int_equal(recount_connects(0), 0);
	close(fd);
	close(server);
	assert_int_equal(counters_of(0).closed, 0);
}

/* Without sockops, neither SYNs nor ends are seen. */
static void test_a_recount_finds_what_was_missed(void **state)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	int stays = make_client(), leaves = make_client(), comes = make_client(), server[3];

	(void)state;
	serve(0, "127.0.0.1");
	assert_int_equal(go(stays), 0);
	served_by(&server[0]);
	assert_int_equal(go(leaves), 0);
	served_by(&server[1]);
	assert_int_equal(recount_connects(0), 2);
	bpf_link__destroy(links[0]);
	links[0] = NULL;
	assert_int_equal(connect(leaves, &none, sizeof(none)), 0);
	assert_int_equal(go(comes), 0);
	served_by(&server[2]);
	assert_int_equal(in_flight(0), 2);
	assert_int_equal(pending_of(0), 1);
	assert_int_equal(recount_connects(0), 2); /* `stays` and `comes` */
	assert_int_equal(recount_connects(0), 2);
	close(leaves);
	close(stays);
	close(comes);
	/* close() reveals the ends of `stays` and `comes`. The end of `leaves` was not seen, and is
	 * not counted. */
	assert_int_equal(counters_of(0).closed, 2);
	assert_int_equal(recount_connects(0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(server); i++)
		close(server[i]);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void refuse_once(void)
{
	int fd = make_client();

	assert_int_equal(go(fd), -ECONNREFUSED);
	close(fd);
}

static void test_ends_are_summed(void **state)
{
	struct linger hard = {.l_onoff = 1};
	struct pintle_ends n;
	int fd, server;
	char buf[8];

	(void)state;
	serve(0, "127.0.0.1");
	fd = make_client();
	assert_int_equal(go(fd), 0);
	served_by(&server);
	assert_int_equal(write(fd, "four", 4), 4);
	assert_int_equal(read(server, buf, sizeof(buf)), 4);
	assert_int_equal(write(server, "sixsix", 6), 6);
	assert_int_equal(read(fd, buf, sizeof(buf)), 6);
	close(server);
	close(fd);
	wait_for(ends_of(0).count[PINTLE_ENDING_CLOSED] == 1);
	wait_for(ends_of(0).duration_ns);
	n = ends_of(0);
	assert_in_range(n.bytes_received, 4, 6); /* SYN and FIN count */
	assert_in_range(n.bytes_acknowledged, 6, 7);

	fd = make_client();
	assert_int_equal(go(fd), 0);
	served_by(&server);
	assert_int_equal(setsockopt(server, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	close(server);
	wait_for(ends_of(0).count[PINTLE_ENDING_RESET] == 1);
	close(fd);
	stop_serving(0);
	refuse_once();
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_ERROR], 1);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_CLOSED], 1);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_RESET], 1);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_TIMEOUT], 0);
}

static void expect_events(uint32_t type, uint32_t failure)
{
	struct heard h = {0};
	struct ring_buffer *ring = ring_buffer__new(map_fd(tap), hear, &h, NULL);

	assert_non_null(ring);
	wait_for(ring_buffer__consume(ring) >= 0 && h.n > 0 && h.closed.type == type);
	assert_int_equal(h.closed.failure, failure);
	assert_int_equal(h.closed.hook, PINTLE_HOOK_CONNECT);
	assert_int_equal(h.closed.tuple.local_port, PORT);
	ring_buffer__free(ring);
}

static void configure_ejection(uint32_t after, uint32_t most, uint64_t ns, uint64_t max_ns)
{
	w.pool.eject_after = after;
	w.pool.eject_most = most;
	w.pool.eject_ns = ns;
	w.pool.eject_max_ns = max_ns;
	put_pool();
}

static void test_refused_in_a_row(void **state)
{
	uint64_t now = monotonic_ns();
	int fd;

	(void)state;
	serve(0, "127.0.0.1");
	serve(1, "127.0.0.1");
	stop_serving(0);
	configure_ejection(3, 1, 1000 * SECOND, 3000 * SECOND);
	put_override(PINTLE_ENDPOINT_SLOT(1), GEN(1), PINTLE_OVERRIDE_DRAIN, 0);
	follow();
	refuse_once();
	refuse_once();
	assert_int_equal(health_of(0).unopened, 2);
	assert_int_equal(health_of(0).ejected_until_ns, 0);
	refuse_once();
	assert_int_equal(health_of(0).failures[PINTLE_FAILURE_REFUSED], 3);
	assert_true(health_of(0).ejected_until_ns >= now + 1000 * SECOND);
	assert_int_equal(health_of(0).ejections, 1);
	expect_events(PINTLE_EVENT_CLOSED, PINTLE_FAILURE_REFUSED);
	/* No endpoint is left: as configured, the call goes on to the frontend, where no server
	 * listens. */
	fd = make_client();
	assert_int_equal(go(fd), -ECONNREFUSED);
	assert_int_equal(counters_of(0).placed, 3);
	close(fd);
	put_override(PINTLE_ENDPOINT_SLOT(1), GEN(1), 0, 0);
	for (int i = 0; i < 8; i++) {
		int server, client = make_client();

		assert_int_equal(go(client), 0);
		server = accept4(w.listener[1], NULL, NULL, SOCK_CLOEXEC);
		close(client);
		close(server);
	}
	assert_int_equal(counters_of(1).opened, 8);
}

/* No program reads events: those without room in the ring are counted, and the next event that has
 * room carries their number. */
static void test_a_full_ring_is_told(void **state)
{
	struct heard h = {0};
	struct ring_buffer *ring = ring_buffer__new(map_fd(tap), hear, &h, NULL);
	int made = 0, room;

	(void)state;
	assert_non_null(ring);
	serve(0, "127.0.0.1");
	stop_serving(0);
	configure_ejection(0, 1, 1000 * SECOND, 1000 * SECOND);
	follow();
	while (made < 3000 && made++ >= 0)
		refuse_once();
	assert_true(ring_buffer__consume(ring) > 0);
	room = h.n;
	assert_in_range(room, 1, made - 1);
	assert_int_equal(h.closed.lost, 0);
	refuse_once();
	assert_true(ring_buffer__consume(ring) > 0);
	assert_int_equal(h.closed.lost, made - room);
	assert_int_equal(ends_of(0).count[PINTLE_ENDING_ERROR], made + 1);
	ring_buffer__free(ring);
}

static void test_ejections_grow_and_end(void **state)
{
	struct pintle_health h;
	uint64_t last = 0;
	int fd, server, port;

	(void)state;
	serve(0, "127.0.0.1");
	port = port_of(w.listener[0]);
	stop_serving(0);
	configure_ejection(1, 1, 1000 * SECOND, 3000 * SECOND);
	for (int i = 0; i < 4; i++) {
		static const uint64_t lasts[] = {1000, 2000, 3000, 3000};

		refuse_once();
		h = health_of(0);
		last = h.ejected_until_ns - monotonic_ns();
		assert_in_range(last / SECOND, lasts[i] - 60, lasts[i]);
		h.ejected_until_ns = monotonic_ns(); /* over */
		put(health, 0U, &h);
	}
	assert_int_equal(health_of(0).ejected_in_a_row, 4);
	w.listener[0] = bound(IPPROTO_TCP, "127.0.0.1", port);
	assert_int_equal(listen(w.listener[0], 8), 0);
	fd = make_client();
	assert_int_equal(go(fd), 0);
	served_by(&server);
	h = health_of(0);
	assert_int_equal(h.ejected_in_a_row + h.unopened + h.resets, 0);
	assert_int_equal(h.ejected_until_ns, 0);
	assert_int_equal(h.ejections, 4);
	close(fd);
	close(server);
}

/* The content of `health` before clients of this namespace are refused three times. Times are in
 * seconds from now; 0 is never. */
static const struct {
	const char *what;
	bool by_us; /* the last client that failed is this one */
	int others, failed, answered, vouched;
	uint32_t row; /* failures in a row afterwards */
} witnesses[] = {
	{"nothing", false, 0, 0, 0, 0, 3},
	{"it failed another client before", false, 0, -9, 0, 0, 5},
	{"it failed us before", true, 0, -9, 0, 0, 5},
	{"another was served since it failed us", true, -4, -9, 0, 0, 2},
	{"another was, but not lately", true, -600, -900, 0, 0, 5},
	{"another was served since it failed a third", false, -4, -9, 0, 0, 5},
	{"its page came before it failed", true, 0, -9, -19, 0, 5},
	{"its page came since", true, 0, -9, -4, 0, 3},
	{"its page outweighs us", true, 0, -9, -4, 50, 2},
	{"its page did", true, 0, -90, -50, -4, 3},
};

static uint64_t at(int seconds)
{
	return seconds ? monotonic_ns() + (uint64_t)((int64_t)SECOND * seconds) : 0;
}

static void test_which_failures_are_of_the_row(void **state)
{
	uint64_t us;
	socklen_t size = sizeof(us);
	int fd = make_client();

	(void)state;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &us, &size), 0);
	close(fd);
	serve(0, "127.0.0.1");
	stop_serving(0);
	configure_ejection(100, 1, 100 * SECOND, 100 * SECOND);
	for (size_t i = 0; i < ARRAY_SIZE(witnesses); i++) {
		struct pintle_health h = {
			.unopened = 2,
			.failed_by = witnesses[i].by_us ? us : us + 1,
			.failed_ns = at(witnesses[i].failed),
			.others_ns = at(witnesses[i].others),
			.answered_ns = at(witnesses[i].answered),
			.vouched_until_ns = at(witnesses[i].vouched),
		};

		if (!witnesses[i].failed)
			h.failed_by = h.unopened = 0;
		put(health, 0U, &h);
		for (int j = 0; j < 3; j++)
			refuse_once();
		h = health_of(0);
		if (h.unopened != witnesses[i].row)
			fail_msg("%s: the row is %u", witnesses[i].what, h.unopened);
		assert_int_equal(h.failures[PINTLE_FAILURE_REFUSED], 3);
	}
}

/* A page that came since ends the ejection, and the next ejection is as short as the first. */
static void test_a_page_voids_an_ejection(void **state)
{
	struct pintle_health h;

	(void)state;
	serve(0, "127.0.0.1");
	stop_serving(0);
	configure_ejection(1, 1, 1000 * SECOND, 9000 * SECOND);
	refuse_once();
	h = health_of(0);
	assert_int_equal(h.ejected_in_a_row, 1);
	assert_true(h.ejected_until_ns);
	h.answered_ns = monotonic_ns();
	put(health, 0U, &h);
	refuse_once(); /* the endpoint is chosen again, and fails again */
	h = health_of(0);
	assert_int_equal(h.failures[PINTLE_FAILURE_REFUSED], 2);
	assert_int_equal(h.ejections, 2);
	assert_int_equal(h.ejected_in_a_row, 1);
	assert_in_range((h.ejected_until_ns - monotonic_ns()) / SECOND, 940, 1000);
}

static void test_an_old_connection_is_no_success(void **state)
{
	int fd, server;
	char byte = 0;

	(void)state;
	serve(0, "127.0.0.1");
	configure_ejection(1, 1, 1000 * SECOND, 1000 * SECOND);
	fd = make_client();
	assert_int_equal(go(fd), 0);
	served_by(&server);
	stop_serving(0);
	refuse_once();
	assert_int_equal(health_of(0).ejections, 1);
	assert_int_equal(write(server, "x", 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	close(server);
	close(fd);
	wait_for(in_flight(0) == 0);
	assert_int_equal(health_of(0).ejected_in_a_row, 1);
	assert_true(health_of(0).ejected_until_ns);
	assert_int_equal(health_of(0).unopened, 1);
}

static void test_only_a_share_is_ejected(void **state)
{
	(void)state;
	for (uint32_t e = 0; e < 4; e++) {
		serve(e, "127.0.0.1");
		stop_serving(e);
	}
	configure_ejection(1, 2, 1000 * SECOND, 1000 * SECOND);
	for (int i = 0; i < 40; i++)
		refuse_once();
	assert_int_equal(health_of(0).ejections + health_of(1).ejections + health_of(2).ejections +
				 health_of(3).ejections,
			 2);
	configure_ejection(1, 0, 1000 * SECOND, 1000 * SECOND);
	for (int i = 0; i < 10; i++)
		refuse_once();
	assert_int_equal(health_of(0).ejections + health_of(1).ejections + health_of(2).ejections +
				 health_of(3).ejections,
			 2);
}

static void reset_it(int server)
{
	const struct linger now = {1, 0};

	assert_int_equal(setsockopt(server, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(server);
}

static void test_reset_before_the_first_byte(void **state)
{
	int fd, server;
	char byte = 0;

	(void)state;
	serve(0, "127.0.0.1");
	configure_ejection(2, 1, 1000 * SECOND, 1000 * SECOND);
	fd = make_client();
	assert_int_equal(go(fd), 0);
	served_by(&server);
	reset_it(server);
	wait_for(health_of(0).failures[PINTLE_FAILURE_RESET] == 1);
	assert_int_equal(health_of(0).resets, 1);
	close(fd);
	/* A connection alone is no success, because the server may drop it at once. A byte is a
	 * success. */
	fd = make_client();
	assert_int_equal(go(fd), 0);
	served_by(&server);
	assert_int_equal(health_of(0).resets, 1);
	assert_int_equal(write(server, "x", 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	reset_it(server);
	wait_for(in_flight(0) == 0);
	wait_for(health_of(0).resets == 0);
	assert_int_equal(health_of(0).failures[PINTLE_FAILURE_RESET], 1);
	close(fd);
	for (int i = 0; i < 2; i++) {
		fd = make_client();
		assert_int_equal(go(fd), 0);
		served_by(&server);
		reset_it(server);
		wait_for(in_flight(0) == 0);
		close(fd);
	}
	wait_for(health_of(0).ejections == 1);
}

/* The accept queue is full, so SYNs are dropped. */
static void fill_queue(uint32_t e, int fill[8])
{
	assert_int_equal(listen(w.listener[e], 0), 0);
	for (int i = 0; i < 8; i++) {
		struct sockaddr_in6 to = socket_address("127.0.0.1", port_of(w.listener[e]));

		fill[i] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *)&to, sizeof(to));
	}
	usleep(10000);
}

static void test_unanswered(void **state)
{
	int fill[8], fd = make_client(), hasty = make_client();

	(void)state;
	serve(0, "127.0.0.1");
	configure_ejection(0, 1, SECOND, SECOND);
	fill_queue(0, fill);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(hasty, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(go(hasty), -EINPROGRESS);
	assert_int_equal(go(fd), -EINPROGRESS);
	assert_int_equal(in_flight(0), 2);
	close(hasty); /* the client gives up at once, which is no failure of the endpoint */
	assert_int_equal(in_flight(0), 1);
	wait_for(health_of(0).failures[PINTLE_FAILURE_UNANSWERED] == 1);
	assert_int_equal(in_flight(0), 1);
	close(fd);
	assert_int_equal(in_flight(0), 0);
	assert_int_equal(health_of(0).unopened, 1);
	for (int i = 0; i < 8; i++)
		close(fill[i]);
}

/* ---- sessions ----------------------------------------------------------------------------------
 */

/* Connects `n` times with sockets that `prepare` makes. Returns whether all went to one endpoint.
 */
static bool stays(int n, int (*prepare)(int i))
{
	uint32_t first = visit_with(prepare(0));
	bool same = true;

	for (int i = 1; i < n; i++)
		same = visit_with(prepare(i)) == first && same;
	return same;
}

static int plain(int i)
{
	(void)i;
	return make_client();
}

static int from_one(int i)
{
	int fd = make_client();
	struct sockaddr_in6 a = socket_address("127.9.9.9", 0);

	(void)i;
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int marked(int i)
{
	int fd = make_client(), mark = 7;

	(void)i;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	return fd;
}

static int hinted(int i)
{
	int fd = make_client();

	(void)i;
	assert_int_equal(setsockopt(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, "user-4711", 9), 0);
	return fd;
}

static int hinted_apart(int i)
{
	int fd = make_client();

	assert_int_equal(setsockopt(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, &i, sizeof(i)), 0);
	return fd;
}

static void serve_four(uint32_t key_kind)
{
	for (uint32_t e = 0; e < 4; e++)
		serve(e, "127.0.0.1");
	w.pool.key_kind = key_kind;
	put_pool();
}

static void assert_keyed(uint32_t kind, int (*keyed)(int i), int (*other)(int i))
{
	serve_four(kind);
	assert_true(stays(16, keyed));
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_STICKY), 15);
	if (!other)
		return;
	/* 4^-19 by chance. */
	assert_false(stays(20, other));
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_STICKY), 15);
}

static void test_key_source(void **state)
{
	(void)state;
	assert_keyed(PINTLE_KEY_SOURCE, from_one, plain);
}

static void test_key_mark(void **state)
{
	(void)state;
	assert_keyed(PINTLE_KEY_MARK, marked, plain);
}

static void test_key_hint(void **state)
{
	(void)state;
	assert_keyed(PINTLE_KEY_HINT, hinted, hinted_apart);
}

static void test_key_client(void **state)
{
	(void)state;
	assert_keyed(PINTLE_KEY_CLIENT, plain, NULL);
}

static void test_key_cgroup(void **state)
{
	const struct pintle_affinity_key none = {.pool = POOL, .pool_generation = POOL_GEN};
	struct pintle_affinity_key key, by_id;
	struct pintle_client client = {.id = 4711, .name = "pod/4711"};
	struct stat st;
	uint64_t id;

	(void)state;
	assert_keyed(PINTLE_KEY_CGROUP, plain, NULL);
	assert_int_equal(stat(cgroup, &st), 0);
	id = st.st_ino;
	by_id = none;
	by_id.session = (struct pintle_session_key){PINTLE_KEY_CGROUP, 128, {0}};
	memcpy(by_id.session.id + 8, &id, sizeof(id));
	assert_int_equal(bpf_map_get_next_key(map_fd(affinity), NULL, &key), 0);
	assert_memory_equal(&key, &by_id, sizeof(key));
	/* A cgroup with a name is known by its name. */
	put(clients, id, &client);
	visit_with(make_client());
	by_id.session.id[0] = 1;
	memcpy(by_id.session.id + 8, &client.id, sizeof(client.id));
	wait_for(!bpf_map_lookup_elem(map_fd(affinity), &by_id, &(struct pintle_affinity){0}));
}

/* Whether a visit binds a session with this id. */
static void assert_binds(uint32_t kind, uint64_t high, uint64_t low)
{
	struct pintle_affinity_key key = {
		.pool = POOL, .pool_generation = POOL_GEN, .session = {kind, 128, {0}}};

	memcpy(key.session.id, &high, sizeof(high));
	memcpy(key.session.id + 8, &low, sizeof(low));
	visit_with(make_client());
	wait_for(!bpf_map_lookup_elem(map_fd(affinity), &key, &(struct pintle_affinity){0}));
	assert_int_equal(bpf_map_delete_elem(map_fd(affinity), &key), 0);
}

/* A pod's keys, and the network namespace's where the pod is not known. */
static void test_key_pod(void **state)
{
	struct pintle_client client = {.id = 4711, .name = "pod/4711"};
	struct pintle_pod pod = {.space = 17, .account = 18};
	static const uint32_t kinds[] = {PINTLE_KEY_POD, PINTLE_KEY_NAMESPACE, PINTLE_KEY_ACCOUNT};
	int fd = make_client();
	uint64_t cookie = 0, id;
	socklen_t size = sizeof(cookie);
	struct stat st;

	(void)state;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size), 0);
	close(fd);
	assert_int_equal(stat(cgroup, &st), 0);
	id = st.st_ino;
	serve_four(PINTLE_KEY_POD);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		w.pool.key_kind = kinds[i];
		put_pool();
		assert_binds(kinds[i], 0, cookie);
	}
	put(clients, id, &client);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		w.pool.key_kind = kinds[i];
		put_pool();
		assert_binds(kinds[i], !i, i ? cookie : client.id);
	}
	put(pods, client.id, &pod);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const uint64_t low[] = {client.id, pod.space, pod.account};

		w.pool.key_kind = kinds[i];
		put_pool();
		assert_binds(kinds[i], 1, low[i]);
	}
}

/* Each address of a frontend that is a prefix is a session. */
static void test_key_destination(void **state)
{
	const struct pintle_frontend prefix = {POOL, POOL_GEN, PINTLE_HOOK_CONNECT, 0, 96 + 16};
	uint32_t first = NOBODY, moved = 0;

	(void)state;
	serve_four(PINTLE_KEY_DESTINATION);
	put_frontend("127.79.0.0", 16, PORT, prefix);
	for (int i = 0; i < 40; i++) {
		char address[32];
		int fd = make_client(), server;
		uint32_t e;

		snprintf(address, sizeof(address), "127.79.1.%d", i < 20 ? 1 : i);
		assert_int_equal(connect_to(fd, address, PORT), 0);
		e = served_by(&server);
		close(fd);
		close(server);
		wait_for(in_flight(e) == 0);
		first = first == NOBODY ? e : first;
		if (i < 20)
			assert_int_equal(e, first);
		else
			moved += e != first;
	}
	assert_true(moved > 0);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_STICKY), 19);
}

/* A connection that was never established binds no session. */
static void test_the_refused_bind_nothing(void **state)
{
	struct pintle_affinity_key key;

	(void)state;
	serve(0, "127.0.0.1");
	stop_serving(0);
	w.pool.key_kind = PINTLE_KEY_CLIENT;
	put_pool();
	refuse_once();
	assert_int_equal(bpf_map_get_next_key(map_fd(affinity), NULL, &key), -ENOENT);
}

/* ---- shares -------------------------------------------------------------------------------- */

static uint64_t own_netns(void)
{
	uint64_t cookie;
	socklen_t size = sizeof(cookie);
	int fd = make_client();

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size), 0);
	close(fd);
	return cookie;
}

static uint64_t share_of(uint64_t client)
{
	uint64_t n = 0;

	bpf_map_lookup_elem(map_fd(shares), &client, &n);
	return n;
}

/* Adds n bindings of another client, used just now, to a map of bindings. */
static void fill(int map, uint32_t n, uint64_t client)
{
	struct pintle_affinity_key key = {
		POOL, POOL_GEN, {.kind = PINTLE_KEY_HINT, .prefix_bits = 128}};
	struct pintle_affinity a = {.endpoint = 0,
				    .generation = GEN(0),
				    .bound_ns = monotonic_ns(),
				    .used_ns = monotonic_ns(),
				    .client = client};

	for (uint64_t i = 0; i < n; i++) {
		uint64_t id = random_at(i);

		memcpy(key.session.id, &id, sizeof(id));
		assert_int_equal(bpf_map_update_elem(map, &key, &a, BPF_ANY), 0);
	}
}

static uint64_t made(void)
{
	struct pintle_bindings n;

	get(bindings, (uint32_t)POOL, &n);
	return n.made;
}

static void test_a_share_is_counted(void **state)
{
	uint64_t self = own_netns();

	(void)state;
	serve_four(PINTLE_KEY_HINT);
	for (int i = 0; i < 20; i++)
		visit_with(hinted_apart(i % 10));
	assert_int_equal(share_of(self), 10);
	assert_int_equal(made(), 10);
	assert_int_equal(entries_of(map_fd(affinity)), 10);
	assert_int_equal(entries_of(map_fd(affinity_beyond)), 0);
	/* A session that moves to another endpoint is not a new one. */
	put_override(PINTLE_ENDPOINT_SLOT(visit_with(hinted_apart(1))),
		     GEN(visit_with(hinted_apart(1))), PINTLE_OVERRIDE_DRAIN, 0);
	visit_with(hinted_apart(1));
	assert_int_equal(share_of(self), 10);
	assert_int_equal(made(), 10);
}

/* Also without a daemon, a client beyond its share takes no binding from other clients, and keeps
 * its own earlier sessions. */
static void test_a_client_beyond_its_share(void **state)
{
	uint64_t self = own_netns(), full = PINTLE_CLIENT_SHARE - 1;
	uint32_t first, e;

	(void)state;
	serve_four(PINTLE_KEY_HINT);
	fill(map_fd(affinity), 1000, self + 1);
	put(shares, self, &full);
	first = visit_with(hinted_apart(0)); /* the last session within the share */
	assert_int_equal(entries_of(map_fd(affinity)), 1001);
	fill(map_fd(affinity_beyond), PINTLE_AFFINITY_BEYOND_ENTRIES, self + 1);
	for (int i = 1; i <= 300; i++) {
		e = visit_with(hinted_apart(i));
		if (i % 100 == 0)
			assert_int_equal(visit_with(hinted_apart(i)),
					 e); /* bound in affinity_beyond */
	}
	assert_int_equal(share_of(self), PINTLE_CLIENT_SHARE);
	assert_int_equal(made(), 301);
	assert_int_equal(entries_of(map_fd(affinity)), 1001);
	assert_true(entries_of(map_fd(affinity_beyond)) <= PINTLE_AFFINITY_BEYOND_ENTRIES);
	assert_int_equal(visit_with(hinted_apart(0)), first);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_STICKY), 4);
}

/* ---- most of a pool ------------------------------------------------------------------------ */

/* The vote of this CPU, on which every step of a loopback connection runs. */
static struct pintle_majority majority(void)
{
	static struct pintle_majority all[1024];

	assert_in_range(libbpf_num_possible_cpus(), 1, ARRAY_SIZE(all));
	get(majorities, (uint32_t)POOL, all);
	return all[sched_getcpu()];
}

static void stay_on_this_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static double share_made(void)
{
	return (double)majority().share / PINTLE_MAJORITY_WHOLE;
}

static bool is_majority(const struct pintle_session_key *session)
{
	struct pintle_majority m = majority();

	return !memcmp(&m.session, session, sizeof(*session));
}

static void test_a_session_that_makes_most(void **state)
{
	struct pintle_session_key one;
	cpu_set_t before;

	(void)state;
	sched_getaffinity(0, sizeof(before), &before);
	stay_on_this_cpu();
	serve_four(PINTLE_KEY_HINT);
	visit_with(hinted(0));
	one = majority().session;
	for (int i = 1; i < 300; i++)
		visit_with(i % 4 ? hinted(i) : hinted_apart(i));
	assert_true(is_majority(&one));
	assert_int_equal(majority().seen, PINTLE_MAJORITY_WINDOW);
	assert_true(share_made() > 0.7 && share_made() < 0.8);
	/* Connections without a session are counted, and vote for no session. */
	for (int i = 0; i < PINTLE_MAJORITY_WINDOW; i++)
		visit_with(make_client());
	assert_true(is_majority(&one));
	assert_true(share_made() < 0.4);
	/* Another session takes over. */
	for (int i = 0; i < 200; i++)
		visit_with(hinted_apart(7));
	assert_false(is_majority(&one));
	assert_true(share_made() > 0.9);
	/* Many sessions of equal size have no majority. */
	for (int i = 0; i < 500; i++)
		visit_with(hinted_apart(i % 10));
	assert_true(majority().seen < 50 || share_made() < 0.5);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

/* ---- hints -------------------------------------------------------------------------------------
 */

static int set(int fd, int level, int option, const void *value, socklen_t size)
{
	return setsockopt(fd, level, option, value, size) ? -errno : 0;
}

static void test_hints_that_do_not_fit(void **state)
{
	static const uint32_t eight = 8, seven = 7;
	char text[PINTLE_HINT_MAX + 1] = "";
	int fd = make_client(), udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct {
		int option;
		const void *value;
		socklen_t size;
		int result;
	} cases[] = {
		{PINTLE_HINT_SESSION, text, 0, -EINVAL},
		{PINTLE_HINT_SESSION, text, 1, 0},
		{PINTLE_HINT_SESSION, text, PINTLE_HINT_MAX, 0},
		{PINTLE_HINT_SESSION, text, PINTLE_HINT_MAX + 1, -EINVAL},
		{PINTLE_HINT_GROUP, text, PINTLE_HINT_MAX + 1, -EINVAL},
		{PINTLE_HINT_GROUP, text, 8, 0},
		{PINTLE_HINT_CLASS, &seven, 4, 0},
		{PINTLE_HINT_CLASS, &seven, 3, -EINVAL},
		{PINTLE_HINT_CLASS, text, 8, -EINVAL},
		{PINTLE_HINT_CLASS, &eight, 4, -EINVAL},
		{PINTLE_HINT_SESSION - 1, text, 4, -ENOPROTOOPT},
		{PINTLE_HINT_CLASS + 1, text, 4, -ENOPROTOOPT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (set(fd, PINTLE_HINT_LEVEL, cases[i].option, cases[i].value, cases[i].size) !=
		    cases[i].result)
			fail_msg("case %zu: not %d", i, cases[i].result);
	assert_int_not_equal(set(udp, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, text, 4), 0);
	close(udp);
	close(fd);
}

/* Other socket options pass through with any length, also beyond the bytes that the program sees.
 */
static void test_foreign_options_pass(void **state)
{
	static const size_t sizes[] = {4, 512, 4096, 4097, 65536};
	int fd = make_client(), one = 1, is = 0;
	socklen_t size = sizeof(is);

	(void)state;
	assert_int_equal(set(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &is, &size), 0);
	assert_int_equal(is, 1);
	/* TCP_ULP and the like refuse unknown names with their own error, for any length. The name
	 * of a congestion control is cut to its size, and must arrive as given. */
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *name = calloc(1, sizes[i]), got[16] = "";

		size = sizeof(got);
		assert_non_null(name);
		memcpy(name, i % 2 ? "reno" : "cubi", 4);
		if (!(i % 2) && sizes[i] > 4)
			name[4] = 'c';
		if (sizes[i] > 4) {
			assert_int_equal(
				set(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)sizes[i]), 0);
			assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, got, &size),
					 0);
			assert_string_equal(got, name);
		}
		free(name);
	}
	close(fd);
}

/* A second Pintle serves a cgroup below the first one's: the program that runs second finds the
 * hint taken. */
static void test_two_take_hints(void **state)
{
	char below[PATH_MAX];
	struct bpf_link *second;
	int group, fd;

	(void)state;
	assert_true(snprintf(below, sizeof(below), "%.4000s/below", cgroup) > 0);
	assert_int_equal(mkdir(below, 0755), 0);
	group = cgroup2_open(below);
	second = bpf_program__attach_cgroup(w.skel->progs.pintle_hint, group);
	assert_non_null(second);
	join(below);
	fd = make_client();
	assert_int_equal(set(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, "a", 1), 0);
	close(fd);
	join(home);
	bpf_link__destroy(second);
	close(group);
	assert_int_equal(rmdir(below), 0);
}

static void test_without_pintle(void **state)
{
	int fd = make_client();

	(void)state;
	assert_int_equal(bpf_link__detach(links[1]), 0);
	assert_int_equal(set(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, "a", 1), -ENOPROTOOPT);
	close(fd);
}

/* ---- each test ---------------------------------------------------------------------------------
 */

static int attach(void **state)
{
	const struct pintle_frontend ours = {POOL, POOL_GEN, PINTLE_HOOK_CONNECT, 0, 128};
	struct bpf_program *programs[ARRAY_SIZE(links)];
	int group;

	if (make_world(state))
		return -1;
	set_lo(true);
	w.pool.decided_by = PINTLE_HOOK_CONNECT;
	w.pool.key_kind = PINTLE_KEY_NONE;
	put_pool();
	put_frontend(VIP_V4, 32, PORT, ours);
	put_frontend(VIP_V6, 128, PORT, ours);
	group = cgroup2_open(cgroup);
	assert_true(group >= 0);
	programs[0] = w.skel->progs.pintle_clients;
	programs[1] = w.skel->progs.pintle_hint;
	programs[2] = w.skel->progs.pintle_release;
	programs[3] = w.skel->progs.pintle_getpeername4;
	programs[4] = w.skel->progs.pintle_getpeername6;
	programs[5] = w.skel->progs.pintle_connect4;
	programs[6] = w.skel->progs.pintle_connect6;
	for (size_t i = 0; i < 7; i++) {
		links[i] = bpf_program__attach_cgroup(programs[i], group);
		if (!links[i])
			return -1;
	}
	close(group);
	join(cgroup);
	return 0;
}

static int detach(void **state)
{
	join(home);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		bpf_link__destroy(links[i]);
		links[i] = NULL;
	}
	return unmake_world(state);
}

#define connect_test(f) cmocka_unit_test_setup_teardown(f, attach, detach)

int main(void)
{
	const struct CMUnitTest tests[] = {
		connect_test(test_ipv4),
		connect_test(test_mapped),
		connect_test(test_ipv6),
		connect_test(test_off_passes),
		connect_test(test_shadow_passes_and_counts_the_rule),
		connect_test(test_shadow_forecasts_for_whom_access_refuses),
		connect_test(test_shadow_leaves_the_try),
		connect_test(test_long_without_a_daemon_passes),
		connect_test(test_nobody_ready),
		connect_test(test_others_are_left_alone),
		connect_test(test_no_route),
		connect_test(test_connect_again),
		connect_test(test_an_accepted_socket_that_connects),
		connect_test(test_a_shared_socket_ends_once),
		connect_test(test_an_endpoint_that_is_another_now),
		connect_test(test_a_recount_finds_what_was_missed),
		connect_test(test_ends_are_summed),
		connect_test(test_refused_in_a_row),
		connect_test(test_a_full_ring_is_told),
		connect_test(test_ejections_grow_and_end),
		connect_test(test_which_failures_are_of_the_row),
		connect_test(test_a_page_voids_an_ejection),
		connect_test(test_an_old_connection_is_no_success),
		connect_test(test_only_a_share_is_ejected),
		connect_test(test_reset_before_the_first_byte),
		connect_test(test_unanswered),
		connect_test(test_key_source),
		connect_test(test_key_mark),
		connect_test(test_key_hint),
		connect_test(test_a_session_that_makes_most),
		connect_test(test_a_share_is_counted),
		connect_test(test_a_client_beyond_its_share),
		connect_test(test_key_client),
		connect_test(test_key_cgroup),
		connect_test(test_key_pod),
		connect_test(test_key_destination),
		connect_test(test_the_refused_bind_nothing),
		connect_test(test_hints_that_do_not_fit),
		connect_test(test_foreign_options_pass),
		connect_test(test_two_take_hints),
		connect_test(test_without_pintle),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
