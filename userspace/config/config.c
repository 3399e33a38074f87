/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the walk along the table of keys, and the file. */
#include "config.h"

#include <arpa/inet.h>

#include "config_internal.h"
#include "../base/file.h"
#include "../base/util.h"

#define CONFIG_MAX_BYTES (1024 * 1024)

/* ---- the walk -------------------------------------------------------------- */

struct walk {
	struct report *report;
	size_t elements[CONFIG_MAX_KEYS]; /* of a list's key, in the whole file */
};

static void read_map(struct walk *w, const struct node *map, const char *prefix, void *base);

/* Every default beneath one element is a line of the table, read as the file's lines are. */
static void read_presets(struct walk *w, const char *prefix, void *base)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];
		struct node n = {.kind = NODE_SCALAR, .plain = true};

		if (strncmp(k->path, prefix, strlen(prefix)) != 0 ||
		    strstr(k->path + strlen(prefix), "[]"))
			continue;
		if (!k->preset) {
			if (k->type == KEY_INTEGER) /* which has no NULL */
				*(int *)((char *)base + k->offset) = -1;
			continue;
		}
		n.text = (char *)k->preset;
		n.length = strlen(k->preset);
		value_read(w->report, k, &n, (char *)base + k->offset);
	}
}

static const char *in_what(const char *prefix, char buf[KEY_PREFIX_SIZE])
{
	if (!prefix[0])
		return "at the top";
	snprintf(buf, KEY_PREFIX_SIZE, "in %.*s", (int)strlen(prefix) - 1, prefix);
	return buf;
}

/* A key that is right, but stands in the wrong mapping. */
static const struct key *find_elsewhere(const char *text)
{
	for (size_t i = 0; i < config_key_count; i++) {
		if (!strcmp(key_local(&config_keys[i]), text))
			return &config_keys[i];
	}
	return NULL;
}

static void report_unknown(struct walk *w, const struct node *name, const char *prefix)
{
	char quoted[QUOTED_SIZE], place[KEY_PREFIX_SIZE], known[WANTED_SIZE] = "";
	struct nearest nearest = {0};
	const struct key *elsewhere = find_elsewhere(name->text);
	size_t used = 0;

	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		if (!key_is_child(k, prefix))
			continue;
		nearest_try(&nearest, name->text, key_local(k));
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
					 used ? ", " : "", key_local(k));
		used = MIN(used, sizeof(known) - 1);
	}
	quote(name->text, name->length, quoted);
	if (elsewhere)
		report_error(w->report, name->line, name->column,
			     "unknown key %s %s; the key that is read is %s", quoted,
			     in_what(prefix, place), elsewhere->path);
	else if (nearest.best)
		report_error(w->report, name->line, name->column,
			     "unknown key %s %s; did you mean \"%s\"?", quoted,
			     in_what(prefix, place), nearest.best);
	else
		report_error(w->report, name->line, name->column,
			     "unknown key %s %s; known here: %s", quoted, in_what(prefix, place),
			     known);
}

static const struct key *find_key(const struct node *name, const char *prefix)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		if (key_is_child(k, prefix) && strlen(key_local(k)) == name->length &&
		    !memcmp(key_local(k), name->text, name->length))
			return k;
	}
	return NULL;
}

/* What of a list may still be taken, of `n`'s children: the file's total is limited. */
static size_t admit_elements(struct walk *w, const struct key *k, const struct node *n)
{
	size_t *total = &w->elements[k - config_keys];
	size_t room = (size_t)k->max - *total;
	const struct node *excess;

	if (!n->count)
		report_error(w->report, n->line, n->column, "%s is empty; write at least one",
			     key_label(k));
	if (n->count > room) {
		excess = node_at(n, room);
		report_error(w->report, excess->line, excess->column,
			     "%s: more than %.0f in the file; take some out", key_label(k), k->max);
	}
	*total += MIN(n->count, room);
	return MIN(n->count, room);
}

/* Elements that are refused stay zero, so that element i goes with child i. */
static void *make_elements(struct walk *w, const struct key *k, const struct node *n, void *base,
			   size_t *count)
{
	void *elements;

	*count = admit_elements(w, k, n);
	elements = calloc(*count + 1, k->list->size);
	if (!elements) {
		w->report->out_of_memory = true;
		*count = 0;
		return NULL;
	}
	*(void **)((char *)base + k->offset) = elements;
	*(size_t *)((char *)base + k->list->count) = *count;
	return elements;
}

static void read_maps(struct walk *w, const struct key *k, const struct node *n, void *base)
{
	char prefix[KEY_PREFIX_SIZE];
	size_t count;
	char *element = make_elements(w, k, n, base, &count);
	const struct node *child = n->first;

	key_prefix(k, prefix);
	for (size_t i = 0; i < count; i++, child = child->next, element += k->list->size) {
		*(int *)(element + k->list->line) = child->line;
		read_presets(w, prefix, element);
		read_map(w, child, prefix, element);
	}
}

static void read_frontends(struct walk *w, const struct key *k, const struct node *n, void *base)
{
	size_t count;
	struct frontend_addr *frontends = make_elements(w, k, n, base, &count);
	const struct node *child = n->first;

	for (size_t i = 0; i < count; i++, child = child->next)
		value_read_frontend(w->report, k, child, &frontends[i]);
}

static void report_kind(struct walk *w, const struct node *n, const char *label, const char *wants)
{
	static const char *const kind_names[] = {
		[NODE_SCALAR] = "one value", [NODE_LIST] = "a list", [NODE_MAP] = "a mapping"};

	if (n->kind != NODE_BROKEN)
		report_error(w->report, n->line, n->column, "%s is %s; write %s", label,
			     kind_names[n->kind], wants);
}

static void read_value(struct walk *w, const struct key *k, const struct node *n, void *base)
{
	enum node_kind kind = k->type == KEY_MAP                                ? NODE_MAP
			      : k->type == KEY_MAPS || k->type == KEY_FRONTENDS ? NODE_LIST
										: NODE_SCALAR;
	char wants[WANTED_SIZE], prefix[KEY_PREFIX_SIZE];

	if (n->kind != kind) {
		report_kind(w, n, key_label(k), key_wants(k, wants));
		return;
	}
	switch (k->type) {
	case KEY_MAP:
		key_prefix(k, prefix);
		read_map(w, n, prefix, base);
		break;
	case KEY_MAPS:
		read_maps(w, k, n, base);
		break;
	case KEY_FRONTENDS:
		read_frontends(w, k, n, base);
		break;
	default:
		value_read(w->report, k, n, (char *)base + k->offset);
	}
}

static void report_missing(struct walk *w, const struct node *map, const char *prefix,
			   const struct node *const *seen)
{
	char wants[WANTED_SIZE], place[KEY_PREFIX_SIZE];

	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		if (k->required && !seen[i] && key_is_child(k, prefix))
			report_error(w->report, map->line, map->column,
				     "\"%s\" is missing %s; add it: %s", key_local(k),
				     in_what(prefix, place), key_wants(k, wants));
	}
}

static void read_map(struct walk *w, const struct node *map, const char *prefix, void *base)
{
	const struct node *seen[CONFIG_MAX_KEYS] = {0};
	char place[KEY_PREFIX_SIZE];

	if (map->kind != NODE_MAP) {
		report_kind(w, map, prefix[0] ? in_what(prefix, place) + 3 : "the file",
			    "a mapping: keys with values");
		return;
	}
	for (const struct node *n = map->first; n && !report_full(w->report); n = n->next) {
		const struct key *k;

		if (n->key->kind != NODE_SCALAR) {
			report_kind(w, n->key, "a key", "a name");
			continue;
		}
		k = find_key(n->key, prefix);
		if (!k) {
			report_unknown(w, n->key, prefix);
			continue;
		}
		if (seen[k - config_keys]) {
			report_error(w->report, n->key->line, n->key->column,
				     "\"%s\" stands here again; keep this or that of line %d",
				     key_local(k), seen[k - config_keys]->line);
			continue;
		}
		seen[k - config_keys] = n->key;
		read_value(w, k, n, base);
	}
	report_missing(w, map, prefix, seen);
}

/* ---- the whole ------------------------------------------------------------- */

/* scrape.scheme "://" address scrape.path, once all are known. */
static int derive_metrics_url(const struct config_pool *p, struct config_endpoint *e)
{
	const struct endpoint_addr *at = config_endpoint_at(e);
	struct addr loopback, page;
	char address[ADDR_TEXT_SIZE];
	uint16_t port;

	if (e->metrics_url) {
		e->metrics_own = url_address(e->metrics_url, &page, &port) && port == at->port &&
				 (at->any_ip || !memcmp(&page, &at->ip, sizeof(page)));
		return 0;
	}
	e->metrics_own = !at->any_ip;
	addr_from_v4(&loopback, htonl(INADDR_LOOPBACK));
	addr_format(at->any_ip ? &loopback : &at->ip, at->port, address);
	if (asprintf(&e->metrics_url, "%s://%s%s", p->scrape.scheme, address, p->scrape.path) < 0) {
		e->metrics_url = NULL;
		return -ENOMEM;
	}
	e->metrics_fallback_v6 = at->any_ip;
	return 0;
}

static int derive_metrics_urls(struct config *c)
{
	for (size_t p = 0; p < c->pool_count; p++) {
		for (size_t e = 0; e < c->pools[p].endpoint_count; e++) {
			int err = derive_metrics_url(&c->pools[p], &c->pools[p].endpoints[e]);

			if (err)
				return err;
		}
	}
	return 0;
}

int config_read_root(struct report *r, const char *name, const struct node *root,
		     struct config **out)
{
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	struct walk w = {.report = r};

	if (!c || !(c->path = strdup(name))) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	read_presets(&w, "", c);
	read_map(&w, root, "", c);
	config_hooks_derive(c, root);
	config_check(c, root, r);
	if (r->errors || r->out_of_memory)
		return -EINVAL;
	if (derive_metrics_urls(c)) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	*out = TAKE_PTR(c);
	return 0;
}

static int read_text(struct report *r, const char *name, const char *text, size_t size,
		     struct config **out)
{
	_cleanup_(tree_free) struct tree tree = {0};

	if (!tree_read(&tree, text, size, r))
		return -EINVAL;
	if (!tree.root) {
		report_error(r, 1, 1, "the file holds no document; begin with apiVersion: %s",
			     config_keys[0].choices[0]);
		return -EINVAL;
	}
	return config_read_root(r, name, tree.root, out);
}

int config_parse(const char *name, const char *text, size_t size, const struct config_sink *sink,
		 struct config **out)
{
	_cleanup_(report_free) struct report r = {0};
	locale_t outer = numbers_begin();
	int err;

	if (size > CONFIG_MAX_BYTES) {
		report_error(&r, 1, 1, "the file is larger than 1 MiB; take some out");
		err = -EINVAL;
	} else {
		err = read_text(&r, name, text, size, out);
	}
	numbers_end(outer);
	report_tell(&r, name, sink);
	return r.out_of_memory ? -ENOMEM : err;
}

int config_read(const char *path, const struct config_sink *sink, struct config_text *out)
{
	const char *odd = NULL;
	_cleanup_free_ char *text = malloc(CONFIG_MAX_BYTES + 1);
	_cleanup_close_ int fd = file_open(path, &odd);
	/* One byte more than may be, so that too much shows. */
	ssize_t size = fd < 0 ? fd : text ? file_read(fd, text, CONFIG_MAX_BYTES + 1) : -ENOMEM;
	char message[256];

	if (size >= 0) {
		char *less = realloc(text, (size_t)size + 1);

		if (less)
			text = less;
		*out = (struct config_text){path, TAKE_PTR(text), (size_t)size};
		return 0;
	}
	if (odd)
		snprintf(message, sizeof(message), "is %s; name a regular file", odd);
	else
		snprintf(message, sizeof(message),
			 "cannot be read: %s; name a configuration file that can",
			 strerror((int)-size));
	sink->error(sink->arg, path, 1, 1, message);
	return (int)size;
}

int config_load(const char *path, const struct config_sink *sink, struct config **out)
{
	struct config_text t = {0};
	int err = config_read(path, sink, &t);

	if (!err)
		err = config_parse(path, t.text, t.size, sink, out);
	free(t.text);
	return err;
}

static void free_endpoint(struct config_endpoint *e)
{
	free(e->name);
	free(e->metrics_url);
	free(e->user);
	free(e->cgroup);
	free(e->gpu_pod);
}

static void free_pool(struct config_pool *p)
{
	for (size_t i = 0; i < p->endpoint_count; i++)
		free_endpoint(&p->endpoints[i]);
	free(p->endpoints);
	free(p->frontends);
	free(p->name);
	free(p->scrape.path);
	free(p->scrape.credentials_file);
	free(p->scrape.ca_file);
	free(p->scrape.cert_file);
	free(p->scrape.key_file);
	free(p->scrape.server_name);
	free(p->dcgm_url);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->pool_count; i++)
		free_pool(&c->pools[i]);
	for (size_t i = 0; i < c->client_count; i++) {
		free(c->clients[i].name);
		free(c->clients[i].cgroup);
	}
	free(c->clients);
	free(c->pools);
	free(c->path);
	free(c->bpffs);
	free(c->netns);
	free(c->cgroup);
	free(c->metrics);
	free(c->group);
	free(c);
}
