/* SPDX-License-Identifier: Apache-2.0 */
/* pin.h - a pin: a map or a link by its name in a directory of pins (maps_dir()). */
#ifndef PINTLE_PIN_H
#define PINTLE_PIN_H

#include <limits.h>
#include <stdbool.h>

#define PIN_PATH_SIZE (PATH_MAX + NAME_MAX + 2)

/** Writes DIR/NAME into path, and returns that. */
const char *pin_path(const char *dir, const char *name, char path[PIN_PATH_SIZE]);
bool pin_is_there(const char *dir, const char *name);
/** Opens it; `flags`: of the file, BPF_F_RDONLY or 0. Returns a descriptor (the caller's), or
 * -errno. */
int pin_open(const char *dir, const char *name, unsigned int flags);

#endif
