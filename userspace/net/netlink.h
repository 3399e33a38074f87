/* SPDX-License-Identifier: Apache-2.0 */
/* netlink.h - one question to the kernel over netlink, with libnl, in any network namespace. */
#ifndef PINTLE_NETLINK_H
#define PINTLE_NETLINK_H

#include <netlink/msg.h>

/** For _cleanup_(nl_msg_freep). */
static inline void nl_msg_freep(struct nl_msg **msg)
{
	nlmsg_free(*msg);
}

/** Gets one answer; its length is checked against its header only. Other than 0 ends it. */
typedef int (*netlink_fn)(const struct nlmsghdr *answer, void *arg);

/**
 * Asks `msg` (made with nlmsg_alloc_simple(); a dump with NLM_F_DUMP, else an acknowledgement is
 * asked for) on a new socket of netlink family `protocol` in the namespace (as in netns.h), and
 * calls `each` (may be NULL) for every answer.
 *
 * Returns 0; what `each` returned; -EAGAIN when a dump was disturbed by a change, and is to be
 * begun again by the caller; or -errno: the kernel's own error, or that of the socket.
 */
int netlink_ask(int netns_fd, int protocol, struct nl_msg *msg, netlink_fn each, void *arg);

#endif
