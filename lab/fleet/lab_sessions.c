// SPDX-License-Identifier: Apache-2.0
/* lab_sessions.c - what a session asks, and where its requests go. */
#include "lab_internal.h"

static uint32_t tokens_draw(struct lab_session *s, const struct lab_tokens *t)
{
	double n = t->median * exp(t->sigma * rng_normal(&s->random));

	return (uint32_t)fmax(1, fmin(n, t->max));
}

static uint32_t turns_draw(struct lab_session *s, const struct lab_part *p)
{
	double n;

	if (p->turns <= 1)
		return 1;
	n = 1 + floor(log(rng_unit(&s->random)) / log(1 - 1 / p->turns));
	return (uint32_t)MIN(n, (double)p->turns_max);
}

struct lab_session *lab_session_new(struct lab *lab)
{
	struct lab_session *s;

	if (lab->free_session) {
		s = lab->sessions[lab->free_session - 1];
		lab->free_session = s->next_free;
		return s;
	}
	if (lab->session_count == lab->session_room) {
		uint32_t room = lab->session_room ? 2 * lab->session_room : 256;
		struct lab_session **more = reallocarray(lab->sessions, room, sizeof(*more));

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

void lab_disconnect(struct lab *lab, struct lab_session *s)
{
	if (!s->connected)
		return;
	s->connected = false;
	s->connection++;
	if (lab->policy->ended)
		lab->policy->ended(lab->self, &s->r, lab->now_ns);
}

void lab_session_end(struct lab *lab, struct lab_session *s)
{
	lab_disconnect(lab, s);
	s->next_free = lab->free_session;
	lab->free_session = (uint32_t)s->r.id + 1;
}

static int blocks_reserve(struct lab_session *s, uint32_t n)
{
	uint64_t *blocks;

	if (n <= s->block_room)
		return 0;
	blocks = reallocarray(s->blocks, 2 * (size_t)n, sizeof(*blocks));
	if (!blocks)
		return -ENOMEM;
	s->blocks = blocks;
	s->block_room = 2 * n;
	return 0;
}

int lab_blocks_name(const struct lab *lab, struct lab_session *s, const struct lab_text texts[3])
{
	uint32_t size = lab->o->block_tokens, n = (s->r.prompt_tokens + s->r.output_tokens) / size;
	uint64_t last = 0;

	if (blocks_reserve(s, n))
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t end = (uint64_t)(i + 1) * size;
		const struct lab_text *text = &texts[(end > texts[0].end) + (end > texts[1].end)];

		last = model_chain(last, lab_hash(text->content, i));
		s->blocks[i] = last;
	}
	s->block_count = n;
	return 0;
}

/* Names the session's blocks up to its first `tokens` tokens. */
static int blocks_extend(struct lab *lab, struct lab_session *s, uint32_t tokens)
{
	const struct lab_part *p = &lab->w->part[s->r.part];
	uint32_t size = lab->o->block_tokens, n = tokens / size;

	if (blocks_reserve(s, n))
		return -ENOMEM;
	for (uint32_t i = s->block_count; i < n; i++) {
		bool common = (uint64_t)(i + 1) * size <= p->system;
		uint64_t owner = common ? lab_hash(s->r.part, s->group) : s->content;

		s->last_block = model_chain(s->last_block, lab_hash(owner, i));
		s->blocks[i] = s->last_block;
	}
	s->block_count = MAX(s->block_count, n);
	return 0;
}

static void blocks_forget(struct lab *lab, struct lab_session *s)
{
	const struct lab_part *p = &lab->w->part[s->r.part];

	s->content = rng_next(&s->random);
	s->history = p->system;
	s->block_count = 0;
	s->last_block = 0;
}

static uint64_t client_of(const struct lab_part *p, struct lab_session *s, uint64_t job)
{
	switch (p->client) {
	case LAB_CLIENT_APP:
		return lab_hash(s->group, rng_below(&s->random, p->apps));
	case LAB_CLIENT_JOB:
		return lab_hash(job, 0x10b);
	case LAB_CLIENT_GATEWAY:
		return 0x6a7e;
	default:
		return lab_hash(s->number, 0x5e55);
	}
}

void lab_session_begin(struct lab *lab, uint32_t part, uint64_t job, uint32_t group)
{
	const struct lab_part *p = &lab->w->part[part];
	struct lab_session *s = lab_session_new(lab);

	if (!s) {
		lab->err = -ENOMEM;
		return;
	}
	s->number = ++lab->session_serial;
	s->random.state = lab_hash(lab->o->seed, s->number);
	s->r.part = part;
	s->group = group;
	s->r.group = p->client == LAB_CLIENT_GATEWAY ? 0 : group;
	s->r.session = s->number;
	s->r.client = client_of(p, s, job);
	s->r.node = (uint32_t)(hash_mix(s->r.client) % lab->o->nodes);
	s->turns_left = turns_draw(s, p);
	blocks_forget(lab, s);
	lab_event_put(lab, lab->now_ns, TURN, (uint32_t)s->r.id, 0);
}

/* Returns whether the request has an endpoint: the policy may refuse it. */
static bool request_place(struct lab *lab, struct lab_session *s)
{
	struct lab_request *r = &s->r;

	if (s->connected) { /* the policy is not asked: the connection leads to its endpoint */
		s->connection++;
		if (lab->policy->again)
			lab->policy->again(lab->self, r, lab->now_ns);
		return true;
	}
	r->endpoint = lab->policy->pick(lab->self, r, lab->now_ns);
	if (r->endpoint == LAB_REFUSED)
		return false;
	lab_herd_add(&lab->herd, lab->now_ns / LAB_HERD_NS, r->endpoint);
	s->connected = true;
	return true;
}

void lab_submit_again(struct lab *lab, struct lab_session *s)
{
	struct lab_request *r = &s->r;
	struct model_request mr;
	struct engine_slot *e;
	int err;

	if (!request_place(lab, s)) {
		r->refusals++;
		lab->out->told_no += r->measured;
		lab_event_put(lab, lab->now_ns + r->retry_ns, AGAIN, (uint32_t)r->id, 0);
		return;
	}
	lab->out->placed++;
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
		r->refusals = 0;
		lab_session_end(lab, s);
	} else if (lab->verdicts && lab_verdicts_begin(lab->verdicts, r->client, &s->beside)) {
		lab->err = -ENOMEM;
	}
	lab_engine_reschedule(lab, r->endpoint);
}

void lab_submit(struct lab *lab, struct lab_session *s)
{
	struct lab_request *r = &s->r;

	r->blocks = s->blocks;
	r->block_count = r->prompt_tokens / lab->o->block_tokens;
	r->arrived_ns = lab->now_ns;
	r->first_ns = 0;
	r->measured = lab_measuring(lab);
	r->label = lab_label(lab, s);
	r->refusals = 0;
	lab->out->measured += r->measured;
	lab->open += r->measured;
	lab_submit_again(lab, s);
}

void lab_turn(struct lab *lab, struct lab_session *s)
{
	const struct lab_part *p = &lab->w->part[s->r.part];
	bool first = s->history == p->system;
	struct lab_request *r = &s->r;

	if (p->forgets)
		blocks_forget(lab, s);
	r->prompt_tokens = s->history + tokens_draw(s, first ? &p->first : &p->message);
	r->output_tokens = tokens_draw(s, &p->answer);
	if (r->prompt_tokens + r->output_tokens > p->context) {
		lab_session_end(lab, s);
		return;
	}
	if (blocks_extend(lab, s, r->prompt_tokens + r->output_tokens)) {
		lab->err = -ENOMEM;
		return;
	}
	r->prefix = p->document ? lab_hash(s->group, 0xd0c) : lab_hash(s->content, 0x9ef1);
	lab_submit(lab, s);
}

void lab_turn_wait(struct lab *lab, struct lab_session *s, uint64_t think_ns, bool keep)
{
	if (!keep || !lab->policy->per_connection || lab->o->keep_alive_s <= 0)
		lab_disconnect(lab, s);
	else
		lab_event_put(lab, lab->now_ns + (uint64_t)(lab->o->keep_alive_s * 1e9), CLOSE,
			      (uint32_t)s->r.id, ++s->connection);
	lab_event_put(lab, lab->now_ns + think_ns, TURN, (uint32_t)s->r.id, 0);
}

static void verdict_take(struct lab *lab, struct lab_session *s)
{
	lab_verdicts_end(lab->verdicts, &(struct lab_verdicts_request){
						.client = s->r.client,
						.class = lab_label(lab, s),
						.begun_ns = s->r.arrived_ns,
						.ended_ns = lab->now_ns,
						.prompt_tokens = s->r.prompt_tokens,
						.beside = s->beside,
					});
}

void lab_request_ended(struct lab *lab, struct lab_session *s)
{
	const struct lab_part *p = &lab->w->part[s->r.part];
	double think = p->think_s > 0 ? p->think_s * rng_exponential(&s->random) : 0;

	lab->out->ended += s->r.measured;
	lab->open -= s->r.measured;
	if (lab_measuring(lab)) {
		lab->out->requests_per_s += 1 / lab->o->seconds;
		lab->out->tokens_per_s += s->r.output_tokens / lab->o->seconds;
		lab->out->part_tokens_per_s[s->r.part] += s->r.output_tokens / lab->o->seconds;
	}
	if (lab->verdicts)
		verdict_take(lab, s);
	if (s->says.c) {
		lab_load_ended(lab, s);
		return;
	}
	s->history = s->r.prompt_tokens + s->r.output_tokens;
	if (!--s->turns_left)
		lab_session_end(lab, s);
	else
		lab_turn_wait(lab, s, (uint64_t)(think * 1e9), true);
}
