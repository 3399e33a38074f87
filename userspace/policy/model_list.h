/* SPDX-License-Identifier: Apache-2.0 */
/* model_list.h - which models a server has, by its answer to GET /v1/models: pure functions. */
#ifndef PINTLE_MODEL_LIST_H
#define PINTLE_MODEL_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_LIST_MAX  64           /* models; a server's further ones are not remembered */
#define MODEL_LIST_PAGE (256U << 10) /* bytes; a longer answer is none */

/* The names of models, as hashes. Begins as zeros. */
struct model_list {
	size_t n;
	bool more; /* there are others, too */
	uint64_t id[MODEL_LIST_MAX];
	bool adapter[MODEL_LIST_MAX]; /* it has a parent: a LoRA adapter of that model */
};

/** Reads an answer in OpenAI's format: {"data": [{"id": "NAME", "parent": "NAME"}, ...]}. Returns
 * NULL with *out; or what is wrong with it, static text, *out untouched. */
const char *model_list_read(const char *page, size_t size, struct model_list *out);

/** Adds those of `from` to *to. */
void model_list_add(struct model_list *to, const struct model_list *from);

/** Returns whether it is known that the two have no model in common: each has one at least, and
 * none is forgotten. */
bool model_list_differs(const struct model_list *a, const struct model_list *b);

#endif
