/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <limits.h>

#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/pin.h"
#include "hosts.h"
#include "../attach/kinds.h"
#include "policies.h"

/* When a key is deleted during a walk, the walk begins again: so its steps are limited. */
#define MAX_STEPS (4 * PINTLE_MAX_VERDICTS)

#define MAX_TOLD 20 /* lines at once */

struct row {
	struct pintle_setting_key key;
	struct pintle_setting setting;
	bool text;                      /* pool, key and value are printable and end in NUL */
	bool runs;                      /* the current configuration has it */
	char left_out[PINTLE_WHY_SIZE]; /* why it could not be applied; "": it may be tried */
	struct config_setting judged;
};

struct settings {
	struct config_text text, next; /* current; a reload's, until settings_done() */
	int fd;                        /* of the map, before the maps are open; -1 */
	const struct maps *m;
	struct config_founds found;
	struct hosts *hosts; /* NULL: not known yet */
	uint64_t refused; /* hash of the found pools that did not hold, and why, as logged last */
	struct row *rows; /* the oldest first */
	size_t count;
	uint64_t digest;   /* of the map's contents, when the rows were read */
	uint64_t asked_ns; /* newest request to reload that was seen */
	uint64_t begun_ns; /* newest request that had been seen when a reload was begun */
	bool reloading;    /* the configuration that was made last is a reload's */
	bool again;        /* rows were read, and not judged */
	int told;          /* lines logged since judge_rows() began */
};

/* ---- the map --------------------------------------------------------------------- */

static int map_of(const struct settings *s)
{
	return s->m ? s->m->fd[MAP_settings] : s->fd;
}

static bool is_reload(const struct pintle_setting_key *key)
{
	static const struct pintle_setting_key reload = {.key = PINTLE_SETTING_RELOAD};

	return !memcmp(key, &reload, sizeof(reload));
}

/* Whether `text` ends in a NUL (`padded`: and holds nothing but NULs behind it), is not empty, and
 * has no character that a terminal would obey. */
static bool settings_is_text(const char *text, size_t size, bool padded)
{
	size_t length = strnlen(text, size);

	for (size_t i = 0; i < length; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	for (size_t i = length; padded && i < size; i++)
		if (text[i])
			return false;
	return length && length < size;
}

static bool is_text_key(const struct pintle_setting_key *key)
{
	return settings_is_text(key->pool, sizeof(key->pool), true) &&
	       settings_is_text(key->key, sizeof(key->key), true);
}

static bool row_is_text(const struct row *r)
{
	return is_text_key(&r->key) &&
	       settings_is_text(r->setting.value, sizeof(r->setting.value), false);
}

typedef int (*setting_fn)(struct settings *s, const struct pintle_setting_key *key,
			  const struct pintle_setting *setting, void *arg);

static int each_setting(struct settings *s, setting_fn each, void *arg)
{
	struct pintle_setting_key key, *previous = NULL;
	struct pintle_setting setting;
	int fd = map_of(s), err = 0;

	for (int i = 0; !err && i < MAX_STEPS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		previous = &key;
		if (!bpf_map_lookup_elem(fd, &key, &setting))
			err = each(s, &key, &setting, arg);
	}
	return err;
}

/* Sums the rows' hashes, because the order of a hash map's keys may change. */
static int digest_one(struct settings *s, const struct pintle_setting_key *key,
		      const struct pintle_setting *setting, void *arg)
{
	uint64_t *digest = arg;

	if (is_reload(key))
		s->asked_ns = setting->set_ns;
	else
		*digest += hash_bytes(hash_bytes(HASH_START, key, sizeof(*key)), setting,
				      sizeof(*setting));
	return 0;
}

unsigned int settings_look(struct settings *s)
{
	uint64_t digest = 0;

	each_setting(s, digest_one, &digest);
	return (digest != s->digest || s->again ? SETTINGS_CHANGED : 0U) |
	       (s->asked_ns != s->begun_ns ? SETTINGS_RELOAD : 0U);
}

/* ---- rows ------------------------------------------------------------------------ */

static struct row *settings_find_row(struct row *rows, size_t n,
				     const struct pintle_setting_key *key)
{
	for (size_t i = 0; i < n; i++)
		if (!memcmp(&rows[i].key, key, sizeof(*key)))
			return &rows[i];
	return NULL;
}

struct reading {
	struct row *rows;
	size_t n;
	uint64_t digest;
};

static int settings_read_one(struct settings *s, const struct pintle_setting_key *key,
			     const struct pintle_setting *setting, void *arg)
{
	struct reading *r = arg;
	struct row *row;
	const struct row *old = settings_find_row(s->rows, s->count, key);

	digest_one(s, key, setting, &r->digest);
	if (is_reload(key) || settings_find_row(r->rows, r->n, key))
		return 0;
	row = reallocarray(r->rows, r->n + 1, sizeof(*row));
	if (!row)
		return -ENOMEM;
	r->rows = row;
	row = &r->rows[r->n++];
	*row = (struct row){.key = *key, .setting = *setting};
	row->text = row_is_text(row);
	if (old && !memcmp(&old->setting, setting, sizeof(*setting))) {
		row->runs = old->runs;
		memcpy(row->left_out, old->left_out, sizeof(row->left_out));
	}
	return 0;
}

static int by_age(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->setting.set_ns != b->setting.set_ns)
		return a->setting.set_ns < b->setting.set_ns ? -1 : 1;
	return memcmp(&a->key, &b->key, sizeof(a->key));
}

static int read_rows(struct settings *s)
{
	struct reading r = {0};
	int err = each_setting(s, settings_read_one, &r);

	if (err) {
		free(r.rows);
		return err;
	}
	if (r.n)
		qsort(r.rows, r.n, sizeof(*r.rows), by_age);
	free(s->rows);
	s->rows = r.rows;
	s->count = r.n;
	s->digest = r.digest;
	return 0;
}

/* ---- with the file --------------------------------------------------------------- */

static void row_refuse(struct row *r, const char *why)
{
	r->judged.holds = false;
	snprintf(r->judged.why, sizeof(r->judged.why), "%s", why);
}

/* Whether to try the setting with the file: not if it cannot hold whatever the file says. */
static bool may_hold(struct row *r)
{
	if (!r->text)
		row_refuse(r, "its text does not end; `pintle reset` removes it");
	else if (r->left_out[0])
		row_refuse(r, r->left_out);
	return r->text && !r->left_out[0];
}

static uint64_t hash_refused(const struct config_founds *found)
{
	uint64_t hash = HASH_START;

	for (size_t i = 0; i < found->count; i++) {
		const struct config_found *f = &found->all[i];

		if (f->holds)
			continue;
		hash = hash_bytes(hash, f->name, strlen(f->name));
		hash = hash_bytes(hash, f->why, strlen(f->why));
	}
	return hash;
}

/* While pods churn, the same pools are refused again and again. */
static void settings_tell_found(struct settings *s)
{
	uint64_t hash = hash_refused(&s->found);
	int told = 0;

	for (size_t i = 0; hash != s->refused && i < s->found.count; i++) {
		const struct config_found *f = &s->found.all[i];

		if (!f->holds && told++ < MAX_TOLD)
			log_warn("pool %s is left to kube-proxy: %s", f->name, f->why);
	}
	s->refused = hash;
}

/* Adds the addresses of hosts; without memory for them there is no configuration. */
static int add_addresses(struct settings *s, struct config **c)
{
	size_t n;
	const struct config_answer *answers = hosts_answers(s->hosts, &n);
	int err = config_hosts_expand(*c, answers, n);

	if (!err)
		return 0;
	config_free(TAKE_PTR(*c));
	return log_err_r(err, "addresses of hosts");
}

static int settings_parse(struct settings *s, const struct config_text *text,
			  const struct yaml_sink *sink, struct config **c)
{
	_cleanup_free_ struct config_setting *judged = calloc(s->count + 1, sizeof(*judged));
	size_t n = 0, at = 0;
	int err;

	if (!judged)
		return log_err_r(ENOMEM, "settings");
	for (size_t i = 0; i < s->count; i++) {
		struct row *r = &s->rows[i];

		r->judged = (struct config_setting){0};
		if (may_hold(r))
			judged[n++] = (struct config_setting){
				.pool = r->key.pool,
				.key = r->key.key,
				.value = r->setting.value,
			};
	}
	err = config_parse_set(text, &s->found, judged, n, sink, c);
	for (size_t i = 0; !err && i < s->count; i++)
		if (s->rows[i].text && !s->rows[i].left_out[0])
			s->rows[i].judged = judged[at++];
	if (!err)
		settings_tell_found(s);
	return err || !s->hosts ? err : add_addresses(s, c);
}

static void ignore_error(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	(void)file;
	(void)line;
	(void)column;
	(void)message;
}

/* Warnings about the file itself, which have a line, were logged when the file was read. */
static void warn_of_setting(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	(void)column;
	if (!line)
		log_warn("%s: %s", file, message);
}

int settings_configure(struct settings *s, struct config **c)
{
	static const struct yaml_sink sink = {.error = ignore_error, .warning = warn_of_setting};
	int err = read_rows(s);

	err = err ? log_err_r(err, "settings") : settings_parse(s, &s->text, &sink, c);
	s->again = err;
	return err;
}

static void drop_next(struct settings *s)
{
	free(s->next.text);
	s->next = (struct config_text){0};
}

int settings_reload(struct settings *s, const struct yaml_sink *sink, struct config **c)
{
	int err;

	s->begun_ns = s->asked_ns;
	s->reloading = true;
	drop_next(s);
	err = config_read(s->text.name, sink, &s->next);
	if (!err)
		err = read_rows(s);
	return err ?: settings_parse(s, &s->next, sink, c);
}

bool settings_leave_out(struct settings *s, const char *why)
{
	bool any = false;

	for (size_t i = 0; i < s->count; i++) {
		struct row *r = &s->rows[i];

		if (!r->judged.holds || r->runs)
			continue;
		snprintf(r->left_out, sizeof(r->left_out), "%s",
			 why[0] ? why : "it could not be applied; pintled's log says why");
		any = true;
	}
	return any;
}

/* ---- verdicts -------------------------------------------------------------------- */

/* Returns whether the verdict has changed. */
static bool put_verdict(const struct settings *s, const struct pintle_setting_key *key,
			struct pintle_verdict *v)
{
	struct pintle_verdict there;
	bool known = !bpf_map_lookup_elem(s->m->fd[MAP_verdicts], key, &there);

	v->judged_ns = known ? there.judged_ns : 0;
	if (known && !memcmp(&there, v, sizeof(there)))
		return false;
	v->judged_ns = monotonic_ns();
	if (bpf_map_update_elem(s->m->fd[MAP_verdicts], key, v, BPF_ANY))
		log_err_r(errno, "failed to write to map verdicts");
	return true;
}

/* An operator who sets a thousand keys must not bury the rest of the log. */
static void tell_row(struct settings *s, const struct row *r)
{
	const struct config_setting *j = &r->judged;

	if (s->told++ >= MAX_TOLD) {
		if (s->told == MAX_TOLD + 1)
			log_warn(
				"more settings changed than are shown here; `pintle diff` has all of them");
	} else if (!r->text) {
		log_warn("a setting holds no text; `pintle reset` removes it");
	} else if (r->runs) {
		log_info("%s: %s is set to %s; the file says %s", r->key.pool, r->key.key,
			 r->setting.value, j->file);
	} else {
		log_warn("%s: %s is set to %s, which does not hold: %s", r->key.pool, r->key.key,
			 r->setting.value, j->why);
	}
}

static void judge_row(struct settings *s, struct row *r, const char *why)
{
	struct pintle_verdict v = {.set_ns = r->setting.set_ns};
	struct config_setting *j = &r->judged;
	const struct yaml_key *k;

	/* The configuration was not applied: a setting that would be new in it, or would no longer
	 * hold, stays as it was. */
	if (why && j->holds != r->runs)
		row_refuse(r, why);
	else
		r->runs = j->holds;
	v.refused = !r->runs;
	k = r->runs ? config_settable(r->key.key, v.why) : NULL;
	snprintf(v.runs, sizeof(v.runs), "%s", r->runs ? r->setting.value : j->file);
	/* Where the file says "300s", a setting "5m" makes no difference. */
	snprintf(v.file, sizeof(v.file), "%s",
		 k && config_value_same(k, r->setting.value, j->file) ? v.runs : j->file);
	snprintf(v.why, sizeof(v.why), "%s", r->runs ? "" : j->why);
	if (put_verdict(s, &r->key, &v))
		tell_row(s, r);
}

/* The key was reset, and the file's value could not be applied: the value that was set still
 * holds. */
static void keep_verdict(const struct settings *s, const struct pintle_setting_key *key,
			 const char *why)
{
	struct pintle_verdict v;

	if (bpf_map_lookup_elem(s->m->fd[MAP_verdicts], key, &v) || v.refused)
		return;
	snprintf(v.why, sizeof(v.why), "%s", why);
	put_verdict(s, key, &v);
}

/* Removes the verdicts of keys that are no longer set. */
static void prune_verdicts(struct settings *s, const char *why)
{
	struct pintle_setting_key key, kept, *previous = NULL;
	int fd = s->m->fd[MAP_verdicts];

	for (int i = 0; i < MAX_STEPS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		bool set = is_reload(&key) || settings_find_row(s->rows, s->count, &key);

		if (set || why) {
			kept = key;
			previous = &kept;
			if (!set)
				keep_verdict(s, &key, why);
			continue;
		}
		bpf_map_delete_elem(fd, &key);
		if (is_text_key(&key) && s->told++ < MAX_TOLD)
			log_info("%s: %s is as the file says", key.pool, key.key);
	}
}

static void judge_rows(struct settings *s, const char *why)
{
	s->told = 0;
	for (size_t i = 0; i < s->count; i++)
		judge_row(s, &s->rows[i], why);
	prune_verdicts(s, why);
}

/* A reload's verdict is written each time, because every caller of `pintle reload` waits for a new
 * one. */
static void judge_reload(struct settings *s, const char *why)
{
	static const struct pintle_setting_key key = {.key = PINTLE_SETTING_RELOAD};
	struct pintle_verdict v = {
		.set_ns = s->begun_ns,
		.judged_ns = monotonic_ns(),
		.refused = why != NULL,
		.file_hash = hash_bytes(HASH_START, s->text.text, s->text.size),
	};

	snprintf(v.why, sizeof(v.why), "%s", why ? why : "");
	if (bpf_map_update_elem(s->m->fd[MAP_verdicts], &key, &v, BPF_ANY))
		log_err_r(errno, "failed to write to map verdicts");
}

void settings_done(struct settings *s, const char *why)
{
	bool reloaded = s->reloading && !why;

	assert(s->m); /* settings_use() was called */
	if (reloaded && s->next.text) {
		free(s->text.text);
		s->text = s->next;
		s->next = (struct config_text){0};
	}
	drop_next(s);
	/* After a reload that failed, settings are judged again by the text that stays. */
	s->again = s->reloading && why;
	if (!s->again)
		judge_rows(s, why);
	if (!why)
		policies_put(s->m, &s->found);
	if (s->reloading)
		judge_reload(s, why);
	s->reloading = false;
}

/* ---- life ------------------------------------------------------------------------ */

/* Reads the pinned settings before the maps are opened, because settings, too, say which programs
 * are loaded and attached. */
static int settings_peek(struct settings *s, const char *bpffs)
{
	char dir[PATH_MAX];

	maps_dir(bpffs, dir, sizeof(dir));
	/* What another build pinned is carried over first. */
	if (map_kinds_differ(dir))
		return 0;
	s->fd = pin_open(dir, map_names[MAP_settings], 0);
	return s->fd < 0 ? 0 : read_rows(s);
}

int settings_load(const char *path, const struct yaml_sink *sink, struct settings **out,
		  struct config **c)
{
	struct settings *s = calloc(1, sizeof(*s));
	struct config *file = NULL;
	int err = s ? 0 : log_err_r(ENOMEM, "settings");

	if (err)
		return err;
	s->fd = -1;
	s->refused = HASH_START;
	s->reloading = true;
	err = config_read(path, sink, &s->text);
	if (!err)
		err = config_parse(path, s->text.text, s->text.size, sink, &file);
	if (!err)
		err = settings_peek(s, file->bpffs);
	if (!err && s->count) {
		config_free(TAKE_PTR(file));
		err = settings_configure(s, &file);
	}
	if (err) {
		config_free(file);
		settings_free(s);
		return err;
	}
	*out = s;
	*c = file;
	return 0;
}

void settings_use(struct settings *s, const struct maps *m)
{
	s->m = m;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	settings_look(s);
	s->begun_ns = s->asked_ns; /* the file was read just now */
}

const struct config_founds *settings_found(const struct settings *s)
{
	return &s->found;
}

void settings_find(struct settings *s, struct config_founds *found)
{
	config_founds_free(&s->found);
	s->found = *found;
	*found = (struct config_founds){0};
}

void settings_resolve(struct settings *s, struct hosts *hosts)
{
	s->hosts = hosts;
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	config_founds_free(&s->found);
	if (s->fd >= 0)
		close(s->fd);
	drop_next(s);
	free(s->text.text);
	free(s->rows);
	free(s);
}
