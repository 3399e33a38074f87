/* SPDX-License-Identifier: Apache-2.0 */
#include "clients.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>

#include "../../net/cgroup2.h"
#include "../../base/log.h"
#include "../../maps/names.h"
#include "../../maps/pod_cgroup.h"
#include "../../base/text.h"
#include "../../base/util.h"
#include "server_cgroups.h"

#define MAX_CGROUPS 65536
#define SETTLE_MS   5  /* a pod comes with several cgroups at once */
#define REST        10 /* times the duration of a walk: the least pause before the next */

/* A cgroup of the tree; `name` is "" where it belongs to no named client. */
struct cgroup {
	uint64_t id;
	bool watched;
	bool left_alone;
	char name[PINTLE_CLIENT_NAME_SIZE];
};

struct tree {
	struct cgroup *all; /* by id, once the walk is over */
	size_t count, room;
};

struct clients {
	uv_loop_t *loop;
	const struct maps *m;
	const struct config *config;
	bool active; /* the tree is walked, for named clients or for server_cgroups.h */
	bool named;
	bool pods;            /* some pod is left alone, whatever the pools' keys are */
	char root[PATH_MAX];  /* directory where the walk begins */
	char below[PATH_MAX]; /* the same as a path below the cgroup2 root: "" or "/..." */
	struct tree tree;     /* what the map holds */
	int inotify;
	uv_poll_t poll;
	uv_timer_t timer;
	int handles;
	uint64_t walk_ns, walked_ns;
	bool told_full, told_watches, told_many;
};

/* ---- names ------------------------------------------------------------------------ */

/* `g` is the parent's client. A pattern that matches `path` replaces it; a pod only names a cgroup
 * whose parent has no client. */
static void identify(const struct config *c, const char *path, struct cgroup *g)
{
	for (size_t i = 0; i < c->client_count; i++) {
		if (!text_matches(c->clients[i].cgroup, path))
			continue;
		snprintf(g->name, sizeof(g->name), "%s", c->clients[i].name);
		g->left_alone = !c->clients[i].steer;
		return;
	}
	if (!g->name[0])
		pod_cgroup(path, g->name);
}

/* ---- the walk ---------------------------------------------------------------------- */

struct walk {
	struct clients *clients;
	struct tree *tree;
	struct cgroup way[CGROUP2_MAX_DEPTH + 1]; /* by depth, from the root to the one visited */
};

static int clients_by_id(const void *left, const void *right)
{
	const struct cgroup *a = left, *b = right;

	return (a->id > b->id) - (a->id < b->id);
}

static const struct cgroup *tree_find(const struct tree *t, uint64_t id)
{
	struct cgroup key = {.id = id};

	return t->count ? bsearch(&key, t->all, t->count, sizeof(key), clients_by_id) : NULL;
}

static bool tree_add(struct tree *t, const struct cgroup *g)
{
	if (t->count == MAX_CGROUPS || !ROOM_FOR_ONE(t->all, t->count, t->room, 256))
		return false;
	t->all[t->count++] = *g;
	return true;
}

/* The kernel drops a watch with its directory. */
static bool clients_watch(struct clients *x, uint64_t id, int fd)
{
	const struct cgroup *before = tree_find(&x->tree, id);
	char path[32];

	if (x->inotify < 0 || (before && before->watched))
		return x->inotify >= 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (inotify_add_watch(x->inotify, path, IN_CREATE | IN_DELETE | IN_ONLYDIR) >= 0)
		return true;
	if (errno == ENOENT || x->told_watches)
		return false;
	log_warn("cannot watch every cgroup (%s): clients in new cgroups are known only after half "
		 "a minute; raise fs.inotify.max_user_watches",
		 strerror(errno));
	x->told_watches = true;
	return false;
}

/* Sets the watch before cgroup2_walk() reads the directory: a child that is made in between is seen
 * by one of the two. */
static bool clients_visit(void *arg, const struct cgroup2_visit *v)
{
	struct walk *w = arg;
	struct cgroup *g;

	assert(v->depth >= 0 && v->depth <= CGROUP2_MAX_DEPTH);
	g = &w->way[v->depth];
	*g = v->depth ? w->way[v->depth - 1] : (struct cgroup){0};
	g->id = v->id;
	g->watched = clients_watch(w->clients, v->id, v->fd);
	if (w->clients->named)
		identify(w->clients->config, v->path, g);
	return tree_add(w->tree, g);
}

static bool walk_tree(struct clients *x, struct tree *to)
{
	struct walk w = {.clients = x, .tree = to};
	int err = cgroup2_walk(x->root, x->below, clients_visit, &w);

	if (err == -ECANCELED && !x->told_many) {
		log_warn("more than %d cgroups: some are not searched for clients", MAX_CGROUPS);
		x->told_many = true;
	}
	if (to->count)
		qsort(to->all, to->count, sizeof(*to->all), clients_by_id);
	return !err || err == -ECANCELED;
}

/* ---- the map ----------------------------------------------------------------------- */

static void clients_delete(const struct clients *x, uint64_t id)
{
	bpf_map_delete_elem(x->m->fd[MAP_clients], &id);
}

static void clients_put(struct clients *x, const struct cgroup *g)
{
	struct pintle_client c = {.id = client_id(g->name), .left_alone = g->left_alone};

	memcpy(c.name, g->name, sizeof(c.name));
	if (!bpf_map_update_elem(x->m->fd[MAP_clients], &g->id, &c, BPF_ANY) || x->told_full)
		return;
	log_err_r(errno, "failed to write to map clients; a client that is missing there is known "
			 "by its cgroup's id");
	x->told_full = true;
}

/* Entries that are gone are removed first, to make room. */
static void clients_settle(struct clients *x, const struct tree *now)
{
	const struct tree *was = &x->tree;

	for (size_t i = 0; i < was->count; i++) {
		const struct cgroup *g = tree_find(now, was->all[i].id);

		if (was->all[i].name[0] && (!g || !g->name[0]))
			clients_delete(x, was->all[i].id);
	}
	for (size_t i = 0; i < now->count; i++) {
		const struct cgroup *g = tree_find(was, now->all[i].id);

		if (now->all[i].name[0] && (!g || g->left_alone != now->all[i].left_alone ||
					    strcmp(g->name, now->all[i].name) != 0))
			clients_put(x, &now->all[i]);
	}
}

/* Takes over what an earlier daemon left in the map, under a name that no client has: so the first
 * walk writes or removes each of these entries. */
static void clients_adopt(struct clients *x)
{
	uint64_t key, *previous = NULL;
	int fd = x->m->fd[MAP_clients];

	for (int i = 0; i < PINTLE_MAX_CLIENTS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		if (!tree_add(&x->tree, &(struct cgroup){.id = key, .name = "?"}))
			break;
		previous = &key;
	}
	if (x->tree.count)
		qsort(x->tree.all, x->tree.count, sizeof(*x->tree.all), clients_by_id);
}

static void take_tree(struct clients *x, struct tree *tree)
{
	clients_settle(x, tree);
	free(x->tree.all);
	x->tree = *tree;
}

static void walk_now(struct clients *x)
{
	uint64_t begun = monotonic_ns();
	struct tree tree = {0};

	if (!x->active)
		return;
	if (walk_tree(x, &tree))
		take_tree(x, &tree);
	else
		free(tree.all);
	server_cgroups_update(x->m, x->config, x->root, x->below);
	x->walked_ns = monotonic_ns();
	x->walk_ns = x->walked_ns - begun;
}

/* ---- watching ---------------------------------------------------------------------- */

static void clients_on_timer(uv_timer_t *timer)
{
	walk_now(timer->data);
}

/* Walking a tree that is large, or never stops changing, must not take all of the daemon's time. */
static void walk_soon(struct clients *x)
{
	uint64_t rested = monotonic_ns() - x->walked_ns, rest = REST * x->walk_ns;
	uint64_t ms = rested < rest ? (rest - rested) / NSEC_PER_MSEC : 0;

	if (!uv_is_active((uv_handle_t *)&x->timer))
		uv_timer_start(&x->timer, clients_on_timer, MAX(ms, (uint64_t)SETTLE_MS), 0);
}

static void clients_on_change(uv_poll_t *poll, int status, int events)
{
	struct clients *x = poll->data;
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));

	(void)status;
	(void)events;
	while (read(x->inotify, buf, sizeof(buf)) > 0)
		;
	walk_soon(x);
}

static bool asked_for(const struct config *c)
{
	for (size_t i = 0; i < c->client_count; i++)
		if (!c->clients[i].steer)
			return true;
	for (size_t i = 0; i < c->pool_count; i++)
		if (config_key_of_cgroup(c->pools[i].stickiness.key_kind) ||
		    config_key_of_cgroup(c->pools[i].stickiness.group_kind) ||
		    c->pools[i].spared_count || config_rules_of_pods(&c->pools[i]))
			return true;
	return false;
}

bool clients_found(const struct clients *x, const char *name)
{
	for (size_t i = 0; i < x->tree.count; i++)
		if (!strcmp(x->tree.all[i].name, name))
			return true;
	return false;
}

bool clients_looked(const struct clients *x)
{
	return x->active && x->named;
}

bool clients_root(const struct maps *m, char root[PATH_MAX], char below[PATH_MAX])
{
	char top[PATH_MAX];
	size_t length;

	snprintf(root, PATH_MAX, "%.*s", (int)sizeof(m->node->cgroup), m->node->cgroup);
	below[0] = '\0';
	if (cgroup2_root(top, sizeof(top)))
		return false;
	length = strlen(top);
	if (!strncmp(root, top, length) && root[length] == '/' && root[length + 1])
		snprintf(below, PATH_MAX, "%s", root + length);
	return true;
}

static void clients_start(struct clients *x)
{
	if (!clients_root(x->m, x->root, x->below))
		return;
	x->active = true;
	if (x->inotify >= 0)
		return;
	x->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (x->inotify < 0) {
		log_err_r(errno,
			  "cannot watch cgroups; the whole tree is read now and then instead");
	} else if (!uv_poll_init(x->loop, &x->poll, x->inotify)) {
		x->poll.data = x;
		x->handles++;
		uv_poll_start(&x->poll, UV_READABLE, clients_on_change);
	}
}

static void nothing_but_free(uv_handle_t *handle)
{
	struct clients *x = handle->data;

	assert(x->handles > 0);
	if (--x->handles)
		return;
	if (x->inotify >= 0)
		close(x->inotify);
	free(x->tree.all);
	free(x);
}

int clients_new(const struct ground *g, struct clients **out)
{
	struct clients *x = calloc(1, sizeof(*x));

	if (!x)
		return log_err_r(ENOMEM, "clients");
	x->loop = g->loop;
	x->m = g->maps;
	x->inotify = -1;
	uv_timer_init(x->loop, &x->timer);
	x->timer.data = x;
	x->handles = 1;
	clients_adopt(x);
	*out = x;
	return 0;
}

void clients_configure(struct clients *x, const struct config *c)
{
	struct tree none = {0};

	x->config = c;
	x->named = x->pods || asked_for(c);
	if (x->named || server_cgroups_wanted(c)) {
		if (!x->active)
			clients_start(x);
		walk_now(x);
		return;
	}
	/* The watches stay: a later reload that needs clients again uses them. */
	if (x->active)
		uv_timer_stop(&x->timer);
	x->active = false;
	take_tree(x, &none);
}

void clients_name_pods(struct clients *x, bool wanted)
{
	bool news = x->pods != wanted;

	x->pods = wanted;
	if (news && x->config)
		clients_configure(x, x->config);
}

void clients_rescan(struct clients *x)
{
	walk_now(x);
}

size_t clients_count(const struct clients *x)
{
	size_t n = 0;

	for (size_t i = 0; i < x->tree.count; i++)
		n += x->tree.all[i].name[0] != '\0';
	return n;
}

void clients_free(struct clients *x)
{
	if (!x)
		return;
	if (x->handles > 1)
		uv_close((uv_handle_t *)&x->poll, nothing_but_free);
	uv_close((uv_handle_t *)&x->timer, nothing_but_free);
}
