/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ids.h - gives each pool and endpoint its id in the maps.
 *
 * Ids and their generations stay the same over reloads, restarts and upgrades, because bindings and
 * counts name them. A pool keeps its id as long as its name, hook and reach stay. An endpoint keeps
 * its id as long as its pool and address stay, whatever its name: if endpoint `a` at port 8001 and
 * `b` at 8002 exchange their ports, they exchange their ids, and bindings stay with the KV caches.
 * Any other pool or endpoint gets an id with a new generation, and the counts of that id start at
 * 0.
 *
 * An id is not given away in the publication that retires it, and an endpoint's id not before all
 * of its connections are closed. Only where all endpoint ids are in use may an endpoint without
 * connections make room in the same publication.
 */
#ifndef PINTLE_IDS_H
#define PINTLE_IDS_H

#include "publication.h"

struct ids;

/** Reads the ids that the maps hold. `m` must outlive it. Returns 0 and *out (ids_free() it), or
 * -errno, logged. */
int ids_load(const struct maps *m, struct ids **out);
void ids_free(struct ids *ids);
static inline void ids_freep(struct ids **ids)
{
	ids_free(*ids);
}

/** Decides the id of each pool and endpoint of `c`, and fills in `p`, which must have room for them
 * and be all 0. Writes nothing to the maps. To be called once for each `ids`. Returns 0; or
 * -ENOSPC, logged. */
int ids_plan(struct ids *ids, const struct config *c, struct publication *p);

/** Writes names and new endpoints, with empty counts, into the maps. After ids_plan(). Returns 0 or
 * -errno, logged. */
int ids_write(const struct ids *ids);

/** Removes the endpoints and pools that are not in the plan. Their generations stay in the maps, so
 * that a record which still has such an id is seen to be out of date. After ids_write(). Returns 0
 * or -errno, logged. */
int ids_retire(struct ids *ids);

#endif
