/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * question.bpf.h - tells a packet from a question.
 *
 * The kernel runs the lookup hook for a packet, and also for a question: any user may ask by
 * sock_diag which socket a packet from an address of his choice would reach, and programs may ask
 * so in a system call (bpf_sk_lookup_tcp() in cgroup programs). A question is no connection.
 *
 * The kernel handles a packet in a softirq, or with softirqs disabled (threaded NAPI, busy polling,
 * tun); a system call asks with softirqs enabled. One count, SOFTIRQ_MASK, has both. pintled finds
 * in the kernel's BTF where it is: see kernel_softirq_of().
 */
#ifndef PINTLE_QUESTION_BPF_H
#define PINTLE_QUESTION_BPF_H

#include "common.bpf.h"

#include <bpf/bpf_core_read.h>

#define SOFTIRQ_MASK 0xff00

/* PINTLE_COUNT_*. A test run has the first, and every run is a packet to it. */
const volatile __u32 count_of = PINTLE_COUNT_UNKNOWN;
/* Where the count and the pointer to the current task are, from the task or the run queue on. */
const volatile __s64 count_at = 0, current_at = 0;

struct rq___question;

struct cfs_rq___question {
	struct rq___question *rq;
} __attribute__((preserve_access_index));

struct sched_entity___question {
	struct cfs_rq___question *cfs_rq;
} __attribute__((preserve_access_index));

struct task_struct___question {
	struct sched_entity___question se;
} __attribute__((preserve_access_index));

/* This CPU's run queue, one of the kernel's per-CPU variables: the others are at a known distance.
 * The current task was given to it, whatever class schedules the task. NULL if what is found there
 * is not this CPU's: the current task must be there, too. */
static __always_inline const void *run_queue(const struct task_struct___question *task)
{
	const void *rq = task->se.cfs_rq->rq, *current = NULL;

	if (bpf_probe_read_kernel(&current, sizeof(current), rq + current_at))
		return NULL;
	return current == task ? rq : NULL;
}

/* Whether a packet is what the hook runs for. True if that cannot be told. A function of its own
 * because of its stack. */
static __noinline bool is_packet(void)
{
	const void *base = NULL;
	__u32 count = 0;

	if (count_of == PINTLE_COUNT_OF_TASK)
		base = (const void *)bpf_get_current_task();
	else if (count_of == PINTLE_COUNT_OF_CPU)
		base = run_queue((const void *)bpf_get_current_task_btf());
	if (!base || bpf_probe_read_kernel(&count, sizeof(count), base + count_at))
		return true;
	return count & SOFTIRQ_MASK;
}

#endif
