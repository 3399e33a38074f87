/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the configuration file: one table (config_keys.c) of keys, types, ranges,
 * defaults and help; it drives the reader (../yaml/), the messages and docs/configuration.md.
 */
#ifndef PINTLE_CONFIG_H
#define PINTLE_CONFIG_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../net/addr.h"
#include "../yaml/yaml_report.h"

/* Of all pools together. */
#define CONFIG_MAX_FRONTENDS 1024

/* All strings are owned by the config. Numbers are validated against the table's
 * ranges; durations are in nanoseconds. */

/* One of `listen` and `address` is given, the same of all endpoints of a pool; the other's port
 * is 0. */
struct config_endpoint {
	char *name;
	struct endpoint_addr listen;
	struct endpoint_addr address; /* never any_ip */
	char *metrics_url; /* always set: derived from where it is and scrape.path when not given */
	bool metrics_own;  /* that is at the endpoint's own address and port */
	bool metrics_fallback_v6; /* bare port, derived URL: 127.0.0.1 first, then ::1 */
	char *user;    /* name or number; NULL: whoever is there first. With `listen` only */
	char *cgroup;  /* pattern, as of struct config_client; NULL: any. With `listen` only */
	int gpu_index; /* DCGM's `gpu` label; -1: not joined by index */
	char *gpu_pod; /* DCGM's `pod` label; NULL: not joined by pod */
	int line;      /* where it begins in the file, from 1 */
};

/** Where the endpoint is, whichever way it is given. */
static inline const struct endpoint_addr *config_endpoint_at(const struct config_endpoint *e)
{
	return e->address.port ? &e->address : &e->listen;
}

struct config_stickiness {
	uint32_t key_kind;   /* PINTLE_KEY_* */
	uint8_t key_bits_v4; /* 0..32 */
	uint8_t key_bits_v6; /* 0..128 */
	uint32_t group_kind; /* PINTLE_KEY_* */
	uint8_t group_bits_v4;
	uint8_t group_bits_v6;
	uint64_t ttl_ns;
	double max_extra_load; /* request equivalents */
	bool shared;           /* of hints: one namespace for all clients */
};

struct config_scrape {
	uint64_t interval_ns;
	uint64_t timeout_ns;
	char *path;
	const char *scheme;     /* http or https (not owned) */
	char *credentials_file; /* of a bearer token; NULL: none, and so are the others */
	char *ca_file, *cert_file, *key_file, *server_name;
};

struct config_weights {
	double queue, kv_cache, running, gpu;
};

struct config_saturation {
	double queue_depth; /* requests waiting */
	double kv_cache;    /* 0..1 */
	uint64_t staleness_ns;
};

/* Of pools whose hook ejects (PINTLE_TRAIT_EJECTS). */
struct config_ejection {
	int failures; /* in a row; 0: never */
	uint64_t time_ns, max_time_ns;
	double max_share; /* 0..1, of the pool's endpoints */
};

/* Cgroups that are one client: those that the pattern (fnmatch) matches, as paths below the
 * cgroup2 root. */
struct config_client {
	char *name;
	char *cgroup;
	int line;
};

struct config_pool {
	char *name;
	uint32_t reach;      /* enum pintle_reach: by its endpoints' `listen` or `address` */
	uint32_t decided_by; /* enum pintle_hook */
	const char *engine;  /* name of an entry of the engine table (not owned) */
	struct frontend_addr *frontends;
	size_t frontend_count;
	bool announce;
	struct config_endpoint *endpoints;
	size_t endpoint_count;
	uint32_t mode; /* enum pintle_mode */
	uint32_t failure_mode;
	struct config_scrape scrape;
	struct config_stickiness stickiness;
	struct config_weights weights;
	struct config_saturation saturation;
	struct config_ejection ejection;
	uint32_t requests; /* enum pintle_requests */
	bool http10;
	struct pintle_header spare_headers[PINTLE_MAX_HEADERS];
	char *dcgm_url; /* DCGM exporter's page; NULL: none */
	uint64_t dcgm_interval_ns;
	int line;
};

/* Which series of endpoints are on /metrics. */
enum config_detail { DETAIL_MAIN, DETAIL_ALL };

struct config {
	char *path; /* of the file */
	char *bpffs;
	char *netns;
	char *cgroup;           /* NULL: the cgroup2 root of the mount table */
	char *metrics;          /* "ADDRESS:PORT"; NULL: not served */
	uint32_t detail;        /* enum config_detail: of /metrics */
	char *group;            /* that the pins belong to; NULL: root */
	uint64_t daemonless_ns; /* 0: never */
	struct config_client *clients;
	size_t client_count;
	struct config_pool *pools;
	size_t pool_count;
};

/** Reads and validates the whole file (a regular one, at most 1 MiB). Reports every error, not the
 * first only. Never waits for another process. Returns 0 and *out (to be freed with config_free);
 * -EINVAL when errors were reported; -errno when the file could not be read (reported as an error
 * too). *out is untouched on failure. */
int config_load(const char *path, const struct yaml_sink *sink, struct config **out);
/** The same on text in memory; `name` stands for the file in messages. Any bytes
 * are safe (fuzzed). */
int config_parse(const char *name, const char *text, size_t size, const struct yaml_sink *sink,
		 struct config **out);

/* A file's text. */
struct config_text {
	const char *name; /* of the file, for messages */
	char *text;
	size_t size;
};

/** Reads a file as config_load() does, and leaves the text as it is: out->text is to be freed,
 * `path` is kept in it. Returns 0, or -errno after telling. */
int config_read(const char *path, const struct yaml_sink *sink, struct config_text *out);

/* A key of a pool that was set while the pool runs: it takes the place of what the file says. */
struct config_setting {
	const char *pool;  /* its name */
	const char *key;   /* "stickiness.ttl" */
	const char *value; /* as the file would have it: "100s" */
	bool holds;
	char file[PINTLE_VALUE_SIZE]; /* what holds without it; "": there is no such key or pool */
	char why[PINTLE_WHY_SIZE];    /* where it does not hold: "what is wrong; what would be
					 right" */
};

/** config_parse() of the text with settings, each of which may be any text. The text alone has to
 * be good: its errors and warnings are told first. Then each setting is judged as if the file said
 * it. One that the check refuses, by itself or with those before, does not hold, and never spoils
 * the rest. Warnings about settings are told with "POOL KEY=VALUE" as the file and 0 as the line.
 * Returns as config_parse(); `holds`, `file` and `why` are filled in with 0. */
int config_parse_set(const struct config_text *text, struct config_setting *settings, size_t n,
		     const struct yaml_sink *sink, struct config **out);

struct yaml_key;
/** The key of a pool that `pintle set` takes by this name; or NULL with *why. */
const struct yaml_key *config_settable(const char *name, char why[PINTLE_WHY_SIZE]);
/** The i-th key that can be set, in the table's order; NULL: there are no more. */
const struct yaml_key *config_settable_at(size_t i);
/** Its name, as config_settable() takes it. */
const char *config_settable_name(const struct yaml_key *k);
/** What it takes, for people: "a number from 0 to 1000". Returns buf. */
#define CONFIG_WANTS_SIZE 512
const char *config_settable_wants(const struct yaml_key *k, char buf[CONFIG_WANTS_SIZE]);
/** The i-th of the words that it takes; NULL: there are no more, or it takes no words. */
const char *config_settable_word(const struct yaml_key *k, size_t i);
/** Whether the kernel itself reads it, from the map `overrides`. */
bool config_set_in_kernel(const struct yaml_key *k);
/** Whether the value by itself is good; of a choice also which (choice may be NULL). Else *why. */
bool config_value_read(const struct yaml_key *k, const char *value, uint32_t *choice,
		       char why[PINTLE_WHY_SIZE]);
/** Whether both are good, and mean the same: "300s" and "5m". */
bool config_value_same(const struct yaml_key *k, const char *a, const char *b);
void config_free(struct config *c);
/** For _cleanup_(config_freep). */
static inline void config_freep(struct config **c)
{
	config_free(*c);
}

#endif
