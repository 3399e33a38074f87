/* SPDX-License-Identifier: Apache-2.0 */
/* config_found.c - pools that were found elsewhere than in the file. Their mappings are put into
 * the file's tree, so that reading and checking take them for the file's. */
#include "config_internal.h"

#include <cjson/cJSON.h>

#include "../base/util.h"

/* ---- a pool as text -------------------------------------------------------- */

static bool config_found_add_frontends(cJSON *pool, const struct config_parts *parts)
{
	cJSON *list = cJSON_AddArrayToObject(pool, "frontends");

	for (size_t i = 0; list && i < parts->frontend_count; i++)
		if (!cJSON_AddItemToArray(list, cJSON_CreateString(parts->frontends[i])))
			return false;
	return list;
}

static bool add_gpu(cJSON *endpoint, const struct config_member *from)
{
	cJSON *gpu = from->gpu_exporter ? cJSON_AddObjectToObject(endpoint, "gpu") : NULL;

	return !from->gpu_exporter ||
	       (cJSON_AddStringToObject(gpu, "pod", from->gpu_pod) &&
		cJSON_AddStringToObject(gpu, "namespace", from->gpu_namespace) &&
		cJSON_AddStringToObject(gpu, "exporter", from->gpu_exporter));
}

static bool add_endpoints(cJSON *pool, const struct config_parts *parts)
{
	cJSON *list = cJSON_AddArrayToObject(pool, "endpoints");

	for (size_t i = 0; list && i < parts->endpoint_count; i++) {
		cJSON *e = cJSON_CreateObject();

		if (!cJSON_AddItemToArray(list, e) ||
		    !cJSON_AddStringToObject(e, "name", parts->endpoints[i].name) ||
		    !cJSON_AddStringToObject(e, "address", parts->endpoints[i].address) ||
		    !add_gpu(e, &parts->endpoints[i]) ||
		    (parts->endpoints[i].drained && !cJSON_AddTrueToObject(e, "drained")) ||
		    (parts->endpoints[i].place &&
		     !cJSON_AddStringToObject(e, "place",
					      config_place_name(parts->endpoints[i].place))))
			return false;
	}
	return list;
}

static bool add_intercept(cJSON *pool, const struct config_parts *parts)
{
	cJSON *list;

	if (!parts->intercept)
		return true;
	if (!cJSON_AddStringToObject(pool, "intercept", "endpoints"))
		return false;
	list = parts->spared_count ? cJSON_AddArrayToObject(pool, "interceptExcept") : NULL;
	for (size_t i = 0; list && i < parts->spared_count; i++)
		if (!cJSON_AddItemToArray(list, cJSON_CreateString(parts->spared[i])))
			return false;
	return list || !parts->spared_count;
}

/* Moves the keys into the pool. Returns 0, -EINVAL or -ENOMEM. */
static int add_keys(cJSON *pool, const char *keys)
{
	cJSON *from = keys ? cJSON_Parse(keys) : NULL, *child;
	int err = keys && !cJSON_IsObject(from) ? -EINVAL : 0;

	while (!err && (child = cJSON_DetachItemFromArray(from, 0))) {
		_cleanup_free_ char *name = strdup(child->string);

		if (name)
			cJSON_DeleteItemFromObjectCaseSensitive(pool, name);
		if (name && cJSON_AddItemToObject(pool, name, child))
			continue;
		cJSON_Delete(child);
		err = -ENOMEM;
	}
	cJSON_Delete(from);
	return err;
}

/* JSON is YAML that needs no indentation. */
static int pool_text(const struct config_parts *parts, char **text)
{
	cJSON *pool = cJSON_CreateObject();
	int err = -ENOMEM;

	if (cJSON_AddStringToObject(pool, "name", parts->name) &&
	    cJSON_AddStringToObject(pool, "engine", "auto") &&
	    cJSON_AddStringToObject(pool, "mode", parts->mode) &&
	    config_found_add_frontends(pool, parts) && add_endpoints(pool, parts) &&
	    add_intercept(pool, parts))
		err = add_keys(pool, parts->keys);
	if (!err)
		*text = cJSON_PrintUnformatted(pool);
	cJSON_Delete(pool);
	return err;
}

static void found_free(struct config_found *f)
{
	free(f->name);
	free(f->text);
	free(f->keys);
}

/* Adds a pool with copies of `name` and `keys`, and takes `text`, which may be NULL for want of
 * memory. */
static int put_texts(struct config_founds *f, const struct config_found *like, char *text)
{
	struct config_found one = {.name = strdup(like->name),
				   .text = text,
				   .keys = like->keys ? strdup(like->keys) : NULL,
				   .frontend_count = like->frontend_count,
				   .endpoint_count = like->endpoint_count,
				   .spared_count = like->spared_count};

	if (!one.name || !text || (like->keys && !one.keys) ||
	    !ROOM_FOR_ONE(f->all, f->count, f->room, 8)) {
		found_free(&one);
		return -ENOMEM;
	}
	f->all[f->count++] = one;
	return 0;
}

int config_founds_put(struct config_founds *f, const struct config_parts *parts)
{
	const struct config_found like = {.name = (char *)parts->name,
					  .keys = (char *)parts->keys,
					  .frontend_count = parts->frontend_count,
					  .endpoint_count = parts->endpoint_count,
					  .spared_count = parts->spared_count};
	char *text = NULL;

	return pool_text(parts, &text) ?: put_texts(f, &like, text);
}

int config_founds_copy(struct config_founds *f, const struct config_found *from)
{
	return put_texts(f, from, strdup(from->text));
}

void config_founds_cut(struct config_founds *f, size_t count)
{
	while (f->count > count)
		found_free(&f->all[--f->count]);
}

void config_founds_free(struct config_founds *f)
{
	for (size_t i = 0; i < f->count; i++)
		found_free(&f->all[i]);
	free(f->all);
	*f = (struct config_founds){0};
}

/* ---- with the file --------------------------------------------------------- */

struct adding {
	const char *name; /* the file's */
	struct yaml_node *root, *pools;
	struct yaml_node *last; /* the file's last pool; NULL: it has none */
	struct config_found *found;
	struct yaml_node **nodes; /* by found pool; NULL: its text is no pool */
	size_t n;
	struct config *config; /* of the newest try that was good; NULL: none was */
};

static int config_found_line_of(size_t i)
{
	return CONFIG_FOUND_LINE - (int)i;
}

static void refuse(struct config_found *f, const char *why)
{
	f->holds = false;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

static int parse_one(struct adding *a, struct yaml_tree *to, size_t i)
{
	_cleanup_(yaml_tree_free) struct yaml_tree tree = {0};
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct config_found *f = &a->found[i];
	bool whole = yaml_tree_read(&tree, f->text, strlen(f->text), &r);

	f->holds = whole && tree.root && !r.errors;
	f->why[0] = '\0';
	if (r.out_of_memory)
		return -ENOMEM;
	if (f->holds)
		a->nodes[i] = yaml_tree_adopt(to, &tree, config_found_line_of(i));
	else
		refuse(f, r.count ? r.messages[0].text : "it is empty");
	return 0;
}

/* The first error about the oldest found pool that has any: whatever it conflicts with is older,
 * and holds. NULL: all errors have lines of the file. */
static const struct yaml_message *oldest_error(const struct yaml_report *r)
{
	const struct yaml_message *oldest = NULL;

	for (size_t i = 0; i < r->count; i++) {
		const struct yaml_message *m = &r->messages[i];

		if (!m->warning && m->line <= CONFIG_FOUND_LINE &&
		    (!oldest || m->line > oldest->line))
			oldest = m;
	}
	return oldest;
}

/* Reads the tree with the found pools that hold, up to the `n`th. Returns 0 with a->config; -EINVAL
 * with *r; or -ENOMEM. */
static int try_found(struct adding *a, size_t n, struct yaml_report *r)
{
	struct config *c = NULL;
	int err;

	yaml_node_cut(a->pools, a->last);
	for (size_t i = 0; i < n; i++)
		if (a->found[i].holds)
			yaml_list_add(a->pools, a->nodes[i]);
	/* A file without pools, and none that holds: the list, which would be refused as empty, is
	 * not there, and the text alone is the configuration. */
	if (!a->pools->count) {
		config_free(TAKE_PTR(a->config));
		return 0;
	}
	err = config_read_root(r, a->name, a->root, &c);
	if (r->out_of_memory) {
		config_free(c);
		return -ENOMEM;
	}
	if (err)
		return err;
	config_free(a->config);
	a->config = c;
	return 0;
}

/* For errors that are reported at a line of the file, such as a frontend there that covers a found
 * endpoint. */
static int try_each(struct adding *a)
{
	for (size_t i = 0; i < a->n; i++) {
		_cleanup_(yaml_report_free) struct yaml_report r = {0};
		int err = a->found[i].holds ? try_found(a, i + 1, &r) : 0;

		if (err == -ENOMEM)
			return err;
		for (size_t k = 0; err && k < r.count; k++) {
			if (r.messages[k].warning)
				continue;
			refuse(&a->found[i], r.messages[k].text);
			break;
		}
	}
	return 0;
}

static int judge_found(struct adding *a)
{
	for (;;) {
		_cleanup_(yaml_report_free) struct yaml_report r = {0};
		const struct yaml_message *m;
		int err = try_found(a, a->n, &r);

		if (err != -EINVAL)
			return err;
		m = oldest_error(&r);
		if (!m)
			break;
		refuse(&a->found[CONFIG_FOUND_LINE - m->line], m->text);
	}
	for (int round = 0; round < 2; round++) {
		_cleanup_(yaml_report_free) struct yaml_report r = {0};
		int err = round ? try_found(a, a->n, &r) : try_each(a);

		if (err)
			return err;
	}
	return 0;
}

/* The list of the file's pools, which is made if it has none. */
static struct yaml_node *pools_of(struct yaml_tree *tree)
{
	struct yaml_node *n = (struct yaml_node *)yaml_node_get(tree->root, "pools");

	return n ?: yaml_tree_add(tree, tree->root, "pools", YAML_LIST, CONFIG_FOUND_LINE);
}

int config_found_add(struct yaml_tree *tree, const char *name, struct config_found *found, size_t n,
		     struct config **c)
{
	_cleanup_free_ struct yaml_node **nodes = calloc(n + 1, sizeof(struct yaml_node *));
	struct adding a = {
		.name = name, .root = tree->root, .found = found, .nodes = nodes, .n = n};
	struct yaml_node *root_last = tree->root->last;
	int err = 0;

	if (!n)
		return 0;
	a.pools = pools_of(tree);
	if (!nodes || !a.pools)
		return -ENOMEM;
	a.last = a.pools->last;
	for (size_t i = 0; !err && i < n; i++)
		err = parse_one(&a, tree, i);
	err = err ?: judge_found(&a);
	if (err || !a.config) {
		config_free(a.config);
		yaml_node_cut(a.pools, a.last);
		if (!a.pools->count)
			yaml_node_cut(tree->root, root_last);
		return err;
	}
	config_free(*c);
	*c = a.config;
	return 0;
}
