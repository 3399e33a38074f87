// SPDX-License-Identifier: Apache-2.0
#include "tries.h"

static bool tries_open(const struct tries *t, uint32_t waiting, uint64_t now)
{
	uint64_t age = now - t->taken_ns;

	return t->taken_ns && age < TRIES_HOLD_NS && (waiting || age < TRIES_SEEN_NS);
}

static void tries_wait(struct tries *t, uint64_t ns, uint64_t now)
{
	t->wait_ns = ns;
	t->since_ns = now;
	t->taken_ns = 0;
	t->seen = false;
}

uint64_t tries_look(struct tries *t, uint64_t offered, uint32_t waiting, bool told,
		    uint64_t most_ns, uint64_t now)
{
	uint64_t most = MAX(most_ns, (uint64_t)PINTLE_TRY_NS);

	if (!t->wait_ns)
		tries_wait(t, PINTLE_TRY_NS, now);
	else if (!offered && !t->taken_ns)
		t->taken_ns = now;
	t->seen |= t->taken_ns && waiting;
	if (tries_open(t, waiting, now))
		return 0;
	if (t->taken_ns)
		tries_wait(t, t->seen ? MIN(2 * t->wait_ns, most) : t->wait_ns, now);
	return t->since_ns + (told ? most : t->wait_ns);
}
