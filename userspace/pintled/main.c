/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - pintled: load, attach, poll, publish; or undo all of it. */
#include <argp.h>

#include "../config/config.h"
#include "../base/log.h"
#include "../maps/maps.h"
#include "../base/util.h"
#include "pins.h"
#include "daemon.h"

#define EXIT_USAGE 2

struct options {
	const char *config;
	const char *bpffs;
	bool detach;
	enum log_level level;
};

enum { OPT_DETACH = 0x100, OPT_BPFFS, OPT_LOG_LEVEL };

static const struct argp_option option_table[] = {
	{"config", 'c', "FILE", 0, "Run with this configuration", 0},
	{"detach", OPT_DETACH, NULL, 0,
	 "Take away everything that pintled ever added: links, filters, pins, local routes", 0},
	{"bpffs", OPT_BPFFS, "DIR", 0,
	 "With --detach: where the pins are (default: node.bpffs of the configuration, "
	 "else " DEFAULT_BPFFS ")",
	 0},
	{"log-level", OPT_LOG_LEVEL, "LEVEL", 0, "error, warn, info (default) or debug", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'c':
		o->config = arg;
		return 0;
	case OPT_DETACH:
		o->detach = true;
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
		if (!o->detach && !o->config)
			argp_error(state, "--config FILE is needed");
		if (!o->detach && o->bpffs)
			argp_error(state, "--bpffs goes with --detach; to run, set node.bpffs in "
					  "the configuration");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = option_table,
	.parser = parse_option,
	.doc = "The daemon of Pintle: steers each new connection to the model server that should "
	       "answer soonest, inside the kernel.\v"
	       "SIGHUP reads the configuration again. SIGTERM ends the daemon and leaves the "
	       "steering in place.",
};

const char *argp_program_version = "pintled " PINTLE_VERSION;

static int run_detach(const struct options *o)
{
	_cleanup_(config_freep) struct config *c = NULL;
	const char *bpffs = o->bpffs ? o->bpffs : DEFAULT_BPFFS;

	if (!o->bpffs && o->config) {
		if (config_load(o->config, &yaml_sink_stderr, &c)) {
			log_error(
				"to detach without the configuration: pintled --detach --bpffs DIR");
			return EXIT_USAGE;
		}
		bpffs = c->bpffs;
	}
	return detach(bpffs) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_daemon(const struct options *o)
{
	struct settings *s = NULL;
	struct config *c = NULL;

	if (settings_load(o->config, &yaml_sink_stderr, &s, &c))
		return EXIT_USAGE;
	return daemon_run(s, c) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options o = {.level = LOG_INFO};

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	log_init("pintled", o.level);
	log_libbpf();
	return o.detach ? run_detach(&o) : run_daemon(&o);
}
