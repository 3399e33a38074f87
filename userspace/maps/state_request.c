/* SPDX-License-Identifier: Apache-2.0 */
/* state_request.c - the session that a request names, by the text that the hand-off runs. */
#include "state_internal.h"
#include "names.h"
#include "../base/text.h"
#include "../policy/agent_keys.h"

#include "handoff/request_session.bpf.h"

static void scan_text(struct request_scan *scan, const struct pintle_asked *asked, const char *text,
		      size_t size)
{
	request_begin(scan, HAND_LINE_MIN, HAND_LINE_MAX);
	scan->size = (uint32_t)size;
	memcpy(scan->bytes, text, size);
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(scan, i, hand_names(asked)))
			return;
}

static const char *trimmed(const char *name, size_t room, char end, char *to)
{
	size_t n = strnlen(name, room);

	if (n && name[n - 1] == end)
		n--;
	snprintf(to, room + 1, "%.*s", (int)n, name);
	return to;
}

/* As the key stands in stickiness.key. */
static void name_key(const struct pintle_asked *asked, uint32_t at, char buf[STATE_ASKED_SIZE])
{
	char name[PINTLE_HEADER_SIZE + 1];

	if (hand_in_body(asked, at))
		snprintf(buf, STATE_ASKED_SIZE, "body/%s",
			 trimmed(asked->parts[at].name, PINTLE_HEADER_SIZE, '\0', name));
	else if (asked->parts[at].name[0])
		snprintf(buf, STATE_ASKED_SIZE, "cookie/%s",
			 trimmed(asked->parts[at].name, PINTLE_HEADER_SIZE, '=', name));
	else
		snprintf(buf, STATE_ASKED_SIZE, "header/%s",
			 trimmed(asked->headers[at].name, PINTLE_HEADER_SIZE, ':', name));
	if (!strcmp(buf, "header/authorization"))
		snprintf(buf, STATE_ASKED_SIZE, "authorization");
}

#define X(key, ...) key,
static const char *const agent_keys[] = {PINTLE_AGENT_KEYS(X)};
#undef X

static bool keys_are_agent(const struct pintle_asked *asked, uint32_t from)
{
	char one[STATE_ASKED_SIZE];

	for (uint32_t i = 0; i < ARRAY_SIZE(agent_keys); i++) {
		if (from + i >= PINTLE_MAX_ASKED_KEYS)
			return false;
		name_key(asked, from + i, one);
		if (strcmp(one, agent_keys[i]) != 0)
			return false;
	}
	return true;
}

const char *state_keys_format(const struct state_pool *p, char buf[STATE_KEYS_SIZE])
{
	char one[STATE_ASKED_SIZE];
	uint32_t i = 0;
	size_t n = 0;

	while (p->decide == PINTLE_DECIDE_REQUEST && i < PINTLE_MAX_ASKED_KEYS &&
	       p->asked.headers[i].name[0]) {
		bool agent = keys_are_agent(&p->asked, i);

		name_key(&p->asked, i, one);
		n += (size_t)snprintf(buf + n, STATE_KEYS_SIZE - n, "%s,", agent ? "agent" : one);
		i += agent ? ARRAY_SIZE(agent_keys) : 1;
	}
	snprintf(buf + n, STATE_KEYS_SIZE - n, "%s", key_name(p->key_kind));
	text_make_printable(buf, '?');
	return buf;
}

int state_request_read(const struct maps *m, const struct state_pool *p, const __u64 hint_key[2],
		       const struct state_client *c, const char *text, size_t size,
		       struct state_request *out)
{
	_cleanup_free_ struct request_scan *scan = calloc(1, sizeof(*scan));
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	struct hand_named named = {.secret.key = {hint_key[0], hint_key[1]}};
	struct state_request r = {0};
	int err;

	if (!scan || !pool)
		return -ENOMEM;
	if (size > REQUEST_MAX)
		return -E2BIG;
	err = maps_value(m, MAP_pools, p->id, pool);
	if (err)
		return err;
	if (pool->generation != p->generation)
		return -ESTALE;
	scan_text(scan, &pool->asked, text, size);
	if (!pool->hints_shared) {
		if (!c->has_ip)
			return -EDESTADDRREQ;
		named.source = state_source_key(&c->ip, pool->key_bits_v4 & 0xff,
						pool->key_bits_v6 & 0xff);
	}
	r.hand = (uint32_t)hand_session(scan, &pool->asked, &named, &r.session);
	if (hand_asks_body(&pool->asked, &named, (int)r.hand)) {
		body_read(scan, &pool->asked);
		r.hand = (uint32_t)hand_session(scan, &pool->asked, &named, &r.session);
	}
	if (r.hand == PINTLE_HAND_ASKED)
		name_key(&pool->asked, named.at, r.by);
	*out = r;
	return 0;
}
