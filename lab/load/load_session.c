// SPDX-License-Identifier: Apache-2.0
#include "load_session.h"

#include <assert.h>

#include "../../userspace/base/util.h"
#include "load_text.h"

/* What random numbers are for. Each purpose has a stream of its own in each class and session. */
enum purpose { FOR_SESSION = 1, FOR_TEXT, FOR_GROUP_TEXT, FOR_GROUP_LENGTH };

static uint64_t number_for(enum purpose purpose, uint64_t seed, unsigned int class_index,
			   uint64_t number)
{
	struct rng r;

	rng_init(&r, seed, (uint64_t)class_index << 8 | purpose, number);
	return rng_next(&r);
}

void session_begin(struct session *s, const struct workload_class *c, unsigned int class_index,
		   const struct zipf *groups, uint64_t seed, uint64_t number)
{
	struct rng length;

	*s = (struct session){.c = c};
	rng_init(&s->rng, seed, (uint64_t)class_index << 8 | FOR_SESSION, number);
	s->group = zipf_draw(groups, &s->rng);
	s->own_seed = number_for(FOR_TEXT, seed, class_index, number);
	s->shared_seed = number_for(FOR_GROUP_TEXT, seed, class_index, s->group);
	/* All sessions of a group draw the same length. */
	rng_init(&length, seed, (uint64_t)class_index << 8 | FOR_GROUP_LENGTH, s->group);
	s->shared_tokens = dist_draw_whole(&c->shared, &length);
	s->turns_left = dist_draw_whole(&c->turns, &s->rng);
	s->context_tokens = dist_draw_whole(&c->context, &s->rng);
	s->said = s->context_tokens;
}

uint64_t session_think_ns(struct session *s)
{
	return (uint64_t)dist_draw(&s->c->think, &s->rng);
}

static void head(struct buf *b, const struct session_form *form, uint32_t output, int priority)
{
	buf_puts(b, "{");
	if (form->model) {
		buf_puts(b, "\"model\":");
		buf_json(b, form->model);
		buf_puts(b, ",");
	}
	buf_printf(b, "\"max_tokens\":%u,", output);
	if (!form->natural_end)
		buf_puts(b, "\"ignore_eos\":true,");
	if (priority >= 0)
		buf_printf(b, "\"priority\":%d,", priority);
	buf_puts(b, "\"stream\":true,\"stream_options\":{\"include_usage\":true},");
	buf_puts(b, form->chat ? "\"messages\":[" : "\"prompt\":\"");
}

static void tail(struct buf *b, const struct session_form *form)
{
	buf_puts(b, form->chat ? "]}" : "\"}");
}

static void shared_text(struct buf *b, const struct session_form *form, uint64_t seed,
			uint32_t tokens)
{
	if (!tokens)
		return;
	if (form->chat)
		buf_puts(b, "{\"role\":\"system\",\"content\":\"");
	load_text(b, seed, 0, tokens);
	if (form->chat)
		buf_puts(b, "\"},");
}

/* Four characters each after unescaping, so that for pintle-sim the text after them begins with a
 * whole token. */
static const char question[] = "\\n>> ", answer[] = "\\n<< ";

static void user_begin(struct buf *b, const struct session_form *form)
{
	buf_puts(b, form->chat ? "{\"role\":\"user\",\"content\":\"" : question);
}

static void user_end(struct buf *b, const struct session_form *form)
{
	buf_puts(b, form->chat ? "\"}" : answer);
}

void session_draw(struct session *s, uint32_t *prompt, uint32_t *output)
{
	*prompt = dist_draw_whole(&s->c->prompt, &s->rng);
	*output = dist_draw_whole(&s->c->output, &s->rng);
	assert(s->turns_left);
	s->turns_left--;
}

void session_ask(struct session *s, const struct session_form *form, struct buf *body)
{
	const struct workload_class *c = s->c;
	uint32_t prompt, output;

	session_draw(s, &prompt, &output);
	s->asked.size = 0;
	user_begin(&s->asked, form);
	/* Later prompts find the context in the history. */
	if (!s->history.size)
		load_text(&s->asked, s->own_seed, 0, s->context_tokens);
	load_text(&s->asked, s->own_seed, s->said, prompt);
	user_end(&s->asked, form);
	s->said += prompt;

	head(body, form, output, c->priority);
	shared_text(body, form, s->shared_seed, s->shared_tokens);
	buf_add(body, s->history.data, s->history.size);
	buf_add(body, s->asked.data, s->asked.size);
	tail(body, form);
	body->failed |= s->asked.failed || s->history.failed;
}

void session_heard(struct session *s, const struct session_form *form, const char *text,
		   size_t size)
{
	struct buf plain = {}, quoted = {};

	if (!s->c->history)
		return;
	buf_add(&plain, text, size);
	buf_add(&plain, "", 1);
	if (!plain.failed)
		buf_json(&quoted, plain.data);
	buf_add(&s->history, s->asked.data, s->asked.size);
	if (form->chat)
		buf_puts(&s->history, ",{\"role\":\"assistant\",\"content\":");
	if (quoted.size >= 2 && !form->chat) /* the prompt is one string: drop the quotes */
		buf_add(&s->history, quoted.data + 1, quoted.size - 2);
	else
		buf_add(&s->history, quoted.data, quoted.size);
	if (form->chat)
		buf_puts(&s->history, "},");
	s->history.failed |= plain.failed || quoted.failed;
	buf_free(&plain);
	buf_free(&quoted);
}

void session_end(struct session *s)
{
	buf_free(&s->history);
	buf_free(&s->asked);
}

void trace_ask(const struct trace_request *r, const struct workload_class *c,
	       const struct session_form *form, uint64_t seed, struct buf *body)
{
	uint32_t shared = 0;

	if (r->group != TRACE_NONE) {
		shared = r->shared_tokens == TRACE_NONE ? (uint32_t)c->shared.a : r->shared_tokens;
		shared = MIN(shared, r->prompt_tokens);
	}
	head(body, form, r->output_tokens, c->priority);
	shared_text(body, form, number_for(FOR_GROUP_TEXT, seed, 0, r->group), shared);
	if (form->chat)
		user_begin(body, form);
	load_text(body, number_for(FOR_TEXT, seed, 0, r->session), 0, r->prompt_tokens - shared);
	if (form->chat)
		user_end(body, form);
	tail(body, form);
}
