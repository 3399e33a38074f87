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

#define FIREWALL_CHAIN_SIZE 160
#define FIREWALL_CHAINS     4

/** Chains of one kind, as "table ip nat, chain post". */
struct firewall_chains {
	size_t count; /* all; the names of the first FIREWALL_CHAINS are there */
	char names[FIREWALL_CHAINS][FIREWALL_CHAIN_SIZE];
};

struct firewall {
	struct firewall_chains nat;    /* base chains that translate addresses */
	struct firewall_chains states; /* chains whose rules ask for a connection's state, or for a
					* SYN, and may drop */
	size_t untracking;             /* rules that leave packets untracked */
	bool legacy_nat;               /* iptables-legacy has its table nat */
	bool legacy_filter;            /* or others, which cannot be read */
	bool strict;                   /* net.netfilter.nf_conntrack_tcp_loose is 0 */
};

/** What changes with every change of nftables' rules, or 0: it cannot be read. Cheap. */
uint32_t firewall_generation(int netns_fd);

/** Reads the namespace's (as in netns.h). Returns 0, or -errno: what was not found out is empty. */
int firewall_read(int netns_fd, struct firewall *out);

#endif
