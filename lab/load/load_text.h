/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_text.h - the text of prompts: words of three letters and a space. Each word is about one
 * token for real tokenizers, and exactly one for pintle-sim.
 *
 * A text is an endless stream that follows from its seed alone, and a prompt is a stretch of it. So
 * a shared prefix is made anew for each prompt, always with the same bytes, and is never stored. No
 * character needs an escape in JSON.
 */
#ifndef PINTLE_LOAD_TEXT_H
#define PINTLE_LOAD_TEXT_H

#include <stdint.h>

#include "../base/buf.h"

#define LOAD_TOKEN_BYTES 4

/** Adds `tokens` tokens of the stream, beginning with number `from`. */
void load_text(struct buf *b, uint64_t seed, uint64_t from, uint32_t tokens);

#endif
