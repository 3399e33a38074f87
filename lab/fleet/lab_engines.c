// SPDX-License-Identifier: Apache-2.0
/* lab_engines.c - the engines, ordered by their next events, and what their events change. */
#include "lab_internal.h"

static void engine_moved(void *arg, uint64_t engine, uint32_t place)
{
	struct lab *lab = arg;

	lab->engines[engine].place = place;
}

void lab_engine_reschedule(struct lab *lab, uint32_t e)
{
	heap_change(&lab->next, lab->engines[e].place, model_next(lab->engines[e].model));
}

bool lab_measuring(const struct lab *lab)
{
	return lab->now_ns >= lab->from_ns && lab->now_ns < lab->to_ns;
}

/* Counts the gaps between tokens. They grow linearly from the first to the last; at most four steps
 * stand for the growth. */
static void on_steps(void *arg, const struct model_steps *s)
{
	struct engine_slot *e = arg;
	struct lab *lab = e->lab;
	uint32_t rest = s->steps - 1, pieces = MIN(rest, 4U);

	if (!s->decodes || !lab_measuring(lab))
		return;
	durations_add_many(&lab->out->itl, s->first_gap_ns, s->decodes);
	for (uint32_t i = 1; i <= pieces; i++) {
		uint32_t n = rest * i / pieces - rest * (i - 1) / pieces;
		uint64_t gap = s->last_gap_ns;

		/* A first gap that is longer was delayed, and says nothing about the others. */
		if (s->first_gap_ns < s->last_gap_ns)
			gap = s->first_gap_ns + (s->last_gap_ns - s->first_gap_ns) * i / pieces;
		durations_add_many(&lab->out->itl, gap, (uint64_t)n * s->decodes);
	}
}

void lab_ttft_add(struct lab *lab, const struct lab_request *r, uint64_t ttft_ns)
{
	double expected =
		lab->o->rate * lab->o->endpoints * lab->o->seconds * lab->w->part[0].share;

	if (!r->measured)
		return;
	durations_add(r->part ? &lab->out->ttft_other : &lab->out->ttft, ttft_ns);
	durations_add(&lab->out->ttft_part[r->part], ttft_ns);
	if (lab->o->hopeless_ms > 0 && !r->part && (double)ttft_ns > lab->o->hopeless_ms * 1e6)
		lab->hopeless = (double)++lab->late > expected / 10;
}

const char *lab_label(const struct lab *lab, const struct lab_session *s)
{
	return s->says.c ? s->says.c->name : lab->w->part[s->r.part].name;
}

/* The keys are those of pintle-load's log. */
static void log_request(const struct lab *lab, const struct lab_session *s,
			const struct model_event *e)
{
	fprintf(lab->o->log,
		"{\"class\":\"%s\",\"session\":%ju,\"due\":%.9f,\"measured\":%s,\"endpoint\":%u,"
		"\"ttft\":%.9f,\"e2e\":%.9f,\"output_tokens\":%u,\"prompt_tokens\":%u,"
		"\"cached_tokens\":%u,\"told_no\":%u}\n",
		lab_label(lab, s), (uintmax_t)s->number, (double)s->r.arrived_ns * 1e-9,
		s->r.measured ? "true" : "false", s->r.endpoint,
		(double)(e->first_ns - s->r.arrived_ns) * 1e-9,
		(double)(e->at_ns - s->r.arrived_ns) * 1e-9, e->generated, e->prompt_tokens,
		e->cached_tokens, s->r.refusals);
}

static void on_event(void *arg, const struct model_event *event)
{
	struct engine_slot *e = arg;
	struct lab *lab = e->lab;
	struct lab_session *s = lab->sessions[event->id];

	switch (event->type) {
	case MODEL_FIRST_TOKEN:
		s->r.first_ns = event->at_ns;
		lab_ttft_add(lab, &s->r, event->at_ns - s->r.arrived_ns);
		if (lab->policy->first_token)
			lab->policy->first_token(lab->self, &s->r, lab->now_ns);
		break;
	case MODEL_FINISHED:
		if (lab->o->log)
			log_request(lab, s, event);
		/* fallthrough */
	case MODEL_ABORTED:
		e->requests--;
		if (lab->policy->answered)
			lab->policy->answered(lab->self, &s->r, lab->now_ns);
		lab_request_ended(lab, s);
		break;
	case MODEL_TOKEN:
	case MODEL_PREEMPTED:
		break;
	}
}

int lab_engines_init(struct lab *lab)
{
	struct model_config c = lab->o->profile->config;
	uint32_t n = lab->o->endpoints;

	c.blocks = MAX(1U, (uint32_t)((uint64_t)c.blocks * c.block_tokens / lab->o->block_tokens));
	c.block_tokens = lab->o->block_tokens;
	lab->engines = calloc(n, sizeof(*lab->engines));
	lab->counts = calloc(n, sizeof(*lab->counts));
	if (!lab->engines || !lab->counts)
		return -ENOMEM;
	lab->blocks = c.blocks;
	lab->next = (struct heap){.moved = engine_moved, .arg = lab};
	for (uint32_t i = 0; i < n; i++) {
		struct engine_slot *e = &lab->engines[i];
		int err;

		c.seed = lab_hash(lab->o->seed, i);
		e->lab = lab;
		err = model_new(&c, on_event, on_steps, e, &e->model, NULL);
		if (err)
			return err;
		err = heap_put(&lab->next, (struct heap_entry){.at = NEVER, .order = i, .what = i});
		if (err)
			return err;
		if (lab->o->sick[i] > 0)
			model_set_slow(e->model, 0, lab->o->sick[i]);
	}
	return 0;
}

void lab_engines_fini(struct lab *lab)
{
	for (uint32_t i = 0; lab->engines && i < lab->o->endpoints; i++)
		model_free(lab->engines[i].model);
	free(lab->engines);
	heap_free(&lab->next);
}
