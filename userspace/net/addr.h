/* SPDX-License-Identifier: Apache-2.0 */
/* addr.h - addresses as the maps hold them: IPv6, with IPv4 as ::ffff:a.b.c.d. */
#ifndef PINTLE_ADDR_H
#define PINTLE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addr {
	uint8_t bytes[16]; /* network byte order */
};

struct endpoint_addr {
	struct addr ip; /* :: if any_ip */
	uint16_t port;  /* host byte order, never 0 */
	bool any_ip;    /* written as a bare port */
};

struct frontend_addr {
	struct addr prefix;  /* bits beyond prefix_bits are 0 */
	uint8_t prefix_bits; /* of the 128; an IPv4 /24 is 120 */
	uint16_t port;
};

#define ADDR_TEXT_SIZE 64 /* "[v6]:port", "[v6/len]:port", "v4/len:port", with the NUL */

bool addr_is_v4(const struct addr *ip);  /* v4-mapped */
bool addr_is_any(const struct addr *ip); /* :: or ::ffff:0.0.0.0 */
/** Returns whether no pod can have the address: it is unspecified, loopback, link-local (the
 * metadata services of clouds are), or multicast. */
bool addr_is_special(const struct addr *ip);
void addr_from_v4(struct addr *ip, uint32_t network_order);
/** Clears all but the first `bits` (0..128) of the address. */
void addr_mask(struct addr *ip, unsigned int bits);
/** Returns whether the two prefixes have an address in common. */
bool addr_prefixes_overlap(const struct addr *a, unsigned int a_bits, const struct addr *b,
			   unsigned int b_bits);

/** Parses an address, without a port. Returns whether it is one; else *out may be anything. */
bool addr_parse_ip(const char *text, struct addr *out);

/** Parse the whole of `text`. Return 0 and *out; or -EINVAL, with *out untouched and in *what
 * (unless NULL) a static sentence that says what would be right. */
/* "127.0.0.1:8001", "[::1]:8001", "8001" */
int addr_parse_endpoint(const char *text, struct endpoint_addr *out, const char **what);
/* "10.77.0.1:8000", "[fd77::1]:8000", "10.77.0.0/24:8000", "[fd77::/64]:8000" */
int addr_parse_frontend(const char *text, struct frontend_addr *out, const char **what);

/** Writes the text into buf, of at least ADDR_TEXT_SIZE bytes, and returns buf. */
const char *addr_format_ip(const struct addr *ip, char *buf);
const char *addr_format(const struct addr *ip, uint16_t port, char *buf);
const char *addr_format_endpoint(const struct endpoint_addr *e, char *buf);
const char *addr_format_frontend(const struct frontend_addr *f, char *buf);

#endif
