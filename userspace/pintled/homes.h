/* SPDX-License-Identifier: Apache-2.0 */
/*
 * homes.h - the maps inside of map `homes`: a pool's Maglev table each.
 */
#ifndef PINTLE_HOMES_H
#define PINTLE_HOMES_H

/**
 * Makes an array of one struct pintle_homes, all zero, with types where the kernel takes them, so
 * that `bpftool map dump` shows its fields (the object's own BTF does not reach inner maps).
 * Returns its descriptor, to be closed by the caller; or -errno.
 */
int homes_make(void);

#endif
