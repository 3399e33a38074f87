/* SPDX-License-Identifier: Apache-2.0 */
/* config_policy.c - the keys that a SteeringPolicy may have: rows of the one table, read and
 * checked as those of a pool in the file. */
#include "config_internal.h"

#include <assert.h>

#include "../base/util.h"

#define POOL "pools[]."

static bool may_have(const struct yaml_key *k)
{
	if (strncmp(k->path, POOL, strlen(POOL)) != 0)
		return false;
	return k->policy == POLICY_TOO || (k->policy == POLICY_AS_SET && k->set != SET_NEVER);
}

const struct yaml_table *config_policy_table(void)
{
	static struct yaml_key keys[YAML_MAX_KEYS];
	static struct yaml_table table = {.keys = keys, .prefix = POOL, .what = "spec"};

	for (size_t i = 0; !table.count && i < config_table.count; i++) {
		static size_t n;

		if (may_have(&config_table.keys[i])) {
			keys[n] = config_table.keys[i];
			if (keys[n].policy_min > 0)
				keys[n].min = MAX(keys[n].min, keys[n].policy_min);
			n++;
		}
		if (i == config_table.count - 1)
			table.count = n;
	}
	return &table;
}

const char *config_policy_key_at(size_t i)
{
	const struct yaml_table *t = config_policy_table();

	return i < t->count ? t->keys[i].path + strlen(POOL) : NULL;
}

/* "unknown key in pools[].weights": its author knows no list of pools. */
static void drop_prefix(char *text)
{
	char *at;

	while ((at = strstr(text, POOL)))
		memmove(at, at + strlen(POOL), strlen(at + strlen(POOL)) + 1);
}

/* Copies the report's first error, if there is one. */
static int first_error(const struct yaml_report *r, char why[PINTLE_WHY_SIZE])
{
	if (r->out_of_memory)
		return -ENOMEM;
	for (size_t i = 0; i < r->count; i++) {
		if (r->messages[i].warning)
			continue;
		snprintf(why, PINTLE_WHY_SIZE, "%s", r->messages[i].text);
		drop_prefix(why);
		return -EINVAL;
	}
	return 0;
}

/* Each key by itself: whether a policy may have it, and its value. */
static int config_policy_check_keys(const char *keys, char why[PINTLE_WHY_SIZE])
{
	_cleanup_(yaml_tree_free) struct yaml_tree tree = {0};
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct config_pool p = {0};

	if (yaml_tree_read(&tree, keys, strlen(keys), &r) && tree.root)
		yaml_read_map(&r, config_policy_table(), tree.root, &p);
	free(p.scrape.path);
	free(p.health.path);
	free(p.models);
	config_classes_free(&p);
	config_tenants_free(&p);
	config_access_free(&p);
	return first_error(&r, why);
}

static void ignore(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	(void)file;
	(void)line;
	(void)column;
	(void)message;
}

/* Together, in a pool like those of a cluster. */
static int config_policy_check_pool(const char *keys, char why[PINTLE_WHY_SIZE])
{
	static const char file[] = "apiVersion: " CONFIG_API_VERSION "\nkind: PintleConfig\n"
				   "kubernetes: {}\n";
	static const struct yaml_sink silent = {.error = ignore, .warning = ignore};
	const struct config_text text = {"-", (char *)file, sizeof(file) - 1};
	_cleanup_(config_founds_free) struct config_founds f = {0};
	_cleanup_(config_freep) struct config *c = NULL;
	struct config_member member = {.name = "e", .address = "192.0.2.2:80"};
	const char *frontend = "192.0.2.1:80";
	const struct config_parts parts = {
		.name = "a/b",
		.mode = "enforce",
		.frontends = &frontend,
		.frontend_count = 1,
		.endpoints = &member,
		.endpoint_count = 1,
		.keys = keys,
	};
	int err =
		config_founds_put(&f, &parts) ?: config_parse_set(&text, &f, NULL, 0, &silent, &c);

	if (err || f.all[0].holds)
		return err;
	snprintf(why, PINTLE_WHY_SIZE, "%s", f.all[0].why);
	return -EINVAL;
}

int config_policy_check(const char *keys, char why[PINTLE_WHY_SIZE])
{
	locale_t outer = text_numbers_begin();
	int err = config_policy_check_keys(keys, why);

	text_numbers_end(outer);
	return err ?: config_policy_check_pool(keys, why);
}
