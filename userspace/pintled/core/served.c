/* SPDX-License-Identifier: Apache-2.0 */
/* served.c - what /metrics and /readyz answer. */
#include "../../base/util.h"
#include "../attach/attach.h"
#include "../observe/metrics_page.h"
#include "../observe/poll.h"
#include "../publish/clients.h"
#include "../publish/cluster.h"
#include "daemon_internal.h"
#include "hosts.h"

/* So long a start may wait for the API server before it is called ready without. */
#define CLUSTER_WAIT_NS (30 * NSEC_PER_SEC)

static void served_render(struct metrics_text *out, void *arg)
{
	const struct daemon *d = arg;
	const struct metrics_sources from = {
		.maps = d->parts.ground->maps,
		.config = d->config,
		.poller = d->parts.poller,
		.telemetry = d->parts.telemetry,
		.attachment = d->attachment,
		.process = &d->process,
		.overload = d->parts.overload,
		.cluster = d->parts.cluster,
		.clients = clients_count(d->parts.clients),
		.judge = d->parts.judge,
		.pass = d->parts.pass,
		.keeper = d->parts.keeper,
	};

	metrics_page(&from, out);
}

/* Its pools are those that are pinned until then, if any. */
static bool waits_for_cluster(const struct daemon *d)
{
	const struct cluster_figures f = cluster_figures(d->parts.cluster);

	return f.there && !f.listed && monotonic_ns() - d->started_ns < CLUSTER_WAIT_NS;
}

static bool served_ready(void *arg, const char **why)
{
	struct daemon *d = arg;

	if (!d->attached)
		*why = "not attached";
	else if (attachment_lost(d->attachment))
		*why = attachment_lost(d->attachment);
	else if (attachment_part(d->attachment))
		*why = attachment_part(d->attachment);
	else if (!hosts_first_round_over(d->parts.hosts))
		*why = "not all names of endpoints were asked for";
	else if (!poller_first_round_over(d->parts.poller))
		*why = "the first round of scrapes is not over";
	else if (waits_for_cluster(d))
		*why = "the API server has not listed all yet; pools are as they are pinned";
	else if (!d->ready_told) /* until the heartbeat, the kernel knows of no daemon */
		*why = "the first heartbeat is due";
	else
		return true;
	return false;
}

const struct exporter_callbacks served_callbacks = {.render = served_render, .ready = served_ready};
