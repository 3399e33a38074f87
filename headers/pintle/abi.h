/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi.h - every key and value that the kernel's side and user space share.
 *
 * This file alone defines layouts. Rules for changes:
 *   - fixed-width members, no pointers, no bit-fields; each with its unit;
 *   - no padding that is not named, because keys are compared as bytes;
 *   - sizes are asserted below: a change of size or meaning is a new
 *     PINTLE_ABI_VERSION, since older pins may still be steering;
 *   - every stored id of an endpoint or a pool has a generation beside it, which is
 *     compared before the id is used: pods churn, and ids are given to others;
 *   - each map has one regular writer, named beside its value.
 *
 * Addresses are IPv6 in network byte order; IPv4 is ::ffff:a.b.c.d. Ports are in
 * host byte order. Times are CLOCK_MONOTONIC in nanoseconds; 0 is "never".
 * Loads are in milli-requests: 1000 is one request equivalent (docs/load.md).
 */
#ifndef PINTLE_ABI_H
#define PINTLE_ABI_H

#include <linux/types.h>

#define PINTLE_ABI_VERSION 4
/* The node has room for so many. */
#define PINTLE_MAX_POOLS     256
#define PINTLE_MAX_ENDPOINTS 4096
#define PINTLE_MAX_FRONTENDS 4096
/* Endpoints of one pool. Each pool's row has room for so many, so this times PINTLE_MAX_POOLS is
 * memory; and the daemon reads and sorts a row whole. */
#define PINTLE_MAX_MEMBERS 1024
#define PINTLE_MAX_CLASSES 8
#define PINTLE_MAX_WEIGHT  100 /* of an endpoint */
/* With the terminating NUL. "NAMESPACE/NAME:PORT" of a cluster takes 324: 63, 253 and 5 characters.
 */
#define PINTLE_NAME_SIZE        332
#define PINTLE_CLIENT_NAME_SIZE 64  /* there are many clients, and "pod/UID" is short */
#define PINTLE_TEXT_SIZE        128 /* a path or a version, with the NUL */
#define PINTLE_LINES_SIZE       768 /* a few lines, with the NUL */

/* So many LISTEN sockets of an endpoint are remembered: SO_REUSEPORT workers, and
 * servers whose restarts overlap. More may listen; any remembered socket reaches its
 * whole SO_REUSEPORT group. */
#define PINTLE_SOCKETS_PER_ENDPOINT 16 /* at most the bits of `unwatched` */
/* Behind those of all endpoints, the overload responder's listeners. */
#define PINTLE_RESPONDER_SLOT(at) (PINTLE_MAX_ENDPOINTS * PINTLE_SOCKETS_PER_ENDPOINT + (at))
#define PINTLE_SOCKET_SLOTS       PINTLE_RESPONDER_SLOT(PINTLE_RESPONDERS)

/* Entries of a Maglev table: a prime, and at least 100 times the endpoints of a
 * common pool (Eisenbud et al., NSDI '16, section 3.4, on the choice of M). */
#define PINTLE_HOME_ENTRIES 16381

/* A decision holds for its 4-tuple this long: longer than a handshake with SYN cookies
 * takes, shorter than the time until a client uses the port again. */
#define PINTLE_PENDING_NS 10000000000ULL

/* Up to this many endpoints of a pool are all compared; in a larger pool this many
 * eligible ones are drawn at random and compared. */
#define PINTLE_SAMPLE 8

/* No published load is larger than this, so that sums of loads cannot overflow. */
#define PINTLE_MAX_LOAD 1000000000ULL /* milli-requests */

/* Properties of an outcome. Code asks for the trait that it means (outcome_has() in
 * bpf/traits.bpf.h); it names an outcome only to give it, or where one alone is meant. */
enum pintle_outcome_trait {
	/* An endpoint of the pool, or of a fallback, gets the connection. */
	PINTLE_PLACED = 0x1,
	/* The connection binds its session to that endpoint. */
	PINTLE_BINDS = 0x2,
	/* The endpoint is the one that the session, or its group, prefers. */
	PINTLE_KEPT = 0x4,
	/* A fallback may take the connection, if the pool that is asked said this. */
	PINTLE_SPILLS = 0x8,
	/* No endpoint gets the connection, because of what Pintle's operator set. */
	PINTLE_TOLD_NO = 0x10,
	/* The connection was over a limit. */
	PINTLE_TURNED_AWAY = 0x20,
	/* The connection is refused at once, whatever the failure mode says. */
	PINTLE_AT_ONCE = 0x40,
	/* An operator who looks for trouble wants to see each of these decisions. */
	PINTLE_RARE = 0x80,
};

/* X(symbol, name, what it says, traits): why a connection went where it went. */
#define PINTLE_OUTCOMES(X)                                                                         \
	X(STICKY, "sticky", "to the endpoint that its session is bound to",                        \
	  PINTLE_PLACED | PINTLE_BINDS | PINTLE_KEPT)                                              \
	X(HOME, "home", "to the home of its group", PINTLE_PLACED | PINTLE_BINDS | PINTLE_KEPT)    \
	X(LEAST_LOADED, "least_loaded", "no preference; to the least loaded endpoint",             \
	  PINTLE_PLACED | PINTLE_BINDS)                                                            \
	X(ESCAPED, "escaped", "preferred endpoint too loaded; to the least loaded one",            \
	  PINTLE_PLACED | PINTLE_BINDS | PINTLE_RARE)                                              \
	X(STALE, "stale", "no score is fresh; connections in flight decided",                      \
	  PINTLE_PLACED | PINTLE_BINDS | PINTLE_RARE)                                              \
	X(SPILLED, "spilled",                                                                      \
	  "over a limit of its class or tenant, or none is ready; to a fallback pool",             \
	  PINTLE_PLACED | PINTLE_BINDS | PINTLE_SPILLS | PINTLE_RARE)                              \
	X(DIVERTED, "diverted", "over a limit of its class or tenant; to the overload responder",  \
	  PINTLE_TOLD_NO | PINTLE_TURNED_AWAY | PINTLE_RARE)                                       \
	X(REFUSED, "refused",                                                                      \
	  "over a limit of its class or tenant, or nothing could count it there; refused at once", \
	  PINTLE_TOLD_NO | PINTLE_TURNED_AWAY | PINTLE_AT_ONCE | PINTLE_RARE)                      \
	X(NO_ENDPOINT, "no_endpoint", "no endpoint is ready; the failure mode decided",            \
	  PINTLE_SPILLS | PINTLE_RARE)                                                             \
	X(RANDOM, "random", "mode baseline or shadow: any ready endpoint", PINTLE_PLACED)          \
	X(PASSED, "passed",                                                                        \
	  "mode off or shadow, a pod that is left alone, or no daemon for long: left as it came",  \
	  0)                                                                                       \
	X(TRIED, "tried", "to an endpoint that stood still, to see whether it serves again",       \
	  PINTLE_PLACED | PINTLE_RARE)                                                             \
	X(FORBIDDEN, "forbidden", "its client may not connect to the pool; refused at once",       \
	  PINTLE_TOLD_NO | PINTLE_AT_ONCE | PINTLE_RARE)

#define X(symbol, name, says, traits) PINTLE_OUTCOME_##symbol,
enum pintle_outcome { PINTLE_OUTCOMES(X) PINTLE_OUTCOME_COUNT };
#undef X
#define PINTLE_MAX_OUTCOMES 16 /* room in `stats`, so that an outcome can be added */

#define PINTLE_MODES(X)                                                                            \
	X(OFF, "off", "connections are left alone")                                                \
	X(BASELINE, "baseline", "uniformly at random over the ready endpoints, no affinity")       \
	X(ENFORCE, "enforce", "the rule")                                                          \
	X(SHADOW, "shadow",                                                                        \
	  "what the rule would do is counted; connections go where they would without it")
#define X(symbol, name, says) PINTLE_MODE_##symbol,
enum pintle_mode { PINTLE_MODES(X) PINTLE_MODE_COUNT };
#undef X

enum pintle_failure_mode { PINTLE_FAIL_OPEN, PINTLE_FAIL_CLOSE };

/* How a pool's servers are reached. Each is a bit, because a hook may know several ways. */
enum pintle_reach {
	PINTLE_REACH_LISTENER = 0x1, /* a LISTEN socket of this node takes the connection */
	PINTLE_REACH_ADDRESS = 0x2,  /* the connection goes to an address and port anywhere */
};

/* Properties of a hook. Code asks for the trait that it means, never which hook it is:
 * bpf/traits.bpf.h. */
enum pintle_trait {
	/* The hook decides on the servers' node, to which clients send packets for the frontend's
	 * address. Without this trait it decides on the clients' node, from which packets go to the
	 * endpoint's address. */
	PINTLE_TRAIT_AT_SERVERS = 0x1,
	/* The hook sees how endpoints fail their clients. */
	PINTLE_TRAIT_FAILURES = 0x2,
	/* The hook leaves out for a while an endpoint that failed several clients in a row. */
	PINTLE_TRAIT_EJECTS = 0x4,
	/* The hook leaves connections as they came once the heartbeat is older than
	 * node.daemonless: the servers may have moved. */
	PINTLE_TRAIT_DAEMONLESS = 0x8,
	/* FailOpen leaves the connection as it came. Without this trait any listener gets it. */
	PINTLE_TRAIT_OPEN_PASSES = 0x10,
	/* A placement is kept in the socket's storage until it is opened or failed. Without this
	 * trait it is kept in `pending`, an LRU map, from which it may be evicted uncounted. */
	PINTLE_TRAIT_KEEPS_PLACED = 0x20,
};

#define PINTLE_SEES(key)      (1U << PINTLE_KEY_##key)
#define PINTLE_SEES_ADDRESSES (PINTLE_SEES(NONE) | PINTLE_SEES(SOURCE) | PINTLE_SEES(DESTINATION))
#define PINTLE_SEES_CALLER                                                                         \
	(PINTLE_SEES(CLIENT) | PINTLE_SEES(CGROUP) | PINTLE_SEES(MARK) | PINTLE_SEES(HINT) |       \
	 PINTLE_SEES(POD) | PINTLE_SEES(NAMESPACE) | PINTLE_SEES(ACCOUNT))

/* X(symbol, name, what it is for, PINTLE_REACH_*, keys that it sees, session key where none is
 * configured, PINTLE_TRAIT_*): which hook decides a pool's connections, and what follows from that.
 * New rows come last, because pins hold the numbers. If several hooks reach servers in the same
 * way, the first one decides. The connect hook's session key is CLIENT, because at connect() the
 * socket seldom has an address yet, while its pod is always known. */
#define PINTLE_HOOKS(X)                                                                            \
	X(LOOKUP, "lookup", "model servers that listen on this node", PINTLE_REACH_LISTENER,       \
	  PINTLE_SEES_ADDRESSES, PINTLE_KEY_SOURCE, PINTLE_TRAIT_AT_SERVERS)                       \
	X(CONNECT, "connect", "clients on this node, model servers anywhere",                      \
	  PINTLE_REACH_ADDRESS, PINTLE_SEES_ADDRESSES | PINTLE_SEES_CALLER, PINTLE_KEY_CLIENT,     \
	  PINTLE_TRAIT_FAILURES | PINTLE_TRAIT_EJECTS | PINTLE_TRAIT_DAEMONLESS |                  \
		  PINTLE_TRAIT_OPEN_PASSES | PINTLE_TRAIT_KEEPS_PLACED)
#define X(symbol, ...) PINTLE_HOOK_##symbol,
enum pintle_hook { PINTLE_HOOK_NONE, PINTLE_HOOKS(X) PINTLE_HOOK_COUNT };
#undef X

/* X(symbol, name, what it says): how an endpoint failed a client, as the client's socket saw it. */
#define PINTLE_FAILURES(X)                                                                         \
	X(REFUSED, "refused", "a reset answered the SYN")                                          \
	X(UNANSWERED, "unanswered",                                                                \
	  "the SYN had to be sent again, a second or so after the first")                          \
	X(UNREACHABLE, "unreachable", "a router said so")                                          \
	X(RESET, "reset", "established, then reset before the first byte of an answer")
#define X(symbol, name, says) PINTLE_FAILURE_##symbol,
enum pintle_failure { PINTLE_FAILURES(X) PINTLE_FAILURE_COUNT };
#undef X

/* X(symbol, name, what it says): how a steered connection ended, told by the socket's error. */
#define PINTLE_ENDINGS(X)                                                                          \
	X(CLOSED, "closed", "without an error: in order, or by a reset of its own side")           \
	X(RESET, "reset", "by a reset of the other side")                                          \
	X(TIMEOUT, "timeout", "since the other side no longer answered")                           \
	X(ERROR, "error", "by any other error, such as a refused connection")
#define X(symbol, name, says) PINTLE_ENDING_##symbol,
enum pintle_ending { PINTLE_ENDINGS(X) PINTLE_ENDING_COUNT };
#undef X

/* X(symbol, name, what it says): how a server stands still that is alive (policy/progress.h). */
#define PINTLE_STANDINGS(X)                                                                        \
	X(NOT, "", "it serves")                                                                    \
	X(STOPPED, "stopped", "the server reads and accepts nothing")                              \
	X(STALLED, "stalled", "requests wait, and nothing comes out")
#define X(symbol, name, says) PINTLE_STANDING_##symbol,
enum pintle_standing { PINTLE_STANDINGS(X) PINTLE_STANDING_COUNT };
#undef X

/* X(symbol, name, what it says): why the daemon finds an endpoint unfit for connections. */
#define PINTLE_UNFITS(X)                                                                           \
	X(NOT, "", "nothing is known against it")                                                  \
	X(STARTING, "starting", "it appeared just now, and has not passed a health check yet")     \
	X(UNHEALTHY, "unhealthy", "it fails its health check")                                     \
	X(FAULTY, "faulty", "its GPU reported an error that only a restart ends")                  \
	X(ASLEEP, "asleep", "its page says that it sleeps")                                        \
	X(FAILING, "failing", "its answers are errors: it is ejected")
#define X(symbol, name, says) PINTLE_UNFIT_##symbol,
enum pintle_unfit { PINTLE_UNFITS(X) PINTLE_UNFIT_COUNT };
#undef X

/* X(symbol, name, what it says): by whose word an endpoint's answers are errors. New rows come
 * last: pins hold the numbers. */
#define PINTLE_FAILINGS(X)                                                                         \
	X(NOT, "", "nothing is known against its answers")                                         \
	X(CLIENTS, "clients", "several clients got short answers at once, or none")                \
	X(COUNTERS, "counters", "its page counts errors, or no work for what it answers")          \
	X(PAGE, "page", "its page is answered with an error of the server (5xx)")                  \
	X(PROBE, "probe", "it answers the pool's probe with an error of the server (5xx)")         \
	X(BUSY, "busy", "it asked for a pause (429 or 503 with Retry-After)")
#define X(symbol, name, says) PINTLE_FAILING_##symbol,
enum pintle_failing { PINTLE_FAILINGS(X) PINTLE_FAILING_COUNT };
#undef X

/* An endpoint that begins to stand still is tried with a connection after this time. */
#define PINTLE_TRY_NS 2000000000ULL

/* So many bytes of a prompt that is not cached weigh as much as one request: about 100 tokens.
 * lab/docs/experiments/constants.md has the evidence. */
#define PINTLE_REQUEST_BYTES 400

/* How the requests of a kept-alive connection reach servers. */
#define PINTLE_REQUESTS(X)                                                                         \
	X(AS_THEY_COME, "as-they-come", "all requests of a connection go where it was steered to") \
	X(ONE_PER_CONNECTION, "one-per-connection",                                                \
	  "each HTTP/1.1 request comes on a connection of its own, so that each is steered")
#define X(symbol, name, says) PINTLE_REQUESTS_##symbol,
enum pintle_requests { PINTLE_REQUESTS(X) PINTLE_REQUESTS_COUNT };
#undef X

/* X(symbol, name, what it says): what one-shot did with the first segment of a connection. They
 * add up to the first segments seen; where the hand-off does it, to the requests handed over. */
#define PINTLE_ONESHOTS(X)                                                                         \
	X(REWRITTEN_CONNECTION, "rewritten_connection", "its Connection header says close now")    \
	X(REWRITTEN_OTHER_HEADER, "rewritten_other_header",                                        \
	  "a header that the answer does not need became Connection: close")                       \
	X(REWRITTEN_VERSION, "rewritten_version", "the request line says HTTP/1.0 now")            \
	X(LEFT_CLOSE, "left_close", "the client asks for close by itself")                         \
	X(LEFT_NO_ROOM, "left_no_room", "no header line that can be spared is long enough")        \
	X(LEFT_TRANSFER_ENCODING, "left_transfer_encoding",                                        \
	  "only the version could be changed, and the body is chunked")                            \
	X(LEFT_UPGRADE, "left_upgrade", "asks for another protocol: WebSocket, a tunnel")          \
	X(LEFT_VERSION, "left_version", "another version of HTTP than 1.1")                        \
	X(LEFT_NOT_HTTP, "left_not_http", "no HTTP request line: TLS, for example")                \
	X(LEFT_UNFINISHED, "left_unfinished",                                                      \
	  "the headers do not end in the first segment, or, where the hand-off holds "             \
	  "connections, in what it has")                                                           \
	X(LEFT_MALFORMED, "left_malformed",                                                        \
	  "the headers do not follow RFC 9112, or servers read them differently")                  \
	X(LEFT_FAILED, "left_failed", "the kernel had no memory to change it")                     \
	X(LEFT_UNSEEN, "left_unseen",                                                              \
	  "a connection that one-shot did not see: nat of this machine leads another address to "  \
	  "the frontend, or one-shot is not attached where it came from")
#define X(symbol, name, says) PINTLE_ONESHOT_##symbol,
enum pintle_oneshot { PINTLE_ONESHOTS(X) PINTLE_ONESHOT_COUNT };
#undef X
#define PINTLE_MAX_ONESHOTS 16 /* room in `oneshot_stats` */

/* When the connections of a pool are decided. */
#define PINTLE_DECIDES(X)                                                                          \
	X(CONNECTION, "connection", "as soon as a connection comes, by its addresses")             \
	X(REQUEST, "request", "when the first request of a connection is there, by what it says")
#define X(symbol, name, says) PINTLE_DECIDE_##symbol,
enum pintle_decide { PINTLE_DECIDES(X) PINTLE_DECIDE_COUNT };
#undef X
/* In the place of CONNECTION in a pool's row, if the pool's keys name what a request says: the
 * hand-off rests. SYNs are the kernel's, and handshakes that the hand-off has begun go on. */
#define PINTLE_DECIDE_RESTS 0x100

/* X(symbol, name, what it says): what the hand-off did with a connection. They are counted when the
 * first request comes; BY_CONNECTION and FORWARDED when the SYN comes, NO_REQUEST at the end, STRAY
 * with each reset. */
#define PINTLE_HANDS(X)                                                                             \
	X(ASKED, "asked", "placed by what its first request says")                                  \
	X(NOT_SAID, "not_said", "the request has none of the keys; placed by its address")          \
	X(UNFINISHED, "unfinished",                                                                 \
	  "the end of its headers did not come, and what came has none of the keys; placed by its " \
	  "address")                                                                                \
	X(NOT_HTTP, "not_http", "no request of HTTP/1.1: TLS, for example; placed by its address")  \
	X(MALFORMED, "malformed",                                                                   \
	  "the headers do not follow RFC 9112, or servers read them differently; placed by its "    \
	  "address")                                                                                \
	X(NOBODY, "nobody", "no server took it: reset")                                             \
	X(FAILED, "failed", "the kernel would not hand it to the server that was chosen: reset")    \
	X(BY_CONNECTION, "by_connection",                                                           \
	  "the kernel answered its SYN, and it was placed by its address: its addresses and ports " \
	  "are those of a connection that is not over yet, net.ipv4.tcp_syncookies was 0, the "     \
	  "hand-off rested for want of sockets, or it takes only segments of less than 536 bytes "  \
	  "(IPv4) or 1,220 (IPv6)")                                                                 \
	X(FORWARDED, "forwarded", "its SYN is not for this machine: left alone")                    \
	X(NO_MODEL, "no_model",                                                                     \
	  "its request names no model that `models` has, and there is no `default`: 404, or reset") \
	X(NO_REQUEST, "no_request", "the client closed or reset it before a request came")          \
	X(STRAY, "stray",                                                                           \
	  "a segment that no connection explains, which is answered with a reset: its request "     \
	  "comes too late, or its connection was given up or is over")                              \
	X(NO_SOCKET, "no_socket",                                                                   \
	  "a segment that was handed over, and no socket became of it: a firewall or nat of this "  \
	  "node kept it from the server; it counts beside what the request was before")             \
	X(BRAKED, "braked",                                                                         \
	  "a first segment that has to come again, because many cookies are guessed from its "      \
	  "client's network; it counts beside what the request is then")
#define X(symbol, name, says) PINTLE_HAND_##symbol,
enum pintle_hand { PINTLE_HANDS(X) PINTLE_HAND_COUNT };
#undef X
#define PINTLE_MAX_HANDS 16 /* room in `hand_stats` */

/* X(symbol, name, what it says): what the hand-off did with connections whose headers did not end,
 * or whose body was not there, in the first segment, each counted once, up to NO_PLACE, and LOST;
 * and with segments of theirs. */
#define PINTLE_HOLDS(X)                                                                            \
	X(JOINED, "joined",                                                                        \
	  "held until its headers had ended and its body was there, as far as it was waited for")  \
	X(FULL, "full", "its headers are longer than 15,872 bytes: decided by what was there")     \
	X(CLOSED, "closed", "the client closed its side before: decided by what was there")        \
	X(LATE, "late", "held for 10 s, and more came, but not all: decided by what was there")    \
	X(RESET, "reset", "the client reset it while it was held")                                 \
	X(GIVEN_UP, "given_up", "held for 2 minutes, and no more came: forgotten")                 \
	X(NO_PLACE, "no_place",                                                                    \
	  "not held, because as many are as may be, of its address or of all: decided by the "     \
	  "first segment")                                                                         \
	X(REPEATED, "repeated", "a segment that was held already: acknowledged again")             \
	X(OVERLAPPED, "overlapped",                                                                \
	  "a segment that began with bytes that were held already: the server gets those that "    \
	  "came first")                                                                            \
	X(OVERTOOK, "overtook",                                                                    \
	  "a segment that overtook one before it: dropped, and the client sends it again")         \
	X(DAMAGED, "damaged", "a segment whose checksum is wrong: dropped")                        \
	X(AT_ONCE, "at_once",                                                                      \
	  "a segment that came while another CPU was at one of its connection: dropped")           \
	X(LOST, "lost",                                                                            \
	  "a part of its body was lost, or came late: decided by what was there before that")
#define X(symbol, name, says) PINTLE_HOLD_##symbol,
enum pintle_hold { PINTLE_HOLDS(X) PINTLE_HOLD_COUNT };
#undef X
#define PINTLE_MAX_HOLDS 16 /* room in `hold_stats` */

/* ---- scope: in keys with addresses ---------------------------------------- */

/* The network namespace that an address and port belong to: two pods may each have a server on
 * 127.0.0.1:8000. Nearly every key belongs to the namespace that the daemon steers. The listeners
 * of a pod with a namespace of its own have another number: the index of the device by which the
 * steered namespace reaches the pod. Connections to a frontend always belong to the steered
 * namespace, wherever they end. */
#define PINTLE_SCOPE_NODE 0

/* ---- scopes: hash, SO_NETNS_COOKIE of a pod -> its scope. Writer: daemon. ---- */

struct pintle_scope {
	__u32 scope;
	__u32 announces; /* the device, there, whose arp_announce is to be 0 again; 0: none */
};

/* ---- pod_flows: hash; pod_ended: LRU hash, 4-tuple -> where it is. Writer: kernel. ---- */

/* The open connections of endpoints in pods, and those that ended a moment ago. */
#define PINTLE_MAX_POD_FLOWS 32768
#define PINTLE_MAX_POD_ENDED 2048

struct pintle_pod_flow {
	__u32 scope; /* the endpoint's: the device by which the pod is reached */
	__u32 netns; /* the pod's: the low half of its network namespace's cookie; 0: any */
};

/* ---- node: mmap-able array of 1. Writer: daemon. -------------------------- */

/* The overload responder, as clients of one address family reach it. */
struct pintle_responder {
	__u8 address[16];
	__u16 port; /* 0: there is none now */
	__u16 zero;
};
#define PINTLE_RESPONDERS           2
#define PINTLE_RESPONDER_AT(family) ((family) == PINTLE_FAMILY_V6)

struct pintle_node {
	__u32 abi_version;
	__u32 pid;           /* the daemon's, in its own PID namespace */
	__u64 heartbeat_ns;  /* when the daemon's loop last turned */
	__u64 started_ns;    /* when the daemon that runs, or ran last, started */
	__u64 attached_ns;   /* when the links were made; survives restarts */
	__u64 netns_cookie;  /* SO_NETNS_COOKIE of the network namespace that is steered */
	__u64 netns_inode;   /* its inode, as `ls -L -i /proc/PID/ns/net` shows it */
	__u64 reconciled_ns; /* when counters were last compared with the socket table */
	__u64 drift;         /* connections by which counters were wrong, summed up, ever */
	__u64 scrape_rounds; /* rounds of scrapes done since started_ns */
	__u64 daemonless_ns; /* the connect hook passes once the heartbeat is older; 0: never */
	/* Key of the hashes that make ids of hints, of what requests name and of prompts: random,
	 * or that of node.keyFile. */
	__u64 hint_key[2];
	__u32 group;   /* gid of the pins */
	__u32 devices; /* attachments of one-shot: each direction of a device counts as one */
	char netns[PINTLE_TEXT_SIZE];   /* path that the configuration names */
	char cgroup[PINTLE_TEXT_SIZE];  /* path of the cgroup that sockops is attached to */
	char version[PINTLE_TEXT_SIZE]; /* of the daemon */
	char config[PINTLE_TEXT_SIZE];  /* path of the configuration file */
	char metrics[PINTLE_TEXT_SIZE]; /* where the daemon serves /metrics */
	__u32 kube;                     /* PINTLE_KUBE_*; 0: no Kubernetes */
	__u32 kube_left;                /* Services and InferencePools left to kube-proxy */
	__u32 kube_no_room;             /* of these: for want of room */
	__u32 zero;
	char kube_missing[PINTLE_LINES_SIZE]; /* what the API server lacks or refuses, in lines */
	char kube_why[PINTLE_LINES_SIZE];     /* "NAMESPACE/NAME: REASON" of one that is left */
	struct pintle_responder responders[PINTLE_RESPONDERS]; /* at PINTLE_RESPONDER_AT() */
	__u32 hand_devices;                                    /* attachments of the hand-off */
	/* Entries of `held` and of the table in `prefixes`, as the daemon counted them last. */
	__u32 held, prefix_entries;
	__u32 pods; /* endpoints in pods of this node, of pools that are decided by request */
	/* 1: the hand-off rests for want of net.ipv4.tcp_syncookies, and some pool wants it. */
	__u32 hand_rests;
	/* 1: some pool was decided by request, for servers of this node: `hand_flows` may have
	 * connections. */
	__u32 handed;
	__u32 splice_devices; /* attachments of the program that splices */
	/* As the daemon counted them last: pods whose requests are decided at their devices, and
	 * connections that are spliced, or ended a minute ago. */
	__u32 splice_spaces, spliced;
	__u32 zero2;
	__u64 layout; /* hash of all maps' layouts, in the build that made them */
};

#define PINTLE_KUBE_THERE  0x1 /* there is a Kubernetes */
#define PINTLE_KUBE_WELL   0x2 /* the newest request of each watch succeeded */
#define PINTLE_KUBE_LISTED 0x4 /* each list was complete once */
#define PINTLE_KUBE_LEADS  0x8 /* this daemon writes the cluster's conditions and Events */
/* A steered Service has node ports, a load balancer or external IPs: these are kube-proxy's. */
#define PINTLE_KUBE_OUTSIDE 0x10

/* ---- names: array, pools first, then endpoints. Writer: daemon. ----------- */

#define PINTLE_SLOTS            (PINTLE_MAX_POOLS + PINTLE_MAX_ENDPOINTS)
#define PINTLE_ENDPOINT_SLOT(e) (PINTLE_MAX_POOLS + (e))

struct pintle_name {
	__u32 generation;
	char name[PINTLE_NAME_SIZE];
};

/* ---- addresses: hash, listener -> endpoint. Writer: daemon. --------------- */

struct pintle_address_key {
	__u32 scope; /* PINTLE_SCOPE_NODE */
	__u16 port;
	__u16 zero;
	__u8 address[16]; /* :: is any */
};

#define PINTLE_ADDRESS_ANY 0x1 /* key ::, and a listener on any local address is meant */
#define PINTLE_ADDRESS_V4  0x2 /* key ::, and a wildcard listener for IPv4 covers the endpoint */
#define PINTLE_ADDRESS_V6  0x4 /* the same for IPv6 */
#define PINTLE_ADDRESS_PORT                                                                        \
	0x8 /* with V4 or V6: a port alone, at the addresses where its page is read */
#define PINTLE_ADDRESS_USER   0x10 /* only listeners of `user` are meant */
#define PINTLE_ADDRESS_CGROUP 0x20 /* only listeners made in a cgroup that `pattern` matches */

struct pintle_address {
	__u32 endpoint;
	__u32 generation;
	__u32 pool;
	__u32 flags;   /* PINTLE_ADDRESS_* */
	__u64 pattern; /* hash of the endpoint's cgroup pattern */
	__u32 user;    /* uid */
	__u32 zero;
};

/* ---- server_cgroups: hash, a cgroup that matches a pattern -> 1. Writer: daemon. */

/* An entry for each cgroup that the pattern of an endpoint, or of a rule, matches, and for
 * each cgroup below. */
struct pintle_server_cgroup {
	__u64 cgroup;  /* id */
	__u64 pattern; /* as in struct pintle_address */
};
#define PINTLE_MAX_SERVER_CGROUPS 16384

/* ---- frontends: LPM trie. Writer: daemon. --------------------------------- */

struct pintle_frontend_key {
	__u32 prefixlen; /* how many bits of what follows count: 64 + those of the address */
	__u32 scope;     /* PINTLE_SCOPE_NODE */
	__u16 port;
	__u16 protocol;   /* IPPROTO_TCP */
	__u8 address[16]; /* the prefix; other bits 0 */
};
#define PINTLE_FRONTEND_FIXED_BITS 64

#define PINTLE_FRONTEND_ANNOUNCED 0x1 /* the daemon added its local route */

struct pintle_frontend {
	__u32 pool;
	__u32 generation;
	__u32 decided_by;  /* the pool's enum pintle_hook */
	__u32 flags;       /* PINTLE_FRONTEND_* */
	__u32 prefix_bits; /* of the address; the bits beyond them may tell sessions apart */
};

/* ---- members: hash, an endpoint's own address and port -> that endpoint. Writer: daemon. -- */

/* The key is a struct pintle_address_key. All pools that are decided on the clients' node have
 * their endpoints here: where the pool intercepts, a connection to one of them is decided as one to
 * the frontend, and else it is counted in the endpoint's `direct_opened`. */
struct pintle_member {
	__u32 endpoint;
	__u32 generation;
	__u32 pool;
	__u32 pool_generation;
};

/* ---- spared: hash, a client and a pool -> the client's name. Writer: daemon. -- */

/* The client's connections to the pool's members go where it asks. */
struct pintle_spared_key {
	__u64 client; /* as in struct pintle_client */
	__u32 pool;
	__u32 pool_generation;
};
struct pintle_spared {
	char name[PINTLE_CLIENT_NAME_SIZE];
};
#define PINTLE_MAX_SPARED 4096

/* ---- policies: hash, a cluster's pool -> the keys that it has. Writer: daemon. ------------- */

/* Programs do not read it: it is for the next daemon, which may start without the API server. */
struct pintle_policy_key {
	char pool[PINTLE_NAME_SIZE];
};
struct pintle_policy {
	char keys[4000]; /* a JSON object, as a SteeringPolicy's spec; with the NUL */
};

/* ---- pools: array. Writer: daemon; kernel: left_ns. ------------------------ */

struct pintle_ref {
	__u32 id;
	__u32 generation; /* 0: refers to nothing */
};

/* X(symbol, name, what it says): what tells sessions, or groups, apart. */
#define PINTLE_KEYS(X)                                                                             \
	X(NONE, "none", "nothing")                                                                 \
	X(SOURCE, "source", "the client's address, or a prefix of it")                             \
	X(DESTINATION, "destination", "the bits of the destination beyond the frontend's prefix")  \
	X(CLIENT, "client", "the client's network namespace: a pod")                               \
	X(CGROUP, "cgroup", "the client by its cgroup: a pod or a service")                        \
	X(MARK, "mark", "the socket's mark (SO_MARK)")                                             \
	X(HINT, "hint",                                                                            \
	  "what the client said by setsockopt (pintle/hint.h), and which client that is")          \
	X(POD, "pod", "the client's Kubernetes pod")                                               \
	X(NAMESPACE, "namespace", "the Kubernetes namespace of the client's pod")                  \
	X(ACCOUNT, "serviceAccount", "the service account of the client's pod")                    \
	X(REQUEST, "request", "what the connection's first request says: see `asked`")
#define X(symbol, name, says) PINTLE_KEY_##symbol,
enum pintle_key { PINTLE_KEYS(X) PINTLE_KEY_COUNT };
#undef X

/* A header whose line may be overwritten: its name in small letters and a colon, then zeros. */
#define PINTLE_HEADER_SIZE 32
#define PINTLE_MAX_HEADERS 4
struct pintle_header {
	char name[PINTLE_HEADER_SIZE] __attribute__((aligned(8)));
};

/* Instead of a header's name: a member of the JSON object that is the body. No header's name here
 * has a capital letter. */
#define PINTLE_ASKED_BODY "BODY"

/* What tells the sessions of a pool apart that is decided by request: the first of these that the
 * request has. The key `agent` is many of them. */
#define PINTLE_MAX_ASKED_KEYS 24
struct pintle_asked {
	struct pintle_header headers[PINTLE_MAX_ASKED_KEYS]; /* "": no further one */
	/* With "cookie:" in `headers`: the cookie's name and `=`. With PINTLE_ASKED_BODY: the
	 * member's name, or that of an object, a dot, and that of its member. Then zeros. Else "":
	 * all of the header's value. */
	struct pintle_header parts[PINTLE_MAX_ASKED_KEYS];
	__u32 in_body; /* 1 + the index of the first that is in the body; 0: none is */
	__u32 zero;
};

/* What one-shot may change; see PINTLE_ONESHOTS. */
struct pintle_rewrite {
	__u32 http10; /* 1: if nothing else can be changed, the version may be */
	__u32 zero;
	/* the first that a request has is overwritten; "": no further header */
	struct pintle_header headers[PINTLE_MAX_HEADERS];
};

/* X(symbol, name, what it says): what becomes of a connection of a class where each endpoint has
 * reached the class's limit. */
#define PINTLE_ADMISSIONS(X)                                                                       \
	X(PROCEED, "proceed", "it goes where it would without the limit")                          \
	X(REFUSE, "refuse", "it is refused at once")                                               \
	X(SPILL, "spill", "it goes to the first fallback pool that takes it; else it is refused")  \
	X(DIVERT, "divert", "the overload responder answers it: 429, with Retry-After")
#define X(symbol, name, says) PINTLE_ADMISSION_##symbol,
enum pintle_admission { PINTLE_ADMISSIONS(X) PINTLE_ADMISSION_COUNT };
#undef X

#define PINTLE_CLASS_EXTRA   0x1 /* `max_extra_load` holds in place of the pool's */
#define PINTLE_CLASS_BOUNDED 0x2 /* an endpoint may be full for the class */
#define PINTLE_CLASS_PERCENT 0x4 /* `reserve` is a percentage of the pool's endpoints */

#define PINTLE_CLASS_NAME_SIZE 32 /* with the NUL */
struct pintle_class {
	__u64 max_extra_load; /* milli-requests; with PINTLE_CLASS_EXTRA */
	/* milli-requests: an endpoint with so much load, or more, is full for the class; 0: never
	 */
	__u32 limit;
	__u32 admission; /* enum pintle_admission */
	__s32 priority;
	__u32 flags;                                                   /* PINTLE_CLASS_* */
	char name[PINTLE_CLASS_NAME_SIZE] __attribute__((aligned(8))); /* filled up with zeros */
	/* Connections in flight: an endpoint that has so many of the class is full for it, and so
	 * is each endpoint of a pool that has `pool_connections`; 0: any number. */
	__u32 connections;
	__u32 pool_connections;
	__u32 reserve; /* endpoints that are closed to classes of lower priority */
	/* Connections of the class for which its bounds leave room at the endpoints that are ready,
	 * which its sessions share; 0: nothing is shared. Written anew as endpoints come and go. */
	__u32 places;
};

#define PINTLE_RULE_TRUSTED 0x1 /* hints of clients that match may raise their class */
#define PINTLE_RULE_SOURCE  0x2 /* for the addresses of `prefix` and `mask`; else for any */

/* All that is given must match. */
struct pintle_class_rule {
	__u8 prefix[16]; /* of the client's address: address & mask is this */
	__u8 mask[16];
	__u64 space; /* as in struct pintle_pod, like `account`; 0: any */
	__u64 account;
	__u64 pattern; /* of the client's cgroup: see server_cgroups; 0: any */
	__u16 port;    /* the frontend's; 0: any */
	__u8 dscp;     /* 1 + the connection's DSCP; 0: any */
	__u8 class_id;
	__u32 flags; /* PINTLE_RULE_* */
};
#define PINTLE_MAX_RULES 32 /* of a pool's classes; and as many of its access */

/* A pool to which connections of another one may go. */
struct pintle_other {
	struct pintle_ref pool;
	/* By the connection's class in the pool that is asked: its class in this one. */
	__u8 class_of[PINTLE_MAX_CLASSES];
	__u32 checked; /* 1: it may take them; 0 also where there is none */
	__u32 zero;
};
#define PINTLE_OTHER_CANARY   0
#define PINTLE_OTHER_FALLBACK 1 /* the first of them */
#define PINTLE_MAX_FALLBACKS  3
#define PINTLE_MAX_OTHERS     (PINTLE_OTHER_FALLBACK + PINTLE_MAX_FALLBACKS)
#define PINTLE_SHARE_WHOLE    10000U /* `canary_share` of all sessions */

struct pintle_pool {
	__u32 generation; /* 0: no such pool */
	__u32 mode;       /* enum pintle_mode, as configured */
	__u32 failure_mode;
	__u32 classes;    /* in which connections may be open, from 0 on: 1..PINTLE_MAX_CLASSES */
	__u32 decided_by; /* enum pintle_hook */
	/* ejection: after how many failures in a row (0: never), and how many members may be
	 * ejected at the same time */
	__u32 eject_after;
	__u32 eject_most;
	__u32 requests;     /* enum pintle_requests, as configured */
	__u64 eject_ns;     /* how long the first ejection lasts; doubled for each in a row */
	__u64 eject_max_ns; /* how long the longest lasts */
	/* session key and group: enum pintle_key, and how many bits of the client's address count:
	 * 0..32 (v4), 0..128 (v6) */
	__u32 key_kind;
	__u32 key_bits_v4;
	__u32 key_bits_v6;
	__u32 group_kind;
	__u32 group_bits_v4;
	__u32 group_bits_v6;
	__u64 ttl_ns;         /* a binding that is unused for so long no longer holds */
	__u64 max_extra_load; /* milli-requests by which the preferred endpoint may be ahead */
	__u64 staleness_ns;   /* a score older than this is not believed */
	/* milli-requests: what a connection that the page knew takes off when it ends; without a
	 * fresh score, the load of each connection in flight */
	__u32 departure;
	__u32 member_count;
	struct pintle_rewrite rewrite;
	struct pintle_ref members[PINTLE_MAX_MEMBERS];
	__u32 hints_shared; /* 1: all clients that say the same hint share one session */
	/* one bit of enum pintle_reach. Only pool_reach() reads it (bpf/traits.bpf.h). */
	__u32 reach;
	__u32 follow; /* 1: the requests on the pool's connections are followed */
	/* bytes of a session's short context for which the preferred endpoint may be one request
	 * ahead; 0: max_extra_load holds for every session, and prompts weigh nothing */
	__u32 context_bytes;
	__u32 sample; /* endpoints to compare in a larger pool; 0: PINTLE_SAMPLE */
	__u32 tie;    /* milli-requests: so much, or less, is added to each load at random */
	/* The first `ready` entries of `order` are the indices in `members` of those that were
	 * eligible when the daemon looked; the others follow. 0: `order` says nothing. */
	__u32 ready;
	__u32 intercept; /* 1: connections to members' own addresses are decided, too */
	__u16 order[PINTLE_MAX_MEMBERS];
	/* The first class is that of connections of which no rule and no hint says another. */
	__u32 class_count; /* in `class_of`; 0: only the first one, without a limit */
	__u32 rule_count;
	__u32 hints_trusted; /* 1: any client's hint may raise its class */
	__u32 allow_count;   /* in `allowed`; 0: anybody may connect */
	struct pintle_class class_of[PINTLE_MAX_CLASSES];
	struct pintle_class_rule rules[PINTLE_MAX_RULES]; /* the first that matches counts */
	/* Who may connect: clients that one of these matches. Of their members only those that say
	 * who a client is are set. */
	struct pintle_class_rule allowed[PINTLE_MAX_RULES];
	struct pintle_other others[PINTLE_MAX_OTHERS]; /* see bpf/rule/tiers.bpf.h */
	__u32 canary_share; /* of the sessions, of PINTLE_SHARE_WHOLE; 0: no canary */
	__u32 classify;     /* 1: requests go to `evidence`, and `sessions` counts */
	/* What makes a tenant: enum pintle_key, and how many bits of a client's address count,
	 * IPv4's shifted by 8 and IPv6's by 16; 0: there are no quotas */
	__u32 tenant_key;
	__u32 decide; /* enum pintle_decide, or PINTLE_DECIDE_RESTS */
	/* With PINTLE_DECIDE_REQUEST. A request without any of these has the session of `key_kind`.
	 */
	struct pintle_asked asked;
	/* milli-requests: what 256 bytes of a prompt weigh at an endpoint that has not cached them;
	 * 0: prompts are not looked at */
	__u32 prompt_weight;
	/* milli-requests: what loading a LoRA adapter weighs at an endpoint; 0: nothing, or no pool
	 * names this one in its models */
	__u32 adapter_weight;
	/* 1: its servers listen in pods of this node, which only the hand-off can reach */
	__u32 in_pods;
	/* 1: no row of `models` is the pool's, so none is looked for. */
	__u8 no_models;
	/* With PINTLE_DECIDE_REQUEST, 1: a pool that is decided at the SYN may send connections to
	 * this one. */
	__u8 asked_at_syn;
	__u16 zero;
	/* With prompt_weight: from what the hashes of the pool's prompts are chained. It is made of
	 * the pool's name, and so the same on all nodes with the same key. */
	__u64 prompt_seed;
	/* The connect hook leaves the pool's connections as they came once the heartbeat is older;
	 * 0: older than node.daemonless_ns */
	__u64 daemonless_ns;
	/* When the kernel left them so, because every endpoint failed several clients; holds until
	 * a later heartbeat. Written by the kernel, where `proxied` is set. */
	__u64 left_ns;
	__u32 proxied; /* 1: others serve its frontends, and it refuses nobody: it may be left */
	/* By so much a score with PINTLE_SCORE_IDLE may be older than staleness_ns. */
	__u32 idle_ms;
};

/* ---- sessions, in keys of several maps ---------------------------------------- */

struct pintle_session_key {
	__u32 kind;        /* enum pintle_key; PINTLE_KEY_NONE: nothing tells the session apart */
	__u32 prefix_bits; /* how many of the id's 128 bits count; the others are 0 */
	__u8 id[16];
};

struct pintle_affinity_key {
	__u32 pool;
	__u32 pool_generation;
	struct pintle_session_key session;
};

/* ---- models: hash, a pool and a model -> the pool that serves it. Writer: daemon. --------------
 */

/* The name is "" for requests that name no model of the pool, or none that can be seen. A pool
 * without an entry of that name has no models. */
#define PINTLE_MODEL_SIZE 128 /* with the terminating NUL; a longer name is unknown */
struct pintle_model_key {
	struct pintle_ref pool;       /* that clients ask */
	char name[PINTLE_MODEL_SIZE]; /* filled up with zeros */
};
struct pintle_model {
	struct pintle_ref pool; /* generation 0: no pool serves it */
	__u64 requests;         /* that named it; only grows. Written by the kernel */
	__u64 loaded;           /* of these, placed where its adapter was; likewise */
	__u32 adapter;          /* its number; 0: no endpoint of that pool calls it one */
	__u32 zero;
};
#define PINTLE_MAX_MODELS      1024 /* of all pools */
#define PINTLE_MAX_POOL_MODELS 256  /* of one pool */

/* ---- adapters: mmap-able array, endpoint -> its LoRA adapters. Writers: daemon; kernel: placed.
 */

/* An adapter is a model of `models` of which an endpoint says that it is one. Each has a number,
 * from 1 on; those beyond so many, of all pools, have none, and count as other models. */
#define PINTLE_MAX_ADAPTERS  256
#define PINTLE_ADAPTER_WORDS (PINTLE_MAX_ADAPTERS / 64)

#define PINTLE_ADAPTERS_LISTED 0x1 /* `listed` is known */

/* The adapters that an endpoint has, where its pool is one that others name in their models. A set
 * has a bit for each number. */
struct pintle_adapters {
	__u32 generation; /* of the endpoint; if it has another, nothing is known */
	__u32 flags;      /* PINTLE_ADAPTERS_* */
	__u16 slots;      /* adapters that it can have loaded at once; 0: its page does not say */
	__u16 used;       /* of these, those that requests use or wait for */
	__u32 zero;
	__u64 loaded[PINTLE_ADAPTER_WORDS]; /* by its page */
	__u64 listed[PINTLE_ADAPTER_WORDS]; /* by its /v1/models: requests for others fail */
	/* for which requests were placed there, and perhaps its page does not show it yet */
	__u64 placed[PINTLE_ADAPTER_WORDS];
};

/* ---- adapter_holders: array, adapter -> endpoints that have it. Writers: kernel; daemon. ------
 */

/* Which ones the rule should look at, beside the few that are drawn from a large pool. Whether they
 * have it, `adapters` says. */
#define PINTLE_ADAPTER_HOLDERS 8

struct pintle_holders {
	__u64 of[PINTLE_ADAPTER_HOLDERS]; /* the endpoint, and its generation << 32; 0: nobody */
};

/* ---- quotas: hash, a tenant -> what it may have. Writer: daemon. ------------- */

/* The key is a struct pintle_affinity_key, whose session is the tenant; with PINTLE_KEY_NONE the
 * value is for each tenant without an entry of its own. */
struct pintle_quota {
	__u32 connections; /* in flight; 0: any number */
	__u32 burst;       /* new connections at once, at least 1 */
	__u64 interval_ns; /* after a burst, the time from one new connection to the next; 0: none
			    */
};
#define PINTLE_MAX_TENANT_RULES 15 /* of a pool */
#define PINTLE_MAX_QUOTAS       (PINTLE_MAX_POOLS * (1 + PINTLE_MAX_TENANT_RULES))

/* ---- tenants: hash, a tenant -> its connections. Writer: kernel; the daemon makes and deletes. --
 */

/* The key is as in `quotas`; with PINTLE_KEY_NONE the value has the sums of tenants that have no
 * entry any more, and of those for which there was no room. All numbers but due_ns only grow. */
struct pintle_tenant {
	__u64 opened;
	__u64 closed;  /* of these */
	__u64 refused; /* because of the quota */
	/* When the next connection would be due if they came evenly (ITU-T I.371, generic cell rate
	 * algorithm): it may come as much earlier as the burst allows. */
	__u64 due_ns;
	__u64 used_ns; /* when one came last */
	__u64 seen;    /* sockets that walks over `seats` found of it, summed over the walks */
};
#define PINTLE_MAX_TENANTS 4096

/* ---- tenant_firsts: hash, a tenant -> its answers. Writer: kernel; the daemon deletes. ------ */

/* Bounds of the series R10 of ISO 3:1973, from 1 ms to 80 s, ten in each decade: each fourth of
 * those of PINTLE_BUCKETS. */
#define PINTLE_TENANT_BUCKETS 51

/* So many tenants, of all pools, are measured: those whose first answers came first. */
#define PINTLE_MAX_MEASURED 1024

/* As struct pintle_firsts; made with the first answer. */
struct pintle_tenant_firsts {
	__u64 answers;
	__u64 waited_ns;
	__u64 bucket[PINTLE_TENANT_BUCKETS];
};

/* ---- tenant_minutes: hash, a tenant -> its last minute. Writer: daemon. -----------------------
 */

struct pintle_tenant_minute {
	__u64 looked_ns; /* when the daemon looked; the next three hold for some seconds */
	__u32 answers;   /* of the last minute whose first token was seen */
	__u32 p50_us;    /* percentiles of how long their clients waited for it; 0: none */
	__u32 p95_us;
	__u32 zero;
};

/* ---- seats: sk_storage, on clients' and servers' sockets. Writer: kernel. ---- */

/* In whose `tenants` the connection counts. */
struct pintle_seat {
	struct pintle_affinity_key tenant;
	__u32 counted; /* 1: the program that swaps 1 for 0 counts the end */
	__u32 zero;
};

/* What the daemon adds to a tenant's counts, after a walk over `seats` has shown that they are
 * wrong. Not in a map: the context of pintle_tenant_correct. */
struct pintle_tenant_error {
	struct pintle_affinity_key tenant;
	__u64 opened;
	__u64 closed;
};

/* ---- prefixes: array of 1 (LRU hash): what endpoints have cached of prompts, by the prompt's hash
 * up to some step. The table is there while a pool wants it, which the daemon sees to. Writer:
 * kernel. bpf/rule/prefix.bpf.h has the rules. ---- */

#define PINTLE_MAX_PREFIXES 262144

/* An endpoint that was given a prompt with this beginning. Eight bytes, written at once. */
struct pintle_holder {
	__u32 generation; /* of the endpoint; 0: nobody */
	__u16 endpoint;
	__u16 used; /* when it was given one last, in units of 2^32 ns */
} __attribute__((aligned(8)));

#define PINTLE_PREFIX_HOLDERS 4

struct pintle_prefix {
	struct pintle_holder holder[PINTLE_PREFIX_HOLDERS];
	/* Bytes of the prompts of which nothing is seen after this step. The two are the same while
	 * each prompt was at least as long as the one before. */
	__u32 least;
	__u32 most;
};

/* A prompt as far as it is seen. */
#define PINTLE_PREFIX_STEPS 76 /* up to 64 KiB */
struct pintle_prompt {
	__u64 hash[PINTLE_PREFIX_STEPS];
	__u32 steps; /* how many of the hashes there are */
	__u32 bytes; /* of all of the prompt, by the request's Content-Length */
};

/* What the table knows of a prompt. */
#define PINTLE_PREFIX_KNOWN 8
struct pintle_known {
	struct pintle_holder of[PINTLE_PREFIX_KNOWN];
	__u8 steps[PINTLE_PREFIX_KNOWN]; /* that this endpoint holds; 0: nobody is in this place */
	__u32 longest;                   /* steps that anybody holds */
	/* If these are all steps of the prompt: what such prompts have in common, in bytes. */
	__u32 common;
};

/* ---- prefix_key: array of 1: the secret of the prompts' hashes. Writer: daemon. ---- */

/* Made of the node's hint_key; see bpf/rule/chunk.bpf.h. */
#define PINTLE_CHUNK_WORDS 32
struct pintle_chunk_key {
	__u64 chain[2];
	__u64 text[PINTLE_CHUNK_WORDS + 2];
};

/* ---- learners: LRU hash, a source -> what it added to `prefixes`. learning: array of 1: how many
 * sources there are. Writer: kernel. ---- */

#define PINTLE_LEARN_SHIFT  38 /* a window of time has 2^38 ns: five minutes or so */
#define PINTLE_MAX_LEARNERS 4096

struct pintle_learner_key {
	struct pintle_ref pool;
	__u64 client; /* as in struct pintle_affinity: a host */
};

/* What a source added to the table in a window of time. */
struct pintle_learner {
	__u32 window;
	__u32 added; /* entries */
	__u32 begun; /* 1: it added some once */
	__u32 zero;
};

/* How many sources added to the table. */
struct pintle_learners {
	__u32 window;
	__u32 sources; /* in this window */
	__u32 former;  /* in the one before */
	__u32 zero;
};

/* ---- prompt_stats: per-CPU array, pool x pintle_prompted. Writer: kernel. ---- */

/* X(symbol, name, what it says): what was found out about prompts. */
#define PINTLE_PROMPTEDS(X)                                                                        \
	X(SEEN, "seen", "prompts of which the first 256 bytes, or more, were seen")                \
	X(KNOWN, "known", "of these, those of which some server had a beginning")                  \
	X(MET, "met", "of these, those that were placed where a beginning was")                    \
	X(ADDED, "added", "beginnings of prompts that were added to the table")                    \
	X(LEFT_OUT, "left_out",                                                                    \
	  "prompts of which not all was added, since their source had added its share")            \
	X(HOME, "home", "prompts that were placed at their home, since little of them was known")
#define X(symbol, name, says) PINTLE_PROMPTED_##symbol,
enum pintle_prompted { PINTLE_PROMPTEDS(X) PINTLE_PROMPTED_COUNT };
#undef X
#define PINTLE_MAX_PROMPTEDS               8 /* room in `prompt_stats` */
#define PINTLE_PROMPT_STAT(pool, prompted) ((pool)*PINTLE_MAX_PROMPTEDS + (prompted))
#define PINTLE_PROMPT_STAT_COUNT           (PINTLE_MAX_POOLS * PINTLE_MAX_PROMPTEDS)

/* ---- overrides: array, pools first, then endpoints, then one. Writer: CLI. - */

#define PINTLE_OVERRIDE_NODE  PINTLE_SLOTS /* the last slot: settings of the node */
#define PINTLE_OVERRIDE_COUNT (PINTLE_SLOTS + 1)

#define PINTLE_OVERRIDE_MODE     0x1 /* pool: `mode` holds */
#define PINTLE_OVERRIDE_DRAIN    0x2 /* endpoint: no further connection */
#define PINTLE_OVERRIDE_REQUESTS 0x4 /* pool: `requests` holds */
#define PINTLE_OVERRIDE_TRIAL    0x8 /* pool: `trials` may have an entry, which holds */

struct pintle_override {
	__u32 generation; /* of the pool or endpoint; if it has another, the entry is empty */
	__u32 flags;      /* PINTLE_OVERRIDE_* */
	__u32 mode;       /* enum pintle_mode */
	__u32 requests;   /* enum pintle_requests */
	__u64 since_ns;
	__u64 tap_until_ns; /* node's slot: until then the kernel fills `tap` */
};

/* ---- trials: hash, pool -> its A/B test. Writer: CLI; the daemon deletes those that are over. --
 */

/* The key is a struct pintle_ref. The test is a row of blocks of the same length, in which the pool
 * is in mode enforce or baseline by turns: bpf/rule/trial.bpf.h. Never changed once it is there. */
struct pintle_trial {
	__u64 since_ns; /* when its first block begins */
	__u64 until_ns; /* when its last block ends */
	__u64 period_ns;
	__u64 washout_ns; /* at the beginning of each block: requests of that time do not count */
	__u64 seed;       /* says which block of a pair is in which mode */
};
#define PINTLE_MAX_TRIALS 32

/* ---- trial_blocks: hash, a block -> its answers. Writer: kernel; the daemon makes and deletes. -
 */

struct pintle_trial_block {
	struct pintle_ref pool;
	__u32 trial; /* the lower half of its seed */
	__u32 number;
};

/* The value is a struct pintle_firsts, of which `out_ns` is 0. */
#define PINTLE_MAX_TRIAL_BLOCKS (4 * PINTLE_MAX_TRIALS)

/* ---- trial_results: mmap-able array of the newest tests. Writer: daemon. ------------------- */

#define PINTLE_MAX_BLOCKS 128 /* of a test */

/* X(symbol, name, what it says): why an A/B test is over. */
#define PINTLE_TRIAL_ENDS(X)                                                                       \
	X(NOT, "", "it runs")                                                                      \
	X(DONE, "done", "its time was over")                                                       \
	X(STOPPED, "stopped", "`pintle ab --stop`, `mode` or `reset` ended it")
#define X(symbol, name, says) PINTLE_TRIAL_END_##symbol,
enum pintle_trial_end { PINTLE_TRIAL_ENDS(X) PINTLE_TRIAL_END_COUNT };
#undef X

/* How far the measurement of a block is. */
enum pintle_measured {
	PINTLE_MEASURED_NOT,
	PINTLE_MEASURED_BEGUN, /* its washout is over */
	PINTLE_MEASURED_ENDED, /* only answers may still come */
	PINTLE_MEASURED_WHOLE,
	PINTLE_MEASURED_LOST, /* pintled was away, or came too late */
};

struct pintle_trial_sums {
	__u64 decisions;
	__u64 kept;    /* of these, to the session's endpoint or the group's home */
	__u64 told_no; /* of these, refused or diverted */
	__u64 failed;  /* placements that failed, and connections that ended by an error */
};

/* What was counted in a block, from its washout to its end. */
struct pintle_measure {
	__u32 state;   /* enum pintle_measured */
	__u32 answers; /* whose first token was seen; the next three are of these */
	__u32 mean_us;
	__u32 p50_us;
	__u32 p95_us;
	__u32 zero;
	struct pintle_trial_sums sums;
};

struct pintle_trial_result {
	struct pintle_ref pool; /* generation 0: there is none */
	struct pintle_trial trial;
	__u64 ended_ns;                  /* 0: it runs */
	__u32 ended;                     /* enum pintle_trial_end */
	__u32 next;                      /* the first block that is neither whole nor lost yet */
	struct pintle_trial_sums before; /* the pool's sums as the newest washout ended */
	struct pintle_measure block[PINTLE_MAX_BLOCKS];
};

/* ---- settings: hash, a pool's key -> its value, as `pintle set` took it. Writer: CLI. -- */

/* Settings that the kernel reads itself (mode, requests, drain) are only in `overrides`. */
#define PINTLE_KEY_NAME_SIZE 64  /* with the terminating NUL, as are the next two */
#define PINTLE_VALUE_SIZE    256 /* a longer value is refused */
#define PINTLE_WHY_SIZE      512 /* a longer reason is cut */
#define PINTLE_MAX_SETTINGS  1024

struct pintle_setting_key {
	/* Both are filled up with zeros. */
	char pool[PINTLE_NAME_SIZE];    /* the pool's name, not its id: a pool that comes back has
					 * its settings again; "" with PINTLE_SETTING_RELOAD */
	char key[PINTLE_KEY_NAME_SIZE]; /* the key's path in the pool: "stickiness.ttl" */
};

/* Instead of a key: the entry's set_ns is when `pintle reload` asked for a reload. */
#define PINTLE_SETTING_RELOAD "reload"

struct pintle_setting {
	__u64 set_ns;
	char value[PINTLE_VALUE_SIZE]; /* as the file would have it: "100s" */
};

/* ---- verdicts: hash, pintle_setting_key -> what became of it. Writer: daemon. ---------- */

#define PINTLE_MAX_VERDICTS (2 * PINTLE_MAX_SETTINGS)

struct pintle_verdict {
	__u64 set_ns; /* of the setting that was judged, or of the newest request to reload */
	__u64 judged_ns;
	__u32 refused; /* 1: the file's value holds; for a reload: the former file does */
	__u32 zero;
	__u64 file_hash;              /* reload: of the file's text that runs */
	char runs[PINTLE_VALUE_SIZE]; /* the value that holds */
	char file[PINTLE_VALUE_SIZE]; /* the file's value, or the default */
	char why[PINTLE_WHY_SIZE];    /* refused: "what is wrong; what would be right"; for a
				       * setting that was deleted: why it still holds */
};

/* ---- hosts: array, endpoints whose address is a host's name. Writer: daemon. -------------- */

/* Programs do not read it: it is for people, and for the next daemon. */
#define PINTLE_MAX_HOSTS 64
#define PINTLE_HOST_SIZE 256 /* a host's name, with the NUL */

struct pintle_host {
	__u32 pool; /* as in struct pintle_ref */
	__u32 pool_generation;
	char name[PINTLE_NAME_SIZE]; /* as configured: its endpoints are "NAME@ADDRESS" */
	char host[PINTLE_HOST_SIZE];
	__u32 port;      /* host byte order */
	__u32 addresses; /* that are endpoints */
	__u32 left;      /* that are not */
	__u32 ttl_s;     /* seconds, of the newest answer */
	__u32 zero;
	__u64 answered_ns;         /* when the newest good answer came; 0: none has */
	__u64 failing_ns;          /* since when none comes; 0: the newest was good */
	__u64 errors;              /* answers that were not good, since the daemon began */
	char why[PINTLE_WHY_SIZE]; /* what is wrong with the newest answer, or why an address is
				    * left out; "": nothing */
};

/* ---- oneshot: LPM trie, where requests arrive -> pool. Writer: daemon. ---- */

/* The key is a struct pintle_frontend_key: a frontend if the pool is decided on the servers' node,
 * else an endpoint. The value is a struct pintle_ref. Pools that leave requests as they come have
 * entries, too, so that an override takes effect without the daemon. */

/* ---- oneshot_flows: LRU hash, 4-tuple -> its first segment. Writer: kernel. */

/* An entry lasts from the SYN until data came beyond the first segment, or one-shot left that
 * segment alone. Handshakes that the hand-off answers have none. `local` in its key is the address
 * at which requests arrive. The lookup hook makes an entry for a connection without one. */
struct pintle_flow {
	__u32 sequence; /* of the first byte of data, in host byte order */
	__u32 counted;  /* 1: the first segment is counted in oneshot_stats; PINTLE_FLOW_UNSEEN */
};
#define PINTLE_FLOW_UNSEEN 2 /* one-shot saw no SYN of it; until it is established */

/* ---- oneshot_stats: per-CPU array, pool x pintle_oneshot. Writer: kernel. - */

#define PINTLE_ONESHOT_STAT(pool, oneshot) ((pool)*PINTLE_MAX_ONESHOTS + (oneshot))
#define PINTLE_ONESHOT_STAT_COUNT          (PINTLE_MAX_POOLS * PINTLE_MAX_ONESHOTS)

/* ---- homes: array of (array of 1): pool id -> Maglev table. Writer: daemon. */

struct pintle_homes {
	__u32 pool_generation;
	__u32 zero;
	struct pintle_ref home[PINTLE_HOME_ENTRIES];
};

/* ---- endpoints: array. Writer: daemon. ------------------------------------ */

#define PINTLE_ENDPOINT_ANY_ADDRESS 0x1 /* configured by port alone */
#define PINTLE_ENDPOINT_PLACE                                                                      \
	0xc /* seen from this node, shifted by 2: 0 not known, 1 on it, 2 in its zone, 3 elsewhere \
	     */
#define PINTLE_ENDPOINT_DRAINED 0x2 /* takes no further connection, whatever `overrides` says */

struct pintle_endpoint {
	__u32 generation;      /* once the slot was used never 0; stays when the endpoint is gone */
	__u32 pool_generation; /* 0: no endpoint in this slot */
	__u32 pool;
	__u32 flags;      /* PINTLE_ENDPOINT_* */
	__u8 address[16]; /* at which the server listens; :: with ANY_ADDRESS */
	__u16 port;
	__u16 zero;
	__u32 scope; /* of its pod's network namespace; PINTLE_SCOPE_NODE: it has none of its own */
};

/* ---- scores: mmap-able array, whole cache lines each. Writer: daemon. ----- */

#define PINTLE_SIGNAL_WAITING  0x1
#define PINTLE_SIGNAL_RUNNING  0x2
#define PINTLE_SIGNAL_KV_CACHE 0x4
#define PINTLE_SIGNAL_GPU      0x8
#define PINTLE_SCORE_SATURATED 0x10 /* over a threshold of its pool */
#define PINTLE_SCORE_FAILED    0x20 /* the newest scrape failed; the signals are older */
/* Nobody uses the pool, so the next page is not wanted yet: the score may be pool.idle_ms older. */
#define PINTLE_SCORE_IDLE 0x40

/* The linear load model of one class: load = published + arrival * (connections
 * that came since the scrape) - the pool's departure * (those that ended since).
 * The daemon folds all policy into these numbers. */
struct pintle_load_model {
	__u32 published; /* milli-requests, at most PINTLE_MAX_LOAD */
	__u32 arrival;   /* milli-requests of a connection that came since the scrape */
};

struct pintle_score {
	__u32 sequence; /* odd: being written. A reader that finds it odd or changed takes the score
			 * as too old */
	__u32 generation;
	__u64 scraped_ns; /* start of the newest scrape that succeeded */
	/* Counters as they stood at scraped_ns, summed over the classes. */
	__s64 inflight; /* opened - closed */
	__s64 pending;  /* placed - opened - failed */
	__u32 flags;    /* PINTLE_SIGNAL_* of the signals that the page had, PINTLE_SCORE_* */
	__u32 waiting;  /* requests */
	__u32 running;  /* requests */
	__u32 kv_cache; /* share in use, in millionths */
	__u32 gpu;      /* share in use, in millionths */
	/* In hundredths: how much the endpoint takes beside one of weight 1; 0: as that. Its
	 * weight, or a part of it while it warms up. */
	__u32 rate;
	struct pintle_load_model model[PINTLE_MAX_CLASSES];
	__u64 engine_tokens; /* that the engine has counted, by the newest page */
	/* The next member begins a cache line; a decision reads the first and this. What this
	 * node's own connections said at the newest pass over them (struct pintle_work), as the
	 * rule wants it: */
	__u64 passed_ns;       /* when that pass began; 0: the pool's requests are not followed */
	__s64 passed_inflight; /* opened - closed at passed_ns, summed over the classes */
	__u32 passed_idle;     /* of these, kept-alive connections without a request */
	__u32 floor;           /* milli-requests: what this node has waiting and answering */
	__u32 prompt;          /* milli-requests: prompt bytes that wait for their first token */
	__u32 newcomer;        /* milli-requests: prompt bytes of a connection opened since */
	__u64 passed_opened;   /* connections ever opened, at passed_ns, summed over the classes */
	__u64 passed_asked;    /* asked_bytes of `ends` at passed_ns */
	/* When the daemon saw that the engine had started anew, behind a listener that stayed: what
	 * it had cached before is gone. 0: never. */
	__u64 engine_ns;
	__u64 engine_started; /* ms since 1970, as the page says; 0: it does not say */
};

/* ---- works: mmap-able array. Writer: daemon, after each pass. -------------- */

/* What a pass over the sockets found on the endpoint's connections. A *request* is data one way and
 * then data the other way on a connection; it is *waiting* until a byte of its answer beyond the
 * head was seen, and then *answering*. */
struct pintle_work {
	__u32 generation; /* of the endpoint */
	__u32 connections;
	__u32 idle;      /* kept alive, without a request */
	__u32 unseen;    /* new ones, on which no request has come yet */
	__u32 waiting;   /* requests */
	__u32 headed;    /* of these, those whose answer's head is out */
	__u32 answering; /* requests */
	__u32 backlog; /* connections that the server has not accepted; listeners of this node only
			*/
	__u64 waiting_bytes;  /* of the waiting requests */
	__u64 prompt_bytes;   /* the same, less what is cached for the sessions bound here */
	__u64 unread;         /* bytes that the server has not read; listeners of this node only */
	__u64 oldest_ns;      /* when the oldest waiting request came; 0: none waits */
	__u64 out_ns;         /* when a byte beyond a head came out last; 0: never seen */
	__u64 read_ns;        /* when the server last read, or accepted; 0: never seen */
	__u64 requests;       /* begun, ever */
	__u64 request_bytes;  /* of these, ever */
	__u64 uncached_bytes; /* the same, less what was cached, ever */
	__u64 passed_ns;      /* when the pass began */
	/* When the oldest of those waiting requests began of whose answer nothing is out, and that
	 * no other answer has overtaken; 0: there is none. */
	__u64 asked_ns;
	__u32 untouched; /* requests of which the server has not read a byte; listeners of this node
			    only */
	__u32 minute_answers; /* answers of the last minute whose first token was seen */
	__u32 minute_p50_us;  /* percentiles of how long their clients waited for it; 0: none */
	__u32 minute_p95_us;
	__u32 tries; /* open connections that try whether it serves again, and are not answered */
	__u32 zero;
	/* The newest time when nothing waited at one of its listeners, or a connection was accepted
	 * there, as passes saw it; 0: no listener of this node. */
	__u64 accepts_ns;
};

/* ---- inflight: array, whole cache lines each. Writer: kernel. ------------- */

struct pintle_counters {
	__u64 placed; /* decisions for the endpoint */
	__u64 opened; /* connections established */
	__u64 closed; /* opened connections that ended, for whatever cause */
	__u64 failed; /* placements that are known to have ended unopened */
};

/* These counters only grow. To correct them, the daemon adds to them atomically. */
struct pintle_inflight {
	struct pintle_counters by_class[PINTLE_MAX_CLASSES];
} __attribute__((aligned(64)));

/* ---- ends: mmap-able array, one cache line each. Writer: kernel. ---------- */

/* So many bytes of a request count, whatever its head says of its length. */
#define PINTLE_MAX_ASKED 262144

/* Sums over the endpoint's steered connections that ended. They only grow. */
struct pintle_ends {
	__u64 count[PINTLE_ENDING_COUNT];
	__u64 bytes_received;     /* from the clients */
	__u64 bytes_acknowledged; /* by the clients */
	__u64 duration_ns;        /* established to closed; at clients' sockets from the SYN on */
	/* Not of connections that ended: bytes of the requests by which connections were placed
	 * here, as their heads say, less what is believed to be cached. */
	__u64 asked_bytes;
} __attribute__((aligned(64)));

/* ---- firsts, class_firsts: mmap-able arrays, whole cache lines each. Writer: kernel. -- */

#define PINTLE_BUCKETS 202 /* of times; bpf/buckets.bpf.h has their bounds */

/* Sums over the answers whose first token sockops saw: at clients' sockets of each request, at
 * servers' sockets of the first request of each connection. They only grow. */
struct pintle_firsts {
	__u64 answers;
	__u64 waited_ns; /* from the request's last byte to the answer's first token */
	__u64 out_ns; /* when a connection ended of whose answer no pass had seen the last bytes; 0
		       * in `class_firsts` */
	__u64 bucket[PINTLE_BUCKETS]; /* answers by how long their client waited */
	__u64 request_bytes;          /* of the requests of these answers; 0 in `class_firsts`, like
				       * the next ones */
	__u64 ended;                  /* answers that ended, and were measured */
	__u64 answer_bytes;           /* of those */
} __attribute__((aligned(64)));

/* ---- answers: mmap-able array, whole cache lines each. Writer: kernel, but where it says
 * otherwise. */

/* An answer of no more bytes, head and all, that came within this time of its request is brief: an
 * error is, and few answers of a model are. */
#define PINTLE_BRIEF_BYTES 2048
#define PINTLE_BRIEF_MS    500

#define PINTLE_ANSWERED 8 /* a power of two */

/* A client that was answered. Another client may take its place. */
struct pintle_answered {
	__u64 client;   /* 0: none */
	__u64 brief_ns; /* when it got a brief answer last, or none */
	__u64 other_ns; /* when it got any other answer last */
};

/* The shape of an endpoint's answers to clients, as far as each answer's end was seen. The sums
 * only grow. */
struct pintle_answers {
	__u64 brief;
	__u64 large; /* answers of more than PINTLE_BRIEF_BYTES */
	__u64 slow;  /* all others */
	__u64 none;  /* connections that the server ended with a request on them unanswered */
	/* Written by the daemon; says nothing while health.unfit is not PINTLE_UNFIT_FAILING: */
	__u64 failing_until_ns;
	__u64 failings; /* ejections for its answers, ever */
	struct pintle_answered clients[PINTLE_ANSWERED];
} __attribute__((aligned(64)));

/* ---- class_sums: mmap-able array, PINTLE_MAX_CLASSES x pool + class. Writer: kernel. -- */

/* Sizes of requests or of answers, by bounds of 256 bytes times 4^i: up to 256 MiB, and above. */
#define PINTLE_SIZES 12

struct pintle_sizes {
	__u64 count[PINTLE_SIZES];
	__u64 bytes;
};

/* X(symbol, name, what it says): how a request ended. */
#define PINTLE_REQUEST_ENDS(X)                                                                     \
	X(ANSWERED, "answered", "it was answered, and the connection went on, or ended in order")  \
	X(UNANSWERED, "unanswered", "the connection was closed before a byte of the answer")       \
	X(RESET, "reset", "the other side reset the connection, before the answer or after")       \
	X(TIMEOUT, "timeout", "the other side fell silent: the kernel gave the connection up")     \
	X(ERROR, "error", "another error ended the connection")

enum pintle_request_end {
#define X(symbol, name, says) PINTLE_REQUEST_##symbol,
	PINTLE_REQUEST_ENDS(X)
#undef X
		PINTLE_REQUEST_END_COUNT
};

/* Sums over the connections of a class; those of a pool without `classes` are of class 0. They only
 * grow. */
struct pintle_class_sums {
	/* Decisions by enum pintle_outcome; of pools with `classes`, once the class is known. */
	__u64 decided[PINTLE_MAX_OUTCOMES];
	__u64 would[PINTLE_MAX_OUTCOMES]; /* of the rule in mode shadow, which placed nothing */
	struct pintle_sizes request;      /* of those whose first token was seen */
	struct pintle_sizes answer;       /* of those that ended */
	__u64 ended[PINTLE_REQUEST_END_COUNT]; /* requests by how they ended */
	__u64 unmeasured; /* further requests of servers' connections: at least so many */
} __attribute__((aligned(64)));

/* ---- health: mmap-able array. Writer: kernel, but where it says otherwise. --- */

#define PINTLE_FAMILY_V4     0x1
#define PINTLE_FAMILY_V6     0x2
#define PINTLE_FAMILY_ANY_V4 0x4 /* with V4: a listener takes it at any local address */
#define PINTLE_FAMILY_ANY_V6 0x8

#define PINTLE_UNSTEERABLE_MPTCP 1
#define PINTLE_UNSTEERABLE_OTHER 2 /* the map `sockets` refused the listener; see error */
#define PINTLE_UNSTEERABLE_NETNS 3 /* the daemon found it in another network namespace */
/* Strangers: the kernel could steer to them, but they are not believed to be the endpoint. */
#define PINTLE_UNSTEERABLE_OWNER   4 /* of another user than the first listener */
#define PINTLE_UNSTEERABLE_USER    5 /* not of the configured user */
#define PINTLE_UNSTEERABLE_CGROUP  6 /* not in a configured cgroup */
#define PINTLE_UNSTEERABLE_ADDRESS 7 /* at another address than the page is read from */
/* Not the listener, but another socket takes connections to its port: the daemon's were. */
#define PINTLE_UNSTEERABLE_ELSEWHERE 8

struct pintle_health {
	__u64 listening_since_ns; /* 0: nothing listens */
	__u32 listeners;          /* LISTEN sockets, less those whose end was seen */
	__u32 families;           /* PINTLE_FAMILY_* that a listener takes */
	__u32 unsteerable;        /* PINTLE_UNSTEERABLE_*: why the newest listener is of no use */
	__s32 error;              /* the errno that came with it, negative */
	__u64 direct_opened; /* connections to the endpoint that were not steered; at the connect
			      * hook: connect() of clients on this node, as it began */
	__u64 direct_closed;
	__u32 unwatched; /* bit i: the listener in slot i of `sockets` was there before sockops, and
			  * the daemon put it there; the kernel will not report its end */
	/* Seen at clients' sockets (connect hook), and by the daemon where the endpoint's own port
	 * turns it away. A row is a sequence of failures without a success in between: */
	__u32 unopened; /* connections not established, in a row; an established one ends the row */
	__u32 resets;   /* resets before the first byte, in a row; one with bytes ends the row */
	__u32 ejected_in_a_row;               /* ejections since the last success */
	__u64 ejected_until_ns;               /* 0: not ejected */
	__u64 ejections;                      /* ever */
	__u64 failures[PINTLE_FAILURE_COUNT]; /* by kind, ever */
	__u64 failed_ns; /* newest failure of the row; only a connection begun later is a success */
	__u64 failed_by; /* the client of that failure: its network namespace's cookie, or
			  * PINTLE_CLIENT_DAEMON; 0: none */
	__u64 others_ns; /* when another client was served since; 0: none was. For pool.eject_ns
			  * from then on, failures of `failed_by` do not count in the row */
	/* Written by the daemon; 0 while the endpoint does not answer the daemon: */
	__u64 answered_ns;      /* start of the newest connection over which the endpoint answered.
				 * If that is after failed_ns, the row and the ejection are void */
	__u64 vouched_until_ns; /* until then no client's failure counts in the row */
	/* Seen at listeners: */
	__u16 crowded; /* 1: a listener found every slot of `sockets` taken; the daemon gives it the
			* next free slot */
	__u8 handed;   /* 1: a listener is, or was, in `listeners`, so that its connections get no
			* record of it. It stays 1: a reload that changes how the pool is decided
			* moves the listeners only with the next recount */
	__u8 failed_several; /* 1: of the row above: failures of several clients are in it */
	__u32 stranger;      /* uid of the newest listener that was not believed */
	__u64 owner; /* 1 + uid of the first listener that was believed; while a user or cgroup
		      * is configured, of the newest one; 0: none yet */
	/* Written by the daemon after each pass, while the endpoint stands still: */
	__u64 stands_until_ns; /* the daemon's word holds so long; 0: the endpoint serves */
	__u16 standing;        /* enum pintle_standing */
	__u16 deaf; /* bit i: nobody accepts from the listener in slot i of `sockets`, and somebody
		     * does from another one. Written by the daemon; a new listener clears it */
	/* Written by the daemon; says nothing while no daemon runs: */
	__u16 unfit;        /* enum pintle_unfit */
	__u16 unfit_detail; /* UNHEALTHY: the HTTP status that came instead, 0: none;
			     * FAULTY: the XID, 0: an error of its memory;
			     * FAILING: enum pintle_failing */
	__u64 try_ns; /* from then on the next connection is sent to see whether it serves again; 0:
		       * none is. The kernel takes that try by writing 0, the daemon gives the next
		       * one when it has ended: see userspace/policy/tries.h */
	/* Bit i: the endpoint was full for class i by its load, and stays so until the load is
	 * below DECIDE_ROOM of the limit. Written by the kernel. */
	__u32 full_classes;
	__u32 closed_classes; /* bit i: reserved for classes of higher priority than class i's.
			       * Written by the daemon; holds without it */
};

/* ---- affinity, affinity_beyond: LRU hashes. Writer: kernel; daemon and CLI delete. -- */

#define PINTLE_AFFINITY_ENTRIES        131072
#define PINTLE_AFFINITY_BEYOND_ENTRIES 65536
/* A client has at most so many bindings in `affinity`. Its further bindings go to
 * `affinity_beyond`, where only clients with that many evict each other's. */
#define PINTLE_CLIENT_SHARE (PINTLE_AFFINITY_ENTRIES / 8)

struct pintle_affinity {
	__u32 endpoint;
	__u32 generation;
	__u64 bound_ns; /* since when it is bound to this endpoint */
	__u64 used_ns;  /* when it was used last */
	__u64 client;   /* in whose share the binding counts: the key of `shares`; 0: not known */
	__u32 open;     /* the session's connections, opened and not closed, to any endpoint */
	__u32 idle;     /* of these, those without a request, as of the newest pass */
	__u32 context_bytes; /* of the session's newest request and its answer; 0: not known yet */
	__u32 sharing;       /* 1 + the class in whose `sharing` the session counts; 0: none */
	/* What was seen of the session's newest prompt, in steps of prefix.bpf.h; 0: nothing */
	__u32 prompt_steps;
	__u32 zero;
};

/* ---- classified, sessions: hashes, pintle_affinity_key -> a session's class. Writers: CLI;
 * daemon. */

/* `classified` has what an operator said, `sessions` what the classifier found. A class is meant by
 * its name, so that it stays the session's when the pool's list changes. */
#define PINTLE_REASON_SIZE 104 /* with the terminating NUL; a longer reason is cut */
struct pintle_session_class {
	__u64 since_ns;
	__u64 client;                      /* `sessions`: in whose share it counts */
	char name[PINTLE_CLASS_NAME_SIZE]; /* filled up with zeros */
	char why[PINTLE_REASON_SIZE];      /* `sessions`: in words */
};
#define PINTLE_MAX_CLASSIFIED 4096
#define PINTLE_MAX_SESSIONS   65536
/* A client has at most so many sessions in `sessions`; a further one takes the place of its
 * oldest. */
#define PINTLE_SESSION_SHARE (PINTLE_MAX_SESSIONS / 8)

/* ---- evidence: ring buffer, requests that ended, for the classifier. Writer: kernel. - */

/* A request of a session, of pools that classify. */
struct pintle_evidence {
	struct pintle_affinity_key key;
	__u64 client;        /* as in struct pintle_affinity */
	__u64 begun_ns;      /* its first byte, by the clock of TCP: a tick is 1 to 10 ms */
	__u64 ended_ns;      /* its answer's last */
	__u32 request_bytes; /* a FIN may count as one */
	__u32 beside;        /* requests of the session that were under way when it began */
	__u64 lost;          /* evidence that found the ring full, since the programs were loaded */
};

/* ---- shares: LRU hash, client -> its bindings in `affinity`. Writer: kernel; the daemon
 * corrects. */

/* The number of a client:
 *   - at the connect hook, the cookie of its network namespace. All namespaces that belong to user
 *     namespaces are one client (PINTLE_CLIENT_APART), since any user can make some;
 *   - at the lookup hook, the first 48 bits of an IPv6 address, or the first 16 of an IPv4 address
 *     with PINTLE_CLIENT_V4: a network. Where sessions are not addresses (key `destination`, or
 *     named by requests), 64 or 32 bits: a host. All of 127/8 is one client. */
#define PINTLE_CLIENT_V4    (1ULL << 48)
#define PINTLE_CLIENT_APART (2ULL << 48)
/* pintled itself, as `failed_by` in struct pintle_health. */
#define PINTLE_CLIENT_DAEMON (3ULL << 48)
#define PINTLE_MAX_SHARES    16384

/* ---- bindings: mmap-able array, pool -> what became of its bindings. Writer: see each. -- */

/* All numbers but `held` and `sharing` only grow. */
struct pintle_bindings {
	__u64 made;    /* written by the kernel */
	__u64 removed; /* expired, of a former pool or endpoint, or unbound: by daemon and CLI */
	__u64 evicted; /* gone otherwise, as of the daemon's newest walk */
	__u64 held;    /* there now, as of the daemon's newest walk */
	/* Connections that were told no, of sessions that came back at once again and again.
	 * Written by the kernel */
	__u64 retry_suspected;
	/* By class: sessions with open connections, which share the class's places. Written by the
	 * kernel, corrected by the daemon's walk */
	__u64 sharing[PINTLE_MAX_CLASSES];
};

/* ---- refusals: LRU hash, session -> how often it was told no. Writer: kernel. ------- */

/* A session that was told no, and comes back within PINTLE_RETRY_NS, PINTLE_RETRIES times in a row,
 * is suspected of retrying without a pause: until it makes one, it gets no more than its share. */
#define PINTLE_RETRY_NS    1000000000ULL
#define PINTLE_RETRIES     3
#define PINTLE_MAX_REFUSED 8192

struct pintle_refusal {
	__u64 told_ns; /* when it was told no last */
	__u32 again;   /* times in a row that it came back too soon */
	__u32 zero;
};

/* ---- majorities: per-CPU array, pool -> a session that makes most of it. Writer: kernel. - */

#define PINTLE_MAJORITY_WINDOW 128     /* connections */
#define PINTLE_MAJORITY_WHOLE  1000000 /* `share` of a session that makes all connections */

/* A vote among the connections that were established on this CPU: if a session makes more than half
 * of them, `session` is that one; else it may be any. */
struct pintle_majority {
	struct pintle_session_key session;
	__u32 pool_generation;
	__u32 votes; /* how far `session` is ahead of all others, at most the window */
	__u32 seen;  /* connections since `session` was chosen, at most the window */
	__u32 share; /* of the newest connections, about a window of them, in millionths */
};

/* ---- pending: LRU hash, 4-tuple -> decision. Writer: kernel. -------------- */

struct pintle_tuple {
	__u32 scope; /* PINTLE_SCOPE_NODE */
	__u16 local_port;
	__u16 remote_port;
	__u8 local[16];
	__u8 remote[16];
};

struct pintle_decision {
	__u64 decided_ns;
	__u32 endpoint;
	__u32 generation; /* 0: no endpoint (passed, no_endpoint, refused, diverted) */
	__u32 pool;
	__u32 pool_generation;
	__u8 class_id;
	__u8 outcome;  /* enum pintle_outcome */
	__u8 no_model; /* 1, with DIVERTED: its request names no model that there is */
	__u8 zero;
	__u32 ended;  /* 1: the placement has failed; the program that swaps 0 for 1 counts it */
	__u32 handed; /* not 0: made by the hand-off, for the connection that struct pintle_asking
		       * calls so */
	__u32 zeros;
};

/* Where the kernel counts the softirqs that run, or are disabled (bpf/hooks/question.bpf.h). */
enum pintle_count_of {
	PINTLE_COUNT_UNKNOWN, /* nowhere that a program could read */
	PINTLE_COUNT_OF_TASK, /* in the task: arm64, and all with PREEMPT_RT */
	PINTLE_COUNT_OF_CPU,  /* in a per-CPU variable: x86 */
};

/* ---- asking: per-CPU array of 1: what the hand-off is at on this CPU. Writer: kernel. ---- */

/* The hand-off asks the kernel for the socket of a connection; where there is none, the kernel asks
 * the lookup hook, on the same CPU. So the lookup hook learns here what the question is. */
enum pintle_asking_state {
	PINTLE_ASKING_NOTHING, /* a segment came by itself */
	PINTLE_ASKING_WHETHER, /* whether there is a connection: no decision is wanted */
	PINTLE_ASKING_WHERE,   /* for a decision, by `session` unless its kind is NONE */
};

#define PINTLE_MAX_TRIED 2 /* and a third one, which is the last */

struct pintle_asking {
	__u32 state;      /* enum pintle_asking_state */
	__u32 no_model;   /* 1: the request names no model that there is */
	__u32 adapter;    /* the number of the adapter that the request names; 0: none */
	__u32 connection; /* not 0, of its cookie: tells it from others with its 4-tuple */
	struct pintle_session_key session;
	struct pintle_ref pool; /* that serves the request's model; generation 0: the pool asked */
	struct pintle_ref prompt_of; /* the pool for which the prompt counts; generation 0: none */
	struct pintle_prompt prompt;
	struct pintle_known known;
	struct pintle_ref home; /* of the prompt, where that is believed to have it; generation 0:
				 * none */
	/* Endpoints that have refused the connection; ids beside which generation 0 is. */
	struct pintle_ref tried[PINTLE_MAX_TRIED];
};

/* ---- named: LRU hash, 4-tuple -> what its request said. Writer: kernel. ------------------- */

/* From the decision until the connection is established, a moment later. */
#define PINTLE_MAX_NAMED 8192

struct pintle_named {
	struct pintle_session_key session; /* kind NONE: it named none */
	__u32 cached;       /* bytes of the request that its endpoint is believed to have cached */
	__u32 prompt_steps; /* as in struct pintle_affinity */
};

/* ---- hand_seen: array. Writer: kernel. ------------------------------------ */

/* That the hand-off's TC program saw a segment for it on that device, at index device %
 * PINTLE_HAND_SEEN_SLOTS. Its XDP program works only where that is so. */
struct pintle_hand_seen {
	__u64 when;   /* CLOCK_MONOTONIC */
	__u32 device; /* index */
	__u32 zero;
};
#define PINTLE_HAND_SEEN_SLOTS 1024

/* ---- hand_ways: LPM trie, clients -> how they are reached. Writer: daemon. ---- */

/* The kernel tells a program nothing of its routes where it does not forward, and never what they
 * say of segments. */
struct pintle_way_key {
	__u32 prefixlen; /* how many bits of what follows count: 128 + those of the client */
	__u8 local[16];  /* a frontend's address, where rules of routing look at that; 0: any */
	__u8 client[16]; /* the prefix; other bits 0 */
};
#define PINTLE_WAY_FIXED_BITS 128

struct pintle_way {
	__u32 device; /* index; 0: none, as to a blackhole */
	__u32 mtu;    /* `mtu` of the route; 0: the device's */
	__u32 mss;    /* `advmss` of the route; 0: by its MTU */
	__u8 mac[6];  /* of the gateway; 0: of none, or not known */
	__u16 zero;
	__u8 gateway[16]; /* `::`: none */
};
#define PINTLE_MAX_WAYS 1024

/* ---- hand_devices: hash, index of a device -> pintle_device. Writer: daemon. */

/* X(symbol, name, what it means) */
#define PINTLE_XDPS(X)                                                                             \
	X(OFF, "off", "`node.xdp` is `off`")                                                       \
	X(NATIVE, "native", "handshakes are answered in the device's driver")                      \
	X(UNABLE, "unable", "the device, or its driver, has no native XDP; nor has loopback")      \
	X(PORTS, "ports", "it has ports, as a bridge or a bond: they may have it")                 \
	X(PEER, "peer",                                                                            \
	  "a veth whose other end drops what XDP sends; `ethtool -K DEVICE gro on` there changes " \
	  "that")                                                                                  \
	X(TAGS, "tags",                                                                            \
	  "it takes tags off the frames of its VLANs, which XDP would not see; `ethtool -K "       \
	  "DEVICE rxvlan off` changes that")                                                       \
	X(TAKEN, "taken", "another XDP program is attached, and stays")                            \
	X(REFUSED, "refused", "the kernel refused it; pintled's log says why")
#define X(symbol, name, says) PINTLE_XDP_##symbol,
enum pintle_xdp { PINTLE_XDPS(X) PINTLE_XDP_COUNT };
#undef X

#define PINTLE_DEVICE_NAME_SIZE 16
#define PINTLE_MAX_DEVICES      1024

/* A device that the hand-off is attached to. */
struct pintle_device {
	char name[PINTLE_DEVICE_NAME_SIZE];
	__u32 xdp; /* enum pintle_xdp */
	__u32 zero;
};

/* ---- hand_stats: per-CPU array, pool x pintle_hand. Writer: kernel. ------- */

#define PINTLE_HAND_STAT(pool, hand) ((pool)*PINTLE_MAX_HANDS + (hand))
#define PINTLE_HAND_STAT_COUNT       (PINTLE_MAX_POOLS * PINTLE_MAX_HANDS)

/* ---- resting: array, pool and family -> how hand-overs fail; rest_clients: LRU hash. Writer:
 * kernel; daemon: until_ns. ---- */

/* Hand-overs of which no socket became, to a pool's frontends of a family or, in
 * `rest_clients`, of one client there (pintle_learner_key). See bpf/handoff/rest.bpf.h. */
struct pintle_rest {
	__u64 newest_ns; /* the newest failure */
	__u64 since_ns;  /* when the first was handed over since a socket became of one; 0: none */
	__u64 until_ns; /* the hand-off rests until then, and until one has tried; 0: it does not */
	__u32 failures; /* since since_ns */
	__u32 times;    /* how often it began to rest, of its own, since a socket became of one */
	__u32 trial;    /* the connection that tries: its hash; 0: none */
	__u32 generation; /* the pool's; 0 in `rest_clients` */
	__u32 by_nat;     /* 1: it rests since nat took a socket off, or would */
	__u32 served_s;   /* when a hand-over became a socket last, CLOCK_MONOTONIC; 0: none */
};
#define PINTLE_REST(pool, v6) ((pool) + ((v6) ? PINTLE_MAX_POOLS : 0))
#define PINTLE_REST_NEWEST    (2 * PINTLE_MAX_POOLS) /* the newest failure of all pools */
#define PINTLE_RESTS          (2 * PINTLE_MAX_POOLS + 1)
#define PINTLE_REST_CLIENTS   1024

/* ---- hand_served: array of hashes. Writer: kernel. See bpf/handoff/served.bpf.h. ---- */

#define PINTLE_HAND_SERVED 65536

/* ---- hold_stats: per-CPU array, pool x pintle_hold. Writer: kernel. ------- */

#define PINTLE_HOLD_STAT(pool, hold) ((pool)*PINTLE_MAX_HOLDS + (hold))
#define PINTLE_HOLD_STAT_COUNT       (PINTLE_MAX_POOLS * PINTLE_MAX_HOLDS)

/* ---- held: hash, place of a client -> a request that is held. Writer: kernel. ------------- */

/* A network (an IPv4 /24, an IPv6 /48) has a number of places, and a host in it half of these, so
 * nobody takes another's, and no count is needed. A connection has some of its host's, by its
 * ports, and is in the first that was free. Where all are taken, it is not held. */
#define PINTLE_MAX_HELD    1024
#define PINTLE_HELD_PLACES 256
#define PINTLE_HELD_WAYS   4

struct pintle_held_key {
	__u64 client; /* a network; a host is as in `shares` */
	__u32 place;  /* below PINTLE_HELD_PLACES */
	__u32 zero;
};

/* A program that changes or deletes an entry first swaps 0 for 1 in `busy`, and then looks whether
 * the entry is still the same connection's. */
struct pintle_held {
	__u32 busy;
	__u16 decided; /* bytes that were handed over; 0: not yet. Kept until it is established */
	__u8 marked;   /* 1: a segment met congestion (CE), and the client has not said CWR */
	__u8 kept;     /* what the cookie keeps of the SYN's options: bpf/handoff/cookie.bpf.h */
	__u32 first;   /* sequence number of the first byte */
	__u32 acknowledged; /* that of all segments, since the server has sent nothing */
	__u64 since_ns;
	struct pintle_ref pool;
	struct pintle_tuple tuple;
	/* the bytes, and how far they are read: struct request_scan */
	__u64 request[17 * 128 - 1];
	__u64 names; /* a hash of the headers' names that they are read for */
};

/* ---- splices: hash, a client's connection to a frontend -> its flow. splice_backs: hash, the same
 * connection as its server sees it -> the former. Writer: kernel. ---- */

#define PINTLE_MAX_SPLICES  65536
#define PINTLE_SPLICE_SHARE (PINTLE_MAX_SPLICES / 8) /* of one client */
/* So many at most before a handshake is begun: the rest is for those whose handshake was. */
#define PINTLE_SPLICE_ROOM (PINTLE_MAX_SPLICES - PINTLE_MAX_SPLICES / 16)

/* The server sees the client's address and a port of these, which no client draws by itself: so
 * the connection meets neither one that the client has made to that server, nor what is left of a
 * former one. */
#define PINTLE_SPLICE_PORT  16384
#define PINTLE_SPLICE_PORTS 16384

enum pintle_splice_state {
	PINTLE_SPLICE_CALLS,   /* the server has not answered the SYN */
	PINTLE_SPLICE_REFUSED, /* it has, by a reset */
	PINTLE_SPLICE_OPEN,
	PINTLE_SPLICE_GONE, /* no server took it, and the client was reset */
};

#define PINTLE_SPLICE_OFFERED 0x1 /* the client scales windows */
#define PINTLE_SPLICE_SCALES  0x2 /* both sides scale windows */
#define PINTLE_SPLICE_LACKS   0x4 /* the server has asked for held bytes that were lost */

/* Sequence numbers are the client's own, also at the server. */
struct pintle_splice {
	__u64 began_ns; /* when the SYN went to this server first */
	__u64 ended_ns; /* 0: it is open */
	__u64 sent_ns; /* when held bytes were sent again last, because the server asked for them */
	__u64 client;  /* as in struct pintle_connect: in whose share it counts */
	struct pintle_ref pool;
	struct pintle_ref endpoint;
	struct pintle_ref tried[PINTLE_MAX_TRIED]; /* that did not take it */
	__u8 address[16];                          /* the endpoint's */
	__u16 port;                                /* the endpoint's */
	__u16 own_port;                            /* the client's, as the server sees it */
	__u32 device;                              /* by which the client's segments come */
	__u32 first;                               /* the client's first byte */
	__u32 end;                                 /* behind the last byte that is in `held` */
	__u32 acked;        /* behind the last of these that the server has */
	__u32 acknowledged; /* what the client acknowledges before the server has said something */
	__u32 shift;        /* what the client sees is the server's number and this */
	__u32 time;         /* the same of timestamps */
	__u32 value;        /* the client's newest timestamp, while something is held */
	__u32 flags;        /* PINTLE_SPLICE_* */
	__u16 window;       /* the client's, with its request, as it wrote it */
	__u16 mss;          /* of what is in `held` */
	__u8 state;         /* enum pintle_splice_state */
	__u8 scale;         /* of the client's windows; 0, too, where it has none */
	__u8 scale_back;    /* of the server's */
	__u8 times;         /* servers that it was tried at */
};

struct pintle_splice_back {
	struct pintle_tuple tuple; /* the key in `splices` */
	__u32 acknowledged;        /* as there */
	__u32 zero;
};

/* ---- splice_shares: hash, client, or PINTLE_SPLICE_ALL -> its flows. Writer: kernel. ---- */

#define PINTLE_SPLICE_ALL 0 /* no client's */

/* ---- splice_spaces: LRU hash, cookie of a pod's network namespace -> its device. Writer: kernel;
 * the daemon deletes those of devices without the programs. ---- */

/* Segments of the pod were seen both ways at the device, so its requests can be decided there. */
#define PINTLE_MAX_SPACES 1024
struct pintle_space {
	__u32 device;
	__u32 zero;
	__u64 since_ns;
};

/* ---- sweeper: array of 1: the kernel's timer that forgets held connections. Writer: kernel. */

#define PINTLE_SWEEPER_RUNS   1 /* it will look again */
#define PINTLE_SWEEPER_CALLED 2 /* and a connection came since it looked last */

struct pintle_sweeper {
	__u64 timer[2]; /* struct bpf_timer */
	__u32 runs;     /* 0 or PINTLE_SWEEPER_* */
	__u32 zero;
};

/* ---- conns: sk_storage, on listeners and on their children; listeners: sk_storage, on listeners
 * whose children get no copy. Writer: kernel. */

/* The kernel copies a listener's entry in `conns` to each of its children, which takes it as long
 * as 2 % of a short request. So listeners whose connections come by the hand-off have their entry
 * in `listeners`: those connections are in `hand_flows`. */

#define PINTLE_CONN_LISTENER                                                                       \
	0x1 /* a LISTEN socket; in `conns` the kernel copies this to its children */
#define PINTLE_CONN_STEERED 0x2
#define PINTLE_CONN_DIRECT  0x4
#define PINTLE_CONN_WATCHED 0x8   /* with LISTENER: sockops will see its end */
#define PINTLE_CONN_SESSION 0x10  /* counts as open in its session's binding */
#define PINTLE_CONN_EARLIER 0x20  /* accepted before sockops was attached: counted nowhere */
#define PINTLE_CONN_SEAT    0x40  /* the socket has an entry in `seats` */
#define PINTLE_CONN_OTHER   0x80  /* speaks no HTTP/1: see bpf/hooks/sockops_first.bpf.h */
#define PINTLE_CONN_POD     0x100 /* is in `pod_flows` */

/* How far sockops is on the way to an answer's first token; see bpf/hooks/sockops_first.bpf.h. */
enum pintle_first_step {
	PINTLE_FIRST_NONE,
	PINTLE_FIRST_ASKED,  /* the request was sent, or has come */
	PINTLE_FIRST_HEADED, /* one segment of the answer was seen */
	PINTLE_FIRST_SEEN,   /* at a server's socket: it was */
};

struct pintle_conn {
	__u32 endpoint;
	__u32 generation;
	__u32 pool;
	__u32 pool_generation;
	__u32 flags;   /* PINTLE_CONN_* */
	__u32 counted; /* 1: opened, not closed; the program that swaps 1 for 0 counts the end */
	__u8 class_id;
	__u8 outcome;
	/* These follow the connection's first request; see bpf/hooks/sockops_first.bpf.h. */
	__u8 first_step; /* enum pintle_first_step */
	__u8 zero;
	__u32 first_in;  /* bytes of the request that came */
	__u32 asked_us;  /* when the newest came: the low 32 bits of the monotonic clock */
	__u32 headed_us; /* when the newest segment of the answer was sent */
	__u64 opened_ns;
};

/* ---- connects: sk_storage, on clients' sockets. Writer: kernel. ------------- */

#define PINTLE_CONNECT_RELEASED   0x1  /* the application closed the socket */
#define PINTLE_CONNECT_UNANSWERED 0x2  /* counted as PINTLE_FAILURE_UNANSWERED */
#define PINTLE_CONNECT_REPORTED   0x4  /* the end of the connection was reported */
#define PINTLE_CONNECT_APART      0x8  /* in a network of a user namespace: not counted */
#define PINTLE_CONNECT_SESSION    0x10 /* counts as open in its session's binding */
#define PINTLE_CONNECT_DIVERTED   0x20 /* `address` is the overload responder's; no generation */
#define PINTLE_CONNECT_SEAT       0x40 /* the socket has an entry in `seats` */
#define PINTLE_CONNECT_OTHER      0x80 /* speaks no HTTP/1: see bpf/hooks/sockops_first.bpf.h */
/* Goes to the frontend: its first request is decided at its pod's device. See
 * bpf/handoff/splice.bpf.h.
 */
#define PINTLE_CONNECT_SPLICED 0x100
#define PINTLE_CONNECT_MET     0x200 /* and its server has answered */

struct pintle_hint {
	__u8 session[16]; /* hash of the session's hint; 0: none */
	__u8 group[16];   /* hash of the group's hint; 0: none */
	__u32 flags;      /* PINTLE_HINTED_*: which members hold */
	__u32 class_id;
};
#define PINTLE_HINTED_SESSION 0x1
#define PINTLE_HINTED_GROUP   0x2
#define PINTLE_HINTED_CLASS   0x4

/* What the connect hook decided, until the socket ends or connects elsewhere. */
struct pintle_connect {
	__u32 endpoint;
	__u32 generation; /* 0: the socket's connection is not steered */
	__u32 pool;
	__u32 pool_generation;
	__u32 flags;   /* PINTLE_CONNECT_* */
	__u32 placed;  /* 1: neither opened nor failed; the program that swaps 1 for 0 counts */
	__u32 counted; /* 1: opened, not closed; the program that swaps 1 for 0 counts the end */
	__u16 port;    /* the endpoint's */
	__u16 frontend_port;
	__u8 address[16];  /* the endpoint's */
	__u8 frontend[16]; /* the address that the client asked for */
	__u8 class_id;
	__u8 outcome;
	__u8 first_step; /* enum pintle_first_step, of the newest request */
	__u8 zero;
	__u32 first_in; /* bytes of requests on the connection */
	__u64 client;   /* cookie of the network namespace of the process that called connect() */
	__u32 asked_us; /* when the request's newest byte was sent; 0: not known */
	__u32 headed_us;
	__u64 opened_ns;
	struct pintle_session_key session; /* to be bound once the connection is established */
	struct pintle_hint hint;           /* set before connect(); stays for later ones */
	__u32 first_out;                   /* bytes of answers on the connection */
	__u32 first_segments;              /* of answers before this one */
	__u64 cgroup;     /* of the process that called connect(): its id; 0: not known */
	__u32 before_in;  /* bytes of requests before the newest one */
	__u32 before_out; /* bytes of answers before its answer */
};

/* ---- turns: sk_storage, on steered sockets of both sides. Writers: the pass; sockops. ----
 */

/* Where a connection is in its sequence of requests and answers. */
enum pintle_turn_state {
	PINTLE_TURN_UNSEEN,  /* nothing came yet */
	PINTLE_TURN_WAITING, /* a request came, no byte of an answer */
	PINTLE_TURN_HEADED,  /* one segment of an answer came: its head, or a whole short answer */
	PINTLE_TURN_ANSWERING, /* more came */
	PINTLE_TURN_IDLE,      /* kept alive, without a request */
};

#define PINTLE_TURN_BOUND    0x1  /* `session` is filled in */
#define PINTLE_TURN_RESTS    0x2  /* counts as idle in its session's binding */
#define PINTLE_TURN_ACCEPTED 0x4  /* the server has accepted the connection */
#define PINTLE_TURN_AHEAD    0x8  /* the request came before the answer to the one before it */
#define PINTLE_TURN_NOTED    0x10 /* its answer is in `answers` */

/* What the pass remembers of a connection. Sums of bytes wrap; a connection with more than 4 GiB
 * between two passes is not told apart from one with less. */
struct pintle_turn {
	__u32 in;        /* bytes of requests on the connection */
	__u32 out;       /* bytes of answers */
	__u32 segments;  /* of answers */
	__u32 read;      /* sequence number up to which the server had read */
	__u32 bytes;     /* of the present, or the newest, request */
	__u32 answered;  /* `out` when its answer began */
	__u8 state;      /* enum pintle_turn_state */
	__u8 flags;      /* PINTLE_TURN_* */
	__u16 requests;  /* that passes saw begin, up to 65535 */
	__u32 looked_ms; /* when the pass looked last; wraps; 0: not yet */
	__u64 opened_ns; /* the connection's; a client's socket may connect again */
	__u64 came_ns;   /* when the pass saw the request's newest byte */
	__u64 out_ns;    /* when the pass saw the answer's newest byte */
	struct pintle_session_key session;
	__u64 begun_ns; /* when the pass saw the request's first byte */
	/* Where the pool classifies: by TCP's clock, when the newest request began, and when the
	 * newest byte of an answer had come as of the newest pass. */
	__u64 asked_ns;
	__u64 spoke_ns;
	__u32 beside; /* other requests of the session under way when it began */
	__u32 owed;   /* 1: its end is not in `evidence`; the program that swaps 1 for 0 tells */
	__u32 cached; /* of the first request, as in struct pintle_named */
	__u32 zero;
};

/* ---- hand_flows: hash, 4-tuple -> connection. Writer: kernel. ----------------- */

/* A connection that the hand-off gave to a listener of this node, from the decision to its end. It
 * costs less here than in the storage of its socket, which the kernel allocates and frees for each
 * connection. Where there is no room, the connection is in `pending`, `named`, `conns` and `turns`,
 * as those are that the lookup hook decides. */
#define PINTLE_MAX_HAND_FLOWS 16384

enum pintle_hand_flow_busy {
	PINTLE_HAND_FLOW_FREE,
	PINTLE_HAND_FLOW_PASSED, /* the pass is at it: nobody else may delete it */
	PINTLE_HAND_FLOW_ENDED,  /* the pass deletes it */
};

struct pintle_hand_flow {
	struct pintle_decision decision; /* `ended` is 1 from when it was established */
	struct pintle_conn conn;         /* opened_ns 0: it is not established */
	struct pintle_turn turn;         /* its session is known from the decision on */
	__u64 socket;                    /* the socket's address in the kernel, for the pass */
	__u32 prompt_steps;              /* as in struct pintle_affinity */
	__u32 busy;                      /* enum pintle_hand_flow_busy */
};

/* ---- clients: hash, cgroup id -> who that is. Writer: daemon. -------------- */

/* The containers of a pod are one client, as are all cgroups that a configured pattern matches. */
struct pintle_client {
	__u64 id;                           /* hash of the name: the same on every node */
	char name[PINTLE_CLIENT_NAME_SIZE]; /* "pod/UID", or as configured */
	__u32 left_alone; /* 1: as configured, its connections go on as they came */
	__u32 zero;
};
#define PINTLE_MAX_CLIENTS 16384

/* ---- pods: hash, client id -> which pod of this node that is. Writer: daemon. ------------- */

/* Only pods that the API server named. The key is the client id of "pod/UID". Apart from `clients`,
 * because a pod has several cgroups. */
struct pintle_pod {
	__u64 space;           /* client_id() of its namespace's name: the same on every node */
	__u64 account;         /* the same of "NAMESPACE/ACCOUNT" */
	__u8 addresses[2][16]; /* its own; `::`: none, such as with the node's network */
	char space_name[64];   /* these three with the terminating NUL */
	char name[256];
	char account_name[256];
	__u32 left_alone; /* 1: its connections go on as they came: a mesh's proxy takes them */
	__u32 zero;
};
#define PINTLE_MAX_PODS 2048

/* ---- recount: array, endpoint x class -> what there is. Writer: the recounting iterators. -- */

#define PINTLE_RECOUNT_IN_FLIGHT 1ULL         /* opened: the lower 32 bits */
#define PINTLE_RECOUNT_PENDING   (1ULL << 32) /* placed, not opened: the upper */

/* ---- stats: per-CPU array, pool x outcome -> decisions. Writer: kernel. --- */

#define PINTLE_STAT(pool, outcome) ((pool)*PINTLE_MAX_OUTCOMES + (outcome))
#define PINTLE_STAT_COUNT          (PINTLE_MAX_POOLS * PINTLE_MAX_OUTCOMES)

/* ---- mode shadow: what the rule would have done. Writer: kernel. ----------- */

/* shadow_stats: per-CPU array, PINTLE_STAT(pool, outcome) -> decisions with that outcome.
 * shadow_placed: array, endpoint -> placements that it would have got (u64).
 * shadow_bindings: LRU hash, pintle_affinity_key -> pintle_affinity: the bindings that these
 * decisions would have left, of which only endpoint, generation, bound_ns and used_ns are set. */
#define PINTLE_SHADOW_ENTRIES 16384

/* forecasts: array, pool -> sums of loads, in milli-requests, of decisions in mode shadow whose
 * endpoint had a fresh score. Loads of the moment of the decision, of the endpoint that the rule
 * would have chosen, and of the one that got the connection; at the connect hook, where nobody
 * knows which one that was, of a ready endpoint drawn at random. */
struct pintle_forecast {
	__u64 would, would_load;
	__u64 went, went_load;
};

/* ---- history: hash, a moment of a pool -> its counts as they stood. Writer: daemon. -------- */

/* A moment is taken each minute in which something came, and when the pool's mode changes. What
 * happened between two moments is the difference of their counts. A moment has an entry for each
 * part; the one of PINTLE_PART_POOL is written last, so that the others are there when it is. */
#define PINTLE_MOMENT_NS      60000000000ULL
#define PINTLE_HISTORY_NS     (24 * 60 * PINTLE_MOMENT_NS)
#define PINTLE_MAX_MOMENTS    65536 /* entries; then the oldest go, of whatever pool */
#define PINTLE_MOMENT_ROWS    24
#define PINTLE_PART_POOL      0
#define PINTLE_PART_CLASS     1 /* plus the class: each that the pool has */
#define PINTLE_PART_TENANTS   (PINTLE_PART_CLASS + PINTLE_MAX_CLASSES)
#define PINTLE_PART_WAITS     (PINTLE_PART_TENANTS + 1) /* plus 0 to 7: of 3 tenants each */
#define PINTLE_PART_ENDPOINTS (PINTLE_PART_WAITS + 8)   /* plus 0, 1, ...: rows of 24 each */

struct pintle_moment_key {
	__u32 pool;
	__u32 pool_generation;
	__u64 time_ns;
	__u32 part; /* PINTLE_PART_* */
	__u32 zero;
};

#define PINTLE_MOMENT_SEALED 0x1 /* servers speak TLS: what counts as first tokens is none */

/* Counts that only grow, but for the gauges. */
struct pintle_moment_pool {
	__u32 mode;  /* enum pintle_mode that held since the moment before; PINTLE_MODE_COUNT:
			several */
	__u32 next;  /* the mode that holds from now on */
	__u64 flags; /* PINTLE_MOMENT_* */
	__u64 decisions[PINTLE_MAX_OUTCOMES];
	__u64 shadows[PINTLE_MAX_OUTCOMES];
	struct pintle_forecast forecast;
	/* as the servers count them: tokens (some engines: blocks of them) */
	__u64 output_tokens, prompt_tokens, prefix_hits, prefix_queries;
	/* GPUs of the endpoints, times time, and the part of it in which they were busy, by DCGM */
	__u64 gpu_ms, gpu_busy_ms;
	/* gauges: looks at the endpoints since the moment before, and sums over these */
	__u32 looks;
	__u32 endpoints; /* of the newest look: those that may be chosen */
	__u64 in_flight;
	__u64 load_mean, load_most, load_spread; /* milli-requests; spread: standard deviation */
};

struct pintle_moment_class {
	__u64 answers, waited_ns; /* as in struct pintle_firsts */
	__u64 placed;
	__u64 in_flight; /* gauge: at the moment */
	__u32 bucket[PINTLE_BUCKETS];
};

struct pintle_moment_tenant {
	struct pintle_session_key tenant; /* kind NONE: those without an entry of their own */
	__u32 opened, refused;
};

/* Those tenants that had an answer. */
#define PINTLE_MOMENT_WAITS 3

struct pintle_moment_wait {
	struct pintle_session_key tenant;
	__u64 answers, waited_ns; /* as in struct pintle_tenant_firsts; 0 answers: an empty row */
	__u32 bucket[PINTLE_TENANT_BUCKETS];
	__u32 zero;
};
_Static_assert(8 * PINTLE_MOMENT_WAITS == PINTLE_MOMENT_ROWS, "parts of waits");

struct pintle_moment_endpoint {
	__u32 id, generation; /* generation 0: an empty row */
	__u32 placed, shadow_placed;
	__u32 answers;
	__u32 load; /* gauge: milli-requests, at the moment */
	__u64 waited_ns;
};

struct pintle_moment {
	union {
		struct pintle_moment_pool pool;
		struct pintle_moment_class class_of;
		struct pintle_moment_tenant tenants[PINTLE_MOMENT_ROWS]; /* with most opened */
		struct pintle_moment_wait waits[PINTLE_MOMENT_WAITS];
		struct pintle_moment_endpoint endpoints[PINTLE_MOMENT_ROWS];
	};
};

/* ---- tap: ring buffer, while `pintle events` follows. Writer: kernel. ------ */

enum pintle_event_type {
	PINTLE_EVENT_CLOSED = 1,
	PINTLE_EVENT_DECIDED = 2,
	PINTLE_EVENT_EJECTED = 3,  /* after `failure`, for duration_ns */
	PINTLE_EVENT_RESTORED = 4, /* a success ended the ejections */
	PINTLE_EVENT_LOST = 5,     /* of the audit: `lost` has grown */
};

struct pintle_event {
	__u64 time_ns;
	__u32 type; /* enum pintle_event_type */
	__u32 pool;
	__u32 pool_generation;
	__u32 endpoint;
	__u32 generation; /* 0: no endpoint */
	__u8 class_id;
	__u8 outcome;
	__u8 hook;    /* enum pintle_hook */
	__u8 failure; /* the endpoint's enum pintle_failure; PINTLE_FAILURE_COUNT: none */
	/* of a closed connection */
	__u32 error;               /* errno that ended it; 0: closed in order */
	__u32 srtt_us;             /* smoothed round-trip time, microseconds */
	__u64 duration_ns;         /* established to closed; at clients' sockets from the SYN on */
	__u64 bytes_received;      /* from the client */
	__u64 bytes_acknowledged;  /* by the client */
	struct pintle_tuple tuple; /* local: the frontend */
	__u64 lost;   /* events that found the ring full, since the programs were loaded */
	__u64 cgroup; /* of the process that called connect(): its id; 0: not known */
};

/* ---- audit: ring buffer of struct pintle_event, for the daemon. Writer: kernel. ------------ */
/* ---- audited: mmap-able array of 1: what goes there, and what was lost. ------------------- */

#define PINTLE_AUDIT_TOLD_NO 0x1 /* decisions that refuse a client, or divert it */
#define PINTLE_AUDIT_ENDS    0x2 /* connections that end */

/* `lost` and `unwritten` only grow. */
struct pintle_audited {
	__u32 what; /* PINTLE_AUDIT_*: written by the daemon */
	__u32 zero;
	__u64 lost;      /* events that found the ring full: written by the kernel */
	__u64 written;   /* lines: by the daemon, like the next */
	__u64 unwritten; /* lines that could not be written */
};

/* ---- follows: mmap-able array of 1: who traces which pool. Writer: CLI, but where it says so. --
 */

#define PINTLE_MAX_FOLLOWERS 8
#define PINTLE_FOLLOW_SLOW   0x1 /* only connections whose first token took slow_ns, or longer */
#define PINTLE_FOLLOW_FAILED 0x2 /* only connections that failed; with SLOW, both kinds */

/* A follower writes `pool` last. It renews until_ns as long as it runs, so one that is killed is
 * told nothing any more after some seconds, and its slot is free. */
struct pintle_follower {
	__u64 until_ns; /* once this is past, nobody has the slot; whoever swaps it has it then */
	__u64 since_ns; /* it is told of decisions from then on */
	struct pintle_ref pool; /* asked for, or decides */
	__u64 slow_ns;
	__u64 interval_ns; /* from one decision that it is told of to the next, after a burst */
	__u64 burst_ns;    /* so much earlier may one come */
	__u32 what;        /* PINTLE_FOLLOW_*; 0: every connection */
	__u32 pid;
	__u64 zero;
	/* Written by the kernel: */
	__u64 due_ns; /* when the next decision would be due if they came evenly */
	__u64 over;   /* decisions, or ends, that came too early, and were left out */
	__u64 lost;   /* records for which its ring had no room, or that found no memory */
	__u64 zero2[5];
};

struct pintle_follows {
	__u64 until_ns; /* the latest of all followers: until then there may be one */
	__u64 zero[7];
	struct pintle_follower of[PINTLE_MAX_FOLLOWERS];
};

/* ---- follow_rings: array of ring buffers, one for each follower, who makes it. Writer: CLI. ---
 */
/* ---- notes, decided, traces: traced decisions. Writer: kernel. ---------------------------- */

/* `notes`: array, decisions that are being made; not pinned. `decided`: hash, 4-tuple -> a decision
 * of the lookup hook whose connection is not established yet; followers delete old ones.
 * `traces`: sk_storage, on clients' and servers' sockets. */
#define PINTLE_MAX_NOTES   64
#define PINTLE_MAX_DECIDED 1024

#define PINTLE_TRACE_WOULD      0x1  /* mode shadow: so says the rule, and nothing follows */
#define PINTLE_TRACE_DAEMONLESS 0x2  /* readiness was not known */
#define PINTLE_TRACE_OVER       0x4  /* the session had more than its share of the class */
#define PINTLE_TRACE_FULL       0x8  /* the pool had no room for it */
#define PINTLE_TRACE_OVER_QUOTA 0x10 /* nor had its tenant */
#define PINTLE_TRACE_ENDED      0x20 /* the record is of the end */
#define PINTLE_TRACE_OTHER      0x40 /* the prompt does not continue what the session said before */

/* A sample, the preferred endpoint, and some that hold the request's adapter, or a beginning of its
 * prompt. */
#define PINTLE_TRACED (2 * PINTLE_SAMPLE + 1)

/* An endpoint that the rule looked at. */
struct pintle_trace_candidate {
	__u64 facts[12];    /* struct decide_facts (bpf/rule/decide.bpf.h) */
	__u64 candidate[3]; /* struct decide_candidate: the loads that were compared */
	__u64 scraped_ns;   /* as in struct pintle_score, like the next five */
	__u32 flags;
	__u32 waiting;
	__u32 running;
	__u32 kv_cache;
	__u32 gpu;
	__u16 ineligible; /* enum ineligible (bpf/rule/eligible.bpf.h) */
	__u16 adapter; /* with pintle_trace.adapter: enum adapters_state (loaded_adapters.bpf.h) */
	__u32 missing; /* what the adapter, and the rest of the prompt, add; milli-requests */
	__u32 have;    /* bytes of the prompt that are cached there */
};

/* A decision, and what became of the connection. */
struct pintle_trace {
	__u64 decided_ns;
	__u64 cookie; /* of the socket, at clients and at servers; 0: there is none yet */
	__u64 cgroup; /* as in struct pintle_event */
	struct pintle_tuple tuple; /* local: the frontend. remote: at a client's socket its address
				    * and port are known once it is established */
	struct pintle_ref asked;
	struct pintle_affinity_key key; /* the pool that decided: this one, or another */
	struct pintle_ref chosen;       /* generation 0: no endpoint */
	__u8 hook;                      /* enum pintle_hook */
	__u8 mode;
	__u8 outcome;
	__u8 class_id;
	__u8 tier; /* enum tier (bpf/rule/tiers.bpf.h) */
	__u8 zero;
	__u16 adapter;                /* that the request names: its number; 0: none that counts */
	__u32 prompt_bytes;           /* of the request's prompt; 0: it does not count */
	__u32 prompt_known;           /* steps of its longest beginning that anybody has */
	__u32 flags;                  /* PINTLE_TRACE_* */
	__u32 followers;              /* bit i: pintle_follows.of[i] is to be told the end */
	struct pintle_affinity bound; /* the session's binding; generation 0: there was none */
	struct pintle_ref home;       /* of the group; generation 0: none */
	__u64 rule[10];               /* struct decide_state */
	__u32 compared;               /* endpoints that the rule looked at */
	__u32 count;                  /* of these, those in `of` */
	struct pintle_trace_candidate of[PINTLE_TRACED];
	/* with ENDED: */
	__u64 ended_ns;
	__u64 duration_ns; /* as in struct pintle_event, like the next five */
	__u64 bytes_received;
	__u64 bytes_acknowledged;
	__u32 srtt_us;
	__u32 error;
	__u32 failure;
	__u32 answers;          /* whose first token was seen, also before the end */
	__u32 first_us;         /* how long the client waited for the first of these */
	__u32 most_us;          /* and for the slowest */
	struct pintle_ref went; /* the endpoint that it was connected to */
	__u32 cause;            /* enum pintle_ending */
	__u32 busy;             /* of `notes`: 1: taken */
};

#define PINTLE_ASSERT_SIZE(type, size)                                                             \
	_Static_assert(sizeof(type) == (size), #type " changed its size: new PINTLE_ABI_VERSION")
PINTLE_ASSERT_SIZE(struct pintle_node, 720 + 24 + 16 + 2 * 768 + 2 * 20 + 24 + 16 + 8);
PINTLE_ASSERT_SIZE(struct pintle_name, 336);
PINTLE_ASSERT_SIZE(struct pintle_hand_seen, 16);
PINTLE_ASSERT_SIZE(struct pintle_way_key, 36);
PINTLE_ASSERT_SIZE(struct pintle_way, 36);
PINTLE_ASSERT_SIZE(struct pintle_scope, 8);
PINTLE_ASSERT_SIZE(struct pintle_pod_flow, 8);
PINTLE_ASSERT_SIZE(struct pintle_device, 24);
PINTLE_ASSERT_SIZE(struct pintle_address_key, 24);
PINTLE_ASSERT_SIZE(struct pintle_address, 32);
PINTLE_ASSERT_SIZE(struct pintle_server_cgroup, 16);
PINTLE_ASSERT_SIZE(struct pintle_frontend_key, 28);
PINTLE_ASSERT_SIZE(struct pintle_frontend, 20);
PINTLE_ASSERT_SIZE(struct pintle_member, 16);
PINTLE_ASSERT_SIZE(struct pintle_spared_key, 16);
PINTLE_ASSERT_SIZE(struct pintle_spared, 64);
PINTLE_ASSERT_SIZE(struct pintle_policy, 4000);
PINTLE_ASSERT_SIZE(struct pintle_host, 8 + 332 + 256 + 5 * 4 + 3 * 8 + 512);
PINTLE_ASSERT_SIZE(struct pintle_rewrite, 136);
PINTLE_ASSERT_SIZE(struct pintle_class, 72);
PINTLE_ASSERT_SIZE(struct pintle_class_rule, 64);
PINTLE_ASSERT_SIZE(struct pintle_pool, 72 + 32 + 136 + 10 * PINTLE_MAX_MEMBERS + 32 + 16 +
					       72 * PINTLE_MAX_CLASSES + 2 * 64 * PINTLE_MAX_RULES +
					       24 * PINTLE_MAX_OTHERS + 16 +
					       64 * PINTLE_MAX_ASKED_KEYS + 8 + 24 + 24);
PINTLE_ASSERT_SIZE(struct pintle_other, 24);
PINTLE_ASSERT_SIZE(struct pintle_flow, 8);
PINTLE_ASSERT_SIZE(struct pintle_override, 32);
PINTLE_ASSERT_SIZE(struct pintle_trial, 40);
PINTLE_ASSERT_SIZE(struct pintle_trial_block, 16);
PINTLE_ASSERT_SIZE(struct pintle_trial_sums, 32);
PINTLE_ASSERT_SIZE(struct pintle_measure, 56);
PINTLE_ASSERT_SIZE(struct pintle_trial_result, 96 + 56 * PINTLE_MAX_BLOCKS);
PINTLE_ASSERT_SIZE(struct pintle_setting_key, 332 + 64);
PINTLE_ASSERT_SIZE(struct pintle_setting, 264);
PINTLE_ASSERT_SIZE(struct pintle_verdict, 32 + 2 * 256 + 512);
PINTLE_ASSERT_SIZE(struct pintle_homes, 8 + 8 * PINTLE_HOME_ENTRIES);
PINTLE_ASSERT_SIZE(struct pintle_endpoint, 40);
PINTLE_ASSERT_SIZE(struct pintle_score, 3 * 64);
PINTLE_ASSERT_SIZE(struct pintle_work, 152);
PINTLE_ASSERT_SIZE(struct pintle_inflight, 256);
PINTLE_ASSERT_SIZE(struct pintle_ends, 64);
PINTLE_ASSERT_SIZE(struct pintle_firsts, 1664);
PINTLE_ASSERT_SIZE(struct pintle_answers, 256);
PINTLE_ASSERT_SIZE(struct pintle_class_sums, 512);
PINTLE_ASSERT_SIZE(struct pintle_health, 3 * 64);
PINTLE_ASSERT_SIZE(struct pintle_affinity_key, 32);
PINTLE_ASSERT_SIZE(struct pintle_affinity, 56);
PINTLE_ASSERT_SIZE(struct pintle_session_class, 152);
PINTLE_ASSERT_SIZE(struct pintle_bindings, 40 + 8 * PINTLE_MAX_CLASSES);
PINTLE_ASSERT_SIZE(struct pintle_refusal, 16);
PINTLE_ASSERT_SIZE(struct pintle_model_key, 136);
PINTLE_ASSERT_SIZE(struct pintle_model, 32);
PINTLE_ASSERT_SIZE(struct pintle_adapters, 112);
PINTLE_ASSERT_SIZE(struct pintle_holders, 64);
PINTLE_ASSERT_SIZE(struct pintle_quota, 16);
PINTLE_ASSERT_SIZE(struct pintle_tenant, 48);
PINTLE_ASSERT_SIZE(struct pintle_tenant_firsts, 16 + 8 * PINTLE_TENANT_BUCKETS);
PINTLE_ASSERT_SIZE(struct pintle_tenant_minute, 24);
PINTLE_ASSERT_SIZE(struct pintle_seat, 40);
PINTLE_ASSERT_SIZE(struct pintle_tenant_error, 48);
PINTLE_ASSERT_SIZE(struct pintle_majority, 40);
PINTLE_ASSERT_SIZE(struct pintle_tuple, 40);
PINTLE_ASSERT_SIZE(struct pintle_decision, 40);
PINTLE_ASSERT_SIZE(struct pintle_asking, 56 + 616 + 80 + 8 + 16);
PINTLE_ASSERT_SIZE(struct pintle_held_key, 16);
PINTLE_ASSERT_SIZE(struct pintle_held, 72 + 17 * 1024);
PINTLE_ASSERT_SIZE(struct pintle_sweeper, 24);
PINTLE_ASSERT_SIZE(struct pintle_splice, 128);
PINTLE_ASSERT_SIZE(struct pintle_splice_back, 48);
PINTLE_ASSERT_SIZE(struct pintle_space, 16);
PINTLE_ASSERT_SIZE(struct pintle_asked, 64 * PINTLE_MAX_ASKED_KEYS + 8);
PINTLE_ASSERT_SIZE(struct pintle_conn, 48);
PINTLE_ASSERT_SIZE(struct pintle_connect, 184);
PINTLE_ASSERT_SIZE(struct pintle_named, 32);
PINTLE_ASSERT_SIZE(struct pintle_turn, 120);
PINTLE_ASSERT_SIZE(struct pintle_hand_flow, 224);
PINTLE_ASSERT_SIZE(struct pintle_evidence, 72);
PINTLE_ASSERT_SIZE(struct pintle_client, 80);
PINTLE_ASSERT_SIZE(struct pintle_pod, 48 + 64 + 2 * 256 + 8);
PINTLE_ASSERT_SIZE(struct pintle_event, 120);
PINTLE_ASSERT_SIZE(struct pintle_forecast, 32);
PINTLE_ASSERT_SIZE(struct pintle_moment_key, 24);
PINTLE_ASSERT_SIZE(struct pintle_moment_pool, 392);
PINTLE_ASSERT_SIZE(struct pintle_moment, 840);
PINTLE_ASSERT_SIZE(struct pintle_prefix, 40);
PINTLE_ASSERT_SIZE(struct pintle_prompt, 616);
PINTLE_ASSERT_SIZE(struct pintle_known, 80);
PINTLE_ASSERT_SIZE(struct pintle_chunk_key, 288);
PINTLE_ASSERT_SIZE(struct pintle_learner_key, 16);
PINTLE_ASSERT_SIZE(struct pintle_learner, 16);
PINTLE_ASSERT_SIZE(struct pintle_learners, 16);
PINTLE_ASSERT_SIZE(struct pintle_rest, 48);
PINTLE_ASSERT_SIZE(struct pintle_audited, 32);
PINTLE_ASSERT_SIZE(struct pintle_follower, 128);
PINTLE_ASSERT_SIZE(struct pintle_follows, 64 + 128 * PINTLE_MAX_FOLLOWERS);
PINTLE_ASSERT_SIZE(struct pintle_trace_candidate, 160);
PINTLE_ASSERT_SIZE(struct pintle_trace, 288 + 160 * PINTLE_TRACED + 72);

#endif
