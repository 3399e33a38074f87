/* SPDX-License-Identifier: Apache-2.0 */
/* noun_stats.c - decisions per pool and outcome. */
#include "../common/names.h"
#include "output.h"

struct stat_row {
	const struct state_pool *pool;
	uint32_t outcome;
};

#define GET(name) GETTER(name, const struct stat_row *r, const void *arg)

GET(pool)
{
	return value_text(r->pool->name);
}

GET(outcome)
{
	return value_text(outcome_name(r->outcome));
}

GET(decisions)
{
	return value_count(r->pool->decisions[r->outcome]);
}

GET(share)
{
	double all = (double)r->pool->decisions_total;

	return value_number(VALUE_SHARE, (double)r->pool->decisions[r->outcome] / all, all > 0);
}

GET(meaning)
{
	return value_text(outcome_help(r->outcome));
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "pool", .heading = "POOL", COLUMN(pool), .help = "text: name of the pool"},
	{.key = "outcome",
	 .heading = "OUTCOME",
	 COLUMN(outcome),
	 .help = "text: why connections went where they went; all outcomes are there"},
	{.key = "decisions",
	 .heading = "DECISIONS",
	 .right = true,
	 COLUMN(decisions),
	 .help = "ever; they add up to the pool's decisions"},
	{.key = "share",
	 .heading = "SHARE",
	 .right = true,
	 COLUMN(share),
	 .help = "of the pool's decisions, 0..1; null: there are none"},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
const struct columns stats_columns = COLUMNS(columns);

/* A program wants every outcome, a person those that happened. */
static size_t rows_of(const struct state_pool *p, bool all, struct stat_row *rows)
{
	size_t n = 0;

	for (uint32_t outcome = 0; outcome < PINTLE_OUTCOME_COUNT; outcome++) {
		if (all || p->decisions[outcome])
			rows[n++] = (struct stat_row){p, outcome};
	}
	return n;
}

int run_stats(struct cli *cli)
{
	struct stat_row rows[PINTLE_MAX_POOLS * PINTLE_OUTCOME_COUNT];
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_pool *only = NULL;
	size_t n = 0;
	int status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	if (cli->pool) {
		only = find_pool(s, cli->pool);
		if (!only)
			return EXIT_FAILED;
	}
	for (size_t i = 0; i < s->pool_count; i++) {
		if (!only || only == &s->pools[i])
			n += rows_of(&s->pools[i], cli->json, rows + n);
	}
	return output_rows(cli, &stats_columns, rows, n, sizeof(*rows), NULL, "no decisions yet");
}
