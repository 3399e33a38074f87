/* SPDX-License-Identifier: Apache-2.0 */
#include "server_cgroups.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../net/cgroup2.h"
#include "../../base/log.h"
#include "../../maps/names.h"
#include "../../base/text.h"
#include "../../base/util.h"

struct pattern {
	const char *text; /* the configuration's */
	uint64_t id;
};

struct walk {
	struct pattern *patterns;
	size_t count;
	bool *matched; /* [depth][pattern], from the root to the cgroup that is visited */
	struct pintle_server_cgroup *rows;
	size_t row_count, room;
};

/* ---- the walk -------------------------------------------------------------------- */

/* Calls `each` for each pattern that the pool names. */
static void each_pattern(const struct config_pool *p, void (*each)(void *arg, const char *text),
			 void *arg)
{
	for (size_t i = 0; i < p->endpoint_count; i++)
		if (p->endpoints[i].cgroup)
			each(arg, p->endpoints[i].cgroup);
	for (size_t i = 0; i < p->class_count; i++)
		for (size_t j = 0; j < p->classes[i].rule_count; j++)
			if (p->classes[i].rules[j].cgroup)
				each(arg, p->classes[i].rules[j].cgroup);
	for (size_t i = 0; i < p->allow_count; i++)
		if (p->allowed[i].cgroup)
			each(arg, p->allowed[i].cgroup);
}

static void count_pattern(void *arg, const char *text)
{
	(void)text;
	++*(size_t *)arg;
}

static size_t count_patterns(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		each_pattern(&c->pools[i], count_pattern, &n);
	return n;
}

bool server_cgroups_wanted(const struct config *c)
{
	return count_patterns(c);
}

/* Those that have the same pattern share an entry. */
static void add_pattern(void *arg, const char *text)
{
	struct walk *w = arg;
	uint64_t id = client_id(text);

	for (size_t i = 0; i < w->count; i++)
		if (w->patterns[i].id == id)
			return;
	w->patterns[w->count++] = (struct pattern){text, id};
}

static int collect_patterns(struct walk *w, const struct config *c)
{
	w->patterns = calloc(count_patterns(c) + 1, sizeof(*w->patterns));
	if (!w->patterns)
		return -ENOMEM;
	for (size_t i = 0; i < c->pool_count; i++)
		each_pattern(&c->pools[i], add_pattern, w);
	w->matched = calloc(CGROUP2_MAX_DEPTH + 1, w->count + 1);
	return w->matched ? 0 : -ENOMEM;
}

static bool server_cgroups_add_row(struct walk *w, uint64_t cgroup, uint64_t pattern)
{
	if (w->row_count == PINTLE_MAX_SERVER_CGROUPS ||
	    !ROOM_FOR_ONE(w->rows, w->row_count, w->room, 64))
		return false;
	w->rows[w->row_count++] = (struct pintle_server_cgroup){cgroup, pattern};
	return true;
}

/* A cgroup below a matching cgroup matches, too. */
static bool server_cgroups_visit(void *arg, const struct cgroup2_visit *v)
{
	struct walk *w = arg;
	bool *here = w->matched + (size_t)v->depth * w->count, *above = here - w->count;

	assert(v->depth >= 0 && v->depth <= CGROUP2_MAX_DEPTH);
	for (size_t i = 0; i < w->count; i++) {
		here[i] = (v->depth && above[i]) || text_matches(w->patterns[i].text, v->path);
		if (here[i] && !server_cgroups_add_row(w, v->id, w->patterns[i].id))
			return false;
	}
	return true;
}

/* ---- the map --------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pintle_server_cgroup));
}

static bool row_wanted(const void *key, const void *arg)
{
	const struct walk *w = arg;

	return w->row_count && bsearch(key, w->rows, w->row_count, sizeof(*w->rows), by_bytes);
}

/* Rows that are gone are removed first, to make room. */
static int put_rows(const struct maps *m, const struct walk *w)
{
	const uint32_t one = 1;
	int err = 0;

	maps_prune(m, MAP_server_cgroups, row_wanted, w);
	for (size_t i = 0; !err && i < w->row_count; i++)
		err = maps_put(m, MAP_server_cgroups, &w->rows[i], &one);
	return err;
}

int server_cgroups_update(const struct maps *m, const struct config *c, const char *root,
			  const char *below)
{
	struct walk w = {0};
	int err = collect_patterns(&w, c);

	if (!err && w.count)
		err = cgroup2_walk(root, below, server_cgroups_visit, &w);
	if (err == -ECANCELED)
		err = log_err_r(ENOSPC,
				"more than %d cgroups match the patterns of endpoints and rules",
				PINTLE_MAX_SERVER_CGROUPS);
	else if (err)
		log_err_r(err, "cannot search %s for the cgroups of endpoints and rules", root);
	if (w.row_count)
		qsort(w.rows, w.row_count, sizeof(*w.rows), by_bytes);
	err = put_rows(m, &w) ?: err;
	free(w.patterns);
	free(w.matched);
	free(w.rows);
	return err;
}
