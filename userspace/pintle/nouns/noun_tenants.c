/* SPDX-License-Identifier: Apache-2.0 */
/* noun_tenants.c - what each tenant has, and may have. */
#include "../../base/log.h"
#include "../output.h"

#define GET(name) GETTER(name, const struct state_tenant *t, const struct state *s)

GET(pool)
{
	return value_text(s->pools[t->pool].name);
}

GET(tenant)
{
	return value_text(t->text);
}

GET(in_flight)
{
	return value_count(t->in_flight);
}

GET(connections)
{
	return t->has_quota && t->quota.connections ? value_count(t->quota.connections)
						    : value_none();
}

GET(rate)
{
	return value_number(VALUE_NUMBER, 1e9 / (double)MAX(t->quota.interval_ns, (uint64_t)1),
			    t->has_quota && t->quota.interval_ns);
}

/* In the largest unit that makes it a number of 1 or more: one an hour is no 0.0 a second. */
GET(rate_text)
{
	static const struct {
		double seconds;
		char unit;
	} units[] = {{1, 's'}, {60, 'm'}, {3600, 'h'}};
	double each = (double)t->quota.interval_ns / 1e9;
	char text[32];
	size_t i = 0;

	if (!t->has_quota || !t->quota.interval_ns)
		return value_none();
	while (i + 1 < ARRAY_SIZE(units) && each > units[i].seconds * 1.000001)
		i++;
	snprintf(text, sizeof(text), "%.4g/%c", units[i].seconds / each, units[i].unit);
	return value_text(text);
}

GET(burst)
{
	return t->has_quota && t->quota.interval_ns ? value_count(t->quota.burst) : value_none();
}

GET(opened)
{
	return value_count(t->opened);
}

GET(refused)
{
	struct value v = value_count(t->refused);

	v.tone = t->refused ? TONE_WARN : TONE_PLAIN;
	return v;
}

GET(answers)
{
	return t->minute.looked_ns ? value_count(t->minute.answers) : value_none();
}

GET(first_token_p50)
{
	return value_number(VALUE_QUANTILE, t->minute.p50_us / 1e6, t->minute.p50_us);
}

GET(first_token_p95)
{
	return value_number(VALUE_QUANTILE, t->minute.p95_us / 1e6, t->minute.p95_us);
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "pool", .heading = "POOL", COLUMN(pool), .help = "text: name of the pool"},
	{.key = "tenant",
	 .heading = "TENANT",
	 COLUMN(tenant),
	 .help = "text: as a session is called; other: the sums of those without an entry"},
	{.key = "in_flight",
	 .heading = "IN-FLIGHT",
	 .right = true,
	 COLUMN(in_flight),
	 .help = "connections in flight"},
	{.key = "connections",
	 .heading = "MOST",
	 .right = true,
	 COLUMN(connections),
	 .help = "how many it may have; null: any number"},
	{.heading = "RATE", .right = true, COLUMN(rate_text)},
	{.key = "rate",
	 COLUMN(rate),
	 .help = "new connections a second that it may make; null: any number"},
	{.key = "burst",
	 .heading = "BURST",
	 .right = true,
	 COLUMN(burst),
	 .help = "how many of these at once; null: any number"},
	{.key = "opened",
	 .heading = "OPENED",
	 .right = true,
	 COLUMN(opened),
	 .help = "connections ever, as far as the entry goes back"},
	{.key = "refused",
	 .heading = "OVER",
	 .right = true,
	 COLUMN(refused),
	 .help = "connections that its quota did not let in, likewise"},
	{.key = "first_tokens_last_minute",
	 COLUMN(answers),
	 .help = "answers of the last minute whose first token was seen; null: none yet, or not "
		 "followed"},
	{.key = "first_token_p50_seconds",
	 .heading = "TTFT50",
	 .right = true,
	 COLUMN(first_token_p50),
	 .help = "median of the times from their requests' last byte to it; null: none"},
	{.key = "first_token_p95_seconds",
	 .heading = "TTFT95",
	 .right = true,
	 COLUMN(first_token_p95),
	 .help = "95th percentile of these times"},
};
static const struct columns tenants_columns = COLUMNS(columns);

/* Leaves those of one pool, and returns how many they are. */
static size_t tenants_keep(struct state_tenant *all, size_t n, uint32_t pool)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (all[i].pool == pool)
			all[kept++] = all[i];
	return kept;
}

static int run_tenants(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_free_ struct state_tenant *all = NULL;
	const struct state_pool *only = NULL;
	size_t n = 0;
	int err, status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	if (cli->pool) {
		only = find_pool(s, cli->pool);
		if (!only)
			return EXIT_FAILED;
	}
	err = state_tenants(m, s, &all, &n);
	if (err) {
		log_err_r(err, "cannot read the tenants");
		return EXIT_FAILED;
	}
	if (only)
		n = tenants_keep(all, n, (uint32_t)(only - s->pools));
	return output_rows(cli, &tenants_columns, all, n, sizeof(*all), s,
			   only ? "the pool has no tenants with quotas"
				: "no pool has tenants with quotas");
}

const struct command command_tenants = {
	.name = "tenants",
	.kind = NOUN,
	.arguments = "[--pool POOL]",
	.summary = "the tenants of pools with quotas: what each has, and may have",
	.run = run_tenants,
	.columns = &tenants_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
};
