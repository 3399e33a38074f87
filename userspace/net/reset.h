/* SPDX-License-Identifier: Apache-2.0 */
/* reset.h - ends connections of other processes. */
#ifndef PINTLE_RESET_H
#define PINTLE_RESET_H

#include <stdint.h>

#include "addr.h"

/**
 * Ends the TCP connection of a socket in the namespace (as in netns.h): its peer gets a reset, and
 * its process ECONNABORTED. Needs CAP_NET_ADMIN there.
 *
 * Returns 0; -ENOENT: there is no such socket; -EOPNOTSUPP: the kernel was built without
 * CONFIG_INET_DIAG_DESTROY; or -errno; none is logged.
 */
int reset_connection(int netns_fd, const struct addr *local, uint16_t local_port,
		     const struct addr *remote, uint16_t remote_port);

#endif
