/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h - FNV-1a, 64 bits (Fowler, Noll and Vo; draft-eastlake-fnv): the same on every machine, and
 * no guard against somebody who wants two texts to meet. */
#ifndef PINTLE_HASH_H
#define PINTLE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_START 0xcbf29ce484222325ULL

/** The hash of what was hashed to `from` (of nothing: HASH_START) and of these bytes after it. */
static inline uint64_t hash_bytes(uint64_t from, const void *bytes, size_t size)
{
	for (const unsigned char *p = bytes; size--; p++)
		from = (from ^ *p) * 0x100000001b3ULL;
	return from;
}

/** The hash of a text without its NUL. */
static inline uint64_t hash_text(const char *text)
{
	return hash_bytes(HASH_START, text, strlen(text));
}

#endif
