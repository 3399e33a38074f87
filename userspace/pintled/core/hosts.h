/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts.h - the hosts that endpoints name in `address`: what DNS says of them, asked again when an
 * answer's TTL is over.
 *
 *	hosts_new()        at the start
 *	hosts_restore()    with the addresses that are pinned
 *	hosts_start()      once the maps are open
 *	hosts_configure()  for each configuration that is applied; hosts_refused() for others
 *
 * An answer that is not good leaves the addresses as they were: servers that were there are more
 * likely to be there still than to be gone.
 */
#ifndef PINTLE_HOSTS_H
#define PINTLE_HOSTS_H

#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"
#include "../publish/publication.h"

struct hosts;
struct state;

/** Returns 0 and *out (hosts_free() it), or -ENOMEM, logged. */
int hosts_new(struct hosts **out);
/** Frees it; the loop must then run until it has no handles left. NULL is fine. */
void hosts_free(struct hosts *h);

/** Takes the addresses that a former daemon pinned for the configuration's hosts; `s`: what it
 * pinned, or NULL. */
void hosts_restore(struct hosts *h, const struct config *c, const struct state *s);

/** Begins to ask in the ground's network namespace, and calls `changed` when there are other
 * addresses than at its last call. Returns 0 or -errno, logged. */
int hosts_start(struct hosts *h, const struct ground *g, void (*changed)(void *arg), void *arg);

/** Asks for the hosts of `c`, which was applied, and says in the map `hosts` what became of them.
 * Both are kept by reference until the next call. */
void hosts_configure(struct hosts *h, const struct config *c, const struct publication *pub);
/** Takes back the newest addresses, with which the configuration could not be applied: those before
 * them are the answers again, until DNS is asked next. */
void hosts_refused(struct hosts *h);

/** Returns the answers, for config_hosts_expand(); valid until the next call of any function here,
 * or turn of the loop. */
const struct config_answer *hosts_answers(struct hosts *h, size_t *n);

/** Returns whether each host was asked for once. */
bool hosts_first_round_over(const struct hosts *h);

#endif
