/* SPDX-License-Identifier: Apache-2.0 */
/*
 * knock.h - whether somebody accepts connections from a listener: asked by one connection of
 * pintled's own, which is closed as soon as it is accepted.
 *
 * The kernel finishes handshakes for a listener by itself, also for one that only keeps a port. So
 * the server's end of the connection is looked at: a process has it (its inode is not 0) from
 * accept() on. One that waits stays open, so that the server accepts it when it begins to.
 */
#ifndef PINTLE_KNOCK_H
#define PINTLE_KNOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "../../net/addr.h"

enum knock_answer {
	KNOCK_WAITS,     /* nobody has accepted it yet */
	KNOCK_ACCEPTED,  /* the listener's server has */
	KNOCK_ELSEWHERE, /* another socket than the listener's has it */
};

/* A connection by which pintled tries one endpoint. Begins as {.fd = -1}. */
struct knock {
	int fd; /* -1: not connected */
	struct addr ip;
	uint16_t port;
	uint64_t begun_ns;
	bool found;  /* the server's end was seen to wait */
	bool queued; /* it waits in the listener's queue */
};

/** Looks at the knock, and makes the connection to port at->port of the address `ip` in the
 * namespace (as in netns.h) if there is none, but one in a second. After any answer but KNOCK_WAITS
 * it is closed. */
enum knock_answer knock_look(struct knock *k, int netns_fd, const struct addr *ip, uint16_t port,
			     uint64_t now);

/** Gives the connection of *from, if there is one, to *to, which has none: it is for the same
 * listener, which so has one of pintled's in its queue, and not a closed one besides. */
void knock_hand_on(struct knock *from, struct knock *to);
/** Closes the connection, if there is one. */
void knock_end(struct knock *k);

#endif
