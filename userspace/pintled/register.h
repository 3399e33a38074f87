/* SPDX-License-Identifier: Apache-2.0 */
/*
 * register.h - servers that listened before Pintle came, or where its sockops program does not
 * reach (outside the cgroup): found by inet_diag and put into `sockets` from here.
 */
#ifndef PINTLE_REGISTER_H
#define PINTLE_REGISTER_H

#include "../maps/maps.h"

/** Logs for each endpoint, once, why its newest listener is of no use, whether sockops found that
 * out or register_listeners(). Cheap. */
void register_tell(const struct maps *m);

/** Holds the LISTEN sockets of the namespace against `sockets`: adds what is missing there, takes
 * out what is not, or no longer, believed to be the endpoint, and puts `health` right where it
 * disagrees. Cheap when nothing is missing (one dump). A listener that cannot be had is logged
 * once, and tried again at the next call. Returns 0 or -errno. */
int register_listeners(const struct maps *m, int netns_fd);

/** listening_since_ns of an endpoint (0: nobody listens), after a look at its slots: the kernel
 * does not report the end of a listener that was found here, but empties its slot. */
uint64_t register_listening_since(const struct maps *m, uint32_t endpoint);

/** Whether an endpoint with more listeners than slots has a free slot, so that looking is worth it.
 * Cheap. */
bool register_has_room(const struct maps *m);

#endif
