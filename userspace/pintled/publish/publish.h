/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - writes the configuration into the maps, and tells which id each of its pools and
 * endpoints has there.
 */
#ifndef PINTLE_PUBLISH_H
#define PINTLE_PUBLISH_H

#include "publication.h"

/**
 * Writes the whole configuration, new entries first and removals last: a connection that is decided
 * meanwhile never finds fewer endpoints than both the former and the new configuration have.
 * Servers of new endpoints that listen already are registered (register.h) before a pool names
 * them. Adds and removes local routes in the network namespace `netns_fd`.
 *
 * What is in the maps already is not written again; tables of homes are not even made again if
 * `former`, the newest publication of this process, has them (NULL: there was none, or it failed
 * half-way).
 *
 * Returns 0 and *out (publication_free() it); or -errno, logged. -ENOSPC (no free id) and errors of
 * routes leave the maps as they were. Other errors, which only happen when the kernel is out of
 * memory, may leave a part of the new configuration beside the old one: then the caller publishes
 * the old one again.
 */
int publish(const struct maps *m, int netns_fd, const struct config *c,
	    const struct publication *former, struct publication **out);

/** Sets *v, which is all zeros, to what the maps say of the class of the pool. */
void publish_class(struct pintle_class *v, const struct config_pool *p,
		   const struct config_class *c);

#endif
