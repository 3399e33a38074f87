/* SPDX-License-Identifier: Apache-2.0 */
#include "telemetry.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "../base/log.h"
#include "../maps/names.h"
#include "../maps/state.h"
#include "../base/util.h"
#include "traits.bpf.h"

/* Maps that forget: kept in one place with what it means when one is full. */
static const struct {
	enum map_id map;
	const char *means;
} lru_table[] = {
	{MAP_affinity, "sessions that were idle longest lose their binding"},
	{MAP_affinity_beyond, "clients with more than their share of sessions lose bindings"},
	{MAP_pending, "connections still in their handshake may be decided twice"},
};

/* What an endpoint's `health` said when it was last looked at. */
struct seen {
	uint64_t ejections;
	uint64_t failures[PINTLE_FAILURE_COUNT];
	bool failed; /* ejected, and nobody was answered since */
};

struct telemetry {
	const struct maps *m;
	uint64_t told_ns;
	unsigned int told; /* within a second of that */
	struct seen seen[PINTLE_MAX_ENDPOINTS];
	double fill[ARRAY_SIZE(lru_table)];
	bool warned[ARRAY_SIZE(lru_table)];
};

/* ---- ejections ---------------------------------------------------------------------- */

#define TOLD_MAX 20 /* lines a second: a pool that is down as a whole must not fill the disk */

static bool may_tell(struct telemetry *t, uint64_t now)
{
	if (now - t->told_ns >= NSEC_PER_SEC) {
		t->told_ns = now;
		t->told = 0;
	}
	return t->told++ < TOLD_MAX;
}

static bool name_of(const struct telemetry *t, uint32_t slot, char to[PINTLE_NAME_SIZE])
{
	struct pintle_name n;

	if (maps_value(t->m, MAP_names, slot, &n))
		return false;
	state_text(to, PINTLE_NAME_SIZE, n.name, sizeof(n.name));
	return true;
}

/* "POOL/ENDPOINT" of an endpoint that there is. */
static bool whole_name_of(const struct telemetry *t, uint32_t id, char to[2 * PINTLE_NAME_SIZE])
{
	char pool[PINTLE_NAME_SIZE], endpoint[PINTLE_NAME_SIZE];
	struct pintle_endpoint e;

	if (maps_value(t->m, MAP_endpoints, id, &e) || !e.pool_generation ||
	    !name_of(t, e.pool, pool) || !name_of(t, PINTLE_ENDPOINT_SLOT(id), endpoint))
		return false;
	snprintf(to, 2 * PINTLE_NAME_SIZE, "%s/%s", pool, endpoint);
	return true;
}

/* " (refused, reset)": the kinds of failure that came since the last look. */
static void failures_since(const struct seen *before, const struct seen *now, char *to, size_t size)
{
	size_t n = 0;

	*to = '\0';
	for (uint32_t k = 0; k < PINTLE_FAILURE_COUNT && n < size; k++)
		if (now->failures[k] != before->failures[k])
			n += (size_t)snprintf(to + n, size - n, "%s%s", n ? ", " : " (",
					      failure_name(k));
	if (n && n < size)
		snprintf(to + n, size - n, ")");
}

static void tell_ejection(struct telemetry *t, uint32_t id, const struct seen *before,
			  const struct seen *now)
{
	uint64_t until = __atomic_load_n(&t->m->health[id].ejected_until_ns, __ATOMIC_RELAXED);
	char name[2 * PINTLE_NAME_SIZE], kinds[64], time[64] = "was ejected";
	uint64_t at = monotonic_ns();

	if (!may_tell(t, at) || !whole_name_of(t, id, name))
		return;
	if (until > at)
		snprintf(time, sizeof(time), "is ejected for another %.1f s",
			 (double)(until - at) / (double)NSEC_PER_SEC);
	failures_since(before, now, kinds, sizeof(kinds));
	log_warn("%s %s: it failed its clients several times in a row%s", name, time, kinds);
}

static void tell_return(struct telemetry *t, uint32_t id)
{
	char name[2 * PINTLE_NAME_SIZE];

	if (may_tell(t, monotonic_ns()) && whole_name_of(t, id, name))
		log_info("%s answers its clients again", name);
}

static struct seen see(const struct pintle_health *h)
{
	struct seen s = {
		.ejections = __atomic_load_n(&h->ejections, __ATOMIC_RELAXED),
		.failed = __atomic_load_n(&h->ejected_in_a_row, __ATOMIC_RELAXED),
	};

	for (int k = 0; k < PINTLE_FAILURE_COUNT; k++)
		s.failures[k] = __atomic_load_n(&h->failures[k], __ATOMIC_RELAXED);
	return s;
}

/* An id that was given to another endpoint begins anew, with fewer ejections or none. */
static void tell_changes(struct telemetry *t, uint32_t id)
{
	struct seen before = t->seen[id], now = see(&t->m->health[id]);
	bool ejected = now.ejections > before.ejections;

	t->seen[id] = now;
	if (ejected)
		tell_ejection(t, id, &before, &now);
	if (now.ejections && !now.failed && (ejected || before.failed))
		tell_return(t, id);
}

void telemetry_look(struct telemetry *t)
{
	for (uint32_t id = 0; id < PINTLE_MAX_ENDPOINTS; id++)
		tell_changes(t, id);
}

int telemetry_new(const struct maps *m, struct telemetry **out)
{
	struct telemetry *t = calloc(1, sizeof(*t));

	if (!t)
		return log_err_r(ENOMEM, "telemetry");
	t->m = m;
	for (uint32_t id = 0; id < PINTLE_MAX_ENDPOINTS; id++)
		t->seen[id] = see(&m->health[id]);
	*out = t;
	return 0;
}

void telemetry_free(struct telemetry *t)
{
	free(t);
}

/* ---- maps that forget --------------------------------------------------------------- */

/* Entries at once: more than any bucket has. */
#define FILL_BATCH 4096

/* By batches, which go from bucket to bucket: entries come and go meanwhile, and a walk from key to
 * key would begin again at each key that went. */
static double map_fill(int fd)
{
	_cleanup_free_ void *keys = NULL, *values = NULL;
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), at = 0, n;
	uint64_t found = 0;
	int err = 0;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) || !info.max_entries)
		return 0;
	keys = calloc(FILL_BATCH, info.key_size);
	values = calloc(FILL_BATCH, info.value_size);
	if (!keys || !values)
		return 0;
	for (bool first = true; !err && found < info.max_entries; first = false) {
		n = FILL_BATCH;
		err = bpf_map_lookup_batch(fd, first ? NULL : &at, &at, keys, values, &n, NULL);
		if (!err || err == -ENOENT)
			found += n;
	}
	return (double)MIN(found, (uint64_t)info.max_entries) / info.max_entries;
}

void telemetry_check_fill(struct telemetry *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(lru_table); i++) {
		t->fill[i] = map_fill(t->m->fd[lru_table[i].map]);
		if (t->fill[i] > 0.8 && !t->warned[i]) {
			log_warn("map %s is %.0f %% full; when it is full, %s",
				 map_names[lru_table[i].map], 100 * t->fill[i], lru_table[i].means);
			t->warned[i] = true;
		}
	}
}

/* ---- /metrics --------------------------------------------------------------------- */

struct page {
	struct metrics_text *out;
	const struct state *state;
	const struct telemetry *telemetry;
	const struct poller *poller;
	const struct config *config;
	size_t clients;
};

static const struct poll_counters *counters_of(const struct page *p, const struct state_endpoint *e)
{
	static const struct poll_counters none;
	const struct poll_counters *c = poller_counters(p->poller, e->id);

	return c ? c : &none;
}

static const struct pintle_ends *ends_of(const struct page *p, const struct state_endpoint *e)
{
	return &p->telemetry->m->ends[e->id];
}

#define SUM(p, e, member) __atomic_load_n(&ends_of(p, e)->member, __ATOMIC_RELAXED)

/* One row each family of endpoints: a value, and whether there is one. */
#define VALUE_FN(name, known, expression)                                                          \
	static bool name(const struct page *p, const struct state_endpoint *e, double *v)          \
	{                                                                                          \
		(void)p;                                                                           \
		if (!(known))                                                                      \
			return false;                                                              \
		*v = (double)(expression);                                                         \
		return true;                                                                       \
	}
VALUE_FN(value_load, true, e->load)
VALUE_FN(value_in_flight, true, e->in_flight)
VALUE_FN(value_direct, true, e->direct)
VALUE_FN(value_age, e->has_age, e->age_seconds)
VALUE_FN(value_waiting, e->has_waiting, e->waiting)
VALUE_FN(value_running, e->has_running, e->running)
VALUE_FN(value_kv_cache, e->has_kv_cache, e->kv_cache)
VALUE_FN(value_gpu, e->has_gpu, e->gpu)
VALUE_FN(value_gpu_memory, poller_gpu_memory(p->poller, e->id) >= 0,
	 poller_gpu_memory(p->poller, e->id))
VALUE_FN(value_ready, true,
	 e->state == STATE_READY || e->state == STATE_SATURATED || e->state == STATE_STALE)
VALUE_FN(value_saturated, true, e->saturated)
VALUE_FN(value_drained, true, e->drained)
#define HAS(trait) hook_has(p->state->pools[e->pool].decided_by, PINTLE_TRAIT_##trait)
VALUE_FN(value_ejected, HAS(EJECTS), e->ejected)
VALUE_FN(value_ejections, HAS(EJECTS), e->ejections)
VALUE_FN(value_placed, true, e->placed)
VALUE_FN(value_opened, true, e->opened)
VALUE_FN(value_closed, true, e->closed)
VALUE_FN(value_unopened, true, e->failed)
VALUE_FN(value_scrapes, true, counters_of(p, e)->scrapes)
VALUE_FN(value_scrape_failures, true, counters_of(p, e)->failures)
VALUE_FN(value_received, true, SUM(p, e, bytes_received))
VALUE_FN(value_sent, true, SUM(p, e, bytes_acknowledged))
VALUE_FN(value_duration, true, (double)SUM(p, e, duration_ns) / (double)NSEC_PER_SEC)
#define SIGNAL_FN(name, signal)                                                                    \
	VALUE_FN(name, counters_of(p, e)->signals.present[signal],                                 \
		 counters_of(p, e)->signals.value[signal])
SIGNAL_FN(value_prefix_hits, SIGNAL_PREFIX_HITS)
SIGNAL_FN(value_prefix_queries, SIGNAL_PREFIX_QUERIES)
SIGNAL_FN(value_prompt_tokens, SIGNAL_PROMPT_TOKENS)
SIGNAL_FN(value_output_tokens, SIGNAL_OUTPUT_TOKENS)

static const struct {
	const char *name;
	enum metrics_type type;
	const char *help;
	bool (*value)(const struct page *p, const struct state_endpoint *e, double *v);
} endpoint_families[] = {
	{"pintle_endpoint_load", METRICS_GAUGE,
	 "Load in request equivalents, as the rule sees it now.", value_load},
	{"pintle_endpoint_in_flight", METRICS_GAUGE, "Steered connections that are open.",
	 value_in_flight},
	{"pintle_endpoint_direct_connections", METRICS_GAUGE,
	 "Open connections that were not steered, such as scrapes and probes.", value_direct},
	{"pintle_endpoint_score_age_seconds", METRICS_GAUGE,
	 "Time since the newest good scrape began.", value_age},
	{"pintle_endpoint_waiting_requests", METRICS_GAUGE,
	 "Requests in the model server's queue, as scraped.", value_waiting},
	{"pintle_endpoint_running_requests", METRICS_GAUGE,
	 "Requests that the model server works on, as scraped.", value_running},
	{"pintle_endpoint_kv_cache_usage_ratio", METRICS_GAUGE,
	 "Share of the KV cache in use, as scraped.", value_kv_cache},
	{"pintle_endpoint_gpu_utilization_ratio", METRICS_GAUGE,
	 "Utilisation of the busiest of its GPUs, by DCGM.", value_gpu},
	{"pintle_endpoint_gpu_memory_usage_ratio", METRICS_GAUGE,
	 "Share of memory in use on the fullest of its GPUs, by DCGM.", value_gpu_memory},
	{"pintle_endpoint_ready", METRICS_GAUGE, "1: it may be chosen.", value_ready},
	{"pintle_endpoint_saturated", METRICS_GAUGE, "1: over a threshold of its pool.",
	 value_saturated},
	{"pintle_endpoint_drained", METRICS_GAUGE, "1: takes no further connection.",
	 value_drained},
	{"pintle_endpoint_ejected", METRICS_GAUGE,
	 "1: left out for a while, since it failed its clients.", value_ejected},
	{"pintle_endpoint_ejections_total", METRICS_COUNTER, "How often it was ejected.",
	 value_ejections},
	{"pintle_endpoint_placements_total", METRICS_COUNTER, "Decisions for it.", value_placed},
	{"pintle_endpoint_connections_opened_total", METRICS_COUNTER,
	 "Steered connections that were established.", value_opened},
	{"pintle_endpoint_connections_closed_total", METRICS_COUNTER,
	 "Steered connections that ended.", value_closed},
	{"pintle_endpoint_placements_failed_total", METRICS_COUNTER,
	 "Placements known to have ended before they were established.", value_unopened},
	{"pintle_endpoint_received_bytes_total", METRICS_COUNTER,
	 "Bytes from clients, of connections that ended.", value_received},
	{"pintle_endpoint_sent_bytes_total", METRICS_COUNTER,
	 "Bytes that clients acknowledged, of connections that ended.", value_sent},
	{"pintle_endpoint_connection_seconds_total", METRICS_COUNTER,
	 "Durations of connections that ended, summed.", value_duration},
	{"pintle_endpoint_scrapes_total", METRICS_COUNTER, "Scrapes that are over.", value_scrapes},
	{"pintle_endpoint_scrape_failures_total", METRICS_COUNTER,
	 "Scrapes that failed or gave a bad page.", value_scrape_failures},
	{"pintle_endpoint_prefix_cache_hits_total", METRICS_COUNTER,
	 "Prompt tokens found in the prefix cache, as the model server counts them.",
	 value_prefix_hits},
	{"pintle_endpoint_prefix_cache_queries_total", METRICS_COUNTER,
	 "Prompt tokens looked up in the prefix cache, as the model server counts them.",
	 value_prefix_queries},
	{"pintle_endpoint_prompt_tokens_total", METRICS_COUNTER,
	 "Prompt tokens, as the model server counts them.", value_prompt_tokens},
	{"pintle_endpoint_generation_tokens_total", METRICS_COUNTER,
	 "Generated tokens, as the model server counts them.", value_output_tokens},
};

/* What is left of each endpoint with node.metricsDetail main: what alerts and boards look at. */
static const char *const main_families[] = {
	"pintle_endpoint_load",
	"pintle_endpoint_in_flight",
	"pintle_endpoint_score_age_seconds",
	"pintle_endpoint_waiting_requests",
	"pintle_endpoint_running_requests",
	"pintle_endpoint_kv_cache_usage_ratio",
	"pintle_endpoint_ready",
	"pintle_endpoint_drained",
	"pintle_endpoint_ejected",
	"pintle_endpoint_ejections_total",
	"pintle_endpoint_placements_total",
	"pintle_endpoint_connections_opened_total",
	"pintle_endpoint_scrape_failures_total",
};

static bool is_shown(const struct page *p, const char *family)
{
	bool shown = p->config->detail == DETAIL_ALL;

	for (size_t i = 0; !shown && i < ARRAY_SIZE(main_families); i++)
		shown = !strcmp(family, main_families[i]);
	return shown;
}

static void render_endpoints(const struct page *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(endpoint_families); i++) {
		if (!is_shown(p, endpoint_families[i].name))
			continue;
		metrics_family(p->out, endpoint_families[i].name, endpoint_families[i].type,
			       endpoint_families[i].help);
		for (size_t j = 0; j < p->state->endpoint_count; j++) {
			const struct state_endpoint *e = &p->state->endpoints[j];
			double v;

			if (endpoint_families[i].value(p, e, &v))
				metrics_sample(p->out, v, "pool", p->state->pools[e->pool].name,
					       "endpoint", e->name, NULL);
		}
	}
	if (p->config->detail != DETAIL_ALL)
		return;
	metrics_family(p->out, "pintle_endpoint_failures_total", METRICS_COUNTER,
		       "Connections of clients that it failed, by how.");
	for (size_t j = 0; j < p->state->endpoint_count; j++) {
		const struct state_endpoint *e = &p->state->endpoints[j];

		for (uint32_t k = 0; HAS(FAILURES) && k < PINTLE_FAILURE_COUNT; k++)
			metrics_sample_u64(p->out, e->failures[k], "pool",
					   p->state->pools[e->pool].name, "endpoint", e->name,
					   "failure", failure_name(k), NULL);
	}
	metrics_family(p->out, "pintle_connections_ended_total", METRICS_COUNTER,
		       "Steered connections that ended, by how.");
	for (size_t j = 0; j < p->state->endpoint_count; j++)
		for (uint32_t k = 0; k < PINTLE_ENDING_COUNT; k++)
			metrics_sample_u64(
				p->out, SUM(p, &p->state->endpoints[j], count[k]), "pool",
				p->state->pools[p->state->endpoints[j].pool].name, "endpoint",
				p->state->endpoints[j].name, "how", ending_name(k), NULL);
}

static const struct pintle_bindings *bindings_of(const struct page *p, size_t pool)
{
	return &p->telemetry->m->bindings[p->state->pools[pool].id];
}

static void render_pools(const struct page *p)
{
	const struct state *s = p->state;

	metrics_family(p->out, "pintle_decisions_total", METRICS_COUNTER,
		       "Decisions, by why the connection went where it went.");
	for (size_t i = 0; i < s->pool_count; i++)
		for (uint32_t o = 0; o < PINTLE_OUTCOME_COUNT; o++)
			metrics_sample_u64(p->out, s->pools[i].decisions[o], "pool",
					   s->pools[i].name, "outcome", outcome_name(o), NULL);
	metrics_family(p->out, "pintle_pool_saturation", METRICS_GAUGE,
		       "Mean over the endpoints of max(waiting / queueDepth, kv / kvCache); "
		       "from 1 on the pool is saturated.");
	for (size_t i = 0; i < p->config->pool_count; i++)
		metrics_sample(p->out, poller_saturation(p->poller, i), "pool",
			       p->config->pools[i].name, NULL);
	metrics_family(p->out, "pintle_pool_ready_endpoints", METRICS_GAUGE,
		       "Endpoints that may be chosen.");
	for (size_t i = 0; i < s->pool_count; i++)
		metrics_sample_u64(p->out, s->pools[i].ready_count, "pool", s->pools[i].name, NULL);
	metrics_family(p->out, "pintle_pool_info", METRICS_GAUGE,
		       "1; labels say which hook decides it, and what makes a session.");
	for (size_t i = 0; i < s->pool_count; i++)
		metrics_sample_u64(p->out, 1, "pool", s->pools[i].name, "hook",
				   hook_name(s->pools[i].decided_by), "key",
				   key_name(s->pools[i].key_kind), NULL);
	metrics_family(p->out, "pintle_bindings", METRICS_GAUGE,
		       "Sessions that are bound to an endpoint.");
	for (size_t i = 0; i < s->pool_count; i++)
		metrics_sample_u64(p->out, bindings_of(p, i)->held, "pool", s->pools[i].name, NULL);
	metrics_family(p->out, "pintle_bindings_evicted_total", METRICS_COUNTER,
		       "Bindings that were forgotten for want of room.");
	for (size_t i = 0; i < s->pool_count; i++)
		metrics_sample_u64(p->out, bindings_of(p, i)->evicted, "pool", s->pools[i].name,
				   NULL);
	metrics_family(
		p->out, "pintle_pool_largest_session_ratio", METRICS_GAUGE,
		"Share of the newest connections that one session makes, if more than half.");
	for (size_t i = 0; i < s->pool_count; i++)
		metrics_sample(p->out, s->pools[i].largest_share, "pool", s->pools[i].name, NULL);
	metrics_family(p->out, "pintle_pool_endpoints", METRICS_GAUGE, "Endpoints configured.");
	for (size_t i = 0; i < s->pool_count; i++)
		metrics_sample_u64(p->out, s->pools[i].endpoint_count, "pool", s->pools[i].name,
				   NULL);
	metrics_family(p->out, "pintle_pool_mode", METRICS_GAUGE, "1 for the mode that holds.");
	for (size_t i = 0; i < s->pool_count; i++)
		for (uint32_t m = 0; m < PINTLE_MODE_COUNT; m++)
			metrics_sample_u64(p->out, s->pools[i].mode == m, "pool", s->pools[i].name,
					   "mode", mode_name(m), NULL);
}

static void render_oneshot(const struct page *p)
{
	const struct state *s = p->state;

	metrics_family(p->out, "pintle_pool_requests", METRICS_GAUGE,
		       "1 for how the requests of a connection come that holds.");
	for (size_t i = 0; i < s->pool_count; i++)
		for (uint32_t r = 0; r < PINTLE_REQUESTS_COUNT; r++)
			metrics_sample_u64(p->out, s->pools[i].requests == r, "pool",
					   s->pools[i].name, "requests", requests_name(r), NULL);
	metrics_family(p->out, "pintle_first_segments_total", METRICS_COUNTER,
		       "First segments of connections, by what one-shot did with them.");
	for (size_t i = 0; i < s->pool_count; i++)
		for (uint32_t o = 0; o < PINTLE_ONESHOT_COUNT; o++)
			metrics_sample_u64(p->out, s->pools[i].oneshots[o], "pool",
					   s->pools[i].name, "oneshot", oneshot_name(o), NULL);
	metrics_family(p->out, "pintle_oneshot_places", METRICS_GAUGE,
		       "Where one-shot is attached: a direction of a device each.");
	metrics_sample_u64(p->out, s->node.places, NULL);
}

static void render_node(const struct page *p)
{
	const struct pintle_node *n = &p->state->node;

	metrics_family(p->out, "pintle_build_info", METRICS_GAUGE, "1; labels say what runs.");
	metrics_sample_u64(p->out, 1, "version", PINTLE_VERSION, NULL);
	metrics_family(
		p->out, "pintle_attached_seconds", METRICS_GAUGE,
		"Time since the programs were attached; restarts of the daemon do not end it.");
	metrics_sample(p->out, (double)(p->state->now_ns - n->attached_ns) / 1e9, NULL);
	metrics_family(
		p->out, "pintle_in_flight_drift_total", METRICS_COUNTER,
		"Connections by which in-flight counts were ever found wrong and put right.");
	metrics_sample_u64(p->out, n->drift, NULL);
	metrics_family(p->out, "pintle_clients", METRICS_GAUGE,
		       "Cgroups whose client is known by a name; 0 where no key is cgroup.");
	metrics_sample_u64(p->out, p->clients, NULL);
	metrics_family(p->out, "pintle_map_fill_ratio", METRICS_GAUGE,
		       "How full a map that forgets the oldest is.");
	for (size_t i = 0; i < ARRAY_SIZE(lru_table); i++)
		metrics_sample(p->out, p->telemetry->fill[i], "map", map_names[lru_table[i].map],
			       NULL);
}

void telemetry_render(const struct telemetry *t, const struct poller *poller,
		      const struct config *c, size_t clients, struct metrics_text *out)
{
	_cleanup_(state_freep) struct state *state = NULL;
	struct page p = {
		.out = out, .telemetry = t, .poller = poller, .config = c, .clients = clients};
	int err = state_read(t->m, &state);

	if (err) {
		log_err_r(err, "failed to read the maps for /metrics");
		out->error = err;
		return;
	}
	p.state = state;
	render_node(&p);
	render_pools(&p);
	render_oneshot(&p);
	render_endpoints(&p);
}
