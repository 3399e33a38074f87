/* SPDX-License-Identifier: Apache-2.0 */
#include "hand.h"

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/kernel.h"
#include "../../net/netns.h"
#include "devices.h"
#include "../publish/rests.h"
#include "ways.h"
#include "xdp.h"

/* Behind one-shot and most filters of others, so that those see the SYNs that the hand-off answers.
 */
#define PRIORITY 16

struct hand {
	const struct ground *ground;
	struct devices *devices;
	struct xdp *xdp;
	const struct config *config;
	bool wanted[PINTLE_MAX_POOLS]; /* parallel to the configuration's pools */
	bool rests;                    /* as it was logged */
	bool many_routes;              /* the same */
	struct rests *sockets;         /* of pools, for want of sockets */
	bool to_node;   /* some pool has connections handed over on the node itself */
	uint32_t *seen; /* the devices, by index, whose incoming packets it sees */
	size_t seen_n, seen_room;
};

int hand_check(const struct config *c, char why[PINTLE_WHY_SIZE])
{
	for (size_t i = 0; i < c->pool_count; i++) {
		if (c->pools[i].decide != PINTLE_DECIDE_REQUEST || c->pools[i].line <= 0 ||
		    kernel_hands_over())
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

		h->wanted[i] = (p->decide == PINTLE_DECIDE_REQUEST && !p->splice) ||
			       (config_rests(p) && kernel_hands_over());
		h->to_node |= p->decide == PINTLE_DECIDE_REQUEST && !p->in_pods && !p->splice;
	}
	xdp_configure(h->xdp, c->xdp);
	devices_see(h->devices, c, h->wanted);
	hand_look(h);
}

void hand_look(struct hand *h)
{
	struct pintle_node *node = h->ground->maps->node;
	long value = 1;

	rests_look(h->sockets, h->config);
	if (h->to_node && netns_sysctl(h->ground->netns_fd, KERNEL_HAND_SYSCTL, &value))
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
	ways_publish(h->ground, h->config, h->wanted, &h->many_routes);
	xdp_arrange(h->xdp, devices, in, n);
}

bool hand_sees(const struct hand *h, uint32_t device)
{
	for (size_t i = 0; i < h->seen_n; i++)
		if (h->seen[i] == device)
			return true;
	return false;
}

int hand_new(const struct ground *g, struct hand **out)
{
	struct devices_use use = {
		.name = "the hand-off",
		.program = "pintle_hand",
		.program_layer3 = "pintle_hand3",
		.map = MAP_hand_stats,
		.priority = PRIORITY,
		.count = &g->maps->node->hand_devices,
		.arranged = on_arranged,
	};
	struct hand *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return log_err_r(ENOMEM, "the hand-off");
	use.arg = h;
	h->ground = g;
	err = rests_new(g, &h->sockets) ?: xdp_new(g, &h->xdp);
	if (!err)
		err = devices_new(g, &use, &h->devices);
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
	rests_free(h->sockets);
	free(h->seen);
	free(h);
}
