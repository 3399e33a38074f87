/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.h - what the kernel is told of each pool besides its configuration: which members are
 * eligible now, so that a decision does not search a large pool for them; and how many to compare,
 * which follows from how much other nodes place (policy/others.h).
 *
 * The kernel does not rely on it: it looks at each member again, and goes on to the others.
 */
#ifndef PINTLE_ORDER_H
#define PINTLE_ORDER_H

#include "../../policy/others.h"
#include "../ground.h"
#include "publication.h"

struct orders; /* of all pools */

/** Returns 0 and *out (orders_free() it), or -ENOMEM, logged. */
int orders_new(const struct ground *g, struct orders **out);
void orders_free(struct orders *o);
/** Brings the pools of `p` up to date in the map `pools`; writes only those that change. `others`
 * is indexed by the pools' ids. Errors are logged, and leave a pool as it is. */
void orders_update(struct orders *o, const struct publication *p, struct others *others);

/** Returns whether the endpoint could not be chosen when its pool was looked at last; false of
 * pools of which no class is told no. */
bool orders_barred(const struct orders *o, uint32_t endpoint);

#endif
