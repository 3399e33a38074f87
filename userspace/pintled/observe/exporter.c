// SPDX-License-Identifier: Apache-2.0
#include "exporter.h"

#include <assert.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "../../net/addr.h"
#include "../../base/log.h"
#include "../../base/util.h"

#define CONNECTIONS_MAX   64
#define CONNECTIONS_SPARE 32          /* dropped, and not yet closed by libmicrohttpd */
#define CONNECTION_MEMORY (16U << 10) /* bytes; a request's head must fit */
#define REQUEST_NS        (5 * NSEC_PER_SEC)
#define ANSWER_NS         (10 * NSEC_PER_SEC)
#define BACKLOG           SOMAXCONN

#define TYPE_TEXT    "text/plain; charset=utf-8"
#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

/*
 * A connection is idle until its request has come, and then answered until the client has read the
 * answer; REQUEST_NS and ANSWER_NS limit each. Where CONNECTIONS_MAX are open, a new connection
 * drops the head of `idle`, or if that is empty the head of `answered`. So a client that holds
 * connections open, from whatever address, loses these, and a probe is still answered.
 */
struct connection {
	TAILQ_ENTRY(connection) entry;
	struct connection_queue *queue; /* NULL: dropped, and libmicrohttpd will close it */
	int fd;            /* libmicrohttpd's; stays open as long as this struct exists */
	uint64_t since_ns; /* since when in this queue */
};

TAILQ_HEAD(connection_queue, connection);

struct exporter {
	struct MHD_Daemon *daemon;
	struct connection_queue idle, answered; /* the oldest first */
	unsigned int queued;                    /* in both */
	struct MHD_Response *page;              /* for all requests in this turn of the loop */
	uv_poll_t poll;                         /* the daemon's epoll descriptor */
	uv_timer_t timer;
	unsigned int open_handles;
	struct exporter_callbacks callbacks;
	void *arg;
};

/* -- connections ------------------------------------------------------------------ */

static void queue_leave(struct exporter *e, struct connection *c)
{
	if (!c->queue)
		return;
	assert(e->queued > 0);
	TAILQ_REMOVE(c->queue, c, entry);
	c->queue = NULL;
	e->queued--;
}

static void queue_enter(struct exporter *e, struct connection *c, struct connection_queue *queue)
{
	queue_leave(e, c);
	c->queue = queue;
	c->since_ns = monotonic_ns();
	TAILQ_INSERT_TAIL(queue, c, entry);
	e->queued++;
}

/* libmicrohttpd has no call that closes a connection. It closes this one when it finds the socket
 * shut down. */
static void connection_drop(struct exporter *e, struct connection *c)
{
	queue_leave(e, c);
	shutdown(c->fd, SHUT_RDWR);
}

static struct connection *connection_of(struct MHD_Connection *c)
{
	return MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void open_connection(struct exporter *e, struct MHD_Connection *mhd, void **context)
{
	struct connection *c = calloc(1, sizeof(*c));

	*context = c;
	if (!c)
		return; /* untracked: stays open until its client closes it */
	c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	if (e->queued >= CONNECTIONS_MAX)
		connection_drop(e, TAILQ_FIRST(TAILQ_EMPTY(&e->idle) ? &e->answered : &e->idle));
	assert(e->queued < CONNECTIONS_MAX);
	queue_enter(e, c, &e->idle);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct exporter *e = arg;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		open_connection(e, mhd, context);
	} else if (*context) {
		queue_leave(e, *context);
		free(TAKE_PTR(*context));
	}
}

/* The answer has been sent, and the client may ask again. */
static void on_completed(void *arg, struct MHD_Connection *mhd, void **state,
			 enum MHD_RequestTerminationCode how)
{
	struct connection *c = connection_of(mhd);

	(void)state;
	(void)how;
	if (c && c->queue)
		queue_enter(arg, c, &((struct exporter *)arg)->idle);
}

/* Drops the connections of a queue whose time is over. Returns in how many ns that will be so for
 * the next; UINT64_MAX: the queue is empty. */
static uint64_t queue_drop_overdue(struct exporter *e, struct connection_queue *queue,
				   uint64_t time_ns)
{
	uint64_t now = monotonic_ns();
	struct connection *c;

	while ((c = TAILQ_FIRST(queue)) && now - c->since_ns >= time_ns)
		connection_drop(e, c);
	return c ? c->since_ns + time_ns - now : UINT64_MAX;
}

/* -- answers ---------------------------------------------------------------------- */

/* Returns NULL without memory. */
static struct MHD_Response *new_response(const char *type, void *body, size_t size,
					 enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(size, body, mode);

	if (!r)
		return NULL;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	return r;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned int status, const char *text)
{
	struct MHD_Response *r =
		new_response(TYPE_TEXT, (void *)text, strlen(text), MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (!r)
		return MHD_NO;
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

/* Requests within one turn of the loop get the same page: a burst of requests must not keep the
 * loop from its other work. */
static int build_page(struct exporter *e)
{
	struct metrics_text t = {0};
	int error;

	e->callbacks.render(&t, e->arg);
	error = metrics_text_error(&t);
	if (!error) {
		e->page = new_response(TYPE_METRICS, t.text, t.size, MHD_RESPMEM_MUST_FREE);
		error = e->page ? 0 : -ENOMEM;
	}
	if (error) {
		metrics_text_free(&t);
		log_debug("the metrics page cannot be built: %s", strerror(-error));
	}
	return error;
}

static void exporter_drop_page(struct exporter *e)
{
	if (e->page)
		MHD_destroy_response(TAKE_PTR(e->page)); /* answers that are being sent hold it */
}

static enum MHD_Result answer_metrics(struct exporter *e, struct MHD_Connection *c)
{
	if (!e->page && build_page(e))
		return answer_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "the page cannot be built\n");
	return MHD_queue_response(c, MHD_HTTP_OK, e->page);
}

static enum MHD_Result answer_health(struct exporter *e, struct MHD_Connection *c)
{
	(void)e;
	return answer_text(c, MHD_HTTP_OK, "ok\n");
}

static enum MHD_Result answer_ready(struct exporter *e, struct MHD_Connection *c)
{
	const char *why = "not ready";
	char line[512 + 2];

	if (e->callbacks.ready(e->arg, &why))
		return answer_text(c, MHD_HTTP_OK, "ready\n");
	snprintf(line, sizeof(line), "%s\n", why);
	return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, line);
}

static const struct {
	const char *path;
	enum MHD_Result (*answer)(struct exporter *e, struct MHD_Connection *c);
} pages[] = {
	{"/metrics", answer_metrics},
	{"/healthz", answer_health},
	{"/readyz", answer_ready},
};

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **state)
{
	struct connection *tracked = connection_of(c);

	(void)version;
	(void)upload;
	/* The head alone is answered: libmicrohttpd then closes the connection, and the body is
	 * never read. */
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD\n");
	if (!*state) {
		*state = arg;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (tracked && tracked->queue)
		queue_enter(arg, tracked, &((struct exporter *)arg)->answered);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (!strcmp(path, pages[i].path))
			return pages[i].answer(arg, c);
	return answer_text(c, MHD_HTTP_NOT_FOUND, "/metrics, /healthz, /readyz\n");
}

/* -- on the loop ------------------------------------------------------------------ */

static void exporter_on_timer(uv_timer_t *t);

static unsigned int count_connections(struct exporter *e)
{
	return MHD_get_daemon_info(e->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

static void exporter_run(struct exporter *e)
{
	MHD_UNSIGNED_LONG_LONG own_ms;
	unsigned int before;
	uint64_t wait_ns;

	/* At its limit of connections libmicrohttpd stops watching the listener, and resumes only
	 * at the beginning of a run. So after a run that closed connections there must be
	 * another. */
	do {
		before = count_connections(e);
		MHD_run(e->daemon);
	} while (count_connections(e) < before);
	exporter_drop_page(e);
	wait_ns = MIN(queue_drop_overdue(e, &e->idle, REQUEST_NS),
		      queue_drop_overdue(e, &e->answered, ANSWER_NS));
	if (MHD_get_timeout(e->daemon, &own_ms) == MHD_YES)
		wait_ns = MIN(wait_ns, own_ms * NSEC_PER_MSEC);
	if (wait_ns == UINT64_MAX)
		uv_timer_stop(&e->timer);
	else
		uv_timer_start(&e->timer, exporter_on_timer,
			       (wait_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC, 0);
}

static void exporter_on_timer(uv_timer_t *t)
{
	exporter_run(t->data);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
	(void)status;
	(void)events;
	exporter_run(p->data);
}

/* libmicrohttpd's messages are mostly of requests that clients sent wrong: they must not fill the
 * log. */
static void on_message(void *arg, const char *fmt, va_list ap)
{
	(void)arg;
	log_writev(LOG_DEBUG, fmt, ap);
}

/* -- life ------------------------------------------------------------------------- */

static socklen_t exporter_socket_address(const struct endpoint_addr *a,
					 struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	*out = (struct sockaddr_storage){0};
	if (a->any_ip || addr_is_v4(&a->ip)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(a->port);
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		if (!a->any_ip)
			memcpy(&v4->sin_addr, a->ip.bytes + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(a->port);
	memcpy(&v6->sin6_addr, a->ip.bytes, 16);
	return sizeof(*v6);
}

/* Opens the listener here, because libmicrohttpd would not say what went wrong. */
static int open_listener(const char *address)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_storage a;
	struct endpoint_addr parsed;
	const char *what;
	socklen_t length;
	int one = 1;

	if (addr_parse_endpoint(address, &parsed, &what)) {
		log_error("cannot serve metrics on %s: %s", address, what);
		return -EINVAL;
	}
	length = exporter_socket_address(&parsed, &a);
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return log_err_r(errno, "cannot serve metrics on %s", address);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, length) || listen(fd, BACKLOG)) {
		if (errno != EADDRINUSE)
			return log_err_r(errno, "cannot serve metrics on %s", address);
		log_error("cannot serve metrics on %s: the port is taken; stop what listens there "
			  "(another pintled?), or set node.metrics to another address",
			  address);
		return -EADDRINUSE;
	}
	return TAKE_FD(fd);
}

static void exporter_on_close(uv_handle_t *h)
{
	struct exporter *e = h->data;

	assert(e->open_handles > 0);
	if (!--e->open_handles)
		free(e);
}

int exporter_new(uv_loop_t *loop, const char *address, const struct exporter_callbacks *callbacks,
		 void *arg, struct exporter **out)
{
	_cleanup_close_ int listener = open_listener(address);
	_cleanup_free_ struct exporter *e = NULL;
	const union MHD_DaemonInfo *info;
	int r;

	if (listener < 0)
		return listener;
	e = calloc(1, sizeof(*e));
	if (!e)
		return log_err_r(ENOMEM, "cannot serve metrics on %s", address);
	TAILQ_INIT(&e->idle);
	TAILQ_INIT(&e->answered);
	e->callbacks = *callbacks;
	e->arg = arg;
	e->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, e,
		MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL, MHD_OPTION_LISTEN_SOCKET, listener,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned int)(CONNECTIONS_MAX + CONNECTIONS_SPARE),
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, e, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, e, MHD_OPTION_END);
	if (!e->daemon)
		return log_err_r(ENOMEM, "cannot serve metrics on %s", address);
	TAKE_FD(listener); /* libmicrohttpd closes it */
	info = MHD_get_daemon_info(e->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	r = info ? uv_poll_init(loop, &e->poll, info->epoll_fd) : -EINVAL;
	if (r) {
		MHD_stop_daemon(e->daemon);
		return log_err_r(r, "cannot serve metrics on %s", address);
	}
	uv_timer_init(loop, &e->timer);
	e->poll.data = e->timer.data = e;
	e->open_handles = 2;
	uv_poll_start(&e->poll, UV_READABLE, on_poll);
	*out = TAKE_PTR(e);
	return 0;
}

void exporter_free(struct exporter *e)
{
	if (!e)
		return;
	/* The poll handle must be closed before MHD_stop_daemon() closes its epoll descriptor. */
	uv_close((uv_handle_t *)&e->poll, exporter_on_close);
	uv_close((uv_handle_t *)&e->timer, exporter_on_close);
	MHD_stop_daemon(e->daemon);
}
