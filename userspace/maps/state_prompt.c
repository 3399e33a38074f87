/* SPDX-License-Identifier: Apache-2.0 */
/* state_prompt.c - what of a prompt is cached where, by the text that the hand-off runs. The body
 * is in memory here, and in a packet there: only the loops over its bytes differ
 * (bpf/handoff/learn.bpf.h). */
#include <bpf/bpf.h>

#include "world.h"

#include "handoff/request_model.bpf.h"
#include "rule/choose.bpf.h"
#include "rule/chunk.bpf.h"
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

/* Returns the offset in the body at which the prompt begins; 0: it does not begin near. */
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

/* Hashes the prompt, from the pool's seed and the name of the model that stands before it. */
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

/* Searches the prompt of this body, in the world of the maps. */
static int prompt_search(const struct maps *m, const struct pintle_ref *of, const char *body,
			 size_t size, uint64_t now_ns, struct state_prompt *out)
{
	const struct pintle_pool *pool = pool_find(of->id, of->generation);
	const uint32_t zero = 0;
	const struct pintle_chunk_key *key = world_find(prefix_key, &zero);
	const struct pintle_ref *home = NULL;
	struct looking l;

	if (!pool || !key)
		return -ESTALE;
	if (!pool->prompt_weight)
		return -EOPNOTSUPP;
	prompt_hash(key, pool->prompt_seed, body, size, &out->prompt);
	if (!out->prompt.steps)
		return -ENODATA;
	l.fd = table_open(m);
	if (l.fd < 0)
		return l.fd;
	prefix_search(&out->known, &out->prompt, prompt_entry_find, &l, now_ns, pool->ttl_ns);
	close(l.fd);
	if (prefix_seeks_home(&out->prompt, &out->known, pool->tie))
		home = home_at(of->id, of->generation, prefix_home(&out->prompt));
	if (home)
		out->home = *home;
	return 0;
}

int state_prompt_read(const struct maps *m, const struct pintle_ref *pool, const char *body,
		      size_t size, uint64_t now_ns, struct state_prompt *out)
{
	_cleanup_(world_freep) struct world *world = NULL;
	int err = world_new(m, &world);

	if (err)
		return err;
	*out = (struct state_prompt){0};
	world_enter(world);
	err = prompt_search(m, pool, body, size, now_ns, out);
	world_enter(NULL);
	return world_error(world) ?: err;
}
