/* SPDX-License-Identifier: Apache-2.0 */
/* Local routes for frontends: added, listed and removed, without touching other routes. */
#include "../../userspace/net/routes.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <pintle/abi.h>

#include "../../userspace/net/netlink.h"
#include "../../userspace/net/netns.h"
#include "../../userspace/base/util.h"
#include "support_netns.h"

#define NOBODY 65534
#define PORT   8000
#define TRIES  500 /* of 10 ms each: a condition that is not met by then is a failure */

static struct frontend_addr frontend(const char *text)
{
	struct frontend_addr f;

	assert_int_equal(addr_parse_frontend(text, &f, NULL), 0);
	return f;
}

static bool add(const char *text)
{
	const struct frontend_addr f = frontend(text);
	bool added = false;

	assert_int_equal(routes_add_local(-1, &f, &added), 0);
	return added;
}

static void remove_route(const char *text)
{
	const struct frontend_addr f = frontend(text);

	assert_int_equal(routes_remove_local(-1, &f), 0);
}

/* The prefixes of Pintle's routes, separated by blanks; valid until the next call. */
static const char *list(int netns_fd)
{
	static char text[1024];
	struct frontend_addr *fs = NULL;
	size_t n = 0, at = 0;

	text[0] = '\0';
	assert_int_equal(routes_list_local(netns_fd, &fs, &n), 0);
	for (size_t i = 0; i < n && at < sizeof(text); i++) {
		char buf[ADDR_TEXT_SIZE];

		assert_int_equal(fs[i].port, 0);
		fs[i].port = PORT; /* so that it can be printed */
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "",
				       addr_format_frontend(&fs[i], buf));
	}
	free(fs);
	return text;
}

/* Whether the address is local to this host. Connecting a UDP socket sends nothing, and its source
 * address is the destination if that is local. */
static bool is_local(const char *text)
{
	const struct frontend_addr f = frontend(text);
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(9)}, from = {0};
	socklen_t size = sizeof(from);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool local;

	memcpy(&to.sin6_addr, &f.prefix, 16);
	local = !connect(fd, (struct sockaddr *)&to, sizeof(to)) &&
		!getsockname(fd, (struct sockaddr *)&from, &size);
	close(fd);
	return local;
}

/* With the route, clients reach a listener on any address at the frontend's address. */
static bool is_served(const char *text)
{
	const struct frontend_addr f = frontend(text);
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)}, to = any;
	int server = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool served;

	memcpy(&to.sin6_addr, &f.prefix, 16);
	assert_int_equal(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	assert_int_equal(bind(server, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(server, 1), 0);
	served = !connect(client, (struct sockaddr *)&to, sizeof(to));
	close(client);
	close(server);
	return served;
}

/* The kernel's own IPv6 routes have metric 0, routes that users add 1024. */
static bool has_kernel_route(const char *address)
{
	FILE *f = fopen("/proc/thread-self/net/ipv6_route", "re");
	char to[33], metric[9];
	bool found = false;

	while (!found && fscanf(f, "%32s %*s %*s %*s %*s %8s%*[^\n]", to, metric) == 2)
		found = !strcmp(to, address) && !strcmp(metric, "00000000");
	fclose(f);
	return found;
}

/* The kernel adds the route of an IPv6 address a moment after the address. */
static void wait_for_kernel_route(const struct addr *ip)
{
	char text[33];

	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", ip->bytes[i]);
	for (int i = 0; i < TRIES && !has_kernel_route(text); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	assert_true(has_kernel_route(text));
}

/* An address on lo, by which the kernel adds a local route of its own. */
static void add_address(const char *text)
{
	const struct frontend_addr f = frontend(text);
	const bool v4 = addr_is_v4(&f.prefix);
	const struct ifaddrmsg m = {
		.ifa_family = v4 ? AF_INET : AF_INET6,
		.ifa_prefixlen = v4 ? 32 : 128,
		.ifa_flags = IFA_F_NODAD,
		.ifa_index = 1, /* lo, in every namespace */
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg =
		nlmsg_alloc_simple(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);

	nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO);
	nla_put(msg, IFA_LOCAL, v4 ? 4 : 16, f.prefix.bytes + (v4 ? 12 : 0));
	assert_int_equal(netlink_ask(-1, NETLINK_ROUTE, msg, NULL, NULL), 0);
	if (!v4)
		wait_for_kernel_route(&f.prefix);
}

static const char *const frontends[] = {
	"10.77.0.1:8000",
	"10.78.0.0/24:8000",
	"[fd77::1]:8000",
	"[fd78::/64]:8000",
};
static const char *const all = "10.77.0.1:8000 10.78.0.0/24:8000 [fd77::1]:8000 [fd78::/64]:8000";
static const char *const inside[] = {"10.77.0.1:8000", "10.78.0.99:8000", "[fd77::1]:8000",
				     "[fd78::99]:8000"};

static void test_add_and_remove(void **state)
{
	(void)state;
	assert_string_equal(list(-1), "");
	for (size_t i = 0; i < ARRAY_SIZE(frontends); i++) {
		assert_false(is_local(inside[i]));
		assert_true(add(frontends[i]));
		assert_true(is_local(inside[i]));
		assert_true(is_served(inside[i]));
	}
	assert_string_equal(list(-1), all);
	for (size_t i = 0; i < ARRAY_SIZE(frontends); i++)
		assert_true(add(frontends[i])); /* again, as for another port */
	assert_true(add("10.77.0.1:8001"));
	assert_string_equal(list(-1), all);
	for (size_t i = 0; i < ARRAY_SIZE(frontends); i++) {
		remove_route(frontends[i]);
		assert_false(is_local(inside[i]));
	}
	assert_string_equal(list(-1), "");
	for (size_t i = 0; i < ARRAY_SIZE(frontends); i++)
		remove_route(frontends[i]); /* already removed */
}

static void test_somebody_elses_is_left_alone(void **state)
{
	static const char *const theirs[] = {"10.77.0.1:8000", "[fd77::1]:8000", "127.0.0.1:8000",
					     "[::1]:8000"};

	(void)state;
	add_address("10.77.0.1:1");
	add_address("[fd77::1]:1");
	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
		assert_false(add(theirs[i]));
		assert_string_equal(list(-1), "");
		remove_route(theirs[i]);
		assert_true(is_local(theirs[i]));
	}
}

/* An interface gets the address after Pintle's route was added: both routes stand, and Pintle's can
 * be removed. */
static void test_somebody_else_comes_later(void **state)
{
	(void)state;
	assert_true(add("[fd77::1]:8000"));
	add_address("[fd77::1]:1");
	assert_true(add("[fd77::1]:8000"));
	assert_string_equal(list(-1), "[fd77::1]:8000");
	remove_route("[fd77::1]:8000");
	assert_string_equal(list(-1), "");
	assert_true(is_local("[fd77::1]:8000"));
	assert_false(add("[fd77::1]:8000"));
}

static void test_a_longer_prefix_is_another_route(void **state)
{
	(void)state;
	assert_true(add("10.78.0.0/24:8000"));
	assert_true(add("10.78.0.0:8000"));
	assert_string_equal(list(-1), "10.78.0.0:8000 10.78.0.0/24:8000");
	remove_route("10.78.0.0:8000");
	assert_string_equal(list(-1), "10.78.0.0/24:8000");
}

static void test_lo_down(void **state)
{
	const struct frontend_addr f = frontend("[fd77::1]:8000");
	bool added = true;

	(void)state;
	assert_true(add("[fd77::1]:8000"));
	set_lo(false); /* removes IPv6 routes */
	assert_int_equal(routes_add_local(-1, &f, &added), -ENETDOWN);
	assert_true(added);
	assert_string_equal(list(-1), "");
	set_lo(true);
	assert_true(add("[fd77::1]:8000"));
	assert_string_equal(list(-1), "[fd77::1]:8000");
}

static void test_in_another_namespace(void **state)
{
	const struct frontend_addr v4 = frontend("10.77.0.1:8000"), v6 = frontend("[fd77::1]:8000");
	int here = netns_open("/proc/thread-self/ns/net"), there = new_netns();
	bool added = false;

	(void)state;
	set_lo(true);
	enter_netns(here);
	assert_int_equal(routes_add_local(there, &v4, &added), 0);
	assert_true(added);
	assert_int_equal(routes_add_local(there, &v6, &added), 0);
	assert_string_equal(list(-1), "");
	assert_string_equal(list(there), "10.77.0.1:8000 [fd77::1]:8000");
	assert_int_equal(routes_remove_local(there, &v4), 0);
	assert_string_equal(list(there), "[fd77::1]:8000");
	close(here);
	close(there);
}

static int as_nobody(void *arg)
{
	const struct frontend_addr *f = arg;
	bool added = true;

	CHECK(!setresuid(NOBODY, NOBODY, NOBODY));
	CHECK(routes_add_local(-1, f, &added) == -EPERM);
	CHECK(added);
	CHECK(routes_remove_local(-1, f) == -EPERM);
	return 0;
}

static void test_refused(void **state)
{
	struct frontend_addr f = frontend("10.77.0.1:8000"), *fs = (void *)1;
	const struct frontend_addr all_v6 = {.port = PORT};
	struct frontend_addr all_v4 = f;
	bool added = true;
	size_t n = 1;

	(void)state;
	addr_from_v4(&all_v4.prefix, 0);
	all_v4.prefix_bits = 96;
	assert_int_equal(routes_add_local(-1, &all_v4, &added), -EINVAL);
	assert_int_equal(routes_add_local(-1, &all_v6, &added), -EINVAL);
	run_in_child(as_nobody, &f);
	assert_int_equal(routes_add_local(1000, &f, &added), -EBADF);
	assert_int_equal(routes_remove_local(1000, &f), -EBADF);
	assert_int_equal(routes_list_local(1000, &fs, &n), -EBADF);
	assert_true(added);
	assert_ptr_equal(fs, (void *)1);
	assert_int_equal(n, 1);
	f.prefix_bits = 129;
	assert_int_equal(routes_add_local(-1, &f, &added), -EINVAL);
	assert_string_equal(list(-1), "");
}

/* More routes than one message of a dump holds. */
static void test_many(void **state)
{
	struct frontend_addr *fs = NULL;
	char text[32];
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 600; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.77.%d.%d:8000" : "[fd77::%x:%x]:8000",
			 i >> 8, i & 255);
		assert_true(add(text));
	}
	assert_int_equal(routes_list_local(-1, &fs, &n), 0);
	assert_int_equal(n, 600);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(routes_remove_local(-1, &fs[i]), 0);
	free(fs);
	assert_string_equal(list(-1), "");
}

/* 10.1.0.0/24 is on a device of its own, 10.3.0.0/24 behind a gateway there. */
static void test_where_an_address_is_reached(void **state)
{
	static const struct {
		const char *to;
		uint8_t type;
		bool here, gateway;
	} rows[] = {
		{"127.0.0.1:80", RTN_LOCAL, false, false},
		{"[::1]:80", RTN_LOCAL, false, false},
		{"10.1.0.1:80", RTN_LOCAL, false, false},
		{"10.1.0.2:80", RTN_UNICAST, true, false},
		{"10.3.0.9:80", RTN_UNICAST, true, true},
		{"[fd01::2]:80", RTN_UNICAST, true, false},
	};
	const struct frontend_addr nowhere = frontend("10.2.0.1:80");
	struct route_path path;
	uint32_t index;

	(void)state;
	assert_int_equal(system("ip link add d0 type veth peer name d1 && "
				"ip link set d0 up && ip link set d1 up && "
				"ip addr add 10.1.0.1/24 dev d0 && "
				"ip addr add fd01::1/64 dev d0 nodad && "
				"ip route add 10.3.0.0/24 via 10.1.0.254"),
			 0);
	index = if_nametoindex("d0");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct frontend_addr f = frontend(rows[i].to);

		assert_int_equal(routes_to(-1, &f.prefix, &path), 0);
		if (path.type != rows[i].type || (path.device == index) != rows[i].here ||
		    path.gateway != rows[i].gateway)
			fail_msg("%s: type %u, device %u, gateway %d", rows[i].to, path.type,
				 path.device, path.gateway);
	}
	path.device = 99;
	assert_int_equal(routes_to(-1, &nowhere.prefix, &path), -ENETUNREACH);
	assert_int_equal(path.device, 99);
}

/* Those of table main, of another table and of a rule; and of no more than so many is a list made.
 */
static void test_where_routing_may_change(void **state)
{
	static const char *const expected[] = {"0.0.0.0/0:80", "10.3.0.0/24:80", "10.5.0.0/16:80",
					       "10.5.0.0/24:80"};
	struct route_bounds b = {0};

	(void)state;
	set_lo(true);
	assert_int_equal(system("ip link add d0 type veth peer name d1 && ip link set d1 up && "
				"ip link set d0 up && ip route add 10.5.0.0/24 dev d0 && "
				"ip route add 10.5.0.0/24 dev d0 table 99 && "
				"ip route add 10.3.0.0/24 dev d0 && "
				"ip rule add to 10.5.0.0/16 table 99"),
			 0);
	assert_int_equal(routes_bounds(-1, PINTLE_MAX_WAYS, &b), 0);
	assert_false(b.by_source);
	assert_int_equal(b.all[0].prefix_bits, 0); /* ::/0 */
	for (size_t i = 0, found = 0; i < b.n; i++) {
		struct frontend_addr f = b.all[i];

		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(&b.all[j], &f, sizeof(f));
		for (size_t j = 0; j < ARRAY_SIZE(expected); j++) {
			const struct frontend_addr e = frontend(expected[j]);

			found += e.prefix_bits == f.prefix_bits &&
				 !memcmp(&e.prefix, &f.prefix, sizeof(e.prefix));
		}
		if (i + 1 == b.n)
			assert_int_equal(found, ARRAY_SIZE(expected));
	}
	free(b.all);
	b = (struct route_bounds){.n = 99};
	assert_int_equal(routes_bounds(-1, 4, &b), -E2BIG);
	assert_int_equal(routes_bounds(-1, 1, &b), -E2BIG);
	assert_int_equal(b.n, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		netns_test(test_add_and_remove),
		netns_test(test_somebody_elses_is_left_alone),
		netns_test(test_somebody_else_comes_later),
		netns_test(test_a_longer_prefix_is_another_route),
		netns_test(test_lo_down),
		netns_test(test_in_another_namespace),
		netns_test(test_refused),
		netns_test(test_many),
		netns_test(test_where_an_address_is_reached),
		netns_test(test_where_routing_may_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
