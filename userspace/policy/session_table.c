// SPDX-License-Identifier: Apache-2.0
#include "session_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "../base/hash.h"
#include "../base/util.h"

/* A session as the table holds it. */
struct held {
	struct session session; /* first, so that a session's address is its holder's */
	struct owner *owner;
	struct held *next;           /* in the bucket */
	TAILQ_ENTRY(held) by_use;    /* of all, the newest first */
	TAILQ_ENTRY(held) by_client; /* of the owner's, likewise */
};

TAILQ_HEAD(held_list, held);

/* A client that has sessions. */
struct owner {
	uint64_t client;
	size_t count;
	struct owner *next; /* in the bucket */
	struct held_list sessions;
};

struct session_table {
	size_t most, share, count, buckets;
	uint64_t seed;
	session_gone_fn gone;
	void *arg;
	struct held_list sessions;
	struct held **held;
	struct owner **owners;
};

/* ---- finding ----------------------------------------------------------------------- */

static size_t bucket_of_key(const struct session_table *t, const struct pintle_affinity_key *key)
{
	uint64_t words[sizeof(*key) / sizeof(uint64_t)], hash = t->seed;

	memcpy(words, key, sizeof(words));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		hash = hash_mix(hash ^ words[i]);
	return hash % t->buckets;
}

static size_t bucket_of_client(const struct session_table *t, uint64_t client)
{
	return hash_mix(t->seed ^ client) % t->buckets;
}

static struct held *held_find(const struct session_table *t, const struct pintle_affinity_key *key)
{
	struct held *h = t->held[bucket_of_key(t, key)];

	while (h && memcmp(&h->session.key, key, sizeof(*key)) != 0)
		h = h->next;
	return h;
}

static struct owner *session_table_owner_find(const struct session_table *t, uint64_t client)
{
	struct owner *o = t->owners[bucket_of_client(t, client)];

	while (o && o->client != client)
		o = o->next;
	return o;
}

/* ---- making and removing --------------------------------------------------------------- */

static struct owner *owner_make(struct session_table *t, uint64_t client)
{
	struct owner **bucket = &t->owners[bucket_of_client(t, client)], *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->client = client;
	TAILQ_INIT(&o->sessions);
	o->next = *bucket;
	*bucket = o;
	return o;
}

static void owner_trim(struct session_table *t, struct owner *o)
{
	struct owner **at = &t->owners[bucket_of_client(t, o->client)];

	if (o->count)
		return;
	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	free(o);
}

static void held_remove(struct session_table *t, struct held *h)
{
	struct held **at = &t->held[bucket_of_key(t, &h->session.key)];

	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	TAILQ_REMOVE(&t->sessions, h, by_use);
	TAILQ_REMOVE(&h->owner->sessions, h, by_client);
	h->owner->count--;
	t->count--;
	owner_trim(t, h->owner);
	t->gone(t->arg, &h->session);
	free(h);
}

/* Makes room for one more session of the owner, which counts already. */
static void session_table_make_room(struct session_table *t, struct owner *o)
{
	if (o->count > t->share)
		held_remove(t, TAILQ_LAST(&o->sessions, held_list));
	else if (t->count >= t->most)
		held_remove(t, TAILQ_LAST(&t->sessions, held_list));
}

static struct held *held_make(struct session_table *t, const struct pintle_affinity_key *key,
			      uint64_t client)
{
	struct held **bucket = &t->held[bucket_of_key(t, key)], *h = calloc(1, sizeof(*h));
	struct owner *o = h ? session_table_owner_find(t, client) ?: owner_make(t, client) : NULL;

	if (!o) {
		free(h);
		return NULL;
	}
	o->count++;
	session_table_make_room(t, o);
	h->session.key = *key;
	h->session.is = CLASSIFY_UNKNOWN;
	h->owner = o;
	h->next = *bucket;
	*bucket = h;
	TAILQ_INSERT_HEAD(&t->sessions, h, by_use);
	TAILQ_INSERT_HEAD(&o->sessions, h, by_client);
	t->count++;
	return h;
}

/* ---- all of it ----------------------------------------------------------------------- */

struct session *session_table_use(struct session_table *t, const struct pintle_affinity_key *key,
				  uint64_t client)
{
	struct held *h = held_find(t, key);

	if (!h) {
		h = held_make(t, key, client);
		return h ? &h->session : NULL;
	}
	TAILQ_REMOVE(&t->sessions, h, by_use);
	TAILQ_INSERT_HEAD(&t->sessions, h, by_use);
	TAILQ_REMOVE(&h->owner->sessions, h, by_client);
	TAILQ_INSERT_HEAD(&h->owner->sessions, h, by_client);
	return &h->session;
}

void session_table_drop(struct session_table *t, bool (*drop)(void *arg, const struct session *s),
			void *arg)
{
	struct held *next;

	for (struct held *h = TAILQ_FIRST(&t->sessions); h; h = next) {
		next = TAILQ_NEXT(h, by_use);
		if (drop(arg, &h->session))
			held_remove(t, h);
	}
}

size_t session_table_count(const struct session_table *t)
{
	return t->count;
}

struct session_table *session_table_new(size_t most, size_t share, uint64_t seed,
					session_gone_fn gone, void *arg)
{
	struct session_table *t = calloc(1, sizeof(*t));

	assert(share && share <= most);
	if (!t)
		return NULL;
	t->most = most;
	t->share = share;
	t->seed = seed;
	t->gone = gone;
	t->arg = arg;
	t->buckets = most;
	TAILQ_INIT(&t->sessions);
	t->held = calloc(most, sizeof(struct held *));
	t->owners = calloc(most, sizeof(struct owner *));
	if (t->held && t->owners)
		return t;
	session_table_free(t);
	return NULL;
}

static void gone_unheard(void *arg, const struct session *s)
{
	(void)arg;
	(void)s;
}

static bool every(void *arg, const struct session *s)
{
	(void)arg;
	(void)s;
	return true;
}

void session_table_free(struct session_table *t)
{
	if (!t)
		return;
	t->gone = gone_unheard;
	session_table_drop(t, every, NULL);
	free(t->held);
	free(t->owners);
	free(t);
}
