/* SPDX-License-Identifier: Apache-2.0 */
#include "attach.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <grp.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "../../net/cgroup2.h"
#include "../../base/log.h"
#include "../../base/node_key.h"
#include "../../base/text.h"
#include "../../net/netns.h"
#include "../../base/util.h"
#include "detach.h"
#include "linking.h"
#include "programs.h"
#include "pins.h"
#include "pintle.skel.h"
#include "recount.h"
#include "pass_walks.h"
#include "seats.h"
#include "takeover.h"
#include "tend.h"

struct attachment {
	int lock_fd;
	struct ground ground;
	int cgroup_fd;
	uint64_t netns_inode, netns_cookie;
	bool made, committed;
	gid_t group;
	__u64 key[2];    /* of node.keyFile; 0: none is configured */
	uint64_t layout; /* hash of this build's layouts */
	char *bpffs;
	char dir[PATH_MAX];     /* BPFFS/vN */
	char staging[PATH_MAX]; /* BPFFS/new */
	char cgroup[PINTLE_TEXT_SIZE];
	struct pintle_bpf *skel;   /* while programs are being attached */
	struct takeover *takeover; /* of pins of another build; NULL: there are none */
	bool staged;               /* pins are in `staging` */
	struct tend tend;
	bool lost[LINK_COUNT];                /* wanted, and not attached as of the last look */
	char lost_why[256];                   /* text for attachment_lost(); "": nothing is lost */
	char part_why[CGROUP2_WHY_SIZE];      /* text for attachment_part(); "": all is seen */
	uint64_t tend_wait_ns, tend_again_ns; /* after a failed try: wait so long, until then */
};

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* ---- where ----------------------------------------------------------------------- */

static int attach_find_group(const char *name, gid_t *group)
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

static int open_cgroup(struct attachment *a, const struct config *c)
{
	int err = 0;

	if (c->cgroup && !strcmp(c->cgroup, CGROUP2_KUBEPODS))
		err = cgroup2_kubepods(a->cgroup, sizeof(a->cgroup));
	else if (c->cgroup)
		snprintf(a->cgroup, sizeof(a->cgroup), "%s", c->cgroup);
	else
		err = cgroup2_root(a->cgroup, sizeof(a->cgroup));
	if (err)
		return err;
	/* A cgroup that the configuration names may be a part on purpose. */
	if (!c->cgroup && cgroup2_part(a->part_why))
		log_error("%s; " CGROUP2_PART_CURE, a->part_why);
	a->cgroup_fd = cgroup2_open(a->cgroup);
	return a->cgroup_fd < 0 ? a->cgroup_fd : 0;
}

static int open_places(struct attachment *a, const struct config *c)
{
	int err;

	a->ground.netns_fd = netns_open(c->netns);
	if (a->ground.netns_fd < 0)
		return a->ground.netns_fd;
	err = netns_inode(a->ground.netns_fd, &a->netns_inode);
	if (!err)
		err = netns_cookie(a->ground.netns_fd, &a->netns_cookie);
	return err ? err : open_cgroup(a, c);
}

/* Two Pintles in one namespace would decide each other's connections and remove each other's
 * routes. Looking at other programs takes CAP_SYS_ADMIN; without it this refuses nothing. */
static int refuse_rival(const struct attachment *a, const struct config *c)
{
	uint32_t ids[64], count = ARRAY_SIZE(ids), flags;

	if (bpf_prog_query(a->ground.netns_fd, BPF_SK_LOOKUP, 0, &flags, ids, &count))
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		_cleanup_close_ int fd = bpf_prog_get_fd_by_id(ids[i]);
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof(info);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) ||
		    strncmp(info.name, "pintle_lookup", sizeof(info.name)) != 0)
			continue;
		log_error(
			"another Pintle, pinned elsewhere than in %s, already steers in %s (program "
			"%u); remove it first: pintled --detach --bpffs DIR, with its directory",
			c->bpffs, c->netns, ids[i]);
		return -EBUSY;
	}
	return 0;
}

/* ---- what is wanted ---------------------------------------------------------------- */

static bool attach_link_wanted(const struct link_kind *k, const struct config *c)
{
	bool any = link_is_always(k);

	for (size_t i = 0; !any && i < c->pool_count; i++) {
		const struct config_pool *p = &c->pools[i];
		const struct link_pool needs = {p->decided_by, p->stickiness.key_kind,
						p->stickiness.group_kind, (uint32_t)p->class_count};

		any = link_is_for(k, &needs);
	}
	return any;
}

static int load_wanted(struct attachment *a, const struct config *c)
{
	struct load_list which = {.recount = true};
	const struct maps *maps = a->ground.maps;
	struct maps kept;

	for (int i = 0; i < LINK_COUNT; i++)
		which.links[i] = attach_link_wanted(&link_kinds[i], c) ||
				 (a->takeover && (takeover_has_link(a->takeover, (enum link_id)i) ||
						  link_pinned(&link_kinds[i], a->dir)));
	if (!maps && a->takeover) {
		takeover_kept(a->takeover, &kept);
		maps = &kept;
	}
	return programs_load(&which, maps, &a->skel);
}

/* ---- pins there are -------------------------------------------------------------- */

/* Bindings, counts and listeners of one network namespace mean nothing in another. */
static int refuse_other_netns(const struct attachment *a)
{
	const struct pintle_node *n = a->ground.maps->node;

	if (n->netns_cookie == a->netns_cookie)
		return 0;
	log_error("the pins in %s steer another network namespace (%.*s, inode %llu) than the "
		  "configuration names; remove them first: pintled --detach --bpffs %s",
		  a->dir, (int)sizeof(n->netns), n->netns, (unsigned long long)n->netns_inode,
		  a->bpffs);
	return -EXDEV;
}

/* A cgroup's id is the inode of its directory. */
static int refuse_other_cgroup(const struct attachment *a, const char *dir)
{
	unsigned long long pinned = pins_cgroup(dir);
	struct stat st;

	if (!pinned || fstat(a->cgroup_fd, &st) || st.st_ino == pinned)
		return 0;
	log_error("the pins in %s count the connections of another cgroup than %s; remove them "
		  "first: pintled --detach --bpffs %s",
		  dir, a->cgroup, a->bpffs);
	return -EXDEV;
}

/* Sets a->takeover, if there are pins of another build to take over. */
static int find_former(struct attachment *a)
{
	int err = takeover_find(a->bpffs, a->dir, &a->layout, &a->takeover);
	const char *dir;

	if (err || !a->takeover)
		return err;
	dir = takeover_dir(a->takeover);
	if (!pins_netns_gone(dir))
		return 0;
	log_warn("the network namespace that the pins in %s steered is gone: starting afresh", dir);
	err = detach_pins(dir);
	takeover_free(TAKE_PTR(a->takeover));
	return err;
}

/* Removes pins that a killed detach left half-removed, or of which somebody removed some, unless
 * the missing maps can be found again through links that still steer. */
static int clear_ruins(const struct attachment *a)
{
	/* `staging` was left by a daemon that was killed before its commit. Beside pins of another
	 * build that daemon had added no route or filter yet: those that exist belong to the other
	 * build, and stay. */
	int err = a->takeover ? pins_remove(a->staging) : detach_pins(a->staging);

	if (err || (a->takeover && takeover_in_place(a->takeover)))
		return err;
	if (access(a->dir, F_OK) || pins_whole(a->dir) || pins_repair(a->dir))
		return 0;
	log_warn("the pins in %s are incomplete: starting afresh; bindings and counters are lost",
		 a->dir);
	return detach_pins(a->dir);
}

/* Opens the pins of this layout, if there are any: then sets a->ground.maps and a->ground.resumed.
 */
static int find_pins(struct attachment *a)
{
	int err = clear_ruins(a);

	if (err || access(a->dir, F_OK) || (a->takeover && takeover_in_place(a->takeover)))
		return err;
	err = maps_open_dir(a->dir, MAPS_WRITE, &a->ground.maps);
	if (err)
		return err;
	if (!pins_steer(a->dir) && a->ground.maps->node->netns_cookie != a->netns_cookie) {
		log_warn("the network namespace that the pins in %s steered is gone: starting "
			 "afresh",
			 a->dir);
		maps_close(TAKE_PTR(a->ground.maps));
		return detach_pins(a->dir);
	}
	err = refuse_other_netns(a);
	if (!err)
		err = refuse_other_cgroup(a, a->dir);
	a->ground.resumed = !err;
	return err;
}

/* ---- staging --------------------------------------------------------------------- */

static int pin_map(const struct attachment *a, enum map_id id)
{
	const char *name = map_names[id];
	struct bpf_map *map = bpf_object__find_map_by_name(a->skel->obj, name);
	char path[PIN_PATH_SIZE];
	int err;

	pin_path(a->staging, name, path);
	err = map ? bpf_obj_pin(bpf_map__fd(map), path) : -ENOENT;
	if (err)
		return log_err_r(err, "failed to pin %s", path);
	return pins_own(path, pins_mode(id), a->group);
}

static int stage_pins(struct attachment *a)
{
	int err;

	if (mkdir(a->staging, PINS_DIR_MODE))
		return log_err_r(errno, "failed to make %s", a->staging);
	a->staged = true;
	err = pins_own(a->staging, PINS_DIR_MODE, a->group);
	for (enum map_id id = 0; !err && id < MAP_COUNT; id++)
		err = pin_map(a, id);
	return err ? err : maps_open_dir(a->staging, MAPS_WRITE, &a->ground.maps);
}

/* Stages the maps of this build, unless an earlier takeover, which was killed, has pinned them,
 * with all that was copied. */
static int prepare_takeover(struct attachment *a)
{
	bool fresh = !a->ground.maps;
	int err = fresh ? stage_pins(a) : 0;

	if (!err)
		err = takeover_prepare(a->takeover, a->ground.maps, fresh);
	if (!err)
		err = refuse_other_netns(a);
	if (!err)
		err = refuse_other_cgroup(a, takeover_dir(a->takeover));
	a->ground.resumed = !err;
	return err;
}

/* ---- prepare --------------------------------------------------------------------- */

/* A path that is too long is cut at its beginning: its end says most. */
static void node_text(char to[PINTLE_TEXT_SIZE], const char *from)
{
	size_t size = from ? strlen(from) : 0, room = PINTLE_TEXT_SIZE - 1;

	memset(to, 0, PINTLE_TEXT_SIZE);
	if (size > room)
		snprintf(to, PINTLE_TEXT_SIZE, "...%s", from + size - (room - 3));
	else if (size)
		memcpy(to, from, size);
}

/* Makes a relative path absolute, because the CLI runs in another directory. Symbolic links are not
 * resolved: in a ConfigMap they change their target. */
static void node_path(char to[PINTLE_TEXT_SIZE], const char *path)
{
	_cleanup_free_ char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0), *whole = NULL;

	node_text(to, cwd && asprintf(&whole, "%s/%s", cwd, path) >= 0 ? whole : path);
}

static void describe_node(struct attachment *a, const struct config *c)
{
	struct pintle_node *n = a->ground.maps->node;

	n->abi_version = PINTLE_ABI_VERSION;
	n->layout = a->layout;
	n->pid = (__u32)getpid();
	n->started_ns = monotonic_ns();
	/* Over pins the former daemon's heartbeat stays until the endpoints were asked: see
	 * may_beat(). */
	if (!a->ground.resumed)
		n->heartbeat_ns = n->started_ns;
	/* Bindings by hints are found by a hash with this key, so it must stay the same as long as
	 * they do. */
	if (c->key_file)
		memcpy(n->hint_key, a->key, sizeof(n->hint_key));
	else if (!n->hint_key[0] && !n->hint_key[1] &&
		 getrandom(n->hint_key, sizeof(n->hint_key), 0) != sizeof(n->hint_key))
		log_err_r(errno, "failed to draw the key of hints");
	n->scrape_rounds = 0;
	n->netns_cookie = a->netns_cookie;
	n->netns_inode = a->netns_inode;
	n->group = a->group;
	node_text(n->netns, c->netns);
	node_text(n->cgroup, a->cgroup);
	node_text(n->version, PINTLE_VERSION);
	node_path(n->config, c->path);
	node_text(n->metrics, c->metrics);
}

static int attach_key_take(const char *path, __u64 key[2])
{
	char says[NODE_KEY_SAYS_SIZE];
	int err = node_key_read(path, key, says);

	if (err)
		log_error("%s", says);
	else if (says[0])
		log_warn("%s", says);
	return err;
}

static int attach_prepare(struct attachment *a, const struct config *c)
{
	int err = attach_find_group(c->group, &a->group);

	if (!err && c->key_file)
		err = attach_key_take(c->key_file, a->key);
	a->bpffs = strdup(c->bpffs);
	maps_dir(c->bpffs, a->dir, sizeof(a->dir));
	if (!a->bpffs || (size_t)snprintf(a->staging, sizeof(a->staging), "%s/" PINS_STAGING,
					  c->bpffs) >= sizeof(a->staging))
		return log_err_r(ENAMETOOLONG, "node.bpffs");
	if (!err)
		err = pins_make_dir(c->bpffs, &a->made);
	if (err)
		return err;
	a->lock_fd = pins_lock(c->bpffs);
	if (a->lock_fd < 0)
		return a->lock_fd == -ENOENT ? log_err_r(ENOENT, "%s", c->bpffs) : a->lock_fd;
	err = open_places(a, c);
	if (!err)
		err = find_former(a);
	if (!err)
		err = find_pins(a);
	if (!err && !a->ground.resumed && !a->takeover)
		err = refuse_rival(a, c);
	if (!err)
		err = load_wanted(a, c);
	if (!err && a->takeover)
		err = prepare_takeover(a);
	if (!err && !a->ground.resumed)
		err = stage_pins(a);
	if (err)
		return err;
	a->ground.recount = recount_new(a->skel, a->ground.maps);
	a->ground.seats = seats_new(a->skel, a->ground.maps);
	pass_walks_new(a->skel, a->ground.maps, &a->ground.pass_walks);
	a->ground.earlier_fd = programs_keep(a->skel, "pintle_earlier");
	if (!a->ground.resumed)
		describe_node(a, c);
	return 0;
}

int attachment_prepare(const struct config *c, uv_loop_t *loop, struct attachment **out)
{
	struct attachment *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return log_err_r(ENOMEM, "attach");
	a->lock_fd = a->ground.netns_fd = a->ground.earlier_fd = a->cgroup_fd = -1;
	a->ground.loop = loop;
	tend_begin(&a->tend);
	err = attach_prepare(a, c);
	if (err) {
		attachment_free(a);
		return err;
	}
	*out = a;
	return 0;
}

/* ---- commit ---------------------------------------------------------------------- */

static struct link_place attach_place_of(const struct attachment *a)
{
	return (struct link_place){.netns_fd = a->ground.netns_fd,
				   .cgroup_fd = a->cgroup_fd,
				   .netns = a->ground.maps->node->netns,
				   .cgroup = a->cgroup,
				   .group = a->group};
}

/* Makes the staged pins visible, all at once. */
static int unstage(struct attachment *a)
{
	if (rename(a->staging, a->dir))
		return log_err_r(errno, "failed to rename %s to %s", a->staging, a->dir);
	a->staged = false;
	return 0;
}

static int commit_fresh(struct attachment *a, const struct config *c)
{
	struct link_place to = attach_place_of(a);
	int err = 0;

	a->ground.maps->node->attached_ns = monotonic_ns();
	for (int i = 0; !err && i < LINK_COUNT; i++)
		if (attach_link_wanted(&link_kinds[i], c))
			err = link_attach(&link_kinds[i],
					  programs_fd(a->skel, link_kinds[i].program), &to,
					  a->staging);
	return err ?: unstage(a);
}

static int own_pins(const struct attachment *a)
{
	char path[PIN_PATH_SIZE];
	int err = pins_own(a->dir, PINS_DIR_MODE, a->group);

	for (int i = 0; !err && i < MAP_COUNT + LINK_COUNT; i++) {
		if (i >= MAP_COUNT && !link_pinned(&link_kinds[i - MAP_COUNT], a->dir))
			continue;
		pin_path(a->dir, i < MAP_COUNT ? map_names[i] : link_kinds[i - MAP_COUNT].pin,
			 path);
		err = pins_own(path, i < MAP_COUNT ? pins_mode((enum map_id)i) : PINS_FILE_MODE,
			       a->group);
	}
	return err;
}

/* An optional link may be wanted for the first time; a link that is always wanted and not pinned
 * was lost, which link_replace() logs. */
static int commit_link(struct attachment *a, const struct link_kind *k, const struct link_place *to)
{
	int fd = programs_fd(a->skel, k->program);

	if (!link_is_always(k) && !link_pinned(k, a->dir))
		return link_attach(k, fd, to, a->dir);
	return link_replace(k, fd, to, a->dir);
}

/* After the renames the takeover can only go forward; if this process is killed, the next start
 * goes on with it. */
static int commit_takeover(struct attachment *a, const struct config *c,
			   const struct link_place *to)
{
	bool wanted[LINK_COUNT];
	int err = a->staged ? takeover_step_aside(a->takeover, a->bpffs) ?: unstage(a) : 0;

	for (int i = 0; i < LINK_COUNT; i++)
		wanted[i] = attach_link_wanted(&link_kinds[i], c);
	return err ?: takeover_commit(a->takeover, a->skel, wanted, a->dir, to);
}

static int commit_links(struct attachment *a, const struct config *c, const struct link_place *to)
{
	int err = 0;

	for (int i = 0; !err && i < LINK_COUNT; i++)
		if (attach_link_wanted(&link_kinds[i], c))
			err = commit_link(a, &link_kinds[i], to);
	return err;
}

static int commit_resumed(struct attachment *a, const struct config *c)
{
	struct link_place to = attach_place_of(a);
	int err = a->takeover ? commit_takeover(a, c, &to) : commit_links(a, c, &to);

	/* node.group may have changed since the pins were made. */
	return err || a->group == a->ground.maps->node->group ? err : own_pins(a);
}

int attachment_commit(struct attachment *a, const struct config *c)
{
	int err;

	assert(a->lock_fd >= 0 && !a->committed);
	err = a->ground.resumed ? commit_resumed(a, c) : commit_fresh(a, c);
	if (err)
		return err;
	a->committed = true;
	a->ground.dir = a->dir;
	if (a->ground.resumed)
		describe_node(a, c);
	if (a->group)
		pins_own(a->bpffs, PINS_DIR_MODE, a->group);
	programs_unload(&a->skel);
	tend_hold(&a->tend, a->dir);
	return 0;
}

int attachment_settle(struct attachment *a)
{
	int err = a->takeover ? takeover_end(a->takeover, a->ground.netns_fd) : 0;

	assert(a->committed);
	takeover_free(TAKE_PTR(a->takeover));
	return err;
}

int attachment_extend(struct attachment *a, const struct config *c)
{
	struct link_place to = attach_place_of(a);
	struct load_list which = {0};
	bool any = false;
	int err;

	assert(a->committed);
	for (int i = 0; i < LINK_COUNT; i++) {
		which.links[i] = attach_link_wanted(&link_kinds[i], c) &&
				 !link_pinned(&link_kinds[i], a->dir);
		any |= which.links[i];
	}
	if (!any)
		return 0;
	err = programs_load(&which, a->ground.maps, &a->skel);
	if (err)
		return err;
	for (int i = 0; !err && i < LINK_COUNT; i++)
		if (which.links[i])
			err = link_attach(&link_kinds[i],
					  programs_fd(a->skel, link_kinds[i].program), &to, a->dir);
	programs_unload(&a->skel);
	tend_hold(&a->tend, a->dir);
	return err;
}

static bool attach_has_connections(const struct pintle_inflight *f)
{
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *n = &f->by_class[i];
		uint64_t opened = __atomic_load_n(&n->opened, __ATOMIC_RELAXED);

		if (opened != __atomic_load_n(&n->closed, __ATOMIC_RELAXED) ||
		    opened + __atomic_load_n(&n->failed, __ATOMIC_RELAXED) !=
			    __atomic_load_n(&n->placed, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

/* Whether a connection to an endpoint that was taken out of the configuration is open. */
static bool former_connections(const struct maps *m)
{
	struct pintle_endpoint e;

	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (attach_has_connections(&m->inflight[i]) &&
		    !maps_value(m, MAP_endpoints, i, &e) && !e.pool_generation)
			return true;
	return false;
}

/* Whether the link must stay, although no pool needs it. */
static bool link_lingers(const struct attachment *a, const struct link_kind *k)
{
	return k->sees_ends && link_pinned(k, a->dir) && former_connections(a->ground.maps);
}

void attachment_trim(struct attachment *a, const struct config *c)
{
	assert(a->committed);
	for (int i = LINK_COUNT; i-- > 0;) {
		if (attach_link_wanted(&link_kinds[i], c) || link_lingers(a, &link_kinds[i]))
			continue;
		link_detach(&link_kinds[i], a->dir);
		tend_release(&a->tend, (enum link_id)i);
		a->lost[i] = false;
	}
}

/* ---- tending ---------------------------------------------------------------------- */

#define TEND_WAIT_MIN_NS (NSEC_PER_SEC / 2)
#define TEND_WAIT_MAX_NS (30 * NSEC_PER_SEC)

static const char *hooks_text(const bool which[LINK_COUNT], char *buf, size_t size)
{
	buf[0] = '\0';
	for (int i = 0; i < LINK_COUNT; i++)
		if (which[i])
			text_list_add(buf, size, link_hook(&link_kinds[i]));
	return buf;
}

/* The directory BPFFS/vN was removed, perhaps with BPFFS and the lock on it. It is made anew as at
 * the start: staged, and renamed once it is whole. */
static int put_back_directory(struct attachment *a)
{
	bool made;
	int err, lock;

	if (access(a->bpffs, F_OK)) {
		err = pins_make_dir(a->bpffs, &made);
		lock = err ? err : pins_lock(a->bpffs);
		if (lock < 0)
			return lock;
		close_fd(a->lock_fd);
		a->lock_fd = lock;
		if (a->group)
			pins_own(a->bpffs, PINS_DIR_MODE, a->group);
	}
	if (mkdir(a->staging, PINS_DIR_MODE) && errno != EEXIST)
		return log_err_r(errno, "failed to make %s", a->staging);
	err = pins_own(a->staging, PINS_DIR_MODE, a->group);
	if (!err) {
		int n = tend_pins(&a->tend, a->ground.maps, a->staging, a->group);

		err = n < 0 ? n : unstage(a);
	}
	return err;
}

static int put_back_pins(struct attachment *a)
{
	int n;

	if (access(a->dir, F_OK)) {
		int err = put_back_directory(a);

		if (!err)
			log_warn("%s was removed, and put back; to remove Pintle: pintled --detach",
				 a->dir);
		return err;
	}
	n = tend_pins(&a->tend, a->ground.maps, a->dir, a->group);
	if (n > 0)
		log_warn("%d pin%s in %s %s removed, and put back; to remove Pintle: "
			 "pintled --detach",
			 n, n == 1 ? "" : "s", a->dir, n == 1 ? "was" : "were");
	return n < 0 ? n : 0;
}

/* Whether a cgroup exists at the path. If it was removed and made again, it is *another cgroup: its
 * descriptor replaces the one we hold. */
static bool cgroup_is_there(struct attachment *a, bool *another)
{
	struct stat there, held;
	int fd;

	if (stat(a->cgroup, &there))
		return false;
	if (!fstat(a->cgroup_fd, &held) && there.st_ino == held.st_ino)
		return true;
	fd = cgroup2_open(a->cgroup);
	if (fd < 0)
		return false;
	close(a->cgroup_fd);
	a->cgroup_fd = fd;
	*another = true;
	return true;
}

/* `taken`: by somebody, and not with its cgroup. */
static int attach_lost(struct attachment *a, const bool lost[LINK_COUNT], bool taken)
{
	struct link_place to = attach_place_of(a);
	struct load_list which = {0};
	int err;

	memcpy(which.links, lost, sizeof(which.links));
	err = programs_load(&which, a->ground.maps, &a->skel);
	for (int i = 0; !err && i < LINK_COUNT; i++) {
		if (!lost[i])
			continue;
		err = link_replace(&link_kinds[i], programs_fd(a->skel, link_kinds[i].program), &to,
				   a->dir);
		if (!err && taken)
			tend_put_back(&a->tend, (enum link_id)i, monotonic_ns());
		tend_release(&a->tend, (enum link_id)i);
	}
	programs_unload(&a->skel);
	tend_hold(&a->tend, a->dir);
	return err;
}

/* Fills a->lost. Returns whether any hook is lost. */
static bool look_for_lost(struct attachment *a, const struct config *c)
{
	bool any = false;

	for (int i = 0; i < LINK_COUNT; i++) {
		a->lost[i] = attach_link_wanted(&link_kinds[i], c) &&
			     !tend_attached(&a->tend, (enum link_id)i);
		any |= a->lost[i];
	}
	return any;
}

static void attach_tell_lost(struct attachment *a, const char *why)
{
	char hooks[128];
	bool news = !a->lost_why[0];

	snprintf(a->lost_why, sizeof(a->lost_why), "not attached: %s (%s)",
		 hooks_text(a->lost, hooks, sizeof(hooks)), why);
	if (news)
		log_error("%s; trying again until it is attached", a->lost_why);
}

#define RESTS "taken away again, after it was put back 3 times within 10 minutes: resting"
static_assert(TEND_TIMES == 3 && TEND_PERIOD_NS == 600 * NSEC_PER_SEC, "RESTS says so");

struct mending {
	bool now[LINK_COUNT]; /* can be attached at once */
	bool any;             /* of these */
	bool taken;           /* by somebody, and not with the cgroup */
	bool gone;            /* something waits for the cgroup */
	bool rests;           /* something was put back too often */
};

static void sort_lost(struct attachment *a, struct mending *m)
{
	bool another = false, there = cgroup_is_there(a, &another);
	uint64_t now_ns = monotonic_ns();

	*m = (struct mending){.taken = !another};
	for (int i = 0; i < LINK_COUNT; i++) {
		bool gone = a->lost[i] && !link_kinds[i].netns && !there;
		bool rests = a->lost[i] && !gone && m->taken &&
			     !tend_may_put_back(&a->tend, (enum link_id)i, now_ns);

		m->now[i] = a->lost[i] && !gone && !rests;
		m->any |= m->now[i];
		m->gone |= gone;
		m->rests |= rests;
	}
}

/* Returns 0; -ESTALE: something cannot be attached yet, which it takes no try to see; or another
 * -errno. *mended: something was attached. */
static int mend_links(struct attachment *a, bool *mended)
{
	char why[PINTLE_TEXT_SIZE + 32] = "see pintled's log";
	struct mending m;
	int err = 0;

	sort_lost(a, &m);
	if (m.any)
		err = attach_lost(a, m.now, m.taken);
	*mended = m.any && !err;
	if (m.gone)
		snprintf(why, sizeof(why), "the cgroup %s is gone", a->cgroup);
	else if (m.rests)
		snprintf(why, sizeof(why), RESTS);
	if (m.gone || m.rests)
		err = -ESTALE;
	if (err)
		attach_tell_lost(a, why);
	return err;
}

static void tended_well(struct attachment *a)
{
	a->lost_why[0] = '\0';
	a->tend_wait_ns = 0;
}

static void tend_later(struct attachment *a, uint64_t now, int err)
{
	uint64_t wait = MAX(2 * a->tend_wait_ns, TEND_WAIT_MIN_NS);

	/* Looking for a cgroup, or whether the rest is over, is cheap and logs nothing, so the wait
	 * does not grow. */
	a->tend_wait_ns = err == -ESTALE ? TEND_WAIT_MIN_NS : MIN(wait, TEND_WAIT_MAX_NS);
	a->tend_again_ns = now + a->tend_wait_ns;
}

bool attachment_tend(struct attachment *a, const struct config *c)
{
	uint64_t now = monotonic_ns();
	bool mended = false;
	char hooks[128];
	int err;

	if (!a->committed || now < a->tend_again_ns)
		return false;
	err = put_back_pins(a);
	if (!err && !look_for_lost(a, c)) {
		tended_well(a);
		return false;
	}
	if (!err) {
		hooks_text(a->lost, hooks, sizeof(hooks));
		err = mend_links(a, &mended);
	}
	if (!err && !look_for_lost(a, c)) {
		log_warn("lost, and attached again: %s", hooks);
		tended_well(a);
		return true;
	}
	tend_later(a, now, err);
	return mended;
}

bool attachment_hook(const struct attachment *a, const struct config *c, enum link_id id,
		     bool *attached)
{
	assert(id < LINK_COUNT);
	*attached = attach_link_wanted(&link_kinds[id], c) && !a->lost[id];
	return attach_link_wanted(&link_kinds[id], c);
}

uint64_t attachment_put_back(const struct attachment *a, enum link_id id)
{
	assert(id < LINK_COUNT);
	return a->tend.back[id].count;
}

const char *attachment_lost(const struct attachment *a)
{
	return a->lost_why[0] ? a->lost_why : NULL;
}

const char *attachment_part(const struct attachment *a)
{
	return a->part_why[0] ? a->part_why : NULL;
}

void attachment_free(struct attachment *a)
{
	if (!a)
		return;
	if (a->staged)
		a->takeover ? pins_remove(a->staging) : detach_pins(a->staging);
	if (a->made && !a->committed)
		rmdir(a->bpffs);
	takeover_free(a->takeover);
	tend_end(&a->tend);
	pass_walks_free(a->ground.pass_walks);
	seats_free(a->ground.seats);
	recount_free(a->ground.recount);
	programs_unload(&a->skel);
	maps_close(a->ground.maps);
	close_fd(a->ground.earlier_fd);
	close_fd(a->cgroup_fd);
	close_fd(a->ground.netns_fd);
	close_fd(a->lock_fd);
	free(a->bpffs);
	free(a);
}

const struct ground *attachment_ground(const struct attachment *a)
{
	return &a->ground;
}

bool attachment_takes_over(const struct attachment *a)
{
	return a->takeover;
}
