/* SPDX-License-Identifier: Apache-2.0 */
/* recount.h - counts open connections and pending placements, by the iterators of
 * bpf/pass/reconcile.bpf.c. */
#ifndef PINTLE_RECOUNT_H
#define PINTLE_RECOUNT_H

#include <stdint.h>

#include "../../maps/maps.h"

struct recount;
struct pintle_bpf;

/** Attaches the iterators of a loaded skeleton, which may be unloaded afterwards. Returns NULL,
 * logged, where that fails; otherwise recount_free() it. */
struct recount *recount_new(const struct pintle_bpf *skel, const struct maps *m);

/** Runs the iterators over all their entries. Returns PINTLE_MAX_ENDPOINTS x PINTLE_MAX_CLASSES
 * sums of PINTLE_RECOUNT_*, owned by `r` and valid until the next call; NULL when an iterator
 * failed (logged once), or `r` is NULL. */
const volatile uint64_t *recount_run(struct recount *r);

void recount_free(struct recount *r);

#endif
