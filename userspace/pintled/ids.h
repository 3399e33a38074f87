/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ids.h - which id each pool and endpoint has in the maps.
 *
 * Ids stay, with their generation, over reloads, restarts and upgrades, because bindings and counts
 * name them. A pool keeps its own by its name, its hook and how its servers are reached. An
 * endpoint keeps its own by its pool and the address where it is: it is the server there, whatever
 * it is called. (So two endpoints that exchange their addresses exchange their ids, and bindings
 * stay where the KV caches are.) Whatever else gets an id gets a new generation with it, and the
 * counts of that id start at 0.
 *
 * An id is used again once no connection of the one who left is open, and never in the same step;
 * except that an endpoint who leaves makes room at once where all ids are in use.
 */
#ifndef PINTLE_IDS_H
#define PINTLE_IDS_H

#include "publish.h"

struct ids;

/** Reads what the maps hold. Returns 0 and *out (ids_free() it), or -errno, logged. */
int ids_load(const struct maps *m, struct ids **out);
void ids_free(struct ids *ids);
static inline void ids_freep(struct ids **ids)
{
	ids_free(*ids);
}

/** Decides the id of each pool and endpoint of `c` and fills them in in `p`, which has room for
 * them, all 0. Writes nothing to the maps. Returns 0; or -ENOSPC, logged. Once for each `ids`. */
int ids_plan(struct ids *ids, const struct config *c, struct publication *p);

/** Writes names and new endpoints, with empty counts, into the maps. Returns 0 or -errno, logged.
 */
int ids_write(const struct ids *ids);

/** Takes away the endpoints and pools that the plan has no place for; their generations stay, so
 * that whoever still holds such an id sees that it means nothing. Returns 0 or -errno, logged. */
int ids_retire(struct ids *ids);

#endif
