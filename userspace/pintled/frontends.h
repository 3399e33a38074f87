/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontends.h - the map `frontends`, and the local routes that go with it.
 *
 * A route that we added is written down first, as a flag of a frontend with its prefix, and the
 * flag is taken back after the route: whenever this is cut short, detach finds every route.
 */
#ifndef PINTLE_FRONTENDS_H
#define PINTLE_FRONTENDS_H

#include "publish.h"

struct frontend_row {
	struct pintle_frontend_key key;
	struct pintle_frontend value;
};

struct frontends {
	struct frontend_row *rows;
	size_t n, room;
};

void frontends_free(struct frontends *f);

/** What the map holds. Returns 0 and fills *out (empty before; frontends_free() it), or -errno,
 * logged. */
int frontends_load(const struct maps *m, struct frontends *out);

/** What the configuration wants the map to hold; PINTLE_FRONTEND_ANNOUNCED: that there be a route.
 * Returns as above. */
int frontends_wanted(const struct config *c, const struct publication *p, struct frontends *out);

/** Adds the routes that are missing; decides nothing. Where a prefix was local already by somebody
 * else's doing, the flag is taken off the wanted row. Returns 0; or -errno, logged, with routes and
 * map as in `old`. */
int frontends_announce(const struct maps *m, int netns_fd, const struct frontends *old,
		       struct frontends *wanted);

/** Puts every wanted row in place. Returns 0 or -errno, logged. */
int frontends_put(const struct maps *m, const struct frontends *old,
		  const struct frontends *wanted);

/** Removes routes, then rows, that are not wanted. Returns 0 or -errno, logged. */
int frontends_settle(const struct maps *m, int netns_fd, const struct frontends *wanted);

#endif
