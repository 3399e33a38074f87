/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - any bytes as a configuration file and, after a line "#set", any texts as settings
 * (pool, key and value, a line each): no crash, no leak, and a result as config.h promises.
 *
 * sources: userspace/config/config.c userspace/config/config_check.c
 * sources: userspace/config/config_facts.c
 * sources: userspace/config/config_access.c userspace/config/config_classes.c
 * sources: userspace/config/config_hooks.c userspace/config/config_tenants.c
 * sources: userspace/config/config_others.c userspace/config/config_hosts.c
 * sources: userspace/config/config_keys.c userspace/config/config_models.c
 * sources: userspace/config/config_found.c userspace/config/config_settings.c
 * sources: userspace/config/config_asked.c userspace/config/config_types.c
 * sources: userspace/maps/names.c userspace/net/addr.c
 * sources: userspace/net/nested.c userspace/net/url.c userspace/base/expfmt.c
 * sources: userspace/yaml/yaml_key.c userspace/yaml/yaml_read.c userspace/yaml/yaml_report.c
 * sources: userspace/yaml/yaml_tree.c userspace/yaml/yaml_value.c
 * sources: userspace/base/file.c userspace/base/text.c
 */
#include <math.h>
#include <string.h>

#include "../../userspace/config/config.h"
#include "traits.bpf.h"
#include "../../userspace/base/util.h"
#include "fuzz.h"

struct told {
	size_t errors;
	int line, column;
};

/* Messages are one printable line, "what is wrong; what would be right", in the file's order. */
static void check_message(struct told *t, int line, int column, const char *message)
{
	PROMISE(line > t->line || (line == t->line && column >= t->column));
	PROMISE(line >= 1 && column >= 1);
	PROMISE(strstr(message, "; "));
	for (const char *p = message; *p; p++)
		PROMISE(*p >= ' ' && *p <= '~');
	t->line = line;
	t->column = column;
}

static void take_error(void *arg, const char *file, int line, int column, const char *message)
{
	struct told *t = arg;

	(void)file;
	t->errors++;
	check_message(t, line, column, message);
}

static void take_warning(void *arg, const char *file, int line, int column, const char *message)
{
	(void)file;
	check_message(arg, line, column, message);
}

static void check_endpoint(const struct config_pool *p, const struct config_endpoint *e)
{
	const struct endpoint_addr *at = config_endpoint_at(e);

	PROMISE(e->name && strlen(e->name) < PINTLE_NAME_SIZE);
	PROMISE(at->port && (at->any_ip || !addr_is_any(&at->ip)));
	PROMISE(!e->listen.port == !!e->address.port && !e->address.any_ip);
	PROMISE(p->reach == (e->listen.port ? PINTLE_REACH_LISTENER : PINTLE_REACH_ADDRESS));
	PROMISE(e->metrics_none ? !e->metrics_url && e->address.port
				: e->metrics_url && !strncmp(e->metrics_url, "http", 4));
	PROMISE(e->gpu_index >= -1 && e->gpu_index <= 1023);
	PROMISE(!e->gpu_pod || strlen(e->gpu_pod) < PINTLE_TEXT_SIZE);
}

static void check_frontend(const struct frontend_addr *f)
{
	struct frontend_addr again;
	char text[ADDR_TEXT_SIZE];

	PROMISE(!addr_parse_frontend(addr_format_frontend(f, text), &again, NULL));
	PROMISE(again.port == f->port && again.prefix_bits == f->prefix_bits &&
		!memcmp(&again.prefix, &f->prefix, sizeof(f->prefix)));
}

static void check_classes(const struct config_pool *p)
{
	size_t rules = 0;

	PROMISE(p->class_count <= PINTLE_MAX_CLASSES);
	for (size_t i = 0; i < p->class_count; i++) {
		const struct config_class *k = &p->classes[i];

		PROMISE(k->name && strlen(k->name) < PINTLE_CLASS_NAME_SIZE);
		PROMISE(isfinite(k->limit) && k->limit >= 0 &&
			k->admission < PINTLE_ADMISSION_COUNT);
		PROMISE(k->max_extra_load == CONFIG_EXTRA_POOL || k->max_extra_load >= 0);
		PROMISE(k->connections >= 0 && k->pool_connections >= 0 &&
			k->reserve.number <= PINTLE_MAX_MEMBERS);
		for (size_t j = 0; j < k->rule_count; j++) {
			const struct config_rule *r = &k->rules[j];

			PROMISE(r->port >= 0 && r->port <= 65535 && r->dscp >= -1 && r->dscp < 64);
			PROMISE(hook_sees(p->decided_by, PINTLE_KEY_CGROUP) ||
				(!r->space && !r->account && !r->cgroup && r->dscp < 0));
		}
		rules += k->rule_count;
	}
	PROMISE(rules <= PINTLE_MAX_RULES);
}

static void check_access(const struct config_pool *p)
{
	PROMISE(p->allow_count <= PINTLE_MAX_RULES);
	for (size_t i = 0; i < p->allow_count; i++) {
		const struct config_rule *r = &p->allowed[i];

		PROMISE(r->has_source || r->port || r->space || r->account || r->cgroup);
		PROMISE(r->dscp == -1 && !r->hints_trusted);
		PROMISE(hook_sees(p->decided_by, PINTLE_KEY_CGROUP) ||
			(!r->space && !r->account && !r->cgroup));
	}
}

static void check_pool(const struct config_pool *p)
{
	const double numbers[] = {p->weights.queue,          p->weights.kv_cache,
				  p->weights.running,        p->weights.gpu,
				  p->saturation.queue_depth, p->saturation.kv_cache,
				  p->ejection.max_share};
	double extra = p->stickiness.max_extra_load;

	PROMISE(extra == CONFIG_EXTRA_AUTO || (extra >= 0 && !signbit(extra) && isfinite(extra)));
	PROMISE(p->name && strlen(p->name) < PINTLE_NAME_SIZE && p->engine && p->scrape.path);
	PROMISE(p->endpoint_count + p->host_count);
	check_classes(p);
	check_access(p);
	PROMISE(p->mode < PINTLE_MODE_COUNT && p->failure_mode <= PINTLE_FAIL_CLOSE);
	PROMISE(p->stickiness.key_bits_v4 <= 32 && p->stickiness.key_bits_v6 <= 128);
	PROMISE(p->stickiness.group_bits_v4 <= 32 && p->stickiness.group_bits_v6 <= 128);
	PROMISE(p->scrape.interval_ns && p->scrape.idle_ns && p->scrape.timeout_ns &&
		p->saturation.staleness_ns);
	PROMISE(hook_sees(p->decided_by, p->stickiness.key_kind));
	PROMISE(hook_sees(p->decided_by, p->stickiness.group_kind));
	PROMISE(p->ejection.failures >= 0 && p->ejection.time_ns && p->ejection.max_time_ns);
	PROMISE(!p->announce || hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS));
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		PROMISE(isfinite(numbers[i]) && numbers[i] >= 0 && !signbit(numbers[i]));
	for (size_t i = 0; i < p->frontend_count; i++)
		check_frontend(&p->frontends[i]);
	for (size_t i = 0; i < p->endpoint_count; i++)
		check_endpoint(p, &p->endpoints[i]);
}

static void check_config(const struct config *c)
{
	PROMISE(c->pool_count && c->pool_count <= PINTLE_MAX_POOLS);
	PROMISE(strlen(c->bpffs) < PINTLE_TEXT_SIZE && strlen(c->netns) < PINTLE_TEXT_SIZE);
	for (size_t i = 0; i < c->pool_count; i++)
		check_pool(&c->pools[i]);
	for (size_t i = 0; i < c->client_count; i++)
		PROMISE(c->clients[i].name && strchr("/*", c->clients[i].cgroup[0]));
}

/* ---- settings -------------------------------------------------------------- */

#define MOST 8

static void no_error(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	(void)file;
	(void)line;
	(void)column;
	(void)message;
	PROMISE(false);
}

static void any_warning(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	(void)line;
	(void)column;
	PROMISE(file[0] && strstr(message, "; "));
}

/* Cuts off the next line as a text of its own, and moves on to what follows it. */
static const char *next_line(char **at)
{
	char *line = strsep(at, "\n");

	return line && *at ? line : NULL;
}

/* No setting makes a good file fail, and a setting that does not hold has a printable reason. */
static void check_settings(const char *text, size_t size, const char *lines, size_t lines_size)
{
	_cleanup_free_ char *copy = strndup(lines, lines_size);
	char *at = copy;

	const struct config_text t = {"fuzz.yaml", (char *)text, size};
	const struct yaml_sink sink = {no_error, any_warning, NULL};
	struct config_setting s[MOST] = {0};
	_cleanup_(config_freep) struct config *c = NULL;
	size_t n = 0;

	for (; n < MOST; n++) {
		s[n].pool = next_line(&at);
		s[n].key = s[n].pool ? next_line(&at) : NULL;
		s[n].value = s[n].key ? next_line(&at) : NULL;
		if (!s[n].value)
			break;
	}
	PROMISE(!config_parse_set(&t, NULL, s, n, &sink, &c) && c);
	check_config(c);
	for (size_t i = 0; i < n; i++) {
		PROMISE(s[i].holds || strstr(s[i].why, "; "));
		for (const char *p = s[i].holds ? "" : s[i].why; *p; p++)
			PROMISE(*p >= ' ' && *p <= '~');
	}
}

/* Whatever DNS says, endpoints are as they would be if the file had their addresses. */
static void check_hosts(struct config *c)
{
	static const struct config_address all[] = {
		{{{[10] = 0xff, 0xff, 10, 0, 0, 1}}, false},
		{{{[10] = 0xff, 0xff, 127, 0, 0, 1}}, true},
		{{{[10] = 0xff, 0xff, 203, 0, 114, 1}}, false},
		{{{0x26, [15] = 1}}, false},
		{{{0xff, [15] = 1}}, false},
		{{{0}}, false},
	};
	struct config_answer answers[PINTLE_MAX_HOSTS];
	size_t n = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t k = 0; k < c->pools[i].host_count; k++) {
			const struct config_endpoint *as = &c->pools[i].hosts[k].as;

			PROMISE(n < PINTLE_MAX_HOSTS && as->host && as->address.port);
			PROMISE(strchr(as->host, '.') && strlen(as->host) <= CONFIG_MAX_HOST);
			answers[n++] = (struct config_answer){as->host, all, ARRAY_SIZE(all)};
		}
	PROMISE(!config_hosts_expand(c, answers, n));
	check_config(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct told t = {0};
	const struct yaml_sink sink = {take_error, take_warning, &t};
	static const char mark[] = "\n#set\n";
	const char *text = (const char *)data, *set = memmem(text, size, mark, strlen(mark));
	size_t file = set ? (size_t)(set - text) + 1 : size;
	int err = config_parse("fuzz.yaml", text, file, &sink, &c);

	PROMISE(err == 0 || err == -EINVAL);
	PROMISE((err == 0) == (c != NULL) && (err == 0) == (t.errors == 0));
	if (!c)
		return 0;
	check_config(c);
	if (set)
		check_settings(text, file, set + strlen(mark), size - file - strlen(mark) + 1);
	check_hosts(c);
	return 0;
}
