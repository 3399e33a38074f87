/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - what only some of the kernels that Pintle runs on can do; what lets pintled do it. */
#ifndef PINTLE_KERNEL_H
#define PINTLE_KERNEL_H

#include <stdbool.h>

#define KERNEL_NO_HAND                                                                             \
	"decide: request needs bpf_sk_assign_tcp_reqsk(), which this kernel lacks; use Linux 6.9 " \
	"or newer with CONFIG_SYN_COOKIES, or write decide: connection"

/* What lets pintled enter its servers' pods. */
#define KERNEL_GRANT_PODS                                                                          \
	"give pintled CAP_SYS_ADMIN (systemd: CapabilityBoundingSet=CAP_SYS_ADMIN in a drop-in; "  \
	"Kubernetes: SYS_ADMIN in capabilities.add) and restart it"

/* While it is 0, the kernel resets what is handed over to it. */
#define KERNEL_HAND_SYSCTL "net/ipv4/tcp_syncookies"

/** Whether a program can hand a connection to a listener together with its first segment. Also
 * false if the kernel's BTF cannot be read. */
bool kernel_hands_over(void);

#endif
