/* SPDX-License-Identifier: Apache-2.0 */
/* The CLI on maps of the real kernel: what nouns print, and what verbs change. */
#include "../../userspace/base/hash.h"
#include "support_cli.h"

#include <arpa/inet.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include "../../userspace/net/cgroup2.h"
#include "../../userspace/base/log.h"

#define NOBODY  65534
#define READERS 4711 /* a group that owns the pins in some tests */

static const char *const nouns[] = {"status",  "pools", "endpoints", "sessions",
				    "tenants", "stats", "version"};

static struct pintle_override override_at(const struct pins *p, uint32_t slot)
{
	struct pintle_override o;

	assert_int_equal(maps_value(p->m, MAP_overrides, slot, &o), 0);
	return o;
}

/* ---- nouns ----------------------------------------------------------------------- */

static void test_snapshots(void **state)
{
	(void)state;
	snapshot("status.txt", WORDS("status"));
	snapshot("status.json", WORDS("status", "-o", "json"));
	snapshot("pools.txt", WORDS("pools"));
	snapshot("pools.json", WORDS("pools", "-o", "json"));
	snapshot("endpoints.txt", WORDS("endpoints"));
	snapshot("endpoints.json", WORDS("endpoints", "-o", "json"));
	snapshot("endpoints-qwen.txt", WORDS("endpoints", "--pool", "qwen"));
	snapshot("sessions.txt", WORDS("sessions"));
	snapshot("sessions.json", WORDS("sessions", "-o", "json"));
	snapshot("top.txt", WORDS("top", "--once"));
	snapshot("top.json", WORDS("top", "--once", "-o", "json"));
	snapshot("stats.txt", WORDS("stats"));
	snapshot("stats.json", WORDS("stats", "--pool", "llama-8b", "-o", "json"));
}

static void test_snapshots_set(void **state)
{
	const struct pins *p = *state;
	struct pintle_override mode = {
		.generation = LLAMA_GEN,
		.flags = PINTLE_OVERRIDE_MODE,
		.mode = PINTLE_MODE_OFF,
		.since_ns = monotonic_ns() - HOURS(2.5),
	};
	struct pintle_override drain = {
		.generation = GEN(1),
		.flags = PINTLE_OVERRIDE_DRAIN,
		.since_ns = monotonic_ns() - HOURS(4.5),
	};

	struct pintle_override requests = {
		.generation = QWEN_GEN,
		.flags = PINTLE_OVERRIDE_REQUESTS,
		.requests = PINTLE_REQUESTS_ONE_PER_CONNECTION,
		.since_ns = monotonic_ns() - HOURS(6.5),
	};

	pins_at(p, MAP_overrides, LLAMA, &mode);
	pins_at(p, MAP_overrides, QWEN, &requests);
	pins_at(p, MAP_overrides, PINTLE_ENDPOINT_SLOT(1), &drain);
	pins_oneshots(p, QWEN, PINTLE_ONESHOT_REWRITTEN_CONNECTION, 300);
	pins_oneshots(p, QWEN, PINTLE_ONESHOT_LEFT_NO_ROOM, 100);
	snapshot("stats-oneshot.txt", WORDS("stats", "--pool", "qwen"));
	snapshot("status-set.txt", WORDS("status"));
	snapshot("status-set.json", WORDS("status", "-o", "json"));
	snapshot("pools-set.txt", WORDS("pools"));
	snapshot("endpoints-set.txt", WORDS("endpoints"));
}

/* ---- keys that were set ----------------------------------------------------------- */

static const char set_file[] =
	"apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\npools:\n"
	"- name: llama-8b\n  frontends: [\"10.77.0.1:8000\"]\n"
	"  endpoints: [{name: gpu0, listen: \"8001\"}]\n  stickiness: {ttl: 300s}\n"
	"- name: qwen\n  frontends: [\"10.78.0.0/24:9000\"]\n"
	"  endpoints: [{name: gpu0, address: \"10.1.0.1:80\"}, {name: gpu1, address: \"10.1.0.2:80\"}]\n"
	"  stickiness: {key: hint}\n";

static const char *write_config(const char *text);

/* The file that the daemon reads. No daemon runs, so no command waits for one. */
static const char *set_fill(const struct pins *p, uint64_t hash)
{
	const char *path = write_config(set_file);
	const struct pintle_verdict loaded = {.judged_ns = monotonic_ns() - HOURS(3.5),
					      .file_hash = hash};

	snprintf(p->m->node->config, sizeof(p->m->node->config), "%s", path);
	p->m->node->heartbeat_ns = p->m->node->started_ns = monotonic_ns() - HOURS(4.5);
	pins_setting(p, "", "reload", "", 0, &loaded);
	return path;
}

/* A setting in each state, one of a pool that is gone, and one that was taken back. */
static void set_states(const struct pins *p)
{
	static const struct pintle_verdict
		holds = {.runs = "100s", .file = "300s"},
		same = {.runs = "2.0", .file = "2.0"},
		refused =
			{.refused = 1,
			 .runs = "false",
			 .file = "false",
			 .why = "stickiness.shared is for sessions that clients name; write key: hint"},
		former = {.set_ns = 1, .runs = "5", .file = "16"},
		gone = {.refused = 1,
			.why = "the configuration has no pool \"old\"; `pintle reset` forgets it"};

	pins_setting(p, "llama-8b", "stickiness.ttl", "100s", HOURS(2.5), &holds);
	pins_setting(p, "llama-8b", "weights.queue", "2.0", HOURS(2.5), &same);
	pins_setting(p, "llama-8b", "stickiness.shared", "true", HOURS(1.5), &refused);
	pins_setting(p, "llama-8b", "stickiness.maxExtraLoad", "4", HOURS(1.5), &former);
	pins_setting(p, "llama-8b", "failureMode", "FailClose", HOURS(1.5), NULL);
	pins_setting(p, "llama-8b", "weights.gpu", "", 0,
		     &(struct pintle_verdict){
			     .judged_ns = monotonic_ns() - HOURS(2.5), .runs = "3", .file = "0"});
	pins_setting(p, "old", "http10", "true", HOURS(1.5), &gone);
}

static void test_snapshots_of_settings(void **state)
{
	static const char told[] =
		"pintle: warn: llama-8b stickiness.shared=true does not hold: stickiness.shared is for "
		"sessions that clients name; write key: hint\n"
		"pintle: warn: old http10=true does not hold: the configuration has no pool \"old\"; "
		"`pintle reset` forgets it\n";
	const struct pins *p = *state;
	struct pintle_verdict failed = {.judged_ns = monotonic_ns() - HOURS(4.5),
					.refused = 1,
					.why = "/etc/p.yaml:3:1: no; yes"};
	const char *path = set_fill(p, hash_text(set_file));

	expect(0, "all pools are as the file says", "", "diff");
	set_states(p);
	snapshot_of("diff.txt", 1, told, WORDS("diff"));
	snapshot_of("diff.json", 1, "", WORDS("diff", "-o", "json"));
	expect(0, "all pools are as the file says", "", "diff", "qwen");
	expect(1, "old", "does not hold", "diff", "old");
	expect(2, "", "no pool 'xyzzy'", "diff", "xyzzy");
	pins_setting(p, "", "reload", "", 0, &failed);
	snprintf(p->m->node->config, sizeof(p->m->node->config), "/etc/pintle/pintle.yaml");
	snapshot("status-settings.txt", WORDS("status"));
	unlink(path);
}

/* 0: as in the file; 1: not as in the file; 2: unknown. */
static void test_diff_status(void **state)
{
	const struct pins *p = *state;
	const char *path = set_fill(p, hash_text(set_file) + 1);

	expect(1, "nothing is set", "was changed after pintled read it", "diff");
	expect(0, "drained", "", "drain", "llama-8b/gpu1");
	unlink(path);
	expect(1, "gpu1      drained", "so the file's values are as pintled read them last",
	       "diff");
	expect(0, "takes connections again", "", "undrain", "llama-8b/gpu1");
	expect(2, "nothing is set", "cannot be read: No such file", "diff");
	path = write_config("pools: 1\n");
	snprintf(p->m->node->config, sizeof(p->m->node->config), "%s", path);
	expect(1, "nothing is set", "was changed after pintled read it", "diff");
	unlink(path);
	snprintf(p->m->node->config, sizeof(p->m->node->config), "...yaml");
	expect(2, "nothing is set", "too long to be known here", "diff");
	expect(2, "", "nothing is pinned", "diff", "--bpffs", "/mnt/nowhere");
}

/* A file with errors, while keys are set: no setting can be judged by it. */
static void test_diff_of_a_broken_file(void **state)
{
	static const char *const broken[] = {"pools: 1\n", "", "- [", "pools: [{nosuch: 1}]\n"};
	const struct pins *p = *state;

	unlink(set_fill(p, hash_text(set_file)));
	set_states(p);
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		const char *path = write_config(broken[i]);

		snprintf(p->m->node->config, sizeof(p->m->node->config), "%s", path);
		expect(1, "stickiness.maxExtraLoad",
		       "so the file's values are as pintled read them last", "diff");
		unlink(path);
	}
}

static bool setting_at(const struct pins *p, const char *pool, const char *name, char value[256])
{
	struct pintle_setting_key key = {0};
	struct pintle_setting s;

	snprintf(key.pool, sizeof(key.pool), "%s", pool);
	snprintf(key.key, sizeof(key.key), "%s", name);
	if (bpf_map_lookup_elem(p->m->fd[MAP_settings], &key, &s))
		return false;
	memcpy(value, s.value, sizeof(s.value));
	return true;
}

static void test_set_with_the_file(void **state)
{
	const struct pins *p = *state;
	const char *path = set_fill(p, hash_text(set_file));
	char value[256];

	expect(0,
	       "llama-8b: stickiness.ttl 100s, until it is set again or `pintle reset`; takes effect when "
	       "pintled starts\n",
	       "", "set", "llama-8b", "stickiness.ttl=100s");
	assert_true(setting_at(p, "llama-8b", "stickiness.ttl", value));
	assert_string_equal(value, "100s");
	/* The file's value, written in another way. */
	expect(0, "llama-8b: stickiness.ttl 5m, as configured\n", "", "set", "llama-8b",
	       "stickiness.ttl=5m");
	assert_false(setting_at(p, "llama-8b", "stickiness.ttl", value));
	expect(0, "weights.running 0, until",
	       "warn: with weights.running 0, running requests weigh", "set", "llama-8b",
	       "weights.running=0");
	/* A value that the file's check refuses is not written, */
	expect(2, "", "is mark, which Pintle cannot see for endpoints with listen", "set",
	       "llama-8b", "stickiness.key=mark");
	assert_false(setting_at(p, "llama-8b", "stickiness.key", value));
	/* nor is one that contradicts an earlier setting. */
	expect(0, "shared true, until", "", "set", "qwen", "stickiness.shared=true");
	expect(2, "", "stickiness.shared is for sessions that clients name, but the key is client",
	       "set", "qwen", "stickiness.key=client");
	expect(0, "group mark, until", "", "set", "qwen", "stickiness.group=mark");
	unlink(path);
	expect(1, "", "nothing was set: it cannot be checked", "set", "llama-8b",
	       "stickiness.ttl=1s");
	assert_false(setting_at(p, "llama-8b", "stickiness.ttl", value));
	/* Settings that the kernel reads itself need no file. */
	expect(0, "mode baseline, until", "", "set", "llama-8b", "mode=baseline");
	expect(0, "mode enforce, as configured", "", "set", "llama-8b", "mode=enforce");
}

static void test_reset_of_some(void **state)
{
	const struct pins *p = *state;
	const char *path = set_fill(p, hash_text(set_file));
	char value[256];

	set_states(p);
	expect(0, "mode baseline", "", "mode", "llama-8b", "baseline");
	expect(0, "drained", "", "drain", "llama-8b/gpu1");
	expect(0,
	       "llama-8b: stickiness.ttl 300s, as configured; takes effect when pintled starts\n",
	       "", "reset", "llama-8b", "stickiness.ttl");
	assert_false(setting_at(p, "llama-8b", "stickiness.ttl", value));
	expect(0, "llama-8b: stickiness.ttl 300s, as configured; takes effect", "", "reset",
	       "llama-8b", "stickiness.ttl");
	expect(0, "llama-8b: http10 was not set\n", "", "reset", "llama-8b", "http10");
	expect(0, "llama-8b: mode enforce, as configured\n", "", "reset", "llama-8b", "mode");
	expect(1, "", "no pool 'xyzzy'", "reset", "xyzzy");
	expect(0, "old: http10 as configured\n", "", "reset", "old");
	expect(0, "llama-8b/gpu1: takes connections again", "", "reset", "llama-8b");
	assert_false(setting_at(p, "llama-8b", "failureMode", value));
	expect(0, "group hint", "", "set", "qwen", "stickiness.group=hint");
	expect(0, "nothing was set", "", "reset", "llama-8b");
	expect(0, "qwen: stickiness.group as configured\n", "", "reset");
	expect(0, "nothing was set", "", "reset");
	unlink(path);
}

static void test_reset_that_others_need(void **state)
{
	const struct pins *p = *state;
	const char *path = set_fill(p, hash_text(set_file));

	expect(0, "key client", "", "set", "qwen", "stickiness.key=client");
	expect(0, "key hint, as configured", "", "set", "qwen", "stickiness.key=hint");
	unlink(path);
	path = write_config(set_file);
	/* The last line of the file. */
	assert_int_equal(
		truncate(path, (off_t)(strlen(set_file) - strlen("  stickiness: {key: hint}\n"))),
		0);
	snprintf(p->m->node->config, sizeof(p->m->node->config), "%s", path);
	expect(0, "key hint, until", "", "set", "qwen", "stickiness.key=hint");
	expect(0, "shared true, until", "", "set", "qwen", "stickiness.shared=true");
	expect(1, "",
	       "qwen stickiness.shared=true would no longer hold: stickiness.shared is for sessions",
	       "reset", "qwen", "stickiness.key");
	expect(0, "shared as configured", "", "reset", "qwen", "stickiness.shared");
	expect(0, "key as configured", "", "reset", "qwen", "stickiness.key");
	unlink(path);
}

static void test_reload_without_a_daemon(void **state)
{
	const struct pins *p = *state;

	p->m->node->heartbeat_ns = p->m->node->started_ns = 1;
	expect(1, "", "pintled does not run: it reads /etc/pintle/pintle.yaml when it starts",
	       "reload");
}

/* The same endpoints, with addresses of pods. */
static void connect_fill(const struct pins *p)
{
	struct pintle_pool pool;

	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
	pool.decided_by = PINTLE_HOOK_CONNECT;
	pool.key_kind = PINTLE_KEY_HINT;
	pool.group_kind = PINTLE_KEY_CGROUP;
	pool.eject_after = 3;
	pool.eject_most = 2;
	pool.eject_ns = 10 * NSEC_PER_SEC;
	pool.eject_max_ns = 300 * NSEC_PER_SEC;
	pins_at(p, MAP_pools, LLAMA, &pool);
	for (int i = 0; i < 6; i++) {
		uint64_t ejected = i == 4 ? monotonic_ns() + HOURS(2.5) : 0;

		p->m->health[i] = (struct pintle_health){.ejected_until_ns = ejected};
	}
	p->m->health[4].unopened = 3;
	p->m->health[4].ejections = 2;
	p->m->health[4].failures[PINTLE_FAILURE_REFUSED] = 8;
	p->m->health[4].failures[PINTLE_FAILURE_UNANSWERED] = 1;
}

static void test_snapshots_of_the_connect_hook(void **state)
{
	const struct pins *p = *state;
	struct pintle_affinity binding = {.endpoint = 0,
					  .generation = GEN(0),
					  .bound_ns = monotonic_ns() - HOURS(2.5),
					  .used_ns = monotonic_ns() - HOURS(1.5)};
	struct pintle_affinity_key key = {.pool = LLAMA, .pool_generation = LLAMA_GEN};

	connect_fill(p);
	snapshot("status-connect.txt", WORDS("status"));
	snapshot("pools-connect.txt", WORDS("pools"));
	snapshot("pools-connect.json", WORDS("pools", "-o", "json"));
	snapshot("endpoints-connect.txt", WORDS("endpoints", "--pool", "llama-8b"));
	snapshot("endpoints-connect.json", WORDS("endpoints", "--pool", "llama-8b", "-o", "json"));

	p->m->node->hint_key[0] = 4711;
	assert_int_equal(state_session_parse("hint=user-1", p->m->node->hint_key, &key.session), 0);
	key.session.prefix_bits = 128;
	for (uint8_t client = 1; client <= 2; client++) {
		key.session.id[8] = client;
		pins_set(p, MAP_affinity, &key, &binding);
	}
	expect(0, "hint:", "", "sessions", "hint=user-1");
	expect(0, "no sessions", "", "sessions", "hint=user-2");
	expect(2, "", "is no session", "sessions", "header:x");
	expect(1, "", "not bound", "unbind", "hint=user-2");
	expect(0, "hint=user-1 is bound no more: 2 sessions", "", "unbind", "hint=user-1");
	expect(0, "no sessions", "", "sessions", "hint=user-1");
}

static void test_pools_decided_by_request(void **state)
{
	const struct pins *p = *state;
	struct pintle_pool pool;

	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
	pool.decide = PINTLE_DECIDE_REQUEST;
	pool.asked = (struct pintle_asked){
		.headers = {{"x-session-id:"}, {"cookie:"}, {"authorization:"}, {"x-\033b\n:"}},
		.parts = {{""}, {"sid="}, {""}, {""}}};
	pool.hints_shared = 1;
	pool.prompt_weight = 960;
	pins_at(p, MAP_pools, LLAMA, &pool);
	snapshot("pools-request.txt", WORDS("pools"));
	snapshot("pools-request.json", WORDS("pools", "-o", "json"));
	pool.decide = PINTLE_DECIDE_RESTS;
	pool.hints_shared = pool.prompt_weight = 0;
	pins_at(p, MAP_pools, LLAMA, &pool);
	snapshot("pools.txt", WORDS("pools"));
}

/* The nouns need nothing but the maps. */
static void test_snapshots_without_daemon(void **state)
{
	const struct pins *p = *state;

	p->m->node->heartbeat_ns = monotonic_ns() - HOURS(4.5);
	snapshot("status-dead.txt", WORDS("status"));
	snapshot("endpoints-dead.txt", WORDS("endpoints"));
}

/* ---- report ---------------------------------------------------------------------- */

/* Between two moments: ten minutes, or less on a machine that was started a short while ago. */
static uint64_t report_step_ns(void)
{
	return MIN(600 * NSEC_PER_SEC, monotonic_ns() / 16);
}

/* Moments of qwen with these flags, ten minutes apart, the newest ten minutes ago: first `count` of
 * mode baseline, then as many of enforce. The i-th answer of a mode took from[i % 2] or to[i % 2]
 * buckets. */
static void report_moments(const struct pins *p, int count, const uint32_t from[2],
			   const uint32_t to[2], uint64_t flags)
{
	struct pintle_moment pool = {.pool.flags = flags}, class = {0};
	uint64_t now = monotonic_ns(), step = report_step_ns();

	for (int i = 0; i <= 2 * count; i++) {
		struct pintle_moment_key key = {QWEN, QWEN_GEN,
						now - (uint64_t)(2 * count + 1 - i) * step,
						PINTLE_PART_CLASS, 0};
		const uint32_t *buckets = i <= count ? from : to;
		uint32_t bucket = buckets[i % 2];

		if (i)
			class.class_of.bucket[bucket] += 20;
		class.class_of.answers += i ? 20 : 0;
		class.class_of.waited_ns += i ? 20ULL * bucket * 1000000 : 0;
		pool.pool.decisions[PINTLE_OUTCOME_RANDOM] += 20;
		pool.pool.mode = i <= count ? PINTLE_MODE_BASELINE : PINTLE_MODE_ENFORCE;
		pool.pool.next = i < count ? PINTLE_MODE_BASELINE : PINTLE_MODE_ENFORCE;
		pins_set(p, MAP_history, &key, &class);
		key.part = PINTLE_PART_POOL;
		pins_set(p, MAP_history, &key, &pool);
	}
}

/* A moment of `mode`, and one a minute before: of 200 connections, 20 were told no, or would be,
 * and 10 went to a fallback. */
static void report_told(const struct pins *p, uint32_t mode)
{
	struct pintle_moment pool = {.pool = {.mode = mode, .next = mode}};
	__u64 *n = mode == PINTLE_MODE_SHADOW ? pool.pool.shadows : pool.pool.decisions;
	uint64_t now = monotonic_ns();

	for (int i = 0; i < 2; i++) {
		struct pintle_moment_key key = {QWEN, QWEN_GEN,
						now - (uint64_t)(2 - i) * 60 * NSEC_PER_SEC,
						PINTLE_PART_POOL, 0};

		pins_set(p, MAP_history, &key, &pool);
		n[PINTLE_OUTCOME_LEAST_LOADED] = 170;
		n[PINTLE_OUTCOME_REFUSED] = 8;
		n[PINTLE_OUTCOME_DIVERTED] = 7;
		n[PINTLE_OUTCOME_FORBIDDEN] = 5;
		n[PINTLE_OUTCOME_SPILLED] = 10;
	}
}

static void test_report_told(void **state)
{
	const struct pins *p = *state;

	report_told(p, PINTLE_MODE_SHADOW);
	expect(0,
	       "Forecast, 10.0 % of the connections would be told no, and 5.0 % would go to a fallback.",
	       "", "report", "qwen");
	pins_fill(p);
	report_told(p, PINTLE_MODE_ENFORCE);
	expect(0, "Enforcing, 10.0 % of the connections are told no, and 5.0 % go to a fallback.",
	       "", "report", "qwen");
}

static void test_report(void **state)
{
	const struct pins *p = *state;
	static const uint32_t slow[2] = {100, 104}, fast[2] = {60, 63};
	static const uint32_t noisy[2] = {60, 140}, also[2] = {61, 139};
	char nine_steps[32];

	snprintf(nine_steps, sizeof(nine_steps), "%llus", 9 * report_step_ns() / NSEC_PER_SEC);
	expect(0, "Nothing to compare yet", "", "report", "llama-8b");
	report_moments(p, 6, slow, fast, 0);
	expect(0, "62 ms, and without it 102 ms: 40 % less (95 % confidence: ", "", "report",
	       "qwen", "--since", "24h");
	expect(0, "of each.", "", "report", "qwen", "--since", nine_steps);
	pins_fill(p);
	report_moments(p, 6, slow, slow, 0);
	expect(0, ". That is no difference beyond chance", "", "report", "qwen", "--since", "24h");
	pins_fill(p);
	report_moments(p, 6, noisy, also, 0);
	expect(0, "no difference beyond chance", "", "report", "qwen", "--since", "24h");
	pins_fill(p);
	report_moments(p, 2, slow, fast, 0);
	expect(0, "Too few minutes", "", "report", "qwen", "--since", "24h");
	pins_fill(p);
	report_moments(p, 6, slow, fast, PINTLE_MOMENT_SEALED);
	expect(0, "Nothing to compare yet: run", "", "report", "qwen", "--since", "24h");
	expect(0, "The servers speak TLS", "", "report", "qwen", "--since", "24h");
	expect(0, "\"answers\":\t0,", "", "report", "qwen", "--since", "24h", "-o", "json");
	expect(2, "", "report needs POOL", "report");
	expect(2, "", "--since takes a time", "report", "qwen", "--since", "x");
	expect(2, "", "pools takes no --since", "pools", "--since", "1h");
	expect(2, "", "take one of them", "report", "qwen", "--html", "a", "-o", "json");
	expect(1, "", "no pool", "report", "nowhere");
	expect(2, "", "--html takes the name of a file", "report", "qwen", "--html", "");
	expect(1, "", "cannot write /nowhere/a", "report", "qwen", "--html", "/nowhere/a");
	expect(1, "", "/dev/null is no file; name one", "report", "qwen", "--html", "/dev/null");
}

/* Whatever a pool or an endpoint is called, the page has it as text. */
static void test_report_escapes(void **state)
{
	const struct pins *p = *state;
	static const char name[] = "<b>&\"'\x1b[31m</b>";
	char path[] = "/tmp/pintle-report-XXXXXX", text[65536];
	int fd = mkstemp(path);
	ssize_t n;

	assert_true(fd >= 0);
	close(fd);
	pins_name(p, LLAMA, LLAMA_GEN, name);
	pins_name(p, PINTLE_ENDPOINT_SLOT(0), GEN(0), name);
	expect(0, "wrote /tmp/pintle-report-", "", "report", "<b>&\"'?[31m</b>", "--html", path);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	unlink(path);
	assert_true(n > 0);
	text[n] = '\0';
	assert_null(strstr(text, "<b>"));
	assert_null(strchr(text, 0x1b));
	assert_non_null(strstr(text, "&lt;b&gt;&amp;&quot;&#39;?[31m&lt;/b&gt;"));
}

/* ---- explain -------------------------------------------------------------------- */

/* 10.0.1.0/24 is bound to gpu0, 10.0.0.0/24 to gpu1, 10.0.2.0/24 was to gpu0 too long ago. */
static void test_explain(void **state)
{
	const struct pins *p = *state;

	snapshot("explain.txt", WORDS("explain", "llama-8b", "--source", "10.0.1.9"));
	snapshot("explain.json",
		 WORDS("explain", "llama-8b", "--session", "10.0.1.0/24", "-o", "json"));
	snapshot("explain-escaped.txt", WORDS("explain", "llama-8b", "--source", "10.0.0.7"));
	snapshot("explain-new.txt", WORDS("explain", "llama-8b"));
	expect(0, "expired: used last 11 h ago", "", "explain", "llama-8b", "--source", "10.0.2.1");
	expect(0, "bound: not yet", "", "explain", "llama-8b", "--source", "10.0.4.1");
	expect(0, "would go to gpu0 (random)", "", "explain", "qwen", "--source", "10.0.0.7");
	expect(0, "(sticky)", "--bytes changes nothing", "explain", "llama-8b", "--source",
	       "10.0.1.9", "--bytes", "60000");
	p->m->node->heartbeat_ns = monotonic_ns() - HOURS(4.5);
	snapshot("explain-dead.txt", WORDS("explain", "llama-8b", "--source", "10.0.1.9"));
	expect(0, "mode off", "nothing but Pintle answers", "mode", "llama-8b", "off");
	expect(0, "10.0.1.9 would be left alone: mode off", "", "explain", "llama-8b", "--source",
	       "10.0.1.9");
}

/* Equal loads: two endpoints share the connections of new sessions; one drained leaves no chance;
 * with both drained none may be chosen. */
static void test_explain_by_chance(void **state)
{
	const struct pins *p = *state;
	struct pintle_score score;

	assert_int_equal(maps_value(p->m, MAP_scores, 0, &score), 0);
	score.generation = GEN(5);
	p->m->scores[5] = score;
	p->m->inflight[5] = p->m->inflight[0];
	p->m->health[5].listening_since_ns = score.scraped_ns - 1;
	expect(0, "by chance: least_loaded 100.0 %; equal loads", "", "explain", "llama-8b",
	       "--source", "10.0.9.1");
	expect(0, "would go to gpu0 (least_loaded)", "", "explain", "llama-8b", "--source",
	       "fd77::9");
	expect(0, "drained", "", "drain", "llama-8b/gpu0");
	expect(0, "would go to gpu5 (least_loaded)", "", "explain", "llama-8b", "--source",
	       "10.0.9.1");
	expect(0, "drained", "", "drain", "llama-8b/gpu1");
	expect(0, "drained", "", "drain", "llama-8b/gpu3");
	expect(0, "drained", "no other endpoint", "drain", "llama-8b/gpu5");
	expect(0, "no endpoint may be chosen for 10.0.9.1: connections go to any listener", "",
	       "explain", "llama-8b", "--source", "10.0.9.1");
}

/* The more of a session's context is cached, the further ahead its endpoint may be. */
static void test_explain_a_context(void **state)
{
	const struct pins *p = *state;
	struct pintle_pool pool;

	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
	pool.context_bytes = 1000;
	pins_at(p, MAP_pools, LLAMA, &pool);
	p->m->scores[1].passed_ns = monotonic_ns();
	expect(0, "(escaped)", "", "explain", "llama-8b", "--source", "10.0.0.7", "--bytes",
	       "1000");
	expect(0, "(sticky)", "", "explain", "llama-8b", "--source", "10.0.0.7", "--bytes",
	       "60000");
}

static void test_explain_in_vain(void **state)
{
	const struct pins *p = *state;
	struct pintle_affinity_key key = {.pool = LLAMA, .pool_generation = LLAMA_GEN};
	struct pintle_affinity binding = {.endpoint = 0,
					  .generation = GEN(0),
					  .bound_ns = monotonic_ns() - HOURS(2.5),
					  .used_ns = monotonic_ns() - HOURS(1.5)};

	expect(2, "", "needs POOL", "explain");
	expect(1, "", "no pool 'xyzzy'", "explain", "xyzzy");
	expect(2, "", "--source takes an address", "explain", "llama-8b", "--source",
	       "10.0.0.0/24");
	expect(2, "", "--source takes an address", "explain", "llama-8b", "--source", "mark:1");
	expect(2, "", "is no session", "explain", "llama-8b", "--session", "gpu0");
	expect(2, "", "no cgroup 'x'", "explain", "llama-8b", "--cgroup", "x");
	expect(2, "", "no cgroup '/nowhere'", "explain", "llama-8b", "--cgroup", "/nowhere");
	expect(2, "", "takes NAMESPACE/NAME", "explain", "llama-8b", "--pod", "web-0");
	expect(1, "", "no pod default/web-0 is known", "explain", "llama-8b", "--pod",
	       "default/web-0");
	expect(2, "", "--bytes takes a number", "explain", "llama-8b", "--bytes", "-1");
	expect(2, "", "--bytes takes a number", "explain", "llama-8b", "--bytes", "10k");
	expect(2, "",
	       "by source (stickiness.key), and that of 'mark:1' is not known; give --source",
	       "explain", "llama-8b", "--session", "mark:1");
	expect(2, "", "whose sessions are addresses of 24 bits", "explain", "llama-8b", "--session",
	       "10.0.0.0/16");
	expect(2, "", "status takes no --source", "status", "--source", "10.0.0.7");
	connect_fill(p);
	p->m->node->hint_key[0] = 4711;
	expect(0, "bound: not known, and left out; give --session hint:", "", "explain", "llama-8b",
	       "--source", "10.0.1.9");
	expect(2, "", "by hint (stickiness.key), and that of 'mark:1' is not known; give --session",
	       "explain", "llama-8b", "--session", "mark:1");
	expect(0, "home: not known, and left out; give --cgroup PATH", "", "explain", "llama-8b",
	       "--session", "hint=user-1");
	assert_int_equal(state_session_parse("hint=user-1", p->m->node->hint_key, &key.session), 0);
	key.session.prefix_bits = 128;
	for (uint8_t client = 1; client <= 2; client++) {
		key.session.id[8] = client;
		pins_set(p, MAP_affinity, &key, &binding);
		expect(client == 1 ? 0 : 1, client == 1 ? "bound to gpu0" : "",
		       client == 1 ? "" : "2 clients gave the hint", "explain", "llama-8b",
		       "--session", "hint=user-1");
	}
}

/* The keys that follow from a pod: its own, its namespace's, its service account's. */
static void test_explain_a_pod(void **state)
{
	const struct pins *p = *state;
	struct pintle_pod pod = {
		.space = 21, .account = 22, .space_name = "default", .name = "web-0"};
	static const struct {
		uint32_t kind;
		uint64_t id;
	} keys[] = {
		{PINTLE_KEY_CGROUP, 4711},
		{PINTLE_KEY_POD, 4711},
		{PINTLE_KEY_NAMESPACE, 21},
		{PINTLE_KEY_ACCOUNT, 22},
	};
	uint64_t id = 4711;

	connect_fill(p);
	pins_set(p, MAP_pods, &id, &pod);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct pintle_affinity_key key = {
			.pool = LLAMA,
			.pool_generation = LLAMA_GEN,
			.session = {.kind = keys[i].kind, .prefix_bits = 128},
		};
		struct pintle_affinity binding = {
			.endpoint = 1, .generation = GEN(1), .used_ns = monotonic_ns()};
		uint64_t halves[2] = {1, keys[i].id};
		struct pintle_pool pool;

		memcpy(key.session.id, halves, sizeof(halves));
		assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
		pool.key_kind = keys[i].kind;
		pins_at(p, MAP_pools, LLAMA, &pool);
		expect(0, "bound: not yet", "", "explain", "llama-8b", "--pod", "default/web-0");
		pins_set(p, MAP_affinity, &key, &binding);
		expect(0, "bound to gpu1", "", "explain", "llama-8b", "--pod", "default/web-0");
	}
}

static void test_empty(void **state)
{
	pins_zero(*state);
	expect(0, "attached  no", "", "status");
	expect(0, "no pools", "", "pools");
	expect(0, "no endpoints", "", "endpoints");
	expect(0, "no sessions", "", "sessions");
	expect(0, "no decisions", "", "stats");
	for (size_t i = 0; i < ARRAY_SIZE(nouns); i++) {
		_cleanup_json_ cJSON *rows = cli_json(WORDS("-o", "json", nouns[i]));

		assert_true(cJSON_GetArraySize(rows) <= 1);
	}
}

/* Checks that each line "KEY  meaning" in --help names a key of the object. */
static void check_keys(char *help, const cJSON *row)
{
	char *line, *next = strstr(help, "Keys of -o json:\n");
	const cJSON *key = row->child;

	assert_non_null(next);
	strsep(&next, "\n");
	while ((line = strsep(&next, "\n")) && *line) {
		char name[64], meaning[256];

		assert_int_equal(sscanf(line, " %63s %255[^\n]", name, meaning), 2);
		assert_non_null(key);
		assert_string_equal(key->string, name);
		key = key->next;
	}
	assert_null(key);
}

/* --help and the output have the same keys in the same order; `events` has a test of its own. */
static void test_keys_are_documented(void **state)
{
	static const char *const words[] = {"status", "pools",   "endpoints", "sessions",
					    "stats",  "version", "doctor",    "diff"};

	(void)state;
	expect(0, "drained", "", "drain", "gpu1"); /* so that `diff` has a row */
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		_cleanup_said_ struct said help = pintle(words[i], "--help");
		_cleanup_json_ cJSON *rows = cli_json(WORDS(words[i], "-o", "json"));

		check_keys(help.out, rows->child);
	}
}

/* `top` prints one object, not an array. */
static void test_keys_of_top(void **state)
{
	_cleanup_said_ struct said help = pintle("top", "--help");
	_cleanup_said_ struct said frame = pintle("top", "--once", "-o", "json");
	_cleanup_json_ cJSON *object = cJSON_Parse(frame.out);

	(void)state;
	assert_true(cJSON_IsObject(object));
	check_keys(help.out, object);
}

static void test_numbers(void **state)
{
	_cleanup_json_ cJSON *rows = cli_json(WORDS("endpoints", "-o", "json"));
	const cJSON *first = rows->child;

	(void)state;
	assert_int_equal(cJSON_GetArraySize(rows), 7);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(first, "name")), "gpu0");
	assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(first, "load")) == 4.5);
	assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(first, "age_seconds")) >= 9000);
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(first, "gpu")));
}

static void test_nothing_pinned(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(nouns) - 1; i++)
		expect(1, "", "nothing is pinned under /mnt/nowhere", nouns[i], "--bpffs",
		       "/mnt/nowhere");
	expect(1, "", "is pintled running? try --bpffs", "drain", "gpu0", "--bpffs",
	       "/mnt/nowhere");
	expect(0, "PINTLED", "", "version", "--bpffs", "/mnt/nowhere");
}

static void test_options_anywhere(void **state)
{
	(void)state;
	expect(0, "[{", "", "-o", "json", "--bpffs", PINS_BPFFS, "pools");
	expect(0, "[{", "", "pools", "--output=json", "--bpffs=" PINS_BPFFS);
	expect(0, "[{", "", "--bpffs", PINS_BPFFS, "pools", "-ojson");
	expect(1, "", "/mnt/other", "pools", "--bpffs", "/mnt/other");
	expect(0, "pintle " PINTLE_VERSION, "", "--version");
	expect(0, "pintle " PINTLE_VERSION, "", "status", "-V");
}

static void test_usage_errors(void **state)
{
	static const struct {
		const char *words[4];
		const char *hint;
	} rows[] = {
		{{NULL}, "usage: pintle"},
		{{"statsu"}, "did you mean status?"},
		{{"endpoint"}, "did you mean endpoints?"},
		{{"moed"}, "did you mean mode?"},
		{{"tpo"}, "did you mean top?"},
		{{"darin"}, "did you mean drain?"},
		{{"nosuch"}, "status"},
		{{"pools", "extra"}, "takes no 'extra'"},
		{{"top", "-o", "json"}, "-o json is for --once; add it"},
		{{"top", "--interval=1"}, "100ms to 1h, not '1'; such as 2s"},
		{{"top", "--interval=1s", "--once"}, "leave out --interval"},
		{{"pools", "--once"}, "pools takes no --once; for top"},
		{{"pools", "--interval=1s"}, "pools takes no --interval"},
		{{"mode"}, "usage: pintle mode POOL enforce|shadow|baseline|off"},
		{{"mode", "llama-8b"}, "usage: pintle mode POOL"},
		{{"mode", "llama-8b", "fast"}, "write one of off, baseline, enforce, shadow"},
		{{"set", "llama-8b"}, "usage: pintle set POOL KEY=VALUE"},
		{{"set", "llama-8b", "mode"}, "write KEY=VALUE"},
		{{"set", "llama-8b", "mode=fast"}, "write one of off, baseline, enforce, shadow"},
		{{"set", "llama-8b", "requests=one"}, "as-they-come, one-per-connection"},
		{{"set", "llama-8b", "requests="}, "requests has no value; write one of"},
		{{"set", "llama-8b", "weights.queue=1001"}, "write a number from 0 to 1000"},
		{{"set", "llama-8b", "weights.que=1"}, "did you mean weights.queue?"},
		{{"set", "llama-8b", "ttl=100s"}, "did you mean stickiness.ttl?"},
		{{"set", "llama-8b", "stickiness.ttl=100"}, "write 100 and ms, s, m or h"},
		{{"set", "llama-8b", "weights=1"}, "as in weights.queue=VALUE"},
		{{"set", "llama-8b", "engine=tgi"}, "write it into the configuration, then"},
		{{"set", "llama-8b", "scrape.authorization.credentialsFile=/etc/shadow"},
		 "cannot change by itself"},
		{{"set", "llama-8b", "node.metrics=off"}, "a pool has no key"},
		{{"set", "llama-8b", "xyzzy=1"}, "`pintle set --help` lists"},
		{{"reset", "llama-8b", "weights.que"}, "did you mean weights.queue?"},
		{{"drain"}, "drain needs ENDPOINT"},
		{{"unbind"}, "--pool POOL"},
		{{"unbind", "10.0.0.7/8"}, "10.0.0.0/24"},
		{{"status", "--pool", "qwen"}, "takes no --pool; for endpoints, sessions, "},
		{{"drain", "gpu1", "-ojson"}, "takes no -o json"},
		{{"status", "-o", "yaml"}, "text and json"},
		{{"status", "-o"}, "needs FORMAT"},
		{{"status", "--bpfs", "x"}, "did you mean --bpffs?"},
		{{"status", "-x"}, "no option -x"},
		{{"status", "--bpffs", ""}, "takes a directory"},
		{{"status", "--help=x"}, "--help"},
		{{"completion", "tcsh"}, "bash, fish and zsh"},
		{{"check"}, "check needs FILE"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cli_expect(__FILE__, __LINE__,
			   WORDS(rows[i].words[0], rows[i].words[1], rows[i].words[2],
				 rows[i].words[3]),
			   2, "", rows[i].hint);
}

static void test_help(void **state)
{
	(void)state;
	expect(0, "Nouns read:", "", "--help");
	expect(0, "--source IP      explain: the client's address\n", "", "--help");
	expect(0, "--source IP      the client's address\n", "", "explain", "--help");
	expect(0, "usage: pintle mode POOL", "", "mode", "--help");
	expect(0, "usage: pintle events", "", "-h", "events");
	expect(0, "Keys of -o json:", "", "doctor", "--help");
	expect(0, "  ejected      failed its clients", "", "endpoints", "--help");
	expect(0, "Nouns read:", "", "help");
	expect(0, "usage: pintle mode POOL", "", "help", "mode");
	expect(2, "", "did you mean endpoints?", "help", "endpoint");
	expect(2, "", "help takes no 'pools'", "help", "mode", "pools");
}

/* As in `pintle endpoints | head -1`. */
static void test_reader_gone(void **state)
{
	static const char *const words[][CLI_WORDS + 1] = {
		{"status"}, {"endpoints"}, {"endpoints", "-o", "json"}, {"help"}, {"--help"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		int fds[2];

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		close(fds[0]);
		_cleanup_said_ struct said s = cli_as(&(struct as){.stdout_fd = fds[1]}, words[i]);

		close(fds[1]);
		assert_int_equal(s.status, 0);
		assert_string_equal(s.err, "");
	}
}

static void test_stdout_full(void **state)
{
	static const char *const words[][CLI_WORDS + 1] = {
		{"status"}, {"endpoints", "-o", "json"}, {"--help"}, {"completion", "bash"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		_cleanup_said_ struct said s =
			cli_as(&(struct as){.stdout_path = "/dev/full"}, words[i]);

		assert_int_equal(s.status, 1);
		assert_non_null(strstr(s.err, "No space left"));
	}
}

/* ---- verbs ----------------------------------------------------------------------- */

static void test_mode(void **state)
{
	const struct pins *p = *state;
	uint64_t before = monotonic_ns();
	struct pintle_override o;

	expect(0, "llama-8b: mode baseline", "", "mode", "llama-8b", "baseline");
	o = override_at(p, LLAMA);
	assert_int_equal(o.generation, LLAMA_GEN);
	assert_int_equal(o.flags, PINTLE_OVERRIDE_MODE);
	assert_int_equal(o.mode, PINTLE_MODE_BASELINE);
	assert_true(o.since_ns >= before && o.since_ns <= monotonic_ns());
	assert_int_equal(override_at(p, QWEN).flags, 0);
	/* Setting the file's value leaves no override. */
	expect(0, "as configured", "", "enable", "llama-8b");
	assert_int_equal(override_at(p, LLAMA).flags, 0);
	expect(0, "mode enforce", "", "enable", "qwen");
	assert_int_equal(override_at(p, QWEN).mode, PINTLE_MODE_ENFORCE);
	expect(1, "", "did you mean llama-8b?", "mode", "llama-8", "off");
	expect(1, "", "there are: llama-8b, qwen", "mode", "xyzzy", "off");
}

/* Each setting is changed and taken back without the other. */
static void test_set(void **state)
{
	const struct pins *p = *state;
	struct pintle_override o;

	p->m->node->devices = 2;
	expect(0, "mode baseline", "", "mode", "llama-8b", "baseline");
	expect(0,
	       "llama-8b: requests one-per-connection, until it is set again or `pintle reset`\n",
	       "", "set", "llama-8b", "requests=one-per-connection");
	o = override_at(p, LLAMA);
	assert_int_equal(o.generation, LLAMA_GEN);
	assert_int_equal(o.flags, PINTLE_OVERRIDE_MODE | PINTLE_OVERRIDE_REQUESTS);
	assert_int_equal(o.mode, PINTLE_MODE_BASELINE);
	assert_int_equal(o.requests, PINTLE_REQUESTS_ONE_PER_CONNECTION);
	expect(0, "mode enforce, as configured", "", "enable", "llama-8b");
	assert_int_equal(override_at(p, LLAMA).flags, PINTLE_OVERRIDE_REQUESTS);
	expect(0, "one-per-connection*", "", "pools");
	expect(0, "requests as-they-come, as configured", "", "set", "llama-8b",
	       "requests=as-they-come");
	assert_int_equal(override_at(p, LLAMA).flags, 0);
	assert_int_equal(override_at(p, QWEN).flags, 0);
	expect(1, "", "did you mean llama-8b?", "set", "llama-8", "requests=as-they-come");
}

/* No daemon attaches the program. */
static void test_set_without_a_daemon(void **state)
{
	const struct pins *p = *state;

	p->m->node->heartbeat_ns = p->m->node->started_ns = 1;
	expect(0, "takes effect when pintled starts", "", "set", "qwen",
	       "requests=one-per-connection");
	assert_int_equal(override_at(p, QWEN).requests, PINTLE_REQUESTS_ONE_PER_CONNECTION);
	expect(0, "pintled attaches it when it starts", "", "status");
	expect(0, "qwen: requests as-they-come, as configured\n", "", "reset");
	assert_int_equal(override_at(p, QWEN).flags, 0);
}

/* A daemon runs, and does not attach the program. */
static void test_set_in_vain(void **state)
{
	struct pins *p = *state;

	/* The machine may have booted after the time at which the fixture says pintled started. */
	p->m->node->started_ns = 1;
	expect(0, "pintled has not attached it", "", "set", "qwen", "requests=one-per-connection");
}

static int listen_on(uint16_t port, const char *address)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* In mode `off`, connections go to the frontend's own address. If no server listens there, the CLI
 * says so. */
static void test_mode_off_warns(void **state)
{
	int fd;

	expect(0, "mode off", "nothing but Pintle answers 10.77.0.1:8000", "mode", "llama-8b",
	       "off");
	expect(0, "mode off", "nothing but Pintle answers [fd77::1]:8000", "disable", "llama-8b");
	expect(0, "mode off", "nothing but Pintle answers 10.78.0.0/24:9000", "disable", "qwen");
	assert_int_equal(override_at(*state, QWEN).mode, PINTLE_MODE_OFF);
	fd = listen_on(9000, "127.0.0.1");
	expect(0, "mode off", "nothing but Pintle", "disable", "qwen");
	close(fd);
	fd = listen_on(9000, "0.0.0.0");
	expect(0, "mode off", "", "disable", "qwen");
	close(fd);
}

static void test_drain(void **state)
{
	const struct pins *p = *state;
	struct pintle_override o;
	struct pintle_endpoint e;

	expect(0, "llama-8b/gpu1: drained; 7 open", "", "drain", "gpu1");
	o = override_at(p, PINTLE_ENDPOINT_SLOT(1));
	assert_int_equal(o.generation, GEN(1));
	assert_int_equal(o.flags, PINTLE_OVERRIDE_DRAIN);
	expect(0, "already", "", "drain", "llama-8b/gpu1");
	expect(0, "takes connections again", "", "undrain", "llama-8b/gpu1");
	assert_int_equal(override_at(p, PINTLE_ENDPOINT_SLOT(1)).flags, 0);
	expect(0, "was not drained", "", "undrain", "gpu1");
	assert_int_equal(maps_value(p->m, MAP_endpoints, 1, &e), 0);
	e.flags |= PINTLE_ENDPOINT_DRAINED;
	pins_at(p, MAP_endpoints, 1, &e);
	expect(0, "because the file drains it", "", "undrain", "gpu1");
	expect(0, "llama-8b/gpu1: drained", "", "drain", "gpu1");
	expect(0, "because the file drains it", "", "undrain", "gpu1");
	e.flags = 0;
	pins_at(p, MAP_endpoints, 1, &e);
	expect(1, "", "llama-8b/gpu0 or qwen/gpu0", "drain", "gpu0");
	expect(1, "", "did you mean llama-8b/gpu", "drain", "llama-8b/gpu9");
	expect(1, "", "POOL/NAME", "drain", "xyzzy");
	expect(0, "drained", "no other endpoint of qwen is ready: its connections are refused",
	       "drain", "qwen/gpu0");
	expect(0, "takes connections again", "", "undrain", "qwen/gpu0");
	pins_frontend(p, "10.78.0.0/24:9000", QWEN, QWEN_GEN - 1, 0);
	expect(0, "drained", "its connections go back to the pool that sent them", "drain",
	       "qwen/gpu0");
}

static size_t sessions_left(void)
{
	_cleanup_json_ cJSON *rows = cli_json(WORDS("sessions", "-o", "json"));

	return (size_t)cJSON_GetArraySize(rows);
}

static void test_unbind(void **state)
{
	assert_int_equal(sessions_left(), 3);
	expect(0, "llama-8b: 10.0.0.0/24 is bound no more", "", "unbind", "10.0.0.0/24");
	assert_int_equal(sessions_left(), 2);
	expect(1, "", "10.0.0.0/24 is not bound", "unbind", "10.0.0.0/24");
	/* An address stands for the session of its prefix. */
	expect(0, "bound no more", "", "unbind", "10.0.1.99");
	expect(0, "bound no more", "", "unbind", "fd00:1::77", "--pool", "llama-8b");
	assert_int_equal(sessions_left(), 0);
	expect(2, "", "is no session", "unbind", "gpu0");

	pins_fill(*state);
	pins_session(*state, "10.0.0.0/24", QWEN, QWEN_GEN, QWEN_GPU0, 1, 1);
	expect(1, "", "is not bound", "unbind", "10.0.1.0/24", "--pool", "qwen");
	/* Bindings that are too old or orphaned go as well. */
	expect(0, "llama-8b: 6 sessions", "", "unbind", "--pool", "llama-8b");
	expect(1, "", "no pool 'xyzzy'", "unbind", "--pool", "xyzzy");
}

static void pool_has_classes(const struct pins *p)
{
	struct pintle_pool *pool = malloc(sizeof(*pool));

	assert_non_null(pool);
	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, pool), 0);
	pool->class_count = pool->classes = 2;
	strcpy(pool->class_of[0].name, "interactive");
	strcpy(pool->class_of[1].name, "batch");
	pins_at(p, MAP_pools, LLAMA, pool);
	free(pool);
}

static void test_classify(void **state)
{
	expect(1, "", "has no classes; write some", "classify", "llama-8b", "10.0.0.7", "batch");
	pool_has_classes(*state);
	expect(1, "", "it has interactive, batch", "classify", "llama-8b", "10.0.0.7", "bat");
	expect(0, "10.0.0.0/24 is classified", "", "classify", "llama-8b", "10.0.0.0/24", "batch");
	expect(0, "operator", "", "sessions");
	/* An address stands for the session of its prefix. */
	expect(0, "10.9.9.7 is classified", "", "classify", "llama-8b", "10.9.9.7", "interactive");
	expect(0, "10.9.9.0/24", "", "sessions", "10.9.9.8");
	expect(1, "", "whose key is source", "classify", "llama-8b", "10.0.0.0/16", "batch");
	expect(1, "", "whose key is source", "classify", "llama-8b", "mark:7", "batch");
	expect(2, "", "is no session", "classify", "llama-8b", "gpu0", "batch");
	expect(1, "", "is bound that said hint=x", "classify", "llama-8b", "hint=x", "batch");
	expect(0, "is classified no more", "", "unclassify", "llama-8b", "10.9.9.8");
	expect(1, "", "was not classified", "unclassify", "llama-8b", "10.9.9.8");
}

static void test_reset(void **state)
{
	const struct pins *p = *state;
	struct pintle_override old = {.generation = 3, .flags = PINTLE_OVERRIDE_DRAIN};
	struct pintle_override tap = {.tap_until_ns = 12345};

	pins_at(p, MAP_overrides, PINTLE_ENDPOINT_SLOT(500), &old);
	pins_at(p, MAP_overrides, PINTLE_OVERRIDE_NODE, &tap);
	expect(0, "mode baseline", "", "mode", "llama-8b", "baseline");
	expect(0, "drained", "", "drain", "gpu1");
	expect(0, "llama-8b: mode enforce, as configured\nllama-8b/gpu1: takes", "", "reset");
	for (uint32_t slot = 0; slot < PINTLE_SLOTS; slot++)
		assert_int_equal(override_at(p, slot).flags, 0);
	/* A program that follows events goes on. */
	assert_int_equal(override_at(p, PINTLE_OVERRIDE_NODE).tap_until_ns, 12345);
	expect(0, "nothing was set", "", "reset");
}

static const char *write_config(const char *text)
{
	static char path[] = "/tmp/pintle-test-XXXXXX";
	int fd;

	strcpy(path, "/tmp/pintle-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static void test_check(void **state)
{
	static const char good[] = "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\n"
				   "pools:\n- name: a\n  frontends: [\"10.0.0.1:80\"]\n"
				   "  announce: true\n"
				   "  endpoints: [{name: x, listen: \"8001\"}]\n";
	static const char bad[] = "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\n"
				  "pools:\n- nam: a\n";
	const char *path;

	(void)state;
	path = write_config(good);
	expect(0, "good: 1 pool, 1 endpoint", "", "check", path);
	unlink(path);
	path = write_config(bad);
	expect(2, "", ":4:3: ", "check", path);
	unlink(path);
	expect(2, "", "/nowhere.yaml", "check", "/nowhere.yaml");
}

/* ---- permissions ----------------------------------------------------------------- */

static void pins_give(gid_t group)
{
	char path[128];

	assert_int_equal(chown(PINS_BPFFS, 0, group), 0);
	assert_int_equal(chown(PINS_DIR, 0, group), 0);
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		snprintf(path, sizeof(path), PINS_DIR "/%s", map_names[id]);
		assert_int_equal(chown(path, 0, group), 0);
	}
}

static void test_group_reads(void **state)
{
	const struct as reader = {.uid = NOBODY, .gid = READERS};
	const struct as stranger = {.uid = NOBODY, .gid = READERS + 1};

	(void)state;
	pins_give(READERS);
	for (size_t i = 0; i < ARRAY_SIZE(nouns); i++) {
		_cleanup_said_ struct said root = pintle(nouns[i]);
		_cleanup_said_ struct said s = cli_as(&reader, WORDS(nouns[i]));
		_cleanup_said_ struct said no = cli_as(&stranger, WORDS(nouns[i]));
		_cleanup_free_ char *a = normalise(root.out), *b = normalise(s.out);

		assert_int_equal(s.status, 0);
		assert_string_equal(s.err, "");
		/* Only root can see that this test has no links. */
		if (strcmp(nouns[i], "status") != 0)
			assert_string_equal(a, b);
		if (!strcmp(nouns[i], "version"))
			continue;
		assert_int_equal(no.status, 1);
		assert_non_null(strstr(no.err, "node.group"));
	}
	pins_give(0);
}

static void test_group_does_not_write(void **state)
{
	static const char *const words[][CLI_WORDS + 1] = {
		{"mode", "qwen", "off"},
		{"drain", "gpu1"},
		{"undrain", "gpu1"},
		{"unbind", "10.0.0.1"},
		{"reset"},
		{"events"},
		{"classify", "qwen", "10.0.0.1", "batch"},
	};
	const struct as reader = {.uid = NOBODY, .gid = READERS};

	pins_give(READERS);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		_cleanup_said_ struct said s = cli_as(&reader, words[i]);

		assert_int_equal(s.status, 1);
		assert_non_null(strstr(s.err, "needs root"));
	}
	assert_int_equal(override_at(*state, QWEN).flags, 0);
	pins_give(0);
}

/* ---- hostile maps ---------------------------------------------------------------- */

static bool printable(const char *text)
{
	for (; *text; text++) {
		if ((*text < ' ' || *text > '~') && *text != '\n' && *text != '\t')
			return false;
	}
	return true;
}

static void fill_bytes(void *to, size_t size)
{
	unsigned char *p = to;

	while (size--)
		*p++ = (unsigned char)random();
}

static void fill_random(const struct pins *p, enum map_id id, uint32_t index, size_t size)
{
	unsigned char value[sizeof(struct pintle_pool)];

	fill_bytes(value, size);
	/* The fields that say that an entry is valid stay, so that the others are read. */
	if (id == MAP_pools)
		memcpy(value, &(uint32_t){LLAMA_GEN}, 4);
	if (id == MAP_names || id == MAP_scores)
		memcpy(value + (id == MAP_scores ? 4 : 0), &(uint32_t){GEN(0)}, 4);
	if (id == MAP_overrides)
		memcpy(value, &(uint32_t){LLAMA_GEN}, 4);
	if (id == MAP_node)
		memcpy(value, &(uint32_t){PINTLE_ABI_VERSION}, 4);
	pins_at(p, id, index, value);
}

/* Random bytes as settings and verdicts; some name a pool that exists. */
static void fill_settings(const struct pins *p)
{
	struct pintle_setting_key key;
	struct pintle_setting setting;
	struct pintle_verdict verdict;

	for (int i = 0; i < 40; i++) {
		fill_bytes(&key, sizeof(key));
		fill_bytes(&setting, sizeof(setting));
		fill_bytes(&verdict, sizeof(verdict));
		if (i % 2)
			memcpy(key.pool, "llama-8b", sizeof("llama-8b"));
		if (i % 3)
			verdict.set_ns = setting.set_ns;
		if (i % 5)
			pins_set(p, MAP_settings, &key, &setting);
		if (i % 7)
			pins_set(p, MAP_verdicts, &key, &verdict);
	}
	pins_setting(p, "", "reload", "", 0, &verdict);
}

static void test_hostile(void **state)
{
	const struct pins *p = *state;
	struct pintle_pool pool;

	srandom(7);
	for (int round = 0; round < 4; round++) {
		pins_fill(p);
		fill_random(p, MAP_node, 0, sizeof(struct pintle_node));
		fill_random(p, MAP_pools, LLAMA, sizeof(struct pintle_pool));
		assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
		pool.members[0] = (struct pintle_ref){0, GEN(0)};
		pins_at(p, MAP_pools, LLAMA, &pool);
		fill_random(p, MAP_names, PINTLE_ENDPOINT_SLOT(0), sizeof(struct pintle_name));
		fill_random(p, MAP_scores, 0, sizeof(struct pintle_score));
		fill_random(p, MAP_inflight, 0, sizeof(struct pintle_inflight));
		fill_random(p, MAP_health, 0, sizeof(struct pintle_health));
		fill_random(p, MAP_overrides, LLAMA, sizeof(struct pintle_override));
		fill_settings(p);
		{
			_cleanup_json_ cJSON *rows = cli_json(WORDS("diff", "-o", "json"));
			_cleanup_said_ struct said s = pintle("diff");

			assert_int_equal(s.status, 1);
			assert_true(printable(s.out) && printable(s.err));
		}
		for (size_t i = 0; i < ARRAY_SIZE(nouns); i++) {
			_cleanup_json_ cJSON *rows = cli_json(WORDS(nouns[i], "-o", "json"));
			_cleanup_said_ struct said s = pintle(nouns[i]);

			assert_int_equal(s.status, 0);
			assert_true(printable(s.out));
		}
	}
}

/* ---- events ---------------------------------------------------------------------- */

/* Makes an event: the program decides a connection for a pool without a ready endpoint. */
static void decide_once(const struct pins *p, uint16_t remote_port)
{
	struct bpf_sk_lookup ctx = {
		.family = AF_INET,
		.protocol = IPPROTO_TCP,
		.remote_ip4 = htonl(0x0a000007),
		.remote_port = htons(remote_port),
		.local_ip4 = htonl(0x0a4e0005),
		.local_port = 9000,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));

	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(p->skel->progs.pintle_lookup), &opts), 0);
}

static void wait_for_lease(const struct pins *p, bool there)
{
	for (int i = 0; i < 1000; i++) {
		uint64_t until = override_at(p, PINTLE_OVERRIDE_NODE).tap_until_ns;

		if (there == (until > monotonic_ns()))
			return;
		usleep(10000);
	}
	fail_msg("no lease within 10 s");
}

/* Makes events until `text` is printed. */
static void provoke_until(const struct pins *p, int out, const char *text)
{
	for (int i = 0; i < 1000; i++) {
		_cleanup_free_ char *said = cli_read(out);

		if (strstr(said, text))
			return;
		decide_once(p, (uint16_t)(1000 + i));
		usleep(10000);
	}
	fail_msg("no such event within 10 s: %s", text);
}

static void test_events(void **state)
{
	const struct pins *p = *state;
	struct running r;

	/* A record for an earlier follower, which must not be shown. */
	pins_at(p, MAP_overrides, PINTLE_OVERRIDE_NODE,
		&(struct pintle_override){.tap_until_ns = UINT64_MAX / 2});
	decide_once(p, 999);
	r = cli_start(&(struct as){0}, WORDS("events"));
	wait_for_lease(p, true);
	provoke_until(p, r.out, "decided");
	kill(r.pid, SIGINT);
	{
		_cleanup_said_ struct said s = cli_wait(&r);

		assert_int_equal(s.status, 0);
		assert_string_equal(s.err, "");
		assert_non_null(strstr(s.out, "qwen/-  no_endpoint  10.0.0.7:1"));
		assert_non_null(strstr(s.out, "-> 10.78.0.5:9000"));
		assert_null(strstr(s.out, "10.0.0.7:999"));
	}
	assert_int_equal(override_at(p, PINTLE_OVERRIDE_NODE).tap_until_ns, 0);
}

static void test_events_json(void **state)
{
	const struct pins *p = *state;
	struct running r = cli_start(&(struct as){0}, WORDS("events", "-ojson", "--pool", "qwen"));
	_cleanup_json_ cJSON *first = NULL;

	wait_for_lease(p, true);
	provoke_until(p, r.out, "no_endpoint");
	kill(r.pid, SIGTERM);
	{
		_cleanup_said_ struct said s = cli_wait(&r);

		assert_int_equal(s.status, 0);
		*strchr(s.out, '\n') = '\0'; /* one object a line */
		first = cJSON_Parse(s.out);
		assert_true(cJSON_IsObject(first));
	}
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(first, "pool")), "qwen");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(first, "event")), "decided");
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(first, "endpoint")));
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(first, "bytes_received")));
}

static void test_events_one_at_a_time(void **state)
{
	struct running r = cli_start(&(struct as){0}, WORDS("events"));

	wait_for_lease(*state, true);
	expect(1, "", "another `pintle events` follows already", "events");
	/* A follower that was killed does not block the next one. */
	kill(r.pid, SIGKILL);
	{
		_cleanup_said_ struct said s = cli_wait(&r);

		assert_int_equal(s.status, 128 + SIGKILL);
	}
	expect(1, "", "no pool 'xyzzy'", "events", "--pool", "xyzzy");
	assert_int_equal(override_at(*state, PINTLE_OVERRIDE_NODE).tap_until_ns, 0);
}

/* When its reader has gone, the command ends without an error, even if no event comes. */
static void test_events_reader_gone(void **state)
{
	struct running r;
	int pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	r = cli_start(&(struct as){.stdout_fd = pipe_fds[1]}, WORDS("events"));
	close(pipe_fds[1]);
	wait_for_lease(*state, true);
	close(pipe_fds[0]);
	{
		_cleanup_said_ struct said s = cli_wait(&r);

		assert_int_equal(s.status, 0);
		assert_string_equal(s.err, "");
	}
	wait_for_lease(*state, false);
}

/* ---- other programs at connect() ------------------------------------------------- */

/* A program that lets every connect() pass. */
static int pass_program(const char *name)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_CGROUP_INET4_CONNECT);
	int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, name, "GPL", pass, ARRAY_SIZE(pass),
			       &opts);

	assert_true(fd >= 0);
	return fd;
}

static int attach_to(int cgroup, const char *name)
{
	int program = pass_program(name);
	int link = bpf_link_create(program, cgroup, BPF_CGROUP_INET4_CONNECT, NULL);

	assert_true(link >= 0);
	close(program);
	return link;
}

#define QUIET_TRIES 600 /* a minute */

/* How many programs run at connect() in the cgroup: its own, and those of the cgroups above. */
static uint32_t programs_at(int cgroup)
{
	uint32_t ids[64], count = ARRAY_SIZE(ids), flags;

	assert_int_equal(bpf_prog_query(cgroup, BPF_CGROUP_INET4_CONNECT, BPF_F_QUERY_EFFECTIVE,
					&flags, ids, &count),
			 0);
	return count;
}

/* What the program says while nothing but the two programs of this case runs in the cgroup. A link
 * whose pin was removed stays until the kernel has time for it, and others attach to the cgroups
 * above. Skips the case where they stay. */
static struct said said_of_two(int cgroup, const char *const *words)
{
	for (int i = 0; i < QUIET_TRIES; i++) {
		struct said s;

		if (programs_at(cgroup) == 2) {
			s = cli_as(&(struct as){0}, words);
			if (programs_at(cgroup) == 2)
				return s;
			said_free(&s);
		}
		usleep(100000);
	}
	print_message("%u programs run at connect() where this case has two\n",
		      programs_at(cgroup));
	skip();
	return (struct said){0};
}

static int attach_ours(int cgroup, const char *pin)
{
	int link = attach_to(cgroup, "pintle_connect4");

	assert_int_equal(bpf_obj_pin(link, pin), 0);
	return link;
}

static void detach_ours(int link, const char *pin)
{
	unlink(pin);
	close(link);
}

static char order_cgroup[PINTLE_TEXT_SIZE];
static const char order_pin[] = PINS_DIR "/link_connect4";

static int order_setup(void **state)
{
	const struct pins *p = *state;
	char root[PINTLE_TEXT_SIZE / 2];

	pins_fill(p);
	connect_fill(p);
	assert_int_equal(cgroup2_root(root, sizeof(root)), 0);
	snprintf(order_cgroup, sizeof(order_cgroup), "%s/pintle-test-cli-%d", root, getpid());
	assert_int_equal(mkdir(order_cgroup, 0755), 0);
	strcpy(p->m->node->cgroup, order_cgroup);
	return 0;
}

/* However the case ended, the others find no link of it. */
static int order_teardown(void **state)
{
	(void)state;
	unlink(order_pin);
	return rmdir(order_cgroup);
}

/* The CLI warns when another program runs before Pintle's, and not when it runs after. */
static void test_order_at_connect(void **state)
{
	_cleanup_close_ int cgroup = open(order_cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int rival = -EBADF;
	int ours = attach_ours(cgroup, order_pin);

	(void)state;
	rival = attach_to(cgroup, "other_balancer");
	{
		_cleanup_said_ struct said status = said_of_two(cgroup, WORDS("status"));
		_cleanup_said_ struct said json =
			said_of_two(cgroup, WORDS("status", "-o", "json"));
		_cleanup_said_ struct said doctor = said_of_two(cgroup, WORDS("doctor"));

		assert_non_null(strstr(status.out, "number 1 of 2 programs"));
		assert_null(strstr(status.out, "runs before Pintle's"));
		assert_non_null(strstr(json.out, "\"hooks\":\t[\"connect\"]"));
		assert_non_null(strstr(doctor.out, ", ours), then other_balancer"));
	}

	detach_ours(ours, order_pin);
	ours = attach_ours(cgroup, order_pin);
	{
		_cleanup_said_ struct said status = said_of_two(cgroup, WORDS("status"));
		_cleanup_said_ struct said doctor = said_of_two(cgroup, WORDS("doctor"));

		assert_non_null(strstr(status.out, "number 2 of 2 programs"));
		assert_non_null(strstr(status.out, "at connect() other_balancer (program"));
		assert_non_null(strstr(doctor.out, "warn  connect       2 programs on"));
	}
	detach_ours(ours, order_pin);
}

/* ---- doctor ---------------------------------------------------------------------- */

static int refill_for_doctor(void **state)
{
	const struct pins *p = *state;
	char cgroup[PINTLE_TEXT_SIZE];

	pins_fill(p);
	assert_int_equal(cgroup2_root(cgroup, sizeof(cgroup)), 0);
	strcpy(p->m->node->cgroup, cgroup);
	return 0;
}

#define doctor_test(f) cmocka_unit_test_setup(f, refill_for_doctor)

static void test_doctor(void **state)
{
	_cleanup_said_ struct said s = pintle("doctor");
	_cleanup_json_ cJSON *rows = cli_json(WORDS("doctor", "-o", "json"));
	const cJSON *row;
	bool fails = false;

	(void)state;
	cJSON_ArrayForEach (row, rows) {
		const char *result = cJSON_GetStringValue(cJSON_GetObjectItem(row, "result"));
		bool ok = !strcmp(result, "ok");

		fails = fails || !strcmp(result, "fail");
		assert_true(cJSON_IsNull(cJSON_GetObjectItem(row, "cure")) == ok);
	}
	assert_int_equal(s.status, fails ? 1 : 0);
	assert_string_equal(s.err, "");
	assert_true(cJSON_GetArraySize(rows) >= 12);
	/* This kernel has run the programs above. */
	assert_non_null(strstr(s.out, "ok    programs"));
	assert_non_null(strstr(s.out, "ok    maps"));
	assert_non_null(strstr(s.out, "ok    helpers"));
	assert_non_null(strstr(s.out, "ok    link"));
	assert_non_null(strstr(s.out, "ok    bpffs         " PINS_BPFFS));
}

static void test_doctor_other_cgroup(void **state)
{
	const struct pins *p = *state;

	strcpy(p->m->node->cgroup, "/tmp");
	expect(1, "FAIL  cgroup2       /tmp is not in a cgroup2 file system", "", "doctor");
	strcpy(p->m->node->cgroup, "/nowhere");
	expect(1, "FAIL  cgroup2       /nowhere: No such file", "", "doctor");
}

static void test_doctor_fails(void **state)
{
	_cleanup_said_ struct said s = pintle("doctor", "--bpffs", "/tmp/pintle-nowhere");

	(void)state;
	assert_int_equal(s.status, 1);
	assert_non_null(strstr(s.out, "FAIL  bpffs         /tmp/pintle-nowhere is not on a bpffs; "
				      "mount -t bpf"));
}

static void test_doctor_unprivileged(void **state)
{
	const struct as nobody = {.uid = NOBODY, .gid = NOBODY};
	_cleanup_said_ struct said s = cli_as(&nobody, WORDS("doctor"));

	(void)state;
	assert_int_equal(s.status, 1);
	assert_non_null(strstr(s.out, "FAIL  capabilities  CAP_BPF is missing"));
}

/* Programs on the hook are named in the order in which they run. */
static void test_doctor_names_others(void **state)
{
	const struct pins *p = *state;
	int netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int link = bpf_link_create(bpf_program__fd(p->skel->progs.pintle_lookup), netns,
				   BPF_SK_LOOKUP, NULL);

	assert_true(link >= 0);
	/* Neither hook is pinned here, and doctor says so. */
	expect(1,
	       "FAIL  hooks         " PINS_DIR
	       "/link_lookup is missing: hook lookup is not attached",
	       "", "doctor");
	expect(1, "warn  sk_lookup     1 program on the steered namespace: pintle_lookup (id", "",
	       "doctor");
	assert_int_equal(bpf_obj_pin(link, PINS_DIR "/"
						    "link_lookup"),
			 0);
	expect(1, ", ours)", "", "doctor");
	assert_int_equal(bpf_link_detach(link), 0);
	expect(1,
	       "hook lookup is not attached: its network namespace is gone, or it was detached by force",
	       "", "doctor");
	unlink(PINS_DIR "/"
			"link_lookup");
	close(link);
	close(netns);
}

/* The inode of the node's namespace now belongs to another namespace. */
static void test_doctor_namespace_gone(void **state)
{
	const struct pins *p = *state;

	p->m->node->netns_cookie = 1; /* the cookie of the first namespace, which is not this one */
	expect(1, "FAIL  sk_lookup     the steered namespace, /proc/self/ns/net, cannot", "",
	       "doctor");
}

static void test_doctor_mptcp(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8003)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262);

	(void)state;
	if (fd < 0)
		skip(); /* a kernel without MPTCP */
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	expect(1, "warn  mptcp         llama-8b/gpu2: the listener on 127.0.0.1:8003", "",
	       "doctor");
	expect(1, "GODEBUG=multipathtcp=0", "", "doctor");
	close(fd);
}

/* ---- terminals ------------------------------------------------------------------- */

/* What the program prints on a terminal of this width. */
static char *on_terminal(unsigned short columns, const char *no_color, const char *noun)
{
	struct winsize size = {.ws_row = 50, .ws_col = columns};
	int binary = cli_binary(), master, status;
	char *text = calloc(1, 65536);
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	fflush(NULL);
	pid = forkpty(&master, NULL, NULL, &size);
	assert_true(pid >= 0);
	if (!pid) {
		char *argv[] = {(char *)"pintle", (char *)noun, NULL};
		char *environment[] = {(char *)"PINTLE_BPFFS=" PINS_BPFFS, (char *)"TERM=xterm",
				       (char *)no_color, NULL};

		fexecve(binary, argv, environment);
		_exit(97);
	}
	close(binary);
	/* A terminal reports its end as EIO. */
	while (n < 65535 && (got = read(master, text + n, 65535 - n)) > 0)
		n += (size_t)got;
	close(master);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return text;
}

static void test_colors(void **state)
{
	_cleanup_free_ char *colored = on_terminal(200, NULL, "endpoints");
	_cleanup_free_ char *empty = on_terminal(200, "NO_COLOR=", "endpoints");
	_cleanup_free_ char *plain = on_terminal(200, "NO_COLOR=1", "endpoints");

	(void)state;
	assert_non_null(strstr(colored, "\033[32mready\033[0m"));
	assert_non_null(strstr(empty, "\033[32mready\033[0m"));
	assert_null(strchr(plain, '\033'));
	assert_non_null(strstr(plain, "ready"));
}

static size_t widest_line(const char *text)
{
	size_t widest = 0, n = 0;

	for (; *text; text++) {
		n = *text == '\n' || *text == '\r' ? 0 : n + 1;
		widest = MAX(widest, n);
	}
	return widest;
}

/* Only the table is cut to the width; the sentences below it wrap. */
static void test_narrow_terminal(void **state)
{
	static const char *const tables[] = {"endpoints", "pools", "sessions", "stats"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_free_ char *text = on_terminal(80, "NO_COLOR=1", tables[i]);
		char *rest = strstr(text, "\r\n\r\n");

		if (rest)
			*rest = '\0';
		assert_true(widest_line(text) <= 80);
		assert_non_null(strchr(text, '\n'));
	}
}

/* ---- completion ------------------------------------------------------------------ */

static void complete(const char *words, int at, const char *want)
{
	_cleanup_said_ struct said script = pintle("completion", "bash");
	char command[16384], line[1024] = "";
	char program[64];
	int binary = cli_binary();
	FILE *f;

	fcntl(binary, F_SETFD, 0);
	snprintf(program, sizeof(program), "/proc/self/fd/%d", binary);
	snprintf(command, sizeof(command),
		 "bash -c '%s\npintle() { PINTLE_BPFFS=" PINS_BPFFS " %s \"$@\"; }\n"
		 "COMP_WORDS=(%s); COMP_CWORD=%d; _pintle; echo \"${COMPREPLY[@]}\"'",
		 "eval \"$SCRIPT\"", program, words, at);
	setenv("SCRIPT", script.out, 1);
	f = popen(command, "re");
	assert_non_null(f);
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	assert_int_equal(pclose(f), 0);
	close(binary);
	line[strcspn(line, "\n")] = '\0';
	assert_string_equal(line, want);
}

static void test_completion(void **state)
{
	(void)state;
	if (system("bash -c true"))
		skip();
	complete("pintle en", 1, "endpoints enable");
	complete("pintle -o json se", 3, "sessions set");
	/* Bash breaks words at "=", and puts the completion behind it. */
	complete("pintle set llama-8b requests = o", 5, "one-per-connection");
	complete(
		"pintle set llama-8b stickiness.key =", 4,
		"none source destination client cgroup mark hint pod namespace serviceAccount agent");
	complete("pintle set llama-8b weights.k", 3, "weights.kvCache=");
	complete("pintle reset llama-8b requ", 3, "requests");
	complete("pintle mode ll", 2, "llama-8b");
	complete("pintle mode llama-8b b", 3, "baseline");
	complete("pintle drain qw", 2, "qwen/gpu0");
	complete("pintle -o j", 2, "json");
	complete("pintle status --bp", 2, "--bpffs");
	complete("pintle explain ll", 2, "llama-8b");
	complete("pintle explain llama-8b --session fd", 4, "fd00:1::/64");
	complete("pintle --bpffs /mnt/nowhere mode ll", 4, "");
	complete("pintle unbind 10.0.1", 2, "10.0.1.0/24");
}

static int setup(void **state)
{
	static struct pins p;

	pins_mount();
	pins_load(&p, true);
	*state = &p;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order_at_connect, order_setup, order_teardown),
		pins_test(test_snapshots_of_the_connect_hook),
		pins_test(test_pools_decided_by_request),
		pins_test(test_snapshots),
		pins_test(test_snapshots_set),
		pins_test(test_snapshots_without_daemon),
		pins_test(test_report),
		pins_test(test_report_told),
		pins_test(test_report_escapes),
		pins_test(test_explain),
		pins_test(test_explain_by_chance),
		pins_test(test_explain_a_context),
		pins_test(test_explain_in_vain),
		pins_test(test_explain_a_pod),
		pins_test(test_empty),
		pins_test(test_keys_are_documented),
		pins_test(test_keys_of_top),
		pins_test(test_numbers),
		pins_test(test_nothing_pinned),
		pins_test(test_options_anywhere),
		pins_test(test_usage_errors),
		pins_test(test_help),
		pins_test(test_stdout_full),
		pins_test(test_reader_gone),
		pins_test(test_mode),
		pins_test(test_mode_off_warns),
		pins_test(test_set),
		pins_test(test_set_without_a_daemon),
		pins_test(test_set_in_vain),
		pins_test(test_drain),
		pins_test(test_unbind),
		pins_test(test_classify),
		pins_test(test_reset),
		pins_test(test_snapshots_of_settings),
		pins_test(test_diff_status),
		pins_test(test_diff_of_a_broken_file),
		pins_test(test_set_with_the_file),
		pins_test(test_reset_of_some),
		pins_test(test_reset_that_others_need),
		pins_test(test_reload_without_a_daemon),
		pins_test(test_check),
		pins_test(test_group_reads),
		pins_test(test_group_does_not_write),
		pins_test(test_hostile),
		pins_test(test_events),
		pins_test(test_events_json),
		pins_test(test_events_one_at_a_time),
		pins_test(test_events_reader_gone),
		doctor_test(test_doctor),
		doctor_test(test_doctor_other_cgroup),
		doctor_test(test_doctor_fails),
		doctor_test(test_doctor_unprivileged),
		doctor_test(test_doctor_names_others),
		doctor_test(test_doctor_namespace_gone),
		doctor_test(test_doctor_mptcp),
		pins_test(test_colors),
		pins_test(test_narrow_terminal),
		pins_test(test_completion),
	};

	log_libbpf();
	return cmocka_run_group_tests(tests, setup, pins_teardown);
}
