/* SPDX-License-Identifier: Apache-2.0 */
/*
 * responder.h - the overload responder, a process of its own: reads requests that hooks diverted
 * to it, and answers each with 429 and Retry-After.
 *
 * pintled makes its listeners, so a new responder goes on with those of one that died, and starts
 * it as "pintled " RESPONDER_OPTION. The process holds these descriptors and nothing else.
 */
#ifndef PINTLE_RESPONDER_H
#define PINTLE_RESPONDER_H

#define RESPONDER_OPTION "--overload-responder"

enum responder_fd {
	RESPONDER_FD_LIFE = 3, /* a pipe: at its end pintled is gone */
	RESPONDER_FD_BOARD,    /* struct board, to be mapped */
	RESPONDER_FD_PENDING,  /* the map `pending`, for reading */
	RESPONDER_FD_LISTENER, /* and the next one: of IPv4, of IPv6; some may be closed */
	RESPONDER_FD_END = RESPONDER_FD_LISTENER + 2,
};

/* Of one client's address. */
#define RESPONDER_CLIENTS_MAX    1024
#define RESPONDER_PER_CLIENT_MAX 16

/** Serves until pintled is gone and the open connections have ended. Returns the exit status. */
int responder_run(void);

#endif
