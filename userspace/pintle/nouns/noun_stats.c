/* SPDX-License-Identifier: Apache-2.0 */
/* noun_stats.c - decisions per pool and outcome, in mode shadow too; what one-shot did with first
 * segments; what the hand-off did with connections, found out about prompts, and did
 * with headers that came in pieces. */
#include <assert.h>

#include "../../maps/names.h"
#include "../output.h"

enum table { DECIDED, SHADOW, ONESHOT, HAND, PROMPT, HOLD, TABLE_COUNT };

struct stat_row {
	const struct state_pool *pool;
	enum table table;
	uint32_t which; /* of the table: enum pintle_outcome, for one */
};

/* The decisions of the rule and those of mode shadow are one row. */
static bool is_of_outcome(const struct stat_row *r)
{
	return r->table == DECIDED || r->table == SHADOW;
}

#define GET(name) GETTER(name, const struct stat_row *r, const void *arg)

GET(pool)
{
	return value_text(r->pool->name);
}

GET(outcome)
{
	return is_of_outcome(r) ? value_text(outcome_name(r->which)) : value_none();
}

GET(decisions)
{
	return is_of_outcome(r) ? value_count(r->pool->decisions[r->which]) : value_none();
}

GET(shadow)
{
	return is_of_outcome(r) ? value_count(r->pool->shadows[r->which]) : value_none();
}

GET(shadow_share)
{
	double all = (double)r->pool->shadows_total;

	return value_number(VALUE_SHARE, (double)r->pool->shadows[r->which] / all, all > 0);
}

GET(oneshot)
{
	return r->table == ONESHOT ? value_text(oneshot_name(r->which)) : value_none();
}

GET(segments)
{
	return r->table == ONESHOT ? value_count(r->pool->oneshots[r->which]) : value_none();
}

GET(hand)
{
	return r->table == HAND ? value_text(hand_name(r->which)) : value_none();
}

GET(connections)
{
	return r->table == HAND ? value_count(r->pool->hands[r->which]) : value_none();
}

GET(prompt)
{
	return r->table == PROMPT ? value_text(prompted_name(r->which)) : value_none();
}

GET(prompts)
{
	return r->table == PROMPT ? value_count(r->pool->prompts[r->which]) : value_none();
}

GET(hold)
{
	return r->table == HOLD ? value_text(hold_name(r->which)) : value_none();
}

GET(held)
{
	return r->table == HOLD ? value_count(r->pool->holds[r->which]) : value_none();
}

static const uint64_t *counts_of(const struct state_pool *p, enum table table)
{
	const uint64_t *const counts[] = {p->decisions, p->shadows, p->oneshots,
					  p->hands,     p->prompts, p->holds};

	return counts[table];
}

GET(share)
{
	const struct state_pool *p = r->pool;
	const uint64_t all[] = {
		p->decisions_total, p->decisions_total, p->oneshots_total, p->hands_total, 0, 0};
	uint64_t n = counts_of(p, r->table == SHADOW ? DECIDED : r->table)[r->which];

	return value_number(VALUE_SHARE, (double)n / (double)all[r->table], all[r->table] > 0);
}

static const char *(*const meanings[])(uint32_t which) = {
	outcome_help, outcome_help, oneshot_help, hand_help, prompted_help, hold_help,
};

GET(meaning)
{
	return value_text(meanings[r->table](r->which));
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "pool", .heading = "POOL", COLUMN(pool), .help = "text: name of the pool"},
	{.key = "outcome",
	 .heading = "OUTCOME",
	 COLUMN(outcome),
	 .help = "text: why connections went where they went; all outcomes are there; null: see "
		 "oneshot, hand, prompt and hold"},
	{.key = "decisions",
	 .heading = "DECISIONS",
	 .right = true,
	 COLUMN(decisions),
	 .help = "ever; they add up to the pool's decisions; null without outcome"},
	{.key = "shadow",
	 COLUMN(shadow),
	 .help = "ever, of the rule in mode shadow, which placed nothing; null without outcome"},
	{.key = "oneshot",
	 COLUMN(oneshot),
	 .help = "text: what one-shot did with the first segment of connections; all are there; "
		 "null: see outcome and hand"},
	{.key = "segments",
	 COLUMN(segments),
	 .help = "ever; they add up to the first segments seen, or, with `decide: request`, to the requests "
		 "handed over; null without oneshot"},
	{.key = "hand",
	 COLUMN(hand),
	 .help = "text: what the hand-off did with connections of a pool with `decide: request`; all "
		 "are there; null: see outcome and oneshot"},
	{.key = "connections", COLUMN(connections), .help = "ever; null without hand"},
	{.key = "prompt",
	 COLUMN(prompt),
	 .help = "text: what was found out about prompts of a pool with `stickiness.prefix`; all are "
		 "there; null: see outcome, oneshot and hand"},
	{.key = "prompts", COLUMN(prompts), .help = "ever; null without prompt"},
	{.key = "hold",
	 COLUMN(hold),
	 .help = "text: what the hand-off did with connections whose headers did not end, or whose "
		 "body was not there, in the first segment, and with their segments; all are "
		 "there; null: see the others"},
	{.key = "held", COLUMN(held), .help = "ever; null without hold"},
	{.key = "share",
	 .heading = "SHARE",
	 .right = true,
	 COLUMN(share),
	 .help = "of the pool's decisions, of its first segments, or of what the hand-off did, 0..1; "
		 "null: there are none, and with prompt and hold"},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns stats_columns = COLUMNS(columns);

/* Columns of mode shadow's table, which text prints below that of decisions. */
static const struct column shadow_columns[] = {
	{.heading = "POOL", COLUMN(pool)},
	{.heading = "THE RULE WOULD", COLUMN(outcome)},
	{.heading = "DECISIONS", .right = true, COLUMN(shadow)},
	{.heading = "SHARE", .right = true, COLUMN(shadow_share)},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns shadows = COLUMNS(shadow_columns);

/* Columns of one-shot's table, which text prints below these. */
static const struct column oneshot_columns[] = {
	{.heading = "POOL", COLUMN(pool)},
	{.heading = "FIRST SEGMENT", COLUMN(oneshot)},
	{.heading = "CONNECTIONS", .right = true, COLUMN(segments)},
	{.heading = "SHARE", .right = true, COLUMN(share)},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns oneshots = COLUMNS(oneshot_columns);

/* Columns of the hand-off's table, which text prints below these. */
static const struct column hand_columns[] = {
	{.heading = "POOL", COLUMN(pool)},
	{.heading = "HAND-OFF", COLUMN(hand)},
	{.heading = "CONNECTIONS", .right = true, COLUMN(connections)},
	{.heading = "SHARE", .right = true, COLUMN(share)},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns hands = COLUMNS(hand_columns);

/* Columns of the prompts' table, which text prints below these. */
static const struct column prompt_columns[] = {
	{.heading = "POOL", COLUMN(pool)},
	{.heading = "PROMPT", COLUMN(prompt)},
	{.heading = "COUNT", .right = true, COLUMN(prompts)},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns prompts = COLUMNS(prompt_columns);

/* Columns of the table of what was held, which text prints last. */
static const struct column hold_columns[] = {
	{.heading = "POOL", COLUMN(pool)},
	{.heading = "UNFINISHED HEADERS", COLUMN(hold)},
	{.heading = "COUNT", .right = true, COLUMN(held)},
	{.heading = "MEANING", .spare = 1, COLUMN(meaning)},
};
static const struct columns holds = COLUMNS(hold_columns);

/* The tables of text. */

static const struct {
	const struct columns *columns;
	uint32_t count;   /* of rows for each pool */
	const char *none; /* what to print without a row; NULL: nothing at all */
} tables[TABLE_COUNT] = {
	[DECIDED] = {&stats_columns, PINTLE_OUTCOME_COUNT, "no decisions yet"},
	[SHADOW] = {&shadows, PINTLE_OUTCOME_COUNT, NULL},
	[ONESHOT] = {&oneshots, PINTLE_ONESHOT_COUNT, NULL},
	[HAND] = {&hands, PINTLE_HAND_COUNT, NULL},
	[PROMPT] = {&prompts, PINTLE_PROMPTED_COUNT, NULL},
	[HOLD] = {&holds, PINTLE_HOLD_COUNT, NULL},
};

/* JSON has every outcome (`all`), text those that occurred. */
static size_t stat_rows_of(const struct state_pool *p, enum table table, bool all,
			   struct stat_row *rows)
{
	const uint64_t *counts = counts_of(p, table);
	size_t n = 0;

	for (uint32_t i = 0; i < tables[table].count; i++) {
		if (all || counts[i])
			rows[n++] = (struct stat_row){p, table, i};
	}
	return n;
}

/* The rows of one pool (`only`), or of all (NULL). `rows` has room for all rows of a table. */
static size_t stat_rows(const struct state *s, const struct state_pool *only, enum table table,
			bool all, struct stat_row *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < s->pool_count; i++)
		if (!only || only == &s->pools[i])
			n += stat_rows_of(&s->pools[i], table, all, rows + n);
	return n;
}

static int stats_print_text(const struct cli *cli, const struct state *s,
			    const struct state_pool *only, struct stat_row *rows)
{
	int status = 0;

	for (enum table t = 0; !status && t < TABLE_COUNT; t++) {
		size_t n = stat_rows(s, only, t, false, rows);

		if (!n && !tables[t].none)
			continue;
		if (t)
			putchar('\n');
		status = output_rows(cli, tables[t].columns, rows, n, sizeof(*rows), NULL,
				     tables[t].none);
	}
	return status;
}

static int run_stats(struct cli *cli)
{
	struct stat_row rows[PINTLE_MAX_POOLS *
			     (PINTLE_OUTCOME_COUNT + PINTLE_ONESHOT_COUNT + PINTLE_HAND_COUNT +
			      PINTLE_PROMPTED_COUNT + PINTLE_HOLD_COUNT)];
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_pool *only = NULL;
	int status = open_state(cli, MAPS_READ, &m, &s);
	size_t n;

	if (status)
		return status;
	if (cli->pool) {
		only = find_pool(s, cli->pool);
		if (!only)
			return EXIT_FAILED;
	}
	if (!cli->json)
		return stats_print_text(cli, s, only, rows);
	n = stat_rows(s, only, DECIDED, true, rows);
	n += stat_rows(s, only, ONESHOT, true, rows + n);
	n += stat_rows(s, only, HAND, true, rows + n);
	n += stat_rows(s, only, PROMPT, true, rows + n);
	n += stat_rows(s, only, HOLD, true, rows + n);
	assert(n <= ARRAY_SIZE(rows));
	return output_rows(cli, &stats_columns, rows, n, sizeof(*rows), NULL, NULL);
}

const struct command command_stats = {
	.name = "stats",
	.kind = NOUN,
	.arguments = "[--pool POOL]",
	.summary = "decisions per pool and outcome since the maps were made",
	.help = "Also what the rule would have decided in mode shadow, and what one-shot did with the\n"
		"first segments of connections, in pools with one request per connection, and the\n"
		"hand-off with connections, in pools with decide: request, and what it found out about\n"
		"prompts, with stickiness.prefix.",
	.run = run_stats,
	.columns = &stats_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
};
