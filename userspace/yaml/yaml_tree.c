/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_tree.c - makes a tree of YAML text, from libyaml's events. Unlike libyaml's own documents,
 * the events still show anchors, aliases and tags. These are refused: with them the meaning of a
 * line depends on others far away, and a few aliases of aliases make a small file a huge tree.
 */
#include "yaml_tree.h"

#include <assert.h>
#include <yaml.h>

#include "../base/util.h"

struct builder {
	struct yaml_tree *tree;
	struct yaml_report *report;
	struct yaml_node *open[YAML_MAX_DEPTH];    /* lists and mappings that have not ended */
	struct yaml_node *pending[YAML_MAX_DEPTH]; /* a mapping's key before its value came */
	size_t depth;
	size_t nodes;
	size_t documents;
	bool done; /* the rest is not read */
};

static void free_parser(yaml_parser_t *parser)
{
	yaml_parser_delete(parser);
}

static void free_event(yaml_event_t *event)
{
	yaml_event_delete(event);
}

static int tree_line_of(const yaml_mark_t *mark)
{
	return (int)mark->line + 1;
}

static int column_of(const yaml_mark_t *mark)
{
	return (int)mark->column + 1;
}

static struct yaml_node *new_node(struct builder *b, enum yaml_kind kind, const yaml_event_t *event)
{
	struct yaml_node *n = calloc(1, sizeof(*n));

	if (!n) {
		b->report->out_of_memory = true;
		return NULL;
	}
	n->kind = kind;
	n->line = tree_line_of(&event->start_mark);
	n->column = column_of(&event->start_mark);
	n->allocated = b->tree->nodes;
	b->tree->nodes = n;
	return n;
}

static void node_append(struct yaml_node *parent, struct yaml_node *child)
{
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->count++;
}

/* Puts a node into the tree: as the root, as the list's next item, as the mapping's next key, or as
 * the value of the key before. Returns whether to go on. */
static bool node_place(struct builder *b, struct yaml_node *n)
{
	struct yaml_node *parent = b->depth ? b->open[b->depth - 1] : NULL;
	struct yaml_node **key = b->depth ? &b->pending[b->depth - 1] : NULL;

	if (++b->nodes > YAML_MAX_NODES) {
		yaml_report_error(b->report, n->line, n->column,
				  "the file holds more than %d values; remove some",
				  YAML_MAX_NODES);
		return false;
	}
	if (!parent) {
		b->tree->root = n;
	} else if (parent->kind == YAML_LIST) {
		node_append(parent, n);
	} else if (!*key) {
		*key = n;
	} else {
		n->key = TAKE_PTR(*key);
		node_append(parent, n);
	}
	return true;
}

static bool open_node(struct builder *b, struct yaml_node *n)
{
	if (!n || !node_place(b, n))
		return false;
	if (b->depth == YAML_MAX_DEPTH) {
		yaml_report_error(b->report, n->line, n->column,
				  "nested more than %d deep; no key lies so deep", YAML_MAX_DEPTH);
		return false;
	}
	b->pending[b->depth] = NULL;
	b->open[b->depth++] = n;
	return true;
}

static bool add_scalar(struct builder *b, const yaml_event_t *event)
{
	struct yaml_node *n = new_node(b, YAML_SCALAR, event);

	if (!n)
		return false;
	n->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	n->length = event->data.scalar.length;
	n->text = malloc(n->length + 1);
	if (!n->text) {
		b->report->out_of_memory = true;
		return false;
	}
	memcpy(n->text, event->data.scalar.value, n->length);
	n->text[n->length] = '\0';
	return node_place(b, n);
}

static bool add_broken(struct builder *b, const yaml_event_t *event)
{
	struct yaml_node *n = new_node(b, YAML_BROKEN, event);

	return n && node_place(b, n);
}

static void refuse_extras(struct builder *b, const yaml_event_t *event, const void *anchor,
			  const void *tag)
{
	int line = tree_line_of(&event->start_mark), column = column_of(&event->start_mark);

	if (anchor)
		yaml_report_error(
			b->report, line, column,
			"anchors (&name) are not supported; write each value where it is used");
	if (tag)
		yaml_report_error(b->report, line, column,
				  "tags (!type) are not supported; write the value without one");
}

static bool begin_document(struct builder *b, const yaml_event_t *event)
{
	if (!b->documents++)
		return true;
	yaml_report_error(b->report, tree_line_of(&event->start_mark),
			  column_of(&event->start_mark),
			  "a second document begins; keep one configuration in one file");
	b->done = true;
	return true;
}

/* Returns whether to go on. */
static bool tree_take_event(struct builder *b, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		return begin_document(b, event);
	case YAML_SCALAR_EVENT:
		refuse_extras(b, event, event->data.scalar.anchor, event->data.scalar.tag);
		return add_scalar(b, event);
	case YAML_ALIAS_EVENT:
		yaml_report_error(b->report, tree_line_of(&event->start_mark),
				  column_of(&event->start_mark),
				  "aliases (*name) are not supported; write the value itself");
		return add_broken(b, event);
	case YAML_MAPPING_START_EVENT:
		refuse_extras(b, event, event->data.mapping_start.anchor,
			      event->data.mapping_start.tag);
		return open_node(b, new_node(b, YAML_MAP, event));
	case YAML_SEQUENCE_START_EVENT:
		refuse_extras(b, event, event->data.sequence_start.anchor,
			      event->data.sequence_start.tag);
		return open_node(b, new_node(b, YAML_LIST, event));
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		assert(b->depth > 0);
		b->depth--;
		return true;
	case YAML_STREAM_END_EVENT:
		b->done = true;
		return true;
	default:
		return true;
	}
}

/* For bytes that are not UTF-8, libyaml gives no line and column, but only an offset. */
static void report_bad_bytes(struct yaml_report *r, const yaml_parser_t *parser, const char *text,
			     size_t size)
{
	size_t end = MIN(parser->problem_offset, size);
	int line = 1, column = 1;

	for (size_t i = 0; i < end; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	yaml_report_error(r, line, column, "not text: %s; save the file as UTF-8", parser->problem);
}

static void report_bad_yaml(struct yaml_report *r, const yaml_parser_t *parser, const char *text,
			    size_t size)
{
	const yaml_mark_t *mark = &parser->problem_mark;

	switch (parser->error) {
	case YAML_MEMORY_ERROR:
		r->out_of_memory = true;
		break;
	case YAML_READER_ERROR:
		report_bad_bytes(r, parser, text, size);
		break;
	default:
		yaml_report_error(
			r, tree_line_of(mark), column_of(mark),
			"not YAML: %s%s%s; look at the indentation, colons, quotes and brackets "
			"up to here",
			parser->context ? parser->context : "", parser->context ? ", " : "",
			parser->problem);
	}
}

bool yaml_tree_read(struct yaml_tree *t, const char *text, size_t size, struct yaml_report *r)
{
	struct builder b = {.tree = t, .report = r};
	_cleanup_(free_parser) yaml_parser_t parser = {0};

	if (!yaml_parser_initialize(&parser)) {
		r->out_of_memory = true;
		return false;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	while (!b.done) {
		_cleanup_(free_event) yaml_event_t event = {0};

		if (!yaml_parser_parse(&parser, &event)) {
			report_bad_yaml(r, &parser, text, size);
			return false;
		}
		if (!tree_take_event(&b, &event) || yaml_report_full(r))
			return false;
	}
	return true;
}

int yaml_node_set(struct yaml_node *n, const char *text)
{
	char *copy = strdup(text);

	assert(n->kind == YAML_SCALAR);
	if (!copy)
		return -ENOMEM;
	free(n->text);
	n->text = copy;
	n->length = strlen(copy);
	n->plain = true;
	return 0;
}

static struct yaml_node *made_node(struct yaml_tree *t, enum yaml_kind kind, int line)
{
	struct yaml_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	*n = (struct yaml_node){.kind = kind, .line = line, .column = 1, .allocated = t->nodes};
	t->nodes = n;
	return n;
}

struct yaml_node *yaml_tree_add(struct yaml_tree *t, struct yaml_node *map, const char *key,
				enum yaml_kind kind, int line)
{
	struct yaml_node *n = made_node(t, kind, line), *name = made_node(t, YAML_SCALAR, line);

	assert(map->kind == YAML_MAP && !yaml_node_get(map, key));
	if (!n || !name || yaml_node_set(name, key))
		return NULL;
	n->key = name;
	node_append(map, n);
	return n;
}

struct yaml_node *yaml_tree_adopt(struct yaml_tree *t, struct yaml_tree *from, int line)
{
	struct yaml_node *root = from->root, *last = NULL;

	for (struct yaml_node *n = from->nodes; n; n = n->allocated) {
		n->line = line;
		n->column = 1;
		last = n;
	}
	if (last) {
		last->allocated = t->nodes;
		t->nodes = from->nodes;
	}
	*from = (struct yaml_tree){0};
	return root;
}

void yaml_node_become(struct yaml_node *n, struct yaml_tree *from)
{
	struct yaml_node *root = from->root, *last = from->nodes;

	assert(n->kind == YAML_SCALAR && root && root->kind == YAML_LIST);
	for (struct yaml_node *i = from->nodes; i; i = i->allocated) {
		i->line = n->line;
		i->column = n->column;
		last = i;
	}
	last->allocated = n->allocated;
	n->allocated = from->nodes;
	n->kind = YAML_LIST;
	n->first = root->first;
	n->last = root->last;
	n->count = root->count;
	*from = (struct yaml_tree){0};
}

void yaml_list_add(struct yaml_node *list, struct yaml_node *n)
{
	assert(list->kind == YAML_LIST);
	n->next = NULL;
	node_append(list, n);
}

void yaml_node_cut(struct yaml_node *parent, struct yaml_node *last)
{
	const struct yaml_node *n = last ? last->next : parent->first;

	for (; n; n = n->next)
		parent->count--;
	if (last)
		last->next = NULL;
	else
		parent->first = NULL;
	parent->last = last;
}

void yaml_tree_free(struct yaml_tree *t)
{
	while (t->nodes) {
		struct yaml_node *n = t->nodes;

		t->nodes = n->allocated;
		free(n->text);
		free(n);
	}
}

const struct yaml_node *yaml_node_get(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = map && map->kind == YAML_MAP ? map->first : NULL;

	for (; n; n = n->next) {
		if (n->key->kind == YAML_SCALAR && n->key->length == strlen(key) &&
		    !memcmp(n->key->text, key, n->key->length))
			return n;
	}
	return NULL;
}

const struct yaml_node *yaml_node_at(const struct yaml_node *list, size_t i)
{
	const struct yaml_node *n = list && list->kind == YAML_LIST ? list->first : NULL;

	while (n && i--)
		n = n->next;
	return n;
}

const struct yaml_node *yaml_node_towards(const struct yaml_node *map, const char *first,
					  const char *second)
{
	const struct yaml_node *outer = yaml_node_get(map, first);
	const struct yaml_node *inner = second ? yaml_node_get(outer, second) : NULL;

	return inner ? inner : outer ? outer : map;
}
