/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h - the programs in the kernel and their pins: made, found again, replaced, removed.
 *
 *   attachment_prepare()   loads the programs; opens the pins there are, or stages new ones.
 *                          Nothing steers differently yet.
 *   ... the caller publishes the configuration into attachment_maps() ...
 *   attachment_commit()    attaches, or puts the new programs in the place of the old, and
 *                          makes the pins visible, whole, by one rename.
 *
 * Whoever holds an attachment holds the lock on the bpffs directory: one daemon, or one detach,
 * at a time. The kernel drops the lock when the process ends, however it ends.
 */
#ifndef PINTLE_ATTACH_H
#define PINTLE_ATTACH_H

#include <stdbool.h>

#include "../common/config.h"
#include "../common/maps.h"

struct attachment;

/** Returns 0 and *out (attachment_free() it); else -errno, logged, with nothing changed:
 * -EBUSY: another daemon holds the directory; -EPROTO: pins of another layout; -EXDEV: the
 * pins steer another network namespace or cgroup than the configuration names. */
int attachment_prepare(const struct config *c, struct attachment **out);

/** Attaches and pins. Returns 0; else -errno, logged; then what was pinned before steers as before.
 */
int attachment_commit(struct attachment *a);

/** Lets go of everything but the pins: what was committed goes on steering. NULL is fine. */
void attachment_free(struct attachment *a);

/** Valid from attachment_prepare() on, owned by the attachment. */
struct maps *attachment_maps(const struct attachment *a);
/** The network namespace that is steered; -1: the daemon's own. Owned by the attachment. */
int attachment_netns(const struct attachment *a);
/** Whether pins were found, and so bindings and counts are older than this process. */
bool attachment_resumed(const struct attachment *a);
/** Runs the recounting iterator to its end and returns its result, PINTLE_MAX_ENDPOINTS x
 * PINTLE_MAX_CLASSES live connections (owned by the attachment, valid until the next
 * call); NULL when the kernel would not (logged once). */
const volatile uint64_t *attachment_recount(struct attachment *a);

/** Takes away everything that any daemon ever added under this directory: links, pins, local
 * routes. Works from the pins alone. Returns 0, also when there was nothing; -EBUSY while a daemon
 * runs; else -errno; all logged. */
int detach(const char *bpffs);

#endif
