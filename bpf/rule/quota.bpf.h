/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * quota.bpf.h - whether a tenant may have one more connection, by numbers alone.
 *
 *   connections  fewer than the quota's are in flight
 *   rate         a token bucket with `burst` tokens, one more each interval, as the generic cell
 *                rate algorithm has it: the bucket is one number, the time when the next connection
 *                would be due if they came evenly. It may come `burst - 1` intervals earlier.
 */
#ifndef PINTLE_QUOTA_BPF_H
#define PINTLE_QUOTA_BPF_H

#include <pintle/abi.h>
#include <stdbool.h>

#define TENANT_CASE_MAX 64

/* Connections of one tenant, as data for the syscall program of the tests. */
struct tenant_case {
	struct pintle_affinity_key key;
	__u64 now;
	__u32 count; /* at most TENANT_CASE_MAX */
	__u32 judge;
	__u64 in;   /* out: added to it, how many were let in */
	__u64 over; /* out: 1 if one more would not be */
};

/* `most` 0: any number. Corrections may leave more closed than opened. */
static __always_inline bool quota_full(__u64 opened, __u64 closed, __u32 most)
{
	return most && (__s64)(opened - closed) >= (__s64)most;
}

/* From when on an even sequence counts: one that is over leaves nothing. */
static __always_inline __u64 quota_from(__u64 due_ns, __u64 now)
{
	return (__s64)(due_ns - now) > 0 ? due_ns : now;
}

static __always_inline bool quota_early(const struct pintle_quota *q, __u64 due_ns, __u64 now)
{
	return q->interval_ns && quota_from(due_ns, now) - now > (q->burst - 1) * q->interval_ns;
}

/* due_ns after one more connection. Where connections are judged before they are counted, more may
 * come than the burst: they are paid for later, but for no longer than a burst takes. */
static __always_inline __u64 quota_next(const struct pintle_quota *q, __u64 due_ns, __u64 now)
{
	__u64 next = quota_from(due_ns, now) + q->interval_ns, most = q->burst * q->interval_ns;

	return next - now > 2 * most ? now + 2 * most : next;
}

#endif
