/* SPDX-License-Identifier: Apache-2.0 */
/*
 * homes.h - writes the map `homes`, a map of maps: each inner map is the Maglev table of a pool.
 */
#ifndef PINTLE_HOMES_H
#define PINTLE_HOMES_H

#include "../../maps/maps.h"

/**
 * Replaces the pool's table by a copy of `v`, in one step. The inner map gets BTF of its own where
 * the kernel accepts that, so that `bpftool map dump` shows its fields: the object's BTF does not
 * cover inner maps. Returns 0 or -errno.
 */
int homes_put(const struct maps *m, uint32_t pool, const struct pintle_homes *v);

#endif
