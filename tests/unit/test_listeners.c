/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of a namespace as the kernel lists them, and listeners fetched from their processes. */
#include "../../userspace/net/listeners.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pintle/abi.h>
#include <time.h>

#include "../../userspace/net/netns.h"
#include "../../userspace/base/util.h"
#include "support_netns.h"

#define V4     PINTLE_FAMILY_V4
#define V6     PINTLE_FAMILY_V6
#define TRIES  500 /* of 10 ms each: a condition that is not met by then is a failure */
#define NOBODY 65534

/* ---- sockets ---------------------------------------------------------------- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t fill(union address *a, const char *text)
{
	struct endpoint_addr e;

	*a = (union address){0};
	assert_int_equal(addr_parse_endpoint(text, &e, NULL), 0);
	if (text[0] != '[') {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons(e.port);
		memcpy(&a->v4.sin_addr, e.ip.bytes + 12, 4);
		return sizeof(a->v4);
	}
	a->v6.sin6_family = AF_INET6;
	a->v6.sin6_port = htons(e.port);
	memcpy(&a->v6.sin6_addr, &e.ip, 16);
	return sizeof(a->v6);
}

static void set(int fd, int level, int option, int value)
{
	assert_int_equal(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

/* A listener on "a.b.c.d:port" or, AF_INET6, "[address]:port". */
static int listen_on(const char *text, bool v6only, bool reuseport)
{
	union address a;
	socklen_t size = fill(&a, text);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (a.any.sa_family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
	set(fd, SOL_SOCKET, SO_REUSEPORT, reuseport);
	assert_int_equal(bind(fd, &a.any, size), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static int connect_to(const char *text)
{
	union address a;
	socklen_t size = fill(&a, text);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &a.any, size), 0);
	return fd;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	return cookie;
}

static void wait_a_little(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
}

/* ---- dumps ------------------------------------------------------------------ */

static const struct {
	const char *bind; /* a bracketed address: AF_INET6 */
	bool v6only;
	const char *shown;
} kinds[] = {
	{"127.0.0.1:1001", 0, "127.0.0.1:1001 takes v4"},
	{"0.0.0.0:1002", 0, "0.0.0.0:1002 takes v4, any"},
	{"[::1]:1003", 0, "[::1]:1003 takes v6, is v6, v6only"}, /* the kernel sets v6only */
	{"[::1]:1004", 1, "[::1]:1004 takes v6, is v6, v6only"},
	{"[::]:1005", 0, "[::]:1005 takes v4 v6, is v6, any"},
	{"[::]:1006", 1, "[::]:1006 takes v6, is v6, v6only, any"},
	{"[::ffff:127.0.0.1]:1007", 0, "127.0.0.1:1007 takes v4, is v6"},
	{"[::ffff:0.0.0.0]:1008", 0, "0.0.0.0:1008 takes v4, is v6, any"},
};

static const char *describe(const struct listener *l, char *buf, size_t size)
{
	char address[ADDR_TEXT_SIZE];

	snprintf(buf, size, "%s takes%s%s%s%s%s%s", addr_format(&l->ip, l->port, address),
		 l->families & V4 ? " v4" : "", l->families & V6 ? " v6" : "",
		 l->v6 ? ", is v6" : "", l->v6only ? ", v6only" : "", l->wildcard ? ", any" : "",
		 l->mptcp ? ", mptcp" : "");
	return buf;
}

static void test_every_kind_is_shown(void **state)
{
	int fds[ARRAY_SIZE(kinds)];
	struct listener *ls = NULL;
	char text[256];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		fds[i] = listen_on(kinds[i].bind, kinds[i].v6only, false);
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_int_equal(n, ARRAY_SIZE(kinds));
	for (size_t i = 0; i < n; i++) { /* by port, as the table is */
		assert_string_equal(describe(&ls[i], text, sizeof(text)), kinds[i].shown);
		assert_int_equal(ls[i].cookie, cookie_of(fds[i]));
		close(fds[i]);
	}
	free(ls);
}

static void test_none(void **state)
{
	struct listener *ls = (void *)1;
	size_t n = 1;

	(void)state;
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_null(ls);
	assert_int_equal(n, 0);
	assert_int_equal(listeners_dump(1000, &ls, &n), -EBADF);
	assert_null(ls);
}

static void test_only_listeners_are_shown(void **state)
{
	int server = listen_on("127.0.0.1:1001", false, false);
	int client = connect_to("127.0.0.1:1001");
	int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct listener *ls = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(
		bind(bound, &(struct sockaddr){.sa_family = AF_INET}, sizeof(struct sockaddr_in)),
		0);
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(ls->port, 1001);
	free(ls);
	close(server);
	close(client);
	close(bound);
}

/* A long dump comes in several messages. */
static void test_many(void **state)
{
	int fds[700];
	struct listener *ls = NULL;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = listen_on(i % 2 ? "127.0.0.1:1001" : "[::1]:1001", false, true);
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_int_equal(n, ARRAY_SIZE(fds));
	for (size_t i = 0; i < n; i++) {
		assert_true(!i || ls[i].cookie != ls[i - 1].cookie);
		close(fds[i]);
	}
	free(ls);
}

/* ---- fetching --------------------------------------------------------------- */

struct fetched {
	int calls, error;
	uint64_t cookies[8];
	int found;
};

static void on_fetched(const struct listener *l, int fd, void *arg)
{
	struct fetched *f = arg;

	f->calls++;
	if (fd < 0) {
		f->error = fd;
		return;
	}
	if (cookie_of(fd) == l->cookie && f->found < (int)ARRAY_SIZE(f->cookies))
		f->cookies[f->found++] = l->cookie;
}

static struct fetched fetch_all(int netns_fd, int expected)
{
	struct fetched f = {0};
	struct listener *ls = NULL;
	size_t n = 0;
	int r;

	assert_int_equal(listeners_dump(netns_fd, &ls, &n), 0);
	assert_int_equal(n, expected);
	r = listeners_fetch(netns_fd, ls, n, on_fetched, &f);
	assert_int_equal(r, f.found);
	assert_int_equal(f.calls, expected);
	free(ls);
	return f;
}

static void test_reuseport_twins(void **state)
{
	int a = listen_on("127.0.0.1:1001", false, true);
	int b = listen_on("127.0.0.1:1001", false, true);
	struct fetched f = fetch_all(-1, 2);

	(void)state;
	assert_int_equal(f.found, 2);
	assert_int_not_equal(f.cookies[0], f.cookies[1]);
	assert_true(f.cookies[0] == cookie_of(a) || f.cookies[0] == cookie_of(b));
	assert_true(f.cookies[1] == cookie_of(a) || f.cookies[1] == cookie_of(b));
	close(a);
	close(b);
}

static void test_mptcp(void **state)
{
	union address a;
	socklen_t size = fill(&a, "[::]:1001");
	int tcp = listen_on("127.0.0.1:1000", false, false);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	struct listener *ls = NULL;
	struct fetched f = {0};
	size_t n = 0;

	(void)state;
	if (fd < 0) {
		close(tcp);
		skip();
	}
	assert_int_equal(bind(fd, &a.any, size), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_int_equal(n, 2);
	assert_false(ls[0].mptcp);
	assert_true(ls[1].mptcp);
	assert_int_equal(ls[1].port, 1001);
	assert_int_equal(listeners_fetch(-1, ls, n, on_fetched, &f), 1);
	assert_int_equal(f.calls, 2);
	assert_int_equal(f.error, -EPROTONOSUPPORT);
	assert_non_null(strstr(listener_error(f.error), "GODEBUG=multipathtcp=0"));
	free(ls);
	close(tcp);
	close(fd);
}

/* A process that holds the socket which `before` made, in a namespace of its own if asked, until
 * `stop` is closed. */
static pid_t holder(int *stop, bool own_netns, const char *text, int64_t *cookie)
{
	int ready[2], end[2];
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(end[1]);
		if (own_netns) {
			close(new_netns());
			set_lo(true);
		}
		*cookie = text ? (int64_t)cookie_of(listen_on(text, false, false)) : 0;
		if (write(ready[1], cookie, sizeof(*cookie)) != sizeof(*cookie))
			_exit(1);
		_exit(read(end[0], &c, 1) != 0);
	}
	close(ready[1]);
	close(end[0]);
	assert_int_equal(read(ready[0], cookie, sizeof(*cookie)), sizeof(*cookie));
	close(ready[0]);
	*stop = end[1];
	return pid;
}

static void release(pid_t pid, int stop)
{
	close(stop);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_in_another_process(void **state)
{
	int stop;
	int64_t cookie = 0;
	pid_t pid = holder(&stop, false, "127.0.0.1:1001", &cookie);
	struct fetched f = fetch_all(-1, 1);

	(void)state;
	assert_int_equal(f.found, 1);
	assert_int_equal(f.cookies[0], cookie);
	release(pid, stop);
	fetch_all(-1, 0);
}

static void test_in_another_namespace(void **state)
{
	int stop, there, own = listen_on("127.0.0.1:1002", false, false);
	int64_t cookie = 0;
	pid_t pid = holder(&stop, true, "127.0.0.1:1001", &cookie);
	char path[64];
	struct fetched f = fetch_all(-1, 1);

	(void)state;
	assert_int_equal(f.cookies[0], cookie_of(own));
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	there = netns_open(path);
	f = fetch_all(there, 1);
	assert_int_equal(f.found, 1);
	assert_int_equal(f.cookies[0], cookie);
	close(there);
	close(own);
	release(pid, stop);
}

/* A supervisor may open the sockets of its servers: the server's process is in another namespace.
 */
static void test_held_from_another_namespace(void **state)
{
	int64_t none;
	int here = netns_open("/proc/thread-self/ns/net"), there = new_netns(), stop;
	int fd = listen_on("127.0.0.1:1001", false, false);
	uint64_t cookie = cookie_of(fd);
	pid_t pid;
	struct fetched f;

	(void)state;
	enter_netns(here);
	pid = holder(&stop, false, NULL, &none);
	close(fd); /* the holder keeps its copy */
	f = fetch_all(there, 1);
	assert_int_equal(f.found, 1);
	assert_int_equal(f.cookies[0], cookie);
	close(here);
	close(there);
	release(pid, stop);
}

static void test_certain_or_nothing(void **state)
{
	int fd = listen_on("127.0.0.1:1001", false, false), here, there;
	struct listener *ls = NULL, other;
	struct fetched f = {0};
	size_t n = 0;

	(void)state;
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_int_equal(n, 1);
	/* The inode now belongs to another socket. */
	other = *ls;
	other.cookie++;
	assert_int_equal(listeners_fetch(-1, &other, 1, on_fetched, &f), 0);
	assert_int_equal(f.calls, 1);
	assert_true(f.error == -ESRCH || f.error == -EACCES);
	/* The socket is in another namespace than asked for. */
	here = netns_open("/proc/thread-self/ns/net");
	there = new_netns();
	f = (struct fetched){0};
	assert_int_equal(listeners_fetch(there, ls, 1, on_fetched, &f), 0);
	assert_int_equal(f.error, -EXDEV);
	enter_netns(here);
	/* The socket no longer listens. */
	f = (struct fetched){0};
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	assert_int_equal(listeners_fetch(-1, ls, 1, on_fetched, &f), 0);
	assert_true(f.error == -ESRCH || f.error == -EACCES);
	f = (struct fetched){0};
	assert_int_equal(listeners_fetch(-1, NULL, 0, on_fetched, &f), 0);
	assert_int_equal(f.calls, 0);
	assert_int_equal(listeners_fetch(1000, ls, 1, on_fetched, &f), -EBADF);
	assert_int_equal(f.calls, 0);
	free(ls);
	close(fd);
	close(here);
	close(there);
}

struct unfetched {
	const struct listener *l;
	int error;
};

static void on_unfetched(const struct listener *l, int fd, void *arg)
{
	struct unfetched *u = arg;

	u->error = u->l == l ? fd : 0;
}

/* A socket cannot be fetched from a process outside this PID namespace. */
static int fetch_alone(void *arg)
{
	struct unfetched u = {.l = arg};

	CHECK(listeners_fetch(-1, u.l, 1, on_unfetched, &u) == 0);
	CHECK(u.error == -ESRCH);
	CHECK(strstr(listener_error(u.error), "hostPID"));
	return 0;
}

static int fetch_as_nobody(void *arg)
{
	struct unfetched u = {.l = arg};

	CHECK(!setresuid(NOBODY, NOBODY, NOBODY));
	CHECK(listeners_fetch(-1, u.l, 1, on_unfetched, &u) == 0);
	CHECK(u.error == -EACCES);
	CHECK(strstr(listener_error(u.error), "CAP_SYS_PTRACE"));
	return 0;
}

static void test_what_is_missing_is_said(void **state)
{
	int stop;
	int64_t cookie = 0;
	pid_t pid = holder(&stop, false, "127.0.0.1:1001", &cookie);
	struct listener *ls = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(listeners_dump(-1, &ls, &n), 0);
	assert_int_equal(n, 1);
	run_alone(fetch_alone, ls);
	run_in_child(fetch_as_nobody, ls);
	free(ls);
	release(pid, stop);
}

/* ---- connections ------------------------------------------------------------ */

struct counts {
	int total, by_state[16];
	struct diag_connection last;
	int stop_with;
};

static int on_connection(const struct diag_connection *c, void *arg)
{
	struct counts *counts = arg;

	counts->total++;
	counts->by_state[c->state & 15]++;
	counts->last = *c;
	return counts->stop_with;
}

static struct counts count(uint16_t local_port)
{
	struct counts counts = {0};

	assert_int_equal(connections_dump(-1, local_port, on_connection, &counts), 0);
	return counts;
}

/* Connections change state a moment after the call that causes it. */
static void assert_count(uint16_t local_port, int state, int expected)
{
	struct counts counts = count(local_port);

	for (int i = 0; i < TRIES && counts.by_state[state] != expected; i++) {
		wait_a_little();
		counts = count(local_port);
	}
	assert_int_equal(counts.by_state[state], expected);
	assert_int_equal(counts.total, expected);
}

static void test_connections(void **state)
{
	int v4 = listen_on("127.0.0.1:1001", false, false);
	int v6 = listen_on("[::1]:1002", false, false), one, two, accepted;
	char text[ADDR_TEXT_SIZE];
	struct counts counts;

	(void)state;
	assert_int_equal(count(0).total, 0);
	one = connect_to("127.0.0.1:1001");
	two = connect_to("[::1]:1002");
	assert_count(1001, TCP_ESTABLISHED, 1); /* established, though not accepted yet */
	assert_count(1002, TCP_ESTABLISHED, 1);
	assert_count(0, TCP_ESTABLISHED, 4); /* both ends */
	accepted = accept4(v6, NULL, NULL, SOCK_CLOEXEC);
	counts = count(1002);
	assert_int_equal(counts.last.cookie, cookie_of(accepted));
	assert_string_equal(addr_format(&counts.last.local, counts.last.local_port, text),
			    "[::1]:1002");
	assert_string_equal(addr_format_ip(&counts.last.remote, text), "::1");
	assert_true(counts.last.remote_port > 1024);
	assert_false(counts.last.mptcp);
	counts = count(1001);
	assert_string_equal(addr_format(&counts.last.local, counts.last.local_port, text),
			    "127.0.0.1:1001");
	counts = (struct counts){.stop_with = 5};
	assert_int_equal(connections_dump(-1, 0, on_connection, &counts), 5);
	assert_int_equal(counts.total, 1);
	counts = (struct counts){.stop_with = -ENOENT};
	assert_int_equal(connections_dump(-1, 0, on_connection, &counts), -ENOENT);
	close(accepted);
	close(one);
	close(two);
	close(v4);
	close(v6);
}

/* One connection is found by its addresses and ports, and says whether it was accepted. */
static void test_one_connection(void **state)
{
	static const char *const addresses[] = {"127.0.0.1:1001", "[::1]:1001"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		int listener = listen_on(addresses[i], false, false), accepted;
		int client = connect_to(addresses[i]);
		struct diag_connection c = {0};

		assert_count(1001, TCP_ESTABLISHED, 1);
		c = count(1001).last;
		c.inode = 7;
		assert_int_equal(connection_find(-1, &c), 1);
		assert_int_equal(c.state, TCP_ESTABLISHED);
		assert_int_equal(c.inode, 0);
		accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		assert_int_equal(connection_find(-1, &c), 1);
		assert_int_equal(c.cookie, cookie_of(accepted));
		assert_int_not_equal(c.inode, 0);
		/* For another port there is only the listener, and then nothing. */
		c.remote_port ^= 1;
		assert_int_equal(connection_find(-1, &c), 0);
		close(listener);
		assert_int_equal(connection_find(-1, &c), 0);
		close(accepted);
		close(client);
	}
}

/* The server closes first. Its end is in FIN_WAIT2, which after close() is only a TIME_WAIT record
 * that the kernel lists as FIN_WAIT2 for a minute. Only the client's end is a connection. */
static void test_time_wait_is_no_connection(void **state)
{
	int server = listen_on("127.0.0.1:1001", false, false);
	int client = connect_to("127.0.0.1:1001");
	int accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC);

	(void)state;
	assert_count(1001, TCP_ESTABLISHED, 1);
	assert_int_equal(shutdown(accepted, SHUT_WR), 0);
	assert_count(1001, TCP_FIN_WAIT2, 1);
	close(accepted);
	assert_count(1001, TCP_FIN_WAIT2, 0);
	assert_count(0, TCP_CLOSE_WAIT, 1);
	close(client);
	assert_count(0, TCP_CLOSE_WAIT, 0);
	close(server);
}

/* A handshake that the server has not finished, because it waits for data. */
static void test_syn_recv_is_no_connection(void **state)
{
	int server = listen_on("127.0.0.1:1001", false, false), client;

	(void)state;
	set(server, IPPROTO_TCP, TCP_DEFER_ACCEPT, 60);
	client = connect_to("127.0.0.1:1001");
	assert_int_equal(count(1001).total, 0);
	assert_int_equal(count(0).total, 1);
	assert_int_equal(write(client, "x", 1), 1);
	assert_count(1001, TCP_ESTABLISHED, 1);
	close(client);
	close(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		netns_test(test_every_kind_is_shown),
		netns_test(test_none),
		netns_test(test_only_listeners_are_shown),
		netns_test(test_many),
		netns_test(test_reuseport_twins),
		netns_test(test_mptcp),
		netns_test(test_in_another_process),
		netns_test(test_in_another_namespace),
		netns_test(test_held_from_another_namespace),
		netns_test(test_certain_or_nothing),
		netns_test(test_what_is_missing_is_said),
		netns_test(test_connections),
		netns_test(test_one_connection),
		netns_test(test_time_wait_is_no_connection),
		netns_test(test_syn_recv_is_no_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
