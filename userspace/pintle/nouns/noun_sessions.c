/* SPDX-License-Identifier: Apache-2.0 */
/* noun_sessions.c - which session is bound to which endpoint, and which class it was given. */
#include "../../base/log.h"
#include "../output.h"

#define GET(name) GETTER(name, const struct state_session *b, const struct state *s)

GET(session)
{
	return value_text(b->text);
}

GET(pod)
{
	return b->pod[0] ? value_text(b->pod) : value_none();
}

GET(pool)
{
	return value_text(s->pools[b->pool].name);
}

GET(endpoint)
{
	return b->bound ? value_text(s->endpoints[b->endpoint].name) : value_none();
}

GET(endpoint_text)
{
	char buf[ENDPOINT_NAME_SIZE];

	if (!b->bound)
		return value_none();
	return value_text(endpoint_name(s, &s->endpoints[b->endpoint], buf));
}

GET(age_seconds)
{
	return value_number(VALUE_SECONDS, b->age_seconds, b->bound);
}

GET(idle_seconds)
{
	return value_number(VALUE_SECONDS, b->idle_seconds, b->bound);
}

GET(class)
{
	return b->class.by ? value_text(b->class.name) : value_none();
}

GET(class_by)
{
	return b->class.by ? value_text(state_giver_name(b->class.by)) : value_none();
}

GET(class_why)
{
	return b->class.why[0] ? value_text(b->class.why) : value_none();
}

GET(class_known)
{
	return b->class.by ? value_bool(b->class.known) : value_none();
}

GET(class_seconds)
{
	return value_number(VALUE_SECONDS, b->class_seconds, b->class.by);
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "session",
	 .heading = "SESSION",
	 COLUMN(session),
	 .help = "text: address, prefix or KIND:KEY, as `pintle unbind` takes it"},
	{.key = "pod",
	 COLUMN(pod),
	 .help = "text: NAMESPACE/NAME of the pod that it is; null: it is none's, or not known"},
	{.key = "pool", COLUMN(pool), .help = "text: name of the pool"},
	{.key = "endpoint",
	 COLUMN(endpoint),
	 .help = "text: name of the endpoint in that pool; null: it is not bound, and listed only for "
		 "its class"},
	{.heading = "ENDPOINT", COLUMN(endpoint_text)},
	{.key = "age_seconds",
	 .heading = "AGE",
	 .right = true,
	 COLUMN(age_seconds),
	 .help = "seconds since it was bound to that endpoint; null: it is not"},
	{.key = "idle_seconds",
	 .heading = "IDLE",
	 .right = true,
	 COLUMN(idle_seconds),
	 .help = "seconds since its newest connection was established; null: it is not bound"},
	{.key = "class",
	 .heading = "CLASS",
	 COLUMN(class),
	 .help = "text: the class that is given to the session; null, as the next four: none is, "
		 "and the pool's rules decide"},
	{.key = "class_by",
	 .heading = "BY",
	 COLUMN(class_by),
	 .help = "text: who gave it: operator, or classifier, before which the pool's rules come"},
	{.key = "class_known",
	 COLUMN(class_known),
	 .help = "bool: the pool has a class of that name; else it counts for nothing"},
	{.key = "class_seconds",
	 .heading = "SINCE",
	 .right = true,
	 COLUMN(class_seconds),
	 .help = "seconds since then"},
	{.key = "class_why",
	 .heading = "WHY",
	 .spare = 1,
	 COLUMN(class_why),
	 .help = "text: what the classifier saw then; null: by an operator"},
};
static const struct columns sessions_columns = COLUMNS(columns);
#define CLASS_COLUMNS 5 /* the last ones */

/* Where no session was given a class, text says nothing of classes. */
static struct columns columns_for(const struct cli *cli, const struct state_session *all,
				  size_t count)
{
	struct columns c = sessions_columns;

	for (size_t i = 0; i < count; i++)
		if (all[i].class.by)
			return c;
	if (!cli->json)
		c.count -= CLASS_COLUMNS;
	return c;
}

/* The sessions are sorted by pool, so a pool's are one run. Returns its first index, and its length
 * in *count. */
static size_t sessions_of(const struct state_session *all, size_t *count, size_t pool)
{
	size_t first = 0, last;

	while (first < *count && all[first].pool != pool)
		first++;
	for (last = first; last < *count && all[last].pool == pool;)
		last++;
	*count = last - first;
	return first;
}

/* Moves the sessions that `asked` means to the front, in their order, and returns how many. */
static size_t keep_session(const struct state *s, struct state_session *all, size_t count,
			   const struct pintle_session_key *asked)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (state_session_meant(&s->pools[all[i].pool], asked, &all[i].key.session))
			all[kept++] = all[i];
	return kept;
}

static int run_sessions(struct cli *cli)
{
	_cleanup_free_ struct state_session *all = NULL;
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_pool *pool = NULL;
	struct pintle_session_key key;
	struct columns shown;
	size_t count, first = 0;
	int err, status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	if (cli->pool) {
		pool = find_pool(s, cli->pool);
		if (!pool)
			return EXIT_FAILED;
	}
	if (cli->word_count && state_session_parse(cli->words[0], s->node.hint_key, &key)) {
		log_error(NOT_A_SESSION, cli->words[0]);
		return EXIT_USAGE;
	}
	if (cli->word_count)
		state_session_resolve(m, &key);
	err = state_sessions(m, s, &all, &count);
	if (err) {
		log_err_r(err, "cannot read the sessions");
		return EXIT_FAILED;
	}
	if (cli->word_count)
		count = keep_session(s, all, count, &key);
	if (pool)
		first = sessions_of(all, &count, (size_t)(pool - s->pools));
	shown = columns_for(cli, all ? all + first : NULL, count);
	return output_rows(cli, &shown, all ? all + first : NULL, count, sizeof(*all), s,
			   "no sessions are bound");
}

const struct command command_sessions = {
	.name = "sessions",
	.kind = NOUN,
	.arguments = "[SESSION] [--pool POOL]",
	.summary = "which session is bound to which endpoint, and its class",
	.help = "A session is shown, and taken, by what makes it (stickiness.key): an address or a\n"
		"prefix; client:COOKIE of the client's network namespace; cgroup:NAME of a client,\n"
		"or cgroup:/PATH (cgroup:ID) of a cgroup without one; pod:NAMESPACE/NAME (pod:UID),\n"
		"namespace:NAME or serviceAccount:NAMESPACE/NAME of the client's pod, or any of these\n"
		"with netns:COOKIE where the pod is not known; mark:0xMARK; destination:ADDRESS;\n"
		"request:HASH of what a request says; hint:HASH. Pintle keeps neither text, but hint=TEXT\n"
		"finds a hint: one session for each client that gave it.",
	.run = run_sessions,
	.columns = &sessions_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
	.most = 1,
	.words = {WORD_SESSION},
};
