// SPDX-License-Identifier: Apache-2.0
#include "minute.h"

#include <string.h>

#include "../base/util.h"

#define LOOK_NS NSEC_PER_SEC

static bool has_shrunk(const struct minute *m, const __u64 bucket[PINTLE_BUCKETS])
{
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++)
		if (bucket[i] < m->before[i])
			return true;
	return false;
}

static void slot_begin(struct minute *m, const __u64 bucket[PINTLE_BUCKETS], uint64_t now)
{
	memcpy(m->before, bucket, sizeof(m->before));
	m->slot_ns = now;
}

/* Ends the newest slot. After a pause of more than a slot, the older ones are too old. */
static void slot_end(struct minute *m, const __u64 bucket[PINTLE_BUCKETS], uint64_t now)
{
	uint64_t passed = (now - m->slot_ns) / MINUTE_SLOT_NS;

	for (uint64_t k = 1; k < MIN(passed, (uint64_t)MINUTE_SLOTS); k++) {
		memset(m->slots[m->next], 0, sizeof(m->slots[0]));
		m->next = (m->next + 1) % MINUTE_SLOTS;
	}
	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++)
		m->slots[m->next][i] =
			(uint32_t)MIN(bucket[i] - m->before[i], (uint64_t)UINT32_MAX);
	m->next = (m->next + 1) % MINUTE_SLOTS;
	slot_begin(m, bucket, now);
}

void minute_begin(struct minute *m, uint64_t now)
{
	*m = (struct minute){.slot_ns = now, .looked_ns = now};
}

static void percentiles(struct minute *m, const __u64 bucket[PINTLE_BUCKETS])
{
	__u64 sum[PINTLE_BUCKETS], all = 0;

	for (uint32_t i = 0; i < PINTLE_BUCKETS; i++) {
		sum[i] = bucket[i] - m->before[i];
		for (uint32_t k = 0; k < MINUTE_SLOTS; k++)
			sum[i] += m->slots[k][i];
		all += sum[i];
	}
	m->count = (uint32_t)MIN(all, (uint64_t)UINT32_MAX);
	m->p50_us = bucket_quantile(sum, 0.5);
	m->p95_us = bucket_quantile(sum, 0.95);
}

void minute_look(struct minute *m, const __u64 bucket[PINTLE_BUCKETS], uint64_t now)
{
	if (m->slot_ns && now - m->looked_ns < LOOK_NS)
		return;
	if (!m->slot_ns || has_shrunk(m, bucket)) {
		memset(m, 0, sizeof(*m));
		slot_begin(m, bucket, now);
	}
	if (now - m->slot_ns >= MINUTE_SLOT_NS)
		slot_end(m, bucket, now);
	m->looked_ns = now;
	percentiles(m, bucket);
}
