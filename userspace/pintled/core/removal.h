/* SPDX-License-Identifier: Apache-2.0 */
/*
 * removal.h - while Pintle is taken off all nodes of its cluster, as when its chart is removed:
 * pintled detaches, says so, and stands by. It holds the pins' directory, in which `removed` stands
 * for that, also for a pintled that is started again.
 */
#ifndef PINTLE_REMOVAL_H
#define PINTLE_REMOVAL_H

#include "../../config/config.h"

/** Detaches, and waits. Returns 0 after a signal, with nothing left on this node; REMOVAL_OVER when
 * it was taken back: pintled is to attach again; or -errno, logged. */
int removal_stand_by(const struct config *c);
#define REMOVAL_OVER 1

#endif
