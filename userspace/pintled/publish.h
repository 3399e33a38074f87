/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - the configuration, written into the maps; and which id each of its pools and
 * endpoints has there.
 *
 * Ids stay: a pool keeps its own by its name, an endpoint by pool, name and address, over
 * reloads, restarts and upgrades, because bindings and counts name them. One that
 * leaves gives its id back once nothing of it is in flight.
 */
#ifndef PINTLE_PUBLISH_H
#define PINTLE_PUBLISH_H

#include <stddef.h>
#include <stdint.h>

#include "../common/config.h"
#include "../common/maps.h"

/* Parallel to config->pools, and to each pool's endpoints. */
struct published_pool {
	struct pintle_ref ref;
	struct pintle_ref *endpoints;
};

struct publication {
	struct published_pool *pools;
	size_t pool_count;
};

/** Writes all of it: what is new first, what is gone last, so that at no moment a
 * connection finds less than before or after. Adds and removes local routes in the network
 * namespace `netns_fd`. Returns 0 and *out (publication_free() it); -ENOSPC when ids run out; else
 * -errno, logged. */
int publish(const struct maps *m, int netns_fd, const struct config *c, struct publication **out);
void publication_free(struct publication *p);

#endif
