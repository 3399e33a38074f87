/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - the two ends of the connection benchmark.
 *
 *   conn serve PORT COUNT [PAGE]     listens on COUNT ports from PORT on, 127.0.0.1 and veth alike;
 *                                    answers a byte with a byte, and a GET with the page; words of
 *                                    `hold`: `echo` comes back, `silence` is not answered, `50` are
 *                                    tokens a second until the client closes
 *   conn measure ROUNDS N TARGET...  TARGET is NAME,NETNS,CGROUP,ADDRESS,PORT: in each round, N
 *                                    connections to each target in turn: connect, send a byte,
 *                                    receive a byte. Prints one line a round and target: NAME
 *                                    and the median of the N, in microseconds.
 *   conn burst ROUNDS N TARGET...    the same, but the N connections of a round are opened at once
 *                                    and then used; the time of all of them, divided by N.
 *   conn stream ROUNDS N TARGET...   the server's page N times on one connection; MB a second.
 *   conn hold N ADDRESS PORT WORD    asks for WORD on N connections, prints "open", and then reads
 *                                    what comes; once a second it prints the bytes that came so
 *                                    far
 *   conn pace RATE ADDRESS PORT      RATE connections a second, until it is killed, each of which
 *                                    asks for the page
 *   conn storm N ADDRESS PORT SEED   N connections from many loopback addresses, with every kind of
 *                                    end; prints how many could not connect, or got no answer
 *                                    although they waited for one.
 *   conn flood RATE N DEVICE MAC ADDRESS PORT
 *                                    N SYNs by that device to a machine of that link address, from
 *                                    many addresses, RATE a second (0: as they go); prints how
 *                                    many nanoseconds each took
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- serve ----------------------------------------------------------------------- */

#include "target.h"

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

/* A page may be larger than the socket's buffer. Blocking is fine: only the scraper asks for pages,
 * one at a time. */
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

/* ---- streams */

#define TOKEN_BYTES   200
#define REQUEST_BYTES 1000

static uint16_t period_ms[MAX_FDS]; /* between the tokens of a connection; 0: no stream */
static int last_stream;

static void stream_begin(int fd, int tokens_a_second)
{
	period_ms[fd] = (uint16_t)(1000 / (tokens_a_second > 0 ? tokens_a_second : 1));
	if (fd > last_stream)
		last_stream = fd;
}

/* The streams' tokens come evenly spread: their file descriptors are their phases. A server that
 * was late does not make up for it. */
static void streams_go_on(int timer)
{
	static const char token[TOKEN_BYTES];
	static uint64_t tick;
	uint64_t ticks;

	if (read(timer, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	for (ticks = ticks < 10 ? ticks : 10; ticks; ticks--, tick++)
		for (int fd = 0; fd <= last_stream; fd++)
			if (period_ms[fd] && (tick + (uint64_t)fd) % period_ms[fd] == 0)
				(void)!send(fd, token, sizeof(token), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int ticks_of_1_ms(void)
{
	const struct itimerspec ms = {{0, 1000000}, {0, 1000000}};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &ms, NULL))
		die("timerfd");
	return fd;
}

static void serve(uint16_t port, int count, const char *path)
{
	struct epoll_event events[256], e = {.events = EPOLLIN};
	static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	size_t page_size = sizeof(empty) - 1;
	const char *page = path ? read_page(path, &page_size) : empty;
	int ep = epoll_create1(EPOLL_CLOEXEC), timer = -1;
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
			if (fd == timer) {
				streams_go_on(timer);
				continue;
			}
			got = recv(fd, buf, sizeof(buf), 0);
			if (got <= 0 || *buf == 'q') {
				period_ms[fd] = 0;
				close(fd);
			} else if (*buf == 'e') {
				send_all(fd, buf, (size_t)got);
			} else if (*buf >= '0' && *buf <= '9') {
				stream_begin(fd, atoi(buf));
				if (timer < 0) {
					e.data.fd = timer = ticks_of_1_ms();
					epoll_ctl(ep, EPOLL_CTL_ADD, timer, &e);
				}
			} else if (*buf == 'G') {
				send_all(fd, page, page_size);
			} else if (*buf != 's') {
				send_all(fd, buf, 1);
			}
		}
	}
}

/* ---- measure --------------------------------------------------------------------- */

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

/* Makes n connections one after the other. Returns the median of their times, in microseconds. */
static double one_by_one(const struct target *t, int n)
{
	double *us = calloc((size_t)n, sizeof(*us)), median;

	if (!us)
		die("calloc");
	for (int i = 0; i < n; i++)
		us[i] = once(t);
	qsort(us, (size_t)n, sizeof(*us), compare);
	median = us[n / 2];
	free(us);
	return median;
}

static void start(const struct target *t, int ep)
{
	struct epoll_event e = {.events = EPOLLOUT};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&t->to, sizeof(t->to)) && errno != EINPROGRESS))
		die(t->name);
	e.data.fd = fd;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl");
}

/* Asks on a connection that was established, ends one that was answered. Returns whether it ended.
 */
static bool go_on(const struct target *t, int ep, int fd, uint32_t what)
{
	const struct linger hard = {.l_onoff = 1};
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	char byte = 'x';

	if (what & EPOLLOUT) {
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e))
			die(t->name);
		return false;
	}
	if (recv(fd, &byte, 1, 0) != 1)
		die(t->name);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	return true;
}

static double at_once(const struct target *t, int n)
{
	struct epoll_event events[256];
	int ep = epoll_create1(EPOLL_CLOEXEC), left = n;
	double begun = now_us();

	for (int i = 0; i < n; i++)
		start(t, ep);
	while (left) {
		int got = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < got; i++)
			left -= go_on(t, ep, events[i].data.fd, events[i].events);
	}
	close(ep);
	return (now_us() - begun) / n;
}

/* Reads an answer of `size` bytes. With size 0 it is the first answer, whose head has the size. */
static size_t read_answer(const struct target *t, int fd, size_t size)
{
	static char buf[1 << 18];
	size_t have = 0;

	while (!size || have < size) {
		ssize_t got = recv(fd, buf, sizeof(buf) - 1, 0);
		const char *length;

		if (got <= 0)
			die(t->name);
		have += (size_t)got;
		if (size)
			continue;
		buf[got] = 0;
		length = strstr(buf, "Content-Length: ");
		if (!length || !strstr(buf, "\r\n\r\n"))
			die("answer");
		size = strtoul(length + 16, NULL, 10) + (size_t)(strstr(buf, "\r\n\r\n") + 4 - buf);
	}
	return size;
}

static double stream(const struct target *t, int n)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t size = 0;
	double begun;

	if (fd < 0 || connect(fd, (const struct sockaddr *)&t->to, sizeof(t->to)))
		die(t->name);
	begun = now_us();
	for (int i = 0; i < n; i++) {
		if (send(fd, get, sizeof(get) - 1, MSG_NOSIGNAL) != sizeof(get) - 1)
			die(t->name);
		size = read_answer(t, fd, size);
	}
	begun = now_us() - begun;
	close(fd);
	return (double)size * n / begun;
}

static const struct {
	const char *name;
	double (*run)(const struct target *t, int n);
} ways[] = {{"measure", one_by_one}, {"burst", at_once}, {"stream", stream}};

/* ---- hold ------------------------------------------------------------------------ */

static void hold(int n, const char *address, uint16_t port, const char *word)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct epoll_event events[256], e = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);
	/* Ends with a reset, even if killed, so that no TIME_WAIT sockets pile up. */
	const struct linger hard = {.l_onoff = 1};
	char request[REQUEST_BYTES] = {0}, buf[1 << 16];
	unsigned long long bytes = 0;
	double said;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die(address);
	snprintf(request, sizeof(request), "%s", word);
	for (int i = 0; i < n; i++) {
		e.data.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (e.data.fd < 0 ||
		    setsockopt(e.data.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) ||
		    connect(e.data.fd, (struct sockaddr *)&to, sizeof(to)) ||
		    send(e.data.fd, request, sizeof(request), 0) != sizeof(request) ||
		    epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e))
			die("hold");
	}
	puts("open");
	for (said = 0;;) {
		int got = epoll_wait(ep, events, 256, 100);

		for (int i = 0; i < got; i++) {
			ssize_t more = recv(events[i].data.fd, buf, sizeof(buf), MSG_DONTWAIT);

			if (!more)
				die("a server closed");
			bytes += more > 0 ? (unsigned long long)more : 0;
		}
		if (now_us() - said < 1e6)
			continue;
		said = now_us();
		printf("%llu\n", bytes);
		fflush(stdout);
	}
}

/* ---- pace ------------------------------------------------------------------------ */

static void pace(int rate, const char *address, uint16_t port)
{
	struct target t = {.name = "pace", .to = {.sin_family = AF_INET, .sin_port = htons(port)}};
	const struct linger hard = {.l_onoff = 1}; /* no TIME_WAIT sockets pile up */
	const struct timespec pause = {.tv_nsec = 1000000000L / rate};

	if (inet_pton(AF_INET, address, &t.to.sin_addr) != 1)
		die(address);
	for (;; nanosleep(&pause, NULL)) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) ||
		    connect(fd, (const struct sockaddr *)&t.to, sizeof(t.to)) ||
		    send(fd, "G", 1, MSG_NOSIGNAL) != 1)
			die(t.name);
		read_answer(&t, fd, 0);
		close(fd);
	}
}

/* ---- storm ----------------------------------------------------------------------- */

/* How a connection of the storm ends. */
enum end {
	END_CLOSE,       /* asks, and closes */
	END_RESET,       /* asks, and resets */
	END_RESET_EARLY, /* resets without a word */
	END_SILENT,      /* closes without a word */
	END_HALF,        /* shuts down its side, and reads to the end */
	END_UNREAD,      /* asks, and closes with the answer unread */
	END_SERVER,      /* asks the server to close */
	ENDS
};

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

static bool finish(int fd, enum end how)
{
	const struct linger hard = {.l_onoff = 1};
	char byte = how == END_SERVER ? 'q' : 'x', buf[64];
	bool fine = true;

	if (how == END_RESET_EARLY || how == END_SILENT)
		goto out;
	fine = send(fd, &byte, 1, MSG_NOSIGNAL) == 1;
	if (how == END_HALF)
		shutdown(fd, SHUT_WR);
	if (how == END_HALF || how == END_SERVER)
		while (recv(fd, buf, sizeof(buf), 0) > 0)
			;
	else if (how != END_UNREAD)
		fine = fine && recv(fd, buf, 1, 0) == 1;
out:
	if (how == END_RESET || how == END_RESET_EARLY)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	return fine;
}

static void storm(long n, const char *address, uint16_t port, uint64_t seed)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	const struct timeval patience = {.tv_sec = 10};
	long refused = 0, unanswered = 0;
	uint64_t state = seed * 2654435761U + 88172645463325252ULL;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die(address);
	for (long i = 0; i < n; i++) {
		/* TIME_WAIT does not use up ports, because each address has its own. */
		struct sockaddr_in from = {.sin_family = AF_INET};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
		uint64_t r = random_next(&state);

		if (fd < 0)
			die("socket");
		from.sin_addr.s_addr = htonl(0x7f010001 + (uint32_t)(r % 4000));
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		if (bind(fd, (struct sockaddr *)&from, sizeof(from)))
			die("bind");
		if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
			refused++;
			close(fd);
			continue;
		}
		unanswered += !finish(fd, (enum end)((r >> 32) % ENDS));
	}
	printf("%ld %ld\n", refused, unanswered);
}

/* ---- flood ------------------------------------------------------------------------ */

#define FLOOD_BATCH  64
#define FLOOD_SOURCE 0x0ac80000 /* 10.200.0.0/16 */

struct syn {
	struct ether_header link;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t padding[6]; /* no frame is shorter than 60 bytes */
} __attribute__((packed));

static uint16_t sum_end(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint64_t sum_of(const void *p, size_t n)
{
	uint64_t sum = 0;
	uint16_t word;

	for (size_t i = 0; i < n; i += sizeof(word)) {
		memcpy(&word, (const char *)p + i, sizeof(word));
		sum += word;
	}
	return sum;
}

static void syn_make(struct syn *s, const struct sockaddr_in *to, uint64_t *seed)
{
	uint64_t r = random_next(seed);

	s->link.ether_type = htons(ETHERTYPE_IP);
	s->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP};
	s->ip.tot_len = htons(sizeof(s->ip) + sizeof(s->tcp));
	s->ip.saddr = htonl(FLOOD_SOURCE | (uint32_t)(r & 0xffff));
	s->ip.daddr = to->sin_addr.s_addr;
	s->ip.check = sum_end(sum_of(&s->ip, sizeof(s->ip)));
	s->tcp = (struct tcphdr){.syn = 1, .doff = 5, .window = 0xffff, .dest = to->sin_port};
	s->tcp.source = htons((uint16_t)(1024 + (r >> 16) % 60000));
	s->tcp.seq = (uint32_t)(r >> 32);
	s->tcp.check = sum_end(sum_of(&s->tcp, sizeof(s->tcp)) + sum_of(&s->ip.saddr, 8) +
			       htons(IPPROTO_TCP) + htons(sizeof(s->tcp)));
}

static int flood_socket(const char *device)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(device)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || !at.sll_ifindex || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		die(device);
	return fd;
}

static void flood(long rate, long n, const char *device, const char *mac,
		  const struct sockaddr_in *to)
{
	static struct syn syns[FLOOD_BATCH];
	static struct mmsghdr all[FLOOD_BATCH];
	struct iovec io[FLOOD_BATCH];
	uint64_t seed = 88172645463325252ULL;
	int fd = flood_socket(device);
	double began = now_us();

	for (int i = 0; i < FLOOD_BATCH; i++) {
		uint8_t *m = syns[i].link.ether_dhost;

		sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5);
		syns[i].link.ether_shost[0] = 2;
		io[i] = (struct iovec){&syns[i], sizeof(syns[i])};
		all[i].msg_hdr = (struct msghdr){.msg_iov = &io[i], .msg_iovlen = 1};
	}
	for (long sent = 0; sent < n; sent += FLOOD_BATCH) {
		for (int i = 0; i < FLOOD_BATCH; i++)
			syn_make(&syns[i], to, &seed);
		if (sendmmsg(fd, all, FLOOD_BATCH, 0) < 0 && errno != ENOBUFS)
			die("sendmmsg");
		if (rate && (double)sent * 1e6 / (double)rate > now_us() - began)
			usleep((useconds_t)((double)sent * 1e6 / (double)rate -
					    (now_us() - began)));
	}
	printf("%.0f\n", (now_us() - began) * 1e3 / (double)n);
}

int main(int argc, char **argv)
{
	struct rlimit files = {MAX_FDS, MAX_FDS};
	size_t way = 0;

	setrlimit(RLIMIT_NOFILE, &files);
	while (argc > 1 && way < sizeof(ways) / sizeof(*ways) &&
	       strcmp(argv[1], ways[way].name) != 0)
		way++;
	if (argc >= 4 && !strcmp(argv[1], "serve")) {
		serve((uint16_t)atoi(argv[2]), atoi(argv[3]), argc > 4 ? argv[4] : NULL);
	} else if (argc >= 5 && way < sizeof(ways) / sizeof(*ways)) {
		target_rounds(ways[way].run, atoi(argv[2]), atoi(argv[3]), argv + 4, argc - 4);
	} else if (argc == 6 && !strcmp(argv[1], "hold")) {
		hold(atoi(argv[2]), argv[3], (uint16_t)atoi(argv[4]), argv[5]);
	} else if (argc == 5 && !strcmp(argv[1], "pace") && atoi(argv[2]) > 1) {
		pace(atoi(argv[2]), argv[3], (uint16_t)atoi(argv[4]));
	} else if (argc == 6 && !strcmp(argv[1], "storm")) {
		storm(atol(argv[2]), argv[3], (uint16_t)atoi(argv[4]), strtoull(argv[5], NULL, 10));
	} else if (argc == 8 && !strcmp(argv[1], "flood")) {
		struct sockaddr_in to = {.sin_family = AF_INET,
					 .sin_port = htons((uint16_t)atoi(argv[7]))};

		inet_pton(AF_INET, argv[6], &to.sin_addr);
		flood(atol(argv[2]), atol(argv[3]), argv[4], argv[5], &to);
	} else {
		fprintf(stderr,
			"usage: conn serve PORT COUNT [PAGE] | conn measure|burst|stream ROUNDS N TARGET... | "
			"conn hold N ADDRESS PORT WORD | conn pace RATE ADDRESS PORT | "
			"conn storm N ADDRESS PORT SEED | "
			"conn flood RATE N DEVICE MAC ADDRESS PORT\n");
		return 2;
	}
	return 0;
}
