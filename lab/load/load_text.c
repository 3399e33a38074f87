// SPDX-License-Identifier: Apache-2.0
#include "load_text.h"

#include "../../userspace/base/util.h"
#include "../base/random.h"

#define WORD_BITS     7
#define WORDS_AT_ONCE (64 / WORD_BITS)

static const char words[][LOAD_TOKEN_BYTES + 1] = {
	"act ", "add ", "age ", "ago ", "aid ", "aim ", "air ", "all ", "and ", "any ", "arm ",
	"art ", "ask ", "bad ", "bag ", "bar ", "bed ", "big ", "bit ", "box ", "boy ", "bus ",
	"but ", "buy ", "can ", "cap ", "car ", "cat ", "cup ", "cut ", "day ", "did ", "dog ",
	"dry ", "due ", "ear ", "eat ", "egg ", "end ", "eye ", "far ", "fat ", "few ", "fit ",
	"fix ", "fly ", "for ", "fun ", "gas ", "get ", "got ", "gun ", "guy ", "had ", "has ",
	"hat ", "her ", "him ", "his ", "hit ", "hot ", "how ", "ice ", "ill ", "its ", "job ",
	"key ", "kid ", "law ", "lay ", "led ", "leg ", "let ", "lie ", "lot ", "low ", "man ",
	"map ", "may ", "men ", "met ", "mix ", "net ", "new ", "nor ", "not ", "now ", "odd ",
	"off ", "oil ", "old ", "one ", "our ", "out ", "own ", "pay ", "per ", "put ", "ran ",
	"raw ", "red ", "rid ", "run ", "saw ", "say ", "sea ", "see ", "set ", "she ", "sit ",
	"six ", "sky ", "son ", "sun ", "ten ", "the ", "tie ", "too ", "top ", "try ", "two ",
	"use ", "war ", "was ", "way ", "who ", "why ", "you ",
};
_Static_assert(ARRAY_SIZE(words) == 1 << WORD_BITS, "as many words as bits tell apart");

void load_text(struct buf *b, uint64_t seed, uint64_t from, uint32_t tokens)
{
	char *at = buf_room(b, (size_t)tokens * LOAD_TOKEN_BYTES);
	uint64_t bits = 0;

	if (!at)
		return;
	for (uint64_t i = from; i < from + tokens; i++) {
		if (i == from || i % WORDS_AT_ONCE == 0) {
			struct rng r;

			rng_init(&r, seed, i / WORDS_AT_ONCE, 0);
			bits = rng_next(&r) >> (i % WORDS_AT_ONCE * WORD_BITS);
		}
		memcpy(at, words[bits % ARRAY_SIZE(words)], LOAD_TOKEN_BYTES);
		at += LOAD_TOKEN_BYTES;
		bits >>= WORD_BITS;
	}
	b->size += (size_t)tokens * LOAD_TOKEN_BYTES;
}
