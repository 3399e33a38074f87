/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hint.h - what a client may tell Pintle about a connection before it makes it.
 *
 *	setsockopt(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, "user-4711", 9);
 *	connect(fd, ...);
 *
 * A hint is set on a TCP socket, before connect(); it takes no privilege. It holds for every later
 * connect() of the socket; a second hint of the same kind replaces the first.
 *
 * setsockopt() returns 0; or -1 with errno
 *	ENOPROTOOPT	(EOPNOTSUPP on an MPTCP or unix socket) no program takes hints here: Pintle
 *			does not run, or none of its pools uses hints. Nothing has changed; connect.
 *	EINVAL		a size or a class that does not follow the rules below
 *	ENOMEM		the socket has no room for the hint (net.core.optmem_max)
 *
 * A hint has an effect only if the pool's `stickiness.key` (or `group`) is `hint`; that of a class,
 * if the pool has classes. On an MPTCP socket a hint is taken, and has no effect.
 *
 * This header needs nothing else of Pintle: copy the numbers where that is easier.
 */
#ifndef PINTLE_HINT_H
#define PINTLE_HINT_H

#define PINTLE_HINT_LEVEL 0x5054

/* The session: a client's connections with the same text go to the same model server, while that is
 * not too loaded. A client is a network namespace; with `stickiness.shared` all clients with the
 * same text share the session. 1 to 64 bytes of any value: a string without its NUL, or a 64-bit
 * number. */
#define PINTLE_HINT_SESSION 1
/* The group, for `stickiness.group: hint`: what many sessions have in common, such as the name or
 * a hash of a long prompt with which they all begin. All clients with the same text share the
 * group. 1 to 64 bytes of any value. */
#define PINTLE_HINT_GROUP 2
/* The class of the connection, by its place in the pool's list: an unsigned 32-bit number in the
 * machine's byte order, 0 to 7. It may lower the class that the connection would have; it raises it
 * only where the pool, or one of its rules, trusts hints. A class that the pool does not have says
 * nothing. */
#define PINTLE_HINT_CLASS 3

#define PINTLE_HINT_MAX 64 /* bytes of a session or a group */

#endif
