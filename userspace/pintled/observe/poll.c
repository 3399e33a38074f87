/* SPDX-License-Identifier: Apache-2.0 */
#include "poll.h"

#include <assert.h>
#include <math.h>

#include "../../base/log.h"
#include "../../maps/state.h"
#include "../../maps/names.h"
#include "../../net/listeners.h"
#include "../../net/netns.h"
#include "../../base/util.h"
#include "loaded_adapters.h"
#include "answers.h"
#include "knock.h"
#include "probe.h"
#include "../publish/register.h"
#include "../../policy/demand.h"
#include "../../policy/engine_run.h"
#include "../../policy/fitness.h"
#include "../../policy/locality.h"
#include "../../policy/score.h"
#include "../../policy/warm_up.h"
#include "rule/eligible.bpf.h"
#include "traits.bpf.h"
#include "../publish/scores.h"
#include "vouch.h"

/* GPU figures older than this many intervals of their exporter are no longer used. */
#define DCGM_INTERVALS 4

/* What llama-server's router answers instead of the page of a model that is not loaded. */
#define PAGE_UNLOADED 400

/* An endpoint whose page and listeners disagree suggests a look at the listeners after 1, 2, 4, 8
 * and 16 checks in a row, and from then on at every 32nd. */
#define LOOK_AGAIN 32

/* Values of a page that none can be are told once, and at most once a minute where they come and
 * go. */
struct telling {
	bool said;
	uint64_t said_ns;
};

#define TELL_AGAIN_NS (60 * NSEC_PER_SEC)

struct watch {
	struct poller *poller;
	struct scrape_target *target;
	struct scrape_target *probe; /* of the server's own port; NULL: not needed */
	struct scrape_target *check; /* its health check; NULL: none is configured */
	struct probe *asker;         /* its probe of one token; NULL: none is configured */
	const struct config_pool *pool;
	const struct config_endpoint *endpoint;
	const struct engine *engine;
	struct engine *own_engine; /* the same, where the pool names metrics; or NULL */
	struct pintle_ref ref;
	bool keep;
	uint64_t round;         /* the newest in which this endpoint was scraped */
	unsigned int suspected; /* checks in a row at which is_odd() was true */
	bool disbelieved;       /* is_of_endpoint() refused a connection since the newest check */
	/* the newest connection: its local port, and listening_since_ns when it was made */
	uint16_t local_port;
	uint64_t connected_since_ns;
	/* noted at the start of the scrape in progress */
	uint64_t begun_ns;
	int64_t inflight, pending;
	struct poll_counters counters;
	struct vouch vouch;
	struct fitness fitness;
	bool slept;                     /* its page has said so */
	bool idle;                      /* its score has PINTLE_SCORE_IDLE */
	uint64_t rest_ns;               /* the newest rest of its page's scrapes; 0: none */
	uint64_t check_begun_ns;        /* when the newest check was connected */
	uint64_t served_since_ns;       /* since when it may be chosen; 0: it may not */
	uint64_t good_ns[SIGNAL_COUNT]; /* when a page had a value of it that can be */
	struct telling spoiled;
	struct knock knock;
	uint64_t accepted_since_ns; /* listening_since_ns of the listener that accepted something */
	bool knock_told;            /* that nobody accepts */
	struct watch *next;         /* in poller.gone */
	struct watch *asks;         /* whose probe asks its server: its own, or another pool's */
	struct watch *also;         /* the next for which asks->asker asks; NULL: the last */
	struct watch *twin;         /* of the same pod, at its other family's address; or NULL */
};

/* One DCGM exporter, asked once however many pools name it. */
struct gpu_source {
	struct poller *poller;
	struct scrape_target *target;
	char *url;
	uint64_t interval_ns, read_ns;
	struct dcgm_gpu *gpus;
	int count;
	bool keep;
	struct telling spoiled;
};

/* The load metrics of a pool's `metrics` that one of its pages has had; NULL: none has. */
struct proofs {
	uint32_t generation; /* the pool's */
	char *names[SIGNAL_KV_CACHE + 1];
};

struct poller {
	uv_loop_t *loop;
	const struct maps *m;
	int netns_fd;
	uv_timer_t *knocks, *demand_looks;
	struct loaded_adapters *adapters;
	struct answers *answers;
	poller_probed probed; /* NULL: requests are not followed */
	void *probed_arg;
	struct scraper *scraper;
	const struct config *config;
	const struct publication *publication;
	struct watch *watches[PINTLE_MAX_ENDPOINTS];
	struct watch *sorted[PINTLE_MAX_ENDPOINTS]; /* by watches_sort() */
	struct watch *gone;      /* what a new configuration has no more, until that is applied */
	struct pintle_pool pool; /* a copy of a row, for watch_serves() */
	struct gpu_source **sources;
	size_t source_count;
	/* By pool id; a pool that is given a former one's id soon has numbers of its own. */
	struct others others[PINTLE_MAX_POOLS];
	struct poll_sums sums[PINTLE_MAX_POOLS]; /* the same */
	struct demand demands[PINTLE_MAX_POOLS]; /* the same */
	struct proofs proofs[PINTLE_MAX_POOLS];  /* the same */
	/* A round is over when every endpoint has been scraped in it. */
	uint64_t round;         /* the current one, from 1 */
	size_t round_open;      /* endpoints not scraped in it yet */
	char fault[FAULT_SIZE]; /* of the newest bad page */
};

/* ---- values that none can be ------------------------------------------------------- */

/* Tells of the page's first such value; `fault` is empty if it has none. */
static void tell_spoiled(struct telling *t, const char *label, const char *fault)
{
	uint64_t now = monotonic_ns();
	bool said = t->said;

	t->said = *fault;
	if (!*fault || said || (t->said_ns && now - t->said_ns < TELL_AGAIN_NS))
		return;
	t->said_ns = now;
	log_warn("a value on the page of %s is left out, and its other values count: %s; next "
		 "messages suppressed",
		 label, fault);
}

/* How old a page may be that is believed. */
static uint64_t page_limit_ns(const struct watch *w)
{
	return w->pool->saturation.staleness_ns +
	       (w->idle ? config_idle_more_ns(&w->pool->scrape) : 0);
}

/* What was known before stands for a value that none can be: a counter's number for ever, because
 * it has not fallen; a gauge's while it is as fresh as a score may be. */
static void hold_signals(struct watch *w, struct signals *s)
{
	const struct signals *before = &w->counters.signals;
	uint64_t now = monotonic_ns();

	for (enum signal i = 0; i < SIGNAL_COUNT; i++) {
		bool load = i <= SIGNAL_KV_CACHE;

		if (s->present[i])
			w->good_ns[i] = now;
		if (!s->spoiled[i] || !before->present[i] ||
		    (load && now - w->good_ns[i] > page_limit_ns(w)))
			continue;
		s->present[i] = true;
		s->value[i] = before->value[i];
	}
}

/* ---- GPUs ------------------------------------------------------------------------ */

static void gpus_tell_watches(const struct gpu_source *s);

static const char *gpus_done(void *arg, int error, const char *page, size_t size)
{
	struct gpu_source *s = arg;
	int n;

	if (error)
		return NULL;
	if (!s->gpus)
		s->gpus = calloc(DCGM_MAX, sizeof(*s->gpus));
	if (!s->gpus)
		return "no memory for its page";
	n = dcgm_read(page, size, s->gpus, DCGM_MAX, s->poller->fault);
	if (n < 0) {
		s->count = 0;
		return s->poller->fault;
	}
	tell_spoiled(&s->spoiled, "dcgm", s->poller->fault);
	s->count = n;
	s->read_ns = monotonic_ns();
	gpus_tell_watches(s);
	return NULL;
}

static const struct scrape_callbacks gpu_callbacks = {.done = gpus_done};

static bool gpu_is_of(const struct dcgm_gpu *g, const struct config_endpoint *e)
{
	if (!e->gpu_pod)
		return e->gpu_index >= 0 && g->index == e->gpu_index;
	return !strcmp(g->pod, e->gpu_pod) &&
	       (!e->gpu_namespace || !strcmp(g->space, e->gpu_namespace));
}

struct gpu_figures {
	double utilization, memory; /* 0..1; -1: not known */
	struct poll_gpus all;
};

/* Where an endpoint has several GPUs: the utilization of the busiest, and the memory of the
 * fullest. */
static struct gpu_figures gpu_figures(const struct poller *p, const struct config_pool *pool,
				      const struct config_endpoint *e)
{
	const char *page = config_gpu_page(pool, e);
	struct gpu_figures f = {.utilization = -1, .memory = -1};

	for (size_t i = 0; page && i < p->source_count; i++) {
		const struct gpu_source *s = p->sources[i];

		if (strcmp(s->url, page) || !s->read_ns ||
		    monotonic_ns() - s->read_ns > DCGM_INTERVALS * s->interval_ns)
			continue;
		for (int j = 0; j < s->count; j++) {
			const struct dcgm_gpu *g = &s->gpus[j];

			if (!gpu_is_of(g, e))
				continue;
			if (g->has_utilization) {
				f.utilization = fmax(f.utilization, g->utilization);
				f.all.count++;
				f.all.busy += g->utilization;
			}
			if (g->has_memory)
				f.memory = fmax(f.memory, g->memory);
		}
	}
	return f;
}

static void source_free(struct gpu_source *s)
{
	scraper_remove(s->target);
	free(s->gpus);
	free(s->url);
	free(s);
}

static int poll_add_source(struct poller *p, const struct config_pool *pool, const char *url)
{
	struct scrape_options options = {
		.url = url,
		.label = "dcgm",
		.interval_ns = pool->dcgm_interval_ns,
		.timeout_ns = MIN(pool->dcgm_interval_ns, 5 * NSEC_PER_SEC),
	};
	struct gpu_source **more, *s;
	int err;

	for (size_t i = 0; i < p->source_count; i++) {
		s = p->sources[i];
		if (strcmp(s->url, url))
			continue;
		/* The pool with the shortest interval sets the pace for all that name this
		 * exporter. */
		s->interval_ns = s->keep ? MIN(s->interval_ns, pool->dcgm_interval_ns)
					 : pool->dcgm_interval_ns;
		s->keep = true;
		options.interval_ns = s->interval_ns;
		return scraper_set_options(s->target, &options);
	}
	more = realloc(p->sources, (p->source_count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->sources = more;
	s = calloc(1, sizeof(*s));
	if (!s || !(s->url = strdup(url))) {
		free(s);
		return -ENOMEM;
	}
	s->poller = p;
	s->interval_ns = pool->dcgm_interval_ns;
	s->keep = true;
	err = scraper_add(p->scraper, &options, &gpu_callbacks, s, &s->target);
	if (err) {
		source_free(s);
		return err;
	}
	p->sources[p->source_count++] = s;
	return 0;
}

/* The pool's exporter, and those of its endpoints. */
static int add_sources(struct poller *p, const struct config_pool *pool)
{
	int err = pool->dcgm_url ? poll_add_source(p, pool, pool->dcgm_url) : 0;

	for (size_t i = 0; !err && i < pool->endpoint_count; i++)
		if (pool->endpoints[i].gpu_exporter)
			err = poll_add_source(p, pool, pool->endpoints[i].gpu_exporter);
	return err;
}

static int configure_sources(struct poller *p)
{
	size_t kept = 0;
	int err = 0;

	for (size_t i = 0; i < p->source_count; i++)
		p->sources[i]->keep = false;
	for (size_t i = 0; !err && i < p->config->pool_count; i++)
		err = add_sources(p, &p->config->pools[i]);
	for (size_t i = 0; i < p->source_count; i++) {
		if (p->sources[i]->keep)
			p->sources[kept++] = p->sources[i];
		else
			source_free(p->sources[i]);
	}
	p->source_count = kept;
	return err;
}

/* ---- scores ---------------------------------------------------------------------- */

/* Whether failures of clients can eject the endpoint. Then the daemon asks it, too: its answer
 * counts against theirs (vouch.h). */
static bool needs_witness(const struct watch *w)
{
	return hook_has(w->pool->decided_by, PINTLE_TRAIT_FAILURES);
}

/* Whether the page comes from the very port that clients are steered to. If not, a probe asks that
 * port. */
static bool page_is_witness(const struct watch *w)
{
	return needs_witness(w) && w->endpoint->metrics_own;
}

static bool witness_ask(void *arg)
{
	struct watch *w = arg;

	return vouch_ask(&w->vouch, &w->poller->m->health[w->ref.id], &w->pool->ejection);
}

static void witness_hear(struct watch *w, bool good)
{
	if (vouch_hear(&w->vouch, &w->poller->m->health[w->ref.id], &w->pool->ejection, good))
		log_info("%s/%s failed clients, but answers pintled over a new connection: "
			 "it is no longer ejected",
			 w->pool->name, w->endpoint->name);
}

/* The page of an endpoint that its clients reach at the same port was refused. A server that has
 * never answered has not failed: it is not chosen yet, and needs none of the pool's ejections. */
static void witness_turned_away(struct watch *w, int error)
{
	const struct maps *m = w->poller->m;
	bool heard = eligible_scraped_ns(&m->scores[w->ref.id], w->ref.generation);
	_cleanup_free_ struct pintle_pool *pool = error && heard ? malloc(sizeof(*pool)) : NULL;
	size_t at = (size_t)(w->pool - w->poller->config->pools);
	uint32_t id = w->poller->publication->pools[at].ref.id;

	if (pool && !maps_value(m, MAP_pools, id, pool))
		vouch_turned_away(m->health, w->ref.id, pool,
				  error == ECONNRESET ? PINTLE_FAILURE_RESET
						      : PINTLE_FAILURE_REFUSED);
}

static bool watch_fresh(void *arg)
{
	return page_is_witness(arg) && witness_ask(arg);
}

static const char *poll_probe_done(void *arg, int error, const char *page, size_t size)
{
	(void)page;
	(void)size;
	witness_hear(arg, !error);
	return NULL;
}

static const struct scrape_callbacks probe_callbacks = {.fresh = witness_ask,
							.done = poll_probe_done};

/* ---- fitness --------------------------------------------------------------------- */

static struct fitness_terms fitness_terms(const struct config_pool *pool)
{
	return (struct fitness_terms){
		.checked = pool->health.path,
		.failures = (unsigned int)pool->health.failures,
		.startup_ns = pool->startup_ns,
	};
}

static void fitness_tell(const struct watch *w, uint32_t unfit)
{
	const char *pool = w->pool->name, *name = w->endpoint->name;
	const struct fitness *f = &w->fitness;

	switch (unfit) {
	case PINTLE_UNFIT_STARTING:
		log_info(
			"%s/%s is starting: it gets no connections until it passes its health check",
			pool, name);
		break;
	case PINTLE_UNFIT_UNHEALTHY:
		log_warn(
			"%s/%s is unhealthy: %u health check%s in a row failed; no new connections",
			pool, name, f->failures, plural(f->failures));
		break;
	case PINTLE_UNFIT_FAULTY:
		if (f->xid)
			log_warn(
				"%s/%s is faulty: a GPU of it reported XID %u, after which it must be "
				"reset; no new connections",
				pool, name, f->xid);
		else
			log_warn("%s/%s is faulty: the memory of its GPU had an error that was not "
				 "corrected; no new connections until the server restarts",
				 pool, name);
		break;
	case PINTLE_UNFIT_ASLEEP:
		log_info("%s/%s sleeps, by its page: it gets no connections until it wakes", pool,
			 name);
		break;
	case PINTLE_UNFIT_NOT:
		log_info("%s/%s is fit for connections", pool, name);
		break;
	case PINTLE_UNFIT_FAILING: /* answers.c tells */
		break;
	}
}

static bool watch_has_gpu(const struct watch *w)
{
	return config_gpu_page(w->pool, w->endpoint);
}

/* Publishes the endpoint's fitness. */
static void fitness_publish(struct watch *w)
{
	struct pintle_health *h = &w->poller->m->health[w->ref.id];
	const struct fitness_terms terms = fitness_terms(w->pool);
	uint32_t unfit = fitness_judge(&w->fitness, &terms, monotonic_ns());
	uint32_t failing = answers_failing(w->poller->answers, &w->ref), before = h->unfit;
	uint32_t detail = unfit == PINTLE_UNFIT_FAULTY ? w->fitness.xid : w->fitness.status;

	if (unfit == PINTLE_UNFIT_NOT && failing) {
		unfit = PINTLE_UNFIT_FAILING;
		detail = failing;
	}
	w->counters.checked = terms.checked;
	w->slept |= unfit == PINTLE_UNFIT_ASLEEP;
	w->counters.judged = terms.checked || watch_has_gpu(w) || w->slept;
	__atomic_store_n(&h->unfit_detail, (uint16_t)detail, __ATOMIC_RELAXED);
	__atomic_store_n(&h->unfit, (uint16_t)unfit, __ATOMIC_RELEASE);
	if (unfit != before && (unfit || before != PINTLE_UNFIT_FAILING))
		fitness_tell(w, unfit);
}

static bool check_begin(void *arg, const struct fetch_connection *connection)
{
	struct watch *w = arg;

	(void)connection;
	w->check_begun_ns = monotonic_ns();
	return true;
}

static uint64_t listening_since(const struct watch *w)
{
	return __atomic_load_n(&w->poller->m->health[w->ref.id].listening_since_ns,
			       __ATOMIC_RELAXED);
}

/* The page comes from a port or address at which the endpoint's own listeners are not. */
static bool elsewhere(const struct config_endpoint *e)
{
	return !e->metrics_own && !e->metrics_fallback_v6;
}

static bool is_in_pod(const struct watch *w)
{
	struct pintle_endpoint e;

	return maps_value(w->poller->m, MAP_endpoints, w->ref.id, &e) ||
	       e.scope != PINTLE_SCOPE_NODE;
}

static int poll_is_same(const struct diag_connection *c, void *arg)
{
	const struct diag_connection *of = arg;

	return c->remote_port == of->remote_port &&
	       !memcmp(&c->local, &of->local, sizeof(c->local)) &&
	       !memcmp(&c->remote, &of->remote, sizeof(c->remote));
}

/*
 * Whether a new connection to the endpoint's own port came to a socket of this network namespace.
 * Podman publishes the port of a container by a nat rule, and keeps a socket that listens at the
 * host's port, from which nobody accepts: 127.0.0.1:8001 goes to 10.88.0.2:8000, where the page is
 * good, and clients that were steered to that socket would wait for ever. Where the kernel does
 * not say, it did; where the socket is bound to a device, only the list of all has it.
 */
static bool came_to_listener(struct watch *w, const struct fetch_connection *c)
{
	struct diag_connection there = {
		.local = c->remote,
		.local_port = c->remote_port,
		.remote = c->local,
		.remote_port = c->local_port,
	};
	struct pintle_health *h = &w->poller->m->health[w->ref.id];
	bool came = is_in_pod(w) || connection_find(w->poller->netns_fd, &there) ||
		    connections_dump(w->poller->netns_fd, c->remote_port, poll_is_same, &there);

	if (!came)
		h->unsteerable = PINTLE_UNSTEERABLE_ELSEWHERE;
	else if (h->unsteerable == PINTLE_UNSTEERABLE_ELSEWHERE)
		h->unsteerable = 0;
	return came;
}

/* Whether one of the endpoint's own listeners can have accepted the connection. The server at port
 * 8000 is down from 12:00 to 12:05; meanwhile another process listens there, and accepts the
 * daemon's connection at 12:01. At 12:10 that connection may still be open, and its pages are the
 * other process's. So a kept connection is used only while listening_since_ns is what it was when
 * the connection was made. */
static bool is_of_endpoint(struct watch *w, const struct fetch_connection *c)
{
	const struct pintle_health *h = &w->poller->m->health[w->ref.id];
	uint64_t since =
		c->fresh ? register_listening_since(w->poller->m, w->ref.id) : listening_since(w);

	if (w->pool->reach != PINTLE_REACH_LISTENER)
		return true;
	if (c->fresh) {
		w->local_port = c->local_port;
		w->connected_since_ns = since;
	} else if (c->local_port != w->local_port || since != w->connected_since_ns) {
		return false;
	}
	/* No listener is known, and yet something accepted: a stranger, or a server whose listen()
	 * was not seen. poller_suspects_listener() has that looked at. */
	if (!since)
		return (h->unsteerable || elsewhere(w->endpoint)) &&
		       !unsteerable_stranger(h->unsteerable);
	if (w->endpoint->metrics_fallback_v6 &&
	    !(h->families & (c->v6 ? PINTLE_FAMILY_V6 : PINTLE_FAMILY_V4)))
		return false;
	return !c->fresh || elsewhere(w->endpoint) || came_to_listener(w, c);
}

/* ---- whether somebody accepts ------------------------------------------------------- */

#define KNOCKS_MS 50
/* A server that accepts nothing for so long is told of, and holds up no round. */
#define KNOCK_LONG_NS NSEC_PER_SEC

/* A page from the endpoint's own port has come over a connection that its listener took. Any other
 * says nothing of the listener, from which nobody might accept. */
static bool needs_knock(const struct watch *w)
{
	return w->pool->reach == PINTLE_REACH_LISTENER &&
	       (w->endpoint->metrics_none || elsewhere(w->endpoint));
}

/* Whether the endpoint's server has accepted a connection since it listens: pintled's own; or a
 * client's, as a pass saw, of an earlier daemon perhaps. */
static bool watch_accepted(struct watch *w)
{
	const struct maps *m = w->poller->m;
	const struct pintle_work *work = &m->works[w->ref.id];
	uint64_t since = listening_since(w);

	if (!needs_knock(w) || !since || w->accepted_since_ns == since)
		return true;
	if ((work->generation == w->ref.generation && work->read_ns > since) ||
	    eligible_scraped_ns(&m->scores[w->ref.id], w->ref.generation) >= since || is_in_pod(w))
		w->accepted_since_ns = since;
	return w->accepted_since_ns == since;
}

/* Whether it is too soon to say that nobody accepts. */
static bool watch_knocks(struct watch *w)
{
	return !watch_accepted(w) && monotonic_ns() - listening_since(w) < KNOCK_LONG_NS;
}

static void knock_address(const struct watch *w, struct addr *ip)
{
	const struct endpoint_addr *at = config_endpoint_at(w->endpoint);

	*ip = at->ip;
	if (!at->any_ip)
		return;
	*ip = (struct addr){.bytes = {[15] = 1}};
	if (w->poller->m->health[w->ref.id].families & PINTLE_FAMILY_V4)
		addr_from_v4(ip, htonl(INADDR_LOOPBACK));
}

/* A server that is configured by its port alone is knocked at in either family. */
static bool knock_is_for(const struct knock *k, const struct config_endpoint *e)
{
	const struct endpoint_addr *at = config_endpoint_at(e);

	return k->port == at->port && (at->any_ip || !memcmp(&k->ip, &at->ip, sizeof(k->ip)));
}

static void watch_count(struct watch *w);

static void knock_tell(struct watch *w, bool accepted)
{
	if (accepted != w->knock_told)
		return;
	w->knock_told = !accepted;
	if (accepted)
		log_info("%s/%s: its listener accepts connections", w->pool->name,
			 w->endpoint->name);
	else
		log_warn("%s/%s: nobody accepts connections from its listener: it is unheard until "
			 "somebody does",
			 w->pool->name, w->endpoint->name);
}

static void knock_answered(struct watch *w)
{
	__u32 *unsteerable = &w->poller->m->health[w->ref.id].unsteerable;

	if (*unsteerable == PINTLE_UNSTEERABLE_ELSEWHERE)
		*unsteerable = 0;
	w->accepted_since_ns = listening_since(w);
	knock_tell(w, true);
	if (w->endpoint->metrics_none)
		watch_count(w);
	else
		scraper_kick(w->target);
}

static void watch_knock(struct watch *w, uint64_t now)
{
	enum knock_answer answer;
	struct addr ip;

	if (watch_accepted(w)) {
		knock_end(&w->knock);
		return;
	}
	knock_address(w, &ip);
	answer = knock_look(&w->knock, w->poller->netns_fd, &ip,
			    config_endpoint_at(w->endpoint)->port, now);
	if (answer == KNOCK_ELSEWHERE)
		w->poller->m->health[w->ref.id].unsteerable = PINTLE_UNSTEERABLE_ELSEWHERE;
	if (answer == KNOCK_ACCEPTED)
		knock_answered(w);
	else if (!watch_knocks(w))
		knock_tell(w, false);
}

static void on_knocks(uv_timer_t *timer)
{
	struct poller *p = timer->data;
	uint64_t now = monotonic_ns();

	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i] && needs_knock(p->watches[i]))
			watch_knock(p->watches[i], now);
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void timer_start(struct poller *p, uv_timer_t *timer, uv_timer_cb call, uint64_t ms)
{
	uv_timer_init(p->loop, timer);
	timer->data = p;
	uv_timer_start(timer, call, ms, ms);
	uv_unref((uv_handle_t *)timer);
}

/* Notes what the endpoint has at the moment when its page is asked for. */
static void watch_note(struct watch *w, uint64_t now)
{
	uint64_t opened;

	loaded_adapters_begin(w->poller->adapters, w->ref);
	scores_count(&w->poller->m->inflight[w->ref.id], &opened, &w->inflight, &w->pending);
	w->begun_ns = now;
}

/* Whether a good page of the endpoint stands for one of its twin. While that fails itself, or its
 * clients do, its own address has to answer. */
static bool twin_takes(const struct watch *w)
{
	const struct watch *twin = w->twin;

	return twin && scraper_other(w->target) == twin->target &&
	       !(page_is_witness(twin) &&
		 vouch_wants(&twin->vouch, &w->poller->m->health[twin->ref.id],
			     &twin->pool->ejection));
}

static bool watch_begin(void *arg, const struct fetch_connection *connection)
{
	struct watch *w = arg;
	uint64_t now;

	if (!is_of_endpoint(w, connection))
		return false;
	now = monotonic_ns();
	watch_note(w, now);
	if (twin_takes(w))
		watch_note(w->twin, now);
	return true;
}

/* What the newest pass over the endpoint's connections said stays. */
static void store_score(struct pintle_score *to, const struct pintle_score *from)
{
	struct pintle_score v = *from;

	if (to->generation == v.generation)
		memcpy(&v.passed_ns, &to->passed_ns,
		       offsetof(struct pintle_score, engine_ns) -
			       offsetof(struct pintle_score, passed_ns));
	scores_write(to, &v);
}

/* Whether the endpoint may be chosen for connections, after a page that came now. */
static bool watch_serves(const struct watch *w, uint64_t now)
{
	const struct maps *m = w->poller->m;
	struct pintle_endpoint e;
	struct pintle_override o;
	struct pintle_pool *pool = &w->poller->pool;
	struct eligible_score score = {.scraped_ns = w->begun_ns};
	const struct eligible_query q = {
		.pool = pool,
		.endpoint = &e,
		.health = &m->health[w->ref.id],
		.override = &o,
		.now = now,
		.family = PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6,
	};

	if (maps_value(m, MAP_endpoints, w->ref.id, &e) ||
	    maps_value(m, MAP_overrides, PINTLE_ENDPOINT_SLOT(w->ref.id), &o) ||
	    maps_value(m, MAP_pools, e.pool, pool))
		return true;
	return !ineligible(&q, &score, false);
}

/* The endpoint's weight, or a part of it while it warms up. An endpoint is back if it could not be
 * chosen, or if no page came for so long that the last one was no longer believed. */
static uint32_t watch_rate(struct watch *w)
{
	uint64_t now = monotonic_ns(), former = w->counters.page_ns;
	bool heard = !former || now - former <= page_limit_ns(w) + w->pool->scrape.interval_ns;

	if (w->pool->slow_start_ns) {
		if (!watch_serves(w, now))
			w->served_since_ns = 0;
		else if (!heard || !w->served_since_ns)
			w->served_since_ns = now;
	} else {
		w->served_since_ns = 1;
	}
	return warm_up_rate((uint32_t)w->endpoint->weight,
			    w->served_since_ns ? now - w->served_since_ns : 0,
			    w->pool->slow_start_ns);
}

static size_t poll_pool_index(const struct watch *w)
{
	return (size_t)(w->pool - w->poller->config->pools);
}

static struct poll_sums *sums_of(struct watch *w)
{
	const struct poller *p = w->poller;
	struct pintle_ref ref = p->publication->pools[w->pool - p->config->pools].ref;
	struct poll_sums *sums = &w->poller->sums[ref.id];

	if (sums->generation != ref.generation)
		*sums = (struct poll_sums){.generation = ref.generation};
	return sums;
}

static void mark_failed(struct watch *w)
{
	struct pintle_score *s = &w->poller->m->scores[w->ref.id];

	w->counters.failures++;
	sums_of(w)->failures++;
	if (s->flags & PINTLE_SCORE_FAILED)
		return;
	__atomic_fetch_or(&s->flags, PINTLE_SCORE_FAILED, __ATOMIC_RELAXED);
}

static void end_round(struct poller *p)
{
	p->m->node->scrape_rounds++;
	p->round++;
	p->round_open = 0;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		p->round_open += p->watches[i] != NULL;
}

static void take_part(struct watch *w)
{
	if (w->round == w->poller->round)
		return;
	w->round = w->poller->round;
	assert(w->poller->round_open > 0);
	if (!--w->poller->round_open)
		end_round(w->poller);
}

/* A page of `s` was read. */
static void fitness_see_gpus(struct watch *w, const struct gpu_source *s)
{
	struct fitness_gpus seen = {0};
	bool any = false;

	for (int i = 0; i < s->count; i++) {
		const struct dcgm_gpu *g = &s->gpus[i];

		if (!gpu_is_of(g, w->endpoint))
			continue;
		seen.spoiled |= g->errors_spoiled;
		any |= g->has_errors;
		seen.dbe += g->dbe;
		if (g->xid && seen.count < ARRAY_SIZE(seen.xids))
			seen.xids[seen.count++] = g->xid;
	}
	if (!any)
		return;
	fitness_met(&w->fitness, w->fitness.refused, listening_since(w), s->read_ns);
	fitness_gpus(&w->fitness, &seen, s->read_ns);
	fitness_publish(w);
}

static void gpus_tell_watches(const struct gpu_source *s)
{
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct watch *w = s->poller->watches[i];

		if (w && watch_has_gpu(w) && !strcmp(config_gpu_page(w->pool, w->endpoint), s->url))
			fitness_see_gpus(w, s);
	}
}

/* Something was asked of the server's own port at begun_ns, and `answered` or not. */
static bool fitness_meet(struct watch *w, const struct scrape_target *t, bool answered,
			 uint64_t begun_ns)
{
	bool refused = scraper_turned_away(t) == ECONNREFUSED;

	if (!refused && !answered)
		return false;
	return fitness_met(&w->fitness, refused, listening_since(w),
			   refused ? monotonic_ns() : begun_ns);
}

static const char *check_done(void *arg, int error, const char *page, size_t size)
{
	struct watch *w = arg;
	const struct fitness_terms terms = fitness_terms(w->pool);

	(void)page;
	(void)size;
	fitness_meet(w, w->check, scraper_status(w->check), w->check_begun_ns);
	w->counters.checks++;
	w->counters.failed_checks +=
		fitness_checked(&w->fitness, &terms, !error, scraper_status(w->check),
				w->check_begun_ns, monotonic_ns());
	fitness_publish(w);
	return NULL;
}

static const struct scrape_callbacks check_callbacks = {.begin = check_begin, .done = check_done};

static bool poll_is_fresh(uint64_t then_ns, uint64_t staleness_ns, uint64_t now_ns)
{
	return then_ns && (int64_t)(now_ns - then_ns) <= (int64_t)staleness_ns;
}

/* The endpoint's requests that came through this node: by the newest pass, or else each connection
 * is one. */
static double own_requests(const struct watch *w)
{
	const struct pintle_work *work = &w->poller->m->works[w->ref.id];

	if (work->generation != w->ref.generation ||
	    !poll_is_fresh(work->passed_ns, w->pool->saturation.staleness_ns, w->begun_ns))
		return (double)w->inflight;
	return (double)work->waiting + work->unseen + work->answering;
}

/* A page that was not wanted for long stands for those that would have come meanwhile. */
static uint64_t pages_stood_for(const struct watch *w)
{
	uint64_t since = w->idle ? monotonic_ns() - w->counters.page_ns : 0;
	uint64_t pages = since / w->pool->scrape.interval_ns;

	return pages < 1 ? 1 : MIN(pages, (uint64_t)OTHERS_PAGES);
}

static void compare_with_others(struct watch *w, const struct pintle_score *score)
{
	struct poller *p = w->poller;
	size_t at = (size_t)(w->pool - p->config->pools);

	for (uint64_t n = pages_stood_for(w); n; n--)
		others_page(&p->others[p->publication->pools[at].ref.id],
			    (double)score->waiting + score->running, own_requests(w),
			    (uint32_t)w->pool->endpoint_count);
}

/* A server that counts less than before has restarted: all that it counts is new. */
static void sums_grow(struct poll_sums *sums, const struct poll_counters *before,
		      const struct signals *now)
{
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		double was = before->signals.value[i];

		if (!now->present[i])
			continue;
		sums->grown.present[i] = true;
		if (before->signals.present[i])
			sums->grown.value[i] += now->value[i] - (now->value[i] < was ? 0 : was);
	}
}

/* Once a minute at most, for each endpoint: several processes may answer behind one address. */
#define RESTART_TOLD_NS (60 * NSEC_PER_SEC)

/* Notes in the score that the engine has started anew, where the page says so. What the page before
 * said is in the pinned score, so that a restart of this daemon hides none of the engine's. */
static void engine_look(struct watch *w, const struct signals *page, struct pintle_score *s)
{
	const struct pintle_score *was = &w->poller->m->scores[w->ref.id];
	struct engine_run now = engine_run_of(page), before;

	s->engine_started = now.started_ms;
	s->engine_tokens = now.tokens;
	if (was->generation != w->ref.generation)
		return;
	s->engine_ns = was->engine_ns;
	before = (struct engine_run){was->engine_started, was->engine_tokens};
	if (!engine_run_is_new(&before, &now))
		return;
	s->engine_ns = monotonic_ns();
	w->counters.restarts++;
	if (config_wants_prompts(w->pool) &&
	    (!was->engine_ns || s->engine_ns - was->engine_ns >= RESTART_TOLD_NS))
		log_info("%s/%s: its page is of an engine that has started anew; prompts that it "
			 "was given before count as not cached",
			 w->pool->name, w->endpoint->name);
}

/* ---- pages on demand --------------------------------------------------------------- */

/* So soon the first connection to an idle pool is seen. */
#define DEMAND_LOOK_MS 200

static struct demand *demand_of(const struct watch *w)
{
	struct poller *p = w->poller;

	return &p->demands[p->publication->pools[poll_pool_index(w)].ref.id];
}

/* After a good page: only an endpoint that may be chosen is left alone for long. What is wrong with
 * any other is looked at as often as ever. */
static bool watch_rest(struct watch *w)
{
	const struct config_scrape *scrape = &w->pool->scrape;

	w->rest_ns = w->target && config_idle_more_ns(scrape) && demand_of(w)->idle &&
				     watch_serves(w, monotonic_ns())
			     ? scrape->idle_ns
			     : 0;
	if (w->target)
		scraper_rest(w->target, w->rest_ns);
	return w->rest_ns;
}

static void watch_rouse(struct watch *w)
{
	if (w->target && w->rest_ns)
		scraper_rest(w->target, 0);
	w->rest_ns = 0;
}

/* From now on the endpoint's score is believed for as long as others are. */
static void watch_expire(struct watch *w)
{
	__atomic_fetch_and(&w->poller->m->scores[w->ref.id].flags, ~(__u32)PINTLE_SCORE_IDLE,
			   __ATOMIC_RELAXED);
	w->idle = false;
}

/* Whether the page that the score is of was another server's, or its server is gone. */
static bool watch_is_outdated(const struct watch *w)
{
	uint64_t since = listening_since(w);

	return w->pool->reach == PINTLE_REACH_LISTENER &&
	       (!since || since > w->poller->m->scores[w->ref.id].scraped_ns);
}

static void watch_demand(struct watch *w, uint64_t now)
{
	const struct demand *d = demand_of(w);

	if (!d->idle || watch_is_outdated(w))
		watch_rouse(w);
	if (w->idle && !d->idle && now - d->since_ns > w->pool->saturation.staleness_ns)
		watch_expire(w);
}

/* Adds up what the kernel has decided about connections to the endpoint. Returns whether one is
 * open. */
static bool endpoint_decisions(const struct maps *m, uint32_t id, uint64_t *sum)
{
	int64_t open = 0;

	*sum += m->shadow_placed[id];
	for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *n = &m->inflight[id].by_class[i];

		*sum += __atomic_load_n(&n->placed, __ATOMIC_RELAXED);
		open += (int64_t)eligible_in_flight(n);
	}
	return open > 0;
}

/* A pool that is full, by a page that may be old, places no connection. */
static void class_decisions(const struct maps *m, uint32_t pool, uint64_t *sum)
{
	for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_class_sums *n = &m->class_sums[pool * PINTLE_MAX_CLASSES + i];

		for (size_t j = 0; j < PINTLE_OUTCOME_COUNT; j++)
			*sum += j == PINTLE_OUTCOME_FORBIDDEN ? 0 : n->decided[j] + n->would[j];
	}
}

static void pool_demand(struct poller *p, size_t at, uint64_t now)
{
	const struct published_pool *pool = &p->publication->pools[at];
	const struct config_pool *c = &p->config->pools[at];
	uint64_t decisions = 0, outcomes[PINTLE_OUTCOME_COUNT] = {0};
	bool open = false;

	for (size_t i = 0; i < c->endpoint_count; i++)
		open |= endpoint_decisions(p->m, pool->endpoints[i].id, &decisions);
	if (c->class_count)
		class_decisions(p->m, pool->ref.id, &decisions);
	else if (c->fallback_count)
		state_decisions(p->m, pool->ref.id, outcomes, &decisions);
	demand_see(&p->demands[pool->ref.id], pool->ref.generation, decisions, open, now);
}

/* A pool that is in use may send connections to these. */
static void others_demand(struct poller *p, size_t at, uint64_t now)
{
	const struct config *c = p->config;

	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++) {
		const char *name = config_other_name(&c->pools[at], i);

		for (size_t j = 0; name && j < c->pool_count; j++)
			if (!strcmp(c->pools[j].name, name))
				demand_use(&p->demands[p->publication->pools[j].ref.id], now);
	}
}

static void on_demand_look(uv_timer_t *timer)
{
	struct poller *p = timer->data;
	uint64_t now = monotonic_ns();

	for (size_t i = 0; p->config && i < p->config->pool_count; i++)
		pool_demand(p, i, now);
	for (size_t i = 0; p->config && i < p->config->pool_count; i++)
		if (!p->demands[p->publication->pools[i].ref.id].idle)
			others_demand(p, i, now);
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i] && (p->watches[i]->rest_ns || p->watches[i]->idle))
			watch_demand(p->watches[i], now);
}

/* Completes a score that was computed from the engine's signals, and gives it to the kernel. */
static void score_publish(struct watch *w, struct pintle_score *s)
{
	uint32_t extra = locality_extra(&w->pool->locality, w->endpoint->place);

	for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++)
		s->model[i].published = locality_add(s->model[i].published, extra);
	s->generation = w->ref.generation;
	s->rate = watch_rate(w);
	s->scraped_ns = w->begun_ns;
	s->inflight = w->inflight;
	s->pending = w->pending;
	s->flags |= watch_rest(w) ? PINTLE_SCORE_IDLE : 0;
	store_score(&w->poller->m->scores[w->ref.id], s);
}

/* A page that ended with its connection may have lost lines at its end, as where the server died
 * meanwhile. It must have what the page before had. Returns 0 or -EBADMSG with the fault. */
static int check_unframed(const struct watch *w, const struct signals *s)
{
	static const char *const names[] = {[SIGNAL_WAITING] = "waiting requests",
					    [SIGNAL_RUNNING] = "running requests",
					    [SIGNAL_KV_CACHE] = "KV cache"};
	const char *gone = s->cold ? names[SIGNAL_WAITING] : NULL;

	if (!scraper_unframed(w->target))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names) && !gone; i++)
		if (w->counters.signals.present[i] && !s->present[i] && !s->spoiled[i])
			gone = names[i];
	if (!gone)
		return 0;
	snprintf(
		w->poller->fault, FAULT_SIZE,
		"it ends with the connection, without a Content-Length, and says nothing of the %s: "
		"lines may be missing",
		gone);
	return -EBADMSG;
}

static void watch_spoiled(struct watch *w, const char *fault)
{
	char label[2 * PINTLE_NAME_SIZE + 2];

	w->counters.spoiled += *fault != '\0';
	snprintf(label, sizeof(label), "%s/%s", w->pool->name, w->endpoint->name);
	tell_spoiled(&w->spoiled, label, fault);
	if (w->twin)
		w->twin->spoiled = w->spoiled;
}

static void proofs_forget(struct proofs *proofs)
{
	for (size_t i = 0; i < ARRAY_SIZE(proofs->names); i++)
		free(TAKE_PTR(proofs->names[i]));
}

static struct proofs *proofs_of(struct watch *w)
{
	struct poller *p = w->poller;
	struct pintle_ref ref = p->publication->pools[poll_pool_index(w)].ref;
	struct proofs *proofs = &p->proofs[ref.id];

	if (proofs->generation != ref.generation) {
		proofs_forget(proofs);
		proofs->generation = ref.generation;
	}
	return proofs;
}

/* Gauges may appear only with a server's first request: those of TensorRT-LLM, and so those of
 * whatever exports them by names of its own. A name that no page of the pool has had may be wrong.
 */
static void watch_prove(struct watch *w)
{
	const struct proofs *proofs = proofs_of(w);
	bool proven[ENGINE_NAMES] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(proofs->names); i++)
		proven[i] = proofs->names[i] && w->pool->metric_names[i] &&
			    !strcmp(proofs->names[i], w->pool->metric_names[i]);
	if (w->own_engine)
		engine_prove(w->own_engine, proven);
}

/* A good page of the endpoint has said so much. */
static void proofs_note(struct watch *w, const struct signals *s)
{
	struct proofs *proofs = proofs_of(w);

	for (size_t i = 0; i < ARRAY_SIZE(proofs->names) && !s->cold; i++) {
		const char *name = w->pool->metric_names[i];

		if (!name || !s->present[i] ||
		    (proofs->names[i] && !strcmp(proofs->names[i], name)))
			continue;
		free(proofs->names[i]);
		proofs->names[i] = strdup(name); /* without memory the next page proves it */
	}
}

/* The page said something of the endpoint's answers, which may concern all of its pool. */
static void answers_hear(struct watch *w)
{
	const struct poller *p = w->poller;
	size_t at = poll_pool_index(w);
	const struct published_pool *pool = &p->publication->pools[at];

	if (!answers_judge(p->answers, at, (size_t)(w->endpoint - w->pool->endpoints)))
		return;
	for (size_t i = 0; i < w->pool->endpoint_count; i++)
		if (p->watches[pool->endpoints[i].id])
			fitness_publish(p->watches[pool->endpoints[i].id]);
}

static void answers_hear_error(struct watch *w)
{
	if (!elsewhere(w->endpoint))
		answers_status(w->poller->answers, &w->ref, scraper_status(w->target),
			       scraper_retry_ns(w->target));
	answers_hear(w);
}

/* Takes in a good page of the endpoint's server. `own`: its own address has answered. */
static void watch_take(struct watch *w, const struct signals *read, const char *page, size_t size,
		       bool own)
{
	struct pintle_score score = {0};
	struct signals signals = *read;

	hold_signals(w, &signals);
	/* Requests for a rank that sleeps wait, and the server's own balancer sends it some. */
	w->fitness.asleep = signals.value[SIGNAL_ASLEEP] > 0;
	fitness_publish(w);
	score_compute(&signals, gpu_figures(w->poller, w->pool, w->endpoint).utilization,
		      &w->pool->weights, &w->pool->saturation, &score);
	engine_look(w, &signals, &score);
	score_publish(w, &score);
	compare_with_others(w, &score);
	sums_grow(sums_of(w), &w->counters, &signals);
	if (loaded_adapters_concern(w->poller->adapters, poll_pool_index(w)))
		loaded_adapters_page(w->poller->adapters, w->ref, poll_pool_index(w), page, size);
	w->counters.signals = signals;
	w->counters.known = true;
	w->counters.page_ns = monotonic_ns();
	w->idle = score.flags & PINTLE_SCORE_IDLE;
	answers_page(w->poller->answers, &w->ref, own && !elsewhere(w->endpoint), page, size,
		     &signals, w->begun_ns);
	answers_hear(w);
}

/* A pod's page says the same at both of its addresses. It is the other's, too, unless something was
 * noted for that since. */
static void twin_take(struct watch *w, const struct signals *read, const char *page, size_t size)
{
	if (!twin_takes(w) || w->twin->begun_ns != w->begun_ns)
		return;
	take_part(w->twin);
	watch_take(w->twin, read, page, size, false);
	scraper_stand_for_other(w->target);
}

static const char *watch_done(void *arg, int error, const char *page, size_t size)
{
	struct watch *w = arg;
	struct signals signals;
	int err = error;

	if (!watch_knocks(w))
		take_part(w);
	w->counters.scrapes++;
	sums_of(w)->scrapes++;
	w->disbelieved |= error == -ESTALE;
	watch_prove(w);
	if (!err)
		err = engine_read(w->engine, page, size, &signals, w->poller->fault)
			      ?: check_unframed(w, &signals);
	if (page_is_witness(w)) {
		witness_hear(w, !err);
		witness_turned_away(w, scraper_turned_away(w->target));
	}
	if (!elsewhere(w->endpoint)) {
		if (fitness_meet(w, w->target, !error, w->begun_ns) && w->check)
			scraper_kick(w->check);
		fitness_publish(w);
	}
	if (err) {
		w->rest_ns = 0;
		mark_failed(w);
		answers_hear_error(w);
		return error ? NULL : w->poller->fault;
	}
	if (!watch_accepted(w))
		return NULL;
	watch_spoiled(w, w->poller->fault);
	proofs_note(w, &signals);
	watch_take(w, &signals, page, size, true);
	twin_take(w, &signals, page, size);
	return NULL;
}

/* An endpoint without a page has the load of its connections that came through this node. A page
 * with that many running requests would say the same; so the rule weighs it as it weighs others. */
static void watch_count(struct watch *w)
{
	struct pintle_score score = {0};
	struct signals signals = {0};
	uint64_t opened;

	if (!watch_knocks(w))
		take_part(w);
	if (!watch_accepted(w))
		return;
	scores_count(&w->poller->m->inflight[w->ref.id], &opened, &w->inflight, &w->pending);
	w->begun_ns = monotonic_ns();
	signals.present[SIGNAL_RUNNING] = true;
	/* Connections that the pass saw may have ended since. */
	signals.value[SIGNAL_RUNNING] = fmin(own_requests(w), (double)MAX(w->inflight, 0));
	score_compute(&signals, gpu_figures(w->poller, w->pool, w->endpoint).utilization,
		      &w->pool->weights, &w->pool->saturation, &score);
	/* No page says how many run. */
	score.flags &= ~(uint32_t)PINTLE_SIGNAL_RUNNING;
	score.running = 0;
	score_publish(w, &score);
	w->counters.page_ns = w->begun_ns;
	answers_page(w->poller->answers, &w->ref, false, NULL, 0, NULL, w->begun_ns);
	answers_hear(w);
}

void poller_count(struct poller *p)
{
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i] && p->watches[i]->endpoint->metrics_none)
			watch_count(p->watches[i]);
}

static const struct scrape_callbacks endpoint_callbacks = {
	.fresh = watch_fresh, .begin = watch_begin, .done = watch_done};

/* ---- targets --------------------------------------------------------------------- */

static void watch_free(struct watch *w)
{
	if (!w)
		return;
	scraper_remove(w->target);
	scraper_remove(w->probe);
	scraper_remove(w->check);
	probe_free(w->asker);
	engine_free(w->own_engine);
	knock_end(&w->knock);
	free(w);
}

/* A server that is configured by its port alone may listen on IPv6 only: it is tried at 127.0.0.1
 * and [::1]. */
static char *at_v6(const char *at_v4)
{
	static const char v4[] = "://127.0.0.1:";
	const char *at = strstr(at_v4, v4);
	char *url = NULL;

	if (!at ||
	    asprintf(&url, "%.*s://[::1]:%s", (int)(at - at_v4), at_v4, at + sizeof(v4) - 1) < 0)
		return NULL;
	return url;
}

static char *fallback_url(const struct config_endpoint *e)
{
	return e->metrics_fallback_v6 ? at_v6(e->metrics_url) : NULL;
}

/* The token, the client certificate and the path are for the host that serves the pages. A probe
 * asks another port, so it sends none of them. */
static int configure_probe(struct watch *w, const char *label)
{
	const struct config_scrape *scrape = &w->pool->scrape;
	const struct endpoint_addr *at = &w->endpoint->address;
	_cleanup_free_ char *url = NULL;
	char address[ADDR_TEXT_SIZE];
	struct scrape_options options = {
		.label = label,
		.interval_ns = scrape->interval_ns,
		.timeout_ns = scrape->timeout_ns,
		.server_name = w->endpoint->host,
		.probe = true,
	};

	if (!needs_witness(w) || w->endpoint->metrics_own) {
		scraper_remove(TAKE_PTR(w->probe));
		return 0;
	}
	addr_format(&at->ip, at->port, address);
	if (asprintf(&url, "%s://%s/", scrape->scheme, address) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	options.url = url;
	return w->probe ? scraper_set_options(w->probe, &options)
			: scraper_add(w->poller->scraper, &options, &probe_callbacks, w, &w->probe);
}

int poller_server_options(const struct config_pool *pool, const struct config_endpoint *e,
			  const char *path, struct scrape_options *out, char **url, char **fallback)
{
	const struct config_scrape *scrape = &pool->scrape;
	const struct endpoint_addr *at = config_endpoint_at(e);
	static const struct addr loopback = {
		.bytes = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
	char address[ADDR_TEXT_SIZE];

	addr_format(at->any_ip ? &loopback : &at->ip, at->port, address);
	if (asprintf(url, "%s://%s%s", scrape->scheme, address, path) < 0) {
		*url = NULL;
		return -ENOMEM;
	}
	*fallback = at->any_ip ? at_v6(*url) : NULL;
	*out = (struct scrape_options){
		.url = *url,
		.fallback_url = *fallback,
		.credentials_file = elsewhere(e) ? NULL : scrape->credentials_file,
		.ca_file = scrape->ca_file,
		.cert_file = elsewhere(e) ? NULL : scrape->cert_file,
		.key_file = elsewhere(e) ? NULL : scrape->key_file,
		.server_name = scrape->server_name ?: e->host,
		.timeout_ns = scrape->timeout_ns,
	};
	return 0;
}

static void check_start(struct watch *w)
{
	const struct maps *m = w->poller->m;
	const struct fitness_terms terms = fitness_terms(w->pool);

	fitness_begin(&w->fitness, eligible_scraped_ns(&m->scores[w->ref.id], w->ref.generation),
		      m->health[w->ref.id].unfit, &terms, monotonic_ns());
}

static int configure_check(struct watch *w, const char *label)
{
	const struct config_health *health = &w->pool->health;
	_cleanup_free_ char *url = NULL, *fallback = NULL;
	struct scrape_options options;
	int err;

	if (!health->path) {
		scraper_remove(TAKE_PTR(w->check));
		return 0;
	}
	err = poller_server_options(w->pool, w->endpoint, health->path, &options, &url, &fallback);
	if (err)
		return err;
	options.label = label;
	options.interval_ns = health->interval_ns;
	options.timeout_ns = health->timeout_ns;
	options.expect = (unsigned int)health->expect;
	if (w->check)
		return scraper_set_options(w->check, &options);
	check_start(w);
	return scraper_add(w->poller->scraper, &options, &check_callbacks, w, &w->check);
}

/* A server that sleeps, or has unloaded its model, must not be woken. A router's page is 400 then.
 */
static bool asker_may_ask(const struct watch *w)
{
	return w->asker && !w->fitness.asleep &&
	       !(w->target && scraper_status(w->target) == PAGE_UNLOADED);
}

/* As all say for which the probe is. */
static bool askers_may_ask(const struct watch *asks)
{
	for (const struct watch *w = asks; w; w = w->also)
		if (!asker_may_ask(w))
			return false;
	return true;
}

/* While the server may be asked, probes tell whether it serves again, whenever it stands still. */
static void asker_tell(const struct watch *w, bool good, uint64_t asked_ns)
{
	uint64_t until = askers_may_ask(w->asks)
				 ? monotonic_ns() + probe_known_ns(&w->asks->pool->probe)
				 : 0;

	if (w->poller->probed)
		w->poller->probed(w->poller->probed_arg, w->ref, good, asked_ns, until);
}

/* A server that got no client since must not be woken either. */
static bool asker_wants(void *arg, uint64_t asked_ns)
{
	const struct watch *asks = arg;
	bool wants = false;

	if (asks->asks != asks)
		return false;
	for (const struct watch *w = asks; w; w = w->also) {
		asker_tell(w, false, asked_ns);
		wants |= ineligible_standing(&w->poller->m->health[w->ref.id], monotonic_ns()) ||
			 answers_doubts(w->poller->answers, &w->ref, asked_ns);
	}
	return wants && askers_may_ask(asks);
}

static void asker_done(void *arg, unsigned int status, uint64_t retry_ns, uint64_t asked_ns)
{
	for (struct watch *w = arg; w; w = w->also) {
		asker_tell(w, status >= 200 && status <= 299, asked_ns);
		answers_probed(w->poller->answers, &w->ref, status, retry_ns);
		answers_hear(w);
	}
}

static void tell_all(struct poller *p)
{
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i])
			asker_tell(p->watches[i], false, 0);
}

void poller_tell(struct poller *p, poller_probed probed, void *arg)
{
	p->probed = probed;
	p->probed_arg = arg;
	tell_all(p);
}

static const struct probe_callbacks asker_callbacks = {.wants = asker_wants, .done = asker_done};

static int configure_asker(struct watch *w, const char *label)
{
	const struct config_probe *probe = &w->pool->probe;
	_cleanup_free_ char *url = NULL, *fallback = NULL;
	struct scrape_options options = {0};
	int err = 0;

	if (probe->path)
		err = poller_server_options(w->pool, w->endpoint, probe->path, &options, &url,
					    &fallback);
	options.label = label;
	return err
		       ?: probe_configure(&w->asker, w->poller->scraper, probe, &options,
					  &asker_callbacks, w);
}

/* By what is asked, and then by the server. One that is configured by its port alone comes first.
 */
static int by_question(const void *a, const void *b)
{
	const struct watch *x = *(struct watch *const *)a, *y = *(struct watch *const *)b;
	const struct endpoint_addr *at = config_endpoint_at(x->endpoint);
	const struct endpoint_addr *to = config_endpoint_at(y->endpoint);
	int order = (at->port - to->port) ?: strcmp(probe_asks(x->asker), probe_asks(y->asker));

	order = order ?: (to->any_ip - at->any_ip) ?: memcmp(&at->ip, &to->ip, sizeof(at->ip));
	return order ?: (x->ref.id > y->ref.id) - (x->ref.id < y->ref.id);
}

static bool asks_the_same(const struct watch *x, const struct watch *y)
{
	return config_endpoint_at(x->endpoint)->port == config_endpoint_at(y->endpoint)->port &&
	       !strcmp(probe_asks(x->asker), probe_asks(y->asker));
}

/* Whether `w` is of the server that `of` has: at its address; or at one of this node, where the
 * other is configured by its port alone. */
static bool is_same_server(const struct watch *w, const struct watch *of)
{
	const struct endpoint_addr *at = config_endpoint_at(of->endpoint);
	const struct addr *ip = &config_endpoint_at(w->endpoint)->ip;

	return at->any_ip ? netns_has_address(w->poller->netns_fd, ip)
			  : !memcmp(ip, &at->ip, sizeof(*ip));
}

/* Sorts those watches by `order`. Returns how many are in p->sorted. */
static size_t watches_sort(struct poller *p, bool (*which)(const struct watch *w),
			   int (*order)(const void *a, const void *b))
{
	size_t n = 0;

	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i] && which(p->watches[i]))
			p->sorted[n++] = p->watches[i];
	qsort(p->sorted, n, sizeof(*p->sorted), order);
	return n;
}

static bool has_asker(const struct watch *w)
{
	return w->asker;
}

/* One prober a server: endpoints of several pools that ask it the same share the first one's. */
static void share_askers(struct poller *p)
{
	struct watch *first = NULL, **all = p->sorted;
	size_t n = watches_sort(p, has_asker, by_question);

	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		if (!p->watches[i])
			continue;
		p->watches[i]->asks = p->watches[i];
		p->watches[i]->also = NULL;
	}
	for (size_t i = 0; i < n; i++) {
		struct watch *w = all[i], *asks = NULL;

		if (!first || !asks_the_same(w, first))
			first = w;
		else if (is_same_server(w, first))
			asks = first;
		else if (is_same_server(w, all[i - 1]))
			asks = all[i - 1]->asks;
		if (!asks)
			continue;
		w->asks = asks;
		w->also = asks->also;
		asks->also = w;
	}
	tell_all(p);
}

/* How many letters of an endpoint's name are its pod's, and its rank's: in a cluster, the second
 * family's address has more. */
static size_t pod_letters(const struct watch *w)
{
	const char *name = w->endpoint->name;
	size_t length = strlen(name);
	const char *family = second_family(addr_is_v4(&config_endpoint_at(w->endpoint)->ip));
	size_t more = strlen(family);

	return length > more && !strcmp(name + length - more, family) ? length - more : length;
}

static int by_pod(const struct watch *x, const struct watch *y)
{
	size_t m = pod_letters(x), n = pod_letters(y);
	int order = (x->pool > y->pool) - (x->pool < y->pool);

	order = order
			?: config_endpoint_at(x->endpoint)->port -
				   config_endpoint_at(y->endpoint)->port;
	return order ?: memcmp(x->endpoint->name, y->endpoint->name, MIN(m, n))
				?: (m > n) - (m < n);
}

/* The first family's comes first. */
static int by_pod_and_family(const void *a, const void *b)
{
	const struct watch *x = *(struct watch *const *)a, *y = *(struct watch *const *)b;
	size_t m = strlen(x->endpoint->name), n = strlen(y->endpoint->name);

	return by_pod(x, y) ?: (m > n) - (m < n) ?: (x->ref.id > y->ref.id) - (x->ref.id < y->ref.id);
}

static bool are_twins(const struct watch *first, const struct watch *second)
{
	return !by_pod(first, second) && !first->endpoint->name[pod_letters(first)] &&
	       second->endpoint->name[pod_letters(second)] &&
	       addr_is_v4(&config_endpoint_at(first->endpoint)->ip) !=
		       addr_is_v4(&config_endpoint_at(second->endpoint)->ip);
}

/* Whether its pool was found in a cluster, and its page may be the page of another address, too. */
static bool may_have_twin(const struct watch *w)
{
	return w->target && strchr(w->pool->name, '/') && w->pool->reach != PINTLE_REACH_LISTENER;
}

/* One reader of a page: a pod's two addresses lead to the same server. */
static void pair_families(struct poller *p)
{
	size_t n = watches_sort(p, may_have_twin, by_pod_and_family);
	struct watch **all = p->sorted;

	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i])
			p->watches[i]->twin = NULL;
	for (size_t i = 1; i < n; i++) {
		if (all[i - 1]->twin || !are_twins(all[i - 1], all[i]))
			continue;
		all[i - 1]->twin = all[i];
		all[i]->twin = all[i - 1];
	}
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i] && p->watches[i]->target)
			scraper_pair(p->watches[i]->target,
				     p->watches[i]->twin ? p->watches[i]->twin->target : NULL);
}

static int configure_page(struct watch *w, const struct scrape_options *options)
{
	if (!options->url) {
		scraper_remove(TAKE_PTR(w->target));
		w->counters.known = false;
		w->counters.signals = (struct signals){0};
		return 0;
	}
	return w->target ? scraper_set_options(w->target, options)
			 : scraper_add(w->poller->scraper, options, &endpoint_callbacks, w,
				       &w->target);
}

static int configure_engine(struct watch *w, const struct config_pool *pool)
{
	const struct engine *base = engine_find(pool->engine);
	struct engine *own = NULL;
	int err = 0;

	_Static_assert(CONFIG_METRICS == ENGINE_NAMES, "a signal has no key, or a key no signal");
	for (size_t i = 0; i < CONFIG_METRICS && !own && !err; i++)
		if (pool->metric_names[i])
			err = engine_named(base, pool->metric_names, &own);
	if (err)
		return err;
	engine_free(w->own_engine);
	w->own_engine = own;
	w->engine = own ?: base;
	return 0;
}

static void watch_leave(struct watch *w)
{
	w->poller->watches[w->ref.id] = NULL;
	w->next = w->poller->gone;
	w->poller->gone = w;
}

/* A server stays that has another name, or another pool, now. */
static void knock_stays(struct poller *p, struct knock *k)
{
	for (size_t i = 0; k->fd >= 0 && i < PINTLE_MAX_ENDPOINTS; i++) {
		struct watch *w = p->watches[i];

		if (w && w->knock.fd < 0 && needs_knock(w) && knock_is_for(k, w->endpoint))
			knock_hand_on(k, &w->knock);
	}
}

static void forget_gone(struct poller *p)
{
	while (p->gone) {
		struct watch *w = p->gone;

		p->gone = w->next;
		knock_stays(p, &w->knock);
		watch_free(w);
	}
}

static int configure_watch(struct poller *p, const struct config_pool *pool,
			   const struct config_endpoint *e, const struct pintle_ref *ref)
{
	_cleanup_free_ char *fallback = fallback_url(e);
	char label[2 * PINTLE_NAME_SIZE + 2];
	struct scrape_options options = {
		.url = e->metrics_url,
		.fallback_url = fallback,
		.credentials_file = pool->scrape.credentials_file,
		.ca_file = pool->scrape.ca_file,
		.cert_file = pool->scrape.cert_file,
		.key_file = pool->scrape.key_file,
		.server_name = pool->scrape.server_name,
		.label = label,
		.interval_ns = pool->scrape.interval_ns,
		.timeout_ns = pool->scrape.timeout_ns,
	};
	struct watch *w = p->watches[ref->id];
	int err;

	snprintf(label, sizeof(label), "%s/%s", pool->name, e->name);
	if (w && w->ref.generation != ref->generation) {
		watch_leave(w);
		w = NULL;
	}
	if (w) {
		err = configure_page(w, &options);
	} else {
		w = calloc(1, sizeof(*w));
		if (!w)
			return log_err_r(ENOMEM, "poll");
		w->poller = p;
		w->ref = *ref;
		w->knock.fd = -1;
		/* As an earlier daemon found, until a page says otherwise. */
		w->fitness.faulty = p->m->health[ref->id].unfit == PINTLE_UNFIT_FAULTY;
		w->fitness.xid = w->fitness.faulty ? p->m->health[ref->id].unfit_detail : 0;
		w->fitness.faulty_ns = monotonic_ns();
		w->fitness.asleep = p->m->health[ref->id].unfit == PINTLE_UNFIT_ASLEEP;
		/* An earlier daemon steered to it. */
		w->idle = p->m->scores[ref->id].generation == ref->generation &&
			  p->m->scores[ref->id].flags & PINTLE_SCORE_IDLE;
		w->served_since_ns =
			eligible_scraped_ns(&p->m->scores[ref->id], ref->generation) > 0;
		err = configure_page(w, &options);
		if (err) {
			free(w);
			return log_err_r(err, "cannot scrape %s", label);
		}
		p->watches[ref->id] = w;
	}
	if (err)
		return log_err_r(err, "cannot scrape %s", label);
	w->pool = pool;
	w->endpoint = e;
	if (w->rest_ns > pool->scrape.idle_ns)
		watch_rouse(w);
	err = configure_engine(w, pool);
	if (err)
		return log_err_r(err, "cannot read the metrics of %s", label);
	err = configure_probe(w, label);
	if (err)
		return log_err_r(err, "cannot probe %s", label);
	err = configure_check(w, label);
	if (err)
		return log_err_r(err, "cannot check the health of %s", label);
	err = configure_asker(w, label);
	if (err)
		return log_err_r(err, "cannot probe %s", label);
	if (!watch_has_gpu(w))
		w->fitness.faulty = w->fitness.gpus_known = false;
	w->fitness.asleep &= e->metrics_url != NULL;
	fitness_publish(w);
	w->keep = true;
	return 0;
}

/* New endpoints join the round, and endpoints that left no longer hold it up. */
static void recount_round(struct poller *p)
{
	size_t watched = 0;

	p->round_open = 0;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		watched += p->watches[i] != NULL;
		p->round_open += p->watches[i] && p->watches[i]->round != p->round;
	}
	if (watched && !p->round_open)
		end_round(p);
}

int poller_configure(struct poller *p, const struct config *c, const struct publication *pub)
{
	int err = 0;

	assert(pub->pool_count == c->pool_count);
	p->config = c;
	p->publication = pub;
	loaded_adapters_configure(p->adapters, c, pub);
	answers_configure(p->answers, c, pub);
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (p->watches[i])
			p->watches[i]->keep = false;
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t j = 0; j < c->pools[i].endpoint_count; j++)
			err = configure_watch(p, &c->pools[i], &c->pools[i].endpoints[j],
					      &pub->pools[i].endpoints[j])
				      ?: err;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		if (p->watches[i] && !p->watches[i]->keep)
			watch_leave(p->watches[i]);
	}
	forget_gone(p);
	share_askers(p);
	pair_families(p);
	recount_round(p);
	poller_count(p);
	return configure_sources(p) ?: err;
}

int poller_new(const struct ground *g, struct poller **out)
{
	struct poller *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return log_err_r(ENOMEM, "poll");
	p->loop = g->loop;
	p->m = g->maps;
	p->netns_fd = g->netns_fd;
	p->round = 1;
	p->knocks = calloc(1, sizeof(*p->knocks));
	p->demand_looks = calloc(1, sizeof(*p->demand_looks));
	err = !p->knocks || !p->demand_looks
		      ? -ENOMEM
		      : loaded_adapters_new(p->m, &p->adapters)
				?: answers_new(p->m, &p->answers)
					?: scraper_new(p->loop, p->netns_fd, &p->scraper);
	if (err) {
		loaded_adapters_free(p->adapters);
		answers_free(p->answers);
		free(p->knocks);
		free(p->demand_looks);
		free(p);
		return err;
	}
	timer_start(p, p->knocks, on_knocks, KNOCKS_MS);
	timer_start(p, p->demand_looks, on_demand_look, DEMAND_LOOK_MS);
	*out = p;
	return 0;
}

void poller_free(struct poller *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		watch_free(p->watches[i]);
	for (size_t i = 0; i < p->source_count; i++)
		source_free(p->sources[i]);
	for (size_t i = 0; i < ARRAY_SIZE(p->proofs); i++)
		proofs_forget(&p->proofs[i]);
	free(p->sources);
	scraper_free(p->scraper);
	loaded_adapters_free(p->adapters);
	answers_free(p->answers);
	uv_close((uv_handle_t *)p->knocks, on_timer_closed);
	uv_close((uv_handle_t *)p->demand_looks, on_timer_closed);
	free(p);
}

/* ---- questions ------------------------------------------------------------------- */

struct loaded_adapters *poller_adapters(const struct poller *p)
{
	return p->adapters;
}

bool poller_first_round_over(const struct poller *p)
{
	/* Where nothing is scraped, as in a cluster without a labelled Service, no round ends. */
	return p->round > 1 || !p->round_open;
}

/* The page and the known listeners disagree, or a stranger that listened at the address may have
 * left. Pools reached by address are skipped: their servers may run on another node. */
static bool is_odd(const struct watch *w)
{
	bool listens = listening_since(w);

	if (w->pool->reach != PINTLE_REACH_LISTENER)
		return false;
	/* No page tells that a listener has ended. */
	if (w->endpoint->metrics_none && listens)
		return true;
	return unsteerable_stranger(w->poller->m->health[w->ref.id].unsteerable) ||
	       (w->disbelieved && !listens) ||
	       (w->counters.known && !scraper_failures(w->target) != listens);
}

bool poller_suspects_listener(struct poller *p)
{
	bool look = false;

	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct watch *w = p->watches[i];
		unsigned int n;

		if (!w)
			continue;
		n = w->suspected = is_odd(w) ? w->suspected + 1 : 0;
		w->disbelieved = false;
		/* 1, 2, 4, 8, 16, 32, 64, ... */
		look |= n && (n % LOOK_AGAIN == 0 || !(n & (n - 1)));
	}
	return look;
}

const struct poll_counters *poller_counters(const struct poller *p, uint32_t endpoint)
{
	return endpoint < PINTLE_MAX_ENDPOINTS && p->watches[endpoint]
		       ? &p->watches[endpoint]->counters
		       : NULL;
}

uint32_t poller_knocks(const struct poller *p, uint32_t endpoint)
{
	return p && endpoint < PINTLE_MAX_ENDPOINTS && p->watches[endpoint] &&
	       p->watches[endpoint]->knock.queued;
}

bool poller_in_use(const struct poller *p, uint32_t pool)
{
	return pool >= PINTLE_MAX_POOLS || !p->demands[pool].idle;
}

const struct poll_sums *poller_sums(const struct poller *p, const struct pintle_ref *pool)
{
	const struct poll_sums *sums = pool->id < PINTLE_MAX_POOLS ? &p->sums[pool->id] : NULL;

	return sums && sums->generation == pool->generation ? sums : NULL;
}

double poller_gpu_memory(const struct poller *p, uint32_t endpoint)
{
	const struct watch *w = endpoint < PINTLE_MAX_ENDPOINTS ? p->watches[endpoint] : NULL;

	return w ? gpu_figures(p, w->pool, w->endpoint).memory : -1;
}

struct poll_gpus poller_gpus(const struct poller *p, uint32_t endpoint)
{
	const struct watch *w = endpoint < PINTLE_MAX_ENDPOINTS ? p->watches[endpoint] : NULL;

	return w ? gpu_figures(p, w->pool, w->endpoint).all : (struct poll_gpus){0};
}

struct others *poller_others(struct poller *p)
{
	return p->others;
}

double poller_saturation(const struct poller *p, size_t pool)
{
	const struct config_pool *c = &p->config->pools[pool];
	uint64_t now = monotonic_ns();
	double sum = 0;

	assert(pool < p->config->pool_count);
	for (size_t i = 0; i < c->endpoint_count; i++) {
		uint32_t id = p->publication->pools[pool].endpoints[i].id;
		const struct pintle_score *s = &p->m->scores[id];
		uint64_t more = s->flags & PINTLE_SCORE_IDLE ? config_idle_more_ns(&c->scrape) : 0;
		bool fresh =
			s->scraped_ns && now - s->scraped_ns <= c->saturation.staleness_ns + more;

		sum += fresh ? score_saturation(s, &c->saturation) : 1;
	}
	return c->endpoint_count ? sum / (double)c->endpoint_count : 0;
}
