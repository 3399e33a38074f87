/* SPDX-License-Identifier: Apache-2.0 */
/* bindings.h - walks over the bindings of sessions: deletes those that are too old, counts the
 * others. */
#ifndef PINTLE_BINDINGS_H
#define PINTLE_BINDINGS_H

#include "../ground.h"

struct bindings;

/** Makes *out. Returns 0 and *out (bindings_free() it), or -ENOMEM, logged. */
int bindings_new(const struct ground *g, struct bindings **out);

/** Walks over all bindings. Deletes the binding of a session that was away for longer than its
 * pool's ttl, or whose pool or endpoint is gone. Sets `shares` to the number of bindings of each
 * client, and counts in the map `bindings` how many are held and how many were evicted. Logs a
 * pool's first eviction. Returns 0 or -errno, logged. */
int bindings_walk(struct bindings *b);

/** Forgets, after ends of connections were missed, each session's open connections. What is open,
 * and was counted before, takes nothing off when it ends, for no count goes below 0. Until then the
 * session counts as smaller than it is, so that it is sticky; a count that never falls would make a
 * crowd of it. Returns 0 or -errno, logged. */
int bindings_forget_open(struct bindings *b);

void bindings_free(struct bindings *b);

#endif
