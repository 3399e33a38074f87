/* SPDX-License-Identifier: Apache-2.0 */
/* load_servers.h - counters of the servers' own metrics pages (vLLM's names), read at the beginning
 * and at the end of the measured window. */
#ifndef PINTLE_LOAD_SERVERS_H
#define PINTLE_LOAD_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* X(symbol, key of -o json, name on the page): a counter is the sum of all its series. */
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
	const char *shown; /* the URL for reports, without user, password and query */
	double at[2][SERVER_COUNTER_COUNT]; /* at the beginning and at the end */
	bool read[2];                       /* whether at[] holds a page's counters */
	char problem[160];                  /* why the page was not read; else empty */
};

struct load_servers;

/** Borrows the list, which must outlive *out. Returns 0 and *out, or -errno (logged). */
int load_servers_new(uv_loop_t *loop, struct load_server *list, size_t count,
		     struct load_servers **out);
/** Closes handles, so the loop must run once more afterwards. NULL is allowed. */
void load_servers_free(struct load_servers *s);

/** Reads all pages into at[what]: 0 at the beginning, 1 at the end. Calls `done` once, perhaps
 * before this returns. No other reading may be under way. */
void load_servers_read(struct load_servers *s, int what, void (*done)(void *arg), void *arg);
/** Cancels the reading under way, without calling its `done`. */
void load_servers_cancel(struct load_servers *s);

/** By how much a counter rose, summed over all servers that were read twice. */
double load_servers_sum(const struct load_server *list, size_t count, enum server_counter counter);
/** By how much one server's counter rose. A counter that fell was reset in between: its value at
 * the end is the rise. */
double load_server_rise(const struct load_server *server, enum server_counter counter);
/** Reads a page's counters; a counter that the page lacks is 0. */
void load_server_parse(const char *page, size_t size, double counters[SERVER_COUNTER_COUNT]);

#endif
