/* SPDX-License-Identifier: Apache-2.0 */
#include "device_links.h"

#include <bpf/bpf.h>
#include <dirent.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/pin.h"
#include "pins.h"

/* ---- pins ---------------------------------------------------------------------------- */

static void pin_of(const struct device_links *l, const struct device_link *link,
		   char name[NAME_MAX])
{
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

static int link_pin(const struct device_links *l, const struct device_link *link, gid_t group)
{
	char path[PIN_PATH_SIZE], name[NAME_MAX];

	pin_of(l, link, name);
	if (pin_is_there(l->dir, name))
		return 0;
	if (bpf_obj_pin(link->fd, pin_path(l->dir, name, path)))
		return log_err_r(errno, "failed to pin %s", path);
	return pins_own(path, PINS_FILE_MODE, group);
}

/* ---- links --------------------------------------------------------------------------- */

static void links_end(const struct device_links *l, const struct device_link *link)
{
	char name[NAME_MAX];

	pin_of(l, link, name);
	link_end(l->dir, name, link->fd);
	if (link->fd >= 0)
		close(link->fd);
}

void device_links_find(struct device_links *l, const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	*l = (struct device_links){.dir = dir};
	snprintf(l->prefix, sizeof(l->prefix), "%s", prefix);
	while (d && (e = readdir(d))) {
		struct device_link link = {.fd = -1};
		char end;

		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 ||
		    sscanf(e->d_name + strlen(prefix), "%u%c", &link.device, &end) != 1)
			continue;
		link.fd = pin_open(dir, e->d_name, 0);
		if (link.fd < 0 || !ROOM_FOR_ONE(l->all, l->n, l->room, 8))
			links_end(l, &link);
		else
			l->all[l->n++] = link;
	}
	if (d)
		closedir(d);
}

struct device_link *device_links_of(const struct device_links *l, uint32_t device)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].device == device)
			return &l->all[i];
	return NULL;
}

bool device_link_attached(const struct device_link *link)
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);

	/* The device comes first, for a link of tcx, too. The kernel reports 0 once the device is
	 * gone, or the link was detached by force. */
	return !bpf_obj_get_info_by_fd(link->fd, &info, &size) && info.xdp.ifindex == link->device;
}

int device_links_add(struct device_links *l, uint32_t device, int fd, gid_t group)
{
	const struct device_link link = {.device = device, .fd = fd, .ours = true};
	int err = ROOM_FOR_ONE(l->all, l->n, l->room, 8) ? link_pin(l, &link, group)
							 : log_err_r(ENOMEM, "%s", l->prefix);

	if (err) {
		links_end(l, &link);
		return err;
	}
	l->all[l->n++] = link;
	return 0;
}

int device_links_renew(const struct device_links *l, struct device_link *link, int prog_fd,
		       gid_t group)
{
	char name[NAME_MAX];

	pin_of(l, link, name);
	if (!link->ours && bpf_link_update(link->fd, prog_fd, NULL))
		return log_err_r(errno, "failed to replace the program of %s", name);
	link->ours = true;
	return link_pin(l, link, group);
}

void device_links_drop(struct device_links *l, struct device_link *link)
{
	links_end(l, link);
	*link = l->all[--l->n];
}

void device_links_free(struct device_links *l)
{
	for (size_t i = 0; i < l->n; i++)
		close(l->all[i].fd);
	free(l->all);
	*l = (struct device_links){0};
}
