/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seats.h - compares the counts of tenants with the sockets that exist, and corrects them: by the
 * iterator over `seats` of bpf/pass/reconcile.bpf.c.
 */
#ifndef PINTLE_SEATS_H
#define PINTLE_SEATS_H

#include "../../maps/maps.h"

struct seats;
struct pintle_bpf;

/** Attaches the iterator of a loaded skeleton, which may be unloaded afterwards. Returns NULL,
 * logged, where that fails; otherwise seats_free() it, before `m` is closed. */
struct seats *seats_new(const struct pintle_bpf *skel, const struct maps *m);

/** Corrects, every few seconds and after reconcile(), which ends the seats of sockets whose end was
 * missed, the counts that are wrong by what this look and the one before agree on, however many
 * connections come and go meanwhile; one line is logged for all. Returns the sum of the errors, in
 * connections. Without tenants it does nothing; NULL is ignored. */
uint64_t seats_look(struct seats *s);

void seats_free(struct seats *s);

#endif
