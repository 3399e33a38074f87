// SPDX-License-Identifier: Apache-2.0
/* server_api.c - the paths of the server. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "../../userspace/base/util.h"
#include "server_internal.h"

static const char json_type[] = "application/json";

static void answer_json(struct conn *c, unsigned int status, const char *json)
{
	answer(c, status, json_type, json, strlen(json));
}

void answer_error(struct conn *c, unsigned int status, const char *type, const char *param,
		  const char *message)
{
	struct buf b = {};

	buf_puts(&b, "{\"error\":{\"message\":");
	buf_json(&b, message);
	buf_printf(&b, ",\"type\":\"%s\",\"param\":", type);
	if (param)
		buf_json(&b, param);
	else
		buf_puts(&b, "null");
	buf_printf(&b, ",\"code\":%u}}", status);
	answer(c, status, json_type, b.data, b.size);
	buf_free(&b);
}

static void get_health(struct conn *c)
{
	answer_json(c, 200, "");
}

static void get_version(struct conn *c)
{
	answer_json(c, 200, "{\"version\":\"pintle-sim " PINTLE_VERSION "\"}");
}

static void one_model(struct buf *b, const struct server_config *sc, const char *name,
		      const char *parent)
{
	buf_puts(b, "{\"id\":");
	buf_json(b, name);
	buf_printf(b, ",\"object\":\"model\",\"created\":%ld,\"owned_by\":\"vllm\",\"root\":",
		   (long)time(NULL));
	buf_json(b, name);
	buf_puts(b, ",\"parent\":");
	if (parent)
		buf_json(b, parent);
	else
		buf_puts(b, "null");
	buf_printf(b, ",\"max_model_len\":%u,\"permission\":[]}", sc->engine.max_len);
}

static void get_models(struct conn *c)
{
	const struct server_config *sc = c->server->c;
	struct buf b = {};

	buf_puts(&b, "{\"object\":\"list\",\"data\":[");
	one_model(&b, sc, sc->model_name, NULL);
	for (uint32_t i = 0; i < sc->engine.adapters; i++) {
		buf_puts(&b, ",");
		one_model(&b, sc, sc->adapters[i], sc->model_name);
	}
	buf_puts(&b, "]}");
	answer(c, 200, json_type, b.data, b.size);
	buf_free(&b);
}

static void get_metrics(struct conn *c)
{
	struct buf b = {};
	struct server *s = c->server;
	struct model_stats stats;
	struct metrics_view view = {.model_name = s->c->model_name,
				    .engine = s->c->rank,
				    .config = &s->c->engine,
				    .stats = &stats};

	model_advance(s->model, server_now(s));
	model_stats(s->model, &stats);
	adapters_note(s);
	view.series = s->series;
	view.series_count = s->series_count;
	metrics_page(&s->metrics, &view, &b);
	if (b.failed)
		answer_error(c, 500, "InternalServerError", NULL, "Out of memory.");
	else
		answer(c, 200, "text/plain; version=1.0.0; charset=utf-8", b.data, b.size);
	buf_free(&b);
}

/* Makes a server sick while it runs, by {"slow": FACTOR} or {"stall": SECONDS}. vLLM has no such
 * path. */
static void post_sim(struct conn *c)
{
	cJSON *body = cJSON_ParseWithLength(c->body.data ? c->body.data : "", c->body.size);
	const cJSON *slow = cJSON_GetObjectItemCaseSensitive(body, "slow");
	const cJSON *stall = cJSON_GetObjectItemCaseSensitive(body, "stall");
	struct server *s = c->server;
	uint64_t now = server_now(s);

	if ((slow &&
	     !(cJSON_IsNumber(slow) && slow->valuedouble >= 0.01 && slow->valuedouble <= 1000)) ||
	    (stall &&
	     !(cJSON_IsNumber(stall) && stall->valuedouble >= 0 && stall->valuedouble <= 1e6)) ||
	    (!slow && !stall)) {
		answer_error(c, 400, "BadRequestError", NULL,
			     "Give {\"slow\": FACTOR} with 0.01 to 1000, or {\"stall\": SECONDS} "
			     "with 0 to 1000000.");
	} else {
		if (slow)
			model_set_slow(s->model, now, slow->valuedouble);
		if (stall)
			model_stall(s->model, now, now + (uint64_t)(stall->valuedouble * 1e9));
		answer_json(c, 200, "{}");
	}
	cJSON_Delete(body);
}

static const struct {
	const char *path;
	unsigned int method;
	enum metrics_handler handler;
	void (*serve)(struct conn *c);
} routes[] = {
	{"/health", HTTP_GET, HANDLER_UNCOUNTED, get_health},
	{"/ping", HTTP_GET, HANDLER_UNCOUNTED, get_health},
	{"/version", HTTP_GET, HANDLER_UNCOUNTED, get_version},
	{"/metrics", HTTP_GET, HANDLER_UNCOUNTED, get_metrics},
	{"/v1/models", HTTP_GET, HANDLER_MODELS, get_models},
	{"/v1/completions", HTTP_POST, HANDLER_COMPLETIONS, job_completion},
	{"/v1/chat/completions", HTTP_POST, HANDLER_CHAT, job_chat},
	{"/tokenize", HTTP_POST, HANDLER_TOKENIZE, job_tokenize},
	{"/sim", HTTP_POST, HANDLER_UNCOUNTED, post_sim},
};

void api_request(struct conn *c)
{
	size_t size = c->path.size;
	const char *query = c->path.data ? memchr(c->path.data, '?', size) : NULL;
	bool known = false;

	if (query)
		size = (size_t)(query - c->path.data);
	c->handler = HANDLER_NONE;
	if (!c->server->ready) {
		c->handler = HANDLER_UNCOUNTED;
		answer_error(c, 503, "unavailable_error", NULL, "Loading model");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (strlen(routes[i].path) != size || memcmp(routes[i].path, c->path.data, size))
			continue;
		known = true;
		if (routes[i].method == c->parser.method) {
			c->handler = routes[i].handler;
			routes[i].serve(c);
			return;
		}
	}
	if (known)
		answer_json(c, 405, "{\"detail\":\"Method Not Allowed\"}");
	else
		answer_json(c, 404, "{\"detail\":\"Not Found\"}");
}
