// SPDX-License-Identifier: Apache-2.0
/* SteeringPolicies, InferencePools and their pods as the API server sends them, good and bad; what
 * they make of a pool; who gets the room that there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/kubernetes/kube_inference.h"
#include "../../userspace/kubernetes/kube_objective.h"
#include "../../userspace/kubernetes/kube_policy.h"
#include "../../userspace/kubernetes/kube_share.h"

/* ---- keys ------------------------------------------------------------------------------ */

static const struct {
	const char *keys, *why; /* NULL: they are good */
} keys[] = {
	{"{}", NULL},
	{"{\"stickiness\":{\"ttl\":\"7s\",\"maxExtraLoad\":\"auto\"},\"weights\":{\"queue\":3}}",
	 NULL},
	{"{\"engine\":\"sglang\",\"failureMode\":\"FailClose\",\"follow\":false}", NULL},
	{"{\"health\":{\"path\":\"/health\"},\"scrape\":{\"path\":\"/m\",\"scheme\":\"https\"}}",
	 NULL},
	{"{\"stickines\":{}}", "unknown key \"stickines\" in spec; did you mean \"stickiness\"?"},
	{"{\"weights\":{\"quue\":1}}", "unknown key \"quue\" in weights; did you mean \"queue\"?"},
	/* What is the target's, the label's, or the node's. */
	{"{\"name\":\"a\"}", "unknown key \"name\" in spec"},
	{"{\"mode\":\"enforce\"}", "unknown key \"mode\" in spec"},
	{"{\"announce\":true}", "unknown key \"announce\" in spec"},
	{"{\"endpoints\":[]}", "unknown key \"endpoints\" in spec"},
	{"{\"dcgm\":{\"url\":\"http://169.254.169.254/\"}}", "unknown key \"dcgm\" in spec"},
	{"{\"scrape\":{\"authorization\":{\"credentialsFile\":\"/etc/shadow\"}}}",
	 "unknown key \"authorization\""},
	{"{\"scrape\":{\"tlsConfig\":{\"keyFile\":\"/etc/shadow\"}}}", "unknown key \"tlsConfig\""},
	{"{\"splice\":true}", "unknown key \"splice\" in spec"},
	/* What looks at requests. */
	{"{\"decide\":\"request\",\"requests\":\"one-per-connection\",\"stickiness\":{\"key\":"
	 "\"header/x-session-id, client\",\"prefix\":true},\"weights\":{\"prefix\":2}}",
	 NULL},
	{"{\"decide\":\"request\",\"models\":{\"a:b\":\"llm/a\",\"default\":\"llm/b\"}}", NULL},
	{"{\"decide\":\"connection\",\"stickiness\":{\"key\":\"header/x-session-id, client\","
	 "\"prefix\":true}}",
	 NULL},
	{"{\"decide\":\"request\"}", NULL},
	{"{\"decide\":\"request\",\"stickiness\":{\"key\":[\"agent\",\"header/x-session-id2\","
	 "\"body/metadata.user_id\",\"authorization\",\"source\"]}}",
	 NULL},
	{"{\"decide\":\"request\",\"stickiness\":{\"key\":[\"agent\",\"agent\"]}}",
	 "which has agent twice"},
	{"{\"decide\":\"request\",\"stickiness\":{\"key\":[\"header/a\",\"header/b\",\"header/c\","
	 "\"header/d\",\"header/e\",\"header/f\",\"header/g\",\"agent\",\"body/h\"]}}",
	 "write at most eight of agent"},
	{"{\"decide\":\"request\",\"stickiness\":{\"key\":\"client\"}}",
	 "stickiness.key names nothing of a request"},
	{"{\"stickiness\":{\"key\":\"agent\"}}", "stickiness.key has what only a request says"},
	{"{\"decide\":\"requests\"}", "decide is \"requests\""},
	{"{\"models\":{\"a\":\"llm/b\"}}", "models needs requests"},
	{"{\"decide\":\"request\",\"models\":{}}", "models has 0 names; write 1 to 256"},
	{"{\"decide\":\"request\",\"models\":[\"a\"]}", "models is a list; write"},
	{"{\"decide\":\"request\",\"models\":{\"a b\":\"llm/b\"}}", "no name of a model"},
	{"{\"stickiness\":{\"prefix\":true}}", "stickiness.prefix needs the prompt"},
	{"{\"stickiness\":{\"key\":\"header/x-session-id, client\"}}",
	 "stickiness.key has what only a request says"},
	/* Values, and values together. */
	{"{\"scrape\":{\"interval\":\"1ms\"}}",
	 "scrape.interval is \"1ms\", which is out of range"},
	{"{\"scrape\":{\"interval\":200}}", "scrape.interval is \"200\", without a unit"},
	{"{\"weights\":{\"queue\":\"3\"}}", "text in quotes"},
	{"{\"weights\":[]}", "weights is a list; write"},
	{"{\"stickiness\":{\"shared\":true}}", "write key: hint, or remove shared"},
	{"{\"classes\":[{\"name\":\"a\"},{\"name\":\"b\",\"priority\":-1,\"limit\":3,"
	 "\"rules\":[{\"namespace\":\"a\"},{\"source\":\"10.0.0.0/8\",\"dscp\":8}]}]}",
	 NULL},
	{"{\"classes\":[{\"name\":\"a\",\"rules\":[{\"cgroup\":\"*\"}]}]}",
	 "unknown key \"cgroup\""},
	{"{\"tenants\":{\"by\":\"cgroup\",\"rules\":[{\"tenant\":\"web\"},{\"tenant\":\"/kubepods\"}]}}",
	 "tenant is \"/kubepods\", a path, which is for a node's file"},
	{"{\"classes\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "has the name \"a\" already"},
	{"{\"classes\":[{\"limit\":1}]}", "\"name\" is missing in classes[]"},
	{"{\"health\":{\"interval\":\"1s\"}}", "\"path\" is missing in health"},
	{"[]", ""},
};

static void test_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char why[PINTLE_WHY_SIZE] = "";
		int err = config_policy_check(keys[i].keys, why);

		if (err != (keys[i].why ? -EINVAL : 0) ||
		    (keys[i].why && !strstr(why, keys[i].why)))
			fail_msg("%s: %d, %s", keys[i].keys, err, why);
	}
}

/* Nobody with rights in one namespace names a file or a host of the node's network. */
static void test_no_key_reads_elsewhere(void **state)
{
	static const char *const never[] = {"file",      "url",    "dcgm",
					    "endpoints", "listen", "address"};
	const char *key;
	size_t n = 0;

	(void)state;
	for (; (key = config_policy_key_at(n)); n++)
		for (size_t i = 0; i < ARRAY_SIZE(never); i++)
			assert_null(strcasestr(key, never[i]));
	assert_true(n > 30);
}

static bool has_key(const char *path, size_t length)
{
	const char *key;

	for (size_t n = 0; (key = config_policy_key_at(n)); n++)
		if (strlen(key) == length && !strncmp(key, path, length))
			return true;
	return false;
}

/* A key that a policy may have can be written: so may the mapping that it stands in. */
static void test_keys_stand_in_keys(void **state)
{
	const char *key, *dot;

	(void)state;
	for (size_t n = 0; (key = config_policy_key_at(n)); n++) {
		dot = strrchr(key, '.');
		if (dot && dot[-1] == ']') /* of an element of the list "rules[]" */
			dot -= strlen("[]");
		if (dot && !has_key(key, (size_t)(dot - key)))
			fail_msg("%s: a policy may not have what it stands in", key);
	}
}

/* ---- policies -------------------------------------------------------------------------- */

static cJSON *parse(const char *text)
{
	cJSON *object = cJSON_Parse(text);

	if (!object)
		fail_msg("no JSON: %s", text);
	return object;
}

#define POLICY(spec) "{\"metadata\":{\"namespace\":\"llm\",\"name\":\"p\"},\"spec\":{" spec "}}"
#define TO_VLLM      "\"targetRefs\":[{\"kind\":\"Service\",\"name\":\"vllm\"}]"
#define TO_MODEL(to) TO_VLLM ",\"decide\":\"request\",\"models\":{\"a\":" to "}"

static const struct {
	const char *spec, *why; /* NULL: it is good */
	const char *keys;
	size_t targets, prefixes;
} policies[] = {
	{POLICY(TO_VLLM), NULL, "{}", 1, 0},
	{POLICY(TO_VLLM ",\"follow\":false"), NULL, "{\"follow\":false}", 1, 0},
	{POLICY("\"targetRefs\":[{\"group\":\"\",\"kind\":\"Service\",\"name\":\"a\"},{\"group\":"
		"\"inference.networking.k8s.io\",\"kind\":\"InferencePool\",\"name\":\"a\"}]"),
	 NULL, "{}", 2, 0},
	{POLICY(TO_VLLM ",\"frontends\":[\"10.99.0.0/24:8000\",\"[fd99::/64]:8000\"]"), NULL, "{}",
	 1, 2},
	{POLICY(""), "spec.targetRefs names no target; write a list", NULL, 0, 0},
	{POLICY("\"targetRefs\":[]"), "spec.targetRefs names no target", NULL, 0, 0},
	{POLICY("\"targetRefs\":[{\"kind\":\"Pod\",\"name\":\"a\"}]"), "has another kind", NULL, 0,
	 0},
	{POLICY("\"targetRefs\":[{\"kind\":\"Service\",\"name\":\"A/b\"}]"), "has no name", NULL, 0,
	 0},
	{POLICY("\"targetRefs\":[{\"group\":\"x\",\"kind\":\"Service\",\"name\":\"a\"}]"),
	 "has another group than Service has; write \"\"", NULL, 0, 0},
	{POLICY("\"targetRefs\":[{\"kind\":\"Service\",\"name\":\"a\"},{\"kind\":\"Service\",\"name\":"
		"\"a\"}]"),
	 "has Service a twice", NULL, 1, 0},
	{POLICY(TO_VLLM ",\"frontends\":[\"10.99.0.0/24\"]"), "is no prefix and port", NULL, 1, 0},
	{POLICY(TO_VLLM ",\"frontends\":7"), "spec.frontends is no list", NULL, 1, 0},
	{POLICY(TO_VLLM ",\"nonsense\":7"), "unknown key \"nonsense\"", NULL, 1, 0},
	/* Models lead to pools of the policy's own namespace alone. */
	{POLICY(TO_VLLM ",\"decide\":\"request\",\"models\":{\"a\":\"vllm\",\"b:c\":\"two:http\"}"),
	 NULL, "{\"decide\":\"request\",\"models\":{\"a\":\"llm/vllm\",\"b:c\":\"llm/two:http\"}}",
	 1, 0},
	{POLICY(TO_MODEL("\"other/vllm\"")), "models: a goes to \"other/vllm\"; write the name of",
	 NULL, 1, 0},
	{POLICY(TO_MODEL("\"../other/vllm\"")), "models: a goes to \"../other/vllm\"", NULL, 1, 0},
	{POLICY(TO_MODEL("\"\"")), "models: a goes to \"\"", NULL, 1, 0},
	{POLICY(TO_MODEL("\"vllm:\"")), "models: a goes to \"vllm:\"", NULL, 1, 0},
	{POLICY(TO_MODEL("\"vllm:a/b\"")), "models: a goes to \"vllm:a/b\"", NULL, 1, 0},
	{POLICY(TO_MODEL("\"v\\u0001m\"")), "models: a goes to \"v?m\"", NULL, 1, 0},
	{POLICY(TO_MODEL("{\"namespace\":\"other\",\"name\":\"vllm\"}")), "models: a goes to \"\"",
	 NULL, 1, 0},
	{POLICY(TO_VLLM ",\"decide\":\"request\",\"models\":[\"vllm\"]"), "models is a list", NULL,
	 1, 0},
	{"{\"metadata\":{\"namespace\":\"llm\",\"name\":\"p\"}}", "it has no spec", NULL, 0, 0},
};

static void test_policies(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		cJSON *object = parse(policies[i].spec);
		struct kube_policy p = {0};
		char why[KUBE_WHY_SIZE];

		assert_int_equal(kube_policy_read(object, &p, why), 0);
		if (policies[i].why && (p.keys || !strstr(p.why, policies[i].why)))
			fail_msg("%s: %s", policies[i].spec, p.why);
		if (!policies[i].why && (!p.keys || strcmp(p.keys, policies[i].keys) != 0))
			fail_msg("%s: %s", policies[i].spec, p.keys ?: p.why);
		assert_int_equal(p.target_count, policies[i].targets);
		assert_int_equal(p.prefix_count, policies[i].prefixes);
		kube_policy_clear(&p);
		cJSON_Delete(object);
	}
}

static void test_large_policy(void **state)
{
	cJSON *object = parse(POLICY(TO_VLLM));
	char *text = malloc(KUBE_MAX_KEYS_BYTES + 1), why[KUBE_WHY_SIZE];
	struct kube_policy p = {0};

	(void)state;
	memset(text, 'a', KUBE_MAX_KEYS_BYTES);
	text[KUBE_MAX_KEYS_BYTES] = '\0';
	cJSON_AddStringToObject(cJSON_GetObjectItem(object, "spec"), "engine", text);
	assert_int_equal(kube_policy_read(object, &p, why), 0);
	assert_null(p.keys);
	assert_non_null(strstr(p.why, "more than 3744 bytes"));
	kube_policy_clear(&p);
	cJSON_Delete(object);
	free(text);
}

/* What the pools of its targets ask of the keys is known when the policy is read. */
static void test_what_keys_say(void **state)
{
	static const struct {
		const char *spec;
		bool fails_close, has_locality;
	} rows[] = {
		{POLICY(TO_VLLM), false, false},
		{POLICY(TO_VLLM ",\"failureMode\":\"FailOpen\""), false, false},
		{POLICY(TO_VLLM ",\"failureMode\":\"FailClose\""), true, false},
		{POLICY(TO_VLLM ",\"locality\":{\"preferSameNode\":true}"), false, true},
		{POLICY(TO_VLLM ",\"locality\":{},\"failureMode\":\"FailClose\""), true, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cJSON *object = parse(rows[i].spec);
		struct kube_policy p = {0};
		char why[KUBE_WHY_SIZE];

		assert_int_equal(kube_policy_read(object, &p, why), 0);
		if (!p.keys || p.fails_close != rows[i].fails_close ||
		    p.has_locality != rows[i].has_locality)
			fail_msg("%s: %d %d %s", rows[i].spec, p.fails_close, p.has_locality,
				 p.why);
		kube_policy_clear(&p);
		cJSON_Delete(object);
	}
}

/* What is written is read as it was. */
static void test_conditions(void **state)
{
	struct kube_condition conditions[KUBE_CONDITIONS] = {
		{true, "Accepted", "its keys are good", "2026-11-21T07:20:25Z", 3},
		{false, "NotSteered", "a \"quoted\" word", "2026-11-21T07:20:26Z", 3},
	};
	cJSON *object = parse(POLICY(TO_VLLM)), *status;
	struct kube_policy p = {0}, again = {0};
	char why[KUBE_WHY_SIZE], *text;

	(void)state;
	assert_int_equal(kube_policy_read(object, &p, why), 0);
	assert_string_equal(p.told[KUBE_ACCEPTED].reason, "");
	text = kube_policy_status(&p, conditions);
	status = parse(text);
	cJSON_AddItemToObject(object, "status", cJSON_DetachItemFromObject(status, "status"));
	assert_int_equal(kube_policy_read(object, &again, why), 0);
	assert_memory_equal(again.told, conditions, sizeof(conditions));
	kube_policy_clear(&p);
	kube_policy_clear(&again);
	cJSON_Delete(status);
	cJSON_Delete(object);
	free(text);
}

/* ---- InferencePools --------------------------------------------------------------------- */

#define META       "\"metadata\":{\"namespace\":\"llm\",\"name\":\"vllm\"}"
#define LABELS     "\"selector\":{\"matchLabels\":{\"app\":\"vllm\",\"a.b/c\":\"D\"}}"
#define PORTS      "\"targetPorts\":[{\"number\":8000},{\"number\":8001}]"
#define POOL(spec) "{" META ",\"spec\":{" spec "}}"

static const struct {
	const char *text, *why; /* NULL: it is good */
	bool fail_close;
} inferences[] = {
	{POOL(LABELS "," PORTS
		     ",\"endpointPickerRef\":{\"name\":\"n\",\"failureMode\":\"FailOpen\"}"),
	 NULL, false},
	{POOL(LABELS "," PORTS
		     ",\"endpointPickerRef\":{\"name\":\"n\",\"failureMode\":\"FailClose\"}"),
	 NULL, true},
	{POOL(LABELS "," PORTS ",\"endpointPickerRef\":{\"name\":\"n\"}"), NULL, true},
	{POOL(LABELS "," PORTS), NULL, false}, /* of v1.6.0 */
	{POOL(LABELS), "spec.targetPorts has no port", false},
	{POOL(LABELS ",\"targetPorts\":[{\"number\":0}]"), "is no port", false},
	{POOL(LABELS ",\"targetPorts\":[{\"number\":1},{\"number\":1}]"), "has port 1 twice",
	 false},
	{POOL(LABELS
	      ",\"targetPorts\":[{\"number\":1},{\"number\":2},{\"number\":3},{\"number\":4},"
	      "{\"number\":5},{\"number\":6},{\"number\":7},{\"number\":8},{\"number\":9}]"),
	 "has more than 8 ports", false},
	{POOL(PORTS), "matchLabels has no label", false},
	{POOL(PORTS ",\"selector\":{\"matchLabels\":{}}"), "matchLabels has no label", false},
	{POOL(PORTS ",\"selector\":{\"matchLabels\":{\"a\":\"b&watch=0\"}}"), "one that is none",
	 false},
	{POOL(PORTS ",\"selector\":{\"matchLabels\":{\"a\":7}}"), "one that is none", false},
	{"{\"spec\":{}}", "no name", false},
};

/* ---- their parents ------------------------------------------------------------------------ */

#define OURS(name)                                                                                 \
	"{\"parentRef\":{\"group\":\"\",\"kind\":\"Service\",\"name\":\"" name                     \
	"\"},\"controllerName\":\"pintle.dev/pintled\"}"

static const struct {
	const char *parents;
	size_t own;
	bool others;
} parents[] = {
	{"null", 0, false},
	{"[]", 0, false},
	{"[{\"parentRef\":{\"kind\":\"Status\",\"name\":\"default\"}}]", 0, false},
	{"[" OURS("a") "," OURS("b") "]", 2, false},
	{"[" OURS("a") ",{\"parentRef\":{\"kind\":\"Gateway\",\"name\":\"g\"}}]", 1, true},
	/* By the name of its controller alone an entry is pintled's. */
	{"[{\"parentRef\":{\"group\":\"\",\"kind\":\"Service\",\"name\":\"a\"}}]", 0, true},
	{"[{\"parentRef\":{\"kind\":\"Gateway\",\"name\":\"g\"},"
	 "\"controllerName\":\"pintle.dev/pintled\"}]",
	 0, true},
	{"[" OURS("not a name") "]", 0, true},
	{"[7,null,{}]", 0, true},
};

static void test_parents(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
		_cleanup_free_ char *text = NULL;
		struct kube_parents p;
		cJSON *object;

		assert_true(asprintf(&text, "{\"status\":{\"parents\":%s}}", parents[i].parents) >
			    0);
		object = parse(text);
		assert_int_equal(kube_parents_read(object, &p), 0);
		if (p.count != parents[i].own || p.others != parents[i].others)
			fail_msg("%s: %zu, %d", parents[i].parents, p.count, p.others);
		kube_parents_clear(&p);
		cJSON_Delete(object);
	}
}

/* What is written is read as it was; without a parent it names no field. */
static void test_parents_written(void **state)
{
	struct kube_parent one = {
		"front",
		{{false, "NotSteered", "a \"quoted\" word", "2026-11-21T07:20:25Z", 3},
		 {true, "ResolvedRefs", "", "2026-11-21T07:20:26Z", 3}}};
	struct kube_parents p = {&one, 1, false}, none = {0}, again;
	char *text = kube_parents_status("llm", "vllm", &p);
	cJSON *object = parse(text);

	(void)state;
	assert_int_equal(kube_parents_read(object, &again), 0);
	assert_int_equal(again.count, 1);
	assert_false(again.others);
	assert_memory_equal(&again.all[0], &one, sizeof(one));
	assert_ptr_equal(kube_parent_of(&again, "front"), &again.all[0]);
	assert_null(kube_parent_of(&again, "other"));
	free(text);
	text = kube_parents_status("llm", "vllm", &none);
	assert_null(strstr(text, "status"));
	kube_parents_clear(&again);
	cJSON_Delete(object);
	free(text);
}

/* A condition keeps its time while its status is the same, whatever else changes. */
static void test_conditions_dated(void **state)
{
	const struct kube_condition told[] = {
		{true, "Accepted", "", "2026-01-01T00:00:00Z", 3},
		{true, "Accepted", "", "2026-01-01T00:00:00Z", 3},
		{true, "Accepted", "", "", 3},
		{0},
	};
	struct kube_condition now[] = {
		{.status = true}, {.status = false}, {.status = true}, {.status = false}};
	static const char *const since[] = {"2026-01-01T00:00:00Z", "now", "now", "now"};

	(void)state;
	kube_conditions_date(now, ARRAY_SIZE(now), told, 7, "now");
	for (size_t i = 0; i < ARRAY_SIZE(now); i++) {
		assert_string_equal(now[i].since, since[i]);
		assert_int_equal(now[i].generation, 7);
	}
}

static void test_inference_pools(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inferences); i++) {
		cJSON *object = parse(inferences[i].text);
		struct kube_inference p = {0};
		char why[KUBE_WHY_SIZE] = "";
		int err = kube_inference_read(object, &p, why);

		if (err != (inferences[i].why ? -EBADMSG : 0) ||
		    (err && !strstr(why, inferences[i].why)))
			fail_msg("%s: %d, %s", inferences[i].text, err, why);
		if (!err) {
			assert_string_equal(p.selector, "labelSelector=app%3Dvllm%2Ca.b%2Fc%3DD");
			assert_int_equal(p.port_count, 2);
			assert_int_equal(p.fail_close, inferences[i].fail_close);
		}
		kube_inference_clear(&p);
		cJSON_Delete(object);
	}
}

/* ---- InferenceObjectives ---------------------------------------------------------------- */

#define NAMED(name) "\"metadata\":{\"namespace\":\"llm\",\"name\":\"" name "\"}"
#define TO_POOL     "\"poolRef\":{\"name\":\"vllm\"}"

/* As the extension's examples have them, and others. */
static const struct {
	const char *text, *why; /* NULL: it is good */
	const char *pool;
	int priority;
} objectives[] = {
	{"{" NAMED("food-review") ",\"spec\":{\"priority\":2," TO_POOL "}}", NULL, "vllm", 2},
	{"{" NAMED(
		 "batch") ",\"spec\":{\"priority\":-1,\"poolRef\":{\"group\":"
			  "\"inference.networking.k8s.io\",\"kind\":\"InferencePool\",\"name\":\"vllm\"}}}",
	 NULL, "vllm", -1},
	{"{" NAMED("a") ",\"spec\":{" TO_POOL "}}", NULL, "vllm", 0},
	{"{" NAMED("a") ",\"spec\":{\"priority\":\"5\"," TO_POOL "}}", NULL, "vllm", 0},
	{"{" NAMED("a") ",\"spec\":{\"priority\":1e300," TO_POOL "}}", NULL, "vllm", 1000},
	{"{" NAMED("a") ",\"spec\":{\"priority\":-2147483648," TO_POOL "}}", NULL, "vllm", -1000},
	{"{" NAMED("a") ",\"spec\":{\"poolRef\":{\"group\":\"inference.networking.x-k8s.io\","
			"\"name\":\"vllm\"}}}",
	 NULL, "", 0},
	{"{" NAMED("a") ",\"spec\":{\"priority\":1}}", "names no pool", "", 0},
	{"{" NAMED("a") ",\"spec\":{\"poolRef\":{\"name\":\"a b\"}}}", "names no pool", "", 0},
	{"{\"spec\":{" TO_POOL "}}", "no name", "", 0},
};

static void test_objectives(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(objectives); i++) {
		cJSON *object = parse(objectives[i].text);
		struct kube_objective o = {0};
		char why[KUBE_WHY_SIZE] = "";
		int err = kube_objective_read(object, &o, why);

		if (err != (objectives[i].why ? -EBADMSG : 0) ||
		    (err && !strstr(why, objectives[i].why)))
			fail_msg("%s: %d, %s", objectives[i].text, err, why);
		if (!err && (strcmp(o.pool, objectives[i].pool) != 0 ||
			     o.priority != objectives[i].priority))
			fail_msg("%s: %s, %d", objectives[i].text, o.pool, o.priority);
		cJSON_Delete(object);
	}
}

/* Only the class of the objective's name, in its pool and its namespace, has its priority. */
static void test_priorities(void **state)
{
	static const struct kube_objective of[] = {
		{.space = "llm", .name = "chat", .pool = "vllm", .priority = 7},
		{.space = "llm", .name = "batch", .pool = "vllm", .priority = -5},
		{.space = "llm", .name = "agent", .pool = "other", .priority = 9},
		{.space = "other", .name = "agent", .pool = "vllm", .priority = 9},
		{.space = "llm", .name = "nobody", .pool = "vllm", .priority = 9},
	};
	const struct kube_objective *const all[] = {&of[0], &of[1], &of[2], &of[3], &of[4]};
	const char *from = "{\"engine\":\"sglang\",\"classes\":[{\"name\":\"chat\"},"
			   "{\"name\":\"batch\",\"priority\":3},{\"name\":\"agent\"}]}";
	char *out;

	(void)state;
	assert_int_equal(kube_objectives_apply(all, 5, "llm", "vllm", from, &out), 0);
	assert_string_equal(out, "{\"engine\":\"sglang\",\"classes\":[{\"name\":\"chat\","
				 "\"priority\":7},{\"name\":\"batch\",\"priority\":-5},"
				 "{\"name\":\"agent\"}]}");
	free(out);
	assert_int_equal(kube_objectives_apply(all, 5, "llm", "vllm", "{}", &out), 0);
	assert_string_equal(out, "{}");
	free(out);
	assert_int_equal(kube_objectives_apply(all, 5, "llm", "vllm", NULL, &out), 0);
	assert_null(out);
	assert_int_equal(kube_objectives_apply(NULL, 0, "llm", "vllm", from, &out), 0);
	assert_string_equal(out, from);
	free(out);
}

/* ---- making ----------------------------------------------------------------------------- */

/* The pool of a policy's keys has them, and they replace what the target says. */
static void test_keys_of_a_pool(void **state)
{
	static const char file[] =
		"apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\nkubernetes: {}\n";
	const struct config_text text = {"-", (char *)file, sizeof(file) - 1};
	struct config_founds f = {0};
	struct kube_making m = {0};
	struct config *c = NULL;
	struct addr ip;

	(void)state;
	addr_from_v4(&ip, 0x0100000a);
	assert_int_equal(kube_making_frontend(&m, &ip, 80), 0);
	addr_from_v4(&ip, 0x0200000a);
	assert_int_equal(kube_making_member(&m, "pod", &ip, 8000, 8000, false, PLACE_UNKNOWN, ""),
			 0);
	assert_int_equal(kube_making_member(&m, "pod", &ip, 8001, 8001, true, PLACE_UNKNOWN, ""),
			 0);
	assert_int_equal(kube_making_put(&m, "a/b", "enforce",
					 "{\"engine\":\"sglang\",\"stickiness\":{\"ttl\":\"7s\"}}",
					 &f),
			 0);
	assert_int_equal(config_parse_set(&text, &f, NULL, 0, &yaml_sink_stderr, &c), 0);
	assert_true(f.all[0].holds);
	assert_string_equal(c->pools[0].engine, "sglang");
	assert_int_equal(c->pools[0].stickiness.ttl_ns, 7 * NSEC_PER_SEC);
	assert_string_equal(c->pools[0].endpoints[1].name, "pod.8001");
	assert_true(c->pools[0].endpoints[1].drained && !c->pools[0].endpoints[0].drained);
	config_free(c);
	config_founds_free(&f);
	kube_making_free(&m);
}

/* ---- room ------------------------------------------------------------------------------- */

static void test_shares(void **state)
{
	struct kube_amount half = {.pools = kube_room.pools / 2, .endpoints = 1, .frontends = 1};
	struct kube_amount one = {1, 1, 1, 1, 1, 1},
			   many = {1, kube_room.endpoints / 2 + 1, 1, 0, 0, 1};
	struct kube_amount large = {1, PINTLE_MAX_MEMBERS + 1, 1, 0, 0, PINTLE_MAX_MEMBERS + 1};
	struct kube_amount clients = {1, 1, 1, kube_room.spared / 2 + 1, 0, 1};
	struct kube_amount models = {1, 1, 1, 0, kube_room.models / 2 + 1, 1};
	struct kube_share s = {.taken = {.pools = 1}};
	char why[KUBE_WHY_SIZE];

	(void)state;
	assert_int_equal(kube_share_take(&s, "a", half, why), 0);
	assert_string_equal(why, "");
	/* No more for that namespace; another one has the rest, and the file's pool has its own. */
	assert_int_equal(kube_share_take(&s, "a", one, why), 0);
	assert_non_null(strstr(why, "namespace a has"));
	assert_int_equal(kube_share_take(&s, "b", many, why), 0);
	assert_non_null(strstr(why, "no more than half of"));
	assert_int_equal(kube_share_take(&s, "b", clients, why), 0);
	assert_non_null(strstr(why, "clients that are left alone"));
	assert_int_equal(kube_share_take(&s, "b", models, why), 0);
	assert_non_null(strstr(why, "no more than half of 1024 are for one namespace"));
	assert_int_equal(kube_share_take(&s, "b", half, why), 0);
	assert_non_null(strstr(why, "there is no room: older pools have"));
	half.pools--;
	assert_int_equal(kube_share_take(&s, "b", half, why), 0);
	assert_string_equal(why, "");
	assert_int_equal(kube_share_take(&s, "c", one, why), 0);
	assert_non_null(strstr(why, "there is no room"));
	/* A pool that is too large for any row. */
	assert_int_equal(kube_share_take(&s, "d", large, why), 0);
	assert_string_equal(why, "it has 1025 endpoints, and a pool has room for 1024");
	kube_share_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_no_key_reads_elsewhere),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_large_policy),
		cmocka_unit_test(test_what_keys_say),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_conditions_dated),
		cmocka_unit_test(test_parents),
		cmocka_unit_test(test_parents_written),
		cmocka_unit_test(test_inference_pools),
		cmocka_unit_test(test_objectives),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_keys_of_a_pool),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_keys_stand_in_keys),
	};

	log_init("test_kube_policy", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
