/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_settings.c - a file and keys that were set: which settings hold, and why the others do not.
 * The table `cases` reads as a specification.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/config/config.h"

#define HEAD "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\npools:\n"
/* Lines 4 to 6, and 8 to 10. */
#define A(keys)                                                                                    \
	"- name: a\n  frontends: [\"10.77.0.1:8000\"]\n"                                           \
	"  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n" keys
#define B(keys)                                                                                    \
	"- name: b\n  frontends: [\"10.78.0.1:8000\"]\n"                                           \
	"  endpoints: [{name: e, address: \"10.1.0.1:80\"}, {name: f, address: \"10.1.0.2:80\"}]\n" keys

#define MOST 7

struct wanted {
	const char *pool, *key, *value;
	const char *file; /* NULL: the file has no such key or pool */
	const char *why;  /* NULL: the setting holds */
};

static const struct set_case {
	const char *name, *text;
	struct wanted settings[MOST];
	const char *warnings;
} cases[] = {
	{"nothing is set", HEAD A(""), {{0}}, NULL},
	{"keys that the file has, and has not, in mappings that are there, and are not",
	 HEAD A("  weights: {queue: 3}\n  failureMode: FailOpen\n"),
	 {{"a", "weights.queue", "4.5", "3", NULL},
	  {"a", "weights.gpu", "0.5", "0", NULL},
	  {"a", "stickiness.ttl", "100s", "300s", NULL},
	  {"a", "stickiness.group", "source/24", "none", NULL},
	  {"a", "failureMode", "FailClose", "FailOpen", NULL},
	  {"a", "http10", "true", "false", NULL}},
	 "a weights.gpu=0.5: weights.gpu has no effect, because no endpoint names its gpu; give them gpu: "
	 "{index: 0}\n"},
	{"what follows from the hook is what the file says",
	 HEAD A("") B(""),
	 {{"a", "stickiness.key", "source/24", "source", NULL},
	  {"b", "stickiness.key", "mark", "client", NULL}},
	 NULL},
	{"what follows from when it is decided",
	 HEAD A("  decide: request\n"),
	 {{"a", "stickiness.key", "cookie/b, none", "agent, source", NULL},
	  {"a", "stickiness.ttl", "100s", "300s", NULL}},
	 NULL},
	{"a list in the file",
	 HEAD A("  decide: request\n  stickiness: {key: [header/x-a, source/24]}\n"),
	 {{"a", "stickiness.key", "cookie/b, none", "header/x-a, source/24", NULL},
	  {"a", "stickiness.ttl", "100s", "300s", NULL}},
	 NULL},
	{"a list in the file that stays",
	 HEAD A("  decide: request\n  stickiness: {key: [header/x-a, source/24]}\n"),
	 {{"a", "stickiness.shared", "true", "false", NULL},
	  {"a", "stickiness.key", "hint", "header/x-a, source/24",
	   "stickiness.key is hint, which Pintle cannot see for endpoints with listen; write one of none, "
	   "source, destination"},
	  {"a", "stickiness.ttl", "100s", "300s", NULL}},
	 NULL},
	{"values that are wrong by themselves",
	 HEAD A(""),
	 {{"a", "weights.queue", "-1", "2",
	   "weights.queue is \"-1\", which is out of range; write a number from 0 to 1000"},
	  {"a", "stickiness.ttl", "100", "300s",
	   "stickiness.ttl is \"100\", without a unit; write 100 and ms, s, m or h, as in 100ms"},
	  {"a", "weights.gpu", "~", "0", "weights.gpu has no value; write a number from 0 to 1000"},
	  {"a", "http10", "yes", "false",
	   "http10 is \"yes\", which is neither; write true or false"},
	  {"a", "spareHeaders", "Host", "Accept-Encoding, User-Agent",
	   "spareHeaders is \"Host\", with one that the answer needs; write up to 4 names of headers with "
	   "commas between, or none"},
	  {"a", "weights.running", "2", "1", NULL}},
	 NULL},
	{"what is no key, no pool's, or the file's alone",
	 HEAD A(""),
	 {{"a", "nosuch", "1", NULL,
	   "a pool has no key \"nosuch\"; `pintle set --help` lists those that can be set"},
	  {"c", "http10", "true", NULL,
	   "the configuration has no pool \"c\"; `pintle reset` forgets it"},
	  {"a", "scrape.path", "/m", NULL,
	   "scrape.path cannot change by itself while the pool runs; write it into the configuration, then "
	   "`pintle reload`"},
	  {"a", "node.bpffs", "/x", NULL,
	   "a pool has no key \"node.bpffs\"; `pintle set --help` lists those that can be set"},
	  {"a", "dcgm", "x", NULL,
	   "dcgm is a mapping of url, interval; set one of its keys, as in dcgm.interval=VALUE"},
	  {"a", "stickiness", "x", NULL,
	   "stickiness is a mapping of key, group, shared, prefix, ttl, maxExtraLoad; set one of its keys, as in "
	   "stickiness.key=VALUE"},
	  {"a", "mode", "off", "enforce", "mode is not set here; set it by `pintle set`"}},
	 NULL},
	{"what the check refuses with the file",
	 HEAD A("") B("  stickiness: {key: hint, shared: true}\n"),
	 {{"a", "stickiness.key", "hint", "source",
	   "stickiness.key is hint, which Pintle cannot see for endpoints with listen; write one of none, "
	   "source, destination"},
	  {"a", "intercept", "endpoints", "none",
	   "intercept is for endpoints with address: a connection to a listener's own address is the "
	   "server's; remove intercept"},
	  {"a", "dcgm.interval", "1s", "5s",
	   "pool a has no dcgm; write dcgm into the configuration, then `pintle reload`"},
	  {"a", "canary.percent", "10", NULL,
	   "pool a has no canary; write canary into the configuration, then `pintle reload`"},
	  {"b", "stickiness.key", "client", "hint",
	   "t.yaml:10:35: stickiness.shared is for sessions that clients name, but the key is client; write "
	   "key: hint, or remove shared"},
	  {"b", "stickiness.ttl", "1m", "300s", NULL}},
	 NULL},
	{"what the check refuses with what was set before",
	 HEAD B("  stickiness: {key: hint}\n"),
	 {{"b", "stickiness.shared", "true", "false", NULL},
	  {"b", "stickiness.key", "client", "hint",
	   "stickiness.shared is for sessions that clients name, but the key is client; write key: hint, or "
	   "remove shared"}},
	 NULL},
	{"what goes together alone",
	 HEAD B(""),
	 {{"b", "stickiness.key", "hint", "client", NULL},
	  {"b", "stickiness.shared", "true", "false", NULL}},
	 NULL},
	{"one is refused, in a pool that names another, and in that one",
	 HEAD A("  canary: {pool: c, percent: 5}\n")
		 B("") "- name: c\n  frontends: []\n"
		       "  endpoints: [{name: e, listen: \"127.0.0.1:8002\"}]\n",
	 {{"a", "stickiness.key", "hint", "source",
	   "stickiness.key is hint, which Pintle cannot see for endpoints with listen; write one of none, "
	   "source, destination"},
	  {"a", "canary.percent", "20", "5", NULL},
	  {"a", "http10", "true", "false", NULL},
	  {"b", "http10", "true", "false", NULL},
	  {"c", "http10", "true", "false", NULL}},
	 NULL},
	{"warnings are of settings alone, and once",
	 HEAD A("  stickiness: {ttl: 0s}\n"),
	 {{"a", "weights.running", "0", "1", NULL},
	  {"a", "nosuch", "x", NULL, "a pool has no key"}},
	 "t.yaml 7: with stickiness.ttl 0 every binding is forgotten at once; write key: none if that is "
	 "intended\n"
	 "a weights.running=0: with weights.running 0, running requests weigh nothing, and without fresh "
	 "scores no load is known; the default is 1\n"},
};

/* ---- a sink that keeps warnings, and fails on an error ------------------------------- */

static void on_error(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	fail_msg("%s:%d:%d: %s", file, line, column, message);
}

static void on_warning(void *arg, const char *file, int line, int column, const char *message)
{
	(void)column;
	if (line)
		fprintf(arg, "%s %d: %s\n", file, line, message);
	else
		fprintf(arg, "%s: %s\n", file, message);
}

static struct config *judge(const char *text, struct config_setting *s, size_t n, char **warnings)
{
	const struct config_text t = {"t.yaml", (char *)text, strlen(text)};
	size_t size;
	FILE *f = open_memstream(warnings, &size);
	const struct yaml_sink sink = {on_error, on_warning, f};
	struct config *c = NULL;

	assert_int_equal(config_parse_set(&t, NULL, s, n, &sink, &c), 0);
	fclose(f);
	assert_non_null(c);
	return c;
}

static void check_case(const struct set_case *t)
{
	struct config_setting s[MOST] = {0};
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_free_ char *warnings = NULL;
	size_t n = 0;

	for (; n < MOST && t->settings[n].pool; n++) {
		s[n].pool = t->settings[n].pool;
		s[n].key = t->settings[n].key;
		s[n].value = t->settings[n].value;
	}
	c = judge(t->text, s, n, &warnings);
	for (size_t i = 0; i < n; i++) {
		const struct wanted *w = &t->settings[i];
		bool right = s[i].holds == !w->why && !strcmp(s[i].file, w->file ? w->file : "") &&
			     (!w->why || strstr(s[i].why, w->why) == s[i].why);

		if (!right)
			fail_msg("%s: %s=%s: holds %d, file %s, why %s", t->name, w->key, w->value,
				 s[i].holds, s[i].file, s[i].why);
	}
	if (strcmp(warnings, t->warnings ? t->warnings : "") != 0)
		fail_msg("%s: warnings: %s", t->name, warnings);
}

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_case(&cases[i]);
}

/* A setting has the same effect as the same text in the file. */
static void test_values_arrive(void **state)
{
	struct config_setting s[] = {
		{.pool = "b", .key = "stickiness.ttl", .value = "100s"},
		{.pool = "b", .key = "ejection.maxShare", .value = "0.25"},
		{.pool = "b", .key = "stickiness.key", .value = "source/24"},
		{.pool = "b", .key = "spareHeaders", .value = "Accept-Language"},
		{.pool = "a", .key = "failureMode", .value = "FailClose"},
		{.pool = "a", .key = "scrape.interval", .value = "1s"},
	};
	_cleanup_free_ char *warnings = NULL;
	_cleanup_(config_freep) struct config *c =
		judge(HEAD A("") B("  ejection: {failures: 7}\n"), s, ARRAY_SIZE(s), &warnings);

	(void)state;
	assert_int_equal(c->pools[0].stickiness.ttl_ns, 300 * NSEC_PER_SEC);
	assert_int_equal(c->pools[0].failure_mode, PINTLE_FAIL_CLOSE);
	assert_int_equal(c->pools[0].scrape.interval_ns, NSEC_PER_SEC);
	assert_int_equal(c->pools[1].stickiness.ttl_ns, 100 * NSEC_PER_SEC);
	assert_int_equal(c->pools[1].stickiness.key_kind, PINTLE_KEY_SOURCE);
	assert_int_equal(c->pools[1].stickiness.key_bits_v4, 24);
	assert_int_equal(c->pools[1].ejection.failures, 7);
	assert_true(c->pools[1].ejection.max_share == 0.25);
	assert_string_equal(c->pools[1].spare_headers[0].name, "accept-language:");
	assert_int_equal(c->pools[1].failure_mode, PINTLE_FAIL_OPEN);
}

/* A file with errors is refused, with or without settings. */
static void ignore(void *arg, const char *file, int line, int column, const char *message)
{
	(void)file;
	(void)line;
	(void)column;
	(void)message;
	++*(int *)arg;
}

static void test_a_bad_file(void **state)
{
	static const char text[] = HEAD A("  mode: fast\n");
	const struct config_text t = {"t.yaml", (char *)text, strlen(text)};
	struct config_setting s = {.pool = "a", .key = "http10", .value = "true"};
	int told = 0;
	const struct yaml_sink sink = {ignore, ignore, &told};
	struct config *c = NULL;

	(void)state;
	assert_int_equal(config_parse_set(&t, NULL, &s, 1, &sink, &c), -EINVAL);
	assert_null(c);
	assert_int_equal(told, 1);
}

/* ---- keys ----------------------------------------------------------------------------- */

/* A value is read into a field that is never freed, so a key that can be set must own no memory. */
static void test_settable_keys_own_nothing(void **state)
{
	const struct yaml_key *k;
	size_t n = 0;

	(void)state;
	for (; (k = config_settable_at(n)); n++) {
		char why[PINTLE_WHY_SIZE], wants[CONFIG_WANTS_SIZE];

		assert_ptr_equal(config_settable(config_settable_name(k), why), k);
		assert_true(strlen(config_settable_name(k)) < PINTLE_KEY_NAME_SIZE);
		assert_true(config_settable_wants(k, wants)[0]);
		/* A key that takes free text, and so owns memory, would accept this. */
		assert_false(config_value_read(k, "/no/such-word", NULL, why));
		assert_non_null(strstr(why, "; "));
	}
	assert_true(n > 20);
}

static void test_same_values(void **state)
{
	static const struct {
		const char *key, *a, *b;
		bool same;
	} rows[] = {
		{"stickiness.ttl", "300s", "5m", true},
		{"stickiness.ttl", "300s", "301s", false},
		{"weights.queue", "2", "2.0", true},
		{"weights.queue", "-0", "0", true},
		{"stickiness.key", "source", "source/32/64", true},
		{"stickiness.key", "source/32/128", "source", false},
		{"stickiness.key", "none", "client", false},
		{"spareHeaders", "Accept", "accept", true},
		{"spareHeaders", "Accept, Date", "Date, Accept", false},
		{"failureMode", "FailOpen", "FailClose", false},
		{"http10", "false", "false", true},
		{"http10", "no", "no", false},
	};
	char why[PINTLE_WHY_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (config_value_same(config_settable(rows[i].key, why), rows[i].a, rows[i].b) !=
		    rows[i].same)
			fail_msg("%s: %s, %s", rows[i].key, rows[i].a, rows[i].b);
}

/* ---- pools that were found in a cluster ---------------------------------------------- */

#define NONE "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\nkubernetes: {}\n"
#define FOUND(name, frontend, endpoint)                                                            \
	"{\"name\":\"" name                                                                        \
	"\",\"engine\":\"auto\",\"mode\":\"baseline\",\"frontends\":[\"" frontend                  \
	"\"],\"endpoints\":[{\"name\":\"p0\",\"address\":\"" endpoint "\"}]}"

static const struct {
	const char *what, *text;
	struct {
		const char *text;
		const char *why; /* NULL: it holds */
	} found[4];
} found_cases[] = {
	{"beside a file without pools",
	 NONE,
	 {{FOUND("n/s", "10.96.0.5:80", "10.9.0.2:8000"), NULL},
	  {FOUND("n/s:http", "10.96.0.6:80", "10.9.0.2:8001"), NULL}}},
	{"beside the file's pools",
	 HEAD A("") B(""),
	 {{FOUND("n/s", "10.96.0.5:80", "10.9.0.2:8000"), NULL}}},
	{"the older of two keeps the address, and a third is not concerned",
	 NONE,
	 {{FOUND("n/a", "10.96.0.5:80", "10.9.0.2:8000"), NULL},
	  {FOUND("n/b", "10.96.0.6:80", "10.9.0.2:8000"),
	   "10.9.0.2:8000 is an endpoint of pool n/a (the cluster) already; an address is in one pool"},
	  {FOUND("n/c", "10.96.0.6:80", "10.9.0.3:8000"), NULL}}},
	{"the file keeps what it has",
	 HEAD B(""),
	 {{FOUND("n/a", "10.78.0.1:8000", "10.9.0.2:8000"),
	   "frontend 10.78.0.1:8000 overlaps 10.78.0.1:8000 of pool b (line 5); list each address and port "
	   "once"},
	  {FOUND("n/b", "10.96.0.6:80", "10.1.0.1:80"),
	   "10.1.0.1:80 is an endpoint of pool b (line 6) already; an address is in one pool"},
	  {FOUND("n/c", "10.96.0.6:80", "10.9.0.3:8000"), NULL}}},
	/* The message stands at the file's frontend: pools are tried one by one. */
	{"a frontend of the file covers an endpoint",
	 HEAD "- name: b\n  frontends: [\"10.9.0.0/24:8000\"]\n"
	      "  endpoints: [{name: e, address: \"10.1.0.1:80\"}]\n",
	 {{FOUND("n/a", "10.96.0.6:80", "10.9.1.3:8000"), NULL},
	  {FOUND("n/b", "10.96.0.7:80", "10.9.0.3:8000"),
	   "frontend 10.9.0.0/24:8000 covers where endpoint n/b/p0 (the cluster) is, so that its scrapes "
	   "would be steered; keep them apart by address or port"},
	  {FOUND("n/c", "10.96.0.8:80", "10.9.1.4:8000"), NULL}}},
	{"texts that are no pools",
	 NONE,
	 {{"", "it is empty"},
	  {"[1, 2]", "pools[] is a list; write a mapping: keys with values"},
	  {FOUND("n/c", "10.96.0.8:80", "10.9.1.4:8000"), NULL}}},
};

static void test_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(found_cases); i++) {
		const struct config_text t = {"t.yaml", (char *)found_cases[i].text,
					      strlen(found_cases[i].text)};
		const struct yaml_sink sink = {on_error, on_warning, stderr};
		_cleanup_(config_freep) struct config *c = NULL, *alone = NULL;
		struct config_found all[4] = {0};
		struct config_founds f = {.all = all};
		size_t held = 0;

		for (; f.count < 4 && found_cases[i].found[f.count].text; f.count++)
			all[f.count].text = (char *)found_cases[i].found[f.count].text;
		assert_int_equal(config_parse_set(&t, &f, NULL, 0, &sink, &c), 0);
		for (size_t k = 0; k < f.count; k++) {
			assert_string_equal(all[k].why, found_cases[i].found[k].why ?: "");
			assert_int_equal(all[k].holds, !found_cases[i].found[k].why);
			held += all[k].holds;
		}
		assert_int_equal(config_parse(t.name, t.text, t.size, &sink, &alone), 0);
		assert_int_equal(c->pool_count, alone->pool_count + held);
		assert_string_equal(c->pools[c->pool_count - 1].engine, "auto");
		assert_int_equal(c->pools[c->pool_count - 1].mode, PINTLE_MODE_BASELINE);
	}
}

/* How long a pool at ClusterIPs waits for pintled: it does where it refuses somebody, where it is
 * at other addresses, too, or where the file says how long. */
static void test_found_without_daemon(void **state)
{
	static const struct {
		const char *node, *keys;
		uint64_t seconds;
	} rows[] = {
		{"", NULL, 30},
		{"", "{\"classes\": [{\"name\": \"a\", \"priority\": 1}]}", 30},
		{"", "{\"access\": {\"allow\": [{\"source\": \"10.0.0.0/8\"}]}}", 0},
		{"", "{\"tenants\": {\"by\": \"source\", \"connections\": 5}}", 0},
		{"", "{\"classes\": [{\"name\": \"a\", \"connections\": 5}]}", 0},
		{"node: {daemonless: 10m}\n", NULL, 0},
		{"node: {frontendPrefixes: [\"10.96.0.0/24\"]}\n", NULL, 0},
		{"node: {frontendPrefixes: [\"10.97.0.0/24\"]}\n", NULL, 30},
	};
	const char *frontend = "10.96.0.5:80";
	struct config_member pod = {.name = "p0", .address = "10.9.0.2:8000"};
	const struct yaml_sink sink = {on_error, on_warning, stderr};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct config_parts parts = {.name = "n/s",
					     .mode = "enforce",
					     .frontends = &frontend,
					     .frontend_count = 1,
					     .endpoints = &pod,
					     .endpoint_count = 1,
					     .keys = rows[i].keys};
		_cleanup_(config_freep) struct config *c = NULL;
		struct config_founds f = {0};
		struct config_text t = {"t.yaml", NULL, 0};
		char text[512];

		snprintf(text, sizeof(text), "%s%s", NONE, rows[i].node);
		t.text = text;
		t.size = strlen(text);
		assert_int_equal(config_founds_put(&f, &parts), 0);
		assert_int_equal(config_parse_set(&t, &f, NULL, 0, &sink, &c), 0);
		assert_string_equal(f.all[0].why, "");
		assert_int_equal(c->pools[0].daemonless_ns, rows[i].seconds * NSEC_PER_SEC);
		assert_int_equal(c->pools[0].proxied, rows[i].seconds != 0);
		assert_int_equal(c->daemonless_ns, 600 * NSEC_PER_SEC);
		config_founds_free(&f);
	}
}

/* Settings of a found pool are judged as those of the file's. */
static void test_found_and_set(void **state)
{
	static char pool[] = FOUND("n/s", "10.96.0.5:80", "10.9.0.2:8000");
	const struct config_text t = {"t.yaml", (char *)NONE, strlen(NONE)};
	struct config_setting s[] = {
		{.pool = "n/s", .key = "stickiness.ttl", .value = "7s"},
		{.pool = "n/s", .key = "scrape.interval", .value = "x"},
		{.pool = "n/t", .key = "stickiness.ttl", .value = "7s"},
	};
	const struct yaml_sink sink = {on_error, on_warning, stderr};
	struct config_found all[1] = {{.text = pool}};
	struct config_founds f = {.all = all, .count = 1};
	_cleanup_(config_freep) struct config *c = NULL;

	(void)state;
	assert_int_equal(config_parse_set(&t, &f, s, ARRAY_SIZE(s), &sink, &c), 0);
	assert_true(all[0].holds && s[0].holds && !s[1].holds && !s[2].holds);
	assert_string_equal(s[0].file, "300s");
	assert_int_equal(c->pools[0].stickiness.ttl_ns, 7 * NSEC_PER_SEC);
}

/* More pools than there is room for: the youngest are left out. */
static void test_found_too_many(void **state)
{
	static char texts[PINTLE_MAX_POOLS + 3][256];
	static struct config_found all[PINTLE_MAX_POOLS + 3];
	struct config_founds f = {.all = all, .count = ARRAY_SIZE(all)};
	const struct config_text t = {"t.yaml", (char *)NONE, strlen(NONE)};
	const struct yaml_sink sink = {on_error, on_warning, stderr};
	_cleanup_(config_freep) struct config *c = NULL;

	(void)state;
	for (unsigned int i = 0; i < f.count; i++) {
		snprintf(texts[i], sizeof(texts[i]), FOUND("n/s%u", "10.96.0.1:%u", "10.9.0.1:%u"),
			 i, i + 1, i + 1);
		all[i].text = texts[i];
	}
	assert_int_equal(config_parse_set(&t, &f, NULL, 0, &sink, &c), 0);
	assert_int_equal(c->pool_count, PINTLE_MAX_POOLS);
	for (size_t i = 0; i < f.count; i++)
		assert_int_equal(all[i].holds, i < PINTLE_MAX_POOLS);
	assert_non_null(strstr(all[PINTLE_MAX_POOLS].why, "more than"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_values_arrive),
		cmocka_unit_test(test_a_bad_file),
		cmocka_unit_test(test_settable_keys_own_nothing),
		cmocka_unit_test(test_same_values),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_found_without_daemon),
		cmocka_unit_test(test_found_and_set),
		cmocka_unit_test(test_found_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
