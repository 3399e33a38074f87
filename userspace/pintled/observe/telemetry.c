/* SPDX-License-Identifier: Apache-2.0 */
#include "telemetry.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "../../base/log.h"
#include "../../base/text.h"
#include "../../maps/names.h"
#include "../../maps/state.h"
#include "../../base/util.h"

/* Maps that forget their oldest entries, and what that means for users. */
static const struct {
	enum map_id map;
	const char *means;
} lru_table[] = {
	{MAP_affinity, "sessions that were idle longest lose their binding"},
	{MAP_affinity_beyond, "clients with more than their share of sessions lose bindings"},
	{MAP_pending, "connections still in their handshake may be decided twice"},
	{MAP_prefixes, NULL}, /* is to be full of prompts, of which those of long ago go */
};

/* What an endpoint's `health` said at the last look. */
struct seen {
	uint64_t ejections;
	uint64_t failures[PINTLE_FAILURE_COUNT];
	bool failed; /* ejected, and no client was answered since */
};

struct telemetry {
	const struct maps *m;
	uint64_t told_ns;
	unsigned int told; /* lines since then */
	struct seen seen[PINTLE_MAX_ENDPOINTS];
	double fill[ARRAY_SIZE(lru_table)];
	bool warned[ARRAY_SIZE(lru_table)];
};

/* ---- ejections ---------------------------------------------------------------------- */

#define TOLD_MAX 20 /* lines a second: a pool that is down as a whole must not fill the disk */

static bool may_tell(struct telemetry *t, uint64_t now)
{
	if (now - t->told_ns >= NSEC_PER_SEC) {
		t->told_ns = now;
		t->told = 0;
	}
	return t->told++ < TOLD_MAX;
}

static bool telemetry_name_of(const struct telemetry *t, uint32_t slot, char to[PINTLE_NAME_SIZE])
{
	struct pintle_name n;

	if (maps_value(t->m, MAP_names, slot, &n))
		return false;
	state_text(to, PINTLE_NAME_SIZE, n.name, sizeof(n.name));
	return true;
}

/* Writes "POOL/ENDPOINT". Returns false for an id that no endpoint has. */
static bool whole_name_of(const struct telemetry *t, uint32_t id, char to[2 * PINTLE_NAME_SIZE])
{
	char pool[PINTLE_NAME_SIZE], endpoint[PINTLE_NAME_SIZE];
	struct pintle_endpoint e;

	if (maps_value(t->m, MAP_endpoints, id, &e) || !e.pool_generation ||
	    !telemetry_name_of(t, e.pool, pool) ||
	    !telemetry_name_of(t, PINTLE_ENDPOINT_SLOT(id), endpoint))
		return false;
	snprintf(to, 2 * PINTLE_NAME_SIZE, "%s/%s", pool, endpoint);
	return true;
}

/* "refused, reset": the kinds of failure that came since the last look. */
static void failures_since(const struct seen *before, const struct seen *now, char *to, size_t size)
{
	*to = '\0';
	for (uint32_t k = 0; k < PINTLE_FAILURE_COUNT; k++)
		if (now->failures[k] != before->failures[k])
			text_list_add(to, size, failure_name(k));
}

static void tell_ejection(struct telemetry *t, uint32_t id, const struct seen *before,
			  const struct seen *now)
{
	uint64_t until = __atomic_load_n(&t->m->health[id].ejected_until_ns, __ATOMIC_RELAXED);
	char name[2 * PINTLE_NAME_SIZE], kinds[64], time[64] = "was ejected";
	uint64_t at = monotonic_ns();

	if (!may_tell(t, at) || !whole_name_of(t, id, name))
		return;
	if (until > at)
		snprintf(time, sizeof(time), "is ejected for another %.1f s",
			 (double)(until - at) / (double)NSEC_PER_SEC);
	failures_since(before, now, kinds, sizeof(kinds));
	log_warn("%s %s: it failed its clients several times in a row%s%s%s", name, time,
		 *kinds ? " (" : "", kinds, *kinds ? ")" : "");
}

static void tell_return(struct telemetry *t, uint32_t id)
{
	char name[2 * PINTLE_NAME_SIZE];

	if (may_tell(t, monotonic_ns()) && whole_name_of(t, id, name))
		log_info("%s answers its clients again", name);
}

static struct seen see(const struct pintle_health *h)
{
	struct seen s = {
		.ejections = __atomic_load_n(&h->ejections, __ATOMIC_RELAXED),
		.failed = __atomic_load_n(&h->ejected_in_a_row, __ATOMIC_RELAXED),
	};

	for (int k = 0; k < PINTLE_FAILURE_COUNT; k++)
		s.failures[k] = __atomic_load_n(&h->failures[k], __ATOMIC_RELAXED);
	return s;
}

/* When an id is given to another endpoint, `ejections` starts at 0 again: that is no ejection. */
static void tell_changes(struct telemetry *t, uint32_t id)
{
	struct seen before = t->seen[id], now = see(&t->m->health[id]);
	bool ejected = now.ejections > before.ejections;

	t->seen[id] = now;
	if (ejected)
		tell_ejection(t, id, &before, &now);
	if (now.ejections && !now.failed && (ejected || before.failed))
		tell_return(t, id);
}

/* Walks over the keys alone, because values have 18 kB. A walk begins again where its key has
 * gone. */
static uint32_t count_held(const struct maps *m)
{
	struct pintle_held_key key, *previous = NULL;
	uint32_t n = 0;

	while (n < PINTLE_MAX_HELD && !bpf_map_get_next_key(m->fd[MAP_held], previous, &key)) {
		previous = &key;
		n++;
	}
	return n;
}

void telemetry_look(struct telemetry *t)
{
	t->m->node->held = count_held(t->m);
	for (uint32_t id = 0; id < PINTLE_MAX_ENDPOINTS; id++)
		tell_changes(t, id);
}

int telemetry_new(const struct ground *g, struct telemetry **out)
{
	struct telemetry *t = calloc(1, sizeof(*t));

	if (!t)
		return log_err_r(ENOMEM, "telemetry");
	t->m = g->maps;
	for (uint32_t id = 0; id < PINTLE_MAX_ENDPOINTS; id++)
		t->seen[id] = see(&t->m->health[id]);
	*out = t;
	return 0;
}

void telemetry_free(struct telemetry *t)
{
	free(t);
}

/* ---- maps that forget --------------------------------------------------------------- */

/* Entries read at once: must be more than any bucket has, or the kernel answers -ENOSPC. */
#define FILL_BATCH 4096

/* Reads by batches, which go from bucket to bucket. Entries come and go meanwhile, and a walk from
 * key to key begins again whenever its key was deleted. */
static double map_fill(int fd, uint64_t *count)
{
	_cleanup_free_ void *keys = NULL, *values = NULL;
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), at = 0, n;
	uint64_t found = 0;
	int err = 0;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) || !info.max_entries)
		return 0;
	keys = calloc(FILL_BATCH, info.key_size);
	values = calloc(FILL_BATCH, info.value_size);
	if (!keys || !values)
		return 0;
	for (bool first = true; !err && found < info.max_entries; first = false) {
		n = FILL_BATCH;
		err = bpf_map_lookup_batch(fd, first ? NULL : &at, &at, keys, values, &n, NULL);
		if (!err || err == -ENOENT)
			found += n;
	}
	*count = MIN(found, (uint64_t)info.max_entries);
	return (double)*count / info.max_entries;
}

/* How full the table in `prefixes` is; 0 where no pool wants it. */
static double prefixes_fill(const struct maps *m, uint64_t *count)
{
	const uint32_t zero = 0;
	_cleanup_close_ int fd = -1;
	uint32_t id;

	if (!bpf_map_lookup_elem(m->fd[MAP_prefixes], &zero, &id))
		fd = bpf_map_get_fd_by_id(id);
	return fd < 0 ? 0 : map_fill(fd, count);
}

void telemetry_check_fill(struct telemetry *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(lru_table); i++) {
		uint64_t n = 0;

		if (lru_table[i].map == MAP_prefixes) {
			t->fill[i] = prefixes_fill(t->m, &n);
			t->m->node->prefix_entries = (uint32_t)n;
		} else {
			t->fill[i] = map_fill(t->m->fd[lru_table[i].map], &n);
		}
		if (t->fill[i] > 0.8 && lru_table[i].means && !t->warned[i]) {
			log_warn("map %s is %.0f %% full; when it is full, %s",
				 map_names[lru_table[i].map], 100 * t->fill[i], lru_table[i].means);
			t->warned[i] = true;
		}
	}
}

bool telemetry_fill(const struct telemetry *t, size_t i, enum map_id *map, double *fill)
{
	if (i >= ARRAY_SIZE(lru_table))
		return false;
	*map = lru_table[i].map;
	*fill = t->fill[i];
	return true;
}
