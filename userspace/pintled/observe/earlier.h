/* SPDX-License-Identifier: Apache-2.0 */
/* earlier.h - connections that the endpoints' servers accepted before sockops was attached. */
#ifndef PINTLE_EARLIER_H
#define PINTLE_EARLIER_H

#include "../../config/config.h"
#include "../ground.h"

/** Gives each such connection its record (bpf/pass/earlier.bpf.c), if a pool of the lookup hook in
 * `c` is followed. To be called after each publication; connections that have a record keep it. A
 * failure is logged: without records these connections are not seen, and nothing else is missed. */
void earlier_find(const struct ground *g, const struct config *c);

#endif
