/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_page.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/links.h"
#include "../../maps/names.h"
#include "../../maps/state.h"
#include "../../policy/minute.h"
#include "traits.bpf.h"
#include "judge.h"
#include "pass.h"

struct page {
	const struct metrics_sources *from;
	const struct state *state;
	struct metrics_text *out;
	struct state_tenant *tenants; /* owned */
	size_t tenant_count;
	bool sealed[PINTLE_MAX_POOLS]; /* by the pool's id: servers of it speak TLS */
	bool sparse;                   /* the family's samples of 0 are left out */
};

/* ---- values ------------------------------------------------------------------------ */

/* Each defines a function that writes a family's sample for the node, a pool `s` or an endpoint
 * `e`: the expression's value, if `known` is true. `known` may use that value as `v`. */
#define NODE_VALUE(function, expression, known)                                                    \
	static void function(const struct page *p)                                                 \
	{                                                                                          \
		double v = (double)(expression);                                                   \
		if (known)                                                                         \
			metrics_sample(p->out, v, NULL);                                           \
	}
#define POOL_VALUE(function, expression)                                                           \
	static void function(const struct page *p, const struct state_pool *s)                     \
	{                                                                                          \
		metrics_sample(p->out, (double)(expression), s->name, NULL);                       \
	}
#define ENDPOINT_VALUE(function, expression, known)                                                \
	static void function(const struct page *p, const struct state_endpoint *e)                 \
	{                                                                                          \
		double v = (double)(expression);                                                   \
		if ((known) && (v > 0 || !p->sparse))                                              \
			metrics_sample(p->out, v, metrics_page_pool_of(p, e)->name, e->name,       \
				       NULL);                                                      \
	}
/* The same for a family with one more label: a whole number for the k-th of its `count` names. */
#define POOL_COUNTS(function, expression, count, name_of)                                          \
	static void function(const struct page *p, const struct state_pool *s)                     \
	{                                                                                          \
		for (uint32_t k = 0; k < (count); k++)                                             \
			metrics_sample_u64(p->out, expression, s->name, name_of(k), NULL);         \
	}
#define ENDPOINT_COUNTS(function, expression, count, name_of)                                      \
	static void function(const struct page *p, const struct state_endpoint *e)                 \
	{                                                                                          \
		for (uint32_t k = 0; k < (count); k++)                                             \
			metrics_sample_u64(p->out, expression, metrics_page_pool_of(p, e)->name,   \
					   e->name, name_of(k), NULL);                             \
	}

static const struct state_pool *metrics_page_pool_of(const struct page *p,
						     const struct state_endpoint *e)
{
	return &p->state->pools[e->pool];
}

static bool endpoint_has(const struct page *p, const struct state_endpoint *e,
			 enum pintle_trait trait)
{
	return hook_has(metrics_page_pool_of(p, e)->decided_by, trait);
}

static void value_build_info(const struct page *p)
{
	metrics_sample_u64(p->out, 1, PINTLE_VERSION, NULL);
}

static void value_hook_attached(const struct page *p)
{
	bool attached;

	for (int i = 0; i < LINK_COUNT; i++)
		if (attachment_hook(p->from->attachment, p->from->config, (enum link_id)i,
				    &attached))
			metrics_sample_u64(p->out, attached, link_hook(&link_kinds[i]), NULL);
}

static void value_hook_put_back(const struct page *p)
{
	bool attached;

	for (int i = 0; i < LINK_COUNT; i++)
		if (attachment_hook(p->from->attachment, p->from->config, (enum link_id)i,
				    &attached))
			metrics_sample_u64(
				p->out, attachment_put_back(p->from->attachment, (enum link_id)i),
				link_hook(&link_kinds[i]), NULL);
}

static void value_map_fill(const struct page *p)
{
	enum map_id map;
	double fill;

	for (size_t i = 0; telemetry_fill(p->from->telemetry, i, &map, &fill); i++)
		metrics_sample(p->out, fill, map_names[map], NULL);
}

NODE_VALUE(value_reload_successful, !p->from->process->load_failed, true)
NODE_VALUE(value_reload_time, p->from->process->loaded, true)
NODE_VALUE(value_start_time, p->from->process->started, true)
NODE_VALUE(value_cpu_seconds, process_cpu_seconds(), v >= 0)
NODE_VALUE(value_resident_bytes, process_resident_bytes(), v >= 0)
NODE_VALUE(value_open_fds, process_open_fds(), v >= 0)
NODE_VALUE(value_max_fds, process_max_fds(), v >= 0)
NODE_VALUE(value_attached_seconds, (double)(p->state->now_ns - p->state->node.attached_ns) / 1e9,
	   true)
NODE_VALUE(value_drift, p->state->node.drift, true)
NODE_VALUE(value_oneshot_devices, p->state->node.devices, true)
NODE_VALUE(value_hand_devices, p->state->node.hand_devices, true)
NODE_VALUE(value_hand_rests, p->state->node.hand_rests, true)
NODE_VALUE(value_splice_devices, p->state->node.splice_devices, true)
NODE_VALUE(value_spliced, p->state->node.spliced, true)
NODE_VALUE(value_held, p->state->node.held, true)
NODE_VALUE(value_prefix_entries, p->state->node.prefix_entries, true)
NODE_VALUE(value_passes, pass_figures(p->from->pass).passes, true)
NODE_VALUE(value_pass_seconds, pass_figures(p->from->pass).cpu_seconds, true)
NODE_VALUE(value_history_seconds, keeper_cpu_seconds(p->from->keeper), true)
NODE_VALUE(value_clients, p->from->clients, true)
NODE_VALUE(value_audit_lines, p->from->maps->audited->written, true)
NODE_VALUE(value_audit_lost, p->from->maps->audited->lost + p->from->maps->audited->unwritten, true)
NODE_VALUE(value_evidence_lost, judge_lost(p->from->judge), true)
NODE_VALUE(value_kube_up, cluster_figures(p->from->cluster).well,
	   cluster_figures(p->from->cluster).there)
NODE_VALUE(value_kube_synced, cluster_figures(p->from->cluster).listed,
	   cluster_figures(p->from->cluster).there)
NODE_VALUE(value_kube_writes, cluster_figures(p->from->cluster).leads,
	   cluster_figures(p->from->cluster).there)
NODE_VALUE(value_kube_left, cluster_figures(p->from->cluster).left.count,
	   cluster_figures(p->from->cluster).there)
NODE_VALUE(value_kube_no_room, cluster_figures(p->from->cluster).left.no_room,
	   cluster_figures(p->from->cluster).there)
NODE_VALUE(value_kube_requests, cluster_figures(p->from->cluster).requests,
	   cluster_figures(p->from->cluster).there)
NODE_VALUE(value_kube_failures, cluster_figures(p->from->cluster).failures,
	   cluster_figures(p->from->cluster).there)

static void value_hand_device(const struct page *p)
{
	for (size_t i = 0; i < p->state->device_count; i++)
		metrics_sample_u64(p->out, 1, p->state->devices[i].name,
				   xdp_name(p->state->devices[i].xdp), NULL);
}

#define HOST_VALUES(function, expression, known)                                                   \
	static void function(const struct page *p)                                                 \
	{                                                                                          \
		for (size_t i = 0; i < p->state->host_count; i++) {                                \
			const struct state_host *h = &p->state->hosts[i];                          \
                                                                                                   \
			if (known)                                                                 \
				metrics_sample(p->out, (double)(expression),                       \
					       p->state->pools[h->pool].name, h->name, h->host,    \
					       NULL);                                              \
		}                                                                                  \
	}
HOST_VALUES(value_resolve_errors, h->errors, true)
HOST_VALUES(value_resolve_age, h->age_seconds, h->has_answer)
HOST_VALUES(value_resolve_addresses, h->addresses, true)
HOST_VALUES(value_resolve_left, h->left, true)

static bool overload_is_up(const struct page *p)
{
	bool up;

	return overload_wanted(p->from->overload, &up) && up;
}

static bool has_overload(const struct page *p)
{
	bool up;

	return overload_wanted(p->from->overload, &up);
}

NODE_VALUE(value_overload_up, overload_is_up(p), has_overload(p))
NODE_VALUE(value_overload_open, has_overload(p) ? overload_board(p->from->overload)->open : 0,
	   has_overload(p))

static void value_overload_connections(const struct page *p)
{
	static const char *const names[] = {
#define X(symbol, name, says) [RESPONDER_##symbol] = (name),
		RESPONDER_RESULTS(X)
#undef X
	};
	const struct board *b = overload_board(p->from->overload);

	for (size_t i = 0; b && i < ARRAY_SIZE(names); i++)
		metrics_sample_u64(p->out, __atomic_load_n(&b->counts[i], __ATOMIC_RELAXED),
				   names[i], NULL);
}

/* The poller knows pools by their index in the configuration. */
static void value_saturation(const struct page *p)
{
	for (size_t i = 0; i < p->from->config->pool_count; i++)
		metrics_sample(p->out, poller_saturation(p->from->poller, i),
			       p->from->config->pools[i].name, NULL);
}

static void value_pool_info(const struct page *p, const struct state_pool *s)
{
	static const char *const words[] = {"false", "true"};
	char keys[STATE_KEYS_SIZE];

	metrics_sample_u64(p->out, 1, s->name, hook_name(s->decided_by), state_keys_format(s, keys),
			   decide_name(s->decide), words[s->shared], words[!!s->prompt_weight],
			   NULL);
}

#define BINDINGS(s) (&p->from->maps->bindings[(s)->id])
POOL_COUNTS(value_decisions, s->decisions[k], PINTLE_OUTCOME_COUNT, outcome_name)
POOL_COUNTS(value_shadow_decisions, s->shadows[k],
	    s->mode == PINTLE_MODE_SHADOW || s->shadows_total ? PINTLE_OUTCOME_COUNT : 0,
	    outcome_name)
#define JUDGED(s) judge_pool(p->from->judge, (s)->id)
POOL_COUNTS(value_sessions, JUDGED(s).sessions[k],
	    JUDGED(s).generation == s->generation ? CLASSIFY_CLASSES : 0, classify_name)
/* A family for pools that classify. */
#define POOL_JUDGED(function, member)                                                              \
	static void function(const struct page *p, const struct state_pool *s)                     \
	{                                                                                          \
		if (JUDGED(s).generation == s->generation)                                         \
			metrics_sample_u64(p->out, JUDGED(s).member, s->name, NULL);               \
	}
POOL_JUDGED(value_classified_requests, requests)
POOL_JUDGED(value_verdict_changes, changes)
POOL_VALUE(value_pool_rests, s->decide == PINTLE_DECIDE_REQUEST && s->rest.until_ns && !s->in_pods)
POOL_VALUE(value_largest_session, s->largest_share)
POOL_VALUE(value_bindings, BINDINGS(s)->held)
POOL_VALUE(value_bindings_evicted, BINDINGS(s)->evicted)
POOL_VALUE(value_retries, BINDINGS(s)->retry_suspected)

/* Of each class that the pool has. */
static void value_class_in_flight(const struct page *p, const struct state_pool *s)
{
	for (uint32_t k = 0; k < s->class_count; k++)
		metrics_sample(p->out, (double)s->class_in_flight[k], s->name, s->classes[k].name,
			       NULL);
}

/* A family of sums over the pages of a pool's endpoints. */
#define POOL_SUMS(function, expression, known)                                                     \
	static void function(const struct page *p, const struct state_pool *s)                     \
	{                                                                                          \
		const struct pintle_ref ref = {s->id, s->generation};                              \
		const struct poll_sums *sums = poller_sums(p->from->poller, &ref);                 \
                                                                                                   \
		if (sums && (known))                                                               \
			metrics_sample(p->out, (double)(expression), s->name, NULL);               \
	}
#define POOL_SIGNAL(function, signal)                                                              \
	POOL_SUMS(function, sums->grown.value[signal], sums->grown.present[signal])
POOL_SUMS(value_pool_scrapes, sums->scrapes, true)
POOL_SUMS(value_pool_scrape_failures, sums->failures, true)
POOL_SIGNAL(value_pool_prefix_hits, SIGNAL_PREFIX_HITS)
POOL_SIGNAL(value_pool_prefix_queries, SIGNAL_PREFIX_QUERIES)
POOL_SIGNAL(value_pool_prompt_tokens, SIGNAL_PROMPT_TOKENS)
POOL_SIGNAL(value_pool_output_tokens, SIGNAL_OUTPUT_TOKENS)

/* A family of a sum over a pool's endpoints `e`, or of its mean, if any of them has that value. */
#define POOL_OVER(function, has, expression, divisor)                                              \
	static void function(const struct page *p, const struct state_pool *s)                     \
	{                                                                                          \
		double sum = 0;                                                                    \
		size_t n = 0;                                                                      \
                                                                                                   \
		for (size_t i = 0; i < s->endpoint_count; i++) {                                   \
			const struct state_endpoint *e =                                           \
				&p->state->endpoints[s->first_endpoint + i];                       \
                                                                                                   \
			if (!e->has)                                                               \
				continue;                                                          \
			sum += (double)(expression);                                               \
			n++;                                                                       \
		}                                                                                  \
		if (n)                                                                             \
			metrics_sample(p->out, sum / (double)(divisor), s->name, NULL);            \
	}
POOL_OVER(value_pool_queue, has_waiting, e->waiting, n)
POOL_OVER(value_pool_kv_cache, has_kv_cache, e->kv_cache, n)
POOL_OVER(value_pool_waiting, has_work, e->work.waiting, 1)
POOL_OVER(value_pool_answering, has_work, e->work.answering, 1)

static void value_pool_oldest_score(const struct page *p, const struct state_pool *s)
{
	double oldest = -1;

	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct state_endpoint *e = &p->state->endpoints[s->first_endpoint + i];

		oldest = e->has_age ? MAX(oldest, e->age_seconds) : oldest;
	}
	if (oldest >= 0)
		metrics_sample(p->out, oldest, s->name, NULL);
}

#define CLASS_SUMS(s, class) (&p->from->maps->class_sums[(s)->id * PINTLE_MAX_CLASSES + (class)])

static void class_counts(const struct page *p, const struct state_pool *s, const char *class,
			 const __u64 *counts)
{
	for (uint32_t k = 0; k < PINTLE_OUTCOME_COUNT; k++)
		metrics_sample_u64(p->out, __atomic_load_n(&counts[k], __ATOMIC_RELAXED), s->name,
				   class, outcome_name(k), NULL);
}

static void value_class_decisions(const struct page *p, const struct state_pool *s)
{
	for (uint32_t k = 0; k < s->class_count; k++)
		class_counts(p, s, s->classes[k].name, CLASS_SUMS(s, k)->decided);
}

static void value_class_shadow(const struct page *p, const struct state_pool *s)
{
	if (s->mode != PINTLE_MODE_SHADOW && !s->shadows_total)
		return;
	for (uint32_t k = 0; k < s->class_count; k++)
		class_counts(p, s, s->classes[k].name, CLASS_SUMS(s, k)->would);
}

POOL_VALUE(value_tenants, s->tenants)
POOL_VALUE(value_tenants_in_flight, s->tenants_in_flight)
POOL_VALUE(value_tenants_refused, s->tenants_refused)
POOL_VALUE(value_in_use, poller_in_use(p->from->poller, s->id))
POOL_VALUE(value_ready_endpoints, s->ready_count)
POOL_VALUE(value_endpoints, s->endpoint_count)
POOL_COUNTS(value_mode, s->mode == k, PINTLE_MODE_COUNT, mode_name)
/* While an A/B test runs, of the two modes between which it alternates. */
static void value_ab_arm(const struct page *p, const struct state_pool *s)
{
	static const uint32_t arms[] = {PINTLE_MODE_BASELINE, PINTLE_MODE_ENFORCE};

	for (size_t k = 0; s->trial_runs && k < ARRAY_SIZE(arms); k++)
		metrics_sample_u64(p->out, s->mode == arms[k], s->name, mode_name(arms[k]), NULL);
}

POOL_COUNTS(value_requests, s->requests == k, PINTLE_REQUESTS_COUNT, requests_name)
POOL_COUNTS(value_first_segments, s->oneshots[k], PINTLE_ONESHOT_COUNT, oneshot_name)
POOL_COUNTS(value_handed, s->hands[k], PINTLE_HAND_COUNT, hand_name)
POOL_COUNTS(value_prompted, s->prompts[k], PINTLE_PROMPTED_COUNT, prompted_name)
POOL_COUNTS(value_holds, s->holds[k], PINTLE_HOLD_COUNT, hold_name)

static void value_models(const struct page *p, const struct state_pool *s)
{
	for (size_t i = 0; i < s->model_count; i++)
		metrics_sample_u64(p->out, s->models[i].requests, s->name, s->models[i].name, NULL);
}

static void value_model_loaded(const struct page *p, const struct state_pool *s)
{
	for (size_t i = 0; i < s->model_count; i++)
		if (s->models[i].adapter)
			metrics_sample_u64(p->out, s->models[i].loaded, s->name, s->models[i].name,
					   NULL);
}

static void value_model_holders(const struct page *p, const struct state_pool *s)
{
	for (size_t i = 0; i < s->model_count; i++)
		if (s->models[i].adapter)
			metrics_sample_u64(p->out, s->models[i].holders, s->name, s->models[i].name,
					   NULL);
}

static const struct poll_counters *counters_of(const struct page *p, const struct state_endpoint *e)
{
	static const struct poll_counters none;
	const struct poll_counters *c = poller_counters(p->from->poller, e->id);

	return c ? c : &none;
}

/* A sum over an endpoint's ended connections. */
#define SUM(member) __atomic_load_n(&p->from->maps->ends[e->id].member, __ATOMIC_RELAXED)

/* A sum over an endpoint's answers whose first token was seen. */
#define FIRSTS(member) __atomic_load_n(&p->from->maps->firsts[e->id].member, __ATOMIC_RELAXED)

/* Bounds in seconds: those that vLLM's own histogram and OpenTelemetry's semantic conventions
 * (gen_ai.server.time_to_first_token) share, as far as 11 cover 10 ms to 40 s. Each is a bound of
 * the kernel's buckets. */
static const double first_bounds[] = {0.01, 0.04, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40};

static struct metrics_histogram first_histogram(const struct pintle_firsts *f,
						uint64_t up_to[ARRAY_SIZE(first_bounds)])
{
	struct metrics_histogram h = {.bounds = first_bounds,
				      .up_to = up_to,
				      .n = ARRAY_SIZE(first_bounds),
				      .sum = (double)f->waited_ns / (double)NSEC_PER_SEC};
	size_t k = 0;

	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++) {
		h.count += __atomic_load_n(&f->bucket[i], __ATOMIC_RELAXED);
		if (k < h.n && bucket_bound_us(i) >= (uint32_t)(first_bounds[k] * 1e6))
			up_to[k++] = h.count;
	}
	return h;
}

/* What TLS sends first is no token. */
static bool first_is_token(const struct page *p, const struct state_endpoint *e)
{
	return e->has_work && !p->sealed[metrics_page_pool_of(p, e)->id];
}

/* Of the classes that had an answer, and of the first one. */
static void value_pool_first_token(const struct page *p, const struct state_pool *s)
{
	uint64_t up_to[ARRAY_SIZE(first_bounds)];

	if (!s->endpoint_count || !first_is_token(p, &p->state->endpoints[s->first_endpoint]))
		return;
	for (uint32_t k = 0; k < PINTLE_MAX_CLASSES; k++) {
		const struct pintle_firsts *f =
			&p->from->maps->class_firsts[s->id * PINTLE_MAX_CLASSES + k];
		struct metrics_histogram h = first_histogram(f, up_to);

		if (h.count || !k)
			metrics_sample_histogram(p->out, &h, s->name,
						 k < s->class_count ? s->classes[k].name : "",
						 NULL);
	}
}

/* So many tenants of each pool have series: those with most connections. */
#define TENANTS_SHOWN 16

static int metrics_page_by_opened(const void *left, const void *right)
{
	const struct state_tenant *a = left, *b = right;

	return a->opened != b->opened ? (a->opened < b->opened ? 1 : -1)
				      : memcmp(&a->key, &b->key, sizeof(a->key));
}

static void tenant_first_token(const struct page *p, const struct state_pool *s,
			       const struct state_tenant *t)
{
	uint64_t up_to[ARRAY_SIZE(first_bounds)];
	struct metrics_histogram h = {
		.bounds = first_bounds, .up_to = up_to, .n = ARRAY_SIZE(first_bounds)};
	struct pintle_tenant_firsts f;
	size_t k = 0;

	if (bpf_map_lookup_elem(p->from->maps->fd[MAP_tenant_firsts], &t->key, &f))
		return;
	h.sum = (double)f.waited_ns / (double)NSEC_PER_SEC;
	for (uint32_t i = 0; i < PINTLE_TENANT_BUCKETS; i++) {
		h.count += f.bucket[i];
		if (k < h.n && bucket_bound_us(4 * i) >= (uint32_t)(first_bounds[k] * 1e6))
			up_to[k++] = h.count;
	}
	metrics_sample_histogram(p->out, &h, s->name, t->text, NULL);
}

static void value_tenant_first_token(const struct page *p, const struct state_pool *s)
{
	size_t shown = 0;

	if (!s->endpoint_count || !first_is_token(p, &p->state->endpoints[s->first_endpoint]))
		return;
	for (size_t i = 0; i < p->tenant_count && shown < TENANTS_SHOWN; i++) {
		if (&p->state->pools[p->tenants[i].pool] != s)
			continue;
		tenant_first_token(p, s, &p->tenants[i]);
		shown++;
	}
}

/* The bounds that the kernel counts by: SIZE_BOUND(). */
static const double size_bounds[PINTLE_SIZES - 1] = {
	1 << 8,  1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18,
	1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28,
};

static void class_sizes(const struct page *p, const struct state_pool *s, const char *class,
			const struct pintle_sizes *sizes)
{
	uint64_t up_to[ARRAY_SIZE(size_bounds)];
	struct metrics_histogram h = {
		.bounds = size_bounds,
		.up_to = up_to,
		.n = ARRAY_SIZE(size_bounds),
		.sum = (double)__atomic_load_n(&sizes->bytes, __ATOMIC_RELAXED),
	};

	for (size_t i = 0; i < PINTLE_SIZES; i++) {
		h.count += __atomic_load_n(&sizes->count[i], __ATOMIC_RELAXED);
		if (i < h.n)
			up_to[i] = h.count;
	}
	metrics_sample_histogram(p->out, &h, s->name, class, NULL);
}

/* Calls `write` for each class whose requests were followed, and for the first one. */
static void for_classes(const struct page *p, const struct state_pool *s,
			void (*write)(const struct page *p, const struct state_pool *s,
				      const char *class, const struct pintle_class_sums *sums))
{
	if (!s->endpoint_count || !first_is_token(p, &p->state->endpoints[s->first_endpoint]))
		return;
	for (uint32_t k = 0; k < MAX(s->class_count, 1U); k++)
		write(p, s, s->class_count ? s->classes[k].name : "", CLASS_SUMS(s, k));
}

static void write_request_sizes(const struct page *p, const struct state_pool *s, const char *class,
				const struct pintle_class_sums *sums)
{
	class_sizes(p, s, class, &sums->request);
}

static void write_answer_sizes(const struct page *p, const struct state_pool *s, const char *class,
			       const struct pintle_class_sums *sums)
{
	class_sizes(p, s, class, &sums->answer);
}

static void write_requests_ended(const struct page *p, const struct state_pool *s,
				 const char *class, const struct pintle_class_sums *sums)
{
	for (uint32_t k = 0; k < PINTLE_REQUEST_END_COUNT; k++)
		metrics_sample_u64(p->out, __atomic_load_n(&sums->ended[k], __ATOMIC_RELAXED),
				   s->name, class, request_end_name(k), NULL);
}

static void write_unmeasured(const struct page *p, const struct state_pool *s, const char *class,
			     const struct pintle_class_sums *sums)
{
	metrics_sample_u64(p->out, __atomic_load_n(&sums->unmeasured, __ATOMIC_RELAXED), s->name,
			   class, NULL);
}

static void value_request_sizes(const struct page *p, const struct state_pool *s)
{
	for_classes(p, s, write_request_sizes);
}

static void value_answer_sizes(const struct page *p, const struct state_pool *s)
{
	for_classes(p, s, write_answer_sizes);
}

static void value_requests_ended(const struct page *p, const struct state_pool *s)
{
	for_classes(p, s, write_requests_ended);
}

/* Where clients' sockets are seen, each request is measured. */
static void value_unmeasured(const struct page *p, const struct state_pool *s)
{
	if (s->reach == PINTLE_REACH_LISTENER)
		for_classes(p, s, write_unmeasured);
}

static void value_first_token(const struct page *p, const struct state_endpoint *e)
{
	uint64_t up_to[ARRAY_SIZE(first_bounds)];
	struct metrics_histogram h = first_histogram(&p->from->maps->firsts[e->id], up_to);

	if (first_is_token(p, e))
		metrics_sample_histogram(p->out, &h, metrics_page_pool_of(p, e)->name, e->name,
					 NULL);
}

static bool has_minute(const struct page *p, const struct state_endpoint *e)
{
	return first_is_token(p, e) && e->work.minute_answers;
}

static void value_state(const struct page *p, const struct state_endpoint *e)
{
	metrics_sample_u64(p->out, 1, metrics_page_pool_of(p, e)->name, e->name,
			   state_name(e->state), NULL);
}

ENDPOINT_VALUE(value_first_token_p50, e->work.minute_p50_us / 1e6, has_minute(p, e))
ENDPOINT_VALUE(value_first_token_p95, e->work.minute_p95_us / 1e6, has_minute(p, e))
ENDPOINT_VALUE(value_load, e->load, true)
ENDPOINT_VALUE(value_in_flight, e->in_flight, true)
ENDPOINT_VALUE(value_direct, e->direct, true)
ENDPOINT_VALUE(value_age, e->age_seconds, e->has_age)
ENDPOINT_VALUE(value_waiting, e->waiting, e->has_waiting)
ENDPOINT_VALUE(value_running, e->running, e->has_running)
ENDPOINT_VALUE(value_kv_cache, e->kv_cache, e->has_kv_cache)
ENDPOINT_VALUE(value_gpu, e->gpu, e->has_gpu)
ENDPOINT_VALUE(value_gpu_memory, poller_gpu_memory(p->from->poller, e->id), v >= 0)
ENDPOINT_VALUE(value_ready,
	       e->state == STATE_READY || e->state == STATE_SATURATED || e->state == STATE_STALE,
	       true)
ENDPOINT_VALUE(value_stopped, e->state == STATE_STOPPED, e->has_work)
ENDPOINT_VALUE(value_stalled, e->state == STATE_STALLED, e->has_work)
/* Not for PINTLE_UNFIT_NOT. */
static const char *unfit_name_after(uint32_t k)
{
	return unfit_name(k + 1);
}

ENDPOINT_COUNTS(value_unfit, e->unfit == k + 1,
		counters_of(p, e)->judged ? PINTLE_UNFIT_FAILING - 1 : 0, unfit_name_after)
ENDPOINT_VALUE(value_checks, counters_of(p, e)->checks, counters_of(p, e)->checked)
ENDPOINT_VALUE(value_failed_checks, counters_of(p, e)->failed_checks, counters_of(p, e)->checked)
ENDPOINT_VALUE(value_requests_waiting, e->work.waiting, e->has_work)
ENDPOINT_VALUE(value_requests_answering, e->work.answering, e->has_work)
ENDPOINT_VALUE(value_requests_waiting_bytes, e->work.waiting_bytes, e->has_work)
ENDPOINT_VALUE(value_oldest_waiting, e->oldest_seconds, e->has_work)
ENDPOINT_VALUE(value_idle, e->work.idle, e->has_work)
ENDPOINT_VALUE(value_unread, e->work.unread, e->has_work)
ENDPOINT_VALUE(value_backlog, e->work.backlog, e->has_work)
ENDPOINT_VALUE(value_requests_seen, e->work.requests, e->has_work)
ENDPOINT_VALUE(value_request_bytes, e->work.request_bytes, e->has_work)
ENDPOINT_VALUE(value_first_tokens, FIRSTS(answers), e->has_work)
ENDPOINT_VALUE(value_first_token_seconds, (double)FIRSTS(waited_ns) / NSEC_PER_SEC, e->has_work)
ENDPOINT_VALUE(value_measured_bytes, FIRSTS(request_bytes), first_is_token(p, e))
ENDPOINT_VALUE(value_answers, FIRSTS(ended), first_is_token(p, e))
ENDPOINT_VALUE(value_answer_bytes, FIRSTS(answer_bytes), first_is_token(p, e))
ENDPOINT_VALUE(value_saturated, e->saturated, true)
ENDPOINT_VALUE(value_drained, e->drained || e->drained_configured, true)
ENDPOINT_VALUE(value_ejected, e->ejected, true)
ENDPOINT_VALUE(value_ejections, e->ejections, true)
/* Not for PINTLE_FAILING_NOT. */
static const char *failing_name_after(uint32_t k)
{
	return failing_name(k + 1);
}

ENDPOINT_COUNTS(value_failing, e->failing == k + 1, e->failings ? PINTLE_FAILING_COUNT - 1 : 0,
		failing_name_after)
ENDPOINT_COUNTS(value_failures, e->failures[k],
		endpoint_has(p, e, PINTLE_TRAIT_FAILURES) ? PINTLE_FAILURE_COUNT : 0, failure_name)
ENDPOINT_VALUE(value_placed, e->placed, true)
ENDPOINT_VALUE(value_shadow_placed, e->shadow_placed,
	       metrics_page_pool_of(p, e)->mode == PINTLE_MODE_SHADOW ||
		       metrics_page_pool_of(p, e)->shadows_total)
ENDPOINT_VALUE(value_opened, e->opened, true)
ENDPOINT_VALUE(value_closed, e->closed, true)
ENDPOINT_VALUE(value_unopened, e->failed, true)
ENDPOINT_COUNTS(value_ended, SUM(count[k]), PINTLE_ENDING_COUNT, ending_name)
ENDPOINT_VALUE(value_received, SUM(bytes_received), true)
ENDPOINT_VALUE(value_sent, SUM(bytes_acknowledged), true)
ENDPOINT_VALUE(value_duration, (double)SUM(duration_ns) / (double)NSEC_PER_SEC, true)
ENDPOINT_VALUE(value_scrapes, counters_of(p, e)->scrapes, true)
ENDPOINT_VALUE(value_scrape_failures, counters_of(p, e)->failures, true)
ENDPOINT_VALUE(value_spoiled_pages, counters_of(p, e)->spoiled, true)
ENDPOINT_VALUE(value_engine_restarts, counters_of(p, e)->restarts, true)
#define SIGNAL(function, signal)                                                                   \
	ENDPOINT_VALUE(function, counters_of(p, e)->signals.value[signal],                         \
		       counters_of(p, e)->signals.present[signal])
SIGNAL(value_prefix_hits, SIGNAL_PREFIX_HITS)
SIGNAL(value_prefix_queries, SIGNAL_PREFIX_QUERIES)
SIGNAL(value_prompt_tokens, SIGNAL_PROMPT_TOKENS)
SIGNAL(value_output_tokens, SIGNAL_OUTPUT_TOKENS)

/* ---- the table --------------------------------------------------------------------- */

/* A family for the node, pools or endpoints; its own labels follow those of the kind. */
#define NODE(kind, text, function, ...)                                                            \
	.family.type = METRICS_##kind, .family.name = (text), .node = (function),                  \
	.family.labels = {__VA_ARGS__}
#define POOL(kind, text, function, ...)                                                            \
	.family.type = METRICS_##kind, .family.name = (text), .pool = (function),                  \
	.family.labels = {"pool", ##__VA_ARGS__}
#define ENDPOINT(kind, text, function, ...)                                                        \
	.family.type = METRICS_##kind, .family.name = (text), .endpoint = (function),              \
	.family.labels = {"pool", "endpoint", ##__VA_ARGS__}

/* In the order of the page. Exactly one of `node`, `pool` and `endpoint` writes the samples. */
static const struct row {
	struct metrics_family family;
	void (*node)(const struct page *p);
	void (*pool)(const struct page *p, const struct state_pool *s);
	void (*endpoint)(const struct page *p, const struct state_endpoint *e);
	bool main; /* alerts and dashboards need it: kept with node.metricsDetail main */
	bool rare; /* with `main`: kept where it is not 0 */
	bool many; /* of pools: not there with node.metricsDetail main */
	bool fine; /* only there with node.metricsDetail histograms */
} rows[] = {
	{NODE(GAUGE, "pintle_build_info", value_build_info, "version"),
	 .family.help = "1; labels say what runs."},
	{NODE(GAUGE, "pintle_config_last_reload_successful", value_reload_successful),
	 .family.help = "0: the newest reload failed, wholly or in part, and an older "
			"configuration runs.",
	 .family.more = "The log says why."},
	{NODE(GAUGE, "pintle_config_last_reload_success_timestamp_seconds", value_reload_time),
	 .family.help = "Unix time at which the configuration that runs was loaded."},
	{NODE(GAUGE, "process_start_time_seconds", value_start_time),
	 .family.help = "Unix time at which the daemon started."},
	{NODE(COUNTER, "process_cpu_seconds_total", value_cpu_seconds),
	 .family.help = "CPU time of the daemon since it started."},
	{NODE(GAUGE, "process_resident_memory_bytes", value_resident_bytes),
	 .family.help = "Resident memory of the daemon."},
	{NODE(GAUGE, "process_open_fds", value_open_fds),
	 .family.help = "File descriptors that the daemon has open."},
	{NODE(GAUGE, "process_max_fds", value_max_fds),
	 .family.help = "File descriptors that the daemon may have open."},
	{NODE(GAUGE, "pintle_attached_seconds", value_attached_seconds),
	 .family.help =
		 "Time since the programs were attached; restarts of the daemon do not end it."},
	{NODE(GAUGE, "pintle_hook_attached", value_hook_attached, "hook"),
	 .family.help = "1: attached. 0: lost; the daemon attaches it again as soon as it can.",
	 .family.more =
		 "For each hook that a pool needs: `lookup`, `sockops_servers`; "
		 "`sockops_clients`, `connect4`, `connect6`, `release`, `getpeername4`, "
		 "`getpeername6`; `hint`. A hook is lost by force or with its cgroup; the daemon's log says why it is not attached again."},
	{NODE(COUNTER, "pintle_hook_put_back_total", value_hook_put_back, "hook"),
	 .family.help = "How often the hook was detached by force, and attached again.",
	 .family.more =
		 "The daemon's lifetime. Something else removes programs: see "
		 "[compatibility.md](compatibility.md#what-takes-programs-away). A hook is put "
		 "back three times in ten minutes; then it rests until these are over."},
	{NODE(COUNTER, "pintle_in_flight_drift_total", value_drift),
	 .family.help = "Connections by which in-flight counters were ever wrong, and corrected.",
	 .family.more = "Kernel's lifetime. Not 0: another program takes sockops' callbacks away; "
			"`pintle doctor` names it."},
	{NODE(GAUGE, "pintle_oneshot_devices", value_oneshot_devices),
	 .family.help =
		 "Devices that one-shot is attached to; each direction of a device counts as one.",
	 .family.more =
		 "0: no pool wants one request per connection, or pintled's log says what is "
		 "wrong."},
	{NODE(GAUGE, "pintle_handoff_devices", value_hand_devices),
	 .family.help = "Devices that the hand-off is attached to.",
	 .family.more = "0: no pool has `decide: request`, or pintled's log says what is wrong."},
	{NODE(GAUGE, "pintle_splice_devices", value_splice_devices),
	 .family.help = "Directions of pods' devices that have the program which splices.",
	 .family.more = "0: no pool has `splice`, or pintled's log says what is wrong."},
	{NODE(GAUGE, "pintle_spliced_connections", value_spliced),
	 .family.help = "Connections that are spliced, or ended less than a minute ago.",
	 .family.more =
		 "Of 65,536, and 8,192 of one pod: a pod's further ones are decided by their "
		 "addresses."},
	{NODE(GAUGE, "pintle_handoff_device_info", value_hand_device, "device", "xdp"),
	 .family.help =
		 "1 for each device that the hand-off is attached to, by whether XDP answers.",
	 .family.more = "`native`: handshakes are answered in XDP there; all else: why they are "
			"answered in TC, see [handoff.md](handoff.md#in-xdp)."},
	{NODE(GAUGE, "pintle_handoff_rests", value_hand_rests),
	 .family.help = "1: net.ipv4.tcp_syncookies is 0, so the hand-off rests.",
	 .family.more = "Connections are then decided by their addresses; see "
			"[handoff.md](handoff.md#when-something-is-missing)."},
	{NODE(GAUGE, "pintle_handoff_held_connections", value_held),
	 .family.help =
		 "Connections that are held now: their headers have not ended, or their body "
		 "is not there.",
	 .family.more =
		 "There is room for 1,024; see [handoff.md](handoff.md#requests-in-pieces)."},
	{NODE(GAUGE, "pintle_prefix_entries", value_prefix_entries),
	 .family.help = "Beginnings of prompts of which it is known who has them cached, counted "
			"every minute.",
	 .family.more =
		 "At most 262,144; the oldest go. 0 where no pool has `stickiness.prefix`. See "
		 "[handoff.md](handoff.md#the-prompt)."},
	{NODE(GAUGE, "pintle_overload_up", value_overload_up),
	 .family.help =
		 "1: the overload responder takes connections; 0: those that it would answer "
		 "are refused.",
	 .family.more = "This and the next two only where a class has `admission: divert`, or a "
			"pool has `models` without `default`; see "
			"[limits.md](limits.md#the-overload-responder)."},
	{NODE(GAUGE, "pintle_overload_open", value_overload_open),
	 .family.help = "Connections to the overload responder that are open, at most 1,024."},
	{NODE(COUNTER, "pintle_overload_connections_total", value_overload_connections, "result"),
	 .family.help = "Connections to the overload responder that ended, by what became of them.",
	 .family.more =
		 "`answered`: 429. Reset: `not_http`, `full` (1,024 were open), "
		 "`client_full` (16 of that client's), `not_diverted`. Closed: `unfinished`, "
		 "without a request line within 5 s."},
	{NODE(GAUGE, "pintle_clients", value_clients),
	 .family.help = "Cgroups whose client is known by a name, a pod or one of clients; 0 "
			"where no key or group is cgroup."},
	{NODE(COUNTER, "pintle_audit_lines_total", value_audit_lines),
	 .family.help = "Lines of the audit that were written."},
	{NODE(COUNTER, "pintle_audit_lost_total", value_audit_lost),
	 .family.help = "Events that the audit lost: the ring was full, or a line could not be "
			"written.",
	 .family.more = "The audit says so, too, in a line `lost`."},
	{NODE(COUNTER, "pintle_evidence_lost_total", value_evidence_lost),
	 .family.help =
		 "Requests that the classifier has not seen, because more ended than it could "
		 "take in."},
	{NODE(COUNTER, "pintle_resolve_errors_total", value_resolve_errors, "pool", "endpoint",
	      "host"),
	 .family.help = "Answers of DNS for the host that were not good.",
	 .family.more =
		 "Only endpoints whose `address` is a name, as the next three; `endpoint` is "
		 "the name that is configured. See [limits.md](limits.md#outside-providers)."},
	{NODE(GAUGE, "pintle_resolve_age_seconds", value_resolve_age, "pool", "endpoint", "host"),
	 .family.help = "Time since the newest good answer.",
	 .family.more = "Absent where none has come yet."},
	{NODE(GAUGE, "pintle_resolve_addresses", value_resolve_addresses, "pool", "endpoint",
	      "host"),
	 .family.help = "The host's addresses that are endpoints."},
	{NODE(GAUGE, "pintle_resolve_left_out_addresses", value_resolve_left, "pool", "endpoint",
	      "host"),
	 .family.help =
		 "The host's addresses that are no endpoints; pintled's log has the reason."},
	{NODE(GAUGE, "pintle_kubernetes_up", value_kube_up),
	 .family.help =
		 "1: the API server answers; 0: the newest request failed, and what is known "
		 "stays.",
	 .family.more =
		 "This and the next ones only where there is a Kubernetes. pintled's log says "
		 "what failed."},
	{NODE(GAUGE, "pintle_kubernetes_synced", value_kube_synced),
	 .family.help =
		 "1: the Services and their slices were listed; 0: pools are those that were "
		 "pinned."},
	{NODE(GAUGE, "pintle_kubernetes_writes", value_kube_writes),
	 .family.help =
		 "1: of the cluster's daemons this one has the Lease, and writes conditions and "
		 "Events."},
	{NODE(GAUGE, "pintle_kubernetes_left", value_kube_left),
	 .family.help =
		 "Services and InferencePools that are to be steered, and are left to kube-proxy.",
	 .family.more =
		 "`pintle status` names one, the log and the objects' Events all, with the reason."},
	{NODE(GAUGE, "pintle_kubernetes_no_room", value_kube_no_room),
	 .family.help = "Those of them for whose pools there is no room, the youngest of all."},
	{NODE(COUNTER, "pintle_kubernetes_requests_total", value_kube_requests),
	 .family.help = "Lists, pages of lists, and watches that were asked for."},
	{NODE(COUNTER, "pintle_kubernetes_failures_total", value_kube_failures),
	 .family.help = "Those that failed."},
	{NODE(COUNTER, "pintle_passes_total", value_passes),
	 .family.help = "Passes over the steered sockets, to follow their requests."},
	{NODE(COUNTER, "pintle_pass_cpu_seconds_total", value_pass_seconds),
	 .family.help = "CPU time of these passes; at most 2 % of a core."},
	{NODE(COUNTER, "pintle_history_cpu_seconds_total", value_history_seconds),
	 .family.help = "CPU time of writing the history that `pintle report` reads."},
	{NODE(GAUGE, "pintle_map_fill_ratio", value_map_fill, "map"),
	 .family.help = "How full a map that forgets its oldest entries is, checked every minute.",
	 .family.more = "The maps are `affinity`, `affinity_beyond`, `pending` and `prefixes`."},
	{POOL(COUNTER, "pintle_decisions_total", value_decisions, "outcome"),
	 .family.help = "Decisions, by their outcome: why the connection went where it went.",
	 .family.more = "Kernel. [operations.md](operations.md#by-outcome) says what each outcome "
			"asks of you."},
	{POOL(COUNTER, "pintle_shadow_decisions_total", value_shadow_decisions, "outcome"),
	 .family.help = "The rule's decisions in mode shadow, which were not followed, by outcome.",
	 .family.more = "Absent where the pool never was in that mode. Kernel. See "
			"[mode shadow](operations.md#mode-shadow)."},
	{POOL(GAUGE, "pintle_pool_largest_session_ratio", value_largest_session),
	 .family.help = "Share of the newest connections that one session makes, if more than "
			"half; else 0.",
	 .family.more = "The newest are about 128 on each CPU, and the share is 0 before a "
			"pool's 50th connection. See [clients behind one "
			"address](operations.md#clients-behind-one-address)."},
	{POOL(GAUGE, "pintle_bindings", value_bindings),
	 .family.help = "Sessions that are bound to an endpoint, counted every 10 s."},
	{POOL(COUNTER, "pintle_bindings_evicted_total", value_bindings_evicted),
	 .family.help =
		 "Sessions that lost their binding because there was no room, counted every 10 s.",
	 .family.more =
		 "Bindings that were too old or were unbound by hand do not count. "
		 "Kernel's lifetime. [operations.md](operations.md#limits) says which sessions can."},
	{POOL(GAUGE, "pintle_class_in_flight", value_class_in_flight, "class"),
	 .family.help = "Connections of the class, from the decision until they end or fail.",
	 .family.more = "`poolConnections` bounds this. Only pools with classes. Kernel."},
	{POOL(COUNTER, "pintle_class_decisions_total", value_class_decisions, "class", "outcome"),
	 .family.help = "Decisions of a class, by their outcome.",
	 .family.more = "Those that were made before the class was known are missing: in mode off, "
			"in mode shadow of the connect hook, and of clients that may not connect. "
			"Only pools with classes. Kernel."},
	{POOL(COUNTER, "pintle_class_shadow_decisions_total", value_class_shadow, "class",
	      "outcome"),
	 .family.help =
		 "The rule's decisions for a class in mode shadow, which were not followed, by outcome.",
	 .family.more = "Only pools with classes that are or were in that mode. Kernel."},
	{POOL(COUNTER, "pintle_retry_suspected_total", value_retries),
	 .family.help =
		 "Connections that were told no, of sessions that come back without a pause.",
	 .family.more = "See [limits.md](limits.md#shares). Kernel's lifetime."},
	{POOL(GAUGE, "pintle_sessions_classified", value_sessions, "class"),
	 .family.help = "Sessions that the classifier has put into a class, by class.",
	 .family.more =
		 "Only pools that classify, as the next two. Classes by an operator or a rule "
		 "are not in it. See [limits.md](limits.md#how-a-session-is-classified)."},
	{POOL(COUNTER, "pintle_classified_requests_total", value_classified_requests),
	 .family.help = "Requests that the classifier has judged."},
	{POOL(COUNTER, "pintle_verdict_changes_total", value_verdict_changes),
	 .family.help =
		 "Classes that the classifier has given to sessions, first ones and others."},
	{POOL(GAUGE, "pintle_tenants", value_tenants),
	 .family.help = "Tenants that have connections, or had some in the last ten minutes.",
	 .family.more = "0 without `tenants`; `pintle tenants` shows each."},
	{POOL(GAUGE, "pintle_tenants_in_flight", value_tenants_in_flight),
	 .family.help = "Connections in flight of all tenants of a pool with quotas."},
	{POOL(COUNTER, "pintle_tenants_refused_total", value_tenants_refused),
	 .family.help = "Connections that a tenant's quota did not let in.",
	 .family.more = "Kernel's lifetime."},
	{NODE(GAUGE, "pintle_pool_saturation", value_saturation, "pool"),
	 .family.help = "Mean over the endpoints of max(waiting / queueDepth, kv / kvCache); "
			"from 1 on the pool is saturated.",
	 .family.more = "More servers help a saturated pool; steering cannot. A stale endpoint "
			"counts as 1."},
	{POOL(GAUGE, "pintle_pool_in_use", value_in_use),
	 .family.help =
		 "1: a connection of this node to the pool is open, or came in the last 10 s; "
		 "its pages are read at `scrape.interval`. 0: at `scrape.idle`."},
	{POOL(GAUGE, "pintle_pool_ready_endpoints", value_ready_endpoints),
	 .family.help = "Endpoints that may be chosen: ready, saturated or stale."},
	{POOL(GAUGE, "pintle_pool_endpoints", value_endpoints),
	 .family.help = "Endpoints configured."},
	{POOL(GAUGE, "pintle_pool_average_queue_size", value_pool_queue),
	 .family.help =
		 "Mean over the endpoints of the requests in their servers' queues, as scraped."},
	{POOL(GAUGE, "pintle_pool_average_kv_cache_utilization", value_pool_kv_cache),
	 .family.help = "Mean over the endpoints of the share of the KV cache in use, 0 to 1, as "
			"scraped.",
	 .family.more = "This and the former are named as in the Gateway API Inference Extension."},
	{POOL(GAUGE, "pintle_pool_oldest_score_seconds", value_pool_oldest_score),
	 .family.help =
		 "Time since the newest good scrape of the endpoint for which it is longest."},
	{POOL(GAUGE, "pintle_pool_requests_waiting", value_pool_waiting),
	 .family.help = "Requests on this node's steered connections that have no first token yet.",
	 .family.more = "Pass. Only pools with follow, as the next one."},
	{POOL(GAUGE, "pintle_pool_requests_answering", value_pool_answering),
	 .family.help = "Requests on this node's steered connections that are being answered.",
	 .family.more = "Pass."},
	{POOL(COUNTER, "pintle_pool_scrapes_total", value_pool_scrapes),
	 .family.help = "Scrapes of all endpoints that have ended, successfully or not.",
	 .family.more = "Daemon. It and the next ones only grow, whichever endpoints come and go."},
	{POOL(COUNTER, "pintle_pool_scrape_failures_total", value_pool_scrape_failures),
	 .family.help = "Those that failed or gave a bad page.", .family.more = "Daemon."},
	{POOL(COUNTER, "pintle_pool_prefix_cache_hits_total", value_pool_prefix_hits),
	 .family.help =
		 "Prompt tokens found in the prefix caches, as the model servers count them.",
	 .family.more = "For `trtllm` in blocks. Daemon: since it began to read their pages, as "
			"the next ones."},
	{POOL(COUNTER, "pintle_pool_prefix_cache_queries_total", value_pool_prefix_queries),
	 .family.help =
		 "Prompt tokens looked up in the prefix caches, as the model servers count them.",
	 .family.more = "For `trtllm` in blocks. Daemon."},
	{POOL(COUNTER, "pintle_pool_prompt_tokens_total", value_pool_prompt_tokens),
	 .family.help = "Prompt tokens, as the model servers count them.",
	 .family.more = "Daemon."},
	{POOL(COUNTER, "pintle_pool_generation_tokens_total", value_pool_output_tokens),
	 .family.help = "Generated tokens, as the model servers count them.",
	 .family.more = "Daemon."},
	{POOL(GAUGE, "pintle_pool_info", value_pool_info, "hook", "key", "decide", "shared",
	      "prefix"),
	 .family.help = "1; labels say which hook decides it, and what makes a session.",
	 .family.more = "`key`: `session_key` of `pintle pools`; the others are as there."},
	{POOL(GAUGE, "pintle_pool_mode", value_mode, "mode"),
	 .family.help = "1 for the mode that holds, set or configured."},
	{POOL(GAUGE, "pintle_pool_ab_arm", value_ab_arm, "mode"),
	 .family.help = "1: the mode in which the pool's A/B test is now.",
	 .family.more = "Only while `pintle ab` runs. Both are 0 while pintled was away for longer "
			"than `saturation.staleness`, and another mode held."},
	{POOL(GAUGE, "pintle_pool_requests", value_requests, "requests"),
	 .family.help = "1 for how the requests of a connection come: as-they-come or "
			"one-per-connection, set or configured."},
	{POOL(HISTOGRAM, "pintle_pool_time_to_first_token_seconds", value_pool_first_token,
	      "class"),
	 .family.help = "Times from a request's last byte to the answer's first token, on this "
			"node.",
	 .family.more = "At clients (connect hook) of each answer; at servers (lookup hook) of the "
			"first of each connection. Only pools with follow, and not those behind "
			"TLS. `class` is empty where the pool has none. Kernel."},
	{POOL(HISTOGRAM, "pintle_tenant_time_to_first_token_seconds", value_tenant_first_token,
	      "tenant"),
	 .many = true, .family.help = "Those times by tenant, in pools with quotas.",
	 .family.more = "The 16 tenants of each pool with most connections; `pintle tenants` has "
			"all. `tenant` is as there. Only with `node.metricsDetail: all` or "
			"`histograms`. Kernel; as far as the tenant's entry goes back."},
	{POOL(HISTOGRAM, "pintle_pool_request_size_bytes", value_request_sizes, "class"),
	 .family.help = "Sizes of requests, with their headers, whose first token was seen.",
	 .family.more = "Counted with `pintle_pool_time_to_first_token_seconds`, and absent where "
			"that is, as the next ones. Kernel."},
	{POOL(HISTOGRAM, "pintle_pool_response_size_bytes", value_answer_sizes, "class"),
	 .family.help = "Sizes of answers, with their headers, once they ended.",
	 .family.more = "An answer ends with the next request, or with the connection. At servers "
			"only of connections that had one request. Kernel."},
	{POOL(COUNTER, "pintle_pool_requests_ended_total", value_requests_ended, "class", "how"),
	 .family.help = "Requests that ended, by how.",
	 .family.more = "`answered`: and the connection went on, or was closed by this side; "
			"`unanswered`: it was closed before a byte of the answer; `reset`: the "
			"other side reset it, before the answer or after; `timeout`: the other "
			"side fell silent; `error`. At servers "
			"only of connections that had one request. Kernel."},
	{POOL(COUNTER, "pintle_pool_requests_unmeasured_total", value_unmeasured, "class"),
	 .family.help = "The least number of requests that are missing in the histograms.",
	 .family.more = "At servers only: those after the first of a connection, as far as passes "
			"saw them, and those that were answered before the kernel had "
			"acknowledged them. Counted as the connection ends. Kernel."},
	{POOL(COUNTER, "pintle_first_segments_total", value_first_segments, "oneshot"),
	 .family.help = "First segments of connections, by what one-shot did with them.",
	 .family.more =
		 "Only pools with one request per connection have any. "
		 "[keep-alive.md](keep-alive.md#what-it-counts) says what each means. Kernel."},
	{POOL(COUNTER, "pintle_handoffs_total", value_handed, "handoff"),
	 .family.help = "Connections by what the hand-off did with them.",
	 .family.more = "Only pools with `decide: request` have any. "
			"[handoff.md](handoff.md#what-it-counts) says what each means. Kernel."},
	{POOL(GAUGE, "pintle_pool_handoff_rests", value_pool_rests),
	 .family.help = "1: no socket becomes of what is handed over, so the hand-off rests.",
	 .family.more = "Connections are then decided by their addresses; see "
			"[handoff.md](handoff.md#when-something-is-missing). Kernel."},
	{POOL(COUNTER, "pintle_model_requests_total", value_models, "model"),
	 .family.help = "Requests by the model that they name.",
	 .family.more = "Only pools with `models` have any. `default`: those that name none of the "
			"pool's models, or none that can be seen. Kernel; from 0 on where `models` "
			"names the model anew."},
	{POOL(COUNTER, "pintle_model_loaded_total", value_model_loaded, "model"),
	 .family.help = "Requests for a LoRA adapter that went to where it was loaded.",
	 .family.more = "Only models of which an endpoint says that they are adapters: of their "
			"`pintle_model_requests_total`. See "
			"[handoff.md](handoff.md#lora-adapters). Kernel."},
	{POOL(GAUGE, "pintle_model_holders", value_model_holders, "model"),
	 .family.help = "Endpoints that have loaded a LoRA adapter.",
	 .family.more = "Only models of which an endpoint says that they are adapters."},
	{POOL(COUNTER, "pintle_prompts_total", value_prompted, "prompt"),
	 .family.help = "Prompts, and beginnings of prompts, by what was found out about them.",
	 .family.more = "Only pools with `stickiness.prefix` have any. "
			"[handoff.md](handoff.md#prompts) says what each means. Kernel."},
	{POOL(COUNTER, "pintle_handoff_holds_total", value_holds, "hold"),
	 .family.help =
		 "Connections whose headers did not end, or whose body was not there, in the "
		 "first segment, and segments of theirs, by what became of them.",
	 .family.more = "Only pools with `decide: request` have any. "
			"[handoff.md](handoff.md#what-it-counts) says what each means. Kernel."},
	{ENDPOINT(GAUGE, "pintle_endpoint_state", value_state, "state"), .main = true,
	 .family.help = "1; the label says which state `pintle endpoints` shows.",
	 .family.more = "[cli.md](cli.md) lists them. The gauges below hold where the endpoint has "
			"several at once: it may be drained and ejected."},
	{ENDPOINT(GAUGE, "pintle_endpoint_load", value_load), .main = true,
	 .family.help = "Load in request equivalents, as the rule sees it now."},
	{ENDPOINT(GAUGE, "pintle_endpoint_in_flight", value_in_flight), .main = true,
	 .family.help = "Steered connections that are open."},
	{ENDPOINT(GAUGE, "pintle_endpoint_direct_connections", value_direct),
	 .family.help = "Open connections that were not steered, such as scrapes and probes.",
	 .family.more =
		 "Those that ended while a hook was lost stay in it until the endpoint is removed."},
	{ENDPOINT(GAUGE, "pintle_endpoint_score_age_seconds", value_age),
	 .family.help = "Time since the newest good scrape began."},
	{ENDPOINT(GAUGE, "pintle_endpoint_waiting_requests", value_waiting),
	 .family.help = "Requests in the model server's queue, as scraped."},
	{ENDPOINT(GAUGE, "pintle_endpoint_running_requests", value_running),
	 .family.help = "Requests that the model server works on, as scraped."},
	{ENDPOINT(GAUGE, "pintle_endpoint_kv_cache_usage_ratio", value_kv_cache),
	 .family.help = "Share of the KV cache in use, 0 to 1, as scraped."},
	{ENDPOINT(GAUGE, "pintle_endpoint_gpu_utilization_ratio", value_gpu),
	 .family.help = "Utilisation of the busiest of its GPUs, 0 to 1, by DCGM."},
	{ENDPOINT(GAUGE, "pintle_endpoint_gpu_memory_usage_ratio", value_gpu_memory),
	 .family.help = "Share of memory in use on the fullest of its GPUs, 0 to 1, by DCGM."},
	{ENDPOINT(GAUGE, "pintle_endpoint_ready", value_ready),
	 .family.help = "1: it may be chosen."},
	{ENDPOINT(GAUGE, "pintle_endpoint_stopped", value_stopped),
	 .family.help = "1: its server reads and accepts nothing; left out until it does.",
	 .family.more = "Pass. Only pools with follow, as the next ones."},
	{ENDPOINT(GAUGE, "pintle_endpoint_stalled", value_stalled),
	 .family.help = "1: its server answers nothing; left out, but for one try at a time.",
	 .family.more = "Pass."},
	{ENDPOINT(GAUGE, "pintle_endpoint_unfit", value_unfit, "why"),
	 .family.help = "1: left out, because it is starting, unhealthy, faulty or asleep.",
	 .family.more =
		 "Only pools with `health`, endpoints with a `gpu`, and those that have slept."},
	{ENDPOINT(GAUGE, "pintle_endpoint_requests_waiting", value_requests_waiting),
	 .family.help = "Requests on this node's steered connections that have no first token yet.",
	 .family.more = "Pass."},
	{ENDPOINT(GAUGE, "pintle_endpoint_requests_answering", value_requests_answering),
	 .family.help = "Requests on this node's steered connections that are being answered.",
	 .family.more = "Pass."},
	{ENDPOINT(GAUGE, "pintle_endpoint_requests_waiting_bytes", value_requests_waiting_bytes),
	 .family.help = "Bytes of the waiting requests.", .family.more = "Pass."},
	{ENDPOINT(GAUGE, "pintle_endpoint_oldest_waiting_seconds", value_oldest_waiting),
	 .family.help = "For how long the oldest waiting request has waited; 0 if none waits.",
	 .family.more = "Pass."},
	{ENDPOINT(GAUGE, "pintle_endpoint_connections_idle", value_idle),
	 .family.help = "Steered connections that are kept alive without a request.",
	 .family.more = "Pass."},
	{ENDPOINT(GAUGE, "pintle_endpoint_unread_bytes", value_unread),
	 .family.help = "Bytes that the server has not read from its connections.",
	 .family.more = "Pass. Servers that listen on this node only, as the next one."},
	{ENDPOINT(GAUGE, "pintle_endpoint_accept_backlog", value_backlog),
	 .family.help = "Connections that the server has not accepted.", .family.more = "Pass."},
	{ENDPOINT(COUNTER, "pintle_endpoint_requests_total", value_requests_seen),
	 .family.help = "Requests that passes saw begin.",
	 .family.more = "Requests that begin and end between two passes are missing."},
	{ENDPOINT(COUNTER, "pintle_endpoint_request_bytes_total", value_request_bytes),
	 .family.help = "Bytes of these requests.", .family.more = "Pass."},
	{ENDPOINT(COUNTER, "pintle_endpoint_first_tokens_total", value_first_tokens),
	 .family.help = "Answers whose first token was seen.",
	 .family.more = "At clients (connect hook) each answer; at servers (lookup hook) the first "
			"of each connection. The handshake of TLS counts as one. Only pools with "
			"follow. Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_first_token_seconds_total", value_first_token_seconds),
	 .family.help = "Sum of their times from the request's last byte to the first token.",
	 .family.more = "Divided by the former: the mean time to first token. An answer that has "
			"no second segment counts with its first. Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_first_token_request_bytes_total", value_measured_bytes),
	 .family.help = "Sum of the sizes of their requests.", .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_responses_total", value_answers),
	 .family.help = "Answers that ended, as in `pintle_pool_response_size_bytes`.",
	 .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_response_bytes_total", value_answer_bytes),
	 .family.help = "Sum of their sizes.", .family.more = "Kernel."},
	{ENDPOINT(GAUGE, "pintle_endpoint_first_token_p50_seconds", value_first_token_p50),
	 .family.help = "Median of these times in the last minute.",
	 .family.more = "Known to 3 %. Missing where no request came."},
	{ENDPOINT(GAUGE, "pintle_endpoint_first_token_p95_seconds", value_first_token_p95),
	 .main = true, .family.help = "95th percentile of these times in the last minute.",
	 .family.more = "Known to 3 %. Missing where no request came."},
	{ENDPOINT(HISTOGRAM, "pintle_endpoint_time_to_first_token_seconds", value_first_token),
	 .fine = true, .family.help = "Times from a request's last byte to the first token.",
	 .family.more = "Only with `node.metricsDetail: histograms`. Kernel."},
	{ENDPOINT(GAUGE, "pintle_endpoint_saturated", value_saturated),
	 .family.help = "1: over a threshold of its pool."},
	{ENDPOINT(GAUGE, "pintle_endpoint_drained", value_drained),
	 .family.help = "1: takes no further connection."},
	{ENDPOINT(GAUGE, "pintle_endpoint_ejected", value_ejected),
	 .family.help =
		 "1: left out for a while, because it failed its clients several times in a row, "
		 "or answers them with errors."},
	{ENDPOINT(COUNTER, "pintle_endpoint_ejections_total", value_ejections), .rare = true,
	 .family.help = "How often it was ejected.",
	 .family.more =
		 "For failures of clients, in pools of the connect hook, and for its answers. "
		 "Kernel; daemon."},
	{ENDPOINT(GAUGE, "pintle_endpoint_failing", value_failing, "why"), .main = true,
	 .rare = true,
	 .family.help =
		 "1: ejected, because it answers its clients with errors, by the word of `why`.",
	 .family.more = "Endpoints that were ejected for that. [connect.md](connect.md#answers)."},
	{ENDPOINT(COUNTER, "pintle_endpoint_failures_total", value_failures, "failure"),
	 .family.help = "Connections of clients that it failed, by kind of failure.",
	 .family.more = "[connect.md](connect.md#ejection) says when each counts. Pools of the "
			"connect hook only. Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_placements_total", value_placed), .main = true,
	 .family.help = "Decisions for it.", .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_shadow_placements_total", value_shadow_placed),
	 .family.help = "Placements that the rule would have made in mode shadow.",
	 .family.more = "Absent where the pool never was in that mode. Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_connections_opened_total", value_opened),
	 .family.help = "Steered connections that were established.", .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_connections_closed_total", value_closed),
	 .family.help = "Steered connections that ended.", .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_placements_failed_total", value_unopened),
	 .family.help = "Placements known to have ended before they were established, such as "
			"on a server that had just gone.",
	 .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_connections_ended_total", value_ended, "how"),
	 .family.help = "Steered connections that ended, by how: closed in order, reset, "
			"timeout, error.",
	 .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_received_bytes_total", value_received),
	 .family.help = "Bytes from clients, of connections that ended.", .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_sent_bytes_total", value_sent),
	 .family.help = "Bytes that clients acknowledged, of connections that ended.",
	 .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_connection_seconds_total", value_duration),
	 .family.help = "Durations of connections that ended, summed.", .family.more = "Kernel."},
	{ENDPOINT(COUNTER, "pintle_endpoint_scrapes_total", value_scrapes),
	 .family.help = "Scrapes that have ended, successfully or not.", .family.more = "Daemon."},
	{ENDPOINT(COUNTER, "pintle_endpoint_scrape_failures_total", value_scrape_failures),
	 .rare = true, .family.help = "Scrapes that failed or gave a bad page.",
	 .family.more = "Daemon."},
	{ENDPOINT(COUNTER, "pintle_endpoint_spoiled_pages_total", value_spoiled_pages),
	 .rare = true,
	 .family.help = "Pages that counted, but for a value on them that none can be.",
	 .family.more = "Daemon. The log names the first such value."},
	{ENDPOINT(COUNTER, "pintle_endpoint_engine_restarts_total", value_engine_restarts),
	 .rare = true,
	 .family.help = "Times that the engine was found to have started anew, by its page.",
	 .family.more = "Daemon. [handoff.md](handoff.md#the-prompt) says what follows."},
	{ENDPOINT(COUNTER, "pintle_endpoint_health_checks_total", value_checks),
	 .family.help = "Health checks that have ended, successfully or not.",
	 .family.more = "Daemon. Only pools with `health`, as the next one."},
	{ENDPOINT(COUNTER, "pintle_endpoint_health_check_failures_total", value_failed_checks),
	 .family.help = "Health checks that failed.",
	 .family.more = "Daemon. Not those of a server that is starting."},
	{ENDPOINT(COUNTER, "pintle_endpoint_prefix_cache_hits_total", value_prefix_hits),
	 .family.help = "Prompt tokens found in the prefix cache, as the model server counts them.",
	 .family.more = "For `trtllm` in blocks."},
	{ENDPOINT(COUNTER, "pintle_endpoint_prefix_cache_queries_total", value_prefix_queries),
	 .family.help =
		 "Prompt tokens looked up in the prefix cache, as the model server counts them.",
	 .family.more = "For `trtllm` in blocks."},
	{ENDPOINT(COUNTER, "pintle_endpoint_prompt_tokens_total", value_prompt_tokens),
	 .family.help = "Prompt tokens, as the model server counts them."},
	{ENDPOINT(COUNTER, "pintle_endpoint_generation_tokens_total", value_output_tokens),
	 .family.help = "Generated tokens, as the model server counts them."},
};
_Static_assert(ARRAY_SIZE(rows) <= METRICS_MAX_FAMILIES, "a page has room for all of them");

const struct metrics_family *metrics_page_family(size_t i, const char **kept)
{
	if (i >= ARRAY_SIZE(rows))
		return NULL;
	*kept = rows[i].main ? " *Main.*" : rows[i].rare ? " *Main, where it is not 0.*" : "";
	return &rows[i].family;
}

static enum config_detail row_detail(const struct row *row)
{
	if (!row->endpoint)
		return row->many ? DETAIL_ALL : DETAIL_POOLS;
	if (row->main || row->rare)
		return DETAIL_MAIN;
	return row->fine ? DETAIL_HISTOGRAMS : DETAIL_ALL;
}

static void write_row(struct page *p, const struct row *row)
{
	const struct state *s = p->state;

	if (p->from->config->detail < row_detail(row))
		return;
	p->sparse = row->rare && p->from->config->detail == DETAIL_MAIN;
	metrics_family(p->out, &row->family);
	if (row->node)
		row->node(p);
	for (size_t i = 0; row->pool && i < s->pool_count; i++)
		row->pool(p, &s->pools[i]);
	for (size_t i = 0; row->endpoint && i < s->endpoint_count; i++)
		row->endpoint(p, &s->endpoints[i]);
}

static bool pool_is_sealed(const struct config *c, const struct state_pool *s)
{
	const struct config_pool *p = config_pool_named(c, s->name);

	return p && config_pool_is_tls(p);
}

/* Those with most connections first; without them the page goes without their series. */
static void tenants_read(struct page *p)
{
	bool any = false;

	for (size_t i = 0; i < p->state->pool_count; i++)
		any |= p->state->pools[i].tenant_key != 0;
	if (!any || p->from->config->detail < DETAIL_ALL ||
	    state_tenants(p->from->maps, p->state, &p->tenants, &p->tenant_count))
		return;
	if (p->tenant_count)
		qsort(p->tenants, p->tenant_count, sizeof(*p->tenants), metrics_page_by_opened);
}

void metrics_page(const struct metrics_sources *from, struct metrics_text *out)
{
	_cleanup_(state_freep) struct state *state = NULL;
	struct page p = {.from = from, .out = out};
	int err = state_read(from->maps, &state);

	assert(from->maps->writable);
	if (err) {
		log_err_r(err, "failed to read the maps for /metrics");
		out->error = err;
		return;
	}
	p.state = state;
	for (size_t i = 0; i < state->pool_count; i++)
		p.sealed[state->pools[i].id] = pool_is_sealed(from->config, &state->pools[i]);
	_Static_assert(ARRAY_SIZE(rows) <= METRICS_MAX_FAMILIES, "the page needs more families");
	tenants_read(&p);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		write_row(&p, &rows[i]);
	free(p.tenants);
}
