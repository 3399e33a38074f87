/* SPDX-License-Identifier: Apache-2.0 */
/* reconcile.h - compares the counters in `inflight` with the sockets that exist, and corrects
 * them. */
#ifndef PINTLE_RECONCILE_H
#define PINTLE_RECONCILE_H

#include <stdbool.h>
#include <stdint.h>

#include "../ground.h"

/** Counts every endpoint's open connections anew. A counter that cannot be right, whatever
 * connections came and went during the walk, is corrected by an atomic add; one line is logged for
 * all of them. Returns the sum of the errors, in connections, and adds it to node->drift. That is 0
 * unless the end of a connection was missed, because another program took our callback flag away or
 * nothing of ours was attached. Placements of lookup pools that were never established (an
 * unanswered SYN, a stray segment) are counted as failed without a word, and are no drift. `tell`
 * false: nothing is drift, and nothing is logged. */
uint64_t reconcile(const struct ground *g, bool tell);

#endif
