/* SPDX-License-Identifier: Apache-2.0 */
/* answer.h - the answer of the overload responder, in OpenAI's error format. */
#ifndef PINTLE_ANSWER_H
#define PINTLE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define ANSWER_SIZE 768

/** Writes the whole answer. `class_name` may be any text; "": not known. `is_head`: without a body.
 * Returns the bytes. */
size_t answer_write(char buf[ANSWER_SIZE], uint32_t seconds, const char *class_name, bool is_head,
		    time_t now);

/** Writes the answer to a request whose model no pool serves. */
size_t answer_no_model(char buf[ANSWER_SIZE], bool is_head, time_t now);

/** Returns Retry-After for one client: chance puts it between `seconds` and twice that, within
 * 1..60, so that clients who were told to come back together do not. `random`: any number. */
uint32_t answer_seconds(uint32_t seconds, uint32_t random);

#endif
