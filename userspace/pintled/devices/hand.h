/* SPDX-License-Identifier: Apache-2.0 */
/* hand.h - attaches the hand-off to devices (devices.h) for the pools that are decided by request.
 */
#ifndef PINTLE_HAND_H
#define PINTLE_HAND_H

#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"

struct hand;

/** Checks whether the kernel can do what `c` asks for. Returns 0 or -EOPNOTSUPP, logged, with the
 * reason in `why` unless that is NULL: "what is wrong; what would be right". */
int hand_check(const struct config *c, char why[PINTLE_WHY_SIZE]);

/** Makes *out; the ground must outlive it. Returns 0 and *out (hand_free() it), or -errno,
 * logged. */
int hand_new(const struct ground *g, struct hand **out);
/** Attaches or detaches as the pools say, which are kept by reference until the next call. A
 * failure is logged, and hand_refresh() tries again. */
void hand_configure(struct hand *h, const struct config *c);
/** Attaches again where somebody detached it. To be called now and then, after hand_configure(). */
void hand_refresh(struct hand *h);
/** Looks whether the kernel takes connections that are handed over, and tells it in `node` and, at
 * each change, in the log. To be called often, after hand_configure(). */
void hand_look(struct hand *h);
/** Returns whether the program sees what comes in on the device with that index, since the newest
 * look. */
bool hand_sees(const struct hand *h, uint32_t device);
/** Leaves the program attached. NULL is fine. */
void hand_free(struct hand *h);

#endif
