/* SPDX-License-Identifier: Apache-2.0 */
#include "state_event.h"

#include <bpf/bpf.h>
#include <limits.h>

#include "../base/util.h"
#include "../base/words.h"
#include "../net/cgroup2.h"
#include "names.h"
#include "pod_cgroup.h"
#include "traits.bpf.h"

const char *event_type_name(uint32_t type)
{
	static const char *const names[] = {
		[PINTLE_EVENT_CLOSED] = "closed",   [PINTLE_EVENT_DECIDED] = "decided",
		[PINTLE_EVENT_EJECTED] = "ejected", [PINTLE_EVENT_RESTORED] = "restored",
		[PINTLE_EVENT_LOST] = "lost",
	};

	return type < ARRAY_SIZE(names) && names[type] ? names[type] : "unknown";
}

bool event_is_closed(const struct pintle_event *e)
{
	return e->type == PINTLE_EVENT_CLOSED;
}

bool event_is_of_connection(const struct pintle_event *e)
{
	return event_is_closed(e) || e->type == PINTLE_EVENT_DECIDED;
}

const char *event_failure(const struct pintle_event *e)
{
	return hook_has(e->hook, PINTLE_TRAIT_FAILURES) && e->failure < PINTLE_FAILURE_COUNT
		       ? failure_name(e->failure)
		       : NULL;
}

/* ---- the client ------------------------------------------------------------------- */

int event_clients_read(const struct maps *m, struct event_clients *c)
{
	char root[PATH_MAX];
	int err;

	free(c->pods);
	*c = (struct event_clients){.root = c->root};
	err = state_pods_read(m, &c->pods, &c->pod_count);
	if (!err && !c->root && !cgroup2_root(root, sizeof(root)))
		c->root = strdup(root);
	return err;
}

void event_clients_free(struct event_clients *c)
{
	free(c->pods);
	free(c->root);
	*c = (struct event_clients){0};
}

static const struct state_pod *pod_at(const struct event_clients *c, const uint8_t address[16])
{
	struct addr ip;

	memcpy(ip.bytes, address, sizeof(ip.bytes));
	for (size_t i = 0; !addr_is_any(&ip) && i < c->pod_count; i++)
		for (size_t k = 0; k < ARRAY_SIZE(c->pods[i].addresses); k++)
			if (!memcmp(&c->pods[i].addresses[k], &ip, sizeof(ip)))
				return &c->pods[i];
	return NULL;
}

static const struct state_pod *pod_with(const struct event_clients *c, uint64_t id)
{
	for (size_t i = 0; i < c->pod_count; i++)
		if (c->pods[i].id == id)
			return &c->pods[i];
	return NULL;
}

/* By the map, which may know a cgroup that is gone; and by the cgroup's path, because the daemon
 * fills the map only where a pool's settings speak of clients. */
static const struct state_pod *pod_of(const struct maps *m, const struct event_clients *c,
				      uint64_t cgroup, const char *path)
{
	char name[PINTLE_CLIENT_NAME_SIZE];
	const struct state_pod *pod = NULL;
	struct pintle_client client;

	if (!bpf_map_lookup_elem(m->fd[MAP_clients], &cgroup, &client))
		pod = pod_with(c, client.id);
	if (!pod && pod_cgroup_above(path, name))
		pod = pod_with(c, client_id(name));
	return pod;
}

void event_clients_find(const struct maps *m, const struct event_clients *c, struct event_row *row)
{
	const struct pintle_event *e = row->e;
	char path[PATH_MAX] = "";

	if (!event_is_of_connection(e))
		return;
	if (!e->cgroup) {
		row->pod = pod_at(c, e->tuple.remote);
		return;
	}
	if (c->root && !cgroup2_path(c->root, e->cgroup, path, sizeof(path)))
		state_text(row->cgroup, sizeof(row->cgroup), path, sizeof(path));
	row->pod = pod_of(m, c, e->cgroup, path);
}

/* ---- columns --------------------------------------------------------------------- */

#define GET(name)    GETTER(name, const struct event_row *r, const void *arg)
#define COLUMN(name) .get = get_##name

struct value event_address(const uint8_t address[16], uint16_t port)
{
	char text[ADDR_TEXT_SIZE];
	struct addr ip;

	memcpy(ip.bytes, address, sizeof(ip.bytes));
	return value_text(addr_format(&ip, port, text));
}

struct value event_pod(const struct state_pod *pod)
{
	char text[STATE_POD_SIZE];

	if (!pod)
		return value_none();
	snprintf(text, sizeof(text), "%s/%s", pod->space_name, pod->name);
	return value_text(text);
}

const char *event_error(uint32_t error)
{
	return error && error < 4096 ? strerror((int)error) : NULL;
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
	return value_text(event_type_name(r->e->type));
}

GET(pool)
{
	return value_text_or_none(r->pool);
}

GET(endpoint)
{
	return value_text_or_none(r->endpoint);
}

GET(hook)
{
	return r->e->hook && r->e->hook < PINTLE_HOOK_COUNT ? value_text(hook_name(r->e->hook))
							    : value_none();
}

GET(failure)
{
	return value_text_or_none(event_failure(r->e));
}

GET(outcome)
{
	/* A connection whose decision was forgotten has none. */
	return r->e->outcome < PINTLE_OUTCOME_COUNT && r->e->type != PINTLE_EVENT_LOST
		       ? value_text(outcome_name(r->e->outcome))
		       : value_none();
}

GET(class)
{
	/* Whoever is not let in is of no class. */
	return r->e->outcome == PINTLE_OUTCOME_FORBIDDEN ? value_none()
							 : value_text_or_none(r->class);
}

GET(client)
{
	return event_is_of_connection(r->e)
		       ? event_address(r->e->tuple.remote, r->e->tuple.remote_port)
		       : value_none();
}

GET(client_pod)
{
	return event_pod(r->pod);
}

GET(client_cgroup)
{
	return value_text_or_none(r->cgroup);
}

GET(frontend)
{
	return event_is_of_connection(r->e)
		       ? event_address(r->e->tuple.local, r->e->tuple.local_port)
		       : value_none();
}

GET(duration_seconds)
{
	return value_number(VALUE_SECONDS, (double)r->e->duration_ns / (double)NSEC_PER_SEC,
			    event_is_closed(r->e) || r->e->type == PINTLE_EVENT_EJECTED);
}

GET(bytes_received)
{
	return event_is_closed(r->e) ? value_count(r->e->bytes_received) : value_none();
}

GET(bytes_acknowledged)
{
	return event_is_closed(r->e) ? value_count(r->e->bytes_acknowledged) : value_none();
}

GET(srtt_us)
{
	return event_is_closed(r->e) ? value_count(r->e->srtt_us) : value_none();
}

GET(error)
{
	return value_text_or_none(event_error(r->e->error));
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
	{.key = "event",
	 COLUMN(event),
	 .help = "text: closed, decided, ejected, restored; in an audit lost"},
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
	 .help = "text: its pod, NAMESPACE/NAME; null: none of this node"},
	{.key = "client_cgroup",
	 COLUMN(client_cgroup),
	 .help = "text: the cgroup that connected, below the cgroup2 root; null: not known"},
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
	 .help = "events that found no room, since the programs were loaded; in an audit also lines "
		 "that could not be written"},
};
const struct columns event_columns = COLUMNS(columns);
