// SPDX-License-Identifier: Apache-2.0
/* load_clients.c - sessions: when they begin, ask, think and end. */
#include "../../userspace/base/util.h"
#include "load_internal.h"

#define PAUSE_NS NSEC_PER_SEC /* the least time that a user waits after an error */

void session_free(struct client_session *s)
{
	load_timer_clear(&s->class->run->timers, &s->timer);
	slot_clear(&s->kept);
	session_end(&s->says);
	LIST_REMOVE(s, all);
	free(s);
}

/* Sets the session's source address; without a prefix the kernel chooses it. */
static void choose_address(struct client_session *s, uint64_t number, uint32_t group)
{
	const struct source_prefix *prefix = &s->class->source;

	if (!prefix->set)
		return;
	switch ((enum workload_addresses)s->class->c->addresses) {
	case ADDRESSES_SESSION:
		source_address(prefix, number, &s->source);
		break;
	case ADDRESSES_GROUP:
		source_address_in_group(prefix, group, number, &s->source);
		break;
	case ADDRESSES_CLASS:
		source_address(prefix, 0, &s->source);
		break;
	}
}

static void client_begin(struct client_session *s, uint64_t due_ns)
{
	struct class_state *class = s->class;
	struct run *run = class->run;
	uint64_t number = class->sessions++;

	s->begun = true;
	s->number = number;
	session_begin(&s->says, class->c, class->index, &class->groups, run->config->seed, number);
	choose_address(s, number, s->says.group);
	run->stats.classes[class->index].sessions += run_in_window(run, due_ns);
}

/* The session's next turn is due; it may be the first. */
static void on_due(struct load_timer *t)
{
	struct client_session *s = (struct client_session *)t;
	struct class_state *class = s->class;
	struct buf body = {};

	if (!s->begun)
		client_begin(s, t->at_ns);
	session_ask(&s->says, &class->run->config->form, &body);
	request_send(s, t->at_ns, &body, class->c->history && s->says.turns_left);
	buf_free(&body);
}

static struct client_session *session_new(struct class_state *class)
{
	struct client_session *s = calloc(1, sizeof(*s));

	if (!s) {
		run_failed(class->run, ENOMEM);
		return NULL;
	}
	s->timer.fire = on_due;
	s->class = class;
	LIST_INSERT_HEAD(&class->run->sessions, s, all);
	return s;
}

/* Lets the session wait for its next turn, or ends it when that turn would begin after the window.
 */
static void session_wait(struct client_session *s, uint64_t due_ns)
{
	struct run *run = s->class->run;

	if (run->stopping || due_ns >= run->to_ns)
		session_free(s);
	else
		run_set_timer(run, &s->timer, due_ns);
}

static void session_over(struct client_session *s, bool well)
{
	struct class_state *class = s->class;
	uint64_t pause = class->c->users ? session_think_ns(&s->says) : 0;
	struct client_session *next;

	session_free(s);
	if (!class->c->users || class->run->closing)
		return;
	next = session_new(class);
	if (next)
		session_wait(next, monotonic_ns() + (well ? pause : MAX(pause, PAUSE_NS)));
}

void session_answered(struct client_session *s, enum load_outcome outcome,
		      const struct answer *answer)
{
	const struct run_config *config = s->class->run->config;
	bool well = outcome == LOAD_OK;

	if (config->trace)
		return;
	if (!well || !s->says.turns_left) {
		session_over(s, well);
		return;
	}
	if (answer->keep_text)
		session_heard(&s->says, &config->form, answer->text.data, answer->text.size);
	session_wait(s, monotonic_ns() + session_think_ns(&s->says));
}

static void next_arrival(struct class_state *class)
{
	struct run *run = class->run;

	class->arrived_ns = arrival_next(&class->c->arrival, &class->arrivals, class->arrived_ns);
	if (class->arrived_ns < run->to_ns - run->start_ns)
		run_set_timer(run, &class->timer, run->start_ns + class->arrived_ns);
}

void class_on_arrival(struct load_timer *t)
{
	struct class_state *class =
		(struct class_state *)((char *)t - offsetof(struct class_state, timer));
	struct client_session *s;

	if (class->run->stopping)
		return;
	s = session_new(class);
	if (!s)
		return;
	s->timer.at_ns = t->at_ns;
	on_due(&s->timer);
	if (!class->run->closing)
		next_arrival(class);
}

void class_start(struct class_state *class)
{
	const struct workload_class *c = class->c;
	struct run *run = class->run;

	if (!c->users) {
		next_arrival(class);
		return;
	}
	for (int i = 0; i < c->users; i++) {
		struct client_session *s = session_new(class);
		double share = (double)i / c->users;

		if (s)
			session_wait(s, run->start_ns + (uint64_t)((double)c->spread_ns * share));
	}
}

/* -- a trace ---------------------------------------------------------------------- */

/* A session of a trace stays until the run ends, because the trace may have more requests of it. */
static struct client_session *trace_session(struct run *run, const struct trace_request *r)
{
	struct client_session *s = run->trace_sessions[r->session];

	if (!s)
		s = session_new(&run->classes[0]);
	if (!s || run->trace_sessions[r->session])
		return s;
	run->trace_sessions[r->session] = s;
	s->number = r->session;
	choose_address(s, r->session, r->group == TRACE_NONE ? 0 : r->group);
	run->stats.classes[0].sessions += run_in_window(run, run->start_ns + r->at_ns);
	return s;
}

/* Waits until the next request of the trace is due. */
void trace_start(struct run *run)
{
	const struct trace *trace = run->config->trace;
	uint64_t at_ns;

	if (run->closing || run->stopping || run->trace_next == trace->count)
		return;
	at_ns = run->start_ns + trace->requests[run->trace_next].at_ns;
	if (at_ns < run->to_ns)
		run_set_timer(run, &run->trace_timer, at_ns);
}

void trace_on_due(struct load_timer *t)
{
	struct run *run = (struct run *)((char *)t - offsetof(struct run, trace_timer));
	const struct trace_request *r = &run->config->trace->requests[run->trace_next++];
	struct client_session *s = trace_session(run, r);
	struct buf body = {};

	if (!s)
		return;
	trace_ask(r, run->classes[0].c, &run->config->form, run->config->seed, &body);
	request_send(s, t->at_ns, &body, false);
	buf_free(&body);
	trace_start(run);
}
