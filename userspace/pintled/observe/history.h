/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - writes the map `history`: each minute, and when a pool's mode changes, its counts as
 * they stand. The map is pinned, and an entry is written as a whole: a daemon that is killed leaves
 * out no more than what it had not written, and the next one goes on.
 */
#ifndef PINTLE_HISTORY_H
#define PINTLE_HISTORY_H

#include "../../config/config.h"
#include "../../maps/maps.h"
#include "poll.h"
#include "../publish/publish.h"

struct keeper;

/** Finds what former daemons wrote. `m` and `p` must outlive it. Returns 0 and *out
 * (keeper_free() it), or -errno, logged. */
int keeper_new(const struct maps *m, const struct poller *p, struct keeper **out);
/** To be called several times a second: takes a moment of each pool if the mode of one has changed
 * since the newest. */
void keeper_tend(struct keeper *k, const struct config *c, const struct publication *p);
/** To be called every few seconds: looks at the servers, and takes the moments that are due. */
void keeper_look(struct keeper *k);
/** CPU time that the two have taken. */
double keeper_cpu_seconds(const struct keeper *k);
void keeper_free(struct keeper *k);

#endif
