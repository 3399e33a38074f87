// SPDX-License-Identifier: Apache-2.0
/* lab_events.c - what is to happen, by time: a binary heap. */
#include "lab_internal.h"

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->serial < b->serial);
}

void lab_event_put(struct lab *lab, uint64_t at_ns, enum what what, uint32_t which, uint32_t stamp)
{
	struct event e = {at_ns, lab->serial++, what, which, stamp};
	uint32_t at;

	if (lab->event_count == lab->event_room) {
		uint32_t room = lab->event_room ? 2 * lab->event_room : 256;
		struct event *events = reallocarray(lab->events, room, sizeof(*events));

		if (!events) {
			lab->err = -ENOMEM;
			return;
		}
		lab->events = events;
		lab->event_room = room;
	}
	for (at = lab->event_count++; at && earlier(&e, &lab->events[(at - 1) / 2]);
	     at = (at - 1) / 2)
		lab->events[at] = lab->events[(at - 1) / 2];
	lab->events[at] = e;
}

struct event lab_event_take(struct lab *lab)
{
	struct event first = lab->events[0], last = lab->events[--lab->event_count];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < lab->event_count) {
		if (child + 1 < lab->event_count &&
		    earlier(&lab->events[child + 1], &lab->events[child]))
			child++;
		if (!earlier(&lab->events[child], &last))
			break;
		lab->events[at] = lab->events[child];
		at = child;
	}
	lab->events[at] = last;
	return first;
}
