/* SPDX-License-Identifier: Apache-2.0 */
#include "hosts.h"

#include <assert.h>
#include <arpa/inet.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../fetch/dns.h"
#include "../../maps/state.h"
#include "../../net/netns.h"

/* An answer that may not be kept at all (TTL 0) is kept for a moment: each question is work for a
 * DNS server, and each change a new configuration. A wrong or forged answer, which may claim a TTL
 * of a week, is asked for again after minutes. */
#define TTL_LEAST_S 5
#define TTL_MOST_S  300
#define TTL_NONE_S  60 /* of an answer without addresses, whose TTL c-ares does not tell */
/* After an answer that was not good: 5 s, and twice as long each time in a row. */
#define RETRY_S      5
#define RETRY_MOST_S 60
#define TICK_MS      1000
#define SETTLE_MS    50 /* both families' answers come together */
#define TELL_NS      (60 * NSEC_PER_SEC)

/* Of one family. More addresses than may become endpoints: some are left out. */
#define MAX_ADDRESSES (2 * CONFIG_HOST_ADDRESSES)

#define RESOLV_CONF "/etc/resolv.conf"

enum { V4, V6, FAMILIES };

struct host;

/* A host's addresses of one family. */
struct family {
	struct host *host;
	bool wanted, asked, open; /* open: the question is */
	uint64_t due_ns;
	unsigned int failures; /* in a row */
	const char *error;     /* of the newest answer; NULL: it was good, or none came */
	uint32_t ttl_s;
	struct config_address all[MAX_ADDRESSES];
	size_t count;
};

struct host {
	struct hosts *owner;
	struct host *next;
	char *name;
	bool keep;
	struct family of[FAMILIES];
	/* The answer, and the one that was applied last. */
	struct config_address all[FAMILIES * MAX_ADDRESSES], applied[FAMILIES * MAX_ADDRESSES];
	size_t count, applied_count;
	const char *error; /* why the newest answers are not good; NULL: they are */
	uint64_t answered_ns, failing_ns, errors;
};

struct hosts {
	uv_loop_t *loop;
	uv_timer_t tick, settle;
	int handles; /* of these that are open */
	int netns_fd;
	struct dns *dns; /* NULL: not started */
	const struct maps *m;
	void (*changed)(void *arg);
	void *arg;
	struct host *all;
	struct config_answer *answers;
	size_t answer_room;
	const struct config *config;
	const struct publication *publication;
	struct endpoint_addr servers[8]; /* that are asked; none: those of the file below */
	size_t server_count;
	bool served; /* dns_use() was called */
	struct timespec resolv_conf;
	struct pintle_host rows[PINTLE_MAX_HOSTS]; /* as in the map */
	size_t row_count;
	uint64_t told_ns[PINTLE_MAX_HOSTS];
};

/* ---- addresses ------------------------------------------------------------------- */

static int hosts_by_address(const void *left, const void *right)
{
	return memcmp(&((const struct config_address *)left)->ip,
		      &((const struct config_address *)right)->ip, sizeof(struct addr));
}

static size_t sort_addresses(struct config_address *all, size_t count)
{
	size_t kept = 0;

	if (count)
		qsort(all, count, sizeof(*all), hosts_by_address);
	for (size_t i = 0; i < count; i++)
		if (!kept || hosts_by_address(&all[kept - 1], &all[i]))
			all[kept++] = all[i];
	return kept;
}

/* A connection to an address of this node would come from that address. Nothing is sent. */
static bool hosts_is_own(int netns_fd, const struct addr *ip)
{
	bool v4 = addr_is_v4(ip);
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(53)}, from = {0};
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(53)};
	const struct sockaddr_in *from4 = (const void *)&from;
	socklen_t size = sizeof(from);
	_cleanup_close_ int fd = netns_socket_quiet(netns_fd, v4 ? AF_INET : AF_INET6,
						    SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(&to.sin6_addr, ip->bytes, sizeof(to.sin6_addr));
	memcpy(&to4.sin_addr, ip->bytes + 12, sizeof(to4.sin_addr));
	if (fd < 0 ||
	    connect(fd, v4 ? (const void *)&to4 : (const void *)&to, v4 ? sizeof(to4) : sizeof(to)))
		return false;
	if (getsockname(fd, (struct sockaddr *)&from, &size))
		return false;
	return v4 ? from4->sin_addr.s_addr == to4.sin_addr.s_addr
		  : !memcmp(&from.sin6_addr, &to.sin6_addr, sizeof(to.sin6_addr));
}

/* ---- answers --------------------------------------------------------------------- */

static uint64_t hosts_seconds(uint64_t s)
{
	return s * NSEC_PER_SEC;
}

/* Nodes that were started together do not ask together: up to a tenth later. Not sooner, because a
 * server that keeps the answer itself would give the same one with the rest of its TTL. */
static uint64_t hosts_jitter(uint64_t ns)
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = monotonic_ns();
	return ns + random % (ns / 10 + NSEC_PER_SEC);
}

static void family_failed(struct family *f, const char *error)
{
	uint64_t wait = (uint64_t)RETRY_S << MIN(f->failures, 4U);

	f->failures++;
	f->error = error;
	f->due_ns = monotonic_ns() + hosts_jitter(hosts_seconds(MIN(wait, (uint64_t)RETRY_MOST_S)));
}

static void family_answered(struct family *f, const struct dns_result *r)
{
	_cleanup_free_ struct config_address *all = calloc(r->count + 1, sizeof(*all));
	uint32_t ttl = r->count ? r->ttl_s : TTL_NONE_S;

	if (!all) {
		family_failed(f, "out of memory");
		return;
	}
	for (size_t i = 0; i < r->count; i++)
		all[i].ip = r->addresses[i];
	f->count = MIN(sort_addresses(all, r->count), (size_t)MAX_ADDRESSES);
	for (size_t i = 0; i < f->count; i++) {
		f->all[i] = all[i];
		f->all[i].own = hosts_is_own(f->host->owner->netns_fd, &all[i].ip);
	}
	f->failures = 0;
	f->error = NULL;
	ttl = MAX(ttl, (uint32_t)TTL_LEAST_S);
	f->ttl_s = MIN(ttl, (uint32_t)TTL_MOST_S);
	f->due_ns = monotonic_ns() + hosts_jitter(hosts_seconds(f->ttl_s));
}

static void host_tell(const struct host *h, const char *former)
{
	if (h->error && !former)
		log_warn("%s: %s; going on with %zu address%s", h->name, h->error, h->count,
			 h->count == 1 ? "" : "es");
	else if (!h->error && former)
		log_info("%s: DNS answers again", h->name);
}

/* Takes both families' addresses, unless there are none. */
static void host_merge(struct host *h)
{
	struct config_address all[FAMILIES * MAX_ADDRESSES];
	const char *former = h->error;
	size_t count = 0;

	h->error = NULL;
	for (int i = 0; i < FAMILIES; i++) {
		const struct family *f = &h->of[i];

		if (!f->wanted)
			continue;
		h->error = h->error ?: f->error;
		memcpy(all + count, f->all, f->count * sizeof(*all));
		count += f->count;
	}
	if (!count && !h->error)
		h->error = "the host has no address";
	host_tell(h, former);
	if (count) {
		memcpy(h->all, all, count * sizeof(*all));
		h->count = count;
	}
}

static bool same_addresses(const struct host *h)
{
	if (h->count != h->applied_count)
		return false;
	for (size_t i = 0; i < h->count; i++)
		if (hosts_by_address(&h->all[i], &h->applied[i]) ||
		    h->all[i].own != h->applied[i].own)
			return false;
	return true;
}

static void rows_write(struct hosts *x);

static void hosts_on_settle(uv_timer_t *t)
{
	struct hosts *x = t->data;

	rows_write(x);
	for (const struct host *h = x->all; h; h = h->next)
		if (h->keep && !same_addresses(h)) {
			x->changed(x->arg);
			return;
		}
}

static bool hosts_is_open(const struct host *h)
{
	return h->of[V4].open || h->of[V6].open;
}

static void drop_host(struct host **at)
{
	struct host *h = *at;

	*at = h->next;
	free(h->name);
	free(h);
}

/* Frees hosts that no configuration names, once their questions are answered. */
static void drop_hosts(struct hosts *x)
{
	struct host **at = &x->all;

	while (*at)
		if ((*at)->keep || hosts_is_open(*at))
			at = &(*at)->next;
		else
			drop_host(at);
}

static void hosts_on_answer(void *arg, const struct dns_result *r)
{
	struct family *f = arg;
	struct host *h = f->host;
	struct hosts *x = h->owner;
	uint64_t now = monotonic_ns();

	f->open = false;
	f->asked = true;
	if (r->error)
		family_failed(f, r->error);
	else
		family_answered(f, r);
	host_merge(h);
	if (h->error) {
		h->errors++;
		h->failing_ns = h->failing_ns ?: now;
	} else {
		h->answered_ns = now;
		h->failing_ns = 0;
	}
	/* Hosts that are gone go at the next tick: the caller's list is being walked perhaps. */
	if (h->keep && !uv_is_active((uv_handle_t *)&x->settle))
		uv_timer_start(&x->settle, hosts_on_settle, SETTLE_MS, 0);
}

/* ---- questions ------------------------------------------------------------------- */

static void use_servers(struct hosts *x)
{
	struct stat st = {0};

	stat(RESOLV_CONF, &st);
	if (x->served && (x->server_count || (st.st_mtim.tv_sec == x->resolv_conf.tv_sec &&
					      st.st_mtim.tv_nsec == x->resolv_conf.tv_nsec)))
		return;
	x->resolv_conf = st.st_mtim;
	x->served = true;
	dns_use(x->dns, x->servers, x->server_count);
}

static void hosts_ask(struct hosts *x)
{
	uint64_t now = monotonic_ns();

	for (struct host *h = x->all; h; h = h->next)
		for (int i = 0; i < FAMILIES; i++) {
			struct family *f = &h->of[i];

			if (!h->keep || !f->wanted || f->open || now < f->due_ns)
				continue;
			f->open = true;
			dns_ask(x->dns, h->name, i == V4, hosts_on_answer, f);
		}
}

static void hosts_on_tick(uv_timer_t *t)
{
	struct hosts *x = t->data;

	drop_hosts(x);
	if (!x->all) {
		uv_timer_stop(t);
		return;
	}
	use_servers(x);
	hosts_ask(x);
}

/* ---- what is configured ---------------------------------------------------------- */

static struct host *find_host(const struct hosts *x, const char *name)
{
	struct host *h = x->all;

	while (h && strcmp(h->name, name) != 0)
		h = h->next;
	return h;
}

static struct host *need_host(struct hosts *x, const char *name)
{
	struct host *h = find_host(x, name);

	if (h)
		return h;
	h = calloc(1, sizeof(*h));
	if (!h || !(h->name = strdup(name))) {
		free(h);
		log_err_r(ENOMEM, "%s is not asked for", name);
		return NULL;
	}
	h->owner = x;
	for (int i = 0; i < FAMILIES; i++)
		h->of[i].host = h;
	h->next = x->all;
	x->all = h;
	return h;
}

static void want_hosts(struct hosts *x, const struct config *c)
{
	for (struct host *h = x->all; h; h = h->next)
		h->keep = h->of[V4].wanted = h->of[V6].wanted = false;
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t k = 0; k < c->pools[i].host_count; k++) {
			struct host *h = need_host(x, c->pools[i].hosts[k].as.host);

			if (!h)
				continue;
			h->keep = true;
			h->of[V4].wanted |= config_pool_takes(&c->pools[i], true);
			h->of[V6].wanted |= config_pool_takes(&c->pools[i], false);
		}
}

static void take_servers(struct hosts *x, const struct config *c)
{
	size_t n = MIN(c->nameserver_count, ARRAY_SIZE(x->servers));
	bool same = n == x->server_count;

	for (size_t i = 0; same && i < n; i++)
		same = x->servers[i].port == c->nameservers[i].port &&
		       !memcmp(&x->servers[i].ip, &c->nameservers[i].ip, sizeof(struct addr));
	if (same)
		return;
	memcpy(x->servers, c->nameservers, n * sizeof(*x->servers));
	x->server_count = n;
	x->served = false;
}

/* ---- what is said ---------------------------------------------------------------- */

static struct pintle_host hosts_row_of(const struct hosts *x, size_t pool,
				       const struct config_host *c)
{
	const struct host *h = find_host(x, c->as.host);
	struct pintle_host row = {
		.pool = x->publication->pools[pool].ref.id,
		.pool_generation = x->publication->pools[pool].ref.generation,
		.port = c->as.address.port,
		.addresses = (uint32_t)c->taken,
		.left = (uint32_t)c->left,
	};
	char text[ADDR_TEXT_SIZE];

	snprintf(row.name, sizeof(row.name), "%s", c->as.name);
	snprintf(row.host, sizeof(row.host), "%s", c->as.host);
	if (c->left)
		snprintf(row.why, sizeof(row.why), "%s %s", addr_format_ip(&c->one, text),
			 config_left_text(c->why));
	if (!h)
		return row;
	row.ttl_s = MAX(h->of[V4].ttl_s, h->of[V6].ttl_s);
	row.answered_ns = h->answered_ns;
	row.failing_ns = h->failing_ns;
	row.errors = h->errors;
	if (h->error)
		snprintf(row.why, sizeof(row.why), "%s", h->error);
	return row;
}

/* A name whose addresses change all the time is told of once a minute. */
static void row_tell(struct hosts *x, size_t at, const struct config_pool *p,
		     const struct pintle_host *row)
{
	const struct pintle_host *former = &x->rows[at];
	uint64_t now = monotonic_ns();

	if (!row->left || row->failing_ns || !strcmp(former->why, row->why) ||
	    (x->told_ns[at] && now - x->told_ns[at] < TELL_NS))
		return;
	x->told_ns[at] = now;
	log_warn("%s/%s: %u of the addresses of %s %s left out: %s", p->name, row->name, row->left,
		 row->host, row->left == 1 ? "is" : "are", row->why);
}

static void row_put(struct hosts *x, size_t at, const struct pintle_host *row)
{
	uint32_t key = (uint32_t)at;

	if (!memcmp(&x->rows[at], row, sizeof(*row)))
		return;
	x->rows[at] = *row;
	maps_put(x->m, MAP_hosts, &key, row);
}

static void rows_write(struct hosts *x)
{
	static const struct pintle_host none;
	size_t n = 0;

	if (!x->config)
		return;
	for (size_t i = 0; i < x->config->pool_count; i++) {
		const struct config_pool *p = &x->config->pools[i];

		for (size_t k = 0; k < p->host_count && n < PINTLE_MAX_HOSTS; k++, n++) {
			const struct pintle_host row = hosts_row_of(x, i, &p->hosts[k]);

			row_tell(x, n, p, &row);
			row_put(x, n, &row);
		}
	}
	for (size_t i = n; i < x->row_count; i++)
		row_put(x, i, &none);
	x->row_count = n;
}

/* ---- configurations -------------------------------------------------------------- */

void hosts_configure(struct hosts *x, const struct config *c, const struct publication *pub)
{
	assert(x->loop && pub->pool_count == c->pool_count /* hosts_start() was called */);
	x->config = c;
	x->publication = pub;
	for (struct host *h = x->all; h; h = h->next) {
		memcpy(h->applied, h->all, sizeof(h->applied));
		h->applied_count = h->count;
	}
	want_hosts(x, c);
	take_servers(x, c);
	rows_write(x);
	if (x->all && !uv_is_active((uv_handle_t *)&x->tick))
		uv_timer_start(&x->tick, hosts_on_tick, 0, TICK_MS);
}

void hosts_refused(struct hosts *x)
{
	for (struct host *h = x->all; h; h = h->next) {
		memcpy(h->all, h->applied, sizeof(h->all));
		h->count = h->applied_count;
	}
}

const struct config_answer *hosts_answers(struct hosts *x, size_t *n)
{
	*n = 0;
	for (const struct host *h = x->all; h; h = h->next) {
		if (!h->count)
			continue;
		if (!ROOM_FOR_ONE(x->answers, *n, x->answer_room, 8))
			break;
		x->answers[(*n)++] =
			(struct config_answer){.host = h->name, .all = h->all, .count = h->count};
	}
	return x->answers;
}

bool hosts_first_round_over(const struct hosts *x)
{
	for (const struct host *h = x->all; h; h = h->next)
		for (int i = 0; i < FAMILIES; i++)
			if (h->keep && h->of[i].wanted && !h->of[i].asked)
				return false;
	return true;
}

/* ---- life ------------------------------------------------------------------------ */

/* The name of the endpoint that names the host, and "@", begin the names of its addresses. */
static bool hosts_is_of(const struct state *s, const struct state_endpoint *e, const char *pool,
			const char *name)
{
	size_t length = strlen(name);

	return !strcmp(s->pools[e->pool].name, pool) && !strncmp(e->name, name, length) &&
	       e->name[length] == '@';
}

static void restore_host(struct host *h, const struct state *s, const char *pool, const char *name)
{
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[i];
		struct family *f = &h->of[addr_is_v4(&e->addr.ip) ? V4 : V6];

		if (hosts_is_of(s, e, pool, name) && f->count < MAX_ADDRESSES)
			f->all[f->count++] = (struct config_address){.ip = e->addr.ip};
	}
	for (int i = 0; i < FAMILIES; i++) {
		struct family *f = &h->of[i];

		f->count = sort_addresses(f->all, f->count);
		memcpy(h->all + h->count, f->all, f->count * sizeof(*f->all));
		h->count += f->count;
	}
}

void hosts_restore(struct hosts *x, const struct config *c, const struct state *s)
{
	want_hosts(x, c);
	for (size_t i = 0; s && i < c->pool_count; i++)
		for (size_t k = 0; k < c->pools[i].host_count; k++) {
			const struct config_endpoint *as = &c->pools[i].hosts[k].as;
			struct host *h = find_host(x, as->host);

			if (h && !h->count)
				restore_host(h, s, c->pools[i].name, as->name);
		}
}

int hosts_start(struct hosts *x, const struct ground *g, void (*changed)(void *arg), void *arg)
{
	int err = dns_new(g->loop, g->netns_fd, &x->dns);

	if (err)
		return err;
	x->loop = g->loop;
	x->netns_fd = g->netns_fd;
	x->m = g->maps;
	x->changed = changed;
	x->arg = arg;
	uv_timer_init(x->loop, &x->tick);
	uv_timer_init(x->loop, &x->settle);
	x->tick.data = x->settle.data = x;
	x->handles = 2;
	/* A former daemon's rows go. */
	for (uint32_t i = 0; !err && i < PINTLE_MAX_HOSTS; i++)
		err = maps_put(x->m, MAP_hosts, &i, &x->rows[i]);
	return err;
}

int hosts_new(struct hosts **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : log_err_r(ENOMEM, "hosts");
}

static void release(struct hosts *x)
{
	free(x->answers);
	free(x);
}

/* The last handle that is closed frees all. */
static void hosts_on_close(uv_handle_t *handle)
{
	struct hosts *x = handle->data;

	if (!--x->handles)
		release(x);
}

void hosts_free(struct hosts *x)
{
	if (!x)
		return;
	dns_free(x->dns);
	while (x->all)
		drop_host(&x->all);
	if (!x->handles) {
		release(x);
		return;
	}
	uv_close((uv_handle_t *)&x->tick, hosts_on_close);
	uv_close((uv_handle_t *)&x->settle, hosts_on_close);
}
