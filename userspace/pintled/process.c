/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <dirent.h>
#include <sys/resource.h>

#include "../base/util.h"

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

/* Each returns whether it is known. */

static bool cpu_seconds(double *v)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u))
		return false;
	*v = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	     (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	return true;
}

static bool resident_bytes(double *v)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages;

	if (!f || fscanf(f, "%*u %lu", &pages) != 1)
		return false;
	*v = (double)pages * (double)sysconf(_SC_PAGESIZE);
	return true;
}

static bool open_fds(double *v)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	if (!d)
		return false;
	while (readdir(d))
		n++;
	closedir(d);
	*v = n - 3; /* ".", "..", and the directory's own */
	return true;
}

static bool max_fds(double *v)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return false;
	*v = (double)l.rlim_cur;
	return true;
}

static const struct {
	const char *name;
	enum metrics_type type;
	const char *help;
	bool (*value)(double *v);
} resources[] = {
	{"process_cpu_seconds_total", METRICS_COUNTER, "CPU time of the daemon.", cpu_seconds},
	{"process_resident_memory_bytes", METRICS_GAUGE, "Memory of the daemon that is resident.",
	 resident_bytes},
	{"process_open_fds", METRICS_GAUGE, "Descriptors that the daemon has open.", open_fds},
	{"process_max_fds", METRICS_GAUGE, "Descriptors that it may have open.", max_fds},
};

void process_render(const struct process *p, struct metrics_text *out)
{
	double v;

	metrics_family(out, "pintle_config_last_reload_successful", METRICS_GAUGE,
		       "0: the newest reload failed, and an older configuration runs.");
	metrics_sample_u64(out, !p->load_failed, NULL);
	metrics_family(out, "pintle_config_last_reload_success_timestamp_seconds", METRICS_GAUGE,
		       "Unix time at which the configuration that runs was loaded.");
	metrics_sample(out, p->loaded, NULL);
	metrics_family(out, "process_start_time_seconds", METRICS_GAUGE,
		       "Unix time at which the daemon started.");
	metrics_sample(out, p->started, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
		metrics_family(out, resources[i].name, resources[i].type, resources[i].help);
		if (resources[i].value(&v))
			metrics_sample(out, v, NULL);
	}
}
