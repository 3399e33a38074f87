/* SPDX-License-Identifier: Apache-2.0 */
/* process.h - what /metrics says of the daemon itself: its resources, and its configuration. */
#ifndef PINTLE_PROCESS_H
#define PINTLE_PROCESS_H

#include <stdbool.h>

struct process {
	double started, loaded; /* Unix time, s: when the daemon started, when its configuration was
				 * loaded */
	bool load_failed;       /* the newest reload */
};

/** Notes the start, with the configuration loaded. */
void process_begin(struct process *p);
/** Notes the end of a reload. */
void process_reloaded(struct process *p, bool well);

/** Returns what this process uses, and how many descriptors it may open; -1: not known. */
double process_cpu_seconds(void);
double process_resident_bytes(void);
double process_open_fds(void);
double process_max_fds(void);

#endif
