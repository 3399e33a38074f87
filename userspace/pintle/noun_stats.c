/* SPDX-License-Identifier: Apache-2.0 */
/* noun_stats.c - decisions per pool and outcome; what one-shot did with first segments. */
#include <assert.h>

#include "../maps/names.h"
#include "output.h"

struct stat_row {
	const struct state_pool *pool;
	bool oneshot;
	uint32_t which; /* enum pintle_oneshot, else enum pintle_outcome */
};

#define GET(name) GETTER(name, const struct stat_row *r, const void *arg)

GET(pool)
{
	return value_text(r->pool->name);
}

GET(outcome)
{
	return r->oneshot ? value_none() : value_text(outcome_name(r->which));
}

GET(decisions)
{
	return r->oneshot ? value_none() : value_count(r->pool->decisions[r->which]);
}

GET(oneshot)
{
	return r->oneshot ? value_text(oneshot_name(r->which)) : value_none();
}

GET(segments)
{
	return r->oneshot ? value_count(r->pool->oneshots[r->which]) : value_none();
}

GET(share)
{
	double all = (double)(r->oneshot ? r->pool->oneshots_total : r->pool->decisions_total);
	double n = (double)(r->oneshot ? r->pool->oneshots : r->pool->decisions)[r->which];

	return value_number(VALUE_SHARE, n / all, all > 0);
}

GET(meaning)
{
	return value_text(r->oneshot ? oneshot_help(r->which) : outcome_help(r->which));
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "pool", .heading = "POOL", COLUMN(pool), .help = "text: name of the pool"},
	{.key = "outcome",
	 .heading = "OUTCOME",
	 COLUMN(outcome),
	 .help = "text: why connections went where they went; all outcomes are there; null: see "
		 "oneshot"},
	{.key = "decisions",
	 .heading = "DECISIONS",
	 .right = true,
	 COLUMN(decisions),
	 .help = "ever; they add up to the pool's decisions; null without outcome"},
	{.key = "oneshot",
	 COLUMN(oneshot),
	 .help = "text: what one-shot did with the first segment of connections; all are there; "
		 "null with outcome"},
	{.key = "segments",
	 COLUMN(segments),
	 .help = "ever; they add up to the first segments seen; null with outcome"},
	{.key = "share",
	 .heading = "SHARE",
	 .right = true,
	 COLUMN(share),
	 .help = "of the pool's decisions, or of its first segments, 0..1; null: there are none"},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns stats_columns = COLUMNS(columns);

/* Columns of one-shot's table, which text prints below that of decisions. */
static const struct column oneshot_columns[] = {
	{.heading = "POOL", COLUMN(pool)},
	{.heading = "FIRST SEGMENT", COLUMN(oneshot)},
	{.heading = "CONNECTIONS", .right = true, COLUMN(segments)},
	{.heading = "SHARE", .right = true, COLUMN(share)},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns oneshots = COLUMNS(oneshot_columns);

/* JSON has every outcome (`all`), text those that occurred. */
static size_t stat_rows_of(const struct state_pool *p, bool oneshot, bool all,
			   struct stat_row *rows)
{
	const uint64_t *counts = oneshot ? p->oneshots : p->decisions;
	uint32_t count = oneshot ? PINTLE_ONESHOT_COUNT : PINTLE_OUTCOME_COUNT;
	size_t n = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (all || counts[i])
			rows[n++] = (struct stat_row){p, oneshot, i};
	}
	return n;
}

static int print_text(const struct cli *cli, const struct stat_row *rows, size_t decided,
		      size_t all)
{
	int status = output_rows(cli, &stats_columns, rows, decided, sizeof(*rows), NULL,
				 "no decisions yet");

	if (status || all == decided)
		return status;
	putchar('\n');
	return output_rows(cli, &oneshots, rows + decided, all - decided, sizeof(*rows), NULL,
			   NULL);
}

static int run_stats(struct cli *cli)
{
	struct stat_row rows[PINTLE_MAX_POOLS * (PINTLE_OUTCOME_COUNT + PINTLE_ONESHOT_COUNT)];
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_pool *only = NULL;
	size_t n = 0, decided = 0;
	int status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	if (cli->pool) {
		only = find_pool(s, cli->pool);
		if (!only)
			return EXIT_FAILED;
	}
	for (int oneshot = 0; oneshot < 2; oneshot++) {
		for (size_t i = 0; i < s->pool_count; i++)
			if (!only || only == &s->pools[i])
				n += stat_rows_of(&s->pools[i], oneshot, cli->json, rows + n);
		if (!oneshot)
			decided = n;
	}
	assert(n <= ARRAY_SIZE(rows));
	if (cli->json)
		return output_rows(cli, &stats_columns, rows, n, sizeof(*rows), NULL, NULL);
	return print_text(cli, rows, decided, n);
}

const struct command command_stats = {
	.name = "stats",
	.kind = NOUN,
	.arguments = "[--pool POOL]",
	.summary = "decisions per pool and outcome since the maps were made",
	.help = "Also what one-shot did with the first segments of connections, in pools with one\n"
		"request per connection.",
	.run = run_stats,
	.columns = &stats_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
};
