// SPDX-License-Identifier: Apache-2.0
/* server_jobs.c - completions: a request in JSON becomes a request to the model, and the model's
 * events become the answer. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../userspace/base/util.h"
#include "../base/random.h"
#include "server_internal.h"
#include "server_text.h"

/* Output tokens without max_tokens. */
#define DEFAULT_COMPLETION_TOKENS 16  /* OpenAI's default for /v1/completions */
#define DEFAULT_CHAT_TOKENS       256 /* where answers have no natural length */

struct job {
	struct conn *conn;
	struct server *server;
	uint64_t handle;
	bool chat, stream, usage, natural_end, has_max_tokens;
	uint32_t max_tokens, output;
	struct tokens tokens;
	uint64_t seed; /* of the answer's text */
	uint32_t said; /* tokens written to the stream */
	char id[48];
	long created;
	struct buf model; /* the model's name as a JSON string */
	struct buf begin; /* what every event with text begins with */
};

static void job_free(struct job *j)
{
	if (!j)
		return;
	tokens_free(&j->tokens);
	buf_free(&j->model);
	buf_free(&j->begin);
	free(j);
}

static void job_freep(struct job **j)
{
	job_free(*j);
}

static void json_freep(cJSON **json)
{
	cJSON_Delete(*json);
}

/* -- the request ------------------------------------------------------------ */

static int job_bad(struct conn *c, const char *param, const char *message)
{
	answer_error(c, 400, "BadRequestError", param, message);
	return -EINVAL;
}

/* Reads an optional whole number. Returns 0, or -EINVAL after telling the client. */
static int get_count(struct conn *c, const cJSON *body, const char *name, uint32_t low,
		     uint32_t high, uint32_t *out, bool *given)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, name);
	char message[160];

	if (!item || cJSON_IsNull(item))
		return 0;
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high) ||
	    item->valuedouble != floor(item->valuedouble)) {
		snprintf(message, sizeof(message), "%s must be a whole number from %u to %u.", name,
			 low, high);
		return job_bad(c, name, message);
	}
	*out = (uint32_t)item->valuedouble;
	*given = true;
	return 0;
}

/* Sets *adapter to the number of the adapter that the request names, and leaves it alone for the
 * base model. Returns 0, or -ENOENT or -EINVAL after telling the client. */
static int find_model(struct conn *c, const cJSON *body, uint16_t *adapter, const char **name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, "model");
	const struct server_config *sc = c->server->c;
	struct buf message = {};

	*name = sc->model_name;
	if (!item || cJSON_IsNull(item))
		return 0;
	if (!cJSON_IsString(item))
		return job_bad(c, "model", "model must be a string.");
	if (!strcmp(item->valuestring, sc->model_name))
		return 0;
	for (uint32_t i = 0; i < sc->engine.adapters; i++) {
		if (!strcmp(item->valuestring, sc->adapters[i])) {
			*adapter = (uint16_t)(i + 1);
			*name = sc->adapters[i];
			return 0;
		}
	}
	buf_printf(&message, "The model `%.200s` does not exist.", item->valuestring);
	buf_add(&message, "", 1);
	answer_error(c, 404, "NotFoundError", "model", message.failed ? "" : message.data);
	buf_free(&message);
	return -ENOENT;
}

static bool add_ids(struct tokens *t, const cJSON *array)
{
	const cJSON *item;

	cJSON_ArrayForEach (item, array) {
		if (!cJSON_IsNumber(item) ||
		    !(item->valuedouble >= 0 && item->valuedouble <= UINT32_MAX))
			return false;
		tokens_id(t, (uint64_t)item->valuedouble);
	}
	return true;
}

/* Adds a prompt: a string, a list of token ids, or a list that holds one string or one such
 * list. */
static int add_prompt(struct conn *c, struct tokens *t, const cJSON *prompt)
{
	if (cJSON_IsArray(prompt) && cJSON_GetArraySize(prompt) == 1 &&
	    !cJSON_IsNumber(prompt->child))
		prompt = prompt->child;
	else if (cJSON_IsArray(prompt) && cJSON_IsString(prompt->child))
		return job_bad(c, "prompt",
			       "One prompt in a request; the simulator takes no more.");
	if (cJSON_IsString(prompt)) {
		tokens_mark(t, TEXT_BEGIN);
		tokens_text(t, prompt->valuestring, strlen(prompt->valuestring));
		return 0;
	}
	if (cJSON_IsArray(prompt) && prompt->child && add_ids(t, prompt))
		return 0;
	return job_bad(c, "prompt", "prompt must be a string or a list of token ids.");
}

static bool add_content(struct tokens *t, const cJSON *content)
{
	const cJSON *part;

	if (!content || cJSON_IsNull(content))
		return true; /* a message that holds only tool calls */
	if (cJSON_IsString(content)) {
		tokens_text(t, content->valuestring, strlen(content->valuestring));
		return true;
	}
	if (!cJSON_IsArray(content))
		return false;
	cJSON_ArrayForEach (part, content) {
		const cJSON *text = cJSON_GetObjectItemCaseSensitive(part, "text");

		if (!cJSON_IsString(text))
			return false;
		tokens_text(t, text->valuestring, strlen(text->valuestring));
	}
	return true;
}

static int add_messages(struct conn *c, struct tokens *t, const cJSON *body)
{
	const cJSON *messages = cJSON_GetObjectItemCaseSensitive(body, "messages"), *message;
	const cJSON *tools = cJSON_GetObjectItemCaseSensitive(body, "tools");

	if (!cJSON_IsArray(messages) || !messages->child)
		return job_bad(c, "messages", "messages must be a list with at least one message.");
	tokens_mark(t, TEXT_BEGIN);
	if (cJSON_IsArray(tools)) {
		char *text = cJSON_PrintUnformatted(tools);

		if (text)
			tokens_text(t, text, strlen(text));
		cJSON_free(text);
	}
	cJSON_ArrayForEach (message, messages) {
		const cJSON *role = cJSON_GetObjectItemCaseSensitive(message, "role");

		if (!cJSON_IsString(role))
			return job_bad(c, "messages", "Each message needs a role.");
		tokens_mark(t, TEXT_ROLE);
		tokens_text(t, role->valuestring, strlen(role->valuestring));
		tokens_mark(t, TEXT_CONTENT);
		if (!add_content(t, cJSON_GetObjectItemCaseSensitive(message, "content")))
			return job_bad(
				c, "messages",
				"content must be a string, or a list of parts of type text.");
		tokens_mark(t, TEXT_MESSAGE_END);
	}
	tokens_mark(t, TEXT_ROLE);
	tokens_text(t, "assistant", strlen("assistant"));
	tokens_mark(t, TEXT_CONTENT);
	return 0;
}

static uint64_t job_random(struct server *s, uint64_t salt)
{
	return model_chain(s->c->engine.seed ^ salt, s->serial);
}

/* The length of the answer in tokens if no limit cuts it; 0 where answers have no natural length.
 */
static uint32_t natural_length(struct server *s)
{
	double u = (double)(job_random(s, 1) >> 11) * 0x1p-53;
	double v = (double)(job_random(s, 2) >> 11) * 0x1p-53;
	double length;

	if (s->c->output_median <= 0)
		return 0;
	length = s->c->output_median * exp(s->c->output_sigma * normal_of(1 - u, v));
	length = MAX(length, 1.0);
	return (uint32_t)MIN(length, (double)s->c->engine.max_len);
}

/* Sets the length of the answer. Returns 0, or -EINVAL after telling the client. */
static int set_length(struct job *j, const cJSON *body, uint32_t *output)
{
	struct conn *c = j->conn;
	uint32_t most = j->server->c->engine.max_len, natural = natural_length(j->server), room;
	uint32_t fallback = j->chat ? DEFAULT_CHAT_TOKENS : DEFAULT_COMPLETION_TOKENS;
	char message[200];

	if (get_count(c, body, "max_tokens", 1, UINT32_MAX, &j->max_tokens, &j->has_max_tokens) ||
	    get_count(c, body, "max_completion_tokens", 1, UINT32_MAX, &j->max_tokens,
		      &j->has_max_tokens))
		return -EINVAL;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "ignore_eos")))
		natural = 0;
	if (j->tokens.count >= most ||
	    (j->has_max_tokens && j->max_tokens > most - j->tokens.count)) {
		snprintf(message, sizeof(message),
			 "This model's maximum context length is %u tokens. The prompt has %u, and "
			 "%u were asked for.",
			 most, j->tokens.count, j->has_max_tokens ? j->max_tokens : 1);
		return job_bad(c, j->has_max_tokens ? "max_tokens" : "prompt", message);
	}
	room = most - j->tokens.count;
	if (j->has_max_tokens)
		*output = j->max_tokens;
	else
		*output = MIN(natural && j->chat ? room : fallback, room);
	if (natural && natural <= *output) {
		*output = natural;
		j->natural_end = true;
	}
	return 0;
}

/* -- the answer ------------------------------------------------------------- */

static const char *finish_text(const struct job *j, enum metrics_finish how)
{
	if (how == FINISH_ABORT)
		return "abort";
	return j->natural_end ? "stop" : "length";
}

static void event_head(const struct job *j, struct buf *b, const char *object)
{
	buf_printf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%ld,\"model\":", j->id, object,
		   j->created);
	buf_add(b, j->model.data, j->model.size);
}

static void prepare_events(struct job *j)
{
	buf_puts(&j->begin, "data: ");
	event_head(j, &j->begin, j->chat ? "chat.completion.chunk" : "text_completion");
	buf_puts(&j->begin, j->chat ? ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\""
				    : ",\"choices\":[{\"index\":0,\"text\":\"");
}

/* Writes one event with the tokens up to `generated` that no event has carried. `finish` is the
 * finish_reason, or NULL when more tokens follow. */
static void job_say(struct job *j, uint32_t generated, const char *finish)
{
	char end[96];
	uint32_t n = generated - j->said;
	int size = snprintf(end, sizeof(end),
			    "\"%s,\"logprobs\":null,\"finish_reason\":%s%s%s%s}]}\n\n",
			    j->chat ? "}" : "", finish ? "\"" : "", finish ? finish : "null",
			    finish ? "\"" : "", j->chat && !finish ? "" : ",\"stop_reason\":null");
	struct conn *c = j->conn;

	chunk_open(c, j->begin.size + (size_t)n * TEXT_TOKEN_BYTES + (size_t)size);
	buf_add(&c->out, j->begin.data, j->begin.size);
	for (; j->said < generated; j->said++)
		buf_add(&c->out, text_answer(j->seed, j->said), TEXT_TOKEN_BYTES);
	buf_add(&c->out, end, (size_t)size);
	chunk_close(c);
}

static void say_buf(struct job *j, const struct buf *b)
{
	chunk_open(j->conn, b->size);
	buf_add(&j->conn->out, b->data, b->size);
	j->conn->out.failed |= b->failed;
	chunk_close(j->conn);
}

static void say_role(struct job *j)
{
	struct buf b = {};

	if (!j->chat)
		return;
	buf_puts(&b, "data: ");
	event_head(j, &b, "chat.completion.chunk");
	buf_puts(&b,
		 ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
		 "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
	say_buf(j, &b);
	buf_free(&b);
}

static void add_usage(struct buf *b, const struct model_event *e)
{
	buf_printf(b,
		   "\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u,\"completion_tokens\":%u,"
		   "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
		   e->prompt_tokens, e->prompt_tokens + e->generated, e->generated,
		   e->cached_tokens);
}

static void end_stream(struct job *j, const struct model_event *e)
{
	static const char done[] = "data: [DONE]\n\n";
	struct buf b = {};

	if (j->usage && e) {
		buf_puts(&b, "data: ");
		event_head(j, &b, j->chat ? "chat.completion.chunk" : "text_completion");
		buf_puts(&b, ",\"choices\":[],");
		add_usage(&b, e);
		buf_puts(&b, "}\n\n");
		say_buf(j, &b);
		buf_free(&b);
	}
	chunk_open(j->conn, strlen(done));
	buf_add(&j->conn->out, done, strlen(done));
	chunk_close(j->conn);
	answer_end(j->conn);
}

static void answer_whole(struct job *j, const struct model_event *e)
{
	struct buf b = {};

	event_head(j, &b, j->chat ? "chat.completion" : "text_completion");
	buf_puts(&b, j->chat ? ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
			       "\"content\":\""
			     : ",\"choices\":[{\"index\":0,\"text\":\"");
	for (uint32_t i = 0; i < e->generated; i++)
		buf_add(&b, text_answer(j->seed, i), TEXT_TOKEN_BYTES);
	buf_printf(&b, "\"%s,\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":null}],",
		   j->chat ? "}" : "", finish_text(j, FINISH_LENGTH));
	add_usage(&b, e);
	buf_puts(&b, "}");
	if (b.failed)
		answer_error(j->conn, 500, "InternalServerError", NULL, "Out of memory.");
	else
		answer(j->conn, 200, "application/json", b.data, b.size);
	buf_free(&b);
}

/* -- events ----------------------------------------------------------------- */

static void job_token(struct job *j, const struct model_event *e)
{
	uint32_t interval = j->server->c->stream_interval;
	bool last = e->generated == j->output;

	if (e->type == MODEL_FIRST_TOKEN)
		say_role(j);
	if (last || e->type == MODEL_FIRST_TOKEN || e->generated - j->said >= interval)
		job_say(j, e->generated, last ? finish_text(j, FINISH_LENGTH) : NULL);
}

void job_event(void *server, const struct model_event *e)
{
	struct server *s = server;
	struct job *j = (struct job *)(uintptr_t)e->id;
	bool over = e->type == MODEL_FINISHED || e->type == MODEL_ABORTED;

	if (e->type == MODEL_FIRST_TOKEN) {
		s->metrics.prompt_tokens += e->prompt_tokens;
		s->metrics.cached_tokens += e->cached_tokens;
		histogram_add(&s->metrics.ttft, (double)(e->at_ns - e->arrived_ns) * 1e-9, 1);
	}
	if (j->conn && j->stream && (e->type == MODEL_FIRST_TOKEN || e->type == MODEL_TOKEN))
		job_token(j, e);
	if (!over)
		return;
	metrics_request(&s->metrics, e,
			e->type == MODEL_ABORTED ? FINISH_ABORT
			: j->natural_end         ? FINISH_STOP
						 : FINISH_LENGTH,
			j->max_tokens, j->has_max_tokens);
	if (j->conn) {
		j->conn->job = NULL;
		if (j->stream)
			end_stream(j, e);
		else
			answer_whole(j, e);
	}
	job_free(j);
}

void job_steps(void *server, const struct model_steps *steps)
{
	struct server *s = server;

	metrics_steps(&s->metrics, steps);
}

void job_cancel(struct job *j)
{
	struct server *s = j->server;

	j->conn = NULL;
	model_abort(s->model, server_now(s), j->handle);
}

void job_cut(struct job *j)
{
	struct conn *c = j->conn;

	c->keep = false;
	c->job = NULL;
	if (j->stream) {
		job_say(j, j->said, finish_text(j, FINISH_ABORT));
		end_stream(j, NULL);
	} else {
		answer_error(c, 503, "ServiceUnavailableError", NULL, "The server is going down.");
	}
	job_cancel(j);
}

/* -- begin ------------------------------------------------------------------ */

static void submit_failed(struct conn *c, int error)
{
	switch (error) {
	case -E2BIG:
		answer_error(c, 400, "BadRequestError", NULL,
			     "The request needs more KV cache than there is.");
		break;
	case -EBUSY:
		answer_error(c, 503, "ServiceUnavailableError", NULL,
			     "Too many requests are waiting (max_num_queued_reqs).");
		break;
	default:
		answer_error(c, 500, "InternalServerError", NULL, "Internal server error");
	}
}

static void job_start(struct job **owned, const cJSON *body, uint16_t adapter, const char *name)
{
	struct job *j = *owned;
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(body, "stream_options");
	struct server *s = j->server;
	struct conn *c = j->conn;
	struct model_request r = {.id = (uint64_t)(uintptr_t)j, .adapter = adapter};
	uint32_t n = 1, rank = 0;
	bool given = false;
	int err;

	j->stream = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "stream"));
	j->usage = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(options, "include_usage"));
	if (get_count(c, body, "n", 1, 1, &n, &given) ||
	    get_count(c, body, "priority", 0, MODEL_RANKS - 1, &rank, &given) ||
	    set_length(j, body, &r.output_tokens))
		return;
	if (!j->has_max_tokens)
		j->max_tokens = r.output_tokens;
	j->output = r.output_tokens;
	s->serial++;
	snprintf(j->id, sizeof(j->id), "%s-%016lx%016lx", j->chat ? "chatcmpl" : "cmpl",
		 (unsigned long)job_random(s, 3), (unsigned long)job_random(s, 4));
	j->created = (long)time(NULL);
	buf_json(&j->model, name);
	prepare_events(j);
	j->seed = j->tokens.chain;
	r.prompt_tokens = j->tokens.count;
	r.rank = (uint8_t)rank;
	tokens_answer(&j->tokens, j->seed, r.output_tokens);
	r.blocks = j->tokens.blocks;
	r.block_count = j->tokens.block_count;
	if (j->tokens.failed || j->model.failed || j->begin.failed)
		err = -ENOMEM;
	else
		err = model_submit(s->model, server_now(s), &r, &j->handle);
	if (err) {
		submit_failed(c, err);
		return;
	}
	c->job = TAKE_PTR(*owned);
	if (j->stream)
		answer_begin(c, "text/event-stream; charset=utf-8");
}

static void job_request(struct conn *c, bool chat)
{
	_cleanup_(json_freep) cJSON *body =
		cJSON_ParseWithLength(c->body.data ? c->body.data : "", c->body.size);
	_cleanup_(job_freep) struct job *j = calloc(1, sizeof(*j));
	const char *name;
	uint16_t adapter = 0;

	if (!j) {
		submit_failed(c, -ENOMEM);
		return;
	}
	j->conn = c;
	j->server = c->server;
	j->chat = chat;
	j->tokens.block_tokens = c->server->c->engine.block_tokens;
	if (!cJSON_IsObject(body)) {
		job_bad(c, NULL, "The body must be a JSON object.");
		return;
	}
	if (find_model(c, body, &adapter, &name))
		return;
	if (chat ? add_messages(c, &j->tokens, body)
		 : add_prompt(c, &j->tokens, cJSON_GetObjectItemCaseSensitive(body, "prompt")))
		return;
	job_start(&j, body, adapter, name);
}

void job_completion(struct conn *c)
{
	job_request(c, false);
}

void job_chat(struct conn *c)
{
	job_request(c, true);
}

/* The id of a token is its four bytes as a number, without the sign bit. */
static void answer_tokens(struct conn *c, const char *text, size_t size, uint32_t count)
{
	struct buf b = {};

	buf_printf(&b, "{\"count\":%u,\"max_model_len\":%u,\"tokens\":[", count,
		   c->server->c->engine.max_len);
	for (size_t at = 0; at < size; at += TEXT_TOKEN_BYTES) {
		uint32_t id = 0;

		memcpy(&id, text + at, MIN(size - at, (size_t)TEXT_TOKEN_BYTES));
		buf_printf(&b, "%s%u", at ? "," : "", id & INT32_MAX);
	}
	buf_puts(&b, "],\"token_strs\":null}");
	answer(c, 200, "application/json", b.data, b.size);
	buf_free(&b);
}

void job_tokenize(struct conn *c)
{
	_cleanup_(json_freep) cJSON *body =
		cJSON_ParseWithLength(c->body.data ? c->body.data : "", c->body.size);
	const cJSON *prompt = cJSON_GetObjectItemCaseSensitive(body, "prompt");
	struct tokens t = {.block_tokens = UINT32_MAX};

	if (cJSON_IsString(prompt)) {
		tokens_mark(&t, TEXT_BEGIN);
		tokens_text(&t, prompt->valuestring, strlen(prompt->valuestring));
		answer_tokens(c, prompt->valuestring, strlen(prompt->valuestring), t.count);
	} else if (cJSON_HasObjectItem(body, "messages")) {
		if (!add_messages(c, &t, body))
			answer_tokens(c, "", 0, t.count);
	} else {
		job_bad(c, "prompt", "prompt (a string) or messages is needed.");
	}
	tokens_free(&t);
}
