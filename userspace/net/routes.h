/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes.h - adds and removes `local` routes, by which the kernel accepts packets for a frontend;
 * and asks by which route packets to an address go.
 *
 * A route of Pintle is of type local, in table local, on lo, and has a protocol number of its own,
 * by which it is found and removed again: `ip route show table local proto 112`. A route belongs to
 * an address prefix: frontends that differ only in the port share it, so it must be removed with
 * the last of them. `netns_fd` is a namespace as in netns.h.
 */
#ifndef PINTLE_ROUTES_H
#define PINTLE_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"

/* rtm_protocol of our routes. Numbers above RTPROT_STATIC (4) are for daemons to choose; none
 * in /etc/iproute2/rt_protos or linux/rtnetlink.h has this one. */
#define PINTLE_ROUTE_PROTOCOL 112

/**
 * Adds the local route of a frontend's prefix. Changes nothing where it exists, so this may be
 * called at every start and reload: the kernel drops IPv6 routes when lo goes down, and IPv4 routes
 * with the last IPv4 address of lo.
 *
 * *added: the route is ours, new or from before; false: the prefix is local already by a route that
 * is not ours, which stays (logged at info). Returns 0; or -errno, logged, *added untouched:
 * -ENETDOWN: lo is down in the namespace; -EINVAL: a prefix of 0 bits, which would make every
 * address local; -EPERM: without CAP_NET_ADMIN.
 */
int routes_add_local(int netns_fd, const struct frontend_addr *f, bool *added);

/** Removes the route of a frontend's prefix if it is ours. Returns 0, also when there is none; or
 * -errno, logged. */
int routes_remove_local(int netns_fd, const struct frontend_addr *f);

/** Lists all local routes that are ours, IPv4 first; ports are 0. Returns 0 with *out (free() it)
 * and *n; or -errno, logged, both untouched. */
int routes_list_local(int netns_fd, struct frontend_addr **out, size_t *n);

/* How packets to an address are routed. */
struct route_path {
	uint8_t type;    /* RTN_* */
	uint32_t device; /* its index; 0: none */
	bool gateway;    /* by way of a gateway */
	struct addr via; /* its address; `::`: none */
	uint32_t mtu;    /* what the route says of it; 0: nothing */
	uint32_t mss;    /* `advmss` of the route; 0: none */
	uint8_t mac[6];  /* of the gateway; 0: not known */
};

/** Asks how the kernel would route packets to that address. Returns 0 and fills *out; or -errno,
 * not logged: without a route -ENETUNREACH or another. */
int routes_to(int netns_fd, const struct addr *to, struct route_path *out);

/** Returns whether packets to a frontend of one address are not taken by the namespace: another
 * machine's address, or none's. false for a prefix, of which any address may be meant, and where
 * the kernel does not say. */
bool routes_miss(int netns_fd, const struct frontend_addr *f);

/** Finds, as routes_to() does, the route of packets from an address of this machine; with the
 * gateway's address of the link layer, where the kernel knows that. `from` NULL: from any. */
int routes_between(int netns_fd, const struct addr *from, const struct addr *to,
		   struct route_path *out);

/* Where routing may change from one address to the next. */
struct route_bounds {
	struct frontend_addr *all; /* prefixes of routes and rules; ports are 0 */
	size_t n, room, most;      /* `most`: so many are read, perhaps more than once each */
	bool by_source;            /* rules look at a packet's source */
};

/** Lists the prefixes of all routes but those of table local, and of rules; sorted, each once.
 * Returns 0, free(out->all); or -errno, not logged, *out untouched: -E2BIG: they are more than
 * `most`, and what follows is not read. */
int routes_bounds(int netns_fd, size_t most, struct route_bounds *out);

#endif
