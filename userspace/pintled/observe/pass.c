/* SPDX-License-Identifier: Apache-2.0 */
#include "pass.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <time.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../policy/locality.h"
#include "../../policy/minute.h"
#include "../../policy/progress.h"
#include "../../policy/tries.h"
#include "../../policy/work.h"
#include "health.bpf.h"
#include "poll.h"
#include "../publish/scores.h"
#include "../attach/pass_walks.h"

struct pass {
	const struct maps *m;
	const struct pass_walks *walks;
	struct pintle_work *tally; /* of the walks */
	uv_timer_t timer;
	const struct config *config;
	const struct publication *published;
	struct work_mean means[PINTLE_MAX_POOLS]; /* by the pool's id */
	uint32_t generations[PINTLE_MAX_POOLS];   /* whose mean that is */
	struct poller *pages;
	struct standing {
		uint32_t generation; /* of the endpoint */
		uint64_t page_ns;    /* of the newest page that was taken in */
		uint64_t began_ns;   /* when its server began: begun_ns() */
		struct progress progress;
		struct tries tries;
	} standings[PINTLE_MAX_ENDPOINTS]; /* by the endpoint's id */
	/* By the endpoint's id; owned. NULL: no first token was seen yet; of which generation that
	 * was known at the pass before. */
	struct minute *minutes[PINTLE_MAX_ENDPOINTS];
	uint32_t unanswered[PINTLE_MAX_ENDPOINTS];
	struct pass_figures figures;
	bool told;
};

/* ---- the tally ------------------------------------------------------------------- */

/* Clears what one pass finds; times and what only grows stay. At `ended_ns` the last bytes of an
 * answer were seen to have come out when its connection ended. */
static void tally_begin(struct pintle_work *w, uint32_t generation, uint64_t ended_ns)
{
	struct pintle_work kept = {.generation = generation};

	if (w->generation == generation) {
		kept.out_ns = MAX(w->out_ns, ended_ns);
		kept.read_ns = w->read_ns;
		kept.requests = w->requests;
		kept.request_bytes = w->request_bytes;
		kept.uncached_bytes = w->uncached_bytes;
	}
	*w = kept;
}

/* ---- the pools ------------------------------------------------------------------- */

struct followed {
	const struct config_pool *config;
	const struct published_pool *published;
};

/* The i-th pool; false if there is none. *f is filled in if its requests are followed. */
static bool pool_at(const struct pass *p, size_t i, struct followed *f)
{
	f->config = NULL;
	if (!p->config || i >= p->config->pool_count)
		return false;
	if (p->config->pools[i].follow) {
		f->config = &p->config->pools[i];
		f->published = &p->published->pools[i];
	}
	return true;
}

static void pool_begin(struct pass *p, const struct followed *f, struct work_counts counts[])
{
	for (size_t i = 0; i < f->config->endpoint_count; i++) {
		struct pintle_ref ref = f->published->endpoints[i];
		int64_t pending;

		tally_begin(&p->tally[ref.id], ref.generation, p->m->firsts[ref.id].out_ns);
		scores_count(&p->m->inflight[ref.id], &counts[ref.id].opened,
			     &counts[ref.id].inflight, &pending);
		counts[ref.id].asked = p->m->ends[ref.id].asked_bytes;
	}
}

static struct work_mean *pool_mean(struct pass *p, const struct followed *f)
{
	struct pintle_ref ref = f->published->ref;
	struct work_mean *mean = &p->means[ref.id];

	if (p->generations[ref.id] != ref.generation)
		*mean = (struct work_mean){0};
	p->generations[ref.id] = ref.generation;
	return mean;
}

/* Without memory there are no percentiles. */
static void pass_minute_publish(struct pass *p, const struct followed *f, size_t i, uint64_t now)
{
	struct pintle_ref ref = f->published->endpoints[i];
	struct minute **m = &p->minutes[ref.id];
	struct pintle_work *w = &p->tally[ref.id];

	/* What TLS sends first is no token. */
	if (config_endpoint_is_tls(f->config, &f->config->endpoints[i]))
		return;
	if (!p->m->firsts[ref.id].answers) {
		p->unanswered[ref.id] = ref.generation;
		return;
	}
	if (!*m) {
		*m = calloc(1, sizeof(**m));
		if (*m && p->unanswered[ref.id] == ref.generation)
			minute_begin(*m, now);
	}
	if (!*m)
		return;
	minute_look(*m, p->m->firsts[ref.id].bucket, now);
	w->minute_answers = (*m)->count;
	w->minute_p50_us = (*m)->p50_us;
	w->minute_p95_us = (*m)->p95_us;
}

static void endpoint_publish(struct pass *p, const struct followed *f, uint32_t id, double mean,
			     const struct work_counts *counts, uint32_t extra, uint64_t now)
{
	struct pintle_work *w = &p->tally[id];
	struct pintle_score score = p->m->scores[id];
	struct pintle_work shown;

	w->passed_ns = now;
	shown = *w;
	/* People are told of clients that wait. */
	shown.backlog -= MIN(shown.backlog, poller_knocks(p->pages, id));
	p->m->works[id] = shown;
	if (score.generation != w->generation)
		return; /* no page of this endpoint was read yet */
	work_fold(w, &f->config->weights, mean, counts, &score);
	score.floor = locality_add(score.floor, extra);
	scores_write(&p->m->scores[id], &score);
}

/* ---- standing still -------------------------------------------------------------- */

static struct standing *standing_of(struct pass *p, struct pintle_ref ref)
{
	struct standing *s = &p->standings[ref.id];

	assert(ref.id < PINTLE_MAX_ENDPOINTS);
	if (s->generation != ref.generation)
		*s = (struct standing){.generation = ref.generation};
	return s;
}

/* When the endpoint's server began, as far as it is seen: its listener came, or its page is of an
 * engine that has started anew. */
static uint64_t begun_ns(const struct pass *p, struct pintle_ref ref)
{
	const struct pintle_score *score = &p->m->scores[ref.id];

	return MAX(p->m->health[ref.id].listening_since_ns,
		   score->generation == ref.generation ? score->engine_ns : 0);
}

static void standing_tell(const struct followed *f, size_t i, const struct standing *s,
			  uint64_t now)
{
	const char *pool = f->config->name, *name = f->config->endpoints[i].name;
	double seconds = (double)(now - s->progress.since_ns) / (double)NSEC_PER_SEC;

	if (s->progress.verdict == PINTLE_STANDING_STOPPED)
		log_warn("%s/%s has stopped: it has read and accepted nothing for %.1f s; no new "
			 "connections until it does",
			 pool, name, seconds);
	else if (s->progress.verdict == PINTLE_STANDING_STALLED)
		log_warn("%s/%s stalls: requests wait, and nothing has come out for %.1f s; no new "
			 "connections but one at a time that tries it",
			 pool, name, seconds);
	else
		log_info("%s/%s serves again", pool, name);
}

static bool standing_look(struct pass *p, const struct followed *f, size_t i, uint64_t now)
{
	struct standing *s = standing_of(p, f->published->endpoints[i]);
	uint32_t before = s->progress.verdict;
	uint64_t began;
	const struct poll_counters *c = poller_counters(p->pages, f->published->endpoints[i].id);

	began = begun_ns(p, f->published->endpoints[i]);
	if (s->began_ns != began) {
		/* What stood still was another server. */
		s->progress = (struct progress){.verdict = PINTLE_STANDING_NOT};
		s->began_ns = began;
	}
	s->progress.own_page =
		f->config->endpoints[i].metrics_own || f->config->endpoints[i].metrics_fallback_v6;
	s->progress.sealed = config_endpoint_is_tls(f->config, &f->config->endpoints[i]);
	if (c && c->known && c->page_ns != s->page_ns) {
		s->page_ns = c->page_ns;
		progress_page(&s->progress, &c->signals, c->page_ns);
	}
	progress_pass(&s->progress, &p->tally[f->published->endpoints[i].id], now);
	if (s->progress.verdict != before)
		standing_tell(f, i, s, now);
	return s->progress.verdict != PINTLE_STANDING_NOT;
}

/* Whether connections wait at the listener, of which nobody has accepted the first for long. */
static bool is_deaf(const struct pass *p, uint64_t cookie, uint64_t now)
{
	struct {
		uint64_t first, since_ns, port;
	} queue;

	return !bpf_map_lookup_elem(p->walks->queues_fd, &cookie, &queue) &&
	       now - queue.since_ns >= PROGRESS_STOPPED_NS && now > queue.since_ns;
}

/* Leaves out listeners of the endpoint from which nobody accepts, while somebody does from others:
 * of a group by SO_REUSEPORT, whose workers are processes that may stand still one by one. */
static void listeners_publish(const struct pass *p, uint32_t id, uint64_t now)
{
	struct pintle_health *h = &p->m->health[id];
	uint32_t deaf = 0, others = 0;

	for (uint32_t i = 0;
	     h->listeners > 1 && p->tally[id].backlog && i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = id * PINTLE_SOCKETS_PER_ENDPOINT + i;
		uint64_t cookie;

		if (bpf_map_lookup_elem(p->m->fd[MAP_sockets], &slot, &cookie) || !cookie)
			continue;
		if (is_deaf(p, cookie, now))
			deaf |= 1U << i;
		else
			others |= 1U << i;
	}
	if (!others)
		deaf = 0;
	if (h->deaf != deaf)
		h->deaf = (uint16_t)deaf;
}

/* Gives a connection the try of the endpoint, or none. */
static void standing_try(struct pass *p, const struct followed *f, uint32_t id, uint64_t now)
{
	struct standing *s = &p->standings[id];
	__u64 *at = &p->m->health[id].try_ns;
	__u64 offered = __atomic_load_n(at, __ATOMIC_RELAXED), next;

	next = tries_look(&s->tries, offered, p->tally[id].tries,
			  progress_will_tell(&s->progress, &p->tally[id], now),
			  f->config->ejection.max_time_ns, now);
	/* A connection may take the try just now. */
	__atomic_compare_exchange_n(at, &offered, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Whether nobody has accepted anything since the listener is there: not one connection of which a
 * pass knows, and no page of it came. Such a socket only keeps a port. */
static bool is_empty_socket(const struct pass *p, const struct standing *s, uint32_t id)
{
	uint64_t since = p->m->health[id].listening_since_ns;

	return since && s->progress.verdict == PINTLE_STANDING_STOPPED &&
	       MAX(p->tally[id].read_ns, p->tally[id].out_ns) < since &&
	       s->progress.told_ns < since;
}

static void standing_publish(struct pass *p, const struct followed *f, size_t i, bool all,
			     uint64_t now)
{
	uint32_t id = f->published->endpoints[i].id;
	const struct standing *s = &p->standings[id];
	uint32_t verdict =
		all && !is_empty_socket(p, s, id) ? PINTLE_STANDING_NOT : s->progress.verdict;
	struct pintle_health *h = &p->m->health[id];

	if (verdict)
		standing_try(p, f, id, now);
	else
		p->standings[id].tries = (struct tries){0};
	h->standing = (uint16_t)verdict;
	__atomic_store_n(&h->stands_until_ns,
			 verdict ? now + f->config->saturation.staleness_ns : 0, __ATOMIC_RELEASE);
}

static bool is_away(const struct followed *f, const struct pintle_health *h, uint64_t now)
{
	return h->unfit || (f->config->reach == PINTLE_REACH_LISTENER && !h->listening_since_ns) ||
	       health_ejected(h->ejected_until_ns, h->answered_ns, h->failed_ns, now);
}

/* If all stand still, or are unfit, ejected or down, the pool goes on as if none stood still: the
 * reason is then rather the clients', or that all servers are busy with prompts. A socket that only
 * keeps a port gets no connection even then: the client would wait for ever. */
static void pool_standing(struct pass *p, const struct followed *f, uint64_t now)
{
	size_t n = f->config->endpoint_count, still = 0;

	for (size_t i = 0; i < n; i++)
		still += standing_look(p, f, i, now) ||
			 is_away(f, &p->m->health[f->published->endpoints[i].id], now);
	for (size_t i = 0; i < n; i++)
		standing_publish(p, f, i, still == n, now);
}

static void pool_end(struct pass *p, const struct followed *f, const struct work_counts counts[],
		     uint64_t now)
{
	struct work_mean *mean = pool_mean(p, f);
	uint64_t requests = 0, bytes = 0;

	for (size_t i = 0; i < f->config->endpoint_count; i++) {
		requests += p->tally[f->published->endpoints[i].id].requests;
		bytes += p->tally[f->published->endpoints[i].id].uncached_bytes;
	}
	work_mean_update(mean, requests, bytes);
	for (size_t i = 0; i < f->config->endpoint_count; i++) {
		uint32_t id = f->published->endpoints[i].id;

		listeners_publish(p, id, now);
		pass_minute_publish(p, f, i, now);
		endpoint_publish(
			p, f, id, mean->bytes, &counts[id],
			locality_extra(&f->config->locality, f->config->endpoints[i].place), now);
	}
	pool_standing(p, f, now);
}

/* ---- passing --------------------------------------------------------------------- */

/* Without a pass the scores' passed_ns grows old, and the rule goes by connections alone. */
static void pass_now(struct pass *p)
{
	static struct work_counts counts[PINTLE_MAX_ENDPOINTS];
	uint64_t now = monotonic_ns();
	struct followed f;
	bool any = false;
	int err;

	for (size_t i = 0; pool_at(p, i, &f); i++) {
		if (f.config)
			pool_begin(p, &f, counts);
		any |= f.config != NULL;
	}
	if (!any)
		return;
	err = pass_walks_run(p->walks);
	if (err) {
		if (!p->told)
			log_err_r(err, "failed to run the iterators that follow requests");
		p->told = true;
		return;
	}
	for (size_t i = 0; pool_at(p, i, &f); i++)
		if (f.config)
			pool_end(p, &f, counts, now);
}

static void pass_on_timer(uv_timer_t *timer)
{
	struct pass *p = timer->data;
	uint64_t began = thread_cpu_ns(), took;

	pass_now(p);
	took = thread_cpu_ns() - began;
	p->figures.passes++;
	p->figures.cpu_seconds += (double)took / (double)NSEC_PER_SEC;
	uv_timer_start(timer, pass_on_timer,
		       MAX((uint64_t)PASS_MS, took * PASS_SHARE / NSEC_PER_MSEC), 0);
}

/* ---- life ------------------------------------------------------------------------ */

/* Takes in that a probe of pintled's own was answered as a request is, or was not. */
static void pass_probed(void *arg, struct pintle_ref endpoint, bool good, uint64_t begun_ns,
			uint64_t until_ns)
{
	struct pass *p = arg;

	progress_probe(&standing_of(p, endpoint)->progress, good, begun_ns, until_ns);
}

int pass_new(const struct ground *g, struct poller *pages, struct pass **out)
{
	struct pass *p;

	if (!g->pass_walks)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return log_err_r(ENOMEM, "pass");
	p->m = g->maps;
	p->walks = g->pass_walks;
	p->tally = g->pass_walks->tally;
	p->pages = pages;
	poller_tell(pages, pass_probed, p);
	uv_timer_init(g->loop, &p->timer);
	p->timer.data = p;
	uv_timer_start(&p->timer, pass_on_timer, PASS_MS, 0);
	*out = p;
	return 0;
}

static void endpoint_forget(struct pass *p, uint32_t id)
{
	struct pintle_score score = p->m->scores[id];

	p->m->health[id].stands_until_ns = 0;
	p->m->health[id].deaf = 0;
	p->standings[id].generation = 0;
	free(TAKE_PTR(p->minutes[id]));
	memset(&p->m->works[id], 0, sizeof(p->m->works[id]));
	work_fold(&p->m->works[id], &(struct config_weights){0}, 0, &(struct work_counts){0},
		  &score);
	scores_write(&p->m->scores[id], &score);
}

void pass_configure(struct pass *p, const struct config *c, const struct publication *published)
{
	assert(published->pool_count == c->pool_count);
	if (!p)
		return;
	p->config = c;
	p->published = published;
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t k = 0; !c->pools[i].follow && k < c->pools[i].endpoint_count; k++)
			endpoint_forget(p, published->pools[i].endpoints[k].id);
}

struct pass_figures pass_figures(const struct pass *p)
{
	return p ? p->figures : (struct pass_figures){0};
}

static void pass_on_closed(uv_handle_t *handle)
{
	struct pass *p = handle->data;

	for (size_t i = 0; i < ARRAY_SIZE(p->minutes); i++)
		free(p->minutes[i]);
	free(p);
}

void pass_free(struct pass *p)
{
	if (!p)
		return;
	poller_tell(p->pages, NULL, NULL);
	uv_close((uv_handle_t *)&p->timer, pass_on_closed);
}
