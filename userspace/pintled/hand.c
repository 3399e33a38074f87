/* SPDX-License-Identifier: Apache-2.0 */
#include "hand.h"

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/kernel.h"
#include "../net/firewall.h"
#include "../net/netns.h"
#include "devices.h"
#include "ways.h"
#include "xdp.h"

/* Behind one-shot and most filters of others, so that those see the SYNs that the hand-off answers.
 */
#define PRIORITY 16

struct hand {
	struct attachment *attachment;
	struct devices *devices;
	struct xdp *xdp;
	const struct config *config;
	bool wanted[PINTLE_MAX_POOLS];  /* parallel to the configuration's pools */
	bool rests;                     /* as it was logged */
	uint64_t failed_ns;             /* the newest failure that was looked at */
	bool resting[PINTLE_MAX_POOLS]; /* by id: as it was logged */
	struct firewall wall;           /* as of the newest look while a pool rests */
	uint32_t wall_generation;
	bool to_node;   /* some pool has connections handed over on the node itself */
	uint32_t *seen; /* the devices, by index, whose incoming packets it sees */
	size_t seen_n, seen_room;
};

int hand_check(const struct config *c, char why[PINTLE_WHY_SIZE])
{
	for (size_t i = 0; i < c->pool_count; i++) {
		if (c->pools[i].decide != PINTLE_DECIDE_REQUEST || kernel_hands_over())
			continue;
		if (why)
			snprintf(why, PINTLE_WHY_SIZE, "%.64s: " KERNEL_NO_HAND, c->pools[i].name);
		log_error("pool %s: " KERNEL_NO_HAND, c->pools[i].name);
		return -EOPNOTSUPP;
	}
	return 0;
}

void hand_configure(struct hand *h, const struct config *c)
{
	memset(h->wanted, 0, sizeof(h->wanted));
	h->config = c;
	h->to_node = false;
	for (size_t i = 0; i < c->pool_count; i++) {
		const struct config_pool *p = &c->pools[i];

		h->wanted[i] = p->decide == PINTLE_DECIDE_REQUEST ||
			       (config_rests(p) && kernel_hands_over());
		h->to_node |= p->decide == PINTLE_DECIDE_REQUEST && !p->in_pods;
	}
	xdp_configure(h->xdp, c->xdp);
	devices_see(h->devices, c, h->wanted);
	hand_look(h);
}

/* ---- where no sockets become of what is handed over -------------------------------------------
 */

/* What may be the reason, for the log. */
static const char *cause(const struct firewall *f)
{
	if (f->nat.count)
		return f->nat.names[0];
	if (f->legacy_nat)
		return "nat of iptables-legacy";
	if (f->strict)
		return "net.netfilter.nf_conntrack_tcp_loose is 0";
	return f->states.count ? f->states.names[0] : "no chain that pintled knows";
}

static void log_rest(const struct hand *h, const struct pintle_name *name, bool rests)
{
	if (rests)
		log_warn(
			"pool %.*s: the hand-off rests, because no socket became of what it handed "
			"over: a firewall or nat keeps the first segment, whose SYN it never saw, "
			"from the server (%s); connections are decided by their addresses; `pintle "
			"doctor` says more",
			(int)sizeof(name->name), name->name, cause(&h->wall));
	else
		log_info(
			"pool %.*s: the hand-off no longer rests: a socket became of what it handed "
			"over",
			(int)sizeof(name->name), name->name);
}

/* While the chains of nat stand that took a socket off, they would take the next one off, too. */
#define NAT_REST_NS (60 * NSEC_PER_SEC)

/* Lets the next connection try from then on, unless one tries already. */
static void try_from(const struct maps *m, uint32_t id, struct pintle_rest *r, uint64_t when)
{
	if (r->trial)
		return;
	r->until_ns = when;
	maps_put(m, MAP_resting, &id, r);
}

/* Tells of a pool whose hand-overs fail, or no longer do; with `again`, lets the next connection
 * try. */
static void look_at_rest(struct hand *h, const struct maps *m, uint32_t id, bool again)
{
	struct pintle_name name;
	struct pintle_rest r;
	bool rests;

	if (maps_value(m, MAP_resting, id, &r) || maps_value(m, MAP_names, id, &name))
		return;
	rests = r.until_ns && r.generation == name.generation;
	if (rests && again)
		try_from(m, id, &r, monotonic_ns());
	else if (rests && r.by_nat && h->wall.nat.count &&
		 r.until_ns < monotonic_ns() + NAT_REST_NS / 2)
		try_from(m, id, &r, monotonic_ns() + NAT_REST_NS);
	if (rests == h->resting[id])
		return;
	h->resting[id] = rests;
	log_rest(h, &name, rests);
}

/* Whether what keeps segments from servers has changed since the newest look. */
static bool wall_changed(struct hand *h)
{
	int netns = attachment_netns(h->attachment);
	uint32_t generation = firewall_generation(netns);
	struct firewall now;
	long loose = 1;
	bool same;

	netns_sysctl(netns, FIREWALL_LOOSE, &loose);
	if (generation == h->wall_generation && !loose == h->wall.strict)
		return false;
	h->wall_generation = generation;
	firewall_read(netns, &now);
	same = !memcmp(&now, &h->wall, sizeof(now));
	h->wall = now;
	return !same;
}

/* Each connection that tries in vain is a client's, so what is known not to have changed is seldom
 * tried. */
static void look_at_rests(struct hand *h)
{
	const struct maps *m = attachment_maps(h->attachment);
	struct pintle_rest newest;
	bool any = false, again;

	if (maps_value(m, MAP_resting, PINTLE_REST_NEWEST, &newest))
		return;
	for (uint32_t id = 0; id < PINTLE_MAX_POOLS; id++)
		any |= h->resting[id];
	if (!any && newest.newest_ns == h->failed_ns)
		return;
	h->failed_ns = newest.newest_ns;
	again = wall_changed(h) && any;
	for (uint32_t id = 0; id < PINTLE_MAX_POOLS; id++)
		look_at_rest(h, m, id, again);
}

void hand_look(struct hand *h)
{
	struct pintle_node *node = attachment_maps(h->attachment)->node;
	long value = 1;

	look_at_rests(h);
	if (h->to_node && netns_sysctl(attachment_netns(h->attachment), KERNEL_HAND_SYSCTL, &value))
		return; /* the next look may tell */
	node->hand_rests = !value;
	if (!value == h->rests)
		return;
	h->rests = !value;
	if (value)
		log_info("the hand-off: it no longer rests for want of net.ipv4.tcp_syncookies");
	else
		log_warn(
			"the hand-off rests, because net.ipv4.tcp_syncookies is 0: connections are "
			"decided by their addresses until it is set to 1");
}

void hand_refresh(struct hand *h)
{
	devices_refresh(h->devices);
}

static void on_arranged(void *arg, const struct tc_device *devices, const bool *in, size_t n)
{
	struct hand *h = arg;

	h->seen_n = 0;
	for (size_t i = 0; i < n; i++)
		if (in[i] && ROOM_FOR_ONE(h->seen, h->seen_n, h->seen_room, 64))
			h->seen[h->seen_n++] = devices[i].index;
	ways_publish(h->attachment, h->config, h->wanted);
	xdp_arrange(h->xdp, devices, in, n);
}

bool hand_sees(const struct hand *h, uint32_t device)
{
	for (size_t i = 0; i < h->seen_n; i++)
		if (h->seen[i] == device)
			return true;
	return false;
}

int hand_new(uv_loop_t *loop, struct attachment *a, struct hand **out)
{
	struct devices_use use = {
		.name = "the hand-off",
		.program = "pintle_hand",
		.program_layer3 = "pintle_hand3",
		.map = MAP_hand_stats,
		.priority = PRIORITY,
		.count = &attachment_maps(a)->node->hand_devices,
		.arranged = on_arranged,
	};
	struct hand *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return log_err_r(ENOMEM, "the hand-off");
	use.arg = h;
	h->attachment = a;
	err = xdp_new(a, &h->xdp);
	if (!err)
		err = devices_new(loop, a, &use, &h->devices);
	if (err) {
		hand_free(h);
		return err;
	}
	*out = h;
	return 0;
}

void hand_free(struct hand *h)
{
	if (!h)
		return;
	devices_free(h->devices);
	xdp_free(h->xdp);
	free(h->seen);
	free(h);
}
