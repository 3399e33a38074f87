/* SPDX-License-Identifier: Apache-2.0 */
#include "device_links.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <inttypes.h>
#include <sys/resource.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/pin.h"
#include "../../net/netdev.h"
#include "../attach/pins.h"

/* ---- pins ---------------------------------------------------------------------------- */

static void pin_of(const struct device_links *l, const struct device_link *link,
		   char name[NAME_MAX])
{
	if (link->netns)
		snprintf(name, NAME_MAX, "%s%" PRIx64 "_%u", l->prefix, link->netns, link->device);
	else
		snprintf(name, NAME_MAX, "%s%u", l->prefix, link->device);
}

static void link_end(const char *dir, const char *pin, int fd)
{
	char path[PIN_PATH_SIZE];

	/* The kernel frees a link some time after its last pin is gone; this ends it now. */
	if (fd >= 0 && bpf_link_detach(fd) && errno != ENOLINK)
		log_err_r(errno, "failed to detach %s", pin);
	if (unlink(pin_path(dir, pin, path)) && errno != ENOENT)
		log_err_r(errno, "failed to remove %s", path);
}

void device_links_detach_all(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_close_ int fd = -1;

		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		fd = pin_open(dir, e->d_name, 0);
		link_end(dir, e->d_name, fd);
	}
	if (d)
		closedir(d);
}

static bool device_links_link_info(int fd, struct bpf_link_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, info, &size);
}

static bool is_pinned(const struct device_links *l, const struct device_link *link,
		      const char *name)
{
	_cleanup_close_ int fd = pin_open(l->dir, name, 0);
	struct bpf_link_info there, ours;

	return device_links_link_info(fd, &there) && device_links_link_info(link->fd, &ours) &&
	       there.type == ours.type && there.id == ours.id;
}

static int link_pin(const struct device_links *l, const struct device_link *link, gid_t group)
{
	char path[PIN_PATH_SIZE], name[NAME_MAX];

	pin_of(l, link, name);
	if (is_pinned(l, link, name))
		return 0;
	unlink(pin_path(l->dir, name, path)); /* something else of that name */
	if (bpf_obj_pin(link->fd, path))
		return log_err_r(errno, "failed to pin %s", path);
	return pins_own(path, PINS_FILE_MODE, group);
}

/* ---- links --------------------------------------------------------------------------- */

/* Half of the files that may be open are left for everything else. */
static bool is_room(struct device_links *l, int fd)
{
	struct rlimit r;

	return !getrlimit(RLIMIT_NOFILE, &r) && (rlim_t)fd < r.rlim_cur / 2 &&
	       ROOM_FOR_ONE(l->all, l->n, l->room, 8);
}

static void links_end(const struct device_links *l, const struct device_link *link)
{
	char name[NAME_MAX];

	pin_of(l, link, name);
	link_end(l->dir, name, link->fd);
	if (link->fd >= 0)
		close(link->fd);
}

/* `rest`: a pin's name behind the prefix. */
static bool device_links_read_name(const char *rest, struct device_link *link)
{
	char end;

	return sscanf(rest, "%u%c", &link->device, &end) == 1 ||
	       (sscanf(rest, "%" SCNx64 "_%u%c", &link->netns, &link->device, &end) == 2 &&
		link->netns);
}

void device_links_find(struct device_links *l)
{
	const char *dir = l->dir, *prefix = l->prefix;
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct device_link link = {.fd = -1};

		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 ||
		    !device_links_read_name(e->d_name + strlen(prefix), &link))
			continue;
		link.fd = pin_open(dir, e->d_name, 0);
		if (link.fd < 0 || !is_room(l, link.fd))
			links_end(l, &link);
		else
			l->all[l->n++] = link;
	}
	if (d)
		closedir(d);
}

void device_links_find_tcx(struct device_links *l, int netns_fd, const char *dir,
			   const char *program, enum tc_direction direction)
{
	static const struct {
		const char *name;
		int type;
	} ways[] = {[TC_IN] = {"in", NETDEV_TCX_INGRESS}, [TC_OUT] = {"out", NETDEV_TCX_EGRESS}};

	*l = (struct device_links){.netns_fd = netns_fd, .type = ways[direction].type, .dir = dir};
	snprintf(l->prefix, sizeof(l->prefix), DEVICE_LINKS_TCX "%s_%s_", program,
		 ways[direction].name);
	device_links_find(l);
}

struct device_link *device_links_of(const struct device_links *l, uint32_t device)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].netns == l->netns && l->all[i].device == device)
			return &l->all[i];
	return NULL;
}

/* The index is that of a device in whatever namespace; the program of the link is at the device
 * here only if it is the same device. */
static bool device_links_is_attached(const struct device_links *l, const struct device_link *link)
{
	struct bpf_link_info info;

	/* The device comes first in the part for tcx, too. */
	return device_links_link_info(link->fd, &info) && info.xdp.ifindex == link->device &&
	       netdev_has_program(l->netns_fd, link->device, l->type, info.prog_id);
}

void device_links_weed(struct device_links *l)
{
	for (size_t i = l->n; i-- > 0;)
		if (l->all[i].netns == l->netns && !device_links_is_attached(l, &l->all[i]))
			device_links_drop(l, &l->all[i]);
}

int device_links_add(struct device_links *l, uint32_t device, int fd, gid_t group)
{
	const struct device_link link = {
		.netns = l->netns, .device = device, .fd = fd, .ours = true};
	int err = is_room(l, fd) ? link_pin(l, &link, group) : -EMFILE;

	if (err) {
		links_end(l, &link);
		return err;
	}
	l->all[l->n++] = link;
	return 0;
}

void device_links_drop(struct device_links *l, struct device_link *link)
{
	links_end(l, link);
	*link = l->all[--l->n];
}

int device_links_renew(struct device_links *l, struct device_link *link, int prog_fd, gid_t group)
{
	char name[NAME_MAX];
	int err;

	pin_of(l, link, name);
	if (!link->ours && bpf_link_update(link->fd, prog_fd, NULL)) {
		err = log_err_r(errno, "failed to replace the program of %s", name);
		device_links_drop(l, link);
		return err;
	}
	link->ours = true;
	/* Somebody may have removed the directory of the pins, too, which is made again. */
	link_pin(l, link, group);
	return 0;
}

/* Returns as netdev_tcx_attach(). */
static int device_link_up(struct device_links *l, uint32_t device, const struct tc_ours *o,
			  int prog_fd, gid_t group)
{
	int fd = netdev_tcx_attach(l->netns_fd, device, l->type, o->priority == 1, prog_fd);

	return fd < 0 ? fd : device_links_add(l, device, fd, group);
}

int device_links_attach(struct device_links *l, uint32_t device, const struct tc_ours *o,
			bool filtered, int prog_fd, gid_t group)
{
	const struct tc_point at = {device, l->type == NETDEV_TCX_EGRESS ? TC_OUT : TC_IN};
	struct device_link *link = device_links_of(l, device);
	int err;

	if (link && !device_links_renew(l, link, prog_fd, group))
		return 0;
	if (!filtered && !tc_has_place(l->netns_fd, at)) {
		err = device_link_up(l, device, o, prog_fd, group);
		if (err != -EINVAL && err != -ERANGE)
			return err;
		log_debug("%s: tcx: %s", o->name, strerror(-err));
	}
	return tc_attach(l->netns_fd, at, o, prog_fd);
}

void device_links_free(struct device_links *l)
{
	for (size_t i = 0; i < l->n; i++)
		close(l->all[i].fd);
	free(l->all);
	*l = (struct device_links){0};
}
