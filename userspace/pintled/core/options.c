/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <ctype.h>

#include "../../base/build.h"
#include "../../base/util.h"
#include "../../maps/maps.h"

#define SECONDS_DIGITS 5

enum { OPT_DETACH = 0x100, OPT_FORCE, OPT_DETACH_NODES, OPT_BPFFS, OPT_LOG_LEVEL };

const struct argp_option daemon_options[] = {
	{"config", 'c', "FILE", 0,
	 "Run with this configuration, a YAML file; `pintle check` validates one", 0},
	{"detach", OPT_DETACH, NULL, 0,
	 "Remove everything that pintled ever added, and only that: links, filters, pins, local "
	 "routes. Needs nothing but the pins, so it works without the configuration",
	 0},
	{"force", OPT_FORCE, NULL, 0,
	 "With --detach: reset spliced connections that are open, which keep the program that "
	 "translates them otherwise",
	 0},
	{"detach-nodes", OPT_DETACH_NODES, "SECONDS", 0,
	 "In Kubernetes: tell the pintled of each node to do the same, and to stay detached until "
	 "Pintle is installed again; wait so long for all of them, and name those that do not "
	 "answer. The chart's removal does it",
	 0},
	{"bpffs", OPT_BPFFS, "DIR", 0,
	 "With --detach: the directory that holds the pins. The default is what the configuration "
	 "names, else " DEFAULT_BPFFS,
	 0},
	{"log-level", OPT_LOG_LEVEL, "LEVEL", 0,
	 "The least grave messages to log: error, warn, info (the default) or debug", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	char *end;

	switch (key) {
	case 'c':
		o->config = arg;
		return 0;
	case OPT_DETACH:
		o->detach = true;
		return 0;
	case OPT_FORCE:
		o->force = true;
		return 0;
	case OPT_DETACH_NODES:
		o->detach_nodes = (unsigned int)strtoul(arg, &end, 10);
		if (*end || !isdigit((unsigned char)*arg) || !o->detach_nodes ||
		    strlen(arg) > SECONDS_DIGITS)
			argp_error(state, "--detach-nodes %s: seconds, as in 120", arg);
		return 0;
	case OPT_BPFFS:
		o->bpffs = arg;
		return 0;
	case OPT_LOG_LEVEL:
		if (log_level_parse(arg, &o->level))
			argp_error(state, "--log-level %s: one of error, warn, info, debug", arg);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	case ARGP_KEY_END:
		if (o->detach && o->detach_nodes)
			argp_error(state, "--detach is for this node, --detach-nodes for all");
		if (!o->detach && !o->detach_nodes && !o->config)
			argp_error(state, "--config FILE is needed");
		if (!o->detach && o->force)
			argp_error(state, "--force goes with --detach");
		if (!o->detach && o->bpffs)
			argp_error(state, "--bpffs goes with --detach; to run, set node.bpffs in "
					  "the configuration");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = daemon_options,
	.parser = parse_option,
	.doc = "The daemon of Pintle: steers each new connection to the model server that should "
	       "answer soonest, inside the kernel.\v"
	       "SIGHUP reads the configuration again. SIGTERM ends the daemon and leaves the "
	       "steering in place.",
};

static void print_version(FILE *out, struct argp_state *state)
{
	(void)state;
	fprintf(out, "pintled %s\n", build_version);
}

void (*argp_program_version_hook)(FILE *, struct argp_state *) = print_version;

void daemon_options_parse(int argc, char **argv, struct options *o)
{
	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, o);
}
