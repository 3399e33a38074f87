/* SPDX-License-Identifier: Apache-2.0 */
/* support_cli.h - runs the program `pintle` as a user does, and checks its output. */
#ifndef PINTLE_TESTS_SUPPORT_CLI_H
#define PINTLE_TESTS_SUPPORT_CLI_H

#include <cjson/cJSON.h>
#include <grp.h>
#include <limits.h>
#include <regex.h>
#include <sys/mman.h>

#include "support_pins.h"

#define CLI_WORDS   16
#define CLI_SECONDS 60 /* a run that takes longer hangs, and SIGALRM ends it */

struct said {
	int status; /* exit status, or 128 + the signal */
	char *out, *err;
};

struct running {
	pid_t pid;
	int out, err; /* the ends to read from */
};

/* As whom and where the program runs; all zeros: as root, with stdout captured. */
struct as {
	uid_t uid;
	gid_t gid;
	const char *stdout_path; /* NULL: stdout is captured */
	int stdout_fd;           /* without a path; 0: stdout is captured */
};

/* build/tests/unit/test_x: the program lies three directories up. */
static inline int cli_binary(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int fd;

	assert_true(n > 0);
	path[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(path, '/') = '\0';
	strcat(path, "/pintle");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline void cli_child(int binary, const struct as *as, int out, int err,
			     const char *const *words)
{
	char *argv[CLI_WORDS + 2] = {(char *)"pintle"};
	static char *environment[] = {(char *)"PINTLE_BPFFS=" PINS_BPFFS, (char *)"TZ=UTC",
				      (char *)"TERM=xterm", NULL};

	for (int i = 0; i < CLI_WORDS && words[i]; i++)
		argv[i + 1] = (char *)words[i];
	if (as->stdout_path)
		out = open(as->stdout_path, O_WRONLY);
	else if (as->stdout_fd)
		out = as->stdout_fd;
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
		_exit(99);
	if (as->uid && (setgroups(1, &as->gid) || setgid(as->gid) || setuid(as->uid)))
		_exit(98);
	alarm(CLI_SECONDS);
	fexecve(binary, argv, environment);
	_exit(97);
}

/* The program's output goes to files, so that no pipe fills up while the test waits for it. */
static inline struct running cli_start(const struct as *as, const char *const *words)
{
	struct running r = {
		.out = memfd_create("stdout", MFD_CLOEXEC),
		.err = memfd_create("stderr", MFD_CLOEXEC),
	};
	int binary = cli_binary();

	fflush(NULL);
	r.pid = fork();
	assert_true(r.pid >= 0);
	if (!r.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cli_child(binary, as, r.out, r.err, words);
	}
	close(binary);
	return r;
}

static inline char *cli_read(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);

	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)size, 0), size);
	return text;
}

static inline struct said cli_wait(struct running *r)
{
	struct said s;
	int status;

	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	s.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	s.out = cli_read(r->out);
	s.err = cli_read(r->err);
	close(r->out);
	close(r->err);
	if (strstr(s.err, "Sanitizer") || strstr(s.err, "runtime error"))
		fail_msg("%s", s.err);
	return s;
}

static inline void said_free(struct said *s)
{
	free(s->out);
	free(s->err);
}

static inline struct said cli_as(const struct as *as, const char *const *words)
{
	struct running r = cli_start(as, words);

	return cli_wait(&r);
}

#define WORDS(...)     ((const char *const[CLI_WORDS + 1]){__VA_ARGS__})
#define pintle(...)    cli_as(&(struct as){0}, WORDS(__VA_ARGS__))
#define _cleanup_said_ _cleanup_(said_free)

/* Runs the program, and expects this exit status and these words on stdout and stderr (""
 * for no output). */
static inline void cli_expect(const char *file, int line, const char *const *words, int status,
			      const char *out, const char *err)
{
	_cleanup_said_ struct said s = cli_as(&(struct as){0}, words);
	bool right = s.status == status && (out[0] ? !!strstr(s.out, out) : !s.out[0]) &&
		     (err[0] ? !!strstr(s.err, err) : !s.err[0]);

	if (right)
		return;
	print_error("%s:%d: pintle %s %s %s: status %d, wanted %d\nstdout: %s\nstderr: %s\n", file,
		    line, words[0] ? words[0] : "", words[0] && words[1] ? words[1] : "",
		    words[0] && words[1] && words[2] ? words[2] : "", s.status, status, s.out,
		    s.err);
	fail();
}

#define expect(status, out, err, ...)                                                              \
	cli_expect(__FILE__, __LINE__, WORDS(__VA_ARGS__), status, out, err)

/* ---- JSON ------------------------------------------------------------------------ */

/* An array of objects, or the test fails. */
static inline cJSON *cli_json(const char *const *words)
{
	_cleanup_said_ struct said s = cli_as(&(struct as){0}, words);
	cJSON *array = cJSON_Parse(s.out);
	const cJSON *row;

	if (!cJSON_IsArray(array))
		fail_msg("no JSON array: status %d, %s%s", s.status, s.out, s.err);
	cJSON_ArrayForEach (row, array) {
		assert_true(cJSON_IsObject(row));
	}
	return array;
}

static inline void cjson_deletep(cJSON **j)
{
	cJSON_Delete(*j);
}
#define _cleanup_json_ _cleanup_(cjson_deletep)

/* ---- snapshots ------------------------------------------------------------------- */

/* Replaces all matches by `by`, and keeps the text of the expression's first group. */
static inline char *replace_all(char *text, const char *expression, const char *by)
{
	char *out = NULL, *at = text;
	regmatch_t m[2];
	size_t size;
	FILE *f = open_memstream(&out, &size);
	regex_t re;

	assert_int_equal(regcomp(&re, expression, REG_EXTENDED), 0);
	while (!regexec(&re, at, 2, m, 0) && m[0].rm_eo > m[0].rm_so) {
		fwrite(at, 1, (size_t)m[0].rm_so, f);
		if (re.re_nsub)
			fwrite(at + m[1].rm_so, 1, (size_t)(m[1].rm_eo - m[1].rm_so), f);
		fputs(by, f);
		at += m[0].rm_eo;
	}
	fputs(at, f);
	fclose(f);
	regfree(&re);
	free(text);
	return out;
}

/* Replaces what differs from run to run. */
static inline char *normalise(const char *said)
{
	static const struct {
		const char *expression, *by;
	} rules[] = {
		{"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}Z?", "TIME"},
		{"((age|idle|attached|ejected)_seconds\":[[:space:]]*)[0-9.]+", "AGE"},
		{"(inode(\":)?[[:space:]]+)[0-9]+", "INODE"},
		{"(version(\":[[:space:]]*\"| ))[0-9]+[.][0-9.]+", "VERSION"},
	};
	char *text = strdup(said);

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		text = replace_all(text, rules[i].expression, rules[i].by);
	return text;
}

/* Compares stdout with tests/data/cli/NAME, and the exit status. To accept new output, after
 * reading it: PINTLE_UPDATE=1 build/tests/unit/test_cli */
static inline void snapshot_of(const char *name, int status, const char *err,
			       const char *const *words)
{
	_cleanup_said_ struct said s = cli_as(&(struct as){0}, words);
	_cleanup_free_ char *got = normalise(s.out), *want = NULL;
	char path[PATH_MAX];
	int fd;

	assert_string_equal(s.err, err);
	assert_int_equal(s.status, status);
	snprintf(path, sizeof(path), "tests/data/cli/%s", name);
	if (getenv("PINTLE_UPDATE")) {
		FILE *f = fopen(path, "we");

		assert_non_null(f);
		fputs(got, f);
		fclose(f);
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	want = cli_read(fd);
	close(fd);
	assert_string_equal(got, want);
}

static inline void snapshot(const char *name, const char *const *words)
{
	snapshot_of(name, 0, "", words);
}

#endif
