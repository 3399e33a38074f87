/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - the two ends of the connection benchmark.
 *
 *   conn serve PORT COUNT [PAGE]     listens on COUNT ports from PORT on, 127.0.0.1 and veth alike;
 *                                    answers a byte with a byte, and a GET with the page
 *   conn measure ROUNDS N TARGET...  TARGET is NAME,NETNS,CGROUP,ADDRESS,PORT: in each round, N
 *                                    connections to each target in turn: connect, send a byte,
 *                                    receive a byte. Prints one line a round and target: NAME
 *                                    and the median of the N, in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- serve ----------------------------------------------------------------------- */

#define MAX_FDS 65536
static bool is_listener[MAX_FDS];

static int listen_on(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || fd >= MAX_FDS ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4096))
		die("listen");
	is_listener[fd] = true;
	return fd;
}

static char *read_page(const char *path, size_t *size)
{
	struct stat st;
	char *page;
	int fd = open(path, O_RDONLY | O_CLOEXEC), n;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	page = malloc((size_t)st.st_size + 256);
	if (!page)
		die("malloc");
	n = sprintf(page,
		    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
		    "Content-Length: %lld\r\n\r\n",
		    (long long)st.st_size);
	if (read(fd, page + n, (size_t)st.st_size) != st.st_size)
		die(path);
	close(fd);
	*size = (size_t)n + (size_t)st.st_size;
	return page;
}

/* A page may be larger than the socket takes at once: the rest is waited for, since only
 * the scraper asks for pages, one at a time. */
static void send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			return;
		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		}
	}
}

static void serve(uint16_t port, int count, const char *path)
{
	struct epoll_event events[256], e = {.events = EPOLLIN};
	static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	size_t page_size = sizeof(empty) - 1;
	const char *page = path ? read_page(path, &page_size) : empty;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	char buf[4096];

	for (int i = 0; i < count; i++) {
		e.data.fd = listen_on((uint16_t)(port + i));
		if (epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e))
			die("epoll_ctl");
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			ssize_t got;

			if (is_listener[fd]) {
				e.data.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (e.data.fd >= 0)
					epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e);
				continue;
			}
			got = recv(fd, buf, sizeof(buf), 0);
			if (got <= 0)
				close(fd);
			else if (*buf == 'G')
				send_all(fd, page, page_size);
			else
				send_all(fd, buf, 1);
		}
	}
}

/* ---- measure --------------------------------------------------------------------- */

struct target {
	char *name, *cgroup;
	int netns;
	struct sockaddr_in to;
};

static struct target parse_target(char *text)
{
	struct target t = {.name = strsep(&text, ",")};
	const char *netns = strsep(&text, ","), *address;

	t.cgroup = strsep(&text, ",");
	address = strsep(&text, ",");
	if (!text)
		die("target");
	t.netns = open(netns, O_RDONLY | O_CLOEXEC);
	if (t.netns < 0)
		die(netns);
	t.to.sin_family = AF_INET;
	t.to.sin_port = htons((uint16_t)atoi(text));
	if (inet_pton(AF_INET, address, &t.to.sin_addr) != 1)
		die(address);
	return t;
}

static void enter(const struct target *t)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", t->cgroup);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f))
		die(path);
	if (setns(t->netns, CLONE_NEWNET))
		die("setns");
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static double once(const struct target *t)
{
	/* Ends with a reset, so that no TIME_WAIT sockets pile up. */
	struct linger hard = {.l_onoff = 1};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	double begun = now_us(), took;
	char byte = 'x';

	if (fd < 0 || connect(fd, (const struct sockaddr *)&t->to, sizeof(t->to)) ||
	    send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
		die(t->name);
	took = now_us() - begun;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	return took;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(int rounds, int n, struct target *targets, int count)
{
	double *us = calloc((size_t)n, sizeof(*us));

	if (!us)
		die("calloc");
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < count; i++) {
			/* Another one first each round: none always follows the same. */
			const struct target *t = &targets[(i + r) % count];

			enter(t);
			for (int j = 0; j < n; j++)
				us[j] = once(t);
			qsort(us, (size_t)n, sizeof(*us), compare);
			printf("%s %.3f\n", t->name, us[n / 2]);
		}
		fflush(stdout);
	}
	free(us);
}

int main(int argc, char **argv)
{
	struct rlimit files = {MAX_FDS, MAX_FDS};

	setrlimit(RLIMIT_NOFILE, &files);
	if (argc >= 4 && !strcmp(argv[1], "serve")) {
		serve((uint16_t)atoi(argv[2]), atoi(argv[3]), argc > 4 ? argv[4] : NULL);
	} else if (argc >= 5 && !strcmp(argv[1], "measure")) {
		struct target *targets = calloc((size_t)argc, sizeof(*targets));

		if (!targets)
			die("calloc");
		for (int i = 4; i < argc; i++)
			targets[i - 4] = parse_target(argv[i]);
		measure(atoi(argv[2]), atoi(argv[3]), targets, argc - 4);
		free(targets);
	} else {
		fprintf(stderr,
			"usage: conn serve PORT COUNT [PAGE] | conn measure ROUNDS N TARGET...\n");
		return 2;
	}
	return 0;
}
