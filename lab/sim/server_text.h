/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_text.h - turns text into tokens and tokens into blocks, and makes up answers.
 *
 * A token is four bytes of text. Each message of a chat is cut into tokens from its own first byte.
 * So an answer that comes back as part of the next prompt gives the same blocks again, as with a
 * real tokenizer and chat template.
 */
#ifndef PINTLE_SIM_SERVER_TEXT_H
#define PINTLE_SIM_SERVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_TOKEN_BYTES 4

enum text_mark {
	TEXT_BEGIN = 1, /* the prompt begins */
	TEXT_ROLE,      /* a message begins, with its role */
	TEXT_CONTENT,   /* the message's text begins */
	TEXT_MESSAGE_END,
};

/* Starts as all zeros, except for block_tokens, which is at least 1. */
struct tokens {
	uint32_t block_tokens;
	uint32_t count;
	uint64_t chain; /* hash of all tokens so far */
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
/** Adds the first n tokens of the answer, as the client's next prompt will hold them. */
void tokens_answer(struct tokens *t, uint64_t seed, uint32_t n);

#endif
