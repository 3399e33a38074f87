/* SPDX-License-Identifier: Apache-2.0 */
/* bindings.h - what is kept of sessions: forgets those that are too old, and counts the others. */
#ifndef PINTLE_BINDINGS_H
#define PINTLE_BINDINGS_H

#include "../maps/maps.h"

struct bindings;

/** For maps that the daemon took over, or made. Returns NULL without memory. */
struct bindings *bindings_new(const struct maps *m);

/** Walks over all bindings. Deletes those of a session that was away for longer than its pool's
 * ttl, or of a pool or an endpoint that is gone; sets `shares` to what each client has; counts in
 * `bindings` those that are held and those that were evicted. Of each pool the first eviction is
 * logged. Returns 0 or -errno, logged. */
int bindings_walk(struct bindings *b);

void bindings_free(struct bindings *b);

#endif
