/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_text.h - text to tokens, tokens to blocks, and answers.
 *
 * A token is four bytes of text. Each message of a chat is cut from its own start, so that an
 * answer which comes back as part of the next prompt gives the same blocks again, as
 * it does with a real tokenizer and chat template.
 */
#ifndef PINTLE_SIM_SERVER_TEXT_H
#define PINTLE_SIM_SERVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_TOKEN_BYTES 4

enum text_mark {
	TEXT_BEGIN = 1, /* of the sequence */
	TEXT_ROLE,      /* a message begins */
	TEXT_CONTENT,   /* its text begins */
	TEXT_MESSAGE_END,
};

/* Starts as all zeros but block_tokens. */
struct tokens {
	uint32_t block_tokens;
	uint32_t count;
	uint64_t chain; /* hash of everything so far */
	uint64_t *blocks;
	uint32_t block_count, room;
	bool failed;
};

void tokens_text(struct tokens *t, const char *text, size_t size);
void tokens_mark(struct tokens *t, enum text_mark mark);
void tokens_id(struct tokens *t, uint64_t id);
void tokens_free(struct tokens *t);

/** The n-th token of the answer to a prompt: four bytes of ASCII without quotes or escapes.
 * `seed` is the chain at the end of the prompt. */
const char *text_answer(uint64_t seed, uint32_t n);
/** Adds the first n tokens of the answer, as they will be when they come back. */
void tokens_answer(struct tokens *t, uint64_t seed, uint32_t n);

#endif
