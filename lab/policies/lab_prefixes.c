// SPDX-License-Identifier: Apache-2.0
#include "lab_prefixes.h"

#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "../fleet/lab_index.h"

struct lab_prefixes {
	struct lab_index *index; /* the value is a row's number */
	struct pintle_prefix *rows;
	uint32_t used, room;
};

int lab_prefixes_new(uint32_t nodes, uint32_t capacity, struct lab_prefixes **out)
{
	struct lab_prefixes *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	if (lab_index_new(nodes, capacity, &x->index)) {
		lab_prefixes_free(x);
		return -ENOMEM;
	}
	*out = x;
	return 0;
}

void lab_prefixes_free(struct lab_prefixes *x)
{
	if (!x)
		return;
	lab_index_free(x->index);
	free(x->rows);
	free(x);
}

void lab_prefixes_read(const struct lab_request *r, uint32_t block_tokens, uint32_t visible,
		       struct pintle_prompt *out)
{
	uint32_t bytes = r->prompt_tokens * LAB_BYTES_PER_TOKEN, chunks;

	out->steps = 0;
	out->bytes = bytes;
	chunks = MIN(bytes, visible) / PREFIX_CHUNK;
	for (uint32_t i = 0; i < chunks && r->block_count; i++) {
		uint32_t tokens = (i + 1) * PREFIX_CHUNK / LAB_BYTES_PER_TOKEN;
		uint32_t blocks = MAX(tokens / block_tokens, 1U);

		prefix_note(out, i, lab_hash(r->blocks[MIN(blocks, r->block_count) - 1], i));
	}
}

/* A node's table, as the argument of find(). */
struct table {
	struct lab_prefixes *x;
	uint32_t node;
	uint64_t now_ns;
};

static struct pintle_prefix *find(void *arg, __u64 hash)
{
	const struct table *t = arg;
	const struct lab_entry *e = lab_index_get(t->x->index, hash, t->node);

	if (!e)
		return NULL;
	/* It is the newest now; there is room for what is there. */
	lab_index_put(t->x->index, hash, t->node, e->value, t->now_ns);
	return &t->x->rows[e->value];
}

void lab_prefixes_search(struct lab_prefixes *x, uint32_t node, const struct pintle_prompt *p,
			 uint64_t now_ns, uint64_t ttl_ns, struct pintle_known *out)
{
	struct table t = {x, node, now_ns};

	*out = (struct pintle_known){0};
	prefix_search(out, p, find, &t, now_ns, ttl_ns);
}

/* A row for a new entry: that of the entry which will be forgotten, or a further one. Returns
 * UINT32_MAX without memory. */
static uint32_t row_take(struct lab_prefixes *x, uint32_t node)
{
	const struct lab_entry *oldest = lab_index_oldest(x->index, node);

	if (oldest)
		return oldest->value;
	if (x->used == x->room) {
		uint32_t room = x->room ? 2 * x->room : 1024;
		struct pintle_prefix *rows = reallocarray(x->rows, room, sizeof(*rows));

		if (!rows)
			return UINT32_MAX;
		x->rows = rows;
		x->room = room;
	}
	return x->used++;
}

uint32_t lab_prefixes_learn(struct lab_prefixes *x, uint32_t node, const struct pintle_prompt *p,
			    uint32_t endpoint, uint64_t now_ns, uint32_t share)
{
	struct pintle_ref chosen = {endpoint, 1};
	struct table t = {x, node, now_ns};
	uint32_t added = 0;

	for (uint32_t i = 0; i < p->steps; i++) {
		struct pintle_prefix *v = find(&t, p->hash[i]);

		if (!v) {
			uint32_t row = added < share ? row_take(x, node) : UINT32_MAX;

			if (row == UINT32_MAX ||
			    lab_index_put(x->index, p->hash[i], node, row, now_ns))
				break;
			added++;
			v = &x->rows[row];
			*v = (struct pintle_prefix){0};
		}
		prefix_learn(v, p, i, &chosen, now_ns);
	}
	return added;
}
