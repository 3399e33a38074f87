/* SPDX-License-Identifier: Apache-2.0 */
#include "oneshot.h"

#include <linux/rtnetlink.h>
#include <netlink/attr.h>

#include "../base/log.h"
#include "../net/netlink.h"
#include "../net/netns.h"
#include "../net/tc.h"
#include "../base/util.h"
#include "traits.bpf.h"

/* Changes come in bursts: a pod's device, its address, its route. And where they never end, this
 * must not be all that the daemon does. */
#define SETTLE_MS 50
#define PAUSE_MS  1000

static const char *const program_names[] = {"pintle_oneshot3", "pintle_oneshot"};

struct oneshot {
	uv_timer_t settle;
	uv_poll_t watch;
	int watch_fd; /* -1: not watching */
	struct attachment *attachment;
	const struct maps *m;
	int netns_fd;
	uint32_t handle; /* of our filters */
	const struct config *config;
	const struct publication *publication;
	bool wanted[PINTLE_MAX_POOLS]; /* parallel to config->pools, as last seen */
	int programs[2];               /* by whether there is an Ethernet header; -1: not loaded */
	bool loaded_before;            /* the filters have this daemon's programs */
	bool failed;                   /* and it was told */
	uint64_t arranged_ns;
};

/* ---- whether --------------------------------------------------------------------- */

static bool wants(const struct oneshot *o, size_t pool)
{
	const struct pintle_ref *ref = &o->publication->pools[pool].ref;
	uint32_t requests = o->config->pools[pool].requests;
	struct pintle_override v;

	if (!maps_value(o->m, MAP_overrides, ref->id, &v) && v.generation == ref->generation &&
	    v.flags & PINTLE_OVERRIDE_REQUESTS)
		requests = v.requests;
	return requests == PINTLE_REQUESTS_ONE_PER_CONNECTION;
}

/* Returns whether it is other than it was. */
static bool read_wanted(struct oneshot *o)
{
	bool changed = false;

	for (size_t i = 0; i < o->config->pool_count; i++) {
		bool now = wants(o, i);

		changed |= now != o->wanted[i];
		o->wanted[i] = now;
	}
	return changed;
}

static bool any_wanted(const struct oneshot *o)
{
	for (size_t i = 0; i < o->config->pool_count; i++)
		if (o->wanted[i])
			return true;
	return false;
}

/* ---- where ------------------------------------------------------------------------ */

/* Bits by enum tc_direction for each device. */
struct devices {
	struct tc_device *all;
	uint8_t *on;
	size_t n;
};

static void devices_free(struct devices *d)
{
	free(d->all);
	free(d->on);
}

static void want(struct devices *d, size_t i, enum tc_direction direction)
{
	d->on[i] |= (uint8_t)(1 << direction);
}

static bool is_wanted(const struct devices *d, size_t i, enum tc_direction direction)
{
	return d->on[i] & 1 << direction;
}

static void want_all_in(struct devices *d)
{
	for (size_t i = 0; i < d->n; i++)
		want(d, i, TC_IN);
}

/* What a bridge passes from port to port never goes out by the bridge itself. */
static void want_out(struct devices *d, uint32_t index)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->all[i].index != index)
			continue;
		if (!d->all[i].bridge)
			want(d, i, TC_OUT);
		for (size_t j = 0; d->all[i].bridge && j < d->n; j++)
			if (d->all[j].master == index)
				want(d, j, TC_OUT);
	}
}

struct route {
	uint8_t type;
	uint32_t device;
	bool gateway;
};

static int on_route(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[RTA_MAX + 1];
	const struct rtmsg *m = nlmsg_data(h);
	struct route *r = arg;

	if (h->nlmsg_type != RTM_NEWROUTE)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	r->type = m->rtm_type;
	r->device = a[RTA_OIF] ? nla_get_u32(a[RTA_OIF]) : 0;
	r->gateway = a[RTA_GATEWAY] || a[RTA_VIA];
	return 0;
}

/* Where the kernel would send what goes to that address. */
static int route_to(int netns_fd, const struct addr *to, struct route *out)
{
	const bool v4 = addr_is_v4(to);
	const struct rtmsg m = {
		.rtm_family = v4 ? AF_INET : AF_INET6,
		.rtm_dst_len = v4 ? 32 : 128,
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETROUTE, 0);

	if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put(msg, RTA_DST, v4 ? 4 : 16, to->bytes + (v4 ? 12 : 0)) < 0)
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, on_route, out);
}

static void want_endpoint(const struct oneshot *o, const struct config_endpoint *e,
			  struct devices *d)
{
	struct route r = {0};

	/* Without a route there is nothing to be seen. */
	if (route_to(o->netns_fd, &e->address.ip, &r))
		return;
	if (r.type == RTN_LOCAL)
		want_all_in(d);
	else if (r.type == RTN_UNICAST && !r.gateway)
		want_out(d, r.device);
}

static int find_devices(const struct oneshot *o, struct devices *d)
{
	int err = tc_devices(o->netns_fd, &d->all, &d->n);

	if (err)
		return err;
	d->on = calloc(MAX(d->n, (size_t)1), 1);
	if (!d->on)
		return -ENOMEM;
	for (size_t i = 0; i < o->config->pool_count; i++) {
		const struct config_pool *p = &o->config->pools[i];

		if (!o->wanted[i])
			continue;
		if (hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS)) {
			want_all_in(d);
			continue;
		}
		for (size_t j = 0; j < p->endpoint_count; j++)
			want_endpoint(o, &p->endpoints[j], d);
	}
	return 0;
}

/* ---- attaching ---------------------------------------------------------------------- */

static int program_for(struct oneshot *o, const struct tc_device *d)
{
	int *fd = &o->programs[d->ethernet];

	if (*fd < 0)
		*fd = attachment_program(o->attachment, program_names[d->ethernet]);
	return *fd;
}

static bool has(const struct tc_place *places, size_t n, struct tc_place at)
{
	for (size_t i = 0; i < n; i++)
		if (places[i].device == at.device && places[i].direction == at.direction)
			return true;
	return false;
}

static const char *hint(int err)
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

static int attach_device(struct oneshot *o, const struct tc_device *d, enum tc_direction direction)
{
	int fd = program_for(o, d), err;

	if (fd < 0)
		return fd;
	err = tc_attach(o->netns_fd, (struct tc_place){d->index, direction}, o->handle, fd);
	if (err && err != -ENODEV && !o->failed)
		log_err_r(err, "failed to attach one-shot to what %s %s%s",
			  direction == TC_IN ? "comes in on" : "goes out by", d->name, hint(err));
	return err == -ENODEV ? 0 : err;
}

static int detach_others(const struct oneshot *o, const struct devices *d,
			 const struct tc_place *there, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		bool stays = false;

		for (size_t j = 0; j < d->n; j++)
			stays |= d->all[j].index == there[i].device &&
				 is_wanted(d, j, there[i].direction);
		if (!stays)
			err = tc_detach(o->netns_fd, there[i], o->handle) ?: err;
	}
	return err;
}

/* What is missing comes before what is too much goes. */
static int arrange(struct oneshot *o)
{
	_cleanup_(devices_free) struct devices d = {0};
	_cleanup_free_ struct tc_place *there = NULL;
	size_t n = 0;
	uint32_t attached = 0;
	bool loaded = true;
	int err = tc_find(o->netns_fd, o->handle, &there, &n), e;

	if (!err)
		err = find_devices(o, &d);
	if (err)
		return err;
	for (size_t i = 0; i < 2 * d.n; i++) {
		const struct tc_device *device = &d.all[i / 2];
		enum tc_direction direction = i & 1 ? TC_OUT : TC_IN;
		bool is_there;

		if (!is_wanted(&d, i / 2, direction))
			continue;
		is_there = has(there, n, (struct tc_place){device->index, direction});
		e = o->loaded_before && is_there ? 0 : attach_device(o, device, direction);
		attached += !e;
		loaded &= !e || !is_there;
		err = e ?: err;
	}
	o->loaded_before = loaded;
	if (o->m->node->places != attached)
		log_info("one-shot: attached in %u place%s", attached, plural(attached));
	__atomic_store_n(&o->m->node->places, attached, __ATOMIC_RELAXED);
	return detach_others(o, &d, there, n) ?: err;
}

static void unload(struct oneshot *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(o->programs); i++) {
		if (o->programs[i] >= 0)
			close(o->programs[i]);
		o->programs[i] = -1;
	}
	o->loaded_before = false;
}

/* ---- watching ------------------------------------------------------------------------ */

static void on_settled(uv_timer_t *timer)
{
	oneshot_refresh(timer->data);
}

static uint64_t until_next(const struct oneshot *o)
{
	uint64_t since = (monotonic_ns() - o->arranged_ns) / NSEC_PER_MSEC;

	return since + SETTLE_MS >= PAUSE_MS ? SETTLE_MS : PAUSE_MS - since;
}

static void on_change(uv_poll_t *watch, int status, int events)
{
	struct oneshot *o = watch->data;
	char buf[8192];

	(void)status;
	(void)events;
	/* What changed does not matter, nor whether some of it was lost. */
	while (recv(o->watch_fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
	if (!uv_is_active((uv_handle_t *)&o->settle))
		uv_timer_start(&o->settle, on_settled, until_next(o), 0);
}

static void watch(struct oneshot *o)
{
	const struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};

	if (o->watch_fd >= 0)
		return;
	o->watch_fd =
		netns_socket(o->netns_fd, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (o->watch_fd < 0)
		return;
	if (bind(o->watch_fd, (const struct sockaddr *)&groups, sizeof(groups)) ||
	    uv_poll_init(o->settle.loop, &o->watch, o->watch_fd)) {
		log_warn("links and routes cannot be watched; one-shot follows them more slowly");
		close(o->watch_fd);
		o->watch_fd = -1;
		return;
	}
	o->watch.data = o;
	uv_poll_start(&o->watch, UV_READABLE, on_change);
}

/* ---- all ----------------------------------------------------------------------------- */

void oneshot_refresh(struct oneshot *o)
{
	int err;

	uv_timer_stop(&o->settle);
	if (any_wanted(o))
		watch(o);
	err = arrange(o);
	if (err && !o->failed)
		log_err_r(err, "one-shot is not where it should be; it is tried again");
	o->failed = err;
	o->arranged_ns = monotonic_ns();
	if (!any_wanted(o))
		unload(o);
}

void oneshot_configure(struct oneshot *o, const struct config *c, const struct publication *p)
{
	o->config = c;
	o->publication = p;
	o->failed = false;
	memset(o->wanted, 0, sizeof(o->wanted));
	read_wanted(o);
	oneshot_refresh(o);
}

void oneshot_look(struct oneshot *o)
{
	if (!read_wanted(o))
		return;
	o->failed = false;
	oneshot_refresh(o);
}

int oneshot_new(uv_loop_t *loop, struct attachment *a, struct oneshot **out)
{
	struct oneshot *o = calloc(1, sizeof(*o));

	if (!o)
		return log_err_r(ENOMEM, "one-shot");
	o->attachment = a;
	o->m = attachment_maps(a);
	o->netns_fd = attachment_netns(a);
	o->handle = tc_handle(o->m->fd[MAP_oneshot]);
	o->watch_fd = o->programs[0] = o->programs[1] = -1;
	/* Two cannot steer in one namespace: what is there was left by one whose pins were taken
	 * away by hand, and goes by maps that nobody can reach. */
	if (!attachment_resumed(a) && tc_detach_all(o->netns_fd, TC_ANY))
		log_warn("filters of an earlier Pintle could not be taken away");
	uv_timer_init(loop, &o->settle);
	o->settle.data = o;
	*out = o;
	return 0;
}

static void on_watch_closed(uv_handle_t *h)
{
	struct oneshot *o = h->data;

	close(o->watch_fd);
	free(o);
}

static void on_settle_closed(uv_handle_t *h)
{
	struct oneshot *o = h->data;

	if (o->watch_fd >= 0)
		uv_close((uv_handle_t *)&o->watch, on_watch_closed);
	else
		free(o);
}

void oneshot_free(struct oneshot *o)
{
	if (!o)
		return;
	unload(o);
	uv_close((uv_handle_t *)&o->settle, on_settle_closed);
}
