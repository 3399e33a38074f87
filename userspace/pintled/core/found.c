/* SPDX-License-Identifier: Apache-2.0 */
/* found.c - pools and addresses that the file does not have: of the cluster, and of hosts. */
#include "../../base/hash.h"

#include <assert.h>
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/kernel.h"
#include "../../maps/state.h"
#include "../attach/attach.h"
#include "../attach/restore.h"
#include "../publish/client_pods.h"
#include "../publish/clients.h"
#include "../publish/cluster.h"
#include "daemon_internal.h"
#include "hosts.h"
#include "rule/eligible.bpf.h"

#define PODS_SETTLE_MS 50 /* a pod's objects change several times in a row */

static uint64_t hash_found(const struct config_founds *f)
{
	uint64_t hash = HASH_START;

	for (size_t i = 0; i < f->count; i++)
		hash = hash_bytes(hash, f->all[i].text, strlen(f->all[i].text));
	return hash;
}

/* Whether a page of one of the servers of that pool was read, or one of them has none. */
static bool found_is_read(void *arg, const char *pool)
{
	const struct daemon *d = arg;

	for (size_t i = 0; d->publication && i < d->config->pool_count; i++) {
		const struct config_pool *p = &d->config->pools[i];

		for (size_t k = 0; !strcmp(p->name, pool) && k < p->endpoint_count; k++) {
			const struct pintle_ref *e = &d->publication->pools[i].endpoints[k];

			if (p->endpoints[k].metrics_none ||
			    eligible_scraped_ns(&d->parts.ground->maps->scores[e->id],
						e->generation))
				return true;
		}
	}
	return false;
}

/* Returns the pool's place in the configuration; pool_count: it is not there. */
static size_t found_place(const struct daemon *d, const char *pool)
{
	size_t i = 0;

	while (i < d->config->pool_count && strcmp(d->config->pools[i].name, pool) != 0)
		i++;
	return i;
}

static uint64_t found_opened(const struct daemon *d, size_t pool)
{
	const struct published_pool *p = &d->publication->pools[pool];
	uint64_t sum = 0;

	for (size_t k = 0; k < d->config->pools[pool].endpoint_count; k++)
		for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++)
			sum += d->parts.ground->maps->inflight[p->endpoints[k].id]
				       .by_class[i]
				       .opened;
	return sum;
}

/* Keeps how many connections were opened before. */
static const char *found_by_connection(void *arg, const char *pool, uint64_t *kept)
{
	const struct daemon *d = arg;
	const struct maps *m = d->parts.ground->maps;
	size_t i = found_place(d, pool);
	struct pintle_ref ref;
	uint64_t opened;

	if (!d->publication || i == d->config->pool_count)
		return NULL;
	if (d->config->pools[i].decide != PINTLE_DECIDE_REQUEST)
		return "`pintle set` has decide: connection on this node";
	ref = d->publication->pools[i].ref;
	opened = found_opened(d, i) + 1;
	*kept = *kept && *kept <= opened ? *kept : opened;
	return state_by_connection(kernel_hands_over(),
				   state_mode_now(m, &ref, d->config->pools[i].mode),
				   opened > *kept, m->node);
}

static const struct config_model *found_lost_model(void *arg, const char *pool)
{
	const struct daemon *d = arg;
	const struct config_pool *p = config_pool_named(d->config, pool);

	for (size_t i = 0; p && i < p->model_count; i++)
		if (!config_pool_named(d->config, p->models[i].pool))
			return &p->models[i];
	return NULL;
}

/* Lets the cluster, and `pintle status`, know what became of its pools. */
void found_tell(struct daemon *d)
{
	const struct kube_judge judge = {d, found_is_read, found_by_connection, found_lost_model};

	cluster_judged(d->parts.cluster, settings_found(d->settings), !d->behind, &judge);
	cluster_show(d->parts.cluster, d->parts.ground->maps->node);
}

/* Most changes of a Service or a slice change no pool. */
void found_again(void *arg)
{
	struct daemon *d = arg;
	_cleanup_(config_founds_free) struct config_founds f = {0};
	uint64_t hash;

	assert(d->parts.cluster);
	cluster_room(d->parts.cluster, d->config);
	if (cluster_pools(d->parts.cluster, &f))
		return;
	hash = hash_found(&f);
	if (hash == d->found_hash && !d->behind) {
		found_tell(d);
		return;
	}
	settings_find(d->settings, &f);
	d->found_hash = hash;
	/* There may be no room while connections of former endpoints are open: housekeeping tries
	 * again. */
	d->behind = reload_settings(d);
	found_tell(d);
}

/* There may be no room for new addresses while connections to former ones are open. */
void found_hosts(void *arg)
{
	struct daemon *d = arg;

	if (reload_settings(d))
		hosts_refused(d->parts.hosts);
	cluster_room(d->parts.cluster, d->config);
}

static void settle_pods(struct daemon *d)
{
	client_pods_update(d->parts.client_pods, d->parts.cluster);
	clients_name_pods(d->parts.clients, client_pods_left_alone(d->parts.client_pods));
}

static void on_pods_settle(uv_timer_t *timer)
{
	settle_pods(timer->data);
}

static void found_on_pods(void *arg)
{
	struct daemon *d = arg;

	if (!uv_is_active((uv_handle_t *)&d->pods_settle))
		uv_timer_start(&d->pods_settle, on_pods_settle, PODS_SETTLE_MS, 0);
}

static void found_on_removal(void *arg)
{
	struct daemon *d = arg;

	d->removed = cluster_removed(d->parts.cluster);
	uv_stop(&d->loop);
}

/* ---- at the start ------------------------------------------------------------------- */

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
static int found_restore(struct daemon *d, const struct state *s, bool again)
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

int found_first(struct daemon *d)
{
	struct state *s = NULL;
	int err = restore_state(d->config->bpffs, &s);

	if (err)
		return log_err_r(err, "failed to read what is pinned under %s", d->config->bpffs);
	err = cluster_new(d->config, &d->parts.cluster) ?: hosts_new(&d->parts.hosts);
	if (!err)
		err = found_restore(d, s, false);
	state_free(s);
	return err;
}

/* What another build pinned, settings among it, can be read only now. */
int found_carried(struct daemon *d)
{
	struct state *s = NULL;
	int err = state_read(d->parts.ground->maps, &s);

	if (err)
		return log_err_r(err, "failed to read what was carried over");
	err = found_restore(d, s, true);
	state_free(s);
	return err;
}

int found_follow(struct daemon *d)
{
	int err;

	if (!d->parts.cluster) {
		settle_pods(d);
		return 0;
	}
	err = cluster_start(d->parts.cluster, &d->loop, found_again, d);
	if (!err)
		err = cluster_watch_pods(d->parts.cluster, found_on_pods, d);
	if (!err)
		err = cluster_watch_removal(d->parts.cluster, &d->loop, false, found_on_removal, d);
	if (!err && attachment_part(d->attachment))
		cluster_tell_node(d->parts.cluster, attachment_part(d->attachment));
	return err;
}
