/* SPDX-License-Identifier: Apache-2.0 */
/* noun_endpoints.c - each endpoint with its state, signals, load and connections. */
#include "../../maps/names.h"
#include "../output.h"

#define GET(name) GETTER(name, const struct state_endpoint *e, const struct state *s)

GET(full_name)
{
	char buf[ENDPOINT_NAME_SIZE];

	return value_text(endpoint_name(s, e, buf));
}

GET(pool)
{
	return value_text(s->pools[e->pool].name);
}

GET(name)
{
	return value_text(e->name);
}

GET(address)
{
	return value_text(e->address);
}

GET(host)
{
	return e->host ? value_text(e->host->host) : value_none();
}

GET(state)
{
	return value_text(state_name(e->state));
}

static const enum tone state_tones[STATE_COUNT] = {
	[STATE_READY] = TONE_GOOD,   [STATE_SATURATED] = TONE_WARN,  [STATE_STALE] = TONE_WARN,
	[STATE_UNHEARD] = TONE_WARN, [STATE_DRAINED] = TONE_FAINT,   [STATE_DOWN] = TONE_BAD,
	[STATE_EJECTED] = TONE_BAD,  [STATE_UNSTEERABLE] = TONE_BAD, [STATE_STOPPED] = TONE_BAD,
	[STATE_STALLED] = TONE_BAD,  [STATE_STARTING] = TONE_WARN,   [STATE_UNHEALTHY] = TONE_BAD,
	[STATE_FAULTY] = TONE_BAD,   [STATE_ASLEEP] = TONE_WARN,
};

/* The state in text, with the reason or the time left where the name alone says too little. */
GET(state_text)
{
	struct value v = value_text(e->state == STATE_UNSTEERABLE ? unsteerable_text(e->unsteerable)
								  : state_name(e->state));

	char left[WORDS_SIZE];

	if (e->state == STATE_EJECTED && e->failing)
		snprintf(v.text, sizeof(v.text), "ejected %s (%s)",
			 age_text(e->ejected_seconds, left), failing_name(e->failing));
	else if (e->state == STATE_EJECTED)
		snprintf(v.text, sizeof(v.text), "ejected %s", age_text(e->ejected_seconds, left));
	else if (e->state == STATE_UNHEALTHY && e->unfit_detail)
		snprintf(v.text, sizeof(v.text), "unhealthy %u", e->unfit_detail);
	else if (e->state == STATE_FAULTY && e->unfit_detail)
		snprintf(v.text, sizeof(v.text), "faulty XID %u", e->unfit_detail);
	else if (e->state == STATE_FAULTY)
		snprintf(v.text, sizeof(v.text), "faulty memory");
	v.tone = state_tones[e->state];
	return v;
}

GET(unsteerable)
{
	return e->unsteerable ? value_text(unsteerable_text(e->unsteerable)) : value_none();
}

GET(cure)
{
	return e->unsteerable ? value_text(unsteerable_cure(e->unsteerable)) : value_none();
}

GET(drained)
{
	return value_bool(e->drained);
}

GET(place)
{
	return e->place ? value_text(config_place_name(e->place)) : value_none();
}

GET(drained_configured)
{
	return value_bool(e->drained_configured);
}

#define GET_NUMBER(name, kind, there)                                                              \
	GET(name)                                                                                  \
	{                                                                                          \
		return value_number(kind, e->name, there);                                         \
	}
#define GET_COUNT(name)                                                                            \
	GET(name)                                                                                  \
	{                                                                                          \
		return value_count((uint64_t)e->name);                                             \
	}

GET_NUMBER(kv_cache, VALUE_SHARE, e->has_kv_cache)
GET_NUMBER(gpu, VALUE_SHARE, e->has_gpu)
GET_NUMBER(age_seconds, VALUE_SECONDS, e->has_age)
GET_NUMBER(load, VALUE_NUMBER, true)
GET_NUMBER(weight, VALUE_NUMBER, true)
GET_NUMBER(published, VALUE_NUMBER, e->has_age)
GET_NUMBER(share, VALUE_SHARE, true)
GET_COUNT(in_flight)
GET_COUNT(pending)
GET_COUNT(direct)
GET_COUNT(direct_opened)
GET_COUNT(placed)
GET_COUNT(shadow_placed)
GET_COUNT(opened)
GET_COUNT(closed)
GET_COUNT(failed)
GET_COUNT(listeners)

GET(waiting)
{
	return e->has_waiting ? value_count((uint64_t)e->waiting) : value_none();
}

GET(running)
{
	return e->has_running ? value_count((uint64_t)e->running) : value_none();
}

GET(scrape_failed)
{
	return value_bool(e->scrape_failed);
}

GET(unused)
{
	return value_bool(e->unused);
}

GET(families)
{
	cJSON *list = cJSON_CreateArray();

	if (e->families & PINTLE_FAMILY_V4)
		cJSON_AddItemToArray(list, cJSON_CreateString("ipv4"));
	if (e->families & PINTLE_FAMILY_V6)
		cJSON_AddItemToArray(list, cJSON_CreateString("ipv6"));
	return value_json(list);
}

/* A name that several pools have in `models` is one adapter. */
static bool endpoints_has_name(const cJSON *list, const char *name)
{
	const cJSON *one;

	cJSON_ArrayForEach (one, list)
		if (!strcmp(one->valuestring, name))
			return true;
	return false;
}

GET(adapters)
{
	cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "loaded");
	bool slots = e->adapters.slots;

	if (!e->has_adapters) {
		cJSON_Delete(o);
		return value_none();
	}
	for (size_t i = 0; i < s->pool_count; i++)
		for (size_t k = 0; k < s->pools[i].model_count; k++) {
			const struct state_model *m = &s->pools[i].models[k];

			if (state_adapter_is_at(m, e) && !endpoints_has_name(list, m->name))
				cJSON_AddItemToArray(list, cJSON_CreateString(m->name));
		}
	cJSON_AddItemToObject(o, "slots",
			      slots ? json_count(e->adapters.slots) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "used", slots ? json_count(e->adapters.used) : cJSON_CreateNull());
	return value_json(o);
}

#define GET_WORK(name)                                                                             \
	GET(name)                                                                                  \
	{                                                                                          \
		return e->has_work ? value_count(e->work.name) : value_none();                     \
	}
GET_WORK(unseen)
GET_WORK(headed)
GET_WORK(answering)
GET_WORK(idle)
GET_WORK(waiting_bytes)
GET_WORK(prompt_bytes)
GET_WORK(unread)
GET_WORK(backlog)

GET(requests_waiting)
{
	return e->has_work ? value_count(e->work.waiting) : value_none();
}

GET(answers)
{
	return e->has_work ? value_count(e->work.minute_answers) : value_none();
}

#define GET_WAIT(percent)                                                                          \
	GET(first_token_##percent)                                                                 \
	{                                                                                          \
		return value_number(VALUE_QUANTILE, (double)e->work.minute_##percent##_us / 1e6,   \
				    e->has_work && e->work.minute_##percent##_us);                 \
	}
GET_WAIT(p50)
GET_WAIT(p95)

GET(oldest_seconds)
{
	return value_number(VALUE_SECONDS, e->oldest_seconds, e->has_work && e->work.oldest_ns);
}

GET(ejected)
{
	return value_bool(e->ejected);
}

GET(ejected_seconds)
{
	return value_number(VALUE_SECONDS, e->ejected_seconds, e->ejected);
}

GET(ejected_for)
{
	return e->failing ? value_text(failing_name(e->failing)) : value_none();
}

GET(unfit)
{
	return e->unfit ? value_text(unfit_name(e->unfit)) : value_none();
}

GET(health_status)
{
	return e->unfit == PINTLE_UNFIT_UNHEALTHY && e->unfit_detail ? value_count(e->unfit_detail)
								     : value_none();
}

GET(xid)
{
	return e->unfit == PINTLE_UNFIT_FAULTY && e->unfit_detail ? value_count(e->unfit_detail)
								  : value_none();
}

GET(vouched_seconds)
{
	return value_number(VALUE_SECONDS, e->vouched_seconds, e->vouched_seconds > 0);
}

GET(failures_in_a_row)
{
	return value_count(e->failures_in_row);
}

GET_COUNT(ejections)

GET(failures)
{
	cJSON *o = cJSON_CreateObject();

	for (uint32_t i = 0; i < PINTLE_FAILURE_COUNT; i++)
		cJSON_AddItemToObject(o, failure_name(i), json_count(e->failures[i]));
	return value_json(o);
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.heading = "ENDPOINT", COLUMN(full_name)},
	{.key = "pool", COLUMN(pool), .help = "text: name of its pool"},
	{.key = "name", COLUMN(name), .help = "text: its name, once in the pool"},
	{.key = "address",
	 .heading = "ADDRESS",
	 .spare = 2,
	 COLUMN(address),
	 .help = "text: where it is, or listens, as configured"},
	{.key = "host",
	 COLUMN(host),
	 .help = "text: the host's name by which DNS gave the address; null: it is configured"},
	{.key = "state",
	 COLUMN(state),
	 .help = "text: ready, saturated, stale, unheard, stopped, stalled, asleep, starting, unhealthy, faulty, ejected, drained, down, unsteerable"},
	{.heading = "STATE", COLUMN(state_text)},
	{.key = "waiting",
	 .heading = "WAIT",
	 .right = true,
	 COLUMN(waiting),
	 .help = "requests waiting, on the newest good page; null: the page does not say"},
	{.key = "running",
	 .heading = "RUN",
	 .right = true,
	 COLUMN(running),
	 .help = "requests running; null: the page does not say"},
	{.key = "kv_cache",
	 .heading = "KV",
	 .right = true,
	 COLUMN(kv_cache),
	 .help = "share of the KV cache in use, 0..1; null: the page does not say"},
	{.key = "gpu",
	 .heading = "GPU",
	 .right = true,
	 .spare = 4,
	 COLUMN(gpu),
	 .help = "share of the GPU in use, 0..1; null: unknown"},
	{.key = "age_seconds",
	 .heading = "AGE",
	 .right = true,
	 .spare = 1,
	 COLUMN(age_seconds),
	 .help = "seconds since that page was requested; null: never"},
	{.key = "weight",
	 COLUMN(weight),
	 .help = "by which its load is divided: the configured one, or a part while it warms up"},
	{.key = "load",
	 .heading = "LOAD",
	 .right = true,
	 COLUMN(load),
	 .help = "request equivalents, as the rule compares them now"},
	{.key = "in_flight",
	 .heading = "IN-FLIGHT",
	 .right = true,
	 COLUMN(in_flight),
	 .help = "steered connections open now"},
	{.key = "direct",
	 .heading = "DIRECT",
	 .right = true,
	 .spare = 3,
	 COLUMN(direct),
	 .help = "other connections open now, such as scrapes and probes"},
	{.key = "direct_opened",
	 COLUMN(direct_opened),
	 .help = "of these, begun ever; endpoints with address: by clients on this node"},
	{.key = "share",
	 .heading = "SHARE",
	 .right = true,
	 COLUMN(share),
	 .help = "of its pool's placements ever, 0..1"},
	{.key = "published",
	 COLUMN(published),
	 .help = "the part of load that the newest page makes; null: never"},
	{.key = "pending", COLUMN(pending), .help = "placements not yet established"},
	{.key = "placed", COLUMN(placed), .help = "decisions for it, ever"},
	{.key = "shadow_placed",
	 COLUMN(shadow_placed),
	 .help = "decisions for it that the rule would have made in mode shadow, ever"},
	{.key = "opened", COLUMN(opened), .help = "connections established, ever"},
	{.key = "closed", COLUMN(closed), .help = "of these, ended"},
	{.key = "failed", COLUMN(failed), .help = "placements that ended unopened, ever"},
	{.key = "listeners", COLUMN(listeners), .help = "its sockets in state LISTEN"},
	{.key = "families", COLUMN(families), .help = "list of text: ipv4, ipv6: what they take"},
	{.key = "adapters",
	 COLUMN(adapters),
	 .help = "{loaded (list of text: LoRA adapters of `models` that it has), slots (adapters that it can have), "
		 "used (of these, those of present requests)}; null: it says nothing of adapters"},
	{.key = "drained", COLUMN(drained), .help = "bool: `pintle drain` holds, in any state"},
	{.key = "drained_configured",
	 COLUMN(drained_configured),
	 .help = "bool: the file drains it, or its pod terminates"},
	{.key = "place",
	 COLUMN(place),
	 .help = "text: where it runs, seen from this node: node, zone, away; null: not known"},
	{.key = "unfit",
	 COLUMN(unfit),
	 .help = "text: starting, unhealthy or faulty by pintled's own checks, or asleep; failing: ejected "
		 "for its answers; null: fit"},
	{.key = "health_status",
	 COLUMN(health_status),
	 .help = "unhealthy: the HTTP status that came instead; null: none came"},
	{.key = "xid",
	 COLUMN(xid),
	 .help = "faulty: the XID of its GPU; null: an error of its memory"},
	{.key = "ejected", COLUMN(ejected), .help = "bool: it failed its clients, and is left out"},
	{.key = "ejected_seconds",
	 COLUMN(ejected_seconds),
	 .help = "for how much longer; null: not ejected"},
	{.key = "ejected_for",
	 COLUMN(ejected_for),
	 .help = "text: by whose word its answers are errors: clients, counters, page, probe, or busy; "
		 "null: not ejected for its answers"},
	{.key = "vouched_seconds",
	 COLUMN(vouched_seconds),
	 .help = "for how much longer its answer to pintled outweighs failures of clients; null: they count"},
	{.key = "failures_in_a_row",
	 COLUMN(failures_in_a_row),
	 .help = "since the last success, as clients saw it"},
	{.key = "ejections", COLUMN(ejections), .help = "how often it was ejected, ever"},
	{.key = "failures",
	 COLUMN(failures),
	 .help = "{refused, unanswered, unreachable, reset}: connections of clients, ever"},
	{.key = "scrape_failed",
	 COLUMN(scrape_failed),
	 .help = "bool: the newest scrape failed; the signals are older"},
	{.key = "unused",
	 COLUMN(unused),
	 .help = "bool: that page may be old by `scrape.idle`, since this node does not use the pool"},
	/* of this node's own connections; null: the pool's requests are not followed */
	{.key = "requests_waiting",
	 COLUMN(requests_waiting),
	 .help = "requests of this node without a first token; null, here and below: not followed"},
	{.key = "requests_headed",
	 COLUMN(headed),
	 .help = "of these, those of whose answer the head is out"},
	{.key = "requests_answering", COLUMN(answering), .help = "requests being answered"},
	{.key = "requests_waiting_bytes",
	 COLUMN(waiting_bytes),
	 .help = "bytes of the waiting ones"},
	{.key = "requests_uncached_bytes",
	 COLUMN(prompt_bytes),
	 .help = "of these, less what is cached for the sessions that are bound here"},
	{.key = "oldest_waiting_seconds",
	 COLUMN(oldest_seconds),
	 .help = "for how long the oldest of them has waited; null: none waits"},
	{.key = "first_tokens_last_minute",
	 COLUMN(answers),
	 .help = "answers of the last minute whose first token was seen"},
	{.key = "first_token_p50_seconds",
	 .heading = "TTFT50",
	 .right = true,
	 .spare = 5,
	 COLUMN(first_token_p50),
	 .help = "median of the times from their requests' last byte to it; null: none"},
	{.key = "first_token_p95_seconds",
	 .heading = "TTFT95",
	 .right = true,
	 .spare = 4,
	 COLUMN(first_token_p95),
	 .help = "95th percentile of these times"},
	{.key = "connections_idle",
	 COLUMN(idle),
	 .help = "connections kept alive without a request"},
	{.key = "connections_unseen",
	 COLUMN(unseen),
	 .help = "new connections on which no request has come yet"},
	{.key = "unread_bytes",
	 COLUMN(unread),
	 .help = "bytes of requests that the server has not read; 0 for an `address`"},
	{.key = "accept_backlog",
	 COLUMN(backlog),
	 .help = "connections that the server has not accepted; 0 for an `address`"},
	{.key = "unsteerable",
	 COLUMN(unsteerable),
	 .help = "text: why the newest listener cannot be steered to; null: it can"},
	{.key = "cure", COLUMN(cure), .help = "text: what helps against that, or null"},
};
static const struct columns endpoints_columns = COLUMNS(columns);

static void print_cures(const struct state *s, const struct state_endpoint *e, size_t count)
{
	const char *gap = "\n";
	char name[ENDPOINT_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		if (!e[i].unsteerable)
			continue;
		printf("%s%s: %s: %s\n", gap, endpoint_name(s, &e[i], name),
		       unsteerable_text(e[i].unsteerable), unsteerable_cure(e[i].unsteerable));
		gap = "";
	}
}

static int run_endpoints(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_endpoint *first;
	const struct state_pool *pool;
	size_t count;
	int status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	first = s->endpoints;
	count = s->endpoint_count;
	if (cli->pool) {
		pool = find_pool(s, cli->pool);
		if (!pool)
			return EXIT_FAILED;
		first += pool->first_endpoint;
		count = pool->endpoint_count;
	}
	status = output_rows(cli, &endpoints_columns, first, count, sizeof(*first), s,
			     "no endpoints");
	if (status || cli->json)
		return status;
	print_cures(s, first, count);
	return output_finish();
}

static void help_states(FILE *f)
{
	fprintf(f, "\nStates:\n");
	for (uint32_t i = 0; i < STATE_COUNT; i++)
		fprintf(f, "  %-11s  %s\n", state_name(i), state_help(i));
}

const struct command command_endpoints = {
	.name = "endpoints",
	.kind = NOUN,
	.arguments = "[--pool POOL]",
	.summary = "each endpoint with its state, signals, load and connections",
	.help = "IN-FLIGHT counts steered connections; DIRECT the others, such as scrapes. LOAD is\n"
		"what the rule compares now, in request equivalents. A narrow terminal shows\n"
		"fewer columns; -o json has all of them.",
	.more = help_states,
	.run = run_endpoints,
	.columns = &endpoints_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
};
