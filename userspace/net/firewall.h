/* SPDX-License-Identifier: Apache-2.0 */
/* firewall.h - what of a network namespace's firewall and nat keeps a connection from its server
 * that begins with its first data: such the hand-off's are. Names chains; changes nothing. */
#ifndef PINTLE_FIREWALL_H
#define PINTLE_FIREWALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A sysctl, for netns_sysctl(): 0: a connection without a SYN is invalid. */
#define FIREWALL_LOOSE "net/netfilter/nf_conntrack_tcp_loose"

#define FIREWALL_NAME_SIZE  256 /* of a table or a chain: as NFT_NAME_MAXLEN */
#define FIREWALL_CHAIN_SIZE (2 * FIREWALL_NAME_SIZE + 32)
#define FIREWALL_CHAINS     4
#define FIREWALL_PORTS      8

/** Chains of one kind, as "table ip nat, chain post". */
struct firewall_chains {
	size_t count; /* all; the names of the first FIREWALL_CHAINS are there */
	char names[FIREWALL_CHAINS][FIREWALL_CHAIN_SIZE];
};

struct firewall {
	struct firewall_chains nat;    /* base chains that translate addresses */
	struct firewall_chains states; /* chains whose rules ask for a connection's state, or for a
					* SYN, and may drop */
	uint32_t nat_families;         /* PINTLE_FAMILY_*: whose packets these see */
	size_t untracking;             /* rules that leave packets untracked, of any port */
	size_t untracked_count;        /* those that name one port, at most FIREWALL_PORTS */
	uint16_t untracked[FIREWALL_PORTS];
	uint32_t legacy_nat; /* PINTLE_FAMILY_*: iptables-legacy has its table nat */
	bool legacy_raw;     /* or raw, whose rules may leave packets untracked */
	bool legacy_filter;  /* or others, which cannot be read */
	bool strict;         /* net.netfilter.nf_conntrack_tcp_loose is 0 */
};

/** Returns a number that changes with every change of nftables' rules, or 0: it cannot be read.
 * Cheap. */
uint32_t firewall_generation(int netns_fd);

/** Reads the namespace's (as in netns.h). Returns 0, or -errno: what was not found out is empty. */
int firewall_read(int netns_fd, struct firewall *out);

/** Reads again what is not nftables'. Cheap. */
void firewall_read_rest(int netns_fd, struct firewall *out);

/** Returns the families, PINTLE_FAMILY_*, whose packets nat sees. */
uint32_t firewall_nat(const struct firewall *f);

/** Returns whether some rule may leave packets to that port untracked. */
bool firewall_untracks(const struct firewall *f, uint16_t port);

#endif
