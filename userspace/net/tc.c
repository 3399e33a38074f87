/* SPDX-License-Identifier: Apache-2.0 */
#include "tc.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/attr.h>

#include "netlink.h"
#include "../base/util.h"

#define DUMP_TRIES 10

/* All names of our filters begin so. One that ends so says that clsact was added for it. */
#define NAME      "pintle_"
#define CLSACT    "+clsact"
#define NAME_SIZE TC_NAME_SIZE

/* Priorities that are tried before this one is taken. */
#define MAX_PRIORITY 32

/* ---- dumps ------------------------------------------------------------------------- */

struct list {
	void *items;
	size_t size, n, room;
};

static void *tc_list_add(struct list *l)
{
	assert(l->size > 0);
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 16;
		void *items = reallocarray(l->items, room, l->size);

		if (!items)
			return NULL;
		l->items = items;
		l->room = room;
	}
	return (char *)l->items + l->n++ * l->size;
}

static void list_free(struct list *l)
{
	free(l->items);
}

/* Begins again when a change disturbed the dump. `header` is the beginning of the request. */
static int tc_dump(int netns_fd, int type, const void *header, size_t size, netlink_fn each,
		   struct list *l)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < DUMP_TRIES; i++) {
		_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_DUMP);

		if (!msg || nlmsg_append(msg, (void *)header, size, NLMSG_ALIGNTO) < 0)
			return -ENOMEM;
		l->n = 0;
		r = netlink_ask(netns_fd, NETLINK_ROUTE, msg, each, l);
	}
	return r;
}

/* ---- devices ------------------------------------------------------------------------ */

static bool is_kind(const struct nlattr *a, const char *kind)
{
	return a && nla_len(a) > 0 && !strncmp(nla_data(a), kind, (size_t)nla_len(a));
}

static enum tc_kind tc_kind_of(const struct nlattr *a)
{
	static const char *const kinds[] = {
		[TC_BRIDGE] = "bridge", [TC_VLAN] = "vlan", [TC_VETH] = "veth"};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i] && is_kind(a, kinds[i]))
			return (enum tc_kind)i;
	return TC_OTHER;
}

/* That of sysctl arp_announce, which the kernel tells with others of IPv4; UINT32_MAX: it does not.
 */
static uint32_t announce_of(const struct nlattr *spec)
{
	struct nlattr *families[AF_MAX], *v4[IFLA_INET_MAX + 1];
	const size_t size = IPV4_DEVCONF_ARP_ANNOUNCE * sizeof(uint32_t);

	if (!spec || nla_parse_nested(families, AF_MAX - 1, (struct nlattr *)spec, NULL) < 0 ||
	    !families[AF_INET] ||
	    nla_parse_nested(v4, IFLA_INET_MAX, families[AF_INET], NULL) < 0 ||
	    !v4[IFLA_INET_CONF] || (size_t)nla_len(v4[IFLA_INET_CONF]) < size)
		return UINT32_MAX;
	return ((const uint32_t *)nla_data(v4[IFLA_INET_CONF]))[IPV4_DEVCONF_ARP_ANNOUNCE - 1];
}

static int on_device(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	const struct ifinfomsg *m = nlmsg_data(h);
	struct tc_device *d;

	if (h->nlmsg_type != RTM_NEWLINK)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, IFLA_MAX, NULL) < 0)
		return -EBADMSG;
	d = tc_list_add(arg);
	if (!d)
		return -ENOMEM;
	*d = (struct tc_device){
		.index = (uint32_t)m->ifi_index,
		.master = a[IFLA_MASTER] ? nla_get_u32(a[IFLA_MASTER]) : 0,
		.loopback = m->ifi_type == ARPHRD_LOOPBACK,
		.ethernet = m->ifi_type == ARPHRD_ETHER || m->ifi_type == ARPHRD_LOOPBACK,
	};
	if (a[IFLA_IFNAME])
		nla_strlcpy(d->name, a[IFLA_IFNAME], sizeof(d->name));
	d->arp_announce = announce_of(a[IFLA_AF_SPEC]);
	if (a[IFLA_LINKINFO] && !nla_parse_nested(info, IFLA_INFO_MAX, a[IFLA_LINKINFO], NULL))
		d->kind = tc_kind_of(info[IFLA_INFO_KIND]);
	if (a[IFLA_LINK] && a[IFLA_LINK_NETNSID])
		d->peer = nla_get_u32(a[IFLA_LINK]);
	if (d->kind == TC_VLAN && a[IFLA_LINK] && !a[IFLA_LINK_NETNSID])
		d->lower = nla_get_u32(a[IFLA_LINK]);
	return 0;
}

int tc_devices(int netns_fd, struct tc_device **out, size_t *n)
{
	_cleanup_(list_free) struct list l = {.size = sizeof(struct tc_device)};
	const struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	int err = tc_dump(netns_fd, RTM_GETLINK, &any, sizeof(any), on_device, &l);

	if (err)
		return err;
	*out = TAKE_PTR(l.items);
	*n = l.n;
	return 0;
}

int tc_set_arp_announce(int netns_fd, uint32_t device, uint32_t value)
{
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_SETLINK, 0);
	const struct ifinfomsg m = {.ifi_family = AF_UNSPEC, .ifi_index = (int)device};
	struct nlattr *spec, *v4, *conf;

	if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	spec = nla_nest_start(msg, IFLA_AF_SPEC);
	v4 = spec ? nla_nest_start(msg, AF_INET) : NULL;
	conf = v4 ? nla_nest_start(msg, IFLA_INET_CONF) : NULL;
	if (!conf || nla_put_u32(msg, IPV4_DEVCONF_ARP_ANNOUNCE, value) < 0)
		return -ENOMEM;
	nla_nest_end(msg, conf);
	nla_nest_end(msg, v4);
	nla_nest_end(msg, spec);
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, NULL, NULL);
}

/* ---- filters ------------------------------------------------------------------------- */

struct filter {
	uint32_t handle;
	uint32_t info; /* priority and protocol */
	bool bpf;
	char name[NAME_SIZE];
};

#define INFO(priority)    TC_H_MAKE((priority) << 16, htons(ETH_P_ALL))
#define PRIORITY_OF(info) (TC_H_MAJ(info) >> 16)

static struct tcmsg point_header(struct tc_point at)
{
	return (struct tcmsg){
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)at.device,
		.tcm_parent = TC_H_MAKE(TC_H_CLSACT,
					at.direction == TC_IN ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS),
	};
}

static int on_filter(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[TCA_MAX + 1], *bpf[TCA_BPF_MAX + 1];
	const struct tcmsg *m = nlmsg_data(h);
	struct filter *f;

	if (h->nlmsg_type != RTM_NEWTFILTER)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, TCA_MAX, NULL) < 0)
		return -EBADMSG;
	f = tc_list_add(arg);
	if (!f)
		return -ENOMEM;
	*f = (struct filter){.handle = m->tcm_handle, .info = m->tcm_info};
	f->bpf = is_kind(a[TCA_KIND], "bpf");
	if (f->bpf && a[TCA_OPTIONS] && !nla_parse_nested(bpf, TCA_BPF_MAX, a[TCA_OPTIONS], NULL) &&
	    bpf[TCA_BPF_NAME])
		nla_strlcpy(f->name, bpf[TCA_BPF_NAME], sizeof(f->name));
	return 0;
}

/* An empty list where there is no clsact, or no device. */
static int list_filters(int netns_fd, struct tc_point at, struct list *l)
{
	const struct tcmsg m = point_header(at);
	int err;

	l->size = sizeof(struct filter);
	err = tc_dump(netns_fd, RTM_GETTFILTER, &m, sizeof(m), on_filter, l);
	if (err == -EINVAL || err == -ENODEV || err == -ENOENT || err == -EOPNOTSUPP) {
		l->n = 0;
		return 0;
	}
	return err;
}

/* The kernel lists each priority as an entry without a handle, too: that is no filter. */
static const struct filter *find_ours(const struct list *l, uint32_t handle)
{
	const struct filter *f = l->items;

	for (size_t i = 0; i < l->n; i++)
		if (f[i].bpf && f[i].handle && (f[i].handle == handle || handle == TC_ANY) &&
		    !strncmp(f[i].name, NAME, strlen(NAME)))
			return &f[i];
	return NULL;
}

static bool has_any_but(const struct list *l, const struct filter *but)
{
	const struct filter *f = l->items;

	for (size_t i = 0; i < l->n; i++)
		if (f[i].handle && &f[i] != but)
			return true;
	return false;
}

/* Returns the first priority, from `first` on, that is free, or has BPF filters for all protocols
 * only, none with our handle, because the new filter would replace that. */
static uint32_t priority_for(const struct list *l, uint32_t handle, uint32_t first)
{
	const struct filter *f = l->items;

	for (uint32_t priority = first; priority < MAX_PRIORITY; priority++) {
		bool fits = true;

		for (size_t i = 0; i < l->n; i++)
			if (PRIORITY_OF(f[i].info) == priority)
				fits &= f[i].bpf && f[i].info == INFO(priority) &&
					f[i].handle != handle;
		if (fits)
			return priority;
	}
	return MAX_PRIORITY;
}

/* Our filters' names may have more behind the program's. */
static bool is_program(const struct filter *f, const char *program)
{
	size_t n = strlen(program);

	return !strncmp(f->name, program, n) && (!f->name[n] || f->name[n] == CLSACT[0]);
}

bool tc_before(int netns_fd, struct tc_point at, const char *program, char name[TC_NAME_SIZE])
{
	_cleanup_(list_free) struct list l = {0};
	const struct filter *f, *first = NULL;

	if (list_filters(netns_fd, at, &l))
		return false;
	f = l.items;
	for (size_t i = 0; i < l.n && !is_program(&f[i], program); i++)
		if (!first && f[i].handle && strncmp(f[i].name, NAME, strlen(NAME)) != 0)
			first = &f[i];
	if (first)
		snprintf(name, TC_NAME_SIZE, "%s",
			 first->name[0] ? first->name : "another TC filter");
	return first;
}

/* ---- clsact --------------------------------------------------------------------------- */

/* A clsact, or an ingress qdisc in its place (`half`). The ingress qdisc accepts a filter for
 * outgoing packets, and lists its own filters as such, but runs them all on incoming packets. */
struct clsact {
	uint32_t device;
	bool half;
};

static int on_qdisc(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[TCA_MAX + 1];
	const struct tcmsg *m = nlmsg_data(h);
	struct clsact *c;

	if (h->nlmsg_type != RTM_NEWQDISC)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, TCA_MAX, NULL) < 0)
		return -EBADMSG;
	if (m->tcm_parent != TC_H_CLSACT)
		return 0;
	c = tc_list_add(arg);
	if (!c)
		return -ENOMEM;
	*c = (struct clsact){(uint32_t)m->tcm_ifindex, !is_kind(a[TCA_KIND], "clsact")};
	return 0;
}

static int list_clsact(int netns_fd, struct list *l)
{
	const struct tcmsg any = {.tcm_family = AF_UNSPEC};

	l->size = sizeof(struct clsact);
	return tc_dump(netns_fd, RTM_GETQDISC, &any, sizeof(any), on_qdisc, l);
}

/* Returns 0, and in *found what the device has; -ENOENT: neither; or -errno. */
static int find_clsact(int netns_fd, uint32_t device, struct clsact *found)
{
	_cleanup_(list_free) struct list l = {0};
	int err = list_clsact(netns_fd, &l);
	const struct clsact *c = l.items;

	if (err)
		return err;
	for (size_t i = 0; i < l.n; i++)
		if (c[i].device == device) {
			*found = c[i];
			return 0;
		}
	return -ENOENT;
}

/* Returns -EBUSY where an ingress qdisc is in the place of clsact. */
static int check_way_out(int netns_fd, uint32_t device)
{
	struct clsact c;
	int err = find_clsact(netns_fd, device, &c);

	return err == -ENOENT ? 0 : err ? err : c.half ? -EBUSY : 0;
}

static int change_clsact(int netns_fd, uint32_t device, int type, int flags)
{
	const struct tcmsg m = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)device,
		.tcm_parent = TC_H_CLSACT,
		.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

	if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put_string(msg, TCA_KIND, "clsact") < 0)
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, NULL, NULL);
}

/* *added: clsact was added; false: a clsact, or an ingress qdisc in its place, existed. */
static int add_clsact(int netns_fd, uint32_t device, bool *added)
{
	int err = change_clsact(netns_fd, device, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);

	*added = !err;
	return err == -EEXIST ? 0 : err;
}

/* ---- ours -------------------------------------------------------------------------------- */

uint32_t tc_handle(int map_fd)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(map_fd, &info, &size) ? 0 : info.id;
}

static int put_filter(int netns_fd, struct tc_point at, uint32_t handle, uint32_t info, int prog_fd,
		      const char *name)
{
	_cleanup_(nl_msg_freep) struct nl_msg *msg =
		nlmsg_alloc_simple(RTM_NEWTFILTER, NLM_F_CREATE);
	struct tcmsg m = point_header(at);
	struct nlattr *options;

	m.tcm_handle = handle;
	m.tcm_info = info;
	if (!msg || nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put_string(msg, TCA_KIND, "bpf") < 0)
		return -ENOMEM;
	options = nla_nest_start(msg, TCA_OPTIONS);
	if (!options || nla_put_u32(msg, TCA_BPF_FD, (uint32_t)prog_fd) < 0 ||
	    nla_put_string(msg, TCA_BPF_NAME, name) < 0 ||
	    nla_put_u32(msg, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT) < 0)
		return -ENOMEM;
	nla_nest_end(msg, options);
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, NULL, NULL);
}

static struct tc_point opposite(struct tc_point at)
{
	return (struct tc_point){at.device, at.direction == TC_IN ? TC_OUT : TC_IN};
}

static bool added_clsact(const struct filter *f)
{
	size_t length = strlen(f->name), end = strlen(CLSACT);

	return length > end && !strcmp(f->name + length - end, CLSACT);
}

/* Whether our filter there says that clsact was added for it. */
static bool added_for(int netns_fd, struct tc_point at, uint32_t handle)
{
	_cleanup_(list_free) struct list l = {0};
	const struct filter *f;

	if (list_filters(netns_fd, at, &l))
		return false;
	f = find_ours(&l, handle);
	return f && added_clsact(f);
}

bool tc_has_place(int netns_fd, struct tc_point at)
{
	struct clsact c;

	return !find_clsact(netns_fd, at.device, &c) && !(c.half && at.direction == TC_OUT) &&
	       !added_for(netns_fd, at, TC_ANY) && !added_for(netns_fd, opposite(at), TC_ANY);
}

int tc_attach(int netns_fd, struct tc_point at, const struct tc_ours *o, int prog_fd)
{
	const uint32_t handle = o->handle;
	_cleanup_(list_free) struct list l = {0};
	const struct filter *ours;
	char name[NAME_SIZE];
	bool added = false;
	uint32_t info;
	int err = at.direction == TC_OUT ? check_way_out(netns_fd, at.device) : 0;

	if (!err)
		err = list_filters(netns_fd, at, &l);
	ours = err ? NULL : find_ours(&l, handle);
	if (ours)
		return put_filter(netns_fd, at, handle, ours->info, prog_fd, ours->name);
	if (!err)
		err = add_clsact(netns_fd, at.device, &added);
	if (err)
		return err;
	info = INFO(priority_for(&l, handle, o->priority));
	snprintf(name, sizeof(name), "%s%s", o->name,
		 added || added_for(netns_fd, opposite(at), handle) ? CLSACT : "");
	err = put_filter(netns_fd, at, handle, info, prog_fd, name);
	if (err && added)
		change_clsact(netns_fd, at.device, RTM_DELQDISC, 0);
	return err;
}

static int drop_filter(int netns_fd, struct tc_point at, const struct filter *f)
{
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_DELTFILTER, 0);
	struct tcmsg m = point_header(at);

	m.tcm_handle = f->handle;
	m.tcm_info = f->info;
	if (!msg || nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put_string(msg, TCA_KIND, "bpf") < 0)
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, NULL, NULL);
}

static bool tc_is_gone(int err)
{
	return err == -ENOENT || err == -ENODEV || err == -EINVAL;
}

int tc_detach(int netns_fd, struct tc_point at, uint32_t handle)
{
	_cleanup_(list_free) struct list l = {0}, beside = {0};
	const struct filter *ours;
	int err = list_filters(netns_fd, at, &l);

	if (!err)
		err = list_filters(netns_fd, opposite(at), &beside);
	if (err)
		return err;
	ours = find_ours(&l, handle);
	if (!ours)
		return 0;
	err = drop_filter(netns_fd, at, ours);
	if (err)
		return tc_is_gone(err) ? 0 : err;
	if (!added_clsact(ours) || has_any_but(&l, ours) || has_any_but(&beside, NULL))
		return 0;
	err = change_clsact(netns_fd, at.device, RTM_DELQDISC, 0);
	return tc_is_gone(err) ? 0 : err;
}

bool tc_has_point(const struct tc_point *all, size_t n, struct tc_point at)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].device == at.device && all[i].direction == at.direction)
			return true;
	return false;
}

int tc_find(int netns_fd, uint32_t handle, struct tc_point **out, size_t *n)
{
	_cleanup_(list_free) struct list devices = {0}, found = {.size = sizeof(struct tc_point)};
	int err = list_clsact(netns_fd, &devices);

	for (size_t i = 0; !err && i < 2 * devices.n; i++) {
		const struct clsact *c = (const struct clsact *)devices.items + i / 2;
		struct tc_point at = {c->device, i & 1 ? TC_OUT : TC_IN};
		_cleanup_(list_free) struct list l = {0};
		struct tc_point *p;

		if (at.direction == TC_OUT && c->half)
			continue;
		err = list_filters(netns_fd, at, &l);
		if (err || !find_ours(&l, handle))
			continue;
		p = tc_list_add(&found);
		if (!p)
			return -ENOMEM;
		*p = at;
	}
	if (err)
		return err;
	*out = TAKE_PTR(found.items);
	*n = found.n;
	return 0;
}

/* There may be several of our filters at a point, with different handles. */
int tc_detach_all(int netns_fd, uint32_t handle)
{
	size_t n = 1;
	int err = 0;

	for (int i = 0; !err && n && i < MAX_PRIORITY; i++) {
		_cleanup_free_ struct tc_point *points = NULL;

		n = 0;
		err = tc_find(netns_fd, handle, &points, &n);
		for (size_t j = 0; j < n; j++)
			err = tc_detach(netns_fd, points[j], handle) ?: err;
	}
	return err;
}
