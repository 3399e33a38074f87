/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - what only some of the kernels that Pintle runs on can do; what lets pintled do it. */
#ifndef PINTLE_KERNEL_H
#define PINTLE_KERNEL_H

#include <bpf/btf.h>
#include <stdbool.h>
#include <stdint.h>

#define KERNEL_NO_HAND                                                                             \
	"decide: request needs bpf_sk_assign_tcp_reqsk(), which this kernel lacks; use Linux 6.9 " \
	"or newer with CONFIG_SYN_COOKIES, or write decide: connection"

/* What lets pintled enter its servers' pods. */
#define KERNEL_GRANT_PODS                                                                          \
	"give pintled CAP_SYS_ADMIN (systemd: CapabilityBoundingSet=CAP_SYS_ADMIN in a drop-in; "  \
	"Kubernetes: SYS_ADMIN in capabilities.add) and restart it"

/* While it is 0, the kernel resets what is handed over to it. */
#define KERNEL_HAND_SYSCTL "net/ipv4/tcp_syncookies"

/** Where the kernel shows its types. */
#define KERNEL_BTF "/sys/kernel/btf/vmlinux"

/** Returns whether a program can hand a connection to a listener together with its first segment.
 * Also false if the kernel's BTF cannot be read. */
bool kernel_hands_over(void);

/* Where the kernel counts the softirqs that run, or are disabled, by which the lookup hook tells a
 * packet from a question. */
struct kernel_softirq {
	uint32_t count_of;  /* enum pintle_count_of */
	int64_t count_at;   /* from the task, or the CPU's run queue, on */
	int64_t current_at; /* of a CPU's: where its current task is, from its run queue on */
};

/** Finds it in a kernel's types. */
struct kernel_softirq kernel_softirq_of(const struct btf *types);

/** Finds it in this kernel's; PINTLE_COUNT_UNKNOWN if its BTF cannot be read, too. */
struct kernel_softirq kernel_softirq(void);

#endif
