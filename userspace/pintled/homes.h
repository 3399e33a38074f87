/* SPDX-License-Identifier: Apache-2.0 */
/*
 * homes.h - the maps inside of map `homes`: a pool's Maglev table each.
 */
#ifndef PINTLE_HOMES_H
#define PINTLE_HOMES_H

#include "../maps/maps.h"

/**
 * Puts a copy of the table in place as that pool's, in one step. It has types where the kernel
 * takes them, so that `bpftool map dump` shows its fields (the object's own BTF does not reach
 * inner maps). Returns 0 or -errno.
 */
int homes_put(const struct maps *m, uint32_t pool, const struct pintle_homes *v);

#endif
