/* SPDX-License-Identifier: Apache-2.0 */
/* noun_tenants.c - what each tenant has, and may have. */
#include "../base/log.h"
#include "output.h"

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
	{.key = "rate",
	 .heading = "RATE",
	 .right = true,
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
};
static const struct columns tenants_columns = COLUMNS(columns);

static int run_tenants(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_free_ struct state_tenant *all = NULL;
	size_t n = 0;
	int err, status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	err = state_tenants(m, s, &all, &n);
	if (err) {
		log_err_r(err, "cannot read the tenants");
		return EXIT_FAILED;
	}
	return output_rows(cli, &tenants_columns, all, n, sizeof(*all), s,
			   "no pool has tenants with quotas");
}

const struct command command_tenants = {
	.name = "tenants",
	.kind = NOUN,
	.arguments = "",
	.summary = "what each tenant of a pool with quotas has, and may have",
	.run = run_tenants,
	.columns = &tenants_columns,
	.options = OPTIONS_NOUN,
};
