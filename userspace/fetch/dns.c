/* SPDX-License-Identifier: Apache-2.0 */
#include "dns.h"

/* c-ares 1.34 deprecates ares_set_socket_functions() for one that 1.18 (Debian 12) does not have.
 */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <assert.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../net/netns.h"

/* A server has 2 s, and each is tried twice, the second time for longer. */
#define TIMEOUT_MS 2000
#define TRIES      2
#define TICK_MS    200 /* so often c-ares looks for questions that took too long */

#define SERVERS_SIZE (8 * ADDR_TEXT_SIZE)

/* A socket of c-ares. */
struct watch {
	uv_poll_t poll;
	struct dns *owner;
	struct watch *next;
	int fd;
};

struct dns {
	uv_loop_t *loop;
	uv_timer_t timer;
	int netns_fd;
	ares_channel channel;
	bool there; /* the channel is */
	bool ending;
	size_t open; /* questions */
	struct watch *watches;
};

struct question {
	struct dns *owner;
	dns_done done;
	void *arg;
};

/* ---- sockets --------------------------------------------------------------------- */

static ares_socket_t dns_make_socket(int domain, int type, int protocol, void *arg)
{
	const struct dns *d = arg;
	int fd = netns_socket_quiet(d->netns_fd, domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK,
				    protocol);

	if (fd < 0)
		errno = -fd;
	return fd < 0 ? -1 : fd;
}

static int dns_close_socket(ares_socket_t fd, void *arg)
{
	(void)arg;
	return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t size,
			  void *arg)
{
	(void)arg;
	return connect(fd, to, size);
}

static ares_ssize_t receive(ares_socket_t fd, void *data, size_t size, int flags,
			    struct sockaddr *from, ares_socklen_t *from_size, void *arg)
{
	(void)arg;
	return recvfrom(fd, data, size, flags, from, from_size);
}

/* A server that closes its end must not end the daemon. */
static ares_ssize_t send_data(ares_socket_t fd, const struct iovec *data, int count, void *arg)
{
	const struct msghdr m = {.msg_iov = (struct iovec *)data, .msg_iovlen = (size_t)count};

	(void)arg;
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static const struct ares_socket_functions socket_functions = {
	.asocket = dns_make_socket,
	.aclose = dns_close_socket,
	.aconnect = connect_socket,
	.arecvfrom = receive,
	.asendv = send_data,
};

static void dns_on_socket(uv_poll_t *p, int status, int events)
{
	const struct watch *w = p->data;
	int fd = w->fd;
	bool in = status < 0 || events & UV_READABLE, out = status < 0 || events & UV_WRITABLE;

	ares_process_fd(w->owner->channel, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
}

static void dns_free_watch(uv_handle_t *h)
{
	free(h->data);
}

static void dns_drop_watch(struct dns *d, struct watch **at)
{
	struct watch *w = *at;

	(void)d;
	*at = w->next;
	uv_close((uv_handle_t *)&w->poll, dns_free_watch);
}

static struct watch **dns_find_watch(struct dns *d, int fd)
{
	struct watch **at = &d->watches;

	while (*at && (*at)->fd != fd)
		at = &(*at)->next;
	return at;
}

/* c-ares closes a socket only after it was told here that nothing is wanted of it. */
static void want(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns *d = arg;
	struct watch **at = dns_find_watch(d, fd), *w = *at;

	if (!readable && !writable) {
		if (w)
			dns_drop_watch(d, at);
		return;
	}
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w || uv_poll_init(d->loop, &w->poll, fd)) {
			free(w); /* the question takes too long, and fails */
			return;
		}
		w->poll.data = w;
		w->owner = d;
		w->fd = fd;
		w->next = d->watches;
		d->watches = w;
	}
	uv_poll_start(&w->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
		      dns_on_socket);
}

/* ---- questions ------------------------------------------------------------------- */

static void dns_on_tick(uv_timer_t *t)
{
	struct dns *d = t->data;

	ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static const char *error_text(int status)
{
	switch (status) {
	case ARES_SUCCESS:
	case ARES_ENODATA:
		return NULL;
	case ARES_ENOTFOUND:
		return "there is no such name (NXDOMAIN)";
	case ARES_ESERVFAIL:
		return "the DNS server failed (SERVFAIL)";
	case ARES_EREFUSED:
		return "the DNS server refuses to answer (REFUSED)";
	case ARES_ETIMEOUT:
		return "no DNS server answers";
	case ARES_ECONNREFUSED:
		return "no DNS server can be reached, or each of them failed";
	case ARES_EBADRESP:
	case ARES_EFORMERR:
		return "the DNS server's answer makes no sense";
	case ARES_ECANCELLED:
	case ARES_EDESTRUCTION:
		return "the DNS servers changed meanwhile";
	}
	return "the question could not be asked";
}

static bool take_node(const struct ares_addrinfo_node *n, struct addr *out)
{
	if (n->ai_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)n->ai_addr;

		addr_from_v4(out, in->sin_addr.s_addr);
		return true;
	}
	if (n->ai_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)n->ai_addr;

		memcpy(out->bytes, &in->sin6_addr, sizeof(out->bytes));
		return true;
	}
	return false;
}

/* Sets r->addresses, which the caller frees. */
static void take_answer(const struct ares_addrinfo *from, struct dns_result *r)
{
	struct addr *all;
	size_t count = 0;
	int ttl = INT32_MAX;

	for (const struct ares_addrinfo_node *n = from->nodes; n; n = n->ai_next)
		count++;
	all = calloc(count + 1, sizeof(*all));
	if (!all) {
		r->error = "out of memory";
		return;
	}
	for (const struct ares_addrinfo_node *n = from->nodes; n; n = n->ai_next)
		if (take_node(n, &all[r->count])) {
			r->count++;
			ttl = MIN(ttl, n->ai_ttl);
		}
	for (const struct ares_addrinfo_cname *c = from->cnames; c; c = c->next)
		ttl = MIN(ttl, c->ttl);
	r->ttl_s = r->count ? (uint32_t)MAX(ttl, 0) : 0;
	r->addresses = all;
}

static void dns_on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *answer)
{
	_cleanup_free_ struct question *q = arg;
	struct dns_result r = {.error = error_text(status)};
	struct dns *d = q->owner;

	(void)timeouts;
	if (!r.error && answer)
		take_answer(answer, &r);
	ares_freeaddrinfo(answer);
	if (!--d->open)
		uv_timer_stop(&d->timer);
	if (!d->ending)
		q->done(q->arg, &r);
	free((void *)r.addresses);
}

void dns_ask(struct dns *d, const char *host, bool v4, dns_done done, void *arg)
{
	/* Numbers are no names, and the order of addresses is the caller's business. */
	const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT,
		.ai_family = v4 ? AF_INET : AF_INET6,
		.ai_socktype = SOCK_STREAM,
	};
	struct question *q = d->there ? calloc(1, sizeof(*q)) : NULL;

	if (!q) {
		const struct dns_result r = {
			.error = d->there ? "out of memory"
					  : "no DNS server is known: see node.nameservers"};

		done(arg, &r);
		return;
	}
	*q = (struct question){.owner = d, .done = done, .arg = arg};
	if (!d->open++)
		uv_timer_start(&d->timer, dns_on_tick, TICK_MS, TICK_MS);
	ares_getaddrinfo(d->channel, host, NULL, &hints, dns_on_answer, q);
}

/* ---- life ------------------------------------------------------------------------ */

static void channel_free(struct dns *d)
{
	if (d->there)
		ares_destroy(d->channel);
	d->there = false;
}

/* "10.0.0.53:53,[fd00::53]:5353" */
static void list_servers(const struct endpoint_addr *servers, size_t count, char *to)
{
	char text[ADDR_TEXT_SIZE];
	size_t n = 0;

	to[0] = '\0';
	for (size_t i = 0; i < count && n < SERVERS_SIZE; i++)
		n += (size_t)snprintf(to + n, SERVERS_SIZE - n, "%s%s", i ? "," : "",
				      addr_format_endpoint(&servers[i], text));
}

int dns_use(struct dns *d, const struct endpoint_addr *servers, size_t count)
{
	char list[SERVERS_SIZE], lookups[] = "b"; /* DNS, and no file */
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH,
		.timeout = TIMEOUT_MS,
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = want,
		.sock_state_cb_data = d,
	};
	int status;

	channel_free(d);
	status = ares_init_options(&d->channel, &options,
				   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
					   ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS |
					   ARES_OPT_SOCK_STATE_CB);
	if (status)
		return log_err_r(EIO, "DNS: %s", ares_strerror(status));
	d->there = true;
	ares_set_socket_functions(d->channel, &socket_functions, d);
	list_servers(servers, count, list);
	status = count ? ares_set_servers_ports_csv(d->channel, list) : ARES_SUCCESS;
	if (!status)
		return 0;
	channel_free(d);
	return log_err_r(EIO, "DNS servers %s: %s", list, ares_strerror(status));
}

int dns_new(uv_loop_t *loop, int netns_fd, struct dns **out)
{
	struct dns *d = calloc(1, sizeof(*d));

	if (!d || ares_library_init(ARES_LIB_INIT_ALL)) {
		free(d);
		return log_err_r(ENOMEM, "DNS");
	}
	d->loop = loop;
	d->netns_fd = netns_fd;
	uv_timer_init(loop, &d->timer);
	d->timer.data = d;
	*out = d;
	return 0;
}

static void free_dns(uv_handle_t *h)
{
	free(h->data);
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	d->ending = true;
	channel_free(d);
	ares_library_cleanup();
	assert(!d->open && !d->watches);
	uv_close((uv_handle_t *)&d->timer, free_dns);
}
