/* SPDX-License-Identifier: Apache-2.0 */
/* confine.h - takes from the calling process whatever it does not need. */
#ifndef PINTLE_CONFINE_H
#define PINTLE_CONFINE_H

/** Gives up the user and group, if the process may, and all capabilities; and lets it make no other
 * system calls than the overload responder needs. Returns 0; or -errno: it has capabilities
 * still. */
int confine(void);

#endif
