/* SPDX-License-Identifier: Apache-2.0 */
#include "routes.h"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "../base/log.h"
#include "netlink.h"
#include "netns.h"
#include "../base/util.h"

#define V4_MAPPED_BITS 96

/* How often a dump is tried that other routes, coming and going, disturb. */
#define DUMP_TRIES 10

/* A prefix as rtnetlink has it: an IPv4 prefix without the 96 bits of ::ffff:0:0. */
struct prefix {
	uint8_t family, bits;
	const uint8_t *bytes;
	size_t size;
};

static struct prefix to_prefix(const struct frontend_addr *f)
{
	if (addr_is_v4(&f->prefix) && f->prefix_bits >= V4_MAPPED_BITS)
		return (struct prefix){AF_INET, f->prefix_bits - V4_MAPPED_BITS,
				       f->prefix.bytes + 12, 4};
	return (struct prefix){AF_INET6, f->prefix_bits, f->prefix.bytes, 16};
}

static bool from_route(const struct rtmsg *m, const struct nlattr *dst, struct frontend_addr *out)
{
	struct frontend_addr f = {0};
	uint32_t v4 = 0;

	if (m->rtm_family == AF_INET && m->rtm_dst_len <= 32) {
		if (dst)
			nla_memcpy(&v4, dst, sizeof(v4));
		addr_from_v4(&f.prefix, v4);
		f.prefix_bits = V4_MAPPED_BITS + m->rtm_dst_len;
	} else if (m->rtm_family == AF_INET6 && m->rtm_dst_len <= 128) {
		if (dst)
			nla_memcpy(&f.prefix, dst, sizeof(f.prefix));
		f.prefix_bits = m->rtm_dst_len;
	} else {
		return false;
	}
	*out = f;
	return true;
}

static const char *prefix_text(const struct frontend_addr *f, char *buf)
{
	const struct prefix p = to_prefix(f);
	char ip[ADDR_TEXT_SIZE];

	snprintf(buf, ADDR_TEXT_SIZE, "%s/%u", addr_format_ip(&f->prefix, ip), p.bits);
	return buf;
}

static int lo_index(int netns_fd, uint32_t *index)
{
	_cleanup_close_ int fd = netns_socket(netns_fd, AF_INET, SOCK_DGRAM, 0);
	struct ifreq lo = {.ifr_name = "lo"};

	if (fd < 0)
		return fd;
	if (ioctl(fd, SIOCGIFFLAGS, &lo))
		return log_err_r(errno, "cannot look at interface lo");
	if (!(lo.ifr_flags & IFF_UP))
		return log_err_r(ENETDOWN, "interface lo is down in the network namespace; bring "
					   "lo up (ip link set lo up)");
	if (ioctl(fd, SIOCGIFINDEX, &lo))
		return log_err_r(errno, "cannot look at interface lo");
	*index = (uint32_t)lo.ifr_ifindex;
	return 0;
}

static int change_route(int netns_fd, int type, int flags, const struct frontend_addr *f,
			const uint32_t *oif)
{
	const struct prefix p = to_prefix(f);
	const struct rtmsg m = {
		.rtm_family = p.family,
		.rtm_dst_len = p.bits,
		.rtm_table = RT_TABLE_LOCAL,
		.rtm_protocol = PINTLE_ROUTE_PROTOCOL,
		.rtm_scope = RT_SCOPE_HOST,
		.rtm_type = RTN_LOCAL,
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

	if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put(msg, RTA_DST, (int)p.size, p.bytes) < 0 ||
	    (oif && nla_put_u32(msg, RTA_OIF, *oif) < 0))
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, NULL, NULL);
}

struct route {
	struct frontend_addr prefix;
	uint8_t protocol;
};

struct routes {
	uint8_t family;
	struct route *items;
	size_t n, room;
};

static void routes_free(struct routes *r)
{
	free(r->items);
}

static int add_route(struct routes *list, const struct frontend_addr *prefix, uint8_t protocol)
{
	if (!ROOM_FOR_ONE(list->items, list->n, list->room, 64))
		return -ENOMEM;
	list->items[list->n++] = (struct route){.prefix = *prefix, .protocol = protocol};
	return 0;
}

/* Kernels that do not filter return all routes, so each is checked. */
static int on_route(const struct nlmsghdr *h, void *arg)
{
	struct routes *list = arg;
	struct nlattr *attributes[RTA_MAX + 1];
	const struct rtmsg *m = nlmsg_data(h);
	struct frontend_addr prefix;

	if (h->nlmsg_type != RTM_NEWROUTE)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), attributes, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	if (m->rtm_family != list->family || m->rtm_table != RT_TABLE_LOCAL ||
	    m->rtm_type != RTN_LOCAL || m->rtm_flags & RTM_F_CLONED ||
	    !from_route(m, attributes[RTA_DST], &prefix))
		return 0;
	return add_route(list, &prefix, m->rtm_protocol);
}

/* Appends the local routes of list->family, ours and others, to the list. */
static int read_local(int netns_fd, struct routes *list)
{
	const struct rtmsg m = {
		.rtm_family = list->family, .rtm_table = RT_TABLE_LOCAL, .rtm_type = RTN_LOCAL};
	const size_t before = list->n;
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < DUMP_TRIES; i++) {
		_cleanup_(nl_msg_freep) struct nl_msg *msg =
			nlmsg_alloc_simple(RTM_GETROUTE, NLM_F_DUMP);

		if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0)
			return -ENOMEM;
		list->n = before;
		r = netlink_ask(netns_fd, NETLINK_ROUTE, msg, on_route, list);
	}
	/* There is no such table yet, or the kernel lacks this family. */
	return r == -ENOENT || r == -EOPNOTSUPP || r == -EAFNOSUPPORT ? 0 : r;
}

enum owner { NOBODY, SOMEBODY, PINTLE };

static int owner_of(int netns_fd, const struct frontend_addr *f, enum owner *owner)
{
	_cleanup_(routes_free) struct routes list = {.family = to_prefix(f).family};
	int r = read_local(netns_fd, &list);

	if (r)
		return r;
	*owner = NOBODY;
	for (size_t i = 0; i < list.n; i++) {
		const struct route *route = &list.items[i];

		if (route->prefix.prefix_bits != f->prefix_bits ||
		    memcmp(&route->prefix.prefix, &f->prefix, sizeof(f->prefix)))
			continue;
		if (route->protocol == PINTLE_ROUTE_PROTOCOL)
			*owner = PINTLE;
		else if (*owner == NOBODY)
			*owner = SOMEBODY;
	}
	return 0;
}

static int routes_check_prefix(const struct frontend_addr *f)
{
	char buf[ADDR_TEXT_SIZE];

	if (f->prefix_bits <= 128 && to_prefix(f).bits > 0)
		return 0;
	return log_err_r(EINVAL,
			 "%s cannot be made local: its prefix must have 1 bit or more, lest every "
			 "address become local",
			 prefix_text(f, buf));
}

/* IPv6 allows two routes with the same prefix and different metrics, so NLM_F_EXCL alone would not
 * notice the route of an address on an interface. */
int routes_add_local(int netns_fd, const struct frontend_addr *f, bool *added)
{
	char buf[ADDR_TEXT_SIZE];
	enum owner owner = NOBODY;
	uint32_t lo = 0;
	int r = routes_check_prefix(f);

	if (!r)
		r = lo_index(netns_fd, &lo);
	if (r)
		return r;
	r = owner_of(netns_fd, f, &owner);
	if (!r && owner == NOBODY) {
		r = change_route(netns_fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, f, &lo);
		if (r == -EEXIST)
			r = owner_of(netns_fd, f, &owner);
		else
			owner = PINTLE;
	}
	if (r)
		return log_err_r(r, "cannot add the local route of %s%s", prefix_text(f, buf),
				 r == -EPERM ? " (CAP_NET_ADMIN)" : "");
	if (owner != PINTLE)
		log_info("%s is routed here already by somebody else; left as it is",
			 prefix_text(f, buf));
	*added = owner == PINTLE;
	return 0;
}

/* The kernel compares the protocol, so only our own route can be removed. */
int routes_remove_local(int netns_fd, const struct frontend_addr *f)
{
	char buf[ADDR_TEXT_SIZE];
	int r = change_route(netns_fd, RTM_DELROUTE, 0, f, NULL);

	if (r && r != -ESRCH)
		return log_err_r(r, "cannot remove the local route of %s%s", prefix_text(f, buf),
				 r == -EPERM ? " (CAP_NET_ADMIN)" : "");
	return 0;
}

int routes_list_local(int netns_fd, struct frontend_addr **out, size_t *n)
{
	_cleanup_(routes_free) struct routes list = {.family = AF_INET};
	struct frontend_addr *ours;
	size_t found = 0;
	int r = read_local(netns_fd, &list);

	list.family = AF_INET6;
	if (!r)
		r = read_local(netns_fd, &list);
	if (r)
		return log_err_r(r, "cannot read the local routes");
	ours = calloc(MAX(list.n, 1U), sizeof(*ours));
	if (!ours)
		return log_err_r(ENOMEM, "cannot read the local routes");
	for (size_t i = 0; i < list.n; i++) {
		if (list.items[i].protocol == PINTLE_ROUTE_PROTOCOL)
			ours[found++] = list.items[i].prefix;
	}
	*out = ours;
	*n = found;
	return 0;
}

/* ---- to an address --------------------------------------------------------------- */

static void read_metrics(struct nlattr *metrics, struct route_path *r)
{
	struct nlattr *m[RTAX_MAX + 1];

	if (!metrics || nla_parse_nested(m, RTAX_MAX, metrics, NULL) < 0)
		return;
	r->mtu = m[RTAX_MTU] ? nla_get_u32(m[RTAX_MTU]) : 0;
	r->mss = m[RTAX_ADVMSS] ? nla_get_u32(m[RTAX_ADVMSS]) : 0;
}

static void read_gateway(const struct nlattr *gateway, struct addr *out)
{
	uint32_t v4;

	if (nla_len(gateway) == sizeof(v4)) {
		nla_memcpy(&v4, gateway, sizeof(v4));
		addr_from_v4(out, v4);
	} else {
		nla_memcpy(out, gateway, sizeof(*out));
	}
}

/* An IPv4 route by way of an IPv6 address. */
static void read_via(const struct nlattr *attribute, struct addr *out)
{
	const struct rtvia *via = nla_data(attribute);

	if (nla_len(attribute) == (int)(sizeof(*via) + sizeof(*out)) &&
	    via->rtvia_family == AF_INET6)
		memcpy(out, via->rtvia_addr, sizeof(*out));
}

static int on_path(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[RTA_MAX + 1];
	const struct rtmsg *m = nlmsg_data(h);
	struct route_path *r = arg;

	if (h->nlmsg_type != RTM_NEWROUTE)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	r->type = m->rtm_type;
	r->device = a[RTA_OIF] ? nla_get_u32(a[RTA_OIF]) : 0;
	r->gateway = a[RTA_GATEWAY] || a[RTA_VIA];
	if (a[RTA_GATEWAY])
		read_gateway(a[RTA_GATEWAY], &r->via);
	if (a[RTA_VIA])
		read_via(a[RTA_VIA], &r->via);
	read_metrics(a[RTA_METRICS], r);
	return 0;
}

static int route_ask(int netns_fd, const struct addr *from, const struct addr *to,
		     struct route_path *out)
{
	const bool v4 = addr_is_v4(to);
	const int size = v4 ? 4 : 16, skip = v4 ? 12 : 0;
	const struct rtmsg m = {
		.rtm_family = v4 ? AF_INET : AF_INET6,
		.rtm_dst_len = v4 ? 32 : 128,
		.rtm_src_len = from ? (v4 ? 32 : 128) : 0,
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETROUTE, 0);

	if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put(msg, RTA_DST, size, to->bytes + skip) < 0 ||
	    (from && nla_put(msg, RTA_SRC, size, from->bytes + skip) < 0))
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_ROUTE, msg, on_path, out);
}

int routes_to(int netns_fd, const struct addr *to, struct route_path *out)
{
	struct route_path r = {0};
	int err = route_ask(netns_fd, NULL, to, &r);

	if (err)
		return err;
	*out = r;
	return 0;
}

bool routes_miss(int netns_fd, const struct frontend_addr *f)
{
	static const int unreachable[] = {-ENETUNREACH, -EHOSTUNREACH, -EACCES, -EINVAL};
	struct route_path r;
	int err = f->prefix_bits == 128 ? routes_to(netns_fd, &f->prefix, &r) : -ENOTUNIQ;
	bool missed = !err && r.type != RTN_LOCAL;

	/* No route, or one that refuses: unreachable, prohibit, blackhole. */
	for (size_t i = 0; i < ARRAY_SIZE(unreachable); i++)
		missed |= err == unreachable[i];
	return missed;
}

static int on_neighbour(const struct nlmsghdr *h, void *arg)
{
	const struct ndmsg *m = nlmsg_data(h);
	struct nlattr *a[NDA_MAX + 1];
	struct route_path *r = arg;

	if (h->nlmsg_type != RTM_NEWNEIGH ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, NDA_MAX, NULL) < 0)
		return 0;
	if (a[NDA_LLADDR] && nla_len(a[NDA_LLADDR]) == sizeof(r->mac) &&
	    !(m->ndm_state & (NUD_FAILED | NUD_INCOMPLETE)))
		nla_memcpy(r->mac, a[NDA_LLADDR], sizeof(r->mac));
	return 0;
}

static void neighbour_find(int netns_fd, const struct addr *ip, struct route_path *r)
{
	const bool v4 = addr_is_v4(ip);
	const struct ndmsg m = {
		.ndm_family = v4 ? AF_INET : AF_INET6,
		.ndm_ifindex = (int)r->device,
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETNEIGH, 0);

	if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put(msg, NDA_DST, v4 ? 4 : 16, ip->bytes + (v4 ? 12 : 0)) < 0)
		return;
	netlink_ask(netns_fd, NETLINK_ROUTE, msg, on_neighbour, r);
}

int routes_between(int netns_fd, const struct addr *from, const struct addr *to,
		   struct route_path *out)
{
	struct route_path r = {0};
	int err = route_ask(netns_fd, from, to, &r);

	if (err)
		return err;
	if (!addr_is_any(&r.via))
		neighbour_find(netns_fd, &r.via, &r);
	*out = r;
	return 0;
}

/* ---- where routing may change ------------------------------------------------------ */

/* A prefix may be in several tables, and in rules. */
#define BOUND_TIMES 4

static int compare_bounds(const void *a, const void *b)
{
	const struct frontend_addr *x = a, *y = b;

	return memcmp(&x->prefix, &y->prefix, sizeof(x->prefix))
		       ?: (x->prefix_bits > y->prefix_bits) - (x->prefix_bits < y->prefix_bits);
}

static void sort_bounds(struct route_bounds *b)
{
	size_t n = 0;

	if (!b->n)
		return; /* qsort() takes no NULL */
	qsort(b->all, b->n, sizeof(*b->all), compare_bounds);
	for (size_t i = 0; i < b->n; i++)
		if (!n || compare_bounds(&b->all[n - 1], &b->all[i]))
			b->all[n++] = b->all[i];
	b->n = n;
}

static int add_bound(struct route_bounds *b, const struct frontend_addr *prefix)
{
	if (b->n >= b->most)
		return -E2BIG;
	if (!ROOM_FOR_ONE(b->all, b->n, b->room, 64))
		return -ENOMEM;
	b->all[b->n++] = *prefix;
	return 0;
}

static int on_bound(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[RTA_MAX + 1];
	const struct rtmsg *m = nlmsg_data(h);
	struct frontend_addr prefix;

	if (h->nlmsg_type != RTM_NEWROUTE)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	if (m->rtm_table == RT_TABLE_LOCAL || m->rtm_type == RTN_MULTICAST ||
	    m->rtm_flags & RTM_F_CLONED || !from_route(m, a[RTA_DST], &prefix))
		return 0;
	return add_bound(arg, &prefix);
}

/* A rule's header begins as a route's does. */
static int routes_on_rule(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[FRA_MAX + 1];
	const struct rtmsg *m = nlmsg_data(h);
	struct route_bounds *b = arg;
	struct frontend_addr prefix;

	if (h->nlmsg_type != RTM_NEWRULE)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*m), a, FRA_MAX, NULL) < 0)
		return -EBADMSG;
	b->by_source |= m->rtm_src_len > 0;
	return from_route(m, a[FRA_DST], &prefix) ? add_bound(b, &prefix) : 0;
}

static int bounds_ask(int netns_fd, int type, uint8_t family, netlink_fn each,
		      struct route_bounds *b)
{
	const struct rtmsg m = {.rtm_family = family};
	const size_t before = b->n;
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < DUMP_TRIES; i++) {
		_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_DUMP);

		if (!msg || nlmsg_append(msg, (void *)&m, sizeof(m), NLMSG_ALIGNTO) < 0)
			return -ENOMEM;
		b->n = before;
		r = netlink_ask(netns_fd, NETLINK_ROUTE, msg, each, b);
	}
	return r == -ENOENT || r == -EOPNOTSUPP || r == -EAFNOSUPPORT ? 0 : r;
}

int routes_bounds(int netns_fd, size_t most, struct route_bounds *out)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct route_bounds b = {.most = most * BOUND_TIMES};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(families); i++) {
		const struct rtmsg all = {.rtm_family = families[i]};
		struct frontend_addr prefix;

		if (from_route(&all, NULL, &prefix))
			r = add_bound(&b, &prefix);
		if (!r)
			r = bounds_ask(netns_fd, RTM_GETROUTE, families[i], on_bound, &b);
		if (!r)
			r = bounds_ask(netns_fd, RTM_GETRULE, families[i], routes_on_rule, &b);
	}
	sort_bounds(&b);
	if (!r && b.n > most)
		r = -E2BIG;
	if (r) {
		free(b.all);
		return r;
	}
	*out = b;
	return 0;
}
