/* SPDX-License-Identifier: Apache-2.0 */
#include "prefixes.h"

#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "hash.bpf.h"

void prefixes_key(const __u64 hint_key[2], struct pintle_chunk_key *out)
{
	static const char text[8] = "prefixes";
	struct hash_input in = {.key = {hint_key[0], hint_key[1]}, .size = 16};
	__u64 *to = (__u64 *)out;
	struct hash_output sum;

	_Static_assert(!(sizeof(*out) % sizeof(sum)), "filled whole");
	memcpy(in.word, text, sizeof(text));
	for (size_t i = 0; i < sizeof(*out) / sizeof(sum); i++) {
		in.word[1] = i;
		hash_text(&in, &sum);
		memcpy(to + 2 * i, &sum, sizeof(sum));
	}
}

/* Pieces of 64 bytes, each keyed by the hash of those before it. The last is shorter. */
uint64_t prefixes_seed(const __u64 hint_key[2], const char *pool)
{
	static const char text[8] = "prompts";
	struct hash_input in = {.key = {hint_key[0], hint_key[1]}, .size = sizeof(text)};
	size_t left = strlen(pool), n;
	struct hash_output sum;

	memcpy(in.word, text, sizeof(text));
	hash_text(&in, &sum);
	do {
		n = MIN(left, sizeof(in.word) - sizeof(in.word[0]));
		in = (struct hash_input){.key = {sum.word[0], sum.word[1]}, .size = (__u32)n};
		memcpy(in.word, pool, n);
		hash_text(&in, &sum);
		pool += n;
		left -= n;
	} while (n == PINTLE_HINT_MAX);
	return sum.word[0];
}

static bool prefixes_wanted(const struct config *c)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (config_wants_prompts(&c->pools[i]))
			return true;
	return false;
}

static int table_put(const struct maps *m)
{
	const uint32_t zero = 0;
	_cleanup_close_ int fd =
		bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "prefixes_inner", sizeof(__u64),
			       sizeof(struct pintle_prefix), PINTLE_MAX_PREFIXES, NULL);

	if (fd < 0)
		return fd;
	return bpf_map_update_elem(m->fd[MAP_prefixes], &zero, &fd, BPF_ANY) ? -errno : 0;
}

int prefixes_publish(const struct maps *m, const struct config *c)
{
	const uint32_t zero = 0;
	struct pintle_chunk_key key;
	uint32_t id;
	bool there = !bpf_map_lookup_elem(m->fd[MAP_prefixes], &zero, &id);
	int err = 0;

	if (there && !prefixes_wanted(c)) {
		err = bpf_map_delete_elem(m->fd[MAP_prefixes], &zero) ? -errno : 0;
		return err ? log_err_r(err, "failed to remove the table of prefixes") : 0;
	}
	if (!prefixes_wanted(c))
		return 0;
	prefixes_key(m->node->hint_key, &key);
	err = maps_put(m, MAP_prefix_key, &zero, &key);
	if (!err && !there)
		err = table_put(m);
	return err ? log_err_r(err, "failed to make the table of prefixes, of 29 MB") : 0;
}
