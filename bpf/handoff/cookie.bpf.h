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

/* The sequence number with which a SYN is answered is the cookie: the client's own sequence number,
 * enciphered by a hash of the addresses and the time, plus one of eight sizes of segments. So no
 * memory is needed; who did not get the answer cannot go on; and each segment that acknowledges the
 * cookie, and nothing behind it, says where the connection begins, also where it has overtaken the
 * first one.
 *
 * The other options are in the lowest bits of the timestamp of that answer, which each segment of
 * the client echoes, and which tells when that was. A client without timestamps has what
 * hand_plain() says.
 *
 * So of all 2^32 cookies eight hold for a segment at one time, as many as of the kernel's own: with
 * a timestamp those of eight sizes; without one, those of four sets of options, each of two times.
 */
#define HAND_EPOCH_SHIFT 23 /* of 2^23 ms, 2 h 20 min, each */
#define HAND_EPOCHS      2U /* a cookie is good in its own and in the next one */

#define HAND_MSS_SHIFT 29 /* in the cookie */

/* How far ahead of the first byte a client may send while nothing but its handshake is answered, or
 * what is held of it: its window is 64,240 bytes. */
#define HAND_AHEAD 0x20000

/* In the timestamp. Without timestamps there is no ECN, as with SYN cookies of the kernel. */
#define HAND_TIME_BITS 0x3fU
#define HAND_TIME_ECN  0x20U
#define HAND_TIME_SACK 0x10U
#define HAND_NO_SCALE  0xfU /* in the place of the window's scale */

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
	__u8 is_signed; /* by TCP-MD5 or TCP-AO */
};

/* ---- what the answer to a SYN keeps ----------------------------------------------------- */

/* What is kept of the options of a client without timestamps: with SACK and scaling, as Windows
 * offers them, or with neither. A scale that is too small makes the client's window look smaller
 * than it is, which harms nothing; one that is too large would. */
#define HAND_PLAIN_SCALE 7
#define HAND_PLAIN_FULL  2U /* SACK and scaling */
#define HAND_PLAIN_LARGE 1U

static __always_inline __u32 hand_plain_mss(__u32 plain)
{
	if (plain & HAND_PLAIN_FULL)
		return plain & HAND_PLAIN_LARGE ? 1440 : 1220;
	return plain & HAND_PLAIN_LARGE ? 1220 : 536;
}

static __always_inline __u32 hand_plain(const struct hand_options *o)
{
	__u32 plain = o->has_sack && o->has_scale && o->scale >= HAND_PLAIN_SCALE &&
				      o->mss >= hand_plain_mss(HAND_PLAIN_FULL)
			      ? HAND_PLAIN_FULL
			      : 0;

	return plain | (o->mss >= hand_plain_mss(plain | HAND_PLAIN_LARGE));
}

/* Leaves of a SYN's options those that can be kept. Returns what the cookie keeps of them. */
static __always_inline __u32 hand_keep(struct hand_options *o)
{
	__u32 plain;

	if (o->has_time)
		return hand_mss_index(o->mss);
	plain = hand_plain(o);
	o->has_ecn = 0;
	if (!(plain & HAND_PLAIN_FULL))
		o->has_sack = o->has_scale = 0;
	return plain;
}

/* The timestamp in the answer to a SYN: the newest one that is not after `clock`, and keeps the
 * options. */
static __always_inline __u32 hand_time(__u32 clock, const struct hand_options *o)
{
	__u32 time = clock & ~HAND_TIME_BITS;

	time |= o->has_scale ? o->scale & 0xf : HAND_NO_SCALE;
	time |= (o->has_sack ? HAND_TIME_SACK : 0) | (o->has_ecn ? HAND_TIME_ECN : 0);
	return (__s32)(time - clock) > 0 ? time - HAND_TIME_BITS - 1 : time;
}

/* Finds the SYN's options from `kept`, which the cookie kept, and the timestamp that the segment
 * echoes. */
static __always_inline void hand_unpack(struct hand_options *o, __u32 kept)
{
	__u32 scale = o->echo & 0xf;

	if (o->has_time) {
		o->mss = hand_mss_at(kept & 7);
		o->has_sack = !!(o->echo & HAND_TIME_SACK);
		o->has_ecn = !!(o->echo & HAND_TIME_ECN);
	} else {
		o->mss = hand_plain_mss(kept);
		o->has_sack = !!(kept & HAND_PLAIN_FULL);
		o->has_ecn = 0;
		scale = o->has_sack ? HAND_PLAIN_SCALE : HAND_NO_SCALE;
	}
	o->has_scale = scale != HAND_NO_SCALE;
	o->scale = o->has_scale ? scale : 0;
}

/* ---- the cookie ------------------------------------------------------------------------- */

/* Hashes two addresses, ports, and what else makes a cookie. */
COOKIE_STEP hand_hash(const struct pintle_tuple *t, __u32 ports, __u64 what,
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
	in.word[4] = ports;
	in.word[5] = what;
	hash_text(&in, out);
	return 0;
}

/* The time in milliseconds, plus a number that only this node knows: nobody learns how long the
 * machine is up. As with the kernel, that number is the same for all connections of two addresses:
 * a client that uses a port again may insist that time goes on (PAWS). */
static __always_inline __u32 hand_clock(const struct pintle_tuple *t, __u64 now_ms,
					const struct hand_secret *secret)
{
	struct hash_output sum = {};

	hand_hash(t, 0, 0, secret, &sum);
	return (__u32)now_ms + (__u32)sum.word[0];
}

/* A permutation of the sequence numbers, which a hash makes for each connection:
 * cookie = (sequence - add) / times. */
struct hand_cipher {
	__u32 times; /* odd */
	__u32 add;
};

static __always_inline void hand_cipher_make(struct hand_cipher *c, const struct pintle_tuple *t,
					     __u64 now_ms, const struct hand_options *o, __u32 time,
					     const struct hand_secret *secret)
{
	__u32 epoch = now_ms >> HAND_EPOCH_SHIFT;
	__u64 bits = o->has_time ? 0xc0 | (time & HAND_TIME_BITS) : 0x80;
	struct hash_output sum = {};

	hand_hash(t, (__u32)t->remote_port << 16 | t->local_port, (__u64)epoch << 8 | bits, secret,
		  &sum);
	c->times = (__u32)sum.word[0] | 1;
	c->add = (__u32)(sum.word[0] >> 32);
}

/* One divided by an odd number. Each step doubles the bits that are right: `times` has three. */
static __always_inline __u32 hand_inverse(__u32 times)
{
	__u32 x = times, i;

#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < 4; i++)
		x *= 2 - times * x;
	return x;
}

/* A SYN that is answered. */
struct hand_syn {
	__u32 sequence;
	__u32 time;   /* out: the timestamp of the answer, if there is one */
	__u32 kept;   /* out: for hand_unpack() */
	__u32 cookie; /* out */
};

/* Makes the cookie. Takes from the options what cannot be kept. */
static __always_inline void hand_cookie_make(const struct pintle_tuple *t, struct hand_options *o,
					     __u64 now_ms, const struct hand_secret *secret,
					     struct hand_syn *syn)
{
	struct hand_cipher c;
	__u32 clock;

	syn->kept = hand_keep(o);
	if (o->has_time) {
		clock = hand_clock(t, now_ms, secret);
		syn->time = hand_time(clock, o);
		now_ms -= clock - syn->time;
	}
	hand_cipher_make(&c, t, now_ms, o, syn->time, secret);
	syn->cookie =
		(syn->sequence - c.add) * hand_inverse(c.times) + (syn->kept << HAND_MSS_SHIFT);
}

/* What a segment is, by its numbers. */
enum hand_fits {
	HAND_FITS_NOTHING,
	HAND_FITS_FIRST, /* the first behind the handshake, or the handshake's last */
	HAND_FITS_PROBE, /* one byte before: the client asks whether the connection is there */
	HAND_FITS_AHEAD, /* behind the first byte */
};

struct hand_fit {
	__u32 sequence;
	__u32 cookie; /* that it acknowledges */
	__u32 fits;   /* out: enum hand_fits */
	__u32 kept;   /* out: for hand_unpack() */
	__u32 first;  /* out: the sequence number of the connection's first byte */
};

static __always_inline void hand_fit(struct hand_fit *f, const struct hand_cipher *c, __u32 kinds)
{
	__u32 kept, first, behind;

#ifdef __bpf__
#pragma unroll
#endif
	for (kept = 0; kept < 8; kept++) {
		first = (f->cookie - (kept << HAND_MSS_SHIFT)) * c->times + c->add + 1;
		behind = f->sequence - first + 1; /* 0 is a probe, 1 the first */
		if (kept >= kinds || behind > HAND_AHEAD ||
		    (behind > 1 && f->fits != HAND_FITS_NOTHING))
			continue;
		f->fits = behind > 1 ? HAND_FITS_AHEAD : behind ? HAND_FITS_FIRST : HAND_FITS_PROBE;
		f->kept = kept;
		f->first = first;
	}
}

/* Finds what a segment is, by its options, and the numbers in *f. */
static __always_inline void hand_cookie_read(const struct pintle_tuple *t,
					     const struct hand_options *o, __u64 now_ms,
					     const struct hand_secret *secret, struct hand_fit *f)
{
	struct hand_cipher c;
	__u32 age, i;

	f->fits = HAND_FITS_NOTHING;
	if (o->has_time) {
		age = hand_clock(t, now_ms, secret) - o->echo;
		if (age >> HAND_EPOCH_SHIFT >= HAND_EPOCHS)
			return;
		hand_cipher_make(&c, t, now_ms - age, o, o->echo, secret);
		hand_fit(f, &c, 8);
		return;
	}
	for (i = 0; i < HAND_EPOCHS; i++) {
		hand_cipher_make(&c, t, now_ms - ((__u64)i << HAND_EPOCH_SHIFT), o, 0, secret);
		hand_fit(f, &c, 4);
	}
}

#endif
