/* SPDX-License-Identifier: Apache-2.0 */
/* detach.h - takes away what pins stand for: links, filters, routes, and the pins. */
#ifndef PINTLE_DETACH_H
#define PINTLE_DETACH_H

#include <stdbool.h>

/** Undoes everything that the pins in `dir` stand for: detaches the links, removes filters and
 * local routes, then the pins and `dir`. Returns 0, also when there is no `dir`; or -errno, logged:
 * then the pins stay, so that the next try finds what is left. */
int detach_pins(const char *dir);

/** Removes everything that any daemon added, of whatever layout, as the pins under `bpffs` tell it;
 * needs no configuration. `force` resets spliced connections, which keep their program otherwise.
 * Returns 0, also when there was nothing; -EBUSY while a daemon runs; or -errno; all logged. */
int detach(const char *bpffs, bool force);

#endif
