/* SPDX-License-Identifier: Apache-2.0 */
/* config_settings.c - keys of pools that were set while they run. Their values are put into the
 * file's tree, so that reading and checking take them for the file's. */
#include "config_internal.h"

#include <assert.h>

#include "../maps/names.h"
#include "../base/util.h"

#define POOL "pools[]."

/* ---- which keys ------------------------------------------------------------ */

/* The pool's key with that path from the pool on; NULL: there is none. */
static const struct yaml_key *pool_key(const char *name)
{
	for (size_t i = 0; i < config_table.count; i++) {
		const char *path = config_table.keys[i].path;

		if (!strncmp(path, POOL, strlen(POOL)) && !strcmp(path + strlen(POOL), name))
			return &config_table.keys[i];
	}
	return NULL;
}

/* The key that may be set and was probably meant: `name` is its last part ("ttl"), or misspelt. */
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

/* The first key in the mapping that may be set; NULL: none may, or `map` is no mapping. */
static const struct yaml_key *key_within(const struct yaml_key *map)
{
	char prefix[YAML_PREFIX_SIZE];

	yaml_key_prefix(map, prefix);
	for (size_t i = 0; map->type == &yaml_map && i < config_table.count; i++)
		if (config_table.keys[i].set && yaml_key_is_child(&config_table.keys[i], prefix))
			return &config_table.keys[i];
	return NULL;
}

static const struct yaml_key *refuse_key(const char *name, char why[PINTLE_WHY_SIZE])
{
	const struct yaml_key *k = pool_key(name), *meant = meant_key(name);
	const struct yaml_key *within = k ? key_within(k) : NULL;
	char quoted[TEXT_QUOTED_SIZE], wants[YAML_WANTS_SIZE];

	text_quote(name, strlen(name), quoted);
	if (within)
		snprintf(why, PINTLE_WHY_SIZE, "%s is %s; set one of its keys, as in %s=VALUE",
			 name, yaml_key_wants(&config_table, k, wants), yaml_key_label(within));
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
	assert(!strncmp(k->path, POOL, strlen(POOL)));
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
	if ((k->type == &config_session || k->type == &config_session_key) &&
	    i < CONFIG_SESSION_KEYS)
		return key_name(config_session_kind((uint32_t)i));
	if (k->type == &config_session_key && i == CONFIG_SESSION_KEYS)
		return "agent";
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

/* Room for the value of any key that may be set. None of these values owns memory. */
union field {
	struct pintle_header headers[PINTLE_MAX_HEADERS];
	struct config_stickiness stickiness;
	unsigned char bytes[sizeof(struct config_stickiness)];
};

static bool read_alone(const struct yaml_key *k, const char *text, union field *field,
		       char why[PINTLE_WHY_SIZE])
{
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct yaml_node n = scalar(text);
	locale_t outer = text_numbers_begin();

	assert(k->set != SET_NEVER);
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
	union field field;
	bool good = read_alone(k, value, &field, why);

	if (good && choice && k->type == &yaml_choice)
		memcpy(choice, &field, sizeof(*choice));
	return good;
}

bool config_value_same(const struct yaml_key *k, const char *a, const char *b)
{
	union field left, right;

	return read_alone(k, a, &left, NULL) && read_alone(k, b, &right, NULL) &&
	       !memcmp(left.bytes, right.bytes, sizeof(left.bytes));
}

/* ---- in the tree ----------------------------------------------------------- */

/* The line of messages about setting i: -1, -2, ..., which no line of the file has. */
static int config_settings_line_of(size_t i)
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

/* The node of a key's value; or the last node on the way to it, and in *rest the part of the key
 * that the file does not have ("" with the value's node). */
static struct yaml_node *node_towards(const struct yaml_node *pool, const char *key,
				      const char **rest)
{
	const struct yaml_node *n = pool;
	char part[YAML_PREFIX_SIZE];

	while (*key) {
		const char *dot = strchrnul(key, '.');
		const struct yaml_node *next;

		snprintf(part, sizeof(part), "%.*s", (int)(dot - key), key);
		next = yaml_node_get(n, part);
		if (!next)
			break;
		n = next;
		key = *dot ? dot + 1 : dot;
	}
	*rest = key;
	return (struct yaml_node *)n;
}

/* The mapping of the setting's key that the pool's entry lacks, and that cannot begin with this key
 * alone, because it needs others, too; NULL: there is none. */
static const struct yaml_key *missing_map(const struct yaml_key *k, const struct yaml_node *pool)
{
	char prefix[YAML_PREFIX_SIZE], name[YAML_PREFIX_SIZE];
	const struct yaml_key *map;
	const char *rest, *dot;

	node_towards(pool, config_settable_name(k), &rest);
	dot = strchr(rest, '.');
	if (!dot)
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)(dot - config_settable_name(k)),
		 config_settable_name(k));
	map = pool_key(name);
	if (!map)
		return NULL;
	yaml_key_prefix(map, prefix);
	for (size_t i = 0; i < config_table.count; i++) {
		const struct yaml_key *other = &config_table.keys[i];

		if (other != k && other->required && yaml_key_is_child(other, prefix))
			return map;
	}
	return NULL;
}

/* A list, as stickiness.key may be, with the commas that the setting has. */
static void take_list(struct config_setting *s, const struct yaml_node *list)
{
	s->file[0] = '\0';
	for (const struct yaml_node *n = list->first; n; n = n->next)
		text_list_add(s->file, sizeof(s->file), n->text);
}

/* Writes the value without the setting into s->file: the file's, the default, or, for
 * stickiness.key, which has no fixed default, what it is for the pool. */
static void config_settings_take_file(struct config_setting *s, const struct yaml_key *k,
				      const struct yaml_node *pool, const struct config_pool *p)
{
	const char *rest;
	const struct yaml_node *n = node_towards(pool, s->key, &rest);
	const char *text = !*rest ? n->text : k->preset;

	if (!*rest && n->kind == YAML_LIST)
		take_list(s, n);
	else if (text)
		snprintf(s->file, sizeof(s->file), "%s", text);
	else
		snprintf(s->file, sizeof(s->file), "%s%s",
			 p->decide == PINTLE_DECIDE_REQUEST ? "agent, " : "",
			 key_name(p->stickiness.key_kind));
}

/* Finds out which settings may hold, by pool, key and value alone, and the values without them. */
static void settings_admit(const struct config *c, const struct yaml_node *root,
			   struct config_setting *settings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct config_setting *s = &settings[i];
		const struct yaml_key *k = config_settable(s->key, s->why);
		size_t at;
		const struct yaml_node *pool = pool_node(root, s->pool, &at);
		const struct yaml_key *missing;
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
		missing = missing_map(k, pool);
		if (!missing || k->preset)
			config_settings_take_file(s, k, pool, &c->pools[at]);
		if (missing)
			snprintf(s->why, sizeof(s->why),
				 "pool %s has no %s; write %s into the configuration, then "
				 "`pintle reload`",
				 s->pool, config_settable_name(missing),
				 config_settable_name(missing));
		else if (k->set == SET_IN_KERNEL)
			snprintf(s->why, sizeof(s->why),
				 "%s is not set here; set it by `pintle set`", s->key);
		else
			s->holds = config_value_read(k, s->value, NULL, s->why);
	}
}

/* ---- changes --------------------------------------------------------------- */

/* What one setting changed in the tree. */
struct change {
	struct yaml_node *value; /* if the file has the key: the node of its value, */
	struct yaml_node was;    /* and a copy from before, which owns the text */
	struct yaml_node *map;   /* if the file has it not: the mapping that got a child, */
	struct yaml_node *last;  /* and its last child before; NULL: it had none */
};

struct trial {
	const char *name; /* the file's */
	struct yaml_tree tree;
	struct config_setting *settings;
	struct change *changes; /* by setting */
	size_t n;
	const struct yaml_sink *sink; /* for warnings about settings; NULL: none are reported yet */
	char error[PINTLE_WHY_SIZE];  /* the first error of the newest try */
};

static void trial_free(struct trial *t)
{
	for (size_t i = 0; t->changes && i < t->n; i++)
		free(t->changes[i].was.text);
	free(t->changes);
	yaml_tree_free(&t->tree);
}

static int change_value(struct change *c, struct yaml_node *value, const char *text, int line)
{
	c->value = value;
	c->was = *value;
	value->kind = YAML_SCALAR; /* the file may have a list there */
	value->first = value->last = NULL;
	value->count = 0;
	value->text = NULL;
	value->line = line;
	value->column = 1;
	return yaml_node_set(value, text);
}

static int add_value(struct trial *t, struct change *c, struct yaml_node *map, const char *key,
		     const char *text, int line)
{
	struct yaml_node *n = map;
	char part[YAML_PREFIX_SIZE];

	c->map = map;
	c->last = map->last;
	while (n && *key) {
		const char *dot = strchrnul(key, '.');

		snprintf(part, sizeof(part), "%.*s", (int)(dot - key), key);
		n = yaml_tree_add(&t->tree, n, part, *dot ? YAML_MAP : YAML_SCALAR, line);
		key = *dot ? dot + 1 : dot;
	}
	return n ? yaml_node_set(n, text) : -ENOMEM;
}

static int trial_put(struct trial *t, size_t i)
{
	const struct config_setting *s = &t->settings[i];
	const char *rest;
	struct yaml_node *n = node_towards(pool_node(t->tree.root, s->pool, NULL), s->key, &rest);

	if (*rest)
		return add_value(t, &t->changes[i], n, rest, s->value, config_settings_line_of(i));
	return change_value(&t->changes[i], n, s->value, config_settings_line_of(i));
}

/* Undoes the newest change first: `stickiness.ttl` may have added the mapping `stickiness`, to
 * which a later setting added its key. */
static void trial_undo(struct trial *t, size_t i)
{
	struct change *c = &t->changes[i];

	if (c->value) {
		free(c->value->text);
		*c->value = c->was;
	} else if (c->map) {
		yaml_node_cut(c->map, c->last);
	}
	*c = (struct change){0};
}

/* ---- judging --------------------------------------------------------------- */

static void take_error(struct trial *t, const struct yaml_message *m)
{
	if (m->warning || t->error[0])
		return;
	if (m->line < 0)
		snprintf(t->error, sizeof(t->error), "%s", m->text);
	else
		snprintf(t->error, sizeof(t->error), "%s:%d:%d: %s", t->name, m->line, m->column,
			 m->text);
}

/* Reports a warning about a setting. Those about the file itself were reported before. */
static void tell_warning(const struct trial *t, const struct yaml_message *m)
{
	char what[PINTLE_NAME_SIZE + PINTLE_KEY_NAME_SIZE + PINTLE_VALUE_SIZE];
	const struct config_setting *s;

	if (m->line >= 0 || m->line <= CONFIG_FOUND_LINE || !t->sink)
		return;
	assert((size_t)(-m->line - 1) < t->n);
	s = &t->settings[-m->line - 1];
	snprintf(what, sizeof(what), "%s %s=%s", s->pool, s->key, s->value);
	t->sink->warning(t->sink->arg, what, 0, 0, m->text);
}

/* Makes a configuration from the tree as it is now. Returns 0 with *c replaced; -EINVAL with
 * t->error; or -ENOMEM. */
static int try_tree(struct trial *t, struct config **c)
{
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	struct config *with = NULL;
	int err = config_read_root(&r, t->name, t->tree.root, &with);

	if (r.out_of_memory) {
		config_free(with);
		return -ENOMEM;
	}
	t->error[0] = '\0';
	for (size_t i = 0; i < r.count; i++) {
		if (err)
			take_error(t, &r.messages[i]);
		else
			tell_warning(t, &r.messages[i]);
	}
	if (err)
		return err;
	config_free(*c);
	*c = with;
	return 0;
}

/* Tries the pool's settings in their order: each that goes with those before it holds. */
static int try_one_by_one(struct trial *t, const struct yaml_node *pool)
{
	_cleanup_(config_freep) struct config *ignored = NULL;
	const struct yaml_node *name = yaml_node_get(pool, "name");

	for (size_t i = 0; i < t->n; i++) {
		struct config_setting *s = &t->settings[i];
		int err;

		if (!s->holds || strcmp(s->pool, name->text) != 0)
			continue;
		err = trial_put(t, i);
		if (!err)
			err = try_tree(t, &ignored);
		if (err == -ENOMEM)
			return err;
		s->holds = !err;
		if (!err)
			continue;
		snprintf(s->why, sizeof(s->why), "%s", t->error);
		trial_undo(t, i);
	}
	return 0;
}

/* Whether the pool's entry is good without those of other pools: it names none, and has frontends,
 * as a pool has that no other names. */
static bool stands_alone(const struct yaml_node *pool)
{
	const struct yaml_node *frontends = yaml_node_get(pool, "frontends");

	return !yaml_node_get(pool, "canary") && !yaml_node_get(pool, "fallback") &&
	       !yaml_node_get(pool, "models") && frontends && frontends->count;
}

/* The same, with a tree that has this pool alone: the file may be long. */
static int try_alone(struct trial *t, struct yaml_node *pools, struct yaml_node *pool)
{
	const struct yaml_node all = *pools;
	struct yaml_node *next = pool->next;
	int err;

	pools->first = pools->last = pool;
	pools->count = 1;
	pool->next = NULL;
	err = try_one_by_one(t, pool);
	pool->next = next;
	*pools = all;
	return err;
}

static int try_pools(struct trial *t)
{
	struct yaml_node *pools = (struct yaml_node *)yaml_node_get(t->tree.root, "pools");
	int err = 0;

	for (struct yaml_node *pool = pools->first; !err && pool; pool = pool->next)
		err = stands_alone(pool) ? try_alone(t, pools, pool) : try_one_by_one(t, pool);
	return err;
}

static int trial_put_all(struct trial *t)
{
	int err = 0;

	for (size_t i = 0; !err && i < t->n; i++)
		err = t->settings[i].holds ? trial_put(t, i) : 0;
	return err;
}

/* If a rule looks from pool to pool after all, no setting holds, and the file alone does. */
static int trial_refuse_all(struct trial *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct config_setting *s = &t->settings[i];

		if (s->holds)
			snprintf(s->why, sizeof(s->why), "%s", t->error);
		s->holds = false;
	}
	return 0;
}

/* Judges the settings that may hold, and replaces *c, the file's configuration, by the one with
 * those that do. The file alone is good, so this fails only with -ENOMEM. */
static int config_settings_trial_judge(struct trial *t, const struct yaml_sink *sink,
				       struct config **c)
{
	int err = trial_put_all(t);

	t->sink = sink;
	if (!err)
		err = try_tree(t, c);
	if (err != -EINVAL)
		return err;
	for (size_t i = t->n; i-- > 0;)
		trial_undo(t, i);
	t->sink = NULL;
	err = try_pools(t);
	t->sink = sink;
	if (!err)
		err = try_tree(t, c);
	return err == -EINVAL ? trial_refuse_all(t) : err;
}

int config_parse_set(const struct config_text *text, struct config_founds *found,
		     struct config_setting *settings, size_t n, const struct yaml_sink *sink,
		     struct config **out)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_(trial_free) struct trial t = {.name = text->name, .settings = settings, .n = n};
	_cleanup_(yaml_report_free) struct yaml_report r = {0};
	int err = config_parse(text->name, text->text, text->size, sink, &c);
	locale_t outer;

	if (err || (!n && !(found && found->count))) {
		*out = TAKE_PTR(c);
		return err;
	}
	t.changes = calloc(n + 1, sizeof(*t.changes));
	if (!t.changes || !yaml_tree_read(&t.tree, text->text, text->size, &r))
		return -ENOMEM; /* the text itself was good: config_parse() took it */
	outer = text_numbers_begin();
	err = found ? config_found_add(&t.tree, text->name, found->all, found->count, &c) : 0;
	if (!err)
		settings_admit(c, t.tree.root, settings, n);
	if (!err && n)
		err = config_settings_trial_judge(&t, sink, &c);
	text_numbers_end(outer);
	if (!err)
		*out = TAKE_PTR(c);
	return err;
}
