// SPDX-License-Identifier: Apache-2.0
/* pintle-load: prompts, events of a stream, source addresses. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../lab/load/load_answer.h"
#include "../../lab/load/load_session.h"
#include "../../lab/load/load_source.h"
#include "../../lab/load/load_sse.h"
#include "../../lab/load/load_text.h"

/* -- texts ------------------------------------------------------------------------ */

static void test_text_is_a_stream(void **state)
{
	struct buf whole = {}, part = {};

	(void)state;
	load_text(&whole, 42, 0, 1000);
	assert_int_equal(whole.size, 4000);
	for (size_t i = 0; i < whole.size; i++)
		assert_true(i % 4 == 3 ? whole.data[i] == ' '
				       : whole.data[i] >= 'a' && whole.data[i] <= 'z');
	for (uint32_t from = 0; from < 60; from++) {
		part.size = 0;
		load_text(&part, 42, from, 40);
		assert_memory_equal(part.data, whole.data + (size_t)4 * from, 160);
	}
	part.size = 0;
	load_text(&part, 43, 0, 1000);
	assert_memory_not_equal(part.data, whole.data, 64);
	part.size = 0;
	load_text(&part, 42, 7, 0);
	assert_int_equal(part.size, 0);
	buf_free(&whole);
	buf_free(&part);
}

/* -- sessions --------------------------------------------------------------------- */

static const struct session_form chat = {.chat = true, .model = "a \"model\""};
static const struct session_form plain = {.chat = false, .natural_end = true};

static struct workload_class some_class(void)
{
	return (struct workload_class){
		.groups = 3,
		.turns = {DIST_CONSTANT, 3, 0, 3, 3},
		.shared = {DIST_UNIFORM, 50, 90, 0, 100},
		.context = {DIST_CONSTANT, 30, 0, 30, 30},
		.prompt = {DIST_UNIFORM, 10, 20, 0, 100},
		.output = {DIST_UNIFORM, 5, 9, 0, 100},
		.history = true,
		.priority = -1,
	};
}

static cJSON *ask(struct session *s, const struct session_form *form)
{
	struct buf body = {};
	cJSON *json;

	session_ask(s, form, &body);
	assert_false(body.failed);
	json = cJSON_ParseWithLength(body.data, body.size);
	assert_non_null(json);
	buf_free(&body);
	return json;
}

static const char *message(const cJSON *request, int index, const char *key)
{
	const cJSON *messages = cJSON_GetObjectItem(request, "messages");

	return cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(messages, index), key));
}

static void hear(struct session *s, const struct session_form *form, const char *text)
{
	session_heard(s, form, text, strlen(text));
}

static void test_chat_grows(void **state)
{
	static const char heard[] = "says \"this\"\n\tand \xc3\xa4";
	struct workload_class c = some_class();
	struct session s;
	struct zipf z;
	cJSON *first, *second, *third;
	char beginning[33];

	(void)state;
	assert_int_equal(zipf_init(&z, 3, 0), 0);
	session_begin(&s, &c, 0, &z, 1, 5);
	assert_int_equal(s.turns_left, 3);
	first = ask(&s, &chat);
	hear(&s, &chat, heard);
	second = ask(&s, &chat);
	hear(&s, &chat, "");
	third = ask(&s, &chat);
	assert_int_equal(s.turns_left, 0);

	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(first, "model")),
			    "a \"model\"");
	assert_true(cJSON_IsTrue(cJSON_GetObjectItem(first, "stream")));
	assert_true(cJSON_IsTrue(cJSON_GetObjectItem(first, "ignore_eos")));
	assert_false(cJSON_HasObjectItem(first, "priority"));
	assert_true(cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetObjectItem(first, "stream_options"),
						     "include_usage")));
	double tokens = cJSON_GetNumberValue(cJSON_GetObjectItem(first, "max_tokens"));

	assert_true(tokens >= 5 && tokens <= 9);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(first, "messages")), 2);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(second, "messages")), 4);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(third, "messages")), 6);
	assert_string_equal(message(first, 0, "role"), "system");
	assert_int_equal(strlen(message(first, 0, "content")), 4 * s.shared_tokens);
	assert_string_equal(message(first, 1, "role"), "user");
	/* The context, and a prompt. */
	assert_true(strlen(message(first, 1, "content")) >= 4 * (30 + 10) &&
		    strlen(message(first, 1, "content")) <= 4 * (30 + 20));
	for (int i = 0; i < 2; i++)
		assert_string_equal(message(second, i, "content"), message(first, i, "content"));
	assert_string_equal(message(second, 2, "role"), "assistant");
	assert_string_equal(message(second, 2, "content"), heard);
	/* Only a prompt, with new text. */
	assert_true(strlen(message(second, 3, "content")) <= 4 * 20);
	snprintf(beginning, sizeof(beginning), "%s", message(second, 3, "content"));
	assert_null(strstr(message(first, 1, "content"), beginning));
	for (int i = 0; i < 4; i++)
		assert_string_equal(message(third, i, "content"), message(second, i, "content"));
	assert_string_equal(message(third, 4, "content"), "");
	cJSON_Delete(first);
	cJSON_Delete(second);
	cJSON_Delete(third);
	session_end(&s);
	zipf_free(&z);
}

/* The next prompt of a completion begins with the last prompt and its answer. */
static void test_completions_grow(void **state)
{
	struct workload_class c = some_class();
	cJSON *first, *second;
	const char *one, *two;
	struct session s;
	struct zipf z;

	(void)state;
	c.priority = 4;
	assert_int_equal(zipf_init(&z, 3, 0), 0);
	session_begin(&s, &c, 0, &z, 1, 5);
	first = ask(&s, &plain);
	hear(&s, &plain, "an \"answer\" ");
	second = ask(&s, &plain);
	assert_false(cJSON_HasObjectItem(first, "model"));
	assert_false(cJSON_HasObjectItem(first, "ignore_eos"));
	assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(first, "priority")), 4);
	one = cJSON_GetStringValue(cJSON_GetObjectItem(first, "prompt"));
	two = cJSON_GetStringValue(cJSON_GetObjectItem(second, "prompt"));
	assert_int_equal(strlen(one) % 4, 0);
	assert_memory_equal(two, one, strlen(one));
	assert_memory_equal(two + strlen(one), "an \"answer\" ", 12);
	cJSON_Delete(first);
	cJSON_Delete(second);
	session_end(&s);
	zipf_free(&z);
}

/* Without a history every prompt stands alone, with the session's context. */
static void test_no_history(void **state)
{
	struct workload_class c = some_class();
	cJSON *first, *second;
	struct session s;
	struct zipf z;

	(void)state;
	c.history = false;
	assert_int_equal(zipf_init(&z, 3, 0), 0);
	session_begin(&s, &c, 0, &z, 1, 5);
	first = ask(&s, &chat);
	hear(&s, &chat, "forgotten");
	second = ask(&s, &chat);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(second, "messages")), 2);
	assert_memory_equal(message(first, 1, "content"), message(second, 1, "content"), 120);
	assert_string_not_equal(message(first, 1, "content"), message(second, 1, "content"));
	cJSON_Delete(first);
	cJSON_Delete(second);
	session_end(&s);
	zipf_free(&z);
}

/* Sessions of one group share a text byte for byte, and nothing else. Sessions of two groups share
 * nothing. */
static void test_groups_share(void **state)
{
	struct workload_class c = some_class();
	char *shared[3] = {NULL};
	unsigned int seen[3] = {0};
	struct zipf z;

	(void)state;
	assert_int_equal(zipf_init(&z, 3, 1), 0);
	for (uint64_t number = 0; number < 60; number++) {
		struct session s, again;
		cJSON *request, *same;
		char **text;

		session_begin(&s, &c, 0, &z, 9, number);
		session_begin(&again, &c, 0, &z, 9, number);
		request = ask(&s, &chat);
		same = ask(&again, &chat);
		assert_true(cJSON_Compare(request, same,
					  true)); /* the same seed gives the same request */
		text = &shared[s.group];
		if (!seen[s.group]++)
			*text = strdup(message(request, 0, "content"));
		assert_string_equal(message(request, 0, "content"), *text);
		cJSON_Delete(request);
		cJSON_Delete(same);
		session_end(&s);
		session_end(&again);
	}
	assert_true(seen[0] > seen[2] && seen[2]);
	assert_memory_not_equal(shared[0], shared[1], 64);
	assert_memory_not_equal(shared[0], shared[2], 64);
	/* Another class, another seed or another session has another text. */
	for (int i = 0; i < 3; i++) {
		struct session s, base;
		cJSON *request, *other;

		session_begin(&base, &c, 0, &z, 9, 0);
		session_begin(&s, &c, i == 0, &z, 9 + (i == 1), i == 2);
		request = ask(&base, &chat);
		other = ask(&s, &chat);
		assert_memory_not_equal(message(request, 1, "content"),
					message(other, 1, "content"), 64);
		cJSON_Delete(request);
		cJSON_Delete(other);
		session_end(&s);
		session_end(&base);
	}
	for (int i = 0; i < 3; i++)
		free(shared[i]);
	zipf_free(&z);
}

static cJSON *ask_trace(const struct trace_request *r, const struct session_form *form)
{
	struct workload_class c = some_class();
	struct buf body = {};
	cJSON *json;

	c.shared = (struct dist){DIST_CONSTANT, 25, 0, 25, 25};
	trace_ask(r, &c, form, 3, &body);
	json = cJSON_ParseWithLength(body.data, body.size);
	assert_non_null(json);
	buf_free(&body);
	return json;
}

/* In a trace, all prompts of a session begin with the group's text; then they have the same text,
 * of different lengths. */
static void test_trace_prompts(void **state)
{
	static const struct trace_request requests[] = {
		{0, 1, TRACE_NONE, 40, 5, TRACE_NONE, 0, 0},
		{0, 1, TRACE_NONE, 60, 6, TRACE_NONE, 0, 0},
		{0, 2, 7, 60, 5, TRACE_NONE, 0, 0},
		{0, 3, 7, 60, 5, 30, 0, 0},
		{0, 3, 7, 10, 5, TRACE_NONE, 0, 0},
	};
	const char *prompts[ARRAY_SIZE(requests)];
	cJSON *json[ARRAY_SIZE(requests)], *chatted;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		json[i] = ask_trace(&requests[i], &plain);
		prompts[i] = cJSON_GetStringValue(cJSON_GetObjectItem(json[i], "prompt"));
		assert_int_equal(strlen(prompts[i]), 4 * requests[i].prompt_tokens);
	}
	assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(json[1], "max_tokens")), 6);
	assert_memory_equal(prompts[0], prompts[1], 160);
	assert_memory_not_equal(prompts[0], prompts[2], 64);
	assert_memory_equal(prompts[2], prompts[3], 100);
	assert_memory_not_equal(prompts[2] + 120, prompts[3] + 120, 64);
	assert_memory_equal(prompts[2], prompts[4], 40); /* shorter than the shared text */
	chatted = ask_trace(&requests[3], &chat);
	assert_int_equal(strlen(message(chatted, 0, "content")), 120);
	assert_int_equal(strlen(message(chatted, 1, "content")), 120);
	cJSON_Delete(chatted);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		cJSON_Delete(json[i]);
}

/* -- events ----------------------------------------------------------------------- */

static char events[4096];
static int event_result;

static int on_event(void *arg, char *data, size_t size)
{
	size_t used = strlen(events);

	(void)arg;
	assert_int_equal(data[size], '\0');
	snprintf(events + used, sizeof(events) - used, "<%s>", data);
	return event_result;
}

/* A stream has the same events however it is cut into pieces. */
static void test_sse(void **state)
{
	static const struct {
		const char *stream, *events;
	} cases[] = {
		{"data: a\n\ndata: b\n\n", "<a><b>"},
		{"data: a\r\n\r\ndata: b\r\n\r\n", "<a><b>"},
		{"data: a\r\rdata: b\r\r", "<a><b>"},
		{"data: a\r\ndata: b\r\n\r\n", "<a\nb>"},
		{"data:a\n\n", "<a>"},
		{"data:  a\n\n", "< a>"},
		{"data: a\ndata: b\n\n", "<a\nb>"},
		{"data\n\n", "<>"},
		{"data:\n\n", "<>"},
		{"data: \n\n", "<>"},
		{"data\ndata\n\n", "<\n>"},
		{": a comment\n\nevent: x\nid: 7\ndata: a\nretry: 9\n\n", "<a>"},
		{"database: a\n\ndat: b\n\n", ""},
		{"\n\n\n", ""},
		{"\xef\xbb\xbf"
		 "data: a\n\n",
		 "<a>"},
		{"data: not ended\n", ""},
		{"data: not ended", ""},
		{"data: a\r\n\ndata: b\n\r\n", "<a><b>"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = strlen(cases[i].stream);

		for (size_t cut = 0; cut <= size; cut++) {
			struct sse s = {.event = on_event};

			*events = '\0';
			assert_int_equal(sse_feed(&s, cases[i].stream, cut), 0);
			assert_int_equal(sse_feed(&s, cases[i].stream + cut, size - cut), 0);
			assert_string_equal(events, cases[i].events);
			sse_free(&s);
		}
		struct sse s = {.event = on_event};

		*events = '\0';
		for (size_t at = 0; at < size; at++)
			assert_int_equal(sse_feed(&s, cases[i].stream + at, 1), 0);
		assert_string_equal(events, cases[i].events);
		sse_free(&s);
	}
}

static void test_sse_limits(void **state)
{
	struct sse s = {.event = on_event};
	char *much = malloc(SSE_MAX + 1);
	int err = 0;

	(void)state;
	assert_non_null(much);
	memset(much, 'x', SSE_MAX + 1);
	assert_int_equal(sse_feed(&s, much, SSE_MAX), 0);
	assert_int_equal(sse_feed(&s, much, 1), -EMSGSIZE);
	sse_free(&s);
	/* An event of many lines. */
	s = (struct sse){.event = on_event};
	memcpy(much, "data:", 5);
	much[1023] = '\n';
	for (int i = 0; i < 2000 && !err; i++)
		err = sse_feed(&s, much, 1024);
	assert_int_equal(err, -EMSGSIZE);
	assert_true(s.data.size <= SSE_MAX);
	sse_free(&s);
	free(much);
	/* A callback's return value ends the parsing. */
	s = (struct sse){.event = on_event};
	*events = '\0';
	event_result = 7;
	assert_int_equal(sse_feed(&s, "data: a\n\ndata: b\n\n", 18), 7);
	event_result = 0;
	assert_string_equal(events, "<a>");
	sse_free(&s);
}

static enum answer_event hear_event(struct answer *a, const char *data)
{
	return answer_read(a, data, strlen(data));
}

static void test_answers(void **state)
{
	struct answer a = {.keep_text = true};

	(void)state;
	assert_int_equal(hear_event(&a, "{\"choices\":[{\"delta\":{\"role\":\"assistant\","
					"\"content\":\"\"}}]}"),
			 ANSWER_OTHER);
	assert_int_equal(hear_event(&a, "{\"choices\":[{\"delta\":{\"content\":\"Hi \\\"\"}}]}"),
			 ANSWER_TEXT);
	assert_int_equal(
		hear_event(&a, "{\"choices\":[{\"text\":\"you\",\"finish_reason\":null}]}"),
		ANSWER_TEXT);
	assert_int_equal(
		hear_event(&a, "{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}"),
		ANSWER_TEXT);
	assert_int_equal(
		hear_event(&a, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}"),
		ANSWER_OTHER);
	assert_false(a.aborted || a.done || a.has_usage);
	assert_int_equal(hear_event(&a, "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,"
					"\"completion_tokens\":4,\"prompt_tokens_details\":"
					"{\"cached_tokens\":2}}}"),
			 ANSWER_OTHER);
	assert_true(a.has_usage && a.prompt_tokens == 9 && a.output_tokens == 4 &&
		    a.cached_tokens == 2);
	assert_int_equal(hear_event(&a, "[DONE]"), ANSWER_OTHER);
	assert_true(a.done);
	assert_int_equal(a.text.size, 7);
	assert_memory_equal(a.text.data, "Hi \"you", 7);
	assert_int_equal(hear_event(&a, "{\"choices\":[]}"), ANSWER_BAD);
	answer_free(&a);
	a = (struct answer){};
	assert_int_equal(hear_event(&a, "{\"choices\":[{\"text\":\"x\",\"finish_reason\":"
					"\"abort\"}]}"),
			 ANSWER_TEXT);
	assert_true(a.aborted && !a.text.size);
	answer_free(&a);
}

static void test_bad_events(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"7",
		"\"x\"",
		"[DONE",
		"[DONE] ",
		"{}",
		"{\"choices\":{}}",
		"{\"error\":{\"message\":\"no\"}}",
		"\x80\xff",
		"{\"choices\":[{\"text\":\"\\ud800",
	};
	static const char *const other[] = {
		"{\"choices\":[7]}",
		"{\"choices\":[{\"text\":7}]}",
		"{\"choices\":[{\"delta\":[]}]}",
		"{\"choices\":[],\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1e99,"
		"\"prompt_tokens_details\":[]}}",
		"{\"choices\":[{\"delta\":{\"content\":null}}],\"usage\":null,\"error\":null}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct answer a = {.keep_text = true};

		if (hear_event(&a, bad[i]) != ANSWER_BAD || !*a.problem)
			fail_msg("taken: %s", bad[i]);
		answer_free(&a);
	}
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		struct answer a = {.keep_text = true};

		if (hear_event(&a, other[i]) != ANSWER_OTHER)
			fail_msg("not taken: %s", other[i]);
		assert_int_equal(a.prompt_tokens + a.output_tokens + a.cached_tokens, 0);
		answer_free(&a);
	}
}

/* -- source addresses ------------------------------------------------------------- */

static const char *address(const struct source_prefix *p, uint64_t number)
{
	static char text[INET6_ADDRSTRLEN];
	union load_address a;

	source_address(p, number, &a);
	if (a.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &a.v4.sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &a.v6.sin6_addr, text, sizeof(text));
	return text;
}

static void test_sources(void **state)
{
	static const struct {
		const char *prefix;
		uint64_t number;
		const char *address;
	} cases[] = {
		{"10.99.0.0/16", 0, "10.99.0.1"},
		{"10.99.0.0/16", 255, "10.99.1.0"},
		{"10.99.0.0/16", 65533, "10.99.255.254"},
		{"10.99.0.0/16", 65534, "10.99.0.1"},
		{"127.0.0.0/8", 1000000, "127.15.66.65"},
		{"0.0.0.0/0", 4, "0.0.0.5"},
		{"10.1.2.3", 0, "10.1.2.3"},
		{"10.1.2.3/32", 9, "10.1.2.3"},
		{"10.1.2.2/31", 1, "10.1.2.3"},
		{"10.1.2.0/30", 2, "10.1.2.1"},
		{"fd01::/64", 0, "fd01::1"},
		{"fd01::/64", 0x123456789, "fd01::1:2345:678a"},
		{"fd01::/112", 65535, "fd01::1"},
		{"fd01::7", 3, "fd01::7"},
	};
	char text[ADDR_TEXT_SIZE];
	struct source_prefix p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(source_parse(cases[i].prefix, &p, NULL), 0);
		assert_string_equal(address(&p, cases[i].number), cases[i].address);
	}
	assert_string_equal(source_format(&p, text), "fd01::7/128");
	assert_int_equal(source_parse("10.99.0.0/16", &p, NULL), 0);
	assert_string_equal(source_format(&p, text), "10.99.0.0/16");
	assert_int_equal(source_parse("none", &p, NULL), 0);
	assert_false(p.set);
	assert_string_equal(source_format(&p, text), "none");
}

static void test_bad_sources(void **state)
{
	static const char *const bad[] = {
		"",
		"x",
		"10.0.0.0/33",
		"10.0.0.0/",
		"10.0.0.0/-1",
		"10.0.0.0/ 8",
		"10.0.0.0/8x",
		"10.0.0.1/8",
		"10.0.0/8",
		"fd01::1/64",
		"fd01::/129",
		"::g/64",
		"/8",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc/64",
	};
	struct source_prefix p = {.bits = 77};
	const char *what;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		what = NULL;
		if (!source_parse(bad[i], &p, &what) || !what)
			fail_msg("taken: %s", bad[i]);
	}
	assert_int_equal(p.bits, 77);
}

/* Classes get slices of their own, groups a subnet. */
static void test_source_parts(void **state)
{
	static const struct {
		unsigned int index, count;
		const char *first;
	} cases[] = {
		{0, 1, "10.99.0.1"},   {0, 2, "10.99.0.1"},     {1, 2, "10.99.128.1"},
		{2, 3, "10.99.128.1"}, {15, 16, "10.99.240.1"},
	};
	struct source_prefix p, slice;
	union load_address a, b, c;

	(void)state;
	assert_int_equal(source_parse("10.99.0.0/16", &p, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		slice = source_slice(&p, cases[i].index, cases[i].count);
		assert_string_equal(address(&slice, 0), cases[i].first);
	}
	source_address_in_group(&p, 3, 0, &a);
	assert_int_equal(ntohl(a.v4.sin_addr.s_addr), 0x0a630301);
	source_address_in_group(&p, 3, 254, &b);
	assert_int_equal(ntohl(b.v4.sin_addr.s_addr), 0x0a630301);
	source_address_in_group(&p, 256 + 3, 1, &c); /* there are 256 groups */
	assert_int_equal(ntohl(c.v4.sin_addr.s_addr), 0x0a630302);
	assert_int_equal(source_parse("fd01::/64", &p, NULL), 0);
	source_address_in_group(&p, 5, 9, &a);
	assert_int_equal(a.v6.sin6_addr.s6_addr[13], 5);
	assert_int_equal(a.v6.sin6_addr.s6_addr[15], 10);
	/* Too few addresses to be cut. */
	assert_int_equal(source_parse("10.1.2.3", &p, NULL), 0);
	slice = source_slice(&p, 1, 2);
	assert_string_equal(address(&slice, 0), "10.1.2.3");
	source_address_in_group(&p, 1, 2, &a);
	assert_int_equal(ntohl(a.v4.sin_addr.s_addr), 0x0a010203);
	/* A slice of no prefix is no prefix. */
	assert_int_equal(source_parse("none", &p, NULL), 0);
	assert_false(source_slice(&p, 1, 2).set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_is_a_stream),
		cmocka_unit_test(test_chat_grows),
		cmocka_unit_test(test_completions_grow),
		cmocka_unit_test(test_no_history),
		cmocka_unit_test(test_groups_share),
		cmocka_unit_test(test_trace_prompts),
		cmocka_unit_test(test_sse),
		cmocka_unit_test(test_sse_limits),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_bad_events),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_bad_sources),
		cmocka_unit_test(test_source_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
