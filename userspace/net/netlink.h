/* SPDX-License-Identifier: Apache-2.0 */
/* netlink.h - sends one request to the kernel over netlink, with libnl, in any network
 * namespace. */
#ifndef PINTLE_NETLINK_H
#define PINTLE_NETLINK_H

#include <netlink/msg.h>

/** For _cleanup_(nl_msg_freep). */
static inline void nl_msg_freep(struct nl_msg **msg)
{
	nlmsg_free(*msg);
}

/** Gets one answer, whose length is checked against its header only. Returns 0 to go on. */
typedef int (*netlink_fn)(const struct nlmsghdr *answer, void *arg);

/**
 * Sends `msg` on a new socket of netlink family `protocol` in the namespace (as in netns.h), and
 * calls `each`, which may be NULL, for every answer. `msg` was made by nlmsg_alloc_simple(), for a
 * dump with NLM_F_DUMP; otherwise an acknowledgement is requested.
 *
 * Returns 0; what `each` returned, if not 0; -EAGAIN: a change disturbed the dump, and the caller
 * should begin it again; or -errno: the kernel's own error, or the socket's.
 */
int netlink_ask(int netns_fd, int protocol, struct nl_msg *msg, netlink_fn each, void *arg);

#endif
