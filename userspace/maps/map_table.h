/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_table.h - every pinned map: its layout, as abi.h and bpf/maps.bpf.h make it, and what it
 * holds. Pins, checks of layouts, mappings and docs/maps.md follow from a map's row.
 */
#ifndef PINTLE_MAP_TABLE_H
#define PINTLE_MAP_TABLE_H

/*
 * X(name, type, type of a key, type of a value, entries, memory, ...)
 *
 * type     as in BPF_MAP_TYPE_*
 * entries  ANY: not part of the layout, because readers and writers do not depend on the number
 * memory   MAPPED: an array in the daemon's memory, at the member of struct maps that has its name;
 *          COPIED: read and written by system calls
 * ...      further members of struct map_layout
 */
#define PINTLE_MAPS(X)                                                                             \
	X(node, ARRAY, __u32, struct pintle_node, 1, MAPPED, .key = "0",                           \
	  .holds = "layout version, PID, heartbeat, where attached, drift", .writer = "daemon")    \
	X(names, ARRAY, __u32, struct pintle_name, PINTLE_SLOTS, COPIED, .key = "slot",            \
	  .holds = "what pools and endpoints are called", .writer = "daemon")                      \
	X(addresses, HASH, struct pintle_address_key, struct pintle_address, ANY, COPIED,          \
	  .key = "scope, port, address", .holds = "the endpoint that a listener there is",         \
	  .writer = "daemon")                                                                      \
	X(server_cgroups, HASH, struct pintle_server_cgroup, __u32, ANY, COPIED,                   \
	  .key = "cgroup id, hash of an endpoint's pattern", .holds = "1, where it matches",       \
	  .writer = "daemon")                                                                      \
	X(frontends, LPM_TRIE, struct pintle_frontend_key, struct pintle_frontend, ANY, COPIED,    \
	  .key = "scope, port, protocol, address prefix", .holds = "pool", .writer = "daemon")     \
	X(members, HASH, struct pintle_address_key, struct pintle_member, ANY, COPIED,             \
	  .key = "scope, port, address",                                                           \
	  .holds = "the endpoint there, of a pool of the connect hook", .writer = "daemon")        \
	X(spared, HASH, struct pintle_spared_key, struct pintle_spared, ANY, COPIED,               \
	  .key = "client, pool",                                                                   \
	  .holds = "the name of the client, whose connections to members are left alone",          \
	  .writer = "daemon")                                                                      \
	X(policies, HASH, struct pintle_policy_key, struct pintle_policy, ANY, COPIED,             \
	  .remade = true, .key = "a cluster's pool",                                               \
	  .holds = "the keys that it has by its SteeringPolicy, for a daemon that starts without " \
		   "the API server",                                                               \
	  .writer = "daemon")                                                                      \
	X(hosts, ARRAY, __u32, struct pintle_host, PINTLE_MAX_HOSTS, COPIED, .remade = true,       \
	  .key = "number",                                                                         \
	  .holds = "an endpoint whose address is a host's name, and what DNS says of it",          \
	  .writer = "daemon")                                                                      \
	X(pools, ARRAY, __u32, struct pintle_pool, PINTLE_MAX_POOLS, COPIED, .key = "pool",        \
	  .holds = "policy and members", .writer = "daemon; kernel where it leaves one")           \
	X(overrides, ARRAY, __u32, struct pintle_override, PINTLE_OVERRIDE_COUNT, COPIED,          \
	  .carry = CARRY_CHANGES, .key = "slot", .holds = "mode, requests and drain, as set",      \
	  .writer = "CLI")                                                                         \
	X(trials, HASH, struct pintle_ref, struct pintle_trial, ANY, COPIED,                       \
	  .carry = CARRY_CHANGES, .key = "pool", .holds = "its A/B test, while that runs",         \
	  .writer = "CLI; the daemon deletes those that are over")                                 \
	X(trial_blocks, HASH, struct pintle_trial_block, struct pintle_firsts, ANY, COPIED,        \
	  .carry = CARRY_NOT, .key = "pool, test, number of a block",                              \
	  .holds = "answers to requests of that block",                                            \
	  .writer = "kernel; the daemon makes and deletes")                                        \
	X(trial_results, ARRAY, __u32, struct pintle_trial_result, PINTLE_MAX_TRIALS, MAPPED,      \
	  .remade = true, .key = "0 to 31",                                                        \
	  .holds = "what an A/B test has measured; also after its end, until the place is "        \
		   "needed",                                                                       \
	  .writer = "daemon")                                                                      \
	X(settings, HASH, struct pintle_setting_key, struct pintle_setting, ANY, COPIED,           \
	  .remade = true, .carry = CARRY_CHANGES, .key = "pool's name, key",                       \
	  .holds = "its value, as `pintle set` took it; key `reload`: asked for", .writer = "CLI") \
	X(verdicts, HASH, struct pintle_setting_key, struct pintle_verdict, ANY, COPIED,           \
	  .remade = true, .key = "pool's name, key",                                               \
	  .holds = "what became of it: in force, or refused and why", .writer = "daemon")          \
	X(homes, ARRAY_OF_MAPS, __u32, __u32, PINTLE_MAX_POOLS, COPIED, .key = "pool",             \
	  .holds = "`pintle_homes`: Maglev table, hash of a group or prompt to endpoint; only "    \
		   "with `stickiness.group` or `stickiness.prefix`",                               \
	  .writer = "daemon")                                                                      \
	X(endpoints, ARRAY, __u32, struct pintle_endpoint, PINTLE_MAX_ENDPOINTS, COPIED,           \
	  .key = "endpoint", .holds = "pool, address, port", .writer = "daemon")                   \
	X(scores, ARRAY, __u32, struct pintle_score, PINTLE_MAX_ENDPOINTS, MAPPED,                 \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "signals, load model, counts at the scrape, its time", .writer = "daemon")      \
	X(works, ARRAY, __u32, struct pintle_work, PINTLE_MAX_ENDPOINTS, MAPPED, .remade = true,   \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "requests waiting and answering, idle connections, bytes, as of the newest "    \
		   "pass over the sockets",                                                        \
	  .writer = "daemon")                                                                      \
	X(inflight, ARRAY, __u32, struct pintle_inflight, PINTLE_MAX_ENDPOINTS, MAPPED,            \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "placed, opened, closed, failed by class",                                      \
	  .writer = "kernel; the daemon corrects it")                                              \
	X(ends, ARRAY, __u32, struct pintle_ends, PINTLE_MAX_ENDPOINTS, MAPPED,                    \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "sums over its connections that ended: how, bytes, durations",                  \
	  .writer = "kernel")                                                                      \
	X(firsts, ARRAY, __u32, struct pintle_firsts, PINTLE_MAX_ENDPOINTS, MAPPED,                \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "answers by how long their clients waited for the first token, and sums",       \
	  .writer = "kernel")                                                                      \
	X(answers, ARRAY, __u32, struct pintle_answers, PINTLE_MAX_ENDPOINTS, MAPPED,              \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "the shape of its answers, and which clients got them; until when it is "       \
		   "ejected for them",                                                             \
	  .writer = "kernel; the daemon for ejections")                                            \
	X(class_firsts, ARRAY, __u32, struct pintle_firsts, PINTLE_MAX_POOLS *PINTLE_MAX_CLASSES,  \
	  MAPPED, .cleared_of = MAP_OF_POOLS, .key = "8 x pool + class",                           \
	  .holds = "the same by class", .writer = "kernel")                                        \
	X(class_sums, ARRAY, __u32, struct pintle_class_sums,                                      \
	  PINTLE_MAX_POOLS *PINTLE_MAX_CLASSES, MAPPED, .cleared_of = MAP_OF_POOLS,                \
	  .key = "8 x pool + class",                                                               \
	  .holds = "decisions of the class by outcome; sizes of its requests and answers, how "    \
		   "requests ended",                                                               \
	  .writer = "kernel")                                                                      \
	X(health, ARRAY, __u32, struct pintle_health, PINTLE_MAX_ENDPOINTS, MAPPED,                \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "listening since, families, why unsteerable, whose listeners, direct "          \
		   "connections; failures of clients, ejected until",                              \
	  .writer = "kernel; the daemon for listeners that the kernel did not see, and "           \
		    "for answers that outweigh failures of clients")                               \
	X(sockets, SOCKMAP, __u32, __u64, PINTLE_SOCKET_SLOTS, COPIED, .write_only = true,         \
	  .key = "16 x endpoint + i",                                                              \
	  .holds = "its LISTEN sockets; behind the endpoints', the overload responder's",          \
	  .writer = "sockops at `listen()`, the daemon at start")                                  \
	X(affinity, LRU_HASH, struct pintle_affinity_key, struct pintle_affinity, ANY, COPIED,     \
	  .carry = CARRY_CHANGES, .key = "pool, session key",                                      \
	  .holds = "endpoint, bound, used, client",                                                \
	  .writer = "kernel; the daemon deletes expired ones, the CLI those it unbinds")           \
	X(affinity_beyond, LRU_HASH, struct pintle_affinity_key, struct pintle_affinity, ANY,      \
	  COPIED, .carry = CARRY_CHANGES,                                                          \
	  .holds = "the same, for clients that used up their share of `affinity`",                 \
	  .writer = "likewise")                                                                    \
	X(classified, HASH, struct pintle_affinity_key, struct pintle_session_class, ANY, COPIED,  \
	  .carry = CARRY_CHANGES, .key = "pool, session key",                                      \
	  .holds = "the session's class, as `pintle classify` gave it", .writer = "CLI")           \
	X(sessions, HASH, struct pintle_affinity_key, struct pintle_session_class, ANY, COPIED,    \
	  .key = "pool, session key",                                                              \
	  .holds = "the session's class, as the classifier found it, and why", .writer = "daemon") \
	X(evidence, RINGBUF, struct map_nothing, struct map_nothing, ANY, COPIED,                  \
	  .write_only = true,                                                                      \
	  .holds = "`pintle_evidence`: requests that ended, of pools that classify",               \
	  .writer = "kernel")                                                                      \
	X(shares, LRU_HASH, __u64, __u64, ANY, COPIED, .carry = CARRY_NOT, .key = "client",        \
	  .holds = "number of its bindings in `affinity`",                                         \
	  .writer = "kernel counts up; the daemon corrects it")                                    \
	X(bindings, ARRAY, __u32, struct pintle_bindings, PINTLE_MAX_POOLS, MAPPED,                \
	  .cleared_of = MAP_OF_POOLS, .key = "pool",                                               \
	  .holds = "made, removed, evicted, held; sessions that share a class's places",           \
	  .writer = "kernel: made, retries, sharing; daemon: the rest; CLI: removed")              \
	X(models, HASH, struct pintle_model_key, struct pintle_model, ANY, COPIED,                 \
	  .key = "pool, name of a model; none: no model that is known",                            \
	  .holds = "the pool that serves it, the adapter that it is, and how many requests named " \
		   "it",                                                                           \
	  .writer = "daemon; kernel: requests, loaded")                                            \
	X(adapters, ARRAY, __u32, struct pintle_adapters, PINTLE_MAX_ENDPOINTS, MAPPED,            \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "the LoRA adapters that it has loaded, by their numbers",                       \
	  .writer = "daemon; kernel: placed")                                                      \
	X(adapter_holders, ARRAY, __u32, struct pintle_holders, PINTLE_MAX_ADAPTERS, MAPPED,       \
	  .key = "adapter", .holds = "endpoints that have it, up to 8",                            \
	  .writer = "kernel; daemon")                                                              \
	X(quotas, HASH, struct pintle_affinity_key, struct pintle_quota, ANY, COPIED,              \
	  .key = "pool, tenant as a session key; none: the others",                                \
	  .holds = "connections in flight, and new ones a second, that it may have",               \
	  .writer = "daemon")                                                                      \
	X(tenants, HASH, struct pintle_affinity_key, struct pintle_tenant, ANY, COPIED,            \
                                                                                                   \
	  .key = "pool, tenant as a session key; none: those without an entry",                    \
	  .holds = "its connections, opened, closed and refused",                                  \
	  .writer = "kernel; the daemon deletes those that were not used for long")                \
	X(tenant_firsts, HASH, struct pintle_affinity_key, struct pintle_tenant_firsts, ANY,       \
	  COPIED, .key = "as in `tenants`",                                                        \
	  .holds = "its answers by how long their clients waited for the first token",             \
	  .writer = "kernel; the daemon deletes those whose tenant is gone")                       \
	X(tenant_minutes, HASH, struct pintle_affinity_key, struct pintle_tenant_minute, ANY,      \
	  COPIED, .remade = true, .key = "as in `tenants`",                                        \
	  .holds = "percentiles of these times in the last minute", .writer = "daemon")            \
	X(seats, SK_STORAGE, int, struct pintle_seat, ANY, COPIED, .write_only = true,             \
	  .key = "a socket of a pool with quotas", .holds = "the tenant in whose entry it counts", \
	  .writer = "kernel")                                                                      \
	X(refusals, LRU_HASH, struct pintle_affinity_key, struct pintle_refusal, ANY, COPIED,      \
	  .carry = CARRY_NOT, .key = "pool, session key",                                          \
	  .holds = "when the session was told no, and how often it came back at once",             \
	  .writer = "kernel")                                                                      \
	X(majorities, PERCPU_ARRAY, __u32, struct pintle_majority, PINTLE_MAX_POOLS, COPIED,       \
	  .carry = CARRY_NOT, .key = "pool",                                                       \
	  .holds = "the session that makes most of its connections on that CPU, if one "           \
		   "makes more than half",                                                         \
	  .writer = "kernel")                                                                      \
	X(pending, LRU_HASH, struct pintle_tuple, struct pintle_decision, ANY, COPIED,             \
	  .carry = CARRY_CHANGES, .key = "4-tuple",                                                \
	  .holds = "until it is established; `ended`: counted as failed", .writer = "kernel")      \
	X(conns, SK_STORAGE, int, struct pintle_conn, ANY, COPIED, .write_only = true,             \
	  .key = "socket", .holds = "endpoint, pool, outcome, times", .writer = "kernel")          \
	X(listeners, SK_STORAGE, int, struct pintle_conn, ANY, COPIED, .write_only = true,         \
	  .key = "listener",                                                                       \
	  .holds = "the same of a listener whose connections are in `hand_flows`",                 \
	  .writer = "kernel")                                                                      \
	X(hand_flows, HASH, struct pintle_tuple, struct pintle_hand_flow, PINTLE_MAX_HAND_FLOWS,   \
	  COPIED, .write_only = true, .root_only = true, .carry = CARRY_CHANGES, .key = "4-tuple", \
	  .holds = "a connection that the hand-off gave to a server of this node",                 \
	  .writer = "kernel")                                                                      \
	X(connects, SK_STORAGE, int, struct pintle_connect, ANY, COPIED, .write_only = true,       \
	  .key = "a client's socket", .holds = "what connect() decided, its hint",                 \
	  .writer = "kernel")                                                                      \
	X(turns, SK_STORAGE, int, struct pintle_turn, ANY, COPIED, .write_only = true,             \
	  .key = "a steered socket",                                                               \
	  .holds = "its request: waiting, answered, idle; bytes and times",                        \
	  .writer = "the pass; sockops: the session of a server's")                                \
	X(clients, HASH, __u64, struct pintle_client, ANY, COPIED, .key = "cgroup id",             \
	  .holds = "which client that is", .writer = "daemon")                                     \
	X(pods, HASH, __u64, struct pintle_pod, ANY, COPIED, .key = "client id",                   \
	  .holds = "the pod of this node that it is, and its namespace and service account",       \
	  .writer = "daemon")                                                                      \
	X(oneshot, LPM_TRIE, struct pintle_frontend_key, struct pintle_ref, ANY, COPIED,           \
	  .key = "scope, port, protocol, address prefix",                                          \
	  .holds = "the pool whose requests arrive there", .writer = "daemon")                     \
	X(oneshot_flows, LRU_HASH, struct pintle_tuple, struct pintle_flow, ANY, COPIED,           \
	  .carry = CARRY_NOT, .key = "4-tuple",                                                    \
	  .holds = "where its first data begins, if the kernel answers its SYN; until more data "  \
		   "came or it was left alone",                                                    \
	  .writer = "kernel")                                                                      \
	X(oneshot_stats, PERCPU_ARRAY, __u32, __u64, PINTLE_ONESHOT_STAT_COUNT, COPIED,            \
	  .cleared_of = MAP_OF_POOLS, .key = "16 x pool + what one-shot did",                      \
	  .holds = "first segments", .writer = "kernel")                                           \
	X(asking, PERCPU_ARRAY, __u32, struct pintle_asking, 1, COPIED, .write_only = true,        \
	  .carry = CARRY_NOT, .key = "0",                                                          \
	  .holds = "what the hand-off asks the lookup hook, on that CPU", .writer = "kernel")      \
	X(named, LRU_HASH, struct pintle_tuple, struct pintle_named, ANY, COPIED,                  \
	  .carry = CARRY_NOT, .key = "4-tuple",                                                    \
	  .holds = "the session that its request named, and how much of it is cached, until it "   \
		   "is established",                                                               \
	  .writer = "kernel")                                                                      \
	X(hand_stats, PERCPU_ARRAY, __u32, __u64, PINTLE_HAND_STAT_COUNT, COPIED,                  \
	  .cleared_of = MAP_OF_POOLS, .key = "16 x pool + what the hand-off did",                  \
	  .holds = "connections of pools that are decided by request", .writer = "kernel")         \
	X(prefixes, ARRAY_OF_MAPS, __u32, __u32, 1, COPIED, .key = "0",                            \
	  .holds = "LRU hash of 262,144: hash of a prompt's beginning -> `pintle_prefix`: the "    \
		   "endpoints that have it cached; only while a pool has `stickiness.prefix`",     \
	  .writer = "kernel; the daemon makes it")                                                 \
	X(prefix_key, ARRAY, __u32, struct pintle_chunk_key, 1, COPIED, .key = "0",                \
	  .holds = "the secret of those hashes", .writer = "daemon")                               \
	X(learners, LRU_HASH, struct pintle_learner_key, struct pintle_learner, ANY, COPIED,       \
	  .write_only = true, .carry = CARRY_NOT, .key = "pool, client",                           \
	  .holds = "what it added to `prefixes`", .writer = "kernel")                              \
	X(learning, ARRAY, __u32, struct pintle_learners, 1, COPIED, .carry = CARRY_NOT,           \
	  .key = "0", .holds = "how many clients added to `prefixes`", .writer = "kernel")         \
	X(prompt_stats, PERCPU_ARRAY, __u32, __u64, PINTLE_PROMPT_STAT_COUNT, COPIED,              \
	  .cleared_of = MAP_OF_POOLS, .key = "8 x pool + what was found out",                      \
	  .holds = "prompts of pools with `stickiness.prefix`", .writer = "kernel")                \
	X(scopes, HASH, __u64, struct pintle_scope, ANY, COPIED,                                   \
	  .key = "SO_NETNS_COOKIE of a pod", .holds = "the device by which it is reached",         \
	  .writer = "daemon")                                                                      \
	X(pod_flows, HASH, struct pintle_tuple, struct pintle_pod_flow, ANY, COPIED,               \
	  .carry = CARRY_CHANGES, .key = "scope, addresses, ports",                                \
	  .holds = "the device of the pod that has this open connection", .writer = "kernel")      \
	X(pod_ended, LRU_HASH, struct pintle_tuple, struct pintle_pod_flow, ANY, COPIED,           \
	  .carry = CARRY_NOT, .key = "scope, addresses, ports",                                    \
	  .holds = "the same, for a connection that ended a moment ago", .writer = "kernel")       \
	X(hand_seen, ARRAY, __u32, struct pintle_hand_seen, PINTLE_HAND_SEEN_SLOTS, COPIED,        \
	  .write_only = true, .carry = CARRY_NOT, .key = "index of a device % 1024",               \
	  .holds = "when the hand-off's TC program saw a segment there", .writer = "kernel")       \
	X(resting, ARRAY, __u32, struct pintle_rest, PINTLE_RESTS, COPIED, .carry = CARRY_NOT,     \
	  .key = "pool; IPv6: 256 + pool; 512: all",                                               \
	  .holds = "how hand-overs to its frontends fail, and until when the hand-off rests",      \
	  .writer = "kernel; daemon where nat stands")                                             \
	X(rest_clients, LRU_HASH, struct pintle_learner_key, struct pintle_rest, ANY, COPIED,      \
	  .write_only = true, .carry = CARRY_NOT, .key = "pool, client",                           \
	  .holds = "the same, of those of one client", .writer = "kernel")                         \
	X(hand_served, ARRAY, __u32, __u64, PINTLE_HAND_SERVED, COPIED, .write_only = true,        \
	  .carry = CARRY_NOT, .key = "hash % 65536",                                               \
	  .holds = "a hash of a connection that was established, so that no copy of its first "    \
		   "segment begins it again",                                                      \
	  .writer = "kernel")                                                                      \
	X(hand_ways, LPM_TRIE, struct pintle_way_key, struct pintle_way, ANY, COPIED,              \
	  .key = "a frontend's address or any, and a prefix of clients",                           \
	  .holds = "the route to them: device, MTU, `advmss`, the gateway's address",              \
	  .writer = "daemon")                                                                      \
	X(hand_devices, HASH, __u32, struct pintle_device, ANY, COPIED, .remade = true,            \
	  .key = "index of a device",                                                              \
	  .holds = "its name, and whether handshakes are answered in XDP there",                   \
	  .writer = "daemon")                                                                      \
	X(hold_stats, PERCPU_ARRAY, __u32, __u64, PINTLE_HOLD_STAT_COUNT, COPIED,                  \
	  .cleared_of = MAP_OF_POOLS, .key = "16 x pool + what became of it",                      \
	  .holds = "connections that the hand-off held", .writer = "kernel")                       \
	X(held, HASH, struct pintle_held_key, struct pintle_held, ANY, COPIED, .write_only = true, \
	  .carry = CARRY_CHANGES, .key = "client, place",                                          \
	  .holds = "a request that is held, and bytes of it that came", .writer = "kernel")        \
	X(splices, HASH, struct pintle_tuple, struct pintle_splice, ANY, COPIED,                   \
	  .carry = CARRY_CHANGES, .key = "scope, addresses, ports",                                \
	  .holds = "a client's connection to a frontend that is spliced: its server, and how "     \
		   "numbers are translated",                                                       \
	  .writer = "kernel; the daemon deletes those of devices that are gone")                   \
	X(splice_backs, HASH, struct pintle_tuple, struct pintle_splice_back, ANY, COPIED,         \
	  .carry = CARRY_CHANGES, .key = "scope, addresses, ports, as the server sees them",       \
	  .holds = "the key of such a connection in `splices`",                                    \
	  .writer = "kernel; daemon as in `splices`")                                              \
	X(splice_shares, HASH, __u64, __u64, ANY, COPIED, .carry = CARRY_CHANGES, .key = "client", \
	  .holds = "number of its entries in `splices`", .writer = "kernel; daemon likewise")      \
	X(splice_spaces, LRU_HASH, __u64, struct pintle_space, ANY, COPIED, .carry = CARRY_NOT,    \
	  .key = "cookie of a pod's network namespace",                                            \
	  .holds = "the device where its segments are seen both ways",                             \
	  .writer = "kernel; the daemon deletes those of devices without the programs")            \
	X(sweeper, ARRAY, __u32, struct pintle_sweeper, 2, COPIED, .write_only = true,             \
	  .carry = CARRY_NOT, .key = "0: requests; 1: flows",                                      \
	  .holds = "the timers that forget held requests and spliced connections",                 \
	  .writer = "kernel")                                                                      \
	X(stats, PERCPU_ARRAY, __u32, __u64, PINTLE_STAT_COUNT, COPIED,                            \
	  .cleared_of = MAP_OF_POOLS, .key = "16 x pool + outcome", .holds = "decisions",          \
	  .writer = "kernel")                                                                      \
	X(shadow_stats, PERCPU_ARRAY, __u32, __u64, PINTLE_STAT_COUNT, COPIED,                     \
	  .cleared_of = MAP_OF_POOLS, .key = "16 x pool + outcome",                                \
	  .holds = "decisions of the rule in mode shadow, which placed nothing",                   \
	  .writer = "kernel")                                                                      \
	X(shadow_placed, ARRAY, __u32, __u64, PINTLE_MAX_ENDPOINTS, MAPPED,                        \
	  .cleared_of = MAP_OF_ENDPOINTS, .key = "endpoint",                                       \
	  .holds = "how often the rule would have placed there in mode shadow",                    \
	  .writer = "kernel")                                                                      \
	X(shadow_bindings, LRU_HASH, struct pintle_affinity_key, struct pintle_affinity, ANY,      \
	  COPIED, .carry = CARRY_NOT, .key = "pool, session key",                                  \
	  .holds = "endpoint to which the session would be bound in mode shadow",                  \
	  .writer = "kernel")                                                                      \
	X(forecasts, ARRAY, __u32, struct pintle_forecast, PINTLE_MAX_POOLS, MAPPED,               \
	  .cleared_of = MAP_OF_POOLS, .key = "pool",                                               \
	  .holds = "in mode shadow: sums of the loads where connections would have gone, and "     \
		   "where they went",                                                              \
	  .writer = "kernel")                                                                      \
	X(history, HASH, struct pintle_moment_key, struct pintle_moment, ANY, COPIED,              \
	  .remade = true, .key = "pool, time, part",                                               \
	  .holds = "the pool's counts as they stood then, for `pintle report`; 24 hours, a "       \
		   "minute apart",                                                                 \
	  .writer = "daemon")                                                                      \
	X(tap, RINGBUF, struct map_nothing, struct map_nothing, ANY, COPIED, .write_only = true,   \
	  .holds = "`pintle_event`: closed connections, rare decisions, ejections, "               \
		   "while `pintle events` follows",                                                \
	  .writer = "kernel")                                                                      \
	X(audited, ARRAY, __u32, struct pintle_audited, 1, MAPPED, .key = "0",                     \
	  .holds = "what the audit asks for; events and lines that were lost",                     \
	  .writer = "kernel: lost; daemon: the rest")                                              \
	X(audit, RINGBUF, struct map_nothing, struct map_nothing, ANY, COPIED, .write_only = true, \
	  .holds = "`pintle_event`: refused connections, and if asked for all that end, until "    \
		   "the daemon writes them to the audit's file",                                   \
	  .writer = "kernel")                                                                      \
	X(follows, ARRAY, __u32, struct pintle_follows, 1, MAPPED, .carry = CARRY_NOT, .key = "0", \
	  .holds = "who traces which pool: since, until, rate, what; records lost",                \
	  .writer = "`pintle trace`; kernel: what was left out or lost")                           \
	X(follow_rings, ARRAY_OF_MAPS, __u32, __u32, PINTLE_MAX_FOLLOWERS, COPIED,                 \
	  .write_only = true, .key = "follower",                                                   \
	  .holds = "a ring buffer of `pintle_trace`: decisions and ends, for that follower",       \
	  .writer = "`pintle trace`")                                                              \
	X(decided, HASH, struct pintle_tuple, struct pintle_trace, ANY, COPIED,                    \
	  .write_only = true, .carry = CARRY_NOT, .key = "4-tuple",                                \
	  .holds = "a traced decision of the lookup hook, until the connection is established",    \
	  .writer = "kernel; `pintle trace` deletes old ones")                                     \
	X(traces, SK_STORAGE, int, struct pintle_trace, ANY, COPIED, .write_only = true,           \
	  .key = "a socket of a traced connection", .holds = "its decision, until it ends",        \
	  .writer = "kernel")

#endif
