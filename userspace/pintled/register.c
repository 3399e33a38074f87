/* SPDX-License-Identifier: Apache-2.0 */
#include "register.h"

#include <bpf/bpf.h>

#include "../common/listeners.h"
#include "../common/log.h"
#include "../common/util.h"

/* A listener, and the endpoint it serves. */
struct claim {
	struct listener *listener;
	struct pintle_address to;
	bool registered;
};

struct registration {
	const struct maps *m;
	struct claim *claims;
	size_t n;
};

/* The sockets' cookies that an endpoint's slots hold; 0 is an empty slot. Returns the slots in
 * use, a bit each. */
static uint32_t read_slots(const struct maps *m, uint32_t endpoint,
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

/* One socket may hold several slots: see listener_register() in bpf/sockops.bpf.c. */
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

/* The same search as listener_endpoint() in bpf/sockops.bpf.c. */
static bool find_endpoint(const struct maps *m, const struct listener *l, struct pintle_address *to)
{
	struct pintle_address_key key = {.port = l->port};

	if (!l->wildcard) {
		memcpy(key.address, l->ip.bytes, sizeof(key.address));
		if (!bpf_map_lookup_elem(m->fd[MAP_addresses], &key, to))
			return true;
		memset(key.address, 0, sizeof(key.address));
	}
	if (bpf_map_lookup_elem(m->fd[MAP_addresses], &key, to))
		return false;
	if (to->flags & PINTLE_ADDRESS_ANY)
		return true;
	return l->wildcard && ((to->flags & PINTLE_ADDRESS_V4 && l->families & PINTLE_FAMILY_V4) ||
			       (to->flags & PINTLE_ADDRESS_V6 && l->families & PINTLE_FAMILY_V6));
}

static int put_socket(const struct maps *m, const struct claim *c, int fd)
{
	struct pintle_conn conn = {
		.endpoint = c->to.endpoint,
		.generation = c->to.generation,
		.pool = c->to.pool,
		.flags = PINTLE_CONN_LISTENER,
	};
	uint64_t value = (uint64_t)fd;

	/* First what its children are to know of their endpoint. */
	if (bpf_map_update_elem(m->fd[MAP_conns], &fd, &conn, BPF_ANY))
		return -errno;
	for (uint32_t i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		uint32_t slot = c->to.endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;

		if (!bpf_map_update_elem(m->fd[MAP_sockets], &slot, &value, BPF_NOEXIST)) {
			__atomic_fetch_or(&m->health[c->to.endpoint].unwatched, 1U << i,
					  __ATOMIC_RELAXED);
			return 0;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return 0; /* enough of them: any one reaches the whole SO_REUSEPORT group */
}

/* `health` is the kernel's; these stores say only what it could not see. */
static void mark_listening(const struct maps *m, const struct claim *c)
{
	struct pintle_health *h = &m->health[c->to.endpoint];

	__atomic_fetch_or(&h->families, c->listener->families, __ATOMIC_RELAXED);
	h->unsteerable = 0;
	h->error = 0;
	if (!__atomic_load_n(&h->listening_since_ns, __ATOMIC_RELAXED))
		__atomic_store_n(&h->listening_since_ns, monotonic_ns(), __ATOMIC_RELAXED);
}

static void mark_unsteerable(const struct maps *m, const struct claim *c, uint32_t why, int error)
{
	struct pintle_health *h = &m->health[c->to.endpoint];

	if (h->unsteerable == why && h->error == error)
		return;
	h->unsteerable = why;
	h->error = error;
	if (why == PINTLE_UNSTEERABLE_MPTCP)
		log_warn("the listener at port %u cannot be steered: it is an MPTCP one "
			 "(Go >= 1.24: start the server with GODEBUG=multipathtcp=0)",
			 c->listener->port);
	else
		log_warn("the listener at port %u cannot be steered: %s", c->listener->port,
			 listener_error(error));
}

static void fetched(const struct listener *l, int fd, void *arg)
{
	struct registration *r = arg;
	struct claim *c = NULL;
	int err;

	for (size_t i = 0; i < r->n && !c; i++)
		if (r->claims[i].listener->cookie == l->cookie)
			c = &r->claims[i];
	if (!c)
		return;
	err = fd < 0 ? fd : put_socket(r->m, c, fd);
	if (err) {
		mark_unsteerable(r->m, c, PINTLE_UNSTEERABLE_OTHER, err);
		return;
	}
	c->registered = true;
	mark_listening(r->m, c);
}

static void claim_all(struct registration *r, struct listener *ls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct claim *c = &r->claims[r->n];
		uint64_t cookies[PINTLE_SOCKETS_PER_ENDPOINT];
		uint32_t used;

		c->listener = &ls[i];
		if (!find_endpoint(r->m, &ls[i], &c->to) || c->to.endpoint >= PINTLE_MAX_ENDPOINTS)
			continue;
		r->n++;
		if (ls[i].mptcp)
			continue;
		used = read_slots(r->m, c->to.endpoint, cookies);
		c->registered = used == (1U << PINTLE_SOCKETS_PER_ENDPOINT) - 1;
		for (int j = 0; j < PINTLE_SOCKETS_PER_ENDPOINT; j++)
			c->registered |= cookies[j] == ls[i].cookie;
	}
}

static int fetch_missing(struct registration *r, int netns_fd)
{
	_cleanup_free_ struct listener *missing = calloc(r->n + 1, sizeof(*missing));
	size_t n = 0;
	int found;

	if (!missing)
		return log_err_r(ENOMEM, "listeners");
	for (size_t i = 0; i < r->n; i++) {
		struct claim *c = &r->claims[i];

		if (c->listener->mptcp)
			mark_unsteerable(r->m, c, PINTLE_UNSTEERABLE_MPTCP, -EINVAL);
		else if (c->registered)
			mark_listening(r->m, c);
		else
			missing[n++] = *c->listener;
	}
	if (!n)
		return 0;
	found = listeners_fetch(netns_fd, missing, n, fetched, r);
	return found < 0 ? found : 0;
}

/* Listeners that `health` counts: as many as there are in the slots; none: nobody listens. */
static void settle_health(const struct registration *r)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_health *h = &r->m->health[i];
		uint64_t cookies[PINTLE_SOCKETS_PER_ENDPOINT];
		bool claimed = false, unsteerable = false;
		uint32_t used;

		for (size_t j = 0; j < r->n; j++) {
			claimed |= r->claims[j].to.endpoint == i;
			unsteerable |=
				r->claims[j].to.endpoint == i && r->claims[j].listener->mptcp;
		}
		if (!claimed && !h->listening_since_ns && !h->unsteerable)
			continue;
		used = read_slots(r->m, i, cookies);
		__atomic_fetch_and(&h->unwatched, used, __ATOMIC_RELAXED);
		__atomic_store_n(&h->listeners, count_sockets(cookies), __ATOMIC_RELAXED);
		if (!used) {
			__atomic_store_n(&h->listening_since_ns, 0, __ATOMIC_RELAXED);
			__atomic_store_n(&h->families, 0, __ATOMIC_RELAXED);
		}
		if (!claimed || (!unsteerable && used))
			h->unsteerable = 0;
	}
}

int register_listeners(const struct maps *m, int netns_fd)
{
	_cleanup_free_ struct listener *ls = NULL;
	_cleanup_free_ struct claim *claims = NULL;
	struct registration r = {.m = m};
	size_t n = 0;
	int err = listeners_dump(netns_fd, &ls, &n);

	if (err)
		return err;
	claims = calloc(n + 1, sizeof(*claims));
	if (!claims)
		return log_err_r(ENOMEM, "listeners");
	r.claims = claims;
	claim_all(&r, ls, n);
	err = fetch_missing(&r, netns_fd);
	settle_health(&r);
	return err;
}
