// SPDX-License-Identifier: Apache-2.0
/* pintle-sim: text, tokens and blocks, and the numbers on its page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../lab/base/buf.h"
#include "../../lab/sim/server_metrics.h"
#include "../../lab/sim/server_text.h"

static void test_four_bytes_a_token(void **state)
{
	struct tokens t = {.block_tokens = 2};

	(void)state;
	tokens_text(&t, "", 0);
	assert_int_equal(t.count, 0);
	tokens_text(&t, "abcdefghi", 9);
	assert_int_equal(t.count, 3);
	assert_int_equal(t.block_count, 1);
	tokens_mark(&t, TEXT_MESSAGE_END);
	assert_int_equal(t.count, 4);
	assert_int_equal(t.block_count, 2);
	tokens_free(&t);
}

/* The same prefix gives the same blocks; after a difference, all blocks differ. */
static void test_blocks_are_chained(void **state)
{
	struct tokens a = {.block_tokens = 4}, b = {.block_tokens = 4};
	char text[64];

	(void)state;
	memset(text, 'x', sizeof(text));
	tokens_text(&a, text, sizeof(text));
	text[20] = 'y'; /* in the second block of 16 bytes */
	tokens_text(&b, text, sizeof(text));
	assert_int_equal(a.block_count, 4);
	assert_true(a.blocks[0] == b.blocks[0]);
	for (int i = 1; i < 4; i++)
		assert_true(a.blocks[i] != b.blocks[i]);
	assert_true(a.blocks[2] != a.blocks[3]);
	tokens_free(&a);
	tokens_free(&b);
}

/* An answer that comes back as text has the same blocks as when it was generated. */
static void test_answer_comes_back(void **state)
{
	struct tokens sent = {.block_tokens = 4}, back = {.block_tokens = 4};
	char text[33 * TEXT_TOKEN_BYTES];
	uint64_t seed;

	(void)state;
	tokens_text(&sent, "a question", 10);
	tokens_text(&back, "a question", 10);
	seed = sent.chain;
	for (uint32_t i = 0; i < 33; i++) {
		const char *word = text_answer(seed, i);

		assert_int_equal(strlen(word), TEXT_TOKEN_BYTES);
		assert_null(strpbrk(word, "\"\\\n"));
		memcpy(text + i * TEXT_TOKEN_BYTES, word, TEXT_TOKEN_BYTES);
	}
	tokens_answer(&sent, seed, 33);
	tokens_text(&back, text, sizeof(text));
	assert_int_equal(sent.count, back.count);
	assert_int_equal(sent.block_count, back.block_count);
	assert_memory_equal(sent.blocks, back.blocks, sent.block_count * sizeof(*sent.blocks));
	tokens_free(&sent);
	tokens_free(&back);
}

static void test_json_strings(void **state)
{
	struct buf b = {};

	(void)state;
	buf_json(&b, "a \"model\"\n");
	buf_add(&b, "", 1);
	assert_string_equal(b.data, "\"a \\\"model\\\"\\n\"");
	buf_free(&b);
}

static void test_histogram(void **state)
{
	static const double bounds[] = {1, 10, 0};
	struct histogram h = {.bounds = bounds};

	(void)state;
	histogram_add(&h, 1, 2); /* a bound belongs to its bucket */
	histogram_add(&h, 1.01, 1);
	histogram_add(&h, 1000, 3);
	assert_int_equal(h.counts[0], 2);
	assert_int_equal(h.counts[1], 1);
	assert_int_equal(h.counts[2], 3);
	assert_int_equal(h.count, 6);
	assert_true(h.sum > 3003.009 && h.sum < 3003.011);
}

/* Numbers are written as Python's client writes them, and are read back unchanged. */
static void test_page_numbers(void **state)
{
	struct model_config config = {.blocks = 3, .block_tokens = 16, .max_len = 4096};
	struct model_stats stats = {.running = 16, .blocks_used = 1, .generated_tokens = 1234567};
	struct metrics_view view = {.model_name = "m\"x", .config = &config, .stats = &stats};
	struct sim_metrics m;
	struct buf b = {};
	char *at;

	(void)state;
	metrics_init(&m);
	histogram_add(&m.ttft, 0.1, 3);
	metrics_page(&m, &view, &b);
	buf_add(&b, "", 1);
	assert_false(b.failed);
	assert_non_null(strstr(b.data, "running{engine=\"0\",model_name=\"m\\\"x\"} 16.0\n"));
	assert_non_null(strstr(b.data,
			       "generation_tokens_total{engine=\"0\",model_name=\"m\\\"x\"} "
			       "1.234567e+06\n"));
	at = strstr(b.data, "kv_cache_usage_perc{");
	assert_non_null(at);
	assert_true(strtod(strchr(at, '}') + 1, NULL) == 1.0 / 3);
	at = strstr(b.data, "time_to_first_token_seconds_sum{");
	assert_non_null(at);
	assert_true(strtod(strchr(at, '}') + 1, NULL) == 0.1 * 3);
	assert_non_null(strstr(b.data,
			       "time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.08\","
			       "model_name=\"m\\\"x\"} 0.0\n"));
	assert_non_null(strstr(b.data, "time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.1\","
				       "model_name=\"m\\\"x\"} 3.0\n"));
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_four_bytes_a_token),
		cmocka_unit_test(test_blocks_are_chained),
		cmocka_unit_test(test_answer_comes_back),
		cmocka_unit_test(test_json_strings),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_page_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
