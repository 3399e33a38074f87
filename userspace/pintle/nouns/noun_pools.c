/* SPDX-License-Identifier: Apache-2.0 */
/* noun_pools.c - each pool with its mode, frontends and policy. */
#include "../../base/text.h"
#include "../../maps/names.h"
#include "../output.h"
#include "traits.bpf.h"

#define MILLI 1000.0

#define GET(name) GETTER(name, const struct state_pool *p, const struct state *s)

GET(name)
{
	return value_text(p->name);
}

GET(mode)
{
	struct value v = value_text(mode_name(p->mode));

	v.tone = p->mode == PINTLE_MODE_ENFORCE ? TONE_GOOD : TONE_WARN;
	return v;
}

GET(mode_configured)
{
	return value_text(mode_name(p->mode_configured));
}

/* In text a star says that the mode was set, whatever the file says; a tilde, that it changes. */
GET(mode_text)
{
	struct value v = get_mode(p, s);

	snprintf(v.text, sizeof(v.text), "%s%s", mode_name(p->mode),
		 p->trial_runs   ? "~"
		 : p->overridden ? "*"
				 : "");
	return v;
}

GET(ab)
{
	return value_bool(p->trial_runs);
}

GET(requests)
{
	return value_text(requests_name(p->requests));
}

GET(requests_configured)
{
	return value_text(requests_name(p->requests_configured));
}

GET(requests_text)
{
	struct value v = {.kind = VALUE_TEXT};

	snprintf(v.text, sizeof(v.text), "%s%s", requests_name(p->requests),
		 p->requests_overridden ? "*" : "");
	return v;
}

GET(intercepts)
{
	return value_bool(p->intercepts);
}

GET(spared)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < p->spared_count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateString(p->spared[i].name));
	return value_json(list);
}

GET(overridden)
{
	return value_bool(p->overridden);
}

GET(failure_mode)
{
	return value_text(p->failure_mode == PINTLE_FAIL_OPEN ? "FailOpen" : "FailClose");
}

GET(frontends)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; list && i < p->frontend_count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateString(p->frontends[i].text));
	return value_json(list);
}

GET(frontends_text)
{
	struct value v = {.kind = VALUE_TEXT};

	for (size_t i = 0; i < p->frontend_count; i++)
		text_list_add(v.text, sizeof(v.text), p->frontends[i].text);
	return v;
}

GET(announced)
{
	bool all = p->frontend_count > 0;

	for (size_t i = 0; i < p->frontend_count; i++)
		all = all && p->frontends[i].announced;
	return value_bool(all);
}

GET(endpoints)
{
	return value_count(p->endpoint_count);
}

GET(ready)
{
	struct value v = value_count(p->ready_count);

	v.tone = !p->ready_count                      ? TONE_BAD
		 : p->ready_count < p->endpoint_count ? TONE_WARN
						      : TONE_GOOD;
	return v;
}

GET(in_flight)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->endpoint_count; i++)
		n += (uint64_t)s->endpoints[p->first_endpoint + i].in_flight;
	return value_count(n);
}

GET(decisions)
{
	return value_count(p->decisions_total);
}

GET(shadow_decisions)
{
	return value_count(p->shadows_total);
}

GET(hook)
{
	return value_text(hook_name(p->decided_by));
}

GET(decide)
{
	return value_text(decide_name(p->decide));
}

GET(by_connection)
{
	return value_text_or_none(p->by_connection);
}

GET(key)
{
	char keys[STATE_KEYS_SIZE];

	return value_text(state_keys_format(p, keys));
}

GET(key_text)
{
	struct value v = get_key(p, s);
	size_t n = strlen(v.text);

	snprintf(v.text + n, sizeof(v.text) - n, "%s%s", p->shared ? " shared" : "",
		 p->prompt_weight ? " prefix" : "");
	return v;
}

GET(shared)
{
	return value_bool(p->shared);
}

GET(prefix)
{
	return value_bool(p->prompt_weight);
}

GET(group)
{
	return value_text(key_name(p->group_kind));
}

GET(ejected)
{
	struct value v = value_count(p->ejected_count);

	v.tone = p->ejected_count ? TONE_BAD : TONE_PLAIN;
	return v;
}

GET(ejection)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddItemToObject(o, "failures", json_count(p->eject_after));
	cJSON_AddItemToObject(o, "seconds", json_number((double)p->eject_ns / NSEC_PER_SEC));
	cJSON_AddItemToObject(o, "max_seconds",
			      json_number((double)p->eject_max_ns / NSEC_PER_SEC));
	cJSON_AddItemToObject(o, "at_once", json_count(p->eject_most));
	return value_json(o);
}

GET(key_bits_v4)
{
	return value_count(p->key_bits_v4);
}

GET(key_bits_v6)
{
	return value_count(p->key_bits_v6);
}

static cJSON *count_or_null(uint32_t n)
{
	return n ? json_count(n) : cJSON_CreateNull();
}

/* As the file has it: a number, or "25%". */
static cJSON *reserve_json(const struct pintle_class *k)
{
	char text[16];

	if (!(k->flags & PINTLE_CLASS_PERCENT))
		return count_or_null(k->reserve);
	snprintf(text, sizeof(text), "%u%%", k->reserve);
	return cJSON_CreateString(text);
}

GET(classes)
{
	cJSON *list = cJSON_CreateArray();

	for (uint32_t i = 0; i < p->class_count; i++) {
		const struct pintle_class *k = &p->classes[i];
		cJSON *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "name", k->name);
		cJSON_AddItemToObject(o, "priority", json_number(k->priority));
		cJSON_AddItemToObject(
			o, "limit", k->limit ? json_number(k->limit / MILLI) : cJSON_CreateNull());
		cJSON_AddStringToObject(o, "admission", admission_name(k->admission));
		cJSON_AddItemToObject(o, "connections", count_or_null(k->connections));
		cJSON_AddItemToObject(o, "pool_connections", count_or_null(k->pool_connections));
		cJSON_AddItemToObject(o, "reserve", reserve_json(k));
		cJSON_AddItemToObject(o, "in_flight", json_count(p->class_in_flight[i]));
		cJSON_AddItemToArray(list, o);
	}
	return value_json(list);
}

GET(access_rules)
{
	return p->allow_count ? value_count(p->allow_count) : value_none();
}

/* One of the others: null where its pool is gone. */
static cJSON *other_json(const struct state *s, const struct pintle_other *o)
{
	const struct state_pool *to = state_pool_find(s, &o->pool);
	cJSON *json;

	if (!to)
		return cJSON_CreateNull();
	json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "pool", to->name);
	cJSON_AddBoolToObject(json, "fits", o->checked);
	return json;
}

GET(fallback)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = PINTLE_OTHER_FALLBACK; i < PINTLE_MAX_OTHERS; i++)
		if (p->others[i].pool.generation)
			cJSON_AddItemToArray(list, other_json(s, &p->others[i]));
	return value_json(list);
}

GET(canary)
{
	cJSON *json = other_json(s, &p->others[PINTLE_OTHER_CANARY]);

	if (cJSON_IsNull(json)) {
		cJSON_Delete(json);
		return value_none();
	}
	cJSON_AddItemToObject(json, "share", json_number(p->canary_share));
	return value_json(json);
}

GET(models)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < p->model_count; i++) {
		const struct state_model *m = &p->models[i];
		cJSON *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "model", m->name);
		cJSON_AddItemToObject(o, "pool",
				      m->pool == STATE_NO_POOL
					      ? cJSON_CreateNull()
					      : cJSON_CreateString(s->pools[m->pool].name));
		cJSON_AddItemToObject(o, "requests", json_count(m->requests));
		cJSON_AddItemToObject(o, "loaded",
				      m->adapter ? json_count(m->loaded) : cJSON_CreateNull());
		cJSON_AddItemToObject(o, "holders",
				      m->adapter ? json_count(m->holders) : cJSON_CreateNull());
		cJSON_AddItemToArray(list, o);
	}
	return value_json(list);
}

static struct value noun_pools_seconds(uint64_t ns)
{
	return value_number(VALUE_SECONDS, (double)ns / (double)NSEC_PER_SEC, true);
}

GET(ttl_seconds)
{
	return noun_pools_seconds(p->ttl_ns);
}

GET(staleness_seconds)
{
	return noun_pools_seconds(p->staleness_ns);
}

GET(max_extra_load)
{
	return value_number(VALUE_NUMBER, p->max_extra_load, true);
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "name",
	 .heading = "POOL",
	 COLUMN(name),
	 .help = "text: its name, once on the node"},
	{.key = "mode", COLUMN(mode), .help = "text: what holds: enforce, shadow, baseline, off"},
	{.heading = "MODE", COLUMN(mode_text)},
#define X(symbol, name, ...) name ", "
	{.key = "hook",
	 .heading = "HOOK",
	 .spare = 3,
	 COLUMN(hook),
	 .help = "text: what decides its connections: " PINTLE_HOOKS(X) "or unknown"},
#undef X
	{.key = "mode_configured", COLUMN(mode_configured), .help = "text: what the file says"},
	{.key = "ab", COLUMN(ab), .help = "bool: an A/B test runs, so that mode changes"},
	{.key = "overridden", COLUMN(overridden), .help = "bool: `pintle mode` set what holds"},
	{.key = "requests",
	 COLUMN(requests),
	 .help = "text: what holds: as-they-come, one-per-connection"},
	{.heading = "REQUESTS", .spare = 3, COLUMN(requests_text)},
	{.key = "requests_configured",
	 COLUMN(requests_configured),
	 .help = "text: what the file says"},
	{.key = "endpoints",
	 .heading = "ENDPOINTS",
	 .right = true,
	 COLUMN(endpoints),
	 .help = "how many it has"},
	{.key = "ready",
	 .heading = "READY",
	 .right = true,
	 COLUMN(ready),
	 .help = "how many of them may be chosen: ready, saturated or stale"},
	{.key = "ejected", COLUMN(ejected), .help = "how many of them are ejected now"},
	{.key = "in_flight",
	 .heading = "IN-FLIGHT",
	 .right = true,
	 COLUMN(in_flight),
	 .help = "steered connections open now"},
	{.key = "decisions",
	 .heading = "DECISIONS",
	 .right = true,
	 .spare = 2,
	 COLUMN(decisions),
	 .help = "ever; `pintle stats` has them by outcome"},
	{.key = "shadow_decisions",
	 COLUMN(shadow_decisions),
	 .help = "ever, of the rule in mode shadow; `pintle stats` has them by outcome"},
	{.key = "frontends", COLUMN(frontends), .help = "list of text: what clients connect to"},
	{.heading = "FRONTENDS", .spare = 1, COLUMN(frontends_text)},
	{.key = "intercepts",
	 COLUMN(intercepts),
	 .help = "bool: connections to its endpoints' own addresses are steered, too"},
	{.key = "spared",
	 COLUMN(spared),
	 .help = "list of text: clients whose connections to such addresses are left alone"},
	{.key = "announced",
	 COLUMN(announced),
	 .help = "bool: the daemon added local routes for all of them"},
	{.key = "failure_mode", COLUMN(failure_mode), .help = "text: FailOpen, FailClose"},
	{.key = "decide",
	 COLUMN(decide),
	 .help = "text: by what connections are decided now: connection, request"},
	{.key = "by_connection",
	 COLUMN(by_connection),
	 .help = "text: why they are not decided by request here, as the pool asks; or null"},
	{.key = "session_key",
	 COLUMN(key),
	 .help = "text: what makes a session: a word of stickiness.key, or, decided by request, all "
		 "of them with commas between"},
	{.heading = "KEY", .spare = 4, COLUMN(key_text)},
	{.key = "session_key_bits_v4", COLUMN(key_bits_v4), .help = "of an IPv4 address, 0..32"},
	{.key = "session_key_bits_v6", COLUMN(key_bits_v6), .help = "of an IPv6 address, 0..128"},
	{.key = "shared",
	 COLUMN(shared),
	 .help = "bool: clients that name the same session share it"},
	{.key = "prefix",
	 COLUMN(prefix),
	 .help = "bool: requests go where a beginning of their prompt is cached"},
	{.key = "group", COLUMN(group), .help = "text: what makes a group, of the same words"},
	{.key = "ttl_seconds", COLUMN(ttl_seconds), .help = "after which an unused binding ends"},
	{.key = "max_extra_load",
	 COLUMN(max_extra_load),
	 .help = "request equivalents that a session's endpoint may be ahead by"},
	{.key = "classes",
	 COLUMN(classes),
	 .help = "list of {name, priority, admission, in_flight, and limit (requests), connections, "
		 "pool_connections, reserve (a number or \"25%\"), which are null where there is none}"},
	{.key = "access_rules",
	 COLUMN(access_rules),
	 .help = "rules of which one must match a client; null: anybody may connect"},
	{.key = "fallback",
	 COLUMN(fallback),
	 .help = "list of {pool, fits (bool: no list of models speaks against it)}: pools that it spills to"},
	{.key = "canary",
	 COLUMN(canary),
	 .help = "{pool, fits, share (0..1)}: which gets a part of its sessions; null: none"},
	{.key = "models",
	 COLUMN(models),
	 .help = "list of {model, pool, requests (ever), loaded (of these, placed where its LoRA adapter was), "
		 "holders (endpoints that have the adapter now)}: which pool serves requests for a model; "
		 "`default`: all other requests; pool null: 404, or reset; loaded and holders null: no adapter"},
	{.key = "staleness_seconds",
	 COLUMN(staleness_seconds),
	 .help = "after which a score is not believed"},
	{.key = "ejection",
	 COLUMN(ejection),
	 .help = "{failures (0: never), seconds, max_seconds, at_once}; null: its hook ejects none"},
};
static const struct columns pools_columns = COLUMNS(columns);

static int run_pools(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	bool star = false, tilde = false;
	int status = open_state(cli, MAPS_READ, &m, &s);

	if (status)
		return status;
	status = output_rows(cli, &pools_columns, s->pools, s->pool_count, sizeof(*s->pools), s,
			     "no pools");
	for (size_t i = 0; i < s->pool_count; i++) {
		star = star || s->pools[i].overridden || s->pools[i].requests_overridden;
		tilde = tilde || s->pools[i].trial_runs;
	}
	if (status || cli->json || !(star || tilde))
		return status;
	putchar('\n');
	if (star)
		puts("* set by `pintle mode` or `pintle set`; `pintle reset` takes it back");
	if (tilde)
		puts("~ by an A/B test; `pintle ab POOL` shows it");
	return output_finish();
}

const struct command command_pools = {
	.name = "pools",
	.kind = NOUN,
	.arguments = "",
	.summary = "each pool with its mode, frontends and policy",
	.run = run_pools,
	.columns = &pools_columns,
	.options = OPTIONS_NOUN,
};
