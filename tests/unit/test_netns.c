/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces: opened, entered for a socket, left again, found by inode. */
#include "../../userspace/net/netns.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../../userspace/base/util.h"
#include "support_netns.h"

#define NOBODY_ID 65534

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size), 0);
	return cookie;
}

static uint64_t inode_here(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/thread-self/ns/net", &st), 0);
	return st.st_ino;
}

static void test_open_takes_network_namespaces_only(void **state)
{
	char directory[] = "/tmp/pintle-test-netns-XXXXXX", fifo[64];
	int fd = netns_open("/proc/self/ns/net");

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	assert_int_equal(netns_open("/proc/self/ns/mnt"), -EINVAL);
	assert_int_equal(netns_open("/proc/self/status"), -EINVAL);
	assert_int_equal(netns_open("/dev/null"), -EINVAL);
	assert_int_equal(netns_open("/proc"), -EINVAL);
	assert_int_equal(netns_open("/no/such/file"), -ENOENT);
	/* Opening a FIFO without a writer must not block. */
	assert_non_null(mkdtemp(directory));
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	fd = netns_open(fifo);
	unlink(fifo);
	rmdir(directory);
	assert_int_equal(fd, -EINVAL);
}

static void test_inode(void **state)
{
	uint64_t own = 0, same = 0, untouched = 1;
	int fd = netns_open("/proc/self/ns/net");

	(void)state;
	assert_int_equal(netns_inode(-1, &own), 0);
	assert_int_equal(netns_inode(fd, &same), 0);
	close(fd);
	assert_int_equal(own, inode_here());
	assert_int_equal(same, own);
	assert_int_equal(netns_inode(1000, &untouched), -EBADF);
	assert_int_equal(untouched, 1);
}

static void test_socket_is_made_there(void **state)
{
	int here = netns_open("/proc/self/ns/net"), there = new_netns();
	int fd = netns_socket(-1, AF_INET, SOCK_STREAM, 0);
	uint64_t inode, cookie = 0, own = 0, cookie_there = cookie_of(fd);

	(void)state;
	close(fd);
	enter_netns(here);
	inode = inode_here();
	fd = netns_socket(there, AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(cookie_of(fd), cookie_there);
	assert_int_equal(inode_here(), inode);
	assert_int_equal(netns_cookie(there, &cookie), 0);
	assert_int_equal(cookie, cookie_there);
	assert_int_equal(netns_cookie(-1, &own), 0);
	assert_int_not_equal(own, cookie_there);
	assert_int_equal(netns_cookie(here, &cookie), 0);
	assert_int_equal(cookie, own);
	close(fd);
	close(here);
	close(there);
}

static void test_socket_errors_leave_the_thread_here(void **state)
{
	int here = netns_open("/proc/self/ns/net"), there = new_netns();
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uint64_t inode, cookie = 7;

	(void)state;
	enter_netns(here);
	inode = inode_here();
	assert_int_equal(netns_socket(there, AF_INET, SOCK_STREAM, IPPROTO_UDP), -EPROTONOSUPPORT);
	assert_int_equal(netns_socket(null, AF_INET, SOCK_STREAM, 0), -EINVAL);
	assert_int_equal(netns_socket(1000, AF_INET, SOCK_STREAM, 0), -EBADF);
	assert_int_equal(netns_cookie(null, &cookie), -EINVAL);
	assert_int_equal(cookie, 7);
	assert_int_equal(inode_here(), inode);
	close(null);
	close(here);
	close(there);
}

static int as_nobody(void *arg)
{
	int there = *(int *)arg;
	_cleanup_close_ int own = netns_open("/proc/self/ns/net");
	_cleanup_close_ int fd = -1;
	uint64_t inode;

	CHECK(own >= 0);
	CHECK(!netns_inode(there, &inode));
	CHECK(!setresuid(NOBODY_ID, NOBODY_ID, NOBODY_ID));
	CHECK((fd = netns_socket(own, AF_INET, SOCK_STREAM, 0)) >= 0);
	CHECK(netns_socket(there, AF_INET, SOCK_STREAM, 0) == -EPERM);
	/* Root has processes that cannot be read, so the namespace may still exist. */
	CHECK(netns_open_by_inode(1, NULL) == -EACCES);
	return 0;
}

static void test_own_namespace_takes_no_capability(void **state)
{
	int here = netns_open("/proc/self/ns/net"), there = new_netns();

	(void)state;
	enter_netns(here);
	run_in_child(as_nobody, &there);
	close(here);
	close(there);
}

/* Keeps a new namespace alive as a process until `stop` reaches its end. */
static pid_t keep_netns(uint64_t *inode, int *stop)
{
	int ready[2], end[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) || pipe2(end, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		struct stat st;
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(end[1]);
		if (unshare(CLONE_NEWNET) || stat("/proc/thread-self/ns/net", &st) ||
		    write(ready[1], &st.st_ino, sizeof(st.st_ino)) != sizeof(st.st_ino))
			_exit(1);
		_exit(read(end[0], &c, 1) != 0);
	}
	close(ready[1]);
	close(end[0]);
	if (read(ready[0], inode, sizeof(*inode)) != sizeof(*inode))
		pid = -1;
	close(ready[0]);
	*stop = end[1];
	return pid;
}

/* A namespace that this user namespace may enter, and the test's own, which it may not enter
 * again. */
static int cannot_return(void *arg)
{
	const struct rlimit no_core = {0};
	char path[64];
	uint64_t inode;
	int stop, fd;
	pid_t pid;

	(void)arg;
	setrlimit(RLIMIT_CORE, &no_core);
	if (unshare(CLONE_NEWUSER))
		return SKIPPED;
	pid = keep_netns(&inode, &stop);
	CHECK(pid > 0);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = netns_open(path);
	CHECK(fd >= 0);
	netns_socket(fd, AF_INET, SOCK_STREAM, 0);
	return 1;
}

static void test_aborts_when_it_cannot_return(void **state)
{
	int status = in_child(cannot_return, NULL);

	(void)state;
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void assert_found(uint64_t inode, const char *hint)
{
	int fd = netns_open_by_inode(inode, hint);
	uint64_t found = 0;

	assert_true(fd >= 0);
	assert_int_equal(netns_inode(fd, &found), 0);
	assert_int_equal(found, inode);
	close(fd);
}

static void test_by_inode(void **state)
{
	uint64_t inode = 0;
	char hint[64];
	int stop = -1;
	pid_t pid = keep_netns(&inode, &stop);

	(void)state;
	assert_true(pid > 0);
	snprintf(hint, sizeof(hint), "/proc/%d/ns/net", (int)pid);
	assert_int_not_equal(inode, inode_here());
	assert_found(inode_here(), NULL);
	assert_found(inode_here(), hint); /* the hinted process is in another namespace now */
	assert_found(inode, hint);
	assert_found(inode, NULL); /* found among the processes */
	assert_found(inode, "/no/such/file");
	close(stop);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int gone(void *arg)
{
	uint64_t inode = 0;
	int stop = -1;
	pid_t pid = keep_netns(&inode, &stop);

	(void)arg;
	CHECK(pid > 0);
	close(stop);
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK(netns_open_by_inode(inode, NULL) == -ENOENT);
	CHECK(netns_open_by_inode(inode, "/no/such/file") == -ENOENT);
	return 0;
}

static void test_by_inode_gone(void **state)
{
	(void)state;
	run_alone(gone, NULL);
}

static int by_name(void *arg)
{
	_cleanup_close_ int fd = -1;
	uint64_t named, found;

	(void)arg;
	CHECK(!unshare(CLONE_NEWNS | CLONE_NEWNET));
	CHECK(!mount("none", "/", "", MS_REC | MS_PRIVATE, NULL));
	CHECK(!mount("none", "/run", "tmpfs", 0, NULL));
	CHECK(!mkdir("/run/netns", 0755));
	close(open("/run/netns/pintle-test", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	CHECK(!mount("/proc/self/ns/net", "/run/netns/pintle-test", "", MS_BIND, NULL));
	CHECK(!netns_inode(-1, &named));
	CHECK(!unshare(CLONE_NEWNET)); /* now no process is in it */
	fd = netns_open_by_inode(named, NULL);
	CHECK(fd >= 0);
	CHECK(!netns_inode(fd, &found) && found == named);
	return 0;
}

static void test_by_inode_in_run_netns(void **state)
{
	(void)state;
	run_in_child(by_name, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		netns_test(test_open_takes_network_namespaces_only),
		netns_test(test_inode),
		netns_test(test_socket_is_made_there),
		netns_test(test_socket_errors_leave_the_thread_here),
		netns_test(test_own_namespace_takes_no_capability),
		netns_test(test_aborts_when_it_cannot_return),
		netns_test(test_by_inode),
		netns_test(test_by_inode_gone),
		netns_test(test_by_inode_in_run_netns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
