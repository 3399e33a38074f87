/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_read.h"

#include <assert.h>

#include "../base/file.h"
#include "../base/util.h"

/* ---- the walk along a table ------------------------------------------------ */

struct walk {
	struct yaml_report *report;
	const struct yaml_table *table;
	size_t elements[YAML_MAX_KEYS]; /* by key: elements so far, in all its lists of the file */
};

static void read_walk_map(struct walk *w, const struct yaml_node *map, const char *prefix,
			  void *base);

static const char *table_prefix(const struct yaml_table *t)
{
	return t->prefix ? t->prefix : "";
}

static void read_value(struct walk *w, const struct yaml_key *k, const struct yaml_node *n,
		       void *base)
{
	if (k->type->read_node)
		k->type->read_node(w->report, k, n, base);
	else
		yaml_value_read(w->report, k, n, (char *)base + k->offset);
}

/* Reads the defaults of all keys within an element, or at the top, as if the file had them. Lists
 * in it read those of their own elements. */
static void read_presets(struct walk *w, const char *prefix, void *base)
{
	for (size_t i = 0; i < w->table->count; i++) {
		const struct yaml_key *k = &w->table->keys[i];
		struct yaml_node n = {.kind = YAML_SCALAR, .plain = true};

		if (strncmp(k->path, prefix, strlen(prefix)) != 0 ||
		    strstr(k->path + strlen(prefix), "[]"))
			continue;
		if (!k->preset) {
			if (k->type == &yaml_integer)
				*(int *)((char *)base + k->offset) = k->unset;
			continue;
		}
		n.text = (char *)k->preset;
		n.length = strlen(k->preset);
		read_value(w, k, &n, base);
	}
}

/* The name, for messages, of the mapping whose keys begin with the prefix; NULL: the file
 * itself. */
static const char *map_name(const struct walk *w, const char *prefix, char buf[YAML_PREFIX_SIZE])
{
	if (!strcmp(prefix, table_prefix(w->table)))
		return w->table->what;
	snprintf(buf, YAML_PREFIX_SIZE, "%.*s", (int)strlen(prefix) - 1, prefix);
	return buf;
}

static const char *in_what(const struct walk *w, const char *prefix, char buf[YAML_PREFIX_SIZE])
{
	char name[YAML_PREFIX_SIZE];
	const char *what = map_name(w, prefix, name);

	if (!what)
		return "at the top";
	snprintf(buf, YAML_PREFIX_SIZE, "in %.*s", YAML_PREFIX_SIZE - 4, what);
	return buf;
}

/* A key of that name in another mapping; NULL: there is none. */
static const struct yaml_key *find_elsewhere(const struct yaml_table *t, const char *text)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!strcmp(yaml_key_local(&t->keys[i]), text))
			return &t->keys[i];
	}
	return NULL;
}

static void report_unknown(struct walk *w, const struct yaml_node *name, const char *prefix)
{
	char quoted[TEXT_QUOTED_SIZE], place[YAML_PREFIX_SIZE], known[YAML_WANTS_SIZE] = "";
	struct text_nearest nearest = {0};
	const struct yaml_key *elsewhere = find_elsewhere(w->table, name->text);

	for (size_t i = 0; i < w->table->count; i++) {
		const struct yaml_key *k = &w->table->keys[i];

		if (!yaml_key_is_child(k, prefix))
			continue;
		text_nearest_try(&nearest, name->text, yaml_key_local(k));
		text_list_add(known, sizeof(known), yaml_key_local(k));
	}
	text_quote(name->text, name->length, quoted);
	if (elsewhere)
		yaml_report_error(w->report, name->line, name->column,
				  "unknown key %s %s; the key that is read is %s%s", quoted,
				  in_what(w, prefix, place), elsewhere->path,
				  strchr(elsewhere->path, '.') ? "" : ", at the top");
	else if (nearest.best)
		yaml_report_error(w->report, name->line, name->column,
				  "unknown key %s %s; did you mean \"%s\"?", quoted,
				  in_what(w, prefix, place), nearest.best);
	else
		yaml_report_error(w->report, name->line, name->column,
				  "unknown key %s %s; known here: %s", quoted,
				  in_what(w, prefix, place), known);
}

static const struct yaml_key *find_key(const struct yaml_table *t, const struct yaml_node *name,
				       const char *prefix)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct yaml_key *k = &t->keys[i];

		if (yaml_key_is_child(k, prefix) && strlen(yaml_key_local(k)) == name->length &&
		    !memcmp(yaml_key_local(k), name->text, name->length))
			return k;
	}
	return NULL;
}

/* How many of the list's children may still be read: the number of elements in one list of the key,
 * such as the endpoints of a pool, is limited, and so is that of all of them together. */
static size_t admit_elements(struct walk *w, const struct yaml_key *k, const struct yaml_node *n)
{
	size_t *total = &w->elements[k - w->table->keys];
	size_t room = (size_t)k->max - *total, each = (size_t)k->each;
	bool one = each && each < room; /* the list's own limit is the nearer one */
	const struct yaml_node *excess;

	assert(*total <= (size_t)k->max);
	if (!n->count && !k->empty)
		yaml_report_error(w->report, n->line, n->column, "%s is empty; write at least one",
				  yaml_key_label(k));
	if (one)
		room = each;
	if (n->count > room) {
		excess = yaml_node_at(n, room);
		yaml_report_error(w->report, excess->line, excess->column,
				  "%s: more than %.0f in %s; remove some", yaml_key_label(k),
				  one ? k->each : k->max, one ? "one list" : "the file");
	}
	*total += MIN(n->count, room);
	return MIN(n->count, room);
}

static void *make_elements(struct walk *w, const struct yaml_key *k, const struct yaml_node *n,
			   void *base, size_t *count)
{
	void *elements;

	assert(k->list);
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

static void read_maps(struct walk *w, const struct yaml_key *k, const struct yaml_node *n,
		      void *base)
{
	char prefix[YAML_PREFIX_SIZE];
	size_t count;
	char *element = make_elements(w, k, n, base, &count);
	const struct yaml_node *child = n->first;

	yaml_key_prefix(k, prefix);
	for (size_t i = 0; i < count; i++, child = child->next, element += k->list->size) {
		*(int *)(element + k->list->line) = child->line;
		read_presets(w, prefix, element);
		read_walk_map(w, child, prefix, element);
	}
}

/* Reads the list that a word stands for. From now on the node is that list, so that whoever looks
 * at the tree later sees a list. */
static void read_word(struct walk *w, const struct yaml_key *k, const struct yaml_node *word,
		      void *base)
{
	_cleanup_(yaml_tree_free) struct yaml_tree list = {0};

	if (!yaml_tree_read(&list, k->means, strlen(k->means), w->report))
		return;
	yaml_node_become((struct yaml_node *)word, &list);
	read_maps(w, k, word, base);
}

static void read_element(struct walk *w, const struct yaml_key *k, const struct yaml_node *n,
			 void *element)
{
	if (n->kind == YAML_SCALAR)
		yaml_value_read(w->report, k, n, element);
	else if (n->kind != YAML_BROKEN)
		yaml_report_error(w->report, n->line, n->column,
				  "one of %s is no text; write it in quotes, as in %s",
				  yaml_key_label(k), k->type->example);
}

static void read_list(struct walk *w, const struct yaml_key *k, const struct yaml_node *n,
		      void *base)
{
	size_t count;
	char *element = make_elements(w, k, n, base, &count);
	const struct yaml_node *child = n->first;

	for (size_t i = 0; i < count; i++, child = child->next, element += k->list->size)
		read_element(w, k, child, element);
}

void yaml_report_kind(struct yaml_report *r, const struct yaml_node *n, const char *label,
		      const char *wants)
{
	static const char *const kind_names[] = {
		[YAML_SCALAR] = "one value", [YAML_LIST] = "a list", [YAML_MAP] = "a mapping"};

	if (n->kind != YAML_BROKEN)
		yaml_report_error(r, n->line, n->column, "%s is %s; write %s", label,
				  kind_names[n->kind], wants);
}

static void read_key(struct walk *w, const struct yaml_key *k, const struct yaml_node *n,
		     void *base)
{
	char wants[YAML_WANTS_SIZE], prefix[YAML_PREFIX_SIZE];

	if (yaml_key_is_word(k, n)) {
		read_word(w, k, n, base);
	} else if (!k->type->read_node && n->kind != k->type->kind) {
		yaml_report_kind(w->report, n, yaml_key_label(k),
				 yaml_key_wants(w->table, k, wants));
	} else if (k->type == &yaml_map) {
		yaml_key_prefix(k, prefix);
		read_walk_map(w, n, prefix, base);
	} else if (k->type == &yaml_maps) {
		read_maps(w, k, n, base);
	} else if (k->type->kind == YAML_LIST) {
		read_list(w, k, n, base);
	} else {
		read_value(w, k, n, base);
	}
}

static void report_missing(struct walk *w, const struct yaml_node *map, const char *prefix)
{
	char wants[YAML_WANTS_SIZE], place[YAML_PREFIX_SIZE];

	for (size_t i = 0; i < w->table->count; i++) {
		const struct yaml_key *k = &w->table->keys[i];

		if (k->required && yaml_key_is_child(k, prefix) &&
		    !yaml_node_get(map, yaml_key_local(k)))
			yaml_report_error(w->report, map->line, map->column,
					  "\"%s\" is missing %s; add it: %s%s", yaml_key_local(k),
					  in_what(w, prefix, place),
					  yaml_key_wants(w->table, k, wants), k->missing ?: "");
	}
}

static void read_child(struct walk *w, const struct yaml_node *map, const struct yaml_node *n,
		       const char *prefix, void *base)
{
	const struct yaml_node *first;
	const struct yaml_key *k;

	if (n->key->kind != YAML_SCALAR) {
		yaml_report_kind(w->report, n->key, "a key", "a name");
		return;
	}
	k = find_key(w->table, n->key, prefix);
	if (!k) {
		report_unknown(w, n->key, prefix);
		return;
	}
	first = yaml_node_get(map, yaml_key_local(k));
	if (first != n)
		yaml_report_error(w->report, n->key->line, n->key->column,
				  "\"%s\" stands here again; keep this or that of line %d",
				  yaml_key_local(k), first->key->line);
	else
		read_key(w, k, n, base);
}

static void read_walk_map(struct walk *w, const struct yaml_node *map, const char *prefix,
			  void *base)
{
	char name[YAML_PREFIX_SIZE];
	const char *what = map_name(w, prefix, name);

	if (map->kind != YAML_MAP) {
		yaml_report_kind(w->report, map, what ? what : "the file",
				 "a mapping: keys with values");
		return;
	}
	for (const struct yaml_node *n = map->first; n && !yaml_report_full(w->report); n = n->next)
		read_child(w, map, n, prefix, base);
	report_missing(w, map, prefix);
}

void yaml_read_map(struct yaml_report *r, const struct yaml_table *t, const struct yaml_node *map,
		   void *base)
{
	struct walk w = {.report = r, .table = t};

	assert(t->count <= YAML_MAX_KEYS);
	read_presets(&w, table_prefix(t), base);
	read_walk_map(&w, map, table_prefix(t), base);
}

/* ---- the file -------------------------------------------------------------- */

static int read_text(struct yaml_report *r, const struct yaml_document *d, const char *name,
		     const char *text, size_t size, void *arg)
{
	_cleanup_(yaml_tree_free) struct yaml_tree tree = {0};

	if (size > YAML_MAX_BYTES) {
		yaml_report_error(r, 1, 1, "the file is larger than 1 MiB; remove some");
		return -EINVAL;
	}
	if (!yaml_tree_read(&tree, text, size, r))
		return -EINVAL;
	if (!tree.root) {
		yaml_report_error(r, 1, 1, "the file holds no document; begin with %s", d->begin);
		return -EINVAL;
	}
	return d->read(r, name, tree.root, arg);
}

int yaml_parse(const struct yaml_document *d, const char *name, const char *text, size_t size,
	       const struct yaml_sink *sink, void *arg)
{
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	locale_t outer = text_numbers_begin();
	int err = read_text(&r, d, name, text, size, arg);

	text_numbers_end(outer);
	yaml_report_tell(&r, name, sink);
	return r.out_of_memory ? -ENOMEM : err;
}

int yaml_read_file(const char *path, const char *what, const struct yaml_sink *sink, char **text,
		   size_t *size)
{
	const char *odd = NULL;
	_cleanup_free_ char *buf = malloc(YAML_MAX_BYTES + 1);
	_cleanup_close_ int fd = file_open(path, &odd);
	/* One byte more than is allowed shows yaml_parse() that the file is too large. */
	ssize_t n = fd < 0 ? fd : buf ? file_read(fd, buf, YAML_MAX_BYTES + 1) : -ENOMEM;
	char message[256];

	if (n >= 0) {
		char *less = realloc(buf, (size_t)n + 1);

		*text = less ? less : buf;
		*size = (size_t)n;
		buf = NULL;
		return 0;
	}
	if (odd)
		snprintf(message, sizeof(message), "is %s; name a regular file", odd);
	else
		snprintf(message, sizeof(message), "cannot be read: %s; name a %s",
			 strerror((int)-n), what);
	sink->error(sink->arg, path, 1, 1, message);
	return (int)n;
}

int yaml_load(const struct yaml_document *d, const char *path, const struct yaml_sink *sink,
	      void *arg)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int err = yaml_read_file(path, d->file, sink, &text, &size);

	return err ? err : yaml_parse(d, path, text, size, sink, arg);
}
