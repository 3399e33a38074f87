/* SPDX-License-Identifier: Apache-2.0 */
/* config_settings.c - keys of pools that were set while they run: put into the tree, so that all
 * that follows takes them for the file's. */
#include "config_internal.h"
#include "../maps/names.h"
#include "../base/util.h"

#define POOL "pools[]."

/* ---- which keys ------------------------------------------------------------ */

/* The key of a pool, by its path from the pool on. */
static const struct yaml_key *pool_key(const char *name)
{
	for (size_t i = 0; i < config_table.count; i++) {
		const char *path = config_table.keys[i].path;

		if (!strncmp(path, POOL, strlen(POOL)) && !strcmp(path + strlen(POOL), name))
			return &config_table.keys[i];
	}
	return NULL;
}

/* A key that may be set and that the name was probably meant to be: its last part, or nearly. */
static const struct yaml_key *meant_key(const char *name)
{
	struct text_nearest nearest = {0};
	const struct yaml_key *last = NULL;

	for (size_t i = 0; i < config_table.count; i++) {
		const struct yaml_key *k = &config_table.keys[i];

		if (!k->set)
			continue;
		if (!strcasecmp(yaml_key_local(k), name))
			last = last ?: k;
		text_nearest_try(&nearest, name, yaml_key_label(k));
	}
	return last ?: nearest.best ? pool_key(nearest.best) : NULL;
}

static const struct yaml_key *refuse_key(const char *name, char why[PINTLE_WHY_SIZE])
{
	const struct yaml_key *k = pool_key(name), *meant = meant_key(name);
	char quoted[TEXT_QUOTED_SIZE], wants[YAML_WANTS_SIZE];

	text_quote(name, strlen(name), quoted);
	if (k && k->type == &yaml_map)
		snprintf(why, PINTLE_WHY_SIZE, "%s is %s; set one of these, as in %s.%s=VALUE",
			 name, yaml_key_wants(&config_table, k, wants), name,
			 yaml_key_local(k + 1));
	else if (k)
		snprintf(why, PINTLE_WHY_SIZE,
			 "%s cannot change by itself while the pool runs; write it into the "
			 "configuration, then `pintle reload`",
			 name);
	else if (meant)
		snprintf(why, PINTLE_WHY_SIZE, "a pool has no key %s; did you mean %s?", quoted,
			 yaml_key_label(meant));
	else
		snprintf(why, PINTLE_WHY_SIZE,
			 "a pool has no key %s; `pintle set --help` lists those that can be set",
			 quoted);
	return NULL;
}

const struct yaml_key *config_settable(const char *name, char why[PINTLE_WHY_SIZE])
{
	const struct yaml_key *k = pool_key(name);

	return k && k->set ? k : refuse_key(name, why);
}

const struct yaml_key *config_settable_at(size_t i)
{
	for (size_t at = 0; at < config_table.count; at++)
		if (config_table.keys[at].set && !i--)
			return &config_table.keys[at];
	return NULL;
}

const char *config_settable_name(const struct yaml_key *k)
{
	return k->path + strlen(POOL);
}

const char *config_settable_wants(const struct yaml_key *k, char buf[CONFIG_WANTS_SIZE])
{
	_Static_assert(CONFIG_WANTS_SIZE == YAML_WANTS_SIZE, "one size for both");
	return yaml_key_wants(&config_table, k, buf);
}

const char *config_settable_word(const struct yaml_key *k, size_t i)
{
	static const char *const booleans[] = {"true", "false"};

	if (k->type == &yaml_choice)
		return k->choices[i];
	if (k->type == &yaml_bool)
		return i < ARRAY_SIZE(booleans) ? booleans[i] : NULL;
	if (k->type == &config_session)
		return i < PINTLE_KEY_COUNT ? key_name((uint32_t)i) : NULL;
	return NULL;
}

bool config_set_in_kernel(const struct yaml_key *k)
{
	return k->set == SET_IN_KERNEL;
}

/* ---- values ---------------------------------------------------------------- */

static struct yaml_node scalar(const char *text)
{
	return (struct yaml_node){
		.kind = YAML_SCALAR, .plain = true, .text = (char *)text, .length = strlen(text)};
}

/* Room for whatever a key that may be set fills: none of them owns memory. */
struct field {
	struct pintle_header room[PINTLE_MAX_HEADERS];
};

static bool read_alone(const struct yaml_key *k, const char *text, struct field *field,
		       char why[PINTLE_WHY_SIZE])
{
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct yaml_node n = scalar(text);
	locale_t outer = text_numbers_begin();

	memset(field, 0, sizeof(*field));
	yaml_value_read(&r, k, &n, field);
	text_numbers_end(outer);
	if (why && (r.errors || r.out_of_memory))
		snprintf(why, PINTLE_WHY_SIZE, "%s",
			 r.count ? r.messages[0].text : "out of memory; free some and try again");
	return !r.errors && !r.out_of_memory;
}

bool config_value_read(const struct yaml_key *k, const char *value, uint32_t *choice,
		       char why[PINTLE_WHY_SIZE])
{
	struct field field;
	bool good = read_alone(k, value, &field, why);

	if (good && choice && k->type == &yaml_choice)
		memcpy(choice, &field, sizeof(*choice));
	return good;
}

bool config_value_same(const struct yaml_key *k, const char *a, const char *b)
{
	struct field left, right;

	return read_alone(k, a, &left, NULL) && read_alone(k, b, &right, NULL) &&
	       !memcmp(&left, &right, sizeof(left));
}

/* ---- in the tree ----------------------------------------------------------- */

/* Place of a message about setting i: before the first line. */
static int line_of(size_t i)
{
	return -(int)i - 1;
}

static const struct yaml_node *pool_node(const struct yaml_node *root, const char *name, size_t *at)
{
	const struct yaml_node *n = yaml_node_at(yaml_node_get(root, "pools"), 0);

	for (size_t i = 0; n; n = n->next, i++) {
		const struct yaml_node *own = yaml_node_get(n, "name");

		if (!own || own->kind != YAML_SCALAR || strcmp(own->text, name) != 0)
			continue;
		if (at)
			*at = i;
		return n;
	}
	return NULL;
}

/* The node of a key's value, or NULL. With a tree, what is missing on the way is made. */
static struct yaml_node *value_node(struct yaml_tree *t, const struct yaml_node *pool,
				    const char *key, int line)
{
	const struct yaml_node *n = pool;
	char part[YAML_PREFIX_SIZE];

	for (const char *dot; n; key = dot + 1) {
		const struct yaml_node *map = n;

		dot = strchrnul(key, '.');
		snprintf(part, sizeof(part), "%.*s", (int)(dot - key), key);
		n = yaml_node_get(map, part);
		if (!n && t)
			n = yaml_tree_add(t, (struct yaml_node *)map, part,
					  *dot ? YAML_MAP : YAML_SCALAR, line);
		if (!*dot)
			break;
	}
	return (struct yaml_node *)n;
}

static int put_settings(struct yaml_tree *t, const struct config_setting *settings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct yaml_node *pool = pool_node(t->root, settings[i].pool, NULL);
		struct yaml_node *value;

		if (!settings[i].holds)
			continue;
		value = value_node(t, pool, settings[i].key, line_of(i));
		if (!value || yaml_node_set(value, settings[i].value))
			return -ENOMEM;
		value->line = line_of(i);
		value->column = 1;
	}
	return 0;
}

/* What holds without a setting, as text: the file's, the default, or what follows from the hook. */
static void take_file(struct config_setting *s, const struct yaml_key *k,
		      const struct yaml_node *pool, const struct config_pool *p)
{
	const struct yaml_node *n = value_node(NULL, pool, s->key, 0);
	const char *text = n ? n->text : k->preset ? k->preset : key_name(p->stickiness.key_kind);

	snprintf(s->file, sizeof(s->file), "%s", text);
}

/* Which may hold at all, by their pools and keys; and what holds without them. */
static void admit(const struct config *c, const struct yaml_node *root,
		  struct config_setting *settings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct config_setting *s = &settings[i];
		const struct yaml_key *k = config_settable(s->key, s->why);
		size_t at;
		const struct yaml_node *pool = pool_node(root, s->pool, &at);
		char quoted[TEXT_QUOTED_SIZE];

		s->holds = false;
		s->file[0] = '\0';
		if (!k)
			continue;
		if (!pool) {
			snprintf(s->why, sizeof(s->why),
				 "the configuration has no pool %s; `pintle reset` forgets it",
				 text_quote(s->pool, strlen(s->pool), quoted));
			continue;
		}
		take_file(s, k, pool, &c->pools[at]);
		if (k->set == SET_IN_KERNEL)
			snprintf(s->why, sizeof(s->why),
				 "%s is not set here; set it by `pintle set`", s->key);
		else
			s->holds = config_value_read(k, s->value, NULL, s->why);
	}
}

/* ---- judging --------------------------------------------------------------- */

struct trial {
	const struct config_text *text;
	struct config_setting *settings;
	size_t n;
	const struct yaml_sink *sink; /* of warnings about settings; NULL: they are not told yet */
	char error[PINTLE_WHY_SIZE];  /* the first of the newest try */
};

static void take_error(struct trial *t, const struct yaml_message *m)
{
	if (t->error[0])
		return;
	if (m->line < 0)
		snprintf(t->error, sizeof(t->error), "%s", m->text);
	else
		snprintf(t->error, sizeof(t->error), "%s:%d:%d: %s", t->text->name, m->line,
			 m->column, m->text);
}

/* What the file itself is warned of was told. */
static void tell_warnings(const struct trial *t, const struct yaml_report *r)
{
	char what[PINTLE_NAME_SIZE + PINTLE_KEY_NAME_SIZE + PINTLE_VALUE_SIZE];

	for (size_t i = 0; t->sink && i < r->count; i++) {
		const struct yaml_message *m = &r->messages[i];
		const struct config_setting *s;

		if (m->line >= 0)
			continue;
		s = &t->settings[-m->line - 1];
		snprintf(what, sizeof(what), "%s %s=%s", s->pool, s->key, s->value);
		t->sink->warning(t->sink->arg, what, 0, 0, m->text);
	}
}

/* The text with the settings that hold. Returns 0; -EINVAL with t->error; -ENOMEM. */
static int try_settings(struct trial *t, struct config **c)
{
	_cleanup_(yaml_tree_free) struct yaml_tree tree = {0};
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct config *with = NULL;
	int err;

	t->error[0] = '\0';
	if (!yaml_tree_read(&tree, t->text->text, t->text->size, &r) ||
	    put_settings(&tree, t->settings, t->n))
		return -ENOMEM; /* else it has been read well before */
	err = config_read_root(&r, t->text->name, tree.root, &with);
	if (r.out_of_memory)
		return -ENOMEM;
	for (size_t i = 0; err && i < r.count; i++)
		if (!r.messages[i].warning)
			take_error(t, &r.messages[i]);
	if (err)
		return err;
	config_free(*c);
	*c = with;
	tell_warnings(t, &r);
	return 0;
}

/* In their order, each that goes with those before holds. */
static int try_one_by_one(struct trial *t, struct config **c)
{
	_cleanup_free_ bool *wanted = calloc(t->n, sizeof(*wanted));
	const struct yaml_sink *sink = t->sink;
	int err = wanted ? 0 : -ENOMEM;

	for (size_t i = 0; wanted && i < t->n; i++) {
		wanted[i] = t->settings[i].holds;
		t->settings[i].holds = false;
	}
	t->sink = NULL;
	for (size_t i = 0; err != -ENOMEM && i < t->n; i++) {
		struct config_setting *s = &t->settings[i];

		if (!wanted[i])
			continue;
		s->holds = true;
		err = try_settings(t, c);
		if (err)
			snprintf(s->why, sizeof(s->why), "%s", t->error);
		s->holds = !err;
	}
	t->sink = sink;
	return err == -ENOMEM ? err : try_settings(t, c);
}

static int judge(struct trial *t, struct config **c)
{
	size_t wanted = 0;
	int err;

	for (size_t i = 0; i < t->n; i++)
		wanted += t->settings[i].holds;
	if (!wanted)
		return 0;
	err = try_settings(t, c);
	return err == -EINVAL ? try_one_by_one(t, c) : err;
}

int config_parse_set(const struct config_text *text, struct config_setting *settings, size_t n,
		     const struct yaml_sink *sink, struct config **out)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_(yaml_tree_free) struct yaml_tree tree = {0};
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct trial t = {text, settings, n, sink, ""};
	int err = config_parse(text->name, text->text, text->size, sink, &c);
	locale_t outer;

	if (err || !n) {
		*out = TAKE_PTR(c);
		return err;
	}
	if (!yaml_tree_read(&tree, text->text, text->size, &r))
		return -ENOMEM;
	admit(c, tree.root, settings, n);
	outer = text_numbers_begin();
	err = judge(&t, &c);
	text_numbers_end(outer);
	if (!err)
		*out = TAKE_PTR(c);
	return err;
}
