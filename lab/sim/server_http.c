// SPDX-License-Identifier: Apache-2.0
/* server_http.c - connections, treated as uvicorn does: kept for 5 s after an answer, pipelined
 * requests answered in turn, a client that shuts down its side is taken to have gone. */
#include <stdlib.h>
#include <strings.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "server_internal.h"

/* -- idle connections: all time out after the same wait, so the oldest is first -- */

static void idle_remove(struct conn *c)
{
	struct sim *sim = c->server->sim;

	if (!c->idle_until_ms)
		return;
	c->idle_until_ms = 0;
	if (c->idle_prev)
		c->idle_prev->idle_next = c->idle_next;
	else
		sim->idle_first = c->idle_next;
	if (c->idle_next)
		c->idle_next->idle_prev = c->idle_prev;
	else
		sim->idle_last = c->idle_prev;
}

static void idle_add(struct conn *c)
{
	struct sim *sim = c->server->sim;
	uint64_t wait = sim->c->keep_alive_ns / NSEC_PER_MSEC;

	idle_remove(c);
	c->idle_until_ms = uv_now(&sim->loop) + MAX(wait, (uint64_t)1);
	c->idle_prev = sim->idle_last;
	c->idle_next = NULL;
	if (sim->idle_last)
		sim->idle_last->idle_next = c;
	else
		sim->idle_first = c;
	sim->idle_last = c;
	if (!uv_is_active((uv_handle_t *)&sim->idle_timer))
		uv_timer_start(&sim->idle_timer, conn_idle_timer, wait, 0);
}

void conn_idle_timer(uv_timer_t *timer)
{
	struct sim *sim = timer->data;
	uint64_t now = uv_now(&sim->loop);

	while (sim->idle_first && sim->idle_first->idle_until_ms <= now)
		conn_close(sim->idle_first);
	if (sim->idle_first)
		uv_timer_start(timer, conn_idle_timer, sim->idle_first->idle_until_ms - now, 0);
}

/* -- parsing ---------------------------------------------------------------- */

static int on_begin(http_parser *p)
{
	struct conn *c = p->data;

	c->path.size = c->body.size = 0;
	c->field_size = 0;
	c->expects = c->too_large = false;
	return 0;
}

static int on_url(http_parser *p, const char *at, size_t size)
{
	struct conn *c = p->data;

	buf_add(&c->path, at, size);
	return c->path.failed;
}

static int on_field(http_parser *p, const char *at, size_t size)
{
	struct conn *c = p->data;

	size = MIN(size, sizeof(c->field) - 1 - c->field_size);
	memcpy(c->field + c->field_size, at, size);
	c->field_size += size;
	c->field[c->field_size] = '\0';
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t size)
{
	static const char wanted[] = "100-continue";
	struct conn *c = p->data;

	if (!strcasecmp(c->field, "expect") && size == strlen(wanted) &&
	    !strncasecmp(at, wanted, size))
		c->expects = true;
	c->field_size = 0;
	return 0;
}

static int on_headers(http_parser *p)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct conn *c = p->data;

	p->upgrade = 0; /* an offer of h2c is ignored */
	if (p->content_length != UINT64_MAX && p->content_length > MAX_BODY) {
		c->too_large = true;
		return -1;
	}
	if (c->expects && p->http_major == 1 && p->http_minor == 1) {
		buf_add(&c->out, go_on, strlen(go_on));
		conn_mark(c);
	}
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t size)
{
	struct conn *c = p->data;

	if (size > MAX_BODY - c->body.size) {
		c->too_large = true;
		return -1;
	}
	buf_add(&c->body, at, size);
	return c->body.failed;
}

/* Pauses the parser: the next request waits until this one is answered. */
static int on_complete(http_parser *p)
{
	struct conn *c = p->data;

	c->complete = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings callbacks = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

static void bad_request(struct conn *c)
{
	static const char text[] = "Invalid HTTP request received.";

	c->keep = false;
	c->busy = true;
	c->handler = HANDLER_NONE;
	c->began_ns = server_now(c->server);
	if (c->too_large)
		answer_error(c, 413, "BadRequestError", NULL, "The body is larger than 64 MiB.");
	else
		answer(c, 400, "text/plain; charset=utf-8", text, strlen(text));
}

/* Parses what has been read up to the end of a request, and begins its answer. Goes on with the
 * next request if that answer is complete already. */
static void conn_parse(struct conn *c)
{
	while (c->in.size && !c->busy && c->keep && !c->closing) {
		size_t done = http_parser_execute(&c->parser, &callbacks, c->in.data, c->in.size);
		enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);

		buf_consume(&c->in, MIN(done, c->in.size));
		if (c->complete) {
			c->complete = false;
			idle_remove(c);
			http_parser_pause(&c->parser, 0);
			c->busy = true;
			c->keep = http_should_keep_alive(&c->parser) && c->parser.http_minor &&
				  !c->server->sim->c->no_keep_alive && !c->server->sim->stopping;
			c->began_ns = server_now(c->server);
			api_request(c);
		} else if (error != HPE_OK) {
			c->in.size = 0;
			bad_request(c);
		}
	}
}

/* -- writing ---------------------------------------------------------------- */

static void conn_send(struct conn *c);

static void on_written(uv_write_t *write, int status)
{
	struct conn *c = write->data;

	c->writing = false;
	c->sending.size = 0;
	if (status < 0 && !c->closing)
		conn_close(c);
	else if (!c->closing)
		conn_send(c);
}

static void conn_send(struct conn *c)
{
	uv_buf_t piece;
	struct buf swap;
	int sent;

	if (c->out.failed || c->out.size > MAX_UNREAD) {
		conn_close(c);
		return;
	}
	if (c->writing)
		return;
	if (c->out.size) {
		piece = uv_buf_init(c->out.data, (unsigned int)c->out.size);
		sent = uv_try_write((uv_stream_t *)&c->tcp, &piece, 1);
		if (sent < 0 && sent != UV_EAGAIN) {
			conn_close(c);
			return;
		}
		buf_consume(&c->out, sent > 0 ? (size_t)sent : 0);
	}
	if (c->out.size) {
		swap = c->sending;
		c->sending = c->out;
		c->out = swap;
		piece = uv_buf_init(c->sending.data, (unsigned int)c->sending.size);
		c->write.data = c;
		c->writing = true;
		if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &piece, 1, on_written))
			conn_close(c);
		return;
	}
	if (!c->busy && !c->keep)
		conn_close(c);
}

void conn_mark(struct conn *c)
{
	if (c->dirty || c->closing)
		return;
	c->dirty = true;
	c->dirty_next = c->server->dirty;
	c->server->dirty = c;
}

void conn_settle(struct conn *c)
{
	if (c->closing)
		return;
	conn_send(c);
	if (!c->closing && !c->busy && c->keep)
		conn_parse(c);
}

static const char *status_text(unsigned int status)
{
	switch (status) {
#define XX(number, name, text)                                                                     \
	case number:                                                                               \
		return #text;
		HTTP_STATUS_MAP(XX)
#undef XX
	}
	return "Unknown";
}

static void answer_head(struct conn *c, unsigned int status, const char *type)
{
	c->status = status;
	buf_printf(&c->out,
		   "HTTP/1.1 %u %s\r\nserver: uvicorn\r\ncontent-type: %s\r\n"
		   "x-inference-pod: %s\r\n%s",
		   status, status_text(status), type, c->server->c->name,
		   c->keep ? "" : "connection: close\r\n");
}

static void answer_over(struct conn *c)
{
	c->busy = false;
	if (c->handler != HANDLER_UNCOUNTED)
		metrics_http(&c->server->metrics, c->handler, c->status, c->body.size,
			     c->answer_bytes, (double)(server_now(c->server) - c->began_ns) * 1e-9);
	if (c->keep)
		idle_add(c);
	conn_mark(c);
}

void answer(struct conn *c, unsigned int status, const char *type, const char *body, size_t size)
{
	answer_head(c, status, type);
	if (status == 429 || status == 503)
		buf_puts(&c->out, "retry-after: 1\r\n");
	buf_printf(&c->out, "content-length: %zu\r\n\r\n", size);
	if (c->parser.method != HTTP_HEAD)
		buf_add(&c->out, body, size);
	c->answer_bytes = size;
	answer_over(c);
}

void answer_begin(struct conn *c, const char *type)
{
	answer_head(c, 200, type);
	buf_puts(&c->out, "transfer-encoding: chunked\r\n\r\n");
	c->answer_bytes = 0;
	conn_mark(c);
}

void chunk_open(struct conn *c, size_t size)
{
	buf_printf(&c->out, "%zx\r\n", size);
	c->answer_bytes += size;
}

void chunk_close(struct conn *c)
{
	buf_puts(&c->out, "\r\n");
	conn_mark(c);
}

void answer_end(struct conn *c)
{
	buf_puts(&c->out, "0\r\n\r\n");
	answer_over(c);
}

/* -- life of a connection --------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	buf_free(&c->in);
	buf_free(&c->path);
	buf_free(&c->body);
	buf_free(&c->out);
	buf_free(&c->sending);
	free(c);
}

static void dirty_remove(struct conn *c)
{
	struct conn **at = &c->server->dirty;

	if (!c->dirty)
		return;
	while (*at != c)
		at = &(*at)->dirty_next;
	*at = c->dirty_next;
	c->dirty = false;
}

void conn_close(struct conn *c)
{
	struct job *job = c->job;

	if (c->closing)
		return;
	c->closing = true;
	idle_remove(c);
	dirty_remove(c);
	if (c->prev)
		c->prev->next = c->next;
	else
		c->server->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	uv_close((uv_handle_t *)&c->tcp, on_closed);
	if (job)
		job_cancel(job);
	if (c->server->sim->stopping)
		sim_maybe_end(c->server->sim);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct conn *c = handle->data;
	char *room = buf_room(&c->in, suggested);

	*buf = uv_buf_init(room, room ? (unsigned int)suggested : 0);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
	struct conn *c = stream->data;
	struct server *s = c->server;

	(void)buf;
	if (size < 0 || c->in.failed) {
		conn_close(c);
	} else if (size > 0) {
		c->in.size += (size_t)size;
		idle_remove(c);
		if (c->in.size > MAX_BODY && c->busy)
			conn_close(c); /* the client sends requests faster than it reads */
		else
			conn_parse(c);
	}
	server_settle(s);
}

void conn_accept(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;
	struct conn *c;

	if (status < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->server = s;
	c->keep = true;
	uv_tcp_init(&s->sim->loop, &c->tcp);
	c->tcp.data = c;
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
	c->next = s->conns;
	if (s->conns)
		s->conns->prev = c;
	s->conns = c;
	if (uv_accept(listener, (uv_stream_t *)&c->tcp) ||
	    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read)) {
		conn_close(c);
		return;
	}
	uv_tcp_nodelay(&c->tcp, 1);
}
