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
#include "../../maps/maps.h"
#include "../../base/util.h"
#include "../../maps/links.h"
#include "programs.h"

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

/* Every user may make a directory, or a link, in a bpffs that was mounted without a mode. Its maker
 * can take the pins away, and have links to other programs' pins in their place, which a detach
 * would undo. */
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
		log_error("%s belongs to user %u, who could change the pins: run pintled as that "
			  "user, or remove the directory",
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
		return 0;
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
		return errno == EEXIST ? 0 : failed_to("make", bpffs);
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
	int err;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : failed_to("open", bpffs);
	err = refuse_strangers(bpffs);
	if (err)
		return err;
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
