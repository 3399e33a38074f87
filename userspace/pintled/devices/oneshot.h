/* SPDX-License-Identifier: Apache-2.0 */
/* oneshot.h - attaches the one-shot program to devices (devices.h) for the pools that want one
 * request per connection, while they do. */
#ifndef PINTLE_ONESHOT_H
#define PINTLE_ONESHOT_H

#include <uv.h>

#include "../ground.h"
#include "../publish/publication.h"

struct oneshot;

/** Makes *out; the ground must outlive it. Returns 0 and *out (oneshot_free() it), or -errno,
 * logged. */
int oneshot_new(const struct ground *g, struct oneshot **out);
/** Serves, from now on, the pools of `c`, which was published as `p`. Both are kept by reference
 * until the next call. A failure is logged, and oneshot_refresh() tries again. */
void oneshot_configure(struct oneshot *o, const struct config *c, const struct publication *p);
/** Notices what `pintle set` changed. To be called often, after oneshot_configure(). */
void oneshot_look(struct oneshot *o);
/** Attaches the program again where somebody detached it. To be called now and then, after
 * oneshot_configure(). */
void oneshot_refresh(struct oneshot *o);
/** Leaves the programs attached. NULL is fine. */
void oneshot_free(struct oneshot *o);

#endif
