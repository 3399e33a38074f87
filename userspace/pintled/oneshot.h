/* SPDX-License-Identifier: Apache-2.0 */
/* oneshot.h - for which pools the one-shot program is on devices (devices.h): only while they want
 * one request per connection. */
#ifndef PINTLE_ONESHOT_H
#define PINTLE_ONESHOT_H

#include <uv.h>

#include "attach.h"
#include "publish.h"

struct oneshot;

/** The loop and the attachment must outlive it. Returns 0 and *out (oneshot_free() it), or -errno,
 * logged. */
int oneshot_new(uv_loop_t *loop, struct attachment *a, struct oneshot **out);
/** From now on by this configuration, which is published; both are kept by reference until the next
 * call. Failures are logged, and tried again by oneshot_refresh(). */
void oneshot_configure(struct oneshot *o, const struct config *c, const struct publication *p);
/** To be called often: sees what `pintle set` changed. */
void oneshot_look(struct oneshot *o);
/** To be called now and then: puts back what somebody took away. */
void oneshot_refresh(struct oneshot *o);
/** Filters stay. NULL is fine. */
void oneshot_free(struct oneshot *o);

#endif
