/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of messages: quoted text, lists, the word that the user may have meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/text.h"
#include "../../userspace/base/util.h"
#include "../../userspace/base/words.h"

/* Three digits at most, and no step looks like another: 999.6 ms is 1 s. */
static void test_waits(void **state)
{
	static const struct {
		double seconds;
		const char *text, *quantile;
	} cases[] = {
		{-1, "0.00 ms", "<1 ms"},
		{0, "0.00 ms", "<1 ms"},
		{0.000004, "0.00 ms", "<1 ms"},
		{0.00043, "0.43 ms", "<1 ms"},
		{0.000994, "0.99 ms", "<1 ms"},
		{0.000996, "1.0 ms", "<1 ms"},
		{0.00434, "4.3 ms", "4.3 ms"},
		{0.00996, "10 ms", "10 ms"},
		{0.0434, "43 ms", "43 ms"},
		{0.9994, "999 ms", "999 ms"},
		{0.9996, "1.00 s", "1.00 s"},
		{1.254, "1.25 s", "1.25 s"},
		{9.996, "10 s", "10 s"},
		{3600, "3600 s", "3600 s"},
		{1e30, "1000000000 s", "1000000000 s"},
	};
	char buf[WORDS_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_string_equal(wait_text(cases[i].seconds, buf), cases[i].text);
		assert_string_equal(quantile_text(cases[i].seconds, buf), cases[i].quantile);
	}
}

static void test_quote(void **state)
{
	static const struct {
		const char *text;
		size_t length;
		const char *quoted;
	} cases[] = {
		{"", 0, "\"\""},
		{"as it is", 8, "\"as it is\""},
		{"a\nb\0c\x7f", 6, "\"a\\x0ab\\x00c\\x7f\""},
		/* "e" with an acute accent, and the mark that reverses a line's direction */
		{"\xc3\xa9\xe2\x80\xae", 5, "\"\\xc3\\xa9\\xe2\\x80\\xae\""},
	};
	char buf[TEXT_QUOTED_SIZE], text[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(text_quote(cases[i].text, cases[i].length, buf),
				    cases[i].quoted);
	for (char fill = 'a'; fill; fill = fill == 'a' ? '\x01' : '\0') {
		memset(text, fill, sizeof(text));
		text_quote(text, sizeof(text), buf);
		assert_true(strlen(buf) < TEXT_QUOTED_SIZE);
		assert_string_equal(buf + strlen(buf) - 4, "...\"");
	}
}

static void test_quote_url(void **state)
{
	static const char *const cases[][2] = {
		{"http://h/metrics", "\"http://h/metrics\""},
		{"http://user:pw@h/metrics", "\"http://...@h/metrics\""},
		{"https://h/metrics?token=pw", "\"https://h/metrics?...\""},
		{"http://h/metrics#pw", "\"http://h/metrics?...\""},
		/* Either part may be the password. */
		{"http://h?pw@x", "\"http://...\""},
		{"user:pw@h", "\"...@h\""},
		{"http://a@pw@h", "\"http://...@h\""},
	};
	char buf[TEXT_QUOTED_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(text_quote_url(cases[i][0], strlen(cases[i][0]), buf),
				    cases[i][1]);
}

static void test_printable(void **state)
{
	char text[] = "a\tb\x7f\xff~ ";

	(void)state;
	text_make_printable(text, '?');
	assert_string_equal(text, "a?b??~ ");
}

static void test_list(void **state)
{
	char list[24] = "", small[8] = "";

	(void)state;
	text_list_add(list, sizeof(list), "llama");
	assert_string_equal(list, "llama");
	text_list_add(list, sizeof(list), "qwen");
	assert_string_equal(list, "llama, qwen");
	text_list_add(list, sizeof(list), "mistral");
	assert_string_equal(list, "llama, qwen, ...");
	text_list_add(list, sizeof(list), "x");
	assert_string_equal(list, "llama, qwen, ...");

	text_list_add(small, sizeof(small), "too long for it");
	assert_string_equal(small, "...");
	text_list_add(small, sizeof(small), "x");
	assert_string_equal(small, "...");
}

/* The end of the text fits for every size. */
static void test_list_of_any_size(void **state)
{
	(void)state;
	for (size_t size = 8; size < 40; size++) {
		char list[64];

		memset(list, '#', sizeof(list));
		*list = '\0';
		for (size_t i = 0; i < 20; i++)
			text_list_add(list, size, &"abcdef"[i % 6]);
		assert_true(strlen(list) < size);
		assert_string_equal(list + strlen(list) - 3, "...");
		assert_int_equal(list[size], '#');
	}
}

static void test_nearest(void **state)
{
	static const char *const known[] = {"scrape",   "stickiness", "saturation", "kvCache",
					    "maxTime",  "maxShare",   "off",        "on",
					    "llama-8b", "llama-70b",  NULL};
	static const char *const cases[][2] = {
		{"scrapes", "scrape"},
		{"SCRAPE", "scrape"},
		{"stikiness", "stickiness"},
		{"kv_cache", "kvCache"},
		{"kv-cach", "kvCache"},
		{"max_share", "maxShare"},
		{"llama-8", "llama-8b"},
		{"of", "off"},
		{"llama_70", "llama-70b"},
		{"srcape", "scrape"},
		{"no", NULL},
		{"sat", NULL},
		{"x", NULL},
		{"", NULL},
		{"-", NULL},
		{"endpoints", NULL},
		/* longer than every name */
		{"scrapescrapescrapescrapescrapescrapescrapescrapescrapescrapescrape", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct text_nearest n = {0};

		for (size_t k = 0; known[k]; k++)
			text_nearest_try(&n, cases[i][0], known[k]);
		if (!cases[i][1] != !n.best || (n.best && strcmp(n.best, cases[i][1]) != 0))
			fail_msg("%s: %s", cases[i][0], n.best ? n.best : "nothing");
	}
}

/* Of equally near candidates, the first is chosen. */
static void test_nearest_is_the_first(void **state)
{
	struct text_nearest n = {0};

	(void)state;
	text_nearest_try(&n, "gpu-x", "gpu-a");
	text_nearest_try(&n, "gpu-x", "gpu-b");
	assert_string_equal(n.best, "gpu-a");
	text_nearest_try(&n, "gpu-x", "gpu_x");
	assert_string_equal(n.best, "gpu_x");
}

static void test_word_begun(void **state)
{
	static const char *const cases[][2] = {
		{"p", "pools"}, {"Sat", "saturation"}, {"", NULL}, {"-", NULL}, {"x", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct text_nearest n = {.begun = true};

		text_nearest_try(&n, cases[i][0], "saturation");
		text_nearest_try(&n, cases[i][0], "pools");
		if (!cases[i][1] != !n.best || (n.best && strcmp(n.best, cases[i][1]) != 0))
			fail_msg("%s: %s", cases[i][0], n.best ? n.best : "nothing");
	}
}

static void test_patterns_of_paths(void **state)
{
	(void)state;
	assert_true(text_matches("/a.slice", "/a.slice"));
	assert_true(text_matches("/a*", "/a.slice/b"));
	assert_false(text_matches("/a.slice", "/a.slice/b"));
	/* A path that was pasted, of systemd. */
	assert_true(text_matches("/system-a\\x2db.slice", "/system-a\\x2db.slice"));
	assert_false(text_matches("/system-a\\x2db.slice", "/system-a.slice"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits),      cmocka_unit_test(test_quote),
		cmocka_unit_test(test_quote_url),  cmocka_unit_test(test_printable),
		cmocka_unit_test(test_list),       cmocka_unit_test(test_list_of_any_size),
		cmocka_unit_test(test_nearest),    cmocka_unit_test(test_nearest_is_the_first),
		cmocka_unit_test(test_word_begun), cmocka_unit_test(test_patterns_of_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
