/* SPDX-License-Identifier: Apache-2.0 */
#include "confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/util.h"

#define NOBODY 65534

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

/* The sanitizers make calls of their own, at any time. */
#if defined(ARCH) && !defined(__SANITIZE_ADDRESS__)
#define FIELD(member) offsetof(struct seccomp_data, member)
#define LOAD(member)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(member))
#define ALLOW(call)                                                                                \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1),                                         \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Neither files nor sockets can be opened, and no program started. bpf(2) reads maps, and nothing
 * else. The process never allocates memory. */
static const struct sock_filter calls[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
	ALLOW(SYS_accept4),
	ALLOW(SYS_clock_gettime),
	ALLOW(SYS_close),
	ALLOW(SYS_epoll_ctl),
	ALLOW(SYS_epoll_pwait),
#ifdef SYS_epoll_wait
	ALLOW(SYS_epoll_wait),
#endif
	ALLOW(SYS_exit_group),
	ALLOW(SYS_getrandom),
	ALLOW(SYS_getsockname),
	ALLOW(SYS_read),
	ALLOW(SYS_recvfrom),
	ALLOW(SYS_restart_syscall),
	ALLOW(SYS_rt_sigreturn),
	ALLOW(SYS_sendto),
	ALLOW(SYS_setsockopt),
	ALLOW(SYS_shutdown),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 3),
	LOAD(args[0]),
	ALLOW(BPF_MAP_LOOKUP_ELEM),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
};

static void limit_calls(void)
{
	const struct sock_fprog program = {ARRAY_SIZE(calls), (struct sock_filter *)calls};

	/* A kernel without it has the rest of the confinement. */
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
#else
static void limit_calls(void)
{
}
#endif

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}}, has[2];

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) || syscall(SYS_capget, &head, has))
		return -errno;
	for (int i = 0; i < 2; i++)
		if (has[i].effective || has[i].permitted || has[i].inheritable)
			return -EPERM;
	return 0;
}

int confine(void)
{
	int err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	/* Without CAP_SETUID, as in the systemd unit, the process stays root's, without what makes
	 * root strong. */
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		errno = 0;
	err = drop_capabilities();
	if (!err)
		limit_calls();
	return err;
}
