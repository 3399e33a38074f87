/* SPDX-License-Identifier: Apache-2.0 */
/* verb_top.c - the live view, or one frame of it. */
#include <math.h>

#include "../../base/log.h"
#include "../output.h"
#include "top.h"

#define INTERVAL_NS NSEC_PER_SEC

static double heartbeat_age(const struct state *s)
{
	int64_t ns = (int64_t)(s->now_ns - s->node.heartbeat_ns);

	return (double)MAX(ns, 0) / (double)NSEC_PER_SEC;
}

/* Writes how old the newest and the oldest page are; "": no page was ever read. */
static void ages_text(const struct state *s, char *buf, size_t size)
{
	double newest = INFINITY, oldest = -1;
	char young[WORDS_SIZE], old[WORDS_SIZE];

	buf[0] = '\0';
	for (size_t i = 0; i < s->endpoint_count; i++) {
		if (!s->endpoints[i].has_age)
			continue;
		newest = MIN(newest, s->endpoints[i].age_seconds);
		oldest = MAX(oldest, s->endpoints[i].age_seconds);
	}
	if (oldest >= 0)
		snprintf(buf, size, "; pages are %s to %s old", age_text(newest, young),
			 age_text(oldest, old));
}

enum tone top_daemon_text(const struct top_data *d, char *buf, size_t size)
{
	const struct pintle_node *n = &d->s->node;
	char age[WORDS_SIZE], ages[128];

	ages_text(d->s, ages, sizeof(ages));
	age_text(heartbeat_age(d->s), age);
	if (d->s->daemon_alive)
		snprintf(buf, size, "pintled runs, pid %u%s", n->pid,
			 n->attached_ns ? "" : "; nothing is attached");
	else if (n->heartbeat_ns)
		snprintf(buf, size, "pintled does not run: last heartbeat %s ago%s", age, ages);
	else
		snprintf(buf, size, "pintled does not run%s", ages);
	return d->s->daemon_alive && n->attached_ns ? TONE_GOOD : TONE_BAD;
}

/* ---- one frame ----------------------------------------------------------------------- */

#define GET(name)    GETTER(name, const struct top_data *d, const void *arg)
#define COLUMN(name) .get = get_##name

static struct value rows_value(const struct top_data *d, enum top_list_id list,
			       const struct command *noun)
{
	return value_json(output_array(noun->columns, d->rows[list].first, d->rows[list].count,
				       top_lists[list].size, d->s));
}

GET(daemon_alive)
{
	return value_bool(d->s->daemon_alive);
}

GET(heartbeat_age_seconds)
{
	return value_number(VALUE_SECONDS, heartbeat_age(d->s), d->s->node.heartbeat_ns);
}

GET(pools)
{
	return rows_value(d, TOP_POOLS, &command_pools);
}

GET(endpoints)
{
	return rows_value(d, TOP_ENDPOINTS, &command_endpoints);
}

GET(sessions)
{
	return rows_value(d, TOP_SESSIONS, &command_sessions);
}

static const struct column columns[] = {
	{.key = "daemon_alive",
	 COLUMN(daemon_alive),
	 .help = "bool: its heartbeat is younger than 2 seconds"},
	{.key = "heartbeat_age_seconds",
	 COLUMN(heartbeat_age_seconds),
	 .help = "of that heartbeat; null: there never was one"},
	{.key = "pools",
	 COLUMN(pools),
	 .help = "what `pintle pools` prints, with the classes of each"},
	{.key = "endpoints", COLUMN(endpoints), .help = "what `pintle endpoints` prints"},
	{.key = "sessions", COLUMN(sessions), .help = "what `pintle sessions` prints"},
};
static const struct columns frame_columns = COLUMNS(columns);

static int frame_text(const struct cli *cli, const struct top_data *d)
{
	static const enum top_list_id lists[] = {TOP_POOLS, TOP_ENDPOINTS, TOP_CLASSES,
						 TOP_SESSIONS};
	char text[TOP_TEXT_SIZE];
	enum tone tone = top_daemon_text(d, text, sizeof(text));
	int status = 0;

	printf("%s%s%s\n", tone_begin(cli, tone), text, tone_end(cli, tone));
	for (size_t i = 0; !status && i < ARRAY_SIZE(lists); i++) {
		const struct top_rows *r = &d->rows[lists[i]];

		if (!r->count && lists[i] == TOP_CLASSES)
			continue;
		putchar('\n');
		status = output_rows(cli, top_columns(lists[i]), r->first, r->count,
				     top_lists[lists[i]].size, d->s, top_lists[lists[i]].none);
	}
	return status;
}

static int run_once(const struct cli *cli)
{
	_cleanup_(top_data_free) struct top_data d = {0};
	int status = top_data_read(cli, true, &d);

	if (status)
		return status;
	return cli->json ? output_json(columns_object(&frame_columns, &d, NULL))
			 : frame_text(cli, &d);
}

/* ---- the screen ------------------------------------------------------------------------ */

/* Finds the selected row again, wherever it is now; when it is gone, the row in its place is
 * selected. */
static void find_selected(const struct top *t, enum top_list_id list)
{
	struct top_place *p = (struct top_place *)&t->places[list];
	uint64_t (*identity)(const struct state *, const void *) = top_lists[list].identity;

	for (size_t i = 0; p->selected && i < p->shown; i++) {
		if (identity(t->data.s, top_row(&t->data, list, p->order[i])) == p->selected) {
			p->at = i;
			return;
		}
	}
	p->at = p->shown ? MIN(p->at, p->shown - 1) : 0;
	p->selected = p->shown ? identity(t->data.s, top_row(&t->data, list, p->order[p->at])) : 0;
}

void top_arrange(struct top *t)
{
	const struct top_view *v = &top_views[t->view];

	if (!t->data.s)
		return;
	/* The upper list is filtered, too, where that leaves something of it. */
	if (!top_order(&t->data, v->upper, t->filter, &t->places[v->upper]) ||
	    (!t->places[v->upper].shown &&
	     !top_order(&t->data, v->upper, "", &t->places[v->upper])) ||
	    !top_order(&t->data, v->lower, t->filter, &t->places[v->lower])) {
		snprintf(t->trouble, sizeof(t->trouble), "out of memory");
		top_data_free(&t->data);
		return;
	}
	find_selected(t, v->lower);
}

static void top_refresh(struct top *t)
{
	bool sessions = top_views[t->view].lower == TOP_SESSIONS;

	t->due = false;
	top_data_free(&t->data);
	log_keep(t->trouble, sizeof(t->trouble));
	if (!top_data_read(t->cli, sessions, &t->data))
		t->trouble[0] = '\0';
	log_keep(NULL, 0);
	if (t->data.s)
		top_trends_add(t->trends, &t->data, t->interval_ns);
	top_arrange(t);
}

static void top_loop(struct top *t)
{
	uint64_t next = 0;

	while (!t->stopped) {
		enum top_event event;
		int key = 0;

		if (t->due || (!t->paused && monotonic_ns() >= next)) {
			top_refresh(t);
			next = monotonic_ns() + t->interval_ns;
		}
		if (screen_takes())
			top_draw(t);
		event = screen_wait(t->paused ? 0 : next, &key);
		if (event == TOP_KEY)
			top_key(t, key);
		else if (event == TOP_RESIZED)
			for (size_t i = 0; i < TOP_LISTS; i++)
				memset(t->places[i].widths, 0, sizeof(t->places[i].widths));
		t->stopped = t->stopped || event == TOP_STOPPED;
	}
}

static void top_free(struct top *t)
{
	top_data_free(&t->data);
	for (size_t i = 0; i < TOP_LISTS; i++)
		free(t->places[i].order);
	top_trends_free(t->trends);
}

static int run_screen(const struct cli *cli)
{
	_cleanup_(top_free) struct top t = {
		.cli = cli, .interval_ns = cli->interval_ns ?: INTERVAL_NS, .due = true};
	_cleanup_(top_data_free) struct top_data first = {0};
	int status = top_data_read(cli, false, &first);

	/* What is wrong from the start is said as by any other command. */
	if (status)
		return status;
	t.trends = top_trends_new();
	if (!t.trends) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	for (enum top_list_id i = 0; i < TOP_LISTS; i++)
		t.places[i].sorted_by = top_columns(i)->count;
	status = screen_begin(&t);
	if (status)
		return status;
	top_loop(&t);
	screen_end();
	return EXIT_OK;
}

static int run_top(struct cli *cli)
{
	if (cli->json && !cli->once) {
		log_error("-o json is for --once; add it");
		return usage_error(cli);
	}
	if (cli->once && cli->interval_ns) {
		log_error("--once reads once; leave out --interval");
		return usage_error(cli);
	}
	return cli->once ? run_once(cli) : run_screen(cli);
}

static void help_keys(FILE *f)
{
	fprintf(f, "\nKeys:\n");
	for (size_t i = 0; i < top_key_help_count; i++)
		fprintf(f, "  %-10s  %s\n", top_key_helps[i].keys, top_key_helps[i].says);
}

const struct command command_top = {
	.name = "top",
	.kind = VERB,
	.arguments = "[--pool POOL] [--interval TIME] [--once [-o json]]",
	.summary = "watch pools, endpoints, classes and sessions on a full screen",
	.help = "Works without the daemon, and says how old the pages are. WAIT and RUN are the\n"
		"server's own counts; WAITING and ANSWER those of this node's requests; the other\n"
		"columns are those of `pintle endpoints`. A narrow terminal shows fewer columns. The\n"
		"bars on the right are the last minute as seen since top began. Watching takes the\n"
		"right to read the maps; draining needs root.",
	.more = help_keys,
	.run = run_top,
	.columns = &frame_columns,
	.options = OPTIONS_NOUN | OPTION_POOL | OPTION_LIVE,
};
