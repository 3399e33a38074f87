/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_page.h - writes the page /metrics from one table of all its families. */
#ifndef PINTLE_METRICS_PAGE_H
#define PINTLE_METRICS_PAGE_H

#include "../../config/config.h"
#include "../../maps/maps.h"
#include "../../base/metrics_text.h"
#include "../attach/attach.h"
#include "../publish/cluster.h"
#include "history.h"
#include "../publish/overload.h"
#include "poll.h"
#include "process.h"
#include "telemetry.h"

/* What the page's values come from. */
struct judge;
struct pass;

struct metrics_sources {
	const struct maps *maps; /* opened for writing */
	const struct config *config;
	const struct poller *poller;
	const struct telemetry *telemetry;
	const struct attachment *attachment;
	const struct process *process;
	const struct overload *overload;
	const struct cluster *cluster; /* NULL: no Kubernetes */
	const struct judge *judge;
	const struct pass *pass;
	const struct keeper *keeper;
	size_t clients; /* cgroups whose client is known by a name */
};

/** Writes the whole page. A failure is logged, and is the error of `out`. */
void metrics_page(const struct metrics_sources *from, struct metrics_text *out);

/** Returns the i-th family of the page, or NULL past the end, for docs/metrics.md. *kept says
 * whether endpoints have it with node.metricsDetail main; static, "": they do not. */
const struct metrics_family *metrics_page_family(size_t i, const char **kept);

#endif
