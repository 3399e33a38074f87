// SPDX-License-Identifier: Apache-2.0
/* The service manager's protocol, spoken to a socket of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/pintled/core/notify.h"

/* A manager at a path, or with '@' in the abstract namespace; the caller closes it. */
static int manager(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, name, strlen(name));
	if (*name == '@')
		a.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void assert_told(int fd, const char *want)
{
	char buf[1024];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, want);
}

static void messages(int fd)
{
	char buf[1024];
	unsigned long usec;
	ssize_t n;

	assert_int_equal(notify_ready("3 endpoints"), 0);
	assert_told(fd, "READY=1\nSTATUS=3 endpoints");
	assert_int_equal(notify_ready(NULL), 0);
	assert_told(fd, "READY=1\n");
	assert_int_equal(notify_stopping("bye"), 0);
	assert_told(fd, "STOPPING=1\nSTATUS=bye");
	assert_int_equal(notify_status("one\nREADY=1"), 0);
	assert_told(fd, "STATUS=one");
	assert_int_equal(notify_watchdog(), 0);
	assert_told(fd, "WATCHDOG=1\n");
	assert_int_equal(notify_reloading(), 0);
	n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_int_equal(sscanf(buf, "RELOADING=1\nMONOTONIC_USEC=%lu\n", &usec), 1);
	assert_true(usec > 0 && usec <= monotonic_ns() / 1000);
}

static void to_a_path(void **state)
{
	char directory[] = "/tmp/pintle-notify-XXXXXX", path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
	fd = manager(path);
	messages(fd);
	close(fd);
	assert_int_equal(notify_watchdog(), -ECONNREFUSED);
	unlink(path);
	assert_int_equal(notify_watchdog(), -ENOENT);
	rmdir(directory);
}

static void to_an_abstract_name(void **state)
{
	char name[64];
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "@pintle-notify-%d", (int)getpid());
	fd = manager(name);
	messages(fd);
	close(fd);
}

static void long_status_is_cut(void **state)
{
	char status[4096], name[64], buf[8192];
	ssize_t n;
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "@pintle-notify-long-%d", (int)getpid());
	fd = manager(name);
	memset(status, 'a', sizeof(status) - 1);
	status[sizeof(status) - 1] = '\0';
	assert_int_equal(notify_ready(status), 0);
	n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	assert_in_range(n, 100, 1024);
	assert_memory_equal(buf, "READY=1\nSTATUS=aaa", 18);
	close(fd);
}

static void nobody_to_tell(void **state)
{
	static char endless[300];
	const char *const names[] = {"", "@", "relative", endless};

	(void)state;
	memset(endless, '/', sizeof(endless) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		setenv("NOTIFY_SOCKET", names[i], 1);
		assert_int_equal(notify_ready(NULL), 0);
	}
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_ready(NULL), 0);
}

static void watchdog_interval(void **state)
{
	static const struct {
		const char *usec, *pid;
		uint64_t ns;
	} cases[] = {
		{NULL, NULL, 0},
		{"3000000", NULL, 1500000000},
		{"3000000", "self", 1500000000},
		{"3000000", "1", 0},
		{"-3", NULL, 0},
		{"3s", NULL, 0},
		{"", NULL, 0},
		{"99999999999999999999999", NULL, 0},
		{"18446744073709551615", NULL, 0},
		{"1000", "x", 0},
	};
	char self[16];

	(void)state;
	snprintf(self, sizeof(self), "%d", (int)getpid());
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *pid = cases[i].pid;

		unsetenv("WATCHDOG_USEC");
		unsetenv("WATCHDOG_PID");
		if (cases[i].usec)
			setenv("WATCHDOG_USEC", cases[i].usec, 1);
		if (pid)
			setenv("WATCHDOG_PID", strcmp(pid, "self") ? pid : self, 1);
		assert_int_equal(notify_watchdog_interval_ns(), cases[i].ns);
	}
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_a_path),          cmocka_unit_test(to_an_abstract_name),
		cmocka_unit_test(long_status_is_cut), cmocka_unit_test(nobody_to_tell),
		cmocka_unit_test(watchdog_interval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
