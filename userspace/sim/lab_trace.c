// SPDX-License-Identifier: Apache-2.0
/*
 * lab_trace.c - recorded requests, each when it is due, whether or not earlier ones are over.
 *
 * Prompts are those that pintle-load makes of the same file (docs/load-generator.md): what the
 * group shares, then the beginning of the session's text. Blocks that hold the same are the same.
 */
#include "load_trace.h"

#include "lab_internal.h"

/* For what a trace does not say: one turn, and nobody thinks. */
const struct lab_workload lab_workload_trace = {
	.name = "trace",
	.says = "the requests of a file",
	.parts = 1,
	.part = {{.name = "trace", .share = 1, .turns = 1, .turns_max = 1, .width = 1}},
	.burst = 1,
	.rate = 1,
	.slo_ms = 1000,
};

static uint32_t shared_tokens(const struct trace_request *q)
{
	uint32_t shared = q->shared_tokens == TRACE_NONE ? TRACE_SHARED_TOKENS : q->shared_tokens;

	return q->group == TRACE_NONE ? 0 : MIN(shared, q->prompt_tokens);
}

/* Names the blocks of the prompt and the answer; an answer follows from its prompt. */
static int blocks_name(const struct lab *lab, struct session *s, const struct trace_request *q)
{
	uint32_t size = lab->o->block_tokens, shared = shared_tokens(q);
	uint32_t n = (q->prompt_tokens + q->output_tokens) / size;
	uint64_t common = lab_hash(q->group, 0x6709), own = lab_hash(common, shared);
	uint64_t answer, last = 0;

	if (lab_blocks_reserve(s, n))
		return -ENOMEM;
	own = lab_hash(own, q->session);
	answer = lab_hash(own, q->prompt_tokens);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t end = (uint64_t)(i + 1) * size;
		uint64_t text = end <= shared ? common : end <= q->prompt_tokens ? own : answer;

		last = model_chain(last, lab_hash(text, i));
		s->blocks[i] = last;
	}
	s->block_count = n;
	return 0;
}

void lab_trace_init(struct lab *lab)
{
	lab_event_put(lab, lab->o->trace->requests[0].at_ns, REPLAY, 0, 0);
}

void lab_trace_due(struct lab *lab, uint32_t i)
{
	const struct trace_request *q = &lab->o->trace->requests[i];
	struct session *s = lab_session_new(lab);
	struct lab_request *r;

	if (i + 1 < lab->o->trace->count)
		lab_event_put(lab, q[1].at_ns, REPLAY, i + 1, 0);
	if (!s || blocks_name(lab, s, q)) {
		lab->err = -ENOMEM;
		return;
	}
	r = &s->r;
	s->number = q->session;
	s->turns_left = 1;
	r->part = 0;
	r->session = q->session;
	r->client = lab_hash(q->session, 0x5e55);
	/* One in no group is a group by itself. */
	r->group = q->group == TRACE_NONE ? (uint64_t)lab->o->trace->groups + q->session : q->group;
	r->prefix = lab_hash(q->group == TRACE_NONE ? r->client : r->group, 0x9ef1);
	r->node = (uint32_t)(lab_mix(r->client) % lab->o->nodes);
	r->prompt_tokens = q->prompt_tokens;
	r->output_tokens = q->output_tokens;
	lab_submit(lab, s);
}
