/* SPDX-License-Identifier: Apache-2.0 */
/* verb_drain.c - sends no further connection to an endpoint, and takes that back. */
#include <assert.h>
#include <bpf/bpf.h>

#include "../base/log.h"
#include "../maps/state_found.h"
#include "cli.h"
#include "output.h"

int drain_set(const struct maps *m, const struct state_endpoint *e, bool drained)
{
	uint32_t slot = PINTLE_ENDPOINT_SLOT(e->id);
	struct pintle_override o = {0};

	assert(m->writable);
	if (drained)
		o = (struct pintle_override){
			.generation = e->generation,
			.flags = PINTLE_OVERRIDE_DRAIN,
			.since_ns = monotonic_ns(),
		};
	if (bpf_map_update_elem(m->fd[MAP_overrides], &slot, &o, BPF_ANY))
		return log_err_r(errno, "cannot %s %s", drained ? "drain" : "undrain", e->name);
	return 0;
}

static bool takes_connections(const struct state_endpoint *e)
{
	return e->state == STATE_READY || e->state == STATE_SATURATED || e->state == STATE_STALE;
}

static void warn_of_last(const struct state *s, const struct state_endpoint *e)
{
	const struct state_pool *p = &s->pools[e->pool];

	if (p->ready_count > (takes_connections(e) ? 1U : 0U))
		return;
	log_warn("no other endpoint of %s is ready: its connections %s", p->name,
		 without_endpoints(p));
}

/* Why the endpoint takes no connection even if `pintle drain` does not hold; NULL: it does. */
static const char *still_drained(const struct state *s, const struct state_endpoint *e)
{
	if (!e->drained_configured)
		return NULL;
	return state_is_found(&s->pools[e->pool])
		       ? "takes no further connection, because its pod terminates"
		       : "takes no further connection, because the file drains it";
}

static int drain_run(const struct cli *cli, bool drained)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_endpoint *e;
	char name[ENDPOINT_NAME_SIZE];
	const char *still;
	int status = open_state(cli, MAPS_WRITE, &m, &s);

	if (status)
		return status;
	e = find_endpoint(s, cli->words[0]);
	if (!e)
		return EXIT_FAILED;
	endpoint_name(s, e, name);
	still = still_drained(s, e);
	if (e->drained == drained) {
		printf("%s: %s\n", name,
		       drained ? "is drained already" : still ?: "was not drained");
		return output_finish();
	}
	if (drain_set(m, e, drained))
		return EXIT_FAILED;
	if (drained) {
		warn_of_last(s, e);
		printf("%s: drained; %lld open connections continue\n", name,
		       (long long)e->in_flight);
	} else {
		printf("%s: %s\n", name, still ?: "takes connections again");
	}
	return output_finish();
}

static int run_drain(struct cli *cli)
{
	return drain_run(cli, true);
}

static int run_undrain(struct cli *cli)
{
	return drain_run(cli, false);
}

const struct command command_drain = {
	.name = "drain",
	.kind = VERB,
	.arguments = "ENDPOINT",
	.summary = "send no further connection to an endpoint",
	.help = "Open connections continue; bound sessions move at their next connection. ENDPOINT\n"
		"is POOL/NAME, or NAME where that is unambiguous.",
	.run = run_drain,
	.options = OPTIONS_VERB,
	.least = 1,
	.most = 1,
	.words = {WORD_ENDPOINT},
};

const struct command command_undrain = {
	.name = "undrain",
	.kind = VERB,
	.arguments = "ENDPOINT",
	.summary = "take back a drain",
	.run = run_undrain,
	.options = OPTIONS_VERB,
	.least = 1,
	.most = 1,
	.words = {WORD_ENDPOINT},
};
