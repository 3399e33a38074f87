/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cookie.bpf.h - the cookie of a handshake without a socket.
 *
 * The text is compiled into the TC program, the XDP program and host programs.
 */
#ifndef PINTLE_COOKIE_BPF_H
#define PINTLE_COOKIE_BPF_H

#include <pintle/abi.h>

#include "hash.bpf.h"

#ifdef __bpf__
#define COOKIE_STEP __attribute__((weak, noinline)) int
#else
#define COOKIE_STEP static inline int
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#endif

/* The node's key, which is nobody else's. */
struct hand_secret {
	__u64 key[2];
};

/* ---- handshakes ----------------------------------------------------------------------- */

/* What the SYN said, and is needed when the request comes, in the lowest byte of the sequence
 * number with which the SYN is answered. The other bytes are a keyed hash of it, of the addresses,
 * of the client's sequence number and of the time: so no memory is needed, and who did not get the
 * answer cannot go on. */
#define HAND_EPOCH_SHIFT 39 /* of 2^39 ns, 9 minutes, each */
#define HAND_EPOCHS      4  /* a cookie is good in its own and in the next three */

#define HAND_MSS_SHIFT 5
#define HAND_SACK      0x10
#define HAND_NO_SCALE  0xf /* in the place of the window's scale */

/* One for all listeners, since the listener is not known yet: a window of 64 MiB at most, told in
 * steps of 1 KiB. */
#define HAND_SCALE 10

/* The largest segments that are told apart. */
static __always_inline __u32 hand_mss_at(__u32 i)
{
	const __u64 low = 536ULL | 1220ULL << 16 | 1360ULL << 32 | 1400ULL << 48;
	const __u64 high = 1440ULL | 1460ULL << 16 | 8900ULL << 32 | 65440ULL << 48;

	return ((i & 4 ? high : low) >> (16 * (i & 3))) & 0xffff;
}

/* The index of the largest of them that is not above `mss`. */
static __always_inline __u32 hand_mss_index(__u32 mss)
{
	__u32 i, found = 0;

#ifdef __bpf__
#pragma unroll
#endif
	for (i = 1; i < 8; i++)
		if (mss >= hand_mss_at(i))
			found = i;
	return found;
}

/* The options of a client's segment. */
struct hand_options {
	__u32 value, echo; /* of the timestamp */
	__u16 mss;         /* 0: none */
	__u8 scale;
	__u8 has_scale, has_sack, has_time;
	__u8 has_ecn;
};

/* The cookie has no bit left for ECN. So the lowest bit of the timestamp in the answer to the SYN
 * says it, and the client's segments echo that. Without timestamps there is no ECN, as with SYN
 * cookies of the kernel. */
#define HAND_TIME_ECN 1U

static __always_inline __u32 hand_time(__u32 time, __u32 ecn)
{
	return (time & ~HAND_TIME_ECN) | (ecn ? HAND_TIME_ECN : 0);
}

static __always_inline __u32 hand_pack(const struct hand_options *o)
{
	return hand_mss_index(o->mss) << HAND_MSS_SHIFT | (o->has_sack ? HAND_SACK : 0) |
	       (o->has_scale ? o->scale & 0xf : HAND_NO_SCALE);
}

static __always_inline void hand_unpack(struct hand_options *o, __u32 cookie)
{
	__u32 scale = cookie & 0xf;

	o->mss = hand_mss_at(cookie >> HAND_MSS_SHIFT & 7);
	o->has_sack = !!(cookie & HAND_SACK);
	o->has_scale = scale != HAND_NO_SCALE;
	o->scale = o->has_scale ? scale : 0;
	o->has_ecn = o->has_time && o->echo & HAND_TIME_ECN;
}

/* Hashes what a cookie vouches for. */
COOKIE_STEP hand_hash(const struct pintle_tuple *t, __u32 sequence, __u32 time,
		      const struct hand_secret *secret, struct hash_output *out)
{
	struct hash_input in = {.size = 48};

	if (!t || !secret || !out)
		return 0;
	/* Another key than that of sessions. */
	in.key[0] = secret->key[0] ^ 0x70696e746c652d68ULL;
	in.key[1] = secret->key[1] ^ 0x616e642d6f666621ULL;
	__builtin_memcpy(in.word, t->remote, sizeof(t->remote));
	__builtin_memcpy(in.word + 2, t->local, sizeof(t->local));
	in.word[4] = (__u64)sequence << 32 | (__u32)t->remote_port << 16 | t->local_port;
	in.word[5] = time;
	hash_text(&in, out);
	return 0;
}

/* The cookie in whose lowest byte is `packed`. *out: a further hash of the same. */
static __always_inline __u32 hand_cookie_of(const struct pintle_tuple *t, __u32 sequence,
					    __u32 epoch, __u32 packed,
					    const struct hand_secret *secret, __u32 *out)
{
	struct hash_output sum;

	hand_hash(t, sequence, epoch << 8 | packed, secret, &sum);
	*out = (__u32)sum.word[1];
	return ((__u32)sum.word[0] & ~0xffU) | packed;
}

/* Whether the cookie was given to this client, whose SYN had this sequence number, not too long
 * ago. */
COOKIE_STEP hand_cookie_holds(const struct pintle_tuple *t, __u32 sequence, __u32 cookie,
			      __u32 epoch, const struct hand_secret *secret)
{
	__u32 i, other;

	for (i = 0; i < HAND_EPOCHS; i++)
		if (hand_cookie_of(t, sequence, epoch - i, cookie & 0xff, secret, &other) == cookie)
			return 1;
	return 0;
}

#endif
