/* SPDX-License-Identifier: Apache-2.0 */
#include "detach.h"

#include <bpf/bpf.h>
#include <dirent.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/keys.h"
#include "../../maps/maps.h"
#include "../../net/netns.h"
#include "../../net/routes.h"
#include "../../net/tc.h"
#include "../devices/devices.h"
#include "../devices/in_pods.h"
#include "../devices/splice.h"
#include "../devices/xdp.h"
#include "linking.h"
#include "pins.h"

/* Returns a descriptor of a pinned map; -1: not pinned, or of other sizes than these. */
static int detach_open_map(const char *dir, enum map_id id, size_t key_size, size_t value_size)
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
		detach_open_map(dir, MAP_node, sizeof(__u32), sizeof(struct pintle_node));
	_cleanup_close_ int frontends_fd =
		detach_open_map(dir, MAP_frontends, sizeof(struct pintle_frontend_key),
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

static int detach_filters(const char *dir)
{
	_cleanup_close_ int node_fd =
		detach_open_map(dir, MAP_node, sizeof(__u32), sizeof(struct pintle_node));
	_cleanup_close_ int oneshot_fd = detach_open_map(
		dir, MAP_oneshot, sizeof(struct pintle_frontend_key), sizeof(struct pintle_ref));
	_cleanup_close_ int hand_fd =
		detach_open_map(dir, MAP_hand_stats, sizeof(__u32), sizeof(__u64));
	_cleanup_close_ int scopes_fd =
		detach_open_map(dir, MAP_scopes, sizeof(__u64), sizeof(struct pintle_scope));
	_cleanup_close_ int flows_fd = detach_open_map(
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

/* ---- spliced connections ---------------------------------------------------------------- */

/* A program of ours translates each packet of a spliced connection. So where such are open, the
 * links of that program are not detached with the rest. Nobody is spliced anew: the connect hook,
 * without which that program lets everything pass, is gone. A later detach removes them. */
#define SPLICED      "spliced" /* BPFFS/spliced0, 1, ...: those links, and the map `splices` */
#define SPLICED_DIRS 10

static bool is_of_splices(const char *pin)
{
	return !strncmp(pin, "tcx_pintle_splice_", strlen("tcx_pintle_splice_")) ||
	       !strcmp(pin, map_names[MAP_splices]);
}

static size_t open_splices(const char *dir)
{
	_cleanup_close_ int fd = detach_open_map(dir, MAP_splices, sizeof(struct pintle_tuple),
						 sizeof(struct pintle_splice));

	return fd < 0 ? 0 : splice_open(fd);
}

static void reset_splices(const char *dir)
{
	_cleanup_close_ int fd = detach_open_map(dir, MAP_splices, sizeof(struct pintle_tuple),
						 sizeof(struct pintle_splice));
	size_t open = fd < 0 ? 0 : splice_open(fd), reset;

	if (!open)
		return;
	reset = splice_reset(fd);
	log_warn("of %zu spliced connection%s, %zu %s reset", open, open == 1 ? "" : "s", reset,
		 reset == 1 ? "was" : "were");
}

static void move_splices(const char *dir, const char *to)
{
	char from[PIN_PATH_SIZE], into[PIN_PATH_SIZE];
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (is_of_splices(e->d_name) &&
		    rename(pin_path(dir, e->d_name, from), pin_path(to, e->d_name, into)))
			log_err_r(errno, "failed to move %s to %s", from, to);
	if (d)
		closedir(d);
}

/* Takes the links out of `dir`, if they are needed. */
static void keep_splices(const char *dir)
{
	char to[PIN_PATH_SIZE];
	size_t open = is_staging(dir) ? 0 : open_splices(dir);
	int i;

	if (!open)
		return;
	for (i = 0; i < SPLICED_DIRS; i++) {
		snprintf(to, sizeof(to), "%.*s/" SPLICED "%d", (int)(strrchr(dir, '/') - dir), dir,
			 i);
		if (!mkdir(to, PINS_DIR_MODE))
			break;
	}
	if (i == SPLICED_DIRS) {
		log_warn("%zu spliced connections end now: there is no place for what they need",
			 open);
		return;
	}
	move_splices(dir, to);
	log_warn("%zu spliced connection%s open: the program that translates them stays, pinned "
		 "in %s, until `pintled --detach` is called after their end; `--force` resets them",
		 open, open == 1 ? " is" : "s are", to);
}

/* Removes what keep_splices() has kept there, unless it is needed still. */
static void drop_splices(const char *dir)
{
	char path[PIN_PATH_SIZE];
	size_t open = open_splices(dir);
	struct dirent *e;
	DIR *d;

	if (open) {
		log_warn("%zu spliced connection%s open still: %s stays", open,
			 open == 1 ? " is" : "s are", dir);
		return;
	}
	devices_detach_all(dir);
	d = opendir(dir);
	while (d && (e = readdir(d)))
		if (is_of_splices(e->d_name))
			unlink(pin_path(dir, e->d_name, path));
	if (d)
		closedir(d);
	rmdir(dir);
}

static bool is_kept_splices(const char *name)
{
	unsigned int number;
	char end;

	return sscanf(name, SPLICED "%1u%c", &number, &end) == 1;
}

int detach_pins(const char *dir)
{
	bool gone;
	int err;

	/* There is no `dir`, or an empty one, as a killed detach may leave it. */
	if (access(dir, F_OK) || !rmdir(dir))
		return 0;
	keep_splices(dir);
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
	err = gone ? 0 : (detach_filters(dir) ?: remove_routes(dir));
	return err ? err : pins_remove(dir);
}

static bool detach_is_ours(const char *name)
{
	unsigned int version;
	char end;

	return !strcmp(name, PINS_STAGING) || !strcmp(name, PINS_FORMER) ||
	       !strcmp(name, PINS_REMOVED) || sscanf(name, "v%4u%c", &version, &end) == 1;
}

static int undo_all(const char *bpffs, bool force, unsigned int *undone)
{
	DIR *d = opendir(bpffs);
	struct dirent *e;
	int err = 0;

	if (!d)
		return log_err_r(errno, "failed to read %s", bpffs);
	while ((e = readdir(d))) {
		bool kept = is_kept_splices(e->d_name), ours = detach_is_ours(e->d_name);
		char dir[PIN_PATH_SIZE];

		pin_path(bpffs, e->d_name, dir);
		if (force && (kept || ours))
			reset_splices(dir);
		if (kept)
			drop_splices(dir);
		if (!ours)
			continue;
		err = detach_pins(dir) ?: err;
		++*undone;
	}
	closedir(d);
	return err;
}

int detach(const char *bpffs, bool force)
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
	err = undo_all(bpffs, force, &undone);
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
