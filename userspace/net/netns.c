/* SPDX-License-Identifier: Apache-2.0 */
#include "netns.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../base/log.h"
#include "../base/util.h"

/* Each thread has its namespace, and /proc/self is the main thread's. */
#define OWN_NETNS "/proc/thread-self/ns/net"

/* The path comes from a configuration: opening it must neither block (a FIFO) nor take a terminal,
 * and the ioctl must only be used on an nsfs file. */
static int open_netns(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return -EINVAL;
	return TAKE_FD(fd);
}

int netns_open(const char *path)
{
	int fd = open_netns(path);

	if (fd == -EINVAL)
		log_error("%s is not a network namespace", path);
	else if (fd == -EACCES || fd == -EPERM)
		log_err_r(fd, "cannot open %s (CAP_SYS_PTRACE, for another user's process)", path);
	else if (fd < 0)
		log_err_r(fd, "cannot open the network namespace %s", path);
	return fd;
}

int netns_inode(int netns_fd, uint64_t *inode)
{
	struct stat st;

	if (netns_fd < 0 ? stat(OWN_NETNS, &st) : fstat(netns_fd, &st))
		return -errno;
	*inode = st.st_ino;
	return 0;
}

/* Enters the namespace. *own: a descriptor of the caller's own, to return by; -1: it is the same.
 * On failure *what says what failed. */
static int enter_netns(int netns_fd, int *own, const char **what)
{
	_cleanup_close_ int here = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
	uint64_t inode_here = 0, inode_there = 0;
	int r = here < 0 ? -errno : netns_inode(here, &inode_here);

	assert(netns_fd >= 0);
	if (!r)
		r = netns_inode(netns_fd, &inode_there);
	if (r) {
		*what = "cannot tell which network namespace is meant";
		return r;
	}
	*own = -1;
	if (inode_here == inode_there)
		return 0;
	if (setns(netns_fd, CLONE_NEWNET)) {
		*what = errno == EPERM ? "cannot enter the network namespace (CAP_SYS_ADMIN)"
				       : "cannot enter the network namespace";
		return -errno;
	}
	*own = TAKE_FD(here);
	return 0;
}

/* Calls the function within the namespace. *what says what failed, if that was not `call`. */
static int call_in(int netns_fd, int (*call)(void *arg), void *arg, const char **what)
{
	_cleanup_close_ int own = -1;
	int r = netns_fd < 0 ? 0 : enter_netns(netns_fd, &own, what);

	if (r)
		return r;
	r = call(arg);
	if (own >= 0 && setns(own, CLONE_NEWNET)) {
		log_err_r(errno, "cannot return to the own network namespace; giving up");
		abort();
	}
	return r;
}

int netns_call(int netns_fd, int (*call)(void *arg), void *arg)
{
	const char *what = NULL;
	int r = call_in(netns_fd, call, arg, &what);

	return what ? log_err_r(r, "%s", what) : r;
}

struct sysctl {
	const char *name;
	long value;
};

static int read_sysctl(void *arg)
{
	struct sysctl *s = arg;
	char path[128];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/sys/%s", s->name);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	return fscanf(f, "%ld", &s->value) == 1 ? 0 : -EINVAL;
}

int netns_sysctl(int netns_fd, const char *name, long *value)
{
	struct sysctl s = {.name = name};
	const char *what;
	int r = call_in(netns_fd, read_sysctl, &s, &what);

	if (!r)
		*value = s.value;
	return r;
}

struct wanted {
	int domain, type, protocol;
};

static int make_here(void *arg)
{
	const struct wanted *w = arg;
	int fd = socket(w->domain, w->type | SOCK_CLOEXEC, w->protocol);

	return fd < 0 ? -errno : fd;
}

static int netns_make_socket(int netns_fd, int domain, int type, int protocol, const char **what)
{
	struct wanted w = {domain, type, protocol};

	*what = "cannot make a socket";
	return call_in(netns_fd, make_here, &w, what);
}

int netns_socket(int netns_fd, int domain, int type, int protocol)
{
	const char *what;
	int fd = netns_make_socket(netns_fd, domain, type, protocol, &what);

	return fd < 0 ? log_err_r(fd, "%s (family %d, protocol %d)", what, domain, protocol) : fd;
}

int netns_socket_quiet(int netns_fd, int domain, int type, int protocol)
{
	const char *what;

	return netns_make_socket(netns_fd, domain, type, protocol, &what);
}

/* What is sent to an own address comes from it. */
bool netns_has_address(int netns_fd, const struct addr *ip)
{
	_cleanup_close_ int fd = netns_socket_quiet(netns_fd, AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(9)}, own;
	socklen_t size = sizeof(own);

	memcpy(&to.sin6_addr, ip->bytes, sizeof(to.sin6_addr));
	return fd >= 0 && !connect(fd, (const struct sockaddr *)&to, sizeof(to)) &&
	       !getsockname(fd, (struct sockaddr *)&own, &size) &&
	       !memcmp(&own.sin6_addr, ip->bytes, sizeof(own.sin6_addr));
}

static int read_cookie(int netns_fd, uint64_t *cookie, const char **what)
{
	_cleanup_close_ int fd = netns_make_socket(netns_fd, AF_UNIX, SOCK_DGRAM, 0, what);
	uint64_t value;
	socklen_t size = sizeof(value);

	if (fd < 0)
		return fd;
	*what = "cannot read SO_NETNS_COOKIE (Linux 5.14 has it)";
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &size))
		return -errno;
	*cookie = value;
	return 0;
}

int netns_cookie(int netns_fd, uint64_t *cookie)
{
	const char *what;
	int r = read_cookie(netns_fd, cookie, &what);

	return r ? log_err_r(r, "%s", what) : 0;
}

int netns_cookie_quiet(int netns_fd, uint64_t *cookie)
{
	const char *what;

	return read_cookie(netns_fd, cookie, &what);
}

/* stat() comes first: most files do not match, and are not opened. */
static int open_if_inode(const char *path, uint64_t inode)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	uint64_t opened = 0;
	int r;

	if (stat(path, &st))
		return -errno;
	if (st.st_ino != inode)
		return -ENOENT;
	fd = open_netns(path);
	if (fd < 0)
		return fd;
	r = netns_inode(fd, &opened);
	if (r)
		return r;
	return opened == inode ? TAKE_FD(fd) : -ENOENT;
}

static void netns_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Looks at `directory`/ENTRY`rest` for all entries. Returns a descriptor; -EACCES: not found, but
 * an entry could not be looked at; -errno of a shortage; else -ENOENT. */
static int search_netns(const char *directory, const char *rest, uint64_t inode)
{
	_cleanup_(netns_closedirp) DIR *d = opendir(directory);
	int result = !d && is_shortage(-errno) ? -errno : -ENOENT;

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[sizeof(e->d_name) + 32];
		int fd;

		snprintf(path, sizeof(path), "%s/%s%s", directory, e->d_name, rest);
		fd = open_if_inode(path, inode);
		if (fd >= 0 || is_shortage(fd))
			return fd;
		if (fd == -EACCES || fd == -EPERM)
			result = -EACCES;
	}
	return result;
}

static bool netns_is_elsewhere(int fd)
{
	return fd < 0 && !is_shortage(fd);
}

int netns_open_by_inode(uint64_t inode, const char *hint)
{
	int fd = hint ? open_if_inode(hint, inode) : -ENOENT;

	if (netns_is_elsewhere(fd))
		fd = open_if_inode(OWN_NETNS, inode);
	if (netns_is_elsewhere(fd))
		fd = search_netns("/run/netns", "", inode);
	if (netns_is_elsewhere(fd))
		fd = search_netns("/proc", "/ns/net", inode);
	return fd;
}

static bool seen_before(const uint64_t *seen, size_t n, uint64_t inode)
{
	for (size_t i = n; i-- > 0;)
		if (seen[i] == inode)
			return true;
	return false;
}

struct netns_walk {
	int (*each)(int netns_fd, const char *path, void *arg);
	void *arg;
	uint64_t *seen; /* inodes */
	size_t n, room;
};

/* stat() comes first: most processes share a namespace with another. */
static int walk_file(struct netns_walk *w, const char *path)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (stat(path, &st) || seen_before(w->seen, w->n, st.st_ino))
		return 0;
	fd = open_netns(path);
	if (fd < 0)
		return is_shortage(fd) ? fd : 0;
	if (!ROOM_FOR_ONE(w->seen, w->n, w->room, 64))
		return -ENOMEM;
	w->seen[w->n++] = st.st_ino;
	return w->each(fd, path, w->arg);
}

static int walk_directory(struct netns_walk *w, const char *directory, const char *rest)
{
	_cleanup_(netns_closedirp) DIR *d = opendir(directory);
	int result = !d && is_shortage(-errno) ? -errno : 0;

	for (struct dirent *e; d && !result && (e = readdir(d));) {
		char path[sizeof(e->d_name) + 32];

		snprintf(path, sizeof(path), "%s/%s%s", directory, e->d_name, rest);
		result = walk_file(w, path);
	}
	return result;
}

int netns_each(int (*each)(int netns_fd, const char *path, void *arg), void *arg)
{
	struct netns_walk w = {.each = each, .arg = arg};
	int result = walk_directory(&w, "/run/netns", "") ?: walk_directory(&w, "/proc", "/ns/net");

	free(w.seen);
	return result;
}
