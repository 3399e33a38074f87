// SPDX-License-Identifier: Apache-2.0
/*
 * lab_run.c - one experiment: an event queue over sessions, scrapes and engines.
 *
 * What must stay true: engines are only called from the loop, never out of their own
 * events; and an engine's entry in the engine heap is right after every call to it.
 */
#include "lab.h"

#include "../common/util.h"
#include "lab_policy.h"

#define NEVER MODEL_NEVER

enum what { SESSION_BEGINS, TURN, SCRAPE, LOOK, CLOSE };

struct event {
	uint64_t at_ns, serial;
	enum what what;
	uint32_t which;
	uint32_t stamp; /* CLOSE: of the connection meant */
};

/* A client's conversation. Its request's blocks are this array's beginning. */
struct session {
	struct lab_request r;
	uint64_t number; /* serial of the session, from 1 */
	/* Of its own, so that the same sessions ask the same under any policy. */
	struct lab_random random;
	uint64_t *blocks;
	uint32_t block_count, block_room;
	uint64_t last_block; /* hash of the newest in the array */
	uint64_t content;    /* what makes the blocks beyond the system prompt differ */
	uint32_t history;    /* tokens before the next message */
	uint32_t turns_left;
	bool connected;
	uint32_t connection;
	uint32_t next_free;
};

struct engine_slot {
	struct model *model;
	struct lab *lab;
	uint64_t next_ns;
	uint32_t heap_at, requests;
	struct model_stats before; /* when measuring began */
};

struct lab {
	const struct lab_options *o;
	const struct lab_workload *w;
	const struct lab_policy *policy;
	struct lab_result *out;
	void *self;
	struct lab_random arrivals;
	uint32_t blocks; /* of an engine */
	uint64_t now_ns, from_ns, to_ns, give_up_ns;
	int err;

	struct engine_slot *engines;
	uint32_t *heap; /* of engines, by next_ns */

	struct event *events; /* a heap, by (at_ns, serial) */
	uint32_t event_count, event_room;
	uint64_t serial;

	struct session **sessions;
	uint32_t session_count, session_room, free_session; /* +1 */
	uint64_t session_serial, job_serial;

	double *popularity[LAB_MAX_PARTS]; /* cumulative, by group */
	double part_rate[LAB_MAX_PARTS];   /* jobs a second when calm */
	bool bursting;
	uint64_t burst_ends_ns;

	struct lab_herd herd;
	uint32_t *counts;
	uint64_t open; /* measured and not ended */
	uint64_t late; /* measured, with a TTFT above hopeless_ms */
	bool hopeless;
	double spread, peak;
	uint32_t moments;
};

/* -- events ----------------------------------------------------------------------- */

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->serial < b->serial);
}

static void event_put(struct lab *lab, uint64_t at_ns, enum what what, uint32_t which,
		      uint32_t stamp)
{
	struct event e = {at_ns, lab->serial++, what, which, stamp};
	uint32_t at;

	if (lab->event_count == lab->event_room) {
		uint32_t room = lab->event_room ? 2 * lab->event_room : 256;
		struct event *events = reallocarray(lab->events, room, sizeof(*events));

		if (!events) {
			lab->err = -ENOMEM;
			return;
		}
		lab->events = events;
		lab->event_room = room;
	}
	for (at = lab->event_count++; at && earlier(&e, &lab->events[(at - 1) / 2]);
	     at = (at - 1) / 2)
		lab->events[at] = lab->events[(at - 1) / 2];
	lab->events[at] = e;
}

static struct event event_take(struct lab *lab)
{
	struct event first = lab->events[0], last = lab->events[--lab->event_count];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < lab->event_count) {
		if (child + 1 < lab->event_count &&
		    earlier(&lab->events[child + 1], &lab->events[child]))
			child++;
		if (!earlier(&lab->events[child], &last))
			break;
		lab->events[at] = lab->events[child];
		at = child;
	}
	lab->events[at] = last;
	return first;
}

/* -- engines ---------------------------------------------------------------------- */

static void heap_put(struct lab *lab, uint32_t at, uint32_t e)
{
	lab->heap[at] = e;
	lab->engines[e].heap_at = at;
}

static bool engine_earlier(const struct lab *lab, uint32_t a, uint32_t b)
{
	uint64_t x = lab->engines[a].next_ns, y = lab->engines[b].next_ns;

	return x < y || (x == y && a < b);
}

static void engine_reschedule(struct lab *lab, uint32_t e)
{
	uint32_t at = lab->engines[e].heap_at, child;

	lab->engines[e].next_ns = model_next(lab->engines[e].model);
	for (; at && engine_earlier(lab, e, lab->heap[(at - 1) / 2]); at = (at - 1) / 2)
		heap_put(lab, at, lab->heap[(at - 1) / 2]);
	while ((child = 2 * at + 1) < lab->o->endpoints) {
		if (child + 1 < lab->o->endpoints &&
		    engine_earlier(lab, lab->heap[child + 1], lab->heap[child]))
			child++;
		if (!engine_earlier(lab, lab->heap[child], e))
			break;
		heap_put(lab, at, lab->heap[child]);
		at = child;
	}
	heap_put(lab, at, e);
}

static bool measuring(const struct lab *lab)
{
	return lab->now_ns >= lab->from_ns && lab->now_ns < lab->to_ns;
}

/* Gaps grow linearly from the first to the last; told in a few pieces. */
static void on_steps(void *arg, const struct model_steps *s)
{
	struct engine_slot *e = arg;
	struct lab *lab = e->lab;
	uint32_t rest = s->steps - 1, pieces = MIN(rest, 4U);

	if (!s->decodes || !measuring(lab))
		return;
	lab_histogram_add(&lab->out->itl, s->first_gap_ns, s->decodes);
	for (uint32_t i = 1; i <= pieces; i++) {
		uint32_t n = rest * i / pieces - rest * (i - 1) / pieces;
		uint64_t gap = s->last_gap_ns;

		/* A first gap that something held up says nothing about the others. */
		if (s->first_gap_ns < s->last_gap_ns)
			gap = s->first_gap_ns + (s->last_gap_ns - s->first_gap_ns) * i / pieces;
		lab_histogram_add(&lab->out->itl, gap, (uint64_t)n * s->decodes);
	}
}

static void ttft_add(struct lab *lab, const struct lab_request *r, uint64_t ttft_ns)
{
	double expected =
		lab->o->rate * lab->o->endpoints * lab->o->seconds * lab->w->part[0].share;

	if (!r->measured)
		return;
	lab_histogram_add(r->part ? &lab->out->ttft_other : &lab->out->ttft, ttft_ns, 1);
	if (lab->o->hopeless_ms > 0 && !r->part && (double)ttft_ns > lab->o->hopeless_ms * 1e6)
		lab->hopeless = (double)++lab->late > expected / 10;
}

static void request_ended(struct lab *lab, struct session *s);

static void on_event(void *arg, const struct model_event *event)
{
	struct engine_slot *e = arg;
	struct lab *lab = e->lab;
	struct session *s = lab->sessions[event->id];

	switch (event->type) {
	case MODEL_FIRST_TOKEN:
		s->r.first_ns = event->at_ns;
		ttft_add(lab, &s->r, event->at_ns - s->r.arrived_ns);
		if (lab->policy->first_token)
			lab->policy->first_token(lab->self, &s->r, lab->now_ns);
		break;
	case MODEL_FINISHED:
	case MODEL_ABORTED:
		e->requests--;
		request_ended(lab, s);
		break;
	case MODEL_TOKEN:
	case MODEL_PREEMPTED:
		break;
	}
}

/* -- sessions --------------------------------------------------------------------- */

static uint32_t tokens_draw(struct session *s, const struct lab_tokens *t)
{
	double n = t->median * exp(t->sigma * lab_normal(&s->random));

	return (uint32_t)fmax(1, fmin(n, t->max));
}

static uint32_t turns_draw(struct session *s, const struct lab_part *p)
{
	double n;

	if (p->turns <= 1)
		return 1;
	n = 1 + floor(log(lab_unit(&s->random)) / log(1 - 1 / p->turns));
	return (uint32_t)MIN(n, (double)p->turns_max);
}

static uint32_t group_draw(struct lab *lab, uint32_t part)
{
	const double *popularity = lab->popularity[part];
	uint32_t low = 0, high = lab->w->part[part].groups - 1;
	double x = lab_unit(&lab->arrivals) * popularity[high];

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (popularity[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct session *session_new(struct lab *lab)
{
	struct session *s;

	if (lab->free_session) {
		s = lab->sessions[lab->free_session - 1];
		lab->free_session = s->next_free;
		return s;
	}
	if (lab->session_count == lab->session_room) {
		uint32_t room = lab->session_room ? 2 * lab->session_room : 256;
		struct session **more = reallocarray(lab->sessions, room, sizeof(*more));

		if (!more)
			return NULL;
		lab->sessions = more;
		lab->session_room = room;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->r.id = lab->session_count;
	lab->sessions[lab->session_count++] = s;
	return s;
}

static void disconnect(struct lab *lab, struct session *s)
{
	if (!s->connected)
		return;
	s->connected = false;
	s->connection++;
	if (lab->policy->ended)
		lab->policy->ended(lab->self, &s->r, lab->now_ns);
}

static void session_end(struct lab *lab, struct session *s)
{
	disconnect(lab, s);
	s->next_free = lab->free_session;
	lab->free_session = (uint32_t)s->r.id + 1;
}

/* Names the blocks of the first `tokens` tokens of the session. */
static int blocks_extend(struct lab *lab, struct session *s, uint32_t tokens)
{
	const struct lab_part *p = &lab->w->part[s->r.part];
	uint32_t size = lab->o->block_tokens, n = tokens / size;

	if (n > s->block_room) {
		uint64_t *blocks = reallocarray(s->blocks, 2 * (size_t)n, sizeof(*blocks));

		if (!blocks)
			return -ENOMEM;
		s->blocks = blocks;
		s->block_room = 2 * n;
	}
	for (uint32_t i = s->block_count; i < n; i++) {
		bool common = (uint64_t)(i + 1) * size <= p->system;
		uint64_t owner = common ? lab_hash(s->r.part, s->r.group) : s->content;

		s->last_block = model_chain(s->last_block, lab_hash(owner, i));
		s->blocks[i] = s->last_block;
	}
	s->block_count = MAX(s->block_count, n);
	return 0;
}

static void blocks_forget(struct lab *lab, struct session *s)
{
	const struct lab_part *p = &lab->w->part[s->r.part];

	s->content = lab_next(&s->random);
	s->history = p->system;
	s->block_count = 0;
	s->last_block = 0;
}

static uint64_t client_of(const struct lab_part *p, struct session *s, uint64_t job)
{
	switch (p->client) {
	case LAB_CLIENT_APP:
		return lab_hash(s->r.group, lab_below(&s->random, p->apps));
	case LAB_CLIENT_JOB:
		return lab_hash(job, 0x10b);
	default:
		return lab_hash(s->number, 0x5e55);
	}
}

static void session_begin(struct lab *lab, uint32_t part, uint64_t job, uint32_t group)
{
	const struct lab_part *p = &lab->w->part[part];
	struct session *s = session_new(lab);

	if (!s) {
		lab->err = -ENOMEM;
		return;
	}
	s->number = ++lab->session_serial;
	s->random.state = lab_hash(lab->o->seed, s->number);
	s->r.part = part;
	s->r.group = group;
	s->r.session = s->number;
	s->r.client = client_of(p, s, job);
	s->r.node = (uint32_t)(lab_mix(s->r.client) % lab->o->nodes);
	s->turns_left = turns_draw(s, p);
	blocks_forget(lab, s);
	event_put(lab, lab->now_ns, TURN, (uint32_t)s->r.id, 0);
}

static void place(struct lab *lab, struct session *s)
{
	struct lab_request *r = &s->r;

	if (s->connected) { /* nobody is asked: it goes where the connection leads */
		s->connection++;
		return;
	}
	r->endpoint = lab->policy->pick(lab->self, r, lab->now_ns);
	lab_herd_add(&lab->herd, lab->now_ns / LAB_HERD_NS, r->endpoint);
	s->connected = true;
}

static void turn(struct lab *lab, struct session *s)
{
	const struct lab_part *p = &lab->w->part[s->r.part];
	bool first = s->history == p->system;
	struct lab_request *r = &s->r;
	struct model_request mr;
	struct engine_slot *e;
	int err;

	if (p->forgets)
		blocks_forget(lab, s);
	r->prompt_tokens = s->history + tokens_draw(s, first ? &p->first : &p->message);
	r->output_tokens = tokens_draw(s, &p->answer);
	if (r->prompt_tokens + r->output_tokens > p->context) {
		session_end(lab, s);
		return;
	}
	if (blocks_extend(lab, s, r->prompt_tokens + r->output_tokens)) {
		lab->err = -ENOMEM;
		return;
	}
	r->prefix = p->document ? lab_hash(r->group, 0xd0c) : lab_hash(s->content, 0x9ef1);
	r->blocks = s->blocks;
	r->block_count = r->prompt_tokens / lab->o->block_tokens;
	r->arrived_ns = lab->now_ns;
	r->first_ns = 0;
	r->measured = measuring(lab);
	place(lab, s);
	lab->out->placed++;
	lab->out->measured += r->measured;
	lab->open += r->measured;
	e = &lab->engines[r->endpoint];
	mr = (struct model_request){
		.id = r->id,
		.blocks = s->blocks,
		.block_count = s->block_count,
		.prompt_tokens = r->prompt_tokens,
		.output_tokens = r->output_tokens,
	};
	e->requests++;
	err = model_submit(e->model, lab->now_ns, &mr, NULL);
	if (err == -ENOMEM)
		lab->err = err;
	if (err) {
		e->requests--;
		lab->out->refused += r->measured;
		lab->open -= r->measured;
		session_end(lab, s);
	}
	engine_reschedule(lab, r->endpoint);
}

/* Out of an engine: whatever follows is put into the queue. */
static void request_ended(struct lab *lab, struct session *s)
{
	const struct lab_part *p = &lab->w->part[s->r.part];
	double think = p->think_s > 0 ? lab_exponential(&s->random, p->think_s) : 0;

	lab->out->ended += s->r.measured;
	lab->open -= s->r.measured;
	if (measuring(lab)) {
		lab->out->requests_per_s += 1 / lab->o->seconds;
		lab->out->tokens_per_s += s->r.output_tokens / lab->o->seconds;
	}
	s->history = s->r.prompt_tokens + s->r.output_tokens;
	if (!--s->turns_left) {
		session_end(lab, s);
		return;
	}
	if (!lab->policy->per_connection || lab->o->keep_alive_s <= 0)
		disconnect(lab, s);
	else
		event_put(lab, lab->now_ns + (uint64_t)(lab->o->keep_alive_s * 1e9), CLOSE,
			  (uint32_t)s->r.id, ++s->connection);
	event_put(lab, lab->now_ns + (uint64_t)(think * 1e9), TURN, (uint32_t)s->r.id, 0);
}

/* -- arrivals: Poisson, modulated by calm and burst --------------------------------- */

static void arrivals_next(struct lab *lab, uint32_t part)
{
	double rate = lab->part_rate[part] * (lab->bursting ? lab->w->burst : 1);
	uint64_t at = lab->now_ns + (uint64_t)(lab_exponential(&lab->arrivals, 1 / rate) * 1e9);

	/* Exponential times have no memory: at the change of pace it is drawn anew. */
	if (at > lab->burst_ends_ns)
		at = lab->burst_ends_ns;
	event_put(lab, at, SESSION_BEGINS, part, at == lab->burst_ends_ns);
}

static void pace_change(struct lab *lab)
{
	double mean;

	lab->bursting = !lab->bursting;
	mean = lab->bursting ? lab->w->burst_s : lab->w->calm_s;
	lab->burst_ends_ns = lab->now_ns + (uint64_t)(lab_exponential(&lab->arrivals, mean) * 1e9);
}

static void arrive(struct lab *lab, uint32_t part, bool only_pace)
{
	const struct lab_part *p = &lab->w->part[part];

	if (lab->w->burst > 1 && lab->now_ns >= lab->burst_ends_ns)
		pace_change(lab);
	if (!only_pace) {
		uint64_t job = ++lab->job_serial;
		uint32_t group = group_draw(lab, part);

		for (uint32_t i = 0; i < p->width; i++)
			session_begin(lab, part, job, group);
	}
	arrivals_next(lab, part);
}

/* Requests of a session of this part, on average: the geometric mean, cut at turns_max. */
static double turns_mean(const struct lab_part *p)
{
	double stay = 1 - 1 / p->turns;

	return p->turns <= 1 ? 1 : (1 - pow(stay, p->turns_max)) * p->turns;
}

static int arrivals_init(struct lab *lab)
{
	double all = lab->o->rate * lab->o->endpoints;
	double pace = lab->w->burst > 1 ? (lab->w->burst * lab->w->burst_s + lab->w->calm_s) /
						  (lab->w->burst_s + lab->w->calm_s)
					: 1;

	lab->burst_ends_ns = NEVER;
	if (lab->w->burst > 1) {
		lab->bursting = true;
		pace_change(lab);
	}
	for (uint32_t i = 0; i < lab->w->parts; i++) {
		const struct lab_part *p = &lab->w->part[i];
		double *popularity = calloc(p->groups, sizeof(*popularity));

		if (!popularity)
			return -ENOMEM;
		lab->popularity[i] = popularity;
		for (uint32_t g = 0; g < p->groups; g++)
			popularity[g] = (g ? popularity[g - 1] : 0) + pow(g + 1, -p->zipf);
		lab->part_rate[i] = all * p->share / turns_mean(p) / p->width / pace;
		arrivals_next(lab, i);
	}
	return 0;
}

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
		engine_reschedule(lab, i);
	}
	event_put(lab, lab->now_ns + interval_ns(lab), SCRAPE, node, 0);
}

/* Once a second: how evenly the work lies. */
static void look(struct lab *lab)
{
	struct lab_moment m;

	if (lab->now_ns == lab->from_ns)
		for (uint32_t i = 0; i < lab->o->endpoints; i++) {
			model_advance(lab->engines[i].model, lab->now_ns);
			model_stats(lab->engines[i].model, &lab->engines[i].before);
			engine_reschedule(lab, i);
		}
	for (uint32_t i = 0; i < lab->o->endpoints; i++)
		lab->counts[i] = lab->engines[i].requests;
	m = lab_moment_of(lab->counts, lab->o->endpoints);
	if (measuring(lab) && lab->out->timeline_count < (uint32_t)lab->o->seconds) {
		lab->out->timeline[lab->out->timeline_count++] = m;
		lab->spread += m.spread;
		lab->peak += m.mean > 0 ? m.most / m.mean : 1;
		lab->moments++;
	}
	event_put(lab, lab->now_ns + NSEC_PER_SEC, LOOK, 0, 0);
}

static void handle(struct lab *lab, const struct event *e)
{
	struct session *s;

	switch (e->what) {
	case SESSION_BEGINS:
		arrive(lab, e->which, e->stamp);
		break;
	case TURN:
		turn(lab, lab->sessions[e->which]);
		break;
	case SCRAPE:
		scrape(lab, e->which);
		break;
	case LOOK:
		look(lab);
		break;
	case CLOSE:
		s = lab->sessions[e->which];
		if (s->connection == e->stamp)
			disconnect(lab, s);
		break;
	}
}

/* -- the whole ------------------------------------------------------------------------ */

static double prefill_rate(const struct model_config *c)
{
	uint64_t n = c->max_batched_tokens;
	double step_ps = (double)c->costs.step_ps +
			 MAX((double)c->costs.weights_ps, (double)(n * c->costs.token_ps)) +
			 (double)(n * (n + 1) / 2) * (double)c->costs.attn_fs / 1000;

	return (double)n / step_ps * 1e12;
}

static int engines_init(struct lab *lab)
{
	struct model_config c = lab->o->profile->config;
	uint32_t n = lab->o->endpoints;

	c.blocks = MAX(1U, (uint32_t)((uint64_t)c.blocks * c.block_tokens / lab->o->block_tokens));
	c.block_tokens = lab->o->block_tokens;
	lab->engines = calloc(n, sizeof(*lab->engines));
	lab->heap = calloc(n, sizeof(*lab->heap));
	lab->counts = calloc(n, sizeof(*lab->counts));
	if (!lab->engines || !lab->heap || !lab->counts)
		return -ENOMEM;
	lab->blocks = c.blocks;
	for (uint32_t i = 0; i < n; i++) {
		struct engine_slot *e = &lab->engines[i];
		int err;

		c.seed = lab_hash(lab->o->seed, i);
		e->lab = lab;
		e->next_ns = NEVER;
		err = model_new(&c, on_event, on_steps, e, &e->model, NULL);
		if (err)
			return err;
		heap_put(lab, i, i);
		if (lab->o->sick.factor > 0 && lab->o->sick.endpoint == i)
			model_set_slow(e->model, 0, lab->o->sick.factor);
	}
	return 0;
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
		.seed = lab_hash(lab->o->seed, 0x9011c4),
	};
	int err = lab->policy->create(&fleet, lab->o->values, &lab->self);

	/* Nodes do not scrape at the same time: their daemons did not start together. */
	if (!err && interval_ns(lab) != NEVER)
		for (uint32_t i = 0; i < nodes; i++)
			event_put(lab, interval_ns(lab) * i / nodes, SCRAPE, i, 0);
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

/* Those that were not answered count with the time that they had waited. */
static void give_up(struct lab *lab)
{
	for (uint32_t i = 0; i < lab->session_count; i++) {
		struct lab_request *r = &lab->sessions[i]->r;

		if (!lab->sessions[i]->connected || !r->measured)
			continue;
		if (!r->first_ns)
			ttft_add(lab, r, lab->now_ns - r->arrived_ns);
	}
	lab->out->unfinished = lab->open;
}

static int loop(struct lab *lab)
{
	while (!lab->err && !lab->hopeless) {
		uint32_t e = lab->heap[0];
		bool engine = lab->engines[e].next_ns <= lab->events[0].at_ns;

		lab->now_ns = engine ? lab->engines[e].next_ns : lab->events[0].at_ns;
		if (lab->now_ns >= lab->to_ns && (!lab->open || lab->now_ns >= lab->give_up_ns))
			break;
		if (engine) {
			model_advance(lab->engines[e].model, lab->now_ns);
			engine_reschedule(lab, e);
		} else {
			struct event next = event_take(lab);

			handle(lab, &next);
		}
	}
	return lab->err;
}

static const char *wrong(const struct lab_options *o)
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
		{o->sick.factor == 0 || (o->sick.factor >= 0.01 && o->sick.factor <= 1000 &&
					 o->sick.endpoint < o->endpoints),
		 "a sick endpoint: a number below that of endpoints, and a factor of 0.01 to 1000"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (!rules[i].good)
			return rules[i].what;
	return NULL;
}

static void lab_fini(struct lab *lab)
{
	/* The engines first: they borrow the sessions' blocks. */
	for (uint32_t i = 0; lab->engines && i < lab->o->endpoints; i++)
		model_free(lab->engines[i].model);
	if (lab->self)
		lab->policy->destroy(lab->self);
	for (uint32_t i = 0; i < lab->session_count; i++) {
		free(lab->sessions[i]->blocks);
		free(lab->sessions[i]);
	}
	for (uint32_t i = 0; i < LAB_MAX_PARTS; i++)
		free(lab->popularity[i]);
	lab_herd_fini(&lab->herd);
	free(lab->sessions);
	free(lab->engines);
	free(lab->heap);
	free(lab->counts);
	free(lab->events);
}

int lab_run(const struct lab_options *o, struct lab_result *out, const char **what)
{
	_cleanup_(lab_fini) struct lab lab = {.o = o, .w = o->workload, .policy = o->policy};
	struct lab_result result = {0};
	const char *bad = wrong(o);
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
	if (!err)
		err = engines_init(&lab);
	if (!err)
		err = policy_init(&lab);
	if (!err)
		err = arrivals_init(&lab);
	if (!err) {
		event_put(&lab, 0, LOOK, 0, 0);
		err = loop(&lab);
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
