// SPDX-License-Identifier: Apache-2.0
/* The reader of metrics text: what it accepts and refuses, and that it never reads behind the end
 * of the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../userspace/base/expfmt.h"
#include "../../userspace/base/util.h"

#define PAGES "tests/data/pages" /* tests run in the top directory */

static bool want_all(const char *name, size_t len, void *arg)
{
	(void)name;
	(void)len;
	(void)arg;
	return true;
}

static bool want_name(const char *name, size_t len, void *arg)
{
	return len == strlen(arg) && !memcmp(name, arg, len);
}

/* A copy that ends right before memory that must not be touched. */
struct guarded {
	char *map;
	size_t map_size;
	char *text;
};

static struct guarded guard(const char *text, size_t size)
{
	size_t unit = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = (size + unit - 1) / unit * unit;
	struct guarded g = {.map_size = room + unit};

	g.map = mmap(NULL, g.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(g.map, MAP_FAILED);
	assert_int_equal(mprotect(g.map + room, unit, PROT_NONE), 0);
	g.text = g.map + room - size;
	if (size)
		memcpy(g.text, text, size);
	return g;
}

static void unguard(struct guarded *g)
{
	munmap(g->map, g->map_size);
}

/* Returns the number of samples, or -1 when the page is bad, or a value is none; *value is the last
 * sample's value. */
static int count(const char *text, size_t size, double *value)
{
	struct guarded g = guard(text, size);
	struct expfmt_reader r;
	struct expfmt_sample s;
	bool spoiled = false;
	int n = 0;

	expfmt_init(&r, g.text, size);
	while (expfmt_next(&r, want_all, NULL, &s)) {
		assert_true(s.name >= g.text && s.name + s.name_len <= g.text + size);
		if (s.labels)
			assert_true(s.labels > s.name && s.labels + s.labels_len < g.text + size);
		assert_true(!s.what || isnan(s.value));
		spoiled |= s.what != NULL;
		*value = s.value;
		n++;
	}
	assert_ptr_equal(r.at, r.end);
	assert_false(expfmt_next(&r, want_all, NULL, &s));
	unguard(&g);
	return r.bad || spoiled ? -1 : n;
}

#define BAD -1

/* text, samples (or BAD), value of the last sample */
static const struct {
	const char *text;
	int samples;
	double value;
} cases[] = {
	/* values */
	{"a 1\n", 1, 1},
	{"a 0\n", 1, 0},
	{"a -1.5\n", 1, -1.5},
	{"a +2\n", 1, 2},
	{"a .5\n", 1, .5},
	{"a 5.\n", 1, 5},
	{"a 1e3\n", 1, 1000},
	{"a 1E-3\n", 1, 0.001},
	{"a 1.7951594820715919e+09\n", 1, 1.7951594820715919e+09},
	{"a 0.06274509803921569\n", 1, 0.06274509803921569},
	{"a 18446744073709551615\n", 1, 18446744073709551615.0},
	{"a 123456789012345678901234567890\n", 1, 123456789012345678901234567890.0},
	{"a 0.00000000000000000000000000000000000000001\n", 1, 1e-41},
	{"a 1e308\n", 1, 1e308},
	{"a 1e309\n", 1, INFINITY},
	{"a 1e-400\n", 1, 0},
	{"a 1e99999999999999999999999\n", 1, INFINITY},
	{"a 1e-99999999999999999999999\n", 1, 0},
	{"a 0e99999999999999999999999\n", 1, 0},
	{"a 5e-324\n", 1, 5e-324},
	{"a NaN\n", 1, NAN},
	{"a nan\n", 1, NAN},
	{"a +Inf\n", 1, INFINITY},
	{"a -Inf\n", 1, -INFINITY},
	{"a Infinity\n", 1, INFINITY},
	{"a \n", BAD, 0},
	{"a\n", BAD, 0},
	{"a .\n", BAD, 0},
	{"a +\n", BAD, 0},
	{"a e5\n", BAD, 0},
	{"a 1e\n", BAD, 0},
	{"a 1e+\n", BAD, 0},
	{"a 1,5\n", BAD, 0},
	{"a 1.5.5\n", BAD, 0},
	{"a 0x10\n", BAD, 0},
	{"a 1_000\n", BAD, 0},
	{"a NaNs\n", BAD, 0},
	{"a Infinit\n", BAD, 0},
	{"a --1\n", BAD, 0},
	{"a one\n", BAD, 0},
	/* labels, time stamps, blanks and comments */
	{"a{} 1\n", 1, 1},
	{"a{b=\"c\"} 1\n", 1, 1},
	{"a{b=\"c\",} 1\n", 1, 1},
	{"a { b = \"c\" , d = \"e\" } 1\n", 1, 1},
	{"a{b=\"c\"}1\n", 1, 1},
	{"a\t{b=\"c\"}\t1\n", 1, 1},
	{"  a 1\n", 1, 1},
	{"a 1  \n", 1, 1},
	{"a 1 1700000000000\n", 1, 1},
	{"a 1 1700000000.123\n", 1, 1},
	{"a 1 -5\n", 1, 1},
	{"a 1\r\n", 1, 1},
	{"a 1 1700000000000\r\n", 1, 1},
	{"a_bucket{le=\"1\"} 3 # {trace_id=\"x\"} 0.5\n", 1, 3},
	{"a_total 3 1.5 # {trace_id=\"} \"} 0.5 1700000000.1\n", 1, 3},
	{"a{b=\"}\"} 1\n", 1, 1},
	{"a{b=\"{\\\"}\\\\\"} 1\n", 1, 1},
	{"a{b=\"# EOF\"} 1\n", 1, 1},
	{"a{b=\"\xff\xfe\"} 1\n", 1, 1},
	{"vllm:a:b_9 7\n", 1, 7},
	{"a 1 x\n", BAD, 0},
	{"a 1 2 3\n", BAD, 0},
	{"a 1x\n", BAD, 0},
	{"a{b} 1\n", BAD, 0},
	{"a{b=c} 1\n", BAD, 0},
	{"a{b=\"c} 1\n", BAD, 0},
	{"a{b=\"c\" 1\n", BAD, 0},
	{"a{b=\"c\" d=\"e\"} 1\n", BAD, 0},
	{"a{=\"c\"} 1\n", BAD, 0},
	{"a{,} 1\n", BAD, 0},
	{"a{b=\"c\\\"} 1\n", BAD, 0},
	{"a{b=\"c\\\n\"} 1\n", BAD, 0},
	{"a}b=\"c\"{ 1\n", BAD, 0},
	/* names in quotation marks */
	{"{\"a\"} 1\n", 1, 1},
	{"{\"http.server.duration\",path=\"/v1\"} 1\na 2\n", 2, 2},
	{" { \"a b\" , c = \"d\" , } 3 17e8 # {x=\"y\"} 1\n", 1, 3},
	{"{\"a\\\"b\\\\\",c=\"}\"} 4\n", 1, 4},
	{"a{\"http.status\"=\"200\",c=\"d\"} 5\n", 1, 5},
	{"{\"\xc3\xa9\",\"\xc3\xa8\"=\"x\"} 6\n", 1, 6},
	{"{\"\"} 1\n", BAD, 0},
	{"{\"a\",} 1\n", 1, 1},
	{"{\"a\" 1\n", BAD, 0},
	{"{\"a\"b=\"c\"} 1\n", BAD, 0},
	{"{\"a\",b} 1\n", BAD, 0},
	{"{\"a\",\"b\"} 1\n", BAD, 0},
	{"{\"a\"}", BAD, 0},
	{"{\"a} 1\n", BAD, 0},
	{"{\"a\"}\n", BAD, 0},
	{"{a=\"b\"} 1\n", BAD, 0},
	{"a{\"\"=\"c\"} 1\n", BAD, 0},
	{"{\"error\" : 1}\n", BAD, 0},
	{"\"# HELP a b\\na 1\\n\"\n", BAD, 0},
	{"a-b 1\n", BAD, 0},
	{"9a 1\n", BAD, 0},
	/* pages */
	{"", 0, 0},
	{"\n", 0, 0},
	{"\r\n\n \t\n", 0, 0},
	{"# HELP a text\n# TYPE a gauge\na 1\n\n\nb 2\n", 2, 2},
	{"#\n# free comment\n#no blank\na 1\n", 1, 1},
	{"a 1\n# EOF\n", 1, 1},
	{"a 1\n# EOF", 1, 1},
	{"a 1\r\n# EOF\r\n", 1, 1},
	{"a 1\n# EOF\n\n", 1, 1},
	{"a 1\n# EOF\nb 2\n", BAD, 0},
	{"a 1\n# EOFs\nb 2\n", 2, 2},
	{"a 1", BAD, 0},
	{"a 1\nb 15", BAD, 0},
	{"a 1\n# HEL", BAD, 0},
	{"a 1\n# EO", BAD, 0},
	{"a 1\n ", BAD, 0},
	{"a 1\n\r", BAD, 0},
	{"<html><body>502 Bad Gateway</body></html>\n", BAD, 0},
	{"{\"error\": \"not found\"}\n", BAD, 0},
	{"404 page not found\n", BAD, 0},
	{"\x1f\x8b\x08 compressed\n", BAD, 0},
	{"\xef\xbb\xbf"
	 "a 1\n",
	 BAD, 0},
};

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		double value = 0;
		int n = count(cases[i].text, strlen(cases[i].text), &value);

		if (n != cases[i].samples)
			fail_msg("%d samples in \"%s\"", n, cases[i].text);
		if (n > 0 && !(isnan(cases[i].value) ? isnan(value) : value == cases[i].value))
			fail_msg("%.17g in \"%s\"", value, cases[i].text);
	}
}

static void test_nul_bytes(void **state)
{
	static const char in_name[] = "a\0b 1\n", in_value[] = "a 1\0\n",
			  in_label[] = "a{b=\"\0\"} 1\n";
	double value;

	(void)state;
	assert_int_equal(count(in_name, sizeof(in_name) - 1, &value), BAD);
	assert_int_equal(count(in_value, sizeof(in_value) - 1, &value), BAD);
	assert_int_equal(count(in_label, sizeof(in_label) - 1, &value), 1);
	assert_int_equal(count("\0", 1, &value), BAD);
	assert_int_equal(count("\0\n", 2, &value), BAD);
}

/* Every byte string of length 1 and 2, with and without a line end. */
static void test_every_short_page(void **state)
{
	double value;

	(void)state;
	for (int a = 0; a < 256; a++) {
		char text[4] = {(char)a, '\n'};
		bool blank = strchr(" \t\r\n#", a) && a;

		assert_int_equal(count(text, 2, &value), blank ? 0 : BAD);
		assert_int_equal(count(text, 1, &value), a == '\n' ? 0 : BAD);
	}
	for (int a = 0; a < 256; a += 3) {
		for (int b = 0; b < 256; b++) {
			char text[4] = {'a', (char)a, (char)b, '\n'};
			int n = count(text, 4, &value);
			/* "a 1" and "a\t1" are good; "a" alone on its line is bad */
			bool one = (a == ' ' || a == '\t') && b >= '0' && b <= '9';

			assert_int_equal(n, one ? 1 : BAD);
		}
	}
}

/* Numbers of real pages and made-up numbers are read as the C library reads them. */
static void test_numbers_as_strtod(void **state)
{
	uint64_t x = 88172645463325252ULL;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		char text[64];
		double value = 0, bits;
		int n;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(&bits, &x, sizeof(bits));
		if (i % 4 == 0)
			n = snprintf(text, sizeof(text), "a %.17g\n", bits);
		else if (i % 4 == 1)
			n = snprintf(text, sizeof(text), "a %llu.%06llu\n",
				     (unsigned long long)(x >> 40),
				     (unsigned long long)(x % 1000000));
		else
			n = snprintf(text, sizeof(text), "a %.16g\n",
				     (double)(x >> 11) / 9007199254740992.0);
		assert_true(n > 0 && (size_t)n < sizeof(text));
		if (i % 4 == 0) { /* any double; the last bit may differ */
			double expected = strtod(text + 2, NULL);

			assert_int_equal(count(text, (size_t)n, &value), 1);
			if (!isnan(expected) && value != expected &&
			    value != nextafter(expected, INFINITY) &&
			    value != nextafter(expected, -INFINITY))
				fail_msg("%.17g for %s", value, text);
			continue;
		}
		assert_int_equal(count(text, (size_t)n, &value), 1);
		if (value != strtod(text + 2, NULL))
			fail_msg("%.17g for %s", value, text);
	}
}

static char *slurp(const char *path, size_t *size)
{
	FILE *f = fopen(path, "r");
	char *text = malloc(1 << 20);

	assert_non_null(f);
	assert_non_null(text);
	*size = fread(text, 1, 1 << 20, f);
	fclose(f);
	return text;
}

/* Every real page is read to its end, and every number as the C library reads it. */
static void test_real_pages(void **state)
{
	DIR *dir = opendir(PAGES);
	struct dirent *entry;
	int pages = 0, samples = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[512];
		size_t size;
		struct expfmt_reader r;
		struct expfmt_sample s;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), PAGES "/%s", entry->d_name);
		_cleanup_free_ char *text = slurp(path, &size);
		expfmt_init(&r, text, size);
		while (expfmt_next(&r, want_all, NULL, &s)) {
			const char *end = memchr(s.name, '\n', (size_t)(text + size - s.name));
			const char *blank = memrchr(s.name, ' ', (size_t)(end - s.name));
			double expected = strtod(blank, NULL);

			if (s.value != expected && !(isnan(s.value) && isnan(expected)))
				fail_msg("%s:%zu: %.17g", entry->d_name, r.line, s.value);
			samples++;
		}
		assert_false(r.bad);
		pages++;
	}
	closedir(dir);
	assert_int_equal(pages, 17);
	assert_int_equal(samples, 7606); /* cat tests/data/pages/?* | grep -c '^[a-z]' */
}

static void test_null_page(void **state)
{
	struct expfmt_reader r;
	struct expfmt_sample s;

	(void)state;
	expfmt_init(&r, NULL, 0);
	assert_false(expfmt_next(&r, want_all, NULL, &s));
	assert_false(r.bad);
}

/* A sample that is not wanted is skipped after its name; a wanted sample is checked to its end. A
 * value that is no number is told, and ends nothing. */
static void test_only_wanted(void **state)
{
	static const char text[] = "a garbage here\nab 3\nb 5\na_b{ 7\na 8\n";
	struct expfmt_sample s = {.value = -1};
	struct expfmt_reader r;

	(void)state;
	expfmt_init(&r, text, sizeof(text) - 1);
	assert_true(expfmt_next(&r, want_name, "b", &s));
	assert_true(s.value == 5);
	assert_int_equal(r.line, 3);
	assert_int_equal(s.name_len, 1);
	assert_null(s.labels);
	assert_false(expfmt_next(&r, want_name, "b", &s));
	assert_false(r.bad);
	assert_true(s.value == 5);

	expfmt_init(&r, text, sizeof(text) - 1);
	assert_true(expfmt_next(&r, want_name, "a", &s));
	assert_true(isnan(s.value));
	assert_string_equal(s.what, "its value is no number");
	assert_true(expfmt_next(&r, want_name, "a", &s));
	assert_true(s.value == 8 && !s.what);

	expfmt_init(&r, text, sizeof(text) - 1);
	assert_false(expfmt_next(&r, want_name, "a_b", &s));
	assert_true(r.bad);
	assert_int_equal(r.line, 4);
}

/* The filter passes every name that was added, in any order, and makes calls of want() fewer. */
static void test_filter(void **state)
{
	static const char *const orders[][5] = {
		{"x:ab", "x:abc", "x:b", "x:abc_total", "y"},
		{"x:abc_total", "x:abc", "x:ab"},
		{"x:b", "x:ab"},
		{"x:ab", "x:ab"},
		{"x:ab"},
	};
	static const char text[] =
		"x:ab 1\nx:abc{} 2\nx:b\t3\nx:abc_total 4\ny 5\nx:z 6\nq 7\nx 8\n";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		struct expfmt_filter f = {};

		for (size_t k = 0; k < 5 && orders[i][k]; k++)
			expfmt_filter_add(&f, orders[i][k]);
		for (size_t k = 0; k < 5 && orders[i][k]; k++) {
			struct expfmt_reader r;
			struct expfmt_sample s;

			expfmt_init(&r, text, sizeof(text) - 1);
			r.filter = &f;
			if (!expfmt_next(&r, want_name, (void *)orders[i][k], &s))
				fail_msg("order %zu lost %s", i, orders[i][k]);
		}
	}
}

static void sample_of(const char *line, struct expfmt_sample *s)
{
	struct expfmt_reader r;

	expfmt_init(&r, line, strlen(line));
	assert_true(expfmt_next(&r, want_all, NULL, s));
}

/* A name in quotation marks is the name, passes the filter, and is the same series. */
static void test_quoted_names(void **state)
{
	static const char text[] =
		"{\"x:ab\",c=\"d\",\"e.f\"=\"g\"} 1\n{\"x:abc\"} 2\n{\"x.y\"} 3\n";
	struct expfmt_filter f = {};
	struct expfmt_sample s, plain;
	struct expfmt_reader r;
	char value[8];

	(void)state;
	expfmt_filter_add(&f, "x:ab");
	expfmt_filter_add(&f, "x:z");
	expfmt_init(&r, text, sizeof(text) - 1);
	r.filter = &f;
	assert_true(expfmt_next(&r, want_name, "x:ab", &s));
	assert_true(s.value == 1 && s.name_len == 4);
	assert_true(expfmt_label(&s, "c", value, sizeof(value)));
	assert_string_equal(value, "d");
	assert_true(expfmt_label(&s, "e.f", value, sizeof(value)));
	assert_string_equal(value, "g");
	assert_false(expfmt_next(&r, want_name, "x:ab", &plain));
	assert_false(r.bad);
	sample_of("x:ab{\"e.f\"=\"g\",c=\"d\"} 1\n", &plain);
	assert_true(expfmt_series(&s) == expfmt_series(&plain));
	/* What a terminal would obey is not shown as a name. */
	expfmt_init(&r, "{\"\x1b[31m\",b} 1\n", 14);
	assert_false(expfmt_next(&r, want_all, NULL, &s));
	assert_true(r.bad);
	assert_null(r.name);
}

static bool never(const char *name, size_t len, void *arg)
{
	(void)arg;
	fail_msg("%.*s passed", (int)len, name);
	return false;
}

static void test_filter_spares(void **state)
{
	static const char text[] = "vllm:request_sum 1\nvllm:r 1\nvllm 1\nv 1\nother 1\n"
				   "vllm:wait 1\n";
	struct expfmt_filter f = {}, none = {};
	struct expfmt_sample s;
	struct expfmt_reader r;

	(void)state;
	/* The first two differ at the w. The third differs earlier, and then the w no longer
	 * counts. */
	expfmt_filter_add(&f, "vllm:num_waiting");
	expfmt_filter_add(&f, "vllm:num_x");
	expfmt_filter_add(&f, "vllm:kv");
	expfmt_init(&r, text, sizeof(text) - 1);
	r.filter = &f;
	assert_false(expfmt_next(&r, never, NULL, &s));
	assert_false(r.bad);
	expfmt_init(&r, text, sizeof(text) - 1);
	r.filter = &none;
	assert_false(expfmt_next(&r, never, NULL, &s));
	assert_false(r.bad);
}

static void test_labels(void **state)
{
	static const char line[] = "a{ x = \"1\", long_name=\"va\\\\l\\\"u\\ne\\q\",empty=\"\","
				   "le=\"+Inf\",brace=\"}\",comma=\"a=\\\"b\\\",c\", } 1\n";
	struct expfmt_sample s;
	char buf[32] = "as it was";

	(void)state;
	sample_of(line, &s);
	assert_true(expfmt_label(&s, "x", buf, sizeof(buf)));
	assert_string_equal(buf, "1");
	assert_true(expfmt_label(&s, "long_name", buf, sizeof(buf)));
	assert_string_equal(buf, "va\\l\"u\ne\\q");
	assert_true(expfmt_label(&s, "empty", buf, sizeof(buf)));
	assert_string_equal(buf, "");
	assert_true(expfmt_label(&s, "le", buf, sizeof(buf)));
	assert_string_equal(buf, "+Inf");
	assert_true(expfmt_label(&s, "brace", buf, sizeof(buf)));
	assert_string_equal(buf, "}");
	assert_true(expfmt_label(&s, "comma", buf, sizeof(buf)));
	assert_string_equal(buf, "a=\"b\",c");
	/* The text is cut to size; an escape counts as the byte that it stands for. */
	assert_true(expfmt_label(&s, "long_name", buf, 5));
	assert_string_equal(buf, "va\\l");
	assert_true(expfmt_label(&s, "x", buf, 1));
	assert_string_equal(buf, "");
	strcpy(buf, "as it was");
	assert_false(expfmt_label(&s, "long", buf, sizeof(buf)));
	assert_false(expfmt_label(&s, "long_name_", buf, sizeof(buf)));
	assert_false(expfmt_label(&s, "b", buf, sizeof(buf)));
	assert_string_equal(buf, "as it was");
	sample_of("a 1\n", &s);
	assert_false(expfmt_label(&s, "x", buf, sizeof(buf)));
	sample_of("a{} 1\n", &s);
	assert_false(expfmt_label(&s, "x", buf, sizeof(buf)));
	assert_non_null(s.labels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_nul_bytes),
		cmocka_unit_test(test_every_short_page),
		cmocka_unit_test(test_numbers_as_strtod),
		cmocka_unit_test(test_real_pages),
		cmocka_unit_test(test_null_page),
		cmocka_unit_test(test_only_wanted),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_filter_spares),
		cmocka_unit_test(test_quoted_names),
		cmocka_unit_test(test_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
