// SPDX-License-Identifier: Apache-2.0
#include "load_client.h"

#include <assert.h>
#include <ctype.h>
#include <http_parser.h>
#include <strings.h>

#include "../../userspace/base/util.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

#define RETRY_AFTER_MAX_S 86400U

struct load_conn {
	uv_tcp_t tcp;
	uv_connect_t connect;
	uv_write_t write;
	http_parser parser;
	struct load_client *client;
	struct load_conn *prev, *next;
	struct exchange *x;      /* NULL: idle, or closing */
	struct load_conn **slot; /* in which the connection is kept; NULL: in none */
	struct buf rest;         /* the part of a request that libuv is writing */
	bool closing, used, writing;
};

static void on_closed(uv_handle_t *handle)
{
	struct load_conn *conn = handle->data;

	buf_free(&conn->rest);
	free(conn);
}

static void conn_end(struct load_conn *conn)
{
	if (conn->closing)
		return;
	conn->closing = true;
	if (conn->slot)
		*conn->slot = NULL;
	if (conn->x)
		conn->x->conn = NULL;
	conn->slot = NULL;
	conn->x = NULL;
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		conn->client->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

static void exchange_finish(struct exchange *x, enum load_outcome outcome)
{
	if (x->conn)
		conn_end(x->conn);
	x->end(x, outcome);
}

static void set_problem(struct exchange *x, const char *text, size_t size)
{
	size_t n = 0;

	for (; n < size && n + 1 < sizeof(x->problem); n++)
		x->problem[n] = isprint((unsigned char)text[n]) ? text[n] : ' ';
	x->problem[n] = '\0';
}

static void exchange_fail(struct exchange *x, enum load_outcome outcome, const char *problem)
{
	if (!*x->problem)
		set_problem(x, problem, strlen(problem));
	exchange_finish(x, outcome);
}

/* -- parsing ---------------------------------------------------------------------- */

static struct exchange *exchange_of(http_parser *p)
{
	return ((struct load_conn *)p->data)->x;
}

static int on_field(http_parser *p, const char *at, size_t size)
{
	struct exchange *x = exchange_of(p);

	if (x->value_size) {
		x->header_size = 0;
		x->value_size = 0;
	}
	size = MIN(size, sizeof(x->header) - 1 - x->header_size);
	memcpy(x->header + x->header_size, at, size);
	x->header_size += size;
	x->header[x->header_size] = '\0';
	return 0;
}

/* A value comes in several pieces when it was cut between two reads. */
static int on_value(http_parser *p, const char *at, size_t size)
{
	static const char wanted[] = "text/event-stream";
	struct exchange *x = exchange_of(p);

	if (!strcasecmp(x->header, "content-type") && !x->value_size)
		x->is_stream = !strncasecmp(at, wanted, MIN(size, strlen(wanted)));
	/* A value that is cut between two reads comes in pieces, in order. */
	if (!strcasecmp(x->header, "retry-after"))
		for (size_t i = 0; i < size && isdigit((unsigned char)at[i]); i++)
			x->retry_after_s = MIN(x->retry_after_s * 10 + (uint32_t)(at[i] - '0'),
					       RETRY_AFTER_MAX_S);
	if (!strcasecmp(x->header, "x-inference-pod"))
		for (size_t i = 0; i < size && x->value_size + i + 1 < sizeof(x->endpoint); i++) {
			x->endpoint[x->value_size + i] =
				isprint((unsigned char)at[i]) ? at[i] : '?';
			x->endpoint[x->value_size + i + 1] = '\0';
		}
	x->value_size += MAX(size, (size_t)1);
	return 0;
}

static int on_headers(http_parser *p)
{
	struct exchange *x = exchange_of(p);

	x->status = p->status_code;
	p->upgrade = 0;
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t size)
{
	struct exchange *x = exchange_of(p);
	int result;

	if (x->status != 200 || !x->is_stream) {
		if (!*x->problem)
			set_problem(x, at, size);
		return 0;
	}
	result = sse_feed(&x->sse, at, size);
	if (result == -ENOMEM)
		x->early = LOAD_MEMORY;
	else if (result < 0)
		x->early = LOAD_STREAM;
	else if (result)
		x->early = (enum load_outcome)result;
	return result;
}

static int on_complete(http_parser *p)
{
	struct exchange *x = exchange_of(p);

	if (x->status / 100 == 1) { /* informational: the answer is still to come */
		x->status = 0;
		return 0;
	}
	x->complete = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings callbacks = {
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

static enum load_outcome of_status(unsigned int status)
{
	if (status == 429)
		return LOAD_STATUS_429;
	if (status >= 500)
		return LOAD_STATUS_5XX;
	return status >= 400 ? LOAD_STATUS_4XX : LOAD_STATUS_OTHER;
}

static void exchange_complete(struct load_conn *conn, bool rest)
{
	struct exchange *x = conn->x;
	bool keep = x->keep && !rest && !conn->writing && http_should_keep_alive(&conn->parser);

	conn->x = NULL;
	x->conn = NULL;
	conn->used = true;
	if (keep && !*x->slot) {
		conn->slot = x->slot;
		*x->slot = conn;
	} else {
		conn_end(conn);
	}
	if (x->status != 200) {
		x->end(x, of_status(x->status));
		return;
	}
	if (!x->is_stream)
		memcpy(x->problem, "no event stream", sizeof("no event stream"));
	x->end(x, x->is_stream ? LOAD_OK : LOAD_STREAM);
}

/* Parses what was read; size 0 means that the server has closed. */
static void conn_parse(struct load_conn *conn, const char *data, size_t size)
{
	struct exchange *x = conn->x;
	size_t done = http_parser_execute(&conn->parser, &callbacks, data, size);
	enum http_errno error = HTTP_PARSER_ERRNO(&conn->parser);

	if (x->complete)
		exchange_complete(conn, done < size);
	else if (x->early != LOAD_OK)
		exchange_fail(x, x->early, "an event that is too long");
	else if (error != HPE_OK && size)
		exchange_fail(x, LOAD_PROTOCOL, http_errno_description(error));
	else if (!size)
		exchange_fail(x, LOAD_CLOSED, "the server closed before the answer was whole");
}

/* -- connections ------------------------------------------------------------------ */

static void connect_new(struct exchange *x);

/* The connection is gone. If it was a kept one, the server may have closed it just before the
 * request arrived: then the request is sent again. */
static void conn_lost(struct load_conn *conn, int error)
{
	struct exchange *x = conn->x;
	bool stale = conn->used && x && !x->any && !x->again;

	if (!x) {
		conn_end(conn);
	} else if (stale) {
		conn_end(conn);
		x->again = true;
		x->client->retried++;
		connect_new(x);
	} else if (error == UV_EOF) {
		conn_parse(conn, NULL, 0);
	} else {
		exchange_fail(x, LOAD_RESET, uv_strerror(error));
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct load_conn *conn = handle->data;

	(void)suggested;
	*buf = uv_buf_init(conn->client->buffer, sizeof(conn->client->buffer));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
	struct load_conn *conn = stream->data;

	if (!size || conn->closing)
		return;
	conn->client->now_ns = monotonic_ns();
	if (size < 0) {
		conn_lost(conn, (int)size);
	} else if (!conn->x) {
		conn_end(conn); /* bytes without a request */
	} else {
		conn->x->any = true;
		conn_parse(conn, buf->base, (size_t)size);
	}
}

static void on_written(uv_write_t *write, int status)
{
	struct load_conn *conn = write->data;

	conn->writing = false;
	buf_free(&conn->rest);
	/* An error is ignored: a server may answer and close without reading the whole request, and
	 * its answer is still to be read. */
	(void)status;
}

static void send_request(struct load_conn *conn)
{
	struct exchange *x = conn->x;
	uv_buf_t piece = uv_buf_init(x->out.data, (unsigned int)x->out.size);
	int sent = uv_try_write((uv_stream_t *)&conn->tcp, &piece, 1);

	if (sent == UV_EAGAIN)
		sent = 0;
	if (sent < 0) {
		conn_lost(conn, sent);
		return;
	}
	if ((size_t)sent == x->out.size)
		return;
	buf_add(&conn->rest, x->out.data + sent, x->out.size - (size_t)sent);
	if (conn->rest.failed) {
		exchange_fail(x, LOAD_MEMORY, "no memory");
		return;
	}
	piece = uv_buf_init(conn->rest.data, (unsigned int)conn->rest.size);
	conn->write.data = conn;
	conn->writing = true;
	sent = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &piece, 1, on_written);
	if (sent) {
		conn->writing = false;
		conn_lost(conn, sent);
	}
}

static void conn_assign(struct load_conn *conn, struct exchange *x)
{
	http_parser_init(&conn->parser, HTTP_RESPONSE);
	conn->parser.data = conn;
	conn->x = x;
	x->conn = conn;
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct load_conn *conn = connect->data;

	if (conn->closing)
		return;
	if (status < 0) {
		exchange_fail(conn->x, LOAD_CONNECT, uv_strerror(status));
		return;
	}
	conn->client->made++;
	uv_tcp_nodelay(&conn->tcp, 1);
	uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
	send_request(conn);
}

/* IP_BIND_ADDRESS_NO_PORT leaves the port to connect(), which knows the destination. A port that
 * bind() chooses is taken for the whole source address. */
static int bind_source(struct load_conn *conn, const union load_address *source)
{
	socklen_t size =
		source->any.sa_family == AF_INET6 ? sizeof(source->v6) : sizeof(source->v4);
	uv_os_fd_t fd;
	int one = 1, err = uv_fileno((uv_handle_t *)&conn->tcp, &fd);

	if (err)
		return err;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (source->any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one));
	return bind(fd, &source->any, size) ? -errno : 0;
}

static void connect_new(struct exchange *x)
{
	struct load_client *c = x->client;
	struct load_conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (!conn) {
		exchange_fail(x, LOAD_MEMORY, "no memory");
		return;
	}
	err = uv_tcp_init_ex(c->loop, &conn->tcp, c->target.any.sa_family);
	if (err) { /* there is no handle to close, so conn_end() must not be called */
		free(conn);
		exchange_fail(x, LOAD_CONNECT, uv_strerror(err));
		return;
	}
	conn->client = c;
	conn->tcp.data = conn->connect.data = conn;
	conn->next = c->conns;
	if (c->conns)
		c->conns->prev = conn;
	c->conns = conn;
	conn_assign(conn, x);
	if (x->source)
		err = bind_source(conn, x->source);
	if (!err)
		err = uv_tcp_connect(&conn->connect, &conn->tcp, &c->target.any, on_connected);
	if (err)
		exchange_fail(x, LOAD_CONNECT, uv_strerror(err));
}

static int on_event(void *arg, char *data, size_t size)
{
	struct exchange *x = arg;

	return (int)x->event(x, data, size);
}

void exchange_start(struct load_client *c, struct exchange *x)
{
	struct load_conn *conn = *x->slot;

	x->client = c;
	x->sse.event = on_event;
	x->sse.arg = x;
	if (!conn) {
		connect_new(x);
		return;
	}
	*x->slot = NULL;
	conn->slot = NULL;
	c->reused++;
	conn_assign(conn, x);
	send_request(conn);
}

void exchange_reset(struct exchange *x)
{
	sse_free(&x->sse);
	x->sse = (struct sse){};
	x->status = 0;
	x->retry_after_s = 0;
	*x->endpoint = *x->problem = *x->header = '\0';
	x->early = LOAD_OK;
	x->header_size = x->value_size = 0;
	x->is_stream = x->again = x->any = x->complete = false;
}

void exchange_cancel(struct exchange *x)
{
	if (x->conn)
		conn_end(x->conn);
}

void exchange_free(struct exchange *x)
{
	buf_free(&x->out);
	sse_free(&x->sse);
}

void slot_clear(struct load_conn **slot)
{
	if (*slot)
		conn_end(*slot);
}

void client_init(struct load_client *c)
{
	c->now_ns = monotonic_ns();
}

void client_close(struct load_client *c)
{
	while (c->conns) {
		assert(!c->conns->x);
		conn_end(c->conns);
	}
}
