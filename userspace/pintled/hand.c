/* SPDX-License-Identifier: Apache-2.0 */
#include "hand.h"

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/kernel.h"
#include "../net/netns.h"
#include "devices.h"
#include "xdp.h"

/* Behind one-shot and most filters of others, so that those see the SYNs that the hand-off answers.
 */
#define PRIORITY 16

struct hand {
	struct attachment *attachment;
	struct devices *devices;
	struct xdp *xdp;
	bool wanted[PINTLE_MAX_POOLS];  /* parallel to the configuration's pools */
	bool rests;                     /* as it was logged */
	uint64_t failed_ns;             /* the newest failure that was looked at */
	bool resting[PINTLE_MAX_POOLS]; /* by id: as it was logged */
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

/* Tells of a pool whose hand-overs fail, or no longer do. */
static void tell_rest(struct hand *h, const struct maps *m, uint32_t id)
{
	struct pintle_name name;
	struct pintle_rest r;
	bool rests;

	if (maps_value(m, MAP_resting, id, &r))
		return;
	rests = r.until_ns;
	if (rests == h->resting[id] || maps_value(m, MAP_names, id, &name) ||
	    (rests && r.generation != name.generation))
		return;
	h->resting[id] = rests;
	if (rests)
		log_warn(
			"pool %.*s: the hand-off rests, because no socket became of what it handed "
			"over: a firewall or nat keeps the first segment, whose SYN it never saw, "
			"from the server; connections are decided by their addresses; `pintle "
			"doctor` names chains",
			(int)sizeof(name.name), name.name);
	else
		log_info(
			"pool %.*s: the hand-off no longer rests: a socket became of what it handed "
			"over",
			(int)sizeof(name.name), name.name);
}

static void look_at_rests(struct hand *h)
{
	const struct maps *m = attachment_maps(h->attachment);
	struct pintle_rest newest;
	bool any = false;

	if (maps_value(m, MAP_resting, PINTLE_REST_NEWEST, &newest))
		return;
	for (uint32_t id = 0; id < PINTLE_MAX_POOLS; id++)
		any |= h->resting[id];
	if (!any && newest.newest_ns == h->failed_ns)
		return;
	h->failed_ns = newest.newest_ns;
	for (uint32_t id = 0; id < PINTLE_MAX_POOLS; id++)
		tell_rest(h, m, id);
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
