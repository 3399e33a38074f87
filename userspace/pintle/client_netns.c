/* SPDX-License-Identifier: Apache-2.0 */
#include "client_netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "../base/util.h"
#include "../maps/names.h"
#include "../maps/pod_cgroup.h"
#include "../net/cgroup2.h"
#include "../net/netns.h"

struct search {
	uint64_t cgroup, pod;
	uint64_t *cookie;
	int err; /* of the process that was looked at last; 0: found */
};

static bool is_clients(const struct search *s, const struct cgroup2_visit *v)
{
	char name[PINTLE_CLIENT_NAME_SIZE];

	if (s->cgroup && v->id == s->cgroup)
		return true;
	return s->pod && pod_cgroup_above(v->path, name) && client_id(name) == s->pod;
}

static int netns_of(int pid, uint64_t *cookie)
{
	_cleanup_close_ int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : netns_cookie_quiet(fd, cookie);
}

/* Processes outside the own PID namespace are called 0. */
static int look_in(int cgroup, uint64_t *cookie)
{
	_cleanup_close_ int fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	int pid, err = -ENOENT;

	if (!f)
		return -errno;
	TAKE_FD(fd);
	while (err && fscanf(f, "%d", &pid) == 1)
		if (pid > 0)
			err = netns_of(pid, cookie);
	return err;
}

static bool visit(void *arg, const struct cgroup2_visit *v)
{
	struct search *s = arg;
	int err = is_clients(s, v) ? look_in(v->fd, s->cookie) : -ENOENT;

	if (err != -ENOENT)
		s->err = err;
	return s->err != 0;
}

int client_netns(uint64_t cgroup, uint64_t pod, uint64_t *cookie)
{
	struct search s = {cgroup, pod, cookie, -ENOENT};
	char root[PATH_MAX];
	int err = cgroup2_root(root, sizeof(root));

	if (!err)
		err = cgroup2_walk(root, "", visit, &s);
	return err && err != -ECANCELED ? err : s.err;
}
