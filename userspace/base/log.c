/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <assert.h>
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
static char *kept; /* see log_keep(); NULL: not wanted */
static size_t kept_size;
static bool hushed;

/* $JOURNAL_STREAM (systemd.exec(5)) holds the device and inode of the stream that the journal gave
 * us. Lines may have a priority prefix only if stderr still is that stream. */
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

/* Replaces what a terminal would obey: a name in a message may be anybody's. A message may have
 * several lines. In UTF-8 the control characters from U+0080 to U+009F are two bytes. */
static void make_harmless(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		bool two = c == 0xc2 && i + 1 < length && (text[i + 1] & 0xe0) == 0x80;

		if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f || two)
			text[i] = '?';
		if (two)
			text[++i] = '?';
	}
}

/* Writes a line by one write(2), so that lines of several processes on one stderr stay whole. */
static void log_line(enum log_level level, int code, const char *fmt, va_list ap)
{
	char line[2048];
	size_t n = 0, room = sizeof(line) - 1;

	size_t start;

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
	start = n;
	APPEND(vsnprintf(line + n, room - n, fmt, ap));
	if (code)
		APPEND(snprintf(line + n, room - n, ": %s", strerror(abs(code))));
#undef APPEND
	if (n == room)
		n--; /* the line was cut: make room for its end */
	while (n && line[n - 1] == '\n')
		n--;
	make_harmless(line + start, n - start);
	if (kept && !kept[0] && level == LOG_ERROR)
		snprintf(kept, kept_size, "%.*s", (int)(n - start), line + start);
	line[n++] = '\n';
	if (!hushed && write(STDERR_FILENO, line, n) < 0) {
		/* There is nowhere to report it. */
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

void log_keep(char *buf, size_t size)
{
	assert(!buf || size > 0);
	kept = buf;
	kept_size = size;
	if (buf)
		buf[0] = '\0';
}

void log_hush(bool hush)
{
	hushed = hush;
}

#define LINES_MAX 40 /* shown of one message, unless debug messages are */

/* Returns where the last `count` lines of `text` begin. */
static const char *last_lines(const char *text, size_t count)
{
	const char *at = text + strlen(text);

	if (at > text && at[-1] == '\n')
		at--;
	while (at > text && (at[-1] != '\n' || --count))
		at--;
	return at;
}

/* A verifier's log comes as one message of thousands of lines. The first names the program, and the
 * last ones say why it was refused. libbpf's own debug messages tell of each relocation: ten
 * thousand lines, which would bury those of this program and take longer than the load itself. */
static int libbpf_print(enum libbpf_print_level its, const char *fmt, va_list ap)
{
	enum log_level level = its == LIBBPF_WARN ? LOG_INFO : LOG_DEBUG;
	_cleanup_free_ char *text = NULL;
	const char *line, *end, *last;

	if (its == LIBBPF_DEBUG || !log_enabled(level) || vasprintf(&text, fmt, ap) < 0)
		return 0;
	last = log_enabled(LOG_DEBUG) ? text : last_lines(text, LINES_MAX);
	for (line = text; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		log_write(level, "%.*s", (int)(end - line), line);
		if (line == text && last > end + 1) {
			log_write(level, "[...]");
			end = last - 1;
		}
	}
	return 0;
}

void log_libbpf(void)
{
	libbpf_set_print(libbpf_print);
}
