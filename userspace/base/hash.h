/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - FNV-1a, 64 bits (Fowler, Noll and Vo; draft-eastlake-fnv), and SplitMix64 (Steele, Lea
 * and Flood, "Fast splittable pseudorandom number generators", OOPSLA '14; constants of Vigna's
 * splitmix64.c). Both give the same on every machine, and neither resists somebody who looks for
 * collisions.
 */
#ifndef PINTLE_HASH_H
#define PINTLE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mix.bpf.h"

#define HASH_START 0xcbf29ce484222325ULL

/** Extends the hash `from` (HASH_START: of nothing) by these bytes. */
static inline uint64_t hash_bytes(uint64_t from, const void *bytes, size_t size)
{
	for (const unsigned char *p = bytes; size--; p++)
		from = (from ^ *p) * 0x100000001b3ULL;
	return from;
}

/** Returns the hash of a text without its NUL. */
static inline uint64_t hash_text(const char *text)
{
	return hash_bytes(HASH_START, text, strlen(text));
}

#define HASH_STEP 0x9e3779b97f4a7c15ULL /* what SplitMix64 adds to its state at each step */

/** Mixes by SplitMix64's finalizer, the same text as in the kernel's programs: numbers that differ
 * in one bit have results that differ in half of their bits. hash_mix(seed + n * HASH_STEP) is the
 * n-th number, from 1, of the sequence from that seed. */
static inline uint64_t hash_mix(uint64_t x)
{
	return mix(x);
}

#endif
