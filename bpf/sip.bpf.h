/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* sip.bpf.h - the rounds of SipHash (Aumasson and Bernstein, INDOCRYPT '12), for the hashes of
 * hash.bpf.h and chunk.bpf.h. */
#ifndef PINTLE_SIP_BPF_H
#define PINTLE_SIP_BPF_H

#include <linux/types.h>

#define HASH_ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

static inline __attribute__((always_inline)) void hash_rounds(__u64 v[4], int rounds)
{
	int i;

	for (i = 0; i < rounds; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = HASH_ROTATE(v[1], 13) ^ v[0];
		v[3] = HASH_ROTATE(v[3], 16) ^ v[2];
		v[0] = HASH_ROTATE(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = HASH_ROTATE(v[1], 17) ^ v[2];
		v[3] = HASH_ROTATE(v[3], 21) ^ v[0];
		v[2] = HASH_ROTATE(v[2], 32);
	}
}

static inline __attribute__((always_inline)) __u64 hash_little(__u64 word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return word;
#else
	return __builtin_bswap64(word);
#endif
}

#endif
