// SPDX-License-Identifier: Apache-2.0
/* Whether a server's answers are errors: by their shape, by its page, by the other members'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/policy/failing.h"

#define MS    NSEC_PER_MSEC
#define START (1000 * NSEC_PER_SEC)

/* A server that is looked at every 200 ms. */
struct server {
	struct failing f;
	struct pintle_answers a;
	struct failing_page page;
	uint64_t now;
};

static struct server server(double ok, double tokens)
{
	struct server s = {.now = START};

	s.page.outcomes = (struct outcomes){.told = ok > 0, .ok = ok, .made = ok};
	s.page.counts_tokens = tokens >= 0;
	s.page.tokens = tokens > 0 ? tokens : 0;
	return s;
}

static void look(struct server *s, unsigned int times)
{
	while (times--) {
		s->now += 200 * MS;
		failing_see(&s->f, &s->a, &s->page, s->now);
	}
}

/* Looks for a while, then for two seconds in which so much comes each time, then for a while. */
struct traffic {
	unsigned int brief, large, slow, none;
	double ok, refused, failed, tokens, promised, made, prompt;
};

static void serve(struct server *s, const struct traffic *t)
{
	look(s, 5);
	for (int i = 0; i < 10; i++) {
		s->a.brief += t->brief;
		s->a.large += t->large;
		s->a.slow += t->slow;
		s->a.none += t->none;
		s->page.outcomes.ok += t->ok;
		s->page.outcomes.refused += t->refused;
		s->page.outcomes.failed += t->failed;
		s->page.outcomes.told |= t->ok || t->refused || t->failed;
		s->page.outcomes.promised += t->promised;
		s->page.outcomes.made += t->made;
		s->page.tokens += t->tokens;
		s->page.prompt_tokens += t->prompt;
		look(s, 1);
	}
	look(s, 4);
}

static enum pintle_failing judge(const struct server *s, const struct failing_witnesses *w)
{
	struct failing_shown shown;

	return failing_shows(&s->f, FAILING_LEAST, s->now, &shown) ? failing_judge(&shown, w) : 0;
}

static const struct failing_witnesses nobody,
	one = {.clients = 1}, gateway = {.clients = 1, .alone_believed = true},
	several = {.clients = 2},
	gateway_streamed = {.clients = 1, .alone_believed = true, .answers = 40, .large = 38},
	crowd = {.answered = FAILING_MANY},
	watching = {.clients = 2, .others_served = true, .answers = 40, .large = 38},
	known = {.clients = 2, .others_served = true, .known = true},
	many = {.clients = FAILING_MANY, .others_served = true},
	streamed = {.clients = 2, .answers = 40, .large = 38},
	mixed = {.clients = 2, .answers = 40, .large = 21};

static const struct {
	const char *what;
	double ok, tokens; /* what the page counted before; tokens -1: it counts none */
	struct traffic t;
	const struct failing_witnesses *w;
	enum pintle_failing want;
} cases[] = {
	{"errors at once, as the page counts them",
	 9,
	 10,
	 {.brief = 2, .failed = 2},
	 &several,
	 PINTLE_FAILING_COUNTERS},
	{"the same, of one client who may be bad", 9, 10, {.brief = 2, .failed = 2}, &one, 0},
	{"the same, of a gateway",
	 9,
	 10,
	 {.brief = 2, .failed = 2},
	 &gateway,
	 PINTLE_FAILING_COUNTERS},
	{"the same, of nobody here", 9, 10, {.brief = 2, .failed = 2}, &nobody, 0},
	{"errors of others beside good answers",
	 9,
	 10,
	 {.brief = 2, .ok = 2, .failed = 2},
	 &several,
	 0},
	{"bad input of some, among many", 9, 10, {.brief = 2, .ok = 20, .failed = 2}, &several, 0},
	{"errors after a while",
	 9,
	 10,
	 {.slow = 2, .failed = 2},
	 &several,
	 PINTLE_FAILING_COUNTERS},
	{"a page that counts nothing for it",
	 9,
	 10,
	 {.brief = 2},
	 &several,
	 PINTLE_FAILING_COUNTERS},
	{"the same, of a gateway: no word of errors", 9, 10, {.brief = 2}, &gateway, 0},
	{"the same, of a gateway that others stream to",
	 9,
	 10,
	 {.brief = 2},
	 &gateway_streamed,
	 PINTLE_FAILING_COUNTERS},
	{"a gateway whose prompts are worked on",
	 9,
	 10,
	 {.brief = 2, .prompt = 90},
	 &gateway_streamed,
	 0},
	{"large answers, of which a page counts nothing that may be a copy",
	 0,
	 10,
	 {.large = 2},
	 &crowd,
	 0},
	{"large errors, as the page counts them",
	 9,
	 10,
	 {.large = 2, .failed = 2},
	 &several,
	 PINTLE_FAILING_COUNTERS},
	{"some large errors among large answers",
	 9,
	 10,
	 {.large = 4, .ok = 2, .failed = 2},
	 &several,
	 0},
	{"streams that begin well, and of which the engine does none",
	 9,
	 10,
	 {.brief = 2, .ok = 2, .promised = 2},
	 &several,
	 PINTLE_FAILING_COUNTERS},
	{"streams of which the engine does some",
	 9,
	 10,
	 {.brief = 2, .ok = 2, .promised = 2, .made = 1},
	 &several,
	 0},
	{"the same, of two that watch it, while others are streamed to",
	 9,
	 10,
	 {.brief = 2},
	 &watching,
	 0},
	{"no counter at all, of the same two", 0, -1, {.brief = 2}, &watching, 0},
	{"no answer at all, for the same two",
	 0,
	 -1,
	 {.none = 2},
	 &watching,
	 PINTLE_FAILING_CLIENTS},
	{"errors that the page counts, of the same two",
	 9,
	 10,
	 {.brief = 2, .failed = 2},
	 &watching,
	 PINTLE_FAILING_COUNTERS},
	{"a page that counts nothing, for a client that others answer well",
	 9,
	 10,
	 {.brief = 2},
	 &known,
	 PINTLE_FAILING_COUNTERS},
	{"the same, for many", 9, 10, {.brief = 2}, &many, PINTLE_FAILING_COUNTERS},
	{"no status, but tokens that stand still",
	 0,
	 10,
	 {.brief = 2},
	 &several,
	 PINTLE_FAILING_COUNTERS},
	{"tokens that were never counted", 0, 0, {.brief = 2}, &several, 0},
	{"no counters at all", 0, -1, {.brief = 2}, &several, 0},
	{"no counters, where others stream",
	 0,
	 -1,
	 {.brief = 2},
	 &streamed,
	 PINTLE_FAILING_CLIENTS},
	{"no counters, where others are often brief", 0, -1, {.brief = 1}, &mixed, 0},
	{"one token each", 9, 10, {.brief = 2, .ok = 2, .tokens = 2}, &streamed, 0},
	{"one token each, no status", 0, 10, {.brief = 2, .tokens = 2}, &streamed, 0},
	{"refused: 400, 401, 404, 429", 9, 10, {.brief = 2, .refused = 2}, &streamed, 0},
	{"good answers", 9, 10, {.large = 2, .ok = 2, .tokens = 900}, &several, 0},
	{"no answers", 0, -1, {.none = 2}, &several, PINTLE_FAILING_CLIENTS},
	{"no answers for one", 0, -1, {.none = 2}, &gateway, 0},
	{"too little to judge", 9, 10, {0}, &several, 0},
};

static void test_judge(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct server s = server(cases[i].ok, cases[i].tokens);
		enum pintle_failing got;

		serve(&s, &cases[i].t);
		got = judge(&s, cases[i].w);
		if (got != cases[i].want)
			fail_msg("%s: %d instead of %d", cases[i].what, got, cases[i].want);
	}
}

/* Large answers, or late ones, of which the page counts nothing, and is no copy any more. */
static void test_still(void **state)
{
	static const struct traffic large = {.large = 2}, slow = {.slow = 2},
				    prompts = {.large = 2, .prompt = 90};
	static const struct {
		const struct traffic *t;
		const struct failing_witnesses *w;
		enum pintle_failing want;
	} rows[] = {
		{&large, &crowd, PINTLE_FAILING_COUNTERS},
		{&slow, &crowd, PINTLE_FAILING_COUNTERS},
		{&large, &several, 0},
		{&prompts, &crowd, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct server s = server(0, 10);

		look(&s, 5 * FAILING_COPY_NS / NSEC_PER_SEC);
		serve(&s, rows[i].t);
		assert_int_equal(judge(&s, rows[i].w), rows[i].want);
	}
}

/* The kernel notes the end of a kept connection later than the page counts its request. */
static void test_noted_late(void **state)
{
	struct server s = server(9, 10);

	(void)state;
	look(&s, 5);
	s.page.outcomes.ok += 10;
	s.page.tokens += 10;
	look(&s, 2);
	s.a.brief += 10;
	look(&s, 6);
	assert_int_equal(judge(&s, &several), 0);
}

/* A page may count a request up to FAILING_LAG_NS after its client has the answer. */
static void test_counted_late(void **state)
{
	struct server s = server(9, 10);

	(void)state;
	look(&s, 5);
	s.a.brief += 10;
	look(&s, 2);
	assert_int_equal(judge(&s, &several), 0);
	s.page.outcomes.ok += 10;
	look(&s, 6);
	assert_int_equal(judge(&s, &several), 0);
}

static void test_old_answers(void **state)
{
	struct server s = server(9, 10);

	(void)state;
	look(&s, 5);
	s.a.brief += 10;
	look(&s, 6);
	assert_int_equal(judge(&s, &several), PINTLE_FAILING_COUNTERS);
	s.now += FAILING_WINDOW_NS + 1;
	assert_int_equal(judge(&s, &several), 0);
}

/* A server that was started anew counts from 0: what was before is forgotten. */
static void test_restart(void **state)
{
	struct server s = server(9, 10);

	(void)state;
	look(&s, 5);
	s.a.brief += 10;
	look(&s, 1);
	s.page.outcomes.ok = s.page.tokens = 0;
	look(&s, 6);
	assert_int_equal(judge(&s, &several), 0);
}

static void test_serves(void **state)
{
	struct server s = server(9, 10);
	struct failing_page before;

	(void)state;
	look(&s, 5);
	before = s.page;
	s.page.outcomes.ok += 4;
	look(&s, 1);
	assert_false(failing_serves(&s.f, &before, 5));
	s.page.outcomes.ok += 1;
	s.page.outcomes.failed += 6;
	look(&s, 1);
	assert_false(failing_serves(&s.f, &before, 5));
	s.page.outcomes.ok += 1;
	look(&s, 1);
	assert_true(failing_serves(&s.f, &before, 5));
}

static void test_times(void **state)
{
	(void)state;
	assert_int_equal(failing_time_ns(10, 0, 300), 10);
	assert_int_equal(failing_time_ns(10, 3, 300), 80);
	assert_int_equal(failing_time_ns(10, 1000000000, 300), 300);
	assert_int_equal(failing_time_ns(0, 1000000000, 300), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge),       cmocka_unit_test(test_noted_late),
		cmocka_unit_test(test_still),       cmocka_unit_test(test_counted_late),
		cmocka_unit_test(test_old_answers), cmocka_unit_test(test_restart),
		cmocka_unit_test(test_serves),      cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
