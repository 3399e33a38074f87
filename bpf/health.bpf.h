/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * health.bpf.h - what the times in `health` mean; the same text for the hooks and for user space.
 */
#ifndef PINTLE_HEALTH_BPF_H
#define PINTLE_HEALTH_BPF_H

#include <linux/types.h>

/* Whether the endpoint answered the daemon over a connection that was begun after the newest
 * failure in the row. Then the row, and the ejection that followed from it, are void. */
static inline int health_answered(__u64 answered_ns, __u64 failed_ns)
{
	return answered_ns && (__s64)(answered_ns - failed_ns) > 0;
}

static inline int health_ejected(__u64 ejected_until_ns, __u64 answered_ns, __u64 failed_ns,
				 __u64 now)
{
	return ejected_until_ns && (__s64)(now - ejected_until_ns) < 0 &&
	       !health_answered(answered_ns, failed_ns);
}

#endif
