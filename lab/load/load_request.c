// SPDX-License-Identifier: Apache-2.0
/* load_request.c - a request, from its due time to its row in the statistics. */
#include <stdio.h>

#include "../../userspace/base/util.h"
#include "load_internal.h"

static struct stats_second *second_of(struct run *run, uint64_t at_ns)
{
	return stats_second(&run->stats, at_ns - run->start_ns);
}

static struct stats_row *row_of(const struct request *q)
{
	const struct class_state *class = q->s->class;

	return &class->run->stats.classes[class->index];
}

static void request_free(struct request *q)
{
	struct run *run = q->s->class->run;

	load_timer_clear(&run->timers, &q->timeout);
	load_timer_clear(&run->timers, &q->again);
	run->live--;
	run->measured_live -= q->measured;
	LIST_REMOVE(q, all);
	exchange_free(&q->x);
	answer_free(&q->answer);
	free(q);
}

static struct stats_row *endpoint_of(struct request *q)
{
	struct run *run = q->s->class->run;

	if (!q->endpoint && *q->x.endpoint && q->measured)
		q->endpoint = stats_endpoint(&run->stats, q->x.endpoint);
	return q->endpoint;
}

static void first_piece(struct request *q, uint64_t now_ns)
{
	struct stats_second *second = second_of(q->s->class->run, now_ns);
	struct stats_row *endpoint = endpoint_of(q);
	uint64_t ttft = now_ns - MIN(q->due_ns, now_ns);

	q->first_ns = now_ns;
	second->first_tokens++;
	second->ttft_sum += (double)ttft * 1e-9;
	if (!q->measured)
		return;
	durations_add(&row_of(q)->ttft, ttft);
	if (endpoint)
		durations_add(&endpoint->ttft, ttft);
}

static void next_piece(struct request *q, uint64_t now_ns)
{
	struct stats_row *endpoint = endpoint_of(q);
	uint64_t itl = now_ns - q->last_ns;

	if (!q->measured)
		return;
	durations_add(&row_of(q)->itl, itl);
	if (endpoint)
		durations_add(&endpoint->itl, itl);
}

static enum load_outcome on_event(struct exchange *x, char *data, size_t size)
{
	struct request *q = (struct request *)x;
	struct run *run = q->s->class->run;
	uint64_t now_ns = run->client.now_ns;

	switch (answer_read(&q->answer, data, size)) {
	case ANSWER_BAD:
		memcpy(x->problem, q->answer.problem, sizeof(x->problem));
		return LOAD_STREAM;
	case ANSWER_OTHER:
		return LOAD_OK;
	case ANSWER_TEXT:
		break;
	}
	if (!q->pieces++)
		first_piece(q, now_ns);
	else
		next_piece(q, now_ns);
	q->last_ns = now_ns;
	q->pieces_in_window += run_in_window(run, now_ns);
	second_of(run, now_ns)->pieces++;
	return LOAD_OK;
}

/* The outcome of a stream that HTTP delivered to its end: an answer may still be missing in it. */
static enum load_outcome request_judge(struct request *q)
{
	const struct answer *a = &q->answer;
	enum load_outcome outcome = LOAD_STREAM;
	const char *problem;

	if (a->aborted) {
		outcome = LOAD_ABORTED;
		problem = "finish_reason abort";
	} else if (!q->pieces) {
		problem = "an answer without text";
	} else if (!a->done) {
		problem = "the stream ended without [DONE]";
	} else {
		return LOAD_OK;
	}
	snprintf(q->x.problem, sizeof(q->x.problem), "%s", problem);
	return outcome;
}

static void count_well(struct stats_row *r, const struct request *q, uint32_t tokens,
		       uint64_t now_ns)
{
	r->prompt_tokens += q->answer.prompt_tokens;
	r->cached_tokens += q->answer.cached_tokens;
	r->output_tokens += tokens;
	durations_add(&r->e2e, now_ns - MIN(q->due_ns, now_ns));
	if (tokens > 1)
		durations_add(&r->tpot, (q->last_ns - q->first_ns) / (tokens - 1));
}

static void count_row(struct run *run, struct stats_row *r, const struct request *q,
		      enum load_outcome outcome, uint64_t now_ns)
{
	uint32_t tokens = q->answer.has_usage ? q->answer.output_tokens : q->pieces;

	if (q->pieces)
		r->tokens_in_window += (double)tokens * q->pieces_in_window / q->pieces;
	r->ended_in_window += outcome == LOAD_OK && run_in_window(run, now_ns);
	if (!q->measured)
		return;
	r->outcomes[outcome]++;
	if (outcome == LOAD_OK)
		count_well(r, q, tokens, now_ns);
}

/* Seconds from the request's due time to `at_ns`. */
static double since_due(const struct request *q, uint64_t at_ns)
{
	return at_ns > q->due_ns ? (double)(at_ns - q->due_ns) * 1e-9 : 0;
}

static void write_log(const struct request *q, enum load_outcome outcome, uint64_t now_ns)
{
	const struct run *run = q->s->class->run;
	struct buf endpoint = {};

	buf_json(&endpoint, q->x.endpoint);
	fprintf(run->config->log,
		"{\"class\":\"%s\",\"session\":%ju,\"due\":%.9f,\"measured\":%s,"
		"\"outcome\":\"%s\",\"endpoint\":%.*s,\"ttft\":%.9f,\"last\":%.9f,"
		"\"e2e\":%.9f,\"pieces\":%u,\"output_tokens\":%u,\"prompt_tokens\":%u,"
		"\"cached_tokens\":%u,\"told_no\":%u}\n",
		q->s->class->c->name, (uintmax_t)q->s->number,
		(double)(q->due_ns - run->start_ns) * 1e-9, q->measured ? "true" : "false",
		load_outcome_keys[outcome], (int)endpoint.size, endpoint.size ? endpoint.data : "",
		since_due(q, q->first_ns), since_due(q, q->last_ns), since_due(q, now_ns),
		q->pieces, q->answer.output_tokens, q->answer.prompt_tokens,
		q->answer.cached_tokens, q->told_no);
	buf_free(&endpoint);
}

static void request_count(struct request *q, enum load_outcome outcome)
{
	struct run *run = q->s->class->run;
	uint64_t now_ns = outcome == LOAD_OK ? run->client.now_ns : monotonic_ns();
	struct stats_second *second = second_of(run, now_ns);
	char *problem = run->stats.problems[outcome];

	second->ended++;
	second->errors += outcome != LOAD_OK && outcome != LOAD_CANCELLED;
	run->stats.warmup_requests += !q->measured;
	if (!*problem)
		snprintf(problem, sizeof(run->stats.problems[0]), "%s", q->x.problem);
	if (run->config->log)
		write_log(q, outcome, now_ns);
	count_row(run, row_of(q), q, outcome, now_ns);
	if (endpoint_of(q))
		count_row(run, q->endpoint, q, outcome, now_ns);
}

/* -- a request that is told no ------------------------------------------------------ */

/* Whether it was told no before anything was done for it, and may be sent again. */
static bool told_no(const struct request *q, enum load_outcome outcome)
{
	return q->told_no < q->s->class->run->config->retries &&
	       (outcome == LOAD_STATUS_429 || q->x.status == 503 || outcome == LOAD_CONNECT);
}

/* When nobody says how long to wait: half a second, and twice as long each time, up to 8 s, less up
 * to a quarter, as OpenAI's client for Python does (_calculate_retry_timeout). */
static uint64_t pause_ns(const struct request *q)
{
	uint64_t half_s = 1ULL << MIN(q->told_no, 4U);
	uint64_t drawn = hash_mix(q->due_ns + q->told_no) >> 11;

	return (uint64_t)((double)half_s * 0.5e9 * (1 - 0.25 * (double)drawn * 0x1p-53));
}

static void wait_again(struct request *q)
{
	struct run *run = q->s->class->run;
	uint64_t now_ns = monotonic_ns();
	uint64_t wait_ns = q->x.retry_after_s ? q->x.retry_after_s * NSEC_PER_SEC : pause_ns(q);

	second_of(run, now_ns)->told_no++;
	if (q->measured) {
		row_of(q)->told_no++;
		row_of(q)->told_no_time += !q->x.retry_after_s;
	}
	q->told_no++;
	exchange_reset(&q->x);
	run_set_timer(run, &q->again, now_ns + wait_ns);
}

static void on_again(struct load_timer *t)
{
	struct request *q = (struct request *)((char *)t - offsetof(struct request, again));

	exchange_start(&q->s->class->run->client, &q->x);
}

static void on_end(struct exchange *x, enum load_outcome outcome)
{
	struct request *q = (struct request *)x;
	struct client_session *s = q->s;
	struct run *run = s->class->run;
	struct answer answer;

	if (told_no(q, outcome)) {
		wait_again(q);
		return;
	}
	if (outcome == LOAD_OK)
		outcome = request_judge(q);
	request_count(q, outcome);
	answer = q->answer;
	q->answer = (struct answer){}; /* the answer outlives the request */
	request_free(q);
	session_answered(s, outcome, &answer);
	answer_free(&answer);
	run_maybe_end(run);
}

void request_break(struct request *q, enum load_outcome outcome)
{
	exchange_cancel(&q->x);
	on_end(&q->x, outcome);
}

void request_drop(struct request *q)
{
	exchange_cancel(&q->x);
	request_free(q);
}

static void on_timeout(struct load_timer *t)
{
	struct request *q = (struct request *)((char *)t - offsetof(struct request, timeout));

	snprintf(q->x.problem, sizeof(q->x.problem), "%s",
		 q->pieces ? "the answer stopped" : "no answer");
	request_break(q, LOAD_TIMEOUT);
}

/* Writes the head and the body of the request. */
static void put_head(struct request *q, const struct buf *body)
{
	const struct run_config *config = q->s->class->run->config;

	buf_printf(&q->x.out,
		   "POST /v1/%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: pintle-load/%s\r\n"
		   "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
		   "Content-Length: %zu\r\n%s",
		   config->form.chat ? "chat/completions" : "completions", config->host,
		   PINTLE_VERSION, body->size, q->x.keep ? "" : "Connection: close\r\n");
	if (config->session_header)
		buf_printf(&q->x.out, "%s: %s-%ju\r\n", config->session_header,
			   q->s->class->c->name, (uintmax_t)q->s->number);
	buf_printf(&q->x.out, "\r\n");
	buf_add(&q->x.out, body->data, body->size);
	q->x.out.failed |= body->failed;
}

static struct request *request_new(struct client_session *s, uint64_t due_ns)
{
	struct run *run = s->class->run;
	struct request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->s = s;
	q->due_ns = due_ns;
	q->measured = run_in_window(run, due_ns);
	q->timeout.fire = on_timeout;
	q->again.fire = on_again;
	q->x.event = on_event;
	q->x.end = on_end;
	q->x.keep = s->class->c->connection == CONNECTION_KEPT;
	q->x.slot = &s->kept;
	q->x.source = s->class->source.set ? &s->source : NULL;
	LIST_INSERT_HEAD(&run->requests, q, all);
	run->live++;
	run->measured_live += q->measured;
	return q;
}

void request_send(struct client_session *s, uint64_t due_ns, const struct buf *body, bool keep_text)
{
	struct run *run = s->class->run;
	struct request *q = request_new(s, due_ns);
	uint64_t now_ns = monotonic_ns();

	if (!q) {
		run_failed(run, ENOMEM);
		return;
	}
	put_head(q, body);
	q->answer.keep_text = keep_text;
	durations_add(&run->stats.lag, now_ns - MIN(due_ns, now_ns));
	second_of(run, now_ns)->started++;
	if (q->x.out.failed ||
	    load_timer_set(&run->timers, &q->timeout, due_ns + run->config->timeout_ns))
		run_failed(run, ENOMEM);
	else
		exchange_start(&run->client, &q->x);
}
