/* SPDX-License-Identifier: Apache-2.0 */
/* process.h - what /metrics says of the daemon itself: its resources, and its configuration. */
#ifndef PINTLE_PROCESS_H
#define PINTLE_PROCESS_H

#include <stdbool.h>

struct process {
	double started, loaded; /* Unix time: of the daemon, of the configuration that holds */
	bool load_failed;       /* the newest attempt */
};

/** The daemon begins, with a configuration that was loaded. */
void process_begin(struct process *p);
/** A reload is over. */
void process_reloaded(struct process *p, bool well);

/** What the daemon uses, and may; -1 where that is not known. */
double process_cpu_seconds(void);
double process_resident_bytes(void);
double process_open_fds(void);
double process_max_fds(void);

#endif
