// SPDX-License-Identifier: Apache-2.0
/* lab_events.c - the queue of future events. */
#include "lab_internal.h"

void lab_event_put(struct lab *lab, uint64_t at_ns, enum what what, uint32_t which, uint32_t stamp)
{
	struct heap_entry e = {at_ns, lab->serial++, (uint64_t)stamp << 32 | what, which};

	if (heap_put(&lab->events, e))
		lab->err = -ENOMEM;
}

struct event lab_event_take(struct lab *lab)
{
	struct heap_entry e = heap_take(&lab->events, 0);

	return (struct event){(enum what)(uint32_t)e.what, (uint32_t)e.more,
			      (uint32_t)(e.what >> 32)};
}
