/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - what the parts of `pintle doctor` share. A check is a function that looks at one
 * thing and tells what it found; it changes nothing.
 */
#ifndef PINTLE_DOCTOR_H
#define PINTLE_DOCTOR_H

#include "../cli.h"

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL };

struct finding {
	const char *check; /* a word: "kernel", "btf", ... */
	enum verdict verdict;
	char *said; /* what was found; owned */
	char *cure; /* what helps; NULL with VERDICT_OK; owned */
};

struct doctor {
	const struct cli *cli;
	const char *check; /* the name of the check that runs */
	struct finding *findings;
	size_t count;
	bool out_of_memory;

	struct maps *m;  /* NULL: nothing is pinned, or it cannot be read */
	struct state *s; /* NULL likewise */
	int netns;       /* the namespace that is steered, without pins this process's; or -errno */
	bool privileged; /* this process may load programs */
	bool userns;     /* this process is not in the initial user namespace */
	const char *for_privilege; /* the cure if the process is not privileged */
};

typedef void (*doctor_fn)(struct doctor *d);

/** Adds a finding. `cure` is NULL with VERDICT_OK, and only then. */
void doctor_say(struct doctor *d, enum verdict verdict, const char *cure, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* doctor_kernel.c */
/** Returns whether the kernel lets this process load programs that attach to the network. */
bool doctor_may_load(void);
void doctor_kernel(struct doctor *d);
void doctor_btf(struct doctor *d);
void doctor_programs(struct doctor *d);
void doctor_maps(struct doctor *d);
void doctor_helpers(struct doctor *d);
void doctor_link(struct doctor *d);
void doctor_connect_link(struct doctor *d);
void doctor_lockdown(struct doctor *d);
void doctor_questions(struct doctor *d);

/* doctor_system.c */
void doctor_capabilities(struct doctor *d);
void doctor_bpffs(struct doctor *d);
void doctor_cgroup(struct doctor *d);
void doctor_sysctls(struct doctor *d);
/** Reads a sysctl, such as "net/ipv4/tcp_syncookies", of this process's network namespace. Returns
 * false if the kernel has none of that name. */
bool doctor_sysctl(const char *name, long *value);

/* doctor_hooks.c */
void doctor_attached(struct doctor *d);
void doctor_lookup_hook(struct doctor *d);
void doctor_sockops_hook(struct doctor *d);
void doctor_connect_hook(struct doctor *d);
void doctor_mptcp(struct doctor *d);
void doctor_oneshot(struct doctor *d);
void doctor_hand(struct doctor *d);
void doctor_daemon(struct doctor *d);

/* doctor_hand.c */
/** Returns whether the steered namespace has net.ipv4.tcp_syncookies 0. */
bool doctor_cookies_off(const struct doctor *d);
/** Speaks of programs that see packets before the hand-off, and of pools whose later requests are
 * not decided. */
void doctor_hand_more(struct doctor *d);

/* doctor_names.c */
void doctor_names(struct doctor *d);

#endif
