/* SPDX-License-Identifier: Apache-2.0 */
/*
 * noun_events.c - follows the ring `tap`. The kernel fills the ring only while a lease runs, which
 * the follower renews every second: 3 seconds after a follower is killed, events cost nothing any
 * more. A record that is read is gone, so there is one follower at a time, which holds a lock on
 * the pins' directory.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>

#include "../base/log.h"
#include "../maps/names.h"
#include "output.h"
#include "traits.bpf.h"

#define LEASE_NS  (3 * NSEC_PER_SEC)
#define RENEW_NS  NSEC_PER_SEC
#define TICK_MSEC 200 /* the follower ends at most so long after a signal */

struct follower {
	const struct cli *cli;
	struct maps *m;
	struct state *s;        /* renewed with the lease, for names */
	struct state_pod *pods; /* likewise */
	size_t pod_count;
	const char *pool_name;
	uint64_t since_ns; /* records before this were left by an earlier follower */
	uint64_t renewed_ns;
	bool broken; /* stdout takes no more */
};

/* An event, with its pool and endpoint if they still exist. */
struct event_row {
	const struct pintle_event *e;
	const struct state *s;
	const struct state_pool *pool;
	const struct state_endpoint *endpoint;
	const struct state_pod *pod; /* the client; NULL: none that is known */
};

static volatile sig_atomic_t stopping;

static void stop(int signal_number)
{
	(void)signal_number;
	stopping = 1;
}

/* ---- columns --------------------------------------------------------------------- */

#define GET(name)    GETTER(name, const struct event_row *r, const void *arg)
#define COLUMN(name) .get = get_##name

static struct value value_address(const uint8_t *address, uint16_t port)
{
	char text[ADDR_TEXT_SIZE];
	struct addr ip;

	memcpy(ip.bytes, address, sizeof(ip.bytes));
	return value_text(addr_format(&ip, port, text));
}

/* Whether the event is about an endpoint, not about a connection. */
static bool is_of_endpoint(const struct event_row *r)
{
	return r->e->type == PINTLE_EVENT_EJECTED || r->e->type == PINTLE_EVENT_RESTORED;
}

static bool is_closed(const struct event_row *r)
{
	return r->e->type == PINTLE_EVENT_CLOSED;
}

GET(time)
{
	char when[WORDS_SIZE];

	return value_text(wall_rfc3339(r->e->time_ns, when));
}

GET(monotonic)
{
	return value_count(r->e->time_ns);
}

GET(event)
{
	static const char *const types[] = {
		[PINTLE_EVENT_CLOSED] = "closed",
		[PINTLE_EVENT_DECIDED] = "decided",
		[PINTLE_EVENT_EJECTED] = "ejected",
		[PINTLE_EVENT_RESTORED] = "restored",
	};
	uint32_t type = r->e->type;

	return value_text(type < ARRAY_SIZE(types) && types[type] ? types[type] : "unknown");
}

GET(pool)
{
	return r->pool ? value_text(r->pool->name) : value_none();
}

GET(endpoint)
{
	return r->endpoint ? value_text(r->endpoint->name) : value_none();
}

GET(hook)
{
	return r->e->hook && r->e->hook < PINTLE_HOOK_COUNT ? value_text(hook_name(r->e->hook))
							    : value_none();
}

GET(failure)
{
	return hook_has(r->e->hook, PINTLE_TRAIT_FAILURES) && r->e->failure < PINTLE_FAILURE_COUNT
		       ? value_text(failure_name(r->e->failure))
		       : value_none();
}

GET(outcome)
{
	/* A connection whose decision was forgotten has none. */
	return r->e->outcome < PINTLE_OUTCOME_COUNT ? value_text(outcome_name(r->e->outcome))
						    : value_none();
}

GET(class)
{
	if (!r->pool || is_of_endpoint(r) || r->e->class_id >= r->pool->class_count ||
	    r->e->outcome == PINTLE_OUTCOME_FORBIDDEN)
		return value_none();
	return value_text(r->pool->classes[r->e->class_id].name);
}

GET(client)
{
	return is_of_endpoint(r) ? value_none()
				 : value_address(r->e->tuple.remote, r->e->tuple.remote_port);
}

GET(client_pod)
{
	char text[STATE_POD_SIZE];

	if (!r->pod)
		return value_none();
	snprintf(text, sizeof(text), "%s/%s", r->pod->space_name, r->pod->name);
	return value_text(text);
}

GET(frontend)
{
	return is_of_endpoint(r) ? value_none()
				 : value_address(r->e->tuple.local, r->e->tuple.local_port);
}

GET(duration_seconds)
{
	return value_number(VALUE_SECONDS, (double)r->e->duration_ns / (double)NSEC_PER_SEC,
			    is_closed(r) || r->e->type == PINTLE_EVENT_EJECTED);
}

GET(bytes_received)
{
	return is_closed(r) ? value_count(r->e->bytes_received) : value_none();
}

GET(bytes_acknowledged)
{
	return is_closed(r) ? value_count(r->e->bytes_acknowledged) : value_none();
}

GET(srtt_us)
{
	return is_closed(r) ? value_count(r->e->srtt_us) : value_none();
}

GET(error)
{
	return r->e->error && r->e->error < 4096 ? value_text(strerror((int)r->e->error))
						 : value_none();
}

GET(lost)
{
	return value_count(r->e->lost);
}

static const struct column columns[] = {
	{.key = "time", COLUMN(time), .help = "text: RFC 3339 time"},
	{.key = "monotonic_ns",
	 COLUMN(monotonic),
	 .help = "the same on the kernel's monotonic clock"},
	{.key = "event", COLUMN(event), .help = "text: closed, decided, ejected, restored"},
#define X(symbol, name, ...) name ", "
	{.key = "hook", COLUMN(hook), .help = "text: " PINTLE_HOOKS(X) "or null: unknown"},
#undef X
	{.key = "pool", COLUMN(pool), .help = "text: name of the pool; null: gone"},
	{.key = "endpoint", COLUMN(endpoint), .help = "text: its name; null: none, or gone"},
	{.key = "outcome", COLUMN(outcome), .help = "text: why it went there; null: forgotten"},
	{.key = "class",
	 COLUMN(class),
	 .help = "text: the class that has the connection's place now; null: none"},
	{.key = "client",
	 COLUMN(client),
	 .help = "text: address and port; null: ejected, restored"},
	{.key = "client_pod",
	 COLUMN(client_pod),
	 .help = "text: the pod with that address, NAMESPACE/NAME; null: none of this node"},
	{.key = "frontend",
	 COLUMN(frontend),
	 .help = "text: address and port it connected to; null likewise"},
	{.key = "duration_seconds",
	 COLUMN(duration_seconds),
	 .help = "from established (at clients' sockets: its SYN) to closed; of an ejection; or null"},
	{.key = "failure",
	 COLUMN(failure),
	 .help = "text: how the endpoint failed its client: refused, unanswered, unreachable, reset; "
		 "or null"},
	{.key = "bytes_received",
	 COLUMN(bytes_received),
	 .help = "from the client; this and the next: null unless closed"},
	{.key = "bytes_acknowledged", COLUMN(bytes_acknowledged), .help = "by the client"},
	{.key = "srtt_us", COLUMN(srtt_us), .help = "smoothed round-trip time, microseconds"},
	{.key = "error", COLUMN(error), .help = "text: what ended it; null: in order"},
	{.key = "lost",
	 COLUMN(lost),
	 .help = "events that found no room, since the programs were loaded"},
};
static const struct columns events_columns = COLUMNS(columns);

/* ---- one event ------------------------------------------------------------------- */

static const struct state_pod *pod_at(const struct follower *f, const uint8_t address[16])
{
	struct addr ip;

	memcpy(ip.bytes, address, sizeof(ip.bytes));
	for (size_t i = 0; !addr_is_any(&ip) && i < f->pod_count; i++)
		for (size_t k = 0; k < ARRAY_SIZE(f->pods[i].addresses); k++)
			if (!memcmp(&f->pods[i].addresses[k], &ip, sizeof(ip)))
				return &f->pods[i];
	return NULL;
}

static struct event_row event_row_of(const struct follower *f, const struct pintle_event *e)
{
	struct event_row r = {.e = e, .s = f->s};

	for (size_t i = 0; i < f->s->pool_count && !r.pool; i++) {
		const struct state_pool *p = &f->s->pools[i];

		if (p->id == e->pool && p->generation == e->pool_generation)
			r.pool = p;
	}
	for (size_t i = 0; i < f->s->endpoint_count && !r.endpoint; i++) {
		const struct state_endpoint *x = &f->s->endpoints[i];

		if (x->id == e->endpoint && x->generation == e->generation)
			r.endpoint = x;
	}
	if (!is_of_endpoint(&r))
		r.pod = pod_at(f, e->tuple.remote);
	return r;
}

static void print_text(const struct follower *f, const struct event_row *r)
{
	const struct pintle_event *e = r->e;
	char when[WORDS_SIZE], name[ENDPOINT_NAME_SIZE] = "-";
	bool failed = e->error || e->type == PINTLE_EVENT_EJECTED ||
		      (!is_of_endpoint(r) && (e->outcome == PINTLE_OUTCOME_NO_ENDPOINT ||
					      e->outcome == PINTLE_OUTCOME_REFUSED ||
					      e->outcome == PINTLE_OUTCOME_DIVERTED ||
					      e->outcome == PINTLE_OUTCOME_FORBIDDEN));

	wall_text(e->time_ns, when);
	if (r->endpoint)
		endpoint_name(f->s, r->endpoint, name);
	else if (r->pool)
		snprintf(name, sizeof(name), "%s/-", r->pool->name);
	printf("%s  %s%-8s%s  %s", when, tone_begin(f->cli, failed ? TONE_BAD : TONE_PLAIN),
	       get_event(r, NULL).text, tone_end(f->cli, failed ? TONE_BAD : TONE_PLAIN), name);
	if (!is_of_endpoint(r))
		printf("  %s  %s%s%s -> %s",
		       e->outcome < PINTLE_OUTCOME_COUNT ? outcome_name(e->outcome) : "-",
		       get_client(r, NULL).text, r->pod ? " " : "",
		       r->pod ? get_client_pod(r, NULL).text : "", get_frontend(r, NULL).text);
	if (get_class(r, NULL).kind == VALUE_TEXT)
		printf("  class %s", get_class(r, NULL).text);
	if (is_closed(r))
		printf("  %.3f s  %llu B in  %llu B out  rtt %.1f ms",
		       (double)e->duration_ns / (double)NSEC_PER_SEC, e->bytes_received,
		       e->bytes_acknowledged, e->srtt_us / 1000.0);
	if (e->type == PINTLE_EVENT_EJECTED)
		printf("  for %.1f s", (double)e->duration_ns / (double)NSEC_PER_SEC);
	if (get_failure(r, NULL).kind == VALUE_TEXT)
		printf("  %s", get_failure(r, NULL).text);
	else if (e->error)
		printf("  %s", get_error(r, NULL).text);
	putchar('\n');
}

static int print_json(const struct event_row *r)
{
	cJSON *object = output_object(&events_columns, r, NULL);
	char *text = object ? cJSON_PrintUnformatted(object) : NULL;

	cJSON_Delete(object);
	if (!text)
		return -ENOMEM;
	puts(text);
	cJSON_free(text);
	return 0;
}

static int on_event(void *arg, void *data, size_t size)
{
	struct follower *f = arg;
	struct pintle_event e;
	struct event_row r;

	if (size < sizeof(e) || f->broken)
		return 0;
	memcpy(&e, data, sizeof(e));
	if ((int64_t)(e.time_ns - f->since_ns) < 0)
		return 0;
	r = event_row_of(f, &e);
	if (f->pool_name && (!r.pool || strcmp(r.pool->name, f->pool_name) != 0))
		return 0;
	if (f->cli->json && print_json(&r))
		return -ENOMEM;
	if (!f->cli->json)
		print_text(f, &r);
	return 0;
}

/* ---- the lease ------------------------------------------------------------------- */

static int lease_set(const struct maps *m, uint64_t until)
{
	struct pintle_override o = {.tap_until_ns = until};
	uint32_t slot = PINTLE_OVERRIDE_NODE;

	return bpf_map_update_elem(m->fd[MAP_overrides], &slot, &o, BPF_ANY) ? -errno : 0;
}

/* After `pintled --detach` the follower still holds the maps, but no program fills them. */
static bool still_pinned(const struct follower *f)
{
	char dir[PATH_MAX];

	maps_dir(f->cli->bpffs, dir, sizeof(dir));
	return !access(dir, F_OK);
}

static int lease_renew(struct follower *f)
{
	uint64_t now = monotonic_ns();
	struct state *s = NULL;
	int err;

	if (f->renewed_ns && now - f->renewed_ns < RENEW_NS)
		return 0;
	err = lease_set(f->m, now + LEASE_NS);
	free(TAKE_PTR(f->pods));
	f->pod_count = 0;
	if (!err)
		err = state_pods_read(f->m, &f->pods, &f->pod_count);
	if (!err)
		err = state_read(f->m, &s);
	if (err)
		return log_err_r(err, "cannot go on following");
	state_free(f->s);
	f->s = s;
	if (f->renewed_ns && !still_pinned(f)) {
		log_error("the pins under %s are gone", f->cli->bpffs);
		return -ENOENT;
	}
	f->renewed_ns = now;
	return 0;
}

static int lock_take(const struct cli *cli)
{
	char dir[PATH_MAX];
	int fd;

	maps_dir(cli->bpffs, dir, sizeof(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return log_err_r(errno, "cannot open %s", dir);
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	if (errno == EWOULDBLOCK)
		log_error("another `pintle events` follows already; one can at a time");
	else
		log_err_r(errno, "cannot lock %s", dir);
	close(fd);
	return -EBUSY;
}

/* ---- following ------------------------------------------------------------------- */

static bool reader_is_gone(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLNVAL);
}

static int follow(struct follower *f, struct ring_buffer *ring)
{
	while (!stopping && !f->broken) {
		int err = lease_renew(f);

		if (err)
			return EXIT_FAILED;
		err = ring_buffer__poll(ring, TICK_MSEC);
		if (err < 0 && err != -EINTR) {
			log_err_r(err, "cannot read the ring");
			return EXIT_FAILED;
		}
		f->broken = fflush(stdout) || ferror(stdout) || reader_is_gone();
	}
	/* A reader that went away, such as head(1), has what it wanted. */
	return EXIT_OK;
}

static void signals_catch(void)
{
	struct sigaction a = {.sa_handler = stop};

	/* Without SA_RESTART: the wait for events ends at once. */
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGHUP, &a, NULL);
}

static int follow_locked(struct follower *f)
{
	struct ring_buffer *ring = ring_buffer__new(f->m->fd[MAP_tap], on_event, f, NULL);
	int status;

	if (!ring) {
		log_err_r(errno, "cannot open the ring");
		return EXIT_FAILED;
	}
	status = follow(f, ring);
	ring_buffer__free(ring);
	return status;
}

static int run_events(struct cli *cli)
{
	struct follower f = {.cli = cli, .pool_name = cli->pool};
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_close_ int lock = -1;
	int status;

	m = open_maps(cli, MAPS_WRITE);
	if (!m)
		return EXIT_FAILED;
	lock = lock_take(cli);
	if (lock < 0)
		return EXIT_FAILED;
	f.m = m;
	f.since_ns = monotonic_ns();
	signals_catch();
	status = lease_renew(&f) ? EXIT_FAILED : EXIT_OK;
	if (!status && cli->pool && !find_pool(f.s, cli->pool))
		status = EXIT_FAILED;
	if (!status)
		status = follow_locked(&f);
	lease_set(m, 0);
	state_free(f.s);
	free(f.pods);
	return status;
}

const struct command command_events = {
	.name = "events",
	.kind = NOUN,
	.arguments = "[--pool POOL]",
	.summary = "closed connections, rare decisions and ejections, as they come (root)",
	.help = "Prints a line for each connection that closed, for each decision whose outcome is\n"
		"rare (escaped, stale, no_endpoint, tried, refused, forbidden), and for each endpoint\n"
		"that is ejected or restored, until Ctrl-C. With -o json one object a line.\n"
		"Needs root. Only one `pintle events` can run at a time; the kernel writes events\n"
		"only while it runs.",
	.run = run_events,
	.columns = &events_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
};
