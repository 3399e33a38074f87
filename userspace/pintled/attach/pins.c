/* SPDX-License-Identifier: Apache-2.0 */
#include "pins.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../../base/log.h"
#include "../../maps/keys.h"
#include "../../maps/maps.h"
#include "../../net/netns.h"
#include "../../net/tc.h"
#include "../../base/util.h"
#include "../devices/devices.h"
#include "../devices/in_pods.h"
#include "linking.h"
#include "../../net/routes.h"
#include "programs.h"
#include "../devices/xdp.h"

/* ---- the directory --------------------------------------------------------------- */

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* Logs what failed by errno, and what helps where only root may do it. Returns -errno. */
static int failed_to(const char *what, const char *path)
{
	bool denied = (errno == EACCES || errno == EPERM) && geteuid();

	return log_err_r(errno, "failed to %s %s%s", what, path,
			 denied ? " (run pintled as root)" : "");
}

/* Everybody may make a directory in a bpffs that was mounted without a mode, or a link. Whoever has
 * made it can take the pins away. */
static int refuse_strangers(const char *bpffs)
{
	/* A link, then where it leads: stat() may fail on a stranger's (fs.protected_symlinks). */
	int (*const looks[])(const char *, struct stat *) = {lstat, stat};
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(looks); i++) {
		if (looks[i](bpffs, &st))
			return log_err_r(errno, "%s", bpffs);
		if (!st.st_uid || st.st_uid == geteuid())
			continue;
		log_error("%s belongs to user %u, who could take the pins away: remove it, and "
			  "pintled makes it anew",
			  bpffs, st.st_uid);
		return -EPERM;
	}
	return 0;
}

int pins_make_dir(const char *bpffs, bool *made)
{
	_cleanup_free_ char *parent = strdup(bpffs);
	char *slash;

	*made = false;
	if (!parent)
		return log_err_r(ENOMEM, "bpffs");
	if (is_bpffs(bpffs))
		return refuse_strangers(bpffs);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return log_err_r(EINVAL, "%s cannot hold pins", bpffs);
	*slash = '\0';
	if (!is_bpffs(parent)) {
		log_error("neither %s nor %s is on a bpffs; mount one: mount -t bpf bpf %s", bpffs,
			  parent, strncmp(parent, "/sys/", 5) ? bpffs : "/sys/fs/bpf");
		return -ENOTDIR;
	}
	if (mkdir(bpffs, PINS_DIR_MODE))
		return errno == EEXIST ? refuse_strangers(bpffs) : failed_to("make", bpffs);
	*made = true;
	return 0;
}

/* The PID of the daemon that holds the lock, as pins of any layout have it, because `pid` has the
 * same offset in all; 0: not known. */
static unsigned int pid_of_pins(const char *bpffs)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ struct pintle_node *node = NULL;
	unsigned int version = PINTLE_ABI_VERSION;
	struct bpf_map_info info = {};
	char dir[PIN_PATH_SIZE];
	__u32 size = sizeof(info), zero = 0;

	maps_dir(bpffs, dir, sizeof(dir));
	if (access(dir, F_OK) && maps_other_version(bpffs, &version))
		maps_dir_of(bpffs, (int)version, dir, sizeof(dir));
	fd = pin_open(dir, map_names[MAP_node], 0);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		return 0;
	node = calloc(1, MAX(info.value_size, (__u32)sizeof(*node)));
	return node && !bpf_map_lookup_elem(fd, &zero, node) ? node->pid : 0;
}

int pins_lock(const char *bpffs)
{
	_cleanup_close_ int fd = open(bpffs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : failed_to("open", bpffs);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return log_err_r(errno, "failed to lock %s", bpffs);
		log_error(
			"another pintled (PID %u) is running and serves %s; stop it first, or, to "
			"steer another network namespace, give this pintled its own node.bpffs",
			pid_of_pins(bpffs), bpffs);
		return -EBUSY;
	}
	return TAKE_FD(fd);
}

mode_t pins_mode(enum map_id id)
{
	return map_layouts[id].root_only ? PINS_FILE_MODE & S_IRWXU : PINS_FILE_MODE;
}

int pins_own(const char *path, mode_t mode, gid_t group)
{
	if (chmod(path, mode) || (group && chown(path, (uid_t)-1, group)))
		return log_err_r(errno, "failed to set mode and group of %s", path);
	return 0;
}

/* ---- what is pinned -------------------------------------------------------------- */

bool pins_whole(const char *dir)
{
	for (size_t i = 0; i < MAP_COUNT; i++)
		if (!pin_is_there(dir, map_names[i]))
			return false;
	return true;
}

static bool pins_link_info(const char *dir, enum link_id id, struct bpf_link_info *info)
{
	_cleanup_close_ int fd = pin_open(dir, link_kinds[id].pin, 0);
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, info, &size);
}

/* Returns a descriptor of the program's map of that name; -ENOENT: it has none; or -errno. */
static int map_of_program(int prog_fd, const char *name)
{
	__u32 ids[64], size = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = ARRAY_SIZE(ids),
				     .map_ids = (__u64)(uintptr_t)ids};

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &size))
		return -errno;
	for (__u32 i = 0; i < MIN(info.nr_map_ids, (__u32)ARRAY_SIZE(ids)); i++) {
		_cleanup_close_ int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info map = {0};

		size = sizeof(map);
		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &map, &size) &&
		    !strncmp(map.name, name, sizeof(map.name) - 1))
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

static int map_of_links(const char *dir, const char *name)
{
	int found = -ENOENT;

	for (int i = 0; found < 0 && i < LINK_COUNT; i++) {
		_cleanup_close_ int prog_fd = -1;
		struct bpf_link_info info;

		if (!pins_link_info(dir, (enum link_id)i, &info))
			continue;
		prog_fd = bpf_prog_get_fd_by_id(info.prog_id);
		found = prog_fd < 0 ? prog_fd : map_of_program(prog_fd, name);
	}
	return found;
}

static bool pin_again(const char *dir, enum map_id id, int fd)
{
	char path[PIN_PATH_SIZE];
	struct stat st;

	pin_path(dir, map_names[id], path);
	return fd >= 0 && !stat(dir, &st) && !bpf_obj_pin(fd, path) &&
	       !pins_own(path, pins_mode(id), st.st_gid);
}

void pins_find_map(const char *dir, enum map_id id)
{
	_cleanup_close_ int fd = map_of_links(dir, map_names[id]);

	if (pin_again(dir, id, fd))
		log_warn("%s/%s was missing; found again by the programs that are attached", dir,
			 map_names[id]);
}

static bool repair_map(const char *dir, enum map_id id)
{
	const char *name = map_names[id];
	bool remade = map_layouts[id].remade;
	_cleanup_close_ int fd = remade ? programs_make_map(name) : map_of_links(dir, name);

	if (!pin_again(dir, id, fd)) {
		log_warn("%s/%s is missing, and cannot be %s: %s", dir, name,
			 remade ? "made anew" : "found again",
			 remade         ? "the kernel refused"
			 : fd == -EPERM ? "looking at the attached programs needs CAP_SYS_ADMIN"
					: "no attached program uses that map");
		return false;
	}
	log_warn("%s/%s was missing; %s", dir, name,
		 remade ? "made anew, empty" : "found again by the programs that are attached");
	return true;
}

bool pins_repair(const char *dir)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		if (!pin_is_there(dir, map_names[id]) && !repair_map(dir, id))
			return false;
	return true;
}

/* The kernel reports 0 for a namespace or cgroup that is gone. */
bool pins_steer(const char *dir)
{
	struct bpf_link_info info;

	return pins_link_info(dir, LINK_LOOKUP, &info) && info.type == BPF_LINK_TYPE_NETNS &&
	       info.netns.netns_ino;
}

bool pins_netns_gone(const char *dir)
{
	struct bpf_link_info info;

	return pins_link_info(dir, LINK_LOOKUP, &info) && info.type == BPF_LINK_TYPE_NETNS &&
	       !info.netns.netns_ino;
}

unsigned long long pins_cgroup(const char *dir)
{
	struct bpf_link_info info;
	unsigned long long found = 0;

	for (int i = 0; !found && i < LINK_COUNT; i++)
		if (pins_link_info(dir, (enum link_id)i, &info) &&
		    info.type == BPF_LINK_TYPE_CGROUP)
			found = info.cgroup.cgroup_id;
	return found;
}

/* ---- taking away ----------------------------------------------------------------- */

/* Returns a descriptor of a pinned map; -1: not pinned, or of other sizes than these. */
static int pins_open_map(const char *dir, enum map_id id, size_t key_size, size_t value_size)
{
	_cleanup_close_ int fd = pin_open(dir, map_names[id], 0);
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) || info.key_size != key_size ||
	    info.value_size != value_size)
		return -1;
	return TAKE_FD(fd);
}

/* Returns a descriptor of the namespace that the pins steer; -ENOENT: it is gone, and its routes
 * with it; or -errno. */
static int netns_of_pins(int node_fd)
{
	_cleanup_close_ int fd = -1;
	struct pintle_node node;
	__u32 zero = 0;
	uint64_t cookie;

	if (bpf_map_lookup_elem(node_fd, &zero, &node))
		return -errno;
	/* The process that staged these pins was killed before it added a route or filter. */
	if (!node.netns_inode)
		return -ENOENT;
	node.netns[sizeof(node.netns) - 1] = '\0';
	fd = netns_open_by_inode(node.netns_inode, node.netns);
	if (fd < 0)
		return fd;
	/* An inode number is used again, a cookie never. */
	return netns_cookie(fd, &cookie) || cookie != node.netns_cookie ? -ENOENT : TAKE_FD(fd);
}

static bool is_staging(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash && !strcmp(slash + 1, PINS_STAGING);
}

/* Frontends that differ only in the port share a route, which is then removed twice; the second
 * time is no error. */
static int remove_routes(const char *dir)
{
	_cleanup_close_ int node_fd =
		pins_open_map(dir, MAP_node, sizeof(__u32), sizeof(struct pintle_node));
	_cleanup_close_ int frontends_fd =
		pins_open_map(dir, MAP_frontends, sizeof(struct pintle_frontend_key),
			      sizeof(struct pintle_frontend));
	_cleanup_close_ int netns_fd = -1;
	struct pintle_frontend_key key, *previous = NULL;
	int err = 0;

	if (node_fd < 0 || frontends_fd < 0) {
		/* A route is added only after all maps are staged. */
		if (is_staging(dir))
			return 0;
		log_warn("%s does not say which local routes were added for it; if any is left: ip "
			 "route flush table local proto %d",
			 dir, PINTLE_ROUTE_PROTOCOL);
		return 0;
	}
	netns_fd = netns_of_pins(node_fd);
	if (netns_fd < 0) {
		if (netns_fd != -ENOENT)
			log_warn(
				"the network namespace that %s steers cannot be reached (%s); if "
				"any of its local routes is left there: ip route flush table local "
				"proto %d",
				dir, strerror(-netns_fd), PINTLE_ROUTE_PROTOCOL);
		return 0;
	}
	while (!bpf_map_get_next_key(frontends_fd, previous, &key)) {
		struct pintle_frontend value;
		struct frontend_addr f;

		previous = &key;
		if (bpf_map_lookup_elem(frontends_fd, &key, &value) ||
		    !(value.flags & PINTLE_FRONTEND_ANNOUNCED) ||
		    key.prefixlen < PINTLE_FRONTEND_FIXED_BITS)
			continue;
		f = frontend_of_key(&key);
		err = routes_remove_local(netns_fd, &f) ?: err;
	}
	return err;
}

static int pins_remove_filters(const char *dir)
{
	_cleanup_close_ int node_fd =
		pins_open_map(dir, MAP_node, sizeof(__u32), sizeof(struct pintle_node));
	_cleanup_close_ int oneshot_fd = pins_open_map(
		dir, MAP_oneshot, sizeof(struct pintle_frontend_key), sizeof(struct pintle_ref));
	_cleanup_close_ int hand_fd =
		pins_open_map(dir, MAP_hand_stats, sizeof(__u32), sizeof(__u64));
	_cleanup_close_ int scopes_fd =
		pins_open_map(dir, MAP_scopes, sizeof(__u64), sizeof(struct pintle_scope));
	_cleanup_close_ int flows_fd = pins_open_map(
		dir, MAP_pod_flows, sizeof(struct pintle_tuple), sizeof(struct pintle_pod_flow));
	_cleanup_close_ int netns_fd = -1;
	int err;

	if (node_fd < 0 || oneshot_fd < 0 || hand_fd < 0)
		return 0; /* pins of another layout, or staged only in part */
	netns_fd = netns_of_pins(node_fd);
	if (netns_fd < 0) {
		if (netns_fd != -ENOENT)
			log_warn("the network namespace that %s steers cannot be reached (%s); if "
				 "a filter pintle_oneshot or pintle_hand is left there: tc filter "
				 "del",
				 dir, strerror(-netns_fd));
		return 0;
	}
	err = tc_detach_all(netns_fd, tc_handle(oneshot_fd));
	if (err)
		return log_err_r(err, "failed to detach one-shot from its devices");
	if (scopes_fd >= 0 && flows_fd >= 0)
		in_pods_remove(scopes_fd, flows_fd);
	err = tc_detach_all(netns_fd, tc_handle(hand_fd));
	return err ? log_err_r(err, "failed to detach the hand-off from its devices") : 0;
}

int pins_remove(const char *dir)
{
	char node[PIN_PATH_SIZE];
	DIR *d = opendir(dir);
	struct dirent *e;
	int err = 0;

	if (!d)
		return errno == ENOENT ? 0 : log_err_r(errno, "failed to read %s", dir);
	unlink(pin_path(dir, map_names[MAP_node],
			node)); /* a failure is met again, and logged, by the loop */
	while ((e = readdir(d))) {
		int flags = e->d_type == DT_DIR ? AT_REMOVEDIR : 0;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dirfd(d), e->d_name, flags) && errno != ENOENT)
			err = log_err_r(errno, "failed to remove %s/%s", dir, e->d_name);
	}
	closedir(d);
	if (!err && rmdir(dir))
		err = log_err_r(errno, "failed to remove %s", dir);
	return err;
}

int pins_undo(const char *dir)
{
	bool gone;
	int err;

	/* There is no `dir`, or an empty one, as a killed detach may leave it. */
	if (access(dir, F_OK) || !rmdir(dir))
		return 0;
	/* XDP begins handshakes that the hand-off ends in TC. */
	xdp_detach_all(dir);
	devices_detach_all(dir);
	gone = pins_netns_gone(dir); /* its routes and filters went with it */
	/* Links are detached in reverse, deciding hooks before sockops, so that every decision is
	 * still counted. */
	for (int i = LINK_COUNT; i-- > 0;)
		link_detach(&link_kinds[i], dir);
	/* The pins say which filters and routes are ours. So they are removed last, and stay as
	 * long as a filter or route could not be removed. */
	err = gone ? 0 : (pins_remove_filters(dir) ?: remove_routes(dir));
	return err ? err : pins_remove(dir);
}

static bool pins_is_ours(const char *name)
{
	unsigned int version;
	char end;

	return !strcmp(name, PINS_STAGING) || !strcmp(name, PINS_FORMER) ||
	       !strcmp(name, PINS_REMOVED) || sscanf(name, "v%4u%c", &version, &end) == 1;
}

static int undo_all(const char *bpffs, unsigned int *undone)
{
	DIR *d = opendir(bpffs);
	struct dirent *e;
	int err = 0;

	if (!d)
		return log_err_r(errno, "failed to read %s", bpffs);
	while ((e = readdir(d))) {
		char dir[PIN_PATH_SIZE];

		if (!pins_is_ours(e->d_name))
			continue;
		err = pins_undo(pin_path(bpffs, e->d_name, dir)) ?: err;
		++*undone;
	}
	closedir(d);
	return err;
}

int detach(const char *bpffs)
{
	_cleanup_close_ int lock = pins_lock(bpffs);
	unsigned int undone = 0;
	int err;

	if (lock == -ENOENT) {
		log_info("nothing is attached: there is no %s", bpffs);
		return 0;
	}
	if (lock < 0)
		return lock;
	err = undo_all(bpffs, &undone);
	if (err)
		return err;
	if (!undone)
		log_info("nothing is attached: there are no pins in %s", bpffs);
	else
		log_info("detached: links, filters, pins and local routes of %s are gone", bpffs);
	/* Fails, rightly, if anything else is in it, or if it is a mount point. */
	rmdir(bpffs);
	return 0;
}
