/* SPDX-License-Identifier: Apache-2.0 */
/* From a metrics page to a score in the map: what a page changes, and what a missing page leaves.
 */
#include "support_steer.h"

#include <poll.h>
#include <stdatomic.h>
#include <uv.h>

#include "../../userspace/pintled/observe/poll.h"
#include "health.bpf.h"

#define FAST "scrape: {interval: 10ms, idle: 10ms, timeout: 1s}, "

/* ---- model servers' pages ------------------------------------------------------------------ */

#define SERVERS_MAX 4

/* Answers on ports 8001, 8002, ... until the test ends it. */
struct pages {
	pthread_t thread;
	pthread_mutex_t lock;
	int listener[SERVERS_MAX];
	const char *page[SERVERS_MAX]; /* NULL: 503 */
	atomic_bool end;
	atomic_uint asked[SERVERS_MAX];  /* requests for the page */
	atomic_uint probed[SERVERS_MAX]; /* requests for / */
};

static void answer(struct pages *p, int i, int fd)
{
	char request[4096] = "", text[4096];
	const char *page;

	if (recv(fd, request, sizeof(request) - 1, 0) > 0) {
		pthread_mutex_lock(&p->lock);
		page = p->page[i];
		pthread_mutex_unlock(&p->lock);
		snprintf(text, sizeof(text),
			 "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
			 page ? "200 OK" : "503 Not now", page ? strlen(page) : 0,
			 page ? page : "");
		send(fd, text, strlen(text), MSG_NOSIGNAL);
		(strstr(request, "GET / ") ? p->probed : p->asked)[i]++;
	}
	close(fd);
}

static void *serve(void *arg)
{
	struct pages *p = arg;

	while (!p->end) {
		struct pollfd ready[SERVERS_MAX];

		for (int i = 0; i < SERVERS_MAX; i++)
			ready[i] = (struct pollfd){.fd = p->listener[i], .events = POLLIN};
		poll(ready, SERVERS_MAX, 20);
		for (int i = 0; i < SERVERS_MAX; i++) {
			int fd = ready[i].revents & POLLIN
					 ? accept4(p->listener[i], NULL, NULL, SOCK_CLOEXEC)
					 : -1;

			if (fd >= 0)
				answer(p, i, fd);
		}
	}
	return NULL;
}

static void show(struct pages *p, int i, const char *page)
{
	pthread_mutex_lock(&p->lock);
	p->page[i] = page;
	pthread_mutex_unlock(&p->lock);
}

/* ---- a poller on them ------------------------------------------------------------------------ */

struct world {
	struct pages pages;
	struct steer s;
	uv_loop_t loop;
	uv_timer_t tick;
	struct poller *p;
};

static void on_tick(uv_timer_t *t)
{
	(void)t;
}

static void world_start(struct world *w, const char *pools)
{
	struct ground ground;

	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->pages.lock, NULL);
	for (int i = 0; i < SERVERS_MAX; i++)
		w->pages.listener[i] = listen_at("127.0.0.1", (uint16_t)(8001 + i));
	pthread_create(&w->pages.thread, NULL, serve, &w->pages);
	steer_start(&w->s, pools, false);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	/* A timer, so that the loop turns even when nothing else happens. */
	uv_timer_init(&w->loop, &w->tick);
	uv_timer_start(&w->tick, on_tick, 1, 1);
	ground = *attachment_ground(w->s.a);
	ground.loop = &w->loop;
	assert_int_equal(poller_new(&ground, &w->p), 0);
}

static void world_end(struct world *w)
{
	poller_free(w->p);
	uv_close((uv_handle_t *)&w->tick, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	steer_end(&w->s);
	w->pages.end = true;
	pthread_join(w->pages.thread, NULL);
	for (int i = 0; i < SERVERS_MAX; i++)
		close(w->pages.listener[i]);
}

static void configure(struct world *w)
{
	assert_int_equal(poller_configure(w->p, w->s.c, w->s.p), 0);
}

#define turn_until(w, condition)                                                                   \
	do {                                                                                       \
		uint64_t until_ = monotonic_ns() + 20 * NSEC_PER_SEC;                              \
		while (!(condition) && monotonic_ns() < until_)                                    \
			uv_run(&(w)->loop, UV_RUN_ONCE);                                           \
		assert_true(condition);                                                            \
	} while (0)

static struct pintle_ref ref_of(const struct world *w, size_t i)
{
	return w->s.p->pools[0].endpoints[i];
}

static struct pintle_score *score_of(const struct world *w, size_t i)
{
	return &w->s.m->scores[ref_of(w, i).id];
}

static const struct poll_counters *counters_of(const struct world *w, size_t i)
{
	return poller_counters(w->p, ref_of(w, i).id);
}

/* Runs the loop until so many further scrapes have ended. */
static void turn_scrapes(struct world *w, size_t i, uint64_t n)
{
	uint64_t before = counters_of(w, i)->scrapes;

	turn_until(w, counters_of(w, i)->scrapes >= before + n);
}

#define ONE POOL("a", FRONTEND, FAST SERVERS(AT("e0", 8001)))
#define TWO POOL("a", FRONTEND, FAST SERVERS(AT("e0", 8001) "," AT("e1", 8002)))

#define PAGE(waiting, running, kv)                                                                 \
	"vllm:num_requests_waiting{engine=\"0\"} " #waiting "\n"                                   \
	"vllm:num_requests_running{engine=\"0\"} " #running "\n"                                   \
	"vllm:kv_cache_usage_perc{engine=\"0\"} " #kv "\n"

/* ---- what a page changes -----------------------------------------------------------------------
 */

static void test_a_page_becomes_a_score(void **state)
{
	struct pintle_inflight *f;
	struct pintle_score *s;
	struct world w;
	uint64_t before;

	(void)state;
	world_start(&w, ONE);
	show(&w.pages, 0, PAGE(3, 4, 0.4));
	s = score_of(&w, 0);
	f = &w.s.m->inflight[ref_of(&w, 0).id];
	f->by_class[0] =
		(struct pintle_counters){.placed = 20, .opened = 12, .closed = 5, .failed = 6};
	f->by_class[7] = (struct pintle_counters){.placed = 1, .opened = 1};
	before = monotonic_ns();
	configure(&w);
	assert_false(poller_first_round_over(w.p));
	turn_until(&w, s->scraped_ns);
	assert_true(s->scraped_ns >= before && s->scraped_ns <= monotonic_ns());
	assert_int_equal(s->generation, ref_of(&w, 0).generation);
	assert_int_equal(s->sequence % 2, 0);
	assert_int_equal(s->inflight, 8);
	assert_int_equal(s->pending, 2);
	assert_int_equal(s->waiting, 3);
	assert_int_equal(s->running, 4);
	assert_int_equal(s->kv_cache, 400000);
	assert_int_equal(s->flags,
			 PINTLE_SIGNAL_WAITING | PINTLE_SIGNAL_RUNNING | PINTLE_SIGNAL_KV_CACHE);
	/* 2 x 3 + 1 x 4 + 2 x 5 x (0.4 / 0.8)^4 */
	assert_int_equal(s->model[0].published, 10625);
	assert_int_equal(s->model[0].arrival, 2000);
	assert_true(poller_first_round_over(w.p));
	assert_true(w.s.m->node->scrape_rounds >= 1);
	world_end(&w);
}

/* A score stands until a better one comes. */
static void test_what_changes_nothing_but_a_flag(void **state)
{
	static const char *const bad[] = {
		NULL, /* 503 */
		PAGE(NaN, NaN, NaN),
		PAGE(-3, -4, 40),
		"<html>",
		"something_else 1\n",
	};
	struct pintle_score before, after;
	struct world w;

	(void)state;
	world_start(&w, ONE);
	show(&w.pages, 0, PAGE(3, 4, 0.4));
	configure(&w);
	turn_until(&w, score_of(&w, 0)->scraped_ns);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t failures = counters_of(&w, 0)->failures;

		show(&w.pages, 0, bad[i]);
		turn_until(&w, score_of(&w, 0)->flags & PINTLE_SCORE_FAILED);
		before = *score_of(&w, 0);
		turn_scrapes(&w, 0, 2);
		after = *score_of(&w, 0);
		assert_true(!memcmp(&before, &after, sizeof(before)));
		assert_int_equal(after.waiting, 3);
		assert_true(counters_of(&w, 0)->failures >= failures + 3);
		show(&w.pages, 0, PAGE(3, 4, 0.4));
		turn_until(&w, !(score_of(&w, 0)->flags & PINTLE_SCORE_FAILED));
		assert_true(score_of(&w, 0)->scraped_ns > before.scraped_ns);
	}
	world_end(&w);
}

/* A counter's value that none can be leaves the one before: it neither falls nor jumps, and is no
 * engine that has started anew. A gauge's does, too, while it is fresh. */
static void test_a_value_that_none_can_be(void **state)
{
#define ENGINE(waiting, tokens)                                                                    \
	"vllm:num_requests_waiting " waiting "\nvllm:num_requests_running 1\n"                     \
	"vllm:generation_tokens_total " tokens "\n"
	const struct poll_counters *c;
	struct world w;
	uint64_t seen;

	(void)state;
	world_start(&w, ONE);
	show(&w.pages, 0, ENGINE("5", "1000"));
	configure(&w);
	turn_until(&w, score_of(&w, 0)->waiting == 5);
	show(&w.pages, 0, ENGINE("NaN", "-7"));
	c = counters_of(&w, 0);
	turn_until(&w, c->spoiled > 2);
	assert_int_equal(score_of(&w, 0)->waiting, 5);
	assert_true(c->signals.value[SIGNAL_OUTPUT_TOKENS] == 1000);
	show(&w.pages, 0, ENGINE("2", "1010"));
	turn_until(&w, score_of(&w, 0)->waiting == 2);
	seen = c->spoiled;
	turn_until(&w,
		   poller_sums(w.p, &w.s.p->pools[0].ref)->grown.value[SIGNAL_OUTPUT_TOKENS] == 10);
	assert_int_equal(c->restarts, 0);
	assert_int_equal(c->spoiled, seen);
	assert_int_equal(c->failures, 0);
	world_end(&w);
#undef ENGINE
}

static void test_over_a_threshold(void **state)
{
	struct world w;

	(void)state;
	world_start(&w, TWO);
	show(&w.pages, 0, PAGE(10, 4, 0.4));
	configure(&w);
	turn_until(&w, score_of(&w, 0)->scraped_ns && counters_of(&w, 1)->scrapes);
	assert_true(score_of(&w, 0)->flags & PINTLE_SCORE_SATURATED);
	/* 10 / 5, and an endpoint with a stale score. */
	assert_true(poller_saturation(w.p, 0) == 1.5);
	world_end(&w);
}

static void test_gpus(void **state)
{
	struct world w;

	(void)state;
	world_start(&w,
		    POOL("a", FRONTEND,
			 FAST "weights: {gpu: 10}, dcgm: {url: \"http://127.0.0.1:8004/metrics\", "
			      "interval: 100ms}, " SERVERS(
				      "{name: e0, listen: \"127.0.0.1:8001\", gpu: {index: 1}}")));
	show(&w.pages, 0, PAGE(0, 0, 0));
	show(&w.pages, 3,
	     "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 10\n"
	     "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} 80\n");
	configure(&w);
	turn_until(&w, score_of(&w, 0)->flags & PINTLE_SIGNAL_GPU);
	assert_int_equal(score_of(&w, 0)->gpu, 800000);
	assert_int_equal(score_of(&w, 0)->model[0].published, 8000);
	/* An old GPU figure counts as none. */
	show(&w.pages, 3, NULL);
	turn_until(&w, !(score_of(&w, 0)->flags & PINTLE_SIGNAL_GPU));
	assert_int_equal(score_of(&w, 0)->model[0].published, 0);
	world_end(&w);
}

/* ---- another configuration
 * ------------------------------------------------------------------------ */

static void reconfigure(struct world *w, const char *pools)
{
	struct config *old = w->s.c;
	struct publication *published = w->s.p;

	w->s.c = config_with("", pools);
	assert_int_equal(
		publish(w->s.m, attachment_ground(w->s.a)->netns_fd, w->s.c, NULL, &w->s.p), 0);
	configure(w);
	/* The poller must hold no pointer into the old configuration: the sanitizer reports its
	 * use. */
	config_free(old);
	publication_free(published);
}

static void test_who_stays_and_who_goes(void **state)
{
	struct pintle_ref gone;
	uint64_t scrapes;
	unsigned int asked;
	struct world w;

	(void)state;
	world_start(&w, TWO);
	show(&w.pages, 0, PAGE(1, 1, 0));
	show(&w.pages, 1, PAGE(2, 2, 0));
	configure(&w);
	turn_scrapes(&w, 0, 3);
	turn_until(&w, score_of(&w, 1)->scraped_ns);
	scrapes = counters_of(&w, 0)->scrapes;
	gone = ref_of(&w, 1);

	reconfigure(&w, POOL("a", FRONTEND, FAST SERVERS(AT("e2", 8003) "," AT("e0", 8001))));
	assert_null(poller_counters(w.p, gone.id));
	assert_int_equal(counters_of(&w, 1)->scrapes, scrapes);
	assert_int_equal(counters_of(&w, 0)->scrapes, 0);
	asked = w.pages.asked[1];
	show(&w.pages, 2, PAGE(5, 5, 0));
	turn_until(&w, score_of(&w, 0)->scraped_ns);
	turn_scrapes(&w, 1, 3);
	/* One more request may have been under way. */
	assert_true(w.pages.asked[1] <= asked + 1);
	assert_true(poller_first_round_over(w.p));

	/* The same id, now of another endpoint. */
	reconfigure(&w, POOL("a", FRONTEND, FAST SERVERS(AT("e0", 8001) "," AT("e3", 8004))));
	assert_int_equal(ref_of(&w, 1).id, gone.id);
	assert_int_equal(counters_of(&w, 1)->scrapes, 0);
	assert_int_equal(score_of(&w, 1)->scraped_ns, 0);
	show(&w.pages, 3, PAGE(6, 6, 0));
	turn_until(&w, score_of(&w, 1)->scraped_ns);
	assert_int_equal(score_of(&w, 1)->generation, gone.generation + 1);
	world_end(&w);
}

static void test_rounds(void **state)
{
	uint64_t rounds;
	struct world w;

	(void)state;
	world_start(&w, TWO);
	show(&w.pages, 0, PAGE(1, 1, 0));
	configure(&w);
	/* A failure is an answer too. */
	turn_until(&w, w.s.m->node->scrape_rounds == 1);
	assert_true(counters_of(&w, 0)->scrapes && counters_of(&w, 1)->scrapes);
	show(&w.pages, 1, PAGE(1, 1, 0));
	turn_until(&w, w.s.m->node->scrape_rounds >= 3);

	/* An endpoint that is removed does not delay a round. */
	rounds = w.s.m->node->scrape_rounds;
	reconfigure(&w, ONE);
	turn_until(&w, w.s.m->node->scrape_rounds >= rounds + 3);
	assert_true(poller_first_round_over(w.p));
	world_end(&w);
}

/* With an impossible URL the other pages are still read, and the next configuration mends it. */
static void test_a_configuration_that_fails(void **state)
{
	struct config_endpoint *e;
	struct world w;
	char *url;

	(void)state;
	world_start(&w, TWO);
	show(&w.pages, 0, PAGE(1, 1, 0));
	show(&w.pages, 1, PAGE(1, 1, 0));
	e = &w.s.c->pools[0].endpoints[0];
	url = e->metrics_url;
	e->metrics_url = strdup("gopher://127.0.0.1:8001/");
	assert_true(poller_configure(w.p, w.s.c, w.s.p) < 0);
	assert_null(counters_of(&w, 0));
	turn_scrapes(&w, 1, 2);
	free(e->metrics_url);
	e->metrics_url = url;
	configure(&w);
	turn_scrapes(&w, 0, 2);

	/* The same for an endpoint whose page was read before. */
	e->metrics_url = strdup("gopher://127.0.0.1:8001/");
	assert_true(poller_configure(w.p, w.s.c, w.s.p) < 0);
	assert_null(counters_of(&w, 0));
	free(e->metrics_url);
	e->metrics_url = url;
	reconfigure(&w, TWO);
	turn_scrapes(&w, 0, 2);
	world_end(&w);
}

/* ---- witnesses of a server's answer --------------------------------------------------------- */

#define SILENT  8005 /* a listener that never accepts */
#define CONNECT "{name: %s, address: \"127.0.0.1:%d\", metrics: \"http://127.0.0.1:%d/metrics\"}"

/* A pool of the connect hook with one endpoint, whose page is at port `page`. Timeouts are so long
 * that a server that answers does so in time, however busy the machine is. */
static const char *connect_pool(const char *name, int port, int page)
{
	static char text[2][512];
	static int i;

	i = !i;
	snprintf(text[i], sizeof(text[i]), POOL("a", FRONTEND, "%s" SERVERS(CONNECT)),
		 port == SILENT ? "scrape: {interval: 10ms, timeout: 50ms}, "
				: "scrape: {interval: 10ms, timeout: 10s}, ",
		 name, port, page);
	return text[i];
}

static struct pintle_health *health_of(const struct world *w)
{
	return &w->s.m->health[ref_of(w, 0).id];
}

/* A client fails, and the kernel ejects the endpoint. */
static void fail_client(const struct world *w)
{
	struct pintle_health *h = health_of(w);

	h->failures[PINTLE_FAILURE_REFUSED]++;
	h->failed_ns = monotonic_ns();
	h->ejected_until_ns = h->failed_ns + 3600 * NSEC_PER_SEC;
}

static bool is_ejected(const struct world *w)
{
	const struct pintle_health *h = health_of(w);

	return health_ejected(h->ejected_until_ns, h->answered_ns, h->failed_ns, monotonic_ns());
}

static void test_a_server_is_asked_where_its_page_is_elsewhere(void **state)
{
	struct world w;

	(void)state;
	world_start(&w, connect_pool("e0", 8001, 8004));
	show(&w.pages, 3, PAGE(1, 1, 0));
	configure(&w);
	turn_scrapes(&w, 0, 10);
	assert_int_equal(w.pages.probed[0], 0); /* no client has failed */
	for (unsigned int i = 1; i <= 3; i++) {
		fail_client(&w);
		turn_until(&w, !is_ejected(&w)); /* by a 503 */
		assert_true(health_of(&w)->vouched_until_ns > monotonic_ns());
		turn_scrapes(&w, 0, 10);
		assert_int_equal(w.pages.probed[0], i);
	}
	assert_int_equal(w.pages.asked[0] + w.pages.probed[3], 0);
	/* A dead server is probed until it answers, though its page comes as ever. */
	shutdown(w.pages.listener[0], SHUT_RD);
	fail_client(&w);
	turn_until(&w, !health_of(&w)->vouched_until_ns);
	turn_scrapes(&w, 0, 10);
	assert_true(is_ejected(&w));
	assert_false(score_of(&w, 0)->flags & PINTLE_SCORE_FAILED);
	assert_int_equal(listen(w.pages.listener[0], 16), 0);
	turn_until(&w, !is_ejected(&w));
	world_end(&w);
}

/* Where the page comes from the endpoint itself, the page is the only witness: no probe is sent. */
static void test_a_server_with_its_own_page_is_not_asked(void **state)
{
	struct world w;

	(void)state;
	world_start(&w, connect_pool("e0", 8001, 8001));
	show(&w.pages, 0, PAGE(1, 1, 0));
	configure(&w);
	turn_scrapes(&w, 0, 3);
	fail_client(&w);
	turn_until(&w, !is_ejected(&w));
	show(&w.pages, 0, NULL);
	turn_until(&w, !health_of(&w)->vouched_until_ns);
	fail_client(&w);
	turn_scrapes(&w, 0, 10);
	assert_true(is_ejected(&w));
	assert_int_equal(w.pages.probed[0], 0);
	world_end(&w);
}

/* A server that stands still gets the probe of its pool; a healthy one does not. */
static void test_a_server_that_stands_still_is_asked(void **state)
{
	struct world w;

	(void)state;
	world_start(&w, POOL("a", FRONTEND,
			     FAST "probe: {path: /v1/completions, interval: 1s}, "
				  "endpoints: [{name: e0, address: '127.0.0.1:8001', "
				  "metrics: 'http://127.0.0.1:8004/metrics'}]"));
	show(&w.pages, 3, PAGE(1, 1, 0));
	configure(&w);
	turn_scrapes(&w, 0, 150); /* 1.5 s */
	assert_int_equal(w.pages.asked[0], 0);
	health_of(&w)->standing = PINTLE_STANDING_STALLED;
	health_of(&w)->stands_until_ns = UINT64_MAX / 2;
	turn_until(&w, w.pages.asked[0] == 1);
	world_end(&w);
}

/* Accepts the next connection, and reads its request, which may be a probe. */
static int take_request(struct world *w, int listener, bool *probe)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	char request[4096] = "";
	int fd;

	turn_until(w, poll(&ready, 1, 0) == 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	turn_until(w, recv(fd, request, 1, MSG_DONTWAIT | MSG_PEEK) == 1);
	assert_true(recv(fd, request, sizeof(request) - 1, MSG_DONTWAIT) > 0);
	*probe = strstr(request, "GET / HTTP/1.1\r\n") == request;
	return fd;
}

/* Sends no answer, and waits until the daemon has given up. */
static void wait_until_given_up(struct world *w, int fd)
{
	char byte;

	turn_until(w, recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0);
	close(fd);
}

/* The endpoint does not answer, though its page, which another server has, comes as ever. */
static void test_a_server_that_takes_connections_and_no_more(void **state)
{
	struct world w;
	int listener;
	bool probe;

	(void)state;
	world_start(&w, connect_pool("e0", SILENT, 8004));
	listener = listen_at("127.0.0.1", SILENT);
	show(&w.pages, 3, PAGE(1, 1, 0));
	configure(&w);
	turn_scrapes(&w, 0, 1);
	fail_client(&w);
	for (int i = 0; i < 3; i++) {
		wait_until_given_up(&w, take_request(&w, listener, &probe));
		assert_true(probe);
		assert_true(is_ejected(&w));
		assert_int_equal(health_of(&w)->vouched_until_ns, 0);
	}
	turn_until(&w, !(score_of(&w, 0)->flags & PINTLE_SCORE_FAILED));
	close(listener);
	world_end(&w);
}

static void answer_next(struct world *w, int listener)
{
	bool probe;
	int fd = take_request(w, listener, &probe);

	assert_true(probe);
	assert_int_equal(send(fd, "what?\n", 6, MSG_NOSIGNAL), 6);
	wait_until_given_up(w, fd);
}

/* A probe under way says nothing about an endpoint that changes meanwhile, and is not sent again.
 */
static void test_another_configuration_while_it_is_asked(void **state)
{
	static const struct {
		const char *name;
		int port, page;
		bool same;
	} after[] = {
		{"e0", SILENT, 8004, true},    /* nothing changed */
		{"e0", SILENT, 8003, true},    /* another page elsewhere */
		{"e0", SILENT, SILENT, false}, /* its own page */
		{"e1", SILENT, 8004, false},   /* another name */
		{"e0", 8001, 8004, false},     /* another address */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(after); i++) {
		struct pintle_health *h;
		struct world w;
		int listener, fd;
		bool probe;

		world_start(&w, connect_pool("e0", SILENT, 8004));
		listener = listen_at("127.0.0.1", SILENT);
		show(&w.pages, 2, PAGE(1, 1, 0));
		show(&w.pages, 3, PAGE(1, 1, 0));
		configure(&w);
		turn_scrapes(&w, 0, 1);
		fail_client(&w);
		h = health_of(&w);
		fd = take_request(&w, listener, &probe);
		assert_true(probe);
		reconfigure(&w, connect_pool(after[i].name, after[i].port, after[i].page));
		wait_until_given_up(&w, fd);
		turn_scrapes(&w, 0, 2);
		assert_int_equal(h->answered_ns + h->vouched_until_ns, 0);
		while (after[i].same && is_ejected(&w))
			answer_next(&w, listener);
		for (int j = 0; j < 3 && after[i].page == SILENT; j++) {
			wait_until_given_up(&w, take_request(&w, listener, &probe));
			assert_false(probe);
		}
		assert_int_equal(w.pages.probed[0], 0);
		close(listener);
		world_end(&w);
	}
}

/* ---- listeners ---------------------------------------------------------------------------------
 */

static void test_no_listener_is_looked_for_elsewhere(void **state)
{
	struct world w;

	(void)state;
	world_start(&w, POOL("a", FRONTEND, SERVERS("{name: e0, address: \"127.0.0.1:8001\"}")));
	show(&w.pages, 0, PAGE(1, 1, 0));
	configure(&w);
	turn_until(&w, counters_of(&w, 0)->known);
	assert_false(poller_suspects_listener(w.p));
	assert_int_equal(score_of(&w, 0)->waiting, 1);
	world_end(&w);
}

static void test_when_to_look_for_listeners(void **state)
{
	/* which of 70 calls return true */
	static const int looks[] = {1, 2, 4, 8, 16, 32, 64};
	struct pintle_health *h;
	struct world w;
	uint64_t since;
	int found = 0;

	(void)state;
	world_start(&w, ONE);
	h = &w.s.m->health[ref_of(&w, 0).id];
	show(&w.pages, 0, PAGE(1, 1, 0));
	configure(&w);
	since = h->listening_since_ns;
	h->listening_since_ns = 0;
	assert_false(poller_suspects_listener(w.p)); /* nothing is known yet */
	/* Pages are read only of endpoints with a known listener. */
	h->listening_since_ns = since;
	turn_until(&w, counters_of(&w, 0)->known);
	h->listening_since_ns = 0;
	for (int i = 1; i <= 70; i++) {
		if (!poller_suspects_listener(w.p))
			continue;
		assert_true((size_t)found < ARRAY_SIZE(looks));
		assert_int_equal(i, looks[found++]);
	}
	assert_int_equal(found, ARRAY_SIZE(looks));

	h->listening_since_ns = monotonic_ns();
	assert_false(poller_suspects_listener(w.p));
	show(&w.pages, 0, NULL);
	turn_until(&w, score_of(&w, 0)->flags & PINTLE_SCORE_FAILED);
	turn_until(&w, poller_suspects_listener(w.p)); /* at once again */
	world_end(&w);
}

/* ---- a pod's two addresses ------------------------------------------------------------------- */

static int listen_v6(uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
				 .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				 .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1024), 0);
	return fd;
}

/* Page `i` is at [::1] then. */
static void move_to_v6(struct world *w, int i, uint16_t port)
{
	int fd = listen_v6(port);

	assert_true(dup2(fd, w->pages.listener[i]) >= 0);
	close(fd);
}

/* As a pool that was found in a cluster: the file's names have no slash. */
static void call_found(struct world *w)
{
	free(w->s.c->pools[0].name);
	w->s.c->pools[0].name = strdup("llm/a");
}

#define AT_V4 "{name: e0, address: \"127.0.0.1:8001\"}"
#define PODS(second)                                                                               \
	POOL("a", FRONTEND,                                                                        \
	     "scrape: {interval: 50ms, idle: 50ms, timeout: 1s}, "                                 \
	     "endpoints: [" AT_V4 ", " second "]")

/* Whether the page that was read at one address holds for the other. They differ, to tell. */
static bool shared(const struct world *w, size_t read_at, size_t for_this)
{
	return score_of(w, for_this)->waiting == 1 + read_at;
}

static void test_both_addresses_of_a_pod(void **state)
{
	uint64_t old, failures;
	struct world w;

	(void)state;
	world_start(&w, PODS("{name: e0..ipv6, address: \"[::1]:8001\"}"));
	move_to_v6(&w, 1, 8001);
	call_found(&w);
	show(&w.pages, 0, PAGE(1, 4, 0.4));
	configure(&w);
	/* An address whose own page never came is unheard. */
	failures = counters_of(&w, 1)->failures;
	turn_scrapes(&w, 0, 5);
	turn_until(&w, counters_of(&w, 1)->failures >= failures + 3);
	assert_int_equal(score_of(&w, 1)->scraped_ns, 0);
	show(&w.pages, 1, PAGE(2, 4, 0.4));
	/* Both are asked, and the page of each is the other's. */
	for (int i = 0; i < 3; i++) {
		turn_until(&w, shared(&w, 0, 0) && shared(&w, 0, 1));
		turn_until(&w, shared(&w, 1, 0) && shared(&w, 1, 1));
	}
	assert_int_equal(score_of(&w, 0)->running, 4);
	assert_int_equal(score_of(&w, 0)->generation, ref_of(&w, 0).generation);
	assert_int_equal(score_of(&w, 1)->generation, ref_of(&w, 1).generation);

	/* One at which it fails is not held against the other, and gets no page of it. */
	show(&w.pages, 1, NULL);
	turn_until(&w, score_of(&w, 1)->flags & PINTLE_SCORE_FAILED);
	old = score_of(&w, 1)->scraped_ns;
	turn_scrapes(&w, 0, 10);
	turn_until(&w, shared(&w, 0, 0));
	assert_int_equal(score_of(&w, 1)->scraped_ns, old);
	assert_false(score_of(&w, 0)->flags & PINTLE_SCORE_FAILED);
	show(&w.pages, 1, PAGE(2, 4, 0.4));
	turn_until(&w, shared(&w, 1, 0));

	/* While its clients fail, its own address has to answer. */
	show(&w.pages, 1, NULL);
	turn_until(&w, score_of(&w, 1)->flags & PINTLE_SCORE_FAILED);
	w.s.m->health[ref_of(&w, 1).id].failures[PINTLE_FAILURE_REFUSED]++;
	show(&w.pages, 1, PAGE(2, 4, 0.4));
	turn_until(&w, w.s.m->health[ref_of(&w, 1).id].answered_ns);
	turn_until(&w, shared(&w, 0, 1));
	world_end(&w);
}

/* Endpoints of other pods, of the same family, or of another port, and those of the file, have
 * their own pages. */
static void test_addresses_of_two_pods(void **state)
{
	static const struct {
		const char *pools;
		bool found;
	} rows[] = {
		{PODS("{name: e0..ipv6, address: \"[::1]:8001\"}"), false},
		{PODS("{name: e0..ipv6, address: \"127.0.0.1:8002\"}"), true},
		{PODS("{name: e1..ipv6, address: \"[::1]:8001\"}"), true},
		{PODS("{name: e0..ipv6, address: \"[::1]:8003\"}"), true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world w;

		world_start(&w, rows[i].pools);
		move_to_v6(&w, 2, 8001);
		move_to_v6(&w, 3, 8003);
		for (int k = 0; k < SERVERS_MAX; k++)
			show(&w.pages, k, k ? PAGE(2, 4, 0.4) : PAGE(1, 4, 0.4));
		if (rows[i].found)
			call_found(&w);
		configure(&w);
		turn_scrapes(&w, 0, 2);
		turn_scrapes(&w, 1, 2);
		for (int k = 0; k < 10; k++) {
			turn_scrapes(&w, k % 2, 1);
			if (score_of(&w, 0)->waiting != 1 || score_of(&w, 1)->waiting != 2)
				fail_msg("row %zu", i);
		}
		world_end(&w);
	}
}

/* ---- names of the pool's own ----------------------------------------------------------------- */

#define NAMED(names)                                                                               \
	POOL("a", FRONTEND, "metrics: " names ", " FAST SERVERS(AT("e0", 8001) "," AT("e1", 8002)))
#define TYPO NAMED("{waiting: own_waitign, running: own_running}")

static bool is_unheard(const struct world *w, size_t i)
{
	return !score_of(w, i)->scraped_ns && counters_of(w, i)->failures >= 2;
}

/* A server whose page has none of the names that the pool gives is idle, once another page has had
 * them: its gauges come with its first request. */
static void test_own_names_that_come_later(void **state)
{
	struct world w;

	(void)state;
	world_start(&w, TYPO);
	for (int i = 0; i < 2; i++)
		show(&w.pages, i, "python_info 1\n");
	configure(&w);
	turn_until(&w, is_unheard(&w, 0) && is_unheard(&w, 1));
	/* A name that no page has may be wrong: it must not look idle. */
	show(&w.pages, 0, "own_waiting 2\nown_running 3\n");
	turn_scrapes(&w, 0, 3);
	turn_scrapes(&w, 1, 3);
	assert_true(is_unheard(&w, 0) && is_unheard(&w, 1));

	reconfigure(&w, NAMED("{waiting: own_waiting, running: own_running}"));
	turn_until(&w, score_of(&w, 0)->running == 3 && score_of(&w, 1)->scraped_ns);
	assert_int_equal(score_of(&w, 1)->running, 0);
	assert_int_equal(score_of(&w, 1)->waiting, 0);
	assert_false(score_of(&w, 1)->flags & PINTLE_SCORE_FAILED);
	/* So it stays while it is the only one, and after a restart of the first, too. */
	show(&w.pages, 0, "python_info 1\n");
	turn_until(&w, score_of(&w, 0)->running == 0);
	assert_false(score_of(&w, 0)->flags & PINTLE_SCORE_FAILED);
	/* What the pages had proves nothing about another name. */
	reconfigure(&w, TYPO);
	turn_until(&w, score_of(&w, 0)->flags & score_of(&w, 1)->flags & PINTLE_SCORE_FAILED);
	world_end(&w);
}

/* ---- what nobody uses ------------------------------------------------------------------------ */

#define IDLE "scrape: {interval: 10ms, idle: 60s, timeout: 1s}, "

static bool rests(const struct world *w, size_t i)
{
	return score_of(w, i)->flags & PINTLE_SCORE_IDLE;
}

static struct pintle_counters *connections_of(const struct world *w, size_t i)
{
	return &w->s.m->inflight[ref_of(w, i).id].by_class[3];
}

static void turn_for(struct world *w, uint64_t ns)
{
	uint64_t until = monotonic_ns() + ns;

	while (monotonic_ns() < until)
		uv_run(&w->loop, UV_RUN_ONCE);
}

/* Ten seconds without a connection, and pages that are good are no longer wanted; those that fail
 * are. The first connection brings all back, and one that is open keeps them. */
static void test_a_pool_that_nobody_uses(void **state)
{
	uint64_t scrapes, failures, now;
	struct world w;

	(void)state;
	world_start(&w, POOL("a", FRONTEND, IDLE SERVERS(AT("e0", 8001) "," AT("e1", 8002))));
	show(&w.pages, 0, PAGE(3, 4, 0.4));
	configure(&w);
	turn_until(&w, score_of(&w, 0)->scraped_ns);
	assert_false(rests(&w, 0));
	assert_true(poller_in_use(w.p, w.s.p->pools[0].ref.id));
	turn_until(&w, rests(&w, 0));
	assert_false(poller_in_use(w.p, w.s.p->pools[0].ref.id));
	assert_false(rests(&w, 1));
	failures = counters_of(&w, 1)->failures;
	turn_until(&w, counters_of(&w, 1)->failures >= failures + 2);
	assert_false(score_of(&w, 0)->flags & PINTLE_SCORE_FAILED);

	connections_of(&w, 0)->placed++;
	show(&w.pages, 0, PAGE(5, 4, 0.4));
	turn_until(&w, score_of(&w, 0)->waiting == 5 && !rests(&w, 0));
	turn_scrapes(&w, 0, 20);
	connections_of(&w, 0)->failed++;
	/* The page of the second is good at last: it, too, is left alone. */
	show(&w.pages, 1, PAGE(1, 1, 0));
	turn_until(&w, rests(&w, 0) && rests(&w, 1));
	scrapes = counters_of(&w, 0)->scrapes + counters_of(&w, 1)->scrapes;
	turn_for(&w, NSEC_PER_SEC);
	/* A first rest may be short. */
	assert_true(counters_of(&w, 0)->scrapes + counters_of(&w, 1)->scrapes <= scrapes + 4);

	/* A server that was restarted is not left unheard for long. */
	now = monotonic_ns();
	w.s.m->health[ref_of(&w, 0).id].listening_since_ns = now;
	turn_until(&w, score_of(&w, 0)->scraped_ns >= now);
	turn_until(&w, rests(&w, 0));

	/* Another idle time takes effect at once, and an old page that was told of is not believed
	 * for long once the pool is used again. */
	reconfigure(&w, POOL("a", FRONTEND, FAST SERVERS(AT("e0", 8001) "," AT("e1", 8002))));
	turn_until(&w, !rests(&w, 0) && !rests(&w, 1));
	turn_scrapes(&w, 1, 20);
	reconfigure(&w, POOL("a", FRONTEND, IDLE SERVERS(AT("e0", 8001) "," AT("e1", 8002))));
	turn_until(&w, rests(&w, 1));
	show(&w.pages, 1, NULL);
	connections_of(&w, 1)->placed++;
	turn_until(&w, score_of(&w, 1)->flags & PINTLE_SCORE_FAILED);
	turn_until(&w, !rests(&w, 1));
	assert_true(score_of(&w, 1)->flags & PINTLE_SCORE_FAILED);
	world_end(&w);
}

/* libuv keeps a pipe of its own from the first loop on. */
static int setup(void **state)
{
	uv_loop_t loop;

	assert_int_equal(uv_loop_init(&loop), 0);
	uv_loop_close(&loop);
	return make_cgroup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_a_page_becomes_a_score),
		steer_test(test_what_changes_nothing_but_a_flag),
		steer_test(test_a_value_that_none_can_be),
		steer_test(test_over_a_threshold),
		steer_test(test_gpus),
		steer_test(test_who_stays_and_who_goes),
		steer_test(test_rounds),
		steer_test(test_a_configuration_that_fails),
		steer_test(test_a_server_is_asked_where_its_page_is_elsewhere),
		steer_test(test_a_server_with_its_own_page_is_not_asked),
		steer_test(test_a_server_that_stands_still_is_asked),
		steer_test(test_a_server_that_takes_connections_and_no_more),
		steer_test(test_another_configuration_while_it_is_asked),
		steer_test(test_no_listener_is_looked_for_elsewhere),
		steer_test(test_when_to_look_for_listeners),
		steer_test(test_both_addresses_of_a_pod),
		steer_test(test_addresses_of_two_pods),
		steer_test(test_own_names_that_come_later),
		steer_test(test_a_pool_that_nobody_uses),
	};

	return cmocka_run_group_tests(tests, setup, remove_cgroup);
}
