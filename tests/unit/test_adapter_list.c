// SPDX-License-Identifier: Apache-2.0
/* The LoRA adapters of a page: as vLLM writes them, and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../userspace/base/hash.h"
#include "../../userspace/base/util.h"
#include "../../userspace/policy/adapter_list.h"

#define SERIES(max, running, waiting, value)                                                       \
	"vllm:lora_requests_info{max_lora=\"" max "\",running_lora_adapters=\"" running            \
	"\",waiting_lora_adapters=\"" waiting "\"} " value "\n"

static struct adapter_list list_of(const char *page)
{
	struct adapter_list l;
	size_t size = strlen(page);
	/* A copy of the exact size on the heap: ASan reports any read behind it. */
	_cleanup_free_ char *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, page, size);
	adapter_list_read(copy, size, &l);
	assert_true(l.loaded <= l.n && l.n <= ADAPTER_LIST_MAX && l.used <= l.slots);
	return l;
}

/* The names that are loaded, with commas between, of one letter each. */
static const char *loaded(const struct adapter_list *l)
{
	static char text[2 * ADAPTER_LIST_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < l->loaded; i++)
		for (char c = 'a'; c <= 'z'; c++)
			if (hash_text((char[]){c, '\0'}) == l->id[i])
				text[n++] = c;
	text[n] = '\0';
	return text;
}

/* Those that requests use or wait for, and then those that ran last, as many as there are slots. */
static void test_pages(void **state)
{
	static const struct {
		const char *page, *loaded;
		size_t slots, used, n;
	} rows[] = {
		{"", "", 0, 0, 0},
		{"vllm:num_requests_running 0.0\n", "", 0, 0, 0},
		{SERIES("2", "", "", "5.0"), "", 2, 0, 0},
		{SERIES("2", "a", "", "5.0"), "a", 2, 1, 1},
		{SERIES("2", "a,b", "c", "5.0"), "abc", 2, 2, 3},
		{SERIES("2", "", "c", "5.0"), "c", 2, 1, 1},
		/* a is in its slot until others need that */
		{SERIES("2", "a", "", "5.0") SERIES("2", "", "", "6.0"), "a", 2, 0, 1},
		{SERIES("2", "a", "", "5.0") SERIES("2", "b", "", "6.0"), "ba", 2, 1, 2},
		{SERIES("2", "a", "", "5.0") SERIES("2", "b", "", "6.0")
			 SERIES("2", "c", "", "7.0"),
		 "cb", 2, 1, 3},
		{SERIES("1", "a", "", "9.0") SERIES("1", "b", "", "6.0"), "a", 1, 1, 2},
		/* the order of the lines says nothing, and a series' newest time counts */
		{SERIES("1", "c", "", "7.0") SERIES("1", "a", "", "9.0")
			 SERIES("1", "a", "b", "6.0"),
		 "a", 1, 1, 2},
		/* who waited long ago may have given up */
		{SERIES("2", "", "b", "5.0") SERIES("2", "a", "", "6.0"), "a", 2, 1, 1},
		{SERIES("2", "a,a,,a", "a", "1.795e+09"), "a", 2, 1, 1},
		{"vllm:lora_requests_info{waiting_lora_adapters=\"b\",running_lora_adapters=\"a\","
		 "max_lora=\"4\"} 1\n",
		 "ab", 4, 2, 2},
		/* hostile, or of another kind */
		{SERIES("0", "a", "", "5.0"), "", 0, 0, 0},
		{SERIES("-1", "a", "", "5.0"), "", 0, 0, 0},
		{SERIES("1x", "a", "", "5.0"), "", 0, 0, 0},
		{SERIES("99999999999999999999", "a", "", "5.0"), "", 0, 0, 0},
		{SERIES("2", "a", "", "NaN"), "", 0, 0, 0},
		{SERIES("2", "a", "", "+Inf") SERIES("2", "b", "", "1"), "b", 2, 1, 1},
		{SERIES("2", "a", "", "-1"), "", 0, 0, 0},
		{"vllm:lora_requests_info 5\n", "", 0, 0, 0},
		{"vllm:lora_requests_info{max_lora=\"2\"} 5\n", "", 2, 0, 0},
		{"vllm:lora_requests_info{max_lora=\"2\",running_lora_adapters=\"a\"", "", 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct adapter_list l = list_of(rows[i].page);

		if (strcmp(loaded(&l), rows[i].loaded) || l.slots != rows[i].slots ||
		    l.used != rows[i].used || l.n != rows[i].n)
			fail_msg("row %zu: %s, %zu slots, %zu used, %zu names", i, loaded(&l),
				 l.slots, l.used, l.n);
	}
}

/* Of more adapters than are remembered, those that ran last are. */
static void test_many(void **state)
{
	_cleanup_free_ char *page = calloc(1, 1 << 20);
	struct adapter_list l;
	size_t at = 0;

	(void)state;
	assert_non_null(page);
	for (int i = 0; i < 1000; i++)
		at += (size_t)sprintf(page + at, SERIES("8", "n%d", "", "%d.5"), i, i);
	l = list_of(page);
	assert_int_equal(l.slots, 8);
	assert_int_equal(l.n, ADAPTER_LIST_MAX);
	assert_int_equal(l.loaded, 8);
	assert_true(l.id[0] == hash_text("n999") && l.id[7] == hash_text("n992"));
}

/* A text that is cut could end in another adapter's name. */
static void test_long_label(void **state)
{
	_cleanup_free_ char *names = malloc(100001), *page = malloc(100200);

	(void)state;
	assert_non_null(names);
	assert_non_null(page);
	memset(names, 'a', 100000);
	names[100000] = '\0';
	for (size_t i = 1; i < 100000; i += 2)
		names[i] = ',';
	sprintf(page, SERIES("2", "%s", "", "1"), names);
	assert_int_equal(list_of(page).n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_long_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
