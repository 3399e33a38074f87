/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps.bpf.h - every map, with what it is for; abi.h has the layouts. Each hook is an
 * object of its own, so the definitions are weak: the linker makes them one.
 */
#ifndef PINTLE_MAPS_BPF_H
#define PINTLE_MAPS_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <pintle/abi.h>

#define MAP(name) name __weak SEC(".maps")

/* Where Pintle is attached, and the daemon's heartbeat. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_node);
} MAP(node);

/* What pools and endpoints are called: for people, never read by the kernel. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_SLOTS);
	__type(key, __u32);
	__type(value, struct pintle_name);
} MAP(names);

/* Which endpoint a listener is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_address_key);
	__type(value, struct pintle_address);
} MAP(addresses);

/* Which cgroups match an endpoint's pattern: there its server must run. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_SERVER_CGROUPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_server_cgroup);
	__type(value, __u32);
} MAP(server_cgroups);

/* Which pool a destination belongs to. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_frontend_key);
	__type(value, struct pintle_frontend);
} MAP(frontends);

/* A pool's policy and members. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__type(key, __u32);
	__type(value, struct pintle_pool);
} MAP(pools);

/* What an operator set; read after `pools`, so that it survives reload and restart. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_OVERRIDE_COUNT);
	__type(key, __u32);
	__type(value, struct pintle_override);
} MAP(overrides);

/* What an operator set that the daemon applies, and what the daemon says to it: never read by the
 * kernel. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_SETTINGS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_setting_key);
	__type(value, struct pintle_setting);
} MAP(settings);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_VERDICTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_setting_key);
	__type(value, struct pintle_verdict);
} MAP(verdicts);

/* Maglev tables: which endpoint is the home of a group. An inner array is swapped whole.
 * clang 14 leaves out the BTF of an inner map's value, so sizes stand here; the daemon
 * makes the real ones with it. */
struct pintle_homes_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct pintle_homes));
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__type(key, __u32);
	__array(values, struct pintle_homes_map);
} MAP(homes);

/* Which endpoints there are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__type(key, __u32);
	__type(value, struct pintle_endpoint);
} MAP(endpoints);

/* What was scraped, and the load model made of it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_score);
} MAP(scores);

/* Ever growing counts of placements and connections. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_inflight);
} MAP(inflight);

/* Ever growing sums over the connections that ended. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_ends);
} MAP(ends);

/* Whether somebody listens, and since when. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_health);
} MAP(health);

/* LISTEN sockets, PINTLE_SOCKETS_PER_ENDPOINT slots for each endpoint. An entry
 * leaves by itself when its socket is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS *PINTLE_SOCKETS_PER_ENDPOINT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(sockets);

/* Which endpoint a session is bound to. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_AFFINITY_ENTRIES);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_affinity);
} MAP(affinity);

/* The same, of clients that have more than their share of `affinity`: an entry that is driven out
 * here is of one of them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_AFFINITY_BEYOND_ENTRIES);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_affinity);
} MAP(affinity_beyond);

/* How many bindings each client has in `affinity`. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_SHARES);
	__type(key, __u64);
	__type(value, __u64);
} MAP(shares);

/* What became of each pool's bindings. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_bindings);
} MAP(bindings);

/* A session that makes most of a pool's connections. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__type(key, __u32);
	__type(value, struct pintle_majority);
} MAP(majorities);

/* Decisions whose connection is not established yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_decision);
} MAP(pending);

/* A listener's endpoint; cloned into each child, where the connection's fate joins it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct pintle_conn);
} MAP(conns);

/* What was decided for a client's socket, and the hint it gave before. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pintle_connect);
} MAP(connects);

/* While pins of the former layout are taken over: their `connects`. Else there is no such map. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, pintle_former_connect);
} MAP(connects_former);

/* Which client a cgroup is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_CLIENTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pintle_client);
} MAP(clients);

/* Where the requests of a pool arrive: its frontends, or its endpoints. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_frontend_key);
	__type(value, struct pintle_ref);
} MAP(oneshot);

/* Connections of which no more than the first segment of data came. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_flow);
} MAP(oneshot_flows);

/* What was done with first segments, by pool. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_ONESHOT_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(oneshot_stats);

/* Decisions by pool and outcome. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(stats);

/* Closed connections, rare decisions and ejections, while `pintle events` follows. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} MAP(tap);

/* Scratch of the reconciling iterators: sockets and decisions by endpoint and class. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS *PINTLE_MAX_CLASSES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} MAP(recount);

#endif
