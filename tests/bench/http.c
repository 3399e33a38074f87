/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - both ends of the benchmark of requests.
 *
 *   http serve PORT COUNT PAGE [close]
 *      Model servers on COUNT ports from PORT on. They answer a POST at once, a GET with the page,
 *      and close a connection when the request asks for it, or each.
 *
 *   http ask CLIENTS SECONDS BYTES keep|close ADDRESS PORT
 *      CLIENTS clients at a time send prompts of BYTES bytes. With "keep" they send Connection:
 *      keep-alive, as most libraries do, and keep a connection until the server closes it. Prints
 *      requests, errors, seconds, connections, and the median and the 99th percentile in us. A
 *      request's time includes making its connection.
 *
 *   http first ROUNDS N BYTES PIECES same|new TARGET...
 *      TARGET is NAME,NETNS,CGROUP,ADDRESS,PORT: in each round, N requests to each target in turn,
 *      of 64 sessions, each on a connection of its own: connect, write the request, receive the
 *      first byte of the answer. PIECES 1: one write; 2: headers, body; 3: the headers in two.
 *      Prompts of BYTES bytes are the same, or each is new. Prints one line a round and target:
 *      NAME and the median of the N, in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <http_parser.h>
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
#include <time.h>
#include <unistd.h>

#include "target.h"

#define MAX_FDS     65536
#define MAX_SAMPLES (1 << 22)

static char buf[1 << 18];

static void watch(int ep, int how, int fd, uint32_t events, void *arg)
{
	struct epoll_event e = {.events = events, .data.ptr = arg};

	if (epoll_ctl(ep, how, fd, &e))
		die("epoll_ctl");
}

/* ---- serve ----------------------------------------------------------------------- */

struct peer {
	int fd;
	bool listener, done;
	http_parser parser;
};

static const char answer_body[] =
	"{\"id\":\"x\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"llama\",\"choices\":[{"
	"\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"word\"},\"finish_reason\":"
	"\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}";

static char *page;
static size_t page_size;
static bool each_closes;

static void read_page(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die(path);
	page_size = (size_t)st.st_size;
	page = malloc(page_size + 1);
	if (!page || read(fd, page, page_size) != (ssize_t)page_size)
		die(path);
	close(fd);
}

static int on_request_end(http_parser *p)
{
	((struct peer *)p->data)->done = true;
	http_parser_pause(p, 1);
	return 0;
}

/* Waits while the socket is full, because a client that asked for a page reads it. */
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

static void peer_end(struct peer *p)
{
	close(p->fd);
	free(p);
}

/* Returns false when the connection has ended. */
static bool respond(struct peer *p)
{
	bool keep = http_should_keep_alive(&p->parser) && !each_closes,
	     get = p->parser.method == HTTP_GET;
	static char head[1024];
	size_t size = get ? page_size : sizeof(answer_body) - 1;
	int n = sprintf(head,
			"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %zu\r\n\r\n",
			get ? "text/plain; version=0.0.4" : "application/json",
			keep ? "" : "Connection: close\r\n", size);

	if (!get) {
		memcpy(head + n, answer_body, size);
		send_all(p->fd, head, (size_t)n + size);
	} else {
		send_all(p->fd, head, (size_t)n);
		send_all(p->fd, page, page_size);
	}
	p->done = false;
	http_parser_pause(&p->parser, 0);
	http_parser_init(&p->parser, HTTP_REQUEST);
	return keep;
}

static void peer_read(struct peer *p)
{
	static const http_parser_settings callbacks = {.on_message_complete = on_request_end};
	ssize_t got = recv(p->fd, buf, sizeof(buf), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0)
		return peer_end(p);
	http_parser_execute(&p->parser, &callbacks, buf, (size_t)got);
	if (p->done ? !respond(p) : HTTP_PARSER_ERRNO(&p->parser) != HPE_OK)
		peer_end(p);
}

static struct peer *peer_new(int fd, bool listener)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		die("calloc");
	p->fd = fd;
	p->listener = listener;
	http_parser_init(&p->parser, HTTP_REQUEST);
	p->parser.data = p;
	return p;
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4096))
		die("listen");
	return fd;
}

static void serve(uint16_t port, int count, const char *path)
{
	struct epoll_event events[256];
	int ep = epoll_create1(EPOLL_CLOEXEC);

	read_page(path);
	for (int i = 0; i < count; i++) {
		struct peer *p = peer_new(listen_on((uint16_t)(port + i)), true);

		watch(ep, EPOLL_CTL_ADD, p->fd, EPOLLIN, p);
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;
			int fd, one = 1;

			if (!p->listener) {
				peer_read(p);
				continue;
			}
			fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
			if (fd < 0)
				continue;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, peer_new(fd, false));
		}
	}
}

/* ---- ask ------------------------------------------------------------------------- */

struct client {
	int fd;
	size_t sent;
	double begun;
	bool done;
	http_parser parser;
};

static struct {
	struct sockaddr_in to;
	char *request;
	size_t size;
	int ep;
	bool keep;
	long requests, errors, connections;
	float *us;
} ask;

static void client_write(struct client *c)
{
	ssize_t n = send(c->fd, ask.request + c->sent, ask.size - c->sent, MSG_NOSIGNAL);

	if (n > 0)
		c->sent += (size_t)n;
	watch(ask.ep, EPOLL_CTL_MOD, c->fd, c->sent < ask.size ? EPOLLIN | EPOLLOUT : EPOLLIN, c);
}

static void client_connect(struct client *c)
{
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&ask.to, sizeof(ask.to)) && errno != EINPROGRESS)
		die("connect");
	ask.connections++;
	watch(ask.ep, EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
}

static void client_begin(struct client *c)
{
	c->begun = now_us();
	c->sent = 0;
	c->done = false;
	http_parser_init(&c->parser, HTTP_RESPONSE);
	c->parser.data = c;
	if (c->fd < 0)
		client_connect(c);
	else
		client_write(c);
}

static void client_end(struct client *c, bool well)
{
	bool over = !well || !ask.keep || !http_should_keep_alive(&c->parser);

	if (well && ask.requests < MAX_SAMPLES)
		ask.us[ask.requests++] = (float)(now_us() - c->begun);
	ask.errors += !well;
	if (over) {
		close(c->fd);
		c->fd = -1;
	}
	client_begin(c);
}

static int on_answer_end(http_parser *p)
{
	((struct client *)p->data)->done = true;
	return 0;
}

static void client_event(struct client *c, uint32_t events)
{
	static const http_parser_settings callbacks = {.on_message_complete = on_answer_end};
	ssize_t n;

	if (events & EPOLLOUT && c->sent < ask.size)
		client_write(c);
	if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		return;
	n = recv(c->fd, buf, sizeof(buf), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		return client_end(c, false);
	http_parser_execute(&c->parser, &callbacks, buf, (size_t)n);
	if (c->done)
		client_end(c, c->parser.status_code == 200);
	else if (!n || HTTP_PARSER_ERRNO(&c->parser) != HPE_OK)
		client_end(c, false);
}

/* Writes a request of so many bytes of body, with these headers besides. Returns the size of its
 * head. */
static size_t make_request(size_t bytes, const char *headers)
{
	static const char before[] =
		"{\"model\":\"llama\",\"messages\":[{\"role\":\"user\",\"content\":\"";
	static const char after[] = "\"}],\"max_tokens\":1}";
	size_t fixed = sizeof(before) + sizeof(after) - 2, n,
	       fill = bytes > fixed ? bytes - fixed : 1;

	ask.request = malloc(bytes + 1024);
	if (!ask.request)
		die("malloc");
	n = (size_t)sprintf(ask.request,
			    "POST /v1/chat/completions HTTP/1.1\r\nHost: llama.example\r\n"
			    "Accept-Encoding: gzip, deflate\r\n%s"
			    "Accept: application/json\r\nContent-Type: application/json\r\n"
			    "User-Agent: bench/1\r\nAuthorization: Bearer none\r\n"
			    "Content-Length: %zu\r\n\r\n%s",
			    headers, fixed + fill, before);
	for (size_t i = 0; i < fill; i++)
		ask.request[n++] = "word "[i % 5];
	memcpy(ask.request + n, after, sizeof(after) - 1);
	ask.size = n + sizeof(after) - 1;
	return ask.size - fixed - fill;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void ask_all(int count, double seconds)
{
	double begun = now_us(), now = begun, end = begun + 1e6 * seconds;
	struct client *clients = calloc((size_t)count, sizeof(*clients));
	struct epoll_event events[256];

	ask.us = malloc(sizeof(*ask.us) * MAX_SAMPLES);
	ask.ep = epoll_create1(EPOLL_CLOEXEC);
	if (!clients || !ask.us)
		die("malloc");
	for (int i = 0; i < count; i++) {
		clients[i].fd = -1;
		client_begin(&clients[i]);
	}
	for (; now < end; now = now_us()) {
		int n = epoll_wait(ask.ep, events, 256, 100);

		for (int i = 0; i < n; i++)
			client_event(events[i].data.ptr, events[i].events);
	}
	qsort(ask.us, (size_t)ask.requests, sizeof(*ask.us), compare);
	printf("%ld %ld %.3f %ld %.1f %.1f\n", ask.requests, ask.errors, (now - begun) / 1e6,
	       ask.connections, (double)ask.us[ask.requests / 2],
	       (double)ask.us[ask.requests * 99 / 100]);
}

/* ---- first ----------------------------------------------------------------------- */

static struct {
	size_t head;            /* bytes of the request's head */
	char *session, *prompt; /* in the request: eight digits; where the prompt begins */
	int pieces;
	bool fresh;
	unsigned int number;
} first;

static void write_digits(char *to, unsigned int number)
{
	char digits[9];

	snprintf(digits, sizeof(digits), "%08x", number);
	memcpy(to, digits, 8);
}

/* Writes the request up to `end`. */
static void first_write(const struct target *t, int fd, size_t *sent, size_t end)
{
	ssize_t n = send(fd, ask.request + *sent, end - *sent, MSG_NOSIGNAL);

	if (n < 0 || *sent + (size_t)n != end)
		die(t->name);
	*sent = end;
}

static double first_once(const struct target *t)
{
	/* Ends with a reset, so that no TIME_WAIT sockets pile up. */
	struct linger hard = {.l_onoff = 1};
	double begun = now_us(), took;
	size_t sent = 0;
	int fd, one = 1;

	write_digits(first.session, ++first.number % 64);
	if (first.fresh)
		write_digits(first.prompt, first.number);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    connect(fd, (const struct sockaddr *)&t->to, sizeof(t->to)))
		die(t->name);
	if (first.pieces > 2)
		first_write(t, fd, &sent, first.head / 2);
	if (first.pieces > 1)
		first_write(t, fd, &sent, first.head);
	first_write(t, fd, &sent, ask.size);
	if (recv(fd, buf, sizeof(buf), 0) < 12 || memcmp(buf, "HTTP/1.1 200", 12) != 0)
		die(t->name);
	took = now_us() - begun;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	return took;
}

static double first_median(const struct target *t, int n)
{
	float *us = calloc((size_t)n, sizeof(*us)), median;

	if (!us)
		die("calloc");
	for (int i = 0; i < n; i++)
		us[i] = (float)first_once(t);
	qsort(us, (size_t)n, sizeof(*us), compare);
	median = us[n / 2];
	free(us);
	return (double)median;
}

int main(int argc, char **argv)
{
	struct rlimit files = {MAX_FDS, MAX_FDS};

	setrlimit(RLIMIT_NOFILE, &files);
	if (argc >= 5 && !strcmp(argv[1], "serve")) {
		each_closes = argc > 5 && !strcmp(argv[5], "close");
		serve((uint16_t)atoi(argv[2]), atoi(argv[3]), argv[4]);
	} else if (argc >= 8 && !strcmp(argv[1], "first")) {
		first.pieces = atoi(argv[5]);
		first.fresh = !strcmp(argv[6], "new");
		first.number = (unsigned int)now_us(); /* new to former runs, too */
		first.head = make_request((size_t)atol(argv[4]),
					  "Connection: keep-alive\r\nX-Session-Id: 00000000\r\n");
		first.session = strstr(ask.request, "X-Session-Id: ") + strlen("X-Session-Id: ");
		first.prompt = strstr(ask.request, "\"content\":\"") + strlen("\"content\":\"");
		target_rounds(first_median, atoi(argv[2]), atoi(argv[3]), argv + 7, argc - 7);
	} else if (argc == 8 && !strcmp(argv[1], "ask")) {
		ask.keep = !strcmp(argv[5], "keep");
		ask.to.sin_family = AF_INET;
		ask.to.sin_port = htons((uint16_t)atoi(argv[7]));
		if (inet_pton(AF_INET, argv[6], &ask.to.sin_addr) != 1)
			die(argv[6]);
		make_request((size_t)atol(argv[4]),
			     ask.keep ? "Connection: keep-alive\r\n" : "Connection: close\r\n");
		ask_all(atoi(argv[2]), atof(argv[3]));
	} else {
		fprintf(stderr, "usage: http serve PORT COUNT PAGE [close] | "
				"http ask CLIENTS SECONDS BYTES keep|close ADDRESS PORT | "
				"http first ROUNDS N BYTES PIECES same|new TARGET...\n");
		return 2;
	}
	return 0;
}
