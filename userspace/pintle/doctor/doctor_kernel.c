/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_kernel.c - what the kernel can do, found by trying, because distributions backport. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "../../base/text.h"
#include "../../maps/kernel.h"
#include "../../maps/links.h"
#include "doctor.h"

#define FLOOR_MAJOR 6
#define FLOOR_MINOR 1

void doctor_kernel(struct doctor *d)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	uname(&u);
	if (sscanf(u.release, "%u.%u", &major, &minor) != 2)
		doctor_say(d, VERDICT_WARN, "compare it with 6.1 yourself", "release %s",
			   u.release);
	else if (major < FLOOR_MAJOR || (major == FLOOR_MAJOR && minor < FLOOR_MINOR))
		doctor_say(d, VERDICT_FAIL, "use Linux 6.1 or newer", "release %s is too old",
			   u.release);
	else
		doctor_say(d, VERDICT_OK, NULL, "release %s; 6.1 is needed", u.release);
}

void doctor_btf(struct doctor *d)
{
	if (!access(KERNEL_BTF, R_OK))
		doctor_say(d, VERDICT_OK, NULL, KERNEL_BTF " is there");
	else
		doctor_say(d, VERDICT_FAIL,
			   "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs",
			   KERNEL_BTF ": %s", strerror(errno));
}

/* The file reads "none [integrity] confidentiality": the word in brackets holds. */
void doctor_lockdown(struct doctor *d)
{
	int fd = open("/sys/kernel/security/lockdown", O_RDONLY | O_CLOEXEC);
	char text[128] = "";
	ssize_t n;

	if (fd < 0) {
		doctor_say(d, VERDICT_OK, NULL, "the kernel is not locked down");
		return;
	}
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[MAX(n, 0)] = '\0';
	if (strstr(text, "[confidentiality]"))
		doctor_say(
			d, VERDICT_FAIL, "boot with lockdown=integrity or less",
			"the kernel is locked down to confidentiality: BPF programs may not read "
			"kernel memory");
	else
		doctor_say(d, VERDICT_OK, NULL, "the kernel lets BPF programs read its memory");
}

void doctor_questions(struct doctor *d)
{
	if (kernel_softirq().count_of != PINTLE_COUNT_UNKNOWN)
		doctor_say(d, VERDICT_OK, NULL,
			   "the lookup hook tells packets from questions (sock_diag)");
	else
		doctor_say(
			d, VERDICT_WARN,
			"use x86-64 with CONFIG_FAIR_GROUP_SCHED=y, or arm64; and see btf",
			"the lookup hook cannot tell packets from questions (sock_diag): any user "
			"of this machine can take places of classes by them");
}

/* return SK_PASS; */
static const struct bpf_insn pass[] = {
	{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
	{.code = BPF_JMP | BPF_EXIT},
};

static int load_lookup(void)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_SK_LOOKUP);

	return bpf_prog_load(BPF_PROG_TYPE_SK_LOOKUP, "pintle_doctor", "GPL", pass,
			     ARRAY_SIZE(pass), &opts);
}

/* The kernel checks capabilities first: any error but EPERM and EACCES means that they suffice. */
bool doctor_may_load(void)
{
	_cleanup_close_ int program = load_lookup();

	return program >= 0 || (errno != EPERM && errno != EACCES);
}

/* ---- probes ---------------------------------------------------------------------- */

struct probe {
	const char *name;
	int type;   /* BPF_PROG_TYPE_* or BPF_MAP_TYPE_* */
	int helper; /* BPF_FUNC_* in programs of that type; 0: the type itself */
};

/* Returns 1: the kernel has it; 0: it does not; -EPERM; -ENODATA: cannot be tried without BTF. */
typedef int (*probe_fn)(const struct probe *p);

static void probe_tell(struct doctor *d, const struct probe *p, int answer)
{
	if (!answer)
		doctor_say(d, VERDICT_FAIL,
			   "use Linux 6.1 or newer, with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and "
			   "CONFIG_INET",
			   "%s: is missing", p->name);
	else if (answer == -ENODATA)
		doctor_say(d, VERDICT_WARN, "see btf", "%s: cannot be tried without BTF", p->name);
	else
		doctor_say(d, VERDICT_WARN,
			   "run it as root, outside of a container without CAP_BPF",
			   "%s: cannot be tried: %s", p->name, strerror(-answer));
}

static void probe_all(struct doctor *d, const char *what, const struct probe *probes, size_t count,
		      probe_fn can)
{
	char names[512] = "";
	size_t missing = 0;

	if (!d->privileged) {
		doctor_say(d, VERDICT_WARN, d->for_privilege, "%s were not tried", what);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		int answer = can(&probes[i]);

		if (answer == 1) {
			text_list_add(names, sizeof(names), probes[i].name);
			continue;
		}
		missing++;
		probe_tell(d, &probes[i], answer);
	}
	if (!missing)
		doctor_say(d, VERDICT_OK, NULL, "%s: %s", what, names);
}

#define ITERATOR "bpf_sk_storage_map" /* the iterator that recounts connections */

/* libbpf's own probe of the type loads an fentry program, which some architectures and kernels
 * refuse though they have iterators. */
static int can_iterate(void)
{
	static const struct bpf_insn done[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_ITER);
	int id, fd;

	if (access(KERNEL_BTF, R_OK))
		return -ENODATA;
	id = libbpf_find_vmlinux_btf_id(ITERATOR, BPF_TRACE_ITER);
	if (id < 0)
		return id == -EPERM || id == -EACCES ? id : 0;
	opts.attach_btf_id = (uint32_t)id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "pintle_doctor", "GPL", done, ARRAY_SIZE(done),
			   &opts);
	if (fd < 0)
		return errno == EPERM ? -EPERM : 0;
	close(fd);
	return 1;
}

static int can_program(const struct probe *p)
{
	if (p->type == BPF_PROG_TYPE_TRACING)
		return can_iterate();
	return libbpf_probe_bpf_prog_type((enum bpf_prog_type)p->type, NULL);
}

void doctor_programs(struct doctor *d)
{
	static const struct probe probes[] = {
		{"sk_lookup", BPF_PROG_TYPE_SK_LOOKUP, 0},
		{"sockops", BPF_PROG_TYPE_SOCK_OPS, 0},
		{"connect", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 0},
		{"setsockopt", BPF_PROG_TYPE_CGROUP_SOCKOPT, 0},
		{"iter", BPF_PROG_TYPE_TRACING, 0},
	};

	probe_all(d, "program types", probes, ARRAY_SIZE(probes), can_program);
}

static int can_map(const struct probe *p)
{
	return libbpf_probe_bpf_map_type((enum bpf_map_type)p->type, NULL);
}

void doctor_maps(struct doctor *d)
{
	static const struct probe probes[] = {
		{"array", BPF_MAP_TYPE_ARRAY, 0},
		{"per-CPU array", BPF_MAP_TYPE_PERCPU_ARRAY, 0},
		{"array of maps", BPF_MAP_TYPE_ARRAY_OF_MAPS, 0},
		{"LRU hash", BPF_MAP_TYPE_LRU_HASH, 0},
		{"LPM trie", BPF_MAP_TYPE_LPM_TRIE, 0},
		{"sockmap", BPF_MAP_TYPE_SOCKMAP, 0},
		{"sk_storage", BPF_MAP_TYPE_SK_STORAGE, 0},
		{"ring buffer", BPF_MAP_TYPE_RINGBUF, 0},
	};

	probe_all(d, "map types", probes, ARRAY_SIZE(probes), can_map);
}

static int can_helper(const struct probe *p)
{
	return libbpf_probe_bpf_helper((enum bpf_prog_type)p->type, (enum bpf_func_id)p->helper,
				       NULL);
}

void doctor_helpers(struct doctor *d)
{
	static const struct probe probes[] = {
		{"bpf_sk_assign", BPF_PROG_TYPE_SK_LOOKUP, BPF_FUNC_sk_assign},
		{"bpf_loop", BPF_PROG_TYPE_SK_LOOKUP, BPF_FUNC_loop},
		{"bpf_ringbuf_output", BPF_PROG_TYPE_SK_LOOKUP, BPF_FUNC_ringbuf_output},
		{"bpf_sk_storage_get", BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_sk_storage_get},
		{"bpf_sock_map_update", BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_sock_map_update},
		{"bpf_get_netns_cookie", BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_get_netns_cookie},
		{"bpf_sk_storage_get of connect", BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
		 BPF_FUNC_sk_storage_get},
		{"bpf_get_netns_cookie of connect", BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
		 BPF_FUNC_get_netns_cookie},
		{"bpf_get_current_cgroup_id", BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
		 BPF_FUNC_get_current_cgroup_id},
		{"bpf_skc_to_tcp_sock", BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_skc_to_tcp_sock},
		{"bpf_skc_to_mptcp_sock", BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_skc_to_mptcp_sock},
	};

	probe_all(d, "helpers", probes, ARRAY_SIZE(probes), can_helper);
}

/* ---- attaching ------------------------------------------------------------------- */

#define NOT_TRIED 255 /* no errno */

/* Attaches in a new network namespace that only this process is in, and that ends with it. Returns
 * 0, an errno, or NOT_TRIED: making a namespace takes CAP_SYS_ADMIN, which attaching does not. */
static int link_try(void)
{
	int program, netns;

	if (unshare(CLONE_NEWNET))
		return errno == EPERM ? NOT_TRIED : errno;
	netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (netns < 0)
		return errno;
	program = load_lookup();
	if (program < 0)
		return errno;
	return bpf_link_create(program, netns, BPF_SK_LOOKUP, NULL) < 0 ? errno : 0;
}

void doctor_link(struct doctor *d)
{
	int status = 0;
	pid_t pid;

	if (!d->privileged) {
		doctor_say(d, VERDICT_WARN, d->for_privilege, "attaching was not tried");
		return;
	}
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(link_try());
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
		doctor_say(d, VERDICT_WARN, "try again", "attaching could not be tried");
		return;
	}
	if (WEXITSTATUS(status) == NOT_TRIED)
		doctor_say(d, VERDICT_WARN, "run it as root",
			   "attaching was not tried: that needs CAP_SYS_ADMIN");
	else if (WEXITSTATUS(status))
		doctor_say(d, VERDICT_FAIL,
			   "run pintled with CAP_BPF and CAP_NET_ADMIN, on Linux 6.1 or newer",
			   "an sk_lookup program cannot be attached to a network namespace: %s",
			   strerror(WEXITSTATUS(status)));
	else
		doctor_say(d, VERDICT_OK, NULL,
			   "an sk_lookup program can be attached to a network namespace");
}

/* The kernel checks program and flags before it looks up the cgroup. So for descriptor -1 it
 * answers EBADF if it would attach the program to a cgroup: returns 0 then, else the errno. */
static int connect_link_try(int program, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int err = -bpf_link_create(program, -1, BPF_CGROUP_INET4_CONNECT, &opts);

	return err == EBADF ? 0 : err;
}

void doctor_connect_link(struct doctor *d)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_CGROUP_INET4_CONNECT);
	_cleanup_close_ int program = -1;
	int err;

	if (!d->privileged) {
		doctor_say(d, VERDICT_WARN, d->for_privilege, "the connect hook was not tried");
		return;
	}
	program = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "pintle_doctor", "GPL", pass,
				ARRAY_SIZE(pass), &opts);
	err = program < 0 ? -program : connect_link_try(program, 0);
	if (err)
		doctor_say(d, VERDICT_FAIL,
			   "run pintled with CAP_BPF and CAP_NET_ADMIN, on Linux 6.1 or newer with "
			   "CONFIG_CGROUP_BPF",
			   "a connect program cannot be attached to a cgroup: %s", strerror(err));
	else if (connect_link_try(program, BPF_F_PREORDER))
		doctor_say(
			d, VERDICT_OK, NULL,
			"a connect program can be attached to a cgroup; of several, the one "
			"that was attached first runs first (BPF_F_PREORDER came with Linux 6.15)");
	else
		doctor_say(d, VERDICT_OK, NULL,
			   "a connect program can be attached to a cgroup, in front of others");
}
