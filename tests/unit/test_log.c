// SPDX-License-Identifier: Apache-2.0
/* Lines on stderr, and how libbpf's messages are passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/libbpf.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"

static int own_stderr = -1, captured = -1;

static int capture(void **state)
{
	(void)state;
	own_stderr = dup(STDERR_FILENO);
	captured = memfd_create("stderr", MFD_CLOEXEC);
	assert_true(own_stderr >= 0 && captured >= 0);
	dup2(captured, STDERR_FILENO);
	return 0;
}

static int release(void **state)
{
	(void)state;
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
	close(captured);
	return 0;
}

/* What was logged since; the caller frees it. */
static char *said(void)
{
	off_t size = lseek(captured, 0, SEEK_CUR);
	char *text = calloc(1, (size_t)size + 1);

	assert_non_null(text);
	assert_int_equal(pread(captured, text, (size_t)size, 0), size);
	lseek(captured, 0, SEEK_SET);
	return text;
}

/* Logs a message as libbpf does. */
__attribute__((format(printf, 2, 3))) static void libbpf_says(enum libbpf_print_level level,
							      const char *fmt, ...)
{
	libbpf_print_fn_t print;
	va_list ap;

	log_libbpf();
	print = libbpf_set_print(NULL);
	assert_non_null(print);
	va_start(ap, fmt);
	print(level, fmt, ap);
	va_end(ap);
}

/* A name that is quoted may be anybody's: no terminal obeys it. */
static void control_characters(void **state)
{
	_cleanup_free_ char *text = NULL;
	char first[64];

	(void)state;
	log_init("test", LOG_INFO);
	log_keep(first, sizeof(first));
	log_error("no pool 'a\x1b[31m\x7f\rb\xc2\x9b"
		  "2J\xc3\xa9'\n\tfurther");
	log_keep(NULL, 0);
	text = said();
	assert_string_equal(text, "test: error: no pool 'a?[31m??b??2J\xc3\xa9'\n\tfurther\n");
	assert_string_equal(first, "no pool 'a?[31m??b??2J\xc3\xa9'\n\tfurther");
}

/* log_keep() keeps the first error, cut to the buffer's size, and no warnings. */
static void first_error_is_kept(void **state)
{
	char first[16];

	(void)state;
	log_init("test", LOG_INFO);
	log_keep(first, sizeof(first));
	assert_string_equal(first, "");
	log_warn("a warning");
	assert_string_equal(first, "");
	log_err_r(ENOENT, "a%d", 1);
	assert_string_equal(first, "a1: No such fil");
	log_error("the next");
	assert_string_equal(first, "a1: No such fil");
	log_keep(first, sizeof(first));
	log_keep(NULL, 0);
	log_error("the last");
	assert_string_equal(first, "");
}

/* A verifier's log with this many lines; the caller frees it. */
static char *verifier_log(int lines)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	for (int i = 0; i < lines; i++)
		fprintf(f, "%d: (79) r1 = *(u64 *)(r10 -%d)\n", i, i);
	fprintf(f, "R1 pointer arithmetic on map_value_or_null prohibited\n");
	fclose(f);
	return text;
}

static size_t lines_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void verifier_says(int lines, enum log_level level)
{
	_cleanup_free_ char *log = verifier_log(lines);

	log_init("test", level);
	libbpf_says(LIBBPF_WARN,
		    "prog '%s': -- BEGIN PROG LOAD LOG --\n%s-- END PROG LOAD LOG --\n",
		    "pintle_lookup", log);
}

static void end_of_a_long_message(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	verifier_says(5000, LOG_INFO);
	text = said();
	assert_memory_equal(text,
			    "test: info: prog 'pintle_lookup': -- BEGIN PROG LOAD LOG --\n"
			    "test: info: [...]\n"
			    "test: info: 4962: ",
			    strlen("test: info: prog 'pintle_lookup': -- BEGIN PROG LOAD LOG --\n"
				   "test: info: [...]\n"
				   "test: info: 4962: "));
	assert_non_null(strstr(text, "test: info: R1 pointer arithmetic on map_value_or_null "
				     "prohibited\n"
				     "test: info: -- END PROG LOAD LOG --\n"));
	assert_int_equal(lines_of(text), 42);
}

static void short_message_whole(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	verifier_says(38, LOG_INFO);
	text = said();
	assert_int_equal(lines_of(text), 41);
	assert_null(strstr(text, "[...]"));
	assert_non_null(strstr(text, "test: info: 0: (79)"));
}

static void all_of_it_for_debug(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	verifier_says(5000, LOG_DEBUG);
	text = said();
	assert_int_equal(lines_of(text), 5003);
}

static void less_urgent_than_libbpf_thinks(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	log_init("test", LOG_INFO);
	libbpf_says(LIBBPF_INFO, "libbpf: not shown\n");
	libbpf_says(LIBBPF_WARN, "libbpf: map '%s': no end of line", "m");
	text = said();
	assert_string_equal(text, "test: info: libbpf: map 'm': no end of line\n");
}

static void nothing_of_each_relocation(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	log_init("test", LOG_DEBUG);
	libbpf_says(LIBBPF_DEBUG, "libbpf: sec 'sk_lookup': relo #1\n");
	libbpf_says(LIBBPF_INFO, "libbpf: shown\n");
	text = said();
	assert_string_equal(text, "test: debug: libbpf: shown\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_error_is_kept, capture, release),
		cmocka_unit_test_setup_teardown(control_characters, capture, release),
		cmocka_unit_test_setup_teardown(end_of_a_long_message, capture, release),
		cmocka_unit_test_setup_teardown(short_message_whole, capture, release),
		cmocka_unit_test_setup_teardown(all_of_it_for_debug, capture, release),
		cmocka_unit_test_setup_teardown(less_urgent_than_libbpf_thinks, capture, release),
		cmocka_unit_test_setup_teardown(nothing_of_each_relocation, capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
