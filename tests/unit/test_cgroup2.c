/* SPDX-License-Identifier: Apache-2.0 */
/* Where cgroup2 is mounted: on this machine, and in mount and cgroup namespaces made for it. */
#include "../../userspace/net/cgroup2.h"

#include <linux/magic.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../../userspace/base/util.h"
#include "support_netns.h"

#define UNTOUCHED "untouched"

static int setup(void **state)
{
	(void)state;
	descriptors_before = open_descriptors();
	return 0;
}

static bool is_true_root(const char *path)
{
	char file[PATH_MAX + 32];
	struct statfs fs;

	snprintf(file, sizeof(file), "%s/cgroup.events", path);
	return !statfs(path, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC && access(file, F_OK);
}

/* Whether the true root is mounted: in most containers it is not, but a part below it. */
static bool true_root_is_mounted(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	bool found = false;

	assert_non_null(mounts);
	for (struct mntent *m; !found && (m = getmntent(mounts));)
		found = is_true_root(m->mnt_dir);
	endmntent(mounts);
	return found;
}

static void test_root_of_this_machine(void **state)
{
	char path[PATH_MAX] = "";
	int fd;

	(void)state;
	if (!true_root_is_mounted()) {
		puts("the true root of cgroup2 is not mounted here");
		fflush(stdout);
		skip();
	}
	assert_int_equal(cgroup2_root(path, sizeof(path)), 0);
	assert_true(is_true_root(path));
	fd = cgroup2_open(path);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

static void test_path_that_does_not_fit(void **state)
{
	char path[PATH_MAX] = "", small[PATH_MAX] = UNTOUCHED;
	size_t size;

	(void)state;
	assert_int_equal(cgroup2_root(path, sizeof(path)), 0);
	size = strlen(path);
	assert_int_equal(cgroup2_root(small, size), -ENAMETOOLONG);
	assert_string_equal(small, UNTOUCHED);
	assert_int_equal(cgroup2_root(small, size + 1), 0);
	assert_string_equal(small, path);
}

static void test_open_takes_cgroup2_only(void **state)
{
	(void)state;
	assert_int_equal(cgroup2_open("/proc"), -EINVAL);
	assert_int_equal(cgroup2_open("/proc/self/status"), -ENOTDIR);
	assert_int_equal(cgroup2_open("/no/such/directory"), -ENOENT);
}

/* Enters a mount namespace without cgroup2, with an empty directory /tmp. */
static int unmount_all(void)
{
	char path[PATH_MAX];

	CHECK(!unshare(CLONE_NEWNS));
	CHECK(!mount("none", "/", "", MS_REC | MS_PRIVATE, NULL));
	CHECK(!umount2("/sys/fs/cgroup", MNT_DETACH) || errno == EINVAL);
	while (!cgroup2_root(path, sizeof(path)))
		CHECK(!umount2(path, MNT_DETACH));
	CHECK(!mount("none", "/tmp", "tmpfs", 0, NULL));
	return 0;
}

static int mount_at(const char *path)
{
	CHECK(!mkdir(path, 0755) || errno == EEXIST);
	CHECK(!mount("none", path, "cgroup2", 0, NULL));
	return 0;
}

static int none_mounted(void *arg)
{
	char path[PATH_MAX] = UNTOUCHED;

	(void)arg;
	CHECK(!unmount_all());
	CHECK(cgroup2_root(path, sizeof(path)) == -ENOENT);
	CHECK(!strcmp(path, UNTOUCHED));
	return 0;
}

static void test_none_mounted(void **state)
{
	(void)state;
	run_in_child(none_mounted, NULL);
}

static int odd_place(void *arg)
{
	static const char *const odd = "/tmp/a b\\040c\n - cgroup2 ";
	char path[PATH_MAX] = "";

	(void)arg;
	CHECK(!unmount_all());
	CHECK(!mount_at(odd));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, odd));
	return 0;
}

static void test_blanks_in_the_path(void **state)
{
	(void)state;
	run_in_child(odd_place, NULL);
}

static int several(void *arg)
{
	char path[PATH_MAX] = "";

	(void)arg;
	CHECK(!unmount_all());
	CHECK(!mount_at("/tmp/first"));
	CHECK(!mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL));
	CHECK(!mount_at("/sys/fs/cgroup/unified")); /* as on a hybrid host */
	CHECK(!mount_at("/tmp/last"));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, "/sys/fs/cgroup/unified"));
	/* A cgroup2 that another mount hides is not found. */
	CHECK(!mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL));
	CHECK(!mkdir("/sys/fs/cgroup/unified", 0755));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strncmp(path, "/tmp/", 5));
	CHECK(!mount_at("/sys/fs/cgroup"));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, "/sys/fs/cgroup"));
	return 0;
}

static void test_several_mounts(void **state)
{
	(void)state;
	run_in_child(several, NULL);
}

static int enter_cgroup(const char *path)
{
	char procs[PATH_MAX];
	FILE *f;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	f = fopen(procs, "we");
	CHECK(f && fprintf(f, "0") == 1 && !fclose(f));
	return 0;
}

/* As in a container: /sys/fs/cgroup is the container's part, the host's root is elsewhere. */
static int contained(void *arg)
{
	const char *cgroup = arg;
	char path[PATH_MAX] = "", why[CGROUP2_WHY_SIZE];

	CHECK(!enter_cgroup(cgroup));
	CHECK(!unshare(CLONE_NEWCGROUP));
	CHECK(!unmount_all());
	CHECK(!mount_at("/sys/fs/cgroup"));
	CHECK(!is_true_root("/sys/fs/cgroup"));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, "/sys/fs/cgroup"));
	CHECK(cgroup2_part(why) && strstr(why, "/sys/fs/cgroup shows only a part"));
	return 0;
}

/* A bind mount of the host's root has the root "/.." inside the container. */
static int contained_with_host(void *arg)
{
	char path[PATH_MAX] = "", why[CGROUP2_WHY_SIZE];

	CHECK(!unmount_all());
	CHECK(!mount_at("/tmp/host"));
	snprintf(path, sizeof(path), "/tmp/host/%s", strrchr(arg, '/'));
	CHECK(!enter_cgroup(path));
	CHECK(!unshare(CLONE_NEWCGROUP));
	CHECK(!mount_at("/sys/fs/cgroup"));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, "/tmp/host"));
	CHECK(!cgroup2_part(why));
	return 0;
}

/* The pod's process: /sys/fs/cgroup is its own part, and /tmp/host, the node's, has the root
 * "/../..". /tmp/b, a cgroup beside the pod's, has the root "/../b". */
static int pod(void *arg)
{
	char path[PATH_MAX] = "", why[CGROUP2_WHY_SIZE];
	bool node_is_seen = *(bool *)arg;

	CHECK(!unshare(CLONE_NEWNS));
	CHECK(!enter_cgroup("/tmp/host/pods/a"));
	CHECK(!unshare(CLONE_NEWCGROUP));
	CHECK(!mount_at("/sys/fs/cgroup"));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, "/tmp/host"));
	CHECK(cgroup2_part(why) == !node_is_seen);
	CHECK(node_is_seen || strstr(why, "process 1 is outside"));
	CHECK(!umount2("/tmp/host", MNT_DETACH));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(!strcmp(path, "/sys/fs/cgroup"));
	CHECK(cgroup2_part(why));
	return 0;
}

/* As on a node of kind or k3d: it is in a cgroup namespace, and the machine's root is mounted
 * nowhere. */
static int node(void *arg, bool *is_init)
{
	int status;

	CHECK(!enter_cgroup(arg));
	CHECK(!unshare(CLONE_NEWCGROUP));
	CHECK(!unmount_all());
	CHECK(!mount_at("/tmp/host"));
	CHECK(!mkdir("/tmp/host/pods", 0755) && !mkdir("/tmp/host/pods/a", 0755));
	CHECK(!mkdir("/tmp/host/pods/b", 0755) && !mkdir("/tmp/b", 0755));
	CHECK(!mount("/tmp/host/pods/b", "/tmp/b", "", MS_BIND, NULL));
	status = in_child(pod, is_init);
	CHECK(!umount2("/tmp/b", MNT_DETACH));
	CHECK(!rmdir("/tmp/host/pods/b") && !rmdir("/tmp/host/pods/a") && !rmdir("/tmp/host/pods"));
	CHECK(!status);
	return 0;
}

/* The machine's process 1 is not the node's. */
static int node_beside_machine(void *arg)
{
	bool is_init = false;

	return node(arg, &is_init);
}

static int node_init(void *arg)
{
	bool is_init = true;

	return node(arg, &is_init);
}

static int node_with_own_pids(void *arg)
{
	struct child c = {node_init, arg};

	return with_own_pids(&c);
}

/* Without hostPID, process 1 is the container's own. */
static int alone(void *arg)
{
	char path[PATH_MAX] = "", why[CGROUP2_WHY_SIZE];

	CHECK(!enter_cgroup(arg));
	CHECK(!unshare(CLONE_NEWCGROUP));
	CHECK(!unmount_all());
	CHECK(!mount_at("/sys/fs/cgroup"));
	CHECK(!cgroup2_root(path, sizeof(path)));
	CHECK(cgroup2_part(why) && strstr(why, "pintled's own container"));
	/* With cgroups below, it is a node that pintled runs on, not a container of its own. */
	CHECK(!mkdir("/sys/fs/cgroup/a", 0755));
	CHECK(!cgroup2_part(why));
	CHECK(!rmdir("/sys/fs/cgroup/a"));
	return 0;
}

static int alone_with_own_pids(void *arg)
{
	struct child c = {alone, arg};

	return with_own_pids(&c);
}

/* As a node: what kubelet's drivers make, in order; the last one is where the processes are. */
static int pods_of(const char *first, const char *last)
{
	char path[PATH_MAX] = UNTOUCHED;

	CHECK(!mkdir(first, 0755));
	CHECK(!cgroup2_kubepods(path, sizeof(path)));
	CHECK(!strcmp(path, first));
	CHECK(!mkdir(last, 0755));
	CHECK(!enter_cgroup(last));
	CHECK(!cgroup2_kubepods(path, sizeof(path)));
	CHECK(!strcmp(path, last));
	CHECK(!enter_cgroup("/tmp/host"));
	CHECK(!rmdir(first) && !rmdir(last));
	return 0;
}

static int node_with_pods(void *arg)
{
	char path[PATH_MAX] = UNTOUCHED, small[16] = UNTOUCHED;

	CHECK(!enter_cgroup(arg));
	CHECK(!unshare(CLONE_NEWCGROUP));
	CHECK(!unmount_all());
	CHECK(!mount_at("/tmp/host"));
	CHECK(cgroup2_kubepods(path, sizeof(path)) == -ENOENT);
	CHECK(!strcmp(path, UNTOUCHED));
	CHECK(!pods_of("/tmp/host/kubepods.slice", "/tmp/host/kubepods"));
	CHECK(!pods_of("/tmp/host/kubepods", "/tmp/host/kubepods.slice"));
	CHECK(!mkdir("/tmp/host/kubelet.slice", 0755));
	CHECK(!pods_of("/tmp/host/kubelet.slice/kubelet-kubepods.slice", "/tmp/host/kubepods"));
	CHECK(!mkdir("/tmp/host/kubelet", 0755));
	CHECK(!mkdir("/tmp/host/kubelet/kubepods", 0755));
	CHECK(cgroup2_kubepods(small, sizeof(small)) == -ENAMETOOLONG);
	CHECK(!strcmp(small, UNTOUCHED));
	CHECK(!rmdir("/tmp/host/kubelet/kubepods") && !rmdir("/tmp/host/kubelet"));
	CHECK(!rmdir("/tmp/host/kubelet.slice"));
	return 0;
}

static void in_cgroup(int (*fn)(void *arg))
{
	char root[PATH_MAX], cgroup[PATH_MAX + 32];
	int status;

	assert_int_equal(cgroup2_root(root, sizeof(root)), 0);
	snprintf(cgroup, sizeof(cgroup), "%s/pintle-test-cgroup2-%d", root, (int)getpid());
	assert_int_equal(mkdir(cgroup, 0755), 0);
	status = in_child(fn, cgroup);
	assert_int_equal(rmdir(cgroup), 0);
	assert_int_equal(status, 0);
}

static void test_part_of_the_hierarchy(void **state)
{
	(void)state;
	in_cgroup(contained);
}

static void test_hosts_root_is_preferred(void **state)
{
	(void)state;
	in_cgroup(contained_with_host);
}

static void test_node_in_a_cgroup_namespace(void **state)
{
	(void)state;
	in_cgroup(node_with_own_pids);
	in_cgroup(node_beside_machine);
}

static void test_where_a_kubelet_has_its_pods(void **state)
{
	(void)state;
	in_cgroup(node_with_pods);
}

static void test_own_container_only(void **state)
{
	(void)state;
	in_cgroup(alone_with_own_pids);
}

/* ---- walking --------------------------------------------------------------------------- */

struct seen {
	char paths[256];
	int depth, left;
};

static bool see(void *arg, const struct cgroup2_visit *v)
{
	struct seen *s = arg;
	struct stat st;

	assert_int_equal(fstat(v->fd, &st), 0);
	assert_int_equal(st.st_ino, v->id);
	s->depth = MAX(s->depth, v->depth);
	strcat(s->paths, v->path);
	strcat(s->paths, " ");
	return --s->left > 0;
}

static int walk_what_is_there(void *arg)
{
	const char *cgroup = arg;
	char child[PATH_MAX], inner[PATH_MAX + 8];
	struct seen s = {.left = 100};

	snprintf(child, sizeof(child), "%s/.a", cgroup);
	snprintf(inner, sizeof(inner), "%s/b", child);
	CHECK(!mkdir(child, 0755) && !mkdir(inner, 0755));
	CHECK(!cgroup2_walk(cgroup, "", see, &s));
	CHECK(!strcmp(s.paths, "/ /.a /.a/b ") && s.depth == 2);
	s = (struct seen){.left = 100};
	CHECK(!cgroup2_walk(cgroup, "/x", see, &s));
	CHECK(!strcmp(s.paths, "/x /x/.a /x/.a/b "));
	s = (struct seen){.left = 2};
	CHECK(cgroup2_walk(cgroup, "", see, &s) == -ECANCELED);
	CHECK(!strcmp(s.paths, "/ /.a "));
	CHECK(!rmdir(inner) && !rmdir(child));
	CHECK(cgroup2_walk(child, "", see, &s) == -ENOENT);
	return 0;
}

static void test_walk(void **state)
{
	(void)state;
	in_cgroup(walk_what_is_there);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown_netns)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_root_of_this_machine),       test(test_path_that_does_not_fit),
		test(test_open_takes_cgroup2_only),    test(test_none_mounted),
		test(test_blanks_in_the_path),         test(test_several_mounts),
		test(test_part_of_the_hierarchy),      test(test_hosts_root_is_preferred),
		test(test_node_in_a_cgroup_namespace), test(test_where_a_kubelet_has_its_pods),
		test(test_own_container_only),         test(test_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
