/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - the configuration, written into the maps; and which id each of its pools and
 * endpoints has there.
 */
#ifndef PINTLE_PUBLISH_H
#define PINTLE_PUBLISH_H

#include <stddef.h>
#include <stdint.h>

#include "../config/config.h"
#include "../maps/maps.h"

/* Parallel to config->pools, and to each pool's endpoints. */
struct published_pool {
	struct pintle_ref ref;
	struct pintle_ref *endpoints;
};

struct publication {
	struct published_pool *pools;
	size_t pool_count;
};

/**
 * Writes all of it: what is new first, what is gone last, so that at no moment a connection finds
 * less than before or after; servers of new endpoints that listen already are registered
 * (register.h) before a pool names them. Adds and removes local routes in the network namespace
 * `netns_fd`.
 *
 * Returns 0 and *out (publication_free() it); or -errno, logged. -ENOSPC (ids run out) and errors
 * of routes leave the maps as they were. Others, which take a kernel out of memory, may leave a
 * part of the new configuration beside the old one: publish the old one again.
 */
int publish(const struct maps *m, int netns_fd, const struct config *c, struct publication **out);
void publication_free(struct publication *p);

#endif
