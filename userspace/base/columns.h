/* SPDX-License-Identifier: Apache-2.0 */
/*
 * columns.h - what a row says, value by value, and a row as a JSON object, from one table of
 * columns. --help and the documents list the keys from that table, too.
 */
#ifndef PINTLE_COLUMNS_H
#define PINTLE_COLUMNS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind {
	VALUE_NONE,     /* null; "-" */
	VALUE_TEXT,     /* cut to VALUE_TEXT_SIZE */
	VALUE_COUNT,    /* a whole number, exact */
	VALUE_WHOLE,    /* a whole number that may be below 0 */
	VALUE_NUMBER,   /* six decimals at most in JSON, one in text */
	VALUE_SHARE,    /* 0..1; text: percent */
	VALUE_SECONDS,  /* text: an age */
	VALUE_WAIT,     /* text: a short time */
	VALUE_QUANTILE, /* a percentile of short times, by the buckets of a histogram */
	VALUE_BOOL,     /* text: yes or no */
	VALUE_JSON,     /* an array or object, owned; JSON only */
};

enum tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_FAINT, TONE_HEADING };

#define VALUE_TEXT_SIZE 512

struct value {
	enum value_kind kind;
	enum tone tone;
	union {
		char text[VALUE_TEXT_SIZE];
		uint64_t count;
		double number;
		bool yes;
		cJSON *json;
	};
};

struct value value_none(void);
struct value value_text(const char *text);
/** Returns text; none for NULL and "". */
struct value value_text_or_none(const char *text);
struct value value_count(uint64_t n);
/** Returns a whole number, a number, share or age; none when `there` is false or `n` is not
 * finite. */
struct value value_number(enum value_kind kind, double n, bool there);
struct value value_bool(bool yes);
/** Takes ownership; NULL (out of memory) becomes null. */
struct value value_json(cJSON *json);

struct column {
	const char *key;     /* in JSON; NULL: in text only */
	const char *heading; /* in text; NULL: in JSON only */
	bool right;          /* aligned to the right */
	int spare;           /* hidden on a narrow terminal, the highest first; 0: never */
	const char *help;    /* meaning, type and unit, for --help and docs/cli.md */
	struct value (*get)(const void *row, const void *arg);
};

/* Defines get_NAME() for a column. The body that follows has row and argument by their types. */
#define GETTER(name, row_parameter, arg_parameter)                                                 \
	static struct value value_of_##name(row_parameter, arg_parameter);                         \
	static struct value get_##name(const void *row, const void *arg)                           \
	{                                                                                          \
		return value_of_##name(row, arg);                                                  \
	}                                                                                          \
	static struct value value_of_##name(row_parameter __attribute__((unused)),                 \
					    arg_parameter __attribute__((unused)))

struct columns {
	const struct column *column;
	size_t count;
};

#define COLUMNS(array) ((struct columns){array, ARRAY_SIZE(array)})

/** Returns one row as a JSON object (the caller's), or NULL when memory ran out. */
cJSON *columns_object(const struct columns *c, const void *row, const void *arg);
/** Returns a whole number, exact beyond 2^53; a number with at most six decimals. NULL when memory
 * ran out. */
cJSON *json_count(uint64_t n);
cJSON *json_number(double n);

#endif
