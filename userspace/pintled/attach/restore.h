/* SPDX-License-Identifier: Apache-2.0 */
/* restore.h - what a former daemon pinned, read before the maps are opened for good. */
#ifndef PINTLE_RESTORE_H
#define PINTLE_RESTORE_H

#include "../../maps/state.h"

/** Returns 0 with *out, which the caller frees (state_free()): NULL where nothing is pinned that
 * this daemon could read; or -errno. */
int restore_state(const char *bpffs, struct state **out);

#endif
