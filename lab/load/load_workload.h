/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_workload.h - what clients do: a YAML file with one or more classes of sessions.
 * lab/docs/load-generator.md describes the file.
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
#define WORKLOAD_MAX_TOKENS  1000000 /* in one part of a prompt, or in an answer */

enum workload_connection { CONNECTION_KEPT, CONNECTION_EACH };
enum workload_addresses { ADDRESSES_SESSION, ADDRESSES_GROUP, ADDRESSES_CLASS };

struct workload_class {
	char *name;
	/* Closed loop: this many users, each with one session after the other. 0: open loop. */
	int users;
	uint64_t spread_ns;       /* time over which the users begin */
	struct arrival arrival;   /* open loop */
	struct dist turns, think; /* think in nanoseconds */
	/* Each prompt begins with a text of `shared` tokens, the same for all sessions of a group.
	 */
	int groups;
	double zipf; /* exponent of the groups' popularity; 0: all alike */
	struct dist shared;
	struct dist context; /* tokens of the session's own text before its first prompt */
	struct dist prompt, output;
	bool history;        /* a prompt repeats all turns before it, with their answers */
	uint32_t connection; /* enum workload_connection */
	uint32_t addresses;  /* enum workload_addresses */
	int priority;        /* the field `priority` of requests; below 0: left out */
};

struct workload {
	char *description;
	struct source_prefix source;
	bool says_source; /* the file has the key `source`, be it "none" */
	struct workload_class *classes;
	size_t class_count;
};

/** Reads and checks a workload. Messages are like those of config_load(). Returns 0 and *out, to be
 * freed with workload_free(); -EINVAL when errors were reported; -errno when the file could not be
 * read, which is reported, too. *out is untouched on failure. */
int workload_load(const char *path, const struct yaml_sink *sink, struct workload **out);
int workload_parse(const char *name, const char *text, size_t size, const struct yaml_sink *sink,
		   struct workload **out);
void workload_free(struct workload *w);
static inline void workload_freep(struct workload **w)
{
	workload_free(*w);
}

/** Scales all open loops, so that the sum of their highest rates is `rate` per second. Returns
 * false if no class is an open loop. */
bool workload_set_rate(struct workload *w, double rate);
/** Scales all closed loops to `users` users together, at least one each. Returns false if no class
 * is a closed loop, or there are more of them than users. */
bool workload_set_users(struct workload *w, unsigned int users);

/* The workloads that are built in. */
struct workload_builtin {
	const char *name;
	const char *text, *end;
};
extern const struct workload_builtin workload_builtins[];
extern const size_t workload_builtin_count;
const struct workload_builtin *workload_find(const char *name); /* or NULL */
/** Reads the built-in workload of this name; if there is none, the file. Otherwise like
 * workload_load(). */
int workload_open(const char *name, const struct yaml_sink *sink, struct workload **out);

#endif
