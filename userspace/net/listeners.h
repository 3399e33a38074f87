/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listeners.h - lists the TCP sockets of a network namespace by the kernel's own table (inet_diag),
 * and gets descriptors of LISTEN sockets that other processes own.
 *
 * `netns_fd` is a namespace as in netns.h: -1 is the caller's own. Nothing here changes a socket. A
 * dump is no snapshot: sockets that come, go or change their state while it runs may be missing or,
 * rarely, appear twice.
 */
#ifndef PINTLE_LISTENERS_H
#define PINTLE_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

struct listener {
	struct addr ip;   /* the address it is bound to; 0.0.0.0 is ::ffff:0.0.0.0 */
	uint16_t port;    /* host byte order */
	uint8_t families; /* PINTLE_FAMILY_* of the connections it accepts */
	bool v6;          /* an AF_INET6 socket: may still be bound to a v4-mapped address */
	bool v6only;      /* IPV6_V6ONLY */
	bool wildcard;    /* bound to any address */
	bool mptcp;       /* accepts MPTCP connections, and so cannot be steered */
	uint32_t inode;   /* N of "socket:[N]" in /proc/PID/fd; 0: no process holds it */
	uint64_t cookie;  /* SO_COOKIE; for an MPTCP listener, of its inner TCP socket */
	uint32_t uid;     /* the user who made it, in the caller's user namespace */
	uint64_t cgroup;  /* id of the cgroup in which it was made; 0: not known */
};

/** Lists all TCP sockets in state LISTEN, each once, sorted by port and address. Without
 * CAP_NET_ADMIN `mptcp` may be false where it should be true. Returns 0 with *out (free() it; NULL
 * if there are none) and *n; or -errno, logged, both untouched. */
int listeners_dump(int netns_fd, struct listener **out, size_t *n);

/** `fd` >= 0: the listener's socket, closed when the callback returns; a dup() of it keeps the
 * server's port open. `fd` < 0: why there is none, see listener_error(). */
typedef void (*listener_fn)(const struct listener *l, int fd, void *arg);

/**
 * Gets a descriptor of each of `n` listeners from a process that holds it (pidfd_getfd), by one
 * walk over /proc that ends when all are found. Processes in the namespace itself come first.
 *
 * Calls `each` exactly once per listener, in no particular order. A descriptor is always of that
 * very socket (SO_COOKIE), of that namespace (SO_NETNS_COOKIE), and listening. Returns how many
 * were found; or -errno, logged, with `each` never called: the namespace or /proc could not be
 * read. Processes of other users need CAP_SYS_PTRACE, and a /proc that shows them (hostPID).
 */
int listeners_fetch(int netns_fd, const struct listener *ls, size_t n, listener_fn each, void *arg);

/** Returns what a negative `fd` of listener_fn means, and what would help, as static text. */
const char *listener_error(int error);

struct diag_connection {
	struct addr local, remote;
	uint16_t local_port, remote_port; /* host byte order */
	uint8_t state;                    /* TCP_ESTABLISHED, ... of <netinet/tcp.h> */
	bool mptcp;                       /* a subflow of an MPTCP connection */
	uint32_t inode;                   /* 0: closed by its process, or not accepted yet */
	uint64_t cookie;
};

/**
 * Looks for the socket of connection *of, of which only addresses and ports matter: also of one
 * that no process has accepted yet, or whose handshake the kernel has not finished. Returns 1 with
 * its state and inode (0: no process has it) in *of; 0: there is none; or -errno.
 */
int connection_find(int netns_fd, struct diag_connection *of);

/**
 * Calls `each` for every TCP socket that has, or is about to have, a connection: SYN_SENT and
 * ESTABLISHED up to LAST_ACK and CLOSING. Leaves out LISTEN, CLOSE, handshakes that the server has
 * not finished (SYN_RECV), and TIME_WAIT records (also those of state FIN_WAIT2): so on the
 * server's side these are the connections between established and closed. `local_port` (host byte
 * order): only sockets with this local port; 0: all. If `each` returns other than 0, the dump ends
 * with that value. Returns 0, or -errno, logged.
 */
int connections_dump(int netns_fd, uint16_t local_port,
		     int (*each)(const struct diag_connection *c, void *arg), void *arg);

#endif
