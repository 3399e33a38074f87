/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_key.h"

#include <assert.h>

#include "../base/util.h"
#include "yaml_value.h"

bool yaml_key_is_child(const struct yaml_key *k, const char *prefix)
{
	size_t length = strlen(prefix);

	return !strncmp(k->path, prefix, length) && !strpbrk(k->path + length, ".[");
}

const char *yaml_key_local(const struct yaml_key *k)
{
	const char *dot = strrchr(k->path, '.');

	return dot ? dot + 1 : k->path;
}

const char *yaml_key_label(const struct yaml_key *k)
{
	const char *label = k->path;

	for (const char *p = k->path; (p = strstr(p, "[].")); p += 3)
		label = p + 3;
	return label;
}

void yaml_key_prefix(const struct yaml_key *k, char prefix[YAML_PREFIX_SIZE])
{
	assert(strlen(k->path) + sizeof("[].") <= YAML_PREFIX_SIZE);
	snprintf(prefix, YAML_PREFIX_SIZE, "%s%s", k->path, k->type == &yaml_maps ? "[]." : ".");
}

bool yaml_key_is_word(const struct yaml_key *k, const struct yaml_node *n)
{
	return k->word && n && n->kind == YAML_SCALAR && n->length == strlen(k->word) &&
	       !memcmp(n->text, k->word, n->length);
}

static void children_text(const struct yaml_table *t, const struct yaml_key *k, const char *lead,
			  char buf[YAML_WANTS_SIZE])
{
	size_t n = strlen(lead);
	char prefix[YAML_PREFIX_SIZE];

	yaml_key_prefix(k, prefix);
	strcpy(buf, lead);
	for (size_t i = 0; i < t->count; i++)
		if (yaml_key_is_child(&t->keys[i], prefix))
			text_list_add(buf + n, YAML_WANTS_SIZE - n, yaml_key_local(&t->keys[i]));
}

static const char *word_or_list(const struct yaml_key *k, char buf[YAML_PREFIX_SIZE])
{
	snprintf(buf, YAML_PREFIX_SIZE, "%s, or a list, each item a mapping of ", k->word);
	return buf;
}

const char *yaml_key_wants(const struct yaml_table *t, const struct yaml_key *k,
			   char buf[YAML_WANTS_SIZE])
{
	char lead[YAML_PREFIX_SIZE];

	if (k->type == &yaml_map)
		children_text(t, k, "a mapping of ", buf);
	else if (k->type == &yaml_maps)
		children_text(t, k,
			      k->word ? word_or_list(k, lead) : "a list, each item a mapping of ",
			      buf);
	else
		k->type->wants(k, buf);
	return buf;
}
