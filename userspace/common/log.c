/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <bpf/libbpf.h>
#include <sys/stat.h>

#include "util.h"

static const struct {
	const char *name;
	int syslog_priority;
} levels[LOG_LEVELS] = {
	[LOG_ERROR] = {"error", 3},
	[LOG_WARN] = {"warn", 4},
	[LOG_INFO] = {"info", 6},
	[LOG_DEBUG] = {"debug", 7},
};

static const char *program = "pintle";
static enum log_level threshold = LOG_INFO;
static bool to_journal;

/* sd-daemon(3): $JOURNAL_STREAM holds the device and inode of the stream that the
 * journal gave us; only if stderr still is that stream may priorities be prefixed. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%lu:%lu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

void log_init(const char *name, enum log_level level)
{
	program = name;
	threshold = level;
	to_journal = stderr_is_journal();
}

int log_level_parse(const char *text, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (!strcmp(text, levels[i].name)) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool log_enabled(enum log_level level)
{
	return level <= threshold;
}

/* One line, one write(2): lines of several processes on one stderr stay whole. */
static void log_line(enum log_level level, int code, const char *fmt, va_list ap)
{
	char line[2048];
	size_t n = 0, room = sizeof(line) - 1;

	if (!log_enabled(level))
		return;
#define APPEND(call)                                                                               \
	do {                                                                                       \
		int r_ = (call);                                                                   \
		n = r_ < 0 ? n : MIN(n + (size_t)r_, room);                                        \
	} while (0)
	if (to_journal)
		APPEND(snprintf(line + n, room - n, "<%d>", levels[level].syslog_priority));
	else
		APPEND(snprintf(line + n, room - n, "%s: %s: ", program, levels[level].name));
	APPEND(vsnprintf(line + n, room - n, fmt, ap));
	if (code)
		APPEND(snprintf(line + n, room - n, ": %s", strerror(abs(code))));
#undef APPEND
	if (n == room)
		n--; /* vsnprintf's count is of what it would have written */
	while (n && line[n - 1] == '\n')
		n--;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0) {
		/* Nowhere left to say it. */
	}
}

void log_writev(enum log_level level, const char *fmt, va_list ap)
{
	log_line(level, 0, fmt, ap);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(level, 0, fmt, ap);
	va_end(ap);
}

int log_err_r(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(LOG_ERROR, code, fmt, ap);
	va_end(ap);
	return -abs(code);
}

static int libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	log_line(level == LIBBPF_WARN ? LOG_INFO : LOG_DEBUG, 0, fmt, ap);
	return 0;
}

void log_libbpf(void)
{
	libbpf_set_print(libbpf_print);
}
