/* SPDX-License-Identifier: Apache-2.0 */
/*
 * splice.h - attaches the program that splices connections (bpf/handoff/splice.bpf.h) to the
 * devices of pods, and removes what belongs to devices that are gone.
 */
#ifndef PINTLE_SPLICE_H
#define PINTLE_SPLICE_H

#include <stddef.h>

#include "../../config/config.h"
#include "../ground.h"

struct splice;

/** The ground must outlive it. Returns 0 and *out (splice_free() it), or -errno, logged. */
int splice_new(const struct ground *g, struct splice **out);
/** From now on the program sees the packets of pods while a pool of `c`, which is kept by reference
 * until the next call, or an open connection needs it. */
void splice_configure(struct splice *s, const struct config *c);
/** Attaches the program again where it is missing, and forgets connections of devices that are
 * gone. To be called now and then, after splice_configure(). */
void splice_refresh(struct splice *s);
/** Counts pods and connections, for `pintle status`. To be called often, after splice_configure().
 */
void splice_look(struct splice *s);
/** How many connections in the map `splices` are open. */
size_t splice_open(int splices_fd);
/** Resets the connections in the map `splices` that are open, at both sides, and marks them as
 * ended; the program must still be attached. Returns how many clients' sockets were reset: those of
 * a namespace that cannot be found are not. */
size_t splice_reset(int splices_fd);
/** Leaves the program attached. NULL is fine. */
void splice_free(struct splice *s);

#endif
