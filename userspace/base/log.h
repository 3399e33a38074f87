/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - messages on stderr, one line for each event. Data goes to stdout, never here. */
#ifndef PINTLE_LOG_H
#define PINTLE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

/** Sets the program's name (not copied) and the least urgent level that is shown. Where stderr is
 * the systemd journal, lines carry its priority prefix. */
void log_init(const char *program, enum log_level level);

/** Reads "error", "warn", "info" or "debug". Returns 0, or -EINVAL and leaves *level alone. */
int log_level_parse(const char *text, enum log_level *level);

bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_writev(enum log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/** Logs fmt and the text of the error as one line. `code` may have either sign. Returns -abs(code),
 * so that `return log_err_r(errno, "...")` logs the error and returns it. */
int log_err_r(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/** Sets `buf` to ""; from now on the first error that is logged is copied there, cut to `size`.
 * `buf` must stay valid until log_keep(NULL, 0) ends that. Not thread-safe. */
void log_keep(char *buf, size_t size);

/** Hushes the log: nothing is written to stderr while a full screen is drawn there. log_keep()
 * works as before. */
void log_hush(bool hush);

/** Routes libbpf's messages through this log, one level less urgent than libbpf's own: its "warn"
 * is our "info", its "debug" is left out. Each line of a message becomes a line here. A long
 * message, such as a verifier's log, is cut to its first line and its last 40, unless debug
 * messages are shown. */
void log_libbpf(void);

#endif
