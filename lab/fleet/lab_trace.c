// SPDX-License-Identifier: Apache-2.0
/*
 * lab_trace.c - recorded requests, each sent when it is due, whether or not earlier ones have
 * ended.
 *
 * Prompts are those that pintle-load makes of the same file (lab/docs/load-generator.md): the
 * group's common text, then the beginning of the session's text. Blocks with the same text have the
 * same hash. Of a trace with hash_ids, these say which texts are the same.
 */
#include "../load/load_trace.h"

#include "lab_internal.h"

static uint32_t shared_tokens(const struct trace_request *q)
{
	uint32_t shared = q->shared_tokens == TRACE_NONE ? TRACE_SHARED_TOKENS : q->shared_tokens;

	return q->group == TRACE_NONE ? 0 : MIN(shared, q->prompt_tokens);
}

/* Names the blocks of the group's common text, of the session's text, and of the answer, which
 * follows from the two. */
/* Names the blocks by the trace's hash_ids. What the ids do not reach, and the answer, is text that
 * no other request has: a trace does not say which later prompts repeat it, except by their ids. */
static int blocks_by_id(const struct lab *lab, struct lab_session *s, const struct trace_request *q)
{
	const struct lab_text whole[3] = {{UINT32_MAX, 0}, {UINT32_MAX, 0}, {UINT32_MAX, 0}};
	const struct trace *t = lab->o->trace;
	uint64_t last = 0, own = lab_hash((uint64_t)(q - t->requests), 0x1d5);
	int err = lab_blocks_name(lab, s, whole);

	for (uint32_t i = 0; !err && i < s->block_count; i++) {
		uint64_t end = (uint64_t)(i + 1) * lab->o->block_tokens;
		uint64_t id = (end - 1) / t->id_tokens;
		bool known = end <= q->prompt_tokens && id < q->id_count;

		last = model_chain(last, lab_hash(known ? t->ids[q->first_id + id] : own, i));
		s->blocks[i] = last;
	}
	return err;
}

static int blocks_name(const struct lab *lab, struct lab_session *s, const struct trace_request *q)
{
	uint32_t shared = shared_tokens(q);
	uint64_t common = lab_hash(q->group, 0x6709);
	uint64_t own = lab_hash(lab_hash(common, shared), q->session);
	const struct lab_text texts[3] = {
		{shared, common},
		{q->prompt_tokens, own},
		{UINT32_MAX, lab_hash(own, q->prompt_tokens)},
	};

	return lab_blocks_name(lab, s, texts);
}

void lab_trace_init(struct lab *lab)
{
	rng_init(&lab->deal, lab->o->seed, 0xdea1, 0);
	lab_event_put(lab, lab->o->trace->requests[0].at_ns, REPLAY, 0, 0);
}

void lab_trace_due(struct lab *lab, uint32_t i)
{
	const struct trace_request *q = &lab->o->trace->requests[i];
	struct lab_session *s = lab_session_new(lab);
	struct lab_request *r;

	if (i + 1 < lab->o->trace->count)
		lab_event_put(lab, q[1].at_ns, REPLAY, i + 1, 0);
	if (!s) {
		lab->err = -ENOMEM;
		return;
	}
	r = &s->r;
	s->number = q->session;
	s->turns_left = 1;
	s->says.c = NULL; /* a session of pintle-load may have been here before */
	r->part = 0;
	r->session = q->session;
	r->client =
		lab_hash(lab->o->deal ? rng_below(&lab->deal, lab->o->deal) : q->session, 0x5e55);
	/* A session in no group is a group by itself. */
	r->group = q->group == TRACE_NONE ? (uint64_t)lab->o->trace->groups + q->session : q->group;
	r->prefix = lab_hash(q->group == TRACE_NONE ? r->client : r->group, 0x9ef1);
	r->node = (uint32_t)(hash_mix(r->client) % lab->o->nodes);
	r->prompt_tokens = q->prompt_tokens;
	r->output_tokens = q->output_tokens;
	if (q->id_count ? blocks_by_id(lab, s, q) : blocks_name(lab, s, q))
		lab->err = -ENOMEM;
	else
		lab_submit(lab, s);
}
