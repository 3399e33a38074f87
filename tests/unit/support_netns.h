/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support_netns.h - tests on the real kernel, in network namespaces that end with the test's
 * process, however it ends. Needs root.
 */
#ifndef PINTLE_TESTS_SUPPORT_NETNS_H
#define PINTLE_TESTS_SUPPORT_NETNS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* For children, where cmocka's assertions do not work: the line number becomes the exit status. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

#define SKIPPED 77

/* Runs fn in a forked process, and returns the wait status. */
static inline int in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

struct child {
	int (*fn)(void *arg);
	void *arg;
};

/* Runs as PID 1 of a PID namespace, in which all processes end with it. */
static inline int as_init(void *arg)
{
	const struct child *c = arg;

	CHECK(!unshare(CLONE_NEWNS));
	CHECK(!mount("none", "/", "", MS_REC | MS_PRIVATE, NULL));
	CHECK(!mount("proc", "/proc", "proc", 0, NULL));
	return c->fn(c->arg);
}

static inline int with_own_pids(void *arg)
{
	int status;
	pid_t pid;

	CHECK(!unshare(CLONE_NEWPID));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(as_init(arg));
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static inline void run_in_child(int (*fn)(void *arg), void *arg)
{
	int status = in_child(fn, arg);

	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

/* Runs fn in a child that sees no processes except its own children. */
static inline void run_alone(int (*fn)(void *arg), void *arg)
{
	struct child c = {fn, arg};

	run_in_child(with_own_pids, &c);
}

/* Enters a new namespace, and returns its descriptor. */
static inline int new_netns(void)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline void enter_netns(int fd)
{
	assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

static inline void set_lo(bool up)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
}

static inline int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Gives each test a namespace of its own with lo up, and checks that it leaves no descriptor open.
 */
static int descriptors_before;

static inline int setup_netns(void **state)
{
	(void)state;
	descriptors_before = open_descriptors();
	close(new_netns());
	set_lo(true);
	return 0;
}

static inline int teardown_netns(void **state)
{
	int left = open_descriptors() - descriptors_before;

	(void)state;
	if (left)
		print_error("%d descriptors left open\n", left);
	return left;
}

#define netns_test(f) cmocka_unit_test_setup_teardown(f, setup_netns, teardown_netns)

#endif
