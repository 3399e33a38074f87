/* SPDX-License-Identifier: Apache-2.0 */
#include "xdp.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <dirent.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/names.h"
#include "../net/netdev.h"
#include "pins.h"

/* A pin's name is this and the device's index. */
#define PIN "xdp_"

struct xdp_link {
	uint32_t device;
	int fd;
	bool ours; /* runs this daemon's program */
};

struct xdp {
	struct attachment *attachment;
	const struct maps *m;
	uint32_t how;    /* enum config_xdp */
	int programs[2]; /* by whether it is for a veth; -1: not loaded */
	bool unloadable; /* the kernel refused a program, which was logged */
	struct xdp_link *links;
	size_t count, room;
	uint32_t attached; /* as logged last */
};

/* ---- links -------------------------------------------------------------------------- */

static bool pin_parse(const char *name, uint32_t *device)
{
	char end;

	return sscanf(name, PIN "%u%c", device, &end) == 1;
}

static const char *pin_of(const struct xdp_link *link, char name[32])
{
	snprintf(name, 32, PIN "%u", link->device);
	return name;
}

static int links_add(struct xdp *x, const struct xdp_link *link)
{
	if (x->count == x->room) {
		size_t room = x->room ? 2 * x->room : 8;
		struct xdp_link *more = reallocarray(x->links, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		x->links = more;
		x->room = room;
	}
	x->links[x->count++] = *link;
	return 0;
}

static void link_end(int fd, const char *dir, const char *pin)
{
	char path[PIN_PATH_SIZE];

	/* The kernel frees a link some time after its last pin is gone; this ends it now. */
	if (fd >= 0 && bpf_link_detach(fd) && errno != ENOLINK)
		log_err_r(errno, "failed to detach XDP (%s)", pin);
	if (unlink(pin_path(dir, pin, path)) && errno != ENOENT)
		log_err_r(errno, "failed to remove %s", path);
}

/* Calls for each pin in `dir` that is a link of XDP. */
static void each_pin(const char *dir,
		     void (*each)(const char *dir, const char *pin, struct xdp_link *link,
				  void *arg),
		     void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct xdp_link link = {.fd = -1};

		if (!pin_parse(e->d_name, &link.device))
			continue;
		link.fd = pin_open(dir, e->d_name, 0);
		each(dir, e->d_name, &link, arg);
	}
	if (d)
		closedir(d);
}

static void detach_pin(const char *dir, const char *pin, struct xdp_link *link, void *arg)
{
	(void)arg;
	link_end(link->fd, dir, pin);
	if (link->fd >= 0)
		close(link->fd);
}

void xdp_detach_all(const char *dir)
{
	each_pin(dir, detach_pin, NULL);
}

static void take_pin(const char *dir, const char *pin, struct xdp_link *link, void *arg)
{
	if (link->fd < 0 || links_add(arg, link))
		detach_pin(dir, pin, link, NULL);
}

static bool link_attached(const struct xdp_link *link)
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);

	/* The kernel reports 0 once the device is gone, or the link was detached by force. */
	return !bpf_obj_get_info_by_fd(link->fd, &info, &size) && info.xdp.ifindex == link->device;
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
static enum pintle_xdp judge(const struct xdp *x, const struct tc_device *all, size_t n,
			     const struct tc_device *device)
{
	int netns_fd = attachment_netns(x->attachment);
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
		*fd = attachment_program(x->attachment, veth ? "pintle_xdp_veth" : "pintle_xdp");
	x->unloadable |= *fd < 0;
	return *fd;
}

static int link_pin(const struct xdp *x, const struct xdp_link *link)
{
	const char *dir = attachment_dir(x->attachment);
	char path[PIN_PATH_SIZE], name[32];

	if (pin_is_there(dir, pin_of(link, name)))
		return 0;
	if (bpf_obj_pin(link->fd, pin_path(dir, name, path)))
		return log_err_r(errno, "failed to pin %s", path);
	return pins_own(path, PINS_FILE_MODE, x->m->node->group);
}

/* Makes an attached link run this daemon's program. */
static int link_renew(struct xdp *x, struct xdp_link *link, const struct tc_device *device)
{
	int fd = link->ours ? 0 : xdp_program(x, device);

	if (fd < 0)
		return fd;
	if (!link->ours && bpf_link_update(link->fd, fd, NULL))
		return log_err_r(errno, "failed to replace the XDP program of %s", device->name);
	link->ours = true;
	return link_pin(x, link);
}

static enum pintle_xdp device_attach(struct xdp *x, const struct tc_device *device)
{
	struct xdp_link link = {.device = device->index, .ours = true};
	int program = xdp_program(x, device), err;

	if (program < 0)
		return PINTLE_XDP_REFUSED;
	link.fd = netdev_xdp_attach(attachment_netns(x->attachment), device->index, program);
	if (link.fd == -EBUSY || link.fd == -EEXIST)
		return PINTLE_XDP_TAKEN;
	if (link.fd == -EOPNOTSUPP)
		return PINTLE_XDP_UNABLE;
	if (link.fd < 0) {
		log_debug("%s: XDP: %s", device->name, strerror(-link.fd));
		return PINTLE_XDP_REFUSED;
	}
	err = link_pin(x, &link);
	if (!err)
		err = links_add(x, &link);
	if (err) {
		char name[32];

		link_end(link.fd, attachment_dir(x->attachment), pin_of(&link, name));
		close(link.fd);
		return PINTLE_XDP_REFUSED;
	}
	return PINTLE_XDP_NATIVE;
}

static struct xdp_link *link_of(const struct xdp *x, uint32_t device)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->links[i].device == device)
			return &x->links[i];
	return NULL;
}

static void links_drop(struct xdp *x, struct xdp_link *link)
{
	char name[32];

	link_end(link->fd, attachment_dir(x->attachment), pin_of(link, name));
	close(link->fd);
	*link = x->links[--x->count];
}

static enum pintle_xdp device_arrange(struct xdp *x, const struct tc_device *device,
				      enum pintle_xdp may)
{
	struct xdp_link *link = link_of(x, device->index);

	if (link && (may != PINTLE_XDP_NATIVE || !link_attached(link))) {
		links_drop(x, link);
		link = NULL;
	}
	if (may != PINTLE_XDP_NATIVE)
		return may;
	if (!link)
		return device_attach(x, device);
	if (!link_renew(x, link, device))
		return may;
	links_drop(x, link);
	return PINTLE_XDP_REFUSED;
}

/* ---- telling ------------------------------------------------------------------------------ */

struct wanted {
	const struct tc_device *devices;
	const bool *has;
	size_t n;
};

static bool is_wanted(const void *key, const void *arg)
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
	int fd = x->m->fd[MAP_hand_devices];

	memcpy(d.name, device->name, MIN(sizeof(d.name), sizeof(device->name)));
	bpf_map_lookup_elem(fd, &device->index, &was);
	if (!memcmp(&was, &d, sizeof(d)))
		return;
	if (how == PINTLE_XDP_TAKEN || how == PINTLE_XDP_REFUSED)
		log_warn("%s: handshakes are answered in TC, not in XDP: %s", device->name,
			 xdp_help(how));
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

	for (size_t i = x->count; i-- > 0;)
		if (!is_wanted(&x->links[i].device, &w))
			links_drop(x, &x->links[i]);
	for (size_t i = 0; i < n; i++)
		if (has[i])
			device_tell(
				x, &devices[i],
				device_arrange(x, &devices[i], judge(x, devices, n, &devices[i])));
	maps_prune(x->m, MAP_hand_devices, is_wanted, &w);
	attached = (uint32_t)x->count;
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

int xdp_new(struct attachment *a, struct xdp **out)
{
	struct xdp *x = calloc(1, sizeof(*x));

	if (!x)
		return log_err_r(ENOMEM, "XDP");
	x->attachment = a;
	x->m = attachment_maps(a);
	x->programs[0] = x->programs[1] = -1;
	each_pin(attachment_dir(a), take_pin, x);
	*out = x;
	return 0;
}

void xdp_free(struct xdp *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->count; i++)
		close(x->links[i].fd);
	free(x->links);
	xdp_unload(x);
	free(x);
}
