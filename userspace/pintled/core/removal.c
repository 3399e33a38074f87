/* SPDX-License-Identifier: Apache-2.0 */
#include "removal.h"

#include <signal.h>
#include <sys/stat.h>
#include <uv.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/maps.h"
#include "../publish/cluster.h"
#include "../observe/exporter.h"
#include "notify.h"
#include "../attach/detach.h"
#include "../attach/pins.h"

#define RETRY_MS    10000
#define WATCHDOG_MS 1000

struct removal {
	const struct config *config;
	uv_loop_t loop;
	uv_signal_t sigterm, sigint;
	uv_timer_t retry, watchdog;
	struct cluster *cluster;
	struct exporter *exporter;
	int lock;
	bool over;
};

/* ---- detaching ------------------------------------------------------------------------- */

static int mark(struct removal *r)
{
	char dir[PIN_PATH_SIZE];
	bool made;
	int err = pins_make_dir(r->config->bpffs, &made);

	if (err)
		return err;
	r->lock = pins_lock(r->config->bpffs);
	if (r->lock < 0)
		return r->lock;
	if (mkdir(pin_path(r->config->bpffs, PINS_REMOVED, dir), PINS_DIR_MODE) && errno != EEXIST)
		return log_err_r(errno, "failed to make %s", dir);
	return 0;
}

static void unmark(struct removal *r)
{
	char dir[PIN_PATH_SIZE];

	if (r->lock < 0)
		return;
	rmdir(pin_path(r->config->bpffs, PINS_REMOVED, dir));
	/* Fails, rightly, if it is a mount point, or anything else is in it. */
	rmdir(r->config->bpffs);
	close(TAKE_FD(r->lock));
}

static void on_retry(uv_timer_t *t)
{
	struct removal *r = t->data;

	if (r->lock >= 0)
		close(TAKE_FD(r->lock));
	if (detach(r->config->bpffs, false) || mark(r)) {
		uv_timer_start(&r->retry, on_retry, RETRY_MS, 0);
		return;
	}
	log_info("removed by the chart: detached, and standing by");
	cluster_detached(r->cluster);
}

/* ---- standing by ----------------------------------------------------------------------- */

static void removal_render(struct metrics_text *out, void *arg)
{
	(void)out;
	(void)arg;
}

static bool removal_ready(void *arg, const char **why)
{
	(void)arg;
	*why = "removed by the chart";
	return false;
}

static const struct exporter_callbacks callbacks = {.render = removal_render,
						    .ready = removal_ready};

static void on_changed(void *arg)
{
	struct removal *r = arg;

	if (cluster_removed(r->cluster))
		return;
	log_info("the removal was taken back: attaching again");
	r->over = true;
	uv_stop(&r->loop);
}

static void removal_on_signal(uv_signal_t *s, int number)
{
	struct removal *r = s->data;

	log_info("%s: exiting; nothing is steered", number == SIGTERM ? "SIGTERM" : "SIGINT");
	notify_stopping(NULL);
	uv_stop(&r->loop);
}

static void on_watchdog(uv_timer_t *t)
{
	(void)t;
	notify_watchdog();
}

/* ---- life ------------------------------------------------------------------------------ */

static void removal_init(struct removal *r)
{
	uv_timer_init(&r->loop, &r->retry);
	uv_timer_init(&r->loop, &r->watchdog);
	uv_signal_init(&r->loop, &r->sigterm);
	uv_signal_init(&r->loop, &r->sigint);
	r->retry.data = r->sigterm.data = r->sigint.data = r;
	uv_signal_start(&r->sigterm, removal_on_signal, SIGTERM);
	uv_signal_start(&r->sigint, removal_on_signal, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN); /* the configuration is read once it is over */
}

static int removal_start(struct removal *r)
{
	int err = cluster_new(r->config, &r->cluster);

	/* It was the cluster that said so, and none is configured any more. */
	if (!err && !r->cluster) {
		r->over = true;
		return detach(r->config->bpffs, false);
	}
	err = err ?: cluster_watch_removal(r->cluster, &r->loop, true, on_changed, r);
	if (!err && r->config->metrics)
		err = exporter_new(&r->loop, r->config->metrics, &callbacks, r, &r->exporter);
	if (err)
		return err;
	uv_timer_start(&r->retry, on_retry, 0, 0);
	if (notify_watchdog_interval_ns())
		uv_timer_start(&r->watchdog, on_watchdog, WATCHDOG_MS, WATCHDOG_MS);
	notify_ready("removed by the chart");
	return 0;
}

/* As in daemon_stop(), no second signal ends it half-way. */
static void removal_stop(struct removal *r)
{
	uv_handle_t *ours[] = {(uv_handle_t *)&r->sigterm, (uv_handle_t *)&r->sigint,
			       (uv_handle_t *)&r->retry, (uv_handle_t *)&r->watchdog};

	exporter_free(r->exporter);
	cluster_free(r->cluster);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		uv_close(ours[i], NULL);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	uv_loop_close(&r->loop);
	unmark(r);
}

int removal_stand_by(const struct config *c)
{
	struct removal r = {.config = c, .lock = -1};
	int err = uv_loop_init(&r.loop);

	if (err)
		return log_err_r(err, "event loop");
	removal_init(&r);
	err = removal_start(&r);
	if (!err && !r.over)
		uv_run(&r.loop, UV_RUN_DEFAULT);
	removal_stop(&r);
	return !err && r.over ? REMOVAL_OVER : err;
}
