// SPDX-License-Identifier: Apache-2.0
/* main.c - pintle-lab: from options to a table. */

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/config/config.h"
#include "../base/options.h"
#include "../policies/lab_policy.h"
#include "lab_report.h"
#include "../load/load_trace.h"
#include "../load/load_workload.h"

#define MAX_POLICIES 64

const char *argp_program_version = "pintle-lab " PINTLE_VERSION;

/* One --policy. */
struct wanted {
	const char *spec;
	const struct lab_policy *policy;
	double values[LAB_MAX_KEYS];
	struct config *config;
};

struct options {
	struct lab_options lab;
	struct wanted policies[MAX_POLICIES];
	uint32_t policy_count, seeds;
	bool json, timeline, knee;
	double slo_ms; /* 0: the workload's */
	const char *trace, *load, *log, *verdicts;
	uint32_t hash_block;
	double speed; /* of the trace's clock */
};

enum {
	OPT_LIST = 256,
	OPT_PROFILE,
	OPT_WARMUP,
	OPT_SEED,
	OPT_SEEDS,
	OPT_BLOCK_SIZE,
	OPT_KEEP_ALIVE,
	OPT_SICK,
	OPT_KNEE,
	OPT_TIMELINE,
	OPT_TRACE,
	OPT_HASH_BLOCK,
	OPT_SPEED,
	OPT_LOAD,
	OPT_LOG,
	OPT_DEAL,
	OPT_VERDICTS,
	OPT_SURGE,
	OPT_WITHOUT,
};

static const struct argp_option table[] = {
	{.name = NULL, .doc = "Experiment:", .group = 1},
	{"workload", 'w', "NAME", 0, "Who asks for what (chat)", 0},
	{"load", OPT_LOAD, "NAME|FILE", 0, "Instead, a workload of pintle-load", 0},
	{"trace", OPT_TRACE, "FILE", 0,
	 "Instead, or beside --load, the requests of a file that pintle-load replays", 0},
	{"deal", OPT_DEAL, "N", 0, "Deal a trace's requests to N clients at random", 0},
	{"hash-block", OPT_HASH_BLOCK, "N", 0, "Tokens of one of a trace's hash_ids (512)", 0},
	{"speed", OPT_SPEED, "FACTOR", 0, "A trace's requests come FACTOR times as fast (1)", 0},
	{"policy", 'p', "NAME[:KEY=VALUE,...]", 0,
	 "Who places it; may be given more than once (all, with their defaults)", 0},
	{"endpoints", 'n', "N", 0, "Engines, 1 to 1024 (8)", 0},
	{"nodes", 'N', "N", 0, "Nodes that connect from, 1 to 1024 (4)", 0},
	{"profile", OPT_PROFILE, "NAME", 0, "Model and GPU, as of pintle-sim (llama-8b-h100)", 0},
	{"rate", 'r', "N", 0,
	 "Requests a second for each engine, with --load: new sessions (the workload's)", 0},
	{"duration", 'd', "SECONDS", 0,
	 "Virtual time that is measured (900; of a trace: to its end)", 0},
	{"surge", OPT_SURGE, "FACTOR:FROM:SECONDS", 0,
	 "New sessions come FACTOR times as fast for SECONDS, FROM s after the warm-up", 0},
	{"without", OPT_WITHOUT, "PART", 0,
	 "Leave out a part of the workload that is not its first one", 0},
	{"warmup", OPT_WARMUP, "SECONDS", 0, "Virtual time before (600; with a trace: 0)", 0},
	{"block-size", OPT_BLOCK_SIZE, "N", 0, "Tokens of a KV block (64)", 0},
	{"keep-alive", OPT_KEEP_ALIVE, "SECONDS", 0,
	 "Clients keep a connection, idle for at most so long (one request on each)", 0},
	{"sick", OPT_SICK, "I:FACTOR", 0,
	 "Steps of engine I take so many times as long; may be given for several engines", 0},
	{"seed", OPT_SEED, "N", 0, "What is random follows from this (1)", 0},
	{"seeds", OPT_SEEDS, "N", 0, "Runs, with consecutive seeds, 1 to 64 (3)", 0},
	{"knee", OPT_KNEE, "MS", OPTION_ARG_OPTIONAL,
	 "Find the highest rate with such a p95 of TTFT (the workload's)", 0},

	{.name = NULL, .doc = "Output:", .group = 2},
	{"output", 'o', "FORMAT", 0, "table or json, one line for each policy (table)", 0},
	{"log", OPT_LOG, "FILE", 0,
	 "Write a line of JSON for each request that ended, of one policy and seed", 0},
	{"verdicts", OPT_VERDICTS, "FILE", 0,
	 "Write a line of JSON for each client: how it is classified after 5 and 20 requests", 0},
	{"timeline", OPT_TIMELINE, NULL, 0, "JSON: the load of each second of the first run, too",
	 0},
	{"list", OPT_LIST, NULL, 0, "Say which workloads, policies and keys there are", 0},
	{},
};

static void list_all(void)
{
	uint32_t n;
	const struct lab_workload *w = lab_workload_list(&n);

	printf("Workloads:\n");
	for (uint32_t i = 0; i < n; i++)
		printf("  %-18s %s\n%20s rate %g, p95 of TTFT at the knee %g ms\n", w[i].name,
		       w[i].says, "", w[i].rate, w[i].slo_ms);
	printf("\nPolicies:\n");
	for (size_t i = 0; lab_policy_at(i); i++) {
		const struct lab_policy *p = lab_policy_at(i);

		printf("  %-18s %s%s\n", p->name, p->says, p->central ? " (central)" : "");
		for (int k = 0; k < LAB_MAX_KEYS && p->keys[k].name; k++)
			printf("%20s %-15s %-8g %s\n", "", p->keys[k].name, p->keys[k].value,
			       p->keys[k].says);
	}
}

static void policy_add(struct options *o, struct argp_state *state, const char *spec)
{
	struct wanted *w = &o->policies[o->policy_count];
	char why[256];

	if (o->policy_count == MAX_POLICIES)
		argp_error(state, "--policy: at most %d of them", MAX_POLICIES);
	if (lab_policy_parse(spec, &w->policy, w->values, &w->config, why, sizeof(why)))
		argp_error(state, "--policy: %s", why);
	w->spec = spec;
	o->policy_count++;
}

static void sick_set(struct options *o, struct argp_state *state, const char *text)
{
	uint32_t endpoint;
	double factor;
	char rest;

	if (sscanf(text, "%u:%lf%c", &endpoint, &factor, &rest) != 2 || endpoint >= 1024 ||
	    !(factor >= 0.01 && factor <= 1000))
		argp_error(state, "--sick: '%s' is not I:FACTOR, such as 0:4", text);
	if (o->lab.sick[endpoint] > 0)
		argp_error(state, "--sick: '%s' is the second for engine %u; give one for each",
			   text, endpoint);
	o->lab.sick[endpoint] = factor;
}

static void surge_set(struct lab_options *o, struct argp_state *state, const char *text)
{
	char rest;

	if (sscanf(text, "%lf:%lf:%lf%c", &o->surge, &o->surge_from_s, &o->surge_s, &rest) != 3 ||
	    !(o->surge >= 0.01 && o->surge <= 1000) ||
	    !(o->surge_from_s >= 0 && o->surge_from_s <= LAB_MAX_SECONDS) ||
	    !(o->surge_s >= 0.001 && o->surge_s <= LAB_MAX_SECONDS))
		argp_error(state, "--surge: '%s' is not FACTOR:FROM:SECONDS, such as 10:30:10",
			   text);
}

static void without_check(const struct lab_options *o, struct argp_state *state)
{
	const struct lab_workload *w = o->workload ?: lab_workload_find("chat");

	for (uint32_t i = 1; i < w->parts; i++)
		if (!strcmp(w->part[i].name, o->without))
			return;
	argp_error(state, "--without: '%s' is no part of workload %s that comes beside its first",
		   o->without, w->name);
}

static error_t parse_experiment(int key, const char *arg, struct argp_state *state,
				struct options *o)
{
	switch (key) {
	case 'w':
		o->lab.workload = lab_workload_find(arg);
		if (!o->lab.workload)
			argp_error(state, "--workload: no workload '%s'; see --list", arg);
		return 0;
	case OPT_PROFILE:
		o->lab.profile = profile_find(arg);
		if (!o->lab.profile)
			argp_error(state,
				   "--profile: no profile '%s'; see pintle-sim "
				   "--list-profiles",
				   arg);
		return 0;
	case 'n':
		o->lab.endpoints =
			(uint32_t)option_count(state, "endpoints", arg, 1, LAB_MAX_ENDPOINTS);
		return 0;
	case 'N':
		o->lab.nodes = (uint32_t)option_count(state, "nodes", arg, 1, LAB_MAX_NODES);
		return 0;
	case 'r':
		o->lab.rate = option_number(state, "rate", arg, 0.001, 1e5);
		return 0;
	case 'd':
		o->lab.seconds = option_number(state, "duration", arg, 1, LAB_MAX_SECONDS);
		return 0;
	case OPT_WARMUP:
		o->lab.warmup_s = option_number(state, "warmup", arg, 0, LAB_MAX_SECONDS);
		return 0;
	case OPT_BLOCK_SIZE:
		o->lab.block_tokens = (uint32_t)option_count(state, "block-size", arg, 1, 1024);
		return 0;
	case OPT_SURGE:
		surge_set(&o->lab, state, arg);
		return 0;
	case OPT_WITHOUT:
		o->lab.without = arg;
		return 0;
	case OPT_KEEP_ALIVE:
		o->lab.keep_alive_s = option_number(state, "keep-alive", arg, 0, 3600);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void options_check(struct argp_state *state, struct options *o)
{
	for (uint32_t i = o->lab.endpoints; i < LAB_MAX_ENDPOINTS; i++)
		if (o->lab.sick[i] > 0)
			argp_error(state, "--sick: there is no engine %u", i);
	if (o->trace && (o->lab.workload || o->lab.rate > 0 || o->knee))
		argp_error(state, "--trace says itself what comes and when: it does not go with "
				  "--workload, --rate or --knee");
	if (o->load && (o->lab.workload || o->knee))
		argp_error(state, "--load does not go with --workload or --knee");
	if (o->trace && o->lab.keep_alive_s > 0)
		argp_error(state, "--keep-alive does not go with --trace, whose requests have a "
				  "connection each");
	if ((o->lab.surge > 0 || o->lab.without) && (o->trace || o->load))
		argp_error(state, "--surge and --without are of a --workload of the lab's own: "
				  "--trace and --load say themselves what comes and when");
	if (o->lab.without)
		without_check(&o->lab, state);
	if (o->speed != 1 && !o->trace)
		argp_error(state, "--speed is of a --trace; --rate says how fast others come");
	if (o->lab.deal && !o->trace)
		argp_error(state,
			   "--deal is of a --trace; --load says itself which clients it has");
	if (o->verdicts && (o->seeds != 1 || o->policy_count != 1 || o->knee))
		argp_error(state, "--verdicts is of one run: give one --policy and --seeds 1");
	if (o->log && (o->seeds != 1 || o->policy_count != 1 || o->knee))
		argp_error(state, "--log is of one run: give one --policy and --seeds 1");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'p':
		policy_add(o, state, arg);
		return 0;
	case OPT_SICK:
		sick_set(o, state, arg);
		return 0;
	case OPT_SEED:
		o->lab.seed = option_count(state, "seed", arg, 0, 9e15);
		return 0;
	case OPT_SEEDS:
		o->seeds = (uint32_t)option_count(state, "seeds", arg, 1, LAB_MAX_SEEDS);
		return 0;
	case OPT_KNEE:
		o->knee = true;
		o->slo_ms = arg ? option_number(state, "knee", arg, 1, 1e6) : 0;
		return 0;
	case 'o':
		if (strcmp(arg, "table") && strcmp(arg, "json"))
			argp_error(state, "--output: '%s' is not table or json", arg);
		o->json = !strcmp(arg, "json");
		return 0;
	case OPT_TIMELINE:
		o->timeline = true;
		return 0;
	case OPT_TRACE:
		o->trace = arg;
		return 0;
	case OPT_HASH_BLOCK:
		o->hash_block = (uint32_t)option_count(state, "hash-block", arg, 1, 65536);
		return 0;
	case OPT_SPEED:
		o->speed = option_number(state, "speed", arg, 0.001, 1000);
		return 0;
	case OPT_LOAD:
		o->load = arg;
		return 0;
	case OPT_LOG:
		o->log = arg;
		return 0;
	case OPT_DEAL:
		o->lab.deal = (uint32_t)option_count(state, "deal", arg, 1, 1000000);
		return 0;
	case OPT_VERDICTS:
		o->verdicts = arg;
		return 0;
	case OPT_LIST:
		list_all();
		exit(0);
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': takes no arguments", arg);
		return EINVAL;
	case ARGP_KEY_END:
		options_check(state, o);
		return 0;
	default:
		return parse_experiment(key, arg, state, o);
	}
}

static int run_one(const struct options *o, const struct wanted *w, const char **what)
{
	struct lab_options lab = o->lab;
	struct lab_row row;
	int err;

	lab.policy = w->policy;
	memcpy(lab.values, w->values, sizeof(lab.values));
	lab.config = w->config;
	if (lab.rate <= 0)
		lab.rate = lab.workload->rate;
	if (o->knee)
		err = lab_knee(&lab, w->spec, o->seeds,
			       o->slo_ms > 0 ? o->slo_ms : lab.workload->slo_ms, lab.rate / 8,
			       lab.rate * 3, &row, what);
	else
		err = lab_row_run(&lab, w->spec, o->seeds, &row, what);
	if (err)
		return err;
	if (o->json)
		err = lab_json_row(stdout, &lab, &row, o->timeline);
	else
		lab_table_row(stdout, &row);
	fflush(stdout);
	lab_row_fini(&row);
	return err;
}

static int run(struct options *o)
{
	const char *what = "";
	int err = 0;

	if (!o->policy_count)
		for (size_t i = 0; lab_policy_at(i); i++)
			policy_add(o, NULL, lab_policy_at(i)->name);
	if (!o->json)
		lab_table_head(stdout);
	for (uint32_t i = 0; !err && i < o->policy_count; i++)
		err = run_one(o, &o->policies[i], &what);
	for (uint32_t i = 0; i < o->policy_count; i++)
		config_free(o->policies[i].config);
	if (err)
		return log_err_r(-err, "the experiment failed%s%s", *what ? ": " : "", what);
	return 0;
}

static double measured_of(const struct options *o, const struct trace *trace)
{
	size_t n = 0;

	for (size_t i = 0; i < trace->count; i++) {
		double at_s = (double)trace->requests[i].at_ns / 1e9 - ceil(o->lab.warmup_s);

		n += at_s >= 0 && at_s < o->lab.seconds;
	}
	return (double)n;
}

static int settle_trace(struct options *o, struct trace *trace)
{
	int err = trace_load(o->trace, o->hash_block, &yaml_sink_stderr, trace);

	if (err)
		return err;
	for (size_t i = 0; o->speed != 1 && i < trace->count; i++)
		trace->requests[i].at_ns = (uint64_t)((double)trace->requests[i].at_ns / o->speed);
	o->lab.trace = trace;
	if (o->lab.seconds <= 0)
		o->lab.seconds = 1 + floor((double)trace->requests[trace->count - 1].at_ns / 1e9 -
					   o->lab.warmup_s);
	o->lab.rate = measured_of(o, trace) / o->lab.endpoints / o->lab.seconds;
	if (o->lab.seconds >= 1 && o->lab.seconds <= LAB_MAX_SECONDS)
		return 0;
	log_error("%s: it must last longer than the warm-up, and at most a day; else give a "
		  "--duration",
		  o->trace);
	return -EINVAL;
}

static int settle_load(struct options *o, struct workload **load)
{
	int err = workload_open(o->load, &yaml_sink_stderr, load);

	if (err)
		return err;
	if (o->lab.rate > 0 && !workload_set_rate(*load, o->lab.rate * o->lab.endpoints)) {
		log_error("--rate: %s has no open-loop class", o->load);
		return -EINVAL;
	}
	o->lab.load = *load;
	return 0;
}

/* Fills in what the command line does not say. */
static int options_settle(struct options *o, struct lab_workload *foreign, struct trace *trace,
			  struct workload **load)
{
	int err = 0;

	if (o->lab.warmup_s < 0)
		o->lab.warmup_s = o->trace ? 0 : 600;
	if (o->trace || o->load) {
		*foreign = lab_workload_foreign;
		foreign->name = o->trace ?: o->load;
		o->lab.workload = foreign;
		if (o->load) /* first: a trace determines the rate */
			err = settle_load(o, load);
		if (o->trace && !err)
			err = settle_trace(o, trace);
	}
	o->lab.workload = o->lab.workload ?: lab_workload_find("chat");
	o->lab.seconds = o->lab.seconds > 0 ? o->lab.seconds : 900;
	return err;
}

static int file_begin(const char *path, FILE **f)
{
	if (!path)
		return 0;
	*f = fopen(path, "we");
	return *f ? 0 : log_err_r(errno, "cannot write %s", path);
}

/* Returns `err`, or the file's own error if there was none before. */
static int file_end(const char *path, FILE *f, int err)
{
	if (f && fclose(f) && !err)
		err = log_err_r(errno, "cannot write %s", path);
	return err;
}

static int run_logged(struct options *o)
{
	int err = file_begin(o->log, &o->lab.log);

	if (!err)
		err = file_begin(o->verdicts, &o->lab.verdicts);
	if (!err)
		err = run(o);
	err = file_end(o->log, o->lab.log, err);
	return file_end(o->verdicts, o->lab.verdicts, err);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = table,
		.parser = parse,
		.doc = "Compares placement policies on many simulated engines, in virtual time.\v"
		       "The same options give the same figures.",
	};
	static struct options o = {
		.lab = {.endpoints = 8, .nodes = 4, .block_tokens = 64, .warmup_s = -1, .seed = 1},
		.seeds = 3,
		.hash_block = TRACE_ID_TOKENS,
		.speed = 1,
	};
	_cleanup_(workload_freep) struct workload *load = NULL;
	_cleanup_(trace_free) struct trace trace = {0};
	struct lab_workload foreign;

	o.lab.profile = profile_find("llama-8b-h100");
	argp_err_exit_status = 2;
	log_init("pintle-lab", LOG_WARN);
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (options_settle(&o, &foreign, &trace, &load))
		return 2;
	return run_logged(&o) ? 1 : 0;
}
