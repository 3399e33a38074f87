/* SPDX-License-Identifier: Apache-2.0 */
/* verb_drain.c - sends no further connection to an endpoint, and takes that back. */
#include <assert.h>
#include <bpf/bpf.h>
#include <unistd.h>

#include "../../base/log.h"
#include "../../maps/state_found.h"
#include "../cli.h"
#include "../output.h"

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

bool drain_leaves_none(const struct state *s, const struct state_endpoint *e)
{
	return s->pools[e->pool].ready_count <= (takes_connections(e) ? 1U : 0U);
}

static void warn_of_last(const struct state *s, const struct state_endpoint *e)
{
	const struct state_pool *p = &s->pools[e->pool];

	if (!drain_leaves_none(s, e))
		return;
	log_warn("no other endpoint of %s is ready: its connections %s", p->name,
		 without_own_endpoints(s, p));
}

const char *drain_still(const struct state *s, const struct state_endpoint *e)
{
	if (!e->drained_configured)
		return NULL;
	return state_is_found(&s->pools[e->pool])
		       ? "takes no further connection, because its pod terminates"
		       : "takes no further connection, because the file drains it";
}

/* ---- waiting ------------------------------------------------------------------------- */

#define LOOK_NSEC (NSEC_PER_SEC / 5)

/* What is at a drained endpoint. */
struct rest {
	int64_t open;
	int64_t placed; /* not open yet: that may still come, until the placement lapses */
	bool gone;      /* the endpoint is no more */
	bool undrained;
};

static int rest_read(const struct maps *m, const struct state_endpoint *e, struct rest *out)
{
	struct pintle_override o;
	struct pintle_inflight n;
	struct pintle_endpoint is;
	int err = maps_value(m, MAP_endpoints, e->id, &is);

	if (!err)
		err = maps_value(m, MAP_inflight, e->id, &n);
	if (!err)
		err = maps_value(m, MAP_overrides, PINTLE_ENDPOINT_SLOT(e->id), &o);
	if (err)
		return log_err_r(err, "cannot read the connections of %s", e->name);
	*out = (struct rest){
		.gone = is.generation != e->generation,
		.undrained = !(is.flags & PINTLE_ENDPOINT_DRAINED) &&
			     !(o.generation == e->generation && o.flags & PINTLE_OVERRIDE_DRAIN),
	};
	for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *k = &n.by_class[i];

		out->open += (int64_t)(k->opened - k->closed);
		out->placed += (int64_t)(k->placed - k->opened - k->failed);
	}
	return 0;
}

/* On a terminal, one line that is written again and again. */
static void progress_print(const char *name, const struct rest *r, uint64_t waited_ns)
{
	char waited[WORDS_SIZE];

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K%s: %lld open after %s", name, (long long)MAX(r->open, 0),
		age_text((double)waited_ns / (double)NSEC_PER_SEC, waited));
	fflush(stderr);
}

static void progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Waits until nothing is open at the endpoint, and nothing that was placed before it was drained
 * may still come. A signal ends the program as always, and the endpoint stays drained. */
static int drain_wait(const struct cli *cli, const struct maps *m, const struct state_endpoint *e,
		      const char *name)
{
	const struct timespec pause = {.tv_nsec = LOOK_NSEC};
	uint64_t begun = monotonic_ns(), waited = 0;
	struct rest r = {0};

	while (!rest_read(m, e, &r)) {
		bool lapsed = waited > PINTLE_PENDING_NS;

		waited = monotonic_ns() - begun;
		if (r.gone || r.undrained || (r.open <= 0 && (r.placed <= 0 || lapsed))) {
			progress_end();
			if (r.undrained && !r.gone) {
				log_error("%s takes connections again: it was undrained", name);
				return EXIT_FAILED;
			}
			printf("%s: %s\n", name, r.gone ? "is gone" : "no connection is open");
			return output_finish();
		}
		if (cli->deadline_ns && waited >= cli->deadline_ns) {
			progress_end();
			log_error("%s is drained, and the deadline passed: %lld connections are "
				  "open",
				  name, (long long)MAX(r.open, 0));
			return EXIT_DEADLINE;
		}
		progress_print(name, &r, waited);
		nanosleep(&pause, NULL);
	}
	return EXIT_FAILED;
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
	still = drain_still(s, e);
	if (e->drained == drained) {
		printf("%s: %s\n", name,
		       drained ? "is drained already" : still ?: "was not drained");
		return cli->wait ? drain_wait(cli, m, e, name) : output_finish();
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
	fflush(stdout);
	return cli->wait ? drain_wait(cli, m, e, name) : output_finish();
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
	.arguments = "ENDPOINT [--wait [--deadline TIME]]",
	.summary = "send no further connection to an endpoint",
	.help = "Open connections continue; bound sessions move at their next connection. ENDPOINT\n"
		"is POOL/NAME, or NAME where that is unambiguous. With --wait it ends when no\n"
		"connection of this node is open there, with Ctrl-C, or at the deadline with exit\n"
		"status 3; the endpoint stays drained in any case.",
	.run = run_drain,
	.options = OPTIONS_VERB | OPTION_WAIT,
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
