/* SPDX-License-Identifier: Apache-2.0 */
#include "carry.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../../base/log.h"
#include "../../base/util.h"

/* Entries that one call reads, if there is the memory: more than a bucket of a hash has, or the
 * kernel answers -ENOSPC. */
#define BATCH       4096
#define BATCH_LEAST 256
#define BATCH_BYTES (4U << 20)

struct carry {
	enum map_id id;
	int from, to;
	const struct map_kind *was, *is;
	struct carry_room room;
	struct layout_plan *key, *value;
	size_t cpus;          /* values of an entry: of a per-CPU array, one for each */
	uint8_t *before;      /* of an array: what `from` held at the last copy */
	unsigned int no_room; /* entries */
};

static bool is_array(const struct map_kind *k)
{
	return k->type == BPF_MAP_TYPE_ARRAY || k->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static bool is_hash(const struct map_kind *k)
{
	return k->type == BPF_MAP_TYPE_HASH || k->type == BPF_MAP_TYPE_LRU_HASH ||
	       k->type == BPF_MAP_TYPE_LPM_TRIE;
}

/* The kernel places the values of an array at multiples of 8 bytes. */
static size_t stride(const struct map_kind *k)
{
	return ((size_t)k->value_size + 7) & ~(size_t)7;
}

static size_t entry_size(const struct carry *c, const struct map_kind *k)
{
	return stride(k) * c->cpus;
}

int carry_new(enum map_id id, int from, const struct map_kind *was, int to,
	      const struct map_kind *is, const struct carry_room *room, struct carry **out)
{
	int cpus = was->type == BPF_MAP_TYPE_PERCPU_ARRAY ? libbpf_num_possible_cpus() : 1, err;
	struct carry *c;

	*out = NULL;
	if (map_layouts[id].carry == CARRY_NOT || is_array(was) != is_array(is) ||
	    is_hash(was) != is_hash(is) || (!is_array(is) && !is_hash(is)))
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct carry){.id = id,
			    .from = from,
			    .to = to,
			    .was = was,
			    .is = is,
			    .room = *room,
			    .cpus = (size_t)MAX(cpus, 1)};
	err = layout_plan(was->key, is->key, was->key_size, is->key_size, &c->key);
	if (!err)
		err = layout_plan(was->value, is->value, was->value_size, is->value_size,
				  &c->value);
	if (err)
		carry_free(c);
	else
		*out = c;
	return err;
}

void carry_free(struct carry *c)
{
	if (!c)
		return;
	if (c->no_room)
		log_warn("%u entries of %s had no room, and are lost", c->no_room,
			 map_names[c->id]);
	free(c->before);
	free(c->key);
	free(c->value);
	free(c);
}

/* ---- arrays --------------------------------------------------------------------------- */

#define NOWHERE UINT32_MAX

/* Each pool or endpoint has as many entries as any other. */
static uint32_t index_of_owner(const struct carry *c, uint32_t i, uint32_t owners_was,
			       uint32_t owners)
{
	uint32_t each_was = c->was->entries / MAX(owners_was, 1U);
	uint32_t each = c->is->entries / owners;
	uint32_t owner = i / MAX(each_was, 1U), rest = i % MAX(each_was, 1U);

	return owner < owners && rest < each ? owner * each + rest : NOWHERE;
}

/* Pools come first, then endpoints, then in `overrides` the node. */
static uint32_t index_of_slot(const struct carry *c, uint32_t i)
{
	if (i < c->room.pools)
		return i < PINTLE_MAX_POOLS ? i : NOWHERE;
	i -= c->room.pools;
	if (i < c->room.endpoints)
		return i < PINTLE_MAX_ENDPOINTS ? PINTLE_ENDPOINT_SLOT(i) : NOWHERE;
	return c->id == MAP_overrides ? PINTLE_OVERRIDE_NODE : NOWHERE;
}

static uint32_t index_of(const struct carry *c, uint32_t i)
{
	uint32_t at = i;

	if (c->id == MAP_names || c->id == MAP_overrides)
		at = index_of_slot(c, i);
	else if (map_layouts[c->id].cleared_of == MAP_OF_POOLS)
		at = index_of_owner(c, i, c->room.pools, PINTLE_MAX_POOLS);
	else if (map_layouts[c->id].cleared_of == MAP_OF_ENDPOINTS)
		at = index_of_owner(c, i, c->room.endpoints, PINTLE_MAX_ENDPOINTS);
	return at < c->is->entries ? at : NOWHERE;
}

/* Copies entry i, unless it is as the last copy found it. */
static int copy_entry(struct carry *c, uint32_t i, uint8_t *now, uint8_t *value)
{
	size_t size = entry_size(c, c->was);
	uint8_t *before = c->before + i * size;
	uint32_t at = index_of(c, i);

	if (bpf_map_lookup_elem(c->from, &i, now))
		return -errno;
	if (at == NOWHERE || !memcmp(now, before, size))
		return 0;
	memcpy(before, now, size);
	for (size_t cpu = 0; cpu < c->cpus; cpu++)
		layout_convert(c->value, now + cpu * stride(c->was), value + cpu * stride(c->is));
	return bpf_map_update_elem(c->to, &at, value, BPF_ANY) ? -errno : 0;
}

static int copy_array(struct carry *c)
{
	_cleanup_free_ uint8_t *now = calloc(1, entry_size(c, c->was));
	_cleanup_free_ uint8_t *value = calloc(1, entry_size(c, c->is));
	int err = now && value ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < c->was->entries; i++)
		err = copy_entry(c, i, now, value);
	return err;
}

/* ---- hashes ----------------------------------------------------------------------------- */

/* Programs of this build may have put a newer entry there. */
static int put_entry(struct carry *c, const void *key_was, const void *value_was, uint8_t *key,
		     uint8_t *value)
{
	layout_convert(c->key, key_was, key);
	layout_convert(c->value, value_was, value);
	if (!bpf_map_update_elem(c->to, key, value, BPF_NOEXIST))
		return 0;
	switch (errno) {
	case EEXIST:
		return 0;
	case E2BIG:
	case ENOSPC:
	case ENOMEM:
		c->no_room++;
		return 0;
	}
	return -errno;
}

/* Nobody adds to a trie but the daemon, which does not run. */
static int carry_trie(struct carry *c, uint8_t *key_was, uint8_t *value_was, uint8_t *key,
		      uint8_t *value)
{
	void *previous = NULL;
	int err = 0;

	for (uint32_t n = 0; !err && n <= c->was->entries; n++) {
		if (bpf_map_get_next_key(c->from, previous, key_was))
			break;
		previous = key_was;
		if (!bpf_map_lookup_elem(c->from, key_was, value_was))
			err = put_entry(c, key_was, value_was, key, value);
	}
	return err;
}

static uint32_t batch_of(const struct map_kind *k)
{
	uint32_t n = MIN(BATCH_BYTES / (k->key_size + k->value_size), (uint32_t)BATCH);

	return MAX(n, (uint32_t)BATCH_LEAST);
}

static int carry_batches(struct carry *c, uint8_t *keys, uint8_t *values, uint8_t *key,
			 uint8_t *value)
{
	uint32_t at = 0, n;
	int err = 0, put = 0;

	for (bool first = true; !err && !put; first = false) {
		n = batch_of(c->was);
		err = bpf_map_lookup_batch(c->from, first ? NULL : &at, &at, keys, values, &n,
					   NULL);
		for (uint32_t i = 0; (!err || err == -ENOENT) && !put && i < n; i++)
			put = put_entry(c, keys + (size_t)i * c->was->key_size,
					values + (size_t)i * c->was->value_size, key, value);
	}
	return err == -ENOENT ? put : err ?: put;
}

static int carry_hash(struct carry *c)
{
	bool trie = c->was->type == BPF_MAP_TYPE_LPM_TRIE;
	size_t n = trie ? 1 : batch_of(c->was);
	_cleanup_free_ uint8_t *keys = calloc(n, c->was->key_size);
	_cleanup_free_ uint8_t *values = calloc(n, c->was->value_size);
	_cleanup_free_ uint8_t *key = calloc(1, c->is->key_size);
	_cleanup_free_ uint8_t *value = calloc(1, c->is->value_size);

	if (!keys || !values || !key || !value)
		return -ENOMEM;
	return trie ? carry_trie(c, keys, values, key, value)
		    : carry_batches(c, keys, values, key, value);
}

int carry_copy(struct carry *c)
{
	if (!is_array(c->is))
		return carry_hash(c);
	/* An empty entry is not worth a write into an empty map. */
	if (!c->before)
		c->before = calloc(c->was->entries, entry_size(c, c->was));
	return c->before ? copy_array(c) : -ENOMEM;
}

int carry_again(struct carry *c)
{
	bool copied = c->before || !is_array(c->is);

	return map_layouts[c->id].carry == CARRY_CHANGES && copied ? carry_copy(c) : 0;
}
