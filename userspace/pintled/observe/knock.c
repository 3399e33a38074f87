/* SPDX-License-Identifier: Apache-2.0 */
#include "knock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../base/util.h"
#include "../../net/listeners.h"
#include "../../net/netns.h"

#define KNOCK_AGAIN_NS NSEC_PER_SEC

union knock_name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

void knock_end(struct knock *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
	k->found = false;
	k->queued = false;
}

void knock_hand_on(struct knock *from, struct knock *to)
{
	*to = *from;
	*from = (struct knock){.fd = -1};
}

static socklen_t knock_name_of(union knock_name *n, const struct addr *ip, uint16_t port)
{
	*n = (union knock_name){0};
	if (addr_is_v4(ip)) {
		n->v4.sin_family = AF_INET;
		n->v4.sin_port = htons(port);
		memcpy(&n->v4.sin_addr, ip->bytes + 12, sizeof(n->v4.sin_addr));
		return sizeof(n->v4);
	}
	n->v6.sin6_family = AF_INET6;
	n->v6.sin6_port = htons(port);
	memcpy(&n->v6.sin6_addr, ip->bytes, sizeof(n->v6.sin6_addr));
	return sizeof(n->v6);
}

static void address_of(const union knock_name *n, struct addr *ip, uint16_t *port)
{
	if (n->any.sa_family == AF_INET) {
		addr_from_v4(ip, n->v4.sin_addr.s_addr);
		*port = ntohs(n->v4.sin_port);
		return;
	}
	memcpy(ip->bytes, &n->v6.sin6_addr, sizeof(ip->bytes));
	*port = ntohs(n->v6.sin6_port);
}

static void knock_begin(struct knock *k, int netns_fd, const struct addr *ip, uint16_t port,
			uint64_t now)
{
	union knock_name to;
	socklen_t size = knock_name_of(&to, ip, port);

	k->begun_ns = now;
	k->ip = *ip;
	k->port = port;
	k->fd = netns_socket_quiet(netns_fd, to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (k->fd < 0)
		k->fd = -1;
	else if (connect(k->fd, &to.any, size) && errno != EINPROGRESS)
		knock_end(k);
}

/* Whether the server has closed its end: only a process that had accepted it can. */
static bool knock_closed(const struct knock *k)
{
	char byte;

	return recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* A listener with TCP_DEFER_ACCEPT gives a connection to its server once data has come. An empty
 * line before a request means nothing in HTTP. */
static void knock_say(const struct knock *k)
{
	send(k->fd, "\r\n", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
}

enum knock_answer knock_look(struct knock *k, int netns_fd, const struct addr *ip, uint16_t port,
			     uint64_t now)
{
	struct diag_connection there = {0};
	enum knock_answer answer = KNOCK_WAITS;
	union knock_name own, peer;
	socklen_t own_size = sizeof(own), peer_size = sizeof(peer);
	int found;

	if (k->fd < 0 && now - k->begun_ns >= KNOCK_AGAIN_NS)
		knock_begin(k, netns_fd, ip, port, now);
	if (k->fd < 0)
		return KNOCK_WAITS;
	if (getpeername(k->fd, &peer.any, &peer_size) || getsockname(k->fd, &own.any, &own_size)) {
		int error = 0;
		socklen_t size = sizeof(error);

		/* Under way; or it was refused, or reset. */
		if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error || k->found)
			knock_end(k);
		return KNOCK_WAITS;
	}
	address_of(&peer, &there.local, &there.local_port);
	address_of(&own, &there.remote, &there.remote_port);
	found = connection_find(netns_fd, &there);
	if (found > 0 && there.state == TCP_SYN_RECV && !k->found)
		knock_say(k);
	/* Where the kernel does not say, it was accepted. */
	if (found < 0 || (found && there.inode) || (k->found && knock_closed(k)))
		answer = KNOCK_ACCEPTED;
	else if (!found && !k->found)
		answer = KNOCK_ELSEWHERE;
	k->found |= found > 0;
	k->queued = found > 0 && there.state == TCP_ESTABLISHED;
	if (answer != KNOCK_WAITS)
		knock_end(k);
	return answer;
}
