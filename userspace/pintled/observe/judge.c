// SPDX-License-Identifier: Apache-2.0
#include "judge.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/random.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../policy/session_table.h"

#define JUDGE_MS 100

/* The classifier takes requests in the order of their ends. The kernel tells late of some ends,
 * such as that of an answer that was silent for a second: so each waits until the others must be
 * there. */
#define HOLD_NS (1500 * NSEC_PER_MSEC)
/* Evidence that waits; more is judged early. */
#define HELD_MOST 65536

struct judge {
	const struct maps *m;
	struct ring_buffer *ring;
	uv_timer_t timer;
	bool runs;
	struct session_table *table;
	struct pintle_evidence *held;
	size_t held_count, held_room;
	uint32_t generations[PINTLE_MAX_POOLS]; /* of pools that classify, by id; 0: it does not */
	struct judge_pool pools[PINTLE_MAX_POOLS];
	uint64_t lost;
	bool told;
};

/* ---- verdicts ------------------------------------------------------------------------ */

static void verdict_count(struct judge *j, const struct session *s, bool more)
{
	uint64_t *n;

	if (s->key.pool >= PINTLE_MAX_POOLS || s->is >= CLASSIFY_CLASSES)
		return;
	n = &j->pools[s->key.pool].sessions[s->is];
	*n = more ? *n + 1 : *n - 1;
}

static void on_gone(void *arg, const struct session *s)
{
	struct judge *j = arg;

	verdict_count(j, s, false);
	if (s->is != CLASSIFY_UNKNOWN)
		bpf_map_delete_elem(j->m->fd[MAP_sessions], &s->key);
}

static void verdict_write(struct judge *j, struct session *s, uint64_t client)
{
	struct pintle_session_class v = {.since_ns = monotonic_ns(), .client = client};
	unsigned int is = classify_verdict(&s->classify);
	char why[CLASSIFY_REASON_SIZE];

	snprintf(v.name, sizeof(v.name), "%s", classify_name(is));
	snprintf(v.why, sizeof(v.why), "%s", classify_reason(&s->classify, why));
	if (bpf_map_update_elem(j->m->fd[MAP_sessions], &s->key, &v, BPF_ANY)) {
		if (!j->told)
			log_err_r(errno, "cannot write a session's class");
		j->told = true;
		return;
	}
	verdict_count(j, s, false);
	s->is = is;
	verdict_count(j, s, true);
	j->pools[s->key.pool].changes++;
}

/* ---- evidence ------------------------------------------------------------------------ */

static bool pool_counts(const struct judge *j, const struct pintle_affinity_key *key)
{
	return key->pool < PINTLE_MAX_POOLS && key->pool_generation &&
	       j->generations[key->pool] == key->pool_generation;
}

static void judge_one(struct judge *j, const struct pintle_evidence *e)
{
	const struct classify_request r = {
		.begun_ns = e->begun_ns,
		.ended_ns = e->ended_ns,
		.request_bytes = e->request_bytes,
		.beside = e->beside,
	};
	struct session *s;

	if (!pool_counts(j, &e->key))
		return;
	s = session_table_use(j->table, &e->key, e->client);
	if (!s)
		return;
	j->pools[e->key.pool].requests++;
	if (classify_request(&s->classify, &r))
		verdict_write(j, s, e->client);
}

static int on_evidence(void *arg, void *data, size_t size)
{
	struct judge *j = arg;
	const struct pintle_evidence *e = data;

	if (size < sizeof(*e))
		return 0;
	j->lost = MAX(j->lost, e->lost);
	if (j->held_count < HELD_MOST && ROOM_FOR_ONE(j->held, j->held_count, j->held_room, 256))
		j->held[j->held_count++] = *e;
	else
		judge_one(j, e);
	return 0;
}

static int by_end(const void *left, const void *right)
{
	const struct pintle_evidence *a = left, *b = right;

	return (a->ended_ns > b->ended_ns) - (a->ended_ns < b->ended_ns);
}

static void judge_until(struct judge *j, uint64_t until)
{
	size_t n = 0;

	if (!j->held_count)
		return;
	qsort(j->held, j->held_count, sizeof(*j->held), by_end);
	while (n < j->held_count && j->held[n].ended_ns <= until)
		judge_one(j, &j->held[n++]);
	j->held_count -= n;
	memmove(j->held, j->held + n, j->held_count * sizeof(*j->held));
}

static void judge_on_timer(uv_timer_t *timer)
{
	struct judge *j = timer->data;

	ring_buffer__consume(j->ring);
	judge_until(j, monotonic_ns() - HOLD_NS);
}

/* ---- what is there at the start --------------------------------------------------------- */

struct former {
	struct pintle_affinity_key key;
	struct pintle_session_class class;
};

static unsigned int class_by_name(const char name[PINTLE_CLASS_NAME_SIZE])
{
	unsigned int class = 0;

	while (class < CLASSIFY_CLASSES &&
	       strncmp(classify_name(class), name, PINTLE_CLASS_NAME_SIZE) != 0)
		class ++;
	return class;
}

static int by_since(const void *left, const void *right)
{
	const struct former *a = left, *b = right;

	return (a->class.since_ns > b->class.since_ns) - (a->class.since_ns < b->class.since_ns);
}

/* The map holds no more; one that changes while it is walked may begin anew. */
#define MAX_STEPS (2 * PINTLE_MAX_SESSIONS)

static int former_read(const struct judge *j, struct former **out, size_t *n)
{
	_cleanup_free_ struct former *all = NULL;
	struct pintle_affinity_key key, *previous = NULL;
	int fd = j->m->fd[MAP_sessions];
	size_t count = 0, room = 0;

	for (int i = 0; i < MAX_STEPS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		if (!ROOM_FOR_ONE(all, count, room, 256))
			return -ENOMEM;
		previous = &key;
		all[count].key = key;
		if (!bpf_map_lookup_elem(fd, &key, &all[count].class))
			count++;
	}
	if (count)
		qsort(all, count, sizeof(*all), by_since);
	*out = TAKE_PTR(all);
	*n = count;
	return 0;
}

static int former_take(struct judge *j)
{
	_cleanup_free_ struct former *all = NULL;
	size_t n;
	int err = former_read(j, &all, &n);

	for (size_t i = 0; !err && i < n; i++) {
		struct session *s = session_table_use(j->table, &all[i].key, all[i].class.client);

		if (!s)
			return -ENOMEM;
		s->is = class_by_name(all[i].class.name);
		verdict_count(j, s, true);
	}
	return err;
}

/* ---- life ------------------------------------------------------------------------------ */

static int judge_prepare(struct judge *j)
{
	uint64_t seed = monotonic_ns();

	if (getrandom(&seed, sizeof(seed), 0) < 0)
		log_err_r(errno, "no random numbers for the table of sessions");
	j->table = session_table_new(PINTLE_MAX_SESSIONS, PINTLE_SESSION_SHARE, seed, on_gone, j);
	if (!j->table)
		return log_err_r(ENOMEM, "the classifier");
	j->ring = ring_buffer__new(j->m->fd[MAP_evidence], on_evidence, j, NULL);
	if (!j->ring)
		return log_err_r(errno, "cannot open the ring of the classifier's evidence");
	return 0;
}

static void judge_drop(struct judge *j)
{
	ring_buffer__free(j->ring);
	session_table_free(j->table);
	free(j->held);
	free(j);
}

int judge_new(const struct ground *g, struct judge **out)
{
	struct judge *j = calloc(1, sizeof(*j));
	int err;

	if (!j)
		return log_err_r(ENOMEM, "the classifier");
	j->m = g->maps;
	err = judge_prepare(j);
	if (!err) {
		err = former_take(j);
		if (err)
			log_err_r(err, "cannot read the sessions' classes");
	}
	if (err) {
		judge_drop(j);
		return err;
	}
	uv_timer_init(g->loop, &j->timer);
	j->timer.data = j;
	*out = j;
	return 0;
}

static bool is_stale(void *arg, const struct session *s)
{
	return !pool_counts(arg, &s->key);
}

void judge_configure(struct judge *j, const struct config *c, const struct publication *p)
{
	bool any = false;

	assert(!j || p->pool_count == c->pool_count);
	if (!j)
		return;
	memset(j->generations, 0, sizeof(j->generations));
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].classify) {
			j->generations[p->pools[i].ref.id] = p->pools[i].ref.generation;
			any = true;
		}
	session_table_drop(j->table, is_stale, j);
	for (uint32_t i = 0; i < PINTLE_MAX_POOLS; i++)
		if (j->pools[i].generation != j->generations[i])
			j->pools[i] = (struct judge_pool){.generation = j->generations[i]};
	if (any && !j->runs)
		uv_timer_start(&j->timer, judge_on_timer, JUDGE_MS, JUDGE_MS);
	else if (!any)
		uv_timer_stop(&j->timer);
	j->runs = any;
}

struct judge_pool judge_pool(const struct judge *j, uint32_t id)
{
	return j && id < PINTLE_MAX_POOLS ? j->pools[id] : (struct judge_pool){0};
}

uint64_t judge_lost(const struct judge *j)
{
	return j ? j->lost : 0;
}

static void judge_on_closed(uv_handle_t *handle)
{
	judge_drop(handle->data);
}

void judge_free(struct judge *j)
{
	if (j)
		uv_close((uv_handle_t *)&j->timer, judge_on_closed);
}
