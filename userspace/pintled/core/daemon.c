/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <malloc.h>
#include <signal.h>
#include <uv.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../attach/attach.h"
#include "../observe/bindings.h"
#include "../publish/cluster.h"
#include "daemon_internal.h"
#include "../devices/devices.h"
#include "../observe/earlier.h"
#include "hosts.h"
#include "notify.h"
#include "../devices/hand.h"
#include "../observe/poll.h"
#include "../publish/publish.h"
#include "../publish/register.h"
#include "../observe/trials.h"

#define HOUSEKEEPING_MS 2000
#define TEND_MS         300 /* so soon `pintle set` is noticed */
#define FIRST_BEAT_NS   (2 * NSEC_PER_SEC)
#define TRIM_ROUNDS     30          /* of housekeeping */
#define LARGE           (128 << 10) /* bytes; freeing so much gives it back to the kernel */

/* ---- turning --------------------------------------------------------------------- */

static void tell_ready(struct daemon *d)
{
	if (d->ready_told || !poller_first_round_over(d->parts.poller) ||
	    !hosts_first_round_over(d->parts.hosts))
		return;
	d->ready_told = true;
	uv_timer_set_repeat(&d->heartbeat, reload_heartbeat_ms(d));
	log_info("ready: %zu pool%s", d->config->pool_count, plural(d->config->pool_count));
	notify_ready(NULL);
	/* The first round scrapes all endpoints at once, and took memory that no later round
	 * needs. */
	malloc_trim(0);
}

/* While the heartbeat is fresh, the kernel chooses an endpoint only with a score from after its
 * listen(). Over pins that steered without a daemon, the first heartbeat would leave out every
 * server that was restarted meanwhile. So it waits until each endpoint was scraped, but no longer
 * than FIRST_BEAT_NS for endpoints that do not answer. */
static bool may_beat(const struct daemon *d, uint64_t now)
{
	return !d->parts.ground->resumed || poller_first_round_over(d->parts.poller) ||
	       now - d->started_ns >= FIRST_BEAT_NS;
}

static void on_heartbeat(uv_timer_t *timer)
{
	struct daemon *d = timer->data;
	uint64_t now = monotonic_ns();

	if (may_beat(d, now)) {
		trials_look(d->parts.ground->maps, now);
		__atomic_store_n(&d->parts.ground->maps->node->heartbeat_ns, now, __ATOMIC_RELAXED);
	}
	parts_tick(&d->parts, PARTS_BEAT);
	tell_ready(d);
	if (d->watchdog_ns && now - d->watchdog_told_ns >= d->watchdog_ns / 2) {
		d->watchdog_told_ns = now;
		notify_watchdog();
	}
}

static void on_housekeeping(uv_timer_t *timer)
{
	struct daemon *d = timer->data;

	if (cluster_is_judged(d->parts.cluster))
		found_tell(d);
	else
		cluster_show(d->parts.cluster, d->parts.ground->maps->node);
	if (d->behind)
		found_again(d);
	attachment_trim(d->attachment, d->config);
	parts_tick(&d->parts, PARTS_HOUSE);
	if (d->parts.rounds[PARTS_HOUSE] % TRIM_ROUNDS == 1)
		malloc_trim(0);
}

static void daemon_reload(struct daemon *d)
{
	char why[PINTLE_WHY_SIZE];
	int err;

	log_keep(why, sizeof(why));
	err = reload_file(d, why);
	log_keep(NULL, 0);
	process_reloaded(&d->process, !err);
	settings_done(d->settings, err ? why : NULL);
	if (d->parts.cluster)
		found_again(d); /* there may be more room, or less */
}

static void on_reload(uv_timer_t *timer)
{
	notify_reloading();
	daemon_reload(timer->data);
	malloc_trim(0);
	notify_ready(NULL);
}

static void look_at_settings(struct daemon *d)
{
	unsigned int news = settings_look(d->settings);

	/* A reload reads the settings, too, so it comes first. */
	if (news & SETTINGS_RELOAD)
		uv_timer_start(&d->reload, on_reload, 0, 0);
	else if (news & SETTINGS_CHANGED)
		reload_settings(d);
}

static void on_tending(uv_timer_t *timer)
{
	struct daemon *d = timer->data;

	look_at_settings(d);
	parts_tick(&d->parts, PARTS_TEND);
	if (!attachment_tend(d->attachment, d->config))
		return;
	/* While a hook was lost, nothing noticed sockets that listened, connected or closed. */
	register_listeners(d->parts.ground->maps, d->parts.ground->netns_fd);
	parts_recount_now(&d->parts);
}

/* The timer makes one reload of many signals. */
static void on_hangup(uv_signal_t *s, int number)
{
	struct daemon *d = s->data;

	(void)number;
	uv_timer_start(&d->reload, on_reload, 0, 0);
}

/* ---- life ------------------------------------------------------------------------ */

static void on_terminate(uv_signal_t *s, int number)
{
	struct daemon *d = s->data;

	log_info("%s: exiting; connections are still steered (pintled --detach ends that)",
		 number == SIGTERM ? "SIGTERM" : "SIGINT");
	notify_stopping(NULL);
	uv_stop(&d->loop);
}

static int daemon_configure(struct daemon *d)
{
	int err = publish(d->parts.ground->maps, d->parts.ground->netns_fd, d->config, NULL,
			  &d->publication);

	return err ?: parts_configure(&d->parts, PARTS_LOADED, d->config, d->publication);
}

/* attach.h says why publishing comes before or after the commit. */
static int daemon_steer(struct daemon *d)
{
	bool resumed = d->parts.ground->resumed;
	bool first = !resumed || attachment_takes_over(d->attachment);
	int err = first ? daemon_configure(d) : attachment_commit(d->attachment, d->config);

	if (!err)
		err = first ? attachment_commit(d->attachment, d->config) : daemon_configure(d);
	d->parts.recounting = attachment_takes_over(d->attachment);
	if (!err && d->parts.recounting)
		err = attachment_extend(d->attachment, d->config);
	if (err)
		return err;
	attachment_trim(d->attachment, d->config);
	d->attached = true;
	/* Some servers began to listen after publish() looked, and before sockops was attached. */
	register_listeners(d->parts.ground->maps, d->parts.ground->netns_fd);
	earlier_find(d->parts.ground, d->config);
	parts_recount_now(&d->parts);
	d->parts.recounting = attachment_takes_over(d->attachment);
	bindings_walk(d->parts.bindings);
	devices_sweep(d->parts.ground);
	err = parts_new(&d->parts, PARTS_ATTACHED);
	if (!err)
		err = parts_configure(&d->parts, PARTS_ATTACHED, d->config, d->publication);
	if (err)
		return err;
	err = attachment_settle(d->attachment);
	if (err)
		return err;
	settings_done(d->settings, NULL);
	log_info("%s; steering in %s, pinned under %s",
		 resumed ? "took over what was pinned" : "attached", d->config->netns,
		 d->config->bpffs);
	return 0;
}

static void watch_signal(struct daemon *d, uv_signal_t *s, uv_signal_cb cb, int number)
{
	uv_signal_init(&d->loop, s);
	s->data = d;
	uv_signal_start(s, cb, number);
}

/* Loads the programs: from here on there are maps. */
static int daemon_load(struct daemon *d)
{
	int err = attachment_prepare(d->config, &d->loop, &d->attachment);

	if (err)
		return err;
	d->parts.ground = attachment_ground(d->attachment);
	settings_use(d->settings, d->parts.ground->maps);
	return 0;
}

static void start_clocks(struct daemon *d)
{
	d->started_ns = monotonic_ns();
	d->watchdog_ns = notify_watchdog_interval_ns();
	d->beat = on_heartbeat;
	uv_timer_start(&d->heartbeat, d->beat, 0, reload_heartbeat_ms(d));
	uv_timer_start(&d->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
	uv_timer_start(&d->tending, on_tending, TEND_MS, TEND_MS);
}

/* Whatever is likely to fail comes before the first change to what steers. */
static int daemon_start(struct daemon *d)
{
	int err = found_first(d);

	err = err ?: hand_check(d->config, NULL);
	err = err ?: reload_check_files(d->config);
	err = err ?: daemon_load(d);
	if (!err && attachment_takes_over(d->attachment))
		err = found_carried(d);
	d->parts.config = d->config;
	err = err ?: parts_new(&d->parts, PARTS_LOADED);
	err = err ?: daemon_steer(d);
	if (err)
		return err;
	reload_tell_unserved(d);
	err = found_follow(d);
	if (err)
		return err;
	cluster_show(d->parts.cluster, d->parts.ground->maps->node);
	start_clocks(d);
	return 0;
}

static void init_timer(struct daemon *d, uv_timer_t *timer)
{
	uv_timer_init(&d->loop, timer);
	timer->data = d;
}

static void daemon_init(struct daemon *d)
{
	init_timer(d, &d->heartbeat);
	init_timer(d, &d->housekeeping);
	init_timer(d, &d->tending);
	init_timer(d, &d->reload);
	init_timer(d, &d->pods_settle);
	/* From here on a signal waits for the loop, and so cannot interrupt the attaching. */
	watch_signal(d, &d->sigterm, on_terminate, SIGTERM);
	watch_signal(d, &d->sigint, on_terminate, SIGINT);
	watch_signal(d, &d->sighup, on_hangup, SIGHUP);
	/* A client of /metrics that disconnects must not end the daemon. */
	signal(SIGPIPE, SIG_IGN);
}

/* The parts close their own handles; the daemon's are closed here. The loop then runs until no
 * handle is left. */
static void daemon_stop(struct daemon *d)
{
	uv_handle_t *ours[] = {
		(uv_handle_t *)&d->heartbeat, (uv_handle_t *)&d->housekeeping,
		(uv_handle_t *)&d->tending,   (uv_handle_t *)&d->reload,
		(uv_handle_t *)&d->sigterm,   (uv_handle_t *)&d->sigint,
		(uv_handle_t *)&d->sighup,    (uv_handle_t *)&d->pods_settle,
	};

	parts_free(&d->parts);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		uv_close(ours[i], NULL);
	/* uv_close() restores the default action: without this, a second SIGTERM or SIGINT would
	 * kill the daemon in the middle of its clean end. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	uv_loop_close(&d->loop);
	publication_free(d->publication);
	attachment_free(d->attachment);
	config_free(d->config);
	settings_free(d->settings);
}

int daemon_run(struct settings *s, struct config *c)
{
	struct daemon d = {.settings = s,
			   .config = c,
			   .parts = {.daemon = &d,
				     .exporter_callbacks = &served_callbacks,
				     .on_hosts = found_hosts}};
	int err = uv_loop_init(&d.loop);

	if (err) {
		config_free(c);
		settings_free(s);
		return log_err_r(err, "event loop");
	}
	/* Setting the threshold also fixes it. Otherwise glibc raises it with each large piece that
	 * is freed, and then keeps the next ones, such as a page of /metrics. */
	mallopt(M_MMAP_THRESHOLD, LARGE);
	daemon_init(&d);
	process_begin(&d.process);
	err = daemon_start(&d);
	if (!err)
		uv_run(&d.loop, UV_RUN_DEFAULT);
	daemon_stop(&d);
	return !err && d.removed ? DAEMON_REMOVED : err;
}
