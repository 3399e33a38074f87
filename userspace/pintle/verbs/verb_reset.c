/* SPDX-License-Identifier: Apache-2.0 */
/* verb_reset.c - takes back what mode, set and drain changed: all of it, a pool's, or one key. */
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../cli.h"
#include "../output.h"

struct reset {
	const struct maps *m;
	const struct state *s;
	const char *pool, *key; /* NULL: all */
	size_t count;           /* settings and drains that were taken back */
};

/* A setting that was taken back before, and waits for pintled, is meant only if its key is
 * named. */
static bool is_reset(const struct reset *r, const struct state_setting *t)
{
	return (t->set || r->key) && (!r->pool || !strcmp(r->pool, t->pool)) &&
	       (!r->key || !strcmp(r->key, t->key));
}

/* ---- the kernel's own ------------------------------------------------------------- */

/* Clears every slot, also those of pools and endpoints that are gone. */
static int overrides_clear(const struct maps *m)
{
	static const struct pintle_override none;

	for (uint32_t slot = 0; slot < PINTLE_SLOTS; slot++) {
		struct pintle_override o;
		int err = maps_value(m, MAP_overrides, slot, &o);

		if (!err && o.flags &&
		    bpf_map_update_elem(m->fd[MAP_overrides], &slot, &none, BPF_ANY))
			err = -errno;
		if (err)
			return log_err_r(err, "cannot take back the overrides");
	}
	return 0;
}

static const struct state_pool *pool_named(const struct state *s, const char *name)
{
	for (size_t i = 0; i < s->pool_count; i++)
		if (!strcmp(s->pools[i].name, name))
			return &s->pools[i];
	return NULL;
}

static int override_take_back(const struct reset *r, const struct state_setting *t)
{
	const struct state_pool *p = pool_named(r->s, t->pool);

	return p ? override_pool(r->m, p,
				 strcmp(t->key, "mode") ? PINTLE_OVERRIDE_REQUESTS
							: PINTLE_OVERRIDE_MODE,
				 0, true)
		 : 0;
}

static int reset_drains(struct reset *r)
{
	char name[ENDPOINT_NAME_SIZE];
	int err = 0;

	for (size_t i = 0; !err && i < r->s->endpoint_count; i++) {
		const struct state_endpoint *e = &r->s->endpoints[i];

		if (!e->drained || r->key ||
		    (r->pool && strcmp(r->pool, r->s->pools[e->pool].name) != 0))
			continue;
		err = drain_set(r->m, e, false);
		if (!err)
			printf("%s: takes connections again\n", endpoint_name(r->s, e, name));
		r->count++;
	}
	return err;
}

static int reset_trials(struct reset *r)
{
	int err = 0;

	for (size_t i = 0; !err && i < r->s->pool_count; i++) {
		const struct state_pool *p = &r->s->pools[i];

		if (!p->trial_runs || (r->pool && strcmp(r->pool, p->name) != 0) ||
		    (r->key && strcmp(r->key, "mode") != 0))
			continue;
		err = override_pool(r->m, p, PINTLE_OVERRIDE_TRIAL, 0, true);
		if (!err)
			printf("%s: the A/B test is over; `pintle ab %s` shows what it measured\n",
			       p->name, p->name);
		r->count++;
	}
	return err;
}

/* ---- all -------------------------------------------------------------------------- */

static int reset_one(const struct reset *r, const struct state_setting *t)
{
	return t->in_kernel ? override_take_back(r, t) : setting_take_back(r->m, &t->at);
}

static int reset_tell(const struct reset *r, const struct state_setting *t)
{
	bool held = t->runs[0] && t->state != STATE_SETTING_REFUSED;
	const char *from = "";

	if (!t->in_kernel && held)
		from = setting_wait_gone(r->m, r->s->daemon_alive, &t->at);
	if (!from)
		return -EIO;
	printf("%s: %s %s%sas configured%s\n", t->pool, t->key, t->file, t->file[0] ? ", " : "",
	       from);
	return 0;
}

static int reset_all(struct reset *r)
{
	int err = reset_trials(r);

	if (!err && !r->pool)
		err = overrides_clear(r->m);
	for (size_t i = 0; !err && i < r->s->setting_count; i++)
		if (is_reset(r, &r->s->settings[i])) {
			err = reset_one(r, &r->s->settings[i]);
			r->count++;
		}
	for (size_t i = 0; !err && i < r->s->setting_count; i++)
		if (is_reset(r, &r->s->settings[i]))
			err = reset_tell(r, &r->s->settings[i]);
	return err ?: reset_drains(r);
}

static bool holds_in(const struct config_setting *all, size_t n, const struct config_setting *one,
		     const char **why)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].pool == one->pool && all[i].key == one->key) {
			*why = all[i].why;
			return all[i].holds;
		}
	return true;
}

/* Whether all other settings that hold would still hold without `but`; logs the first that would
 * not. True if they cannot be judged here: pintled will judge them. */
static bool others_hold(const struct state *s, const struct state_setting *but)
{
	_cleanup_free_ struct config_setting *before = NULL, *after = NULL;
	struct config_text text = {0};
	size_t n = 0, left = 0;
	const char *why = "";
	bool good = true;

	if (s->setting_count < 2 || settings_read_file(s, &text))
		return true;
	if (!settings_judge(s, &text, NULL, NULL, &before, &n) &&
	    !settings_judge(s, &text, but, NULL, &after, &left))
		for (size_t i = 0; good && i < n; i++) {
			good = !before[i].holds || holds_in(after, left, &before[i], &why);
			if (!good)
				log_error("%s %s=%s would no longer hold: %s; `pintle reset %s %s` "
					  "first",
					  before[i].pool, before[i].key, before[i].value, why,
					  before[i].pool, before[i].key);
		}
	free(text.text);
	return good;
}

static int reset_key(struct reset *r)
{
	const struct state_setting *t = find_setting(r->s, r->pool, r->key);
	char why[PINTLE_WHY_SIZE];

	if (!t && !config_settable(r->key, why)) {
		log_error("%s", why);
		return EXIT_USAGE;
	}
	if (!t && reset_trials(r))
		return EXIT_FAILED;
	if (!t) {
		if (!r->count)
			printf("%s: %s was not set\n", r->pool, r->key);
		return output_finish();
	}
	if (!t->in_kernel && !others_hold(r->s, t))
		return EXIT_FAILED;
	return reset_all(r) ? EXIT_FAILED : output_finish();
}

static int run_reset(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	struct reset r = {0};
	int status = open_state(cli, MAPS_WRITE, &m, &s);

	if (status)
		return status;
	r.m = m;
	r.s = s;
	r.pool = cli->word_count > 0 ? cli->words[0] : NULL;
	r.key = cli->word_count > 1 ? cli->words[1] : NULL;
	if (r.pool && !setting_pool(s, r.pool))
		return EXIT_FAILED;
	if (r.key)
		return reset_key(&r);
	if (reset_all(&r))
		return EXIT_FAILED;
	if (!r.count)
		puts("nothing was set");
	return output_finish();
}

const struct command command_reset = {
	.name = "reset",
	.kind = VERB,
	.arguments = "[POOL [KEY]]",
	.summary = "take back what mode, set and drain changed",
	.help = "Takes back everything, or what belongs to one pool, or one key; then the file holds.\n"
		"A key stays set if another key that is set needs it; reset says which.",
	.run = run_reset,
	.options = OPTIONS_VERB,
	.most = 2,
	.words = {WORD_POOL, WORD_KEY},
};
