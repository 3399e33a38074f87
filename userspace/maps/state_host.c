/* SPDX-License-Identifier: Apache-2.0 */
/* state_host.c - endpoints whose address is a host's name, and what DNS says of it. */
#include "state_internal.h"
#include "names.h"

static void host_take(struct state_host *to, uint32_t pool, const struct pintle_host *from,
		      uint64_t now)
{
	to->pool = pool;
	state_text(to->name, sizeof(to->name), from->name, sizeof(from->name));
	state_text(to->host, sizeof(to->host), from->host, sizeof(from->host));
	state_text(to->why, sizeof(to->why), from->why, sizeof(from->why));
	to->port = from->port;
	to->addresses = from->addresses;
	to->left = from->left;
	to->ttl_s = from->ttl_s;
	to->errors = from->errors;
	to->has_answer = from->answered_ns;
	to->age_seconds = (double)(int64_t)(now - from->answered_ns) / (double)NSEC_PER_SEC;
	to->fails = from->failing_ns;
	to->failing_seconds = (double)(int64_t)(now - from->failing_ns) / (double)NSEC_PER_SEC;
}

static void endpoints_mark(struct state *s, const struct state_host *h)
{
	const struct state_pool *p = &s->pools[h->pool];
	size_t length = strlen(h->name);

	for (size_t i = 0; i < p->endpoint_count; i++) {
		struct state_endpoint *e = &s->endpoints[p->first_endpoint + i];

		if (!strncmp(e->name, h->name, length) && e->name[length] == '@')
			e->host = h;
	}
}

int state_read_hosts(const struct maps *m, struct state *s)
{
	_cleanup_free_ struct pintle_host *rows = calloc(PINTLE_MAX_HOSTS, sizeof(*rows));
	int err;

	s->hosts = calloc(PINTLE_MAX_HOSTS, sizeof(*s->hosts));
	if (!rows || !s->hosts)
		return -ENOMEM;
	err = maps_values(m, MAP_hosts, rows);
	for (size_t i = 0; !err && i < PINTLE_MAX_HOSTS; i++) {
		const struct pintle_ref ref = {rows[i].pool, rows[i].pool_generation};
		const struct state_pool *p = ref.generation ? state_pool_find(s, &ref) : NULL;

		if (!p)
			continue;
		host_take(&s->hosts[s->host_count], (uint32_t)(p - s->pools), &rows[i], s->now_ns);
		endpoints_mark(s, &s->hosts[s->host_count++]);
	}
	return err;
}
