/* SPDX-License-Identifier: Apache-2.0 */
#include "telemetry.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "../common/log.h"
#include "../common/names.h"
#include "../common/state.h"
#include "../common/util.h"

/* How connections end, by the errno that ended them. */
enum ending { END_CLOSED, END_RESET, END_TIMEOUT, END_ERROR, ENDINGS };
static const char *const ending_names[ENDINGS] = {
	[END_CLOSED] = "closed",
	[END_RESET] = "reset",
	[END_TIMEOUT] = "timeout",
	[END_ERROR] = "error",
};

/* Each object in the kernel counts what it lost by itself. */
enum source { SOURCE_SOCKOPS, SOURCE_LOOKUP, SOURCE_CONNECT, SOURCES };

struct ended {
	uint32_t generation;
	uint64_t count[ENDINGS];
	uint64_t bytes_received, bytes_acknowledged;
	double duration_seconds;
};

/* Maps that forget: kept in one place with what it means when one is full. */
static const struct {
	enum map_id map;
	const char *means;
} lru_table[] = {
	{MAP_affinity, "sessions that were idle longest lose their binding"},
	{MAP_pending, "connections still in their handshake may be decided twice"},
};

struct telemetry {
	const struct maps *m;
	struct ring_buffer *ring;
	uint64_t started_ns;
	uint64_t lost[SOURCES];
	uint64_t told_ns;
	unsigned int told; /* within a second of that */
	struct ended ended[PINTLE_MAX_ENDPOINTS];
	double fill[ARRAY_SIZE(lru_table)];
	bool warned[ARRAY_SIZE(lru_table)];
};

static enum ending ending_of(uint32_t error)
{
	switch (error) {
	case 0:
		return END_CLOSED;
	case ECONNRESET:
	case EPIPE:
		return END_RESET;
	case ETIMEDOUT:
		return END_TIMEOUT;
	default:
		return END_ERROR;
	}
}

static enum source source_of(const struct pintle_event *e)
{
	if (e->type != PINTLE_EVENT_DECIDED)
		return SOURCE_SOCKOPS;
	return e->hook == PINTLE_HOOK_CONNECT ? SOURCE_CONNECT : SOURCE_LOOKUP;
}

/* ---- ejections ---------------------------------------------------------------------- */

#define TOLD_MAX 20 /* lines a second: a pool that is down as a whole must not fill the disk */

static bool name_of(const struct telemetry *t, uint32_t slot, uint32_t generation,
		    char to[PINTLE_NAME_SIZE])
{
	struct pintle_name n;

	if (maps_value(t->m, MAP_names, slot, &n) || n.generation != generation)
		return false;
	state_text(to, PINTLE_NAME_SIZE, n.name, sizeof(n.name));
	return true;
}

static bool may_tell(struct telemetry *t, uint64_t now)
{
	if (now - t->told_ns >= NSEC_PER_SEC) {
		t->told_ns = now;
		t->told = 0;
	}
	return t->told++ < TOLD_MAX;
}

static void tell_ejection(struct telemetry *t, const struct pintle_event *e)
{
	char pool[PINTLE_NAME_SIZE], endpoint[PINTLE_NAME_SIZE];

	if (e->pool >= PINTLE_MAX_POOLS || e->endpoint >= PINTLE_MAX_ENDPOINTS ||
	    !name_of(t, e->pool, e->pool_generation, pool) ||
	    !name_of(t, PINTLE_ENDPOINT_SLOT(e->endpoint), e->generation, endpoint) ||
	    !may_tell(t, monotonic_ns()))
		return;
	if (e->type == PINTLE_EVENT_RESTORED)
		log_info("%s/%s answers its clients again", pool, endpoint);
	else
		log_warn("%s/%s is ejected for %.1f s: it failed its clients several times in a "
			 "row, the last time by: %s",
			 pool, endpoint, (double)e->duration_ns / (double)NSEC_PER_SEC,
			 failure_name(e->failure));
}

/* ---- the ring ----------------------------------------------------------------------- */

static int on_event(void *arg, void *data, size_t size)
{
	struct telemetry *t = arg;
	const struct pintle_event *e = data;
	struct ended *d;

	/* What the ring kept from before this daemon is not of its counts. */
	if (size < sizeof(*e) || e->time_ns < t->started_ns)
		return 0;
	t->lost[source_of(e)] = e->lost;
	if (e->type == PINTLE_EVENT_EJECTED || e->type == PINTLE_EVENT_RESTORED)
		tell_ejection(t, e);
	if (e->type != PINTLE_EVENT_CLOSED || e->endpoint >= PINTLE_MAX_ENDPOINTS)
		return 0;
	d = &t->ended[e->endpoint];
	if ((int32_t)(e->generation - d->generation) < 0)
		return 0; /* the id has been given to another since */
	if (d->generation != e->generation) {
		memset(d, 0, sizeof(*d));
		d->generation = e->generation;
	}
	d->count[ending_of(e->error)]++;
	d->bytes_received += e->bytes_received;
	d->bytes_acknowledged += e->bytes_acknowledged;
	d->duration_seconds += (double)e->duration_ns / 1e9;
	return 0;
}

int telemetry_new(const struct maps *m, struct telemetry **out)
{
	struct telemetry *t = calloc(1, sizeof(*t));

	if (!t)
		return log_err_r(ENOMEM, "telemetry");
	t->m = m;
	t->started_ns = monotonic_ns();
	t->ring = ring_buffer__new(m->fd[MAP_events], on_event, t, NULL);
	if (!t->ring) {
		int err = log_err_r(errno, "failed to read the events ring");

		free(t);
		return err;
	}
	*out = t;
	return 0;
}

void telemetry_free(struct telemetry *t)
{
	if (!t)
		return;
	ring_buffer__free(t->ring);
	free(t);
}

void telemetry_consume(struct telemetry *t)
{
	ring_buffer__consume(t->ring);
}

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

static const struct ended *ended_of(const struct page *p, const struct state_endpoint *e)
{
	static const struct ended none;
	const struct ended *d = &p->telemetry->ended[e->id];

	return d->generation == e->generation ? d : &none;
}

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
#define OF_CONNECT (p->state->pools[e->pool].hook == PINTLE_HOOK_CONNECT)
VALUE_FN(value_ejected, OF_CONNECT, e->ejected)
VALUE_FN(value_ejections, OF_CONNECT, e->ejections)
VALUE_FN(value_placed, true, e->placed)
VALUE_FN(value_opened, true, e->opened)
VALUE_FN(value_closed, true, e->closed)
VALUE_FN(value_unopened, true, e->failed)
VALUE_FN(value_scrapes, true, counters_of(p, e)->scrapes)
VALUE_FN(value_scrape_failures, true, counters_of(p, e)->failures)
VALUE_FN(value_received, true, ended_of(p, e)->bytes_received)
VALUE_FN(value_sent, true, ended_of(p, e)->bytes_acknowledged)
VALUE_FN(value_duration, true, ended_of(p, e)->duration_seconds)
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
	 "Bytes from clients, of connections that ended since the daemon started.", value_received},
	{"pintle_endpoint_sent_bytes_total", METRICS_COUNTER,
	 "Bytes that clients acknowledged, of connections that ended since the daemon started.",
	 value_sent},
	{"pintle_endpoint_connection_seconds_total", METRICS_COUNTER,
	 "Durations of connections that ended since the daemon started, summed.", value_duration},
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

static void render_endpoints(const struct page *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(endpoint_families); i++) {
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
	metrics_family(p->out, "pintle_endpoint_failures_total", METRICS_COUNTER,
		       "Connections of clients that it failed, by how.");
	for (size_t j = 0; j < p->state->endpoint_count; j++) {
		const struct state_endpoint *e = &p->state->endpoints[j];

		for (uint32_t k = 0; OF_CONNECT && k < PINTLE_FAILURE_COUNT; k++)
			metrics_sample_u64(p->out, e->failures[k], "pool",
					   p->state->pools[e->pool].name, "endpoint", e->name,
					   "failure", failure_name(k), NULL);
	}
	metrics_family(p->out, "pintle_connections_ended_total", METRICS_COUNTER,
		       "Steered connections that ended since the daemon started, by how.");
	for (size_t j = 0; j < p->state->endpoint_count; j++)
		for (int k = 0; k < ENDINGS; k++)
			metrics_sample_u64(
				p->out, ended_of(p, &p->state->endpoints[j])->count[k], "pool",
				p->state->pools[p->state->endpoints[j].pool].name, "endpoint",
				p->state->endpoints[j].name, "how", ending_names[k], NULL);
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
				   hook_name(s->pools[i].hook), "key",
				   key_name(s->pools[i].key_kind), NULL);
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
	metrics_family(p->out, "pintle_events_lost_total", METRICS_COUNTER,
		       "Events dropped in the kernel: over the rate, or the ring was full.");
	metrics_sample_u64(p->out,
			   p->telemetry->lost[SOURCE_SOCKOPS] + p->telemetry->lost[SOURCE_LOOKUP] +
				   p->telemetry->lost[SOURCE_CONNECT],
			   NULL);
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
