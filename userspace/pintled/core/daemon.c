/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <malloc.h>
#include <signal.h>
#include <uv.h>

#include "../../base/files.h"
#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../config/config_here.h"
#include "../attach/attach.h"
#include "../observe/bindings.h"
#include "../publish/clients.h"
#include "cluster.h"
#include "../devices/devices.h"
#include "../observe/earlier.h"
#include "rule/eligible.bpf.h"
#include "hosts.h"
#include "notify.h"
#include "parts.h"
#include "../devices/hand.h"
#include "../publish/client_pods.h"
#include "../observe/poll.h"
#include "../observe/metrics_page.h"
#include "../observe/process.h"
#include "../publish/publish.h"
#include "../attach/restore.h"
#include "../publish/register.h"
#include "settings.h"
#include "../observe/trials.h"

/* The heartbeat must always be much younger than any pool's staleness limit; and readers take a
 * heartbeat older than STATE_HEARTBEAT_NS for a dead daemon. */
#define HEARTBEAT_MAX_MS 500
#define HEARTBEAT_MIN_MS 20
#define UNREADY_MS       50ULL /* between heartbeats until the daemon is ready */
#define HOUSEKEEPING_MS  2000
#define TEND_MS          300 /* so soon `pintle set` is noticed */
#define FIRST_BEAT_NS    (2 * NSEC_PER_SEC)
/* So long a start may wait for the API server before it is called ready without. */
#define CLUSTER_WAIT_NS (30 * NSEC_PER_SEC)
#define TRIM_ROUNDS     30          /* of housekeeping */
#define PODS_SETTLE_MS  50          /* a pod's objects change several times in a row */
#define LARGE           (128 << 10) /* bytes; freeing so much gives it back to the kernel */
/* Open files: maps, programs and links during the start, clients of /metrics; and for each endpoint
 * a connection to its metrics page and to its GPU's. */
#define FILES_LEAST        256
#define FILES_PER_ENDPOINT 2

struct daemon {
	uv_loop_t loop;
	uv_timer_t heartbeat, housekeeping, tending, reload, pods_settle;
	uv_signal_t sigterm, sigint, sighup;
	struct settings *settings;
	struct config *config; /* made by `settings` */
	struct publication *publication;
	struct attachment *attachment;
	struct parts parts;
	uint64_t found_hash; /* of the cluster's pools in the current configuration */
	bool behind;         /* the cluster's pools could not be applied */
	struct process process;
	bool attached, ready_told, removed;
	uint64_t started_ns, watchdog_ns, watchdog_told_ns;
};

/* ---- open files ------------------------------------------------------------------ */

#define FILES_CURE "raise LimitNOFILE= of its unit, or ulimit -n"

/* Returns -EMFILE where so few files may be open that even the start would fail half-way. */
static int look_at_files(const struct config *c)
{
	uint64_t limit = files_raise_limit(), wanted = FILES_LEAST;

	for (size_t i = 0; i < c->pool_count; i++)
		wanted += FILES_PER_ENDPOINT * c->pools[i].endpoint_count;
	if (limit < FILES_LEAST) {
		log_error("only %ju files may be open, and pintled needs %d; " FILES_CURE,
			  (uintmax_t)limit, FILES_LEAST);
		return -EMFILE;
	}
	if (limit < wanted)
		log_warn("only %ju files may be open, and the endpoints may need %ju; " FILES_CURE,
			 (uintmax_t)limit, (uintmax_t)wanted);
	return 0;
}

/* ---- turning --------------------------------------------------------------------- */

static uint64_t heartbeat_ms(const struct config *c)
{
	uint64_t ms = HEARTBEAT_MAX_MS;

	for (size_t i = 0; i < c->pool_count; i++)
		ms = MIN(ms, c->pools[i].saturation.staleness_ns / NSEC_PER_MSEC / 4);
	return MAX(ms, (uint64_t)HEARTBEAT_MIN_MS);
}

static void tell_ready(struct daemon *d)
{
	if (d->ready_told || !poller_first_round_over(d->parts.poller) ||
	    !hosts_first_round_over(d->parts.hosts))
		return;
	d->ready_told = true;
	uv_timer_set_repeat(&d->heartbeat, heartbeat_ms(d->config));
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
	return !d->parts.ground.resumed || poller_first_round_over(d->parts.poller) ||
	       now - d->started_ns >= FIRST_BEAT_NS;
}

static void on_heartbeat(uv_timer_t *timer)
{
	struct daemon *d = timer->data;
	uint64_t now = monotonic_ns();

	if (may_beat(d, now)) {
		trials_look(d->parts.ground.maps, now);
		__atomic_store_n(&d->parts.ground.maps->node->heartbeat_ns, now, __ATOMIC_RELAXED);
	}
	parts_tick(&d->parts, PARTS_BEAT);
	tell_ready(d);
	if (d->watchdog_ns && now - d->watchdog_told_ns >= d->watchdog_ns / 2) {
		d->watchdog_told_ns = now;
		notify_watchdog();
	}
}

static void on_cluster(void *arg);
static void tell_cluster(struct daemon *d);

static void on_housekeeping(uv_timer_t *timer)
{
	struct daemon *d = timer->data;

	if (cluster_is_judged(d->parts.cluster))
		tell_cluster(d);
	else
		cluster_show(d->parts.cluster, d->parts.ground.maps->node);
	if (d->behind)
		on_cluster(d);
	attachment_trim(d->attachment, d->config);
	parts_tick(&d->parts, PARTS_HOUSE);
	if (d->parts.rounds[PARTS_HOUSE] % TRIM_ROUNDS == 1)
		malloc_trim(0);
}

static void start_heartbeat(struct daemon *d)
{
	uint64_t ms = heartbeat_ms(d->config);

	uv_timer_start(&d->heartbeat, on_heartbeat, 0, d->ready_told ? ms : MIN(ms, UNREADY_MS));
}

/* ---- serving --------------------------------------------------------------------- */

static void daemon_render(struct metrics_text *out, void *arg)
{
	const struct daemon *d = arg;
	const struct metrics_sources from = {
		.maps = d->parts.ground.maps,
		.config = d->config,
		.poller = d->parts.poller,
		.telemetry = d->parts.telemetry,
		.attachment = d->attachment,
		.process = &d->process,
		.overload = d->parts.overload,
		.cluster = d->parts.cluster,
		.clients = clients_count(d->parts.clients),
		.judge = d->parts.judge,
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

static bool daemon_ready(void *arg, const char **why)
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

static const struct exporter_callbacks exporter_callbacks = {.render = daemon_render,
							     .ready = daemon_ready};

/* ---- configuration --------------------------------------------------------------- */

static bool daemon_differs(const char *a, const char *b)
{
	return (a || b) && (!a || !b || strcmp(a, b));
}

/* What is under `node` is fixed from attaching to detaching. */
static void warn_of_node(const struct config *old, const struct config *new)
{
	if (daemon_differs(old->bpffs, new->bpffs) || daemon_differs(old->netns, new->netns) ||
	    daemon_differs(old->cgroup, new->cgroup) ||
	    daemon_differs(old->metrics, new->metrics) || daemon_differs(old->group, new->group) ||
	    daemon_differs(old->key_file, new->key_file))
		log_warn("a change under node: takes effect at the next start of pintled; "
			 "pools are reloaded now");
	if (old->kubernetes != new->kubernetes ||
	    daemon_differs(old->kubeconfig, new->kubeconfig) ||
	    daemon_differs(old->kube_node, new->kube_node) ||
	    daemon_differs(old->gpu_exporter.space, new->gpu_exporter.space) ||
	    daemon_differs(old->gpu_exporter.name, new->gpu_exporter.name))
		log_warn("a change of kubernetes takes effect at the next start of pintled");
}

static void daemon_tell_lack(void *arg, int line, const char *what)
{
	const struct config *c = arg;

	log_warn("%s:%d: %s", c->path, line, what);
}

/* Such a configuration runs: an address may come, and go, while pintled runs. */
static void tell_unserved(const struct daemon *d)
{
	config_here(d->config, d->parts.ground.netns_fd, d->parts.cluster, daemon_tell_lack,
		    d->config);
}

static int configure_parts(struct daemon *d, const struct config *c, const struct publication *p)
{
	int err = parts_configure(&d->parts, PARTS_LOADED, c, p);

	return parts_configure(&d->parts, PARTS_ATTACHED, c, p) ?: err;
}

/* Takes `c` and `p`. The parts refer to the former ones until they are told of these. */
static int run_by(struct daemon *d, struct config *c, struct publication *p)
{
	int err = configure_parts(d, c, p);

	publication_free(d->publication);
	d->publication = p;
	if (d->config != c)
		config_free(d->config);
	d->config = c;
	start_heartbeat(d);
	return err;
}

/* Replaces the current configuration by `c`, or leaves it as it is. Takes `c`. */
static int daemon_apply(struct daemon *d, struct config *c)
{
	struct publication *p = NULL;
	int err = hand_check(c, NULL);

	if (!err)
		err = attachment_extend(d->attachment, c);
	if (!err)
		err = publish(d->parts.ground.maps, d->parts.ground.netns_fd, c, d->publication,
			      &p);
	if (!err) {
		attachment_trim(d->attachment, c);
		earlier_find(&d->parts.ground, c);
		return run_by(d, c, p);
	}
	config_free(c);
	/* A part of `c` may be in the maps: publish the current configuration over it. */
	if (!publish(d->parts.ground.maps, d->parts.ground.netns_fd, d->config, NULL, &p))
		run_by(d, d->config, p);
	attachment_trim(d->attachment, d->config);
	return err;
}

/* Keeps the first error for the verdict, which `pintle reload` shows. */
static void tell_error(void *arg, const char *file, int line, int column, const char *message)
{
	char *first = arg;

	if (!first[0])
		snprintf(first, PINTLE_WHY_SIZE, "%s:%d:%d: %s", file, line, column, message);
	yaml_sink_stderr.error(NULL, file, line, column, message);
}

static int reload_by(struct daemon *d, char why[PINTLE_WHY_SIZE])
{
	const struct yaml_sink sink = {tell_error, yaml_sink_stderr.warning, why};
	struct config *c = NULL;
	int err = settings_reload(d->settings, &sink, &c);

	if (!err) {
		err = hand_check(c, why);
		if (err)
			config_free(c);
	}
	if (err) {
		log_error("the configuration was not reloaded; the current one stays");
		return err;
	}
	warn_of_node(d->config, c);
	look_at_files(c);
	err = daemon_apply(d, c);
	if (err)
		log_error("%s was reloaded only in part; see above", d->config->path);
	else
		log_info("reloaded %s: %zu pool%s", d->config->path, d->config->pool_count,
			 plural(d->config->pool_count));
	tell_unserved(d);
	return err;
}

static void daemon_reload(struct daemon *d)
{
	char why[PINTLE_WHY_SIZE];
	int err;

	log_keep(why, sizeof(why));
	err = reload_by(d, why);
	log_keep(NULL, 0);
	process_reloaded(&d->process, !err);
	settings_done(d->settings, err ? why : NULL);
	if (d->parts.cluster)
		on_cluster(d); /* there may be more room, or less */
}

static void on_reload(uv_timer_t *timer)
{
	notify_reloading();
	daemon_reload(timer->data);
	malloc_trim(0);
	notify_ready(NULL);
}

/* Settings that could not be applied are left out, so that the others are. Returns 0 or -errno,
 * logged. */
static int apply_settings(struct daemon *d)
{
	char why[PINTLE_WHY_SIZE];
	int err;

	do {
		struct config *c = NULL;

		err = settings_configure(d->settings, &c);
		if (err)
			return err;
		log_keep(why, sizeof(why));
		err = daemon_apply(d, c);
		log_keep(NULL, 0);
	} while (err && settings_leave_out(d->settings, why));
	settings_done(d->settings, err ? why : NULL);
	malloc_trim(0);
	return err;
}

static uint64_t hash_found(const struct config_founds *f)
{
	uint64_t hash = HASH_START;

	for (size_t i = 0; i < f->count; i++)
		hash = hash_bytes(hash, f->all[i].text, strlen(f->all[i].text));
	return hash;
}

/* Whether a page of one of the servers of that pool was read, or one of them has none. */
static bool is_read(void *arg, const char *pool)
{
	const struct daemon *d = arg;

	for (size_t i = 0; d->publication && i < d->config->pool_count; i++) {
		const struct config_pool *p = &d->config->pools[i];

		for (size_t k = 0; !strcmp(p->name, pool) && k < p->endpoint_count; k++) {
			const struct pintle_ref *e = &d->publication->pools[i].endpoints[k];

			if (p->endpoints[k].metrics_none ||
			    eligible_scraped_ns(&d->parts.ground.maps->scores[e->id],
						e->generation))
				return true;
		}
	}
	return false;
}

/* Lets the cluster, and `pintle status`, know what became of its pools. */
static void tell_cluster(struct daemon *d)
{
	cluster_judged(d->parts.cluster, settings_found(d->settings), !d->behind, is_read, d);
	cluster_show(d->parts.cluster, d->parts.ground.maps->node);
}

/* Most changes of a Service or a slice change no pool. */
static void on_cluster(void *arg)
{
	struct daemon *d = arg;
	_cleanup_(config_founds_free) struct config_founds f = {0};
	uint64_t hash;

	cluster_room(d->parts.cluster, d->config);
	if (cluster_pools(d->parts.cluster, &f))
		return;
	hash = hash_found(&f);
	if (hash == d->found_hash && !d->behind) {
		tell_cluster(d);
		return;
	}
	settings_find(d->settings, &f);
	d->found_hash = hash;
	/* There may be no room while connections of former endpoints are open: housekeeping tries
	 * again. */
	d->behind = apply_settings(d);
	tell_cluster(d);
}

/* There may be no room for new addresses while connections to former ones are open. */
static void on_hosts(void *arg)
{
	struct daemon *d = arg;

	if (apply_settings(d))
		hosts_refused(d->parts.hosts);
	cluster_room(d->parts.cluster, d->config);
}

static void settle_pods(struct daemon *d)
{
	pods_update(d->parts.pods, d->parts.cluster);
	clients_name_pods(d->parts.clients, pods_left_alone(d->parts.pods));
}

static void on_pods_settle(uv_timer_t *timer)
{
	settle_pods(timer->data);
}

static void daemon_on_pods(void *arg)
{
	struct daemon *d = arg;

	if (!uv_is_active((uv_handle_t *)&d->pods_settle))
		uv_timer_start(&d->pods_settle, on_pods_settle, PODS_SETTLE_MS, 0);
}

static void on_removal(void *arg)
{
	struct daemon *d = arg;

	d->removed = cluster_removed(d->parts.cluster);
	uv_stop(&d->loop);
}

static void look_at_settings(struct daemon *d)
{
	unsigned int news = settings_look(d->settings);

	/* A reload reads the settings, too, so it comes first. */
	if (news & SETTINGS_RELOAD)
		uv_timer_start(&d->reload, on_reload, 0, 0);
	else if (news & SETTINGS_CHANGED)
		apply_settings(d);
}

static void on_tending(uv_timer_t *timer)
{
	struct daemon *d = timer->data;

	look_at_settings(d);
	parts_tick(&d->parts, PARTS_TEND);
	if (!attachment_tend(d->attachment, d->config))
		return;
	/* While a hook was lost, nothing noticed sockets that listened, connected or closed. */
	register_listeners(d->parts.ground.maps, d->parts.ground.netns_fd);
	parts_recount(&d->parts);
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
	int err = publish(d->parts.ground.maps, d->parts.ground.netns_fd, d->config, NULL,
			  &d->publication);

	return err ?: parts_configure(&d->parts, PARTS_LOADED, d->config, d->publication);
}

/* attach.h says why publishing comes before or after the commit. */
static int daemon_steer(struct daemon *d)
{
	bool resumed = d->parts.ground.resumed;
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
	register_listeners(d->parts.ground.maps, d->parts.ground.netns_fd);
	earlier_find(&d->parts.ground, d->config);
	parts_recount(&d->parts);
	d->parts.recounting = attachment_takes_over(d->attachment);
	bindings_walk(d->parts.bindings);
	devices_sweep(&d->parts.ground);
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

static int find_pools(struct daemon *d, const struct state *s)
{
	_cleanup_(config_founds_free) struct config_founds f = {0};
	int err = cluster_restore(d->parts.cluster, s) ?: cluster_pools(d->parts.cluster, &f);

	if (err || !f.count)
		return err;
	d->found_hash = hash_found(&f);
	settings_find(d->settings, &f);
	return 0;
}

/* Until the API server and DNS have answered, the cluster's pools and hosts' addresses are those
 * that are pinned. */
static int daemon_find(struct daemon *d, const struct state *s, bool again)
{
	struct config *c = NULL;
	size_t answers = 0;
	int err = d->parts.cluster ? find_pools(d, s) : 0;

	if (err)
		return err;
	hosts_restore(d->parts.hosts, d->config, s);
	settings_resolve(d->settings, d->parts.hosts);
	hosts_answers(d->parts.hosts, &answers);
	if (!again && !settings_found(d->settings)->count && !answers)
		return 0;
	err = settings_configure(d->settings, &c);
	if (err)
		return err;
	config_free(d->config);
	d->config = c;
	return 0;
}

static int daemon_find_first(struct daemon *d)
{
	struct state *s = NULL;
	int err = restore_state(d->config->bpffs, &s);

	if (err)
		return log_err_r(err, "failed to read what is pinned under %s", d->config->bpffs);
	err = cluster_new(d->config, &d->parts.cluster) ?: hosts_new(&d->parts.hosts);
	if (!err)
		err = daemon_find(d, s, false);
	state_free(s);
	return err;
}

/* What another build pinned, settings among it, can be read only now. */
static int daemon_find_carried(struct daemon *d)
{
	struct state *s = NULL;
	int err = state_read(d->parts.ground.maps, &s);

	if (err)
		return log_err_r(err, "failed to read what was carried over");
	err = daemon_find(d, s, true);
	state_free(s);
	return err;
}

/* Loads the programs: from here on there are maps. */
static int daemon_load(struct daemon *d)
{
	int err = attachment_prepare(d->config, &d->attachment);

	if (err)
		return err;
	d->parts.ground = *attachment_ground(d->attachment);
	d->parts.ground.loop = &d->loop;
	settings_use(d->settings, d->parts.ground.maps);
	return 0;
}

static int daemon_follow_cluster(struct daemon *d)
{
	int err;

	if (!d->parts.cluster) {
		settle_pods(d);
		return 0;
	}
	err = cluster_start(d->parts.cluster, &d->loop, on_cluster, d);
	if (!err)
		err = cluster_watch_pods(d->parts.cluster, daemon_on_pods, d);
	if (!err)
		err = cluster_watch_removal(d->parts.cluster, &d->loop, false, on_removal, d);
	if (!err && attachment_part(d->attachment))
		cluster_tell_node(d->parts.cluster, attachment_part(d->attachment));
	return err;
}

static void start_clocks(struct daemon *d)
{
	d->started_ns = monotonic_ns();
	d->watchdog_ns = notify_watchdog_interval_ns();
	start_heartbeat(d);
	uv_timer_start(&d->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
	uv_timer_start(&d->tending, on_tending, TEND_MS, TEND_MS);
}

/* Whatever is likely to fail comes before the first change to what steers. */
static int daemon_start(struct daemon *d)
{
	int err = daemon_find_first(d);

	err = err ?: hand_check(d->config, NULL);
	err = err ?: look_at_files(d->config);
	err = err ?: daemon_load(d);
	if (!err && attachment_takes_over(d->attachment))
		err = daemon_find_carried(d);
	d->parts.config = d->config;
	err = err ?: parts_new(&d->parts, PARTS_LOADED);
	err = err ?: daemon_steer(d);
	if (err)
		return err;
	tell_unserved(d);
	err = daemon_follow_cluster(d);
	if (err)
		return err;
	cluster_show(d->parts.cluster, d->parts.ground.maps->node);
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
				     .exporter_callbacks = &exporter_callbacks,
				     .on_hosts = on_hosts}};
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
