/* SPDX-License-Identifier: Apache-2.0 */
/* reload.c - the configuration that the daemon runs by: the file, and the settings over it. */
#include <assert.h>
#include <malloc.h>

#include "../../base/files.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../config/config_here.h"
#include "../attach/attach.h"
#include "../devices/hand.h"
#include "../observe/earlier.h"
#include "../publish/publish.h"
#include "daemon_internal.h"

/* The heartbeat must always be much younger than any pool's staleness limit; and readers take a
 * heartbeat older than STATE_HEARTBEAT_NS for a dead daemon. */
#define HEARTBEAT_MAX_MS 500
#define HEARTBEAT_MIN_MS 20
#define UNREADY_MS       50ULL /* between heartbeats until the daemon is ready */
/* Open files: maps, programs and links during the start, clients of /metrics; and for each endpoint
 * a connection to its metrics page and to its GPU's. */
#define FILES_LEAST        256
#define FILES_PER_ENDPOINT 2

/* ---- open files ------------------------------------------------------------------ */

#define FILES_CURE "raise LimitNOFILE= of its unit, or ulimit -n"

/* Returns -EMFILE where so few files may be open that even the start would fail half-way. */
int reload_check_files(const struct config *c)
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

/* ---- what follows from it ---------------------------------------------------------- */

uint64_t reload_heartbeat_ms(const struct daemon *d)
{
	uint64_t ms = d->ready_told ? HEARTBEAT_MAX_MS : UNREADY_MS;

	for (size_t i = 0; i < d->config->pool_count; i++)
		ms = MIN(ms, d->config->pools[i].saturation.staleness_ns / NSEC_PER_MSEC / 4);
	return MAX(ms, (uint64_t)HEARTBEAT_MIN_MS);
}

static bool reload_differs(const char *a, const char *b)
{
	return (a || b) && (!a || !b || strcmp(a, b));
}

/* What is under `node` is fixed from attaching to detaching. */
static void warn_of_node(const struct config *old, const struct config *new)
{
	if (reload_differs(old->bpffs, new->bpffs) || reload_differs(old->netns, new->netns) ||
	    reload_differs(old->cgroup, new->cgroup) ||
	    reload_differs(old->metrics, new->metrics) || reload_differs(old->group, new->group) ||
	    reload_differs(old->key_file, new->key_file))
		log_warn("a change under node: takes effect at the next start of pintled; "
			 "pools are reloaded now");
	if (old->kubernetes != new->kubernetes ||
	    reload_differs(old->kubeconfig, new->kubeconfig) ||
	    reload_differs(old->kube_node, new->kube_node) ||
	    reload_differs(old->gpu_exporter.space, new->gpu_exporter.space) ||
	    reload_differs(old->gpu_exporter.name, new->gpu_exporter.name))
		log_warn("a change of kubernetes takes effect at the next start of pintled");
}

static void reload_tell_lack(void *arg, int line, const char *what)
{
	const struct config *c = arg;

	log_warn("%s:%d: %s", c->path, line, what);
}

/* Such a configuration runs: an address may come, and go, while pintled runs. */
void reload_tell_unserved(const struct daemon *d)
{
	config_here(d->config, d->parts.ground->netns_fd, d->parts.cluster, reload_tell_lack,
		    d->config);
}

static int configure_parts(struct daemon *d, const struct config *c, const struct publication *p)
{
	int err = parts_configure(&d->parts, PARTS_LOADED, c, p);

	return parts_configure(&d->parts, PARTS_ATTACHED, c, p) ?: err;
}

/* Takes `c` and `p`. The parts refer to the former ones until they are told of these. */
static int reload_run_by(struct daemon *d, struct config *c, struct publication *p)
{
	int err = configure_parts(d, c, p);

	publication_free(d->publication);
	d->publication = p;
	if (d->config != c)
		config_free(d->config);
	d->config = c;
	/* At once: the next one of the former period may be too late for a pool. */
	uv_timer_start(&d->heartbeat, d->beat, 0, reload_heartbeat_ms(d));
	return err;
}

/* Replaces the current configuration by `c`, or leaves it as it is. Takes `c`. */
static int reload_apply(struct daemon *d, struct config *c)
{
	struct publication *p = NULL;
	int err = hand_check(c, NULL);

	assert(d->publication /* of the current configuration */);
	if (!err)
		err = attachment_extend(d->attachment, c);
	if (!err)
		err = publish(d->parts.ground->maps, d->parts.ground->netns_fd, c, d->publication,
			      &p);
	if (!err) {
		attachment_trim(d->attachment, c);
		earlier_find(d->parts.ground, c);
		return reload_run_by(d, c, p);
	}
	config_free(c);
	/* A part of `c` may be in the maps: publish the current configuration over it. */
	if (!publish(d->parts.ground->maps, d->parts.ground->netns_fd, d->config, NULL, &p))
		reload_run_by(d, d->config, p);
	attachment_trim(d->attachment, d->config);
	return err;
}

/* Keeps the first error for the verdict, which `pintle reload` shows. */
static void reload_tell_error(void *arg, const char *file, int line, int column,
			      const char *message)
{
	char *first = arg;

	if (!first[0])
		snprintf(first, PINTLE_WHY_SIZE, "%s:%d:%d: %s", file, line, column, message);
	yaml_sink_stderr.error(NULL, file, line, column, message);
}

int reload_file(struct daemon *d, char why[PINTLE_WHY_SIZE])
{
	const struct yaml_sink sink = {reload_tell_error, yaml_sink_stderr.warning, why};
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
	reload_check_files(c);
	err = reload_apply(d, c);
	if (err)
		log_error("%s was reloaded only in part; see above", d->config->path);
	else
		log_info("reloaded %s: %zu pool%s", d->config->path, d->config->pool_count,
			 plural(d->config->pool_count));
	reload_tell_unserved(d);
	return err;
}

/* Settings that could not be applied are left out, so that the others are. Returns 0 or -errno,
 * logged. */
int reload_settings(struct daemon *d)
{
	char why[PINTLE_WHY_SIZE];
	int err;

	do {
		struct config *c = NULL;

		err = settings_configure(d->settings, &c);
		if (err)
			return err;
		log_keep(why, sizeof(why));
		err = reload_apply(d, c);
		log_keep(NULL, 0);
	} while (err && settings_leave_out(d->settings, why));
	settings_done(d->settings, err ? why : NULL);
	malloc_trim(0);
	return err;
}
