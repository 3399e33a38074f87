/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_workload.h - what clients do, as data: a YAML file with one or more classes of sessions.
 * docs/load-generator.md describes the file.
 */
#ifndef PINTLE_LOAD_WORKLOAD_H
#define PINTLE_LOAD_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../userspace/config/config.h"
#include "load_arrival.h"
#include "../base/random.h"
#include "load_source.h"

#define WORKLOAD_MAX_CLASSES 16
#define WORKLOAD_MAX_POINTS  64      /* of a ramp */
#define WORKLOAD_MAX_TOKENS  1000000 /* of one text */

enum workload_connection { CONNECTION_KEPT, CONNECTION_EACH };
enum workload_addresses { ADDRESSES_SESSION, ADDRESSES_GROUP, ADDRESSES_CLASS };

struct workload_class {
	char *name;
	/* Closed loop: so many users, each with one session after the other; 0: open loop. */
	int users;
	uint64_t spread_ns;       /* over which the users begin */
	struct arrival arrival;   /* open loop */
	struct dist turns, think; /* think in nanoseconds */
	/* In front of each prompt stands a text that all sessions of one group share. */
	int groups;
	double zipf;
	struct dist shared;
	struct dist context; /* of the session alone, in its first prompt */
	struct dist prompt, output;
	bool history;        /* a prompt holds all turns before it, with their answers */
	uint32_t connection; /* enum workload_connection */
	uint32_t addresses;  /* enum workload_addresses */
	int priority;        /* of its requests; below 0: none is said */
};

struct workload {
	char *description;
	struct source_prefix source;
	bool says_source; /* none, too */
	struct workload_class *classes;
	size_t class_count;
};

/** Reads and validates; messages as those of config_load(). Returns 0 and *out (to be freed
 * with workload_free); -EINVAL when errors were reported; -errno when the file could not be read
 * (reported, too). *out is untouched on failure. */
int workload_load(const char *path, const struct yaml_sink *sink, struct workload **out);
int workload_parse(const char *name, const char *text, size_t size, const struct yaml_sink *sink,
		   struct workload **out);
void workload_free(struct workload *w);
static inline void workload_freep(struct workload **w)
{
	workload_free(*w);
}

/** Scales the open loops, so that their rates (of a ramp: the highest) are `rate` together; the
 * closed ones, so that there are `users`. False: there is none, or more classes than users. */
bool workload_set_rate(struct workload *w, double rate);
bool workload_set_users(struct workload *w, unsigned int users);

/* Those that are built in. */
struct workload_builtin {
	const char *name;
	const char *text, *end;
};
extern const struct workload_builtin workload_builtins[];
extern const size_t workload_builtin_count;
const struct workload_builtin *workload_find(const char *name); /* or NULL */
/** The built-in one of this name, or else the file. As workload_load(). */
int workload_open(const char *name, const struct yaml_sink *sink, struct workload **out);

#endif
