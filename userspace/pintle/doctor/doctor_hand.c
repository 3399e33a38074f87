/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_hand.c - what pools with `decide: request` need of this machine, besides the kernel. */
#include <bpf/bpf.h>

#include "../../maps/kernel.h"
#include "../../net/firewall.h"
#include "../../net/netdev.h"
#include "../../net/netns.h"
#include "../../net/routes.h"
#include "../../net/tc.h"
#include "doctor.h"

/* ---- in the steered namespace ----------------------------------------------------------- */

bool doctor_cookies_off(const struct doctor *d)
{
	long value;

	return d->netns >= 0 && !netns_sysctl(d->netns, KERNEL_HAND_SYSCTL, &value) && !value;
}

/* ---- programs before the hand-off ------------------------------------------------------- */

/* Returns false where the name cannot be read, as without CAP_SYS_ADMIN. */
static bool doctor_hand_program_name(uint32_t id, char *name, size_t size)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {0};
	uint32_t length = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length))
		return false;
	if (info.name[0])
		state_text(name, size, info.name, sizeof(info.name));
	else
		snprintf(name, size, "tcx program %u", id);
	return true;
}

/* Names the program of others that sees the device's packets before the hand-off. */
static bool before_hand(const struct doctor *d, const struct tc_device *device,
			char name[TC_NAME_SIZE])
{
	const char *hand = device->ethernet ? "pintle_hand" : "pintle_hand3";
	uint32_t ids[NETDEV_TCX_MAX],
		n = netdev_tcx_programs(d->netns, device->index, NETDEV_TCX_INGRESS, ids);
	bool found = false;

	for (uint32_t i = 0; i < n; i++) {
		char program[TC_NAME_SIZE];

		if (!doctor_hand_program_name(ids[i], program, sizeof(program)))
			return false;
		if (!strcmp(program, hand))
			return found;
		if (!found && strncmp(program, "pintle_", strlen("pintle_")) != 0) {
			snprintf(name, TC_NAME_SIZE, "%s", program);
			found = true;
		}
	}
	return found || tc_before(d->netns, (struct tc_point){device->index, TC_IN}, hand, name);
}

static bool has_hand(const struct doctor *d, const char *device)
{
	for (size_t i = 0; i < d->s->device_count; i++)
		if (!strcmp(d->s->devices[i].name, device))
			return true;
	return false;
}

static void say_before(struct doctor *d)
{
	_cleanup_free_ struct tc_device *devices = NULL;
	char name[TC_NAME_SIZE];
	size_t n = 0;

	if (!d->privileged || d->netns < 0 || tc_devices(d->netns, &devices, &n))
		return; /* other checks say that they could not look */
	for (size_t i = 0; i < n; i++) {
		if (!has_hand(d, devices[i].name) || !before_hand(d, &devices[i], name))
			continue;
		doctor_say(d, VERDICT_WARN,
			   "if that program takes packets to the frontends, as Cilium's do, use "
			   "decide: connection there, or let it pass them",
			   "%s: %s sees packets before the hand-off; connections that it takes are "
			   "decided by their addresses",
			   devices[i].name, name);
	}
}

/* ---- firewalls and nat behind the hand-off ------------------------------------------------ */

/* Longer ago, a client's failure may have been anything. */
#define FAILED_NS (600 * NSEC_PER_SEC)

static void list_chains(char *to, size_t size, const struct firewall_chains *chains,
			const char *more)
{
	size_t at = 0;

	to[0] = '\0';
	for (size_t i = 0; i < chains->count && i < FIREWALL_CHAINS && at < size; i++)
		at += (size_t)snprintf(to + at, size - at, "%s%s", i ? "; " : "", chains->names[i]);
	if (at < size && chains->count > FIREWALL_CHAINS)
		at += (size_t)snprintf(to + at, size - at, "; and %zu more",
				       chains->count - FIREWALL_CHAINS);
	if (at < size && more)
		snprintf(to + at, size - at, "%s%s", at ? "; " : "", more);
}

static void say_causes(struct doctor *d, enum verdict verdict)
{
	char chains[FIREWALL_CHAINS * FIREWALL_CHAIN_SIZE + 80];
	struct firewall f;
	int err = firewall_read(d->netns, &f);

	if (err && err != -EINVAL && err != -EOPNOTSUPP)
		doctor_say(d, VERDICT_WARN, d->for_privilege ?: "nft list ruleset",
			   "cannot read the rules of nftables: %s", strerror(-err));
	list_chains(chains, sizeof(chains), &f.nat, f.legacy_nat ? "iptables-legacy" : NULL);
	if (chains[0])
		doctor_say(
			d, verdict,
			"let connection tracking leave the frontend's packets alone (`notrack`, see "
			"docs/handoff.md, Firewalls and nat), or use decide: connection",
			"nat takes a new connection's socket off, unless its packets are "
			"untracked: %s",
			chains);
	list_chains(chains, sizeof(chains), &f.states,
		    f.legacy_filter ? "iptables-legacy, which cannot be read" : NULL);
	if (chains[0])
		doctor_say(
			d, verdict,
			"accept the frontend's packets before those rules, whatever their state",
			"rules that ask for a connection's state, or for a SYN, may drop its first "
			"segment, since they never saw the SYN: %s",
			chains);
	if (f.strict)
		doctor_say(
			d, verdict, "sysctl net.netfilter.nf_conntrack_tcp_loose=1",
			"net.netfilter.nf_conntrack_tcp_loose is 0: connections are `invalid` to "
			"connection tracking, which never saw their SYN");
}

static void say_failing(struct doctor *d)
{
	bool failing = false;

	for (size_t i = 0; i < d->s->pool_count; i++) {
		const struct state_pool *p = &d->s->pools[i];

		if (p->decide != PINTLE_DECIDE_REQUEST ||
		    (!p->rest.until_ns &&
		     (!p->rest.newest_ns || d->s->now_ns - p->rest.newest_ns > FAILED_NS)))
			continue;
		failing = true;
		if (!p->rest.newest_ns) {
			doctor_say(
				d, VERDICT_FAIL,
				"see below for the chains, and docs/handoff.md, Firewalls and nat",
				"pool %s: nat would take the sockets off that become of what the "
				"hand-off hands over, so it rests%s: connections are decided by "
				"their addresses",
				p->name, state_rest_words(p->rests));
			continue;
		}
		doctor_say(
			d, p->rest.until_ns && !p->in_pods ? VERDICT_FAIL : VERDICT_WARN,
			"see below for what the firewall has, and docs/handoff.md, Firewalls and nat",
			"pool %s: no socket became of %s requests that were handed over%s%s%s",
			p->name, p->rests ? "the newest" : "some",
			p->in_pods ? ""
			: p->rests ? ", so the hand-off rests"
				   : "",
			p->in_pods ? "" : state_rest_words(p->rests),
			p->in_pods ? ""
			: p->rests
				? ": connections are decided by their addresses"
				: ": connections of those clients are decided by their addresses");
	}
	if (failing && d->netns >= 0)
		say_causes(d, VERDICT_WARN);
}

/* ---- pools ---------------------------------------------------------------------------------- */

/* Only the first request of a kept connection is decided. */
static void say_kept(struct doctor *d)
{
	for (size_t i = 0; i < d->s->pool_count; i++) {
		const struct state_pool *p = &d->s->pools[i];

		if (p->decide == PINTLE_DECIDE_REQUEST && p->frontend_count &&
		    p->requests == PINTLE_REQUESTS_AS_THEY_COME)
			doctor_say(d, VERDICT_OK, NULL,
				   "%s: only the first request of a connection is decided; "
				   "requests: one-per-connection decides each",
				   p->name);
	}
}

static void say_routes(struct doctor *d)
{
	struct route_bounds b = {0};

	for (size_t i = 0; d->netns >= 0 && i < d->s->pool_count; i++) {
		if (d->s->pools[i].decide != PINTLE_DECIDE_REQUEST)
			continue;
		if (routes_bounds(d->netns, PINTLE_MAX_WAYS, &b) == -E2BIG)
			doctor_say(
				d, VERDICT_WARN,
				"see docs/handoff.md, What this machine has; turning forwarding on "
				"(net.ipv4.ip_forward) lets the kernel tell each route",
				"the routes have more than %u prefixes, which the hand-off does "
				"not follow: where this machine does not forward, answers leave "
				"by the device that the client's SYN came by",
				PINTLE_MAX_WAYS);
		free(b.all);
		return;
	}
}

void doctor_hand_more(struct doctor *d)
{
	say_before(d);
	say_failing(d);
	say_routes(d);
	say_kept(d);
}
