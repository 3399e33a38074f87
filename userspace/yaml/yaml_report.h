/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_report.h - messages about a file, which are collected, then told in the order of the
 * file. */
#ifndef PINTLE_YAML_REPORT_H
#define PINTLE_YAML_REPORT_H

#include <stdbool.h>
#include <stddef.h>

/** Where messages go: one call for each, in the order of the file. `line` and `column` count from
 * 1; with line 0, `file` is no file, but says what the message is about. `message` reads "what is
 * wrong; what would be right". */
struct yaml_sink {
	void (*error)(void *arg, const char *file, int line, int column, const char *message);
	void (*warning)(void *arg, const char *file, int line, int column, const char *message);
	void *arg;
};

/** Writes to stderr: "FILE:LINE:COLUMN: what is wrong; what would be right", warnings as
 * "FILE:LINE:COLUMN: warning: ..."; without a line "FILE: ...". */
extern const struct yaml_sink yaml_sink_stderr;

/* Nobody reads more, and a hostile file must not take memory without limit. */
#define YAML_MAX_MESSAGES 1000

struct yaml_message {
	int line, column;
	bool warning;
	char *text;
};

/* Starts as {0}. */
struct yaml_report {
	struct yaml_message *messages;
	size_t count, room;
	size_t errors;
	bool out_of_memory; /* set where an allocation failed; told as an error */
};

/** Adds the message "what is wrong; what would be right" about a place in the file, whose line and
 * column count from 1. */
void yaml_report_error(struct yaml_report *r, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void yaml_report_warning(struct yaml_report *r, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** Returns whether there is no room for further messages: a loop over input stops then. */
bool yaml_report_full(const struct yaml_report *r);
/** Tells the sink all messages, in the order of the file. */
void yaml_report_tell(struct yaml_report *r, const char *file, const struct yaml_sink *sink);
void yaml_report_free(struct yaml_report *r);

#endif
