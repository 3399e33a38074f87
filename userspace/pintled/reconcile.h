/* SPDX-License-Identifier: Apache-2.0 */
/* reconcile.h - holds `inflight` against the sockets that there are. */
#ifndef PINTLE_RECONCILE_H
#define PINTLE_RECONCILE_H

#include <stdint.h>

#include "attach.h"

/** Counts every endpoint's live connections anew. Where the kernel's counts cannot be right,
 * however connections came and went meanwhile, they are put right by an atomic add, and that is
 * logged in one line. Returns by how many connections counts were wrong, summed (0 in all but odd
 * cases: an end can be missed only when another program takes our callback flag away, or while
 * nothing of ours is attached); also added to node->drift. Placements of lookup pools that came to
 * nothing are ended in silence: a SYN that is not answered, a stray segment. */
uint64_t reconcile(struct attachment *a);

#endif
