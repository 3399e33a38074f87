/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps.bpf.h - every map and its purpose; abi.h has the layouts. Each hook is an object of its own,
 * so the definitions are weak, and the linker makes them one.
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

/* The names of pools and endpoints, for people; the kernel never reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_SLOTS);
	__type(key, __u32);
	__type(value, struct pintle_name);
} MAP(names);

/* The endpoint for which a listener's address and port stand. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_address_key);
	__type(value, struct pintle_address);
} MAP(addresses);

/* The cgroups that match an endpoint's pattern; its server must run in one of them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_SERVER_CGROUPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_server_cgroup);
	__type(value, __u32);
} MAP(server_cgroups);

/* The pool to which a destination belongs. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * PINTLE_MAX_FRONTENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_frontend_key);
	__type(value, struct pintle_frontend);
} MAP(frontends);

/* The endpoint that has an address and port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_address_key);
	__type(value, struct pintle_member);
} MAP(members);

/* Clients whose connections to a pool's members are left alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * PINTLE_MAX_SPARED); /* new ones come before old ones go */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_spared_key);
	__type(value, struct pintle_spared);
} MAP(spared);

/* The keys of a cluster's pools; the kernel never reads them. Twice the pools, because new entries
 * come before old ones go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * PINTLE_MAX_POOLS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_policy_key);
	__type(value, struct pintle_policy);
} MAP(policies);

/* What DNS says of endpoints whose address is a host's name; the kernel never reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_HOSTS);
	__type(key, __u32);
	__type(value, struct pintle_host);
} MAP(hosts);

/* A pool's policy and members. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__type(key, __u32);
	__type(value, struct pintle_pool);
} MAP(pools);

/* What a tenant of a pool may have. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_QUOTAS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_quota);
} MAP(quotas);

/* The pool that serves a model, of pools that are decided by request. Twice as many as are
 * configured, because a reload writes the new entries before it deletes the former ones. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * (PINTLE_MAX_MODELS + PINTLE_MAX_POOLS));
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_model_key);
	__type(value, struct pintle_model);
} MAP(models);

/* The LoRA adapters that an endpoint has loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_adapters);
} MAP(adapters);

/* Endpoints that have an adapter, for pools of which only a few are compared. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ADAPTERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_holders);
} MAP(adapter_holders);

/* What a tenant has. No entry is evicted: whoever comes when all are taken counts with others. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_TENANTS);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_tenant);
} MAP(tenants);

/* Ever growing sums over a tenant's answers whose first token was seen. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_MEASURED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_tenant_firsts);
} MAP(tenant_firsts);

/* What those of the last minute were; the kernel never reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_MEASURED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_tenant_minute);
} MAP(tenant_minutes);

/* The tenant of a connection, in pools with quotas. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pintle_seat);
} MAP(seats);

/* Settings of an operator for the kernel. They override `pools`, and survive reload and restart. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_OVERRIDE_COUNT);
	__type(key, __u32);
	__type(value, struct pintle_override);
} MAP(overrides);

/* The A/B tests that run. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_TRIALS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_ref);
	__type(value, struct pintle_trial);
} MAP(trials);

/* Answers of the blocks that are being measured. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_TRIAL_BLOCKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_trial_block);
	__type(value, struct pintle_firsts);
} MAP(trial_blocks);

/* What was measured, of the newest tests; the kernel never reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_TRIALS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_trial_result);
} MAP(trial_results);

/* Settings of an operator for the daemon, and the daemon's verdicts on them; the kernel never reads
 * them. */
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

/* Maglev tables: the endpoint that is a group's home. An inner array is replaced as a whole. Sizes
 * stand here in place of types, because clang 14 leaves out the BTF of an inner map's value; the
 * daemon makes the inner maps with BTF. */
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

/* The endpoint with each id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__type(key, __u32);
	__type(value, struct pintle_endpoint);
} MAP(endpoints);

/* The newest good scrape, and the load computed from it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_score);
} MAP(scores);

/* What the newest pass over the sockets found; the kernel never reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_work);
} MAP(works);

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

/* Ever growing sums over answers whose first token was seen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_firsts);
} MAP(firsts);

/* The shape of endpoints' answers, and who got them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_answers);
} MAP(answers);

/* The same by class; the key is PINTLE_MAX_CLASSES times the pool, plus the class. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS *PINTLE_MAX_CLASSES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_firsts);
} MAP(class_firsts);

/* Ever growing sums over the connections of a class; the same keys. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS *PINTLE_MAX_CLASSES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_class_sums);
} MAP(class_sums);

/* Whether an endpoint listens, and since when; its failures and ejections. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_health);
} MAP(health);

/* LISTEN sockets, PINTLE_SOCKETS_PER_ENDPOINT slots for each endpoint, and behind them the overload
 * responder's. The kernel removes an entry when its socket is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, PINTLE_SOCKET_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} MAP(sockets);

/* The endpoint to which a session is bound. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_AFFINITY_ENTRIES);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_affinity);
} MAP(affinity);

/* The same for clients that have used up their share of `affinity`. When this map is full, only
 * such clients lose bindings. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_AFFINITY_BEYOND_ENTRIES);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_affinity);
} MAP(affinity_beyond);

/* The class that an operator gave to a session. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_CLASSIFIED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_session_class);
} MAP(classified);

/* The class that the classifier found for a session. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_SESSIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_session_class);
} MAP(sessions);

/* Requests that ended, for the classifier. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} MAP(evidence);

/* The number of bindings of each client in `affinity`. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_SHARES);
	__type(key, __u64);
	__type(value, __u64);
} MAP(shares);

/* Counts of the bindings of each pool that were made and that are gone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_bindings);
} MAP(bindings);

/* How often a session of a class with places was told no, while it keeps coming back. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_REFUSED);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_refusal);
} MAP(refusals);

/* The session that makes most of a pool's connections on this CPU, if one does. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__type(key, __u32);
	__type(value, struct pintle_majority);
} MAP(majorities);

/* Decisions whose connection is not established yet; and those of connections to the overload
 * responder, which looks here for whose they are. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_decision);
} MAP(pending);

/* A listener's endpoint. The kernel clones the entry into each child socket, where it becomes the
 * record of the connection. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct pintle_conn);
} MAP(conns);

/* The same of a listener whose connections come by the hand-off: they need no copy. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pintle_conn);
} MAP(listeners);

/* Connections that the hand-off gave to a listener of this node. All of the memory is there from
 * the beginning: to allocate it for each connection takes longer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_HAND_FLOWS);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_hand_flow);
} MAP(hand_flows);

/* The decision for a client's socket, and the hint that the client gave before. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pintle_connect);
} MAP(connects);

/* How far the requests on a socket's connection are. Made when the pass first meets the socket, or
 * when a server's connection counts as open in its session's binding. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pintle_turn);
} MAP(turns);

/* The client to which a cgroup belongs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_CLIENTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pintle_client);
} MAP(clients);

/* The pod that a client is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_PODS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pintle_pod);
} MAP(pods);

/* The addresses at which requests of a pool arrive: its frontends, or its endpoints. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PINTLE_MAX_FRONTENDS + PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_frontend_key);
	__type(value, struct pintle_ref);
} MAP(oneshot);

/* Connections of which at most the first segment of data has come. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_flow);
} MAP(oneshot_flows);

/* What one-shot did with first segments, by pool. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_ONESHOT_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(oneshot_stats);

/* What the hand-off asks the lookup hook, while it does. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pintle_asking);
} MAP(asking);

/* The session that a connection's request has named, and how much of it is cached, until the
 * connection is established. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_NAMED);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_named);
} MAP(named);

/* What the hand-off did with connections, by pool. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_HAND_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(hand_stats);

/* Which endpoints have cached what of prompts. The daemon makes the table, of PINTLE_MAX_PREFIXES
 * entries, while a pool wants it: it takes 29 MB. This one is the kernel's pattern of its type, of
 * which libbpf makes one at each load, and a table may have more entries. */
struct pintle_prefix_table {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u64));
	__uint(value_size, sizeof(struct pintle_prefix));
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pintle_prefix_table);
} MAP(prefixes);

/* The secret of the hashes by which that table is read. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pintle_chunk_key);
} MAP(prefix_key);

/* What each source added to the table. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_LEARNERS);
	__type(key, struct pintle_learner_key);
	__type(value, struct pintle_learner);
} MAP(learners);

/* How many sources add to it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pintle_learners);
} MAP(learning);

/* Pools, and clients, whose hand-overs fail. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_RESTS);
	__type(key, __u32);
	__type(value, struct pintle_rest);
} MAP(resting);

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_REST_CLIENTS);
	__type(key, struct pintle_learner_key);
	__type(value, struct pintle_rest);
} MAP(rest_clients);

/* What was found out about prompts, by pool. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_PROMPT_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(prompt_stats);

/* The scope of a pod's network namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pintle_scope);
} MAP(scopes);

/* Open connections of endpoints in pods. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_POD_FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_pod_flow);
} MAP(pod_flows);

/* Those that ended a moment ago: their last segments are under way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_POD_ENDED);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_pod_flow);
} MAP(pod_ended);

/* Where the hand-off's TC program sees segments. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_HAND_SEEN_SLOTS);
	__type(key, __u32);
	__type(value, struct pintle_hand_seen);
} MAP(hand_seen);

/* Connections whose first request a server has had. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_HAND_SERVED);
	__type(key, __u32);
	__type(value, __u64);
} MAP(hand_served);

/* How clients are reached, for the hand-off's answers. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PINTLE_MAX_WAYS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_way_key);
	__type(value, struct pintle_way);
} MAP(hand_ways);

/* The devices of the hand-off, for people; the kernel never reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_DEVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct pintle_device);
} MAP(hand_devices);
/* What became of connections that the hand-off held, by pool. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_HOLD_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(hold_stats);

/* Connections that are spliced. Each takes memory only while it is there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_SPLICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_splice);
} MAP(splices);

/* The same, by what their servers see. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_SPLICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_splice_back);
} MAP(splice_backs);

/* How many spliced connections a client has. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * PINTLE_MAX_SPACES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} MAP(splice_shares);

/* The pods whose segments are seen both ways. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_SPACES);
	__type(key, __u64);
	__type(value, struct pintle_space);
} MAP(splice_spaces);

/* Requests that are held. Their bytes are acknowledged, and nowhere else: so nothing
 * may be evicted. Each takes memory only while it is there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_HELD);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_held_key);
	__type(value, struct pintle_held);
} MAP(held);

/* struct pintle_sweeper, as the kernel wants to see it. */
struct sweeper_value {
	struct bpf_timer timer;
	__u32 runs;
	__u32 zero;
};
_Static_assert(sizeof(struct sweeper_value) == sizeof(struct pintle_sweeper), "the same");

/* Pinned, because a timer ends with the last reference to its map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct sweeper_value);
} MAP(sweeper);

/* Decisions by pool and outcome. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(stats);

/* What the rule would have decided, by pool and outcome, while a pool is in mode shadow. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINTLE_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} MAP(shadow_stats);

/* How often the rule would have placed a connection on an endpoint. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} MAP(shadow_placed);

/* The endpoint to which a session would be bound: apart from `affinity`, so that mode shadow
 * neither takes a binding from a pool that steers nor leaves one behind. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_SHADOW_ENTRIES);
	__type(key, struct pintle_affinity_key);
	__type(value, struct pintle_affinity);
} MAP(shadow_bindings);

/* Loads that the rule would have found in mode shadow, and those that connections found. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_POOLS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_forecast);
} MAP(forecasts);

/* What pools did in the last 24 hours, minute by minute; the kernel never reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_MOMENTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_moment_key);
	__type(value, struct pintle_moment);
} MAP(history);

/* Closed connections, rare decisions and ejections, while `pintle events` follows. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} MAP(tap);

/* What the audit asks for, as the daemon finds it, and how much was lost. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_audited);
} MAP(audited);

/* Events for the audit's file, until the daemon has read them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} MAP(audit);

/* The followers, and the pool that each traces. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_follows);
} MAP(follows);

/* What each of them is told. The follower makes its ring, so the memory is its own. */
struct pintle_follow_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PINTLE_MAX_FOLLOWERS);
	__type(key, __u32);
	__array(values, struct pintle_follow_ring);
} MAP(follow_rings);

/* Traced decisions that are being made. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_NOTES);
	__type(key, __u32);
	__type(value, struct pintle_trace);
} MAP(notes);

/* Traced decisions of the lookup hook whose connection is not established yet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINTLE_MAX_DECIDED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pintle_tuple);
	__type(value, struct pintle_trace);
} MAP(decided);

/* The traced decision for a socket's connection. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pintle_trace);
} MAP(traces);

/* Sums of the newest pass (pass.bpf.c) by endpoint. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pintle_work);
} MAP(tally);

/* Results of the iterators in reconcile.bpf.c: sockets and decisions by endpoint and class. Not
 * pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS *PINTLE_MAX_CLASSES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} MAP(recount);

#endif
