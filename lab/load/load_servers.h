/* SPDX-License-Identifier: Apache-2.0 */
/* load_servers.h - what the servers say of themselves: counters of their metrics pages (vLLM's
 * names), read at the beginning and at the end of the measured window. */
#ifndef PINTLE_LOAD_SERVERS_H
#define PINTLE_LOAD_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* X(symbol, key of -o json, name on the page): sums over all series of a page */
#define SERVER_COUNTERS(X)                                                                         \
	X(HITS, "prefix_hits", "vllm:prefix_cache_hits_total")                                     \
	X(QUERIES, "prefix_queries", "vllm:prefix_cache_queries_total")                            \
	X(QUEUE_SUM, "queue_seconds", "vllm:request_queue_time_seconds_sum")                       \
	X(QUEUE_COUNT, "queue_count", "vllm:request_queue_time_seconds_count")                     \
	X(TTFT_SUM, "ttft_seconds", "vllm:time_to_first_token_seconds_sum")                        \
	X(TTFT_COUNT, "ttft_count", "vllm:time_to_first_token_seconds_count")                      \
	X(PREEMPTIONS, "preemptions", "vllm:num_preemptions_total")

enum server_counter {
#define X(symbol, key, name) SERVER_##symbol,
	SERVER_COUNTERS(X)
#undef X
		SERVER_COUNTER_COUNT,
};
extern const char *const server_counter_keys[SERVER_COUNTER_COUNT];

struct load_server {
	const char *url;
	const char *shown; /* the same for reports, without user, password and query */
	double at[2][SERVER_COUNTER_COUNT]; /* at the beginning and at the end */
	bool read[2];
	char problem[160]; /* why it was not read, if not */
};

struct load_servers;

/** The list stays the caller's, and must outlive it. Returns 0 and *out, or -errno (logged). */
int load_servers_new(uv_loop_t *loop, struct load_server *list, size_t count,
		     struct load_servers **out);
/** While the loop runs on. NULL is allowed. */
void load_servers_free(struct load_servers *s);

/** Reads all pages; what: 0, the beginning, or 1, the end. `done` is called once, perhaps before
 * this returns. One reading at a time. */
void load_servers_read(struct load_servers *s, int what, void (*done)(void *arg), void *arg);
/** Forgets the reading under way: `done` will not be called. */
void load_servers_cancel(struct load_servers *s);

/** What a counter rose by, of all servers that were read twice. */
double load_servers_sum(const struct load_server *list, size_t count, enum server_counter counter);
/** The same of one; a counter that fell has begun anew. */
double load_server_rise(const struct load_server *server, enum server_counter counter);
/** Reads a page's counters. */
void load_server_parse(const char *page, size_t size, double counters[SERVER_COUNTER_COUNT]);

#endif
