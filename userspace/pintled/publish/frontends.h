/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontends.h - writes the map `frontends`, and adds and removes the local routes that go with it.
 *
 * The flag PINTLE_FRONTEND_ANNOUNCED of a frontend says that the route of its prefix is ours. It is
 * set before the route is added, and cleared after the route is removed: so detach finds every
 * route, whenever the daemon is killed.
 */
#ifndef PINTLE_FRONTENDS_H
#define PINTLE_FRONTENDS_H

#include "publication.h"

struct frontend_row {
	struct pintle_frontend_key key;
	struct pintle_frontend value;
};

/* Sorted by key. */
struct frontends {
	struct frontend_row *rows;
	size_t n, room;
};

void frontends_free(struct frontends *f);

/** Reads the map. Returns 0 and fills *out, which must be empty (frontends_free() it); or -errno,
 * logged. */
int frontends_load(const struct maps *m, struct frontends *out);

/** Makes the rows that the map should hold by the configuration; PINTLE_FRONTEND_ANNOUNCED: there
 * should be a route. Returns as frontends_load(). */
int frontends_wanted(const struct config *c, const struct publication *p, struct frontends *out);

/** Adds the routes that are missing, and changes no decision. Where a prefix is local already, by a
 * route that is not ours, clears the flag of the wanted row. Returns 0; or -errno, logged, with
 * routes and map as in `old`. */
int frontends_announce(const struct maps *m, int netns_fd, const struct frontends *old,
		       struct frontends *wanted);

/** Writes every wanted row. Returns 0 or -errno, logged. */
int frontends_put(const struct maps *m, const struct frontends *old,
		  const struct frontends *wanted);

/** Removes the routes, and then the rows, that are not wanted. Returns 0 or -errno, logged. */
int frontends_settle(const struct maps *m, int netns_fd, const struct frontends *wanted);

#endif
