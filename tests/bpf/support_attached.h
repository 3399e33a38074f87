/* SPDX-License-Identifier: Apache-2.0 */
/* support_attached.h - for tests with attached programs: sockets, a cgroup for them, and the
 * kernel's events. */
#ifndef PINTLE_TESTS_SUPPORT_ATTACHED_H
#define PINTLE_TESTS_SUPPORT_ATTACHED_H

#include "support_world.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "../../userspace/net/cgroup2.h"
#include "../unit/support_netns.h"

static char home[PATH_MAX], cgroup[PATH_MAX];

/* Waits for a condition that the kernel fulfils a moment later. */
#define wait_for(condition)                                                                        \
	do {                                                                                       \
		uint64_t until_ = monotonic_ns() + 20 * SECOND;                                    \
		while (!(condition) && monotonic_ns() < until_)                                    \
			usleep(1000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

static inline struct sockaddr_in6 socket_address(const char *address, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	address_of(address, a.sin6_addr.s6_addr);
	return a;
}

static inline uint16_t port_of(int fd)
{
	struct sockaddr_in6 a;
	socklen_t size = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	return ntohs(a.sin6_port);
}

/* Returns a socket bound to `address`, which is v4-mapped for IPv4; port 0: any. It does not listen
 * yet. */
static inline int bound(int protocol, const char *address, uint16_t port)
{
	struct sockaddr_in6 a = socket_address(address, port);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, protocol), one = 1, zero = 0;

	if (fd < 0)
		return fd;
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)), 0);
	if (port)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* A client's socket for both families. */
static inline int make_client(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), zero = 0;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)), 0);
	return fd;
}

/* Returns 0 or -errno. */
static inline int connect_to(int fd, const char *address, uint16_t port)
{
	struct sockaddr_in6 to = socket_address(address, port);

	return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -errno : 0;
}

static inline uint64_t in_flight(uint32_t e)
{
	struct pintle_counters n = counters_of(e);

	return n.opened - n.closed;
}

struct heard {
	struct pintle_event closed;
	int n;
};

static inline int hear(void *arg, void *data, size_t size)
{
	struct heard *h = arg;

	assert_true(size >= sizeof(h->closed));
	memcpy(&h->closed, data, sizeof(h->closed));
	h->n++;
	return 0;
}

/* From here on events go to the ring, as with `pintle events`. */
static inline void follow(void)
{
	struct pintle_override o = {.tap_until_ns = UINT64_MAX};

	put(overrides, (uint32_t)PINTLE_OVERRIDE_NODE, &o);
}

static inline void join(const char *dir)
{
	char path[PATH_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(write(fd, "0", 1) == 1);
	close(fd);
}

/* The mount point of cgroup2, and this process's own cgroup below it. */
static inline int make_cgroup(void **state)
{
	(void)state;
	if (cgroup2_root(home, sizeof(home)))
		return -1;
	if ((size_t)snprintf(cgroup, sizeof(cgroup), "%s/pintle-test-%d", home, getpid()) >=
	    sizeof(cgroup))
		return -1;
	return mkdir(cgroup, 0755);
}

static inline int remove_cgroup(void **state)
{
	(void)state;
	return rmdir(cgroup);
}

#endif
