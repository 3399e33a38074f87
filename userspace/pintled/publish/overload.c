/* SPDX-License-Identifier: Apache-2.0 */
#include "overload.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../net/netns.h"
#include "../../policy/retry.h"
#include "../../responder/responder.h"
#include "rule/decide.bpf.h"

#define PORT     9465         /* where none is configured */
#define READY_MS 10           /* so often a new responder is looked at */
#define AGAIN_NS NSEC_PER_SEC /* after one that ended sooner than that */
#define BACKLOG  4096

struct overload {
	const struct maps *maps;
	int netns_fd;
	const struct config *config;
	const struct publication *published;
	struct endpoint_addr at[PINTLE_RESPONDERS];    /* port 0: none is wanted */
	int listeners[PINTLE_RESPONDERS];              /* -1: none */
	struct endpoint_addr bound[PINTLE_RESPONDERS]; /* where these are */
	int listener_errors[PINTLE_RESPONDERS];        /* the newest that was logged */
	int board_fd, pending_fd;
	int life; /* the responder ends when it is closed; -1: none runs */
	struct board *board;
	struct child *child; /* NULL: none runs */
	uv_timer_t timer;    /* until it is ready, or is started again */
	bool up;
	uint64_t started_ns, looked_ns;
	struct retry_pace *paces; /* by endpoint */
	struct pintle_ref *of;    /* whose paces these are */
};

/* ---- where ------------------------------------------------------------------------ */

/* Whether it may have anything to answer. */
static bool diverts(const struct config_pool *p)
{
	if (p->model_count && !config_model_named(p, CONFIG_MODEL_DEFAULT))
		return true;
	for (size_t i = 0; i < p->class_count; i++)
		if (p->classes[i].admission == PINTLE_ADMISSION_DIVERT)
			return true;
	return false;
}

/* Whether connections of the class may find no room. */
static bool is_bounded(const struct config_class *k)
{
	return k->admission != PINTLE_ADMISSION_PROCEED;
}

static bool has_bounded(const struct config_pool *p)
{
	for (size_t i = 0; i < p->class_count; i++)
		if (is_bounded(&p->classes[i]))
			return true;
	return false;
}

static socklen_t overload_socket_address(const struct addr *ip, uint16_t port,
					 struct sockaddr_storage *out)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;

	*out = (struct sockaddr_storage){0};
	if (addr_is_v4(ip)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip->bytes + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, ip->bytes, 16);
	return sizeof(*v6);
}

/* The node's address as seen from `to`: the source of a datagram there, of which none is sent.
 * Returns whether there is one. */
static bool address_towards(const struct overload *o, const struct addr *to, struct addr *out)
{
	struct sockaddr_storage a, from = {0};
	struct addr is;
	socklen_t length = overload_socket_address(to, PORT, &a), size = sizeof(from);
	_cleanup_close_ int fd =
		netns_socket_quiet(o->netns_fd, a.ss_family, SOCK_DGRAM, IPPROTO_UDP);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, length) ||
	    getsockname(fd, (struct sockaddr *)&from, &size))
		return false;
	if (from.ss_family == AF_INET)
		addr_from_v4(&is, ((struct sockaddr_in *)&from)->sin_addr.s_addr);
	else
		memcpy(is.bytes, &((struct sockaddr_in6 *)&from)->sin6_addr, 16);
	/* A link-local one means another host on each link. Loopback serves servers on loopback. */
	if (addr_is_special(&is) && !addr_is_special(to))
		return false;
	*out = is;
	return true;
}

/* Clients of a pool with `address` come from networks of their own. The responder is where this
 * node reaches that pool's servers from. */
static void find_towards(struct overload *o, const struct config_pool *p)
{
	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct endpoint_addr *e = config_endpoint_at(&p->endpoints[i]);
		struct endpoint_addr *at = &o->at[!addr_is_v4(&e->ip)];

		if (!at->port && address_towards(o, &e->ip, &at->ip))
			at->port = PORT;
	}
}

/* Connections of pools with `listen` reach the listener whatever its address is. */
static void find_loopback(struct overload *o)
{
	struct endpoint_addr own[PINTLE_RESPONDERS] = {{.port = PORT},
						       {.ip = {.bytes = {[15] = 1}}, .port = PORT}};

	addr_from_v4(&own[0].ip, htonl(INADDR_LOOPBACK));
	for (int i = 0; i < PINTLE_RESPONDERS; i++)
		if (!o->at[i].port)
			o->at[i] = own[i];
}

static void find_addresses(struct overload *o, const struct config *c)
{
	bool listen = false, address = false;

	memset(o->at, 0, sizeof(o->at));
	if (c->overload.port)
		o->at[!addr_is_v4(&c->overload.ip)] = c->overload;
	for (size_t i = 0; i < c->pool_count; i++) {
		const struct config_pool *p = &c->pools[i];

		if (!diverts(p))
			continue;
		listen |= p->reach == PINTLE_REACH_LISTENER;
		address |= p->reach == PINTLE_REACH_ADDRESS;
		if (p->reach == PINTLE_REACH_ADDRESS && !c->overload.port)
			find_towards(o, p);
	}
	if (!listen && !address)
		memset(o->at, 0, sizeof(o->at));
	if (listen && !address)
		find_loopback(o);
}

/* ---- listeners -------------------------------------------------------------------- */

static bool overload_is_wanted(const struct overload *o)
{
	return o->at[0].port || o->at[1].port;
}

static bool listening(const struct overload *o)
{
	return o->listeners[0] >= 0 || o->listeners[1] >= 0;
}

static int listener_make(const struct overload *o, const struct endpoint_addr *at)
{
	struct sockaddr_storage a;
	socklen_t length = overload_socket_address(&at->ip, at->port, &a);
	_cleanup_close_ int fd =
		netns_socket_quiet(o->netns_fd, a.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, length) || listen(fd, BACKLOG))
		return -errno;
	return TAKE_FD(fd);
}

static void listener_enter(const struct overload *o, uint32_t i, int fd)
{
	uint32_t slot = PINTLE_RESPONDER_SLOT(i);
	uint64_t value = (uint64_t)fd;

	if (bpf_map_update_elem(o->maps->fd[MAP_sockets], &slot, &value, BPF_ANY))
		log_err_r(errno, "the overload responder's listener cannot be steered to");
}

/* Another pintled that has just been killed may leave a responder that still closes its listener.
 * So this is tried again and again; an error is logged once. */
static bool listener_open(struct overload *o, uint32_t i)
{
	char text[ADDR_TEXT_SIZE];
	int fd = listener_make(o, &o->at[i]);

	if (fd >= 0) {
		o->listeners[i] = fd;
		o->bound[i] = o->at[i];
		o->listener_errors[i] = 0;
		listener_enter(o, i, fd);
		return true;
	}
	if (fd != o->listener_errors[i])
		log_warn("the overload responder cannot listen on %s: %s; connections of classes "
			 "with admission: divert are refused meanwhile. node.overload.listen "
			 "names another address",
			 addr_format_endpoint(&o->at[i], text), strerror(-fd));
	o->listener_errors[i] = fd;
	return false;
}

static bool listener_fits(const struct overload *o, uint32_t i)
{
	const struct endpoint_addr *is = &o->bound[i], *wants = &o->at[i];

	if (o->listeners[i] < 0 || !wants->port)
		return o->listeners[i] < 0 && !wants->port;
	return is->port == wants->port && !memcmp(&is->ip, &wants->ip, sizeof(is->ip));
}

static void listener_close(struct overload *o, uint32_t i)
{
	uint32_t slot = PINTLE_RESPONDER_SLOT(i);

	if (o->listeners[i] < 0)
		return;
	bpf_map_delete_elem(o->maps->fd[MAP_sockets], &slot);
	close(o->listeners[i]);
	o->listeners[i] = -1;
}

/* Opens and closes listeners as wanted. Returns whether any changed: then a responder that runs has
 * others. */
static bool listeners_mend(struct overload *o)
{
	bool changed = false;

	for (uint32_t i = 0; i < PINTLE_RESPONDERS; i++) {
		if (listener_fits(o, i))
			continue;
		changed |= o->listeners[i] >= 0;
		listener_close(o, i);
		if (o->at[i].port)
			changed |= listener_open(o, i);
	}
	return changed;
}

/* ---- the process -------------------------------------------------------------------- */

/* Tells the hooks where the responder is, or that there is none. A hook that reads a port reads the
 * address that belongs to it. */
static void announce(struct overload *o, bool up)
{
	for (uint32_t i = 0; i < PINTLE_RESPONDERS; i++) {
		struct pintle_responder *r = &o->maps->node->responders[i];
		bool there = up && o->listeners[i] >= 0;

		if (there && r->port == o->at[i].port &&
		    !memcmp(r->address, o->at[i].ip.bytes, sizeof(r->address)))
			continue;
		__atomic_store_n(&r->port, 0, __ATOMIC_SEQ_CST);
		if (!there)
			continue;
		memcpy(r->address, o->at[i].ip.bytes, sizeof(r->address));
		__atomic_store_n(&r->port, o->at[i].port, __ATOMIC_SEQ_CST);
	}
	o->up = up;
}

/* A responder that was told to end still answers its clients, while another one runs. */
struct child {
	uv_process_t process;
	struct overload *o; /* NULL: it was told to end */
};

static void on_child_close(uv_handle_t *h)
{
	free(h->data);
}

static void child_end(struct overload *o)
{
	announce(o, false);
	if (o->life >= 0)
		close(o->life);
	o->life = -1;
	if (o->child)
		o->child->o = NULL;
	o->child = NULL;
}

static void overload_on_timer(uv_timer_t *t);

static void on_exit_status(uv_process_t *process, int64_t status, int number)
{
	struct child *child = process->data;
	struct overload *o = child->o;

	uv_close((uv_handle_t *)process, on_child_close);
	if (!o)
		return;
	child_end(o);
	log_warn("the overload responder ended (%s %d); starting another one",
		 number ? "signal" : "status", number ?: (int)status);
	/* One that cannot work ends at once, again and again. */
	uv_timer_start(&o->timer, overload_on_timer,
		       monotonic_ns() - o->started_ns > AGAIN_NS ? 0 : AGAIN_NS / NSEC_PER_MSEC, 0);
}

/* The read end of a pipe; *life: the end that this process holds, for as long as the responder is
 * to run. */
static int life_make(int *life)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	*life = ends[1];
	return ends[0];
}

static int child_spawn(struct overload *o, struct child *child, int life)
{
	static char name[] = "pintled", option[] = RESPONDER_OPTION;
	char *argv[] = {name, option, NULL};
	uv_stdio_container_t fds[RESPONDER_FD_END] = {
		[STDERR_FILENO] = {UV_INHERIT_FD, {.fd = STDERR_FILENO}},
		[RESPONDER_FD_LIFE] = {UV_INHERIT_FD, {.fd = life}},
		[RESPONDER_FD_BOARD] = {UV_INHERIT_FD, {.fd = o->board_fd}},
		[RESPONDER_FD_PENDING] = {UV_INHERIT_FD, {.fd = o->pending_fd}},
	};
	const uv_process_options_t how = {
		.exit_cb = on_exit_status,
		.file = "/proc/self/exe",
		.args = argv,
		.stdio = fds,
		.stdio_count = RESPONDER_FD_END,
	};

	for (int i = 0; i < PINTLE_RESPONDERS; i++)
		if (o->listeners[i] >= 0)
			fds[RESPONDER_FD_LISTENER + i] =
				(uv_stdio_container_t){UV_INHERIT_FD, {.fd = o->listeners[i]}};
	return uv_spawn(o->timer.loop, &child->process, &how);
}

static int child_start(struct overload *o)
{
	struct child *child = calloc(1, sizeof(*child));
	_cleanup_close_ int life = -1;
	int err;

	if (!child)
		return -ENOMEM;
	life = life_make(&o->life);
	if (life < 0) {
		free(child);
		return life;
	}
	child->process.data = child;
	child->o = o;
	o->board->ready = 0;
	o->started_ns = monotonic_ns();
	err = child_spawn(o, child, life);
	if (err) {
		close(o->life);
		o->life = -1;
		uv_close((uv_handle_t *)&child->process, on_child_close);
		return err;
	}
	o->child = child;
	uv_timer_start(&o->timer, overload_on_timer, READY_MS, READY_MS);
	return 0;
}

/* Starts the responder if it is wanted and none runs; announces it once it is ready. */
static void overload_on_timer(uv_timer_t *t)
{
	struct overload *o = t->data;
	int err;

	if (!o->child) {
		uv_timer_stop(t);
		if (!listening(o))
			return;
		err = child_start(o);
		if (!err)
			return;
		log_err_r(err, "failed to start the overload responder");
		uv_timer_start(t, overload_on_timer, AGAIN_NS / NSEC_PER_MSEC, 0);
		return;
	}
	if (__atomic_load_n(&o->board->ready, __ATOMIC_ACQUIRE) != (__u32)o->child->process.pid)
		return;
	uv_timer_stop(t);
	announce(o, true);
	log_debug("the overload responder runs as process %d", o->child->process.pid);
}

/* A responder that runs has the listeners that there were when it began. */
static void mend(struct overload *o)
{
	bool changed = listeners_mend(o);

	if (o->child && (changed || !listening(o)))
		child_end(o);
	if (!o->child && listening(o) && !uv_is_active((uv_handle_t *)&o->timer))
		uv_timer_start(&o->timer, overload_on_timer, 0, 0);
}

/* ---- when to come back ---------------------------------------------------------------- */

static uint64_t sum_of(const struct pintle_inflight *f, uint64_t *closed)
{
	uint64_t opened = 0;

	*closed = 0;
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++) {
		*closed += __atomic_load_n(&f->by_class[i].closed, __ATOMIC_RELAXED);
		opened += __atomic_load_n(&f->by_class[i].opened, __ATOMIC_RELAXED);
	}
	return opened;
}

/* This node's requests at the endpoint; its connections, where requests are not followed. */
static double pace_look(struct overload *o, uint32_t id, bool followed, double seconds)
{
	const struct pintle_work *work = &o->maps->works[id];
	uint64_t closed, begun = sum_of(&o->maps->inflight[id], &closed);
	double under_way = begun > closed ? (double)(begun - closed) : 0;

	if (followed && work->passed_ns) {
		under_way = work->waiting + work->answering;
		begun = work->requests;
	}
	retry_look(&o->paces[id], begun, under_way, seconds);
	return under_way;
}

/* As the daemon published it: connections of the last fraction of a second are left out. */
static double load_of(const struct pintle_score *s, uint32_t class_id)
{
	return ((double)MAX(s->model[class_id].published, s->floor) + s->prompt) / 1000;
}

static void row_write(struct board_row *row, const struct config_class *k, uint32_t generation,
		      double wait)
{
	uint32_t seconds = wait < 0 ? BOARD_SECONDS_UNKNOWN
				    : (uint32_t)ceil(MIN(wait, (double)BOARD_SECONDS_MAX));

	if (row->generation != generation || strncmp(row->name, k->name, sizeof(row->name)))
		__atomic_store_n(&row->generation, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&row->seconds, MAX(seconds, 1U), __ATOMIC_SEQ_CST);
	snprintf(row->name, sizeof(row->name), "%s", k->name);
	__atomic_store_n(&row->generation, generation, __ATOMIC_SEQ_CST);
}

/* Whether connections of the class may go to the endpoint once it has room. */
static bool overload_is_open(const struct overload *o, const struct orders *orders, uint32_t id,
			     uint32_t class_id)
{
	return !orders_barred(orders, id) && !(o->maps->health[id].closed_classes >> class_id & 1);
}

/* An endpoint that was full has room below retry_room(), where its class has a limit of the load,
 * and when one request has ended, where it has a number of connections. One that is reserved for
 * others, or that nobody is sent to, never has. */
static double class_wait(const struct overload *o, const struct orders *orders,
			 const struct published_pool *at, size_t n, const double *under_way,
			 uint32_t class_id, double limit)
{
	double least = -1;

	for (size_t i = 0; i < n; i++) {
		uint32_t id = at->endpoints[i].id;
		const struct pintle_score *s = &o->maps->scores[id];
		double load = limit > 0 ? load_of(s, class_id) : 0;
		double wait = retry_wait(&o->paces[id], load, retry_room(limit, s->rate),
					 MAX((double)(s->waiting + s->running), under_way[i]));

		if (overload_is_open(o, orders, id, class_id) && wait >= 0 &&
		    (least < 0 || wait < least))
			least = wait;
	}
	return least;
}

static void overload_look_at_pool(struct overload *o, const struct orders *orders,
				  const struct config_pool *p, const struct published_pool *at,
				  double seconds)
{
	_cleanup_free_ double *under_way = calloc(p->endpoint_count + 1, sizeof(*under_way));

	if (!under_way)
		return;
	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct pintle_ref *e = &at->endpoints[i];

		if (o->of[e->id].generation != e->generation) {
			o->of[e->id] = *e;
			o->paces[e->id] = (struct retry_pace){0};
		}
		under_way[i] = pace_look(o, e->id, p->follow, seconds);
	}
	for (uint32_t k = 0; k < p->class_count; k++)
		if (is_bounded(&p->classes[k]))
			row_write(&o->board->rows[at->ref.id][k], &p->classes[k],
				  at->ref.generation,
				  class_wait(o, orders, at, p->endpoint_count, under_way, k,
					     p->classes[k].limit));
}

void overload_look(struct overload *o, const struct orders *orders)
{
	uint64_t now = monotonic_ns();
	double seconds = o->looked_ns ? (double)(now - o->looked_ns) / 1e9 : 0;

	assert(o->config);
	o->looked_ns = now;
	if (!o->config)
		return;
	for (size_t i = 0; overload_is_wanted(o) && i < o->config->pool_count; i++)
		if (has_bounded(&o->config->pools[i]))
			overload_look_at_pool(o, orders, &o->config->pools[i],
					      &o->published->pools[i], seconds);
	mend(o);
}

/* ---- life ------------------------------------------------------------------------------ */

/* The responder may only read the map. */
static int pending_open(const struct maps *m)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, opts, .open_flags = BPF_F_RDONLY);
	int fd;

	if (bpf_obj_get_info_by_fd(m->fd[MAP_pending], &info, &size))
		return -errno;
	fd = bpf_map_get_fd_by_id_opts(info.id, &opts);
	return fd < 0 ? -errno : fd;
}

static int overload_open(struct overload *o)
{
	o->board_fd = memfd_create("pintle-overload", MFD_CLOEXEC);
	if (o->board_fd < 0 || ftruncate(o->board_fd, sizeof(*o->board)))
		return -errno;
	o->board =
		mmap(NULL, sizeof(*o->board), PROT_READ | PROT_WRITE, MAP_SHARED, o->board_fd, 0);
	if (o->board == MAP_FAILED) {
		o->board = NULL;
		return -errno;
	}
	o->pending_fd = pending_open(o->maps);
	if (o->pending_fd < 0)
		return o->pending_fd;
	o->paces = calloc(PINTLE_MAX_ENDPOINTS, sizeof(*o->paces));
	o->of = calloc(PINTLE_MAX_ENDPOINTS, sizeof(*o->of));
	return o->paces && o->of ? 0 : -ENOMEM;
}

static void overload_on_close(uv_handle_t *h)
{
	free(h->data);
}

static void overload_release(struct overload *o)
{
	for (uint32_t i = 0; i < PINTLE_RESPONDERS; i++)
		listener_close(o, i);
	if (o->board)
		munmap(o->board, sizeof(*o->board));
	if (o->board_fd >= 0)
		close(o->board_fd);
	if (o->pending_fd >= 0)
		close(o->pending_fd);
	free(o->paces);
	free(o->of);
}

int overload_new(const struct ground *g, struct overload **out)
{
	struct overload *o = calloc(1, sizeof(*o));

	if (!o)
		return log_err_r(ENOMEM, "the overload responder");
	o->maps = g->maps;
	o->netns_fd = g->netns_fd;
	o->listeners[0] = o->listeners[1] = o->board_fd = o->pending_fd = o->life = -1;
	uv_timer_init(g->loop, &o->timer);
	o->timer.data = o;
	announce(o, false); /* that of a former daemon ends */
	*out = o;
	return 0;
}

void overload_configure(struct overload *o, const struct config *c, const struct publication *p,
			const struct orders *orders)
{
	int err;

	assert(p->pool_count == c->pool_count);
	o->config = c;
	o->published = p;
	find_addresses(o, c);
	if (overload_is_wanted(o) && !o->board) {
		err = overload_open(o);
		if (err) {
			log_err_r(err, "the overload responder cannot be started; connections of "
				       "classes with admission: divert are refused");
			overload_release(o);
			o->board = NULL;
			o->board_fd = o->pending_fd = -1;
			o->paces = NULL;
			o->of = NULL;
			memset(o->at, 0, sizeof(o->at));
		}
	}
	overload_look(o, orders);
}

bool overload_wanted(const struct overload *o, bool *up)
{
	*up = o->up;
	return overload_is_wanted(o);
}

const struct board *overload_board(const struct overload *o)
{
	return o->board;
}

void overload_free(struct overload *o)
{
	if (!o)
		return;
	child_end(o);
	overload_release(o);
	uv_close((uv_handle_t *)&o->timer, overload_on_close);
}
