/* SPDX-License-Identifier: Apache-2.0 */
/* pin.h - a pin: a map or a link by its name in a directory of pins (maps_dir()). */
#ifndef PINTLE_PIN_H
#define PINTLE_PIN_H

#include <limits.h>
#include <stdbool.h>

#define PIN_PATH_SIZE (PATH_MAX + NAME_MAX + 2)

/** Writes DIR/NAME into path, and returns path. */
const char *pin_path(const char *dir, const char *name, char path[PIN_PATH_SIZE]);
bool pin_is_there(const char *dir, const char *name);
/** Opens the pin with `flags`: BPF_F_RDONLY, or 0 for reading and writing. Returns a descriptor,
 * which the caller closes; or -errno. */
int pin_open(const char *dir, const char *name, unsigned int flags);

#endif
