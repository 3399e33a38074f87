/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.c - servers for a test's connections, and clients that only connect.
 *
 *   peer serve PORT...          listens on the ports, for both families and Fast Open; does what
 *                               the last byte of a message says: E echo, F close, H half-close,
 *                               R reset, Z never look at it again
 *   peer connect ADDRESS PORT   connects, and waits to be killed
 *   peer hold N ADDRESS PORT    opens N connections, says so, waits for a line on stdin, and has
 *                               each of them echo a byte; prints how many could not
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof(*(table)))

static const struct linger hard = {.l_onoff = 1};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- serve ------------------------------------------------------------------------- */

#define MAX_FDS 65536
static bool is_listener[MAX_FDS];

static void listen_on(int ep, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct epoll_event e = {.events = EPOLLIN};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1,
	    queue = 256;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)) ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4096))
		die("listen");
	is_listener[fd] = true;
	e.data.fd = fd;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl");
}

static void accept_all(int ep, int listener)
{
	struct epoll_event e = {.events = EPOLLIN};

	for (;;) {
		e.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (e.data.fd < 0)
			return;
		epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e);
	}
}

static void obey(int ep, int fd)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	char order = n > 0 ? buf[n - 1] : 'F';

	if (n < 0 && errno == EAGAIN)
		return;
	switch (order) {
	case 'R':
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
		break;
	case 'F':
		close(fd);
		break;
	case 'H':
		shutdown(fd, SHUT_WR);
		break;
	case 'Z':
		epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
		break;
	case 'E':
		send(fd, buf, (size_t)n, MSG_NOSIGNAL);
		break;
	}
}

static void serve(char **ports, int count)
{
	struct epoll_event events[64];
	int ep = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < count; i++)
		listen_on(ep, (uint16_t)atoi(ports[i]));
	for (;;) {
		int n = epoll_wait(ep, events, COUNT(events), -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (is_listener[fd])
				accept_all(ep, fd);
			else
				obey(ep, fd);
		}
	}
}

/* ---- connect, hold ------------------------------------------------------------------- */

static socklen_t parse(const char *address, const char *port, struct sockaddr_storage *to)
{
	struct sockaddr_in *v4 = (void *)to;
	struct sockaddr_in6 *v6 = (void *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)atoi(port));
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
		die(address);
	return sizeof(*v6);
}

static int connect_to(const char *address, const char *port)
{
	struct sockaddr_storage to;
	socklen_t size = parse(address, port, &to);
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (!connect(fd, (struct sockaddr *)&to, size))
		return fd;
	close(fd);
	return -1;
}

static void hold(int n, const char *address, const char *port)
{
	int *fds = calloc((size_t)n, sizeof(*fds)), failed = 0;
	char line[16], byte;

	if (!fds)
		die("calloc");
	for (int i = 0; i < n; i++) {
		fds[i] = connect_to(address, port);
		failed += fds[i] < 0;
	}
	printf("open %d\n", n - failed);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
	for (int i = 0; i < n; i++)
		failed += fds[i] >= 0 && (send(fds[i], "E", 1, MSG_NOSIGNAL) != 1 ||
					  recv(fds[i], &byte, 1, 0) != 1);
	printf("failed %d\n", failed);
	free(fds);
}

int main(int argc, char **argv)
{
	const struct rlimit files = {MAX_FDS, MAX_FDS};
	const char *what = argc > 1 ? argv[1] : "";

	setrlimit(RLIMIT_NOFILE, &files);
	if (!strcmp(what, "serve") && argc > 2) {
		serve(argv + 2, argc - 2);
	} else if (!strcmp(what, "connect") && argc == 4) {
		connect_to(argv[2], argv[3]);
		pause();
	} else if (!strcmp(what, "hold") && argc == 5) {
		hold(atoi(argv[2]), argv[3], argv[4]);
	} else {
		fprintf(stderr,
			"usage: peer serve PORT... | connect ADDRESS PORT | hold N ADDRESS PORT\n");
		return 2;
	}
	return 0;
}
