/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* mix.bpf.h - a hash of one word, the same text for the hooks and for host programs. An attacker
 * can easily find two words with the same hash. */
#ifndef PINTLE_MIX_BPF_H
#define PINTLE_MIX_BPF_H

#include <linux/types.h>

/* splitmix64's finalizer (Steele, Lea and Flood, OOPSLA '14). */
static inline __attribute__((always_inline)) __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

#endif
