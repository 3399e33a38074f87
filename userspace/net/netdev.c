/* SPDX-License-Identifier: Apache-2.0 */
#include "netdev.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "../base/util.h"
#include "holder.h"
#include "netlink.h"
#include "netns.h"

/* The generic netlink family "netdev" (linux/netdev.h, Linux 6.3). */
#define FAMILY       "netdev"
#define DEV_GET      1
#define DEV_IFINDEX  1
#define DEV_FEATURES 3
#define DEV_MAX      16

/* Looks for attribute `wanted`, of `size` bytes. */
struct answer {
	int wanted;
	size_t size;
	void *to;
	bool found;
};

static int netdev_on_answer(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a[DEV_MAX + 1];
	struct answer *w = arg;

	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(struct genlmsghdr), a, DEV_MAX, NULL) < 0)
		return -EBADMSG;
	if (a[w->wanted] && nla_len(a[w->wanted]) == (int)w->size) {
		memcpy(w->to, nla_data(a[w->wanted]), w->size);
		w->found = true;
	}
	return 0;
}

static struct nl_msg *question(int family, uint8_t command)
{
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(family, 0);
	const struct genlmsghdr h = {.cmd = command, .version = 1};

	if (!msg || nlmsg_append(msg, (void *)&h, sizeof(h), NLMSG_ALIGNTO) < 0)
		return NULL;
	return TAKE_PTR(msg);
}

static int netdev_ask(int netns_fd, struct nl_msg *msg, struct answer *a)
{
	int err = netlink_ask(netns_fd, NETLINK_GENERIC, msg, netdev_on_answer, a);

	return err ? err : a->found ? 0 : -ENOENT;
}

static int find_family(int netns_fd, uint16_t *id)
{
	_cleanup_(nl_msg_freep) struct nl_msg *msg = question(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	struct answer a = {.wanted = CTRL_ATTR_FAMILY_ID, .size = sizeof(*id), .to = id};

	if (!msg || nla_put_string(msg, CTRL_ATTR_FAMILY_NAME, FAMILY) < 0)
		return -ENOMEM;
	return netdev_ask(netns_fd, msg, &a);
}

int netdev_xdp_features(int netns_fd, uint32_t device, uint64_t *features)
{
	_cleanup_(nl_msg_freep) struct nl_msg *msg = NULL;
	struct answer a = {.wanted = DEV_FEATURES, .size = sizeof(*features), .to = features};
	uint16_t family;
	int err = find_family(netns_fd, &family);

	if (err)
		return err;
	msg = question(family, DEV_GET);
	if (!msg || nla_put_u32(msg, DEV_IFINDEX, device) < 0)
		return -ENOMEM;
	return netdev_ask(netns_fd, msg, &a);
}

bool netdev_takes_tags(int netns_fd, const char *name)
{
	_cleanup_close_ int fd = netns_socket(netns_fd, AF_INET, SOCK_DGRAM, 0);
	struct ethtool_value v = {.cmd = ETHTOOL_GFLAGS};
	struct ifreq r = {.ifr_data = (void *)&v};

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return fd < 0 || ioctl(fd, SIOCETHTOOL, &r) || v.data & ETH_FLAG_RXVLAN;
}

/* As in linux/bpf.h since Linux 6.6: before all others. */
#define TCX_BEFORE (1U << 3)

struct attaching {
	uint32_t device;
	int type; /* enum bpf_attach_type */
	uint32_t flags;
	int prog_fd;
};

static int attach(void *arg)
{
	const struct attaching *a = arg;
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = a->flags);
	int fd = bpf_link_create(a->prog_fd, (int)a->device, (enum bpf_attach_type)a->type, &opts);

	return fd < 0 ? -errno : fd;
}

int netdev_xdp_attach(int netns_fd, uint32_t device, int prog_fd)
{
	struct attaching a = {device, BPF_XDP, XDP_FLAGS_DRV_MODE, prog_fd};

	return netns_call(netns_fd, attach, &a);
}

int netdev_tcx_attach(int netns_fd, uint32_t device, int type, bool first, int prog_fd)
{
	struct attaching a = {device, type, first ? TCX_BEFORE : 0, prog_fd};

	return netns_call(netns_fd, attach, &a);
}

struct looking {
	uint32_t device;
	int type; /* enum bpf_attach_type */
	uint32_t *ids;
};

static int tcx_programs(void *arg)
{
	const struct looking *l = arg;
	uint32_t n = NETDEV_TCX_MAX, flags;
	int err = bpf_prog_query((int)l->device, (enum bpf_attach_type)l->type, 0, &flags, l->ids,
				 &n);

	return err ? 0 : (int)n;
}

uint32_t netdev_tcx_programs(int netns_fd, uint32_t device, int type, uint32_t ids[NETDEV_TCX_MAX])
{
	struct looking l = {device, type, ids};

	return (uint32_t)MAX(netns_call(netns_fd, tcx_programs, &l), 0);
}

static int netdev_xdp_program(void *arg)
{
	const struct looking *l = arg;

	return !bpf_xdp_query_id((int)l->device, XDP_FLAGS_DRV_MODE, l->ids);
}

bool netdev_has_program(int netns_fd, uint32_t device, int type, uint32_t prog_id)
{
	uint32_t ids[NETDEV_TCX_MAX], n;
	struct looking l = {device, type, ids};

	n = type == BPF_XDP ? netns_call(netns_fd, netdev_xdp_program, &l) > 0
			    : netdev_tcx_programs(netns_fd, device, type, ids);
	for (uint32_t i = 0; prog_id && i < n; i++)
		if (ids[i] == prog_id)
			return true;
	return false;
}

static int xdp_any(void *arg)
{
	const struct looking *l = arg;

	return bpf_xdp_query_id((int)l->device, 0, l->ids);
}

const char *netdev_xdp_says(int netns_fd, uint32_t device, char says[NETDEV_XDP_SAYS_SIZE])
{
	char name[PROGRAM_NAME_SIZE];
	uint32_t id = 0;
	struct looking l = {device, BPF_XDP, &id};

	says[0] = '\0';
	if (!netns_call(netns_fd, xdp_any, &l) && id)
		snprintf(says, NETDEV_XDP_SAYS_SIZE, ": %s (id %u)", program_name(id, name), id);
	return says;
}
