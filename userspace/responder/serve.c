/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - the overload responder's loop. */
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "../base/util.h"
#include "answer.h"
#include "board.h"
#include "confine.h"
#include "request.h"
#include "responder.h"

#define READ_MAX   (16U << 20) /* bytes of a request, and again of what follows the answer */
#define READ_NS    (5 * NSEC_PER_SEC)
#define LINGER_NS  (10 * NSEC_PER_SEC)
#define SILENCE_NS (2 * NSEC_PER_SEC) /* after the answer */
#define SWEEP_MS   100
#define ACCEPTS    64 /* in one turn of the loop */
#define EVENTS     64
#define SPARE_FDS  32
#define NICENESS   5

struct client {
	int fd; /* -1: a free slot */
	bool answered;
	bool no_model;           /* its request names no model that there is */
	struct in6_addr address; /* an IPv4 one as ::ffff:a.b.c.d */
	uint64_t until_ns;       /* the longest that it may take */
	uint64_t read_ns;        /* when something came last */
	uint64_t bytes;          /* since it was accepted, then since it was answered */
	uint32_t pool, pool_generation, class_id;
	struct request request;
};

struct responder {
	struct board *board;
	int epoll;
	struct sockaddr_in6 own[2]; /* the listeners' addresses; family 0: there is none */
	bool leaving;               /* pintled is gone */
	uint32_t most;              /* connections */
	struct client clients[RESPONDER_CLIENTS_MAX];
	uint8_t buffer[64 << 10];
};

/* Static, because the process must not allocate memory once it is confined. */
static struct responder the_responder;

/* What epoll tells: the slot of a client, or one of these. */
#define TAG_LIFE     (RESPONDER_CLIENTS_MAX + 0)
#define TAG_LISTENER (RESPONDER_CLIENTS_MAX + 1)

static void count(struct responder *r, enum responder_result how)
{
	__atomic_fetch_add(&r->board->counts[how], 1, __ATOMIC_RELAXED);
}

/* ---- ends --------------------------------------------------------------------------- */

static void reset(int fd)
{
	const struct linger at_once = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

static void client_end(struct responder *r, struct client *c)
{
	close(c->fd);
	c->fd = -1;
	r->board->open--;
}

static void client_reset(struct responder *r, struct client *c, enum responder_result how)
{
	count(r, how);
	reset(c->fd);
	c->fd = -1;
	r->board->open--;
}

/* ---- answers ------------------------------------------------------------------------- */

static uint32_t random_number(void)
{
	uint32_t n = 0;

	if (getentropy(&n, sizeof(n)))
		n = (uint32_t)monotonic_ns();
	return n;
}

static size_t answer_for(struct responder *r, const struct client *c, char text[ANSWER_SIZE])
{
	const struct board_row *row = &r->board->rows[c->pool][c->class_id];
	bool known = row->generation && row->generation == c->pool_generation;
	char name[PINTLE_CLASS_NAME_SIZE] = "";
	struct timespec now;
	uint32_t seconds;

	clock_gettime(CLOCK_REALTIME, &now);
	count(r, c->no_model ? RESPONDER_NO_MODEL : RESPONDER_ANSWERED);
	if (c->no_model)
		return answer_no_model(text, c->request.is_head, now.tv_sec);
	if (known)
		memcpy(name, row->name, sizeof(name) - 1);
	seconds = answer_seconds(known ? row->seconds : BOARD_SECONDS_UNKNOWN, random_number());
	return answer_write(text, seconds, name, c->request.is_head, now.tv_sec);
}

/* Half-closes the connection: the client reads the answer to its end even while it writes, and what
 * it writes is read, because the kernel would reset a connection that is closed with data unread.
 * The answer always fits the socket's empty buffer. */
static void client_answer(struct responder *r, struct client *c)
{
	char text[ANSWER_SIZE];
	size_t size = answer_for(r, c, text);

	if (send(c->fd, text, size, MSG_NOSIGNAL) != (ssize_t)size || shutdown(c->fd, SHUT_WR)) {
		client_end(r, c);
		return;
	}
	c->answered = true;
	c->bytes = 0;
	c->read_ns = monotonic_ns();
	c->until_ns = c->read_ns + LINGER_NS;
}

/* The request does not go on: answers what there is of it. */
static void client_finish(struct responder *r, struct client *c)
{
	if (c->request.begun) {
		client_answer(r, c);
		return;
	}
	count(r, RESPONDER_UNFINISHED);
	client_end(r, c);
}

static void client_took(struct responder *r, struct client *c, size_t size)
{
	enum request_state state;

	c->bytes += size;
	c->read_ns = monotonic_ns();
	if (c->answered)
		return;
	state = request_read(&c->request, r->buffer, size);
	if (state == REQUEST_FOREIGN)
		client_reset(r, c, RESPONDER_NOT_HTTP);
	else if (state == REQUEST_WHOLE || c->bytes >= READ_MAX)
		client_finish(r, c);
}

/* Reads once: the others' turn comes before the rest. */
static void serve_client_read(struct responder *r, struct client *c)
{
	ssize_t n = recv(c->fd, r->buffer, sizeof(r->buffer), MSG_DONTWAIT);

	if (n > 0)
		client_took(r, c, (size_t)n);
	else if (!n && !c->answered)
		client_finish(r, c);
	else if (!n || (errno != EAGAIN && errno != EINTR))
		client_end(r, c);
	if (c->fd >= 0 && c->answered && c->bytes >= READ_MAX)
		client_end(r, c);
}

static bool is_overdue(const struct client *c, uint64_t now)
{
	return now >= c->until_ns || (c->answered && now - c->read_ns >= SILENCE_NS);
}

static void sweep(struct responder *r)
{
	uint64_t now = monotonic_ns();

	for (uint32_t i = 0; i < RESPONDER_CLIENTS_MAX; i++) {
		struct client *c = &r->clients[i];

		if (c->fd < 0 || !is_overdue(c, now))
			continue;
		if (c->answered)
			client_end(r, c);
		else
			client_finish(r, c);
	}
}

/* ---- who may come -------------------------------------------------------------------- */

/* As the maps have it: IPv4 as ::ffff:a.b.c.d. */
static void widen(struct sockaddr_in6 *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	if (a->sin6_family != AF_INET)
		return;
	v6.sin6_port = v4->sin_port;
	v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(v6.sin6_addr.s6_addr + 12, &v4->sin_addr, 4);
	*a = v6;
}

static bool serve_is_same(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port &&
	       !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr));
}

/*
 * Whether a hook sent the connection here; then what `pending` says of it is in *c.
 *
 * A connection that the lookup hook diverted came to the frontend's address, to which no other way
 * leads to this listener. So it counts as diverted also where a flood of forged SYNs took its
 * decision from `pending`.
 */
static bool is_diverted(const struct sockaddr_in6 *own, const struct sockaddr_in6 *local,
			const struct sockaddr_in6 *peer, struct client *c)
{
	struct pintle_tuple t = {
		.scope = PINTLE_SCOPE_NODE,
		.local_port = ntohs(local->sin6_port),
		.remote_port = ntohs(peer->sin6_port),
	};
	struct pintle_decision d;

	memcpy(t.local, &local->sin6_addr, sizeof(t.local));
	memcpy(t.remote, &peer->sin6_addr, sizeof(t.remote));
	if (bpf_map_lookup_elem(RESPONDER_FD_PENDING, &t, &d) ||
	    d.outcome != PINTLE_OUTCOME_DIVERTED ||
	    (int64_t)(monotonic_ns() - d.decided_ns) > (int64_t)PINTLE_PENDING_NS)
		return !serve_is_same(own, local);
	if (d.pool < PINTLE_MAX_POOLS && d.class_id < PINTLE_MAX_CLASSES) {
		c->pool = d.pool;
		c->pool_generation = d.pool_generation;
		c->class_id = d.class_id;
		c->no_model = d.no_model;
	}
	return true;
}

/* Returns a free slot; NULL with *why: there is none, or none for this address. */
static struct client *slot_for(struct responder *r, const struct in6_addr *address,
			       enum responder_result *why)
{
	uint32_t open = 0, same = 0;
	struct client *free_slot = NULL;

	for (uint32_t i = 0; i < RESPONDER_CLIENTS_MAX; i++) {
		struct client *c = &r->clients[i];

		if (c->fd < 0) {
			free_slot = c;
			continue;
		}
		open++;
		same += !memcmp(&c->address, address, sizeof(*address));
	}
	*why = same >= RESPONDER_PER_CLIENT_MAX ? RESPONDER_CLIENT_FULL : RESPONDER_FULL;
	return same >= RESPONDER_PER_CLIENT_MAX || open >= r->most ? NULL : free_slot;
}

static void take(struct responder *r, int fd, const struct sockaddr_in6 *own,
		 struct sockaddr_in6 *peer)
{
	struct sockaddr_in6 local = {0};
	socklen_t length = sizeof(local);
	struct client is = {.fd = fd}, *c = NULL;
	enum responder_result why = RESPONDER_NOT_DIVERTED;
	struct epoll_event e = {.events = EPOLLIN};

	if (!getsockname(fd, (struct sockaddr *)&local, &length)) {
		widen(&local);
		widen(peer);
		if (is_diverted(own, &local, peer, &is))
			c = slot_for(r, &peer->sin6_addr, &why);
	}
	e.data.u32 = c ? (uint32_t)(c - r->clients) : 0;
	if (!c || epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e)) {
		count(r, why);
		reset(fd);
		return;
	}
	is.address = peer->sin6_addr;
	is.read_ns = monotonic_ns();
	is.until_ns = is.read_ns + READ_NS;
	*c = is;
	r->board->open++;
}

static void accept_some(struct responder *r, int listener, const struct sockaddr_in6 *own)
{
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_in6 peer = {0};
		socklen_t length = sizeof(peer);
		int fd = accept4(listener, (struct sockaddr *)&peer, &length,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			take(r, fd, own, &peer);
		else if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

/* ---- life ---------------------------------------------------------------------------- */

static void serve_leave(struct responder *r)
{
	r->leaving = true;
	for (int i = 0; i < 2; i++)
		if (r->own[i].sin6_family)
			close(RESPONDER_FD_LISTENER + i);
	close(RESPONDER_FD_LIFE);
}

static void serve_on_event(struct responder *r, uint32_t tag)
{
	if (tag == TAG_LIFE)
		serve_leave(r);
	else if (tag >= TAG_LISTENER && !r->leaving)
		accept_some(r, RESPONDER_FD_LISTENER + (int)(tag - TAG_LISTENER),
			    &r->own[tag - TAG_LISTENER]);
	else if (tag < RESPONDER_CLIENTS_MAX && r->clients[tag].fd >= 0)
		serve_client_read(r, &r->clients[tag]);
}

static void serve(struct responder *r)
{
	struct epoll_event events[EVENTS];
	uint64_t swept = monotonic_ns();

	while (!r->leaving || r->board->open) {
		int n = epoll_wait(r->epoll, events, EVENTS, r->board->open ? SWEEP_MS : -1);

		for (int i = 0; i < n; i++)
			serve_on_event(r, events[i].data.u32);
		if (monotonic_ns() - swept < SWEEP_MS * NSEC_PER_MSEC)
			continue;
		sweep(r);
		swept = monotonic_ns();
	}
}

static int watch(struct responder *r, int fd, uint32_t tag)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = tag};

	return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static int open_all(struct responder *r)
{
	int err = 0;

	r->board = mmap(NULL, sizeof(*r->board), PROT_READ | PROT_WRITE, MAP_SHARED,
			RESPONDER_FD_BOARD, 0);
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->board == MAP_FAILED || r->epoll < 0)
		return -errno;
	for (int i = 0; !err && i < 2; i++) {
		socklen_t length = sizeof(r->own[i]);

		if (getsockname(RESPONDER_FD_LISTENER + i, (struct sockaddr *)&r->own[i], &length))
			continue;
		widen(&r->own[i]);
		err = watch(r, RESPONDER_FD_LISTENER + i, TAG_LISTENER + (uint32_t)i);
	}
	return err ? err : watch(r, RESPONDER_FD_LIFE, TAG_LIFE);
}

/* There is always room for one more connection, which is reset. */
static void size_up(struct responder *r)
{
	struct rlimit l = {0}, none = {0};

	if (!getrlimit(RLIMIT_NOFILE, &l)) {
		l.rlim_cur = MIN(l.rlim_max, (rlim_t)RESPONDER_CLIENTS_MAX + SPARE_FDS);
		setrlimit(RLIMIT_NOFILE, &l);
	}
	r->most = l.rlim_cur > 2 * SPARE_FDS ? (uint32_t)l.rlim_cur - SPARE_FDS : SPARE_FDS;
	r->most = MIN(r->most, (uint32_t)RESPONDER_CLIENTS_MAX);
	setrlimit(RLIMIT_CORE, &none);
	for (uint32_t i = 0; i < RESPONDER_CLIENTS_MAX; i++)
		r->clients[i].fd = -1;
}

int responder_run(void)
{
	struct responder *r = &the_responder;
	__u32 pid = (__u32)getpid(); /* of no use once it is confined, like the next two */

	/* A service manager tells every process of the service to end. This one ends when pintled
	 * has, and its clients are answered. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	close_range(RESPONDER_FD_END, ~0U, 0);
	if (setpriority(PRIO_PROCESS, 0, NICENESS))
		errno = 0; /* then it has the daemon's priority */
	tzset();
	prctl(PR_SET_NAME, "pintle-overload");
	size_up(r);
	if (open_all(r) || confine())
		return EXIT_FAILURE;
	r->board->open = 0; /* of one that died */
	__atomic_store_n(&r->board->ready, pid, __ATOMIC_RELEASE);
	serve(r);
	return EXIT_SUCCESS;
}
