/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - talk, on stderr, one line an event; data goes to stdout and never here. */
#ifndef PINTLE_LOG_H
#define PINTLE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

/** Sets the program's name (kept, not copied) and the least urgent level shown.
 * Where stderr is the systemd journal, lines carry its priority prefix. */
void log_init(const char *program, enum log_level level);

/** Reads "error", "warn", "info" or "debug". Returns 0, or -EINVAL and leaves *level alone. */
int log_level_parse(const char *text, enum log_level *level);

bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_writev(enum log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/** Logs fmt and the text of the error as one line. `code` may have either sign.
 * Returns -abs(code), so that `return log_err_r(errno, "...")` says and hands on. */
int log_err_r(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/** From now on the first error that is logged is kept in `buf`, too, cut to `size`; "" until then.
 * Of one thread; NULL: no more. */
void log_keep(char *buf, size_t size);

/** Has libbpf's messages come through here, one level less urgent than libbpf thinks they are: its
 * "info" is our "debug". Each of their lines is one of ours; of a long message, such as a
 * verifier's log, the first and the last 40, or all where debug messages are shown. */
void log_libbpf(void);

#endif
