// SPDX-License-Identifier: Apache-2.0
/* Workloads and traces: what is read, and which message at which line refuses the rest. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../lab/load/load_trace.h"
#include "../../lab/load/load_workload.h"

static char said[8192];

static void say(void *arg, const char *file, int line, int column, const char *message)
{
	size_t used = strlen(said);

	(void)arg;
	assert_true(line > 0 && column > 0);
	snprintf(said + used, sizeof(said) - used, "%s:%d: %s\n", file, line, message);
}

static const struct yaml_sink sink = {.error = say, .warning = say};

static int parse(const char *text, struct workload **out)
{
	*said = '\0';
	return workload_parse("w", text, strlen(text), &sink, out);
}

#define CLASS "classes:\n- name: a\n  prompt: 10\n  output: 5\n"
#define WHOLE CLASS "  arrival: {rate: 1}\n"

/* -- workloads -------------------------------------------------------------------- */

static void test_all_keys(void **state)
{
	static const char text[] = "description: all of them\n"
				   "source: 10.99.0.0/16\n"
				   "classes:\n"
				   "- name: open\n"
				   "  arrival:\n"
				   "    process: gamma\n"
				   "    cv: 2.5\n"
				   "    rate: [{at: 0s, rate: 1}, {at: 1m, rate: 9.5}]\n"
				   "    bursts: {every: 10s, length: 500ms, factor: 4}\n"
				   "  turns: {mean: 3.5, max: 9}\n"
				   "  think: {median: 2s, sigma: 0.5, max: 1m}\n"
				   "  shared: {groups: 7, zipf: 1.1, tokens: {from: 10, to: 20}}\n"
				   "  context: 300\n"
				   "  prompt: {median: 99.5, sigma: 1, min: 4, max: 999}\n"
				   "  output: {mean: 20}\n"
				   "  history: false\n"
				   "  connection: per-request\n"
				   "  addresses: group\n"
				   "  priority: 3\n"
				   "- {name: closed, arrival: {users: 12, spread: 3s}, prompt: 1, "
				   "output: 1}\n";
	struct workload *w = NULL;

	(void)state;
	assert_int_equal(parse(text, &w), 0);
	assert_string_equal(said, "");
	assert_string_equal(w->description, "all of them");
	assert_true(w->source.set && w->says_source && w->source.bits == 112);
	assert_int_equal(w->class_count, 2);

	const struct workload_class *c = &w->classes[0];

	assert_string_equal(c->name, "open");
	assert_int_equal(c->users, 0);
	assert_int_equal(c->arrival.process, ARRIVAL_GAMMA);
	assert_true(c->arrival.cv == 2.5 && c->arrival.point_count == 2);
	assert_true(c->arrival.points[1].at_ns == 60 * NSEC_PER_SEC &&
		    c->arrival.points[1].rate == 9.5);
	assert_true(c->arrival.burst_every_ns == 10 * NSEC_PER_SEC &&
		    c->arrival.burst_length_ns == 500 * NSEC_PER_MSEC &&
		    c->arrival.burst_factor == 4);
	assert_true(c->turns.shape == DIST_EXPONENTIAL && c->turns.a == 3.5 && c->turns.max == 9 &&
		    c->turns.min == 1);
	assert_true(c->think.shape == DIST_LOGNORMAL && c->think.a == 2e9 && c->think.max == 60e9);
	assert_true(c->groups == 7 && c->zipf == 1.1 && c->shared.shape == DIST_UNIFORM &&
		    c->shared.a == 10 && c->shared.b == 20);
	assert_true(c->context.shape == DIST_CONSTANT && c->context.a == 300);
	assert_true(c->prompt.a == 99.5 && c->prompt.b == 1 && c->prompt.min == 4);
	assert_true(c->output.shape == DIST_EXPONENTIAL && c->output.a == 20);
	assert_false(c->history);
	assert_int_equal(c->connection, CONNECTION_EACH);
	assert_int_equal(c->addresses, ADDRESSES_GROUP);
	assert_int_equal(c->priority, 3);

	c = &w->classes[1];
	assert_int_equal(c->users, 12);
	assert_true(c->spread_ns == 3 * NSEC_PER_SEC && c->arrival.point_count == 0);
	/* the defaults */
	assert_true(c->turns.a == 1 && c->think.a == 0 && c->context.a == 0 && c->shared.a == 0);
	assert_true(c->history && c->connection == CONNECTION_KEPT &&
		    c->addresses == ADDRESSES_SESSION && c->priority == -1);
	workload_free(w);
}

/* A file, and a part of the one message that it must give. */
static void test_mistakes(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "w:1: the file holds no document; begin with classes:"},
		{"classes: [", "w:2: not YAML"},
		{"x: 1\n" WHOLE, "w:1: unknown key \"x\" in the file; known here: description"},
		{"clases: []\n" WHOLE, "w:1: unknown key \"clases\" in the file; did you mean"},
		{"description: a\n", "w:1: \"classes\" is missing in the file; add it"},
		{"classes: 7\n", "w:1: classes is no list"},
		{"classes: []\n", "w:1: classes is no list with something in it"},
		{"classes: [7]\n", "w:1: a class is one value; write a mapping"},
		{"- a\n", "w:1: the file is a list; write a mapping"},
		{"description: \"\"\n" WHOLE, "w:1: description is no line of text"},
		{"description: [a]\n" WHOLE, "w:1: description is no line of text"},
		{"source: 10.0.0.1/8\n" WHOLE, "w:1: source is \"10.0.0.1/8\", which is no prefix; "
					       "set no bit beyond"},
		{"source: nix\n" WHOLE,
		 "w:1: source is \"nix\", which is no prefix; write none, or"},
		{"source: {}\n" WHOLE, "w:1: source is a mapping"},
		{WHOLE "  name: b\n",
		 "w:6: \"name\" stands here again; keep this or that of line 2"},
		{WHOLE "- {name: a, prompt: 1, output: 1, arrival: {users: 1}}\n",
		 "w:6: a second class is called \"a\""},
		{"classes:\n- {prompt: 1, output: 1, arrival: {users: 1}}\n",
		 "w:2: \"name\" is missing in a class"},
		{"classes:\n- {name: A b, prompt: 1, output: 1, arrival: {users: 1}}\n",
		 "w:2: name is \"A b\", with a character that a name cannot have"},
		{CLASS, "w:2: \"arrival\" is missing in a class"},
		{CLASS "  arrival: 7\n", "w:5: arrival is one value; write a mapping"},
		{CLASS "  arrival: {}\n", "w:5: arrival says not how many sessions begin"},
		{CLASS "  arrival: {rate: 0}\n", "w:5: rate is \"0\", which is out of range"},
		{CLASS "  arrival: {rate: .nan}\n", "w:5: rate is \".nan\", which is not finite"},
		{CLASS "  arrival: {rate: fast}\n", "w:5: rate is \"fast\", which is no number"},
		{CLASS "  arrival: {rate: {at: 1s}}\n", "w:5: rate is a mapping; write sessions"},
		{CLASS "  arrival: {rate: []}\n", "w:5: rate is empty"},
		{CLASS "  arrival: {rate: [{at: 0s, rate: 0}]}\n", "w:5: rate is 0 at every point"},
		{CLASS "  arrival: {rate: [{at: 1s, rate: 1}, {at: 0s, rate: 1}]}\n",
		 "w:5: a point of rate lies before the one above"},
		{CLASS "  arrival: {rate: [{rate: 1}]}\n", "w:5: \"at\" is missing in a point"},
		{CLASS "  arrival: {rate: [{at: 5, rate: 1}]}\n",
		 "w:5: rate.at is \"5\", without a"},
		{CLASS "  arrival: {rate: 1, process: poison}\n",
		 "w:5: arrival.process is \"poison\", which is not known; did you mean poisson?"},
		{CLASS "  arrival: {rate: 1, process: gamma}\n",
		 "w:5: \"cv\" is missing for the process gamma"},
		{CLASS "  arrival: {rate: 1, cv: 2}\n", "w:5: cv is of the process gamma"},
		{CLASS "  arrival: {rate: 1, spread: 2s}\n", "w:5: spread is the time over which"},
		{CLASS "  arrival: {rate: 1, users: 2}\n", "w:5: rate does not go with users"},
		{CLASS "  arrival: {users: 0}\n", "w:5: arrival.users is \"0\", which is out of"},
		{CLASS "  arrival: {users: 1.5}\n", "w:5: arrival.users is \"1.5\", which is not"},
		{CLASS "  arrival: {rate: 1, bursts: {every: 1s, length: 1s, factor: 2}}\n",
		 "w:5: bursts are no shorter than the time between"},
		{CLASS "  arrival: {rate: 1, bursts: {every: 2s, length: 1s}}\n",
		 "w:5: \"factor\" is missing"},
		{WHOLE "  turns: 0\n", "w:6: turns is \"0\", which is out of range; write a whole"},
		{WHOLE "  turns: 1.5\n", "w:6: turns is \"1.5\", which is not whole"},
		{WHOLE "  turns: {mean: 0.5}\n",
		 "w:6: turns.mean is \"0.5\", which is out of range"},
		{WHOLE "  turns: {}\n", "w:6: turns is no distribution; write one of these"},
		{WHOLE "  turns: {mean: 2, from: 1, to: 2}\n",
		 "w:6: turns is no distribution; write"},
		{WHOLE "  turns: {median: 2}\n",
		 "w:6: turns is no distribution; write both median"},
		{WHOLE "  turns: {mean: 2, sigma: 1}\n",
		 "w:6: turns is no distribution; write both"},
		{WHOLE "  turns: {median: 2, sigma: 9}\n",
		 "w:6: turns.sigma is \"9\", which is out"},
		{WHOLE "  turns: {from: 3, to: 2}\n",
		 "w:6: turns is no distribution; write from no"},
		{WHOLE "  turns: {from: 3}\n", "w:6: turns is no distribution; write both from"},
		{WHOLE "  turns: {mean: 3, min: 9, max: 2}\n",
		 "w:6: turns is no distribution; write"},
		{WHOLE "  turns: {men: 3}\n", "w:6: unknown key \"men\" in turns; did you mean"},
		{WHOLE "  turns: [1]\n", "w:6: turns is a list; write a number, or a mapping"},
		{WHOLE "  turns: {mean: [1]}\n", "w:6: turns.mean is a list; write a number"},
		{WHOLE "  think: 3\n", "w:6: think is \"3\", without a unit; write 3 and ms, s, m"},
		{WHOLE "  think: {mean: 3}\n", "w:6: think.mean is \"3\", without a unit"},
		{WHOLE "  think: 2d\n", "w:6: think is \"2d\", with a unit that is not known"},
		{WHOLE "  think: {mean: 0s}\n", "w:6: think is no distribution; write a mean or"},
		{WHOLE "  context: -1\n", "w:6: context is \"-1\", which is out of range"},
		{WHOLE "  context: 1000001\n",
		 "w:6: context is \"1000001\", which is out of range"},
		{WHOLE "  shared: {groups: 2}\n", "w:6: \"tokens\" is missing in shared"},
		{WHOLE "  shared: {tokens: 9, groups: 0}\n", "w:6: shared.groups is \"0\""},
		{WHOLE "  history: maybe\n", "w:6: history is \"maybe\", which is neither; write"},
		{WHOLE "  connection: often\n", "w:6: connection is \"often\", which is not known"},
		{WHOLE "  addresses: all\n", "w:6: addresses is \"all\", which is not known"},
		{WHOLE "  priority: -1\n", "w:6: priority is \"-1\", which is out of range"},
		{WHOLE "  context: &x 3\n", "w:6: anchors (&name) are not supported"},
		{WHOLE "  ? [a]\n  : 1\n", "w:6: a key is a list; write a name"},
		{WHOLE "---\nx: 1\n", "w:6: a second document begins"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct workload *w = NULL;

		if (!parse(cases[i].text, &w) || w)
			fail_msg("taken: %s", cases[i].text);
		if (strncmp(said, cases[i].says, strlen(cases[i].says)) != 0)
			fail_msg("of\n%s\nis said\n%s\nnot\n%s", cases[i].text, said,
				 cases[i].says);
		if (strchr(said, '\n')[1])
			fail_msg("of\n%s\nmore is said than once:\n%s", cases[i].text, said);
	}
}

/* All mistakes of a file are reported, in the file's order. */
static void test_all_mistakes(void **state)
{
	struct workload *w = NULL;

	(void)state;
	assert_int_equal(parse(WHOLE "  turns: 0\n  think: 3\nsource: x\n", &w), -EINVAL);
	assert_non_null(strstr(said, "w:6: turns"));
	assert_non_null(strstr(said, "w:7: think"));
	assert_non_null(strstr(said, "w:8: source"));
}

static void test_too_much(void **state)
{
	char *text = malloc(2U << 20);
	struct workload *w = NULL;
	size_t used = 0;

	(void)state;
	assert_non_null(text);
	used += (size_t)sprintf(text, "classes:\n");
	for (int i = 0; i < WORKLOAD_MAX_CLASSES + 1; i++)
		used += (size_t)sprintf(text + used,
					"- {name: c%d, prompt: 1, output: 1, "
					"arrival: {users: 1}}\n",
					i);
	assert_int_equal(parse(text, &w), -EINVAL);
	assert_string_equal(said, "w:18: more than 16 classes; remove some\n");

	used = (size_t)sprintf(text, CLASS "  arrival:\n    rate:\n");
	for (int i = 0; i < WORKLOAD_MAX_POINTS + 1; i++)
		used += (size_t)sprintf(text + used, "    - {at: %ds, rate: 1}\n", i);
	assert_int_equal(parse(text, &w), -EINVAL);
	assert_string_equal(said, "w:71: more than 64 points of rate; remove some\n");

	memset(text, '#', (2U << 20) - 1);
	text[(2U << 20) - 1] = '\0';
	assert_int_equal(parse(text, &w), -EINVAL);
	assert_string_equal(said, "w:1: the file is larger than 1 MiB; remove some\n");
	*said = '\0';
	assert_int_equal(workload_load("/no/such/file", &sink, &w), -ENOENT);
	assert_non_null(strstr(said, "/no/such/file:1: cannot be read: No such file"));
	free(text);
}

static void test_overrides(void **state)
{
	static const char text[] =
		"classes:\n"
		"- {name: a, prompt: 1, output: 1, arrival: {rate: 1}}\n"
		"- {name: b, prompt: 1, output: 1, arrival: {rate: [{at: 0s, rate: 0}, {at: 9s, "
		"rate: 3}]}}\n"
		"- {name: c, prompt: 1, output: 1, arrival: {users: 10}}\n"
		"- {name: d, prompt: 1, output: 1, arrival: {users: 30}}\n";
	struct workload *w = NULL;

	(void)state;
	assert_int_equal(parse(text, &w), 0);
	assert_true(workload_set_rate(w, 8));
	assert_true(w->classes[0].arrival.points[0].rate == 2);
	assert_true(w->classes[1].arrival.points[0].rate == 0);
	assert_true(w->classes[1].arrival.points[1].rate == 6);
	assert_true(workload_set_users(w, 4));
	assert_int_equal(w->classes[2].users + w->classes[3].users, 4);
	assert_int_equal(w->classes[2].users, 1);
	assert_true(workload_set_users(w, 400));
	assert_true(w->classes[2].users == 100 && w->classes[3].users == 300);
	assert_true(workload_set_users(w, 10)); /* 2.5 and 7.5 */
	assert_int_equal(w->classes[2].users + w->classes[3].users, 10);
	assert_true(w->classes[2].users >= 2 && w->classes[2].users <= 3);
	assert_true(workload_set_users(w, 2));
	assert_true(w->classes[2].users == 1 && w->classes[3].users == 1);
	assert_false(workload_set_users(w, 1));
	assert_true(w->classes[0].users == 0);
	workload_free(w);
	w = NULL;
	assert_int_equal(parse(WHOLE, &w), 0);
	assert_false(workload_set_users(w, 7));
	workload_free(w);
	w = NULL;
	assert_int_equal(parse(CLASS "  arrival: {users: 3}\n", &w), 0);
	assert_false(workload_set_rate(w, 7));
	workload_free(w);
}

/* Every file of the folder is built in unchanged, and is valid. */
static void test_builtins(void **state)
{
	DIR *folder = opendir("lab/load/workloads");
	size_t files = 0;

	(void)state;
	assert_non_null(folder);
	for (struct dirent *e; (e = readdir(folder));) {
		char path[512], name[256], text[16384];
		const struct workload_builtin *b;
		struct workload *w = NULL;
		size_t size;
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "lab/load/workloads/%s", e->d_name);
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(e->d_name, "."), e->d_name);
		f = fopen(path, "r");
		assert_non_null(f);
		size = fread(text, 1, sizeof(text), f);
		fclose(f);
		b = workload_find(name);
		if (!b)
			fail_msg("%s is not built in", path);
		assert_int_equal(b->end - b->text, size);
		assert_memory_equal(b->text, text, size);
		*said = '\0';
		assert_int_equal(workload_parse(name, text, size, &sink, &w), 0);
		assert_string_equal(said, "");
		assert_non_null(w->description);
		workload_free(w);
		files++;
	}
	closedir(folder);
	assert_int_equal(files, workload_builtin_count);
	assert_null(workload_find("chat"));
}

/* -- traces ----------------------------------------------------------------------- */

static int parse_trace(const char *text, struct trace *out)
{
	char *copy = strdup(text);
	int err;

	assert_non_null(copy);
	*said = '\0';
	err = trace_parse("t", copy, strlen(text), TRACE_ID_TOKENS, &sink, out);
	free(copy);
	return err;
}

static void test_trace_forms(void **state)
{
	static const char *const texts[] = {
		"{\"time\": 10.5, \"session\": \"x\", \"prompt_tokens\": 7, \"output_tokens\": 3}\n"
		"\n"
		"# a comment\r\n"
		"{\"time\": 10.5, \"session\": 9, \"prompt_tokens\": 8, \"output_tokens\": 4, "
		"\"group\": \"g\"}\n"
		"{\"group\": \"g\", \"shared_tokens\": 5, \"time\": 11.75, \"session\": \"x\", "
		"\"prompt_tokens\": 9, \"output_tokens\": 5, \"other\": [1]}",
		"time,session,prompt_tokens,output_tokens,group,shared_tokens\r\n"
		"10.5,x,7,3,,\r\n"
		"10.5, 9, 8, 4, g,\n"
		"11.75,\"x\",9,5,g,5\n",
		"shared_tokens,output_tokens,session,group,time,prompt_tokens\n"
		",3,x,,10.5,7\n,4,9,g,10.5,8\n5,5,x,g,11.75,9",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct trace t = {0};

		if (parse_trace(texts[i], &t))
			fail_msg("%s", said);
		assert_int_equal(t.count, 3);
		assert_int_equal(t.sessions, 2);
		assert_int_equal(t.groups, 1);
		const struct trace_request wanted[] = {
			{0, 0, TRACE_NONE, 7, 3, TRACE_NONE, 0, 0},
			{0, 1, 0, 8, 4, TRACE_NONE, 0, 0},
			{1250 * NSEC_PER_MSEC, 0, 0, 9, 5, 5, 0, 0},
		};

		for (int k = 0; k < 3; k++) {
			const struct trace_request *q = &t.requests[k];

			assert_true(q->at_ns == wanted[k].at_ns);
			assert_int_equal(q->session, wanted[k].session);
			assert_int_equal(q->group, wanted[k].group);
			assert_int_equal(q->prompt_tokens, wanted[k].prompt_tokens);
			assert_int_equal(q->output_tokens, wanted[k].output_tokens);
			assert_int_equal(q->shared_tokens, wanted[k].shared_tokens);
		}
		trace_free(&t);
	}
}

#define HEADER     "time,session,prompt_tokens,output_tokens\n"
#define JSON(more) "{\"time\":0,\"session\":1,\"prompt_tokens\":9,\"output_tokens\":1" more "}\n"

#define AZURE "TIMESTAMP,ContextTokens,GeneratedTokens\n"
#define MOONCAKE(ids)                                                                              \
	"{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":[" ids "]}\n"

/* Published traces, as they are. */
static void test_foreign_traces(void **state)
{
	static const struct {
		const char *text;
		uint32_t count, sessions, groups;
		struct trace_request last;
	} cases[] = {
		/* Azure writes CRLF, and its later traces a zone. */
		{AZURE "2023-11-16 23:59:59.7500000,374,44\r\n"
		       "2023-11-17 00:00:01.2500000,396,109\r\n",
		 2,
		 2,
		 0,
		 {1500 * NSEC_PER_MSEC, 1, TRACE_NONE, 396, 109, TRACE_NONE, 0, 0}},
		{AZURE "2024-05-10 00:00:00.250000+00:00,10,20\n2024-05-10 00:00:01Z,30,40\n",
		 2,
		 2,
		 0,
		 {750 * NSEC_PER_MSEC, 1, TRACE_NONE, 30, 40, TRACE_NONE, 0, 0}},
		/* A request that failed has no response tokens. */
		{"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
		 "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,30,0,30,API log\n"
		 "118,ChatGPT,1087,230,1317,Conversation log\n",
		 2,
		 2,
		 0,
		 {113 * NSEC_PER_SEC, 1, TRACE_NONE, 1087, 230, TRACE_NONE, 0, 0}},
		{"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens\n"
		 "0,7,1.5,GPT-4,4,5\n1,8,1,GPT-4,6,7\n2,7,1,GPT-4,8,9\n",
		 3,
		 2,
		 0,
		 {2 * NSEC_PER_SEC, 0, TRACE_NONE, 8, 9, TRACE_NONE, 0, 0}},
		/* The last shares blocks 0 and 4 with the second, and 0 alone with the first. */
		{"{\"timestamp\": 100, \"input_length\": 1100, \"output_length\": 52, "
		 "\"hash_ids\": [0, 1, 2]}\n"
		 "{\"timestamp\": 100, \"input_length\": 1000, \"output_length\": 5, "
		 "\"hash_ids\": [0, 4]}\n"
		 "{\"timestamp\": 3100, \"input_length\": 900, \"output_length\": 6, "
		 "\"hash_ids\": [8, 9]}\n"
		 "{\"timestamp\": 3100, \"input_length\": 1300, \"output_length\": 7, "
		 "\"hash_ids\": [0, 4, 5]}\n",
		 4,
		 3,
		 2,
		 {3 * NSEC_PER_SEC, 1, 0, 1300, 7, 512, 3, 7}},
		{"{\"timestamp\": 0, \"input_length\": 3, \"output_length\": 2}\n",
		 1,
		 1,
		 0,
		 {0, 0, TRACE_NONE, 3, 2, TRACE_NONE, 0, 0}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct trace_request *q, *wanted = &cases[i].last;
		struct trace t = {0};

		if (parse_trace(cases[i].text, &t))
			fail_msg("%s", said);
		assert_int_equal(t.count, cases[i].count);
		assert_int_equal(t.sessions, cases[i].sessions);
		assert_int_equal(t.groups, cases[i].groups);
		q = &t.requests[t.count - 1];
		assert_int_equal(q->at_ns / 1000, wanted->at_ns / 1000);
		assert_int_equal(q->session, wanted->session);
		assert_int_equal(q->group, wanted->group);
		assert_int_equal(q->prompt_tokens, wanted->prompt_tokens);
		assert_int_equal(q->output_tokens, wanted->output_tokens);
		assert_int_equal(q->shared_tokens, wanted->shared_tokens);
		assert_int_equal(q->id_count, wanted->id_count);
		assert_int_equal(q->first_id, wanted->first_id);
		if (q->id_count)
			assert_int_equal(t.ids[q->first_id + 1], 4);
		trace_free(&t);
	}
}

static void test_broken_traces(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "t:1: no requests; write one a line, with time, session"},
		{HEADER, "t:1: no requests"},
		{"\n\n# nothing\n", "t:1: no requests"},
		{"time,session\n0,1\n", "t:1: the header does not name prompt_tokens"},
		{"time,session,prompt_tokens,output_tokens,when\n",
		 "t:1: the header names a column "
		 "\"when\"; it may name time"},
		{"time,session,prompt_tokens,output_tokens,time\n",
		 "t:1: the header names a column "
		 "\"time\" twice"},
		{"1,2,3,4\n", "t:1: the header names a column \"1\""},
		{HEADER "0,1,2\n", "t:2: 3 fields; write 4, as the header has"},
		{HEADER "0,1,2,3,4,5,6,7,8\n", "t:2: 9 fields; write 4"},
		{HEADER "0,,2,3\n", "t:2: session is missing; each request needs time"},
		{HEADER "x,1,2,3\n", "t:2: time is \"x\"; write a number from 0 to"},
		{HEADER "nan,1,2,3\n", "t:2: time is \"nan\"; write a number"},
		{HEADER "-1,1,2,3\n", "t:2: time is \"-1\""},
		{HEADER "0,1,0,3\n", "t:2: prompt_tokens is \"0\"; write a whole number from 1 to"},
		{HEADER "0,1,2.5,3\n", "t:2: prompt_tokens is \"2.5\"; write a whole number"},
		{HEADER "0,1,2,9999999\n", "t:2: output_tokens is \"9999999\"; write a whole"},
		{HEADER "5,1,2,3\n4,1,2,3\n", "t:3: time is before that of the line above; sort"},
		{HEADER "0,1,2,3\n1e9,1,2,3\n", "t:3: time is more than a year after the first"},
		{HEADER "0,1,2,3\n" JSON(""), "t:3: JSON in a CSV; keep to one form"},
		{JSON("") "0,1,2,3\n", "t:2: no JSON object; keep to one form"},
		{JSON("") "[1]\n", "t:2: no JSON object; keep to one form"},
		{JSON("") "{\"time\": \n", "t:2: no JSON object; write one a line"},
		{"{}\n", "t:1: time is missing; each request needs"},
		{JSON(",\"group\":[]"), "t:1: group is neither a number nor a text"},
		{JSON(",\"shared_tokens\":3"), "t:1: shared_tokens without a group"},
		{JSON("") MOONCAKE("1"), "t:2: time is missing; each request needs time, session"},
		{MOONCAKE("1") JSON(""),
		 "t:2: timestamp is missing; each request needs timestamp (ms)"},
		{"{\"input_length\":5,\"timestamp\":1}\n",
		 "t:1: output_length is missing; each request needs timestamp (ms), input_length"},
		{MOONCAKE("1") MOONCAKE("1,-3"), "t:2: hash_ids holds something else than whole"},
		{MOONCAKE("1.5"), "t:1: hash_ids holds something else than whole numbers"},
		{MOONCAKE("\"a\""), "t:1: hash_ids holds something else than whole numbers"},
		{"{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":7}\n",
		 "t:1: hash_ids is no list; write [0, 1, 2]"},
		{AZURE "yesterday,1,2\n",
		 "t:2: TIMESTAMP is \"yesterday\"; write a time such as 2023-11-16 18:15:46.6805900"},
		{AZURE "2023-11-16 18:15:46.6e3,1,2\n",
		 "t:2: TIMESTAMP is \"2023-11-16 18:15:46.6e3\""},
		{AZURE "2023-11-16 18:15:46 PST,1,2\n", "t:2: TIMESTAMP is"},
		{AZURE "2023-11-16 18:15:46,x,2\n", "t:2: ContextTokens is \"x\"; write a whole"},
		{AZURE "2023-11-16 18:15:46,2\n", "t:2: 2 fields; write 3, as the header has"},
		{AZURE "2023-11-16 18:15:46,0,2\n",
		 "t:1: no requests; write one a line, with TIMESTAMP"},
		{"Timestamp,Model,Request tokens\n",
		 "t:1: the header does not name Response tokens; it must name Timestamp, Request"},
		{"Timestamp,Request tokens,Response tokens,Timestamp\n",
		 "t:1: the header names a column \"Timestamp\" twice"},
		{",,,,,,,,,,,,,,,,,\n", "t:1: the header names 18 columns; leave 16 at most"},
		{JSON(",\"group\":1,\"shared_tokens\":10"), "t:1: shared_tokens is \"10\"; write"},
	};
	char *text = malloc(300000);
	struct trace t = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (parse_trace(cases[i].text, &t) != -EINVAL || t.count)
			fail_msg("taken: %s", cases[i].text);
		if (strncmp(said, cases[i].says, strlen(cases[i].says)) != 0)
			fail_msg("of\n%s\nis said\n%s\nnot\n%s", cases[i].text, said,
				 cases[i].says);
	}
	assert_non_null(text);
	memset(text, 'x', 299999);
	text[299999] = '\0';
	assert_int_equal(parse_trace(text, &t), -EINVAL);
	assert_string_equal(said, "t:1: longer than 262144 characters; write one request a line\n");
	*said = '\0';
	memcpy(text, "a\0b\n", 5);
	assert_int_equal(trace_parse("t", text, 4, TRACE_ID_TOKENS, &sink, &t), -EINVAL);
	assert_string_equal(said, "t:1: a NUL; save the file as text\n");
	free(text);
	*said = '\0';
	assert_int_equal(trace_load("/", TRACE_ID_TOKENS, &sink, &t), -EISDIR);
	assert_non_null(strstr(said, "/:1: cannot be read: Is a directory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_keys),       cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_all_mistakes),   cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_overrides),      cmocka_unit_test(test_builtins),
		cmocka_unit_test(test_trace_forms),    cmocka_unit_test(test_broken_traces),
		cmocka_unit_test(test_foreign_traces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
