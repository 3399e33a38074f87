/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <math.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/rows.h"
#include "../../maps/state.h"
#include "../../maps/state_history.h"

#define LOOK_NS (10 * NSEC_PER_SEC)
/* A pool with more endpoints than fit an entry has them in one moment of so many. */
#define LARGE_ROUNDS 10

/* A server's counters at the newest look. */
struct page_seen {
	uint32_t generation;
	bool known[SIGNAL_COUNT];
	double value[SIGNAL_COUNT];
};

/* What is known of a pool besides its maps. */
struct past {
	uint32_t generation; /* 0: nothing */
	uint64_t time_ns;    /* of its newest moment; 0: it has none */
	uint64_t answers;    /* as of that moment */
	struct pintle_moment_pool newest;
	struct pintle_moment_pool sums; /* of the looks since: tokens, GPUs, gauges */
	uint32_t rounds;
	bool former; /* the newest moment is of a former daemon: what held since is not known */
};

struct keeper {
	const struct maps *m;
	const struct poller *poller;
	uint64_t looked_ns, taken_ns;
	uint64_t cpu_ns; /* spent on the history */
	/* The keys of the map, the oldest first: a ring. */
	struct pintle_moment_key keys[PINTLE_MAX_MOMENTS];
	size_t first, count;
	struct past past[PINTLE_MAX_POOLS];
	struct page_seen pages[PINTLE_MAX_ENDPOINTS];
	bool sealed[PINTLE_MAX_POOLS]; /* by the pool's id: servers of it speak TLS */
	bool failing;
};

/* ---- the map's entries -------------------------------------------------------------- */

static void drop_oldest(struct keeper *k)
{
	bpf_map_delete_elem(k->m->fd[MAP_history], &k->keys[k->first]);
	k->first = (k->first + 1) % PINTLE_MAX_MOMENTS;
	k->count--;
}

static void drop_old(struct keeper *k, uint64_t now)
{
	while (k->count && (int64_t)(now - k->keys[k->first].time_ns) > (int64_t)PINTLE_HISTORY_NS)
		drop_oldest(k);
}

/* What cannot be written is a gap: the next moment has all that came since the one before. */
static int history_put(struct keeper *k, const struct pintle_moment_key *key,
		       const struct pintle_moment *value)
{
	int err;

	if (k->count == PINTLE_MAX_MOMENTS)
		drop_oldest(k);
	err = bpf_map_update_elem(k->m->fd[MAP_history], key, value, BPF_ANY) ? -errno : 0;
	if (!err)
		k->keys[(k->first + k->count++) % PINTLE_MAX_MOMENTS] = *key;
	else if (!k->failing)
		log_err_r(err,
			  "history: cannot write to map history; `pintle report` will have a gap");
	k->failing = err;
	return err;
}

static int put_endpoints(struct keeper *k, struct pintle_moment_key *key,
			 const struct history_moment *h)
{
	int err = 0;

	for (size_t i = 0; !err && i < h->endpoint_count; i += PINTLE_MOMENT_ROWS) {
		size_t n = MIN(h->endpoint_count - i, (size_t)PINTLE_MOMENT_ROWS);
		struct pintle_moment v = {0};

		key->part = PINTLE_PART_ENDPOINTS + (uint32_t)(i / PINTLE_MOMENT_ROWS);
		memcpy(v.endpoints, h->endpoints + i, n * sizeof(*h->endpoints));
		err = history_put(k, key, &v);
	}
	return err;
}

static int put_waits(struct keeper *k, struct pintle_moment_key *key,
		     const struct history_moment *h)
{
	int err = 0;

	for (size_t i = 0; !err && i < h->wait_count; i += PINTLE_MOMENT_WAITS) {
		size_t n = MIN(h->wait_count - i, (size_t)PINTLE_MOMENT_WAITS);
		struct pintle_moment v = {0};

		key->part = PINTLE_PART_WAITS + (uint32_t)(i / PINTLE_MOMENT_WAITS);
		memcpy(v.waits, h->waits + i, n * sizeof(*h->waits));
		err = history_put(k, key, &v);
	}
	return err;
}

static int put_moment(struct keeper *k, const struct pintle_ref *pool,
		      const struct history_moment *h, bool endpoints)
{
	struct pintle_moment_key key = {pool->id, pool->generation, h->time_ns, 0, 0};
	struct pintle_moment v = {0};
	int err = endpoints ? put_endpoints(k, &key, h) : 0;

	err = err ?: put_waits(k, &key, h);
	if (!err && h->tenant_count) {
		key.part = PINTLE_PART_TENANTS;
		memcpy(v.tenants, h->tenants, sizeof(v.tenants));
		err = history_put(k, &key, &v);
	}
	for (uint32_t i = 0; !err && i < h->class_count; i++) {
		key.part = PINTLE_PART_CLASS + i;
		v.class_of = h->classes[i];
		err = history_put(k, &key, &v);
	}
	if (err)
		return err;
	key.part = PINTLE_PART_POOL;
	memset(&v, 0, sizeof(v));
	v.pool = h->pool;
	return history_put(k, &key, &v);
}

/* ---- looks -------------------------------------------------------------------------- */

/* How much the server's counter has grown since the last look; one that is smaller is that of a
 * server that started anew. */
static uint64_t page_grown(struct page_seen *seen, const struct signals *now, enum signal signal)
{
	double value = now->value[signal], grown = 0;

	if (!now->present[signal])
		return 0;
	if (seen->known[signal])
		grown = value >= seen->value[signal] ? value - seen->value[signal] : value;
	seen->known[signal] = true;
	seen->value[signal] = value;
	return grown < 1e15 ? (uint64_t)grown : 0;
}

static void look_at_page(struct keeper *k, struct pintle_moment_pool *sums,
			 const struct state_endpoint *e)
{
	const struct poll_counters *c = poller_counters(k->poller, e->id);
	struct page_seen *seen = &k->pages[e->id];

	if (seen->generation != e->generation)
		*seen = (struct page_seen){.generation = e->generation};
	if (!c || !c->known)
		return;
	sums->output_tokens += page_grown(seen, &c->signals, SIGNAL_OUTPUT_TOKENS);
	sums->prompt_tokens += page_grown(seen, &c->signals, SIGNAL_PROMPT_TOKENS);
	sums->prefix_hits += page_grown(seen, &c->signals, SIGNAL_PREFIX_HITS);
	sums->prefix_queries += page_grown(seen, &c->signals, SIGNAL_PREFIX_QUERIES);
}

static bool is_eligible(const struct state_endpoint *e)
{
	return e->state == STATE_READY || e->state == STATE_SATURATED || e->state == STATE_STALE;
}

static void history_look_at_pool(struct keeper *k, const struct state *s,
				 const struct state_pool *p, uint64_t passed_ns)
{
	struct pintle_moment_pool *sums = &k->past[p->id].sums;
	double load = 0, squares = 0, most = 0, n = 0, mean;

	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[p->first_endpoint + i];
		struct poll_gpus gpus = poller_gpus(k->poller, e->id);
		double ms = (double)passed_ns / (double)NSEC_PER_MSEC;

		look_at_page(k, sums, e);
		sums->gpu_ms += (uint64_t)(gpus.count * ms);
		sums->gpu_busy_ms += (uint64_t)(gpus.busy * ms);
		sums->in_flight += (uint64_t)e->in_flight;
		if (!is_eligible(e))
			continue;
		n++;
		load += e->load;
		squares += e->load * e->load;
		most = MAX(most, e->load);
	}
	sums->looks++;
	if (n < 1)
		return;
	mean = load / n;
	sums->load_mean += (uint64_t)(1000 * mean);
	sums->load_most += (uint64_t)(1000 * most);
	sums->load_spread += (uint64_t)(1000 * sqrt(MAX(squares / n - mean * mean, 0.0)));
}

/* ---- moments ------------------------------------------------------------------------ */

static uint64_t answers_of(const struct history_moment *h)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < h->class_count; i++)
		n += h->classes[i].answers;
	return n;
}

static bool is_idle(const struct past *p, const struct history_moment *h)
{
	return p->time_ns && p->newest.next == h->pool.next && p->answers == answers_of(h) &&
	       !memcmp(p->newest.decisions, h->pool.decisions, sizeof(h->pool.decisions)) &&
	       !memcmp(p->newest.shadows, h->pool.shadows, sizeof(h->pool.shadows));
}

/* The mode is the former one: the keeper saw the change as it came, but connections did not wait
 * for that. */
static uint32_t mode_until_now(const struct past *p, const struct state_pool *now, bool changed)
{
	if (!p->time_ns || (p->former && now->trial_runs))
		return PINTLE_MODE_COUNT;
	return changed && !p->former ? p->newest.next : history_mode(&p->newest, p->time_ns, now);
}

static void add_sums(const struct past *p, struct pintle_moment_pool *to)
{
	const struct pintle_moment_pool *s = &p->sums, *b = &p->newest;

	to->output_tokens = b->output_tokens + s->output_tokens;
	to->prompt_tokens = b->prompt_tokens + s->prompt_tokens;
	to->prefix_hits = b->prefix_hits + s->prefix_hits;
	to->prefix_queries = b->prefix_queries + s->prefix_queries;
	to->gpu_ms = b->gpu_ms + s->gpu_ms;
	to->gpu_busy_ms = b->gpu_busy_ms + s->gpu_busy_ms;
	to->looks = s->looks;
	to->in_flight = s->in_flight;
	to->load_mean = s->load_mean;
	to->load_most = s->load_most;
	to->load_spread = s->load_spread;
}

static void take_moment(struct keeper *k, const struct state *s, const struct state_pool *p,
			bool changed)
{
	const struct pintle_ref ref = {p->id, p->generation};
	struct past *past = &k->past[p->id];
	struct history_moment h;
	bool endpoints;

	if (history_take(k->m, s, p, &h))
		return;
	if (!is_idle(past, &h)) {
		h.pool.mode = mode_until_now(past, p, changed);
		h.pool.flags = k->sealed[p->id] ? PINTLE_MOMENT_SEALED : 0;
		add_sums(past, &h.pool);
		endpoints = h.endpoint_count <= PINTLE_MOMENT_ROWS || changed ||
			    past->rounds++ % LARGE_ROUNDS == 0;
		put_moment(k, &ref, &h, endpoints);
		past->time_ns = h.time_ns;
		past->answers = answers_of(&h);
		past->newest = h.pool;
		past->sums = (struct pintle_moment_pool){0};
		past->former = false;
	}
	history_moment_free(&h);
}

static void begin_pool(struct keeper *k, const struct state_pool *p)
{
	struct past *past = &k->past[p->id];

	if (past->generation != p->generation)
		*past = (struct past){.generation = p->generation};
}

/* Takes the moments of all pools, or of those whose mode has changed, or that have none. */
static void take_pools(struct keeper *k, bool looks, bool moments)
{
	_cleanup_(state_freep) struct state *s = NULL;
	uint64_t passed;

	if (state_read(k->m, &s))
		return;
	passed = k->looked_ns ? s->now_ns - k->looked_ns : 0;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		const struct past *past = &k->past[p->id];
		bool changed;

		begin_pool(k, p);
		changed = past->time_ns && past->newest.next != p->mode;
		if (looks)
			history_look_at_pool(k, s, p, passed);
		if (moments || changed || !past->time_ns)
			take_moment(k, s, p, changed);
	}
	if (looks)
		k->looked_ns = s->now_ns;
	drop_old(k, s->now_ns);
}

static void take_all(struct keeper *k, bool looks, bool moments)
{
	uint64_t begun = thread_cpu_ns();

	take_pools(k, looks, moments);
	k->cpu_ns += thread_cpu_ns() - begun;
}

void keeper_tend(struct keeper *k, const struct config *c, const struct publication *p)
{
	assert(p->pool_count == c->pool_count);
	for (size_t i = 0; i < p->pool_count; i++)
		k->sealed[p->pools[i].ref.id] = config_pool_is_tls(&c->pools[i]);
	for (size_t i = 0; i < p->pool_count; i++) {
		const struct pintle_ref *ref = &p->pools[i].ref;
		const struct past *past = &k->past[ref->id];

		if (past->generation == ref->generation && past->time_ns &&
		    past->newest.next == state_mode_now(k->m, ref, c->pools[i].mode))
			continue;
		take_all(k, false, false);
		return;
	}
}

void keeper_look(struct keeper *k)
{
	uint64_t now = monotonic_ns();
	bool moments = now - k->taken_ns >= PINTLE_MOMENT_NS;

	if (now - k->looked_ns < LOOK_NS && !moments)
		return;
	take_all(k, true, moments);
	if (moments)
		k->taken_ns = now;
}

double keeper_cpu_seconds(const struct keeper *k)
{
	return (double)k->cpu_ns / (double)NSEC_PER_SEC;
}

/* ---- life --------------------------------------------------------------------------- */

static int key_find(const void *at, const void *value, void *arg)
{
	const struct pintle_moment_key *key = at;
	const struct pintle_moment *v = value;
	struct keeper *k = arg;
	struct past *past;

	if (k->count < PINTLE_MAX_MOMENTS)
		k->keys[k->count++] = *key;
	if (key->part >= PINTLE_PART_CLASS && key->part < PINTLE_PART_TENANTS)
		return 0;
	if (key->part != PINTLE_PART_POOL || key->pool >= PINTLE_MAX_POOLS)
		return 0;
	past = &k->past[key->pool];
	if (past->time_ns > key->time_ns)
		return 0;
	*past = (struct past){
		.generation = key->pool_generation,
		.time_ns = key->time_ns,
		.newest = v->pool,
		.former = true,
	};
	return 0;
}

static int by_time(const void *left, const void *right)
{
	const struct pintle_moment_key *a = left, *b = right;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	return a->part < b->part ? -1 : a->part > b->part;
}

int keeper_new(const struct ground *g, const struct poller *p, struct keeper **out)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return log_err_r(ENOMEM, "history");
	k->m = g->maps;
	k->poller = p;
	k->taken_ns = monotonic_ns();
	err = map_each(k->m, MAP_history, key_find, k);
	if (err) {
		keeper_free(k);
		return err;
	}
	qsort(k->keys, k->count, sizeof(*k->keys), by_time);
	*out = k;
	return 0;
}

void keeper_free(struct keeper *k)
{
	free(k);
}
