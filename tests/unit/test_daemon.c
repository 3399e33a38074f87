/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon as a process: signals at any time, many reloads, reloads that fail. */
#include "support_steer.h"

#include "../../userspace/pintled/core/daemon.h"

static char config_path[64];

static void write_config(const char *node, const char *pools)
{
	_cleanup_free_ char *text = config_text(node, pools);
	FILE *f = fopen(config_path, "we");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Runs the daemon in a process of its own, with its log going to `log_fd`. */
static pid_t daemon_start(int log_fd)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct settings *s = NULL;
		struct config *c = NULL;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(log_fd, STDERR_FILENO);
		/* Ends by exit(), as main() does, so that a sanitizer reports. */
		exit(settings_load(config_path, &yaml_sink_stderr, &s, &c) ? 2
									   : !!daemon_run(s, c));
	}
	return pid;
}

static int daemon_wait(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int daemon_end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGTERM), 0);
	return daemon_wait(pid);
}

static int told_so_far(int log_fd, const char *what)
{
	off_t size = lseek(log_fd, 0, SEEK_END);
	_cleanup_free_ char *text = calloc(1, (size_t)size + 1);

	assert_non_null(text);
	assert_true(pread(log_fd, text, (size_t)size, 0) == size);
	return count_text(text, what);
}

static int open_log(void)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int descriptors_of(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Either everything is pinned, or nothing. */
static void assert_nothing_half(void)
{
	bool there = !access(PINS, F_OK);

	assert_int_equal(access(BPFFS "/new", F_OK), -1);
	assert_int_equal(lookups_attached(), there);
	assert_int_equal(sockops_attached(), there);
	if (there)
		assert_true(pins_whole(PINS) && pins_steer(PINS) && pins_cgroup(PINS));
	else
		assert_int_equal(routes_there(), 0);
}

/* No server listens at this port, so scrapes are refused. */
#define SOME                                                                                       \
	POOL("a", "10.77.0.1:8000", "announce: true, " SERVERS(AT("e0", 8001) "," AT("e1", 8002)))
#define OTHER                                                                                      \
	POOL("a", "10.77.0.2:8000",                                                                \
	     "announce: true, stickiness: {group: source/24}, " SERVERS(AT("e2", 8003)))           \
	POOL("b", "10.77.0.1:8000", SERVERS(AT("e1", 8002)))

/* ---- reloads ------------------------------------------------------------------------------ */

static void test_reloads_without_end(void **state)
{
	int log_fd = open_log(), before = 0;
	pid_t pid;

	(void)state;
	write_config("", SOME);
	pid = daemon_start(log_fd);
	wait_for(told_so_far(log_fd, "ready: "));
	for (int i = 1; i <= 100; i++) {
		write_config("", i % 2 ? OTHER : SOME);
		assert_int_equal(kill(pid, SIGHUP), 0);
		wait_for(told_so_far(log_fd, "reloaded ") == i);
		/* The number of descriptors varies with the scrapes' sockets. */
		if (i == 4)
			before = descriptors_of(pid);
	}
	wait_for(descriptors_of(pid) <= before);
	assert_int_equal(daemon_end(pid), 0);
	close(log_fd);
}

static void test_a_storm_of_hangups(void **state)
{
	int log_fd = open_log(), said;
	pid_t pid;

	(void)state;
	write_config("", SOME);
	pid = daemon_start(log_fd);
	wait_for(told_so_far(log_fd, "ready: "));
	write_config("", OTHER);
	for (int i = 0; i < 500; i++)
		assert_int_equal(kill(pid, SIGHUP), 0);
	wait_for(told_so_far(log_fd, "reloaded "));
	assert_int_equal(daemon_end(pid), 0);
	said = told_so_far(log_fd, "reloaded ");
	assert_true(said >= 1 && said < 100);
	assert_nothing_half();
	close(log_fd);
}

/* After a failed reload the running configuration stays, and works. */
static void test_reloads_that_fail(void **state)
{
	int log_fd = open_log();
	char page[256] = {0};
	pid_t pid;
	int fd;

	(void)state;
	write_config("", SOME);
	pid = daemon_start(log_fd);
	wait_for(told_so_far(log_fd, "ready: "));

	write_config("", "- nonsense\n");
	kill(pid, SIGHUP);
	wait_for(told_so_far(log_fd, "the current one stays") == 1);
	assert_int_equal(unlink(config_path), 0);
	kill(pid, SIGHUP);
	wait_for(told_so_far(log_fd, "the current one stays") == 2);
	set_lo(false);
	write_config("", OTHER);
	kill(pid, SIGHUP);
	wait_for(told_so_far(log_fd, "reloaded only in part") == 1);
	set_lo(true);
	assert_int_equal(routes_there(), 1);

	fd = connect_to("127.0.0.1", 9464);
	assert_true(fd >= 0);
	assert_true(send(fd, "GET /healthz HTTP/1.0\r\n\r\n", 25, 0) == 25);
	assert_true(recv(fd, page, sizeof(page) - 1, 0) > 0);
	assert_non_null(strstr(page, "200"));
	close(fd);

	kill(pid, SIGHUP);
	wait_for(told_so_far(log_fd, "reloaded ") == 1);
	assert_int_equal(daemon_end(pid), 0);
	close(log_fd);
}

/* ---- signals at any time ----------------------------------------------------------------- */

/* Longer than a start takes. */
#define START_MS 200

static void signal_at_start(int number, bool (*expected)(int status))
{
	int log_fd = open_log();

	write_config("", SOME);
	for (unsigned int ms = 0; ms < START_MS; ms += 8) {
		pid_t pid = daemon_start(log_fd);
		int status;

		usleep(ms * 1000);
		kill(pid, number);
		status = daemon_wait(pid);
		if (!expected(status))
			fail_msg("after %u ms: %x", ms, (unsigned int)status);
		if (number == SIGTERM)
			assert_nothing_half();
		/* Every other start finds pins of the one before. */
		if (ms % 16)
			assert_int_equal(detach(BPFFS, false), 0);
		if (ms % 16)
			assert_int_equal(lookups_attached() + sockops_attached(), 0);
		if (ms % 16)
			assert_int_equal(routes_there(), 0);
	}
	close(log_fd);
}

/* A signal before the daemon handles signals ends it, with nothing done. */
static bool left_or_never_began(int status)
{
	return !status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void test_sigterm_at_start(void **state)
{
	(void)state;
	signal_at_start(SIGTERM, left_or_never_began);
}

static void test_sigkill_at_start(void **state)
{
	(void)state;
	signal_at_start(SIGKILL, killed);
}

static void test_hangup_at_start(void **state)
{
	int log_fd = open_log();
	pid_t pid;

	(void)state;
	write_config("", SOME);
	pid = daemon_start(log_fd);
	/* The daemon holds the lock, so it handles signals already, and is not attached yet. */
	wait_for(!access(BPFFS, F_OK));
	kill(pid, SIGHUP);
	wait_for(told_so_far(log_fd, "reloaded "));
	assert_int_equal(daemon_end(pid), 0);
	assert_nothing_half();
	close(log_fd);
}

static void test_sigterm_while_scrapes_hang(void **state)
{
	int log_fd = open_log(), servers[2];
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(servers); i++)
		servers[i] = listen_at("127.0.0.1", (uint16_t)(8001 + i));
	write_config("",
		     POOL("a", "10.77.0.1:8000",
			  "scrape: {timeout: 60s}, " SERVERS(AT("e0", 8001) "," AT("e1", 8002))));
	pid = daemon_start(log_fd);
	for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
		int fd = accept4(servers[i], NULL, NULL, SOCK_CLOEXEC);
		char request[512];

		assert_true(recv(fd, request, sizeof(request), 0) > 0);
		servers[i] = (close(servers[i]), fd);
	}
	assert_int_equal(daemon_end(pid), 0);
	for (size_t i = 0; i < ARRAY_SIZE(servers); i++)
		close(servers[i]);
	close(log_fd);
}

static void test_its_port_is_taken(void **state)
{
	int log_fd = open_log(), taken = listen_at("127.0.0.1", 9464);

	(void)state;
	write_config("", SOME);
	assert_int_equal(daemon_wait(daemon_start(log_fd)), 1 << 8);
	assert_int_equal(access(BPFFS, F_OK), -1);
	assert_nothing_half();

	/* The programs that were attached before still steer. */
	write_config(", metrics: \"127.0.0.1:9465\"", SOME);
	for (int i = 0; i < 2; i++) {
		pid_t pid = daemon_start(log_fd);

		wait_for(told_so_far(log_fd, "ready: ") == i + 1);
		assert_int_equal(daemon_end(pid), 0);
	}
	write_config("", OTHER);
	assert_int_equal(daemon_wait(daemon_start(log_fd)), 1 << 8);
	assert_nothing_half();
	assert_int_equal(routes_there(), 1);
	close(taken);
	close(log_fd);
}

static int setup(void **state)
{
	snprintf(config_path, sizeof(config_path), "/tmp/pintle-test-%d.yaml", getpid());
	return make_cgroup(state);
}

static int teardown(void **state)
{
	unlink(config_path);
	return remove_cgroup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_reloads_without_end),        steer_test(test_a_storm_of_hangups),
		steer_test(test_reloads_that_fail),          steer_test(test_sigterm_at_start),
		steer_test(test_sigkill_at_start),           steer_test(test_hangup_at_start),
		steer_test(test_sigterm_while_scrapes_hang), steer_test(test_its_port_is_taken),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
