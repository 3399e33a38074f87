/* SPDX-License-Identifier: Apache-2.0 */
#include "register.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../net/listeners.h"
#include "../../net/netns.h"
#include "../../base/log.h"
#include "../../maps/state.h"
#include "../../base/util.h"
#include "hooks/listener.bpf.h"

/* A listener, and the endpoint it serves. */
struct claim {
	const struct listener *listener;
	uint32_t scope;
	struct pintle_address to;
	bool registered;
	uint32_t strange; /* why it is not believed: PINTLE_UNSTEERABLE_*; 0: it is */
	bool evict;       /* not believed, but holds a slot */
};

/* What is known of an endpoint's slots in `sockets`, and of its listeners. */
struct slots {
	bool read; /* `cookies` and `used` are valid */
	uint64_t cookies[PINTLE_SOCKETS_PER_ENDPOINT];
	uint32_t used; /* bit i: slot i holds a socket */
	bool claimed;
	bool crowded;         /* a registered listener found every slot taken */
	uint32_t watched;     /* such listeners whose ends the kernel reports */
	uint32_t families;    /* PINTLE_FAMILY_* of the registered listeners */
	uint32_t unsteerable; /* why a listener is not registered: PINTLE_UNSTEERABLE_* */
	int error;
	uint32_t stranger; /* uid */
};

struct registration {
	const struct maps *m;
	struct claim *claims;
	size_t n;
	struct slots *slots; /* PINTLE_MAX_ENDPOINTS */
};

#define ALL_SLOTS ((1U << PINTLE_SOCKETS_PER_ENDPOINT) - 1)

/* Fills cookies[] with the sockets' cookies, 0 for an empty slot. Returns bit i set where slot i
 * holds a socket. */
static uint32_t read_cookies(const struct maps *m, uint32_t endpoint,
			     uint64_t cookies[PINTLE_SOCKETS_PER_ENDPOINT])
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;

		cookies[i] = 0;
		if (!bpf_map_lookup_elem(m->fd[MAP_sockets], &slot, &cookies[i]) && cookies[i])
			used |= 1U << i;
	}
	return used;
}

static uint32_t slots_used(const struct maps *m, uint32_t endpoint)
{
	uint64_t cookies[PINTLE_SOCKETS_PER_ENDPOINT];

	return read_cookies(m, endpoint, cookies);
}

static struct slots *slots_load(struct registration *r, uint32_t endpoint)
{
	struct slots *p = &r->slots[endpoint];

	assert(endpoint < PINTLE_MAX_ENDPOINTS);
	p->read = true;
	p->used = read_cookies(r->m, endpoint, p->cookies);
	return p;
}

static struct slots *slots_of(struct registration *r, uint32_t endpoint)
{
	return r->slots[endpoint].read ? &r->slots[endpoint] : slots_load(r, endpoint);
}

/* One socket may hold several slots: see listener_register() in bpf/hooks/sockops_server.bpf.h. */
static uint32_t count_sockets(const uint64_t cookies[PINTLE_SOCKETS_PER_ENDPOINT])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		bool again = !cookies[i];

		for (uint32_t j = 0; j < i; j++)
			again |= cookies[j] == cookies[i];
		n += !again;
	}
	return n;
}

/* The same search as listener_endpoint() in bpf/hooks/sockops_server.bpf.h. */
static bool register_find_endpoint(const struct maps *m, uint32_t scope, const struct listener *l,
				   struct pintle_address *to, bool *elsewhere)
{
	struct pintle_address_key key = {.scope = scope, .port = l->port};

	if (!l->wildcard) {
		memcpy(key.address, l->ip.bytes, sizeof(key.address));
		if (!bpf_map_lookup_elem(m->fd[MAP_addresses], &key, to))
			return true;
		memset(key.address, 0, sizeof(key.address));
	}
	if (bpf_map_lookup_elem(m->fd[MAP_addresses], &key, to))
		return false;
	if (to->flags & PINTLE_ADDRESS_ANY ||
	    (l->wildcard && ((to->flags & PINTLE_ADDRESS_V4 && l->families & PINTLE_FAMILY_V4) ||
			     (to->flags & PINTLE_ADDRESS_V6 && l->families & PINTLE_FAMILY_V6))))
		return true;
	*elsewhere = to->flags & PINTLE_ADDRESS_PORT;
	return *elsewhere;
}

static uint32_t claim_strange(const struct maps *m, const struct listener *l,
			      const struct pintle_address *to)
{
	struct pintle_server_cgroup key = {.cgroup = l->cgroup, .pattern = to->pattern};
	uint32_t there;

	return listener_strange(to, m->health[to->endpoint].owner, l->uid,
				!bpf_map_lookup_elem(m->fd[MAP_server_cgroups], &key, &there));
}

/* Whether the listener has its record, and so do the connections that it accepts. *watched: sockops
 * saw its listen(), so it reports its end, too. */
static bool has_record(const struct maps *m, const struct claim *c, int fd, bool *watched)
{
	struct pintle_conn conn;
	bool has = (!bpf_map_lookup_elem(m->fd[MAP_conns], &fd, &conn) ||
		    !bpf_map_lookup_elem(m->fd[MAP_listeners], &fd, &conn)) &&
		   conn.endpoint == c->to.endpoint && conn.generation == c->to.generation &&
		   conn.flags & PINTLE_CONN_LISTENER;

	*watched = has && conn.flags & PINTLE_CONN_WATCHED;
	return has;
}

/* Gives the listener its record. The kernel copies it to each connection that the listener accepts
 * from then on, so that the connection is counted for this endpoint. Whether it belongs into
 * `listeners` is known once the pool is published: the next recount moves it. */
static int put_record(const struct maps *m, const struct claim *c, int fd)
{
	struct pintle_conn conn = {
		.endpoint = c->to.endpoint,
		.generation = c->to.generation,
		.pool = c->to.pool,
		.flags = PINTLE_CONN_LISTENER,
	};

	if (bpf_map_update_elem(m->fd[MAP_conns], &fd, &conn, BPF_ANY))
		return -errno;
	bpf_map_delete_elem(m->fd[MAP_listeners], &fd); /* that of a former endpoint */
	return 0;
}

static void mark_slot(struct pintle_health *h, uint32_t slot, bool watched)
{
	if (watched)
		__atomic_fetch_and(&h->unwatched, ~(1U << slot), __ATOMIC_RELAXED);
	else
		__atomic_fetch_or(&h->unwatched, 1U << slot, __ATOMIC_RELAXED);
}

/* Returns 1: the socket has a slot now; 0: every slot is taken; or -errno. Sets *watched if sockops
 * reports the listener's end. */
static int put_socket(const struct maps *m, const struct claim *c, int fd, bool *watched)
{
	uint64_t value = (uint64_t)fd;
	int err = has_record(m, c, fd, watched) ? 0 : put_record(m, c, fd);

	assert(c->to.endpoint < PINTLE_MAX_ENDPOINTS);
	if (err)
		return err;
	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = c->to.endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;

		if (!bpf_map_update_elem(m->fd[MAP_sockets], &slot, &value, BPF_NOEXIST)) {
			mark_slot(&m->health[c->to.endpoint], i, *watched);
			return true;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return false; /* as good: any listener of a SO_REUSEPORT group reaches the whole group */
}

static void note_registered(struct registration *r, struct claim *c)
{
	struct pintle_health *h = &r->m->health[c->to.endpoint];

	c->registered = true;
	h->owner = listener_owner(&c->to, h->owner, c->listener->uid);
	r->slots[c->to.endpoint].families |=
		listener_covers(c->listener->families, c->listener->wildcard);
}

static void note_unsteerable(struct registration *r, const struct claim *c, uint32_t why, int error)
{
	struct slots *p = &r->slots[c->to.endpoint];

	/* "At another address" is the weakest reason: it replaces no other. */
	if (p->unsteerable && why == PINTLE_UNSTEERABLE_ADDRESS)
		return;
	p->unsteerable = why;
	p->error = error;
	p->stranger = c->listener->uid;
}

/* The configuration changed, and this listener is no longer believed. Connections that it accepts
 * from now on are not counted for the endpoint. */
static void evict_listener(const struct maps *m, const struct claim *c, int fd)
{
	if (fd >= 0) {
		bpf_map_delete_elem(m->fd[MAP_conns], &fd);
		bpf_map_delete_elem(m->fd[MAP_listeners], &fd);
	}
	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = c->to.endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		uint64_t cookie;

		if (!bpf_map_lookup_elem(m->fd[MAP_sockets], &slot, &cookie) &&
		    cookie == c->listener->cookie)
			bpf_map_delete_elem(m->fd[MAP_sockets], &slot);
	}
}

static void on_fetched(const struct listener *l, int fd, void *arg)
{
	struct registration *r = arg;
	struct claim *c = NULL;
	bool watched = false;
	int held;

	for (size_t i = 0; i < r->n && !c; i++)
		if (r->claims[i].listener->cookie == l->cookie)
			c = &r->claims[i];
	if (!c)
		return;
	if (c->evict) {
		evict_listener(r->m, c, fd);
		return;
	}
	held = fd < 0 ? fd : put_socket(r->m, c, fd, &watched);
	if (held < 0) {
		note_unsteerable(r, c, PINTLE_UNSTEERABLE_OTHER, held);
		return;
	}
	note_registered(r, c);
	r->slots[c->to.endpoint].crowded |= !held;
	r->slots[c->to.endpoint].watched += !held && watched;
}

static bool slots_hold(const struct slots *p, uint64_t cookie)
{
	for (int i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++)
		if (p->cookies[i] == cookie)
			return true;
	return false;
}

static void claim_listeners(struct registration *r, uint32_t scope, const struct listener *ls,
			    size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct claim *c = &r->claims[r->n];
		bool elsewhere = false;
		struct slots *p;

		c->listener = &ls[i];
		c->scope = scope;
		if (!register_find_endpoint(r->m, scope, &ls[i], &c->to, &elsewhere) ||
		    c->to.endpoint >= PINTLE_MAX_ENDPOINTS)
			continue;
		r->n++;
		p = slots_of(r, c->to.endpoint);
		p->claimed = true;
		c->strange = elsewhere ? PINTLE_UNSTEERABLE_ADDRESS
				       : claim_strange(r->m, &ls[i], &c->to);
		c->evict = c->strange && slots_hold(p, ls[i].cookie);
		if (c->strange)
			note_unsteerable(r, c, c->strange, 0);
		else if (ls[i].mptcp)
			note_unsteerable(r, c, PINTLE_UNSTEERABLE_MPTCP, -EINVAL);
		else if (slots_hold(p, ls[i].cookie))
			note_registered(r, c);
	}
}

static int fetch_missing(struct registration *r, uint32_t scope, int netns_fd)
{
	_cleanup_free_ struct listener *missing = calloc(r->n + 1, sizeof(*missing));
	size_t n = 0;
	int found;

	if (!missing)
		return log_err_r(ENOMEM, "listeners");
	for (size_t i = 0; i < r->n; i++)
		if (r->claims[i].scope == scope &&
		    (r->claims[i].evict || (!r->claims[i].registered && !r->claims[i].strange &&
					    !r->claims[i].listener->mptcp)))
			missing[n++] = *r->claims[i].listener;
	if (!n)
		return 0;
	found = listeners_fetch(netns_fd, missing, n, on_fetched, r);
	return found < 0 ? found : 0;
}

static void set_unsteerable(struct pintle_health *h, const struct slots *p)
{
	h->stranger = p->stranger;
	h->error = p->error;
	h->unsteerable = p->unsteerable;
}

/* The kernel keeps `health`; these stores add what it cannot see. An endpoint with a registered
 * listener is steered, whatever its other listeners are; a stranger beside it is still reported. */
static void health_settle(struct pintle_health *h, const struct slots *p)
{
	/* What the daemon's own connection to it showed stays until the next one. */
	const struct slots steerable = {
		.unsteerable = h->unsteerable == PINTLE_UNSTEERABLE_ELSEWHERE ? h->unsteerable : 0,
	};

	__atomic_fetch_and(&h->unwatched, p->used, __ATOMIC_RELAXED);
	__atomic_store_n(&h->listeners, count_sockets(p->cookies) + p->watched, __ATOMIC_RELAXED);
	h->crowded = p->crowded;
	if (!p->used) {
		__atomic_store_n(&h->listening_since_ns, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&h->families, 0, __ATOMIC_RELAXED);
		set_unsteerable(h, p);
		return;
	}
	__atomic_fetch_or(&h->families, p->families, __ATOMIC_RELAXED);
	set_unsteerable(h, unsteerable_stranger(p->unsteerable) &&
					   p->unsteerable != PINTLE_UNSTEERABLE_ADDRESS
				   ? p
				   : &steerable);
	if (!__atomic_load_n(&h->listening_since_ns, __ATOMIC_RELAXED))
		__atomic_store_n(&h->listening_since_ns, monotonic_ns(), __ATOMIC_RELAXED);
}

/* Reads the slots again, because a listen() may have filled some while listeners were fetched. A
 * listen() between that and the write to `health` is seen by the second look. */
static void health_settle_all(struct registration *r)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_health *h = &r->m->health[i];

		if (!r->slots[i].claimed && !h->listening_since_ns && !h->unsteerable)
			continue;
		health_settle(h, slots_load(r, i));
		if (!r->slots[i].used && slots_load(r, i)->used)
			health_settle(h, &r->slots[i]);
	}
}

/* ---- what is said of them --------------------------------------------------------- */

struct told {
	uint32_t generation, unsteerable, stranger;
	int32_t error;
};

static void register_name_of(const struct maps *m, uint32_t slot, char name[PINTLE_NAME_SIZE])
{
	struct pintle_name n = {0};

	maps_value(m, MAP_names, slot, &n);
	snprintf(name, PINTLE_NAME_SIZE, "%.*s", PINTLE_NAME_SIZE - 1, n.name);
}

static void tell_unsteerable(const struct maps *m, uint32_t endpoint,
			     const struct pintle_endpoint *e, const struct told *now)
{
	char pool[PINTLE_NAME_SIZE], name[PINTLE_NAME_SIZE], who[32] = "";

	register_name_of(m, e->pool, pool);
	register_name_of(m, PINTLE_ENDPOINT_SLOT(endpoint), name);
	if (unsteerable_stranger(now->unsteerable))
		snprintf(who, sizeof(who), ", of uid %u,", now->stranger);
	log_warn("%s/%s: the listener at port %u%s is %s: %s", pool, name, e->port, who,
		 unsteerable_text(now->unsteerable),
		 now->unsteerable == PINTLE_UNSTEERABLE_OTHER ? listener_error(now->error)
							      : unsteerable_cure(now->unsteerable));
}

void register_tell(const struct maps *m)
{
	static struct told all[PINTLE_MAX_ENDPOINTS]; /* of the one daemon in this process */

	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		const struct pintle_health *h = &m->health[i];
		struct told now = {0, h->unsteerable, h->stranger, h->error}, *was = &all[i];
		struct pintle_endpoint e;

		if (!now.unsteerable) {
			*was = now;
			continue;
		}
		if (maps_value(m, MAP_endpoints, i, &e) || !e.pool_generation)
			continue;
		now.generation = e.generation;
		if (!memcmp(was, &now, sizeof(now)))
			continue;
		*was = now;
		tell_unsteerable(m, i, &e, &now);
	}
}

void register_forget(const struct maps *m, uint32_t endpoint)
{
	assert(endpoint < PINTLE_MAX_ENDPOINTS);
	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;

		bpf_map_delete_elem(m->fd[MAP_sockets], &slot);
	}
}

uint64_t register_listening_since(const struct maps *m, uint32_t endpoint)
{
	struct pintle_health *h = &m->health[endpoint];
	uint64_t since = __atomic_load_n(&h->listening_since_ns, __ATOMIC_RELAXED), was = since;

	assert(endpoint < PINTLE_MAX_ENDPOINTS);
	if (!since || !h->unwatched || slots_used(m, endpoint))
		return since;
	__atomic_compare_exchange_n(&h->listening_since_ns, &was, 0, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_RELAXED);
	/* A server that called listen() between the two looks found listening_since_ns set and left
	 * it, and the exchange has just cleared it. */
	if (!slots_used(m, endpoint))
		return 0;
	since = monotonic_ns();
	__atomic_store_n(&h->listening_since_ns, since, __ATOMIC_RELAXED);
	return since;
}

bool register_has_room(const struct maps *m)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (m->health[i].crowded && slots_used(m, i) != ALL_SLOTS)
			return true;
	return false;
}

/* ---- all ------------------------------------------------------------------------------- */

/* Of the one daemon in this process. */
static struct {
	const struct register_place *all;
	size_t n;
} places;

void register_places(const struct register_place *all, size_t n)
{
	places.all = all;
	places.n = n;
}

int register_open(const struct register_place *p)
{
	_cleanup_close_ int fd = netns_open_by_inode(p->inode, p->path);
	uint64_t cookie;
	int err = fd < 0 ? fd : netns_cookie(fd, &cookie);

	if (err)
		return err;
	return cookie == p->cookie ? TAKE_FD(fd) : -ENOENT;
}

/* The listeners of a namespace. */
struct room {
	int fd;
	uint32_t scope;
	struct listener *all;
	size_t n;
};

static void rooms_free(struct room *rooms)
{
	for (size_t i = 0; rooms && i <= places.n; i++) {
		if (i && rooms[i].fd >= 0)
			close(rooms[i].fd);
		free(rooms[i].all);
	}
	free(rooms);
}

static void rooms_freep(struct room **rooms)
{
	rooms_free(*rooms);
}

/* A pod that has just gone has none. */
static int rooms_read(struct room *rooms, int netns_fd, size_t *n)
{
	for (size_t i = 0; i <= places.n; i++)
		rooms[i].fd = -1;
	for (size_t i = 0; i <= places.n; i++) {
		struct room *r = &rooms[i];
		int err;

		r->fd = i ? register_open(&places.all[i - 1]) : netns_fd;
		r->scope = i ? places.all[i - 1].scope : PINTLE_SCOPE_NODE;
		if (i && r->fd < 0)
			continue;
		err = listeners_dump(r->fd, &r->all, &r->n);
		if (err && !i)
			return err;
		*n += r->n;
	}
	return 0;
}

int register_listeners(const struct maps *m, int netns_fd)
{
	_cleanup_free_ struct slots *slots = calloc(PINTLE_MAX_ENDPOINTS, sizeof(*slots));
	_cleanup_(rooms_freep) struct room *rooms = calloc(places.n + 1, sizeof(*rooms));
	_cleanup_free_ struct claim *claims = NULL;
	struct registration r = {.m = m, .slots = slots};
	size_t n = 0;
	int err = rooms ? rooms_read(rooms, netns_fd, &n) : log_err_r(ENOMEM, "listeners");

	assert(m->writable);
	if (err)
		return err;
	claims = calloc(n + 1, sizeof(*claims));
	if (!claims || !slots)
		return log_err_r(ENOMEM, "listeners");
	r.claims = claims;
	for (size_t i = 0; i <= places.n; i++)
		claim_listeners(&r, rooms[i].scope, rooms[i].all, rooms[i].n);
	for (size_t i = 0; i <= places.n; i++)
		if (!i || rooms[i].fd >= 0)
			err = fetch_missing(&r, rooms[i].scope, rooms[i].fd) ?: err;
	health_settle_all(&r);
	register_tell(m);
	return err;
}
