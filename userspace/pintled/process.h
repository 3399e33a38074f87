/* SPDX-License-Identifier: Apache-2.0 */
/* process.h - what /metrics says of the daemon itself: its resources, and its configuration. */
#ifndef PINTLE_PROCESS_H
#define PINTLE_PROCESS_H

#include <stdbool.h>

#include "../base/metrics_text.h"

struct process {
	double started, loaded; /* Unix time: of the daemon, of the configuration that holds */
	bool load_failed;       /* the newest attempt */
};

/** The daemon begins, with a configuration that was loaded. */
void process_begin(struct process *p);
/** A reload is over. */
void process_reloaded(struct process *p, bool well);
/** Adds its families to the page, by the names that Prometheus' own client libraries use. */
void process_render(const struct process *p, struct metrics_text *out);

#endif
