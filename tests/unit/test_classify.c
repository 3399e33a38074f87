// SPDX-License-Identifier: Apache-2.0
#include "support_random.h"

#include <math.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/classify.h"

#define MS NSEC_PER_MSEC

/* -- sessions that ask one thing at a time -------------------------------------------------- */

/* A client that sends one request after the other. */
struct asker {
	struct classify c;
	uint64_t now_ns;
	uint32_t changes; /* of the verdict */
};

static void ask(struct asker *a, uint64_t pause_ms, uint64_t answer_ms, uint64_t bytes)
{
	struct classify_request r = {.request_bytes = bytes};

	r.begun_ns = a->now_ns += pause_ms * MS;
	r.ended_ns = a->now_ns += answer_ms * MS;
	a->changes += classify_request(&a->c, &r);
}

static void assert_verdict(const struct classify *c, unsigned int class)
{
	char reason[CLASSIFY_REASON_SIZE];

	if (classify_verdict(c) != class)
		fail_msg("%s, not %s: %s (%.1f %.1f %.1f)", classify_name(classify_verdict(c)),
			 classify_name(class), classify_reason(c, reason), (double)c->score[0],
			 (double)c->score[1], (double)c->score[2]);
}

static void assert_reason(const struct classify *c, const char *reason)
{
	char buf[CLASSIFY_REASON_SIZE];

	assert_string_equal(classify_reason(c, buf), reason);
}

/* A person's pauses in ms: typing, a question at once, coffee. */
static const uint32_t human_ms[] = {9000, 21000, 6000, 35000, 12000, 2500, 64000, 15000};

/* Asks n times, each request longer by the answer and what was typed. */
static uint64_t chat(struct asker *a, unsigned int n, uint64_t bytes)
{
	for (unsigned int i = 0; i < n; i++) {
		ask(a, human_ms[i % ARRAY_SIZE(human_ms)], 3000, bytes);
		bytes += 1100;
	}
	return bytes;
}

static void test_chat(void **state)
{
	struct asker a = {};

	(void)state;
	chat(&a, 5, 2000);
	assert_verdict(&a.c, CLASSIFY_INTERACTIVE);
	chat(&a, 40, 8000);
	assert_verdict(&a.c, CLASSIFY_INTERACTIVE);
	assert_int_equal(a.changes, 1);
	assert_reason(&a.c,
		      "one at a time, 15.0 s between answer and next request, the median of 8");
}

/* A user asks twice within a second or two before reading on. */
static void test_chat_with_quick_follow_ups(void **state)
{
	static const uint32_t pauses_ms[] = {9000, 1500, 24000, 900, 14000, 30000, 1900};
	struct asker a = {};
	uint64_t bytes = 1500;

	(void)state;
	for (unsigned int i = 0; i < 50; i++) {
		ask(&a, pauses_ms[i % ARRAY_SIZE(pauses_ms)], 4000, bytes += 900);
		if (i + 1 >= CLASSIFY_LEAST)
			assert_verdict(&a.c, CLASSIFY_INTERACTIVE);
	}
}

/* A book of 2 MB is pasted as the n-th message, and stays in the conversation. */
static void test_pasted_book(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 12; n++) {
		struct asker a = {};
		uint64_t bytes = 2000;

		for (unsigned int i = 0; i < 24; i++) {
			if (i == n)
				bytes += 2 << 20;
			ask(&a, human_ms[(n + i) % ARRAY_SIZE(human_ms)], i == n ? 20000 : 4000,
			    bytes += 1100);
			if (i + 1 >= CLASSIFY_LEAST)
				assert_verdict(&a.c, CLASSIFY_INTERACTIVE);
		}
	}
}

/* A new book each time, and nothing but books. */
static void test_books_in_a_row(void **state)
{
	struct asker a = {};

	(void)state;
	for (unsigned int i = 0; i < 24; i++) {
		ask(&a, human_ms[i % ARRAY_SIZE(human_ms)], 9000, (random_at(i) % 5 + 1) << 20);
		if (i + 1 >= CLASSIFY_LEAST)
			assert_verdict(&a.c, CLASSIFY_INTERACTIVE);
	}
}

/* Requests that are all alike say nothing by their size. */
static void test_size_alone_says_nothing(void **state)
{
	static const uint64_t sizes[] = {1, 300, 40000, 1 << 20, 1ULL << 40};
	struct classify of[ARRAY_SIZE(sizes)];

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
		struct asker a = {};

		for (unsigned int i = 0; i < 7; i++)
			ask(&a, 900 + 100 * i, 2000, sizes[k]);
		of[k] = a.c;
		assert_memory_equal(of[k].score, of[0].score, sizeof(of[0].score));
	}
}

/* A tool takes 0.4 to 3 s; its result is added to the request. */
static void test_agent_with_tools(void **state)
{
	struct asker a = {};
	uint64_t bytes = 40000;

	(void)state;
	for (unsigned int i = 0; i < 40; i++) {
		ask(&a, 400 + random_at(i) % 2600, 1500, bytes += 800 + random_at(100 + i) % 6000);
		if (i + 1 >= CLASSIFY_LEAST)
			assert_verdict(&a.c, CLASSIFY_AGENT);
	}
	assert_int_equal(a.changes, 1);
}

/* Tools of 3 to 5 s, always about the same: after five requests a person would do that, too; after
 * twenty none would. */
static void test_slow_agent(void **state)
{
	struct asker a = {};
	uint64_t bytes = 60000;

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		ask(&a, 3000 + random_at(i) % 2000, 2000, bytes += 1500 + random_at(i) % 4000);
	assert_verdict(&a.c, CLASSIFY_AGENT);
}

/* One document after the other, without pause. */
static void test_sequential_batch(void **state)
{
	struct asker a = {};

	(void)state;
	for (unsigned int i = 0; i < 40; i++) {
		ask(&a, random_at(i) % 20, 2500, 3000 + random_at(50 + i) % 20000);
		if (i + 1 >= CLASSIFY_LEAST)
			assert_verdict(&a.c, CLASSIFY_BATCH);
	}
	assert_int_equal(a.changes, 1);
	assert_reason(&a.c, "one at a time, no pause between them");
}

/* -- sessions with many at once ------------------------------------------------------------- */

/* `width` workers, each of which begins its next request `pause_ms` after its last has ended.
 * Requests are given to the classifier in the order of their ends, `n` of them. */
static void work(struct asker *a, unsigned int width, uint64_t pause_ms, unsigned int n)
{
	struct classify_request running[64] = {};

	assert_true(width <= ARRAY_SIZE(running));
	for (unsigned int i = 0; i < width; i++)
		running[i] = (struct classify_request){
			.begun_ns = a->now_ns,
			.ended_ns = a->now_ns + (1000 + random_at(i) % 3000) * MS,
			.request_bytes = 4000 + random_at(i) % 9000,
			.beside = i,
		};
	while (n--) {
		struct classify_request *first = &running[0];
		uint32_t beside = 0;

		for (unsigned int i = 1; i < width; i++)
			if (running[i].ended_ns < first->ended_ns)
				first = &running[i];
		a->changes += classify_request(&a->c, first);
		a->now_ns = first->ended_ns;
		for (unsigned int i = 0; i < width; i++)
			beside += running[i].ended_ns > a->now_ns + pause_ms * MS;
		first->begun_ns = a->now_ns + pause_ms * MS;
		first->ended_ns = first->begun_ns + (1000 + random_at(n) % 3000) * MS;
		first->request_bytes = 4000 + random_at(n) % 9000;
		first->beside = beside;
	}
}

static void test_job_of_24_at_once(void **state)
{
	struct asker a = {};

	(void)state;
	work(&a, 24, 5, CLASSIFY_LEAST);
	assert_verdict(&a.c, CLASSIFY_BATCH);
	work(&a, 24, 5, 200);
	assert_verdict(&a.c, CLASSIFY_BATCH);
	assert_reason(&a.c, "24 at once, no pause between them");
	assert_int_equal(a.changes, 1);
}

static void test_jobs_of_any_width(void **state)
{
	(void)state;
	for (unsigned int width = 1; width <= 64; width++) {
		struct asker a = {};

		work(&a, width, 5, 12);
		assert_verdict(&a.c, CLASSIFY_BATCH);
	}
}

/* A person with a second window: now and then both wait for an answer. */
static void test_two_windows(void **state)
{
	struct classify c = {};
	uint64_t now_ns = 0;

	(void)state;
	for (unsigned int i = 0; i < 30; i++) {
		struct classify_request r = {
			.begun_ns = now_ns,
			.ended_ns = now_ns + 9000 * MS,
			.request_bytes = 2000 + random_at(i) % 6000,
			.beside = i % 3 == 1,
		};

		classify_request(&c, &r);
		/* The second window asks 4 s after the first, which waits for 9. */
		now_ns += i % 3 == 0 ? 4000 * MS : 9000 * MS + human_ms[i % 8] * MS;
		if (i + 1 >= CLASSIFY_LEAST)
			assert_verdict(&c, CLASSIFY_INTERACTIVE);
	}
}

/* More at once than the record counts. */
static void test_thousands_at_once(void **state)
{
	struct classify c = {};

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		classify_request(&c, &(struct classify_request){
					     .begun_ns = 0, .ended_ns = i, .beside = 4000});
	assert_verdict(&c, CLASSIFY_BATCH);
	assert_reason(&c, "at least 255 at once, no pause between them");
}

/* -- evidence, hysteresis, change ----------------------------------------------------------- */

/* 24 workers whose requests take 2.4 s: one ends, and another begins, every 100 ms. */
static void as_wide_batch(struct asker *a)
{
	struct classify_request r = {.request_bytes = 3000 + random_at(a->c.requests) % 20000};

	a->now_ns = MAX(a->now_ns + 100 * MS, 2400 * MS);
	r.begun_ns = a->now_ns - 2400 * MS;
	r.ended_ns = a->now_ns;
	r.beside = 23;
	a->changes += classify_request(&a->c, &r);
}

static void test_minimum_of_evidence(void **state)
{
	struct asker a = {};

	(void)state;
	assert_verdict(&a.c, CLASSIFY_UNKNOWN);
	assert_reason(&a.c, "0 requests, which say too little");
	for (unsigned int i = 1; i < CLASSIFY_LEAST; i++) {
		as_wide_batch(&a);
		assert_verdict(&a.c, CLASSIFY_UNKNOWN);
	}
	assert_reason(&a.c, "4 requests, which say too little");
	as_wide_batch(&a);
	assert_verdict(&a.c, CLASSIFY_BATCH);
}

/* What hardly speaks for an agent is taken for a person. */
static void test_weak_evidence_is_a_person(void **state)
{
	struct asker a = {};
	uint64_t bytes = 4000;

	(void)state;
	for (unsigned int i = 0; i < CLASSIFY_LEAST; i++)
		ask(&a, i == 4 ? 2500 : 5000, 2000, bytes += i == 4 ? 900 : 3000);
	assert_true(a.c.score[CLASSIFY_AGENT] > a.c.score[CLASSIFY_INTERACTIVE]);
	assert_true(a.c.score[CLASSIFY_AGENT] - a.c.score[CLASSIFY_INTERACTIVE] < CLASSIFY_FIRST);
	assert_verdict(&a.c, CLASSIFY_INTERACTIVE);
}

/* The requests until the verdict is `class`, at most 100. */
static unsigned int until(struct asker *a, unsigned int class, void (*more)(struct asker *a))
{
	unsigned int n = 0;

	while (classify_verdict(&a->c) != class && n++ < 100)
		more(a);
	return n;
}

static void as_person(struct asker *a)
{
	ask(a, human_ms[a->c.requests % ARRAY_SIZE(human_ms)], 3000, 5000);
}

static void as_agent(struct asker *a)
{
	ask(a, 700 + random_at(a->c.requests) % 600, 1500, a->c.request_bytes + 3000);
}

static void as_batch(struct asker *a)
{
	ask(a, 5, 2000, 3000 + random_at(a->c.requests) % 20000);
}

/* However long a session did one thing, ten requests of another change its class. */
static void test_change_of_behaviour(void **state)
{
	static void (*const as[])(struct asker * a) = {as_person, as_agent, as_batch,
						       as_wide_batch};
	static const unsigned int class[] = {CLASSIFY_INTERACTIVE, CLASSIFY_AGENT, CLASSIFY_BATCH,
					     CLASSIFY_BATCH};

	(void)state;
	for (size_t from = 0; from < ARRAY_SIZE(as); from++)
		for (size_t to = 0; to < ARRAY_SIZE(as); to++) {
			struct asker a = {};
			unsigned int n;

			for (int i = 0; i < 1000; i++)
				as[from](&a);
			assert_verdict(&a.c, class[from]);
			n = until(&a, class[to], as[to]);
			if (n > 10)
				fail_msg("from %zu to %zu: %u requests", from, to, n);
			/* One request does not. */
			if (class[from] != class[to])
				assert_true(n > 1);
		}
}

/* Pauses from before it had several at once are not told any more. */
static void test_reason_is_of_now(void **state)
{
	struct asker a = {};

	(void)state;
	for (int i = 0; i < 20; i++)
		as_person(&a);
	for (int i = 0; i < 20; i++)
		as_wide_batch(&a);
	assert_reason(&a.c, "24 at once, no pause between them");
	for (int i = 0; i < 20; i++)
		ask(&a, 800, 1500, a.c.request_bytes + 3000);
	assert_reason(&a.c,
		      "one at a time, 800 ms between answer and next request, the median of 8");
}

/* Half of the requests are a person's, half an agent's, by chance. The verdict changes less than
 * half as often as the best class. */
static void test_hysteresis(void **state)
{
	struct asker a = {};
	unsigned int best = CLASSIFY_UNKNOWN, best_changes = 0;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++) {
		unsigned int now = 0;

		if (random_at(i) % 2)
			as_person(&a);
		else
			as_agent(&a);
		for (unsigned int k = 1; k < CLASSIFY_CLASSES; k++)
			if (a.c.score[k] > a.c.score[now])
				now = k;
		best_changes += now != best;
		best = now;
	}
	print_message("%u changes of the verdict, %u of the best class\n", a.changes, best_changes);
	assert_true(best_changes > 100);
	assert_true(2 * a.changes < best_changes);
}

/* -- any values at all ---------------------------------------------------------------------- */

static void assert_sound(const struct classify *c)
{
	char reason[CLASSIFY_REASON_SIZE];
	bool top = false;

	for (int i = 0; i < CLASSIFY_CLASSES; i++) {
		assert_true(c->score[i] <= 0 && c->score[i] >= -CLASSIFY_FLOOR);
		top |= c->score[i] == 0;
	}
	assert_true(top);
	assert_true(classify_verdict(c) <= CLASSIFY_UNKNOWN);
	assert_true(c->pauses <= CLASSIFY_KEPT && c->next_pause < CLASSIFY_KEPT);
	assert_true(strlen(classify_reason(c, reason)) > 10);
}

static void test_hostile_values(void **state)
{
	static const uint64_t values[] = {0, 1, 1000, UINT32_MAX, 1ULL << 63, UINT64_MAX};
	struct classify c = {};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (size_t j = 0; j < ARRAY_SIZE(values); j++)
			for (size_t k = 0; k < ARRAY_SIZE(values); k++)
				for (size_t b = 0; b < ARRAY_SIZE(values); b++) {
					struct classify_request r = {
						.begun_ns = values[i],
						.ended_ns = values[j],
						.request_bytes = values[k],
						.beside = (uint32_t)values[b],
					};

					classify_request(&c, &r);
					assert_sound(&c);
				}
	/* And it still learns. */
	assert_true(until(&(struct asker){.c = c}, CLASSIFY_BATCH, as_wide_batch) <= 10);
}

/* An end before the beginning counts as no time at all: both give the same record. */
static void test_ended_before_it_began(void **state)
{
	struct classify a = {}, b = {};

	(void)state;
	for (unsigned int i = 1; i < 30; i++) {
		struct classify_request r = {.begun_ns = i * 5000 * MS, .request_bytes = 900};

		r.ended_ns = r.begun_ns - 3000 * MS;
		classify_request(&a, &r);
		r.ended_ns = r.begun_ns;
		classify_request(&b, &r);
	}
	assert_memory_equal(&a, &b, sizeof(a));
}

/* The count of requests ends, its places in the rings do not. */
static void test_count_ends(void **state)
{
	struct asker a = {.c.requests = UINT32_MAX - 3};

	(void)state;
	for (unsigned int i = 0; i < 40; i++) {
		uint32_t before = a.c.requests;

		as_batch(&a);
		assert_int_equal(a.c.requests % CLASSIFY_KEPT, (before + 1) % CLASSIFY_KEPT);
		assert_int_equal(a.c.requests % CLASSIFY_ENDS, (before + 1) % CLASSIFY_ENDS);
		assert_true(a.c.requests >= UINT32_MAX - CLASSIFY_KEPT);
		assert_sound(&a.c);
	}
	assert_verdict(&a.c, CLASSIFY_BATCH);
}

/* Random sequences of plausible and of arbitrary values; after each of them, whatever came before,
 * a bounded number of requests gives the verdict that they deserve. */
static void test_random_sequences(void **state)
{
	uint64_t n = 0;

	(void)state;
	for (int sequence = 0; sequence < 2000; sequence++) {
		struct asker a = {};
		bool wild = sequence % 2;

		for (int i = 0; i < 50; i++) {
			struct classify_request r = {
				.begun_ns = random_at(n) >> (wild ? 0 : 24),
				.ended_ns = random_at(n + 1) >> (wild ? 0 : 24),
				.request_bytes = random_at(n + 2) >> (random_at(n + 3) % 64),
				.beside = (uint32_t)random_at(n + 4) >> (random_at(n + 5) % 32),
			};

			n += 6;
			classify_request(&a.c, &r);
			assert_sound(&a.c);
		}
		assert_true(until(&a, CLASSIFY_BATCH, as_wide_batch) <= 10);
	}
}

/* -- the table ------------------------------------------------------------------------------ */

/* Every request shows one value of a feature: each class's column adds up to a thousand. A weight
 * of 0 would let one request decide. */
static void test_table(void **state)
{
	(void)state;
	for (size_t f = 0; f < classify_feature_count; f++) {
		const struct classify_feature *feature = &classify_features[f];
		unsigned int sum[CLASSIFY_CLASSES] = {};

		for (size_t i = 0; i < feature->count; i++) {
			if (i)
				assert_true(feature->rows[i].up_to > feature->rows[i - 1].up_to);
			for (int k = 0; k < CLASSIFY_CLASSES; k++) {
				assert_true(feature->rows[i].per_mille[k] > 0);
				sum[k] += feature->rows[i].per_mille[k];
			}
		}
		assert_int_equal(feature->rows[feature->count - 1].up_to, UINT32_MAX);
		for (int k = 0; k < CLASSIFY_CLASSES; k++)
			if (sum[k] != 1000)
				fail_msg("%s: %u of a thousand for %s", feature->name, sum[k],
					 classify_name((unsigned int)k));
	}
}

/* There may be 65,536 of them. */
static void test_size(void **state)
{
	(void)state;
	assert_true(sizeof(struct classify) <= 104);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chat),
		cmocka_unit_test(test_chat_with_quick_follow_ups),
		cmocka_unit_test(test_pasted_book),
		cmocka_unit_test(test_books_in_a_row),
		cmocka_unit_test(test_size_alone_says_nothing),
		cmocka_unit_test(test_agent_with_tools),
		cmocka_unit_test(test_slow_agent),
		cmocka_unit_test(test_sequential_batch),
		cmocka_unit_test(test_job_of_24_at_once),
		cmocka_unit_test(test_jobs_of_any_width),
		cmocka_unit_test(test_two_windows),
		cmocka_unit_test(test_thousands_at_once),
		cmocka_unit_test(test_minimum_of_evidence),
		cmocka_unit_test(test_weak_evidence_is_a_person),
		cmocka_unit_test(test_change_of_behaviour),
		cmocka_unit_test(test_reason_is_of_now),
		cmocka_unit_test(test_hysteresis),
		cmocka_unit_test(test_hostile_values),
		cmocka_unit_test(test_ended_before_it_began),
		cmocka_unit_test(test_count_ends),
		cmocka_unit_test(test_random_sequences),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
