/* SPDX-License-Identifier: Apache-2.0 */
#include "publication.h"

#include <stdlib.h>

void publication_free(struct publication *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->pool_count; i++)
		free(p->pools[i].endpoints);
	free(p->pools);
	free(p);
}
