/* SPDX-License-Identifier: Apache-2.0 */
#include "linking.h"

#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../net/holder.h"
#include "pins.h"

static int link_create(const struct link_kind *k, int prog_fd, const struct link_place *to)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = k->preorder ? BPF_F_PREORDER : 0);
	int at = k->netns ? to->netns_fd : to->cgroup_fd;
	int fd = bpf_link_create(prog_fd, at, k->type, &opts);

	if (fd == -EINVAL && opts.flags) {
		opts.flags = 0; /* Linux before 6.15 refuses the flag */
		fd = bpf_link_create(prog_fd, at, k->type, &opts);
	}
	return fd;
}

/* The kernel says no more than EPERM where another program keeps all others off. */
static int refused(const struct link_kind *k, const struct link_place *to, int err)
{
	struct holder h;

	if (err != -EPERM || k->netns || !holder_find(to->cgroup_fd, k->type, &h))
		return log_err_r(err, "failed to attach %s to the %s %s", k->program,
				 k->netns ? "network namespace" : "cgroup",
				 k->netns ? to->netns : to->cgroup);
	log_error("failed to attach %s to the cgroup %s: program %s (id %u), which is attached to "
		  "%s, lets no other be there; " HOLDER_CURE,
		  k->program, to->cgroup, h.name, h.id, h.cgroup);
	return err;
}

int link_attach(const struct link_kind *k, int prog_fd, const struct link_place *to,
		const char *dir)
{
	/* A pinned link outlives this descriptor; one that could not be pinned ends with it. */
	_cleanup_close_ int fd = link_create(k, prog_fd, to);
	char path[PIN_PATH_SIZE];

	if (fd < 0)
		return refused(k, to, fd);
	if (bpf_obj_pin(fd, pin_path(dir, k->pin, path)))
		return log_err_r(errno, "failed to pin %s", path);
	return pins_own(path, PINS_FILE_MODE, to->group);
}

int link_replace(const struct link_kind *k, int prog_fd, const struct link_place *to,
		 const char *dir)
{
	_cleanup_close_ int fd = pin_open(dir, k->pin, 0);
	char path[PIN_PATH_SIZE];

	pin_path(dir, k->pin, path);
	if (fd < 0) {
		if (fd != -ENOENT)
			return log_err_r(fd, "failed to open %s", path);
		log_warn("%s is missing; attaching anew", path);
		return link_attach(k, prog_fd, to, dir);
	}
	if (!bpf_link_update(fd, prog_fd, NULL))
		return 0;
	if (errno != ENOLINK)
		return log_err_r(errno, "failed to replace the program of %s", path);
	/* What it was attached to is gone, or somebody detached it by force. */
	log_warn("%s was no longer attached; attaching anew", path);
	unlink(path);
	return link_attach(k, prog_fd, to, dir);
}

int link_move(const struct link_kind *k, int prog_fd, const struct link_place *to, const char *from,
	      const char *dir)
{
	char path[PIN_PATH_SIZE], moved[PIN_PATH_SIZE];
	int err = link_replace(k, prog_fd, to, from);

	if (err)
		return err;
	if (rename(pin_path(from, k->pin, path), pin_path(dir, k->pin, moved)))
		return log_err_r(errno, "failed to move %s to %s", path, moved);
	return 0;
}

bool link_pinned(const struct link_kind *k, const char *dir)
{
	return pin_is_there(dir, k->pin);
}

void link_detach(const struct link_kind *k, const char *dir)
{
	_cleanup_close_ int fd = -1;
	char path[PIN_PATH_SIZE];

	if (!link_pinned(k, dir))
		return;
	pin_path(dir, k->pin, path);
	fd = pin_open(dir, k->pin, 0);
	/* The kernel frees a link some time after its last pin is gone; this ends it now. */
	if (fd >= 0 && bpf_link_detach(fd) && errno != ENOLINK)
		log_err_r(errno, "failed to detach %s", path);
	if (unlink(path))
		log_err_r(errno, "failed to remove %s", path);
}
