// SPDX-License-Identifier: Apache-2.0
#include "server_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../engine/model.h"

/* A word's space comes last, so that a client that strips an answer changes only its last token. */
static const char words[][TEXT_TOKEN_BYTES + 1] = {
	"sea ", "oar ", "bow ", "jib ", "tar ", "log ", "fog ", "ebb ", "bay ", "cod ", "eel ",
	"gun ", "hull", "helm", "keel", "mast", "sail", "tide", "wind", "wave", "ship", "boat",
	"rope", "knot", "deck", "dock", "port", "star", "and ", "the ", "of a", "far ",
};

static void token_push(struct tokens *t, uint64_t token)
{
	assert(t->block_tokens);
	t->chain = model_chain(t->chain, token);
	t->count++;
	if (t->count % t->block_tokens)
		return;
	if (t->block_count == t->room) {
		uint32_t room = t->room ? 2 * t->room : 64;
		uint64_t *blocks = reallocarray(t->blocks, room, sizeof(*blocks));

		if (!blocks) {
			t->failed = true;
			return;
		}
		t->blocks = blocks;
		t->room = room;
	}
	t->blocks[t->block_count++] = t->chain;
}

void tokens_text(struct tokens *t, const char *text, size_t size)
{
	for (size_t at = 0; at < size; at += TEXT_TOKEN_BYTES) {
		uint32_t token = 0;

		memcpy(&token, text + at, MIN(size - at, (size_t)TEXT_TOKEN_BYTES));
		token_push(t, token);
	}
}

void tokens_mark(struct tokens *t, enum text_mark mark)
{
	token_push(t, 1ULL << 32 | mark);
}

void tokens_id(struct tokens *t, uint64_t id)
{
	token_push(t, 1ULL << 33 | id);
}

void tokens_free(struct tokens *t)
{
	free(t->blocks);
	t->blocks = NULL;
	t->block_count = t->room = 0;
}

const char *text_answer(uint64_t seed, uint32_t n)
{
	return words[model_chain(seed, n) % ARRAY_SIZE(words)];
}

void tokens_answer(struct tokens *t, uint64_t seed, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		tokens_text(t, text_answer(seed, i), TEXT_TOKEN_BYTES);
}
