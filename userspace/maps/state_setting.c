/* SPDX-License-Identifier: Apache-2.0 */
/* state_setting.c - keys of pools that were set, and the daemon's verdicts on them. */
#include "state_internal.h"

#include <bpf/bpf.h>

#include "names.h"

/* A setting that is deleted during the walk sends the walk back to its start. After so many steps
 * the walk ends in any case. */
#define MAX_STEPS (4 * PINTLE_MAX_VERDICTS)

static const struct pintle_setting_key reload_key = {.key = PINTLE_SETTING_RELOAD};

#define TEXT(to, from) state_text(to, sizeof(to), from, sizeof(from))

static struct state_setting *setting_add(struct state *s)
{
	struct state_setting *more = reallocarray(s->settings, s->setting_count + 1, sizeof(*more));

	if (!more)
		return NULL;
	s->settings = more;
	more += s->setting_count++;
	memset(more, 0, sizeof(*more));
	return more;
}

/* Whether the setting was read already, by this walk before it had to start over. */
static bool state_setting_is_known(const struct state *s, const struct pintle_setting_key *key)
{
	for (size_t i = 0; i < s->setting_count; i++)
		if (!s->settings[i].in_kernel && !memcmp(&s->settings[i].at, key, sizeof(*key)))
			return true;
	return false;
}

static void verdict_take(struct state_setting *to, const struct pintle_verdict *v)
{
	TEXT(to->runs, v->runs);
	TEXT(to->file, v->file);
	if (v->set_ns != to->since_ns)
		return;
	to->state = v->refused ? STATE_SETTING_REFUSED : STATE_SETTING_HOLDS;
	if (v->refused)
		TEXT(to->why, v->why);
}

static void state_setting_key_take(struct state_setting *to, const struct pintle_setting_key *key)
{
	to->at = *key;
	TEXT(to->pool, key->pool);
	TEXT(to->key, key->key);
	to->state = STATE_SETTING_WAITS;
}

static int settings_walk(const struct maps *m, struct state *s)
{
	struct pintle_setting_key key, *previous = NULL;
	struct pintle_setting setting;
	int fd = m->fd[MAP_settings];

	for (int i = 0; i < MAX_STEPS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		struct pintle_verdict v;
		struct state_setting *to;

		previous = &key;
		if (!memcmp(&key, &reload_key, sizeof(key)) || state_setting_is_known(s, &key) ||
		    bpf_map_lookup_elem(fd, &key, &setting))
			continue;
		to = setting_add(s);
		if (!to)
			return -ENOMEM;
		state_setting_key_take(to, &key);
		to->set = true;
		to->since_ns = setting.set_ns;
		TEXT(to->value, setting.value);
		if (!bpf_map_lookup_elem(m->fd[MAP_verdicts], &key, &v))
			verdict_take(to, &v);
	}
	return 0;
}

static void reload_take(struct state *s, const struct pintle_verdict *v)
{
	s->reload = (struct state_reload){
		.asked_ns = v->set_ns,
		.judged_ns = v->judged_ns,
		.file_hash = v->file_hash,
		.failed = v->refused,
	};
	TEXT(s->reload.why, v->why);
}

/* Takes the verdict on the reload, and those on settings that were taken back and still hold:
 * verdicts that have no entry in `settings`. */
static int verdicts_walk(const struct maps *m, struct state *s)
{
	struct pintle_setting_key key, *previous = NULL;
	struct pintle_verdict v;
	int fd = m->fd[MAP_verdicts];

	for (int i = 0; i < MAX_STEPS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		struct state_setting *to;

		previous = &key;
		if (state_setting_is_known(s, &key) || bpf_map_lookup_elem(fd, &key, &v))
			continue;
		if (!memcmp(&key, &reload_key, sizeof(key))) {
			reload_take(s, &v);
			continue;
		}
		if (v.refused)
			continue;
		to = setting_add(s);
		if (!to)
			return -ENOMEM;
		state_setting_key_take(to, &key);
		to->since_ns = v.judged_ns;
		TEXT(to->runs, v.runs);
		TEXT(to->file, v.file);
		TEXT(to->why, v.why);
	}
	return 0;
}

static int state_setting_override_take(struct state *s, const struct state_pool *p, const char *key,
				       const char *value, const char *configured)
{
	struct state_setting *to = setting_add(s);

	if (!to)
		return -ENOMEM;
	snprintf(to->pool, sizeof(to->pool), "%s", p->name);
	snprintf(to->key, sizeof(to->key), "%s", key);
	snprintf(to->value, sizeof(to->value), "%s", value);
	snprintf(to->runs, sizeof(to->runs), "%s", value);
	snprintf(to->file, sizeof(to->file), "%s", configured);
	to->state = STATE_SETTING_HOLDS;
	to->since_ns = p->overridden_since_ns;
	to->set = to->in_kernel = true;
	return 0;
}

static int overrides_take(struct state *s)
{
	int err = 0;

	for (size_t i = 0; !err && i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		if (p->overridden)
			err = state_setting_override_take(s, p, "mode",
							  mode_name(p->mode_otherwise),
							  mode_name(p->mode_configured));
		if (!err && p->requests_overridden)
			err = state_setting_override_take(s, p, "requests",
							  requests_name(p->requests),
							  requests_name(p->requests_configured));
	}
	return err;
}

static size_t pool_place(const struct state *s, const char *name)
{
	size_t i = 0;

	while (i < s->pool_count && strcmp(s->pools[i].name, name) != 0)
		i++;
	return i;
}

static int setting_compare(const void *left, const void *right, void *arg)
{
	const struct state_setting *a = left, *b = right;
	size_t at = pool_place(arg, a->pool), than = pool_place(arg, b->pool);
	int order = at == than ? strcmp(a->pool, b->pool) : at < than ? -1 : 1;

	return order ? order : strcmp(a->key, b->key);
}

int state_read_settings(const struct maps *m, struct state *s)
{
	int err = settings_walk(m, s);

	if (!err)
		err = verdicts_walk(m, s);
	if (!err)
		err = overrides_take(s);
	if (!err && s->setting_count)
		qsort_r(s->settings, s->setting_count, sizeof(*s->settings), setting_compare, s);
	return err;
}
