/* SPDX-License-Identifier: Apache-2.0 */
#include "nested.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"

/* Behind each prefix come those that it holds. */
static int nested_by_place(const void *left, const void *right)
{
	const struct nested *a = left, *b = right;
	int order;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	order = memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
	if (order)
		return order;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return a->inner - b->inner;
}

static bool nested_holds(const struct nested *outer, const struct nested *in)
{
	return outer->kind == in->kind && outer->port == in->port && outer->bits <= in->bits &&
	       addr_prefixes_overlap(&outer->prefix, outer->bits, &in->prefix, in->bits);
}

int nested_pairs(struct nested *all, size_t n,
		 void (*visit)(const struct nested *outer, const struct nested *in, void *arg),
		 void *arg)
{
	/* those that hold the one at hand, the widest first */
	_cleanup_free_ const struct nested **around = calloc(n + 1, sizeof(*around));
	size_t depth = 0;

	if (!around)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		addr_mask(&all[i].prefix, all[i].bits);
	if (n)
		qsort(all, n, sizeof(*all), nested_by_place);
	for (size_t i = 0; i < n; i++) {
		while (depth && !nested_holds(around[depth - 1], &all[i]))
			depth--;
		for (size_t k = 0; k < depth; k++)
			visit(around[k], &all[i], arg);
		if (!all[i].inner)
			around[depth++] = &all[i];
	}
	return 0;
}
