/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - pintled: load, attach, poll, publish; or undo all of it. */
#include "../../config/config.h"
#include "../../base/log.h"
#include "../../maps/maps.h"
#include "../../base/util.h"
#include "../attach/detach.h"
#include "daemon.h"
#include "detach_nodes.h"
#include "removal.h"
#include "../../responder/responder.h"
#include "options.h"

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
	return detach(bpffs, o->force) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_detach_nodes(const struct options *o)
{
	_cleanup_(config_freep) struct config *c = NULL;

	if (o->config && config_load(o->config, &yaml_sink_stderr, &c))
		return EXIT_USAGE;
	return detach_nodes(c ? c->kubeconfig : NULL, o->detach_nodes) ? EXIT_FAILURE
								       : EXIT_SUCCESS;
}

static int steer(const struct options *o)
{
	struct settings *s = NULL;
	struct config *c = NULL;

	if (settings_load(o->config, &yaml_sink_stderr, &s, &c))
		return EXIT_USAGE;
	if (!maps_removed(c->bpffs))
		return daemon_run(s, c);
	config_free(c);
	settings_free(s);
	return DAEMON_REMOVED;
}

static int stand_by(const struct options *o)
{
	_cleanup_(config_freep) struct config *c = NULL;

	return config_load(o->config, &yaml_sink_stderr, &c) ? EXIT_USAGE : removal_stand_by(c);
}

static int run_daemon(const struct options *o)
{
	int err;

	do {
		err = steer(o);
		if (err == DAEMON_REMOVED)
			err = stand_by(o);
	} while (err == REMOVAL_OVER);
	return err == EXIT_USAGE ? err : err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options o = {.level = LOG_INFO};

	if (argc == 2 && !strcmp(argv[1], RESPONDER_OPTION))
		return responder_run();
	daemon_options_parse(argc, argv, &o);
	log_init("pintled", o.level);
	log_libbpf();
	if (o.detach_nodes)
		return run_detach_nodes(&o);
	return o.detach ? run_detach(&o) : run_daemon(&o);
}
