/* SPDX-License-Identifier: Apache-2.0 */
#include "client_netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../base/util.h"
#include "../../maps/names.h"
#include "../../maps/pod_cgroup.h"
#include "../../net/cgroup2.h"
#include "../../net/netns.h"

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

/* What a process has open is of its own namespace, unless it was given to it. */
static int cookie_of_socket(int fd, uint64_t inode, uint64_t *cookie)
{
	_cleanup_close_ int netns = ioctl(fd, SIOCGSKNS);
	uint64_t its, value;
	socklen_t size = sizeof(value);

	if (netns < 0)
		return -errno;
	if (netns_inode(netns, &its) || its != inode)
		return -ENOENT;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &size))
		return -errno;
	*cookie = value;
	return 0;
}

static void client_netns_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* By a socket of the process, without entering its namespace, which takes CAP_SYS_ADMIN. */
static int netns_by_sockets(int pid, uint64_t inode, uint64_t *cookie)
{
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);
	_cleanup_(client_netns_closedirp) DIR *d = NULL;
	const struct dirent *entry;
	char path[64], link[64];
	int err = -EPERM;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = pidfd < 0 ? NULL : opendir(path);
	if (!d)
		return -errno;
	while (err && (entry = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), entry->d_name, link, sizeof(link));
		bool is_socket = n > 7 && !strncmp(link, "socket:", 7);
		_cleanup_close_ int fd =
			is_socket ? pidfd_getfd(pidfd, atoi(entry->d_name), 0) : -1;

		if (fd >= 0)
			err = cookie_of_socket(fd, inode, cookie);
	}
	return err ? -EPERM : 0;
}

static int netns_of(int pid, uint64_t *cookie)
{
	_cleanup_close_ int fd = -1;
	uint64_t inode;
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || netns_inode(fd, &inode))
		return -errno;
	err = netns_cookie_quiet(fd, cookie);
	return err == -EPERM ? netns_by_sockets(pid, inode, cookie) : err;
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
