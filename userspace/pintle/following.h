/* SPDX-License-Identifier: Apache-2.0 */
/* following.h - what `pintle events` and `pintle trace` have in common: they print what comes in a
 * ring, until a signal comes or nobody reads any more. */
#ifndef PINTLE_FOLLOWING_H
#define PINTLE_FOLLOWING_H

#include <signal.h>

#include "../maps/state_event.h"
#include "output.h"

struct ring_buffer;

#define FOLLOWING_RENEW_NS NSEC_PER_SEC

struct following {
	const struct cli *cli;
	struct maps *m;
	struct state *s;              /* for names; following_names() renews it */
	struct event_clients clients; /* likewise */
	bool broken;                  /* stdout takes no more */
};

/* A signal asked to end. */
extern volatile sig_atomic_t following_stopped;

/** Has SIGINT, SIGTERM and SIGHUP end the wait for the ring at once, and set following_stopped.
 * `flags` are those of sigaction(). */
void following_catch(int flags);

/** Reads the state and the clients anew. Returns 0 or -errno, logged; then those of before stay. */
int following_names(struct following *f);
void following_free(struct following *f);

/** Returns 0 if the maps are still pinned, else -ENOENT, logged: after `pintled --detach` a
 * follower still holds the maps, but no program fills them. */
int following_pinned(const struct following *f);

/** Prints a row as one line of JSON. Returns 0 or -ENOMEM. */
int following_print_json(const struct columns *c, const void *row);

/** Calls renew(arg), and then reads *ring, again and again. Returns an exit status: EXIT_FAILED
 * once `renew` fails, which logs why, or the ring cannot be read. */
int following_run(struct following *f, struct ring_buffer **ring, int (*renew)(void *arg),
		  void *arg);

#endif
