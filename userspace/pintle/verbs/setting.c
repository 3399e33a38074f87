/* SPDX-License-Identifier: Apache-2.0 */
/* setting.c - keys of pools: checked with the file, set, taken back, and waited for. */
#include <assert.h>
#include <bpf/bpf.h>

#include "../../maps/state_found.h"
#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../maps/names.h"
#include "../cli.h"
#include "../output.h"
#include "traits.bpf.h"

/* The daemon looks at the settings several times a second. */
#define VERDICT_WAIT_NS (10 * NSEC_PER_SEC)
#define LOOK_MS         20
/* The daemon sends no heartbeat while it loads programs or publishes a thousand endpoints. */
#define BUSY_NS (5 * NSEC_PER_SEC)

/* ---- with the file ---------------------------------------------------------------- */

/* Hears what the check says. The file's first error is logged, since it keeps the settings from
 * being judged; warnings about the file were logged when pintled read it. */
struct listener {
	const char *pool, *key; /* the setting whose warnings are logged; NULL: none */
	bool file_told;
};

static void setting_on_error(void *arg, const char *file, int line, int column, const char *message)
{
	struct listener *l = arg;

	if (!l->file_told)
		log_error("%s:%d:%d: %s", file, line, column, message);
	l->file_told = true;
}

static void on_warning(void *arg, const char *file, int line, int column, const char *message)
{
	const struct listener *l = arg;
	char start[PINTLE_NAME_SIZE + PINTLE_KEY_NAME_SIZE + 2];

	(void)column;
	if (line || !l->pool)
		return;
	snprintf(start, sizeof(start), "%s %s=", l->pool, l->key);
	if (!strncmp(file, start, strlen(start)))
		log_warn("%s", message);
}

static int older(const void *left, const void *right)
{
	const struct state_setting *a = *(const struct state_setting *const *)left;
	const struct state_setting *b = *(const struct state_setting *const *)right;

	return a->since_ns == b->since_ns ? 0 : a->since_ns < b->since_ns ? -1 : 1;
}

/* What is set, the oldest first, without `but`; the array has room for one more. */
static struct config_setting *settings_copy(const struct state *s, const struct state_setting *but,
					    size_t *n)
{
	_cleanup_free_ const struct state_setting **order =
		calloc(s->setting_count + 1, sizeof(*order));
	struct config_setting *all = calloc(s->setting_count + 1, sizeof(*all));

	*n = 0;
	if (!order || !all) {
		free(all);
		return NULL;
	}
	for (size_t i = 0; i < s->setting_count; i++)
		if (s->settings[i].set && &s->settings[i] != but)
			order[(*n)++] = &s->settings[i];
	qsort(order, *n, sizeof(*order), older);
	for (size_t i = 0; i < *n; i++)
		all[i] = (struct config_setting){
			.pool = order[i]->pool, .key = order[i]->key, .value = order[i]->value};
	return all;
}

int settings_read_file(const struct state *s, struct config_text *text)
{
	struct listener l = {0};
	const struct yaml_sink sink = {setting_on_error, on_warning, &l};
	const char *path = s->node.config;

	if (path[0] == '/')
		return config_read(path, &sink, text);
	if (path[0])
		log_error("the path of the configuration is too long to be known here: %s", path);
	else
		log_error("the maps do not say which configuration pintled reads");
	return -ENAMETOOLONG;
}

bool settings_file_runs(const struct state *s, const struct config_text *text)
{
	return !s->reload.judged_ns ||
	       hash_bytes(HASH_START, text->text, text->size) == s->reload.file_hash;
}

int settings_judge(const struct state *s, const struct config_text *text,
		   const struct state_setting *but, const struct config_setting *with,
		   struct config_setting **out, size_t *n)
{
	struct listener l = {.pool = with ? with->pool : NULL, .key = with ? with->key : NULL};
	const struct yaml_sink sink = {setting_on_error, on_warning, &l};
	_cleanup_(config_freep) struct config *c = NULL;
	size_t count;
	_cleanup_free_ struct config_setting *all = settings_copy(s, but, &count);
	_cleanup_(config_founds_free) struct config_founds found = {0};
	int err;

	if (!all || state_found(s, &found))
		return log_err_r(ENOMEM, "settings");
	if (with)
		all[count++] = *with;
	err = config_parse_set(text, &found, all, count, &sink, &c);
	if (err)
		return err;
	*out = TAKE_PTR(all);
	*n = count;
	return 0;
}

const struct state_setting *find_setting(const struct state *s, const char *pool, const char *key)
{
	for (size_t i = 0; i < s->setting_count; i++)
		if (!strcmp(s->settings[i].pool, pool) && !strcmp(s->settings[i].key, key))
			return &s->settings[i];
	return NULL;
}

bool setting_pool(const struct state *s, const char *name)
{
	for (size_t i = 0; i < s->setting_count; i++)
		if (!strcmp(s->settings[i].pool, name))
			return true;
	return find_pool(s, name);
}

/* ---- the maps --------------------------------------------------------------------- */

static struct pintle_setting_key map_key(const char *pool, const char *key)
{
	struct pintle_setting_key k = {0};

	snprintf(k.pool, sizeof(k.pool), "%s", pool);
	snprintf(k.key, sizeof(k.key), "%s", key);
	return k;
}

static int setting_write(const struct maps *m, const struct pintle_setting_key *key,
			 const char *value, uint64_t since)
{
	struct pintle_setting v = {.set_ns = since};

	assert(m->writable && strlen(value) < sizeof(v.value));
	snprintf(v.value, sizeof(v.value), "%s", value);
	if (!bpf_map_update_elem(m->fd[MAP_settings], key, &v, BPF_ANY))
		return 0;
	if (errno == E2BIG) {
		log_error(
			"%d keys of all pools are set, and no more can be; `pintle reset` makes room",
			PINTLE_MAX_SETTINGS);
		return -E2BIG;
	}
	return log_err_r(errno, "cannot set %.*s", (int)sizeof(key->key), key->key);
}

int setting_take_back(const struct maps *m, const struct pintle_setting_key *key)
{
	assert(m->writable);
	if (bpf_map_delete_elem(m->fd[MAP_settings], key) && errno != ENOENT)
		return log_err_r(errno, "cannot take back %.*s", (int)sizeof(key->key), key->key);
	return 0;
}

/* The test's entry goes first: without it the override says nothing. */
static int trial_end(const struct maps *m, const struct state_pool *p, struct pintle_override *o)
{
	struct pintle_ref key = {p->id, p->generation};

	o->flags &= ~(__u32)PINTLE_OVERRIDE_TRIAL;
	if (bpf_map_delete_elem(m->fd[MAP_trials], &key) && errno != ENOENT)
		return log_err_r(errno, "cannot end the A/B test of %s", p->name);
	return 0;
}

int override_pool(const struct maps *m, const struct state_pool *p, uint32_t flag, uint32_t value,
		  bool configured)
{
	struct pintle_override o;
	int err = maps_value(m, MAP_overrides, p->id, &o);

	assert(m->writable);
	assert(flag == PINTLE_OVERRIDE_MODE || flag == PINTLE_OVERRIDE_REQUESTS ||
	       flag == PINTLE_OVERRIDE_TRIAL);
	if (err)
		return log_err_r(err, "cannot read what is set for %s", p->name);
	if (o.generation != p->generation)
		o = (struct pintle_override){.generation = p->generation};
	/* A value that the file has, too, needs no override: when the file changes, it holds. */
	o.flags = configured ? o.flags & ~flag : o.flags | flag;
	if (flag == PINTLE_OVERRIDE_MODE || (flag == PINTLE_OVERRIDE_TRIAL && configured))
		err = trial_end(m, p, &o);
	if (err)
		return err;
	if (flag == PINTLE_OVERRIDE_MODE) {
		o.mode = configured ? 0 : value;
	} else if (flag == PINTLE_OVERRIDE_REQUESTS) {
		o.requests = configured ? 0 : value;
	}
	o.since_ns = monotonic_ns();
	if (!o.flags)
		o = (struct pintle_override){0};
	if (bpf_map_update_elem(m->fd[MAP_overrides], &p->id, &o, BPF_ANY))
		return log_err_r(errno, "cannot set it for %s", p->name);
	return 0;
}

/* ---- waiting ---------------------------------------------------------------------- */

/* Whether the daemon's newest heartbeat or start is at most `within_ns` old. A daemon that takes
 * over pins sends no heartbeat in its first seconds; a daemon that ended a moment ago still looks
 * alive. */
static bool is_alive(const struct maps *m, uint64_t within_ns)
{
	struct pintle_node n = {0};

	return !maps_value(m, MAP_node, 0, &n) &&
	       (int64_t)(monotonic_ns() - MAX(n.heartbeat_ns, n.started_ns)) <= (int64_t)within_ns;
}

bool wait_for_daemon(const struct maps *m, bool alive, uint64_t limit_ns, await_fn done, void *arg)
{
	const struct timespec look = {.tv_nsec = LOOK_MS * (long)NSEC_PER_MSEC};
	uint64_t begin = monotonic_ns(), now = begin;

	while (!done(m, arg)) {
		if (!alive || now - begin >= limit_ns)
			return false;
		nanosleep(&look, NULL);
		now = monotonic_ns();
		alive = is_alive(m, BUSY_NS);
	}
	return true;
}

struct awaited {
	struct pintle_setting_key key;
	uint64_t set_ns; /* of the setting that is to be judged; 0: one that was taken back: the
			  * daemon deletes its verdict, or says there why it still holds */
	struct pintle_verdict verdict;
	bool gone;
};

static bool is_judged(const struct maps *m, void *arg)
{
	struct awaited *a = arg;

	a->gone = bpf_map_lookup_elem(m->fd[MAP_verdicts], &a->key, &a->verdict);
	if (a->set_ns)
		return !a->gone && a->verdict.set_ns == a->set_ns;
	return a->gone || (!a->verdict.refused && a->verdict.why[0]);
}

/* Returns "": the daemon has judged; another end of a sentence: it will when it starts; or NULL
 * after logging that it has not answered. */
static const char *wait_for_verdict(const struct maps *m, bool alive, struct awaited *a)
{
	if (wait_for_daemon(m, alive, VERDICT_WAIT_NS, is_judged, a))
		return "";
	if (!is_alive(m, STATE_HEARTBEAT_NS))
		return "; takes effect when pintled starts";
	log_error("pintled has not answered; its log may say why");
	return NULL;
}

const char *setting_wait_gone(const struct maps *m, bool alive,
			      const struct pintle_setting_key *key)
{
	struct awaited a = {.key = *key};
	const char *from = wait_for_verdict(m, alive, &a);
	char why[PINTLE_WHY_SIZE];

	if (!from || *from || a.gone)
		return from;
	state_text(why, sizeof(why), a.verdict.why, sizeof(a.verdict.why));
	log_error("pintled could not apply what the file says, and what was set still runs: %s",
		  why);
	return NULL;
}

/* ---- setting ---------------------------------------------------------------------- */

static const char until[] = ", until it is set again or `pintle reset`";

static bool setting_is_attached(const struct maps *m, void *arg)
{
	struct pintle_node n = {0};

	(void)arg;
	return !maps_value(m, MAP_node, 0, &n) && n.devices;
}

/* Returns the end of a sentence that says from when on `requests` holds: one-shot must be attached
 * where the requests arrive. */
static const char *requests_from(const struct maps *m, const struct state *s,
				 const struct state_pool *p, uint32_t requests)
{
	if (requests != PINTLE_REQUESTS_ONE_PER_CONNECTION ||
	    wait_for_daemon(m, s->daemon_alive, 3 * NSEC_PER_SEC, setting_is_attached, NULL))
		return "";
	if (!is_alive(m, STATE_HEARTBEAT_NS))
		return "; takes effect when pintled starts";
	return hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS)
		       ? "; pintled has not attached it, its log says why"
		       : "; on the nodes of its servers, none of which is here";
}

/* Sets mode or requests, which the kernel reads itself: it takes neither the daemon nor the
 * file. */
static int set_in_kernel(const struct maps *m, const struct state *s, const struct state_pool *p,
			 const char *key, uint32_t choice, const char *value)
{
	bool mode = !strcmp(key, "mode");
	bool configured = choice == (mode ? p->mode_configured : p->requests_configured);

	if (override_pool(m, p, mode ? PINTLE_OVERRIDE_MODE : PINTLE_OVERRIDE_REQUESTS, choice,
			  configured))
		return EXIT_FAILED;
	if (mode && choice == PINTLE_MODE_OFF)
		warn_of_refusals(s, p);
	printf("%s: %s %s%s%s\n", p->name, key, value, configured ? ", as configured" : until,
	       mode ? "" : requests_from(m, s, p, choice));
	if (mode && p->trial_runs)
		printf("%s: the A/B test is over; `pintle ab %s` shows what it measured\n", p->name,
		       p->name);
	return output_finish();
}

/* Sets the key as it was before, or takes it back, and waits until that runs again. */
static void setting_restore(const struct maps *m, const struct pintle_setting_key *key,
			    const struct state_setting *before)
{
	bool set = before && before->set;
	struct awaited a = {.key = *key, .set_ns = set ? before->since_ns : 0};
	int err = set ? setting_write(m, key, before->value, before->since_ns)
		      : setting_take_back(m, key);

	if (!err)
		wait_for_daemon(m, true, VERDICT_WAIT_NS, is_judged, &a);
}

static int set_by_daemon(const struct maps *m, const struct state *s,
			 const struct config_setting *with)
{
	const struct state_setting *before = find_setting(s, with->pool, with->key);
	struct awaited a = {.key = map_key(with->pool, with->key), .set_ns = monotonic_ns()};
	char why[PINTLE_WHY_SIZE];
	const char *from;

	if (setting_write(m, &a.key, with->value, a.set_ns))
		return EXIT_FAILED;
	from = wait_for_verdict(m, s->daemon_alive, &a);
	if (!from)
		return EXIT_FAILED;
	/* pintled may run by an older file than the one that was checked here, or fail to apply
	 * it. */
	if (!*from && a.verdict.refused) {
		state_text(why, sizeof(why), a.verdict.why, sizeof(a.verdict.why));
		setting_restore(m, &a.key, before);
		log_error("pintled refused it, and it is as it was before: %s", why);
		return EXIT_FAILED;
	}
	printf("%s: %s %s%s%s\n", with->pool, with->key, with->value, until, from);
	return output_finish();
}

/* Takes the setting back, because the file says the same: when the file changes, it holds. */
static int set_as_configured(const struct maps *m, const struct state *s,
			     const struct config_setting *with)
{
	struct pintle_setting_key key = map_key(with->pool, with->key);
	const char *from =
		setting_take_back(m, &key) ? NULL : setting_wait_gone(m, s->daemon_alive, &key);

	if (!from)
		return EXIT_FAILED;
	printf("%s: %s %s, as configured%s\n", with->pool, with->key, with->value, from);
	return output_finish();
}

/* Checks the value with the file and with what else is set, before anything is written. */
static int set_checked(const struct maps *m, const struct state *s, const struct yaml_key *k,
		       const struct config_setting *with)
{
	_cleanup_free_ struct config_setting *all = NULL;
	struct config_text text = {0};
	const struct config_setting *judged;
	bool runs;
	size_t n = 0;
	int err = settings_read_file(s, &text);

	if (!err)
		err = settings_judge(s, &text, find_setting(s, with->pool, with->key), with, &all,
				     &n);
	runs = !err && settings_file_runs(s, &text);
	free(text.text);
	if (err) {
		log_error(
			"nothing was set: it cannot be checked with the rest of the configuration");
		return EXIT_FAILED;
	}
	judged = &all[n - 1];
	assert(judged->pool == with->pool && judged->key == with->key);
	if (!judged->holds) {
		log_error("%s", judged->why);
		if (!runs)
			log_warn("%s, by which this was checked, is not what pintled read: it was "
				 "changed since, or pintled sees another file there",
				 s->node.config);
		return EXIT_USAGE;
	}
	/* The file's value needs no setting only if pintled runs by that file. */
	if (runs && config_value_same(k, with->value, judged->file))
		return set_as_configured(m, s, with);
	return set_by_daemon(m, s, with);
}

int setting_set(struct cli *cli, const char *pool, const char *name, const char *value)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	char why[PINTLE_WHY_SIZE] = "";
	const struct yaml_key *k = config_settable(name, why);
	const struct state_pool *p;
	uint32_t choice = 0;
	int status;

	if (k && strlen(value) >= PINTLE_VALUE_SIZE)
		snprintf(why, sizeof(why), "a value has less than %d bytes", PINTLE_VALUE_SIZE);
	if (!k || why[0] || !config_value_read(k, value, &choice, why)) {
		log_error("%s", why);
		return EXIT_USAGE;
	}
	status = open_state(cli, MAPS_WRITE, &m, &s);
	if (status)
		return status;
	p = find_pool(s, pool);
	if (!p)
		return EXIT_FAILED;
	if (config_set_in_kernel(k))
		return set_in_kernel(m, s, p, name, choice, value);
	return set_checked(m, s, k,
			   &(struct config_setting){.pool = p->name, .key = name, .value = value});
}
