// SPDX-License-Identifier: Apache-2.0
/* Lists of models: as servers write them, and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../userspace/policy/model_list.h"

static struct model_list list_of(const char *page)
{
	struct model_list l = {0};

	assert_null(model_list_read(page, strlen(page), &l));
	return l;
}

static void test_lists(void **state)
{
	struct model_list a =
		list_of("{\"object\":\"list\",\"data\":[{\"id\":\"llama\"},"
			"{\"id\":\"llama:sql\",\"parent\":\"llama\"},{\"id\":\"llama\"}]}");
	struct model_list b = list_of("{\"data\":[{\"id\":\"llama:sql\"}]}");
	struct model_list c =
		list_of("{\"data\":[{\"id\":\"Llama\"},{\"id\":7},{},null,\"llama\"]}");
	struct model_list none = list_of("{\"data\":[]}");

	(void)state;
	assert_int_equal(a.n, 2);
	assert_true(!a.adapter[0] && a.adapter[1]);
	assert_int_equal(c.n, 1);
	assert_false(model_list_differs(&a, &b));
	assert_true(model_list_differs(&a, &c));
	assert_true(model_list_differs(&c, &b));
	assert_false(model_list_differs(&a, &none));
	assert_false(model_list_differs(&none, &a));
	model_list_add(&c, &b);
	assert_int_equal(c.n, 2);
	assert_false(model_list_differs(&a, &c));
}

static void test_no_lists(void **state)
{
	static const char *const pages[] = {"",
					    "s0",
					    "null",
					    "[]",
					    "{}",
					    "{\"data\":{}}",
					    "{\"data\":[",
					    "\"data\"",
					    "{\"data\":7}",
					    "[[[[[[[[[[[[[[[[[[[[[[",
					    "<html>"};
	struct model_list l = {.n = 1, .id = {5}};
	char *deep = calloc(1, 200000), *large = calloc(1, MODEL_LIST_PAGE + 1);

	(void)state;
	assert_non_null(deep);
	assert_non_null(large);
	for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++)
		assert_non_null(model_list_read(pages[i], strlen(pages[i]), &l));
	memset(deep, '[', 199999);
	assert_non_null(model_list_read(deep, 199999, &l));
	memset(large, ' ', MODEL_LIST_PAGE + 1);
	memcpy(large, "{\"data\":[]}", 11);
	assert_non_null(model_list_read(large, MODEL_LIST_PAGE + 1, &l));
	assert_null(model_list_read(large, 11, &l)); /* no NUL at its end */
	assert_int_equal(l.n, 0);
	free(deep);
	free(large);
}

/* A server may have more models than are remembered; then its list differs from none. */
static void test_many_models(void **state)
{
	struct model_list other = list_of("{\"data\":[{\"id\":\"other\"}]}"), l;
	char page[8192] = "{\"data\":[";

	(void)state;
	for (int i = 0; i < MODEL_LIST_MAX; i++)
		sprintf(page + strlen(page), "%s{\"id\":\"m%d\"}", i ? "," : "", i);
	strcat(page, "]}");
	l = list_of(page);
	assert_int_equal(l.n, MODEL_LIST_MAX);
	assert_true(model_list_differs(&l, &other));
	model_list_add(&l, &other);
	assert_false(model_list_differs(&l, &other));
	assert_true(l.more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_no_lists),
		cmocka_unit_test(test_many_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
