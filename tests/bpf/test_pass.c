/* SPDX-License-Identifier: Apache-2.0 */
/* The pass over real connections, of servers and of clients: what the iterators say of requests,
 * and what the sessions' bindings count. No daemon runs; the test runs the iterators. */
#define PROGRAMS                                                                                   \
	"pintle_lookup", "pintle_servers", "pintle_clients", "pintle_release", "pintle_connect4",  \
		"pintle_connect6", "pintle_pass", "pintle_pass_connects", "pintle_earlier"
#include "support_attached.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "../../userspace/pintled/attach/walk.h"

#define FRONTEND "127.77.0.1" /* every address of 127/8 is local, so no route is needed */
#define PORT     8000

static struct bpf_link *links[8];
static enum pintle_hook hook;

/* ---- sockets --------------------------------------------------------------------------- */

static void make_ready(uint32_t e)
{
	struct pintle_score s = {
		.generation = GEN(e), .scraped_ns = monotonic_ns(), .model = {{0, 1000}}};

	put(scores, e, &s);
}

/* Makes endpoint e, with a server, for either hook. */
static void serve(uint32_t e)
{
	int fd = bound(IPPROTO_TCP, "127.0.0.1", 0);
	struct pintle_endpoint is = {.generation = GEN(e),
				     .pool = POOL,
				     .pool_generation = POOL_GEN,
				     .port = port_of(fd)};
	struct pintle_address_key key = {.port = port_of(fd)};
	struct pintle_address to = {.endpoint = e, .generation = GEN(e), .pool = POOL};

	address_of("127.0.0.1", is.address);
	address_of("127.0.0.1", key.address);
	put(endpoints, e, &is);
	put(addresses, key, &to);
	w.listener[e] = fd;
	w.pool.members[e] = (struct pintle_ref){e, GEN(e)};
	w.pool.member_count = e + 1;
	put_pool();
	assert_int_equal(listen(fd, 64), 0);
	make_ready(e);
}

struct pair {
	int client, server;
};

static int client(void)
{
	int fd = make_client();

	assert_int_equal(connect_to(fd, FRONTEND, PORT), 0);
	return fd;
}

static int accept_from(uint32_t e)
{
	struct pollfd ready = {w.listener[e], POLLIN, 0};
	int fd;

	assert_int_equal(poll(&ready, 1, 20000), 1);
	fd = accept4(w.listener[e], NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static struct pair open_pair(uint32_t e)
{
	struct pair p = {.client = client()};

	p.server = accept_from(e);
	return p;
}

static void close_pair(struct pair p)
{
	close(p.client);
	close(p.server);
}

static void put_bytes(int fd, size_t n)
{
	static const char bytes[1 << 17];

	assert_true(n <= sizeof(bytes));
	assert_int_equal(write(fd, bytes, n), n);
}

/* Writes at one end and reads all of it at the other. */
static void move_bytes(int from, int to, size_t n)
{
	char buf[4096];
	ssize_t got;

	put_bytes(from, n);
	while (n) {
		got = read(to, buf, n < sizeof(buf) ? n : sizeof(buf));
		assert_true(got > 0);
		n -= (size_t)got;
	}
}

/* ---- the pass -------------------------------------------------------------------------- */

/* Runs a pass as the daemon does, and returns what it found for endpoint e. */
static struct pintle_work pass(uint32_t e)
{
	struct bpf_program *program = hook == PINTLE_HOOK_LOOKUP
					      ? w.skel->progs.pintle_pass
					      : w.skel->progs.pintle_pass_connects;
	int map = hook == PINTLE_HOOK_LOOKUP ? map_fd(conns) : map_fd(connects);
	struct pintle_work had, begin;

	get(tally, e, &had);
	begin = (struct pintle_work){
		.generation = GEN(e),
		.out_ns = had.out_ns,
		.read_ns = had.read_ns,
		.requests = had.requests,
		.request_bytes = had.request_bytes,
		.uncached_bytes = had.uncached_bytes,
	};
	put(tally, e, &begin);
	recount_by(program, map, 0);
	get(tally, e, &had);
	return had;
}

/* The only binding there is. */
static struct pintle_affinity binding(void)
{
	struct pintle_affinity_key key;
	struct pintle_affinity a;

	assert_int_equal(bpf_map_get_next_key(map_fd(affinity), NULL, &key), 0);
	get(affinity, key, &a);
	return a;
}

static void evict(void)
{
	struct pintle_affinity_key key;

	assert_int_equal(bpf_map_get_next_key(map_fd(affinity), NULL, &key), 0);
	assert_int_equal(bpf_map_delete_elem(map_fd(affinity), &key), 0);
}

static void assert_binding(uint32_t open, uint32_t idle)
{
	assert_int_equal(binding().open, open);
	assert_int_equal(binding().idle, idle);
}

/* ---- states ---------------------------------------------------------------------------- */

static void test_a_request_from_its_first_byte_to_its_last(void **state)
{
	struct pintle_work n;
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	n = pass(0);
	assert_int_equal(n.connections, 1);
	assert_int_equal(n.unseen, 1);
	assert_int_equal(n.waiting + n.answering + n.idle, 0);

	move_bytes(p.client, p.server, 700);
	wait_for(pass(0).waiting == 1);
	move_bytes(p.client, p.server, 300); /* the same request goes on */
	wait_for(pass(0).waiting_bytes == 1000);
	n = pass(0);
	assert_int_equal(n.headed + n.unseen + n.answering + n.idle, 0);
	assert_int_equal(n.requests, 1);
	assert_int_equal(n.request_bytes, 1000);
	assert_in_range(n.oldest_ns, 1, monotonic_ns());

	move_bytes(p.server, p.client, 100);
	wait_for(pass(0).headed == 1);
	n = pass(0);
	assert_int_equal(n.waiting, 1); /* a head is no token */
	assert_int_equal(n.waiting_bytes, 1000);
	assert_int_equal(n.out_ns, 0);

	move_bytes(p.server, p.client, 10);
	wait_for(pass(0).answering == 1);
	n = pass(0);
	assert_int_equal(n.waiting + n.headed + n.waiting_bytes, 0);
	assert_int_equal(n.oldest_ns, 0);
	assert_in_range(n.out_ns, 1, monotonic_ns());

	wait_for(pass(0).idle == 1);
	move_bytes(p.client, p.server, 77); /* the next request of a kept-alive connection */
	wait_for(pass(0).waiting == 1);
	n = pass(0);
	assert_int_equal(n.waiting_bytes, 77);
	assert_int_equal(n.requests, 2);
	assert_int_equal(n.request_bytes, 1077);
	close_pair(p);
	wait_for(pass(0).connections == 0);
	assert_int_equal(pass(0).waiting, 0);
}

static void test_bytes_are_exact(void **state)
{
	static const size_t sizes[] = {1,    2,     3,     99,    100,   511,   512,
				       513,  1024,  1447,  1448,  1449,  4096,  8191,
				       9999, 10000, 16384, 30000, 65535, 100000};
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	assert_int_equal(ARRAY_SIZE(sizes), 20);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		move_bytes(p.client, p.server, sizes[i]);
		wait_for(pass(0).waiting == 1);
		assert_int_equal(pass(0).waiting_bytes, sizes[i]);
		/* More than a head, in one segment: a whole answer. */
		move_bytes(p.server, p.client, 600);
		wait_for(pass(0).answering == 1);
	}
	assert_int_equal(pass(0).requests, ARRAY_SIZE(sizes));
	close_pair(p);
}

/* Between two passes, and mostly within a jiffy, an answer ends and the next request comes. */
static void test_the_next_request_comes_at_once(void **state)
{
	struct pintle_work n;
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	move_bytes(p.client, p.server, 700);
	for (size_t i = 0; i < 40; i++) {
		wait_for(pass(0).waiting == 1);
		move_bytes(p.server, p.client, 600);
		move_bytes(p.client, p.server, 400 + i);
		n = pass(0);
		assert_int_equal(n.waiting, 1);
		assert_int_equal(n.answering + n.headed + n.idle, 0);
		assert_int_equal(n.waiting_bytes, 400 + i);
	}
	close_pair(p);
}

/* Between two passes, and mostly within a jiffy, a request comes and is answered. */
static void test_an_answer_comes_at_once(void **state)
{
	struct pintle_work n;
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	for (size_t i = 0; i < 40; i++) {
		move_bytes(p.client, p.server, 400);
		move_bytes(p.server, p.client, 600);
		n = pass(0);
		assert_int_equal(n.answering, 1);
		assert_int_equal(n.waiting + n.headed + n.idle, 0);
		assert_int_equal(n.requests, i + 1);
	}
	close_pair(p);
}

/* The connection has been open when its first request is seen: an answer came before. */
static void test_a_request_before_the_first_pass(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	move_bytes(p.client, p.server, 300);
	move_bytes(p.server, p.client, 600);
	move_bytes(p.client, p.server, 400);
	assert_int_equal(pass(0).waiting, 1);
	close_pair(p);
}

/* Without a daemon, or not followed, a connection has many requests; only one waits. */
static void test_many_requests_without_a_pass(void **state)
{
	struct pintle_turn t;
	struct pair p;
	int fd;

	(void)state;
	serve(0);
	p = open_pair(0);
	fd = hook == PINTLE_HOOK_LOOKUP ? p.server : p.client;
	move_bytes(p.client, p.server, 100);
	wait_for(pass(0).waiting == 1);
	get(turns, fd, &t);
	t.looked_ms -= 60000;
	put(turns, fd, &t);
	for (size_t i = 0; i < 20; i++) {
		move_bytes(p.server, p.client, 600);
		move_bytes(p.client, p.server, 10000);
	}
	assert_int_equal(pass(0).waiting, 1);
	assert_in_range(pass(0).waiting_bytes, 1, 10000);
	assert_in_range(pass(0).request_bytes, 1, 10000);
	close_pair(p);
}

static void test_a_connection_that_never_sends(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	assert_int_equal(pass(0).unseen, 1);
	wait_for(pass(0).idle == 1);
	assert_int_equal(pass(0).unseen, 0);
	assert_int_equal(pass(0).requests, 0);
	close_pair(p);
}

/* A model that thinks for longer than a second between two tokens is still answering. */
static void test_an_answer_that_goes_on_after_a_silence(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	move_bytes(p.client, p.server, 50);
	wait_for(pass(0).waiting == 1);
	move_bytes(p.server, p.client, 600);
	wait_for(pass(0).answering == 1);
	wait_for(pass(0).idle == 1);
	move_bytes(p.server, p.client, 10);
	wait_for(pass(0).idle == 0);
	assert_int_equal(pass(0).answering, 1);
	assert_int_equal(pass(0).waiting, 0);
	wait_for(pass(0).idle == 1);
	if (hook == PINTLE_HOOK_LOOKUP)
		assert_int_equal(binding().context_bytes, 50 + 610);
	close_pair(p);
}

static void test_not_followed(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	w.pool.follow = 0;
	put_pool();
	p = open_pair(0);
	move_bytes(p.client, p.server, 50);
	assert_int_equal(pass(0).connections, 0);
	assert_int_equal(pass(0).requests, 0);
	close_pair(p);
}

/* ---- the server's side alone ------------------------------------------------------------- */

static void test_what_the_server_has_not_read(void **state)
{
	struct pintle_work n;
	struct pair p;
	int more;

	(void)state;
	serve(0);
	p = open_pair(0);
	put_bytes(p.client, 5000);
	wait_for(pass(0).unread == 5000);
	n = pass(0);
	assert_int_equal(pass(0).read_ns, n.read_ns); /* nothing was read in between */
	move_bytes(p.client, p.server, 1000);         /* reads 1000 of the 6000 */
	wait_for(pass(0).unread == 5000);
	assert_true(pass(0).read_ns > n.read_ns);

	assert_int_equal(pass(0).backlog, 0);
	more = client();
	wait_for(pass(0).backlog == 1);
	close_pair((struct pair){more, accept_from(0)});
	assert_int_equal(pass(0).backlog, 0);
	close_pair(p);
}

/* ---- sessions ---------------------------------------------------------------------------- */

static void test_a_session_counts_what_it_has_open(void **state)
{
	struct pair p, q;

	(void)state;
	serve(0);
	p = open_pair(0);
	assert_binding(1, 0);
	q = open_pair(0);
	assert_binding(2, 0);
	move_bytes(p.client, p.server, 400);
	wait_for(pass(0).waiting == 1);
	assert_int_equal(pass(0).prompt_bytes, 400);
	wait_for(pass(0).idle == 1); /* q, which sends nothing */
	assert_binding(2, 1);
	move_bytes(p.server, p.client, 600);
	wait_for(pass(0).idle == 2);
	assert_binding(2, 2);
	assert_int_equal(binding().context_bytes, 1000);

	/* What the endpoint has cached is not work. */
	move_bytes(q.client, q.server, 1250);
	wait_for(pass(0).waiting == 1);
	assert_int_equal(pass(0).prompt_bytes, 250);
	assert_int_equal(pass(0).waiting_bytes, 1250);
	assert_int_equal(pass(0).uncached_bytes, 400 + 250);
	assert_binding(2, 1);
	close_pair(p);
	wait_for(in_flight(0) == 1);
	assert_binding(1, 0);
	close_pair(q);
	wait_for(in_flight(0) == 0);
	assert_binding(0, 0);
}

/* The binding of a session is evicted while two connections are open, and made anew by a third. */
static void test_an_evicted_binding_does_not_count_below_zero(void **state)
{
	struct pair p, q, r;

	(void)state;
	serve(0);
	p = open_pair(0);
	q = open_pair(0);
	wait_for(pass(0).idle == 2);
	evict();
	r = open_pair(0);
	assert_binding(1, 0);
	close_pair(p);
	close_pair(q);
	wait_for(in_flight(0) == 1);
	assert_binding(0, 0);
	close_pair(r);
	wait_for(in_flight(0) == 0);
	assert_binding(0, 0);
}

/* A session that moves keeps the count of what it has open at its former endpoint. */
static void test_a_session_that_moves(void **state)
{
	struct pair p, q;

	(void)state;
	serve(0);
	p = open_pair(0);
	wait_for(pass(0).idle == 1);
	assert_binding(1, 1);
	serve(1);
	put_override(PINTLE_ENDPOINT_SLOT(0), GEN(0), PINTLE_OVERRIDE_DRAIN, 0);
	q = open_pair(1);
	assert_int_equal(binding().endpoint, 1);
	assert_binding(2, 1);
	assert_int_equal(binding().context_bytes, 0); /* endpoint 1 has cached nothing */
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_binding(1, 0);
	close_pair(q);
	wait_for(in_flight(1) == 0);
	assert_binding(0, 0);
}

/* A connection that was opened while its pool's requests were not followed is in no count. */
static void test_followed_only_later(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	w.pool.follow = 0;
	put_pool();
	p = open_pair(0);
	assert_binding(0, 0);
	w.pool.follow = 1;
	put_pool();
	wait_for(pass(0).idle == 1);
	assert_binding(0, 0);
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_binding(0, 0);
}

/* ---- connections from before -------------------------------------------------------------- */

static int connected(const char *ip, uint16_t port)
{
	int fd = make_client();

	assert_int_equal(connect_to(fd, ip, port), 0);
	return fd;
}

/* A socket that a server had accepted before, and that is a client's now, has two records. */
static void test_an_accepted_socket_that_connects(void **state)
{
	struct pintle_conn earlier = {
		.endpoint = 0, .generation = GEN(0), .flags = PINTLE_CONN_EARLIER, .opened_ns = 1};
	struct pair p = {.client = make_client()};
	struct pintle_work n;

	(void)state;
	serve(0);
	put(conns, p.client, &earlier);
	assert_int_equal(connect_to(p.client, FRONTEND, PORT), 0);
	p.server = accept_from(0);
	move_bytes(p.client, p.server, 700);
	for (int i = 0; i < 3; i++) {
		n = pass(0);
		assert_int_equal(n.waiting, 1);
		assert_int_equal(n.requests, 1);
		recount_by(w.skel->progs.pintle_pass, map_fd(conns), 0);
	}
	close_pair(p);
}

/* A connection that was accepted while sockops was not attached. */
static void test_an_earlier_connection(void **state)
{
	int group = cgroup2_open(cgroup), client_fd, server_fd, stranger, strange_client;
	struct pintle_work n;
	uint16_t port;
	char buf[500];

	(void)state;
	serve(0);
	port = port_of(w.listener[0]);
	stranger = bound(IPPROTO_TCP, "127.0.0.1", 0);
	assert_int_equal(listen(stranger, 8), 0);
	/* The listener's record would be copied, too: it is as if the daemon had not found it. */
	assert_int_equal(bpf_map_delete_elem(map_fd(conns), &w.listener[0]), 0);
	bpf_link__destroy(links[0]);
	client_fd = connected("127.0.0.1", port);
	server_fd = accept_from(0);
	strange_client = connected("127.0.0.1", port_of(stranger));
	links[0] = bpf_program__attach_cgroup(w.skel->progs.pintle_servers, group);
	assert_non_null(links[0]);
	put_bytes(client_fd, sizeof(buf));
	put_bytes(strange_client, sizeof(buf));
	assert_int_equal(pass(0).unread, 0);

	for (int i = 0; i < 2; i++)
		assert_int_equal(walk_program(bpf_program__fd(w.skel->progs.pintle_earlier)), 0);
	wait_for(pass(0).unread == sizeof(buf));
	n = pass(0);
	assert_int_equal(n.connections + n.requests, 0); /* nobody decided it */
	assert_int_equal(read(server_fd, buf, sizeof(buf)), sizeof(buf));
	wait_for(!pass(0).unread);
	assert_true(pass(0).read_ns > n.read_ns);
	close(client_fd);
	close(server_fd);
	close(strange_client);
	close(stranger);
	close(group);
	assert_int_equal(in_flight(0), 0);
}

/* ---- first tokens ---------------------------------------------------------------------- */

static struct pintle_firsts first_tokens(void)
{
	struct pintle_firsts f;

	get(firsts, 0U, &f);
	return f;
}

static bool all_acknowledged(int fd)
{
	int left;

	assert_int_equal(ioctl(fd, SIOCOUTQ, &left), 0);
	return !left;
}

/* How often the kernel called sockops. */
static uint64_t calls(void)
{
	struct bpf_program *program = hook == PINTLE_HOOK_LOOKUP ? w.skel->progs.pintle_servers
								 : w.skel->progs.pintle_clients;
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size), 0);
	return info.run_cnt;
}

/* What is counted lies between what the test can know: from after the request was acknowledged to
 * before the token was written, and from before the one to after the other. */
static void assert_first_token_is_timed(struct pair p, size_t bytes)
{
	struct pintle_firsts before = first_tokens(), after;
	uint64_t asked, acknowledged, told;

	asked = monotonic_ns();
	move_bytes(p.client, p.server, bytes);
	wait_for(all_acknowledged(p.client));
	acknowledged = monotonic_ns();
	move_bytes(p.server, p.client, 100); /* the head */
	usleep(20000);
	assert_int_equal(first_tokens().answers, before.answers);
	told = monotonic_ns();
	move_bytes(p.server, p.client, 10);
	wait_for(first_tokens().answers == before.answers + 1);
	after = first_tokens();
	assert_in_range(after.waited_ns - before.waited_ns, told - acknowledged,
			monotonic_ns() - asked);
}

static void test_the_first_token(void **state)
{
	_cleanup_close_ int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	struct pair p;
	uint64_t n;

	(void)state;
	assert_true(stats >= 0);
	serve(0);
	p = open_pair(0);
	assert_first_token_is_timed(p, 1000);
	n = calls();
	for (int i = 0; i < 20; i++)
		move_bytes(p.server, p.client, 10);
	assert_int_equal(calls(), n); /* nothing for each token */
	close_pair(p);
	p = open_pair(0);
	assert_first_token_is_timed(p, 100000);
	close_pair(p);
}

/* Further requests of a connection: each at a client, none at a server. */
static void test_first_tokens_of_a_kept_connection(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	assert_first_token_is_timed(p, 300);
	if (hook == PINTLE_HOOK_CONNECT) {
		assert_first_token_is_timed(p, 20000);
		assert_first_token_is_timed(p, 1);
	} else {
		move_bytes(p.client, p.server, 300);
		move_bytes(p.server, p.client, 100);
		move_bytes(p.server, p.client, 10);
	}
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_int_equal(first_tokens().answers, hook == PINTLE_HOOK_CONNECT ? 3 : 1);
}

/* An answer that comes at once has its first token in its only segment, which shows when the
 * connection asks again, or ends. */
static void test_an_answer_of_one_segment(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	p = open_pair(0);
	move_bytes(p.client, p.server, 1000);
	wait_for(all_acknowledged(p.client));
	move_bytes(p.server, p.client, 100);
	assert_int_equal(first_tokens().answers, 0);
	if (hook == PINTLE_HOOK_CONNECT) {
		move_bytes(p.client, p.server, 1000);
		wait_for(first_tokens().answers == 1);
		move_bytes(p.server, p.client, 100);
	}
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_int_equal(first_tokens().answers, hook == PINTLE_HOOK_CONNECT ? 2 : 1);
}

/* A client that delays its acknowledgements acknowledges an answer's head and first token at once.
 */
static void test_head_and_first_token_acknowledged_at_once(void **state)
{
	int delayed = 0, at_once = 1;
	struct pair p;
	char got[110];

	(void)state;
	serve(0);
	p = open_pair(0);
	move_bytes(p.client, p.server, 1000);
	wait_for(all_acknowledged(p.client));
	assert_int_equal(setsockopt(p.server, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once)),
			 0);
	assert_int_equal(setsockopt(p.client, IPPROTO_TCP, TCP_QUICKACK, &delayed, sizeof(delayed)),
			 0);
	assert_int_equal(send(p.server, got, 100, 0), 100);
	assert_int_equal(send(p.server, got, 10, 0), 10);
	assert_int_equal(recv(p.client, got, sizeof(got), MSG_WAITALL), sizeof(got));
	wait_for(first_tokens().answers == 1);
	close_pair(p);
}

static void test_no_first_token(void **state)
{
	struct pair p;

	(void)state;
	serve(0);
	/* The server speaks first; a client asks in vain; nobody speaks. */
	p = open_pair(0);
	move_bytes(p.server, p.client, 100);
	move_bytes(p.server, p.client, 100);
	close_pair(p);
	p = open_pair(0);
	move_bytes(p.client, p.server, 100);
	close_pair(p);
	close_pair(open_pair(0));
	wait_for(in_flight(0) == 0);
	assert_int_equal(first_tokens().answers, 0);

	w.pool.follow = 0;
	put_pool();
	p = open_pair(0);
	move_bytes(p.client, p.server, 100);
	wait_for(all_acknowledged(p.client));
	move_bytes(p.server, p.client, 100);
	move_bytes(p.server, p.client, 100);
	close_pair(p);
	wait_for(in_flight(0) == 0);
	assert_int_equal(first_tokens().answers, 0);
}

/* ---- each test ------------------------------------------------------------------------------- */

static int attach_to_cgroup(struct bpf_program *const programs[], size_t n)
{
	int group = cgroup2_open(cgroup);

	assert_true(group >= 0);
	for (size_t i = 0; i < n; i++) {
		links[i] = bpf_program__attach_cgroup(programs[i], group);
		if (!links[i])
			return -1;
	}
	close(group);
	return 0;
}

static int make_followed(void **state, enum pintle_hook by)
{
	struct pintle_node n = {.abi_version = PINTLE_ABI_VERSION};
	socklen_t size = sizeof(n.netns_cookie);
	int fd;

	if (make_world(state))
		return -1;
	hook = by;
	set_lo(true);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &n.netns_cookie, &size), 0);
	close(fd);
	n.heartbeat_ns = monotonic_ns();
	put(node, 0U, &n);
	w.pool.decided_by = by;
	w.pool.follow = 1;
	put_pool();
	put_frontend(FRONTEND, 32, PORT, (struct pintle_frontend){POOL, POOL_GEN, by, 0, 128});
	return 0;
}

static int attach_servers(void **state)
{
	int netns;

	if (make_followed(state, PINTLE_HOOK_LOOKUP))
		return -1;
	netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(netns >= 0);
	w.skel->links.pintle_lookup = bpf_program__attach_netns(w.skel->progs.pintle_lookup, netns);
	close(netns);
	if (!w.skel->links.pintle_lookup ||
	    attach_to_cgroup((struct bpf_program *[]){w.skel->progs.pintle_servers}, 1))
		return -1;
	join(cgroup);
	return 0;
}

static int attach_clients(void **state)
{
	if (make_followed(state, PINTLE_HOOK_CONNECT))
		return -1;
	w.pool.key_kind = PINTLE_KEY_CLIENT;
	put_pool();
	if (attach_to_cgroup((struct bpf_program *[]){w.skel->progs.pintle_clients,
						      w.skel->progs.pintle_release,
						      w.skel->progs.pintle_connect4,
						      w.skel->progs.pintle_connect6},
			     4))
		return -1;
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

#define one_test(f, side)                                                                          \
	{                                                                                          \
#f " " #side, f, attach_##side, detach, NULL                                       \
	}
#define both_tests(f) one_test(f, servers), one_test(f, clients)

int main(void)
{
	const struct CMUnitTest tests[] = {
		both_tests(test_a_request_from_its_first_byte_to_its_last),
		both_tests(test_bytes_are_exact),
		both_tests(test_the_next_request_comes_at_once),
		both_tests(test_an_answer_comes_at_once),
		both_tests(test_a_request_before_the_first_pass),
		both_tests(test_many_requests_without_a_pass),
		both_tests(test_a_connection_that_never_sends),
		both_tests(test_an_answer_that_goes_on_after_a_silence),
		both_tests(test_not_followed),
		one_test(test_what_the_server_has_not_read, servers),
		both_tests(test_a_session_counts_what_it_has_open),
		both_tests(test_an_evicted_binding_does_not_count_below_zero),
		both_tests(test_a_session_that_moves),
		both_tests(test_followed_only_later),
		one_test(test_an_earlier_connection, servers),
		one_test(test_an_accepted_socket_that_connects, clients),
		both_tests(test_the_first_token),
		both_tests(test_first_tokens_of_a_kept_connection),
		both_tests(test_an_answer_of_one_segment),
		both_tests(test_head_and_first_token_acknowledged_at_once),
		both_tests(test_no_first_token),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
