/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trials.h - measures the A/B tests of pools, and ends those that are over. Which mode holds when,
 * the kernel knows by itself (bpf/rule/trial.bpf.h).
 *
 * Everything is in the maps, so that a daemon goes on where the one before it ended.
 */
#ifndef PINTLE_TRIALS_H
#define PINTLE_TRIALS_H

#include "../../maps/maps.h"

/** Brings the results up to date. Called before each heartbeat, whose predecessor in the map `node`
 * says for how long the kernel went without. */
void trials_look(const struct maps *m, uint64_t now);

#endif
