/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.h - carries what a map of another build holds over into this build's map of that name:
 * entries one by one, members by their names (maps/layout.h).
 */
#ifndef PINTLE_CARRY_H
#define PINTLE_CARRY_H

#include "kinds.h"

struct carry;

/* How many pools and endpoints the other build has room for: the numbers of entries follow. */
struct carry_room {
	uint32_t pools, endpoints;
};

/** Plans to carry the map `from`, which is `was`, into `to`, which is `is`. All of them must
 * outlive it. Returns 0 and *out (carry_free() it), NULL where such a map is not carried by this;
 * or -ENOMEM. */
int carry_new(enum map_id id, int from, const struct map_kind *was, int to,
	      const struct map_kind *is, const struct carry_room *room, struct carry **out);
void carry_free(struct carry *c);

/** Copies all that `from` holds, into a map that nobody uses yet. Returns 0 or -errno. */
int carry_copy(struct carry *c);

/** Copies what was written since carry_copy() into a map of CARRY_CHANGES, while `to` is in use:
 * entries of arrays that changed, and entries of hashes that `to` has not. Where another process
 * did the copy, and was killed, arrays stay as they are. Returns 0 or -errno. */
int carry_again(struct carry *c);

#endif
