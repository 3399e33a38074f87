/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup2.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../base/log.h"
#include "../base/util.h"

#define MOUNTINFO "/proc/self/mountinfo"

/* The first is preferred; a mount elsewhere ranks after all of these. */
static const char *const usual_places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

static int open_cgroup2(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs))
		return -errno;
	return fs.f_type == CGROUP2_SUPER_MAGIC ? TAKE_FD(fd) : -EINVAL;
}

int cgroup2_open(const char *path)
{
	int fd = open_cgroup2(path);

	if (fd == -EINVAL)
		log_error("%s is not in a cgroup2 file system", path);
	else if (fd < 0)
		log_err_r(fd, "cannot open the cgroup %s", path);
	return fd;
}

/* proc(5): space, tab, newline and backslash are written as three octal digits. */
static void cgroup2_unescape(char *text)
{
	char *to = text;
	unsigned int c;
	int used;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && sscanf(from + 1, "%3o%n", &c, &used) == 1) {
			*to = (char)c;
			from += 1 + used;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

struct mount {
	char path[PATH_MAX];
	bool true_root; /* the root of the machine's hierarchy */
	size_t above;   /* how many levels above this process's cgroup namespace; 0: its root */
	size_t rank;    /* index in usual_places */
};

/* Counts the leading "/.." of a path that is relative to a cgroup namespace: "/../../a" is below
 * the cgroup two levels above the namespace's root. Sets *rest to what follows. */
static size_t levels_above(const char *path, const char **rest)
{
	size_t n = 0;

	for (; !strncmp(path, "/..", 3) && (path[3] == '/' || !path[3]); path += 3)
		n++;
	*rest = path;
	return n;
}

/* A line is "id parent major:minor root mountpoint options tags... - type source options". The root
 * is "/" for a cgroup namespace's own root as well, and "/../.." for what lies above it: in a pod
 * on a node whose cgroup2 is itself in a cgroup namespace, as kind and k3d have it, that is the
 * node's root, and the machine's is nowhere. So this looks into the directory: only the true root
 * has no cgroup.events. */
static bool read_mount(char *line, struct mount *m)
{
	char root[PATH_MAX], type[32];
	const char *rest = strstr(line, " - ");
	_cleanup_close_ int fd = -1;

	if (!rest || sscanf(rest, " - %31s", type) != 1 || strcmp(type, "cgroup2") ||
	    sscanf(line, "%*s %*s %*s %4095s %4095s", root, m->path) != 2)
		return false;
	cgroup2_unescape(m->path);
	fd = open_cgroup2(m->path); /* another mount may lie over it */
	if (fd < 0)
		return false;
	m->true_root = faccessat(fd, "cgroup.events", F_OK, 0) && errno == ENOENT;
	m->above = levels_above(root, &rest);
	for (m->rank = 0; m->rank < ARRAY_SIZE(usual_places); m->rank++) {
		if (!strcmp(m->path, usual_places[m->rank]))
			break;
	}
	return m->true_root || !rest[strspn(rest, "/")];
}

static bool better(const struct mount *a, const struct mount *b)
{
	if (a->true_root != b->true_root)
		return a->true_root;
	return a->above != b->above ? a->above > b->above : a->rank < b->rank;
}

/* Returns 0; or -errno, logged. */
static int find_root(struct mount *best)
{
	_cleanup_fclose_ FILE *f = fopen(MOUNTINFO, "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0, found = 0;
	struct mount m;

	if (!f)
		return log_err_r(errno, "cannot open %s", MOUNTINFO);
	while (getline(&line, &room, f) > 0) {
		if (read_mount(line, &m) && (!found++ || better(&m, best)))
			*best = m;
	}
	if (ferror(f))
		return log_err_r(EIO, "cannot read %s", MOUNTINFO);
	if (!found)
		return log_err_r(ENOENT, "no cgroup2 is mounted (mount -t cgroup2 none DIR)");
	if (found > 1)
		log_debug("cgroup2 is mounted %zu times; using %s", found, best->path);
	return 0;
}

int cgroup2_root(char *path, size_t size)
{
	struct mount m;
	int err = find_root(&m);

	if (err)
		return err;
	if (strlen(m.path) >= size)
		return log_err_r(ENAMETOOLONG, "the cgroup2 root is mounted at %s", m.path);
	memcpy(path, m.path, strlen(m.path) + 1);
	return 0;
}

/* By kubelet's drivers, systemd and cgroupfs; with --cgroup-root=/kubelet, as kind has it, too. No
 * user but root makes cgroups there. */
#define KUBEPODS_SYSTEMD  "kubepods.slice"
#define KUBEPODS_CGROUPFS "kubepods"
static const char *const kubepods[] = {
	KUBEPODS_SYSTEMD,
	KUBEPODS_CGROUPFS,
	"kubelet.slice/kubelet-" KUBEPODS_SYSTEMD,
	"kubelet/" KUBEPODS_CGROUPFS,
};

static bool is_populated(const char *path)
{
	char name[PATH_MAX + 16], line[64];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(name, sizeof(name), "%s/cgroup.events", path);
	f = fopen(name, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strcmp(line, "populated 1\n"))
			return true;
	return false;
}

int cgroup2_kubepods(char *path, size_t size)
{
	char one[PATH_MAX + 64], found[PATH_MAX + 64] = "";
	struct mount m;
	int err = find_root(&m);

	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(kubepods); i++) {
		snprintf(one, sizeof(one), "%s/%s", m.path, kubepods[i]);
		if (access(one, F_OK) || (found[0] && !is_populated(one)))
			continue;
		if (!found[0] || !is_populated(found))
			memcpy(found, one, sizeof(found));
	}
	if (!found[0])
		return log_err_r(ENOENT,
				 "node.cgroup is " CGROUP2_KUBEPODS
				 ", and a kubelet has made none of "
				 "%s, %s, %s and %s below %s; write its path instead",
				 kubepods[0], kubepods[1], kubepods[2], kubepods[3], m.path);
	if (strlen(found) >= size)
		return log_err_r(ENAMETOOLONG, "%s", found);
	memcpy(path, found, strlen(found) + 1);
	return 0;
}

/* Finds the cgroup2 path of a process, relative to this process's cgroup namespace. */
static bool cgroup2_path_of(const char *pid, char path[PATH_MAX])
{
	char name[64];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(name, sizeof(name), "/proc/%s/cgroup", pid);
	f = fopen(name, "re");
	while (f && fgets(path, PATH_MAX, f)) {
		if (strncmp(path, "0::", 3))
			continue;
		path[strcspn(path, "\n")] = '\0';
		memmove(path, path + 3, strlen(path + 3) + 1);
		return true;
	}
	return false;
}

static bool has_child(const char *path)
{
	struct dirent *e;
	bool any = false;
	DIR *d = opendir(path);

	while (d && !any && (e = readdir(d)))
		any = e->d_type == DT_DIR && strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	if (d)
		closedir(d);
	return any;
}

bool cgroup2_part(char why[CGROUP2_WHY_SIZE])
{
	char path[PATH_MAX];
	const char *rest, *reason = NULL;
	struct mount m = {0};

	if (find_root(&m) || m.true_root)
		return false;
	/* In a pod with hostPID: true, process 1 is the node's. */
	if (cgroup2_path_of("1", path) && levels_above(path, &rest) > m.above)
		reason = "process 1 is outside it";
	else if (!m.above && cgroup2_path_of("self", path) && !strcmp(path, "/") &&
		 !has_child(m.path))
		reason = "it is pintled's own container";
	if (!reason)
		return false;
	snprintf(
		why, CGROUP2_WHY_SIZE,
		"%.*s shows only a part of the cgroup2 tree (%s): clients and servers elsewhere are "
		"not seen",
		CGROUP2_WHY_SIZE / 2, m.path, reason);
	return true;
}

/* ---- walking ----------------------------------------------------------------------- */

struct walk {
	bool (*each)(void *arg, const struct cgroup2_visit *v);
	void *arg;
	char path[PATH_MAX];
};

static int walk_dir(struct walk *w, int fd, int depth);

static int walk_children(struct walk *w, DIR *d, int depth)
{
	size_t length = strlen(w->path);
	struct dirent *e;
	int err = 0;

	while (!err && (e = readdir(d))) {
		int fd;

		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    length + strlen(e->d_name) + 2 > sizeof(w->path))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		sprintf(w->path + length, "/%s", e->d_name);
		err = walk_dir(w, fd, depth + 1);
		w->path[length] = '\0';
	}
	return err;
}

/* Takes fd. */
static int walk_dir(struct walk *w, int fd, int depth)
{
	struct stat st;
	DIR *d = NULL;
	int err = 0;

	assert(depth <= CGROUP2_MAX_DEPTH);
	if (!fstat(fd, &st)) {
		struct cgroup2_visit v = {fd, st.st_ino, w->path[0] ? w->path : "/", depth};

		err = w->each(w->arg, &v) ? 0 : -ECANCELED;
		d = !err && depth < CGROUP2_MAX_DEPTH ? fdopendir(fd) : NULL;
	}
	if (!d) {
		close(fd);
		return err;
	}
	err = walk_children(w, d, depth);
	closedir(d);
	return err;
}

int cgroup2_walk(const char *root, const char *below,
		 bool (*each)(void *arg, const struct cgroup2_visit *v), void *arg)
{
	struct walk w = {.each = each, .arg = arg};
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	snprintf(w.path, sizeof(w.path), "%s", below);
	return walk_dir(&w, fd, 0);
}

/* ---- the path of an id ------------------------------------------------------------ */

/* A handle of kernfs is the id; FILEID_KERNFS in Linux's include/linux/exportfs.h. */
#define HANDLE_KERNFS 0xfe

static int open_by_id(const char *root, uint64_t id)
{
	_cleanup_close_ int mount = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} h = {.handle = {.handle_bytes = sizeof(id), .handle_type = HANDLE_KERNFS}};
	int fd;

	if (mount < 0)
		return -errno;
	memcpy(h.handle.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(mount, &h.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cgroup2_path(const char *root, uint64_t id, char *path, size_t size)
{
	_cleanup_close_ int fd = open_by_id(root, id);
	char link[32], found[PATH_MAX];
	size_t above = strcmp(root, "/") ? strlen(root) : 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, found, sizeof(found) - 1);
	if (n < 0)
		return -errno;
	found[n] = '\0';
	if (strncmp(found, root, above) != 0)
		return -ENOENT;
	if (strlen(found + above) >= size)
		return -ENAMETOOLONG;
	strcpy(path, found[above] ? found + above : "/");
	return 0;
}
