/* SPDX-License-Identifier: Apache-2.0 */
#include "xdp.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/names.h"
#include "../../net/netdev.h"
#include "device_links.h"
#include "../attach/programs.h"

#define PIN "xdp_" /* how the links' pins begin */

struct xdp {
	const struct ground *ground;
	const struct maps *m;
	uint32_t how;    /* enum config_xdp */
	int programs[2]; /* by whether it is for a veth; -1: not loaded */
	bool unloadable; /* the kernel refused a program, which was logged */
	struct device_links links;
	uint32_t attached; /* as logged last */
};

void xdp_detach_all(const char *dir)
{
	device_links_detach_all(dir, PIN);
}

/* ---- where it can be ------------------------------------------------------------------ */

static bool has_ports(const struct tc_device *all, size_t n, const struct tc_device *device)
{
	bool any = device->kind == TC_BRIDGE;

	for (size_t i = 0; i < n; i++)
		any |= all[i].master == device->index;
	return any;
}

static bool has_vlans(const struct tc_device *all, size_t n, const struct tc_device *device)
{
	bool any = false;

	for (size_t i = 0; i < n; i++)
		any |= all[i].kind == TC_VLAN && all[i].lower == device->index;
	return any;
}

/* PINTLE_XDP_NATIVE: the device may have it; or why not. */
static enum pintle_xdp xdp_judge(const struct xdp *x, const struct tc_device *all, size_t n,
				 const struct tc_device *device)
{
	int netns_fd = x->ground->netns_fd;
	uint64_t features = 0;

	if (x->how == CONFIG_XDP_OFF)
		return PINTLE_XDP_OFF;
	if (!device->ethernet || device->loopback)
		return PINTLE_XDP_UNABLE;
	/* A bond with a program takes no port that has one. */
	if (has_ports(all, n, device))
		return PINTLE_XDP_PORTS;
	if (has_vlans(all, n, device) && netdev_takes_tags(netns_fd, device->name))
		return PINTLE_XDP_TAGS;
	if (netdev_xdp_features(netns_fd, device->index, &features) ||
	    !(features & NETDEV_XDP_BASIC))
		return PINTLE_XDP_UNABLE;
	/* What XDP sends back on a veth, its other end must take: the kernel says so of this end.
	 */
	if (device->kind == TC_VETH && !(features & NETDEV_XDP_NDO_XMIT))
		return PINTLE_XDP_PEER;
	return PINTLE_XDP_NATIVE;
}

/* ---- attaching ------------------------------------------------------------------------ */

static int xdp_program(struct xdp *x, const struct tc_device *device)
{
	bool veth = device->kind == TC_VETH;
	int *fd = &x->programs[veth];

	if (*fd < 0 && !x->unloadable)
		*fd = programs_load_one(x->ground->maps, veth ? "pintle_xdp_veth" : "pintle_xdp");
	x->unloadable |= *fd < 0;
	return *fd;
}

static enum pintle_xdp xdp_device_attach(struct xdp *x, const struct tc_device *device)
{
	int program = xdp_program(x, device), fd;

	if (program < 0)
		return PINTLE_XDP_REFUSED;
	fd = netdev_xdp_attach(x->ground->netns_fd, device->index, program);
	if (fd == -EBUSY || fd == -EEXIST)
		return PINTLE_XDP_TAKEN;
	if (fd == -EOPNOTSUPP)
		return PINTLE_XDP_UNABLE;
	if (fd < 0) {
		log_debug("%s: XDP: %s", device->name, strerror(-fd));
		return PINTLE_XDP_REFUSED;
	}
	return device_links_add(&x->links, device->index, fd, x->m->node->group)
		       ? PINTLE_XDP_REFUSED
		       : PINTLE_XDP_NATIVE;
}

static enum pintle_xdp device_arrange(struct xdp *x, const struct tc_device *device,
				      enum pintle_xdp may)
{
	struct device_link *link = device_links_of(&x->links, device->index);
	int program;

	if (may != PINTLE_XDP_NATIVE) {
		if (link)
			device_links_drop(&x->links, link);
		return may;
	}
	if (!link)
		return xdp_device_attach(x, device);
	program = xdp_program(x, device);
	if (program < 0)
		device_links_drop(&x->links, link);
	return program < 0 || device_links_renew(&x->links, link, program, x->m->node->group)
		       ? PINTLE_XDP_REFUSED
		       : may;
}

/* ---- telling ------------------------------------------------------------------------------ */

struct wanted {
	const struct tc_device *devices;
	const bool *has;
	size_t n;
};

static bool xdp_is_wanted(const void *key, const void *arg)
{
	const struct wanted *w = arg;
	uint32_t device;

	memcpy(&device, key, sizeof(device));
	for (size_t i = 0; i < w->n; i++)
		if (w->has[i] && w->devices[i].index == device)
			return true;
	return false;
}

/* A daemon that takes over finds them told already. */
static void device_tell(const struct xdp *x, const struct tc_device *device, enum pintle_xdp how)
{
	struct pintle_device d = {.xdp = how}, was = {0};
	char whose[NETDEV_XDP_SAYS_SIZE] = "";
	int fd = x->m->fd[MAP_hand_devices];

	memcpy(d.name, device->name, MIN(sizeof(d.name), sizeof(device->name)));
	bpf_map_lookup_elem(fd, &device->index, &was);
	if (!memcmp(&was, &d, sizeof(d)))
		return;
	if (how == PINTLE_XDP_TAKEN)
		netdev_xdp_says(x->ground->netns_fd, device->index, whose);
	if (how == PINTLE_XDP_TAKEN || how == PINTLE_XDP_REFUSED)
		log_warn("%s: handshakes are answered in TC, not in XDP: %s%s", device->name,
			 xdp_help(how), whose);
	/* A full map hides a device from people, and nothing else. */
	bpf_map_update_elem(fd, &device->index, &d, BPF_ANY);
}

/* ---- all -------------------------------------------------------------------------------- */

static void xdp_unload(struct xdp *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(x->programs); i++) {
		if (x->programs[i] >= 0)
			close(x->programs[i]);
		x->programs[i] = -1;
	}
}

void xdp_arrange(struct xdp *x, const struct tc_device *devices, const bool *has, size_t n)
{
	const struct wanted w = {devices, has, n};
	uint32_t attached;

	device_links_weed(&x->links);
	for (size_t i = x->links.n; i-- > 0;)
		if (!xdp_is_wanted(&x->links.all[i].device, &w))
			device_links_drop(&x->links, &x->links.all[i]);
	for (size_t i = 0; i < n; i++)
		if (has[i])
			device_tell(x, &devices[i],
				    device_arrange(x, &devices[i],
						   xdp_judge(x, devices, n, &devices[i])));
	maps_prune(x->m, MAP_hand_devices, xdp_is_wanted, &w);
	attached = (uint32_t)x->links.n;
	if (attached != x->attached)
		log_info("the hand-off: in XDP on %u device%s", attached, plural(attached));
	x->attached = attached;
	if (!attached)
		xdp_unload(x);
}

void xdp_configure(struct xdp *x, uint32_t how)
{
	x->how = how;
	x->unloadable = false;
}

int xdp_new(const struct ground *g, struct xdp **out)
{
	struct xdp *x = calloc(1, sizeof(*x));

	if (!x)
		return log_err_r(ENOMEM, "XDP");
	assert(g->dir);
	x->ground = g;
	x->m = g->maps;
	x->programs[0] = x->programs[1] = -1;
	x->links = (struct device_links){
		.netns_fd = g->netns_fd,
		.type = BPF_XDP,
		.dir = g->dir,
		.prefix = PIN,
	};
	device_links_find(&x->links);
	*out = x;
	return 0;
}

void xdp_free(struct xdp *x)
{
	if (!x)
		return;
	device_links_free(&x->links);
	xdp_unload(x);
	free(x);
}
