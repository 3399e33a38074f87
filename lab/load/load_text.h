/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_text.h - prompts: plain words of three letters and a space, about one token each for
 * real tokenizers, exactly one for pintle-sim.
 *
 * A text is an endless stream that follows from its seed alone, and a prompt a stretch of it. So
 * what is to be shared is byte for byte the same, however often it is made, and needs
 * no memory meanwhile. No character of it needs an escape in JSON.
 */
#ifndef PINTLE_LOAD_TEXT_H
#define PINTLE_LOAD_TEXT_H

#include <stdint.h>

#include "../base/buf.h"

#define LOAD_TOKEN_BYTES 4

/** Adds the tokens from number `from` on. */
void load_text(struct buf *b, uint64_t seed, uint64_t from, uint32_t tokens);

#endif
