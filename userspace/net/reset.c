/* SPDX-License-Identifier: Apache-2.0 */
#include "reset.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "../base/util.h"
#include "netlink.h"

/* IPv4 stands in the first word. */
static void reset_address(const struct addr *a, __be32 out[4])
{
	if (addr_is_v4(a))
		memcpy(out, a->bytes + 12, sizeof(out[0]));
	else
		memcpy(out, a->bytes, sizeof(a->bytes));
}

int reset_connection(int netns_fd, const struct addr *local, uint16_t local_port,
		     const struct addr *remote, uint16_t remote_port)
{
	struct inet_diag_req_v2 request = {
		.sdiag_family = addr_is_v4(local) ? AF_INET : AF_INET6,
		.sdiag_protocol = IPPROTO_TCP,
		.id = {.idiag_sport = htons(local_port),
		       .idiag_dport = htons(remote_port),
		       .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(SOCK_DESTROY, 0);

	reset_address(local, request.id.idiag_src);
	reset_address(remote, request.id.idiag_dst);
	if (!msg || nlmsg_append(msg, &request, sizeof(request), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_SOCK_DIAG, msg, NULL, NULL);
}
