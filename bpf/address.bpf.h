/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* address.bpf.h - addresses in the form of abi.h; the same text for the hooks and for host
 * programs. */
#ifndef PINTLE_ADDRESS_BPF_H
#define PINTLE_ADDRESS_BPF_H

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

static __always_inline void address_v4(__u8 *to, __u32 network_order)
{
	__u32 *word = (__u32 *)to;

	word[0] = 0;
	word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = network_order;
}

static __always_inline bool address_is_v4(const __u8 *address)
{
	const __u32 *word = (const __u32 *)address;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

static __always_inline bool address_is_any(const __u8 *address)
{
	const __u32 *word = (const __u32 *)address;

	return !word[0] && !word[1] && !word[3] && (!word[2] || word[2] == bpf_htonl(0xffff));
}

#endif
