/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hint.h - what a client may tell Pintle about a connection that it is about to make.
 *
 *	setsockopt(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, "user-4711", 9);
 *	connect(fd, ...);
 *
 * On a TCP socket, before connect(), without any privilege. It holds for every connect() of this
 * socket from then on; given again, it takes the place of the former.
 *
 * Returns 0; or -1 with errno
 *	ENOPROTOOPT	(EOPNOTSUPP on an MPTCP or unix socket) nobody takes hints here: no
 *			Pintle, or none of its pools uses them. Nothing has changed; connect.
 *	EINVAL		a size or a class that does not fit the rules below
 *	ENOMEM		no room for it with this socket (net.core.optmem_max)
 *
 * A hint is only of use where the pool's `stickiness.key` (or `group`) is `hint`. On an MPTCP
 * socket it is taken, and has no effect.
 *
 * This header needs nothing else of Pintle: copy the numbers where that is easier.
 */
#ifndef PINTLE_HINT_H
#define PINTLE_HINT_H

#define PINTLE_HINT_LEVEL 0x5054

/* The session: connections that say the same here go to the same model server, while that is not
 * too loaded. Connections of one client, which is a network namespace; with `stickiness.shared` of
 * any client. 1 to 64 bytes of any kind: a string without its NUL, or a 64-bit number. */
#define PINTLE_HINT_SESSION 1
/* The group, for `stickiness.group: hint`: what many sessions have in common, such as the name or
 * a hash of a long prompt that they all begin with. All clients that say the same share a group.
 * Sized as the session. */
#define PINTLE_HINT_GROUP 2
/* The class of the connection: an unsigned 32-bit number in the machine's byte order, 0 to 7. One
 * that the pool does not have counts as 0. */
#define PINTLE_HINT_CLASS 3

#define PINTLE_HINT_MAX 64 /* bytes of a session or a group */

#endif
