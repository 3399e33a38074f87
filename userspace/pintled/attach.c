/* SPDX-License-Identifier: Apache-2.0 */
#include "attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../common/cgroup2.h"
#include "../common/log.h"
#include "../common/netns.h"
#include "../common/util.h"
#include "decide.bpf.h" /* of a type that the skeleton names */
#include "pintle.skel.h"
#include "routes.h"

#define DIR_MODE  0750
#define FILE_MODE 0640
#define STAGING   "new" /* bpffs has no names with dots */

struct attachment {
	int lock_fd;
	int netns_fd;
	int cgroup_fd;
	uint64_t netns_inode, netns_cookie;
	bool resumed, committed;
	gid_t group;
	char dir[PATH_MAX];     /* BPFFS/vN */
	char staging[PATH_MAX]; /* BPFFS/new */
	char cgroup[PINTLE_TEXT_SIZE];
	struct pintle_bpf *skel;
	struct maps *maps;
	struct bpf_link *recount_link;
	uint64_t *recount;
	bool recount_failed;
};

#define RECOUNT_SIZE (PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES * sizeof(uint64_t))

/* ---- the directory --------------------------------------------------------------- */

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* Makes the directory for pins, and says who has to mount what where it cannot. */
static int make_bpffs_dir(const char *path)
{
	_cleanup_free_ char *parent = strdup(path);
	char *slash;

	if (!parent)
		return log_err_r(ENOMEM, "bpffs");
	if (is_bpffs(path))
		return 0;
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return log_err_r(EINVAL, "%s is no place for pins", path);
	*slash = '\0';
	if (!is_bpffs(parent)) {
		log_error("neither %s nor %s is on a bpffs; mount one: mount -t bpf bpf %s", path,
			  parent, strncmp(parent, "/sys/", 5) ? path : "/sys/fs/bpf");
		return -ENOTDIR;
	}
	if (mkdir(path, DIR_MODE) && errno != EEXIST)
		return log_err_r(errno, "failed to make %s", path);
	return 0;
}

/* The PID that the pins name, of the daemon that has the lock; 0: not known. */
static unsigned int pid_of_pins(const char *bpffs)
{
	_cleanup_(maps_closep) struct maps *m = NULL;
	struct pintle_node node;
	__u32 zero = 0;

	if (maps_open(bpffs, MAPS_READ, &m) || bpf_map_lookup_elem(m->fd[MAP_node], &zero, &node))
		return 0;
	return node.pid;
}

/* Whoever holds this may change what is pinned. Returns a descriptor; -ENOENT, not logged; or
 * -errno, logged. */
static int lock_dir(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : log_err_r(errno, "failed to open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return log_err_r(errno, "failed to lock %s", path);
		log_error("another pintled (PID %u) is running and serves %s; stop it first, or "
			  "give this one a node.bpffs of its own",
			  pid_of_pins(path), path);
		return -EBUSY;
	}
	return TAKE_FD(fd);
}

/* Unlinks what is in a directory of pins, then the directory. Missing is fine. */
static int remove_pins(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int err = 0;

	if (!d)
		return errno == ENOENT ? 0 : log_err_r(errno, "failed to read %s", path);
	while ((e = readdir(d))) {
		int flags = e->d_type == DT_DIR ? AT_REMOVEDIR : 0;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dirfd(d), e->d_name, flags) && errno != ENOENT)
			err = log_err_r(errno, "failed to remove %s/%s", path, e->d_name);
	}
	closedir(d);
	if (!err && rmdir(path))
		err = log_err_r(errno, "failed to remove %s", path);
	return err;
}

static int set_owner(const char *path, mode_t mode, gid_t group)
{
	if (chmod(path, mode) || (group && chown(path, (uid_t)-1, group)))
		return log_err_r(errno, "failed to set mode and group of %s", path);
	return 0;
}

static int find_group(const char *name, gid_t *group)
{
	struct group *g;
	char *end;
	unsigned long gid;

	*group = 0;
	if (!name)
		return 0;
	errno = 0;
	gid = strtoul(name, &end, 10);
	if (*name && !*end && !errno && gid < UINT32_MAX) {
		*group = (gid_t)gid;
		return 0;
	}
	g = getgrnam(name);
	if (!g) {
		log_error("node.group: there is no group '%s' on this machine", name);
		return -ENOENT;
	}
	*group = g->gr_gid;
	return 0;
}

/* ---- loading --------------------------------------------------------------------- */

static struct pintle_bpf *open_skeleton(void)
{
	struct pintle_bpf *skel = pintle_bpf__open();

	if (!skel) {
		log_error("failed to open the BPF object: %s", strerror(errno));
		return NULL;
	}
	bpf_program__set_autoload(skel->progs.pintle_rule, false);
	return skel;
}

/* Loads without a word; only when that fails once more with libbpf's talk, so that the
 * verifier's reasons are seen. */
static int load_skeleton(struct attachment *a, bool reuse)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	int err = 0;

	for (int attempt = 0; attempt < 2; attempt++) {
		a->skel = open_skeleton();
		if (!a->skel) {
			err = -errno;
			break;
		}
		err = 0;
		for (int i = 0; reuse && !err && i < MAP_COUNT; i++) {
			struct bpf_map *map =
				bpf_object__find_map_by_name(a->skel->obj, map_names[i]);

			err = map ? bpf_map__reuse_fd(map, a->maps->fd[i]) : -ENOENT;
		}
		if (!err)
			err = pintle_bpf__load(a->skel);
		if (!err)
			break;
		pintle_bpf__destroy(a->skel);
		a->skel = NULL;
		libbpf_set_print(print);
	}
	libbpf_set_print(print);
	if (err)
		log_err_r(
			err,
			"the kernel would not load the programs (`pintle doctor` says what is missing)");
	return err;
}

/* ---- staging --------------------------------------------------------------------- */

static int pin_map(const struct attachment *a, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(a->skel->obj, name);
	char path[PATH_MAX + NAME_MAX + 2];
	int err;

	snprintf(path, sizeof(path), "%s/%s", a->staging, name);
	err = map ? bpf_obj_pin(bpf_map__fd(map), path) : -ENOENT;
	if (err)
		return log_err_r(err, "failed to pin %s", path);
	return set_owner(path, FILE_MODE, a->group);
}

static int stage(struct attachment *a)
{
	int err = remove_pins(a->staging); /* what a crash left */

	if (err)
		return err;
	if (mkdir(a->staging, DIR_MODE))
		return log_err_r(errno, "failed to make %s", a->staging);
	err = set_owner(a->staging, DIR_MODE, a->group);
	for (int i = 0; !err && i < MAP_COUNT; i++)
		err = pin_map(a, map_names[i]);
	return err;
}

/* ---- prepare --------------------------------------------------------------------- */

static int open_places(struct attachment *a, const struct config *c)
{
	int err;

	a->netns_fd = netns_open(c->netns);
	if (a->netns_fd < 0)
		return a->netns_fd;
	err = netns_inode(a->netns_fd, &a->netns_inode);
	if (!err)
		err = netns_cookie(a->netns_fd, &a->netns_cookie);
	if (err)
		return err;
	if (c->cgroup)
		snprintf(a->cgroup, sizeof(a->cgroup), "%s", c->cgroup);
	else
		err = cgroup2_root(a->cgroup, sizeof(a->cgroup));
	if (err)
		return err;
	a->cgroup_fd = cgroup2_open(a->cgroup);
	return a->cgroup_fd < 0 ? a->cgroup_fd : 0;
}

/* Pins of another namespace must not be taken over: their listeners and bindings are not ours. */
static int check_place(const struct attachment *a)
{
	const struct pintle_node *n = a->maps->node;

	if (n->netns_cookie == a->netns_cookie)
		return 0;
	log_error("the pins in %s steer another network namespace (%.*s, inode %llu) than the "
		  "configuration names; remove them first: pintled --detach --bpffs DIR",
		  a->dir, (int)sizeof(n->netns), n->netns, (unsigned long long)n->netns_inode);
	return -EXDEV;
}

static void describe_node(struct attachment *a, const struct config *c)
{
	struct pintle_node *n = a->maps->node;

	n->abi_version = PINTLE_ABI_VERSION;
	n->pid = (__u32)getpid();
	n->started_ns = monotonic_ns();
	n->heartbeat_ns = n->started_ns;
	n->scrape_rounds = 0;
	n->netns_cookie = a->netns_cookie;
	n->netns_inode = a->netns_inode;
	n->group = a->group;
	snprintf(n->netns, sizeof(n->netns), "%s", c->netns);
	snprintf(n->cgroup, sizeof(n->cgroup), "%s", a->cgroup);
	snprintf(n->version, sizeof(n->version), "%s", PINTLE_VERSION);
	snprintf(n->config, sizeof(n->config), "%s", c->path ? c->path : "");
	snprintf(n->metrics, sizeof(n->metrics), "%s", c->metrics ? c->metrics : "");
}

static int prepare(struct attachment *a, const struct config *c)
{
	unsigned int other;
	int err = find_group(c->group, &a->group);

	if (!err)
		err = make_bpffs_dir(c->bpffs);
	if (err)
		return err;
	a->lock_fd = lock_dir(c->bpffs);
	if (a->lock_fd < 0)
		return a->lock_fd == -ENOENT ? log_err_r(ENOENT, "%s", c->bpffs) : a->lock_fd;
	maps_dir(c->bpffs, a->dir, sizeof(a->dir));
	if ((size_t)snprintf(a->staging, sizeof(a->staging), "%s/" STAGING, c->bpffs) >=
	    sizeof(a->staging))
		return log_err_r(ENAMETOOLONG, "node.bpffs");
	if (maps_other_version(c->bpffs, &other)) {
		log_error("%s has pins of layout %u, this pintled has layout %d; they still steer. "
			  "Remove them first: pintled --detach --bpffs %s",
			  c->bpffs, other, PINTLE_ABI_VERSION, c->bpffs);
		return -EPROTO;
	}
	err = open_places(a, c);
	if (err)
		return err;

	err = maps_open(c->bpffs, MAPS_WRITE, &a->maps);
	a->resumed = !err;
	if (err && err != -ENOENT)
		return err;
	if (a->resumed) {
		err = check_place(a);
		return err ? err : load_skeleton(a, true);
	}
	err = load_skeleton(a, false);
	if (!err)
		err = stage(a);
	if (!err)
		err = maps_open_dir(a->staging, MAPS_WRITE, &a->maps);
	return err;
}

int attachment_prepare(const struct config *c, struct attachment **out)
{
	struct attachment *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return log_err_r(ENOMEM, "attach");
	a->lock_fd = a->netns_fd = a->cgroup_fd = -1;
	err = prepare(a, c);
	if (err) {
		attachment_free(a);
		return err;
	}
	describe_node(a, c);
	if (a->group && !a->resumed)
		set_owner(c->bpffs, DIR_MODE, a->group);
	*out = a;
	return 0;
}

/* ---- commit ---------------------------------------------------------------------- */

static const struct {
	const char *pin;
	bool netns; /* else the cgroup */
} link_table[] = {
	/* The counting side first: a decision must never be taken that nobody would count. */
	{PIN_LINK_SOCKOPS, false},
	{PIN_LINK_LOOKUP, true},
};

static struct bpf_program *link_program(const struct attachment *a, bool netns)
{
	return netns ? a->skel->progs.pintle_lookup : a->skel->progs.pintle_sockops;
}

static int attach_and_pin(struct attachment *a, const char *dir, const char *pin, bool netns)
{
	struct bpf_program *prog = link_program(a, netns);
	char path[PATH_MAX + NAME_MAX + 2];
	struct bpf_link *link;
	int err;

	link = netns ? bpf_program__attach_netns(prog, a->netns_fd)
		     : bpf_program__attach_cgroup(prog, a->cgroup_fd);
	if (!link)
		return log_err_r(errno, "failed to attach to the %s %s",
				 netns ? "network namespace" : "cgroup",
				 netns ? a->maps->node->netns : a->cgroup);
	snprintf(path, sizeof(path), "%s/%s", dir, pin);
	err = bpf_link__pin(link, path);
	if (err)
		log_err_r(err, "failed to pin %s", path);
	else
		err = set_owner(path, FILE_MODE, a->group);
	/* A pinned link outlives this: destroy only closes the descriptor. One that could not be
	 * pinned is detached by it. */
	bpf_link__destroy(link);
	return err;
}

/* The new program takes the old one's place in one step; no connection falls between. */
static int replace_program(struct attachment *a, const char *pin, bool netns)
{
	char path[PATH_MAX + NAME_MAX + 2];
	struct bpf_link *link;
	int err;

	snprintf(path, sizeof(path), "%s/%s", a->dir, pin);
	link = bpf_link__open(path);
	if (!link) {
		if (errno != ENOENT)
			return log_err_r(errno, "failed to open %s", path);
		return attach_and_pin(a, a->dir, pin, netns);
	}
	err = bpf_link__update_program(link, link_program(a, netns));
	if (err == -ENOLINK) {
		/* What it was attached to is gone, or somebody detached it by force. */
		log_warn("%s was no longer attached; attaching anew", path);
		unlink(path);
		err = attach_and_pin(a, a->dir, pin, netns);
	} else if (err) {
		log_err_r(err, "failed to replace the program of %s", path);
	}
	bpf_link__destroy(link);
	return err;
}

static int commit_fresh(struct attachment *a)
{
	int err = 0;

	a->maps->node->attached_ns = monotonic_ns();
	for (size_t i = 0; !err && i < ARRAY_SIZE(link_table); i++)
		err = attach_and_pin(a, a->staging, link_table[i].pin, link_table[i].netns);
	if (!err && rename(a->staging, a->dir))
		err = log_err_r(errno, "failed to rename %s to %s", a->staging, a->dir);
	return err;
}

int attachment_commit(struct attachment *a)
{
	int err = 0;

	if (!a->resumed) {
		err = commit_fresh(a);
	} else {
		for (size_t i = 0; !err && i < ARRAY_SIZE(link_table); i++)
			err = replace_program(a, link_table[i].pin, link_table[i].netns);
	}
	a->committed = !err;
	return err;
}

void attachment_free(struct attachment *a)
{
	if (!a)
		return;
	if (!a->resumed && !a->committed && *a->staging && a->lock_fd >= 0)
		remove_pins(a->staging);
	if (a->recount)
		munmap(a->recount, RECOUNT_SIZE);
	bpf_link__destroy(a->recount_link);
	pintle_bpf__destroy(a->skel);
	maps_close(a->maps);
	if (a->cgroup_fd >= 0)
		close(a->cgroup_fd);
	if (a->netns_fd >= 0)
		close(a->netns_fd);
	if (a->lock_fd >= 0)
		close(a->lock_fd);
	free(a);
}

struct maps *attachment_maps(const struct attachment *a)
{
	return a->maps;
}

int attachment_netns(const struct attachment *a)
{
	return a->netns_fd;
}

bool attachment_resumed(const struct attachment *a)
{
	return a->resumed;
}

/* ---- recount --------------------------------------------------------------------- */

static int recount_prepare(struct attachment *a)
{
	union bpf_iter_link_info info = {.map.map_fd = (__u32)a->maps->fd[MAP_conns]};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));
	void *p;

	if (a->recount_link)
		return 0;
	p = mmap(NULL, RECOUNT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		 bpf_map__fd(a->skel->maps.recount), 0);
	if (p == MAP_FAILED)
		return log_err_r(errno, "failed to map the recount");
	a->recount = p;
	a->recount_link = bpf_program__attach_iter(a->skel->progs.pintle_recount, &opts);
	if (!a->recount_link)
		return log_err_r(errno, "failed to attach the recounting iterator");
	return 0;
}

const volatile uint64_t *attachment_recount(struct attachment *a)
{
	_cleanup_close_ int fd = -1;
	char buf[64];
	ssize_t n;

	if (a->recount_failed || recount_prepare(a)) {
		a->recount_failed = true;
		return NULL;
	}
	memset(a->recount, 0, RECOUNT_SIZE);
	fd = bpf_iter_create(bpf_link__fd(a->recount_link));
	if (fd < 0) {
		log_err_r(errno, "failed to run the recounting iterator");
		a->recount_failed = true;
		return NULL;
	}
	/* It writes nothing: reading to the end runs it over every socket. */
	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN))
		;
	return n < 0 ? NULL : a->recount;
}

/* ---- detach ---------------------------------------------------------------------- */

static void detach_link(const char *dir, const char *pin)
{
	char path[PATH_MAX + NAME_MAX + 2];
	struct bpf_link *link;

	snprintf(path, sizeof(path), "%s/%s", dir, pin);
	link = bpf_link__open(path);
	if (!link)
		return;
	/* The kernel frees a link some time after its last pin is gone; this ends it now. */
	if (bpf_link__detach(link) && errno != ENOLINK)
		log_err_r(errno, "failed to detach %s", path);
	bpf_link__destroy(link);
}

/* The namespace that the pins steer; -1 when it is gone, and its routes with it. */
static int netns_of_pins(const struct maps *m)
{
	_cleanup_close_ int fd = -1;
	char hint[PINTLE_TEXT_SIZE];
	uint64_t cookie;

	snprintf(hint, sizeof(hint), "%.*s", (int)sizeof(m->node->netns) - 1, m->node->netns);
	fd = netns_open_by_inode(m->node->netns_inode, hint);
	if (fd < 0 || netns_cookie(fd, &cookie) || cookie != m->node->netns_cookie)
		return -1;
	return TAKE_FD(fd);
}

/* Frontends share a route when they differ in the port alone: removing it twice is fine. */
static int remove_routes(const struct maps *m)
{
	_cleanup_close_ int netns_fd = netns_of_pins(m);
	struct pintle_frontend_key key, *previous = NULL;
	int err = 0;

	if (netns_fd < 0)
		return 0;
	while (!bpf_map_get_next_key(m->fd[MAP_frontends], previous, &key)) {
		struct frontend_addr f = {.port = key.port};
		struct pintle_frontend value;

		previous = &key;
		if (bpf_map_lookup_elem(m->fd[MAP_frontends], &key, &value) ||
		    !(value.flags & PINTLE_FRONTEND_ANNOUNCED) ||
		    key.prefixlen < PINTLE_FRONTEND_FIXED_BITS)
			continue;
		memcpy(f.prefix.bytes, key.address, sizeof(f.prefix.bytes));
		f.prefix_bits = (uint8_t)(key.prefixlen - PINTLE_FRONTEND_FIXED_BITS);
		err = routes_remove_local(netns_fd, &f) ?: err;
	}
	return err;
}

int detach(const char *bpffs)
{
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_close_ int lock = lock_dir(bpffs);
	char dir[PATH_MAX], staging[PATH_MAX + 8];
	unsigned int other;
	int err;

	if (lock == -ENOENT) {
		log_info("nothing is attached: there is no %s", bpffs);
		return 0;
	}
	if (lock < 0)
		return lock;
	maps_dir(bpffs, dir, sizeof(dir));
	snprintf(staging, sizeof(staging), "%s/" STAGING, bpffs);
	remove_pins(staging);
	while (maps_other_version(bpffs, &other)) {
		/* Another version's links and pins have the same names; its routes we cannot know.
		 */
		char old[PATH_MAX];

		snprintf(old, sizeof(old), "%s/v%u", bpffs, other);
		log_warn("removing pins of layout %u; local routes that it added, if any, stay: "
			 "ip route flush table local proto %d",
			 other, PINTLE_ROUTE_PROTOCOL);
		for (size_t i = ARRAY_SIZE(link_table); i-- > 0;)
			detach_link(old, link_table[i].pin);
		err = remove_pins(old);
		if (err)
			return err;
	}

	err = maps_open(bpffs, MAPS_WRITE, &m);
	if (err == -ENOENT) {
		log_info("nothing is attached: there are no pins in %s", bpffs);
		err = 0;
	} else {
		/* No decision may be taken that nobody counts: the hook that decides goes first. */
		for (size_t i = ARRAY_SIZE(link_table); i-- > 0;)
			detach_link(dir, link_table[i].pin);
		err = m ? remove_routes(m) : 0;
		err = remove_pins(dir) ?: err;
	}
	/* Only if nothing else is in it, and it is no mount point. */
	if (!err)
		rmdir(bpffs);
	return err;
}
