/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <dirent.h>
#include <sys/resource.h>

#include "../../base/util.h"

static double unix_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void process_begin(struct process *p)
{
	p->started = p->loaded = unix_time();
	p->load_failed = false;
}

void process_reloaded(struct process *p, bool well)
{
	p->load_failed = !well;
	if (well)
		p->loaded = unix_time();
}

double process_cpu_seconds(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u))
		return -1;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

double process_resident_bytes(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages;

	if (!f || fscanf(f, "%*u %lu", &pages) != 1)
		return -1;
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

double process_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", "..", and the directory's own */
}

double process_max_fds(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) ? -1 : (double)l.rlim_cur;
}
