/* SPDX-License-Identifier: Apache-2.0 */
#include "devices.h"

#include <assert.h>
#include <linux/rtnetlink.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../net/netns.h"
#include "../../net/routes.h"
#include "../../net/tc.h"
#include "device_links.h"
#include "traits.bpf.h"
#include "../attach/programs.h"

/* Changes come in bursts: a pod's device, its address, its route. Where they never end, the daemon
 * must still do its other work. */
#define BURST_MS 50
#define PAUSE_MS 1000

/* To attach or detach one link takes some 10 ms, and devices may be hundreds: after so long the
 * rest is left for later, so that servers are polled meanwhile. The first look has longer: with as
 * few devices as most machines have it attaches to all. */
#define FIRST_MS 500
#define TURN_MS  100

/* Behind most filters of others. */
#define PRIORITY_LAST 4096

struct devices {
	uv_timer_t burst;
	uv_poll_t watch;
	int watch_fd; /* -1: not watching */
	const struct ground *ground;
	struct devices_use use;
	int netns_fd;
	uint32_t handle;              /* marks our filters */
	struct device_links links[2]; /* by enum tc_direction */
	const struct config *config;
	const bool *wanted; /* parallel to config->pools */
	int programs[2];    /* [1] expects an Ethernet header, [0] does not; -1: not loaded */
	bool ours_before;   /* what is attached runs this daemon's programs */
	bool failed;        /* the newest try failed, and that was logged */
	bool more;          /* the newest look ran out of time */
	uint64_t until_ns;  /* so long may a look take */
	uint64_t arranged_ns;
};

static bool devices_wanted(const struct devices *d)
{
	if (d->use.stays && d->use.stays(d->use.arg))
		return true;
	for (size_t i = 0; i < d->config->pool_count; i++)
		if (d->wanted[i])
			return true;
	return false;
}

/* ---- where ------------------------------------------------------------------------ */

/* All devices, and to which directions of each the program belongs. */
struct device_set {
	struct tc_device *all;
	uint8_t *on; /* bits by enum tc_direction */
	size_t n;
};

static void device_set_free(struct device_set *s)
{
	free(s->all);
	free(s->on);
}

static void device_set_add(struct device_set *s, size_t i, enum tc_direction direction)
{
	assert(i < s->n);
	s->on[i] |= (uint8_t)(1 << direction);
}

static bool device_set_has(const struct device_set *s, size_t i, enum tc_direction direction)
{
	return s->on[i] & 1 << direction;
}

static void device_set_add_all_in(struct device_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		device_set_add(s, i, TC_IN);
}

/* Frames that a bridge passes from port to port never leave by the bridge device itself, so the
 * program goes to all of its ports. */
static void device_set_add_out(struct device_set *s, uint32_t index)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->all[i].index != index)
			continue;
		if (s->all[i].kind != TC_BRIDGE)
			device_set_add(s, i, TC_OUT);
		for (size_t j = 0; s->all[i].kind == TC_BRIDGE && j < s->n; j++)
			if (s->all[j].master == index)
				device_set_add(s, j, TC_OUT);
	}
}

static void device_set_add_endpoint(struct device_set *s, int netns_fd,
				    const struct config_endpoint *e)
{
	struct route_path r;

	/* Without a route no packet can be seen. */
	if (routes_to(netns_fd, &e->address.ip, &r))
		return;
	if (r.type == RTN_LOCAL)
		device_set_add_all_in(s);
	else if (r.type == RTN_UNICAST && !r.gateway)
		device_set_add_out(s, r.device);
}

/* A pair of devices, whose other end is in another namespace. */
static void device_set_add_pods(struct device_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->all[i].kind != TC_VETH || !s->all[i].peer)
			continue;
		device_set_add(s, i, TC_OUT);
		device_set_add(s, i, TC_IN);
	}
}

static int device_set_read(const struct devices *d, struct device_set *s)
{
	int err = tc_devices(d->netns_fd, &s->all, &s->n);

	if (err)
		return err;
	s->on = calloc(MAX(s->n, (size_t)1), 1);
	if (!s->on)
		return -ENOMEM;
	if (d->use.of_pods && devices_wanted(d))
		device_set_add_pods(s);
	for (size_t i = 0; i < d->config->pool_count; i++) {
		const struct config_pool *p = &d->config->pools[i];

		if (!d->wanted[i] || d->use.of_pods)
			continue;
		if (hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS)) {
			device_set_add_all_in(s);
			continue;
		}
		for (size_t j = 0; j < p->endpoint_count; j++)
			device_set_add_endpoint(s, d->netns_fd, &p->endpoints[j]);
	}
	return 0;
}

/* ---- attaching ---------------------------------------------------------------------- */

/* The time that loading takes is not counted: on a busy machine it is longer than a look may take,
 * and then only the first device would get the program. Clients would come by that, and the answers
 * of pods, by devices that wait for their turn, would be dropped. */
static int devices_program(struct devices *d, bool ethernet)
{
	int *fd = &d->programs[ethernet];
	uint64_t began = monotonic_ns();

	if (*fd >= 0)
		return *fd;
	*fd = programs_load_one(d->ground->maps, ethernet ? d->use.program : d->use.program_layer3);
	d->until_ns += monotonic_ns() - began;
	return *fd;
}

static const char *attach_hint(int err)
{
	switch (err) {
	case -ENOENT:
	case -EOPNOTSUPP:
		return " (modprobe -a sch_ingress cls_bpf, which the kernel lacks)";
	case -EBUSY:
		return " (an ingress qdisc is where clsact has to be: tc qdisc show)";
	default:
		return "";
	}
}

static bool is_late(struct devices *d)
{
	d->more |= monotonic_ns() > d->until_ns;
	return d->more;
}

/* `filtered`: our filter is there. Returns -EAGAIN where there is no time left for that. */
static int point_attach(struct devices *d, struct tc_point at, int prog_fd, bool filtered)
{
	const uint32_t priority =
		d->use.of_pods && at.direction == TC_OUT ? PRIORITY_LAST : d->use.priority;
	const struct tc_ours ours = {d->use.program, d->handle, priority};
	struct device_links *links = &d->links[at.direction];

	if (!device_links_of(links, at.device) && is_late(d))
		return -EAGAIN;
	return device_links_attach(links, at.device, &ours, filtered, prog_fd,
				   d->ground->maps->node->group);
}

static int devices_device_attach(struct devices *d, const struct tc_device *device,
				 enum tc_direction direction, bool filtered)
{
	int fd = devices_program(d, device->ethernet), err;

	if (fd < 0)
		return fd;
	err = point_attach(d, (struct tc_point){device->index, direction}, fd, filtered);
	if (err && err != -ENODEV && err != -EAGAIN && !d->failed)
		log_err_r(err, "failed to attach %s to packets that %s %s%s", d->use.name,
			  direction == TC_IN ? "come in on" : "go out by", device->name,
			  attach_hint(err));
	return err == -ENODEV ? 0 : err;
}

static bool device_set_has_point(const struct device_set *s, struct tc_point at)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->all[i].index == at.device && device_set_has(s, i, at.direction))
			return true;
	return false;
}

static int devices_detach_others(struct devices *d, const struct device_set *s,
				 const struct tc_point *there, size_t n)
{
	int err = 0;

	for (enum tc_direction direction = TC_IN; direction <= TC_OUT; direction++) {
		struct device_links *links = &d->links[direction];

		for (size_t i = links->n; i-- > 0;) {
			if (device_set_has_point(
				    s, (struct tc_point){links->all[i].device, direction}))
				continue;
			if (is_late(d))
				return err;
			device_links_drop(links, &links->all[i]);
		}
	}
	/* A pintled that knew no tcx may have put a filter beside a link. */
	for (size_t i = 0; i < n; i++)
		if (!device_set_has_point(s, there[i]) ||
		    device_links_of(&d->links[there[i].direction], there[i].device))
			err = tc_detach(d->netns_fd, there[i], d->handle) ?: err;
	return err;
}

static void devices_count(const struct devices *d, uint32_t attached)
{
	if (*d->use.count != attached)
		log_info("%s: attached to %u device%s", d->use.name, attached, plural(attached));
	__atomic_store_n(d->use.count, attached, __ATOMIC_RELAXED);
}

/* Attaches where the program is missing before it detaches elsewhere: on no path a packet is missed
 * meanwhile. */
static int devices_arrange(struct devices *d)
{
	_cleanup_(device_set_free) struct device_set s = {0};
	_cleanup_free_ struct tc_point *there = NULL;
	_cleanup_free_ bool *in = NULL;
	size_t n = 0;
	uint32_t attached = 0;
	bool ours = true;
	int err = tc_find(d->netns_fd, d->handle, &there, &n), e;

	if (!err)
		err = device_set_read(d, &s);
	if (err)
		return err;
	in = calloc(MAX(s.n, (size_t)1), sizeof(*in));
	if (!in)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(d->links); i++)
		device_links_weed(&d->links[i]);
	d->until_ns = monotonic_ns() + (d->more ? TURN_MS : FIRST_MS) * NSEC_PER_MSEC;
	d->more = false;
	for (size_t i = 0; i < 2 * s.n; i++) {
		const struct tc_device *device = &s.all[i / 2];
		const struct tc_point at = {device->index, i & 1 ? TC_OUT : TC_IN};
		bool linked = device_links_of(&d->links[at.direction], at.device);
		bool filtered = tc_has_point(there, n, at), is_there;

		if (!device_set_has(&s, i / 2, at.direction))
			continue;
		e = d->ours_before && filtered && !linked
			    ? 0
			    : devices_device_attach(d, device, at.direction, filtered);
		is_there = filtered || device_links_of(&d->links[at.direction], at.device);
		attached += !e;
		in[i / 2] |= at.direction == TC_IN && (!e || is_there);
		ours &= !e || !is_there;
		if (e != -EAGAIN)
			err = e ?: err;
	}
	d->ours_before = ours;
	if (!d->more)
		devices_count(d, attached);
	if (d->use.arranged)
		d->use.arranged(d->use.arg, s.all, in, s.n);
	return (d->more ? 0 : devices_detach_others(d, &s, there, n)) ?: err;
}

static void devices_unload(struct devices *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->programs); i++) {
		if (d->programs[i] >= 0)
			close(d->programs[i]);
		d->programs[i] = -1;
	}
	d->ours_before = false;
}

/* ---- watching ------------------------------------------------------------------------ */

static void on_burst_over(uv_timer_t *timer)
{
	devices_refresh(timer->data);
}

static uint64_t until_next_ms(const struct devices *d)
{
	uint64_t since = (monotonic_ns() - d->arranged_ns) / NSEC_PER_MSEC;

	return since + BURST_MS >= PAUSE_MS ? BURST_MS : PAUSE_MS - since;
}

static void devices_on_change(uv_poll_t *watch, int status, int events)
{
	struct devices *d = watch->data;
	char buf[8192];

	(void)status;
	(void)events;
	/* Neither what changed matters, nor whether the queue overflowed: everything is looked at
	 * again. */
	while (recv(d->watch_fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
	if (!uv_is_active((uv_handle_t *)&d->burst))
		uv_timer_start(&d->burst, on_burst_over, until_next_ms(d), 0);
}

static void devices_watch(struct devices *d)
{
	const struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE |
			     RTMGRP_IPV4_RULE | 1U << (RTNLGRP_IPV6_RULE - 1),
	};

	if (d->watch_fd >= 0)
		return;
	d->watch_fd =
		netns_socket(d->netns_fd, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (d->watch_fd < 0)
		return;
	if (bind(d->watch_fd, (const struct sockaddr *)&groups, sizeof(groups)) ||
	    uv_poll_init(d->burst.loop, &d->watch, d->watch_fd)) {
		log_warn("links and routes cannot be watched; %s follows them more slowly",
			 d->use.name);
		close(d->watch_fd);
		d->watch_fd = -1;
		return;
	}
	d->watch.data = d;
	uv_poll_start(&d->watch, UV_READABLE, devices_on_change);
}

/* ---- all ----------------------------------------------------------------------------- */

void devices_refresh(struct devices *d)
{
	int err;

	assert(d->config); /* devices_see() was called */
	uv_timer_stop(&d->burst);
	if (devices_wanted(d))
		devices_watch(d);
	err = devices_arrange(d);
	if (err && !d->failed)
		log_err_r(err, "%s is not attached everywhere; trying again", d->use.name);
	d->failed = err;
	d->arranged_ns = monotonic_ns();
	if (d->more)
		uv_timer_start(&d->burst, on_burst_over, BURST_MS, 0);
	if (!devices_wanted(d))
		devices_unload(d);
}

void devices_see(struct devices *d, const struct config *c, const bool *wanted)
{
	d->config = c;
	d->wanted = wanted;
	d->failed = false;
	devices_refresh(d);
}

void devices_detach_all(const char *dir)
{
	device_links_detach_all(dir, DEVICE_LINKS_TCX);
}

void devices_sweep(const struct ground *g)
{
	/* Only one Pintle can steer in a namespace, so filters found by a fresh start belong to
	 * nobody. */
	if (!g->resumed && tc_detach_all(g->netns_fd, TC_ANY))
		log_warn("filters of an earlier Pintle could not be removed");
}

int devices_new(const struct ground *g, const struct devices_use *use, struct devices **out)
{
	struct devices *d = calloc(1, sizeof(*d));

	if (!d)
		return log_err_r(ENOMEM, "%s", use->name);
	assert(g->dir);
	d->ground = g;
	d->use = *use;
	d->netns_fd = g->netns_fd;
	d->handle = tc_handle(g->maps->fd[use->map]);
	d->watch_fd = d->programs[0] = d->programs[1] = -1;
	for (enum tc_direction direction = TC_IN; direction <= TC_OUT; direction++)
		device_links_find_tcx(&d->links[direction], d->netns_fd, g->dir, use->program,
				      direction);
	uv_timer_init(g->loop, &d->burst);
	d->burst.data = d;
	*out = d;
	return 0;
}

static void on_watch_closed(uv_handle_t *h)
{
	struct devices *d = h->data;

	close(d->watch_fd);
	free(d);
}

static void on_burst_closed(uv_handle_t *h)
{
	struct devices *d = h->data;

	if (d->watch_fd >= 0)
		uv_close((uv_handle_t *)&d->watch, on_watch_closed);
	else
		free(d);
}

void devices_free(struct devices *d)
{
	if (!d)
		return;
	devices_unload(d);
	for (size_t i = 0; i < ARRAY_SIZE(d->links); i++)
		device_links_free(&d->links[i]);
	uv_close((uv_handle_t *)&d->burst, on_burst_closed);
}
