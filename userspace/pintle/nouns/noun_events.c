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
#include <sys/file.h>

#include "../../base/log.h"
#include "../../maps/names.h"
#include "../following.h"
#include "traits.bpf.h"

#define LEASE_NS (3 * NSEC_PER_SEC)

struct follower {
	struct following all;
	const char *pool_name;
	uint64_t since_ns; /* records before this were left by an earlier follower */
	uint64_t renewed_ns;
};

/* ---- one event ------------------------------------------------------------------- */

static const struct state_endpoint *events_endpoint_of(const struct follower *f,
						       const struct pintle_event *e)
{
	return state_endpoint_find(f->all.s, &(struct pintle_ref){e->endpoint, e->generation});
}

static struct event_row event_row_of(const struct follower *f, const struct pintle_event *e)
{
	const struct state_endpoint *endpoint = events_endpoint_of(f, e);
	const struct state_pool *pool =
		state_pool_find(f->all.s, &(struct pintle_ref){e->pool, e->pool_generation});
	struct event_row r = {.e = e};

	r.pool = pool ? pool->name : NULL;
	r.endpoint = endpoint ? endpoint->name : NULL;
	if (pool && event_is_of_connection(e) && e->class_id < pool->class_count)
		r.class = pool->classes[e->class_id].name;
	event_clients_find(f->all.m, &f->all.clients, &r);
	return r;
}

static const char *address_text(const uint8_t *address, uint16_t port, char *buf)
{
	struct addr ip;

	memcpy(ip.bytes, address, sizeof(ip.bytes));
	return addr_format(&ip, port, buf);
}

static void print_connection(const struct event_row *r)
{
	const struct pintle_event *e = r->e;
	char client[ADDR_TEXT_SIZE], frontend[ADDR_TEXT_SIZE];
	char lasted[WORDS_SIZE], rtt[WORDS_SIZE];

	printf("  %s  %s", e->outcome < PINTLE_OUTCOME_COUNT ? outcome_name(e->outcome) : "-",
	       address_text(e->tuple.remote, e->tuple.remote_port, client));
	if (r->pod)
		printf(" %s/%s", r->pod->space_name, r->pod->name);
	printf(" -> %s", address_text(e->tuple.local, e->tuple.local_port, frontend));
	if (r->class && e->outcome != PINTLE_OUTCOME_FORBIDDEN)
		printf("  class %s", r->class);
	if (event_is_closed(e))
		printf("  %s  %llu B in  %llu B out  rtt %s",
		       wait_text((double)e->duration_ns / (double)NSEC_PER_SEC, lasted),
		       e->bytes_received, e->bytes_acknowledged, wait_text(e->srtt_us / 1e6, rtt));
}

static void events_print_text(const struct follower *f, const struct event_row *r)
{
	const struct state_endpoint *endpoint = events_endpoint_of(f, r->e);
	const struct pintle_event *e = r->e;
	char when[WORDS_SIZE], name[ENDPOINT_NAME_SIZE] = "-";
	bool failed = e->error || e->type == PINTLE_EVENT_EJECTED ||
		      (event_is_of_connection(e) && (e->outcome == PINTLE_OUTCOME_NO_ENDPOINT ||
						     outcome_has(e->outcome, PINTLE_TOLD_NO)));

	wall_text(e->time_ns, when);
	if (endpoint)
		endpoint_name(f->all.s, endpoint, name);
	else if (r->pool)
		snprintf(name, sizeof(name), "%s/-", r->pool);
	printf("%s  %s%-8s%s  %s", when, tone_begin(f->all.cli, failed ? TONE_BAD : TONE_PLAIN),
	       event_type_name(e->type), tone_end(f->all.cli, failed ? TONE_BAD : TONE_PLAIN),
	       name);
	if (event_is_of_connection(e))
		print_connection(r);
	if (e->type == PINTLE_EVENT_EJECTED)
		printf("  for %.1f s", (double)e->duration_ns / (double)NSEC_PER_SEC);
	if (event_failure(e))
		printf("  %s", event_failure(e));
	else if (event_error(e->error))
		printf("  %s", event_error(e->error));
	putchar('\n');
}

static int events_on_event(void *arg, void *data, size_t size)
{
	struct follower *f = arg;
	struct pintle_event e;
	struct event_row r;

	if (size < sizeof(e) || f->all.broken)
		return 0;
	memcpy(&e, data, sizeof(e));
	if ((int64_t)(e.time_ns - f->since_ns) < 0)
		return 0;
	r = event_row_of(f, &e);
	if (f->pool_name && (!r.pool || strcmp(r.pool, f->pool_name) != 0))
		return 0;
	if (f->all.cli->json)
		return following_print_json(&event_columns, &r);
	events_print_text(f, &r);
	return 0;
}

/* ---- the lease ------------------------------------------------------------------- */

static int lease_set(const struct maps *m, uint64_t until)
{
	struct pintle_override o = {.tap_until_ns = until};
	uint32_t slot = PINTLE_OVERRIDE_NODE;

	return bpf_map_update_elem(m->fd[MAP_overrides], &slot, &o, BPF_ANY) ? -errno : 0;
}

static int lease_renew(void *arg)
{
	struct follower *f = arg;
	uint64_t now = monotonic_ns();
	int err;

	if (f->renewed_ns && now - f->renewed_ns < FOLLOWING_RENEW_NS)
		return 0;
	err = lease_set(f->all.m, now + LEASE_NS);
	if (err)
		return log_err_r(err, "cannot go on following");
	err = following_names(&f->all);
	if (!err && f->renewed_ns)
		err = following_pinned(&f->all);
	if (!err)
		f->renewed_ns = now;
	return err;
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

static int follow_locked(struct follower *f)
{
	struct ring_buffer *ring =
		ring_buffer__new(f->all.m->fd[MAP_tap], events_on_event, f, NULL);
	int status;

	if (!ring) {
		log_err_r(errno, "cannot open the ring");
		return EXIT_FAILED;
	}
	status = following_run(&f->all, &ring, lease_renew, f);
	ring_buffer__free(ring);
	return status;
}

static int run_events(struct cli *cli)
{
	struct follower f = {.all.cli = cli, .pool_name = cli->pool};
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_close_ int lock = -1;
	int status;

	m = open_maps(cli, MAPS_WRITE);
	if (!m)
		return EXIT_FAILED;
	lock = lock_take(cli);
	if (lock < 0)
		return EXIT_FAILED;
	f.all.m = m;
	f.since_ns = monotonic_ns();
	following_catch(0);
	status = lease_renew(&f) ? EXIT_FAILED : EXIT_OK;
	if (!status && cli->pool && !find_pool(f.all.s, cli->pool))
		status = EXIT_FAILED;
	if (!status)
		status = follow_locked(&f);
	lease_set(m, 0);
	following_free(&f.all);
	return status;
}

const struct command command_events = {
	.name = "events",
	.kind = NOUN,
	.arguments = "[--pool POOL]",
	.summary = "closed connections, rare decisions and ejections, as they come (root)",
	.help = "Prints a line for each connection that closed, for each decision whose outcome is\n"
		"rare (escaped, stale, no_endpoint, tried, spilled, diverted, refused, forbidden), and\n"
		"for each endpoint that is ejected or restored, until Ctrl-C. With -o json one object a\n"
		"line.\n"
		"Needs root. Only one `pintle events` can run at a time; the kernel writes events\n"
		"only while it runs.",
	.run = run_events,
	.columns = &event_columns,
	.options = OPTIONS_NOUN | OPTION_POOL,
};
