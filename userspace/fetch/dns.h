/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.h - asks DNS for the addresses of a host, by c-ares on the daemon's libuv loop. Only DNS
 * servers are asked: a line of /etc/hosts may be there to lead clients to a frontend by the name.
 */
#ifndef PINTLE_DNS_H
#define PINTLE_DNS_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../net/addr.h"

struct dns;

struct dns_result {
	const char *error; /* what is wrong, in words; NULL: the answer is good. Static */
	/* The addresses, which are valid during the call: none if the host has none of the
	 * family. */
	const struct addr *addresses;
	size_t count;
	uint32_t ttl_s; /* the least of the answer's records; 0 without addresses */
};

/** Called on the loop, and perhaps before dns_ask() returns. Only dns_ask() may be called from
 * here. */
typedef void (*dns_done)(void *arg, const struct dns_result *result);

/** Sockets are made in the network namespace `netns_fd`, which the caller keeps open meanwhile; -1:
 * the caller's own. Returns 0 and *out (dns_free() it), or -errno, logged. */
int dns_new(uv_loop_t *loop, int netns_fd, struct dns **out);
/** Ends all questions without a call. The loop must then run until it has no handles left. NULL is
 * fine. */
void dns_free(struct dns *d);

/** Asks these servers from now on; without any, those of /etc/resolv.conf, as it is now: to be
 * called again when that file changed. Questions that are open fail. Returns 0 or -errno, logged:
 * then nothing is asked until the next call. */
int dns_use(struct dns *d, const struct endpoint_addr *servers, size_t count);

/** Asks for the IPv4 or IPv6 addresses of a host, whose name is complete. A truncated answer is
 * asked for again by TCP. */
void dns_ask(struct dns *d, const char *host, bool v4, dns_done done, void *arg);

#endif
