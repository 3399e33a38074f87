/* SPDX-License-Identifier: Apache-2.0 */
/* top_keys.c - what keys do in `pintle top`. */
#include <assert.h>
#include <ctype.h>
#include <curses.h>

#include "../../base/log.h"
#include "top.h"

#define ESCAPE 27

const struct top_view top_views[] = {
	{"endpoints", TOP_POOLS, TOP_ENDPOINTS},
	{"sessions", TOP_CLASSES, TOP_SESSIONS},
};
const size_t top_view_count = ARRAY_SIZE(top_views);

const struct top_key_help top_key_helps[] = {
	{"Tab", "the other view: pools and endpoints, classes and sessions"},
	{"Up Down", "select a row; also j and k, PgUp, PgDn, Home and End"},
	{"< >", "sort by the column before or behind; leftmost: not sorted"},
	{"r", "reverse that order"},
	{"/", "show only rows with a text; Enter keeps it, Esc shows all"},
	{"d", "drain the selected endpoint; asks twice"},
	{"u", "undrain it; asks twice"},
	{"t", "trend of the last minute: load, or median time to first token"},
	{"p, Space", "pause: read nothing; again: go on"},
	{"Ctrl-L", "draw the screen anew"},
	{"?", "these keys"},
	{"q, Ctrl-C", "quit"},
};
const size_t top_key_help_count = ARRAY_SIZE(top_key_helps);

static struct top_place *lower(struct top *t)
{
	return &t->places[top_views[t->view].lower];
}

static enum top_list_id lower_list(const struct top *t)
{
	return top_views[t->view].lower;
}

static void top_keys_say(struct top *t, const char *text)
{
	snprintf(t->message, sizeof(t->message), "%s", text);
}

/* ---- rows ---------------------------------------------------------------------------- */

/* Selects the row at `at`, or the nearest there is. */
static void select_at(struct top *t, int64_t at)
{
	struct top_place *p = lower(t);

	if (!p->shown)
		return;
	at = MAX(at, (int64_t)0);
	p->at = MIN((size_t)at, p->shown - 1);
	p->selected = top_lists[lower_list(t)].identity(
		t->data.s, top_row(&t->data, lower_list(t), p->order[p->at]));
}

static void select_other(struct top *t, int key)
{
	int64_t at = (int64_t)lower(t)->at, page = (int64_t)t->page;

	select_at(t, key == KEY_UP || key == 'k'     ? at - 1
		     : key == KEY_DOWN || key == 'j' ? at + 1
		     : key == KEY_PPAGE              ? at - page
		     : key == KEY_NPAGE              ? at + page
		     : key == KEY_HOME || key == 'g' ? 0
						     : INT32_MAX);
}

/* The column before or behind among those of the list; as many again as there are columns: not
 * sorted. */
static void sort_by(struct top *t, int key)
{
	struct top_place *p = lower(t);
	size_t n = top_columns(lower_list(t))->count + 1;

	p->sorted_by = (p->sorted_by + (key == '>' ? 1 : n - 1)) % n;
	top_arrange(t);
}

static void reverse(struct top *t, int key)
{
	(void)key;
	lower(t)->reversed = !lower(t)->reversed;
	top_arrange(t);
}

/* ---- the screen ------------------------------------------------------------------------- */

static void other_view(struct top *t, int key)
{
	(void)key;
	t->view = (t->view + 1) % top_view_count;
	t->due = true; /* sessions are read only while they are shown */
}

static void other_trend(struct top *t, int key)
{
	(void)key;
	t->trend = (t->trend + 1) % TREND_COUNT;
}

static void pause_or_go(struct top *t, int key)
{
	(void)key;
	t->paused = !t->paused;
	t->due = !t->paused;
}

static void draw_anew(struct top *t, int key)
{
	(void)t;
	(void)key;
	clearok(stdscr, true);
}

static void show_help(struct top *t, int key)
{
	(void)key;
	t->asking = ASK_HELP;
}

static void quit(struct top *t, int key)
{
	(void)key;
	t->stopped = true;
}

/* ---- the filter -------------------------------------------------------------------------- */

static void filter_ask(struct top *t, int key)
{
	(void)key;
	t->asking = ASK_FILTER;
}

/* From the first row, unless the selected one is still shown. */
static void filter_apply(struct top *t)
{
	lower(t)->at = 0;
	top_arrange(t);
}

static void filter_clear(struct top *t, int key)
{
	(void)key;
	t->filter[0] = '\0';
	filter_apply(t);
}

static void filter_key(struct top *t, int key)
{
	size_t n = strlen(t->filter);

	if (key == '\r' || key == '\n' || key == KEY_ENTER) {
		t->asking = ASK_NOTHING;
	} else if (key == ESCAPE) {
		t->asking = ASK_NOTHING;
		t->filter[0] = '\0';
	} else if (key == KEY_BACKSPACE || key == 127 || key == '\b') {
		t->filter[n ? n - 1 : 0] = '\0';
	} else if (key >= ' ' && key < 127 && n + 1 < sizeof(t->filter)) {
		t->filter[n] = (char)key;
		t->filter[n + 1] = '\0';
	}
	filter_apply(t);
}

/* ---- draining ------------------------------------------------------------------------------ */

static const struct state_endpoint *selected_endpoint(const struct top *t)
{
	const struct top_place *p = &t->places[TOP_ENDPOINTS];

	if (lower_list(t) != TOP_ENDPOINTS || !p->shown)
		return NULL;
	return top_row(&t->data, TOP_ENDPOINTS, p->order[p->at]);
}

static void drain_ask(struct top *t, int key)
{
	const struct state_endpoint *e = selected_endpoint(t);

	if (!e) {
		top_keys_say(t, "no endpoint is selected; Tab shows them");
		return;
	}
	t->drain = key == 'd';
	endpoint_name(t->data.s, e, t->name);
	if (e->drained == t->drain) {
		snprintf(t->message, sizeof(t->message), "%s %s", t->name,
			 t->drain ? "is drained already" : drain_still(t->data.s, e) ?: "was not drained");
		return;
	}
	/* Rows move as values change: what was asked of is kept. */
	t->id = e->id;
	t->generation = e->generation;
	t->asking = ASK_ONCE;
}

static const struct state_endpoint *asked_endpoint(const struct top *t, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE];

	for (size_t i = 0; s && i < s->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[i];

		if (e->id == t->id && e->generation == t->generation &&
		    !strcmp(endpoint_name(s, e, name), t->name))
			return e;
	}
	return NULL;
}

/* What follows, for the second question. */
static void consequence(struct top *t)
{
	const struct state_endpoint *e = asked_endpoint(t, t->data.s);
	const struct state_pool *p;

	t->message[0] = '\0';
	if (!e)
		return;
	p = &t->data.s->pools[e->pool];
	if (!t->drain)
		snprintf(t->message, sizeof(t->message), "it may be sent connections at once");
	else if (drain_leaves_none(t->data.s, e))
		snprintf(t->message, sizeof(t->message), "no other is ready: connections %s",
			 without_own_endpoints(t->data.s, p));
	else
		snprintf(t->message, sizeof(t->message), "%lld open connections continue",
			 (long long)e->in_flight);
}

/* Opens the maps for writing: who may look may not change. */
static void drain_now(struct top *t)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_endpoint *e;
	char said[TOP_TEXT_SIZE];
	int status;

	log_keep(said, sizeof(said));
	status = open_state(t->cli, MAPS_WRITE, &m, &s);
	e = asked_endpoint(t, s);
	if (!status && !e)
		log_error("%s is gone, or was made anew; nothing was changed", t->name);
	else if (!status && !drain_set(m, e, t->drain))
		snprintf(said, sizeof(said), "%s: %s", t->name,
			 t->drain ? "drained" : drain_still(s, e) ?: "takes connections again");
	log_keep(NULL, 0);
	top_keys_say(t, said);
	t->due = true;
}

static void drain_answer(struct top *t, int key)
{
	if (key != 'y' && key != 'Y') {
		t->asking = ASK_NOTHING;
		top_keys_say(t, "nothing was changed");
	} else if (t->asking == ASK_ONCE) {
		t->asking = ASK_TWICE;
		consequence(t);
	} else {
		t->asking = ASK_NOTHING;
		drain_now(t);
	}
}

/* ---- keys ---------------------------------------------------------------------------------- */

static const struct {
	int key;
	void (*does)(struct top *t, int key);
} keys[] = {
	{'\t', other_view},
	{KEY_BTAB, other_view},
	{KEY_UP, select_other},
	{KEY_DOWN, select_other},
	{'k', select_other},
	{'j', select_other},
	{KEY_PPAGE, select_other},
	{KEY_NPAGE, select_other},
	{KEY_HOME, select_other},
	{KEY_END, select_other},
	{'g', select_other},
	{'G', select_other},
	{'<', sort_by},
	{'>', sort_by},
	{'r', reverse},
	{'/', filter_ask},
	{ESCAPE, filter_clear},
	{'d', drain_ask},
	{'u', drain_ask},
	{'t', other_trend},
	{'p', pause_or_go},
	{' ', pause_or_go},
	{'L' & 31, draw_anew},
	{'?', show_help},
	{'h', show_help},
	{'q', quit},
};

void top_key(struct top *t, int key)
{
	switch (t->asking) {
	case ASK_FILTER:
		filter_key(t, key);
		return;
	case ASK_ONCE:
	case ASK_TWICE:
		drain_answer(t, key);
		return;
	case ASK_HELP:
		t->asking = ASK_NOTHING;
		return;
	case ASK_NOTHING:
		break;
	}
	t->message[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].key == key)
			keys[i].does(t, key);
}
