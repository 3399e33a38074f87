/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * chunk.bpf.h - hashes of a prompt, chunk by chunk, each chained to the one before.
 *
 * They are keyed, so that who does not know the key finds no two prompts that meet: a client could
 * else make another client's prompt look as if it were cached where it is not.
 *
 * No map, no helper: the same text serves the kernel and host programs.
 */
#ifndef PINTLE_CHUNK_BPF_H
#define PINTLE_CHUNK_BPF_H

#include "prefix.bpf.h"
#include "sip.bpf.h"

#define CHUNK_WORDS PINTLE_CHUNK_WORDS
_Static_assert(8 * CHUNK_WORDS == PREFIX_CHUNK, "a chunk");

/* NH (Black et al., "UMAC", CRYPTO '99), a universal family with one multiplication for each eight
 * bytes; twice, the second time with the key two words further on. Of any two chunks, one key in
 * 2^64 makes both results the same. */
static __always_inline void chunk_compress(const struct pintle_chunk_key *k, const __u64 *word,
					   __u64 *out)
{
	__u64 a = 0, b = 0;
	__u32 i;

#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < CHUNK_WORDS; i++) {
		__u64 x = hash_little(word[i]), p = k->text[i], q = k->text[i + 2];

		a += (__u64)((__u32)x + (__u32)p) * (__u32)((__u32)(x >> 32) + (__u32)(p >> 32));
		b += (__u64)((__u32)x + (__u32)q) * (__u32)((__u32)(x >> 32) + (__u32)(q >> 32));
#ifdef __bpf__
		/* Else clang reads all keys first, and keeps them on the stack. */
		asm volatile("" : "+r"(a), "+r"(b) : : "memory");
#endif
	}
	out[0] = a;
	out[1] = b;
}

/* Returns the prompt's hash at the end of this chunk: SipHash-1-3 (Aumasson and Bernstein,
 * INDOCRYPT '12) of the hash at the end of the chunk before, and of this chunk. Before the first
 * chunk, `before` is a hash of what the prompt is for, such as its frontend and model. */
static __always_inline __u64 chunk_hash(const struct pintle_chunk_key *k, __u64 before,
					const __u64 *word)
{
	__u64 v[4] = {k->chain[0] ^ 0x736f6d6570736575ULL, k->chain[1] ^ 0x646f72616e646f6dULL,
		      k->chain[0] ^ 0x6c7967656e657261ULL, k->chain[1] ^ 0x7465646279746573ULL};
	__u64 m[4] = {before, 0, 0, 24ULL << 56}; /* the last word has the size, as SipHash asks */
	__u32 i;

	chunk_compress(k, word, m + 1);
#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < 4; i++) {
		v[3] ^= m[i];
		hash_rounds(v, 1);
		v[0] ^= m[i];
	}
	v[2] ^= 0xff;
	hash_rounds(v, 3);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- one hash as data, for the syscall program and the host ------------------ */

struct chunk_case {
	struct pintle_chunk_key key;
	__u64 before;
	__u64 word[CHUNK_WORDS];
	__u64 hash; /* out */
};

#endif
