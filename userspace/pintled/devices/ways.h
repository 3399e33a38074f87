/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ways.h - tells the hand-off's programs how clients are reached: for each prefix within which the
 * kernel routes alike, what it answers.
 */
#ifndef PINTLE_WAYS_H
#define PINTLE_WAYS_H

#include "../../config/config.h"
#include "../ground.h"

/** Writes the map `hand_ways`, for the frontends of the pools i for which wanted[i] is set; without
 * one it is empty, and so it is where the routes have too many prefixes: *many tells whether that
 * was said. To be called after a change of routes, and now and then. Failures are logged.
 */
void ways_publish(const struct ground *g, const struct config *c, const bool *wanted, bool *many);

#endif
