// SPDX-License-Identifier: Apache-2.0
/* main.c - pintle-sim: from options to servers. */
#include <ctype.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../base/options.h"
#include "../engine/profiles.h"
#include "server.h"

#define MAX_SERVERS   1024
#define MAX_OVERRIDES 64
#define MAX_RANKS     64

const char *argp_program_version = "pintle-sim " PINTLE_VERSION;

/* A value for all servers, or for the server with this number. */
struct override {
	int server; /* -1: all */
	double value;
};

struct overrides {
	struct override list[MAX_OVERRIDES];
	unsigned int count;
};

struct options {
	const char *host, *prefix, *model;
	const struct profile *profiles[MAX_SERVERS];
	unsigned int profile_count;
	const char *adapters[MODEL_MAX_ADAPTERS];
	unsigned int count, ranks, port;
	uint64_t seed;
	double speed, keep_alive;
	bool no_keep_alive, startup_503, no_prefix_cache, by_rank, verbose;
	uint32_t stream_interval;
	uint32_t max_seqs, max_batched_tokens, max_len, block_tokens, blocks,
		max_waiting; /* 0: profile's */
	uint32_t adapter_count, adapter_slots;
	double adapter_load, jitter, output_median, output_sigma;
	struct overrides startup, fail, slow;
};

enum {
	OPT_HOST = 256,
	OPT_DATA_PARALLEL,
	OPT_NAME_PREFIX,
	OPT_PROFILE,
	OPT_LIST_PROFILES,
	OPT_SEED,
	OPT_SPEED,
	OPT_KEEP_ALIVE,
	OPT_NO_KEEP_ALIVE,
	OPT_MAX_NUM_SEQS,
	OPT_MAX_NUM_BATCHED_TOKENS,
	OPT_MAX_MODEL_LEN,
	OPT_BLOCK_SIZE,
	OPT_NUM_BLOCKS,
	OPT_MAX_WAITING,
	OPT_NO_PREFIX_CACHING,
	OPT_PRIORITY,
	OPT_LORA,
	OPT_LORA_SLOTS,
	OPT_LORA_LOAD,
	OPT_OUTPUT,
	OPT_STREAM_INTERVAL,
	OPT_JITTER,
	OPT_STARTUP,
	OPT_STARTUP_503,
	OPT_FAIL_RATE,
	OPT_SLOW,
};

static const struct argp_option table[] = {
	{.name = NULL, .doc = "Servers:", .group = 1},
	{"port", 'p', "PORT", 0,
	 "Port of the first server, the next take the ports after it (8001); 0: any", 0},
	{"host", OPT_HOST, "ADDRESS", 0, "IP address to listen on (127.0.0.1)", 0},
	{"count", 'n', "N", 0, "Number of servers (1)", 0},
	{"data-parallel", OPT_DATA_PARALLEL, "N", 0,
	 "Ranks of each server, on consecutive ports (1)", 0},
	{"name-prefix", OPT_NAME_PREFIX, "TEXT", 0, "Server I is called TEXT-I (sim)", 0},
	{"model", 'm', "NAME", 0, "Name of the model served (llama)", 0},
	{"no-keep-alive", OPT_NO_KEEP_ALIVE, NULL, 0, "Close each connection after its answer", 0},
	{"keep-alive", OPT_KEEP_ALIVE, "SECONDS", 0,
	 "Close a connection idle for so long after an answer (5)", 0},

	{.name = NULL, .doc = "Engine:", .group = 2},
	{"profile", OPT_PROFILE, "NAME[,NAME...]", 0,
	 "Model and GPU: one for all, or one for each server in turn (llama-8b-h100)", 0},
	{"list-profiles", OPT_LIST_PROFILES, NULL, 0,
	 "Say which there are, and where their numbers come from", 0},
	{"max-num-seqs", OPT_MAX_NUM_SEQS, "N", 0, "Requests that run at once", 0},
	{"max-num-batched-tokens", OPT_MAX_NUM_BATCHED_TOKENS, "N", 0, "Tokens of one step", 0},
	{"max-model-len", OPT_MAX_MODEL_LEN, "N", 0, "Tokens of one request, prompt and answer", 0},
	{"block-size", OPT_BLOCK_SIZE, "N", 0, "Tokens of a KV block", 0},
	{"num-blocks", OPT_NUM_BLOCKS, "N", 0, "KV blocks", 0},
	{"max-waiting", OPT_MAX_WAITING, "N", 0,
	 "Refuse requests with 503 when so many wait (no limit)", 0},
	{"no-prefix-caching", OPT_NO_PREFIX_CACHING, NULL, 0, "Compute every prompt wholly", 0},
	{"priority", OPT_PRIORITY, NULL, 0,
	 "Admit by the field priority of a request, 0 (first) to 7", 0},
	{"lora", OPT_LORA, "NAME[,NAME...]", 0, "LoRA adapters that may be asked for as models", 0},
	{"lora-slots", OPT_LORA_SLOTS, "N", 0, "Adapters loaded at once (1)", 0},
	{"lora-load", OPT_LORA_LOAD, "SECONDS", 0, "Time to load an adapter (0.5)", 0},
	{"output", OPT_OUTPUT, "MEDIAN[,SIGMA]", 0,
	 "Answers end by themselves: log-normal length in tokens (as max_tokens says)", 0},
	{"stream-interval", OPT_STREAM_INTERVAL, "N", 0, "Tokens in one event of a stream (1)", 0},

	{.name = NULL,
	 .doc = "Time and faults; I: is the number of one server, from 0:",
	 .group = 3},
	{"seed", OPT_SEED, "N", 0, "What is random follows from this (0)", 0},
	{"speed", OPT_SPEED, "FACTOR", 0, "Servers' seconds in one second (1)", 0},
	{"jitter", OPT_JITTER, "SHARE", 0, "Relative standard deviation of step times (0)", 0},
	{"startup", OPT_STARTUP, "[I:]SECONDS", 0, "Time until a server listens", 0},
	{"startup-503", OPT_STARTUP_503, NULL, 0, "Listen from the start and answer 503 meanwhile",
	 0},
	{"fail-rate", OPT_FAIL_RATE, "[I:]SHARE", 0, "Share of requests answered with 500", 0},
	{"slow", OPT_SLOW, "[I:]FACTOR", 0, "A sick GPU: steps take so many times as long", 0},

	{.name = NULL, .doc = "Other:", .group = -1},
	{"verbose", 'v', NULL, 0, "Say more", 0},
	{},
};

static void need_override(struct argp_state *state, const char *option, const char *text,
			  double low, double high, struct overrides *all)
{
	const char *colon = strchr(text, ':');
	struct override *o = &all->list[all->count];
	char number[16];

	if (all->count == MAX_OVERRIDES)
		argp_error(state, "--%s: given more than %d times", option, MAX_OVERRIDES);
	*o = (struct override){.server = -1};
	if (colon) {
		snprintf(number, sizeof(number), "%.*s", (int)MIN(colon - text, (ptrdiff_t)15),
			 text);
		o->server = (int)option_count(state, option, number, 0, MAX_SERVERS - 1);
		text = colon + 1;
	}
	o->value = option_number(state, option, text, low, high);
	all->count++;
}

static double override_value(const struct overrides *all, unsigned int server, double otherwise)
{
	for (unsigned int i = 0; i < all->count; i++)
		if (all->list[i].server == -1 || all->list[i].server == (int)server)
			otherwise = all->list[i].value;
	return otherwise;
}

static void add_profiles(struct argp_state *state, char *names, struct options *o)
{
	o->profile_count = 0;
	for (char *name, *rest = names; (name = strsep(&rest, ","));) {
		const struct profile *p = profile_find(name);

		if (!p)
			argp_error(state, "--profile: there is no '%s'; see --list-profiles", name);
		if (o->profile_count == MAX_SERVERS)
			argp_error(state, "--profile: more than %d", MAX_SERVERS);
		o->profiles[o->profile_count++] = p;
	}
}

static void add_adapters(struct argp_state *state, char *names, struct options *o)
{
	o->adapter_count = 0;
	for (char *name, *rest = names; (name = strsep(&rest, ","));) {
		if (!*name)
			argp_error(state, "--lora: an empty name");
		for (const char *at = name; *at; at++)
			if (!isprint((unsigned char)*at) || strchr("\"\\", *at))
				argp_error(state,
					   "--lora: '%s' has a character that labels cannot have",
					   name);
		if (o->adapter_count == MODEL_MAX_ADAPTERS - 1)
			argp_error(state, "--lora: more than %d", MODEL_MAX_ADAPTERS - 1);
		o->adapters[o->adapter_count++] = name;
	}
}

static void need_output(struct argp_state *state, char *text, struct options *o)
{
	char *sigma = strchr(text, ',');

	o->output_sigma = 0;
	if (sigma) {
		*sigma++ = '\0';
		o->output_sigma = option_number(state, "output", sigma, 0, 5);
	}
	o->output_median = option_number(state, "output", text, 1, 1e6);
}

static void list_profiles(void)
{
	size_t count;
	const struct profile *p = profile_list(&count);

	for (size_t i = 0; i < count; i++, p++) {
		printf("%s\n  %s\n  %u KV blocks of %u tokens, %u sequences, %u tokens a step\n  %s\n",
		       p->name, p->says, p->config.blocks, p->config.block_tokens,
		       p->config.max_seqs, p->config.max_batched_tokens, p->source);
		for (size_t k = 0; k < ARRAY_SIZE(p->checks); k++)
			if (p->checks[k].requests)
				printf("  checked against: %s\n", p->checks[k].source);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const double many = 1U << 24;
	struct options *o = state->input;

	switch (key) {
	case 'p':
		o->port = (uint32_t)option_count(state, "port", arg, 0, 65535);
		break;
	case 'n':
		o->count = (uint32_t)option_count(state, "count", arg, 1, MAX_SERVERS);
		break;
	case 'm':
		o->model = option_name(state, "model", arg);
		break;
	case 'v':
		o->verbose = true;
		break;
	case OPT_HOST:
		o->host = arg;
		break;
	case OPT_DATA_PARALLEL:
		o->ranks = (uint32_t)option_count(state, "data-parallel", arg, 1, MAX_RANKS);
		break;
	case OPT_NAME_PREFIX:
		o->prefix = option_name(state, "name-prefix", arg);
		break;
	case OPT_PROFILE:
		add_profiles(state, arg, o);
		break;
	case OPT_LIST_PROFILES:
		list_profiles();
		exit(0);
	case OPT_SEED:
		o->seed = option_count(state, "seed", arg, 0, UINT32_MAX);
		break;
	case OPT_SPEED:
		o->speed = option_number(state, "speed", arg, 0.001, 10000);
		break;
	case OPT_KEEP_ALIVE:
		o->keep_alive = option_number(state, "keep-alive", arg, 0.001, 1e6);
		break;
	case OPT_NO_KEEP_ALIVE:
		o->no_keep_alive = true;
		break;
	case OPT_MAX_NUM_SEQS:
		o->max_seqs = (uint32_t)option_count(state, "max-num-seqs", arg, 1, 65536);
		break;
	case OPT_MAX_NUM_BATCHED_TOKENS:
		o->max_batched_tokens =
			(uint32_t)option_count(state, "max-num-batched-tokens", arg, 1, many);
		break;
	case OPT_MAX_MODEL_LEN:
		o->max_len = (uint32_t)option_count(state, "max-model-len", arg, 2, many);
		break;
	case OPT_BLOCK_SIZE:
		o->block_tokens = (uint32_t)option_count(state, "block-size", arg, 1, 1024);
		break;
	case OPT_NUM_BLOCKS:
		o->blocks = (uint32_t)option_count(state, "num-blocks", arg, 1, many);
		break;
	case OPT_MAX_WAITING:
		o->max_waiting = (uint32_t)option_count(state, "max-waiting", arg, 1, many);
		break;
	case OPT_NO_PREFIX_CACHING:
		o->no_prefix_cache = true;
		break;
	case OPT_PRIORITY:
		o->by_rank = true;
		break;
	case OPT_LORA:
		add_adapters(state, arg, o);
		break;
	case OPT_LORA_SLOTS:
		o->adapter_slots =
			(uint32_t)option_count(state, "lora-slots", arg, 1, MODEL_MAX_ADAPTERS - 1);
		break;
	case OPT_LORA_LOAD:
		o->adapter_load = option_number(state, "lora-load", arg, 0, 3600);
		break;
	case OPT_OUTPUT:
		need_output(state, arg, o);
		break;
	case OPT_STREAM_INTERVAL:
		o->stream_interval = (uint32_t)option_count(state, "stream-interval", arg, 1, 1e6);
		break;
	case OPT_JITTER:
		o->jitter = option_number(state, "jitter", arg, 0, 0.5);
		break;
	case OPT_STARTUP:
		need_override(state, "startup", arg, 0, 1e6, &o->startup);
		break;
	case OPT_STARTUP_503:
		o->startup_503 = true;
		break;
	case OPT_FAIL_RATE:
		need_override(state, "fail-rate", arg, 0, 1, &o->fail);
		break;
	case OPT_SLOW:
		need_override(state, "slow", arg, 0.01, 1000, &o->slow);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is no option; see --help", arg);
		break;
	case ARGP_KEY_END:
		if (o->count * o->ranks > MAX_SERVERS)
			argp_error(state, "%u servers of %u ranks are more than %d", o->count,
				   o->ranks, MAX_SERVERS);
		if (o->port && o->port + o->count * o->ranks - 1 > 65535)
			argp_error(state, "ports from %u on do not suffice for %u servers", o->port,
				   o->count * o->ranks);
		if (o->profile_count > 1 && o->profile_count != o->count)
			argp_error(state, "--profile: one, or one for each of the %u servers",
				   o->count);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void option_set(uint32_t *to, uint32_t value)
{
	if (value)
		*to = value;
}

/* The engine of a server: its profile, changed by the options. */
static struct model_config engine(const struct options *o, unsigned int server, unsigned int rank)
{
	struct model_config c = o->profiles[server % o->profile_count]->config;

	option_set(&c.max_seqs, o->max_seqs);
	if (o->max_seqs > c.max_batched_tokens)
		c.max_batched_tokens = o->max_seqs;
	option_set(&c.max_batched_tokens, o->max_batched_tokens);
	option_set(&c.max_len, o->max_len);
	if (o->block_tokens && !o->blocks) /* keep the size of the KV cache in tokens */
		c.blocks = MAX(c.blocks * c.block_tokens / o->block_tokens, 1U);
	option_set(&c.block_tokens, o->block_tokens);
	option_set(&c.blocks, o->blocks);
	c.max_waiting = o->max_waiting;
	c.no_prefix_cache = o->no_prefix_cache;
	c.by_rank = o->by_rank;
	c.adapters = o->adapter_count;
	c.adapter_slots = o->adapter_slots;
	c.adapter_load_ns = (uint64_t)(o->adapter_load * 1e9);
	c.jitter = o->jitter;
	c.fail_rate = override_value(&o->fail, server, 0);
	c.seed = model_chain(o->seed, (uint64_t)server << 8 | rank);
	c.token_events = true;
	return c;
}

static int run(const struct options *o)
{
	unsigned int count = o->count * o->ranks;
	_cleanup_free_ struct server_config *servers = calloc(count, sizeof(*servers));
	char(*names)[256] = calloc(o->count, sizeof(*names));
	struct sim_config config = {.servers = servers,
				    .count = count,
				    .speed = o->speed,
				    .keep_alive_ns = (uint64_t)(o->keep_alive * 1e9),
				    .no_keep_alive = o->no_keep_alive};
	int err = -ENOMEM;

	for (unsigned int i = 0; servers && names && i < count; i++) {
		unsigned int server = i / o->ranks, rank = i % o->ranks;

		snprintf(names[server], sizeof(*names), "%s-%u", o->prefix, server);
		servers[i] = (struct server_config){
			.name = names[server],
			.host = o->host,
			.port = (uint16_t)(o->port ? o->port + i : 0),
			.rank = rank,
			.model_name = o->model,
			.adapters = o->adapters,
			.engine = engine(o, server, rank),
			.startup_ns = (uint64_t)(override_value(&o->startup, server, 0) * 1e9),
			.startup_503 = o->startup_503,
			.slow = override_value(&o->slow, server, 1),
			.output_median = o->output_median,
			.output_sigma = o->output_sigma,
			.stream_interval = o->stream_interval,
		};
	}
	if (servers && names)
		err = sim_run(&config);
	free(names);
	return err;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = table,
		.parser = parse,
		.doc = "Simulated LLM servers with an OpenAI-compatible API and vLLM's metrics.\v"
		       "Prints a line with name and address for each server that listens.",
	};
	static struct options o = {
		.host = "127.0.0.1",
		.prefix = "sim",
		.model = "llama",
		.count = 1,
		.ranks = 1,
		.port = 8001,
		.speed = 1,
		.keep_alive = 5,
		.stream_interval = 1,
		.adapter_slots = 1,
		.adapter_load = 0.5,
		.profile_count = 1,
	};

	o.profiles[0] = profile_find("llama-8b-h100");
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	log_init("pintle-sim", o.verbose ? LOG_DEBUG : LOG_WARN);
	return run(&o) ? 1 : 0;
}
