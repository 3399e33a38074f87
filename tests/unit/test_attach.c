/* SPDX-License-Identifier: Apache-2.0 */
/* Pins in every state that a crash, an unfinished detach or an operator may leave: what a start
 * makes of them, and that a detach leaves nothing. */
#include "../../userspace/pintled/attach/tend.h"
#include "support_steer.h"

#define ANNOUNCED                                                                                  \
	POOL("a", "10.77.0.1:8000", "announce: true, " SERVERS(AT("e0", 8001) "," AT("e1", 8002)))

static void assert_nothing_left(void)
{
	assert_int_equal(lookups_attached(), 0);
	assert_int_equal(sockops_attached(), 0);
	assert_int_equal(routes_there(), 0);
	assert_int_equal(access(BPFFS, F_OK), -1);
}

static void assert_attached_once(void)
{
	assert_int_equal(lookups_attached(), 1);
	assert_int_equal(sockops_attached(), 1);
}

/* Attaches, and ends without detaching, as a daemon that crashed. */
static void attach_and_leave(void)
{
	struct steer s;

	steer_start(&s, ANNOUNCED, true);
	steer_end(&s);
	assert_attached_once();
	assert_int_equal(routes_there(), 1);
}

static int start_again(struct steer *s)
{
	*s = (struct steer){.c = config_with("", ANNOUNCED)};
	return attachment_prepare(s->c, NULL, &s->a);
}

/* A start finds the pins that are expected, and attaches. */
static void assert_starts(bool resumed)
{
	struct steer s;

	assert_int_equal(start_again(&s), 0);
	s.m = attachment_ground(s.a)->maps;
	assert_int_equal(attachment_ground(s.a)->resumed, resumed);
	if (!resumed)
		assert_int_equal(steer_publish(&s, ANNOUNCED), 0);
	assert_int_equal(attachment_commit(s.a, s.c), 0);
	if (resumed)
		assert_int_equal(steer_publish(&s, ANNOUNCED), 0);
	steer_end(&s);
	assert_attached_once();
	assert_int_equal(routes_there(), 1);
}

static void assert_refused(int error)
{
	struct steer s;

	assert_int_equal(start_again(&s), error);
	steer_end(&s);
}

static void assert_detaches(void)
{
	assert_int_equal(detach(BPFFS, false), 0);
	assert_nothing_left();
}

/* ---- starts that fail -------------------------------------------------------------------- */

static void test_a_start_that_is_given_up(void **state)
{
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, false);
	assert_int_equal(routes_there(), 1);
	steer_end(&s);
	assert_nothing_left();
}

/* The last step fails, when both hooks are attached already. */
static void fail_to_commit(struct steer *s)
{
	steer_start(s, ANNOUNCED, false);
	assert_int_equal(mkdir(PINS, 0750), 0);
	assert_int_equal(mkdir(PINS "/obstacle", 0750), 0);
	assert_true(attachment_commit(s->a, s->c) < 0);
	assert_attached_once();
}

static void clear_obstacle(void)
{
	assert_int_equal(rmdir(PINS "/obstacle"), 0);
	assert_int_equal(rmdir(PINS), 0);
}

static void test_a_commit_that_fails(void **state)
{
	struct steer s;

	(void)state;
	fail_to_commit(&s);
	clear_obstacle();
	steer_end(&s);
	assert_nothing_left();
}

static int crash_in_commit(void *arg)
{
	struct steer s;

	(void)arg;
	fail_to_commit(&s);
	clear_obstacle();
	return 0; /* by _exit() */
}

static void test_a_crash_in_commit_then_detach(void **state)
{
	(void)state;
	assert_int_equal(in_child(crash_in_commit, NULL), 0);
	assert_attached_once();
	assert_int_equal(routes_there(), 1);
	assert_detaches();
}

static void test_a_crash_in_commit_then_start(void **state)
{
	(void)state;
	assert_int_equal(in_child(crash_in_commit, NULL), 0);
	assert_starts(false);
	assert_int_equal(access(BPFFS "/new", F_OK), -1);
	assert_detaches();
}

static int crash_in_staging(void *arg)
{
	struct steer s;

	(void)arg;
	steer_start(&s, ANNOUNCED, false);
	assert_int_equal(unlink(BPFFS "/new/frontends"), 0);
	assert_int_equal(unlink(BPFFS "/new/tap"), 0);
	return 0;
}

static void test_a_crash_in_staging(void **state)
{
	(void)state;
	assert_int_equal(in_child(crash_in_staging, NULL), 0);
	assert_starts(false);
	assert_detaches();
}

/* ---- pins that were changed -------------------------------------------------------------- */

static void test_detach_takes_all_and_again_nothing(void **state)
{
	(void)state;
	attach_and_leave();
	assert_detaches();
	assert_detaches();
}

static void test_a_second_one_is_refused(void **state)
{
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, true);
	assert_refused(-EBUSY);
	assert_int_equal(detach(BPFFS, false), -EBUSY);
	assert_attached_once();
	assert_int_equal(routes_there(), 1);
	steer_end(&s);
}

static void test_a_link_is_missing(void **state)
{
	static const char *const links[] = {PINS "/link_lookup", PINS "/link_sockops_servers"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		attach_and_leave();
		assert_int_equal(unlink(links[i]), 0);
		wait_for(lookups_attached() + sockops_attached() == 1);
		assert_starts(true);
		assert_int_equal(unlink(links[i]), 0);
		/* The kernel frees a link a moment after its last reference. */
		wait_for(lookups_attached() + sockops_attached() == 1);
		assert_detaches();
	}
}

static void test_both_links_are_missing(void **state)
{
	(void)state;
	attach_and_leave();
	assert_int_equal(unlink(PINS "/link_lookup"), 0);
	assert_int_equal(unlink(PINS "/link_sockops_servers"), 0);
	wait_for(lookups_attached() + sockops_attached() == 0);
	assert_starts(true);
	assert_detaches();
}

static void test_links_that_were_detached_by_force(void **state)
{
	static const char *const links[] = {PINS "/link_lookup", PINS "/link_sockops_servers"};

	(void)state;
	attach_and_leave();
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		int fd = bpf_obj_get(links[i]);

		assert_int_equal(bpf_link_detach(fd), 0);
		close(fd);
	}
	assert_int_equal(lookups_attached() + sockops_attached(), 0);
	assert_starts(true);
	assert_detaches();
}

static uint32_t map_id(const char *path)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	int fd = bpf_obj_get(path);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	close(fd);
	return info.id;
}

/* A map that an attached program uses is found again through the program, with its entries. */
static void test_a_map_is_missing(void **state)
{
	static const char *const maps[] = {PINS "/affinity", PINS "/node", PINS "/sockets"};
	uint32_t ids[ARRAY_SIZE(maps)];

	(void)state;
	attach_and_leave();
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		ids[i] = map_id(maps[i]);
		assert_int_equal(unlink(maps[i]), 0);
	}
	assert_starts(true);
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
		assert_int_equal(map_id(maps[i]), ids[i]);
	assert_detaches();
}

/* No program uses `names`, so the map is lost with its pin. */
static void test_a_map_is_missing_for_good(void **state)
{
	_cleanup_free_ char *told = NULL;

	(void)state;
	attach_and_leave();
	assert_int_equal(unlink(PINS "/names"), 0);
	told_begin();
	assert_starts(false);
	told = told_end();
	assert_int_equal(count_text(told, "/names is missing"), 1);
	assert_int_equal(count_text(told, "starting afresh"), 1);
	assert_detaches();
}

/* ---- while the daemon runs ---------------------------------------------------------------- */

static bool pinned(const char *path)
{
	return !access(path, F_OK);
}

/* The daemon holds all maps and links, so a pin that is removed loses nothing, and is pinned again.
 */
static void test_pins_are_put_back(void **state)
{
	static const char *const pins[] = {PINS "/link_lookup", PINS "/link_sockops_servers",
					   PINS "/names"};
	_cleanup_free_ char *told = NULL;
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, true);
	told_begin();
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
		uint32_t before = i == 2 ? map_id(pins[i]) : 0;

		assert_int_equal(unlink(pins[i]), 0);
		assert_attached_once();
		assert_false(attachment_tend(s.a, s.c));
		assert_true(pinned(pins[i]));
		assert_true(!before || map_id(pins[i]) == before);
		assert_attached_once();
	}
	told = told_end();
	assert_int_equal(count_text(told, "1 pin in " PINS " was removed, and put back"), 3);
	assert_null(attachment_lost(s.a));
	steer_end(&s);
	assert_attached_once();
	assert_detaches();
}

static void remove_directory(const char *dir)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void test_the_directory_is_put_back(void **state)
{
	static const char *const dirs[] = {PINS, BPFFS};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct steer s;

		steer_start(&s, ANNOUNCED, true);
		remove_directory(dirs[i]);
		assert_false(attachment_tend(s.a, s.c));
		assert_attached_once();
		assert_true(pins_whole(PINS) && pins_steer(PINS));
		assert_int_equal(detach(BPFFS, false), -EBUSY); /* the directory is locked again */
		steer_end(&s);
		assert_starts(true);
		assert_detaches();
	}
}

static bool hook_attached(const struct steer *s, enum link_id id)
{
	bool attached;

	assert_true(attachment_hook(s->a, s->c, id, &attached));
	return attached;
}

static void test_hooks_detached_by_force_are_attached_again(void **state)
{
	static const char *const links[] = {PINS "/link_lookup", PINS "/link_sockops_servers"};
	_cleanup_free_ char *told = NULL;
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, true);
	told_begin();
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		int fd = bpf_obj_get(links[i]);

		assert_int_equal(bpf_link_detach(fd), 0);
		close(fd);
		assert_true(attachment_tend(s.a, s.c));
		assert_attached_once();
		assert_true(hook_attached(&s, i ? LINK_SERVERS : LINK_LOOKUP));
		assert_false(attachment_tend(s.a, s.c)); /* there is nothing left to do */
	}
	told = told_end();
	assert_int_equal(count_text(told, "lost, and attached again: lookup"), 1);
	assert_int_equal(count_text(told, "lost, and attached again: sockops_servers"), 1);
	steer_end(&s);
	assert_detaches();
}

static void take(enum link_id id)
{
	char pin[PATH_MAX];
	int fd;

	snprintf(pin, sizeof(pin), PINS "/%s", link_kinds[id].pin);
	fd = bpf_obj_get(pin);
	assert_int_equal(bpf_link_detach(fd), 0);
	close(fd);
}

/* A hook that is taken away a fourth time within ten minutes is let be; others, and pins, are not.
 */
static void test_a_hook_that_is_taken_again_and_again(void **state)
{
	_cleanup_free_ char *told = NULL;
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, true);
	told_begin();
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(attachment_put_back(s.a, LINK_LOOKUP), i);
		take(LINK_LOOKUP);
		assert_true(attachment_tend(s.a, s.c));
		assert_null(attachment_lost(s.a));
	}
	take(LINK_LOOKUP);
	wait_for((attachment_tend(s.a, s.c), attachment_lost(s.a)));
	assert_non_null(strstr(attachment_lost(s.a), "not attached: lookup (taken away again"));
	assert_false(hook_attached(&s, LINK_LOOKUP));
	assert_int_equal(attachment_put_back(s.a, LINK_LOOKUP), 3);
	take(LINK_SERVERS);
	assert_int_equal(unlink(PINS "/names"), 0);
	wait_for((attachment_tend(s.a, s.c), attachment_put_back(s.a, LINK_SERVERS) == 1));
	assert_true(pinned(PINS "/names"));
	assert_int_equal(attachment_put_back(s.a, LINK_LOOKUP), 3);
	assert_int_equal(lookups_attached(), 0);
	told = told_end();
	assert_int_equal(count_text(told, "taken away again"), 1);
	steer_end(&s);
	assert_starts(true); /* a start ends the rest */
	assert_attached_once();
	assert_detaches();
}

static void test_when_a_hook_may_be_put_back(void **state)
{
	const uint64_t minute = 60 * NSEC_PER_SEC;
	struct tend t;

	(void)state;
	tend_begin(&t);
	for (uint64_t i = 0; i < 3; i++) {
		assert_true(tend_may_put_back(&t, LINK_LOOKUP, i * minute));
		tend_put_back(&t, LINK_LOOKUP, i * minute);
	}
	assert_false(tend_may_put_back(&t, LINK_LOOKUP, 10 * minute - 1));
	assert_true(tend_may_put_back(&t, LINK_SERVERS, 3 * minute));
	assert_true(tend_may_put_back(&t, LINK_LOOKUP, 10 * minute));
	tend_put_back(&t, LINK_LOOKUP, 10 * minute);
	assert_false(tend_may_put_back(&t, LINK_LOOKUP, 11 * minute - 1));
	assert_true(tend_may_put_back(&t, LINK_LOOKUP, 11 * minute));
}

/* Programs need their cgroup: they are attached again as soon as a cgroup exists at that path. */
static void test_a_cgroup_that_comes_back(void **state)
{
	_cleanup_free_ char *told = NULL;
	bool again = false;
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, true);
	join_cgroup(cgroup_home);
	assert_int_equal(rmdir(cgroup), 0);
	wait_for(!pins_cgroup(PINS));
	told_begin();
	wait_for((attachment_tend(s.a, s.c), attachment_lost(s.a)));
	for (int i = 0; i < 3; i++)
		assert_false(attachment_tend(s.a, s.c));
	told = told_end();
	assert_int_equal(count_text(told, "not attached: sockops_servers (the cgroup"), 1);
	assert_false(hook_attached(&s, LINK_SERVERS));
	assert_true(hook_attached(&s, LINK_LOOKUP));
	assert_non_null(strstr(attachment_lost(s.a), "sockops"));

	assert_int_equal(mkdir(cgroup, 0755), 0);
	wait_for(again |= attachment_tend(s.a, s.c));
	assert_attached_once();
	assert_null(attachment_lost(s.a));
	assert_true(hook_attached(&s, LINK_SERVERS));
	join_cgroup(cgroup);
	steer_end(&s);
	assert_detaches();
}

static void test_a_detach_was_killed(void **state)
{
	(void)state;
	attach_and_leave();
	assert_int_equal(unlink(PINS "/link_lookup"), 0);
	assert_int_equal(unlink(PINS "/link_sockops_servers"), 0);
	assert_int_equal(unlink(PINS "/scores"), 0);
	wait_for(lookups_attached() + sockops_attached() == 0);
	assert_starts(false);
	assert_detaches();

	/* Let the last step fail. */
	assert_int_equal(mkdir(BPFFS, 0750), 0);
	assert_int_equal(mkdir(PINS, 0750), 0);
	assert_starts(false);
	assert_detaches();
	assert_int_equal(mkdir(BPFFS, 0750), 0);
	assert_int_equal(mkdir(PINS, 0750), 0);
	assert_detaches();
}

/* A detach names the routes that may not be Pintle's, and removes the others. */
static void test_the_map_of_frontends_is_missing(void **state)
{
	_cleanup_free_ char *told = NULL;
	struct frontend_addr f;

	(void)state;
	attach_and_leave();
	assert_int_equal(unlink(PINS "/frontends"), 0);
	told_begin();
	assert_int_equal(detach(BPFFS, false), 0);
	told = told_end();
	assert_int_equal(count_text(told, "proto 112"), 1);
	assert_int_equal(lookups_attached() + sockops_attached(), 0);
	assert_int_equal(access(BPFFS, F_OK), -1);
	assert_int_equal(addr_parse_frontend("10.77.0.1:8000", &f, NULL), 0);
	assert_int_equal(routes_remove_local(-1, &f), 0);
}

static void test_pins_of_another_layout(void **state)
{
	(void)state;
	attach_and_leave();
	assert_int_equal(rename(PINS, BPFFS "/v9"), 0);
	assert_refused(-EPROTO);
	assert_attached_once();
	assert_detaches();
}

/* Files that are not Pintle's stay, and so does the directory. */
static void test_somebody_elses_pins(void **state)
{
	int fd;

	(void)state;
	attach_and_leave();
	fd = bpf_obj_get(PINS "/node");
	assert_int_equal(bpf_obj_pin(fd, BPFFS "/other"), 0);
	close(fd);
	assert_int_equal(detach(BPFFS, false), 0);
	assert_int_equal(access(BPFFS "/other", F_OK), 0);
	assert_int_equal(access(PINS, F_OK), -1);
	assert_int_equal(unlink(BPFFS "/other"), 0);
	assert_int_equal(rmdir(BPFFS), 0);
	assert_nothing_left();
}

/* ---- other places -------------------------------------------------------------------------- */

static void test_another_network_namespace(void **state)
{
	int first = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	(void)state;
	attach_and_leave();
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	set_lo(true);
	assert_refused(-EXDEV);

	/* From this namespace a detach reaches the other one, and its routes, through its
	 * processes. */
	enter_netns(first);
	close(first);
	assert_attached_once();
	assert_detaches();
}

static int attach_elsewhere(void *arg)
{
	(void)arg;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	set_lo(true);
	attach_and_leave();
	return 0;
}

/* A pod came back in a new namespace: the link to its old namespace steers nothing. */
static void test_the_network_namespace_is_gone(void **state)
{
	(void)state;
	assert_int_equal(in_child(attach_elsewhere, NULL), 0);
	wait_for(!pins_steer(PINS));
	assert_starts(false);
	assert_detaches();

	assert_int_equal(in_child(attach_elsewhere, NULL), 0);
	wait_for(!pins_steer(PINS));
	assert_detaches();
}

static void test_another_cgroup(void **state)
{
	char mine[PINTLE_TEXT_SIZE], other[PINTLE_TEXT_SIZE];

	(void)state;
	attach_and_leave();
	snprintf(mine, sizeof(mine), "%.100s", cgroup);
	snprintf(other, sizeof(other), "%.100s-other", cgroup);
	assert_int_equal(mkdir(other, 0755), 0);
	snprintf(cgroup, sizeof(cgroup), "%s", other);
	assert_refused(-EXDEV);
	snprintf(cgroup, sizeof(cgroup), "%s", mine);
	assert_attached_once();
	assert_starts(true);
	assert_int_equal(rmdir(other), 0);
	assert_detaches();
}

static void test_the_cgroup_is_gone(void **state)
{
	(void)state;
	attach_and_leave();
	join_cgroup(cgroup_home);
	assert_int_equal(rmdir(cgroup), 0);
	assert_int_equal(mkdir(cgroup, 0755), 0);
	join_cgroup(cgroup);
	wait_for(!pins_cgroup(PINS));
	assert_int_equal(sockops_attached(), 0);
	assert_starts(true);
	assert_detaches();
}

/* ---- the map `node` -------------------------------------------------------------------------- */

static void test_the_node_is_described_when_it_is_so(void **state)
{
	struct pintle_node before, *n;
	struct steer s;

	(void)state;
	attach_and_leave();
	s = (struct steer){.c = config_with(", metrics: \"127.0.0.1:9999\"", ANNOUNCED)};
	assert_int_equal(attachment_prepare(s.c, NULL, &s.a), 0);
	n = attachment_ground(s.a)->maps->node;
	n->pid = 1;
	n->started_ns = n->heartbeat_ns = 7;
	before = *n;
	/* Until here the start may still fail. */
	assert_true(!memcmp(&before, n, sizeof(before)));
	assert_int_equal(attachment_commit(s.a, s.c), 0);
	assert_int_equal(n->pid, getpid());
	assert_true(n->started_ns > 7);
	assert_int_equal(n->heartbeat_ns, 7);
	assert_int_equal(n->attached_ns, before.attached_ns);
	assert_string_equal(n->metrics, "127.0.0.1:9999");
	assert_string_equal(n->cgroup, cgroup);
	steer_end(&s);
}

static void test_of_a_long_path_the_end_is_told(void **state)
{
	char path[600], *end;
	struct steer s = {.c = config_with("", ANNOUNCED)};

	(void)state;
	memset(path, 'x', sizeof(path));
	strcpy(path + sizeof(path) - sizeof("/pintle.yaml"), "/pintle.yaml");
	free(s.c->path);
	s.c->path = strdup(path);
	assert_int_equal(attachment_prepare(s.c, NULL, &s.a), 0);
	s.m = attachment_ground(s.a)->maps;
	assert_int_equal(strlen(s.m->node->config), PINTLE_TEXT_SIZE - 1);
	assert_true(!strncmp(s.m->node->config, "...x", 4));
	end = strstr(s.m->node->config, "x/pintle.yaml");
	assert_non_null(end);
	assert_int_equal(strlen(end), strlen("x/pintle.yaml"));
	steer_end(&s);
}

static gid_t group_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_gid;
}

static void test_another_group_at_a_restart(void **state)
{
	struct steer s;

	(void)state;
	attach_and_leave();
	assert_int_equal(group_of(PINS "/scores"), 0);
	s = (struct steer){.c = config_with(", group: \"4242\"", ANNOUNCED)};
	assert_int_equal(attachment_prepare(s.c, NULL, &s.a), 0);
	assert_int_equal(attachment_commit(s.a, s.c), 0);
	assert_int_equal(attachment_ground(s.a)->maps->node->group, 4242);
	steer_end(&s);
	assert_int_equal(group_of(BPFFS), 4242);
	assert_int_equal(group_of(PINS), 4242);
	assert_int_equal(group_of(PINS "/scores"), 4242);
	assert_int_equal(group_of(PINS "/link_lookup"), 4242);
	assert_detaches();
}

static void test_a_restart_replaces_the_programs(void **state)
{
	struct bpf_link_info before = {}, after = {};
	__u32 size = sizeof(before);
	int fd;

	(void)state;
	attach_and_leave();
	fd = bpf_obj_get(PINS "/link_sockops_servers");
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &before, &size), 0);
	assert_starts(true);
	size = sizeof(after);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &after, &size), 0);
	close(fd);
	assert_int_equal(before.id, after.id);
	assert_int_not_equal(before.prog_id, after.prog_id);
	assert_detaches();
}

/* ---- links of the connect hook --------------------------------------------------------------- */

#define CONNECT(more)                                                                              \
	POOL("b", "127.77.0.2:8000", more SERVERS("{name: e0, address: \"127.0.0.1:8001\"}"))

static bool is_program(__u32 id, const char *name)
{
	int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	close(fd);
	return !strcmp(info.name, name);
}

/* One letter for each of Pintle's programs on the cgroup: S sockops of servers, s of clients, C
 * connect4, c connect6, r sock_release, p and P getpeername, h setsockopt. */
static const char *on_cgroup(void)
{
	static const struct {
		enum bpf_attach_type type;
		char letter;
		const char *program;
	} kinds[] = {{BPF_CGROUP_SOCK_OPS, 'S', "pintle_servers"},
		     {BPF_CGROUP_SOCK_OPS, 's', "pintle_clients"},
		     {BPF_CGROUP_INET4_CONNECT, 'C', "pintle_connect4"},
		     {BPF_CGROUP_INET6_CONNECT, 'c', "pintle_connect6"},
		     {BPF_CGROUP_INET_SOCK_RELEASE, 'r', "pintle_release"},
		     {BPF_CGROUP_INET4_GETPEERNAME, 'p', "pintle_getpeern"},
		     {BPF_CGROUP_INET6_GETPEERNAME, 'P', "pintle_getpeern"},
		     {BPF_CGROUP_SETSOCKOPT, 'h', "pintle_hint"}};
	static char text[64];
	int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		__u32 ids[8], n = ARRAY_SIZE(ids);

		assert_int_equal(bpf_prog_query(fd, kinds[i].type, 0, NULL, ids, &n), 0);
		while (n--)
			if (is_program(ids[n], kinds[i].program))
				text[at++] = kinds[i].letter;
	}
	close(fd);
	text[at] = '\0';
	return text;
}

/* Reloads as the daemon does. */
static void reload(struct steer *s, const char *pools)
{
	struct config *c = config_with("", pools);

	assert_int_equal(attachment_extend(s->a, c), 0);
	config_free(c);
	assert_int_equal(steer_publish(s, pools), 0);
	attachment_trim(s->a, s->c);
}

static void test_links_come_and_go_with_pools(void **state)
{
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED, true);
	assert_string_equal(on_cgroup(), "S");
	reload(&s, ANNOUNCED CONNECT(""));
	assert_string_equal(on_cgroup(), "SsCcrpP");
	assert_int_equal(close(listen_at("127.0.0.1", 8001)), 0);
	reload(&s, CONNECT("stickiness: {key: hint}, "));
	assert_string_equal(on_cgroup(), "sCcrpPh");
	reload(&s, CONNECT("stickiness: {group: hint}, "));
	assert_string_equal(on_cgroup(), "sCcrpPh");
	reload(&s, CONNECT(""));
	assert_string_equal(on_cgroup(), "sCcrpP");
	reload(&s, ANNOUNCED);
	assert_string_equal(on_cgroup(), "S");
	assert_attached_once();
	reload(&s, CONNECT(""));
	steer_end(&s);
	assert_string_equal(on_cgroup(), "sCcrpP");
	assert_detaches();
	assert_string_equal(on_cgroup(), "");
}

static uint32_t connect_program(void)
{
	int fd = bpf_obj_get(PINS "/link_connect4");
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	close(fd);
	return info.prog_id;
}

/* Programs that stay are replaced, new ones are added, and those without a pool are removed. */
static void test_links_over_restarts(void **state)
{
	static const struct {
		const char *pools, *there, *then;
	} steps[] = {
		{CONNECT(""), "sCcrpP", "sCcrpP"},
		{CONNECT("stickiness: {key: hint}, "), "sCcrpPh", "sCcrpPh"},
		{ANNOUNCED, "SsCcrpPh", "S"},
		{CONNECT(""), "SsCcrpP", "sCcrpP"},
	};
	uint32_t before;
	struct steer s;

	(void)state;
	steer_start(&s, CONNECT(""), true);
	steer_end(&s);
	before = connect_program();
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		steer_prepare(&s, steps[i].pools);
		assert_true(attachment_ground(s.a)->resumed);
		assert_int_equal(attachment_commit(s.a, s.c), 0);
		assert_string_equal(on_cgroup(), steps[i].there);
		if (!i)
			assert_int_not_equal(connect_program(), before);
		s.p = NULL;
		assert_int_equal(steer_publish(&s, steps[i].pools), 0);
		attachment_trim(s.a, s.c);
		assert_string_equal(on_cgroup(), steps[i].then);
		steer_end(&s);
	}
	assert_detaches();
	assert_string_equal(on_cgroup(), "");
}

static void test_a_connection_of_the_connect_hook(void **state)
{
	int server, client, child;
	struct pintle_counters *n;
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	struct steer s;

	(void)state;
	steer_start(&s, CONNECT(""), true);
	n = &s.m->inflight[s.p->pools[0].endpoints[0].id].by_class[0];
	server = listen_at("127.0.0.1", 8001);
	/* After so long without a daemon, pods may have moved. */
	s.m->node->daemonless_ns = 1;
	assert_true(connect_to("127.77.0.2", 8000) < 0);
	assert_int_equal(n->placed, 0);
	s.m->node->daemonless_ns = 0;
	s.m->node->heartbeat_ns = monotonic_ns() - 60 * NSEC_PER_SEC;

	client = connect_to("127.77.0.2", 8000);
	assert_true(client >= 0);
	child = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_true(child >= 0);
	assert_int_equal(getpeername(client, (struct sockaddr *)&peer, &size), 0);
	assert_int_equal(ntohl(peer.sin_addr.s_addr), 0x7f4d0002);
	assert_int_equal(n->placed, 1);
	assert_int_equal(n->opened, 1);
	close(client);
	wait_for(n->closed == 1);
	close(child);
	close(server);
	steer_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_a_start_that_is_given_up),
		steer_test(test_a_commit_that_fails),
		steer_test(test_a_crash_in_commit_then_detach),
		steer_test(test_a_crash_in_commit_then_start),
		steer_test(test_a_crash_in_staging),
		steer_test(test_detach_takes_all_and_again_nothing),
		steer_test(test_a_second_one_is_refused),
		steer_test(test_a_link_is_missing),
		steer_test(test_both_links_are_missing),
		steer_test(test_links_that_were_detached_by_force),
		steer_test(test_a_map_is_missing),
		steer_test(test_a_map_is_missing_for_good),
		steer_test(test_pins_are_put_back),
		steer_test(test_the_directory_is_put_back),
		steer_test(test_hooks_detached_by_force_are_attached_again),
		steer_test(test_a_hook_that_is_taken_again_and_again),
		steer_test(test_when_a_hook_may_be_put_back),
		steer_test(test_a_cgroup_that_comes_back),
		steer_test(test_a_detach_was_killed),
		steer_test(test_the_map_of_frontends_is_missing),
		steer_test(test_pins_of_another_layout),
		steer_test(test_somebody_elses_pins),
		steer_test(test_another_network_namespace),
		steer_test(test_the_network_namespace_is_gone),
		steer_test(test_another_cgroup),
		steer_test(test_the_cgroup_is_gone),
		steer_test(test_the_node_is_described_when_it_is_so),
		steer_test(test_of_a_long_path_the_end_is_told),
		steer_test(test_another_group_at_a_restart),
		steer_test(test_a_restart_replaces_the_programs),
		steer_test(test_links_come_and_go_with_pools),
		steer_test(test_links_over_restarts),
		steer_test(test_a_connection_of_the_connect_hook),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
