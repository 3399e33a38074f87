// SPDX-License-Identifier: Apache-2.0
/* lab_run.c - one experiment, from its options to its result. */
#include <assert.h>

#include "../../userspace/config/config.h"
#include "lab_internal.h"

/* -- scrapes and looks ---------------------------------------------------------------- */

static uint64_t interval_ns(const struct lab *lab)
{
	int key = lab->policy->interval_key;

	return key < 0 ? NEVER : (uint64_t)(lab->o->values[key] * 1e6);
}

static void scrape(struct lab *lab, uint32_t node)
{
	for (uint32_t i = 0; i < lab->o->endpoints; i++) {
		struct engine_slot *e = &lab->engines[i];
		struct lab_page page;
		struct model_stats s;

		model_advance(e->model, lab->now_ns);
		model_stats(e->model, &s);
		page = (struct lab_page){
			.waiting = s.waiting,
			.running = s.running,
			.kv_cache = (double)s.blocks_used / lab->blocks,
		};
		lab->policy->page(lab->self, node, i, &page, lab->now_ns);
		lab_engine_reschedule(lab, i);
	}
	lab_event_put(lab, lab->now_ns + interval_ns(lab), SCRAPE, node, 0);
}

/* Looks once a second how evenly requests are spread over the engines. */
static void look(struct lab *lab)
{
	struct lab_moment m;

	if (lab->now_ns == lab->from_ns)
		for (uint32_t i = 0; i < lab->o->endpoints; i++) {
			model_advance(lab->engines[i].model, lab->now_ns);
			model_stats(lab->engines[i].model, &lab->engines[i].before);
			lab_engine_reschedule(lab, i);
		}
	for (uint32_t i = 0; i < lab->o->endpoints; i++)
		lab->counts[i] = lab->engines[i].requests;
	m = lab_moment_of(lab->counts, lab->o->endpoints);
	if (lab_measuring(lab) && lab->out->timeline_count < (uint32_t)lab->o->seconds) {
		lab->out->timeline[lab->out->timeline_count++] = m;
		lab->spread += m.spread;
		lab->peak += m.mean > 0 ? m.most / m.mean : 1;
		lab->moments++;
	}
	lab_event_put(lab, lab->now_ns + NSEC_PER_SEC, LOOK, 0, 0);
}

static void event_handle(struct lab *lab, const struct event *e)
{
	struct lab_session *s;

	switch (e->what) {
	case SESSION_BEGINS:
		lab_arrive(lab, e->which, e->stamp);
		break;
	case TURN:
		s = lab->sessions[e->which];
		if (lab->o->load)
			lab_load_turn(lab, s);
		else
			lab_turn(lab, s);
		break;
	case AGAIN:
		lab_submit_again(lab, lab->sessions[e->which]);
		break;
	case SCRAPE:
		scrape(lab, e->which);
		break;
	case LOAD_BEGINS:
		lab_load_begin(lab, e->which);
		break;
	case REPLAY:
		lab_trace_due(lab, e->which);
		break;
	case LOOK:
		look(lab);
		break;
	case CLOSE:
		s = lab->sessions[e->which];
		if (s->connection == e->stamp)
			lab_disconnect(lab, s);
		break;
	}
}

/* -- the whole ------------------------------------------------------------------------ */

static double prefill_rate(const struct model_config *c)
{
	uint64_t n = c->max_batched_tokens;
	double step_ps = (double)c->costs.step_ps +
			 MAX((double)c->costs.weights_ps, (double)(n * c->costs.token_ps)) +
			 (double)(n * (n + 1) / 2) * (double)c->costs.attn_ps;

	return (double)n / step_ps * 1e12;
}

static void truth(void *arg, uint32_t endpoint, const struct lab_request *r, struct lab_truth *out)
{
	struct lab *lab = arg;
	struct model *m = lab->engines[endpoint].model;
	struct model_stats s;
	uint32_t blocks;

	model_advance(m, lab->now_ns);
	model_stats(m, &s);
	*out = (struct lab_truth){
		.running = s.running,
		.waiting = s.waiting,
		.kv_cache = (double)s.blocks_used / lab->blocks,
		.slow = lab->o->sick[endpoint] > 0 ? lab->o->sick[endpoint] : 1,
	};
	model_peek(m, r->blocks, r->block_count, &blocks, &out->computed);
	out->cached_tokens = blocks * lab->o->block_tokens;
	lab_engine_reschedule(lab, endpoint);
}

static int policy_init(struct lab *lab)
{
	const struct model_config *c = &lab->o->profile->config;
	uint32_t nodes = lab->policy->central ? 1 : lab->o->nodes;
	struct lab_fleet fleet = {
		.endpoints = lab->o->endpoints,
		.nodes = nodes,
		.block_tokens = lab->o->block_tokens,
		.blocks = lab->blocks,
		.prefill_tokens_per_s = prefill_rate(c),
		.pair_tokens = c->costs.token_ps
				       ? (double)c->costs.attn_ps / (double)c->costs.token_ps
				       : 0,
		.truth = truth,
		.arg = lab,
		.pool = lab->o->config ? &lab->o->config->pools[0] : NULL,
		.seed = lab_hash(lab->o->seed, 0x9011c4),
	};
	int err = lab->policy->create(&fleet, lab->o->values, &lab->self);

	/* Nodes scrape at different times, as daemons do that were not started together. */
	if (!err && interval_ns(lab) != NEVER)
		for (uint32_t i = 0; i < nodes; i++)
			lab_event_put(lab, interval_ns(lab) * i / nodes, SCRAPE, i, 0);
	return err;
}

static void totals(struct lab *lab)
{
	uint64_t hits = 0, queries = 0;

	for (uint32_t i = 0; i < lab->o->endpoints; i++) {
		struct engine_slot *e = &lab->engines[i];
		struct model_stats s;

		model_stats(e->model, &s);
		hits += s.hit_tokens - e->before.hit_tokens;
		queries += s.query_tokens - e->before.query_tokens;
		lab->out->preemptions += s.preemptions - e->before.preemptions;
	}
	lab->out->hit_rate = queries ? (double)hits / (double)queries : 0;
	lab->out->herd = lab_herd_index(&lab->herd);
	lab->out->spread = lab->moments ? lab->spread / lab->moments : 0;
	lab->out->peak = lab->moments ? lab->peak / lab->moments : 0;
	if (lab->policy->outcomes)
		lab->policy->outcomes(lab->self, lab->out->outcomes);
}

/* Counts requests without a first token with the time that they have waited so far. */
static void give_up(struct lab *lab)
{
	for (uint32_t i = 0; i < lab->session_count; i++) {
		struct lab_request *r = &lab->sessions[i]->r;

		if (!r->measured || !(lab->sessions[i]->connected || r->refusals))
			continue;
		if (!r->first_ns)
			lab_ttft_add(lab, r, lab->now_ns - r->arrived_ns);
	}
	lab->out->unfinished = lab->open;
}

static int lab_loop(struct lab *lab)
{
	while (!lab->err && !lab->hopeless) {
		const struct heap_entry *engine = &lab->next.entries[0];
		const struct heap_entry *event = &lab->events.entries[0];

		lab->now_ns = MIN(engine->at, event->at);
		if (lab->now_ns >= lab->to_ns && (!lab->open || lab->now_ns >= lab->give_up_ns))
			break;
		if (engine->at <= event->at) {
			uint32_t e = (uint32_t)engine->what;

			assert(engine->at == model_next(lab->engines[e].model));
			model_advance(lab->engines[e].model, lab->now_ns);
			lab_engine_reschedule(lab, e);
		} else {
			struct event next = lab_event_take(lab);

			event_handle(lab, &next);
		}
	}
	return lab->err;
}

static bool sick_ok(const struct lab_options *o)
{
	for (uint32_t i = 0; i < LAB_MAX_ENDPOINTS; i++)
		if (o->sick[i] != 0 &&
		    !(i < o->endpoints && o->sick[i] >= 0.01 && o->sick[i] <= 1000))
			return false;
	return true;
}

static const char *options_wrong(const struct lab_options *o)
{
	const struct {
		bool good;
		const char *what;
	} rules[] = {
		{o->endpoints >= 1 && o->endpoints <= LAB_MAX_ENDPOINTS, "endpoints: 1 to 1024"},
		{o->nodes >= 1 && o->nodes <= LAB_MAX_NODES, "nodes: 1 to 1024"},
		{o->block_tokens >= 1 && o->block_tokens <= 1024, "block size: 1 to 1024 tokens"},
		{o->rate > 0 && o->rate <= 100000, "rate: above 0, at most 100000 requests/s"},
		{o->warmup_s >= 0 && o->warmup_s <= LAB_MAX_SECONDS, "warm-up: 0 to 86400 s"},
		{o->seconds >= 1 && o->seconds <= LAB_MAX_SECONDS, "duration: 1 to 86400 s"},
		{o->keep_alive_s >= 0 && o->keep_alive_s <= 3600, "keep-alive: 0 to 3600 s"},
		{sick_ok(o),
		 "a sick endpoint: a number below that of endpoints, and a factor of 0.01 to 1000"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (!rules[i].good)
			return rules[i].what;
	return NULL;
}

static void lab_fini(struct lab *lab)
{
	/* Engines go first, because they borrow the sessions' blocks. */
	lab_engines_fini(lab);
	if (lab->self)
		lab->policy->destroy(lab->self);
	for (uint32_t i = 0; i < lab->session_count; i++) {
		free(lab->sessions[i]->blocks);
		free(lab->sessions[i]);
	}
	for (uint32_t i = 0; i < LAB_MAX_PARTS; i++)
		zipf_free(&lab->groups[i]);
	lab_load_fini(lab);
	lab_verdicts_free(lab->verdicts);
	lab_herd_fini(&lab->herd);
	free(lab->sessions);
	free(lab->counts);
	heap_free(&lab->events);
}

int lab_run(const struct lab_options *o, struct lab_result *out, const char **what)
{
	_cleanup_(lab_fini) struct lab lab = {.o = o, .w = o->workload, .policy = o->policy};
	struct lab_result result = {0};
	const char *bad = options_wrong(o);
	int err;

	if (bad) {
		if (what)
			*what = bad;
		return -EINVAL;
	}
	lab.out = &result;
	lab.arrivals.state = lab_hash(o->seed, 1);
	lab.from_ns = (uint64_t)ceil(o->warmup_s) * NSEC_PER_SEC;
	lab.to_ns = lab.from_ns + (uint64_t)(o->seconds * 1e9);
	lab.give_up_ns = lab.to_ns + (lab.to_ns - lab.from_ns) / 2;
	result.timeline = calloc((size_t)o->seconds + 1, sizeof(*result.timeline));
	err = result.timeline ? lab_herd_init(&lab.herd, o->endpoints) : -ENOMEM;
	if (!err && o->verdicts)
		err = lab_verdicts_new(o->verdicts, &lab.verdicts);
	if (!err)
		err = lab_engines_init(&lab);
	if (!err)
		err = policy_init(&lab);
	if (!err)
		err = lab_arrivals_init(&lab);
	if (!err) {
		lab_event_put(&lab, 0, LOOK, 0, 0);
		err = lab_loop(&lab);
	}
	if (err) {
		lab_result_fini(&result);
		return err;
	}
	give_up(&lab);
	totals(&lab);
	*out = result;
	return 0;
}

void lab_result_fini(struct lab_result *r)
{
	free(r->timeline);
	r->timeline = NULL;
}
