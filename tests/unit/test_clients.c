/* SPDX-License-Identifier: Apache-2.0 */
/* The names of clients, by real cgroups that come and go. */
#include "support_steer.h"

#include "../../userspace/maps/names.h"
#include "../../userspace/maps/pod_cgroup.h"
#include "../../userspace/pintled/publish/clients.h"

#define UID       "7d1c0a1e-0000-4000-8000-00000000beef"
#define UID_SLICE "7d1c0a1e_0000_4000_8000_00000000beef"
#define STATIC    "0123456789abcdef0123456789abcdef"

static void test_pods(void **state)
{
	static const struct {
		/* NULL: the path is not the cgroup of a pod; no pod is above it */
		const char *path, *name, *above;
	} rows[] = {
		{"/kubepods/pod" UID, "pod/" UID, "pod/" UID},
		{"/kubepods/burstable/pod" UID, "pod/" UID, "pod/" UID},
		{"/kubepods/besteffort/pod" STATIC, "pod/" STATIC, "pod/" STATIC},
		{"/kubepods.slice/kubepods-pod" UID_SLICE ".slice", "pod/" UID, "pod/" UID},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_SLICE
		 ".slice",
		 "pod/" UID, "pod/" UID},
		{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
		 "kubelet-kubepods-besteffort-pod" UID_SLICE ".slice",
		 "pod/" UID, "pod/" UID},
		/* Of containers. */
		{"/kubepods/burstable/pod" UID "/0123", NULL, "pod/" UID},
		{"/kubepods.slice/kubepods-pod" UID_SLICE ".slice/crio-0123.scope/init", NULL,
		 "pod/" UID},
		{"/node/kubepods/pod" UID "/0123/kubepods/pod" STATIC, "pod/" STATIC, "pod/" UID},
		/* Outside of pods. */
		{"/kubepods/burstable", NULL, NULL},
		{"/kubepods/burstable/0123", NULL, NULL},
		{"/kubepods/burstable/pod" UID "x", NULL, NULL},
		{"/kubepods/burstable/pod7d1c0a1e", NULL, NULL},
		{"/kubepods/burstable/podgggggggggggggggggggggggggggggggg", NULL, NULL},
		{"/kubepods.slice/kubepods-pod" UID_SLICE ".scope", NULL, NULL},
		{"/system.slice/pod" UID, NULL, NULL},
		{"/system.slice/x.service", NULL, NULL},
		{"/", NULL, NULL},
		{"", NULL, NULL},
		{"kubepods", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char name[PINTLE_CLIENT_NAME_SIZE] = "", above[PINTLE_CLIENT_NAME_SIZE] = "";

		assert_int_equal(pod_cgroup(rows[i].path, name), rows[i].name != NULL);
		assert_string_equal(name, rows[i].name ? rows[i].name : "");
		assert_int_equal(pod_cgroup_above(rows[i].path, above), rows[i].above != NULL);
		assert_string_equal(above, rows[i].above ? rows[i].above : "");
	}
}

/* ---- a tree of cgroups ------------------------------------------------------------------ */

#define KEYED(key)                                                                                 \
	POOL("a", FRONTEND,                                                                        \
	     "stickiness: {key: " key "}, " SERVERS("{name: e0, address: \"127.0.0.1:8001\"}"))

static const char *const dirs[] = {
	"kubepods",
	"kubepods/burstable",
	"kubepods/burstable/pod" UID,
	"kubepods/burstable/pod" UID "/one",
	"kubepods/burstable/pod" UID "/two",
	"batch-7.service",
	"batch-7.service/inner",
	"other",
};

static const char *dir_path(const char *dir)
{
	static char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", cgroup, dir);
	return path;
}

static uint64_t make_dir(const char *dir)
{
	struct stat st;

	assert_int_equal(mkdir(dir_path(dir), 0755), 0);
	assert_int_equal(stat(dir_path(dir), &st), 0);
	return st.st_ino;
}

static void remove_dirs(void)
{
	for (size_t i = ARRAY_SIZE(dirs); i-- > 0;)
		rmdir(dir_path(dirs[i]));
	rmdir(dir_path("kubepods/burstable/pod" STATIC));
}

static int teardown_dirs(void **state)
{
	remove_dirs();
	return teardown_steer(state);
}

struct watcher {
	struct steer s;
	uv_loop_t loop;
	struct clients *x;
};

/* `cgroup` is a child of the root: see make_cgroup(). */
static struct config *config_of(const char *pools)
{
	struct config *c = config_with("", pools);

	c->clients = calloc(1, sizeof(*c->clients));
	assert_non_null(c->clients);
	c->client_count = 1;
	c->clients[0].steer = true;
	c->clients[0].name = strdup("batch");
	assert_true(asprintf(&c->clients[0].cgroup, "%s/batch-*", cgroup + strlen(cgroup_home)) >
		    0);
	return c;
}

static void watcher_begin(struct watcher *w, struct config *c)
{
	const struct ground ground = {.loop = &w->loop, .maps = w->s.m};

	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(clients_new(&ground, &w->x), 0);
	clients_configure(w->x, c);
}

static void watcher_start(struct watcher *w, struct config *c)
{
	*w = (struct watcher){0};
	steer_start(&w->s, KEYED("cgroup"), false);
	watcher_begin(w, c);
}

static void watcher_end(struct watcher *w, struct config *c)
{
	clients_free(w->x);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	steer_end(&w->s);
	config_free(c);
}

/* The name of a cgroup in the map; "" without one. */
static const char *name_of(const struct watcher *w, uint64_t id)
{
	static struct pintle_client c;

	if (bpf_map_lookup_elem(w->s.m->fd[MAP_clients], &id, &c))
		return "";
	assert_int_equal(c.id, client_id(c.name));
	return c.name;
}

static bool becomes(struct watcher *w, uint64_t id, const char *name)
{
	uv_run(&w->loop, UV_RUN_NOWAIT);
	return !strcmp(name_of(w, id), name);
}

static void test_who_is_there_already(void **state)
{
	struct config *c = config_of(KEYED("cgroup"));
	uint64_t id[ARRAY_SIZE(dirs)];
	struct watcher w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		id[i] = make_dir(dirs[i]);
	watcher_start(&w, c);
	assert_string_equal(name_of(&w, id[0]), "");
	assert_string_equal(name_of(&w, id[1]), "");
	for (int i = 2; i < 5; i++)
		assert_string_equal(name_of(&w, id[i]), "pod/" UID);
	assert_string_equal(name_of(&w, id[5]), "batch");
	assert_string_equal(name_of(&w, id[6]), "batch");
	assert_string_equal(name_of(&w, id[7]), "");
	assert_int_equal(clients_count(w.x), 5);
	watcher_end(&w, c);
}

static void test_who_comes_and_goes(void **state)
{
	struct config *c = config_of(KEYED("cgroup"));
	uint64_t id[ARRAY_SIZE(dirs)], again;
	struct watcher w;

	(void)state;
	watcher_start(&w, c);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		id[i] = make_dir(dirs[i]);
	/* A new cgroup in a new cgroup. */
	wait_for(becomes(&w, id[4], "pod/" UID));
	wait_for(becomes(&w, id[6], "batch"));
	assert_int_equal(rmdir(dir_path(dirs[4])), 0);
	wait_for(becomes(&w, id[4], ""));
	assert_string_equal(name_of(&w, id[3]), "pod/" UID);
	again = make_dir(dirs[4]);
	wait_for(becomes(&w, again, "pod/" UID));
	remove_dirs();
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		wait_for(becomes(&w, id[i], ""));
	wait_for(becomes(&w, again, ""));
	assert_int_equal(clients_count(w.x), 0);
	watcher_end(&w, c);
}

/* A daemon checks the names that the one before left, because cgroup ids are used again. */
static void test_who_was_left(void **state)
{
	struct pintle_client old = {.id = client_id("pod/old"), .name = "pod/old"};
	struct config *c = config_of(KEYED("cgroup"));
	uint64_t pod, gone = 4711;
	struct watcher w = {0};

	(void)state;
	make_dir(dirs[0]);
	make_dir(dirs[1]);
	pod = make_dir(dirs[2]);
	steer_start(&w.s, KEYED("cgroup"), false);
	assert_int_equal(bpf_map_update_elem(w.s.m->fd[MAP_clients], &gone, &old, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(w.s.m->fd[MAP_clients], &pod, &old, BPF_ANY), 0);
	watcher_begin(&w, c);
	assert_int_equal(bpf_map_lookup_elem(w.s.m->fd[MAP_clients], &gone, &old), -ENOENT);
	assert_string_equal(name_of(&w, pod), "pod/" UID);
	/* That cgroup is watched, too. */
	assert_int_equal(rmdir(dir_path(dirs[2])), 0);
	wait_for(becomes(&w, pod, ""));
	pod = make_dir(dirs[2]);
	wait_for(becomes(&w, pod, "pod/" UID));
	watcher_end(&w, c);
}

static void test_only_while_a_pool_asks(void **state)
{
	static const char ruled[] =
		POOL("a", FRONTEND,
		     "classes: [{name: a, rules: [{source: 10.9.0.1}]}], " SERVERS(
			     "{name: e0, address: \"127.0.0.1:8001\"}"));
	struct config *c = config_of(KEYED("cgroup")), *other = config_of(KEYED("client"));
	struct config *rules = config_of(ruled);
	uint64_t pod, late;
	struct watcher w;

	(void)state;
	make_dir(dirs[0]);
	make_dir(dirs[1]);
	pod = make_dir(dirs[2]);
	watcher_start(&w, other);
	assert_string_equal(name_of(&w, pod), "");
	clients_configure(w.x, c);
	assert_string_equal(name_of(&w, pod), "pod/" UID);
	clients_configure(w.x, other);
	assert_string_equal(name_of(&w, pod), "");
	clients_rescan(w.x);
	assert_string_equal(name_of(&w, pod), "");
	clients_configure(w.x, rules); /* a pod's address is known by its cgroup */
	assert_string_equal(name_of(&w, pod), "pod/" UID);
	clients_configure(w.x, c);
	assert_string_equal(name_of(&w, pod), "pod/" UID);
	late = make_dir(dirs[3]);
	wait_for(becomes(&w, late, "pod/" UID));
	watcher_end(&w, c);
	config_free(other);
	config_free(rules);
}

#define tree_test(f) cmocka_unit_test_setup_teardown(f, setup_steer, teardown_dirs)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pods),
		tree_test(test_who_is_there_already),
		tree_test(test_who_comes_and_goes),
		tree_test(test_who_was_left),
		tree_test(test_only_while_a_pool_asks),
	};

	uv_loop_t first;

	/* The first loop of libuv opens two descriptors that it never closes. */
	uv_loop_init(&first);
	uv_loop_close(&first);
	log_libbpf();
	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
