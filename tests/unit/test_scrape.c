// SPDX-License-Identifier: Apache-2.0
/* The scraper against real servers on loopback, polite and hostile. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/fetch/scrape.h"

#define PAGE           "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 17\n"
#define GOOD           "HTTP/1.1 200 OK\r\nContent-Length: 68\r\n\r\n" PAGE
#define LOOK_MS        10
#define PATIENCE_LOOKS 3000 /* after so many, a condition that is not met is a failure */
#define HOUR_NS        (3600 * NSEC_PER_SEC)
#define REST_LOOKS     30 /* for so many, nothing is scraped */

/* -- a server --------------------------------------------------------------------- */

struct server;
/* Answers one request; returns whether the connection stays open. */
typedef bool (*answer_fn)(struct server *s, int fd);

struct server {
	int listener, stop;
	uint16_t port;
	char url[64];
	pthread_t thread;
	_Atomic(answer_fn) answer;
	const char *text; /* for answer_text() */
	atomic_int connections, requests, stopping;
	char head[4096]; /* of the newest request; read it once `requests` has counted it */
};

static bool stopping(struct server *s, int wait_ms)
{
	struct pollfd p = {.fd = s->stop, .events = POLLIN};

	return poll(&p, 1, wait_ms) > 0;
}

static bool send_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
	}
	return true;
}

static bool send_text(int fd, const char *text)
{
	return send_all(fd, text, strlen(text));
}

static bool serve(struct server *s, int fd)
{
	size_t n = 0;

	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
				      {.fd = s->stop, .events = POLLIN}};
		ssize_t r;

		if (n == 0)
			memset(s->head, 0, sizeof(s->head));
		if (poll(p, 2, -1) < 0 || p[1].revents)
			return false;
		r = recv(fd, s->head + n, sizeof(s->head) - 1 - n, 0);
		if (r <= 0)
			return false;
		n += (size_t)r;
		if (!strstr(s->head, "\r\n\r\n"))
			continue;
		atomic_fetch_add(&s->requests, 1);
		return atomic_load(&s->answer)(s, fd);
	}
}

static void *run_server(void *arg)
{
	struct server *s = arg;
	struct pollfd p[64] = {{.fd = s->stop, .events = POLLIN},
			       {.fd = s->listener, .events = POLLIN}};
	nfds_t n = 2;

	while (poll(p, n, -1) > 0 && !p[0].revents) {
		for (nfds_t i = n - 1; i >= 2; i--) {
			if (!p[i].revents || serve(s, p[i].fd))
				continue;
			close(p[i].fd);
			p[i] = p[--n];
		}
		if (p[1].revents && n < ARRAY_SIZE(p)) {
			struct timeval patience = {.tv_usec = 100000};

			p[n] = (struct pollfd){.fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC),
					       .events = POLLIN};
			setsockopt(p[n].fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
			n++;
			atomic_fetch_add(&s->connections, 1);
		}
	}
	while (n > 2)
		close(p[--n].fd);
	return NULL;
}

/* Bound but not listening: the port belongs to this test, and refuses connections. */
static void server_bind(struct server *s, int family, answer_fn answer)
{
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *a = family == AF_INET ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6;
	socklen_t size = family == AF_INET ? sizeof(a4) : sizeof(a6);

	*s = (struct server){.stop = eventfd(0, EFD_CLOEXEC)};
	atomic_store(&s->answer, answer);
	s->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(s->listener >= 0 && s->stop >= 0);
	assert_int_equal(bind(s->listener, a, size), 0);
	assert_int_equal(getsockname(s->listener, a, &size), 0);
	s->port = ntohs(family == AF_INET ? a4.sin_port : a6.sin6_port);
	snprintf(s->url, sizeof(s->url), "http://%s:%u/metrics",
		 family == AF_INET ? "127.0.0.1" : "[::1]", s->port);
}

static void server_listen(struct server *s)
{
	assert_int_equal(listen(s->listener, 64), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
}

static void server_start(struct server *s, answer_fn answer)
{
	server_bind(s, AF_INET, answer);
	server_listen(s);
}

static void server_stop(struct server *s)
{
	atomic_store(&s->stopping, 1);
	eventfd_write(s->stop, 1);
	if (s->thread)
		pthread_join(s->thread, NULL);
	close(s->listener);
	close(s->stop);
}

static bool answer_good(struct server *s, int fd)
{
	(void)s;
	return send_text(fd, GOOD);
}

static bool answer_text(struct server *s, int fd)
{
	send_text(fd, s->text);
	return false;
}

/* Sends nothing for as long as the client waits. */
static bool answer_nothing(struct server *s, int fd)
{
	(void)s;
	(void)fd;
	return true;
}

/* -- a scraped target ------------------------------------------------------------- */

struct fixture {
	uv_loop_t loop;
	struct scraper *scraper;
	uv_timer_t look; /* wakes the loop to look at what a server's thread has done */
	int looks;
	int saved_stderr, captured;
};

struct record {
	struct fixture *f;
	struct scrape_target *target;
	int begins, dones, good, error;
	bool open; /* begun, not done */
	char page[4096];
	size_t size;
	const char *bad; /* what done() returns for a page */
	void (*in_begin)(struct record *r);
	bool (*refuse)(const struct fetch_connection *c); /* NULL: no connection is refused */
	void (*in_done)(struct record *r);
};

static bool on_begin(void *arg, const struct fetch_connection *c)
{
	struct record *r = arg;

	r->begins++;
	r->open = true;
	if (r->in_begin)
		r->in_begin(r);
	return !r->refuse || !r->refuse(c);
}

static const char *on_done(void *arg, int error, const char *page, size_t size)
{
	struct record *r = arg;

	r->dones++;
	r->open = false;
	r->error = error;
	r->good += !error;
	if (error) {
		assert_null(page);
	} else {
		assert_non_null(page);
		r->size = size;
		memcpy(r->page, page, MIN(size, sizeof(r->page)));
	}
	if (r->in_done)
		r->in_done(r);
	return error ? NULL : r->bad;
}

static const struct scrape_callbacks callbacks = {.begin = on_begin, .done = on_done};

static struct scrape_options options_of(const char *url)
{
	return (struct scrape_options){.url = url,
				       .label = "llama-8b/gpu0",
				       .interval_ns = 5 * NSEC_PER_MSEC,
				       .timeout_ns = 20 * NSEC_PER_SEC};
}

static void add(struct fixture *f, struct record *r, const struct scrape_options *o)
{
	r->f = f;
	assert_int_equal(scraper_add(f->scraper, o, &callbacks, r, &r->target), 0);
}

static void add_url(struct fixture *f, struct record *r, const char *url)
{
	struct scrape_options o = options_of(url);

	add(f, r, &o);
}

static void on_look(uv_timer_t *t)
{
	struct fixture *f = t->data;

	f->looks++;
}

/* Runs the loop until the condition holds. */
#define RUN_UNTIL(f, condition)                                                                    \
	do {                                                                                       \
		(f)->looks = 0;                                                                    \
		uv_timer_start(&(f)->look, on_look, LOOK_MS, LOOK_MS);                             \
		while (!(condition)) {                                                             \
			assert_true((f)->looks < PATIENCE_LOOKS);                                  \
			uv_run(&(f)->loop, UV_RUN_ONCE);                                           \
		}                                                                                  \
		uv_timer_stop(&(f)->look);                                                         \
	} while (0)

static void setup_in(struct fixture *f, int netns_fd)
{
	*f = (struct fixture){.saved_stderr = -1, .captured = -1};
	assert_int_equal(uv_loop_init(&f->loop), 0);
	uv_timer_init(&f->loop, &f->look);
	f->look.data = f;
	assert_int_equal(scraper_new(&f->loop, netns_fd, &f->scraper), 0);
}

static void setup(struct fixture *f)
{
	setup_in(f, -1);
}

/* Only handles that close by themselves may be left on the loop. */
static void teardown(struct fixture *f)
{
	scraper_free(f->scraper);
	uv_close((uv_handle_t *)&f->look, NULL);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void capture_stderr(struct fixture *f)
{
	f->captured = memfd_create("stderr", MFD_CLOEXEC);
	f->saved_stderr = dup(STDERR_FILENO);
	assert_true(f->captured >= 0 && f->saved_stderr >= 0);
	dup2(f->captured, STDERR_FILENO);
}

/* What was logged since capture_stderr(). */
static void read_stderr(struct fixture *f, char *buf, size_t size)
{
	ssize_t n = pread(f->captured, buf, size - 1, 0);

	dup2(f->saved_stderr, STDERR_FILENO);
	close(f->saved_stderr);
	close(f->captured);
	assert_true(n >= 0);
	buf[n] = '\0';
}

static int count_lines(const char *text, const char *with)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, with)); p++)
		n++;
	return n;
}

/* -- pages ------------------------------------------------------------------------ */

static void good_page(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 1);
	assert_int_equal(r.error, 0);
	assert_true(r.begins >= r.dones);
	assert_int_equal(r.size, strlen(PAGE));
	assert_memory_equal(r.page, PAGE, strlen(PAGE));
	assert_non_null(strstr(s.head, "GET /metrics HTTP/1.1\r\n"));
	/* The server may keep the connection open: see fetch.c. */
	assert_null(strstr(s.head, "User-Agent"));
	assert_null(strstr(s.head, "Accept-Encoding"));
	assert_null(strstr(s.head, "Connection"));
	assert_non_null(strstr(s.head, "Accept: text/plain;version=0.0.4\r\n"));
	assert_null(strcasestr(s.head, "Accept-Encoding"));
	teardown(&f);
	server_stop(&s);
}

static bool answer_chunked(struct server *s, int fd)
{
	(void)s;
	if (!send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "6\r\nload 1\r\n"))
		return false;
	/* Two segments, so that the number comes in two reads. */
	sched_yield();
	return send_text(fd, "4\r\n234\n\r\n0\r\n\r\n");
}

static void chunk_ends_inside_a_number(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};

	(void)state;
	setup(&f);
	server_start(&s, answer_chunked);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 3);
	assert_int_equal(r.good, r.dones);
	assert_int_equal(r.size, 10);
	assert_memory_equal(r.page, "load 1234\n", 10);
	assert_int_equal(atomic_load(&s.connections), 1);
	teardown(&f);
	server_stop(&s);
}

static bool answer_large(struct server *s, int fd)
{
	static char block[3 << 20];

	(void)s;
	memset(block, '#', sizeof(block));
	return send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n") &&
	       send_all(fd, block, sizeof(block));
}

static void large_page_is_whole(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};

	(void)state;
	setup(&f);
	server_start(&s, answer_large);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 2);
	assert_int_equal(r.good, r.dones);
	assert_int_equal(r.size, 3 << 20);
	teardown(&f);
	server_stop(&s);
}

/* -- hostile answers: the bytes that are sent before a close, and the result --------- */

static const struct {
	const char *name, *text;
	int error;
} answers[] = {
	{"empty page", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0},
	{"page up to the close", "HTTP/1.0 200 OK\r\n\r\na 1\n", 0},
	{"page up to a close that is announced",
	 "HTTP/1.1 200 OK\r\nconnection: Keep-Alive, Close\r\n\r\na 1\n", 0},
	{"page up to a close", "HTTP/1.1 200 OK\r\nServer: a\r\n\r\na 1\n", -EPROTO},
	{"hint with a length, page without",
	 "HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\n\r\na 1\n",
	 -EPROTO},
	{"503", "HTTP/1.1 503 Loading model\r\nContent-Length: 2\r\n\r\na\n", -EPROTO},
	{"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", -EPROTO},
	{"204", "HTTP/1.1 204 No Content\r\n\r\n", -EPROTO},
	{"206", "HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\na 1\n", -EPROTO},
	{"redirect to nowhere", "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
	 -EPROTO},
	{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\na 1\n", -ECONNRESET},
	{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na 1\n",
	 -ECONNRESET},
	{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n",
	 -ECONNRESET},
	{"bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\na 1\n\r\n",
	 -EPROTO},
	{"nothing", "", -ECONNRESET},
	{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", -ECONNRESET},
	{"head without its end", "HTTP/1.1 200 OK\r\nServer: a\r\n", -ECONNRESET},
	{"hint, then half a head", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", -ECONNRESET},
	{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", -EPROTO},
	{"no status line", "a 1\nb 2\n", -EPROTO},
	{"TLS, that of plain HTTP", "\x15\x03\x01\x01\x02\x02\x16", -EPROTO},
	{"a status that is none", "HTTP/1.1 nonsense\r\n\r\n", -EPROTO},
	{"announced too large", "HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\na 1\n", -EFBIG},
	{"absurdly large", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\na 1\n",
	 -EFBIG},
	{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\na 1\n", -EPROTO},
};

static void hostile_answers(void **state)
{
	struct fixture f;
	struct server s;

	(void)state;
	setup(&f);
	server_start(&s, answer_text);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct record r = {0};

		s.text = answers[i].text;
		add_url(&f, &r, s.url);
		RUN_UNTIL(&f, r.dones >= 1);
		if (r.error != answers[i].error)
			fail_msg("%s: %d instead of %d", answers[i].name, r.error,
				 answers[i].error);
		scraper_remove(r.target);
	}
	teardown(&f);
	server_stop(&s);
}

static bool answer_endlessly(struct server *s, int fd)
{
	char block[16384];

	memset(block, 'a', sizeof(block));
	send_text(fd, s->text);
	while (!atomic_load(&s->stopping) && send_all(fd, block, sizeof(block)))
		;
	return false;
}

static bool answer_endless_hints(struct server *s, int fd)
{
	while (!atomic_load(&s->stopping) && send_text(fd, "HTTP/1.1 100 Continue\r\n\r\n"))
		;
	return false;
}

static bool answer_endless_headers(struct server *s, int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\n");
	while (!atomic_load(&s->stopping) && send_text(fd, "X-Load: 1\r\n"))
		;
	return false;
}

static void endless_answers(void **state)
{
	static const struct {
		answer_fn answer;
		const char *text;
		int error;
	} cases[] = {
		{answer_endlessly, "HTTP/1.1 200 OK\r\n\r\n", -EFBIG},
		{answer_endlessly,
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", -EFBIG},
		{answer_endlessly, "HTTP/1.1 503 Loading\r\n\r\n", -EPROTO},
		{answer_endless_hints, NULL, -EFBIG},
		{answer_endless_headers, NULL, -EFBIG},
	};
	struct fixture f;
	struct server s;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct record r = {0};

		s.text = cases[i].text;
		atomic_store(&s.answer, cases[i].answer);
		add_url(&f, &r, s.url);
		RUN_UNTIL(&f, r.dones >= 1);
		if (r.error != cases[i].error)
			fail_msg("case %zu: %d instead of %d", i, r.error, cases[i].error);
		scraper_remove(r.target);
	}
	teardown(&f);
	server_stop(&s);
}

static bool answer_slowly(struct server *s, int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
	while (!stopping(s, 5) && send_text(fd, "a"))
		;
	return false;
}

static void slow_server_times_out(void **state)
{
	static const answer_fn cases[] = {answer_slowly, answer_nothing};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture f;
		struct server s;
		struct record r = {0};
		struct scrape_options o;

		setup(&f);
		server_start(&s, cases[i]);
		o = options_of(s.url);
		o.timeout_ns = 100 * NSEC_PER_MSEC;
		add(&f, &r, &o);
		RUN_UNTIL(&f, r.dones >= 2);
		assert_int_equal(r.error, -ETIMEDOUT);
		assert_int_equal(r.good, 0);
		assert_int_equal(scraper_failures(r.target), r.dones);
		teardown(&f);
		server_stop(&s);
	}
}

static void redirect_is_not_followed(void **state)
{
	struct fixture f;
	struct server s, other;
	struct record r = {0};
	char text[256], said[4096];

	(void)state;
	setup(&f);
	server_start(&s, answer_text);
	server_start(&other, answer_good);
	snprintf(text, sizeof(text),
		 "HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", other.url);
	s.text = text;
	capture_stderr(&f);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 2);
	read_stderr(&f, said, sizeof(said));
	assert_int_equal(r.error, -EPROTO);
	assert_int_equal(atomic_load(&other.connections), 0);
	snprintf(text, sizeof(text), "failed: HTTP status 301, to %s; name that page", other.url);
	assert_non_null(strstr(said, text));
	teardown(&f);
	server_stop(&s);
	server_stop(&other);
}

static void proxy_of_the_environment_is_not_used(void **state)
{
	struct fixture f;
	struct server s, proxy;
	struct record r = {0};

	(void)state;
	server_start(&s, answer_good);
	server_start(&proxy, answer_good);
	setenv("http_proxy", proxy.url, 1);
	setenv("ALL_PROXY", proxy.url, 1);
	setup(&f);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 1);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	assert_int_equal(r.error, 0);
	assert_int_equal(atomic_load(&proxy.connections), 0);
	teardown(&f);
	server_stop(&s);
	server_stop(&proxy);
}

/* -- connections ------------------------------------------------------------------ */

static void connection_is_kept(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	struct scrape_stats stats;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 10);
	assert_int_equal(r.good, r.dones);
	assert_int_equal(atomic_load(&s.connections), 1);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(stats.connects, 1);
	assert_int_equal(stats.started, r.dones + stats.in_flight);
	assert_int_equal(stats.failed, 0);
	assert_int_equal(stats.bytes, r.dones * strlen(PAGE));
	assert_int_equal(stats.targets, 1);
	teardown(&f);
	server_stop(&s);
}

static bool wish_fresh, is_fresh;
static int fresh_ones;

/* True once for each wish. */
static bool on_fresh(void *arg)
{
	(void)arg;
	is_fresh = wish_fresh;
	wish_fresh = false;
	return is_fresh;
}

static void count_fresh(struct record *r)
{
	(void)r;
	fresh_ones += is_fresh;
}

/* A fresh connection is used for one request, and the kept connection is still there afterwards. */
static void connection_is_fresh_when_asked_for(void **state)
{
	static const struct scrape_callbacks with_fresh = {
		.fresh = on_fresh, .begin = on_begin, .done = on_done};
	struct record r = {.in_done = count_fresh};
	struct scrape_options o;
	struct fixture f;
	struct server s;

	(void)state;
	server_start(&s, answer_good);
	setup(&f);
	o = options_of(s.url);
	r.f = &f;
	assert_int_equal(scraper_add(f.scraper, &o, &with_fresh, &r, &r.target), 0);
	for (int i = 1; i <= 3; i++) {
		int before = r.good;

		RUN_UNTIL(&f, r.good >= before + 3);
		assert_int_equal(atomic_load(&s.connections), i);
		wish_fresh = true;
		RUN_UNTIL(&f, fresh_ones == i);
		assert_int_equal(atomic_load(&s.connections), i + 1);
	}
	assert_int_equal(r.good, r.dones);
	teardown(&f);
	server_stop(&s);
}

/* -- probes ----------------------------------------------------------------------- */

static int times_asked;

static bool on_wanted(void *arg)
{
	bool wanted = on_fresh(arg);

	times_asked++;
	return wanted;
}

static void add_probe(struct fixture *f, struct record *r, const char *url, uint64_t timeout_ns)
{
	static const struct scrape_callbacks of_probe = {.fresh = on_wanted, .done = on_done};
	struct scrape_options o = options_of(url);

	o.timeout_ns = timeout_ns;
	o.probe = true;
	r->f = f;
	wish_fresh = true;
	assert_int_equal(scraper_add(f->scraper, &o, &of_probe, r, &r->target), 0);
}

/* Any answer is good for a probe. As a page, the same answer is as good or bad as ever. */
static void any_answer_will_do_for_a_probe(void **state)
{
	struct fixture f;
	struct server s;

	(void)state;
	setup(&f);
	server_start(&s, answer_text);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		int error = *answers[i].text ? 0 : -ECONNRESET;
		struct record probe = {0}, page = {0};

		s.text = answers[i].text;
		add_probe(&f, &probe, s.url, HOUR_NS);
		RUN_UNTIL(&f, probe.dones);
		scraper_remove(probe.target);
		if (probe.error != error || probe.size)
			fail_msg("%s: %d instead of %d", answers[i].name, probe.error, error);
		add_url(&f, &page, s.url);
		RUN_UNTIL(&f, page.dones);
		scraper_remove(page.target);
		if (page.error != answers[i].error)
			fail_msg("%s after a probe: %d instead of %d", answers[i].name, page.error,
				 answers[i].error);
	}
	teardown(&f);
	server_stop(&s);
}

/* A health check has the status of the final answer, whatever its body; and a page read over the
 * same fetch after it is as good or bad as ever. */
static void a_health_check_has_a_status(void **state)
{
	static const struct scrape_callbacks of_check = {.done = on_done};
	static const struct {
		const char *text;
		unsigned int status;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200},
		{"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\na 1\n", 200},
		{"HTTP/1.0 204 No Content\r\n\r\n", 204},
		{"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", 302},
		{"HTTP/1.1 503 Loading\r\nContent-Length: 2\r\n\r\na\n", 503},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200},
		{"HTTP/1.1 100 Continue\r\n\r\n", 0},
		{"HTTP/1.1 200 OK\r\nServer: a\r\n", 0},
		{"SSH-2.0-OpenSSH_9.2\r\n", 0},
		{"", 0},
	};
	struct fixture f;
	struct server s;

	(void)state;
	setup(&f);
	server_start(&s, answer_text);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const unsigned int status = cases[i / 2].status, expect = i % 2 ? 418 : status ?: 200;
		struct scrape_options o = options_of(s.url);
		struct record r = {.f = &f}, page = {0};
		int error = status && status == expect ? 0 : -1;

		s.text = cases[i / 2].text;
		o.expect = expect;
		assert_int_equal(scraper_add(f.scraper, &o, &of_check, &r, &r.target), 0);
		RUN_UNTIL(&f, r.dones);
		if (scraper_status(r.target) != status || !r.error != !error || r.size)
			fail_msg("%s: %u, %d", cases[i / 2].text, scraper_status(r.target),
				 r.error);
		scraper_remove(r.target);
		s.text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n";
		add_url(&f, &page, s.url);
		RUN_UNTIL(&f, page.dones);
		assert_int_equal(page.error, 0);
		assert_int_equal(page.size, 4);
		scraper_remove(page.target);
	}
	teardown(&f);
	server_stop(&s);
}

static bool answer_head(struct server *s, int fd)
{
	(void)s;
	return send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 68\r\n\r\n");
}

static bool answer_reset(struct server *s, int fd)
{
	const struct linger at_once = {.l_onoff = 1};

	(void)s;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	return false;
}

/* A probe ends with the head of an answer, or with bytes that are no head. Without an answer it
 * fails like any request. */
static void what_a_probe_waits_for(void **state)
{
	static const struct {
		answer_fn answer;
		const char *text;
		uint64_t timeout_ns;
		int error;
	} cases[] = {
		{answer_head, NULL, HOUR_NS, 0},
		{answer_endlessly, "HTTP/1.1 200 OK\r\n\r\n", HOUR_NS, 0},
		{answer_endlessly, "SSH-2.0-OpenSSH_9.2\r\n", HOUR_NS, 0},
		{answer_endless_hints, NULL, HOUR_NS, 0},
		{answer_endless_headers, NULL, HOUR_NS, 0},
		{answer_nothing, NULL, 50 * NSEC_PER_MSEC, -ETIMEDOUT},
		{answer_reset, NULL, HOUR_NS, -ECONNRESET},
	};
	struct fixture f;
	struct server s;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct record r = {0};

		s.text = cases[i].text;
		atomic_store(&s.answer, cases[i].answer);
		add_probe(&f, &r, s.url, cases[i].timeout_ns);
		RUN_UNTIL(&f, r.dones);
		if (r.error != cases[i].error)
			fail_msg("case %zu: %d instead of %d", i, r.error, cases[i].error);
		assert_int_equal(scraper_turned_away(r.target),
				 cases[i].answer == answer_reset ? ECONNRESET : 0);
		scraper_remove(r.target);
	}
	teardown(&f);
	server_stop(&s);
}

/* A probe is sent once for each wish, over a connection of its own. */
static void a_probe_asks_only_when_wanted(void **state)
{
	struct record r = {0};
	struct fixture f;
	struct server s;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	add_probe(&f, &r, s.url, HOUR_NS);
	for (int i = 1; i <= 3; i++) {
		wish_fresh = true;
		RUN_UNTIL(&f, r.dones == i);
		times_asked = 0;
		RUN_UNTIL(&f, times_asked >= 5);
		assert_int_equal(r.dones, i);
		assert_int_equal(r.good, i);
		assert_int_equal(atomic_load(&s.connections), i);
		assert_int_equal(atomic_load(&s.requests), i);
	}
	teardown(&f);
	server_stop(&s);
}

/* Closes the connection after promising to keep it. */
static bool answer_and_close(struct server *s, int fd)
{
	answer_good(s, fd);
	return false;
}

static void server_that_closes_after_each_answer(void **state)
{
	static const answer_fn cases[] = {answer_and_close, answer_text};
	static const char announced[] =
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 68\r\n\r\n" PAGE;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture f;
		struct server s;
		struct record r = {0};

		setup(&f);
		server_start(&s, cases[i]);
		s.text = announced;
		add_url(&f, &r, s.url);
		RUN_UNTIL(&f, r.dones >= 8);
		assert_int_equal(r.good, r.dones);
		assert_true(atomic_load(&s.connections) >= r.dones);
		teardown(&f);
		server_stop(&s);
	}
}

/* Reads the second request on a connection, and closes without an answer, like a server whose idle
 * timeout has just run out. */
static bool answer_first_only(struct server *s, int fd)
{
	return atomic_load(&s->requests) % 2 ? answer_good(s, fd) : false;
}

/* The same of a server, or of a firewall before it, that has forgotten the connection. */
static bool answer_first_then_reset(struct server *s, int fd)
{
	return atomic_load(&s->requests) % 2 ? answer_good(s, fd) : answer_reset(s, fd);
}

static void request_is_sent_again_when_the_kept_connection_was_closed(void **state)
{
	static const answer_fn cases[] = {answer_first_only, answer_first_then_reset};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture f;
		struct server s;
		struct record r = {0};

		setup(&f);
		server_start(&s, cases[i]);
		add_url(&f, &r, s.url);
		RUN_UNTIL(&f, r.dones >= 4);
		assert_int_equal(r.good, r.dones);
		assert_true(r.begins > r.dones); /* begin() is called for each sending */
		teardown(&f);
		server_stop(&s);
	}
}

static void refused_then_back_again(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};

	(void)state;
	setup(&f);
	server_bind(&s, AF_INET, answer_good);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 4);
	assert_int_equal(r.error, -ECONNREFUSED);
	assert_int_equal(r.begins, 0);
	assert_int_equal(scraper_failures(r.target), r.dones);
	assert_int_equal(scraper_turned_away(r.target), ECONNREFUSED);
	server_listen(&s);
	RUN_UNTIL(&f, r.good >= 1);
	assert_int_equal(scraper_failures(r.target), 0);
	assert_int_equal(scraper_turned_away(r.target), 0);
	teardown(&f);
	server_stop(&s);
}

static void fallback_is_tried_and_remembered(void **state)
{
	struct fixture f;
	struct server v4, v6;
	struct record r = {0};
	struct scrape_options o;
	struct scrape_stats stats;

	(void)state;
	setup(&f);
	server_bind(&v4, AF_INET, answer_good);
	server_bind(&v6, AF_INET6, answer_good);
	server_listen(&v6);
	o = options_of(v4.url);
	o.fallback_url = v6.url;
	add(&f, &r, &o);
	RUN_UNTIL(&f, r.dones >= 5);
	assert_int_equal(r.good, r.dones);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(stats.started, r.dones + 1 + stats.in_flight);

	/* And back, when the fallback is gone. It may have answered a request that is still in
	 * flight. */
	server_stop(&v6);
	server_listen(&v4);
	RUN_UNTIL(&f, r.good >= atomic_load(&v6.requests) + 5);
	assert_true(atomic_load(&v4.requests) >= 5);
	assert_int_equal(atomic_load(&v4.connections), 1);
	teardown(&f);
	server_stop(&v4);
}

static bool refuse_kept(const struct fetch_connection *c)
{
	return !c->fresh;
}

/* Each request has a connection of its own; none is sent on a connection that was refused. */
static void kept_connection_is_refused(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {.refuse = refuse_kept};

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 5);
	assert_int_equal(r.good, r.dones);
	assert_in_range(r.begins, 2 * r.dones - 1, 2 * r.dones + 1);
	assert_in_range(atomic_load(&s.connections), r.dones, r.dones + 1);
	assert_in_range(atomic_load(&s.requests), r.dones, r.dones + 1);
	teardown(&f);
	server_stop(&s);
}

static bool refuse_all(const struct fetch_connection *c)
{
	(void)c;
	return true;
}

static bool refuse_v4(const struct fetch_connection *c)
{
	return !c->v6;
}

/* A refused new connection counts as a failed one: the other URL is tried, then the request ends.
 */
static void new_connection_is_refused(void **state)
{
	bool (*const refuses[])(const struct fetch_connection *c) = {refuse_all, refuse_v4};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refuses); i++) {
		struct fixture f;
		struct server v4, v6;
		struct record r = {.refuse = refuses[i]};
		struct scrape_options o;

		setup(&f);
		server_bind(&v4, AF_INET, answer_good);
		server_bind(&v6, AF_INET6, answer_good);
		server_listen(&v4);
		server_listen(&v6);
		o = options_of(v4.url);
		o.fallback_url = v6.url;
		add(&f, &r, &o);
		RUN_UNTIL(&f, r.dones >= 3);
		assert_int_equal(atomic_load(&v4.requests), 0);
		assert_int_equal(r.good, i ? r.dones : 0);
		if (!i)
			assert_int_equal(r.error, -ESTALE);
		teardown(&f);
		server_stop(&v4);
		server_stop(&v6);
	}
}

/* A name has an address of each family, and one of them refuses: libcurl tries them in turn. */
static void name_with_two_addresses(void **state)
{
	struct fixture f;
	struct server s[2];
	char url[64];

	(void)state;
	setup(&f);
	server_bind(&s[0], AF_INET, answer_good);
	server_bind(&s[1], AF_INET6, answer_good);
	for (int i = 0; i < 2; i++) {
		struct record r = {0};
		struct addrinfo *a,
			hints = {.ai_family = i ? AF_INET6 : AF_INET, .ai_socktype = SOCK_STREAM};

		server_listen(&s[i]);
		if (getaddrinfo("localhost", NULL, &hints, &a))
			continue;
		freeaddrinfo(a);
		snprintf(url, sizeof(url), "http://localhost:%u/metrics", s[i].port);
		add_url(&f, &r, url);
		RUN_UNTIL(&f, r.dones >= 3);
		assert_int_equal(r.good, r.dones);
		scraper_remove(r.target);
	}
	teardown(&f);
	server_stop(&s[0]);
	server_stop(&s[1]);
}

static void both_refused_is_one_failure(void **state)
{
	struct fixture f;
	struct server a, b;
	struct record r = {0};
	struct scrape_options o;
	struct scrape_stats stats;

	(void)state;
	setup(&f);
	server_bind(&a, AF_INET, answer_good);
	server_bind(&b, AF_INET6, answer_good);
	o = options_of(a.url);
	o.fallback_url = b.url;
	add(&f, &r, &o);
	RUN_UNTIL(&f, r.dones >= 3);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(r.error, -ECONNREFUSED);
	assert_true(stats.started >= 2 * stats.failed);
	assert_int_equal(stats.failed, r.dones);
	teardown(&f);
	server_stop(&a);
	server_stop(&b);
}

struct other_netns {
	struct server server;
	int fd;
	bool denied;
};

/* Runs in a thread of its own, because unshare() changes only the calling thread. */
static void *enter_netns(void *arg)
{
	struct other_netns *o = arg;
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (unshare(CLONE_NEWNET)) {
		o->denied = true;
		return NULL;
	}
	o->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	server_bind(&o->server, AF_INET, answer_good);
	if (ioctl(o->server.listener, SIOCSIFFLAGS, &lo))
		o->denied = true;
	else
		server_listen(&o->server);
	return NULL;
}

static void target_in_another_netns(void **state)
{
	struct fixture own, other;
	struct other_netns o = {.fd = -1};
	struct record here = {0}, there = {0};
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, enter_netns, &o), 0);
	pthread_join(thread, NULL);
	if (o.denied)
		skip();
	setup(&own);
	add_url(&own, &here, o.server.url);
	RUN_UNTIL(&own, here.dones >= 1);
	assert_int_equal(here.error, -ECONNREFUSED);
	teardown(&own);

	setup_in(&other, o.fd);
	add_url(&other, &there, o.server.url);
	RUN_UNTIL(&other, there.dones >= 3);
	assert_int_equal(there.good, there.dones);
	teardown(&other);
	server_stop(&o.server);
	close(o.fd);
}

/* -- life of a target ------------------------------------------------------------- */

static void options_are_checked(void **state)
{
	static const char *const bad[] = {NULL,
					  "",
					  "127.0.0.1:8001/metrics",
					  "ftp://a/b",
					  "file:///etc/passwd",
					  "http://",
					  "http://a b/",
					  "http://a:99999/",
					  "http://a\r\nb/"};
	struct fixture f;
	struct scrape_target *t = NULL;
	struct scrape_options o;

	(void)state;
	setup(&f);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		o = options_of(bad[i]);
		if (scraper_add(f.scraper, &o, &callbacks, NULL, &t) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
		o = options_of("http://127.0.0.1/");
		o.fallback_url = bad[i];
		if (bad[i])
			assert_int_equal(scraper_add(f.scraper, &o, &callbacks, NULL, &t), -EINVAL);
	}
	o = options_of("http://127.0.0.1/");
	o.interval_ns = 0;
	assert_int_equal(scraper_add(f.scraper, &o, &callbacks, NULL, &t), -EINVAL);
	o = options_of("http://127.0.0.1/");
	o.timeout_ns = 0;
	assert_int_equal(scraper_add(f.scraper, &o, &callbacks, NULL, &t), -EINVAL);
	assert_null(t);
	teardown(&f);
}

static void interval_is_reloaded(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	struct scrape_options o;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	o = options_of(s.url);
	o.interval_ns = HOUR_NS;
	add(&f, &r, &o);
	RUN_UNTIL(&f, r.dones >= 1);
	o.interval_ns = 0;
	assert_int_equal(scraper_set_options(r.target, &o), -EINVAL);
	o.interval_ns = 5 * NSEC_PER_MSEC;
	assert_int_equal(scraper_set_options(r.target, &o), 0);
	RUN_UNTIL(&f, r.dones >= 4);
	assert_int_equal(atomic_load(&s.connections), 1);
	teardown(&f);
	server_stop(&s);
}

static void url_is_reloaded(void **state)
{
	struct fixture f;
	struct server before, after;
	struct record r = {0};
	struct scrape_options o;
	struct scrape_stats stats;

	(void)state;
	setup(&f);
	server_start(&before, answer_nothing);
	server_start(&after, answer_good);
	o = options_of(before.url);
	o.interval_ns = HOUR_NS;
	add(&f, &r, &o);
	RUN_UNTIL(&f, r.begins >= 1);
	o.url = after.url;
	assert_int_equal(scraper_set_options(r.target, &o), 0);
	RUN_UNTIL(&f, r.dones >= 1);
	assert_int_equal(r.error, 0);
	assert_int_equal(atomic_load(&after.requests), 1);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(stats.started - stats.in_flight, 2); /* the old request was cancelled */
	teardown(&f);
	server_stop(&before);
	server_stop(&after);
}

static void removed_during_a_request(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};

	(void)state;
	setup(&f);
	server_start(&s, answer_nothing);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, atomic_load(&s.requests) == 1);
	scraper_remove(r.target);
	teardown(&f);
	assert_int_equal(r.dones, 0);
	server_stop(&s);
}

static void remove_it(struct record *r)
{
	scraper_remove(r->target);
}

/* A server whose backlog is full, so that a connect never ends. */
static void removed_while_connecting(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0}, other = {0};
	struct scrape_stats stats;
	int filler[8];

	(void)state;
	setup(&f);
	server_bind(&s, AF_INET, answer_good);
	assert_int_equal(listen(s.listener, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(filler); i++) {
		struct sockaddr_in a = {.sin_family = AF_INET,
					.sin_port = htons(s.port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(filler[i], (struct sockaddr *)&a, sizeof(a));
	}
	for (int i = 0; i < 3; i++) {
		add_url(&f, &r, s.url);
		do
			scraper_stats(f.scraper, &stats);
		while (stats.connects <= (uint64_t)i && uv_run(&f.loop, UV_RUN_ONCE));
		scraper_remove(r.target);
	}
	assert_int_equal(r.begins + r.dones, 0);
	for (size_t i = 0; i < ARRAY_SIZE(filler); i++)
		close(filler[i]);
	server_listen(&s);
	add_url(&f, &other, s.url);
	RUN_UNTIL(&f, other.good >= 2);
	teardown(&f);
	server_stop(&s);
}

/* The server has reset the kept connection, so libcurl makes a new one for the same request; before
 * the loop has looked at its socket, the target is removed, and libcurl closes the socket without
 * close_socket(). */
static void removed_while_asking_again(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0}, other = {0};
	struct scrape_stats stats;

	(void)state;
	setup(&f);
	server_start(&s, answer_first_then_reset);
	add_url(&f, &r, s.url);
	do
		scraper_stats(f.scraper, &stats);
	while (stats.connects < 2 && uv_run(&f.loop, UV_RUN_ONCE));
	assert_int_equal(r.dones, 1);
	scraper_remove(r.target);
	atomic_store(&s.answer, answer_good);
	add_url(&f, &other, s.url);
	RUN_UNTIL(&f, other.good >= 2);
	teardown(&f);
	server_stop(&s);
}

static void removed_in_its_callbacks(void **state)
{
	struct fixture f;
	struct server s;
	struct record in_begin = {.in_begin = remove_it}, in_done = {.in_done = remove_it};
	struct record last = {0};

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	add_url(&f, &in_begin, s.url);
	RUN_UNTIL(&f, in_begin.begins >= 1);
	add_url(&f, &in_done, s.url);
	RUN_UNTIL(&f, in_done.dones >= 1);
	add_url(&f, &last, s.url);
	RUN_UNTIL(&f, last.dones >= 5);
	assert_int_equal(in_begin.begins, 1);
	assert_int_equal(in_begin.dones, 0);
	assert_int_equal(in_done.dones, 1);
	assert_int_equal(last.good, last.dones);
	teardown(&f);
	server_stop(&s);
}

static struct record *victim;

static void remove_victim(struct record *r)
{
	(void)r;
	if (victim)
		scraper_remove(victim->target);
	victim = NULL;
}

/* A target's callbacks remove another target, whose request is in flight. */
static void removed_in_the_callbacks_of_another(void **state)
{
	struct fixture f;
	struct server silent, s;

	(void)state;
	setup(&f);
	server_start(&silent, answer_nothing);
	server_start(&s, answer_good);
	for (int i = 0; i < 2; i++) {
		struct record hung = {0}, other = {0};

		if (i)
			other.in_done = remove_victim;
		else
			other.in_begin = remove_victim;
		add_url(&f, &hung, silent.url);
		RUN_UNTIL(&f, hung.begins >= 1);
		victim = &hung;
		add_url(&f, &other, s.url);
		RUN_UNTIL(&f, other.good >= 3);
		assert_null(victim);
		assert_int_equal(other.good, other.dones);
		assert_int_equal(hung.dones, 0);
		scraper_remove(other.target);
	}
	teardown(&f);
	server_stop(&silent);
	server_stop(&s);
}

static void kick_self(struct record *r)
{
	scraper_kick(r->target);
	r->in_begin = r->in_done = NULL;
}

static void kick_scrapes_now(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	struct scrape_options o;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	o = options_of(s.url);
	o.interval_ns = HOUR_NS;
	add(&f, &r, &o);
	scraper_kick(r.target);
	RUN_UNTIL(&f, r.dones >= 1);
	scraper_kick(r.target);
	RUN_UNTIL(&f, r.dones >= 2);
	/* A wish during a request, or in done(), gives one more request right after. */
	r.in_begin = kick_self;
	scraper_kick(r.target);
	RUN_UNTIL(&f, r.dones >= 4);
	r.in_done = kick_self;
	scraper_kick(r.target);
	RUN_UNTIL(&f, r.dones >= 6);
	teardown(&f);
	server_stop(&s);
}

static void look_on(struct fixture *f)
{
	f->looks = 0;
	uv_timer_start(&f->look, on_look, LOOK_MS, LOOK_MS);
	while (f->looks < REST_LOOKS)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_timer_stop(&f->look);
}

static void rest_now(struct record *r)
{
	scraper_rest(r->target, HOUR_NS);
}

/* The end of a rest brings the next scrape at once, and so does a failure. */
static void rest_is_longer_than_an_interval(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	struct scrape_options o;
	typeof(r.dones) before;

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	o = options_of(s.url);
	r.in_done = rest_now;
	add(&f, &r, &o);
	RUN_UNTIL(&f, r.dones >= 1);
	/* The interval is 5 ms. */
	look_on(&f);
	assert_int_equal(r.dones, 1);
	r.in_done = NULL;
	scraper_rest(r.target, 0);
	RUN_UNTIL(&f, r.dones >= 10);
	/* The same options again end no rest. */
	r.in_done = rest_now;
	before = r.dones;
	RUN_UNTIL(&f, r.dones > before);
	before = r.dones;
	assert_int_equal(scraper_set_options(r.target, &o), 0);
	look_on(&f);
	assert_int_equal(r.dones, before);
	r.bad = "a bad page";
	scraper_rest(r.target, 0);
	RUN_UNTIL(&f, r.dones >= before + 4);
	teardown(&f);
	server_stop(&s);
}

static void not_open_twice(struct record *r)
{
	struct scrape_stats stats;

	scraper_stats(r->f->scraper, &stats);
	assert_true(stats.in_flight <= 1);
}

static bool answer_late(struct server *s, int fd)
{
	stopping(s, 20);
	return answer_good(s, fd);
}

static unsigned int stood; /* how often a page stood for one of the other address */

static void stand_once(struct record *r)
{
	struct scrape_target *other = scraper_other(r->target);

	if (!other)
		return;
	stood++;
	scraper_rest(r->target, HOUR_NS);
	scraper_rest(other, HOUR_NS);
	scraper_stand_for_other(r->target);
	r->in_done = NULL;
}

static void stand(struct record *r)
{
	stood += scraper_other(r->target) != NULL;
	scraper_stand_for_other(r->target);
}

/* A good page at one address puts off the next scrape of the other, unless that fails itself. */
static void a_page_stands_for_another_address(void **state)
{
	struct record one = {.in_done = stand_once}, other = {.bad = "a bad page"};
	typeof(one.dones) ones, others;
	struct fixture f;
	struct server s;

	(void)state;
	stood = 0;
	setup(&f);
	server_start(&s, answer_good);
	add_url(&f, &one, s.url);
	RUN_UNTIL(&f, one.dones >= 3);
	assert_null(scraper_other(one.target));
	add_url(&f, &other, s.url);
	scraper_pair(one.target, other.target);
	assert_null(scraper_other(one.target));
	ones = one.dones;
	RUN_UNTIL(&f, one.dones >= ones + 5 && other.dones >= 5);
	assert_int_equal(stood, 0);

	other.bad = NULL;
	RUN_UNTIL(&f, stood);
	assert_ptr_equal(scraper_other(one.target), other.target);
	assert_ptr_equal(scraper_other(other.target), one.target);
	/* Its interval of 5 ms had begun. */
	ones = one.dones;
	others = other.dones;
	look_on(&f);
	assert_int_equal(one.dones, ones);
	assert_int_equal(other.dones, others);

	/* Each goes on by itself. */
	scraper_pair(other.target, NULL);
	assert_null(scraper_other(one.target));
	scraper_pair(one.target, other.target);
	scraper_remove(other.target);
	assert_null(scraper_other(one.target));
	scraper_rest(one.target, 0);
	RUN_UNTIL(&f, one.dones >= ones + 3);
	teardown(&f);
	server_stop(&s);
}

/* A page that is on its way may do for both. */
static void another_address_waits_for_a_page(void **state)
{
	struct record one = {0}, other = {0};
	typeof(one.dones) others;
	struct scrape_options o;
	struct fixture f;
	struct server s;
	int asked;

	(void)state;
	stood = 0;
	setup(&f);
	server_start(&s, answer_good);
	o = options_of(s.url);
	o.interval_ns = HOUR_NS;
	add(&f, &one, &o);
	add(&f, &other, &o);
	RUN_UNTIL(&f, one.dones && other.dones);
	scraper_pair(one.target, other.target);
	one.in_done = stand;
	others = other.dones;
	atomic_store(&s.answer, answer_late);
	asked = atomic_load(&s.requests);
	scraper_kick(one.target);
	RUN_UNTIL(&f, atomic_load(&s.requests) > asked);
	scraper_kick(other.target);
	RUN_UNTIL(&f, stood);
	look_on(&f);
	assert_int_equal(other.dones, others);
	teardown(&f);
	server_stop(&s);
}

static void never_two_requests_of_one_target(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {.in_begin = not_open_twice};
	struct scrape_options o;

	(void)state;
	setup(&f);
	server_start(&s, answer_late);
	o = options_of(s.url);
	o.interval_ns = NSEC_PER_MSEC;
	add(&f, &r, &o);
	RUN_UNTIL(&f, r.dones >= 10);
	assert_int_equal(r.begins, r.dones + r.open);
	assert_int_equal(atomic_load(&s.connections), 1);
	teardown(&f);
	server_stop(&s);
}

/* More hung servers than requests that may be young at the same time. */
static void hung_servers_do_not_hold_up_others(void **state)
{
	enum { HUNG = 40 };
	struct fixture f;
	struct server silent, s;
	struct record hung[HUNG] = {0}, r = {0};
	int begun = 0;

	(void)state;
	setup(&f);
	server_start(&silent, answer_nothing);
	server_start(&s, answer_good);
	for (int i = 0; i < HUNG; i++)
		add_url(&f, &hung[i], silent.url);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.good >= 5);
	while (begun < HUNG) {
		RUN_UNTIL(&f, hung[begun].begins >= 1);
		begun++;
	}
	for (int i = 0; i < HUNG; i++)
		assert_int_equal(hung[i].dones, 0);
	teardown(&f);
	server_stop(&silent);
	server_stop(&s);
}

/* More checks are due than can be made: pages come first. */
static void checks_do_not_hold_up_pages(void **state)
{
	enum { CHECKS = 400 };
	static struct record checks[CHECKS];
	struct server silent, s;
	struct record r = {0};
	struct scrape_stats stats;
	struct fixture f;

	(void)state;
	memset(checks, 0, sizeof(checks));
	setup(&f);
	server_start(&silent, answer_nothing);
	server_start(&s, answer_good);
	for (int i = 0; i < CHECKS; i++) {
		struct scrape_options o = options_of(silent.url);

		o.expect = 200;
		add(&f, &checks[i], &o);
	}
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.good >= 3);
	scraper_stats(f.scraper, &stats);
	assert_true(stats.started < CHECKS / 2);
	teardown(&f);
	server_stop(&silent);
	server_stop(&s);
}

static void many_targets(void **state)
{
	enum { MANY = 300, SERVERS = 10 };
	struct fixture f;
	struct server s[SERVERS];
	static struct record r[MANY];
	struct scrape_stats stats;
	char url[96];

	(void)state;
	memset(r, 0, sizeof(r));
	setup(&f);
	for (int i = 0; i < SERVERS; i++)
		server_start(&s[i], answer_good);
	for (int i = 0; i < MANY; i++) {
		struct scrape_options o;

		snprintf(url, sizeof(url), "%s?%d", s[i % SERVERS].url, i);
		o = options_of(url);
		o.interval_ns = 200 * NSEC_PER_MSEC;
		add(&f, &r[i], &o);
	}
	for (int i = 0; i < MANY; i++)
		RUN_UNTIL(&f, r[i].good >= 3);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(stats.failed, 0);
	assert_int_equal(stats.targets, MANY);
	assert_true(stats.connects <= MANY);
	for (int i = 0; i < MANY; i += 2)
		scraper_remove(r[i].target);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(stats.targets, MANY / 2);
	teardown(&f);
	for (int i = 0; i < SERVERS; i++)
		server_stop(&s[i]);
}

/* -- what is logged --------------------------------------------------------------- */

static void failing_is_said_once(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	char log[8192];

	(void)state;
	setup(&f);
	server_bind(&s, AF_INET, answer_good);
	capture_stderr(&f);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 5);
	server_listen(&s);
	RUN_UNTIL(&f, r.good >= 3);
	read_stderr(&f, log, sizeof(log));
	assert_int_equal(count_lines(log, "\n"), 2);
	assert_non_null(strstr(log, "scrape of llama-8b/gpu0 at http://127.0.0.1:"));
	assert_non_null(strstr(log, "failed: Connection refused; trying again, next messages "
				    "suppressed\n"));
	assert_non_null(strstr(log, "works again after "));
	teardown(&f);
	server_stop(&s);
}

/* A server that is down fails at both of its addresses. */
static void failing_is_said_once_of_two_addresses(void **state)
{
	struct record one = {0}, other = {0};
	struct fixture f;
	struct server s;
	char log[8192];

	(void)state;
	setup(&f);
	server_bind(&s, AF_INET, answer_good);
	capture_stderr(&f);
	add_url(&f, &one, s.url);
	add_url(&f, &other, s.url);
	scraper_pair(one.target, other.target);
	RUN_UNTIL(&f, one.dones >= 5 && other.dones >= 5);
	server_listen(&s);
	RUN_UNTIL(&f, one.good >= 3 && other.good >= 3);
	read_stderr(&f, log, sizeof(log));
	assert_int_equal(count_lines(log, "failed: Connection refused"), 1);
	assert_int_equal(count_lines(log, "works again after "), 1);
	teardown(&f);
	server_stop(&s);
}

static void failing_is_said_of_one_address_alone(void **state)
{
	struct record one = {0}, other = {.bad = "a bad page"};
	struct fixture f;
	struct server s;
	char log[8192];

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	capture_stderr(&f);
	add_url(&f, &one, s.url);
	add_url(&f, &other, s.url);
	scraper_pair(one.target, other.target);
	RUN_UNTIL(&f, one.dones >= 5 && other.dones >= 3);
	read_stderr(&f, log, sizeof(log));
	assert_int_equal(count_lines(log, "failed: a bad page"), 1);
	teardown(&f);
	server_stop(&s);
}

static bool answer_now_and_then(struct server *s, int fd)
{
	if (atomic_load(&s->requests) % 2)
		return answer_good(s, fd);
	send_text(fd, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
	return true;
}

static void no_descriptors_left(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	struct rlimit before, none;
	char log[8192];

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	capture_stderr(&f);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)dup(STDERR_FILENO); /* the number that the next socket would get */
	close((int)none.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 3);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	RUN_UNTIL(&f, r.good >= 1);
	read_stderr(&f, log, sizeof(log));
	assert_true(r.dones > 3);
	assert_int_equal(count_lines(log, "failed: Too many open files; trying again"), 1);
	assert_int_equal(count_lines(log, "works again after"), 1);
	assert_int_equal(count_lines(log, "\n"), 2);
	teardown(&f);
	server_stop(&s);
}

static void coming_and_going_does_not_flood(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	char log[8192];

	(void)state;
	setup(&f);
	server_start(&s, answer_now_and_then);
	capture_stderr(&f);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 4);
	read_stderr(&f, log, sizeof(log));
	assert_true(r.good >= r.dones / 2);
	assert_int_equal(count_lines(log, "HTTP status 503"), 1);
	assert_int_equal(count_lines(log, "works again after 1 failure\n"), 1);
	assert_int_equal(count_lines(log, "\n"), 2);
	teardown(&f);
	server_stop(&s);
}

static void bad_page_is_a_failure(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {.bad = "it has none of vllm's metrics"};
	struct scrape_stats stats;
	char log[8192];

	(void)state;
	setup(&f);
	server_start(&s, answer_good);
	capture_stderr(&f);
	add_url(&f, &r, s.url);
	RUN_UNTIL(&f, r.dones >= 3);
	assert_int_equal(scraper_failures(r.target), r.dones);
	scraper_stats(f.scraper, &stats);
	assert_int_equal(stats.failed, r.dones);
	r.bad = NULL;
	RUN_UNTIL(&f, r.dones >= 4);
	assert_int_equal(scraper_failures(r.target), 0);
	read_stderr(&f, log, sizeof(log));
	assert_int_equal(count_lines(log, "failed: it has none of vllm's metrics;"), 1);
	assert_int_equal(count_lines(log, "\n"), 2);
	teardown(&f);
	server_stop(&s);
}

static void password_is_not_logged(void **state)
{
	struct fixture f;
	struct server s;
	struct record r = {0};
	char url[128], log[8192];

	(void)state;
	setup(&f);
	server_bind(&s, AF_INET, answer_good);
	snprintf(url, sizeof(url), "http://jane:geheim@127.0.0.1:%u/metrics", s.port);
	capture_stderr(&f);
	add_url(&f, &r, url);
	RUN_UNTIL(&f, r.dones >= 1);
	read_stderr(&f, log, sizeof(log));
	assert_non_null(strstr(log, "/metrics failed"));
	assert_null(strstr(log, "jane"));
	assert_null(strstr(log, "geheim"));
	teardown(&f);
	server_stop(&s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_page),
		cmocka_unit_test(chunk_ends_inside_a_number),
		cmocka_unit_test(large_page_is_whole),
		cmocka_unit_test(hostile_answers),
		cmocka_unit_test(endless_answers),
		cmocka_unit_test(slow_server_times_out),
		cmocka_unit_test(redirect_is_not_followed),
		cmocka_unit_test(proxy_of_the_environment_is_not_used),
		cmocka_unit_test(connection_is_kept),
		cmocka_unit_test(connection_is_fresh_when_asked_for),
		cmocka_unit_test(any_answer_will_do_for_a_probe),
		cmocka_unit_test(what_a_probe_waits_for),
		cmocka_unit_test(a_health_check_has_a_status),
		cmocka_unit_test(a_probe_asks_only_when_wanted),
		cmocka_unit_test(server_that_closes_after_each_answer),
		cmocka_unit_test(request_is_sent_again_when_the_kept_connection_was_closed),
		cmocka_unit_test(refused_then_back_again),
		cmocka_unit_test(fallback_is_tried_and_remembered),
		cmocka_unit_test(kept_connection_is_refused),
		cmocka_unit_test(new_connection_is_refused),
		cmocka_unit_test(name_with_two_addresses),
		cmocka_unit_test(both_refused_is_one_failure),
		cmocka_unit_test(target_in_another_netns),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(interval_is_reloaded),
		cmocka_unit_test(url_is_reloaded),
		cmocka_unit_test(removed_during_a_request),
		cmocka_unit_test(removed_while_connecting),
		cmocka_unit_test(removed_while_asking_again),
		cmocka_unit_test(removed_in_its_callbacks),
		cmocka_unit_test(removed_in_the_callbacks_of_another),
		cmocka_unit_test(kick_scrapes_now),
		cmocka_unit_test(never_two_requests_of_one_target),
		cmocka_unit_test(hung_servers_do_not_hold_up_others),
		cmocka_unit_test(checks_do_not_hold_up_pages),
		cmocka_unit_test(many_targets),
		cmocka_unit_test(rest_is_longer_than_an_interval),
		cmocka_unit_test(a_page_stands_for_another_address),
		cmocka_unit_test(another_address_waits_for_a_page),
		cmocka_unit_test(failing_is_said_once),
		cmocka_unit_test(failing_is_said_once_of_two_addresses),
		cmocka_unit_test(failing_is_said_of_one_address_alone),
		cmocka_unit_test(no_descriptors_left),
		cmocka_unit_test(coming_and_going_does_not_flood),
		cmocka_unit_test(bad_page_is_a_failure),
		cmocka_unit_test(password_is_not_logged),
	};

	log_init("test", LOG_INFO);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
