/* SPDX-License-Identifier: Apache-2.0 */
/* The model that a request's body names, and where in the body the prompt begins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "handoff/request_model.bpf.h"

/* Reads on as the TC program does, eight bytes at a time, of which the last may be of what is
 * behind the body. */
static void read_words(struct model_scan *s, const char *body, size_t size, int beyond)
{
	for (uint32_t at = 0; at < size; at += 8) {
		uint64_t word;

		memset(&word, beyond, sizeof(word));
		memcpy(&word, body + at, MIN(size - at, sizeof(word)));
		if (!model_skips(s, word) && model_word(s, at, word))
			break;
	}
}

/* Returns the name; "": there is none. */
static const char *name_in(const char *body, size_t size, bool chunked, int beyond)
{
	static struct model_scan s;

	model_begin(&s, (uint32_t)size, chunked);
	read_words(&s, body, size, beyond);
	return model_end(&s) ? s.key.name : "";
}

#define LONG_127                                                                                   \
	"0123456789012345678901234567890123456789012345678901234567890123456789"                   \
	"012345678901234567890123456789012345678901234567890123456"

#define MARK "\357\273\277"

static void test_names(void **state)
{
	static const struct {
		const char *body, *name;
	} rows[] = {
		{"{\"model\":\"a\"}", "a"},
		{"{\"model\": \"llama-8b:sql\", \"messages\": []}", "llama-8b:sql"},
		{" \r\n\t{ \"model\" : \"a\" }", "a"},
		{"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"model\":\"a\"}", "a"},
		{"{\"temperature\":-1.5e+3,\"stream\":true,\"stop\":null,\"model\":\"a\"}", "a"},
		{"{\"a\":{},\"b\":[],\"c\":{\"d\":[[{}]]},\"model\":\"a\"}", "a"},
		{"{\"model\":\"a\",\"model\":\"b\"}", "a"},
		{"{\"model\":\"a\"", "a"}, /* the rest may come later */
		/* a byte order mark */
		{MARK "{\"model\":\"a\"}", "a"},
		{MARK "\r\n{\"messages\":[],\"model\":\"a\"}", "a"},
		{"\357\273{\"model\":\"a\"}", ""},
		{"\357 \273\277{\"model\":\"a\"}", ""},
		{"\376\377{\"model\":\"a\"}", ""},
		{"{" MARK "\"model\":\"a\"}", ""},
		{MARK, ""},
		/* of another key, or within something else */
		{"{\"prompt\":\"model\",\"a\":1}", ""},
		{"{\"prompt\":\"\\\"model\\\":\\\"b\\\"\",\"model\":\"a\"}", "a"},
		{"{\"prompt\":\",\\\"model\\\":\\\"b\\\",\",\"model\":\"a\"}", "a"},
		{"{\"prompt\":\"\\\\\",\"model\":\"a\"}", "a"},
		{"{\"prompt\":\"\\\\\\\"\",\"model\":\"a\"}", "a"},
		{"{\"metadata\":{\"model\":\"b\"},\"model\":\"a\"}", "a"},
		{"{\"x\":[{\"model\":\"b\"}],\"model\":\"a\"}", "a"},
		{"{\"x\":[\"}\",\"]\",{\"y\":\"{\"}],\"model\":\"a\"}", "a"},
		{"{\"models\":\"b\",\"Model\":\"c\",\"mode\":\"d\",\"model \":\"e\"}", ""},
		{"{\"x\":\"model\",\"model\":\"a\"}", "a"},
		{"[{\"model\":\"a\"}]", ""},
		{"{}{\"model\":\"a\"}", ""},
		{"{\"x\":1}\n{\"model\":\"a\"}", ""},
		{"model=a", ""},
		{"\"model\":\"a\"", ""},
		/* escapes */
		{"{\"mod\\u0065l\":\"a\"}", "a"},
		{"{\"model\":\"meta\\/llama\"}", "meta/llama"},
		{"{\"model\":\"\\u0061\\u002Bb\"}", "a+b"},
		{"{\"model\":\"a\\\"b\\\\c\"}", "a\"b\\c"},
		{"{\"model\":\"a\\n\"}", ""},
		{"{\"model\":\"a\\u0000\"}", ""},
		{"{\"model\":\"a\\u00e4\"}", ""},
		{"{\"model\":\"a\\u20ac\"}", ""},
		{"{\"model\":\"a\\u00g1\"}", ""},
		{"{\"model\":\"a\\\"}", ""},
		{"{\"\\n\\n\\n\\n\\n\":1,\"model\":\"a\"}", "a"},
		/* no name */
		{"{\"model\":\"\"}", ""},
		{"{\"model\":null,\"x\":\"a\"}", ""},
		{"{\"model\":7}", ""},
		{"{\"model\":{\"model\":\"a\"}}", ""},
		{"{\"model\":[\"a\"]}", ""},
		{"{\"model\":\"a", ""},
		{"{\"model\":\"\303\244\"}", ""},
		{"{\"model\":\"a\nb\"}", ""},
		{"{\"model\":\"" LONG_127 "\"}", LONG_127},
		{"{\"model\":\"" LONG_127 "7\"}", ""},
		{"{\"" LONG_127 "7\":1,\"model\":\"a\"}", "a"},
		{"", ""},
		{"{", ""},
		{"{\"model\"", ""},
		{"{\"model\" \"a\"}", ""},
		{"{model:\"a\"}", ""},
		{"{,\"model\":\"a\"}", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t size = strlen(rows[i].body);

		assert_string_equal(name_in(rows[i].body, size, false, 0), rows[i].name);
		assert_string_equal(name_in(rows[i].body, size, false, '"'), rows[i].name);
		assert_string_equal(name_in(rows[i].body, size, true, 0), "");
	}
}

static void test_chunks(void **state)
{
	static const struct {
		const char *body, *name;
	} rows[] = {
		{"d\r\n{\"model\":\"a\"}\r\n0\r\n\r\n", "a"},
		{"0D\r\n{\"model\":\"a\"}\r\n0\r\n\r\n", "a"},
		{"d;x=y\r\n{\"model\":\"a\"}\r\n0\r\n\r\n", "a"},
		{"fffffff\r\n{\"model\":\"a\"}", "a"},
		{"10\r\n" MARK "{\"model\":\"a\"}\r\n0\r\n\r\n", "a"},
		{"c\r\n{\"model\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n", "a"},
		/* what is in the second chunk is not read */
		{"a\r\n{\"model\":\"\r\n3\r\na\"}\r\n0\r\n\r\n", ""},
		{"1\r\n{\r\nc\r\n\"model\":\"a\"}\r\n0\r\n\r\n", ""},
		{"0\r\n\r\n{\"model\":\"a\"}", ""},
		{"ffffffff\r\n{\"model\":\"a\"}", ""},
		{"\r\n{\"model\":\"a\"}", ""},
		{"d\n{\"model\":\"a\"}", ""},
		{"x\r\n{\"model\":\"a\"}", ""},
		{"d \t;x=\"\t\"\r\n{\"model\":\"a\"}", "a"},
		/* lines that servers end at different bytes */
		{"d;x\n{\"model\":\"a\"}", ""},
		{"d;x\r{\"model\":\"a\"}", ""},
		{"d\r\r\n{\"model\":\"a\"}", ""},
		{"d;x\n\r\n{\"model\":\"a\"}", ""},
		{"0xd\r\n{\"model\":\"a\"}", ""},
		{"d_\r\n{\"model\":\"a\"}", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(name_in(rows[i].body, strlen(rows[i].body), true, 0),
				    rows[i].name);
}

/* Wherever the parts lie in words of eight bytes, and wherever the body ends. */
static void test_offsets(void **state)
{
	static const char before[] =
		"{\"messages\": [{\"content\": \"\\u00e4 \\\"model\\\": \\\"b\\\" ",
			  after[] = "\"}], \"model\": \"a\", \"n\": 1}";
	char body[512];

	(void)state;
	for (size_t fill = 0; fill < 40; fill++) {
		size_t size = (size_t)snprintf(body, sizeof(body), "%s%.*s%s", before, (int)fill,
					       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", after);
		size_t end = size - strlen(", \"n\": 1}");

		for (size_t seen = 0; seen <= size; seen++)
			assert_string_equal(name_in(body, seen, false, 0xff),
					    seen < end ? "" : "a");
	}
}

/* Reads the last `seen` bytes of the body, as the TC program does of one that is long. */
static const char *last_in(const char *body, size_t size, size_t seen, int beyond)
{
	static struct model_scan s;
	struct model_last last = {0};

	for (size_t at = seen; at-- > 0;)
		if (model_last_byte(&last, (uint32_t)at, (uint8_t)body[size - seen + at]))
			break;
	if (!last.key)
		return "";
	body += size - seen + last.key;
	size = seen - last.key;
	model_begin_last(&s, (uint32_t)size);
	read_words(&s, body, size, beyond);
	return model_end(&s) ? s.key.name : "";
}

/* A bar stands where the bytes begin that must be seen, to find that name; one less, and nothing is
 * found. Without a bar, nothing is found in any of them. */
static void test_last_bytes(void **state)
{
	static const struct {
		const char *body, *name;
	} rows[] = {
		{"{\"messages\":[]|,\"model\":\"a\"}", "a"},
		{"{\"messages\":[]|, \"model\" : \"a\" \r\n}\n\t ", "a"},
		{"{\"messages\":[]|,\"model\":\"a\",\"stop\":[\"}\",\"]\"],\"x\":{\"y\":{}}}", "a"},
		{"{\"prompt\":\"a\\\"\"|,\"model\":\"a\"}", "a"},
		{"{\"prompt\":\"\\\\\"|,\"model\":\"a\"}", "a"},
		{"{\"prompt\":\"\\\\\\\"\"|,\"model\":\"a\\\\\\\"\"}", "a\\\""},
		{"{\"prompt\":\"x\"|,\"mod\\u0065l\":\"meta\\/llama\"}", "meta/llama"},
		{"{\"prompt\":\",\\\"model\\\":\\\"b\\\",\"|,\"model\":\"a\"}", "a"},
		{"{\"n\":1,\"stop\":null,\"x\":-1e+5|,\"model\":\"a\",\"y\":true}", "a"},
		/* of something else */
		{"{\"prompt\":\",\\\"model\\\":\\\"b\\\"\"}", ""},
		{"{\"metadata\":{\"x\":1,\"model\":\"b\"}}", ""},
		{"{\"x\":[1,{\"model\":\"b\"},\",\"],\"y\":1}", ""},
		{"{\"x\":1,\"y\":\"model\",\"z\":\"b\"}", ""},
		/* the first key of the object has no comma before it, and stands at its beginning
		 */
		{"{\"model\":\"a\",\"x\":1}", ""},
		/* not the end of an object */
		{"{\"x\":1,\"model\":\"a\"", ""},
		{"[{\"x\":1,\"model\":\"a\"}]", ""},
		{"{\"x\":1,\"model\":\"a\"}x", ""},
		{"x=1|,\"model\":\"a\"}", "a"}, /* no object at all: its server refuses it */
		{"{\"x\":1,\"model\":7}", ""},
		{"{\"x\":1,\"model\":\"\"}", ""},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *bar = strchr(rows[i].body, '|');
		size_t before = bar ? (size_t)(bar - rows[i].body) : 0, size;
		char body[512] = "";

		size = (size_t)snprintf(body, sizeof(body), "%.*s%s", (int)before, rows[i].body,
					rows[i].body + (bar ? before + 1 : 0));
		for (size_t seen = 0; seen <= size; seen++)
			assert_string_equal(last_in(body, size, seen, '"'),
					    seen >= size - before ? rows[i].name : "");
	}
}

/* Returns where the prompt begins, 0: it does not, and in *model the name before it. */
static uint32_t prompt_in(const char *body, size_t size, int beyond, const char **model)
{
	static struct model_scan s;

	model_begin_prompt(&s, (uint32_t)size);
	read_words(&s, body, size, beyond);
	*model = (const char *)s.before;
	return s.state == MODEL_FOUND ? s.length : 0;
}

/* A bar stands where the prompt begins. */
static void test_prompts(void **state)
{
	static const struct {
		const char *body, *model;
	} rows[] = {
		{"{\"messages\":|[{\"role\":\"user\"", ""},
		{"{\"model\":\"a\",\"messages\":|[", "a"},
		{"{\"model\": \"a\", \"temperature\": 0.7, \"messages\": |[{", "a"},
		{" {\r\n\t\"model\" : \"llama-8b:sql\" , \"prompt\" : |\"Say", "llama-8b:sql"},
		{"{\"prompt\":|[1,2,3]}", ""},
		{"{\"model\":\"a\",\"input\":|\"text\"}", "a"},
		{"{\"inputs\":|\"text\",\"parameters\":{}}", ""},
		{"{\"stream\":true,\"stop\":[\"}\",\"]\"],\"messages\":|[", ""},
		{"{\"metadata\":{\"prompt\":1,\"messages\":[]},\"messages\":|[", ""},
		{"{\"user\":\"\\\"messages\\\":\",\"messages\":|[", ""},
		{"{\"mess\\u0061ges\":|[", ""},
		/* the first of two */
		{"{\"prompt\":|\"a\",\"messages\":[]}", ""},
		{"{\"messages\":|[],\"model\":\"a\"}", ""},
		{"{\"model\":\"a\",\"model\":\"b\",\"messages\":|[", "b"},
		/* a model whose name is none, or not whole */
		{"{\"model\":null,\"messages\":|[", ""},
		{"{\"model\":{\"a\":[]},\"messages\":|[", ""},
		{"{\"model\":\"\",\"messages\":|[", ""},
		{"{\"model\":\"a\303\244b\",\"messages\":|[", "a"},
		{"{\"model\":\"" LONG_127 "78\",\"messages\":|[", LONG_127},
		/* nothing of the sort */
		{"{\"model\":\"a\",\"Messages\":[],\"prompts\":1,\"input \":2,\"message\":3}",
		 NULL},
		{"{\"text\":\"messages\",\"a\":\"prompt\"}", NULL},
		{"[\"messages\",{\"messages\":[]}]", NULL},
		{"{\"messages\":", NULL},
		{"{\"messages\":  ", NULL},
		{"{\"messages\" \"prompt\":1}", NULL},
		{"{}{\"messages\":[]}", NULL},
		{"messages=1", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *bar = rows[i].model ? strchr(rows[i].body, '|') : NULL, *model;
		size_t before = bar ? (size_t)(bar - rows[i].body) : 0;
		char body[512] = "";

		snprintf(body, sizeof(body), "%.*s%s", (int)before, rows[i].body,
			 rows[i].body + (bar ? before + 1 : 0));
		for (int beyond = 0; beyond < 256; beyond += 0x22) {
			assert_int_equal(prompt_in(body, strlen(body), beyond, &model), before);
			if (rows[i].model)
				assert_string_equal(model, rows[i].model);
			/* Whatever follows; but its first byte must be there. */
			if (bar) {
				assert_int_equal(prompt_in(body, before + 1, beyond, &model),
						 before);
				assert_int_equal(prompt_in(body, before, beyond, &model), 0);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),   cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_offsets), cmocka_unit_test(test_last_bytes),
		cmocka_unit_test(test_prompts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
