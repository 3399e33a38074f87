/* SPDX-License-Identifier: Apache-2.0 */
/* verb_set.c - sets one setting of a pool at run time. */
#include "../base/log.h"
#include "../maps/names.h"
#include "cli.h"
#include "output.h"
#include "traits.bpf.h"

/* The daemon looks several times a second. */
#define ATTACH_WAIT_NS (3 * NSEC_PER_SEC)
#define ATTACH_LOOK_MS 20

static const char requests_is[] = "requests=";

/* From when on it holds: the program has to be where the requests arrive. A daemon that ended a
 * moment ago looks alive at first. */
static const char *when(const struct maps *m, const struct state_pool *p, bool alive,
			uint32_t requests)
{
	const struct timespec look = {.tv_nsec = ATTACH_LOOK_MS * (long)NSEC_PER_MSEC};
	uint64_t begin = monotonic_ns(), now = begin;
	struct pintle_node n = {0};

	if (requests != PINTLE_REQUESTS_ONE_PER_CONNECTION)
		return "";
	while (!maps_value(m, MAP_node, 0, &n) && !n.devices && alive &&
	       now - begin < ATTACH_WAIT_NS) {
		nanosleep(&look, NULL);
		now = monotonic_ns();
		/* One that starts over pins writes no heartbeat until it knows something. */
		alive = (int64_t)(now - MAX(n.heartbeat_ns, n.started_ns)) <=
			(int64_t)STATE_HEARTBEAT_NS;
	}
	if (n.devices)
		return "";
	if (!alive)
		return "; takes effect when pintled starts";
	return hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS)
		       ? "; pintled has not attached it, its log says why"
		       : "; on the nodes of its servers, none of which is here";
}

static int requests_set(const struct maps *m, const struct state *s, const struct state_pool *p,
			uint32_t requests)
{
	bool configured = requests == p->requests_configured;

	if (override_pool(m, p, PINTLE_OVERRIDE_REQUESTS, requests, configured))
		return EXIT_FAILED;
	printf("%s: requests %s%s%s\n", p->name, requests_name(requests),
	       configured ? ", as configured" : ", until it is set again or `pintle reset`",
	       when(m, p, s->daemon_alive, requests));
	return output_finish();
}

int run_set(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const char *setting = cli->words[1];
	const struct state_pool *p;
	uint32_t requests;
	int status;

	if (strncmp(setting, requests_is, strlen(requests_is)) != 0) {
		log_error("no setting '%s'; there is requests=as-they-come and "
			  "requests=one-per-connection",
			  setting);
		return usage_error(cli);
	}
	setting += strlen(requests_is);
	if (requests_parse(setting, &requests)) {
		log_error("requests cannot be '%s'; there are as-they-come and one-per-connection",
			  setting);
		return usage_error(cli);
	}
	status = open_state(cli, MAPS_WRITE, &m, &s);
	if (status)
		return status;
	p = find_pool(s, cli->words[0]);
	return p ? requests_set(m, s, p, requests) : EXIT_FAILED;
}
