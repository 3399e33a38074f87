// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "../../userspace/base/util.h"
#include "load_fields.h"

static const struct load_field *find_field(const struct load_section *s, const struct node *name)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *known = key_local(&s->fields[i].key);

		if (strlen(known) == name->length && !memcmp(known, name->text, name->length))
			return &s->fields[i];
	}
	return NULL;
}

static void report_unknown(struct report *r, const struct load_section *s, const struct node *name)
{
	char quoted[QUOTED_SIZE], known[WANTED_SIZE] = "";
	struct nearest nearest = {0};
	size_t used = 0;

	quote(name->text, name->length, quoted);
	for (size_t i = 0; i < s->count && used < sizeof(known); i++) {
		const char *candidate = key_local(&s->fields[i].key);

		nearest_try(&nearest, name->text, candidate);
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
					 candidate);
	}
	if (nearest.best)
		report_error(r, name->line, name->column,
			     "unknown key %s in %s; did you mean \"%s\"?", quoted, s->what,
			     nearest.best);
	else
		report_error(r, name->line, name->column, "unknown key %s in %s; known here: %s",
			     quoted, s->what, known);
}

void load_report_kind(struct report *r, const struct node *n, const char *label, const char *wants)
{
	static const char *const kinds[] = {
		[NODE_SCALAR] = "one value", [NODE_LIST] = "a list", [NODE_MAP] = "a mapping"};

	if (n->kind != NODE_BROKEN)
		report_error(r, n->line, n->column, "%s is %s; write %s", label, kinds[n->kind],
			     wants);
}

static void read_field(struct report *r, const struct load_field *f, const struct node *n,
		       void *base)
{
	char wants[WANTED_SIZE];

	if (f->read)
		f->read(r, f, n, base);
	else if (n->kind != NODE_SCALAR)
		load_report_kind(r, n, key_label(&f->key), key_wants(&f->key, wants));
	else
		value_read(r, &f->key, n, (char *)base + f->key.offset);
}

static void read_presets(struct report *r, const struct load_section *s, void *base)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct load_field *f = &s->fields[i];
		struct node n = {.kind = NODE_SCALAR, .plain = true};

		if (!f->key.preset)
			continue;
		n.text = (char *)f->key.preset;
		n.length = strlen(f->key.preset);
		read_field(r, f, &n, base);
	}
}

void load_section_read(struct report *r, const struct load_section *s, const struct node *map,
		       void *base)
{
	read_presets(r, s, base);
	if (map->kind != NODE_MAP) {
		load_report_kind(r, map, s->what, "a mapping: keys with values");
		return;
	}
	for (const struct node *n = map->first; n && !report_full(r); n = n->next) {
		const struct load_field *f;

		if (n->key->kind != NODE_SCALAR) {
			load_report_kind(r, n->key, "a key", "a name");
			continue;
		}
		f = find_field(s, n->key);
		if (!f)
			report_unknown(r, s, n->key);
		else if (node_get(map, key_local(&f->key)) != n)
			report_error(r, n->key->line, n->key->column,
				     "\"%s\" stands here again; keep this or that of line %d",
				     key_local(&f->key),
				     node_get(map, key_local(&f->key))->key->line);
		else
			read_field(r, f, n, base);
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct key *k = &s->fields[i].key;

		if (k->required && !node_get(map, key_local(k)))
			report_error(r, map->line, map->column, "\"%s\" is missing in %s; add it",
				     key_local(k), s->what);
	}
}
