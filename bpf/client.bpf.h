/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * client.bpf.h - what the record of a client's socket counts at its endpoint, and when that ends.
 *
 *	placed	decided in connect(); until the SYN is sent, or it is known that none will be
 *	opened	the SYN was sent (TCP_CONNECT_CB); until the socket's end
 *
 * The hooks of one socket may run on two CPUs at once: close() does not wait for a segment that
 * is being taken in. So each count is begun and ended by whoever swaps its flag in the record.
 */
#ifndef PINTLE_CLIENT_BPF_H
#define PINTLE_CLIENT_BPF_H

#include "common.bpf.h"

/* The counters that this record counts in. */
static __always_inline struct pintle_counters *counters_of(const struct pintle_connect *c)
{
	return counters_kept(c->endpoint, c->generation, c->class_id);
}

/* Ends whatever the record still counts. */
static __always_inline void count_end(struct pintle_connect *c)
{
	struct pintle_counters *n = counters_of(c);
	bool placed = __sync_lock_test_and_set(&c->placed, 0);
	bool counted = __sync_lock_test_and_set(&c->counted, 0);

	if (n && placed)
		__sync_fetch_and_add(&n->failed, 1);
	if (n && counted)
		__sync_fetch_and_add(&n->closed, 1);
}

/* The socket's connection is not ours, or no longer. Its hint stays. */
static __always_inline void disown(struct pintle_connect *c)
{
	count_end(c);
	c->generation = 0;
}

#endif
