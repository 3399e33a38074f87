/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - writes the map `history`: each minute, and when a pool's mode changes, its counts as
 * they stand. The map is pinned, and an entry is written as a whole: a daemon that is killed leaves
 * out no more than what it had not written, and the next one goes on.
 */
#ifndef PINTLE_HISTORY_H
#define PINTLE_HISTORY_H

#include "../../config/config.h"
#include "../ground.h"
#include "poll.h"
#include "../publish/publication.h"

struct keeper;

/** Finds what former daemons wrote. `p` must outlive it. Returns 0 and *out
 * (keeper_free() it), or -errno, logged. */
int keeper_new(const struct ground *g, const struct poller *p, struct keeper **out);
/** Takes a moment of each pool, called several times a second, if the mode of one has changed since
 * the newest. */
void keeper_tend(struct keeper *k, const struct config *c, const struct publication *p);
/** Looks at the servers, called every few seconds, and takes the moments that are due. */
void keeper_look(struct keeper *k);
/** Returns the CPU time that these two functions have taken. */
double keeper_cpu_seconds(const struct keeper *k);
void keeper_free(struct keeper *k);

#endif
