/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that listened before the daemon: found and put into `sockets`, or logged once if they
 * cannot be. */
#include "support_steer.h"

#include <sys/fsuid.h>

#include "../../userspace/pintled/publish/register.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define POOL_OF(list) POOL("a", FRONTEND, SERVERS(list))

static uint32_t first_id(const struct steer *s)
{
	return s->p->pools[0].endpoints[0].id;
}

static struct pintle_health *health_of(const struct steer *s)
{
	return &s->m->health[first_id(s)];
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	return cookie;
}

/* How many slots of the endpoint hold the socket with this cookie; with cookie 0, any socket. */
static int slots_with(const struct steer *s, uint32_t endpoint, uint64_t cookie)
{
	int n = 0;

	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		uint64_t found = 0;

		if (!bpf_map_lookup_elem(s->m->fd[MAP_sockets], &slot, &found) && found)
			n += !cookie || found == cookie;
	}
	return n;
}

static void look(const struct steer *s)
{
	assert_int_equal(register_listeners(s->m, -1), 0);
}

#define LOOKS 5

static int looks_told(const struct steer *s, const char *what)
{
	_cleanup_free_ char *told = NULL;

	told_begin();
	for (int i = 0; i < LOOKS; i++)
		register_listeners(s->m, -1);
	told = told_end();
	return count_text(told, what);
}

/* ---- found ------------------------------------------------------------------------------- */

#define PAGE_AT(at) "{name: e0, listen: \"8001\", metrics: \"http://" at "/metrics\"}"

#define ANY_V4 (PINTLE_FAMILY_V4 | PINTLE_FAMILY_ANY_V4)
#define ANY_V6 (PINTLE_FAMILY_V6 | PINTLE_FAMILY_ANY_V6)

static const struct {
	const char *name;
	const char *pools; /* the first endpoint is checked */
	const char *ip;    /* where the server listens, with port 8001 */
	bool v6, found;
	uint32_t families;
} places[] = {
	{"its very address", POOL_OF(AT("e0", 8001)), "127.0.0.1", false, true, PINTLE_FAMILY_V4},
	{"another address", POOL_OF(AT("e0", 8001)), "127.0.0.2", false, false, 0},
	{"any address, the only one at the port", POOL_OF(AT("e0", 8001)), "0.0.0.0", false, true,
	 ANY_V4},
	{"any address of both families", POOL_OF(AT("e0", 8001)), "::", true, true,
	 ANY_V4 | ANY_V6},
	{"any address, two at the port",
	 POOL_OF(AT("e0", 8001) ", {name: e1, listen: \"127.0.0.2:8001\"}"), "0.0.0.0", false,
	 false, 0},
	{"a port alone, any address", POOL_OF("{name: e0, listen: \"8001\"}"), "0.0.0.0", false,
	 true, ANY_V4},
	{"a port alone, where its page is read", POOL_OF("{name: e0, listen: \"8001\"}"),
	 "127.0.0.1", false, true, PINTLE_FAMILY_V4},
	{"a port alone, another address", POOL_OF("{name: e0, listen: \"8001\"}"), "127.0.0.9",
	 false, false, 0},
	{"a port alone, its page at that address", POOL_OF(PAGE_AT("127.0.0.9:8001")), "127.0.0.9",
	 false, true, PINTLE_FAMILY_V4},
	{"a port alone, its page at one address, any", POOL_OF(PAGE_AT("127.0.0.9:8001")),
	 "0.0.0.0", false, true, ANY_V4},
	{"a port alone, its page at an IPv6 address, any IPv4", POOL_OF(PAGE_AT("[::1]:8001")),
	 "0.0.0.0", false, false, 0},
	{"a port alone, its page at another port", POOL_OF(PAGE_AT("127.0.0.1:9001")), "127.0.0.9",
	 false, true, PINTLE_FAMILY_V4},
	{"a port alone, its page at a name", POOL_OF(PAGE_AT("localhost:8001")), "127.0.0.9", false,
	 true, PINTLE_FAMILY_V4},
	{"a port alone, IPv6", POOL_OF("{name: e0, listen: \"8001\"}"), "::1", true, true,
	 PINTLE_FAMILY_V6},
	{"an IPv6 endpoint, any IPv4", POOL_OF("{name: e0, listen: \"[::1]:8001\"}"), "0.0.0.0",
	 false, false, 0},
};

static int listen_place(const char *ip, bool v6)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(8001)};
	int fd, zero = 0;

	if (!v6)
		return listen_at(ip, 8001);
	assert_int_equal(inet_pton(AF_INET6, ip, &a.sin6_addr), 1);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void test_whose_listener_it_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int fd = listen_place(places[i].ip, places[i].v6);
		struct steer s;

		/* publish() looks for listeners, and so a new endpoint has one at once. */
		steer_start(&s, places[i].pools, false);
		if (slots_with(&s, first_id(&s), cookie_of(fd)) != places[i].found ||
		    health_of(&s)->families != places[i].families ||
		    health_of(&s)->listeners != places[i].found ||
		    !!health_of(&s)->listening_since_ns != places[i].found)
			fail_msg("%s", places[i].name);
		steer_end(&s);
		close(fd);
	}
}

static void test_it_comes_and_goes(void **state)
{
	uint64_t since;
	struct steer s;
	int fd;

	(void)state;
	steer_start(&s, POOL_OF(AT("e0", 8001)), false);
	assert_int_equal(health_of(&s)->listening_since_ns, 0);
	fd = listen_at("127.0.0.1", 8001);
	look(&s);
	since = health_of(&s)->listening_since_ns;
	assert_true(since > 0);
	assert_int_equal(health_of(&s)->unwatched, 1);

	/* Without new listeners nothing changes. */
	look(&s);
	assert_int_equal(slots_with(&s, first_id(&s), 0), 1);
	assert_int_equal(health_of(&s)->listening_since_ns, since);

	close(fd);
	look(&s);
	assert_int_equal(slots_with(&s, first_id(&s), 0), 0);
	assert_int_equal(health_of(&s)->listening_since_ns, 0);
	assert_int_equal(health_of(&s)->listeners, 0);
	assert_int_equal(health_of(&s)->families, 0);
	assert_int_equal(health_of(&s)->unwatched, 0);
	steer_end(&s);
}

static void test_several_of_one_endpoint(void **state)
{
	int fd[PINTLE_SOCKETS_PER_ENDPOINT + 4];
	uint64_t since;
	struct steer s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = listen_at("127.0.0.1", 8001);
	steer_start(&s, POOL_OF(AT("e0", 8001)), false);
	assert_int_equal(slots_with(&s, first_id(&s), 0), PINTLE_SOCKETS_PER_ENDPOINT);
	assert_int_equal(health_of(&s)->listeners, PINTLE_SOCKETS_PER_ENDPOINT);
	assert_int_equal(health_of(&s)->unsteerable, 0);
	since = health_of(&s)->listening_since_ns;
	for (size_t i = 1; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	look(&s);
	assert_true(slots_with(&s, first_id(&s), 0) >= 1);
	assert_int_equal(health_of(&s)->listeners, 1);
	assert_int_equal(health_of(&s)->listening_since_ns, since);
	steer_end(&s);
	close(fd[0]);
}

/* ---- more than there are slots ------------------------------------------------------------ */

#define WORKERS 24

static void listen_many(int fd[WORKERS])
{
	for (size_t i = 0; i < WORKERS; i++)
		fd[i] = listen_at("127.0.0.1", 8001);
}

static void close_many(int fd[WORKERS])
{
	for (size_t i = 0; i < WORKERS; i++)
		close(fd[i]);
}

/* New workers join, and the old ones end. The new ones were remembered, and fill the slots of the
 * old ones. */
static void test_workers_take_the_place_of_workers(void **state)
{
	static const char *const kinds[] = {"found by the daemon", "seen at listen()"};
	int old[WORKERS], new[WORKERS];

	(void)state;
	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct steer s;

		if (!kind)
			listen_many(old);
		steer_start(&s, POOL_OF(AT("e0", 8001)), true);
		if (kind)
			listen_many(old);
		listen_many(new);
		close_many(old);
		if (!slots_with(&s, first_id(&s), 0) || !health_of(&s)->listening_since_ns ||
		    !register_has_room(s.m))
			fail_msg("%s", kinds[kind]);
		assert_in_range(health_of(&s)->listeners, WORKERS, 2 * WORKERS);

		look(&s);
		assert_int_equal(slots_with(&s, first_id(&s), 0), PINTLE_SOCKETS_PER_ENDPOINT);
		assert_int_equal(health_of(&s)->listeners, WORKERS);
		assert_int_equal(health_of(&s)->unwatched, 0);
		assert_false(register_has_room(s.m));

		/* Each worker's end is seen; only the last one makes the endpoint stop listening.
		 */
		for (size_t i = 0; i < WORKERS; i++) {
			assert_true(health_of(&s)->listening_since_ns > 0);
			close(new[i]);
		}
		assert_int_equal(health_of(&s)->listening_since_ns, 0);
		assert_int_equal(health_of(&s)->listeners, 0);
		steer_end(&s);
		detach(BPFFS, false);
	}
}

/* A listener goes to another endpoint: new connections count for that one. */
static void test_a_listener_changes_its_endpoint(void **state)
{
	int fd = listen_at("127.0.0.1", 8001);
	struct pintle_conn conn;
	uint32_t before;
	struct steer s;

	(void)state;
	steer_start(&s, POOL_OF(AT("e0", 8001)), false);
	before = first_id(&s);
	assert_int_equal(steer_publish(&s, POOL("b", FRONTEND, SERVERS(AT("e0", 8001)))), 0);
	assert_int_not_equal(first_id(&s), before);
	assert_int_equal(slots_with(&s, before, 0), 0);
	assert_int_equal(slots_with(&s, first_id(&s), cookie_of(fd)), 1);
	assert_int_equal(bpf_map_lookup_elem(s.m->fd[MAP_conns], &fd, &conn), 0);
	assert_int_equal(conn.endpoint, first_id(&s));
	assert_int_equal(conn.generation, s.p->pools[0].endpoints[0].generation);
	steer_end(&s);
	close(fd);
}

/* ---- whose it is -------------------------------------------------------------------------- */

#define SERVER_UID 61001
#define OTHER_UID  61002
#define OWNED(by)  POOL_OF("{name: e0, listen: \"127.0.0.1:8001\"" by "}")

/* Listens as a process of that user; the test goes on as root. */
static int listen_as(uid_t uid)
{
	int fd;

	setfsuid(uid);
	fd = listen_at("127.0.0.1", 8001);
	setfsuid(0);
	return fd;
}

static bool believed(const struct steer *s, int fd)
{
	struct pintle_conn conn;
	bool held = slots_with(s, first_id(s), cookie_of(fd)) == 1;
	bool known = !bpf_map_lookup_elem(s->m->fd[MAP_conns], &fd, &conn);

	assert_int_equal(held, known);
	assert_int_equal(held, !!health_of(s)->listening_since_ns);
	return held;
}

static int serve_seen(struct steer *s, uid_t uid)
{
	(void)s;
	return listen_as(uid);
}

static int serve_found(struct steer *s, uid_t uid)
{
	int fd = listen_as(uid);

	look(s);
	return fd;
}

/* A listener is treated in the same way whether sockops saw its listen() or the daemon found it. */
static void each_way(void (*test)(struct steer *s, int (*serve)(struct steer *s, uid_t uid)))
{
	struct steer s;

	steer_start(&s, OWNED(""), true);
	test(&s, serve_seen);
	steer_end(&s);
	detach(BPFFS, false);
	steer_start(&s, OWNED(""), false);
	test(&s, serve_found);
	steer_end(&s);
}

static void end(struct steer *s, int fd)
{
	close(fd);
	look(s);
	assert_int_equal(health_of(s)->listening_since_ns, 0);
}

static void others_are_strangers(struct steer *s, int (*serve)(struct steer *s, uid_t uid))
{
	int fd = serve(s, SERVER_UID);

	assert_true(believed(s, fd));
	assert_int_equal(health_of(s)->owner, 1 + SERVER_UID);
	end(s, fd);

	fd = serve(s, OTHER_UID);
	assert_false(believed(s, fd));
	assert_int_equal(health_of(s)->unsteerable, PINTLE_UNSTEERABLE_OWNER);
	assert_int_equal(health_of(s)->stranger, OTHER_UID);
	look(s);
	assert_false(believed(s, fd));
	assert_int_equal(steer_publish(s, OWNED("")), 0); /* nor after a reload */
	assert_false(believed(s, fd));
	end(s, fd);
	assert_int_equal(health_of(s)->unsteerable, 0);

	/* A listener of root is accepted, and does not change the endpoint's owner. */
	fd = serve(s, 0);
	assert_true(believed(s, fd));
	end(s, fd);
	fd = serve(s, SERVER_UID);
	assert_true(believed(s, fd));
	end(s, fd);
}

static void test_another_user_is_a_stranger(void **state)
{
	(void)state;
	each_way(others_are_strangers);
}

/* The configuration's owner holds, and is remembered when the configuration no longer names it. */
static void configured_user(struct steer *s, int (*serve)(struct steer *s, uid_t uid))
{
	int fd = serve(s, OTHER_UID);

	assert_true(believed(s, fd)); /* the first listener, until another owner is named: */
	assert_int_equal(steer_publish(s, OWNED(", user: " STRING(SERVER_UID))), 0);
	assert_false(believed(s, fd));
	assert_int_equal(health_of(s)->unsteerable, PINTLE_UNSTEERABLE_USER);
	end(s, fd);
	fd = serve(s, 0);
	assert_false(believed(s, fd));
	end(s, fd);
	fd = serve(s, SERVER_UID);
	assert_true(believed(s, fd));
	assert_int_equal(health_of(s)->unsteerable, 0);

	assert_int_equal(steer_publish(s, OWNED("")), 0);
	assert_true(believed(s, fd));
	end(s, fd);
	fd = serve(s, OTHER_UID);
	assert_false(believed(s, fd));
	end(s, fd);
}

static void test_a_user_is_configured(void **state)
{
	(void)state;
	each_way(configured_user);
}

static void configured_cgroup(struct steer *s, int (*serve)(struct steer *s, uid_t uid))
{
	_cleanup_free_ char *pools = NULL, *dir = NULL, *below = NULL;
	int fd;

	assert_true(asprintf(&dir, "%s/server", cgroup) > 0);
	assert_true(asprintf(&below, "%s/below", dir) > 0);
	assert_true(asprintf(&pools,
			     POOL("a", FRONTEND,
				  SERVERS("{name: e0, listen: \"127.0.0.1:8001\", "
					  "cgroup: \"/*pintle-test-%d/serv*\"}")),
			     getpid()) > 0);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(mkdir(below, 0755), 0);
	assert_int_equal(steer_publish(s, pools), 0);
	fd = serve(s, 0);
	assert_false(believed(s, fd));
	assert_int_equal(health_of(s)->unsteerable, PINTLE_UNSTEERABLE_CGROUP);
	end(s, fd);

	join_cgroup(below);
	fd = serve(s, SERVER_UID);
	assert_true(believed(s, fd));
	end(s, fd);
	fd = serve(s, OTHER_UID); /* the cgroup is what counts */
	assert_true(believed(s, fd));
	end(s, fd);
	join_cgroup(cgroup);
	assert_int_equal(rmdir(below), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_a_cgroup_is_configured(void **state)
{
	(void)state;
	each_way(configured_cgroup);
}

static void test_a_stranger_is_told_once(void **state)
{
	struct steer s;
	int fd;

	(void)state;
	steer_start(&s, OWNED(", user: " STRING(SERVER_UID)), true);
	fd = listen_as(OTHER_UID);
	assert_int_equal(looks_told(&s, "a/e0: the listener at port 8001, of uid 61002, is "
					"unsteerable: user"),
			 1);
	close(fd);
	steer_end(&s);
}

static void test_a_user_that_is_not_there(void **state)
{
	struct steer s;

	(void)state;
	steer_start(&s, OWNED(""), false);
	assert_int_equal(steer_publish(&s, OWNED(", user: nobody-of-this-name")), -ENOENT);
	steer_end(&s);
}

/* ---- not to be had ------------------------------------------------------------------------ */

/* A socket that no process holds, because it waits in a queue. Returns both ends of the queue. */
static void hide(int fd, int pair[2])
{
	char data = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec io = {&data, 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	assert_int_equal(sendmsg(pair[0], &m, 0), 1);
	close(fd);
}

static void unhide(const int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

static void test_one_that_nobody_holds_is_told_once(void **state)
{
	struct steer s;
	int pair[2];

	(void)state;
	steer_start(&s, POOL_OF(AT("e0", 8001)), false);
	hide(listen_at("127.0.0.1", 8001), pair);
	assert_int_equal(looks_told(&s, "port 8001"), 1);
	assert_int_equal(health_of(&s)->unsteerable, PINTLE_UNSTEERABLE_OTHER);
	assert_true(health_of(&s)->error < 0);
	assert_int_equal(health_of(&s)->listening_since_ns, 0);
	unhide(pair);
	assert_int_equal(looks_told(&s, "port 8001"), 0);
	assert_int_equal(health_of(&s)->unsteerable, 0);
	assert_int_equal(health_of(&s)->error, 0);
	steer_end(&s);
}

/* An endpoint is steered if one of its listeners is, so nothing is logged. */
static void test_one_of_two_that_nobody_holds(void **state)
{
	int pair[2], fd = listen_at("127.0.0.1", 8001);
	struct steer s;

	(void)state;
	steer_start(&s, POOL_OF(AT("e0", 8001)), false);
	hide(listen_at("127.0.0.1", 8001), pair);
	assert_int_equal(looks_told(&s, "port"), 0);
	assert_int_equal(health_of(&s)->unsteerable, 0);
	assert_int_equal(health_of(&s)->listeners, 1);
	assert_true(health_of(&s)->listening_since_ns > 0);
	close(fd);
	assert_int_equal(looks_told(&s, "port 8001"), 1);
	assert_int_equal(health_of(&s)->unsteerable, PINTLE_UNSTEERABLE_OTHER);
	unhide(pair);
	steer_end(&s);
}

static void test_mptcp_is_told_once(void **state)
{
	int fd = listen_with("127.0.0.1", 8001, IPPROTO_MPTCP), other;
	struct steer s;

	(void)state;
	if (fd < 0)
		skip();
	steer_start(&s, POOL_OF(AT("e0", 8001)), false);
	assert_int_equal(health_of(&s)->unsteerable, PINTLE_UNSTEERABLE_MPTCP);
	assert_int_equal(looks_told(&s, "MPTCP"), 0); /* publish() has logged it */
	other = listen_at("127.0.0.1", 8001);
	assert_int_equal(looks_told(&s, "MPTCP"), 0);
	assert_int_equal(health_of(&s)->unsteerable, 0);
	close(other);
	assert_int_equal(looks_told(&s, "multipathtcp=0"), 1);
	close(fd);
	steer_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_whose_listener_it_is),
		steer_test(test_it_comes_and_goes),
		steer_test(test_several_of_one_endpoint),
		steer_test(test_workers_take_the_place_of_workers),
		steer_test(test_a_listener_changes_its_endpoint),
		steer_test(test_another_user_is_a_stranger),
		steer_test(test_a_user_is_configured),
		steer_test(test_a_cgroup_is_configured),
		steer_test(test_a_stranger_is_told_once),
		steer_test(test_a_user_that_is_not_there),
		steer_test(test_one_that_nobody_holds_is_told_once),
		steer_test(test_one_of_two_that_nobody_holds),
		steer_test(test_mptcp_is_told_once),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
