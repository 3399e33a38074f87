/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h - the programs in the kernel: loaded, attached, replaced.
 *
 *   attachment_prepare()   loads the programs; opens the pins there are, or stages new ones.
 *                          Nothing steers differently yet.
 *   attachment_commit()    attaches, and makes the staged pins visible, whole, by one rename;
 *                          or puts the new programs in the place of the old.
 *
 * The configuration is published into attachment_maps() before the first commit, so that what is
 * attached has something to go by. Over pins that steer already it is published after, so that
 * a failure to attach leaves their configuration as it was.
 *
 * Some programs are attached only while a pool needs them: see links.h. On a reload,
 *
 *   attachment_extend()    comes before the configuration is published,
 *   attachment_trim()      after it; also after the commit, over pins that steer already
 *
 * Whoever holds an attachment holds the lock on the bpffs directory (pins.h).
 */
#ifndef PINTLE_ATTACH_H
#define PINTLE_ATTACH_H

#include <stdbool.h>

#include "../config/config.h"
#include "../maps/links.h"
#include "../maps/maps.h"

struct attachment;

/** Pins that steer nothing any more (their network namespace is gone, or they are not whole and no
 * link is left) are taken away, and new ones staged. Returns 0 and *out (attachment_free() it);
 * else -errno, logged, with nothing changed: -EBUSY: another daemon holds the directory; -EPROTO:
 * pins of another layout; -EXDEV: the pins steer another network namespace or cgroup than the
 * configuration names. */
int attachment_prepare(const struct config *c, struct attachment **out);

/** Attaches and pins. Returns 0; else -errno, logged; then what was pinned before steers as before.
 */
int attachment_commit(struct attachment *a, const struct config *c);

/** Loads and attaches what `c` needs and is not attached yet. Returns 0; or -errno, logged: some of
 * it may be attached, which a trim to the current configuration takes away again. */
int attachment_extend(struct attachment *a, const struct config *c);
/** Detaches what `c` does not need. */
void attachment_trim(struct attachment *a, const struct config *c);

/** Loads one program by itself, over the maps, once committed. Returns a descriptor (the caller's),
 * or -errno, logged. */
int attachment_program(struct attachment *a, const char *name);

/** Lets go of everything but the pins: what was committed goes on steering; what was not is taken
 * away, local routes included. NULL is fine. */
void attachment_free(struct attachment *a);

/** Valid from attachment_prepare() on, owned by the attachment. */
struct maps *attachment_maps(const struct attachment *a);
/** The network namespace that is steered. Owned by the attachment. */
int attachment_netns(const struct attachment *a);
/** Whether pins were found, and so bindings and counts are older than this process. */
bool attachment_resumed(const struct attachment *a);
/** Looks whether all that was pinned and attached for `c`, the configuration that runs, still is,
 * and puts back what is not: pins, the directory of them, links that were detached by force or with
 * their cgroup, as soon as there is one at its path again. To be called every now and then; cheap
 * where nothing is missing. What is lost is logged once, and so is its return. Returns whether a
 * hook was attached anew: then connections and listeners may have been missed. */
bool attachment_tend(struct attachment *a, const struct config *c);
/** Whether `c` needs that hook; *attached: whether it is attached, as of the last look. */
bool attachment_hook(const struct attachment *a, const struct config *c, enum link_id id,
		     bool *attached);
/** Which hooks are not attached and why, as of the last look, in words that the attachment owns;
 * NULL: all are. */
const char *attachment_lost(const struct attachment *a);
/** Runs the recounting iterators to their ends and returns its result, PINTLE_MAX_ENDPOINTS x
 * PINTLE_MAX_CLASSES sums of PINTLE_RECOUNT_* (owned by the attachment, valid until the next
 * call); NULL when the kernel would not (logged once). */
const volatile uint64_t *attachment_recount(struct attachment *a);

#endif
