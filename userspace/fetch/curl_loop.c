// SPDX-License-Identifier: Apache-2.0
#include "curl_loop.h"

#include <assert.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../base/log.h"
#include "../net/netns.h"
#include "../base/util.h"

/*
 * A descriptor that libuv watches for libcurl. libcurl adds and removes its socket for each
 * request, which would be three epoll_ctl(2) a scrape; so a kept connection stays watched between
 * two requests. That is safe only where curl_loop_close_socket() is called at its end. libcurl
 * closes a socket that is not connected yet without that call, and the pipe of its resolver thread
 * was never ours. libuv must always forget those before their number is given to another socket.
 */
struct watch {
	uv_poll_t poll;
	struct curl_loop *owner;
	int fd;
	int watched;    /* UV_READABLE, UV_WRITABLE: what libuv looks for */
	int wanted;     /* what libcurl asked for; 0: the connection is idle */
	bool connected; /* its end calls curl_loop_close_socket() */
};

struct curl_loop {
	uv_loop_t *loop;
	uv_timer_t timer;
	CURLM *multi;
	struct watch **watches; /* by descriptor */
	size_t watch_room;
	int netns_fd;
	bool in_curl;    /* libcurl is on the stack and must not be entered again */
	bool collecting; /* collect_ended() is on the stack, and will see what ends meanwhile */
	uint64_t connects;
	int socket_error; /* of the newest socket, -errno */
	curl_loop_done done;
	void *arg;
};

static struct watch *curl_loop_find_watch(struct curl_loop *l, int fd)
{
	return fd >= 0 && (size_t)fd < l->watch_room ? l->watches[fd] : NULL;
}

static int curl_loop_make_room(struct curl_loop *l, int fd)
{
	size_t room = MAX(l->watch_room, (size_t)64);
	struct watch **p;

	if ((size_t)fd < l->watch_room)
		return 0;
	while (room <= (size_t)fd)
		room *= 2;
	p = reallocarray(l->watches, room, sizeof(struct watch *));
	if (!p)
		return -ENOMEM;
	memset(p + l->watch_room, 0, (room - l->watch_room) * sizeof(struct watch *));
	l->watches = p;
	l->watch_room = room;
	return 0;
}

static int add_watch(struct curl_loop *l, int fd, struct watch **out)
{
	_cleanup_free_ struct watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w || curl_loop_make_room(l, fd))
		return -ENOMEM;
	r = uv_poll_init(l->loop, &w->poll, fd);
	if (r)
		return r;
	w->poll.data = w;
	w->owner = l;
	w->fd = fd;
	*out = l->watches[fd] = w;
	TAKE_PTR(w);
	return 0;
}

static void free_handle_data(uv_handle_t *h)
{
	free(h->data);
}

static void curl_loop_drop_watch(struct curl_loop *l, struct watch *w)
{
	assert(l->watches[w->fd] == w);
	l->watches[w->fd] = NULL;
	uv_close((uv_handle_t *)&w->poll, free_handle_data);
}

static int set_watched(struct watch *w, int events);

static curl_socket_t curl_loop_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct curl_loop *l = arg;
	_cleanup_close_ int fd = -1;
	struct watch *w;
	int wanted = 0;

	(void)purpose;
	fd = netns_socket_quiet(l->netns_fd, a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
				a->protocol);
	l->socket_error = MIN(fd, 0);
	if (fd < 0)
		return CURL_SOCKET_BAD;
	/* libcurl has closed a socket of this number without telling us. If it wants the same
	 * events for the new socket, it will not ask again: keep `wanted`. */
	w = curl_loop_find_watch(l, fd);
	if (w) {
		wanted = w->wanted;
		curl_loop_drop_watch(l, w);
	}
	if (add_watch(l, fd, &w) || set_watched(w, wanted))
		return CURL_SOCKET_BAD;
	l->connects++;
	return TAKE_FD(fd);
}

static int curl_loop_close_socket(void *arg, curl_socket_t fd)
{
	struct curl_loop *l = arg;
	struct watch *w = curl_loop_find_watch(l, fd);

	/* libuv must stop watching the descriptor before it is closed. */
	if (w)
		curl_loop_drop_watch(l, w);
	return close(fd);
}

static void collect_ended(struct curl_loop *l)
{
	CURLMsg *m;
	int left;

	if (l->collecting)
		return;
	l->collecting = true;
	while ((m = curl_multi_info_read(l->multi, &left))) {
		CURL *easy = m->easy_handle;
		CURLcode result =
			m->data.result; /* *m is not valid after curl_multi_remove_handle() */

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_multi_remove_handle(l->multi, easy);
		l->done(easy, result, l->arg);
	}
	l->collecting = false;
}

static void act_on(struct curl_loop *l, curl_socket_t fd, int events)
{
	int running;

	assert(!l->in_curl);
	l->in_curl = true;
	curl_multi_socket_action(l->multi, fd, events, &running);
	l->in_curl = false;
}

/* libuv says no more than that a socket has an error, and stops watching it: libcurl looks itself,
 * because a kept connection that was reset is a reason to connect anew, and what came before the
 * reset is read first. */
static void curl_loop_on_socket(uv_poll_t *p, int status, int events)
{
	struct watch *w = p->data;
	struct curl_loop *l = w->owner;
	int fd = w->fd;

	if (status < 0)
		w->watched = 0;
	if (!w->wanted) {
		/* The server has closed an idle connection: libcurl notices that at its next
		 * use. */
		uv_poll_stop(p);
		w->watched = 0;
		return;
	}
	act_on(l, fd,
	       status < 0 ? 0
			  : (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
				    (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0));
	w = curl_loop_find_watch(l, fd);
	if (w && w->wanted)
		set_watched(w, w->wanted);
	collect_ended(l);
}

static int set_watched(struct watch *w, int events)
{
	w->wanted = events;
	if (events == w->watched)
		return 0;
	if (uv_poll_start(&w->poll, events, curl_loop_on_socket))
		return -1;
	w->watched = events;
	return 0;
}

/* Whether libcurl knows that this socket is connected, TLS included. Where a kept connection was
 * reset, libcurl makes a new one for the same request, whose time and port are still those of the
 * former: the socket's own port tells them apart. */
static bool is_connected(CURL *easy, int fd)
{
	struct sockaddr_in6 local = {0}; /* the port of IPv4 stands at the same place */
	socklen_t size = sizeof(local);
	curl_off_t us = 0;
	long port = 0;

	return !curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &us) && us > 0 &&
	       !curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &port) &&
	       !getsockname(fd, (struct sockaddr *)&local, &size) && local.sin6_family != AF_UNIX &&
	       port == ntohs(local.sin6_port);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	struct curl_loop *l = arg;
	struct watch *w = curl_loop_find_watch(l, fd);

	(void)unused;
	if (what == CURL_POLL_REMOVE) {
		if (w && w->connected)
			w->wanted = 0;
		else if (w)
			curl_loop_drop_watch(l, w);
		return 0;
	}
	if (!w && add_watch(l, fd, &w))
		return -1;
	w->connected = w->connected || is_connected(easy, fd);
	return set_watched(w, (what & CURL_POLL_IN ? UV_READABLE : 0) |
				      (what & CURL_POLL_OUT ? UV_WRITABLE : 0));
}

static void curl_loop_on_timer(uv_timer_t *t)
{
	struct curl_loop *l = t->data;

	act_on(l, CURL_SOCKET_TIMEOUT, 0);
	collect_ended(l);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct curl_loop *l = arg;

	(void)multi;
	if (timeout_ms < 0)
		uv_timer_stop(&l->timer);
	else
		uv_timer_start(&l->timer, curl_loop_on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

int curl_loop_new(uv_loop_t *loop, int netns_fd, curl_loop_done done, void *arg,
		  struct curl_loop **out)
{
	_cleanup_free_ struct curl_loop *l = calloc(1, sizeof(*l));

	if (!l)
		return log_err_r(ENOMEM, "no memory for the HTTP client");
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return log_err_r(ENOMEM, "libcurl does not start");
	l->multi = curl_multi_init();
	if (!l->multi) {
		curl_global_cleanup();
		return log_err_r(ENOMEM, "libcurl does not start");
	}
	l->loop = loop;
	l->netns_fd = netns_fd;
	l->done = done;
	l->arg = arg;
	uv_timer_init(loop, &l->timer);
	l->timer.data = l;
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	*out = TAKE_PTR(l);
	return 0;
}

void curl_loop_free(struct curl_loop *l)
{
	if (!l)
		return;
	curl_multi_cleanup(l->multi);
	curl_global_cleanup();
	for (size_t i = 0; i < l->watch_room; i++)
		if (l->watches[i])
			curl_loop_drop_watch(l, l->watches[i]);
	free(l->watches);
	uv_close((uv_handle_t *)&l->timer, free_handle_data);
}

void curl_loop_adopt(struct curl_loop *l, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, curl_loop_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, l);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, curl_loop_close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, l);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
}

int curl_loop_start(struct curl_loop *l, CURL *easy)
{
	CURLMcode r = curl_multi_add_handle(l->multi, easy);

	if (r)
		return -ENOMEM;
	/* Over a kept connection this sends the request now, and not in the next turn of the loop,
	 * for which libcurl has just asked. */
	act_on(l, CURL_SOCKET_TIMEOUT, 0);
	collect_ended(l);
	return 0;
}

bool curl_loop_stop(struct curl_loop *l, CURL *easy)
{
	if (l->in_curl)
		return false;
	curl_multi_remove_handle(l->multi, easy);
	return true;
}

void curl_loop_multiplex(struct curl_loop *l)
{
	curl_multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
}

void curl_loop_keep(struct curl_loop *l, unsigned int connections)
{
	curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)connections);
}

int curl_loop_socket_error(const struct curl_loop *l)
{
	return l->socket_error;
}

uint64_t curl_loop_connects(const struct curl_loop *l)
{
	return l->connects;
}
