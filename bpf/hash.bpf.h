/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hash.bpf.h - SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, INDOCRYPT '12, and the
 * authors' reference code) of short texts. A client must not be able to find a hint whose hash is
 * another client's key.
 *
 * No map, no helper: the same text serves the kernel and host programs.
 */
#ifndef PINTLE_HASH_BPF_H
#define PINTLE_HASH_BPF_H

#include <linux/types.h>
#include <pintle/hint.h>

#include "sip.bpf.h"

#define HASH_WORDS (PINTLE_HINT_MAX / 8)

/* The text, then zeros; one word more than the longest text fills, for the text's length. */
struct hash_input {
	__u64 key[2];
	__u64 word[HASH_WORDS + 1];
	__u32 size; /* bytes of the text: 0..PINTLE_HINT_MAX */
	__u32 zero;
};

struct hash_output {
	__u64 word[2];
};

/* Hashes the text; a size above PINTLE_HINT_MAX counts as PINTLE_HINT_MAX. */
static inline __attribute__((always_inline)) void hash_text(const struct hash_input *in,
							    struct hash_output *out)
{
	__u64 v[4] = {in->key[0] ^ 0x736f6d6570736575ULL, in->key[1] ^ 0x646f72616e646f6dULL ^ 0xee,
		      in->key[0] ^ 0x6c7967656e657261ULL, in->key[1] ^ 0x7465646279746573ULL};
	__u32 i, last, size = in->size > PINTLE_HINT_MAX ? PINTLE_HINT_MAX : in->size;

	last = size / 8;
	/* Hides the value of `last`, so that the compiler keeps the other bound, which the verifier
	 * needs to see. */
	asm volatile("" : "+r"(last));
	for (i = 0; i <= HASH_WORDS && i <= last; i++) {
		__u64 m = hash_little(in->word[i]);

		if (i == last)
			m |= (__u64)size << 56;
		v[3] ^= m;
		hash_rounds(v, 2);
		v[0] ^= m;
	}
	v[2] ^= 0xee;
	hash_rounds(v, 4);
	out->word[0] = hash_little(v[0] ^ v[1] ^ v[2] ^ v[3]);
	v[1] ^= 0xdd;
	hash_rounds(v, 4);
	out->word[1] = hash_little(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

#endif
