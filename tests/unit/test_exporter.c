// SPDX-License-Identifier: Apache-2.0
/* The metrics page as text, and over HTTP to clients polite and hostile. */
#include <arpa/inet.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/pintled/observe/exporter.h"

#define LOOK_MS        10
#define PATIENCE_LOOKS 3000 /* after so many, a missing answer is a failure */

/* -- the text --------------------------------------------------------------------- */

static void assert_text(struct metrics_text *t, const char *want)
{
	assert_int_equal(metrics_text_error(t), 0);
	assert_int_equal(t->size, strlen(want));
	assert_memory_equal(t->text, want, t->size);
	metrics_text_free(t);
	assert_null(t->text);
}

static const struct metrics_family plain = {"a", METRICS_UNTYPED, {0}, "h", NULL};
static const struct metrics_family labelled = {"b", METRICS_GAUGE, {"l"}, "h", NULL};

static void text_of_families(void **state)
{
	static const struct metrics_family a = {
		"a_total", METRICS_COUNTER, {0}, "Things, \"all\".", "Not for the page."};
	static const struct metrics_family b = {
		"b", METRICS_GAUGE, {"pool", "endpoint"}, "Back\\slash\nand line.", NULL};
	struct metrics_text t = {0};

	(void)state;
	metrics_family(&t, &a);
	metrics_sample(&t, 1, NULL);
	metrics_family(&t, &b);
	metrics_sample(&t, 0.5, "p", "e", NULL);
	metrics_sample_u64(&t, UINT64_MAX, "p", "", NULL);
	assert_text(&t, "# HELP a_total Things, \"all\".\n# TYPE a_total counter\n"
			"a_total 1\n"
			"# HELP b Back\\\\slash\\nand line.\n# TYPE b gauge\n"
			"b{pool=\"p\",endpoint=\"e\"} 0.5\n"
			"b{pool=\"p\",endpoint=\"\"} 18446744073709551615\n");
}

static void text_of_histograms(void **state)
{
	static const struct metrics_family bare = {"h", METRICS_HISTOGRAM, {0}, "H.", NULL};
	static const struct metrics_family f = {"w", METRICS_HISTOGRAM, {"pool"}, "W.", NULL};
	static const double bounds[] = {0.25, 1};
	static const uint64_t up_to[] = {3, UINT64_MAX};
	const struct metrics_histogram h = {bounds, up_to, 2, UINT64_MAX, 0.5};
	struct metrics_text t = {0};

	(void)state;
	metrics_family(&t, &bare);
	metrics_sample_histogram(&t, &h, NULL);
	metrics_family(&t, &f);
	metrics_sample_histogram(&t, &h, "a\"b", NULL);
	assert_text(&t,
		    "# HELP h H.\n# TYPE h histogram\n"
		    "h_bucket{le=\"0.25\"} 3\n"
		    "h_bucket{le=\"1\"} 18446744073709551615\n"
		    "h_bucket{le=\"+Inf\"} 18446744073709551615\n"
		    "h_sum 0.5\nh_count 18446744073709551615\n"
		    "# HELP w W.\n# TYPE w histogram\n"
		    "w_bucket{pool=\"a\\\"b\",le=\"0.25\"} 3\n"
		    "w_bucket{pool=\"a\\\"b\",le=\"1\"} 18446744073709551615\n"
		    "w_bucket{pool=\"a\\\"b\",le=\"+Inf\"} 18446744073709551615\n"
		    "w_sum{pool=\"a\\\"b\"} 0.5\nw_count{pool=\"a\\\"b\"} 18446744073709551615\n");
}

static void text_of_numbers(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{0, "0"},
		{-0.25, "-0.25"},
		{0.1, "0.1"},
		{0.1 + 0.2, "0.30000000000000004"},
		{1e300, "1e+300"},
		{1e15, "1e+15"},
		{NAN, "NaN"},
		{INFINITY, "+Inf"},
		{-INFINITY, "-Inf"},
		{17, "17"},
		{5e-324, "4.94065645841247e-324"},
		{123456789012, "123456789012"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct metrics_text t = {0};
		char want[128];

		metrics_family(&t, &plain);
		metrics_sample(&t, cases[i].value, NULL);
		snprintf(want, sizeof(want), "# HELP a h\n# TYPE a untyped\na %s\n", cases[i].text);
		assert_text(&t, want);
	}
}

static void label_values_are_escaped(void **state)
{
	static const struct {
		const char *value, *text;
	} cases[] = {
		{"llama \"8b\"", "llama \\\"8b\\\""},
		{"a\\b\nc", "a\\\\b\\nc"},
		{"\\", "\\\\"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\xf0\x9f\x90\x8d", "\xf0\x9f\x90\x8d"},
		{"a\xff"
		 "b",
		 "a\xef\xbf\xbd"
		 "b"},
		{"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
		{"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
		{"} 1\nforged{a=\"", "} 1\\nforged{a=\\\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct metrics_text t = {0};
		char want[128];

		metrics_family(&t, &labelled);
		metrics_sample(&t, 1, cases[i].value, NULL);
		snprintf(want, sizeof(want), "# HELP b h\n# TYPE b gauge\nb{l=\"%s\"} 1\n",
			 cases[i].text);
		assert_text(&t, want);
	}
}

static void text_misuse_is_an_error(void **state)
{
	static struct metrics_family families[METRICS_MAX_FAMILIES + 1];
	static char names[ARRAY_SIZE(families)][8];
	struct metrics_text t = {0};

	(void)state;
	metrics_sample(&t, 1, NULL);
	assert_int_equal(metrics_text_error(&t), -EINVAL);
	metrics_family(&t, &plain);
	assert_int_equal(metrics_text_error(&t), -EINVAL); /* the first error stays */
	assert_int_equal(t.size, 0);
	metrics_text_free(&t);

	metrics_family(&t, &plain);
	metrics_family(&t, &labelled);
	metrics_family(&t, &plain);
	assert_int_equal(metrics_text_error(&t), -EEXIST);
	metrics_text_free(&t);

	metrics_family(&t, &plain);
	metrics_sample(&t, 1, "a label too many", NULL);
	assert_int_equal(metrics_text_error(&t), -EINVAL);
	metrics_text_free(&t);
	metrics_family(&t, &labelled);
	metrics_sample(&t, 1, NULL); /* one too few */
	assert_int_equal(metrics_text_error(&t), -EINVAL);
	metrics_text_free(&t);

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		snprintf(names[i], sizeof(names[i]), "f%zu", i);
		families[i] = (struct metrics_family){names[i], METRICS_GAUGE, {0}, "h", NULL};
		metrics_family(&t, &families[i]);
	}
	assert_int_equal(metrics_text_error(&t), -E2BIG);
	metrics_text_free(&t);
}

/* -- a running exporter ------------------------------------------------------------ */

struct fixture {
	uv_loop_t loop;
	struct exporter *exporter;
	uv_timer_t look; /* wakes the loop to look for answers */
	char address[32];
	uint16_t port;
	int renders;
	int samples; /* on the page */
	int error;   /* of render() */
	const char *not_ready;
};

static void render(struct metrics_text *out, void *arg)
{
	static const struct metrics_family load = {
		"pintle_endpoint_load", METRICS_GAUGE, {"pool", "endpoint"}, "Load.", NULL};
	static const struct metrics_family decisions = {
		"pintle_decisions_total", METRICS_COUNTER, {"pool", "outcome"}, "Decisions.", NULL};
	struct fixture *f = arg;

	f->renders++;
	metrics_family(out, &load);
	for (int i = 0; i < f->samples; i++) {
		char name[16];

		snprintf(name, sizeof(name), "gpu%d", i);
		metrics_sample(out, i / 3.0, "a \"b\" \\ \n c", name, NULL);
	}
	metrics_family(out, &decisions);
	metrics_sample_u64(out, UINT64_MAX, "llama-8b", "sticky", NULL);
	if (f->error)
		out->error = f->error;
}

static bool ready(void *arg, const char **why)
{
	struct fixture *f = arg;

	if (f->not_ready)
		*why = f->not_ready;
	return !f->not_ready;
}

static const struct exporter_callbacks callbacks = {.render = render, .ready = ready};

static uint16_t free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(a);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	return ntohs(a.sin_port);
}

static void on_look(uv_timer_t *t)
{
	(void)t;
}

static void setup_at(struct fixture *f, const char *host)
{
	int r;

	*f = (struct fixture){.samples = 3};
	assert_int_equal(uv_loop_init(&f->loop), 0);
	uv_timer_init(&f->loop, &f->look);
	uv_timer_start(&f->look, on_look, LOOK_MS, LOOK_MS);
	/* Another process may take the free port meanwhile. */
	do {
		f->port = free_port();
		snprintf(f->address, sizeof(f->address), "%s%s%u", host, *host ? ":" : "", f->port);
		r = exporter_new(&f->loop, f->address, &callbacks, f, &f->exporter);
	} while (r == -EADDRINUSE);
	assert_int_equal(r, 0);
}

static void setup(struct fixture *f)
{
	setup_at(f, "127.0.0.1");
}

static void teardown(struct fixture *f)
{
	exporter_free(f->exporter);
	uv_close((uv_handle_t *)&f->look, NULL);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static int dial_to(struct fixture *f, int family)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET,
				 .sin_port = htons(f->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(f->port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(family == AF_INET ? connect(fd, (struct sockaddr *)&a4, sizeof(a4))
					   : connect(fd, (struct sockaddr *)&a6, sizeof(a6)),
			 0);
	return fd;
}

static int dial(struct fixture *f)
{
	return dial_to(f, AF_INET);
}

static void say_bytes(int fd, const char *text, size_t size)
{
	/* The exporter may close the connection while a hostile request is being sent. */
	if (send(fd, text, size, MSG_NOSIGNAL) < 0)
		assert_true(errno == EPIPE || errno == ECONNRESET);
}

static void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

/* Runs the loop and reads until `until` has come (NULL: until the end). */
static void hear(struct fixture *f, int fd, const char *until, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (int looks = 0; looks < PATIENCE_LOOKS;) {
		ssize_t r = recv(fd, buf + n, size - 1 - n, MSG_DONTWAIT);

		if (!r || (r < 0 && errno == ECONNRESET))
			return;
		if (r < 0) {
			assert_int_equal(errno, EAGAIN);
			uv_run(&f->loop, UV_RUN_ONCE);
			looks++;
			continue;
		}
		n += (size_t)r;
		buf[n] = '\0';
		assert_true(n < size - 1);
		if (until && strstr(buf, until))
			return;
	}
	fail_msg("no answer: '%s'", buf);
}

static void ask(struct fixture *f, const char *request, char *buf, size_t size)
{
	_cleanup_close_ int fd = dial(f);

	say(fd, request);
	hear(f, fd, NULL, buf, size);
}

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"

static void assert_alive(struct fixture *f)
{
	char buf[1024];

	ask(f, "GET /healthz HTTP/1.1\r\n" CLOSE, buf, sizeof(buf));
	assert_non_null(strstr(buf, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(buf, "\r\n\r\nok\n"));
}

static const char *body_of(const char *answer)
{
	const char *p = strstr(answer, "\r\n\r\n");

	assert_non_null(p);
	return p + 4;
}

/* -- what it answers -------------------------------------------------------------- */

static void paths_and_methods(void **state)
{
	static const struct {
		const char *request, *status, *contains;
	} cases[] = {
		{"GET /metrics", "200", "version=0.0.4"},
		{"GET /metrics", "200",
		 "pintle_decisions_total{pool=\"llama-8b\",outcome=\"sticky\"} "
		 "18446744073709551615\n"},
		{"GET /metrics?name=a", "200", "pintle_endpoint_load"},
		{"GET /healthz", "200", "\r\n\r\nok\n"},
		{"GET /readyz", "200", "\r\n\r\nready\n"},
		{"GET /", "404", "/metrics"},
		{"GET /metrics/", "404", ""},
		{"GET /METRICS", "404", ""},
		{"GET //metrics", "404", ""},
		{"GET /metrics/../healthz", "404", ""},
		{"HEAD /nothing", "404", ""},
		{"POST /metrics", "405", "Allow: GET, HEAD\r\n"},
		{"PUT /healthz", "405", ""},
		{"DELETE /nothing", "405", ""},
		{"OPTIONS /metrics", "405", ""},
		{"get /metrics", "405", ""},
		{"BREW /metrics", "405", ""},
	};
	struct fixture f;
	char request[256], status[32], buf[8192];

	(void)state;
	setup(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(request, sizeof(request), "%s HTTP/1.1\r\n" CLOSE, cases[i].request);
		snprintf(status, sizeof(status), "HTTP/1.1 %s ", cases[i].status);
		ask(&f, request, buf, sizeof(buf));
		if (strncmp(buf, status, strlen(status)) || !strstr(buf, cases[i].contains))
			fail_msg("%s: %s", cases[i].request, buf);
	}
	teardown(&f);
}

static void head_has_no_body(void **state)
{
	struct fixture f;
	char get[8192], head[8192], length[64];

	(void)state;
	setup(&f);
	ask(&f, "GET /metrics HTTP/1.1\r\n" CLOSE, get, sizeof(get));
	ask(&f, "HEAD /metrics HTTP/1.1\r\n" CLOSE, head, sizeof(head));
	snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body_of(get)));
	assert_non_null(strstr(head, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(head, length));
	assert_string_equal(body_of(head), "");
	teardown(&f);
}

static void not_ready_says_why(void **state)
{
	struct fixture f;
	char buf[1024];

	(void)state;
	setup(&f);
	f.not_ready = "llama-8b/gpu1 has not been scraped yet";
	ask(&f, "GET /readyz HTTP/1.1\r\n" CLOSE, buf, sizeof(buf));
	assert_non_null(strstr(buf, "HTTP/1.1 503 "));
	assert_string_equal(body_of(buf), "llama-8b/gpu1 has not been scraped yet\n");
	assert_alive(&f);
	f.not_ready = NULL;
	ask(&f, "GET /readyz HTTP/1.1\r\n" CLOSE, buf, sizeof(buf));
	assert_non_null(strstr(buf, "HTTP/1.1 200 "));
	teardown(&f);
}

static void page_that_cannot_be_built(void **state)
{
	struct fixture f;
	char buf[4096];

	(void)state;
	setup(&f);
	f.error = -ENOMEM;
	ask(&f, "GET /metrics HTTP/1.1\r\n" CLOSE, buf, sizeof(buf));
	assert_non_null(strstr(buf, "HTTP/1.1 500 "));
	assert_null(strstr(buf, "pintle_"));
	teardown(&f);
}

/* Checks the page with Prometheus' own checker. */
static void promtool_takes_the_page(void **state)
{
	struct fixture f;
	char buf[8192];
	FILE *p;

	(void)state;
	if (system("command -v promtool >/dev/null 2>&1"))
		skip();
	setup(&f);
	ask(&f, "GET /metrics HTTP/1.1\r\n" CLOSE, buf, sizeof(buf));
	p = popen("promtool check metrics 2>&1", "w");
	assert_non_null(p);
	fputs(body_of(buf), p);
	assert_int_equal(pclose(p), 0);
	teardown(&f);
}

static void large_page_is_whole(void **state)
{
	enum { SIZE = 4 << 20 };
	struct fixture f;
	char *buf = malloc(SIZE);

	(void)state;
	assert_non_null(buf);
	setup(&f);
	f.samples = 20000;
	ask(&f, "GET /metrics HTTP/1.1\r\n" CLOSE, buf, SIZE);
	assert_non_null(strstr(buf, "endpoint=\"gpu19999\"} 6666.333333333333\n"));
	assert_non_null(strstr(buf, "18446744073709551615\n"));
	free(buf);
	teardown(&f);
}

static void connection_is_kept(void **state)
{
	struct fixture f;
	char buf[8192];
	int fd;

	(void)state;
	setup(&f);
	fd = dial(&f);
	for (int i = 0; i < 5; i++) {
		say(fd, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
		hear(&f, fd, "outcome=\"sticky\"}", buf, sizeof(buf));
	}
	assert_int_equal(f.renders, 5);
	close(fd);
	teardown(&f);
}

static void ipv6_and_bare_port(void **state)
{
	struct fixture f;
	char buf[1024];
	int fd;

	(void)state;
	setup_at(&f, "[::1]");
	fd = dial_to(&f, AF_INET6);
	say(fd, "GET /healthz HTTP/1.1\r\n" CLOSE);
	hear(&f, fd, NULL, buf, sizeof(buf));
	assert_non_null(strstr(buf, "200 OK"));
	close(fd);
	teardown(&f);
	setup_at(&f, "");
	assert_alive(&f);
	teardown(&f);
}

/* -- what can go wrong ------------------------------------------------------------ */

static void taken_port_is_named(void **state)
{
	struct fixture f;
	struct exporter *second = NULL;
	char log[1024];
	int saved, file = memfd_create("stderr", MFD_CLOEXEC);
	ssize_t n;

	(void)state;
	setup(&f);
	saved = dup(STDERR_FILENO);
	dup2(file, STDERR_FILENO);
	assert_int_equal(exporter_new(&f.loop, f.address, &callbacks, &f, &second), -EADDRINUSE);
	dup2(saved, STDERR_FILENO);
	n = pread(file, log, sizeof(log) - 1, 0);
	log[MAX(n, (ssize_t)0)] = '\0';
	assert_non_null(strstr(log, f.address));
	assert_non_null(strstr(log, "taken"));
	assert_null(second);
	assert_alive(&f);
	close(saved);
	close(file);
	teardown(&f);
}

static void bad_address_is_refused(void **state)
{
	static const char *const bad[] = {
		"",     "localhost:1",   "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000",
		"[::1", "192.0.2.1:9464"};
	uv_loop_t loop;
	struct exporter *e = NULL;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(exporter_new(&loop, bad[i], &callbacks, NULL, &e) < 0);
	assert_null(e);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void hostile_requests(void **state)
{
	static const char *const requests[] = {
		"\r\n\r\n\r\n\r\n",
		"GET\r\n\r\n",
		"GET /metrics\r\n\r\n",
		"GET /metrics HTTP/9.9\r\nHost: a\r\n\r\n",
		"GET /metrics HTTP/1.1\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nabc",
		"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET /metrics HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
		"GET http://elsewhere/metrics HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /%ff%fe%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: a\r\nHo",
	};
	struct fixture f;
	char *large = malloc(200000);

	(void)state;
	setup(&f);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		_cleanup_close_ int fd = dial(&f);

		say(fd, requests[i]);
		assert_alive(&f);
		assert_alive(&f);
	}
	/* A head that is too long, with and without an end; a path that is too long. */
	assert_non_null(large);
	memset(large, 'a', 200000);
	for (int i = 0; i < 3; i++) {
		static const char *const starts[] = {"GET /metrics HTTP/1.1\r\nHost: a\r\nX: ",
						     "GET /metrics HTTP/1.1\r\n", "GET /"};
		_cleanup_close_ int fd = dial(&f);
		char answer[1024];

		memcpy(large, starts[i], strlen(starts[i]));
		say_bytes(fd, large, 200000);
		hear(&f, fd, NULL, answer, sizeof(answer));
		assert_true(!*answer || strstr(answer, "HTTP/1.1 4"));
		assert_alive(&f);
	}
	free(large);
	teardown(&f);
}

static void more_connections_than_served(void **state)
{
	enum { MANY = 80 };
	struct fixture f;
	char buf[1024];
	int fd[MANY], last;

	(void)state;
	setup(&f);
	for (int i = 0; i < MANY; i++) {
		fd[i] = dial(&f);
		uv_run(&f.loop, UV_RUN_NOWAIT);
	}
	/* A further connection waits, or is closed, until others end. */
	last = dial(&f);
	close(last);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
	assert_alive(&f);

	for (int i = 0; i < 60; i++) {
		fd[i] = dial(&f);
		say(fd[i], "GET /healthz HTTP/1.1\r\n" CLOSE);
	}
	for (int i = 0; i < 60; i++) {
		hear(&f, fd[i], NULL, buf, sizeof(buf));
		assert_non_null(strstr(buf, "200 OK"));
		close(fd[i]);
	}
	teardown(&f);
}

static void turn(struct fixture *f, int times)
{
	for (int i = 0; i < times; i++)
		uv_run(&f->loop, UV_RUN_ONCE);
}

/* Connections without a complete request keep no probe out, however many there are, and cut off no
 * page that is being read. */
static void unfinished_requests_keep_nobody_out(void **state)
{
	enum { MANY = 300, SIZE = 4 << 20 };
	static const char *const starts[] = {"", "G", "GET /healthz HTTP/1.1\r\nHost: a\r\n"};
	struct fixture f;
	char *buf = malloc(SIZE);
	int fd[MANY], reading;
	uint64_t begun;

	(void)state;
	assert_non_null(buf);
	setup(&f);
	f.samples = 20000;
	reading = dial(&f);
	say(reading, "GET /metrics HTTP/1.1\r\n" CLOSE);
	while (!f.renders)
		uv_run(&f.loop, UV_RUN_ONCE);
	begun = monotonic_ns();
	for (int i = 0; i < MANY; i++) {
		fd[i] = dial(&f);
		say(fd[i], starts[i % 3]);
		uv_run(&f.loop, UV_RUN_NOWAIT);
	}
	turn(&f, 10);
	for (int i = 0; i < 3; i++)
		assert_alive(&f);
	assert_true(monotonic_ns() - begun <
		    4 * NSEC_PER_SEC); /* before any connection timed out */
	hear(&f, reading, NULL, buf, SIZE);
	assert_non_null(strstr(buf, "18446744073709551615\n"));
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
	close(reading);
	free(buf);
	teardown(&f);
}

/* Nor do clients that ask for the page and do not read it. */
static void unread_answers_keep_nobody_out(void **state)
{
	enum { MANY = 80 };
	struct fixture f;
	int fd[MANY];

	(void)state;
	setup(&f);
	f.samples = 50000;
	for (int i = 0; i < MANY; i++) {
		fd[i] = dial(&f);
		say(fd[i], "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
	}
	while (!f.renders)
		uv_run(&f.loop, UV_RUN_ONCE);
	turn(&f, 20);
	assert_true(f.renders < MANY / 2); /* requests at the same time share a page */
	assert_alive(&f);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
	teardown(&f);
}

/* A byte now and then does not keep a connection open. */
static void trickled_request_has_its_time(void **state)
{
	struct fixture f;
	int fd, looks = 0;
	char c;

	(void)state;
	setup(&f);
	fd = dial(&f);
	say(fd, "GET /healthz HTTP/1.1\r\nX: ");
	while (recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN && looks++ < PATIENCE_LOOKS) {
		if (looks % 10 == 0)
			say(fd, "a");
		uv_run(&f.loop, UV_RUN_ONCE);
	}
	assert_true(looks < PATIENCE_LOOKS);
	assert_alive(&f);
	close(fd);
	teardown(&f);
}

/* Idle, in the middle of a head, and in the middle of a page. */
static void freed_with_connections_open(void **state)
{
	struct fixture f;
	int idle, half, reading;
	char c;

	(void)state;
	setup(&f);
	f.samples = 50000;
	idle = dial(&f);
	half = dial(&f);
	reading = dial(&f);
	say(half, "GET /met");
	say(reading, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
	for (int i = 0; i < PATIENCE_LOOKS && !f.renders; i++)
		uv_run(&f.loop, UV_RUN_ONCE);
	assert_int_equal(f.renders, 1);
	teardown(&f);
	assert_true(recv(idle, &c, 1, 0) <= 0);
	assert_true(recv(half, &c, 1, 0) <= 0);
	close(idle);
	close(half);
	close(reading);
	exporter_free(NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_of_families),
		cmocka_unit_test(text_of_histograms),
		cmocka_unit_test(text_of_numbers),
		cmocka_unit_test(label_values_are_escaped),
		cmocka_unit_test(text_misuse_is_an_error),
		cmocka_unit_test(paths_and_methods),
		cmocka_unit_test(head_has_no_body),
		cmocka_unit_test(not_ready_says_why),
		cmocka_unit_test(page_that_cannot_be_built),
		cmocka_unit_test(promtool_takes_the_page),
		cmocka_unit_test(large_page_is_whole),
		cmocka_unit_test(connection_is_kept),
		cmocka_unit_test(ipv6_and_bare_port),
		cmocka_unit_test(taken_port_is_named),
		cmocka_unit_test(bad_address_is_refused),
		cmocka_unit_test(hostile_requests),
		cmocka_unit_test(more_connections_than_served),
		cmocka_unit_test(unfinished_requests_keep_nobody_out),
		cmocka_unit_test(unread_answers_keep_nobody_out),
		cmocka_unit_test(trickled_request_has_its_time),
		cmocka_unit_test(freed_with_connections_open),
	};

	log_init("test", LOG_INFO);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
