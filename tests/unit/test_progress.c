// SPDX-License-Identifier: Apache-2.0
/* Whether a server serves: what passes and pages say, and the verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/policy/progress.h"

#define MS     NSEC_PER_MSEC
#define PASS   (50 * MS)
#define PERIOD (200 * MS) /* of scrapes */

/* A server as the passes and pages see it, and the clock. */
struct patient {
	struct progress p;
	struct pintle_work work;
	struct signals page;
	uint64_t now, paged;
	bool answers; /* a byte comes out between any two passes */
	bool reads;
	bool counts;    /* the page's counters move */
	bool pages;     /* the page is answered */
	bool blind;     /* the page has no counters */
	bool overtaken; /* requests that came after those that wait were answered */
};

static struct patient healthy(void)
{
	struct patient x = {.now = 1000 * NSEC_PER_SEC, .pages = true};

	return x;
}

/* Lets passes and pages happen for a while; returns when the verdict first became `wanted` after
 * the beginning, in milliseconds, or -1. */
static int until(struct patient *x, uint64_t ms, uint32_t wanted)
{
	uint64_t began = x->now;
	int found = -1;

	for (; x->now < began + ms * MS; x->now += PASS) {
		if (x->pages && x->now - x->paged >= PERIOD) {
			x->paged = x->now;
			x->page.present[SIGNAL_OUTPUT_TOKENS] = !x->blind;
			x->page.present[SIGNAL_RUNNING] = true;
			x->page.value[SIGNAL_OUTPUT_TOKENS] += x->counts && !x->blind;
			progress_page(&x->p, &x->page, x->now);
		}
		if (x->answers)
			x->work.out_ns = x->now;
		if (x->reads)
			x->work.read_ns = x->now;
		x->work.asked_ns = !x->overtaken && x->work.waiting > x->work.headed;
		progress_pass(&x->p, &x->work, x->now);
		if (found < 0 && x->p.verdict == wanted)
			found = (int)((x->now - began) / MS);
	}
	return found;
}

#define NEVER(x, ms)                                                                               \
	do {                                                                                       \
		assert_int_equal(until(x, ms, PINTLE_STANDING_STOPPED), -1);                       \
		assert_int_equal((x)->p.verdict, PINTLE_STANDING_NOT);                             \
	} while (0)

static void test_idle(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 60000);
	x.work.idle = 100;
	NEVER(&x, 60000);
}

static void test_stopped(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.backlog = 1;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
	/* What it does not read makes it no less stopped. */
	assert_int_equal(until(&x, 60000, PINTLE_STANDING_STALLED), -1);
	x.reads = true;
	x.work.backlog = 0;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), 0);
	x.reads = false;
	/* A body that is read late, as one client may have any number of. */
	x.work.unread = 1 << 30;
	NEVER(&x, 60000);
	x.work.untouched = 1;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
	/* One connection is not read, and others are answered. */
	x.answers = true;
	x.work.answering = 1;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), 0);
}

/* The engine stands still, and then the front end for a moment, too: a busy machine. */
static void test_stalled_before_it_stopped(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.reads = true;
	x.work.waiting = 1;
	assert_in_range(until(&x, 3000, PINTLE_STANDING_STALLED), 2000, 2050);
	x.reads = false;
	x.work.backlog = 1;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
	x.reads = true;
	x.work.backlog = 0;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_STALLED), 0);
	assert_int_equal(x.p.verdict, PINTLE_STANDING_STALLED);
	/* Stopped again, and then both go on: it answers, or the page's counters move. */
	for (int i = 0; i < 2; i++) {
		x.reads = x.answers = x.counts = false;
		x.work.backlog = 1;
		assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
		x.answers = !i;
		x.counts = i;
		until(&x, 500, PINTLE_STANDING_NOT);
		x.reads = true;
		x.work.backlog = 0;
		assert_int_equal(until(&x, 200, PINTLE_STANDING_STALLED), -1);
		x.answers = x.counts = false;
		until(&x, 5000, PINTLE_STANDING_STALLED);
		assert_int_equal(x.p.verdict, PINTLE_STANDING_STALLED);
	}
}

/* The machine is paused when a request has just arrived: the server has had no time to read it. */
static void test_machine_stood_still(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 1000);
	x.work.untouched = 1;
	NEVER(&x, 50);
	x.now += 5000 * MS;
	NEVER(&x, 50);
	x.work.untouched = 0;
	x.reads = true;
	NEVER(&x, 1000);
	/* So many connections that a pass comes seldom: a server that has stopped is seen all the
	 * same. */
	x.work.untouched = 1;
	x.reads = false;
	for (int i = 0; i < 2; i++, x.now += 300 * MS)
		NEVER(&x, 1);
	assert_in_range(until(&x, 1, PINTLE_STANDING_STOPPED), 0, 1);
}

/* The engine stands still behind a front end that reads, and sends heads. */
static void test_stalled(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.answering = 2;
	x.answers = x.counts = true;
	NEVER(&x, 20000);
	x.answers = x.counts = false;
	x.work.waiting = 1;
	assert_in_range(until(&x, 4000, PINTLE_STANDING_STALLED), 1900, 2400);
	/* Its clients give up: it is not known to serve again. */
	x.work.waiting = x.work.answering = 0;
	assert_int_equal(until(&x, 10000, PINTLE_STANDING_NOT), -1);
	x.answers = true;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), 0);
}

/* A client sends half a request, and waits. It is a reason to try the server once; after an answer
 * to anybody it is none, nor is it a silence that the server is used to. */
static void test_half_a_request(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.waiting = 1;
	assert_in_range(until(&x, 4000, PINTLE_STANDING_STALLED), 2000, 2100);
	x.overtaken = x.answers = true;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), 0);
	x.answers = false;
	NEVER(&x, 600000);
	x.answers = true;
	NEVER(&x, 100);
	assert_int_equal(progress_limit(&x.p) / MS, 2000);
	/* The engine stands still: the next request says so. */
	x.answers = x.overtaken = false;
	x.work.waiting = 2;
	assert_in_range(until(&x, 4000, PINTLE_STANDING_STALLED), 2000, 2100);
}

static void test_stalled_while_idle(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.waiting = x.work.headed = 3;
	x.work.oldest_ns = x.now;
	assert_in_range(until(&x, 4000, PINTLE_STANDING_STALLED), 2000, 2100);
	x.counts = true;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_NOT), 0, 200);
}

/* So many requests came just now, and only the heads of their answers went out. */
static void heads(struct patient *x, uint32_t n, uint64_t bytes)
{
	x->work.waiting = x->work.headed = n;
	x->work.waiting_bytes = bytes;
	x->work.oldest_ns = x->now;
}

/* The engine stood still before the only client's request came, and the front end sent a head. */
static void test_a_lone_head(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 5000);
	heads(&x, 1, 1000);
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 12000, 12100);
	assert_int_equal(x.p.since_ns, x.work.oldest_ns);
	/* The client gives up, and another tries it: still nothing. */
	heads(&x, 0, 0);
	assert_int_equal(until(&x, 10000, PINTLE_STANDING_NOT), -1);
	heads(&x, 2, 2000);
	assert_int_equal(until(&x, 10000, PINTLE_STANDING_NOT), -1);
	x.work.headed = x.work.waiting = 1;
	x.work.answering = 1;
	x.answers = true;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), 0);
}

/* A longer prompt takes longer: 60 s for 30 kB are no alarm, even if no counter moves. Nor is any
 * prompt given more time than a pass remembers its head. */
static void test_a_lone_head_of_a_long_prompt(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 5000);
	heads(&x, 1, 30000);
	NEVER(&x, 60000);
	x.answers = true;
	NEVER(&x, 1000);
	x.answers = false;
	heads(&x, 1, 1ULL << 60);
	assert_in_range(until(&x, 119000, PINTLE_STANDING_STALLED), 110000, 110100);
}

/* A page of vLLM, which shows the cache in use. */
static struct patient of_vllm(void)
{
	struct patient x = healthy();

	x.page.present[SIGNAL_KV_CACHE] = x.page.present[SIGNAL_WAITING] = true;
	return x;
}

/* Where the page shows the cache in use, one or two short prompts are given no more time than
 * three. */
static void test_a_lone_head_of_vllm(void **state)
{
	struct patient x = of_vllm();

	(void)state;
	NEVER(&x, 5000);
	heads(&x, 1, 400);
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 2000, 2100);
	assert_int_equal(x.p.since_ns, x.work.oldest_ns);
	x = of_vllm();
	NEVER(&x, 5000);
	heads(&x, 1, 25000);
	assert_in_range(until(&x, 60000, PINTLE_STANDING_STALLED), 50000, 50100);
	/* No page was read since: the tokens of a whole answer may be on the next. */
	x = of_vllm();
	NEVER(&x, 5000);
	x.pages = false;
	heads(&x, 1, 400);
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 10800, 10900);
	/* Its tokens were counted. */
	x = of_vllm();
	NEVER(&x, 5000);
	heads(&x, 1, 400);
	x.counts = true;
	NEVER(&x, 300);
	x.counts = false;
	NEVER(&x, 120000);
}

/* The core stood still just after a token was counted: a head as old as that may be a whole answer.
 * A younger head is none, or the page says that the core has work. */
static void test_a_lone_head_beside_a_token(void **state)
{
	struct patient x = of_vllm();

	(void)state;
	x.counts = true;
	NEVER(&x, 5000);
	heads(&x, 1, 400);
	NEVER(&x, 200);
	x.counts = false;
	NEVER(&x, 10000);
	x.work.waiting = x.work.headed = 2;
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 2000, 2100);

	/* The younger one has left: the other may still be a whole answer. */
	x.p.verdict = PINTLE_STANDING_NOT;
	x.work.waiting = x.work.headed = 1;
	NEVER(&x, 20000);
	x.page.value[SIGNAL_RUNNING] = 1;
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 0, 300);

	/* An engine that counts the tokens of an answer at its end has work, and counts none. */
	x = healthy();
	x.page.value[SIGNAL_RUNNING] = 1;
	x.counts = true;
	NEVER(&x, 5000);
	heads(&x, 1, 400);
	NEVER(&x, 200);
	x.counts = false;
	NEVER(&x, 120000);
}

/* While the prompt is computed, a counter moves; then the engine stands still. */
static void test_a_lone_head_after_steps(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 5000);
	heads(&x, 1, 1000);
	x.page.present[SIGNAL_KV_CACHE] = true;
	for (int i = 0; i < 20; i++) {
		x.page.value[SIGNAL_KV_CACHE] += 0.01;
		NEVER(&x, 1000);
	}
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 900, 2100);
}

/* A whole short answer on a connection that is kept alive: its tokens were counted. */
static void test_a_short_answer(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 5000);
	heads(&x, 2, 600);
	x.counts = true;
	NEVER(&x, 300);
	x.counts = false;
	NEVER(&x, 120000);
	/* The page may count them before a pass sees the request. */
	x.counts = true;
	NEVER(&x, 300);
	x.counts = false;
	heads(&x, 1, 600);
	NEVER(&x, 120000);
	/* It is a handshake of TLS. */
	x.p.sealed = true;
	heads(&x, 2, 1200);
	NEVER(&x, 120000);
	x.p.sealed = false;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STALLED), 0, 100);
	/* It came before the first page was read. */
	x.p = (struct progress){0};
	NEVER(&x, 120000);
	/* Where no page counts tokens, nobody can tell. */
	x.blind = true;
	NEVER(&x, 1000);
	heads(&x, 1, 600);
	NEVER(&x, 120000);
}

/* Three clients have made their handshakes, and ask nothing yet. */
static void test_handshakes(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.p.sealed = true;
	NEVER(&x, 5000);
	x.work.waiting = x.work.headed = 3;
	NEVER(&x, 120000);
	/* The engine has requests: these are heads. */
	x.page.value[SIGNAL_RUNNING] = 3;
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 1900, 2300);
	/* Without TLS they are heads in any case. */
	x = healthy();
	NEVER(&x, 5000);
	x.work.waiting = x.work.headed = 3;
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 1900, 2300);
}

/* A request that waits beside an old head is judged by its own time. */
static void test_a_request_beside_a_head(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 5000);
	heads(&x, 1, 4000);
	NEVER(&x, 15000);
	x.work.waiting = 2;
	NEVER(&x, 1900);
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STALLED), 100, 200);
}

/* A long prompt is computed: nothing comes out, but a counter moves. */
static void test_prefill(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.waiting = 1;
	x.counts = true;
	NEVER(&x, 60000);
}

/* Nothing moves on the page while a prompt is computed: the second such silence is no surprise. */
static void test_longest_silence(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.waiting = 1;
	NEVER(&x, 1900);
	x.answers = true;
	NEVER(&x, 100);
	x.answers = false;
	assert_in_range(progress_limit(&x.p) / MS, 3600, 4000);
	NEVER(&x, 3500);
	x.answers = true;
	NEVER(&x, 100);
	assert_in_range(progress_limit(&x.p) / MS, 6800, 7200);
	/* It is forgotten after an hour. */
	x.work.waiting = 0;
	x.answers = false;
	NEVER(&x, 70 * 60 * 1000);
	assert_int_equal(progress_limit(&x.p) / MS, 2000);
}

static void test_no_counters(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.blind = true;
	x.work.waiting = 1;
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 10000, 10300);
}

static void test_page_not_answered(void **state)
{
	struct patient x = healthy();

	(void)state;
	NEVER(&x, 1000);
	x.counts = true;
	x.pages = false;
	x.work.waiting = 1;
	assert_in_range(until(&x, 20000, PINTLE_STANDING_STALLED), 1900, 2300);
}

/* Those who waited have left: what stood still does so until it is seen to read or to accept. */
static void test_stopped_while_nobody_waits(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.pages = false;
	x.work.untouched = 1;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
	x.work.untouched = 0;
	assert_int_equal(until(&x, 60000, PINTLE_STANDING_NOT), -1);
	assert_false(progress_will_tell(&x.p, &x.work, x.now));
	x.reads = true;
	assert_int_equal(until(&x, 100, PINTLE_STANDING_NOT), 0);
	/* A connection that was accepted and has ended between two passes. */
	x.reads = false;
	x.work.backlog = 3;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
	assert_true(progress_will_tell(&x.p, &x.work, x.now));
	x.work.backlog = 0;
	assert_int_equal(until(&x, 100, PINTLE_STANDING_NOT), 0);
	/* Its own page is read by the process that answers it. */
	x.work.untouched = 1;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_STOPPED), 500, 550);
	x.work.untouched = 0;
	x.pages = true;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), -1);
	x.p.own_page = true;
	assert_in_range(until(&x, 1000, PINTLE_STANDING_NOT), 0, 250);
}

/* A server whose thread that accepts is gone, or that has no descriptor left: what is open is
 * served, and nobody new is. */
static void test_accepts_no_more(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.reads = x.answers = true;
	x.work.backlog = 1;
	/* The first of those who wait is another one each time. */
	for (int i = 0; i < 1000; i++) {
		x.work.accepts_ns = x.now;
		NEVER(&x, 50);
	}
	assert_in_range(until(&x, 3000, PINTLE_STANDING_STOPPED), 1900, 2100);
	assert_int_equal(until(&x, 3000, PINTLE_STANDING_NOT), -1);
	x.work.accepts_ns = x.now;
	assert_int_equal(until(&x, 1000, PINTLE_STANDING_NOT), 0);
}

/* A server that serves one connection after the other answers one for 10 s: it reads nothing
 * meanwhile, and others wait. */
static void test_one_after_the_other(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.pages = false;
	x.answers = true;
	x.work.backlog = 5;
	x.work.accepts_ns = x.now;
	NEVER(&x, 10000);
}

static void test_probes(void **state)
{
	struct patient x = healthy();
	uint64_t began;

	(void)state;
	x.work.waiting = 1;
	assert_in_range(until(&x, 3000, PINTLE_STANDING_STALLED), 2000, 2050);
	assert_false(progress_will_tell(&x.p, &x.work, x.now));
	progress_probe(&x.p, false, x.now, x.now + 5000 * MS);
	assert_int_equal(until(&x, 4900, PINTLE_STANDING_NOT), -1);
	assert_true(progress_will_tell(&x.p, &x.work, x.now));
	began = x.now;
	progress_probe(&x.p, true, began, x.now + 5000 * MS);
	assert_int_equal(until(&x, 100, PINTLE_STANDING_NOT), 0);
	/* It goes on to answer nothing: that is a new verdict, which an old probe does not end. */
	assert_in_range(until(&x, 3000, PINTLE_STANDING_STALLED), 1900, 2100);
	progress_probe(&x.p, true, began, 0);
	assert_int_equal(until(&x, 5000, PINTLE_STANDING_NOT), -1);
	assert_false(progress_will_tell(&x.p, &x.work, x.now));
}

/* The page of an engine that stands still counts its requests: it will tell when they go on. One
 * that has none tells nothing. */
static void test_the_page_will_tell(void **state)
{
	struct patient x = healthy();

	(void)state;
	x.work.waiting = 1;
	x.page.value[SIGNAL_RUNNING] = 1;
	assert_in_range(until(&x, 3000, PINTLE_STANDING_STALLED), 2000, 2050);
	assert_true(progress_will_tell(&x.p, &x.work, x.now));
	x.page.value[SIGNAL_RUNNING] = 0;
	until(&x, 300, PINTLE_STANDING_NOT);
	assert_false(progress_will_tell(&x.p, &x.work, x.now));
	x.page.value[SIGNAL_RUNNING] = 1;
	until(&x, 300, PINTLE_STANDING_NOT);
	assert_true(progress_will_tell(&x.p, &x.work, x.now));
	x.pages = false;
	until(&x, 3000, PINTLE_STANDING_NOT);
	assert_false(progress_will_tell(&x.p, &x.work, x.now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_stalled_before_it_stopped),
		cmocka_unit_test(test_stalled),
		cmocka_unit_test(test_half_a_request),
		cmocka_unit_test(test_stalled_while_idle),
		cmocka_unit_test(test_prefill),
		cmocka_unit_test(test_longest_silence),
		cmocka_unit_test(test_no_counters),
		cmocka_unit_test(test_page_not_answered),
		cmocka_unit_test(test_stopped_while_nobody_waits),
		cmocka_unit_test(test_accepts_no_more),
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_probes),
		cmocka_unit_test(test_the_page_will_tell),
		cmocka_unit_test(test_machine_stood_still),
		cmocka_unit_test(test_a_lone_head),
		cmocka_unit_test(test_a_lone_head_of_a_long_prompt),
		cmocka_unit_test(test_a_lone_head_of_vllm),
		cmocka_unit_test(test_a_lone_head_beside_a_token),
		cmocka_unit_test(test_a_lone_head_after_steps),
		cmocka_unit_test(test_a_short_answer),
		cmocka_unit_test(test_handshakes),
		cmocka_unit_test(test_a_request_beside_a_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
