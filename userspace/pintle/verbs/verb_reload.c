/* SPDX-License-Identifier: Apache-2.0 */
/* verb_reload.c - has the daemon read its file again, and waits for the verdict. */
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../cli.h"
#include "../output.h"

/* The daemon may have to load programs, on a busy machine. */
#define RELOAD_WAIT_NS (60 * NSEC_PER_SEC)

static const struct pintle_setting_key key = {.key = PINTLE_SETTING_RELOAD};

struct asked {
	uint64_t ns;
	struct pintle_verdict verdict;
};

/* A later `pintle reload` replaces this request in the map: what answers the later one answers this
 * one, too. But an earlier one may do so as well: A takes the time, then B, B writes, and A writes
 * over it. The daemon then never hears of B's, so B asks again. */
static bool is_answered(const struct maps *m, void *arg)
{
	struct pintle_setting there;
	struct asked *a = arg;

	if (!bpf_map_lookup_elem(m->fd[MAP_settings], &key, &there) && there.set_ns < a->ns) {
		there.set_ns = a->ns;
		bpf_map_update_elem(m->fd[MAP_settings], &key, &there, BPF_ANY);
	}
	return !bpf_map_lookup_elem(m->fd[MAP_verdicts], &key, &a->verdict) &&
	       a->verdict.set_ns >= a->ns && a->verdict.judged_ns >= a->ns;
}

static int run_reload(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	struct pintle_setting request = {.set_ns = monotonic_ns()};
	struct asked a = {.ns = request.set_ns};
	char why[PINTLE_WHY_SIZE];
	int status = open_state(cli, MAPS_WRITE, &m, &s);

	if (status)
		return status;
	if (!s->daemon_alive) {
		log_error("pintled does not run: it reads %s when it starts",
			  s->node.config[0] ? s->node.config : "its configuration");
		return EXIT_FAILED;
	}
	if (bpf_map_update_elem(m->fd[MAP_settings], &key, &request, BPF_ANY)) {
		log_err_r(errno, "cannot ask for a reload");
		return EXIT_FAILED;
	}
	if (!wait_for_daemon(m, true, RELOAD_WAIT_NS, is_answered, &a)) {
		log_error("pintled has not answered: it ended, or is busy; `pintle status` tells "
			  "which");
		return EXIT_FAILED;
	}
	state_text(why, sizeof(why), a.verdict.why, sizeof(a.verdict.why));
	if (a.verdict.refused) {
		log_error("not reloaded, the former configuration still runs: %s",
			  why[0] ? why : "pintled's log says why");
		return EXIT_FAILED;
	}
	printf("reloaded %s\n", s->node.config);
	return output_finish();
}

const struct command command_reload = {
	.name = "reload",
	.kind = VERB,
	.arguments = "",
	.summary = "have pintled read its configuration again, and report the result",
	.help = "Does what SIGHUP and `systemctl reload pintled` do, and waits for the result. Exit\n"
		"status 0 if pintled took the file; 1 if it did not, with the first error (what ran\n"
		"before keeps running), or if pintled does not run. Keys that were set stay set.",
	.run = run_reload,
	.options = OPTIONS_VERB,
};
