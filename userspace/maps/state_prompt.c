/* SPDX-License-Identifier: Apache-2.0 */
/* state_prompt.c - what of a prompt is cached where, by the text that the hand-off runs. */
#include <bpf/bpf.h>

#include "rule/chunk.bpf.h"
#include "handoff/request_model.bpf.h"
#include "state_internal.h"

/* The table is an inner map without a pin, which only root may open by its id. */
struct looking {
	int fd;
	struct pintle_prefix entry;
};

static struct pintle_prefix *prompt_entry_find(void *arg, __u64 hash)
{
	struct looking *l = arg;

	return bpf_map_lookup_elem(l->fd, &hash, &l->entry) ? NULL : &l->entry;
}

/* Returns a descriptor, which the caller closes; or -errno. */
static int table_open(const struct maps *m)
{
	const uint32_t zero = 0;
	uint32_t id;

	if (bpf_map_lookup_elem(m->fd[MAP_prefixes], &zero, &id))
		return -errno;
	return bpf_map_get_fd_by_id(id);
}

/* As model_seek_prompt() in bpf/handoff/request_model.bpf.h: where the prompt begins in the body.
 */
static size_t prompt_seek(struct model_scan *scan, const char *body, size_t size)
{
	size_t end = MIN(size, (size_t)MODEL_PROMPT_WITHIN);

	model_begin_prompt(scan, (uint32_t)end);
	for (size_t at = 0; at < end; at += 8) {
		uint64_t word = 0;

		memcpy(&word, body + at, MIN(end - at, sizeof(word)));
		if (model_word(scan, (uint32_t)at, word))
			break;
	}
	return scan->state == MODEL_FOUND ? scan->length : 0;
}

/* As prompt_read() in bpf/handoff/learn.bpf.h. */
static void prompt_hash(const struct pintle_chunk_key *k, uint64_t seed, const char *body,
			size_t size, struct pintle_prompt *out)
{
	uint64_t hash = seed, word[CHUNK_WORDS] = {0};
	struct model_scan scan;
	size_t begins = prompt_seek(&scan, body, size);

	if (begins && scan.before[0]) {
		memcpy(word, scan.before, sizeof(scan.before));
		hash = chunk_hash(k, seed, (const __u64 *)word);
	}
	body += begins;
	size -= begins;
	out->bytes = (uint32_t)size;
	for (uint32_t i = 0; i < PREFIX_CHUNKS && (i + 1) * PREFIX_CHUNK <= size; i++) {
		memcpy(word, body + i * PREFIX_CHUNK, PREFIX_CHUNK);
		hash = chunk_hash(k, hash, (const __u64 *)word);
		prefix_note(out, i, hash);
	}
}

/* As prompt_find_home() in bpf/handoff/learn.bpf.h. */
static int home_find(const struct maps *m, const struct pintle_ref *pool,
		     const struct pintle_pool *row, struct state_prompt *p)
{
	_cleanup_free_ struct pintle_homes *homes = NULL;
	int err;

	if (!prefix_seeks_home(&p->prompt, &p->known, row->tie))
		return 0;
	err = state_read_homes(m, pool->id, &homes);
	if (!err && homes && homes->pool_generation == pool->generation)
		p->home = homes->home[prefix_home(&p->prompt)];
	return err;
}

int state_prompt_read(const struct maps *m, const struct pintle_ref *pool, const char *body,
		      size_t size, uint64_t now_ns, struct state_prompt *out)
{
	_cleanup_free_ struct pintle_pool *row = malloc(sizeof(*row));
	struct looking l = {.fd = -1};
	struct pintle_chunk_key key;
	int err;

	*out = (struct state_prompt){0};
	if (!row)
		return -ENOMEM;
	err = maps_value(m, MAP_pools, pool->id, row);
	if (!err)
		err = maps_value(m, MAP_prefix_key, 0, &key);
	if (err)
		return err;
	if (row->generation != pool->generation)
		return -ESTALE;
	if (!row->prompt_weight)
		return -EOPNOTSUPP;
	prompt_hash(&key, row->prompt_seed, body, size, &out->prompt);
	if (!out->prompt.steps)
		return -ENODATA;
	l.fd = table_open(m);
	if (l.fd < 0)
		return l.fd;
	prefix_search(&out->known, &out->prompt, prompt_entry_find, &l, now_ns, row->ttl_ns);
	close(l.fd);
	return home_find(m, pool, row, out);
}
