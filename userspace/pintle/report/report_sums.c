/* SPDX-License-Identifier: Apache-2.0 */
/* report_sums.c - moments of the history to sums. */
#include "report.h"

#include "../../base/buckets.h"
#include "traits.bpf.h"

/* ---- pool and classes ------------------------------------------------------------------ */

/* Counts that are smaller have begun anew. */
static void sums_waits_add(struct waits *to, const struct pintle_moment_class *before,
			   const struct pintle_moment_class *after)
{
	static const struct pintle_moment_class nothing;

	if (after->answers < before->answers)
		before = &nothing;
	to->answers += history_grown(before->answers, after->answers);
	to->waited_ns += history_grown(before->waited_ns, after->waited_ns);
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++)
		to->bucket[i] += (uint32_t)(after->bucket[i] - before->bucket[i]);
}

void report_waits_add(struct waits *to, const struct waits *from)
{
	to->answers += from->answers;
	to->waited_ns += from->waited_ns;
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

static uint64_t counts_add(uint64_t *to, const __u64 *before, const __u64 *after)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++) {
		uint64_t n = history_grown(before[i], after[i]);

		to[i] += n;
		all += n;
	}
	return all;
}

static void pool_add(struct report_mode *to, const struct pintle_moment_pool *a,
		     const struct pintle_moment_pool *b)
{
	const struct pintle_forecast *f = &a->forecast, *g = &b->forecast;

	to->forecast.would += history_grown(f->would, g->would);
	to->forecast.would_load += history_grown(f->would_load, g->would_load);
	to->forecast.went += history_grown(f->went, g->went);
	to->forecast.went_load += history_grown(f->went_load, g->went_load);
	to->output_tokens += history_grown(a->output_tokens, b->output_tokens);
	to->prefix_hits += history_grown(a->prefix_hits, b->prefix_hits);
	to->prefix_queries += history_grown(a->prefix_queries, b->prefix_queries);
	to->gpu_ms += history_grown(a->gpu_ms, b->gpu_ms);
	to->gpu_busy_ms += history_grown(a->gpu_busy_ms, b->gpu_busy_ms);
	to->looks += b->looks;
	to->in_flight += (double)b->in_flight;
	to->load_mean += (double)b->load_mean / 1000;
	to->load_most += (double)b->load_most / 1000;
	to->load_spread += (double)b->load_spread / 1000;
}

static struct report_class *class_row(struct report *r, uint32_t mode, uint32_t id)
{
	return &r->classes[mode * PINTLE_MAX_CLASSES + id];
}

static bool is_sealed(const struct history_moment *a, const struct history_moment *b)
{
	return (a->pool.flags | b->pool.flags) & PINTLE_MOMENT_SEALED;
}

/* Whether first tokens of the connections that the mode leaves, or brings, where they go are seen.
 * At clients nobody sees those that pass: what is counted in mode shadow are answers on connections
 * that were placed before. */
static bool mode_is_seen(const struct report *r, uint32_t mode)
{
	return mode != PINTLE_MODE_OFF && (mode != PINTLE_MODE_SHADOW ||
					   hook_has(r->pool->decided_by, PINTLE_TRAIT_AT_SERVERS));
}

/* Whether the answers between the two are those of the mode. */
static bool times_hold(const struct report *r, const struct history_moment *a,
		       const struct history_moment *b, uint32_t mode)
{
	return !is_sealed(a, b) && mode_is_seen(r, mode);
}

/* Classes that only one of the moments has were added or removed by a reload. */
static void span_add(struct report *r, const struct history_moment *a,
		     const struct history_moment *b)
{
	uint32_t mode = MIN(b->pool.mode, (uint32_t)PINTLE_MODE_COUNT);
	struct report_mode *to = &r->modes[mode];
	struct span *s = &r->spans[r->span_count++];

	*s = (struct span){.from_ns = a->time_ns, .to_ns = b->time_ns, .mode = mode};
	s->decisions = counts_add(to->decisions, a->pool.decisions, b->pool.decisions);
	to->decisions_total += s->decisions;
	to->shadows_total += counts_add(to->shadows, a->pool.shadows, b->pool.shadows);
	for (uint32_t k = 0; k < MIN(a->class_count, b->class_count); k++) {
		struct report_class *class = class_row(r, mode, k);
		struct waits w = {0};

		if (times_hold(r, a, b, mode))
			sums_waits_add(&w, &a->classes[k], &b->classes[k]);
		report_waits_add(&class->waits, &w);
		report_waits_add(&s->waits, &w);
		class->placed += history_grown(a->classes[k].placed, b->classes[k].placed);
	}
	report_waits_add(&to->waits, &s->waits);
	r->sealed |= is_sealed(a, b);
	to->seconds += (double)(b->time_ns - a->time_ns) / 1e9;
	to->spans++;
	pool_add(to, &a->pool, &b->pool);
}

/* ---- endpoints -------------------------------------------------------------------------- */

static struct report_endpoint *endpoint_row(struct report *r,
					    const struct pintle_moment_endpoint *e)
{
	for (size_t i = 0; i < r->endpoint_count; i++)
		if (r->endpoints[i].id == e->id && r->endpoints[i].generation == e->generation)
			return &r->endpoints[i];
	return NULL;
}

static const struct pintle_moment_endpoint *
endpoint_of(const struct history_moment *h, const struct pintle_moment_endpoint *e, size_t guess)
{
	if (guess < h->endpoint_count && h->endpoints[guess].id == e->id &&
	    h->endpoints[guess].generation == e->generation)
		return &h->endpoints[guess];
	for (size_t i = 0; i < h->endpoint_count; i++)
		if (h->endpoints[i].id == e->id && h->endpoints[i].generation == e->generation)
			return &h->endpoints[i];
	return NULL;
}

/* Counts of 32 bits wrap; one that is much smaller has begun anew. */
static uint32_t grown(uint32_t before, uint32_t after)
{
	return after - before <= INT32_MAX ? after - before : after;
}

/* An endpoint that came between the two moments began with nothing. */
static void sums_endpoints_add(struct report *r, const struct history_moment *a,
			       const struct history_moment *b, uint32_t mode)
{
	static const struct pintle_moment_endpoint nothing;

	for (size_t i = 0; i < b->endpoint_count; i++) {
		const struct pintle_moment_endpoint *now = &b->endpoints[i];
		const struct pintle_moment_endpoint *then = endpoint_of(a, now, i) ?: &nothing;
		struct report_endpoint *to = endpoint_row(r, now);

		if (!to)
			continue;
		to->placed[mode] += grown(then->placed, now->placed);
		to->would += grown(then->shadow_placed, now->shadow_placed);
		if (!times_hold(r, a, b, mode))
			continue;
		to->answers[mode] += grown(then->answers, now->answers);
		to->waited_ns[mode] += history_grown(then->waited_ns, now->waited_ns);
	}
}

/* The endpoints are not in every moment of a large pool; what came between two that have them
 * belongs to a mode only if it held all the while. */
static void endpoints_sum(struct report *r, const struct history *h)
{
	const struct history_moment *before = NULL;
	uint32_t mode = 0;

	for (size_t i = 0; i < h->count; i++) {
		const struct history_moment *now = &h->all[i];

		if (before) {
			uint32_t here = MIN(now->pool.mode, (uint32_t)PINTLE_MODE_COUNT);

			mode = mode == REPORT_MODES || mode == here ? here : PINTLE_MODE_COUNT;
		}
		if (!now->endpoint_count)
			continue;
		if (before)
			sums_endpoints_add(r, before, now, mode);
		before = now;
		mode = REPORT_MODES;
	}
}

static int endpoints_begin(struct report *r)
{
	const struct state_pool *p = r->pool;

	r->endpoints = calloc(MAX(p->endpoint_count, (size_t)1), sizeof(*r->endpoints));
	if (!r->endpoints)
		return -ENOMEM;
	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct state_endpoint *e = &r->state->endpoints[p->first_endpoint + i];

		r->endpoints[i].id = e->id;
		r->endpoints[i].generation = e->generation;
		snprintf(r->endpoints[i].name, sizeof(r->endpoints[i].name), "%s", e->name);
	}
	r->endpoint_count = p->endpoint_count;
	return 0;
}

/* ---- tenants ------------------------------------------------------------------------------ */

static const struct pintle_moment_tenant *tenant_of(const struct history_moment *h,
						    const struct pintle_session_key *key)
{
	for (size_t i = 0; i < h->tenant_count; i++)
		if (!memcmp(&h->tenants[i].tenant, key, sizeof(*key)))
			return &h->tenants[i];
	return NULL;
}

static struct report_tenant *tenant_row(struct report *r, const struct pintle_session_key *key,
					uint32_t mode)
{
	struct report_tenant *more;

	for (size_t i = 0; i < r->tenant_count; i++)
		if (r->tenants[i].mode == mode && !memcmp(&r->tenants[i].key, key, sizeof(*key)))
			return &r->tenants[i];
	more = reallocarray(r->tenants, r->tenant_count + 1, sizeof(*more));
	if (!more)
		return NULL;
	r->tenants = more;
	more[r->tenant_count] = (struct report_tenant){.key = *key, .mode = mode};
	if (key->kind == PINTLE_KEY_NONE)
		snprintf(more[r->tenant_count].text, STATE_KEY_SIZE, "other");
	else
		state_session_format(key, more[r->tenant_count].text);
	return &more[r->tenant_count++];
}

/* Whether the moment has all tenants that there were: it has room for more. */
static bool tenants_whole(const struct history_moment *h)
{
	for (size_t i = 0; i < h->tenant_count; i++)
		if (!h->tenants[i].opened && !h->tenants[i].refused)
			return true;
	return h->tenant_count < PINTLE_MOMENT_ROWS;
}

static const struct pintle_moment_wait *wait_of(const struct history_moment *h,
						const struct pintle_session_key *key)
{
	for (size_t i = 0; i < h->wait_count; i++)
		if (!memcmp(&h->waits[i].tenant, key, sizeof(*key)))
			return &h->waits[i];
	return NULL;
}

/* A tenant that had no answer yet has no row; nor has one that is not measured. */
static void tenant_waits_add(struct report_tenant *to, const struct pintle_moment_wait *before,
			     const struct pintle_moment_wait *after)
{
	static const struct pintle_moment_wait nothing;
	__u64 own[PINTLE_TENANT_BUCKETS], spread[PINTLE_BUCKETS];

	if (!after)
		return;
	if (!before || after->answers < before->answers)
		before = &nothing;
	for (uint32_t i = 0; i < PINTLE_TENANT_BUCKETS; i++)
		own[i] = (uint32_t)(after->bucket[i] - before->bucket[i]);
	bucket_spread(own, spread);
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++)
		to->waits.bucket[i] += spread[i];
	to->waits.answers += after->answers - before->answers;
	to->waits.waited_ns += history_grown(before->waited_ns, after->waited_ns);
}

/* A tenant that only the later moment has came between the two, and began with nothing; unless the
 * former had no room for it. */
static int tenants_add(struct report *r, const struct history_moment *a,
		       const struct history_moment *b)
{
	static const struct pintle_moment_tenant nothing;
	uint32_t mode = MIN(b->pool.mode, (uint32_t)PINTLE_MODE_COUNT);
	bool whole = tenants_whole(a);

	for (size_t i = 0; i < b->tenant_count; i++) {
		const struct pintle_moment_tenant *now = &b->tenants[i];
		const struct pintle_moment_tenant *then = tenant_of(a, &now->tenant);
		struct report_tenant *to;

		if (!then && whole)
			then = &nothing;
		if (!then || (now->tenant.kind == PINTLE_KEY_NONE && !now->opened))
			continue;
		to = tenant_row(r, &now->tenant, mode);
		if (!to)
			return -ENOMEM;
		to->opened += grown(then->opened, now->opened);
		to->refused += grown(then->refused, now->refused);
		if (times_hold(r, a, b, mode))
			tenant_waits_add(to, wait_of(a, &now->tenant), wait_of(b, &now->tenant));
	}
	return 0;
}

/* The keys of pods and cgroups as names. */
static void tenants_name(struct report *r, const struct maps *m)
{
	_cleanup_free_ struct state_tenant *all = NULL;
	size_t n = 0;

	if (!r->tenant_count || state_tenants(m, r->state, &all, &n))
		return;
	for (size_t i = 0; i < r->tenant_count; i++)
		for (size_t k = 0; k < n; k++)
			if (&r->state->pools[all[k].pool] == r->pool &&
			    !memcmp(&all[k].key.session, &r->tenants[i].key,
				    sizeof(r->tenants[i].key)))
				snprintf(r->tenants[i].text, STATE_KEY_SIZE, "%s", all[k].text);
}

/* ---- the forecast --------------------------------------------------------------------------- */

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* The time to first token if connections had gone where the rule would have sent them, each
 * endpoint answering as fast as it did. */
static void forecast_first_token(struct report *r)
{
	double answers = 0, waited = 0, would = 0, would_wait = 0;

	for (size_t i = 0; i < r->endpoint_count; i++) {
		const struct report_endpoint *e = &r->endpoints[i];
		double n = (double)e->answers[PINTLE_MODE_SHADOW];
		double sum = (double)e->waited_ns[PINTLE_MODE_SHADOW];

		if (n < 1)
			continue;
		answers += n;
		waited += sum;
		would += (double)e->would;
		would_wait += (double)e->would * sum / n;
	}
	report_differ(&r->would_first_token, ratio(waited, answers) / 1e9,
		      ratio(would_wait, would) / 1e9);
}

static void forecast(struct report *r)
{
	const struct pintle_forecast *f = &r->modes[PINTLE_MODE_SHADOW].forecast;

	forecast_first_token(r);
	if (!f->would || !f->went)
		return;
	report_differ(&r->would_load, (double)f->went_load / (double)f->went / 1000,
		      (double)f->would_load / (double)f->would / 1000);
	r->would_load.known = f->went_load > 0;
}

/* ---- all --------------------------------------------------------------------------------------
 */

static void classes_pack(struct report *r)
{
	size_t n = 0;

	for (size_t i = 0; i < (size_t)REPORT_MODES * PINTLE_MAX_CLASSES; i++) {
		struct report_class *c = &r->classes[i];
		uint32_t id = i % PINTLE_MAX_CLASSES;

		c->mode = (uint32_t)(i / PINTLE_MAX_CLASSES);
		c->name = id < r->pool->class_count ? r->pool->classes[id].name : "";
		if (c->placed || c->waits.answers)
			r->classes[n++] = *c;
	}
	r->class_count = r->pool->class_count > 1 ? n : 0;
}

static int sums_by_key(const void *left, const void *right)
{
	const struct report_tenant *a = left, *b = right;
	int order = memcmp(&a->key, &b->key, sizeof(a->key));

	return order ? order : (int)a->mode - (int)b->mode;
}

static int sums_by_opened(const void *left, const void *right)
{
	const struct report_tenant *a = left, *b = right;

	if (a->opened_total != b->opened_total)
		return a->opened_total < b->opened_total ? 1 : -1;
	return sums_by_key(left, right);
}

/* Sums the modes of each tenant, which stand one behind the other. */
static void tenants_total(struct report_tenant *all, size_t n)
{
	for (size_t i = 0, end; i < n; i = end) {
		uint64_t total = 0;

		for (end = i; end < n && !memcmp(&all[end].key, &all[i].key, sizeof(all->key));
		     end++)
			total += all[end].opened;
		for (size_t k = i; k < end; k++)
			all[k].opened_total = total;
	}
}

/* Drops the modes in which nothing came of a tenant, and sorts the others: the tenants with most
 * connections first. */
static void tenants_pack(struct report *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->tenant_count; i++) {
		const struct report_tenant *t = &r->tenants[i];

		if (t->opened || t->refused || t->waits.answers)
			r->tenants[n++] = *t;
	}
	r->tenant_count = n;
	if (!n)
		return;
	qsort(r->tenants, n, sizeof(*r->tenants), sums_by_key);
	tenants_total(r->tenants, n);
	qsort(r->tenants, n, sizeof(*r->tenants), sums_by_opened);
}

static int report_sum(struct report *r, const struct maps *m, const struct history *h)
{
	int err = endpoints_begin(r);

	r->spans = calloc(h->count, sizeof(*r->spans));
	r->classes = calloc((size_t)REPORT_MODES * PINTLE_MAX_CLASSES, sizeof(*r->classes));
	if (err || !r->spans || !r->classes)
		return -ENOMEM;
	for (uint32_t k = 0; k < REPORT_MODES; k++)
		r->modes[k].mode = k;
	for (size_t i = 1; !err && i < h->count; i++) {
		span_add(r, &h->all[i - 1], &h->all[i]);
		err = tenants_add(r, &h->all[i - 1], &h->all[i]);
	}
	if (err)
		return err;
	endpoints_sum(r, h);
	classes_pack(r);
	tenants_name(r, m);
	tenants_pack(r);
	r->from_ns = h->all[0].time_ns;
	r->to_ns = h->all[h->count - 1].time_ns;
	r->seconds = (double)(r->to_ns - r->from_ns) / 1e9;
	forecast(r);
	report_judge(r);
	return 0;
}

int report_make(struct report *r, const struct maps *m, uint64_t since_ns)
{
	_cleanup_(history_freep) struct history *h = NULL;
	int err = history_read(m, r->state, r->pool, since_ns, &h);

	return err ? err : report_sum(r, m, h);
}

void report_free(struct report *r)
{
	free(r->spans);
	free(r->classes);
	free(r->endpoints);
	free(r->tenants);
}
