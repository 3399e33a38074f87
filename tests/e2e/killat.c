/* SPDX-License-Identifier: Apache-2.0 */
/*
 * killat.c - preloaded into pintled: counts the calls that change what is pinned or attached, and
 * kills the process right after one of them. Each call is written to KILL_LOG as a letter: p pins,
 * u puts a program into a link, i runs an iterator, m moves, r removes. KILL_AT names one: "m2" is
 * the second m.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void step(char letter)
{
	static int log_fd = -2, n;
	const char *at = getenv("KILL_AT"), *log = getenv("KILL_LOG");

	if (log_fd == -2)
		log_fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
	if (log_fd >= 0 && write(log_fd, &letter, 1) != 1)
		abort();
	if (at && *at == letter && ++n == atoi(at + 1))
		kill(getpid(), SIGKILL);
}

long syscall(long number, ...)
{
	long a[6], result;
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	result = NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (number != SYS_bpf)
		return result;
	if (a[0] == BPF_OBJ_PIN)
		step('p');
	if (a[0] == BPF_LINK_UPDATE)
		step('u');
	if (a[0] == BPF_ITER_CREATE)
		step('i');
	return result;
}

int rename(const char *from, const char *to)
{
	int result = NEXT(rename)(from, to);

	step('m');
	return result;
}

int unlink(const char *path)
{
	int result = NEXT(unlink)(path);

	step('r');
	return result;
}

int unlinkat(int dir, const char *path, int flags)
{
	int result = NEXT(unlinkat)(dir, path, flags);

	step('r');
	return result;
}

int rmdir(const char *path)
{
	int result = NEXT(rmdir)(path);

	step('r');
	return result;
}
