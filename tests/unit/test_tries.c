// SPDX-License-Identifier: Apache-2.0
/* When a connection may try an endpoint that stands still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/policy/tries.h"

#define MS    NSEC_PER_MSEC
#define SEC   NSEC_PER_SEC
#define PASS  (50 * MS)
#define START (1000 * SEC)
#define MOST  (300 * SEC)

/* An endpoint that stands still, and its clients, one after the other without a pause. */
struct ward {
	struct tries t;
	uint64_t now, offered;
	uint64_t patience; /* a client leaves after so long */
	uint64_t came;     /* when the one that tries came; 0: none does */
	uint32_t tries;    /* so many were taken */
	bool told;
};

static struct ward ward(uint64_t patience)
{
	return (struct ward){.now = START, .patience = patience};
}

/* Lets the time pass; returns how long it took until the next try was taken, or -1. */
static int64_t next_try(struct ward *w, uint64_t most)
{
	uint64_t began = w->now;

	for (; w->now < began + most; w->now += PASS) {
		if (w->came && w->now - w->came >= w->patience)
			w->came = 0;
		w->offered = tries_look(&w->t, w->offered, w->came != 0, w->told, MOST, w->now);
		if (!w->offered || w->now < w->offered)
			continue;
		w->offered = 0;
		w->came = w->now;
		w->tries++;
		w->now += PASS;
		return (int64_t)(w->came - began);
	}
	return -1;
}

static void assert_about(int64_t ns, uint64_t seconds)
{
	assert_in_range(ns / (int64_t)MS, seconds * 1000 - 100, seconds * 1000 + 200);
}

/* Clients wait for 30 s: none comes while one is there, and then for 4, 8, ... s. */
static void test_one_at_a_time(void **state)
{
	struct ward w = ward(30 * SEC);

	(void)state;
	assert_about(next_try(&w, MOST), 2);
	assert_about(next_try(&w, MOST), 30 + 4);
	assert_about(next_try(&w, MOST), 30 + 8);
	assert_about(next_try(&w, MOST), 30 + 16);
}

/* Clients leave soon: their try has ended after a second. The wait is bounded. */
static void test_waits_double_to_a_bound(void **state)
{
	struct ward w = ward(200 * MS);

	(void)state;
	assert_about(next_try(&w, MOST), 2);
	for (uint64_t wait = 4; wait < 300; wait *= 2)
		assert_about(next_try(&w, 2 * MOST), 1 + wait);
	for (int i = 0; i < 3; i++)
		assert_about(next_try(&w, 2 * MOST), 1 + 300);
}

/* Spoofed segments take one try after the other: no connection comes of them. */
static void test_spoofed_segments(void **state)
{
	struct ward w = ward(0);

	(void)state;
	assert_about(next_try(&w, MOST), 2);
	for (int i = 0; i < 20; i++)
		assert_about(next_try(&w, MOST), 1 + 2);
}

/* A client that sends half a request waits for an hour. It holds up others for a minute. */
static void test_one_that_waits_for_ever(void **state)
{
	struct ward w = ward(3600 * SEC);

	(void)state;
	assert_about(next_try(&w, MOST), 2);
	assert_about(next_try(&w, MOST), 60 + 4);
	assert_about(next_try(&w, MOST), 60 + 8);
}

/* What else tells spares the clients; in case that it does not, one is asked once in a while. */
static void test_something_else_tells(void **state)
{
	struct ward w = ward(SEC);

	(void)state;
	w.told = true;
	assert_about(next_try(&w, 2 * MOST), 300);
	assert_about(next_try(&w, 2 * MOST), 1 + 300);
	/* It tells no more: the wait has doubled twice. */
	w.told = false;
	assert_about(next_try(&w, MOST), 1 + 8);
}

/* Many clients come: each try is taken once. */
static void test_a_crowd(void **state)
{
	struct ward w = ward(10 * SEC);

	(void)state;
	while (next_try(&w, 30 * SEC) >= 0)
		;
	/* At 2, 12 + 4, 26 + 8, 44 + 16 s; the next would come after 32 s. */
	assert_int_equal(w.tries, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_waits_double_to_a_bound),
		cmocka_unit_test(test_spoofed_segments),
		cmocka_unit_test(test_one_that_waits_for_ever),
		cmocka_unit_test(test_something_else_tells),
		cmocka_unit_test(test_a_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
