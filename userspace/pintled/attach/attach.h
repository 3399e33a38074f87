/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h - the programs in the kernel: loaded, attached, replaced.
 *
 *   attachment_prepare()   loads the programs; opens the pins there are, or stages new ones.
 *                          Nothing steers differently yet.
 *   attachment_commit()    attaches, and makes the staged pins visible, whole, by one rename;
 *                          or puts the new programs in the place of the old.
 *
 * A daemon that starts afresh publishes the configuration into its maps before the commit,
 * so that the programs find it when they are attached; so does one that takes over pins of another
 * build, whose maps may lack what these programs look for. A daemon that finds pins of its own
 * build publishes after the commit, so that a failure to attach leaves the configuration that
 * steers as it was.
 *
 * Some programs are attached only while a pool needs them: see links.h. On a reload,
 *
 *   attachment_extend()    comes before the configuration is published,
 *   attachment_trim()      after it; also after the commit, over pins that steer already
 *
 * An attachment holds the lock on the bpffs directory (pins.h) until it is freed.
 */
#ifndef PINTLE_ATTACH_H
#define PINTLE_ATTACH_H

#include <stdbool.h>

#include "../../config/config.h"
#include "../../maps/links.h"
#include "../ground.h"

struct attachment;

/** Removes pins that steer nothing any more (their network namespace is gone, or they are not whole
 * and no link is left), and stages new ones. Returns 0 and *out (attachment_free() it); else
 * -errno, logged, with nothing changed: -EBUSY: another daemon holds the directory; -EPROTO: pins
 * of another layout; -EXDEV: the pins steer another network namespace or cgroup than the
 * configuration names. Does nothing with `loop` but to hand it on: attachment_ground(). */
int attachment_prepare(const struct config *c, uv_loop_t *loop, struct attachment **out);

/** Attaches and pins. To be called once. Returns 0; or -errno, logged: pins that steered before
 * still steer as before. */
int attachment_commit(struct attachment *a, const struct config *c);

/** Ends a takeover of another build's pins, once the programs of devices were replaced, too.
 * Returns 0; or -errno, logged: the next start ends it. */
int attachment_settle(struct attachment *a);

/** Loads and attaches the programs that `c` needs and that are not attached yet. Returns 0; or
 * -errno, logged: some may be attached, which attachment_trim() to the current configuration
 * detaches again. */
int attachment_extend(struct attachment *a, const struct config *c);
/** Detaches the programs that `c` does not need. A program that sees how connections end stays
 * while a connection to an endpoint of a former pool is open: to be called again now and then. */
void attachment_trim(struct attachment *a, const struct config *c);

/** Closes everything but the pins: what was committed goes on steering. What was not committed is
 * removed, local routes included. NULL is fine. */
void attachment_free(struct attachment *a);

/** Returns what all parts stand on; owned by the attachment. */
const struct ground *attachment_ground(const struct attachment *a);
/** Returns whether those pins are of another build, until attachment_settle(). */
bool attachment_takes_over(const struct attachment *a);
/** Puts back what was pinned and attached for `c`, the current configuration, and is no longer:
 * pins, their directory, and links that were detached by force or with their cgroup (those as soon
 * as a cgroup exists at that path again; those three times in ten minutes, see tend.h). To be
 * called a few times a second; cheap where nothing is missing. A loss is logged once, and so is its
 * end. Returns whether a hook was attached anew: then connections and listeners may have been
 * missed. */
bool attachment_tend(struct attachment *a, const struct config *c);
/** Returns whether `c` needs that hook; *attached: whether it was attached at the last
 * attachment_tend(). */
bool attachment_hook(const struct attachment *a, const struct config *c, enum link_id id,
		     bool *attached);
/** Returns how often that hook was detached by force, and attached again, since the daemon's
 * start. */
uint64_t attachment_put_back(const struct attachment *a, enum link_id id);
/** Returns which hooks were not attached at the last attachment_tend(), and why, as text that the
 * attachment owns; NULL: all were. */
const char *attachment_lost(const struct attachment *a);
/** Returns why the hooks see only a part of this node's processes (cgroup2_part()), as text that
 * the attachment owns; NULL: nothing says so. Found when the attachment was prepared. */
const char *attachment_part(const struct attachment *a);
#endif
