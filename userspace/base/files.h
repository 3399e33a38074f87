/* SPDX-License-Identifier: Apache-2.0 */
/* files.h - how many files this process may have open. */
#ifndef PINTLE_FILES_H
#define PINTLE_FILES_H

#include <stdint.h>

/** Raises the soft limit of open files to the hard limit: systemd's soft default of 1,024, made for
 * select(), is too low here. Returns how many files may be open now; UINT64_MAX: not known. */
uint64_t files_raise_limit(void);

#endif
