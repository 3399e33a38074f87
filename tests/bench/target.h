/* SPDX-License-Identifier: Apache-2.0 */
/* target.h - where a benchmark's client connects to, and from where. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

struct target {
	char *name, *cgroup;
	int netns;
	struct sockaddr_in to;
};

/* Reads NAME,NETNS,CGROUP,ADDRESS,PORT. */
static inline struct target target_parse(char *text)
{
	struct target t = {.name = strsep(&text, ",")};
	const char *netns = strsep(&text, ","), *address;

	t.cgroup = strsep(&text, ",");
	address = strsep(&text, ",");
	if (!text)
		die("target");
	t.netns = open(netns, O_RDONLY | O_CLOEXEC);
	if (t.netns < 0)
		die(netns);
	t.to.sin_family = AF_INET;
	t.to.sin_port = htons((uint16_t)atoi(text));
	if (inet_pton(AF_INET, address, &t.to.sin_addr) != 1)
		die(address);
	return t;
}

/* From here on this process connects from where the target is looked at. */
static inline void target_enter(const struct target *t)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", t->cgroup);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f))
		die(path);
	if (setns(t->netns, CLONE_NEWNET))
		die("setns");
}

/* Makes `count` rounds, in each of which run() is called of each target in turn; prints a line for
 * each: the target's name, and what run() said. */
static inline void target_rounds(double (*run)(const struct target *t, int n), int rounds, int n,
				 char **texts, int count)
{
	struct target *targets = calloc((size_t)count, sizeof(*targets));

	if (!targets)
		die("calloc");
	for (int i = 0; i < count; i++)
		targets[i] = target_parse(texts[i]);
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < count; i++) {
			/* Each round begins with another target, so that none always follows the
			 * same one. */
			const struct target *t = &targets[(i + r) % count];

			target_enter(t);
			printf("%s %.3f\n", t->name, run(t, n));
		}
		fflush(stdout);
	}
	free(targets);
}

#endif
